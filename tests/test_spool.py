"""The spool: against a naive model, and with writers that are killed, forked, robbed of their files and refused."""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from layer.interpreters import find
from sumo_internal.config import read
from sumo_internal.extension.keeper import KEPT_MAX, Keeper
from sumo_internal.spool import handoff, turn
from sumo_internal.spool import reader as reader_module
from sumo_internal.spool import segment as segment_module
from sumo_internal.spool import writer as spool_module
from sumo_internal.spool.counters import (
    BLOCKED,
    NO_FILE,
    SAMPLED_OUT,
    SPOOL_FULL,
    TOO_LONG,
    UNPROTECTED,
    reported,
    set_reported,
    totals,
)
from sumo_internal.spool.envelope import DESTINATION, destination
from sumo_internal.spool.folder import FolderRefusedError, start_of
from sumo_internal.spool.handoff import entrust
from sumo_internal.spool.held import Held
from sumo_internal.spool.reader import SpoolReader, is_alive, last_lines
from sumo_internal.spool.segment import HEADER_BYTES, INFO, LINE_MAX_BYTES, SEGMENT_BYTES, WARNING, Segment, Slice
from sumo_internal.spool.writer import (
    FORKS_PER_WAKE,
    LEFT_MAX_BYTES,
    LEFT_MAX_LINES,
    SEGMENTS_MIN,
    Spool,
    has_others,
    list_segments,
)

ENVELOPE = {"X-Sumo-Host": "/aws/lambda/orders"}
_BOUND_S = 15.0


def small_segments(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """Have segments of so many bytes, so that full and the next one happen in each run."""
    for module in (segment_module, spool_module):
        monkeypatch.setattr(module, "SEGMENT_BYTES", size_bytes)


def make(folder: Path, max_bytes: int = 64_000_000, envelope: dict[str, str] = ENVELOPE) -> Spool:
    return Spool(str(folder), envelope, max_bytes)


def lines(slices: list[Slice]) -> list[str]:
    """The ``line`` key of each record in the slices."""
    return [json.loads(line)["line"] for piece in slices for line in bytes(piece.data()).splitlines()]


def drain(reader: SpoolReader, limit_bytes: int = 1_000_000) -> list[str]:
    """Everything that a reader gives, acknowledged batch by batch."""
    got = []
    assert reader.acquire()
    while slices := reader.take(limit_bytes):
        got += lines(slices)
        for piece in slices:
            piece.acknowledge()
    reader.release()
    return got


def start(text: str) -> str:
    return f'{{"line":{json.dumps(text)}'


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
    assert len(list_segments(spool.folder)) == 20

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

    assert spool_module.list_segments(spool.folder)
    assert totals(spool.folder) == {}
    assert [int(line[:8]) for line in got] == list(range(30_000))


def test_a_line_larger_than_a_segment_is_refused(tmp_path: Path) -> None:
    """The recorder never makes one; if it did, it is counted and the next line goes on."""
    spool = make(tmp_path / "spool")
    spool.append(start("x" * LINE_MAX_BYTES))
    spool.append(start("after"))

    assert totals(spool.folder)[TOO_LONG][0] == 1
    assert drain(SpoolReader(spool.folder, spool)) == ["after"]


def test_threads_append_each_line_once(tmp_path: Path) -> None:
    """Many threads, across segments: each line once, each thread's in its order."""
    spool = make(tmp_path / "spool")

    def write(thread: int) -> None:
        for number in range(2000):
            spool.append(start(f"{thread} {number:06d} {'x' * 400}"))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    got = [line.split()[:2] for line in drain(SpoolReader(spool.folder, spool))]
    assert len(got) == 8000
    for number in range(4):
        assert [int(line[1]) for line in got if line[0] == str(number)] == list(range(2000))


def test_an_append_in_the_middle_of_an_append_is_committed_too(tmp_path: Path) -> None:
    """A signal handler that logs in the middle of an append neither deadlocks nor tears a line."""
    spool = make(tmp_path / "spool")
    inner = 0

    def interrupt(*_: object) -> None:
        nonlocal inner
        inner += 1
        spool.append(start(f"inner {inner}"))

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for number in range(20_000):
            spool.append(start(f"outer {number}"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    got = drain(SpoolReader(spool.folder, spool))
    assert inner > 10
    assert sorted(got) == sorted([f"outer {n}" for n in range(20_000)] + [f"inner {n + 1}" for n in range(inner)])


def test_a_signal_handler_that_raises_leaves_a_sound_spool(tmp_path: Path) -> None:
    """Time-limit libraries raise from signal handlers, at any instruction: lines are whole, none comes twice."""
    spool = make(tmp_path / "spool")

    class TimeLimit(Exception):
        pass

    is_armed = False
    hits = 0

    def interrupt(*_: object) -> None:
        nonlocal hits
        if is_armed:
            hits += 1
            raise TimeLimit

    previous = signal.signal(signal.SIGALRM, interrupt)
    returned = []
    try:
        for number in range(3000):
            try:
                is_armed = True
                signal.setitimer(signal.ITIMER_REAL, 0.00001 + (number % 50) / 1_000_000)
                for _ in range(5):
                    spool.append(start(f"{number} {_}"))
                    returned.append(f"{number} {_}")
                is_armed = False
            except TimeLimit:
                is_armed = False
            assert not spool._owner
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    got = drain(SpoolReader(spool.folder, spool))
    assert hits > 10
    assert len(got) == len(set(got))
    assert set(returned) <= set(got)


@pytest.mark.parametrize("act", ["logs", "raises", "waits for a thread that logs"])
def test_an_interruption_at_each_instruction_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """What a signal handler does in the middle of an append: it is nobody's turn afterwards, no line or id comes twice.

    The other thread stands for one that has logging's lock, which the handler waits for: it waited for the spool's.
    """
    monkeypatch.setattr(turn, "WAIT_S", 0.0)
    spool = make(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    spool.append(start("first"))
    codes = {Spool.append.__code__, Spool._make_way.__code__, Spool._next_hundred.__code__}
    left = 0

    class TimeLimit(Exception):
        pass

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if event == "opcode" and left == 0:
            if act == "raises":
                raise TimeLimit
            if act == "logs":
                spool.append(start(f"inner {number}"))
            else:
                other = threading.Thread(target=spool.append, args=(start(f"inner {number}"),), daemon=True)
                other.start()
                other.join(_BOUND_S)
                assert not other.is_alive(), "each waits for the other"
        return trace

    previous = sys.gettrace()
    for number in range(1, 500):
        left = number
        spool.wake_offset = 0 if number % 2 else HEADER_BYTES * 10
        try:
            sys.settrace(trace)
            spool.append(start(f"outer {number}"))
        except TimeLimit:
            pass
        finally:
            sys.settrace(previous)
        assert not spool._owner
        if left > 0:
            break
        spool.append(start(f"after {number}"))

    assert 60 < number < 400
    records = [json.loads(line) for piece in reader.take(1_000_000) for line in bytes(piece.data()).splitlines()]
    ids = [record["id"] for record in records]
    got = Counter(record["line"] for record in records)
    assert ids == sorted(set(ids))
    assert got.pop("first") == got.pop(f"outer {number}") == 1
    for each in range(1, number):
        assert got.pop(f"after {each}") == 1
        if act == "raises":
            assert got.pop(f"outer {each}", 1) == 1
        else:
            assert got.pop(f"outer {each}") == got.pop(f"inner {each}") == 1
    assert not got


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Spool, Callable[[], None]]]:
    """A spool in the middle of whose append a thread is stopped, and what lets it go on and waits for its end."""
    monkeypatch.setattr(turn, "WAIT_S", 0.0)
    spool = make(tmp_path / "spool", max_bytes=4 * SEGMENT_BYTES)
    spool.append(start("first"))
    is_there, may_go = threading.Event(), threading.Event()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "call" and frame.f_code is Spool._make_way.__code__:
            is_there.set()
            assert may_go.wait(_BOUND_S)

    def append() -> None:
        spool.wake_offset = 0  # so that it comes by there
        sys.settrace(trace)
        try:
            spool.append(start("stopped"))
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=append)
    thread.start()
    assert is_there.wait(_BOUND_S)

    def go_on() -> None:
        may_go.set()
        thread.join()

    yield spool, go_on
    go_on()


def test_lines_that_wait_for_a_stopped_thread_come_in_order(stopped: tuple[Spool, Callable[[], None]]) -> None:
    """What is left with the thread whose turn it is comes behind its line, as does all that is asked of the spool."""
    spool, go_on = stopped
    for number in range(100):
        spool.append(start(f"{number}"))
    spool.count(TOO_LONG, 2, 20)
    spool.mend()
    assert drain(SpoolReader(spool.folder, spool)) == ["first"]

    go_on()

    assert drain(SpoolReader(spool.folder, spool)) == ["stopped", *(f"{number}" for number in range(100))]
    assert spool.counters.counts() == {TOO_LONG: (2, 20)}


@pytest.mark.parametrize(("text", "most"), [("", LEFT_MAX_LINES), ("x" * 100_000, LEFT_MAX_BYTES // 100_000)])
def test_no_more_than_so_many_lines_wait_and_the_oldest_beyond_are_counted(
    stopped: tuple[Spool, Callable[[], None]], text: str, most: int
) -> None:
    """They are in the process's memory, and nobody knows for how long: bounded by number and by size."""
    spool, go_on = stopped
    count = most + 200
    for number in range(count):
        spool.append(start(f"{number:06d}{text}"))
        spool.count(TOO_LONG, 1, 10)

    go_on()

    first, then, *got = drain(SpoolReader(spool.folder, spool))
    counts = spool.counters.counts()
    assert (first, then) == ("first", "stopped")
    assert most - 10 <= len(got) <= most
    assert counts[BLOCKED][0] == count - len(got) and counts[TOO_LONG] == (count, 10 * count)
    numbers = [int(line[:6]) for line in got]
    assert numbers == [0, *range(count - len(got) + 1, count)]  # the first may have been on its way


def test_held_lines_do_not_wait_for_a_stopped_thread_either(stopped: tuple[Spool, Callable[[], None]]) -> None:
    """A line that cannot be held goes out; and nobody waits for what becomes of those that are."""
    spool, go_on = stopped
    held = Held(spool)
    held.append(start("not held"), INFO)
    held.forget()
    go_on()
    assert drain(SpoolReader(spool.folder, spool)) == ["first", "stopped", "not held"]


@pytest.mark.parametrize("verdict", ["forget", "release"])
def test_what_becomes_of_held_lines_is_left_to_a_thread_that_is_stopped_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str
) -> None:
    """The end of an invocation does not wait; what is held is forgotten, or let out, and no later line with it."""
    monkeypatch.setattr(turn, "WAIT_S", 0.0)
    spool = make(tmp_path / "spool")
    held = Held(spool)
    held.append(start("held"), INFO)
    is_there, may_go = threading.Event(), threading.Event()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "call" and frame.f_code is Held._has_room.__code__:
            is_there.set()
            assert may_go.wait(_BOUND_S)

    def hold() -> None:
        sys.settrace(trace)
        held.append(start("stopped"), INFO)
        sys.settrace(None)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_there.wait(_BOUND_S)
    getattr(held, verdict)()
    held.append(start("later"), INFO)
    may_go.set()
    thread.join()
    held.append(start("next"), INFO)

    reader = SpoolReader(spool.folder, spool)
    out = ["held", "stopped"] if verdict == "release" else []
    assert drain(reader) == [*out, "later"]
    assert spool.counters.counts().get(SAMPLED_OUT, (0, 0))[0] == 2 - len(out)
    held.release()
    assert drain(reader) == ["next"]


def test_a_finaliser_that_logs_does_not_wait_for_its_own_thread(tmp_path: Path) -> None:
    """A segment is being made when the collector runs a ``__del__`` that logs: its line comes behind."""
    spool = make(tmp_path / "spool")

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "call" and frame.f_code is Spool.make_segment.__code__:
            spool.append(start("finaliser"))

    sys.settrace(trace)
    try:
        spool.append(start("line"))
    finally:
        sys.settrace(None)
    assert drain(SpoolReader(spool.folder, spool)) == ["line", "finaliser"]


@pytest.mark.parametrize("name", ["_make_room", "_roll", "make_segment", "_mend"])
def test_a_signal_handler_that_raises_while_a_segment_is_made(tmp_path: Path, name: str) -> None:
    """At each instruction of it: the next line is committed. With a lock that counts, it was given back once too few.

    Python 3.14 runs signal handlers between taking a lock and noting that it was taken.
    """

    class TimeLimit(Exception):
        pass

    left = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code is not getattr(Spool, name).__code__:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if event == "opcode" and left == 0:
            raise TimeLimit
        return trace

    for number in range(1, 500):
        spool = make(tmp_path / f"{number}")
        left = number
        sys.settrace(trace)
        try:
            spool.append(start("outer"))
            empty(spool.folder)
            spool.mend()
        except TimeLimit:
            pass
        finally:
            sys.settrace(None)
        assert not spool._owner
        spool.append(start("after"))
        got = drain(SpoolReader(spool.folder, spool))
        assert got in (["outer", "after"], ["after"])
        if left > 0:
            break
    assert 10 < number < 400


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {}, 64_000_000)
number = 0
while True:
    spool.append('{"line":"%d %s"' % (number, "x" * (number % 700)))
    sys.stdout.write("%d\\n" % number)
    sys.stdout.flush()
    number += 1
"""


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_writer_leaves_every_line_it_was_told_of(tmp_path: Path, seed: int) -> None:
    """SIGKILL at a random instant: every line whose append returned is there, whole, once, in order."""
    folder = tmp_path / "spool"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), os.getcwd()], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(200 + 531 * seed):
            last = int(writer.stdout.readline())
        writer.kill()
        for line in writer.stdout.read().split():
            last = int(line)

    got = [int(line.split()[0]) for line in drain(SpoolReader(str(folder)))]

    assert got == list(range(len(got))) and len(got) >= last + 1
    # Its segments and its lock are removed with the last line; what it was still making, when it is old enough.
    for name in os.listdir(folder):
        os.utime(folder / name, (0, 0))
    assert drain(SpoolReader(str(folder))) == []
    assert os.listdir(folder) == ["drain.lock"]


def test_what_a_dead_writer_was_still_making_is_removed(tmp_path: Path) -> None:
    """Killed between two steps of making a segment, a writer leaves a megabyte that nobody would ever read."""
    folder = tmp_path / "spool"
    spool = make(folder)
    spool.append(start("mine"))
    for name in (
        "0123456789ab-p4999999.000001.spool.new",
        "0123456789ab-p4999999.lock",
        "0123456789ac-p4999999.lock.new",
        "0123456789ac-p4999999-drainer.tally",
    ):
        (folder / name).touch(0o600)
        os.utime(folder / name, (0, 0))
    (folder / "0123456789ad-p4999999.lock.new").touch(0o600)  # just being made

    assert drain(SpoolReader(str(folder), spool)) == ["mine"]
    left = {name for name in os.listdir(folder) if not name.startswith(spool.writer)}
    assert left == {"drain.lock", "0123456789ad-p4999999.lock.new"}


def test_a_forked_child_writes_a_spool_of_its_own(tmp_path: Path) -> None:
    """Parent and child log at the same time: nobody writes into the other's map, all lines come, ids do not repeat."""
    spool = make(tmp_path / "spool")
    spool.append(start("parent before"))
    child = os.fork()
    if child == 0:
        try:
            spool.append(start("child"))
        finally:
            os._exit(0)
    spool.append(start("parent after"))
    os.waitpid(child, 0)

    reader = SpoolReader(spool.folder, spool)
    assert sorted(drain(reader)) == ["child", "parent after", "parent before"]
    assert len(list_segments(spool.folder)) == 1  # the child's is gone, the parent's own is being filled


def test_a_forked_child_without_room_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its counts have no file and it has no drainer: a line on stderr is all that will ever tell of its lines."""
    spool = make(tmp_path / "spool")
    empty(spool.folder)
    (tmp_path / "spool").write_text("no room for a folder")
    child = os.fork()
    if child == 0:
        try:
            for _ in range(3):
                spool.append(start("child"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and "lines of a forked child are lost" in said[0]


def test_a_living_writers_unfinished_bytes_are_not_taken(tmp_path: Path) -> None:
    """From a living writer elsewhere only what verifies is taken: arm64 may show the offset before the line."""
    spool = make(tmp_path / "spool")
    spool.append(start("whole"))
    segment = spool.segments[0]
    segment.cursors[1] = segment.committed_offset + 10  # an offset whose line is not visible yet

    taken = segment.take(1_000_000, is_verified=True)

    assert taken is not None and lines([taken]) == ["whole"]


def test_a_line_that_no_parser_can_read_is_taken_from_a_living_writer(tmp_path: Path) -> None:
    """A child of the function's logs what is nested deeply. Guards against a drain that ends with a RecursionError."""
    spool = make(tmp_path / "spool")
    spool.append('{"deep":' + "[" * 1_500 + "]" * 1_500)
    spool.append(start("behind it"))
    taken = spool.segments[0].take(1_000_000, is_verified=True)
    assert taken is not None and taken.count() == 2


@given(st.sets(st.integers(0, 90), min_size=1))
def test_a_line_of_which_a_byte_is_not_visible_yet_is_not_taken(places: set[int]) -> None:
    """A new file is all zeros, and no JSON text has one: whichever bytes of a line are late, it waits as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        spool = make(Path(folder) / "spool")
        spool.append(start("whole"))
        segment = spool.segments[0]
        begin = segment.committed_offset
        spool.append(start("late ä"))
        size_bytes = segment.committed_offset - begin
        for place in places:
            segment.map[begin + place % size_bytes] = 0

        taken = segment.take(1_000_000, is_verified=True)

        assert taken is not None and lines([taken]) == ["whole"]


def test_another_processes_pending_lines_are_seen(tmp_path: Path) -> None:
    """The sidecar asks whether the extension has written anything: lines that nobody has acknowledged, of others."""
    spool, other = make(tmp_path / "spool"), make(tmp_path / "spool")
    assert not has_others(spool)
    other.append(start("line"))
    assert has_others(spool) and not has_others(other)
    drain(SpoolReader(spool.folder, other))
    assert not has_others(spool)
    (tmp_path / "spool" / "0123-p1.000001.spool").write_bytes(b"short")
    assert not has_others(spool)


FAR_BEHIND = """
import os, sys
sys.path.insert(0, sys.argv[2])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {}, 64_000_000)
before = len(os.listdir("/proc/self/fd"))
for number in range(100):
    spool.append('{"line":"%d","x":"%s"' % (number, "x" * 200_000))
print(len(os.listdir("/proc/self/fd")) - before)
"""


def test_who_drains_a_backlog_does_not_take_a_descriptor_for_each_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are mapped at a time and no more; each line is there once, and no file stays.

    Guards against an extension that at SHUTDOWN has no descriptor left for the connection.
    """
    monkeypatch.setattr(reader_module, "MAPPED_MAX", 4)
    monkeypatch.setattr(segment_module, "_map", mmap.mmap)  # as before Python 3.13
    folder = str(tmp_path / "spool")
    subprocess.run([sys.executable, "-c", FAR_BEHIND, folder, os.getcwd()], check=True, stdout=subprocess.DEVNULL)
    assert len(list_segments(folder)) >= 24

    before, reader = len(os.listdir("/proc/self/fd")), SpoolReader(folder)
    assert reader.left()[0] == 100
    assert reader.acquire()
    reader.mark()
    got: list[str] = []
    while taken := reader.take(1_000_000):
        got += lines(taken)
        for piece in taken:
            piece.acknowledge()
        assert len(os.listdir("/proc/self/fd")) - before <= 4 + 3
    reader.release()
    assert sorted(got, key=int) == [str(number) for number in range(100)]
    assert list_segments(folder) == []


def test_who_writes_a_backlog_takes_no_descriptors_where_python_can_do_without(tmp_path: Path) -> None:
    """From 3.13 on a map needs none; before, there is one for each megabyte."""
    for interpreter in find():
        run = [str(interpreter.executable), "-c", FAR_BEHIND, str(tmp_path / str(interpreter)), os.getcwd()]
        taken = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
        assert taken <= (3 if interpreter.version >= (3, 13) else 30)


def test_what_is_addressed_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """Not seen as another's lines, not taken, not removed, not counted as left; and the lock is not the same."""
    folder = tmp_path / "spool"
    own, same, other, old = (
        Spool(str(folder), ENVELOPE | address, 64_000_000)
        for address in ({DESTINATION: "a"}, {DESTINATION: "a"}, {DESTINATION: "b"}, {})
    )
    reader, others = SpoolReader(own.folder, own), SpoolReader(own.folder, other)
    other.append(start("elsewhere"))
    assert not has_others(own) and not reader.has_others()
    assert reader.acquire() and others.acquire()
    assert drain(reader) == [] and reader.left() == (0, 0)
    reader.release()

    same.append(start("the same"))
    old.append(start("of an earlier version"))
    assert has_others(own) and reader.has_others()
    assert sorted(drain(reader)) == ["of an earlier version", "the same"]
    assert drain(others) == ["elsewhere"]


@pytest.mark.parametrize(
    "variable", ["SUMO_HTTP_ENDPOINT", "SUMO_HTTP_TOKEN", "SUMO_S3_BUCKET_NAME", "SUMO_S3_BUCKET_REGION"]
)
def test_whatever_makes_another_destination_makes_another_address(variable: str) -> None:
    """And what does not, does not; the token itself is not in it."""
    environ = {
        "SUMO_HTTP_ENDPOINT": "https://collectors.test/receiver/v1/http/c0ffee",
        "SUMO_HTTP_TOKEN": "bearer-of-a-token",
        "SUMO_ENABLE_FAILOVER": "true",
        "SUMO_S3_BUCKET_NAME": "lines",
        "SUMO_S3_BUCKET_REGION": "eu-west-1",
    }
    usual = destination(read(environ)[0])
    assert destination(read(environ | {"SUMO_FLUSH": "end", "SOURCE_CATEGORY_OVERRIDE": "x"})[0]) == usual
    assert destination(read(environ | {variable: environ[variable] + "2"})[0]) != usual
    assert len(usual) == 16 and "c0ffee" not in usual


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_a_shelf_sees_others_lines_whenever_they_come(tmp_path: Path, moment: str) -> None:
    """It need not list the folder each time; what came beside a drain it must not take for looked at."""
    own = make(tmp_path / "spool")
    reader = SpoolReader(own.folder, own)
    others = []
    for number, now in enumerate(("before", "during", "after")):
        if now == moment:
            others.append(make(tmp_path / "spool"))
            others[0].append(start("theirs"))
        if now in ("before", moment):  # as if each change were long ago, so that a list of the folder may be kept
            past_ns = time.time_ns() - 10**12 + number
            os.utime(own.folder, ns=(past_ns, past_ns))
        if now == "before":
            assert reader.acquire()
            reader.mark()
        elif now == "during":
            for piece in reader.take(1_000_000):
                piece.acknowledge()
            reader.release()
    assert reader.has_others() is (moment != "before")
    others[0].append(start("more"))
    assert reader.has_others()


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


def test_a_shelf_verifies_what_a_living_writer_elsewhere_says(tmp_path: Path) -> None:
    """Another process's offset is ahead of its line, as arm64 may show it: what is not whole is left for later."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from sumo_internal.spool.writer import Spool\n"
        "spool = Spool(sys.argv[1], {}, 64_000_000)\n"
        'spool.append(\'{"line":"whole"\')\n'
        "spool.segments[0].cursors[1] += 10\n"
        "print(flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "spool"), os.getcwd()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        reader = SpoolReader(str(tmp_path / "spool"))
        assert drain(reader) == ["whole"]
        assert reader.take(1_000_000) == []


def test_only_one_process_drains(tmp_path: Path) -> None:
    """A second process is refused the drainer's lock as long as the first lives, and gets it when that one dies."""
    spool = make(tmp_path / "spool")
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from sumo_internal.spool.reader import SpoolReader\n"
        "reader = SpoolReader(sys.argv[1]); print(reader.acquire(), flush=True); time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, spool.folder, os.getcwd()], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    reader = SpoolReader(spool.folder, spool)

    assert not reader.acquire()
    other.kill()
    other.wait()
    assert reader.acquire()
    other.stdout.close()


def test_the_drainers_lock_is_one_that_others_find(tmp_path: Path) -> None:
    """Its file went with the folder: a lock on a file that nobody sees would let two drain at a time."""
    spool = make(tmp_path / "spool")
    spool.append(start("before"))
    reader = SpoolReader(spool.folder, spool)
    assert reader.acquire()
    empty(spool.folder)
    spool.mend()

    assert reader.acquire()

    code = "import sys; from sumo_internal.spool.reader import SpoolReader; print(SpoolReader(sys.argv[1]).acquire())"
    command = [sys.executable, "-c", code, spool.folder]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_counts_have_their_room_with_the_first_segment(tmp_path: Path) -> None:
    """When the first line is lost for want of room, it is too late to make a file that says so."""
    spool = make(tmp_path / "spool")
    spool.append(start("first"))
    assert spool.counters.is_kept


def test_a_living_writer_is_seen_alive_and_a_dead_one_dead(tmp_path: Path) -> None:
    """The lock file tells, without names of processes: those are used again."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "spool"), os.getcwd()], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    name = Path(list_segments(str(tmp_path / "spool"))[0]).name.partition(".")[0]

    assert is_alive(str(tmp_path / "spool"), name)
    writer.kill()
    writer.communicate()
    assert not is_alive(str(tmp_path / "spool"), name)


def test_a_removed_file_is_noticed_and_its_lines_are_still_shipped(tmp_path: Path) -> None:
    """A function that empties /tmp loses nothing that this process has mapped; new lines go to a new file."""
    spool = make(tmp_path / "spool")
    spool.append(start("before"))
    for name in os.listdir(spool.folder):
        os.unlink(f"{spool.folder}/{name}")
    os.rmdir(spool.folder)
    assert spool.segments[-1].is_unlinked

    spool.mend()
    spool.append(start("after"))

    assert drain(SpoolReader(spool.folder, spool)) == ["before", "after"]


def empty(folder: str) -> None:
    """What a function does that empties /tmp; it may be disturbed in it."""
    shutil.rmtree(folder, ignore_errors=True)


def test_a_segment_that_was_left_and_drained_is_not_written_to(tmp_path: Path) -> None:
    """Left because its file is gone, then drained and closed, a segment is not the one that the next line goes to.

    It was, and each line from there on raised inside the recorder, where nobody counts it.
    """
    spool = make(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    spool.append(start("before"))
    empty(spool.folder)
    spool.mend()
    assert drain(reader) == ["before"] and not spool.segments

    spool.append(start("after"))

    assert drain(reader) == ["after"]


def test_a_new_segment_makes_its_folder_itself(tmp_path: Path) -> None:
    """/tmp emptied in the middle of an invocation: lines do not wait for the sidecar's next look, none is refused."""
    spool = make(tmp_path / "spool")
    for number in range(3000):
        if number == 100:
            empty(spool.folder)
        spool.append(start(f"{number:08d}" + "x" * 1000))

    assert is_locked(spool)  # else an extension that looks for dead writers would take it for one
    assert [int(line[:8]) for line in drain(SpoolReader(spool.folder, spool))] == list(range(3000))
    assert totals(spool.folder) == {}


def is_locked(spool: Spool) -> bool:
    """Does another process see the writer alive?"""
    code = "import sys; from sumo_internal.spool.reader import is_alive; print(is_alive(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, spool.folder, spool.writer]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_segment_made_before_the_loss_is_noticed_has_its_lock_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptied, gone on to a new segment, and only then looked after: the new one is kept, locked and drained."""
    monkeypatch.setattr(spool_module, "_RETRY_AFTER_S", 0.0)
    spool = make(tmp_path / "spool", max_bytes=3 * SEGMENT_BYTES)
    for number in range(3000):
        spool.append(start(f"{number:08d}" + "x" * 1000))
    refused = totals(spool.folder)[SPOOL_FULL]
    assert len(drain(SpoolReader(spool.folder, spool))) + refused[0] == 3000
    empty(spool.folder)
    assert totals(spool.folder, spool.counters)[SPOOL_FULL] == refused  # a count outlives its file

    for number in range(500):
        spool.append(start(f"{number:08d}" + "x" * 1000))
    current = spool.segments[-1]
    spool.mend()

    assert spool.segments[-1] is current and not current.is_unlinked and is_locked(spool)
    assert totals(spool.folder)[SPOOL_FULL] == refused
    assert len(drain(SpoolReader(spool.folder, spool))) == 500


def test_counts_are_written_again_when_their_file_is_gone(tmp_path: Path) -> None:
    """A count of lost lines is no line: nothing is appended, and it must be there for the extension all the same."""
    spool = make(tmp_path / "spool")
    spool.append(start("x" * LINE_MAX_BYTES))
    empty(spool.folder)

    spool.mend()

    assert totals(spool.folder)[TOO_LONG][0] == 1


def test_a_folder_that_is_somebody_elses_now_is_refused(tmp_path: Path) -> None:
    """Emptied, and something else in its place: lines for a new segment are refused, and counted."""
    spool = make(tmp_path / "spool")
    spool.append(start("before"))
    empty(spool.folder)
    Path(spool.folder).write_text("")

    with pytest.raises(FolderRefusedError):
        spool.mend()
    spool.append(start("after"))

    assert drain(SpoolReader(spool.folder, spool)) == ["before"]
    assert totals(spool.folder, spool.counters)[NO_FILE][0] == 1


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o500])
def test_the_folders_mode_is_taken_back(tmp_path: Path, mode: int) -> None:
    """``chmod -R 777 /tmp``: the folder is ours all the same; it was refused from then on, and every line with it."""
    spool = make(tmp_path / "spool")
    for number in range(3000):
        spool.append(start(f"{number:08d}" + "x" * 1000))
        if number == 100:
            for path in (spool.folder, *(f"{spool.folder}/{name}" for name in os.listdir(spool.folder))):
                os.chmod(path, mode | 0o500)

    assert [int(line[:8]) for line in drain(SpoolReader(spool.folder, spool))] == list(range(3000))
    assert totals(spool.folder) == {}
    assert stat.S_IMODE(os.stat(spool.folder).st_mode) == 0o700


def test_a_function_that_keeps_emptying_tmp_loses_nothing_uncounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/tmp emptied in a loop beside threads that log, a drainer and a life-cycle thread: delivered, or counted.

    Among the instants that this meets: between a segment's making and its name, between name and lock, while the
    drainer closes what was left, and while the counts are copied to a new file.
    """
    small_segments(monkeypatch, HEADER_BYTES + 8192)
    monkeypatch.setattr(spool_module, "_RETRY_AFTER_S", 0.001)
    spool = make(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    got: list[str] = []
    is_done = threading.Event()

    def beside(body: Callable[[], object]) -> threading.Thread:
        def loop() -> None:
            while not is_done.is_set():
                body()

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def mend() -> None:
        with contextlib.suppress(FileNotFoundError):
            spool.mend()
        is_done.wait(0.0005)

    def clear() -> None:
        empty(spool.folder)
        is_done.wait(0.001)

    def write(writer: int) -> None:
        for number in range(4000):
            spool.append(start(f"{writer} {number:06d} {'x' * 300}"))

    others = [beside(body) for body in (mend, clear, lambda: got.extend(drain(reader)))]
    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()
    finally:
        is_done.set()
        sys.setswitchinterval(previous)
        for thread in others:
            thread.join()
    got += drain(reader)

    refused = totals(spool.folder, spool.counters)
    assert set(refused) <= {NO_FILE, SPOOL_FULL, UNPROTECTED, BLOCKED}
    refused.pop(UNPROTECTED, None)
    assert len(got) == len(set(got)) == 12_000 - sum(lines for lines, _ in refused.values())
    assert len(got) > 6000
    for writer in range(3):
        numbers = [int(line.split()[1]) for line in got if line.startswith(f"{writer} ")]
        assert numbers == sorted(numbers)


def test_a_childs_lines_outlive_their_file_where_the_sidecar_has_them_mapped(tmp_path: Path) -> None:
    """/tmp is emptied while a forked child lives: what its mapped segment holds then, and gets later, is still taken.

    Its lock went with the file, so that it looked dead, and its segment was given up as soon as it was empty.
    """
    spool = make(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    told, heard = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            spool.append(start("child before"))
            os.write(heard[1], b"1")
            os.read(told[0], 1)
            spool.append(start("child after"))
        finally:
            os._exit(0)
    os.read(heard[0], 1)
    assert drain(reader) == ["child before"]
    empty(spool.folder)
    assert drain(reader) == []

    os.write(told[1], b"1")
    os.waitpid(child, 0)

    assert drain(reader) == ["child after"]
    assert not reader._foreign
    for descriptor in (*told, *heard):
        os.close(descriptor)


def test_a_spool_that_is_dropped_leaves_no_descriptors_behind(tmp_path: Path) -> None:
    """Writer, drainer, segments, locks and counts close what they opened: a process that makes many has room for all.

    The hook for forked children once kept every spool of a process alive, and a dropped segment its descriptor.
    """
    before = set(os.listdir("/proc/self/fd"))
    spool = make(tmp_path / "spool")
    foreign = make(tmp_path / "spool")
    for number in range(3000):
        spool.append(start(f"{number} {'x' * 1000}"))
    spool.counters.add(SPOOL_FULL, 1, 1)
    foreign.append(start("of another"))
    reader = SpoolReader(spool.folder, spool)
    assert len(drain(reader)) == 3001
    spool.append(start("not drained"))
    assert len(os.listdir("/proc/self/fd")) > len(before)

    del spool, reader, foreign
    gc.collect()

    assert set(os.listdir("/proc/self/fd")) <= before


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


def damage_magic(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(b"SUMOSPL9")


def damage_offsets(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(8)
        file.write((SEGMENT_BYTES + 1).to_bytes(8, "little"))


def damage_envelope(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(64 + 4)
        file.write(b"[1")


def damage_size(path: str) -> None:
    os.truncate(path, HEADER_BYTES)


@pytest.mark.parametrize("damage", [damage_magic, damage_offsets, damage_envelope, damage_size])
def test_damage_is_set_aside_and_reported(tmp_path: Path, damage: object) -> None:
    """A segment of another version, with offsets out of range or cut off is not guessed at; the evidence is kept."""
    folder = str(tmp_path / "spool")
    make(Path(folder))
    path = f"{folder}/0123456789ab-p4999999.000001.spool"
    Segment.create(path, b"{}").close()
    damage(path)  # type: ignore[operator]
    reader = SpoolReader(folder)

    assert reader.take(1_000_000) == []
    assert os.listdir(folder) == ["0123456789ab-p4999999.000001.spool.damaged"]
    assert len(reader.damaged) == 1 and path in reader.damaged[0][0]


def test_files_are_ours_alone(tmp_path: Path) -> None:
    """Folder 0700, files 0600, whatever the umask: lines may hold anything."""
    previous = os.umask(0)
    try:
        spool = make(tmp_path / "spool")
        spool.append(start("secret"))
    finally:
        os.umask(previous)

    assert stat.S_IMODE(os.stat(spool.folder).st_mode) == 0o700
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in list_segments(spool.folder)} == {0o600}


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    """A symbolic link, a file, a folder for everybody as /tmp is: somebody could read or replace what we write.

    With a slash at its end a link was followed.
    """
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)

    for name in ("link", "link/", "file", "open", "missing/folder"):
        with pytest.raises(FolderRefusedError, match=name.rstrip("/")):
            Spool(f"{tmp_path}/{name}", ENVELOPE, 64_000_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_a_foreign_owner_is_refused(tmp_path: Path) -> None:
    """The folder of another user is not used, whatever its mode."""
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(FolderRefusedError, match="theirs"):
        make(tmp_path / "theirs")


def test_symbolic_links_for_segments_are_not_followed(tmp_path: Path) -> None:
    """A link among the segments is left alone: it may point anywhere."""
    spool = make(tmp_path / "spool")
    spool.append(start("mine"))
    target = tmp_path / "target"
    target.write_bytes(b"x" * SEGMENT_BYTES)
    os.symlink(target, f"{spool.folder}/0123456789ab-p4999999.000001.spool")

    assert drain(SpoolReader(spool.folder, spool)) == ["mine"]
    assert target.read_bytes() == b"x" * SEGMENT_BYTES


def test_a_folder_that_is_refused_is_not_drained_either(tmp_path: Path) -> None:
    """Behind a symbolic link somebody else's files lie: none is taken, made or removed; what is mapped still leaves."""
    theirs = make(tmp_path / "theirs")
    theirs.append(start("theirs"))
    before = sorted(os.listdir(theirs.folder))
    mine = make(tmp_path / "mine")
    mine.append(start("mine"))
    shutil.rmtree(mine.folder)
    Path(mine.folder).symlink_to(theirs.folder)

    reader = SpoolReader(mine.folder, mine)
    assert reader.acquire()
    assert drain(reader) == ["mine"]
    reader.release()
    assert sorted(os.listdir(theirs.folder)) == before

    os.unlink(mine.folder)
    assert reader.acquire() and os.listdir(mine.folder) == ["drain.lock"]


MEMORY_BYTES = 3 * SEGMENT_BYTES


def without_files(folder: Path, keeper: str = "") -> Spool:
    """A spool whose folder is not ours alone: no file can be made there."""
    folder.write_text("a file is in the folder's place")
    return Spool(str(folder), ENVELOPE, 64_000_000, memory_max_bytes=MEMORY_BYTES, keeper=keeper)


def test_where_no_file_can_be_made_lines_wait_in_memory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Within the bound: they are shipped like any others, and the room is used again; what is beyond it is counted."""
    spool = without_files(tmp_path / "spool")
    reader = SpoolReader(spool.folder, spool)
    got = []
    for number in range(10_000):
        spool.append(start(f"{number:08d}" + "x" * 1000))
        if number < 8_000 and number % 1000 == 0:
            got += drain(reader)
    assert spool.is_unprotected
    assert sum(segment.is_in_memory for segment in spool.segments) == MEMORY_BYTES // SEGMENT_BYTES
    got += drain(reader)

    lost = spool.counters.counts()[NO_FILE][0]
    assert 0 < lost < 1000
    assert [int(line[:8]) for line in got] == list(range(10_000 - lost))
    assert not spool.is_unprotected
    assert spool.counters.counts()[UNPROTECTED][0] > 5000
    assert capfd.readouterr().err.count("no extension keeps it") == 1


def test_files_are_made_again_as_soon_as_they_can_be(tmp_path: Path) -> None:
    """What is in memory stays there until it is delivered; a look at the end of an invocation goes on in a file."""
    spool = without_files(tmp_path / "spool")
    spool.append(start("in memory"))
    spool.mend()
    assert spool.segments[-1].is_in_memory
    os.unlink(spool.folder)

    spool.mend()
    spool.append(start("in a file"))

    assert [segment.is_in_memory for segment in spool.segments] == [True, False]
    assert drain(SpoolReader(spool.folder, spool)) == ["in memory", "in a file"]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"\0sumo-internal-test/{tmp_path}"


@pytest.fixture
def keeper(address: str) -> Iterator[Keeper]:
    keeper = Keeper(address)
    yield keeper
    keeper.close()


KILLED_IN_MEMORY = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[2], {"X-Sumo-Host": "h"}, 64_000_000, memory_max_bytes=8_000_000, keeper="\\0" + sys.argv[3][1:])
for number in range(4000):
    spool.append('{"line":"%08d %s"' % (number, "x" * 1000))
assert not spool.is_unprotected
if os.fork() == 0:
    spool.append('{"line":"child"')
    os._exit(0)
os.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("looks", ["meanwhile", "later"])
def test_the_keeper_has_the_lines_of_a_killed_process_without_files(
    tmp_path: Path, address: str, keeper: Keeper, looks: str
) -> None:
    """The extension need not be awake when a descriptor is sent; its lines, and a child's, are all there afterwards."""
    name = address.replace("\0", "@")
    (tmp_path / "spool").write_text("")
    command = [sys.executable, "-c", KILLED_IN_MEMORY, os.getcwd(), str(tmp_path / "spool"), name]
    process = subprocess.Popen(command)
    while looks == "meanwhile" and process.poll() is None:
        select.select([keeper], [], [], 0.05)
        keeper.look()
    assert process.wait(_BOUND_S) == -signal.SIGKILL

    reader = SpoolReader(str(tmp_path / "spool"), keeper=keeper)
    assert reader.left()[0] == 4001
    got = drain(reader)

    assert sorted(got)[:4000] == [f"{number:08d} {'x' * 1000}" for number in range(4000)] and "child" in got
    assert reader.left() == (0, 0) and keeper.segments() == []


def test_the_keeper_lets_go_of_what_is_delivered(tmp_path: Path, address: str, keeper: Keeper) -> None:
    """What has gone through the sidecar is not kept: memory is bounded by what is unsent, in both processes."""
    spool = without_files(tmp_path / "spool", address)
    reader = SpoolReader(spool.folder, spool)
    for number in range(20):
        for _ in range(1200):
            spool.append(start(f"{number:08d}" + "x" * 1000))
        assert not spool.is_unprotected
        assert len(drain(reader)) == 1200
        assert len(keeper.segments()) <= 2
    assert UNPROTECTED not in spool.counters.counts()


def test_the_keeper_takes_no_more_than_it_may_and_nothing_that_may_change_its_size(
    tmp_path: Path, address: str, keeper: Keeper
) -> None:
    """Anybody in the environment may send there: files that can be cut under us, other things, one too many."""
    with open(tmp_path / "file", "wb") as file:
        file.truncate(SEGMENT_BYTES)
        unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
        os.truncate(unsealed, SEGMENT_BYTES)
        before = len(os.listdir("/proc/self/fd"))
        for descriptor in (file.fileno(), unsealed, 0):
            assert entrust(address, "name", descriptor)
            assert keeper.segments() == []
        for number in range(KEPT_MAX + 5):
            Segment.create_in_memory(f"p.{number}.memory", b"{}", lambda name, fd: entrust(address, name, fd)).close()
            keeper.look()
        assert len(keeper.segments()) == KEPT_MAX
        assert len(os.listdir("/proc/self/fd")) <= before + KEPT_MAX  # those of earlier tests may go meanwhile
        os.close(unsealed)


def test_without_any_descriptor_lines_wait_in_memory_too(tmp_path: Path) -> None:
    """A function that has used up its descriptors: a map of memory needs none. /tmp is not called full for it."""
    code = (
        "import os, resource, sys; sys.path.insert(0, sys.argv[1])\n"
        "from sumo_internal.spool.reader import SpoolReader\n"
        "from sumo_internal.spool.writer import Spool\n"
        "spool = Spool(sys.argv[2], {}, 64_000_000, memory_max_bytes=2_000_000)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"
        "taken = []\n"
        "try:\n"
        "    while True: taken.append(os.dup(0))\n"
        "except OSError: pass\n"
        "for number in range(3000): spool.append('{\"line\":\"%s\"' % ('x' * 1000))\n"
        "print(len(spool.segments), *spool.counters.counts())\n"
    )
    command = [sys.executable, "-c", code, os.getcwd(), str(tmp_path / "spool")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"2 {NO_FILE}\n"


def test_the_extension_keeps_what_was_removed_under_a_process(tmp_path: Path, address: str, keeper: Keeper) -> None:
    """/tmp is emptied, the invocation ends, the process is killed: unsent lines are there, with the ids they had."""
    code = (
        "import os, shutil, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from sumo_internal.spool.writer import Spool\n"
        "spool = Spool(sys.argv[2], {}, 64_000_000, keeper='\\0' + sys.argv[3][1:])\n"
        "for number in range(1500): spool.append('{\"line\":\"%s %s\"' % (number, 'x' * 1000))\n"
        "shutil.rmtree(sys.argv[2])\n"
        "spool.mend()\n"
        'spool.append(\'{"line":"after"\')\n'
        "spool.mend()\n"
        "assert not spool.is_unprotected\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, os.getcwd(), str(tmp_path / "spool"), address.replace("\0", "@")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    reader = SpoolReader(str(tmp_path / "spool"), keeper=keeper)
    records = [json.loads(line) for piece in reader.take(10_000_000) for line in bytes(piece.data()).splitlines()]

    assert sorted(record["line"].split()[0] for record in records) == sorted([*map(str, range(1500)), "after"])
    assert len({record["id"] for record in records}) == 1501


def test_what_was_removed_and_nobody_keeps_is_unprotected(tmp_path: Path) -> None:
    """Then the invocation is held until it is delivered."""
    spool = make(tmp_path / "spool")
    spool.append(start("before"))
    empty(spool.folder)
    spool.mend()
    assert spool.is_unprotected
    assert drain(SpoolReader(spool.folder, spool)) == ["before"]
    assert not spool.is_unprotected


LIVING = """
import os, sys
sys.path.insert(0, sys.argv[2])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {}, 64_000_000)
number = 0
for line in sys.stdin:
    if line == "look\\n":
        for name in os.listdir(spool.folder):
            open(f"{spool.folder}/{name}", "rb").close()
    elif line == "close\\n":
        os.closerange(3, 1000)
    elif line == "unlock\\n":
        os.unlink(f"{spool.folder}/{spool.writer}.lock")
    spool.append('{"line":"%d"' % number)
    number += 1
    print(number, flush=True)
"""


@pytest.mark.parametrize("act", ["look", "close", "unlock"])
def test_a_living_writer_is_not_taken_for_dead(tmp_path: Path, act: str) -> None:
    """It reads all files in /tmp, closes descriptors, or somebody removes its lock: its later lines are still taken.

    A POSIX lock goes when any descriptor of its file is closed; its segment was then removed while it was filled.
    """
    command = [sys.executable, "-c", LIVING.replace("\\\\n", "\\n"), str(tmp_path / "spool"), os.getcwd()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None and writer.stdout is not None
        reader = SpoolReader(str(tmp_path / "spool"))
        got = []
        for what in ("write", act, "write", "write"):
            writer.stdin.write(f"{what}\n")
            writer.stdin.flush()
            assert writer.stdout.readline()
            got += drain(reader)
        writer.kill()
        writer.wait()
        got += drain(reader)
    assert got == ["0", "1", "2", "3"]


def test_without_a_descriptor_no_writer_is_taken_for_dead(tmp_path: Path) -> None:
    """A parent that has used up its descriptors cannot list the folder nor look at a lock: that says nothing."""
    command = [sys.executable, "-c", LIVING.replace("\\\\n", "\\n"), str(tmp_path / "spool"), os.getcwd()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None and writer.stdout is not None

        def write() -> None:
            assert writer.stdin is not None and writer.stdout is not None
            writer.stdin.write("write\n")
            writer.stdin.flush()
            assert writer.stdout.readline()

        write()
        reader = SpoolReader(str(tmp_path / "spool"))
        assert drain(reader) == ["0"]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            assert reader.take(1_000_000) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        write()
        assert drain(reader) == ["1"]
        writer.kill()


def test_a_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    """The lock says when its process began: one that has its number now, and began later, does not keep it alive."""
    writer = f"0123456789ab-p{os.getpid()}"
    make(tmp_path / "spool")
    lock = tmp_path / "spool" / f"{writer}.lock"
    lock.write_text(start_of(os.getpid()))
    assert is_alive(str(tmp_path / "spool"), writer)
    lock.write_text("1")
    assert not is_alive(str(tmp_path / "spool"), writer)


CHILDREN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[2], {}, 128_000_000)
spool.append('{"line":"parent"')
is_at_once = sys.argv[3] == "at once"
woken = []
spool.on_backlog = lambda: woken.append(1)
(hold, go), children = os.pipe(), []
for number in range(300):
    child = os.fork()
    if child == 0:
        os.close(go)
        for line in range(2):
            spool.append('{"line":"%d %d"' % (number, line))
        if is_at_once:
            os.read(hold, 1)
        os._exit(0)
    children.append(child)
    if not is_at_once:
        os.waitpid(child, 0)
if is_at_once:
    os.close(go)
    for child in children:
        os.waitpid(child, 0)
size = sum(os.lstat(entry.path).st_size for entry in os.scandir(spool.folder))
print(len(woken), size)
"""


@pytest.mark.parametrize("how", ["at once", "one after the other"])
def test_hundreds_of_children_lose_nothing(tmp_path: Path, how: str) -> None:
    """A first segment is small, and on top of the bound; the parent looks after what they leave now and then.

    Each took a megabyte for its first line: of 200 with two lines 40 % were lost, at 115 MB of /tmp.
    """
    command = [sys.executable, "-c", CHILDREN, os.getcwd(), str(tmp_path / "spool"), how]
    woken, size_bytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    got = drain(SpoolReader(str(tmp_path / "spool")))

    assert sorted(got) == sorted(["parent", *(f"{number} {line}" for number in range(300) for line in range(2))])
    assert totals(str(tmp_path / "spool")) == {}
    assert int(size_bytes) < 115_000_000 // 4
    assert int(woken) == 300 // FORKS_PER_WAKE


def test_a_childs_segments_grow_with_what_it_writes(tmp_path: Path) -> None:
    """Small lines, a line larger than its first segment, several megabytes: all there, in few segments."""
    spool = make(tmp_path / "spool")
    child = os.fork()
    if child == 0:
        try:
            spool.append(start("y" * 200_000))
            for number in range(3000):
                spool.append(start(f"{number:08d}" + "x" * 1000))
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    sizes = [os.stat(path).st_size for path in list_segments(spool.folder)]
    assert sizes == sorted(sizes) and sizes[0] < 250_000 and sizes[-1] == SEGMENT_BYTES and len(sizes) < 8
    assert [line[:8] for line in drain(SpoolReader(spool.folder))] == ["y" * 8, *(f"{n:08d}" for n in range(3000))]


def test_first_segments_of_others_have_a_bound_of_their_own(tmp_path: Path) -> None:
    """A quarter of the spool's; beyond it they count like any others, so that /tmp is not filled by children."""
    folder = tmp_path / "spool"
    spools = [make(folder, max_bytes=4 * SEGMENT_BYTES) for _ in range(8)]
    for number, spool in enumerate(spools):
        spool.append(start(f"{number}"), WARNING)
    assert len(list_segments(str(folder))) == 1 + 4
    assert sum(spool.counters.counts().get(SPOOL_FULL, (0, 0))[0] for spool in spools) == 3


def test_a_nested_line_of_a_living_writer_is_taken(tmp_path: Path) -> None:
    """Verifying is a look for a byte that is not visible yet: JSON nested 100,000 deep ended the whole drain."""
    spool = make(tmp_path / "spool")
    spool.append('{"line":' + "[" * 100_000 + "]" * 100_000)
    taken = spool.segments[0].take(1_000_000, is_verified=True)
    assert taken is not None and taken.size_bytes > 200_000


def put_fifo(path: Path) -> None:
    os.mkfifo(path)


def put_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put_large(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def put_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [put_fifo, put_endless, put_large, put_folder])
def test_what_is_no_file_of_ours_stops_nothing(tmp_path: Path, put: Callable[[Path], None]) -> None:
    """Under every name that is opened: FIFOs stopped shipping, and a link to /dev/zero was read for a gigabyte."""
    folder = tmp_path / "spool"
    spool = make(folder)
    names = ["reported.json", "function.json", "timed-out", "drain.lock", "0123456789ab-p4999999.lock"]
    names += [f"0123456789ab-p4999999.{kind}" for kind in ("tally", "000001.spool", "000002.held", "lock.new")]
    names += ["extension-p4999999.tally"]
    for name in names:
        put(folder / name)
    os.utime(folder, (0, 0))

    spool.append(start("line"))
    reader = SpoolReader(spool.folder, spool)
    assert drain(reader) == ["line"]
    assert has_others(spool) in (False, True)
    assert (reported(spool.folder), totals(spool.folder)) == ({}, {})
    assert (handoff.function(spool.folder), handoff.timed_out(spool.folder)) == (None, None)
    set_reported(spool.folder, {"retried": (1, 1)})
    handoff.tell_timeout(spool.folder, "r1")


def test_only_files_with_a_name_of_ours_are_removed(tmp_path: Path) -> None:
    """The function may keep files of its own there; what only ends like one of ours is not touched."""
    folder = tmp_path / "spool"
    spool = make(folder)
    names = ["theirs.lock", "theirs.tally", "a.spool.new", "x.spool", "0123456789ab-p1x.lock", "0123456789ab-p49.x.new"]
    for name in names:
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    spool.append(start("line"))
    assert drain(SpoolReader(str(folder), spool)) == ["line"]
    assert set(names) <= set(os.listdir(folder))


class SpoolAgainstModel(RuleBasedStateMachine):
    """Append, take, acknowledge, lose the process, come back: against two lists, with segments of a few lines."""

    @initialize()
    def begin(self) -> None:
        import tempfile

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
            assert HEADER_BYTES <= segment.cursors[3] <= segment.cursors[1] <= segment_module.SEGMENT_BYTES

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
