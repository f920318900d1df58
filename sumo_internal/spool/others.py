"""Segments of other processes that this process holds, so that what its children have written outlives their files.

Separate from the writer, which most functions need alone: this is imported when a function has forked and /tmp is
short of room, or when an invocation in which there were children is over.

* A forked child cannot make a file where /tmp is full, and it has no drainer that would ship what is in its memory. So
  the parent makes the child's first segment in memory that both of them have (:func:`prepare`); the child names itself
  in it (the format is in :mod:`sumo_internal.spool`), writes to it as to any other, and the parent drains it. The
  child's counts have a place in such memory, too.
* A child that has ended leaves its lines in files, and the function may empty /tmp before these lines are delivered. At
  the end of an invocation the parent maps them (:func:`hold`).
"""

from __future__ import annotations

from mmap import mmap

from sumo_internal.spool import counters, partials
from sumo_internal.spool.envelope import is_addressed
from sumo_internal.spool.segment import CHILD_SEGMENT_BYTES, Segment, SegmentDamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HELD_MAX = 256
"""Segments of others that are held at a time. Each takes a descriptor, of which there are 1,024."""
COUNTS_MAX = 1_024
"""Children at the same time whose counts have a place of their own: as many processes as Lambda allows."""


class SharedCounts:
    """A place for the counts of each forked child, in memory that all of them share."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap(-1, COUNTS_MAX * counters.SPARE_BYTES)).cast("Q")
        self._given = 0
        self._taken: dict[str, tuple[int, int]] = {}

    def next_place(self) -> memoryview:
        """A place for one more child; a place is used again when this many children have come and gone."""
        size = counters.SPARE_BYTES // 8
        begin = self._given % COUNTS_MAX * size
        self._given += 1
        return self._memory[begin : begin + size]

    def news(self) -> dict[str, tuple[int, int]]:
        """What has been counted since this was asked last."""
        size = counters.SPARE_BYTES // 8
        sums: dict[str, tuple[int, int]] = {}
        for number in range(min(self._given, COUNTS_MAX)):
            counters.sum_up(sums, counters.read(self._memory[number * size : (number + 1) * size]))
        new = {}
        for reason, (lines, size_bytes) in sums.items():
            had = self._taken.get(reason, (0, 0))
            if (lines, size_bytes) != had:
                new[reason] = (lines - had[0], size_bytes - had[1])
        self._taken = sums
        return new


def prepare(
    held: list[Segment], path: str, envelope: bytes, entrust: Callable[[str, int], bool], max_bytes: int
) -> Segment | None:
    """Make the first segment of a child that is about to be forked; None beyond the bound.

    Args:
        held: What is held already.
        path: The segment's name.
        envelope: The parent's.
        entrust: As :meth:`Segment.create_in_memory` has it.
        max_bytes: Bound on what such segments take together.
    """
    if sum(segment.size_bytes for segment in held if segment.is_in_memory) + CHILD_SEGMENT_BYTES > max_bytes:
        return None
    try:
        return Segment.create_in_memory(path, envelope, entrust, size_bytes=CHILD_SEGMENT_BYTES)
    except OSError:
        return None  # no memory


def hold(
    held: list[Segment],
    paths: Iterable[str],
    destination: str,
    entrust: Callable[[str, int], bool] | None = None,
) -> list[Segment]:
    """Map what other processes have in the folder, up to :data:`HELD_MAX` segments.

    Args:
        held: What is held already, less what is finished.
        paths: Of the other processes' segments.
        destination: What is addressed elsewhere is left alone.
        entrust: As :meth:`Segment.open` has it.
    """
    held = list(held)
    known = {segment.path for segment in held}
    for path in paths:
        if path in known or len(held) >= HELD_MAX:
            continue
        try:
            segment = Segment.open(path, is_lendable=True, entrust=entrust)
        except (OSError, SegmentDamagedError):
            continue  # the drainer says so, or has just removed it
        if is_addressed(segment.envelope, destination):
            held.append(segment)
    return held


def unfinished(held: list[Segment]) -> list[Segment]:
    """What is not delivered yet, or may still get lines. A map goes with its last user."""
    return [segment for segment in held if not _is_finished(segment)]


def _is_finished(segment: Segment) -> bool:
    try:
        if segment.pending_bytes or partials.has_any(segment):
            return False
        return segment.is_sealed or (not segment.is_in_memory and segment.is_unlinked)
    except ValueError:
        return True  # the drainer has closed it
