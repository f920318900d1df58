"""Flushing: after which invocations the environment is held, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.flushing import DEADLINE_MARGIN_S, DENSE_GAP_S, HISTORY_LENGTH, HOLD_MAX_S, hold_until_s, is_held

GAPS = st.lists(st.floats(0, 1e6))


@pytest.mark.parametrize(
    ("gaps_s", "expected"),
    [
        ([], True),
        ([0.1] * 4, True),
        ([0.1] * 5, False),
        ([10.0] * 5, False),
        ([10.1] * 5, True),
        ([0.1, 60.0, 0.1, 60.0, 60.0], True),
        ([0.1, 60.0, 0.1, 60.0, 0.1], False),
        ([60.0] * 100 + [0.1] * 3, False),
        ([60.0] * 100 + [0.1] * 2, True),
        ([0.1] * 100 + [60.0] * 3, True),
    ],
)
def test_auto_holds_where_invocations_are_rare(gaps_s: list[float], expected: bool) -> None:
    """Held until there are five gaps to go by; then the median of the last five decides, not a single outlier."""
    assert is_held("auto", gaps_s) is expected


@given(GAPS)
def test_end_and_next_do_not_look_at_the_gaps(gaps_s: list[float]) -> None:
    """Who chose one gets it."""
    assert is_held("end", gaps_s)
    assert not is_held("next", gaps_s)


@given(GAPS, st.lists(st.floats(0, 1e6), min_size=HISTORY_LENGTH, max_size=HISTORY_LENGTH))
def test_auto_forgets(past_s: list[float], recent_s: list[float]) -> None:
    """Only the last gaps count, and they decide alone where they agree."""
    held = is_held("auto", past_s + recent_s)
    assert held is is_held("auto", recent_s)
    if max(recent_s) <= DENSE_GAP_S or min(recent_s) > DENSE_GAP_S:
        assert held is (min(recent_s) > DENSE_GAP_S)


@given(st.floats(0, 4e9), st.floats(0, 1_000))
def test_a_hold_ends_in_time(now_s: float, left_s: float) -> None:
    """Not longer than its bound, and before the deadline: a hold must not turn into the function's timeout."""
    until_s = hold_until_s(now_s, now_s + left_s)
    assert until_s <= now_s + HOLD_MAX_S
    assert until_s <= now_s + left_s - DEADLINE_MARGIN_S
    assert until_s in (now_s + HOLD_MAX_S, now_s + left_s - DEADLINE_MARGIN_S)
