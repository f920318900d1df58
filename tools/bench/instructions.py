"""Counts the instructions of a start and of a line, with callgrind: the same each time, whatever else the machine does.

::

    make bench-instructions                  this checkout's layer
    make bench-instructions FOLDER=/tmp/opt  an unpacked one

Separate from the benchmark, whose clock tells what they take, because this tells in which process, and whether a change
has made it less. It needs valgrind, under which everything takes fifty times as long: so there is no model of Lambda's
environment around it, which would end such a start, but a server that answers as Lambda's APIs do.

What a line takes is told by kind of work as well, by the names of the interpreter's functions.

A start is counted from the process's ``exec`` until it asks for its first event; a shell in front of it is not counted.
A line is what an invocation with more lines has more than one with fewer, hot, written to /dev/null.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from model.configuration import FRAMES_VARIABLE
from runtimes import ROOT, typical

from layer.build import build, unpack

WAIT_S = 120.0
"""Bound on a start under callgrind, on a machine with other things to do."""

NEXT_OF_RUNTIME, NEXT_OF_EXTENSION = "/2018-06-01/runtime/invocation/next", "/2020-01-01/extension/event/next"


_HEADERS = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
    "Lambda-Extension-Identifier": "an-identifier",
    "Lambda-Runtime-Aws-Request-Id": "8f7ba2a1-5c4e-4a0b-9d3c-6f1e2d3c4b5a",
    "Lambda-Runtime-Deadline-Ms": "9999999999999",
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:orders",
}
"""Of each answer; who does not know one does not look at it."""
LINES = (100, 400)
"""In the two invocations whose difference is what a line takes: more than have the runtime's lines written jointly, and
fewer than wake the thread that ships."""


WORK: Mapping[str, str] = {
    "a text quoted": "encode_basestring",
    "texts joined, encoded, copied": "nicode|memcpy|memset|ytes|PyObject_Format",
    "stores into the map": "memory_|pack_single|mmap_|[Ss]lice|AsSsize|PyNumber_Index|PyObject_SetItem|uffer",
    "dictionaries and sets": "[dD]ict|delitem|set_|hash",
    "the thread's number": "tls|get_ident|pthread|FromUnsignedLong",
    "bytecode and calls": "PyEval|PyFrame|IsTrue|[vV]ectorcall|_PyFunction|method",
    "objects made and freed": "Free|Malloc|malloc|free|dealloc|Reference|Long|New|gc_|GC|[lL]ist|[tT]uple",
}
"""By kind of work, names of C functions that do it, as an expression: the first that is found counts."""


class Api(ThreadingHTTPServer):
    """Lambda's APIs, as far as they are needed here: the runtime is given one event at most, an extension none."""

    daemon_threads = True

    def __init__(self, event: object) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events = [] if event is None else [json.dumps(event).encode()]
        self.asked = {path: threading.Event() for path in (NEXT_OF_RUNTIME, NEXT_OF_EXTENSION)}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that end with their process."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def do_POST(self) -> None:
        self._answer()

    do_PUT = do_POST

    def do_GET(self) -> None:
        if self.path == NEXT_OF_RUNTIME and self.server.events:
            self._answer(self.server.events.pop())
            return
        self.server.asked[self.path].set()
        threading.Event().wait()

    def _answer(self, body: bytes = b"{}") -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def millions(
    command: Sequence[str],
    variables: Mapping[str, str],
    paths: Sequence[str] = (),
    event: object = None,
    profile: str = os.devnull,
) -> float:
    """Count a program until it has asked for these paths, or to its end where there are none.

    Args:
        command: The program.
        variables: Its own.
        paths: Of the APIs.
        event: What the first one to ask for an invocation gets, before that counts as asked.
        profile: Where callgrind's file goes.

    Raises:
        RuntimeError: It has ended before, or does not ask; the error's text has what it said.
    """
    with Api(event) as api, tempfile.TemporaryDirectory() as folder, open(os.devnull, "wb") as frames:
        log = Path(folder, "log")
        valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={profile}"]
        process = subprocess.Popen(
            [*valgrind, f"--log-file={log}", *command],
            env={
                **variables,
                "PATH": f"{typical().interpreter.executable.parent}:{os.environ['PATH']}",
                "PYTHONHASHSEED": "0",
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "SUMO_HTTP_ENDPOINT": "http://127.0.0.1:9/receiver/v1/http/none",
                "SUMO_SPOOL_DIR": f"{folder}/spool",
                "SUMO_FLUSH_MAX_AGE_S": "900",
                FRAMES_VARIABLE: str(frames.fileno()),
            },
            pass_fds=[frames.fileno()],
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


class Processes:
    """The commands of the function's process, without a layer and with it, and of the extension's."""

    def __init__(self, layer: Path) -> None:
        runtime = typical()
        self.interpreter = [str(runtime.interpreter.executable), "-I", "-S", "-B", "-c", "import os; os._exit(0)"]
        self._without = [self.interpreter[0], str(runtime.ric / "bootstrap.py")]
        self._with = [str(layer / "sumo_wrapper"), *self._without]
        self._extension = [str(layer / "extensions/sumo-internal-extension")]
        self._function = {
            "LAMBDA_TASK_ROOT": str(ROOT / "tools/functions/bench"),
            "LAMBDA_RUNTIME_DIR": str(runtime.ric),
            "_HANDLER": "app.handler",
            "BENCH_SETUP": "as_is",
        }

    def function(self, event: object = None, *, log_format: str = "Text") -> tuple[float, float]:
        """Count the function's process until it asks for an event, or for another; without the layer and with it."""
        variables = {**self._function, "AWS_LAMBDA_LOG_FORMAT": log_format}
        without = millions(self._without, variables, (NEXT_OF_RUNTIME,), event)
        return without, millions(self._with, variables, (NEXT_OF_RUNTIME, NEXT_OF_EXTENSION), event)

    def extension(self) -> float:
        """Count the extension's process until it asks for an event."""
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_FUNCTION_LOGS": "process"}
        return millions(self._extension, variables, (NEXT_OF_EXTENSION,))

    def line(self, kind: str, log_format: str) -> tuple[float, float]:
        """Count a line, in thousands; without the layer and with it."""
        few, many = (self.function({kind: lines}, log_format=log_format) for lines in LINES)
        without, with_it = ((more - less) / (LINES[1] - LINES[0]) * 1e3 for less, more in zip(few, many, strict=True))
        return without, with_it


    def line_by_work(self, kind: str) -> dict[str, float]:
        """Count what the layer adds to a line by kind of work, in thousands."""
        added: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            profile = f"{folder}/profile"
            for command, sign in ((self._with, 1), (self._without, -1)):
                paths = (NEXT_OF_RUNTIME, NEXT_OF_EXTENSION)[: 1 + (sign > 0)]
                for lines, part in zip(LINES, (-sign, sign), strict=True):
                    millions(command, self._function, paths, {kind: lines}, profile)
                    for name, count in _functions(profile):
                        added[name] += part * count
        by_work: Counter[str] = Counter()
        for name, count in added.items():
            work = next((work for work, names in WORK.items() if re.search(names, name)), "else")
            by_work[work] += count
        return {work: count / (LINES[1] - LINES[0]) / 1e3 for work, count in by_work.most_common()}


def _functions(profile: str) -> Iterator[tuple[str, int]]:
    """Yield the C functions in callgrind's file, with the instructions of each."""
    command = ["callgrind_annotate", "--threshold=100", "--show-percs=no", profile]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        if found := re.match(r"\s*([\d,]+)\s+\S*:(\w\S*)", line):
            yield found[2], int(found[1].replace(",", ""))


def main() -> int:
    """Print the counts."""
    if shutil.which("valgrind") is None:
        print("instructions are counted by valgrind, which is not on PATH", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as made:
        layer = Path(*sys.argv[1:] or [made])
        if not sys.argv[1:]:
            unpack(build([typical().interpreter]), layer)
        processes = Processes(layer)
        _say("start of the function's process, millions", *processes.function())
        interpreter = millions(processes.interpreter, {})
        _say("start of the extension's, over an interpreter that does nothing", interpreter, processes.extension())
        for kind, log_format in (("log", "Text"), ("log", "JSON"), ("print", "Text")):
            _say(f"a line ({kind}, {log_format}), thousands", *processes.line(kind, log_format))
        for kind in ("log", "print"):
            by_work = ", ".join(f"{work} {count:+.1f}" for work, count in processes.line_by_work(kind).items())
            print(f"a line ({kind}, Text), thousands, by work: {by_work}", flush=True)
    return 0


def _say(what: str, without: float, with_it: float) -> None:
    print(f"{what}: {without:.2f} without, {with_it:.2f} with, {with_it - without:+.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
