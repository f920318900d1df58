"""The failover bucket, with both senders: objects as S3 gets them (moto), and what is told when it does not."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from faulty_http import End
from scripted_http import ScriptedServer, answer

from sumo_internal.destinations.s3 import METADATA_MAX_BYTES, FailoverBucket
from sumo_internal.net.aws import Aws
from sumo_internal.net.client import PlainSender
from sumo_internal.net.pool import PooledSender

if TYPE_CHECKING:
    from aws_server import AwsServer

    from sumo_internal.net.client import Sender

pytest_plugins = ["aws_server"]

REGION = "eu-west-1"
BUCKET_REGION = "eu-central-1"
PATIENT_S = 10.0
NOW_S = 1_795_249_505.0
"""2026-11-21 08:25:05 UTC."""
LINES = b'{"time":"2026-11-21T08:25:04.123Z","message":"paid","id":"e-w-0000000001"}\n'
BODY = gzip.compress(LINES)
ENVELOPE = {
    "X-Sumo-Host": "/aws/lambda/orders",
    "X-Sumo-Name": "2026/11/21/[$LATEST]0123abcd",
    "X-Sumo-Category": "prod/orders  eu",
    "X-Sumo-Fields": "team=pay,stage=prod",
    "X-Sumo-Client": "sumo-internal-extension:1",
}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": "a token"}


@pytest.fixture(params=[PooledSender, PlainSender])
def sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    """Both: what is signed has to arrive as it was signed."""
    sender: PooledSender | PlainSender = request.param({})
    yield sender
    sender.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """S3 on a bad day."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def bucket(aws_server: AwsServer) -> Iterator[str]:
    """The name of an empty bucket, with dots, which does not bother a path."""
    store = aws_server.client("s3", BUCKET_REGION)
    store.create_bucket(Bucket="the.lines", CreateBucketConfiguration={"LocationConstraint": BUCKET_REGION})
    yield "the.lines"
    for found in objects(aws_server, "the.lines"):
        store.delete_object(Bucket="the.lines", Key=found)
    store.delete_bucket(Bucket="the.lines")


def open_bucket(url: str, sender: Sender, name: str = "lines", **environ: str) -> FailoverBucket:
    """Return a function's bucket."""
    account = Aws({**KEYS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL_S3": url, **environ}, sender)
    return FailoverBucket(account, name, BUCKET_REGION, "orders", "$LATEST")


def objects(aws_server: AwsServer, name: str) -> list[str]:
    """Return the keys of a bucket's objects."""
    found = aws_server.client("s3", BUCKET_REGION).list_objects_v2(Bucket=name).get("Contents", [])
    return [entry["Key"] for entry in found]


def test_an_object(aws_server: AwsServer, bucket: str, sender: Sender) -> None:
    """The bytes as they are, the key as Sumo's own extension has it, the envelope as metadata, and no encoding."""
    attempt = open_bucket(aws_server.url, sender, bucket).put(BODY, ENVELOPE, NOW_S, PATIENT_S)

    assert (attempt.status, attempt.problem) == (200, "")
    (key,) = objects(aws_server, bucket)
    uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert re.fullmatch(rf"sumologic-extension/eu-west-1/orders/\$LATEST/2026/11/21/08/25/{uuid}\.gz", key)
    got = aws_server.client("s3", BUCKET_REGION).get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == BODY
    assert "ContentEncoding" not in got
    assert got["Metadata"] == {
        "sumo-host": "/aws/lambda/orders",
        "sumo-name": "2026/11/21/[$LATEST]0123abcd",
        "sumo-category": "prod/orders  eu",
        "sumo-fields": "team=pay,stage=prod",
    }


@pytest.mark.parametrize(
    ("now_s", "folder"),
    [
        (NOW_S - 20 * 60, "2026/11/21/08/5/"),
        (1_767_225_599.9, "2025/12/31/23/59/"),
        (1_767_225_600.0, "2026/01/01/00/0/"),
    ],
)
def test_only_the_minute_is_not_padded(
    aws_server: AwsServer, bucket: str, now_s: float, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In UTC, wherever the function believes it is."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    open_bucket(aws_server.url, PlainSender({}), bucket).put(BODY, {}, now_s, PATIENT_S)
    (key,) = objects(aws_server, bucket)
    assert key.startswith(f"sumologic-extension/eu-west-1/orders/$LATEST/{folder}")
    assert "/" not in key.partition(folder)[2]


def test_each_put_is_an_object(aws_server: AwsServer, bucket: str, sender: Sender) -> None:
    """In the same instant, too: an object that changes would be ingested once more, and the other lines not at all."""
    store = open_bucket(aws_server.url, sender, bucket)
    assert {store.put(BODY, ENVELOPE, NOW_S, PATIENT_S).status for _ in range(5)} == {200}
    assert len(objects(aws_server, bucket)) == 5


def test_metadata_is_what_there_is_and_fits(aws_server: AwsServer, bucket: str) -> None:
    """SUMO_FIELDS can be longer than all metadata may be: then the lines go without it, instead of not at all."""
    fits = "f" * (METADATA_MAX_BYTES - len("x-amz-meta-sumo-host" + "h" + "x-amz-meta-sumo-fields"))
    for fields, expected in ((fits, {"sumo-host": "h", "sumo-fields": fits}), (f"{fits}f", {"sumo-host": "h"})):
        put = open_bucket(aws_server.url, PlainSender({}), bucket).put
        assert put(BODY, {"X-Sumo-Host": "h", "X-Sumo-Fields": fields}, NOW_S, PATIENT_S).status == 200
        store = aws_server.client("s3", BUCKET_REGION)
        (key,) = objects(aws_server, bucket)
        assert store.head_object(Bucket=bucket, Key=key)["Metadata"] == expected
        store.delete_object(Bucket=bucket, Key=key)


@pytest.fixture
def role(aws_server: AwsServer) -> Iterator[Any]:
    """Somebody without rights: a client of IAM, the environment with the keys, and the name."""
    identity = aws_server.client("iam")
    identity.create_user(UserName="function")
    key = identity.create_access_key(UserName="function")["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    yield identity, {**keys, "AWS_SESSION_TOKEN": ""}
    for policy in identity.list_user_policies(UserName="function")["PolicyNames"]:
        identity.delete_user_policy(UserName="function", PolicyName=policy)
    identity.delete_access_key(UserName="function", AccessKeyId=key["AccessKeyId"])
    identity.delete_user(UserName="function")


def test_rights_and_signatures(aws_server: AwsServer, bucket: str, role: Any, sender: Sender) -> None:
    """The server verifies. Without the right it is named; with it the object is there; a wrong secret is noticed."""
    identity, keys = role
    store = open_bucket(aws_server.url, sender, bucket, **keys)
    forger = open_bucket(aws_server.url, sender, bucket, **{**keys, "AWS_SECRET_ACCESS_KEY": "another"})

    with aws_server.enforcing():
        refused = store.put(BODY, ENVELOPE, NOW_S, PATIENT_S)
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    identity.put_user_policy(UserName="function", PolicyName="put", PolicyDocument=policy)
    with aws_server.enforcing():
        allowed = store.put(BODY, ENVELOPE, NOW_S, PATIENT_S)
        forged = forger.put(BODY, ENVELOPE, NOW_S, PATIENT_S)

    assert (refused.status, allowed.status, forged.status) == (403, 200, 403)
    assert refused.problem == (
        "S3 responds with 403 AccessDenied: the function's role needs s3:PutObject on the.lines/sumologic-extension/*, "
        "and kms:GenerateDataKey if the bucket encrypts with a key of its own"
    )
    assert forged.problem == "S3 responds with 403 SignatureDoesNotMatch"
    assert len(objects(aws_server, bucket)) == 1


def test_a_bucket_that_is_not_there(aws_server: AwsServer, sender: Sender) -> None:
    """As S3 says it."""
    attempt = open_bucket(aws_server.url, sender, "no-such-lines").put(BODY, ENVELOPE, NOW_S, PATIENT_S)
    assert (attempt.status, attempt.problem) == (404, "S3 responds with 404 NoSuchBucket")


def error(code: str, more: str = "") -> bytes:
    """Return S3's XML; like the real one it says more than should be repeated."""
    message = "<Message>The signature we calculated … x-amz-security-token:a token</Message>"
    return f"<?xml version='1.0'?>\n<Error><Code>{code}</Code>{message}{more}<RequestId>1</RequestId></Error>".encode()


ELSEWHERE = ": the bucket lines is in us-west-2, and SUMO_S3_BUCKET_REGION says eu-central-1"


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (
            answer(301, error("PermanentRedirect"), x_amz_bucket_region="us-west-2"),
            *(301, f"S3 responds with 301 PermanentRedirect{ELSEWHERE}"),
        ),
        (
            answer(400, error("AuthorizationHeaderMalformed", "<Region>us-west-2</Region>")),
            *(400, f"S3 responds with 400 AuthorizationHeaderMalformed{ELSEWHERE}"),
        ),
        (
            answer(403, error("ExpiredToken"), x_amz_bucket_region=BUCKET_REGION),
            403,
            "S3 responds with 403 ExpiredToken",
        ),
        (answer(400, error("ExpiredToken")), 400, "S3 responds with 400 ExpiredToken"),
        (answer(403, error("SignatureDoesNotMatch")), 403, "S3 responds with 403 SignatureDoesNotMatch"),
        (answer(503, error("SlowDown")), 503, "S3 responds with 503 SlowDown"),
        (answer(500, b""), 500, "S3 responds with 500"),
        (answer(502, b"<html>\xff"), 502, "S3 responds with 502"),
        (answer(204), 204, "S3 responds with 204"),
    ],
)
def test_refusals(server: ScriptedServer, sender: Sender, content: bytes, status: int, problem: str) -> None:
    """The status and the error's code, with the way out where there is one; no token, whatever S3 repeats."""
    server.script(content)
    attempt = open_bucket(server.url, sender).put(BODY, ENVELOPE, NOW_S, PATIENT_S)
    assert (attempt.status, attempt.problem) == (status, problem)


def test_s3_that_is_slow_or_vanishes(server: ScriptedServer, sender: Sender) -> None:
    """No answer, in the time that was given; when it is back, all is well."""
    store = open_bucket(server.url, sender)
    server.script(End.HANG, End.CLOSE, End.RESET, answer(200))
    problems = [store.put(BODY, ENVELOPE, NOW_S, 0.2).problem]
    problems += [store.put(BODY, ENVELOPE, NOW_S, PATIENT_S).problem for _ in range(3)]
    assert problems == [
        "S3: TimeoutError",
        "S3: BadAnswerError",
        "S3: ConnectionResetError: Connection reset by peer",
        "",
    ]
    assert len({request.path for request in server.requests}) == 4


def test_s3_that_nobody_answers_for(sender: Sender) -> None:
    """A refused connection."""
    with ScriptedServer() as server:
        store = open_bucket(server.url, sender)
    attempt = store.put(BODY, ENVELOPE, NOW_S, PATIENT_S)
    assert (attempt.status, attempt.problem) == (0, "S3: ConnectionRefusedError: Connection refused")


def test_a_stale_connection_is_tried_again_under_the_same_key(server: ScriptedServer, sender: Sender) -> None:
    """It may have arrived although its answer did not: the same object once more is no second one."""
    store = open_bucket(server.url, sender)
    server.script(answer(200), End.CLOSE, answer(200))
    assert [store.put(BODY, ENVELOPE, NOW_S, PATIENT_S).status for _ in range(2)] == [200, 200]
    first, second, third = server.requests
    assert first.path != second.path == third.path
    assert second.body == third.body == BODY


def test_nobody_to_put_it_as(server: ScriptedServer) -> None:
    """An attempt that failed, like any other."""
    account = Aws({"AWS_ENDPOINT_URL": server.url}, PlainSender({}))
    attempt = FailoverBucket(account, "lines", BUCKET_REGION, "orders", "$LATEST").put(BODY, ENVELOPE, NOW_S, PATIENT_S)
    assert (attempt.status, attempt.problem) == (0, "S3: no AWS credentials in the environment")
    assert server.requests == []


def test_a_bucket_of_somebody_elses_is_refused_by_s3(server: ScriptedServer, sender: Sender) -> None:
    """SUMO_S3_BUCKET_OWNER is told to S3 and signed: a bucket that was deleted and made anew by others gets no line."""
    account = Aws({**KEYS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL_S3": server.url}, sender)
    server.script(answer(403, error("AccessDenied")))
    store = FailoverBucket(account, "lines", BUCKET_REGION, "orders", "$LATEST", "123456789012")
    assert store.put(BODY, ENVELOPE, NOW_S, PATIENT_S).status == 403
    headers = {name.lower(): value for name, value in server.requests[0].headers.items()}
    assert headers["x-amz-expected-bucket-owner"] == "123456789012"
    assert "x-amz-expected-bucket-owner" in headers["authorization"]
