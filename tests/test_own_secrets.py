"""The package's own secrets are in nothing that is sent, in whatever form they were written."""

from __future__ import annotations

import html
import json
import pprint
import reprlib
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sumo_internal import own_secrets
from sumo_internal.own_secrets import CHUNK_BYTES, PIECE_CHARS, SECRET_MIN_CHARS, TAIL_CHARS

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


def test_a_batch_without_a_secret_costs_few_calls() -> None:
    """Each batch is searched on the shipping thread: a call for each secret and character of it was a tenth of all."""
    for number in range(8):
        own_secrets.add(f"QJ{number:030}")
    lines = memoryview(b'{"message":"order 1 accepted"}\n' * (CHUNK_BYTES // 4))
    calls = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        shown = own_secrets.hidden(lines)
    finally:
        sys.setprofile(None)
    assert shown is lines
    assert calls <= 8 * (len(lines) / CHUNK_BYTES + 1)


def test_lines_without_a_secret_are_not_copied() -> None:
    """What is sent of them is the map itself, where a secret's variable is named, too."""
    own_secrets.add(KEY)
    for text in (b"nothing", b"AWS_SECRET_ACCESS_KEY"):
        lines = memoryview(b'{"message":"%s"}\n' % text * 10_000)
        assert own_secrets.hidden(lines) is lines


TOKEN = "IQoJb3JpZ2luX2VjEJ//////////wEaCXVzLWVhc3QtMSJ" + CODE.join(["HMEUCIQDp", "Zk81t+cVq", "n4/Lf0Rw2"]) * 8
VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_SESSION_TOKEN": TOKEN,
    "SUMO_HTTP_ENDPOINT": ADDRESS,
    "SUMO_HTTP_TOKEN": "t0ken-of_the-new.kind/2026",
}


def folded(width: int) -> str:
    """What ``rich.print`` writes where there is no terminal: a text longer than a line is cut anywhere."""
    return "\n".join(piece for line in pprint.pformat(VARIABLES).split("\n") for piece in textwrap.wrap(line, width))


def in_a_box(width: int) -> str:
    """The same in two boxes, as rich draws a traceback with its variables, and structlog with it."""
    return "\n".join(f"│ │ {line:<{width - 8}} │ │" for line in folded(width - 8).split("\n"))


def with_locals(width: int) -> str:
    """A traceback with the frames' variables."""
    environ = dict(VARIABLES)
    try:
        raise ValueError(len(environ))
    except ValueError:
        return "".join(traceback.TracebackException(*sys.exc_info(), capture_locals=True).format())


LAID_OUT: dict[str, Callable[[int], str]] = {
    "pprint": lambda width: pprint.pformat(VARIABLES, width=width),
    "pprint of bytes": lambda width: pprint.pformat(
        {name.encode(): value.encode() for name, value in VARIABLES.items()}, width=width
    ),
    "folded": folded,
    "in a box": in_a_box,
    "a traceback with variables": with_locals,
    "reprlib": lambda width: reprlib.repr(VARIABLES),
    "cut": lambda width: "AWS_SECRET_ACCESS_KEY, cut: " + " ".join(text[:width] for text in VARIABLES.values()),
}


@pytest.mark.parametrize("is_split", [False, True], ids=["one record", "a record for each line"])
@pytest.mark.parametrize("how", LAID_OUT)
def test_a_secret_that_is_laid_out_is_hidden_piece_by_piece(how: str, is_split: bool) -> None:
    """Who lays out a value for a reader cuts long texts, into lines that may be records of their own."""
    own_secrets.learn(VARIABLES)
    for width in (40, 60, 80, 100, 120):
        text = LAID_OUT[how](width)
        written = text.split("\n") if is_split else [text]
        lines = [json.dumps({"message": each}, ensure_ascii=False) for each in ["x" * CHUNK_BYTES, *written]]
        data = "".join(f"{line}\n" for line in lines).encode()
        shown = bytes(own_secrets.hidden(memoryview(data))).splitlines()
        messages = "\n".join(json.loads(line)["message"] for line in shown)
        assert "***" in messages
        for secret in (KEY, CODE, TOKEN, VARIABLES["SUMO_HTTP_TOKEN"]):
            pieces = {secret[begin : begin + PIECE_CHARS] for begin in range(len(secret) - PIECE_CHARS + 1)}
            assert not [piece for piece in pieces if piece in messages], (width, messages[CHUNK_BYTES:])


ALONE: dict[str, Callable[[str], str]] = {
    "pprint": lambda secret: pprint.pformat({"it": secret, "b": 1}, width=40),
    "pprint of bytes": lambda secret: pprint.pformat({"it": secret.encode(), "b": 1}, width=40),
    "wrapped": lambda secret: textwrap.fill(secret, 30),
    "its beginning": lambda secret: f"the key {secret[:20]}…",
}


@pytest.mark.parametrize("secret", [KEY, CODE, TOKEN, "Zk/" + KEY[3:], "1/3+5" + CODE])
@pytest.mark.parametrize("how", ALONE)
def test_a_secret_that_is_cut_is_hidden_without_its_variable(how: str, secret: str) -> None:
    """Somebody prints a dict with one of them in it, or its beginning: no name says that an environment is laid out."""
    own_secrets.add(secret)
    message = sent(ALONE[how](secret))
    pieces = {secret[begin : begin + PIECE_CHARS] for begin in range(len(secret) - PIECE_CHARS + 1)}
    assert "***" in message and not [piece for piece in pieces if piece in message]


@given(
    st.text(st.sampled_from('abnu0123\\"\n+é '), min_size=PIECE_CHARS, max_size=40),
    st.text(st.sampled_from('abnu0123\\"\n\x1b+é '), max_size=30),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_what_is_left_between_pieces_is_json(secret: str, between: str, cuts: list[int]) -> None:
    """A piece begins behind an escape and not in it: ``\\n`` has a letter that a secret may have as well."""
    own_secrets.forget()
    own_secrets.add(secret)
    text = f"AWS_SECRET_ACCESS {between}" + between.join(secret[cut:] for cut in cuts)
    # The rest of a secret behind a control character whose escape has the secret's beginning is one in JSON: known.
    assume(secret in text or secret not in json.dumps(text))
    assert sent(text).startswith("AWS_SECRET_ACCESS ")


@given(st.integers(1, 2 * TAIL_CHARS), st.integers(0, 60), st.sampled_from([KEY, quote(KEY, safe=""), json.dumps(KEY)]))
def test_a_text_that_goes_on_is_cut_beside_a_secret(before: int, written: int, shown: str) -> None:
    """A secret that is written in pieces is whole in one record."""
    own_secrets.forget()
    own_secrets.add(KEY)
    text = "-" * before + f" {shown}"
    assume(written < len(text))
    begun = text[: len(text) - written]
    place = own_secrets.cut(begun)
    assert 0 < place <= len(begun)
    assert own_secrets.hidden_text(text[:place]) + own_secrets.hidden_text(text[place:]) == own_secrets.hidden_text(
        text
    )
    assert "***" in own_secrets.hidden_text(text)
