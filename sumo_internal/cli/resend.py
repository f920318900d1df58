"""Lines that were kept, sent to the source after all: in batches, at a bounded rate, with the drainer's own policy.

What to do after each answer is :mod:`sumo_internal.shipping.retry_policy`'s, as in the function; the post is
:mod:`sumo_internal.destinations.http_source`'s. What differs is time: no function waits for a replay. So the replay
waits for a source that throttles or is away, with the pauses of the circuit breaker, until patience ends. And nothing
is dropped: what the source refuses for good stays where it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from random import random
from threading import Lock

from botocore.exceptions import BotoCoreError, ClientError

from sumo_internal.cli.backlog import Backlog, DamagedObjectError, Item
from sumo_internal.cli.backlog import envelope as envelope_of
from sumo_internal.cli.ledger import Ledger
from sumo_internal.config import Config
from sumo_internal.destinations.attempt import Attempt
from sumo_internal.shipping.drainer import BATCH_MAX_BYTES, REQUEST_TIMEOUT_S
from sumo_internal.shipping.retry_policy import Breaker, Verdict, judge, pause_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.destinations.encoding import Encoding
    from sumo_internal.shipping.drainer import Source

PATIENCE_S = 600.0
"""How long a source that takes nothing is waited for: longer than the breaker's longest pause and its jitter."""


class BatchRefusedError(Exception):
    """The source does not take these lines, and never will; the text says why. Go on with others."""


class UnreachableSourceError(Exception):
    """The source takes nothing; the text says why. ``is_passing``: it may later."""

    def __init__(self, problem: str, *, is_passing: bool) -> None:
        super().__init__(problem)
        self.is_passing = is_passing


class Pace:
    """When the next request may begin: by the bytes and the number of the requests before it, of all threads."""

    def __init__(self, bytes_per_s: float, requests_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._requests_per_s = requests_per_s
        self._free_s = 0.0
        self._lock = Lock()

    def wait_s(self, size_bytes: int, now_s: float) -> float:
        """Seconds to wait before a request of this size; the request counts as sent."""
        with self._lock:
            begin_s = max(now_s, self._free_s)
            self._free_s = begin_s + max(size_bytes / self._bytes_per_s, 1 / self._requests_per_s)
        return begin_s - now_s


class Resender:
    """Sends lines to a source; an object's go one request after the other, and several threads may have one each."""

    def __init__(
        self,
        source: Source,
        config: Config,
        pace: Pace,
        patience_s: float = PATIENCE_S,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Send to a source.

        Args:
            source: Where to.
            config: For the retries.
            pace: How fast.
            patience_s: How long a source that takes nothing is waited for, each time.
            pause: Waits so many seconds.
        """
        self._source = source
        self._config = config
        self._pace = pace
        self._patience_s = patience_s
        self._pause = pause

    def send(
        self, lines: bytes, begin_bytes: int, envelope: Mapping[str, str], until_s: float = math.inf
    ) -> Iterator[int]:
        """Send lines from an offset on, and yield after each request how far they have been taken.

        Args:
            lines: All of them.
            begin_bytes: Where to begin, at a line's beginning.
            envelope: The headers they travel under.
            until_s: POSIX time from which on nothing is tried again.

        Raises:
            BatchRefusedError: Try others.
            UnreachableSourceError: Try later.
        """
        limit_bytes = BATCH_MAX_BYTES
        while begin_bytes < len(lines):
            end_bytes = _end(lines, begin_bytes, limit_bytes)
            batch = lines[begin_bytes:end_bytes]
            self._pause(self._pace.wait_s(len(batch), time.time()))
            if not self._deliver(batch, envelope, min(until_s, time.time() + self._patience_s)):
                limit_bytes = max(1, len(batch) // 2)
                continue
            begin_bytes, limit_bytes = end_bytes, BATCH_MAX_BYTES
            yield begin_bytes

    def _deliver(self, batch: bytes, envelope: Mapping[str, str], until_s: float) -> bool:
        """Post a batch until it is taken; False where it has to be halved."""
        bodies: dict[str, bytes] = {}

        def pack(encoding: Encoding) -> bytes:
            if encoding.name not in bodies:
                bodies[encoding.name] = encoding.pack([batch])
            return bodies[encoding.name]

        is_single = batch.count(b"\n", 0, -1) == 0
        breaker = Breaker()
        attempts = 0
        while True:
            attempt = self._source.post(pack, envelope, REQUEST_TIMEOUT_S)
            attempts += 1
            if attempt.status in (401, 403) and attempts == 1 and self._source.renew():
                continue
            verdict = judge(attempt, attempts, self._config.num_retries, is_single=is_single, has_failover=False)
            if verdict in (Verdict.DELIVERED, Verdict.HALVE):
                return verdict is Verdict.DELIVERED
            if verdict is Verdict.DROP:
                raise BatchRefusedError(attempt.problem)
            if verdict is Verdict.KEEP:
                breaker = breaker.after_failure(time.time(), attempt.retry_after_s, random())
            self._wait(attempt, attempts, breaker, until_s)

    def _wait(self, attempt: Attempt, attempts: int, breaker: Breaker, until_s: float) -> None:
        """Wait for the next attempt, if there is to be one: as the function would, and then as the breaker says."""
        now_s = time.time()
        wait_s = pause_s(attempts, self._config.retry_sleep_ms / 1000, attempt.retry_after_s, random())
        wait_s = max(wait_s, breaker.until_s - now_s)
        if attempt.is_ours or now_s + wait_s > until_s:
            raise UnreachableSourceError(attempt.problem, is_passing=not attempt.is_ours)
        self._pause(wait_s)


def _end(lines: bytes, begin_bytes: int, limit_bytes: int) -> int:
    """Where a batch ends: behind as many whole lines as the limit allows, and behind one at least."""
    if len(lines) - begin_bytes <= limit_bytes:
        return len(lines)
    end_bytes = lines.rfind(b"\n", begin_bytes, begin_bytes + limit_bytes) + 1
    return end_bytes or lines.find(b"\n", begin_bytes) + 1 or len(lines)


def send_item(
    item: Item, backlog: Backlog, ledger: Ledger, resender: Resender, config: Config, until_s: float = math.inf
) -> int | None:
    """Send what has not been sent yet of an object; returns how many lines that were, None for one that was done.

    Args:
        item: The object.
        backlog: Where it lies.
        ledger: What has been sent.
        resender: The way to the source.
        config: For headers that the object does not keep.
        until_s: As in :meth:`Resender.send`.

    Raises:
        DamagedObjectError, BatchRefusedError: Go on with other objects.
        UnreachableSourceError: Try later.
    """
    begin_bytes = ledger.sent_bytes(item)
    if begin_bytes is None:
        return None
    try:
        content = backlog.read(item)
        envelope = envelope_of(item, content, config)
    except (DamagedObjectError, BotoCoreError, ClientError):
        raise
    except Exception as error:  # any error is this object's alone: the objects behind it must not wait for it
        raise DamagedObjectError(f"{type(error).__name__} in reading it") from error
    lines = content.lines
    for sent_bytes in resender.send(lines, begin_bytes, envelope, until_s):
        ledger.note(item, sent_bytes, is_done=sent_bytes == len(lines))
    if begin_bytes == len(lines):  # nothing in it
        ledger.note(item, begin_bytes, is_done=True)
    return lines.count(b"\n", begin_bytes)
