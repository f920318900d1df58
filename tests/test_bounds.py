"""Values of fields are bounded before they are rendered: time and memory of a record, whatever it is given."""

from __future__ import annotations

import json
import logging
import tracemalloc
from array import array
from collections import UserDict, UserList, deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.capture import bounds, record_format
from sumo_internal.capture.bounds import DEPTH_MAX, VALUES_MAX_CHARS, bounded, bounded_text
from sumo_internal.capture.recorder import Recorder
from sumo_internal.spool.counters import CUT
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

MIB = 1 << 20


def bomb(levels: int) -> list[Any]:
    """Return a list of few objects that is exponentially large when it is written out."""
    value: list[Any] = ["x" * 100]
    for _ in range(levels):
        value = [value] * 10
    return value


def endless() -> list[Any]:
    """Return a list that contains itself."""
    value: list[Any] = ["x" * VALUES_MAX_CHARS]
    value.append(value)
    return value


LARGE = {
    "bytes": b"\xff" * 10 * MIB,
    "a bytearray": bytearray(10 * MIB),
    "a memoryview": memoryview(bytes(10 * MIB)),
    "a text": "x" * 10 * MIB,
    "a list of numbers": list(range(MIB)),
    "a dict": {f"key {n}": n for n in range(300_000)},
    "a large key": {"k" * 10 * MIB: 1},
    "a set": set(range(MIB)),
    "a deque": deque(range(MIB)),
    "an array": array("Q", range(MIB)),
    "a dict's views": [dict.fromkeys(range(MIB)).keys(), dict.fromkeys(range(MIB)).values()],
    "a user's dict": UserDict.fromkeys(range(MIB), "x"),
    "a user's list": UserList(range(MIB)),
    "texts in a deque": deque(["x" * MIB] * 10),
    "a dict of numbers": dict.fromkeys(range(MIB)),
    "an exception": ValueError("x" * 10 * MIB),
    "an integer": 1 << 10 * MIB,
    "a decimal": Decimal("1" * MIB),
    "deep": {"a": [{"b": (b"\xff" * 10 * MIB,)}]},
    "references to the same": bomb(12),
    "a list that contains itself": endless(),
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_value_is_cut_before_it_is_rendered(value: Any) -> None:
    """What is left says how much is missing, and to render it takes memory by the bound and not by the value."""
    tracemalloc.start()
    try:
        text = record_format.piece(bounded({"small": 17, "value": value}).items())
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert json.loads(f"{{{text[1:]}}}")["small"] == 17
    assert bounds.MARK in text
    assert len(text) < 8 * VALUES_MAX_CHARS
    assert peak_bytes < 60 * VALUES_MAX_CHARS


SMALL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
)


@given(st.dictionaries(st.text(max_size=5), SMALL, max_size=5))
def test_what_is_within_the_bound_is_untouched(fields: dict[str, Any]) -> None:
    """It is the very same object: nobody pays for a copy."""
    assert bounded(fields) is fields


@given(SMALL, st.integers(0, 40))
def test_what_is_cut_is_bounded(value: Any, left_chars: int) -> None:
    """At every bound, whatever the value: what is kept can be written, and is little more than the bound."""
    kept = bounds._Cut(left_chars).value(value, 0)
    marks = 60 * DEPTH_MAX
    assert len(record_format.value_text(kept)) < 30 * left_chars + 12 * len(repr(kept)) + marks


@given(SMALL, st.integers(0, 60))
def test_many_items_are_counted_like_few(value: Any, left_chars: int) -> None:
    """All at once where they are alike, or one by one: with the same answer at each bound."""
    answers = []
    for many in (-1, 1_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bounds, "MANY", many)
            answers.append(bounds._exceeds([value, 1, True], left_chars))
    assert answers[0] == answers[1]


def test_the_bounds_edge() -> None:
    """A text of exactly so many characters is whole, one more is cut."""
    text = "x" * VALUES_MAX_CHARS
    assert bounded_text(text) is text
    assert bounded_text(text + "y") == f"{text}{bounds.MARK}1 characters"


def test_a_containers_own_errors_are_left_to_the_rendering() -> None:
    """A dict of the function's own whose values cannot be asked for."""

    class Odd(dict[str, Any]):
        def keys(self) -> Any:
            raise LookupError

    fields = {"odd": Odd(a=1)}
    assert bounded(fields) is fields


def test_what_is_cut_is_counted(tmp_path: Path) -> None:
    """The record goes out, in parts, with the rest of its fields; the accounting says how much of it does not."""
    spool = Spool(str(tmp_path / "spool"), {}, 64_000_000)
    recorder = Recorder(spool, {})
    record = logging.LogRecord("orders", logging.INFO, "", 0, "sent", (), None)
    record.__dict__.update(order=17, blob=b"\xff" * MIB)
    recorder.record("sent", record)

    (piece,) = SpoolReader(spool.folder, spool).take(1_000_000)
    records = [json.loads(line) for line in bytes(piece.data()).splitlines()]
    assert {each["order"] for each in records} == {17}
    text = "".join(each["message"] for each in records)
    ((lines, cut_chars),) = spool.counters.counts().values()
    assert (lines, list(spool.counters.counts())) == (1, [CUT])
    assert f"{bounds.MARK}{cut_chars} characters" in text
    assert 0 < MIB - cut_chars <= VALUES_MAX_CHARS // 4
