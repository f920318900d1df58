"""The drainer: take a slice of the spool, compress it, send it, acknowledge it; the one loop both processes run.

A batch is bytes between two line ends: nothing here looks into a record. Lines are acknowledged only when the source or
the failover destination has them (or when they are dropped, and counted), so a drain may be cut off anywhere: by a
freeze, a kill or its deadline. Lines that were on the way then are sent again, and their ``id`` tells so.

What to do after each answer is :mod:`sumo_internal.shipping.retry_policy`'s; this module does it. What users read calls
the failover destination the bucket, which so far each one is.
"""

from __future__ import annotations

import os
import time
from math import inf

from sumo_internal import diagnostics
from sumo_internal.destinations.attempt import Attempt
from sumo_internal.shipping.accounts import Accounts
from sumo_internal.shipping.line_batch import Batch, UnreadableError
from sumo_internal.shipping.retry_policy import BatchLimit, Breaker, Drained, Verdict, judge, pause_s
from sumo_internal.spool import counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Protocol

    from sumo_internal.config import Config
    from sumo_internal.destinations.encoding import Encoding
    from sumo_internal.shipping.accounts import Counts
    from sumo_internal.spool.outage import Outage
    from sumo_internal.spool.reader import SpoolReader

    class Source(Protocol):
        """Where batches go; see :class:`sumo_internal.destinations.http_source.HttpSource`."""

        def post(self, pack: Callable[[Encoding], bytes], envelope: Mapping[str, str], timeout_s: float) -> Attempt:
            """Send a batch, which ``pack`` compresses, under these headers, within so many seconds. Raises nothing."""

        def renew(self) -> bool:
            """Fetch the address anew after it was refused. False where that cannot help."""

    class FailoverDestination(Protocol):
        """Where batches go that the source does not take; see :class:`sumo_internal.destinations.s3.FailoverBucket`."""

        def put(self, body: bytes, envelope: Mapping[str, str], now_s: float, timeout_s: float) -> Attempt:
            """Keep a gzipped batch that has these headers, at a POSIX time, within so many seconds. Raises nothing."""

    class Destinations(Protocol):
        """Makes both, when there is something to send; see :class:`sumo_internal.shipping.factory.Destinations`."""

        @property
        def has_failover(self) -> bool:
            """Is there a failover destination?"""

        def connect(self) -> Source:
            """Make the source. It may cost 80 ms."""

        def connect_failover(self) -> FailoverDestination:
            """Make the failover destination, if there is one."""

        def headers(self, envelope: dict[str, str]) -> dict[str, str]:
            """Make a batch's request headers from those that its lines were written under."""

        def disconnect(self) -> None:
            """Close what connections there are; a later request makes them anew."""


BATCH_MAX_BYTES = 1_000_000
"""Bound on uncompressed lines in one request: Sumo's documented limit, read as megabyte and not mebibyte."""
REQUEST_TIMEOUT_S = 10.0
"""Time for one attempt, as in the Go extension; cut to what is left before a deadline."""
FAILOVER_SHARE = 0.4
"""Share of the time until a deadline that is kept back for the failover destination while Sumo has not answered."""
_ATTEMPT_MIN_S = 0.05
"""With less time than this left, no attempt is begun: a TLS handshake alone takes as long."""


class Drainer:
    """Empties the spool into the source, or into the failover destination."""

    def __init__(
        self,
        config: Config,
        reader: SpoolReader,
        counts: counters.Counters,
        destinations: Destinations,
        record_account: Callable[[Counts], None],
    ) -> None:
        """Drain a reader.

        Args:
            config: For the retries.
            reader: What there is to take.
            counts: Where this drainer counts what is retried, failed over and dropped.
            destinations: Where to.
            record_account: As :class:`~sumo_internal.shipping.accounts.Accounts` has it.
        """
        self._config = config
        self._reader = reader
        self._counts = counts
        self._destinations = destinations
        self._source: Source | None = None
        self._failover: FailoverDestination | None = None
        self.account = Accounts(reader.folder, reader.destination, counts, record_account).tell
        """Says and records what was counted; see :meth:`Accounts.tell`."""
        self._breaker = Breaker()
        self._limit = BatchLimit(BATCH_MAX_BYTES)
        self._too_large_in_a_row = 0
        """Records that were too large on their own, while no batch has been taken since the first of them."""
        self._until_s = inf
        """POSIX time at which the drain that is under way stops."""
        self._latest_s = inf
        """POSIX time at which every drain stops; see :meth:`hurry`."""
        self.pause: Callable[[float], object] = time.sleep
        """Waits so many seconds between two attempts; may return earlier."""
        self.attempts = 0
        """Requests that have had an answer, or none in time: while it stays as it is, the thread waits for one."""
        self.outage: Outage | None = None
        """Told of each attempt, where lines go to CloudWatch if no destination takes them."""
        self.keep_refused: Callable[[Iterable[bytes | memoryview]], None] | None = None
        """Keeps lines that are refused for good, for CloudWatch."""
        self.has_delivered = False
        """A destination has taken lines in the last drain."""
        self.problem = ""
        """Why the source has not accepted a batch, the last time that this was so."""

    def drain(self, until_s: float, *, is_shutdown: bool = False) -> Drained:
        """Send everything there is at this moment.

        Args:
            until_s: POSIX time at which to stop, at the latest.
            is_shutdown: This is the environment's end: a source that is left alone gets a last trial.

        Returns:
            Whether the spool is empty, and if not, why: kept for a later drain, no time, another drainer at work.
        """
        self.has_delivered = False
        self._until_s = until_s
        if is_shutdown:
            self._breaker = self._breaker.for_a_last_trial()
        if not self._destinations.has_failover and self._breaker.is_open(time.time()):
            return Drained.KEPT  # at once: a dead source costs nothing beside the function either
        if not self._reader.acquire():
            return Drained.ELSEWHERE
        try:
            self._reader.mark()
            return self._drain_all()
        finally:
            self._report_damage()
            self._reader.release()

    def disconnect(self) -> None:
        """Close what connections there are; a later request makes them anew."""
        self._destinations.disconnect()

    def hurry(self, until_s: float) -> None:
        """Stop by then, whatever was asked for; a request that is under way goes on. Any thread may call.

        Args:
            until_s: POSIX time.
        """
        self._latest_s = until_s

    def leave(self) -> None:
        """Another drainer of this process takes over: what this one has sent may be sent again."""
        self.hurry(0.0)
        self._reader.leave()

    def _left_s(self) -> float:
        """Seconds that this drain has left."""
        return min(self._until_s, self._latest_s) - time.time()

    def _drain_all(self) -> Drained:
        """Send batch by batch; an error of our own code in one segment keeps no other from delivery."""
        is_single = has_skipped = False
        while slices := self._reader.take(self._limit_bytes(), is_single=is_single):
            try:
                batch = Batch(slices)
                batch.envelope = self._destinations.headers(batch.envelope)
                verdict = self._deliver(batch)
            except Exception as error:
                if not is_single and len(slices) > 1:
                    is_single = True  # one of them causes it: send each on its own
                    continue
                self._reader.skip(slices[0])
                has_skipped = True
                diagnostics.failed("shipping a segment of the spool", error)
                continue
            if verdict is Verdict.HALVE:
                continue
            if verdict is Verdict.KEEP:
                return Drained.KEPT
            if verdict is Verdict.AGAIN:
                return Drained.OUT_OF_TIME
            batch.acknowledge()
            self.has_delivered |= verdict is not Verdict.DROP
            if verdict is Verdict.DROP and self._too_large_in_a_row > 1:
                return Drained.KEPT
        return Drained.KEPT if has_skipped else Drained.EMPTY

    def has_others(self) -> bool:
        """Has another writer lines in the folder? See :meth:`sumo_internal.spool.reader.SpoolReader.has_others`."""
        return self._reader.has_others()

    def _deliver(self, batch: Batch) -> Verdict:
        """Do with one batch what the policy says; returns what has become of it."""
        verdict, attempt = self._send(batch)
        if verdict is not Verdict.DELIVERED:
            self.problem = attempt.problem
        if verdict is Verdict.FAIL_OVER:
            return self._fail_over(batch, attempt)
        if verdict is Verdict.DROP:
            self._count(counters.TOO_LARGE if attempt.status == 413 else counters.REFUSED, batch)
            if self.keep_refused is not None and batch.is_spared:
                self.keep_refused(batch.shown_lines())
            # Where the count dies with the process, each such line is all that tells of them.
            say = diagnostics.say_once if self._counts.is_kept else diagnostics.say
            say("error", f"Sumo Logic rejects {batch.count()} lines permanently ({attempt.problem}); they are lost")
        elif verdict is Verdict.HALVE:
            diagnostics.say_once(
                "warn",
                "a batch is too large for Sumo Logic, or for something on the way (HTTP 413): it is sent in halves",
            )
        elif verdict is Verdict.KEEP:
            diagnostics.say_once(
                "warn", f"Sumo Logic does not accept lines ({attempt.problem}); they wait in the spool"
            )
        elif verdict is Verdict.DELIVERED and attempt.problem:
            diagnostics.say_once("warn", f"Sumo Logic has accepted lines and reports: {attempt.problem}")
        return verdict

    def _send(self, batch: Batch) -> tuple[Verdict, Attempt]:
        """Post one batch to the source, as often as the policy, the breaker and the time allow."""
        has_failover = self._destinations.has_failover
        given_up = Verdict.FAIL_OVER if has_failover else Verdict.KEEP
        if self._breaker.is_open(time.time()):
            return given_up, Attempt(0, "the circuit breaker is open")
        left_s = self._left_s()
        reserve_s = left_s * FAILOVER_SHARE if has_failover and left_s < REQUEST_TIMEOUT_S else 0.0
        if self._source is None:
            self._source = self._destinations.connect()
        retries_max = 0 if self._breaker.is_trial else self._config.num_retries
        attempts = 0
        attempt = Attempt(0, "no time")
        while (left_s := self._left_s() - reserve_s) >= _ATTEMPT_MIN_S:
            attempt = self._attempt(batch, self._source.post, batch.body, min(REQUEST_TIMEOUT_S, left_s))
            attempts += 1
            if attempt.status in (401, 403) and attempts == 1 and self._source.renew():
                continue
            verdict = judge(attempt, attempts, retries_max, is_single=batch.is_single, has_failover=has_failover)
            self._mind_outage(verdict, attempt, has_failover=has_failover)
            if verdict is not Verdict.AGAIN:
                self._mind_size(verdict, attempt, batch)
                self._mind_breaker(verdict, attempt)
                return verdict, attempt
            diagnostics.say("debug", f"Sumo Logic does not accept lines now ({attempt.problem}); trying again")
            wait_s = pause_s(attempts, self._config.retry_sleep_ms / 1000, attempt.retry_after_s, _chance())
            if wait_s + _ATTEMPT_MIN_S > self._left_s() - reserve_s:
                break
            self._count(counters.RETRIED, batch)
            self.pause(wait_s)
        if attempts:
            self._mind_breaker(given_up, attempt)
        return (Verdict.FAIL_OVER if has_failover else Verdict.AGAIN), attempt

    def _attempt(self, batch: Batch, send: Callable[..., Attempt], body: object, *arguments: float) -> Attempt:
        """Send a batch, and note which of its lines may be there although they will be sent again.

        The note and the count come first: if the process is killed in between, no line may come twice uncounted. An
        error of our own code is an attempt that failed: the policy has an end for those.

        Raises:
            UnreadableError: As :meth:`Batch.body`; nothing was sent.
        """
        lines, size_bytes = batch.mark_sent()
        if lines:
            self._counts.add(counters.SENT_AGAIN, lines, size_bytes)
        try:
            attempt = send(body, batch.envelope, *arguments)
        except UnreadableError:
            batch.unmark_sent()
            self._counts.add(counters.SENT_AGAIN, -lines, -size_bytes)
            raise
        except Exception as error:
            if diagnostics.IS_STRICT:
                raise
            attempt = Attempt(0, f"{type(error).__name__} in our own code", is_out=True)
        self.attempts += 1
        if attempt.is_sent_again:
            self._count(counters.SENT_AGAIN, batch)
        if not attempt.may_have_arrived:
            batch.unmark_sent()
            self._counts.add(counters.SENT_AGAIN, -lines, -size_bytes)
        return attempt

    def _limit_bytes(self) -> int:
        """How large a batch may be now. With the breaker open it goes to the failover destination, which takes any."""
        return BATCH_MAX_BYTES if self._breaker.is_open(time.time()) else self._limit.limit_bytes

    def _mind_size(self, verdict: Verdict, attempt: Attempt, batch: Batch) -> None:
        """Remember what the source takes, and how often even a single record was too large."""
        if verdict is Verdict.DELIVERED:
            self._limit = self._limit.after_acceptance(batch.size_bytes)
            self._too_large_in_a_row = 0
        elif verdict is Verdict.HALVE:
            self._limit = self._limit.after_refusal(batch.size_bytes)
        elif attempt.status == 413:
            self._too_large_in_a_row += 1

    def _mind_breaker(self, verdict: Verdict, attempt: Attempt) -> None:
        """A batch that the source did not take, for a reason that the next one would meet too, opens the breaker.

        One record that is too large is no such reason, but the second in a row may be: something on the way refuses
        whatever comes.
        """
        if attempt.status == 413:
            is_failure = self._too_large_in_a_row > 1 and verdict is not Verdict.HALVE
        else:
            is_failure = verdict in (Verdict.KEEP, Verdict.FAIL_OVER) and attempt.status != 400
        if is_failure:
            self._breaker = self._breaker.after_failure(time.time(), attempt.retry_after_s, _chance())
        elif attempt.status not in (0, 413):
            self._breaker = self._breaker.after_success()

    def _mind_outage(self, verdict: Verdict, attempt: Attempt, *, has_failover: bool) -> None:
        """Tell of an attempt at the source; where there is a failover destination, its attempts decide."""
        if self.outage is not None and verdict is Verdict.DELIVERED:
            self.outage.took()
        elif self.outage is not None and not has_failover and verdict is not Verdict.HALVE:
            self.outage.failed(time.time(), attempt.status)

    def _fail_over(self, batch: Batch, attempt: Attempt) -> Verdict:
        """Send a batch to the failover destination; what that does not take either stays in the spool."""
        if self._left_s() < _ATTEMPT_MIN_S:
            return Verdict.AGAIN
        if self._failover is None:
            self._failover = self._destinations.connect_failover()
        put = self._put(batch, self._failover)
        if 200 <= put.status < 300:
            self._count(counters.FAILED_OVER, batch)
            if self.outage is not None:
                self.outage.took()
            diagnostics.say_once(
                "warn", f"Sumo Logic does not accept lines ({attempt.problem}); the failover bucket does"
            )
            return Verdict.FAIL_OVER
        if self.outage is not None:
            self.outage.failed(time.time(), attempt.status)
        diagnostics.say_once(
            "error",
            f"Sumo Logic does not accept lines ({attempt.problem}), nor does the failover bucket ({put.problem}); "
            "they wait in the spool",
        )
        return Verdict.KEEP

    def _put(self, batch: Batch, failover: FailoverDestination) -> Attempt:
        """Send a batch; again, after pauses, while the destination is busy (SlowDown): near the end, until the time is
        used up."""
        is_end_near = self._left_s() <= REQUEST_TIMEOUT_S
        attempts = 0
        while True:
            timeout_s = min(REQUEST_TIMEOUT_S, self._left_s())
            put = self._attempt(batch, failover.put, batch.body(), time.time(), timeout_s)
            attempts += 1
            wait_s = pause_s(attempts, self._config.retry_sleep_ms / 1000, put.retry_after_s, _chance())
            is_over = 200 <= put.status < 300 or put.is_ours or wait_s + _ATTEMPT_MIN_S > self._left_s()
            if is_over or (attempts > self._config.num_retries and not is_end_near):
                return put
            self._count(counters.RETRIED, batch)
            self.pause(wait_s)

    def _count(self, reason: str, batch: Batch) -> None:
        self._counts.add(reason, batch.count(), batch.size_bytes)

    def _report_damage(self) -> None:
        while self._reader.damaged:
            problem, size_bytes = self._reader.damaged.pop()
            self._counts.add(counters.DAMAGED, 0, size_bytes)
            diagnostics.say("error", f"{problem}; renamed to *.damaged, its lines are not shipped")


def _chance() -> float:
    """A number between 0 and 1. Not ``random``'s, which is Python code around a C module, and slow to import."""
    return int.from_bytes(os.urandom(4), "little") / (1 << 32)
