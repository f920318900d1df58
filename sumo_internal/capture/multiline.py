"""Lines that belong together: one JSON value, one value as ``pprint`` lays it out, one traceback. Pure.

Separate from :mod:`~sumo_internal.capture.lines`, which knows threads and pieces: this module only finds where a value
begins and where it ends, and what a traceback's text says. Any other text splits at each line end, because a listing, a
child's output or a table are as many records as they have lines.

A value begins with a line that opens more brackets than it closes, and goes on with lines that are indented or close
brackets, as ``json.dumps(…, indent=2)`` and ``pprint`` write them, until all brackets are closed. A traceback begins
with the line that says so, or the one before it, and goes on to the end of what was written with it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import takewhile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

TOGETHER_MAX_CHARS = 1_000_000
"""Bound on lines that wait for the end of their value; a longer value is as many records as it has lines."""

HEADING = "Traceback (most recent call last)"
ENDINGS = frozenset("{[(,'\"")
"""What the first line of a value of several lines ends with."""

_compiled = lru_cache(maxsize=None)(re.compile)
"""Of the four expressions below: a start does without them, and to compile them takes half a millisecond of it."""
_BEGINNING = r"\s*(?:[A-Za-z_][\w.]*)?[\[({]"
_TOKEN = r"""'[^'\\]*(?:\\.[^'\\]*)*(?:'|\\?\Z)|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\](){}]"""
"""A text in quotes, or a bracket. A text that does not end is taken to the end of its line: looked for again from each
further quote, it would take time by the square."""
_EXCEPTION = r"(?s)((?:(?:[^\W\d]\w*|<locals>)\.)*[^\W\d]\w*)(?:: (.*))?\Z"
"""The last lines of a traceback: the class's name and the message. A class may be a function's own."""
_GROUP = f"+ Exception Group {HEADING}"
"""How the traceback of an exception group begins; its lines have a bar in front. Those of its exceptions, with
their own tracebacks, are behind it."""
_RUNTIMES_INDENT = "\xa0"
_BOX_FRAME = r":\d+ in "
"""What rich has in the name of a frame."""


def prepare() -> None:
    """Compile all expressions now, for processes that will be forked."""
    for expression in (_BEGINNING, _TOKEN, _EXCEPTION, _BOX_FRAME):
        _compiled(expression)


def depth(line: str) -> int:
    """How many more brackets a line opens than it closes; those in strings do not count."""
    opened = 0
    for token in _compiled(_TOKEN).findall(line):
        if len(token) == 1:
            opened += 1 if token in "[({" else -1
    return opened


def begins_value(line: str) -> int:
    """How many brackets are open behind a line with which a value of several lines may begin; 0 where none does."""
    if line[-1:] not in ENDINGS or not _compiled(_BEGINNING).match(line):
        return 0
    return max(0, depth(line))


def goes_on(line: str) -> bool:
    """May a value of several lines go on with this line?"""
    return line[:1] in (" ", "\t", "}", "]", ")", '"')


class Waiting:
    """Lines that wait for the rest of what they are the beginning of."""

    __slots__ = ("lines", "opened", "size_chars")

    def __init__(self, lines: list[str], opened: int) -> None:
        self.lines = lines
        self.opened = opened
        """Brackets of a value that are open; 0 for a traceback, which ends with the line that is just being written."""
        self.size_chars = sum(map(len, lines))

    def given_up(self) -> list[list[str]]:
        """The records where the rest does not come: a traceback is one as it is, of a value each line is one."""
        return [[line] for line in self.lines] if self.opened else [self.lines]


def grouped(
    lines: list[str], waiting: Waiting | None = None, *, is_ended: bool = True
) -> tuple[list[list[str]], Waiting | None]:
    """Put lines that were written at once into groups, each of which is a record.

    Args:
        lines: The lines.
        waiting: Lines that were written before them and wait.
        is_ended: The last line ends what was written; else another line is begun behind it.

    Returns:
        The groups, and what still waits.
    """
    groups: list[list[str]] = []
    for number, line in enumerate(lines):
        if waiting is not None and waiting.opened == 0:
            groups.append([*waiting.lines, line])
            waiting = None
            continue
        if waiting is not None:
            if goes_on(line) and waiting.size_chars < TOGETHER_MAX_CHARS:
                waiting.lines.append(line)
                waiting.size_chars += len(line)
                waiting.opened += depth(line)
                if waiting.opened > 0:
                    continue
                groups += [waiting.lines] if waiting.opened == 0 else [[each] for each in waiting.lines]
                waiting = None
                continue
            groups += waiting.given_up()
            waiting = None
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if HEADING in line or (HEADING in following and line and not line.isspace()):
            if is_ended:
                groups.append(lines[number:])
                return groups, None
            return groups, Waiting(lines[number:], 0)
        opened = begins_value(line)
        if opened:
            waiting = Waiting([line], opened)
        else:
            groups.append([line])
    return groups, waiting


def traceback_keys(text: str) -> tuple[str, str, list[str]] | None:
    """The type, the message and the frames of the last traceback in a text; None where there is none."""
    begin = text.rfind(HEADING)
    if begin < 0:
        return None
    lines = text[begin:].split("\n")[1:]
    group = text.rfind(_GROUP)
    if group >= 0 and (begin < group + len(_GROUP) or "|" in text[text.rfind("\n", 0, begin) + 1 : begin]):
        lines = [line.lstrip() for line in text[group:].split("\n")[1:]]
        lines = [line[2:] for line in takewhile(lambda line: line.startswith("|"), lines)]
    if lines and lines[0][:1] == _RUNTIMES_INDENT:
        return _runtimes_keys(text[:begin], lines)
    frames: list[str] = []
    number = 0
    if lines and "│" in lines[0]:  # rich's, in a box; below it the exception stands
        while number < len(lines) and not lines[number].lstrip().startswith("╰"):
            frame = _box_frame(lines[number])
            if frame:
                frames.append(frame)
            number += 1
        number += 1
    else:
        while number < len(lines) and lines[number][:1] in (" ", "\t"):
            number += 1
        frames = _frames(lines[:number])
    said = _compiled(_EXCEPTION).match("\n".join(lines[number:]).rstrip())
    return (said[1].rpartition(".")[2], said[2] or "", frames) if said else None


def _box_frame(line: str) -> str:
    """The name of a frame, if that is what stands between a box's borders on this line. One expression for all of the
    line would take time by its cube."""
    line = line.strip()
    name = line[2:-1].rstrip()
    is_in_box = line[:2] == "│ " and line[-1:] == "│" and "│" not in name and not name[:1].isspace()
    return name if is_in_box and _compiled(_BOX_FRAME).search(name, 1) else ""


def _runtimes_keys(before: str, lines: list[str]) -> tuple[str, str, list[str]] | None:
    """The same of the runtime's own report, which has the exception first and its frames with other blanks."""
    said = _compiled(_EXCEPTION).match(before.partition("[ERROR] ")[2].rstrip())
    frames = _frames(line.replace(_RUNTIMES_INDENT, " ") for line in lines)
    return (said[1], said[2] or "", frames) if said else None


def _frames(lines: Iterable[str]) -> list[str]:
    """Lines by frame; each begins with the line that names its file."""
    frames: list[str] = []
    for line in lines:
        if line.lstrip().startswith('File "') or not frames:
            frames.append("")
        frames[-1] += f"{line}\n"
    return frames


def object_keys(content: Mapping[str, Any]) -> tuple[str, str, list[str]] | None:
    """The same for a printed object, from its key ``exception`` or ``exc_info``; None where neither tells."""
    for name in ("exception", "exc_info"):
        value = content.get(name)
        if isinstance(value, str):
            keys = traceback_keys(value)
            if keys:
                return keys
        elif isinstance(value, list) and value and isinstance(value[-1], dict):
            keys = _structured(value[-1])
            if keys:
                return keys
    return None


def _structured(error: Mapping[str, Any]) -> tuple[str, str, list[str]] | None:
    """The same from what structlog's ``dict_tracebacks`` makes of an exception."""
    kind, message, frames = error.get("exc_type"), error.get("exc_value"), error.get("frames")
    if not isinstance(kind, str):
        return None
    shown = [
        f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}\n'
        for frame in (frames if isinstance(frames, list) else ())
        if isinstance(frame, dict)
    ]
    return kind, message if isinstance(message, str) else "", shown
