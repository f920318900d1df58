"""Rendering: whatever a text, a value or a log record holds, it is one line of JSON and comes back as it was."""

from __future__ import annotations

import json
import re
from collections import UserDict
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sumo_internal.capture import record_format

CHARACTERS = st.one_of(
    st.characters(),  # everything that is text, lone surrogates too
    st.characters(max_codepoint=0x1F),
    st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"]),
    st.sampled_from('{}[]":,\\/ \t\r\n\x0b\x85\u2028\u2029'),
)
TEXTS = st.text(CHARACTERS)


def as_read(value: Any) -> Any:
    """A value as JSON gives it back: two surrogates that make up a pair are the character they stand for."""
    return json.loads(json.dumps(value))


KEYS = TEXTS.map(as_read)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; a key that comes twice is lost to some readers and fatal to others."""
    assert len(dict(pairs)) == len(pairs), [key for key, _ in pairs]
    return dict(pairs)


def read(rendered: str) -> Any:
    """What a reader gets from rendered text, once the spool has encoded it; a record is one line."""
    sent = rendered.encode("utf-8", "backslashreplace")
    assert b"\n" not in sent and b"\r" not in sent
    return json.loads(sent, object_pairs_hook=unique)


def read_keys(piece: str) -> dict[str, Any]:
    """What a reader gets from a piece of an object's text."""
    keys: dict[str, Any] = read(f'{{"in front":0{piece}}}')
    del keys["in front"]
    return keys


@given(TEXTS)
def test_any_text_comes_back(text: str) -> None:
    """Control characters, quotes, line ends, surrogates: a line that is no JSON breaks a whole batch at Sumo."""
    assert read(record_format.quote(text)) == as_read(text)


@given(
    st.one_of(
        TEXTS,
        OBJECTS.map(json.dumps),
        st.builds(
            lambda value, indent, ascii, at, other: (
                (text := json.dumps(value, indent=indent, ensure_ascii=ascii))[:at] + other + text[at + len(other) :]
            ),
            OBJECTS,
            st.none() | st.integers(0, 3) | st.just("\r\n"),
            st.booleans(),
            st.integers(0, 40),
            st.text(CHARACTERS, max_size=1),
        ),
    )
)
@example('{"a":"\\\udc80"}')
@example('{"a":NaN}')
@example('{"a":1}\x85')
@settings(max_examples=300)
def test_a_line_is_its_text_or_the_object_that_it_is(text: str) -> None:
    """JSON-looking text stays text unless it is an object by the letter; then the object arrives, on one line."""
    message = read(record_format.message_text(text)[0])

    if isinstance(message, dict):
        assert message == as_read(json.loads(text))
    else:
        assert message == as_read(text)


@given(OBJECTS, st.none() | st.integers(0, 3), st.booleans())
def test_an_object_is_sent_as_an_object(value: dict[str, Any], indent: int | None, is_ascii: bool) -> None:
    """Structured lines (structlog, Powertools) arrive structured, indented ones too."""
    message, keys = record_format.message_text(json.dumps(value, indent=indent, ensure_ascii=is_ascii))

    assert read(message) == as_read(value)
    level = value.get("level")
    assert read_keys(keys) == ({"level": as_read(level)} if isinstance(level, str) else {})


@pytest.mark.parametrize(
    ("text", "message", "keys"),
    [
        ("", "", {}),
        ("{}", {}, {}),
        ('{"level":"WARN","a":1}', {"level": "WARN", "a": 1}, {"level": "WARNING"}),
        ('{"level":"x\\n\\"y"}', {"level": 'x\n"y'}, {}),
        ('{"logger":"x\\n\\"y"}', {"logger": 'x\n"y'}, {"logger": 'x\n"y'}),
        ('{"a":1} \t\r\n', {"a": 1}, {}),
        ('{"a":\r\n1}', {"a": 1}, {}),
        ('{"a":"\udc80"}', {"a": "\udc80"}, {}),
        ('{"a":1}}', '{"a":1}}', {}),
        ('{"a":1}{"b":2}', '{"a":1}{"b":2}', {}),
        ('{"a":1} x', '{"a":1} x', {}),
        ('{"a":"\n"}', '{"a":"\n"}', {}),
        ('{"a":Infinity}', '{"a":Infinity}', {}),
        ("{'a':1}", "{'a':1}", {}),
        ("[1]", "[1]", {}),
        ('"a"', '"a"', {}),
        ("null", "null", {}),
        ("42", "42", {}),
        (' {"a":1}', ' {"a":1}', {}),
        ("{" * 50_000 + "}", "{" * 50_000 + "}", {}),
        ('{"a":' + "[" * 50_000 + "]" * 50_000 + "}", '{"a":' + "[" * 50_000 + "]" * 50_000 + "}", {}),
        ('{"a":' + "[" * 499 + "]" * 499 + "}", {"a": json.loads("[" * 499 + "]" * 499)}, {}),
        ('{"a":' + "[" * 500 + "]" * 500 + "}", '{"a":' + "[" * 500 + "]" * 500 + "}", {}),
        ('{"a":' + "9" * 5_000 + "}", '{"a":' + "9" * 5_000 + "}", {}),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_what_counts_as_an_object(text: str, message: object, keys: dict[str, str]) -> None:
    """Only an object of JSON proper; arrays, scalars, Python's own constants and what a reader may refuse stay text."""
    rendered = record_format.message_text(text)
    assert (read(rendered[0]), read_keys(rendered[1])) == (message, keys)


@given(VALUES)
def test_any_json_value_comes_back(value: object) -> None:
    """A field of a log record arrives as the value that it is."""
    assert read(record_format.value_text(value)) == as_read(value)


class Unprintable:
    """An object whose text cannot be had."""

    def __str__(self) -> str:
        raise KeyError("no text")

    __repr__ = __str__


class Name(str):
    """A text whose own text is another one."""

    def __str__(self) -> str:
        return "something else"


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("1.50"), "1.50"),
        ({"amount": Decimal("1.50")}, {"amount": "1.50"}),
        (b"\xff", "b'\\xff'"),
        ({1}, "{1}"),
        ((1, 2), [1, 2]),
        (Name("name"), "name"),
        (float("nan"), "nan"),
        ([float("-inf"), 1], ["-inf", 1]),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        ({1: 2, None: True}, {"1": 2, "null": True}),
        (UserDict(a=1), "{'a': 1}"),
        (LOOP, ["[[...]]"]),
        ([float("nan"), {"in": (LOOP, None)}], ["nan", {"in": [["[[...]]"], None]}]),
        ({"huge": 10**5_000, "other": 1}, {"huge": hex(10**5_000), "other": 1}),
        (Unprintable(), "<unprintable Unprintable: KeyError>"),
        ([Unprintable(), 1], ["<unprintable Unprintable: KeyError>", 1]),
    ],
    ids=lambda value: "",
)
def test_a_value_that_is_no_json_is_sent_as_its_text(value: object, expected: object) -> None:
    """Any object may be a field; none raises in the function's logging call."""
    assert read(record_format.value_text(value)) == expected


def test_a_value_too_deep_or_too_long_is_sent_as_something() -> None:
    """What neither JSON nor str can render (nesting without end, an integer beyond Python's limit) does not raise."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert "unprintable list" in str(read(record_format.value_text(deep)))
    assert int(read(record_format.value_text(10**5_000)), 16) == 10**5_000


@given(st.dictionaries(KEYS, st.none() | st.booleans() | TEXTS))
def test_context_keys_come_back_without_the_empty_ones(keys: dict[str, str | bool | None]) -> None:
    """What is not known (no X-Ray, no tenant) has no key."""
    known = {key: value for key, value in keys.items() if value is not None}
    assert read_keys(record_format.context_text(keys)) == as_read(known)


@given(TEXTS, TEXTS)
def test_level_and_logger_come_back(level: str, logger: str) -> None:
    """Names of loggers and levels are free text; without one there is no key."""
    named = {key: name for key, name in (("level", level), ("logger", logger)) if name}
    assert read_keys(record_format.logger_text(level, logger)) == as_read(named)


@pytest.mark.parametrize(
    ("word", "level"),
    [
        *((name.lower(), name) for name in record_format.LEVELS),
        ("\x1b[33mWARNING \x1b[0m", "WARNING"),
        (" \x1b[1;31merr\x1b[0m", "ERROR"),
        ("Warn", "WARNING"),
        ("fatal", "CRITICAL"),
        ("exception", "ERROR"),
        ("Information", "INFO"),
        ("EMERGENCY", "CRITICAL"),
        ("success", "SUCCESS"),
        ("x" * 50, "X" * 50),
        ("x" * 51, ""),
        ("", ""),
    ],
)
def test_levels_are_one_vocabulary(word: str, level: str) -> None:
    """A query for WARNING finds them all, however a formatter or another language's library writes them."""
    assert record_format.level_text(word) == level


@pytest.mark.parametrize(
    ("content", "level"),
    [
        ({"level": "error"}, "ERROR"),
        ({"severity": "NOTICE"}, "NOTICE"),
        ({"severity": "WARNING"}, "WARNING"),
        ({"log.level": "warn"}, "WARNING"),
        ({"log": {"level": "error"}}, "ERROR"),
        ({"lvl": "crit"}, "CRITICAL"),
        ({"levelname": "\x1b[31mERROR\x1b[0m"}, "ERROR"),
        *(({"level": 10 * number + 10}, name) for number, name in enumerate(["TRACE", *record_format.LEVELS])),
        ({"level": "info", "severity": "ERROR"}, "INFO"),
        ({"level": "beginner", "severity": "ERROR"}, "ERROR"),
        ({"level": 7, "levelname": "ERROR"}, "ERROR"),
        ({"severity": 30, "log": "text", "lvl": True, "levelname": None}, ""),
        ({"level": ["ERROR"], "log": {"level": {"a": 1}}}, ""),
    ],
)
def test_a_printed_objects_level(content: dict[str, Any], level: str) -> None:
    """Under any of the usual keys, in words or in Bunyan's and Pino's numbers; a word that is no level's is none."""
    assert record_format.object_level(content) == level
    assert read_keys(record_format.message_text(json.dumps(content))[1]).get("level", "") == level


@given(st.integers(0, 4_102_444_800), st.integers(0, 999))
def test_time_text_is_the_instant(second: int, millisecond: int) -> None:
    """Sumo's own form of a time stamp, UTC, never later than the event and less than a millisecond earlier."""
    text = record_format.time_text(second + millisecond / 1000)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    shown_s = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    assert 0 <= round(second + millisecond / 1000 - shown_s, 6) <= 0.001


@pytest.mark.parametrize(
    ("epoch_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_795_162_923.123, "2026-11-20T08:22:03.123Z"),
        (1_795_162_923.999_999, "2026-11-20T08:22:03.999Z"),
        (1_795_162_924.0, "2026-11-20T08:22:04.000Z"),
        (1_795_162_923.5, "2026-11-20T08:22:03.500Z"),
    ],
)
def test_time_text(epoch_s: float, text: str) -> None:
    """No second runs over, and going back to an earlier second is not answered from what was kept."""
    assert record_format.time_text(epoch_s) == text


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            "1-5759e988-bd862e3fe1be46a994272793",
        ),
        ("Sampled=0;Root=1-a", "1-a"),
        ("Parent=a;Lineage=b:0", None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_has_an_id(header: str | None, trace: str | None) -> None:
    """The header's parts come in any order; X-Ray shows the trace by its root."""
    assert record_format.trace_id(header) == trace


def test_a_span_is_shown_as_opentelemetry_shows_it() -> None:
    """In hexadecimal digits, zeros in front."""
    keys = read_keys(record_format.span_text(0xAB, 0xCD))
    assert keys == {"otelTraceID": "ab".zfill(32), "otelSpanID": "cd".zfill(16)}


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [
        (b"plain", "plain"),
        ("é\U0001f600".encode(), "é\U0001f600"),
        (b"\xff\x00", "\\xff\x00"),
        (b"caf\xc3", "caf\\xc3"),
        (b"\xed\xb2\x80", "\\xed\\xb2\\x80"),
    ],
)
def test_bytes_are_legible(bytes_: bytes, text: str) -> None:
    """What is text is that text, also where its bytes came one by one; anything else can be told from it."""
    apart = "".join(bytes([byte]).decode("utf-8", "surrogateescape") for byte in bytes_)
    assert record_format.legible(apart) == text


def test_surrogates_that_are_no_bytes_stay() -> None:
    """The spool writes them as JSON's own escapes."""
    assert record_format.legible("\ud800 \udc80") == "\ud800 \udc80"


@given(st.dictionaries(KEYS, st.integers(0, 10_000), max_size=6), st.booleans())
@settings(max_examples=60)
def test_fields_that_do_not_fit_are_moved_and_none_is_lost(sizes: dict[str, int], is_object: bool) -> None:
    """The smallest stay keys of every part, within the room there is; what an object has already is not repeated."""
    fields = {name: "€" * (size // 3) for name, size in sizes.items()}
    message = json.dumps(fields) if is_object else '"text"'

    kept, moved = record_format.fitting(message, record_format.context_text(fields))

    keys = read_keys(kept)
    rest = json.loads(moved or "{}")
    assert len(kept.encode("utf-8", "backslashreplace")) <= 7 * 1024
    assert rest.keys() <= fields.keys() - keys.keys()
    assert {**keys, **rest, **(fields if is_object else {})} == as_read(fields)
    assert not (is_object and moved)


@given(TEXTS, TEXTS, st.lists(TEXTS))
def test_the_runtimes_failure_comes_back(kind: str, message: str, stack: list[str]) -> None:
    """What the runtime reports of an uncaught exception is the function's free text."""
    expected = as_read({"errorType": kind, "errorMessage": message, "stackTrace": stack})
    assert read_keys(record_format.failure_text(kind, message, stack)) == expected


@given(st.lists(st.tuples(TEXTS.filter(bool), st.integers(1, 3_000)), min_size=1, max_size=20))
@settings(max_examples=50)
def test_parts_put_together_are_the_text(pieces: list[tuple[str, int]]) -> None:
    """A message is split, never cut; each part leaves room for a record's other keys."""
    text = "".join(piece * count for piece, count in pieces)

    parts = list(record_format.parts(text))

    assert "".join(json.loads(part) for part, _ in parts) == text
    assert all(len(part.encode("utf-8", "backslashreplace")) <= 48 * 1024 for part, _ in parts)
    numbers = [{"part": number, "parts": len(parts)} for number in range(1, len(parts) + 1)]
    assert [read_keys(keys) for _, keys in parts] == numbers


@pytest.mark.parametrize(
    "text",
    ["x" * (48 * 1024 - 2), "\x00" * 8191, "\udc80" * 8191, "€" * 16_383, "\U0001f600" * 12_287],
    ids=["ascii", "escapes", "surrogates", "three bytes", "four bytes"],
)
def test_a_text_that_fits_one_part_is_one_part(text: str) -> None:
    """Sizes are of the bytes as sent, to the edge; one character more, and there are two parts."""
    assert len(list(record_format.parts(text))) == 1
    assert len(list(record_format.parts(text + text[0]))) == 2


def test_parts_are_few() -> None:
    """A long text is not cut up smaller than it must be: each part costs a record's keys again."""
    assert len(list(record_format.parts("x" * 150_000))) == 4


@pytest.mark.parametrize(
    ("details", "more"),
    [
        (',"otelTraceID":"0af7","otelSpanID":"b7ad"', ',"trace_id":"0af7","span_id":"b7ad"'),
        (',"a":1,"otelSpanID":"b7ad","otelTraceID":"0af7"', ',"trace_id":"0af7","span_id":"b7ad"'),
        (',"a":"\\"otelTraceID\\":\\"0af7\\""', ""),
        (',"otelTraceID":"0af7","otelSpanID":"b7ad","trace_id":"own"', ""),
        ("", ""),
    ],
)
def test_trace_ids_under_other_names(details: str, more: str) -> None:
    """Beside OpenTelemetry's; a field of the user's that has such a name stays the only one."""
    assert record_format.trace_keys_text(details) == more


FIELD_NAMES = st.sampled_from(["order", "id", "extra_id", "time", "größe", 'a"b', "n" * 501])
FIELD_VALUES = st.text(max_size=5) | st.integers() | st.sampled_from(
    ["x" * 500, "x" * 501, 1 << 63, -(1 << 63), True, None, 1.5, float("nan"), [1], {"a": 1}, b"x", "\ud800"]
)  # fmt: skip


@given(st.dictionaries(FIELD_NAMES, FIELD_VALUES))
def test_plain_fields_are_rendered_as_any_others(fields: dict[str, Any]) -> None:
    """Texts and integers have a short way. Guards against a key of ours, or a bound, that it does not know."""
    expected = record_format.piece((record_format.free_key(name), value) for name, value in fields.items())
    assert record_format.fields_text(fields) == expected
