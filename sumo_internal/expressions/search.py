"""Where a user's expression matches in a text of any length. Pure.

An expression sees a long text a bounded piece at a time (:attr:`Expression.piece_chars`), each overlapping the one
before it by half, so that every match of up to half a piece is found. A match that is cut off by the end of its piece
counts as reaching to the end of the text: for a mask that is the safe side. Before each piece the caller is told how
long it is (``spend``), and may raise.

Text may hold JSON, or Python's own notation, in which the secret is written with escapes. Besides the text itself, its
:func:`readings` are searched, and a match in a reading becomes a place in the text.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Span = tuple[int, int]
    """Begin and end of a place in a text."""

    Spend = Callable[[int], None]
    """Is told a number of characters before they are searched; raises when there have been too many."""

PIECE_CHARS = 8 * 1024
"""Of a text that an expression sees at once, unless it is slow."""

PIECE_MIN_CHARS = 1024
"""... and if it is: half of that is longer than most tokens."""

OVERLAP_CHARS = PIECE_CHARS // 2
"""Of two neighbouring pieces: longer than a token, a certificate or a private key."""


class Expression:
    """A user's expression, as :mod:`.checked` takes it."""

    __slots__ = ("pattern", "piece_chars", "has_repeated_group")

    def __init__(
        self, pattern: re.Pattern[str], piece_chars: int = PIECE_CHARS, has_repeated_group: bool = False
    ) -> None:
        """Put together what is known of it.

        Args:
            pattern: What is searched for.
            piece_chars: Of a text that it may see at once.
            has_repeated_group: Of a group that is repeated, ``re`` tells the last place only.
        """
        self.pattern = pattern
        self.piece_chars = piece_chars
        self.has_repeated_group = has_repeated_group


def no_limit(chars: int) -> None:
    """Let a search take as long as it takes."""


def has_match(expression: Expression, text: str, spend: Spend = no_limit) -> bool:
    """Does the expression match anywhere in the text?"""
    if len(text) <= expression.piece_chars:  # nearly always
        spend(len(text))
        return expression.pattern.search(text) is not None
    for begin, end in _pieces(expression, text):
        spend(end - begin)
        if expression.pattern.search(text, begin, end):
            return True
    return False


def spans(expression: Expression, text: str, spend: Spend = no_limit) -> Iterator[Span]:
    """Where the expression's groups match; the whole match where it has none, none took part, or one repeats."""
    for match, is_cut_off in _matches(expression, text, spend):
        groups = () if expression.has_repeated_group else match.regs[1:]
        found = [span for span in groups if span[0] >= 0] or [match.regs[0]]
        if is_cut_off:
            yield found[0][0], len(text)
        else:
            yield from (span for span in found if span[1] > span[0])


def whole_spans(expression: Expression, text: str) -> Iterator[Span]:
    """Where the expression matches with all that it needs to see."""
    for match, is_cut_off in _matches(expression, text, no_limit):
        yield match.start(), len(text) if is_cut_off else match.end()


def _matches(expression: Expression, text: str, spend: Spend) -> Iterator[tuple[re.Match[str], bool]]:
    """Matches; the last may be cut off by the end of its piece, and its own end is then not known."""
    overlap_chars = expression.piece_chars // 2
    for begin, end in _pieces(expression, text):
        spend(end - begin)
        for match in expression.pattern.finditer(text, begin, end):
            is_cut_off = match.end() == end < len(text) and match.start() < end - overlap_chars
            yield match, is_cut_off
            if is_cut_off:
                return


def _pieces(expression: Expression, text: str) -> Iterator[Span]:
    length = expression.piece_chars
    begin, end = 0, length
    while end < len(text):
        yield begin, end
        begin, end = begin + length - length // 2, end + length - length // 2
    yield begin, len(text)


LEVELS_MAX = 6
"""Of quoting that are looked through: JSON in JSON in JSON."""

ESCAPES_AT_ONCE = 64
"""Escapes that are resolved between two times that ``spend`` is told. One takes as long as a search of so many
characters: what is told is that many for each."""

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

    def __init__(self, text: str, source: Reading | None = None, spend: Spend = no_limit) -> None:
        """Resolve one level of escapes.

        Args:
            text: The text.
            source: What that is a reading of, where it is one itself.
            spend: Is told of each :data:`ESCAPES_AT_ONCE`, and of those that are left at the end.
        """
        self._source = source
        pieces: list[str] = []
        self._places, self._origins = [0], [0]
        place = origin = untold = 0
        for match in _ESCAPE.finditer(text):
            untold += 1
            if untold == ESCAPES_AT_ONCE:
                spend(untold * ESCAPES_AT_ONCE)
                untold = 0
            character = _character(match)
            pieces += [text[origin : match.start()], character]
            place += match.start() - origin
            self._places += [place, place + len(character)]
            self._origins += [match.start(), match.end()]
            place, origin = place + len(character), match.end()
        spend(untold * ESCAPES_AT_ONCE)
        self.text = "".join([*pieces, text[origin:]])

    def original(self, span: Span) -> Span:
        """The place in the text as it was."""
        span = self._origin(span[0]), self._origin(span[1])
        return span if self._source is None else self._source.original(span)

    def _origin(self, place: int) -> int:
        index = bisect_right(self._places, place) - 1
        return self._origins[index] + place - self._places[index]


def readings(text: str, spend: Spend = no_limit) -> list[Reading]:
    """A text with one level of its escapes resolved, with two, and so on, as long as there are any."""
    found: list[Reading] = []
    while "\\" in text and len(found) < LEVELS_MAX:
        spend(len(text))
        found.append(Reading(text, found[-1] if found else None, spend))
        if found[-1].text == text:
            found.pop()
            break
        text = found[-1].text
    return found


def merged(found: Iterable[tuple[Span, bool]]) -> list[tuple[Span, bool]]:
    """Places in order; places that overlap become one, which is to be masked if one of them is.

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
