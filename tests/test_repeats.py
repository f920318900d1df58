"""Several subscriptions of one extension: each event once, whatever Lambda does with the earlier ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.extension.repeats import Repeats

START: Any = {"type": "platform.start"}

events = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


class Lambda:
    """Delivers to subscriptions in the ways that its documentation leaves open, and notes what is taken."""

    def __init__(self) -> None:
        self.repeats = Repeats()
        self.history: list[object] = []
        self.taken: list[object] = []
        self.numbers = [1]

    def deliver(self, number: int, told: list[object], cut: int) -> None:
        for part in (told[:cut], told[cut:]):
            fresh, self.repeats = self.repeats.after(number, part)
            self.taken += fresh

    def tell(self, told: list[object], cut: int) -> None:
        self.history += told
        for number in self.numbers:
            self.deliver(number, told, cut)


@given(events, events, events, events, st.integers(0, 6), st.booleans())
def test_each_event_once(
    init: list[object], between: list[object], late: list[object], after: list[object], cut: int, is_added: bool
) -> None:
    """The second subscription is told the init again, in one delivery or two; the first goes on, or ends."""
    api = Lambda()
    api.tell(init, cut)
    api.repeats.asked(2)
    api.tell(between, cut)  # by the first: the second has not delivered yet
    api.numbers = [1, 2] if is_added else [2]
    api.deliver(2, list(api.history), cut)
    for told in (late, [START, *after], after):
        api.tell(told, cut)
    assert api.taken == api.history


@pytest.mark.parametrize("is_known", [True, False])
def test_a_second_one_that_is_refused_costs_nothing(is_known: bool) -> None:
    """The first goes on for the environment's life; what it tells is not remembered for ever."""
    api = Lambda()
    if is_known:
        api.repeats.asked(2)
    told = [START, *({"number": number} for number in range(3_000))]
    for event in told:
        api.tell([event], 0)
    assert api.taken == told
    fresh, repeats = api.repeats.after(1, ["more"])
    assert fresh == ["more"] and repeats is api.repeats
