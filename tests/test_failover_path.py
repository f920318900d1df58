"""Failover and secrets, end to end: a source that takes nothing, a bucket behind it, an endpoint that is a secret."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_server import REGION, AwsServer
from model import Environment
from runtimes import typical
from sumo_source import HANG, Fault, SumoSource
from test_outage_path import accounts

pytest_plugins = ["aws_server"]

PROBE = Path(__file__).parent / "functions" / "probe"
KEY = re.compile(
    r"sumologic-extension/us-east-1/orders/\$LATEST/\d{4}/\d\d/\d\d/\d\d/([0-9]|[1-5]\d)/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.gz"
)


@pytest.fixture
def source() -> Iterator[SumoSource]:
    """A source that the test breaks; nothing that it has to complain about may remain."""
    with SumoSource(connections=3) as source:
        yield source
        assert source.problems == []


@pytest.fixture
def bucket(aws_server: AwsServer, request: pytest.FixtureRequest) -> str:
    """The name of an empty bucket."""
    name = "failover-" + re.sub("[^a-z0-9]+", "-", request.node.name.lower())[-50:].strip("-")
    aws_server.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def failover(aws: AwsServer, bucket: str) -> dict[str, str]:
    """The settings of a function with that bucket."""
    return {
        "SUMO_ENABLE_FAILOVER": "true",
        "SUMO_S3_BUCKET_NAME": bucket,
        "SUMO_S3_BUCKET_REGION": REGION,
        "AWS_ENDPOINT_URL": aws.url,
    }


def environment(source: SumoSource, layer: Path, aws: AwsServer, bucket: str, **variables: str) -> Environment:
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_LOG_TYPES": "function",
        "SUMO_FLUSH": "end",
        "SUMO_NUM_RETRIES": "1",
        "SUMO_RETRY_SLEEP_TIME_MS": "10",
        **failover(aws, bucket),
        **variables,
    }
    return Environment(typical(), PROBE, layer=layer, variables=variables, timeout_s=10)


def objects(aws: AwsServer, bucket: str) -> dict[str, Any]:
    """The bucket's objects: key to (records, metadata, headers)."""
    s3 = aws.client("s3")
    found = {}
    for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        answer = s3.get_object(Bucket=bucket, Key=entry["Key"])
        records = [json.loads(line) for line in gzip.decompress(answer["Body"].read()).splitlines()]
        found[entry["Key"]] = (records, answer["Metadata"], answer.get("ContentEncoding"))
    return found


def texts(records: list[dict[str, Any]]) -> list[str]:
    return [record["message"].rpartition("\t")[2] for record in records if record["type"] == "function"]


def log(text: str) -> dict[str, Any]:
    return {"steps": [{"log": text}]}


FAULTS = {"429": Fault(429), "503": Fault(503), "401": Fault(401), "404": Fault(404), "400": Fault(400), "hang": HANG}


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_source_does_not_take_goes_to_the_bucket(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str, name: str
) -> None:
    """Every line is in S3, under the Go extension's key and with the headers for a replay, or at Sumo; none in both."""
    source.default = FAULTS[name]
    with environment(source, layer_folder, aws_server, bucket) as env:
        env.start()
        for number in range(3):
            assert env.invoke(log(f"{number}")).status == "success"
        ended = env.shutdown()
        assert ended.duration_s < 2.0

    stored = objects(aws_server, bucket)
    assert stored and all(KEY.fullmatch(key) for key in stored)
    got = Counter(text for records, _, _ in stored.values() for text in texts(records))
    assert got == Counter(["loaded", "0", "1", "2"])
    for _, metadata, encoding in stored.values():
        assert metadata == {"sumo-host": "/aws/lambda/orders", "sumo-name": env.log_stream}
        assert encoding is None
    assert texts(source.records) == []


@pytest.mark.parametrize("compression", ["auto", "none"])
def test_the_last_lines_go_to_the_bucket_at_shutdown(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str, compression: str
) -> None:
    """Nothing was sent before SHUTDOWN and the source hangs: Sumo is tried first, and S3 still in good time; with
    a body that is compressed anew where Sumo has it in another way."""
    source.default = HANG
    variables = {"SUMO_FLUSH": "next", "SUMO_COMPRESSION": compression}
    with environment(source, layer_folder, aws_server, bucket, **variables) as env:
        env.start()
        env.invoke(log("last words"))
        ended = env.shutdown()
        assert ended.duration_s < 2.0 and ended.ended["sumo-internal-extension"].how == "exit 0"

    got = [text for records, _, _ in objects(aws_server, bucket).values() for text in texts(records)]
    assert got == ["loaded", "last words"]


def test_failover_is_accounted_for(source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str) -> None:
    """When Sumo is back it is told how many lines are in the bucket instead."""
    source.script([Fault(401)])
    with environment(source, layer_folder, aws_server, bucket) as env:
        env.start()
        env.invoke(log("to the bucket"))
        env.shutdown()

    (account,) = accounts(source)
    assert account["accounting"]["failedOver"]["lines"] == 2 and account["accounting"]["lost"] == {}


def test_a_dead_bucket_keeps_the_lines_in_the_spool(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str
) -> None:
    """Neither Sumo nor S3 takes anything: lines wait, and arrive when one of them does."""
    source.default = Fault(404)
    with environment(source, layer_folder, aws_server, bucket, SUMO_S3_BUCKET_NAME="no-such-bucket") as env:
        env.start()
        env.invoke(log("waits"))
        source.default = Fault()
        env.shutdown()

    assert texts(source.records) == ["loaded", "waits"]


@pytest.mark.parametrize("service", ["secretsmanager", "ssm"])
def test_an_endpoint_that_is_a_secret_may_be_rotated(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str, service: str
) -> None:
    """Fetched when there is something to ship, kept, and fetched anew once the old endpoint is refused."""
    client = aws_server.client(service)
    if service == "secretsmanager":
        arn = client.create_secret(Name=f"endpoint-{bucket}", SecretString=source.url)["ARN"]
    else:
        arn = f"arn:aws:ssm:{REGION}:123456789012:parameter/{bucket}"
        client.put_parameter(Name=f"/{bucket}", Value=source.url, Type="SecureString")
    with (
        SumoSource() as rotated,
        environment(source, layer_folder, aws_server, bucket, SUMO_HTTP_ENDPOINT=arn) as env,
    ):
        env.start()
        env.invoke(log("first"))
        if service == "secretsmanager":
            client.put_secret_value(SecretId=arn, SecretString=rotated.url)
        else:
            client.put_parameter(Name=f"/{bucket}", Value=rotated.url, Type="SecureString", Overwrite=True)
        env.invoke(log("kept"))
        source.default = Fault(401)
        env.invoke(log("rotated"))
        env.shutdown()

        assert texts(source.records) == ["loaded", "first", "kept"]
        assert texts(rotated.records) == ["rotated"]
        assert [line.text for line in env.cloudwatch if "receiver" in line.text] == []
    assert objects(aws_server, bucket) == {}


def test_the_go_extensions_ciphertext(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str
) -> None:
    """KMS_KEY_ID and a ciphertext with the console's encryption context, as users of the Go extension have them."""
    kms = aws_server.client("kms", "us-east-1")  # the function's region
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    context = {"LambdaFunctionName": "orders"}
    blob = kms.encrypt(KeyId=key, Plaintext=source.url.encode(), EncryptionContext=context)["CiphertextBlob"]
    variables = {"KMS_KEY_ID": key, "SUMO_HTTP_ENDPOINT": base64.b64encode(blob).decode()}
    with environment(source, layer_folder, aws_server, bucket, **variables) as env:
        env.start()
        env.invoke(log("decrypted"))
        env.shutdown()

        assert [line.text for line in env.cloudwatch if "sumo-internal-extension:" in line.text] == []
    assert texts(source.records) == ["loaded", "decrypted"]


def test_a_secret_that_cannot_be_had_sends_the_lines_to_the_bucket(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str
) -> None:
    """The function is not held for it, one line says what is missing, and nothing is lost."""
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:missing-{bucket}-abcdef"
    with environment(source, layer_folder, aws_server, bucket, SUMO_HTTP_ENDPOINT=arn) as env:
        env.start()
        env.invoke(log("no secret"))
        env.shutdown()

        assert any("SUMO_HTTP_ENDPOINT" in line.text and "ResourceNotFound" in line.text for line in env.cloudwatch)
    got = [text for records, _, _ in objects(aws_server, bucket).values() for text in texts(records)]
    assert got == ["loaded", "no secret"]


def silent() -> dict[str, Any]:
    return {"steps": []}


def test_an_account_that_goes_to_the_bucket_brings_no_other(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str
) -> None:
    """What becomes of an account is no news: else a silent function is held for one at each invocation of an outage."""
    source.default = Fault(503)
    with environment(source, layer_folder, aws_server, bucket) as env:
        env.start()
        env.invoke(log("one"))
        for _ in range(5):
            env.invoke(silent())
        env.shutdown()

    batches = [[record["type"] for record in records] for records, _, _ in objects(aws_server, bucket).values()]
    # One follows the line; at SHUTDOWN there may be one more, which has the first in its count.
    assert sorted(batches)[:2] == [["function", "function"], ["sumo.accounting"]] and len(batches) <= 3


def test_an_account_that_is_refused_brings_no_other(
    source: SumoSource, layer_folder: Path, aws_server: AwsServer, bucket: str
) -> None:
    """A source that refuses everything for good is told of once more, and not with a line at each invocation."""
    source.default = Fault(400)
    with environment(source, layer_folder, aws_server, bucket, SUMO_ENABLE_FAILOVER="false") as env:
        env.start()
        env.invoke(log("one"))
        for _ in range(5):
            env.invoke(silent())
        env.shutdown()
        assert sum("rejects" in line.text for line in env.cloudwatch) <= 3
