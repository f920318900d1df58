"""AWS, as far as the failover bucket and the secrets need it: credentials, endpoints, and a signed request.

This is botocore's part, without botocore, and by its rules where they concern a function: credentials from the
environment or from the container's endpoint (which SnapStart has instead), endpoints by service, region and the
``AWS_ENDPOINT_URL``, ``AWS_USE_FIPS_ENDPOINT`` and ``AWS_USE_DUALSTACK_ENDPOINT`` variables. Files below ``~/.aws`` are
not read.

No text made here contains a key, a token or an answer: AWS's own words about a bad signature repeat the session's
token. What a service says is told by its error's code.
"""

from __future__ import annotations

import json
from time import monotonic

from sumo_internal import diagnostics
from sumo_internal.net import sigv4, tls
from sumo_internal.net.client import PlainSender
from sumo_internal.net.connection import NotSentError, Target
from sumo_internal.net.sigv4 import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sumo_internal.net import http1
    from sumo_internal.net.client import Sender

REFRESH_BEFORE_S = 300.0
"""Credentials that expire within this time are replaced; when that fails they serve until they do expire."""

CODE_MAX_CHARACTERS = 100
"""Length of an error's name, which a service gives."""

CONTAINER_HOST = "http://169.254.170.2"
"""Where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI leads."""
_CONTAINER_HOSTS = ("localhost", "127.0.0.1", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""Where AWS_CONTAINER_CREDENTIALS_FULL_URI may lead without TLS; it carries the authorization token."""

_PARTITIONS = (
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("", "amazonaws.com", "api.aws"),
)
"""How the names of a partition's regions begin; the domain of its endpoints, and of those with IPv6 (botocore's
``partitions.json``)."""

_REGION = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")

_TARGETS = {"kms": "TrentService", "secretsmanager": "secretsmanager", "ssm": "AmazonSSM"}
"""What stands before the operation in X-Amz-Target."""


class NoCredentialsError(Exception):
    """There are no credentials; the text says why. Try again later: the endpoint that gives them may be away."""


class AwsRefusedError(Exception):
    """A service answered with an error; ``code`` is the error's name. ``is_passing``: it says nothing about us."""

    def __init__(self, code: str, *, is_passing: bool) -> None:
        super().__init__(code)
        self.code = code
        self.is_passing = is_passing


class Aws:
    """A function's access to AWS."""

    def __init__(self, environ: Mapping[str, str], sender: Sender) -> None:
        """Ask with the function's credentials.

        Args:
            environ: The process's environment, of which the ``AWS_`` variables are read.
            sender: For the requests to the services.
        """
        self.environ = environ
        self._sender = sender
        self._credentials: Credentials | None = None
        self._expires_s = 0.0
        self.region = environ.get("AWS_REGION", "")

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        service: str,
        region: str,
        now_s: float,
        timeout_s: float,
    ) -> http1.Answer:
        """Send one request, signed; once more where a kept connection turns out to be dead.

        Args:
            method, url, headers, body: As :func:`sigv4.sign` takes them.
            service: ``s3``, ``kms``, ….
            region: The service's.
            now_s: POSIX time.
            timeout_s: Seconds for all requests that it takes.

        Raises:
            NoCredentialsError: Nothing was sent.
            NotSentError: No whole answer came.
        """
        until_s = monotonic() + timeout_s
        credentials = self._fresh_credentials(now_s, timeout_s)
        signed = sigv4.sign(
            method, url, headers, body, service=service, region=region, credentials=credentials, now_s=now_s
        )
        signed["User-Agent"] = "sumo-internal-extension"
        try:
            return self._sender.send(method, url, signed, body, until_s - monotonic())
        except NotSentError as error:
            if not error.is_stale or until_s <= monotonic():
                raise
        return self._sender.send(method, url, signed, body, until_s - monotonic())

    def call(
        self, service: str, region: str, operation: str, arguments: Mapping[str, Any], now_s: float, timeout_s: float
    ) -> dict[str, Any]:
        """Call an operation of a service that speaks JSON: KMS, Secrets Manager, SSM.

        Raises:
            AwsRefusedError: The service says no.
            NoCredentialsError, NotSentError: As in :meth:`send`.
        """
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{_TARGETS[service]}.{operation}"}
        url = endpoint(service, region, self.environ) + "/"
        body = json.dumps(arguments).encode()
        answer = self.send("POST", url, headers, body, service=service, region=region, now_s=now_s, timeout_s=timeout_s)
        if not answer.is_whole:
            raise NotSentError("the response ends too early")
        try:
            content: dict[str, Any] = dict(json.loads(answer.body))
        except (ValueError, TypeError, RecursionError):
            content = {}
        if answer.status != 200 or not content:
            # "com.amazonaws.kms#NotFoundException:http://…" in the longest of its forms
            code = str(content.get("__type", "")).rpartition("#")[2].partition(":")[0]
            raise AwsRefusedError(
                diagnostics.legible(code, CODE_MAX_CHARACTERS) or f"HTTP {answer.status}",
                is_passing=answer.status >= 500 or answer.status == 429 or code.startswith("Throttl"),
            )
        return content

    def _fresh_credentials(self, now_s: float, timeout_s: float) -> Credentials:
        if self._credentials is None or now_s >= self._expires_s - REFRESH_BEFORE_S:
            try:
                self._credentials, self._expires_s = self._get_credentials(timeout_s)
            except NoCredentialsError:
                if self._credentials is None or now_s >= self._expires_s:
                    raise
        return self._credentials

    def _get_credentials(self, timeout_s: float) -> tuple[Credentials, float]:
        environ = self.environ
        access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if access_key and secret_key:
            return Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN", "")), float("inf")
        relative, full = (environ.get(f"AWS_CONTAINER_CREDENTIALS_{kind}_URI") for kind in ("RELATIVE", "FULL"))
        if relative:
            return _from_container(CONTAINER_HOST + relative, environ, timeout_s)
        if full:
            return _from_container(full, environ, timeout_s)
        raise NoCredentialsError("no AWS credentials in the environment")


def _from_container(url: str, environ: Mapping[str, str], timeout_s: float) -> tuple[Credentials, float]:
    """Credentials from the endpoint beside the function, and when they expire."""
    from _datetime import datetime  # type: ignore[import-not-found]  # datetime's own, in C

    try:
        target = Target(url)
    except NotSentError as error:
        raise NoCredentialsError(f"AWS_CONTAINER_CREDENTIALS_FULL_URI: {error}") from None
    if target.scheme != "https" and target.host not in _CONTAINER_HOSTS:
        raise NoCredentialsError("AWS_CONTAINER_CREDENTIALS_FULL_URI leads to a host that must not see the token")
    token = _container_token(environ)
    # No proxy: the endpoint is beside the function.
    sender = PlainSender({name: environ[name] for name in tls.VARIABLES if name in environ})
    try:
        answer = sender.send("GET", url, {"Authorization": token} if token else {}, b"", timeout_s)
        content = json.loads(answer.body)
        credentials = Credentials(content["AccessKeyId"], content["SecretAccessKey"], content.get("Token", ""))
        expires = datetime.fromisoformat(content["Expiration"].replace("Z", "+00:00"))
    except NotSentError as error:
        raise NoCredentialsError(f"the endpoint of AWS credentials: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise NoCredentialsError(
            f"the endpoint of AWS credentials responds with {answer.status}, without credentials"
        ) from None
    finally:
        sender.close()
    return credentials, expires.timestamp()


def _container_token(environ: Mapping[str, str]) -> str:
    path = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    if path:
        try:
            with open(path, encoding="ascii") as file:
                token = file.read()
        except (OSError, ValueError) as error:
            raise NoCredentialsError(f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: {type(error).__name__}") from None
    token = token.strip()
    if not token.isascii() or not token.isprintable():
        raise NoCredentialsError("AWS_CONTAINER_AUTHORIZATION_TOKEN has characters that no header can have")
    return token


def endpoint(service: str, region: str, environ: Mapping[str, str]) -> str:
    """Where a service is, without a slash at the end.

    Args:
        service: ``s3``, ``kms``, ``secretsmanager``, ``ssm``.
        region: Any of any partition.
        environ: The process's environment.

    Raises:
        NotSentError: It is no region's name, and with it the request could go to any host.
    """
    configured = configured_endpoint(service, environ)
    if configured:
        return configured
    if not is_region(region):
        raise NotSentError("a region's name has other characters than small letters, digits and hyphens")
    domain, dual_domain = next((plain, dual) for prefix, plain, dual in _PARTITIONS if region.startswith(prefix))
    is_dual = _is_true(environ, "AWS_USE_DUALSTACK_ENDPOINT")
    is_fips = _is_true(environ, "AWS_USE_FIPS_ENDPOINT")
    if service == "ssm" and region.startswith("us-gov-") and not is_dual:
        is_fips = False  # GovCloud's ordinary name is the one with FIPS
    name = f"{service}-fips" if is_fips else service
    if service == "s3":
        return f"https://{name}{'.dualstack' if is_dual else ''}.{region}.{domain}"
    if service == "secretsmanager" and domain in ("amazonaws.com", "amazonaws.com.cn"):
        is_dual = False  # the ordinary names have addresses of both kinds
    return f"https://{name}.{region}.{dual_domain if is_dual else domain}"


def is_region(text: str) -> bool:
    """Can the text be a region's name, as a part of a host's name?"""
    return text != "" and _REGION.issuperset(text)


def configured_endpoint(service: str, environ: Mapping[str, str]) -> str:
    """What the AWS_ENDPOINT_URL variables say; empty where they say nothing."""
    if _is_true(environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        return ""
    identifier = "SECRETS_MANAGER" if service == "secretsmanager" else service.upper()
    url = environ.get(f"AWS_ENDPOINT_URL_{identifier}") or environ.get("AWS_ENDPOINT_URL", "")
    return url.strip().rstrip("/")


def _is_true(environ: Mapping[str, str], variable: str) -> bool:
    return environ.get(variable, "").strip().lower() == "true"
