"""Level and error of a line, end to end: the same words whatever has written it, in both log formats, and where lines
come from the Telemetry API."""

from __future__ import annotations

from pathlib import Path

import pytest
from model import Environment
from runtimes import Runtime, runtimes, typical
from sumo_source import SumoSource
from test_capture import FORMATS
from test_main_path import said

FUNCTION = """
import json
import logging
import sys
import traceback

log = logging.getLogger("orders")
log.setLevel(logging.DEBUG)
coloured = logging.getLogger("coloured")
coloured.propagate = False


class Colours(logging.Formatter):
    def format(self, record):
        record.levelname = f"\\x1b[33m{record.levelname:9}\\x1b[0m"
        return f"{record.levelname} {record.getMessage()}"


handler_of_its_own = logging.StreamHandler(sys.stdout)
handler_of_its_own.setFormatter(Colours())
coloured.addHandler(handler_of_its_own)


def handler(event, context):
    for level in (10, 20, 30, 40, 50):
        log.log(level, "said at %d", level)
    coloured.warning("coloured")
    for said in (
        {"level": "error"}, {"severity": "ALERT"}, {"log.level": "warn"}, {"log": {"level": "err"}}, {"lvl": 20},
        {"levelname": "CRITICAL"}, {"level": 50}, {"level": "gold"},
    ):
        print(json.dumps({"text": "printed", **said}))
    try:
        {}["price"]
    except KeyError:
        log.warning("caught", exc_info=True)
        print()  # the runtime writes no line end behind a traceback, where its log has no frames
        print(json.dumps({"text": "exception", "exception": traceback.format_exc()}))
        print(json.dumps({"text": "exc_info", "exc_info": traceback.format_exc()}))
    raise LookupError("no price")
"""

LOGGED = [("said at 10", "DEBUG"), ("said at 20", "INFO"), ("said at 30", "WARNING"), ("said at 40", "ERROR")]
LOGGED += [("said at 50", "CRITICAL")]
PRINTED = ["ERROR", "CRITICAL", "WARNING", "ERROR", "DEBUG", "CRITICAL", "ERROR", None]
ERRORS = [("caught", "WARNING", "KeyError", "'price'"), ("exception", None, "KeyError", "'price'")]
ERRORS += [("exc_info", None, "KeyError", "'price'"), ("no price", "ERROR", "LookupError", "no price")]

KEYS = (*(name for name, _ in LOGGED), "printed", "coloured", *(name for name, *_ in ERRORS))


def run(
    source: SumoSource, layer: Path, folder: Path, form: str, mode: str, runtime: Runtime
) -> list[tuple[str | None, ...]]:
    """Invoke the function; return what its records say: which it is, level, and type and message of an error."""
    (folder / "app.py").write_text(FUNCTION)
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"} if mode == "process" else {}
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function", "SUMO_FLUSH": "end", **wrapper}
    with Environment(runtime, folder, layer=layer, variables=variables, timeout_s=20, **FORMATS[form]) as env:
        assert env.start().error is None
        assert env.invoke({}).status == "error"
        env.shutdown()
        assert len(said(env)) == (mode == "telemetry")
    found: list[tuple[str | None, ...]] = []
    for record in {record["id"]: record for record in source.records}.values():
        name = next((key for key in KEYS if key in str(record["message"])), None)
        if name is None:  # a traceback's, where it comes line by line; Lambda's object of a blank line
            is_blank = isinstance(record["message"], dict) and not record["message"]["message"]
            assert mode == "telemetry" and (is_blank or form == "text")
            continue
        assert not record.get("errorType") or any("in handler" in frame for frame in record["stackTrace"])
        found.append((name, *(record.get(key) for key in ("level", "errorType", "errorMessage"))))
    return found


def expected(form: str, mode: str) -> list[tuple[str | None, ...]]:
    # Lambda itself makes an object of a line that is none, and says INFO of it. Of the text alone nobody knows better.
    of_text = "WARNING" if mode == "process" else "INFO" if form.startswith("json") else None
    levels = [*LOGGED, ("coloured", of_text), *(("printed", level) for level in PRINTED)]
    errors = ERRORS if (form, mode) != ("text", "telemetry") else [("caught", "WARNING", None, None), *ERRORS[1:]]
    return [*((name, level, None, None) for name, level in levels), *errors]


@pytest.mark.parametrize("mode", ["process", "telemetry"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_level_is_one_word_and_an_error_has_its_keys(
    source: SumoSource, layer_folder: Path, tmp_path: Path, form: str, mode: str
) -> None:
    """A formatter's colours, an abbreviation, another logger's key or number: the page's queries find them all."""
    got = run(source, layer_folder, tmp_path, form, mode, typical())
    assert sorted(map(str, got)) == sorted(map(str, expected(form, mode)))


@pytest.mark.parametrize("form", ["text-framed", "json-framed"])
def test_the_log_group_is_the_real_one(source: SumoSource, layer_folder: Path, tmp_path: Path, form: str) -> None:
    """Several functions may share one; what the dashboards parse, in the headers, has the form that they parse."""
    (tmp_path / "app.py").write_text("def handler(event, context):\n    print('line')\n")
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
    options = {"log_group": "/shop/all", **FORMATS[form]}
    with Environment(typical(), tmp_path, layer=layer_folder, variables=variables, **options) as env:
        env.start()
        env.invoke({})
        env.shutdown()
        stream = env.log_stream

    assert "/orders[$LATEST]" in stream
    assert {(record["logGroup"], record["logStream"]) for record in source.records} == {("/shop/all", stream)}
    assert {request.headers["x-sumo-host"] for request in source.requests} == {"/aws/lambda/orders"}
    assert {request.headers["x-sumo-name"] for request in source.requests} == {stream.replace("/orders[", "/[")}


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_each_python_has_them(source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime) -> None:
    """A formatter, and what a traceback looks like, are the interpreter's."""
    got = run(source, layer_folder, tmp_path, "text-framed", "process", runtime)
    assert sorted(map(str, got)) == sorted(map(str, expected("text-framed", "process")))
