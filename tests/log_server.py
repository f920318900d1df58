"""A process that logs what it is told to, with the layer's capture or without, and says what became of it.

Run by the interpreter and with the runtime client that are tried; speaks JSON, a line each. It is no Lambda
environment: the client's own log handler on its own framed sink is all that is there.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time  # noqa: F401  # what is altered may be in it
import traceback
from typing import Any

MODE, FORM, ROOT = sys.argv[1:]
"""``bare``; ``layer``; ``apart``, with the layer and a filter that lets all pass: nothing is written jointly then;
``spared``, with SUMO_CLOUDWATCH=none; ``falling back``, the same while no destination takes lines: all are written."""

frames = tempfile.TemporaryFile()
os.environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(os.dup(frames.fileno()))

from awslambdaric import bootstrap  # type: ignore[import-not-found]  # noqa: E402  # of the runtime that is tried

spool = reader = recorder = None
if MODE != "bare":
    sys.path.insert(0, ROOT)
    from sumo_internal.capture import runtime_client
    from sumo_internal.capture.recorder import Recorder, note_records
    from sumo_internal.spool.reader import SpoolReader
    from sumo_internal.spool.writer import Spool

    note_records()
    spool = Spool(tempfile.mkdtemp(), {}, 10_000_000)
    reader = SpoolReader(spool.folder, spool)
    recorder = Recorder(spool, {"logGroup": "/aws/lambda/orders"})
    if MODE in ("spared", "falling back"):
        from sumo_internal.capture.sparing import CloudWatch, SparingRecorder
        from sumo_internal.spool.outage import Outage

        outage = Outage(spool.folder, 0.0)
        outage.from_s = 1.0 if MODE == "falling back" else 0.0
        recorder = SparingRecorder(spool, {"logGroup": "/aws/lambda/orders"}, CloudWatch(spool, "none", (), outage))
    recorder.enter_invocation("r-1")
    runtime_client.capture(bootstrap, recorder, recorder.make_sink)

sink = bootstrap.create_log_sink().__enter__()
bootstrap._setup_logging(bootstrap.LogFormat.from_str(FORM), "DEBUG" if FORM == "JSON" else "", sink)
(handler,) = logging.getLogger().handlers
formatter: Any = handler.formatter
utilities = bootstrap.JsonFormatter.format.__globals__
if MODE == "apart":
    handler.addFilter(lambda record: True)
calls: list[str] = []


class Late(logging.LogRecord):
    """A record of a class of the function's own."""

    def getMessage(self) -> str:
        return f"late {super().getMessage()}"


def counted(function: Any, name: str = "") -> Any:
    """A stand-in that does the same, and leaves a trace."""

    def stand_in(*arguments: Any, **options: Any) -> Any:
        calls.append(name or getattr(function, "__name__", "?"))
        return function(*arguments, **options)

    return stand_in


def made(spec: dict[str, Any]) -> logging.LogRecord:
    kind: Any = Late if spec.get("late") else logging.LogRecord
    error = None
    if spec.get("error"):
        try:
            raise KeyError("order")
        except KeyError:
            error = sys.exc_info()
    arguments = spec.get("args", [])
    given: Any = tuple(arguments) if isinstance(arguments, list) else (arguments,)
    stack = "Stack" if spec.get("stack") else None
    level, message = spec.get("level", 20), spec.get("message", "paid") * spec.get("times", 1)
    record: logging.LogRecord = kind(spec.get("name", "orders"), level, "app.py", 1, message, given, error, "f", stack)
    created = spec.get("created", 1_795_000_000.5)
    record.created, record.msecs = created, int((created - int(created)) * 1000) + 0.0
    record.__dict__.update(spec.get("set", {}))
    for name in spec.get("without", ()):
        record.__dict__.pop(name, None)
    return record


def call(spec: dict[str, Any]) -> Any:
    """Log as a function does; the time is that of the call."""
    logger = logging.getLogger(spec.get("name", "orders"))
    logger.setLevel(spec.get("from", 1))
    arguments = spec.get("args", [])
    return logger.log(spec.get("level", 20), spec.get("message", "paid") * spec.get("times", 1), *arguments)


def log(spec: dict[str, Any]) -> dict[str, Any]:
    """Log a record, and say what was written, what the record is afterwards, and what was recorded."""
    bootstrap._GLOBAL_AWS_REQUEST_ID, bootstrap._GLOBAL_TENANT_ID = spec.get("request", "r-1"), spec.get("tenant")
    calls.clear()
    used: list[str] = []
    error = returned = ""
    record = made(spec)
    record.__dict__.update(relativeCreated=0, thread=0, process=0)
    position = os.fstat(frames.fileno()).st_size
    sys.setprofile(lambda frame, event, _: used.append(frame.f_code.co_name) if event == "call" else None)
    try:
        if spec.get("is_call"):
            said: Any = call(spec)
        else:
            said = handler.handle(record) if record.levelno >= handler.level else "below"
        returned = "record" if said is record else repr(said)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    finally:
        sys.setprofile(None)
    written = os.pread(frames.fileno(), 10_000_000, position)
    attributes = {str(name): repr(value) for name, value in record.__dict__.items() if name != "exc_info"}
    return {
        "frame": [written[:8].hex(), written[16:].hex()],
        "attributes": list(attributes.items()),
        "error": error,
        "returned": returned,
        "calls": [*calls],
        "is_joint": "emit" not in used and (bool(written) or MODE == "spared"),
        "has_log_record": "makeRecord" in used,
        "records": recorded(),
    }


def recorded() -> list[str]:
    found = []
    while reader is not None and (slices := reader.take(1_000_000)):
        for piece in slices:
            found += bytes(piece.data()).decode().split("\n")[:-1]
            piece.acknowledge()
    return [line.rpartition(',"id":')[0] for line in found]


def altered(statement: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Log a record in a child in which something has been altered."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            exec(statement, globals())
            os.write(writing, json.dumps(log(spec)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with open(reading) as said:
        got: dict[str, Any] = json.loads(said.read())
    os.waitpid(child, 0)
    return got


for number in range(12):
    log({"message": f"warm {number}"})
for level in (10, 20, 30, 40, 50):
    for name in ("orders", "root"):
        for _ in range(2):
            log({"level": level, "name": name})
for line in sys.stdin:
    spec = json.loads(line)
    statement = spec.pop("alter", None)
    print(json.dumps(altered(statement, spec) if statement is not None else log(spec)), flush=True)
