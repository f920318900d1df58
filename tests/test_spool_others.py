"""What a process holds of other processes' segments: children on a full disk, children whose files are removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spool_functions import ENVELOPE, drain, start

from layer.interpreters import Interpreter, find
from sumo_internal.extension.keeper import Keeper
from sumo_internal.spool.counters import NO_FILE, UNPROTECTED
from sumo_internal.spool.envelope import SPARED
from sumo_internal.spool.folder import LockFile
from sumo_internal.spool.held import Debug
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import CHILD_SEGMENT_BYTES, WRITTEN
from sumo_internal.spool.writer import CHILDREN_ROOM_BYTES, Spool

CHILDREN = 100
PROGRAM = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
folder, how, count, keeper = sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5].replace("@", "\\0")
spool = Spool(folder, {}, 64_000_000, memory_max_bytes=8_000_000, keeper=keeper)
spool.append('{"line":"parent"')
(hold, go), children = os.pipe(), []
for number in range(count):
    child = os.fork()
    if child == 0:
        for line in range(2):
            spool.append('{"line":"%d %d"' % (number, line))
        if how == "at once":
            os.close(go)
            os.read(hold, 1)
        os._exit(0)
    children.append(child)
    if how != "at once":
        os.waitpid(children.pop(), 0)
os.close(go)
for child in children:
    os.waitpid(child, 0)
spool.mend()
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
reader = SpoolReader(folder, spool)
assert reader.has_others() and reader.acquire()
lines = []
while taken := reader.take(1_000_000):
    for piece in taken:
        with piece.data() as data:
            lines += [json.loads(line) for line in bytes(data).splitlines()]
        piece.acknowledge()
assert not reader.has_others() and not spool.is_unprotected
spool.append('{"line":"after"')
spool.mend()
os.fork() or os._exit(0)
names, ids = [record["line"] for record in lines], len({record["id"] for record in lines})
print(json.dumps([names, ids, spool.counters.counts(), len(spool.others)]))
"""


def run(interpreter: Interpreter, folder: Path, how: str, count: int = CHILDREN, keeper: str = "") -> Any:
    """What the parent has drained, how many ids that had, what it counted, and what it holds at the end."""
    command = [str(interpreter.executable), "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run([*command, os.getcwd(), str(folder), how, str(count), keeper], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return json.loads(done.stdout) if done.stdout else None


def of_children(count: int = CHILDREN) -> list[str]:
    return sorted(["parent", *(f"{number} {line}" for number in range(count) for line in range(2))])


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder in which no process can make a file."""
    folder = tmp_path / "spool"
    folder.write_text("a file is in the folder's place")
    return folder


@pytest.mark.parametrize("how", ["at once", "one after the other"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_children_that_can_make_no_file_lose_nothing(nowhere: Path, interpreter: Interpreter, how: str) -> None:
    """They have no drainer, and nobody may be there who keeps their memory: the parent has it as well.

    A child's memory is given back when it is delivered: nothing of a hundred children is left.
    """
    lines, ids, counts, held = run(interpreter, nowhere, how)
    assert sorted(lines) == of_children()
    assert ids == len(lines)
    assert set(counts) == {UNPROTECTED}
    assert held == 1  # of the last child, which has just ended


def test_what_children_refuse_is_counted_by_their_parent(nowhere: Path) -> None:
    """Beyond the bound on memory a child has no segment; what it counts would end with it."""
    lines, _, counts, _ = run(find()[-1], nowhere, "at once", 200)
    beyond = 200 - 8_000_000 // CHILD_SEGMENT_BYTES
    assert len(lines) == 1 + 2 * (200 - beyond)
    assert counts[NO_FILE][0] == 2 * beyond


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    keeper = Keeper(f"\0sumo-internal-test/{tmp_path}")
    yield keeper
    keeper.close()


def test_the_keeper_has_childrens_memory_when_their_parent_is_killed(
    tmp_path: Path, nowhere: Path, keeper: Keeper
) -> None:
    """Such a segment has no process number in its name; the extension tells by its header whose it is.

    The extension runs when the machine lets it: here it looks only when parent and children are dead. What waits for it
    must not be bounded by how fast it looks: of a hundred children ten were kept, and the others' lines lost uncounted.
    """
    assert run(find()[-1], nowhere, "killed", CHILDREN, f"@sumo-internal-test/{tmp_path}") is None

    assert sorted(drain(SpoolReader(str(nowhere), keeper=keeper))) == of_children()
    assert keeper.segments() == []


STOPPED = """
import os, select, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.extension.keeper import Keeper
from sumo_internal.spool.reader import SpoolReader
keeper = Keeper(sys.argv[3].replace("@", "\\0"))
print("up", flush=True)
while not select.select([0], [], [], 0.0)[0]:
    select.select([*keeper.descriptors(), 0], [], [])
    keeper.look()
reader = SpoolReader(sys.argv[2], keeper=keeper)
reader.acquire()
while taken := reader.take(1_000_000):
    for piece in taken:
        sys.stdout.buffer.write(bytes(piece.data()))
        piece.acknowledge()
"""


def test_an_extension_that_is_stopped_for_a_while_keeps_what_was_sent_meanwhile(tmp_path: Path, nowhere: Path) -> None:
    """A busy machine lets the extension's process run late, or not before parent and children are dead."""
    name = f"@sumo-internal-test/{tmp_path}"
    command = [str(find()[0].executable), "-c", STOPPED, os.getcwd(), str(nowhere), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as extension:
        assert extension.stdout is not None and extension.stdout.readline() == "up\n"
        os.kill(extension.pid, signal.SIGSTOP)
        assert run(find()[-1], nowhere, "killed", CHILDREN, name) is None
        os.kill(extension.pid, signal.SIGCONT)
        kept = extension.communicate("")[0]

    assert sorted(json.loads(line)["line"] for line in kept.splitlines()) == of_children()


LATE = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.extension.keeper import Keeper
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
address = sys.argv[4].replace("@", "\\0")
spool = Spool(sys.argv[2], {}, 64_000_000, memory_max_bytes=8_000_000, keeper=address)
spool.append('{"line":"parent"')
(told, tell), (hold, go) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    spool.append('{"line":"child"')
    os.write(tell, b".")
    os.close(go)
    os.read(hold, 1)
    os._exit(0)
os.read(told, 1)
assert spool.is_unprotected
keeper = Keeper(address)
if sys.argv[3] == "in the middle":
    spool.protect()
elif sys.argv[3] == "at the end":
    spool.mend()
elif sys.argv[3] == "before a fork":
    os.fork() or os._exit(0)
else:
    for _ in range(1000):
        spool.append('{"line":"%s"' % ("x" * 1000))
assert not spool.is_unprotected
if sys.argv[3] in ("in the middle", "at the end"):
    assert len(keeper.segments()) == 2
lines = []
reader = SpoolReader(sys.argv[2], keeper=keeper)
reader.acquire()
while taken := reader.take(1_000_000):
    for piece in taken:
        lines.append(bytes(piece.data()))
        piece.acknowledge()
print(*sorted(line for line in b"".join(lines).decode().splitlines() if "xx" not in line), sep="\\n")
"""


@pytest.mark.parametrize("moment", ["in the middle", "at the end", "before a fork", "with a segment more"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_what_the_extension_did_not_get_is_offered_again(
    tmp_path: Path, nowhere: Path, interpreter: Interpreter, moment: str
) -> None:
    """With /tmp full from the start the first lines come while the extension is not up yet.

    They were in this process's memory alone as long as their segment lived, although the extension was there by then.
    """
    name = f"@sumo-internal-test/{tmp_path}"
    command = [str(interpreter.executable), "-W", "ignore", "-c", LATE, os.getcwd(), str(nowhere), moment, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(line)["line"] for line in done.stdout.splitlines()) == ["child", "parent"]


def test_children_with_room_have_files(tmp_path: Path) -> None:
    """Memory is for a disk that is nearly full: what is in files costs the function none of its own."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000, memory_max_bytes=8_000_000)
    free = os.statvfs(tmp_path)
    if free.f_bavail * free.f_frsize < 2 * CHILDREN_ROOM_BYTES:
        pytest.skip("this machine's disk is nearly full")
    child = os.fork()
    if child == 0:
        spool.append(start("child"))
        os._exit(0)
    os.waitpid(child, 0)
    assert spool.others == [] and len(os.listdir(spool.folder)) == 3  # lock, counts, segment


@pytest.mark.parametrize("room", ["room for files", "no room"])
def test_what_is_in_memory_outlives_its_generation(tmp_path: Path, nowhere: Path, keeper: Keeper, room: str) -> None:
    """After a crash Lambda ends the extension, too, and begins anew in the same /tmp: files are all that stays.

    Where there is no room for any, it is known how much is lost.
    """
    run(find()[-1], nowhere, "killed", 8, f"@sumo-internal-test/{tmp_path}")
    if room == "room for files":
        nowhere.unlink()

    lines, size_bytes = keeper.save(str(nowhere))

    if room == "room for files":
        assert (lines, size_bytes) == (0, 0)
        assert sorted(drain(SpoolReader(str(nowhere)))) == of_children(8)
    else:
        assert lines == len(of_children(8)) and size_bytes > 20 * lines


def test_the_keepers_own_process_drains_its_own_lines_once_and_saves_them_too(
    tmp_path: Path, nowhere: Path, keeper: Keeper
) -> None:
    """The extension's own records (START, REPORT) of an invocation that ends it, on a disk that had no room."""
    spool = Spool(
        str(nowhere), ENVELOPE, 64_000_000, memory_max_bytes=8_000_000, keeper=f"\0sumo-internal-test/{tmp_path}"
    )
    spool.append(start("delivered"))
    assert not spool.is_unprotected
    reader = SpoolReader(str(nowhere), spool, keeper=keeper)
    assert reader.left()[0] == 1
    assert drain(reader) == ["delivered"]
    spool.append(start("not delivered"))
    nowhere.unlink()
    assert keeper.save(str(nowhere)) == (0, 0)
    assert drain(reader) == []
    os.rename(nowhere, tmp_path / "next")
    assert drain(SpoolReader(str(tmp_path / "next"))) == ["not delivered"]


@pytest.mark.parametrize("written", [False, True])
def test_what_is_saved_is_what_it_was(tmp_path: Path, written: bool) -> None:
    """Lines below the function's level stay that, and what CloudWatch was given already is not written again.

    Both segments are the first of their kind, and neither file replaces the other.
    """
    spool = Spool(str(tmp_path / "spool"), {**ENVELOPE, SPARED: "yes"}, 64_000_000)
    below = Debug(spool, 1_000_000)
    below.append(start("below the level"), 10)
    spool.append(start("shown"))
    below.release()
    for segment in spool.segments:
        if written:
            segment.cursors[WRITTEN] = segment.committed_offset
        assert segment.save(str(tmp_path / "next")) == (0, 0)

    reader = SpoolReader(str(tmp_path / "next"))
    spared = [json.loads(bytes(piece.segment.map[piece.begin : piece.end]))["line"] for piece in reader.spared()]
    assert spared == ([] if written else ["shown"])
    assert sorted(drain(reader)) == ["below the level", "shown"]


LEFT = """
import os, shutil, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[2], {}, 64_000_000, keeper=sys.argv[3].replace("@", "\\0"))
for number in range(3):
    if os.fork() == 0:
        spool.append('{"line":"%d"' % number)
        spool.partials.begin("text of %d" % number)
        os._exit(0)
    os.wait()
spool.mend()
shutil.rmtree(sys.argv[2])
spool.mend()
assert not spool.is_unprotected
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_what_dead_children_left_outlives_its_files(tmp_path: Path, keeper: Keeper, interpreter: Interpreter) -> None:
    """Children end, the invocation is over, the next one empties /tmp, the parent is killed: the extension has all.

    Nobody had the files of the dead ones mapped, and their lines were nowhere, and not counted.
    """
    folder = tmp_path / "spool"
    command = [str(interpreter.executable), "-c", LEFT, os.getcwd(), str(folder), f"@sumo-internal-test/{tmp_path}"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    reader = SpoolReader(str(folder), keeper=keeper)
    reader.complete = lambda partial: f'{{"line":"{partial.text}"'
    assert sorted(drain(reader)) == ["0", "1", "2", "text of 0", "text of 1", "text of 2"]


def test_what_an_earlier_generation_left_outlives_its_files(tmp_path: Path, keeper: Keeper) -> None:
    """A timeout, an outage, a new generation whose first invocation empties /tmp: no process maps the files any more.

    Only children's files were looked at, and only where this process had forked some.
    """
    folder = tmp_path / "spool"
    if os.fork() == 0:
        earlier = Spool(str(folder), ENVELOPE, 64_000_000)
        for number in range(1500):
            earlier.append(start(f"{number} {'x' * 1000}"))
        os._exit(0)
    os.wait()
    spool = Spool(str(folder), ENVELOPE, 64_000_000, keeper=f"\0sumo-internal-test/{tmp_path}")
    spool.hold_left()
    shutil.rmtree(folder)
    spool.append(start("later"))
    spool.mend()
    assert not spool.is_unprotected

    left = [line.split()[0] for line in drain(SpoolReader(str(folder), keeper=keeper))]
    assert sorted(left) == sorted([*map(str, range(1500)), "later"])


def test_a_new_environment_holds_nothing(tmp_path: Path) -> None:
    """Nothing but the extension's segment is there: that takes no descriptor."""
    extension = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000)
    extension.append(start("of the extension"))
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000)
    spool.append(start("of the function"))
    spool.hold_left()
    assert spool.others == []


def test_held_segments_are_drained_by_this_process_too(tmp_path: Path) -> None:
    """The reader has the files where they are there, and what is held where they are gone; each line comes once."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000)
    for number in range(4):
        if os.fork() == 0:
            spool.append(start(f"{number}"))
            os._exit(0)
        os.wait()
    spool.mend()
    reader = SpoolReader(spool.folder, spool)
    assert reader.acquire()
    first = reader.take(1)
    first[0].acknowledge()
    del first
    shutil.rmtree(spool.folder)
    assert reader.has_others()
    assert len(drain(reader)) == 3
    assert not reader.has_others()


def test_a_held_segment_is_no_lock(tmp_path: Path) -> None:
    """Which writers live is told by their locks and numbers as ever, whoever holds their segments."""
    spool = Spool(str(tmp_path / "spool"), ENVELOPE, 64_000_000)
    (hold, go), (told, tell) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        spool.append(start("one"))
        os.write(tell, b".")
        os.read(hold, 1)
        spool.append(start("two"))
        os._exit(0)
    os.read(told, 1)
    spool.mend()
    reader = SpoolReader(spool.folder, spool)
    assert drain(reader) == ["one"]
    assert isinstance(reader._lock, LockFile)
    os.close(go)
    os.waitpid(child, 0)
    assert drain(reader) == ["two"]
    for descriptor in (hold, told, tell):
        os.close(descriptor)


FORKED_BY_C = """
import ctypes, json, os, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[2], {}, 64_000_000)
spool.append('{"line":"before"')
libc = ctypes.CDLL(None)
children = []
for number in range(4):
    child = libc.fork()
    if child == 0:
        for line in range(3000):
            spool.append('{"line":"%d %04d %s"' % (number, line, str(number) * 200))
        os._exit(0)
    children.append(child)
    for line in range(1000):
        spool.append('{"line":"parent %d %s"' % (number * 1000 + line, "p" * 300))
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_fork_that_python_knows_nothing_of_tears_no_line(tmp_path: Path, interpreter: Interpreter) -> None:
    """A child that C code has forked shares its parent's map, and its own idea of where that ends.

    Memory that the kernel wipes in a child tells: each line is whole, there once, and with an id of its own.
    """
    folder = tmp_path / "spool"
    subprocess.run([str(interpreter.executable), "-c", FORKED_BY_C, os.getcwd(), str(folder)], check=True)

    reader = SpoolReader(str(folder))
    assert reader.acquire()
    records = []
    while taken := reader.take(1_000_000):
        for piece in taken:
            with piece.data() as data:
                records += [json.loads(line) for line in bytes(data).splitlines()]
            piece.acknowledge()
    children = {f"{number} {line:04d} {str(number) * 200}" for number in range(4) for line in range(3000)}
    parent = {f"parent {number} {'p' * 300}" for number in range(4000)}
    assert {record["line"] for record in records} == {"before", *children, *parent}
    assert len({record["id"] for record in records}) == len(records) == 16_001
