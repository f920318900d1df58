"""Records as text: what a line of the spool looks like, up to the ``id`` that the spool adds.

Pure functions of values; the one thing kept here is the time text of the running millisecond. The shape is a contract
(README, "A record"): one line of JSON, ``time`` first because Sumo takes the timestamp that stands furthest left, at
most :data:`RECORD_MAX_BYTES`.

What is the same for all lines of an invocation, or of a logger, is rendered once and then only copied: that is why a
record is put together from texts and not dumped from a dict. A dump of the same record costs five times as much. A
*piece* is such a text, ``,"key":value`` any number of times, to be put behind at least one other key.

Nothing here raises, whatever the function's own objects do when they are asked for their text.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache, lru_cache
from json.encoder import encode_basestring
from time import gmtime, strftime

from sumo_internal import diagnostics
from sumo_internal.capture import bounds, multiline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from typing import Any

RECORD_MAX_BYTES = 60 * 1024
"""Sumo slices messages above 64 KB, and the slices are no JSON; this leaves room for what its own pipeline adds."""

SHORT_MAX_CHARS = 4_000
"""Length of a message up to which its record fits, whatever its characters, and whatever else it has that is usual."""

_ENDING_BYTES = 100
"""Room for what the spool adds to a record: its id, of about 50, and the brace."""

_CHARACTER_MAX_BYTES = 6
"""Of a character in the spool: as an escape of JSON's, which is what a lone surrogate becomes there."""

_PART_MAX_BYTES = 48 * 1024
"""Bound on the text in one part of a split message, as JSON: the record's other keys need the rest."""

_FIELDS_MAX_BYTES = 7 * 1024
"""Bound on the fields that every part of a split message repeats; fields beyond it are sent behind the text."""

OBJECT_DEPTH_MAX = 500
"""Depth of a printed object that is sent as one; a deeper one stays the text that it is, because who reads it may not
read so deep. Python up to 3.13 does not, and later ones only stop where their own stack ends."""

_DEPTH_MAX = 20
"""Depth of lists and dicts in a value that has to be walked through; what lies deeper is sent as its text."""

_INTEGER_MAX = 1 << 63
"""Up to here an integer is written as it is; Python may refuse to make the text of a much longer one."""

_OWN_KEYS = frozenset(
    "time type message requestID logGroup logStream IsColdStart LayerVersion runtimeVersion level logger errorType"
    " errorMessage stackTrace traceId otelTraceID otelSpanID tenantId part parts id record sampleRate withheld"
    " accounting invokedFunctionArn executionArn replay held".split()
)
"""Keys of a record that a field of the user's cannot take; it is sent as ``extra_<name>`` then."""

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""The vocabulary of ``level``, with the numbers that ``logging`` has for it."""

_OTHER_LEVELS = ("TRACE", "VERBOSE", "NOTICE", "SUCCESS")
"""Levels that stay as they are, because nothing in :data:`LEVELS` says the same."""

_SAME_LEVELS = {
    **dict.fromkeys(("INFORMATION", "INFORMATIONAL"), "INFO"),
    **dict.fromkeys(("WARN",), "WARNING"),
    **dict.fromkeys(("ERR", "SEVERE", "EXCEPTION"), "ERROR"),
    **dict.fromkeys(("CRIT", "FATAL", "ALERT", "EMERG", "EMERGENCY", "PANIC"), "CRITICAL"),
}
"""Other words for one of the levels: syslog's, Google's, Java's, and those of logging libraries."""

_BUNYAN_LEVELS = {10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARNING", 50: "ERROR", 60: "CRITICAL"}
"""The numbers of Bunyan and Pino, in whose format Python programs print objects as well."""

_LEVEL_KEYS = ("level", "severity", "log.level", "lvl", "levelname")
"""Where a printed object may have its level; ``log.level`` is the Elastic Common Schema's, as a key or as two."""

_PLAIN_FIELDS_MAX, _PLAIN_MAX_CHARS = 50, 500
"""Fields, and characters of a name or a text, up to which they are rendered without a look at how much that may be."""

_KEPT_MAX_CHARS = 200
"""Length of a logger's name for which the keys of objects that are printed are kept."""

_LEVEL_MAX_CHARS = 50
"""Length of a level that a program has made up; a longer word is no level."""

_ANSI = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])"
"""Control sequences of ECMA-48; the text of an operating system command (a title, a link) is part of its sequence."""

quote = encode_basestring
"""A text as JSON, not escaped to ASCII: Sumo bills by the byte."""

TWO_DIGITS = tuple(tens + ones for tens in "0123456789" for ones in "0123456789")
"""Looking up a number's text takes a twentieth of the time that formatting it takes."""

_kept_time = (0.0, 0.0, 0, "1970-01-01T00:00:00.", "")


def time_text(epoch_s: float) -> str:
    """``2026-11-21T08:22:03.123Z`` of a POSIX time in seconds: the one of Sumo's formats that JSON people expect."""
    begin_s, end_s, _, _, text = _kept_time
    return text if begin_s <= epoch_s < end_s else millisecond(epoch_s)[2]


def millisecond(epoch_s: float) -> tuple[float, float, str]:
    """The millisecond that a POSIX time lies in: its begin, which may be the time itself, its end, and its text."""
    global _kept_time
    _, _, second, start, _ = _kept_time
    epoch_ms = int(epoch_s * 1000)
    if epoch_ms // 1000 != second:
        second = epoch_ms // 1000
        start = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second))
    rest_ms = epoch_ms % 1000
    text = f"{start}{TWO_DIGITS[rest_ms // 10]}{rest_ms % 10}Z"
    end_s = (epoch_ms + 1) / 1000 - 0.000_001  # less what floats are off by
    _kept_time = (epoch_s, end_s, second, start, text)
    return epoch_s, end_s, text


def context_text(keys: Mapping[str, str | bool | None]) -> str:
    """The keys that all lines of an invocation share, as a piece; what is not known has no key."""
    return piece((key, value) for key, value in keys.items() if value is not None)


def start_text(created_s: float, message: str, details: str, context: str | None) -> str:
    """A record of the function up to its closing brace, which the spool adds.

    Args:
        created_s: POSIX time.
        message: What was written, as JSON.
        details: Its own keys, as a piece.
        context: The keys of :func:`context_text`; None for the message alone (SUMO_ENHANCE_JSON_LOGS).
    """
    if context is not None:
        return f'{{"time":"{time_text(created_s)}","type":"function","message":{message}{details}{context}'
    return message.rstrip()[:-1] if message[:1] == "{" else f'{{"message":{message}'


def trace_id(header: str | None) -> str | None:
    """The trace's own id in an X-Ray header, ``Root=1-…;Parent=…;Sampled=1``; None where there is none."""
    return next((part[5:] for part in (header or "").split(";") if part.startswith("Root=")), None)


def span_text(trace: int, span: int) -> str:
    """OpenTelemetry's two ids, as its own logging integration writes them, as a piece."""
    return f',"otelTraceID":"{trace:032x}","otelSpanID":"{span:016x}"'


def trace_keys_text(details: str) -> str:
    """``trace_id`` and ``span_id``, as others call what OpenTelemetry's two keys say, as a piece.

    Args:
        details: A record's fields, as a piece; one that has such keys already gets none.
    """
    trace, span = (details.partition(f'"{key}":"')[2].partition('"')[0] for key in ("otelTraceID", "otelSpanID"))
    if not trace or '"trace_id":' in details or '"span_id":' in details:
        return ""
    return piece((("trace_id", trace), ("span_id", span)))


def logger_text(level: str, logger: str) -> str:
    """``,"level":"INFO","logger":"orders"``; what is empty has no key."""
    return piece((key, value) for key, value in (("level", level), ("logger", logger)) if value)


_kept_logger_text = lru_cache(maxsize=100)(logger_text)


def kept_logger_text(level: str, logger: str) -> str:
    """The same, kept for short names."""
    return _kept_logger_text(level, logger) if len(logger) <= _KEPT_MAX_CHARS else logger_text(level, logger)


@lru_cache(maxsize=100)
def level_text(word: str) -> str:
    """A level as records have it: one of :data:`LEVELS`, or the word in capitals; empty where it is no level's.

    Args:
        word: As a program has written it: in small letters, padded, coloured for a terminal, abbreviated.
    """
    level = re.sub("\x1b\\[[0-9;]*m", "", word).strip().upper()
    return _SAME_LEVELS.get(level, level if len(level) <= _LEVEL_MAX_CHARS else "")


def object_level(content: Mapping[str, Any]) -> str:
    """The level of a printed object; empty where it has none."""
    for key in _LEVEL_KEYS:
        said = content.get(key)
        if key == "log.level" and said is None and type(content.get("log")) is dict:
            said = content["log"].get("level")
        if type(said) is str:
            level = level_text(said)
            if level in LEVELS or level in _OTHER_LEVELS:  # a game, too, has a level, and a password may be anywhere
                return level
        elif type(said) is int and said in _BUNYAN_LEVELS and key in ("level", "lvl"):
            return _BUNYAN_LEVELS[said]
    return ""


def message_text(text: str) -> tuple[str, str]:
    """What stands behind ``"message":`` for a line: its text, or the object that it is.

    Returns:
        The JSON text, and the keys of a record that the object brings (its level and logger), as a piece.
    """
    if text[:1] == "{" and text.rstrip()[-1:] == "}":
        try:
            content, end = _scan(text, 0)  # ``decode`` without its search for white space, which takes as long
        except (ValueError, StopIteration, RecursionError):
            return quote(text), ""
        if end != len(text) and text[end:].strip(" \t\n\r"):
            return quote(text), ""
        if len(text) > 2 * OBJECT_DEPTH_MAX and _is_deeper(content, OBJECT_DEPTH_MAX):
            return quote(text), ""
        # Line breaks can only stand between the tokens here (inside a string they are no JSON); a record is one line.
        flat = text.replace("\r", " ").replace("\n", " ")
        logger = content.get("logger")
        details = kept_logger_text(object_level(content), logger if type(logger) is str else "")
        keys = multiline.object_keys(content) if "exception" in content or "exc_info" in content else None
        return flat, details + ("" if keys is None else failure_text(*keys))
    return quote(text), ""


def _is_deeper(value: object, depth: int) -> bool:
    """Do lists and objects lie in each other more than so deep?"""
    level = [value]
    for _ in range(depth):
        inner = [each.values() if type(each) is dict else each for each in level if isinstance(each, (dict, list))]
        level = [value for values in inner for value in values]
        if not level:
            return False
    return any(isinstance(each, (dict, list)) for each in level)


@cache
def _ansi() -> re.Pattern[str]:
    return re.compile(_ANSI)  # which takes a quarter of a millisecond, and few functions have a use for it


def without_ansi(text: str) -> str:
    """A text without the sequences that colour it, or move a terminal's cursor."""
    return _ansi().sub("", text)


def line_text(text: str) -> tuple[str, str]:
    """What stands behind ``"message":`` for a text that was written, and the keys that the text gives, as a piece.

    Like :func:`message_text`; and a text that is a traceback says which error it is.
    """
    message, details = message_text(text)
    keys = multiline.traceback_keys(text) if not details and "\n" in text else None
    return message, details if keys is None else f',"level":"ERROR"{failure_text(*keys)}'


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_scan = _decoder.scan_once  # type: ignore[attr-defined]  # what ``raw_decode`` calls
decode = _decoder.decode


def legible(text: str) -> str:
    """A text that holds bytes (as ``surrogateescape`` does) as one that can be read: nothing of it is lost.

    Bytes that make up a character together are that character, however they were written; others become ``\\xff``.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:
            pass  # surrogates of the function's own, which the spool writes as JSON's escapes
    return text


def value_text(value: object) -> str:
    """Any value as JSON; what JSON does not know is sent as its text, and nothing the value does can raise."""
    kind = type(value)
    if kind is str:
        return quote(value)  # type: ignore[arg-type]  # it is one
    if kind is int and -_INTEGER_MAX < value < _INTEGER_MAX:  # type: ignore[operator]
        return repr(value)  # the encoder takes five times as long
    try:
        return _dump(value)
    except BaseException as error:  # a NaN, a cycle, a key or an integer that JSON does not take
        diagnostics.pass_on(error)
        try:
            return _dump(_plain(value, ()))
        except BaseException as problem:
            diagnostics.pass_on(problem)
            return quote(_text_of_value(value))


def text_of(value: object) -> str:
    """The text of any value, as ``str`` has it; where that cannot be had, a text that says so."""
    try:
        return str(value)
    except BaseException as error:
        diagnostics.pass_on(error)
        # Python refuses to write out an integer of more than 4,300 digits (or of 640, as set), but not to base 16.
        return hex(value) if type(value) is int else f"<unprintable {type(value).__name__}: {type(error).__name__}>"


def _text_of_value(value: object) -> str:
    """The text of what JSON does not know, or the beginning of it."""
    return bounds.bounded_text(text_of(value))


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_text_of_value).encode


def _plain(value: object, around: tuple[int, ...]) -> object:
    """A value as JSON can have it, part by part.

    Args:
        value: Anything.
        around: Identities of the lists and dicts that it lies in.
    """
    if isinstance(value, (dict, list, tuple)):
        if id(value) in around or len(around) == _DEPTH_MAX:
            return text_of(value)
        around = (*around, id(value))
        if isinstance(value, dict):
            return {key if isinstance(key, str) else text_of(key): _plain(item, around) for key, item in value.items()}
        return [_plain(item, around) for item in value]
    if (isinstance(value, float) and not math.isfinite(value)) or (type(value) is int and value.bit_length() > 2_000):
        return _text_of_value(value)
    return value


def piece(fields: Iterable[tuple[str, object]]) -> str:
    """Keys and values as a piece, in their order; each name is sent as it is."""
    return "".join(f",{quote(name)}:{value_text(value)}" for name, value in fields)


def fields_text(fields: Mapping[str, object], own: Container[str] = ()) -> str:
    """Fields as a piece; one named like a key of ours is sent under another name, unless it is in ``own``."""
    if not own and len(fields) <= _PLAIN_FIELDS_MAX:
        texts = []
        for name, value in fields.items():
            kind = type(value)
            if len(name) > _PLAIN_MAX_CHARS:
                break
            if kind is str and len(value) <= _PLAIN_MAX_CHARS:  # type: ignore[arg-type]  # it is one
                texts.append(f"{_key_text(name)}{quote(value)}")  # type: ignore[arg-type]  # it is one
            elif kind is int and -_INTEGER_MAX < value < _INTEGER_MAX:  # type: ignore[operator]  # it is one
                texts.append(f"{_key_text(name)}{value}")
            else:
                break
        else:
            return "".join(texts)  # nearly always; this takes a third of the time
    kept = bounds.bounded({name if name in own else free_key(name): value for name, value in fields.items()})
    return piece(kept.items())


def free_key(name: str) -> str:
    """The key under which a field of the user's is sent: its name, unless that is a key of ours."""
    bare = name
    while bare.startswith("extra_"):
        bare = bare[len("extra_") :]  # so that a field "extra_id" does not meet the one that "id" becomes
    return f"extra_{name}" if bare in _OWN_KEYS else name


@lru_cache(maxsize=500)
def _key_text(name: str) -> str:
    """The beginning of a field as a piece."""
    return f",{quote(free_key(name))}:"


def failure_text(kind: str, message: str, stack: list[str]) -> str:
    """The three keys of an exception, as a piece."""
    return piece((("errorType", kind), ("errorMessage", message), ("stackTrace", stack)))


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


def size_bytes(text: str) -> int:
    """The bytes that a text takes in the spool, where lone surrogates are JSON's escapes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))


def fits(start: str) -> bool:
    """Is a record, up to its closing brace, short enough to be sent as one?"""
    if len(start) * _CHARACTER_MAX_BYTES < RECORD_MAX_BYTES:
        return True  # nearly always, without encoding it
    return size_bytes(start) < RECORD_MAX_BYTES - _ENDING_BYTES


def fitting(message: str, details: str) -> tuple[str, str]:
    """Which fields of a record that is too long may stay keys of all its parts, and what becomes of the others.

    Args:
        message: The record's message, as JSON.
        details: Its fields, as a piece.

    Returns:
        The smallest fields, as a piece; and the others as text to be put behind the message's, an object on a line of
        its own. Those that are in the message, because it is an object, are in neither.
    """
    fields = json.loads(f"{{{details[1:]}}}")
    kept: dict[str, object] = {}
    left_bytes = _FIELDS_MAX_BYTES
    for name in sorted(fields, key=lambda name: size_bytes(value_text(fields[name]))):
        left_bytes -= size_bytes(piece([(name, fields[name])]))
        if left_bytes < 0:
            break
        kept[name] = fields.pop(name)
    content = json.loads(message) if message[:1] == "{" else {}
    moved = {name: value for name, value in fields.items() if content.get(name, ...) != value}
    return piece(kept.items()), f"\n{value_text(moved)}" if moved else ""


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Cut a text that is too long for one record.

    Yields:
        For each part its JSON text, and its ``part`` and ``parts`` keys as a piece. The parts put together again are
        the text; none is cut inside a character.
    """
    pieces = []
    begin = 0
    while begin < len(text):
        length = _PART_MAX_BYTES  # characters, of at least one byte each
        while (taken := size_bytes(quote(text[begin : begin + length]))) > _PART_MAX_BYTES and length > 1:
            length = min(length, len(text) - begin) * _PART_MAX_BYTES // taken
        pieces.append(quote(text[begin : begin + length]))
        begin += length
    for number, piece in enumerate(pieces, 1):
        yield piece, f',"part":{number},"parts":{len(pieces)}'
