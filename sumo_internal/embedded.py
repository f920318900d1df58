"""What a text has in it: a value that is known, JSON, values behind quoted keys. Pure.

For the rules that hide values (:mod:`sumo_internal.rules`), which meet them in messages of every kind: a JSON object,
text with JSON in it, a dict as Python prints it, a line that is cut off. What cannot be told is part of the value.
"""

from __future__ import annotations

import json
import re
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sumo_internal.patterns import Span

_SHORT_CHARS = 4
"""A hidden value shorter than this is hidden elsewhere only where it stands alone: else "1" would eat every text."""

BEGINNINGS_MAX = 50
"""Beginnings of JSON that are tried in one text: each that turns out to be none costs a look at what follows it."""

QUOTED_KEY = re.compile(r"""(["'])([^"'\n]{1,200}?)\1\s{0,8}[:=]\s{0,8}""")
"""A key (the second group) and what stands between it and its value."""
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_BARE = re.compile(r"[^\s,;&)\]}]+")
"""A value behind a quoted key in a text that is no JSON as a whole: in quotes, or a number or name."""

_CLOSING = {"{": "}", "[": "]"}


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


def value_span(text: str, begin: int) -> Span:
    """Where the value is that begins here, behind a key; one that has no end goes to the end of the text."""
    quoted = _QUOTED.match(text, begin)
    if quoted:
        return quoted.span(2)
    if text[begin : begin + 1] in ("{", "["):
        return begin, _closed(text, begin)
    bare = _BARE.match(text, begin)
    return bare.span() if bare and text[begin] not in "\"'" else (begin, len(text))


def _closed(text: str, begin: int) -> int:
    """The end of an object or a list that begins here."""
    open_ones: list[str] = []
    place = begin
    while place < len(text):
        quoted = _QUOTED.match(text, place) if text[place] in "\"'" else None
        if text[place] in _CLOSING:
            open_ones.append(_CLOSING[text[place]])
        elif text[place] == open_ones[-1]:
            open_ones.pop()
            if not open_ones:
                return place + 1
        place = quoted.end() if quoted else place + 1
    return len(text)


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
