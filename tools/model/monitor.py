"""The one lock of an environment's state, the record of what happened, and every wait.

Separate because the servers, the log readers and the life cycle change and watch the same state: with one condition
there is no order of locks to get wrong, and no wait without a bound.

Rules:

* A thread that changes what another may wait for does so under ``condition`` and notifies. What a predicate reads is
  changed nowhere else.
* Deadlines are on ``clock_s``, which stands still while the environment is frozen: a test that freezes in
  mid-invocation takes nothing from the function's time.

It does not know what the state is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from model.values import CloudWatchLine, Event

FROZEN_BOUND_S = 120.0
"""A freeze that no test ends; the longest one in the tests is a few seconds."""


class ModelStuck(Exception):
    """Something did not happen within its bound, and nothing in Lambda's contract says what then. The test or the
    model is wrong."""


class Monitor:
    """Lock, record and clock of one environment."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.timeline: list[Event] = []
        self.cloudwatch: list[CloudWatchLine] = []
        self._frozen_since_s: float | None = None
        self._frozen_total_s = 0.0

    def note(self, kind: str, who: str = "platform", detail: str = "") -> None:
        """Add an event to the timeline and wake the threads that wait for what it brought about."""
        with self.condition:
            self.timeline.append(Event(time.time(), kind, who, detail))
            self.condition.notify_all()

    def wake(self) -> None:
        """Let all threads look again at what they wait for."""
        with self.condition:
            self.condition.notify_all()

    def publish(self, lines: Iterable[CloudWatchLine]) -> None:
        """Add lines to the log stream."""
        with self.condition:
            self.cloudwatch.extend(lines)
            self.condition.notify_all()

    @property
    def is_frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen_since_s is not None

    def stop_clock(self) -> None:
        """Let the clock stand still until ``start_clock``."""
        with self.condition:
            self._frozen_since_s = time.monotonic()
            self.condition.notify_all()

    def start_clock(self) -> None:
        """Let the clock go on where it stopped."""
        with self.condition:
            if self._frozen_since_s is not None:
                self._frozen_total_s += time.monotonic() - self._frozen_since_s
                self._frozen_since_s = None
            self.condition.notify_all()

    def clock_s(self) -> float:
        """Return the time that deadlines are compared with."""
        return (self._frozen_since_s or time.monotonic()) - self._frozen_total_s

    def wait_for(self, predicate: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until ``predicate`` holds or ``clock_s`` has reached the deadline; return whether it holds.

        Raises:
            ModelStuck: The environment stayed frozen; thaw it in the test.
        """
        with self.condition:
            while not predicate():
                if self.is_frozen:
                    if not self.condition.wait(FROZEN_BOUND_S) and self.is_frozen:
                        raise ModelStuck(f"frozen for {FROZEN_BOUND_S:.0f} s; last events: {self.timeline[-10:]}")
                    continue
                remaining_s = deadline_s - self.clock_s()
                if remaining_s <= 0:
                    return False
                self.condition.wait(remaining_s)
            return True
