"""The processes of one generation, by name, and the pipes that they log to.

Separate from the sandbox, which outlives generations, and from the generation, which decides when a process is
started or signalled.

Rules:

* Processes are prepared ahead and started one by one; one that was never started has no part in what happened.
* What they write is in the log stream, and with the subscribers of telemetry, when ``drain_logs`` returns.

It does not know what a runtime or an extension is.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping, Sequence

from model.logs import Entry, FrameParser, LineParser, LogPipe
from model.monitor import ModelStuck, Monitor
from model.sandbox import Process, Sandbox
from model.telemetry_api import TelemetryApi
from model.telemetry_delivery import TelemetryEvent
from model.values import CloudWatchLine

_KILL_BOUND_S = 5.0
"""For a killed process to be gone; only the kernel has a part in it."""


class Processes:
    """The started processes of one generation, and the pipes of all that were prepared."""

    def __init__(self, monitor: Monitor, sandbox: Sandbox, telemetry: TelemetryApi) -> None:
        self._monitor = monitor
        self._sandbox = sandbox
        self._telemetry = telemetry
        self._prepared: list[Process] = []
        self._pipes: list[LogPipe] = []
        self.started: dict[str, Process] = {}
        self.request_id: str | None = None
        """Of the invocation that lines belong to."""

    def pipe(self, source: str, parser: LineParser | FrameParser | None = None) -> LogPipe:
        """Return a pipe whose lines, or what ``parser`` finds in it, are published as ``source``'s."""
        parser = parser or LineParser()
        is_framed = isinstance(parser, FrameParser)
        event_type = source.partition(":")[0]

        def publish(entries: Iterable[Entry]) -> None:
            now_s = time.time()
            self._monitor.publish(CloudWatchLine(now_s, source, e.text, is_framed, e.frame_type) for e in entries)
            self._telemetry.publish(*(TelemetryEvent(now_s, event_type, e.text, self.request_id) for e in entries))

        pipe = LogPipe(parser, publish)
        self._pipes.append(pipe)
        return pipe

    def prepare(
        self,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: str,
        pipes: Mapping[int, LogPipe],
    ) -> Process:
        """Return a process ready to be started; ``pipes`` says which descriptors of it lead where."""
        descriptors = {number: pipe.writer for number, pipe in pipes.items()}
        process = self._sandbox.prepare(name, command, variables, folder, descriptors)
        self._prepared.append(process)
        for pipe in dict.fromkeys(pipes.values()):
            pipe.start()
        return process

    def start(self, process: Process) -> None:
        """Let a prepared process run."""
        self.started[process.name] = process
        self._monitor.note("start", process.name, f"pid {process.pid}")
        process.start()

    def discard_unstarted(self) -> None:
        """Let go of what was prepared and will not be started."""
        for process in self._prepared:
            process.discard()

    def signal(self, process: Process, signal_number: signal.Signals) -> None:
        """Send a signal to a process and its group, if it is alive."""
        if not process.has_ended:
            self._monitor.note(signal_number.name, process.name)
            process.send(signal_number)

    def await_end(self, processes: Iterable[Process]) -> None:
        """Wait until killed processes are gone."""
        deadline_s = self._monitor.clock_s() + _KILL_BOUND_S
        if not self._monitor.wait_for(lambda: all(process.has_ended for process in processes), deadline_s):
            raise ModelStuck(f"killed processes have not ended: {list(processes)}")

    def drain_logs(self) -> None:
        """See to it that every line written so far is in the log stream."""
        for pipe in self._pipes:
            pipe.drain()

    def close(self) -> None:
        """Kill everything, forgotten children included, and read what they wrote to its end."""
        self.discard_unstarted()
        self._sandbox.kill_all()
        self.await_end(list(self.started.values()))
        for pipe in self._pipes:
            pipe.close()
