"""Events that Lambda tells once more, because the extension has subscribed once more. Pure.

Lambda tells each new subscription what has happened since the init began, and nothing says whether an earlier one of
the same extension ends with it. So the subscriptions are numbered. Once a later one has delivered, what an earlier one
delivers is left out. Of what the later one delivers, the events that the earlier one had told already are left out, as
often as it had told them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_REMEMBERED_MAX = 1_000
"""Events; what an init tells beyond them may be recorded twice."""


class Repeats:
    """The events that were taken so far and may be told again. A value: :meth:`after` makes the next one."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._repeated: dict[int, int] = {}
        self._newest = 1
        self._asked = 1
        self.is_init_over = False
        """An invocation has begun: Lambda takes no subscription any more."""

    def asked(self, number: int) -> None:
        """A subscription of this number was asked for."""
        self._asked = number

    def after(self, number: int, events: list[object]) -> tuple[list[object], Repeats]:
        """Sort out a delivery.

        Args:
            number: Of the subscription that it comes by.
            events: What it brings.

        Returns:
            The new events, and the value to go on with once they were taken.
        """
        if number < self._newest:
            return [], self
        if self.is_init_over and number == self._newest == self._asked:
            return events, self
        later = Repeats()
        later._newest, later._asked, later.is_init_over = number, self._asked, self.is_init_over
        later._taken = dict(self._taken)
        later._repeated = dict(self._taken if number > self._newest else self._repeated)
        fresh = list(later._sort_out(events))
        if len(later._taken) > _REMEMBERED_MAX:
            later._asked = number  # Lambda has not taken the later subscription
        if later._newest == later._asked and later.is_init_over:
            later._taken = {}
        return fresh, later

    def _sort_out(self, events: list[object]) -> Iterable[object]:
        for event in events:
            key = hash(repr(event))
            if self._repeated.get(key):
                self._repeated[key] -= 1
                continue
            self._taken[key] = self._taken.get(key, 0) + 1
            if isinstance(event, dict) and event.get("type") == "platform.start":
                self.is_init_over = True
            yield event
