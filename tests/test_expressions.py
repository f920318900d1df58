"""Users' expressions: which are taken, and that every match is found, in long texts and behind escapes."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.expressions.checked import ExpressionRefusedError, compiled, sources
from sumo_internal.expressions.search import (
    ESCAPES_AT_ONCE,
    LEVELS_MAX,
    OVERLAP_CHARS,
    PIECE_CHARS,
    PIECE_MIN_CHARS,
    has_match,
    merged,
    readings,
    spans,
)


@pytest.mark.parametrize(
    "source",
    [
        r"\b\d{16}\b",
        r"(?i)bearer\s+([\w.~+/-]+=*)",
        r"(?:\d{4}[ -]?){3}\d{4}",
        r"(\d{64})+",
        r'"(?:\\.|[^"\\])*"',
        r"[0-9]{16}",
        r"\b(?:\d[ -]*?){13,16}\b",
        r"[\w.+-]+@[\w-]+\.[\w.-]+",
        r"(?:[a-z0-9-]{1,63}\.)+[a-z]{2,}",
        r"(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
        r"(?:x(?:a*?)){50}",
        r"-----BEGIN [A-Z ]+-----[\s\S]+?-----END [A-Z ]+-----",
        r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
        r"(?:foo|bar|baz)*q",
        r"(?i)(?:a|A)*b",
        r"'([^'\\]*(?:\\.[^'\\]*)*)'",
        r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$",
        r"(?<=token=)\S+",
    ],
)
def test_an_expression_in_use_is_taken(source: str) -> None:
    """What people mask with is not refused by the rule against endless searches."""
    assert sources(source) == [source]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (r"(?:(\d{4})[ -]?){4}", "4111-1111-1111-1111"),
        (r"no (?:(\d{4})-?){2,4}?", "no 4111-1111-"),
        (r"no ((?:(\d{4})-?){4})", "4111-1111-1111-1111"),
        (r"no (\d+)?", "4111"),
        (r"no (?:(\d{4})-)?", "4111"),
    ],
)
def test_a_group_that_repeats_is_all_of_the_match(source: str, found: str) -> None:
    """Python knows where such a group matched last; of a card number that would be the last four digits."""
    text = "no 4111-1111-1111-1111"
    places = merged((span, True) for span in spans(compiled(source), text))
    assert [text[begin:end] for (begin, end), _ in places] == [found]


@pytest.mark.parametrize(
    "source",
    [
        r"(a+)+$",
        r"(?:\w+\s?)*x",
        r"(?=(a+)+b)",
        r"(?:a|b+)*c",
        r"((a*)b?)*",
        r"(?:a{1,31}){1,31}b",
        r"(?:\w{1,3}){1,31}b",
        r"(?:a|a)*b",
        r"(?:a|a){31}b",
        r"(?:a|aa)+$",
        r"(?:ab|a|b)*c",
        r"(?:a?){40}b",
        r"(?:\d{3}|\d{4})+x",
        r"(?:a+b?a+)*c",
        r"(x+x+)+y",
        r"(\s*\w+\s*)*;",
        r'secret="((?:\\.|[^"])*)"',
    ],
)
def test_a_repeat_with_two_ways_is_refused(source: str) -> None:
    """Nothing can stop Python's search; such an expression would hang the function in a line that it logs. A repeat in
    a repeat alone is no reason: what stands between two rounds of a domain's parts tells them apart."""
    with pytest.raises(ExpressionRefusedError, match="more than one way through the same text"):
        compiled(source)


@pytest.mark.parametrize("source", [r".*token.*=.*;", r"(\w+)\s*\1\s*\1x", r"\s*\S+\s*=\s*\S+\s*=\s*\S+$"])
def test_an_expression_of_cubic_time_is_refused(source: str) -> None:
    """It is found by trying it: 8 KB would take it 20 s. The reason says how the expression can be made safe."""
    with pytest.raises(ExpressionRefusedError, match=r"takes too long for texts of a thousand characters: let what"):
        compiled(source)


@pytest.mark.parametrize("source", [r"[\w.+-]+@[\w-]+\.[\w.-]+", r"\d+\.\d+\.\d+\.\d+", r'"(?:\\.|[^"\\])*"'])
def test_an_expression_of_quadratic_time_sees_short_pieces(source: str) -> None:
    """It stays in use, and no text takes it longer than so many short pieces do; a linear one sees long pieces."""
    assert PIECE_MIN_CHARS <= compiled(source).piece_chars < PIECE_CHARS
    assert compiled(r"password\s*[=:]\s*(\S+)").piece_chars == PIECE_CHARS


@pytest.mark.parametrize("source", ["(", "[a", "(?P<hunter2", r"\8", "a{2,1}", "*"])
def test_what_does_not_compile_is_refused_without_being_shown(source: str) -> None:
    """The reason names the place and never the expression, which may be the secret itself."""
    with pytest.raises(
        ExpressionRefusedError, match=r"^has an expression \(number 1\) that does not compile \(at position \d+\)$"
    ):
        sources(source)


def test_a_list_of_expressions_is_json() -> None:
    """A list says which of its expressions is wrong; what is no list is one expression, although it begins like one."""
    assert sources('["a", "b"]') == ["a", "b"]
    assert sources("[ab]") == ["[ab]"]
    assert sources("[1, 2]") == ["[1, 2]"]
    with pytest.raises(ExpressionRefusedError, match="number 2"):
        sources('["a", "("]')


@given(st.integers(0, 3 * PIECE_CHARS), st.integers(1, OVERLAP_CHARS), st.integers(0, PIECE_CHARS))
def test_every_match_up_to_the_overlap_is_found(before: int, length: int, after: int) -> None:
    """Wherever a match lies, over the border of two pieces too, it is found whole."""
    text = "-" * before + "x" * length + "-" * after
    pattern = compiled("x+")

    places = merged((span, True) for span in spans(pattern, text))

    assert has_match(pattern, text)
    assert [span for span, _ in places] == [(before, before + length)]


def test_a_match_that_is_cut_off_reaches_to_the_end() -> None:
    """A value longer than a piece is masked to its end, not to the piece's."""
    text = "key=" + "x" * 3 * PIECE_CHARS
    assert next(iter(spans(compiled("key=(.*)"), text))) == (4, len(text))


def test_groups_are_what_counts_where_there_are_any() -> None:
    """The whole match without groups, and where no group took part; nothing that is empty."""
    assert list(spans(compiled("b(c)(d)?"), "abcd bc")) == [(2, 3), (3, 4), (6, 7)]
    assert list(spans(compiled("b|x(y)"), "ab xy")) == [(1, 2), (4, 5)]
    assert list(spans(compiled("b*"), "abba")) == [(1, 3)]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.booleans(), st.integers(1, 3))
def test_escapes_are_resolved_and_found_again(secret: str, is_ascii: bool, depth: int) -> None:
    """JSON in JSON in JSON: what a text says is seen, and its place in the text is exact."""
    inner = secret
    for _ in range(depth):
        inner = json.dumps(inner, ensure_ascii=is_ascii)[1:-1]
    assert inner == secret or [
        each
        for each in readings(f"<{inner}>")
        if each.text == f"<{secret}>" and each.original((1, 1 + len(secret))) == (1, 1 + len(inner))
    ]


def test_levels_of_quoting_have_a_bound() -> None:
    """Each level doubles the backslashes: nobody nests deeper, and a text of backslashes is not read for ever."""
    text = '"x"'
    for _ in range(LEVELS_MAX + 2):
        text = json.dumps(text)
    assert len(readings(text)) == LEVELS_MAX


class TooMuch(Exception):
    """What a budget raises."""


@pytest.mark.parametrize("escape", ["\\x41", "\\u0041", "\\U00000041", "\\n", "\\\\", "\\ud83d\\ude00"])
def test_escapes_are_told_to_the_budget_while_they_are_resolved(escape: str) -> None:
    """Each as a search of 64 characters, which takes as long: a value of bytes has an escape for most of them.

    Guards against a record of 230 KB that took 350 ms, of a budget of 50: it was looked at before and after.
    """
    told: list[int] = []

    def spend(chars: int) -> None:
        told.append(chars)
        if len(told) > 20:
            raise TooMuch

    with pytest.raises(TooMuch):
        readings(escape * 100_000, spend)
    assert told[0] == len(escape) * 100_000
    assert set(told[1:]) == {ESCAPES_AT_ONCE**2}

    told.clear()
    assert readings(escape * (ESCAPES_AT_ONCE - 1), spend)
    assert ESCAPES_AT_ONCE**2 not in told, "a usual text is not worth a look at the clock"


def test_pythons_escapes_are_resolved() -> None:
    """A dict's text, as print writes it, has escapes of its own."""
    assert [each.text for each in readings(repr("it's\x07\x9f\"\U000e0001"))] == ["'it's\x07\x9f\"\U000e0001'"]
    assert readings(r"\Uffffffff") == []


@given(st.lists(st.tuples(st.tuples(st.integers(0, 20), st.integers(0, 5)), st.booleans())))
def test_places_are_merged_into_disjoint_ones(found: list[tuple[tuple[int, int], bool]]) -> None:
    """Every character of a place is in exactly one merged place, and a mask wins over a hash."""
    places = [((begin, begin + length), is_mask) for (begin, length), is_mask in found]
    result = merged(places)

    assert all(left[0][1] <= right[0][0] for left, right in itertools.pairwise(result))
    covered = {at: is_mask for (begin, end), is_mask in result for at in range(begin, end)}
    assert covered.keys() == {at for (begin, end), _ in places for at in range(begin, end)}
    assert all(covered[at] for (begin, end), is_mask in places if is_mask for at in range(begin, end))


def test_an_expression_of_quadratic_time_sees_bounded_pieces() -> None:
    """Much of what an expression nearly matches is searched piece by piece, and the end is found."""
    text = "ab" * 50_000 + "c1234"
    assert [text[begin:end] for begin, end in spans(compiled("(?:ab){0,500}c([0-9]+)"), text)] == ["1234"]
