"""One segment of the spool: a mapped file of finished lines, as writer and drainer both see it, and slices of it.

The format, what survives what, and which process may trust which field, are described in :mod:`sumo_internal.spool`.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import sys
from mmap import MADV_REMOVE, mmap

from sumo_internal.spool.folder import (
    BESIDE,
    FolderRefusedError,
    Map,
    is_at,
    name_of,
    open_file,
    open_folder,
    place_of,
    unlink,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC = int.from_bytes(b"SUMOSPL2", "little")
HEADER_BYTES = 16_384
"""Four pages. The envelope needs room for 30 fields of 455 characters, Sumo's limits for X-Sumo-Fields."""
SEGMENT_BYTES = 999_424
"""244 pages, so that a full segment is one request: Sumo takes up to 1 MB of uncompressed lines in one."""
SEGMENTS_PER_SIZE = 16
"""Undelivered segments of a writer for which one is as large as the first; each further so many, and each is twice as
large. So one is about a sixteenth of what waits before it, and takes no more of a map's cost than that: before Python
3.13 each map has a descriptor, of which there are 1,024, and a backlog of a gigabyte would have a thousand."""
SEGMENT_MAX_BYTES = SEGMENT_BYTES << 6
"""What a segment may have in the end, 64 MB: 10 GB, the largest spool, are 240 of them."""
CHILD_SEGMENT_BYTES = 65_536
"""The first of a forked child, which mostly has a few lines; each further one is twice as large."""
LINE_MAX_BYTES = SEGMENT_BYTES - HEADER_BYTES

COMMITTED, SEALED, ACKNOWLEDGED, SENT, SIZE, PROCESS, WRITTEN = 1, 2, 3, 4, 5, 6, 7
ENVELOPE_OFFSET = 64
PARTIALS_OFFSET, PARTIALS_BYTES = 4_096, 12_288
"""Where the header holds text without a line end."""

MEMORY = ".memory"
"""End of the name of a segment that has no file."""

INFO, WARNING, ERROR = 20, 30, 40
"""As in ``logging``: lines from WARNING on may use the last tenth of the spool."""


NO_ROOM = (12, 28, 122)
"""ENOMEM, ENOSPC, EDQUOT: the same numbers wherever Lambda runs. The module that has them is not there at the start."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""Seals of a segment in memory: if another process could cut it, our next access would kill us."""


MAPPED_MAX = 64
"""Segments of others that a drainer has mapped at a time, those of many writers: before Python 3.13 each takes a
descriptor, of which there are 1,024."""


def _map(descriptor: int, size_bytes: int, *, is_lendable: bool = False) -> mmap:
    """Map a file. An open descriptor is the price of :func:`nameless`; before Python 3.13 every map pays it."""
    if sys.version_info >= (3, 13) and descriptor >= 0 and not is_lendable:
        return mmap(descriptor, size_bytes, trackfd=False)
    return Map(descriptor, size_bytes)


class SegmentDamagedError(Exception):
    """A segment's header is not one that this version writes. Set the file aside; do not guess."""


class Segment:
    """One mapped file of the spool, as writer and drainer both see it.

    Where the map has a descriptor of its own, that is closed with it: dropping a segment leaves nothing open.
    """

    __slots__ = (
        "path",
        "_writer",
        "map",
        "cursors",
        "envelope",
        "free_offset",
        "size_bytes",
        "is_in_memory",
        "is_kept",
        "is_lent",
        "unprotected_offset",
        "place",
    )

    def __init__(
        self, path: str, descriptor: int, size_bytes: int, *, is_in_memory: bool = False, is_lendable: bool = False
    ) -> None:
        self.path = path
        self._writer = name_of(path).partition(".")[0]
        self.size_bytes = size_bytes
        self.is_in_memory = is_in_memory
        """The segment never had a file; the path is only a name."""
        self.is_kept = True
        """The segment survives this process: its file does, or the extension has it."""
        self.is_lent = False
        """The extension has it although it had a file."""
        self.unprotected_offset = HEADER_BYTES
        """Lines up to here are counted as unprotected, if the segment is not kept."""
        self.place = place_of(descriptor)
        """Device and inode, by which :func:`nameless` finds its descriptor."""
        self.map = _map(descriptor, size_bytes, is_lendable=is_lendable)
        self.cursors = memoryview(self.map)[:ENVELOPE_OFFSET].cast("Q")
        size = int.from_bytes(self.map[ENVELOPE_OFFSET : ENVELOPE_OFFSET + 4], "little")
        self.free_offset = min(ENVELOPE_OFFSET + 4 + size, HEADER_BYTES)
        """From here on the header is free for text without a line end."""
        self.envelope = self.map[ENVELOPE_OFFSET + 4 : self.free_offset]

    @classmethod
    def create(
        cls,
        path: str,
        envelope: bytes,
        *,
        size_bytes: int = 0,
        is_filled: bool = False,
        is_lendable: bool = False,
        entrust: Callable[[str, int], bool] | None = None,
    ) -> Segment:
        """Make a new, empty segment; its name appears when it is complete.

        Args:
            path: Its path.
            envelope: Its request headers, as a JSON object.
            size_bytes: Its size; :data:`SEGMENT_BYTES` where it is 0.
            is_filled: Write all of it once. That takes 0.2 ms, and saves each line to come a tenth of its cost: the
                first store into a page whose block is only reserved takes 2 µs.
            is_lendable: Keep a descriptor, for :func:`nameless`.
            entrust: Gives a descriptor of it to a process that keeps it, see :meth:`create_in_memory`; None for none.

        Raises:
            OSError: There is no room, or the folder is gone. Refuse the line, count it, try again later.
        """
        size_bytes = size_bytes or SEGMENT_BYTES
        unfinished = f"{path}.new"
        # Not O_EXCL: a time limit that raises in the middle of this leaves the file, and the next line makes it again.
        descriptor = open_file(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            os.pwrite(descriptor, _header(envelope, size_bytes), 0)
            if is_filled:
                os.pwritev(descriptor, [bytes((size_bytes - HEADER_BYTES) // 16)] * 16, HEADER_BYTES)
            segment = cls(path, descriptor, size_bytes, is_lendable=is_lendable)
            os.rename(unfinished, path)
            segment.is_lent = entrust is not None and entrust(path, descriptor)
        except BaseException:
            unlink(unfinished)
            raise
        finally:
            os.close(descriptor)
        return segment

    @classmethod
    def create_in_memory(
        cls, path: str, envelope: bytes, entrust: Callable[[str, int], bool], *, size_bytes: int = SEGMENT_BYTES
    ) -> Segment:
        """Make a new, empty segment without a file.

        Args:
            path: Its name.
            envelope: Its request headers, as a JSON object.
            entrust: Gives a descriptor of it to a process that keeps it; False where there is none.
            size_bytes: Its size.

        Raises:
            OSError: There is no memory.
        """
        try:
            return cls._create_memfd(path, envelope, entrust, size_bytes)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
        # No descriptor is left: a map that has none is this process's alone, and its forked children's.
        segment = cls(path, -1, size_bytes, is_in_memory=True)
        segment._begin(envelope)
        segment.is_kept = False
        return segment

    @classmethod
    def _create_memfd(cls, path: str, envelope: bytes, entrust: Callable[[str, int], bool], size_bytes: int) -> Segment:
        descriptor = os.memfd_create(name_of(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            os.pwrite(descriptor, _header(envelope, size_bytes), 0)
            segment = cls(path, descriptor, size_bytes, is_in_memory=True)
            if not entrust(path, descriptor):
                segment.close()
                segment = cls(path, descriptor, size_bytes, is_in_memory=True, is_lendable=True)
                segment.is_kept = False
        finally:
            os.close(descriptor)
        return segment

    def _begin(self, envelope: bytes) -> None:
        """Write the header of a segment that has no descriptor."""
        header = _header(envelope, self.size_bytes)
        self.map[: len(header)] = header
        self.envelope = envelope

    @classmethod
    def open(
        cls, path: str, *, is_lendable: bool = False, entrust: Callable[[str, int], bool] | None = None
    ) -> Segment:
        """Map a segment that another process wrote.

        Args:
            path: Its path.
            is_lendable: Keep a descriptor, for :func:`nameless`.
            entrust: As :meth:`create` has it.

        Raises:
            SegmentDamagedError: It is not one of ours, or not of this version. Set it aside.
            OSError: It is gone, or a symbolic link.
        """
        descriptor = open_file(path, os.O_RDWR)
        try:
            segment = cls.mapped(path, descriptor, is_lendable=is_lendable)
            segment.is_lent = entrust is not None and entrust(path, descriptor)
            return segment
        finally:
            os.close(descriptor)

    @classmethod
    def mapped(cls, path: str, descriptor: int, *, is_in_memory: bool = False, is_lendable: bool = False) -> Segment:
        """Map what another process wrote; the descriptor stays the caller's.

        Raises:
            SegmentDamagedError: It is not one of ours, or not of this version.
            OSError: It cannot be mapped.
        """
        status = os.fstat(descriptor)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not is_ours or not HEADER_BYTES <= status.st_size <= SEGMENT_MAX_BYTES:
            raise SegmentDamagedError(f"{path}: not a file of ours of at most {SEGMENT_MAX_BYTES} bytes")
        segment = cls(path, descriptor, status.st_size, is_in_memory=is_in_memory, is_lendable=is_lendable)
        cursors = segment.cursors
        if cursors[0] != MAGIC:
            raise SegmentDamagedError(f"{path}: unknown format")
        if cursors[SIZE] != segment.size_bytes:
            raise SegmentDamagedError(f"{path}: {segment.size_bytes} bytes of {cursors[SIZE]}")
        if not HEADER_BYTES <= cursors[ACKNOWLEDGED] <= cursors[COMMITTED] <= segment.size_bytes:
            raise SegmentDamagedError(f"{path}: acknowledged {cursors[ACKNOWLEDGED]}, committed {cursors[COMMITTED]}")
        if not _is_envelope(segment.envelope):
            raise SegmentDamagedError(f"{path}: its request headers cannot be read")
        return segment

    @property
    def writer(self) -> str:
        """The name of the writer. A forked child whose first segment its parent has made says its number in there."""
        try:
            process = self.cursors[PROCESS]
        except ValueError:  # closed by another thread's reader
            process = 0
        return f"{self._writer.removesuffix('-p0')}-p{process}" if process else self._writer

    @property
    def committed_offset(self) -> int:
        """Lines are whole and final up to here."""
        return self.cursors[COMMITTED]

    @committed_offset.setter
    def committed_offset(self, offset: int) -> None:
        self.cursors[COMMITTED] = offset

    @property
    def acknowledged_offset(self) -> int:
        """Lines up to here have been delivered, or dropped and counted."""
        return self.cursors[ACKNOWLEDGED]

    @property
    def pending_bytes(self) -> int:
        """Bytes committed and not acknowledged."""
        return self.cursors[COMMITTED] - self.cursors[ACKNOWLEDGED]

    @property
    def is_sealed(self) -> bool:
        return self.cursors[SEALED] == 1

    @property
    def is_beside(self) -> bool:
        """Are its lines not the spool's unless the writer dies or gives them to the spool, which seals the segment?"""
        return self.path.endswith(BESIDE)

    @property
    def is_below_level(self) -> bool:
        """Are its lines below the function's own level? CloudWatch would not have them without us either."""
        return ".debug" in self.path.rpartition("/")[2]

    @property
    def is_unlinked(self) -> bool:
        """Has a function that empties /tmp, or the drainer, removed the file under us?"""
        if self.is_in_memory or is_at(self.path, self.place[1]):
            return False
        return not self.is_beside or not is_at(f"{self.path}.spool", self.place[1])  # its writer has given it away

    @property
    def is_alone(self) -> bool:
        """Would no process find it if those that have it mapped were killed?"""
        if self.map.closed:
            return False  # it is delivered
        return not self.is_kept if self.is_in_memory else not self.is_lent and self.is_unlinked

    def take(self, limit_bytes: int, *, end: int | None = None, is_verified: bool = False) -> Slice | None:
        """Take the oldest lines that are not acknowledged: at least one, else as many as fit the limit.

        Args:
            limit_bytes: Size up to which whole lines are taken; a first line longer than that is taken alone.
            end: An earlier committed offset, beyond which nothing is taken.
            is_verified: Take only whole lines whose bytes are all visible; for a segment of another process that lives.
        """
        begin = self.cursors[ACKNOWLEDGED]
        end = self.cursors[COMMITTED] if end is None else end
        end = self._lines_end(begin, limit_bytes, end)
        if is_verified:
            end = begin + _verified_bytes(self.map[begin:end])
        return Slice(self, begin, end) if end > begin else None

    def _lines_end(self, begin: int, limit_bytes: int, end: int) -> int:
        """Where the whole lines end that fit a limit, or the first line if that does not."""
        if end - begin <= limit_bytes:
            return end
        fitting = self.map.rfind(b"\n", begin, begin + limit_bytes)
        return (fitting if fitting >= 0 else self.map.find(b"\n", begin, end)) + 1

    def take_unprotected(self) -> tuple[int, int]:
        """Lines and bytes that have come since this was asked last."""
        piece = Slice(self, self.unprotected_offset, self.cursors[COMMITTED])
        self.unprotected_offset = piece.end
        return piece.count(), piece.size_bytes

    def last_line(self) -> bytes:
        """The line committed last; empty where there is none. Acknowledged lines stay where they are."""
        end = max(HEADER_BYTES, self.cursors[COMMITTED] - 1)
        return self.map[max(HEADER_BYTES, self.map.rfind(b"\n", HEADER_BYTES, end) + 1) : end]

    def remove(self) -> None:
        """Give all of it back, with the mapping; slices of it must be gone."""
        is_unlinked = self.is_unlinked
        # A process that keeps a descriptor of this segment looks at the segment when it gets the next one.
        self.cursors[SEALED] = 1
        if self.is_in_memory or self.is_lent or is_unlinked:
            try:
                self.map.madvise(MADV_REMOVE, HEADER_BYTES, self.size_bytes - HEADER_BYTES)
            except OSError:
                pass  # a file system without holes
        if not self.is_in_memory and not is_unlinked:
            unlink(self.path)
        self.close()

    def abandon(self) -> None:
        """Give all of it back although nothing of it was delivered: its lines are not wanted."""
        self.committed_offset = self.acknowledged_offset
        self.remove()

    def save(self, folder: str) -> tuple[int, int]:
        """Make a file of what has none, when no process writes to it any more and none drains it.

        Returns:
            Lines and bytes that are pending and for which there is no room.
        """
        _, number, _ = self.path.rsplit("/", 1)[1].split(".", 2)
        piece = Slice(self, self.acknowledged_offset, self.committed_offset)
        try:
            open_folder(folder)
            kind = "debug.spool" if self.is_below_level else "spool"
            copy = Segment.create(
                f"{folder}/{self.writer}.{number}.{kind}", bytes(self.envelope), size_bytes=self.size_bytes
            )
        except (OSError, FolderRefusedError):
            return piece.count(), piece.size_bytes
        copy.map[ENVELOPE_OFFSET : piece.end] = self.map[ENVELOPE_OFFSET : piece.end]
        for field in (ACKNOWLEDGED, SENT, WRITTEN, SEALED, COMMITTED):
            copy.cursors[field] = self.cursors[field]
        copy.close()
        self.cursors[ACKNOWLEDGED] = piece.end
        return 0, 0

    def close(self) -> None:
        """Give the mapping back at once; slices of it must be gone."""
        self.cursors.release()
        try:
            self.map.close()
        except BufferError:
            pass  # a thread was stopped in the middle of keeping text without a line end: the map goes with that


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
        begins = range(self.begin, self.end, SEGMENT_BYTES)
        return sum(self.segment.map[begin : min(begin + SEGMENT_BYTES, self.end)].count(b"\n") for begin in begins)

    def pieces(self) -> Iterator[Slice]:
        """The same lines in slices of a megabyte at most."""
        begin = self.begin
        while begin < self.end:
            end = self.segment._lines_end(begin, SEGMENT_BYTES, self.end)
            yield Slice(self.segment, begin, end)
            begin = end

    def data(self) -> memoryview:
        """The lines themselves, in the map: release it before the segment is closed."""
        return memoryview(self.segment.map)[self.begin : self.end]

    def mark_sent(self) -> tuple[int, int, int]:
        """The lines go out now. Returns the old sent offset, and how many lines and bytes of these lie below it."""
        before = self.segment.cursors[SENT]
        self.segment.cursors[SENT] = max(before, self.end)
        again = self.segment.map[self.begin : min(before, self.end)]
        return before, again.count(b"\n"), len(again)

    def unmark_sent(self, before: int) -> None:
        """The lines have certainly not been taken: the sent offset goes back to what it was before."""
        self.segment.cursors[SENT] = before

    def acknowledge(self) -> None:
        """These lines are delivered now (or dropped, and counted): they are not taken again."""
        cursors = self.segment.cursors
        cursors[ACKNOWLEDGED] = max(cursors[ACKNOWLEDGED], self.end)  # another thread may have taken over from this one


def nameless() -> dict[tuple[int, int], int]:
    """By device and inode: descriptors of this process's, of memory and of removed files, those of maps among them."""
    found = {}
    try:
        for name in os.listdir("/proc/self/fd"):
            try:
                status = os.stat(f"/proc/self/fd/{name}")
            except OSError:
                continue
            if status.st_nlink == 0:
                found[status.st_dev, status.st_ino] = int(name)
    except OSError:
        pass
    return found


def _header(envelope: bytes, size_bytes: int) -> bytes:
    """What stands at the beginning of an empty segment."""
    header = bytearray(ENVELOPE_OFFSET)
    cursors = memoryview(header).cast("Q")
    cursors[0], cursors[COMMITTED], cursors[ACKNOWLEDGED] = MAGIC, HEADER_BYTES, HEADER_BYTES
    cursors[SIZE] = size_bytes
    return bytes(header) + len(envelope).to_bytes(4, "little") + envelope


def _is_envelope(text: bytes) -> bool:
    """Are these request headers, each one line of Latin-1 text?"""
    try:
        pairs = [text for pair in json.loads(text).items() for text in pair]
        return "".join(pairs).encode("latin-1").translate(None, b"\r\n\0") == "".join(pairs).encode("latin-1")
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def _verified_bytes(lines: bytes) -> int:
    """Size of the leading part that consists of whole lines of which every byte is visible.

    A byte that is not visible yet is zero, and no JSON text has a zero byte. Parsing the lines would tell no more, and
    would raise where a line is nested deeply.
    """
    hidden = lines.find(b"\0")
    return lines.rfind(b"\n", 0, len(lines) if hidden < 0 else hidden) + 1
