"""A delivery cut into its events: what JSON refuses of one of them costs no other."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.extension.deliveries import NoListError, read_events

DIGITS = "7" * 4_301
NESTED = "[" * 100_000 + "]" * 100_000
"""No Python decodes this; 3.13 does decode a tenth of it."""
POISON = {
    "an integer of more digits than Python reads": (f'{{"n":{DIGITS}}}', f'{{"n":{DIGITS}}}'),
    "nested deeper than Python's stack": (NESTED, NESTED),
    "a byte that is no UTF-8": ('"caf\udce9"', "caf\ufffd"),
    "no JSON at all": ("nothing", "nothing"),
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def event(record: str) -> str:
    return f'{{"time":"2026-11-21T08:22:03.123Z", "type":"function" , "record" : {record}}}'


def body(*events: str) -> bytes:
    return f"[{' , '.join(events)}]".encode("utf-8", "surrogateescape")


@given(st.lists(JSON.map(json.dumps) | st.sampled_from([text for text, _ in POISON.values()]), max_size=6))
def test_each_event_is_what_it_is_alone(records: list[str]) -> None:
    """In its place, whatever stands beside it: brackets, commas and quotes inside of texts cut nothing."""
    values: dict[str, Any] = dict(POISON.values())
    expected = [values[text] if text in values else json.loads(text) for text in records]
    got: list[Any] = read_events(body(*map(event, records)))
    assert [each["record"] for each in got] == expected
    assert {(each["type"], each["time"]) for each in got} <= {("function", "2026-11-21T08:22:03.123Z")}


@pytest.mark.parametrize("name", POISON)
def test_one_in_fifty_one(name: str) -> None:
    """All 51 are there, the bad one with its type and time, and its record as text."""
    text, value = POISON[name]
    got: list[Any] = read_events(body(*[event('"a"')] * 25, event(text), *[event('"b"')] * 25))
    assert [each["record"] for each in got] == ["a"] * 25 + [value] + ["b"] * 25


@pytest.mark.parametrize(
    "bad", [b"", b"{", b"{}", b"7", b'"', b"[" * 100_000, b"\xff", b"[nothing]]", b'[{"a":1', b'{"a":' + b"[" * 3_000]
)
def test_what_is_no_list_is_refused(bad: bytes) -> None:
    """Told apart from a list with something odd in it, for which nobody sends it again."""
    with pytest.raises(NoListError):
        read_events(bad)


def test_what_is_no_event_is_kept_as_it_is() -> None:
    """Whoever records events leaves out what is none."""
    assert read_events(body(DIGITS, event("1"), '"text"')) == [DIGITS, json.loads(event("1")), "text"]


@pytest.mark.parametrize("filling", [b'"', b"\\", b"[", b'"\\', b",", b'"a",'])
def test_cutting_takes_time_in_proportion(filling: bytes) -> None:
    """A million brackets or quotes are over in a moment: the bound is a hundred times what they take."""
    started_s = time.process_time()
    try:
        read_events(b'[{"record":' + filling * (1_000_000 // len(filling)) + DIGITS.encode())
    except NoListError:
        pass
    assert time.process_time() - started_s < 10
