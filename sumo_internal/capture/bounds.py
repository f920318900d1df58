"""Bounds on what the function hands over: on the values of a log record's fields, before they are rendered. Pure.

Separate from the rendering, whose time and memory grow with what it is given: ten megabytes of bytes in ``extra=`` took
two seconds and 240 MB. Fields within the bound go through untouched, and cost only the check.
"""

from __future__ import annotations

import re

from sumo_internal import diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

VALUES_MAX_CHARS = 256 * 1024
"""Bound on all fields of a record together, roughly: as much as CloudWatch takes in one event. A byte counts as the
four characters that its text has."""

ITEM_CHARS = 6
"""What an item of a container counts at least: a number of four digits, and what stands between two."""

MANY = 100
"""Items from which on it pays to ask whether all are numbers, or all texts: 20,000 of them take 10 ms one by one."""

DEPTH_MAX = 20
"""Depth of containers in a value that is cut; a container that refers to itself has no other end."""

EVENT_END_BYTES = 16 * 1024
"""How much of the beginning and of the end of an invocation's event is looked at. A durable execution's ARN (1,024
characters) and token (2,048) need half of that if each character is an escape."""

MARK = "… cut: "
_CUT = f"{MARK}(\\d+) characters"

_BYTES = (bytes, bytearray, memoryview)
_LISTS = (list, tuple, set, frozenset)
_PLAIN = frozenset((int, float, bool, type(None)))
_LIBRARY = frozenset(("array", "builtins", "collections", "types"))
"""Modules whose other containers (``deque``, ``array``, the views of a dict) are cut as lists and dicts are. What other
people's containers are as text is their own matter, and mostly short."""
_CHARS_PER_BYTE = 4


def bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, or as much of them as may be rendered; a mark stands where something was cut."""
    try:
        return _Cut(VALUES_MAX_CHARS).mapping(fields, 0) if _exceeds(fields, VALUES_MAX_CHARS) else fields
    except BaseException as error:
        diagnostics.pass_on(error)
        return fields  # the function's own containers, whose values cannot be had, cannot be rendered either


def bounded_text(text: str) -> str:
    """A text, or its beginning."""
    return text if len(text) <= VALUES_MAX_CHARS else _Cut(VALUES_MAX_CHARS).text(text)


def cut_chars(details: str) -> int:
    """How many characters are cut from the fields that were rendered into a piece."""
    return sum(map(int, re.findall(_CUT, details)))


def _exceeds(value: Any, left_chars: int) -> bool:
    """Are there more characters and items in a value than this?"""
    waiting: list[Any] = [value]
    while waiting and left_chars >= 0:
        value = waiting.pop()
        if isinstance(value, str):
            left_chars -= len(value)
        elif isinstance(value, _BYTES):
            left_chars -= len(value) * _CHARS_PER_BYTE
        elif type(value) in _PLAIN:
            pass
        elif isinstance(value, dict) or _is_mapping(value):
            left_chars -= ITEM_CHARS * len(value)
            if left_chars >= 0:
                waiting += value.keys()
                waiting += value.values()
        elif isinstance(value, _LISTS) or _is_list(value):
            left_chars -= ITEM_CHARS * len(value)
            if len(value) > MANY and left_chars >= 0:
                left_chars -= _chars_of_plain(value, waiting)
            elif left_chars >= 0:
                waiting += value
        left_chars -= 1
    return left_chars < 0


def _is_list(value: object) -> bool:
    """Is this a container of the library's that JSON does not know?"""
    kind: Any = type(value)
    return kind.__module__ in _LIBRARY and hasattr(kind, "__len__") and hasattr(kind, "__iter__") and kind is not range


def _is_mapping(value: object) -> bool:
    return _is_list(value) and hasattr(type(value), "items")


def _chars_of_plain(items: Collection[object], waiting: list[object]) -> int:
    """Characters of a list's items, if they are numbers or texts only, each item one more; else they wait."""
    kinds = {*map(type, items)}
    if kinds <= _PLAIN:
        return len(items)
    if kinds == {str}:
        return len(items) + sum(map(len, items))  # type: ignore[arg-type]  # texts, all of them
    waiting += items
    return 0


class _Cut:
    """Makes a copy of a value that is within a bound."""

    def __init__(self, left_chars: int) -> None:
        self._left_chars = left_chars

    def value(self, value: Any, depth: int) -> object:
        self._left_chars -= 1
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, _BYTES):
            return self.binary(value)
        if type(value) in _PLAIN or not (isinstance(value, (dict, *_LISTS)) or _is_list(value)):
            return value
        if depth == DEPTH_MAX:
            return f"{MARK}{len(value)} items"
        is_mapping = isinstance(value, dict) or _is_mapping(value)
        return self.mapping(value, depth) if is_mapping else self.items(value, depth)

    def text(self, text: str) -> str:
        kept = max(0, self._left_chars)
        self._left_chars -= len(text)
        return text if self._left_chars >= 0 else f"{text[:kept]}{MARK}{len(text) - kept} characters"

    def binary(self, data: bytes | bytearray | memoryview) -> object:
        kept = max(0, self._left_chars // _CHARS_PER_BYTE)
        self._left_chars -= len(data) * _CHARS_PER_BYTE
        return data if self._left_chars >= 0 else f"{bytes(data[:kept])!r}{MARK}{len(data) - kept} characters"

    def mapping(self, mapping: dict[Any, Any], depth: int) -> dict[Any, Any]:
        kept: dict[Any, Any] = {}
        for name, value in mapping.items():
            self._left_chars -= ITEM_CHARS
            if self._left_chars <= 0:
                kept[MARK.strip()] = f"{MARK}{len(mapping) - len(kept)} items"
                break
            key = self.value(name, depth) if depth and isinstance(name, (str, *_BYTES)) else name
            kept[key] = self.value(value, depth + 1)
        return kept

    def items(self, items: Any, depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in items:
            self._left_chars -= ITEM_CHARS
            if self._left_chars <= 0:
                kept.append(f"{MARK}{len(items) - len(kept)} items")
                break
            kept.append(self.value(item, depth + 1))
        return kept
