"""Lines of what threads write to the two streams, piece by piece; each thread's text is kept apart.

Separate from the streams, which know nothing of lines, and from the recorder, which gets whole ones.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from sumo_internal.capture.multiline import ENDINGS, TOGETHER_MAX_CHARS, grouped
from sumo_internal.capture.record_format import legible
from sumo_internal.capture.reentrancy import need_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.multiline import Waiting
    from sumo_internal.spool.partials import Partials, Slot

_PARTIAL_MAX_CHARS = 64 * 1024
"""Bound on text without a line end that is held back per thread and stream; the text that passes it becomes a
record."""

_STREAMS = ("awslambdaric.bootstrap", "sumo_internal.capture.streams")
"""Modules of the classes that text for the two streams passes on its way here."""


class Lines:
    """Puts lines together from the pieces that threads write.

    ``print`` writes a text and its line end apart, and other threads may write between the two.
    """

    def __init__(
        self,
        record: Callable[[str, float | None], object],
        partials: Partials,
        partial_max_chars: int = _PARTIAL_MAX_CHARS,
        cut: Callable[[str], int] = len,
        *,
        is_joined: bool = True,
    ) -> None:
        """Put lines together.

        Args:
            record: Called with each line that is not blank, and the POSIX time in seconds at which it was written,
                None for now.
            partials: Where text without a line end survives its process.
            partial_max_chars: Bound on text without a line end that is held back per thread and stream; what is written
                at once may be longer (``print`` writes the line end apart).
            cut: How much of a text beyond the bound may be recorded now.
            is_joined: Lines that belong together are recorded as one (SUMO_MULTILINE).
        """
        self._record = record
        self._keep, self._keep_more, self._keep_no_more = partials.begin, partials.extend, partials.end
        self._has_whole = partials.has_whole
        self._partial_max_chars = partial_max_chars
        self._piece_max_chars = max(partial_max_chars, TOGETHER_MAX_CHARS)
        self._cut = cut
        self._is_joined = is_joined
        self.begun: tuple[dict[int, list[Any]], ...] = ({}, {}, {})
        """Text without a line end, by stream (1 and 2) and thread: the slot where it is kept, its size, the POSIX time
        if the recorder has begun it itself (:meth:`Recorder.written`; else 0), and its pieces. The call that takes the
        text out empties the list: an interruption may have done so while another piece was put in."""

        self.incomplete: tuple[dict[int, tuple[Waiting, Slot | None]], ...] = ({}, {}, {})
        """Whole lines that are the beginning of a value or a traceback, and the slot where they are kept."""

    @property
    def has_any(self) -> bool:
        """Does any thread's text wait here?"""
        return any(self.begun) or any(self.incomplete)

    def add(self, text: str, stream: int, thread: int, created_s: float | None = None) -> None:
        """Record the lines that are whole with this text, and keep what follows the last of them.

        Raises:
            RecursionError: The stack has no room for this. Nothing has happened; try again later.
        """
        partials = self.begun[stream]
        if "\n" not in text:
            if thread in partials:
                self._hold_more(partials, thread, text)
                return
            self._hold(partials, thread, text)
            return
        self.end(text, stream, thread, created_s)

    def end(
        self, text: str, stream: int, thread: int, created_s: float | None = None, held: list[Any] | None = None
    ) -> None:
        """Record the lines that are whole with a text that has a line end, and keep what follows the last of them.

        Args:
            text: The text.
            stream: As in :meth:`add`.
            thread: The thread.
            created_s: As in :meth:`add`.
            held: What the thread has written before, where that is taken out of :attr:`begun` already.

        Raises:
            RecursionError: The stack has no room for this. Nothing has happened; try again later.
        """
        partials = self.begun[stream]
        if held is None:
            held = partials.pop(thread, None)
        if held is None:
            lines, _, rest = text.rpartition("\n")
            self._split(lines, created_s, stream, thread, is_ended=not rest)
        else:
            try:
                lines, _, rest = ("".join(held[3:]) + text).rpartition("\n")
                self._split(lines, created_s, stream, thread, is_ended=not rest)
            except RecursionError:
                partials[thread] = held
                raise
            slot = held[0]
            held.clear()
            if slot is not None:
                self._keep_no_more(slot)
        if rest:
            self._hold(partials, thread, rest, is_rest=True)

    def is_within_value(self, stream: int, thread: int) -> bool:
        """Do whole lines of a thread's wait, because they begin a value or a traceback?"""
        return thread in self.incomplete[stream]

    def waiting(self, stream: int, thread: int, *, is_all: bool) -> str:
        """The text of a thread that waits here, unless it is all in the map and only such is asked for."""
        texts, is_whole = [], True
        if waits := self.incomplete[stream].get(thread):
            texts.append("\n".join(waits[0].lines) + "\n")
            is_whole = self._has_whole(waits[1])
        if held := self.begun[stream].get(thread):
            slot, _, _, *pieces = held
            texts += pieces
            is_whole = is_whole and self._has_whole(slot)
        return "".join(texts) if is_all or not is_whole else ""

    def line(self, stream: int, thread: int) -> str:
        """The line that a thread has begun."""
        held = self.begun[stream].get(thread)
        return "".join(held[3:]) if held else ""

    def take(self, stream: int) -> str:
        """Return the line that this thread has begun, and keep nothing of it."""
        return self._taken(self.begun[stream], get_ident())

    def flush(self, *, is_final: bool) -> None:
        """Record text that waits for its line end, unless its thread is just writing it; at the very end, all of it."""
        for stream, (partials, waiting) in enumerate(zip(self.begun, self.incomplete, strict=True)):
            for thread in [*partials, *waiting]:
                if is_final or thread == get_ident() or not _is_writing(thread):
                    text = self._taken(partials, thread)
                    if text:
                        self._split(text, None, stream, thread, is_ended=True)
                    self._give_up(waiting, thread)

    def _taken(self, partials: dict[int, list[Any]], thread: int) -> str:
        held = partials.pop(thread, None)
        if held is None:
            return ""
        slot, _, _, *pieces = held
        held.clear()
        if slot is not None:
            self._keep_no_more(slot)
        return "".join(pieces)

    def _hold(self, partials: dict[int, list[Any]], thread: int, text: str, *, is_rest: bool = False) -> None:
        begun: list[Any] = [self._keep(text, is_rest=is_rest), len(text), 0.0, text]
        if partials.setdefault(thread, begun) is not begun or len(text) >= self._piece_max_chars:
            self.hold_odd(partials, thread, begun)

    def hold_odd(self, partials: dict[int, list[Any]], thread: int, held: list[Any]) -> None:
        """Go on with a line that begins with a long text, or where an interruption has just begun another line."""
        if partials.get(thread) is held:
            self._bound(partials, thread)
        elif held:
            slot, _, _, text = held
            if slot is not None:
                self._keep_no_more(slot)
            self._hold_more(partials, thread, text)

    def _hold_more(self, partials: dict[int, list[Any]], thread: int, text: str) -> None:
        held = partials.get(thread)
        if not held:
            self._hold(partials, thread, text)
            return
        held.append(text)
        if partials.get(thread) is not held:  # an interruption has recorded it just now, with this piece or without
            if held:
                held.clear()
                self._hold(partials, thread, text)
            return
        try:
            slot = held[0]
            held[1] = size_chars = held[1] + len(text)
        except IndexError:
            return  # just now
        if slot is not None:
            self._keep_more(slot, text)
        if size_chars >= self._partial_max_chars:
            self._bound(partials, thread)

    def _bound(self, partials: dict[int, list[Any]], thread: int) -> None:
        """Record what is too long to be held back, as far as it may be cut."""
        held = partials.pop(thread, None)
        if held is None:
            return
        try:
            text = "".join(held[3:])
            end = self._cut(text)
            self._record_line(legible(text[:end]), None)
        except RecursionError:
            partials[thread] = held  # the next piece comes by here as well
            return
        slot = held[0]
        held.clear()
        if slot is not None:
            self._keep_no_more(slot)
        if text[end:]:
            self._hold(partials, thread, text[end:])

    def _split(self, text: str, created_s: float | None, stream: int, thread: int, *, is_ended: bool) -> None:
        """Record whole lines: each on its own, but lines that belong together as one record."""
        if not text.isascii():
            text = legible(text)
        waiting = self.incomplete[stream]
        if "\n" not in text and is_ended and text[-1:] not in ENDINGS and thread not in waiting:
            self._record_line(text, created_s)  # nearly always
            return
        need_room()
        lines = text.split("\n")
        if not self._is_joined:
            for line in lines:
                self._record_line(line, created_s)
            return
        before, slot = waiting.pop(thread, (None, None))
        groups, after = grouped(lines, before, is_ended=is_ended)
        for group in groups:
            self._record_line("\n".join(group), created_s)
        if after is not None and after is before:
            if slot is not None:
                self._keep_more(slot, f"\n{text}")
        else:
            if slot is not None:
                self._keep_no_more(slot)
            slot = None if after is None else self._keep("\n".join(after.lines), is_rest=bool(groups))
        if after is not None:
            self._give_up(waiting, thread)  # an interruption's, just now
            waiting[thread] = after, slot

    def _give_up(self, waiting: dict[int, tuple[Waiting, Slot | None]], thread: int) -> None:
        """Record, as they are, the lines of a value or traceback whose rest does not come."""
        before, slot = waiting.pop(thread, (None, None))
        if before is not None:
            for group in before.given_up():
                self._record_line("\n".join(group), None)
        if slot is not None:
            self._keep_no_more(slot)

    def _record_line(self, text: str, created_s: float | None) -> None:
        if text and not text.isspace():
            self._record(text, created_s)


def _is_writing(thread: int) -> bool:
    """Is another thread in the middle of a ``print``? If it is not, it has left its line without an end."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        # The runtime's stream around ours, or ours alone. Only in these does a thread give way to another between two
        # writes.
        if frame.f_globals.get("__name__") in _STREAMS:
            return True
        frame = frame.f_back
    return False
