"""Accounts: what is said, and recorded, of lines that were lost, retried or failed over.

Separate from the drainer, which counts what becomes of its own batches: an account has the counts of all processes of
the environment (:mod:`sumo_internal.spool.counters`). An account is itself a line of the spool, so there is a new one
only where something has happened since the one before it.
"""

from __future__ import annotations

import time

from sumo_internal import diagnostics
from sumo_internal.spool import counters
from sumo_internal.spool.folder import FolderRefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Counts = dict[str, tuple[int, int]]
    """Lines and bytes by reason, cumulative for the environment."""
    Counting = counters.Counters | counters.KeptCounts
    """Counts of this process's own, or that it keeps for another one."""

OTHERS_EVERY_S = 5.0
"""While a process's own counts stay as they are, it looks at those of others (children, the extension) no more often:
each look is a dozen system calls beside the function."""

_SAID_AT_ONCE = (counters.SPOOL_FULL, counters.DISK_FULL, counters.TOO_LONG)
"""Losses that only the accounts tell of; what is lost on the way to a destination the drainer says."""


class Accounts:
    """The accounts of one drainer's process, for the drainer's destination."""

    def __init__(
        self, folder: str, destination: str, counts: counters.Counters, record: Callable[[Counts], None]
    ) -> None:
        """Go on where the processes before this one have stopped.

        Args:
            folder: Path of the spool's folder.
            destination: Which lines' counts are looked at, as :func:`~sumo_internal.spool.envelope.destination_id` has
                it; empty for all.
            counts: The drainer's own.
            record: Puts a record with counts into the spool. May raise FolderRefusedError.
        """
        self._folder = folder
        self._destination = destination
        self._counts = counts
        self._record = record
        self._looked: tuple[list[Counts], bool] | None = None
        """This process's counts when all were last looked at, and whether they could be recorded."""
        self._looked_at_s = 0.0
        self._on_their_way = 0
        """Records of accounts that may not have arrived: 0 or 1."""
        self._said = {reason: lines for reason, (lines, _) in counters.reported(folder, destination).items()}

    def tell(self, *own_counters: Counting, is_recorded: bool, is_shutdown: bool = False) -> bool:
        """Say which lines have been lost meanwhile, and record all that was counted since that was last done.

        Args:
            own_counters: This process's other counters, and those that it keeps, for counts that have no file.
            is_recorded: Put a record into the spool. Not while nothing can be delivered: there would be one per drain.
            is_shutdown: This is the environment's end.

        Returns:
            Whether there is a new record to be drained.
        """
        if self._is_as_it_was(own_counters, is_recorded=is_recorded) and not is_shutdown:
            return False
        if self._counts.counts():
            self._counts.keep()
        counts = counters.totals(self._folder, self._counts, *own_counters, destination=self._destination)
        self._say_losses(counts)
        before = counters.reported(self._folder, self._destination)
        if counts == before:
            self._on_their_way = 0  # no count has changed, so nothing has happened to the last account
        has_news = counters.has_news(counts, before, accounts=self._on_their_way, is_shutdown=is_shutdown)
        return is_recorded and has_news and self._put(counts)

    def _is_as_it_was(self, own_counters: tuple[Counting, ...], *, is_recorded: bool) -> bool:
        """Has nothing happened in this process, and were the others looked at a moment ago? If not, they are now."""
        now_s = time.time()
        own = ([each.counts() for each in (self._counts, *own_counters)], is_recorded)
        if own == self._looked and 0 <= now_s - self._looked_at_s < OTHERS_EVERY_S:
            return True
        self._looked, self._looked_at_s = own, now_s
        return False

    def _say_losses(self, counts: Counts) -> None:
        for reason in _SAID_AT_ONCE:
            lines = counts.get(reason, (0, 0))[0]
            said = self._said.get(reason, 0)
            if lines > said:
                diagnostics.say("error", f"{lines - said} lines are lost: {counters.LOSSES[reason]}")
                self._said[reason] = lines

    def _put(self, counts: Counts) -> bool:
        """Put an account into the spool; returns whether it is there."""
        self._on_their_way = 1
        try:
            self._record(counts)
        except FolderRefusedError as error:  # the counts are in their files; what there is to send is sent all the same
            diagnostics.say_once("warn", f"the counts of lost and retried lines cannot be recorded: {error}")
            return False
        counters.set_reported(self._folder, counts, self._destination)
        return True
