"""What a test gets to see of the environment: frozen values, without behaviour beyond reading themselves.

Separate because every module of the model makes some of them and every test reads them.

Rules: a name ending in ``at_s`` is POSIX time, to be compared with what a Sumo source or a record says; every other
``_s`` is a duration, or counts from the start of the phase that the value describes, measured on the monotonic clock.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Phase = Literal["init", "invoke"]
"""Where an init runs: in the init phase, or inside the invocation that follows a reset or a failed init phase."""

Status = Literal["success", "error", "timeout", "crash"]
"""How an invocation ended: as the handler meant it to, by its exception, by the clock, by a process that went away."""

ShutdownReason = Literal["spindown", "timeout", "failure"]


class Event(NamedTuple):
    """Something that happened to the environment, for pictures of it and for questions about order."""

    at_s: float
    kind: str
    """``init``, ``init-done``, ``start``, ``register``, ``subscribe``, ``next``, ``invoke``, ``response``, ``error``,
    ``done``, ``timeout``, ``freeze``, ``thaw``, ``telemetry``, ``SIGTERM``, ``SIGKILL``, ``shutdown``,
    ``shutdown-event``, ``exit``, ``shutdown-done``."""
    who: str
    """``runtime``, the name of an extension, or ``platform``."""
    detail: str


class CloudWatchLine(NamedTuple):
    """One entry of the log stream: a line of stdout or stderr, a frame, or the platform's own word."""

    time: float
    source: str
    """``function``, ``extension:<name>`` or ``platform``."""
    text: str
    framed: bool = False
    frame_type: int | None = None


@dataclass(frozen=True)
class Failure:
    """Why an init or an invocation failed, as its caller is told."""

    error_type: str
    message: str
    payload: Any = None
    """The report that the runtime posted, where it was the one to fail it."""


@dataclass(frozen=True)
class ProcessEnd:
    """When and how a process ended; ``after_s`` counts from the start of the shutdown and is negative for one that
    ended before."""

    name: str
    pid: int
    after_s: float
    exit_code: int | None
    signal: int | None

    @property
    def how(self) -> str:
        """``exit <code>``, or the name of the signal."""
        return describe_end(self.exit_code, self.signal)


def describe_end(exit_code: int | None, signal_number: int | None) -> str:
    """Return how a process ended, in words for people."""
    return f"exit {exit_code}" if signal_number is None else signal.Signals(signal_number).name


@dataclass(frozen=True)
class InitResult:
    """One init: of a cold start, or of a new generation inside an invocation."""

    phase: Phase
    duration_s: float
    """Until the runtime and every extension had called Next, or until it failed."""
    error: Failure | None
    extensions: Mapping[str, float]
    """Every extension, internal ones too, with the time of its registration."""
    runtime_started_s: float | None
    runtime_ready_s: float | None
    """When the runtime process was started, which no extension may delay, and its first Next."""
    restore_s: float | None
    """SnapStart: from the restore of the snapshot to the runtime's first Next; None without either."""


@dataclass(frozen=True)
class ShutdownResult:
    """One shutdown sequence, and how each process of the generation ended."""

    reason: ShutdownReason
    started_at_s: float
    duration_s: float
    ended: Mapping[str, ProcessEnd]
    """By ``runtime`` or the extension's name."""
    event_sent_s: float | None
    """When the SHUTDOWN event was let go, where an extension had registered for it."""


@dataclass(frozen=True)
class Invocation:
    """One invocation from the caller's and from the platform's side."""

    request_id: str
    status: Status
    body: bytes | None
    """The response; there even if the environment failed after it had been posted."""
    error: Failure | None
    response_s: float | None
    """Until the runtime had posted the response or the error: what the caller waits for."""
    handled_s: float | None
    """Of that, from the moment at which the runtime was handed the event: without the platform's own part (to thaw, to
    tell of the START), which in this model costs more than on Lambda and grows with the number of threads."""
    runtime_s: float | None
    """Until the runtime's Next."""
    duration_s: float
    """Until the runtime and every INVOKE extension had called Next: what is billed."""
    init: InitResult | None
    """The init that ran inside this invocation."""
    shutdown: ShutdownResult | None
    """The reset that followed it."""

    @property
    def payload(self) -> Any:
        """The response as the caller reads it."""
        return None if self.body is None else json.loads(self.body)
