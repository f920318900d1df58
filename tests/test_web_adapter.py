"""The real AWS Lambda Web Adapter in front of a web application, with the layer, as docs/before-you-deploy.md says.

The adapter is a program that is not fetched here: ``WEB_ADAPTER`` names it, built from its repository by ``cargo build
--release`` (``target/release/lambda-adapter``), two minutes. What its wrapper does is tried without it, too, by a
stand-in in tests/test_hearing_path.py.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections import Counter
from pathlib import Path

import pytest
from model import Environment
from runtimes import Runtime, runtimes
from sumo_source import SumoSource

ADAPTER = os.environ.get("WEB_ADAPTER", "")

BOOTSTRAP = """#!/bin/bash

exec -- "${LAMBDA_TASK_ROOT}/${_HANDLER}"
"""
"""The wrapper of the adapter's layer, to the letter."""

APPLICATION = """
import json, logging, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

logging.basicConfig(level=logging.INFO)

class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._respond({"ready": True})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["order"]
        logging.getLogger("orders").warning("order %s logged", order)
        print("order", order, "printed")
        self._respond({"order": order})

    def _respond(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["AWS_LWA_PORT"])), Orders).serve_forever()
"""

pytestmark = pytest.mark.skipif(
    not ADAPTER, reason="WEB_ADAPTER names no AWS Lambda Web Adapter (its target/release/lambda-adapter)"
)


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def web_function(folder: Path, layer: Path, start: str) -> tuple[Path, Path]:
    """A function's folder, whose run.sh starts the application so, and both layers in one /opt."""
    task, opt = folder / "task", folder / "opt"
    shutil.copytree(layer, opt)
    shutil.copy(ADAPTER, opt / "extensions/lambda-adapter")
    task.mkdir()
    (task / "app.py").write_text(APPLICATION)
    for script, text in ((opt / "bootstrap", BOOTSTRAP), (task / "run.sh", f"#!/bin/bash\n{start}\n")):
        script.write_text(text)
        script.chmod(0o755)
    return task, opt


@pytest.mark.parametrize("runtime", runtimes(), ids=lambda runtime: runtime.id)
@pytest.mark.parametrize(
    ("is_wrapped", "is_behind"),
    [(True, False), (False, False), (True, True)],
    ids=["by the wrapper", "without it", "by the wrapper, behind ours"],
)
def test_each_line_is_there_once(
    runtime: Runtime, is_wrapped: bool, is_behind: bool, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """The adapter's bootstrap has the wrapper's slot: lines come from Lambda; where run.sh starts Python by our
    wrapper, from the process, with levels and loggers. The application responds either way; also where ours has the
    slot, and theirs is the next one.
    """
    start = 'exec "${_MODEL_OPT:-/opt}/sumo_wrapper" python3 -u app.py' if is_wrapped else "exec python3 -u app.py"
    task, opt = web_function(tmp_path, layer_folder, f'cd "$LAMBDA_TASK_ROOT"\n{start}')
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap",
        "AWS_LWA_PORT": str(free_port()),
        "SUMO_HTTP_ENDPOINT": source.url,
        "TELEMETRY_TIMEOUT_MS": "25",
    }
    if is_behind:
        variables |= {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_NEXT_WRAPPER": str(opt / "bootstrap")}
    with Environment(runtime, task, handler="run.sh", layer=opt, variables=variables) as env:
        assert env.start().error is None
        served = [env.invoke({"order": number}) for number in range(3)]
        assert [(each.status, each.payload) for each in served] == [("success", {"order": n}) for n in range(3)]
        env.shutdown()
    own = [record for record in source.records if record["type"] == "function"]
    texts = [text.format(n) for n in range(3) for text in ("WARNING:orders:order {} logged", "order {} printed")]
    assert Counter(str(record["message"]).strip() for record in own) == Counter(texts)
    heard = {(record.get("level"), record.get("logger")) for record in own}
    assert heard == ({("WARNING", "orders"), (None, None)} if is_wrapped else {(None, None)})
