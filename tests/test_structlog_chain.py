"""The users' processors: records as structlog's own processors know them, and when they are looked up."""

from __future__ import annotations

import importlib
import json
import logging
import re
import signal
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from interruptions import TimeLimit

from layer.build import ROOT
from sumo_internal.capture import log_records
from sumo_internal.processing.rules import WithheldError
from sumo_internal.processing.structlog_chain import Chain

TEXT = "[INFO]\t2026-11-21T08:22:03.123Z\t8f0a\torder 7 accepted"
FIELDS = {"level": "INFO", "logger": "orders", "order": 7, "extra_time": "late"}

Event = dict[str, Any]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the function's, imported already."""
    module = types.ModuleType("orders_logs")
    monkeypatch.setitem(sys.modules, "orders_logs", module)
    return module


def chain(module: types.ModuleType, **processors: object) -> Chain:
    """A chain of processors that are in the module."""
    vars(module).update(processors)
    found = Chain([f"orders_logs.{name}" for name in processors], "app")
    found.load(is_init_over=True)
    assert (found.problem, found.is_loaded) == ("", True)
    return found


def run(found: Chain, text: str, fields: Event, error: BaseException | None = None, trace: str = "") -> Any:
    """Let a record pass; the fields as they are then."""
    info = (type(error), error, error.__traceback__) if error else None
    outcome = found.run(text, dict(fields), info, trace)
    return None if outcome is None else (outcome[0], json.loads(f"{{{outcome[1][1:]}}}"))


def failing() -> tuple[ValueError, str, Event]:
    """An exception, its traceback, and its keys in a record."""
    try:
        raise ValueError("no item 7")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
        trace = logging.Formatter().formatException(info)
        return error, trace, json.loads(f"{{{log_records.error_text(info)[1:]}}}")


# What a processor sees.


def test_a_log_record_as_an_event(module: types.ModuleType) -> None:
    """structlog's conventions: the bare text, the level in lower case; the logger is the one that logged."""
    seen: list[Any] = []
    orders = logging.getLogger("orders")

    def look(logger: object, name: str, event: Event) -> Event:
        seen.append((logger, name, dict(event)))
        return event

    assert run(chain(module, look=look), TEXT, FIELDS) == (TEXT, FIELDS)
    assert seen == [
        (
            orders,
            "info",
            {"event": "order 7 accepted", "level": "info", "logger": "orders", "order": 7, "extra_time": "late"},
        )
    ]


def test_an_exception_as_an_event(module: types.ModuleType) -> None:
    """The traceback is exc_info and no part of the text; untouched, all of it is as it was."""
    error, trace, keys = failing()
    seen: list[Event] = []

    def look(logger: object, name: str, event: Event) -> Event:
        seen.append(dict(event))
        return event

    text, fields = f"{TEXT}\n{trace}", {**FIELDS, **keys}
    assert run(chain(module, look=look), text, fields, error, trace) == (text, fields)
    assert seen[0]["event"] == "order 7 accepted" and seen[0]["exc_info"][1] is error
    assert not keys.keys() & seen[0].keys()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('{"event":"paid","level":"info","n":1}', {"event": "paid", "level": "info", "n": 1}),
        ('{"timestamp":"t","level":"INFO","message":"paid"}', {"event": "paid", "level": "info", "timestamp": "t"}),
        ('{"n":{"event":1}}', {"event": "", "n": {"event": 1}}),
        ('{"message":5}', {"event": "", "message": 5}),
    ],
)
def test_an_object_as_an_event(module: types.ModuleType, line: str, event: Event) -> None:
    """A line of JSON is its keys, whatever it calls its text; untouched, it is the very same line."""
    seen: list[Event] = []

    def look(logger: object, name: str, event: Event) -> Event:
        seen.append(dict(event))
        return event

    fields = {name: value.upper() for name, value in json.loads(line).items() if name == "level"}
    assert run(chain(module, look=look), line, fields) == (line, fields)
    assert seen == [event]


# What comes out.


def test_what_comes_out_is_the_record(module: types.ModuleType) -> None:
    """Text, level and fields may change; a new field named like a key of the record's gets another name."""

    def change(logger: object, name: str, event: Event) -> Event:
        del event["order"]
        return {**event, "event": "changed", "level": "warning", "team": "shop", "requestID": "mine", "bytes": b"x"}

    assert run(chain(module, change=change), TEXT, FIELDS) == (
        TEXT.replace("order 7 accepted", "changed"),
        {
            "level": "WARNING",
            "logger": "orders",
            "extra_time": "late",
            "team": "shop",
            "extra_requestID": "mine",
            "bytes": "b'x'",
        },
    )


def test_an_objects_keys_go_back_into_it(module: types.ModuleType) -> None:
    """What a processor adds is a field besides; what it removes or changes is so in the object."""

    def change(logger: object, name: str, event: Event) -> Event:
        del event["secret"]
        return {**event, "event": "changed", "n": 2, "team": "shop"}

    line = '{"n":1,"message":"paid","secret":"x","level":"INFO"}'
    text, fields = run(chain(module, change=change), line, {"level": "INFO", "n": 1})

    assert json.loads(text) == {"n": 2, "message": "changed", "level": "INFO"}
    assert fields == {"level": "INFO", "n": 2, "team": "shop"}


def test_an_exception_that_a_processor_takes_away(module: types.ModuleType) -> None:
    """format_exc_info and the like: its text stands where the traceback stood, and its keys are gone."""
    error, trace, keys = failing()

    def hide(logger: object, name: str, event: Event) -> Event:
        return {**event, "exception": event["exception"].replace("no item 7", "***")}

    processors = {"format": structlog.processors.format_exc_info, "hide": hide}
    text, fields = run(chain(module, **processors), f"{TEXT}\n{trace}", {**FIELDS, **keys}, error, trace)

    assert "order 7 accepted\nTraceback" in text and text.endswith("ValueError: ***")
    assert fields == FIELDS

    text, fields = run(
        chain(module, without=lambda logger, name, event: {"event": event["event"]}),
        f"{TEXT}\n{trace}",
        keys,
        error,
        trace,
    )
    assert (text, fields) == (TEXT, {})


def test_an_exception_that_a_processor_replaces(module: types.ModuleType) -> None:
    """Another exc_info, in any of structlog's forms, is the record's exception."""
    error, trace, keys = failing()

    def replace(logger: object, name: str, event: Event) -> Event:
        return {**event, "exc_info": KeyError("other")}

    text, fields = run(chain(module, replace=replace), f"{TEXT}\n{trace}", {**FIELDS, **keys}, error, trace)
    assert text.endswith("accepted\nKeyError: 'other'")
    assert (fields["errorType"], fields["errorMessage"]) == ("KeyError", "'other'")


def test_structlogs_own_processors_work(module: types.ModuleType) -> None:
    """As they are, in the order in which people have them, the renderer included."""
    structlog.contextvars.bind_contextvars(tenant="t1")
    try:
        found = chain(
            module,
            merge=structlog.contextvars.merge_contextvars,
            filter=structlog.stdlib.filter_by_level,
            logger=structlog.stdlib.add_logger_name,
            level=structlog.stdlib.add_log_level,
            stack=structlog.processors.StackInfoRenderer(),
            time=structlog.processors.TimeStamper(fmt="iso"),
            exception=structlog.processors.dict_tracebacks,
            order=structlog.processors.EventRenamer("msg"),
            render=structlog.processors.JSONRenderer(sort_keys=True),
        )
        text, fields = run(found, TEXT.replace("INFO", "ERROR"), {**FIELDS, "level": "ERROR"})
    finally:
        structlog.contextvars.clear_contextvars()
    content = json.loads(text.rpartition("\t")[2])

    assert content.items() >= {"msg": "order 7 accepted", "tenant": "t1", "level": "error", "logger": "orders"}.items()
    assert fields == {"level": "ERROR", "logger": "orders"}


def test_drop_event_drops(module: types.ModuleType) -> None:
    """DropEvent is no error, although it is no Exception either; later processors are not asked."""

    def drop(logger: object, name: str, event: Event) -> Event:
        raise structlog.DropEvent

    def never(logger: object, name: str, event: Event) -> Event:
        raise AssertionError

    assert run(chain(module, drop=drop, never=never), TEXT, FIELDS) is None


@pytest.mark.parametrize("result", [None, 5, ("a", {})])
def test_what_is_no_event_fails(module: types.ModuleType, result: object) -> None:
    """A processor that forgets its return must not let the record by."""
    with pytest.raises(WithheldError, match=f"the last one returns {type(result).__name__}, not an event"):
        run(chain(module, forgets=lambda *_: result), TEXT, FIELDS)


def test_a_processor_that_raises_fails_without_saying_what(module: types.ModuleType) -> None:
    """The reason names the processor and the kind of error; its text may be what is to be hidden."""

    def raises(logger: object, name: str, event: Event) -> Event:
        raise ValueError("hunter2")

    with pytest.raises(WithheldError, match=r"^SUMO_PROCESSORS: orders_logs.raises raised ValueError$"):
        run(chain(module, raises=raises), TEXT, FIELDS)


def test_a_time_limit_of_the_functions_own_passes(module: types.ModuleType) -> None:
    """A signal handler that raises in the middle of a processor wants the function to stop, not the processor."""

    def stop(number: int, frame: object) -> None:
        raise TimeLimit

    def slow(logger: object, name: str, event: Event) -> Event:
        signal.raise_signal(signal.SIGUSR1)
        return event

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(TimeLimit):
            run(chain(module, slow=slow), TEXT, FIELDS)
    finally:
        signal.signal(signal.SIGUSR1, before)


# When they are looked up.


@pytest.fixture
def modules(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder for the function's modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_during_init_nothing_is_imported(modules: Any) -> None:
    """A module that Lambda is to import has not been imported by us; one that is there is used."""
    (modules / "early.py").write_text("def tag(logger, name, event): return event")
    (modules / "late.py").write_text("def tag(logger, name, event): return event")
    found = Chain(["early.tag", "late.tag"], "app")
    found.load(is_init_over=False)
    assert not found.is_loaded and "early" not in sys.modules

    __import__("early")
    found.load(is_init_over=False)
    assert not found.is_loaded and "late" not in sys.modules

    found.load(is_init_over=True)
    assert found.is_loaded and found.problem == ""


def test_a_module_that_is_being_imported_is_waited_for(modules: Any) -> None:
    """A line that a module logs while it is imported comes before its processors are there."""
    found = Chain(["app.tag"], "app")
    seen = []

    def look() -> None:
        found.load(is_init_over=False)
        seen.append(found.is_loaded)

    sys.modules["look"] = types.ModuleType("look")
    vars(sys.modules["look"])["look"] = look
    (modules / "app.py").write_text(
        "from look import look\nlook()\ndef tag(logger, name, event): return event\nlook()\n"
    )

    __import__("app")
    assert (seen, found.problem) == ([False, False], "")
    found.load(is_init_over=False)
    assert found.is_loaded


def test_the_handlers_module_is_never_imported_from_here(modules: Any) -> None:
    """Where Lambda could not import it, trying again would run the function's code a second time."""
    (modules / "app.py").write_text("raise RuntimeError('not twice')")
    found = Chain(["app.tag"], "app")
    found.load(is_init_over=True)
    assert found.problem == "SUMO_PROCESSORS: there is no app.tag"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "there is no late.tag"),
        ("tag = 5", "late.tag cannot be called with an event; name a function, or an instance"),
        ("class tag: pass", "late.tag cannot be called with an event; name a function, or an instance"),
        (
            "import nowhere_at_all",
            "late.tag cannot be imported (ModuleNotFoundError: No module named 'nowhere_at_all')",
        ),
        ("raise ValueError('hunter2')", "late.tag cannot be imported (ValueError)"),
        ("raise SystemExit('hunter2')", "late.tag cannot be imported (SystemExit)"),
        ("def tag(:", "late.tag cannot be imported (SyntaxError)"),
    ],
)
def test_a_processor_that_cannot_be_had_is_named(modules: Any, source: str, problem: str) -> None:
    """One sentence, and no exception in the function's start, whatever its module does."""
    (modules / "late.py").write_text(source)
    found = Chain(["late.tag"], "app")
    found.load(is_init_over=True)
    assert (found.problem, found.is_loaded) == (f"SUMO_PROCESSORS: {problem}", False)


def test_two_threads_that_load_have_each_processor_once(modules: Any) -> None:
    """One may log while the other looks a name up; twice the processors would count as not loaded, for ever."""
    found = Chain(["late.tag"], "app")
    modules.joinpath("late.py").write_text("def __getattr__(name):\n    LOAD(is_init_over=False)\n    return print\n")
    late = importlib.import_module("late")
    calls = iter([found.load])
    late.LOAD = lambda **options: [load(**options) for load in calls]  # type: ignore[attr-defined]  # the other, once
    found.load(is_init_over=True)
    assert found.is_loaded and found.problem == ""


@pytest.mark.parametrize(
    ("page", "names", "added"),
    [("README.md", ["drop_probes"], {}), ("docs/processing.md", ["tag", "drop_probes"], {"team": "shop"})],
)
def test_the_documentations_processors(modules: Any, page: str, names: list[str], added: dict[str, str]) -> None:
    """What README and docs/processing.md show works as it stands."""
    [source] = re.findall(r"```python\n# orders/logs.py\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    (modules / "orders").mkdir()
    (modules / "orders" / "logs.py").write_text(source)
    found = Chain([f"orders.logs.{name}" for name in names], "app")
    found.load(is_init_over=True)

    assert run(found, TEXT, FIELDS) == (TEXT, {**FIELDS, **added})
    assert run(found, "a probe", {}) is None
