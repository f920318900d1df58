"""Where handlers give way to other greenlets (gevent), each text is recorded as what it is of.

A thread then is in the middle of several log records at once, and they do not end in the order in which they began.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from packages import package
from runtimes import runtimes
from test_joint_rendering import Servers

MODES = ("bare", "layer", "spared", "falling back", "flight")
LOCAL = [runtime for runtime in runtimes([4]) if runtime.version == sys.version_info[:2]]
"""With the interpreter for which the package is installed."""

PRELUDE = f"""
import logging, sys, traceback
sys.path.append({str(package("greenlet==3.5.6"))!r})
from greenlet import getcurrent, greenlet

class Sends(logging.Handler):
    def emit(self, record):
        print("begun", record.getMessage())
        hub.switch()
        print("done", record.getMessage())

class SendsInHandle(Sends):
    def handle(self, record):
        self.emit(record)

class SendsPieces(Sends):
    def emit(self, record):
        sys.stdout.write("piece ")
        hub.switch()
        print("done", record.getMessage())

def logger(name, kind):
    made = logging.getLogger(name)
    made.addHandler(kind())
    made.propagate = False
    return made

def report(name):
    try:
        raise LookupError(name)
    except LookupError:
        traceback.print_exc(file=Reports())

class Reports:
    def write(self, text):
        if "LookupError" in text:
            hub.switch()
        sys.stderr.write(text)

hub = getcurrent()
"""


@pytest.fixture(scope="module", params=LOCAL, ids=lambda runtime: runtime.id)
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    with Servers(request.param, "TEXT", MODES) as started:
        yield started


def interleaved(servers: Servers, kind: str) -> dict[str, dict[str, list[tuple[object, object]]]]:
    """By mode and text, level and logger of its records: two greenlets that log, and the thread's own in between."""
    program = f"""
one, two = (greenlet(lambda name=name: logger(name, {kind}).error(name)) for name in ("one", "two"))
one.switch(); two.switch()
print("between"); logging.getLogger("orders").warning("between")
one.switch(); two.switch()
print("after")
"""
    answers = servers.ask({"program": [PRELUDE, program, "print('later')"]})
    bare = answers.pop("bare")
    found: dict[str, dict[str, list[tuple[object, object]]]] = {}
    for mode, answer in answers.items():
        assert [step["error"] for step in answer["steps"]] == ["", "", ""], mode
        if mode != "spared":
            texts = ["".join(step["stdout"] for step in steps["steps"]) for steps in (bare, answer)]
            assert texts[0].split() == texts[1].split() or mode == "falling back", mode
        of_text = found.setdefault(mode, {})
        for line in answer["records"]:
            record = json.loads(f"{line}}}")
            text = record["message"].split("\t")[-1]
            of_text.setdefault(text, []).append((record.get("level"), record.get("logger")))
    return found


@pytest.mark.parametrize("kind", ["Sends", "SendsInHandle"])
def test_what_handlers_print_is_of_their_own_log_records(servers: Servers, kind: str) -> None:
    """What is printed meanwhile, and behind, is of none."""
    for mode, of_text in interleaved(servers, kind).items():
        own = {f"{what} {name}": [("ERROR", name)] for what in ("begun", "done") for name in ("one", "two")}
        others = {"between": [(None, None), ("WARNING", "orders")], "after": [(None, None)], "later": [(None, None)]}
        assert of_text == {**own, **others}, mode


def test_a_line_in_pieces_is_one_record(servers: Servers) -> None:
    """Of each log record, although another has written in between."""
    for mode, of_text in interleaved(servers, "SendsPieces").items():
        own = {f"piece done {name}": [("ERROR", name)] for name in ("one", "two")}
        others = {"between": [(None, None), ("WARNING", "orders")], "after": [(None, None)], "later": [(None, None)]}
        assert of_text == {**own, **others}, mode


def test_reports_are_their_own(servers: Servers) -> None:
    """Two tracebacks at once; what is printed in between belongs to neither."""
    program = """
one, two = (greenlet(lambda name=name: report(name)) for name in ("one", "two"))
one.switch(); two.switch(); print("between"); one.switch(); two.switch(); print("after")
"""
    answers = servers.ask({"program": [PRELUDE, program]})
    for mode in MODES[1:]:
        messages = [json.loads(f"{line}}}")["message"] for line in answers[mode]["records"]]
        assert [message for message in messages if message in ("between", "after")] == ["between", "after"], mode
        reports = [message for message in messages if "Traceback" in message]
        assert [report.split("LookupError: ")[-1] for report in reports] == ["one", "two"], (mode, messages)
