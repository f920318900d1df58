"""AWS Signature Version 4 with header signing, for what is asked of AWS here. Pure: the time is an argument.

botocore does this too, but a cold import of it costs 200 ms. The hashes come from ``_hashlib``, OpenSSL's own, because
``hashlib`` and ``hmac`` around it take as long to import again: 0.7 ms, or 9 at the CPU share of a 128 MB function.

Bounds of what it does:

* An address has no query, and its path is encoded already, by :func:`quote`. S3 takes it as it is sent; the other
  services, which would want it encoded once more, are spoken to at ``/``.
* Every header given is signed, so each must arrive as it is sent. Runs of spaces count as one, as AWS counts them.

Source: AWS, "Signature Version 4 signing process" and "Authenticating Requests: Using the Authorization Header (S3)".
"""

from __future__ import annotations

from _hashlib import hmac_digest, openssl_sha256
from time import gmtime, strftime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Credentials:
    """An access key, with the session's token where it is temporary."""

    __slots__ = ("access_key", "secret_key", "token")

    def __init__(self, access_key: str, secret_key: str, token: str = "") -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.token = token


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    service: str,
    region: str,
    credentials: Credentials,
    now_s: float,
) -> dict[str, str]:
    """The headers to send: those given, and the signature's.

    Args:
        method: As it is sent.
        url: As it is sent; the Host header has to be its authority.
        headers: All that are to be signed, without Host.
        body: The body.
        service: The name in the scope: ``s3``, ``kms``, ``secretsmanager``, ``ssm``.
        region: The region in the scope.
        credentials: The key to sign with.
        now_s: POSIX time; AWS takes it within a quarter of an hour of its own.
    """
    time = strftime("%Y%m%dT%H%M%SZ", gmtime(now_s))
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    body_hash = openssl_sha256(body).hexdigest()
    signed = {**headers, "X-Amz-Date": time}
    if service == "s3":
        signed["X-Amz-Content-Sha256"] = body_hash
    if credentials.token:
        signed["X-Amz-Security-Token"] = credentials.token
    authority, _, path = url.partition("://")[2].partition("/")
    canonical = {name.lower(): " ".join(value.split()) for name, value in {**signed, "Host": authority}.items()}
    names = sorted(canonical)
    lines = [method, f"/{path}", "", *(f"{name}:{canonical[name]}" for name in names), "", ";".join(names), body_hash]
    request_hash = openssl_sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join([_ALGORITHM, time, scope, request_hash])).hex()
    signed["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed


def quote(path: str) -> str:
    """A path as AWS wants it encoded: all but letters, digits, ``-._~`` and the slashes."""
    return "/".join(
        "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in part.encode())
        for part in path.split("/")
    )


def _hmac(key: bytes, text: str) -> bytes:
    return hmac_digest(key, text.encode(), "sha256")
