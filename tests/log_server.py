"""A process that logs what it is told to, with the layer's capture or without, and says what became of it.

Run by the interpreter and with the runtime client that are tried; speaks JSON, a line each. It is no Lambda
environment: the client's own log handler on its own framed sink is all that is there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time  # noqa: F401  # what is altered may be in it
import traceback
from collections.abc import Callable, Iterator
from typing import Any

MODE, FORM, ROOT, *PLACE = sys.argv[1:]
"""``bare``; ``layer``; ``apart``, with the layer, which writes nothing jointly; ``spared``, with SUMO_CLOUDWATCH=none;
``falling back``, the same while no destination takes lines: all are written; ``flight``, with SUMO_DEBUG_ON_FAILURE.
The place is ``stdout`` where the runtime has no descriptor for framed logs."""

CHILD_MAX_S = 30
"""What a statement waits for without end ends with its child."""

answers, problems = os.fdopen(os.dup(1), "w"), os.dup(2)
frames, *printed = (tempfile.TemporaryFile() for _ in range(3))
for stream, file in zip((1, 2), printed, strict=True):
    os.dup2(file.fileno(), stream)
if not PLACE:
    os.environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(os.dup(frames.fileno()))

from awslambdaric import bootstrap  # type: ignore[import-not-found]  # noqa: E402  # of the runtime that is tried

spool = reader = recorder = None
if MODE != "bare":
    sys.path.insert(0, ROOT)
    from sumo_internal.capture import runtime_client, streams
    from sumo_internal.capture.recorder import Recorder, note_records
    from sumo_internal.spool.reader import SpoolReader
    from sumo_internal.spool.writer import Spool

    spool = Spool(tempfile.mkdtemp(), {}, 10_000_000)
    reader = SpoolReader(spool.folder, spool)
    recorder = Recorder(spool, {"logGroup": "/aws/lambda/orders"})
    if MODE in ("spared", "falling back"):
        from sumo_internal.capture.sparing import CloudWatch, SparingRecorder
        from sumo_internal.spool.outage import Outage

        outage = Outage(spool.folder, 0.0)
        outage.from_s = 1.0 if MODE == "falling back" else 0.0
        recorder = SparingRecorder(spool, {"logGroup": "/aws/lambda/orders"}, CloudWatch(spool, "none", (), outage))
    if MODE == "flight":
        from sumo_internal.capture import flight

        recorder.flight = flight.Flight(recorder, [("held", 10)], 1_000_000, is_json=FORM == "JSON")
        flight.follow(recorder.flight)
    make_sink = recorder.make_sink
    if MODE == "apart":
        make_sink = lambda sink, recorder, bootstrap, _: runtime_client.Sink(sink, recorder, bootstrap)  # noqa: E731
    streams.listen(recorder.written, recorder.make_stream)
    note_records()
    recorder.enter_invocation("r-1")
    runtime_client.capture(bootstrap, recorder, make_sink)

sys.stdout, sys.stderr = bootstrap.Unbuffered(sys.stdout), bootstrap.Unbuffered(sys.stderr)
sink = bootstrap.create_log_sink().__enter__()
bootstrap._setup_logging(bootstrap.LogFormat.from_str(FORM), "DEBUG" if FORM == "JSON" else "", sink)
(handler,) = logging.getLogger().handlers
formatter: Any = handler.formatter
utilities = bootstrap.JsonFormatter.format.__globals__
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


class Wrapped:
    """A stand-in as wrapt makes them: it is equal to what it wraps, has its attributes, and is bound as that is."""

    def __init__(self, wrapped: Any, name: str = "") -> None:
        self.__wrapped__ = wrapped
        self._name: str = name or getattr(wrapped, "__name__", "?")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        calls.append(self._name)
        return self.__wrapped__(*arguments, **options)

    def __get__(self, instance: Any, owner: Any = None) -> Wrapped:
        return Wrapped(self.__wrapped__.__get__(instance, owner), self._name)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __enter__(self) -> Any:
        return self.__wrapped__.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self.__wrapped__.__exit__(*error)


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
    """Log a record after something has been altered."""
    exec(statement, globals())
    return log(spec)


def followed(program: list[str]) -> dict[str, Any]:
    """Execute statements, and say of each what it has written, raised and seen; and what was recorded of them all."""
    seen: list[object] = []
    names: dict[str, Any] = {**globals(), "seen": seen}
    steps: list[dict[str, Any]] = []
    for statement in program:
        seen.clear()
        error, positions = "", [os.fstat(file.fileno()).st_size for file in (frames, *printed)]
        try:
            exec(compile(statement, f"<{statement[:30]}>", "exec"), names)
        except BaseException as problem:
            error = f"{type(problem).__name__}: {problem}"
        with contextlib.suppress(Exception):
            sys.__stdout__.flush()  # type: ignore[union-attr]  # suppressed
        files = zip((frames, *printed), positions, strict=True)
        written = [os.pread(file.fileno(), 10_000_000, begin) for file, begin in files]
        texts = [text.decode("utf-8", "backslashreplace") for text in written[1:]]
        steps.append(
            {
                "statement": statement,
                "frames": [list(frame) for frame in framed(written[0])],
                "stdout": texts[0],
                "stderr": texts[1],
                "error": error,
                "seen": [repr(each) for each in seen],
            }
        )
    if recorder is not None:
        recorder.flush()
    return {"steps": steps, "records": recorded()}


def framed(data: bytes) -> Iterator[tuple[str, str]]:
    """Each frame's type and text."""
    while data:
        end = 16 + int.from_bytes(data[4:8], "big")
        yield data[:4].hex(), data[16:end].decode("utf-8", "backslashreplace")
        data = data[end:]


def in_child(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What is done in a child stays there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(CHILD_MAX_S)
            said = json.dumps(work(*arguments)).encode()
            while said:
                said = said[os.write(writing, said) :]
        except BaseException:
            os.write(problems, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        got: dict[str, Any] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return got


def answered(spec: dict[str, Any]) -> dict[str, Any]:
    if "program" in spec:
        return in_child(followed, spec["program"])
    statement = spec.pop("alter", None)
    return log(spec) if statement is None else in_child(altered, statement, spec)


try:
    for number in range(12):
        log({"message": f"warm {number}"})
    for level in (10, 20, 30, 40, 50):
        for name in ("orders", "root"):
            for _ in range(2):
                log({"level": level, "name": name})
    for line in sys.stdin:
        print(json.dumps(answered(json.loads(line))), file=answers, flush=True)
except BaseException:
    os.write(problems, traceback.format_exc().encode())
    raise
