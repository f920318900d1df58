"""The rules on lines of the Telemetry API: what leaves of a text, and what the platform's events decide."""

from __future__ import annotations

import json
import pprint
from pathlib import Path

import pytest

from sumo_internal.config import read
from sumo_internal.extension import request_sampling
from sumo_internal.extension.platform_events import PlatformEvents
from sumo_internal.extension.telemetry_rules import NO_PROCESSORS, TelemetryRules
from sumo_internal.processing.masking import MASK
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

START = {"type": "platform.start", "record": {"requestId": "r-1"}}


def made(folder: Path, *, is_concurrent: bool = False, **variables: str) -> tuple[TelemetryRules, Spool]:
    """Rules with these settings, and the extension's spool."""
    folder.mkdir(exist_ok=True)
    spool = Spool(f"{folder}/spool", {}, 64_000_000)
    config, problems = read(variables)
    assert problems == []
    return TelemetryRules(config, spool, is_concurrent=is_concurrent), spool


def messages(spool: Spool) -> list[str]:
    pieces = SpoolReader(spool.folder, spool).take(SEGMENT_BYTES)
    return [json.loads(line)["message"] for piece in pieces for line in bytes(piece.data()).splitlines()]


def test_a_line_is_masked_and_has_its_level(tmp_path: Path) -> None:
    """The runtime's prefix, or a JSON line's own key, says how severe it is: sampling asks for that."""
    rules, spool = made(tmp_path, SUMO_MASK_KEYS="password", SUMO_EXCLUDE="prôbe")

    assert rules.passed("[ERROR]\tt\tid\t{'password': 'a'}", "") == ("[ERROR]\tt\tid\t{'password': '***'}", "", 40)
    assert rules.passed('{"level":"warn"}', ',"level":"warn"') == ('{"level":"warn"}', ',"level":"warn"', 30)
    assert rules.passed("plain", "") == ("plain", "", 20)
    assert rules.passed("a prôbe", "") is None
    assert spool.counters.counts() == {"excluded": (1, 8)}


EVENT = {
    "headers": {"Authorization": "Bearer a1b2"},
    "multiValueHeaders": {"authorization": ["Bearer a1b2", "c3d4"], "n": ["x"]},
    "password": {"deep": {"a1b2": 5}},
    "pairs": [("password", "Bearer " * 12 + "a1b2"), ("n", 1)],
    "token": b"a1b2" * 30,
    "end": "stays",
}
LAID_OUT = {
    "JSON": json.dumps({**EVENT, "token": "a1b2" * 30}, indent=2),
    "JSON, flat": json.dumps({**EVENT, "token": "a1b2" * 30}, indent=0).replace("\n", "\n "),
    "pprint": pprint.pformat(EVENT),
    "pprint, narrow": pprint.pformat(EVENT, width=30),
}


@pytest.mark.parametrize("is_object", [False, True], ids=["text", "JSON format"])
@pytest.mark.parametrize("how", LAID_OUT)
def test_a_value_on_the_lines_behind_its_key_is_hidden(tmp_path: Path, how: str, is_object: bool) -> None:
    """What is printed comes line by line; the other stream's may come in between, and what follows the value stays."""
    rules, _ = made(tmp_path, SUMO_MASK_KEYS="password,authorization,token", SUMO_RULES_MAX_MS="2000")
    shown = []
    for line in ["{'password': '", *LAID_OUT[how].split("\n"), "after", "  indented"]:
        for text in (line, "of another stream"):
            said = json.dumps({"level": "INFO", "message": text}) if is_object else text
            kept = rules.passed(said, "")
            assert kept is not None
            shown.append(kept[0])

    assert "a1b2" not in "".join(shown) and "c3d4" not in "".join(shown)
    others = [line for line in shown if "of another stream" in line]
    assert len(others) == len(shown) / 2 and "after" in shown[-4] and "  indented" in shown[-2]
    assert any("stays" in line for line in shown)


def test_a_key_behind_another_ones_value_is_looked_at(tmp_path: Path) -> None:
    """A value that is over looks as if it might go on; what comes next begins a value of its own."""
    rules, _ = made(tmp_path, SUMO_MASK_KEYS="token,card")
    lines = ['note "token": "abc"', '{"card": [', "  4111111111111111,", "  1]}"]
    shown = [kept[0] for line in lines if (kept := rules.passed(line, "")) is not None]
    assert len(shown) == len(lines) and "4111" not in "".join(shown)


def test_processors_withhold(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Somebody relies on them, and here they cannot be had; it is said once, and every line is counted, with the bytes
    of its message."""
    rules, spool = made(tmp_path, SUMO_PROCESSORS="app.tag")
    kept = [rules.passed("[INFO]\tt\tid\thünter", ',"level":"INFO"') for _ in range(2)]

    assert kept == [(MASK, f',"level":"INFO","withheld":"{NO_PROCESSORS}"', 20)] * 2
    assert capfd.readouterr().err == f"sumo-internal-extension: warn: {NO_PROCESSORS}; messages are withheld\n"
    assert spool.counters.counts()["withheld"] == (2, 2 * len("[INFO]\tt\tid\thünter".encode()))


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
    rules.append('{"message":"held"', 20, "r-1")
    rules.follow(event)
    rules.append('{"message":"late"', 20, "r-1")
    assert messages(spool) == expected


def test_without_a_word_from_the_platform(tmp_path: Path) -> None:
    """At SHUTDOWN after a timeout, or a failure that was not told, the lines go out; else they are forgotten."""
    for is_success, expected in ((True, []), (False, ["held"])):
        rules, spool = made(tmp_path / str(is_success), SUMO_SAMPLE="0")
        rules.follow(START)
        rules.append('{"message":"held"', 20, "r-1")
        rules.end(is_success=is_success)
        assert messages(spool) == expected


@pytest.mark.parametrize("variables", [{"SUMO_MASK_PATTERNS": "hunter2"}, {"SUMO_PROCESSORS": "app.tag"}])
def test_a_masked_request_id_is_none(tmp_path: Path, variables: dict[str, str]) -> None:
    """An object's requestId is the record's own, unless a rule has hidden it: then it is the invocation's."""
    rules, _ = made(tmp_path, is_concurrent=False, **variables)
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

    rules, spool = made(tmp_path / "other", SUMO_LEVEL="ERROR", SUMO_PROCESSORS="a.b")
    assert rules.passed("plain", "") is None and rules.passed("x", ',"level":"ERROR"') is not None
    assert {reason: lines for reason, (lines, _) in spool.counters.counts().items()} == {"belowLevel": 1, "withheld": 1}


def start(request_id: str) -> dict[str, object]:
    return {"type": "platform.start", "record": {"requestId": request_id}}


def report(request_id: str, status: str) -> dict[str, object]:
    return {"type": "platform.report", "record": {"requestId": request_id, "status": status}}


def line(text: str) -> str:
    return f'{{"message":"{text}"'


def test_requests_that_overlap_have_each_their_own_fate(tmp_path: Path) -> None:
    """Managed Instances: runtimeDone is never told, and the last start says nothing of whose a line is."""
    rules, spool = made(tmp_path, is_concurrent=True, SUMO_SAMPLE="0")
    for request_id in ("good", "bad", "killed", "unknown"):
        rules.follow(start(request_id))
    for request_id in ("bad", "good", "killed", "unknown"):
        rules.append(line(request_id), 20, request_id)
    rules.append(line("nobody's"), 20, None)
    rules.append(line("a warning"), 30, "good")
    assert messages(spool) == ["nobody's", "a warning"]
    rules.follow(report("good", "success"))
    rules.follow(report("bad", "error"))
    rules.append(line("gut, spät"), 20, "good")
    rules.append(line("bad, late"), 20, "bad")
    assert messages(spool)[2:] == ["bad", "bad, late"]
    rules.follow(report("killed", "failure"))
    rules.end(is_success=True)
    assert messages(spool)[4:] == ["killed", "unknown"]
    assert spool.counters.counts() == {"sampledOut": (2, len((line("good") + line("gut, spät")).encode()))}


def test_what_is_held_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit goes out; when a request ends there is room again. Ends are remembered up to a bound, too."""
    monkeypatch.setattr(request_sampling, "HELD_MAX_CHARS", 2 * len(line("1")))
    monkeypatch.setattr(request_sampling, "ENDED_MAX", 1)
    rules, spool = made(tmp_path, is_concurrent=True, SUMO_SAMPLE="0")
    for number in (1, 2, 3):
        rules.append(line(str(number)), 20, "r")
    assert messages(spool) == ["3"]
    rules.follow(report("r", "success"))
    rules.append(line("4"), 20, "s")
    rules.follow(report("s", "error"))
    rules.append(line("5"), 20, "r")  # its end is forgotten: it is held until SHUTDOWN
    assert messages(spool) == ["3", "4"]
    rules.end(is_success=True)
    assert messages(spool) == ["3", "4", "5"]


def test_a_sampled_request_goes_out_at_once(tmp_path: Path) -> None:
    """And stands for others."""
    rules, spool = made(tmp_path, is_concurrent=True, SUMO_SAMPLE="0.999999")
    rules.append(line("one"), 20, "r")
    [piece] = SpoolReader(spool.folder, spool).take(SEGMENT_BYTES)
    assert json.loads(bytes(piece.data()))["sampleRate"] == 0.999999
