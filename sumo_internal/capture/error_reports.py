"""Reports of errors that the function did not catch, each one record: Python's own, and those of ``logging``.

Separate from the runtime client, whose report of an uncaught exception is one as well, because Python and ``logging``
report the same way without any client. A report is many small writes. This module changes neither what is written nor
what a hook of the function's own does instead.
"""

from __future__ import annotations

import logging
import sys
import threading
from functools import partial, update_wrapper

from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.reentrancy import strand, subjects

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


def reported(
    recorder: Recorder, report: Callable[..., Any], details: Callable[..., str] | None = None
) -> Callable[..., Any]:
    """Make a function that reports an error one whose texts, to either stream, are one record.

    Args:
        recorder: Where the record goes.
        report: Writes the report.
        details: Gives the error's own keys, as a piece of an object's text; it is called with what the function is
            called with. None: the report's text gives them, and what is written of a log record, or within another
            report, is of that.
    """

    def reporting(*arguments: Any, **options: Any) -> Any:
        thread, texts = strand(), Texts()
        outer = subjects.get(thread)
        if outer is not None and details is None:
            return report(*arguments, **options)
        try:
            subjects[thread] = texts
            answer = report(*arguments, **options)
        finally:
            # Without a function of Python's: where that begins a signal handler might raise, and all that the thread
            # prints afterwards would be taken for a part of this report.
            if outer is None:
                subjects.pop(thread, None)
            else:
                subjects[thread] = outer
            _record(recorder, texts, None if details is None else partial(details, *arguments, **options))
        return answer

    return reporting


def _record(recorder: Recorder, texts: Texts, details: Callable[[], str] | None) -> None:
    """Record a report."""
    text, end = "", 0
    try:
        text = record_format.legible("".join(texts)).removesuffix("\n")
        if text and not text.isspace():
            if details is None:
                end = recorder.line(text)
            else:
                end = recorder.failed(text, details())
    except Exception as error:
        recorder.not_recorded(text, error)
    finally:
        if texts.echo is not None:
            texts.echo(text, end)


def follow_errors(recorder: Recorder) -> None:
    """Make each error that Python or ``logging`` reports on stderr one record."""

    def heard(hook: Callable[..., Any], error_of: Callable[..., Error]) -> Callable[..., Any]:
        return reported(recorder, hook, lambda *arguments: log_records.error_text(error_of(*arguments)))

    def of_arguments(arguments: Any) -> Error:
        return arguments.exc_type, arguments.exc_value, arguments.exc_traceback

    # Also under the names by which Python keeps the originals: code that restores a hook restores this one.
    sys.excepthook = sys.__excepthook__ = heard(sys.excepthook, lambda *error: error)
    sys.unraisablehook = sys.__unraisablehook__ = heard(sys.unraisablehook, of_arguments)
    threading.excepthook = threading.__excepthook__ = heard(threading.excepthook, of_arguments)
    handler: Any = logging.Handler
    handler.handleError = heard(handler.handleError, lambda *_: sys.exc_info())


def follow_tracebacks(recorder: Recorder) -> None:
    """Make each traceback that the function has ``traceback`` print one record; it is printed line by line."""
    traceback: Any = sys.modules.get("traceback")  # the function's own, which the runtime has loaded
    if traceback is None:
        return

    def joined(function: Callable[..., None]) -> Callable[..., None]:
        return update_wrapper(reported(recorder, function), function)

    # print_exc and print_last call print_exception, which calls TracebackException.print from Python 3.11 on.
    traceback.print_exception = joined(traceback.print_exception)
    printer = traceback.TracebackException
    if hasattr(printer, "print"):
        printer.print = joined(printer.print)
