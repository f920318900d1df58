"""Access to AWS: endpoints as botocore resolves them, credentials that expire, answers of services."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from faulty_http import End
from scripted_http import ScriptedServer, answer

from layer.build import ROOT
from sumo_internal.destinations import s3
from sumo_internal.net.aws import (
    REFRESH_BEFORE_S,
    Aws,
    AwsRefusedError,
    NoCredentialsError,
    configured_endpoint,
    endpoint,
)
from sumo_internal.net.client import NotSentError, PlainSender
from sumo_internal.net.pool import PooledSender

if TYPE_CHECKING:
    from sumo_internal.net.client import Sender

REGION = "eu-west-1"
PATIENT_S = 10.0
NOW_S = 1_795_000_000.0
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": "a token"}
OK = answer(200, {"Plaintext": "eA=="})


@pytest.fixture(params=[PooledSender, PlainSender])
def sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    """Both: what is signed has to arrive as it was signed."""
    sender: PooledSender | PlainSender = request.param({})
    yield sender
    sender.close()


@pytest.fixture
def service() -> Iterator[ScriptedServer]:
    """A service that speaks JSON; content with everything."""
    with ScriptedServer(OK) as server:
        yield server


@pytest.fixture
def container() -> Iterator[ScriptedServer]:
    """The endpoint of credentials beside the function."""
    with ScriptedServer() as server:
        yield server


def decrypt(account: Aws, now_s: float = NOW_S, timeout_s: float = PATIENT_S) -> dict[str, Any]:
    """Call some operation."""
    return account.call("kms", REGION, "Decrypt", {"CiphertextBlob": "eA=="}, now_s, timeout_s)


# Endpoints.


class Seen(Exception):
    """The address of a request that botocore was about to send."""


def botocore_url(service: str, region: str, bucket: str, **config: Any) -> str | None:
    """Return where botocore would send a request of ours, without the key; None where it knows no place."""

    def stop(request: Any, **_: object) -> None:
        raise Seen(request.url)

    config["s3"] = {"us_east_1_regional_endpoint": "regional"}
    try:
        client = boto3.client(
            service, region, aws_access_key_id="a", aws_secret_access_key="b", config=Config(**config)
        )
        client.meta.events.register("before-send.*", stop)
        requests: dict[str, Callable[[], Any]] = {
            "s3": lambda: client.put_object(Bucket=bucket, Key="key", Body=b""),
            "kms": lambda: client.decrypt(CiphertextBlob=b"x"),
            "secretsmanager": lambda: client.get_secret_value(SecretId="x"),
            "ssm": lambda: client.get_parameter(Name="x"),
        }
        requests[service]()
    except Seen as seen:
        return str(seen).removesuffix("/key").removesuffix("/")
    except BotoCoreError:
        return None
    raise AssertionError("botocore sent nothing")


def our_url(service: str, region: str, bucket: str, environ: dict[str, str]) -> str:
    """Return where we send it."""
    return s3.url(bucket, region, environ) if service == "s3" else endpoint(service, region, environ)


REGIONS = (
    *("us-east-1", "eu-west-1", "ap-southeast-2", "cn-north-1", "us-gov-west-1", "us-gov-east-1"),
    *("us-iso-east-1", "us-isob-east-1", "us-isof-south-1", "eu-isoe-west-1", "eusc-de-east-1"),
)
VARIANTS = [
    (region, service, is_fips, is_dual)
    for region in REGIONS
    for service in ("s3", "kms", "secretsmanager", "ssm")
    for is_fips in (False, True)
    for is_dual in (False, True)
    if not (is_fips and region.startswith("cn-"))  # China has none, although botocore makes up some names
]


@pytest.mark.parametrize(("region", "service_name", "is_fips", "is_dual"), VARIANTS)
def test_endpoints_are_botocores(region: str, service_name: str, is_fips: bool, is_dual: bool) -> None:
    """In every partition; where botocore knows of no such endpoint, there is nothing to be right about."""
    environ = {"AWS_USE_FIPS_ENDPOINT": str(is_fips).lower(), "AWS_USE_DUALSTACK_ENDPOINT": str(is_dual).lower()}
    theirs = botocore_url(service_name, region, "lines", use_fips_endpoint=is_fips, use_dualstack_endpoint=is_dual)
    assert theirs in (our_url(service_name, region, "lines", environ), None)


@pytest.mark.parametrize("bucket", ["lines", "my-lines-1", "my.lines", "a.b.c"])
def test_buckets_are_where_botocore_has_them(bucket: str) -> None:
    """In the host's name, unless it has dots: a certificate for ``*.s3.…`` covers one label."""
    assert s3.url(bucket, REGION, {}) == botocore_url("s3", REGION, bucket)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AWS_ENDPOINT_URL": "http://all:1/"}, "http://all:1"),
        ({"AWS_ENDPOINT_URL_KMS": "http://kms:1"}, "http://kms:1"),
        ({"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_KMS": "http://kms:1"}, "http://kms:1"),
        ({"AWS_ENDPOINT_URL_S3": "http://s3:1"}, ""),
        ({"AWS_ENDPOINT_URL": "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
        ({"AWS_ENDPOINT_URL": "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"}, "http://all:1"),
        ({"AWS_ENDPOINT_URL_KMS": "", "AWS_ENDPOINT_URL": ""}, ""),
    ],
)
def test_endpoints_of_the_users(environ: dict[str, str], expected: str) -> None:
    """The service's own variable goes before the general one; FIPS and dual-stack are then the user's business."""
    environ["AWS_USE_FIPS_ENDPOINT"] = "true"
    assert configured_endpoint("kms", environ) == expected
    assert endpoint("kms", REGION, environ) == (expected or "https://kms-fips.eu-west-1.amazonaws.com")


@pytest.mark.parametrize(
    ("service_name", "variable"),
    [("s3", "S3"), ("kms", "KMS"), ("secretsmanager", "SECRETS_MANAGER"), ("ssm", "SSM")],
)
def test_names_of_the_variables(service_name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore takes the same one; a bucket is then in the path, because the endpoint may have no other names."""
    environ = {f"AWS_ENDPOINT_URL_{variable}": "http://127.0.0.1:9"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ours = our_url(service_name, REGION, "lines", environ)
    assert ours == botocore_url(service_name, REGION, "lines")
    assert ours == "http://127.0.0.1:9" + ("/lines" if service_name == "s3" else "")


# Credentials.


def credentials(number: int, expires_s: float) -> bytes:
    """Return the endpoint's answer with credentials that can be told apart."""
    expiration = datetime.fromtimestamp(expires_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {"AccessKeyId": f"AKID{number}", "SecretAccessKey": "a secret", "Token": f"token {number}"}
    return answer(200, {**keys, "Expiration": expiration, "RoleArn": "arn:aws:iam::123456789012:role/r"})


def used(service: ScriptedServer) -> list[str]:
    """Return the access key of each request that a service got."""
    return [request.headers["authorization"].split("=")[1].split("/")[0] for request in service.requests]


def test_credentials_of_the_environment(service: ScriptedServer, sender: Sender) -> None:
    """An ordinary function has them there; they are good for its life."""
    account = Aws({**KEYS, "AWS_ENDPOINT_URL": service.url, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x/"}, sender)
    assert decrypt(account) == decrypt(account, NOW_S + 1e9) == {"Plaintext": "eA=="}
    assert used(service) == ["AKIDEXAMPLE"] * 2
    assert [request.headers["x-amz-security-token"] for request in service.requests] == ["a token"] * 2


def test_credentials_without_a_token(service: ScriptedServer, sender: Sender) -> None:
    """A long-term key: no header is sent for what is not there."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": ""}
    decrypt(Aws({**keys, "AWS_ENDPOINT_URL": service.url}, sender))
    assert "x-amz-security-token" not in service.requests[0].headers


@pytest.mark.parametrize("is_from_file", [False, True], ids=["token", "token file"])
def test_credentials_of_the_container(
    service: ScriptedServer, container: ScriptedServer, sender: Sender, tmp_path: Path, is_from_file: bool
) -> None:
    """Under SnapStart: asked for once, again before they expire, with a token file that changes; no proxy is used."""
    environ = {
        "AWS_ENDPOINT_URL": service.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/credentials?x=1",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "first",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    file = tmp_path / "token"
    file.write_text("first\n")
    if is_from_file:
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "an old one"
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(file)
    account = Aws(environ, sender)
    container.script(credentials(1, NOW_S + 3600), credentials(2, NOW_S + 7200))

    decrypt(account)
    decrypt(account, NOW_S + 3600 - REFRESH_BEFORE_S - 1)
    file.write_text("second\n")
    decrypt(account, NOW_S + 3600 - REFRESH_BEFORE_S)

    assert used(service) == ["AKID1", "AKID1", "AKID2"]
    assert [request.headers["x-amz-security-token"] for request in service.requests][1:] == ["token 1", "token 2"]
    assert {(request.method, request.path) for request in container.requests} == {("GET", "/credentials?x=1")}
    tokens = ["first", "second"] if is_from_file else ["first", "first"]
    assert [request.headers["authorization"] for request in container.requests] == tokens


def test_credentials_outlive_their_endpoint(service: ScriptedServer, container: ScriptedServer, sender: Sender) -> None:
    """While they are good they are used, asked for again each time; when they are not, the problem is told."""
    url = f"{container.url}/"
    account = Aws({"AWS_ENDPOINT_URL": service.url, "AWS_CONTAINER_CREDENTIALS_FULL_URI": url}, sender)
    container.script(credentials(1, NOW_S + 3600), End.CLOSE, answer(500), credentials(2, NOW_S + 7200))
    for now_s in (NOW_S, NOW_S + 3400, NOW_S + 3500, NOW_S + 3550):
        decrypt(account, now_s)
    assert used(service) == ["AKID1", "AKID1", "AKID1", "AKID2"]
    with pytest.raises(NoCredentialsError, match=r"^the endpoint of AWS credentials: BadAnswerError$"):
        decrypt(account, NOW_S + 7200)


@pytest.mark.parametrize(
    "content",
    [
        answer(401),
        answer(200),
        answer(200, b"[]"),
        answer(200, {"AccessKeyId": "AKID", "Code": "Failed"}),
        answer(200, {"AccessKeyId": "AKID", "SecretAccessKey": "a secret", "Token": "t", "Expiration": "soon"}),
        answer(200, {"AccessKeyId": "AKID", "SecretAccessKey": "a secret", "Token": "t", "Expiration": 5}),
    ],
)
def test_answers_without_credentials(container: ScriptedServer, sender: Sender, content: bytes) -> None:
    """Nothing is sent, and the problem does not repeat the answer, which might hold half of a key."""
    container.script(content)
    account = Aws({"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url}, sender)
    with pytest.raises(
        NoCredentialsError, match=r"^the endpoint of AWS credentials responds with (200|401), without credentials$"
    ):
        decrypt(account)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "no AWS credentials in the environment"),
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "no AWS credentials in the environment"),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/"},
            "AWS_CONTAINER_CREDENTIALS_FULL_URI leads to a host that must not see the token",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1.evil.example:80/"},
            "AWS_CONTAINER_CREDENTIALS_FULL_URI leads to a host that must not see the token",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:80@evil.example/"},
            "AWS_CONTAINER_CREDENTIALS_FULL_URI leads to a host that must not see the token",
        ),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/none",
            },
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: FileNotFoundError",
        ),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\nb"},
            "AWS_CONTAINER_AUTHORIZATION_TOKEN has characters that no header can have",
        ),
    ],
)
def test_no_credentials(environ: dict[str, str], problem: str) -> None:
    """Each reason has its words; the token goes to no stranger."""
    with pytest.raises(NoCredentialsError) as error:
        decrypt(Aws(environ, PlainSender({})))
    assert str(error.value) == problem


# Calls.


def test_a_call(service: ScriptedServer, sender: Sender) -> None:
    """The operation's name, the arguments as JSON, one kept connection."""
    account = Aws({**KEYS, "AWS_ENDPOINT_URL": service.url, "AWS_REGION": REGION}, sender)
    assert account.region == REGION
    decrypt(account)
    account.call("ssm", REGION, "GetParameter", {"Name": "n", "WithDecryption": True}, NOW_S, PATIENT_S)
    first, second = service.requests
    assert (first.method, first.path, first.body) == ("POST", "/", b'{"CiphertextBlob": "eA=="}')
    assert first.headers["x-amz-target"] == "TrentService.Decrypt"
    assert first.headers["content-type"] == "application/x-amz-json-1.1"
    assert f"/{REGION}/kms/aws4_request" in first.headers["authorization"]
    assert second.headers["x-amz-target"] == "AmazonSSM.GetParameter"
    assert (first.connection, second.connection) == (1, 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (answer(400, {"__type": "AccessDeniedException", "Message": "no"}), "AccessDeniedException"),
        (answer(400, {"__type": "com.amazonaws.kms#NotFoundException:http://x"}), "NotFoundException"),
        (
            answer(400, {"__type": "InvalidSignatureException", "message": "The Canonical String … a token"}),
            "InvalidSignatureException",
        ),
        (answer(500, b"<html>"), "HTTP 500"),
        (answer(403, {"message": "Forbidden"}), "HTTP 403"),
        (answer(200, b"[1]"), "HTTP 200"),
        (answer(200, b""), "HTTP 200"),
    ],
)
def test_refusals(service: ScriptedServer, sender: Sender, content: bytes, code: str) -> None:
    """The error's name and nothing of its text: AWS's words about a bad signature contain the session's token."""
    service.script(content)
    with pytest.raises(AwsRefusedError) as error:
        decrypt(Aws({**KEYS, "AWS_ENDPOINT_URL": service.url}, sender))
    assert (error.value.code, str(error.value)) == (code, code)


def test_a_stale_connection_is_no_failure(service: ScriptedServer, sender: Sender) -> None:
    """After a freeze the connection is gone, which says nothing about AWS; a fresh one that breaks does."""
    account = Aws({**KEYS, "AWS_ENDPOINT_URL": service.url}, sender)
    decrypt(account)
    service.script(End.CLOSE)
    decrypt(account)
    assert [request.connection for request in service.requests] == [1, 1, 2]
    service.script(End.CLOSE, End.CLOSE)
    with pytest.raises(NotSentError):
        decrypt(account)
    assert len(service.requests) == 5


def test_a_service_that_hangs(service: ScriptedServer, sender: Sender) -> None:
    """It has the time that it is given."""
    service.script(End.HANG)
    with pytest.raises(NotSentError, match=r"^TimeoutError$"):
        decrypt(Aws({**KEYS, "AWS_ENDPOINT_URL": service.url}, sender), timeout_s=0.2)


def test_what_importing_costs() -> None:
    """In the shutdown window each of these modules would take some of the time; datetime only where it is used."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from sumo_internal.destinations import endpoint, s3"
    script += "; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", script]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    costly = {"base64", "datetime", "email", "hashlib", "hmac", "logging", "socket", "ssl", "urllib", "uuid", "xml"}
    assert costly.isdisjoint(loaded)


@pytest.mark.parametrize("region", ["evil.example/x", "a@evil.example", "", "eu-west-1.", "EU-WEST-1", "a#b", "a:b"])
@pytest.mark.parametrize("service", ["s3", "kms", "secretsmanager", "ssm"])
def test_what_is_no_region_makes_no_host(region: str, service: str) -> None:
    """The session's token would go to whoever has that host; the settings are not the only way here."""
    with pytest.raises(NotSentError, match="a region's name has other characters"):
        endpoint(service, region, {})


def test_a_services_error_is_legible(service: ScriptedServer, sender: Sender) -> None:
    """It goes to a log: no escapes, and an end."""
    service.script(answer(400, {"__type": f"com.amazonaws.kms#\x1b[31mNot\u202eFound{'x' * 500}:http://…"}))
    with pytest.raises(AwsRefusedError) as error:
        decrypt(Aws({"AWS_ENDPOINT_URL": service.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, sender))
    assert error.value.code.isprintable() and len(error.value.code) <= 100
