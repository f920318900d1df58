"""Recording in the middle of anything: what a thread writes about, the end of its stack, errors that are not ours, and
what its stack shows.

Separate from the streams and from the recorder, because both need it, and because every place that records on the
function's own thread has the same four questions: which record is this text of, is there room on the stack, whose is an
error that comes out here, and what finds who looks at the stack meanwhile. One module, because each costs a start.
"""

from __future__ import annotations

import logging
import sys
from _thread import get_ident
from functools import update_wrapper
from sys import modules
from threading import local

from sumo_internal import diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from logging import LogRecord
    from typing import Any


class Current(local):
    """What the running thread is in the middle of; the class attributes are every thread's beginning."""

    nesting = 0
    """How many log records' values the thread is rendering, one within another."""


current = Current()

subjects: dict[int, LogRecord | list[str]] = {}
"""By :func:`strand`, what it writes about: a log record, or an error that is being reported (then the report so far).
One that writes about nothing in particular has no entry: what is printed asks only whether there is any."""


def strand() -> int:
    """What is writing: a thread; where the function has greenlets (gevent), the one that its thread is in just now.

    A greenlet may give way to another in the middle of a handler that writes to a socket.
    """
    if "greenlet" in modules:
        try:
            return id(modules["greenlet"].getcurrent())
        except Exception as error:  # another module of that name, or one that is just being loaded
            diagnostics.pass_on(error)
    return get_ident()


too_deep: dict[int, list[tuple[float, str, int, LogRecord | list[str] | None]]] = {}
"""By thread: texts (with time, stream and subject) that came at the end of the stack. A recursion without end that logs
finds room for its last write, but not for recording it. Such texts are recorded when there is room again.

Recording therefore asks for the room that it needs before it has an effect, and afterwards no call goes deeper than one
before it. (Not every call into C takes room, and which do differs from one Python to the next.)"""

SPARED = 2
"""What :data:`is_recorded` says of a text that is recorded and need not go to CloudWatch (SUMO_CLOUDWATCH)."""

is_recorded: list[Callable[[], int]] = []
"""At most one function, which says whether what this thread writes is recorded already: 0, 1 or :data:`SPARED`. Every
place that hears a text calls it before it tells the recorder. The list is empty until there are such texts
(structlog's, with a processor of ours), so that otherwise no line pays for the question."""

_ROOM_FRAMES = 25
"""More frames than the calls take, one in the other, from a stream to the spool's file."""


def need_room(frames: int = _ROOM_FRAMES) -> None:
    """Find out whether there is room on the stack, before something that must not end half-way.

    Raises:
        RecursionError: There is no room. Let it pass: the text is recorded later.
    """
    if frames:
        need_room(frames - 1)


def not_recorded(error: Exception) -> None:
    """Say that a text could not be recorded, or raise the error where it is a signal handler's.

    A signal handler may raise at any instruction, and so in the middle of this package. If its error were swallowed, a
    function would go on that has asked to be stopped. Any other error that is raised here is not meant for the
    function, although the function's code may have raised it: a value that cannot be compared, an audit hook that
    refuses a call of ours.

    Raises:
        Exception: The error of a signal handler. Let it pass.
    """
    diagnostics.pass_on(error)
    diagnostics.failed("recording a line", error)


OWN_HANDLE: Any = logging.Handler.handle
"""The library's own, also when another has taken its place."""
FILTERS_REPLACE = sys.version_info >= (3, 12)
"""A filter may hand on another log record. Before, ``logging`` emitted its own, whatever ``filter`` returned."""
EMIT_LINE = 13 if sys.version_info < (3, 12) else 17 if sys.version_info < (3, 13) else 16
"""``self.emit(record)`` in the library's ``Handler.handle``, in lines from its ``def`` on."""
FILTER_LINE = EMIT_LINE - (4 if sys.version_info < (3, 12) else 6 if sys.version_info < (3, 13) else 5)
"""``rv = self.filter(record)``, likewise."""


def as_handle(function: Any, filter_line: int, emit_line: int) -> None:
    """Have a function show as the library's ``Handler.handle``, see :func:`stand_in`.

    Args:
        function: From Python 3.13 on it takes the lock four lines before it emits.
        filter_line: Its call of ``filter``, in lines from its ``def`` on.
        emit_line: Its call of ``emit``.
    """
    lines = {filter_line: FILTER_LINE, emit_line: EMIT_LINE}
    if sys.version_info >= (3, 13):
        lines[emit_line - 4] = EMIT_LINE - 1
    stand_in(function, OWN_HANDLE, lines)


def stand_in(function: Any, own: Any, lines: Mapping[int, int]) -> None:
    """Have a function that is called in the place of one of ``logging``'s show in a stack as that does.

    Whoever looks at the stack while a record is made or emitted (Sentry, a formatter of the function's), or prints the
    traceback of an error, finds the library's line. And logging leaves frames of its own file out, where it looks for
    the caller or reports an error of its own. An error that names the function, of a wrong argument, names the
    library's.

    Args:
        function: It takes the library's place.
        own: The library's.
        lines: Which line of the library's each line shows as, both counted from their ``def`` on. All others show as
            the library's ``def``.
    """
    code, ours = own.__code__, function.__code__
    begin = code.co_firstlineno
    shown = {ours.co_firstlineno + line: begin + own_line for line, own_line in lines.items()}
    runs: list[tuple[int, int]] = []
    for start, end, line in ours.co_lines():
        size_bytes, number = end - start, shown.get(line, begin)
        if runs and runs[-1][1] == number:
            size_bytes += runs.pop()[0]
        runs.append((size_bytes, number))
    names = {"co_filename": code.co_filename, "co_name": code.co_name, "co_firstlineno": begin}
    if sys.version_info >= (3, 11):
        names["co_qualname"] = code.co_qualname
        places: dict[int, tuple[int, int, int]] = {}
        wanted = {*shown.values()}
        for line, end_line, column, end_column in code.co_positions():
            if line in wanted and column is not None:
                place = end_line - line, end_column, column
                places[line] = max(place, places.get(line, place))  # a whole statement, which is a call in all of these
        table = _line_table(runs, begin, places)
    else:
        table = _old_line_table(runs, begin)
    function.__code__ = ours.replace(co_linetable=table, **names)
    update_wrapper(function, own)


def _line_table(runs: Iterable[tuple[int, int]], line: int, places: Mapping[int, tuple[int, int, int]]) -> bytes:
    """Lines of code with their columns, as CPython's ``Objects/locations.md`` has it.

    Args:
        runs: Size in bytes and line of each piece of the code.
        line: The first line of the function.
        places: By line: how many lines further a statement ends, the column behind its end, its first column.
    """
    table = b""
    for size_bytes, number in runs:
        kind, place = 13, b""  # a line without columns
        if number in places:
            more_lines, end_column, column = places[number]
            kind, place = 14, _number(more_lines) + _number(column + 1) + _number(end_column + 1)
        delta, line = number - line, number
        signed = _number(-delta << 1 | 1 if delta < 0 else delta << 1)
        units = size_bytes // 2
        first = min(units, 8)  # of an entry
        full, rest = divmod(units - first, 8)
        table += bytes((0x80 | kind << 3 | first - 1,)) + signed + place
        table += (bytes((0x80 | kind << 3 | 7, 0)) + place) * full
        table += bytes((0x80 | kind << 3 | rest - 1, 0)) + place if rest else b""
    return table


def _number(value: int) -> bytes:
    """A number in pieces of six bits, the lowest first."""
    pieces = b""
    while value >= 64:
        pieces += bytes((0x40 | value & 0x3F,))
        value >>= 6
    return pieces + bytes((value,))


def _old_line_table(runs: Iterable[tuple[int, int]], line: int) -> bytes:
    """The same for Python 3.10, which has no columns: ``Objects/lnotab_notes.txt``. The function has few lines."""
    table = bytearray()
    for size_bytes, number in runs:
        delta, line = number - line, number
        while size_bytes > 254:
            table += bytes((254, delta & 0xFF))
            size_bytes, delta = size_bytes - 254, 0
        table += bytes((size_bytes, delta & 0xFF))
    return bytes(table)


def last_line(function: Any) -> int:
    """A function's last statement, in lines from its ``def`` on."""
    code = function.__code__
    last: int = max(line for *_, line in code.co_lines() if line is not None)
    return last - int(code.co_firstlineno)


def stand_in_for_log(function: Any, own: Any) -> None:
    """The same for ``Logger._log``: a function that ends as the library's does.

    Args:
        function: Its last part is the library's, a line for each statement.
        own: The library's, which has its call of ``makeRecord`` on two lines.
    """
    last, own_last = last_line(function), last_line(own)
    stand_in(function, own, {last: own_last, last - 1: own_last - 2, last - 11: own_last - 12})
