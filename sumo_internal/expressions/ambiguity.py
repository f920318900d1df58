"""Can an expression match one text in so many ways that to try them all takes for ever? Pure.

Python's ``re`` tries one way after the other. Where a repeat has two ways through the same text, ``(?:a|a)*``,
``(a+)+``, each further character doubles them. That is seen in the expression: its *places* (each literal and set of
characters) are the states of an automaton, and two different paths that leave one place and meet again, reading the
same characters, are two ways. Only paths within a repeat count, because only these can be gone again and again.

The answer is on the safe side: a part that looks around, refers back or repeats a few times is taken for a simpler part
that has no fewer ways. Possessive repeats and atomic groups are never tried again.
"""

from __future__ import annotations

import re
import sys

if sys.version_info >= (3, 11):
    from re import _constants, _parser  # type: ignore[attr-defined]  # the same module under its newer name
else:
    import sre_constants as _constants
    import sre_parse as _parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

LOOP_REPEATS = 8
"""A repeat that may take so many turns counts as one without end: ``(?:a{1,31}){1,31}`` runs as long as ``(?:a+)+``."""

PLACES_MAX = 200
"""Of places within one repeat; two paths are looked for in pairs of places."""

_POSSESSIVE = getattr(_constants, "POSSESSIVE_REPEAT", None)
REPEATS = tuple(filter(None, (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _POSSESSIVE)))
"""How a repeat is called in a parsed expression; possessive ones are Python 3.11's."""
_ATOMIC = getattr(_constants, "ATOMIC_GROUP", None)

_SAMPLES = "aZ09_ \n\t-.,;:=@/\\\"'{}é☃"
"""Characters that stand for many: of each category and of none."""


class TooLargeError(Exception):
    """A repeat has more places than are looked at."""


def parsed(source: str) -> Any:
    """The expression as Python's own parser sees it."""
    return _parser.parse(source)


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """All parts of a parsed expression, each before what is in it."""
    tree = tree.data if isinstance(tree, _parser.SubPattern) else tree
    if isinstance(tree, tuple) and len(tree) == 2 and isinstance(tree[0], type(_constants.LITERAL)):
        yield tree
    if isinstance(tree, (tuple, list)):
        for each in tree:
            yield from nodes(each)


def is_repeated(tree: Any) -> bool:
    """Is there a repeat whose number is open?"""
    return any(kind in REPEATS and content[0] != content[1] for kind, content in nodes(tree))


def has_two_ways(source: str) -> bool:
    """Is there a repeat with two ways through the same text?

    Raises:
        TooLargeError: That cannot be told.
    """
    tree = parsed(source)
    return _Automaton(tree, alphabet(tree)).has_two_ways()


def alphabet(tree: Any) -> str:
    """Characters that tell the expression's sets apart."""
    found = set(_SAMPLES)
    for kind, content in nodes(tree):
        codes = [content] if kind in (_constants.LITERAL, _constants.NOT_LITERAL) else []
        codes += content if kind is _constants.RANGE else []
        found.update(character for code in codes for character in (chr(code), chr(code).swapcase()[:1]))
    return "".join(sorted(found))


def taken(leaf: tuple[Any, Any], characters: Iterable[str], *, ignores_case: bool = True) -> frozenset[str]:
    """Which of the characters a literal or a set takes."""
    return frozenset(
        each
        for each in characters
        if any(_takes(leaf, form) for form in ({each, each.swapcase()[:1]} if ignores_case else {each}))
    )


def _takes(leaf: tuple[Any, Any], character: str) -> bool:
    kind, content = leaf
    if kind is _constants.LITERAL or kind is _constants.NOT_LITERAL:
        return (chr(content) == character) is (kind is _constants.LITERAL)
    if kind is _constants.RANGE:
        return chr(content[0]) <= character <= chr(content[1])
    if kind is _constants.CATEGORY:
        name = str(content)
        is_in = (
            character.isdigit()
            if "DIGIT" in name
            else character.isspace()
            if "SPACE" in name
            else character.isalnum() or character == "_"
        )
        return is_in is ("NOT" not in name)
    if kind is _constants.IN:
        is_negated = content[0] == (_constants.NEGATE, None)
        return any(_takes(each, character) for each in content[is_negated:]) is not is_negated
    return True


LEAVES = (_constants.ANY, _constants.LITERAL, _constants.NOT_LITERAL, _constants.IN)


class _Automaton:
    """An expression as places and what may follow each (Glushkov's construction)."""

    def __init__(self, tree: Any, characters: str) -> None:
        self._characters = characters
        self._ignores_case = bool(tree.state.flags & re.IGNORECASE) or "(?i" in tree.state.str
        self._labels: list[frozenset[str]] = []
        self._loops: list[int] = []
        """The outermost repeat that each place is in; 0 is none."""
        self._follow: list[set[int]] = []
        self._loop = self._loops_count = 0
        self._has_loop_twice = False
        self._looped: set[tuple[int, int]] = set()
        self._sequence(tree)

    def has_two_ways(self) -> bool:
        """Do two paths leave one place, and meet again?"""
        if self._has_loop_twice:
            return True
        seen: set[tuple[int, int]] = set()
        for place in range(len(self._labels)):
            seen.update(self._pairs(place, place))
        waiting = list(seen)
        while waiting:
            left, right = waiting.pop()
            # Together again, having come by different places.
            if any(self._loops[both] == self._loops[left] != 0 for both in self._follow[left] & self._follow[right]):
                return True
            new = set(self._pairs(left, right)) - seen
            seen |= new
            waiting += new
        return False

    def _pairs(self, left: int, right: int) -> Iterator[tuple[int, int]]:
        """Pairs of different places that the same character leads to, from these two."""
        loop = self._loops[left]
        if loop:
            for one in self._follow[left]:
                for other in self._follow[right]:
                    if one < other and self._loops[one] == self._loops[other] == loop:
                        if self._labels[one] & self._labels[other]:
                            yield one, other
                    elif other < one and self._loops[one] == self._loops[other] == loop:
                        if self._labels[one] & self._labels[other]:
                            yield other, one

    # How it is made. Each part has the places that it may begin and end with, and whether it may be empty.

    def _sequence(self, parts: Iterable[tuple[Any, Any]]) -> tuple[set[int], set[int], bool]:
        first: set[int] = set()
        last: set[int] = set()
        is_empty = True
        for part in parts:
            begins, ends, may_be_empty = self._part(*part)
            self._join(last, begins)
            first |= begins if is_empty else set()
            last = ends | last if may_be_empty else ends
            is_empty &= may_be_empty
        return first, last, is_empty

    def _join(self, ends: set[int], begins: set[int]) -> None:
        for place in ends:
            self._follow[place] |= begins

    def _part(self, kind: Any, content: Any) -> tuple[set[int], set[int], bool]:
        if kind in LEAVES:
            return self._leaf(kind, content)
        if kind is _constants.BRANCH:
            return self._branch(content[1])
        if kind is _constants.SUBPATTERN:
            return self._sequence(content[3])
        if kind is _ATOMIC:
            return self._sequence(content)
        if kind in REPEATS:
            return self._repeat(kind, *content)
        if kind in (_constants.ASSERT, _constants.ASSERT_NOT):
            self._apart(content[1])
        elif kind is _constants.GROUPREF_EXISTS:
            return self._part(_constants.BRANCH, (None, [each for each in content[1:] if each is not None] + [[]]))
        elif kind is _constants.GROUPREF:
            return self._leaf(_constants.ANY, None)
        return set(), set(), True

    def _branch(self, branches: Iterable[Any]) -> tuple[set[int], set[int], bool]:
        found = [self._sequence(branch) for branch in branches]
        first = set[int]().union(*(begins for begins, _, _ in found))
        last = set[int]().union(*(ends for _, ends, _ in found))
        empty_ones = sum(may_be_empty for _, _, may_be_empty in found)
        self._has_loop_twice |= self._loop != 0 and empty_ones > 1  # (?:a|a)*, with what both have taken out
        return first, last, empty_ones > 0

    def _leaf(self, kind: Any, content: Any) -> tuple[set[int], set[int], bool]:
        place = len(self._labels)
        self._labels.append(taken((kind, content), self._characters, ignores_case=self._ignores_case))
        self._loops.append(self._loop)
        self._follow.append(set())
        if self._loop and self._loops.count(self._loop) > PLACES_MAX:
            raise TooLargeError
        return {place}, {place}, False

    def _apart(self, tree: Any) -> None:
        """What looks around is a search of its own."""
        outer, self._loop = self._loop, 0
        self._sequence(tree)
        self._loop = outer

    def _repeat(self, kind: Any, least: int, most: int, body: Any) -> tuple[set[int], set[int], bool]:
        shortest, longest = body.getwidth()
        is_fixed = (
            least == most and shortest == longest and not any(inner is _constants.BRANCH for inner, _ in nodes(body))
        )
        if kind is _POSSESSIVE or (is_fixed and most > 1):
            return self._copies(body, min(least, 2), min(most, 2))
        if most < LOOP_REPEATS:
            return self._copies(body, min(least, 3), min(most, 3))
        return self._looped_body(body, least, most)

    def _copies(self, body: Any, least: int, most: int) -> tuple[set[int], set[int], bool]:
        first: set[int] = set()
        last: set[int] = set()
        before: set[int] = set()
        may_be_empty = least == 0
        for number in range(1, most + 1):
            begins, ends, is_empty = self._sequence(body)
            self._join(before, begins)
            first = first if number > 1 else begins
            may_be_empty |= is_empty
            last |= ends if number >= least or is_empty else set()
            before = ends
        return first, last, may_be_empty

    def _looped_body(self, body: Any, least: int, most: int) -> tuple[set[int], set[int], bool]:
        is_outermost = self._loop == 0
        if is_outermost:
            self._loops_count += 1
            self._loop = self._loops_count
        first, last, is_empty = self._sequence(body)
        if is_outermost:
            self._loop = 0
        edges = {(end, begin) for end in last for begin in first}
        # Once more round by the inner repeat, or by the outer one: two ways already.
        self._has_loop_twice |= bool(edges & self._looped)
        # And so many times, each with something in it or with nothing: (?:a?){40}.
        self._has_loop_twice |= is_empty and (least > 1 or most < _constants.MAXREPEAT)
        self._looped |= edges
        self._join(last, first)
        return first, last, is_empty or least == 0
