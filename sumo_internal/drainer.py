"""The drainer: take a slice of the spool, compress it, send it, acknowledge it; the one loop both processes run.

A batch is bytes between two line ends: nothing here looks into a record. Lines are acknowledged only when somebody
else has them (or when they are dropped, and counted), so a drain may be cut off anywhere: by a freeze, a kill or its
deadline. What was on the way then is sent again, and its ``id`` tells so.
"""

from __future__ import annotations

import json
import time
import zlib
from enum import Enum
from random import random

from sumo_internal import guard
from sumo_internal.delivery import Attempt, Verdict, judge, pause_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.config import Config
    from sumo_internal.spool import Shelf, Slice
    from sumo_internal.sumo import HttpSource

BATCH_MAX_BYTES = 1_000_000
"""Of uncompressed lines in one request: Sumo's documented limit, read as megabyte and not mebibyte."""
REQUEST_TIMEOUT_S = 10.0
"""For one attempt, as in the Go extension; cut to what is left before a deadline."""
_ATTEMPT_MIN_S = 0.05
"""With less time than this left, no attempt is begun: a TLS handshake alone takes as long."""
_GZIP = 16 + zlib.MAX_WBITS


class Drained(Enum):
    """How a drain ended."""

    EMPTY = "empty"
    KEPT = "kept"
    OUT_OF_TIME = "out of time"
    ELSEWHERE = "elsewhere"


class Drainer:
    """Empties the spool into the source."""

    def __init__(self, config: Config, shelf: Shelf, connect: Callable[[], HttpSource]) -> None:
        """Drain a shelf.

        Args:
            config: For the retries.
            shelf: What there is to take.
            connect: Makes the source, when there is something to send for the first time (it may cost 80 ms).
        """
        self._config = config
        self._shelf = shelf
        self._connect = connect
        self._source: HttpSource | None = None
        self.dropped_lines = 0

    def drain(self, until_s: float, pause: Callable[[float], object] = time.sleep) -> Drained:
        """Send everything there is at this moment.

        Args:
            until_s: POSIX time at which to stop, at the latest.
            pause: Waits so many seconds between two attempts; may return earlier.

        Returns:
            Whether the spool is empty, and if not, why: kept for a later drain, no time, another drainer at work.
        """
        if not self._shelf.acquire():
            return Drained.ELSEWHERE
        try:
            self._shelf.mark()
            limit_bytes = BATCH_MAX_BYTES
            while slices := self._shelf.take(limit_bytes):
                verdict = self._deliver(slices, until_s, pause)
                if verdict is Verdict.KEEP:
                    return Drained.KEPT
                if verdict is Verdict.AGAIN:
                    return Drained.OUT_OF_TIME
                if verdict is Verdict.HALVE:
                    limit_bytes = max(1, sum(piece.size_bytes for piece in slices) // 2)
                    continue
                limit_bytes = BATCH_MAX_BYTES
                for piece in slices:
                    piece.acknowledge()
            return Drained.EMPTY
        finally:
            self._shelf.release()
            while self._shelf.damaged:
                guard.say("error", f"{self._shelf.damaged.pop()}; renamed to *.damaged, its lines are not shipped")

    def _deliver(self, slices: list[Slice], until_s: float, pause: Callable[[float], object]) -> Verdict:
        """Send one batch, as often as the policy and the time allow."""
        if self._source is None:
            self._source = self._connect()
        body = compress(slices)
        envelope = json.loads(slices[0].segment.envelope or "{}")
        is_single = len(slices) == 1 and slices[0].is_single
        attempts = 0
        while True:
            left_s = until_s - time.time()
            if left_s < _ATTEMPT_MIN_S:
                return Verdict.AGAIN
            attempt = self._source.post(body, envelope, min(REQUEST_TIMEOUT_S, left_s))
            attempts += 1
            verdict = judge(attempt, attempts, self._config.num_retries, is_single=is_single)
            self._report(verdict, attempt, slices)
            if verdict is not Verdict.AGAIN:
                return verdict
            wait_s = pause_s(attempts, self._config.retry_sleep_ms / 1000, attempt.retry_after_s, random())
            if time.time() + wait_s + _ATTEMPT_MIN_S > until_s:
                return Verdict.AGAIN
            pause(wait_s)

    def _report(self, verdict: Verdict, attempt: Attempt, slices: list[Slice]) -> None:
        if verdict is Verdict.DROP:
            records = sum(piece.count() for piece in slices)
            self.dropped_lines += records
            guard.say("error", f"Sumo Logic refuses {records} lines for good ({attempt.problem}); they are dropped")
        elif verdict is Verdict.KEEP:
            guard.say_once("warn", f"Sumo Logic does not take lines ({attempt.problem}); they wait in the spool")
        elif verdict is Verdict.AGAIN:
            guard.say("debug", f"Sumo Logic does not take lines now ({attempt.problem}); trying again")
        elif verdict is Verdict.DELIVERED and attempt.problem:
            guard.say_once("warn", f"Sumo Logic took lines and reports: {attempt.problem}")


def compress(slices: list[Slice]) -> bytes:
    """The lines as one gzip stream; level 1, because the function pays for CPU and not for bytes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    pieces = []
    for piece in slices:
        with piece.data() as lines:
            pieces.append(packer.compress(lines))
    return b"".join([*pieces, packer.flush()])
