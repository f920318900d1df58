"""Beside other vendors' libraries a function answers as it does without us, and each of its lines is there once.

The real packages, set up as their documentation says for Lambda; what their layers' wrappers do besides is tried in
tests/test_next_wrapper.py. docs/before-you-deploy.md has the table.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from model import Environment
from packages import package
from runtimes import ROOT, runtimes
from sumo_source import SumoSource

BODY = """
import logging
logging.getLogger().setLevel(logging.INFO)
{preamble}
{decorator}
def handler(event, context):
    logging.getLogger("orders").info("logged %s", event["n"])
    print("printed", event["n"])
    if event["n"] == 2:
        raise LookupError("no such order")
    return {{"answer": event["n"]}}
"""


@dataclass(frozen=True)
class Other:
    """A library: its packages, what a function does with it, its variables."""

    packages: tuple[str, ...]
    preamble: str
    decorator: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    handler: str = "app.handler"


POWERTOOLS = """
from aws_lambda_powertools import Logger, Tracer
logger = Logger(service="orders")
tracer = Tracer(service="orders", disabled=True)
"""

OPENTELEMETRY = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.instrumentation.logging import LoggingInstrumentor
trace.set_tracer_provider(TracerProvider())
LoggingInstrumentor().instrument(set_logging_format=False)
"""

OTHERS = {
    "Powertools": Other(
        ("aws-lambda-powertools[tracer]==3.37.0",),
        POWERTOOLS,
        "@logger.inject_lambda_context\n@tracer.capture_lambda_handler",
    ),
    "OpenTelemetry": Other(
        ("opentelemetry-instrumentation-logging==0.66b1", "opentelemetry-sdk==1.45.2"),
        OPENTELEMETRY,
        "@trace.get_tracer('orders').start_as_current_span('order')",
    ),
    "Datadog": Other(
        ("datadog-lambda==8.130.0",),
        "",
        variables={
            "DD_LAMBDA_HANDLER": "app.handler",
            "DD_API_KEY": "none",
            "DD_TRACE_ENABLED": "true",
            "DD_FLUSH_TO_LOG": "true",
        },
        handler="datadog_lambda.handler.handler",
    ),
    "X-Ray": Other(
        ("aws-xray-sdk==2.15.0",),
        "from aws_xray_sdk.core import patch_all, xray_recorder\npatch_all()\n",
        "@xray_recorder.capture('order')",
        {"AWS_XRAY_CONTEXT_MISSING": "IGNORE_ERROR"},
    ),
    "Sentry": Other(
        ("sentry-sdk==2.75.0",),
        "import sentry_sdk\nfrom sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration\n"
        "sentry_sdk.init(dsn='http://key@127.0.0.1:9/1', integrations=[AwsLambdaIntegration(timeout_warning=True)],"
        " shutdown_timeout=0)\n",
    ),
    "New Relic": Other(
        ("newrelic-lambda==1.0.0",),
        "import newrelic.agent\nnewrelic.agent.initialize()\n"
        "from newrelic_lambda.lambda_handler import lambda_handler\n",
        "@lambda_handler()",
        {"NEW_RELIC_SERVERLESS_MODE_ENABLED": "true", "NEW_RELIC_ACCOUNT_ID": "1", "NEW_RELIC_APP_NAME": "orders"},
    ),
}


def run(
    other: Other, folder: Path, layer: Path | None, variables: dict[str, str]
) -> tuple[list[tuple[str, object, object]], Counter[str]]:
    """Two invocations, of which the second fails: what the caller got, and the function's lines in CloudWatch."""
    (runtime,) = [each for each in runtimes([4]) if each.version == sys.version_info[:2]]
    folder.mkdir()
    (folder / "app.py").write_text(BODY.format(preamble=other.preamble, decorator=other.decorator))
    paths = ":".join(str(package(each, is_complete=True)) for each in other.packages)
    given = {**other.variables, **variables, "PYTHONPATH": paths}
    with Environment(
        runtime, folder, handler=other.handler, layer=layer, variables=given, timeout_s=10, freezes=layer is not None
    ) as env:
        assert env.start().error is None, [line.text for line in env.cloudwatch]
        answers: list[tuple[str, object, object]] = []
        for n in (1, 2):
            done = env.invoke({"n": n})
            answers.append((done.status, done.payload, done.error and done.error.error_type))
        env.shutdown()
        heard = Counter(line.text.strip() for line in env.cloudwatch if line.source == "function")
    return answers, heard


@pytest.mark.timeout(300)  # the packages are fetched, once
@pytest.mark.parametrize("name", OTHERS)
def test_beside(name: str, source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Answers and errors are the same as without the layer; what the function wrote is at Sumo Logic, once."""
    other = OTHERS[name]
    alone, _ = run(other, tmp_path / "alone", None, {})
    ours = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url}
    beside, cloudwatch = run(other, tmp_path / "beside", layer_folder, {**ours, "SUMO_LOG_TYPES": "function"})
    assert beside == alone
    assert [status for status, _, _ in beside] == ["success", "error"]
    messages = [json.dumps(record["message"]) for record in source.records if record["type"] == "function"]
    for text in ("logged 1", "printed 1", "logged 2", "printed 2"):
        assert sum(text in message for message in messages) == 1, (text, messages)
    reports = [record for record in source.records if record.get("errorType") == "LookupError"]
    assert len(reports) == 1 and reports[0]["errorMessage"] == "no such order"
    ids = [record["requestID"] for n in (1, 2) for record in source.records if f"logged {n}" in str(record)]
    assert len(set(ids)) == 2
    assert [identity for identity, count in source.ids().items() if count > 1] == []
    assert sum("logged" in line for line in cloudwatch) >= 2


def test_each_is_in_the_table_of_the_page() -> None:
    """A row for each that is tried, and none is tried without a row."""
    page = (ROOT / "docs/before-you-deploy.md").read_text()
    assert [name for name in OTHERS if f"\n| {name} |" not in page] == []
