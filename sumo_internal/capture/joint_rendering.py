"""One rendering for both: the line that the runtime writes of a log call and our record of it, made together.

What the runtime does for a line (a filter, a formatter, a style, each second's text anew) and what we do for its record
have most of their parts in common. Where the runtime's handler is exactly as the runtime made it, and a log record is a
plain one, both are put together here from the same parts; this costs less than the runtime's own way does without us.
Every other log record goes the runtime's own way, and its text reaches
:meth:`~sumo_internal.capture.recorder.Recorder.record`.

Exactly as the runtime made it means, at each line:

=============  ========================================================================================================
the handler    its class; no attribute of its own beyond the library's; its level, formatter, the library's lock, sink,
               one filter
the formatter  the object; no attribute beyond the library's, the same formats; so its style
the filter     the object; no attribute beyond the library's
functions      all that these call: :mod:`~sumo_internal.capture.runtime_functions` is the table of them
a log record   of class ``LogRecord``, without other code's attributes, exception or stack; its message a text, its
               arguments of types whose text the interpreter alone makes
the process    no tenant, nothing of ours that needs more than a record's own parts
=============  ========================================================================================================

What the runtime makes is not known here but watched. The first record of each level goes the runtime's own way, and its
text is compared with what would have been written here. If the two are the same, with the same attributes in the record
afterwards, the next record of the level is written from here. For a runtime client that writes otherwise, nothing is
ever written from here.

For the log call itself there is a way that is shorter still. It needs no log record, if nothing but the runtime's own
handler would see it: neither that nor the place in the code that calls for one is looked for then, which is half of the
time that a line takes. At each call this is asked:

=============  ========================================================================================================
the logger     of the library's class, enabled, without filters, without functions of its own
its parents    all pass records on; no handler on the way, and the root has one: the runtime's, which takes the level
functions      of the logger, what makes a log record of it, what looks for the caller, and the clock: the library's, as
               they were at the start. Not what these ask of other modules (``os.getpid``, ``threading.current_thread``)
the call       a text; arguments of types whose text the interpreter alone makes; no exception, stack or fields
all else       as above
=============  ========================================================================================================

Any other call gets its log record, as in ``logging``'s own ``_log``, whose text is repeated for that: one call more
would be a frame more, which Python 3.10 counts where it looks for the caller, and which shows in each traceback.
"""

from __future__ import annotations

import logging
import sys
import time
from _io import BytesIO
from _struct import Struct
from _thread import RLock, get_ident
from logging import Formatter, Logger, LogRecord, PercentStyle
from time import gmtime
from types import MethodType

from sumo_internal import diagnostics
from sumo_internal.capture.log_records import MADE, TEXT_FORMAT, TIME_FORMAT, blank, usual
from sumo_internal.capture.record_format import RECORD_MAX_BYTES, SHORT_MAX_CHARS, TWO_DIGITS, fits, quote
from sumo_internal.capture.reentrancy import is_recorded, stand_in_for_log, too_deep
from sumo_internal.capture.runtime_functions import METHODS, OWN_LOG, are_calls_unaltered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.recorder import Recorder
    from sumo_internal.capture.runtime_functions import AreUnaltered, Functions

    Level = tuple[str, str, float, float, float, str, str, str, str, Any, bytes, dict[str, str], str]
    """How lines of a level are written: its name; the request, the second's begin and end, the milliseconds for which
    the following are made; the second's text; how a line begins and ends, and how its record begins; the frame type
    that the runtime's sink gets, and what the sink writes for that type; the recorder's texts by logger; the name as
    JSON without quotes."""

    Made = tuple[
        bool,
        bool,
        dict[int, Level],
        tuple[dict[str, Any], ...],
        AreUnaltered,
        Any,
        Any,
        Any,
        Any,
        Any,
        Any,
        frozenset[str] | set[object],
    ]
    """How the runtime has made its handler: whether for JSON; whether the filter adds a tenant; by number, each level
    that has been watched; the attributes of handler, formatter, style and filter; what tells whether their functions
    are the same; the handler's lock, its sink and the sink's ``log``; formatter, style and filter themselves; the names
    in a log record that are no fields."""


FRAME_HEAD = Struct(">4sIQ")
"""What the runtime's sink writes in front of a text: frame type, length, and a time in microseconds."""

PLAIN = frozenset((str, int, float, bool, type(None)))
"""Types of arguments whose text is the interpreter's alone: no code of the function's runs, nothing can raise twice."""

_WATCHED_MAX = 50
"""Records that are watched in vain before the handler is left alone for good."""

_FRAME_AGE_MAX_US = 60_000_000
"""Between a frame's time and the clock's: a frame that was made just now, and a thread that waited meanwhile."""

_HANDLER_NAMES = frozenset(("filters", "_name", "level", "formatter", "_closed", "lock", "log_sink"))
_FORMATTER_NAMES = frozenset(("_style", "_fmt", "datefmt"))
_STYLE_NAMES = frozenset(("_fmt", "_defaults"))
_FILTER_NAMES = frozenset(("name", "nlen"))

_TEXT_FORMATS = (f"{TEXT_FORMAT}\n", TIME_FORMAT)
_JSON_FORMATS = ("%(message)s", f"{TIME_FORMAT}Z")

_USUAL = [*blank().__dict__]
"""What a log record has when it is made, in its order."""

_NO_TIME = ("", -1.0, "")

_Lock = type(RLock())
"""Of a handler, as the library makes it. A function's own has methods of its own, or not the library's."""

_LOGGERS = (Logger, logging.RootLogger)
LOGGERS_MAX = 1_000
"""Loggers whose own methods are kept; a program with more makes them anew at each call."""
_NAMES_OF_LOG = (
    "_srcfile", "findCaller", "ValueError", "isinstance", "BaseException", "type", "__traceback__", "tuple", "sys",
    "exc_info", "makeRecord", "name", "handle",
)  # fmt: skip
"""What ``Logger._log`` asks for, in its order, where it is the one whose text is repeated here: Python 3.10 to 3.14."""


class _Methods(dict):  # type: ignore[type-arg]  # loggers and methods
    """By logger, what it calls of its own where nothing is replaced."""

    def __missing__(self, logger: Any) -> tuple[Any, ...]:
        own = tuple(MethodType(function, logger) for function in METHODS)
        if len(self) < LOGGERS_MAX:
            self[logger] = own
        return own


class Joint:
    """Writes both for one handler of the runtime's, on its framed sink."""

    settle: Callable[[LogRecord, str, str, bytes], None] | None = None
    """Records a log record's line and writes it, or not; given are the record of ours, the line, and how its frame
    begins. None where all lines are written first."""
    spare: Callable[[str, int, str], bool] | None = None
    """The same for a log call, without a log record: records a line and says whether the line need not be written;
    given are the record of ours, its level, and the line. What it raises it raises before the line is recorded."""

    def __init__(self, handler: Any, recorder: Recorder, bootstrap: Any, functions: dict[type, Functions]) -> None:
        """Prepare for a handler.

        Args:
            handler: The runtime's.
            recorder: Where its records go.
            bootstrap: The runtime client's module.
            functions: By the handler's class, the functions that it calls for a line, as they were when only the
                runtime client was there.
        """
        self._handler = handler
        self._recorder = recorder
        self._bootstrap = bootstrap
        self._globals = bootstrap.__dict__
        self._functions = functions[type(handler)]
        self._watched = 0
        self._made: Made = (False, False, {}, (), bool, *[None] * 6, MADE)  # type: ignore[assignment]  # as many
        self._returns_record = False
        self._second = _NO_TIME
        """A format, a line's second, and how the second reads in the format."""
        self._request = ("", "")
        """The request's id, as it is and as JSON without quotes."""

    def for_records(self) -> Callable[[Any, LogRecord], Any]:
        """Make what ``handle`` of the runtime's handlers asks first: it writes a log record's line and its record.

        It returns what ``handle`` returns; None where that is not possible, and then nothing has happened.
        """
        recorder, append, names, pack_head = self._recorder, self._recorder.append, self._globals, FRAME_HEAD.pack
        usual_order, settle, kind = _USUAL, self.settle, type(self._handler)

        # One function, because its time is what a line costs: a call less saves a fiftieth of that.
        def written(handler: Any, record: LogRecord) -> Any:
            data = b""
            try:
                (
                    is_json, adds_tenant, levels, of_runtime, are_unaltered, lock, own_sink, sink_log, formatter, style,
                    filter, known_names,
                ) = self._made  # fmt: skip
                attributes = record.__dict__
                message: Any = record.msg
                arguments: Any = record.args
                sink = handler.log_sink
                inner = sink.inner
                if (
                    recorder.takes_short_way
                    and (level := levels.get(record.levelno)) is not None
                    # No comparisons, but of what has no code: they might be the function's own.
                    and handler.__class__ is kind
                    and handler.formatter is formatter
                    and formatter._style is style
                    and type(filters := handler.filters) is list
                    and filters[0] is filter
                    and handler.lock is lock
                    and sink is own_sink
                    and sink.log is sink_log
                    and (handler.__dict__, formatter.__dict__, style.__dict__, filter.__dict__) == of_runtime
                    and are_unaltered()
                    and record.__class__ is LogRecord
                    and type(message) is str
                    and type(arguments) is tuple
                    and record.exc_info is None
                    and record.exc_text is None
                    and record.stack_info is None
                    and ([*attributes] == usual_order or known_names.issuperset(attributes))
                    and "log" not in inner.__dict__
                    and not (adds_tenant and names["_GLOBAL_TENANT_ID"] is not None)
                    # A member of an enum is a number in the record from there on.
                    and not (is_json and (attributes.get("taskName") is not None or type(record.levelno) is not int))
                    and not too_deep
                    and not is_recorded
                ):  # fmt: skip
                    for argument in arguments:
                        if type(argument) not in PLAIN:
                            break
                    else:
                        request = names["_GLOBAL_AWS_REQUEST_ID"]
                        while True:
                            (
                                name, of_request, begin_s, end_s, msecs, clock, line_start, line_end, record_start,
                                frame_type, head, loggers, _,
                            ) = level  # fmt: skip
                            if msecs == record.msecs and begin_s <= record.created < end_s and request is of_request:
                                break
                            moment = record.created, record.msecs
                            levels[record.levelno] = level = self.renewed(level, *moment, request, is_json=is_json)
                        details = loggers.get(record.name)
                        if arguments:
                            message %= arguments
                        if record.levelname is name and details is not None and len(message) < RECORD_MAX_BYTES:
                            if is_json:
                                line = f'{line_start}{quote(message)}, "logger": {quote(record.name)}{line_end}'
                                start = f"{record_start}{line[:-1]}{details}{recorder.context}"
                            else:
                                line = f"{line_start}{message}{line_end}"
                                start = f"{record_start}{quote(message)[1:]}{details}{recorder.context}"
                            if len(message) <= SHORT_MAX_CHARS or fits(start):
                                data = line.encode()
            except Exception as error:
                if isinstance(error, RecursionError) or diagnostics.is_raised_into(error):
                    raise
            if data:
                attributes["aws_request_id"] = request
                if adds_tenant:
                    attributes["tenant_id"] = None
                if is_json:
                    attributes["_frame_type"] = frame_type
                else:
                    attributes["message"] = message
                    attributes["asctime"] = clock
                if settle is not None:
                    settle(record, start, line, head)
                    return record if self._returns_record else True
                with handler.lock:  # what a signal handler raises after its ``acquire`` would leave it taken
                    inner.file.write(pack_head(head, len(data), time.time_ns() // 1000) + data)
                try:
                    append(start, record.levelno)
                except RecursionError:
                    too_deep.setdefault(get_ident(), []).append((record.created, line, 1, record))
                except Exception as error:
                    recorder.not_recorded(line, error)
                return record if self._returns_record else True
            return None  # what is the function's own error is raised where the runtime writes the line

        return written

    def log_call(
        self, otherwise: Callable[..., None], is_shown: Callable[[Any, int], bool] | None = None
    ) -> Callable[..., None]:
        """Make ``Logger._log``: it writes a call's line and its record without a log record, where that is possible.

        Args:
            otherwise: ``logging``'s own, or what stands in for it. Until it is called, nothing has happened.
            is_shown: Would the function show a line of a logger and a level? None where it shows all that come here.
        """
        recorder, handler, names, root = self._recorder, self._handler, self._globals, logging.root
        append, spare, pack_head = recorder.append, self.spare, FRAME_HEAD.pack
        kind: Any = type(handler)
        own_handle, modules = kind.handle, sys.modules
        new_record: Any = object.__new__
        methods = _Methods()

        # One function, as above. Its last part is the library's, line by line: what looks at the stack finds the
        # library's frame, and no other.
        def _log(
            self: Any,
            level: int,
            msg: Any,
            args: Any,
            exc_info: Any = None,
            extra: Any = None,
            stack_info: bool = False,
            stacklevel: int = 1,
        ) -> None:
            data = b""
            try:
                parent: Any = self
                while parent is not root and not parent.handlers and parent.propagate:
                    parent = parent.parent
                handlers: Any = root.handlers
                (
                    is_json, adds_tenant, levels, of_runtime, are_unaltered, lock, own_sink, sink_log, formatter, style,
                    filter, _,
                ) = joint._made  # fmt: skip
                sink = handler.log_sink
                inner = sink.inner
                if (
                    # First what differs where there are rules or other handlers: their log calls pay for this in vain.
                    recorder.takes_short_way
                    and parent is root
                    and type(handlers) is list
                    and len(handlers) == 1
                    and handlers[0] is handler
                    # No comparisons, as above.
                    and exc_info is None
                    and extra is None
                    and stack_info is False
                    and (stacklevel is one or type(stacklevel) is int)
                    and type(msg) is str
                    and type(args) is tuple
                    and (row := levels.get(level)) is not None
                    and (is_shown is None or is_shown(self, level))
                    and handler.__class__ is kind
                    and handler.formatter is formatter
                    and formatter._style is style
                    and type(filters := handler.filters) is list
                    and filters[0] is filter
                    and handler.lock is lock
                    and sink is own_sink
                    and sink.log is sink_log
                    and (handler.__dict__, formatter.__dict__, style.__dict__, filter.__dict__) == of_runtime
                    and are_unaltered()
                    and kind.handle is own_handle
                    and self.__class__ in _LOGGERS
                    and not (self.disabled or (filters := self.filters))
                    and type(filters) is list
                    and are_calls_unaltered(self.__class__)
                    # Not a look into the logger's ``__dict__``: up to Python 3.12 that makes all its attributes slower.
                    and type(handle := self.handle) is MethodType
                    and type(call_handlers := self.callHandlers) is MethodType
                    and type(make_record := self.makeRecord) is MethodType
                    and type(find_caller := self.findCaller) is MethodType
                    and type(own_filter := self.filter) is MethodType
                    and (handle, call_handlers, make_record, find_caller, own_filter) == methods[self]
                    and level >= handler.level
                    and "log" not in inner.__dict__
                    and not (adds_tenant and names["_GLOBAL_TENANT_ID"] is not None)
                    and not (is_json and "asyncio" in modules)  # a task's name would be in the line
                    and not too_deep
                    and not is_recorded
                ):  # fmt: skip
                    for argument in args:
                        if type(argument) not in PLAIN:
                            break
                    else:
                        created_s, request = time.time(), names["_GLOBAL_AWS_REQUEST_ID"]
                        msecs = int((created_s - int(created_s)) * 1000) + 0.0
                        if not (row[4] == msecs and row[2] <= created_s < row[3] and request is row[1]):
                            levels[level] = row = joint.renewed(row, created_s, msecs, request, is_json=is_json)
                        name, _, _, _, _, _, line_start, line_end, record_start, _, head, loggers, _ = row
                        logger, level_name = self.name, logging._levelToName.get(level)
                        details, message = loggers.get(logger), msg % args if args else msg
                        if level_name is name and details is not None and len(message) < RECORD_MAX_BYTES:
                            if is_json:
                                line = f'{line_start}{quote(message)}, "logger": {quote(logger)}{line_end}'
                                start = f"{record_start}{line[:-1]}{details}{recorder.context}"
                            else:
                                line = f"{line_start}{message}{line_end}"
                                start = f"{record_start}{quote(message)[1:]}{details}{recorder.context}"
                            if len(message) <= SHORT_MAX_CHARS or fits(start):
                                if spare is not None and spare(start, level, line):
                                    return
                                data = line.encode()
            except Exception as error:
                if diagnostics.is_raised_into(error):
                    raise
                data = b""
            if data:
                with handler.lock:  # what a signal handler raises after its ``acquire`` would leave it taken
                    inner.file.write(pack_head(head, len(data), time.time_ns() // 1000) + data)
                if spare is not None:
                    return
                try:
                    append(start, level)
                except RecursionError:
                    # Without a call of Python's, for which there is no room.
                    record = new_record(LogRecord)
                    record.__dict__.update(
                        made, name=logger, msg=msg, args=args, levelname=name, levelno=level, created=created_s,
                        msecs=msecs, aws_request_id=request,
                    )  # fmt: skip
                    too_deep.setdefault(get_ident(), []).append((created_s, line, 1, record))
                except Exception as error:
                    recorder.not_recorded(line, error)
                return
            if not is_known or (is_shown is not None and not is_shown(self, level)):
                otherwise(self, level, msg, args, exc_info, extra, stack_info, stacklevel)
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

        joint, made, one = self, blank().__dict__, 1
        is_known = OWN_LOG.__code__.co_names == _NAMES_OF_LOG
        stand_in_for_log(_log, OWN_LOG)
        return _log

    def watch(self, handler: Any, record: LogRecord, passed: object, text: str, frame_type: Any) -> None:
        """Learn from a line that the runtime has written itself how to write the next one of its level.

        Args:
            handler: The one that has written.
            record: The log record that the line is of, as the record is now.
            passed: What the handler's ``filter`` said.
            text: What the handler gave to its sink.
            frame_type: The frame type given with the text; None for none.
        """
        name, number, request = record.levelname, record.levelno, self._globals["_GLOBAL_AWS_REQUEST_ID"]
        _, _, levels, of_runtime, *_ = self._made
        if self._watched == _WATCHED_MAX or (number in levels and handler.__dict__ == of_runtime[0]):
            return
        arguments: Any = record.args
        told = [(number, int), (name, str), (request, str), (record.msg, str), (arguments, tuple)]
        if not all(type(value) is kind for value, kind in told) or not PLAIN.issuperset(map(type, arguments)):
            return
        self._watched += 1
        attributes = record.__dict__
        adds_tenant = "tenant_id" in attributes
        if handler is not self._handler or not self._note_made(handler, adds_tenant=adds_tenant):
            return
        is_json, _, levels, *_, known_names = self._made
        self._returns_record = passed is record
        added: dict[str, object] = {"aws_request_id": request}
        if adds_tenant:
            added["tenant_id"] = None
        message = record.msg % arguments if arguments else record.msg
        # The recorder keeps in there what a logger's records of this level share.
        loggers = self._recorder.loggers.setdefault(number, {})
        head = _frame_head(handler.log_sink.inner, text, frame_type)
        if not head:
            return
        level: Level = (name, "", 0.0, 0.0, 0.0, "", "", "", "", frame_type, head, loggers, quote(name)[1:-1])
        level = self.renewed(level, record.created, record.msecs, request, is_json=is_json)
        _, _, _, _, _, clock, line_start, line_end, *_ = level
        if is_json:
            added["_frame_type"] = frame_type
            line = f'{line_start}{quote(message)}, "logger": {quote(record.name)}{line_end}'
        else:
            added.update(message=message, asctime=clock)
            line = f"{line_start}{message}{line_end}"
        is_known = all(name in known_names or name in added for name in attributes)
        if is_known and added.items() <= attributes.items() and text == line:
            levels[number] = level

    def _note_made(self, handler: Any, *, adds_tenant: bool) -> bool:
        """Is a handler as the runtime makes it, whatever its level? Then keep its parts, to compare with."""
        formatter, filters, bootstrap = handler.formatter, handler.filters, self._bootstrap
        if type(formatter) is Formatter:
            is_json, formats = False, _TEXT_FORMATS
        elif type(formatter) is bootstrap.JsonFormatter:
            is_json, formats = True, _JSON_FORMATS
        else:
            return False
        style = formatter._style
        if not (
            type(style) is PercentStyle
            and (style._fmt, formatter.datefmt) == formats
            and not style._defaults  # type: ignore[attr-defined]  # typeshed has it from 3.10 on
            and _FORMATTER_NAMES.issuperset(formatter.__dict__)
            and _STYLE_NAMES.issuperset(style.__dict__)
            and _HANDLER_NAMES.issuperset(handler.__dict__)
            and type(handler.lock) is _Lock
            and [type(filter) for filter in filters] == [bootstrap.LambdaLoggerFilter]
            and Formatter.converter is gmtime
            and _FILTER_NAMES.issuperset(filters[0].__dict__)
        ):
            return False
        was_json, _, levels, *_ = self._made
        of_handler = {**handler.__dict__, "filters": [*filters]}
        of_parts = (dict(part.__dict__) for part in (formatter, style, filters[0]))
        of_runtime = (of_handler, *of_parts)
        levels, names = levels if is_json == was_json else {}, MADE if is_json else usual
        # One tuple: what a line of another thread's is made with, it is made with to its end.
        self._made = (
            is_json, adds_tenant, levels, of_runtime, self._functions[is_json], handler.lock, handler.log_sink,
            handler.log_sink.log, formatter, style, filters[0], names,
        )  # fmt: skip
        return True

    def renewed(self, level: Level, created_s: Any, msecs: Any, request: Any, *, is_json: bool) -> Level:
        """How lines of a level begin in a record's millisecond and request.

        Raises:
            Exception: The record's time is none that a clock gives, or the request's id is no plain text.
        """
        name, *_, frame_type, head, loggers, name_json = level
        if type(created_s) is not float or type(msecs) is not float or not (0 <= msecs < 1000 and created_s >= 0):
            raise ValueError("no time")
        time_format = (_JSON_FORMATS if is_json else _TEXT_FORMATS)[1]
        kept_format, begin_s, clock = self._second
        if not begin_s <= created_s < begin_s + 1 or kept_format is not time_format:
            begin_s = created_s // 1
            clock = time.strftime(time_format, gmtime(begin_s))
            self._second = (time_format, begin_s, clock)
        request_json = self._request[1] if request is self._request[0] else self._note_request(request)
        rest_ms = int(msecs)
        if is_json:
            stamp = f"{clock[:-1]}.{TWO_DIGITS[rest_ms // 10]}{rest_ms % 10}Z"
            line_start = f'{{"timestamp": "{clock}", "level": "{name_json}", "message": '
            line_end = f', "requestId": "{request_json}"}}\n'
            record_start = f'{{"time":"{stamp}","type":"function","message":'
        else:
            stamp = f"{clock}.{TWO_DIGITS[rest_ms // 10]}{rest_ms % 10}Z"
            line_start, line_end = f"[{name}]\t{stamp}\t{request}\t", "\n"
            record_start = (
                f'{{"time":"{stamp}","type":"function","message":"[{name_json}]\\t{stamp}\\t{request_json}\\t'
            )
        return (
            name, request, begin_s, begin_s + 1, msecs, clock, line_start, line_end, record_start, frame_type, head,
            loggers, name_json,
        )  # fmt: skip

    def _note_request(self, request: Any) -> str:
        """Keep how the request's id reads.

        Raises:
            ValueError: It is no plain text.
        """
        if type(request) is not str or not request.isascii():
            raise ValueError("no id")
        self._request = (request, quote(request)[1:-1])
        return self._request[1]


def _frame_head(sink: Any, text: str, frame_type: Any) -> bytes:
    """What the runtime's sink writes as a frame's type: the sink itself writes it here, to a file in memory.

    Empty where the frame has not the time that it is: the function has its own (freezegun).

    Raises:
        ValueError: The sink writes frames of another form than is written here.
    """
    probe = object.__new__(type(sink))
    probe.file = BytesIO()
    probe.log(text, frame_type)
    written, data, now_us = probe.file.getvalue(), text.encode(), time.time_ns() // 1000
    head, size_bytes, sent_us = FRAME_HEAD.unpack(written[: FRAME_HEAD.size])
    if (size_bytes, written[FRAME_HEAD.size :]) != (len(data), data):
        raise ValueError("another frame")
    return bytes(head) if 0 <= now_us - sent_us < _FRAME_AGE_MAX_US else b""
