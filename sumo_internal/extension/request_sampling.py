"""SUMO_SAMPLE where requests overlap (Managed Instances): each has its own fate, which its REPORT decides.

Separate from :mod:`sumo_internal.processing.sampling`, which knows one invocation at a time and whose held lines
survive their process. Here they are in memory: the extension outlives the workers, whatever ends them, and has the
lines at SHUTDOWN.

Rules:

* A line of no known request goes out: no REPORT will tell how its request ended.
* What does not fit goes out: a bound must not lose a line.
* A line that comes after its request's REPORT, from a thread that goes on, has the request's fate.
* What is held at SHUTDOWN goes out: no REPORT has said that it succeeded.
"""

from __future__ import annotations

from sumo_internal.capture.record_format import size_bytes
from sumo_internal.processing.rules import is_sampled
from sumo_internal.spool import counters
from sumo_internal.spool.segment import WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.spool.writer import Spool

HELD_MAX_CHARS = 4_000_000
"""Of all requests together."""
ENDED_MAX = 1_000
"""Requests whose end is remembered for lines that come late."""


class RequestSampling:
    """All lines of a request or none; those of a request that fails, and of WARNING and above, go out."""

    def __init__(self, spool: Spool, rate: float, send: Callable[[str, int], object], *, is_enhanced: bool) -> None:
        """Sample what goes into a spool.

        Args:
            spool: Where lines go.
            rate: The share of the requests whose lines go out, 0 to 1.
            send: Where lines go that need not wait for their request's end.
            is_enhanced: Lines may have keys of ours.
        """
        self._spool = spool
        self._send = send
        self._rate = rate
        self._rate_text = f',"sampleRate":{rate:g}' if is_enhanced else ""
        self._held: dict[str, list[tuple[str, int]]] = {}
        self._held_chars = 0
        self._is_success: dict[str, bool] = {}
        """How requests have ended."""

    def append(self, start: str, level: int, request_id: str | None) -> None:
        """Like :meth:`Spool.append`, for a line of a request."""
        if level >= WARNING or request_id is None or self._rate >= 1:
            self._send(start, level)
        elif is_sampled(request_id, self._rate):
            self._send(start + self._rate_text, level)
        elif request_id in self._is_success:
            self._let_go(start, level, self._is_success[request_id])
        elif self._held_chars + len(start) > HELD_MAX_CHARS:
            self._send(start, level)
        else:
            self._held.setdefault(request_id, []).append((start, level))
            self._held_chars += len(start)

    def end(self, request_id: str, *, is_success: bool) -> None:
        """A request has ended."""
        self._is_success[request_id] = is_success
        while len(self._is_success) > ENDED_MAX:
            del self._is_success[next(iter(self._is_success))]
        for start, level in self._held.pop(request_id, ()):
            self._held_chars -= len(start)
            self._let_go(start, level, is_success)

    def end_all(self) -> None:
        """The environment ends, and with it all requests that have had no REPORT."""
        for request_id in list(self._held):
            self.end(request_id, is_success=False)

    def _let_go(self, start: str, level: int, is_success: bool) -> None:
        if is_success:
            self._spool.count(counters.SAMPLED_OUT, 1, size_bytes(start))
        else:
            self._spool.append(start, level)
