"""Reports of errors that the function did not catch, each one record: Python's own, and those of ``logging``.

Separate from the runtime client, whose report of an uncaught exception is one as well, because Python and ``logging``
report the same way without any client. A report is many small writes. This module changes neither what is written nor
what a hook of the function's own does instead.
"""

from __future__ import annotations

import logging
import sys
import threading
from _thread import get_ident
from functools import update_wrapper

from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.reentrancy import leave_subject, subjects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.log_records import Error
    from sumo_internal.capture.recorder import Recorder


class Texts(list[str]):
    """What was written of a report so far."""

    echo: Callable[[str, int], None] | None = None
    """Writes the whole report where its last piece was to go, if it has to be there: called with the text and what the
    recorder has returned for it. None where each piece has been written."""


class Report:
    """A context manager: what the thread writes in it, to either stream, is the report of an error, one record."""

    def __init__(self, recorder: Recorder, details: Callable[[], str] | None = None) -> None:
        """Report an error.

        Args:
            recorder: Where the report goes.
            details: Gives the error's own keys, as a piece of an object's text; None: the report's text gives them.
        """
        self._recorder = recorder
        self._details = details
        self._texts = Texts()

    def __enter__(self) -> None:
        self._thread = get_ident()
        self._outer = subjects.get(self._thread)
        subjects[self._thread] = self._texts

    def __exit__(self, *_: object) -> None:
        leave_subject(self._thread, self._outer)
        text, echo, end = "", self._texts.echo, 0
        try:
            text = record_format.legible("".join(self._texts)).removesuffix("\n")
            if text and not text.isspace():
                if self._details is None:
                    end = self._recorder.line(text)
                else:
                    end = self._recorder.failed(text, self._details())
        except Exception as error:
            self._recorder.not_recorded(text, error)
        finally:
            if echo is not None:
                echo(text, end)


def follow_errors(recorder: Recorder) -> None:
    """Make each error that Python or ``logging`` reports on stderr one record."""

    def reported(hook: Callable[..., Any], error_of: Callable[..., Error]) -> Callable[..., Any]:
        def reporting(*arguments: Any) -> Any:
            with Report(recorder, lambda: log_records.error_text(error_of(*arguments))):
                return hook(*arguments)

        return reporting

    def of_arguments(arguments: Any) -> Error:
        return arguments.exc_type, arguments.exc_value, arguments.exc_traceback

    # Also under the names by which Python keeps the originals: code that restores a hook restores this one.
    sys.excepthook = sys.__excepthook__ = reported(sys.excepthook, lambda *error: error)
    sys.unraisablehook = sys.__unraisablehook__ = reported(sys.unraisablehook, of_arguments)
    threading.excepthook = threading.__excepthook__ = reported(threading.excepthook, of_arguments)
    handler: Any = logging.Handler
    handler.handleError = reported(handler.handleError, lambda *_: sys.exc_info())


def follow_tracebacks(recorder: Recorder) -> None:
    """Make each traceback that the function has ``traceback`` print one record; it is printed line by line."""
    traceback: Any = sys.modules.get("traceback")  # the function's own, which the runtime has loaded
    if traceback is None:
        return

    def joined(function: Callable[..., None]) -> Callable[..., None]:
        def printing(*arguments: Any, **options: Any) -> None:
            if get_ident() in subjects:  # of a log record or a report, which is one record anyway
                return function(*arguments, **options)
            with Report(recorder):
                return function(*arguments, **options)

        return update_wrapper(printing, function)

    # print_exc and print_last call print_exception, which calls TracebackException.print from Python 3.11 on.
    traceback.print_exception = joined(traceback.print_exception)
    printer = traceback.TracebackException
    if hasattr(printer, "print"):
        printer.print = joined(printer.print)
