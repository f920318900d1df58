"""Lines that lie beside the spool, in segments of their own, until it is known whether they are wanted.

They lie in segments like the spool's (:mod:`sumo_internal.spool.segment`), which no drainer touches::

    <environment>-p<pid>.<number>.held     of the same writer, under the same lock: SUMO_SAMPLE
    <environment>-p<pid>.<number>.unended  text that waits for its line end, as records (SUMO_CLOUDWATCH)
    <environment>-p<pid>.<number>.debug    below the function's level (SUMO_DEBUG_ON_FAILURE)

1. As long as the writer lives, such a segment is the writer's alone, and its committed offset goes back when its lines
   are forgotten: that is the one difference from the spool's invariants. All is done in the spool's turn, and ids are
   drawn with the spool's, so that the order of all lines can be told.
2. A segment whose writer is dead is taken like any other: the invocation did not end, so it failed.
3. When the invocation fails otherwise, its segments are renamed to segments of the spool, each at once and whole.
4. A held line that does not fit goes out, and so does a line whose turn does not come in a few milliseconds: a bound
   must not lose a line, and it is not known yet whether the line is wanted. One below the function's level is forgotten
   then, and counted: the function itself would not have shown it.

A forked child holds nothing back, and frees nothing of its parent's: the parent does not tell it how the invocation has
ended.
"""

from __future__ import annotations

from _thread import get_ident
from time import monotonic

from sumo_internal.spool.counters import DEBUG_FORGOTTEN, DEBUG_UNNEEDED, SAMPLED_OUT
from sumo_internal.spool.folder import FolderRefusedError
from sumo_internal.spool.segment import COMMITTED, HEADER_BYTES, SEGMENT_BYTES, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.spool.writer import Spool

DEBUG_SEGMENT_BYTES = 262_144
"""So many bytes of the oldest lines are forgotten at once where there is no room."""
RETRY_AFTER_S = 0.1
"""After the disk refused a segment, no line asks for one for so long: asking takes a dozen system calls."""
DECIDE_ATTEMPTS_MAX = 30
"""At the end of an invocation, when the response is out: attempts at the turn, of 3 ms each, which another thread may
have for a look at the spool's files."""
UNENDED_TRIES_MAX = 4
"""How often a text without a line end is kept anew as it grows; what comes in still more pieces is no print."""


class Beside:
    """Segments of one kind. What begins with ``_in_turn`` is done in the spool's turn."""

    _unwanted = ""
    """Under which reason lines that are forgotten are counted; empty for no count."""

    def __init__(self, spool: Spool, kind: str, segments_max: int, size_bytes: int = SEGMENT_BYTES) -> None:
        """Have no segment yet.

        Args:
            spool: Beside which they lie.
            kind: The end of their files' names.
            segments_max: Bound on their number.
            size_bytes: Of each.
        """
        self._spool = spool
        self._kind = kind
        self._segments_max = segments_max
        self._size_bytes = size_bytes
        self._writer = spool.writer
        self._segments: list[Segment] = []
        self._segment_number = 0
        self._retry_at_s = 0.0
        self.lines = 0
        """Lines that were put here so far."""
        self._lying = (0, 0)
        """Lines and bytes that lie here now."""
        self._verdict: Callable[[], None] | None = None
        """What is to become of them, where it could not be done yet."""

    @property
    def has_any(self) -> bool:
        """Do lines of this process's lie here?"""
        return self.is_own and self._lying[0] > 0

    def forget(self) -> None:
        """The invocation has succeeded: its lines are not wanted."""
        self._decide(self._in_turn_forget)

    def release(self) -> None:
        """The lines are wanted: they go out."""
        self._decide(self._in_turn_release)

    def _decide(self, verdict: Callable[[], None]) -> None:
        """Carry a verdict out, or leave it to a later line. While one is left, no line is put here."""
        if not self.is_own:
            return  # a forked child knows nothing of the invocation's end, and its parent writes to these files
        if self._verdict is None:
            self._verdict = verdict
        # The process may be frozen next, and killed: then what is not forgotten by now would go out.
        for _ in range(DECIDE_ATTEMPTS_MAX):
            self._settle()
            if self._verdict is None or self._spool.owner.get("") == get_ident():
                break  # done; or this thread has the turn itself, and waiting for it is no use

    def _settle(self) -> None:
        while self._verdict is not None and self._spool.run(self._in_turn_decide):
            pass

    def _in_turn_decide(self) -> None:
        if self._verdict is not None:
            self._verdict()
            self._verdict = None

    def _in_turn_forget(self) -> None:
        lines, size_bytes = self._lying
        self._in_turn_clear()
        if lines and self._unwanted:  # dropped, and counted
            self._spool.count(self._unwanted, lines, size_bytes)

    @property
    def is_own(self) -> bool:
        """Else this is a forked child, and the segments and the lock are the parent's."""
        return self._writer == self._spool.writer

    def _in_turn_put(self, start: str, put: list[bool]) -> None:
        """Put a line here; note whether that was possible."""
        line = self._spool.numbered(start)
        if len(line) > self._size_bytes - HEADER_BYTES or not self._has_room(len(line)):
            return
        segment = self._segments[-1]
        begin = segment.committed_offset
        segment.map[begin : begin + len(line)] = line
        self.lines += 1
        self._lying = (self._lying[0] + 1, self._lying[1] + len(line))
        put.append(True)  # first: an error raised between the two must not let the line go out as well
        segment.committed_offset = begin + len(line)

    def _in_turn_clear(self) -> None:
        """Forget what lies here, and keep one segment for what comes."""
        while len(self._segments) > 1 or (self._segments and self._segments[0].is_unlinked):
            self._segments.pop().abandon()
        for segment in self._segments:
            segment.committed_offset = HEADER_BYTES
        self._lying = (0, 0)

    def _in_turn_release(self) -> None:
        """Give what lies here to the spool."""
        while self._segments:
            self._spool.adopt(self._segments.pop())
        self._lying = (0, 0)

    def _has_room(self, size_bytes: int) -> bool:
        if self._segments and self._segments[-1].committed_offset + size_bytes <= self._segments[-1].size_bytes:
            return True
        return self._go_on()

    def _go_on(self) -> bool:
        """Go on to a new segment, if there may be one more."""
        if len(self._segments) >= self._segments_max or monotonic() < self._retry_at_s:
            return False
        self._segment_number += 1
        name = f"{self._segment_number:06d}.{self._kind}"
        try:
            self._segments.append(self._spool.make_segment(name, size_bytes=self._size_bytes, is_filled=True))
        except (OSError, FolderRefusedError):
            self._retry_at_s = monotonic() + RETRY_AFTER_S
            return False
        return True


class Held(Beside):
    """This process's held lines (SUMO_SAMPLE)."""

    _unwanted = SAMPLED_OUT

    def __init__(self, spool: Spool) -> None:
        """Hold lines back from a spool.

        Args:
            spool: Where they go when they are wanted, or when there is no room for them here.
        """
        super().__init__(spool, "held", spool.held_segments_max)

    def append(self, start: str, level: int) -> int:
        """Hold a line back, or let it go where that is not possible. Like :meth:`Spool.append`."""
        held: list[bool] = []
        if self.is_own and self._verdict is None:
            self._spool.run(self._in_turn_put, start, held)
        if self._verdict is not None:
            self._settle()
        return 1 if held else self._spool.append(start, level)


class Debug(Beside):
    """The latest lines below the function's level, of one invocation (SUMO_DEBUG_ON_FAILURE)."""

    _unwanted = DEBUG_UNNEEDED

    def __init__(self, spool: Spool, max_bytes: int) -> None:
        super().__init__(spool, "debug", max(2, max_bytes // DEBUG_SEGMENT_BYTES), DEBUG_SEGMENT_BYTES)

    def append(self, start: str, level: int) -> int:
        """Put a line here, or forget it where that is not possible. Like :meth:`Spool.append`."""
        # The turn is taken by hand where it is free, which saves each line half of its time in here.
        owner, token, is_put = self._spool.owner, get_ident(), False
        if self._verdict is None and self._writer == self._spool.writer:
            try:
                # In the turn: another thread may have had the lines go out just now, and the segments with them.
                if owner.setdefault("", token) is token and self._segments:
                    line = self._spool.numbered(start)
                    cursors = self._segments[-1].cursors
                    begin = cursors[COMMITTED]
                    end = begin + len(line)
                    if end <= self._size_bytes:
                        self._segments[-1].map[begin:end] = line
                        cursors[COMMITTED] = end
                        lines, size_bytes = self._lying
                        self._lying = (lines + 1, size_bytes + len(line))
                        self.lines += 1
                        is_put = True
            finally:
                if owner.get("") is token:
                    del owner[""]
        if is_put:
            self._spool.settle_left()
        else:
            self._append_slowly(start)
        return 1

    def _append_slowly(self, start: str) -> None:
        put: list[bool] = []
        if self._verdict is not None:
            self._settle()
        if self._verdict is None and self.is_own:
            self._spool.run(self._in_turn_put, start, put)
        if not put:
            self._spool.count(DEBUG_FORGOTTEN, 1, len(start.encode("utf-8", "backslashreplace")))

    def _go_on(self) -> bool:
        """Go on to a new segment, or to the one with the oldest lines, which are forgotten."""
        if super()._go_on():
            return True
        if not self._segments:
            return False
        oldest = self._segments.pop(0)
        size_bytes = oldest.committed_offset - HEADER_BYTES
        piece = oldest.take(self._size_bytes)
        lines = 0 if piece is None else piece.count()
        oldest.committed_offset = HEADER_BYTES
        self._segments.append(oldest)
        self._lying = (self._lying[0] - lines, self._lying[1] - size_bytes)
        self._spool.count(DEBUG_FORGOTTEN, lines, size_bytes)
        return True


class Unended(Beside):
    """Text that waits for its line end and is too long for the map: as records, should its process die."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(spool, "unended", 1)
        self._tries: dict[object, int] = {}
        """By whose text it is: how often it was kept."""

    def keep(self, key: object, starts: list[str]) -> bool:
        """Keep a text as far as it has come; False where that is not possible.

        Args:
            key: Whose it is.
            starts: Its records, each up to its closing brace.
        """
        tries = self._tries.get(key, 0)
        if not self.is_own or tries == UNENDED_TRIES_MAX:
            return False
        self._tries[key] = tries + 1
        if self._segments and self._segments[0].is_unlinked:
            self._spool.run(self._in_turn_clear)
        put: list[bool] = []
        for start in starts:
            self._spool.run(self._in_turn_put, start, put)
        return len(put) == len(starts)

    def drop(self, key: object) -> None:
        """A text has become a line."""
        if self._tries.pop(key, 0) and not self._tries and self.is_own:
            self._spool.run(self._in_turn_clear)
