"""Where the source's address and token come from when the settings do not hold them in the clear.

==========================================================  ===========================================================
SUMO_HTTP_ENDPOINT                                          the address is
==========================================================  ===========================================================
``https://…``                                               that
``arn:…:secretsmanager:…:secret:…``                         the secret's text
``arn:…:ssm:…:parameter/…``                                 the parameter's value, decrypted
base64, and KMS_KEY_ID is set                               what kms:Decrypt makes of it, with the Lambda console's
                                                            encryption context, or without one
==========================================================  ===========================================================

The text is the address itself, or a JSON object that has it under ``SUMO_HTTP_ENDPOINT``, ``endpoint`` or ``url``, and
perhaps the token beside it, under ``SUMO_HTTP_TOKEN``.

SUMO_HTTP_TOKEN takes the same forms, and goes before the secret's token. It is in the clear where it is neither an ARN
nor, with KMS_KEY_ID, base64 that is long enough for a ciphertext. An address that has a code in its path needs no
token.

Both are kept until they are refused (:meth:`Endpoint.forget`), and at most for a time; while the service that has them
is away, the known ones are used. They are never written anywhere. Messages about what went wrong name the variable, the
service's error code and the permission that is missing, never a value.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from time import monotonic

from sumo_internal import diagnostics, own_secrets
from sumo_internal.net.client import NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.net.aws import Aws

VARIABLE = "SUMO_HTTP_ENDPOINT"
TOKEN_VARIABLE = "SUMO_HTTP_TOKEN"
KEYS = (VARIABLE, "endpoint", "url")
"""Keys of the address in a secret that is a JSON object."""

CIPHERTEXT_MIN_BYTES = 100
"""KMS adds about this much to what it encrypts; a token in the clear is shorter."""
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")

FETCH_AGAIN_S = 60.0
"""While an address cannot be fetched anew, the next trial is no earlier than this: each trial costs a batch time."""


class EndpointUnavailableError(Exception):
    """The endpoint cannot be had now; the text says why. Keep the lines and try again later.

    ``code`` is the service's error, where one answered. ``is_passing``: the service is away, which says nothing about
    what it has.
    """

    def __init__(self, problem: str, code: str = "", variable: str = VARIABLE, *, is_passing: bool = False) -> None:
        super().__init__(f"{variable}: {problem}")
        self.problem = problem
        self.code = code
        self.is_passing = is_passing


class Endpoint:
    """The source's address and token, fetched when they are needed."""

    def __init__(
        self,
        value: str,
        kms_key_id: str,
        function_name: str,
        cache_s: float,
        connect: Callable[[], Aws],
        token: str = "",
    ) -> None:
        """Get both out of the settings.

        Args:
            value: SUMO_HTTP_ENDPOINT.
            kms_key_id: KMS_KEY_ID; empty where it is not set.
            function_name: AWS_LAMBDA_FUNCTION_NAME, for the encryption context.
            cache_s: Seconds after which what was fetched is fetched again.
            connect: Gives access to AWS; called only for a value that needs it, which only then costs its imports.
            token: SUMO_HTTP_TOKEN; empty where it is not set.
        """
        self._kms_key_id = kms_key_id
        self._function_name = function_name
        self._connect = connect
        self._aws: Aws | None = None
        self._address = _Kept(value, VARIABLE, cache_s)
        self._token = _Kept(token, TOKEN_VARIABLE, cache_s)
        self._is_address_plain = value.lower().startswith(("https://", "http://"))
        self._is_token_plain = not _place(token)[0] and not (kms_key_id and is_ciphertext(token))

    @property
    def is_in_settings(self) -> bool:
        """Are both the settings themselves, so that fetching them again cannot help?"""
        return self._is_address_plain and self._is_token_plain

    def address_and_token(self, now_s: float, timeout_s: float) -> tuple[str, str]:
        """Where to post, and the token to post with; that is empty where the address has a code in its path.

        Args:
            now_s: POSIX time.
            timeout_s: Seconds for all requests that it takes.

        Raises:
            EndpointUnavailableError: They cannot be had now.
        """
        until_s = monotonic() + timeout_s
        address, token = self._address.value, ""
        if not self._is_address_plain:
            address, token = self._address.get(self._fetch, _parts, now_s, until_s)
        if self._is_token_plain:
            token = self._token.value or token
        else:
            token = self._token.get(self._fetch, _token, now_s, until_s)[1]
        if token and has_code(address):
            diagnostics.say_once(
                "warn",
                f"{VARIABLE} has a code in its path, which is used; {TOKEN_VARIABLE} is not needed, and not sent",
            )
            token = ""
        return address, token

    def forget(self) -> None:
        """Fetch both again the next time: Sumo Logic has refused them."""
        self._address.until_s = self._token.until_s = 0.0

    def _fetch(self, value: str, now_s: float, until_s: float) -> str:
        """The secret's text, from wherever it is."""
        service, region = _place(value)
        try:
            if service == "secretsmanager":
                content = self._call(service, region, "GetSecretValue", {"SecretId": value}, now_s, until_s)
                return str(content["SecretString"])
            if service == "ssm":
                arguments = {"Name": value, "WithDecryption": True}
                content = self._call(service, region, "GetParameter", arguments, now_s, until_s)
                return str(content["Parameter"]["Value"])
            if self._kms_key_id:
                return self._decrypt(value, now_s, until_s)
        except (LookupError, TypeError, ValueError):
            raise EndpointUnavailableError("what was fetched is not text") from None
        raise EndpointUnavailableError(
            "is neither an address nor the ARN of a secret or a parameter; a ciphertext needs KMS_KEY_ID"
        )

    def _decrypt(self, value: str, now_s: float, until_s: float) -> str:
        """What KMS makes of the value.

        The console's helper encrypts with the function's name as context; a value that was encrypted on a command line,
        for many functions at once, has none.
        """
        region = _place(self._kms_key_id)[1]
        arguments = {"CiphertextBlob": value, "KeyId": self._kms_key_id}
        context = {"LambdaFunctionName": self._function_name}
        try:
            content = self._call("kms", region, "Decrypt", {**arguments, "EncryptionContext": context}, now_s, until_s)
        except EndpointUnavailableError as error:
            if error.code != "InvalidCiphertextException":
                raise
            content = self._call("kms", region, "Decrypt", arguments, now_s, until_s)
        return a2b_base64(content["Plaintext"]).decode()

    def _call(
        self, service: str, region: str, operation: str, arguments: dict[str, Any], now_s: float, until_s: float
    ) -> dict[str, Any]:
        """Ask a service; ``region`` is empty for the function's."""
        from sumo_internal.net import aws  # here: a plain address does without

        self._aws = self._aws or self._connect()
        try:
            left_s = until_s - monotonic()
            return self._aws.call(service, region or self._aws.region, operation, arguments, now_s, left_s)
        except aws.AwsRefusedError as error:
            hint = _hint(service, error.code)
            raise EndpointUnavailableError(
                f"{_NAMES[service]} responds with {error.code}{hint}", error.code, is_passing=error.is_passing
            ) from None
        except (aws.NoCredentialsError, NotSentError) as error:
            raise EndpointUnavailableError(f"{_NAMES[service]}: {error}", is_passing=True) from None


_NAMES = {"kms": "KMS", "secretsmanager": "Secrets Manager", "ssm": "Systems Manager"}

_PERMISSIONS = {
    "kms": "kms:Decrypt on the key that KMS_KEY_ID names",
    "secretsmanager": "secretsmanager:GetSecretValue on the secret, and kms:Decrypt if it has a key of its own",
    "ssm": "ssm:GetParameter on the parameter, and kms:Decrypt if it has a key of its own",
}


def _place(name: str) -> tuple[str, str]:
    """Service and region of an ARN; empty where it is none."""
    kind, _, service, region, *_ = [*name.split(":"), "", "", ""]
    return (service, region) if kind == "arn" else ("", "")


def _hint(service: str, code: str) -> str:
    """What to do about an error, where its code alone does not tell."""
    if code.startswith("AccessDenied"):
        return f": the function's role needs {_PERMISSIONS[service]}"
    if code == "InvalidCiphertextException":
        return ": it was encrypted with another key, or with a context other than LambdaFunctionName=<the function>"
    return ""


def has_code(address: str) -> bool:
    """Is the credential in the address itself?"""
    return address.partition("?")[0].partition(f"{own_secrets.RECEIVER}/")[2].strip("/") != ""


def is_ciphertext(text: str) -> bool:
    """Is a token one that KMS has to decrypt, where there is a key for it?"""
    try:
        return _BASE64.issuperset(text) and len(a2b_base64(text)) >= CIPHERTEXT_MIN_BYTES
    except ValueError:
        return False


class _Kept:
    """A setting's value, and what was fetched for it: an address, perhaps, and a token."""

    __slots__ = ("value", "until_s", "_variable", "_cache_s", "_kept")

    def __init__(self, value: str, variable: str, cache_s: float) -> None:
        self.value = value
        self.until_s = 0.0
        self._variable = variable
        self._cache_s = cache_s
        self._kept: tuple[str, str] | None = None

    def get(
        self,
        fetch: Callable[[str, float, float], str],
        parse: Callable[[str], tuple[str, str]],
        now_s: float,
        until_s: float,
    ) -> tuple[str, str]:
        """What was fetched earlier, or is fetched now.

        Raises:
            EndpointUnavailableError: It was never fetched yet.
        """
        if self._kept is not None and now_s < self.until_s:
            return self._kept
        try:
            self._kept = parse(fetch(self.value, now_s, until_s))
            for secret in self._kept:
                own_secrets.add(secret)
            self.until_s = now_s + self._cache_s
        except EndpointUnavailableError as error:
            told = EndpointUnavailableError(error.problem, error.code, self._variable)
            if self._kept is None or not error.is_passing:  # a secret that was taken back must be gone
                self._kept = None
                raise told from None
            diagnostics.say_once("warn", f"{told}; the one that was fetched before is used meanwhile")
            self.until_s = now_s + FETCH_AGAIN_S
        return self._kept


def _parts(text: str) -> tuple[str, str]:
    """Address and token in a secret's text."""
    text = text.strip()
    token = ""
    if text.startswith("{"):
        content = _content(text)
        text = next((content[key].strip() for key in KEYS if isinstance(content.get(key), str)), "")
        if not text:
            raise EndpointUnavailableError(f"what was fetched is JSON without {', '.join(KEYS)}")
        if isinstance(content.get(TOKEN_VARIABLE), str):
            token = _token(str(content[TOKEN_VARIABLE]))[1]
    if not text.lower().startswith(("https://", "http://")) or not _is_word(text):
        raise EndpointUnavailableError("what was fetched is not an http(s) address")
    return text, token


def _token(text: str) -> tuple[str, str]:
    """The token in a secret's text; no address."""
    text = text.strip()
    if text.startswith("{"):
        text = str(_content(text).get(TOKEN_VARIABLE, "")).strip()
        if not text:
            raise EndpointUnavailableError(f"what was fetched is JSON without {TOKEN_VARIABLE}")
    if not text or not _is_word(text):
        raise EndpointUnavailableError("what was fetched has characters that no token can have")
    return "", text


def _content(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return {}


def _is_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
