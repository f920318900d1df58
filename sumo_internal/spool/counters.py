"""The counters: what went wrong with lines, counted where the counts survive the process that counted.

Each count is a pair, lines and bytes, under one of :data:`REASONS`. The counts of one writer are in a file of one page
in the spool's folder, ``<name>.tally``. What the environment has lost or gone through is the sum of all these files,
those of dead processes included: of dead writers, only files without any count are removed. A writer makes its file
with its first segment; where the disk has no room for one, the counts are in memory. As soon as a page has a count, the
extension gets a descriptor of it (:class:`KeptCounts`): neither a function that empties /tmp nor a full disk takes the
count with its process.

Processes with different destinations may share the folder: each tells its own destination what was lost on the way
there, and notes for itself which totals it has told.

Layout: 8 bytes ``SUMOTAL1``, 8 for the destination (0: any), then for each reason lines and bytes as unsigned 8-byte
integers in the machine's order, each stored at once. Reasons are only ever added at the end: that is the format's
version.
"""

from __future__ import annotations

import json
import os

from sumo_internal import diagnostics
from sumo_internal.spool.folder import Map, is_at, name_of, open_file, open_folder, read_file, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Entrust = Callable[[str, int], bool]
    """Gives a descriptor, under a name, to a process that keeps it; False where there is none."""

TALLY = ".tally"
MAGIC = int.from_bytes(b"SUMOTAL1", "little")
PAGE_BYTES = 4096
SPARE_BYTES = 512
"""What a place for counts needs that is no file: see :mod:`sumo_internal.spool.others`."""

RETRIED, FAILED_OVER, SENT_AGAIN = "retried", "failedOver", "sentAgain"
SPOOL_FULL, DISK_FULL, TOO_LONG, REFUSED, TOO_LARGE, DAMAGED, PLATFORM_DROPPED, BLOCKED, NO_FILE = (
    "spoolFull",
    "diskFull",
    "tooLong",
    "refused",
    "tooLarge",
    "damaged",
    "platformDropped",
    "blocked",
    "noFile",
)
UNRECORDED = "unrecorded"

LOSSES = {
    SPOOL_FULL: "the spool is full (SUMO_SPOOL_MAX_MB)",
    DISK_FULL: "/tmp is full, and so is the memory for lines that wait (SUMO_MEMORY_MAX_MB)",
    TOO_LONG: "a record is larger than a segment of the spool",
    REFUSED: "Sumo Logic rejects them permanently (400)",
    TOO_LARGE: "a record is too large for Sumo Logic (413)",
    DAMAGED: "a file of the spool is damaged",
    PLATFORM_DROPPED: "Lambda dropped them before they reached the extension (platform.logsDropped)",
    BLOCKED: "a thread was stopped in the middle of a line, and more lines came meanwhile than may wait for it",
    UNRECORDED: "no records could be made of them",
    NO_FILE: "no file can be made in the spool's folder, and the memory for lines is full (SUMO_MEMORY_MAX_MB)",
}
"""Reasons for which lines are lost, in words for people."""

EXCLUDED, DROPPED, SAMPLED_OUT, WITHHELD = "excluded", "dropped", "sampledOut", "withheld"
"""Lines that a rule keeps back, or whose message it does: the bytes are those that have not left."""

UNPROTECTED = "unprotected"
"""Lines that have been in this process's memory only, until they were delivered: a kill would have lost them."""

BELOW_LEVEL, CAPPED = "belowLevel", "capped"

DEBUG_FORGOTTEN = "debugForgotten"
"""Lines below the function's level for which there was no room until their invocation failed."""
DEBUG_UNNEEDED = "debugUnneeded"
"""Such lines that had room, of invocations that have not failed."""

CUT = "cut"
"""Records whose fields are cut, and how many characters of them."""

ASKED_FOR = (EXCLUDED, DROPPED, SAMPLED_OUT, BELOW_LEVEL, CAPPED, DEBUG_FORGOTTEN, DEBUG_UNNEEDED)
"""Reasons for which lines do not leave because a setting says so: no loss, and nothing to report at once."""

DRAINER = "-drainer"
"""Stands behind a writer's name in the name of its drainer's counters."""

_OF_ACCOUNTS = (RETRIED, FAILED_OVER, SENT_AGAIN, SPOOL_FULL, DISK_FULL, REFUSED, TOO_LARGE)
"""What may become of an account's own record."""

REASONS = (
    *(RETRIED, FAILED_OVER, SENT_AGAIN),
    *(SPOOL_FULL, DISK_FULL, TOO_LONG, REFUSED, TOO_LARGE, DAMAGED, PLATFORM_DROPPED),
    *(EXCLUDED, DROPPED, SAMPLED_OUT, WITHHELD),
    *(BLOCKED, UNRECORDED, BELOW_LEVEL, CAPPED),
    *(CUT, NO_FILE, UNPROTECTED),
    DEBUG_FORGOTTEN,
    DEBUG_UNNEEDED,
)
"""In the order in which they have their places in a file."""
_FIRST = 2


class Counters:
    """One writer's counts. Not for two threads."""

    def __init__(
        self,
        folder: str,
        name: str,
        spare: memoryview | None = None,
        *,
        destination: str = "",
        entrust: Entrust | None = None,
    ) -> None:
        """Count under a name.

        Args:
            folder: Path of the spool's folder.
            name: Whose counts these are.
            spare: :data:`SPARE_BYTES` of memory for the counts where they can have no file, which another process sees.
            destination: Where the lines were to go, as :func:`sumo_internal.spool.envelope.destination_id` has it.
            entrust: Has the counts kept beside their file, and where they have none; None where no process does.
        """
        self._destination = destination
        self._path = f"{folder}/{name}{TALLY}"
        self._spare = spare
        self._entrust = entrust
        self._is_lent = self._is_offered = False
        """The extension has the page, or was asked to keep it: that is not tried for each line."""
        self._counts: memoryview | None = None
        self._inode = -1

    @property
    def is_kept(self) -> bool:
        """Are the counts in a file? Else (there is no room, or the file was removed) they are lost with the process."""
        return is_at(self._path, self._inode)

    @property
    def is_seen(self) -> bool:
        """Does another process learn of the counts?"""
        return self._spare is not None or self.is_kept or self._is_lent

    def keep(self) -> None:
        """Have the counts in a file, if there is room: what is counted without one would not survive the process."""
        if self.is_kept:
            self._is_offered = self._is_lent
            return
        page, self._inode = _make(self._path, self._destination)
        is_lent = False
        if self._inode < 0 and self._spare is not None:
            page = self._spare
        elif self._inode < 0 and self._is_lent:
            return
        elif self._inode < 0 and self._entrust is not None:
            page, is_lent = _make_in_memory(self._path, page, self._entrust)
        before = self._counts
        if before is not None and before is not page:
            page[_FIRST : len(before)] = before[_FIRST : len(page)]
            if before is self._spare or self._is_lent:
                before[_FIRST:] = memoryview(bytes(8 * (len(before) - _FIRST))).cast("Q")  # or they would count twice
        self._counts, self._is_lent, self._is_offered = page, is_lent, is_lent

    def _lend(self) -> None:
        """Have the page kept whose file may be removed."""
        self._is_offered = True
        if self._inode < 0 or self._entrust is None:
            return
        try:
            descriptor = open_file(self._path, os.O_RDWR)
            try:
                self._is_lent = self._entrust(self._path, descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            pass  # it has just been removed: the next count makes another one

    def add(self, reason: str, lines: int, size_bytes: int) -> None:
        """Count lines under a reason."""
        if self._counts is None or (self._inode >= 0 and not self.is_kept):
            self.keep()
        assert self._counts is not None
        slot = _FIRST + 2 * REASONS.index(reason)
        self._counts[slot] += lines
        self._counts[slot + 1] += size_bytes
        if not self._is_offered:
            self._lend()

    def counts(self) -> dict[str, tuple[int, int]]:
        """This writer's own counts, lines and bytes by reason; reasons without any are left out."""
        return {} if self._counts is None else read(self._counts)


class KeptCounts:
    """Another process's page of counts, which is here although it has no file, or loses it."""

    def __init__(self, path: str, descriptor: int) -> None:
        """Map it; the descriptor stays the caller's.

        Raises:
            OSError: It is no such page.
        """
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_size != PAGE_BYTES:
            raise OSError(f"{path} is not a page of counts")
        self._path, self._inode = path, status.st_ino
        self._counts = memoryview(Map(descriptor, PAGE_BYTES)).cast("Q")

    @property
    def is_kept(self) -> bool:
        """Are the counts in a file? Then that has them."""
        return is_at(self._path, self._inode)

    def is_of(self, destination: str) -> bool:
        """Are they of lines that were to go there?"""
        return not destination or self._counts[1] in (0, int(destination, 16))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Lines and bytes by reason; reasons without any are left out."""
        return read(self._counts) if self._counts[0] == MAGIC else {}

    def save(self) -> None:
        """Put them into a file, if there is room: the process that has them here is about to end."""
        if not self.is_kept and self.counts():
            write_file(self._path, bytes(self._counts))


def totals(folder: str, *own: Counters | KeptCounts, destination: str = "") -> dict[str, tuple[int, int]]:
    """The sums of all counts in the folder, lines and bytes by reason; damaged files are left out.

    Args:
        folder: The spool's folder.
        own: This process's counters and what it keeps, which count here too where they have no file.
        destination: Of lines that were to go elsewhere nothing is counted; empty: of all.
    """
    sums: dict[str, tuple[int, int]] = {}
    for counters in own:
        if not counters.is_kept:
            sum_up(sums, counters.counts())
    try:
        names = [name for name in os.listdir(folder) if name.endswith(TALLY)]
    except OSError:
        names = []
    for name in names:
        page = read_file(f"{folder}/{name}", PAGE_BYTES, is_anybodys=True)  # root may look at a user's
        if len(page) == PAGE_BYTES and page[:8] == MAGIC.to_bytes(8, "little"):
            counts = memoryview(page).cast("Q")
            if not destination or counts[1] in (0, int(destination, 16)):
                sum_up(sums, read(counts))
    return sums


def _reported(folder: str, destination: str) -> str:
    return f"{folder}/reported-{destination}.json" if destination else f"{folder}/reported.json"


def reported(folder: str, destination: str = "") -> dict[str, tuple[int, int]]:
    """The totals when they were last reported to the destination."""
    try:
        pairs = json.loads(read_file(_reported(folder, destination), PAGE_BYTES))
        return {reason: (lines, size_bytes) for reason, (lines, size_bytes) in pairs.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}  # never reported; or damaged: then they are reported once more


def has_news(
    counts: Mapping[str, tuple[int, int]],
    before: Mapping[str, tuple[int, int]],
    *,
    accounts: int = 0,
    is_shutdown: bool,
) -> bool:
    """Have the totals changed so that it is worth a record?

    Args:
        counts: The totals.
        before: When they were last reported.
        accounts: Records that have reported the totals since, and may not have arrived. Where there is no room for
            lines, or no destination takes them, these fare the same, and reporting what became of them would go on for
            ever.
        is_shutdown: No record comes after this one: then what settings keep back, and what became of accounts, is worth
            one too.
    """
    changed = {reason for reason, count in counts.items() if before.get(reason) != count}
    if is_shutdown:
        return bool(changed)
    theirs = {reason for reason in _OF_ACCOUNTS if _lines(counts, reason) - _lines(before, reason) <= accounts}
    return bool(changed.difference(ASKED_FOR, theirs))


def _lines(counts: Mapping[str, tuple[int, int]], reason: str) -> int:
    return counts.get(reason, (0, 0))[0]


def set_reported(folder: str, counts: dict[str, tuple[int, int]], destination: str = "") -> None:
    """Remember that these totals were reported to the destination."""
    write_file(_reported(folder, destination), json.dumps(counts).encode())  # else they are reported again


def is_empty(path: str) -> bool:
    """Has nothing been counted in this file?"""
    try:
        os.close(open_file(path, os.O_RDONLY, max_bytes=PAGE_BYTES))
    except OSError:
        return False
    return not any(read_file(path, PAGE_BYTES)[8 * _FIRST :])


def sum_up(sums: dict[str, tuple[int, int]], counts: dict[str, tuple[int, int]]) -> None:
    """Add counts to sums."""
    for reason, (lines, size_bytes) in counts.items():
        had = sums.get(reason, (0, 0))
        sums[reason] = (had[0] + lines, had[1] + size_bytes)


def _make(path: str, destination: str) -> tuple[memoryview, int]:
    """A page for counts, and the inode of its file; -1 where there is no room for one."""
    inode = -1
    page: Map | bytearray
    try:
        open_folder(path.rpartition("/")[0])
        descriptor = open_file(path, os.O_RDWR | os.O_CREAT, max_bytes=PAGE_BYTES)
        try:
            os.posix_fallocate(descriptor, 0, PAGE_BYTES)  # a store into a page that the disk has no room for kills
            page = Map(descriptor, PAGE_BYTES)
            inode = os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
    except Exception as error:  # an audit hook of the function's may raise what it likes
        diagnostics.pass_on(error)
        page = bytearray(PAGE_BYTES)
    counts = memoryview(page).cast("Q")
    counts[0], counts[1] = MAGIC, int(destination or "0", 16)
    return counts, inode


def _make_in_memory(path: str, page: memoryview, entrust: Entrust) -> tuple[memoryview, bool]:
    """A page for counts that another process keeps; the given one, and False, where none does."""
    try:
        descriptor = os.memfd_create(name_of(path), os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(descriptor, 0, PAGE_BYTES)
            os.pwrite(descriptor, page[:_FIRST].tobytes(), 0)
            if entrust(path, descriptor):
                return memoryview(Map(descriptor, PAGE_BYTES)).cast("Q"), True
        finally:
            os.close(descriptor)
    except Exception as error:  # an audit hook of the function's may raise what it likes
        diagnostics.pass_on(error)
    return page, False


def read(counts: memoryview) -> dict[str, tuple[int, int]]:
    """What a page has, lines and bytes by reason; reasons without any are left out."""
    found = {}
    for number, reason in enumerate(REASONS):
        lines, size_bytes = counts[_FIRST + 2 * number], counts[_FIRST + 2 * number + 1]
        if lines or size_bytes:
            found[reason] = (lines, size_bytes)
    return found
