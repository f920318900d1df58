"""The spool's folder: emptied, full, foreign, with files that are none of ours; and lines that have no file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from spool_functions import _BOUND_S, ENVELOPE, drain, empty, make, small_segments, start

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal.extension.keeper import KEPT_MAX, UNSEEN_MAX, WAITING_MAX, Keeper
from sumo_internal.spool import handoff
from sumo_internal.spool import writer as spool_module
from sumo_internal.spool.counters import (
    BLOCKED,
    NO_FILE,
    SPOOL_FULL,
    TOO_LONG,
    UNPROTECTED,
    reported,
    set_reported,
    totals,
)
from sumo_internal.spool.envelope import DESTINATION
from sumo_internal.spool.folder import SPARE_DESCRIPTORS, FolderRefusedError, SpareDescriptors, list_segments
from sumo_internal.spool.handoff import entrust
from sumo_internal.spool.held import Held
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import HEADER_BYTES, LINE_MAX_BYTES, SEALED, SEGMENT_BYTES, Segment
from sumo_internal.spool.writer import (
    Spool,
    has_others,
)


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


CLOSED_STREAMS_SCRIPT = """
import errno, os, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
numbers = [int(number) for number in sys.argv[3]]
spool, said = Spool(sys.argv[2], {}, 64_000_000), os.dup(1)
for number in numbers:
    os.close(number)
spool.append('{"message":"a line"')
spool.count("cut", 1, 1)
for number in numbers:
    try:
        os.write(number, b"printed") if number else os.read(number, 1)
    except OSError as error:
        assert error.errno == errno.EBADF
    else:
        raise AssertionError(number)
[piece] = SpoolReader(spool.folder, spool).take(1_000_000)
os.write(said, bytes(piece.data())[:19])
"""


@pytest.mark.parametrize("numbers", ["1", "012"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_no_file_of_ours_is_a_standard_stream(tmp_path: Path, interpreter: Interpreter, numbers: str) -> None:
    """A function closes its own, and prints: that is an error as without us, and nothing of it comes into a file of
    ours."""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", CLOSED_STREAMS_SCRIPT]
    done = subprocess.run([*command, str(ROOT), str(tmp_path / "s"), numbers], stdout=subprocess.PIPE, text=True)
    assert done.stdout == '{"message":"a line"' and done.returncode == 0


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
    assert capfd.readouterr().err.count("no extension keeps that open") == 1


def test_files_are_made_again_as_soon_as_they_can_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is in memory stays there until it is delivered; a look at the end of an invocation goes on in a file."""
    spool = without_files(tmp_path / "spool")
    spool.append(start("in memory"))
    spool.mend()
    spool.mend()
    told = [line for line in capfd.readouterr().err.splitlines() if "memory alone" in line]
    assert len(told) == 1 and "1 lines" in told[0]  # no file has the count
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
        select.select([keeper.descriptors()[0]], [], [], 0.05)
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

        def send() -> bool:
            segment = Segment.create_in_memory("p.1.memory", b"{}", lambda name, fd: entrust(address, name, fd))
            segment.close()
            return segment.is_kept

        for number in range(KEPT_MAX + WAITING_MAX):
            assert send()
            if number < KEPT_MAX:
                keeper.look()
        assert not send() and not send()  # the sender is told, so that no line is thought safe that is not
        assert len(keeper.segments()) == KEPT_MAX and keeper.is_full
        assert len(os.listdir("/proc/self/fd")) <= before + KEPT_MAX  # those of earlier tests may go meanwhile
        for segment in keeper.segments():
            segment.cursors[SEALED] = 1  # and nothing is in it: delivered
        assert len(keeper.segments()) == WAITING_MAX
        assert send()
        os.close(unsealed)


def test_a_sender_that_is_stopped_before_it_has_sent_anything_holds_nothing_up(address: str, keeper: Keeper) -> None:
    """A freeze, or a kill, comes at any instruction; what the others send is taken, and its own when it comes."""
    kept = Segment.create_in_memory("p.1.memory", b"{}", lambda *_: True)
    descriptor = os.memfd_create("p.2.memory", os.MFD_ALLOW_SEALING)
    os.write(descriptor, kept.map[:])
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stopped,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed,
    ):
        for each in (stopped, killed):
            each.connect(address)
        assert keeper.segments() == []
        assert entrust(address, "p.3.memory", descriptor)
        assert [segment.path for segment in keeper.segments()] == ["p.3.memory"]
        killed.close()
        socket.send_fds(stopped, [b"p.2.memory"], [descriptor])
    assert [segment.path for segment in keeper.segments()] == ["p.3.memory", "p.2.memory"]
    os.close(descriptor)


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


STARVED = """
import os, resource, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[2], {}, 64_000_000, memory_max_bytes=8_000_000, keeper="\\0" + sys.argv[3][1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True: taken.append(os.dup(0))
except OSError: pass
for number in range(7000): spool.append('{"line":"%04d %s"' % (number, "x" * 1000))
child = os.fork()
if child == 0:
    spool.append('{"line":"child"')
    os._exit(0)
os.waitpid(child, 0)
assert not spool.is_unprotected
spool.check_folder()
assert not spool.counters.counts(), spool.counters.counts()
try:
    os.dup(0)
except OSError:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("where", ["in files", "in memory"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_function_that_has_used_up_its_descriptors_loses_nothing(
    tmp_path: Path, address: str, keeper: Keeper, interpreter: Interpreter, where: str
) -> None:
    """Some are set aside for files, and where there is no room for any, for memory that the extension keeps.

    Else what it wrote was in its own memory alone, and gone with a kill in the same invocation, uncounted.
    """
    folder = tmp_path / "spool"
    if where == "in memory":
        folder.write_text("a file is in the folder's place")
    command = [str(interpreter.executable), "-c", STARVED, os.getcwd(), str(folder), address.replace("\0", "@")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr

    got = drain(SpoolReader(str(folder), keeper=keeper))
    assert sorted(got) == [*(f"{number:04d} {'x' * 1000}" for number in range(7000)), "child"]


def spare_descriptors() -> set[int]:
    """Those of this process that are set aside."""
    folder = "/proc/self/fd"
    names = [name for name in os.listdir(folder) if os.path.exists(f"{folder}/{name}")]
    return {int(name) for name in names if "memfd:spare" in os.readlink(f"{folder}/{name}")}


def test_what_is_set_aside_is_given_back_and_no_descriptor_of_the_functions_is_closed() -> None:
    """A function that closes all descriptors gets the numbers of ours for its own files."""
    folder = "/proc/self/fd"
    others = spare_descriptors()
    spares = SpareDescriptors()
    assert spares.take() and spares.take()
    mine = sorted(spare_descriptors() - others)
    assert len(mine) == SPARE_DESCRIPTORS
    with spares:
        assert not any(os.path.exists(f"{folder}/{descriptor}") for descriptor in mine)
    theirs = os.open("/dev/null", os.O_RDONLY)
    for descriptor in mine[:3]:
        os.dup2(theirs, descriptor)
    os.close(mine[3])
    del spares
    for descriptor in mine[:3]:
        os.close(descriptor)
    os.close(theirs)
    assert not any(os.path.exists(f"{folder}/{descriptor}") for descriptor in mine)


REPLACED = """
import gc, os, shutil, sys, tempfile
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.counters import TOO_LONG
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

def write():
    for number in range(1200):
        spool.append('{"line":"%s"' % ("x" * 1000))
    spool.count(TOO_LONG, 1, 1)

def drained():
    assert reader.acquire()
    lines = 0
    while slices := reader.take(1_000_000):
        for piece in slices:
            lines += piece.count()
            piece.acknowledge()
    reader.release()
    return lines

def replaced():
    return [path for number, path in theirs.items() if os.path.realpath(f"/proc/self/fd/{number}") != path]

def sees_its_own():
    child = os.fork()
    if child == 0:
        os._exit(len(replaced()))
    return os.waitpid(child, 0)[1] == 0

spool = Spool(sys.argv[2], {}, 64_000_000)
reader = SpoolReader(spool.folder, spool)
write()
assert reader.acquire()
before = len(os.listdir("/proc/self/fd"))
os.closerange(3, 1000)
theirs = {}
for _ in range(before + 10):
    number, path = tempfile.mkstemp(dir=sys.argv[3])
    theirs[number] = os.path.realpath(path)
for step in range(3):
    write()
    assert drained() == 1200 + 1200 * (step == 0)
    assert sees_its_own() and replaced() == []
    if step == 1:
        shutil.rmtree(spool.folder)
    spool.check_folder()
    assert replaced() == [], "looking at our files"
assert spool.counters.counts()[TOO_LONG] == (4, 4)
del spool, reader
gc.collect()
assert replaced() == [], "at the end"
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_no_descriptor_is_closed_that_has_become_the_functions(tmp_path: Path, interpreter: Interpreter) -> None:
    """A function closes all descriptors, and opens files of its own under the numbers of ours.

    Our lock's was closed when the folder was made anew, and the copy that each map has with the map: the function's
    next read or write failed, or went to another file. A child's, too.
    """
    (tmp_path / "theirs").mkdir()
    arguments = [os.getcwd(), str(tmp_path / "spool"), str(tmp_path / "theirs")]
    command = [str(interpreter.executable), "-c", REPLACED, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_two_threads_that_set_aside_at_once_leave_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is stopped where it makes its first, as two threads are that use the spool: all are given back."""
    others = spare_descriptors()
    spares = SpareDescriptors()
    meeting = threading.Barrier(2, timeout=5)
    create = os.memfd_create

    def create_together(name: str) -> int:
        if name == "spare":
            meeting.wait()
        return create(name)

    monkeypatch.setattr("sumo_internal.spool.folder.os.memfd_create", create_together)  # the package has its own
    threads = [threading.Thread(target=spares.take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spares.take()
    assert len(spare_descriptors() - others) == SPARE_DESCRIPTORS
    del spares
    assert spare_descriptors() == others


def test_whether_there_is_another_descriptor_is_asked_without_the_functions_files() -> None:
    """A function that closed all descriptors has a number of ours for a file with a lock (``fcntl.lockf``).

    Any descriptor of that file that the process closes would let go of the lock.
    """
    spares = SpareDescriptors()
    others = spare_descriptors()
    assert spares.take()
    with tempfile.TemporaryFile() as theirs:
        mine = spare_descriptors() - others
        for descriptor in mine:
            os.dup2(theirs.fileno(), descriptor)
        fcntl.lockf(theirs, fcntl.LOCK_EX)
        assert spares.take()
        child = os.fork()
        if child == 0:
            try:
                fcntl.lockf(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os._exit(0)  # the parent has it still
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        for descriptor in mine:
            os.close(descriptor)


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


EMPTIED = """
import os, shutil, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.held import Held
from sumo_internal.spool.writer import Spool
folder, how = sys.argv[2], sys.argv[4]
spool = Spool(folder, {}, 64_000_000, keeper="\\0" + sys.argv[3][1:])
if "first" in how:
    shutil.rmtree(folder)
spool.append('{"line":"begun"')
if "twice" in how:
    shutil.rmtree(folder)
    spool.mend()
if "held" in how:
    Held(spool).append('{"line":"held"', 20)
spool.partials.begin("a text")
if "segments" in how:
    for number in range(1500):
        spool.append('{"line":"%s %s"' % (number, "x" * 1000))
(hold, go), (told, tell) = os.pipe(), os.pipe()
for number in range(3):
    if os.fork() == 0:
        spool.append('{"line":"child %s"' % number)
        spool.partials.begin("text of %s" % number)
        os.write(tell, b".")
        if number == 2:
            os.close(go)
            os.read(hold, 1)
        os._exit(0)
    os.read(told, 1)
shutil.rmtree(folder)
spool.append('{"line":"last"')
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "how", ["once", "first, before there is a line", "twice", "once, with several segments", "once, with held lines"]
)
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_who_empties_tmp_and_is_killed_loses_nothing(
    tmp_path: Path, address: str, keeper: Keeper, interpreter: Interpreter, how: str
) -> None:
    """In one invocation, before any look at our files, the first time as any other: the extension has them, each once.

    The children's too, of which two have ended, and what is held back until the invocation fails: it has.
    """
    folder = tmp_path / "spool"
    command = [str(interpreter.executable), "-W", "ignore", "-c", EMPTIED, os.getcwd(), str(folder)]
    done = subprocess.run([*command, address.replace("\0", "@"), how], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr  # and its last child is just ending, too

    reader = SpoolReader(str(folder), keeper=keeper)
    reader.complete = lambda partial: start(partial.text)
    children = [f"{text} {number}" for text in ("child", "text of") for number in range(3)]
    more = [*(["held"] if "held" in how else []), *(map(str, range(1500)) if "segments" in how else [])]
    written = ["begun", "a text", "last", *children, *more]
    got: list[str] = []
    until_s = time.monotonic() + _BOUND_S
    while len(got) < len(written) and time.monotonic() < until_s:
        got += [line.split(" x")[0] for line in drain(reader, 10_000_000)]
    assert sorted(got) == sorted(written)
    assert keeper.segments() == []


def test_an_extension_that_comes_late_gets_what_is_there(tmp_path: Path, address: str) -> None:
    """The first line of an init may come while the extension is not up yet: it gets the file before the invocation."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000, keeper=address)
    spool.append(start("of the init"))
    keeper = Keeper(address)
    spool.protect()
    spool.protect()
    assert [segment.path for segment in keeper.segments()] == [spool.segments[-1].path]
    keeper.close()


UNSEEN = """
import sys; sys.path.insert(0, sys.argv[1])
from sumo_internal.extension.keeper import UNSEEN_MAX, Keeper
keeper = Keeper(sys.argv[2].replace("@", "\\0"))
print("up", flush=True)
for number in range(UNSEEN_MAX + 1):
    input()
    keeper.look()
    print(number, *(name for name in ("json", "sumo_internal.spool.segment") if name in sys.modules), flush=True)
    if number == int(sys.argv[3]):
        break
print(len(keeper.segments()))
"""


@pytest.mark.parametrize("count", [1, UNSEEN_MAX, UNSEEN_MAX + 1])
def test_the_extension_loads_nothing_for_the_first_segments(tmp_path: Path, address: str, count: int) -> None:
    """They come during the init, whose time that would be. More of them are looked at: they may have been delivered."""
    command = [sys.executable, "-S", "-c", UNSEEN, os.getcwd(), address.replace("\0", "@"), str(count - 1)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as extension:
        assert extension.stdin is not None and extension.stdout is not None
        assert extension.stdout.readline() == "up\n"
        for number in range(count):
            spool = Spool(str(tmp_path / str(number)), ENVELOPE, 64_000_000, keeper=address)
            spool.append(start(str(number)))
            extension.stdin.write("\n")
            extension.stdin.flush()
            loaded = extension.stdout.readline().split()[1:]
            assert loaded == (["json", "sumo_internal.spool.segment"] if number == UNSEEN_MAX else [])
        assert extension.stdout.readline() == f"{count}\n"


def test_what_the_keeper_has_and_its_file_are_one(tmp_path: Path, address: str, keeper: Keeper) -> None:
    """Each line comes once, under whatever name its file is by now; what has its file is not saved into another one."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000, keeper=address)
    held = Held(spool)
    held.append(start("held"), 20)
    spool.append(start("shown"))
    held.release()
    files = {path.name: path.stat().st_ino for path in Path(spool.folder).iterdir()}
    assert len(keeper.segments()) == 2

    assert keeper.save(spool.folder) == (0, 0)
    assert {path.name: path.stat().st_ino for path in Path(spool.folder).iterdir()} == files
    reader = SpoolReader(spool.folder, keeper=keeper)
    assert reader.left()[0] == 2
    assert sorted(drain(reader)) == ["held", "shown"]


def test_what_is_held_by_a_living_process_is_its_own_affair(tmp_path: Path, address: str, keeper: Keeper) -> None:
    """Also where the extension has it and its file is gone; forgotten lines take no place in the extension."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000, keeper=address)
    held = Held(spool)
    spool.append(start("shown"))
    for number in range(2500):
        held.append(start(f"{number} {'x' * 1000}"), 20)
    empty(spool.folder)
    reader = SpoolReader(spool.folder, keeper=keeper)
    assert len(keeper.segments()) == 4
    assert drain(reader) == ["shown"]
    held.forget()
    assert [segment.path for segment in keeper.segments()] == [spool.segments[-1].path]


def test_what_is_to_go_elsewhere_is_not_the_extensions_to_send(tmp_path: Path, address: str, keeper: Keeper) -> None:
    """Another program of the function's may have a source of its own, and is in the same environment."""
    spool = Spool(str(tmp_path / "spool"), {DESTINATION: "b" * 16}, 64_000_000, keeper=address)
    spool.append(start("elsewhere"))
    empty(spool.folder)
    assert drain(SpoolReader(spool.folder, destination="a" * 16, keeper=keeper)) == []
    assert drain(SpoolReader(spool.folder, destination="b" * 16, keeper=keeper)) == ["elsewhere"]


def test_what_waits_in_the_kernel_is_counted_in_the_end(
    tmp_path: Path, address: str, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extension keeps as many segments as it may, others wait for it; what is lost with it is all of them."""
    monkeypatch.setattr(keeper, "_segments_max", 3)
    for number in range(8):
        spool = Spool(str(tmp_path / str(number)), ENVELOPE, 64_000_000, keeper=address)
        spool.append(start(str(number)))
        empty(spool.folder)
    reader = SpoolReader(str(tmp_path / "spool"), keeper=keeper)
    assert reader.left()[0] == 3
    keeper.take_all()
    assert reader.left()[0] == 8


def test_whatever_an_audit_hook_raises_lines_are_written(tmp_path: Path) -> None:
    """A function that forbids its process sockets: the extension does not get the files, and nothing is noticed."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sumo_internal.spool.writer import Spool\n"
        "spool = Spool(sys.argv[2], {}, 64_000_000, keeper='\\0nobody')\n"
        "def refuse(name, arguments):\n"
        "    if name.startswith('socket.'): raise RuntimeError(name)\n"
        "sys.addaudithook(refuse)\n"
        "for number in range(1500): assert spool.append('{\"line\":\"%s\"' % ('x' * 1000))\n"
        "spool.protect()\n"
        "spool.mend()\n"
        "assert not spool.counters.counts() and not spool.is_unprotected\n"
    )
    subprocess.run([sys.executable, "-c", code, os.getcwd(), str(tmp_path / "spool")], check=True)


def test_the_keeper_lets_go_of_what_another_process_has_delivered(tmp_path: Path, address: str, keeper: Keeper) -> None:
    """A child's segment that the extension has, too, is delivered by its file: nothing of it stays in the extension."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000, keeper=address)
    reader = SpoolReader(spool.folder, spool)
    for number in range(3):
        if os.fork() == 0:
            spool.append(start(f"child {number}"))
            os._exit(0)
        os.wait()
        assert keeper.segments()
        assert drain(reader) == [f"child {number}"]
        assert keeper.segments() == []


def test_what_was_removed_and_nobody_keeps_is_unprotected(tmp_path: Path) -> None:
    """Then the invocation is held until it is delivered."""
    spool = make(tmp_path / "spool")
    spool.append(start("before"))
    empty(spool.folder)
    spool.mend()
    assert spool.is_unprotected
    assert drain(SpoolReader(spool.folder, spool)) == ["before"]
    assert not spool.is_unprotected


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
    assert (handoff.function_note(spool.folder), handoff.timed_out(spool.folder)) == (None, None)
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
