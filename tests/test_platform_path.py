"""Platform events, end to end: a model of Lambda and its Telemetry API, the built layer, a real loopback source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model import Environment
from runtimes import typical
from sumo_source import SumoSource

FUNCTIONS = Path(__file__).parent / "functions"
PROBE = FUNCTIONS / "probe"
EXTENSION = "sumo-internal-extension"
AT_ONCE = {"TELEMETRY_TIMEOUT_MS": "25"}
"""The least that Lambda keeps events together; with its default of a second short tests would see one delivery."""


@pytest.fixture
def source() -> Iterator[SumoSource]:
    """A source that keeps what it gets; nothing that it has to complain about may remain."""
    with SumoSource() as source:
        yield source
        assert source.problems == []


def environment(source: SumoSource, layer: Path, *, wrapper: bool = True, **options: Any) -> Environment:
    """An environment of the probe, with the wrapper unless said otherwise."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"} if wrapper else {}
    variables |= {"SUMO_HTTP_ENDPOINT": source.url, **options.pop("variables", {})}
    return Environment(typical(), options.pop("task_root", PROBE), layer=layer, variables=variables, **options)


def steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"steps": list(steps)}


def of_type(source: SumoSource, kind: str) -> list[dict[str, Any]]:
    return [record for record in source.records if record["type"] == kind]


def texts(source: SumoSource) -> list[str]:
    return [str(record["message"]) for record in of_type(source, "function")]


def said(env: Environment) -> list[str]:
    """What the layer said of itself."""
    name = "sumo-internal-extension: "
    return [line.text[line.text.index(name) + len(name) :].strip() for line in env.cloudwatch if name in line.text]


def numbers(line: str) -> list[tuple[str, float | str]]:
    """The parts of a REPORT line, by name: CloudWatch writes 12.00 where the Go extension writes 12."""
    found = [part.partition(": ") for part in line.split("\t") if part]
    return [
        (name, float(value.split()[0]) if value.strip().endswith(("ms", "MB")) else value) for name, _, value in found
    ]


def assert_each_once(source: SumoSource) -> None:
    assert {identity: count for identity, count in source.ids().items() if count != 1} == {}


def test_the_events_of_three_invocations_arrive_once(source: SumoSource, layer_folder: Path) -> None:
    """Each START, runtimeDone and REPORT is at Sumo once, with the metadata of the function's own lines."""
    with environment(source, layer_folder) as env:
        assert env.start().error is None
        ids = [env.invoke(steps({"log": f"{number}"}), tenant_id="t1").request_id for number in range(3)]
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert said(env) == []
        reports = [numbers(line.text) for line in env.cloudwatch if line.text.startswith("REPORT")]
    assert_each_once(source)
    for kind in ("platform.start", "platform.runtimeDone", "platform.report"):
        assert [record["requestID"] for record in of_type(source, kind)] == ids
    for kind in ("platform.initStart", "platform.initRuntimeDone", "platform.initReport"):
        assert len(of_type(source, kind)) == 1
    for record in source.records:
        assert record["logGroup"] == "/aws/lambda/orders" and record["logStream"] == env.log_stream
        assert record["IsColdStart"] is (record.get("requestID") in (None, ids[0]))
        if record["type"].startswith("platform."):
            assert "record" in record and record["id"].count("-") == 2
    assert [record["tenantId"] for record in of_type(source, "platform.report")] == ["t1"] * 3
    assert [numbers(record["message"]) for record in of_type(source, "platform.report")] == reports
    assert [text.rpartition("\t")[2] for text in texts(source)] == ["loaded", "0", "1", "2"]
    assert {request.headers["x-sumo-name"] for request in source.requests} == {env.log_stream}
