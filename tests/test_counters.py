"""The counters: counts that survive their process, their file, and a disk that had no room for them at first."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal.extension.keeper import TALLIES_MAX, Keeper
from sumo_internal.spool.counters import (
    DISK_FULL,
    EXCLUDED,
    FAILED_OVER,
    REFUSED,
    RETRIED,
    SPOOL_FULL,
    Counters,
    has_news,
    is_empty,
    reported,
    set_reported,
    totals,
)
from sumo_internal.spool.handoff import entrust


def test_counts_survive_a_kill(tmp_path: Path) -> None:
    """What was counted is in the kernel's pages: SIGKILL behind the count takes nothing of it."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from sumo_internal.spool.counters import Counters\n"
        "Counters(sys.argv[1], 'killed').add('retried', 3, 700)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "spool"), str(ROOT)])

    assert totals(str(tmp_path / "spool")) == {RETRIED: (3, 700)}


COUNTED = """
import os, shutil, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.spool.writer import Spool
folder, how = sys.argv[2], sys.argv[4]
keeper = sys.argv[3].replace("@", "\\0")
spool = Spool(folder, {"destination": "00000000000000aa"}, 64_000_000, memory_max_bytes=8_000_000, keeper=keeper)
drainers = spool.make_counters(f"{spool.writer}-drainer")
spool.append('{"line":"begun"')
spool.count("excluded", 2, 20)
if "before" in how:
    shutil.rmtree(folder, ignore_errors=True)
spool.count("spoolFull", 3, 30)
drainers.add("refused", 4, 40)
if "mended" in how:
    shutil.rmtree(folder)
    spool.mend()
    drainers.add("refused", 1, 10)
    spool.count("spoolFull", 1, 10)
if "behind" in how:
    shutil.rmtree(folder)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["emptied before", "emptied behind", "mended", "mended, emptied behind", "full"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_counts_survive_a_kill_without_their_file(tmp_path: Path, interpreter: Interpreter, how: str) -> None:
    """The function removes it, or there is no room for one: the extension has the page, and counts nothing twice.

    What was lost was known to the process alone, and lost with it.
    """
    folder, name = tmp_path / "spool", f"@sumo-internal-test/{tmp_path}"
    keeper = Keeper(name.replace("@", "\0"))
    if how == "full":
        folder.write_text("a file is in the folder's place")
    command = [str(interpreter.executable), "-c", COUNTED, str(ROOT), str(folder), name, how]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    counted = {EXCLUDED: (2, 20), SPOOL_FULL: (3, 30), REFUSED: (4, 40)}
    if "mended" in how:
        counted |= {SPOOL_FULL: (4, 40), REFUSED: (5, 50)}
    keeper.look()
    assert totals(str(folder), *keeper.tallies) == counted
    assert [tally.is_of("aa") for tally in keeper.tallies] == [tally.is_of("") for tally in keeper.tallies]
    assert not any(tally.is_of("bb") for tally in keeper.tallies)
    if how == "full":
        folder.unlink()
    folder.mkdir(exist_ok=True)
    keeper.save(str(folder))
    assert totals(str(folder)) == counted
    keeper.close()


def test_counts_of_many_processes_have_a_bound(tmp_path: Path) -> None:
    """Those that have their files go first."""
    address = f"\0sumo-internal-test/{tmp_path}"
    keeper = Keeper(address)
    for number in range(TALLIES_MAX + 10):
        counters = Counters(str(tmp_path / "spool"), str(number), entrust=partial(entrust, address))
        counters.add(EXCLUDED, 1, 1)
        if number == 0:
            os.unlink(tmp_path / "spool" / "0.tally")
        keeper.look()
    assert len(keeper.tallies) <= TALLIES_MAX
    assert not keeper.tallies[0].is_kept and keeper.tallies[0].counts() == {EXCLUDED: (1, 1)}
    keeper.close()


def test_all_tallies_count_together(tmp_path: Path) -> None:
    """Each process and each drainer has its own; what the environment has gone through is their sum."""
    folder = str(tmp_path / "spool")
    Counters(folder, "one").add(RETRIED, 3, 700)
    other = Counters(folder, "other")
    other.add(RETRIED, 1, 50)
    other.add(REFUSED, 2, 20)

    assert totals(folder, other) == {RETRIED: (4, 750), REFUSED: (2, 20)}
    assert other.counts() == {RETRIED: (1, 50), REFUSED: (2, 20)}


def test_counts_of_another_destination_are_not_ours_to_tell(tmp_path: Path) -> None:
    """Two programs of one user share the folder: each sums up, and notes as told, what its own source is to know."""
    folder = str(tmp_path / "spool")
    Counters(folder, "one", destination="00000000000000aa").add(RETRIED, 3, 700)
    Counters(folder, "other", destination="fedcba9876543210").add(REFUSED, 2, 20)
    Counters(folder, "any").add(DISK_FULL, 1, 5)

    of_one, of_other = ({RETRIED: (3, 700), DISK_FULL: (1, 5)}, {REFUSED: (2, 20), DISK_FULL: (1, 5)})
    assert totals(folder, destination="00000000000000aa") == of_one
    assert totals(folder, destination="fedcba9876543210") == of_other
    assert totals(folder) == of_one | of_other
    set_reported(folder, of_one, "00000000000000aa")
    assert reported(folder, "00000000000000aa") == of_one
    assert reported(folder, "fedcba9876543210") == reported(folder) == {}
    Counters(folder, "empty", destination="fedcba9876543210").keep()
    assert is_empty(f"{folder}/empty.tally")


def test_counts_without_room_get_their_file_later(tmp_path: Path) -> None:
    """Counted in memory while nothing can be made, and kept, all of it, as soon as something can."""
    folder = tmp_path / "missing" / "spool"
    counters = Counters(str(folder), "writer")
    counters.add(DISK_FULL, 2, 300)
    assert not counters.is_kept
    assert (totals(str(folder)), totals(str(folder), counters)) == ({}, {DISK_FULL: (2, 300)})

    folder.parent.mkdir()
    counters.keep()
    counters.add(DISK_FULL, 1, 100)

    assert counters.is_kept
    assert totals(str(folder)) == totals(str(folder), counters) == {DISK_FULL: (3, 400)}


def test_counts_outlive_their_file(tmp_path: Path) -> None:
    """A function that empties /tmp takes no count away: the next one makes the file again, with all that were."""
    folder = str(tmp_path / "spool")
    counters = Counters(folder, "writer")
    counters.add(RETRIED, 1, 10)
    shutil.rmtree(folder)
    assert totals(folder, counters) == {RETRIED: (1, 10)}

    counters.add(RETRIED, 1, 10)

    assert totals(folder) == {RETRIED: (2, 20)}


def test_nothing_is_written_into_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    """Not even a number: a file there could be anybody's."""
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o1777)
    counters = Counters(str(folder), "writer")
    counters.add(RETRIED, 1, 10)

    assert os.listdir(folder) == []
    assert counters.counts() == {RETRIED: (1, 10)}


def test_files_that_are_no_tallies_are_left_out(tmp_path: Path) -> None:
    """Cut off, of another version, or a link to somewhere: none of it counts, and none of it breaks the sum."""
    folder = tmp_path / "spool"
    Counters(str(folder), "good").add(RETRIED, 1, 10)
    (folder / "short.tally").write_bytes(b"SUMOTAL1")
    (folder / "other.tally").write_bytes(b"SUMOTAL9" + bytes(4088))
    (folder / "link.tally").symlink_to(folder / "good.tally")

    assert totals(str(folder)) == {RETRIED: (1, 10)}


def test_what_was_reported_is_known_to_the_next_process(tmp_path: Path) -> None:
    """SHUTDOWN posts an account only if something changed since the last; one that cannot be read is none."""
    folder = str(tmp_path / "spool")
    Counters(folder, "writer").add(RETRIED, 1, 10)
    assert reported(folder) == {}

    set_reported(folder, totals(folder))
    assert reported(folder) == totals(folder)

    Path(folder, "reported.json").write_text('{"retried": 1')
    assert reported(folder) == {}


def test_an_empty_tally_is_told_from_one_that_counts(tmp_path: Path) -> None:
    """A dead writer's is removed if it is empty, and kept for ever if it is not."""
    folder = str(tmp_path / "spool")
    counters = Counters(folder, "writer")
    counters.keep()
    path = f"{folder}/writer.tally"
    assert is_empty(path)
    counters.add(RETRIED, 1, 0)
    assert not is_empty(path)
    assert not is_empty(f"{folder}/missing.tally")


@pytest.mark.parametrize(
    ("counts", "accounts", "expected"),
    [
        ({FAILED_OVER: (3, 30)}, 0, True),
        ({FAILED_OVER: (3, 30)}, 1, True),
        ({FAILED_OVER: (2, 20)}, 1, False),
        ({FAILED_OVER: (2, 20)}, 0, True),
        ({FAILED_OVER: (2, 20), REFUSED: (1, 10)}, 1, False),
        ({FAILED_OVER: (2, 20), SPOOL_FULL: (2, 20)}, 1, True),
        ({SPOOL_FULL: (1, 10)}, 1, False),
        ({SPOOL_FULL: (1, 10)}, 0, True),
        ({FAILED_OVER: (1, 10), EXCLUDED: (9, 90)}, 0, False),
    ],
)
def test_what_becomes_of_an_account_is_no_news(
    counts: dict[str, tuple[int, int]], accounts: int, expected: bool
) -> None:
    """One record of ours among what failed is not worth another record, which would fail likewise; at the end it is."""
    before = {FAILED_OVER: (1, 10)}
    assert has_news(counts, before, accounts=accounts, is_shutdown=False) is expected
    assert has_news(counts, before, accounts=accounts, is_shutdown=True)
