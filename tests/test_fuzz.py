"""The parsers that ``make fuzz`` feeds: with examples, with what Hypothesis makes of these, with what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.parsers import COST_PER_BYTE_S, EXPANDED_MAX_BYTES, PARSERS, check_cost, expand
from hypothesis import given, settings
from hypothesis import strategies as st

CASES = Path(__file__).parent / "fuzz_cases"


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is said on descriptor 2, some thousand times."""
    monkeypatch.setattr("sumo_internal.diagnostics._threshold", 99)


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_damaged_is_refused_in_bounds(name: str) -> None:
    """Examples as they are, cut short, with one byte altered, and with a piece repeated to half a megabyte."""
    parser = PARSERS[name]
    for example in parser.examples:
        step = max(1, len(example) // 60)
        for place in range(0, len(example), step):
            for data in (example[:place], example[:place] + b"\xff" + example[place + 1 :]):
                check_cost(parser.feed, data)
        for begin in range(0, 256, 32):
            for length in (0, 4, 40):
                check_cost(parser.feed, expand(bytes([1, begin, length]) + example))
        check_cost(parser.feed, example)


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_taken_or_refused(name: str, data: st.DataObject) -> None:
    """A piece of an example, and anything behind it."""
    parser = PARSERS[name]
    example = data.draw(st.sampled_from(parser.examples))
    kept = data.draw(st.integers(0, len(example)))
    check_cost(parser.feed, example[:kept] + data.draw(st.binary(max_size=2_000)))


def test_what_was_found_once() -> None:
    """Inputs that broke a promise; the folder that each lies in has the parser's name."""
    for path in CASES.rglob("*"):
        if path.is_file():
            check_cost(PARSERS[path.parent.name].feed, expand(path.read_bytes()))


def test_a_cost_by_the_square_is_found() -> None:
    """One that copies what is left at each byte is over a bound in proportion to them. A copy is the quickest thing
    that a parser can do, and nothing traces it here: so the bound is a fifth of what a traced parser may take."""

    def feed(data: bytes) -> None:
        while data:
            data = data[1:]

    long = expand(b"\x01\x00\x00" + b"x")
    assert len(long) == EXPANDED_MAX_BYTES
    with pytest.raises(AssertionError, match="s are the bound"):
        check_cost(feed, long, COST_PER_BYTE_S / 5)
    check_cost(len, long, COST_PER_BYTE_S / 5)
