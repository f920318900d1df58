"""Several writers in one folder: the dead, the living, forked children, and who may take whose lines."""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spool_functions import ENVELOPE, drain, empty, lines, make, start

from layer.interpreters import Interpreter, find
from sumo_internal.config import read
from sumo_internal.spool import reader as reader_module
from sumo_internal.spool import segment as segment_module
from sumo_internal.spool.counters import (
    SPOOL_FULL,
    UNPROTECTED,
    totals,
)
from sumo_internal.spool.envelope import DESTINATION, destination_id
from sumo_internal.spool.folder import LockFile, has_process, list_segments, start_of
from sumo_internal.spool.reader import SpoolReader, is_alive
from sumo_internal.spool.segment import (
    HEADER_BYTES,
    LINE_MAX_BYTES,
    SEGMENT_BYTES,
    SEGMENT_MAX_BYTES,
    WARNING,
    Segment,
)
from sumo_internal.spool.writer import (
    FORKS_PER_WAKE,
    LENDABLE_MAX,
    Spool,
    has_others,
)

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


def test_a_childs_text_for_which_there_is_no_room_is_counted(tmp_path: Path) -> None:
    """A full spool, and a child that ends in the middle of a line: nothing has the text, so the count must tell."""
    spool = make(tmp_path / "spool", max_bytes=1)
    while spool.append(start("x" * 100_000)):
        pass
    before = totals(spool.folder).get(SPOOL_FULL, (0, 0))[0]
    spool._others_max_bytes = 0  # no first segment for a child either
    child = os.fork()
    if child == 0:
        spool.partials.begin("connecting ... ")
        os._exit(0)
    os.waitpid(child, 0)
    assert totals(spool.folder)[SPOOL_FULL][0] == before + 1


def test_a_childs_text_whose_turn_does_not_come_is_not_counted(tmp_path: Path) -> None:
    """Another thread is stopped in the middle of a line: it makes the segment, and the text is kept there.

    The text was counted as lost, although it came.
    """
    spool = make(tmp_path / "spool")
    has_turn, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        has_turn.set()
        go_on.wait()

    child = os.fork()
    if child == 0:
        try:
            other = threading.Thread(target=spool.run, args=(stop,))
            other.start()
            has_turn.wait()
            spool.partials.begin("connecting ... ")
            go_on.set()
            other.join()
            spool.append(start("whole"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert totals(spool.folder) == {}
    reader = SpoolReader(spool.folder)
    reader.complete = lambda partial: start(partial.text)
    assert sorted(drain(reader)) == ["connecting ... ", "whole"]


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
    monkeypatch.setattr(segment_module, "_map", lambda *file, **_: mmap.mmap(*file))  # as before Python 3.13
    folder = str(tmp_path / "spool")
    subprocess.run([sys.executable, "-c", FAR_BEHIND, folder, os.getcwd()], check=True, stdout=subprocess.DEVNULL)
    assert len(list_segments(folder)) >= 18

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


FAR_BEHIND_AND_DRAINED = """
import json, os, shutil, sys
sys.path.insert(0, sys.argv[2])
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {}, 400_000_000)
reader = SpoolReader(spool.folder, spool)
before = len(os.listdir("/proc/self/fd"))
written = 0
def write(count):
    global written
    for _ in range(count):
        spool.append('{"line":%d,"x":"%s"' % (written, "x" * 450_000))
        written += 1
write(600)
taken = len(os.listdir("/proc/self/fd")) - before
if sys.argv[3] == "emptied":
    shutil.rmtree(spool.folder)
    spool.mend()
assert reader.acquire()
got, is_first = [], True
while pieces := reader.take(1_000_000):
    for piece in pieces:
        with piece.data() as data:
            assert len(data) <= 1_000_000
            got += [json.loads(line)["line"] for line in bytes(data).splitlines()]
        piece.acknowledge()
    if is_first:
        write(20)
        is_first = False
reader.release()
losses = {name: count for name, count in spool.counters.counts().items() if name != "unprotected"}
print(json.dumps([taken, got == list(range(written)), losses, len(spool.segments)]))
"""


@pytest.mark.parametrize("how", ["as ever", "emptied"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_backlog_of_hundreds_of_megabytes_takes_few_descriptors(
    tmp_path: Path, interpreter: Interpreter, how: str
) -> None:
    """A segment is the larger the more are before it. Each line is taken in order, in an emptied /tmp too.

    Before Python 3.13 a map has a descriptor; from then on only what the extension may have to be given has one.
    """
    command = [str(interpreter.executable), "-c", FAR_BEHIND_AND_DRAINED, str(tmp_path / "spool"), os.getcwd(), how]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken, is_complete, losses, segments = json.loads(done.stdout)
    assert taken <= (LENDABLE_MAX + 3 if interpreter.version >= (3, 13) else 70)
    assert (is_complete, losses, segments) == (True, {}, 1)


@pytest.mark.parametrize("megabytes", [1, 3, 17, 64, 240, 1_008, 10_240])
def test_a_segment_is_a_sixteenth_of_what_waits_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    """Up to the largest; so many descriptors as the largest spool takes are left to the function."""
    spool = make(tmp_path / "spool")
    sizes: list[int] = []
    while sum(sizes) < megabytes * 1_000_000:
        monkeypatch.setattr(spool, "segments", sizes)
        sizes.append(spool._next_size(0))
    assert sizes == sorted(sizes) and sizes[0] == SEGMENT_BYTES and sizes[-1] <= SEGMENT_MAX_BYTES
    assert all(sizes[n] <= SEGMENT_BYTES + sum(sizes[:n]) // 16 for n in range(len(sizes)))
    assert len(sizes) <= 250 and (megabytes > 1_008 or len(sizes) <= 112)


def test_where_there_is_no_room_for_a_large_segment_there_is_a_small_one(tmp_path: Path) -> None:
    """Up to the spool's bound, and up to the disk's end: what is refused is refused when a megabyte has no room."""
    spool = make(tmp_path / "spool", max_bytes=60 * SEGMENT_BYTES)
    for number in range(80 * 4):
        spool.append(start(f"{number:04d}" + "x" * (LINE_MAX_BYTES // 4 - 100)))
    sizes = [os.stat(path).st_size // SEGMENT_BYTES for path in list_segments(spool.folder)]
    assert (sum(sizes), max(sizes)) == (54, 4)
    lost = spool.counters.counts()[SPOOL_FULL][0]
    assert len(drain(SpoolReader(spool.folder, spool))) == 80 * 4 - lost >= 54 * 4


@pytest.mark.parametrize(("is_child", "has_workers"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_who_is_drained_by_another_process_writes_on_for_good(
    tmp_path: Path, is_child: bool, has_workers: bool, is_emptied: bool
) -> None:
    """A child, a worker, the extension: what another process has delivered takes no room and no descriptor.

    Guards against a writer that keeps the maps of all it has ever written: its spool was full for good once it had
    written SUMO_SPOOL_MAX_MB in all, and each megabyte of it stayed taken.
    """
    folder, max_bytes = str(tmp_path / "spool"), 8 * SEGMENT_BYTES
    spool = Spool(folder, ENVELOPE, max_bytes, is_child=is_child, has_workers=has_workers)
    reader = SpoolReader(spool.folder)
    spool.append(start("first"))
    drain(reader)
    spool.check_folder()  # sets some descriptors aside
    before = len(os.listdir("/proc/self/fd"))
    got = []
    for number in range(30):
        for part in range(5):
            spool.append(start(f"{number} {part} {'x' * 200_000}"))
        if is_emptied:
            assert reader.acquire()
            reader.mark()  # has it mapped
            empty(spool.folder)
        got += [line[:4].strip() for line in drain(reader)]
        spool.check_folder()
    assert set(spool.counters.counts()) <= ({UNPROTECTED} if is_emptied else set())
    assert len(got) == len(set(got)) == 150
    assert len(spool.segments) <= 3
    assert len(os.listdir("/proc/self/fd")) - before <= 8


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
    usual = destination_id(read(environ)[0])
    assert destination_id(read(environ | {"SUMO_FLUSH": "end", "SOURCE_CATEGORY_OVERRIDE": "x"})[0]) == usual
    assert destination_id(read(environ | {variable: environ[variable] + "2"})[0]) != usual
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


def test_a_drainer_that_was_left_lets_go_of_its_lock_without_an_error(tmp_path: Path) -> None:
    """At SHUTDOWN another thread takes over; the stuck one comes to its end at any later time."""
    lock = LockFile(str(tmp_path / "drain.lock"))
    assert lock.acquire()
    lock.close()
    lock.release()
    assert LockFile(str(tmp_path / "drain.lock")).acquire()


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
    gc.collect()  # what other tests have left closes its descriptors now, and not in the middle
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


def test_an_ended_process_is_none_before_its_parent_asks() -> None:
    """A managed instance's parent never asks how a worker has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert not has_process(f"w-p{ended.pid}")


def test_a_process_lives_whose_main_thread_has_ended() -> None:
    """The kernel shows it as it shows one that has ended, but for its other threads."""
    end_main = (
        "import ctypes, sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall(60 if sys.argv[1] == 'x86_64' else 93, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", end_main, os.uname().machine], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = Path(f"/proc/{process.pid}/stat")
        until_s = time.monotonic() + 5
        while ") Z" not in stat.read_text():
            assert time.monotonic() < until_s
            time.sleep(0.01)
        assert has_process(f"w-p{process.pid}")
        process.kill()


ELSEWHERE = """
import sys
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {}, 64_000_000)
spool.append('{"line":"from elsewhere"')
print(spool.writer, flush=True)
sys.stdin.read()
"""


def test_a_process_lives_whose_number_means_nothing_here(tmp_path: Path) -> None:
    """In a pid namespace of its own it has a number that here is another process's, or none's: its lock tells."""
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no pid namespace can be made here")
    command = [*namespace, sys.executable, "-c", ELSEWHERE, str(tmp_path / "spool")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        writer = process.stdout.readline().strip()
        assert int(writer.rpartition("-p")[2]) < 10
        assert is_alive(str(tmp_path / "spool"), writer)
        process.stdin.close()
        process.wait()
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


def test_segments_that_workers_fill_are_not_counted(tmp_path: Path) -> None:
    """More living workers than the spool has segments, each filling a megabyte: what is delivered takes no room.

    Guards against a spool that is full of segments with nothing unsent in them; 120 workers used up the default.
    """
    folder = tmp_path / "spool"
    workers = [Spool(str(folder), {}, 3 * SEGMENT_BYTES, is_child=True, has_workers=True) for _ in range(8)]
    reader = SpoolReader(str(folder))
    for worker in workers:
        for number in range(1_000):
            worker.append(start(f"{number:04d}" + "x" * 1_000))
            if number % 200 == 0:
                drain(reader)
        drain(reader)
    assert {os.stat(path).st_size for path in list_segments(str(folder))} == {SEGMENT_BYTES}
    for worker in workers:
        worker.append(start("y" * 300_000))
    assert len(drain(reader)) == len(workers)
    assert totals(str(folder)) == {}


def test_a_first_segment_looks_at_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the folder has few names, there is room for all of them; then the files are looked at, as any writer does.

    Each of 16 workers would look at the files of all others before its first line.
    """
    folder = tmp_path / "spool"
    looked: list[str] = []
    lstat = os.lstat

    def noted(path: str) -> os.stat_result:
        if path.endswith(".spool"):
            looked.append(path)
        return lstat(path)

    spools = [make(folder, max_bytes=16 * SEGMENT_BYTES) for _ in range(2)]
    monkeypatch.setattr("sumo_internal.spool.writer.os.lstat", noted)
    assert all(spool.append(start("few")) for spool in spools) and looked == []
    for number in range(4):
        (folder / f"{number}").touch()
    assert make(folder, max_bytes=16 * SEGMENT_BYTES).append(start("many")) and len(looked) == 2


def test_a_child_has_what_is_its_own(tmp_path: Path) -> None:
    """Of a parent that has written nothing, and of one that has: its name, its lines, no children and no segment yet.

    The trap: a child that inherits the count of its parent's forks takes the others' segments for its own children's.
    """
    folder = tmp_path / "spool"
    spool = make(folder)
    for text in ("unused", "used"):
        for _ in range(2):
            child = os.fork()
            if child == 0:
                is_new = (spool.forks, len(spool.segments), spool.others) == (0, 0, [])
                spool.append(start(f"{text} {is_new}"))
                spool.check_folder()
                os._exit(0 if len(spool.segments) == 1 and spool.others == [] else 1)
            assert os.waitpid(child, 0)[1] == 0
        spool.append(start(f"parent of the {text}"))
    assert spool.forks == 4
    found = Counter(drain(SpoolReader(str(folder), spool)))
    assert found == {"unused True": 2, "used True": 2, "parent of the unused": 1, "parent of the used": 1}


def test_a_nested_line_of_a_living_writer_is_taken(tmp_path: Path) -> None:
    """Verifying is a look for a byte that is not visible yet: JSON nested 100,000 deep ended the whole drain."""
    spool = make(tmp_path / "spool")
    spool.append('{"line":' + "[" * 100_000 + "]" * 100_000)
    taken = spool.segments[0].take(1_000_000, is_verified=True)
    assert taken is not None and taken.size_bytes > 200_000
