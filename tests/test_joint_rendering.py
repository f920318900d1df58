"""Lines that the runtime and we make together are what the runtime makes without us: byte by byte, client by client."""

from __future__ import annotations

import json
import os
import subprocess
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtimes import Runtime, runtimes, typical

from layer.build import ROOT
from sumo_internal.capture.record_format import RECORD_MAX_BYTES

SERVER = Path(__file__).with_name("log_server.py")
MODES = ("bare", "layer", "apart")

Spec = dict[str, Any]


class Server:
    """A process that logs what it is told to."""

    def __init__(self, runtime: Runtime, mode: str, form: str, *place: str) -> None:
        command = [str(runtime.interpreter.executable), "-B", str(SERVER), mode, form, str(ROOT), *place]
        environment = {**os.environ, "PYTHONPATH": str(runtime.ric)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def ask(self, spec: Spec) -> dict[str, Any]:
        """Log a record; what was written, what the record is then, and what was recorded."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(spec) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        self._process.communicate(timeout=10)


class Servers:
    """The same in each mode, until the end of the block."""

    def __init__(self, runtime: Runtime, form: str, modes: tuple[str, ...], *place: str) -> None:
        self._servers = {mode: Server(runtime, mode, form, *place) for mode in modes}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.end()

    def ask(self, spec: Spec) -> dict[str, dict[str, Any]]:
        """Log a record in each mode."""
        return {mode: server.ask(spec) for mode, server in self._servers.items()}


@pytest.fixture(scope="module", params=["TEXT", "JSON"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def servers(given: Sequence[Runtime], modes: tuple[str, ...], *place: str) -> Any:
    """A fixture: the servers of each of these runtimes, in both formats."""

    @pytest.fixture(scope="module", params=given, ids=lambda runtime: runtime.id)
    def started(request: pytest.FixtureRequest, form: str) -> Iterator[Servers]:
        with Servers(request.param, form, modes, *place) as found:
            yield found

    return started


each, one = servers(runtimes(), MODES), servers([typical()], MODES)


def same(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What was written and what the record is afterwards do not depend on us, nor our record on how it was made."""
    bare, layer, apart = answers.values()
    for name in ("frame", "attributes", "error", "returned"):
        assert layer[name] == bare[name], name
    assert layer["records"] == apart["records"]
    assert not apart["is_joint"] and bool(layer["records"]) == bool(bare["frame"][1])
    return layer


ARGUMENTS = st.lists(
    st.text(max_size=5) | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.integers(), max_size=2),
    max_size=3,
)
PIECES = ["%s", "%d", "%r", "%%", "%5.1f", "paid", " ", "\n", "\t", '"', "\\", "€"]
SPECS = st.fixed_dictionaries(
    {
        "message": st.text(max_size=20)
        | st.lists(st.sampled_from(PIECES)).map("".join)
        | st.sampled_from(["\ud800", "{", "{}", '{"a":1}', "[1]"]),
        "times": st.sampled_from([1, 1, 1, 1_000, 4_001, 20_000]),
        "args": ARGUMENTS | st.just({"a": 1}),
        "level": st.sampled_from([10, 20, 20, 20, 30, 40, 50, 5, 25, 60, 0]),
        "created": st.integers(1_700_000_000 * 1024, 1_700_000_003 * 1024).map(lambda ticks: ticks / 1024),
    },
    optional={
        "name": st.sampled_from(["root", "or\"ders", "€", "orders"]),
        "request": st.sampled_from([None, "", "r-2", "€", 'r"3']),
        "tenant": st.sampled_from([None, "acme"]),
        "error": st.booleans(),
        "stack": st.booleans(),
        "late": st.booleans(),
        "set": st.fixed_dictionaries(
            {},
            optional={
                "order": st.integers(),
                "_private": st.just(1),
                "message": st.just("earlier"),
                "asctime": st.just("earlier"),
                "taskName": st.just("Task-1"),
                "levelname": st.sampled_from(["INFO", "NOTE"]),
                "getMessage": st.just("no function"),
                "aws_request_id": st.just("earlier"),
            },
        ),
        "without": st.lists(st.sampled_from(["taskName", "processName", "exc_text"])),
    },
)  # fmt: skip


def test_a_plain_record_is_written_jointly(each: Servers) -> None:
    """In each level, with arguments and without, in any characters: each client version, each Python."""
    for level in (10, 20, 30, 40, 50):
        for message, arguments in (("paid", []), ("order %s: %d %.1f", ['ä\n"\\', 17, 2.5]), ("€ %%", [])):
            spec = {"message": message, "args": arguments, "level": level, "created": 1_700_000_000 + level / 64}
            assert same(each.ask(spec))["is_joint"], spec


@pytest.mark.parametrize("character", ["x", "€", "\n", '"'])
def test_a_long_record_is_written_jointly_as_long_as_it_fits(one: Servers, character: str) -> None:
    """At each length around the one that a record no longer fits at: it is one record, then it is parts."""

    def written(times: int) -> tuple[int, bool]:
        answer = same(one.ask({"message": character, "times": times}))
        return len(answer["records"]), answer["is_joint"]

    assert written(4_001) == (1, True)
    one_more = bisect_left(range(RECORD_MAX_BYTES), True, key=lambda times: written(times)[0] > 1)
    assert 9_000 < one_more < RECORD_MAX_BYTES
    lengths = range(one_more - 120, one_more + 3)
    for times in (*lengths[::40], *lengths[-5:]):
        parts, is_joint = written(times)
        assert (parts > 1, is_joint) == (times >= one_more, times < one_more), times


@given(spec=SPECS)
@settings(max_examples=20)
def test_any_record_is_written_as_without_us(each: Servers, spec: Spec) -> None:
    """Bytes, frame types, the record's attributes in their order, what is raised; and our record is the same, too."""
    same(each.ask(spec))


@pytest.mark.parametrize(
    "spec",
    [
        {"request": None},
        {"tenant": "acme"},
        {"error": True},
        {"stack": True},
        {"late": True},
        {"set": {"order": 17}},
        {"set": {"aws_request_id": "earlier"}},
        {"set": {"levelname": "NOTE"}},
        {"args": {"a": 1}},
        {"message": "%s", "args": [[1]]},
        {"message": "%d", "args": ["x"]},
        {"message": "paid", "args": [1]},
        {"message": ["a", "list"]},
        {"message": "\ud800"},
        {"message": "x", "times": RECORD_MAX_BYTES},
        {"level": 25},
        {"name": "a new one"},
    ],
    ids=str,
)
def test_a_record_out_of_the_ordinary_is_the_runtimes(one: Servers, spec: Spec) -> None:
    """What the function's own code could have a part in, or what has more than a text, goes the runtime's own way."""
    if spec.get("tenant") is None:
        assert not same(one.ask(spec))["is_joint"]
    else:
        bare, layer, _ = one.ask(spec).values()
        assert (layer["frame"], layer["attributes"], layer["is_joint"]) == (bare["frame"], bare["attributes"], False)


FUNCTIONS = {
    "logging.Handler.handle": "",
    "logging.Handler.format": "",
    "logging.Handler.acquire": "",
    "logging.Handler.release": "",
    "logging.Filterer.filter": "",
    "logging.LogRecord.getMessage": "",
    "logging.Formatter.formatTime": "",
    "logging.Formatter.format": "TEXT",
    "logging.Formatter.formatMessage": "TEXT",
    "logging.Formatter.usesTime": "TEXT",
    "logging.PercentStyle.format": "TEXT",
    "logging.PercentStyle._format": "TEXT",
    "logging.PercentStyle.usesTime": "TEXT",
    "time.strftime": "",
    "type(handler).emit": "",
    "bootstrap.LambdaLoggerFilter.filter": "",
    "bootstrap.FramedTelemetryLogSink.log": "",
    "bootstrap.JsonFormatter.format": "JSON",
    "logging.getLevelName": "JSON",
}
"""What the runtime's handler goes through for a line: in both formats, or in one of them."""

ON_OBJECTS = [
    *("handler.emit", "handler.format", "handler.filter", "handler.acquire", "handler.release"),
    *("formatter.format", "formatter.formatTime", "handler.filters[0].filter"),
    *("handler.log_sink.log", "(handler.log_sink if MODE == 'bare' else handler.log_sink.inner).log"),
]

ALTERATIONS = [
    *(f"{name} = {how}({name})" for name in ON_OBJECTS for how in ("counted", "Wrapped")),
    "logging.Formatter.converter = time.localtime",
    "formatter.converter = time.localtime",
    "formatter.datefmt = '%H'",
    "handler.setFormatter(logging.Formatter('%(message)s\\n'))",
    "handler.setFormatter(type('Own', (logging.Formatter,), {'usesTime': lambda self: False})('%(levelname)s\\n'))",
    "handler.setFormatter(None)",
    "handler.addFilter(lambda record: True)",
    "handler.addFilter(lambda record: False)",
    "handler.filters.clear()",
    "handler.filters[:] = [logging.Filter('other')]",
    "handler.setLevel(20)",
    "handler.setLevel(40)",
    "handler.note = 1",
    "handler.__class__ = type('Own', (type(handler),), {})",
    *(f"{name} = Wrapped({name})" for name in ("handler.formatter", "handler.filters[0]", "handler.log_sink")),
    *(f"{name} = Wrapped({name})" for name in ("handler.filters", "handler.lock")),
]

ON_TEXT = [
    "formatter._style._fmt = '%(message)s %(aws_request_id)s\\n'",
    "formatter._style = logging.StrFormatStyle('{message}\\n')",
    "formatter._style._defaults = {'extra': 1}",
    "formatter._style = Wrapped(formatter._style)",
    *(f"{name} = counted({name})" for name in ("formatter.formatMessage", "formatter.usesTime")),
    *(f"{name} = counted({name})" for name in ("formatter._style.format", "formatter._style.usesTime")),
]

ON_JSON = [
    *(f"utilities['_encode_json'] = {how}(utilities['_encode_json'], 'encode')" for how in ("counted", "Wrapped")),
    *(f"utilities['_format_log_level'] = {how}(utilities['_format_log_level'])" for how in ("counted", "Wrapped")),
    "logging.addLevelName(20, 'NOTE')",
]


def test_what_is_altered_has_its_effect(one: Servers, form: str) -> None:
    """Each function, object and attribute that a line goes through, on the object and on the class: what it then does,
    and how often it is called, is what it is without us, at the very next line. Also what says that it is equal to what
    it has replaced."""
    names = [name for name, only in FUNCTIONS.items() if only in ("", form)]
    functions = [f"{name} = {how}({name})" for name in names for how in ("counted", "Wrapped")]
    others = ON_TEXT if form == "TEXT" else ON_JSON
    bare, layer, _ = one.ask({"alter": "pass"}).values()
    assert layer["is_joint"] and layer["frame"] == bare["frame"]
    for alteration in [*functions, *ALTERATIONS, *others]:
        bare, layer, _ = one.ask({"alter": alteration}).values()
        assert not layer["is_joint"], alteration
        for name in ("frame", "attributes", "error", "returned"):
            assert layer[name] == bare[name], (alteration, name)
        if "acquire" not in alteration and "release" not in alteration:  # Python 3.13 has no call for the lock
            assert layer["calls"] == bare["calls"], alteration


def test_a_changed_level_of_the_handler_is_learnt(one: Servers) -> None:
    """It decides only which records come here: lines are written jointly again, with the same bytes."""
    once, again = "handler.setLevel(10); log({})", "handler.setLevel(10); log({}); log({})"
    for statement in (once, again):
        bare, layer, _ = one.ask({"alter": statement}).values()
        assert layer["frame"] == bare["frame"] and layer["is_joint"]


WARM_SCRIPT = """
import json, logging, os, sys, tempfile
sys.path.insert(0, sys.argv[1])
frames = tempfile.TemporaryFile()
os.environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(os.dup(frames.fileno()))
from awslambdaric import bootstrap
from sumo_internal.capture import runtime_client
from sumo_internal.capture.recorder import Recorder
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
spool = Spool(tempfile.mkdtemp(), {}, 10_000_000)
reader, recorder = SpoolReader(spool.folder, spool), Recorder(spool, {})
runtime_client.capture(bootstrap, recorder)
bootstrap._setup_logging(bootstrap.LogFormat.from_str(sys.argv[2]), "DEBUG", bootstrap.create_log_sink().__enter__())
bootstrap._GLOBAL_AWS_REQUEST_ID = "r-1"
log = logging.getLogger("orders")
for number in range(14):
    log.info("warm %d", number)
levels = logging.getLogger().handlers[0].log_sink.joint._made[2]
assert logging.INFO in levels, "lines are written jointly"
"""
"""Has a runtime's handler whose lines are written jointly."""

FOUND_SCRIPT = """
recorder.flush()
written, frame = [], os.pread(frames.fileno(), 10_000_000, 0)
while frame:
    size = int.from_bytes(frame[4:8], "big")
    written.append(frame[16 : 16 + size].decode().rstrip("\\n"))
    frame = frame[16 + size :]
messages = []
while slices := reader.take(1_000_000):
    for piece in slices:
        for line in bytes(piece.data()).splitlines():
            message = json.loads(line)["message"]
            messages.append(message if type(message) is str else json.dumps(message))
        piece.acknowledge()
"""
"""Finds what was written, and the messages of what was recorded."""

END_OF_STACK_SCRIPT = """
def wake(levels=8):
    spool.wake_offset = 0 if levels else 10**9
    if levels:
        wake(levels - 1)

def descend(depth):
    log.info("line %d", depth)
    descend(depth + 1)

def at_depth(depth):
    if depth:
        return at_depth(depth - 1)
    descend(0)

sys.setrecursionlimit(220)
for depth in range(20):
    if depth % 3 == 0:
        spool.on_backlog, spool.wake_offset = wake, 0
    try:
        at_depth(depth)
    except RecursionError:
        pass
    log.info("back again")
"""

INTERRUPTED_SCRIPT = """
sys.path.insert(0, sys.argv[1] + "/tests")
from interruptions import Interruptions, TimeLimit, is_behind_call

handler, raised, seen = logging.getLogger().handlers[0], 0, 0

def call(number):
    log.info("outer %d", number)

def handle(number):
    handler.handle(logging.LogRecord("orders", 20, "", 0, "outer %d", (number,), None))

def interrupt(number):
    global raised
    if sys.argv[3] == "logs":
        log.info("inner %d", number)
    elif is_behind_call(sys._getframe(2)):
        raised += 1
        raise TimeLimit

def victim(number):
    global seen
    try:
        call(number) if sys.argv[4] == "call" else handle(number)
    except TimeLimit:
        seen += 1
        raise

interruptions = Interruptions([logging.Logger._log, handler.log_sink.written], interrupt)
for number in interruptions.of(victim):
    assert handler.lock.acquire(blocking=False) and not spool.owner, number
    handler.lock.release()
last = interruptions.number
assert 100 < last < 900 and seen == raised and (raised > 10) is (sys.argv[3] == "raises"), (last, seen, raised)
"""


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_lines_at_the_end_of_the_stack_are_there_once(runtime: Runtime, form: str) -> None:
    """A recursion without end finds room for a line, but not for its record: that is recorded when there is room."""
    written, messages = run(runtime, END_OF_STACK_SCRIPT, form)
    assert len(written) > 500 and sorted(written) == sorted(messages)


@pytest.mark.parametrize("act", ["logs", "raises"])
@pytest.mark.parametrize("way", ["call", "handle"])
def test_an_interruption_at_each_instruction(form: str, act: str, way: str) -> None:
    """A signal handler that logs in the middle of a log call, or in a record's: each line is there once.

    What is raised by a handler reaches the function, leaves no lock taken, and may cost the line that is being written.
    """
    written, messages = run(typical(), INTERRUPTED_SCRIPT, form, act, way)
    assert set(Counter(written).values()) == set(Counter(messages).values()) == {1}
    if act == "logs":
        assert sorted(written) == sorted(messages) and sum("inner" in text for text in written) > 100
    else:
        assert set(messages) <= set(written)


IN_A_THREAD_SCRIPT = """
sys.path.insert(0, sys.argv[1] + "/tests")
from interruptions import noticed_in_threads

log.setLevel(20)
noticed = noticed_in_threads(lambda: log)
assert noticed >= 295, noticed  # Python's own code swallows some, without us too
"""


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_a_time_limit_for_a_thread_is_not_swallowed(runtime: Runtime, form: str) -> None:
    """Another thread raises it in the middle of a log call (stopit, func_timeout), and no frame of its tells so."""
    written, _ = run(runtime, IN_A_THREAD_SCRIPT, form)
    assert len(written) > 300


def run(runtime: Runtime, script: str, *arguments: str) -> tuple[list[str], list[str]]:
    """Run a script behind the one that prepares; what it has written, and the messages of what was recorded."""
    script = f"{WARM_SCRIPT}{script}{FOUND_SCRIPT}print(json.dumps([written, messages]))\n"
    command = [str(runtime.interpreter.executable), "-B", "-c", script, str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(runtime.ric)})
    assert done.stderr == ""
    written, messages = json.loads(done.stdout)
    return written, messages
