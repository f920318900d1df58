"""SUMO_DEBUG_ON_FAILURE: what the function does not show is there when its invocation fails, and only then."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtimes import Runtime, runtimes
from spool_functions import taken
from sumo_source import Fault, SumoSource
from test_capture import FORMATS
from test_cloudwatch import FEW, own
from test_main_path import said
from test_outage_path import accounts, fill, needs_small_tmp
from test_processing_path import Record, environment, function_records
from test_summary import summaries

from sumo_internal.capture.endings import Endings, is_5xx
from sumo_internal.capture.flight import Flight, Levels, follow
from sumo_internal.capture.recorder import Recorder
from sumo_internal.spool.held import DEBUG_SEGMENT_BYTES
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

APP = """
import json, logging, os, signal, sys, time
import sumo_internal

log = logging.getLogger("orders.db")
logging.getLogger("orders").setLevel(logging.INFO)
log.debug("loading")
log.info("loaded")


def handler(event, context):
    answer = None
    for step in event:
        answer = STEPS[step]() or answer
    return answer


def lines():
    log.debug("before %d", 1, extra={"password": "hunter2", "order": 17})
    log.info("shown")
    log.debug("after, card 4111111111111111")
    logging.getLogger("botocore").debug("credentials")
    logging.getLogger("other").debug("another's")


def fail():
    raise KeyError("price")


def caught():
    try:
        fail()
    except KeyError:
        log.debug("it failed", exc_info=True)


def later():
    logging.getLogger("orders").setLevel(logging.WARNING)
    log.info("below by now")


def told():
    other = logging.getLogger("x")
    return [log.isEnabledFor(logging.DEBUG), log.getEffectiveLevel(), other.isEnabledFor(logging.DEBUG)]


STEPS = {
    "lines": lines,
    "fail": fail,
    "caught": caught,
    "later": later,
    "told": told,
    "misfit": lambda: log.debug("%d", "no number"),
    "500": lambda: {"statusCode": 502, "body": "{}"},
    "200": lambda: {"statusCode": 200, "body": json.dumps({"statusCode": 500})},
    "keep": lambda: {"kept": sumo_internal.keep_debug()},
    "many": lambda: [log.debug("line %d %s", number, "x" * 200) for number in range(20000)] and None,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: sys.exit(3),
    "sleep": lambda: time.sleep(60),
    "allocate": lambda: len(b"x" * (300 << 20)) and None,
    "slow": lambda: time.sleep(0.3),
    "fork": lambda: os.fork() or (log.debug("of a child"), os._exit(0)),
}
"""
DEBUG = {"SUMO_DEBUG_ON_FAILURE": "orders"}
each_format = pytest.mark.parametrize("form", FORMATS)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def text(record: Record) -> str:
    message = record["message"]
    return str(message.get("message") if isinstance(message, dict) else message.rpartition("\t")[2])


def held(source: SumoSource) -> list[Record]:
    return sorted((each for each in function_records(source) if each.get("held")), key=lambda each: each["id"])


ENDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "exception": (["fail"], {}),
    "timeout": (["sleep"], {}),
    "kill": (["kill"], {}),
    "exit": (["exit"], {}),
    "5xx": (["500"], {"SUMO_FAILURE_5XX": "true"}),
    "slow": (["slow"], {"SUMO_DEBUG_SLOWER_MS": "200"}),
    "kept": (["keep"], {}),
}


def form_of(form: str) -> dict[str, Any]:
    """A form in which the function shows INFO and above."""
    options = dict(FORMATS[form])
    if "log_level" in options:
        options["log_level"] = "INFO"
    return options


@each_format
@pytest.mark.parametrize("end", ENDS)
def test_lines_of_what_fails_are_there(source: SumoSource, layer_folder: Path, task: Path, end: str, form: str) -> None:
    """By whatever it fails; with their fields and ids in order; what succeeds leaves none, CloudWatch has none."""
    steps, variables = ENDS[end]
    with environment(source, layer_folder, task, variables={**DEBUG, **variables}, timeout_s=2, **form_of(form)) as env:
        assert env.start().error is None
        env.invoke(["lines", "200"])
        failed = env.invoke(["lines", *steps])
        env.invoke(["lines"])
        env.shutdown()
        written = "".join(own(env.cloudwatch))
        assert said(env) == []

    records = held(source)
    assert [text(record) for record in records] == ["before 1", "after, card 4111111111111111"]
    assert {(record["requestID"], record["level"], record["logger"]) for record in records} == {
        (failed.request_id, "DEBUG", "orders.db")
    }
    assert records[0]["order"] == 17
    (shown,) = [
        each
        for each in function_records(source)
        if each.get("requestID") == failed.request_id and text(each) == "shown"
    ]
    writer = shown["id"].rpartition("-")[0]
    assert {record["id"].rpartition("-")[0] for record in records} == {writer}
    assert records[0]["id"] < shown["id"] < records[1]["id"]
    assert "before" not in written and written.count("shown") == 3
    if "json" in form:
        assert records[0]["message"]["level"] == "DEBUG" and records[0]["message"]["requestId"] == failed.request_id
    else:
        assert records[0]["message"].startswith(f"[DEBUG]\t{records[0]['time']}\t{failed.request_id}\t")


def test_lines_of_what_runs_out_of_memory_are_there(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """The kernel ends the process in the middle of anything."""
    options: dict[str, Any] = {"memory_mb": 128, "memory_limited": True, "timeout_s": 10}
    with environment(source, layer_folder, task, variables=DEBUG, **options) as env:
        if "memory" in env.missing:
            pytest.skip(env.missing["memory"])
        env.start()
        env.invoke(["lines"])
        failed = env.invoke(["lines", "allocate"])
        assert failed.error is not None and failed.error.error_type == "Runtime.OutOfMemory"
        env.shutdown()
    assert [text(record) for record in held(source)] == ["before 1", "after, card 4111111111111111"]
    assert {record["requestID"] for record in held(source)} == {failed.request_id}


@pytest.mark.parametrize("runtime", runtimes([2, 4]), ids=lambda runtime: runtime.id)
def test_each_python_holds_and_shows(source: SumoSource, layer_folder: Path, task: Path, runtime: Runtime) -> None:
    """``logging`` is not the same in all versions: levels, a later one, a traceback, a misfit."""
    with environment(source, layer_folder, task, runtime, variables=DEBUG, timeout_s=10) as env:
        env.start()
        assert env.invoke(["told"]).payload == [True, 10, False]
        env.invoke(["lines", "caught", "misfit", "later", "fail"])
        env.shutdown()
        assert said(env) == [] and "Logging error" not in "".join(own(env.cloudwatch))
    records = held(source)
    assert [text(record).partition("\n")[0] for record in records] == [
        *("before 1", "after, card 4111111111111111", "it failed", "%d", "below by now")
    ]
    assert records[2]["errorType"] == "KeyError" and "in fail" in records[2]["message"]
    assert records[4]["level"] == "INFO"


def test_masks_sampling_and_exclusion(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """Rules run before a line is held; one store frees the other, and the lines stand for no others then."""
    variables = {
        **DEBUG,
        "SUMO_SAMPLE": "0",
        "SUMO_MASK_KEYS": "password",
        "SUMO_MASK_PATTERNS": r"\d{16}",
        "SUMO_EXCLUDE": "another|before 2",
        "SUMO_LEVEL": "INFO",
        "SUMO_INVOCATION_SUMMARY": "true",
        "SUMO_FLUSH": "next",
    }
    with environment(source, layer_folder, task, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke(["lines"])
        spooled = b"".join(path.read_bytes() for path in (env.tmp / "sumo-internal").glob("*.debug"))
        assert b"4111111111111111" not in spooled and b"hunter2" not in spooled
        kept = env.invoke(["lines", "keep"])
        assert kept.payload == {"kept": True}
        assert env.invoke(["keep"]).payload == {"kept": False}
        env.shutdown()
    records = [each for each in function_records(source) if each.get("requestID") == kept.request_id]
    assert {text(each) for each in records} == {"before 1", "shown", "after, card ***"}
    assert not [each for each in records if "sampleRate" in each]
    assert [each.get("password") for each in held(source)] == ["***", None]
    assert [each["held"] for each in summaries(source)] == [3, 3, 0]


@pytest.mark.parametrize("end", ["5xx", "slow"])
def test_what_frees_one_store_frees_both(source: SumoSource, layer_folder: Path, task: Path, end: str) -> None:
    """An answer of 5xx, where it counts as a failure, and slowness: sampled-out lines go out too, and stand for
    themselves alone."""
    steps, variables = ENDS[end]
    with environment(
        source, layer_folder, task, variables={**DEBUG, "SUMO_SAMPLE": "0", **variables}, timeout_s=10
    ) as env:
        env.start()
        env.invoke(["lines", "200"])
        failed = env.invoke(["lines", *steps])
        env.shutdown()
    records = [each for each in function_records(source) if each.get("requestID")]
    assert {each["requestID"] for each in records} == {failed.request_id}
    assert [text(each) for each in sorted(records, key=lambda each: each["id"])] == [
        *("before 1", "shown", "after, card 4111111111111111")
    ]
    assert not [each for each in records if "sampleRate" in each]


TOGETHER = {
    **DEBUG,
    "SUMO_CLOUDWATCH": "none",
    "SUMO_INVOCATION_SUMMARY": "true",
    "SUMO_SAMPLE": "0",
    "SUMO_MASK_KEYS": "password",
    "SUMO_MASK_PATTERNS": r"\d{16}",
    "SUMO_EXCLUDE": "below by now",
    "SUMO_PROCESSORS": "app.mark",
}
MARKING = """

def mark(logger, name, event):
    return {**event, "marked": True}
"""


@each_format
@pytest.mark.parametrize(("end", "outcome"), [("fail", "error"), ("kill", "killed"), ("sleep", "timeout")])
def test_all_of_it_together(
    source: SumoSource, layer_folder: Path, task: Path, end: str, outcome: str, form: str
) -> None:
    """Sampling, masks, exclusion and a processor, with CloudWatch off: what fails is at Sumo Logic, masked, in order
    and once; what succeeds is nowhere, and counted; CloudWatch has nothing of either."""
    (task / "app.py").write_text(APP + MARKING)
    with environment(source, layer_folder, task, variables=TOGETHER, timeout_s=2, **form_of(form)) as env:
        assert env.start().error is None
        good = env.invoke(["lines", "later"])
        bad = env.invoke(["lines", end])
        env.shutdown()
        written = "".join(own(env.cloudwatch))
    mine = [each for each in function_records(source) if each.get("requestID")]
    assert {each["requestID"] for each in mine} == {bad.request_id}
    texts = [text(each) for each in sorted(mine, key=lambda each: each["id"]) if each.get("logger")]
    assert texts[:3] == ["before 1", "shown", "after, card ***"]
    assert all(each["marked"] for each in mine if each.get("logger")) and held(source)[0]["password"] == "***"
    assert {str(each["requestID"]): each["outcome"] for each in summaries(source)} == {
        good.request_id: "success",
        bad.request_id: outcome,
    }
    assert not [word for word in ("shown", "before", "card", "4111") if word in written]
    assert "4111111111111111" not in json.dumps(source.records) and "hunter2" not in json.dumps(source.records)


@each_format
def test_spared_and_held_lines_are_told_apart(source: SumoSource, layer_folder: Path, task: Path, form: str) -> None:
    """Also when no log record is made of either any more: what is shown and what is not, in one order. What is
    forgotten is nowhere, and counted."""
    variables = {**DEBUG, "SUMO_CLOUDWATCH": "none"}
    with environment(source, layer_folder, task, variables=variables, timeout_s=10, **form_of(form)) as env:
        env.start()
        env.invoke(["lines"] * 20)
        failed = env.invoke(["lines"] * 20 + ["fail"])
        env.shutdown()
        assert len(own(env.cloudwatch)) < FEW and said(env) == []
    mine = [each for each in function_records(source) if each.get("requestID") == failed.request_id]
    told = [(text(each), each.get("held")) for each in sorted(mine, key=lambda each: each["id"])]
    assert told[:60] == [("before 1", True), ("shown", None), ("after, card 4111111111111111", True)] * 20
    assert len([each for each in function_records(source) if text(each) == "shown"]) == 40
    account = [each["accounting"] for each in source.records if each["type"] == "sumo.accounting"][-1]
    assert account["debugUnneeded"]["lines"] == 1 + 40 and account["lost"] == {}


def test_a_line_of_the_init_phase_waits_for_its_end(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """An init that fails has its lines, one that succeeds has not, whatever its first invocation does."""
    with environment(source, layer_folder, task, variables=DEBUG, timeout_s=10) as env:
        env.start()
        env.invoke(["fail"])
        env.shutdown()
    assert held(source) == []
    (task / "app.py").write_text(APP + "\nraise ValueError\n")
    with environment(source, layer_folder, task, variables=DEBUG, timeout_s=10) as env:
        assert env.start().error is not None
        env.shutdown()
    assert {text(each) for each in held(source)} == {"loading"}


def test_the_latest_lines_are_kept_and_the_rest_is_counted(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """SUMO_DEBUG_MAX_MB: the oldest are forgotten; no other line is lost for them."""
    variables = {**DEBUG, "SUMO_DEBUG_MAX_MB": "1", "SUMO_LOG_TYPES": "function"}
    with environment(source, layer_folder, task, variables=variables, timeout_s=20) as env:
        env.start()
        env.invoke(["many", "lines", "fail"])
        env.shutdown()
    records = [each for each in held(source) if text(each).startswith("line")]
    numbers = [int(text(each).split()[1]) for each in records]
    assert 500 < len(numbers) < 5_000 and numbers == list(range(20_000 - len(numbers), 20_000))
    account = accounts(source)[-1]["accounting"]
    assert account["debugForgotten"]["lines"] == 20_000 - len(numbers) and account["lost"] == {}


THINNING = """

def thin(logger, name, event):
    from structlog import DropEvent

    if event["event"].startswith("line") and int(event["event"].split()[1]) % 10 == 0:
        raise DropEvent
    return {**event, "event": event["event"].replace("x" * 200, "y" * 400), "thinned": True}
"""


def test_processors_have_run_before_the_store_is_full(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """What a processor makes of a line is what counts for SUMO_DEBUG_MAX_MB, what it drops has no room there, and the
    latest of the others are kept: each line is at Sumo Logic as processed, dropped or forgotten, and counted so."""
    (task / "app.py").write_text(APP + THINNING)
    variables = {**DEBUG, "SUMO_DEBUG_MAX_MB": "1", "SUMO_LOG_TYPES": "function", "SUMO_PROCESSORS": "app.thin"}
    with environment(source, layer_folder, task, variables=variables, timeout_s=60) as env:
        env.start()
        env.invoke(["many"])
        env.invoke(["many", "fail"])
        env.shutdown()
        assert said(env) == [] and "xxx" not in "".join(own(env.cloudwatch))
    records = held(source)
    numbers = [int(text(each).split()[1]) for each in records]
    assert 500 < len(numbers) < 1_900 and {each["thinned"] for each in records} == {True}
    assert numbers == [number for number in range(20_000) if number % 10][-len(numbers) :]
    assert {text(each).split()[2] for each in records} == {"y" * 400}
    account = [each["accounting"] for each in source.records if each["type"] == "sumo.accounting"][-1]
    assert account["dropped"]["lines"] == 2 * 2_000
    unneeded = account["debugUnneeded"]["lines"]  # what was in the store when the first invocation succeeded
    assert abs(unneeded - len(numbers)) < 600
    # "loading" is one of them: it was forgotten at the end of the init.
    assert account["debugForgotten"]["lines"] == 36_001 - len(numbers) - unneeded and account["lost"] == {}


@needs_small_tmp
def test_on_a_full_disk_they_are_forgotten(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """And counted; what the function shows waits in memory, and none of it is lost for them."""
    options: dict[str, Any] = {"isolated": True, "tmp_size_mb": 3, "timeout_s": 20}
    variables = {**DEBUG, "SUMO_LOG_TYPES": "function"}
    with environment(source, layer_folder, task, variables=variables, **options) as env:
        assert env.start().error is None
        fill(env.tmp)
        env.invoke(["many", "lines", "fail"])
        (env.tmp / "filler").unlink()
        env.invoke(["lines", "fail"])
        env.shutdown()
    shown = [each for each in function_records(source) if text(each) == "shown"]
    assert len(shown) == 2
    came = len(held(source))
    account = accounts(source)[-1]["accounting"]
    assert account["debugForgotten"]["lines"] == 20_004 - came and account["lost"] == {}
    assert [text(each) for each in held(source)][-2:] == ["before 1", "after, card 4111111111111111"]


def test_without_the_wrapper_nothing_happens(source: SumoSource, layer_folder: Path, task: Path) -> None:
    """keep_debug is there and says no: in Telemetry mode, and where the setting is not set."""
    for variables in ({**DEBUG, "AWS_LAMBDA_EXEC_WRAPPER": ""}, {**DEBUG, "SUMO_FUNCTION_LOGS": "telemetry"}, {}):
        with environment(source, layer_folder, task, variables=variables, timeout_s=10) as env:
            env.start()
            assert env.invoke(["lines", "keep"]).payload == {"kept": False}
            assert env.invoke(["told"]).payload == [False, 20, False]
            env.shutdown()
    assert held(source) == []


@pytest.mark.parametrize("status", [403, 503, 400])
def test_no_line_goes_to_cloudwatch(source: SumoSource, layer_folder: Path, task: Path, status: int) -> None:
    """Not by SUMO_CLOUDWATCH's fallback, nor when nobody takes it until SHUTDOWN, nor when it is refused for good; a
    child's is not held."""
    source.default = Fault(status)
    variables = {**DEBUG, "SUMO_CLOUDWATCH": "none", "SUMO_NUM_RETRIES": "0", "SUMO_FLUSH": "end"}
    with environment(source, layer_folder, task, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke([])
        env.invoke(["lines", "fork", "fail"])
        env.shutdown()
        everything = "\n".join(line.text for line in env.cloudwatch)
    assert "shown" in everything and "before" not in everything and "of a child" not in everything


class Holding:
    """A flight recorder in a process of its own, and ``logging`` as it was afterwards."""

    def __init__(self, folder: Path, loggers: str = "orders", max_bytes: int = 4 * DEBUG_SEGMENT_BYTES) -> None:
        self.spool = Spool(str(folder), {}, 10 * SEGMENT_BYTES)
        self.recorder = Recorder(self.spool, {"logStream": "s"})
        self.recorder.endings = Endings()
        named = [(name, 10) for name in loggers.split(",")]
        self.recorder.flight = self.flight = Flight(self.recorder, named, max_bytes, is_json=False)
        self.recorder.endings.on_failure.append(self.flight.free)
        follow(self.flight)
        self.recorder.leave_init()
        self.recorder.enter_invocation("one")

    def messages(self) -> list[str]:
        return [
            json.loads(line)["message"].rpartition("\t")[2]
            for line in taken(SpoolReader(self.spool.folder, self.spool))
        ]


@pytest.fixture
def clean_logging() -> Iterator[None]:
    kind: Any = logging.Logger
    own_level, own_log = kind.getEffectiveLevel, kind._log
    yield
    kind.getEffectiveLevel, kind._log = own_level, own_log
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("clean_logging")
def test_a_call_without_arguments_may_say_so(tmp_path: Path) -> None:
    """``logging`` itself takes None in their place: libraries that call ``_log`` may have it."""
    holding = Holding(tmp_path / "spool", "shop")
    logging.getLogger("shop")._log(logging.DEBUG, "below", None)  # type: ignore[arg-type]  # what this is about
    holding.recorder.endings.fail()  # type: ignore[union-attr]  # set above
    assert holding.messages() == ["below"]


@pytest.mark.usefixtures("clean_logging")
def test_no_handler_gets_what_it_did_not_get(tmp_path: Path) -> None:
    """Levels of loggers and of handlers decide what is shown; all else of a named logger is held, and nothing twice."""
    holding = Holding(tmp_path / "spool", "shop")
    seen: list[str] = []

    class Seeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(f"{record.getMessage()} {record.funcName}")

    logger, handler = logging.getLogger("shop.orders"), Seeing(logging.WARNING)
    logger.propagate = False
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        logger.info("its handler does not take it")
        logger.warning("shown")
        logger.setLevel(logging.ERROR)
        logger.warning("its logger does not let it pass")
        logger.log(5, "below what is recorded")
        logger.addFilter(lambda record: "filtered" not in record.getMessage())
        logger.debug("filtered")
        logging.disable(logging.CRITICAL)
        logger.error("disabled")
        logging.disable(logging.NOTSET)
        holding.recorder.endings.fail()  # type: ignore[union-attr]  # set above
        logger.debug("after it has failed")
        holding.recorder.leave_invocation()
        logger.debug("after the end")
    finally:
        logging.disable(logging.NOTSET)
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.filters.clear()
    assert seen == ["shown test_no_handler_gets_what_it_did_not_get"]
    assert sorted(holding.messages()) == [
        "after it has failed",
        "its handler does not take it",
        "its logger does not let it pass",
    ]


@pytest.mark.usefixtures("clean_logging")
def test_what_succeeds_is_forgotten_although_another_thread_has_the_turn(tmp_path: Path) -> None:
    """Looking at the spool's files takes milliseconds; if the process is frozen then, and killed, lines that are not
    forgotten yet would go out, of an invocation that has succeeded."""
    holding = Holding(tmp_path / "spool", "shop")
    logging.getLogger("shop").debug("not wanted")
    assert holding.flight.has_any
    has_turn = threading.Event()

    def look() -> None:
        has_turn.set()
        time.sleep(0.03)

    looking = threading.Thread(target=holding.spool.run, args=(look,))
    looking.start()
    assert has_turn.wait(10)
    holding.recorder.leave_invocation()
    assert not holding.flight.has_any
    looking.join()


@pytest.mark.usefixtures("clean_logging")
def test_a_line_that_is_not_shown_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes in what nobody has ever logged: without us the level keeps such code from being run. What is shown
    raises as ever; what cannot be held is counted."""
    holding, log = Holding(tmp_path / "spool", "shop"), logging.getLogger("shop")

    class Shapeless:
        def __str__(self) -> str:
            raise ValueError

    def raising(*_: object) -> bool:
        raise ZeroDivisionError

    log.debug("has a name of logging's", extra={"message": 1})
    log.debug("no dict", extra=5)  # type: ignore[arg-type]  # what this is about
    log.debug("no text %s", Shapeless())
    log.debug("no text either %s", Shapeless(), extra={"shape": Shapeless()})
    log.addFilter(raising)
    log.debug("a filter")
    log.removeFilter(raising)
    monkeypatch.setattr(logging, "_logRecordFactory", raising)
    log.debug("a factory")
    monkeypatch.undo()
    with pytest.raises(KeyError, match="overwrite"):
        log.warning("shown", extra={"message": 1})
    holding.recorder.endings.fail()  # type: ignore[union-attr]  # set above
    assert holding.messages() == ["no text %s", "no text either %s"]
    assert holding.spool.counters.counts()["debugForgotten"][0] == 4


@pytest.mark.usefixtures("clean_logging")
def test_a_forked_child_frees_nothing_of_its_parent(tmp_path: Path) -> None:
    """``keep_debug`` in a child: the lines are the parent's, who writes to their files and knows how the invocation
    ends. Guards against a child that renames these under it."""
    holding, log = Holding(tmp_path / "spool", "shop"), logging.getLogger("shop")
    log.debug("before the fork")
    if not (pid := os.fork()):
        has_any = holding.flight.has_any
        holding.recorder.endings.free()  # type: ignore[union-attr]  # set above
        log.debug("of the child")
        holding.flight.end()
        os._exit(has_any)
    assert os.waitpid(pid, 0)[1] == 0, "the child has nothing to keep"
    log.debug("after it")
    holding.recorder.leave_invocation()
    holding.recorder.enter_invocation("two")
    log.debug("of the next one")
    assert holding.messages() == []
    holding.recorder.endings.fail()  # type: ignore[union-attr]
    assert holding.messages() == ["of the next one"]


def test_which_logger_is_recorded_from_which_level() -> None:
    """The nearest name counts; a star leaves out what logs credentials, unless that is named."""
    levels = Levels([("*", 10), ("orders", 20), ("orders.db", 5), ("botocore.retries", 10)])
    assert [levels.of(name) for name in ("x", "root", "orders", "orders.api", "orders.db.sql")] == [10, 10, 20, 20, 5]
    assert levels.of("botocore.retries.standard") == 10
    assert {levels.of(name) > 100 for name in ("botocore", "botocore.auth", "boto3", "urllib3.connectionpool")} == {
        True
    }
    assert Levels([("orders", 10)]).of("ordersx") > 100
    assert Levels([("*", 10)]).of(17) > 100  # type: ignore[arg-type]  # the function may call a logger anything


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"statusCode": 500}', True),
        ('{"statusCode": "503", "body": ""}', True),
        (b'{"statusCode":599}', True),
        ('{"statusCode": 499}', False),
        ('{"statusCode": 5000}', False),
        ('{"body": {"statusCode": 500}}', False),
        ('{"body": "\\"statusCode\\": 500"}', False),
        ('[{"statusCode": 500}]', False),
        ('{"statusCode": 500', False),
        (None, False),
    ],
)
def test_which_answers_are_failures(answer: object, expected: bool) -> None:
    """Only an object's own statusCode; nothing that is no answer raises."""
    assert is_5xx(answer) is expected
