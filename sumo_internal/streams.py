"""``sys.stdout`` and ``sys.stderr`` with a listener: text goes where it went, and then to the recorder.

The streams are replaced before the runtime starts, so that its own wrapper (``Unbuffered``) comes to lie around ours:
whatever reaches the descriptor through Python's two streams passes here, once, whoever wrote it and with whatever
logging set-up. Text is taken at the text layer, where the writing thread is known; bytes written to
``sys.stdout.buffer`` are taken at that layer.

Not seen here: writes to the descriptor itself (C code, child processes, ``os.write``).
"""

from __future__ import annotations

import sys

from sumo_internal import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class Stream:
    """A text stream that tells a listener what was written to it; everything else is the stream's own."""

    def __init__(self, stream: Any, number: int, listener: Callable[[str, int], None]) -> None:
        """Listen to a stream.

        Args:
            stream: The text stream that is written to.
            number: 1 for stdout, 2 for stderr.
            listener: Called with each text and the number, after the text was written.
        """
        self._stream = stream
        self._write = stream.write
        self._number = number
        self._listener = listener
        self.flush = stream.flush  # bound once: the runtime flushes after each write
        self.buffer = Buffer(stream.buffer, number, listener, stream.encoding)

    def write(self, text: str) -> int:
        count: int = self._write(text)  # raises what it raises without us
        try:
            self._listener(text, self._number)
        except Exception as error:
            guard.failed("recording a line", error)
        return count

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


class Buffer:
    """The binary layer below a stream, with the same listener."""

    def __init__(self, buffer: Any, number: int, listener: Callable[[str, int], None], encoding: str) -> None:
        self._buffer = buffer
        self._number = number
        self._listener = listener
        self._encoding = encoding

    def write(self, data: Any) -> int:
        count: int = self._buffer.write(data)
        with guard.guard("recording bytes"):
            self._listener(bytes(data).decode(self._encoding, "backslashreplace"), self._number)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)


def listen(listener: Callable[[str, int], None]) -> None:
    """Put a listener on the process's two streams, and on the names under which Python keeps the originals."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or not hasattr(stream, "buffer"):
            continue  # closed at start: there is nothing that could reach CloudWatch
        heard = Stream(stream, number, listener)
        setattr(sys, name, heard)
        setattr(sys, f"__{name}__", heard)
