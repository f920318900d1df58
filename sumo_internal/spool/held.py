"""Lines that are held back, in segments of their own, until it is known whether they are wanted.

They lie in segments like the spool's (:mod:`sumo_internal.spool.segment`), which no drainer touches::

    <environment>-p<pid>.<number>.held     of the same writer, under the same lock

1. As long as the writer lives, a held segment is the writer's alone, and its committed offset goes back when its lines
   are forgotten: that is the one difference from the spool's invariants.
2. A held segment whose writer is dead is taken like any other: the invocation did not end, so it failed.
3. When the invocation fails otherwise, its segments are renamed to segments of the spool, each at once and whole.
4. A line that does not fit goes out, and so does a line whose turn does not come in a few milliseconds: a bound must
   not lose a line, and it is not known yet whether the line is wanted.

A forked child holds nothing back: the parent does not tell it how the invocation has ended.
"""

from __future__ import annotations

from sumo_internal.spool.counters import SAMPLED_OUT
from sumo_internal.spool.folder import FolderRefusedError, unlink
from sumo_internal.spool.segment import HEADER_BYTES, LINE_MAX_BYTES, SEGMENT_BYTES, Segment
from sumo_internal.spool.turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.spool.writer import Spool


class Held:
    """This process's held lines."""

    def __init__(self, spool: Spool, *, has_ids: bool = True) -> None:
        """Hold lines back from a spool.

        Args:
            spool: Where they go when they are wanted, or when there is no room for them here.
            has_ids: Number them.
        """
        self._spool = spool
        self._has_ids = has_ids
        self._turn = Turn()
        self._verdict: Callable[[], None] | None = None
        """What is to become of the held lines, where it could not be done yet."""
        self._writer = spool.writer
        self._sequence = 0
        self._segments: list[Segment] = []
        self._segment_number = 0
        self.lines = 0
        """Lines that were held back so far."""

    def append(self, start: str, level: int) -> None:
        """Hold a line back, or let it go where that is not possible. Like :meth:`Spool.append`."""
        held: list[bool] = []
        # Else this is a forked child, and the segments and the lock are the parent's.
        if self._writer == self._spool.writer and self._verdict is None:
            self._turn.run(self._hold, start, held)
        if self._verdict is not None:
            self._settle()
        if not held:
            self._spool.append(start, level)

    def forget(self) -> None:
        """The invocation has succeeded: its lines are dropped, and counted as sampled out."""
        self._decide(self._forget)

    def release(self) -> None:
        """The invocation has failed: its lines go out."""
        self._decide(self._release)

    def _decide(self, verdict: Callable[[], None]) -> None:
        """Carry a verdict out, or leave it to the thread whose turn it is. While one is left, no line is held back."""
        if self._verdict is None:
            self._verdict = verdict
        self._settle()

    def _settle(self) -> None:
        while self._verdict is not None and self._turn.run(self._carry_out):
            pass

    def _carry_out(self) -> None:
        if self._verdict is not None:
            self._verdict()
            self._verdict = None

    def _forget(self) -> None:
        taken = [piece for segment in self._segments if (piece := segment.take(SEGMENT_BYTES))]
        lines, size_bytes = sum(piece.count() for piece in taken), sum(piece.size_bytes for piece in taken)
        while len(self._segments) > 1 or (self._segments and self._segments[0].is_unlinked):
            segment = self._segments.pop()
            unlink(segment.path)
            segment.close()
        for segment in self._segments:
            segment.committed_offset = HEADER_BYTES
        if lines:
            self._spool.count(SAMPLED_OUT, lines, size_bytes)

    def _release(self) -> None:
        while self._segments:
            self._spool.adopt(self._segments.pop())

    def _hold(self, start: str, held: list[bool]) -> None:
        """Hold a line back; note whether that was possible."""
        self._sequence += 1
        ending = f',"id":"{self._writer}h-{self._sequence:010d}"}}\n' if self._has_ids else "}\n"
        line = (start + ending).encode("utf-8", "backslashreplace")
        if len(line) > LINE_MAX_BYTES or not self._has_room(len(line)):
            return
        segment = self._segments[-1]
        begin = segment.committed_offset
        segment.map[begin : begin + len(line)] = line
        self.lines += 1
        held.append(True)  # first: an error raised between the two must not let the line go out as well
        segment.committed_offset = begin + len(line)

    def _has_room(self, size_bytes: int) -> bool:
        if self._segments and self._segments[-1].committed_offset + size_bytes <= self._segments[-1].size_bytes:
            return True
        if len(self._segments) >= self._spool.held_segments_max:
            return False
        self._segment_number += 1
        try:
            return self._spool.run(self._make_segment)
        except (OSError, FolderRefusedError):
            return False

    def _make_segment(self) -> None:
        self._segments.append(self._spool.make_segment(f"{self._segment_number:06d}.held", is_filled=True))
