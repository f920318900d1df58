"""The spool is interrupted: by threads, signal handlers, finalisers and time limits, at any instruction."""

from __future__ import annotations

import gc
import json
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from interruptions import Interruptions, TimeLimit, raise_time_limit
from spool_functions import _BOUND_S, drain, empty, make, start

from sumo_internal.spool import turn
from sumo_internal.spool.counters import (
    BLOCKED,
    DEBUG_FORGOTTEN,
    SAMPLED_OUT,
    TOO_LONG,
)
from sumo_internal.spool.held import DEBUG_SEGMENT_BYTES, Debug, Held
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import HEADER_BYTES, INFO, SEGMENT_BYTES
from sumo_internal.spool.writer import Spool


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
    gc.collect()  # a spool of an earlier test: what is raised in its finaliser Python tells, and no caller
    spool = make(tmp_path / "spool")

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

    def interrupt(number: int) -> None:
        if act == "raises":
            raise TimeLimit
        if act == "logs":
            spool.append(start(f"inner {number}"))
        else:
            other = threading.Thread(target=spool.append, args=(start(f"inner {number}"),), daemon=True)
            other.start()
            other.join(_BOUND_S)
            assert not other.is_alive(), "each waits for the other"

    def append(number: int) -> None:
        spool.wake_offset = 0 if number % 2 else HEADER_BYTES * 10
        spool.append(start(f"outer {number}"))

    functions = (Spool.append, Spool._make_way, Spool._next_hundred)
    for number in Interruptions(functions, interrupt).of(append):
        assert not spool._owner
        spool.append(start(f"after {number}"))

    assert 60 < number < 400
    records = [json.loads(line) for piece in reader.take(1_000_000) for line in bytes(piece.data()).splitlines()]
    ids = [record["id"] for record in records]
    got = Counter(record["line"] for record in records)
    assert ids == sorted(set(ids))
    assert got.pop("first") == got.pop("outer 0") == got.pop(f"outer {number}") == 1
    assert got.pop("after 0") == got.pop(f"after {number}") == 1
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


@pytest.mark.parametrize(("text", "most"), [("", 1_000), ("x" * 100_000, 1_000_000 // 100_000)])
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


@pytest.mark.parametrize("who", ["a signal handler", "another thread"])
def test_held_lines_are_freed_at_each_instruction_of_another_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """``keep_debug`` while a line below the function's level is being held: each goes out once, or is counted, and
    holding it raises nothing. Guards against a look at the segments before the turn, and a use of them in it."""
    monkeypatch.setattr(turn, "WAIT_S", 0.0)
    spool = make(tmp_path / "spool")
    debug = Debug(spool, 4 * DEBUG_SEGMENT_BYTES)
    debug.append(start("first"), INFO)

    def free(_: int) -> None:
        if who == "a signal handler":
            debug.release()
        else:
            other = threading.Thread(target=debug.release, daemon=True)
            other.start()
            other.join(_BOUND_S)
            assert not other.is_alive()

    def hold(number: int) -> None:
        debug.append(start(f"outer {number}"), INFO)

    for number in Interruptions([Debug.append], free).of(hold):
        assert not spool._owner
        debug.append(start(f"after {number}"), INFO)
    debug.release()

    assert 60 < number < 400
    got = Counter(drain(SpoolReader(spool.folder, spool)))
    assert set(got.values()) == {1}
    assert len(got) + spool.counters.counts().get(DEBUG_FORGOTTEN, (0, 0))[0] == 1 + 2 * (number + 1)
    assert len(got) > number


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
    spool = make(tmp_path / "none")

    def append_and_mend(number: int) -> None:
        nonlocal spool
        spool = make(tmp_path / f"{number}")
        spool.append(start("outer"))
        empty(spool.folder)
        spool.mend()

    interruptions = Interruptions([getattr(Spool, name)], raise_time_limit)
    for _ in interruptions.of(append_and_mend):
        assert not spool._owner
        spool.append(start("after"))
        got = drain(SpoolReader(spool.folder, spool))
        assert got in (["outer", "after"], ["after"])
    assert 10 < interruptions.number < 400
