"""The counters: counts that survive their process, their file, and a disk that had no room for them at first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layer.build import ROOT
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
