"""Who hears the function, end to end: each line is at Sumo Logic once, whatever starts the function and whenever."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from model import Environment
from runtimes import typical
from sumo_source import SumoSource
from test_main_path import said
from test_outage_path import fill

from sumo_internal.extension.lifecycle import SETTLE_MAX_S

FUNCTIONS = Path(__file__).parent / "functions"
EXTENSION = "sumo-internal-extension"
WRAPPED = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
WEB_ADAPTER = """#!/bin/sh
exec {python} -u {program}
"""
"""What the AWS Lambda Web Adapter's wrapper does: it runs the handler, a program, and not what it was given."""

PROGRAM = """
import http.client, os, sys, time
print("program loaded")
time.sleep(float(os.environ.get("STARTS_IN_S", "0")))
def call(method, path, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, f"/2018-06-01/runtime/invocation/{path}", body)
    answer = connection.getresponse()
    answer.read()
    return answer
while True:
    request_id = call("GET", "next").getheader("Lambda-Runtime-Aws-Request-Id")
    print("program heard of", request_id)
    call("POST", f"{request_id}/response", b"{}")
"""

HANDLER = """
import logging, os, time
from sumo_internal import SumoHandler

def redact(logger, method_name, event):
    event["event"] = event["event"].replace("hunter2", "-")
    return event

log = logging.getLogger()
log.setLevel(logging.INFO)
log.info("first %s", "of the import")

def begin():
    log.addHandler(SumoHandler(processors=[redact]))

if os.environ["WHEN"] == "import":
    time.sleep(float(os.environ["AFTER_S"]))
    begin()
    log.info("made, password hunter2")

def handler(event, context):
    if os.environ["WHEN"] == event:
        begin()
    log.info("line %s, password hunter2", event)
"""


def environment(source: SumoSource, layer: Path, task_root: Path, **variables: str) -> Environment:
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "TELEMETRY_TIMEOUT_MS": "25", **variables}
    return Environment(typical(), task_root, layer=layer, variables=variables)


def messages(source: SumoSource) -> Counter[str]:
    return Counter(
        str(record["message"]).rpartition("\t")[2] for record in source.records if record["type"] == "function"
    )


def subscribed(env: Environment) -> list[str]:
    return [event.detail for event in env.timeline if event.kind == "subscribe"]


def adapter(folder: Path) -> Path:
    """A wrapper that does not run what it is given, and its program."""
    (folder / "program.py").write_text(PROGRAM)
    wrapper = folder / "bootstrap"
    wrapper.write_text(WEB_ADAPTER.format(python=typical().interpreter.executable, program=folder / "program.py"))
    wrapper.chmod(0o755)
    return wrapper


@pytest.mark.parametrize("starts_in_s", ["0", "1"])
@pytest.mark.parametrize("flush", ["auto", "end"])
def test_behind_a_wrapper_that_runs_something_else(
    source: SumoSource, layer_folder: Path, tmp_path: Path, starts_in_s: str, flush: str
) -> None:
    """The web adapter in our slot for the next wrapper: nothing of ours runs, so Lambda's lines are asked for.

    From its first line on, although they were asked for later, and the platform's events are there once.
    """
    (tmp_path / "app.py").touch()
    variables = {**WRAPPED, "SUMO_NEXT_WRAPPER": str(adapter(tmp_path)), "SUMO_FLUSH": flush}
    with environment(source, layer_folder, tmp_path, STARTS_IN_S=starts_in_s, **variables) as env:
        assert env.start().error is None
        asked = [event.who for event in env.timeline if event.kind == "next"]
        assert starts_in_s == "0" or asked.index(EXTENSION) < asked.index("runtime")
        invocations = [env.invoke({}) for _ in range(3)]
        env.shutdown()

        assert subscribed(env) == ["platform", "function,platform"]
        lines = said(env)
    expected = ["program loaded", *(f"program heard of {invocation.request_id}" for invocation in invocations)]
    assert messages(source) == Counter(expected)
    kinds = Counter(record["type"] for record in source.records)
    assert kinds["platform.initStart"] == kinds["platform.initRuntimeDone"] == 1 and kinds["platform.report"] == 3
    assert len(lines) == 1 and "names sumo_wrapper, but the function's process has no part of it" in lines[0]


@pytest.mark.parametrize("disk", ["as ever", "no folder for notes"])
def test_under_the_wrapper_nothing_is_told_twice(
    source: SumoSource, layer_folder: Path, tmp_path: Path, disk: str
) -> None:
    """Lambda is never asked for the function's lines, and the extension is ready before the runtime is.

    Within what it would wait for a note: the function's module takes less than that.
    """
    task = tmp_path / "task"
    shutil.copytree(FUNCTIONS / "probe", task)
    app = task / "app.py"
    app.write_text(app.read_text().replace('print("loaded")', f'print("loaded")\ntime.sleep({0.9 * SETTLE_MAX_S})'))
    with environment(source, layer_folder, task, **WRAPPED) as env:
        if disk == "no folder for notes":
            (env.tmp / "sumo-internal").mkdir(mode=0o700)
            (env.tmp / "sumo-internal" / "function.json").mkdir()
        assert env.start().error is None
        env.invoke({"steps": [{"log": "one"}]})
        env.shutdown()

        assert subscribed(env) == ["platform"]
        asked = [event.who for event in env.timeline if event.kind == "next"]
        assert asked.index(EXTENSION) < asked.index("runtime")
        stream = env.log_stream
    assert messages(source) == Counter(["loaded", "one"])
    assert {record["logStream"] for record in source.records} == {stream}


def slow(layer: Path, folder: Path) -> Path:
    """The layer, with an extension that is up later than the function's process."""
    copy = folder / "opt"
    shutil.copytree(layer, copy)
    script = copy / "extensions" / EXTENSION
    text = script.read_text()
    assert 'exec "$python"' in text
    script.write_text(text.replace('    exec "$python" -I', '    sleep 0.5; exec "$python" -I'))
    return copy


def test_a_slow_extension_is_told_too(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """At 128 MB it may be up after the function's process, which has nobody to send its note to."""
    with environment(source, slow(layer_folder, tmp_path), FUNCTIONS / "probe", **WRAPPED) as env:
        assert env.start().error is None
        env.invoke({"steps": [{"log": "one"}]})
        env.shutdown()

        assert subscribed(env) == ["platform"]
        stream = env.log_stream
    assert messages(source) == Counter(["loaded", "one"])
    assert {record["logStream"] for record in source.records} == {stream}


@pytest.mark.skipif(Environment.isolation_available() is not None, reason="a file system of its own needs root")
@pytest.mark.parametrize("extension", ["at once", "slow"])
@pytest.mark.parametrize("disk", ["full", "read-only", "refused"])
def test_the_note_needs_no_disk(
    source: SumoSource, layer_folder: Path, tmp_path: Path, disk: str, extension: str
) -> None:
    """/tmp without a byte of room, a folder that cannot be made, one that belongs to another user: each line once.

    Whichever of the two processes is up first, Lambda is never asked for the function's lines.
    """
    layer = slow(layer_folder, tmp_path) if extension == "slow" else layer_folder
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "TELEMETRY_TIMEOUT_MS": "25", **WRAPPED}
    if disk == "read-only":
        variables["SUMO_SPOOL_DIR"] = "/opt/spool"
    options: dict[str, Any] = {"isolated": True, "tmp_size_mb": 4}
    with Environment(typical(), FUNCTIONS / "probe", layer=layer, variables=variables, **options) as env:
        if disk == "full":
            fill(env.tmp)
        elif disk == "refused":
            (env.tmp / "sumo-internal").mkdir(mode=0o755)  # root's, and the processes are another user's
        assert env.start().error is None
        for text in ("one", "two"):
            env.invoke({"steps": [{"log": text}]})
        env.shutdown()

        assert subscribed(env) == ["platform"]
        stream = env.log_stream
        notes = [line for line in said(env) if "lines wait in memory" in line]
    assert messages(source) == Counter(["loaded", "one", "two"])
    assert set(source.ids().values()) == {1}
    # What Lambda tells of the init comes before a slow extension has read which stream it is.
    told = [record for record in source.records if extension == "at once" or record["type"] == "function"]
    assert {record["logStream"] for record in told} == {stream}
    assert notes and all("which the extension keeps open" in note for note in notes)
    reason = {
        "full": "no file can be made",
        "read-only": "Read-only file system",
        "refused": "belongs to somebody else",
    }
    assert reason[disk] in notes[0]


@pytest.mark.parametrize("flush", ["auto", "end"])
@pytest.mark.parametrize(("when", "after_s"), [("import", "0"), ("import", "1.5"), ("one", "0")])
def test_a_handler_is_heard_once_whenever_it_is_made(
    source: SumoSource, layer_folder: Path, tmp_path: Path, when: str, after_s: str, flush: str
) -> None:
    """Late in a long import, or in an invocation: no line comes twice, and none past the processors that redact it.

    What an import writes before it makes a handler is as little shipped as what it prints.
    """
    (tmp_path / "app.py").write_text(HANDLER)
    variables = {"WHEN": when, "AFTER_S": after_s, "SUMO_FLUSH": flush}
    with environment(source, layer_folder, tmp_path, **variables) as env:
        assert env.start().error is None
        for event in ("zero", "one", "two"):
            env.invoke(event)
            time.sleep(0.05)
        env.shutdown()

        assert when == "one" or subscribed(env)[0] == "function,platform"
    in_process = ["line one, password -", "line two, password -"]
    if when == "import":
        assert messages(source) == Counter(["made, password -", "line zero, password -", *in_process])
    else:  # before there is a handler, Lambda has the lines, as they are
        first = ["first of the import", "line zero, password hunter2"]
        assert messages(source) == Counter([*first, *in_process])
    assert set(source.ids().values()) == {1}
