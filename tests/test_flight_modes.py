"""DEBUG on failure, spared CloudWatch and summaries in Lambda's other modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runtimes import Runtime
from sumo_source import SumoSource
from test_cloudwatch import own
from test_durable_path import service as service  # a fixture
from test_flight import each_format, form_of, function_records, held, text
from test_main_path import said
from test_modes import NEWEST
from test_processing_path import environment
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
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


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
