"""``sys.stdout`` and ``sys.stderr`` with a listener: text goes where it went, and then to the recorder.

The streams are replaced before the runtime starts, so that its own wrapper (``Unbuffered``) comes to lie around ours:
whatever reaches the descriptor through Python's two streams passes here, once, whichever code wrote it and whatever the
logging set-up. Text is taken at the text layer, where the writing thread is known; bytes written to
``sys.stdout.buffer`` (or below it) are taken at that layer.

Not seen here: writes to the descriptor itself (C code, child processes, ``os.write``, a file that the function opens
on the descriptor). A pipe in the descriptor's place would bring them. But every line of the function would then depend
on the thread that empties the pipe: what is in the pipe when the process is killed has not even reached CloudWatch.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from functools import update_wrapper
from time import time

from sumo_internal.capture.reentrancy import need_room, not_recorded, subjects, too_deep

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
            thread = get_ident()
            too_deep.setdefault(thread, []).append((time(), text, self._number, subjects.get(thread)))
        except Exception as error:
            not_recorded(error)
        return count

    def _as_sent(self, text: str) -> str:
        """The text as it has left: stderr sends what cannot be encoded as an escape."""
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            pass  # what is raised below has no context
        return text.encode(self._stream.encoding, self._stream.errors).decode("utf-8", "surrogateescape")

    def writelines(self, lines: Iterable[str]) -> None:
        self._stream.writelines(())  # raises what it raises without us, if the stream is closed
        for line in lines:
            self.write(line)

    def detach(self) -> Buffer:
        self._stream.detach()
        detached = self.buffer
        del self.buffer  # from here on it is the stream's: None, and from Python 3.14 on an error
        return detached

    def __enter__(self) -> Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __next__(self) -> Any:
        return next(self._stream)

    def __repr__(self) -> str:
        return repr(self._stream)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._stream.__reduce_ex__(protocol)  # raises: neither can be copied


class Buffer:
    """A binary layer below a stream, with the same listener; the layer below it is heard as well."""

    def __init__(self, buffer: Any, number: int, listener: Callable[[str, int], None]) -> None:
        self._buffer = buffer
        self._number = number
        self._listener = listener

    def write(self, data: Any) -> int:
        need_room(2)  # to decode what was written
        count: int = self._buffer.write(data)
        text = bytes(data)[:count].decode("utf-8", "surrogateescape")  # like CloudWatch, whatever the stream's encoding
        try:
            self._listener(text, self._number)
        except RecursionError:
            thread = get_ident()
            too_deep.setdefault(thread, []).append((time(), text, self._number, subjects.get(thread)))
        except Exception as error:
            not_recorded(error)
        return count

    def writelines(self, lines: Iterable[Any]) -> None:
        self._buffer.writelines(())  # as above
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

    def __repr__(self) -> str:
        return repr(self._buffer)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._buffer.__reduce_ex__(protocol)


def places() -> list[list[int]]:
    """Where this process's stdout and stderr lead: device and inode of each."""
    return [[*_place(number)] for number in (1, 2)]


def listen(
    listener: Callable[[str, int], None],
    make: Callable[..., Stream] | None = None,
    only: list[list[int]] | None = None,
) -> None:
    """Put a listener on the process's two streams, and on the names under which Python keeps the originals.

    Args:
        listener: As :class:`Stream` has it.
        make: Makes what stands in a stream's place; None for a :class:`Stream`.
        only: Leave a stream alone that leads to none of these :func:`places`.
    """
    listened: dict[int, Stream] = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if only is not None and [*_place(number)] not in only:
            continue  # a pipe of the function's, which writes the text itself if it is to reach CloudWatch
        if stream is None or not hasattr(stream, "buffer"):
            continue  # closed at start: there is nothing that could reach CloudWatch
        heard = listened[number] = (make or Stream)(stream, number, listener)
        setattr(sys, name, heard)
        setattr(sys, f"__{name}__", heard)
    _follow_descriptors(listened, listener)


def _follow_descriptors(listened: dict[int, Stream], listener: Callable[[str, int], None]) -> None:
    """Record nothing of a stream while its descriptor leads to another file: CloudWatch gets nothing of it then.

    A test that captures output redirects the descriptor, and later writes what it has captured to the real one. Asking
    before each write where the descriptor leads would cost each line a system call, so the function's calls of
    ``os.dup2`` are followed.
    """
    functions: Any = sys.modules.get("os")
    places = {number: _place(number) for number in listened}
    layers = {number: (stream, stream.buffer) for number, stream in listened.items()}
    if functions is None:
        return
    dup2 = functions.dup2

    def followed(fd: int, fd2: int, inheritable: bool = True) -> int:
        number: int = dup2(fd, fd2, inheritable)
        if number in layers:
            is_heard = _place(number) in places.values()
            for layer in layers[number]:
                layer._listener = listener if is_heard else unheard
        return number

    functions.dup2 = update_wrapper(followed, dup2)


def _place(descriptor: int) -> tuple[int, int]:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def unheard(text: str, number: int) -> None:
    """Take the place of the listener for text that does not reach CloudWatch, and do nothing."""
