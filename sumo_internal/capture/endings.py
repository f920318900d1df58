"""How an invocation ends, as the runtime client tells it: which error, and which answer, is a failure.

Separate from what follows from it: lines that were held back go out (sampling), and the summary says it. It is loaded
where a setting asks for one of these. The runtime's thread makes all calls, before Lambda has the answer.
"""

from __future__ import annotations

import json
import re
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STATUS_5XX = re.compile(r'"statusCode"\s*:\s*"?5\d\d\b')

SUCCESS, ERROR, PENDING = "success", "error", "pending"


class Endings:
    """The outcome of the invocation that runs, or has run last."""

    def __init__(self, *, slower_s: float = 0.0, is_5xx_failure: bool = False) -> None:
        """Know of no invocation yet.

        Args:
            slower_s: An invocation that takes longer is treated as one that fails; 0 for none.
            is_5xx_failure: So is one whose answer says so.
        """
        self._slower_s = slower_s
        self._is_5xx_failure = is_5xx_failure
        self._begun_s = 0.0
        self.outcome = SUCCESS
        self._is_durable = False
        self.on_failure: list[Callable[[], None]] = []
        """Called when an invocation fails."""

    def begin(self, *, is_durable: bool = False) -> None:
        """An invocation begins.

        Args:
            is_durable: It is a part of a durable execution.
        """
        self.outcome = SUCCESS
        self._is_durable = is_durable
        self._begun_s = monotonic()

    def answer(self, answer: object) -> None:
        """The invocation answers: one of a durable execution says what has become of that, and Lambda takes each for a
        success."""
        if self._is_durable:
            from sumo_internal.capture import durable

            status = durable.status_of(answer)
            if status == durable.FAILED:
                self.fail()
            elif status == durable.PENDING:
                self.outcome = PENDING
        if self._is_5xx_failure and self.outcome == SUCCESS and is_5xx(answer):
            self.fail()

    def end(self) -> None:
        """The invocation has ended; called before what is held back of it is forgotten."""
        if self._slower_s and self.outcome == SUCCESS and monotonic() - self._begun_s > self._slower_s:
            self.free()

    def free(self) -> None:
        """Have what is held back go out, whatever the outcome is."""
        for tell in self.on_failure:
            tell()

    def fail(self) -> None:
        """The invocation fails."""
        self.outcome = ERROR
        self.free()


def is_5xx(answer: object) -> bool:
    """Does an answer, as it goes to Lambda, say that it is a server's error? Only the object's own key counts."""
    if isinstance(answer, (bytes, bytearray)):
        answer = bytes(answer).decode("utf-8", "replace")
    if not isinstance(answer, str) or not _STATUS_5XX.search(answer):
        return False  # nearly always, without reading it
    try:
        status = json.loads(answer)["statusCode"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return str(status).isdecimal() and 500 <= int(status) <= 599
