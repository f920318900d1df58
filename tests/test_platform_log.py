"""The extension's journal: what of a delivery is in its spool, where the function is heard, and what is refused."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from spool_functions import taken
from sumo_source import ACCEPT, Fault, SumoSource
from test_handoff import let_go

from sumo_internal import diagnostics
from sumo_internal.capture.record_format import time_text
from sumo_internal.config import read
from sumo_internal.extension.extension_shipper import BESIDE, LAST, ExtensionShipper
from sumo_internal.extension.function_note import FunctionNote
from sumo_internal.extension.hearing import (
    WAITING_MAX_BYTES,
    WRAPPER_IDLE,
    WRAPPER_MISSING,
    Hearing,
)
from sumo_internal.extension.platform_log import COPY_WAIT_S, PlatformLog
from sumo_internal.lambda_apis.telemetry_api import MalformedDeliveryError, NoSpoolError
from sumo_internal.spool import handoff
from sumo_internal.spool.envelope import destination_id
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

TIME = "2026-11-21T08:22:03.123Z"
WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}


listening: list[FunctionNote] = []


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """What a test tells, no later one hears."""
    yield
    let_go()
    while listening:
        listening.pop().close()


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> PlatformLog:
    """A journal in a folder that is there, with these variables in its environment."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, value in {"AWS_LAMBDA_FUNCTION_NAME": "orders", **environ}.items():
        monkeypatch.setenv(name, value)
    config = read({"SUMO_SPOOL_DIR": str(folder), **environ})[0]
    listening.append(FunctionNote(address(folder), str(folder)))
    return PlatformLog(config, Hearing(config, os.environ, listening[-1]))


def address(folder: Path) -> str:
    return f"127.0.0.1:{abs(hash(str(folder)))}"


def tell(folder: Path, group: str = "/aws/lambda/orders", **headers: str) -> None:
    """Be the function's process."""
    handoff.tell_function(str(folder), address(folder), group, "stream", headers)


def delivery(*events: tuple[str, Any]) -> bytes:
    return json.dumps([{"time": TIME, "type": kind, "record": record} for kind, record in events]).encode()


def records(journal: PlatformLog) -> list[dict[str, Any]]:
    journal.let_out()
    return records_so_far(journal)


def records_so_far(journal: PlatformLog) -> list[dict[str, Any]]:
    """What is in the spool, while other events wait."""
    assert journal.spool is not None
    slices = SpoolReader(journal.spool.folder, journal.spool).take(1_000_000)
    return [json.loads(line) for piece in slices for line in bytes(piece.data()).splitlines()]


def drained(journal: PlatformLog) -> list[dict[str, Any]]:
    """All records, those under other headers too, oldest first."""
    assert journal.spool is not None
    return [json.loads(line) for line in taken(SpoolReader(journal.spool.folder, journal.spool))]


READY = ("platform.initRuntimeDone", {"status": "success"})
START = ("platform.start", {"requestId": "r1"})
LINE = ("function", "a line\n")


def test_events_travel_under_the_functions_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the function's process has told counts: the real stream, and the headers; the settings say where to."""
    journal = made(tmp_path / "spool", monkeypatch, **WRAPPER)
    tell(tmp_path / "spool", "/orders/logs", **{"X-Sumo-Name": "name"})
    journal.take(delivery(START))
    assert [record["logStream"] for record in records(journal)] == ["stream"]
    assert [record["logGroup"] for record in records(journal)] == ["/orders/logs"]
    assert journal.spool is not None
    assert json.loads(journal.spool.segments[0].envelope).items() >= {"X-Sumo-Name": "name"}.items()
    assert journal.spool.destination == destination_id(read({})[0])


@pytest.mark.parametrize(
    ("environ", "is_told", "expected"),
    [
        (WRAPPER, True, ["platform.start"]),
        ({}, True, ["platform.start"]),
        ({}, False, ["platform.start", "function"]),
        (WRAPPER, False, ["platform.start", "function"]),
        ({"SUMO_FUNCTION_LOGS": "telemetry"}, True, ["platform.start", "function"]),
        ({"SUMO_FUNCTION_LOGS": "process"}, True, ["platform.start"]),
    ],
)
def test_lines_are_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], is_told: bool, expected: list[str]
) -> None:
    """A handler of the function's own, or an image's entry point, is in no variable: a note tells that it is heard."""
    journal = made(tmp_path / "spool", monkeypatch, **environ)
    if is_told:
        tell(tmp_path / "spool")
    journal.take(delivery(START, LINE))
    assert [record["type"] for record in records(journal)] == expected
    assert journal.has_sidecar is ("function" not in expected)


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"7", b"[" * 100_000, b"\xff"])
def test_what_is_no_list_of_events_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """And there is no spool for it."""
    journal = made(tmp_path / "spool", monkeypatch, **WRAPPER)
    with pytest.raises(MalformedDeliveryError):
        journal.take(body)
    assert journal.spool is None


def test_without_a_spool_lambda_keeps_its_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, and nothing may wait in memory: nothing is acknowledged, and nothing raises out of here."""
    monkeypatch.setattr(diagnostics, "IS_STRICT", False)
    journal = made(tmp_path / "spool", monkeypatch, SUMO_MEMORY_MAX_MB="0")
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").touch()
    with pytest.raises(NoSpoolError):
        journal.take(delivery(READY))
    (tmp_path / "spool").unlink()
    journal.take(delivery(READY))
    assert len(records(journal)) == 1


def test_without_a_file_events_wait_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension ships them itself at SHUTDOWN."""
    journal = made(tmp_path / "spool", monkeypatch)
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").touch()
    journal.take(delivery(READY))
    assert len(records(journal)) == 1


def test_what_must_still_come_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At SHUTDOWN the extension waits for the REPORT of what has started, and for nothing else."""
    journal = made(tmp_path / "spool", monkeypatch)
    seen = [journal.is_expecting]
    for kind, record in (
        START,
        ("platform.runtimeDone", {"requestId": "r1", "status": "success"}),
        ("platform.report", {"requestId": "r1"}),
    ):
        journal.take(delivery((kind, record)))
        seen += [journal.is_expecting, journal.has_ended("r1")]
    assert seen == [True, True, False, True, True, False, True]


def test_a_timeout_of_the_generation_before_is_not_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its REPORT may come to the next extension, which knows from a note that it has its record."""
    report = ("platform.report", {"requestId": "r1", "status": "timeout", "metrics": {"durationMs": 3000}})
    first = made(tmp_path / "spool", monkeypatch)
    first.take(delivery(READY, START))
    first.tell_timeout(None)
    second = made(tmp_path / "spool", monkeypatch)
    second.take(delivery(report))
    told = [record["message"] for journal in (first, second) for record in records(journal) if "message" in record]
    assert sum("Task timed out" in message for message in told) == 1


def test_whose_a_timeout_was_is_known_from_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Telemetry API there is nothing else to tell."""
    writer, journal = made(tmp_path / "spool", monkeypatch), made(tmp_path / "spool", monkeypatch)
    assert journal.last_request_id() is None
    writer.take(delivery(READY, START, LINE))
    assert journal.last_request_id() == "r1"
    journal.tell_timeout(journal.last_request_id())
    timeouts = [record for record in records(journal) if "Task timed out" in str(record.get("message"))]
    assert [record["requestID"] for record in timeouts] == ["r1"]


@pytest.mark.parametrize("line", ['{"time":1732190400,"requestID":"r0"', '{"a":' + "[" * 1_500 + "]" * 1_500])
def test_an_object_of_the_functions_that_is_none_of_ours_does_not_stand_before_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: its last line may be anything. Guards against no last drain."""
    folder = tmp_path / "spool"
    writer, journal = made(folder, monkeypatch), made(folder, monkeypatch)
    writer.take(delivery(READY, START, LINE))
    Spool(str(folder), {}, 64_000_000, has_ids=False).append(line)
    assert journal.last_request_id() == "r1"


def test_what_the_init_tells_waits_for_the_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of the function's own may be made at the end of a long import: what came before is let out as its."""
    journal = made(tmp_path / "spool", monkeypatch)
    journal.take(delivery(("platform.initStart", {}), LINE))
    assert journal.spool is None and journal.waits_until_s is not None
    tell(tmp_path / "spool")
    journal.look()
    assert journal.spool is None  # whether the note is the init's is known when that is over
    journal.take(json.dumps([{"time": time_text(time.time() + 1), "type": READY[0], "record": {}}]).encode())
    assert journal.waits_until_s is None and journal.has_sidecar
    found = [(record["type"], record["logStream"]) for record in records(journal)]
    assert found == [("platform.initStart", "stream"), (READY[0], "stream")]


def test_it_waits_until_the_runtime_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody has told, and the lines are the init's: of no request, although one begins in the same delivery."""
    journal = made(tmp_path / "spool", monkeypatch)
    journal.take(delivery(LINE))
    journal.take(delivery(READY, START, LINE))
    assert not journal.has_sidecar
    found = [(record["type"], record.get("requestID")) for record in records(journal)]
    assert found[0] == ("function", None) and found[-1] == ("function", "r1")


def test_it_waits_no_longer_than_other_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By age, and by size: an init of minutes is watched as it goes on."""
    journal = made(tmp_path / "spool", monkeypatch, SUMO_FLUSH_MAX_AGE_S="1")
    before_s = time.time()
    journal.take(delivery(LINE))
    assert journal.waits_until_s is not None and before_s + 1 <= journal.waits_until_s <= time.time() + 1
    journal.look()
    assert journal.spool is None
    time.sleep(max(0.0, journal.waits_until_s - time.time()))
    journal.look()
    assert journal.waits_until_s is None and len(records(journal)) == 1
    journal = made(tmp_path / "other", monkeypatch)
    while journal.spool is None:
        journal.take(delivery(("function", "x" * (WAITING_MAX_BYTES // 3))))
    assert len({record["message"] for record in records(journal)}) >= 1 and journal.waits_until_s is None


def test_a_note_that_is_read_before_the_init_is_told_is_late_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen behind its init, an environment is told of its end beside the first invocation, which makes a handler."""
    journal = made(tmp_path / "spool", monkeypatch)
    journal.take(delivery(LINE))
    tell(tmp_path / "spool")
    journal.look()
    journal.take(delivery(READY, START, LINE))
    assert [record["type"] for record in records(journal)].count("function") == 2 and journal.has_sidecar


def test_a_late_note_counts_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler made in an invocation: its lines come from the process now, and events travel under its headers."""
    journal = made(tmp_path / "spool", monkeypatch)
    journal.take(delivery(READY, START, LINE))
    assert [record["type"] for record in records(journal)][-1] == "function"
    now = time_text(time.time())
    tell(tmp_path / "spool", "/orders/logs", **{"X-Sumo-Name": "name"})
    later = json.dumps([{"time": now, "type": "function", "record": "heard in process"}]).encode()
    journal.take(later)
    journal.take(delivery(("function", "before"), ("platform.report", {"requestId": "r1"})))
    assert [record.get("message") for record in records(journal)][-2:] == ["before", "REPORT RequestId: r1"]
    assert [record["logGroup"] for record in records(journal)][-1] == "/orders/logs"
    assert journal.spool is not None
    assert json.loads(journal.spool.segments[0].envelope).items() >= {"X-Sumo-Name": "name"}.items()


def test_what_a_second_subscription_tells_again_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Lambda ends the first one with it or not; a line that the function has written twice is there twice."""
    init: list[tuple[str, Any]] = [("platform.initStart", {}), LINE, LINE]
    journal = made(tmp_path / "spool", monkeypatch)
    journal.take(delivery(*init), 1)
    journal.subscribed(2)
    journal.take(delivery(*init, LINE, READY), 2)
    journal.take(delivery(LINE), 1)
    journal.take(delivery(START, LINE), 2)
    kinds = [record["type"] for record in records(journal)]
    assert kinds.count("function") == 4 and kinds.count("platform.initStart") == 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, WRAPPER_MISSING),
        (WRAPPER, WRAPPER_IDLE),
        ({**WRAPPER, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, WRAPPER_IDLE),
        ({**WRAPPER, "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances"}, WRAPPER_IDLE),
    ],
)
def test_the_advice_fits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    environ: dict[str, str],
    expected: str,
) -> None:
    """Nobody is told to set the variable that is set."""
    monkeypatch.setattr(diagnostics, "_said", set())
    journal = made(tmp_path / "spool", monkeypatch, **environ)
    journal.take(delivery(READY, LINE, LINE))
    assert capfd.readouterr().err == f"sumo-internal-extension: info: {expected}\n"


def copy_tells(folder: Path, is_in_file: bool = False) -> None:
    """Be the function's process in a restored copy."""
    told = "127.0.0.1:nobody" if is_in_file else address(folder)
    handoff.tell_function(str(folder), told, "/aws/lambda/orders", "copy", {"X-Sumo-Name": "copy"}, is_copy=True)


def test_what_the_telemetry_api_costs_is_put_into_words_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the function's first line, and not for each: there may be a hundred thousand."""
    journal = made(tmp_path / "spool", monkeypatch, SUMO_FUNCTION_LOGS="telemetry")
    texts = []

    def note(frame: FrameType, kind: str, _: object) -> None:
        if kind == "call" and frame.f_code is Hearing.cost.__code__:
            texts.append(kind)

    sys.setprofile(note)
    try:
        journal.take(delivery(READY, *[("function", f"line {number}") for number in range(3)]))
        journal.take(delivery(("function", "line 3")))
        messages = [record["message"] for record in records(journal) if record["type"] == "function"]
    finally:
        sys.setprofile(None)
    assert messages == [f"line {number}" for number in range(4)]
    assert len(texts) == 1


@pytest.mark.parametrize("order", ["before", "after", "in a file", "never"])
@pytest.mark.parametrize("is_told_before_the_snapshot", [True, False])
def test_what_a_copy_is_told_waits_for_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, is_told_before_the_snapshot: bool
) -> None:
    """Before or behind the copy's note; what was told before the snapshot keeps names and ids that all copies have.

    The note of the init would give all copies one log stream; a wait without bound, lines that never leave.
    """
    folder = tmp_path / "spool"
    journal = made(folder, monkeypatch, **WRAPPER, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    tell(folder)
    journal.look()
    journal.draw_spool()
    assert journal._drawn is not None
    drawn = journal._drawn[0].writer
    init, restored = [("platform.initStart", {}), READY], [("platform.restoreStart", {}), START]
    if is_told_before_the_snapshot:
        journal.take(delivery(*init))
        init = []
    if order in ("before", "in a file"):
        copy_tells(folder, order == "in a file")
    journal.take(delivery(*init, *restored))
    if order in ("after", "never"):
        assert journal.spool is not None and len(records_so_far(journal)) == 2
        waits_s = (journal.waits_until_s or 0) - time.time()
        assert 0 < waits_s <= COPY_WAIT_S
    if order == "after":
        copy_tells(folder)
        journal.look()
    if order == "never":
        monkeypatch.setattr("sumo_internal.extension.platform_log.COPY_WAIT_S", 0.0)
        journal.look()
    journal.let_out()
    found = drained(journal)
    first, second = found[:2], found[2:]
    assert [record["type"] for record in found][1:3] == ["platform.initRuntimeDone", "platform.restoreStart"]
    assert {record["logStream"] for record in first} == {"stream"}
    assert {record["id"].rpartition("-")[0] for record in first} == {drawn}
    assert {record["id"].rpartition("-")[0] for record in second}.isdisjoint({drawn})
    assert len({record["logStream"] for record in second}) == 1
    assert (second[0]["logStream"] == "copy") is (order != "never") and second[0]["logStream"] != "stream"


def test_lines_from_before_a_copy_are_not_taken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy's note is later than the init's lines; which process hears them was settled by the first one."""
    folder = tmp_path / "spool"
    journal = made(folder, monkeypatch, **WRAPPER, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    tell(folder)
    now = time_text(time.time())
    time.sleep(0.002)
    copy_tells(folder)
    journal.take(delivery(LINE, READY, ("platform.restoreStart", {}), LINE).replace(TIME.encode(), now.encode()))
    assert [record["type"] for record in drained(journal)] == ["platform.initRuntimeDone", "platform.restoreStart"]


@pytest.mark.parametrize(("kind", "connections"), [("on-demand", {1}), ("snap-start", {1, 2, 3})])
def test_no_connection_lies_in_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: SumoSource, kind: str, connections: set[int]
) -> None:
    """Until the environment is restored each delivery is shipped on a connection of its own; a copy keeps its one."""
    environ = {
        "AWS_LAMBDA_INITIALIZATION_TYPE": kind,
        "SUMO_HTTP_ENDPOINT": source.url,
        "AWS_LAMBDA_FUNCTION_VERSION": "3",
    }
    journal = made(tmp_path / "spool", monkeypatch, **environ)
    shipper = ExtensionShipper(journal._config, journal)
    for event in (READY, LINE, ("platform.restoreStart", {}), LINE):
        journal.take(delivery(event))
        shipper.ask(BESIDE, time.time() + 5)
        while shipper.is_busy:
            assert select.select([shipper.descriptor], [], [], 5)[0]
            shipper.hear()
    assert {request.connection for request in source.requests} == connections


def test_an_outage_before_the_snapshot_is_not_the_copys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: SumoSource
) -> None:
    """The breaker would keep each copy off a source that is up again; so would a secret that has changed meanwhile."""
    environ = {
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_NUM_RETRIES": "0",
    }
    journal = made(tmp_path / "spool", monkeypatch, **environ, AWS_LAMBDA_FUNCTION_VERSION="3")
    shipper = ExtensionShipper(journal._config, journal)

    def ship(*events: tuple[str, Any]) -> None:
        journal.take(delivery(*events))
        shipper.ask(BESIDE, time.time() + 5)
        while shipper.is_busy:
            assert select.select([shipper.descriptor], [], [], 5)[0]
            shipper.hear()

    source.default = Fault(status=503)
    ship(READY, LINE)
    source.default = ACCEPT
    ship(("platform.restoreStart", {}), LINE)
    assert [record["type"] for record in source.records].count("function") == 2


@pytest.mark.parametrize("is_last", [False, True])
def test_what_is_counted_before_the_snapshot_is_told_by_each_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: SumoSource, is_last: bool
) -> None:
    """Under an id of the copy's own: when a drain is over differs from copy to copy, and so do the counts.

    The trap: a request that is under way at the snapshot ends in each copy, each tells what it was like, and all give
    that the next id of the init. So does an environment that is shut down before it is told that it was restored.
    """
    environ = {
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_RETRY_SLEEP_TIME_MS": "1",
    }
    journal = made(tmp_path / "spool", monkeypatch, **environ, AWS_LAMBDA_FUNCTION_VERSION="3")
    shipper = ExtensionShipper(journal._config, journal)

    def ship(kind: str, *events: tuple[str, Any]) -> None:
        journal.take(delivery(*events))
        shipper.ask(kind, time.time() + 5)
        while shipper.is_busy:
            assert select.select([shipper.descriptor], [], [], 5)[0]
            shipper.hear()

    source.script([Fault(status=503)])
    ship(BESIDE, READY, LINE)
    assert [record["type"] for record in source.records] == ["platform.initRuntimeDone", "function"]
    init = source.records[0]["id"].rpartition("-")[0]
    if is_last:
        ship(LAST)
    else:
        ship(BESIDE, ("platform.restoreStart", {}), LINE)
        ship(BESIDE, LINE)
    (account,) = [record for record in source.records if record["type"] == "sumo.accounting"]
    assert account["accounting"]["retried"]["lines"] > 0
    assert account["id"].rpartition("-")[0] != init


@pytest.mark.parametrize(
    ("instance", "is_taken"), [("2026/11/29/[3]abc", True), (7, False), ("", False), ("a\nb", False)]
)
def test_on_managed_instances_the_stream_is_in_the_first_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: object, is_taken: bool
) -> None:
    """No variable of the extension's has its name, and no process leaves a note."""
    journal = made(tmp_path / "spool", monkeypatch, AWS_LAMBDA_INITIALIZATION_TYPE="lambda-managed-instances")
    journal.take(delivery(("platform.initStart", {"instanceId": instance}), READY))
    assert {record["logStream"] == instance for record in records(journal)} == {is_taken}
