"""The succession of generations in one environment: what runs when, what freezes, what a failure leads to.

Separate from the environment, which is what a test sees, and from the generation, which knows of no other.

Rules:

* Init, invocations and shutdown run one after the other on one thread: a test may act in the middle of one, and the
  function's clock runs whether or not a test waits.
* After the init and after each invocation the environment freezes, until the next invocation or the shutdown thaws
  it.
* On a managed instance requests run beside each other, none freezes, and a timeout ends the request alone.
* After a timeout, a crash or a failed init the generation is shut down at once; the next invocation begins with an
  init of its own, on its own time and with the function's own share of the CPU.
"""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from model import extensions_api, runtime_api, telemetry_api
from model.configuration import Function
from model.generation import INIT_BOUND_S, SNAPSHOT_INIT_BOUND_S, TIMED_OUT, Generation
from model.monitor import ModelStuck, Monitor
from model.runtime_api import Work
from model.sandbox import Sandbox
from model.values import (
    Failure,
    InitResult,
    Invocation,
    Phase,
    ShutdownReason,
    ShutdownResult,
    Status,
)
from model.web import Request, Response

WAIT_BOUND_S = 20.0
"""For what a test waits for in mid-invocation."""
PHASE_BOUND_S = 150.0
"""For a phase to be over that has bounds of its own, a freeze by the test among them: a second net."""


class Cpu(NamedTuple):
    """How many cores all processes have together."""

    init_cores: float
    cores: float
    """When the init phase is over, and in an init that is part of an invocation."""


class Handle:
    """An invocation under way."""

    def __init__(self, work: Work, monitor: Monitor, future: Future[Invocation], bound_s: float) -> None:
        self._work = work
        self._monitor = monitor
        self._future = future
        self._bound_s = bound_s

    @property
    def request_id(self) -> str:
        """The id that the function and the platform log."""
        return self._work.request_id

    def wait_for_response(self) -> None:
        """Wait until the runtime has posted its response or its error.

        Raises:
            ModelStuck: It has not, or the invocation ended without.
        """
        with self._monitor.condition:
            self._monitor.condition.wait_for(lambda: self._has_response() or self._future.done(), WAIT_BOUND_S)
        if not self._has_response():
            raise ModelStuck(f"no response; last events: {self._monitor.timeline[-10:]}")

    def finish(self) -> Invocation:
        """Wait until the invocation is over, and the reset too if it ended in one."""
        return self._future.result(self._bound_s)

    def _has_response(self) -> bool:
        return self._work.responded_s is not None


class LifeCycle:
    """Runs the phases of one environment."""

    def __init__(
        self,
        monitor: Monitor,
        function: Function,
        sandbox: Sandbox,
        begin_generation: Callable[[], Generation],
        freezes: bool,
        cpu: Cpu | None,
    ) -> None:
        """Take over an environment in which nothing runs.

        Args:
            monitor: Of the environment.
            function: What is invoked.
            sandbox: What freezes.
            begin_generation: Returns a generation that has not been started.
            freezes: Whether to freeze when nothing is to be done.
            cpu: The share of the CPU; None for all of it.
        """
        self._monitor = monitor
        self._function = function
        self._sandbox = sandbox
        self._begin_generation = begin_generation
        self._freezes = freezes
        self._cpu = cpu
        self._freeze_lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max(1, function.workers), "model-life-cycle")
        self._unreported_init_s: float | None = None
        self.generation: Generation | None = None

    def start(self) -> InitResult:
        """Run the init phase, and the reset that follows a failed one."""
        return self._executor.submit(self._start).result(PHASE_BOUND_S)

    def begin(self, event: bytes, tenant_id: str | None, client_context: str | None = None) -> Handle:
        """Begin an invocation; what ran before it is thawed when this returns."""
        started_s = time.monotonic()
        self.thaw()
        work = Work(str(uuid.uuid4()), event, {}, started_s)
        work.headers = self._headers(work.request_id, tenant_id)
        if client_context is not None:
            work.headers = {**work.headers, "Lambda-Runtime-Client-Context": client_context}
        deadline_s = self._monitor.clock_s() + self._function.timeout_s
        future = self._executor.submit(self._run, work, deadline_s, tenant_id)
        future.add_done_callback(lambda _: self._monitor.wake())
        return Handle(work, self._monitor, future, self._function.timeout_s + PHASE_BOUND_S)

    def shutdown(self, reason: ShutdownReason) -> ShutdownResult:
        """Shut down what there is."""
        return self._executor.submit(self._reset, reason).result(PHASE_BOUND_S)

    def freeze(self) -> None:
        """Stop all processes, and the function's clock with them; does nothing if they are stopped."""
        with self._freeze_lock:
            if not self._monitor.is_frozen:
                self._monitor.stop_clock()
                self._sandbox.freeze()
                self._monitor.note("freeze")

    def thaw(self) -> None:
        """Let all processes go on; does nothing if they run."""
        with self._freeze_lock:
            if self._monitor.is_frozen:
                self._monitor.note("thaw")
                self._sandbox.thaw()
                self._monitor.start_clock()
                if self.generation is not None:
                    self.generation.telemetry.wake()

    def abandon(self) -> None:
        """End the processes as a power cut does; an invocation under way takes it for a crash, and is waited for."""
        self.thaw()
        self._sandbox.kill_all()
        self._executor.shutdown()
        if self.generation is not None:
            self.generation.close()

    def answer(self, request: Request) -> Response | None:
        """Answer a request to one of the three APIs."""
        generation = self.generation
        if generation is None:
            return None
        if request.path.startswith(runtime_api.PREFIX):
            return generation.runtime.handle(request)
        if request.path.startswith(extensions_api.PREFIX):
            return generation.extensions.handle(request)
        if (request.method, request.path) == ("PUT", telemetry_api.PATH):
            name = generation.extensions.name_of(request)
            if name is None:
                return generation.extensions.refuse_unknown(request)
            return generation.telemetry.subscribe(name, request)
        return Response(404)

    def _start(self) -> InitResult:
        if self._cpu is not None:
            self._sandbox.cgroups.limit_cpu(self._cpu.init_cores)
        is_copied = self._function.initialization_type == "snap-start"
        bound_s = SNAPSHOT_INIT_BOUND_S if is_copied else INIT_BOUND_S
        result = self._init("init", self._monitor.clock_s() + bound_s)
        if self._cpu is not None:
            self._sandbox.cgroups.limit_cpu(self._cpu.cores)
        if result.error is not None:
            self._reset("failure")
        elif self._freezes:
            self.freeze()
        return result

    def _init(self, phase: Phase, deadline_s: float) -> InitResult:
        """Begin a generation."""
        self.generation = self._begin_generation()
        result = self.generation.init(phase, deadline_s)
        self._unreported_init_s = result.duration_s if phase == "init" else None
        return result

    def _run(self, work: Work, deadline_s: float, tenant_id: str | None) -> Invocation:
        """Run one invocation, with an init before it and a reset after it where these are due."""
        init = self._init("invoke", deadline_s) if self.generation is None else None
        generation = self.generation
        assert generation is not None
        status: Status
        error: Failure | None
        if init is not None and init.error is not None:
            status, error = _failed_init(init.error), init.error
            generation.platform.start(work.request_id, tenant_id)
            is_usable = False
        else:
            serve = generation.serve if self._function.workers else generation.invoke
            status, error = serve(work, deadline_s, tenant_id)
            is_usable = status in ("success", "error") or (status == "timeout" and self._function.workers > 0)
        duration_s = time.monotonic() - work.started_s
        if is_usable and self._freezes:
            self.freeze()
        generation.processes.drain_logs()
        max_memory_bytes = self._sandbox.max_memory_bytes()
        generation.platform.invocation_over(work, status, error, duration_s, max_memory_bytes, self._unreported_init_s)
        self._unreported_init_s = None
        shutdown = None if is_usable else self._reset("timeout" if status == "timeout" else "failure")
        response_s = None if work.responded_s is None else work.responded_s - work.started_s
        handled_s = None if work.responded_s is None or work.begun_s is None else work.responded_s - work.begun_s
        runtime_s = None if work.runtime_ready_s is None else work.runtime_ready_s - work.started_s
        took_s = (response_s, handled_s, runtime_s, duration_s)
        return Invocation(work.request_id, status, work.body, error, *took_s, init, shutdown)

    def _reset(self, reason: ShutdownReason) -> ShutdownResult:
        """Shut the generation down, if there is one."""
        self.thaw()
        generation = self.generation
        if generation is None:
            return ShutdownResult(reason, time.time(), 0.0, {}, None)
        result = generation.shutdown(reason)
        self.generation = None
        return result

    def _headers(self, request_id: str, tenant_id: str | None) -> dict[str, str]:
        """Return the headers with which the runtime is handed an invocation that begins now."""
        trace_id = f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"
        return {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._function.timeout_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
            "Lambda-Runtime-Trace-Id": trace_id,
            **({} if tenant_id is None else {"Lambda-Runtime-Aws-Tenant-Id": tenant_id}),
        }


def _failed_init(error: Failure) -> Status:
    """Return how an invocation ends whose own init has failed."""
    if error.error_type == TIMED_OUT:
        return "timeout"
    return "crash" if error.payload is None else "error"
