"""What the layer costs, as counts: they are the same on every machine, so continuous integration can hold on to them.

What needs a clock is measured by ``make bench``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import syscalls
from model import Environment
from runtimes import ROOT, Runtime, runtimes, typical
from sumo_source import SumoSource

MODULES = {
    "_socket",
    "fcntl",
    "gc",
    "mmap",
    "sumo_internal",
    "sumo_internal.capture",
    "sumo_internal.capture.bounds",
    "sumo_internal.capture.lines",
    "sumo_internal.capture.multiline",
    "sumo_internal.capture.children",
    "sumo_internal.capture.error_reports",
    "sumo_internal.capture.log_records",
    "sumo_internal.capture.record_format",
    "sumo_internal.capture.recorder",
    "sumo_internal.capture.runtime_client",
    "sumo_internal.capture.runtime_functions",
    "sumo_internal.capture.reentrancy",
    "sumo_internal.capture.streams",
    "sumo_internal.config",
    "sumo_internal.diagnostics",
    "sumo_internal.lambda_apis",
    "sumo_internal.lambda_apis.extensions_api",
    "sumo_internal.imports",
    "sumo_internal.launch",
    "sumo_internal.net",
    "sumo_internal.net.http1",
    "sumo_internal.shipping",
    "sumo_internal.shipping.flush_strategy",
    "sumo_internal.shipping.invocations",
    "sumo_internal.shipping.shipper",
    "sumo_internal.spool",
    "sumo_internal.spool.counters",
    "sumo_internal.spool.folder",
    "sumo_internal.spool.handoff",
    "sumo_internal.spool.envelope",
    "sumo_internal.spool.partials",
    "sumo_internal.spool.segment",
    "sumo_internal.spool.turn",
    "sumo_internal.spool.writer",
    "sumo_internal.threads",
    "sumo_internal.wiring",
}
"""What the layer has imported before the function's first Next, beside what the runtime imports anyway. Each costs a
cold start something: a new one is a decision, to be taken with ``make bench ONLY=cold_start``."""

RECORD_OVERHEAD_BYTES = 448
"""Of a logging record, beyond its message: keys and values that Sumo's dashboards, a query or ``dedup`` need."""

LINES = 150
"""Fewer than wake the shipping thread, whose business the system calls of the function's thread are not."""

CALLS_PER_LINE = {("log", "Text"): -39, ("log", "JSON"): -54, ("print", "Text"): 25}
"""Calls of Python's functions and of C's that the layer may add to a line: a log call's is made with fewer than the
runtime needs alone, and a print is two writes to the stream."""

SYSCALLS_PER_LINE = 0.2
"""That the layer may add: seven in a hundred and fifty lines, for the interpreter's own memory, and a dozen for the
file of counts, which the function's thread makes or the shipping thread, whoever comes first; a line makes none, also
while the shipping thread is being started, for which a machine with other things to do may take a hundred lines."""

BLOCKS_MAX = 100
"""Of memory that 8,000 lines may leave behind: a segment and its batch have a dozen objects, and lines have none."""

FUNCTION = ROOT / "tools/functions/bench"

DRAINS = 200
DRAIN_CALLS_MAX = 15
"""System calls of a drain with one line: its lock taken and given back, the folder, the request, the answer; and three
that see whether the lock's descriptor and the connection's are still ours, which the function may have closed."""

SCRIPT = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
log = logging.getLogger("orders")
for number in range(int(sys.argv[1])):
    print("printed", number, flush=True)
    log.info("order %s accepted", number)
"""


def environment(layer: Path | None, source: SumoSource, task_root: Path = FUNCTION, **options: Any) -> Environment:
    """Return an environment of a function, with the layer or without."""
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_FLUSH": "end", **options.pop("more", {})}
    if layer is not None:
        variables["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/sumo_wrapper"
    return Environment(
        options.pop("runtime", typical()), task_root, layer=layer, variables=variables, timeout_s=30.0, **options
    )


def ask(environment: Environment, event: Any) -> Any:
    invocation = environment.invoke(event)
    assert invocation.status == "success", environment.cloudwatch
    return invocation.payload


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_modules_before_the_first_next(
    runtime: Runtime, layer_folder: Path, source: SumoSource, tmp_path: Path
) -> None:
    """The function's start pays for these modules and no other. Guards against an import for one small thing."""
    (tmp_path / "app.py").write_text("import sys\nloaded = sorted(sys.modules)\ndef handler(*_): return loaded\n")
    loaded = []
    for layer in (layer_folder, None):
        with environment(layer, source, tmp_path, runtime=runtime) as env:
            assert env.start().error is None
            loaded.append(set(ask(env, None)))
    assert loaded[0] - loaded[1] == MODULES


def test_system_calls_of_a_line(layer_folder: Path, source: SumoSource, tmp_path: Path) -> None:
    """A line costs the thread that writes it no system call of ours. Guards against a lock, a clock or a flush in it.

    Counted as the difference between twice as many lines and once, so that what a start costs is out of it.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_SPOOL_DIR": str(tmp_path / "spool"), "SUMO_FLUSH": "next"}
    python = [str(typical().interpreter.executable), str(script)]
    per_line = []
    for command in (["/bin/sh", str(layer_folder / "sumo_wrapper"), *python], python):
        try:
            once, twice = (syscalls.count([*command, str(count)], variables) for count in (LINES, 2 * LINES))
        except syscalls.NotAllowed:
            pytest.skip("this machine does not let a process trace its own child")
        per_line.append((twice - once) / LINES)
    with_layer, without = per_line
    assert without >= 2, "a line of each kind writes"
    assert with_layer - without < SYSCALLS_PER_LINE


def test_system_calls_of_a_drain() -> None:
    """Shipping one line takes so many: beside a handler nearly each gives the interpreter lock away.

    Guards against a folder that is listed, a lock that is asked for or a file that is looked at once more in each.
    """
    variables = {"PYTHONPATH": f"{ROOT}:{ROOT}/tools", "PATH": os.environ["PATH"]}
    profile = [sys.executable, "-m", "bench.profiles", "--drains"]
    try:
        counts = [syscalls.count([*profile, str(drains)], variables) for drains in (0, DRAINS) for _ in range(3)]
    except syscalls.NotAllowed:
        pytest.skip("this machine lets no process trace another")
    # The least of three: on a busy machine a folder has more often just been changed, and is listed again.
    assert (min(counts[3:]) - min(counts[:3])) / DRAINS < DRAIN_CALLS_MAX


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
@pytest.mark.parametrize(("kind", "log_format"), CALLS_PER_LINE)
def test_calls_of_a_line(runtime: Runtime, kind: str, log_format: str, layer_folder: Path, source: SumoSource) -> None:
    """What a line costs is mostly calls, which can be counted: no more than these, and no write of ours.

    Guards against a line's costs that grow by a function here and there, which no test with a clock would tell.
    """
    per_line = []
    for layer in (layer_folder, None):
        with environment(layer, source, runtime=runtime, log_format=log_format) as env:
            env.start()
            per_line.append(ask(env, {"calls": LINES, "with": {"kind": kind}}))
    with_layer, without = per_line
    assert with_layer["calls"] - without["calls"] <= CALLS_PER_LINE[kind, log_format]
    assert with_layer["writes"] == without["writes"] >= 1


SETTINGS = {"SUMO_CLOUDWATCH": "none", "SUMO_DEBUG_ON_FAILURE": "orders"}
CALLS_OF_SETTINGS = {
    ("SUMO_CLOUDWATCH", "log"): -50,
    ("SUMO_DEBUG_ON_FAILURE", "debug"): 30,
    ("SUMO_CLOUDWATCH,SUMO_DEBUG_ON_FAILURE", "log"): -47,
    ("SUMO_CLOUDWATCH,SUMO_DEBUG_ON_FAILURE", "debug"): 30,
}
"""Calls that a setting may add to a line, spared or held, on top of the function without the layer: of a spared line no
log record is made, nor of a held one, which is nothing but a question about its level without the layer."""


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize(("setting", "kind"), CALLS_OF_SETTINGS)
def test_calls_of_a_line_that_is_kept_back(
    setting: str, kind: str, log_format: str, layer_folder: Path, source: SumoSource
) -> None:
    """What SUMO_CLOUDWATCH saves and SUMO_DEBUG_ON_FAILURE costs, as counts; no line is written."""
    per_line = []
    for layer in (layer_folder, None):
        variables = {name: SETTINGS[name] for name in setting.split(",")}
        with environment(layer, source, log_format=log_format, more=variables) as env:
            env.start()
            per_line.append(ask(env, {"calls": LINES, "with": {"kind": kind}}))
    with_layer, without = per_line
    assert with_layer["calls"] - without["calls"] <= CALLS_OF_SETTINGS[setting, kind]
    assert with_layer["writes"] == 0


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_settings_that_are_unset_cost_nothing(runtime: Runtime, layer_folder: Path, source: SumoSource) -> None:
    """Without SUMO_DEBUG_ON_FAILURE a DEBUG line is what it is without the layer, call by call; ``logging`` has its own
    functions, and nothing is loaded of the three settings."""
    per_line = []
    for layer in (layer_folder, None):
        with environment(layer, source, runtime=runtime) as env:
            env.start()
            per_line.append(ask(env, {"calls": LINES, "with": {"kind": "debug"}}))
            loaded, functions = ask(env, {"loaded": None})
            assert functions == ["logging", "logging"]
            names = ("flight", "sparing", "sparing_joint", "summary", "endings")
            assert not {f"sumo_internal.capture.{name}" for name in names} & {*loaded}
    assert per_line[0] == per_line[1]


SNAP_START = [runtime for runtime in runtimes([4]) if runtime.version >= (3, 12)]
RESTORED = """
import sys
from snapshot_restore_py import register_before_snapshot
counts = []
def note(frame, event, argument):
    if counts and event in ("call", "c_call"):
        counts[0] += 1
    if "awslambdaric" in frame.f_code.co_filename:
        if event == "return" and frame.f_code.co_name == "restore_next":
            counts.append(0)
        elif event == "call" and frame.f_code.co_name == "wait_next_invocation":
            sys.setprofile(None)
def handler(*_):
    return counts[0]
print("loaded")
register_before_snapshot(sys.setprofile, note)
"""
"""Counts the calls from the end of the runtime's request for the restore to its first one for an event."""
CALLS_OF_A_RESTORE_MAX = 290


@pytest.mark.parametrize("runtime", SNAP_START, ids=lambda runtime: runtime.id)
def test_calls_of_a_restore(runtime: Runtime, layer_folder: Path, source: SumoSource, tmp_path: Path) -> None:
    """What the layer adds to a restore of a snapshot, as calls: `make bench ONLY=restore` has it in milliseconds.

    Guards against an import, a look at the folder or a request in it: each request of a new environment's waits.
    """
    (tmp_path / "app.py").write_text(RESTORED)
    counts = []
    for layer in (layer_folder, None):
        with environment(layer, source, tmp_path, runtime=runtime, snap_start=True) as env:
            assert env.start().error is None
            counts.append(ask(env, None))
    assert 0 < counts[0] - counts[1] <= CALLS_OF_A_RESTORE_MAX


def test_bytes_of_a_record(layer_folder: Path, source: SumoSource) -> None:
    """What a record has beside its message is bounded: it is paid for by CPU, by the spool, and at Sumo by volume."""
    with environment(layer_folder, source) as env:
        env.start()
        ask(env, {"log": 10})
    records = [record for record in source.records if record["type"] == "function"]
    sizes_bytes = [len(compact(record)) - len(compact(record["message"])) for record in records]
    assert len(sizes_bytes) == 10
    assert max(sizes_bytes) <= RECORD_OVERHEAD_BYTES


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_two_threads_and_no_more(layer_folder: Path, source: SumoSource) -> None:
    """However much was shipped, the layer has its two threads in the function's process.

    Counted while it is frozen: the runtime client has a thread of its own then, which comes and goes.
    """
    counts = []
    for layer in (layer_folder, None):
        with environment(layer, source) as env:
            env.start()
            ask(env, {"log": 3_000})
            counts.append(len(os.listdir(f"/proc/{env.runtime_pid}/task")))
    assert counts[0] - counts[1] == 2


def test_nothing_stays_behind(layer_folder: Path, source: SumoSource) -> None:
    """What the interpreter has given out does not grow with the lines. Guards against a cache without a bound."""
    growth = []
    for layer in (layer_folder, None):
        with environment(layer, source) as env:
            env.start()
            for _ in range(3):
                ask(env, {"log": 1_000})
                before = ask(env, {"blocks": None})
            ask(env, {"log": 8_000})
            growth.append(ask(env, {"blocks": None}) - before)
    assert growth[0] - growth[1] <= BLOCKS_MAX
