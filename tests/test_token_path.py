"""Token authentication, end to end: a source whose address has no code, and a token that goes in a header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer
from model import Environment
from runtimes import typical
from sumo_rules import BASE_PATH, TOKEN
from sumo_source import Fault, SumoSource
from test_failover_path import bucket as bucket  # a fixture
from test_failover_path import failover, objects
from test_main_path import said
from test_processing_path import BY_TELEMETRY

pytest_plugins = ["aws_server"]

SHOWS = (
    "import os, pprint\n\ndef handler(event, context):\n"
    "    print(event)\n    print(os.environ)\n    pprint.pprint(dict(os.environb))\n"
)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A function that shows its environment."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "app.py").write_text(SHOWS)
    return folder


def environment(source: SumoSource, layer: Path, task: Path, **variables: str) -> Environment:
    settings = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.base_url,
        "SUMO_HTTP_TOKEN": TOKEN,
        "SUMO_LOG_TYPES": "function",
        "SUMO_FLUSH": "end",
        "SUMO_NUM_RETRIES": "0",
        **variables,
    }
    settings = {name: value for name, value in settings.items() if value}
    return Environment(typical(), task, layer=layer, variables=settings, timeout_s=10)


def messages(source: SumoSource) -> list[Any]:
    return [record["message"] for record in {record["id"]: record for record in source.records}.values()]


def gives_away(text: str) -> bool:
    """Is a piece of the token, of twelve characters, in a text?"""
    return any(TOKEN[begin : begin + 12] in text for begin in range(len(TOKEN) - 11))


@pytest.mark.parametrize("mode", ["process", "telemetry"])
def test_lines_go_out_with_the_token_and_do_not_show_it(
    source: SumoSource, layer_folder: Path, task: Path, mode: str
) -> None:
    """Both processes send it, for a function that shows all of its environment in lines cut anywhere."""
    variables = {} if mode == "process" else BY_TELEMETRY
    with environment(source, layer_folder, task, **variables) as env:
        assert env.start().error is None
        assert env.invoke("first").status == "success"
        env.shutdown()
        lines = said(env)

    assert "first" in messages(source)
    assert {(request.path, request.headers["x-sumo-token"]) for request in source.requests} == {(BASE_PATH, TOKEN)}
    assert not gives_away(json.dumps(source.records) + "".join(lines))


def test_a_token_may_be_rotated(layer_folder: Path, task: Path, aws_server: AwsServer) -> None:
    """A 401 has it fetched anew, with nothing lost in between and nothing said of what it is."""
    secrets = aws_server.client("secretsmanager")
    content = {"SUMO_HTTP_TOKEN": "the-token-of-the-last-year"}
    arn = secrets.create_secret(Name="token-of-test-token-path", SecretString=json.dumps(content))["ARN"]
    with (
        SumoSource() as source,
        environment(source, layer_folder, task, SUMO_HTTP_TOKEN=arn, AWS_ENDPOINT_URL=aws_server.url) as env,
    ):
        env.start()
        env.invoke("with the old one")
        secrets.put_secret_value(SecretId=arn, SecretString=json.dumps({"SUMO_HTTP_TOKEN": TOKEN}))
        env.invoke("with the new one")
        env.shutdown()
        lines = "".join(said(env))

        tokens = [request.headers.get("x-sumo-token") for request in source.requests if request.headers]
        assert [message for message in messages(source) if "the" in message[:9]] == [
            "with the old one",
            "with the new one",
        ]
        assert tokens[0] == "the-token-of-the-last-year" and tokens[-1] == TOKEN
        assert {problem.partition(": ")[2] for problem in source.problems} == {"wrong path or token"}
    assert not gives_away(lines + json.dumps(source.records)) and "of-the-last-year" not in lines


def test_the_token_does_not_go_to_the_bucket(
    source: SumoSource, layer_folder: Path, task: Path, aws_server: AwsServer, bucket: str
) -> None:
    """An object has the lines, and of the headers those that say whose lines they are."""
    source.default = Fault(503)
    with environment(source, layer_folder, task, **failover(aws_server, bucket)) as env:
        env.start()
        env.invoke("first")
        env.shutdown()
        stream = env.log_stream

    stored = objects(aws_server, bucket).values()
    assert "first" in [record["message"] for records, _, _ in stored for record in records]
    for records, metadata, _ in stored:
        assert metadata == {"sumo-host": "/aws/lambda/orders", "sumo-name": stream}
        assert not gives_away(json.dumps(records))
