"""structlog straight into the spool: each event once, with its context as keys; what is printed stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from model import Environment
from packages import package
from runtimes import Runtime, runtimes, typical
from sumo_source import SumoSource

FUNCTION = Path(__file__).parent / "functions" / "structured"
WRAPPED = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
CHAINS = ["print", "write", "bytes", "bridge", "formatter", "configured"]

Record = dict[str, Any]


def run(
    source: SumoSource, layer: Path, task: Path, chain: str, runtime: Runtime | None = None, **options: Any
) -> tuple[list[str], list[Record]]:
    """Run the function once: what CloudWatch got, and the function's records."""
    task.mkdir()
    (task / "app.py").symlink_to(FUNCTION / "app.py")
    if chain != "configured":
        (task / "structlog").symlink_to(package("structlog==26.1.0", is_complete=True) / "structlog")
        extensions = package("typing_extensions==4.16.0") / "typing_extensions.py"  # for Python 3.10
        (task / "typing_extensions.py").symlink_to(extensions)
    variables = {"CHAIN": chain, "SUMO_HTTP_ENDPOINT": source.url, **options.pop("variables", WRAPPED)}
    with Environment(runtime or typical(), task, layer=layer, variables=variables, timeout_s=10, **options) as env:
        assert env.start().error is None
        assert env.invoke({}).status == "success"
        env.shutdown()
        lines = [line.text.rstrip("\n") for line in env.cloudwatch if line.source == "function" and line.text.strip()]
    assert [line for line in lines if line.startswith("sumo-internal-extension:")] == []
    return lines, [record for record in source.records if record["type"] == "function"]


def bare(record: Record) -> str:
    message = record["message"]
    return str(message.get("event")) if isinstance(message, dict) else message.rpartition("\t")[2].partition("\n")[0]


@pytest.mark.parametrize(("entry", "framed"), [("managed", True), ("image", False)])
@pytest.mark.parametrize("chain", CHAINS)
def test_each_event_is_one_record(
    source: SumoSource, layer_folder: Path, tmp_path: Path, chain: str, entry: Any, framed: bool
) -> None:
    """Its context is keys, its text what the runtime would make of it; the rendered line reaches CloudWatch alone.

    Neither a renderer that raises nor an event that is dropped makes a later line disappear, nor does what a processor
    prints, or another chain.
    """
    lines, records = run(source, layer_folder, tmp_path / "task", chain, entry=entry, framed=framed)

    expected = ["accepted", "between", "no price"]
    if chain == "formatter":  # the renderer's part is in logging, which reports its errors itself
        expected += ["broken", "--- Logging error ---", "dropped", "behind a dropped event"]
        expected += ["chatty", "a processor prints"]
    elif chain != "configured":
        expected += ["broken", "behind a broken renderer", "dropped", "behind a dropped event"]
        expected += ["chatty", "a processor prints"]
    expected += ["of another chain", *(["beneath the level"] if chain in ("print", "write", "bytes") else [])]
    assert [bare(record) for record in records] == [*expected, "of logging"]
    accepted, _, failed = records[:3]
    request_id = accepted["requestID"]
    assert (
        accepted.items()
        >= {
            "level": "INFO",
            "order": 17,
            "customer": "ä",
            "tenant": "t1",
            "extra_requestID": "mine",
        }.items()
    )
    time = accepted["time"]
    assert accepted["message"] == f"[INFO]\t{time}\t{request_id}\taccepted"
    assert failed["message"].startswith(f"[ERROR]\t{failed['time']}\t{request_id}\tno price\nTraceback (most recent")
    assert (failed["level"], failed["errorType"], failed["errorMessage"]) == ("ERROR", "KeyError", "'price'")
    assert len([line for line in lines if '"accepted"' in line]) == 1
    assert len([line for line in lines if '"no price"' in line]) == 1


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
@pytest.mark.parametrize("chain", ["configured", "bridge"])
def test_each_python(source: SumoSource, layer_folder: Path, tmp_path: Path, chain: str, runtime: Runtime) -> None:
    """Call stacks differ between interpreters; and the layer's own structlog works on each."""
    _, records = run(source, layer_folder, tmp_path / "task", chain, runtime)
    texts = [bare(record) for record in records]
    assert texts.count("accepted") == texts.count("no price") == texts.count("of another chain") == 1


@pytest.mark.parametrize("chain", ["print", "bridge"])
@pytest.mark.parametrize("has_handler", [False, True])
def test_without_the_wrapper(
    source: SumoSource, layer_folder: Path, tmp_path: Path, chain: str, has_handler: bool
) -> None:
    """Events are recorded all the same, and once where a SumoHandler is there for what logging logs."""
    variables = {"SUMO_FUNCTION_LOGS": "process", **({"DROP_IN": "yes"} if has_handler else {})}
    _, records = run(source, layer_folder, tmp_path / "task", chain, variables=variables)

    expected = ["accepted", "no price", "broken", "dropped", "chatty"]
    expected += ["beneath the level"] if chain == "print" else []
    assert [bare(record) for record in records] == [*expected, *(["of logging"] if has_handler else [])]


def test_events_are_processed(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Masks apply to an event as to any other record; what is printed is not changed."""
    variables = {**WRAPPED, "SUMO_MASK_KEYS": "customer", "SUMO_MASK_PATTERNS": "acc(ept)ed|pri(ce)"}
    lines, records = run(source, layer_folder, tmp_path / "task", "write", variables=variables)

    accepted, _, failed = records[:3]
    assert (bare(accepted), accepted["customer"], accepted["order"]) == ("acc***ed", "***", 17)
    assert failed["errorMessage"] == "'pri***'" and "price" not in json.dumps(failed)
    assert any('"accepted"' in line and "ä" in json.loads(line)["customer"] for line in lines if line[:1] == "{")


def test_without_settings_nothing_happens(layer_folder: Path, tmp_path: Path, source: SumoSource) -> None:
    """A function that is run without the layer's endpoint logs as it does without us."""
    variables = {**WRAPPED, "SUMO_DISABLED": "true"}
    lines, records = run(source, layer_folder, tmp_path / "task", "write", variables=variables)
    assert records == [] and any('"accepted"' in line for line in lines)
