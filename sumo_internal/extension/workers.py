"""Managed Instances: when the extension ships what the workers write, which only write.

Separate from the extension's life, which ships beside invocations everywhere else. Here nothing tells where one begins,
and nothing freezes: lines leave beside each delivery of Lambda's events, when a worker rings because it has written
much (:func:`sumo_internal.spool.handoff.ring`), and when they have become old.
"""

from __future__ import annotations

import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

from sumo_internal import diagnostics
from sumo_internal.spool import handoff


class Workers:
    """The bell, and the time at which lines have become old."""

    def __init__(self, address: str, age_s: float) -> None:
        """Listen for rings; without a bell lines leave beside deliveries and by age.

        Args:
            address: AWS_LAMBDA_RUNTIME_API.
            age_s: At which lines are old.
        """
        self._age_s = age_s
        self.due_at_s = time.time() + age_s
        """POSIX time at which the next drain is due, whatever happens until then."""
        self._bell = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            self._bell.bind(handoff.bell_socket_name(address))
        except OSError as error:
            diagnostics.say(
                "debug", f"the workers cannot tell the extension of lines ({error}): they are shipped by age"
            )

    def close(self) -> None:
        """Listen no more."""
        self._bell.close()

    @property
    def descriptor(self) -> int:
        """Has something to read when a worker has rung."""
        return self._bell.fileno()

    def hear(self) -> None:
        """Forget who has rung."""
        try:
            while True:
                self._bell.recv(1)
        except OSError:
            pass  # that was the last one

    def is_due(self) -> bool:
        """Have lines become old? A clock that was set back makes none of them older than that."""
        return not 0 < self.due_at_s - time.time() <= self._age_s

    def shipped(self) -> None:
        """What there is was asked to be shipped."""
        self.due_at_s = time.time() + self._age_s
