"""What to do after an attempt to deliver a batch: one table, the pauses between attempts, how large a batch may be, the
circuit breaker. Pure.

==========================  ==============================================  ==========================================
answer                      with a failover destination                     without
==========================  ==============================================  ==========================================
2xx                         delivered (a body that names errors is said)    the same
429, 408, 5xx, no answer    again, after a pause, Retry-After honoured      again likewise; then it stays in the spool
                            within the time there is; then it fails over    until the breaker's next trial
401, 403, 404, and what     fails over at once, said once; a secret         stays in the spool, said once; a secret
is not listed               endpoint is fetched anew once                   endpoint is fetched anew once
413                         in halves; a single record fails over. Two in   in halves; a single one: dropped, counted;
                            a row, and the breaker opens                    two in a row, and the breaker opens
400                         fails over, said once                           dropped and counted, said once: nothing
                                                                            behind it waits
==========================  ==============================================  ==========================================

No answer means: the connection failed, broke or ran out of time. A reused connection that breaks before an answer is
none of these: the source tries once more on a fresh one by itself (sockets do not survive a freeze).
"""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.destinations.attempt import Attempt

PAUSE_MAX_S = 30.0
"""No pause between attempts is longer. A source that asks for more (Retry-After) is left alone: the attempts at this
batch end, and the breaker opens for the time asked for."""
BREAKER_FIRST_S = 5.0
"""Pause of the breaker after a first failed batch, on average."""
BREAKER_MAX_S = 300.0
"""Longest pause of the breaker, on average; a Retry-After may be longer."""
RETRY_AFTER_MAX_S = 900.0
"""A source that asks for more gets this: a mistaken header must not silence an environment for the rest of its life."""
RAISE_AFTER_MAX = 64
"""The most batches that must be taken at the present size before twice that size is tried again."""


class Verdict(Enum):
    """What becomes of a batch."""

    DELIVERED = "delivered"
    AGAIN = "again"
    """It is tried again after a pause; at the end of a drain's time: by a later drain."""
    HALVE = "halve"
    """The next batch from the same place is half as large."""
    FAIL_OVER = "fail over"
    """It goes to the failover destination."""
    KEEP = "keep"
    """It stays in the spool, and so does all that is behind it, until the breaker lets a trial through."""
    DROP = "drop"
    """No destination will ever take it: it is counted and acknowledged."""


class Drained(Enum):
    """How a drain ended."""

    EMPTY = "empty"
    """All that was there when it began is delivered, or dropped and counted."""
    KEPT = "kept"
    """Something stays in the spool for a later drain: no destination takes it now."""
    OUT_OF_TIME = "out of time"
    ELSEWHERE = "elsewhere"
    """Another drainer is at work for the same destinations; this one has taken nothing."""


def judge(attempt: Attempt, attempts_made: int, retries_max: int, *, is_single: bool, has_failover: bool) -> Verdict:
    """Decide what becomes of a batch after an attempt.

    Args:
        attempt: What the source answered.
        attempts_made: This one included.
        retries_max: Attempts allowed after the first.
        is_single: The batch holds one record only.
        has_failover: There is a failover destination.
    """
    status = attempt.status
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == 413 and not is_single:
        return Verdict.HALVE
    if status in (400, 413):
        return Verdict.FAIL_OVER if has_failover else Verdict.DROP
    is_passing = not attempt.is_ours and (attempt.retry_after_s or 0) <= PAUSE_MAX_S
    if is_passing and attempts_made <= retries_max:
        return Verdict.AGAIN
    return Verdict.FAIL_OVER if has_failover else Verdict.KEEP


def pause_s(attempts_made: int, first_pause_s: float, retry_after_s: float | None, random: float) -> float:
    """Seconds to wait before the next attempt: doubled each time, with full jitter, never below a Retry-After.

    With a first pause of 0.3 s the pause before attempt 2 lies between 0 and 0.3 s, before attempt 3 between 0 and
    0.6 s, before attempt 4 between 0 and 1.2 s; full jitter keeps a fleet of environments from coming back together.

    Args:
        attempts_made: So far, at least 1.
        first_pause_s: SUMO_RETRY_SLEEP_TIME_MS in seconds.
        retry_after_s: What the source asked for, if it did.
        random: A number between 0 and 1, drawn by the caller.
    """
    ours = min(PAUSE_MAX_S, first_pause_s * 2.0 ** (attempts_made - 1)) * random
    return max(ours, retry_after_s or 0.0)


class BatchLimit:
    """How large a batch may be: what Sumo Logic documents, or what something on the way was found to take.

    A value: each event makes a new one. After a 413 the limit is half the refused batch. When a batch of that size has
    been taken, the limit is doubled. If a batch of the doubled size is refused, four times as many have to be taken
    first, up to :data:`RAISE_AFTER_MAX`. So one refusal costs one batch, and a lower limit on the way next to nothing.
    """

    __slots__ = ("limit_bytes", "_max_bytes", "_raise_after", "_accepted", "_is_raised")

    def __init__(
        self,
        max_bytes: int,
        limit_bytes: int | None = None,
        raise_after: int = 1,
        accepted: int = 0,
        *,
        is_raised: bool = False,
    ) -> None:
        self._max_bytes = max_bytes
        self.limit_bytes = max_bytes if limit_bytes is None else limit_bytes
        self._raise_after = raise_after
        self._accepted = accepted
        """Batches of about this size."""
        self._is_raised = is_raised
        """None of about this size has been taken yet."""

    def after_refusal(self, size_bytes: int) -> BatchLimit:
        """A batch of several records was too large."""
        raise_after = min(RAISE_AFTER_MAX, 4 * self._raise_after) if self._is_raised else self._raise_after
        return BatchLimit(self._max_bytes, max(1, size_bytes // 2), raise_after)

    def after_acceptance(self, size_bytes: int) -> BatchLimit:
        """A batch was taken. A batch that is much smaller than the limit tells nothing about the limit."""
        if self.limit_bytes >= self._max_bytes:
            return BatchLimit(self._max_bytes)
        if 2 * size_bytes <= self.limit_bytes:
            return self
        if self._accepted + 1 < self._raise_after:
            return BatchLimit(self._max_bytes, self.limit_bytes, self._raise_after, self._accepted + 1)
        raised_bytes = min(self._max_bytes, 2 * max(size_bytes, self.limit_bytes))
        return BatchLimit(self._max_bytes, raised_bytes, self._raise_after, is_raised=True)


class Breaker:
    """Keeps a dead source from costing anything: after a batch that failed, none is tried for a while.

    A value: each event makes a new one. While the breaker is closed, every batch is tried as often as the policy
    allows. While it is open, none is. When the pause is over, one attempt is a trial, and decides. The pause is drawn
    between half and one and a half of its average, which doubles with each failure, so that a fleet does not come back
    at the same instant.

    The breaker's times are the wall clock's, because no other clock goes on while an environment is frozen. A clock
    that is set back to before the failure ends the pause: it is unknown how long the rest would be.
    """

    __slots__ = ("failures", "since_s", "until_s")

    def __init__(self, failures: int = 0, since_s: float = 0.0, until_s: float = 0.0) -> None:
        self.failures = failures
        self.since_s = since_s
        self.until_s = until_s

    def is_open(self, now_s: float) -> bool:
        """Is no batch to be tried now?"""
        return self.since_s <= now_s < self.until_s

    @property
    def is_trial(self) -> bool:
        """Is the next attempt a trial, to be made once?"""
        return self.failures > 0

    def for_a_last_trial(self) -> Breaker:
        """Let one attempt through now: there will be no later one."""
        return Breaker(self.failures)

    def after_success(self) -> Breaker:
        return Breaker()

    def after_failure(self, now_s: float, retry_after_s: float | None, random: float) -> Breaker:
        """Open, or stay open for longer.

        Args:
            now_s: POSIX time.
            retry_after_s: What the source asked for, if it did.
            random: A number between 0 and 1, drawn by the caller.
        """
        average_s = min(BREAKER_MAX_S, BREAKER_FIRST_S * 2.0 ** min(self.failures, 30))
        pause_s = max(average_s * (0.5 + random), min(RETRY_AFTER_MAX_S, retry_after_s or 0.0))
        return Breaker(self.failures + 1, now_s, now_s + pause_s)
