"""Delivery: what becomes of a batch after each answer, how long the pauses are, and when a source is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.destinations.attempt import Attempt
from sumo_internal.shipping.retry_policy import (
    BREAKER_FIRST_S,
    BREAKER_MAX_S,
    PAUSE_MAX_S,
    RAISE_AFTER_MAX,
    RETRY_AFTER_MAX_S,
    BatchLimit,
    Breaker,
    Verdict,
    judge,
    pause_s,
)

RETRIES_MAX = 3

PASSING = (0, 408, 429, 500, 502, 503, 504, 599)
OURS = (301, 302, 307, 401, 402, 403, 404, 405, 409, 411, 414, 418, 499)
TABLE = [
    *[(status, Verdict.DELIVERED, Verdict.DELIVERED) for status in (200, 201, 202, 204, 299)],
    *[(status, Verdict.AGAIN, Verdict.AGAIN) for status in PASSING],
    *[(status, Verdict.FAIL_OVER, Verdict.KEEP) for status in OURS],
    (413, Verdict.HALVE, Verdict.HALVE),
    (400, Verdict.FAIL_OVER, Verdict.DROP),
]
"""Status, verdict with a bucket, verdict without."""


@pytest.mark.parametrize(("status", "with_bucket", "without"), TABLE)
def test_verdict(status: int, with_bucket: Verdict, without: Verdict) -> None:
    """The table in the module's docstring, on a first attempt with a batch of several records."""
    assert judge(Attempt(status), 1, RETRIES_MAX, is_single=False, has_failover=True) is with_bucket
    assert judge(Attempt(status), 1, RETRIES_MAX, is_single=False, has_failover=False) is without


def test_a_single_record_is_not_halved() -> None:
    """One that is too large on its own would be halved for ever: it goes elsewhere or is dropped."""
    assert judge(Attempt(413), 1, RETRIES_MAX, is_single=True, has_failover=True) is Verdict.FAIL_OVER
    assert judge(Attempt(413), 1, RETRIES_MAX, is_single=True, has_failover=False) is Verdict.DROP


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("retries_max", [0, 1, 3])
@pytest.mark.parametrize("has_failover", [False, True])
def test_attempts_are_used_up(status: int, retries_max: int, has_failover: bool) -> None:
    """So many retries after the first attempt, and then the bucket or the spool: the batch is never dropped."""
    verdicts = [
        judge(Attempt(status), made, retries_max, is_single=True, has_failover=has_failover)
        for made in range(1, retries_max + 3)
    ]
    assert verdicts == [Verdict.AGAIN] * retries_max + [Verdict.FAIL_OVER if has_failover else Verdict.KEEP] * 2


@pytest.mark.parametrize(("retry_after_s", "is_again"), [(0.0, True), (PAUSE_MAX_S, True), (PAUSE_MAX_S + 1, False)])
def test_a_source_that_asks_for_long_is_not_tried_again(retry_after_s: float, is_again: bool) -> None:
    """Up to the longest pause it is waited for; beyond that the batch has other ways."""
    attempt = Attempt(429, "", retry_after_s)
    assert (judge(attempt, 1, RETRIES_MAX, is_single=False, has_failover=False) is Verdict.AGAIN) is is_again


@given(
    st.integers(0, 999), st.none() | st.floats(0, 1e5), st.integers(1, 1_000), st.integers(0, 100), *[st.booleans()] * 2
)
def test_only_the_source_says_that_lines_are_worthless(
    status: int, retry_after_s: float | None, made: int, retries_max: int, is_single: bool, has_failover: bool
) -> None:
    """Nothing but a 400, and a 413 for one record, loses lines, and only where there is no bucket."""
    attempt = Attempt(status, "", retry_after_s)
    verdict = judge(attempt, made, retries_max, is_single=is_single, has_failover=has_failover)
    is_worthless = status == 400 or (status == 413 and is_single)
    assert (verdict is Verdict.DROP) == (is_worthless and not has_failover)
    assert (verdict is Verdict.DELIVERED) == (200 <= status < 300)
    assert verdict is not Verdict.AGAIN or made <= retries_max
    assert has_failover or verdict is not Verdict.FAIL_OVER
    assert not has_failover or verdict is not Verdict.KEEP


@pytest.mark.parametrize(
    ("attempts_made", "retry_after_s", "random", "expected_s"),
    [
        (1, None, 1.0, 0.3),
        (1, None, 0.0, 0.0),
        (1, None, 0.5, 0.15),
        (2, None, 1.0, 0.6),
        (3, None, 1.0, 1.2),
        (7, None, 1.0, 19.2),
        (8, None, 1.0, 30.0),
        (8, None, 0.5, 15.0),
        (101, None, 1.0, 30.0),
        (1, 0.0, 1.0, 0.3),
        (1, 7.0, 1.0, 7.0),
        (1, 7.0, 0.0, 7.0),
    ],
)
def test_pause(attempts_made: int, retry_after_s: float | None, random: float, expected_s: float) -> None:
    """Doubled from 0.3 s on, up to the longest, with full jitter; a Retry-After counts in full."""
    assert pause_s(attempts_made, 0.3, retry_after_s, random) == pytest.approx(expected_s)


@given(
    st.integers(1, 101),  # SUMO_NUM_RETRIES takes up to 100
    st.floats(0, 60),
    st.none() | st.floats(0, 10_000),
    st.floats(0, 1),
)
def test_pauses_are_within_their_bounds(
    attempts_made: int, first_pause_s: float, retry_after_s: float | None, random: float
) -> None:
    """Never negative, never longer than our longest, never shorter than asked for, and growing."""
    got_s = pause_s(attempts_made, first_pause_s, retry_after_s, random)

    asked_s = retry_after_s or 0.0
    assert asked_s <= got_s <= max(asked_s, PAUSE_MAX_S)
    assert got_s <= pause_s(attempts_made + 1, first_pause_s, retry_after_s, random)
    assert got_s <= pause_s(attempts_made, first_pause_s, retry_after_s, 1.0)


def test_a_breaker_opens_for_longer_each_time_and_closes_at_once() -> None:
    """5, 10, 20, … 300 seconds on average; one success, and it has forgotten."""
    breaker = Breaker()
    assert (breaker.is_open(0.0), breaker.is_trial) == (False, False)
    pauses_s = []
    for _ in range(9):
        breaker = breaker.after_failure(1000.0, None, 0.5)
        pauses_s.append(breaker.until_s - 1000.0)
        assert breaker.is_trial
    assert pauses_s == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert not breaker.after_success().is_trial
    assert not breaker.after_success().is_open(1000.0)


@given(st.integers(0, 2_000), st.floats(0, 4e9), st.none() | st.floats(0, 1e5), st.floats(0, 1))
def test_a_breaker_is_open_within_its_bounds(
    failures: int, now_s: float, retry_after_s: float | None, random: float
) -> None:
    """Between half and one and a half of the average, however often it failed; a Retry-After counts up to its bound."""
    breaker = Breaker(failures).after_failure(now_s, retry_after_s, random)
    pause = breaker.until_s - now_s
    asked_s = min(RETRY_AFTER_MAX_S, retry_after_s or 0.0)
    assert max(asked_s, BREAKER_FIRST_S / 2) - 1e-3 <= pause <= max(asked_s, BREAKER_MAX_S * 1.5) + 1e-3
    assert breaker.is_open(now_s) and not breaker.is_open(breaker.until_s)
    assert not breaker.is_open(now_s - 1.0)  # the clock was set back: who knows for how long the rest would be
    assert breaker.failures == failures + 1


@pytest.mark.parametrize(("asked_s", "expected_s"), [(899.0, 899.0), (900.0, 900.0), (901.0, 900.0), (1e300, 900.0)])
def test_no_source_silences_an_environment_for_good(asked_s: float, expected_s: float) -> None:
    """Whatever Retry-After says, there is a trial after fifteen minutes."""
    assert Breaker().after_failure(0.0, asked_s, 0.5).until_s == expected_s
    assert Breaker().after_failure(0.0, float("inf"), 0.5).until_s == 900.0


@given(st.integers(1, 2_000_000), st.integers(1, 60))
def test_the_size_that_is_taken_is_found_and_kept(taken_bytes: int, batches: int) -> None:
    """What is refused becomes rare: one request in so many, however small the size is that something on the way takes.

    Guards against beginning at the top again with each batch, and against small batches for good.
    """
    limit = BatchLimit(1_000_000)
    refused = accepted = in_a_row = 0
    while accepted < batches * RAISE_AFTER_MAX:
        size_bytes = limit.limit_bytes
        if size_bytes <= taken_bytes:
            limit = limit.after_acceptance(size_bytes)
            accepted, in_a_row = accepted + 1, 0
        else:
            limit = limit.after_refusal(size_bytes)
            refused, in_a_row = refused + 1, in_a_row + 1
        assert 1 <= limit.limit_bytes <= 1_000_000
        assert in_a_row <= 20
    assert refused <= 20 + 5 + batches
    if taken_bytes >= 1_000_000:
        assert (refused, limit.limit_bytes) == (0, 1_000_000)
    else:
        assert limit.limit_bytes >= min(taken_bytes // 2, 500_000)


def test_one_refusal_is_about_one_batch() -> None:
    """After it batches are whole again at once: each request has its price."""
    limit = BatchLimit(1_000_000).after_refusal(999_000)
    assert limit.limit_bytes == 499_500
    assert limit.after_acceptance(1_000).limit_bytes == 499_500  # which tells nothing
    assert limit.after_acceptance(499_000).limit_bytes == 999_000
    assert limit.after_acceptance(499_000).after_acceptance(998_000).limit_bytes == 1_000_000


@pytest.mark.parametrize(("status", "is_ours"), [(0, False), (200, False), *[(s, True) for s in OURS], (500, False)])
def test_who_is_wrong(status: int, is_ours: bool) -> None:
    """An answer about us (the address, the batch) will be the same next time; one about the source may not."""
    assert Attempt(status).is_ours is is_ours
