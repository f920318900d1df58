"""One Lambda execution environment: what a test starts, invokes, freezes, breaks, shuts down and looks at.

Separate from the life cycle, which runs it, so that all that a test may do and see is in one place.

Rules:

* What belongs to the environment and not to a generation of processes stays over a reset: /tmp, the address of the
  APIs, the log stream, the timeline.
* Not isolated, the processes use the machine's file system. ``SUMO_SPOOL_DIR`` and ``TMPDIR`` stand in for /tmp, the
  layer's folder for /opt.
* What this machine cannot do (a CPU share without control groups) is named in ``missing``, never passed over.
* Leaving the ``with`` block ends everything at once; a test that wants to see a shutdown calls it.

It knows nothing of the layer, and sets nothing of its own but those two variables.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from runtimes import Runtime

from model.cgroups import INIT_CORES, share_cores
from model.configuration import Function, runtime_variables
from model.file_system import FileSystem, isolation_available
from model.generation import RUNTIME, Generation, find_extensions
from model.life_cycle import WAIT_BOUND_S, Cpu, Handle, LifeCycle
from model.monitor import ModelStuck, Monitor
from model.sandbox import Process, Sandbox
from model.telemetry_delivery import TelemetryEvent
from model.values import (
    CloudWatchLine,
    Event,
    InitResult,
    Invocation,
    ShutdownReason,
    ShutdownResult,
    describe_end,
)
from model.web import Server


class Environment:
    """One execution environment of one function."""

    def __init__(
        self,
        runtime: Runtime,
        task_root: Path,
        handler: str = "app.handler",
        layer: Path | None = None,
        variables: Mapping[str, str] | None = None,
        memory_mb: int = 1769,
        timeout_s: float = 3.0,
        entry: Literal["managed", "image"] = "managed",
        framed: bool = True,
        log_format: str = "Text",
        log_level: str | None = None,
        function_name: str = "orders",
        version: str = "$LATEST",
        freezes: bool = True,
        cpu_limited: bool = False,
        init_limited: bool = False,
        memory_limited: bool = False,
        isolated: bool = False,
        tmp: Path | None = None,
        tmp_size_mb: int | None = None,
        name_server: str | None = None,
        telemetry_supported: bool = True,
        snap_start: bool = False,
        log_group: str = "",
        workers: int = 0,
        at_snapshot: Callable[[], None] = lambda: None,
    ) -> None:
        """Configure an environment; nothing runs before it is entered.

        Args:
            runtime: The interpreter and the runtime client.
            task_root: The folder of the function's code.
            handler: As in the function's configuration.
            layer: The unpacked layer, which has ``extensions/`` and ``python/`` in it.
            variables: The function's own. AWS_LAMBDA_EXEC_WRAPPER works as on Lambda; in an image it names the
                ENTRYPOINT.
            memory_mb: The memory size; without the two switches below it is only told.
            timeout_s: The function's timeout.
            entry: How the runtime is started: by the managed runtime's bootstrap, or as ``python -m awslambdaric``.
            framed: Whether the runtime gets the descriptor for framed messages.
            log_format: ``Text`` or ``JSON``.
            log_level: The application log level, where one is configured.
            function_name: The function's name.
            version: Its version, as it appears in the log stream's name.
            freezes: Whether to freeze when nothing is to be done.
            cpu_limited: Whether to give the processes the CPU share that belongs to ``memory_mb``, once the init phase
                is over, which has two cores whatever the size.
            init_limited: Whether the init phase has only that share, too, as with provisioned concurrency.
            memory_limited: Whether the kernel kills above ``memory_mb``.
            isolated: Whether the processes get a file system and a user of their own; needs root.
            tmp: The folder that is /tmp; kept. By default a new one, removed at the end.
            tmp_size_mb: Isolated only: a /tmp in memory that holds no more than this.
            name_server: Isolated only: the address of the only one that is asked for names.
            telemetry_supported: False answers subscriptions as the Runtime Interface Emulator does.
            log_group: One of the owner's; empty for the one that Lambda makes.
            workers: Requests that are served at a time, each by a process of its own, as on Managed Instances.
            snap_start: Whether a snapshot is taken behind the init, and the environment restored from it.
            at_snapshot: Called between the two. Whoever copies this process in there has as many environments.
        """
        self._function = Function(
            runtime=runtime,
            name=function_name,
            version=version,
            handler=handler,
            variables=dict(variables or {}),
            memory_mb=memory_mb,
            timeout_s=timeout_s,
            entry=entry,
            log_format="JSON" if workers else log_format,
            log_level=log_level,
            initialization_type=_initialization_type(snap_start, workers),
            workers=workers,
            own_log_group=log_group,
        )
        self._task_root = task_root
        self._layer = layer
        self._is_framed = framed and not workers
        self._freezes = freezes and not workers
        self._cpu = _cpu(memory_mb, init_limited) if cpu_limited else None
        self._is_memory_limited = memory_limited
        self._is_isolated = isolated
        self._given_tmp = tmp
        self._tmp_size_mb = tmp_size_mb
        self._name_server = name_server
        self._is_telemetry_supported = telemetry_supported
        self._at_snapshot = at_snapshot
        self._monitor = Monitor()
        self._cleanup = ExitStack()

    @staticmethod
    def isolation_available() -> str | None:
        """Return None where ``isolated=True`` works on this machine, else why not."""
        return isolation_available()

    def __enter__(self) -> Environment:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What a test does

    def start(self) -> InitResult:
        """Run the init phase.

        One that fails is no error here: the environment is reset, and the next invocation tries again.
        """
        return self._life_cycle.start()

    def invoke(
        self, payload: Any = None, *, tenant_id: str | None = None, client_context: str | None = None
    ) -> Invocation:
        """Run one invocation to its end."""
        return self.begin_invoke(payload, tenant_id=tenant_id, client_context=client_context).finish()

    def begin_invoke(
        self, payload: Any = None, *, tenant_id: str | None = None, client_context: str | None = None
    ) -> Handle:
        """Begin an invocation; returns before the function has it. The client context is the caller's, as JSON."""
        return self._life_cycle.begin(json.dumps(payload).encode(), tenant_id, client_context)

    def freeze(self) -> None:
        """Stop the whole process tree, and the function's clock with it; does nothing if it is stopped."""
        self._life_cycle.freeze()

    def thaw(self) -> None:
        """Let the process tree go on; does nothing if it runs."""
        self._life_cycle.thaw()

    def kill_runtime(self, signal_number: int) -> None:
        """Send a signal to the runtime process alone, as the kernel does that has run out of memory."""
        pid = self.runtime_pid
        if pid is None:
            raise ModelStuck("there is no runtime process")
        os.kill(pid, signal_number)

    def shutdown(self, reason: ShutdownReason = "spindown") -> ShutdownResult:
        """Shut the environment down; the next invocation would begin a new generation in the same /tmp."""
        return self._life_cycle.shutdown(reason)

    def wait_for_line(self, fragment: str, timeout_s: float = WAIT_BOUND_S) -> CloudWatchLine:
        """Wait for a line of the log stream that contains ``fragment``, and return the first one.

        Raises:
            ModelStuck: No such line has come.
        """

        def found() -> CloudWatchLine | None:
            return next((line for line in self.cloudwatch if fragment in line.text), None)

        with self._monitor.condition:
            line = self._monitor.condition.wait_for(found, timeout_s)
        if line is None:
            raise ModelStuck(f"no line with {fragment!r}; the last ones: {self.cloudwatch[-10:]}")
        return line

    def publish(self, event_type: str, record: Mapping[str, Any]) -> None:
        """Have the platform tell its subscribers of something that does not happen here by itself."""
        generation = self._life_cycle.generation
        if generation is None:
            raise ModelStuck("there is nobody to be told")
        generation.telemetry.publish(TelemetryEvent(time.time(), event_type, record))

    # What a test sees

    @property
    def cloudwatch(self) -> list[CloudWatchLine]:
        """The log stream, in order of arrival."""
        return self._monitor.cloudwatch

    @property
    def timeline(self) -> list[Event]:
        """Everything that happened, in order."""
        return self._monitor.timeline

    @property
    def api_address(self) -> str:
        """``host:port`` of the three APIs, as the processes have it in AWS_LAMBDA_RUNTIME_API."""
        return self._server.address

    @property
    def log_group(self) -> str:
        """The name of the log group."""
        return self._function.log_group

    @property
    def log_stream(self) -> str:
        """The name of the log stream."""
        return self._function.log_stream

    @property
    def tmp(self) -> Path:
        """The folder that the processes have as /tmp, as a path for the test."""
        return self._sandbox.root / "tmp" if self._tmp_size_mb is not None else self._tmp

    @property
    def runtime_pid(self) -> int | None:
        """The pid of the runtime process, while there is one."""
        generation = self._life_cycle.generation
        process = None if generation is None else generation.processes.started.get(RUNTIME)
        return None if process is None or process.has_ended else process.pid

    @property
    def missing(self) -> Mapping[str, str]:
        """The kernel's means that this machine does not offer (``freezer``, ``cpu``, ``cpuacct``, ``memory``), and
        why."""
        return self._sandbox.cgroups.missing

    def pids(self) -> list[int]:
        """Return the pids of all processes in the environment."""
        return self._sandbox.pids()

    def cpu_s(self) -> float:
        """Return the CPU time that all processes have used so far, ended ones included."""
        return self._sandbox.cpu_s()

    def memory_pss_bytes(self) -> int:
        """Return the memory of all living processes, shared pages divided among those that share them."""
        return self._sandbox.memory_pss_bytes()

    def close(self) -> None:
        """End everything at once, without a shutdown sequence, and remove what was made."""
        self._cleanup.close()

    def _open(self) -> None:
        scratch = Path(tempfile.mkdtemp(prefix="lambda-model-"))
        self._cleanup.callback(shutil.rmtree, scratch)
        self._tmp = self._given_tmp or scratch / "tmp"
        self._tmp.mkdir(exist_ok=True)
        runtime = self._function.runtime
        files = FileSystem(
            runtime.interpreter.executable,
            runtime.ric,
            self._task_root,
            self._layer,
            self._tmp,
            self._tmp_size_mb,
            self._name_server,
        )
        self._places = files.isolated() if self._is_isolated else files.in_place()
        self._sandbox = Sandbox(scratch, files if self._is_isolated else None, self._on_end)
        self._cleanup.callback(self._sandbox.close)
        if self._is_memory_limited:
            self._sandbox.cgroups.limit_memory(self._function.memory_mb)
        self._life_cycle = LifeCycle(
            self._monitor, self._function, self._sandbox, self._begin_generation, self._freezes, self._cpu
        )
        self._server = Server(self._life_cycle.answer)
        self._cleanup.callback(self._server.close)
        self._cleanup.callback(self._life_cycle.abandon)

    def _begin_generation(self) -> Generation:
        variables = runtime_variables(self._function, self._places, self._server.address, self._is_framed)
        return Generation(
            self._monitor,
            self._function,
            self._places,
            variables,
            self._sandbox,
            find_extensions(self._layer),
            self._is_telemetry_supported,
            self._at_snapshot,
        )

    def _on_end(self, process: Process) -> None:
        self._monitor.note("exit", process.name, describe_end(process.exit_code, process.signal))


def _cpu(memory_mb: int, is_init_limited: bool) -> Cpu:
    cores = share_cores(memory_mb)
    return Cpu(cores if is_init_limited else max(cores, INIT_CORES), cores)


def _initialization_type(
    snap_start: bool, workers: int
) -> Literal["on-demand", "snap-start", "lambda-managed-instances"]:
    if workers:
        return "lambda-managed-instances"
    return "snap-start" if snap_start else "on-demand"
