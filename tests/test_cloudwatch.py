"""SUMO_CLOUDWATCH: what is safe in the spool need not be in CloudWatch, and nothing is nowhere.

Each source of lines is the one of :mod:`test_capture`, with the real runtime client in the model of Lambda.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from model import CloudWatchLine, Environment
from spool_functions import taken
from sumo_source import HANG, Fault, SumoSource
from test_capture import CASES, FORMATS, Case, flat, run, texts
from test_failover_path import bucket as bucket  # a fixture
from test_failover_path import failover
from test_outage_path import environment as probing
from test_outage_path import fill, log, needs_small_tmp
from test_partials import reading
from test_processing_path import MASKS, counts, environment, function_records, leaks, steps
from test_processing_path import task_root as task_root  # a fixture

from sumo_internal.capture.lines import Lines
from sumo_internal.capture.sparing import CloudWatch, SparingRecorder
from sumo_internal.spool.outage import Outage
from sumo_internal.spool.partials import TEXT_MAX_BYTES
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

pytest_plugins = ["aws_server"]

each_format = pytest.mark.parametrize("form", FORMATS)

BYPASSING = {
    "descriptor": ("os.write", "a file of", "a child", "C code", "Current thread", "Thread 0x", "  File", "Stack")
}
"""What Python's streams and logging never see."""

WAITING = {"threads", "interrupted", "recursion"}
"""Functions with lines that wait for another thread, or for room on the stack: those are in both places."""
OF_TIMING = {*WAITING, "structlog_print", "loguru_lines"}
"""Functions whose lines are not the same in each run."""


FEW = 5
"""Lines that may have waited for another thread, on a machine with other things to do, and are in both places then."""


def own(lines: Iterable[CloudWatchLine]) -> list[str]:
    """The function's lines in CloudWatch, without ours."""
    found = [line.text for line in lines if line.source == "function" and line.text.strip()]
    return [text for text in found if not text.startswith("sumo-internal-extension:")]


def plain(text: str) -> str:
    """A text without what differs from run to run."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{24,27}|0x[0-9a-f]+|\d+", "#", text)


@each_format
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_no_source_of_lines_writes_what_is_safe(layer_folder: Path, tmp_path: Path, case: Case, form: str) -> None:
    """Sumo Logic has what it has without the setting, CloudWatch what by-passes us, and nothing else."""
    with SumoSource() as other:
        expected = run(other, layer_folder, tmp_path, case, form)
        other.problems.clear()
    # Where the shipping thread was just looking at the spool's files, a line has waited, and is in both places. Of
    # three runs one at least is without such an accident.
    for attempt in range(3):
        with SumoSource() as other:
            got = run(other, layer_folder, tmp_path, case, form, variables={"SUMO_CLOUDWATCH": "none"})
        written = flat(own(got.cloudwatch))
        waited = [line for line in written if not line.startswith(BYPASSING.get(case.function, ()))]
        assert [line for line in waited if line not in set(flat(texts(got.records)))] == []
        if len(waited) <= (len(got.records) / 5 if case.function in WAITING else 0):
            break
        assert attempt < 2, waited
    assert [each.status for each in got.invocations] == [each.status for each in expected.invocations]
    if case.function not in OF_TIMING:
        assert Counter(map(plain, texts(got.records))) == Counter(map(plain, texts(expected.records)))


def letters(lines: Counter[str]) -> Counter[str]:
    """All that lines consist of, however it is cut into lines."""
    return Counter(letter for line in lines.elements() for letter in line if letter not in "# \n")


EACH = [(case, [*FORMATS][number % len(FORMATS)]) for number, case in enumerate(CASES)]
"""All sources of lines, and all formats, a different one for each source in turn."""
each_source = pytest.mark.parametrize(("case", "form"), EACH, ids=lambda value: getattr(value, "id", value))


@each_source
def test_every_source_is_written_as_ever_while_nobody_takes_lines(
    source: SumoSource, layer_folder: Path, tmp_path: Path, case: Case, form: str
) -> None:
    """The whole of CloudWatch is what it is without SUMO_CLOUDWATCH, from the first line of a process that was told.

    Where Sumo Logic has a text in another form (docs/sources.md: pieces, merged lines, bytes), that is what is written.
    """
    expected = run(source, layer_folder, tmp_path, case, form)
    source.default = Fault(503)
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    (spool / "outage").write_text("1.0")
    (spool / "outage").chmod(0o600)
    variables = {"SUMO_CLOUDWATCH": "none", "SUMO_SPOOL_DIR": str(spool), "SUMO_NUM_RETRIES": "0"}
    variables["SUMO_LOG_LEVEL"] = "error"  # that lines wait is no news here
    got = run(source, layer_folder, tmp_path, case, form, variables=variables)
    source.problems.clear()
    written, before = (Counter(map(plain, flat(own(each.cloudwatch)))) for each in (got, expected))
    if case.function in OF_TIMING:
        assert written
    elif letters(written) != letters(before):
        by_passing = [line for line in written.elements() if line.startswith(BYPASSING.get(case.function, ()))]
        assert written == Counter([*map(plain, flat(texts(expected.records))), *by_passing])


@each_source
def test_the_errors_of_every_source_are_written(
    source: SumoSource, layer_folder: Path, tmp_path: Path, case: Case, form: str
) -> None:
    """Each line of WARNING and above, by its record, and no other but those that by-pass us."""
    got = run(source, layer_folder, tmp_path, case, form, variables={"SUMO_CLOUDWATCH": "errors"})
    written = set(flat(own(got.cloudwatch)))
    by_level: dict[bool, set[str]] = {True: set(), False: set()}
    for record in got.records:
        is_error = record.get("level") in ("WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")
        message = record["message"]
        text = message if isinstance(message, str) else json.dumps(message)
        by_level[is_error].update(flat([text]) if "part" not in record else [])
    missing = by_level[True] - written - by_level[False]
    assert {line for line in missing if "\\x" not in line and "\\u" not in line} == set()
    spared = by_level[False] - by_level[True]
    if case.function not in WAITING:
        assert [line for line in written & spared if not line.startswith(BYPASSING.get(case.function, ()))] == []


NONE, ERRORS = {"SUMO_CLOUDWATCH": "none"}, {"SUMO_CLOUDWATCH": "errors"}


def of_function(env: Environment) -> list[str]:
    """The function's lines in CloudWatch, each without the runtime's prefix."""
    return [line.rpartition("\t")[2] for line in flat(own(env.cloudwatch))]


def of_extension(env: Environment) -> list[Any]:
    """The messages of the records that the extension has written, without the runtime's prefix."""
    found = [line.text for line in env.cloudwatch if line.source.startswith("extension:sumo-internal-extension")]
    messages = [json.loads(text)["message"] for text in found if text.startswith("{")]
    return [each.rpartition("\t")[2] if isinstance(each, str) else each for each in messages]


def sumos(source: SumoSource) -> list[str]:
    """The texts of the function's records, each once."""
    return [str(record["message"]).rpartition("\t")[2] for record in function_records(source)]


@each_format
def test_errors_still_go_there(source: SumoSource, layer_folder: Path, task_root: Path, form: str) -> None:
    """By the log record's level, a JSON object's, else INFO; reports of errors are ERROR, also the runtime's."""
    with environment(source, layer_folder, task_root, variables=ERRORS, timeout_s=10, **FORMATS[form]) as env:
        env.start()
        env.invoke(steps("lines", "error"))
        env.invoke(steps("traceback", "fail"))
        env.shutdown()
        written = "\n".join(own(env.cloudwatch))
    assert "warning" in written and '"event": "json"' in written
    assert "failed for" in written and "ValueError" in written and "KeyError" in written
    assert "printed" not in written and "\tinfo" not in written and '"info"' not in written
    assert len(sumos(source)) == 7


@each_format
def test_metrics_and_what_the_user_keeps_go_there(
    source: SumoSource, layer_folder: Path, tmp_path: Path, form: str
) -> None:
    """CloudWatch makes metrics and alarms of some lines, the user has filters for others: print and logging."""
    (tmp_path / "app.py").write_text(
        "import json, logging, sys\n"
        "log = logging.getLogger('orders')\nlog.setLevel('INFO')\n"
        "METRIC = json.dumps({'_aws': {'CloudWatchMetrics': [{'Namespace': 'orders'}]}, 'orders': 1})\n"
        "def handler(event, context):\n"
        "    print(METRIC)\n    log.info(METRIC)\n    print('audit: printed')\n    log.info('audit: logged')\n"
        "    sys.stdout.buffer.write(b'audit: bytes\\n')\n    print('nothing')\n    log.info('nothing')\n"
    )
    variables = {**NONE, "SUMO_CLOUDWATCH_KEEP": '["^x", "audit: \\\\w"]'}
    with environment(source, layer_folder, tmp_path, variables=variables, timeout_s=10, **FORMATS[form]) as env:
        env.start()
        assert env.invoke({}).status == "success"
        env.shutdown()
        written = own(env.cloudwatch)
    # What the JSON format has as text in an object is no metric.
    assert sum('"CloudWatchMetrics"' in text for text in written) == (1 if "json" in form else 2)
    kept = {re.findall(r"audit: \w+", text)[0] for text in written if "audit" in text}
    assert kept == {"audit: printed", "audit: logged", "audit: bytes"}
    assert not [text for text in written if "nothing" in text]
    assert len(sumos(source)) == 7


@each_format
@pytest.mark.parametrize("setting", ["none", "errors"])
def test_the_same_rules_hold_after_many_lines(
    source: SumoSource, layer_folder: Path, tmp_path: Path, setting: str, form: str
) -> None:
    """When lines are made jointly, and then without a log record: levels, metrics, and what the user keeps."""
    (tmp_path / "app.py").write_text(
        "import json, logging\n"
        "log = logging.getLogger('orders')\nlog.setLevel('INFO')\n"
        "METRIC = json.dumps({'_aws': {'CloudWatchMetrics': [{'Namespace': 'orders'}]}, 'orders': 1})\n"
        "def handler(event, context):\n"
        "    for number in range(30):\n"
        "        log.info('plain %d', number)\n        log.warning('warned %d', number)\n"
        "        log.info(METRIC)\n        log.info('audit: %d', number)\n"
    )
    variables = {"SUMO_CLOUDWATCH": setting, "SUMO_CLOUDWATCH_KEEP": '["audit: \\\\d"]'}
    with environment(source, layer_folder, tmp_path, variables=variables, timeout_s=10, **FORMATS[form]) as env:
        env.start()
        assert env.invoke({}).status == "success"
        env.shutdown()
        written = "\n".join(own(env.cloudwatch))
    kinds = {kind: written.count(kind) for kind in ("plain", "warned", "CloudWatchMetrics", "audit")}
    assert kinds.pop("plain") < FEW
    assert setting == "errors" or kinds["warned"] < FEW
    assert "json" not in form or kinds["CloudWatchMetrics"] < FEW
    assert kinds == {
        "warned": 30 if setting == "errors" else kinds["warned"],
        "CloudWatchMetrics": kinds["CloudWatchMetrics"] if "json" in form else 30,
        "audit": 30,
    }
    assert len(sumos(source)) == 120


def test_what_rules_keep_back_is_nowhere_and_what_they_cannot_do_is_there(
    source: SumoSource, layer_folder: Path, task_root: Path
) -> None:
    """Excluded, dropped and sampled-out lines are counted; a withheld one is written whole."""
    variables = {
        **NONE,
        **MASKS,
        "SUMO_EXCLUDE": "health",
        "SUMO_PROCESSORS": "app.drop_probes,app.breaks",
        "SUMO_SAMPLE": "0",
    }
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke(steps("probe", "lines", "break"))
        env.invoke(steps("print", "fail"))
        env.shutdown()
        written = own(env.cloudwatch)
    # The line of the init phase comes before the processors can be had.
    assert [text.rpartition("\t")[2].strip() for text in written if "loading" in text] == [
        "loading with 4111111111111111"
    ]
    assert [text for text in written if "break" in text and leaks(text)]
    assert not [text for text in written if "probe" in text or "health" in text or "printed" in text]
    counted = counts(source)
    assert counted.items() >= {"excluded": 1, "dropped": 2}.items() and counted["sampledOut"] > 0
    assert leaks(json.dumps(source.records)) == []


@needs_small_tmp
@pytest.mark.parametrize("setting", ["none", "errors"])
def test_what_finds_no_room_goes_there(source: SumoSource, layer_folder: Path, setting: str) -> None:
    """The disk is full and memory used up: each line is at Sumo Logic or in CloudWatch, and the loss is counted."""
    options = {"isolated": True, "tmp_size_mb": 3}
    source.default = Fault(503)
    variables = {"SUMO_CLOUDWATCH": setting, "SUMO_MEMORY_MAX_MB": "0", "SUMO_FLUSH": "next"}
    with probing(source, layer_folder, options, **variables) as env:
        env.start()
        fill(env.tmp)
        env.invoke({"steps": [{"many": 6_000}, {"print": "x" * 5_000}]})
        source.default = Fault()
        env.shutdown()
        written = of_function(env)
    everything = {*sumos(source), *written}
    assert {f"line {number}" for number in range(6_000)} <= everything and "x" * 5_000 in everything
    assert written and len(written) < 6_000


@pytest.mark.parametrize("size", [10, 3_000, 200_000])
@pytest.mark.parametrize("end", ["kill", "remove_tmp and kill"])
def test_a_kill_loses_no_line_that_was_spared(
    source: SumoSource, layer_folder: Path, tmp_path: Path, size: int, end: str
) -> None:
    """Nor text without its line end, however long it is, nor what lies in files that the function has removed."""
    (tmp_path / "app.py").write_text(
        "import os, shutil, sys\n"
        "def handler(event, context):\n"
        f"    print('whole', 'w' * {size})\n"
        "    if 'tmp' in event:\n        shutil.rmtree(os.environ['SUMO_SPOOL_DIR'])\n        print('behind')\n"
        f"    sys.stdout.write('begun ' + 'b' * {size})\n"
        f"    sys.stdout.write('end')\n    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    with environment(source, layer_folder, tmp_path, variables={**NONE, "SUMO_FLUSH": "next"}, timeout_s=10) as env:
        env.start()
        env.invoke(end)
        env.shutdown()
        written = "".join(own(env.cloudwatch))
    said = "".join(str(record.get("message", "")) for record in source.records)
    assert f"whole {'w' * size}" in said + written
    assert f"begun {'b' * size}end" in said or f"begun {'b' * size}end" in written
    if end == "kill" or size == 3_000:
        assert "whole" not in written
    if end != "kill":
        assert "behind" in said + written


@pytest.mark.parametrize(("status", "patience_s"), [(503, "0"), (401, "60"), (403, "60"), (404, "60")])
def test_while_nobody_takes_lines_they_go_there_too(
    source: SumoSource, layer_folder: Path, status: int, patience_s: str
) -> None:
    """From the time on that is set, and at once where it does not pass by itself; also from a new process's first line;
    and no longer when lines are taken again."""
    source.default = Fault(status)
    variables = {**NONE, "SUMO_CLOUDWATCH_FALLBACK_S": patience_s, "SUMO_NUM_RETRIES": "0"}
    with probing(source, layer_folder, None, **variables) as env:
        env.start()
        env.invoke(log("before it is known"))
        env.invoke({"steps": [{"log": "known"}, {"print": "printed"}, {"kill": 0}]})
        env.invoke(log("of the next process"))
        assert sorted(of_function(env)) == ["known", "loaded", "of the next process", "printed"]
        source.default = Fault()
        env.shutdown()
        # What the killed process had left was written when it was gone; not again now.
        assert of_extension(env) == ["loaded", "before it is known", "known", "printed"]
        env.invoke(log("taken again"))
        env.shutdown()
        assert "taken again" not in of_function(env)
    assert {"before it is known", "known", "printed", "of the next process", "taken again"} <= {*sumos(source)}


def test_a_short_outage_is_waited_for(source: SumoSource, layer_folder: Path) -> None:
    """SUMO_CLOUDWATCH_FALLBACK_S is 60 by default: a 503 or two write nothing."""
    source.default = Fault(503)
    with probing(source, layer_folder, None, **NONE) as env:
        env.start()
        env.invoke(log("one"))
        env.invoke(log("two"))
        source.default = Fault()
        env.shutdown()
        assert of_function(env) == [] and of_extension(env) == []
    assert {*sumos(source)} == {"loaded", "one", "two"}


@pytest.mark.parametrize("fault", [Fault(503), HANG, Fault(400)], ids=["503", "hangs", "refused"])
@pytest.mark.parametrize("how", ["ends", "times out", "is killed"])
def test_what_nobody_takes_until_shutdown_is_written_by_the_extension(
    source: SumoSource, layer_folder: Path, fault: Fault, how: str
) -> None:
    """Each line once, oldest first, by whatever the generation ends; in what follows nothing is written again."""
    source.default = fault
    variables = {**NONE, "SUMO_CLOUDWATCH_FALLBACK_S": "3600", "SUMO_LOG_TYPES": "platform,function"}
    last = {"ends": [], "times out": [{"sleep": 60}], "is killed": [{"kill": 0}]}[how]
    with probing(source, layer_folder, {"timeout_s": 3}, **variables) as env:
        env.start()
        env.invoke({"steps": [{"log": "one"}, {"print": "two"}]})
        env.invoke({"steps": [{"log": "three"}, *last]})
        env.shutdown()
        written = of_extension(env)
        ended = env.shutdown()
    assert [each for each in written if each in ("loaded", "one", "two", "three")][:4] == [
        "loaded",
        "one",
        "two",
        "three",
    ]
    assert len(written) == len(set(written)) or fault is HANG or how != "ends"
    assert ended.duration_s < 2.2
    source.problems.clear()


def test_a_bucket_that_takes_lines_is_enough(
    source: SumoSource, layer_folder: Path, aws_server: Any, bucket: str
) -> None:
    """The outage of the source is none of the lines'."""
    source.default = Fault(503)
    variables = {**NONE, **failover(aws_server, bucket), "SUMO_CLOUDWATCH_FALLBACK_S": "0", "SUMO_NUM_RETRIES": "0"}
    with probing(source, layer_folder, None, **variables) as env:
        env.start()
        for number in range(3):
            env.invoke(log(f"{number}"))
        env.shutdown()
        assert of_function(env) == [] and of_extension(env) == []


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SUMO_FUNCTION_LOGS": "telemetry"}, "the function's lines are not taken from its own process"),
        ({"SUMO_LOG_TYPES": "platform"}, "the function's lines are not taken from its own process"),
        ({"SUMO_DISABLED": "true"}, "SUMO_DISABLED is on"),
        ({"SUMO_HTTP_ENDPOINT": ""}, "no lines are shipped"),
        ({"AWS_LAMBDA_EXEC_WRAPPER": ""}, "the function's lines come from Lambda, which has written them by then"),
        (
            {"SUMO_FUNCTION_LOGS": "telemetry", "AWS_LAMBDA_EXEC_WRAPPER": ""},
            "the function's lines come from Lambda, which has written them by then",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_where_it_does_not_act_all_lines_are_written(
    source: SumoSource, layer_folder: Path, task_root: Path, variables: dict[str, str], reason: str
) -> None:
    """Said once, by one process; nothing is spared. The same is said of what else needs the function's process."""
    others = {"SUMO_DEBUG_ON_FAILURE": "orders", "SUMO_INVOCATION_SUMMARY": "true"}
    with environment(source, layer_folder, task_root, variables={**NONE, **others, **variables}, timeout_s=10) as env:
        env.start()
        env.invoke(steps("lines"))
        env.shutdown()
        said = {name: [line.text for line in env.cloudwatch if name in line.text] for name in (*NONE, *others)}
        written = [text.rpartition("\t")[2].strip() for text in own(env.cloudwatch)]
    assert {"info", "printed", "warning"} <= {*written}
    assert [text.partition("has no effect: ")[2] for text in said["SUMO_CLOUDWATCH"]] == [reason]
    if reason.startswith("the function's lines"):
        assert [text.partition("has no effect: ")[2] for name in others for text in said[name]] == [reason, reason]


def test_the_drop_in_spares_nothing(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """It hears log records only, and CloudWatch is written by whatever handler there is."""
    (tmp_path / "app.py").write_text(
        "import logging\nfrom sumo_internal import SumoHandler\nlogging.getLogger().addHandler(SumoHandler())\n"
        "def handler(event, context):\n    logging.getLogger().warning('logged')\n"
    )
    variables = {**NONE, "AWS_LAMBDA_EXEC_WRAPPER": "", "SUMO_FUNCTION_LOGS": "process"}
    with environment(source, layer_folder, tmp_path, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke({})
        env.shutdown()
        assert of_function(env) == ["logged"]
        said = [line.text for line in env.cloudwatch if "has no effect" in line.text]
    assert len(said) == 1 and "SumoHandler" in said[0]


def test_an_init_that_fails_is_told(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Its error is ERROR; with `none` it is at Sumo Logic, and CloudWatch has the platform's INIT_REPORT."""
    (tmp_path / "app.py").write_text("print('begun')\nraise ValueError('no table')\n")
    for setting, expected in (("errors", True), ("none", False)):
        variables = {"SUMO_CLOUDWATCH": setting}
        with environment(source, layer_folder, tmp_path, variables=variables, timeout_s=10) as env:
            assert env.start().error is not None
            env.shutdown()
            written = "".join(own(env.cloudwatch))
        assert ("no table" in written) is expected and "begun" not in written
    assert sum("no table" in text for text in sumos(source)) >= 2


class Sparing:
    """A recorder that spares CloudWatch, with two streams in memory."""

    def __init__(self, folder: Path, setting: str = "none", max_bytes: int = 10 * SEGMENT_BYTES) -> None:
        self.spool = Spool(str(folder), {}, max_bytes)
        self.outage = Outage(str(folder), 60.0)
        self.recorder = SparingRecorder(
            self.spool, {"logStream": "s"}, CloudWatch(self.spool, setting, (), self.outage)
        )
        self.recorder.enter_invocation("one")
        self.raw = {number: io.BytesIO() for number in (1, 2)}
        make = self.recorder.make_stream
        assert make is not None
        self.out, self.err = (
            make(
                io.TextIOWrapper(self.raw[number], "utf-8", "strict" if number == 1 else "backslashreplace"),
                number,
                self.recorder.written,
            )
            for number in (1, 2)
        )

    def messages(self) -> list[Any]:
        return [json.loads(line)["message"] for line in taken(SpoolReader(self.spool.folder, self.spool))]


def test_write_returns_and_raises_as_before(tmp_path: Path) -> None:
    """A closed stream, what is no text, what cannot be encoded: the function is told, and nothing is recorded."""
    sparing, plain_stream = Sparing(tmp_path / "spool"), io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
    for text in ("a\n", "ä", "", "two\nlines\n"):
        assert sparing.out.write(text) == plain_stream.write(text)
    values: list[Any] = [b"bytes", None, 3]
    for value in values:
        messages = []
        for stream in (sparing.out, plain_stream):
            with pytest.raises(TypeError) as error:
                stream.write(value)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    with pytest.raises(UnicodeEncodeError):
        sparing.out.write("\udc80\n")
    assert sparing.err.write("\udc80\n") == 2
    assert sparing.out.buffer.write(b"bytes\n") == 6
    with pytest.raises(TypeError):
        sparing.out.buffer.write("text")
    plain_stream.close()
    sparing.out._stream.close()
    for stream in (sparing.out, plain_stream):
        with pytest.raises(ValueError, match="closed"):
            stream.write("late\n")
    assert sparing.messages() == ["a", "ätwo", "lines", "\\udc80", "bytes"]


@pytest.mark.parametrize("setting", ["none", "errors"])
def test_what_the_spool_refuses_is_written_whole(tmp_path: Path, setting: str) -> None:
    """Also where its text came in pieces, and where its beginning was written already: each line once."""
    sparing = Sparing(tmp_path / "spool", setting, 3 * SEGMENT_BYTES)
    lines = [f"{number} {'x' * (number * 37 % 5_000)}" for number in range(3_000)]
    for line in lines:
        sparing.out.write(line[:7])
        sparing.out.write(line[7:])
        sparing.out.write("\n")
    written = sparing.raw[1].getvalue().decode().splitlines()
    recorded = sparing.messages()
    assert len(written) > 100 and len(recorded) > 100
    assert {*written, *recorded} == {*lines}
    assert len(written) == len({*written}) and len(recorded) == len({*recorded})


VALUE = ["[", *(f'  "item {number} {"x" * 50}",' for number in range(200))]
WAYS: dict[str, list[str]] = {
    "whole lines": [f"{line}\n" for line in VALUE],
    "prints": [text for line in VALUE for text in (line, "\n")],
    "ten lines at once": ["".join(f"{line}\n" for line in VALUE[begin : begin + 10]) for begin in range(0, 200, 10)],
    "lines with the next one's beginning": [f"\n{line}" for line in VALUE],
}


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("way", WAYS)
def test_a_kill_in_the_middle_of_a_value_loses_nothing(tmp_path: Path, way: str, share: float) -> None:
    """Its lines wait for the end of the value, and of more than fits into the map another process finds the end only:
    the rest is kept elsewhere, or written."""
    writes = WAYS[way][: max(1, round(share * len(WAYS[way])))]
    if not (pid := os.fork()):
        sparing = Sparing(tmp_path / "spool")
        for text in writes:
            sparing.out.write(text)
        (tmp_path / "written").write_bytes(sparing.raw[1].getvalue())
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    reader, _ = reading(tmp_path / "spool")
    recorded = "".join(str(json.loads(line).get("message")) for line in taken(reader))
    everywhere = recorded + (tmp_path / "written").read_text()
    assert [line for line in "".join(writes).split("\n") if line.strip() not in everywhere] == []


def test_a_value_of_many_pieces_is_looked_at_for_a_few_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``json.dump`` writes 20,000 of them: what waits was put together anew for each, in 6 s for 200 KB. It is whole in
    both places at the end."""
    sparing, content = Sparing(tmp_path / "spool"), [{"number": number} for number in range(3_000)]
    looks, waiting = [], Lines.waiting

    def look(*given: Any, **named: Any) -> str:
        looks.append(given)
        return waiting(*given, **named)

    monkeypatch.setattr(Lines, "waiting", look)
    json.dump(content, sparing.out, indent=2)
    sparing.out.write("\nafter it\n")
    assert len(looks) < 2 * TEXT_MAX_BYTES
    assert json.loads(sparing.raw[1].getvalue()) == content
    recorded = [each if isinstance(each, str) else json.dumps(each) for each in sparing.messages()]
    assert json.loads("".join(recorded[:-1])) == content and recorded[-1] == "after it"


def test_unprotected_lines_are_written(tmp_path: Path) -> None:
    """Lines in the memory of this process alone: no file can be made, and no extension keeps a descriptor."""
    (tmp_path / "file").touch()
    spool = Spool(str(tmp_path / "file" / "spool"), {}, 10 * SEGMENT_BYTES, memory_max_bytes=SEGMENT_BYTES)
    recorder = SparingRecorder(spool, {}, CloudWatch(spool, "none", (), Outage(str(tmp_path), 60.0)))
    raw = io.BytesIO()
    assert recorder.make_stream is not None
    stream = recorder.make_stream(io.TextIOWrapper(raw), 1, recorder.written)
    print("a line", file=stream)
    assert raw.getvalue() == b"a line\n" and spool.pending_bytes > 0


def test_a_line_that_waits_for_another_thread_is_written(tmp_path: Path) -> None:
    """It is in this process's memory until that thread has ended its own line, and a kill would lose it."""
    sparing = Sparing(tmp_path / "spool")
    sparing.out.write("before\n")
    has_turn, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        has_turn.set()
        is_over.wait(10)

    holder = threading.Thread(target=sparing.spool.run, args=(hold,))
    holder.start()
    assert has_turn.wait(10)
    sparing.out.write("waits\n")
    is_over.set()
    holder.join()
    sparing.out.write("behind\n")
    assert sparing.raw[1].getvalue() == b"waits\n"
    assert sparing.messages() == ["before", "waits", "behind"]


def test_an_error_of_ours_is_no_lines_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that could not be recorded is written, and counted; so is what was begun before."""
    monkeypatch.setattr("sumo_internal.diagnostics.IS_STRICT", False)
    sparing = Sparing(tmp_path / "spool")

    def broken(*_: object) -> int:
        raise ZeroDivisionError

    sparing.out.write("begun, ")
    monkeypatch.setattr(sparing.recorder, "append", broken)
    sparing.out.write("ended\nmore\n")
    assert sparing.raw[1].getvalue() == b"begun, ended\nmore\n"
    assert sparing.spool.counters.counts()["unrecorded"][0] == 2


def test_a_log_record_without_a_line_end_is_written_once(tmp_path: Path, noted: None) -> None:
    """A handler that writes in pieces: recorded when it is done, and then written if it has to be."""
    sparing = Sparing(tmp_path / "spool", "errors")
    handler = logging.StreamHandler(sparing.out)
    handler.terminator = ""
    for level in (logging.INFO, logging.ERROR):
        handler.handle(logging.LogRecord("orders", level, "", 0, "level %d", (level,), None))
    assert sparing.raw[1].getvalue() == b"level 40\n"
    assert sparing.messages() == ["level 20", "level 40"]


def test_the_note_of_an_outage(tmp_path: Path) -> None:
    """The earliest time counts, until lines are taken; the next process knows it; a damaged note is none."""
    first = Outage(str(tmp_path), 60.0)
    first.failed(1_000.0, 503)
    first.failed(1_030.0, 0)
    assert first.from_s == 1_060.0 == Outage(str(tmp_path), 5.0).from_s
    first.failed(1_040.0, 401)
    assert first.from_s == 1_040.0
    first.took()
    assert first.from_s == 0.0 == Outage(str(tmp_path), 5.0).from_s
    for text in ("nan", "-1", "inf", "x" * 50):
        (tmp_path / "outage").write_text(text)
        assert Outage(str(tmp_path), 5.0).from_s == 0.0
