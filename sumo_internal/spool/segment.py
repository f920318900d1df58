"""One segment of the spool: a mapped file of finished lines, as writer and drainer both see it, and slices of it.

The format, what survives what and who may trust which field are described in :mod:`sumo_internal.spool`.
"""

from __future__ import annotations

import json
import os
import stat
from mmap import mmap

from sumo_internal.spool.folder import is_at, unlink

MAGIC = int.from_bytes(b"SUMOSPL1", "little")
HEADER_BYTES = 16_384
"""Four pages. The envelope needs room for 30 fields of 455 characters, Sumo's limits for X-Sumo-Fields."""
SEGMENT_BYTES = 999_424
"""244 pages, so that a full segment is one request: Sumo takes up to 1 MB of uncompressed lines in one."""
LINE_MAX_BYTES = SEGMENT_BYTES - HEADER_BYTES

COMMITTED, SEALED, ACKNOWLEDGED, SENT = 1, 2, 3, 4
ENVELOPE_OFFSET = 64
PARTIALS_OFFSET, PARTIALS_BYTES = 4_096, 12_288
"""Of text without a line end, in the header."""

INFO, WARNING = 20, 30
"""As in ``logging``: lines from WARNING on may use the last tenth of the spool."""


class SegmentDamagedError(Exception):
    """A segment's header is not one that this version writes. Set the file aside; do not guess."""


class Segment:
    """One mapped file of the spool, as writer and drainer both see it.

    The map has a descriptor of its own, which goes with it: who drops a segment leaves nothing open.
    """

    __slots__ = ("path", "writer", "map", "cursors", "envelope", "free_offset", "_inode")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.writer = os.path.basename(path).partition(".")[0]
        self._inode = os.fstat(descriptor).st_ino
        self.map = mmap(descriptor, SEGMENT_BYTES)
        self.cursors = memoryview(self.map)[:ENVELOPE_OFFSET].cast("Q")
        size = int.from_bytes(self.map[ENVELOPE_OFFSET : ENVELOPE_OFFSET + 4], "little")
        self.free_offset = min(ENVELOPE_OFFSET + 4 + size, HEADER_BYTES)
        """From here on the header is free for text without a line end."""
        self.envelope = self.map[ENVELOPE_OFFSET + 4 : self.free_offset]

    @classmethod
    def create(cls, path: str, envelope: bytes, *, is_filled: bool = False) -> Segment:
        """Make a new, empty segment; its name appears when it is complete.

        Args:
            path: Its path.
            envelope: Its request headers, as a JSON object.
            is_filled: Write all of it once. That takes 0.2 ms, and of each line to come a tenth of its cost: the first
                store into a page whose block is only reserved takes 2 µs.

        Raises:
            OSError: There is no room, or the folder is gone. Refuse the line, count it, try again later.
        """
        unfinished = f"{path}.new"
        # Not O_EXCL: a time limit that raises in the middle of this leaves the file, and the next line comes by again.
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SEGMENT_BYTES)
            header = bytearray(ENVELOPE_OFFSET)
            cursors = memoryview(header).cast("Q")
            cursors[0], cursors[COMMITTED], cursors[ACKNOWLEDGED] = MAGIC, HEADER_BYTES, HEADER_BYTES
            os.pwrite(descriptor, bytes(header) + len(envelope).to_bytes(4, "little") + envelope, 0)
            if is_filled:
                os.pwritev(descriptor, [bytes((SEGMENT_BYTES - HEADER_BYTES) // 16)] * 16, HEADER_BYTES)
            segment = cls(path, descriptor)
            os.rename(unfinished, path)
        except BaseException:
            unlink(unfinished)
            raise
        finally:
            os.close(descriptor)
        return segment

    @classmethod
    def open(cls, path: str) -> Segment:
        """Map a segment that another process wrote.

        Raises:
            SegmentDamagedError: It is not one of ours, or not of this version. Set it aside.
            OSError: It is gone, or a symbolic link.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size != SEGMENT_BYTES:
                raise SegmentDamagedError(f"{path}: not a file of ours of {SEGMENT_BYTES} bytes")
            segment = cls(path, descriptor)
            cursors = segment.cursors
            if cursors[0] != MAGIC:
                raise SegmentDamagedError(f"{path}: unknown format")
            if not HEADER_BYTES <= cursors[ACKNOWLEDGED] <= cursors[COMMITTED] <= SEGMENT_BYTES:
                raise SegmentDamagedError(
                    f"{path}: acknowledged {cursors[ACKNOWLEDGED]}, committed {cursors[COMMITTED]}"
                )
            if not _is_envelope(segment.envelope):
                raise SegmentDamagedError(f"{path}: its request headers cannot be read")
        finally:
            os.close(descriptor)
        return segment

    @property
    def committed_offset(self) -> int:
        """Lines are whole and final up to here."""
        return self.cursors[COMMITTED]

    @committed_offset.setter
    def committed_offset(self, offset: int) -> None:
        self.cursors[COMMITTED] = offset

    @property
    def acknowledged_offset(self) -> int:
        """Lines up to here are somebody else's."""
        return self.cursors[ACKNOWLEDGED]

    @property
    def pending_bytes(self) -> int:
        """Bytes committed and not acknowledged."""
        return self.cursors[COMMITTED] - self.cursors[ACKNOWLEDGED]

    @property
    def is_sealed(self) -> bool:
        return self.cursors[SEALED] == 1

    @property
    def is_unlinked(self) -> bool:
        """Has somebody (a function that empties /tmp, or the drainer) removed the file under us?"""
        return not is_at(self.path, self._inode)

    def take(self, limit_bytes: int, *, end: int | None = None, is_verified: bool = False) -> Slice | None:
        """Take the oldest lines that are not acknowledged: at least one, else as many as fit the limit.

        Args:
            limit_bytes: Size up to which whole lines are taken; a first line longer than that is taken alone.
            end: An earlier committed offset, beyond which nothing is taken.
            is_verified: Take only whole lines whose bytes are all visible; for a living writer elsewhere.
        """
        begin = self.cursors[ACKNOWLEDGED]
        end = self.cursors[COMMITTED] if end is None else end
        if end - begin > limit_bytes:
            fitting = self.map.rfind(b"\n", begin, begin + limit_bytes)
            end = (fitting if fitting >= 0 else self.map.find(b"\n", begin, end)) + 1
        if is_verified:
            end = begin + _verified_bytes(self.map[begin:end])
        return Slice(self, begin, end) if end > begin else None

    def last_line(self) -> bytes:
        """The line committed last; empty where there is none. Acknowledged lines stay where they are."""
        end = max(HEADER_BYTES, self.cursors[COMMITTED] - 1)
        return self.map[max(HEADER_BYTES, self.map.rfind(b"\n", HEADER_BYTES, end) + 1) : end]

    def close(self) -> None:
        """Give the mapping back at once; slices of it must be gone."""
        self.cursors.release()
        try:
            self.map.close()
        except BufferError:
            pass  # a thread of the writer's was stopped in the middle of a text without a line end: it goes with that


class Slice:
    """Whole lines of one segment, from the acknowledged offset on."""

    __slots__ = ("segment", "begin", "end")

    def __init__(self, segment: Segment, begin: int, end: int) -> None:
        self.segment = segment
        self.begin = begin
        self.end = end

    @property
    def size_bytes(self) -> int:
        return self.end - self.begin

    @property
    def is_single(self) -> bool:
        """Is this one line only?"""
        return self.segment.map.find(b"\n", self.begin, self.end) == self.end - 1

    def count(self) -> int:
        """How many lines these are; reads them all."""
        return self.segment.map[self.begin : self.end].count(b"\n")

    def data(self) -> memoryview:
        """The lines themselves, in the map: release it before the segment is closed."""
        return memoryview(self.segment.map)[self.begin : self.end]

    def mark_sent(self) -> tuple[int, int, int]:
        """They go out now. Returns the sent offset as it was, and lines and bytes of these that lie below it."""
        before = self.segment.cursors[SENT]
        self.segment.cursors[SENT] = max(before, self.end)
        again = self.segment.map[self.begin : min(before, self.end)]
        return before, again.count(b"\n"), len(again)

    def unmark_sent(self, before: int) -> None:
        """They have not been taken, that is certain: the sent offset is what it was before."""
        self.segment.cursors[SENT] = before

    def acknowledge(self) -> None:
        """These lines are somebody else's now (or dropped, and counted): they are not taken again."""
        self.segment.cursors[ACKNOWLEDGED] = self.end


def _is_envelope(text: bytes) -> bool:
    """Are these request headers, each one line of Latin-1 text?"""
    try:
        pairs = [text for pair in json.loads(text).items() for text in pair]
        return "".join(pairs).encode("latin-1").translate(None, b"\r\n\0") == "".join(pairs).encode("latin-1")
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def _verified_bytes(lines: bytes) -> int:
    """Size of the leading part that consists of whole lines of which every byte is visible.

    A byte that is not visible yet is zero, and no JSON text has a zero byte. To parse the lines would tell no more, and
    end with an exception where one is nested deeply.
    """
    hidden = lines.find(b"\0")
    return lines.rfind(b"\n", 0, len(lines) if hidden < 0 else hidden) + 1
