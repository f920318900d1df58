"""The drainer, from a real spool to a real server: retries, halves, drops, deadlines, and two that drain at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from scripted_http import ScriptedServer, answer
from sumo_source import ACCEPT, HANG, LOSE_ANSWER, Fault, Point, SumoSource, complaint

from layer.build import ROOT
from sumo_internal import config as configuration
from sumo_internal import diagnostics
from sumo_internal.destinations.s3 import FailoverBucket
from sumo_internal.net.aws import Aws
from sumo_internal.net.client import PlainSender
from sumo_internal.shipping import retry_policy
from sumo_internal.shipping.accounts import OTHERS_EVERY_S
from sumo_internal.shipping.drainer import BATCH_MAX_BYTES
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.shipping.retry_policy import Drained
from sumo_internal.spool import counters
from sumo_internal.spool.folder import FolderRefusedError, list_segments
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import HEADER_BYTES, SEGMENT_BYTES, Segment, Slice
from sumo_internal.spool.writer import Spool

ENVELOPE = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]0123abcd"}
LATE_S = 60.0
"""From now: a deadline that no test reaches."""


def append(spool: Spool, *numbers: int, size_bytes: int = 0) -> None:
    for number in numbers:
        spool.append(f'{{"time":"2026-11-21T08:22:03.123Z","message":"{"x" * size_bytes}","number":{number}')


def numbers(source: SumoSource) -> list[int]:
    return [record["number"] for record in source.records]


def no_pause(_: float) -> None:
    """For drains whose pauses do not matter."""


Counts = dict[str, tuple[int, int]]
"""Lines and bytes by reason."""


class Bench:
    """A spool of this process's own, its drainer, and the source that it drains into."""

    def __init__(self, folder: Path, source: SumoSource, sender: PlainSender, environ: dict[str, str]) -> None:
        config, problems = configuration.read({"SUMO_HTTP_ENDPOINT": source.url} | environ)
        assert not problems
        self.source = source
        self.spool = Spool(str(folder), ENVELOPE, 64_000_000)
        self.counters = counters.Counters(str(folder), "test")
        self.senders_made = 0

        def make_sender() -> PlainSender:
            self.senders_made += 1
            return sender

        reader = SpoolReader(str(folder), self.spool)
        self.accounts: list[Counts] = []
        self.record_account: Callable[[Counts], None] = self.accounts.append
        """A test may put another one in its place."""
        self._drainer = make_drainer(
            config, {}, reader, self.counters, make_sender, lambda counts: self.record_account(counts)
        )

    @property
    def counts(self) -> dict[str, int]:
        """Lines that the drainer has counted, by reason."""
        return {reason: lines for reason, (lines, _) in self.counters.counts().items()}

    def account(self) -> list[dict[str, int]]:
        """Ask for an account; return all so far, lines by reason."""
        self._drainer.account(self.spool.counters, is_recorded=True)
        return [{reason: lines for reason, (lines, _) in counts.items()} for counts in self.accounts]

    def drain(
        self, left_s: float = LATE_S, pause: Callable[[float], object] = no_pause, *, is_shutdown: bool = False
    ) -> Drained:
        self._drainer.pause = pause
        return self._drainer.drain(time.time() + left_s, is_shutdown=is_shutdown)


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    """Makes a bench; arguments are the source's, and settings by their variables' names."""
    opened: list[AbstractContextManager[Any] | PlainSender] = []

    def make(environ: dict[str, str] | None = None, **arguments: Any) -> Bench:
        source, sender = SumoSource(**arguments), PlainSender()
        opened.extend([sender, source])
        return Bench(tmp_path / "spool", source, sender, environ or {})

    yield make
    for each in opened:
        each.close()  # type: ignore[union-attr]  # both have one


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


def test_everything_arrives_once(bench: Bench) -> None:
    """Over one connection, in order, in a batch; and nothing comes again with the next drain."""
    append(bench.spool, *range(100))

    assert bench.drain() is Drained.EMPTY
    assert bench.drain() is Drained.EMPTY

    assert numbers(bench.source) == list(range(100))
    assert len(bench.source.requests) == 1
    assert bench.source.problems == []
    assert bench.spool.pending_bytes == 0


def test_an_empty_spool_costs_nothing(bench: Bench) -> None:
    """No connection is made for nothing: importing what sends costs more than an invocation."""
    assert bench.drain() is Drained.EMPTY
    assert bench.source.requests == []
    assert bench.senders_made == 0


def test_batches_are_within_sumos_limit(bench: Bench) -> None:
    """A megabyte before compression, across segments; full batches, because each request has its price."""
    append(bench.spool, *range(300), size_bytes=10_000)

    assert bench.drain() is Drained.EMPTY

    assert numbers(bench.source) == list(range(300))
    sizes = [request.body_size_bytes for request in bench.source.requests]
    assert max(sizes) <= BATCH_MAX_BYTES
    assert len(sizes) == 4
    assert bench.source.max_connections_seen == 1
    assert len(list_segments(bench.spool.folder)) == 1


def test_what_is_written_meanwhile_waits_for_the_next_drain(bench: Bench) -> None:
    """A drain beside a function that logs without a break has an end."""
    append(bench.spool, 1)
    bench.source.script([Fault(status=503)])

    assert bench.drain(pause=lambda _: append(bench.spool, 2)) is Drained.EMPTY
    assert numbers(bench.source) == [1]

    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [1, 2]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_busy_source_is_tried_again(make_bench: MakeBench, status: int) -> None:
    """After pauses that grow, with the same batch, until it is taken: every line once."""
    bench = make_bench({"SUMO_RETRY_SLEEP_TIME_MS": "100"})
    append(bench.spool, 1, 2)
    bench.source.script([Fault(status=status)] * 3)
    pauses_s: list[float] = []

    assert bench.drain(pause=pauses_s.append) is Drained.EMPTY

    assert numbers(bench.source) == [1, 2]
    assert bench.counts == {counters.RETRIED: 6}
    assert len(pauses_s) == 3
    assert all(0 <= pause_s <= 0.1 * 2**number for number, pause_s in enumerate(pauses_s))


def test_a_source_that_asks_for_time_gets_it(bench: Bench) -> None:
    """No try before the Retry-After is over."""
    append(bench.spool, 1)
    bench.source.script([Fault(status=429, headers={"Retry-After": "7"})])
    pauses_s: list[float] = []
    assert bench.drain(pause=pauses_s.append) is Drained.EMPTY
    assert pauses_s == [7.0]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(at=Point.BEFORE_READING),
        Fault(at=Point.AFTER_BODY),
    ],
    ids=["unavailable", "throttled", "closed", "dies"],
)
def test_when_attempts_are_used_up_lines_stay(
    make_bench: MakeBench, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many attempts and no more; then the batch waits in the spool, and a later drain delivers it."""
    monkeypatch.setattr(retry_policy, "BREAKER_FIRST_S", 0.0)
    bench = make_bench({"SUMO_NUM_RETRIES": "2"})
    append(bench.spool, 1, 2)
    bench.source.default = fault

    assert bench.drain() is Drained.KEPT
    assert len(bench.source.requests) == 3
    assert numbers(bench.source) == []

    bench.source.default = ACCEPT
    append(bench.spool, 3)
    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [1, 2, 3]
    assert not bench.counts.keys() & counters.LOSSES.keys()


def test_a_dead_source_is_left_alone(bench: Bench) -> None:
    """After a batch that failed the breaker is open: drains cost nothing, and the lines stay."""
    append(bench.spool, 1)
    bench.source.default = Fault(status=503)
    assert bench.drain() is Drained.KEPT
    tries = len(bench.source.requests)

    assert [bench.drain() for _ in range(3)] == [Drained.KEPT] * 3

    assert len(bench.source.requests) == tries
    assert bench.spool.pending_bytes


def test_a_trial_is_one_attempt_and_decides(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the breaker's pause is over: one attempt; where it fails, none more; where not, all is as before."""
    monkeypatch.setattr(retry_policy, "BREAKER_FIRST_S", 0.0)
    bench = make_bench({"SUMO_NUM_RETRIES": "1"})
    append(bench.spool, 1)
    bench.source.script([Fault(status=503)] * 4)

    outcomes = [(bench.drain(), len(bench.source.requests)) for _ in range(4)]
    append(bench.spool, 2)
    bench.source.script([Fault(status=503)])
    outcomes.append((bench.drain(), len(bench.source.requests)))

    assert outcomes == [
        (Drained.KEPT, 2),
        (Drained.KEPT, 3),
        (Drained.KEPT, 4),
        (Drained.EMPTY, 5),
        (Drained.EMPTY, 7),
    ]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_address_that_is_wrong_keeps_the_lines(
    bench: Bench, status: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request a drain and no retries; it is said once; when it has been put right, all lines are there."""
    monkeypatch.setattr(retry_policy, "BREAKER_FIRST_S", 0.0)
    append(bench.spool, 1)
    bench.source.default = Fault(status=status)

    assert [bench.drain() for _ in range(3)] == [Drained.KEPT] * 3

    assert len(bench.source.requests) == 3
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and f"HTTP {status}" in said[0]
    bench.source.default = ACCEPT
    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [1]
    assert bench.counts == {}


def test_a_batch_that_is_too_large_goes_in_halves(make_bench: MakeBench) -> None:
    """Down to what the source takes, in order, nothing dropped."""
    bench = make_bench(limit_bytes=20_000)
    append(bench.spool, *range(200), size_bytes=900)

    assert bench.drain() is Drained.EMPTY

    assert numbers(bench.source) == list(range(200))
    assert {request.status for request in bench.source.requests} == {200, 413}
    assert bench.counts == {}


def test_after_a_half_batches_are_whole_again(bench: Bench) -> None:
    """One 413 is about one batch; smaller requests for all that follow would each have their price."""
    append(bench.spool, *range(300), size_bytes=10_000)
    bench.source.script([Fault(413)])

    assert bench.drain() is Drained.EMPTY

    sizes = [request.body_size_bytes for request in bench.source.requests]
    assert sizes[0] > 900_000 and sizes[1] <= 500_000 < 900_000 < max(sizes[2:])
    assert numbers(bench.source) == list(range(300))


def test_the_size_that_was_taken_is_remembered(make_bench: MakeBench, capfd: pytest.CaptureFixture[str]) -> None:
    """Something on the way takes 20,000 bytes: found once, and tried to exceed ever more seldom; said once."""
    bench = make_bench(limit_bytes=20_000)
    append(bench.spool, *range(2_000), size_bytes=900)

    assert bench.drain() is Drained.EMPTY

    refused = [request for request in bench.source.requests if request.status == 413]
    assert len(refused) <= 12 and len(bench.source.requests) <= 200
    assert numbers(bench.source) == list(range(2_000))
    assert capfd.readouterr().err.count("HTTP 413") == 1


def test_a_way_that_takes_nothing_costs_little_and_loses_next_to_nothing(
    make_bench: MakeBench, capfd: pytest.CaptureFixture[str]
) -> None:
    """413 to everything: halves down to a record, two of which are given up; then the breaker is open."""
    bench = make_bench()
    bench.source.default = Fault(413)
    append(bench.spool, *range(2_000), size_bytes=900)

    assert [bench.drain() for _ in range(5)] == [Drained.KEPT] * 5

    assert len(bench.source.requests) <= 14
    assert bench.counts == {counters.TOO_LARGE: 2}
    assert capfd.readouterr().err.count("HTTP 413") == 2


def test_records_that_are_too_large_one_after_the_other_do_not_stand_in_the_way_for_good(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is given up with a trial of the breaker's; what is behind them arrives."""
    monkeypatch.setattr(retry_policy, "BREAKER_FIRST_S", 0.0)
    bench = make_bench(limit_bytes=20_000)
    append(bench.spool, 1)
    append(bench.spool, 2, 3, 4, size_bytes=30_000)
    append(bench.spool, 5)

    assert [bench.drain() for _ in range(3)] == [Drained.KEPT, Drained.KEPT, Drained.EMPTY]

    assert numbers(bench.source) == [1, 5]
    assert bench.counts == {counters.TOO_LARGE: 3}


def test_a_record_that_is_too_large_is_dropped_and_counted(
    make_bench: MakeBench, capfd: pytest.CaptureFixture[str]
) -> None:
    """Halving ends at one record: what is before and behind it arrives, and the loss is said."""
    bench = make_bench(limit_bytes=20_000)
    append(bench.spool, 1, 2, 3)
    append(bench.spool, 4, size_bytes=30_000)
    append(bench.spool, 5, 6)

    assert bench.drain() is Drained.EMPTY

    assert numbers(bench.source) == [1, 2, 3, 5, 6]
    assert bench.counts == {counters.TOO_LARGE: 1}
    assert "rejects 1 lines permanently (HTTP 413)" in capfd.readouterr().err


def test_a_batch_that_the_source_cannot_read_is_dropped_and_counted(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """It will never be taken, and must not stand before those that will."""
    append(bench.spool, *range(150), size_bytes=10_000)
    bench.source.script([Fault(status=400, body=b"bad gzip")])

    assert bench.drain() is Drained.EMPTY

    arrived = numbers(bench.source)
    assert arrived == list(range(150 - len(arrived), 150)) and 0 < len(arrived) < 150
    assert bench.counts == {counters.REFUSED: 150 - len(arrived)}
    assert f"rejects {150 - len(arrived)} lines permanently (HTTP 400 bad gzip)" in capfd.readouterr().err


def test_a_complaint_about_taken_lines_is_said_once(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """Delivered is delivered; the user learns what Sumo Logic does not like."""
    bench.source.default = complaint("logs.fields.invalid", "field not in the schema")
    for number in range(3):
        append(bench.spool, number)
        assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [0, 1, 2]
    assert capfd.readouterr().err.count("field not in the schema") == 1


def test_without_time_nothing_is_begun(bench: Bench) -> None:
    """A request cut off by the end of the window would be sent again: better not at all."""
    append(bench.spool, 1)
    assert bench.drain(left_s=0.0) is Drained.OUT_OF_TIME
    assert bench.drain(left_s=-60.0) is Drained.OUT_OF_TIME
    assert bench.source.requests == []
    assert bench.spool.pending_bytes


def test_a_source_that_hangs_does_not_hold_beyond_the_deadline(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt, cut to what is left; the lines stay."""
    monkeypatch.setattr(retry_policy, "BREAKER_FIRST_S", 0.0)
    append(bench.spool, 1)
    bench.source.default = HANG

    assert bench.drain(left_s=0.3) is Drained.OUT_OF_TIME

    assert len(bench.source.requests) == 1
    bench.source.default = ACCEPT
    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [1]


def test_a_pause_that_does_not_fit_is_not_begun(bench: Bench) -> None:
    """Waiting for a try that will not come would only use up the window."""
    append(bench.spool, 1)
    bench.source.script([Fault(status=429, headers={"Retry-After": "20"})])
    pauses_s: list[float] = []
    assert bench.drain(left_s=10.0, pause=pauses_s.append) is Drained.OUT_OF_TIME
    assert (pauses_s, len(bench.source.requests)) == ([], 1)


def test_a_source_that_asks_for_very_long_is_not_waited_for(bench: Bench) -> None:
    """The shipping thread does not sleep for an hour: the attempts end, and the breaker keeps the time."""
    append(bench.spool, 1)
    bench.source.script([Fault(status=429, headers={"Retry-After": "3600"})])
    pauses_s: list[float] = []
    assert [bench.drain(left_s=7200.0, pause=pauses_s.append) for _ in range(2)] == [Drained.KEPT] * 2
    assert (pauses_s, len(bench.source.requests)) == ([], 1)


def test_a_lost_answer_sends_again_with_the_same_ids(bench: Bench) -> None:
    """At least once: what may have arrived is sent again, and its id tells so."""
    append(bench.spool, 1, 2)
    bench.source.script([LOSE_ANSWER])
    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [1, 2, 1, 2]
    assert list(bench.source.ids().values()) == [2, 2]
    assert bench.counts == {counters.RETRIED: 2, counters.SENT_AGAIN: 2}


def test_a_lost_answer_over_a_kept_connection_is_counted_too(bench: Bench) -> None:
    """Tried again at once, which is no attempt; but the lines may be there twice."""
    append(bench.spool, 1)
    assert bench.drain() is Drained.EMPTY
    append(bench.spool, 2, 3)
    bench.source.script([LOSE_ANSWER])

    assert bench.drain() is Drained.EMPTY

    assert numbers(bench.source) == [1, 2, 3, 2, 3]
    assert bench.counts == {counters.SENT_AGAIN: 2}


def test_what_was_refused_is_not_counted_as_sent_again(bench: Bench) -> None:
    """An answer that nothing was taken, or no connection at all: then nothing can come twice."""
    append(bench.spool, 1, 2)
    bench.source.script([Fault(503), Fault(429)])
    assert bench.drain() is Drained.EMPTY
    bench.source.pause_listening()
    bench.source.drop_connections()
    append(bench.spool, 3)
    assert bench.drain() is Drained.KEPT  # over the kept connection it may have arrived, but it was not sent again

    assert counters.SENT_AGAIN not in bench.counts


def test_an_unanswered_batch_stays_marked_when_a_later_attempt_is_refused(bench: Bench) -> None:
    """Kept and not answered, then refused, then taken: it is there twice, and the refusal changes nothing."""
    append(bench.spool, 1, 2)
    bench.source.script([LOSE_ANSWER, Fault(503)])

    assert bench.drain() is Drained.EMPTY

    assert numbers(bench.source) == [1, 2, 1, 2]
    assert bench.counts == {counters.RETRIED: 4, counters.SENT_AGAIN: 2}


def test_what_goes_wrong_in_our_own_code_is_a_failed_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A batch that our own code trips over takes its way through the policy; it does not end the drain for ever."""
    append(bench.spool, 1)
    monkeypatch.setattr(diagnostics, "IS_STRICT", False)
    monkeypatch.setattr("sumo_internal.destinations.http_source.Attempt", None)

    assert bench.drain() is Drained.KEPT
    assert "TypeError in our own code" in capfd.readouterr().err

    monkeypatch.undo()
    monkeypatch.setattr(
        "sumo_internal.shipping.drainer.time.time", lambda real=time.time: real() + 3600
    )  # beyond the breaker
    assert bench.drain(left_s=7200) is Drained.EMPTY
    assert set(numbers(bench.source)) == {1}


def test_a_clock_that_is_set_back_does_not_stop_the_shipping(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker of a source that failed an hour ago tomorrow: nobody would wait for that to be over."""
    append(bench.spool, 1)
    bench.source.script([Fault(401)])
    assert bench.drain() is Drained.KEPT

    monkeypatch.setattr("sumo_internal.shipping.drainer.time.time", lambda real=time.time: real() - 86_400)

    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == [1]


def test_accounts_follow_this_process_at_once_and_others_soon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account says something new, or there is none; what only others have counted is not looked for every time."""
    other = counters.Counters(bench.spool.folder, "other")
    assert bench.account() == []
    other.add(counters.TOO_LONG, 1, 10)
    assert bench.account() == []

    bench.counters.add(counters.RETRIED, 2, 20)
    first = {counters.RETRIED: 2, counters.TOO_LONG: 1}
    assert bench.account() == [first]
    assert bench.account() == [first]

    other.add(counters.TOO_LONG, 1, 10)
    assert bench.account() == [first]
    monkeypatch.setattr("sumo_internal.shipping.accounts.time.time", lambda real=time.time: real() + OTHERS_EVERY_S)
    assert bench.account() == [first, {counters.RETRIED: 2, counters.TOO_LONG: 2}]


def test_at_the_end_a_source_that_is_left_alone_gets_a_last_trial(bench: Bench) -> None:
    """The extension that has shipped all along met a source that failed a second ago: SHUTDOWN is no time to wait."""
    append(bench.spool, 1)
    bench.source.script([Fault(401), Fault(503)])
    assert bench.drain() is Drained.KEPT

    assert bench.drain(is_shutdown=True) is Drained.KEPT
    assert len(bench.source.requests) == 2
    assert bench.drain(is_shutdown=True) is Drained.EMPTY

    assert numbers(bench.source) == [1]


def test_an_open_breaker_costs_nothing(bench: Bench) -> None:
    """While nothing can be delivered a drain does not even look: it runs beside the function."""
    append(bench.spool, 1)
    bench.source.script([Fault(401)])
    assert bench.drain() is Drained.KEPT
    os.unlink(f"{bench.spool.folder}/drain.lock")

    assert bench.drain() is Drained.KEPT

    assert not os.path.exists(f"{bench.spool.folder}/drain.lock")
    assert len(bench.source.requests) == 1


def test_lines_travel_under_their_writers_headers(bench: Bench, tmp_path: Path) -> None:
    """A header holds for a whole request: writers with others are other requests, and all are drained."""
    other = Spool(str(tmp_path / "spool"), {**ENVELOPE, "X-Sumo-Category": "other"}, 64_000_000)
    append(bench.spool, 1, 3)
    append(other, 2, 4)

    assert bench.drain() is Drained.EMPTY

    seen = {request.headers.get("x-sumo-category"): request.records for request in bench.source.requests}
    by_category = {category or "": [record["number"] for record in records] for category, records in seen.items()}
    assert by_category == {"": [1, 3], "other": [2, 4]}


def test_a_damaged_segment_is_said_and_does_not_stop_the_others(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is set aside, with one line."""
    path = f"{bench.spool.folder}/0123456789ab-p1.000001.spool"
    Segment.create(path, b"{}").close()
    os.truncate(path, SEGMENT_BYTES - 1)
    append(bench.spool, 1)

    assert [bench.drain(), bench.drain()] == [Drained.EMPTY] * 2

    assert numbers(bench.source) == [1]
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and path in said[0]
    assert os.path.exists(f"{path}.damaged")
    assert bench.counters.counts()[counters.DAMAGED] == (0, SEGMENT_BYTES - 1 - HEADER_BYTES)


@pytest.mark.parametrize(
    ("slow_downs", "left_s", "expected"),
    [(2, 2.0, Drained.EMPTY), (8, 20.0, Drained.KEPT), (3, 20.0, Drained.EMPTY)],
    ids=["the end is near", "not taken", "taken"],
)
def test_a_bucket_that_is_busy_is_tried_again(
    make_bench: MakeBench, slow_downs: int, left_s: float, expected: Drained
) -> None:
    """S3 answers SlowDown: as often as the source, where there is time for a later drain; else to the end."""
    bucket = {"SUMO_ENABLE_FAILOVER": "true", "SUMO_S3_BUCKET_NAME": "lines", "SUMO_S3_BUCKET_REGION": "us-east-1"}
    retries = "0" if left_s < 10 else "3"
    bench = make_bench(bucket | {"SUMO_NUM_RETRIES": retries, "SUMO_RETRY_SLEEP_TIME_MS": "50"})
    bench.source.default = Fault(503)
    append(bench.spool, 1)
    with ScriptedServer(default=answer(200)) as server:
        server.script(*[answer(503, b"<Error><Code>SlowDown</Code></Error>")] * slow_downs)
        keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": server.url}
        sender = PlainSender()
        bench._drainer._failover = FailoverBucket(
            Aws(keys | {"AWS_REGION": "us-east-1"}, sender), "lines", "us-east-1", "orders", "$LATEST"
        )
        assert bench.drain(left_s, pause=time.sleep) is expected
        sender.close()
        assert len(server.requests) == min(slow_downs + 1, 4)
    assert bench.counts.get(counters.FAILED_OVER, 0) == (expected is Drained.EMPTY)


def test_trouble_with_one_segment_costs_no_other_its_delivery(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever goes wrong with its lines in our own code: it is said, and they are tried again with the next drain."""
    monkeypatch.setattr(diagnostics, "IS_STRICT", False)
    append(bench.spool, *range(250), size_bytes=10_000)
    path, data = bench.spool.segments[1].path, Slice.data

    def fail(piece: Slice) -> memoryview:
        if piece.segment.path == path:
            raise MemoryError("no room to pack it")
        return data(piece)

    with monkeypatch.context() as patch:
        patch.setattr(Slice, "data", fail)
        assert bench.drain() is Drained.KEPT
        assert bench.drain() is Drained.KEPT
    arrived = numbers(bench.source)
    assert 150 < len(arrived) < 250 and len(set(arrived)) == len(arrived)
    assert (
        capfd.readouterr().err.count(
            "shipping a segment of the spool failed: UnreadableError: MemoryError: no room to pack it"
        )
        == 1
    )

    assert bench.drain() is Drained.EMPTY
    assert sorted(numbers(bench.source)) == list(range(250))
    assert bench.counts == {}


def test_a_folder_of_another_mode_stands_in_no_ones_way(bench: Bench, tmp_path: Path) -> None:
    """``chmod -R 777 /tmp``: what is mapped is delivered, and what was lost is said although no file takes it."""
    append(bench.spool, 1)
    (tmp_path / "spool").chmod(0o777)
    (tmp_path / "spool" / "0123456789ab-p1.000001.spool").mkdir()

    def refuse(_: object) -> None:
        raise FolderRefusedError("the folder is open to others")

    bench.counters.add(counters.REFUSED, 1, 10)
    bench.record_account = refuse
    assert bench.drain() is Drained.EMPTY
    assert not bench._drainer.account(is_recorded=True, is_shutdown=True)
    assert numbers(bench.source) == [1]


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]ab"}, 64_000_000)
for number in range(int(sys.argv[3])):
    spool.append('{"time":"2026-11-21T08:22:03.123Z","number":%d,"message":"%s"' % (number, "x" * 2000))
print("written", flush=True)
if sys.argv[4:] == ["stay"]:
    sys.stdin.readline()
"""

DRAINER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from sumo_internal import config
from sumo_internal.spool import counters
from sumo_internal.shipping.retry_policy import Drained
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.destinations.s3 import FailoverBucket
from sumo_internal.net.aws import Aws
from sumo_internal.net.client import PlainSender
settings, _ = config.read({"SUMO_HTTP_ENDPOINT": sys.argv[3]})
counts = counters.Counters(sys.argv[1], "drainer")
drainer = make_drainer(settings, {}, SpoolReader(sys.argv[1]), counts, PlainSender, print)
print("ready", flush=True)
sys.stdin.readline()
while drainer.drain(time.time() + 30) is Drained.ELSEWHERE:
    time.sleep(0.002)
"""


def start(script: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process and wait for its first line."""
    command = [sys.executable, "-c", script, str(folder), str(ROOT), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline()
    return process


def tell(process: subprocess.Popen[str]) -> None:
    """Let it go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_another_process_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    """While it drains there is nothing to do here, and nothing arrives twice; when it dies its batch is taken over."""
    append(bench.spool, *range(10))
    bench.source.script([HANG])
    with start(DRAINER, tmp_path / "spool", bench.source.url) as other:
        tell(other)
        bench.source.wait_for(lambda source: len(source.requests) == 1)

        assert bench.drain() is Drained.ELSEWHERE
        assert len(bench.source.requests) == 1
        other.kill()

    assert bench.drain() is Drained.EMPTY
    assert numbers(bench.source) == list(range(10))


def test_two_processes_deliver_each_line_once(tmp_path: Path) -> None:
    """The sidecar and the extension may both be at it: lines of a dead writer, thousands of them, arrive once each."""
    folder = tmp_path / "spool"
    with start(WRITER, folder, "2000") as writer:
        pass
    assert writer.returncode == 0
    with SumoSource(connections=2) as source:
        source.default = Fault(delay_s=0.02)  # long enough for the other to come in between
        with start(DRAINER, folder, source.url) as first, start(DRAINER, folder, source.url) as second:
            for process in (first, second):
                tell(process)
        assert (first.returncode, second.returncode) == (0, 0)
        assert sorted(numbers(source)) == list(range(2000))
        assert set(source.ids().values()) == {1}
        assert source.problems == []
    assert set(os.listdir(folder)) == {"drain.lock"}


@pytest.mark.parametrize("fault", [HANG, Fault(delay_s=LATE_S)], ids=["not kept", "kept"])
def test_a_killed_drainer_loses_nothing(tmp_path: Path, fault: Fault) -> None:
    """SIGKILL with a batch on the way: the next drainer sends that one again, and only that one."""
    folder = tmp_path / "spool"
    with start(WRITER, folder, "1500"):
        pass
    with SumoSource() as source:
        source.script([ACCEPT, fault])
        with start(DRAINER, folder, source.url) as killed:
            tell(killed)
            source.wait_for(lambda source: len(source.requests) == (2 if fault is HANG else 1))
            if fault is not HANG:
                first_count = len(source.requests[0].records)
                source.wait_for(first_count + 1)
            killed.kill()
        with start(DRAINER, folder, source.url) as next_one:
            tell(next_one)
        assert next_one.returncode == 0

        first, *_ = (request.records for request in source.requests if request.is_kept)
        counts = source.ids()
        assert {record["number"] for record in source.records} == set(range(1500))
        assert all(counts[record["id"]] == 1 for record in first)
        assert sum(counts.values()) == 1500 if fault is HANG else 1500 < sum(counts.values()) < 2200
        counted, _ = counters.totals(str(folder))[counters.SENT_AGAIN]
        assert 0 < counted == sum(counts.values()) - 1500 or fault is HANG


def test_a_living_writer_elsewhere_is_drained_too(tmp_path: Path) -> None:
    """A forked child that is still there at SHUTDOWN: its lines are taken, its segment stays its own."""
    folder = tmp_path / "spool"
    with SumoSource() as source, start(WRITER, folder, "100", "stay") as writer:
        with start(DRAINER, folder, source.url) as drainer:
            tell(drainer)
        assert drainer.returncode == 0
        assert numbers(source) == list(range(100))
        assert len(list_segments(str(folder))) == 1
        tell(writer)
