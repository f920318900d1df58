"""When to ship: at the end of an invocation, before the environment freezes, or beside the next one. Pure.

``end`` holds the environment (and its bill) after the response until the lines are at Sumo; ``next`` never does, and
the last lines wait for the next invocation or for SHUTDOWN. ``auto`` is ``end`` where invocations are rare, because
there nobody would see the last lines for long and a few milliseconds are bought seldom, and ``next`` where they are
dense, because there the next one is about to carry them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DENSE_GAP_S = 10.0
"""With ``auto``, invocations closer than this (median of the last gaps) are dense: lines are late by no more."""
HISTORY_LENGTH = 5
"""Gaps that ``auto`` looks at; with fewer it is ``end``: a newcomer's first lines are there at once, and a request that
is under way when the environment freezes, the price of ``next``, is not risked on little evidence."""
HOLD_MAX_S = 2.0
"""``end`` never holds an environment for longer, whatever Sumo does."""
DEADLINE_MARGIN_S = 0.5
"""... nor beyond this much before the invocation's deadline: a hold must not become a timeout."""


def is_held(strategy: str, gaps_s: Sequence[float]) -> bool:
    """Is the environment held after this invocation until its lines are delivered?

    Args:
        strategy: SUMO_FLUSH: ``end``, ``next`` or ``auto``.
        gaps_s: Seconds between the last invocations (from the end of one to the beginning of the next), newest last.
    """
    if strategy != "auto":
        return strategy == "end"
    recent = sorted(gaps_s[-HISTORY_LENGTH:])
    return len(recent) < HISTORY_LENGTH or recent[HISTORY_LENGTH // 2] > DENSE_GAP_S


def hold_until_s(now_s: float, deadline_s: float) -> float:
    """POSIX time at which a hold that begins now ends, come what may."""
    return min(now_s + HOLD_MAX_S, deadline_s - DEADLINE_MARGIN_S)
