"""A checked invocation: one that ``sumo-internal check`` has made, and whose lines' fate is said in the function's log.

Separate because hardly any invocation is one: the module is imported for the first, which has the mark in its client
context. What is said names the invocation, and is read from CloudWatch by the command; nothing else
tells, outside the environment, what became of the lines of a single invocation.
"""

from __future__ import annotations

from sumo_internal.spool import counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ACCEPTED, NOT_ACCEPTED, SILENT = "accepted", "not accepted", "no lines"
"""What may become of an invocation's lines; the last: it has written none."""

_OTHER_WAYS = (counters.FAILED_OVER, *counters.LOSSES)
"""What becomes of lines that the source has not accepted."""


class Check:
    """A checked invocation, from its beginning to the drain behind its end."""

    def __init__(self, request_id: str, appended: int, counts: Mapping[str, tuple[int, int]]) -> None:
        """Begin.

        Args:
            request_id: The invocation's.
            appended: Lines until then.
            counts: What had become of lines until then, by reason.
        """
        self._request_id = request_id
        self._before = appended
        self._counts = dict(counts)

    def verdict(self, appended: int, counts: Mapping[str, tuple[int, int]], problem: str, *, is_empty: bool) -> str:
        """What is to be said, once a drain behind the invocation's end is over.

        Args:
            appended: Lines until now.
            counts: As above, now.
            problem: What the source or the bucket has last complained of.
            is_empty: The drain has left nothing in the spool.
        """
        lines = appended - self._before
        ways = [reason for reason in _OTHER_WAYS if counts.get(reason, (0, 0)) != self._counts.get(reason, (0, 0))]
        if not is_empty or ways:
            fate = ", ".join(ways) or "they wait in the spool"
            return self._said(NOT_ACCEPTED, f"{fate}; {problem or 'no response'}")
        return (
            self._said(ACCEPTED, f"{lines} line{'s' * (lines != 1)}")
            if lines
            else self._said(SILENT, "the function has written none")
        )

    def _said(self, what: str, more: str) -> str:
        return f"check of {self._request_id}: {what} ({more})"
