"""The writer: numbers lines and appends them to this process's own segments, for any thread at any instant.

The format of what it writes is described in :mod:`sumo_internal.spool`; the files are :mod:`.segment`'s.
"""

from __future__ import annotations

import json
import os
import time
from _thread import get_ident
from _weakref import ref
from collections import deque
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from sumo_internal import diagnostics
from sumo_internal.spool.counters import (
    BLOCKED,
    DISK_FULL,
    LOSSES,
    NO_FILE,
    SPOOL_FULL,
    TOO_LONG,
    UNPROTECTED,
    Counters,
)
from sumo_internal.spool.envelope import DESTINATION, is_addressed
from sumo_internal.spool.folder import (
    FolderRefusedError,
    LockFile,
    SpareDescriptors,
    close_locks,
    has_process,
    list_segments,
    name_of,
    open_file,
    open_folder,
    start_of,
)
from sumo_internal.spool.handoff import entrust
from sumo_internal.spool.partials import Partials
from sumo_internal.spool.segment import (
    ACKNOWLEDGED,
    CHILD_SEGMENT_BYTES,
    COMMITTED,
    ENVELOPE_OFFSET,
    HEADER_BYTES,
    INFO,
    LINE_MAX_BYTES,
    MEMORY,
    NO_ROOM,
    PROCESS,
    SEALED,
    SEGMENT_BYTES,
    SEGMENT_MAX_BYTES,
    SEGMENTS_PER_SIZE,
    WARNING,
    Segment,
    nameless,
)
from sumo_internal.spool.turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.spool.others import SharedCounts

    Prepared = tuple[Segment | None, str, memoryview | None]
    """What a parent has made for a child: the first segment, half of its name, and a place for counts."""

_ENDINGS = tuple(f'{tens}{ones}"}}\n' for tens in "0123456789" for ones in "0123456789")
"""Ends of lines, with the last two digits of their ids."""
SEGMENTS_MIN = 3
"""One that is full, one that is being filled, one in reserve: with fewer, a spool once full would stay full for
ever."""

_MADV_WIPEONFORK = 18
"""The kernel's number; Python has no name for it."""
_ROLL_ATTEMPTS_MAX = 5
"""Attempts at a new segment while the function keeps emptying the folder; making one takes less than a millisecond."""
_STOP_ATTEMPTS_MAX = 100
"""Attempts at the turn before a snapshot and behind it; each takes :data:`sumo_internal.spool.turn.WAIT_S` at most."""
_TICK_NS = 20_000_000
"""A folder that was changed so short a time ago may be changed again without its time showing it."""
_RETRY_AFTER_S = 0.1
"""After the disk refused a segment, appending does not ask again for this long: asking costs two system calls."""
LENDABLE_MAX = 16
"""Segments of a process of which the extension can be given a descriptor, should their files be removed. Each takes
one, of 1,024, and a function that is so many megabytes behind has seldom emptied /tmp as well."""
FORKS_PER_WAKE = 64
"""Forks after which the parent's drainer looks for what the children have left: a first segment each is 4 MB."""
WORKERS_MAX = 256
"""Workers of a managed instance whose segments, a megabyte each, take none of the spool's room. Lambda has 16 for each
virtual CPU."""
CHILDREN_ROOM_BYTES = 8_000_000
"""With less room than this in /tmp a forked child gets its first segment from its parent, in memory: this is the room
for the files of a hundred children that were forked before one of them wrote anything."""
LEFT_MAX_LINES = 1_000
LEFT_MAX_BYTES = 1_000_000
"""Bounds on lines that are left with the thread whose turn it is; the oldest beyond are counted. A collection of
garbage in the middle of a line finds 700 objects (from Python 3.13 on 2,000) whose finalisers may all write."""
_UNCOUNTED_MAX = 100
"""Bound on counts that are left likewise; beyond it, the counts of one reason are put together."""


class Spool:
    """This process's own writer."""

    def __init__(
        self,
        folder: str,
        envelope: dict[str, str],
        max_bytes: int,
        *,
        memory_max_bytes: int = 0,
        keeper: str = "",
        is_shared: bool = True,
        has_ids: bool = True,
        is_child: bool = False,
        has_workers: bool = False,
        identity: str = "",
    ) -> None:
        """Make the folder; the lock and the first segment come with the first line.

        Args:
            folder: Path of the spool's folder; made if it is not there.
            envelope: Request headers under which this writer's lines travel, and where to.
            max_bytes: Bound on what all segments of the folder may take together.
            memory_max_bytes: Bound on what this process's segments take in memory where they can have no files.
            keeper: Where descriptors of segments are sent to; see :mod:`sumo_internal.extension.keeper`.
            is_shared: Of each segment, when it is made; else of those that have no file.
            has_ids: Number the lines; else they are committed as they come (SUMO_ENHANCE_JSON_LOGS).
            is_child: Another process ships, and counts what becomes of the lines.
            has_workers: Many processes write for as long as the environment lives (Managed Instances).
            identity: How its lines' ids begin; drawn where it is empty.

        Raises:
            FolderRefusedError: The folder is not ours alone, and nothing may wait in memory. Do without a spool.
        """
        self.folder = folder
        self.segments: deque[Segment] = deque()
        """This writer's segments that are not delivered yet, oldest first; the last is the one being filled."""
        self.on_backlog: Callable[[], None] | None = None
        """Called, in the writer's turn, when :attr:`wake_offset` is passed, or the spool's last segment begun. Must
        not block."""
        self.on_fork: Callable[[], None] | None = None
        """Called in a forked child."""
        self.others: list[Segment] = []
        """Segments of other processes that are held here, so that they outlive their files. What is in memory is in
        this list until it is delivered; the list is only ever replaced, or appended to."""
        self._shared_counts: SharedCounts | None = None
        """Counts of forked children that could make no file for them."""
        self._prepared: dict[int, Prepared] = {}
        """By thread: what the fork that it is in the middle of needs."""
        self._held_at = (0, -1)
        self.is_drained_here = False
        """A reader of this process removes what is delivered; else another process does, and has only the file."""
        self._is_shared = is_shared and keeper != ""
        """The extension gets a descriptor of each segment, the children's too: a line survives its process although the
        function has emptied the folder."""
        self._is_original = _original_page()
        """Its first byte is 0 in a copy of this process that Python knows nothing of (a ``fork`` by ``ctypes``)."""
        self._wake_offset = SEGMENT_BYTES
        self._has_ids = has_ids
        self._endings = _ENDINGS if has_ids else ("}\n",) * len(_ENDINGS)
        max_segments = max(SEGMENTS_MIN, max_bytes // SEGMENT_BYTES)
        self._max_bytes = max_segments * SEGMENT_BYTES
        self._others_max_bytes = self._max_bytes // 4 if not has_workers else WORKERS_MAX * SEGMENT_BYTES
        """Bound on segments that other writers are filling, which are on top of the others."""
        self.held_segments_max = max(1, max_segments // 4)
        """Bound on held segments, on top of the others."""
        self._reserved_bytes = -(-max_segments // 10) * SEGMENT_BYTES
        self._memory_max_bytes = memory_max_bytes
        self._keeper = keeper
        self.destination = envelope.get(DESTINATION, "")
        self._envelope = _packed(envelope)
        self._spares = SpareDescriptors()
        self._problem = f"no file can be made in {folder}"
        self._is_folder_refused = False
        try:
            open_folder(folder)
        except FolderRefusedError as error:
            if memory_max_bytes < SEGMENT_BYTES:
                raise
            self._problem = str(error)
            self._is_folder_refused = True
        self.partials = Partials(self._prepare)
        """Text without a line end."""
        self._forget()
        self._begin_life(is_child=is_child, prepared=(None, identity, None) if identity else None)
        if self._is_shared:
            self._spares.take()  # before the function can use up all others
        _spools.add(ref(self, _spools.discard))

    def _begin_life(self, *, is_child: bool = False, prepared: Prepared | None = None) -> None:
        """Become a new writer: at the start, and in a forked child, whose lines are its own.

        A child inherits the parent's map but not the right to write to it (invariant 1), and does not inherit the lock
        file at all. The child's first segment is made when the child first has a line, or was made by its parent.
        """
        segment, identity, spare = prepared or (None, os.urandom(6).hex(), None)
        if not self._is_unused:
            self._forget()
        self.writers: tuple[str, ...] = ()
        """Every name that the writer of :attr:`segments` has had."""
        self._is_child = is_child
        self.forks = 0  # children of its own, of which it has none yet
        if self.is_drained_here:
            self.is_drained_here = False
        self._pid = os.getpid()
        self._is_original[0] = 1
        self._take_name(identity, spare)
        if segment is not None:
            segment.cursors[PROCESS] = os.getpid()
            self._segment_number = 1
            self._go_on(segment, is_reserved=False)

    @property
    def _is_unused(self) -> bool:
        """Has nothing been written, and is no call under way? Then a child has nothing to forget of its parent's.

        Each attribute that a child sets, and each object that it lets go of, is a page of its own: a worker of a
        managed instance, whose parent writes nothing, is to share these with the others.
        """
        waiting = self.segments or self.others or self._shared_counts or self._left or self._uncounted or self._prepared
        return self._map is None and not waiting and self._turn.is_free and self.partials.is_unused

    def _forget(self) -> None:
        """Have nothing, as at the start; what was there is the parent's."""
        self.segments.clear()
        self.others, self._shared_counts = [], None
        self._prepared.clear()
        self._turn = Turn()
        self._owner = self._turn.owner
        self._stopped: int | None = None
        """What gives the turn back that :meth:`stop` has taken."""
        self._left: deque[tuple[str, int]] = deque()
        """Lines that were appended out of turn. The first may be on its way into the spool; then it belongs to the
        thread that has the turn."""
        self._uncounted: deque[tuple[str, int, int]] = deque()
        self.partials.forget()
        self._have_no_segment()

    def _take_name(self, identity: str, spare: memoryview | None = None) -> None:
        """Take a writer's name, under which there are no lines, no counts and no lock yet."""
        self.writer = f"{identity}-p{os.getpid()}"
        self.writers = (*self.writers, self.writer)
        self._hundreds = -1
        self._number = self._next_hundred()
        self._segment_number = 0
        self._life: LockFile | None = None
        self._retry_at_s = 0.0
        self._refusal = SPOOL_FULL
        self._is_reserve_left = True
        self.counters = self.make_counters(self.writer, spare)

    def make_counters(self, name: str, spare: memoryview | None = None) -> Counters:
        """Counters of this process's, which the extension keeps if it keeps the segments."""
        entrust = self._entrust if self._is_shared else None
        return Counters(self.folder, name, spare, destination=self.destination, entrust=entrust)

    def stop(self) -> None:
        """Give no line an id until :meth:`go_on`: lines wait in memory, within the bounds of those left out of turn.

        A snapshot of the process is about to be taken. Two copies of it must not give two lines the same id, and the
        threads of a copy run as soon as it is restored. What waits by now is the snapshot's: one line in all copies.
        """
        for _ in range(_STOP_ATTEMPTS_MAX):
            if self._stopped is None:
                self._stopped = self._turn.keep()
        if self._stopped is not None:
            self._take_in()

    def go_on(self, envelope: dict[str, str] | None = None) -> None:
        """Give lines ids again, in a copy under a new name: those of the old name are the same in all copies.

        What is left under the old name stays this process's own, to be drained where it is mapped.

        Args:
            envelope: As for a new spool; None where this is no copy.
        """
        stopped, self._stopped = self._stopped, None
        try:
            if envelope is not None and stopped is not None:
                self._become_another(envelope)
            elif envelope is not None:
                any(self._turn.run(self._become_another, envelope) for _ in range(_STOP_ATTEMPTS_MAX))
        finally:
            if stopped is not None:
                self._turn.give_back(stopped)
        self._settle_quietly()

    def _become_another(self, envelope: dict[str, str]) -> None:
        life, counts, cursors = self._life, self.counters, self._cursors if self._map is not None else None
        self._take_name(os.urandom(6).hex())
        self._envelope = _packed(envelope)
        self._have_no_segment()  # what has no line end goes along
        if cursors is not None:
            cursors[SEALED] = 1
        if life is not None:
            life.close()
        if not counts.is_seen:
            for reason, (lines, size_bytes) in counts.counts().items():
                self.counters.add(reason, lines, size_bytes)

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
        self.partials.detach()
        self._cursors = memoryview(bytearray(ENVELOPE_OFFSET)).cast("Q")

    def append(self, start: str, level: int = INFO) -> int:
        """Commit one line: ``start``, then the line's ``id``, then the brace and the newline.

        Never raises, and may be called at any instant: by a signal handler or a finaliser in the middle of another
        append of the same thread, or while another thread is stopped in the middle of one. Then the line is left with
        the thread whose turn it is.

        Args:
            start: A JSON object's text up to and without its closing brace, not empty. Lone surrogates are written as
                JSON's own escapes (``backslashreplace`` and JSON agree on the form ``\\udc80``).
            level: As in ``logging``. From WARNING on a line may use the room that is reserved for such.

        Returns:
            Where the line ends; 0 where it is not committed, or not yet.
        """
        # Every line passes here, so this is one piece, and the turn is taken and given back by hand.
        owner = self._owner
        token = get_ident()
        try:
            if self._left or owner.setdefault("", token) is not token:
                self._leave(start, level)
                return 0
            # The number is used up before anything can go wrong: a gap is harmless, the same number twice is not.
            self._number = number = self._number + 1 if self._number < 99 else self._next_hundred()
            text = f"{start}{self._id}{self._endings[number]}"
            try:
                line = text.encode()
            except UnicodeEncodeError:
                line = text.encode("utf-8", "backslashreplace")
            size_bytes = len(line)
            end = self._offset + size_bytes
            if end >= self._clear_offset or not self._is_original[0]:
                end = self._make_way(size_bytes, level, start)
            if end:
                self._map[end - size_bytes : end] = line  # type: ignore[index]  # there is room, so there is a map
                self._offset = end
                self._cursors[COMMITTED] = end
            del owner[""]
        except BaseException:
            if owner.get("") is token:
                del owner[""]
            raise
        if self._left:
            self._settle_quietly()
        return end

    def _leave(self, start: str, level: int) -> None:
        """Leave a line with the thread whose turn it is; in our own turn, commit it behind the lines that were left."""
        self._left.append((start, level))
        try:
            if len(self._left) > LEFT_MAX_LINES or sum(len(each) for each, _ in list(self._left)) > LEFT_MAX_BYTES:
                size_bytes = len(self._left[1][0])
                del self._left[1]  # the first may be just on its way
                self._count_later(BLOCKED, 1, size_bytes)
        except IndexError:
            pass  # the thread that has the turn has just taken all of it
        self._settle_quietly()

    def _settle_quietly(self) -> None:
        try:
            self.settle()
        except RecursionError:
            pass  # at the end of the function's stack: what is left is there for the next line

    def settle(self) -> None:
        """Commit, and count, what was left; at once if it is our turn, else by the thread that has the turn."""
        while self._left or self._uncounted:
            if not self._turn.run(self._take_in):
                return

    def _take_in(self) -> None:
        while self._left:
            self._commit(*self._left[0])
        for _ in range(len(self._uncounted)):
            self.counters.add(*self._uncounted.popleft())

    def _commit(self, start: str, level: int) -> None:
        """Commit the first line of those that were left; see :meth:`append`."""
        line = self.numbered(start)
        left = self._left
        if end := self._make_way(len(line), level, start):
            self._map[end - len(line) : end] = line  # type: ignore[index]  # there is room, so there is a map
            self._offset = end
            self._cursors[COMMITTED] = end
        left.popleft()

    def _make_way(self, size_bytes: int, level: int, start: str) -> int:
        """Do what a line may need besides being copied; return where it ends, 0 where there is no room for it."""
        if os.getpid() != self._pid:
            _after_unknown_fork()
            self.append(start, level)  # under an id of our own
            return 0
        if self._offset + size_bytes > self._end_offset and not self._make_room(size_bytes, level):
            return 0
        if self._offset + size_bytes >= self._wake_offset and self.on_backlog is not None:
            self.on_backlog()  # before the line is committed: at the end of the stack it raises
        wake_offset, end_offset = self._wake_offset, self._end_offset
        self._clear_offset = wake_offset if wake_offset < end_offset else end_offset
        return self._offset + size_bytes

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
        with self._spares:
            reason = self._roll_somewhere(is_urgent, size_bytes)
        if not reason:
            return True
        if reason is not SPOOL_FULL:
            self._retry_at_s, self._refusal, self._is_reserve_left = now_s + _RETRY_AFTER_S, reason, False
        return self._refuse(reason, size_bytes)

    def _roll_somewhere(self, is_urgent: bool, size_bytes: int) -> str:
        """Go on to a new segment with room for a line, in a file or in memory; return why there is none."""
        reason = NO_FILE
        for _ in range(_ROLL_ATTEMPTS_MAX):
            try:
                return "" if self._roll(is_urgent, size_bytes) else SPOOL_FULL
            except FileNotFoundError:
                continue  # the function is just emptying /tmp
            except FolderRefusedError:
                break
            except OSError as error:
                reason = DISK_FULL if error.errno in NO_ROOM else NO_FILE
                break
        return "" if self._roll_in_memory(size_bytes) else reason

    def _roll_in_memory(self, size_bytes: int) -> bool:
        """Go on to a new segment without a file, within the bound. Returns whether there is one."""
        taken_bytes = sum(segment.size_bytes for segment in list(self.segments) if segment.is_in_memory)
        room_bytes = self._memory_max_bytes - taken_bytes
        new_bytes = _fitting(self._next_size(size_bytes), room_bytes)
        if new_bytes > room_bytes:
            return False
        self._protect()
        self._segment_number = number = self._segment_number + 1
        try:
            path = f"{self.folder}/{self.writer}.{number:06d}{MEMORY}"
            segment = Segment.create_in_memory(path, self._envelope, self._entrust, size_bytes=new_bytes)
        except OSError:
            return False
        if not segment.is_kept and self._is_child:
            return False  # a child has no drainer, and ends without saying that lines are lost
        if segment.is_kept:
            self._say_kept()
        elif not self._keeper:
            self.say_unprotected()
        self._go_on(segment, is_reserved=False)
        if self.on_backlog is not None:
            self.on_backlog()  # however little is unsent: it is in memory
        return True

    def _say_kept(self) -> None:
        diagnostics.say_once("info", f"{self._problem}; lines wait in memory, which the extension keeps open")

    def say_unprotected(self) -> None:
        """Say once that a kill would lose lines: not before an invocation's end, when the extension is up."""
        diagnostics.say_once(
            "warn",
            f"{self._problem}; lines wait in memory, and no extension keeps that open: "
            "each invocation has a post-response time until its lines are shipped",
        )

    def _entrust(self, name: str, descriptor: int) -> bool:
        """Give a descriptor of a segment to the extension; returns whether the extension has it."""
        try:
            return entrust(self._keeper, name, descriptor)
        except Exception as error:  # an audit hook of the function's may raise what it likes
            diagnostics.pass_on(error)
            return False

    def _next_size(self, size_bytes: int) -> int:
        """The size of the next segment, which is to have room for a line of this size, where there is room for it."""
        doublings = len(self.segments) // SEGMENTS_PER_SIZE
        if doublings:
            return min(SEGMENT_BYTES << doublings, SEGMENT_MAX_BYTES)
        if not self._is_child:
            return SEGMENT_BYTES
        needed_bytes = -(-(HEADER_BYTES + size_bytes) // HEADER_BYTES) * HEADER_BYTES
        return min(SEGMENT_BYTES, max(CHILD_SEGMENT_BYTES, 2 * self._limit_offset, needed_bytes))

    def _roll(self, is_urgent: bool, size_bytes: int) -> bool:
        """Go on to a new segment with room for a line, within the bound. Returns whether there is one.

        Raises:
            FileNotFoundError: What was just made has been removed again.
            OSError: The disk has no room.
            FolderRefusedError: The folder is not ours any more.
        """
        self._let_go_of_delivered()
        number = self._segment_number + 1
        # A child's first segment is on top of the bound, within a bound of its own: hundreds of children may have one
        # each.
        taken_bytes, others_bytes = (0, 0) if number == 1 and self._has_few_files() else self._taken_bytes()
        taken_bytes += max(0, others_bytes - self._others_max_bytes)
        room_bytes = self._max_bytes - self._reserved_bytes - taken_bytes
        new_bytes = _fitting(self._next_size(size_bytes), room_bytes)
        is_extra = number == 1 and others_bytes + new_bytes <= self._others_max_bytes
        is_reserved = not is_extra and taken_bytes + new_bytes > self._max_bytes - self._reserved_bytes
        is_full = not is_extra and taken_bytes + new_bytes > self._max_bytes
        if is_full or (is_reserved and not is_urgent):
            self._retry_at_s, self._refusal = time.monotonic() + _RETRY_AFTER_S, SPOOL_FULL
            self._is_reserve_left = not is_full
            return False
        self._segment_number = number
        segment = self._make_file(number, new_bytes)
        self._go_on(segment, is_reserved=is_reserved)
        is_last_segment = taken_bytes + new_bytes + SEGMENT_BYTES > self._max_bytes - self._reserved_bytes
        if number > 1 and is_last_segment and self.on_backlog is not None:
            self.on_backlog()  # however little is unsent: the segments before this one are to be freed
        return True

    def _has_few_files(self) -> bool:
        """Would there be room for a first segment if all files of the folder were others' segments?

        Then none of them need be looked at, which costs a worker 0.1 MB.
        """
        try:
            return (len(os.listdir(self.folder)) + 1) * SEGMENT_BYTES <= self._others_max_bytes
        except OSError:
            return False

    def _make_file(self, number: int, size_bytes: int) -> Segment:
        """Make the segment of this number; a smaller one where the disk has no room for a large one."""
        name = f"{number:06d}.spool"
        # Most environments never fill their first one, whose making is part of their start.
        is_filled = number > 1 and size_bytes <= SEGMENT_BYTES
        try:
            return self.make_segment(name, size_bytes=size_bytes, is_filled=is_filled)
        except OSError as error:
            if error.errno not in NO_ROOM or size_bytes <= SEGMENT_BYTES:
                raise
        return self.make_segment(name, size_bytes=SEGMENT_BYTES, is_filled=True)

    def _let_go_of_delivered(self) -> None:
        """Unmap what another process has delivered and removed: it takes no room any more, nor a descriptor."""
        if self.is_drained_here:
            return
        for segment in list(self.segments):
            is_delivered = segment.is_sealed and not segment.pending_bytes
            if is_delivered and (segment.is_in_memory or segment.is_unlinked):
                self.segments.remove(segment)

    def _taken_bytes(self) -> tuple[int, int]:
        """The bytes of all segments but those that other writers are filling; and the bytes of those.

        Raises:
            OSError: The folder cannot be listed.
        """
        # Segments whose files were removed under us still take their room; segments that the drainer removes leave the
        # list before their files go.
        unlinked = [segment for segment in list(self.segments) if segment.is_unlinked]
        paths = list_segments(self.folder)
        taken_bytes = sum(segment.size_bytes for segment in unlinked if segment in self.segments)
        others_bytes = 0
        for path, following in zip(paths, [*paths, ""][1:], strict=True):
            writer = path.rpartition("/")[2].partition(".")[0]
            try:
                size_bytes = min(os.lstat(path).st_size, SEGMENT_MAX_BYTES)
            except OSError:
                continue  # delivered meanwhile
            if writer in self.writers or f"/{writer}." in following:
                taken_bytes += size_bytes
            else:
                others_bytes += size_bytes
        return taken_bytes, others_bytes

    def _go_on(self, segment: Segment, *, is_reserved: bool) -> None:
        """Fill this segment from now on."""
        # A signal handler may raise between any two of these: until the last there is no room, and the next line makes
        # one segment more.
        self._clear_offset = self._end_offset = self._limit_offset = 0
        self.segments.append(segment)
        previous, self._cursors, self._map = self._cursors, segment.cursors, segment.map
        if self._offset:  # what is unsent may begin in the segment before
            self._wake_offset -= self._offset - HEADER_BYTES
        self._offset = HEADER_BYTES
        self._limit_offset = segment.size_bytes
        self._end_offset = 0 if is_reserved else segment.size_bytes
        self.partials.attach(segment)
        previous[SEALED] = 1

    def _share(self) -> None:
        """Give the extension descriptors of the segments that it could not have when they were made."""
        for segment in list(self.segments) if self._is_shared else ():
            if not segment.is_lent and not segment.is_in_memory:
                try:
                    descriptor = open_file(segment.path, os.O_RDWR)
                except Exception as error:  # an audit hook of the function's may raise what it likes
                    diagnostics.pass_on(error)
                    continue  # or its file is gone: the next look at our files lends the map's own descriptor
                try:
                    segment.is_lent = self._entrust(segment.path, descriptor)
                finally:
                    os.close(descriptor)
                if not segment.is_lent:
                    return  # there is no extension, or it keeps as many as it may

    def _prepare(self) -> None:
        """Have a segment before there is a line, if there is room for one."""
        is_refused = time.monotonic() < self._retry_at_s
        if self._map is None and not is_refused:
            with self._spares:
                is_refused = self.run(self._begin_segment)  # else another call has the turn, and makes one perhaps
        if self._map is None and is_refused and self._is_child:
            # Where a child ends in the middle of the line no process can count it. One that ends the line counts again.
            self.count(self._refusal, 1, 0)

    def _begin_segment(self) -> None:
        try:
            if self._map is None:
                self._roll(is_urgent=False, size_bytes=0)
        except RecursionError:
            raise
        except Exception as error:  # there is no line that would be lost by it
            diagnostics.pass_on(error)
            if not self._roll_in_memory(0):
                reason = DISK_FULL if getattr(error, "errno", None) in NO_ROOM else NO_FILE
                self._retry_at_s, self._refusal = time.monotonic() + _RETRY_AFTER_S, reason

    def make_segment(self, name: str, *, size_bytes: int = 0, is_filled: bool) -> Segment:
        """Make a segment of this writer's, and what belongs to one: the folder, the lock, the counts. In :meth:`run`.

        Raises:
            FileNotFoundError: What was just made has been removed again.
            OSError: The disk has no room.
            FolderRefusedError: The folder is not ours any more.
        """
        open_folder(self.folder)
        if self._life is None or self._life.is_lost:
            self._life = _locked(f"{self.folder}/{self.writer}.lock")
        self.counters.keep()
        path = f"{self.folder}/{self.writer}.{name}"
        return Segment.create(
            path,
            self._envelope,
            size_bytes=size_bytes,
            is_filled=is_filled,
            is_lendable=len(self.segments) < LENDABLE_MAX,
            entrust=self._entrust if self._is_shared else None,
        )

    @property
    def owner(self) -> dict[str, int]:
        """Whose turn it is; see :class:`~sumo_internal.spool.turn.Turn`."""
        return self._owner

    def settle_left(self) -> None:
        """Commit what was left while the caller had the turn."""
        if self._left or self._uncounted:
            self._settle_quietly()

    def numbered(self, start: str) -> bytes:
        """A line with the next id. In :meth:`run`: for lines that lie beside the spool, whose order is to be told."""
        self._number = number = self._number + 1 if self._number < 99 else self._next_hundred()
        return f"{start}{self._id}{self._endings[number]}".encode("utf-8", "backslashreplace")

    def run(self, work: Callable[..., object], *arguments: object) -> bool:
        """Do something that belongs to this writer; False where its turn does not come in a few milliseconds."""
        is_done = self._turn.run(work, *arguments)
        self.settle()
        return is_done

    def adopt(self, segment: Segment) -> None:
        """Make a segment part of the spool, before all others; nothing is appended to it any more."""
        segment.cursors[SEALED] = 1
        try:
            os.rename(segment.path, f"{segment.path}.spool")
            segment.path += ".spool"
        except OSError:
            pass  # the file was removed: what is mapped is still there for this process's drainer
        self.segments.appendleft(segment)

    def count(self, reason: str, lines: int, size_bytes: int) -> None:
        """Count lines that do not reach the spool."""
        self._count_later(reason, lines, size_bytes)
        self._settle_quietly()

    def _count_later(self, reason: str, lines: int, size_bytes: int) -> None:
        self._uncounted.append((reason, lines, size_bytes))
        if len(self._uncounted) > _UNCOUNTED_MAX:
            sums: dict[str, tuple[int, int]] = {}
            for _ in range(_UNCOUNTED_MAX):
                try:
                    reason, lines, size_bytes = self._uncounted.popleft()
                except IndexError:
                    break  # another call has just counted them
                had = sums.get(reason, (0, 0))
                sums[reason] = (had[0] + lines, had[1] + size_bytes)
            self._uncounted.extend((reason, *count) for reason, count in sums.items())

    def _refuse(self, reason: str, size_bytes: int) -> bool:
        """Count a line for which there is no room."""
        self.counters.add(reason, 1, size_bytes)
        if self._is_child and not self.counters.is_seen:  # and the child has no drainer to say so before it ends
            diagnostics.say_once("error", f"lines of a forked child are lost and cannot be counted: {LOSSES[reason]}")
        return False

    def mend(self) -> None:
        """Go on with new files where ours were removed under us, and have room for counts before there are any.

        What the current segment holds stays in :attr:`segments`, mapped, for this process's own drainer. The extension
        gets the segments that no process would find any more; the lines of one that it does not get are unprotected.

        Raises:
            FolderRefusedError: Another user has made the folder meanwhile.
            FileNotFoundError: The function is just removing it.
        """
        self.run(self._mend)

    def check_folder(self) -> None:
        """Notice that the function has emptied /tmp: this process alone finds what it has mapped."""
        try:
            self.mend()
        except OSError:
            pass  # the folder is being emptied at this moment, or the disk is full: the next line makes what it needs
        except FolderRefusedError as error:
            diagnostics.say_once("warn", f"the spool's folder was replaced: {error}; new lines are rejected")

    def hold_left(self) -> None:
        """Hold what processes of an earlier generation have left, before the function may empty the folder."""
        try:
            self.run(self._hold_left)
        except (OSError, FolderRefusedError):
            pass  # what cannot be listed cannot be drained either

    def _hold_left(self) -> None:
        # Not what the extension, which lives, has begun by now: most environments have nothing else.
        if not all(has_process(name_of(path).partition(".")[0]) for path in list_segments(self.folder)):
            self.forks += 1
            self._hold_others(self._entrust if self._is_shared else None)

    def _mend(self) -> None:
        if self._spares.take():
            self._mend_files()
        else:
            with self._spares:
                self._mend_files()

    def _mend_files(self) -> None:
        self._let_go_of_delivered()
        self._hold_others()
        self._protect()
        self._count_unprotected()
        if self._map is not None and self.segments[-1].is_in_memory:
            try:
                self._roll(is_urgent=False, size_bytes=0)
            except (OSError, FolderRefusedError):
                return  # as it was
        self._share()
        is_removed = self._map is not None and self.segments[-1].is_unlinked
        if is_removed:
            cursors = self._cursors
            # First: as soon as it is sealed the drainer, another thread, may close it.
            self._have_no_segment()
            cursors[SEALED] = 1
        if is_removed or not self.counters.is_kept:
            open_folder(self.folder)
            self.counters.keep()

    def protect(self) -> None:
        """Give the extension what it could not have before: it was not up yet, or kept as much as it may."""
        if self._keeper and any(not segment.is_kept for segment in [*self.segments, *self.others]):
            with self._spares:
                self.run(self._protect)
        if self._is_shared and not all(segment.is_lent or segment.is_in_memory for segment in list(self.segments)):
            self.run(self._share)

    def _protect(self) -> None:
        """Give the extension every segment that no process would find if this one were killed."""
        alone = [segment for segment in [*self.segments, *self.others] if segment.is_alone]
        if not alone:
            return
        descriptors, is_taken = nameless() if self._keeper else {}, True  # where one is not taken, nothing more is now
        for segment in alone:
            if segment.place in descriptors:
                is_taken = is_taken and self._entrust(segment.path, descriptors[segment.place])
                segment.is_kept = is_taken
                segment.is_lent = is_taken and not segment.is_in_memory
                if is_taken and segment.is_in_memory:
                    self._say_kept()
            else:
                segment.is_kept = False

    def _count_unprotected(self) -> None:
        """Count what a kill would lose from now on: the count is in a file, and survives it."""
        for segment in [*self.segments, *self.others]:
            try:
                if not segment.is_kept and not segment.map.closed:
                    lines, size_bytes = segment.take_unprotected()
                    if lines:
                        self.counters.add(UNPROTECTED, lines, size_bytes)
                        if not self.counters.is_seen:  # the count would be gone with the lines
                            text = f"{lines} lines ({size_bytes} bytes) are in this process's memory alone"
                            diagnostics.say("warn", f"{text}: a kill before they are shipped loses them")
            except ValueError:
                pass  # the drainer has just closed it

    def _hold_others(self, entrust: Callable[[str, int], bool] | None = None) -> None:
        """Hold what children have left in the folder, which the function may empty before that is delivered.

        Args:
            entrust: As :meth:`Segment.open` has it; None where the extension has got from them what it could.
        """
        if self._shared_counts is not None:
            for reason, (lines, size_bytes) in self._shared_counts.news().items():
                self.counters.add(reason, lines, size_bytes)
        if not self.forks:
            return
        try:
            changed_ns = os.stat(self.folder).st_mtime_ns
            if (self.forks, changed_ns) == self._held_at and time.time_ns() - changed_ns > _TICK_NS:
                return
            paths = list_segments(self.folder)
        except OSError:
            return
        self._held_at = (self.forks, changed_ns)
        from sumo_internal.spool import others  # most functions have no children

        paths = [path for path in paths if name_of(path).partition(".")[0] not in self.writers]
        self.others = others.hold(others.unfinished(self.others), paths, self.destination, entrust)

    def is_short_of_room(self) -> bool:
        """Would a child that is forked now find no room for its files?"""
        if self._is_folder_refused or (self.segments and self.segments[-1].is_in_memory):
            return True
        for path in (self.folder, self.folder.rpartition("/")[0]):
            try:
                status = os.statvfs(path)
            except OSError:
                continue  # the function has removed the folder
            return status.f_bavail * status.f_frsize < CHILDREN_ROOM_BYTES
        return False

    def begin_fork(self) -> None:
        """A child is about to be forked by this thread."""
        if self._prepared:
            self._prepared.pop(get_ident(), None)
        if self.segments or self.others:  # else no function is called: see :data:`_spools`
            self.protect()
        if not self._is_child and self._memory_max_bytes and self.is_short_of_room():
            with self._spares:
                from sumo_internal.spool import others

            if self._shared_counts is None:
                self._shared_counts = others.SharedCounts()
            self.others = others.unfinished(self.others)
            identity = os.urandom(6).hex()
            path = f"{self.folder}/{identity}-p0.000001{MEMORY}"
            with self._spares:
                segment = others.prepare(self.others, path, self._envelope, self._entrust, self._memory_max_bytes)
            self._prepared[get_ident()] = segment, identity, self._shared_counts.next_place()

    def end_fork(self, *, is_child: bool) -> None:
        """The child is there: go on as what we are."""
        prepared = self._prepared.pop(get_ident(), None) if self._prepared else None
        if is_child:
            self._begin_life(is_child=True, prepared=prepared)
        elif prepared is not None and prepared[0] is not None:
            self.others.append(prepared[0])

    @property
    def has_pending_others(self) -> bool:
        """Are there lines in what is held here of other processes?"""
        try:
            return any(segment.pending_bytes for segment in self.others if not segment.map.closed)
        except ValueError:
            return True  # the drainer has just closed one; the next look tells

    @property
    def is_unprotected(self) -> bool:
        """Are lines in the memory of this process alone? A kill would lose them."""
        try:
            held = [*self.segments, *(segment for segment in self.others if not segment.map.closed)]
            return any(not segment.is_kept and segment.pending_bytes for segment in held)
        except ValueError:
            return True  # the drainer has just closed one; the next look tells

    @property
    def appended(self) -> int:
        """How many lines were appended so far, those that were refused among them."""
        return 100 * self._hundreds + self._number

    @property
    def is_protected(self) -> bool:
        """Does the segment that is being filled survive this process?"""
        try:
            return self.segments[-1].is_kept
        except IndexError:
            return False

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


def _fitting(size_bytes: int, room_bytes: int) -> int:
    """The size of a segment that is to be as large as that, or as there is room for; no large one is needed."""
    while size_bytes > max(SEGMENT_BYTES, room_bytes):
        size_bytes //= 2
    return size_bytes


def _packed(envelope: dict[str, str]) -> bytes:
    """A segment's envelope.

    Raises:
        FolderRefusedError: It does not fit into a segment's header.
    """
    packed = json.dumps(envelope, ensure_ascii=False).encode()
    if ENVELOPE_OFFSET + 4 + len(packed) > HEADER_BYTES:
        raise FolderRefusedError(f"the request headers need {len(packed)} bytes; there is room for 16,000")
    return packed


_spools: set[ref[Spool]] = set()
"""All that there are. Not a ``WeakSet``, and no guard below: at a fork, each function that the parent calls costs the
children before pages of memory, which it then has to copy. 16 workers are forked one after the other."""


def _before_fork() -> None:
    for each in [*_spools]:
        try:
            if (spool := each()) is not None:
                spool.begin_fork()
        except Exception as error:
            diagnostics.pass_on(error)
            diagnostics.failed("preparing for a child", error)


def _original_page() -> mmap:
    """Memory that the kernel empties in each forked child, whatever has forked it (Linux 4.14)."""
    page = mmap(-1, 4096, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    try:
        page.madvise(_MADV_WIPEONFORK)
    except OSError:
        pass  # an older kernel: then such a child may not write
    return page


def _after_unknown_fork() -> None:
    """Do what Python does after its own forks, in a copy that it does not know of."""
    close_locks()
    _after_fork()


def _after_fork() -> None:
    for each in [*_spools]:
        if (spool := each()) is not None:
            spool.end_fork(is_child=True)
            if spool.on_fork is not None:
                spool.on_fork()


def _after_fork_in_parent() -> None:
    """Every so many children, wake the drainer: what children leave is not to use up their bound."""
    for each in [*_spools]:
        if (spool := each()) is not None:
            spool.end_fork(is_child=False)
            spool.forks += 1
            if spool.forks % FORKS_PER_WAKE == 0 and spool.on_backlog is not None:
                spool.on_backlog()


# One hook for all spools: what is registered here stays for ever.
os.register_at_fork(before=_before_fork, after_in_child=_after_fork, after_in_parent=_after_fork_in_parent)


def has_others(own: Spool) -> bool:
    """Has another writer (the extension, a forked child, a process that has died) lines that are not acknowledged?"""
    if own.has_pending_others:
        return True
    try:
        paths = list_segments(own.folder)
    except OSError:
        return False  # what cannot be listed cannot be drained either
    others = [path for path in paths if name_of(path).partition(".")[0] not in own.writers]
    return any(_is_pending(path, own.destination) for path in others)


def _is_pending(path: str, destination: str) -> bool:
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except OSError:
        return False  # removed meanwhile: a drainer has delivered it
    try:
        cursors = memoryview(os.pread(descriptor, ENVELOPE_OFFSET, 0).ljust(ENVELOPE_OFFSET, b"\0")).cast("Q")
        if cursors[COMMITTED] <= cursors[ACKNOWLEDGED]:
            return False
        size = int.from_bytes(os.pread(descriptor, 4, ENVELOPE_OFFSET), "little")
        return is_addressed(os.pread(descriptor, min(size, HEADER_BYTES), ENVELOPE_OFFSET + 4), destination)
    finally:
        os.close(descriptor)


def _locked(path: str) -> LockFile:
    """A new file with this process's lock; in it, when the process began. It has its name only once it is locked."""
    file = LockFile(f"{path}.new")
    file.acquire()
    file.write(start_of(os.getpid()))
    file.rename(path)
    return file
