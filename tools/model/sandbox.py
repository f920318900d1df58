"""The box that an environment's processes run in: start, freeze, signal, measure, and a file system of their own.

Separate from the life cycle, which decides what happens and when; this knows how, on this machine, with or without
root.

Rules:

* With a file system of their own the processes have the rights of a user who owns nothing; without, they run as the
  user who runs the tests.
* Freezing stops the whole tree at once: the kernel's freezer where there is one, SIGSTOP to every descendant
  otherwise.
* Nothing outlives ``close``, nor the process that runs the tests: the launcher sees to it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.cgroups import Cgroups
from model.file_system import USER_AND_GROUP, FileSystem, mount_commands
from model.launcher import descendants
from model.monitor import ModelStuck

_LAUNCHER = Path(__file__).with_name("launcher.py")
_CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BOUND_S = 10.0
"""For what only the kernel and the launcher have a part in."""
_STOP_ROUNDS = 100


@dataclass(eq=False)
class Process:
    """One process; ``code`` is as ``subprocess`` has it, negative for a signal. Times are ``time.monotonic()``."""

    name: str
    gate: socket.socket
    pid: int = 0
    started_s: float | None = None
    ended_s: float | None = None
    code: int | None = None

    def start(self) -> None:
        """Let the prepared process run its program."""
        self.started_s = time.monotonic()
        self.gate.send(b"g")
        self.gate.close()

    def discard(self) -> None:
        """Let a prepared process end without having run its program; does nothing to one that has."""
        self.gate.close()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.ended_s is not None

    @property
    def exit_code(self) -> int | None:
        """Its own exit code, if it was not a signal that ended it."""
        return self.code if self.code is not None and self.code >= 0 else None

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        return -self.code if self.code is not None and self.code < 0 else None

    def send(self, signal_number: int) -> None:
        """Send a signal to the process and the others of its group, as AWS's own supervisor does."""
        if not self.has_ended:
            try:
                os.killpg(self.pid, signal_number)
            except ProcessLookupError:  # gone, and not told yet
                pass


class Sandbox:
    """The processes of one environment, over all its generations."""

    def __init__(self, scratch: Path, isolate: FileSystem | None, on_end: Callable[[Process], None]) -> None:
        """Start the launcher.

        Args:
            scratch: A folder of our own, for mount points.
            isolate: The file system of the processes, or None for the machine's.
            on_end: Called from a thread of ours when a started process has ended.
        """
        mounts = [] if isolate is None else mount_commands(scratch, isolate)
        self.cgroups = Cgroups()
        self._on_end = on_end
        self._processes: dict[int, Process] = {}
        self._lock = threading.Lock()
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._events, events = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        config = {
            "control": control.fileno(),
            "events": events.fileno(),
            "cgroups": list(map(str, self.cgroups.folders)),
            "mounts": mounts,
            "user": None if isolate is None else USER_AND_GROUP,
        }
        command = [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(config)]
        if isolate is not None:
            command = ["unshare", "--mount", "--propagation", "private", *command]
        with control, events:
            descriptors = (control.fileno(), events.fileno())
            self._launcher = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True
            )
        self._reader = threading.Thread(target=self._read_events, name="model-process-ends", daemon=True)
        self._reader.start()
        self._control.settimeout(_BOUND_S)
        if not self._control.recv(16):
            self.close()
            raise ModelStuck("the launcher did not start; its reason is on stderr")

    @property
    def root(self) -> Path:
        """The root of the processes' file system, for as long as the sandbox is open."""
        return Path(f"/proc/{self._launcher.pid}/root")

    def prepare(
        self,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str],
        folder: str,
        descriptors: Mapping[int, int],
    ) -> Process:
        """Return a process with everything done but exec; ``descriptors`` says which of ours it gets as which."""
        gate, their_gate = socket.socketpair()
        with self._lock, their_gate:
            number = len(self._processes)
            process = self._processes[number] = Process(name, gate)
            request = {
                "number": number,
                "command": command,
                "variables": variables,
                "folder": folder,
                "descriptors": list(descriptors),
            }
            packet = json.dumps(request).encode()
            socket.send_fds(self._control, [packet], [their_gate.fileno(), *descriptors.values()])
            process.pid = json.loads(self._control.recv(64))["pid"]
        gate.settimeout(_BOUND_S)
        if not gate.recv(1):
            raise ModelStuck(f"{name} could not be prepared")
        return process

    def freeze(self) -> None:
        """Stop every process where it is."""
        if not self.cgroups.freeze():
            self._stop_tree()

    def thaw(self) -> None:
        """Let every process go on."""
        if not self.cgroups.thaw():
            for pid in self.pids():
                _kill(pid, signal.SIGCONT)

    def kill_all(self) -> None:
        """Kill what is left, forgotten children included, and wait until it is gone."""
        self.thaw()
        deadline_s = time.monotonic() + _BOUND_S
        while pids := descendants(self._launcher.pid):
            for pid in pids:
                _kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline_s:
                raise ModelStuck(f"processes {pids} survive SIGKILL")
            time.sleep(0.001)

    def pids(self) -> list[int]:
        """Return the pids of all living processes."""
        pids = self.cgroups.pids()
        return descendants(self._launcher.pid) if pids is None else pids

    def cpu_s(self) -> float:
        """Return the CPU time that all processes have used; in steps of 10 ms where only /proc counts it."""
        counted_s = self.cgroups.cpu_s()
        if counted_s is not None:
            return counted_s
        ticks = sum(_cpu_ticks(self._launcher.pid)[2:])
        return (ticks + sum(sum(_cpu_ticks(pid)) for pid in self.pids())) / _CLOCK_TICKS_PER_S

    def memory_pss_bytes(self) -> int:
        """Return the memory of all living processes, with a fair share of what they have in common."""
        return sum(pss_bytes(pid) for pid in self.pids())

    def max_memory_bytes(self) -> int:
        """Return the most memory in use at once; where nothing counts that, what is in use now."""
        counted = self.cgroups.max_memory_bytes()
        return self.memory_pss_bytes() if counted is None else counted

    def close(self) -> None:
        """End every process, and remove what belonged to them."""
        self._control.close()
        try:
            self._launcher.wait(_BOUND_S)
        except subprocess.TimeoutExpired:
            self._launcher.kill()
            self._launcher.wait()
            raise ModelStuck("the launcher did not end its processes") from None
        finally:
            self._reader.join()
            self._events.close()

    def _read_events(self) -> None:
        while packet := self._events.recv(256):
            end = json.loads(packet)
            with self._lock:  # held while a process is prepared: its pid is known when its end is told
                process = self._processes[end["number"]]
            process.code, process.ended_s = end["code"], end["at_s"]
            if process.started_s is not None:
                self._on_end(process)

    def _stop_tree(self) -> None:
        """Stop all processes, again until none runs: one may have forked while the others were stopped."""
        for _ in range(_STOP_ROUNDS):
            running = [pid for pid in self.pids() if _state(pid) not in ("T", "Z", None)]
            if not running:
                return
            for pid in running:
                _kill(pid, signal.SIGSTOP)
            time.sleep(0.001)
        raise ModelStuck(f"processes {running} do not stop")


def _kill(pid: int, signal_number: int) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        pass


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on, or none for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str | None:
    fields = _stat_fields(pid)
    return fields[0] if fields else None


def _cpu_ticks(pid: int) -> list[int]:
    """Return user and system time of a process, then those of its children that have ended."""
    return [int(field) for field in _stat_fields(pid)[11:15]]


def pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
