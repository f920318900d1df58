"""The rules on lines of the Telemetry API: what leaves of a text, and what the platform's events decide."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sumo_internal.config import read
from sumo_internal.extension.platform_events import PlatformEvents
from sumo_internal.extension.telemetry_rules import NO_PROCESSORS, TelemetryRules
from sumo_internal.processing.masking import MASK
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

START = {"type": "platform.start", "record": {"requestId": "r-1"}}


def made(folder: Path, **variables: str) -> tuple[TelemetryRules, Spool]:
    """Rules with these settings, and the extension's spool."""
    folder.mkdir(exist_ok=True)
    spool = Spool(f"{folder}/spool", {}, 64_000_000)
    config, problems = read(variables)
    assert problems == []
    return TelemetryRules(config, spool), spool


def messages(spool: Spool) -> list[str]:
    pieces = SpoolReader(spool.folder, spool).take(SEGMENT_BYTES)
    return [json.loads(line)["message"] for piece in pieces for line in bytes(piece.data()).splitlines()]


def test_a_line_is_masked_and_has_its_level(tmp_path: Path) -> None:
    """The runtime's prefix, or a JSON line's own key, says how severe it is: sampling asks for that."""
    rules, spool = made(tmp_path, SUMO_MASK_KEYS="password", SUMO_EXCLUDE="probe")

    assert rules.passed("[ERROR]\tt\tid\t{'password': 'a'}", "") == ("[ERROR]\tt\tid\t{'password': '***'}", "", 40)
    assert rules.passed('{"level":"warn"}', ',"level":"warn"') == ('{"level":"warn"}', ',"level":"warn"', 30)
    assert rules.passed("plain", "") == ("plain", "", 20)
    assert rules.passed("a probe", "") is None
    assert spool.counters.counts() == {"excluded": (1, 7)}


def test_processors_withhold(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Somebody relies on them, and here they cannot be had; it is said once, and every line is counted."""
    rules, spool = made(tmp_path, SUMO_PROCESSORS="app.tag")
    kept = [rules.passed("[INFO]\tt\tid\thunter2", ',"level":"INFO"') for _ in range(2)]

    assert kept == [(MASK, f',"level":"INFO","withheld":"{NO_PROCESSORS}"', 20)] * 2
    assert capfd.readouterr().err == f"sumo-internal-extension: warn: {NO_PROCESSORS}; messages are withheld\n"
    assert spool.counters.counts()["withheld"][0] == 2


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "platform.runtimeDone", "record": {"requestId": "r-1", "status": "success"}}, []),
        ({"type": "platform.runtimeDone", "record": {"requestId": "r-1", "status": "error"}}, ["held", "late"]),
        ({"type": "platform.runtimeDone", "record": {"requestId": "r-1", "status": "timeout"}}, ["held", "late"]),
        ({"type": "platform.runtimeDone", "record": "nonsense"}, []),
        ({"type": 5}, []),
        ("nonsense", []),
    ],
)
def test_the_platform_says_how_it_ended(tmp_path: Path, event: object, expected: list[str]) -> None:
    """Held until then; what is no event decides nothing."""
    rules, spool = made(tmp_path, SUMO_SAMPLE="0")
    rules.follow(START)
    rules.append('{"message":"held"', 20)
    rules.follow(event)
    rules.append('{"message":"late"', 20)
    assert messages(spool) == expected


def test_without_a_word_from_the_platform(tmp_path: Path) -> None:
    """At SHUTDOWN after a timeout, or a failure that was not told, the lines go out; else they are forgotten."""
    for is_success, expected in ((True, []), (False, ["held"])):
        rules, spool = made(tmp_path / str(is_success), SUMO_SAMPLE="0")
        rules.follow(START)
        rules.append('{"message":"held"', 20)
        rules.end(is_success=is_success)
        assert messages(spool) == expected


@pytest.mark.parametrize("variables", [{"SUMO_MASK_PATTERNS": "hunter2"}, {"SUMO_PROCESSORS": "app.tag"}])
def test_a_masked_request_id_is_none(tmp_path: Path, variables: dict[str, str]) -> None:
    """An object's requestId is the record's own, unless a rule has hidden it: then it is the invocation's."""
    rules, _ = made(tmp_path, **variables)
    events = PlatformEvents(["function"], {}, is_span_dropped=False, is_enhanced=True, process=rules.passed)
    list(events.lines({"type": "platform.start", "record": {"requestId": "r-1"}}, "now"))
    [(line, _)] = events.lines({"type": "function", "record": {"requestId": "hunter2", "message": "x"}}, "now")
    record = json.loads(line + "}")

    assert record["requestID"] == "r-1" and "hunter2" not in line


def test_lines_below_a_level(tmp_path: Path) -> None:
    """By the runtime's prefix or a JSON line's key; a line without either is INFO. A message that is withheld is asked,
    too."""
    rules, spool = made(tmp_path, SUMO_LEVEL="INFO")
    levels = {"[DEBUG]\tt\tid\tx": None, "[INFO]\tt\tid\tx": 20, "plain": 20}
    assert [rules.passed(text, "") and level for text, level in levels.items()] == list(levels.values())
    assert rules.passed('{"level":"DEBUG"}', ',"level":"DEBUG"') is None
    assert spool.counters.counts()["belowLevel"][0] == 2

    rules, _ = made(tmp_path / "other", SUMO_LEVEL="ERROR", SUMO_PROCESSORS="a.b")
    assert rules.passed("plain", "") is None and rules.passed("x", ',"level":"ERROR"') is not None
