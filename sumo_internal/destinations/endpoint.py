"""Where the endpoint comes from when SUMO_HTTP_ENDPOINT does not hold it in the clear.

==========================================================  ===========================================================
SUMO_HTTP_ENDPOINT                                          the endpoint is
==========================================================  ===========================================================
``https://…``                                               that
``arn:…:secretsmanager:…:secret:…``                         the secret's text
``arn:…:ssm:…:parameter/…``                                 the parameter's value, decrypted
base64, and KMS_KEY_ID is set                               what kms:Decrypt makes of it, with the Lambda console's
                                                            encryption context, or without one
==========================================================  ===========================================================

The text is the address itself, or a JSON object that has it under ``SUMO_HTTP_ENDPOINT``, ``endpoint`` or ``url``.

It is kept until it is refused (:meth:`Endpoint.forget`), and at most for a time; it is never written anywhere. What can
go wrong is told with the variable, the service's error code and the permission that is missing, never with a value.
"""

from __future__ import annotations

import json
from binascii import a2b_base64

from sumo_internal.net.client import NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.net.aws import Aws

VARIABLE = "SUMO_HTTP_ENDPOINT"
KEYS = (VARIABLE, "endpoint", "url")
"""Of a secret that is a JSON object."""


class EndpointUnavailableError(Exception):
    """The endpoint cannot be had now; the text says why. Keep the lines and try again later.

    ``code`` is the service's error, where one answered.
    """

    def __init__(self, problem: str, code: str = "") -> None:
        super().__init__(f"{VARIABLE}: {problem}")
        self.code = code


class Endpoint:
    """The endpoint, fetched when it is needed."""

    def __init__(
        self, value: str, kms_key_id: str, function_name: str, cache_s: float, connect: Callable[[], Aws]
    ) -> None:
        """Get the endpoint out of a setting.

        Args:
            value: SUMO_HTTP_ENDPOINT.
            kms_key_id: KMS_KEY_ID; empty where it is not set.
            function_name: AWS_LAMBDA_FUNCTION_NAME, for the encryption context.
            cache_s: Seconds after which a fetched endpoint is fetched again.
            connect: Gives access to AWS; called only for a value that needs it, which only then costs its imports.
        """
        self._value = value
        self._kms_key_id = kms_key_id
        self._function_name = function_name
        self._cache_s = cache_s
        self._connect = connect
        self._aws: Aws | None = None
        self._kept = ""
        self._kept_until_s = 0.0

    @property
    def is_in_settings(self) -> bool:
        """Is the endpoint the setting itself, so that fetching it again cannot help?"""
        return self._value.lower().startswith(("https://", "http://"))

    def endpoint(self, now_s: float, timeout_s: float) -> str:
        """The endpoint.

        Args:
            now_s: POSIX time.
            timeout_s: Seconds for each request that it takes.

        Raises:
            EndpointUnavailableError: It cannot be had now.
        """
        if self.is_in_settings:
            return self._value
        if not self._kept or now_s >= self._kept_until_s:
            self._kept = _address(self._fetch(now_s, timeout_s))
            self._kept_until_s = now_s + self._cache_s
        return self._kept

    def forget(self) -> None:
        """Fetch it again the next time: Sumo Logic has refused it."""
        self._kept = ""

    def _fetch(self, now_s: float, timeout_s: float) -> str:
        """The secret's text, from wherever it is."""
        service, region = _place(self._value)
        try:
            if service == "secretsmanager":
                content = self._call(service, region, "GetSecretValue", {"SecretId": self._value}, now_s, timeout_s)
                return str(content["SecretString"])
            if service == "ssm":
                arguments = {"Name": self._value, "WithDecryption": True}
                content = self._call(service, region, "GetParameter", arguments, now_s, timeout_s)
                return str(content["Parameter"]["Value"])
            if self._kms_key_id:
                return self._decrypt(now_s, timeout_s)
        except (LookupError, TypeError, ValueError):
            raise EndpointUnavailableError("what was fetched is no text") from None
        raise EndpointUnavailableError(
            "is no address, no ARN of a secret or a parameter, and without KMS_KEY_ID no ciphertext"
        )

    def _decrypt(self, now_s: float, timeout_s: float) -> str:
        """What KMS makes of the value.

        The console's helper encrypts with the function's name as context; who did it on a command line, for many
        functions at once, has none.
        """
        region = _place(self._kms_key_id)[1]
        arguments = {"CiphertextBlob": self._value, "KeyId": self._kms_key_id}
        context = {"LambdaFunctionName": self._function_name}
        try:
            content = self._call(
                "kms", region, "Decrypt", {**arguments, "EncryptionContext": context}, now_s, timeout_s
            )
        except EndpointUnavailableError as error:
            if error.code != "InvalidCiphertextException":
                raise
            content = self._call("kms", region, "Decrypt", arguments, now_s, timeout_s)
        return a2b_base64(content["Plaintext"]).decode()

    def _call(
        self, service: str, region: str, operation: str, arguments: dict[str, Any], now_s: float, timeout_s: float
    ) -> dict[str, Any]:
        """Ask a service; ``region`` is empty for the function's."""
        from sumo_internal.net import aws  # here: a plain address does without

        self._aws = self._aws or self._connect()
        try:
            return self._aws.call(service, region or self._aws.region, operation, arguments, now_s, timeout_s)
        except aws.AwsRefusedError as error:
            hint = _hint(service, error.code)
            raise EndpointUnavailableError(f"{_NAMES[service]} answers {error.code}{hint}", error.code) from None
        except (aws.NoCredentialsError, NotSentError) as error:
            raise EndpointUnavailableError(f"{_NAMES[service]}: {error}") from None


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


def _address(text: str) -> str:
    """The address in a secret's text."""
    text = text.strip()
    if text.startswith("{"):
        try:
            content = json.loads(text)
        except ValueError:
            content = {}
        text = next((content[key].strip() for key in KEYS if isinstance(content.get(key), str)), "")
        if not text:
            raise EndpointUnavailableError(f"what was fetched is JSON without {', '.join(KEYS)}")
    is_address = text.lower().startswith(("https://", "http://"))
    if not is_address or not text.isascii() or not text.isprintable() or " " in text:
        raise EndpointUnavailableError("what was fetched is no http(s) address")
    return text
