"""What the event and the answer of an invocation say of a durable execution, and what becomes of its records."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tracemalloc
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spool_functions import taken

from sumo_internal.capture import durable
from sumo_internal.capture.bounds import EVENT_END_BYTES
from sumo_internal.capture.endings import ERROR, PENDING, SUCCESS, Endings
from sumo_internal.capture.recorder import Recorder, execution_of
from sumo_internal.config import read
from sumo_internal.processing.pipeline import Pipeline
from sumo_internal.processing.rules import is_sampled
from sumo_internal.spool.counters import SAMPLED_OUT
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders:7/durable-execution/order-7/6f9619ff-8b86-d011"
TOKEN = "t" * 2_048


def state(size_bytes: int) -> dict[str, Any]:
    """Checkpoints of about this size, whose texts look like what is searched for."""
    lure = json.dumps({"DurableExecutionArn": "arn:of:another", "CheckpointToken": "x", "Status": "FAILED"})
    return {"Operations": [{"Id": "1", "Payload": lure * (size_bytes // len(lure) + 1)}], "NextMarker": ""}


def event_of(*names: str, **values: Any) -> bytes:
    every = {"DurableExecutionArn": ARN, "CheckpointToken": TOKEN, "InitialExecutionState": state(100), **values}
    return json.dumps({name: every[name] for name in names}).encode()


ORDERS = list(permutations(("DurableExecutionArn", "CheckpointToken", "InitialExecutionState")))


@pytest.mark.parametrize("names", ORDERS, ids="-".join)
@pytest.mark.parametrize("size_bytes", [0, 100, 10_000, 100_000])
@pytest.mark.parametrize("space", [b"", b" \n\t"])
def test_an_event_names_its_execution(names: tuple[str, ...], size_bytes: int, space: bytes) -> None:
    """Whatever the order of its keys, and however long what was checkpointed is."""
    event = event_of(*names, InitialExecutionState=state(size_bytes))
    assert execution_of(space + event + space) == ARN


EVENTS: list[tuple[str, bytes, str | None]] = [
    ("escaped", event_of(*ORDERS[0]).replace(b"/durable", rb"\/durable").replace(b"arn:", rb"\u0061rn:"), ARN),
    (
        "all of it escaped",
        event_of(*ORDERS[0]).replace(ARN.encode(), "".join(f"\\u{ord(c):04x}" for c in ARN).encode()),
        ARN,
    ),
    ("of 1,024 characters", event_of(*ORDERS[0], DurableExecutionArn="a" * 1_024), "a" * 1_024),
    ("of 1,025", event_of(*ORDERS[0], DurableExecutionArn="a" * 1_025), None),
    ("empty", event_of(*ORDERS[0], DurableExecutionArn=""), None),
    ("no text", event_of(*ORDERS[0], DurableExecutionArn=7), None),
    ("of two lines", event_of(*ORDERS[0], DurableExecutionArn="a\nb"), None),
    ("not ASCII", event_of(*ORDERS[0], DurableExecutionArn="ä"), None),
    ("without a token", event_of("DurableExecutionArn", "InitialExecutionState"), None),
    ("token is no text", event_of(*ORDERS[0], CheckpointToken=None), None),
    ("deeper", b'{"detail":%s}' % event_of(*ORDERS[0]), None),
    ("deeper, at the end", b'{"large":"%s","detail":%s}' % (b"x" * 50_000, event_of(*ORDERS[0])), None),
    ("in a list", b"[%s]" % event_of(*ORDERS[0]), None),
    ("in a text", json.dumps(event_of(*ORDERS[0]).decode()).encode(), None),
    ("as a value", b'{"a":"DurableExecutionArn","b":"CheckpointToken"}', None),
    ("of a list of changes, too", event_of(*ORDERS[0], *["UpdatedOperationIds"], UpdatedOperationIds=["1"]), ARN),
    ("cut off", event_of(*ORDERS[0])[:300], None),
    ("no JSON", b'"DurableExecutionArn" "CheckpointToken"', None),
    ("nothing", b"", None),
]


@pytest.mark.parametrize(("what", "event", "arn"), EVENTS, ids=[what for what, _, _ in EVENTS])
def test_an_event_that_is_odd(what: str, event: bytes, arn: str | None) -> None:
    """Only an event with both keys of its own names an execution: a function may well be asked about another one's."""
    assert execution_of(event) == arn


@given(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b'"DurableExecutionArn"', b'"CheckpointToken":', b'{"', b'"a",', b"}", b":"])),
)
def test_nothing_in_an_event_is_raised(start: bytes, pieces: list[bytes]) -> None:
    """The event is the caller's, and no JSON perhaps: the runtime says so, in its own words."""
    found = execution_of(start + b"".join(pieces))
    assert found is None or 0 < len(found) <= durable.ARN_MAX_CHARS


def test_no_request_body_is_no_event() -> None:
    """A runtime client of another version may hand over something else."""
    assert [execution_of(body) for body in (None, "text", bytearray(b"{}"), {"DurableExecutionArn": ARN})] == [None] * 4


@pytest.mark.parametrize("names", [ORDERS[0], ORDERS[-1]], ids=["first", "last"])
def test_a_large_event_is_not_read(names: tuple[str, ...]) -> None:
    """Of six megabytes of checkpoints, only the two ends are looked at."""
    event = event_of(*names, InitialExecutionState=state(6_000_000))
    execution_of(event)  # the module is there
    tracemalloc.start()
    try:
        assert execution_of(event) == ARN
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20 * EVENT_END_BYTES


ORDINARY = """
import sys
from sumo_internal.capture import recorder
steps = 0
def count(frame, event, argument):
    global steps
    steps += 1
    return count
events = [b"{}", b'{"order":7}', b'{"large":"%s"}' % (b"x" * 6_000_000)]
sys.settrace(count)
for event in events:
    recorder.execution_of(event)
sys.settrace(None)
print(steps // len(events), "sumo_internal.capture.durable" in sys.modules)
"""

ORDINARY_STEPS_MAX = 8
"""Lines of Python that an ordinary invocation pays for; no size of its event adds one."""


def test_an_ordinary_invocation_pays_nothing() -> None:
    """Two searches in the ends of its event, and no module: the cost gate, counted and not measured."""
    done = subprocess.run([sys.executable, "-c", ORDINARY], capture_output=True, text=True, check=True)
    steps, is_loaded = done.stdout.split()
    assert int(steps) <= ORDINARY_STEPS_MAX
    assert is_loaded == "False"


ANSWERS: list[tuple[object, str]] = [
    ('{"Status":"FAILED","Error":{"ErrorMessage":"x"}}', "FAILED"),
    (b'{"Status": "FAILED"}', "FAILED"),
    ('{"Error":{"ErrorMessage":"%s"},"Status":"FAILED"}' % ("x" * 100_000), "FAILED"),
    ('{"Status":"SUCCEEDED","Result":"{\\"Status\\":\\"FAILED\\"}"}', "SUCCEEDED"),
    ('{"Status":"PENDING"}', "PENDING"),
    ('{"Result":{"Status":"FAILED"}}', ""),
    ('{"Status":["FAILED"]}', ""),
    ('["FAILED"]', ""),
    ("", ""),
    (None, ""),
    (7, ""),
]


@pytest.mark.parametrize(("answer", "status"), ANSWERS)
def test_an_answer_says_what_has_become_of_its_execution(answer: object, status: str) -> None:
    """Its own status, and not one that it quotes."""
    assert durable.status_of(answer) == status


class Recorded:
    """A recorder, and what it has recorded since the last look."""

    def __init__(self, folder: Path, **settings: str) -> None:
        config, problems = read({"SUMO_HTTP_ENDPOINT": "https://sumo/x", **settings})
        assert problems == []
        spool = Spool(str(folder), {}, 64_000_000)
        self.spool = spool
        self.pipeline = Pipeline(spool, config, "app") if settings else None
        self.recorder = Recorder(spool, {"logGroup": "/aws/lambda/orders"}, processing=self.pipeline)
        self._reader = SpoolReader(str(folder), spool)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in taken(self._reader)]


def log_record(**extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("orders", logging.INFO, "app.py", 1, "said", (), None)
    record.__dict__.update(extra)
    return record


def test_an_arn_is_said_once(tmp_path: Path) -> None:
    """The logger of a durable context puts it into ``extra``; another one's keeps its value, under another name."""
    recorded = Recorded(tmp_path)
    recorded.recorder.enter_invocation("r-1", execution_arn=ARN)
    for extra in (
        {"executionArn": ARN, "operationName": "pay"},
        {"executionArn": "arn:other"},
        {"replay": "of a game"},
    ):
        recorded.recorder.record("said\n", log_record(**extra))
    first, second, third = recorded.records()
    assert {record["executionArn"] for record in (first, second, third)} == {ARN}
    assert "extra_executionArn" not in first and first["operationName"] == "pay"
    assert second["extra_executionArn"] == "arn:other"
    assert third["extra_replay"] == "of a game" and "replay" not in third


def test_the_next_invocation_is_an_ordinary_one(tmp_path: Path) -> None:
    """Its lines take the short way again, and have no key of the execution."""
    recorder = Recorded(tmp_path).recorder
    recorder.enter_invocation("r-1", execution_arn=ARN)
    assert not recorder.takes_short_way and ARN in recorder.context
    recorder.enter_invocation("r-2")
    assert recorder.takes_short_way and "executionArn" not in recorder.context


def test_a_child_process_belongs_to_the_execution(tmp_path: Path) -> None:
    """What it is told has the ARN, by which its lines are sampled as well."""
    parent, child = Recorded(tmp_path / "1").recorder, Recorded(tmp_path / "2")
    parent.enter_invocation("r-1", execution_arn=ARN)
    child.recorder.adopt(eval(repr(parent.state())))
    child.recorder.record("said\n", log_record(executionArn=ARN))
    (record,) = child.records()
    assert record["executionArn"] == ARN and "extra_executionArn" not in record


def test_a_childs_own_children_belong_to_the_execution(tmp_path: Path) -> None:
    """What the child hands on is what it was told, all of it: it was asked for that before it had taken it over."""
    parent, child = Recorded(tmp_path / "1").recorder, Recorded(tmp_path / "2").recorder
    trace_id = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    parent.enter_invocation("r-1", execution_arn=ARN, trace_id=trace_id, tenant_id="t-1")
    handed_on: list[object] = []
    child.on_invocation = lambda: handed_on.append(child.state())
    child.adopt(eval(repr(parent.state())))
    assert handed_on == [parent.state()] and all(text in parent.context for text in (ARN, "t-1", "1-5759e988"))


@pytest.mark.parametrize("are_mixed", [False, True], ids=["one after another", "mixed"])
def test_all_parts_of_an_execution_have_the_same_fate(tmp_path: Path, are_mixed: bool) -> None:
    """Sampling goes by the execution: its invocations have ids of their own, and would be torn apart.

    An environment serves invocations of several executions in any order.
    """
    recorded = Recorded(tmp_path, SUMO_SAMPLE="0.5")
    arns = [f"{ARN}-{number}" for number in range(20)]
    parts = [(arn, invocation) for arn in arns for invocation in range(3)]
    for arn, invocation in sorted(parts, key=lambda part: part[1]) if are_mixed else parts:
        recorded.recorder.enter_invocation(f"{arn[-2:]}-{invocation}", execution_arn=arn)
        recorded.recorder.line("a line")
        recorded.recorder.leave_invocation()
    got = [record["executionArn"] for record in recorded.records()]
    assert {arn: got.count(arn) for arn in arns} == {arn: 3 * is_sampled(arn, 0.5) for arn in arns}
    assert 0 < len(set(got)) < len(arns)


@pytest.mark.parametrize(("status", "lines"), [("FAILED", 1), ("SUCCEEDED", 0), ("PENDING", 0)])
def test_a_failed_execution_is_a_failure(tmp_path: Path, status: str, lines: int) -> None:
    """To Lambda its invocation has succeeded; an ordinary function may answer the same and mean nothing by it."""
    recorded = Recorded(tmp_path, SUMO_SAMPLE="0")
    assert recorded.pipeline is not None
    recorded.recorder.endings = endings = Endings()
    endings.on_failure.append(recorded.pipeline.fail_invocation)
    for arn, outcome in ((ARN, {"FAILED": ERROR, "PENDING": PENDING}.get(status, SUCCESS)), (None, SUCCESS)):
        recorded.recorder.enter_invocation("r-1", execution_arn=arn)
        recorded.recorder.line("a line")
        endings.answer(json.dumps({"Status": status}))
        assert endings.outcome == outcome
        recorded.recorder.leave_invocation()
    assert [record["executionArn"] for record in recorded.records()] == [ARN] * lines
    assert recorded.spool.counters.counts()[SAMPLED_OUT][0] == 2 - lines
