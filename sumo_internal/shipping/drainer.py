"""The drainer: take a slice of the spool, compress it, send it, acknowledge it; the one loop both processes run.

A batch is bytes between two line ends: nothing here looks into a record. Lines are acknowledged only when the source or
the bucket has them (or when they are dropped, and counted), so a drain may be cut off anywhere: by a freeze, a kill or
its deadline. Lines that were on the way then are sent again, and their ``id`` tells so.

What to do after each answer is :mod:`sumo_internal.shipping.retry_policy`'s; this module does it.
"""

from __future__ import annotations

import json
import os
import time
from math import inf

from sumo_internal import diagnostics, own_secrets
from sumo_internal.destinations.attempt import Attempt
from sumo_internal.destinations.encoding import GZIP
from sumo_internal.shipping.retry_policy import BatchLimit, Breaker, Drained, Verdict, judge, pause_s
from sumo_internal.spool import counters
from sumo_internal.spool.envelope import DESTINATION, SPARED
from sumo_internal.spool.folder import FolderRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Protocol

    from sumo_internal.config import Config
    from sumo_internal.destinations.encoding import Encoding
    from sumo_internal.spool.outage import Outage
    from sumo_internal.spool.reader import SpoolReader
    from sumo_internal.spool.segment import Slice

    class Source(Protocol):
        """Where batches go; see :class:`sumo_internal.destinations.http_source.HttpSource`."""

        def post(self, pack: Callable[[Encoding], bytes], envelope: Mapping[str, str], timeout_s: float) -> Attempt: ...

        def renew(self) -> bool:
            """Fetch the address anew after it was refused. False where that cannot help."""

    class FailoverDestination(Protocol):
        """Where batches go that the source does not take; see :class:`sumo_internal.destinations.s3.FailoverBucket`."""

        def put(self, body: bytes, envelope: Mapping[str, str], now_s: float, timeout_s: float) -> Attempt: ...


BATCH_MAX_BYTES = 1_000_000
"""Bound on uncompressed lines in one request: Sumo's documented limit, read as megabyte and not mebibyte."""
REQUEST_TIMEOUT_S = 10.0
"""Time for one attempt, as in the Go extension; cut to what is left before a deadline."""
BUCKET_SHARE = 0.4
"""Share of the time until a deadline that is kept back for the bucket while Sumo has not answered."""
OTHERS_EVERY_S = 5.0
"""While a process's own counts stay as they are, it looks at those of others (children, the extension) no more often:
each look is a dozen system calls beside the function."""
_ATTEMPT_MIN_S = 0.05
"""With less time than this left, no attempt is begun: a TLS handshake alone takes as long."""


class Drainer:
    """Empties the spool into the source, or into the bucket."""

    def __init__(
        self,
        config: Config,
        reader: SpoolReader,
        counts: counters.Counters,
        connect: Callable[[], Source],
        connect_bucket: Callable[[], FailoverDestination] | None,
        account: Callable[[dict[str, tuple[int, int]]], None],
        fill: Callable[[dict[str, str]], dict[str, str]] = dict,
        disconnect: Callable[[], None] = lambda: None,
    ) -> None:
        """Drain a reader.

        Args:
            config: For the retries.
            reader: What there is to take.
            counts: Where this drainer counts what is retried, failed over and dropped.
            connect: Makes the source, when there is something to send for the first time (it may cost 80 ms).
            connect_bucket: Likewise for the bucket; None where there is none.
            account: Puts a record into the spool that says what was retried, failed over and lost so far.
            fill: Makes a batch's request headers from those that its lines were written under.
            disconnect: Closes what connections there are; a later request makes them anew.
        """
        self.disconnect = disconnect
        self._config = config
        self._fill = fill
        self._reader = reader
        self._counts = counts
        self._connect = connect
        self._connect_bucket = connect_bucket
        self._record_account = account
        self._source: Source | None = None
        self._bucket: FailoverDestination | None = None
        self._breaker = Breaker()
        self._limit = BatchLimit(BATCH_MAX_BYTES)
        self._too_large_in_a_row = 0
        """Records that were too large on their own, while no batch has been taken since the first of them."""
        self._accounted: tuple[list[dict[str, tuple[int, int]]], bool] | None = None
        """This process's counts when all were last looked at, and whether they could be recorded."""
        self._accounted_at_s = 0.0
        self._accounts = 0
        """Records of accounts that may be on their way: 0 or 1."""
        self._said = {
            reason: lines for reason, (lines, _) in counters.reported(reader.folder, reader.destination).items()
        }
        self._latest_s = inf
        """POSIX time at which every drain stops; see :meth:`hurry`."""
        self.attempts = 0
        """Requests that have had an answer, or none in time: while it stays as it is, the thread waits for one."""
        self.outage: Outage | None = None
        """Told of each attempt, where lines go to CloudWatch if no destination takes them."""
        self.keep_refused: Callable[[Iterable[bytes | memoryview]], None] | None = None
        """Keeps lines that are refused for good, for CloudWatch."""
        self.has_delivered = False
        """The source or the bucket has taken lines in the last drain."""
        self.problem = ""
        """Why the source has not accepted a batch, the last time that this was so."""
        self.envelope: dict[str, str] = {}
        """The headers of the last batch."""

    def drain(
        self, until_s: float, pause: Callable[[float], object] = time.sleep, *, is_shutdown: bool = False
    ) -> Drained:
        """Send everything there is at this moment.

        Args:
            until_s: POSIX time at which to stop, at the latest.
            pause: Waits so many seconds between two attempts; may return earlier.
            is_shutdown: This is the environment's end: a source that is left alone gets a last trial.

        Returns:
            Whether the spool is empty, and if not, why: kept for a later drain, no time, another drainer at work.
        """
        self.has_delivered = False
        if is_shutdown:
            self._breaker = self._breaker.for_a_last_trial()
        if self._connect_bucket is None and self._breaker.is_open(time.time()):
            return Drained.KEPT  # at once: a dead source costs nothing beside the function either
        if not self._reader.acquire():
            return Drained.ELSEWHERE
        try:
            self._reader.mark()
            return self._drain_all(until_s, pause)
        finally:
            self._report_damage()
            self._reader.release()

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

    def _drain_all(self, until_s: float, pause: Callable[[float], object]) -> Drained:
        """Send batch by batch; an error of our own code in one segment keeps no other from delivery."""
        is_single = has_skipped = False
        while slices := self._reader.take(self._limit_bytes(), is_single=is_single):
            try:
                batch = Batch(slices)
                batch.envelope = self._fill(batch.envelope)
                verdict = self._deliver(batch, min(until_s, self._latest_s), pause)
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

    def account(
        self, *own_counters: counters.Counters | counters.Kept, is_recorded: bool, is_shutdown: bool = False
    ) -> bool:
        """Say which lines have been lost meanwhile, and record all that was counted since that was last done.

        Args:
            own_counters: This process's other counters, and those that it keeps, for counts that have no file.
            is_recorded: Put a record into the spool. Not while nothing can be delivered: there would be one per drain.
            is_shutdown: This is the environment's end.

        Returns:
            Whether there is a new record to be drained.
        """
        own = ([each.counts() for each in (self._counts, *own_counters)], is_recorded)
        if own == self._accounted and 0 <= time.time() - self._accounted_at_s < OTHERS_EVERY_S and not is_shutdown:
            return False
        self._accounted, self._accounted_at_s = own, time.time()
        if self._counts.counts():
            self._counts.keep()
        folder, destination = self._reader.folder, self._reader.destination
        counts = counters.totals(folder, self._counts, *own_counters, destination=destination)
        for reason in (counters.SPOOL_FULL, counters.DISK_FULL, counters.TOO_LONG):
            lines = counts.get(reason, (0, 0))[0]
            if lines > self._said.get(reason, 0):
                diagnostics.say(
                    "error", f"{lines - self._said.get(reason, 0)} lines are lost: {counters.LOSSES[reason]}"
                )
                self._said[reason] = lines
        before = counters.reported(folder, destination)
        if counts == before:
            self._accounts = 0  # no count has changed, so nothing has happened to the last account
        if not is_recorded or not counters.has_news(counts, before, accounts=self._accounts, is_shutdown=is_shutdown):
            return False
        self._accounts = 1
        try:
            self._record_account(counts)
        except FolderRefusedError as error:  # the counts are in their files; what there is to send is sent all the same
            diagnostics.say_once("warn", f"what was lost and retried is not recorded: {error}")
            return False
        counters.set_reported(folder, counts, destination)
        return True

    def _deliver(self, batch: Batch, until_s: float, pause: Callable[[float], object]) -> Verdict:
        """Do with one batch what the policy says; returns what has become of it."""
        self.envelope = batch.envelope
        verdict, attempt = self._send(batch, until_s, pause)
        if verdict is not Verdict.DELIVERED:
            self.problem = attempt.problem
        if verdict is Verdict.FAIL_OVER:
            return self._fail_over(batch, attempt, until_s, pause)
        if verdict is Verdict.DROP:
            self._count(counters.TOO_LARGE if attempt.status == 413 else counters.REFUSED, batch)
            if self.keep_refused is not None and batch.is_spared:
                self.keep_refused(batch.shown_lines())
            # Where the count dies with the process, each such line is all that tells of them.
            say = diagnostics.say_once if self._counts.is_kept else diagnostics.say
            say("error", f"Sumo Logic rejects {batch.count()} lines permanently ({attempt.problem}); they are lost")
        elif verdict is Verdict.HALVE:
            diagnostics.say_once(
                "warn", "a batch is too large for Sumo Logic, or for something on the way (HTTP 413): it goes in halves"
            )
        elif verdict is Verdict.KEEP:
            diagnostics.say_once(
                "warn", f"Sumo Logic does not accept lines ({attempt.problem}); they wait in the spool"
            )
        elif verdict is Verdict.DELIVERED and attempt.problem:
            diagnostics.say_once("warn", f"Sumo Logic has accepted lines and reports: {attempt.problem}")
        return verdict

    def _send(self, batch: Batch, until_s: float, pause: Callable[[float], object]) -> tuple[Verdict, Attempt]:
        """Post one batch to the source, as often as the policy, the breaker and the time allow."""
        has_bucket = self._connect_bucket is not None
        given_up = Verdict.FAIL_OVER if has_bucket else Verdict.KEEP
        begun_s = time.time()
        if self._breaker.is_open(begun_s):
            return given_up, Attempt(0, "the circuit breaker is open")
        if has_bucket and until_s - begun_s < REQUEST_TIMEOUT_S:
            until_s -= (until_s - begun_s) * BUCKET_SHARE
        if self._source is None:
            self._source = self._connect()
        retries_max = 0 if self._breaker.is_trial else self._config.num_retries
        attempts = 0
        attempt = Attempt(0, "no time")
        while (left_s := min(until_s, self._latest_s) - time.time()) >= _ATTEMPT_MIN_S:
            attempt = self._attempt(batch, self._source.post, batch.body, min(REQUEST_TIMEOUT_S, left_s))
            attempts += 1
            if attempt.status in (401, 403) and attempts == 1 and self._source.renew():
                continue
            verdict = judge(attempt, attempts, retries_max, is_single=batch.is_single, has_bucket=has_bucket)
            self._mind_outage(verdict, attempt, has_bucket=has_bucket)
            if verdict is not Verdict.AGAIN:
                self._mind_size(verdict, attempt, batch)
                self._mind_breaker(verdict, attempt)
                return verdict, attempt
            diagnostics.say("debug", f"Sumo Logic does not accept lines now ({attempt.problem}); trying again")
            wait_s = pause_s(attempts, self._config.retry_sleep_ms / 1000, attempt.retry_after_s, _chance())
            if time.time() + wait_s + _ATTEMPT_MIN_S > min(until_s, self._latest_s):
                break
            self._count(counters.RETRIED, batch)
            pause(wait_s)
        if attempts:
            self._mind_breaker(given_up, attempt)
        return (Verdict.FAIL_OVER if has_bucket else Verdict.AGAIN), attempt

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
        # With the breaker open there are batches for the bucket only, which takes all.
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

    def _mind_outage(self, verdict: Verdict, attempt: Attempt, *, has_bucket: bool) -> None:
        """Where there is a bucket, it decides."""
        if self.outage is not None and verdict is Verdict.DELIVERED:
            self.outage.took()
        elif self.outage is not None and not has_bucket and verdict is not Verdict.HALVE:
            self.outage.failed(time.time(), attempt.status)

    def _fail_over(self, batch: Batch, attempt: Attempt, until_s: float, pause: Callable[[float], object]) -> Verdict:
        """Put a batch into the bucket; what the bucket does not take either stays in the spool."""
        until_s = min(until_s, self._latest_s)
        if until_s - time.time() < _ATTEMPT_MIN_S:
            return Verdict.AGAIN
        if self._bucket is None:
            assert self._connect_bucket is not None, "nobody says FAIL_OVER without a bucket"
            self._bucket = self._connect_bucket()
        put = self._put(batch, self._bucket, until_s, pause)
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

    def _put(
        self, batch: Batch, bucket: FailoverDestination, until_s: float, pause: Callable[[float], object]
    ) -> Attempt:
        """Put a batch; again, after pauses, while S3 is busy (SlowDown): near the end, until the time is used up."""
        is_end_near = until_s - time.time() <= REQUEST_TIMEOUT_S
        attempts = 0
        while True:
            now_s = time.time()
            put = self._attempt(batch, bucket.put, batch.body(), now_s, min(REQUEST_TIMEOUT_S, until_s - now_s))
            attempts += 1
            wait_s = pause_s(attempts, self._config.retry_sleep_ms / 1000, put.retry_after_s, _chance())
            is_over = 200 <= put.status < 300 or put.is_ours or time.time() + wait_s + _ATTEMPT_MIN_S > until_s
            if is_over or (attempts > self._config.num_retries and not is_end_near):
                return put
            self._count(counters.RETRIED, batch)
            pause(wait_s)

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


class UnreadableError(Exception):
    """These lines cannot be read or packed. That says nothing about the source, nor about any other lines."""


class Batch:
    """Slices that travel in one request; compressed when that is needed for the first time."""

    def __init__(self, slices: list[Slice]) -> None:
        self._slices = slices
        self._body = b""
        self._encoding: Encoding | None = None
        """The body's encoding, once there is a body."""
        self._sent_before: list[int] = []
        self.size_bytes = sum(piece.size_bytes for piece in slices)
        self.is_single = len(slices) == 1 and slices[0].is_single
        self.envelope: dict[str, str] = json.loads(slices[0].segment.envelope or "{}")
        self.envelope.pop(DESTINATION, None)  # no header
        self.is_spared = self.envelope.pop(SPARED, "") != ""
        """CloudWatch may not have these lines."""

    def body(self, encoding: Encoding = GZIP) -> bytes:
        """The lines, compressed; an object in the bucket is gzip, whatever the source takes.

        Raises:
            UnreadableError: Try other lines.
        """
        if self._encoding is not encoding:
            try:
                self._body = encoding.pack(self.lines())
            except Exception as error:
                raise UnreadableError(f"{type(error).__name__}: {error}") from error
            self._encoding = encoding
        return self._body

    def shown_lines(self) -> Iterator[memoryview | bytes]:
        """The lines that CloudWatch would have without SUMO_CLOUDWATCH."""
        return self.lines([piece for piece in self._slices if not piece.segment.is_below_level])

    def lines(self, slices: list[Slice] | None = None) -> Iterator[memoryview | bytes]:
        for piece in self._slices if slices is None else slices:
            with piece.data() as lines:
                yield own_secrets.hidden(lines)

    def count(self) -> int:
        """How many lines these are; reads them all."""
        return sum(piece.count() for piece in self._slices)

    def mark_sent(self) -> tuple[int, int]:
        """The lines go out now. Returns how many lines and bytes of them may have arrived already."""
        marks = [piece.mark_sent() for piece in self._slices]
        self._sent_before = [before for before, _, _ in marks]
        return sum(lines for _, lines, _ in marks), sum(size_bytes for _, _, size_bytes in marks)

    def unmark_sent(self) -> None:
        """The lines have certainly not arrived."""
        for piece, before in zip(self._slices, self._sent_before, strict=True):
            piece.unmark_sent(before)

    def acknowledge(self) -> None:
        """The lines are delivered now, or dropped and counted."""
        for piece in self._slices:
            piece.acknowledge()
