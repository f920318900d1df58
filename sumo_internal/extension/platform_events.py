"""Events of Lambda's Telemetry API as records: what START, REPORT and a timeout look like at Sumo Logic. Pure.

The shapes are those of Sumo's Go extension, because its dashboards query them, with what it lacks: request id, tenant
id, a cold start that is told, and the timeout as a line of the function's.

==================  ==================================================================================================
``platform.*``      ``record`` as Lambda sends it; ``platform.report`` also as the REPORT line, in ``message``;
                    ``platform.runtimeDone`` without ``spans`` where SUMO_SPAN_DROP says so
``extension``       ``record``: the line
``function``        ``message``: the line, or the object that it is (only where the function is not heard in process)
a timeout           one record of type ``function``, ``<time> <requestId> Task timed out after <s> seconds``, which
                    Lambda writes to CloudWatch and tells the Telemetry API as a status only
==================  ==================================================================================================

What is given here has been JSON; beyond that it is not trusted. Nothing raises, whatever an event looks like. A record
is returned as its *start*, the text up to the brace that the spool adds.

Source of the formats: AWS, "Lambda Telemetry API Event schema reference", 2022-07-01 to 2025-01-29.
"""

from __future__ import annotations

import json
import re
from math import isfinite

from sumo_internal import own_secrets
from sumo_internal.capture import record_format
from sumo_internal.capture.record_format import quote, value_text
from sumo_internal.spool.segment import ERROR, INFO, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    Line = tuple[str, int]
    """A record's start, and the level at which the spool makes room for it."""
    Process = Callable[[str, str], "tuple[str, str, int] | None"]
    """What becomes of a line's text and fields, and its level; None where the line is not wanted."""

_SECONDS_LENGTH = len("2026-11-21T08:22:03")
_TIME_CHARACTERS = frozenset("0123456789-:.TZ")
_CUT_MIN_BYTES = 250_000
"""A line of at least so many bytes may have been cut by Lambda, which takes 256 KB, and go on in the next event."""
_REQUESTS_MAX = 1_000
"""Requests of which something is known at a time; 16 run beside each other on a processor."""
_NUMBER_MAX = 1e15
"""Beyond it a number is none that Lambda measures; a float is a whole number up to there."""
_MESSAGE_KEY = ',"message":'

_LOGGED = re.compile(r"\[([A-Z]{1,20})\]\t\d{4}-\d\d-\d\dT[\d:.]{8,15}Z\t")
"""How the runtime begins the line of a log record."""
_OF_TRACEBACK = ',"level":"ERROR"'

_REPORT = (
    ("Duration", "durationMs", " ms"),
    ("Billed Duration", "billedDurationMs", " ms "),
    ("Memory Size", "memorySizeMB", " MB"),
    ("Max Memory Used", "maxMemoryUsedMB", " MB"),
    ("Init Duration", "initDurationMs", " ms"),
)
"""The REPORT line's numbers: name, key among the metrics, unit. The blank behind "Billed Duration: 5 ms" is the Go
extension's; a number that is missing leaves no trace."""


class PlatformEvents:
    """Turns one environment's events into records, in the order in which Lambda delivers them."""

    def __init__(
        self,
        log_types: Iterable[str],
        keys: Mapping[str, str | None],
        *,
        is_span_dropped: bool,
        is_enhanced: bool,
        is_concurrent: bool = False,
        process: Process | None = None,
    ) -> None:
        """Begin with a new environment, which is cold.

        Args:
            log_types: Which of ``platform``, ``function``, ``extension`` become records.
            keys: What all records share: ``logGroup``, ``logStream``, ``LayerVersion``.
            is_span_dropped: Leave ``spans`` out of ``platform.runtimeDone``.
            is_enhanced: False leaves our keys out of the function's records (SUMO_ENHANCE_JSON_LOGS).
            is_concurrent: Requests overlap (Managed Instances): a line has its request in it, one that Lambda has
                announced, or the request is not known.
            process: What the function's lines pass.
        """
        self.log_types = frozenset(log_types)
        self.dropped = [0, 0]
        """Events, and bytes of them, that Lambda reports as dropped so far."""
        self.request_id: str | None = None
        """Of the invocation that was announced last."""
        self.line_request_id: str | None = None
        """Of the line that :meth:`lines` has made last."""
        self.is_functions = False
        """That line is one of the function's own."""
        self._unreported: dict[str, None] = {}
        self.has_ended = True
        """Has its runtime come to an end with it? From then on the environment may freeze."""
        self.timed_out_id: str | None = None
        """Of the invocation whose timeout was recorded last; the caller sets it where another process recorded it."""
        self.keys = dict(keys)
        """See above; a late note of the function's process changes them."""
        self._is_span_dropped = is_span_dropped
        self._is_enhanced = is_enhanced
        self._process = process
        self._first_id: str | None = None
        self._is_timed_out = False
        self._is_concurrent = is_concurrent
        self._is_cut = False
        """The function's next event goes on with the text of its last one."""
        self._contexts: dict[str, tuple[str | None, str | None]] = {}
        """Trace and tenant of the requests that were announced."""

    @property
    def is_reported(self) -> bool:
        """Has each announced invocation had its REPORT? It comes after the end, beside the next one or at SHUTDOWN.

        Where one invocation follows the other, only the last one's REPORT can still come.
        """
        return not self._unreported if self._is_concurrent else self.request_id not in self._unreported

    def announce(self, events: Iterable[object]) -> None:
        """Know of each request that begins in a delivery, wherever its start stands there."""
        for event in events:
            if isinstance(event, dict) and event.get("type") == "platform.start":
                self._announce(event.get("record"))

    def _announce(self, content: object) -> None:
        request_id = _text(content, "requestId")
        if request_id is not None:
            trace_id = record_format.trace_id(_text(_get(content, "tracing"), "value"))
            _remember(self._contexts, request_id, (trace_id, _text(content, "tenantId")))

    def lines(self, event: object, now: str) -> Iterator[Line]:
        """The records of one event: nearly always one; none of a type that is not wanted.

        Args:
            event: As the Telemetry API delivers it; anything else has no records.
            now: The time, as text, for an event without one.
        """
        self.is_functions = False
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            return
        kind, content = event["type"], event.get("record")
        time = _time(event.get("time"), now)
        category = kind.partition(".")[0]
        if category == "platform":
            self._follow(kind, content)
        if category in self.log_types:
            yield from self._function(content, time) if kind == "function" else self._other(kind, content, time)
        if kind in ("platform.runtimeDone", "platform.report") and _get(content, "status") == "timeout":
            duration_ms = _number(_get(_get(content, "metrics"), "durationMs"))
            yield from self.timeout(_text(content, "requestId"), time, duration_ms)

    def timeout(self, request_id: str | None, time: str, duration_ms: float | None = None) -> Iterator[Line]:
        """The record of a timeout, unless the timeout has one.

        Args:
            request_id: Of the invocation; None where it is not known: then it is the one announced last.
            time: When it was noticed, as text.
            duration_ms: What Lambda measured; None where it has not told.
        """
        has_record = self._is_timed_out if request_id is None else request_id == self.timed_out_id
        if "function" not in self.log_types or has_record:
            return
        self.is_functions = False
        request_id = request_id or (None if self._is_concurrent else self.request_id)
        self.timed_out_id, self._is_timed_out = request_id, True
        # The limit is a whole number of seconds; what was measured may be a little more.
        length = "the function's timeout" if duration_ms is None else f"{duration_ms / 1000:.1f}0 seconds"
        message = quote(f"{time} {request_id or '-'} Task timed out after {length}")
        yield self._start("function", time, f',"message":{message}', request_id, is_ours=True), ERROR

    def _follow(self, kind: str, content: object) -> None:
        """Note which invocation runs, and what Lambda says that it has dropped."""
        request_id = _text(content, "requestId")
        if kind == "platform.start" and request_id is not None:
            self.request_id = request_id
            self._announce(content)
            _remember(self._unreported, request_id, None)
            self._first_id = self._first_id or request_id
            self.has_ended = self._is_timed_out = False
        elif kind in ("platform.runtimeDone", "platform.report"):
            self.has_ended = self.has_ended or request_id == self.request_id
            if kind == "platform.report" and request_id is not None:
                self._unreported.pop(request_id, None)
        elif kind == "platform.logsDropped":
            for place, key in enumerate(("droppedRecords", "droppedBytes")):
                self.dropped[place] += max(0, int(_number(_get(content, key)) or 0))

    def _function(self, content: object, time: str) -> Iterator[Line]:
        """A line of the function's; without an announced request id it gets the one announced last, if that is alone.

        An id that was not announced is another service's.
        """
        if self._is_cut or (isinstance(content, str) and len(content) >= _CUT_MIN_BYTES // 4):
            content = self._without_pieces(content)
        if isinstance(content, str):
            text = content.rstrip("\r\n")
            if not text.strip():
                return
        else:
            text = value_text(content)
        message, details = record_format.line_text(text)
        if not details and "\r" in text and "\n" not in text:  # the runtime's report, where its log has no frames
            details = record_format.line_text(text.replace("\r", "\n"))[1]
        details = _details(content, text, details)
        inferred_id = None if self._is_concurrent else self.request_id
        own_id = _own_request_id(content)
        request_id = own_id if own_id in self._contexts else inferred_id
        level = INFO
        if self._process is not None:
            processed = self._process(text, details)
            if processed is None:
                return
            text, details, level = processed
            message = record_format.message_text(text)[0]
            if quote(request_id or "") not in text:
                request_id = inferred_id  # it is the object's own, and masked or withheld with it
        if not self._is_enhanced:
            details = ""
        self.line_request_id, self.is_functions = request_id, True
        yield from self._fitted("function", time, ("message", message, text), details, request_id, level)

    def _without_pieces(self, content: object) -> object:
        """A text without the pieces of our own secrets that Lambda's cut has left: neither of them is the secret."""
        if not isinstance(content, str):
            self._is_cut = False
            return content
        begins, self._is_cut = self._is_cut, len(content.encode("utf-8", "replace")) >= _CUT_MIN_BYTES
        return own_secrets.without_pieces(content, begins=begins, ends=self._is_cut)

    def _other(self, kind: str, content: object, time: str) -> Iterator[Line]:
        """An event of the platform's or of an extension's."""
        if kind == "platform.runtimeDone" and self._is_span_dropped and isinstance(content, dict):
            content = {key: value for key, value in content.items() if key != "spans"}
        elif kind == "extension" and isinstance(content, str):
            content = content.rstrip("\r\n")
        details = ""
        if kind == "platform.report" and (line := _report_line(content)):
            details = f',"message":{quote(line)}'
        text = value_text(content)
        level = WARNING if kind == "platform.logsDropped" else INFO
        yield from self._fitted(kind, time, ("record", text, text), details, _text(content, "requestId"), level)

    def _fitted(
        self,
        kind: str,
        time: str,
        named: tuple[str, str, str],
        details: str,
        request_id: str | None,
        level: int = INFO,
    ) -> Iterator[Line]:
        """One record, or numbered parts of its text in ``message`` where it is too long for one.

        Args:
            kind: The record's type.
            time: The event's.
            named: The key of the content, the content as JSON, and as text.
            details: Further keys, as a piece.
            request_id: Of the invocation.
            level: For the spool.
        """
        key, content, text = named
        start = self._start(kind, time, f',"{key}":{content}{details}', request_id)
        if record_format.fits(start):
            yield start, level
            return
        for part, numbers in record_format.parts(text):
            yield self._start(kind, time, f',"message":{part}', request_id) + numbers, level

    def _start(self, kind: str, time: str, piece: str, request_id: str | None, *, is_ours: bool = False) -> str:
        """A record's text up to its closing brace.

        Args:
            kind: Its type.
            time: The event's.
            piece: Its content.
            request_id: Of the invocation.
            is_ours: The record is no line of the function's, although it is of that type.
        """
        if kind == "function" and not self._is_enhanced and not is_ours:
            content = piece.removeprefix(_MESSAGE_KEY)  # an object is sent as itself, without its closing brace here
            return content.rstrip()[:-1] if content[:1] == "{" else f"{{{piece[1:]}"
        current = request_id or (None if self._is_concurrent else self.request_id)
        trace_id, tenant_id = self._contexts.get(current or "", (None, None))
        context = {
            "requestID": request_id,
            "traceId": trace_id if kind == "function" else None,  # an event's own is in it
            "tenantId": tenant_id,
            **self.keys,
            "IsColdStart": current == self._first_id,
        }
        return f'{{"time":"{time}","type":{quote(kind)}{piece}{record_format.context_text(context)}'


def _details(content: object, text: str, details: str) -> str:
    """Level and error of a line of the function's, as a piece: as the runtime has them in its own two formats.

    Args:
        content: The line as it came.
        text: The line.
        details: What the text itself says.
    """
    if isinstance(content, dict):
        kind, message, stack = (content.get(key) for key in ("errorType", "errorMessage", "stackTrace"))
        if isinstance(kind, str) and '"errorType":' not in details:
            frames = [str(frame) for frame in stack] if isinstance(stack, list) else []
            details += record_format.failure_text(kind, message if isinstance(message, str) else "", frames)
        return details
    logged = _LOGGED.match(text) if text[:1] == "[" else None
    level = record_format.level_text(logged[1]) if logged else ""
    # A traceback that was logged has its record's level, and no more.
    return record_format.logger_text(level, "") + details.removeprefix(_OF_TRACEBACK) if level else details


def _own_request_id(content: object) -> str | None:
    """The request id that a line of the function's has itself, as an object or as an object's text."""
    if isinstance(content, str) and content[:1] == "{" and '"requestId"' in content:
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return None
    return _text(content, "requestId")


def _remember(requests: dict[str, Any], request_id: str, value: object) -> None:
    """Remember something of a request, and forget the oldest request where there are many."""
    requests[request_id] = value
    while len(requests) > _REQUESTS_MAX:
        del requests[next(iter(requests))]


def _report_line(content: object) -> str:
    """The REPORT line as CloudWatch has it, of the numbers that are there; empty without a request id."""
    request_id = _text(content, "requestId")
    if request_id is None:
        return ""
    parts = [f"REPORT RequestId: {request_id}"]
    metrics = _get(content, "metrics")
    for name, key, unit in _REPORT:
        number = _number(_get(metrics, key))
        if number is not None:
            parts.append(f"{name}: {repr(round(number, 2)).removesuffix('.0')}{unit}")
    return "\t".join(parts)


def _get(content: object, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def _text(content: object, key: str) -> str | None:
    value = _get(content, key)
    return value if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < _NUMBER_MAX and isfinite(value) else None  # type: ignore[arg-type, return-value]  # just checked


def _time(value: object, now: str) -> str:
    """The event's time, if it is one that Sumo reads; it becomes part of a record as it is."""
    if not isinstance(value, str) or not _TIME_CHARACTERS.issuperset(value) or value[-1:] != "Z":
        return now
    seconds, _, fraction = value[:-1].partition(".")
    return f"{seconds}.{fraction[:3]:0<3}Z" if len(seconds) == _SECONDS_LENGTH and seconds[10] == "T" else now
