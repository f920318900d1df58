"""The doctor at the door: what it reads, whom it asks, what it says to people, to programs and to CI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sumo_rules
from aws_server import REGION, AwsServer
from scripted_http import ScriptedServer, answer
from sumo_rules import TOKEN
from sumo_source import Fault, SumoSource

from sumo_internal.cli import doctor, main

pytest_plugins = ["aws_server"]

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_REGION": REGION}


def configuration(**variables: str) -> dict[str, Any]:
    """What `aws lambda get-function-configuration` prints of a function that is attached as README says."""
    return {
        "FunctionName": "orders",
        "FunctionArn": f"arn:aws:lambda:{REGION}:123456789012:function:orders",
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Timeout": 10,
        "MemorySize": 512,
        "Version": "$LATEST",
        "Layers": [{"Arn": f"arn:aws:lambda:{REGION}:123456789012:layer:sumo-internal-extension:1"}],
        "Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", **variables}},
    }


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nobody's profile, and no credentials of the machine."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def examine(
    capsys: pytest.CaptureFixture[str], file: Path, content: dict[str, Any], *options: str
) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the doctor on a configuration; return its exit code, and its findings by name."""
    file.write_text(json.dumps(content))
    code = main(["doctor", "--json", *options, str(file)])
    said = json.loads(capsys.readouterr().out)
    return code, {finding["name"]: finding for finding in said["findings"]}


def test_a_sound_function_is_said_to_be(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The source is asked once, stores nothing and has nothing to complain about; CI goes on."""
    with SumoSource() as source:
        content = configuration(SUMO_HTTP_ENDPOINT=source.url, SUMO_FIELDS="team=pay")
        code, found = examine(capsys, tmp_path / "f.json", content)
        assert found["source"]["level"] == "note"
        (request,) = source.requests
        assert request.status == 200 and request.headers["x-sumo-fields"] == "team=pay"
        assert source.records == [] and source.problems == ["connection 1: line 1: blank"], "no line is what is meant"
    assert code == 0 and {name for name in found if found[name]["level"] == "error"} == set()


@pytest.mark.parametrize("source", [r"(?:a|a)*b", r".*token.*=.*;"])
def test_a_refused_expression_is_named(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, source: str
) -> None:
    """It may have worked up to now: which one it is, and how it is written safely, is said before it is deployed."""
    content = configuration(SUMO_HTTP_ENDPOINT="https://x.org/a", SUMO_MASK_PATTERNS=json.dumps(["pin", source]))
    _, found = examine(capsys, tmp_path / "f.json", content, "--offline")
    (said,) = [text for finding in found.values() for text in finding.values() if "expression (number 2)" in text]
    assert "SUMO_MASK_PATTERNS" in said and " and not " in said and source not in said


def test_a_process_says_it_to_people_and_to_ci(tmp_path: Path) -> None:
    """`aws … | sumo-internal doctor -`: findings on stdout, exit code 1; warnings count with --strict."""
    content = json.dumps(configuration(SUMO_HTTP_ENDPOINT="", SUMO_FLUSH="sometimes"))
    command = [sys.executable, "-m", "sumo_internal", "doctor", "--offline", "-"]
    done = subprocess.run(command, input=content, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stderr == ""
    assert "error endpoint-missing" in done.stdout and "SUMO_FLUSH='sometimes' is none of" in done.stdout
    assert "1 error, 1 warning, 1 note" in done.stdout

    env_file = tmp_path / ".env"
    env_file.write_text(
        "# a comment\nexport AWS_LAMBDA_EXEC_WRAPPER='/opt/sumo_wrapper'\n\n"
        'SUMO_HTTP_ENDPOINT="arn:aws:secretsmanager:eu-west-1:1:secret:x" # another\n'
        "SUMO_FLUSH=sometimes # it is\nSALT=#a'b c#\n"
    )
    for options, code in (([], 0), (["--strict"], 1)):
        done = subprocess.run([*command[:-1], *options, env_file], capture_output=True, text=True, timeout=30)
        assert done.returncode == code and "0 errors, 1 warning" in done.stdout
        assert '"Action": "secretsmanager:GetSecretValue"' in done.stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{not json", "this is not JSON"),
        ('{"Functions": []}', "there is no FunctionName in it"),
        ('{"FunctionName": "f", "Environment": {"Error": {"ErrorCode": "AccessDeniedException"}}}', "AccessDenied"),
        ("SUMO_FLUSH end\n", "line 1 is not NAME=VALUE"),
        ("\n# A=1\nA B=1\n", "line 3 is not NAME=VALUE"),
        ("\n", "there is nothing to check"),
    ],
)
def test_what_cannot_be_read_is_no_verdict(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, problem: str
) -> None:
    """Exit code 2 and one line: a CI that pipes an error message into the doctor must not be told that all is well."""
    (tmp_path / "x").write_text(text)
    assert main(["doctor", str(tmp_path / "x")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and problem in said.err and said.err.count("\n") == 1
    assert main(["doctor", str(tmp_path / "missing")]) == 2


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A='x # y' # z", "x # y"),
        ('  A = "a b"', "a b"),
        ("A=b c # d", "b c"),
        ("A=#x", "#x"),
        ("A=it's=so", "it's=so"),
        ("A=", ""),
    ],
)
def test_values_of_env_files(line: str, value: str) -> None:
    """As the tools that load such files read them: a salt with a # in it is not cut, a quoted one not quoted."""
    assert dict(doctor._of_lines(line)) == {"A": value}


def test_the_token_is_shown_nowhere(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Neither to people nor to programs, even where the source's own answer repeats it."""
    with SumoSource() as source:
        source.default = Fault(401, body=f"no such source: {sumo_rules.TOKEN}".encode())
        variables = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_HTTP_ENDPONT": source.url, "KMS_KEY_ID": "k"}
        file = tmp_path / "f.json"
        file.write_text(json.dumps(configuration(**variables)))
        for options in ([], ["--json"]):
            assert main(["doctor", *options, str(file)]) == 1
            said = capsys.readouterr()
            assert "source-refuses" in said.out
            assert sumo_rules.TOKEN[:12] not in said.out.replace("\n", "") + said.err


def test_a_source_that_is_not_there_is_an_error(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A firewall, a proxy, a wrong host: said as what it is, within the time that the function would wait."""
    with SumoSource() as source:
        url = source.url
    code, found = examine(capsys, tmp_path / "f.json", configuration(SUMO_HTTP_ENDPOINT=url))
    assert code == 1 and "Connection refused" in found["source-silent"]["what"]


def test_a_secret_is_fetched_as_the_function_does(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, aws_server: AwsServer
) -> None:
    """An endpoint by ARN is asked for with the credentials that are here; one that is missing says so by its name."""
    env.setenv("AWS_ENDPOINT_URL", aws_server.url)
    with SumoSource() as source:
        secrets = aws_server.client("secretsmanager")
        arn = secrets.create_secret(Name="doctor", SecretString=json.dumps({"url": source.url}))["ARN"]
        code, found = examine(capsys, tmp_path / "f.json", configuration(SUMO_HTTP_ENDPOINT=arn))
        assert code == 0 and "source" in found and len(source.requests) == 1

        gone = arn.replace("doctor", "gone")
        code, found = examine(capsys, tmp_path / "f.json", configuration(SUMO_HTTP_ENDPOINT=gone))
        assert code == 1 and "ResourceNotFoundException" in found["source-secret"]["what"]


def test_a_source_with_a_token_is_asked_with_it(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An address without a code is a valid one where its token is; nothing found has the token."""
    with SumoSource() as source:
        given = {"SUMO_HTTP_ENDPOINT": source.base_url, "SUMO_HTTP_TOKEN": TOKEN}
        code, found = examine(capsys, tmp_path / "f.json", configuration(**given))
        assert code == 0 and {"source", "token-plain"} <= found.keys() and "endpoint-plain" not in found
        assert TOKEN not in str(found)
        code, found = examine(capsys, tmp_path / "f.json", configuration(**{**given, "SUMO_HTTP_TOKEN": "wrong"}))
        assert code == 1 and "HTTP 401" in found["source-refuses"]["what"]


def test_the_bucket_is_tried_and_left_as_it_was(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, aws_server: AwsServer
) -> None:
    """An object is put where the function's would be, and is gone again; a bucket that is missing is an error."""
    env.setenv("AWS_ENDPOINT_URL", aws_server.url)
    s3 = aws_server.client("s3")
    s3.create_bucket(Bucket="doctored", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="doctored", VersioningConfiguration={"Status": "Enabled"})
    variables = {
        "SUMO_HTTP_ENDPOINT": "arn:aws:secretsmanager:eu-west-1:1:secret:x",
        "SUMO_ENABLE_FAILOVER": "true",
        "SUMO_S3_BUCKET_NAME": "doctored",
        "SUMO_S3_BUCKET_REGION": REGION,
    }
    options = ("--offline", "--try-bucket")
    code, found = examine(capsys, tmp_path / "f.json", configuration(**variables), *options)
    assert code == 0 and "bucket" in found
    assert "Contents" not in s3.list_objects_v2(Bucket="doctored")
    (version,) = s3.list_object_versions(Bucket="doctored")["Versions"]
    assert version["Key"].startswith(f"sumologic-extension/{REGION}/orders/$LATEST/doctor-")

    variables["SUMO_S3_BUCKET_NAME"] = "no-such-bucket"
    code, found = examine(capsys, tmp_path / "f.json", configuration(**variables), *options)
    assert code == 1 and "aws s3 mb s3://no-such-bucket" in found["bucket-refuses"]["fix"]


def test_a_marker_that_stays_is_said(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Who may put and not delete, as the function itself, is told which object to remove."""
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    with ScriptedServer(answer(403, denied)) as server:
        server.script(answer(200))
        env.setenv("AWS_ENDPOINT_URL", server.url)
        variables = {
            "SUMO_HTTP_ENDPOINT": "arn:aws:secretsmanager:eu-west-1:1:secret:x",
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": "b",
            "SUMO_S3_BUCKET_REGION": REGION,
            "SUMO_S3_BUCKET_OWNER": "123456789012",
        }
        code, found = examine(capsys, tmp_path / "f.json", configuration(**variables), "--offline", "--try-bucket")
        assert code == 0 and server.requests[0].path.split("?")[0].endswith(".gz")
        assert "could not be deleted: AccessDenied" in found["bucket-marker"]["what"]
        headers = [{name.lower(): value for name, value in each.headers.items()} for each in server.requests]
        assert [each["x-amz-expected-bucket-owner"] for each in headers] == ["123456789012"] * len(headers)


def test_the_layers_files_are_looked_at(capsys: pytest.CaptureFixture[str], tmp_path: Path, layer_folder: Path) -> None:
    """The built layer passes; one that lost a run bit and a file on its way does not."""
    file = tmp_path / "f.json"
    _, found = examine(capsys, file, configuration(), "--offline", "--layer", str(layer_folder))
    assert found.keys() & {"file-mode", "file-missing"} == set()

    broken = tmp_path / "opt"
    (broken / "extensions").mkdir(parents=True)
    (broken / "sumo_wrapper").write_text("#!/bin/sh\n")
    _, found = examine(capsys, file, configuration(), "--offline", "--layer", str(broken))
    assert "/opt/sumo_wrapper cannot be executed (mode 644)" in found["file-mode"]["what"]
    assert found["file-missing"]["what"].endswith("is missing")


def test_the_current_environment_is_checked(env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file the process's own variables count; inside a function the files below /opt do, too."""
    env.setenv("SUMO_FLUSH", "sometimes")
    assert main(["doctor", "--offline"]) == 1
    said = capsys.readouterr().out
    assert "SUMO_FLUSH='sometimes'" in said and "file-missing" not in said

    env.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    main(["doctor", "--offline"])
    assert "/opt/sumo_wrapper is missing" in capsys.readouterr().out


def test_filters_of_the_log_group(env: pytest.MonkeyPatch, aws_server: AwsServer) -> None:
    """What would starve of SUMO_CLOUDWATCH is found by name, metrics' and subscriptions'; a group that is not there has
    none, which is no problem."""
    from sumo_internal.cli.account import Region

    env.setenv("AWS_ENDPOINT_URL", aws_server.url)
    stream = f"arn:aws:kinesis:{REGION}:123456789012:stream/to-kinesis"
    aws_server.client("kinesis").create_stream(StreamName="to-kinesis", ShardCount=1)
    logs = aws_server.client("logs")
    logs.create_log_group(logGroupName="/aws/lambda/filtered")
    transformation = {"metricName": "errors", "metricNamespace": "orders", "metricValue": "1"}
    logs.put_metric_filter(
        logGroupName="/aws/lambda/filtered",
        filterName="errors",
        filterPattern="ERROR",
        metricTransformations=[transformation],
    )
    logs.put_subscription_filter(
        logGroupName="/aws/lambda/filtered",
        filterName="to-kinesis",
        filterPattern="",
        destinationArn=stream,
        roleArn="arn:aws:iam::123456789012:role/logs",
    )
    assert Region(REGION).filters("/aws/lambda/filtered") == (("errors", "to-kinesis"), "")
    assert Region(REGION).filters("/aws/lambda/absent") == ((), "")
