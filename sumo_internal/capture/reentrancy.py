"""Recording in the middle of anything: what a thread writes about, the end of its stack, errors that are not ours.

Separate from the streams and from the recorder, because both need it, and because every place that records on the
function's own thread has the same three questions: which record is this text of, is there room on the stack, and whose
is an error that comes out here.
"""

from __future__ import annotations

import logging
import sys
from threading import local

from sumo_internal import diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import LogRecord
    from typing import Any


class Current(local):
    """What the running thread is in the middle of; the class attributes are every thread's beginning."""

    nesting = 0
    """How many log records' values the thread is rendering, one within another."""


current = Current()

subjects: dict[int, LogRecord | list[str]] = {}
"""By thread, what it writes about: a log record, or an error that is being reported (then the report so far). A thread
that writes about nothing in particular has no entry: what is printed asks only whether there is any."""

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


FILTERS_REPLACE = sys.version_info >= (3, 12)
"""A filter may hand on another log record. Before, ``logging`` emitted its own, whatever ``filter`` returned."""

_own: Any = logging.Handler.handle
_EMIT_LINE = _own.__code__.co_firstlineno + (
    13 if sys.version_info < (3, 12) else 17 if sys.version_info < (3, 13) else 16
)
"""The line of ``self.emit(record)`` in the library's ``Handler.handle``."""


def stand_in(handle: Any, emit_line: int) -> None:
    """Have a function that is called in the place of ``logging.Handler.handle`` show in a stack as that does.

    Whoever looks at the stack while a record is emitted (Sentry, a formatter of the function's) finds the library's
    line. And logging leaves frames of its own file out, where it looks for the caller or reports an error of its own.

    Args:
        handle: The function.
        emit_line: Its ``self.emit(record)``, in lines from its ``def`` on.
    """
    handle.__code__ = handle.__code__.replace(
        co_filename=_own.__code__.co_filename, co_name="handle", co_firstlineno=_EMIT_LINE - emit_line
    )
