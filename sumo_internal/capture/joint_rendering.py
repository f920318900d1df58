"""One rendering for both: the line that the runtime writes of a log record and our record of it, made together.

What the runtime does for a line (a filter, a formatter, a style, each second's text anew) and what we do for its record
have most of their parts in common. Where the runtime's handler is exactly as the runtime made it, and a log record is a
plain one, both are put together here from the same parts; this costs less than the runtime's own way does without us.
Every other log record goes the runtime's own way, and its text reaches
:meth:`~sumo_internal.capture.recorder.Recorder.record`.

Exactly as the runtime made it means, at each line:

=============  ========================================================================================================
the handler    its class; no attribute of its own beyond the library's; its level, formatter, lock, sink, one filter
the formatter  the object; no attribute beyond the library's, the same formats; so its style
the filter     the object; no attribute beyond the library's
functions      all that these call: :func:`called_for_text` and :func:`called_for_json` are the table of them
a log record   of class ``LogRecord``, without other code's attributes, exception or stack; its message a text, its
               arguments of types whose text the interpreter alone makes
the process    no tenant, nothing of ours that needs more than a record's own parts
=============  ========================================================================================================

What the runtime makes is not known here but watched. The first record of each level goes the runtime's own way, and its
text is compared with what would have been written here. If the two are the same, with the same attributes in the record
afterwards, the next record of the level is written from here. For a runtime client that writes otherwise, nothing is
ever written from here.
"""

from __future__ import annotations

import time
from _io import BytesIO
from _struct import Struct
from _thread import get_ident
from logging import Formatter, LogRecord, PercentStyle
from time import gmtime

from sumo_internal import diagnostics
from sumo_internal.capture.log_records import MADE, TEXT_FORMAT, TIME_FORMAT, usual
from sumo_internal.capture.record_format import TWO_DIGITS, quote
from sumo_internal.capture.reentrancy import is_recorded, too_deep
from sumo_internal.capture.runtime_functions import called_for_json, called_for_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.recorder import Recorder
    from sumo_internal.capture.runtime_functions import Functions


_HEAD = Struct(">4sIQ")
"""What the runtime's sink writes in front of a text: frame type, length, and a time in microseconds."""

_PLAIN = frozenset((str, int, float, bool, type(None)))
"""Types of arguments whose text is the interpreter's alone: no code of the function's runs, nothing can raise twice."""

_MESSAGE_MAX_CHARS = 4_000
"""Length of a message; a longer one may have to be cut."""

_WATCHED_MAX = 50
"""Records that are watched in vain before the handler is left alone for good."""

_HANDLER_NAMES = frozenset(("filters", "_name", "level", "formatter", "_closed", "lock", "log_sink"))
_FORMATTER_NAMES = frozenset(("_style", "_fmt", "datefmt"))
_STYLE_NAMES = frozenset(("_fmt", "_defaults"))
_FILTER_NAMES = frozenset(("name", "nlen"))

_TEXT_FORMATS = (f"{TEXT_FORMAT}\n", TIME_FORMAT)
_JSON_FORMATS = ("%(message)s", f"{TIME_FORMAT}Z")


_NO_TIME = (-1.0, -1.0, "", "")
_NO_LOGGERS: dict[str, str] = {}


class Joint:
    """Writes both for one handler of the runtime's, on its framed sink."""

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
        self._functions = functions
        self._usual = list(LogRecord("", 0, "", 0, "", (), None).__dict__)
        self._watched = 0
        self._levels: dict[int, tuple[str, str, Any, bytes]] = {}
        """By number, for each level that has been watched: its name, as it is and as JSON without quotes, the frame
        type that the runtime's sink gets for a line, and what the sink writes for that type."""
        self._is_json = self._adds_tenant = self._returns_record = False
        self._of_handler: dict[str, object] = {}
        self._of_formatter: dict[str, object] = {}
        self._of_style: dict[str, object] = {}
        self._of_filter: dict[str, object] = {}
        self._formatter = self._style = self._filter = handler
        self._names: frozenset[str] | set[object] = MADE
        self._time_format = ""
        self._time = _NO_TIME
        """A line's second and millisecond, the second's text, and the text of both."""
        self._request = ("", "")
        """The request's id, as it is and as JSON without quotes."""

    def handle(self, otherwise: Callable[[Any, LogRecord], Any]) -> Callable[[Any, LogRecord], Any]:
        """Make the handler's ``handle``: it writes a log record's line and its record, where that is possible.

        Args:
            otherwise: Has the runtime write the line itself. Until it is called, nothing has happened.
        """
        recorder, names, pack_head, usual_order = self._recorder, self._globals, _HEAD.pack, self._usual
        bootstrap, formatter_class = self._bootstrap, self._bootstrap.JsonFormatter
        handler_class = type(self._handler)
        classes = (handler_class, bootstrap.LambdaLoggerFilter, bootstrap.FramedTelemetryLogSink)
        unaltered = self._functions[handler_class]

        # One function, because its time is what a line costs: a call less saves a fiftieth of that.
        def handle(handler: Any, record: LogRecord) -> Any:
            data = b""
            try:
                attributes = record.__dict__
                message: Any = record.msg
                arguments = record.args
                request = names["_GLOBAL_AWS_REQUEST_ID"]
                sink = handler.log_sink
                inner = sink.inner
                if (
                    handler.__class__ is handler_class
                    and handler.__dict__ == self._of_handler
                    and self._formatter.__dict__ == self._of_formatter
                    and self._style.__dict__ == self._of_style
                    and self._filter.__dict__ == self._of_filter
                    and "log" not in sink.__dict__
                    and "log" not in inner.__dict__
                    and Formatter.converter is gmtime
                    and unaltered[self._is_json]
                    == (called_for_json(*classes, formatter_class) if self._is_json else called_for_text(*classes))
                    and record.__class__ is LogRecord
                    and ([*attributes] == usual_order or self._names.issuperset(attributes))
                    and not (record.exc_info or record.exc_text or record.stack_info)
                    and type(message) is str
                    and type(arguments) is tuple
                    and type(request) is str
                    and not (self._adds_tenant and names["_GLOBAL_TENANT_ID"] is not None)
                    and (not self._is_json or attributes.get("taskName") is None)
                    and recorder.takes_short_way
                    and not too_deep
                    and not is_recorded
                    and (known := self._levels.get(record.levelno)) is not None
                    and (details := recorder.loggers.get(record.levelno, _NO_LOGGERS).get(record.name)) is not None
                    and record.levelname is known[0]
                ):
                    for argument in arguments:
                        if type(argument) not in _PLAIN:
                            break
                    else:
                        if arguments:
                            message %= arguments
                        second, msecs, clock, stamp = self._time
                        if msecs != record.msecs or second != record.created // 1:
                            second, msecs, clock, stamp = self._note_time(record)
                        request_known, request_json = self._request
                        if request is not request_known:
                            request_json = self._note_request(request)
                        level, level_json, frame_type, head = known
                        message_json = quote(message)
                        if self._is_json:
                            line = _json_line(clock, level_json, message_json, record.name, request_json)
                            start = (
                                f'{{"time":"{stamp}","type":"function","message":{line[:-1]}{details}{recorder.context}'
                            )
                        else:
                            line = f"[{level}]\t{stamp}\t{request}\t{message}\n"
                            start = (
                                f'{{"time":"{stamp}","type":"function","message":"[{level_json}]\\t{stamp}\\t'
                                f"{request_json}\\t{message_json[1:]}{details}{recorder.context}"
                            )
                        if len(message) <= _MESSAGE_MAX_CHARS:
                            data = line.encode()
            except Exception as error:
                if isinstance(error, RecursionError) or diagnostics.is_of_signal(error):
                    raise
            if not data:
                return otherwise(handler, record)  # an error of the function's own is raised here
            attributes["aws_request_id"] = request
            if self._adds_tenant:
                attributes["tenant_id"] = None
            if self._is_json:
                attributes["_frame_type"] = frame_type
            else:
                attributes["message"] = message
                attributes["asctime"] = clock
            lock = handler.lock
            lock.acquire()
            try:
                inner.file.write(pack_head(head, len(data), int(time.time_ns() / 1000)) + data)
            finally:
                lock.release()
            try:
                recorder.append(start, record.levelno)
            except RecursionError:
                too_deep.setdefault(get_ident(), []).append((record.created, line, 1, record))
            except Exception as error:
                recorder.not_recorded(line, error)
            return record if self._returns_record else True

        return handle

    def watch(self, handler: Any, record: LogRecord, passed: object, text: str, frame_type: Any) -> None:
        """Learn from a line that the runtime has written itself how to write the next one of its level.

        Args:
            handler: The one that has written.
            record: The log record that the line is of, as the record is now.
            passed: What the handler's ``filter`` said.
            text: What the handler gave to its sink.
            frame_type: The frame type given with the text; None for none.
        """
        level, number, request = record.levelname, record.levelno, self._globals["_GLOBAL_AWS_REQUEST_ID"]
        if self._watched == _WATCHED_MAX or (number in self._levels and handler.__dict__ == self._of_handler):
            return
        arguments: Any = record.args
        told = [(number, int), (level, str), (request, str), (record.msg, str), (arguments, tuple)]
        if not all(type(value) is kind for value, kind in told) or not _PLAIN.issuperset(map(type, arguments)):
            return
        self._watched += 1
        if handler is not self._handler or not self._note_made(handler):
            return
        attributes = record.__dict__
        self._adds_tenant = "tenant_id" in attributes
        self._returns_record = passed is record
        added: dict[str, object] = {"aws_request_id": request}
        if self._adds_tenant:
            added["tenant_id"] = None
        message = record.msg % arguments if arguments else record.msg
        level_json, request_json = quote(level)[1:-1], self._note_request(request)
        _, _, clock, stamp = self._note_time(record)
        if self._is_json:
            added["_frame_type"] = frame_type
            line = _json_line(clock, level_json, quote(message), record.name, request_json)
        else:
            added.update(message=message, asctime=clock)
            line = f"[{level}]\t{stamp}\t{request}\t{message}\n"
        is_known = all(name in self._names or name in added for name in attributes)
        if is_known and added.items() <= attributes.items() and text == line:
            head = _frame_head(handler.log_sink.inner, text, frame_type)
            self._levels[number] = (level, level_json, frame_type, head)

    def _note_made(self, handler: Any) -> bool:
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
            and [type(filter) for filter in filters] == [bootstrap.LambdaLoggerFilter]
            and Formatter.converter is gmtime
            and _FILTER_NAMES.issuperset(filters[0].__dict__)
        ):
            return False
        if is_json != self._is_json or not self._of_handler:
            self._levels.clear()
            self._is_json, self._names = is_json, MADE if is_json else usual
        if self._time_format != formatter.datefmt:
            self._time_format = formatter.datefmt
            self._time = _NO_TIME
        self._formatter, self._style, self._filter = formatter, style, filters[0]
        self._of_formatter, self._of_style = dict(formatter.__dict__), dict(style.__dict__)
        self._of_filter = dict(filters[0].__dict__)
        self._of_handler = {**handler.__dict__, "filters": [*filters]}
        return True

    def _note_time(self, record: LogRecord) -> tuple[float, float, str, str]:
        """Keep how a record's time reads.

        Raises:
            Exception: The record's time is none that a clock gives.
        """
        created_s, msecs = record.created, record.msecs
        if type(created_s) is not float or type(msecs) is not float or not (0 <= msecs < 1000 and created_s >= 0):
            raise ValueError("no time")
        second, rest_ms = created_s // 1, int(msecs)
        kept_second, _, clock, _ = self._time
        if second != kept_second:
            clock = time.strftime(self._time_format, gmtime(second))
        stamp = f"{clock.removesuffix('Z')}.{TWO_DIGITS[rest_ms // 10]}{rest_ms % 10}Z"
        self._time = kept = (second, msecs, clock, stamp)
        return kept

    def _note_request(self, request: str) -> str:
        """Keep how the request's id reads.

        Raises:
            ValueError: It is no plain text.
        """
        if not request.isascii():
            raise ValueError("no id")
        self._request = (request, quote(request)[1:-1])
        return self._request[1]


def _frame_head(sink: Any, text: str, frame_type: Any) -> bytes:
    """What the runtime's sink writes as a frame's type: the sink itself writes it here, to a file in memory.

    Raises:
        ValueError: The sink writes frames of another form than is written here.
    """
    probe = object.__new__(type(sink))
    probe.file = BytesIO()
    probe.log(text, frame_type)
    written, data, now_us = probe.file.getvalue(), text.encode(), time.time_ns() // 1000
    head, size_bytes, sent_us = _HEAD.unpack(written[: _HEAD.size])
    if (size_bytes, written[_HEAD.size :]) != (len(data), data) or not 0 <= now_us - sent_us < 60_000_000:
        raise ValueError("another frame")
    return bytes(head)


def _json_line(clock: str, level_json: str, message_json: str, logger: str, request_json: str) -> str:
    """What the runtime makes of a log record in its JSON format."""
    return (
        f'{{"timestamp": "{clock}", "level": "{level_json}", "message": {message_json}, "logger": {quote(logger)}, '
        f'"requestId": "{request_json}"}}\n'
    )
