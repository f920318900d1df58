"""``sys.stdout`` and ``sys.stderr`` with a listener: text goes where it went, and then to the recorder.

The streams are replaced before the runtime starts, so that its own wrapper (``Unbuffered``) comes to lie around ours:
whatever reaches the descriptor through Python's two streams passes here, once, whoever wrote it and with whatever
logging set-up. Text is taken at the text layer, where the writing thread is known; bytes written to
``sys.stdout.buffer`` (or below it) are taken at that layer.

Not seen here: writes to the descriptor itself (C code, child processes, ``os.write``, a file that the function opens
on the descriptor). A pipe in its place would bring them, and would put every line of the function at the mercy of the
thread that empties it: what is in the pipe when the process is killed has reached nobody, CloudWatch included.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from threading import local
from time import time

from sumo_internal import diagnostics
from sumo_internal.capture.record_format import legible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from logging import LogRecord
    from typing import Any

_PARTIAL_MAX_CHARS = 64 * 1024
"""Text without a line end that is held back per thread and stream; beyond it what is there becomes a record."""

_STREAMS = ("awslambdaric.bootstrap", "sumo_internal.capture.streams")
"""Modules of the classes that text for the two streams passes on its way here."""


class Current(local):
    """What the running thread is in the middle of; the class attributes are every thread's beginning."""

    subject: LogRecord | list[str] | None = None
    """What it writes about: a log record, an error that is being reported (then the report so far), or nothing in
    particular. One attribute for all of these, because to look one up takes a tenth of the time for a line."""
    nesting = 0
    """How many log records' values it is rendering."""


current = Current()

too_deep: dict[int, list[tuple[float, str, int, LogRecord | list[str] | None]]] = {}
"""By thread: texts (with time, stream and subject) that came at the end of the stack. A recursion without end that logs
finds room for its last write, but not for recording it. They are recorded when there is room again.

What recording needs is therefore asked for before it has an effect, and afterwards no call goes deeper than one before
it. (Not every call into C takes room, and which do differs from one Python to the next.)"""

_ROOM_FRAMES = 25
"""More calls than lie one in the other between a stream and the file of the spool."""

_OURS = (os.path.dirname(os.path.dirname(__file__)) + "/", "<frozen ")
_LIBRARY = os.path.dirname(os.__file__) + "/"


def need_room(frames: int = _ROOM_FRAMES) -> None:
    """Find out whether there is room on the stack, before something that must not end half-way.

    Raises:
        RecursionError: There is not. Let it pass: the text is recorded later.
    """
    if frames:
        need_room(frames - 1)


def not_recorded(error: Exception) -> None:
    """Say that a text could not be recorded, or raise the error where it is the function's own.

    A signal handler may raise at any instruction, a time limit mostly, and so in the middle of this package. Swallowed,
    it would let a function go on that has asked to be stopped.

    Raises:
        Exception: The error, if it does not come from this package or what it calls. Let it pass.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    file = "" if place is None else place.tb_frame.f_code.co_filename
    if not file.startswith(_OURS) and (not file.startswith(_LIBRARY) or "/site-packages/" in file):
        raise error
    diagnostics.failed("recording a line", error)


class Stream:
    """A text stream that tells a listener what was written to it; everything else is the stream's own."""

    def __init__(self, stream: Any, number: int, listener: Callable[[str, int], None]) -> None:
        """Listen to a stream.

        Args:
            stream: The text stream that is written to.
            number: 1 for stdout, 2 for stderr.
            listener: Called with each text and the number, after the text was written. Bytes that are no text, or not
                yet, are in it as surrogates (``surrogateescape``).
        """
        self._stream = stream
        self._write = stream.write
        self._number = number
        self._listener = listener
        self.flush = stream.flush  # bound once: the runtime flushes after each write
        self.buffer = Buffer(stream.buffer, number, listener)

    def write(self, text: str) -> int:
        count: int = self._write(text)  # raises what it raises without us
        try:
            self._listener(text if text.isascii() else self._as_sent(text), self._number)
        except RecursionError:
            too_deep.setdefault(get_ident(), []).append((time(), text, self._number, current.subject))
        except Exception as error:
            not_recorded(error)
        return count

    def _as_sent(self, text: str) -> str:
        """The text as it has left: stderr sends what cannot be encoded as an escape."""
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode(self._stream.encoding, self._stream.errors).decode("utf-8", "surrogateescape")
        return text

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def detach(self) -> Buffer:
        self._stream.detach()
        return self.buffer

    def __enter__(self) -> Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


class Buffer:
    """A binary layer below a stream, with the same listener; the layer below it is heard as well."""

    def __init__(self, buffer: Any, number: int, listener: Callable[[str, int], None]) -> None:
        self._buffer = buffer
        self._number = number
        self._listener = listener

    def write(self, data: Any) -> int:
        need_room(2)  # to decode what was written
        count: int = self._buffer.write(data)
        text = bytes(data)[:count].decode("utf-8", "surrogateescape")  # as CloudWatch does, whatever the stream thinks
        try:
            self._listener(text, self._number)
        except RecursionError:
            too_deep.setdefault(get_ident(), []).append((time(), text, self._number, current.subject))
        except Exception as error:
            not_recorded(error)
        return count

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    @property
    def raw(self) -> Buffer:
        return Buffer(self._buffer.raw, self._number, self._listener)

    def detach(self) -> Buffer:
        return Buffer(self._buffer.detach(), self._number, self._listener)

    def __enter__(self) -> Buffer:
        self._buffer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._buffer.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)


def hear_unless(is_known: Callable[[], bool]) -> None:
    """Have the listener not told what is known: whatever is written while that says so."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if isinstance(stream, Stream):
            for layer in (stream, stream.buffer):
                layer._listener = _unless(is_known, layer._listener)


def _unless(is_known: Callable[[], bool], listener: Callable[[str, int], None]) -> Callable[[str, int], None]:
    def heard(text: str, number: int) -> None:
        if not is_known():
            listener(text, number)

    return heard


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


def listen(listener: Callable[[str, int], None]) -> None:
    """Put a listener on the process's two streams, and on the names under which Python keeps the originals."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or not hasattr(stream, "buffer"):
            continue  # closed at start: there is nothing that could reach CloudWatch
        heard = Stream(stream, number, listener)
        setattr(sys, name, heard)
        setattr(sys, f"__{name}__", heard)
