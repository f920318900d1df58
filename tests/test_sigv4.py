"""Signatures: AWS's published ones, and botocore's over random requests."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import datetime, timezone
from unittest.mock import patch
from urllib.parse import quote as library_quote

import pytest
from botocore import auth, awsrequest, credentials
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.net.sigv4 import Credentials, quote, sign

SUITE_TIME_S = datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc).timestamp()
SUITE_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwth"
    "Ax7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAk"
    "iY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
S3_TIME_S = datetime(2013, 5, 24, tzinfo=timezone.utc).timestamp()

SUITE: dict[str, tuple[str, str, Mapping[str, str], bytes, str, str]] = {
    "get-vanilla": ("GET", "/", {}, b"", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "get-unreserved": (
        *("GET", f"/-._~{string.digits}{string.ascii_uppercase}{string.ascii_lowercase}", {}, b"", ""),
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-header-value-trim": (
        *("GET", "/", {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}, b"", ""),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": ("POST", "/", {}, b"", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "post-header-key-case": (
        *("POST", "/", {"My-Header1": "value1"}, b"", ""),
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        *("POST", "/", {"My-Header1": "VALUE1"}, b"", ""),
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-x-www-form-urlencoded": (
        *("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Param1=value1", ""),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-sts-header-before": (
        *("POST", "/", {}, b"", SUITE_TOKEN),
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
}
"""Those of AWS's Signature Version 4 test suite that have no query, no path to be normalised and no header twice."""


@pytest.mark.parametrize(("method", "path", "headers", "body", "token", "signature"), SUITE.values(), ids=SUITE.keys())
def test_the_test_suite(
    method: str, path: str, headers: Mapping[str, str], body: bytes, token: str, signature: str
) -> None:
    """AWS's own vectors: case, order, runs of spaces, a session token."""
    signed = sign(
        method,
        f"https://example.amazonaws.com{path}",
        headers,
        body,
        service="service",
        region="us-east-1",
        credentials=Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token),
        now_s=SUITE_TIME_S,
    )
    assert signed["Authorization"].rpartition("Signature=")[2] == signature
    assert signed["X-Amz-Date"] == "20150830T123600Z"
    assert signed.get("X-Amz-Security-Token", "") == token
    assert headers.items() <= signed.items()


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "names", "signature"),
    [
        (
            *("GET", "test.txt", {"Range": "bytes=0-9"}, b"", "host;range;x-amz-content-sha256;x-amz-date"),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            *("PUT", quote("test$file.text")),
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            *(b"Welcome to Amazon S3.", "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class"),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ],
    ids=["GET Object", "PUT Object"],
)
def test_examples_for_s3(
    method: str, path: str, headers: Mapping[str, str], body: bytes, names: str, signature: str
) -> None:
    """The S3 API reference's; the second has a ``$`` in its key, as every ``$LATEST`` of ours."""
    signed = sign(
        method,
        f"https://examplebucket.s3.amazonaws.com/{path}",
        headers,
        body,
        service="s3",
        region="us-east-1",
        credentials=Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        now_s=S3_TIME_S,
    )
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "X-Amz-Target", "x-amz-meta-sumo-name", "x-amz-meta-sumo-fields", "X-Amz-Acl"]),
    st.text(string.ascii_letters + string.digits + string.punctuation + " \t", max_size=40),
)
KEYS = st.text(string.ascii_letters + string.digits + "/+=", min_size=1, max_size=40)
TIMES_S = st.integers(0, 4_000_000_000)


@given(
    service=st.sampled_from(["s3", "kms", "secretsmanager", "ssm"]),
    path=st.text(max_size=40),
    port=st.sampled_from(["", ":8443"]),
    headers=HEADERS,
    body=st.binary(max_size=100),
    region=st.sampled_from(["eu-west-1", "us-gov-west-1", "cn-north-1"]),
    keys=st.tuples(KEYS, KEYS, KEYS | st.just("")),
    now_s=TIMES_S,
)
def test_signatures_are_botocores(
    service: str,
    path: str,
    port: str,
    headers: dict[str, str],
    body: bytes,
    region: str,
    keys: tuple[str, str, str],
    now_s: int,
) -> None:
    """Whatever is signed, the other implementation signs it the same: keys of any text for S3, ``/`` for the others."""
    method, target = ("PUT", quote(f"/{path}")) if service == "s3" else ("POST", "/")
    url = f"https://host.example{port}{target}"
    request = awsrequest.AWSRequest(method, url, headers, body)
    request.context["payload_signing_enabled"] = True
    signer = (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)(
        credentials.Credentials(keys[0], keys[1], keys[2] or None), service, region
    )
    with patch.object(auth, "get_current_datetime", lambda: datetime.fromtimestamp(now_s, timezone.utc)):
        signer.add_auth(request)

    signed = sign(
        method, url, headers, body, service=service, region=region, credentials=Credentials(*keys), now_s=now_s
    )

    assert {name.lower(): value for name, value in signed.items()} == {
        name.lower(): value for name, value in request.headers.items()
    }


@given(st.text(max_size=60))
def test_paths_are_quoted_as_the_library_does(path: str) -> None:
    """Surrogates cannot come: keys are made of what Lambda gives out."""
    assert quote(path) == library_quote(path, safe="/~")
