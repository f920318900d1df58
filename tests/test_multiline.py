"""Lines that belong together are one record; all others are one each."""

from __future__ import annotations

import dataclasses
import io
import json
import pprint
import subprocess
import sys
import time
import traceback
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spool_functions import taken

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal import config as configuration
from sumo_internal.capture import multiline, record_format
from sumo_internal.capture.error_reports import reported
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.streams import Stream
from sumo_internal.extension.platform_events import PlatformEvents
from sumo_internal.processing.pipeline import Pipeline
from sumo_internal.spool import partials
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool


class Recording:
    """A recorder behind a stream, and what has been recorded since the last look."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.spool = Spool(str(folder), {}, 64_000_000)
        self.recorder = Recorder(self.spool, {}, **options)
        self.stream: Any = Stream(
            io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogatepass"), 1, self.recorder.written
        )
        self._reader = SpoolReader(self.spool.folder, self.spool)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in taken(self._reader)]

    def messages(self) -> list[Any]:
        return [record["message"] for record in self.records()]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "spool")


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """One for all examples: making a spool costs more than an example."""
    yield Recording(tmp_path_factory.mktemp("multiline") / "spool")


TEXT = st.text(st.sampled_from("ab {}[]()'\"\\,:é\n"), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=5), st.sampled_from([1, 2, 4, "\t"]), st.data())
@settings(max_examples=80, deadline=None)
def test_a_json_value_is_one_record(
    long_recording: Recording, value: dict[str, Any], indent: Any, data: st.DataObject
) -> None:
    """Printed, or written in pieces as ``json.dump`` does; whatever brackets and quotes its strings have."""
    text = json.dumps(value, indent=indent)
    stream = long_recording.stream
    how, cut = data.draw(st.sampled_from(["print", "dump", "write"])), data.draw(st.integers(0, len(text)))
    stream.write("before\n")
    if how == "print":
        print(text, file=stream)
    elif how == "dump":
        json.dump(value, stream, indent=indent)
        stream.write("\n")
    else:
        stream.write(text[:cut])
        stream.write(text[cut:] + "\n")
    stream.write("after\n")
    assert long_recording.messages() == ["before", value, "after"]


@dataclasses.dataclass
class Point:
    """What ``pprint`` lays out by its fields."""

    x: Any
    y: Any


@given(VALUES)
@settings(max_examples=80, deadline=None)
def test_a_value_of_pprint_is_one_record(long_recording: Recording, value: Any) -> None:
    """Printed by it, or as the text that it makes; a text of one line is a line."""
    for width in (20, 80):
        text = pprint.pformat([value, value], width=width)
        pprint.pprint([value, value], stream=long_recording.stream, width=width)
        print(text, file=long_recording.stream)
        expected = [text] * 2
        assert [message if isinstance(message, str) else None for message in long_recording.messages()] == expected


@pytest.mark.parametrize(
    "value",
    [
        Point("x" * 60, ["y" * 60] * 2),
        OrderedDict((f"key {n}", "v" * 20) for n in range(9)),
        Counter({f"word {n}": n for n in range(12)}),
        defaultdict(list, {f"key {n}": ["v" * 20] for n in range(9)}),
        ("a long text that has to be cut " * 6,),
        {"text": 'it\'s a "long" text :) ' * 9},
        {1, *range(100, 160)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_many_kinds_are_one_record(recording: Recording, value: Any) -> None:
    """As ``pprint`` lays them out: names in front of brackets, texts cut into several."""
    pprint.pprint(value, stream=recording.stream)
    text = pprint.pformat(value)
    assert "\n" in text
    assert recording.messages() == [text]


@given(st.lists(st.text(st.sampled_from("ab {}[]()'\",:é\t"), max_size=12), max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_line_is_lost_and_none_comes_twice(lines: list[str], is_ended: bool) -> None:
    """Whatever the lines are, the groups put together again are the lines."""
    groups, waiting = multiline.grouped(lines, is_ended=is_ended)
    left = [] if waiting is None else waiting.given_up()
    assert [line for group in [*groups, *left] for line in group] == lines


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo\n  three",
        "| a | b |\n| 1 | 2 |",
        "[INFO] first,\n[INFO] second",
        "{\nno value\n}",
        "(see below,\nand here)",
        "usage: x [-h\n         [-v]",
        "[1, 2,\n\n3]",
    ],
)
def test_any_other_text_splits_at_each_line_end(recording: Recording, text: str) -> None:
    """A listing is as many records as it has lines, also one that looks like a value where it begins."""
    print(text, file=recording.stream)
    recording.recorder.leave_invocation()
    assert recording.messages() == [line for line in text.split("\n") if line]


def test_what_may_go_on_waits_for_the_next_line_only(recording: Recording) -> None:
    """Lines that look like a value's beginning are there as soon as it shows that they are none."""
    recording.stream.write("{\n")
    recording.stream.write("no value\n")
    assert recording.messages() == ["{", "no value"]


def test_another_thread_and_the_other_stream_do_not_come_in_between(recording: Recording) -> None:
    """They are kept apart: a value that is written in pieces is whole."""
    recording.stream.write('{\n "a": 1')
    recording.recorder.written("err\n", 2)
    recording.stream.write("\n}\n")
    assert recording.messages() == ["err", {"a": 1}]


def test_a_value_that_is_begun_survives_its_process(recording: Recording) -> None:
    """What waits for its end is in the map meanwhile, and no more when it is a record."""
    recording.stream.write('{\n "a": 1,\n')
    recording.stream.write(' "b": 2,\n')
    (kept,) = partials.read(recording.spool.segments[-1])
    assert kept.text == '{\n "a": 1,\n "b": 2,'
    recording.stream.write(' "c": 3}\n')
    assert recording.messages() == [{"a": 1, "b": 2, "c": 3}]
    assert partials.read(recording.spool.segments[-1]) == []


def test_a_long_value_has_a_bound(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it a value is as many records as it has lines. Guards against memory for what is none."""
    monkeypatch.setattr(multiline, "TOGETHER_MAX_CHARS", 30)
    print(json.dumps(list(range(20)), indent=1), file=recording.stream)
    assert len(recording.messages()) == 22


def test_a_value_of_more_than_a_record_is_in_parts(recording: Recording) -> None:
    """One record in numbered parts, and no record for each of its lines."""
    print(json.dumps(["x" * 50] * 3_000, indent=2), file=recording.stream)
    records = recording.records()
    assert [record["part"] for record in records] == list(range(1, records[0]["parts"] + 1))


def test_each_line_by_itself_where_that_is_asked_for(tmp_path: Path) -> None:
    """SUMO_MULTILINE=split."""
    recording = Recording(tmp_path / "spool", is_joined=False)
    print(json.dumps({"a": 1}, indent=2), file=recording.stream)
    assert recording.messages() == ["{", '  "a": 1', "}"]


PRICES: dict[str, int] = {}


def failing() -> str:
    """Return a traceback as a text."""
    try:
        PRICES["price"]
    except KeyError:
        return traceback.format_exc()
    raise AssertionError


def failing_twice() -> str:
    try:
        try:
            PRICES["price"]
        except KeyError as error:
            raise ValueError("no price\nfor order 17") from error
    except ValueError:
        return traceback.format_exc()
    raise AssertionError


@pytest.mark.parametrize("before", ["", "order 17 failed\n", "order 17 failed: "])
@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [(failing, "KeyError", "'price'"), (failing_twice, "ValueError", "no price\nfor order 17")],
)
def test_a_traceback_is_one_record(recording: Recording, before: str, made: Any, kind: str, message: str) -> None:
    """With the line in front of it, and with the error's keys; its message may have several lines."""
    text = (before or "the line in front\n") + made()
    print("first\nsecond\n" + text if before == "order 17 failed\n" else text, file=recording.stream)
    record = recording.records()[-1]
    assert record["message"] == text.rstrip("\n")
    assert (record["errorType"], record["errorMessage"], record["level"]) == (kind, message, "ERROR")
    assert [frame.split(", in ")[1][:7] for frame in record["stackTrace"]] == ["failing"]
    assert all(frame.startswith('  File "') for frame in record["stackTrace"])


RICH = """\
2026-11-29 [error    ] failed                         order=17
╭───────────────────── Traceback (most recent call last) ──────────────────────╮
│ /var/task/app.py:12 in handler                                               │
│                                                                              │
│    9 def handler(event, context):                                            │
│ ❱ 12 │   {}["price"]                                                         │
╰──────────────────────────────────────────────────────────────────────────────╯
KeyError: 'price'"""


def test_a_traceback_in_a_box_is_one_record(recording: Recording) -> None:
    """What rich draws, and structlog with it, event line included."""
    print(RICH, file=recording.stream)
    (record,) = recording.records()
    assert record["message"] == RICH
    keys = (record["errorType"], record["errorMessage"], record["stackTrace"])
    assert keys == ("KeyError", "'price'", ["/var/task/app.py:12 in handler"])


GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/var/task/app.py", line 11, in handler
  |     raise ExceptionGroup("some failed", [first, second])
  | ExceptionGroup: some failed (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Exception Group Traceback (most recent call last):
    |   File "/var/task/app.py", line 5, in first
    | ExceptionGroup: inner (1 sub-exception)
    +-+---------------- 1 ----------------
      | KeyError: 'price'
      +------------------------------------
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/var/task/app.py", line 7, in second
    | ValueError: second
    +------------------------------------"""
AFTER = """

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/var/task/app.py", line 20, in handler
    raise RuntimeError("gave up") from error
RuntimeError: gave up"""
LOCAL = """\
Traceback (most recent call last):
  File "/var/task/app.py", line 3, in handler
    raise Odd("odd")
app.handler.<locals>.Odd: odd"""


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (GROUP, ("ExceptionGroup", "some failed (2 sub-exceptions)", 11)),
        (f"it failed: {GROUP}", ("ExceptionGroup", "some failed (2 sub-exceptions)", 11)),
        (GROUP + AFTER, ("RuntimeError", "gave up", 20)),
        (f"{LOCAL}\n\nDuring …:\n\n{GROUP}", ("ExceptionGroup", "some failed (2 sub-exceptions)", 11)),
        (LOCAL, ("Odd", "odd", 3)),
    ],
    ids=["group", "text before", "cause", "context", "class of a function"],
)
def test_which_error_a_traceback_tells_of(recording: Recording, text: str, keys: tuple[str, str, int]) -> None:
    """The one that was raised last, at the top: not one of a group's own, whose tracebacks stand behind it."""
    print(text, file=recording.stream)
    (record,) = recording.records()
    assert record["message"] == text and record["level"] == "ERROR"
    assert (record["errorType"], record["errorMessage"]) == keys[:2]
    (frame,) = record["stackTrace"]
    assert frame.startswith(f'  File "/var/task/app.py", line {keys[2]}, in handler\n')


LONG = {
    "quotes behind backslashes": "[" + "\\'" * 20_000 + ",",
    "double quotes behind backslashes": "[" + '\\"' * 20_000 + ",",
    "a text that does not end": "['" + '\\"' * 20_000 + "\\",
    "a frame's names in a box": f"╭ {multiline.HEADING} ╮\n│ x" + ":1 in " * 5_000 + " " * 10_000 + "x\nE: x",
    "dots": f"{multiline.HEADING}:\n  File\n" + "a." * 20_000 + "!",
}


@pytest.mark.parametrize("what", LONG)
def test_a_text_costs_in_proportion_to_its_length(recording: Recording, what: str) -> None:
    """It may come from whoever calls the function. Expressions took minutes for some of these."""
    begun_s = time.thread_time()
    print(LONG[what], "behind it", sep="\n", file=recording.stream)
    assert time.thread_time() - begun_s < 2
    assert recording.records()


FRAME = {"filename": "a.py", "lineno": 1, "name": "f"}


@pytest.mark.parametrize(
    "error",
    [
        {"exception": "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'price'"},
        {"exc_info": "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\norders.KeyError: 'price'"},
        {"exception": [{"exc_type": "KeyError", "exc_value": "'price'", "frames": [FRAME]}]},
    ],
)
def test_an_object_says_which_error_it_is(recording: Recording, error: dict[str, Any]) -> None:
    """By the keys that structlog and JSON formatters have for it."""
    print(json.dumps({"event": "failed", **error}), file=recording.stream)
    (record,) = recording.records()
    keys = (record["errorType"], record["errorMessage"], record["stackTrace"])
    assert keys == ("KeyError", "'price'", ['  File "a.py", line 1, in f\n'])


@given(
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["exception", "exc_info", "exc_type", "exc_value", "frames", "filename"]), inner
            )
        ),
    )
)
def test_no_object_raises(value: Any) -> None:
    """Whatever stands under these keys: the record goes out."""
    record_format.line_text(json.dumps({"exception": value, "exc_info": [value]}))


@pytest.mark.parametrize(
    "text", ["Traceback (most recent call last)", "Traceback (most recent call last):\n", RICH[:200]]
)
def test_half_a_traceback_has_no_keys(text: str) -> None:
    """A cut text names no error."""
    assert multiline.traceback_keys(text) is None


def test_rules_see_a_value_as_one(tmp_path: Path) -> None:
    """What is masked by its key is masked on whatever line it stands. Guards against rules that see line by line."""
    config, problems = configuration.read({"SUMO_HTTP_ENDPOINT": "https://localhost/x", "SUMO_MASK_KEYS": "password"})
    assert problems == []
    spool = Spool(str(tmp_path / "spool"), {}, 64_000_000)
    recorder = Recorder(spool, {}, processing=Pipeline(spool, config, ""))
    for text in (
        json.dumps({"password": ["hunter2", "hunter2"]}, indent=2),
        pprint.pformat(["x" * 70, {"password": "p" * 70}]),
    ):
        recorder.written(text, 1)
        recorder.written("\n", 1)
    (piece,) = SpoolReader(spool.folder, spool).take(1_000_000)
    messages = [json.loads(line)["message"] for line in bytes(piece.data()).splitlines()]
    assert len(messages) == 2 and messages[0] == {"password": "***"}
    assert "pp" not in messages[1] and "***" in messages[1]


def test_an_event_of_several_lines_is_one_record() -> None:
    """What the Telemetry API delivers as one: an object, and a traceback that says which error it is."""
    events = PlatformEvents(["function"], {}, is_span_dropped=False, is_enhanced=True)
    told = [
        {"time": "2026-11-29T08:00:00.000Z", "type": "function", "record": text}
        for text in (json.dumps({"a": [1, 2]}, indent=2) + "\n", "failed\n" + failing())
    ]
    now = "2026-11-29T09:00:00.000Z"
    records = [json.loads(f"{text}}}") for each in told for text, _ in events.lines(each, now)]
    assert records[0]["message"] == {"a": [1, 2]}
    assert (records[1]["errorType"], records[1]["level"]) == ("KeyError", "ERROR")


def test_escape_sequences_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    """SUMO_STRIP_ANSI: colours, cursor movements, links; without it the text is what was written."""
    text = "\x1b[31;1mred\x1b[0m \x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\ \x1b[2K{done}"
    for is_stripped, expected in ((True, "red link {done}"), (False, text)):
        recording = Recording(tmp_path / f"spool-{is_stripped}", is_ansi_stripped=is_stripped)
        print(text, file=recording.stream)
        assert recording.messages() == [expected]


PRINTS = """
import sys, traceback
sys.path.insert(0, sys.argv[1])
import io, json
from sumo_internal.capture.error_reports import follow_tracebacks
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.streams import Stream
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

spool = Spool(sys.argv[2], {}, 64_000_000)
recorder = Recorder(spool, {})
sys.stderr = Stream(io.TextIOWrapper(io.BytesIO()), 2, recorder.written)
follow_tracebacks(recorder)
try:
    try:
        {}["price"]
    except KeyError:
        traceback.print_exc()
        raise ValueError("no price")
except ValueError as error:
    traceback.print_exception(type(error), error, error.__traceback__)
    if sys.version_info >= (3, 11):
        traceback.TracebackException.from_exception(error).print()
    else:
        traceback.print_exception(error)
    traceback.print_exception(type(error), error, error.__traceback__, file=io.StringIO())
print("after", file=sys.stderr)
for piece in SpoolReader(sys.argv[2], spool).take(1_000_000):
    for record in map(json.loads, bytes(piece.data()).splitlines()):
        print(record.get("errorType"), len(record["message"].splitlines()) > 2, record["message"].splitlines()[0])
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_printed_traceback_is_one_record(tmp_path: Path, interpreter: Interpreter) -> None:
    """``traceback.print_exc`` and its like write line by line; what goes elsewhere is none of ours."""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", PRINTS, str(ROOT), str(tmp_path / "spool")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    heading = "True Traceback (most recent call last):"
    assert done.stdout.splitlines() == [f"KeyError {heading}", *[f"ValueError {heading}"] * 2, "None False after"], (
        done.stderr
    )


def test_a_report_says_its_own_error(recording: Recording) -> None:
    """A report without keys of its own has those of its text."""
    reported(recording.recorder, recording.stream.write)(failing())
    (record,) = recording.records()
    assert record["errorType"] == "KeyError" and sys.exc_info() == (None, None, None)
