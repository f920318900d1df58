"""The Runtime API of a managed instance: several clients ask for Next at a time, and each gets a request of its own.

Separate from the API of one runtime, which knows one invocation and refuses what does not belong to it.

Rules, from AWS's own server in the Runtime Interface Emulator:

* The environment is ready with the first client's Next.
* A request goes to a client that waits. Where none does, AWS's refuses it; here it waits, so that a test need not ask
  again.
* A request whose client dies has no answer, and ends by the clock. So does one whose client takes too long; that client
  goes on, and its late answer is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from model.monitor import Monitor
from model.runtime_api import RuntimeApi, Work, refusal
from model.web import Request, Response


class WorkersApi(RuntimeApi):
    """The workers' states, and the answers to their requests."""

    def __init__(self, monitor: Monitor, on_first_next: Callable[[], None]) -> None:
        super().__init__(monitor, on_first_next)
        self._offered: list[Work] = []
        self._served: dict[str, Work] = {}
        self.idle = 0
        """Clients that wait for a request."""

    def begin(self, work: Work) -> None:
        """Let the Next of a client return this request."""
        with self._monitor.condition:
            self._offered.append(work)
            self._monitor.condition.notify_all()

    def end(self, work: Work) -> None:
        """Take no answer to this request any more."""
        with self._monitor.condition:
            self._served.pop(work.request_id, None)

    def _next(self) -> Response | None:
        with self._monitor.condition:
            if self.first_next_s is None:
                self.first_next_s = time.monotonic()
                self._on_first_next()
            self.is_ready = True
            self.idle += 1
            self._monitor.note("next", "runtime")
            self._monitor.condition.wait_for(lambda: self._offered or self._is_closed)
            self.idle -= 1
            if self._is_closed:
                return None
            work = self._offered.pop(0)
            work.begun_s = time.monotonic()
            self._served[work.request_id] = work
            return Response(200, work.event, work.headers)

    def _take(self, request_id: str, outcome: str, request: Request) -> Response:
        with self._monitor.condition:
            work = self._served.pop(request_id, None)
            if work is None:
                return refusal(400, "InvalidRequestID", "Invalid request ID")
            return self._accept(work, outcome, request)
