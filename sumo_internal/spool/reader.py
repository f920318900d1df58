"""The reader: a drainer's view of the spool's folder, of all writers' segments, the dead ones' too.

Separate from the spool, which every start of a function loads and which only writes: this is for the shipping thread
and the extension. The file format and its invariants are described in :mod:`sumo_internal.spool`.

It says what may be taken, and removes what is finished. It does not know what is done with the lines.
"""

from __future__ import annotations

import json
import os
import time
from errno import EMFILE, ENFILE

from sumo_internal import diagnostics
from sumo_internal.spool import partials
from sumo_internal.spool.counters import DRAINER, UNPROTECTED, is_empty
from sumo_internal.spool.envelope import SPARED, is_addressed
from sumo_internal.spool.folder import (
    BESIDE,
    FolderRefusedError,
    LockFile,
    has_process,
    list_segments,
    name_of,
    open_folder,
    start_of,
    writer_of,
)
from sumo_internal.spool.segment import (
    HEADER_BYTES,
    MAPPED_MAX,
    WRITTEN,
    Segment,
    SegmentDamagedError,
    Slice,
)
from sumo_internal.spool.writer import has_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from sumo_internal.spool.partials import Partial
    from sumo_internal.spool.writer import Spool

    class Keeper(Protocol):
        """See :class:`sumo_internal.extension.keeper.Keeper`."""

        def segments(self) -> list[Segment]: ...


SETTLED_NS = 20_000_000
"""A folder's time is taken from a clock that ticks every 4 ms (10 on some kernels). A folder that was changed this
short a time ago may be changed again within the same tick, which its time would not show."""
LEFTOVER_AGE_S = 60
"""Making a segment or a lock takes a millisecond; a minute leaves room for an environment frozen in between."""


class SpoolReader:
    """A drainer's view of the folder: which segments there are, whose, and what may be taken from them."""

    def __init__(
        self, folder: str, own: Spool | None = None, destination: str = "", keeper: Keeper | None = None
    ) -> None:
        """Look at a folder.

        Args:
            folder: Path of the spool's folder.
            own: This process's writer, if it has one: its segments are read where they are mapped already, so that
                they outlive their files.
            destination: Where lines are to go, if no own writer says it: what is addressed elsewhere is left alone.
                Empty: whatever is there is taken.
            keeper: Has the segments of other processes that have no files.
        """
        self.folder = folder
        self.own = own
        if own is not None:
            own.is_drained_here = True
        self._keeper = keeper
        self.destination = destination if own is None else own.destination
        """What is addressed elsewhere is left alone; empty: nothing is."""
        self._waiting: list[str] = []
        """Paths of segments that are mapped when there is room for them."""
        self._strange: set[str] = set()
        """Paths of segments that are addressed elsewhere."""
        self._foreign: dict[str, Segment] = {}
        self._alive: dict[str, bool] = {}
        """By the writer of these segments: does it live?"""
        self._names: list[str] = []
        self._files: tuple[list[str], list[tuple[str, str, str]]] = ([], [])
        """A list of names, and of those that are files of the spool's: name, writer, kind."""
        self._has_removed = False
        """A segment was removed in this drain."""
        self._listed_ns = self._looked_ns = self._tidied_ns = -1
        """The folder's own time when it was last listed, and when others' segments and leftovers were last looked for
        in that list; -1: look again."""
        self._lock: LockFile | None = None
        self._is_left = False
        self._marks: dict[str, int] | None = None
        self._skipped: set[str] = set()
        """Paths of segments from which nothing is taken in this drain."""
        self._is_refused = False
        """The folder is not ours alone, or a symbolic link: nothing in it is taken, made or removed."""
        self.damaged: list[tuple[str, int]] = []
        """What was set aside, a sentence and a size in bytes each, to be said, counted and removed by the caller."""
        self.complete: Callable[[Partial], str | None] | None = None
        """Makes a record of what a dead writer had written of a line: the record's text up to the brace, which the
        reader adds with an id. None where such a text is left alone."""

    def acquire(self) -> bool:
        """Become the destination's one drainer; False while another process is. The kernel frees it when one dies."""
        if self._is_left:
            return False
        try:
            if self._lock is None or self._lock.is_lost:
                self._lock, self._is_refused = None, False
                open_folder(self.folder)
                name = f"drain-{self.destination}" if self.destination else "drain"
                self._lock = LockFile(f"{self.folder}/{name}.lock")
        except FolderRefusedError:
            self._is_refused = True  # what is mapped already is drained all the same
        except OSError:
            self._lock = None  # no folder, or no room: draining what there is matters more than being the only drainer
        return self._lock is None or self._lock.acquire()

    def release(self) -> None:
        """Let another process drain."""
        self._marks = None
        self._skipped.clear()
        if self._is_left:
            return
        self._remove_leftovers()
        if self._lock is not None:
            self._lock.release()

    def leave(self) -> None:
        """Take nothing more: another reader of this process takes over. Any thread may call."""
        self._is_left = True
        if self._lock is not None:
            self._lock.close()

    def mark(self) -> None:
        """From here on :meth:`take` gives what there is now, and not what is written meanwhile.

        Else a drain beside a running invocation would go on line by line, and be caught by the freeze every time.
        """
        if self.own is not None:
            self.own.settle()
        self._marks = {segment.path: segment.committed_offset for segment, _ in self._segments()}

    def skip(self, piece: Slice) -> None:
        """Take nothing more from a slice's segment in this drain: something is wrong with it."""
        self._skipped.add(piece.segment.path)

    def take(self, limit_bytes: int, *, is_single: bool = False) -> list[Slice]:
        """Take what one request may carry: the oldest slices that travel under the same headers.

        Args:
            limit_bytes: Size up to which lines are taken; see :meth:`Segment.take` for a longer first line.
            is_single: Take one slice only, so that it is known which one makes trouble.
        """
        slices: list[Slice] = []
        if self._is_left:
            return slices
        left_bytes = limit_bytes
        for segment, is_verified in self._segments():
            if segment.path in self._skipped or (is_single and slices):
                continue
            end = segment.committed_offset if self._marks is None else self._marks.get(segment.path, 0)
            if slices and segment.envelope != slices[0].segment.envelope:
                continue
            taken = segment.take(left_bytes, end=end, is_verified=is_verified)
            if taken is None:
                continue
            if slices and taken.size_bytes > left_bytes:
                break  # the slice is one line, and that is too long
            slices.append(taken)
            left_bytes -= taken.size_bytes
            if taken.end < end:
                break  # a short line of a later segment would fit, and overtake the long one that does not
        return slices

    def has_others(self) -> bool:
        """Has another writer lines here? Any thread may ask: it takes one system call, where no file has come or gone.

        Each further system call beside a handler that logs would cost a hand-over of the interpreter lock, and listing
        a folder takes one for each file.
        """
        assert self.own is not None, "others than whom"
        if self.own.has_pending_others:
            return True
        if self._looked_ns < 0 or self._looked_ns != self._changed_ns():
            return has_others(self.own)
        try:
            return bool(self._waiting) or any(segment.pending_bytes for segment in list(self._foreign.values()))
        except ValueError:
            return True  # the drainer has just closed one; the next look tells

    def left(self) -> tuple[int, int]:
        """Lines and bytes that are not acknowledged, of all writers."""
        lines = size_bytes = 0
        for segment, _ in self._segments():
            piece = Slice(segment, segment.acknowledged_offset, segment.committed_offset)
            lines += piece.count()
            size_bytes += piece.size_bytes
        for path in self._waiting:
            try:
                segment = Segment.open(path)
            except (OSError, SegmentDamagedError):
                continue
            if is_addressed(segment.envelope, self.destination):
                piece = Slice(segment, segment.acknowledged_offset, segment.committed_offset)
                lines += piece.count()
                size_bytes += piece.size_bytes
            segment.close()
        dead = [segment for segment in self._foreign.values() if not self._alive.get(segment.writer, True)]
        # There was no room for these.
        begun = [partial for segment in dead for partial in partials.read(segment) if partial.number]
        return lines + len(begun), size_bytes + sum(len(partial.text) for partial in begun)

    def spared(self) -> Iterator[Slice]:
        """What is not acknowledged, of segments whose lines CloudWatch was spared, and not yet written there."""
        for segment, is_verified in self._segments():
            if not segment.is_below_level and SPARED in json.loads(segment.envelope or b"{}"):
                whole = segment.take(segment.size_bytes, is_verified=is_verified)
                if whole is not None:
                    yield from Slice(segment, max(whole.begin, segment.cursors[WRITTEN]), whole.end).pieces()

    def _segments(self) -> Iterator[tuple[Segment, bool]]:
        """All segments with something to take, and whether it must be verified; finished ones are removed."""
        if self.own is not None:
            yield from self._own_segments(self.own)
        if self._marks is None:  # what has come since the mark is not taken, so it is not looked for
            self._look_for_others()
        else:
            self._map_waiting()
        found = sorted(self._foreign.items())
        while found:
            for path, segment in found:
                if segment.map.closed:  # kept memory has several readers in the extension: one has delivered it
                    self._foreign.pop(path, None)
                    continue
                has_writer = self._alive.get(segment.writer, True)
                is_final = segment.is_sealed or not has_writer  # read before the offsets: it must hold for them
                is_whole = has_writer or self._complete_lines(segment)
                if segment.pending_bytes:
                    yield segment, has_writer
                elif is_final and is_whole:
                    self._count_unprotected(segment)
                    self._foreign.pop(path).remove()
                    self._has_removed = True
            found = self._map_waiting()

    def _complete_lines(self, segment: Segment) -> bool:
        """Make records of what a dead writer had begun; False where there is no room for them.

        The drainer is the segment's only owner now. A drainer that dies in here leaves the text, or the text and its
        record; the record then comes once more with the same id.
        """
        if self.complete is None or not partials.has_any(segment):
            return True
        lines = b""
        for partial in partials.read(segment):
            with diagnostics.guard("recording text without a line end"):
                start = self.complete(partial)
                ending = "" if partial.context is None else f',"id":"{segment.writer}u-{partial.number:010d}"'
                lines += b"" if start is None else f"{start}{ending}}}\n".encode("utf-8", "backslashreplace")
        target = segment
        if segment.committed_offset + len(lines) > segment.size_bytes:
            head, number, kind = segment.path.rsplit(".", 2)
            following = f"{head}.{int(number) + 1:06d}.{kind}"
            try:
                if segment.is_in_memory or segment.is_unlinked:
                    target = Segment.create_in_memory(following, segment.envelope, lambda *_: True)
                else:
                    target = Segment.create(following, segment.envelope)
            except (OSError, ValueError):
                return False
            self._foreign[target.path] = target
        begin = target.committed_offset
        target.map[begin : begin + len(lines)] = lines
        target.committed_offset = begin + len(lines)
        partials.clear(segment)
        return True

    def _look_for_others(self) -> None:
        """Find the segments of other writers, and which of these writers live."""
        names = [] if self._is_refused else self._list()
        self._looked_ns = -1 if self._is_refused else self._listed_ns
        self._strange.intersection_update(f"{self.folder}/{name}" for name in names)
        self._waiting = []
        for name, writer, kind in self._files_of(names):
            is_own = self.own is not None and writer in self.own.writers
            # What a living writer holds back is its own affair.
            if not is_own and (
                kind.endswith(".spool") or (kind.endswith(BESIDE) and not is_alive(self.folder, writer))
            ):
                self._waiting.append(f"{self.folder}/{name}")
        self._take_kept()
        for segment in self.own.others if self.own is not None else ():
            is_alone = segment.is_in_memory or name_of(segment.path) not in names
            if is_alone and not segment.map.closed:
                self._foreign.setdefault(segment.path, segment)
        self._alive = {}
        for segment in self._foreign.values():
            self._look_whether_alive(segment.writer)
        self._map_waiting()

    def _take_kept(self) -> None:
        """Find what the keeper has: segments that no file of the folder leads to, and others."""
        own = () if self.own is None else self.own.writers
        for segment in self._keeper.segments() if self._keeper is not None else ():
            if segment.writer in own or not is_addressed(segment.envelope, self.destination):
                continue
            # Where there is a file it is found by that.
            if segment.is_in_memory or segment.is_unlinked or self._is_refused:
                if not segment.is_beside or segment.is_sealed or not is_alive(self.folder, segment.writer):
                    self._foreign.setdefault(segment.path, segment)

    def _look_whether_alive(self, writer: str) -> None:
        if writer not in self._alive:
            self._alive[writer] = is_alive(self.folder, writer)

    def _map_waiting(self) -> list[tuple[str, Segment]]:
        """Map segments that wait for it, as many as may be mapped at a time; returns those that are new."""
        new = []
        while self._waiting and len(self._foreign) < MAPPED_MAX:
            path = self._waiting.pop(0)
            if path in self._foreign:
                continue
            self._adopt(path)
            segment = self._foreign.get(path)
            if segment is not None:
                self._look_whether_alive(segment.writer)
                if self._marks is not None:
                    self._marks[path] = segment.committed_offset
                new.append((path, segment))
        return new

    def _own_segments(self, own: Spool) -> Iterator[tuple[Segment, bool]]:
        for segment in list(own.segments):
            is_final = segment.is_sealed  # read before the offsets: it must hold for them
            if segment.pending_bytes:
                yield segment, False
            elif is_final:
                own.segments.remove(segment)
                self._count_unprotected(segment)
                segment.remove()
                self._has_removed = True

    def _count_unprotected(self, segment: Segment) -> None:
        if not segment.is_kept and self.own is not None:
            self.own.count(UNPROTECTED, *segment.take_unprotected())

    def _adopt(self, path: str) -> None:
        if path in self._foreign or path in self._strange:
            return
        try:
            segment = Segment.open(path)
            if not is_addressed(segment.envelope, self.destination):
                segment.close()
                self._strange.add(path)
                return
            self._foreign[path] = segment
        except SegmentDamagedError as error:
            self._set_aside(path, str(error))
        except OSError:
            pass  # removed between listing and opening, or a symbolic link, which is none of ours

    def _set_aside(self, path: str, problem: str) -> None:
        try:
            size_bytes = os.lstat(path).st_size - HEADER_BYTES
            os.rename(path, f"{path}.damaged")
        except OSError:
            return  # the file is gone, or a folder has that name: what cannot be moved is left where it is
        self.damaged.append((problem, max(0, size_bytes)))

    def _changed_ns(self) -> int:
        """When a file has last come into the folder or gone; -1 where that cannot be told."""
        try:
            return os.stat(self.folder).st_mtime_ns
        except OSError:
            return -1

    def _list(self) -> list[str]:
        """The names of the files in the folder, sorted."""
        changed_ns = self._changed_ns()
        if changed_ns < 0 or changed_ns != self._listed_ns:
            is_settled = changed_ns >= 0 and time.time_ns() - changed_ns > SETTLED_NS
            self._listed_ns = changed_ns if is_settled else -1
            try:
                self._names = sorted(os.listdir(self.folder))
            except FileNotFoundError:
                self._names = []
            except OSError:
                self._listed_ns = -1  # a list that failed says nothing: what was there is there
        return self._names

    def _files_of(self, names: list[str]) -> list[tuple[str, str, str]]:
        """Those of the names that are files of the spool's: name, writer, and what is behind that."""
        if self._files[0] is not names:
            self._files = names, [(name, *found) for name in names if (found := writer_of(name))]
        return self._files[1]

    def _remove_leftovers(self) -> None:
        """Remove what dead writers leave besides segments: their locks, and what they had not finished making.

        Not again while no file comes or goes: what is left is small.
        """
        if self._tidied_ns == self._looked_ns >= 0 and not self._has_removed:
            return  # as it was when this drain began
        names = [] if self._is_refused else self._list()
        self._has_removed = False
        if self._tidied_ns == self._listed_ns >= 0:
            return
        self._tidied_ns = self._listed_ns
        files = self._files_of(names)
        writers = {writer for _, writer, kind in files if kind.endswith((".spool", *BESIDE))}
        for name, writer, kind in sorted(files, key=lambda file: file[2] == "lock"):  # last: others ask for them
            if kind not in ("lock", "tally") and not kind.endswith(".new"):
                continue
            path = f"{self.folder}/{name}"
            writer = writer.removesuffix(DRAINER)
            is_own = self.own is not None and writer in self.own.writers
            if is_own or writer in writers or is_alive(self.folder, writer):
                continue
            try:
                is_sure = kind == "lock" or (kind == "tally" and f"{writer}.lock" in names)
                is_old = time.time() - os.lstat(path).st_mtime > LEFTOVER_AGE_S
                if (is_sure or is_old) and (kind != "tally" or is_empty(path)):
                    os.unlink(path)
            except OSError:
                pass  # gone already


def last_lines(folder: str) -> list[bytes]:
    """The last committed line of each segment, delivered or not."""
    lines = []
    try:
        paths = list_segments(folder)
    except OSError:
        paths = []
    for path in paths:
        try:
            segment = Segment.open(path)
        except (SegmentDamagedError, OSError):
            continue  # a drainer has set it aside, or removed it
        lines.append(segment.last_line())
        segment.close()
    return lines


def is_alive(folder: str, writer: str) -> bool:
    """Does the writer's process still live? Only a lock that could be taken, and a process that is gone, say no.

    A process that has lost its lock is there all the same: its file was removed, or all its descriptors were closed.
    """
    began = ""
    try:
        lock = LockFile(f"{folder}/{writer}.lock", is_new=False)
        try:
            if not lock.acquire():
                return True
            began = lock.read()
        finally:
            lock.close()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            return True  # without a descriptor nothing can be known
    process = writer.removesuffix(DRAINER)
    # Where the lock has no room for the time, or /proc is not to be had, the number alone tells.
    return has_process(process) and (not began or start_of(process.rpartition("-p")[2]) in ("", began))
