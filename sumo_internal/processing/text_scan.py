"""What a text has in it: a value that is known, JSON, values behind quoted keys. Pure.

For the rules that hide values (:mod:`sumo_internal.processing.rules`), which meet them in messages of every kind: a
JSON object, text with JSON in it, a dict as Python prints it, a line that is cut off. What cannot be told is part of
the value.
"""

from __future__ import annotations

import json
import re
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sumo_internal.expressions import Span

_SHORT_CHARS = 4
"""A hidden value shorter than this is hidden elsewhere only where it stands alone: else "1" would eat every text."""

BEGINNINGS_MAX = 50
"""Beginnings of JSON that are tried in one text: each that turns out to be none costs a look at what follows it."""

_KEY = re.compile(r"""(["'])([^"'\n]{1,200}?)\1\s{0,64}(=>|[:=,])\s{0,64}""")
"""A key (the second group) and what stands between it and its value; a comma only in a list of pairs."""
_BEFORE_PAIR = ("[(", " (")
"""What stands before the key in a list of pairs, as Python writes headers and ordered dicts."""
_QUOTED = re.compile(r"""(\"{3}|'{3}|["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_BARE = re.compile(r"""[^\s,;&)\]}>({\[<"']+""")
_NEXT_LITERAL = re.compile(r"""\s*(?=[bBrRuU]{0,2}["'])""")
"""Python puts a long text on several lines, in quotes each."""

_CLOSING = {"{": "}", "[": "]", "(": ")", "<": ">"}


def has_quotes(text: str) -> bool:
    """May there be keys in it? They are in quotes, in JSON as in Python's notation."""
    return '"' in text or "'" in text


def occurrences(value: str, text: str) -> Iterator[Span]:
    """Where a hidden value is in a text."""
    begin = text.find(value)
    while begin >= 0:
        end = begin + len(value)
        if len(value) >= _SHORT_CHARS or not (
            text[max(0, begin - 1) : begin].isalnum() or text[end : end + 1].isalnum()
        ):
            yield begin, end
        begin = text.find(value, begin + 1)


def quoted_keys(text: str) -> Iterator[tuple[str, Span]]:
    """Keys in a text, and from where on each stands to where its value begins."""
    for match in _KEY.finditer(text):
        if match[3] != "," or text[max(0, match.start() - 2) : match.start()] in _BEFORE_PAIR:
            yield match[2], match.span()


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
    found = (match for match in _QUOTED.finditer(value) if not _KEY.match(value, match.start()))
    return (match[2] for match in found if len(match[2]) >= _SHORT_CHARS)


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
    """An object; one that names a key twice has values that nobody sees after it was read."""
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
    place = 0
    for _ in range(BEGINNINGS_MAX):
        begin = min((found for found in (text.find("{", place), text.find("[", place)) if found >= 0), default=-1)
        if begin < 0:
            return
        is_exact = [True]
        try:
            content, place = json.JSONDecoder(object_pairs_hook=partial(_pairs, is_exact)).raw_decode(text, begin)
        except (ValueError, RecursionError):
            place = begin + 1
        else:
            yield begin, place, content, is_exact[0]


def dump(value: Any, like: str) -> str:
    """A value as JSON, spaced as another text is."""
    separators = (", ", ": ") if '": ' in like else (",", ":")
    return json.dumps(value, ensure_ascii=False, separators=separators)
