"""The replay as S3 Batch Operations calls it: that service's events and answers, a real source, moto's S3."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from aws_server import REGION, AwsServer
from botocore.validate import ParamValidator
from sumo_source import Fault, SumoSource

from layer.build import ROOT
from sumo_internal.cli import batch
from sumo_internal.cli.ledger import TAG

pytest_plugins = ["aws_server"]

BUCKET = "batch-failover"
KEY = f"sumologic-extension/{REGION}/orders/$LATEST/2026/11/21/08/5/4c6b0d2e-0000-4000-8000-000000000001.gz"
RECORD = {"time": "2026-11-21T08:25:04.123Z", "message": "paid", "id": "e-w-0000000001"}
BODY = gzip.compress(json.dumps(RECORD).encode() + b"\n")
METADATA = {"sumo-host": "/aws/lambda/orders", "sumo-name": "2026/11/21/[$LATEST]0123abcd", "sumo-fields": "team=pay"}


def event(key: str = KEY, version: str = "2.0", bucket: str = BUCKET) -> dict[str, Any]:
    """The service's event: the bucket as its ARN in schema 1.0, by name and with arguments in 2.0; keys are quoted."""
    place: dict[str, Any] = {"s3BucketArn": f"arn:aws:s3:::{bucket}"} if version == "1.0" else {"s3Bucket": bucket}
    arguments = {} if version == "1.0" else {"userArguments": {"why": "outage"}}
    return {
        "invocationSchemaVersion": version,
        "invocationId": "YXNkbGZqYWRmaiBhc2RmdW9hZHNmZGpmaGFzbGtkaGZza2RmaAo",
        "job": {"id": "f3cc4f60-61f6-4a2b-8a21-d07600c373ce", **arguments},
        "tasks": [{"taskId": "dGFza2lkZ29lc2hlcmUK", "s3Key": quote(key), "s3VersionId": None, **place}],
    }


class Context:
    """As much of Lambda's context as the handler looks at."""

    def __init__(self, left_s: float = 60.0) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(self._left_s * 1000)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, aws_server: AwsServer) -> Iterator[SumoSource]:
    """The source that the function's settings name, and an object in the bucket."""
    s3 = aws_server.client("s3")
    if BUCKET not in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=BODY, Metadata=METADATA)
    with SumoSource(connections=2) as source:
        variables = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": aws_server.url,
            "AWS_LAMBDA_FUNCTION_NAME": "replay",
            "SUMO_HTTP_ENDPOINT": source.url,
            "SUMO_RETRY_SLEEP_TIME_MS": "10",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        batch._parts.cache_clear()
        yield source
        assert source.problems == []
        batch.sender.close()


def outcome(answer: dict[str, Any]) -> tuple[str, str]:
    (result,) = answer["results"]
    assert result["taskId"] == "dGFza2lkZ29lc2hlcmUK"
    return result["resultCode"], result["resultString"]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_an_object_is_sent(source: SumoSource, version: str) -> None:
    """Both schemas of the event; the answer repeats what the service looks for, and says how many lines went."""
    answer = batch.handler(event(version=version), Context())
    assert answer == {
        "invocationSchemaVersion": version,
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": "YXNkbGZqYWRmaiBhc2RmdW9hZHNmZGpmaGFzbGtkaGZza2RmaAo",
        "results": [{"taskId": "dGFza2lkZ29lc2hlcmUK", "resultCode": "Succeeded", "resultString": "1 lines"}],
    }
    (request,) = source.requests
    assert source.records == [RECORD]
    assert {name: request.headers[f"x-{name}"] for name in METADATA} == METADATA


def test_what_may_pass_is_tried_again_by_the_service(source: SumoSource) -> None:
    """A source that is busy for as long as the function has: a TemporaryFailure, and no timeout."""
    source.default = Fault(503)
    code, text = outcome(batch.handler(event(), Context(left_s=batch.MARGIN_S + 0.2)))
    assert code == "TemporaryFailure" and "503" in text


@pytest.mark.parametrize(
    ("fault", "key", "text"),
    [
        (Fault(401), KEY, "HTTP 401"),
        (Fault(400), KEY, "HTTP 400"),
        (Fault(), KEY.replace("0001", "0002"), "S3 responds with NoSuchKey"),
        (Fault(), "reports/job.csv", "its key is not one of a failover object"),
    ],
)
def test_what_cannot_be_sent_is_in_the_report(source: SumoSource, fault: Fault, key: str, text: str) -> None:
    """A wrong address, a refused batch, an object that is gone or none of ours: no retry, and the reason."""
    source.default = fault
    code, said = outcome(batch.handler(event(key), Context()))
    assert code == "PermanentFailure" and text in said and source.records == []


def test_a_second_job_sends_nothing_twice(
    source: SumoSource, aws_server: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SUMO_REPLAY_TAG marks what was sent; without it a job sends what its manifest says."""
    monkeypatch.setenv("SUMO_REPLAY_TAG", "true")
    assert outcome(batch.handler(event(), Context())) == ("Succeeded", "1 lines")
    assert outcome(batch.handler(event(), Context())) == ("Succeeded", "sent before")
    assert len(source.records) == 1
    tags = aws_server.client("s3").get_object_tagging(Bucket=BUCKET, Key=KEY)["TagSet"]
    assert [tag["Key"] for tag in tags] == [TAG]


def test_no_endpoint_is_an_answer(source: SumoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function without its setting does not crash once per object, which the service would try again."""
    monkeypatch.delenv("SUMO_HTTP_ENDPOINT")
    assert outcome(batch.handler(event(), Context())) == ("PermanentFailure", "SUMO_HTTP_ENDPOINT is not set")


def test_lambda_has_what_it_needs() -> None:
    """This package, urllib3 and Lambda's own boto3 are all: rich and structlog, which it lacks, are not imported."""
    code = (
        "import sys; sys.modules.update(rich=None, structlog=None); from sumo_internal.cli.batch import handler;"
        "print(callable(handler))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == "True\n", done.stderr


def test_the_template_deploys_this_handler() -> None:
    """The example names the module and the variables that exist, and lets no more through than is asked for."""
    text = (ROOT / "layer/examples/replay-batch.yaml").read_text()
    assert f"Handler: {batch.handler.__module__}.{batch.handler.__name__}" in text
    assert "SUMO_REPLAY_TAG: !Ref Tag" in text and "SUMO_HTTP_ENDPOINT: !Ref EndpointSecretArn" in text
    floor = re.findall(r"^    (urllib3>=[0-9.]+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert f'pip install --no-deps --target build/replay . "{floor[0]}"' in text
    assert 'Resource: "*"' not in text and "Action: s3:*" not in text


def test_the_jobs_command_has_the_services_shape() -> None:
    """What the template tells people to type is a job as botocore knows them."""
    comment = (ROOT / "layer/examples/replay-batch.yaml").read_text().partition("AWSTemplateFormatVersion")[0]
    typed = re.findall(r"--(operation|manifest-generator|report) '(.*?)' *(?:\\|\n#\n)", comment, re.DOTALL)
    given = {name: json.loads(text.replace("\n#", "\n")) for name, text in typed}
    job = {
        "AccountId": "123456789012",
        "Operation": given["operation"],
        "ManifestGenerator": given["manifest-generator"],
        "Report": given["report"],
        "Priority": 1,
        "RoleArn": "arn:aws:iam::123456789012:role/job",
        "ClientRequestToken": "token",
    }
    shape = boto3.client("s3control", REGION).meta.service_model.operation_model("CreateJob").input_shape
    assert ParamValidator().validate(job, shape).generate_report() == ""
    assert given["operation"]["LambdaInvoke"]["InvocationSchemaVersion"] == "2.0"
