"""Lambda's durable executions on this machine: AWS's own local runner, in front of the model's environment.

``dex-local-runner`` (aws-durable-execution-sdk-python-testing) keeps the checkpoints, wakes executions (without waiting
for their timers) and invokes the function as Lambda's API is called, with boto3. The invocations are received here and
run in an environment of the model, in another one each time if a test wants that. Separate because the model knows
nothing of executions: to Lambda's runtime interface, an invocation of a durable function is one like any other.

The runner needs Python 3.11, and so does the SDK.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from model import Environment, Invocation
from packages import package

from layer.interpreters import Interpreter

RUNNER = "aws-durable-execution-sdk-python-testing==1.4.0"
OLDEST_PYTHON = (3, 11)
SDKS = ("1.7.0", "2.1.0", "3.0.0")
"""One of each major version that tells a function's branches apart."""
OLD_SDK = "1.0.0"
"""Knows of the whole execution only whether it is replayed."""

_BEGIN_MAX_S = 60.0
_RUN_MAX_S = 90.0
_VERSION = "2025-12-01"
_OWN_PARTS = ("aws_durable_execution_sdk_python", "bin", "__pycache__")


def put_sdk(task_root: Path, version: str) -> None:
    """Put the SDK of a version into a function's folder, with what it needs."""
    needs = package(RUNNER, is_complete=True)
    for part in needs.iterdir():
        if not part.name.startswith(_OWN_PARTS) and part.suffix != ".dist-info":
            (task_root / part.name).symlink_to(part)
    for part in package(f"aws-durable-execution-sdk-python=={version}").iterdir():
        (task_root / part.name).symlink_to(part)


class DurableService:
    """Runs executions of one function; a context manager."""

    def __init__(self, interpreter: Interpreter) -> None:
        """Prepare the service.

        Args:
            interpreter: Runs AWS's runner.
        """
        self._interpreter = interpreter
        self._environment: Environment | None = None
        self.before_invocation: Callable[[int], Environment | None] = lambda number: None
        """Called with the number of an invocation, from 1; returns another environment for it, or None."""
        self.payloads: list[Any] = []
        """The events of all invocations."""
        self.invocations: list[Invocation] = []
        self._turn = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler_class())
        self._thread = threading.Thread(target=self._server.serve_forever, name="lambda-invoke", daemon=True)
        self._runner: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> DurableService:
        self._thread.start()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        lambda_port = self._server.server_address[1]
        address = f"http://127.0.0.1:{self._port}"
        arguments = ["--host", "127.0.0.1", "--port", str(self._port), "--log-level", "ERROR"]
        arguments += ["--skip-time", "--local-runner-endpoint", address]
        arguments += ["--lambda-endpoint", f"http://127.0.0.1:{lambda_port}"]
        command = [str(self._interpreter.executable), "-m", "aws_durable_execution_sdk_python_testing.cli"]
        environ = {
            "PYTHONPATH": str(package(RUNNER, is_complete=True)),
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "nobody's",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._runner = subprocess.Popen(
            [*command, "start-server", *arguments], env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait(lambda: self._call("GET", "/health")[0] == 200, _BEGIN_MAX_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.kill()
            self._runner.wait()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def variables(self) -> Mapping[str, str]:
        """What the function has in its environment to find the service."""
        return {"AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{self._port}"}

    def serve(self, environment: Environment) -> None:
        """Have invocations run in this environment from now on."""
        self._environment = environment

    def begin(self, event: Any, name: str = "order-7") -> str:
        """Begin an execution; return its ARN."""
        wanted = {
            "AccountId": "123456789012",
            "FunctionName": "orders",
            "FunctionQualifier": "$LATEST",
            "ExecutionName": name,
            "ExecutionTimeoutSeconds": 300,
            "ExecutionRetentionPeriodDays": 1,
            "InvocationId": f"{name}-{time.monotonic_ns()}",
            "Input": json.dumps(event),
        }
        status, answer = self._call("POST", "/start-durable-execution", json.dumps(wanted).encode())
        if status != 201:
            raise RuntimeError(f"no execution was begun: {status} {answer}")
        return str(answer["ExecutionArn"])

    def finish(self, arn: str) -> str:
        """Wait until an execution is over; return its status, such as ``SUCCEEDED``."""
        status = ""

        def is_over() -> bool:
            nonlocal status
            status = self._call("GET", f"/{_VERSION}/durable-executions/{quote(arn, safe='')}")[1].get("Status", "")
            return status not in ("", "RUNNING")

        self._wait(is_over, _RUN_MAX_S)
        return status

    def run(self, event: Any, name: str = "order-7") -> tuple[str, str]:
        """Run an execution to its end; return its ARN and its status."""
        arn = self.begin(event, name)
        return arn, self.finish(arn)

    def call_back(self, callback_id: str, result: Any) -> None:
        """Answer a callback that the function waits for."""
        path = f"/{_VERSION}/durable-execution-callbacks/{quote(callback_id, safe='')}/succeed"
        status, answer = self._call("POST", path, json.dumps(result).encode())
        if status != 200:
            raise RuntimeError(f"the callback was not taken: {status} {answer}")

    def _wait(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                if is_so():
                    return
            except OSError:
                pass  # it does not listen yet
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"AWS's runner is not so far after {timeout_s:.0f} s")
            time.sleep(0.05)  # it tells nobody; asking is the only way

    def _call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()

    def _invoke(self, payload: bytes) -> Invocation:
        with self._turn:
            event = json.loads(payload)
            self.payloads.append(event)
            self._environment = self.before_invocation(len(self.payloads)) or self._environment
            assert self._environment is not None
            invocation = self._environment.invoke(event)
            self.invocations.append(invocation)
            return invocation

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                invocation = service._invoke(body)
                answer = json.dumps(invocation.payload).encode()
                self.send_response(200)
                if invocation.status != "success":
                    self.send_header("X-Amz-Function-Error", "Unhandled")
                    answer = json.dumps({"errorType": str(invocation.error)}).encode()
                self.send_header("x-amzn-RequestId", invocation.request_id)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
