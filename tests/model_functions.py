"""What the tests of the model of the environment share: tiny functions and extensions, and ways to look at a run.

A test file that wants the fixtures says ``pytest_plugins = ["model_functions"]``. PYTEST_DONT_REWRITE, because the file
imports from here as well.
"""

from __future__ import annotations

import glob
import json
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from model import Environment, Event

ECHO = """
def handler(event, context):
    return {"echo": event, "id": context.aws_request_id}
"""

EXTENSION_PREAMBLE = """\
#!/usr/bin/env python3
import http.client, json, os, signal, sys, threading, time

def call(method, path, body=None, **headers):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    api.request(method, path, None if body is None else json.dumps(body), names)
    answer = api.getresponse()
    text = answer.read()
    api.close()
    return answer.status, text.decode(), answer.getheader("Lambda-Extension-Identifier")

def register(*events, name=os.path.basename(__file__)):
    path = "/2020-01-01/extension/register"
    return call("POST", path, {"events": events}, Lambda_Extension_Name=name)[2]

def next_event(identifier):
    return json.loads(call("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=identifier)[1])

def say(*words):
    print(*words, flush=True)
"""

INTERNAL = EXTENSION_PREAMBLE.partition("\n")[2]
"""The same helpers, for a function that registers an extension from its own process."""

PATIENT = """
identifier = register("INVOKE", "SHUTDOWN")
event = {}
while event.get("eventType") != "SHUTDOWN":
    event = next_event(identifier)
    say("got", json.dumps(event))
"""


@pytest.fixture
def task(tmp_path: Path) -> Callable[[str], Path]:
    """Write a function's code and return its folder."""

    def write(source: str) -> Path:
        folder = tmp_path / "task"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(textwrap.dedent(source))
        return folder

    return write


@pytest.fixture
def layer(tmp_path: Path) -> Callable[..., Path]:
    """Write extensions by name and return the layer's folder."""

    def write(**extensions: str) -> Path:
        folder = tmp_path / "layer"
        (folder / "extensions").mkdir(parents=True, exist_ok=True)
        for name, source in extensions.items():
            script(folder / "extensions" / name, source if source.startswith("#!") else EXTENSION_PREAMBLE + source)
        return folder

    return write


def script(path: Path, source: str) -> None:
    """Write an executable."""
    path.write_text(textwrap.dedent(source))
    path.chmod(0o755)


def kinds(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Return what happened to whom, without the times."""
    return [(event.kind, event.who) for event in events]


def texts(env: Environment, source: str) -> list[str]:
    """Return what one source has written to the log stream."""
    return [line.text for line in env.cloudwatch if line.source == source]


def messages(env: Environment, extension: str) -> list[Any]:
    """Return the events that a patient extension says it got."""
    return [json.loads(text[4:]) for text in texts(env, f"extension:{extension}") if text.startswith("got ")]


def eventually(condition: Callable[[], bool], bound_s: float = 5.0) -> None:
    """Wait for something outside the model, such as a file that a process writes."""
    deadline_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def control_groups(pid: int) -> list[str]:
    """Return the control groups of the environments that one test process has made."""
    return glob.glob(f"/sys/fs/cgroup/*/**/lambda-model-{pid}-*", recursive=True)
