"""Users' regular expressions: which are taken, and where in a text they match.

Pure. Python's ``re`` cannot be interrupted, and a function must not hang in a line that it logs. So an expression with
an unbounded repeat inside an unbounded repeat, which may take exponential time, is refused
(:class:`ExpressionRefusedError`), and the others see a long text a bounded piece at a time (:data:`PIECE_CHARS`), each
overlapping the one before it, so that every match of up to :data:`OVERLAP_CHARS` is found. A match that is cut off by
the end of its piece counts as reaching to the end of the text: for a mask that is the safe side.

Text may hold JSON, or Python's own notation, in which the secret is written with escapes. Besides the text itself, its
:func:`readings` are searched, and what is found there is a place in the text.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_right
from functools import lru_cache

if sys.version_info >= (3, 11):
    from re import _constants, _parser  # type: ignore[attr-defined]  # the same module under its newer name
else:
    import sre_constants as _constants
    import sre_parse as _parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Span = tuple[int, int]
    """Begin and end of a place in a text."""

PIECE_CHARS = 8 * 1024
"""Of a text that an expression sees at once: one that takes quadratic time needs about 0.2 s for it."""

OVERLAP_CHARS = 4 * 1024
"""Of two neighbouring pieces: longer than a token, a certificate or a private key."""

MANY_REPEATS = 32
"""A repeat that may come to so many counts as unbounded: ``(a{1,99}){1,99}`` runs as long as ``(a+)+``."""


_REPEATS = [
    getattr(_constants, name)
    for name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
    if hasattr(_constants, name)  # possessive ones are Python 3.11's; a branch's kind is None
]
"""How a repeat is called in a parsed expression."""


class ExpressionRefusedError(ValueError):
    """An expression that is not used; the text completes the sentence "The expression …", without showing it."""


def sources(text: str) -> list[str]:
    """The expressions of a setting: one, or a JSON list of them.

    Raises:
        ExpressionRefusedError: One of them cannot be used. Say which, and do what is safe for the setting.
    """
    try:
        found = json.loads(text) if text[:1] == "[" else None
    except (ValueError, RecursionError):
        found = None  # "[0-9]{16}" is an expression
    listed = found if isinstance(found, list) and all(isinstance(each, str) for each in found) else [text]
    for number, source in enumerate(listed, 1):
        try:
            compiled(source)
        except ExpressionRefusedError as problem:
            raise ExpressionRefusedError(f"has an expression (number {number}) that {problem}") from None
    return listed


def compiled(source: str) -> re.Pattern[str]:
    """The expression, if it can be used.

    Raises:
        ExpressionRefusedError: It does not compile, or may take exponential time.
    """
    try:
        pattern = re.compile(source)
        tree = _parser.parse(source)
    except re.error as error:
        raise ExpressionRefusedError(f"does not compile (at position {error.pos})") from None
    except (OverflowError, RecursionError):
        raise ExpressionRefusedError("does not compile (it is too large)") from None
    if _repeats_repeats(tree, False):
        raise ExpressionRefusedError("has an unbounded repeat inside an unbounded repeat")
    return pattern


def _repeats_repeats(node: Any, is_repeated: bool) -> bool:
    """Is there a repeat of many in a repeat of many? Possessive ones are never tried again, and do not count."""
    if isinstance(node, tuple) and len(node) == 2 and node[0] in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
        least, most, inner = node[1]
        if is_repeated and least != most >= MANY_REPEATS:
            return True
        return _repeats_repeats(inner, is_repeated or most >= MANY_REPEATS)
    node = node.data if isinstance(node, _parser.SubPattern) else node
    if isinstance(node, (tuple, list)):
        return any(_repeats_repeats(each, is_repeated) for each in node)
    return False


@lru_cache(maxsize=100)
def _repeats_group(source: str) -> bool:
    """Is a group repeated? Of such a one, ``re`` tells the last place only, and the secret is in all of them."""
    return _has_repeated_group(_parser.parse(source), False)


def _has_repeated_group(node: Any, is_repeated: bool) -> bool:
    if isinstance(node, tuple) and len(node) == 2:
        kind, content = node
        if kind is _constants.SUBPATTERN and content[0] is not None:
            return is_repeated  # what is in a group is masked with it
        if kind in _REPEATS:
            is_repeated = is_repeated or content[1] > 1
    node = node.data if isinstance(node, _parser.SubPattern) else node
    return isinstance(node, (tuple, list)) and any(_has_repeated_group(each, is_repeated) for each in node)


def has_match(pattern: re.Pattern[str], text: str) -> bool:
    """Does the expression match anywhere in the text?"""
    return any(pattern.search(text, begin, end) for begin, end in _pieces(text))


def spans(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    """Where the expression's groups match; the whole match where it has none, none took part, or one repeats."""
    for match, is_cut_off in _matches(pattern, text):
        groups = () if _repeats_group(pattern.pattern) else match.regs[1:]
        found = [span for span in groups if span[0] >= 0] or [match.regs[0]]
        if is_cut_off:
            yield found[0][0], len(text)
        else:
            yield from (span for span in found if span[1] > span[0])


def whole_spans(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    """Where the expression matches, with all that it needs to see."""
    for match, is_cut_off in _matches(pattern, text):
        yield match.start(), len(text) if is_cut_off else match.end()


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], bool]]:
    """Matches; the last may be cut off by the end of its piece, and nobody knows how far it goes."""
    for begin, end in _pieces(text):
        for match in pattern.finditer(text, begin, end):
            is_cut_off = match.end() == end < len(text) and match.start() < end - OVERLAP_CHARS
            yield match, is_cut_off
            if is_cut_off:
                return


def _pieces(text: str) -> Iterator[Span]:
    begin, end = 0, PIECE_CHARS
    while end < len(text):
        yield begin, end
        begin, end = begin + PIECE_CHARS - OVERLAP_CHARS, end + PIECE_CHARS - OVERLAP_CHARS
    yield begin, len(text)


LEVELS_MAX = 6
"""Of quoting that are looked through: JSON in JSON in JSON."""

_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?:u|U0000)([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([\"'/bfnrt\\]))"
)
"""An escape of JSON's or Python's."""

_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _character(match: re.Match[str]) -> str:
    high, low, *codes, letter = match.groups()
    if letter:
        return _LETTERS.get(letter, letter)
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    code = int(next(code for code in codes if code), 16)
    return chr(code) if code <= sys.maxunicode else match[0]


class Reading:
    """A text as it reads with its escapes resolved, and where each place of that is in the text as it was."""

    def __init__(self, text: str, source: Reading | None = None) -> None:
        """Resolve one level of escapes.

        Args:
            text: The text.
            source: What that is a reading of, where it is one itself.
        """
        self._source = source
        pieces: list[str] = []
        self._places, self._origins = [0], [0]
        place = origin = 0
        for match in _ESCAPE.finditer(text):
            character = _character(match)
            pieces += [text[origin : match.start()], character]
            place += match.start() - origin
            self._places += [place, place + len(character)]
            self._origins += [match.start(), match.end()]
            place, origin = place + len(character), match.end()
        self.text = "".join([*pieces, text[origin:]])

    def original(self, span: Span) -> Span:
        """The place in the text as it was."""
        span = self._origin(span[0]), self._origin(span[1])
        return span if self._source is None else self._source.original(span)

    def _origin(self, place: int) -> int:
        index = bisect_right(self._places, place) - 1
        return self._origins[index] + place - self._places[index]


def readings(text: str) -> list[Reading]:
    """A text with one level of its escapes resolved, with two, and so on, as long as there are any."""
    found: list[Reading] = []
    while "\\" in text and len(found) < LEVELS_MAX:
        found.append(Reading(text, found[-1] if found else None))
        if found[-1].text == text:
            found.pop()
            break
        text = found[-1].text
    return found


def merged(found: Iterable[tuple[Span, bool]]) -> list[tuple[Span, bool]]:
    """Places in order, those that overlap as one; what is true of one of them is true of it.

    Args:
        found: Places, and for each whether it is to be masked (and not only hashed).
    """
    places: list[tuple[Span, bool]] = []
    for (begin, end), is_mask in sorted(found):
        if places and begin < places[-1][0][1]:
            (begin, before), was_mask = places.pop()
            end, is_mask = max(before, end), is_mask or was_mask
        places.append(((begin, end), is_mask))
    return places
