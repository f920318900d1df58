"""The doctor's checks: each finding has a set-up that it is made for, and a sound set-up has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sumo_rules
from hypothesis import given
from hypothesis import strategies as st
from test_structure import OUTSIDE, imports

from layer.build import ROOT
from sumo_internal import config
from sumo_internal.cli import answers, checks
from sumo_internal.cli.checks import Subject
from sumo_internal.cli.findings import LEVELS, WORDS
from sumo_internal.destinations.attempt import Attempt

LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:sumo-internal-extension:7"
OTHER_LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:pandas:3"
GO_LAYER = "arn:aws:lambda:eu-west-1:956882708938:layer:sumologic-extension-arm64:12"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:sumo-AbCdEf"
BASE = f"https://endpoint4.collection.eu.sumologic.com{sumo_rules.BASE_PATH}"
ADDRESS = f"{BASE}/{sumo_rules.TOKEN}"

VARIABLES = {
    "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
    "SUMO_HTTP_ENDPOINT": SECRET,
    "SUMO_ENABLE_FAILOVER": "true",
    "SUMO_S3_BUCKET_NAME": "failover",
    "SUMO_S3_BUCKET_REGION": "eu-west-1",
    "PATH": "/usr/bin",
    "SUMO_ATTACHED": '["SUMO_HTTP_ENDPOINT"]',
    "KMS_KEY_ARN": "the function's own",
}
FUNCTION = {
    "FunctionName": "orders",
    "FunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:orders",
    "PackageType": "Zip",
    "Runtime": "python3.12",
    "Handler": "app.handler",
    "Timeout": 10,
    "MemorySize": 512,
    "EphemeralStorage": {"Size": 512},
    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
    "Layers": [{"Arn": OTHER_LAYER}, {"Arn": LAYER}],
}
MODES: dict[str, int | None] = dict.fromkeys(checks.FILES, 0o100755)


DURABLE = {"DurableConfig": {"ExecutionTimeout": 3600, "RetentionPeriodInDays": 14}}


def subject(
    variables: dict[str, str] | None = None,
    function: dict[str, Any] | None = None,
    modes: dict[str, int | None] | None = None,
    bytecode: frozenset[str] | None = None,
) -> Subject:
    """A sound set-up, with changes; an empty variable is removed."""
    changed = {**VARIABLES, **(variables or {})}
    return Subject(
        {name: value for name, value in changed.items() if value},
        {**FUNCTION, **(function or {})},
        {**MODES, **(modes or {})},
        bytecode,
    )


NO_FAILOVER = {"SUMO_ENABLE_FAILOVER": "", "SUMO_S3_BUCKET_NAME": "", "SUMO_S3_BUCKET_REGION": ""}
NO_WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": ""}
IMAGE: dict[str, Any] = {"PackageType": "Image", "Runtime": None, "Handler": None, "Layers": None}
ENTRY: dict[str, Any] = {"ImageConfigResponse": {"ImageConfig": {"EntryPoint": ["/opt/sumo_wrapper", "python"]}}}

TABLE = {
    "sound": (subject(), []),
    "only variables": (Subject(VARIABLES), []),
    "a misspelt name": (subject({"SUMO_FLUSHH": "end"}), ["variable-misspelt"]),
    "a misspelt name that is not ours": (subject({"SOURCE_CATEGORY_OVERIDE": "x"}), ["variable-misspelt"]),
    "a name in small letters": (subject({"sumo_flush": "end"}), ["variable-misspelt"]),
    "somebody's own name": (subject({"SUMO_ACCESS_ID": "x"}), ["variable-unknown"]),
    "a setting of the Go extension": (subject({"SUMO_MAX_RETRY": "3"}), ["variable-of-go"]),
    "a name that anybody would think of": (subject({"SUMO_SOURCE_CATEGORY": "x"}), ["variable-misspelt"]),
    "a key of Sumo Logic's API": (subject({"SUMO_ACCESS_KEY": "x"}), ["variable-unknown"]),
    "a wrong value": (subject({"SUMO_FLUSH": "sometimes"}), ["variable-value"]),
    "a mask that cannot be read": (subject({"SUMO_MASK_PATTERNS": "("}), ["variable-unsafe"]),
    "none of the function's lines": (subject({"SUMO_LOG_TYPES": "platform"}), ["log-types"]),
    "switched off": (subject({"SUMO_DISABLED": "true"}), ["disabled"]),
    "CloudWatch spared": (
        replace(subject({"SUMO_CLOUDWATCH": "none"}), filters=("errors", "to-kinesis")),
        ["cloudwatch-filters", "cloudwatch-platform"],
    ),
    "filters may not be listed": (
        replace(subject({"SUMO_CLOUDWATCH": "none"}), filters_problem="AccessDeniedException"),
        ["cloudwatch-filters-unseen", "cloudwatch-platform"],
    ),
    "CloudWatch spared, with masks": (
        subject({"SUMO_CLOUDWATCH": "errors", "SUMO_MASK_KEYS": "password"}),
        ["cloudwatch-platform", "cloudwatch-unmasked"],
    ),
    "CloudWatch spared, and by Lambda too": (
        subject({"SUMO_CLOUDWATCH": "none"}, {"LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "WARN"}}),
        [],
    ),
    "CloudWatch spared, not by Lambda": (
        subject({"SUMO_CLOUDWATCH": "none"}, {"LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "INFO"}}),
        ["cloudwatch-platform"],
    ),
    "CloudWatch not spared": (
        subject({"SUMO_CLOUDWATCH": "none", "SUMO_FUNCTION_LOGS": "telemetry"}),
        ["cloudwatch-idle"],
    ),
    "CloudWatch not spared by a handler": (
        subject({"SUMO_CLOUDWATCH": "none", "SUMO_FUNCTION_LOGS": "process", **NO_WRAPPER}),
        ["cloudwatch-idle"],
    ),
    "CloudWatch spared by an image": (
        subject({"SUMO_CLOUDWATCH": "none", **NO_WRAPPER}, {**IMAGE, **ENTRY}),
        ["cloudwatch-platform"],
    ),
    "other programs": (subject({"SUMO_CHILDREN": "true"}), []),
    "other programs, of an image": (subject({"SUMO_CHILDREN": "true", **NO_WRAPPER}, {**IMAGE, **ENTRY}), []),
    "other programs, behind a web adapter": (
        subject({"SUMO_CHILDREN": "true", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"}),
        ["wrapper-program"],
    ),
    "other programs, not asked for": (
        subject({"SUMO_CHILDREN": "false", "SUMO_FUNCTION_LOGS": "telemetry"}),
        [],
    ),
    "other programs, which Lambda tells of": (
        subject({"SUMO_CHILDREN": "true", "SUMO_FUNCTION_LOGS": "telemetry"}),
        ["setting-idle"],
    ),
    "other programs, and no wrapper": (
        subject({"SUMO_CHILDREN": "true", **NO_WRAPPER}),
        ["wrapper-missing", "setting-idle"],
    ),
    "other programs, and DEBUG lines, with a handler": (
        subject({"SUMO_CHILDREN": "1", "SUMO_DEBUG_ON_FAILURE": "*", "SUMO_FUNCTION_LOGS": "process", **NO_WRAPPER}),
        ["setting-idle", "setting-idle"],
    ),
    "other programs, and none of the function's lines": (
        subject({"SUMO_CHILDREN": "true", "SUMO_LOG_TYPES": "platform"}),
        ["log-types", "setting-idle"],
    ),
    "other programs, switched off": (subject({"SUMO_CHILDREN": "true", "SUMO_DISABLED": "true"}), ["disabled"]),
    "no endpoint": (subject({"SUMO_HTTP_ENDPOINT": ""}), ["endpoint-missing"]),
    "an endpoint that is none": (subject({"SUMO_HTTP_ENDPOINT": "endpoint4"}), ["endpoint-value"]),
    "an ARN of something else": (subject({"SUMO_HTTP_ENDPOINT": "arn:aws:s3:::bucket:secret"}), ["endpoint-arn"]),
    "http": (subject({"SUMO_HTTP_ENDPOINT": ADDRESS.replace("https", "http")}), ["endpoint-http", "endpoint-plain"]),
    "an API's address": (
        subject({"SUMO_HTTP_ENDPOINT": "https://api.eu.sumologic.com/api/v1"}),
        ["endpoint-path", "endpoint-plain"],
    ),
    "a plain address, and the ARN of its token": (subject({"SUMO_HTTP_ENDPOINT": BASE, "SUMO_HTTP_TOKEN": SECRET}), []),
    "a plain token": (subject({"SUMO_HTTP_ENDPOINT": BASE, "SUMO_HTTP_TOKEN": sumo_rules.TOKEN}), ["token-plain"]),
    "an encrypted token": (
        subject({"SUMO_HTTP_ENDPOINT": BASE, "SUMO_HTTP_TOKEN": "AQICAHhx" * 20, "KMS_KEY_ID": "k"}),
        [],
    ),
    "an address whose token is missing": (subject({"SUMO_HTTP_ENDPOINT": BASE}), ["token-missing"]),
    "a token too many": (
        subject({"SUMO_HTTP_ENDPOINT": ADDRESS, "SUMO_HTTP_TOKEN": SECRET}),
        ["endpoint-plain", "token-unused"],
    ),
    "a region that is a host": (
        subject({"SUMO_HTTP_ENDPOINT": "arn:aws:secretsmanager:evil.example/x:1:secret:y"}),
        ["endpoint-value"],
    ),
    "a plain endpoint": (subject({"SUMO_HTTP_ENDPOINT": ADDRESS}), ["endpoint-plain"]),
    "a key and no ciphertext": (subject({"KMS_KEY_ID": "alias/sumo"}), ["kms-unused"]),
    "a key's cache without a key": (subject({"KMS_CACHE_SECONDS": "60"}), ["kms-cache-unused"]),
    "a ciphertext": (subject({"SUMO_HTTP_ENDPOINT": "AQICAHh=", "KMS_KEY_ID": "k", "KMS_CACHE_SECONDS": "60"}), []),
    "no bucket": (subject(NO_FAILOVER), ["failover-none"]),
    "a bucket that is not used": (subject({"SUMO_ENABLE_FAILOVER": ""}), ["failover-off"]),
    "failover without a region": (subject({"SUMO_S3_BUCKET_REGION": ""}), ["failover-incomplete"]),
    "failover that is neither on nor off": (
        subject({"SUMO_ENABLE_FAILOVER": "maybe"}),
        ["variable-value", "failover-off"],
    ),
    "a spool elsewhere": (subject({"SUMO_SPOOL_DIR": "/var/spool"}), ["spool-folder"]),
    "a spool larger than /tmp": (subject({"SUMO_SPOOL_MAX_MB": "600"}), ["spool-size"]),
    "no wrapper": (subject({"AWS_LAMBDA_EXEC_WRAPPER": ""}), ["wrapper-missing"]),
    "no wrapper, on purpose": (subject({"AWS_LAMBDA_EXEC_WRAPPER": "", "SUMO_FUNCTION_LOGS": "telemetry"}), []),
    "the wrapper's path": (subject({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo-wrapper"}), ["wrapper-path"]),
    "another wrapper": (subject({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}), ["wrapper-taken"]),
    "a web adapter": (subject({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"}), ["wrapper-program"]),
    "a web adapter behind ours": (subject({"SUMO_NEXT_WRAPPER": "/opt/bootstrap"}), ["wrapper-program"]),
    "a web adapter, and lines from Lambda": (
        subject({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap", "SUMO_FUNCTION_LOGS": "telemetry"}),
        [],
    ),
    "another wrapper behind ours": (subject({"SUMO_NEXT_WRAPPER": "/opt/otel-instrument"}), []),
    "another wrapper behind nothing": (
        subject({"AWS_LAMBDA_EXEC_WRAPPER": "", "SUMO_NEXT_WRAPPER": "/opt/otel-instrument"}),
        ["wrapper-next", "wrapper-missing"],
    ),
    "ours behind ours": (subject({"SUMO_NEXT_WRAPPER": "/opt/sumo_wrapper"}), ["wrapper-loop"]),
    "a file that is missing": (subject(modes={checks.PACKAGE: None}), ["file-missing"]),
    "a wrapper without run bit": (subject(modes={checks.FILES[0]: 0o100644, checks.PACKAGE: 0o100644}), ["file-mode"]),
    "another language": (subject(function={"Runtime": "nodejs22.x"}), ["runtime"]),
    "an old Python": (subject(function={"Runtime": "python3.9"}), ["runtime"]),
    "another language, without anything of ours": (
        Subject({}, {**FUNCTION, "Runtime": "nodejs22.x", "Handler": "index.handler", "Layers": []}),
        ["runtime"],
    ),
    "another language, with our wrapper and no layer": (
        subject(function={"Runtime": "nodejs22.x", "Layers": []}),
        ["runtime", "layer-missing"],
    ),
    "a program, with the layer": (subject(function={"Runtime": "provided.al2023", "Handler": "main"}), ["runtime"]),
    "an image": (subject(function=IMAGE), ["image"]),
    "an image that starts the wrapper": (subject(function={**IMAGE, **ENTRY}), []),
    "SnapStart": (subject(function={"SnapStart": {"ApplyOn": "PublishedVersions"}}), ["published-versions"]),
    "SnapStart, by Lambda's variables alone": (
        Subject({**VARIABLES, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}),
        ["published-versions"],
    ),
    "Managed Instances": (subject(function={"CapacityProviderConfig": {"x": 1}, "Timeout": 1}), ["published-versions"]),
    "Managed Instances, held": (
        subject({"SUMO_FLUSH": "end"}, {"CapacityProviderConfig": {"x": 1}, "MemorySize": 128}),
        ["variable-of-other-modes", "published-versions"],
    ),
    "a durable function": (subject(function=DURABLE), ["published-versions"]),
    "a durable function without the wrapper": (
        subject({"AWS_LAMBDA_EXEC_WRAPPER": ""}, DURABLE),
        ["wrapper-missing", "durable-telemetry", "published-versions"],
    ),
    "a durable function, not heard": (
        subject({"SUMO_FUNCTION_LOGS": "telemetry"}, DURABLE),
        ["durable-telemetry", "published-versions"],
    ),
    "repetitions of a durable function": (subject({"SUMO_DROP_REPLAYS": "true"}, DURABLE), ["published-versions"]),
    "repetitions of an ordinary function": (subject({"SUMO_DROP_REPLAYS": "true"}), ["replays-unused"]),
    "a handler without a module": (subject(function={"Handler": "handler"}), ["handler"]),
    "a handler of ours": (subject(function={"Handler": "sumo_internal.api.handler"}), ["handler"]),
    "a short timeout": (subject(function={"Timeout": 2}), ["timeout"]),
    "a short timeout, flush next": (subject({"SUMO_FLUSH": "next"}, {"Timeout": 1, "MemorySize": 128}), []),
    "a small function": (subject(function={"MemorySize": 128}), ["memory"]),
    "a VPC": (subject(function={"VpcConfig": {"SubnetIds": ["subnet-1"]}}), ["vpc"]),
    "no layer at all": (subject(function={"Layers": []}), ["layer-missing"]),
    "no layer that is known": (subject(function={"Layers": [{"Arn": OTHER_LAYER}]}), ["layer-unknown"]),
    "the layer twice": (subject(function={"Layers": [{"Arn": LAYER}, {"Arn": LAYER[:-1] + "8"}]}), ["layer-twice"]),
    "a layer without its bytecode": (subject(bytecode=frozenset({"python3.10"})), ["layer-bytecode"]),
    "a layer with its bytecode": (subject(bytecode=frozenset({"python3.12"})), []),
    "the Go layer beside ours": (subject(function={"Layers": [{"Arn": LAYER}, {"Arn": GO_LAYER}]}), ["layer-go"]),
    "the Go layer instead of ours": (subject(function={"Layers": [{"Arn": GO_LAYER}]}), ["layer-missing", "layer-go"]),
}  # fmt: skip

ANSWERS = {
    "taken": (Attempt(200), "source"),
    "taken, with a complaint": (Attempt(200, "HTTP 200 {…}"), "source"),
    "taken, but for the missing lines": (Attempt(400, "HTTP 400"), "source"),
    "refused": (Attempt(401, "HTTP 401"), "source-refuses"),
    "throttled": (Attempt(429, "HTTP 429"), "source-busy"),
    "ill": (Attempt(503, "HTTP 503"), "source-busy"),
    "an address that is a secret": (Attempt(0, "SUMO_HTTP_ENDPOINT: KMS answers X"), "source-secret"),
    "silent": (Attempt(0, "TimeoutError"), "source-silent"),
}
BUCKET_CODES = {
    "": "bucket",
    "AccessDenied": "bucket-refuses",
    "NoSuchBucket": "bucket-refuses",
    "Odd": "bucket-refuses",
}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_found(name: str) -> None:
    """Exactly the findings that a set-up deserves: one that cries wolf is switched off."""
    given_subject, expected = TABLE[name]
    assert sorted(finding.name for finding in checks.check(given_subject)) == sorted(expected)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_source_answers(name: str) -> None:
    """Only what is wrong with the address is an error for CI; an outage of Sumo Logic's passes."""
    attempt, expected = ANSWERS[name]
    assert answers.judge_source(attempt, 0.1).name == expected


@pytest.mark.parametrize("code", BUCKET_CODES)
def test_what_the_bucket_answers(code: str) -> None:
    """Every error of S3's ends in something to do."""
    finding = answers.judge_bucket(code, "failover", "eu-west-1", "me")
    assert finding.name == BUCKET_CODES[code] and finding.fix


def test_each_finding_is_tried_and_explained() -> None:
    """No finding without a set-up that has it, a level that is one, and its place in the troubleshooting page."""
    tried = {name for _, names in TABLE.values() for name in names}
    tried |= {name for _, name in ANSWERS.values()} | {*BUCKET_CODES.values(), "bucket-marker"}
    assert tried == WORDS.keys()
    assert {words.level for words in WORDS.values()} == set(LEVELS)
    page = (ROOT / "docs/troubleshooting.md").read_text()
    assert [name for name in WORDS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", ["checks", "findings", "answers"])
def test_the_checks_are_pure(name: str) -> None:
    """They ask nobody and look at nothing, so that the table above can try them all."""
    found = {module.partition(".")[0] for module in imports(ROOT / f"sumo_internal/cli/{name}.py")}
    assert found & {*OUTSIDE, "boto3", "botocore", "rich", "pathlib", "subprocess"} == set()


def test_the_worst_stands_first() -> None:
    """Whoever reads one line only reads the one that matters most."""
    found = checks.check(subject({"SUMO_ACCESS_ID": "x", "SUMO_FLUSH": "?", "SUMO_HTTP_ENDPOINT": ""}))
    assert [finding.level for finding in found] == ["error", "warning", "note"]


def test_a_fix_names_the_default() -> None:
    """Where there is none, it says so, and does not end in an empty pair of brackets."""
    fixes = [
        found.fix for name in ("SUMO_FLUSH", "SUMO_EXCLUDE") for found in checks.check_values(subject({name: "("}))
    ]
    assert fixes == [
        "Correct SUMO_FLUSH, or remove it (default: auto).",
        "Correct SUMO_EXCLUDE, or remove it (default: none).",
    ]


def test_permissions_are_the_least_that_serve() -> None:
    """One statement for each thing that the settings use, on that thing alone, in the region's partition."""
    objects = "arn:aws-cn:s3:::failover"
    both = checks.permissions(subject({"SUMO_S3_BUCKET_REGION": "cn-north-1"}))
    assert both == [
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{objects}/sumologic-extension/*/orders/*"},
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": SECRET},
    ]
    parameter = SECRET.replace("secretsmanager", "ssm").replace("secret:", "parameter/")
    assert (
        checks.permissions(subject({**NO_FAILOVER, "SUMO_HTTP_ENDPOINT": parameter}))[0]["Action"] == "ssm:GetParameter"
    )
    (decrypt,) = checks.permissions(subject({**NO_FAILOVER, "SUMO_HTTP_ENDPOINT": "AQIC", "KMS_KEY_ID": "1234"}))
    assert (decrypt["Resource"], "Condition" in decrypt) == ("arn:aws:kms:*:*:key/1234", False)
    assert checks.permissions(subject({**NO_FAILOVER, "SUMO_HTTP_ENDPOINT": ADDRESS})) == []
    owned = checks.permissions(subject({"SUMO_S3_BUCKET_OWNER": "123456789012"}))[0]
    assert owned["Condition"] == {"StringEquals": {"aws:ResourceAccount": "123456789012"}}


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("alias/sumo", "arn:aws:kms:*:*:key/*"),
        ("arn:aws:kms:eu-west-1:123456789012:alias/sumo", "arn:aws:kms:eu-west-1:123456789012:key/*"),
    ],
)
def test_a_key_with_an_alias_is_told_by_a_condition(key: str, keys: str) -> None:
    """An alias as a resource is the alias alone, and not the key that decrypts: such a policy allows nothing."""
    (decrypt,) = checks.permissions(subject({**NO_FAILOVER, "SUMO_HTTP_ENDPOINT": "AQIC", "KMS_KEY_ID": key}))
    assert decrypt["Resource"] == keys
    assert decrypt["Condition"] == {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/sumo"}}


@given(
    st.dictionaries(st.sampled_from([*(s.variable for s in config.SETTINGS), "SUMO_HTTP_ENDPONT"]), st.text()),
    st.text(),
)
def test_no_value_stops_the_doctor_or_shows_the_token(variables: dict[str, str], text: str) -> None:
    """Whatever the variables hold there are findings, and none has the endpoint, even under a misspelt name."""
    for name in ("SUMO_HTTP_ENDPOINT", "SUMO_HTTP_ENDPONT"):
        found = checks.check(Subject({**variables, name: text[:3] + ADDRESS}))
        assert sumo_rules.TOKEN not in repr(found)
