"""The settings: what each variable may say, what becomes of it, and that the endpoint is never shown."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import sumo_rules
from hypothesis import given
from hypothesis import strategies as st

from layer.build import ROOT
from sumo_internal import __version__
from sumo_internal.config import SETTINGS, Config, Setting, default_text, is_in_process, is_processed, read, remarks
from sumo_internal.spool import envelope
from sumo_internal.spool.envelope import dashboard_stream, request_headers

ENDPOINT = "https://collectors.sumologic.com/receiver/v1/http/ZaVnC4dhaV0secret=="

VALID: list[tuple[str, str, Any]] = [
    ("SUMO_HTTP_ENDPOINT", ENDPOINT, ENDPOINT),
    ("SUMO_HTTP_ENDPOINT", "HTTPS://host:8443/path?a=b", "HTTPS://host:8443/path?a=b"),
    ("SUMO_HTTP_ENDPOINT", "http://127.0.0.1:80/x", "http://127.0.0.1:80/x"),
    *[("SUMO_DISABLED", text, True) for text in ("1", "t", "T", "TRUE", "true", "True", " true ")],
    *[("SUMO_DISABLED", text, False) for text in ("0", "f", "F", "FALSE", "false", "False")],
    ("SUMO_FLUSH", "END", "end"),
    ("SUMO_FLUSH", "next", "next"),
    ("SUMO_FLUSH_MAX_AGE_S", "0.1", 0.1),
    ("SUMO_FLUSH_MAX_AGE_S", "900", 900.0),
    ("SUMO_NUM_RETRIES", "0", 0),
    ("SUMO_NUM_RETRIES", "100", 100),
    ("SUMO_RETRY_SLEEP_TIME_MS", "60000", 60_000),
    ("SUMO_SPOOL_MAX_MB", "3", 3),
    ("SUMO_SPOOL_MAX_MB", "10240", 10_240),
    ("SUMO_MEMORY_MAX_MB", "0", 0),
    ("SUMO_MEMORY_MAX_MB", "1024", 1_024),
    ("SUMO_SPOOL_DIR", "/tmp/a b", "/tmp/a b"),
    *[("SUMO_HTTP_ENDPOINT", arn, arn) for arn in ("arn:aws:ssm:eu-west-1:1:parameter/a", "arn:aws-cn:x:y:z:secret:a")],
    ("SUMO_S3_BUCKET_NAME", "lines", "lines"),
    *[("SUMO_COMPRESSION", text.upper(), text) for text in ("auto", "gzip", "zstd", "none")],
    ("SUMO_HTTP_TOKEN", "ZaVnC4dhaV0==", "ZaVnC4dhaV0=="),
    ("SUMO_HTTP_TOKEN", "arn:aws:secretsmanager:eu-west-1:1:secret:x", "arn:aws:secretsmanager:eu-west-1:1:secret:x"),
    ("SUMO_S3_BUCKET_REGION", "eu-west-1", "eu-west-1"),
    ("SUMO_S3_BUCKET_OWNER", "123456789012", "123456789012"),
    ("KMS_KEY_ID", "alias/sumo", "alias/sumo"),
    ("SUMO_SECRET_CACHE_SECONDS", "0", 0),
    ("KMS_CACHE_SECONDS", "86400", 86_400),
    *[("SUMO_LOG_LEVEL", text.upper(), text) for text in ("trace", "debug", "info", "warn", "error", "fatal", "panic")],
    ("SUMO_LOG_LEVEL", "Warning", "warn"),
    ("SOURCE_CATEGORY_OVERRIDE", "prod/orders ~", "prod/orders ~"),
    ("SUMO_PROCESSORS", "orders.logs.tag, app.drop", ("orders.logs.tag", "app.drop")),
    ("SUMO_MASK_KEYS", "password, *_token,", ("password", "*_token")),
    ("SUMO_MASK_PATTERNS", r"[0-9]{16}", (r"[0-9]{16}",)),
    ("SUMO_MASK_PATTERNS", '["a+", "b"]', ("a+", "b")),
    ("SUMO_EXCLUDE", "GET /health", ("GET /health",)),
    ("SUMO_INCLUDE", "order", ("order",)),
    ("SUMO_HASH_SALT", "pepper", "pepper"),
    ("SUMO_RULES_MAX_MS", "5", 5),
    ("SUMO_MARK_REPLAYS", "false", False),
    ("SUMO_CHILDREN", "true", True),
    ("SUMO_DROP_REPLAYS", "true", True),
    ("SUMO_LEVEL", "Warning", 30),
    ("SUMO_UNIFIED_TAGS", "true", True),
    ("SUMO_CONTEXT_KEYS", "invoked_arn, trace_id", ("invoked_arn", "trace_id")),
    ("SUMO_LEVEL", "DEBUG", 10),
    ("SUMO_MAX_MB_PER_HOUR", "0.5", 0.5),
    ("SUMO_SAMPLE", "0", 0.0),
    ("SUMO_SAMPLE", "1", 1.0),
    ("SUMO_SAMPLE", "0.1", 0.1),
    ("SUMO_INVOCATION_SUMMARY", "true", True),
    *[("SUMO_CLOUDWATCH", text.upper(), text) for text in ("all", "errors", "none")],
    ("SUMO_CLOUDWATCH_FALLBACK_S", "0", 0.0),
    ("SUMO_CLOUDWATCH_FALLBACK_S", "86400", 86_400.0),
    ("SUMO_CLOUDWATCH_KEEP", "audit", ("audit",)),
    ("SUMO_DEBUG_ON_FAILURE", "orders, botocore.retries:INFO,*", (("orders", 10), ("botocore.retries", 20), ("*", 10))),
    ("SUMO_DEBUG_SLOWER_MS", "900000", 900_000),
    ("SUMO_DEBUG_MAX_MB", "1", 1),
    ("SUMO_FAILURE_5XX", "true", True),
    ("SUMO_SOURCE_NAME", "orders", "orders"),
    ("SUMO_SOURCE_HOST", "orders", "orders"),
    ("SUMO_FIELDS", "team=shop", "team=shop"),
    ("SUMO_FIELDS", "a={account},f={function}-{version}", "a={account},f={function}-{version}"),
    ("SUMO_FIELDS", " team=shop , env=prod,", "team=shop,env=prod"),
    ("SUMO_FIELDS", ",".join(f"k{n}=v" for n in range(30)), ",".join(f"k{n}=v" for n in range(30))),
    ("SUMO_FIELDS", f"{'k' * 255}={'v' * 200}", f"{'k' * 255}={'v' * 200}"),
    ("SUMO_LOG_TYPES", "function, platform", ("platform", "function")),
    ("SUMO_LOG_TYPES", "Extension", ("extension",)),
    ("SUMO_LOG_TYPES", ",", ()),
    ("SUMO_FUNCTION_LOGS", "Telemetry", "telemetry"),
    ("SUMO_FUNCTION_LOGS", "process", "process"),
    ("SUMO_ENHANCE_JSON_LOGS", "f", False),
    ("SUMO_SPAN_DROP", "1", True),
    ("SUMO_MULTILINE", "Split", "split"),
    ("SUMO_MULTILINE", "join", "join"),
    ("SUMO_STRIP_ANSI", "true", True),
    *[("TELEMETRY_TIMEOUT_MS", f"{value}", value) for value in (25, 30_000)],
    *[("TELEMETRY_MAX_BYTES", f"{value}", value) for value in (262_144, 1_048_576)],
    *[("TELEMETRY_MAX_ITEMS", f"{value}", value) for value in (1_000, 10_000)],
]

INVALID = [
    ("SUMO_HTTP_ENDPOINT", "collectors.sumologic.com/receiver", "is neither the address of"),
    ("SUMO_HTTP_ENDPOINT", "ftp://collectors.sumologic.com/receiver", "is neither the address of"),
    ("SUMO_HTTP_ENDPOINT", "https:///receiver", "is neither the address of"),
    ("SUMO_HTTP_ENDPOINT", "arn:aws:secretsmanager", "nor an ARN"),
    ("SUMO_HTTP_ENDPOINT", "AQICAHhX+base64/ciphertext==", "KMS_KEY_ID is not set"),
    ("SUMO_HTTP_ENDPOINT", "https://host/a b", "characters"),
    ("SUMO_HTTP_ENDPOINT", "https://host/é", "characters"),
    ("SUMO_HTTP_ENDPOINT", "https://host/a\r\nX-Evil: 1", "characters"),
    ("SUMO_DISABLED", "yes", "neither true nor false"),
    ("SUMO_FLUSH", "later", "none of auto, end, next"),
    ("SUMO_FLUSH_MAX_AGE_S", "0.09", "between 0.1 and 900 seconds"),
    ("SUMO_FLUSH_MAX_AGE_S", "901", "between 0.1 and 900 seconds"),
    ("SUMO_FLUSH_MAX_AGE_S", "nan", "between 0.1 and 900 seconds"),
    ("SUMO_FLUSH_MAX_AGE_S", "inf", "between 0.1 and 900 seconds"),
    ("SUMO_FLUSH_MAX_AGE_S", "5s", "not a number of seconds"),
    ("SUMO_NUM_RETRIES", "-1", "between 0 and 100 attempts"),
    ("SUMO_NUM_RETRIES", "101", "between 0 and 100 attempts"),
    ("SUMO_NUM_RETRIES", "3.0", "not a number of attempts"),
    ("SUMO_RETRY_SLEEP_TIME_MS", "60001", "between 0 and 60000 milliseconds"),
    ("SUMO_SPOOL_MAX_MB", "2", "between 3 and 10240 megabytes"),
    ("SUMO_MEMORY_MAX_MB", "1025", "between 0 and 1024 megabytes"),
    ("SUMO_SECRET_CACHE_SECONDS", "86401", "between 0 and 86400 seconds"),
    ("KMS_CACHE_SECONDS", "-1", "between 0 and 86400 seconds"),
    ("SUMO_ENABLE_FAILOVER", "true", "SUMO_S3_BUCKET_NAME is not set; there is no failover"),
    ("SUMO_HTTP_TOKEN", "two words", "characters that no address or token can have"),
    ("SUMO_HTTP_TOKEN", "a\r\nX: y", "characters that no address or token can have"),
    ("SUMO_HTTP_TOKEN", "arn:aws:ssm:evil.example/x:1:parameter/y", "names a region"),
    ("SUMO_HTTP_ENDPOINT", "arn:aws:secretsmanager:evil.example/x:1:secret:y", "names a region"),
    ("SUMO_HTTP_ENDPOINT", "arn:aws:secretsmanager:a@evil.example:1:secret:y", "names a region"),
    ("KMS_KEY_ID", "arn:aws:kms:evil.example#:1:key/y", "names a region"),
    ("SUMO_S3_BUCKET_REGION", "evil.example/x", "names a region"),
    ("SUMO_S3_BUCKET_OWNER", "12345678901", "is not an AWS account"),
    ("SUMO_S3_BUCKET_OWNER", "12345678901\u0662", "is not an AWS account"),
    ("SUMO_S3_BUCKET_REGION", "EU-WEST-1", "names a region"),
    ("SUMO_COMPRESSION", "deflate", "none of auto, gzip, zstd, none"),
    ("SUMO_LOG_LEVEL", "loud", "none of trace, debug"),
    ("SOURCE_CATEGORY_OVERRIDE", "caf\u00e9", "request header"),
    ("SOURCE_CATEGORY_OVERRIDE", "a\nX-Evil: 1", "request header"),
    ("SUMO_SOURCE_NAME", "a\tb", "request header"),
    ("SUMO_SOURCE_HOST", "a\rb", "request header"),
    ("SUMO_EXCLUDE", "(a+)+", "more than one way"),
    ("SUMO_EXCLUDE", "(", "does not compile"),
    ("SUMO_INCLUDE", '["a", "["]', "number 2"),
    ("SUMO_UNIFIED_TAGS", "maybe", "neither true nor false"),
    ("SUMO_CHILDREN", "all", "neither true nor false"),
    ("SUMO_CONTEXT_KEYS", "arn", "'arn', which is none of trace_id, invoked_arn"),
    ("SUMO_LEVEL", "loud", "is none of trace, debug"),
    ("SUMO_MAX_MB_PER_HOUR", "-1", "not between"),
    ("SUMO_SAMPLE", "1.01", "between 0 and 1"),
    ("SUMO_SAMPLE", "-0.1", "between 0 and 1"),
    ("SUMO_SAMPLE", "nan", "between 0 and 1"),
    ("SUMO_SAMPLE", "10%", "not a number"),
    ("SUMO_INVOCATION_SUMMARY", "all", "neither true nor false"),
    ("SUMO_CLOUDWATCH", "some", "none of all, errors, none"),
    ("SUMO_DEBUG_ON_FAILURE", "orders:LOUD", "'orders:LOUD', which is not NAME or NAME:LEVEL"),
    ("SUMO_DEBUG_ON_FAILURE", ":DEBUG", "':DEBUG', which is not NAME or NAME:LEVEL"),
    ("SUMO_DEBUG_SLOWER_MS", "-1", "between 0 and 900000 milliseconds"),
    ("SUMO_DEBUG_MAX_MB", "0", "between 1 and 1024 megabytes"),
    ("SUMO_FAILURE_5XX", "500", "neither true nor false"),
    ("SUMO_CLOUDWATCH_FALLBACK_S", "-1", "between 0 and 86400 seconds"),
    ("SUMO_FIELDS", "a={accont}", "{accont}, which is none of {account}"),
    ("SUMO_FIELDS", "team", "not key=value"),
    ("SUMO_FIELDS", "=shop", "not key=value"),
    ("SUMO_FIELDS", "team=", "not key=value"),
    ("SUMO_FIELDS", "team=a=b", "not key=value"),
    ("SUMO_FIELDS", "team=sh\u00f6p", "request header"),
    ("SUMO_FIELDS", ",".join(f"k{n}=v" for n in range(31)), "31 fields; Sumo Logic accepts 30"),
    ("SUMO_FIELDS", f"{'k' * 256}=v", "over 255"),
    ("SUMO_FIELDS", f"k={'v' * 201}", "over 200"),
    ("SUMO_LOG_TYPES", "platform,functions", "has 'functions', which is none of platform, function, extension"),
    ("SUMO_FUNCTION_LOGS", "cloudwatch", "none of auto, process, telemetry"),
    ("SUMO_ENHANCE_JSON_LOGS", "no", "neither true nor false"),
    ("SUMO_SPAN_DROP", "on", "neither true nor false"),
    ("SUMO_MULTILINE", "yes", "none of join, split"),
    ("SUMO_STRIP_ANSI", "some", "neither true nor false"),
    ("TELEMETRY_TIMEOUT_MS", "1s", "not a number of milliseconds"),
    ("TELEMETRY_MAX_BYTES", "1e6", "not a number of bytes"),
    ("TELEMETRY_MAX_ITEMS", "all", "not a number of events"),
]

CHECKED = "\n".join(inspect.getsource(decision) for decision in (is_in_process, is_processed))
"""What config.py itself decides by its values, for others to call."""

ATTRIBUTES = {setting.variable: setting.attribute for setting in SETTINGS}


@pytest.mark.parametrize(("variable", "text", "expected"), VALID)
def test_valid(variable: str, text: str, expected: object) -> None:
    """What users of the Go extension have set keeps its meaning; edges of the ranges are inside."""
    config, problems = read({variable: text})
    assert (getattr(config, ATTRIBUTES[variable]), problems) == (expected, [])


def test_what_cannot_be_kept_is_all_kept() -> None:
    """An alarm that is fed by lines must not starve because an expression is refused: then CloudWatch has all lines."""
    config, problems = read({"SUMO_CLOUDWATCH_KEEP": "(a+)+"})
    assert config.cloudwatch_keep == ("",)
    assert len(problems) == 1 and problems[0].endswith("; all lines go to CloudWatch")


@pytest.mark.parametrize(("variable", "text", "problem"), INVALID)
def test_invalid(variable: str, text: str, problem: str) -> None:
    """A wrong value is left out, and one sentence says which, why, and what is done instead."""
    config, problems = read({variable: text})
    defaults, _ = read({})
    assert getattr(config, ATTRIBUTES[variable]) == getattr(defaults, ATTRIBUTES[variable])
    (sentence,) = problems
    assert sentence.startswith(variable) and problem in sentence
    assert sentence.endswith(("used instead", "left out", "no failover"))


@pytest.mark.parametrize(
    ("variable", "text", "instead"),
    [
        ("SUMO_FLUSH", "later", "auto is used instead"),
        ("SUMO_DISABLED", "yes", "false is used instead"),
        ("SUMO_FLUSH_MAX_AGE_S", "5s", "5 is used instead"),
        ("SUMO_LOG_TYPES", "functions", "platform,function is used instead"),
        ("SUMO_LEVEL", "loud", "it is left out"),
        ("KMS_CACHE_SECONDS", "soon", "it is left out"),
        ("SUMO_SAMPLE", "10%", "SUMO_SAMPLE='10%' is not a number; 1 is used instead"),
    ],
)
def test_what_is_used_instead_is_written_as_users_write_it(variable: str, text: str, instead: str) -> None:
    """Guards against values as Python shows them: ``('platform', 'function')``, ``False``, ``None``."""
    (sentence,) = read({variable: text})[1]
    assert sentence.endswith(instead)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_a_default_that_is_shown_can_be_written(setting: Setting) -> None:
    """It means the same as no variable. Guards against a 0 in the table of settings that is no level."""
    assert not (text := default_text(setting)) or setting.parse(text) == setting.default


@pytest.mark.parametrize(
    ("variable", "text", "used"),
    [
        ("TELEMETRY_TIMEOUT_MS", "24", 25),
        ("TELEMETRY_TIMEOUT_MS", "30001", 30_000),
        ("TELEMETRY_MAX_BYTES", "0", 262_144),
        ("TELEMETRY_MAX_BYTES", "9999999", 1_048_576),
        ("TELEMETRY_MAX_ITEMS", "-1", 1_000),
        ("TELEMETRY_MAX_ITEMS", "10001", 10_000),
    ],
)
def test_what_aws_limits_is_clamped(variable: str, text: str, used: int) -> None:
    """Beyond AWS's limits the nearest value counts, as in the Go extension, and a sentence says so."""
    config, (sentence,) = read({variable: text})
    assert getattr(config, ATTRIBUTES[variable]) == used
    assert sentence.startswith(f"{variable}='{text}' is not between") and sentence.endswith(f"{used} is used instead")


GO_SETTINGS = {
    "SUMO_HTTP_ENDPOINT": ENDPOINT,
    "SUMO_LOG_TYPES": "platform,function,extension",
    "SUMO_ENABLE_FAILOVER": "true",
    "SUMO_S3_BUCKET_NAME": "lines",
    "SUMO_S3_BUCKET_REGION": "us-east-1",
    "SUMO_NUM_RETRIES": "5",
    "SUMO_RETRY_SLEEP_TIME_MS": "100",
    "SUMO_LOG_LEVEL": "debug",
    "SUMO_MAX_DATAQUEUE_LENGTH": "20",
    "SUMO_MAX_CONCURRENT_REQUESTS": "3",
    "SUMO_MAX_RETRY": "0",
    "SOURCE_CATEGORY_OVERRIDE": "prod/orders",
    "SUMO_ENHANCE_JSON_LOGS": "false",
    "SUMO_SPAN_DROP": "true",
    "KMS_KEY_ID": "alias/sumo",
    "KMS_CACHE_SECONDS": "5",
    "TELEMETRY_TIMEOUT_MS": "500",
    "TELEMETRY_MAX_BYTES": "524288",
    "TELEMETRY_MAX_ITEMS": "5000",
}
"""All that the Go extension and its help page know, each with a value that is not its default."""


@pytest.mark.parametrize("variable", GO_SETTINGS)
def test_every_setting_of_the_go_extension_is_taken_or_answered(variable: str) -> None:
    """Users swap the layer and keep their settings: each has its effect, or one line says why it has none."""
    config, problems = read(GO_SETTINGS)
    said = [remark for remark in remarks({variable: GO_SETTINGS[variable]}) if remark.startswith(variable)]
    has_effect = variable in ATTRIBUTES and getattr(config, ATTRIBUTES[variable]) != getattr(
        read({})[0], ATTRIBUTES[variable]
    )
    assert problems == []
    assert has_effect is (said == [])
    assert all("has no meaning here: " in remark for remark in said)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}, True),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}, False),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_FUNCTION_LOGS": "telemetry"}, False),
        ({"SUMO_FUNCTION_LOGS": "process"}, True),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, True),
        (
            {
                "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
            },
            True,
        ),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}, True),
    ],
)
def test_where_the_function_is_heard(environ: dict[str, str], expected: bool) -> None:
    """In its process where our wrapper starts it; a user of the Go layer who only swaps layers loses nothing."""
    assert is_in_process(read(environ)[0], environ) is expected


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("SUMO_PROCESSORS", "tag", "'tag', which is not module.attribute"),
        ("SUMO_PROCESSORS", "a.b, c d.e", "'c d.e', which is not module.attribute"),
        ("SUMO_MASK_PATTERNS", "hunter2(", "does not compile"),
        ("SUMO_MASK_PATTERNS", "(h+u?)+nter2", "more than one way"),
        ("SUMO_HASH_PATTERNS", "(?P<hunter2", "does not compile"),
        ("SUMO_HASH_PATTERNS", "hunter2", "SUMO_HASH_SALT is not"),
    ],
)
def test_what_cannot_guard_withholds(variable: str, text: str, problem: str) -> None:
    """Half a mask is none: no message leaves, and one sentence says why, without what is to be masked."""
    config, problems = read({variable: text})
    (sentence,) = problems

    assert config.withheld and variable.split("_")[1] in config.withheld
    assert sentence.startswith(variable) and problem in sentence and sentence.endswith("messages are withheld")
    assert "hunter2" not in sentence + config.withheld


def test_failover_needs_a_bucket_and_its_region() -> None:
    """Both, or none: half a setting is said, and does not look like failover."""
    bucket = {"SUMO_ENABLE_FAILOVER": "true", "SUMO_S3_BUCKET_NAME": "lines"}
    assert not read(bucket)[0].has_failover
    config, problems = read(bucket | {"SUMO_S3_BUCKET_REGION": "eu-west-1"})
    assert (config.has_failover, problems) == (True, [])


def test_a_ciphertext_needs_a_key() -> None:
    """With KMS_KEY_ID anything may be what KMS can decrypt; an address is still one."""
    for endpoint in ("AQICAHhX+base64/ciphertext==", ENDPOINT):
        config, problems = read({"SUMO_HTTP_ENDPOINT": endpoint, "KMS_KEY_ID": "alias/sumo"})
        assert (config.endpoint, problems) == (endpoint, [])


def test_defaults() -> None:
    """The names and defaults that the README documents; an empty variable, as consoles leave them, is not set."""
    config, problems = read({setting.variable: " " for setting in SETTINGS} | {"HOME": "/"})
    assert problems == []
    assert {setting.variable: getattr(config, setting.attribute) for setting in SETTINGS} == {
        "SUMO_HTTP_ENDPOINT": "",
        "SUMO_HTTP_TOKEN": "",
        "SUMO_DISABLED": False,
        "SUMO_NEXT_WRAPPER": "",
        "SUMO_FLUSH": "auto",
        "SUMO_FLUSH_MAX_AGE_S": 5.0,
        "SUMO_COMPRESSION": "auto",
        "SUMO_NUM_RETRIES": 3,
        "SUMO_RETRY_SLEEP_TIME_MS": 300,
        "SUMO_SPOOL_MAX_MB": 128,
        "SUMO_MEMORY_MAX_MB": 8,
        "SUMO_SPOOL_DIR": "/tmp/sumo-internal",
        "SUMO_ENABLE_FAILOVER": False,
        "SUMO_S3_BUCKET_NAME": "",
        "SUMO_S3_BUCKET_REGION": "",
        "SUMO_S3_BUCKET_OWNER": "",
        "KMS_KEY_ID": "",
        "SUMO_SECRET_CACHE_SECONDS": 3600,
        "KMS_CACHE_SECONDS": None,
        "SUMO_LOG_LEVEL": "info",
        "SUMO_PROCESSORS": (),
        "SUMO_MASK_KEYS": (),
        "SUMO_MASK_PATTERNS": (),
        "SUMO_HASH_PATTERNS": (),
        "SUMO_HASH_SALT": "",
        "SUMO_EXCLUDE": (),
        "SUMO_INCLUDE": (),
        "SUMO_RULES_MAX_MS": 50,
        "SUMO_LEVEL": 0,
        "SUMO_MAX_MB_PER_HOUR": 0.0,
        "SUMO_SAMPLE": 1.0,
        "SUMO_MARK_REPLAYS": True,
        "SUMO_CHILDREN": False,
        "SUMO_DROP_REPLAYS": False,
        "SUMO_INVOCATION_SUMMARY": False,
        "SUMO_DEBUG_ON_FAILURE": (),
        "SUMO_DEBUG_SLOWER_MS": 0,
        "SUMO_DEBUG_MAX_MB": 8,
        "SUMO_FAILURE_5XX": False,
        "SUMO_CLOUDWATCH": "all",
        "SUMO_CLOUDWATCH_FALLBACK_S": 60.0,
        "SUMO_CLOUDWATCH_KEEP": (),
        "SOURCE_CATEGORY_OVERRIDE": "",
        "SUMO_SOURCE_NAME": "",
        "SUMO_SOURCE_HOST": "",
        "SUMO_FIELDS": "",
        "SUMO_UNIFIED_TAGS": False,
        "SUMO_CONTEXT_KEYS": (),
        "SUMO_LOG_TYPES": ("platform", "function"),
        "SUMO_FUNCTION_LOGS": "auto",
        "SUMO_ENHANCE_JSON_LOGS": True,
        "SUMO_MULTILINE": "join",
        "SUMO_STRIP_ANSI": False,
        "SUMO_SPAN_DROP": False,
        "TELEMETRY_TIMEOUT_MS": 1_000,
        "TELEMETRY_MAX_BYTES": 262_144,
        "TELEMETRY_MAX_ITEMS": 10_000,
    }


def test_the_table_is_complete() -> None:
    """Each setting is read, typed and explained, once."""
    assert {*ATTRIBUTES.values(), "withheld"} == set(Config.__annotations__)
    assert len(ATTRIBUTES) == len(SETTINGS)
    assert all(setting.meaning.endswith(".") for setting in SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_a_setting_is_tried_and_read(setting: Setting) -> None:
    """Guards against an entry to which no test gives a value, and against one that no code looks at."""
    tried = {variable for variable, *_ in [*VALID, *INVALID]}
    assert setting.variable in tried | {"SUMO_HASH_PATTERNS", "SUMO_NEXT_WRAPPER"}  # these two have tests of their own
    layer_scripts = ("wrapper/sumo_wrapper", "layer/extension/sumo-internal-extension")
    own = ROOT / "sumo_internal/config.py"
    sources = [path.read_text() for path in (ROOT / "sumo_internal").rglob("*.py") if path != own]
    scripts = [(ROOT / name).read_text() for name in layer_scripts]
    is_read = any(re.search(rf"\.{setting.attribute}\b", source) for source in [*sources, CHECKED])
    assert is_read or any(setting.variable in script for script in scripts)


def test_settings_are_read_once() -> None:
    """Two threads and another process go by the same values."""
    config, _ = read({})
    with pytest.raises(AttributeError, match="flush"):
        config.flush = "end"


@given(st.dictionaries(st.sampled_from(sorted(ATTRIBUTES)), st.text()))
def test_any_text_gives_settings_and_sentences(environ: dict[str, str]) -> None:
    """Whatever the variables say: a value or one sentence each, never an exception in the function's start."""
    config, problems = read(environ)
    assert len(problems) == len({problem.partition(" ")[0].partition("=")[0] for problem in problems}) <= len(environ)
    assert all(hasattr(config, attribute) for attribute in ATTRIBUTES.values())


@given(st.sampled_from(["", "https:/", "https//host/", "ftp://host/", "https://host/ ", "https://höst/"]), st.text())
def test_the_endpoint_is_never_shown(prefix: str, suffix: str) -> None:
    """It is a credential, and most wrong ones are nearly right ones: the sentences go to the function's log."""
    _, problems = read({"SUMO_HTTP_ENDPOINT": f"{prefix}ZaVnC4dhaV0secret{suffix}"})
    assert "ZaVnC4dhaV0secret" not in "".join(problems)
    _, problems = read({"SUMO_HTTP_TOKEN": f"ZaVnC4dhaV0secret{suffix}", "SUMO_HTTP_ENDPOINT": prefix})
    assert "ZaVnC4dhaV0secret" not in "".join(problems)


FIELDS = st.lists(
    st.builds(
        lambda key, middle, value: key + middle + value,
        st.sampled_from(["team", " k ", "", "k" * 255, "k" * 256]),
        st.sampled_from(["=", " = ", "==", ""]),
        st.sampled_from(["shop", "", " ", "v" * 200, "v" * 201]),
    ),
    max_size=3,
).map(",".join) | st.integers(1, 40).map(lambda count: "k=v," * count)


@given(FIELDS)
def test_fields_that_are_taken_are_ones_that_sumo_takes(text: str) -> None:
    """What passes here passes there: a request with bad fields is a problem of every line."""
    config, _ = read({"SUMO_FIELDS": text})
    if config.fields:
        headers = {name.lower(): value for name, value in make_envelope({"SUMO_FIELDS": text}).items()}
        verdict = sumo_rules.judge("POST", sumo_rules.PATH, "HTTP/1.1", headers | {"host": "h"}, b"", None)
        assert [problem for problem in verdict.problems if "field" in problem] == []


STREAM = "2026/11/21/[$LATEST]0123456789abcdef0123456789abcdef"


def make_envelope(environ: dict[str, str], stream: str = STREAM) -> dict[str, str]:
    config, _ = read(environ)
    return request_headers(config, "orders", stream, "7")


def test_the_envelope_is_what_dashboards_parse() -> None:
    """Host, name and client always; category and fields where they are set."""
    client = f"sumo-internal-extension:{__version__}"
    assert make_envelope({}) == {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": STREAM, "X-Sumo-Client": client}
    assert make_envelope(
        {
            "SUMO_SOURCE_HOST": "host",
            "SUMO_SOURCE_NAME": "name",
            "SOURCE_CATEGORY_OVERRIDE": "category",
            "SUMO_FIELDS": "team=shop",
        }
    ) == {
        "X-Sumo-Host": "host",
        "X-Sumo-Name": "name",
        "X-Sumo-Category": "category",
        "X-Sumo-Fields": "team=shop",
        "X-Sumo-Client": client,
    }


def test_an_unknown_stream_has_no_name() -> None:
    """Outside Lambda there is none: no header is better than an empty one."""
    assert "X-Sumo-Name" not in make_envelope({}, stream="")


@pytest.mark.parametrize(
    ("log_stream", "expected"),
    [
        ("2026/11/21/[$LATEST]0123abcd", "2026/11/21/[$LATEST]0123abcd"),
        ("2026/11/21/[42]0123abcd", "2026/11/21/[42]0123abcd"),
        ("2026/11/21/orders[$LATEST][0123abcd]", "2026/11/21/[$LATEST]0123abcd"),
        ("2026/11/21/orders[42]0123abcd", "2026/11/21/[42]0123abcd"),
        ("some-stream", "/[7]some-stream"),
        ("a/b/c/[42]0123abcd", "/[7]a/b/c/[42]0123abcd"),
        ("2026/11/[42]0123abcd", "/[7]2026/11/[42]0123abcd"),
        ("2026/11/21/orders", "/[7]2026/11/21/orders"),
        ("", ""),
    ],
)
def test_dashboard_stream(log_stream: str, expected: str) -> None:
    """Dashboards take date, version and id out of ``*/[*]*``; a custom log group's streams have another form."""
    assert dashboard_stream(log_stream, "7") == expected


def test_an_unknown_placeholder_is_left_out() -> None:
    """Its field is, and the others stay."""
    config, (problem,) = read({"SUMO_FIELDS": "team=shop,account={acount},region={region}"})
    assert config.fields == "team=shop,region={region}" and "{acount}, which is none of {account}, {region}" in problem


@pytest.mark.parametrize(
    ("fields", "account_id", "sent", "missing"),
    [
        ("team=shop", "", "team=shop", []),
        ("account={account},team=shop", "123456789012", "account=123456789012,team=shop", []),
        ("account={account},team=shop", "", "team=shop", ["{account}"]),
        ("account={account}", "", None, ["{account}"]),
        ("a={region}/{function}:{version},m={memory}", "1", "a=eu-central-1/orders:7,m=128", []),
        ("a={odd", "1", "a={odd", []),
    ],
)
def test_placeholders_are_filled(fields: str, account_id: str, sent: str | None, missing: list[str]) -> None:
    """A field without a value is left out, and a header without fields."""
    environ = {
        "AWS_REGION": "eu-central-1",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    }
    known = envelope.values(environ, account_id)
    headers, unknown = envelope.filled({"X-Sumo-Fields": fields, "X-Sumo-Host": "h"}, known)
    assert (headers.get("X-Sumo-Fields"), unknown, headers["X-Sumo-Host"]) == (sent, missing, "h")


@pytest.mark.parametrize(
    ("environ", "fields", "sent"),
    [
        ({"DD_SERVICE": "orders", "DD_ENV": "prod", "DD_VERSION": "7"}, "", "service=orders,env=prod,version=7"),
        (
            {"OTEL_SERVICE_NAME": "orders", "OTEL_RESOURCE_ATTRIBUTES": "a=b,service.version=7"},
            "",
            "service=orders,version=7",
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=o,deployment.environment=x"}, "team=a", "team=a,service=o,env=x"),
        ({"DD_SERVICE": "orders", "OTEL_SERVICE_NAME": "o"}, "service=own", "service=own"),
        ({"DD_SERVICE": "a,b=c", "DD_ENV": "ö", "DD_VERSION": "x" * 201}, "", None),
        ({"DD_SERVICE": "orders"}, ",".join(f"k{n}=v" for n in range(30)), ",".join(f"k{n}=v" for n in range(30))),
        ({}, "", None),
    ],
)
def test_tags_as_others_have_them(environ: dict[str, str], fields: str, sent: str | None) -> None:
    """What a user has named stays; what no header or field can carry is left out; there is no 31st field."""
    headers = {"X-Sumo-Host": "h", **({"X-Sumo-Fields": fields} if fields else {})}
    assert envelope.tagged(headers, envelope.tags(environ)).get("X-Sumo-Fields") == sent
