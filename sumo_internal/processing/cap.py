"""SUMO_MAX_MB_PER_HOUR: what an environment may ship in an hour, WARNING and above apart.

A loop that logs costs money at Sumo Logic for as long as nobody looks. Bytes are counted where lines go out: what
SUMO_SAMPLE drops, or holds back, does not count.
"""

from __future__ import annotations

import time

from sumo_internal import diagnostics
from sumo_internal.capture.record_format import size_bytes
from sumo_internal.spool import counters
from sumo_internal.spool.segment import INFO, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.spool.writer import Spool

HOUR_S = 3_600.0


class Cap:
    """The bound for one spool."""

    def __init__(self, spool: Spool, max_mb: float) -> None:
        """Bound what goes into a spool.

        Args:
            spool: Where lines go.
            max_mb: Megabytes of records in an hour, which begins with its first line.
        """
        self._spool = spool
        self._max_mb = max_mb
        self._begun_s = 0.0
        self._left_bytes = 0.0
        self._is_said = False

    def append(self, start: str, level: int = INFO) -> int:
        """Like :meth:`Spool.append`, as long as there is room in this hour; then not 0 either."""
        now_s = time.time()
        if not 0 <= now_s - self._begun_s < HOUR_S:
            self._begun_s, self._left_bytes, self._is_said = now_s, self._max_mb * 1_000_000, False
        line_bytes = size_bytes(start)
        if level < WARNING and self._left_bytes < line_bytes:
            self._left_bytes = 0  # shorter lines do not slip through
            self._spool.count(counters.CAPPED, 1, line_bytes)
            if not self._is_said:
                self._is_said = True
                until = time.strftime("%H:%M:%S", time.gmtime(self._begun_s + HOUR_S))
                diagnostics.say(
                    "warn",
                    f"SUMO_MAX_MB_PER_HOUR: {self._max_mb:g} MB were logged; until {until} UTC only WARNING and above "
                    "are shipped",
                )
            return 1
        self._left_bytes -= line_bytes
        return self._spool.append(start, level)
