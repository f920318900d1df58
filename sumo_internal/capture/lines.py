"""Lines of what threads write to the two streams, piece by piece; each thread's text is kept apart.

Separate from the streams, which know nothing of lines, and from the recorder, which gets whole ones.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from sumo_internal.capture.record_format import legible
from sumo_internal.capture.reentrancy import need_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PARTIAL_MAX_CHARS = 64 * 1024
"""Text without a line end that is held back per thread and stream; beyond it what is there becomes a record."""

_STREAMS = ("awslambdaric.bootstrap", "sumo_internal.capture.streams")
"""Modules of the classes that text for the two streams passes on its way here."""


class Lines:
    """What threads write to the two streams, piece by piece, as lines; each thread's text is kept apart.

    ``print`` writes text and line end apart, and other threads do so in between.
    """

    def __init__(
        self,
        record: Callable[[str, float | None], None],
        partial_max_chars: int = _PARTIAL_MAX_CHARS,
        cut: Callable[[str], int] = len,
    ) -> None:
        """Put lines together.

        Args:
            record: Called with each line that is not blank, and the POSIX time in seconds at which it was written,
                None for now.
            partial_max_chars: Bound on text without a line end that is held back per thread and stream.
            cut: How much of a text beyond the bound may be recorded now.
        """
        self._record = record
        self._partial_max_chars = partial_max_chars
        self._cut = cut
        self._partials: tuple[dict[int, str], ...] = ({}, {}, {})
        """Text without a line end, by stream (1 and 2) and thread."""

    def add(self, text: str, stream: int, thread: int, created_s: float | None = None) -> None:
        """Record the lines that are whole with this text, and keep what follows the last of them.

        Raises:
            RecursionError: At the end of the stack there is no room for it. Nothing has happened; try again later.
        """
        partials = self._partials[stream]
        if "\n" not in text:
            self._hold(partials, thread, text)
            return
        before = partials.pop(thread, "")
        try:
            lines, _, rest = (before + text).rpartition("\n")
            self._split(lines, created_s)
        except RecursionError:
            partials[thread] = before
            raise
        if rest:
            self._hold(partials, thread, rest)

    def take(self, stream: int) -> str:
        """Give away what this thread has begun."""
        return self._partials[stream].pop(get_ident(), "")

    def flush(self, *, is_final: bool) -> None:
        """Record what waits for its line end, unless its thread is just writing it; at the very end all of it."""
        for partials in self._partials:
            for thread in list(partials):
                if is_final or thread == get_ident() or not _is_writing(thread):
                    self._split(partials.pop(thread, ""), None)

    def _hold(self, partials: dict[int, str], thread: int, text: str) -> None:
        before = partials.pop(thread, "")
        try:
            text = before + text
            while (held := partials.setdefault(thread, text)) is not text:
                text = partials.pop(thread, held) + text  # an interruption has put it there, just now
        except RecursionError:
            partials[thread] = before
            raise
        if len(text) >= self._partial_max_chars:
            text = partials.pop(thread, "")
            try:
                end = self._cut(text)
                self._split(text[:end], None)
                text = text[end:]
            except RecursionError:
                partials[thread] = text  # the next piece comes by here as well
                return
            if text:
                self._hold(partials, thread, text)

    def _split(self, text: str, created_s: float | None) -> None:
        if not text.isascii():
            text = legible(text)
        if "\n" not in text:
            lines = [text]
        else:
            need_room()
            lines = text.split("\n")
        for line in lines:
            if line and not line.isspace():
                self._record(line, created_s)


def _is_writing(thread: int) -> bool:
    """Is another thread in the middle of a ``print``? One that is not has left its line without an end."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        # The runtime's stream around ours, or ours alone. Only they give way to another thread between two writes.
        if frame.f_globals.get("__name__") in _STREAMS:
            return True
        frame = frame.f_back
    return False
