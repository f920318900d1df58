"""Files in a folder that other code may empty at any time: is each still the same, is it ours alone, is it locked.

Separate from the spool and the counters, which both live in such a folder: functions empty /tmp, and a file that is
mapped or locked then works on although no process finds it any more. Every file in the folder is opened here, and only
files of ours are: a link leads anywhere, a device has no end, a FIFO waits for a writer.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
from _weakref import ref  # ``weakref`` has what it is: its import takes a millisecond of the extension's start
from mmap import mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FREE = (fcntl.F_UNLCK).to_bytes(2, sys.byteorder) + bytes(30)
_TAKEN = (fcntl.F_WRLCK).to_bytes(2, sys.byteorder) + bytes(30)
"""``struct flock``: the kind, and zeros for the whole file and, with locks of open files, no process."""


BESIDE = ("held", "unended", "debug")
"""Ends of the names of segments that are not the spool's unless their writer dies (:mod:`sumo_internal.spool.held`)."""


SPARE_DESCRIPTORS = 12
"""Set aside in each process: before Python 3.13 eight segments in memory keep one each, a lock keeps one, and making a
segment and giving it to the extension takes three besides."""


class FolderRefusedError(Exception):
    """The spool's folder cannot be trusted or made. Ship nothing through it; say why."""


class LockFile:
    """A file with a lock of this process's, which the kernel lets go of when the process dies.

    The lock belongs to this one opening of the file (``F_OFD_SETLK``): opening and closing the file elsewhere, in this
    process too, does not drop it. Forked children close their descriptors of it.
    """

    __slots__ = ("path", "_descriptor", "_place", "__weakref__")

    def __init__(self, path: str, *, is_new: bool = True) -> None:
        """Open the file; make it, where it may be new.

        Raises:
            OSError: There is no room or no folder, or it is not a file of ours.
        """
        self.path = path
        self._descriptor = open_file(path, os.O_RDWR | (os.O_CREAT if is_new else 0))
        self._place = place_of(self._descriptor)
        _locks.add(ref(self, _locks.discard))

    def __del__(
        self, fstat: Callable[[int], os.stat_result] = os.fstat, close: Callable[[int], None] = os.close
    ) -> None:
        self.close(fstat, close)

    def close(
        self, fstat: Callable[[int], os.stat_result] = os.fstat, close: Callable[[int], None] = os.close
    ) -> None:
        """Let go of it."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        place: tuple[int, int] | None = getattr(self, "_place", None)
        if place is not None:
            close_at(descriptor, place, fstat, close)
        elif descriptor >= 0:
            close(descriptor)  # a time limit has come just behind its opening

    @property
    def is_lost(self) -> bool:
        """Was the file removed, or its descriptor closed by the function? Then the lock keeps no process off."""
        return not (is_at(self.path, self._place[1]) and self._is_open)

    @property
    def _is_open(self) -> bool:
        return self._descriptor >= 0 and place_of(self._descriptor) == self._place

    def acquire(self) -> bool:
        """Lock it, which was just opened or is not :attr:`is_lost`; False while it is locked elsewhere."""
        if self._descriptor < 0:
            return False  # a forked child has closed it
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _TAKEN)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let another process have the lock."""
        if self._is_open:  # else another thread has let go of it
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _FREE)

    def read(self) -> str:
        """What :meth:`write` has left in it."""
        return os.pread(self._descriptor, 64, 0).decode("ascii", "replace")

    def write(self, text: str) -> None:
        """Leave a few characters in it, if there is room."""
        try:
            os.pwrite(self._descriptor, text.encode(), 0)
        except OSError:
            pass

    def rename(self, path: str) -> None:
        """Give the file its name."""
        os.rename(self.path, path)
        self.path = path


_locks: set[ref[LockFile]] = set()
"""All that there are; see ``_spools`` in :mod:`sumo_internal.spool.writer`."""


def close_locks() -> None:
    """In a forked child: give back what would keep its parent's locks."""
    for each in [*_locks]:
        if (lock := each()) is not None:
            lock.close()


# A child would share them, and keep what a dead parent has locked.
os.register_at_fork(after_in_child=close_locks)


class SpareDescriptors:
    """Descriptors that are set aside, for files and memory of ours when the function has used up all others.

    Used as a context: inside it they are free, if no other thread is faster. Each is a copy of one descriptor of memory
    that no other code has: so one that the function has closed, and whose number is now another file's, is told from
    ours. Any thread may take and free them at any time: a set belongs to the thread that makes it until it is complete,
    and then to the one that removes it from the list.
    """

    __slots__ = ("_sets", "_is_in_use")

    def __init__(self) -> None:
        self._sets: list[tuple[tuple[int, int], list[int]]] = []
        """Of each, the place of its memory, and its descriptors. Two where two threads have just made one each."""
        self._is_in_use = False

    def take(self) -> bool:
        """Set aside what is missing; returns whether there is another one for whoever needs it."""
        self._is_in_use = True
        while len(self._sets) > 1:
            self._close_one()
        if not any(len(descriptors) == SPARE_DESCRIPTORS for _, descriptors in self._sets):
            self._close()
            self._make()
        try:
            os.close(os.memfd_create("another"))
        except OSError:
            return False
        return True

    def __enter__(self) -> None:
        self._close()

    def __exit__(self, *error: object) -> None:
        if self._is_in_use:
            self.take()

    def _make(self) -> None:
        """Make as many as there are to be had, up to :data:`SPARE_DESCRIPTORS`."""
        descriptors: list[int] = []
        try:
            descriptors.append(os.memfd_create("spare"))
            while len(descriptors) < SPARE_DESCRIPTORS:
                descriptors.append(os.dup(descriptors[0]))
        except OSError:
            pass  # all are used up
        if descriptors:
            self._sets.append((place_of(descriptors[0]), descriptors))

    def _close(self) -> None:
        while self._sets:
            self._close_one()

    def _close_one(
        self, fstat: Callable[[int], os.stat_result] = os.fstat, close: Callable[[int], None] = os.close
    ) -> None:
        try:
            place, descriptors = self._sets.pop()
        except IndexError:
            return  # another thread closes it
        for descriptor in descriptors:
            close_at(descriptor, place, fstat, close)

    __del__ = _close


STANDARD_STREAMS = 3
"""Descriptors below are a program's standard input, output and error, and never a file of ours."""

_stranded: list[Map] = []
"""Maps whose descriptors are the function's by now: at most as many as there were when the function closed them."""


class Map(mmap):
    """A map that closes no descriptor but its own.

    A map keeps a copy of the descriptor that it gets, and the function may close what it has not opened. The number is
    then given to the next that the function opens, and would be closed with the map: so such a map stays for good.
    """

    __slots__ = ()

    def _is_stranded(self) -> bool:
        try:
            return self.size() != len(self)
        except (OSError, ValueError):
            return False  # the descriptor is closed and nobody's, or the map is closed

    def __del__(self, keep: Callable[[Map], None] = _stranded.append) -> None:
        if self._is_stranded():
            keep(self)

    def close(self) -> None:
        if self._is_stranded():
            _stranded.append(self)
        else:
            super().close()

    @property
    def closed(self) -> bool:  # type: ignore[override]  # what the stubs have as an attribute can only be read
        return super().closed or any(each is self for each in _stranded)


def close_at(
    descriptor: int,
    place: tuple[int, int],
    fstat: Callable[[int], os.stat_result] = os.fstat,
    close: Callable[[int], None] = os.close,
) -> None:
    """Close a descriptor, if it still leads to this device and inode: the function may have closed it, and opened
    another file under its number."""
    try:
        status = fstat(descriptor)
        if (status.st_dev, status.st_ino) == place:
            close(descriptor)
    except OSError:
        pass  # the function has closed it


def place_of(descriptor: int) -> tuple[int, int]:
    """Device and inode of an open file; -1 where there is none."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def open_file(path: str, flags: int, *, max_bytes: int | None = None, is_anybodys: bool = False) -> int:
    """Open a file of ours; return its descriptor.

    Args:
        path: Its path, in a folder of ours.
        flags: ``os.O_RDONLY`` and so on. A file that may be made gets the mode 0600.
        max_bytes: It must not be larger.
        is_anybodys: It may be another user's.

    Raises:
        OSError: It is not there or cannot be made, or is none of ours: a link, a device, another user's, too large.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if descriptor < STANDARD_STREAMS:
            descriptor = _moved(descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not (is_anybodys or status.st_uid == os.geteuid()):
            raise OSError(f"{path} is not a file of ours")
        if max_bytes is not None and status.st_size > max_bytes:
            raise OSError(f"{path} has {status.st_size} bytes")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _moved(descriptor: int) -> int:
    """A file of ours has got the number of a standard stream, which the function has closed: give it another number.

    What is printed must come neither in here nor into the next file (a map has a descriptor of its own). In the place
    of each that is closed is one that cannot be written to, or read, for standard input: the error is a closed one's.
    """
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STANDARD_STREAMS)
    os.close(descriptor)
    for number in range(STANDARD_STREAMS):
        if place_of(number) == (-1, -1):  # it is the lowest that is free
            os.open(os.devnull, (os.O_RDONLY if number else os.O_WRONLY) | os.O_CLOEXEC)
    return moved


def read_file(path: str, max_bytes: int, *, is_anybodys: bool = False) -> bytes:
    """A small file of ours; empty where there is none, or it is larger than that."""
    try:
        descriptor = open_file(path, os.O_RDONLY, max_bytes=max_bytes, is_anybodys=is_anybodys)
        try:
            return os.read(descriptor, max_bytes)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def write_file(path: str, data: bytes) -> None:
    """Write a small file, if there is room: its reader does without."""
    try:
        descriptor = open_file(path, os.O_WRONLY | os.O_CREAT)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError:
        pass


def name_of(path: str) -> str:
    """The last part of a path; ``os.path`` is Python code, and asks built-ins that the function may have replaced."""
    return path.rpartition("/")[2]


def writer_of(name: str) -> tuple[str, str] | None:
    """Which writer a file belongs to by its name, and what is behind the writer's name; None for a file of others."""
    writer, _, kind = name.partition(".")
    identity, dash, pid = writer.removesuffix("-drainer").partition("-p")
    is_ours = (len(identity) == 12 and not identity.strip("0123456789abcdef")) or identity.startswith("extension")
    number, _, suffix = kind.removesuffix(".new").partition(".")
    is_segment = len(number) == 6 and number.isdecimal() and suffix.removesuffix(".spool") in ("spool", *BESIDE)
    is_kind = is_segment or kind in ("lock", "lock.new", "tally")
    return (writer, kind) if is_ours and dash and pid.isdecimal() and is_kind else None


def list_segments(folder: str, kinds: tuple[str, ...] = (".spool",)) -> list[str]:
    """Paths of all segments in the folder, every writer's in its own order; empty when the folder is gone.

    Raises:
        OSError: It cannot be listed: that says nothing.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(f"{folder}/{name}" for name in names if name.endswith(kinds) and writer_of(name))


def has_process(writer: str) -> bool:
    """Is there a process with the number in a writer's name? Numbers are used again.

    A process that has ended is none, also while its parent has not asked how: a managed instance's never does.
    """
    pid = writer.rpartition("-p")[2]
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        pass
    except (OSError, ValueError, OverflowError):
        return False
    status = _status(pid)
    return not (status and status[0] in _ENDED and status[_THREADS] in ("0", "1"))


def start_of(pid: int | str) -> str:
    """When a process began, in the kernel's ticks; empty where there is none. Numbers of processes are used again."""
    status = _status(pid)
    return status[_BEGAN] if status else ""


_ENDED = ("Z", "X")
_THREADS, _BEGAN = 17, 19
"""What stands where in :func:`_status`, the state first. Threads that outlive their main thread count."""


def _status(pid: int | str) -> list[str]:
    """What the kernel tells of a process from its state on (proc(5), stat); empty where there is none, or no /proc."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.read(descriptor, 1024).decode("ascii", "replace").rpartition(") ")[2].split()
        finally:
            os.close(descriptor)
    except OSError:
        return []
    return status if len(status) > _BEGAN else []


def is_at(path: str, inode: int) -> bool:
    """Is the file with this inode still the one at the path? An inode is not used again while a process has it open."""
    try:
        return os.stat(path, follow_symlinks=False).st_ino == inode
    except OSError:
        return False


def open_folder(path: str) -> None:
    """Make the spool's folder, or check that an existing one is ours alone; take back a mode that others could use.

    Raises:
        FolderRefusedError: It cannot be made, is a symbolic link or a file, belongs to another user or is open to
            others on purpose, as /tmp is.
        FileNotFoundError: Another thread or process is just removing it. Try again.
    """
    path = path.rstrip("/")  # with a slash at its end a link is followed
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise FolderRefusedError(f"{path} cannot be made ({error.strerror})") from None
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise FolderRefusedError(f"{path} is not a folder")
    if status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX:
        raise FolderRefusedError(f"{path} belongs to somebody else or is open to others")
    if status.st_mode & 0o777 != 0o700:
        _take_back(path)


def _take_back(path: str) -> None:
    """Take back the mode that ``chmod -R 777 /tmp`` gave; the folder is ours all the same."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FolderRefusedError(f"{path} is open to others, and stays so ({error.strerror})") from None


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        pass
