"""SUMO_INVOCATION_SUMMARY: one record at each invocation's end, of what the invocation was and has logged.

Separate from the recorder, in front of whose spool it stands: a function without the setting pays nothing for it.
Records are counted on their way into the spool, whatever then becomes of them (``held`` says how many had to wait).
The summary itself takes no such way: no rule and no sampling can take it away.

Several threads count at the same time, and a signal handler may come in between. So a record only leaves a note, which
is one operation of a deque's; the notes are added up in between by whoever has the right to.

Where the process dies, another one writes the record (:func:`of_dead`), without what only the dead one knew.
"""

from __future__ import annotations

import resource
from _thread import allocate_lock
from collections import deque
from time import monotonic, time

from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.endings import PENDING, SUCCESS
from sumo_internal.spool.segment import ERROR, INFO, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.capture.endings import Endings
    from sumo_internal.spool.writer import Spool

    Append = Callable[[str, int], int]
    """:meth:`Spool.append`, or what stands in front of it."""

_NOTES_MAX = 1_000
"""Notes that are kept before they are added up."""
_TIME_START = '{"time":"'
_TIME = slice(len(_TIME_START), len(_TIME_START) + len("2026-11-21T08:22:03.123Z"))
"""Where a record has its time, unless it is without keys of ours."""


class Summary:
    """Counts an invocation's records, and says at the end how many there were."""

    def __init__(self, spool: Spool, pass_on: Append, endings: Endings, held: Callable[[], int]) -> None:
        """Stand in front of what takes records, with :meth:`append` in its place.

        Args:
            spool: Where the summary goes.
            pass_on: Where records go.
            endings: Knows how the invocation ends.
            held: How many records have had to wait for the end of their invocation, since the process began.
        """
        self._spool = spool
        self._pass = pass_on
        self._endings = endings
        self._held = held
        self._adding = allocate_lock()
        self.begin()

    def begin(self) -> None:
        """An invocation begins."""
        self._notes: deque[tuple[int, int]] = deque()
        self._lines: dict[int, int] = {}
        self._size_bytes = 0
        self._first = self._last = ""
        self._held_before = self._held()
        self._begun_s = monotonic()

    def append(self, start: str, level: int = INFO) -> int:
        """Like :meth:`Spool.append`."""
        self._last = start
        self._notes.append((level, record_format.size_bytes(start)))
        if not self._first:
            self._first = start
        if len(self._notes) > _NOTES_MAX:
            self._add_up()
        return self._pass(start, level)

    def _add_up(self) -> None:
        if not self._adding.acquire(blocking=False):
            return  # another thread does; its notes and ours are the same
        try:
            while self._notes:
                level, size_bytes = self._notes.popleft()
                self._lines[level] = self._lines.get(level, 0) + 1
                self._size_bytes += size_bytes
        finally:
            self._adding.release()

    def end(self, context: str) -> None:
        """The invocation has ended: write the record.

        Args:
            context: What all its records share, as a piece.
        """
        duration_ms = round((monotonic() - self._begun_s) * 1000, 2)
        self._add_up()
        levels: dict[str, int] = {}
        for number, lines in sorted(self._lines.items()):
            name = log_records.level_of(number)
            levels[name] = levels.get(name, 0) + lines
        outcome = self._endings.outcome
        fields: dict[str, object] = {
            "durationMs": duration_ms,
            "lines": levels,
            "bytes": self._size_bytes,
            "held": self._held() - self._held_before,
            "errors": sum(lines for number, lines in self._lines.items() if number >= ERROR),
            "maxMemoryMB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        if self._first.startswith(_TIME_START):
            fields.update(firstTime=self._first[_TIME], lastTime=self._last[_TIME])
        start = _start(outcome, context, fields)
        self._spool.append(start, INFO if outcome in (SUCCESS, PENDING) else WARNING)
        self._first = self._last = ""


def of_dead(context: str, *, is_timeout: bool) -> str:
    """The record of an invocation in which the function's process has died, up to its closing brace.

    Args:
        context: What all records of the process shared, as a piece.
        is_timeout: Lambda has ended the process because of the function's timeout.
    """
    return _start("timeout" if is_timeout else "killed", context, {})


def _start(outcome: str, context: str, fields: dict[str, object]) -> str:
    known = {"outcome": outcome, "coldStart": '"IsColdStart":true' in context, **fields}
    keys = record_format.piece(known.items())
    return f'{{"time":"{record_format.time_text(time())}","type":"sumo.invocation"{keys}{context}'
