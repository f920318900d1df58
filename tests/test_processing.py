"""A recorder that processes: in this process, with a real spool, and Hypothesis in search of a secret that slips by."""

from __future__ import annotations

import json
import logging
import os
import pprint
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from interruptions import Interruptions, TimeLimit, is_behind_call, raise_time_limit
from spool_functions import taken

from layer.build import ROOT
from sumo_internal import config, diagnostics
from sumo_internal.capture.record_format import RECORD_MAX_BYTES
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.reentrancy import too_deep
from sumo_internal.config import read
from sumo_internal.processing import cap
from sumo_internal.processing.masking import MASK
from sumo_internal.processing.pipeline import Pipeline
from sumo_internal.processing.sampling import Sampling
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

STDOUT = 1
PLAIN_TIME = {"strftime": time.strftime, "gmtime": time.gmtime}
TEXT_FORMAT = "[%(levelname)s]\t%(asctime)sZ\treq\t%(message)s"

Record = dict[str, Any]


class Recording:
    """A recorder with these settings, a logger for it, and what a drainer finds."""

    def __init__(self, folder: str, variables: dict[str, str], handler: str = "app") -> None:
        settings, problems = read(variables)
        assert problems == [] and config.is_processed(settings)
        self.spool = Spool(folder, {}, 64_000_000)
        self.pipeline = Pipeline(self.spool, settings, handler)
        is_joined = settings.multiline == "join"
        self.recorder = Recorder(
            self.spool,
            {"logGroup": "g"},
            is_enhanced=settings.is_enhanced,
            is_joined=is_joined,
            processing=self.pipeline,
        )
        self.recorder.leave_init()
        self.recorder.enter_invocation("req")
        self.log = logging.Logger("orders")
        into = logging.Handler()
        into.setFormatter(logging.Formatter(TEXT_FORMAT))
        into.emit = lambda record: self.recorder.record(into.format(record) + "\n", record)  # type: ignore[method-assign, assignment]  # a handler
        self.log.addHandler(into)

    def raw(self) -> bytes:
        """All that is in the spool's files."""
        return b"".join(path.read_bytes() for path in Path(self.spool.folder).iterdir())

    def records(self) -> list[Record]:
        """What a drainer finds, acknowledged."""
        found = taken(SpoolReader(self.spool.folder, self.spool))
        assert all(len(line) <= RECORD_MAX_BYTES for line in found)
        return [json.loads(line) for line in found]


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Recording]:
    def make(**variables: str) -> Recording:
        return Recording(f"{tmp_path}/{len(os.listdir(tmp_path))}", variables)

    return make


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The function's module for processors."""
    module = types.ModuleType("shop_logs")
    monkeypatch.setitem(sys.modules, "shop_logs", module)
    yield module


SECRET = st.from_regex(r"\A[ghj]{6}-[ghj]{6}\Z")
WAYS = st.sampled_from(["log", "extra", "args", "json", "print", "exception", "chained", "nested", "stderr", "pieces"])


@given(
    SECRET,
    st.lists(WAYS, min_size=1, max_size=4),
    st.integers(0, 70_000),
    st.sampled_from(["SUMO_MASK_KEYS", "SUMO_MASK_PATTERNS", "SUMO_HASH_PATTERNS"]),
)
def test_no_secret_is_in_the_spool(
    tmp_path_factory: pytest.TempPathFactory, secret: str, ways: list[str], padding: int, rule: str
) -> None:
    """In whatever way it is written, beside text of any length, parts of a record included."""
    rules = {
        "SUMO_MASK_KEYS": {"SUMO_MASK_KEYS": "password"},
        "SUMO_MASK_PATTERNS": {"SUMO_MASK_PATTERNS": "[ghj]{6}-[ghj]{6}"},
        "SUMO_HASH_PATTERNS": {"SUMO_HASH_PATTERNS": "[ghj]{6}-[ghj]{6}", "SUMO_HASH_SALT": "s"},
    }[rule]
    recording = Recording(f"{tmp_path_factory.mktemp('secret')}/spool", rules)
    for way in ways:
        write(recording, way, secret, "x" * padding)
    recording.recorder.leave_invocation()

    assert secret.encode() not in recording.raw()
    records = recording.records()
    whole = "".join(record["message"] for record in records if isinstance(record["message"], str))
    assert records and secret not in whole + json.dumps(records)


def write(recording: Recording, way: str, secret: str, padding: str) -> None:
    """Write a secret under the key ``password``, and around it."""
    log, written = recording.log, recording.recorder.written
    named = {"password": secret}
    if way == "log":
        log.warning("%s login %s %s", padding, secret, padding, extra=named)
    elif way == "extra":
        log.info("login", extra={"user": {"name": padding, **named}, "copy": [secret]})
    elif way == "args":
        log.info("got %s %s", {"a": named, "copy": secret}, padding)
    elif way == "json":
        written(json.dumps({"padding": padding, "user": [named], "copy": secret}) + "\n", STDOUT)
    elif way == "nested":
        written(json.dumps({"body": json.dumps({"x": padding, "y": json.dumps(named)})}) + "\n", STDOUT)
    elif way in ("print", "stderr"):
        written(f"{padding} {named!r} {padding}", 1 + (way == "stderr"))
        written("\n", 1 + (way == "stderr"))
    elif way == "pieces":
        text = f"{padding}{json.dumps(named)}"
        for begin in range(0, len(text), 7001):
            written(text[begin : begin + 7001], STDOUT)
        written("\n", STDOUT)
    else:
        try:
            try:
                raise ValueError(f"refused {named}")
            except ValueError as error:
                if way == "chained":
                    raise KeyError(secret) from error
                raise
        except Exception:
            log.exception("%s failed", padding, extra=named)


def test_named_arguments_have_keys(recording: Callable[..., Recording]) -> None:
    """``"%(password)s"``: the text alone does not say which value is whose. No object is asked for its text twice."""
    made = recording(SUMO_MASK_KEYS="password,pin")
    asked = []

    class Shown:
        def __str__(self) -> str:
            asked.append(self)
            return "shown"

    values = {"user": "joe", "password": "hunter2", "pin": 7701, "o": Shown()}
    made.log.warning("%(user)s has %(password)r, %(pin)d, %(o)s", values)
    made.log.warning("%(user)s says hunter2", {"user": "joe"})
    first, second = (record["message"].rpartition("\t")[2] for record in made.records())
    assert (first, second, len(asked)) == ("joe has '***', ***, shown", "joe says hunter2", 1)


def test_what_a_field_hides_is_hidden_where_fields_are_not_sent(recording: Callable[..., Recording]) -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: the text alone goes out, and a formatter may have put the field into it."""
    made = recording(SUMO_MASK_KEYS="password", SUMO_ENHANCE_JSON_LOGS="false")
    made.log.warning("joe has hunter2", extra={"password": "hunter2", "order": 17})
    try:
        raise ValueError("hunter2")
    except ValueError:
        made.log.exception("no order for hunter2", extra={"password": "hunter2"})
    first, second = made.records()
    assert first.keys() - {"id"} == {"message"} and first["message"].endswith("\tjoe has ***")
    assert "hunter2" not in json.dumps(second) and "no order for ***" in second["message"]


def test_a_record_is_masked_before_it_is_cut_into_parts(recording: Callable[..., Recording]) -> None:
    """A secret on the border of two parts is in neither, whole or half."""
    made = recording(SUMO_MASK_PATTERNS="secret-[0-9]+")
    for before in range(48 * 1024 - 20, 48 * 1024 + 5):
        made.recorder.written("-" * before + "secret-0123456789" + "-" * 20_000 + "\n", STDOUT)
    records = made.records()

    assert len(records) >= 50 and {record["parts"] for record in records} == {2}
    text = "".join(record["message"] for record in records)
    assert not set(text) & set("secret0123456789") and text.count(MASK) == 25


def test_a_value_that_prints_is_no_part_of_the_record(
    recording: Callable[..., Recording], processors: types.ModuleType
) -> None:
    """Asked for its text, a field's value may print: that line has no exception, although the record has one."""
    seen: list[Any] = []

    def look(logger: object, name: str, event: Record) -> Record:
        seen.append((event["event"], "exc_info" in event))
        return event

    processors.look = look  # type: ignore[attr-defined]  # a module
    made = recording(SUMO_PROCESSORS="shop_logs.look")

    class Chatty:
        def __str__(self) -> str:
            made.recorder.written("printed\n", STDOUT)
            return "chatty"

    try:
        raise ValueError
    except ValueError:
        made.log.exception("logged", extra={"value": Chatty()})
    assert seen == [("printed", False), ("logged", True)]


def test_what_a_processor_writes_is_withheld(recording: Callable[..., Recording], processors: types.ModuleType) -> None:
    """A processor that logs is not asked about its own line, which would never end."""

    def chatty(logger: object, name: str, event: Record) -> Record:
        made.log.warning("of the processor")
        return event

    processors.chatty = chatty  # type: ignore[attr-defined]
    made = recording(SUMO_PROCESSORS="shop_logs.chatty")
    made.log.info("of the function")
    inner, outer = made.records()

    assert (inner["message"], inner["withheld"]) == (MASK, "SUMO_PROCESSORS: written by a processor")
    assert outer["message"].endswith("of the function")


def test_behind_a_time_limit_records_pass_as_ever(
    recording: Callable[..., Recording], processors: types.ModuleType
) -> None:
    """A signal handler that raises behind any call in the middle of the rules: what follows is not taken for theirs.

    The thread was in the middle of a processor for ever: each later message of the function's was withheld.
    """
    processors.keep = lambda logger, name, event: event  # type: ignore[attr-defined]
    made = recording(SUMO_PROCESSORS="shop_logs.keep", SUMO_MASK_KEYS="password")
    hidden: list[object] = []

    def write(number: int) -> None:
        made.pipeline.together('{"password": "abc"}\nx\n', STDOUT, 1, made.recorder.written, "x\nx\n", STDOUT)
        made.log.info("%(password)s", {"password": "def"})
        made.recorder.flush()

    def victim(number: int) -> None:
        try:
            write(number)
        except TimeLimit:
            pass
        sys.settrace(None)
        hidden.append(made.pipeline._current.hidden)
        made.recorder.written(f"after {number}\n", STDOUT)

    functions = [
        getattr(Pipeline, name) for name in ("together", "with_arguments", "flush", "passed", "_through_chain")
    ]
    interruptions = Interruptions(functions, raise_time_limit, is_behind_call)
    assert sum(1 for _ in interruptions.of(victim)) > 30
    after = [record for record in made.records() if "withheld" in record or "after" in record["message"]]
    assert [record["withheld"] for record in after if "withheld" in record] == []
    assert [record["message"] for record in after] == [f"after {number}" for number in range(interruptions.number + 1)]
    assert [number for number, each in enumerate(hidden) if each != ()] == []


def test_an_endless_processor_is_withheld(
    recording: Callable[..., Recording], processors: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    """A recursion in a processor is the processor's; the line is there without its message."""

    def endless(logger: object, name: str, event: Record) -> Record:
        return endless(logger, name, event)

    processors.endless = endless  # type: ignore[attr-defined]
    made = recording(SUMO_PROCESSORS="shop_logs.endless")
    made.log.info("line")
    (record,) = made.records()

    assert record["withheld"] == "SUMO_PROCESSORS: shop_logs.endless raised RecursionError"
    assert capfd.readouterr().err.count("endless raised RecursionError; messages are withheld") == 1


def test_what_cannot_be_masked_is_withheld(
    recording: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever goes wrong in a mask (here: no memory), nothing goes out that it should have seen: no logger either."""
    made = recording(SUMO_MASK_KEYS="password")

    def fails(*_: object) -> None:
        raise MemoryError("hunter2")

    monkeypatch.setattr(made.pipeline._rules.masking, "applied", fails)
    made.log.error("hunter2", extra={"password": "hunter2"})
    (record,) = made.records()

    assert (record["message"], record["withheld"]) == (MASK, "masking failed: MemoryError")
    assert record["level"] == "ERROR" and "logger" not in record and "hunter2" not in json.dumps(record)
    assert "hunter2" not in capfd.readouterr().err


def test_a_record_has_a_budget(recording: Callable[..., Recording], capfd: pytest.CaptureFixture[str]) -> None:
    """An e-mail expression takes quadratic time for a text of letters; the function waits so long and no longer, and
    what the rules have not seen does not leave. The next record has a budget of its own."""
    made = recording(SUMO_MASK_PATTERNS=r"[\w.+-]+@[\w-]+\.[\w.-]+", SUMO_RULES_MAX_MS="1")
    made.log.warning("a" * 200_000)
    made.recorder.written("b" * 200_000 + "\n", STDOUT)
    made.log.info("to bo@example.org")
    logged, printed, short = made.records()

    reason = "SUMO_RULES_MAX_MS: the rules need more than 1 ms of CPU time"
    assert [(each["message"], each["withheld"]) for each in (logged, printed)] == [(MASK, reason)] * 2
    assert logged["level"] == "WARNING" and short["message"].endswith("to ***")
    assert made.spool.counters.counts()["withheld"][0] == 2
    assert capfd.readouterr().err.count(f"{reason}; messages are withheld") == 1


def test_a_processors_time_is_not_the_rules(recording: Callable[..., Recording], processors: types.ModuleType) -> None:
    """What the function's own processor takes is its own affair."""

    def slow(logger: object, name: str, event: Record) -> Record:
        begun_s = time.thread_time()
        while time.thread_time() - begun_s < 0.3:
            pass
        return event

    processors.slow = slow  # type: ignore[attr-defined]
    made = recording(
        SUMO_MASK_PATTERNS="hunter2", SUMO_EXCLUDE="probe", SUMO_PROCESSORS="shop_logs.slow", SUMO_RULES_MAX_MS="250"
    )
    made.log.info("x" * 20_000 + "hunter2")
    (record,) = made.records()
    assert record["message"].endswith("x***")


def test_what_is_shown_of_a_withheld_record_is_masked(
    recording: Callable[..., Recording], processors: types.ModuleType
) -> None:
    """A logger's name, an exception's, the level and logger of a line of JSON are as anybody has named them."""
    processors.broken = lambda logger, name, event: event["missing"]  # type: ignore[attr-defined]
    made = recording(SUMO_PROCESSORS="shop_logs.broken", SUMO_MASK_PATTERNS="hunter2")
    made.log.name = "orders.hunter2"
    try:
        raise type("Of_hunter2", (Exception,), {})
    except Exception:
        made.log.exception("no")
    made.recorder.written('{"level":"hunter2","logger":"of hunter2","text":"hunter2"}\n', STDOUT)
    made.recorder.written('{"level":"error","logger":"shop"}\n', STDOUT)
    shown = [[record.get(name) for name in ("level", "logger", "errorType")] for record in made.records()]

    assert shown == [["ERROR", "orders.***", "Of_***"], [None, "of ***", None], ["ERROR", "shop", None]]
    assert b"hunter2" not in made.raw()


def test_no_instant_is_without_rules(recording: Callable[..., Recording]) -> None:
    """Another thread may log at any instruction of the change from one invocation to the next."""
    made = recording(SUMO_MASK_PATTERNS="hunter2")
    inside = (Recorder.enter_invocation.__code__, Sampling.begin.__code__)

    def log(frame: FrameType, *_: object) -> Any:
        if frame.f_code in inside:
            made.log.info("hunter2")
            return log
        return None

    sys.settrace(log)
    try:
        made.recorder.enter_invocation("id-2")
    finally:
        sys.settrace(None)
    messages = [record["message"] for record in made.records()]

    assert len(messages) > 10 and all(MASK in message for message in messages) and b"hunter2" not in made.raw()


def test_counts_say_what_was_asked_for(recording: Callable[..., Recording], processors: types.ModuleType) -> None:
    """Excluded, dropped and withheld are counted apart, in lines and in bytes of what has not left."""

    def drop(logger: object, name: str, event: Record) -> Record:
        raise structlog.DropEvent

    def broken(logger: object, name: str, event: Record) -> Record:
        if event["event"] == "ünfit":
            raise KeyError
        return event

    processors.drop, processors.broken = drop, broken  # type: ignore[attr-defined]
    made = recording(SUMO_PROCESSORS="shop_logs.broken,shop_logs.drop", SUMO_EXCLUDE="probe")
    made.recorder.written("probe\nprobe\nline\nünfit\n", STDOUT)

    assert [record["message"] for record in made.records()] == [MASK]
    assert made.spool.counters.counts() == {"excluded": (2, 10), "dropped": (1, 4), "withheld": (1, 6)}


def test_sampling_knows_every_level(recording: Callable[..., Recording]) -> None:
    """WARNING and above go out at once, whatever a line of JSON or a print calls it."""
    made = recording(SUMO_SAMPLE="0")
    lines = ['{"level":"warn"}', '{"level":"Error"}', '{"level":"fatal"}', "[CRITICAL]\tx", '{"level":"info"}', "plain"]
    lines += ['{"severity":"ALERT"}', '{"lvl":"err"}', '{"log":{"level":"warning"}}', '{"level":50}', "[WARN]\tx"]
    made.recorder.written("\n".join(lines) + "\n", STDOUT)
    made.log.info("logged")
    made.log.error("logged")
    assert len(made.records()) == 10

    made.recorder.leave_invocation()
    before, size_bytes = made.spool.counters.counts()["sampledOut"]
    made.recorder.written("late\n", STDOUT)
    assert made.records() == [] and before == 3
    late_bytes = made.spool.counters.counts()["sampledOut"][1] - size_bytes
    made.recorder.written("sp\u00e4t\n", STDOUT)
    assert made.spool.counters.counts()["sampledOut"] == (5, size_bytes + 2 * late_bytes + 1)


@pytest.mark.parametrize("more", [{}, {"SUMO_MASK_KEYS": "password"}, {"SUMO_PROCESSORS": "shop_logs.broken"}])
def test_lines_below_a_level_are_counted(
    recording: Callable[..., Recording], processors: types.ModuleType, more: dict[str, str]
) -> None:
    """By the level that a record has, or that a printed object names; one without a level is INFO. A message that is
    withheld has its level, too: a loop of DEBUG lines costs as much without its messages."""
    processors.broken = lambda logger, name, event: event["missing"]  # type: ignore[attr-defined]
    made = recording(SUMO_LEVEL="WARNING", **more)
    made.log.debug("no")
    made.log.info("no")
    made.log.warning("yes")
    lines = ['{"level":"debug"}', '{"level":"error"}', '{"severity":"ERROR"}', "plain", "[ERROR]\tx", "[INFO]\tx"]
    made.recorder.written("\n".join(lines) + "\n", STDOUT)

    assert len(made.records()) == 4 - ("SUMO_PROCESSORS" in more)  # a prefix is a part of the message
    counts = {reason: lines for reason, (lines, _) in made.spool.counters.counts().items()}
    assert counts == ({"withheld": 3, "belowLevel": 6} if "SUMO_PROCESSORS" in more else {"belowLevel": 5})


@pytest.mark.parametrize("text", ["x" * 900, "\u6f22" * 300], ids=["ASCII", "three bytes a character"])
def test_an_hour_has_a_bound(
    text: str, recording: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Beyond it only WARNING and above go out, until the hour is over; the next one may say so again.

    Guards against a megabyte of characters, which is three of them at Sumo Logic.
    """
    made = recording(SUMO_MAX_MB_PER_HOUR="0.01")
    for _ in range(2):
        for _ in range(30):
            made.log.info(text)
        made.log.info("short")
        made.log.warning("warned")
        assert [record["level"] for record in made.records()] == ["INFO"] * 9 + ["WARNING"]
        later_s = time.time() + cap.HOUR_S
        monkeypatch.setattr(cap, "time", types.SimpleNamespace(time=lambda at=later_s: at, **PLAIN_TIME))

    lines, size_bytes = made.spool.counters.counts()["capped"]
    assert lines == 2 * 22 and 2 * 21 * 900 < size_bytes < 2 * 22 * 1_400
    said = capfd.readouterr().err
    assert said.count("SUMO_MAX_MB_PER_HOUR: 0.01 MB were logged; until ") == 2


def test_what_is_not_shipped_has_no_part_in_the_bound(recording: Callable[..., Recording]) -> None:
    """Lines that wait for the end of an invocation, and are forgotten, cost nothing."""
    made = recording(SUMO_MAX_MB_PER_HOUR="0.01", SUMO_SAMPLE="0")
    for _ in range(30):
        made.log.info("x" * 900)
    made.recorder.leave_invocation()
    made.recorder.enter_invocation(None)
    made.log.info("init")
    assert len(made.records()) == 1 and "capped" not in made.spool.counters.counts()


RECIPES = {
    "EMF": json.dumps({"_aws": {"Timestamp": 1, "CloudWatchMetrics": [{"Namespace": "n"}]}, "orders": 1}),
    "EMF, printed by Powertools": '{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n"}]},"orders":[1.0]}',
    "New Relic": '[1,"NR_LAMBDA_MONITORING","H4sIAAAA"]',
    "New Relic 2": '[2, "NR_LAMBDA_MONITORING", {"protocol_version": 16}, "H4sIAAAA"]',
    "Datadog's traces": '{"traces":[[{"trace_id":"1"}]]}',
    "Datadog's traces, by json": '{"traces": [[{"trace_id": "1"}]]}\n',
    "Datadog's metrics": '{"m": "aws.lambda.enhanced.invocations", "v": 1, "e": 1700000000, "t": ["a:b"]}',
}


@pytest.mark.parametrize("line", RECIPES)
def test_the_pages_recipe_keeps_other_vendors_lines_out(recording: Callable[..., Recording], line: str) -> None:
    """And nothing else that has such words in it."""
    (recipe,) = re.findall(r"^SUMO_EXCLUDE=(\[.*\])$", (ROOT / "docs/processing.md").read_text(), re.MULTILINE)
    made = recording(SUMO_EXCLUDE=recipe)
    kept = ['{"traces":"none"}', "saw NR_LAMBDA_MONITORING", '{"m":"hello","v":"w"}', '{"_aws":"no"}']
    made.recorder.written("\n".join([RECIPES[line].rstrip("\n"), *kept]) + "\n", STDOUT)
    assert [json.dumps(record["message"]) for record in made.records()] == [
        json.dumps(json.loads(text)) if text[0] == "{" else json.dumps(text) for text in kept
    ]
    assert made.spool.counters.counts()["excluded"][0] == 1


EVENT = {"headers": {"Authorization": "Bearer a1"}, "multiValueHeaders": {"authorization": ["Bearer a1"]}}


@pytest.mark.parametrize(
    "pieces",
    [
        [json.dumps(EVENT, indent=2)],
        ["{'password': 'Bearer a1'}\nlogin with Bearer a1\n"],
        ["{'password': 'Bearer a1'}\nlogin with Bearer a1"],
        ["first Bearer a1\nthen {'password': 'Bearer a1'}"],
        ["{'password': 'Bearer a1'}", " ", "\nlogin\nwith Bearer a1"],
        ["{'password': 'Bearer a1'}\nlogin", " with", " Bearer a1"],
        ["headers 'authorization':\n  'Bearer a1'"],
        ["{'password': 'Bearer a1'}\n{\n 'copy': 'Bearer a1'", "\n}"],
    ],
    ids=lambda pieces: "".join(pieces)[:60],
)
@pytest.mark.parametrize("end", ["a line end", "a print's line end", "the end of the invocation"])
def test_what_a_key_hides_is_hidden_in_all_lines_of_a_write(
    recording: Callable[..., Recording], pieces: list[str], end: str
) -> None:
    """An event that is printed with line breaks has its headers a second time, on lines without their key; and the last
    line of a print gets its end by another write."""
    made = recording(SUMO_MASK_KEYS="authorization,password", SUMO_EXCLUDE="nothing")
    written = made.pipeline.hearing(made.recorder.written, made.recorder.begun)
    *begun, last = pieces
    for piece in [*begun, last + "\n"] if end == "a line end" else [*pieces, "\n"] if "print" in end else pieces:
        written(piece, STDOUT)
    made.recorder.leave_invocation()
    written("another Bearer a1\n", STDOUT)

    *whole, other = made.records()
    # Without the id, whose hexadecimal digits are drawn: they have an "a1" now and then.
    shown = json.dumps([{name: value for name, value in record.items() if name != "id"} for record in whole])
    assert whole and "a1" not in shown and MASK in shown
    assert other["message"] == "another Bearer a1"


LAID_OUT = {"headers": {"Authorization": ["Bearer " + "a" * 30 + "hunter2", "b" * 30 + "hunter2"]}, "path": "/orders"}
IN_PIECES: dict[str, Callable[[Any], object]] = {
    "json.dump": lambda stream: json.dump(LAID_OUT, stream, indent=2),
    "pprint": lambda stream: pprint.pprint(LAID_OUT, stream, width=40),
    "pprint of bytes": lambda stream: pprint.pprint([(b"authorization", b"a b " * 30 + b"hunter2")], stream, width=40),
    "a list of texts": lambda stream: pprint.pprint({"authorization": ["a " * 30 + "hunter2"] * 2}, stream, width=40),
    "seven characters at a time": lambda stream: [
        stream.write(text) for text in re.findall("(?s).{1,7}", json.dumps(LAID_OUT, indent=2))
    ],
    "line by line": lambda stream: [stream.write(f"{line}\n") for line in json.dumps(LAID_OUT, indent=2).split("\n")],
}


@pytest.mark.parametrize("multiline", ["join", "split"])
@pytest.mark.parametrize("before", ["", "the event: ", "> "])
@pytest.mark.parametrize("way", IN_PIECES)
def test_what_is_laid_out_in_pieces_is_hidden_line_by_line(
    recording: Callable[..., Recording], way: str, before: str, multiline: str
) -> None:
    """Behind a text such a value is no record of its own, and no single write: the key is on an earlier line. What
    comes after the value is as it is."""
    made = recording(SUMO_MASK_KEYS="authorization", SUMO_MULTILINE=multiline)
    hear = made.pipeline.hearing(made.recorder.written, made.recorder.begun)
    stream = types.SimpleNamespace(write=lambda text: hear(text, STDOUT))
    hear(before, STDOUT)
    IN_PIECES[way](stream)
    hear("\n", STDOUT)
    hear("  behind it\n", STDOUT)
    made.recorder.flush()
    records = made.records()
    assert "hunter2" not in json.dumps(records)
    assert records[-1]["message"] == "  behind it" and MASK in json.dumps(records)


def test_what_a_thread_has_not_ended_is_hidden_at_the_end_of_the_invocation(
    recording: Callable[..., Recording],
) -> None:
    """By whichever thread its last line is recorded then; a thread's next line is one of its own."""
    made = recording(SUMO_MASK_KEYS="password")
    written = made.pipeline.hearing(made.recorder.written, made.recorder.begun)
    thread = threading.Thread(target=written, args=("{'password': 'Bearer a1'}\nlogin with Bearer a1", STDOUT))
    thread.start()
    thread.join()
    made.recorder.leave_invocation()
    written("another Bearer a1\n", STDOUT)

    assert [record["message"] for record in made.records()] == [
        "{'password': '***'}",
        "login with ***",
        "another Bearer a1",
    ]
    assert not made.pipeline._unended


@pytest.mark.parametrize("first", ["", "a line\n", "{"], ids=["line ends first", "behind a line", "in a value"])
def test_who_writes_line_ends_first_keeps_nothing_of_the_lines_before(
    recording: Callable[..., Recording], first: str
) -> None:
    """What keys hide was kept of each such write until a line end came last: a search for all of it in each line.

    A line has what keys hide in the write that has begun it and in those that have gone on with it; a value of several
    lines in all of its writes.
    """
    made = recording(SUMO_MASK_KEYS="password", SUMO_RULES_MAX_MS="1000")
    written = made.pipeline.hearing(made.recorder.written, made.recorder.begun)
    indent, count = (" " if first == "{" else ""), 300
    if first:
        written(first, STDOUT)
    for number in range(count):
        written(f"\n{indent}{number:03d} {{'password': 'Bearer {number:04d}'}}", STDOUT)
        most = max(len(hidden or ()) for hidden in [*made.pipeline._unended.values(), ()])
        assert most <= (2 * (number + 2) if indent else 5)
    written(" of Bearer 0299, not Bearer 0000", STDOUT)
    written("\n}\n" if indent else "\n", STDOUT)

    messages = [str(record["message"]) for record in made.records()]
    if indent:
        assert "Bearer" not in "".join(messages)
    else:
        assert messages[-1] == "299 {'password': '***'} of ***, not Bearer 0000"
        assert len(messages) == count + (first != "")
    assert not made.pipeline._unended


def test_what_had_to_wait_for_room_is_one_write_as_well(recording: Callable[..., Recording]) -> None:
    """At the end of the function's stack a text waits for the next one; its lines are together all the same."""
    made = recording(SUMO_MASK_KEYS="password")
    text = "{'password': 'Bearer a1'}\nlogin with Bearer a1\n"
    too_deep[threading.get_ident()] = [(1e9, text, STDOUT, None)]

    made.pipeline.hearing(made.recorder.written)("the next\n", STDOUT)

    assert [record["message"] for record in made.records()] == ["{'password': '***'}", "login with ***", "the next"]
    assert not too_deep


def test_a_write_that_takes_too_long_is_withheld(recording: Callable[..., Recording]) -> None:
    """What its keys hide is not known then."""
    made = recording(SUMO_MASK_KEYS="password", SUMO_RULES_MAX_MS="1")
    written = made.pipeline.hearing(made.recorder.written)
    written("line one\nx " + "{'password':\"" * 60_000 + "\n", STDOUT)
    assert {record["message"] for record in made.records()} == {MASK}
    written("line two\n", STDOUT)
    assert [record["message"] for record in made.records()] == ["line two"]


def test_a_failing_invocation_goes_out(recording: Callable[..., Recording]) -> None:
    """All of it: what was held, what follows, and nothing of the next one."""
    made = recording(SUMO_SAMPLE="0")
    made.log.info("before")
    made.pipeline.fail_invocation()
    made.log.info("after")
    made.recorder.leave_invocation()
    made.recorder.enter_invocation("next")
    made.log.info("next")
    made.recorder.leave_invocation()

    assert [record["message"].rpartition("\t")[2] for record in made.records()] == ["before", "after"]


def test_lines_without_a_request_go_out(recording: Callable[..., Recording]) -> None:
    """The init phase belongs to no invocation."""
    made = recording(SUMO_SAMPLE="0")
    made.recorder.enter_invocation(None)
    made.log.info("init")
    assert len(made.records()) == 1


def test_without_settings_nothing_of_it_is_there() -> None:
    """Nothing of this is imported, nor on the way of a line, when no setting asks for it."""
    settings, _ = read({})
    assert not config.is_processed(settings)
    script = (
        "import sys, sumo_internal.wiring\nprint([name for name in sys.modules if name.startswith('sumo_internal.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "sumo_internal.capture.recorder" in loaded
    for name in ("processing", "expressions", "api"):
        assert f"'sumo_internal.{name}" not in loaded


DROP_IN = """
import logging, sys
from sumo_internal import SumoHandler

def tag(logger, name, event):
    event["team"] = "shop"
    return event

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
log.addHandler(SumoHandler(processors=[tag] if sys.argv[1] != "late" else []))
if sys.argv[1] == "late":
    log.addHandler(SumoHandler(processors=[tag]))
if sys.argv[1] == "broken":
    log.addHandler(SumoHandler(processors=[5]))
log.info("line", extra={"password": "hunter2"})
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("", ""),
        (
            "late",
            "a SumoHandler with processors ships nothing, because an earlier one was made without, and its processors",
        ),
        ("broken", "int cannot be called with an event"),
    ],
)
def test_the_drop_ins_processors(tmp_path: Path, how: str, said: str) -> None:
    """Records of a SumoHandler pass its processors, and the settings' masks behind them."""
    variables = {
        "SUMO_HTTP_ENDPOINT": "http://127.0.0.1:9/x",
        "SUMO_SPOOL_DIR": f"{tmp_path}/spool",
        "SUMO_NUM_RETRIES": "0",
        "SUMO_FLUSH_MAX_AGE_S": "0.1",
        **({"SUMO_MASK_KEYS": "password"} if how != "late" else {}),
    }
    ended = subprocess.run(
        [sys.executable, "-c", DROP_IN, how],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    records = []
    reader = SpoolReader(variables["SUMO_SPOOL_DIR"])
    for piece in reader.take(SEGMENT_BYTES):
        records += [json.loads(line) for line in bytes(piece.data()).splitlines()]
    records = [record for record in records if record["type"] == "function"]

    assert said in ended.stderr
    if how == "late":
        assert [record.get("team") for record in records] == [None]
    elif how == "broken":
        assert [(record["message"], "password" in record) for record in records] == [(MASK, False)] * 2
    else:
        (record,) = records
        assert (record["team"], record["password"]) == ("shop", MASK) and "hunter2" not in json.dumps(record)


def test_guard_is_strict_here() -> None:
    """What the recorder swallows in production would have failed these tests."""
    assert diagnostics.IS_STRICT


def test_keys_of_ours_stand_in_an_object_once(recording: Callable[..., Recording]) -> None:
    """A field of the user's that has the name of one comes under another; a query for ``withheld`` finds ours."""
    made = recording(SUMO_SAMPLE="0.999999", SUMO_MASK_KEYS="card")
    made.recorder.enter_invocation("r-1")
    made.log.info("paid", extra={"sampleRate": 1, "withheld": "no", "accounting": 2, "card": 3})
    raw = made.raw()
    line = raw[raw.index(b'{"time"') :].partition(b"\n")[0]
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=lambda pairs: pairs)
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    assert {"sampleRate", "extra_sampleRate", "extra_withheld", "extra_accounting"} <= set(names)
