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
        self.on_failure: list[Callable[[], None]] = []
        """Called when an invocation fails."""

    def begin(self) -> None:
        """An invocation begins."""
        self.outcome = SUCCESS

    def fail(self) -> None:
        """The invocation fails."""
        self.outcome = ERROR
        for tell in self.on_failure:
            tell()
