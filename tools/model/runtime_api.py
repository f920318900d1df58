"""The Runtime API (2018-06-01) of one generation: hands invocations to the runtime, and takes what it makes of them.

Separate from the Extensions API because the runtime has states of its own, and only one of it exists.

Rules, from AWS's own server in the Runtime Interface Emulator:

* The runtime is ready when it asks for Next; the first time ends the time for registering extensions, at that very
  moment.
* A response or an error is taken once, for the invocation that is running; Next without either is an invalid
  transition.
* A client that asks again, having lost its connection, takes the place of its earlier request.
* Under SnapStart it asks to be restored before it first asks for Next: that ends its init, and the time for registering
  extensions. The answer is the restore.

It does not decide when an invocation is over; the generation does, from what it reads here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model.monitor import Monitor
from model.values import Failure
from model.web import Request, Response, json_response

PREFIX = "/2018-06-01/runtime/"
_ACCEPTED = json_response(202, {"status": "OK"})


@dataclass
class Work:
    """One invocation on its way through the runtime; times are ``time.monotonic()``."""

    request_id: str
    event: bytes
    headers: Mapping[str, str]
    started_s: float
    begun_s: float | None = None
    """When the runtime was handed it; before that there is what the platform does itself."""
    body: bytes | None = None
    error: Failure | None = None
    responded_s: float | None = None
    runtime_ready_s: float | None = None


def refusal(status: int, error_type: str, message: str) -> Response:
    """Return a refusal in the form that both of Lambda's APIs use."""
    return json_response(status, {"errorMessage": message, "errorType": error_type})


class RuntimeApi:
    """The runtime's state, and the answers to its requests. Everything is read and changed under the monitor's
    condition."""

    def __init__(self, monitor: Monitor, on_first_next: Callable[[], None]) -> None:
        self._monitor = monitor
        self._on_first_next = on_first_next
        self._polls = 0
        self._is_closed = False
        self._work: Work | None = None
        self._is_delivered = True
        self.is_ready = False
        self.is_at_snapshot = False
        """It has asked to be restored, and is not yet."""
        self.restored_s: float | None = None
        self.first_next_s: float | None = None
        self.init_error: Failure | None = None

    def begin(self, work: Work) -> None:
        """Let the runtime's Next return this invocation."""
        with self._monitor.condition:
            self._work, self._is_delivered, self.is_ready = work, False, False
            work.begun_s = time.monotonic()
            self._monitor.condition.notify_all()

    def restore(self) -> None:
        """Let the runtime go on behind its snapshot."""
        with self._monitor.condition:
            self.restored_s, self.is_at_snapshot = time.monotonic(), False
            self._monitor.condition.notify_all()

    def close(self) -> None:
        """Answer nothing any more: the generation is gone."""
        with self._monitor.condition:
            self._is_closed = True
            self._monitor.condition.notify_all()

    def handle(self, request: Request) -> Response | None:
        """Answer one request; blocks for as long as Next does."""
        parts = request.path.removeprefix(PREFIX).split("/")
        if request.method == "GET" and parts == ["invocation", "next"]:
            return self._next()
        if request.method == "POST" and parts[0] == "invocation" and parts[2:] in (["response"], ["error"]):
            return self._take(parts[1], parts[2], request)
        if request.method == "POST" and parts == ["init", "error"]:
            return self._take_init_error(request)
        if parts == ["restore", "next"]:
            return self._await_restore()
        if parts == ["restore", "error"]:
            return _ACCEPTED
        return Response(404)

    def _await_restore(self) -> Response | None:
        with self._monitor.condition:
            self.is_at_snapshot = True
            self._on_first_next()
            self._monitor.note("restore-next", "runtime")
            self._monitor.condition.wait_for(lambda: self.restored_s is not None or self._is_closed)
            return Response(200) if self.restored_s is not None else None

    def _next(self) -> Response | None:
        with self._monitor.condition:
            if self._work is not None and self._is_delivered and self._work.responded_s is None:
                return refusal(403, "InvalidStateTransition", "Transition from Running to Ready is not allowed")
            self._polls += 1
            poll = self._polls
            if self.first_next_s is None:
                self.first_next_s = time.monotonic()
                self._on_first_next()
            self.is_ready = self._is_delivered
            if self._work is not None and self._is_delivered:
                self._work.runtime_ready_s = time.monotonic()
            self._monitor.note("next", "runtime")
            self._monitor.condition.wait_for(lambda: not self._is_delivered or self._is_closed or poll != self._polls)
            if self._is_closed or poll != self._polls or self._work is None:
                return None
            self._is_delivered = True
            return Response(200, self._work.event, self._work.headers)

    def _take(self, request_id: str, outcome: str, request: Request) -> Response:
        with self._monitor.condition:
            work = self._work
            if work is None or request_id != work.request_id or work.responded_s is not None:
                return refusal(400, "InvalidRequestID", "Invalid request ID")
            return self._accept(work, outcome, request)

    def _accept(self, work: Work, outcome: str, request: Request) -> Response:
        if outcome == "response":
            work.body = request.body
        else:
            work.error = _reported(request)
        work.responded_s = time.monotonic()
        self._monitor.note("response", "runtime", outcome)
        return _ACCEPTED

    def _take_init_error(self, request: Request) -> Response:
        with self._monitor.condition:
            if self._polls:
                return refusal(403, "InvalidStateTransition", "Transition from Ready to InitError is not allowed")
            self.init_error = _reported(request)
            self._monitor.note("response", "runtime", "init error")
        return _ACCEPTED


def _reported(request: Request) -> Failure:
    """Return the failure that the runtime reports; its body need not be what we expect."""
    try:
        payload = json.loads(request.body)
    except ValueError:
        payload = None
    report = payload if isinstance(payload, dict) else {}
    error_type = report.get("errorType") or request.headers.get("lambda-runtime-function-error-type", "")
    return Failure(str(error_type), str(report.get("errorMessage", "")), payload)
