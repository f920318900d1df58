"""Text without a line end: in the map until its line is whole, and a record if its process dies before that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model import Environment
from runtimes import typical
from spool_functions import taken
from sumo_source import SumoSource
from test_capture import FORMATS
from test_processing_path import function_records

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal import config as configuration
from sumo_internal.capture.recorder import Recorder
from sumo_internal.processing.unfinished import NO_BEGINNING, NO_PROCESSORS, Unfinished
from sumo_internal.spool import partials
from sumo_internal.spool.partials import SLOTS, TEXT_MAX_BYTES
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import LINE_MAX_BYTES, PARTIALS_OFFSET, SEGMENT_BYTES, Segment
from sumo_internal.spool.writer import Spool

DIES = """
import io, os, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.streams import Stream
from sumo_internal.spool.writer import Spool

spool = Spool(sys.argv[2], {"X-Sumo-Host": "host"}, 64_000_000)
recorder = Recorder(spool, {"logStream": "stream"})
recorder.enter_invocation("r-1")
out, err = (Stream(open(os.devnull, "w"), number, recorder.written) for number in (1, 2))
exec(sys.argv[3])
"""


def dying(folder: Path, code: str, interpreter: Any = sys.executable) -> int:
    """Run code that ends its process; return how that has ended."""
    command = [str(interpreter), "-I", "-S", "-B", "-c", DIES, str(ROOT), str(folder), code]
    return subprocess.run(command, check=False, timeout=30).returncode


def reading(folder: Path | str, **variables: str) -> tuple[SpoolReader, dict[str, tuple[int, int]]]:
    """Return a reader of a folder as the extension has it, and what it counts: lines and bytes by reason."""
    config, problems = configuration.read({"SUMO_HTTP_ENDPOINT": "https://localhost/receiver/v1/http/x", **variables})
    assert problems == []
    counts: dict[str, tuple[int, int]] = {}

    def count(reason: str, lines: int, size_bytes: int) -> None:
        before = counts.get(reason, (0, 0))
        counts[reason] = (before[0] + lines, before[1] + size_bytes)

    reader = SpoolReader(str(folder))
    reader.complete = Unfinished(config, count, lambda _: False).record
    return reader, counts


def records(reader: SpoolReader) -> list[dict[str, Any]]:
    """Take all there is, as a drain does."""
    reader.acquire()
    reader.mark()
    got = taken(reader)
    reader.release()
    return [json.loads(line) for line in got]


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_the_last_words_of_a_process_are_records(tmp_path: Path, interpreter: Interpreter, end: str) -> None:
    """However it ended: what had no line end is there once, with its keys, on both streams, behind what was whole."""
    code = f'print("whole", file=out); print("käse: ", end="", file=out); err.write("3 of 7"); err.write(" …"); {end}'
    before_s = time.time()
    dying(tmp_path / "spool", code, interpreter.executable)

    reader, counts = reading(tmp_path / "spool")
    got = records(reader)

    assert [record["message"] for record in got] == ["whole", "käse: ", "3 of 7 …"]
    assert {(record["type"], record["requestID"], record["logStream"]) for record in got} == {
        ("function", "r-1", "stream")
    }
    assert len({record["id"] for record in got}) == 3
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before_s)) <= got[1]["time"]
    assert (records(reader), counts, list((tmp_path / "spool").glob("*.spool"))) == ([], {}, [])


def test_a_text_is_a_record_although_nothing_else_was_written(tmp_path: Path) -> None:
    """There is no line that would have made a segment; a child that never writes one has none for it either."""
    dying(tmp_path / "spool", 'out.write("all it said"); os._exit(0)')
    assert [record["message"] for record in records(reading(tmp_path / "spool")[0])] == ["all it said"]


def test_an_empty_line_end_leaves_nothing_behind(tmp_path: Path) -> None:
    """What became a line, a blank one too, or was left by the end of its invocation, is no unfinished text any more."""
    code = 'out.write("a"); out.write("\\n"); out.write(" "); out.write("\\n"); err.write("b"); '
    dying(tmp_path / "spool", code + "recorder.leave_invocation(); os._exit(0)")
    assert [record["message"] for record in records(reading(tmp_path / "spool")[0])] == ["a", "b"]


@pytest.mark.parametrize("piece_chars", [7, TEXT_MAX_BYTES * 3])
def test_of_a_long_text_the_end_is_there(tmp_path: Path, piece_chars: int) -> None:
    """A progress bar: its last state is what one looks for. How much is missing is said, no character is cut."""
    text = "".join(f"{number:>6}ä" for number in range(3 * TEXT_MAX_BYTES // 8 + 500))
    code = f"text = {text!r}\nfor at in range(0, len(text), {piece_chars}): out.write(text[at : at + {piece_chars}])\n"
    dying(tmp_path / "spool", code + "os._exit(0)")

    (record,) = records(reading(tmp_path / "spool")[0])
    shown = record["message"]
    assert text.endswith(shown) and len(shown.encode()) >= TEXT_MAX_BYTES // 2 - 20
    assert 0 <= len(text.encode()) - len(shown.encode()) - record["cut"] < 10  # the rest of a word


def test_a_living_process_keeps_its_text(tmp_path: Path) -> None:
    """Nobody sends half a line of a process that may still end it. Guards against a text that comes twice."""
    code = 'out.write("half, "); print("ready", file=out, flush=True)'
    wait = 'sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline(); out.write("begun"); os._exit(0)'
    command = [sys.executable, "-I", "-S", "-B", "-c", DIES, str(ROOT), str(tmp_path / "spool"), f"{code}; {wait}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        reader, _ = reading(tmp_path / "spool")
        assert [record["message"] for record in records(reader)] == ["half, ready"]
        process.stdin.write("\n")
        process.stdin.close()
        process.wait()
    assert [record["message"] for record in records(reader)] == ["begun"]


def test_a_forked_childs_text_is_its_own(tmp_path: Path) -> None:
    """The parent's begun line is the parent's alone, whoever of both dies first."""
    code = """
out.write("parent")
if os.fork() == 0:
    out.write("child")
    os._exit(0)
os.wait()
out.write(" goes on")
os._exit(0)
"""
    dying(tmp_path / "spool", code)
    messages = [record["message"] for record in records(reading(tmp_path / "spool")[0])]
    assert sorted(messages) == ["child", "parent goes on"]


def test_a_text_goes_along_to_the_next_segment(tmp_path: Path) -> None:
    """And is in no other: the drainer can give the segment before back while the text is begun."""
    code = """
from sumo_internal.spool.reader import SpoolReader
out.write("begun, ")
for _ in range(30):
    err.write("x" * 50_000 + "\\n")
reader = SpoolReader(sys.argv[2], spool)
while slices := reader.take(1_000_000):
    for piece in slices:
        piece.acknowledge()
assert len(spool.segments) == 1
out.write("and not ended")
os._exit(7)
"""
    assert dying(tmp_path / "spool", code) == 7
    assert [record["message"] for record in records(reading(tmp_path / "spool")[0])] == ["begun, and not ended"]


def test_a_text_outlives_a_function_that_empties_the_folder(tmp_path: Path) -> None:
    """The next segment has it."""
    code = """
import shutil
out.write("begun, ")
err.write("line\\n")
shutil.rmtree(sys.argv[2])
spool.mend()
out.write("and not ended")
err.write("line\\n")
os._exit(7)
"""
    assert dying(tmp_path / "spool", code) == 7
    messages = [record["message"] for record in records(reading(tmp_path / "spool")[0])]
    assert messages == ["line", "begun, and not ended"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("password=hünter2", None, {})),
        ({"SUMO_MASK_PATTERNS": r"hünter\d"}, ("password=***", None, {})),
        ({"SUMO_EXCLUDE": "hünter"}, (None, None, {"excluded": (1, 17)})),
        ({"SUMO_INCLUDE": "order"}, (None, None, {"excluded": (1, 17)})),
        ({"SUMO_PROCESSORS": "app.mask"}, ("***", NO_PROCESSORS, {"withheld": (1, 17)})),
        ({"SUMO_PROCESSORS": "app.mask", "SUMO_LEVEL": "WARNING"}, (None, None, {"belowLevel": (1, 17)})),
        ({"SUMO_LEVEL": "WARNING"}, (None, None, {"belowLevel": (1, 17)})),
        ({"SUMO_LEVEL": "INFO"}, ("password=hünter2", None, {})),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_rules_hold_for_what_a_dead_process_had_begun(
    tmp_path: Path, variables: dict[str, str], expected: tuple[str | None, str | None, dict[str, tuple[int, int]]]
) -> None:
    """What must not leave does not leave by this way either; the function's own processors cannot be run any more."""
    dying(tmp_path / "spool", 'out.write("password=hünter2"); os._exit(0)')
    reader, counts = reading(tmp_path / "spool", **variables)
    (record,) = records(reader) or ({},)
    assert (record.get("message"), record.get("withheld"), counts) == expected


@pytest.mark.parametrize(
    "text",
    [
        "x" * 3_000 + " secret",
        " 'hunter2'",
        "{'password': 'hunter2'}\nlogin with hunter2",
        "{'password': 'hunter2'}\n" + "x" * 2_000 + " hunter2 " + "y" * 900,
        "{'password': 'hunter2'}\n{\n 'copy': 'hunter2'",
    ],
    ids=lambda text: text[:40],
)
def test_what_has_no_beginning_is_not_masked_but_withheld(tmp_path: Path, text: str) -> None:
    """A key that is cut off, or stands on the line before, would have said what is to be masked."""
    dying(tmp_path / "spool", f"out.write({text!r}); os._exit(0)")
    reader, counts = reading(tmp_path / "spool", SUMO_MASK_KEYS="password")
    begun = [record for record in records(reader) if "withheld" in record]
    assert {(record["message"], record["withheld"]) for record in begun} == {("***", NO_BEGINNING)}
    assert counts.keys() == {"withheld"} and counts["withheld"][0] == len(begun)


def test_the_rest_of_a_text_is_there_where_no_key_is_masked(tmp_path: Path) -> None:
    """What was written with it is recorded, and its slot has nothing of it for the next text."""
    code = 'out.write("a\\nb"); out.write("\\n"); out.write("c\\nd"); err.write("e"); os._exit(0)'
    dying(tmp_path / "spool", code)
    reader, counts = reading(tmp_path / "spool", SUMO_MASK_PATTERNS="hunter2")
    assert [record["message"] for record in records(reader)] == ["a", "b", "c", "d", "e"] and not counts
    dying(tmp_path / "other", 'out.write("a\\nb"); out.write("\\n"); out.write("d"); err.write("e"); os._exit(0)')
    reader, counts = reading(tmp_path / "other", SUMO_MASK_KEYS="password")
    assert [record["message"] for record in records(reader)] == ["a", "b", "d", "e"] and not counts


def test_half_a_word_is_no_beginning(tmp_path: Path) -> None:
    """It may be half of a secret of our own, which nobody could tell any more."""
    for number, (text, message) in enumerate((("s" * 3_000 + " and more", " and more"), ("s" * 3_000, ""))):
        dying(tmp_path / str(number), f"out.write({text!r}); os._exit(0)")
        (record,) = records(reading(tmp_path / str(number))[0])
        assert (record["message"], record["cut"] > 900) == (message, True)


def test_a_text_without_keys_of_ours(tmp_path: Path) -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: the message and nothing else."""
    code = """
recorder = Recorder(Spool(sys.argv[2], {}, 64_000_000, has_ids=False), {}, is_enhanced=False)
recorder.written("begun", 1)
recorder.written('{"a":1}', 2)
os._exit(0)
"""
    dying(tmp_path / "spool", code)
    assert records(reading(tmp_path / "spool")[0]) == [{"message": "begun"}, {"a": 1}]


def test_a_full_segment_is_no_reason_to_lose_a_text(tmp_path: Path) -> None:
    """The record of a text may be longer than the text, and there may be no room left where it lies."""
    spool = Spool(str(tmp_path / "spool"), {}, 64_000_000, has_ids=False)
    spool.append('{"fill":"' + "x" * (LINE_MAX_BYTES - len('{"fill":""}\n') - 10) + '"')
    spool.partials.begin("begun")
    path = spool.segments[0].path
    for name in (tmp_path / "spool").glob("*.lock"):
        name.unlink()  # as if its process were dead
    os.rename(path, path.replace(f"-p{os.getpid()}.", f"-p{2**22 + 1}."))

    got = records(reading(tmp_path / "spool")[0])
    got += records(reading(tmp_path / "spool")[0])
    assert [record.get("message") for record in got] == [None, "begun"]


def test_long_request_headers_leave_no_room(tmp_path: Path) -> None:
    """They need the place: then text without a line end is lost with its process, and lines are not."""
    spool = Spool(str(tmp_path / "spool"), {"X-Sumo-Fields": "x" * PARTIALS_OFFSET}, 64_000_000)
    slot = spool.partials.begin("begun")
    spool.append('{"a":1')
    assert slot is not None
    spool.partials.extend(slot, ", more")
    spool.partials.end(slot)
    segment = Segment.open(spool.segments[0].path)
    assert json.loads(segment.envelope) == {"X-Sumo-Fields": "x" * PARTIALS_OFFSET}
    assert partials.read(segment) == []


def test_there_is_a_bound_on_texts_at_the_same_time(tmp_path: Path) -> None:
    """More than that are lost with their process; a place is free again when its line is whole."""
    spool = Spool(str(tmp_path / "spool"), {}, 64_000_000)
    slots = [spool.partials.begin(f"text {number}") for number in range(SLOTS + 1)]
    assert slots[-1] is None and None not in slots[:-1]
    assert slots[2] is not None
    spool.partials.end(slots[2])
    spool.partials.begin("another")
    texts = sorted(partial.text for partial in partials.read(spool.segments[0]))
    assert texts == ["another", "text 0", "text 1", "text 3", "text 4"]


def test_what_is_masked_does_not_stay_behind(tmp_path: Path) -> None:
    """A text is as it was written; where lines are masked it is overwritten when it is one."""
    spool = Spool(str(tmp_path / "spool"), {}, 64_000_000)
    spool.partials.is_wiped = True
    slot = spool.partials.begin("hunter2")
    assert slot is not None
    assert b"hunter2" in Path(spool.segments[0].path).read_bytes()
    spool.partials.end(slot)
    assert b"hunter2" not in Path(spool.segments[0].path).read_bytes()


@pytest.mark.parametrize("form", ["text-framed", "json"])
@pytest.mark.parametrize("how", ["timeout", "kill", "exit"])
def test_the_last_words_of_a_function_arrive(
    source: SumoSource, layer_folder: Path, tmp_path: Path, how: str, form: str
) -> None:
    """After a timeout, a SIGKILL, ``os._exit``: one record each, of the invocation that ended so, and no line twice."""
    shutil.copyfile(ROOT / "tests/functions/partial/app.py", tmp_path / "app.py")
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_LOG_TYPES": "function",
    }
    with Environment(
        typical(), tmp_path, "app.handler", layer=layer_folder, variables=variables, timeout_s=1, **FORMATS[form]
    ) as env:
        assert env.start().error is None
        invocation = env.invoke({"how": how})
        env.shutdown()

    got = function_records(source)
    assert [record["message"] for record in got if "Task timed out" not in record["message"]] == [
        *("whole", "connecting to the database ... ", "step 3 of 7 ... ")
    ]
    assert {record["requestID"] for record in got} == {invocation.request_id}


PIECES = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from(["a", "bé", "\n", "x\ny", "\n\n", "€\n", "", "\udcff", " "])),
    max_size=30,
)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """One for all examples: making a spool costs more than an example."""
    yield Recorder(Spool(str(tmp_path_factory.mktemp("partials") / "spool"), {}, 64_000_000), {})


@given(PIECES)
@settings(max_examples=100)
def test_what_is_kept_is_what_has_no_line_end(recorder: Recorder, pieces: list[tuple[int, str]]) -> None:
    """At every instant the map has exactly the text behind the last line end of each stream, and no other."""
    recorder.flush()
    begun = {1: "", 2: ""}
    for stream, text in pieces:
        recorder.written(text, stream)
        begun[stream] = (begun[stream] + text).rpartition("\n")[2]
        kept = (
            [partial.text for partial in partials.read(recorder.spool.segments[-1])] if recorder.spool.segments else []
        )
        assert sorted(kept) == sorted(text for text in begun.values() if text)


def test_the_area_is_where_the_format_says() -> None:
    """Behind short request headers, below the lines. Guards against a text in the middle of either."""
    assert PARTIALS_OFFSET + partials.SLOT_BYTES * (SLOTS + 1) == 16_384 <= SEGMENT_BYTES
    assert partials.TEXT_MAX_BYTES == 2_024
