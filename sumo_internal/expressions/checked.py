"""Which of the users' expressions are taken.

Python's ``re`` cannot be interrupted, and a function must not hang in a line that it logs. So an expression is looked
at and tried before it is used:

* One that has a repeat with two ways through the same text takes exponential time (:mod:`.ambiguity`): refused.
* A remaining expression is tried on texts that are made from it, each longer than the one before: what each of its
  repeats takes, without what has to follow. The piece of a text that it sees at once (:attr:`Expression.piece_chars`)
  is as long as it can search in :data:`PIECE_MAX_S`, so an expression of quadratic time sees short pieces. An
  expression that needs more for the shortest piece is refused.

What is measured is this thread's CPU time: how busy the machine is does not matter.
"""

from __future__ import annotations

import json
import re
import warnings
from functools import lru_cache
from time import thread_time

from sumo_internal.expressions.ambiguity import (
    LEAVES,
    REPEATS,
    TooLargeError,
    alphabet,
    has_two_ways,
    is_repeated,
    nodes,
    parsed,
    taken,
)
from sumo_internal.expressions.search import PIECE_CHARS, PIECE_MIN_CHARS, Expression

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

PIECE_MAX_S = 0.010
"""CPU time for one piece: what a record may need beyond its budget, which is checked between two pieces."""

REFUSED_S = 0.050
"""CPU time for the shortest piece, from which on an expression is refused. Quadratic time needs a tenth of it at most,
cubic time ten times as much: it does not matter how fast the machine is."""

_LENGTHS = (8, 12, 16, 20, 24, 28, 32, 64, 128, 256, 512, PIECE_MIN_CHARS, 2048, 4096, PIECE_CHARS)
"""Of the texts that an expression is tried on; in small steps where each may take ten times as long as the last."""

_TEXTS_MAX = 24

_TELLING_CHARS, _SLOWEST_MAX = 128, 4
"""From this length on only so many texts are tried further: those that were the slowest so far."""

_TAIL = "\0 \n\0"
"""The end of each of those texts, which no repeat takes: ``re`` tries all ways only if the text does not match."""

_NOISE_S = 0.001
"""A shorter time tells nothing."""

_TWO_WAYS = (
    "has a repeat with more than one way through the same text, which can take for ever: let only one alternative fit "
    r'each character ((?:\\.|[^"\\])* and not (?:\\.|[^"])*, \w+ and not (?:\w+)+)'
)
_TOO_SLOW = (
    "takes too long for texts of a thousand characters: let what is repeated not match what follows it "
    r"([^=\n]*=[^;\n]*; and not .*=.*;)"
)


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


@lru_cache(maxsize=100)
def compiled(source: str) -> Expression:
    """The expression, if it can be used.

    Raises:
        ExpressionRefusedError: It does not compile, or may take too long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "[[" and the like, which may mean another set one day
            pattern = re.compile(source)
            tree = parsed(source)
            is_endless = has_two_ways(source)
    except re.error as error:
        raise ExpressionRefusedError(f"does not compile (at position {error.pos})") from None
    except (OverflowError, RecursionError):
        raise ExpressionRefusedError("does not compile (it is too large)") from None
    except TooLargeError:
        raise ExpressionRefusedError("repeats more than can be looked at") from None
    if is_endless:
        raise ExpressionRefusedError(_TWO_WAYS)
    return Expression(pattern, _piece_chars(pattern, tree), _has_repeated_group(tree, False))


def _has_repeated_group(node: Any, is_in_repeat: bool) -> bool:
    """Is a group repeated? Of a repeated group, ``re`` tells the last place only, and the secret is in all places."""
    if isinstance(node, tuple) and len(node) == 2:
        kind, content = node
        if str(kind) == "SUBPATTERN" and content[0] is not None:
            return is_in_repeat  # what is in a group is masked with it
        if kind in REPEATS:
            is_in_repeat = is_in_repeat or content[1] > 1
    node = getattr(node, "data", node)
    return isinstance(node, (tuple, list)) and any(_has_repeated_group(each, is_in_repeat) for each in node)


# Trying it.


def _piece_chars(pattern: re.Pattern[str], tree: Any) -> int:
    """How long a piece the expression may see.

    Raises:
        ExpressionRefusedError: None is short enough.
    """
    if not is_repeated(tree):
        return PIECE_CHARS  # no text is longer for it than another
    texts = _texts(tree)
    longest = 0
    for length, next_length in zip(_LENGTHS, (*_LENGTHS[1:], PIECE_CHARS), strict=True):
        times_s = {text: _took_s(pattern, text, length) for text in texts}
        took_s = max(times_s.values())
        if took_s > _NOISE_S and took_s * max(1, PIECE_MIN_CHARS / length) ** 2 > REFUSED_S:
            raise ExpressionRefusedError(_TOO_SLOW)
        longest = length
        if length >= PIECE_MIN_CHARS and took_s * (next_length / length) ** 2 > PIECE_MAX_S:
            break
        if length >= _TELLING_CHARS:
            texts = sorted(texts, key=lambda text: times_s[text])[-_SLOWEST_MAX:]
    return longest


def _took_s(pattern: re.Pattern[str], pump: tuple[str, str], length: int) -> float:
    before, repeated = pump
    text = (before + repeated * length)[: length - len(_TAIL)] + _TAIL
    times_s = []
    for _ in range(2):  # something else may come in between once
        begun_s = thread_time()
        for _match in pattern.finditer(text):
            pass
        times_s.append(thread_time() - begun_s)
        if times_s[-1] < _NOISE_S:
            break
    return min(times_s)


def _texts(tree: Any) -> list[tuple[str, str]]:
    """Beginnings, and what is repeated behind them: what is hard for the expression, and what is in any log."""
    characters = sorted(alphabet(tree), key=lambda each: (not each.isalnum(), each))
    found = list(_pumps(tree, "", characters))
    whole = _sample(tree, characters)
    first = found[0][0] if found else ""
    literals = dict.fromkeys(chr(content) for kind, content in nodes(tree) if str(kind) == "LITERAL")
    usual = [("", whole), ("", whole[:-1]), ("", "a"), ("", "1"), ("", " "), ('"', "\\a"), ("", '"\\')]
    texts = dict.fromkeys([*found, *usual, *((first, each) for each in literals)])
    return [(before, repeated) for before, repeated in texts if repeated][:_TEXTS_MAX]


def _pumps(parts: Iterable[tuple[Any, Any]], before: str, characters: list[str]) -> Iterator[tuple[str, str]]:
    """For each repeat a text that leads to it, and one that it takes."""
    for kind, content in parts:
        if kind in REPEATS:
            if content[0] != content[1]:
                yield before, _sample(content[2], characters)
            yield from _pumps(content[2], before, characters)
        elif str(kind) == "SUBPATTERN":
            yield from _pumps(content[3], before, characters)
        elif str(kind) == "BRANCH":
            for branch in content[1]:
                yield from _pumps(branch, before, characters)
        elif str(kind) in ("ASSERT", "ASSERT_NOT"):
            yield from _pumps(content[1], before, characters)
        elif str(kind) == "ATOMIC_GROUP":
            yield from _pumps(content, before, characters)
        before += _sample([(kind, content)], characters)


def _sample(parts: Iterable[tuple[Any, Any]], characters: list[str]) -> str:
    """A text that the parts take."""
    text = ""
    for kind, content in parts:
        if kind in LEAVES:
            takes = taken((kind, content), characters, ignores_case=False)
            text += next((each for each in characters if each in takes), "")
        elif kind in REPEATS:
            text += _sample(content[2], characters) * min(max(content[0], 1), PIECE_MIN_CHARS)
        elif str(kind) == "SUBPATTERN":
            text += _sample(content[3], characters)
        elif str(kind) == "BRANCH":
            text += _sample(content[1][0], characters)
        elif str(kind) == "ATOMIC_GROUP":
            text += _sample(content, characters)
    return text[:PIECE_MIN_CHARS]
