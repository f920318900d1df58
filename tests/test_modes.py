"""What Lambda has besides functions on demand: snapshots and Managed Instances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from model import Environment
from runtimes import Runtime, runtimes
from sumo_source import SumoSource
from test_main_path import said

FUNCTIONS = Path(__file__).parent / "functions"
SIDECAR = "sumo-internal-sidecar"

# Where the machine has no such Python, pytest skips what is parametrized with it, and says that there was none.
NEWEST = [runtime for runtime in runtimes([4]) if runtime.version >= (3, 12)]

with_each = pytest.mark.parametrize("runtime", NEWEST, ids=lambda runtime: runtime.id)


def environment(
    runtime: Runtime, source: SumoSource, layer: Path, function: str = "dropin", **options: Any
) -> Environment:
    """An environment of the function with a SumoHandler, without the wrapper."""
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "TELEMETRY_TIMEOUT_MS": "25", **options.pop("variables", {})}
    return Environment(runtime, FUNCTIONS / function, layer=layer, variables=variables, **options)


@with_each
def test_a_snapshot_is_taken_with_a_handler(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """Lambda takes it when every extension has asked for Next: one that asks after the restore is never restored."""
    with environment(runtime, source, layer_folder, snap_start=True) as env:
        assert env.start().error is None
        invocation = env.invoke({"number": 1})
        env.shutdown()

        asked = [(event.kind, event.who) for event in env.timeline]
        assert asked.index(("next", SIDECAR)) < asked.index(("snapshot", "platform")) < asked.index(("next", "runtime"))
        assert said(env) == []
    assert invocation.status == "success"
    assert set(source.ids().values()) == {1}
    assert invocation.request_id in {record.get("requestID") for record in source.records}


@with_each
def test_a_worker_knows_its_request(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """Managed Instances: the runtime is a process per request, with another client of the same base.

    Nothing is registered there: Lambda has no INVOKE for an extension, and would refuse it.
    """
    with environment(runtime, source, layer_folder, variables={"AWS_LAMBDA_MAX_CONCURRENCY": "1"}) as env:
        assert env.start().error is None
        invocations = [env.invoke({"number": number}) for number in range(2)]
        env.shutdown()

        registered = [event.who for event in env.timeline if event.kind == "register"]
        assert SIDECAR not in registered
        assert [line for line in said(env) if "does not register" in line] == []
    found = {record.get("requestID") for record in source.records if "number" in record}
    assert {invocation.request_id for invocation in invocations} == found


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
@pytest.mark.parametrize("timeout_ms", ["25", "1000"])
def test_a_copy_begins_again(runtime: Runtime, source: SumoSource, layer_folder: Path, timeout_ms: str) -> None:
    """Without the wrapper: what the copy tells has ids and a log stream of its own; the init's are those of all copies.

    Different lines with the same id would be deleted by ``dedup by id``.
    """
    variables = {"TELEMETRY_TIMEOUT_MS": timeout_ms}
    with environment(runtime, source, layer_folder, "probe", snap_start=True, variables=variables) as env:
        assert env.start().error is None
        invocations = [env.invoke({"steps": [{"log": "a line"}, {"sleep": 0.1}]}) for _ in range(2)]
        env.shutdown()
    assert set(source.ids().values()) == {1}
    init = [record for record in source.records if record["type"] == "platform.initStart" or "loaded" in str(record)]
    copy = [record for record in source.records if record.get("requestID") or "restore" in record["type"]]
    assert len(init) == 2 and {record["requestID"] for record in copy if "requestID" in record} == {
        invocation.request_id for invocation in invocations
    }
    for records in (init, copy):
        assert len({record["id"].rpartition("-")[0] for record in records}) == 1
        assert len({record["logStream"] for record in records}) == 1
    assert init[0]["id"].rpartition("-")[0] != copy[0]["id"].rpartition("-")[0]
    assert init[0]["logStream"] != copy[0]["logStream"]


@with_each
@pytest.mark.parametrize("raises", ["", "before", "after"])
def test_hooks_are_heard_and_their_outcome_is_their_own(
    runtime: Runtime, source: SumoSource, layer_folder: Path, raises: str
) -> None:
    """What the function's hooks write around the snapshot is shipped, and what they raise ends the environment.

    A hook before that raises comes before ours, which then finds nothing; a hook behind that raises, after it.
    """
    outcomes = []
    for variables in ({}, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}):
        variables["RAISES"] = raises
        with environment(runtime, source, layer_folder, "snapshot", snap_start=True, variables=variables) as env:
            outcomes.append(env.start().error)
            if not raises:
                assert env.invoke({"steps": [("log", "a line")]}).status == "success"
            env.shutdown()
            own = [line.text for line in env.cloudwatch if "hook" in line.text or "error_" in line.text]
        if "AWS_LAMBDA_EXEC_WRAPPER" not in variables:
            expected = own
            source._records.clear()
    assert own == expected and outcomes[0] == outcomes[1]
    assert (outcomes[0] is None) is (raises == "")
    said_by_hooks = [str(record["message"]) for record in source.records if record["type"] == "function"]
    heard = [text for text in ("before", "after", "of the hook") if any(text in each for each in said_by_hooks)]
    wanted = {"": ["before", "after"], "before": ["before", "of the hook"], "after": ["before", "after", "of the hook"]}
    assert heard == wanted[raises]
    assert set(source.ids().values()) == {1}


@with_each
def test_the_wrapper_is_in_the_process_of_a_copy(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """AWS's order: registered, everything asked for Next, the snapshot, and only then the runtime's first Next.

    Lines of the init are delivered before; nothing of the layer's is said, and levels and fields are there.
    """
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
    with environment(runtime, source, layer_folder, "snapshot", snap_start=True, variables=variables) as env:
        assert env.start().error is None
        assert any("loaded" in str(record.get("message")) for record in source.records)
        invocation = env.invoke({"steps": [("log", "a line")]})
        env.shutdown()

        asked = [(event.kind, event.who) for event in env.timeline]
        for who in (SIDECAR, "sumo-internal-extension"):
            assert asked.index(("next", who)) < asked.index(("snapshot", "platform"))
        assert asked.index(("snapshot", "platform")) < asked.index(("next", "runtime"))
        assert said(env) == []
    (line,) = [record for record in source.records if "a line" in str(record.get("message"))]
    assert line["requestID"] == invocation.request_id and line["level"] == "INFO" and line["logger"] == "orders"
    assert set(source.ids().values()) == {1}
