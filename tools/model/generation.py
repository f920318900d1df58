"""One generation of an environment's processes, from init to shutdown: the life cycle as Lambda's contract has it.

Separate from the environment, which outlives its generations (a reset ends one, the next invocation begins another)
and keeps what they share: the address of the APIs, /tmp, the timeline.

Rules:

* Init: every file in /opt/extensions is started and has to register before the runtime is; init is over when
  the runtime and every extension, internal ones too, have asked for Next. Bound: ten seconds.
* SnapStart: the runtime asks to be restored instead, and init is over when every extension has asked for Next. Then a
  snapshot is taken; here the one copy that is restored from it is this environment itself.
* Invocation: over when the runtime and every INVOKE extension have asked for Next. The clock, or the end of a process
  before that, ends it otherwise, and the generation with it.
* Shutdown: SIGTERM to the runtime, SIGKILL at 600 ms (500 ms with internal extensions only; at once without any, and
  at once after a timeout or a failure), only then the SHUTDOWN event to the external extensions that registered for
  it and SIGKILL to the others; whatever lives after 2,000 ms is killed.

It does not freeze, and does not know of other generations.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.configuration import (
    FRAMES_FD,
    FRAMES_VARIABLE,
    Function,
    extension_variables,
    runtime_command,
)
from model.extensions_api import MAX_EXTENSIONS, ExtensionsApi
from model.file_system import Places
from model.logs import FrameParser
from model.monitor import Monitor
from model.platform_log import PlatformLog
from model.processes import Processes
from model.runtime_api import RuntimeApi, Work
from model.sandbox import Process, Sandbox
from model.telemetry_api import TelemetryApi
from model.values import (
    Failure,
    InitResult,
    Phase,
    ProcessEnd,
    ShutdownReason,
    ShutdownResult,
    Status,
)
from model.workers_api import WorkersApi

RUNTIME = "runtime"
TIMED_OUT = "Sandbox.Timedout"
"""AWS's error type for what the clock ended."""
INIT_BOUND_S = 10.0
SNAPSHOT_INIT_BOUND_S = 130.0
"""Where a snapshot is taken behind it."""
RESTORE_BOUND_S = 10.0
"""Of a copy, with the function's hooks: however long ago the snapshot was taken."""
SHUTDOWN_S = 2.0
RUNTIME_SHARE_S = 0.6
"""Of the shutdown, with external extensions: 30 % in AWS's own code."""
INTERNAL_SHUTDOWN_S = 0.5


class Generation:
    """The processes, the three APIs and the logs of one generation."""

    def __init__(
        self,
        monitor: Monitor,
        function: Function,
        places: Places,
        variables: Mapping[str, str],
        sandbox: Sandbox,
        extension_files: list[Path],
        is_telemetry_supported: bool,
        at_snapshot: Callable[[], None],
    ) -> None:
        self._monitor = monitor
        self._function = function
        self._places = places
        self._variables = variables
        self._sandbox = sandbox
        self._at_snapshot = at_snapshot
        self._extension_names = [file.name for file in extension_files]
        self.extensions = ExtensionsApi(monitor, function, self._extension_names)
        api = WorkersApi if function.workers else RuntimeApi
        self.runtime = api(monitor, self.extensions.stop_registration)
        self.telemetry = TelemetryApi(monitor, is_telemetry_supported, function.log_format.upper() == "JSON")
        self.platform = PlatformLog(monitor, self.telemetry, function)
        self.processes = Processes(monitor, sandbox, self.telemetry)

    def failure(self) -> Failure | None:
        """Return why the environment has failed: a process ended before its time, or an extension reported an error."""
        subject = f"RequestId: {self.processes.request_id} " if self.processes.request_id else ""
        for name, process in self.processes.started.items():
            if not process.has_ended:
                continue
            if name == RUNTIME:
                return self.runtime.init_error or self._runtime_exit(process, subject)
            return Failure("Extension.Crash", f"{subject}Error: {_exit_words(process)} ({name})")
        return self.extensions.failure

    def init(self, phase: Phase, deadline_s: float) -> InitResult:
        """Start everything and wait until it is ready, or has failed."""
        extension_processes, runtime = self._prepare()
        started_s = time.monotonic()
        self._monitor.note("init", detail=phase)
        self.platform.init_start(phase)
        error = self._start_all(phase, extension_processes, runtime, deadline_s)
        duration_s = time.monotonic() - started_s
        with self._monitor.condition:
            extensions = {e.name: e.registered_s - started_s for e in self.extensions.subscribers()}
            self.telemetry.stop_subscription()
        self.processes.drain_logs()
        for extension in self.extensions.subscribers():
            self.platform.extension(extension.name, "Ready" if extension.is_ready else "Registered", extension.events)
        self.platform.init_done(phase, duration_s, error)
        self._monitor.note("init-done", detail="ready" if error is None else error.error_type)
        self.processes.discard_unstarted()
        if self.runtime.is_at_snapshot:
            error = self._restore()
        runtime_started_s = _since(started_s, runtime.started_s)
        ready_s = _since(started_s, self.runtime.first_next_s)
        restore_s = _since(self.runtime.restored_s, self.runtime.first_next_s)
        return InitResult(phase, duration_s, error, extensions, runtime_started_s, ready_s, restore_s)

    def invoke(self, work: Work, deadline_s: float, tenant_id: str | None) -> tuple[Status, Failure | None]:
        """Run one invocation until it is over; return how it ended, and why if not well."""
        self.processes.request_id = work.request_id
        self._monitor.note("invoke", detail=work.request_id)
        self.platform.start(work.request_id, tenant_id)
        with self._monitor.condition:  # the runtime must not be ready again before the extensions are told
            self.extensions.send(self._invoke_event(work))
            self.runtime.begin(work)
        self._wait(lambda: self.runtime.is_ready, deadline_s)
        status, error = self._outcome(work, self.runtime.is_ready)
        runtime_done_s = work.runtime_ready_s or time.monotonic()
        self.processes.drain_logs()
        self.platform.runtime_done(work, status, error, runtime_done_s - work.started_s)
        if status in ("success", "error"):
            are_ready = self._wait(lambda: self.extensions.are_ready("INVOKE"), deadline_s)
            status, error = self._outcome(work, are_ready)
        self._monitor.note("done" if status != "timeout" else "timeout", detail=status)
        return status, error

    def serve(self, work: Work, deadline_s: float, tenant_id: str | None) -> tuple[Status, Failure | None]:
        """Managed Instances: have one request served, beside others; no extension is told of it."""
        assert isinstance(self.runtime, WorkersApi)
        self._monitor.note("invoke", detail=work.request_id)
        self.platform.start(work.request_id, tenant_id)
        self.runtime.begin(work)
        self._wait(lambda: work.responded_s is not None, deadline_s)
        self.runtime.end(work)
        status, error = self._outcome(work, work.responded_s is not None)
        self._monitor.note("done" if status != "timeout" else "timeout", detail=status)
        return status, error

    def shutdown(self, reason: ShutdownReason) -> ShutdownResult:
        """End the generation in the order that Lambda does."""
        started_at_s, started_s, clock_s = time.time(), time.monotonic(), self._monitor.clock_s()
        self._monitor.note("shutdown", detail=reason)
        self.telemetry.flush()
        started = self.processes.started
        externals = [started[name] for name in self._extension_names if name in started]
        self._end_runtime(reason, clock_s, bool(externals))
        self.processes.drain_logs()
        self.telemetry.flush()
        event_sent_s = None
        if any(not process.has_ended for process in externals):
            event_sent_s = self._end_extensions(externals, reason, started_at_s, started_s, clock_s)
        for process in started.values():
            self.processes.signal(process, signal.SIGKILL)
        self.close()
        ended = {
            name: ProcessEnd(name, p.pid, (p.ended_s or 0.0) - started_s, p.exit_code, p.signal)
            for name, p in started.items()
        }
        self._monitor.note("shutdown-done", detail=reason)
        return ShutdownResult(reason, started_at_s, time.monotonic() - started_s, ended, event_sent_s)

    def close(self) -> None:
        """End what is left of the processes, and everything that waits for them."""
        self.processes.close()
        self.telemetry.close()
        self.runtime.close()
        self.extensions.close()

    def _prepare(self) -> tuple[list[Process], Process]:
        """Return the extensions and the runtime, ready to be started."""
        extensions = []
        for name in self._extension_names:
            pipe = self.processes.pipe(f"extension:{name}")
            command = [str(self._places.opt / "extensions" / name)]
            pipes = {1: pipe, 2: pipe}
            extensions.append(self.processes.prepare(name, command, extension_variables(self._variables), "/", pipes))
        pipe = self.processes.pipe("function")
        pipes = {1: pipe, 2: pipe}
        if FRAMES_VARIABLE in self._variables:
            pipes[FRAMES_FD] = self.processes.pipe("function", FrameParser())
        command = runtime_command(self._function, self._places)
        folder = str(self._places.task_root)
        return extensions, self.processes.prepare(RUNTIME, command, self._variables, folder, pipes)

    def _start_all(
        self, phase: Phase, extensions: list[Process], runtime: Process, deadline_s: float
    ) -> Failure | None:
        """Start the extensions, then the runtime; return what went wrong."""
        if len(extensions) > MAX_EXTENSIONS:
            return Failure("Extension.LaunchError", f"more than {MAX_EXTENSIONS} extensions")
        for extension in extensions:
            self.processes.start(extension)
        if not self._wait(self.extensions.are_externals_registered, deadline_s):
            return self.failure() or Failure(TIMED_OUT, "an extension has not registered in time")
        self.processes.start(runtime)
        if not self._wait(lambda: self.runtime.is_ready or self.runtime.is_at_snapshot, deadline_s):
            error = self.failure() or Failure(TIMED_OUT, "the runtime is not ready in time")
            self.platform.init_runtime_done(phase, error)
            return error
        self.platform.init_runtime_done(phase, None)
        if not self._wait(self.extensions.are_ready, deadline_s):
            return self.failure() or Failure(TIMED_OUT, "an extension is not ready in time")
        return None

    def _restore(self) -> Failure | None:
        """Take a snapshot, and let this environment be the one that is restored from it; return what went wrong."""
        self._monitor.note("snapshot")
        self._at_snapshot()
        started_s = time.monotonic()
        self.platform.restore_start()
        self.runtime.restore()
        is_ready = self._wait(lambda: self.runtime.is_ready, self._monitor.clock_s() + RESTORE_BOUND_S)
        error = None if is_ready else self.failure() or Failure(TIMED_OUT, "the copy is not ready in time")
        self.platform.restore_done(time.monotonic() - started_s, error)
        return error

    def _wait(self, predicate: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until the predicate holds; stop at the deadline, and when the environment has failed."""
        self._monitor.wait_for(lambda: predicate() or self.failure() is not None, deadline_s)
        return predicate()

    def _outcome(self, work: Work, is_complete: bool) -> tuple[Status, Failure | None]:
        """Return the state of an invocation: complete, or ended by the failure of a process, or by the clock."""
        failure = self.failure()
        if failure is not None:
            return "crash", failure
        if not is_complete:
            message = f"{work.request_id} Task timed out after {self._function.timeout_s:.2f} seconds"
            return "timeout", Failure(TIMED_OUT, message)
        return ("success", None) if work.error is None else ("error", work.error)

    def _runtime_exit(self, process: Process, subject: str) -> Failure:
        error_type = "Runtime.OutOfMemory" if self._sandbox.cgroups.out_of_memory_kills() else "Runtime.ExitError"
        if process.code == 0:
            return Failure(error_type, f"{subject}Error: Runtime exited without providing a reason")
        return Failure(error_type, f"{subject}Error: Runtime exited with error: {_exit_words(process)}")

    def _invoke_event(self, work: Work) -> dict[str, Any]:
        return {
            "eventType": "INVOKE",
            "deadlineMs": int(work.headers["Lambda-Runtime-Deadline-Ms"]),
            "requestId": work.request_id,
            "invokedFunctionArn": work.headers["Lambda-Runtime-Invoked-Function-Arn"],
            "tracing": {"type": "X-Amzn-Trace-Id", "value": work.headers["Lambda-Runtime-Trace-Id"]},
        }

    def _end_runtime(self, reason: ShutdownReason, clock_s: float, has_externals: bool) -> None:
        """Ask the runtime to end where an extension can profit from that, and make it end."""
        runtime = self.processes.started.get(RUNTIME)
        if runtime is None:
            return
        if reason == "spindown" and self.extensions.registered:
            self.processes.signal(runtime, signal.SIGTERM)
            share_s = RUNTIME_SHARE_S if has_externals else INTERNAL_SHUTDOWN_S
            self._monitor.wait_for(lambda: runtime.has_ended, clock_s + share_s)
        self.processes.signal(runtime, signal.SIGKILL)
        self.processes.await_end([runtime])

    def _end_extensions(
        self, externals: list[Process], reason: ShutdownReason, started_at_s: float, started_s: float, clock_s: float
    ) -> float | None:
        """Send the SHUTDOWN event and wait for what becomes of it; return when it was sent."""
        subscribed = {extension.name for extension in self.extensions.subscribers("SHUTDOWN")}
        for process in externals:
            if process.name not in subscribed:
                self.processes.signal(process, signal.SIGKILL)
        event_sent_s = None
        if subscribed:
            deadline_ms = int((started_at_s + SHUTDOWN_S) * 1000)
            event_sent_s = time.monotonic() - started_s
            self._monitor.note("shutdown-event", detail=", ".join(sorted(subscribed)))
            event = {"eventType": "SHUTDOWN", "shutdownReason": reason.upper(), "deadlineMs": deadline_ms}
            self.extensions.send(event)
        self._monitor.wait_for(lambda: all(process.has_ended for process in externals), clock_s + SHUTDOWN_S)
        return event_sent_s


def _since(begun_s: float | None, at_s: float | None) -> float | None:
    return None if begun_s is None or at_s is None else at_s - begun_s


def _exit_words(process: Process) -> str:
    """Return how a process ended, in Lambda's words."""
    if process.signal is not None:
        return f"signal: {signal.strsignal(process.signal) or process.signal}".lower()
    return f"exit status {process.code}"


def find_extensions(layer: Path | None) -> list[Path]:
    """Return the files in the layer's folder of extensions, which are all started, executable or not."""
    folder = None if layer is None else layer / "extensions"
    if folder is None or not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.is_file())
