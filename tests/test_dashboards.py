"""Sumo Logic's AWS Lambda app on what we send: the expressions of its queries find in our records what they look for.

They are those of the app's 61 queries on logs (SumoLogic/sumologic-solution-templates, Lambda-App.json), as Python
writes them. A query reads ``message`` where a line is JSON, and the request's source name and host as stream and group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from model import Environment
from runtimes import typical
from sumo_source import SumoSource

PROBE = Path(__file__).parent / "functions" / "probe"

LOG_STREAM = re.compile(r"(?P<date>.*)/\[(?P<version>.*)\](?P<id>.*)")
LOG_GROUP = re.compile(r"/aws/lambda/(?P<function>.*)")
REPORT = re.compile(
    r"REPORT\s+RequestId:\s+(?P<RequestId>[^\s]+)\s+Duration:\s+(?P<Duration>[^\s]+)\s+ms"
    r"\s+Billed\s+Duration:\s+(?P<BilledDuration>[^\s]+)\s+ms"
    r"\s+Memory\s+Size:\s+(?P<MemorySize>[^\s]+)\s+MB"
    r"\s+Max\s+Memory\s+Used:\s+(?P<MaxMemoryUsed>[^\s]+)\s+MB"
)
INIT = re.compile(r"Init\s+Duration:\s+(?P<InitDuration>[^\s]+)")
LEVEL = re.compile(
    r"^\[(?P<level>ERROR|CRITICAL|WARNING)\]\t(?P<time>[^\t]*)\t(?P<RequestId>[^\t]*)\t(?P<text>[\s\S]*)"
)
UNCAUGHT = re.compile(r"^\[(?P<level>ERROR|CRITICAL)\]\s(?P<text>[\s\S]*)")
TIMED_OUT = re.compile(r"(?P<text>Task timed out after .*)")


class Run(NamedTuple):
    """What arrived at Sumo Logic of one environment."""

    messages: list[str]
    records: list[dict[str, Any]]
    headers: list[Any]
    request_ids: list[str]


@pytest.fixture(scope="module", params=[True, False], ids=["wrapper", "telemetry"])
def run(request: pytest.FixtureRequest, layer_folder: Path) -> Iterator[Run]:
    """A function that works, warns, fails and times out, heard in process or through the Telemetry API."""
    variables = {"TELEMETRY_TIMEOUT_MS": "25"}
    if request.param:
        variables["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/sumo_wrapper"
    with SumoSource() as source:
        variables["SUMO_HTTP_ENDPOINT"] = source.url
        with Environment(typical(), PROBE, layer=layer_folder, timeout_s=2, variables=variables) as env:
            env.start()
            events = ([{"log": "works"}], [{"error": "warns"}], [{"fail": "no such item"}], [{"sleep": 9}])
            request_ids = [env.invoke({"steps": steps}).request_id for steps in events]
        records = list(source.records)
        messages = [record["message"] for record in records if isinstance(record.get("message"), str)]
        yield Run(messages, records, [each.headers for each in source.requests], request_ids)


def found(run: Run, expression: re.Pattern[str]) -> list[dict[str, str]]:
    return [match.groupdict() for message in run.messages if (match := expression.search(message))]


def test_log_stream_and_group_are_parsed(run: Run) -> None:
    """Version and function come out of the request's headers, which 29 queries parse."""
    for headers in run.headers:
        stream, group = LOG_STREAM.fullmatch(headers["x-sumo-name"]), LOG_GROUP.fullmatch(headers["x-sumo-host"])
        assert stream is not None and group is not None
        assert (stream["version"], group["function"]) == ("$LATEST", "orders")
        assert re.fullmatch(r"\d{4}/\d\d/\d\d", stream["date"]) and stream["id"]


def test_reports_are_found(run: Run) -> None:
    """Durations, memory and the cold start's init, of each invocation once."""
    reports = found(run, REPORT)
    assert [report["RequestId"] for report in reports] == run.request_ids
    for report in reports:
        assert all(float(report[name]) > 0 for name in ("Duration", "BilledDuration", "MemorySize", "MaxMemoryUsed"))
    assert len(found(run, INIT)) == 1


def test_errors_are_found(run: Run) -> None:
    """A line of the runtime's own layout gives level, time, request id and text; an uncaught exception its own."""
    levels = [(each["level"], each["RequestId"], each["text"].strip()) for each in found(run, LEVEL)]
    assert ("ERROR", run.request_ids[1], "warns") in levels
    assert any("KeyError: 'no such item'" in each["text"] for each in found(run, UNCAUGHT))


def test_timeouts_are_found(run: Run) -> None:
    """ "Task timed out" is in no event of the Telemetry API; the panel for it is not empty all the same."""
    assert [each["text"].strip() for each in found(run, TIMED_OUT)] == ["Task timed out after 2.00 seconds"]


def test_request_ids_are_keys(run: Run) -> None:
    """The query by alias and request id reads ``requestID`` and ``record.requestId``."""
    for record in run.records:
        content = record.get("record")
        if isinstance(content, dict) and "requestId" in content:
            assert record["requestID"] == content["requestId"]
    assert {record.get("requestID") for record in run.records if record["type"] == "function"} <= {
        None,
        *run.request_ids,
    }
