"""The extension's journal: what of a delivery is in its spool, where the function is heard, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sumo_internal import diagnostics
from sumo_internal.config import read
from sumo_internal.extension.platform_log import PlatformLog
from sumo_internal.lambda_apis.telemetry_api import MalformedDeliveryError, NoSpoolError
from sumo_internal.spool import handoff
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

TIME = "2026-11-21T08:22:03.123Z"
WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> PlatformLog:
    """A journal in a folder that is there, with these variables in its environment."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, value in {"AWS_LAMBDA_FUNCTION_NAME": "orders", **environ}.items():
        monkeypatch.setenv(name, value)
    return PlatformLog(read({"SUMO_SPOOL_DIR": str(folder), **environ})[0])


def delivery(*events: tuple[str, Any]) -> bytes:
    return json.dumps([{"time": TIME, "type": kind, "record": record} for kind, record in events]).encode()


def records(journal: PlatformLog) -> list[dict[str, Any]]:
    assert journal.spool is not None
    slices = SpoolReader(journal.spool.folder, journal.spool).take(1_000_000)
    return [json.loads(line) for piece in slices for line in bytes(piece.data()).splitlines()]


START = ("platform.start", {"requestId": "r1"})
LINE = ("function", "a line\n")


def test_events_travel_under_the_functions_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the function's process has told counts: the real stream, and the headers byte for byte."""
    journal = made(tmp_path / "spool", monkeypatch, **WRAPPER)
    handoff.tell_function(str(tmp_path / "spool"), "stream", {"X-Sumo-Name": "name"})
    journal.take(delivery(START))
    assert [record["logStream"] for record in records(journal)] == ["stream"]
    assert journal.spool is not None and journal.spool.segments[0].envelope == b'{"X-Sumo-Name": "name"}'


@pytest.mark.parametrize(
    ("environ", "is_told", "expected"),
    [
        (WRAPPER, True, ["platform.start"]),
        ({}, True, ["platform.start"]),
        ({}, False, ["platform.start", "function"]),
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
        handoff.tell_function(str(tmp_path / "spool"), "stream", {})
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
    """A folder that is somebody else's: nothing is acknowledged, and nothing raises out of here."""
    monkeypatch.setattr(diagnostics, "IS_STRICT", False)
    journal = made(tmp_path / "spool", monkeypatch)
    (tmp_path / "spool").chmod(0o755)
    with pytest.raises(NoSpoolError):
        journal.take(delivery(START))
    (tmp_path / "spool").chmod(0o700)
    journal.take(delivery(START))
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
    first.take(delivery(START))
    first.tell_timeout(None)
    second = made(tmp_path / "spool", monkeypatch)
    second.take(delivery(report))
    told = [record["message"] for journal in (first, second) for record in records(journal) if "message" in record]
    assert sum("Task timed out" in message for message in told) == 1


def test_whose_a_timeout_was_is_known_from_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Telemetry API there is nothing else to tell."""
    writer, journal = made(tmp_path / "spool", monkeypatch), made(tmp_path / "spool", monkeypatch)
    assert journal.last_request_id() is None
    writer.take(delivery(START, LINE))
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
    writer.take(delivery(START, LINE))
    Spool(str(folder), {}, 64_000_000, has_ids=False).append(line)
    assert journal.last_request_id() == "r1"
