"""Records as text: what a line of the spool looks like, up to the ``id`` that the spool adds.

Pure functions of values; the one thing kept here is the time text of the running second. The shape is a contract
(README, "A record"): one line of JSON, ``time`` first because Sumo takes the timestamp that stands furthest left, at
most :data:`RECORD_MAX_BYTES`.

What is the same for all lines of an invocation, or of a logger, is rendered once and then only copied: that is why a
record is put together from texts and not dumped from a dict. A dump of the same record costs five times as much.
"""

from __future__ import annotations

import json
import traceback
from json.encoder import encode_basestring
from time import gmtime, strftime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from logging import LogRecord
    from typing import Any

RECORD_MAX_BYTES = 60 * 1024
"""Sumo slices messages above 64 KB, and the slices are no JSON; this leaves room for what its own pipeline adds."""

_PART_MAX_BYTES = 48 * 1024
"""Of a split message's text in one part, as JSON: a record's other keys need the rest."""

_OWN_KEYS = frozenset(
    "time type message requestID logGroup logStream IsColdStart LayerVersion runtimeVersion level logger errorType"
    " errorMessage stackTrace traceId otelTraceID otelSpanID tenantId part parts id record".split()
)
"""Keys of a record that a field of the user's cannot take; it is sent as ``extra_<name>`` then."""

STANDARD_ATTRIBUTES = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created"
    " msecs relativeCreated thread threadName processName process taskName message asctime aws_request_id tenant_id"
    " _frame_type".split()
)
"""What a LogRecord has that is no ``extra``: the standard library's attributes and the runtime's own."""

quote = encode_basestring
"""A text as JSON, not escaped to ASCII: Sumo bills by the byte."""

_second = (0, "")


def time_text(epoch_s: float) -> str:
    """``2026-11-21T08:22:03.123Z`` of a POSIX time in seconds: the one of Sumo's formats that JSON people expect."""
    global _second
    second = int(epoch_s)
    kept = _second
    if kept[0] != second:
        _second = kept = (second, strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second)))
    return f"{kept[1]}{int((epoch_s - second) * 1000):03d}Z"


def context_text(keys: Mapping[str, str | bool | None]) -> str:
    """The keys that all lines of an invocation share, as a piece of an object's text: ``,"requestID":"…"``."""
    return "".join(f",{quote(key)}:{value_text(value)}" for key, value in keys.items() if value is not None)


def logger_text(level: str, logger: str) -> str:
    """``,"level":"INFO","logger":"orders"``."""
    return f',"level":{quote(level)},"logger":{quote(logger)}'


def message_text(text: str) -> tuple[str, str]:
    """What stands behind ``"message":`` for a line: its text, or the object that it is.

    Returns:
        The JSON text, and the keys of a record that the object brings (its level), as a piece of an object's text.
    """
    if text[:1] == "{" and text.rstrip()[-1:] == "}":
        try:
            content = _decode(text)
        except (ValueError, RecursionError):
            return quote(text), ""
        level = content.get("level")
        # Line breaks can only stand between the tokens here (inside a string they are no JSON); a record is one line.
        flat = text.replace("\r", " ").replace("\n", " ")
        return flat, f',"level":{quote(level)}' if isinstance(level, str) else ""
    return quote(text), ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def value_text(value: object) -> str:
    """Any value as JSON; what JSON does not know is sent as its text, and nothing the value does can raise."""
    if type(value) is str:
        return quote(value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except Exception:
        try:
            return quote(str(value))
        except Exception as error:
            return quote(f"<unprintable {type(value).__name__}: {type(error).__name__}>")


def extra_text(record: LogRecord) -> str:
    """A log record's own fields (``extra=``), each a key of its own, as a piece of an object's text.

    The standard library's attributes come first in a record and the runtime's last, so looking from the end until a
    standard one is met finds in a few steps that there are none, which is nearly always so.
    """
    fields = []
    for name in reversed(record.__dict__):
        if name not in STANDARD_ATTRIBUTES:
            fields.append(name)
        elif name == "process":
            break
    return "".join(
        f",{quote(f'extra_{name}' if name in _OWN_KEYS else name)}:{value_text(record.__dict__[name])}"
        for name in reversed(fields)
    )


def exception_text(record: LogRecord) -> str:
    """``errorType``, ``errorMessage`` and ``stackTrace`` of a log record with an exception."""
    info = record.exc_info
    if not info or info[0] is None:
        return ""
    try:
        message = str(info[1])
    except Exception as error:
        message = f"<unprintable: {type(error).__name__}>"
    return failure_text(info[0].__name__, message, traceback.format_tb(info[2]))


def failure_text(kind: str, message: str, stack: list[str]) -> str:
    """The three keys of an exception, as a piece of an object's text."""
    return f',"errorType":{value_text(kind)},"errorMessage":{value_text(message)},"stackTrace":{value_text(stack)}'


def accounting_text(counts: Mapping[str, tuple[int, int]], losses: Mapping[str, str]) -> tuple[str, str]:
    """What has become of lines that had trouble: a sentence, and the counts as a JSON object.

    Args:
        counts: Lines and bytes by reason, cumulative for the environment.
        losses: Which of the reasons mean that lines are lost, in words.

    Returns:
        ``3 lines lost (/tmp is full)`` or ``no line lost``, and
        ``{"retried":{"lines":5,"bytes":1200},"lost":{"diskFull":{"lines":3,"bytes":700}}}``.
    """
    pairs = {reason: {"lines": lines, "bytes": size_bytes} for reason, (lines, size_bytes) in counts.items()}
    lost = {reason: pair for reason, pair in pairs.items() if reason in losses}
    shown: dict[str, object] = {reason: pair for reason, pair in pairs.items() if reason not in losses}
    sentence = "; ".join(f"{pair['lines']} lines lost ({losses[reason]})" for reason, pair in lost.items())
    return sentence or "no line lost", value_text({**shown, "lost": lost})


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Cut a text that is too long for one record.

    Yields:
        For each part its JSON text, and its ``part`` and ``parts`` keys as a piece of an object's text. The parts put
        together again are the text; none is cut inside a character.
    """
    pieces = []
    begin = 0
    while begin < len(text):
        # A character takes one to six bytes as JSON: try the most it could hold, and halve until it fits.
        size = min(_PART_MAX_BYTES, len(text) - begin)
        while size > 1 and len(quote(text[begin : begin + size]).encode("utf-8", "backslashreplace")) > _PART_MAX_BYTES:
            size //= 2
        pieces.append(quote(text[begin : begin + size]))
        begin += size
    for number, piece in enumerate(pieces, 1):
        yield piece, f',"part":{number},"parts":{len(pieces)}'
