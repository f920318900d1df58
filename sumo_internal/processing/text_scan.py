"""What a text has in it: a value that is known, JSON, values behind quoted keys. Pure.

For the rules that hide values (:mod:`sumo_internal.processing.rules`), which meet them in messages of every kind: a
JSON object, text with JSON in it, a dict as Python prints it, a line that is cut off. Text of which that cannot be told
is part of the value.
"""

from __future__ import annotations

import json
import re
from functools import partial
from itertools import islice

from sumo_internal.processing.values import SHORT_CHARS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from sumo_internal.expressions.search import Span, Spend

BEGINNINGS_MAX = 50
"""Beginnings of JSON that are tried in one text: each one that turns out to be no JSON costs a look at the text behind
it."""

BEGINNINGS_SHARE = 8
"""... and so many times the text's length at most."""

_COLOUR = r"\x1b\[[0-9;]{0,20}m"
_KEY = re.compile(rf"""(["'])([^"'\n]{{1,200}}?)\1(?:\s|{_COLOUR}){{0,64}}(=>|[:=,])(?:[\s│]|{_COLOUR}){{0,250}}""")
"""A key (the second group) and what stands between it and its value; a comma only in a pair. In rich's box a long value
is on the next line, within that line's borders; a terminal has each of them in its colour."""
_ITEM = r"""[^()"'\n]|"(?:\\.|[^"\\\n]){0,200}"|'(?:\\.|[^'\\\n]){0,200}'"""
"""A character of a tuple, or a text in it."""
_OBJECT_KEY = re.compile(
    r"""(?:<([\w.]{1,100}: [^<>\n]{1,200})>|\((?=[^\n]{0,200}?["'])"""
    rf"""((?:{_ITEM}|\((?:{_ITEM}){{0,100}}\)){{1,200}})\))"""
    r"""\s{0,64}:\s{0,64}"""
)
"""A key that is an enum's member, or a tuple, perhaps with another in it, as Python shows them in a dict."""
_BEFORE_PAIR = re.compile(r"(?<![\w)\]])[(\[]\s{0,64}[bBuU]?\Z")
"""What stands before the key in a pair, as Python and JSON write headers; before the arguments of a call stands a
name."""
_BEHIND_PAIR = re.compile(r"""["']?\s{0,64},?\s{0,64}(?:[)\]]|\Z)""")
_VALUE_KEY = re.compile(r"""(["'])value\1\s{0,64}[:=]\s{0,64}""", re.IGNORECASE)
_NAME = re.compile(r"""[:=]\s{0,64}[bBuU]?(["'])([^"'\n]{1,200})\1""")
"""What may name the value beside it, ``{'name': 'authorization', 'value': …}``."""
_MARK = re.compile(r"""\\.|["'{}]""", re.DOTALL)
"""A brace, a quote, or an escape, which is none."""
_MARKS_MAX = 64
"""Of these, on either side of a name, are looked at to find its dict."""
_BEFORE_MAX_CHARS, _BEHIND_MAX_CHARS = 2_000, 300
"""Before a name, and behind it: there the value that it names is looked for, and a token may lie in between."""

_QUOTED = re.compile(r"""(\"{3}|'{3}|["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_QUOTE = re.compile(r"""\"{3}|'{3}|["']""")
_QUOTED_BY = {
    kind: re.compile(rf"""({kind})((?:\\.|(?!{kind})[^\\])*){kind}""", re.DOTALL) for kind in ('"""', "'''", '"', "'")
}
_BARE = re.compile(r"""[^\s,;&)\]}>({\[<"'\x1b]+""")
_NEXT_LITERAL = re.compile(r"""\s*(?=[bBrRuU]{0,2}["'])""")
"""Python puts a long text on several lines, in quotes each."""

_CLOSING = {"{": "}", "[": "]", "(": ")", "<": ">"}


def has_quotes(text: str) -> bool:
    """May there be keys in it? They are in quotes, in JSON as in Python's notation."""
    return '"' in text or "'" in text


def keys(text: str, is_masked: Callable[[str], bool], spend: Spend) -> list[tuple[Span, bool]]:
    """Masked keys in a text: from where on each stands to where its value begins, and whether it counts in a pair only.

    A key may be a text, bytes, an enum's member or a tuple (then its own text is asked for), the first of a pair, or
    the key of a value that is named beside it. For one of these last, ``spend`` is told of all that is looked at on
    both sides of the name; the search of the whole text is the caller's to tell.
    """
    found = [(match.span(), match[3] == ",") for match in _KEY.finditer(text) if is_masked(match[2])]
    found += [(match.span(), False) for match in _OBJECT_KEY.finditer(text) if is_masked(match[1] or match[2])]
    if _VALUE_KEY.search(text):
        named: set[Span] = set()
        for name in _NAME.finditer(text):
            if is_masked(name[2]):
                spend(min(name.start(), _BEFORE_MAX_CHARS) + min(len(text) - name.end(), _BEHIND_MAX_CHARS))
                named.update(key.span() for key in _beside(text, *name.span()))
        found += [(span, False) for span in named]
    return sorted(found)


def _beside(text: str, begin: int, end: int) -> Iterator[re.Match[str]]:
    """The keys of a value in the same dict as its name, which stands here; and those in what lies in the dict."""
    yield from _VALUE_KEY.finditer(text, _opened(text, begin), begin)
    yield from _VALUE_KEY.finditer(text, end, _closes(text, end))


def _opened(text: str, begin: int) -> int:
    """Where the dict begins in which a text stands; its own place if that is not known."""
    marks = list(_MARK.finditer(text, max(0, begin - _BEFORE_MAX_CHARS), begin))
    return _outermost(reversed(marks), "}", begin)


def _closes(text: str, end: int) -> int:
    """Where the dict ends in which a text stands, or how far that is looked for."""
    last = end + _BEHIND_MAX_CHARS
    return _outermost(_MARK.finditer(text, end, last), "{", last)


def _outermost(marks: Iterable[re.Match[str]], deeper: str, otherwise: int) -> int:
    """Where the brace is that ends a dict, seen from within: the first that closes more than was opened, outside of
    quotes."""
    quote, depth = "", 1
    for mark in islice(marks, _MARKS_MAX):
        character = mark[0]
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "{}":
            depth += 1 if character == deeper else -1
            if not depth:
                return mark.start()
    return otherwise


def may_begin_pair(text: str, begin: int) -> bool:
    """May what begins here be the first of two in brackets?"""
    return _BEFORE_PAIR.search(text, max(0, begin - 70), begin) is not None


def ends_pair(text: str, end: int) -> bool:
    """Are the brackets closed behind a value, so that it was the second of two?"""
    return _BEHIND_PAIR.match(text, end) is not None


def value_span(text: str, begin: int) -> Span:
    """Where the value is that begins here, behind a key, without its quotes; one without an end reaches to the text's.

    It is JSON, or whatever Python shows of an object: ``b'…'``, ``Secret('…')``, a tuple, several literals in a row.
    """
    end = begin
    while (behind := _token_end(text, end)) > end:
        literal = text[behind - 1] in "\"'" and _NEXT_LITERAL.match(text, behind)
        end = literal.end() if literal else behind
    quoted = _QUOTED.fullmatch(text, begin, end)
    if quoted:
        return quoted.span(2)
    return begin, end if end > begin else len(text)


def literals(value: str) -> Iterator[str]:
    """The texts in Python's notation of an object, but for keys and the very short ones."""
    for match in _quoted(value):
        if len(match[2]) >= SHORT_CHARS:
            key = _KEY.match(value, match.start())
            if key is None or key[3] == ",":  # in a list all texts are values
                yield match[2]


def _quoted(text: str) -> Iterator[re.Match[str]]:
    """The quoted texts in a text. Where one quote is not closed, a later quote of its kind is not closed either."""
    unclosed: set[str] = set()
    place = 0
    while opening := _QUOTE.search(text, place):
        place = opening.end()
        for kind in dict.fromkeys((opening[0], opening[0][0])):
            match = None if kind in unclosed else _QUOTED_BY[kind].match(text, opening.start())
            if match:
                yield match
                place = match.end()
                break
            unclosed.add(kind)


def _token_end(text: str, begin: int) -> int:
    """The end of the quoted text, the brackets with all that is in them, or the bare word that begins here, if any."""
    first = text[begin : begin + 1]
    if first in ('"', "'"):
        quoted = _QUOTED.match(text, begin)
        return quoted.end() if quoted else len(text)
    if first in _CLOSING:
        return _closed(text, begin)
    bare = _BARE.match(text, begin)
    return bare.end() if bare else begin


def _closed(text: str, begin: int) -> int:
    """The end of what is in brackets from here on."""
    open_ones: list[str] = []
    place = begin
    while place < len(text):
        character = text[place]
        if character in "\"'":
            place = _token_end(text, place)
            continue
        if character in _CLOSING:
            open_ones.append(_CLOSING[character])
        elif character == open_ones[-1]:
            open_ones.pop()
        place += 1
        if not open_ones:
            break
    return place


def _pairs(is_exact: list[bool], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that it names twice, only the last value is left after it was read."""
    content = dict(pairs)
    is_exact[0] &= len(content) == len(pairs)
    return content


def decoded(text: str) -> tuple[Any, bool]:
    """What a text is as JSON, None where it is none; and whether all of the text is in that."""
    is_exact = [True]
    try:
        return json.loads(text, object_pairs_hook=partial(_pairs, is_exact)), is_exact[0]
    except (ValueError, RecursionError):
        return None, False


def embedded(text: str) -> Iterator[tuple[int, int, Any, bool]]:
    """Objects and lists in a text: where they begin and end, what they are, and whether that is all of it."""
    place = looked_at = 0
    for _ in range(BEGINNINGS_MAX):
        if looked_at > BEGINNINGS_SHARE * len(text):
            return
        begin = min((found for found in (text.find("{", place), text.find("[", place)) if found >= 0), default=-1)
        if begin < 0:
            return
        is_exact = [True]
        try:
            content, place = json.JSONDecoder(object_pairs_hook=partial(_pairs, is_exact)).raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            place = begin + 1
            looked_at += getattr(error, "pos", len(text)) - begin
        else:
            yield begin, place, content, is_exact[0]


def dump(value: Any, like: str) -> str:
    """A value as JSON, spaced as another text is."""
    separators = (", ", ": ") if '": ' in like or '", ' in like else (",", ":")
    return json.dumps(value, ensure_ascii=False, separators=separators)
