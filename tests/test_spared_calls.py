"""A log call is written and recorded without a log record of the library's, or with one: what CloudWatch gets is the
same. So it is with SUMO_CLOUDWATCH, which spares the line, or not."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtimes import Runtime, runtimes, typical
from test_joint_rendering import ARGUMENTS, PIECES, SPECS, Servers, Spec, servers
from test_joint_rendering import form as form  # a fixture

from sumo_internal.capture.sparing import SparingSink

MODES = ("bare", "layer", "spared", "falling back")
WRITING = ("layer", "falling back")
"""What writes each line, with us."""
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


each, one = servers(runtimes([2, 4]), MODES), servers([typical()], MODES)


def same(answers: dict[str, dict[str, Any]], *, is_call: bool = False) -> dict[str, dict[str, Any]]:
    """What is written with the layer, or while nobody takes lines, is what is written without us; the record is the
    same in each; what is spared is recorded, and nothing of it is written."""
    bare, layer = answers["bare"], answers["layer"]
    for mode in ("layer", "spared", "falling back"):
        got = answers[mode]
        for name in ("attributes", "error", "returned"):
            assert got[name] == bare[name], (mode, name)
        assert plain(got["records"]) == plain(layer["records"])
    for mode in WRITING:
        assert plain(answers[mode]["frame"]) == plain(bare["frame"]), mode
    assert bool(layer["records"]) == bool(bare["frame"][1])
    assert answers["spared"]["frame"] == ["", ""] or not answers["spared"]["records"]
    if not is_call:
        assert layer["frame"] == answers["falling back"]["frame"] == bare["frame"]
        assert answers["spared"]["records"] == layer["records"]
    return answers


def plain(texts: list[str]) -> list[str]:
    """Texts without their times; frames as text, without their length."""
    if len(texts) == 2 and re.fullmatch("[0-9a-f]*", "".join(texts)):
        texts = [bytes.fromhex(texts[0][:8]).hex(), bytes.fromhex(texts[1]).decode("utf-8", "backslashreplace")]
    return [STAMP.sub("<time>", text) for text in texts]


CALLS = st.fixed_dictionaries(
    {
        "message": st.text(max_size=20) | st.lists(st.sampled_from(PIECES)).map("".join) | st.just('{"_aws": 1}'),
        "times": st.sampled_from([1, 1, 1, 1_000, 20_000]),
        "args": ARGUMENTS,
        "level": st.sampled_from([10, 20, 20, 20, 30, 40, 50, 5, 25]),
        "is_call": st.just(True),
    },
    optional={
        "name": st.sampled_from(["root", "or\"ders", "€", "orders", "orders.db"]),
        "request": st.sampled_from([None, "", "r-2", "€", 'r"3']),
        "tenant": st.sampled_from([None, "acme"]),
        "from": st.sampled_from([1, 30]),
    },
)  # fmt: skip


def test_a_plain_call_needs_no_log_record(each: Servers) -> None:
    """In each level that there has been a line of, with arguments and without, on each Python."""
    for level in (20, 30, 40, 50):
        for message, arguments in (("paid", []), ("order %s: %d %.1f", ['ä\n"\\', 17, 2.5]), ("€ %%", [])):
            spec = {"message": message, "args": arguments, "level": level, "is_call": True}
            answers = same(each.ask(spec), is_call=True)
            assert [answers[mode]["has_log_record"] for mode in MODES] == [True, False, False, False], spec
            for mode in ("layer", "spared", "falling back"):
                (text,) = answers[mode]["records"]
                record = json.loads(f"{text}}}")
                stamp = record["time"]
                said = record["message"]
                assert said["timestamp"] == f"{stamp[:19]}Z" if isinstance(said, dict) else f"\t{stamp}\t" in said
            for mode in WRITING:
                written = STAMP.search(bytes.fromhex(answers[mode]["frame"][1]).decode())
                assert written and written.group() in answers[mode]["records"][0]


@given(spec=CALLS)
@settings(max_examples=20)
def test_any_call_is_written_and_recorded_as_without_us(each: Servers, spec: Spec) -> None:
    """Bytes but for the time, frame types, what is raised, the record; with SUMO_CLOUDWATCH in both states."""
    answers = each.ask(spec)
    if spec.get("tenant") is None:
        same(answers, is_call=True)
    else:
        for mode in WRITING:
            assert plain(answers[mode]["frame"]) == plain(answers["bare"]["frame"]), mode


@given(spec=SPECS)
@settings(max_examples=20)
def test_any_log_record_is_written_as_without_us(each: Servers, spec: Spec) -> None:
    """Where there is a log record: byte by byte."""
    answers = each.ask(spec)
    if spec.get("tenant") is None:
        same(answers)
    else:
        assert answers["layer"]["frame"] == answers["falling back"]["frame"] == answers["bare"]["frame"]


SEEN = [
    *("logging.Logger.makeRecord", "logging.Logger.handle", "logging.Logger.callHandlers", "logging.Logger.findCaller"),
    *("logging.LogRecord.__init__", "logging.getLevelName", "logging.Logger.filter"),
    *("orders.handle", "orders.callHandlers", "orders.makeRecord", "orders.findCaller", "orders.filter"),
    "type(handler).handle",
    *("handler.emit", "handler.format", "handler.filter", "formatter.format", "handler.log_sink.log"),
    "logging.time.time",
]
"""Functions that a call goes through: replaced, they are called as without us."""

OTHERS = [
    "orders.addFilter(lambda record: True)",
    "orders.addFilter(lambda record: False)",
    "orders.addHandler(logging.StreamHandler(open('/dev/null', 'w')))",
    "logging.getLogger().addHandler(logging.StreamHandler(open('/dev/null', 'w')))",
    "logging.getLogger().removeHandler(handler)",
    "orders.propagate = False",
    "orders.disabled = True",
    "logging.setLogRecordFactory(Late)",
    "logging.addLevelName(20, 'NOTE')",
    "logging._levelToName = {**logging._levelToName, 20: 'NOTE'}",
    "logging._levelToName = {}",
    "import collections; logging._levelToName = collections.defaultdict(lambda: 'NOTE')",
    "own = type('Own', (list,), {'__iter__': lambda self: calls.append('seen') or iter(self[:])})\n"
    "logging.root.handlers = own([handler])",
    "orders.filters = type('Seen', (list,), {'__iter__': lambda _: iter([lambda record: calls.append('filter')])})()",
    "orders.__class__ = type('Own', (logging.Logger,), {})",
    "handler.setLevel(40)",
    "handler.note = 1",
    "handler.setFormatter(logging.Formatter('%(funcName)s %(message)s\\n'))",
    "handler.setFormatter(logging.Formatter('%(lineno)d %(message)s\\n'))",
    "call = lambda spec: orders.info('paid', stacklevel=2)",
    "call = lambda spec: orders.info('paid', extra={'order': 1})",
    "call = lambda spec: orders.info('paid', exc_info=True)",
    "call = lambda spec: orders.info('paid', stack_info=True)",
    "call = lambda spec: orders.info('%(a)s', {'a': 1})",
    "call = lambda spec: orders.info('%s', [1])",
    "call = lambda spec: orders.info('%d', 'x')",
    "call = lambda spec: orders.info(['a list'])",
    "import collections; orders.handlers = collections.deque([])",
]


def test_what_is_altered_has_its_effect(one: Servers) -> None:
    """At the very next call: what is replaced is called, also by what says that it is equal to it, and what another
    would see is made."""
    control = one.ask({"alter": "orders = logging.getLogger('orders')", "is_call": True})
    assert [control[mode]["has_log_record"] for mode in MODES] == [True, False, False, False]
    for alteration in [*(f"{name} = {how}({name})" for name in SEEN for how in ("counted", "Wrapped")), *OTHERS]:
        statement = f"global orders; orders = logging.getLogger('orders'); {alteration}"
        answers = one.ask({"alter": statement, "is_call": True, "request": "r-1"})
        bare, spared = answers["bare"], answers["spared"]
        is_shown = bool(bare["frame"][1])
        for mode in WRITING:
            assert plain(answers[mode]["frame"]) == plain(bare["frame"]), (mode, alteration)
            assert answers[mode]["calls"] == bare["calls"], (mode, alteration)
            assert bool(answers[mode]["records"]) is is_shown, (mode, alteration)
        assert [answers[mode]["error"] for mode in MODES] == [bare["error"]] * len(MODES), alteration
        assert bool(spared["records"]) is is_shown and not (is_shown and spared["frame"][1]), alteration


def test_a_handler_that_is_not_the_runtimes_any_more_is_no_reason_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced on its class before lines are written jointly: then log calls are as without us."""
    joint = SimpleNamespace(for_records=lambda: pytest.fail("the handler is not the runtime's"), log_call=pytest.fail)
    sink = object.__new__(SparingSink)
    monkeypatch.setattr(SparingSink, "_make_joint", lambda self, handler: joint)
    sink.lines_left = 1
    before = logging.Logger._log
    sink.count_down(logging.StreamHandler())
    assert logging.Logger._log is before


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_the_caller_is_found_through_us(runtime: Runtime) -> None:
    """The place in the code and ``stacklevel`` are those of the function's own call."""
    with Servers(runtime, "TEXT", MODES) as servers:
        for stacklevel in (1, 2, 3):
            statement = (
                "handler.setFormatter(logging.Formatter('%(filename)s %(funcName)s %(lineno)d %(message)s\\n'))\n"
                "logging.getLogger('orders').setLevel(1)\n"
                f"def inner(): logging.getLogger('orders').info('paid', stacklevel={stacklevel})\n"
                "def call(spec): inner()\n"
            )
            answers = servers.ask({"alter": statement, "is_call": True})
            for mode in WRITING:
                assert answers[mode]["frame"] == answers["bare"]["frame"] != ["", ""], (mode, stacklevel)
