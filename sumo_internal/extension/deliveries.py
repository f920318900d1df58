"""A delivery's events, each on its own: one that cannot be decoded costs none of the others. Pure.

The function decides what stands in its lines, and with the JSON log format they come as they are: an integer of more
digits than Python reads, objects nested deeper than its stack, bytes that are no UTF-8. ``json`` then refuses the whole
delivery, dozens of other events with it. So a delivery that it refuses is cut into its events, and an event that it
refuses into its values: such a value is then its own text.

Cutting looks at brackets, commas and strings only, in one pass and without recursion.
"""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
"""A string, or a bracket or comma. A string that does not end is taken to the end: looked for again from each further
quote, it would take time by the square."""


class NoListError(ValueError):
    """What was delivered is no list of events; its text says in a few words what is wrong."""


def read_events(body: bytes) -> list[object]:
    """The events of a delivery.

    Args:
        body: As Lambda sends it: a JSON list of objects.

    Raises:
        NoListError: It is none, and never will be.
    """
    text = body.decode("utf-8", "replace")
    try:
        events = json.loads(text)
    except (ValueError, RecursionError):
        return [_read(piece) for piece in _pieces(text, "[")]
    if not isinstance(events, list):
        raise NoListError("it is not a list of events")
    return events


def _read(text: str) -> object:
    """An event, or its members as far as they can be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    event: dict[str, object] = {}
    try:
        for member in _pieces(text, "{"):
            key = _TOKEN.match(member)
            if key is not None:
                value = member[key.end() :].lstrip().removeprefix(":").strip()
                event[str(_value(key[0]))] = _value(value)
    except NoListError:
        return text  # no object: no event either
    return event


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _pieces(text: str, opening: str) -> Iterator[str]:
    """The text between the outermost commas of a list or an object, piece by piece.

    Raises:
        NoListError: It does not begin with this bracket, or does not end.
    """
    text = text.strip()
    if text[:1] != opening:
        raise NoListError("it is not JSON")
    begin, depth = 1, 0
    for token in _TOKEN.finditer(text):
        kind = token[0]
        if kind in "[{":
            depth += 1
        elif kind in "]}":
            depth -= 1
        if depth == 0 or (depth == 1 and kind == ","):
            piece = text[begin : token.start()].strip()
            begin = token.end()
            if piece:
                yield piece
        if depth == 0:
            break
    if depth != 0 or begin != len(text):
        raise NoListError("it is not JSON")
