"""DEBUG on failure, spared CloudWatch and summaries in Lambda's other modes: copies, durable functions, workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from durable_service import DurableService
from runtimes import Runtime
from sumo_source import SumoSource
from test_cloudwatch import own
from test_durable_path import durable, function, with_typical
from test_durable_path import service as service  # a fixture
from test_flight import each_format, form_of, held, text
from test_main_path import said
from test_managed import instance, needs_emulator
from test_modes import NEWEST
from test_processing_path import environment, function_records
from test_summary import summaries

SETTINGS: dict[str, Any] = {
    "SUMO_DEBUG_ON_FAILURE": "orders",
    "SUMO_CLOUDWATCH": "none",
    "SUMO_INVOCATION_SUMMARY": "true",
}
APP = """
import logging, os, signal, time

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
log.debug("loading")


def handler(event, context):
    log.debug("detail of %s", context.aws_request_id)
    log.info("shown of %s", context.aws_request_id)
    time.sleep(event.get("pause_s", 0))
    if event.get("end") == "fail":
        raise KeyError("price")
    if event.get("end") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"id": context.aws_request_id, "pid": os.getpid()}
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "app.py").write_text(APP)
    return tmp_path / "task"


def outcomes(source: SumoSource) -> dict[str, str]:
    return {str(record["requestID"]): str(record["outcome"]) for record in summaries(source)}


@each_format
@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
def test_a_copy_of_a_snapshot(source: SumoSource, layer_folder: Path, task: Path, runtime: Runtime, form: str) -> None:
    """Lines of the init are forgotten before the snapshot; a copy holds under a name of its own, and spares."""
    options = {"variables": SETTINGS, "timeout_s": 10, "snap_start": True, **form_of(form)}
    with environment(source, layer_folder, task, runtime, **options) as env:
        assert env.start().error is None
        good, bad, dead = (env.invoke({"end": end}) for end in ("", "fail", "kill"))
        env.shutdown()
        assert own(env.cloudwatch) == [] and said(env) == []
    records = held(source)
    assert [text(record) for record in records] == [f"detail of {each.request_id}" for each in (bad, dead)]
    assert {record["logStream"] for record in records} == {record["logStream"] for record in summaries(source)}
    assert len({record["id"] for record in function_records(source)}) == len(function_records(source))
    assert outcomes(source) == {good.request_id: "success", bad.request_id: "error", dead.request_id: "killed"}


@with_typical
def test_a_durable_function(
    service: DurableService, runtime: Runtime, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """What only suspends forgets; the invocation whose answer says FAILED ships; a success ships nothing."""
    task = function(tmp_path)
    app = (task / "app.py").read_text()
    said_once = '    log.info("%s, logged", what)\n'
    assert app.count(said_once) == 1
    (task / "app.py").write_text(app.replace(said_once, f'{said_once}    log.debug("%s, held", what)\n'))
    with durable(service, source, layer_folder, task, runtime, variables=SETTINGS) as env:
        assert env.start().error is None
        service.serve(env)
        good, bad = service.run({"parts": ["wait", "wait"]}, "good"), service.run({"parts": ["wait", "fail"]}, "bad")
        env.shutdown()
        written = [line for line in own(env.cloudwatch) if "order accepted" in line]
    assert (good[1], bad[1]) == ("SUCCEEDED", "FAILED") and written == []
    made = {str(record["requestID"]): record for record in summaries(source)}
    of_bad = [record["outcome"] for record in made.values() if record["executionArn"] == bad[0]]
    of_good = [record["outcome"] for record in made.values() if record["executionArn"] == good[0]]
    assert (of_good, of_bad) == (["pending", "pending", "success"], ["pending", "error"])
    records = held(source)
    assert {made[str(record["requestID"])]["outcome"] for record in records} == {"error"}
    assert {record["executionArn"] for record in records} == {bad[0]}
    assert any("part 0 done" in text(record) for record in records)


@needs_emulator
def test_workers_of_a_managed_instance(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """Each worker holds its request's lines, however requests overlap, and says what it was; CloudWatch has all, which
    is said once."""
    with instance(source, layer_folder, task_root=task, **SETTINGS) as env:
        env.all_workers()
        events: list[Any] = [{"pause_s": 0.02}] * 9
        events[2] = events[5] = {"pause_s": 0.02, "end": "fail"}
        events[7] = {"pause_s": 0.02, "end": "kill"}
        env.invoke_all(*events)
    told = Counter(outcomes(source).values())
    assert (told["error"], told["killed"]) == (2, 1) and told["success"] >= 6
    failed = {id for id, outcome in outcomes(source).items() if outcome != "success"}
    assert sorted(text(record) for record in held(source)) == sorted(f"detail of {id}" for id in failed)
    shown = {text(record) for record in function_records(source) if not record.get("held")}
    assert {f"shown of {id}" for id in outcomes(source)} <= shown
    assert all(line in env.log for line in shown if line.startswith("shown of"))
    assert "detail of" not in env.log
    assert [line for line in env.said() if "SUMO_CLOUDWATCH" in line and "Managed Instances" in line] == env.said()
    assert len(env.said()) == 1
