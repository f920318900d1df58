"""The spool: against a naive model, and with writers that are killed, forked, robbed of their files and refused."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from spool_functions import ENVELOPE, drain, lines, make, small_segments, start

from sumo_internal.spool import writer as spool_module
from sumo_internal.spool.counters import (
    SPOOL_FULL,
    TOO_LONG,
    totals,
)
from sumo_internal.spool.folder import list_segments
from sumo_internal.spool.reader import SpoolReader, last_lines
from sumo_internal.spool.segment import HEADER_BYTES, INFO, LINE_MAX_BYTES, SEGMENT_BYTES, WARNING
from sumo_internal.spool.writer import SEGMENTS_MIN, Spool


def test_lines_come_back_whole_in_order_and_with_ids(tmp_path: Path) -> None:
    """What is appended is taken in order, as JSON with unique, ordered ids; acknowledged lines do not come again."""
    spool = make(tmp_path / "spool")
    for number in range(100):
        spool.append(start(f"line {number} ä"))

    reader = SpoolReader(spool.folder, spool)
    slices = reader.take(1_000_000)
    records = [json.loads(line) for line in bytes(slices[0].data()).splitlines()]

    assert [record["line"] for record in records] == [f"line {number} ä" for number in range(100)]
    ids = [record["id"] for record in records]
    assert ids == sorted(set(ids)) and ids[0] == f"{spool.writer}-0000000001"
    assert drain(reader) == [f"line {number} ä" for number in range(100)]
    assert drain(reader) == []


def test_lone_surrogates_become_escapes(tmp_path: Path) -> None:
    """Text that is no Unicode is kept as JSON's own escape and does not raise: Python gives such text for bad bytes."""
    spool = make(tmp_path / "spool")
    spool.append('{"line":"\udc80"')

    assert lines(SpoolReader(spool.folder, spool).take(1000)) == ["\udc80"]


def test_slices_end_at_line_ends_within_the_limit(tmp_path: Path) -> None:
    """A batch never exceeds the limit, but for a single line that is longer: that one is taken alone."""
    spool = make(tmp_path / "spool")
    for text in ("a" * 100, "b" * 5000, "c" * 100):
        spool.append(start(text))
    reader = SpoolReader(spool.folder, spool)

    first = reader.take(1000)
    assert [line[0] for line in lines(first)] == ["a"] and first[0].is_single
    first[0].acknowledge()
    second = reader.take(1000)
    assert [line[0] for line in lines(second)] == ["b"] and second[0].is_single
    second[0].acknowledge()
    assert drain(reader, 1000) == ["c" * 100]


def test_a_short_line_does_not_overtake_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with no room for the next line of a segment takes none of a later segment either."""
    small_segments(monkeypatch, HEADER_BYTES + 2048)
    spool = make(tmp_path / "spool")
    texts = ["one", "l" * 1900, "short"]
    for text in texts:
        spool.append(start(text))
    assert len(spool.segments) == 2
    reader = SpoolReader(spool.folder, spool)

    assert lines(reader.take(300)) == ["one"]
    assert drain(reader, 300) == texts


def test_a_full_segment_is_followed_by_another_and_removed_when_acknowledged(tmp_path: Path) -> None:
    """Space is given back: of many megabytes that went through, one segment is left."""
    spool = make(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    got = []
    for number in range(5000):
        spool.append(start(f"{number:08d}" + "x" * 1000))
        if number % 1500 == 0:
            got += drain(reader)
    got += drain(reader)

    assert [int(line[:8]) for line in got] == list(range(5000))
    assert len(list_segments(spool.folder)) == 1


def test_a_backlog_is_what_is_unsent_wherever_its_segment_ends(tmp_path: Path) -> None:
    """The call comes when as much is unsent as was asked for, across the end of a segment, or in the last segment.

    Guards against a small request in the middle of an invocation for each segment that happens to be full.
    """
    called_at: list[tuple[int, int]] = []

    def called() -> None:
        called_at.append((len(spool.segments), spool._offset))
        spool.wake_offset = 10 * SEGMENT_BYTES

    text = start("x" * 10_000)
    for begin, woken_in in ((HEADER_BYTES, 1), (SEGMENT_BYTES // 2, 2)):
        spool = make(tmp_path / str(begin))
        spool.on_backlog = called
        while spool._offset < begin:
            spool.append(text)
        wake_offset = spool.wake_offset = spool._offset + SEGMENT_BYTES - 4 * HEADER_BYTES
        while not called_at:
            spool.append(text)
        segments, offset = called_at.pop()
        reached = offset + sum(each.committed_offset - HEADER_BYTES for each in list(spool.segments)[: segments - 1])
        assert segments == woken_in
        assert wake_offset - 2 * len(text) <= reached <= wake_offset
    spool = make(tmp_path / "small", max_bytes=1)
    spool.on_backlog = called
    spool.wake_offset = 10 * SEGMENT_BYTES
    while len(spool.segments) < SEGMENTS_MIN - 1:
        spool.append(text)
    assert called_at == [(2, HEADER_BYTES)]


def test_a_full_spool_refuses_new_lines_counts_them_and_never_waits(tmp_path: Path) -> None:
    """The bound of all segments holds; old lines stay, new ones are refused and counted, where it survives us."""
    spool = make(tmp_path / "spool", max_bytes=4 * SEGMENT_BYTES)
    for number in range(5000):
        spool.append(start(f"{number:08d}" + "x" * 1000))

    assert len(list_segments(spool.folder)) == 3  # and one in reserve
    kept = drain(SpoolReader(spool.folder, spool))
    assert [int(line[:8]) for line in kept] == list(range(len(kept)))
    refused, refused_bytes = totals(spool.folder)[SPOOL_FULL]
    assert refused == 5000 - len(kept) > 0
    assert refused_bytes > 1000 * refused


def test_warnings_have_a_reserve(tmp_path: Path) -> None:
    """When the spool is full for others, WARNING and above use its last tenth; then they are refused too."""
    spool = make(tmp_path / "spool", max_bytes=20 * SEGMENT_BYTES)
    for level in (INFO, WARNING, INFO, WARNING):
        for number in range(25_000 if level == INFO else 500):
            spool.append(start(f"{level} {number:08d}" + "x" * 1000), level)
    assert sum(os.stat(path).st_size for path in list_segments(spool.folder)) == 20 * SEGMENT_BYTES

    kept = [line.split("x")[0] for line in drain(SpoolReader(spool.folder, spool))]
    warnings = [line for line in kept if line.startswith(f"{WARNING}")]
    informations = [int(line.split()[1]) for line in kept if line.startswith(f"{INFO}")]
    assert warnings == [f"{WARNING} {number:08d}" for number in range(500)] * 2
    assert informations == list(range(len(informations)))
    assert totals(spool.folder)[SPOOL_FULL][0] == 50_000 - len(informations)


def test_room_that_was_given_back_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a drain lines of every level are taken again, and the order of what was kept is the order of writing."""
    monkeypatch.setattr(spool_module, "_RETRY_AFTER_S", 0.0)
    spool = make(tmp_path / "spool", max_bytes=3 * SEGMENT_BYTES)
    reader = SpoolReader(spool.folder, spool)
    got = []
    for number in range(6000):
        spool.append(start(f"{number:08d}" + "x" * 1000))
        if number % 500 == 0:
            got += [int(line[:8]) for line in drain(reader)]
    got += [int(line[:8]) for line in drain(reader)]

    refused = totals(spool.folder).get(SPOOL_FULL, (0, 0))[0]
    assert got == sorted(got) and len(got) == 6000 - refused
    assert got[-1] == 5999


def test_a_writer_and_its_drainer_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are removed by one thread while another goes on to new ones: no line is refused, none is lost.

    A list that changed under the writer's feet once cost a line in a hundred thousand.
    """
    small_segments(monkeypatch, HEADER_BYTES + 8192)
    spool = make(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    got: list[str] = []
    is_done = threading.Event()

    def drain_on() -> None:
        while not is_done.is_set():
            got.extend(drain(reader))
            assert spool.pending_bytes >= 0

    drainer = threading.Thread(target=drain_on)
    drainer.start()
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(30_000):
            spool.append(start(f"{number:08d}" + "x" * 1000))
    finally:
        sys.setswitchinterval(previous)
        is_done.set()
        drainer.join()
    got.extend(drain(reader))

    assert list_segments(spool.folder)
    assert totals(spool.folder) == {}
    assert [int(line[:8]) for line in got] == list(range(30_000))


def test_a_line_larger_than_a_segment_is_refused(tmp_path: Path) -> None:
    """The recorder never makes one; if it did, it is counted and the next line goes on."""
    spool = make(tmp_path / "spool")
    spool.append(start("x" * LINE_MAX_BYTES))
    spool.append(start("after"))

    assert totals(spool.folder)[TOO_LONG][0] == 1
    assert drain(SpoolReader(spool.folder, spool)) == ["after"]


def test_the_last_line_of_each_segment_is_there_although_it_was_delivered(tmp_path: Path) -> None:
    """It tells whose a timeout was, where nothing else does."""
    spool = make(tmp_path / "spool")
    assert last_lines(spool.folder) == []
    spool.append(start("first"))
    assert [json.loads(line)["line"] for line in last_lines(spool.folder)] == ["first"]
    spool.append(start("last"))
    drain(SpoolReader(spool.folder, spool))
    assert [json.loads(line)["line"] for line in last_lines(spool.folder)] == ["last"]


def test_without_ids_lines_are_committed_as_they_come(tmp_path: Path) -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: an object of the function's stays what it was, an empty one too."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000, has_ids=False)
    spool.append('{"a":1')
    spool.append("{")
    (piece,) = SpoolReader(spool.folder, spool).take(1_000)
    assert bytes(piece.data()) == b'{"a":1}\n{}\n'


def test_what_may_have_arrived_is_known_line_by_line(tmp_path: Path) -> None:
    """Three lines sent and not answered; then one of them and, with a fourth, the rest: each is known to come again.

    Sending less than before must not make the others look as if they had never been sent.
    """
    spool = make(tmp_path / "spool")
    for number in range(3):
        spool.append(start(f"{number}"))
    reader = SpoolReader(spool.folder, spool)
    (all_three,) = reader.take(1_000_000)
    assert all_three.mark_sent()[1:] == (0, 0)

    (one,) = reader.take(all_three.size_bytes // 3)
    before, lines_again, bytes_again = one.mark_sent()
    assert (lines_again, bytes_again) == (1, one.size_bytes)
    one.unmark_sent(before)
    one.mark_sent()
    one.acknowledge()
    spool.append(start("3"))
    (rest,) = reader.take(1_000_000)

    assert rest.count() == 3
    assert rest.mark_sent()[1] == 2


def test_envelopes_are_not_mixed(tmp_path: Path) -> None:
    """Lines that travel under different headers are different batches: a header holds for a whole request."""
    first = make(tmp_path / "spool", envelope={"X-Sumo-Host": "a"})
    second = make(tmp_path / "spool", envelope={"X-Sumo-Host": "b"})
    first.append(start("of a"))
    second.append(start("of b"))

    reader = SpoolReader(first.folder, first)
    taken = reader.take(1_000_000)

    assert lines(taken) == ["of a"]
    taken[0].acknowledge()
    assert lines(reader.take(1_000_000)) == ["of b"]


class SpoolAgainstModel(RuleBasedStateMachine):
    """Append, take, acknowledge, lose the process, come back: against two lists, with segments of a few lines."""

    @initialize()
    def begin(self) -> None:

        self.holder = tempfile.TemporaryDirectory()
        self.folder = Path(self.holder.name) / "spool"
        self.number = 0
        self.waiting: dict[str, list[str]] = {}
        self.reopen()

    def reopen(self) -> None:
        self.spool = make(self.folder)
        self.waiting[self.spool.writer] = []
        self.reader = SpoolReader(str(self.folder), self.spool)

    @rule(size=st.integers(0, 2000), count=st.integers(1, 20))
    def append(self, size: int, count: int) -> None:
        for _ in range(count):
            text = f"{self.number} {'x' * size}"
            self.number += 1
            self.spool.append(start(text))
            self.waiting[self.spool.writer].append(text)

    @rule(limit_bytes=st.integers(1, 5000), is_acknowledged=st.booleans())
    def take(self, limit_bytes: int, is_acknowledged: bool) -> None:
        taken: dict[str, list[str]] = {}
        for piece in self.reader.take(limit_bytes):
            got = lines([piece])
            assert got
            taken.setdefault(piece.segment.writer, []).extend(got)
            if is_acknowledged:
                piece.acknowledge()
        for writer, got in taken.items():
            assert got == self.waiting[writer][: len(got)]
            if is_acknowledged:
                del self.waiting[writer][: len(got)]

    @rule()
    def lose_process(self) -> None:
        """What a kill leaves: the files as they are, the lock free."""
        self.spool._life = None
        self.reopen()

    @rule()
    def drain_all(self) -> None:
        got = drain(self.reader)
        assert sorted(got) == sorted(text for texts in self.waiting.values() for text in texts)
        for texts in self.waiting.values():
            texts.clear()

    @invariant()
    def offsets_are_in_order(self) -> None:
        for segment in self.spool.segments:
            assert HEADER_BYTES <= segment.cursors[3] <= segment.cursors[1] <= segment.size_bytes

    def teardown(self) -> None:
        if hasattr(self, "holder"):
            self.holder.cleanup()


@pytest.fixture(autouse=True)
def _small_segments(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model runs with segments of a few lines, so that rolling over and removing happen in every run."""
    if request.node.name.startswith("runTest"):
        small_segments(monkeypatch, HEADER_BYTES + 8192)


SpoolAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSpoolAgainstModel = SpoolAgainstModel.TestCase
