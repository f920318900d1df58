"""Files in a folder that others may empty at any time: is it still the same one, is it ours alone, who has locked it.

Separate from the spool and the counters, which both live in such a folder: functions empty /tmp, and what is mapped or
locked then works on while nobody finds it any more.
"""

from __future__ import annotations

import fcntl
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class FolderRefusedError(Exception):
    """The spool's folder cannot be trusted or made. Ship nothing through it; say why."""


class LockFile:
    """A file for a POSIX record lock of this process's, which the kernel lets go of when the process dies.

    Forked children do not inherit the lock. Closing *any* descriptor of the file drops it: open each once per process.
    """

    __slots__ = ("path", "_descriptor", "_inode")

    def __init__(self, path: str) -> None:
        """Open or make the file.

        Raises:
            OSError: There is no room or no folder, or it is a symbolic link.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._inode = os.fstat(self._descriptor).st_ino

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "_descriptor"):
            close(self._descriptor)

    @property
    def is_unlinked(self) -> bool:
        """Has somebody removed the file? Then the lock keeps nobody off any more."""
        return not is_at(self.path, self._inode)

    def acquire(self) -> bool:
        """Lock it; False while another process has it locked."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def rename(self, path: str) -> None:
        """Give the file its name."""
        os.rename(self.path, path)
        self.path = path


def is_at(path: str, inode: int) -> bool:
    """Is the file with this inode still the one at the path? An inode is not used again while somebody has it open."""
    try:
        return os.stat(path, follow_symlinks=False).st_ino == inode
    except OSError:
        return False


def open_folder(path: str) -> None:
    """Make the spool's folder, or check that an existing one is ours alone.

    Raises:
        FolderRefusedError: It cannot be made, is a symbolic link or a file, belongs to somebody else or is open to
            others.
        FileNotFoundError: Somebody is just removing it. Try again.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise FolderRefusedError(f"{path} cannot be made ({error.strerror})") from None
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise FolderRefusedError(f"{path} is not a folder")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise FolderRefusedError(f"{path} belongs to somebody else or is open to others")


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        pass
