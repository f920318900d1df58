"""Whether the function is heard in its own process: observed, by the socket that such a process holds.

Separate from what follows from it (:mod:`sumo_internal.extension.platform_log`). A variable that names our wrapper says
what was wanted. Whether something of ours has run is another matter: another vendor's wrapper may start a web server
in place of the runtime, and a handler of the function's own is in no variable.

:mod:`sumo_internal.spool.handoff` is the process's side: it holds a socket whose name this one looks for, and sends the
log stream's name and the headers to the socket that is held here; into a file where this is not there yet. The names
are abstract, so no disk is needed, and a process that is gone has none.
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
        try:
            self._socket = socket(AF_UNIX, SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.bind(handoff.extension_name(address))
        except OSError:
            self.close()  # nobody can tell by a socket: then the file counts, be it an earlier process's

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def has_content(self) -> bool:
        """Has it told more than that it is there?"""
        return self._raw is not None

    def content(self) -> handoff.Note | None:
        """What it has told; None where that is nothing, or cannot be read."""
        return None if self._raw is None else handoff.read_note(self._raw)

    def descriptors(self) -> list[int]:
        """What has something to read when a note has come."""
        return [] if self._socket is None or self.has_content else [self._socket.fileno()]

    def look(self) -> None:
        """Read what there is, and see whether somebody is there."""
        if self.has_content:
            return
        if self._socket is None:
            self._raw = handoff.function(self._folder)
            self.is_there = self.has_content
            return
        try:
            self._raw = self._socket.recv(handoff.NOTE_MAX_BYTES)
        except OSError:
            pass  # nothing yet
        if not self.has_content and not self.is_there:
            try:
                self._socket.connect(handoff.function_name(self._address))
            except OSError:
                return  # nobody holds it
        self.is_there = True
        self._raw = self._raw or handoff.function(self._folder)
