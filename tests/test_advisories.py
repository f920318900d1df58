"""What the layer carries is looked up among known vulnerabilities, by the real pip-audit in a database of a test."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from layer.advisories import KNOWN, NOT_ASKED, check

Known = dict[str, list[str]]


@pytest.fixture
def known() -> Iterator[tuple[str, Known]]:
    """The address of a database that answers as OSV does, and what it knows, by name of package."""
    ids: Known = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            affected = [{"package": asked["package"], "ranges": [], "versions": [asked["version"]]}]
            answer = {"vulns": [{"id": each, "affected": affected} for each in ids.get(asked["package"]["name"], [])]}
            body = json.dumps(answer if answer["vulns"] else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query", ids
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_known(known: tuple[str, Known]) -> None:
    """Each package is named with the version that was asked for."""
    code, text = check("--osv-url", known[0])
    assert code == 0
    assert "structlog 2" in text and "typing-extensions 4" in text


def test_something_known(known: tuple[str, Known]) -> None:
    """One is enough, and it is named."""
    known[1]["structlog"] = ["GHSA-xxxx-yyyy-zzzz"]
    code, text = check("--osv-url", known[0])
    assert code == KNOWN
    assert text.startswith("known vulnerabilities: structlog 2") and text.endswith(": GHSA-xxxx-yyyy-zzzz")


def test_nobody_to_ask() -> None:
    """That is no answer, and is not taken for one."""
    code, text = check("--osv-url", "http://127.0.0.1:9/v1/query")
    assert code == NOT_ASKED
    assert "could not be asked" in text
