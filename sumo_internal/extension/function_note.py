"""Whether the function is heard in its own process, which is seen by the socket that such a process holds.

Separate from what follows from it (:mod:`sumo_internal.extension.platform_log`). A variable that names our wrapper says
what was wanted. Whether something of ours has run is another matter: another vendor's wrapper may start a web server
in place of the runtime, and a handler of the function's own is in no variable.

:mod:`sumo_internal.spool.handoff` is the process's side. The process holds a socket, by whose name this module looks
for it. It sends the log stream's name and the headers to the socket that is held here, or writes them into a file where
this socket is not there yet. The sockets' names are abstract: they need no disk, and end with their process.
"""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_DGRAM, socket

from sumo_internal.spool import handoff


class FunctionNote:
    """What the function's process tells of itself."""

    def __init__(self, address: str, folder: str) -> None:
        """Listen for a note.

        Args:
            address: AWS_LAMBDA_RUNTIME_API, by which environments on one machine are told apart.
            folder: Path of the spool's folder, where the note is a file.
        """
        self._folder = folder
        self._address = address
        self._socket: socket | None = None
        self.is_there = False
        """A process hears the function."""
        self._raw: bytes | None = None
        self._first: bytes | None = None
        self._of_copy: bytes | None = None
        """What a copy has told while only what was told before the snapshot counts."""
        self._is_copy = False
        try:
            self._socket = socket(AF_UNIX, SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.bind(handoff.extension_socket_name(address))
        except OSError:
            self.close()  # no socket can tell then, and the file counts, even an earlier process's

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def has_content(self) -> bool:
        """Has the process told more than that it is there?"""
        return self._raw is not None

    def content(self) -> handoff.Note | None:
        """What the process has told; None where that is nothing, or cannot be read."""
        return None if self._raw is None else handoff.read_note(self._raw)

    def first_content(self) -> handoff.Note | None:
        """What the process told when it was set up."""
        return None if self._first is None else handoff.read_note(self._first)

    def await_copy(self) -> None:
        """The environment was restored from a snapshot: what was told before is told by all copies."""
        self._raw, self._is_copy = self._of_copy, True

    def begin_again(self) -> None:
        """Another program has taken the place of the function's process: it tells anew, or nothing hears it."""
        self.is_there, self._raw, self._first = False, None, None

    def descriptors(self) -> list[int]:
        """The descriptors that have something to read when a note has come."""
        return [] if self._socket is None or self.has_content else [self._socket.fileno()]

    def look(self) -> None:
        """Read the note if it has come, and see whether the function's process is there."""
        if self.has_content:
            return
        if self._socket is None:
            self._take(handoff.function_note(self._folder))
            self.is_there = self.is_there or self.has_content
            return
        try:
            while not self.has_content:
                self._take(self._socket.recv(handoff.NOTE_MAX_BYTES))
        except OSError:
            pass  # nothing yet
        if not self.has_content and not self.is_there:
            try:
                self._socket.connect(handoff.function_socket_name(self._address))
            except OSError:
                return  # no process holds it
        self.is_there = True
        if not self.has_content:
            self._take(handoff.function_note(self._folder))

    def _take(self, note: bytes | None) -> None:
        if note is None:
            return
        if not handoff.is_of_copy(note):
            self._first = self._first or note
            self._raw = note if not self._is_copy else None
        elif self._is_copy:
            self._raw = note
        else:
            self._of_copy = note
