"""The package's own secrets are in nothing that is sent, in whatever form they were written."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal import own_secrets
from sumo_internal.own_secrets import CHUNK_BYTES, SECRET_MIN_CHARS, TAIL_CHARS

KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CODE = "ZaVnC4dhaV1-Kz0rH9d8ew=="
ADDRESS = f"https://endpoint4.collection.sumologic.com/receiver/v1/http/{CODE}"

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda text: json.dumps({"a": text}),
    "ASCII in JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})),
    "Python": lambda text: repr({"a": text}),
    "bytes": lambda text: repr(text.encode()),
    "an address": quote,
    "all of an address": lambda text: quote(text, safe=""),
    "a form": quote_plus,
    "an address in an address": lambda text: quote(quote(text, safe="")),
    "HTML": html.escape,
    "JSON for HTML": lambda text: json.dumps(text).replace("+", "\\u002b").replace("/", "\\/").replace("=", "\\u003D"),
}


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    """Each test knows what it learns."""
    own_secrets.forget()
    yield
    own_secrets.forget()


def sent(message: str) -> str:
    """Return what is sent of a line."""
    line = (json.dumps({"message": message, "id": "1"}, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
    return str(json.loads(bytes(own_secrets.hidden(memoryview(line))))["message"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [KEY, CODE, 'pepper "and" salt \\ more', "größer als nötig!", "p\tq\nr12345 &<>"])
def test_a_secret_is_hidden_in_every_form(secret: str, form: str) -> None:
    """However the function has quoted what it prints; the rest of the line stays, and stays JSON."""
    own_secrets.add(secret)
    hidden = sent(FORMS[form](f"before {secret} after"))
    assert hidden == FORMS[form]("before XYZ after").replace("XYZ", "***")


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=SECRET_MIN_CHARS, max_size=60),
    st.sampled_from(sorted(FORMS)),
)
def test_no_secret_survives(secret: str, form: str) -> None:
    """Whatever characters it has: what is sent does not contain it, and is JSON."""
    own_secrets.forget()
    secret = secret.strip().strip("\"'\\")
    own_secrets.add(secret)
    if len(secret) >= SECRET_MIN_CHARS and not secret.startswith(("arn:", "http")):
        assert FORMS[form](secret) not in sent(f"x {FORMS[form](secret)} y")


def test_which_secrets_are_known() -> None:
    """An address's code and not its host; no ARN, no word; the environment's and what is fetched later."""
    variables = {
        "SUMO_HTTP_ENDPOINT": ADDRESS,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "SUMO_HASH_SALT": "salt",
        "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjEJ",
    }
    own_secrets.learn(variables)
    assert sent(str(variables)) == str(
        {
            **variables,
            "SUMO_HTTP_ENDPOINT": ADDRESS.replace(CODE, "***"),
            "AWS_SECRET_ACCESS_KEY": "***",
            "AWS_SESSION_TOKEN": "***",
        }
    )

    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:sumo"
    addresses = (
        "https://collectors.sumologic.com/receiver/v1/http",
        "https://collectors.sumologic.com",
        "https://x.org/",
    )
    for harmless in (arn, *addresses, "", "short"):
        own_secrets.add(harmless)
    text = f"{arn} https://collectors.sumologic.com/receiver/v1/http short"
    assert sent(text) == text

    own_secrets.add("https://x.org/receiver/v1/http/fetched-code")
    assert sent("got fetched-code") == "got ***"


@given(
    st.integers(-60, 60),
    st.one_of(
        st.sampled_from([KEY, "no-capital-letters-0", "3141592653589793", "ONLYCAPITALS"]),
        st.from_regex(r"[A-Za-z0-9+/]{20,80}", fullmatch=True),
    ),
)
def test_a_secret_between_two_chunks_is_found(shift: int, secret: str) -> None:
    """A batch is searched in pieces, for a secret's rarest characters first; not every secret has rare ones."""
    own_secrets.forget()
    own_secrets.add(secret)
    text = "." * (CHUNK_BYTES + shift) + secret + "."
    assert sent(text) == text.replace(secret, "***")


def test_the_rarest_characters_without_the_secret_hide_nothing() -> None:
    """Most lines with a Q are no secret."""
    own_secrets.add(KEY)
    text = "QUICK JXK " + KEY[::-1]
    assert sent(text) == text


def test_lines_without_a_secret_are_not_copied() -> None:
    """What is sent of them is the map itself."""
    own_secrets.add(KEY)
    lines = memoryview(b'{"message":"nothing"}\n' * 10_000)
    assert own_secrets.hidden(lines) is lines


@given(st.integers(1, 2 * TAIL_CHARS), st.integers(0, 60), st.sampled_from([KEY, quote(KEY, safe=""), json.dumps(KEY)]))
def test_a_text_that_goes_on_is_cut_beside_a_secret(before: int, written: int, shown: str) -> None:
    """A secret that is written in pieces is whole in one record."""
    own_secrets.forget()
    own_secrets.add(KEY)
    text = "-" * before + f" {shown}"
    begun = text[: len(text) - written]
    place = own_secrets.cut(begun)
    assert 0 < place <= len(begun)
    assert own_secrets.hidden_text(text[:place]) + own_secrets.hidden_text(text[place:]) == own_secrets.hidden_text(
        text
    )
    assert "***" in own_secrets.hidden_text(text)
