"""Lines are processed before they leave, end to end: each rule on all sources of lines, both log formats, and the
places in which a secret might remain: the spool's files, requests, S3 objects, what the layer says itself."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aws_server import AwsServer
from model import Environment
from model.configuration import CREDENTIALS, REGION
from packages import package
from runtimes import Runtime, oldest_and_newest, runtimes, typical
from sumo_source import Fault, SumoSource
from test_capture import FORMATS
from test_failover_path import bucket as bucket  # a fixture
from test_failover_path import failover, objects
from test_main_path import said
from test_outage_path import accounts

pytest_plugins = ["aws_server"]

FUNCTION = Path(__file__).parent / "functions" / "processed"
DASH = shutil.which("dash")
SECRETS = ["hunter2", "987654", "4111111111111111"]
HALVES = ["87654321", "13579753"]
"""Of a secret that is written in two, over the bound on text without a line end."""

MASKS = {
    "SUMO_MASK_KEYS": "password,*_token",
    "SUMO_MASK_PATTERNS": r"(?<!\d)\d{16}(?!\d)",
}

each_format = pytest.mark.parametrize("form", FORMATS)
Record = dict[str, Any]


@pytest.fixture
def task_root(tmp_path: Path) -> Path:
    """The function with the structlog that it brings along."""
    task = tmp_path / "task"
    task.mkdir()
    (task / "app.py").symlink_to(FUNCTION / "app.py")
    (task / "structlog").symlink_to(package("structlog==26.1.0", is_complete=True) / "structlog")
    return task


def environment(
    source: SumoSource, layer: Path, task_root: Path, runtime: Runtime | None = None, **options: Any
) -> Environment:
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_RULES_MAX_MS": "2000",  # on a machine that runs other tests as well; the budget has tests of its own
    }
    variables |= options.pop("variables", {})
    variables = {name: value for name, value in variables.items() if value}
    return Environment(runtime or typical(), task_root, layer=layer, variables=variables, **options)


def steps(*names: str) -> Record:
    return {"steps": names}


def function_records(source: SumoSource) -> list[Record]:
    """The function's records, each once."""
    records = {record["id"]: record for record in source.records if record["type"] == "function"}
    return list(records.values())


def messages(records: list[Record]) -> list[str]:
    """The bare texts."""
    return [bare(record["message"]) for record in records]


def bare(message: Any) -> str:
    if isinstance(message, str):
        return message.rpartition("\t")[2]
    return str(message.get("message", message.get("event")))


def counts(source: SumoSource) -> dict[str, int]:
    """The lines that were counted, as last reported."""
    account = accounts(source)[-1]["accounting"]
    return {reason: count["lines"] for reason, count in account.items() if reason != "lost"}


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@each_format
def test_no_secret_leaves_by_any_source(source: SumoSource, layer_folder: Path, task_root: Path, form: str) -> None:
    """logging, print, structlog, tracebacks: CloudWatch has them as before, the spool and Sumo have them masked."""
    variables = {**MASKS, "SUMO_PROCESSORS": "app.tag,app.drop_probes", "SUMO_EXCLUDE": "health", "SUMO_FLUSH": "next"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10, **FORMATS[form]) as env:
        assert env.start().error is None
        env.invoke(steps("log", "print", "structlog", "traceback", "probe"))
        spooled = b"".join(path.read_bytes() for path in (env.tmp / "sumo-internal").glob("*.spool"))
        assert env.invoke(steps("fail")).status == "error"
        env.shutdown()
        printed = "\n".join(line.text for line in env.cloudwatch)
        assert said(env) == []

    assert leaks(printed) == SECRETS
    assert spooled and leaks(spooled.decode("utf-8", "replace")) == []
    records = function_records(source)
    assert leaks(json.dumps(source.records, ensure_ascii=False) + json.dumps(source.records)) == []
    everything = spooled.decode("utf-8", "replace") + json.dumps(source.records)
    assert not [half for half in HALVES if half in everything]
    texts = messages(records)
    assert "ordinary" in texts and "probe" not in texts and "health check" not in texts
    of_invocations = [record for record in records if "requestID" in record]
    assert {record.get("team") for record in of_invocations if record.get("part", 1) == 1} == {"shop"}
    (failed,) = [record for record in records if record.get("errorType") == "KeyError"]
    assert failed["errorMessage"] == "'***'"
    (raised,) = [record for record in records if record.get("errorType") == "ValueError"]
    assert (raised["errorMessage"], raised["password"]) == ("no user *** with ***", "***")
    assert counts(source).items() >= {"excluded": 1, "dropped": 2, "withheld": 1}.items()


@each_format
@pytest.mark.parametrize("mode", ["process", "masked", "telemetry"])
def test_our_own_secrets_leave_in_no_record(
    source: SumoSource, layer_folder: Path, task_root: Path, form: str, mode: str
) -> None:
    """People print os.environ: without any setting neither the address's code nor the role's keys are sent, whole or in
    two records; CloudWatch has them as before."""
    key, token, salt = CREDENTIALS["AWS_SECRET_ACCESS_KEY"], CREDENTIALS["AWS_SESSION_TOKEN"], 'pepper "and" salt'
    variables = {"SUMO_HASH_SALT": salt}
    variables |= {"process": {}, "masked": {"SUMO_MASK_KEYS": "password"}, "telemetry": BY_TELEMETRY}[mode]
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=30, **FORMATS[form]) as env:
        assert env.start().error is None
        assert env.invoke(steps("environ")).status == "success"
        env.shutdown()
        printed = "\n".join(line.text for line in env.cloudwatch)

    code = source.url.rpartition("/")[2]
    assert len(code) > 8 and all(each in printed for each in (code, key))
    everything = json.dumps(source.records, ensure_ascii=False)
    assert "REDACTED" not in everything and everything.count("***") > 30
    for secret in (code, key, quote(key, safe=""), salt, json.dumps(salt)[1:-1], token):
        assert secret not in everything
    texts = [record["message"] for record in source.records if isinstance(record.get("message"), str)]
    borders = [text[:40] for text in texts] + [text[-40:] for text in texts]
    assert not [text for text in borders if text.strip("xyz ") and (text[-9:] in code + key or text[:9] in code + key)]


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_processors_in_the_handlers_own_module(
    source: SumoSource, layer_folder: Path, task_root: Path, runtime: Runtime
) -> None:
    """Found once Lambda has imported it, and not imported twice; a line before that is there without its message."""
    variables = {"SUMO_PROCESSORS": "app.tag"}
    with environment(source, layer_folder, task_root, runtime, variables=variables) as env:
        assert env.start().error is None
        env.invoke(steps("lines"))
        env.shutdown()
        assert said(env) == []
    early, *records = function_records(source)

    assert (early["message"], early["withheld"]) == ("***", "SUMO_PROCESSORS: not loaded yet")
    assert (early["level"], early["logger"], early["IsColdStart"]) == ("INFO", "orders", True)
    assert messages(records) == ["info", "printed", "warning"]
    assert {record["team"] for record in records} == {"shop"}


@pytest.mark.parametrize("runtime", oldest_and_newest(), ids=lambda runtime: runtime.id)
def test_a_function_without_structlog_has_the_layers(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """DropEvent can be imported where SUMO_PROCESSORS is set, and only there: else the function has what it has."""
    (tmp_path / "logs.py").write_text(
        "import structlog\n\ndef drop(logger, name, event):\n"
        "    if 'no' in event['event']:\n        raise structlog.DropEvent\n    return event\n"
    )
    (tmp_path / "app.py").write_text(
        "def handler(event, context):\n    try:\n        import structlog\n    except ImportError:\n"
        "        return None\n    print('yes')\n    print('no')\n    return structlog.__file__\n"
    )
    for variables, expected in (({}, False), ({"SUMO_PROCESSORS": "logs.drop"}, True)):
        with environment(source, layer_folder, tmp_path, runtime, variables=variables) as env:
            env.start()
            assert ("_structlog" in str(env.invoke(None).payload)) is expected
            env.shutdown()
            assert said(env) == []
    assert messages(function_records(source)) == ["yes"]


@pytest.mark.parametrize(
    ("variables", "reason", "line"),
    [
        (
            {"SUMO_PROCESSORS": "app.breaks"},
            "SUMO_PROCESSORS: app.breaks raised ValueError",
            "error: SUMO_PROCESSORS: app.breaks raised ValueError; messages are withheld",
        ),
        (
            {"SUMO_PROCESSORS": "app.tag,app.nothing"},
            "SUMO_PROCESSORS: there is no app.nothing",
            "error: SUMO_PROCESSORS: there is no app.nothing; messages are withheld",
        ),
        (
            {"SUMO_PROCESSORS": "nowhere.tag"},
            "SUMO_PROCESSORS: nowhere.tag cannot be imported (ModuleNotFoundError: No module named 'nowhere')",
            "error: SUMO_PROCESSORS: nowhere.tag cannot be imported (ModuleNotFoundError: No module named 'nowhere')"
            "; messages are withheld",
        ),
        (
            {"SUMO_MASK_PATTERNS": "(hunter2"},
            "SUMO_MASK_PATTERNS cannot be used",
            "warn: SUMO_MASK_PATTERNS has an expression (number 1) that does not compile (at position 0)"
            "; messages are withheld",
        ),
        (
            {"SUMO_HASH_PATTERNS": r"\d{16}"},
            "SUMO_HASH_SALT is not set",
            "warn: SUMO_HASH_PATTERNS is set, and SUMO_HASH_SALT is not; messages are withheld",
        ),
    ],
)
def test_what_cannot_be_processed_is_withheld(
    source: SumoSource, layer_folder: Path, task_root: Path, variables: dict[str, str], reason: str, line: str
) -> None:
    """The metadata goes out with the reason, counted, said once and without the secret; the function never notices."""
    with environment(source, layer_folder, task_root, variables=variables) as env:
        env.start()
        assert env.invoke(steps("break", "break")).status == "success"
        env.shutdown()
        assert said(env) == [f"sumo-internal-extension: {line}"]
        assert leaks("".join(said(env))) == []
    records = [record for record in function_records(source) if "requestID" in record]

    assert [(record["message"], record["withheld"]) for record in records] == [("***", reason)] * 4
    assert [(record.get("level"), record.get("logger")) for record in records] == [("INFO", "orders"), (None, None)] * 2
    assert leaks(json.dumps(source.records)) == []
    assert counts(source)["withheld"] == len([each for each in function_records(source) if "withheld" in each])


def test_the_bucket_has_nothing_unmasked(
    source: SumoSource, layer_folder: Path, task_root: Path, aws_server: AwsServer, bucket: str
) -> None:
    """Failover takes what is in the spool, which is masked already."""
    source.default = Fault(429)
    variables = {**MASKS, **failover(aws_server, bucket), "SUMO_NUM_RETRIES": "0"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke(steps("log", "print", "structlog", "traceback"))
        env.shutdown()
        assert leaks("".join(said(env))) == []
    stored = [record for records, _, _ in objects(aws_server, bucket).values() for record in records]

    assert "ordinary" in messages([record for record in stored if record["type"] == "function"])
    assert leaks(json.dumps(stored, ensure_ascii=False) + json.dumps(stored)) == []


@each_format
def test_hashes_and_selection(source: SumoSource, layer_folder: Path, task_root: Path, form: str) -> None:
    """The same value has the same digest in all sources of lines; only what is included is shipped."""
    variables = {"SUMO_HASH_PATTERNS": r"\d{16}", "SUMO_HASH_SALT": "pepper", "SUMO_INCLUDE": "4111|no user"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10, **FORMATS[form]) as env:
        env.start()
        env.invoke(steps("log", "print", "structlog", "traceback"))
        env.shutdown()
        assert said(env) == []
    records = json.dumps(function_records(source))

    assert "4111111111111111" not in records and "pepper" not in records and "ordinary" not in records
    digests = Counter(re.findall(r"(?:card |\bcard\W+|with )([0-9a-f]{16})\b", records))
    assert len(digests) == 1 and digests.total() > 5


@each_format
@pytest.mark.parametrize("mode", ["process", "telemetry"])
def test_below_a_level_nothing_is_shipped(
    source: SumoSource, layer_folder: Path, task_root: Path, form: str, mode: str
) -> None:
    """A log record has its level in either format, a line of print counts as INFO; what is kept back is counted."""
    variables = {"SUMO_LEVEL": "WARNING", **({} if mode == "process" else BY_TELEMETRY)}
    with environment(source, layer_folder, task_root, variables=variables, **FORMATS[form]) as env:
        env.start()
        env.invoke(steps("lines", "error"))
        env.shutdown()

    assert sorted(messages(function_records(source))) == ["json", "warning"]
    assert counts(source) == {"belowLevel": 3}  # that of the init phase, and two of the invocation


# Sampling.

FAILING = {"fail": "error", "leave": "crash", "kill": "crash", "sleep": "timeout"}


def test_an_unsampled_invocation_that_succeeds(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """Below WARNING nothing goes out but what the init phase has logged; a JSON line has its own level."""
    with environment(source, layer_folder, task_root, variables={"SUMO_SAMPLE": "0", "SUMO_FLUSH": "end"}) as env:
        env.start()
        for _ in range(2):
            env.invoke(steps("lines", "error"))
        env.shutdown()
        assert said(env) == []
    records = function_records(source)

    assert messages(records) == ["loading with 4111111111111111", *["warning", "json"] * 2]
    assert not any("sampleRate" in record for record in records)
    assert len(accounts(source)) == 1
    assert counts(source) == {"sampledOut": 4}


@pytest.mark.parametrize("how", FAILING)
@pytest.mark.parametrize("flush", ["end", "next"])
def test_an_unsampled_invocation_that_fails(
    source: SumoSource, layer_folder: Path, task_root: Path, how: str, flush: str
) -> None:
    """Every line of it is there, after an exception, an exit, a kill or a timeout; none of the one before."""
    with environment(source, layer_folder, task_root, variables={"SUMO_SAMPLE": "0", "SUMO_FLUSH": flush}) as env:
        env.start()
        env.invoke(steps("lines"))
        failed = env.invoke(steps("lines", how))
        assert failed.status == FAILING[how]
        env.invoke(steps("lines"))
        env.shutdown()
    records = function_records(source)
    of_failed = [record for record in records if record.get("requestID") == failed.request_id]

    assert {"info", "printed", "warning", *(["left"] if how == "leave" else [])} <= set(messages(of_failed))
    others = [record for record in records if record.get("requestID") not in (failed.request_id, None)]
    assert messages(others) == ["warning"] * 2
    assert not any("sampleRate" in record for record in records)


def test_a_sampled_invocation_stands_for_others(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """All lines or none; those that stand for others say for how many, those that always go out do not."""
    with environment(source, layer_folder, task_root, variables={"SUMO_SAMPLE": "0.5"}) as env:
        env.start()
        invocations = [env.invoke(steps("lines")).request_id for _ in range(12)]
        env.shutdown()
    records = function_records(source)
    seen = {request: [r for r in records if r.get("requestID") == request] for request in invocations}

    assert {len(lines) for lines in seen.values()} == {1, 3}
    for lines in seen.values():
        assert {bare(line["message"]): line.get("sampleRate") for line in lines}.items() <= {
            "info": 0.5,
            "printed": 0.5,
            "warning": None,
        }.items()


# Lines that the extension takes from the Telemetry API.

BY_TELEMETRY = {"AWS_LAMBDA_EXEC_WRAPPER": "", "SUMO_FUNCTION_LOGS": "telemetry"}


@each_format
def test_the_ready_made_rules_work_without_the_wrapper(
    source: SumoSource, layer_folder: Path, task_root: Path, form: str
) -> None:
    """The extension has text only, and hides in it what is to be hidden; it counts what nobody wants.

    That a text repeats a field's value it cannot know, because it has no fields: that takes an expression.
    """
    patterns = json.dumps([MASKS["SUMO_MASK_PATTERNS"], "hunter2"])
    variables = {**BY_TELEMETRY, **MASKS, "SUMO_MASK_PATTERNS": patterns, "SUMO_EXCLUDE": "health"}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10, **FORMATS[form]) as env:
        env.start()
        env.invoke(steps("log", "structlog", "traceback", "probe"))
        env.shutdown()
        (cost,) = said(env)
        assert "taken from Lambda's Telemetry API" in cost
    texts = messages(function_records(source))

    assert "ordinary" in texts and "probe" in texts and "health check" not in texts
    assert leaks(json.dumps(source.records, ensure_ascii=False) + json.dumps(source.records)) == []
    assert counts(source) == {"excluded": 1}


def test_processors_need_the_functions_process(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """The extension has no code of the function's: one line says so, and no message leaves."""
    variables = {**BY_TELEMETRY, "SUMO_PROCESSORS": "app.tag"}
    with environment(source, layer_folder, task_root, variables=variables) as env:
        env.start()
        env.invoke(steps("lines"))
        env.shutdown()
        reason = "SUMO_PROCESSORS needs the function's own process, and its lines come from the Telemetry API"
        assert f"sumo-internal-extension: warn: {reason}; messages are withheld" in said(env)
    records = function_records(source)

    assert len(records) == 4
    assert {(record["message"], record["withheld"]) for record in records} == {("***", reason)}


@pytest.mark.parametrize("how", FAILING)
def test_sampling_without_the_wrapper(source: SumoSource, layer_folder: Path, task_root: Path, how: str) -> None:
    """What the platform says of an invocation decides; a kill and a timeout leave every line."""
    variables = {**BY_TELEMETRY, "SUMO_SAMPLE": "0"}
    with environment(source, layer_folder, task_root, variables=variables) as env:
        env.start()
        succeeded = env.invoke(steps("lines", "error")).request_id
        failed = env.invoke(steps("lines", how)).request_id
        env.shutdown()
    records = function_records(source)
    seen = {request: messages([r for r in records if r.get("requestID") == request]) for request in (succeeded, failed)}

    assert sorted(seen[succeeded]) == ["json", "warning"]  # stdout and stderr are two ways to Lambda
    assert {"info", "printed", "warning"} <= set(seen[failed])


# What it costs where it is not wanted.


def test_nothing_of_it_is_imported_when_unset(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """No module of this, nor what only it needs, and the recorder is the plain one."""
    (tmp_path / "app.py").write_text(
        "import sys\n\ndef handler(event, context):\n    print('line')\n"
        "    return sorted(name for name in sys.modules if name.startswith('sumo_internal'))\n"
    )
    with environment(source, layer_folder, tmp_path) as env:
        env.start()
        names = env.invoke(None).payload
        env.shutdown()
    extra = ("processing", "processors", "patterns", "rules", "holding", "structured")
    assert not {f"sumo_internal.{name}" for name in extra} & set(names)


def without_bash(layer: Path, copy: Path) -> Path:
    """Return a layer whose extension finds no bash, as in an image without one: there Python registers."""
    shutil.copytree(layer, copy, symlinks=True)
    script = copy / "extensions" / "sumo-internal-extension"
    text = script.read_text()
    places = "/bin/bash /usr/bin/bash /usr/local/bin/bash"
    assert text.startswith("#!/bin/sh\n") and places in text
    script.write_text(text.replace("#!/bin/sh", f"#!{DASH}", 1).replace(places, "/nowhere/bash"))
    return copy


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("mode", ["process", "telemetry"])
def test_fields_are_filled_when_a_batch_is_sent(
    source: SumoSource, layer_folder: Path, task_root: Path, tmp_path: Path, mode: str, shell: str
) -> None:
    """The account comes with the registration's answer, for which nothing waits; both processes ask for it, the
    extension by bash or, where there is none, by Python. A placeholder that is none is left out, and said."""
    if shell == "dash":
        if DASH is None:
            pytest.skip("there is no shell but bash here")
        layer_folder = without_bash(layer_folder, tmp_path / "opt")
    fields = "account={account},region={region},name={function},memory={memory},version={version},odd={odd}"
    variables = {"SUMO_FIELDS": fields, **({} if mode == "process" else BY_TELEMETRY)}
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10) as env:
        assert env.start().error is None
        env.invoke(steps("lines"))
        env.shutdown()
        assert [line for line in said(env) if "{odd}, which is none of" in line]

    sent = {request.headers["x-sumo-fields"] for request in source.requests}
    assert sent == {f"account=123456789012,region={REGION},name=orders,memory=1769,version=$LATEST"}


def test_more_context_by_settings(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """The invoked ARN is each record's of an invocation; tags travel in a header, and cost no line anything."""
    variables = {
        "SUMO_CONTEXT_KEYS": "invoked_arn",
        "SUMO_UNIFIED_TAGS": "true",
        "DD_SERVICE": "orders",
        "DD_ENV": "prod",
    }
    with environment(source, layer_folder, task_root, variables=variables, timeout_s=10) as env:
        assert env.start().error is None
        env.invoke(steps("lines"))
        env.shutdown()

    arns = {record.get("invokedFunctionArn") for record in function_records(source) if "requestID" in record}
    assert arns == {f"arn:aws:lambda:{REGION}:123456789012:function:orders"}
    assert {request.headers["x-sumo-fields"] for request in source.requests} == {"service=orders,env=prod"}
