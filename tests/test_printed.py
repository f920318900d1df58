"""What is printed takes a short way: what it makes of a text is what the way of all texts makes of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import Interruptions, TimeLimit
from spool_functions import taken

from sumo_internal.capture.lines import Lines
from sumo_internal.capture.recorder import Recorder
from sumo_internal.spool import partials
from sumo_internal.spool.partials import SLOTS
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

STDOUT = 1


class Written:
    """A recorder, and what it has made of what was written to it."""

    def __init__(self, folder: Path) -> None:
        self.recorder = Recorder(Spool(str(folder), {}, 64_000_000), {"logGroup": "/aws/lambda/orders"})
        self._reader = SpoolReader(str(folder), self.recorder.spool)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in taken(self._reader)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Written, Written]]:
    """One that takes the short way, and one that never does."""
    short, long = (Written(tmp_path_factory.mktemp(name) / "spool") for name in ("short", "long"))
    assert short.recorder.takes_short_way
    long.recorder.takes_short_way = False
    yield short, long


TEXTS = st.sampled_from(
    ["order 17", "a", " ", "", "\t", "\x1c", "{", "[1,", "}", '{"a": 1}', '{"level": "error", "a": 1}', "{'a': 1}", "€",
     "\udcff", '"', "\\", "\x00", "|", "~", "Traceback (most recent call last):", "x" * 1_999, "x" * 2_000, "x" * 2_500,
     "x" * 70_000]
)  # fmt: skip
ENDS = st.sampled_from(["", "", "\n", "\n\n", "\nb", "\n  1\n", "\n]\n"])
WRITES = st.one_of(TEXTS, st.just("\n"), st.just("\n"), st.builds(str.__add__, TEXTS, ENDS))


@given(st.lists(st.tuples(st.sampled_from([1, 1, 1, 2]), WRITES), max_size=12))
@settings(max_examples=300)
def test_the_short_way_leads_to_the_same_records(both: tuple[Written, Written], writes: list[tuple[int, str]]) -> None:
    """Whatever is written in whatever pieces. Guards against a text that the short way should have left alone."""
    got = []
    for written in both:
        for stream, text in writes:
            written.recorder.written(text, stream)
        written.recorder.flush()
        assert len(written.recorder.spool.partials.free) == SLOTS
        got.append([{**record, "time": "", "id": ""} for record in written.records()])
    assert got[0] == got[1]


def test_a_printed_line_has_the_time_at_which_it_was_written(both: tuple[Written, Written]) -> None:
    """A record's time is a millisecond's text that is kept: it is not the one of the line before."""
    recorder = both[0].recorder
    times = []
    for number in range(3):
        recorder.written(f"line {number}", STDOUT)
        begun_s = next(iter(recorder._lines.begun[STDOUT].values()))[2]
        recorder.written("\n", STDOUT)
        recorder._start_of = (0.0, begun_s, "")  # as if it had been some time ago
        times.append(f"{int(begun_s * 1000) % 1000:03d}Z")
    assert [record["time"][-4:] for record in both[0].records()] == times


@pytest.mark.parametrize("act", ["prints", "writes a line", "ends the line", "raises"])
def test_an_interruption_at_each_instruction(tmp_path: Path, act: str) -> None:
    """A signal handler that prints in the middle of a print: each text is recorded once, and no slot stays taken.

    What is raised by a handler may cost the text that is just being written, no other, and never comes twice.
    """
    written = Written(tmp_path / "spool")
    recorder = written.recorder

    def interrupt(number: int) -> None:
        if act == "raises":
            raise TimeLimit
        for text in {"prints": [f"<inner {number}>", "\n"], "ends the line": ["\n"]}.get(act, [f"<inner {number}>\n"]):
            recorder.written(text, STDOUT)

    def print_a_line(number: int) -> None:
        recorder.written(f"<outer {number}>", STDOUT)
        recorder.written("\n", STDOUT)

    functions = (Recorder.written, Lines.add, Lines.end, Lines.hold_odd)
    interruptions = Interruptions(functions, interrupt)
    for _ in interruptions.of(print_a_line):
        recorder.flush()
        if act != "raises":
            assert len(recorder.spool.partials.free) == SLOTS
            assert partials.read(recorder.spool.segments[-1]) == []
    number = interruptions.number
    assert 100 < number < 900
    text = "".join(str(record["message"]) for record in written.records())
    found = Counter(text.replace(">", "> ").split("> "))
    found.pop("", None)
    outer = {f"<outer {each}" for each in range(number + 1)}
    inner = set() if act in ("raises", "ends the line") else {f"<inner {each}" for each in range(1, number)}
    assert set(found) <= outer | inner and set(found.values()) == {1}
    assert act == "raises" or set(found) == outer | inner
