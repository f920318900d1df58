"""``make demo FUNCTION=app.py HANDLER=handler EVENT=event.json``: somebody's own function in the model, with the layer.

Separate from ``run``, whose story and figures are the order service's: here nothing is known of the function. It is
invoked three times (from a cold start, warm, after a freeze), and shut down; shown is each line that it has written,
and what it has become at Sumo Logic.

The exit code is 1 if a line is missing there, 2 if the function, the handler or the event cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model import Environment, Invocation
from runtimes import interpreters, typical
from sumo_rules import Record
from sumo_source import SumoSource

from demo.counts import function_lines, is_layers
from demo.endings import in_one_line
from demo.facts import is_line
from demo.stage import MEMORY_MB
from layer.build import build, unpack

TIMEOUT_S = 30.0
FREEZE_S = 1.0
"""Between the invocations."""
INVOCATIONS = ("from a cold start", "warm", "warm again")

UNUSABLE = {
    "Runtime.ImportModuleError": " (what it imports has to lie in its folder, as in its zip)",
    "Runtime.UserCodeSyntaxError": "",
    "Runtime.HandlerNotFound": " (HANDLER names it)",
    "Runtime.MalformedHandlerName": " (HANDLER is FUNCTION or MODULE.FUNCTION)",
}
"""Errors of an init by which nothing of the function has run, and what to do about them."""

WIDTH = 80
SHOWN_MAX = 12
"""Records that are shown in full."""

CODE_MAX_BYTES = 250 << 20
"""Of a function's folder: what Lambda takes, unpacked. A folder with more is no function's."""

_LEFT_OUT = shutil.ignore_patterns(".venv", "venv", ".git", "__pycache__", "node_modules", ".cache", "*.pyc")
"""Of a function's folder: nothing that is deployed."""


def main() -> int:
    """Run a function of somebody's and return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo FUNCTION=…")
    parser.add_argument("--function", required=True, type=Path)
    parser.add_argument("--handler", default="handler")
    parser.add_argument("--event", type=Path)
    given = parser.parse_args()
    try:
        event = json.loads(given.event.read_text()) if given.event else {}
    except (OSError, ValueError) as error:
        return _refuse(f"EVENT={given.event}: {getattr(error, 'strerror', None) or f'is not JSON: {error}'}")
    if not given.function.is_file():
        return _refuse(f"FUNCTION={given.function}: there is no such file")
    if given.function.suffix != ".py":
        return _refuse(f"FUNCTION={given.function} does not end with .py")
    handler = given.handler if "." in given.handler else f"{given.function.stem}.{given.handler}"
    with tempfile.TemporaryDirectory(prefix="sumo-demo-") as folder:
        layer, task = Path(folder, "opt"), Path(folder, "task")
        try:
            copy(given.function.resolve().parent, task, Path(folder).resolve())
        except OSError as error:
            return _refuse(f"the folder of FUNCTION={given.function} cannot be used: {error}")
        unpack(build(interpreters()), layer)
        return _run(task, layer, handler, event)


def copy(code: Path, task: Path, own: Path) -> None:
    """Copy a function's folder.

    Args:
        code: The folder.
        task: Where the copy will be.
        own: A folder of ours, which may be inside of it.

    Raises:
        OSError: It cannot be read, or there is more than Lambda takes.
    """
    size_bytes = 0

    def left_out(folder: str, names: list[str]) -> set[str]:
        nonlocal size_bytes
        out = set(_LEFT_OUT(folder, names))
        out |= {name for name in names if not os.path.isdir(path := f"{folder}/{name}") and not os.path.isfile(path)}
        out |= {name for name in names if Path(folder, name) == own}
        size_bytes += sum(os.path.getsize(f"{folder}/{name}") for name in {*names} - out)
        if size_bytes > CODE_MAX_BYTES:
            raise OSError(f"it has more than {CODE_MAX_BYTES >> 20} MB; give the function a folder of its own")
        return out

    try:
        shutil.copytree(code, task, ignore=left_out)
    except shutil.Error as error:
        raise OSError(error.args[0][0][2]) from None


def _refuse(problem: str) -> int:
    print(f"make demo: {problem}", file=sys.stderr)
    return 2


def _run(task: Path, layer: Path, handler: str, event: Any) -> int:
    runtime = typical()
    isolated = Environment.isolation_available() is None
    with SumoSource() as source:
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url}
        with Environment(
            runtime, task, handler, layer, variables, memory_mb=MEMORY_MB, timeout_s=TIMEOUT_S, isolated=isolated
        ) as env:
            print(f"{handler} on Python {runtime.interpreter}, in a model of Lambda, with the layer as built.\n")
            init = env.start()
            if init.error is not None and init.error.error_type in UNUSABLE:
                return _refuse(f"{init.error.message}{UNUSABLE[init.error.error_type]}")
            for what in INVOCATIONS:
                _tell(what, env.invoke(event))
                time.sleep(FREEZE_S)
            env.shutdown()
            lines = [line.text for line in function_lines(env.cloudwatch)]
            said = [line.text.strip() for line in env.cloudwatch if is_layers(line)]
        records = [record for record in source.records if is_line(record)]
    print(*_shown(records), sep="\n")
    missing = lost(lines, records)
    for text in [*(f"not at Sumo Logic: {line}" for line in missing), *said]:
        print(text)
    arrived = len(lines) - len(missing)
    print(f"\n{len(lines)} lines in CloudWatch, {arrived} of them at Sumo Logic, in {len(records)} records.")
    if not lines:
        print("The function writes nothing with this event: give it another (EVENT=event.json).")
    return 1 if missing else 0


def _tell(what: str, done: Invocation) -> None:
    """One line for an invocation."""
    if done.error is None:
        answer = json.dumps(done.payload, ensure_ascii=False)
    else:
        answer = f"{done.error.error_type}: {done.error.message}"
    after = "" if done.response_s is None else f" after {done.response_s * 1000:.1f} ms"
    print(_cut(f"{what}{after}: {answer}"))


def _shown(records: Sequence[Record]) -> Iterator[str]:
    """The records: the first in full, of the others what is different."""
    first: Mapping[str, Any] = {}
    for record in records[:SHOWN_MAX]:
        different = {key: value for key, value in record.items() if first.get(key) != value}
        yield f"\n{_cut(_first_line(record['message']))}"
        yield from (
            f"    {_cut(f'{key}: {json.dumps(value, ensure_ascii=False)}', 4)}" for key, value in different.items()
        )
        first = first or record
    if len(records) > SHOWN_MAX:
        yield f"\n… and {len(records) - SHOWN_MAX} more"


def _first_line(message: object) -> str:
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return text.partition("\n")[0]


def _cut(text: str, indent: int = 0) -> str:
    """A line that fits."""
    return text if len(text) <= WIDTH - indent else text[: WIDTH - indent - 1] + "…"


def lost(lines: Sequence[str], records: Sequence[Record]) -> list[str]:
    """Lines of CloudWatch that are in no record: as the message, as a part of one of several lines, or as an object."""
    texts = [record["message"] for record in records if isinstance(record["message"], str)]
    whole = "\n".join(texts)
    objects = [record["message"] for record in records if not isinstance(record["message"], str)]
    return [line for line in lines if line.strip() and line.strip() not in whole and not _is_object_of(line, objects)]


def _is_object_of(line: str, objects: Sequence[Any]) -> bool:
    try:
        return json.loads(line) in objects
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(in_one_line(main))
