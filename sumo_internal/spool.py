"""The spool: finished lines in memory-mapped files, which survive the process that wrote them.

What is appended here is in pages of the kernel's when :meth:`Spool.append` returns: a process that is killed at any
later instant, by anything, leaves it behind. What the kernel itself loses (the whole environment) is lost.

Layout
======

A folder (default ``/tmp/sumo-internal``, mode 0700, ours) holds for every writing process, called a writer::

    <environment>-p<pid>.lock              held (POSIX record lock) as long as the writer lives
    <environment>-p<pid>.<number>.spool    its segments, numbered from 000001, filled one after the other
    <environment>-p<pid>.<number>.held     segments that are none of the spool's unless the writer dies (holding.py)

and one ``drain.lock``, held by whoever is draining. A segment is 999,424 bytes and never grows:

=======  =====  ======================  =======  ==================================================================
offset   size   field                   owner    meaning
=======  =====  ======================  =======  ==================================================================
0        8      magic                   writer   ``SUMOSPL1``, the format's version in its last letter
8        8      committed offset        writer   lines are whole and final up to here (an offset in this file)
16       8      sealed                  writer   1 when nothing more will be appended to this segment
24       8      acknowledged offset     drainer  lines up to here have been delivered, or dropped and counted
32       8      sent offset             drainer  lines up to here may have been delivered; 0 before any was sent
64       4      envelope size           writer   written once, before the file has its name
68       *      envelope                writer   JSON object: the request headers that these lines travel under
16,384   *      lines                   writer   records, each one line of JSON with its newline
=======  =====  ======================  =======  ==================================================================

Integers are unsigned, in the machine's byte order: a spool never leaves the machine.

**A line is committed if and only if** its last byte lies below the committed offset.

Order of writes
===============

1. The lock file is locked under a temporary name and then renamed; a segment likewise is created under a temporary
   name, its blocks reserved (``posix_fallocate``: a full disk is an ``OSError`` here and not a SIGBUS later), its
   header written, and only then renamed. Who sees a name sees a complete header and a lock that is held.
2. A line is copied behind the committed offset; then the offset is moved by one aligned 8-byte store (through a
   ``memoryview`` of kind ``Q``: ``struct.pack_into`` writes zeros first, and readers see them).
3. When a line does not fit, the next segment is created and only then this one sealed.

Invariants
==========

1. Each field has one owner, and an owner is one thread at a time: the writer under its own lock, the drainer under
   ``drain.lock``.
2. ``header <= acknowledged <= committed <= size``; none of the two offsets ever decreases. The sent offset goes back
   when the answer is that nothing was taken; who sends a line below it again counts it as sent again.
3. Bytes below the committed offset never change.
4. A segment is removed by the drainer, when it is acknowledged to its end and is sealed or its writer is dead.
5. A writer never removes anything, and never waits for anything but its own lock.
6. What a writer had not finished making when it died (``*.new``, counts without a lock) is removed by the drainer once
   it is :data:`sumo_internal.shelf.LEFTOVER_AGE_S` old: by then nobody can still be making it.

Who may trust the committed offset
==================================

- The process itself: the interpreter lock is handed over between copying a line and reading the offset.
- Another process, once the writer is dead (its lock is free): the kernel has seen all its stores.
- Another process while the writer lives (the sidecar drains what the extension writes, the extension what a forked
  child writes): on x86-64 stores become visible in program order; on arm64 (Graviton) they need not, so it takes what
  it can verify (:meth:`Segment.take` with ``is_verified``): whole lines that are JSON objects. That is enough, without
  a lock around each append: a byte that is not visible yet is zero, because each segment is a new file, and there is
  no zero byte in a JSON text. What does not parse yet is taken next time.

When the function empties the folder
====================================

A map works on without its file. What a process has mapped is drained by its own drainer, a living child's segment by
the drainer that has it mapped; the next segment makes the folder, the lock and the counts again. Lost, and counted
nowhere, is what lies in a removed segment when the last process that has it mapped dies.

What this does not promise, besides: a line in whose :meth:`Spool.append` its writer is killed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from _thread import RLock
from collections import deque
from mmap import mmap
from weakref import WeakSet

from sumo_internal import guard
from sumo_internal.files import FolderRefused, LockFile, is_at, open_folder, unlink
from sumo_internal.tally import DISK_FULL, LOSSES, SPOOL_FULL, TOO_LONG, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAGIC = int.from_bytes(b"SUMOSPL1", "little")
HEADER_BYTES = 16_384
"""Four pages. The envelope needs room for 30 fields of 455 characters, Sumo's limits for X-Sumo-Fields."""
SEGMENT_BYTES = 999_424
"""244 pages, so that a full segment is one request: Sumo takes up to 1 MB of uncompressed lines in one."""
LINE_MAX_BYTES = SEGMENT_BYTES - HEADER_BYTES

_COMMITTED, _SEALED, _ACKNOWLEDGED, _SENT = 1, 2, 3, 4
_ENVELOPE_OFFSET = 64
_ENDINGS = tuple(f'{number:02d}"}}\n' for number in range(100))
"""Ends of lines, with the last two digits of their ids."""
SEGMENTS_MIN = 3
"""One that is full, one that is being filled, one in reserve: with fewer, full once would be full for ever."""

INFO, WARNING = 20, 30
"""As in ``logging``: lines from WARNING on may use the last tenth of the spool."""
_ROLL_ATTEMPTS_MAX = 5
"""For a new segment while somebody keeps emptying the folder; making one takes less than a millisecond."""
_RETRY_AFTER_S = 0.1
"""After the disk refused a segment, appending does not ask again for this long: asking costs two system calls."""


class SegmentDamaged(Exception):
    """A segment's header is not one that this version writes. Set the file aside; do not guess."""


class Segment:
    """One mapped file of the spool, as writer and drainer both see it.

    The map has a descriptor of its own, which goes with it: who drops a segment leaves nothing open.
    """

    __slots__ = ("path", "writer", "map", "cursors", "envelope", "_inode")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.writer = os.path.basename(path).partition(".")[0]
        self._inode = os.fstat(descriptor).st_ino
        self.map = mmap(descriptor, SEGMENT_BYTES)
        self.cursors = memoryview(self.map)[:_ENVELOPE_OFFSET].cast("Q")
        size = int.from_bytes(self.map[_ENVELOPE_OFFSET : _ENVELOPE_OFFSET + 4], "little")
        self.envelope = self.map[_ENVELOPE_OFFSET + 4 : min(_ENVELOPE_OFFSET + 4 + size, HEADER_BYTES)]

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
            header = bytearray(_ENVELOPE_OFFSET)
            cursors = memoryview(header).cast("Q")
            cursors[0], cursors[_COMMITTED], cursors[_ACKNOWLEDGED] = MAGIC, HEADER_BYTES, HEADER_BYTES
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
            SegmentDamaged: It is not one of ours, or not of this version. Set it aside.
            OSError: It is gone, or a symbolic link.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size != SEGMENT_BYTES:
                raise SegmentDamaged(f"{path}: not a file of ours of {SEGMENT_BYTES} bytes")
            segment = cls(path, descriptor)
            cursors = segment.cursors
            if cursors[0] != MAGIC:
                raise SegmentDamaged(f"{path}: unknown format")
            if not HEADER_BYTES <= cursors[_ACKNOWLEDGED] <= cursors[_COMMITTED] <= SEGMENT_BYTES:
                raise SegmentDamaged(f"{path}: acknowledged {cursors[_ACKNOWLEDGED]}, committed {cursors[_COMMITTED]}")
            if not _is_envelope(segment.envelope):
                raise SegmentDamaged(f"{path}: its request headers cannot be read")
        finally:
            os.close(descriptor)
        return segment

    @property
    def committed_offset(self) -> int:
        """Lines are whole and final up to here."""
        return self.cursors[_COMMITTED]

    @committed_offset.setter
    def committed_offset(self, offset: int) -> None:
        self.cursors[_COMMITTED] = offset

    @property
    def acknowledged_offset(self) -> int:
        """Lines up to here are somebody else's."""
        return self.cursors[_ACKNOWLEDGED]

    @property
    def pending_bytes(self) -> int:
        """Bytes committed and not acknowledged."""
        return self.cursors[_COMMITTED] - self.cursors[_ACKNOWLEDGED]

    @property
    def is_sealed(self) -> bool:
        return self.cursors[_SEALED] == 1

    @property
    def is_unlinked(self) -> bool:
        """Has somebody (a function that empties /tmp, or the drainer) removed the file under us?"""
        return not is_at(self.path, self._inode)

    def take(self, limit_bytes: int, *, end: int | None = None, is_verified: bool = False) -> Slice | None:
        """Take the oldest lines that are not acknowledged: at least one, else as many as fit the limit.

        Args:
            limit_bytes: Size up to which whole lines are taken; a first line longer than that is taken alone.
            end: An earlier committed offset, beyond which nothing is taken.
            is_verified: Take only up to the first line that is not a JSON object; for a living writer elsewhere.
        """
        begin = self.cursors[_ACKNOWLEDGED]
        end = self.cursors[_COMMITTED] if end is None else end
        if end - begin > limit_bytes:
            fitting = self.map.rfind(b"\n", begin, begin + limit_bytes)
            end = (fitting if fitting >= 0 else self.map.find(b"\n", begin, end)) + 1
        if is_verified:
            end = begin + _verified_bytes(self.map[begin:end])
        return Slice(self, begin, end) if end > begin else None

    def last_line(self) -> bytes:
        """The line committed last; empty where there is none. Acknowledged lines stay where they are."""
        end = max(HEADER_BYTES, self.cursors[_COMMITTED] - 1)
        return self.map[max(HEADER_BYTES, self.map.rfind(b"\n", HEADER_BYTES, end) + 1) : end]

    def close(self) -> None:
        """Give the mapping back at once; slices of it must be gone."""
        self.cursors.release()
        self.map.close()


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
        before = self.segment.cursors[_SENT]
        self.segment.cursors[_SENT] = max(before, self.end)
        again = self.segment.map[self.begin : min(before, self.end)]
        return before, again.count(b"\n"), len(again)

    def unmark_sent(self, before: int) -> None:
        """They have not been taken, that is certain: the sent offset is what it was before."""
        self.segment.cursors[_SENT] = before

    def acknowledge(self) -> None:
        """These lines are somebody else's now (or dropped, and counted): they are not taken again."""
        self.segment.cursors[_ACKNOWLEDGED] = self.end


class Spool:
    """This process's own writer: numbers lines and appends them, whoever calls, whenever."""

    def __init__(self, folder: str, envelope: dict[str, str], max_bytes: int, *, has_ids: bool = True) -> None:
        """Make the folder, the lock and the first segment.

        Args:
            folder: Path of the spool's folder; made if it is not there.
            envelope: Request headers under which this writer's lines travel.
            max_bytes: Bound on what all segments of the folder may take together.
            has_ids: Number the lines; else they are committed as they come (SUMO_ENHANCE_JSON_LOGS).

        Raises:
            FolderRefused: The folder is not ours alone. Do without a spool.
        """
        self.folder = folder
        self.segments: deque[Segment] = deque()
        """This writer's segments that are not delivered yet, oldest first; the last is the one being filled."""
        self.on_backlog: Callable[[], None] | None = None
        """Called, under the writer's lock, when :attr:`wake_offset` is passed, or the spool's last segment begun. Must
        not block."""
        self.on_fork: Callable[[], None] | None = None
        """Called in a forked child."""
        self._wake_offset = SEGMENT_BYTES
        self._has_ids = has_ids
        self._endings = _ENDINGS if has_ids else ("}\n",) * len(_ENDINGS)
        self._max_segments = max(SEGMENTS_MIN, max_bytes // SEGMENT_BYTES)
        self.held_segments_max = max(1, self._max_segments // 4)
        """Bound on what is held back, besides."""
        self._reserved_segments = -(-self._max_segments // 10)
        self._envelope = json.dumps(envelope, ensure_ascii=False).encode()
        if _ENVELOPE_OFFSET + 4 + len(self._envelope) > HEADER_BYTES:
            raise FolderRefused(f"the request headers need {len(self._envelope)} bytes; there is room for 16,000")
        open_folder(folder)
        self._begin_life()
        _spools.add(self)

    def _begin_life(self, *, is_child: bool = False) -> None:
        """Become a new writer: at the start, and in a forked child, whose lines are its own.

        The parent's map is inherited by a child but not the right to write to it (invariant 1); its lock is not
        inherited at all. The child's first segment is made when it first has a line.
        """
        self.segments.clear()
        self._is_child = is_child
        self.writer = f"{os.urandom(6).hex()}-p{os.getpid()}"
        self._lock: Any = RLock()  # with ``_is_owned``, which its type does not show
        self._is_appending = False
        self._nested: deque[tuple[str, int]] = deque()
        self._hundreds = -1
        self._number = self._next_hundred()
        self._segment_number = 0
        self._life: LockFile | None = None
        self._retry_at_s = 0.0
        self._refusal = SPOOL_FULL
        self._is_reserve_left = True
        self.tally = Tally(self.folder, self.writer)
        self._have_no_segment()

    def _have_no_segment(self) -> None:
        """Go on to a new segment with the next line."""
        self._end_offset = 0
        """Where the current segment ends for lines of every level: 0 where there is none, or a reserved one."""
        self._limit_offset = 0
        self._offset = 0
        """The committed offset."""
        self._clear_offset = 0
        """A line that ends before it need only be copied."""
        self._map: mmap | None = None
        self._cursors = memoryview(bytearray(_ENVELOPE_OFFSET)).cast("Q")

    def append(self, start: str, level: int = INFO) -> None:
        """Commit one line: ``start``, then the line's ``id``, then the brace and the newline.

        Never waits but for another thread that is in here too, never raises, and may be called at any instant: by a
        signal handler or a finaliser in the middle of another append of the same thread, for which the outer call
        then commits this line as well.

        Args:
            start: A JSON object's text up to and without its closing brace, not empty. Lone surrogates are written as
                JSON's own escapes (``backslashreplace`` and JSON agree on the form ``\\udc80``).
            level: As in ``logging``. From WARNING on a line may use the room that is reserved for such.
        """
        # Every line passes here, so this is one piece, and the lock is taken and given back by hand, in a third of the
        # time that a ``with`` takes. A signal handler may raise anywhere: then it is given back by whoever has it.
        lock = self._lock
        if self._is_appending and lock._is_owned():
            self._nested.append((start, level))
            return
        try:
            lock.acquire()
            self._is_appending = True
            while True:
                # The number is used up before anything can go wrong: a gap is harmless, the same number twice is not.
                self._number = number = self._number + 1 if self._number < 99 else self._next_hundred()
                line = f"{start}{self._id}{self._endings[number]}".encode("utf-8", "backslashreplace")
                begin = self._offset
                if begin + len(line) >= self._clear_offset:
                    begin = self._make_way(len(line), level)
                if begin:
                    end = begin + len(line)
                    self._map[begin:end] = line  # type: ignore[index]  # there is room, so there is a map
                    self._offset = end
                    self._cursors[_COMMITTED] = end
                if not self._nested:
                    break
                start, level = self._nested.popleft()
            self._is_appending = False
            lock.release()
        except BaseException:
            if lock._is_owned():
                self._is_appending = False
                lock.release()
            raise

    def _make_way(self, size_bytes: int, level: int) -> int:
        """Do what a line may need besides being copied; return where it begins, 0 where there is no room for it."""
        if self._offset + size_bytes > self._end_offset and not self._make_room(size_bytes, level):
            return 0
        if self._offset + size_bytes >= self._wake_offset and self.on_backlog is not None:
            self.on_backlog()  # before the line is committed: at the end of the stack it raises
        wake_offset, end_offset = self._wake_offset, self._end_offset
        self._clear_offset = wake_offset if wake_offset < end_offset else end_offset
        return self._offset

    @property
    def wake_offset(self) -> int:
        """Committed offset from which on :attr:`on_backlog` is called; it may lie in the next segment."""
        return self._wake_offset

    @wake_offset.setter
    def wake_offset(self, offset: int) -> None:
        self._wake_offset = offset
        self._clear_offset = 0

    def _next_hundred(self) -> int:
        """Go on with the ids, whose text is made a hundred at a time; return the first number's last two digits."""
        self._hundreds += 1
        self._id = f',"id":"{self.writer}-{self._hundreds:08d}' if self._has_ids else ""
        return 0

    def _make_room(self, size_bytes: int, level: int) -> bool:
        """Find room for a line where there seems to be none, or refuse it. Returns whether there is room now."""
        if size_bytes > LINE_MAX_BYTES:
            return self._refuse(TOO_LONG, size_bytes)
        is_urgent = level >= WARNING
        if is_urgent and self._offset + size_bytes <= self._limit_offset:
            return True  # a reserved segment, which is shut to lesser lines
        now_s = time.monotonic()
        if now_s < self._retry_at_s and not (is_urgent and self._is_reserve_left):
            return self._refuse(self._refusal, size_bytes)
        for _ in range(_ROLL_ATTEMPTS_MAX):
            try:
                return self._roll(is_urgent) or self._refuse(SPOOL_FULL, size_bytes)
            except FileNotFoundError:
                continue  # the function is just emptying /tmp
            except (OSError, FolderRefused):
                break
        self._retry_at_s, self._refusal, self._is_reserve_left = now_s + _RETRY_AFTER_S, DISK_FULL, False
        return self._refuse(DISK_FULL, size_bytes)

    def _roll(self, is_urgent: bool) -> bool:
        """Go on to a new segment, within the bound. Returns whether there is one.

        Raises:
            FileNotFoundError: What was just made has been removed again.
            OSError: The disk has no room.
            FolderRefused: The folder is not ours any more.
        """
        # Segments whose files were removed under us still take their room; those of the drainer's removing are gone
        # from the list before their files are.
        unlinked = [segment for segment in list(self.segments) if segment.is_unlinked]
        taken = len(list_segments(self.folder)) + sum(segment in self.segments for segment in unlinked)
        is_reserved = taken >= self._max_segments - self._reserved_segments
        if taken >= self._max_segments or (is_reserved and not is_urgent):
            self._retry_at_s, self._refusal = time.monotonic() + _RETRY_AFTER_S, SPOOL_FULL
            self._is_reserve_left = taken < self._max_segments
            return False
        self._segment_number = number = self._segment_number + 1
        # Most environments never fill their first one, whose making is part of their start.
        segment = self.make_segment(f"{number:06d}.spool", is_filled=number > 1)
        # A signal handler may raise between any two of these: until the last there is no room, and one more is made.
        self._clear_offset = self._end_offset = self._limit_offset = 0
        self.segments.append(segment)
        previous, self._cursors, self._map = self._cursors, segment.cursors, segment.map
        if self._offset:  # what is unsent may begin in the segment before
            self._wake_offset -= self._offset - HEADER_BYTES
        self._offset = HEADER_BYTES
        self._limit_offset = SEGMENT_BYTES
        self._end_offset = 0 if is_reserved else SEGMENT_BYTES
        previous[_SEALED] = 1
        is_last = taken + 1 >= self._max_segments - self._reserved_segments
        if number > 1 and is_last and self.on_backlog is not None:
            self.on_backlog()  # however little is unsent: what keeps the segments before is to go
        return True

    def make_segment(self, name: str, *, is_filled: bool) -> Segment:
        """Make a segment of this writer's, and what belongs to one: the folder, the lock, the counts.

        Raises:
            FileNotFoundError: What was just made has been removed again.
            OSError: The disk has no room.
            FolderRefused: The folder is not ours any more.
        """
        with self._lock:
            open_folder(self.folder)
            if self._life is None or self._life.is_unlinked:
                self._life = _locked(f"{self.folder}/{self.writer}.lock")
            self.tally.keep()
            return Segment.create(f"{self.folder}/{self.writer}.{name}", self._envelope, is_filled=is_filled)

    def adopt(self, segment: Segment) -> None:
        """Make a segment part of the spool, before all others; nothing is appended to it any more."""
        with self._lock:
            segment.cursors[_SEALED] = 1
            try:
                os.rename(segment.path, f"{segment.path}.spool")
                segment.path += ".spool"
            except OSError:
                pass  # somebody has removed the file: what is mapped is still there for this process's drainer
            self.segments.appendleft(segment)

    def count(self, reason: str, lines: int, size_bytes: int) -> None:
        """Count lines that do not get here."""
        with self._lock:
            self.tally.add(reason, lines, size_bytes)

    def _refuse(self, reason: str, size_bytes: int) -> bool:
        """Count a line for which there is no room."""
        self.tally.add(reason, 1, size_bytes)
        if self._is_child and not self.tally.is_kept:  # and it has no drainer to say so before it ends
            guard.say_once("error", f"lines of a forked child are lost: {LOSSES[reason]}, nor can they be counted")
        return False

    def mend(self) -> None:
        """Go on with new files where ours were removed under us, and have room for counts before there are any.

        What the current segment holds stays in :attr:`segments`, mapped, for this process's own drainer.

        Raises:
            FolderRefused: Somebody else has made the folder meanwhile.
            FileNotFoundError: Somebody is just removing it.
        """
        with self._lock:
            is_removed = self._map is not None and self.segments[-1].is_unlinked
            if is_removed:
                cursors = self._cursors
                # First: as soon as it is sealed the drainer, another thread, may close it.
                self._have_no_segment()
                cursors[_SEALED] = 1
            if is_removed or not self.tally.is_kept:
                open_folder(self.folder)
                self.tally.keep()

    @property
    def pending_bytes(self) -> int:
        """Bytes of this writer that are committed and not acknowledged."""
        pending = 0
        for segment in list(self.segments):
            try:
                pending += segment.pending_bytes
            except ValueError:
                pass  # closed by the drainer meanwhile: nothing of it is left
        return pending


_spools: WeakSet[Spool] = WeakSet()


def _after_fork() -> None:
    for spool in list(_spools):
        spool._begin_life(is_child=True)
        if spool.on_fork is not None:
            spool.on_fork()


# One for all: what is registered here stays for ever.
os.register_at_fork(after_in_child=_after_fork)


def list_segments(folder: str, kinds: tuple[str, ...] = (".spool",)) -> list[str]:
    """Paths of all segments in the folder, every writer's in its own order; empty when the folder is gone."""
    try:
        return sorted(f"{folder}/{name}" for name in os.listdir(folder) if name.endswith(kinds))
    except OSError:
        return []


def has_others(own: Spool) -> bool:
    """Has another writer (the extension, a forked child, a process that has died) lines that are not acknowledged?"""
    others = [path for path in list_segments(own.folder) if not os.path.basename(path).startswith(f"{own.writer}.")]
    return any(_is_pending(path) for path in others)


def _is_pending(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # removed meanwhile: somebody has delivered it
    try:
        cursors = memoryview(os.pread(descriptor, _ENVELOPE_OFFSET, 0).ljust(_ENVELOPE_OFFSET, b"\0")).cast("Q")
    finally:
        os.close(descriptor)
    return cursors[_COMMITTED] > cursors[_ACKNOWLEDGED]


def _locked(path: str) -> LockFile:
    """A new file that carries this process's lock; it has its name only once it is locked."""
    file = LockFile(f"{path}.new")
    file.acquire()
    file.rename(path)
    return file


def _is_envelope(text: bytes) -> bool:
    """Are these request headers, each one line of Latin-1 text?"""
    try:
        pairs = [text for pair in json.loads(text).items() for text in pair]
        return "".join(pairs).encode("latin-1").translate(None, b"\r\n\0") == "".join(pairs).encode("latin-1")
    except (ValueError, TypeError, AttributeError):
        return False


def _verified_bytes(lines: bytes) -> int:
    """Size of the leading part that consists of whole lines, each a JSON object."""
    verified = 0
    for line in lines.splitlines(keepends=True):
        try:
            if not line.endswith(b"\n") or not isinstance(json.loads(line), dict):
                break
        except ValueError:
            break
        verified += len(line)
    return verified
