"""Values that are looked for in texts, all of them in one pass. Pure.

For the rules that hide what a masked key holds wherever else it is in a record. A few values are looked for one by one,
which Python does fastest. Many values, or values that are found all over a text, are put together into one automaton
(Aho and Corasick's). Its work is the length of the text and of the values, however many there are.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sumo_internal.expressions.search import Span, Spend

SHORT_CHARS = 4
"""A value shorter than this is hidden elsewhere only where it stands alone: else "1" would eat every text."""

FEW = 8
"""Values that are looked for one by one."""

PLACES_MAX = 50
"""Places of such values in one text, beyond which the automaton goes on: a value that overlaps itself is everywhere."""

_STEP_CHARS = 1_024
"""Characters after which the caller is told; the automaton takes about 0.2 ms for so many."""


class Values:
    """Values to be found in texts."""

    def __init__(self, values: Iterable[str], spend: Spend) -> None:
        """Look for values.

        Args:
            values: None is empty.
            spend: Is told of characters before they are looked at; may raise.
        """
        self._values = sorted(values)
        self._spend = spend
        self._automaton: _Automaton | None = None

    def __bool__(self) -> bool:
        return bool(self._values)

    def spans(self, text: str) -> list[Span]:
        """Where values are in a text."""
        if len(self._values) <= FEW and self._automaton is None:
            found: list[Span] = []
            for value in self._values:
                self._spend(len(text))
                for span in _occurrences(value, text):
                    found.append(span)
                    if len(found) > PLACES_MAX:
                        break
            if len(found) <= PLACES_MAX:
                return found
        if self._automaton is None:
            self._automaton = _Automaton(self._values, self._spend)
        return list(self._automaton.spans(text, self._spend))


def _occurrences(value: str, text: str) -> Iterator[Span]:
    begin = text.find(value)
    while begin >= 0:
        end = begin + len(value)
        if len(value) >= SHORT_CHARS or _stands_alone(text, begin, end):
            yield begin, end
        begin = text.find(value, begin + 1)


def _stands_alone(text: str, begin: int, end: int) -> bool:
    return not (text[max(0, begin - 1) : begin].isalnum() or text[end : end + 1].isalnum())


class _Automaton:
    """All values at once: for each beginning of one a state, and what it goes on with."""

    def __init__(self, values: Iterable[str], spend: Spend) -> None:
        self._next: dict[tuple[int, str], int] = {}
        self._fallback = [0]
        """The state of the longest beginning of a value that the state's text ends with, itself apart."""
        self._ends: list[tuple[int, ...]] = [()]
        """Lengths of values that end in a state: the longest, and all that have to stand alone."""
        layer = [(0, value) for value in values]
        self._beginning = _beginning([value for _, value in layer])
        length = 0
        while layer:  # all values by one character further: what is shorter is complete then
            spend(len(layer))
            length += 1
            grown = [(self._grown(state, value[length - 1]), value) for state, value in layer]
            for state, value in grown:
                if len(value) == length:
                    self._ends[state] = _telling({length, *self._ends[state]})
            layer = [(state, value) for state, value in grown if len(value) > length]

    def _grown(self, state: int, character: str) -> int:
        known = self._next.get((state, character))
        if known is not None:
            return known
        new = self._next[state, character] = len(self._ends)
        back = self._step(self._fallback[state], character) if state else 0
        self._fallback.append(back)
        self._ends.append(self._ends[back])
        return new

    def _step(self, state: int, character: str) -> int:
        """The state behind one more character."""
        while (found := self._next.get((state, character))) is None:
            if not state:
                return 0
            state = self._fallback[state]
        return found

    def spans(self, text: str, spend: Spend) -> Iterator[Span]:
        """Where values are in a text: of those that end at one place the longest."""
        spend(len(text))
        begin = self._beginning.search(text)
        while begin:
            state, place = 0, begin.start()
            while place < len(text):
                if place % _STEP_CHARS == 0:
                    spend(_STEP_CHARS)
                state = self._step(state, text[place])
                place += 1
                for length in self._ends[state]:
                    if length >= SHORT_CHARS or _stands_alone(text, place - length, place):
                        yield place - length, place
                if not state:
                    break
            begin = self._beginning.search(text, place)


def _beginning(values: list[str]) -> re.Pattern[str]:
    """What a value may begin with: most of a text need not be looked at by character."""
    length = min(len(value) for value in values)
    sets = ["".join(map(re.escape, sorted({value[place] for value in values}))) for place in range(min(length, 4))]
    return re.compile("".join(f"[{characters}]" for characters in sets), re.DOTALL)


def _telling(lengths: set[int]) -> tuple[int, ...]:
    """The longest of the lengths, and all of values that have to stand alone."""
    return tuple(sorted(length for length in lengths if length < SHORT_CHARS or length == max(lengths)))
