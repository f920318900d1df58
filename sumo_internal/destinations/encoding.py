"""How a batch is compressed: gzip, zstd where the interpreter has it, or not at all.

Separate because two sides need it: the drainer, which has the lines, makes the body, and the source says which encoding
it takes. Sumo Logic's table of headers names zstd (2026); gzip is what ``auto`` means until zstd has been seen to
arrive at a real source. Python has zstd from 3.14 on, as ``compression.zstd``. Its C part is used here, like that of
everything that is needed late.

Level 1 of each, because the function pays for CPU and not for bytes.
"""

from __future__ import annotations

import zlib

from sumo_internal import diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    class Packer(Protocol):
        """A stream of compressed bytes."""

        def compress(self, data: Any, /) -> bytes: ...

        def flush(self) -> bytes: ...


LEVEL = 1
MEMORY_LEVEL = 7
"""zlib's own is 8. With half of its table of strings a megabyte of the usual lines takes a sixth less CPU and is 3 %
longer; lines with less in common are as long, and take no more. And 64 KB less have to be had from the kernel for each
batch."""


class Encoding:
    """A way to compress. ``name`` is the Content-Encoding, empty for none."""

    __slots__ = ("name", "_make_packer")

    def __init__(self, name: str, make_packer: Callable[[], Packer]) -> None:
        self.name = name
        self._make_packer = make_packer

    def pack(self, pieces: Iterable[Any]) -> bytes:
        """The pieces as one stream; each is asked for when the one before is packed."""
        packer = self._make_packer()
        packed = [packer.compress(piece) for piece in pieces]
        return b"".join([*packed, packer.flush()])


class _Plain:
    """Packs nothing."""

    def compress(self, data: Any, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


GZIP = Encoding("gzip", lambda: zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS, MEMORY_LEVEL))
PLAIN = Encoding("", _Plain)


def choose(setting: str) -> Encoding:
    """What SUMO_COMPRESSION asks for, or gzip where this interpreter does not have it."""
    if setting == "none":
        return PLAIN
    if setting != "zstd":
        return GZIP
    try:
        import _zstd  # type: ignore[import-not-found]  # of Python 3.14 and later
    except ImportError:
        diagnostics.say_once("warn", "SUMO_COMPRESSION=zstd needs Python 3.14 or later; gzip is used")
        return GZIP
    return zstd(_zstd.ZstdCompressor)


def zstd(make_compressor: Callable[..., Packer]) -> Encoding:
    """zstd, by the interpreter's compressor or one that is made alike."""
    return Encoding("zstd", lambda: make_compressor(level=LEVEL))
