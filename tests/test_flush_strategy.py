"""Flushing: after which invocations the environment is held, and for how long."""

from __future__ import annotations

import itertools

import pytest
from bench import flush_traffic
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.shipping.flush_strategy import (
    BESIDE_AGE_S,
    BESIDE_DUE_S,
    BESIDE_S,
    DEADLINE_MARGIN_S,
    DENSE_GAP_S,
    EVIDENCE_LENGTH,
    HISTORY_LENGTH,
    HOLD_MAX_S,
    UNHELD_FIRST,
    UNHELD_MAX,
    Patience,
    hold_until_s,
    is_held,
    pause_beside_s,
)

GAPS = st.lists(st.floats(0, 1e6))


@pytest.mark.parametrize(
    ("gaps_s", "expected"),
    [
        ([], True),
        ([0.1] * 4, True),
        ([0.1] * 5, False),
        ([10.0] * 5, False),
        ([10.1] * 5, True),
        ([0.1, 0.1, 60.0] * 2, True),
        ([0.1, 0.1, 20.0] * 2, False),
        ([600.0] + [0.1] * 19, True),
        ([600.0] + [0.1] * 20, False),
        ([0.1] * 19 + [600.0], True),
        ([0.1] * 19 + [150.0], False),
    ],
)
def test_auto_holds_where_invocations_are_rare(gaps_s: list[float], expected: bool) -> None:
    """Held until there are five gaps to go by; then the mean of the last twenty decides.

    Guards against a rule that does not see the pauses between short bursts, because most gaps are short.
    """
    assert is_held("auto", gaps_s) is expected


@given(st.lists(st.floats(0.01, 600), min_size=100, max_size=400))
def test_auto_has_its_price(gaps_s: list[float]) -> None:
    """Whatever the traffic, over a long time there is no more than one hold in ten seconds, the first ones apart."""
    holds = sum(is_held("auto", gaps_s[:number]) for number in range(EVIDENCE_LENGTH, len(gaps_s)))
    assert holds <= sum(gaps_s) / DENSE_GAP_S + HISTORY_LENGTH


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


def test_the_table_is_up_to_date() -> None:
    """What the documentation says of the strategies is what they do: the same functions made it."""
    assert flush_traffic.FILE.read_text() == flush_traffic.table(), "write it anew: python tools/bench/flush_traffic.py"


@pytest.mark.parametrize("shape", flush_traffic.SHAPES, ids=lambda shape: shape.__name__)
def test_auto_is_between_the_others(shape: flush_traffic.Shape) -> None:
    """In all traffic that we can think of, auto holds no more than end, and lets no line wait longer than next."""
    end, auto, latest = (flush_traffic.outcome(shape, strategy) for strategy in ("end", "auto", "next"))
    assert end.held >= auto.held >= latest.held == 0
    assert sum(end.late_s) <= sum(auto.late_s) <= sum(latest.late_s)
    assert len(end.late_s) == len(auto.late_s) == len(latest.late_s)


def test_a_source_that_is_always_slow_is_waited_for_ever_more_seldom() -> None:
    """Each drain that ends is late: in a thousand invocations seven are held in vain, and then one in 257."""
    patience, held = Patience(), []
    for number in range(1_000):
        if patience.unheld_left:
            patience = patience.after_unheld_invocation().after_delivery(HOLD_MAX_S + 0.6)
        else:
            patience = patience.after_slow_hold()
            held.append(number)
    assert held == [0, 5, 22, 87, 344, 601, 858]
    assert [later - earlier - 1 for earlier, later in itertools.pairwise(held)][:4] == [
        UNHELD_FIRST,
        4 * UNHELD_FIRST,
        16 * UNHELD_FIRST,
        UNHELD_MAX,
    ]


@pytest.mark.parametrize(
    ("took_s", "is_over"), [(0.0, True), (HOLD_MAX_S, True), (HOLD_MAX_S + 0.001, False), (-1.0, False)]
)
def test_only_a_drain_that_was_over_in_time_ends_the_impatience(took_s: float, is_over: bool) -> None:
    """Not one that merely ended, nor one whose time a clock that was set back does not tell."""
    slow = Patience().after_slow_hold().after_slow_hold()
    after = slow.after_delivery(took_s)
    assert (after.unheld_left == 0) is is_over
    assert after.after_slow_hold().unheld_left == (UNHELD_FIRST if is_over else UNHELD_MAX // 4)


@given(st.lists(st.booleans(), max_size=100))
def test_impatience_is_bounded(holds: list[bool]) -> None:
    """However long a source has been slow, a hold is tried again."""
    patience = Patience()
    for is_slow in holds:
        patience = patience.after_slow_hold() if is_slow else patience.after_unheld_invocation()
        assert 0 <= patience.unheld_left <= UNHELD_MAX


@pytest.mark.parametrize(
    ("waiting_s", "max_age_s", "has_missed", "expected"),
    [
        (0.0, 5.0, False, BESIDE_S),
        (BESIDE_AGE_S - 0.01, 5.0, False, BESIDE_S),
        (BESIDE_AGE_S - 0.01, 5.0, True, BESIDE_S),
        (BESIDE_AGE_S, 5.0, False, BESIDE_DUE_S),
        (0.1, 0.1, False, BESIDE_DUE_S),
        (-3600.0, 5.0, False, BESIDE_DUE_S),
        (BESIDE_AGE_S, 5.0, True, 0.0),
    ],
)
def test_a_short_invocation_has_nothing_shipped_beside_it(
    waiting_s: float, max_age_s: float, has_missed: bool, expected: float
) -> None:
    """Unless lines are old; then its first milliseconds are the handler's all the same, and the second short one in a
    row is not waited for. Guards against lines that wait for ever where each invocation takes a millisecond, and
    against a clock that was set back."""
    assert pause_beside_s(waiting_s, max_age_s, has_missed=has_missed) == expected


@given(st.lists(st.tuples(st.floats(0.0005, 0.2), st.floats(0.0, 2.0)), min_size=1, max_size=200), st.floats(0.1, 5.0))
def test_no_line_waits_for_more_than_two_short_invocations_once_it_is_old(
    visits: list[tuple[float, float]], max_age_s: float
) -> None:
    """Whatever the invocations' lengths and the gaps between them: it leaves beside the second that begins when it is
    old, if not before."""
    at_s, emptied_s, has_missed = 0.0, 0.0, False
    old_in_a_row = 0
    for run_s, gap_s in visits:
        at_s += gap_s
        is_old = at_s - emptied_s >= min(max_age_s, BESIDE_AGE_S)
        pause_s = pause_beside_s(at_s - emptied_s, max_age_s, has_missed=has_missed)
        if pause_s < run_s:
            emptied_s, has_missed, old_in_a_row = at_s + pause_s, False, 0
        else:
            has_missed |= pause_s == BESIDE_DUE_S
            old_in_a_row = old_in_a_row + 1 if is_old else 0
        assert old_in_a_row < 2
        at_s += run_s
