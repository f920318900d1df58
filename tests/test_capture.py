"""Capture: whatever a function writes with, what CloudWatch gets is at Sumo once, whole, and with what is known of it.

Each set-up is a function of its own (``functions/capture``), with the real library, run by the real runtime client in
the model of Lambda. The cases are also the rows of the documentation's table of sources.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import sources_table
from model import CloudWatchLine, Environment, Invocation
from packages import package
from runtimes import Runtime, runtimes, typical
from sumo_rules import TOKEN
from sumo_source import SumoSource

FUNCTIONS = Path(__file__).parent / "functions" / "capture"
WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}

FORMATS: dict[str, dict[str, Any]] = {
    "text-framed": {"entry": "managed", "framed": True, "log_format": "Text"},
    "text": {"entry": "image", "framed": False, "log_format": "Text"},
    "json-framed": {"entry": "managed", "framed": True, "log_format": "JSON", "log_level": "DEBUG"},
    "json": {"entry": "image", "framed": False, "log_format": "JSON", "log_level": "DEBUG"},
}
each_format = pytest.mark.parametrize("form", FORMATS)

COMMON_KEYS = set(
    "time type message requestID logGroup logStream IsColdStart LayerVersion runtimeVersion traceId id".split()
)

Lines = list[str]
Record = dict[str, Any]


# What a case expects of the lines that CloudWatch got and those that Sumo got.


def same(printed: Lines, recorded: Lines) -> None:
    """The same lines, each as often."""
    assert Counter(recorded) == Counter(printed)


def same_but_for_layout(printed: Lines, recorded: Lines) -> None:
    """The same characters in the same order, where an object's record is the object."""
    texts = ["".join("".join(lines).split()) for lines in (printed, recorded)]
    assert texts[0] == texts[1]


def printed_together(printed: Lines, recorded: Lines) -> None:
    """The object that was printed on several lines is one, and half a line stands by itself."""
    begin, end = printed.index("{"), printed.index("}")
    value = canonical("".join(printed[begin : end + 1]))
    apart("half a line")([*printed[:begin], value, *printed[end + 1 :]], recorded)


def without(*bypassing: str) -> Callable[[Lines, Lines], None]:
    """CloudWatch's lines but for those that begin so."""
    return lambda printed, recorded: same([line for line in printed if not line.startswith(bypassing)], recorded)


def apart(*pieces: str) -> Callable[[Lines, Lines], None]:
    """The same texts, each of these on a line of its own, where CloudWatch has it glued to another text."""

    def check(printed: Lines, recorded: Lines) -> None:
        for piece in pieces:
            glued = next(line for line in printed if piece in line and line != piece)
            printed = [*(line for line in printed if line is not glued), piece, *flat(glued.split(piece, 1))]
        same(printed, recorded)

    return check


def swapped(known: dict[str, str]) -> Callable[[Lines, Lines], None]:
    """CloudWatch's lines, but others in place of these."""

    def check(printed: Lines, recorded: Lines) -> None:
        assert known.keys() <= set(printed)
        same([known.get(line, line) for line in printed], recorded)

    return check


def whole_lines_of_threads(_: Lines, recorded: Lines) -> None:
    """All lines of each thread, in its order. (TextIOWrapper is not made for threads: CloudWatch may miss some.)"""
    for number in range(4):
        for verb in ("printed", "logged"):
            own = [line for line in recorded if f"{verb} by {number} " in line]
            assert own == [f"{verb} by {number} line {line}" for line in range(50)]
    assert len(recorded) == 400


def interruptions(printed: Lines, recorded: Lines) -> None:
    """Each text whole and once, where CloudWatch has some of them glued together."""
    text = r"\[INFO\]\t\S+\t\S+\tlogged \d+|(?:printed|written|inner) \d+|\{.*?\}"
    same([canonical(found) for line in printed for found in re.findall(text, line)], recorded)
    assert [line for line in recorded if line.startswith("printed ")] == [f"printed {n}" for n in range(2000)]
    assert any(line.startswith("inner ") for line in recorded)


def large_fields(printed: Lines, recorded: Lines) -> None:
    """The field that does not fit its record stands behind the record's text, unless it is in there already."""
    field = {"field": "f" * 100_000}
    has_objects = any(field.items() <= json.loads(line).items() for line in printed if line.startswith("{"))
    same(printed if has_objects else [*printed, json.dumps(field)], recorded)


@dataclass(frozen=True)
class Case:
    """A source of lines: a function, what it is asked to do, and how Sumo's lines differ from CloudWatch's."""

    function: str
    source: str
    difference: str = "none"
    check: Callable[[Lines, Lines], None] = same
    packages: tuple[str, ...] = ()
    payloads: tuple[dict[str, Any], ...] = ({},)
    has_counts: bool = True
    """The number of CloudWatch's lines is the same in each run and on each Python; tracebacks differ."""
    is_timed: bool = False
    """How many records there are, too, is a matter of timing."""

    @property
    def id(self) -> str:
        words = [str(value) for value in self.payloads[0].values()] if len(self.payloads) == 1 else []
        return "-".join([self.function, *words])


STRUCTLOG = ("structlog==26.1.0",)
ONE_RECORD = "a log record is one record, whatever lines it has"
ONE_REPORT = "the report of an error is one record, whatever lines it has"
ONE_VALUE = "a JSON value, a value of `pprint`, a traceback is one record, whatever lines it has"
KEPT_APART = "the two streams are kept apart, CloudWatch may have their texts on one line"

CASES = [
    Case("plain", "`logging`, as Lambda sets it up"),
    Case("forced", "`logging.basicConfig(force=True)`", ONE_RECORD, has_counts=False),
    Case("configured", "`logging.config.dictConfig` with handlers in place of the runtime's"),
    Case("own_handlers", "loggers that do not propagate, with handlers on streams opened at import", ONE_RECORD),
    Case("odd", "log records with odd names, values, levels and errors"),
    Case("own_handle", "handlers with a `handle` of their own", ONE_RECORD, has_counts=False),
    Case("warned", "warnings, printed and through `logging.captureWarnings`", ONE_RECORD),
    Case(
        "powertools",
        "Powertools' Logger, and a logger that its filter hides",
        packages=("aws-lambda-powertools==3.37.0",),
    ),
    Case(
        "structlog_print",
        "structlog with ConsoleRenderer and PrintLogger",
        "a traceback is one record; any other text is text, without keys",
        packages=STRUCTLOG,
        has_counts=False,
        is_timed=True,
    ),
    Case("structlog_write", "structlog with JSONRenderer and WriteLogger", packages=STRUCTLOG),
    Case("structlog_bytes", "structlog with JSONRenderer and BytesLogger", packages=STRUCTLOG),
    Case(
        "structlog_stdlib",
        "structlog through `logging` with its ProcessorFormatter, as text and as JSON",
        ONE_RECORD,
        packages=STRUCTLOG,
        has_counts=False,
    ),
    Case("structlog_bridge", "structlog through `logging` and the runtime's handler", packages=STRUCTLOG),
    Case("loguru_lines", "loguru", ONE_RECORD, packages=("loguru==0.7.3",), has_counts=False),
    Case(
        "printed",
        "`print`, `write` and `writelines` of `sys.stdout` and `sys.stderr`",
        f"blank lines are left out; {ONE_VALUE}; {KEPT_APART}",
        printed_together,
    ),
    Case(
        "together",
        "`json.dumps(…, indent=2)`, `pprint`, `traceback`, printed",
        ONE_VALUE,
        same_but_for_layout,
        has_counts=False,
    ),
    Case("binary", "`sys.stdout.buffer`, its `raw`, a wrapper around it, `sys.__stdout__`"),
    Case(
        "not_text",
        "bytes that are no UTF-8, control characters, lone surrogates",
        "bytes that are no UTF-8 are shown as escapes (`\\xff`), CloudWatch has `�`",
        swapped(
            {
                "�PNG\r": "\\x89PNG\r",
                "\x1a\x00��": "\x1a\x00\\xff\\xfe",
                "half a character �nul \0, bell \a, escape \x1b[31m, separator \u2028": "half a character \\xe2\\x82"
                "nul \0, bell \a, escape \x1b[31m, separator \u2028",
            }
        ),
    ),
    Case("elsewhere", "descriptors 1 and 2 made another file's", "none: what goes elsewhere reaches neither"),
    Case("redirected", "`contextlib.redirect_stdout`", "none: what is redirected reaches neither"),
    Case(
        "threads",
        "threads that print and log at the same time",
        "each thread's lines are whole, CloudWatch has some of them merged",
        whole_lines_of_threads,
        has_counts=False,
    ),
    Case("tasks", "asyncio tasks, and the error of one that nobody looks at"),
    Case("queued", "QueueHandler with QueueListener, MemoryHandler", ONE_RECORD),
    Case("nested", "a handler that logs, a value whose text logs, a record for two handlers"),
    Case("misfit", "errors of logging itself (`--- Logging error ---`)", ONE_REPORT, has_counts=False),
    Case("uncaught", "an exception of the handler"),
    Case("hooks", "exceptions in threads and finalisers", ONE_REPORT, has_counts=False),
    Case(
        "leaves",
        "`sys.exit` with a message",
        KEPT_APART,
        apart("half a line, and then "),
        payloads=({"how": "with a message"},),
    ),
    Case(
        "leaves",
        "an exception that ends the process",
        f"{ONE_REPORT}; {KEPT_APART}",
        apart("half a line, and then "),
        payloads=({"how": "interrupt"},),
        has_counts=False,
    ),
    Case("large", "texts, objects and fields of more than 60 KiB", "numbered parts", large_fields),
    Case("recursion", "a recursion without end that prints and logs", has_counts=False, is_timed=True),
    *(
        Case(
            "interrupted",
            f"{by} that write and log in the middle of a line",
            "each text is whole, CloudWatch has some of them glued together",
            interruptions,
            payloads=({"by": by},),
            has_counts=False,
            is_timed=True,
        )
        for by in ("signals", "finalisers")
    ),
    Case(
        "forks",
        "forked children, one of them of a thread while another is in the middle of a line",
        "each process's lines are whole, CloudWatch has some of them merged",
        swapped(
            {"one line, printed by a thread's child": "printed by a thread's child", "whole": "one line, whole"},
        ),
    ),
    Case(
        "background",
        "a background thread, in later invocations too",
        "a line that is not ended when its invocation ends is a record as far as it is there",
        apart("begun in 0, ", "begun in 1, "),
        payloads=({"number": 0, "steps": 1}, {"number": 1, "steps": 2}, {"number": 2, "steps": 2}),
    ),
    Case(
        "descriptor",
        "`os.write`, a file on the descriptor, C code, child processes, faulthandler",
        "not seen from inside Python; `SUMO_FUNCTION_LOGS=telemetry` has all of it",
        without("os.write", "a file of", "a child", "C code", "Current thread", "Thread 0x", "  File", "Stack"),
        has_counts=False,
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@dataclass(frozen=True)
class Run:
    """What became of a function's lines."""

    cloudwatch: list[CloudWatchLine]
    records: list[Record]
    invocations: list[Invocation]
    log_stream: str

    def entries(self, form: str) -> list[object]:
        """Return what the runtime wrote, entry by entry; without frames, each entry begins like ``[INFO]``."""
        if "json" in form:
            return [json.loads(line.text) for line in self.cloudwatch]
        text = "\n".join(line.text.removesuffix("\n") for line in self.cloudwatch)
        return list(re.split(r"\n(?=\[)", text))

    def message(self, fragment: str) -> Record:
        """Return the one record whose message has this in it."""
        (record,) = [record for record in self.records if fragment in str(record["message"])]
        return record


def run(
    source: SumoSource,
    layer: Path | None,
    task: Path,
    case: Case,
    form: str = "text-framed",
    runtime: Runtime | None = None,
    tenant_id: str | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """Start a case's function, invoke it with each payload, shut it down; without a layer, without us altogether."""
    wrapper = WRAPPER if layer else {}
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function", **wrapper, **variables}
    shutil.copyfile(FUNCTIONS / f"{case.function}.py", task / f"{case.function}.py")
    for requirement in case.packages:
        for path in package(requirement, is_complete=True).iterdir():
            if not (task / path.name).exists():
                (task / path.name).symlink_to(path)
    handler, options = f"{case.function}.handler", FORMATS[form]
    with Environment(
        runtime or typical(), task, handler, layer=layer, variables=variables, timeout_s=20, **options
    ) as env:
        assert env.start().error is None
        invocations = [env.invoke(payload, tenant_id=tenant_id) for payload in case.payloads]
        env.shutdown()
        lines = [line for line in env.cloudwatch if line.source == "function" and line.text.strip()]
        assert [line.text for line in lines if line.text.startswith("sumo-internal-extension:")] == []
    # A freeze in the middle of a request makes lines arrive twice; their ids tell.
    records = list({record["id"]: record for record in source.records}.values())
    return Run(lines, records, invocations, env.log_stream)


def of(function: str) -> Case:
    return next(case for case in CASES if case.function == function)


def texts(records: Iterable[Record]) -> Iterator[str]:
    """The records' messages as text, the parts of one put together."""
    text = ""
    for record in records:
        message = record["message"]
        text += message if isinstance(message, str) else json.dumps(message)
        if record.get("part") == record.get("parts"):
            yield text
            text = ""


def flat(texts: Iterable[str]) -> Lines:
    """Texts cut into lines, blank ones left out; a line that is a JSON object has one form only."""
    return [canonical(line) for text in texts for line in text.split("\n") if line.strip()]


def canonical(line: str) -> str:
    if line.startswith("{"):
        try:
            return json.dumps(json.loads(line), sort_keys=True)
        except ValueError:
            pass
    return line


@each_format
@each_case
def test_what_reaches_cloudwatch_reaches_sumo_once(
    source: SumoSource, layer_folder: Path, tmp_path: Path, case: Case, form: str
) -> None:
    """Line by line the same, but for what the case names; and the documentation says so."""
    got = run(source, layer_folder, tmp_path, case, form)

    # loguru shows the beginning of os.environ, and with it that of the endpoint.
    printed = (re.sub(rf"{re.escape(TOKEN[:12])}[\w=-]*", "***", line.text) for line in got.cloudwatch)
    case.check(flat(printed), flat(texts(got.records)))
    assert {record["logStream"] for record in got.records} <= {got.log_stream}
    if form == "text-framed":
        keys = {key for record in got.records for key in record} - COMMON_KEYS
        lines = len(got.cloudwatch) if case.has_counts else None
        row = sources_table.row(case.source, lines, None if case.is_timed else len(got.records), keys, case.difference)
        sources_table.check(row, SOURCES)


SOURCES = [*(case.source for case in CASES), *sources_table.LAMBDAS]
"""The rows of the table, in order."""

OF_THE_INTERPRETER = {
    *("plain", "own_handlers", "binary", "threads", "queued"),
    *("misfit", "hooks", "leaves", "recursion", "interrupted", "forks"),
}
"""Functions whose cases rest on how this Python does things."""


@pytest.mark.parametrize("runtime", [each for each in runtimes([4]) if each != typical()], ids=lambda each: each.id)
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.function in OF_THE_INTERPRETER], ids=lambda case: case.id
)
def test_each_python_is_captured(
    source: SumoSource, layer_folder: Path, tmp_path: Path, case: Case, runtime: Runtime
) -> None:
    """``logging``, the streams and the hooks are not the same in all versions."""
    got = run(source, layer_folder, tmp_path, case, runtime=runtime)
    case.check(flat(line.text for line in got.cloudwatch), flat(texts(got.records)))


def test_the_table_of_sources_is_complete() -> None:
    """Each case has its row, in order, and no row is left of a case that is gone."""
    assert sources_table.listed() == (True, SOURCES)


OF_THE_PROCESS = {"threads", "interrupted", "recursion", "descriptor", "loguru_lines"}
"""Functions whose lines tell of timing, or of the process's stack, threads or environment."""


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.function not in OF_THE_PROCESS], ids=lambda case: case.id
)
def test_cloudwatch_gets_what_it_gets_without_us(
    source: SumoSource, layer_folder: Path, tmp_path: Path, case: Case
) -> None:
    """Not a line, not a frame in a call stack more or less, but those of how the runtime was started."""
    seen = [run(source, layer, tmp_path, case).cloudwatch for layer in (None, layer_folder)]
    without_us, with_us = (Counter(comparable(lines)) for lines in seen)
    assert with_us == without_us


def comparable(cloudwatch: list[CloudWatchLine]) -> Iterator[str]:
    """Lines without what differs from run to run, and without our launcher's frames in call stacks."""
    is_ours = False
    for line in (line for each in cloudwatch for line in each.text.rstrip("\n").split("\n")):
        if 'File "' in line:
            is_ours = re.search(r"/sumo_internal/(start|go_on)\.py\"", line) is not None
        if not is_ours:
            yield re.sub(r"[0-9a-f]{8}-[0-9a-f-]{24,27}|0x[0-9a-f]+|\d+", "#", line)


@each_format
def test_a_log_record_is_the_runtimes_line_and_its_fields(
    source: SumoSource, layer_folder: Path, tmp_path: Path, form: str
) -> None:
    """In Text the message is the very line, in JSON the object; level, logger and fields are keys besides, in both."""
    got = run(source, layer_folder, tmp_path, of("plain"), form)
    request_id = got.invocations[0].request_id

    assert [record["message"] for record in got.records] == got.entries(form)
    assert {(record["type"], record["requestID"]) for record in got.records} == {("function", request_id)}
    info, debug, own, root, error = got.records
    assert [(r["level"], r["logger"]) for r in (info, debug, root, error)] == [
        *(("INFO", "orders"), ("DEBUG", "orders"), ("WARNING", "root"), ("ERROR", "orders")),
    ]
    assert own["level"] == "INFO"  # of 25, as the runtime rounds it
    assert (info["order"], info["customer"]) == ({"id": 17, "total": 9.5}, "ä €")
    assert (error["errorType"], error["errorMessage"], error["extra_id"]) == ("KeyError", "'price'", 17)
    assert "in handler" in error["stackTrace"][-1]
    if "json" not in form:
        shape = rf"\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{request_id}\torder 17 accepted"
        assert re.fullmatch(shape, info["message"])
        assert error["message"].splitlines()[-1] == "KeyError: 'price'"


@each_format
def test_odd_log_records_have_what_can_be_had_of_them(
    source: SumoSource, layer_folder: Path, tmp_path: Path, form: str
) -> None:
    """Each of them once, whatever its attributes are: with its level, its fields, and the exception if it is one."""
    got = run(source, layer_folder, tmp_path, of("odd"), form)
    names, nothing, pair, field, *failed, timeless, printed = got.records
    assert (names["404"], names["order"], nothing["None"]) == (3, 17, 3)
    assert (pair["level"], pair["(1, 2)"], pair["b'key'"], pair["tenant_id"]) == ("WARNING", 3, 4, "acme")
    assert (field["level"], field["order"]) == ("INFO", 17)
    assert not field.keys() & {"_private", "called"}
    assert [each.get("errorType") for each in failed] == ["KeyError", "KeyError", None, None, None, None]
    assert (timeless["level"], timeless["logger"], printed["level"]) == ("INFO", "['a', 'list']", "ERROR")


@pytest.mark.parametrize(("level", "count"), [("TRACE", 5), ("WARN", 5), ("ERROR", 4)])
def test_lambdas_log_level_holds_for_both(
    source: SumoSource, layer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, count: int
) -> None:
    """AWS_LAMBDA_LOG_LEVEL is the root logger's: what it keeps from CloudWatch is not sent either, nothing else."""
    monkeypatch.setitem(FORMATS["json-framed"], "log_level", level)
    got = run(source, layer_folder, tmp_path, of("plain"), "json-framed")
    assert [record["message"] for record in got.records] == got.entries("json-framed")
    assert len(got.records) == count


def test_what_bypasses_python_is_had_from_the_telemetry_api(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """The answer for functions that need it, wrapper or not: every line, and none of them by both ways."""
    case, variables = of("descriptor"), {"SUMO_FUNCTION_LOGS": "telemetry"}
    got = run(source, layer_folder, tmp_path, case, variables=variables)
    printed = flat(line.text for line in got.cloudwatch)
    assert any(line.startswith("C code") for line in printed)
    same(printed, flat(texts(got.records)))


@dataclass(frozen=True)
class Broken:
    """A module that cannot be imported or has no handler, and the error that the runtime reports."""

    id: str
    error_type: str
    fragment: str
    code: str
    handler: str = "broken.handler"


BROKEN = [
    Broken("module", "Runtime.ImportModuleError", "No module named 'absent'", "print('begun')\nimport absent\n"),
    Broken("syntax", "Runtime.UserCodeSyntaxError", "Syntax error in module", "def handler(:\n"),
    Broken("handler", "Runtime.HandlerNotFound", "Handler 'absent' missing", "print('begun')\n", "broken.absent"),
    Broken("raises", "KeyError", "'price'", "import logging\nlogging.error('begun')\n{}['price']\n"),
    Broken("exits", "", "begun", "import sys\nprint('begun')\nsys.exit(3)\n"),
]


@each_format
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.id)
def test_a_module_that_cannot_be_imported_is_reported(
    source: SumoSource, layer_folder: Path, tmp_path: Path, broken: Broken, form: str
) -> None:
    """Each failed init is one record with the error's parts, and what came before it is there; nothing is there twice.

    Guards against what the last lines of a process lose that ends before its first Next.
    """
    (tmp_path / "broken.py").write_text(broken.code)
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function", **WRAPPER}
    with Environment(
        typical(), tmp_path, broken.handler, layer=layer_folder, variables=variables, timeout_s=20, **FORMATS[form]
    ) as env:
        assert env.start().error is not None
        env.shutdown()
        printed = flat(line.text for line in env.cloudwatch if line.source == "function")

    records = list({record["id"]: record for record in source.records}.values())
    same(printed, flat(texts(records)))
    assert any(broken.fragment in str(record["message"]) for record in records)
    errors = [record for record in records if "errorType" in record]
    assert [record["errorType"] for record in errors] == ([broken.error_type] if broken.error_type else [])
    assert all(broken.fragment in record["errorMessage"] and record["level"] == "ERROR" for record in errors)
    assert all("requestID" not in record and record["IsColdStart"] for record in records)


@each_format
def test_an_uncaught_exception_is_the_runtimes_report_and_its_parts(
    source: SumoSource, layer_folder: Path, tmp_path: Path, form: str
) -> None:
    """One record, with the type, the message and the stack that its text has lost."""
    got = run(source, layer_folder, tmp_path, of("uncaught"), form)

    (record,) = got.records
    assert got.invocations[0].status == "error"
    assert [record["message"]] == got.entries(form)
    assert (record["level"], record["errorType"]) == ("ERROR", "OrderFailed")
    assert record["errorMessage"] == "no price\nfor order 17"
    assert "in handler" in record["stackTrace"][-1]


def test_reports_of_python_and_of_logging_say_which_error(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """A thread's traceback, a finaliser's, one of logging itself: CloudWatch has a line per line, Sumo an error."""
    run(source, layer_folder, tmp_path, of("hooks"))
    records = run(source, layer_folder, tmp_path, of("misfit")).records

    shown = [(r.get("errorType"), r.get("errorMessage"), r["level"]) for r in records]
    assert shown == [
        ("LookupError", "in a thread\nof two lines", "ERROR"),
        ("ValueError", "in a finaliser", "ERROR"),
        ("TypeError", "%d format: a real number is required, not str", "ERROR"),
        ("KeyError", "'no text'", "ERROR"),
        (None, None, "WARNING"),
    ]
    assert records[0]["message"].startswith("Exception in thread worker:\nTraceback (most recent call last):\n")
    assert "Call stack:" in records[2]["message"]
    odd = records[4]
    assert (odd["unprintable"], odd["nan"], int(odd["huge"], 16)) == (
        *("<unprintable Unprintable: KeyError>", "nan", 10**5000),
    )


def test_lines_of_a_background_thread_belong_to_the_invocation_that_runs(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """Not to the one that started the thread; and warm is what comes after the first invocation."""
    got = run(source, layer_folder, tmp_path, of("background"))
    for number, invocation in enumerate(got.invocations):
        for fragment in (
            f"handler {number}",
            f"printed late {number}",
            f"logged late {number}",
            f"begun in {number}, ",
        ):
            record = got.message(fragment)
            assert (record["requestID"], record["IsColdStart"]) == (invocation.request_id, number == 0)
    ended = [record["requestID"] for record in got.records if record["message"] == "ended"]
    assert ended == [invocation.request_id for invocation in got.invocations[1:]]


def test_structlogs_context_becomes_keys(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Through ``logging`` its bound values are keys of the record, rendered as text or as an object."""
    got = run(source, layer_folder, tmp_path, of("structlog_stdlib"))
    text, object_, *_, error_text, error_object = got.records
    assert isinstance(text["message"], str) and isinstance(object_["message"], dict)
    for record in (text, object_):
        assert (record["request"], record["order"], record["level"], record["logger"]) == ("r-1", 17, "INFO", "orders")
    for record in (error_text, error_object):
        assert (record["errorType"], record["extra_id"]) == ("KeyError", 17)


@pytest.mark.parametrize("function", ["structlog_write", "structlog_bytes"])
def test_structlogs_json_lines_are_objects(
    source: SumoSource, layer_folder: Path, tmp_path: Path, function: str
) -> None:
    """What it prints is an object, bound context included, with its level as the record's."""
    got = run(source, layer_folder, tmp_path, of(function))
    accepted, failed = got.records
    assert accepted["message"] == {
        **{"customer": "ä", "order": 17, "event": "accepted", "request": "r-1", "level": "warning"},
    }
    assert (accepted["level"], failed["level"]) == ("WARNING", "ERROR")
    assert failed["message"]["exception"][0]["exc_type"] == "KeyError"


def test_logurus_records_have_their_keys(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Its lines carry their record: level, logger, bound values and the error, traceback in one piece."""
    got = run(source, layer_folder, tmp_path, of("loguru_lines"))
    info, warning, error = got.records
    assert (info["level"], info["logger"]) == ("INFO", "loguru_lines")
    assert warning["message"].endswith(" - two\nlines — €")
    assert (warning["request"], warning["order"], warning["extra_id"]) == ("r-1", 17, "x")
    assert (error["errorType"], error["message"].splitlines()[-1]) == ("KeyError", "KeyError: 'price'")


def test_what_is_too_long_is_whole_in_its_parts(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Numbered parts, each a record by itself with an id of its own, none over the bound."""
    got = run(source, layer_folder, tmp_path, of("large"))

    numbers = [(record["part"], record["parts"]) for record in got.records]
    totals = [parts for part, parts in numbers if part == 1]
    assert len(totals) == 4
    assert numbers == [(part, parts) for parts in totals for part in range(1, parts + 1)]
    assert max(len(json.dumps(record, ensure_ascii=False).encode()) for record in got.records) < 60 * 1024
    text, object_, logged, field = texts(got.records)
    assert (text, logged[-100_000:]) == ("p" * 200_000, "l" * 100_000)
    assert json.loads(object_) == {"object": ["€" * 10] * 10_000}
    assert json.loads(field.partition("\n")[2]) == {"field": "f" * 100_000}
    last = got.records[-1]
    assert (last["level"], last["logger"], last["order"]) == ("INFO", "orders", 17)


@pytest.mark.parametrize("runtime", runtimes([3, 4])[-2:], ids=lambda each: each.id)
def test_the_tenant_and_the_trace_are_on_every_line(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """As the runtime has them from its API, since 3.1; the trace by its own id, as X-Ray shows it."""
    got = run(source, layer_folder, tmp_path, of("printed"), runtime=runtime, tenant_id="t-1")
    for record in got.records:
        assert record["tenantId"] == "t-1"
        assert re.fullmatch("1-[0-9a-f]{8}-[0-9a-f]{24}", record["traceId"])


@each_format
def test_lines_that_belong_together_are_one_record(
    source: SumoSource, layer_folder: Path, tmp_path: Path, form: str
) -> None:
    """A value is an object or a text, a traceback says which error it is; a list is as many records as it has lines."""
    records = run(source, layer_folder, tmp_path, of("together"), form).records
    messages = [record["message"] for record in records]
    assert [type(message) for message in messages] == [str, dict, dict, *[str] * 8]
    assert messages[1] == messages[2] == ast.literal_eval(messages[3]) == ast.literal_eval(messages[4])
    assert messages[5:8] == ["a list:", "- one", "- two"]
    for record in records[8:10]:
        keys = (record["errorType"], record["errorMessage"], record["level"])
        assert keys == ("LookupError", "no price\nfor order 17", "ERROR")
        assert "in handler" in record["stackTrace"][-1]
    assert messages[9].startswith("failed: Traceback")


def test_a_handler_with_a_handle_of_its_own_writes_records(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """Each log record is one, with its level, logger, fields and error. Guards against a record per piece or line."""
    records = run(source, layer_folder, tmp_path, of("own_handle")).records
    assert [(r["level"], r["logger"], r.get("order"), r.get("errorType")) for r in records] == [
        (level, name, order, error)
        for name in ("pieces", "emitting")
        for level, order, error in (("INFO", 17, None), ("ERROR", None, "LookupError"))
    ]


def test_each_line_by_itself_where_that_is_asked_for(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """SUMO_MULTILINE=split: the very lines of CloudWatch."""
    got = run(source, layer_folder, tmp_path, of("together"), variables={"SUMO_MULTILINE": "split"})
    same(flat(line.text for line in got.cloudwatch), [str(record["message"]) for record in got.records])


SPANS = Case("spans", "", packages=("opentelemetry-sdk==1.45.2",), payloads=({}, {}))


def test_lines_within_a_span_have_its_ids(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Of the thread or task that wrote them; none outside of a span, and the SDK is the function's own."""
    got = run(source, layer_folder, tmp_path, SPANS, variables={"SUMO_CONTEXT_KEYS": "trace_id"})
    for invocation in got.invocations:
        spans = invocation.payload
        shown = {
            str(record["message"]).rpartition("\t")[2]: (record.get("otelTraceID"), record.get("otelSpanID"))
            for record in got.records
            if record["requestID"] == invocation.request_id
        }
        assert all(
            (record.get("trace_id"), record.get("span_id")) == (record.get("otelTraceID"), record.get("otelSpanID"))
            for record in got.records
        )
        assert shown == {
            "outside": (None, None),
            **{text: tuple(spans["outer"]) for text in ("printed", "logged", "instrumented")},
            **{name: tuple(spans[name]) for name in ("thread", "task 0", "task 1")},
        }
