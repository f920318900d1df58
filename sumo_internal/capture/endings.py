"""How an invocation ends, as the runtime client tells it: which error, and which answer, is a failure.

Separate from what follows from it: lines that were held back go out (sampling), and the summary says it. It is loaded
where a setting asks for one of these. The runtime's thread makes all calls, before Lambda has the answer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SUCCESS, ERROR, PENDING = "success", "error", "pending"


class Endings:
    """The outcome of the invocation that runs, or has run last."""

    def __init__(self) -> None:
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

    def fail(self) -> None:
        """The invocation fails."""
        self.outcome = ERROR
        for tell in self.on_failure:
            tell()
