"""The keeper: the extension's hold on segments that have no file, or may lose it, for when their process is gone.

Separate from the reader, which takes lines from them as from any other: the keeper receives descriptors, which the
function's process sends (:func:`sumo_internal.spool.handoff.entrust`), and is there from the extension's start, without
the modules that the first descriptor needs. Only processes in the function's own environment can reach the socket, and
what they send is checked like a file of the spool's folder.
"""

from __future__ import annotations

import os
import sys
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    socket,
)
from _thread import allocate_lock

from sumo_internal.spool.handoff import LIFELINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.spool.counters import KeptCounts
    from sumo_internal.spool.segment import Segment

KEPT_MAX = 256
"""Segments that are kept at a time, each with a descriptor of 1,024: eight of each process, or the small ones of a
hundred children."""
WAITING_MAX = 256
"""Segments that wait in the kernel besides, while the extension is not awake or keeps as many as it may. Whoever sends
one more is told that it is not kept. A user may have 1,024 descriptors on their way."""
TALLIES_MAX = 64
"""Pages of counts that are kept: two of each process that has had to count anything, which few have."""
LIFELINES_MAX = 4
"""Processes that are watched at a time: the function's, and those that started as another program before."""
UNSEEN_MAX = 4
"""Descriptors that are not looked at, although what they lead to may have been delivered."""
_NAME_MAX_BYTES = 1024
_SEGMENT = "sumo_internal.spool.segment"
"""With all that it imports, among them ``json``. The first event of Lambda's loads it."""


class Keeper:
    """The segments that were sent here, until they are delivered."""

    def __init__(self, address: str) -> None:
        """Listen.

        Args:
            address: As :func:`sumo_internal.config.keeper_address` has it.

        Raises:
            OSError: Another process listens there. Do without.
        """
        self._socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        self._socket.bind(address)
        self._socket.listen(WAITING_MAX - 1)  # the kernel takes one more than that
        self._connections: list[socket] = []
        """Whose sender has not sent anything yet: it was stopped, or we were quicker."""
        self._received: list[tuple[str, int]] = []
        """Names and descriptors that are not looked at yet."""
        self._segments: list[Segment] = []
        self._segments_max = KEPT_MAX
        self.tallies: list[KeptCounts] = []
        """Counts of processes that have had trouble."""
        self._lock = allocate_lock()
        self.lifelines: list[tuple[socket, bytes, float]] = []
        """Connections with what was sent over each; see :mod:`sumo_internal.extension.stand_in`."""

    def descriptors(self) -> list[int]:
        """What has something to read when there is something for :meth:`look`; while all is full, no new sender has."""
        senders = [connection.fileno() for connection in self._connections]
        return senders if self.is_full else [self._socket.fileno(), *senders]

    @property
    def is_full(self) -> bool:
        """Is nothing taken before something that is kept was delivered?"""
        return len(self._segments) + len(self._received) + len(self._connections) >= self._segments_max

    def take_all(self) -> None:
        """Take what waits in the kernel as well, from here on: the environment ends, and what is left is counted."""
        self._segments_max = KEPT_MAX + WAITING_MAX

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def look(self, *, is_asked: bool = False) -> None:
        """Take what has been sent, and let go of what has been delivered meanwhile.

        Args:
            is_asked: What is here is needed now. Else the first few are not looked at until the extension has loaded
                what that takes for something else: during an init it would be the function's time.
        """
        with self._lock:
            self._segments = [segment for segment in self._segments if not _is_finished(segment)]
            connections, self._connections = self._connections, []
            for connection in connections:
                self._receive(connection)
            while not self.is_full:
                try:
                    descriptor, _ = self._socket._accept()  # type: ignore[attr-defined]  # what socket.accept() calls
                except OSError:
                    break
                self._receive(socket(fileno=descriptor))
            if is_asked or _SEGMENT in sys.modules or len(self._received) > UNSEEN_MAX:
                received, self._received = self._received, []
                for name, descriptor in received:
                    self._keep(name, descriptor)

    def _receive(self, connection: socket) -> None:
        """Take the one message of a connection."""
        try:
            size, flags = CMSG_SPACE(4), MSG_CMSG_CLOEXEC | MSG_DONTWAIT
            name, rights, _, _ = connection.recvmsg(_NAME_MAX_BYTES, size, flags)
        except BlockingIOError:
            self._connections.append(connection)
            return
        except OSError:
            name, rights = b"", []
        if name.startswith(LIFELINE) and len(self.lifelines) < LIFELINES_MAX:
            self.lifelines.append((connection, name, 0.0))
            return
        connection.close()
        for _, kind, data in rights:
            if kind == SCM_RIGHTS:
                self._received.append((name.decode("ascii", "replace"), int.from_bytes(data[:4], sys.byteorder)))

    def _keep(self, name: str, descriptor: int) -> None:
        from sumo_internal.spool.counters import TALLY, KeptCounts
        from sumo_internal.spool.segment import MEMORY, Segment, SegmentDamagedError

        try:
            if name.endswith(TALLY):
                if len(self.tallies) >= TALLIES_MAX:
                    self.tallies = [tally for tally in self.tallies if not tally.is_kept][1 - TALLIES_MAX :]
                self.tallies.append(KeptCounts(name, descriptor))
                return
            segment = Segment.mapped(name, descriptor, is_in_memory=name.endswith(MEMORY))
            segment.is_lent = not segment.is_in_memory
            self._segments.append(segment)
        except (OSError, SegmentDamagedError):
            pass  # nothing of ours
        finally:
            os.close(descriptor)

    def save(self, folder: str) -> tuple[int, int]:
        """Put what is not delivered into files, for the next generation of processes: this one is about to end.

        Returns:
            Lines and bytes for which there is no room.
        """
        lost_lines = lost_bytes = 0
        from sumo_internal.spool import partials

        for segment in self.segments():
            has_file = not segment.is_in_memory and not segment.is_unlinked
            if not has_file and (segment.pending_bytes or partials.has_any(segment)):
                lines, size_bytes = segment.save(folder)
                lost_lines, lost_bytes = lost_lines + lines, lost_bytes + size_bytes
        for tally in self.tallies:
            tally.save()
        return lost_lines, lost_bytes

    def segments(self) -> list[Segment]:
        """What is not delivered yet, as far as is known."""
        self.look(is_asked=True)
        return list(self._segments)


def _is_finished(segment: Segment) -> bool:
    try:
        return segment.is_sealed and not segment.pending_bytes
    except ValueError:
        return True  # this process's reader has delivered it, and closed it
