"""Recording in the middle of anything: what a thread writes about, the end of its stack, errors that are not ours.

Separate from the streams and from the recorder, because both need it, and because every place that records on the
function's own thread has the same three questions: which record is this text of, is there room on the stack, and whose
is an error that comes out here.
"""

from __future__ import annotations

from threading import local

from sumo_internal import diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import LogRecord


class Current(local):
    """What the running thread is in the middle of; the class attributes are every thread's beginning."""

    subject: LogRecord | list[str] | None = None
    """What it writes about: a log record, an error that is being reported (then the report so far), or nothing in
    particular. One attribute for all of these, because to look one up takes a tenth of the time for a line."""
    nesting = 0
    """How many log records' values it is rendering."""


current = Current()

too_deep: dict[int, list[tuple[float, str, int, LogRecord | list[str] | None]]] = {}
"""By thread: texts (with time, stream and subject) that came at the end of the stack. A recursion without end that logs
finds room for its last write, but not for recording it. They are recorded when there is room again.

What recording needs is therefore asked for before it has an effect, and afterwards no call goes deeper than one before
it. (Not every call into C takes room, and which do differs from one Python to the next.)"""

is_recorded: list[Callable[[], bool]] = []
"""Is what this thread writes recorded already? At most one function that says so: every place that hears a text asks it
before the recorder is told. Empty until there are such texts (structlog's, with a processor of ours), so that otherwise
no line pays for the question."""

_ROOM_FRAMES = 25
"""More calls than lie one in the other between a stream and the file of the spool."""


def need_room(frames: int = _ROOM_FRAMES) -> None:
    """Find out whether there is room on the stack, before something that must not end half-way.

    Raises:
        RecursionError: There is not. Let it pass: the text is recorded later.
    """
    if frames:
        need_room(frames - 1)


def not_recorded(error: Exception) -> None:
    """Say that a text could not be recorded, or raise the error where it is a signal handler's.

    That one may raise at any instruction, and so in the middle of this package. Swallowed, it would let a function go
    on that has asked to be stopped. Whatever else is raised here is none of the function's, although its code may have
    raised it: a value that cannot be compared, an audit hook that refuses a call of ours.

    Raises:
        Exception: The error of a signal handler. Let it pass.
    """
    if diagnostics.is_of_signal(error):
        raise error
    diagnostics.failed("recording a line", error)
