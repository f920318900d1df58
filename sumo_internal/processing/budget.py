"""SUMO_RULES_MAX_MS: the CPU time that the rules may take for one record.

The function waits for the rules in its own log call, and the text that they search may come from the function's
callers. Separate from the rules, which are pure: this looks at the thread's clock.
"""

from __future__ import annotations

from time import thread_time

LOOK_EVERY_CHARS = 4_096
"""Of text that is searched between two looks at the clock, each of which is a system call."""


class OverBudgetError(Exception):
    """The rules have taken too long for a record: its message must not leave."""


def over_budget(max_ms: int) -> str:
    """Why such a message is withheld."""
    return f"SUMO_RULES_MAX_MS: the rules need more than {max_ms} ms of CPU time"


class Budget:
    """One record's budget; for short records the clock is never looked at."""

    __slots__ = ("_max_s", "_begun_s", "_left_chars")

    def __init__(self, max_ms: float) -> None:
        self._max_s = max_ms / 1000
        self._begun_s: float | None = None
        self._left_chars = LOOK_EVERY_CHARS

    def spend(self, chars: int) -> None:
        """Count characters that are about to be searched.

        Raises:
            OverBudgetError: There is no time for them.
        """
        self._left_chars -= chars
        if self._left_chars < 0:
            self._left_chars = LOOK_EVERY_CHARS
            now_s = thread_time()
            if self._begun_s is None:
                self._begun_s = now_s
            elif now_s - self._begun_s > self._max_s:
                raise OverBudgetError

    def leave_out(self, took_s: float) -> None:
        """Leave out CPU time that other code has taken meanwhile."""
        if self._begun_s is not None:
            self._begun_s += took_s
