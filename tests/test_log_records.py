"""Log records: which attributes are fields, what the exception says, and that usual records are told quickly."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtimes import Runtime, runtimes
from test_record_format import KEYS, VALUES, Unprintable, as_read, read_keys

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal.capture import log_records, record_format


def make_record(extra: dict[str, Any], message: str = "paid") -> logging.LogRecord:
    """A log record as ``Logger.makeRecord`` makes it: the standard attributes, then the extra ones."""
    record = logging.LogRecord("orders", logging.INFO, "app.py", 1, message, (), None)
    record.__dict__.update(extra)
    return record


TAKEN = set(make_record({}).__dict__) | {"message", "asctime"}
"""Names that ``Logger.makeRecord`` refuses as extra ones."""


OF_CLIENT = {"aws_request_id", "tenant_id", "_frame_type"}
"""The runtime's own attributes; a record has keys for what they say."""


OTEL = {"otelTraceID", "otelSpanID"}
"""OpenTelemetry's attributes, which are the record's own keys: see its own test."""


@given(
    st.dictionaries(
        (
            KEYS
            | st.sampled_from(
                ["id", "extra_id", "extra_time", "record", "sampleRate", "withheld", "accounting", "amount"]
            )
        ).filter(lambda name: name not in TAKEN | OF_CLIENT | OTEL and name[:1] != "_"),
        VALUES,
    )
)
def test_extra_fields_are_keys_of_their_own(extra: dict[str, Any]) -> None:
    """Each extra field arrives under its name, in order; with a name of ours, as ``extra_<name>``; no key twice."""
    record = make_record(extra)
    logging.Formatter("%(asctime)s %(message)s").format(record)
    record.aws_request_id = "r-1"
    record.tenant_id = None

    keys = read_keys(log_records.extra_text(record))

    assert list(keys.values()) == as_read(list(extra.values()))
    for key, name in zip(keys, extra, strict=True):
        assert key == name or key.startswith("extra_")
    assert not keys.keys() & record_format._OWN_KEYS


EXTRAS_SCRIPT = """
import json, logging, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.capture import log_records
class Handler(logging.Handler):
    def emit(self, record):
        logging.Formatter("%(asctime)s %(message)s").format(record)
        record.aws_request_id = "r-1"
        print(json.dumps(log_records.extra_text(record)))
logger = logging.getLogger("orders")
logger.propagate = False
logger.addHandler(Handler())
logger.warning("paid")
logger.warning("paid", extra={"amount": 3, "id": "x"}, stack_info=True)
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_extra_fields_are_told_from_the_standard_ones(interpreter: Interpreter) -> None:
    """Each Python has attributes of its own in a record (taskName since 3.12): none of them is taken for a field."""
    said = subprocess.check_output([str(interpreter.executable), "-I", "-S", "-B", "-c", EXTRAS_SCRIPT, str(ROOT)])
    assert [read_keys(json.loads(line)) for line in said.splitlines()] == [{}, {"amount": 3, "extra_id": "x"}]


def test_an_exception_is_type_message_and_stack() -> None:
    """The three keys that the runtime's own JSON format has too; the stack as the list of its lines."""
    try:
        raise KeyError("order\n17")
    except KeyError:
        info = sys.exc_info()
    record = make_record({})
    record.exc_info = info

    assert read_keys(log_records.exception_text(record)) == {
        "errorType": "KeyError",
        "errorMessage": "'order\\n17'",
        "stackTrace": traceback.format_tb(info[2]),
    }


def test_an_exception_without_text_is_still_one() -> None:
    """``str()`` of an exception is the function's code: what it raises stays here."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise AttributeError("detail")

    record = make_record({})
    record.exc_info = (Mute, Mute(), None)

    keys = read_keys(log_records.exception_text(record))

    assert (keys["errorType"], keys["stackTrace"]) == ("Mute", [])
    assert "AttributeError" in keys["errorMessage"]


def structlog_record(event: dict[str, Any]) -> logging.LogRecord:
    """As structlog's ``ProcessorFormatter.wrap_for_formatter`` and ``logging`` make it."""
    record = make_record({"_logger": object(), "_name": "info"})
    record.msg = event
    return record


@pytest.mark.parametrize("text", ["paid  card=*** order=17 who='a b'", '{"card": "***", "order": 17, "who": "a b"}'])
def test_what_structlogs_formatter_masks_stays_masked(text: str) -> None:
    """Its processors may run in the formatter, behind the event: only what they have let through goes out."""
    event = {"event": "paid", "level": "info", "card": "4111 1111", "secret": "s3cret", "order": 17, "who": "a b"}
    rendered = log_records.extra_text(structlog_record(event), text)
    keys = read_keys(rendered)
    assert "4111" not in rendered and "s3cret" not in rendered and "_logger" not in keys
    assert (keys["order"], keys["who"], keys.get("card", "***")) == (17, "a b", "***")


@pytest.mark.parametrize("form", ["itself", "at hand", "as sys.exc_info() has it", "none"])
def test_structlogs_exception_is_found(form: str) -> None:
    """``exc_info`` is a value of the event there, in any of its forms."""
    try:
        raise KeyError("order")
    except KeyError as error:
        said = {"itself": error, "at hand": True, "as sys.exc_info() has it": sys.exc_info(), "none": None}[form]
        keys = read_keys(log_records.exception_text(structlog_record({"event": "failed", "exc_info": said})))
    assert keys.get("errorType") == (None if form == "none" else "KeyError")


def test_ids_of_opentelemetrys_own_integration_are_the_records() -> None:
    """It puts them into each log record as attributes, with "0" for none."""
    record = make_record({"otelTraceID": "ab", "otelSpanID": "0", "otelServiceName": "orders"})
    assert read_keys(log_records.extra_text(record)) == {"otelServiceName": "orders", "otelTraceID": "ab"}


@pytest.mark.parametrize("record", [None, "text", {}, {"level": "INFO", "name": "x", "extra": {}, "exception": None}])
def test_a_text_that_is_not_logurus_has_no_keys(record: object) -> None:
    """Any ``str`` of somebody's own may have a ``record``."""
    assert log_records.loguru_text(record) == ""


def test_no_exception_has_no_keys() -> None:
    """``exc_info=True`` outside an exception gives three times None."""
    record = make_record({})
    assert log_records.exception_text(record) == ""
    record.exc_info = (None, None, None)
    assert log_records.exception_text(record) == ""


SHORT_WAY_SCRIPT = """
import json, logging, os, sys, tempfile
root, form, addition = sys.argv[1:]
sys.path[:0] = [root]
os.environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(os.open(os.devnull, os.O_WRONLY))
from awslambdaric import bootstrap
from sumo_internal.capture import runtime_client
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.spool.writer import Spool
if addition:
    known = bootstrap.LambdaLoggerFilter.filter
    def filter(self, record):
        record.segment_id = "7"
        return known(self, record)
    bootstrap.LambdaLoggerFilter.filter = filter
note_records()
runtime_client.capture(bootstrap, Recorder(Spool(tempfile.mkdtemp(), {}, 1_000_000), {}))
sink = bootstrap.create_log_sink().__enter__()
bootstrap._setup_logging(bootstrap.LogFormat.from_str(form), "INFO", sink)
log = logging.getLogger("orders")
log.info("first")
called = []
sys.setprofile(lambda frame, event, _: event == "call" and called.append(frame.f_code.co_name))
log.info("second %s", 2)
sys.setprofile(None)
print(json.dumps(called))
"""


@pytest.mark.parametrize("addition", ["", "addition"])
@pytest.mark.parametrize("form", ["TEXT", "JSON"])
@pytest.mark.parametrize("runtime", runtimes(), ids=lambda runtime: runtime.id)
def test_a_usual_record_is_told_at_once(runtime: Runtime, form: str, addition: str) -> None:
    """No attribute that this Python or client has makes its own records be searched for fields, one by one.

    Guards against a client with one more: its records would cost three times as much, and nothing else would tell.
    """
    command = [str(runtime.interpreter.executable), "-B", "-c", SHORT_WAY_SCRIPT, str(ROOT), form, addition]
    called = json.loads(subprocess.check_output(command, env={"PYTHONPATH": str(runtime.ric)}, text=True))
    assert "append" in called
    assert not {"extra_text", "_details", "exception_text"} & set(called)
    assert ("_put" in called) == (form == "JSON")  # an object is read first


def own(record: logging.LogRecord, **options: Any) -> dict[str, Any]:
    return read_keys(log_records.extra_text(record, **options))


def test_a_field_is_found_by_its_name() -> None:
    """Guards against counting: what a filter has removed, or a formatter has not added, hides no field."""
    for missing in ("taskName", "processName", "process", "thread"):
        record = make_record({"order": 17})
        record.__dict__.pop(missing, None)
        assert own(record) == {"order": 17}
    record = make_record({"order": 17})
    record.asctime = "12:00"  # and no ``message``
    assert own(record) == {"order": 17}
    record.process = record.__dict__.pop("process")  # it comes behind the field then
    assert own(record) == {"order": 17}


def test_no_field_is_lost_where_the_client_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves in a log record is asked late, when the function may have replaced what the client calls."""

    def fails() -> list[str]:
        raise LookupError("of the function")

    monkeypatch.setattr(log_records, "_unasked", [fails])
    assert own(make_record({"order": 17, "aws_request_id": "r-1"})) == {"order": 17}
    monkeypatch.setattr(logging.LogRecord, "__init__", fails)
    assert log_records.MADE == set(log_records.blank().__dict__)


class EarlyRecord(logging.LogRecord):
    """A record whose class sets its field before the library does its own."""

    def __init__(self, *arguments: Any) -> None:
        self.order = 17
        super().__init__(*arguments)


def test_a_field_may_stand_in_front() -> None:
    """Of the standard attributes: a record's class may set it first."""
    assert own(EarlyRecord("orders", logging.INFO, "", 0, "", (), None)) == {"order": 17}


def test_tenant_id_is_the_functions_unless_the_runtime_has_put_it_there() -> None:
    """The runtime's filter leaves the invocation's in each record that its handler sees, the record has it anyway."""
    tenant = "acme"
    record = make_record({"tenant_id": "other"})
    assert own(record) == own(record, tenant_id=tenant) == {"tenant_id": "other"}
    record.aws_request_id = "r-1"
    assert own(record) == own(record, tenant_id=tenant) == {"tenant_id": "other"}
    record.tenant_id = tenant
    assert own(record, tenant_id=tenant) == {}
    record.tenant_id = None
    assert own(record) == {}


def test_private_and_callable_attributes_are_no_fields() -> None:
    """They are how other libraries keep something for themselves, New Relic's agent a message."""
    extra = {"_nr_original_message": "paid %s", "getMessage": lambda: "paid", "order": 17}
    assert own(make_record(extra)) == {"order": 17}
    assert own(make_record({"_name": "info", "order": 17})) == {"order": 17}


def test_what_is_remembered_of_names_has_a_bound() -> None:
    """Private names make their records usual ones, a hundred of them; a program that makes up names gets no further."""
    for number in range(1_000):
        assert own(make_record({f"_private_{number}": number})) == {}
    assert len(log_records.usual) <= len(log_records.MADE) + len(log_records.OF_FORMATTERS) + 100


def test_a_level_is_known_by_its_number() -> None:
    """Formatters colour and pad ``levelname``, and programs rename levels; the number stays."""
    logging.addLevelName(25, "\x1b[32mnotice\x1b[0m")
    try:
        assert log_records.level_of(30, "\x1b[33mWARNING \x1b[0m") == "WARNING"
        assert log_records.level_of(25, "***") == "NOTICE"
        assert log_records.level_of(35, "Level 35") == "WARNING"  # as the runtime rounds it
        assert log_records.level_of(35, "alarm") == "ALARM"
        assert log_records.level_of(10**400, "") == "CRITICAL"
        assert log_records.level_of(-7) == log_records.level_of(0) == "NOTSET"
        assert log_records.level_of(None, "error") == "ERROR"
        assert log_records.level_of([20], ["INFO"]) == ""
    finally:
        logging.addLevelName(25, "Level 25")


ERROR = KeyError("order")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (ERROR, "KeyError"),
        ((KeyError, ERROR, None), "KeyError"),
        (True, None),
        ("Traceback: something", None),
        (("KeyError", "order", "no traceback"), None),
        ((ERROR,), None),
        ((int, 3, None), None),
        (ERROR.args, None),
        (17, None),
    ],
)
def test_an_exception_is_one_that_is_an_exception(said: Any, kind: str | None) -> None:
    """``makeRecord`` takes anything as ``exc_info``, and a formatter of the function's own may be content with it."""
    record = make_record({})
    record.exc_info = said
    assert read_keys(log_records.exception_text(record)).get("errorType") == kind


@pytest.mark.parametrize(
    ("extra", "fields"),
    [
        ({404: 3, "order": 17}, {"404": 3, "order": 17}),
        (Counter([200]), {"200": 1}),
        ({None: 3, (1, 2): 4, b"key": 5}, {"None": 3, "(1, 2)": 4, "b'key'": 5}),
        ({Unprintable(): 1}, {"<unprintable Unprintable: KeyError>": 1}),
    ],
    ids=lambda value: "",
)
def test_a_field_whose_name_is_no_text_goes_by_its_text(extra: dict[Any, Any], fields: dict[str, Any]) -> None:
    """``extra`` takes any mapping, and so does a record's ``__dict__``."""
    assert own(make_record(extra)) == fields
