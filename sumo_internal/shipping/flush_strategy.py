"""When to ship: at the end of an invocation, before the environment freezes, or beside the next one. Pure.

``end`` holds the environment (and its bill) after the response until the lines are at Sumo; ``next`` never does, and
the last lines wait for the next invocation or for SHUTDOWN. ``auto`` is ``end`` where invocations are rare: there the
last lines would stay unseen for long, and a few milliseconds are bought seldom. It is ``next`` where invocations are
dense: there the next one is about to carry the lines.

Why the mean of the gaps decides: without a hold a line waits for the rest of the gap, so the mean gap *is* how late
lines would be, and a few long gaps among many short ones make most of it. The median of the gaps does not see the long
ones: where each visit to a page makes three calls, two gaps of three are short, and the third call's lines wait for the
next visitor. In a simulated day of such visits (``docs/flush.md``), the median of five gaps left lines waiting for 40 s
on average, the mean of twenty for 1 s.

What it costs: twenty gaps that lead to a hold add up to more than twenty times :data:`DENSE_GAP_S`, so over a long time
there is at most one hold per :data:`DENSE_GAP_S`. At 80 ms a hold that is 0.8 % of the time, or 35 US cents a month for
each environment and gigabyte, however invocations are spread. The other price is that an invocation which comes while
the environment is held begins in another environment. This never happens where invocations are dense; in bursts as
short as three calls it happens once in five.

A hold that runs out is paid for and brings nothing, so a slow source gets few of them (:class:`Patience`).

Beside an invocation the drain begins late (:func:`pause_beside_s`): it takes the interpreter lock from the handler
ten times, and where the invocation is over meanwhile, the freeze catches a request under way.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DENSE_GAP_S = 10.0
"""With ``auto``, invocations that are closer than this (mean of the last gaps) are dense: lines are late by no more."""
HISTORY_LENGTH = 20
"""Gaps that ``auto`` looks at: bursts up to this length are seen together with the pause before them. With more, the
pause before a dense time would be paid for longer, and bursts of thirty gain little (``docs/flush.md``)."""
EVIDENCE_LENGTH = 5
"""With fewer gaps to go by, ``auto`` is ``end``. A newcomer's first lines are there at once, and little evidence does
not risk what ``next`` may cost: a request that is under way when the environment freezes."""
HOLD_MAX_S = 2.0
"""``end`` never holds an environment for longer, whatever Sumo does."""
DEADLINE_MARGIN_S = 0.5
"""... nor beyond this much before the invocation's deadline: a hold must not become a timeout."""
BESIDE_S = 0.05
"""An invocation that is over sooner has nothing shipped beside it, while what waits is not old, nor so much that the
shipping thread is woken for it (``WAKE_BYTES`` in :mod:`sumo_internal.shipping.shipper`)."""
BESIDE_DUE_S = 0.005
"""Where it is old, the handler's first milliseconds are its own all the same: most handlers need no more."""
BESIDE_AGE_S = 1.0
"""Old, if SUMO_FLUSH_MAX_AGE_S is not less. Where short invocations come in bursts, the lines of a burst's last second
wait for the next burst, so this is not much."""
UNHELD_FIRST, UNHELD_MAX = 4, 256
"""Invocations that are not held after a hold that ran out: four times as many after each further one, up to this. With
a source that is slow for good one invocation in 257 is held in vain."""


def is_held(strategy: str, gaps_s: Sequence[float]) -> bool:
    """Is the environment held after this invocation until its lines are delivered?

    Args:
        strategy: SUMO_FLUSH: ``end``, ``next`` or ``auto``.
        gaps_s: Seconds between the last invocations (from the end of one to the beginning of the next), newest last.
    """
    if strategy != "auto":
        return strategy == "end"
    recent_s = gaps_s[-HISTORY_LENGTH:]
    return len(recent_s) < EVIDENCE_LENGTH or sum(recent_s) > DENSE_GAP_S * len(recent_s)


def hold_until_s(now_s: float, deadline_s: float) -> float:
    """POSIX time at which a hold that begins now ends, come what may."""
    return min(now_s + HOLD_MAX_S, deadline_s - DEADLINE_MARGIN_S)


def pause_beside_s(waiting_s: float, max_age_s: float, *, has_missed: bool) -> float:
    """Seconds from the beginning of an invocation that is not held until lines are shipped beside it, if it lasts.

    Args:
        waiting_s: Since when lines may have been waiting, at most: since the last drain began.
        max_age_s: SUMO_FLUSH_MAX_AGE_S.
        has_missed: An invocation before was over too soon, although its lines were due.
    """
    if 0 <= waiting_s < min(max_age_s, BESIDE_AGE_S):
        return BESIDE_S
    return 0.0 if has_missed else BESIDE_DUE_S


class Patience:
    """Whether it is worth while to wait for the source, by whether it was so far. A value: each event makes a new one.

    After a hold that ran out, invocations are not held. A drain that was over within a hold's time, wherever it ran,
    ends that. A slower drain does not: a source that takes longer than a hold would be waited for again after each of
    its answers. Drains beside short invocations are cut by the freeze and may never be over so soon, so a hold is also
    tried again after some invocations.
    """

    __slots__ = ("slow_holds", "unheld_left")

    def __init__(self, slow_holds: int = 0, unheld_left: int = 0) -> None:
        self.slow_holds = slow_holds
        """Holds in a row that ran out."""
        self.unheld_left = unheld_left
        """Invocations still to come that are not held."""

    def after_slow_hold(self) -> Patience:
        return Patience(self.slow_holds + 1, min(UNHELD_MAX, UNHELD_FIRST * 4 ** min(self.slow_holds, 10)))

    def after_unheld_invocation(self) -> Patience:
        return Patience(self.slow_holds, max(0, self.unheld_left - 1))

    def after_delivery(self, took_s: float) -> Patience:
        """Args:
        took_s: From the beginning of a drain that has delivered something to its end, freezes included.
        """
        return Patience() if 0 <= took_s <= HOLD_MAX_S else self
