"""Durable functions, end to end: AWS's SDK and its local runner, the built layer, and a real source."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from durable_service import OLD_SDK, OLDEST_PYTHON, SDKS, DurableService, put_sdk
from model import Environment
from packages import package
from runtimes import ROOT, Runtime, runtimes
from sumo_rules import Record
from sumo_source import SumoSource
from test_main_path import assert_each_once, environment, said, steps

from sumo_internal.capture.durable import FRAMES_MAX
from sumo_internal.processing.rules import is_sampled

WAYS = ("printed", "logged")
POWERTOOLS = "aws-lambda-powertools==3.37.0"
FUNCTION = ROOT / "tools/functions/durable"

# Where the machine has no such Python, pytest skips what is parametrized with it, and says that there was none.
RUNTIMES = [runtime for runtime in runtimes([4]) if runtime.version >= OLDEST_PYTHON]
TYPICAL = sorted(RUNTIMES, key=lambda runtime: abs(runtime.version[1] - 12))[:1]

with_typical = pytest.mark.parametrize("runtime", TYPICAL, ids=lambda runtime: runtime.id)


@pytest.fixture
def service(runtime: Runtime) -> Iterator[DurableService]:
    """AWS's runner, on the runtime's interpreter."""
    with DurableService(runtime.interpreter) as service:
        yield service


def function(folder: Path, sdk: str = SDKS[-1]) -> Path:
    """Lay out the function with a version of the SDK."""
    shutil.copy(FUNCTION / "app.py", folder)
    put_sdk(folder, sdk)
    return folder


def durable(
    service: DurableService, source: SumoSource, layer: Path, task: Path, runtime: Runtime, **options: Any
) -> Environment:
    """An environment of the function, with the wrapper."""
    variables = {**service.variables, "SUMO_FLUSH": "end", **options.pop("variables", {})}
    options = {"task_root": task, "timeout_s": 20.0, **options}
    return environment(source, layer, runtime, variables=variables, **options)


def text_of(line: str) -> str:
    """What a line says, without what the runtime puts in front of it."""
    return re.sub(r"^\[[A-Z]+\]\t\S+Z\t[-0-9a-f]*\t", "", line)


def message(record: Record) -> str:
    said = record["message"]
    return text_of(said) if isinstance(said, str) else str(said.get("message", said))


def messages(records: Iterable[Record], *, replayed: bool | None = None) -> Counter[str]:
    """The texts of the function's own lines; the SDK reports errors on its own."""
    return Counter(
        message(record)
        for record in records
        if record["type"] == "function"
        and (replayed is None or record.get("replay", False) is replayed)
        and record.get("logger", "orders") == "orders"
    )


def of_cloudwatch(*environments: Environment) -> Counter[str]:
    """The texts that CloudWatch has got. What was printed is there as often; two threads' prints may share a line."""
    lines = [line.text.strip() for env in environments for line in env.cloudwatch if line.source == "function"]
    logged = [text_of(line) for line in lines if line.endswith(", logged")]
    return Counter([*logged, *(text.replace(", logged", ", printed") for text in logged)])


EACH_PART: Sequence[Any] = [
    "wait",
    ["step", "one"],
    ["decorated", 7],
    "child",
    ["decorated_child", "Iceland"],
    ["map", ["a", "b", "c"]],
    ["parallel", ["left", "right"]],
    ["retry", 2],
    ["condition", 3],
    ["deep", FRAMES_MAX - 100],
    "wait",
]


@pytest.mark.parametrize(
    ("runtime", "sdk"),
    [*((runtime, SDKS[-1]) for runtime in RUNTIMES), *((runtime, sdk) for runtime in TYPICAL for sdk in SDKS[:-1])],
    ids=lambda each: getattr(each, "id", each),
)
def test_each_line_once_without_repetitions(
    service: DurableService, runtime: Runtime, sdk: str, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """Root, steps, children, branches, retries and conditions: what a resume writes again is marked, nothing else is.

    A mark too many would be a line that nobody finds; one for a whole execution is wrong in its branches.
    """
    with durable(service, source, layer_folder, function(tmp_path, sdk), runtime) as env:
        assert env.start().error is None
        service.serve(env)
        arn, status = service.run({"parts": EACH_PART})
        env.shutdown()
        assert said(env) == []
    assert status == "SUCCEEDED"
    written, got = of_cloudwatch(env), messages(source.records)
    assert written == +Counter({text: got[text] for text in written})
    once = messages(source.records, replayed=False)
    assert {text: once[text] for text in written} == dict.fromkeys(written, 1)
    assert len(service.invocations) > 8 and messages(source.records, replayed=True).total() > 50
    lines = [record for record in source.records if record["type"] == "function"]
    assert {record["executionArn"] for record in lines} == {arn}
    assert {record["requestID"] for record in lines} == {each.request_id for each in service.invocations}
    assert_each_once(source)


@with_typical
def test_the_example(
    service: DurableService, runtime: Runtime, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """layer/examples/durable does what its text says: its first line comes again, marked, and its step's does not."""
    example = ROOT / "layer/examples/durable/order"
    shutil.copy(example / "app.py", tmp_path)
    name, _, version = (example / "requirements.txt").read_text().strip().partition("==")
    assert (name, version) == ("aws-durable-execution-sdk-python", SDKS[-1])
    put_sdk(tmp_path, version)
    with durable(service, source, layer_folder, tmp_path, runtime) as env:
        assert env.start().error is None
        service.serve(env)
        arn, status = service.run({"order": 7})
        env.shutdown()
        assert said(env) == []
    assert status == "SUCCEEDED" and len(service.invocations) == 2
    assert messages(source.records, replayed=True) == {"order 7 accepted": 1}
    once = messages(source.records, replayed=False)
    assert once == dict.fromkeys(("order 7 accepted", "order 7 billed", "order 7 paid"), 1)
    assert {record["executionArn"] for record in source.records if record.get("logger") == "orders"} == {arn}


@with_typical
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_callbacks_threads_and_loggers(
    service: DurableService, runtime: Runtime, log_format: str, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """What waits for an answer from outside, and whose lines are not known to come again.

    They are those of the function's own threads, and those between making a callback and asking for its result: there
    the SDK takes the function for being further on, and its own logger repeats itself, too.
    """
    parts = ["callback", "wait_for_callback", "thread", "context_logger", ["own_logger", "powertools"], "wait"]
    task = function(tmp_path)
    for part in package(POWERTOOLS, is_complete=True).iterdir():
        if not (task / part.name).exists():
            (task / part.name).symlink_to(part)
    with durable(service, source, layer_folder, task, runtime, log_format=log_format) as env:
        assert env.start().error is None
        service.serve(env)
        arn = service.begin({"parts": parts})
        for name in ("approval", "signature"):
            asked = env.wait_for_line(f'{{"{name}": ').text
            service.call_back(json.loads(asked)[name], "yes")
        assert service.finish(arn) == "SUCCEEDED"
        env.shutdown()
    once = messages(source.records, replayed=False)
    again = {text: count for text, count in once.items() if count > 1}
    assert {text for text in again if "approval" not in text} == {f"in a thread of its own, {how}" for how in WAYS}
    assert {text for text in again if text.startswith("approval")} == {f"approval asked for, {how}" for how in WAYS}
    assert set(again.values()) == {2}
    assert once['signed: "yes", logged'] == once["said by a logger of the function's"] == 1
    records = {message(record): record for record in source.records if not record.get("replay")}
    of_context = records["said by the context's logger"]
    assert of_context["executionArn"] == arn and "extra_executionArn" not in of_context and of_context["order"] == 7
    of_another = records["said with another arn"]
    assert of_another["executionArn"] == arn and of_another["extra_executionArn"] == "arn:other"


@with_typical
def test_every_resume_in_another_environment(
    service: DurableService, runtime: Runtime, layer_folder: Path, tmp_path: Path
) -> None:
    """Lambda resumes where there is room: one environment has the lines of an execution, another those that repeat."""
    task = function(tmp_path)
    with (
        SumoSource(connections=2) as source,
        durable(service, source, layer_folder, task, runtime) as one,
        durable(service, source, layer_folder, task, runtime) as two,
    ):
        for env in (one, two):
            assert env.start().error is None
        service.before_invocation = lambda number: (one, two)[number % 2]
        arn, status = service.run({"parts": ["wait", "child", "wait"]})
        for env in (one, two):
            env.shutdown()
    assert status == "SUCCEEDED"
    written, once = of_cloudwatch(one, two), messages(source.records, replayed=False)
    assert {text: once[text] for text in written} == dict.fromkeys(written, 1)
    lines = [record for record in source.records if record["type"] == "function"]
    assert {record["executionArn"] for record in lines} == {arn}
    assert len({record["logStream"] for record in lines}) == 2
    assert_each_once(source)


@with_typical
@pytest.mark.parametrize("how", ["kill", "timeout"])
def test_an_invocation_that_dies(
    service: DurableService, runtime: Runtime, how: str, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """Its lines arrive with the ARN; the execution goes on in a new process, which writes some of them again."""
    task = function(tmp_path)
    with durable(service, source, layer_folder, task, runtime, timeout_s=3.0) as env:
        assert env.start().error is None
        service.serve(env)
        arn, status = service.run({"parts": ["wait", ["die", how], "wait"]})
        env.shutdown()
    assert status == "SUCCEEDED"
    assert Counter(each.status for each in service.invocations)["crash" if how == "kill" else "timeout"] == 1
    assert messages(source.records)["about to die, logged"] == 1
    assert messages(source.records) == messages(source.records) | of_cloudwatch(env)
    assert {record.get("executionArn") for record in source.records if "about to die" in str(record)} == {arn}
    assert_each_once(source)


@with_typical
def test_shutdown_while_suspended(
    service: DurableService, runtime: Runtime, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """The environment is gone when the execution resumes; its lines left with it, and the others are the new one's."""

    def again(number: int) -> None:
        if number == 2:
            env.shutdown()

    variables = {"SUMO_FLUSH": "next"}
    with durable(service, source, layer_folder, function(tmp_path), runtime, variables=variables) as env:
        assert env.start().error is None
        service.serve(env)
        service.before_invocation = again
        arn, status = service.run({"parts": ["wait"]})
        env.shutdown()
    assert status == "SUCCEEDED" and len(service.invocations) == 2
    once = messages(source.records, replayed=False)
    assert once["order accepted, printed"] == once["part 0 done: wait, logged"] == 1
    assert messages(source.records, replayed=True) == {"order accepted, printed": 1, "order accepted, logged": 1}
    assert {record["executionArn"] for record in source.records if record["type"] == "function"} == {arn}
    assert_each_once(source)


@with_typical
def test_sampling_goes_by_execution(
    service: DurableService, runtime: Runtime, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """All lines of an execution or none; of one that fails, those of the invocation that fails: its answer says so."""
    variables = {"SUMO_SAMPLE": "0.5"}
    with durable(service, source, layer_folder, function(tmp_path), runtime, variables=variables) as env:
        assert env.start().error is None
        service.serve(env)
        good = [service.run({"parts": ["wait", "wait"]}, f"good-{number}") for number in range(6)]
        bad = [service.run({"parts": ["wait", "fail"]}, f"bad-{number}") for number in range(6)]
        env.shutdown()
    assert {status for _, status in good} == {"SUCCEEDED"} and {status for _, status in bad} == {"FAILED"}
    for arn, _ in [*good, *bad]:
        records = [record for record in source.records if record.get("executionArn") == arn]
        got, is_kept = messages(records), is_sampled(arn, 0.5)
        invocations = len({record["requestID"] for record in records if record.get("level") != "ERROR"})
        if (arn, "SUCCEEDED") in good:
            assert (got["order accepted, logged"], invocations) == ((3, 3) if is_kept else (0, 0))
        else:
            assert (got["order accepted, logged"], invocations) == ((2, 2) if is_kept else (1, 1))
            assert got["part 0 done: wait, printed"] == 1
    assert_each_once(source)


@with_typical
@pytest.mark.parametrize(
    ("variables", "marked", "repeated", "counted"),
    [
        ({"SUMO_DROP_REPLAYS": "true"}, 0, 2, 22),
        ({"SUMO_MARK_REPLAYS": "false"}, 0, 24, 0),
        ({"SUMO_ENHANCE_JSON_LOGS": "false", "SUMO_DROP_REPLAYS": "true"}, 0, 2, 22),
        ({"SUMO_MASK_PATTERNS": "part", "SUMO_DROP_REPLAYS": "false"}, 22, 24, 0),
    ],
    ids=["dropped", "unmarked", "dropped, without keys", "masked"],
)
def test_what_becomes_of_repetitions(
    service: DurableService,
    runtime: Runtime,
    variables: dict[str, str],
    marked: int,
    repeated: int,
    counted: int,
    source: SumoSource,
    layer_folder: Path,
    tmp_path: Path,
) -> None:
    """What is dropped is counted, as excluded.

    Four invocations write 2, 4, 6 and 12 lines again. Two of these come from so deep below the handler that nothing is
    known of them, and such lines are kept.
    """
    with durable(service, source, layer_folder, function(tmp_path), runtime, variables=variables) as env:
        assert env.start().error is None
        service.serve(env)
        _, status = service.run({"parts": [*["wait"] * 3, ["deep", FRAMES_MAX + 100], "wait"]})
        env.shutdown()
    assert status == "SUCCEEDED" and len(service.invocations) == 5
    lines = [record for record in source.records if record.get("type", "function") == "function"]
    texts = Counter(text_of(str(record["message"])) for record in lines)
    assert (texts - Counter(set(texts))).total() == repeated
    assert len([record for record in lines if "replay" in record]) == marked
    if "SUMO_ENHANCE_JSON_LOGS" in variables:
        source.problems.clear()  # records without any key of ours begin with no time
    accounts = [record["accounting"] for record in source.records if record.get("type") == "sumo.accounting"]
    assert (accounts[-1].get("excluded", {"lines": 0})["lines"] if accounts else 0) == counted


@with_typical
def test_an_old_sdk_has_no_marks(
    service: DurableService, runtime: Runtime, source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """Its only word on a repetition is about the whole execution, and wrong in branches; the ARN is the event's."""
    with durable(service, source, layer_folder, function(tmp_path, OLD_SDK), runtime) as env:
        assert env.start().error is None
        service.serve(env)
        arn, status = service.run({"parts": ["wait", ["step", "one"], "wait"]})
        env.shutdown()
    assert status == "SUCCEEDED"
    lines = [record for record in source.records if record["type"] == "function"]
    assert {record["executionArn"] for record in lines} == {arn}
    assert [record for record in lines if "replay" in record] == []
    assert messages(lines)["order accepted, printed"] == 3


@with_typical
def test_a_durable_event_without_the_sdk(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """The ARN is the event's, whatever has read it; the next event is an ordinary one's."""
    event = {"DurableExecutionArn": "arn:of:one", "CheckpointToken": "t", **steps({"log": "of it"})}
    with environment(source, layer_folder, runtime) as env:
        assert env.start().error is None
        for each in (event, steps({"log": "of none"})):
            assert env.invoke(each).status == "success"
        env.shutdown()
    arns = {text_of(record["message"]): record.get("executionArn") for record in source.records}
    assert arns == {"of it": "arn:of:one", "of none": None, **{text: arns[text] for text in arns if "loaded" in text}}
    assert [record for record in source.records if "replay" in record] == []
