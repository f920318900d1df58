"""SUMO_INVOCATION_SUMMARY: one record at each invocation's end, whatever the end is, with what is known of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtimes import Runtime, runtimes
from spool_functions import taken
from sumo_source import SumoSource
from test_capture import FORMATS
from test_main_path import said
from test_processing_path import environment, steps
from test_processing_path import task_root as task_root  # a fixture

from sumo_internal.capture.endings import Endings
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.summary import Summary
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

SUMMARY = {"SUMO_INVOCATION_SUMMARY": "true"}
each_format = pytest.mark.parametrize("form", FORMATS)
Record = dict[str, Any]


def summaries(source: SumoSource) -> list[Record]:
    """The summaries, each once, in the order in which they came."""
    found = {record["id"]: record for record in source.records if record["type"] == "sumo.invocation"}
    return list(found.values())


def lines_of(source: SumoSource, request_id: str) -> list[Record]:
    return [
        record for record in source.records if record["type"] == "function" and record.get("requestID") == request_id
    ]


@each_format
def test_what_an_invocation_was(source: SumoSource, layer_folder: Path, task_root: Path, form: str) -> None:
    """Counts are those of the records that arrive, by level; an exception is an error; the init has no summary."""
    with environment(source, layer_folder, task_root, variables=SUMMARY, timeout_s=10, **FORMATS[form]) as env:
        assert env.start().error is None
        ended = [env.invoke(steps("lines", "log")), env.invoke(steps("fail")), env.invoke(steps())]
        env.shutdown()
        assert said(env) == []
    made = summaries(source)

    assert [each["requestID"] for each in made] == [each.request_id for each in ended]
    assert [each["outcome"] for each in made] == ["success", "error", "success"]
    assert [each["coldStart"] for each in made] == [True, False, False]
    for each, invocation in zip(made, ended, strict=True):
        records = lines_of(source, invocation.request_id)
        levels: dict[str, int] = {}
        for record in records:
            level = record.get("level", "INFO")
            levels[level] = levels.get(level, 0) + 1
        assert each["lines"] == levels
        assert each["errors"] == levels.get("ERROR", 0)
        assert each["held"] == 0 and 5 < each["maxMemoryMB"] < 1000
        assert 0 < each["durationMs"] < 10_000
        if records:
            times = [record["time"] for record in records]
            assert (each["firstTime"], each["lastTime"]) == (times[0], times[-1])
        else:
            assert each["bytes"] == 0 and "firstTime" not in each


@pytest.mark.parametrize(("step", "outcome"), [("kill", "killed"), ("leave", "killed"), ("sleep", "timeout")], ids=str)
@pytest.mark.parametrize("has_platform", [True, False], ids=["platform", "function only"])
def test_who_dies_has_a_summary_all_the_same(
    source: SumoSource, layer_folder: Path, task_root: Path, step: str, outcome: str, has_platform: bool
) -> None:
    """Another process writes it, without what only the dead one knew; a silent invocation has one too, and one only."""
    variables = {**SUMMARY, "SUMO_LOG_TYPES": "platform,function" if has_platform else "function"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=2) as env:
        env.start()
        first = env.invoke(steps(step))
        second = env.invoke(steps("lines"))
        third = env.invoke(steps("lines", step))
        env.shutdown()
    made = {each["requestID"]: each for each in summaries(source)}

    assert len(summaries(source)) == 3
    assert [made[each.request_id]["outcome"] for each in (first, second, third)] == [outcome, "success", outcome]
    dead = made[first.request_id]
    assert dead["coldStart"] is True and "durationMs" not in dead and "lines" not in dead
    assert made[third.request_id]["coldStart"] is False


@pytest.mark.parametrize("runtime", runtimes([2, 3, 4]), ids=lambda runtime: runtime.id)
def test_every_runtime_client_tells(source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime) -> None:
    """Each version of the client has arguments of its own for its errors: all are heard."""
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return event['steps'].index('lines')\n")
    with environment(source, layer_folder, tmp_path, runtime, variables=SUMMARY, timeout_s=10) as env:
        env.start()
        env.invoke(steps("lines"))
        env.invoke(steps("fail"))
        env.shutdown()
    assert [each["outcome"] for each in summaries(source)] == ["success", "error"]


def test_no_rule_takes_it_away(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """Neither sampling nor exclusion, nor a level; what they do with lines is told: held ones are counted."""
    variables = {**SUMMARY, "SUMO_SAMPLE": "0", "SUMO_EXCLUDE": "success|printed", "SUMO_LEVEL": "INFO"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke(steps("lines"))
        env.invoke(steps("lines", "fail"))
        env.shutdown()
    good, bad = summaries(source)

    assert (good["outcome"], good["held"], good["lines"]) == ("success", 1, {"INFO": 1, "WARNING": 1})
    assert (bad["outcome"], bad["held"], bad["errors"]) == ("error", 1, 1)


def test_unset_there_is_none(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """Nor after a kill, which another process notices."""
    with environment(source, layer_folder, task_root, timeout_s=10) as env:
        env.start()
        env.invoke(steps("lines"))
        env.invoke(steps("kill"))
        env.invoke(steps("lines"))
        env.shutdown()
    assert summaries(source) == []


def test_records_without_our_keys(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """The summary is no line of the function's, and has its keys also where those have none."""
    variables = {**SUMMARY, "SUMO_ENHANCE_JSON_LOGS": "false", "SUMO_LOG_TYPES": "function"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=2) as env:
        env.start()
        ended = [env.invoke(steps("lines")), env.invoke(steps("sleep"))]
        env.shutdown()
    source.problems.clear()  # the function's lines have no time, as they were to have none
    made = [record for record in source.records if record.get("type") == "sumo.invocation"]
    assert [(each["requestID"], each["outcome"]) for each in made] == [
        (ended[0].request_id, "success"),
        (ended[1].request_id, "timeout"),
    ]
    assert made[0]["lines"] == {"INFO": 2, "WARNING": 1} and "firstTime" not in made[0]


class Recording:
    """A recorder with a summary, in a spool of its own."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(str(folder), {}, 10 * SEGMENT_BYTES)
        self.recorder = Recorder(self.spool, {"logStream": "s"})
        self.recorder.endings = Endings()
        self.recorder.summary = Summary(self.spool, self.recorder.append, self.recorder.endings, int)
        self.recorder.append = self.recorder.summary.append

    def records(self) -> list[Record]:
        return [json.loads(line) for line in taken(SpoolReader(self.spool.folder, self.spool))]


@given(levels=st.lists(st.sampled_from([0, 10, 15, 20, 30, 40, 50]), max_size=30), has_umlauts=st.booleans())
def test_counts_are_those_of_the_spool(
    tmp_path_factory: pytest.TempPathFactory, levels: list[int], has_umlauts: bool
) -> None:
    """Lines, bytes (without the id that the spool adds) and times are those of the records that lie there."""
    recording = Recording(tmp_path_factory.mktemp("spool"))
    recording.recorder.enter_invocation("one")
    for number, level in enumerate(levels):
        recording.recorder.event(1_700_000_000 + number, "ä" if has_umlauts else "a", "", level, (None, ""))
    recording.recorder.leave_invocation()
    *records, summary = recording.records()

    assert sum(summary["lines"].values()) == len(records) == len(levels)
    assert summary["errors"] == sum(level >= 40 for level in levels)
    texts = [{name: value for name, value in record.items() if name != "id"} for record in records]
    assert summary["bytes"] == sum(
        len(json.dumps(each, ensure_ascii=False, separators=(",", ":")).encode()) - 1 for each in texts
    )


def test_what_the_layer_says_of_itself_is_no_line(tmp_path: Path) -> None:
    """The account of what was retried is written beside an invocation, and is none of its lines: else each outage
    would give it a warning, and its last line another time."""
    recording = Recording(tmp_path / "spool")
    recording.recorder.enter_invocation("one")
    recording.recorder.event(1_700_000_000, "a", "", 20, (None, ""))
    recording.recorder.account({"retried": (5, 100)})
    recording.recorder.leave_invocation()
    record, account, summary = recording.records()
    assert (account["type"], account["accounting"]["retried"]["lines"]) == ("sumo.accounting", 5)
    assert summary["lines"] == {"INFO": 1} and summary["lastTime"] == record["time"]


def test_threads_lose_no_count(tmp_path: Path) -> None:
    """A thousand notes are added up in the middle of it, while others leave theirs."""
    recording = Recording(tmp_path / "spool")
    recording.recorder.enter_invocation("one")

    def write() -> None:
        for number in range(2_000):
            recording.recorder.line(f"line {number}")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recording.recorder.leave_invocation()
    (summary,) = [record for record in recording.records() if record["type"] == "sumo.invocation"]
    assert summary["lines"] == {"INFO": 8_000}
