"""AWS on loopback: moto's server in a process of its own, one for each process of tests that needs it.

Separate from the tests because three files need it, and because it is also what the process runs. A test file that
wants it says ``pytest_plugins = ["aws_server"]`` and takes the fixture ``aws_server``. PYTEST_DONT_REWRITE

Rules:

* The process ends when its standard input does, so that no death of the tests leaves it behind.
* With :meth:`AwsServer.enforcing`, signatures are verified and rights are needed, as in the real one; otherwise
  whatever is asked is done.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

REGION = "eu-west-1"
ACCOUNT_ID = "123456789012"


class AwsServer:
    """A running server; a context manager."""

    SCRIPT = __file__
    """What the process runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, self.SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> AwsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def client(self, service: str, region: str = REGION) -> Any:
        """Return boto3's client for a service of this server."""
        import boto3  # slow

        return boto3.client(
            service,
            region,
            endpoint_url=self.url,
            aws_access_key_id="setting-up",
            aws_secret_access_key="setting-up",
        )

    @contextmanager
    def enforcing(self) -> Iterator[None]:
        """Verify signatures and enforce policies meanwhile."""
        self._post("/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self._post("/moto-api/reset-auth", b"inf")

    def _post(self, path: str, body: bytes) -> None:
        headers = {"Content-Type": "text/plain"}  # a form would be parsed
        urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers), timeout=10).close()


@pytest.fixture(scope="session")
def aws_server() -> Iterator[AwsServer]:
    """AWS, started when a test first needs it."""
    with AwsServer() as server:
        yield server


def main() -> None:
    """Serve until the standard input ends; print the port first."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
