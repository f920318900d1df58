"""The ready-made rules: Hypothesis looks for a secret that slips through, tables show what stays as it was."""

from __future__ import annotations

import enum
import json
import logging
import pprint
import re
import traceback
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lines_run import lines_run

from sumo_internal.capture import log_records, record_format
from sumo_internal.config import read
from sumo_internal.expressions.search import OVERLAP_CHARS, no_limit
from sumo_internal.expressions.search import readings as escaped_readings
from sumo_internal.processing import masking, rules, text_scan
from sumo_internal.processing.masking import DIGEST_CHARS, MASK, Masking
from sumo_internal.processing.rules import Selection, is_sampled
from sumo_internal.processing.values import SHORT_CHARS, Values

KEYS = Masking(["password", "authorization", "*_token"], [], [], "")


# Keys.


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"password":"a1b2","user":"bo"}', '{"password":"***","user":"bo"}'),
        ('{"user": {"Authorization": ["Bearer a1b2"]}}', '{"user": {"Authorization": "***"}}'),
        ('{"list":[{"api_token":{"deep":"a1b2"}},"a1b2"]}', '{"list":[{"api_token":"***"},"***"]}'),
        ('{"pass\\u0077ord":"a1b2"}', '{"password":"***"}'),
        ('{"body":"{\\"password\\":\\"a1b2\\"}"}', '{"body":"{\\"password\\":\\"***\\"}"}'),
        ('{"password":"a1b2","password":"c3d4"}', '{"password":"***"}'),
        ('{"a":{"password":"a1b2"},"a":1}', '{"a":1}'),
        ('[INFO]\tt\tid\t{"password":"a1b2"}', '[INFO]\tt\tid\t{"password":"***"}'),
        ("got {'password': 'a1b2', 'n': 1}", "got {'password': '***', 'n': 1}"),
        ("got {'password': {'deep': ['a1b2', '}']}, 'n': 1}", "got {'password': ***, 'n': 1}"),
        ("got {'password': b'a1b2'} cut", "got {'password': ***} cut"),
        ('cut off: {"password":"a1b2', 'cut off: {"password":***'),
        ('cut off: {"password":{"a1b2"', 'cut off: {"password":***'),
        ("got {'password': b'a1 b2', 'n': 1}", "got {'password': ***, 'n': 1}"),
        ("got {b'password': r'a1 b2', 'n': 1} a1 b2", "got {b'password': ***, 'n': 1} ***"),
        ("got {'password': ('a1', 'b2'), 'n': 1}", "got {'password': ***, 'n': 1}"),
        ("got {'password': Secret(value='a1 b2'), 'n': 1} a1 b2", "got {'password': ***, 'n': 1} ***"),
        ("got {'password': <Secret a1 b2>, 'n': 1}", "got {'password': ***, 'n': 1}"),
        ("got {'password': 'a1 '\n  'b2', 'n': 1}", "got {'password': ***, 'n': 1}"),
        ("got {'password': b'a1 '\n  b'b2', 'n': 1}", "got {'password': ***, 'n': 1}"),
        ("got {'password': frozenset({'a1', 'b2'}), 'n': 1}", "got {'password': ***, 'n': 1}"),
        ('got {"password": {"a": "a1 } b2', 'got {"password": ***'),
        ('cfg = {"password": """a1 "b2" """}', 'cfg = {"password": """***"""}'),
        ("[('password', 'a1 b2'), ('n', 1)]", "[('password', '***'), ('n', 1)]"),
        ("[('n', 1), ('password', 'a1 b2')]", "[('n', 1), ('password', '***')]"),
        ("headers.get('password', 'none at all')", "headers.get('password', 'none at all')"),
        ("{'password'" + 20 * " " + ": 'a1 b2'}", "{'password'" + 20 * " " + ": '***'}"),
        ('{"password" => "a1 b2"}', '{"password" => "***"}'),
        ('told "{\\"password\\": \\"a\\u0031b2\\"}" a1b2', 'told "{\\"password\\": \\"***\\"}" ***'),
        ('{"password":"a1b2 no JSON', '{"password":***'),
        ('{"n":1,"text":"password"}', '{"n":1,"text":"password"}'),
        ('{"password":null,"x":true}', '{"password":"***","x":true}'),
        ("a plain text with password=a1b2", "a plain text with password=a1b2"),
        ("got {b'password': b'a1 b2', 'n': 1} a1 b2", "got {b'password': ***, 'n': 1} ***"),
        ("got {<F.PASSWORD: 'password'>: 'a1 b2'} a1 b2", "got {<F.PASSWORD: 'password'>: '***'} ***"),
        ("got {<F.PASSWORD: 1>: 'a1 b2'}", "got {<F.PASSWORD: 1>: '***'}"),
        ("got {('user', 'password'): 'a1 b2'}", "got {('user', 'password'): '***'}"),
        ("got {('password', 'user'): 'a1 b2'}", "got {('password', 'user'): '***'}"),
        ("(b'authorization', b'Bearer a1')", "(b'authorization', ***)"),
        (
            "headers [(b'host', b'x'), (b'authorization', b'Bearer a1')]",
            "headers [(b'host', b'x'), (b'authorization', ***)]",
        ),
        ("{('authorization', 'Bearer a1'), ('host', 'x')}", "{('authorization', '***'), ('host', 'x')}"),
        ("('Authorization', 'Bearer a1')", "('Authorization', '***')"),
        ("got ('Authorization', 'Bearer a1', 5)", "got ('Authorization', 'Bearer a1', 5)"),
        ("['password', 'user', 'mail']", "['password', 'user', 'mail']"),
        ('["Authorization", "Bearer a1"]', '["Authorization", "***"]'),
        (
            '{"headers":[["Authorization","Bearer a1"],["host","x"]]}',
            '{"headers":[["Authorization","***"],["host","x"]]}',
        ),
        ('{"name":"authorization","value":"Bearer a1"}', '{"name":"authorization","value":"***"}'),
        ('{"Value":"Bearer a1","n":1,"Key":"Authorization"}', '{"Value":"***","n":1,"Key":"Authorization"}'),
        ("got {'name': 'authorization', 'value': 'Bearer a1'}", "got {'name': 'authorization', 'value': '***'}"),
        (
            "got {'value': b'Bearer a1', 'k': 1, 'name': 'authorization'}",
            "got {'value': ***, 'k': 1, 'name': 'authorization'}",
        ),
        ("got {'name': 'host', 'value': 'x'}", "got {'name': 'host', 'value': 'x'}"),
        ('{"name":"password","kind":"field"}', '{"name":"password","kind":"field"}'),
        ("got {(('a', 'password'), 1): 'a1 b2'}", "got {(('a', 'password'), 1): '***'}"),
        (
            "got {'name': 'authorization', 'x': {'y': {}}, 'value': 'Bearer a1'}",
            "got {'name': 'authorization', 'x': {'y': {}}, 'value': '***'}",
        ),
        (
            "got {'value': 'Bearer a1', 'x': {'y': 1}, 'name': 'authorization'}",
            "got {'value': '***', 'x': {'y': 1}, 'name': 'authorization'}",
        ),
        (
            "[{'value': 'x'}, {'name': 'authorization'}, {'value': 'y'}]",
            "[{'value': 'x'}, {'name': 'authorization'}, {'value': 'y'}]",
        ),
        (
            "│ 'password':        │\n│ 'a long one that  │\n│ is cut',          │\n│ 'n': 1            │",
            "│ 'password':        │\n│ '***',          │\n│ 'n': 1            │",
        ),
        (
            '{\x1b[94m"password"\x1b[39;49;00m:\x1b[37m \x1b[39;49;00m\x1b[33m"a1 b2"\x1b[39;49;00m}',
            '{\x1b[94m"password"\x1b[39;49;00m:\x1b[37m \x1b[39;49;00m\x1b[33m"***"\x1b[39;49;00m}',
        ),
        (
            "\x1b[32m'password'\x1b[0m: \x1b[32m'a1 b2'\x1b[0m, 'n'",
            "\x1b[32m'password'\x1b[0m: \x1b[32m'***'\x1b[0m, 'n'",
        ),
    ],
)
def test_the_value_of_a_masked_key(text: str, masked: str) -> None:
    """A key is found at any depth, however it is written; what has no end is masked to the end of the text."""
    assert KEYS.applied(text, {}) == (masked, {})


class Field(enum.Enum):
    PASSWORD = "pw"


class Named(str, enum.Enum):
    PASSWORD = "password"


@pytest.mark.parametrize(
    "value",
    [
        {b"password": b"hunter2"},
        {Field.PASSWORD: "hunter2"},
        {Named.PASSWORD: "hunter2"},
        {("user", "password"): "hunter2"},
        [(b"host", b"x"), (b"authorization", b"hunter2")],
        {("authorization", "hunter2")},
        ("Authorization", "hunter2"),
        [{"name": "authorization", "value": "hunter2"}],
        {"scope": {"headers": [(b"authorization", b"hunter2")]}},
    ],
    ids=repr,
)
@pytest.mark.parametrize("shown", ["field", "repr", "str in JSON"])
def test_keys_as_programs_have_them(value: Any, shown: str) -> None:
    """redis has bytes for keys, ASGI pairs for headers, others enums and tuples: in fields, and printed."""
    record = logging.LogRecord("orders", logging.INFO, "x", 1, "m", (), None)
    record.value = value
    fields = rules.fields_of(log_records.extra_text(record))
    text = {"field": "", "repr": f"got {value!r}", "str in JSON": json.dumps({"got": str(value)})}[shown]
    message, masked = KEYS.applied(f"{text} hunter2" if text[:1] != "{" else text, fields if shown == "field" else {})

    assert MASK in message and "hunter2" not in message + json.dumps(masked)
    assert shown != "field" or MASK in json.dumps(masked)


NAMES = st.sampled_from(["password", "Authorization", "api_token"])
SCALARS = st.none() | st.booleans() | st.integers(0, 999) | st.text("xy '\"}{", max_size=6)


@st.composite
def held(draw: st.DrawFn, secret: str) -> Any:
    """A secret as a Python program has one: what says its name may be a key of any kind, or stand beside it."""
    name, other = draw(NAMES), draw(SCALARS)
    value = draw(st.sampled_from([secret, secret.encode(), [secret], (1, secret), {"deep": secret}]))
    flat = value if isinstance(value, (str, bytes)) else secret
    keys = [name, name.encode(), Field.PASSWORD, Named.PASSWORD, ("user", name), ((1, name), 2), ("a", name.encode())]
    named = draw(st.permutations([("name", name), ("value", value), ("more", {"m": other}), ("n", 1)]))
    return draw(
        st.sampled_from(
            [
                *({"n": other, key: value} for key in keys),
                *({key: value, "n": other} for key in keys),
                [("host", "x"), (name, flat)],
                [(b"host", b"x"), (name.encode(), secret.encode())],
                {(name, flat), ("host", "x")},
                [[name, value]],
                dict(named),
            ]
        )
    )


@st.composite
def shown(draw: st.DrawFn, content: Any) -> str:
    """A value as it gets into a line: by ``repr``, ``pprint``, ``json``, and one of them in another."""
    around = draw(st.sampled_from([content, [content], {"event": content}, ({"a": [content]}, 1)]))
    texts = [repr(around), *(pprint.pformat(around, width=width) for width in (30, 50, 80))]
    if is_json(around):
        texts += [json.dumps(around), json.dumps(around, indent=2)]
    text = draw(st.sampled_from(texts))
    forms = [text, f"got {text}", f"{text} and more", json.dumps({"m": text}), repr({"m": text})]
    return draw(st.sampled_from(forms))


def is_json(value: Any) -> bool:
    """Would JSON name each key as the program does?"""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    return all(map(is_json, value)) if isinstance(value, (list, tuple)) else not isinstance(value, (set, bytes))


def test_a_bracket_in_a_text_ends_no_tuple() -> None:
    """A tuple that is no key, with a pair in it whose value looks like the end of one that is."""
    content = ({"a": [[("host", "x"), ("password", "hunter1)):hunter2")]]}, 1)
    assert "hunter" not in KEYS.applied(repr(content), {})[0]


@pytest.mark.parametrize("brace", ["}", "{", "}}", "'}", '"{'])
@pytest.mark.parametrize("order", [("name", "more", "value"), ("value", "more", "name")], ids="-".join)
def test_a_brace_in_a_text_closes_no_dict(brace: str, order: tuple[str, ...]) -> None:
    """A name and its value are in one dict, whatever the texts between them have in them."""
    parts = {"name": "password", "more": {"m": brace}, "value": "hunter2"}
    content = {key: parts[key] for key in order}
    for text in (repr(content), json.dumps(content), repr(json.dumps(content)), f"got {content} and {{'a': 1}}"):
        assert "hunter2" not in KEYS.applied(text, {})[0], text


@given(st.data(), st.text("ab '\"\\\n{}[](),:<>", max_size=12))
def test_no_key_that_a_program_has_lets_its_value_pass(data: st.DataObject, inside: str) -> None:
    """Whatever has the value, however deep, and however it gets into a text."""
    text = data.draw(shown(data.draw(held(f"@Q{inside}Q@"))))
    assert "Q" in text
    assert "Q" not in KEYS.applied(text, {})[0]


def test_a_fields_value_is_hidden_in_the_rest_of_the_record() -> None:
    """A formatter puts fields into the text, and an exception repeats them: there, too, the value is masked."""
    fields = {"password": "hunter2", "extra_api_token": 77, "tries": 771, "errorMessage": "no user with hunter2"}
    text, masked = KEYS.applied("login hunter2, token 77 of 771", fields)

    assert text == "login ***, token *** of 771"
    assert masked == {"password": MASK, "extra_api_token": MASK, "tries": 771, "errorMessage": "no user with ***"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("b'hunter2'", "got hunter2"),
        ("hunter2\n", "got hunter2, no more"),
        ("Secret('hunter2')", "got hunter2"),
        ("Bearer hunter2hunter2", "got hunter2hunter2"),
        ("[b'Basic hunter2hunter2', 1]", "got hunter2hunter2 of the header"),
        ("['hunter2', 'hunter22', {'key': 'hunter222'}]", "got hunter2, hunter22, hunter222 and no key"),
    ],
)
def test_a_value_is_hidden_as_it_is_used(value: str, text: str) -> None:
    """Bytes are decoded, what a file held is stripped, and a header's scheme is left out, before somebody prints it."""
    hidden, fields = KEYS.applied(text, {"password": value})
    assert fields == {"password": MASK} and hidden.startswith("got ***") and "hunter2" not in hidden


@given(
    st.text("ab '\"\\\n{}[](),:<>", max_size=12).filter(lambda text: text.strip() != ""),
    st.sampled_from(
        [repr, lambda text: repr(text.encode()), lambda text: repr((1, text)), lambda text: f"S({text!r})"]
    ),
)
def test_pythons_notation_has_no_gap(inside: str, shown: Any) -> None:
    """Whatever characters a value has, all of it is masked; where they are quotes, what follows it may be, too."""
    text, _ = KEYS.applied(f"got {{'n': 1, 'password': {shown('@Q' + inside + 'Q@')}, 'm': 2}}", {})
    assert "Q" not in text and text.startswith("got {'n': 1, 'password': ")


def test_what_a_key_hides_may_be_a_structure() -> None:
    """Each value in it is hidden elsewhere; its truth values and nothings are in every text and stay."""
    secret = {"password": {"user": "hunter2", "ok": True, "none": None, "pins": [1234]}}
    assert KEYS.applied("hunter2 1234 True None", secret) == ("*** *** True None", {"password": MASK})


def test_bounds_of_the_search_lose_nothing() -> None:
    """Behind more beginnings of JSON, and more names, than are looked at one by one, a value is found all the same."""
    text = "[" * (2 * text_scan.BEGINNINGS_MAX) + '{"password":"a1b2"}'
    assert KEYS.applied(text, {})[0].endswith('{"password":"***"}')

    fields = {f"{number}_token": "a1b2" for number in range(masking.NAMES_MAX + 10)}
    assert set(KEYS.applied("", fields)[1].values()) == {MASK}
    assert len(KEYS._masked) == masking.NAMES_MAX


@pytest.mark.parametrize("beginning", ['{"password":{', "[('password', ", """x {'password': ['a', """])
def test_a_key_within_a_hidden_value_costs_nothing(beginning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut off goes to the end; thousands of such keys would each look through all of the rest, for minutes."""
    looked_at = []

    def value_span(text: str, begin: int) -> tuple[int, int]:
        looked_at.append(begin)
        return text_scan.value_span(text, begin)

    monkeypatch.setattr(masking, "value_span", value_span)
    text, _ = Masking(["password"], [], [], "").applied(beginning * 2_000 + "'hunter2", {})
    assert "hunter2" not in text and len(looked_at) <= 4


WORDS = st.text("ab", min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=20), st.text("ab -", max_size=80))
def test_values_are_found_as_one_by_one(values: list[str], text: str) -> None:
    """However many there are, and however they overlap: what they cover is what a search for each would cover."""

    def covered(spans: Iterable[tuple[int, int]]) -> set[int]:
        return {place for begin, end in spans for place in range(begin, end)}

    each = covered(
        match.span(1)
        for value in values
        for match in re.finditer(f"(?=({value}))", text)
        if len(value) >= SHORT_CHARS
        or not any(beside.isalnum() for beside in (f"-{text}"[match.start()], f"{text}-"[match.end(1)]))
    )
    assert covered(Values(set(values), no_limit).spans(text)) == each


# What a record costs.

PIECES = st.sampled_from(
    r"""
    {"password":"p%06d"} {'password':'p%06d'} {"customer":"c%06d"} ('authorization','p%06d'), p%06d {'name':'password',
    'value':' {'value':'p%06d','name':'password'} "\" ' " [ { (( 'password', {"password":{ \ \u005c a@ aaaaaaaa token=
    <F.PASSWORD: ''' b'p%06d' 7777 "value": {(('a','password'),1):'p%06d'} (('a',
    {'name':'password','x':{'y':{}},'value': {'password':'%06d¶%06d'} 'password':¶│ } ¶
    """.split()
)


@given(st.lists(PIECES, min_size=1, max_size=4), st.sampled_from(["text", "field", "fields", "password"]))
@example(["{'name':'password',", "\\", "'value':'"], "text")
@example(["{'name':'password',", "\\u005c", "'value':"], "text")
@example(["{'name':'password',"] * 3 + ["\\u005c", "'value':'"], "text")  # 791 steps a character: the most seen
def test_the_cost_of_a_record_is_bounded_by_its_size(pieces: list[str], place: str) -> None:
    """Twice the record costs twice the steps at most, and so many for each character. A step is a line of Python that
    runs, or a character that is said to be searched. A list of customers with a password each took the square of it."""
    rules = Masking(["password", "authorization"], [r"[\w.+-]+@[\w-]+\.[\w.-]+", r"token=(\w+)"], [], "")

    def steps(rounds: int) -> tuple[int, int]:
        made = [piece.replace("¶", "\n") for piece in pieces]
        parts = [piece.replace("%06d", f"{number:06d}") for number in range(rounds) for piece in made]
        all_fields: dict[str, dict[str, Any]] = {
            "field": {"a": "".join(parts)},
            "fields": {"list": [{"password": part, "b": part} for part in parts]},
            "password": {"password": "".join(parts)},
        }
        fields = all_fields.get(place, {})
        text = "".join(parts) if place == "text" else "m " + parts[0]
        told: list[int] = []
        count = lines_run(lambda: rules.applied(text, fields, told.append), "/processing/")
        return count + sum(told), len(text) + len(json.dumps(fields))

    (few, few_chars), (many, many_chars) = steps(60), steps(240)
    assert many <= 1_000 * many_chars
    # A small record has less before and behind each name; by the square it would be four times as much.
    assert many / many_chars <= 2 * few / few_chars + 5


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (100, 10), (5_000, 5_000)])
@pytest.mark.parametrize("names", [1, 20])
def test_what_is_looked_at_beside_a_name_is_told(before: int, behind: int, names: int) -> None:
    """A budget is only as good as what it is told: for each name its dict is looked for on both sides."""
    name = "'n': 'password'"
    text = "'value': " + " " * before + name * names + " " * behind
    told: list[int] = []
    list(text_scan.keys(text, KEYS.is_masked, told.append))
    begin = [len("'value': ") + before + number * len(name) + len("'n'") for number in range(names)]
    end = [place + len(name) - len("'n'") for place in begin]
    assert told == [min(a, 2_000) + min(len(text) - b, 300) for a, b in zip(begin, end, strict=True)]


# Expressions.


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("paid with 4111111111111111 now", "paid with *** now"),
        ("card=abc and card=def", "card=*** and card=***"),
        ('{"n":4111111111111111}', '{"n":"***"}'),
        ('{"n":{"4111111111111111":[1]}}', '{"n":{"***":[1]}}'),
        ('{"n":"4111\\u00311111\\u0031111111"}', '{"n":"***"}'),
        ('{"n":"41111\\u003111111111111","n":0}', '{"n":0}'),
        ('told {\\"n\\":\\"4111\\u003111111\\u00311111\\"}', 'told {\\"n\\":\\"***\\"}'),
        ("nothing to hide", "nothing to hide"),
        ('{ "spaces" :  "stay" }', '{ "spaces" :  "stay" }'),
    ],
)
def test_a_masked_expression(text: str, masked: str) -> None:
    """Values are seen without their escapes, numbers too; a text in which nothing is found is exactly as it was."""
    pattern = Masking([], [r"\b\d{15,16}\b|card=(\w+)"], [], "")
    assert pattern.applied(text, {}) == (masked, {})


def test_an_expression_that_has_the_json_in_mind() -> None:
    """Who writes an expression for a message sees its JSON, as Sumo Logic's own rules do; a result that is no JSON any
    more is a text."""
    rules = Masking([], [r'"user":\s*"(\w+)"', r'"pin":\s*(\d+)'], [], "")
    assert rules.applied('{"user":"bob"}', {}) == ('{"user":"***"}', {})
    assert rules.applied('{"user":"bob","pin":12}', {}) == ('{"user":"***","pin":***}', {})


def test_one_rule_does_not_hide_what_another_needs() -> None:
    """All expressions see the record as it was: a mask that takes the words before a number leaves it to the other."""
    rules = Masking(["user"], [r"paid by \w+", r"paid by \w+ with (\d+)"], [], "")
    assert rules.applied("paid by bob with 12345", {"user": "bob"})[0] == "*** with ***"


def test_a_hash_is_the_same_for_the_same_value_and_salt() -> None:
    """Values can be told apart and counted, and are not hashed twice; a mask wins where both match."""
    rules = Masking([], [r"pin \d+"], [r"[\w.]+@[\w.]+", r"[0-9a-f]{16}", r"\d+"], "pepper")
    text, fields = rules.applied('{"mail":"bo@x.org","pin":"pin 12"}', {"mail": "bo@x.org"})
    digest = fields["mail"]

    assert len(digest) == DIGEST_CHARS and int(digest, 16) >= 0
    assert json.loads(text) == {"mail": digest, "pin": MASK}
    assert (
        Masking([], [], ["b."], "salt").applied("bo", {})[0] != Masking([], [], ["b."], "pepper").applied("bo", {})[0]
    )


# Hypothesis looks for a secret that slips through.

PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40).filter(
    lambda text: text.strip() == text and "***" not in text and not set(text) <= set('*"\\{}[]:,/ ')
)


def hidden_in(depth: int) -> st.SearchStrategy[Any]:
    """Where people put a secret: under keys, in lists, in texts, in JSON in JSON, in Python's notation."""
    secret = st.just("@SECRET@")
    keys = st.sampled_from(["a", "user", "body", "password_hint"])
    return st.recursive(
        secret | st.builds("before {} after".format, secret),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=2)
            | st.dictionaries(keys, inner, min_size=1, max_size=2)
            | inner.map(lambda value: json.dumps(value))
            | inner.map(lambda value: json.dumps(value, ensure_ascii=False))
        ),
        max_leaves=depth,
    )


def put(value: Any, secret: str, forms: list[str]) -> Any:
    """Put the secret into its places; a text that is JSON gets it as JSON writes it."""
    if isinstance(value, str):
        try:
            content = json.loads(value)
        except ValueError:
            return value.replace("@SECRET@", secret)
        return json.dumps(put(content, secret, forms), ensure_ascii=forms[0] == "ascii")
    if isinstance(value, dict):
        return {key: put(item, secret, forms) for key, item in value.items()}
    return [put(item, secret, forms) for item in value]


def readings(value: Any) -> list[str]:
    """All that anybody can read out of a value, through any number of quotings."""
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in readings(each)]
    if isinstance(value, list):
        return [text for each in value for text in readings(each)]
    if not isinstance(value, str):
        return [str(value)]
    texts = [value, *(each.text for each in escaped_readings(value))]
    try:
        content = json.loads(value)
    except ValueError:
        return texts
    return texts if isinstance(content, str) and content == value else [*texts, *readings(content)]


@given(
    hidden_in(4), st.from_regex(r"\A[2-9]{4}-[2-9]{4}-[2-9]{4}\Z"), st.sampled_from(["ascii", "plain"]), st.booleans()
)
def test_no_place_hides_a_secret_from_an_expression(value: Any, secret: str, form: str, is_object: bool) -> None:
    """Nested, quoted, escaped: after the rules, nobody can read it out of the message or a field."""
    rules = Masking([], [r"[2-9]{4}-[2-9]{4}-[2-9]{4}"], [], "")
    content = put(value, secret, [form])
    text = json.dumps({"m": content}, ensure_ascii=form == "ascii")
    message, fields = rules.applied(text if is_object else f"said {content!r} and {text}", {"field": content})

    assert not [each for each in (*readings(message), *readings(fields)) if secret in each]


@given(PASSWORDS, hidden_in(3), st.sampled_from(["ascii", "plain"]), st.booleans(), st.booleans())
def test_no_place_hides_what_a_key_masks(secret: str, value: Any, form: str, is_object: bool, is_field: bool) -> None:
    """A value under a masked key is nowhere in the record: not in other fields, not in a traceback's message."""
    try:
        raise ValueError(f"refused: {secret}")
    except ValueError as error:
        report = "".join(traceback.format_exception(error))
    object_text = json.dumps({"m": put(value, secret, [form]), "password": secret}, ensure_ascii=form == "ascii")
    text = object_text if is_object else f"login {secret}\n{report}"
    fields = {"errorMessage": f"refused: {secret}", "stackTrace": [report], "x": [secret], "api_token": secret}
    message, masked = KEYS.applied(text, fields if is_field or not is_object else {})

    assert not [each for each in (*readings(message), *readings(masked)) if secret in each]


EXPRESSIONS = {
    "SUMO_MASK_PATTERNS": json.dumps([r"\d{12}", "^paid$"]),
    "SUMO_HASH_PATTERNS": r"card=(\w+)",
    "SUMO_HASH_SALT": "salt",
}
CONFIGS = [read(EXPRESSIONS)[0], read({**EXPRESSIONS, "SUMO_MASK_KEYS": "password,*_token"})[0]]
HASHED = f"card={Masking([], [], [], 'salt').digest('a1b2')}"


RECORDS = st.tuples(
    st.sampled_from(
        ["ok", "{}", '{"a":"paid"}', "123456789012", "card=a1b2", HASHED, "orders", '{"password":"orders"}', "\\"]
    ),
    st.dictionaries(
        st.sampled_from(["level", "logger", "password", "card", "x", "123456789012"]),
        st.sampled_from(
            ["INFO", "orders", "123456789012", HASHED, "paid", MASK, 123456789012, None, ["orders"], {"a_token": "ok"}]
        ),
        max_size=3,
    ),
    st.sampled_from([(), {"orders"}, {"level"}, {"ok"}]),
)


@given(st.lists(RECORDS, min_size=2, max_size=5))
@example([("card=a1b2", {"card": HASHED}, ()), ("ok", {"card": HASHED}, ())])
@example([("ok", {"logger": "orders"}, ()), ("ok", {"logger": "orders"}, {"orders"})])
@example([("ok", {"level": "INFO"}, ()), ('{"a":"paid"}', {"level": "INFO"}, ())])
def test_what_rules_remember_changes_nothing(records: list[tuple[str, Any, Any]]) -> None:
    """A record leaves as it does from rules that have seen none."""
    for config in CONFIGS:
        experienced = rules.Rules(config)
        for text, fields, hidden in records:
            record = text, record_format.piece(fields.items()), None, no_limit, hidden
            assert experienced.applied(*record) == rules.Rules(config).applied(*record)


def test_rules_remember_so_many_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that makes up its loggers has each one's fields looked at, and so have long ones."""
    experienced = rules.Rules(CONFIGS[0])
    assert experienced.masking
    looked_at: list[Any] = []

    def applied(text: str, fields: Any, *_: object) -> tuple[str, Any]:
        looked_at.append(fields)
        return text, fields

    monkeypatch.setattr(experienced.masking, "applied", applied)
    for _ in range(2):
        for number in range(rules.PLAIN_MAX + 10):
            experienced.applied("ok", record_format.logger_text("INFO", f"orders.{number}"))
        experienced.applied("ok", record_format.logger_text("INFO", "x" * rules.PLAIN_MAX_CHARS))
    assert len(looked_at) == rules.PLAIN_MAX + 11 + 11


@given(st.integers(0, 200_000), st.integers(1, OVERLAP_CHARS - 10))
def test_a_secret_in_a_long_text_is_found(before: int, length: int) -> None:
    """Wherever it lies: the border of a piece, or of a record's part, which is cut only afterwards."""
    secret = "7" * length
    rules = Masking([], ["key:7+"], [], "")
    assert rules.applied("x" * before + f"key:{secret}" + "y" * 70_000, {})[0] == "x" * before + MASK + "y" * 70_000


@given(
    st.sampled_from(["key:7777777", "card=1234abcd ", "{'password': '7777777'} "]),
    st.integers(0, 2 * OVERLAP_CHARS),
    st.integers(0, 2 * OVERLAP_CHARS),
    st.data(),
)
def test_a_text_that_goes_on_is_cut_beside_a_secret(secret: str, before: int, after: int, data: st.DataObject) -> None:
    """A text that is recorded in pieces shows no half of a secret, nor one without the words that it is known by."""
    rules = Masking(["password"], [r"key:(7{7})", r"card=(\w+)"], [], "")
    text = "-" * before + secret + "-" * after
    written = data.draw(st.integers(1, len(text)))
    cut = rules.cut(text[:written])
    pieces = [text[:cut], text[cut:written] + text[written:]]

    assert 0 < cut <= written
    if written >= OVERLAP_CHARS:
        assert not [word for piece in pieces for word in ("7", "1", "abcd") if word in rules.applied(piece, {})[0]]


def test_a_text_that_is_one_secret_is_not_kept_for_ever() -> None:
    """What never ends is recorded, masked, when the bound is reached."""
    text = "key:" + "7" * 100_000
    rules = Masking([], ["key:(7+)"], [], "")
    assert rules.cut(text) == len(text)
    assert rules.applied(text, {})[0] == "key:***"


# Selection and sampling.


@pytest.mark.parametrize(
    ("exclude", "include", "text", "is_wanted"),
    [
        ([], [], "anything", True),
        (["GET /health"], [], "GET /health 200", False),
        (["GET /health"], [], "GET /orders 200", True),
        ([], ["order", "basket"], "a basket", True),
        ([], ["order", "basket"], "a customer", False),
        (["probe"], ["order"], "order probe", False),
        (["end$"], [], "x" * 100_000 + "end", False),
    ],
)
def test_exclude_and_include(exclude: list[str], include: list[str], text: str, is_wanted: bool) -> None:
    """An excluded message is not wanted even when it is included."""
    assert Selection(exclude, include).is_wanted(text) is is_wanted


def test_sampling_is_decided_by_the_request() -> None:
    """The same request has the same answer, the share is the rate's, and a higher rate takes what a lower one took."""
    requests = [f"{number:08x}-1234-4321-9999-{number * 7919:012x}" for number in range(20_000)]
    tenth, half = ({each for each in requests if is_sampled(each, rate)} for rate in (0.1, 0.5))

    assert tenth < half and {each for each in requests if is_sampled(each, 0.1)} == tenth
    assert 0.09 < len(tenth) / len(requests) < 0.11 and 0.48 < len(half) / len(requests) < 0.52
    assert all(is_sampled(each, 1) for each in requests) and not any(is_sampled(each, 0) for each in requests)
