"""check, as somebody runs it: a function in AWS on loopback, run in the model of Lambda, and a source that answers."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from fleet_account import Fleet
from sumo_source import Fault, SumoSource

from sumo_internal.shipping.invocation_check import Check

pytest_plugins = ["fleet_account"]

LOGS = "import logging\ndef handler(event, context):\n    logging.warning('order %s', event.get('order'))\n"
FAILS = "def handler(event, context):\n    print('begun')\n    raise LookupError('no such order')\n"
SILENT = "def handler(event, context):\n    return 1\n"
WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}


def code(source: str) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as content:
        content.writestr("app.py", source)
    return buffer.getvalue()


def function(fleet: Fleet, layer_zip: bytes, source: SumoSource, text: str, **variables: str) -> None:
    """A function with the layer."""
    published = fleet.client().publish_layer_version(
        LayerName="sumo-internal-extension", Content={"ZipFile": layer_zip}
    )
    given = {**WRAPPER, "SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function", **variables}
    layers = [published["LayerVersionArn"]]
    fleet.function(Code={"ZipFile": code(text)}, Layers=layers, Variables=given, Timeout=10, MemorySize=1769)


@pytest.mark.parametrize("flush", ["auto", "next", "end"])
def test_lines_of_this_very_invocation_were_accepted(
    fleet: Fleet, layer_zip: bytes, source: SumoSource, flush: str
) -> None:
    """However lines are flushed: what is said is said of the request, and the query has its id and the lines' host."""
    function(fleet, layer_zip, source, LOGS, SUMO_FLUSH=flush)
    Path("event.json").write_text('{"order": 7}')
    said = fleet.done("check", "orders", "--event", "event.json")
    [record] = source.records
    assert record["message"].rstrip().endswith("order 7")
    assert "Sumo Logic has accepted its lines (1 line)" in said
    assert f'_sourceHost="/aws/lambda/orders" "{record["requestID"]}"' in said.splitlines()


def test_a_function_that_fails_is_checked_all_the_same(fleet: Fleet, layer_zip: bytes, source: SumoSource) -> None:
    """Its own failure is told beside: the lines of one that fails matter most."""
    function(fleet, layer_zip, source, FAILS)
    said = fleet.done("check", "orders")
    assert "it has failed (LookupError: no such order)" in said and "accepted its lines (2 lines)" in said


def test_lines_that_were_not_accepted_are_no_success(fleet: Fleet, layer_zip: bytes) -> None:
    """A refused token: exit code 1, and the source's answer; nothing shows the token."""
    with SumoSource() as source:
        source.default = Fault(401)
        function(fleet, layer_zip, source, LOGS)
        ended = fleet.run("check", "orders")
    assert ended.returncode == 1
    assert re.search(r"has not accepted its lines \(they wait in the spool; HTTP 401", ended.stdout)


def test_a_managed_instance_is_not_checked(fleet: Fleet) -> None:
    """Its extension ships the lines of all requests together: said at once, and nothing is invoked."""
    fleet.function(
        "orders",
        Runtime="python3.13",
        CapacityProviderConfig={
            "LambdaManagedInstancesCapacityProviderConfig": {
                "CapacityProviderArn": "arn:aws:lambda:us-east-1:123456789012:capacity-provider:shop"
            }
        },
    )
    ended = fleet.run("check", "orders")
    assert ended.returncode != 0 and "runs on Managed Instances" in ended.stderr
    assert "was invoked" not in ended.stdout


def test_a_function_without_lines_proves_nothing(fleet: Fleet, layer_zip: bytes, source: SumoSource) -> None:
    """Nothing was sent, so nothing was accepted: said, and no success."""
    function(fleet, layer_zip, source, SILENT)
    ended = fleet.run("check", "orders")
    assert (ended.returncode, source.records) == (1, []) and "It has written no line" in ended.stdout


def test_what_cannot_be_learnt_is_said(fleet: Fleet, source: SumoSource, layer_zip: bytes) -> None:
    """A function without the wrapper, one whose layer is told to be quiet: each with its reason, in bounded time."""
    function(fleet, layer_zip, source, LOGS, SUMO_LOG_LEVEL="error")
    ended = fleet.run("check", "orders", "--timeout-s", "1")
    assert ended.returncode == 1 and "SUMO_LOG_LEVEL=error keeps the layer from saying it" in ended.stdout
    fleet.function("bare", Code={"ZipFile": code(LOGS)}, Variables={"SUMO_HTTP_ENDPOINT": source.url})
    ended = fleet.run("check", "bare", "--timeout-s", "1")
    assert ended.returncode == 1 and "the wrapper is not in AWS_LAMBDA_EXEC_WRAPPER" in ended.stdout


@pytest.mark.parametrize(
    ("set_up", "finding"),
    [
        ({}, "endpoint-missing"),
        ({"Variables": {"SUMO_HTTP_ENDPOINT": "nowhere"}}, "endpoint-value"),
        (
            {"Variables": {"SUMO_HTTP_ENDPOINT": "https://x.org/receiver/v1/http/a", "SUMO_DISABLED": "true"}},
            "disabled",
        ),
        ({"Variables": {"SUMO_HTTP_ENDPOINT": "https://x.org/receiver/v1/http/a"}, "Runtime": "nodejs20.x"}, "runtime"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_function_that_ships_nothing_is_not_invoked(fleet: Fleet, set_up: dict[str, Any], finding: str) -> None:
    """What keeps its lines from arriving is named at once. Guards against effects, and a wait, for nothing."""
    fleet.function(**set_up)
    ended = fleet.run("check", "orders")
    assert (ended.returncode, ended.stdout.count("was not invoked")) == (1, 1)
    assert re.search(rf"^{finding}: ", ended.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("lines", "counts", "is_empty", "verdict"),
    [
        (2, {}, True, "accepted (2 lines)"),
        (0, {}, True, "no lines (the function has written none)"),
        (2, {"retried": (2, 9)}, True, "accepted (2 lines)"),
        (2, {"failedOver": (3, 9)}, True, "accepted (2 lines)"),
        (2, {"failedOver": (5, 18)}, True, "not accepted (failedOver; HTTP 503)"),
        (2, {"refused": (2, 9)}, True, "not accepted (refused; HTTP 503)"),
        (2, {}, False, "not accepted (they wait in the spool; HTTP 503)"),
    ],
)
def test_what_is_said_of_a_checked_invocation(
    lines: int, counts: dict[str, tuple[int, int]], is_empty: bool, verdict: str
) -> None:
    """In the bucket is not at Sumo Logic; what had happened to lines before is not this invocation's."""
    check = Check("r1", 7, {"failedOver": (3, 9)} if "failedOver" in counts else {})
    assert check.verdict(7 + lines, counts, "HTTP 503", is_empty=is_empty) == f"check of r1: {verdict}"


@pytest.mark.parametrize(("content", "problem"), [("{", "is not JSON"), (None, "No such file")])
def test_a_wrong_event_is_no_invocation(fleet: Fleet, content: str | None, problem: str) -> None:
    """Before anything is asked of AWS."""
    if content:
        Path("event.json").write_text(content)
    ended = fleet.run("check", "orders", "--event", "event.json")
    assert ended.returncode == 2 and problem in ended.stderr
