"""What to do after an attempt to deliver a batch: one table, and the pauses between attempts. Pure.

=============================================  ========================================================================
answer                                         what happens
=============================================  ========================================================================
2xx                                            delivered; a body that names errors is said once
429, 408, 5xx, no answer                       again, after a pause; when attempts or time are used up the batch stays
                                               in the spool and is tried with the next drain
401, 403, 404 and what is not listed           stays in the spool, said once
413                                            again in halves; a single record is dropped and counted
400                                            dropped and counted, said once: nothing behind it waits
=============================================  ========================================================================

No answer means: the connection failed, broke or ran out of time. A reused connection that breaks before an answer is
none of these: the source tries once more on a fresh one by itself (sockets do not survive a freeze).
"""

from __future__ import annotations

from enum import Enum

_PAUSE_MAX_S = 60.0
"""No pause is longer, however often it was doubled; a Retry-After may be."""


class Attempt:
    """What came of one attempt.

    ``status`` is 0 where there was no answer; ``problem`` says what is wrong with it in a few words, without the
    endpoint; ``retry_after_s`` is what the source asked for.
    """

    __slots__ = ("status", "problem", "retry_after_s")

    def __init__(self, status: int, problem: str = "", retry_after_s: float | None = None) -> None:
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class Verdict(Enum):
    """What becomes of a batch."""

    DELIVERED = "delivered"
    AGAIN = "again"
    HALVE = "halve"
    KEEP = "keep"
    DROP = "drop"


def judge(attempt: Attempt, attempts_made: int, retries_max: int, *, is_single: bool) -> Verdict:
    """Decide what becomes of a batch after an attempt.

    Args:
        attempt: What the source answered.
        attempts_made: This one included.
        retries_max: Attempts allowed after the first.
        is_single: The batch holds one record only.
    """
    status = attempt.status
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == 413:
        return Verdict.DROP if is_single else Verdict.HALVE
    if status == 400:
        return Verdict.DROP
    if status in (0, 408, 429) or status >= 500:
        return Verdict.AGAIN if attempts_made <= retries_max else Verdict.KEEP
    return Verdict.KEEP


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
    ours = min(_PAUSE_MAX_S, first_pause_s * 2.0 ** (attempts_made - 1)) * random
    return max(ours, retry_after_s or 0.0)
