"""Text without a line end, kept in the map until its line is whole: what a process was about to say when it was killed.

Separate from the writer, which has finished lines only. The text lies in the header of the writer's current segment
(the format is in :mod:`sumo_internal.spool`), so that it costs no file and no system call, and goes along to the next
segment. While the writer lives, no other process reads it. When the writer is dead, the drainer of its segments makes
records of the text (:meth:`sumo_internal.spool.reader.SpoolReader.take`).

The writer's turn is not taken here: a slot belongs to one thread and one stream at a time, and the worst that may go
wrong is one text less, or one too much, after a kill at that very instant. Nothing here raises.
"""

from __future__ import annotations

import sys
from time import time

from sumo_internal.spool.segment import HEADER_BYTES, PARTIALS_BYTES, PARTIALS_OFFSET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from mmap import mmap

    from sumo_internal.spool.segment import Segment

SLOT_BYTES = 2_048
"""Size of the context's part, and of each text's part with what is said about the text."""
SLOTS = PARTIALS_BYTES // SLOT_BYTES - 1
"""Texts at the same time: one for each stream and thread that has begun a line."""
TEXT_MAX_BYTES = SLOT_BYTES - 24
"""Bytes of a text that fit. Of a longer text the end is kept, and how much was cut."""
CONTEXT_MAX_BYTES = SLOT_BYTES - 16

_AREA = slice(PARTIALS_OFFSET, PARTIALS_OFFSET + PARTIALS_BYTES)
_CONTINUED = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that no character begins with."""

_LENGTH, CREATED, _CUT = 0, 1, 2
_REST = 1 << 63
"""In the third word: the text is the rest of one whose lines are recorded already."""
_FORM = 1
BARE, ENHANCED, RUNNING = 1, 2, 4
"""Forms of a record: its message alone, or with the keys of ours (and an id). With RUNNING added, an invocation is
running whose end is to be recorded (SUMO_INVOCATION_SUMMARY)."""

_CONTEXT = PARTIALS_OFFSET // 8
_SLOTS = tuple(
    (offset + 24, offset // 8)
    for offset in range(PARTIALS_OFFSET + SLOT_BYTES, PARTIALS_OFFSET + PARTIALS_BYTES, SLOT_BYTES)
)

Slot = tuple[int, int]
"""Where its text begins in the segment, counted in bytes, and where what is said about the text, in words of eight."""


class Partials:
    """This process's texts without a line end."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        """Keep texts.

        Args:
            prepare: Makes the first segment, if that is possible: called when there is none, and then calls
                :meth:`attach`.
        """
        self._prepare = prepare
        self._context = b""
        self._form = 0
        self.is_wiped = False
        """Are texts overwritten as soon as they are lines? Texts are kept as they were written; what is masked in a
        line must not stay behind here."""
        self.forget()

    @property
    def is_unused(self) -> bool:
        """Is there no text, and no invocation whose end is to be recorded?"""
        return len(self.free) == SLOTS and not self.is_mapped and not self._form & RUNNING

    def forget(self) -> None:
        """In a forked child: the texts are the parent's, and so are its segment and its invocation."""
        self.is_mapped = False
        """Do texts survive this process now?"""
        self._form &= ~RUNNING
        self._use(bytearray(HEADER_BYTES))
        self.free = list(reversed(_SLOTS))
        """Slots without a text. One is taken, and given back, by a single step of the list's."""
        self._cut: set[Slot] = set()
        self._rests: set[Slot] = set()

    def _use(self, header: mmap | bytearray) -> None:
        view = memoryview(header)[:HEADER_BYTES]
        self.words, self.times, self.header = view.cast("Q"), view.cast("d"), header
        self._write_context()

    def attach(self, segment: Segment) -> None:
        """Go on in another segment, with the texts that there are. The segment before keeps none."""
        before = self.header, self.words, self.times, self.is_mapped
        if segment.free_offset <= PARTIALS_OFFSET:
            if len(self.free) < SLOTS:
                segment.map[_AREA] = self.header[_AREA]
            self._use(segment.map)  # and what all records share
            self.is_mapped = True
        else:
            self._use(bytearray(self.header[:HEADER_BYTES]))  # the request headers need the room
        self._leave(*before)

    def detach(self) -> None:
        """There is no segment for now: the texts stay in memory."""
        if self.is_mapped:
            before = self.header, self.words, self.times, self.is_mapped
            self.is_mapped = False
            self._use(bytearray(self.header[:HEADER_BYTES]))
            self._leave(*before)

    def _leave(
        self, header: mmap | bytearray, words: memoryview[int], times: memoryview[float], is_mapped: bool
    ) -> None:
        if is_mapped:
            header[_AREA] = bytes(PARTIALS_BYTES)
        words.release()  # or the drainer could not close the segment
        times.release()

    def set_context(self, context: str, *, is_enhanced: bool = True, is_running: bool = False) -> None:
        """From now on this is what all records share.

        Args:
            context: As a piece.
            is_enhanced: False where records have no keys of ours.
            is_running: An invocation runs whose end is to be recorded, by another process if this one dies.
        """
        self._context = context.encode("utf-8", "backslashreplace") if is_enhanced or is_running else b""
        self._form = (ENHANCED if is_enhanced else BARE) | (RUNNING if is_running else 0)
        if is_running and not self.is_mapped:
            self._prepare()
        self._write_context()

    def _write_context(self) -> None:
        words, size_bytes = self.words, len(self._context)
        words[_CONTEXT + _LENGTH] = words[_CONTEXT + _FORM] = 0
        if size_bytes <= CONTEXT_MAX_BYTES:
            self.header[PARTIALS_OFFSET + 16 : PARTIALS_OFFSET + 16 + size_bytes] = self._context
            words[_CONTEXT + _LENGTH] = size_bytes
        words[_CONTEXT + _FORM] = self._form

    def begin(self, text: str, created_s: float = 0.0, *, is_rest: bool = False) -> Slot | None:
        """Keep the beginning of a line; return the slot that it has, None where there is none for it.

        :meth:`Recorder.written` does by hand what is done here and in :meth:`end`.

        Args:
            text: The beginning.
            created_s: POSIX time at which it was written; 0 for now.
            is_rest: It was written together with lines that are whole.
        """
        if not self.is_mapped:
            self._prepare()
        slot = None
        try:
            data = text.encode() if text.isascii() else text.encode("utf-8", "surrogateescape")
            begin, word = slot = self.free.pop()
            size_bytes = len(data)
            if is_rest:
                self._rests.add(slot)
                self.words[word + _CUT] = _REST
            if size_bytes <= TEXT_MAX_BYTES:
                self.header[begin : begin + size_bytes] = data
                self.times[word + CREATED] = created_s or time()
                self.words[word] = size_bytes
            else:
                self._rewrite(slot, data, self.words[word + _CUT])
        except (IndexError, ValueError, RecursionError):
            pass  # no slot is free; the text has surrogates of the function's own; the segment is just changing
        return slot

    def extend(self, slot: Slot, text: str) -> None:
        """Keep what was written behind the beginning."""
        begin, word = slot
        try:
            data = text.encode("utf-8", "surrogateescape")
            before = self.words[word]
            size_bytes = before + len(data)
            if size_bytes <= TEXT_MAX_BYTES:
                self.header[begin + before : begin + size_bytes] = data
                self.words[word] = size_bytes
            else:
                self._rewrite(slot, self.header[begin : begin + before] + data, self.words[word + _CUT])
        except (ValueError, RecursionError):
            pass  # as in :meth:`begin`: what was kept so far stays

    def _rewrite(self, slot: Slot, data: bytes | bytearray, cut_bytes: int) -> None:
        """Keep the end of a text that does not fit: half a slot, or each further piece would need this again."""
        begin, word = slot
        kept = data[-(TEXT_MAX_BYTES // 2) :].lstrip(_CONTINUED)
        self._cut.add(slot)
        self.words[word] = 0
        self.header[begin : begin + len(kept)] = kept
        if cut_bytes in (0, _REST):
            self.times[word + CREATED] = time()
        self.words[word + _CUT] = cut_bytes + len(data) - len(kept)
        self.words[word] = len(kept)

    def has_whole(self, slot: Slot | None) -> bool:
        """Is all of a text where another process finds it?"""
        try:
            return slot is not None and self.is_mapped and slot not in self._cut and self.words[slot[1]] > 0
        except ValueError:
            return False  # the segment is just changing

    def end(self, slot: Slot) -> None:
        """The line is whole, and recorded."""
        word = slot[1]
        try:
            self.words[word] = 0
        except ValueError:
            self.words[word] = 0  # the segment has just changed, and the text has come along
        if self.is_wiped:
            self.header[slot[0] : slot[0] + TEXT_MAX_BYTES] = bytes(TEXT_MAX_BYTES)
        if slot in self._cut or slot in self._rests:
            self.words[word + _CUT] = 0
            self._cut.discard(slot)
            self._rests.discard(slot)
        self.free.append(slot)


class Partial:
    """What a dead writer has left of a line."""

    __slots__ = ("number", "text", "cut_bytes", "is_rest", "created_s", "context")

    def __init__(self, number: int, text: str, cut_bytes: int, created_s: float, context: str | None) -> None:
        self.number = number
        """The number of the text's slot, from 1; 0 for the end of an invocation, which has no text."""
        self.text = text
        self.cut_bytes = cut_bytes & ~_REST
        """So much of its beginning is lost."""
        self.is_rest = bool(cut_bytes & _REST)
        """It was written together with lines that were recorded."""
        self.created_s = created_s
        """POSIX time at which it was begun."""
        self.context = context
        """What all records shared when the writer died, as a piece; None where records had no keys of ours."""


def has_any(segment: Segment) -> bool:
    """Is something unfinished in a segment? Only of a dead writer's does that mean anything."""
    return bool(_used(segment)) or _is_running(segment)


def read(segment: Segment) -> list[Partial]:
    """The texts without a line end in a dead writer's segment, and the invocation that was running."""
    header = segment.map[:HEADER_BYTES]
    words, times = memoryview(header).cast("Q"), memoryview(header).cast("d")
    size_bytes = words[_CONTEXT + _LENGTH] if words[_CONTEXT + _LENGTH] <= CONTEXT_MAX_BYTES else 0
    context = header[PARTIALS_OFFSET + 16 : PARTIALS_OFFSET + 16 + size_bytes].decode("utf-8", "replace")
    is_bare = words[_CONTEXT + _FORM] & BARE
    texts = [
        Partial(
            _SLOTS.index((begin, word)) + 1,
            header[begin : begin + words[word]].decode("utf-8", "surrogateescape"),
            words[word + _CUT],
            times[word + CREATED],
            None if is_bare else context,
        )
        for begin, word in _used(segment)
    ]
    return [*texts, Partial(0, "", 0, 0.0, context)] if _is_running(segment) else texts


def clear(segment: Segment) -> None:
    """Empty the slots of a dead writer's segment: their texts are lines now."""
    for begin, word in _used(segment):
        segment.map[word * 8 : begin + TEXT_MAX_BYTES] = bytes(begin + TEXT_MAX_BYTES - word * 8)
    if _is_running(segment):
        segment.map[PARTIALS_OFFSET + 8 : PARTIALS_OFFSET + 16] = bytes(8)


def _is_running(segment: Segment) -> bool:
    """Was an invocation running whose end is to be recorded?"""
    if segment.free_offset > PARTIALS_OFFSET:
        return False
    form = int.from_bytes(segment.map[PARTIALS_OFFSET + 8 : PARTIALS_OFFSET + 16], sys.byteorder)
    return form in (BARE | RUNNING, ENHANCED | RUNNING)


def _used(segment: Segment) -> list[Slot]:
    """The slots that have a text."""
    if segment.free_offset > PARTIALS_OFFSET:
        return []
    words = memoryview(segment.map[:HEADER_BYTES]).cast("Q")
    return [(begin, word) for begin, word in _SLOTS if 0 < words[word] <= TEXT_MAX_BYTES]
