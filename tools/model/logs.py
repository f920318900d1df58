"""Pipes that the environment's processes write their logs to: lines of stdout and stderr, and the runtime's framed
messages.

Separate because reading has its own thread and its own formats, and because all other modules need just one question
answered: has what was written before this moment been seen.

Rules:

* A line ends with a newline; what follows the last one counts as a line when the writers are gone.
* A frame is awslambdaric's: type (4 bytes), length (4), time in microseconds (8), message, big-endian. It is one
  entry, however many lines it has; one that its writer did not finish is lost, as it is on Lambda.
* ``drain`` returns when all that is in the pipe has been handed on, so that an invocation's lines precede its REPORT.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

PIPE_BYTES = 1024 * 1024
"""The greatest that the kernel allows without root. A writer should meet Lambda's speed here, not that of this
reader."""
_CHUNK_BYTES = 256 * 1024
_FRAME_HEAD = struct.Struct(">IIQ")


class Entry(NamedTuple):
    """What one line or one frame says; only a frame has a type and a time of its own."""

    text: str
    frame_type: int | None = None
    at_s: float | None = None


class LineParser:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Entry]:
        """Return the lines that are complete with this chunk."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [Entry(line.decode("utf-8", "replace")) for line in lines]

    def finish(self) -> list[Entry]:
        """Return what the writers left without an end."""
        return [Entry(self._rest.decode("utf-8", "replace"))] if self._rest else []


class FrameParser:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Entry]:
        """Return the frames that are complete with this chunk."""
        data, position, entries = self._rest + chunk, 0, []
        while len(data) - position >= _FRAME_HEAD.size:
            frame_type, size, microseconds = _FRAME_HEAD.unpack_from(data, position)
            end = position + _FRAME_HEAD.size + size
            if end > len(data):
                break
            text = data[position + _FRAME_HEAD.size : end].decode("utf-8", "replace")
            entries.append(Entry(text, frame_type, microseconds / 1e6))
            position = end
        self._rest = data[position:]
        return entries

    def finish(self) -> list[Entry]:
        """Return nothing: a frame without its end has no message."""
        return []


class LogPipe:
    """One pipe and the thread that reads it until its last writer is gone."""

    def __init__(self, parser: LineParser | FrameParser, sink: Callable[[Iterable[Entry]], None]) -> None:
        self._parser = parser
        self._sink = sink
        self._lock = threading.Lock()
        self._is_at_end = False
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._thread = threading.Thread(target=self._run, name="model-log", daemon=True)

    def start(self) -> None:
        """Begin to read; the processes that write have their copies of ``writer``, so ours is closed."""
        os.close(self.writer)
        self._thread.start()

    def drain(self) -> None:
        """Hand on everything that is in the pipe."""
        with self._lock:
            while not self._is_at_end:
                try:
                    chunk = os.read(self._reader, _CHUNK_BYTES)
                except BlockingIOError:
                    return
                self._is_at_end = not chunk
                entries = self._parser.feed(chunk) if chunk else self._parser.finish()
                if entries:
                    self._sink(entries)

    def close(self) -> None:
        """Read to the end and close. Every writer has ended before, or this waits for it."""
        self._thread.join()
        os.close(self._reader)

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        while not self._is_at_end:
            poller.poll()
            self.drain()
