"""Counts the instructions of a start, with callgrind: the same count each time, whatever else the machine does.

::

    PYTHONPATH=.:tools .venv/bin/python -m bench.instructions           this checkout's layer
    PYTHONPATH=.:tools .venv/bin/python -m bench.instructions FOLDER    an unpacked layer

Separate from the benchmark, whose clock tells what a start takes, because this tells in which of the processes, and
whether a change has made it less. It needs valgrind, under which a start takes fifty times as long: so there is no model
of Lambda's environment around it, which would end such a start, but a server that answers as Lambda's APIs do.

A process is counted from its ``exec`` until it asks for its first event; a shell in front of it is not counted.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from runtimes import ROOT, typical

from layer.build import build, unpack

WAIT_S = 300.0
"""Bound on a start under callgrind, on a machine with other things to do."""

NEXT_OF_RUNTIME, NEXT_OF_EXTENSION = "/2018-06-01/runtime/invocation/next", "/2020-01-01/extension/event/next"


class Api(ThreadingHTTPServer):
    """Lambda's APIs, as far as a start needs them: there is never an event."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = {path: threading.Event() for path in (NEXT_OF_RUNTIME, NEXT_OF_EXTENSION)}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that end with their process."""

    @property
    def address(self) -> str:
        return "127.0.0.1:{}".format(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def do_POST(self) -> None:
        self._answer()

    do_PUT = do_POST

    def do_GET(self) -> None:
        self.server.asked[self.path].set()
        threading.Event().wait()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Lambda-Extension-Identifier", "an-identifier")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def millions(command: Sequence[str], variables: Mapping[str, str], paths: Sequence[str] = ()) -> float:
    """Count a program until it has asked for these paths, or to its end where there are none.

    Raises:
        RuntimeError: It has ended before, or does not ask; the error's text has what it said.
    """
    with Api() as api, tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes", "--callgrind-out-file=/dev/null"]
        process = subprocess.Popen(
            [*valgrind, f"--log-file={log}", *command],
            env={
                **variables,
                "PATH": f"{typical().interpreter.executable.parent}:{os.environ['PATH']}",
                "PYTHONHASHSEED": "0",
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "SUMO_HTTP_ENDPOINT": "http://127.0.0.1:9/receiver/v1/http/none",
                "SUMO_SPOOL_DIR": f"{folder}/spool",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        is_asked = all(api.asked[path].wait(WAIT_S) for path in paths)
        if paths:
            process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=WAIT_S)
        api.shutdown()
        counted = re.findall(r"Collected : (\d+)", log.read_text())
        if not is_asked or not counted:
            raise RuntimeError(f"{command[0]}: {said}")
    return int(counted[-1]) / 1e6


def main() -> None:
    """Print the counts, in millions."""
    with tempfile.TemporaryDirectory() as made:
        runtime = typical()
        layer = Path(*sys.argv[1:] or [made])
        if not sys.argv[1:]:
            unpack(build([runtime.interpreter]), layer)
        python = str(runtime.interpreter.executable)
        command = [python, str(runtime.ric / "bootstrap.py")]
        function = {
            "LAMBDA_TASK_ROOT": str(ROOT / "tools/functions/bench"),
            "LAMBDA_RUNTIME_DIR": str(runtime.ric),
            "_HANDLER": "app.handler",
            "BENCH_SETUP": "as_is",
        }
        both = (NEXT_OF_RUNTIME, NEXT_OF_EXTENSION)
        wrapped = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_FUNCTION_LOGS": "process"}
        without = millions(command, function, (NEXT_OF_RUNTIME,))
        with_it = millions([str(layer / "sumo_wrapper"), *command], function, both)
        extension = millions([str(layer / "extensions/sumo-internal-extension")], wrapped, (NEXT_OF_EXTENSION,))
        nothing = millions([python, "-I", "-S", "-B", "-c", "import os; os._exit(0)"], {})
    print(f"the function's process: {without:.2f} without the layer, {with_it:.2f} with, {with_it - without:+.2f}")
    print(f"the extension's process: {extension:.2f}, of which the interpreter alone {nothing:.2f}")


if __name__ == "__main__":
    main()
