"""SUMO_SAMPLE: which lines go out, which wait for the end of their invocation, and which are dropped.

Lines that wait are held back in segments of their own (:mod:`sumo_internal.spool.held`): they go out if their
invocation fails, and are forgotten if it does not.
"""

from __future__ import annotations

import enum

from sumo_internal.capture.record_format import size_bytes
from sumo_internal.processing.cap import Cap
from sumo_internal.processing.rules import is_sampled
from sumo_internal.spool import counters
from sumo_internal.spool.held import Held
from sumo_internal.spool.segment import INFO, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.spool.writer import Spool


class _Fate(enum.Enum):
    """What becomes of lines below WARNING."""

    SENT = "they go out"
    STANDING = "they go out and stand for those of other invocations"
    HELD = "they wait for the end of the invocation"
    DROPPED = "the invocation has succeeded, nobody wants them"


class Sampling:
    """SUMO_SAMPLE: all lines of an invocation or none; those of one that fails, and of WARNING and above, go out.

    The invocations of a durable execution have one fate.
    """

    def __init__(self, spool: Spool, rate: float, max_mb_per_hour: float = 0.0, *, is_enhanced: bool) -> None:
        """Sample what goes into a spool.

        Args:
            spool: Where lines go.
            rate: The share of the invocations whose lines go out, 0 to 1.
            max_mb_per_hour: Of what goes out below WARNING; 0 for all.
            is_enhanced: Lines may have keys of ours.
        """
        self._spool = spool
        self._max_mb_per_hour = max_mb_per_hour
        self._rate = rate
        self._rate_text = f',"sampleRate":{rate:g}' if is_enhanced else ""
        self.begin_again()

    def begin_again(self) -> None:
        """Begin, at the start and in a copy of the process: what is held back has the ids of the spool's writer."""
        spool = self._spool
        self._append = Cap(spool, self._max_mb_per_hour).append if self._max_mb_per_hour else spool.append
        self._held = Held(spool)
        self._fate = _Fate.SENT

    @property
    def has_held(self) -> bool:
        """Is anything held back now?"""
        return self._held.has_any

    @property
    def held_lines(self) -> int:
        """Lines that have had to wait for the end of their invocation, since the process began."""
        return self._held.lines

    def begin(self, request_id: str | None, execution_arn: str | None = None) -> None:
        """An invocation begins; None: the init phase, whose lines all go out.

        Args:
            request_id: The invocation's.
            execution_arn: The durable execution that it is a part of: all its parts have the same fate.
        """
        if request_id is None or self._rate >= 1:
            self._fate = _Fate.SENT
        else:
            self._fate = _Fate.STANDING if is_sampled(execution_arn or request_id, self._rate) else _Fate.HELD

    def fail(self) -> None:
        """The invocation fails."""
        if self._fate is _Fate.HELD:
            self._held.release()
        self._fate = _Fate.SENT

    def end(self) -> None:
        """The invocation has ended."""
        if self._fate is _Fate.HELD:
            self._fate = _Fate.DROPPED
            self._held.forget()

    def append(self, start: str, level: int = INFO) -> int:
        """Like :meth:`Spool.append`; for lines that go out later, or never, which is not 0 either."""
        fate = self._fate
        if level >= WARNING or fate is _Fate.SENT:
            return self._append(start, level)
        if fate is _Fate.STANDING:
            return self._append(start + self._rate_text, level)
        if fate is _Fate.HELD:
            return self._held.append(start, level)
        self._spool.count(counters.SAMPLED_OUT, 1, size_bytes(start))
        return 1
