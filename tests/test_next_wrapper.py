"""SUMO_NEXT_WRAPPER with wrappers as other vendors' layers have them, in the model of Lambda."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from model import Environment
from packages import package
from runtimes import Runtime, runtimes
from sumo_source import SumoSource

OPENTELEMETRY = """#!/bin/bash
export PYTHONPATH="{packages}:$PYTHONPATH"
export OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none
exec "{python}" "{packages}/bin/opentelemetry-instrument" "$@"
"""
"""How OpenTelemetry's layer ends: a launcher in an interpreter of its own, which then becomes its first argument."""

VENDOR = """#!/bin/bash
export PYTHONPATH="{packages}:$PYTHONPATH"
export VENDOR_HANDLER="$_HANDLER" _HANDLER=vendor.handler
args=("$@")
exec "${{args[@]:0:$#-1}}" -X importtime "${{args[@]: -1}}"
"""
"""Another way: options before the last argument, as AWS's documentation shows it, and a handler around the user's."""

VENDOR_HANDLER = """
import importlib, os, sys
module, _, name = os.environ["VENDOR_HANDLER"].rpartition(".")
inner = getattr(importlib.import_module(module.replace("/", ".")), name)
def handler(event, context):
    return {"inner": inner(event, context), "xoptions": list(sys._xoptions)}
"""

FUNCTION = """
import logging, os, sys
logging.getLogger().setLevel(logging.INFO)
def handler(event, context):
    logging.info("logged %s", event["n"])
    print("printed", event["n"])
    return {"argv": sys.argv, "records": logging.getLogRecordFactory().__module__,
            "variables": sorted(name for name in os.environ if name.startswith("SUMO_"))}
"""


def environment(runtime: Runtime, layer: Path, source: SumoSource, task_root: Path, other: Path) -> Environment:
    (task_root / "app.py").write_text(FUNCTION)
    other.chmod(0o755)
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_NEXT_WRAPPER": str(other),
        "SUMO_HTTP_ENDPOINT": source.url,
    }
    return Environment(runtime, task_root, handler="app.handler", layer=layer, variables=variables)


def messages(source: SumoSource) -> Counter[str]:
    return Counter(record["message"].rpartition("\t")[2] for record in source.records if record["type"] == "function")


def test_opentelemetrys_launcher_and_ours(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """It has instrumented (log records are made by it), and each line is shipped once."""
    (runtime,) = [each for each in runtimes([4]) if each.version == sys.version_info[:2]]
    packages = package("opentelemetry-instrumentation-logging==0.66b1", is_complete=True)
    other = tmp_path / "otel-instrument"
    other.write_text(OPENTELEMETRY.format(packages=packages, python=runtime.interpreter.executable))
    with environment(runtime, layer_folder, source, tmp_path, other) as env:
        assert env.start().error is None
        answer = env.invoke({"n": 1}).payload
        env.shutdown()

    assert answer["records"] == "opentelemetry.instrumentation.logging"
    assert messages(source) == {"logged 1": 1, "printed 1": 1}


CONSOLE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
"""
"""What OpenTelemetry's own sitecustomize comes to with OTEL_TRACES_EXPORTER=console."""

SPANS = """
import traceback
from opentelemetry import trace
def handler(event, context):
    with trace.get_tracer("orders").start_as_current_span(f"span {event['n']}"):
        print("printed", event["n"])
    return [frame.filename for frame in traceback.extract_stack()]
"""


def test_what_a_sitecustomize_takes_of_the_streams_writes_through_ours(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """An exporter keeps the stdout that it finds before the function: its spans are lines all the same.

    And no frame of ours is in the function's stack.
    """
    (runtime,) = [each for each in runtimes([4]) if each.version == sys.version_info[:2]]
    packages = package("opentelemetry-sdk==1.45.2", is_complete=True)
    (tmp_path / "early").mkdir()
    (tmp_path / "early/sitecustomize.py").write_text(CONSOLE)
    other = tmp_path / "vendor"
    other.write_text(f'#!/bin/bash\nexport PYTHONPATH="{tmp_path}/early:{packages}:$PYTHONPATH"\nexec "$@"\n')
    with environment(runtime, layer_folder, source, tmp_path, other) as env:
        (tmp_path / "app.py").write_text(SPANS)
        assert env.start().error is None
        files = env.invoke({"n": 1}).payload
        cloudwatch = Counter(line.text.strip() for line in env.cloudwatch if line.source == "function")
        env.shutdown()
    assert [file for file in files if "sumo_internal" in file] == []
    assert cloudwatch['"name": "span 1",'] == 1
    shipped = [record["message"] for record in source.records if record["type"] == "function"]
    # A span is printed as a JSON value of several lines, which is one record.
    spans = [json.dumps(message, indent=4) for message in shipped if isinstance(message, dict)]
    texts = [message for message in shipped if isinstance(message, str)]
    assert len(spans) == 1
    lines = [line.strip() for text in [*texts, *spans] for line in text.split("\n")]
    assert Counter(line.rpartition("\t")[2] for line in lines) == Counter(
        line.rpartition("\t")[2] for line in cloudwatch.elements()
    )


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_a_vendors_options_and_handler_and_ours(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """Its option is in effect and its handler runs around the user's; the function sees nothing of the detour."""
    (tmp_path / "vendor.py").write_text(VENDOR_HANDLER)
    other = tmp_path / "vendor"
    other.write_text(VENDOR.format(packages=tmp_path))
    with environment(runtime, layer_folder, source, tmp_path, other) as env:
        assert env.start().error is None
        answers = [env.invoke({"n": n}).payload for n in (1, 2)]
        env.shutdown()

    assert [answer["xoptions"] for answer in answers] == [["importtime"]] * 2
    assert "SUMO_WRAPPED_INTERPRETER" not in answers[0]["inner"]["variables"]
    assert answers[0]["inner"]["argv"][0].endswith("bootstrap.py")
    counted = messages(source)
    assert [counted[f"{verb} {n}"] for verb in ("logged", "printed") for n in (1, 2)] == [1, 1, 1, 1]
