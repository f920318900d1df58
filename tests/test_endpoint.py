"""The endpoint out of KMS, Secrets Manager and Systems Manager (moto), how long it is kept, and that it is not told."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from faulty_http import End
from scripted_http import ScriptedServer, answer

from layer.build import ROOT
from sumo_internal import diagnostics, own_secrets
from sumo_internal.destinations.endpoint import (
    CIPHERTEXT_MIN_BYTES,
    FETCH_AGAIN_S,
    Endpoint,
    EndpointUnavailableError,
)
from sumo_internal.net.aws import Aws
from sumo_internal.net.client import PlainSender
from sumo_internal.net.pool import PooledSender

if TYPE_CHECKING:
    from aws_server import AwsServer

pytest_plugins = ["aws_server"]

REGION = "eu-west-1"
OTHER_REGION = "us-east-2"
PATIENT_S = 10.0
NOW_S = 1_795_249_505.0
CACHE_S = 3600.0
CODE = "ZaVnC4dhaV3-the-credential-bWGAKvTv_w=="
ENDPOINT = f"https://endpoint1.collection.eu.sumologic.com/receiver/v1/http/{CODE}"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-key",
    "AWS_SESSION_TOKEN": "aws-session-token",
}

Opener = Callable[..., Endpoint]


@pytest.fixture(params=[PooledSender, PlainSender])
def open_vault(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Return a function's vault, with either sender."""
    sender = request.param({})

    def open_vault(value: str, url: str, kms_key_id: str = "", function_name: str = "orders") -> Endpoint:
        account = Aws({**KEYS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": url}, sender)
        return Endpoint(value, kms_key_id, function_name, CACHE_S, lambda: account)

    yield open_vault
    sender.close()


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said once is said anew in each test."""
    monkeypatch.setattr(diagnostics, "_said", set())


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A service on a bad day."""
    with ScriptedServer() as server:
        yield server


def problem_of(vault: Endpoint, timeout_s: float = PATIENT_S) -> str:
    """Return why the endpoint cannot be had; nothing of it is in that."""
    with pytest.raises(EndpointUnavailableError) as error:
        vault.address_and_token(NOW_S, timeout_s)
    chain = [repr(error.value), repr(error.value.__cause__), repr(vars(error.value))]
    assert not any(secret in text for secret in (CODE, TOKEN, "aws-secret-key", "aws-session-token") for text in chain)
    assert error.value.__context__ is None or error.value.__suppress_context__  # no traceback of it either
    return str(error.value)


# In the clear.


@pytest.mark.parametrize("kms_key_id", ["", "alias/left-over"])
def test_an_address_is_the_endpoint(kms_key_id: str) -> None:
    """Nobody is asked, now or later; a KMS_KEY_ID that was left behind does not make a ciphertext of it."""

    def refuse() -> Aws:
        raise AssertionError("AWS is not needed")

    vault = Endpoint(ENDPOINT, kms_key_id, "orders", CACHE_S, refuse)
    assert vault.is_in_settings
    assert vault.address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT
    vault.forget()
    assert vault.address_and_token(NOW_S + 2 * CACHE_S, PATIENT_S)[0] == ENDPOINT


def test_an_address_costs_no_import() -> None:
    """Most functions have one, and pay for none of the rest."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from sumo_internal.destinations.endpoint import Endpoint; "
        "Endpoint('https://h/', '', '', 0, print).address_and_token(0, 0); print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", script]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"sumo_internal.net.aws", "sumo_internal.net.sigv4", "_hashlib"}.isdisjoint(loaded)


# KMS.


def ciphertext(aws_server: AwsServer, key_id: str, context: dict[str, str], region: str = REGION) -> str:
    """Return the endpoint, encrypted, as it is pasted into a setting."""
    service = aws_server.client("kms", region)
    encrypted = service.encrypt(KeyId=key_id, Plaintext=ENDPOINT.encode(), EncryptionContext=context)
    return base64.b64encode(encrypted["CiphertextBlob"]).decode()


@pytest.fixture
def kms_key(aws_server: AwsServer) -> str:
    """The ARN of a key."""
    return str(aws_server.client("kms").create_key()["KeyMetadata"]["Arn"])


@pytest.mark.parametrize("context", [{"LambdaFunctionName": "orders"}, {}], ids=["console", "command line"])
def test_a_ciphertext(aws_server: AwsServer, kms_key: str, open_vault: Opener, context: dict[str, str]) -> None:
    """Encrypted by the console's helper, for this function, or by hand, for any."""
    value = ciphertext(aws_server, kms_key, context)
    for key_id in (kms_key, kms_key.rpartition("/")[2]):
        assert open_vault(value, aws_server.url, key_id).address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT


def test_a_ciphertext_of_another_region(aws_server: AwsServer, open_vault: Opener) -> None:
    """The key's ARN says where to ask."""
    key_id = aws_server.client("kms", OTHER_REGION).create_key()["KeyMetadata"]["Arn"]
    value = ciphertext(aws_server, key_id, {}, OTHER_REGION)
    assert open_vault(value, aws_server.url, key_id).address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT


def test_a_ciphertext_of_another_function(aws_server: AwsServer, kms_key: str, open_vault: Opener) -> None:
    """A setting copied from one function to the next: the context says so."""
    value = ciphertext(aws_server, kms_key, {"LambdaFunctionName": "orders"})
    assert problem_of(open_vault(value, aws_server.url, kms_key, "invoices")) == (
        "SUMO_HTTP_ENDPOINT: KMS responds with InvalidCiphertextException: it was encrypted with another key, "
        "or with a context other than LambdaFunctionName=<the function>"
    )


def test_a_ciphertext_without_its_key(aws_server: AwsServer, kms_key: str, open_vault: Opener) -> None:
    """KMS_KEY_ID was forgotten."""
    value = ciphertext(aws_server, kms_key, {})
    assert problem_of(open_vault(value, aws_server.url)) == (
        "SUMO_HTTP_ENDPOINT: is neither an address nor the ARN of a secret or a parameter; a ciphertext needs "
        "KMS_KEY_ID"
    )


def test_what_kms_is_asked(server: ScriptedServer, open_vault: Opener) -> None:
    """The ciphertext as it stands in the setting; once with the context, and without only if that is refused."""
    plaintext = answer(200, {"Plaintext": base64.b64encode(ENDPOINT.encode()).decode()})
    server.script(answer(400, {"__type": "InvalidCiphertextException"}), plaintext)
    assert open_vault("Q2lwaGVy", server.url, "alias/logs").address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT
    first, second = (json.loads(request.body) for request in server.requests)
    assert second == {"CiphertextBlob": "Q2lwaGVy", "KeyId": "alias/logs"}
    assert first == {**second, "EncryptionContext": {"LambdaFunctionName": "orders"}}


# Secrets Manager and Systems Manager.

TEXTS = {
    "address": ENDPOINT,
    "with a line end": f"  {ENDPOINT}\n",
    "the variable as key": json.dumps({"SUMO_HTTP_ENDPOINT": ENDPOINT, "endpoint": "http://other/"}),
    "endpoint": json.dumps({"user": "x", "endpoint": ENDPOINT, "port": 1}),
    "url": json.dumps({"endpoint": None, "url": f"{ENDPOINT} "}),
}


@pytest.mark.parametrize("region", [REGION, OTHER_REGION])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_secret(aws_server: AwsServer, open_vault: Opener, text: str, region: str) -> None:
    """Its text, or a key of its JSON; it is asked for where its ARN says that it is."""
    service = aws_server.client("secretsmanager", region)
    arn = service.create_secret(Name="sumo/endpoint", SecretString=text)["ARN"]
    try:
        assert open_vault(arn, aws_server.url).address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT
    finally:
        service.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


@pytest.mark.parametrize("kind", ["String", "SecureString"])
@pytest.mark.parametrize("name", ["/sumo/endpoint", "sumo-endpoint"])
@pytest.mark.parametrize("region", [REGION, OTHER_REGION])
def test_a_parameter(aws_server: AwsServer, open_vault: Opener, region: str, name: str, kind: str) -> None:
    """Decrypted, where it is encrypted."""
    service = aws_server.client("ssm", region)
    service.put_parameter(Name=name, Value=ENDPOINT, Type=kind, Overwrite=True)
    arn = service.get_parameter(Name=name)["Parameter"]["ARN"]
    assert open_vault(arn, aws_server.url).address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT


SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:sumo-AbCdEf"
PARAMETER_ARN = "arn:aws:ssm:eu-west-1:123456789012:parameter/sumo"


@pytest.mark.parametrize(
    ("arn", "problem"),
    [
        (SECRET_ARN, "Secrets Manager responds with ResourceNotFoundException"),
        (PARAMETER_ARN, "Systems Manager responds with ParameterNotFound"),
    ],
)
def test_what_is_not_there(aws_server: AwsServer, open_vault: Opener, arn: str, problem: str) -> None:
    """As the service says it."""
    assert problem_of(open_vault(arn, aws_server.url)) == f"SUMO_HTTP_ENDPOINT: {problem}"


# What can go wrong.


@pytest.mark.parametrize(
    ("value", "place", "permission"),
    [
        ("Q2lwaGVy", "KMS", "kms:Decrypt on the key that KMS_KEY_ID names"),
        (
            *(SECRET_ARN, "Secrets Manager"),
            "secretsmanager:GetSecretValue on the secret, and kms:Decrypt if it has a key of its own",
        ),
        (
            *(PARAMETER_ARN, "Systems Manager"),
            "ssm:GetParameter on the parameter, and kms:Decrypt if it has a key of its own",
        ),
    ],
)
def test_a_missing_right(server: ScriptedServer, open_vault: Opener, value: str, place: str, permission: str) -> None:
    """The right is named: the message in the answer says for whom it is missing, and that is ours to know."""
    server.script(answer(400, {"__type": "AccessDeniedException", "Message": f"User … {CODE}"}))
    assert problem_of(open_vault(value, server.url, "alias/logs")) == (
        f"SUMO_HTTP_ENDPOINT: {place} responds with AccessDeniedException: the function's role needs {permission}"
    )


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        "",
        "{}",
        f'{{"endpoint": "{CODE}"',
        f'{{"endpoint": "{CODE}"}}',
        f"ftp://{CODE}",
        f"https://h/{CODE} {CODE}",
    ],
)
def test_a_secret_that_is_no_address(server: ScriptedServer, open_vault: Opener, text: str) -> None:
    """Somebody put something else there: it is not told, and no request goes to it."""
    server.script(answer(200, {"SecretString": text}))
    assert problem_of(open_vault(SECRET_ARN, server.url)) in (
        "SUMO_HTTP_ENDPOINT: what was fetched is not an http(s) address",
        "SUMO_HTTP_ENDPOINT: what was fetched is JSON without SUMO_HTTP_ENDPOINT, endpoint, url",
    )


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (SECRET_ARN, {"SecretBinary": base64.b64encode(CODE.encode()).decode()}),
        (PARAMETER_ARN, {"Parameter": None}),
        (PARAMETER_ARN, {"Value": CODE}),
        ("Q2lwaGVy", {"Plaintext": f"{CODE}%"}),
        ("Q2lwaGVy", {"Plaintext": base64.b64encode(b"\xff" + CODE.encode()).decode()}),
        ("Q2lwaGVy", {"KeyId": CODE}),
    ],
)
def test_an_answer_of_another_shape(
    server: ScriptedServer, open_vault: Opener, value: str, content: dict[str, object]
) -> None:
    """A binary secret, a plaintext that is no text."""
    server.script(answer(200, content))
    problem = problem_of(open_vault(value, server.url, "alias/logs"))
    assert problem == "SUMO_HTTP_ENDPOINT: what was fetched is not text"


def test_a_service_that_does_not_answer(server: ScriptedServer, open_vault: Opener) -> None:
    """In the time that was given; the next time it is asked again."""
    vault = open_vault(SECRET_ARN, server.url)
    server.script(End.HANG, End.CLOSE, answer(500), answer(200, {"SecretString": ENDPOINT}))
    assert problem_of(vault, timeout_s=0.2) == "SUMO_HTTP_ENDPOINT: Secrets Manager: TimeoutError"
    assert problem_of(vault) == "SUMO_HTTP_ENDPOINT: Secrets Manager: BadAnswerError"
    assert problem_of(vault) == "SUMO_HTTP_ENDPOINT: Secrets Manager responds with HTTP 500"
    assert vault.address_and_token(NOW_S, PATIENT_S)[0] == ENDPOINT


def test_nobody_to_ask_as(server: ScriptedServer) -> None:
    """Without credentials nothing is sent."""
    vault = Endpoint(SECRET_ARN, "", "orders", CACHE_S, lambda: Aws({"AWS_ENDPOINT_URL": server.url}, PlainSender({})))
    assert problem_of(vault) == "SUMO_HTTP_ENDPOINT: Secrets Manager: no AWS credentials in the environment"
    assert server.requests == []


@pytest.mark.parametrize("value", ["arn:aws:s3:::bucket/key", "arn:aws", "arn:", CODE, ""])
def test_a_value_that_is_nothing(server: ScriptedServer, open_vault: Opener, value: str) -> None:
    """An ARN of something else, or the credential without its address."""
    problem = problem_of(open_vault(value, server.url))
    assert problem.startswith("SUMO_HTTP_ENDPOINT: is neither an address nor the ARN of a secret")
    assert server.requests == []


# How long it is kept.


def test_it_is_kept_for_its_time_and_until_it_is_refused(server: ScriptedServer, open_vault: Opener) -> None:
    """Asked for once an hour, and at once when Sumo Logic did not want it; never more often."""
    vault = open_vault(SECRET_ARN, server.url)
    assert not vault.is_in_settings
    server.script(*(answer(200, {"SecretString": f"https://h/{number}"}) for number in range(3)))

    assert [vault.address_and_token(NOW_S + after_s, PATIENT_S)[0] for after_s in (0, 1, CACHE_S - 1)] == [
        "https://h/0"
    ] * 3
    assert [vault.address_and_token(NOW_S + after_s, PATIENT_S)[0] for after_s in (CACHE_S, CACHE_S + 1)] == [
        "https://h/1"
    ] * 2
    vault.forget()
    assert [vault.address_and_token(NOW_S + CACHE_S + after_s, PATIENT_S)[0] for after_s in (2, 3)] == [
        "https://h/2"
    ] * 2
    assert len(server.requests) == 3


def test_it_is_not_kept_beyond_its_time(server: ScriptedServer, open_vault: Opener) -> None:
    """A service that is away then does not prolong it: whoever took the secret back expects it to be gone."""
    vault = open_vault(SECRET_ARN, server.url)
    server.script(answer(200, {"SecretString": ENDPOINT}), answer(400, {"__type": "AccessDeniedException"}))
    assert vault.address_and_token(NOW_S - CACHE_S, PATIENT_S)[0] == ENDPOINT
    assert "AccessDeniedException" in problem_of(vault)


# The token, and its own setting.

BASE = "https://endpoint1.collection.eu.sumologic.com/receiver/v1/http"
TOKEN = "ZaVnC4dhaV0-a_token_of_88_characters-gJ8fQ3sT5bXk2LmN7pRw9YhD1cV6zA4uE0iO=="


VaultWith = Callable[..., Endpoint]


@pytest.fixture
def vault_with() -> Iterator[VaultWith]:
    """Return a function's vault, with a token's setting."""
    with closing(PlainSender({})) as sender:

        def vault_with(token: str, url: str, value: str = BASE, kms_key_id: str = "") -> Endpoint:
            account = Aws({**KEYS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": url}, sender)
            return Endpoint(value, kms_key_id, "orders", CACHE_S, lambda: account, token)

        yield vault_with


def test_a_token_takes_what_the_endpoint_takes(aws_server: AwsServer, kms_key: str, vault_with: VaultWith) -> None:
    """In the clear (where a KMS_KEY_ID for the address makes no ciphertext of it), by ARN, as a KMS ciphertext."""
    secrets, parameters = aws_server.client("secretsmanager"), aws_server.client("ssm")
    kms = aws_server.client("kms")
    encrypted = kms.encrypt(KeyId=kms_key, Plaintext=TOKEN.encode())["CiphertextBlob"]
    assert len(encrypted) >= CIPHERTEXT_MIN_BYTES
    parameters.put_parameter(Name="/sumo/token", Value=TOKEN, Type="SecureString")
    for token in (
        TOKEN,
        secrets.create_secret(Name="token", SecretString=f"{TOKEN}\n")["ARN"],
        secrets.create_secret(Name="token of json", SecretString=json.dumps({"SUMO_HTTP_TOKEN": TOKEN}))["ARN"],
        parameters.get_parameter(Name="/sumo/token")["Parameter"]["ARN"],
        base64.b64encode(encrypted).decode(),
    ):
        vault = vault_with(token, aws_server.url, kms_key_id=kms_key)
        assert vault.address_and_token(NOW_S, PATIENT_S) == (BASE, TOKEN)
        assert vault.is_in_settings == (token == TOKEN)


def test_one_secret_has_both_and_the_variable_goes_before_it(server: ScriptedServer, vault_with: VaultWith) -> None:
    """A secret for each source, and one place to renew both."""
    both = answer(200, {"SecretString": json.dumps({"SUMO_HTTP_ENDPOINT": BASE, "SUMO_HTTP_TOKEN": TOKEN})})
    server.script(both, both)
    assert vault_with("", server.url, SECRET_ARN).address_and_token(NOW_S, PATIENT_S) == (BASE, TOKEN)
    assert vault_with("mine", server.url, SECRET_ARN).address_and_token(NOW_S, PATIENT_S) == (BASE, "mine")


def test_a_code_in_the_path_is_used_and_the_token_is_not(
    capfd: pytest.CaptureFixture[str], vault_with: VaultWith
) -> None:
    """Both were set: the address works alone, and one line says which of them it is."""
    for ending in ("/code", "/code/", "/code?a=b"):
        vault = vault_with(TOKEN, "", BASE + ending)
        assert vault.address_and_token(NOW_S, PATIENT_S) == (BASE + ending, "")
    for ending in ("", "/", "?a=b"):
        assert vault_with(TOKEN, "", BASE + ending).address_and_token(NOW_S, PATIENT_S) == (BASE + ending, TOKEN)
    said = capfd.readouterr().err
    assert said.count("has a code in its path, which is used") == 1 and TOKEN not in said


def test_both_are_fetched_anew(server: ScriptedServer, vault_with: VaultWith) -> None:
    """A 401 says that one of them is wrong, and not which."""
    vault = vault_with(PARAMETER_ARN, server.url, SECRET_ARN)
    assert not vault.is_in_settings
    for number in range(2):
        server.script(
            answer(200, {"SecretString": f"{BASE}?{number}"}), answer(200, {"Parameter": {"Value": f"token-{number}"}})
        )
        assert vault.address_and_token(NOW_S, PATIENT_S) == (f"{BASE}?{number}", f"token-{number}")
        vault.forget()


@pytest.mark.parametrize("text", ["", "{}", '{"SUMO_HTTP_TOKEN": ""}', "two words", "a\r\nX: y", '{"a":' * 10_000])
def test_a_secret_that_is_no_token(server: ScriptedServer, vault_with: VaultWith, text: str) -> None:
    """It is not told, and the variable that it was meant for is named."""
    server.script(answer(200, {"SecretString": text}))
    assert problem_of(vault_with(SECRET_ARN, server.url)).startswith("SUMO_HTTP_TOKEN: what was fetched ")


# A service that is away.


@pytest.mark.parametrize(
    "away",
    [
        answer(500, {"__type": "InternalServiceError"}),
        answer(400, {"__type": "ThrottlingException"}),
        answer(503),
        End.CLOSE,
    ],
)
def test_what_is_known_is_used_while_its_service_is_away(
    server: ScriptedServer, open_vault: Opener, capfd: pytest.CaptureFixture[str], away: bytes | End
) -> None:
    """An outage of Secrets Manager is none of ours; asked again after a minute, and not with each batch."""
    vault = open_vault(SECRET_ARN, server.url)
    server.script(answer(200, {"SecretString": ENDPOINT}))
    server.default = away
    after_s = [0.0, CACHE_S, CACHE_S + 1, CACHE_S + FETCH_AGAIN_S]
    assert {vault.address_and_token(NOW_S + each, PATIENT_S)[0] for each in after_s} == {ENDPOINT}
    # Once for each of the two; a kept connection that breaks is tried again at once.
    assert len(server.requests) == 1 + 2 + (away is End.CLOSE)
    said = capfd.readouterr().err
    assert said.count("the one that was fetched before is used meanwhile") == 1 and CODE not in said
    server.default = answer(200, {"SecretString": "https://h/new"})
    assert vault.address_and_token(NOW_S + CACHE_S + 2 * FETCH_AGAIN_S, PATIENT_S)[0] == "https://h/new"


def test_what_was_fetched_is_a_secret_from_then_on(open_vault: Opener, server: ScriptedServer) -> None:
    """No line that is sent may have it, in whatever process it was fetched; see test_own_secrets."""
    content = {
        "SUMO_HTTP_ENDPOINT": "https://x.sumologic.com/receiver/v1/http",
        "SUMO_HTTP_TOKEN": "fetched-token-1234",
    }
    server.default = answer(200, json.dumps({"SecretString": json.dumps(content)}).encode())
    line = memoryview(b'{"message":"got fetched-token-1234"}\n')
    own_secrets.forget()
    assert own_secrets.hidden(line) is line

    open_vault(f"arn:aws:secretsmanager:{REGION}:1:secret:s", server.url).address_and_token(NOW_S, PATIENT_S)
    assert own_secrets.hidden(line) == b'{"message":"got ***"}\n'
    own_secrets.forget()
