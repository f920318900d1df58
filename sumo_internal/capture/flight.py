"""SUMO_DEBUG_ON_FAILURE: lines that the function would not show wait for the end of their invocation.

Separate from the recorder, and loaded only where the setting asks for it. Two of ``logging``'s own functions are
replaced, for all loggers, and differ from them for the loggers that are named only:

* ``Logger.getEffectiveLevel`` says the lower one of the function's level and ours, so that ``isEnabledFor`` lets such a
  line be made, and remembers that as it does without us. Whatever level is set later counts.
* ``Logger._log`` makes the log record as ``logging`` does, and then either hands it to the handlers (what the function
  shows) or holds it. No handler gets a record that it did not get before. Of a plain line that is held no log record is
  made: nobody would see it, and looking for the place of the call and making the record is most of what a call costs.

A line is shown if its logger's own level lets it pass and one of the logger's handlers takes its level. All others of
the named loggers are held: in segments of their own (:class:`sumo_internal.spool.held.Debug`), with the text that the
runtime would have made of them, after all rules but SUMO_LEVEL. Filters of the logger are asked, those of handlers are
not. They never go to CloudWatch.

What is held goes out if the invocation fails, in any way that :mod:`.endings` knows or that ends the process, if it is
slow, or if the function asks for it (``keep_debug``). Else it is forgotten at the invocation's end; of the init
phase, at its end. After the end nothing is held.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from copy import copy
from time import time

from sumo_internal import diagnostics
from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.log_records import usual
from sumo_internal.capture.record_format import SHORT_MAX_CHARS, quote, time_text
from sumo_internal.capture.reentrancy import stand_in, stand_in_for_log
from sumo_internal.capture.runtime_functions import OWN_LOG
from sumo_internal.spool.counters import DEBUG_FORGOTTEN
from sumo_internal.spool.held import Debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from logging import LogRecord
    from typing import Any, Protocol

    from sumo_internal.spool.writer import Spool

    class Recording(Protocol):
        """What is asked of a :class:`sumo_internal.capture.recorder.Recorder`."""

        spool: Spool
        append: Callable[[str, int], int]
        request_id: str | None
        context: str
        takes_short_way: bool
        is_flight: bool

        @property
        def loggers(self) -> Mapping[int, Mapping[str, str]]: ...

        @property
        def has_keys(self) -> bool: ...

        def record(self, text: str, record: LogRecord) -> int: ...

        def not_recorded(self, text: str, error: Exception) -> None: ...


_SILENT = ("botocore", "boto3", "urllib3")
"""Loggers that ``*`` leaves out: they log credentials at DEBUG."""
_NAMES_MAX = 1_000
"""Names of loggers whose level is remembered."""
_NEVER = 1 << 30
"""A level that nothing is below."""
_HELD_KEY = ',"held":true'


class Levels:
    """From which level on each logger is recorded."""

    def __init__(self, loggers: Iterable[tuple[str, int]]) -> None:
        self._given = dict(loggers)
        self._known: dict[str, int] = {}

    def of(self, name: str) -> int:
        """A logger's level: that of its own name, else of its nearest parent's that is named, else of ``*``."""
        if not isinstance(name, str):  # the function may call a logger anything
            return _NEVER
        level = self._known.get(name)
        if level is None:
            level = self._find(name)
            if len(self._known) < _NAMES_MAX:
                self._known[name] = level
        return level

    def _find(self, name: str) -> int:
        parent = name
        while parent:
            if parent in self._given:
                return self._given[parent]
            parent = parent.rpartition(".")[0]
        return _NEVER if name.partition(".")[0] in _SILENT else self._given.get("*", _NEVER)


class Flight:
    """Holds the lines of this process's invocations."""

    def __init__(
        self, recorder: Recording, loggers: Iterable[tuple[str, int]], max_bytes: int, *, is_json: bool
    ) -> None:
        """Hold nothing yet; :meth:`follow` begins.

        Args:
            recorder: Knows the invocation, and how a record is made.
            loggers: See :class:`Levels`.
            max_bytes: Bound on what is held.
            is_json: The runtime's log format is JSON.
        """
        self.levels = Levels(loggers)
        self._recorder = recorder
        self._max_bytes = max_bytes
        self._is_json = is_json
        self._store = Debug(recorder.spool, max_bytes)
        self._is_on = True
        self._is_wanted = False
        """What is held goes out at the invocation's end, whatever the end is."""
        self._lines_before = 0
        self.log_call: Callable[..., None] | None = None
        """What stands in for ``Logger._log``, once :func:`follow` has put it there."""
        self.is_shown: Callable[[Any, int], bool] | None = None
        """Would the function show a line of this logger and level, without us?"""

    @property
    def lines(self) -> int:
        """Lines that were held so far."""
        return self._lines_before + self._store.lines

    # Invocations.

    def begin(self) -> None:
        """An invocation begins, or the init phase."""
        self._is_on, self._is_wanted = True, False

    def free(self) -> None:
        """What is held goes out, and what will be held of this invocation."""
        self._is_wanted = True
        self._store.release()

    @property
    def has_any(self) -> bool:
        """Is anything held now?"""
        return self._store.has_any

    def end(self) -> None:
        """The invocation has ended, or the init phase has."""
        self._is_on = False
        if self._is_wanted:
            self._store.release()
        else:
            self._store.forget()

    def begin_again(self) -> None:
        """This is a copy of the process, or a worker: the segments are another writer's."""
        self._lines_before += self._store.lines
        self._store = Debug(self._recorder.spool, self._max_bytes)

    # Lines.

    def hold_call(self, name: str, level: int, msg: Any, args: Any) -> bool:
        """Hold a plain line that the function does not show, without a log record; False where it needs one.

        Args:
            name: The logger's.
            level: As in ``logging``.
            msg: What was given to the logger.
            args: Likewise.
        """
        if not self._is_on:
            return True
        if args and len(args) == 1 and isinstance(args[0], Mapping):
            return False
        try:
            start = self._usual_start(name, level, logging.getLevelName(level), time(), msg, args)
            if start:
                self._store.append(start, level)
            return start != ""
        except RecursionError:
            return True  # at the end of the function's stack: nobody misses it
        except Exception as error:
            self._recorder.not_recorded("", error)
            return True

    def hold(self, record: LogRecord) -> None:
        """Hold a log record that the function does not show. Nothing is raised but what a signal handler raises."""
        if not self._is_on:
            return
        try:
            start = ""
            if usual.issuperset(record.__dict__) and not record.exc_info and not record.stack_info:
                values = record.name, record.levelno, record.levelname, record.created, record.msg, record.args
                start = self._usual_start(*values)
            if start:
                self._store.append(start, record.levelno)
            else:
                self._hold_fully(record)
        except RecursionError:
            pass  # as above
        except Exception as error:
            self._recorder.not_recorded("", error)

    def not_made(self, error: Exception) -> None:
        """The function's own code cannot make the log record of such a line (``extra`` with a name of logging's, a
        filter that raises): without us it is not asked to."""
        diagnostics.pass_on(error)
        self._recorder.spool.count(DEBUG_FORGOTTEN, 1, 0)

    def _usual_start(self, name: str, level: int, level_name: str, created_s: float, message: Any, args: Any) -> str:
        """A plain record up to its closing brace; empty where more is to be known of it."""
        recorder = self._recorder
        details = recorder.loggers.get(level, {}).get(name)
        if details is None or not recorder.takes_short_way or type(message) is not str:
            return ""
        if args:
            try:
                message %= args
            except Exception as error:  # a message and arguments that do not fit
                diagnostics.pass_on(error)
                return ""
        if len(message) > SHORT_MAX_CHARS:
            return ""
        stamp, request = time_text(created_s), recorder.request_id or ""
        if self._is_json:
            text = _json_text(name, level_name, stamp, quote(message), request)
        else:
            text = f'"[{quote(level_name)[1:-1]}]\\t{stamp}\\t{request}\\t{quote(message)[1:]}'
        return f'{{"time":"{stamp}","type":"function","message":{text}{details}{recorder.context}{_HELD_KEY}'

    def _hold_fully(self, record: LogRecord) -> None:
        """Have the recorder make a record of it, with all that it has, and put that into the store."""
        try:
            message = record.getMessage()
        except Exception as error:
            diagnostics.pass_on(error)
            message = record_format.text_of(record.msg)  # the function shows no error of such a line either
        view = copy(self._recorder)
        view.append = self._append
        view.is_flight = True
        if self._is_json:
            stamp, request = time_text(record.created), view.request_id or ""
            text = _json_text(record.name, record.levelname, stamp, quote(message), request)
        else:
            text = log_records.text_line(record.levelname, record.created, view.request_id, message)
            if record.exc_info or record.stack_info:
                text += _trace(record)
        view.record(text, record)

    def _append(self, start: str, level: int) -> int:
        return self._store.append(f"{start}{_HELD_KEY}" if self._recorder.has_keys else start, level)


def _json_text(name: str, level_name: str, stamp: str, message: str, request: str) -> str:
    """The object that the runtime makes of a record in its JSON format."""
    own = f'{{"timestamp": "{stamp[:19]}Z", "level": {quote(level_name)}, "message": {message}, '
    own += f'"logger": {quote(name)}'
    return own + (f', "requestId": {quote(request)}}}' if request else "}")


def _trace(record: LogRecord) -> str:
    """The exception and the stack, as a formatter puts them behind a line."""
    formatter = logging.Formatter("%(message)s")
    parts = []
    if record.exc_info:
        record.exc_text = record.exc_text or formatter.formatException(record.exc_info)
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "".join(f"\n{part}" for part in parts)


class _Made:
    """A logger whose log record is made, and handed to no handler."""

    record: logging.LogRecord

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def handle(self, record: logging.LogRecord) -> None:
        self.record = record


def follow(flight: Flight) -> None:
    """Have ``logging`` make the lines, and hold those that the function does not show."""
    own_level = logging.Logger.getEffectiveLevel
    level_of = flight.levels.of
    make_record = logging.Logger.makeRecord

    def getEffectiveLevel(self: logging.Logger) -> int:
        own, wanted = own_level(self), level_of(self.name)
        return wanted if wanted < own else own

    def is_shown(logger: Any, level: int) -> bool:
        """Would the function show a line of this level, without us?"""
        # Beside what ``isEnabledFor`` remembers there, and forgotten with it when any level is set.
        answer = logger._cache.get((level,))
        if answer is None:
            is_ours = level >= level_of(logger.name)
            answer = logger._cache[(level,)] = 2 if not is_ours else int(level >= own_level(logger))
        return answer == 2 or (answer == 1 and _is_taken(logger, level))

    def hold(logger: logging.Logger, *call: Any) -> None:
        """Hold a line for which there has to be a log record; the call is what :meth:`logging.Logger._log` takes."""
        made: Any = _Made(logger)
        try:
            OWN_LOG(made, *call)
            record = made.record
            passed: Any = not logger.disabled and logger.filter(record)
        except Exception as error:
            flight.not_made(error)
            return
        if passed:
            flight.hold(passed if isinstance(passed, logging.LogRecord) else record)

    # Stands in for logging's own, and differs from it only by what comes first.
    def _log(
        self: logging.Logger,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Any = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        if not is_shown(self, level):
            if (
                self.disabled
                or self.filters
                or extra
                or exc_info
                or stack_info
                or logging.getLogRecordFactory() is not logging.LogRecord
                or self.__class__.makeRecord is not make_record
                or not flight.hold_call(self.name, level, msg, args)
            ):  # else, nearly always, a log record of it would be seen by nobody
                hold(self, level, msg, args, exc_info, extra, stack_info, stacklevel)
            return
        sinfo = None
        if logging._srcfile:
            try:
                fn, lno, func, sinfo = self.findCaller(stack_info, stacklevel)
            except ValueError:
                fn, lno, func = "(unknown file)", 0, "(unknown function)"
        else:
            fn, lno, func = "(unknown file)", 0, "(unknown function)"
        if exc_info:
            if isinstance(exc_info, BaseException):
                exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
            elif not isinstance(exc_info, tuple):
                exc_info = sys.exc_info()
        record = self.makeRecord(self.name, level, fn, lno, msg, args, exc_info, func, extra, sinfo)
        self.handle(record)

    # What looks for the caller passes over frames of logging's own file.
    hold.__code__ = hold.__code__.replace(co_filename=OWN_LOG.__code__.co_filename)
    stand_in_for_log(_log, OWN_LOG)
    stand_in(getEffectiveLevel, own_level, {})
    kind: Any = logging.Logger
    kind.getEffectiveLevel, kind._log = getEffectiveLevel, _log
    flight.log_call, flight.is_shown = _log, is_shown
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]  # what ``setLevel`` calls


def _is_taken(logger: Any, level: int) -> bool:
    """Does one of the handlers that a logger's records reach take this level?"""
    has_any = False
    while logger is not None:
        for handler in logger.handlers:
            has_any = True
            if level >= handler.level:
                return True
        logger = logger.parent if logger.propagate else None
    return not has_any and logging.lastResort is not None and level >= logging.lastResort.level
