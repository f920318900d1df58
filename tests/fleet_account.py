"""An AWS account on loopback with functions and layers, and the command ``sumo-internal`` with its credentials.

A test file that wants it says ``pytest_plugins = ["fleet_account"]`` and takes the fixture ``fleet``. The command runs
in the tests' process: importing boto3 anew for each would take a second. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import boto3
import pytest
from aws_server import REGION
from lambda_server import LambdaServer

from sumo_internal import cli
from sumo_internal.cli import account
from sumo_internal.cli.publish import PARTS


@pytest.fixture(scope="session")
def lambda_server() -> Iterator[LambdaServer]:
    """AWS, started when a test first needs it."""
    server = LambdaServer()
    with server:
        yield server


class Fleet:
    """An account, and the command with its credentials."""

    def __init__(self, server: LambdaServer, output: pytest.CaptureFixture[str]) -> None:
        self._server = server
        self._output = output
        server.reset()
        iam = server.client("iam")
        self._role = iam.create_role(RoleName="function", AssumeRolePolicyDocument="{}")["Role"]["Arn"]

    def layer(self, name: str = "sumo-internal-extension", region: str = REGION, description: str = "") -> str:
        """Publish a version of a layer."""
        answer = self.client(region).publish_layer_version(
            LayerName=name, Description=description or f"{name} 0.1.0", Content={"ZipFile": archive()}
        )
        return str(answer["LayerVersionArn"])

    def function(self, name: str = "orders", region: str = REGION, **more: Any) -> None:
        given = {"Runtime": "python3.12", "Handler": "app.handler", "Code": {"ZipFile": archive()}} | more
        if "Variables" in given:
            given["Environment"] = {"Variables": given.pop("Variables")}
        self.client(region).create_function(FunctionName=name, Role=self._role, **given)

    def client(self, region: str = REGION, service: str = "lambda") -> Any:
        return self._server.client(service, region)

    def has(self, name: str = "orders", region: str = REGION) -> tuple[list[str], dict[str, str]]:
        """A function's layers and variables."""
        found = self.client(region).get_function_configuration(FunctionName=name)
        return [each["Arn"] for each in found.get("Layers", [])], found.get("Environment", {}).get("Variables", {})

    def run(self, *arguments: str) -> Ended:
        """Run the command, without a terminal."""
        self._output.readouterr()
        try:
            code = cli.main(arguments)
        except SystemExit as error:  # argparse
            code = int(str(error.code))
        ended = Ended(code, *self._output.readouterr())
        assert "dTOKEN" not in ended.stdout + ended.stderr, "the endpoint's path is a credential"
        return ended

    def done(self, *arguments: str) -> str:
        """Run a command that succeeds; return what it printed."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    @property
    def journals(self) -> list[str]:
        return sorted(str(path) for path in Path("state/sumo-internal").absolute().glob("*.jsonl"))


def archive() -> bytes:
    """A function's code, and what passes for a layer."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as content:
        content.writestr("app.py", "def handler(event, context): ...")
        for part in PARTS:
            content.writestr(part, "")
    return buffer.getvalue()


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


VARIABLES = {
    "COLUMNS": "250",
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "someone's",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture
def fleet(
    lambda_server: LambdaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Fleet:
    """An account of its own, and a folder for the journals."""
    monkeypatch.chdir(tmp_path)
    given = {"AWS_ENDPOINT_URL": lambda_server.url, "XDG_STATE_HOME": str(tmp_path / "state")}
    for name in ("SUMO_HTTP_ENDPOINT", "SUMO_HTTP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**VARIABLES, **given}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(account, "POLL_S", 0.05)
    return Fleet(lambda_server, capsys)
