"""The control groups (version 1) of one environment: a CPU share, a memory limit, the freezer, and what was used.

Separate because it is the one part that needs root and a certain kind of kernel; where a controller is missing, the
others still work, and ``missing`` says in words which one is and why, so that nothing that was not measured or
limited passes for it.

Rules: every environment has groups of its own below the group that the tests run in, with a name that no other has.
The launcher puts the processes in and removes the groups; this module never moves a process.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from model.monitor import ModelStuck

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("freezer", "cpu", "cpuacct", "memory")

CPU_PERIOD_US = 20_000
"""Lambda's own granularity: a 128 MB function is seen to run about 1.4 ms in every 20. The kernel's default of 100 ms
would let a short cold start run unthrottled, and then stop it for 90 ms."""
MB_PER_CORE = 1769
"""Of memory, for one core: AWS's documentation."""
MAX_CORES = 2.0
"""What the machines of this project have; Lambda goes to six."""
INIT_CORES = 2.0
"""In the init phase, whatever the memory size: "on-demand Lambda functions use a full vCPU (non-throttled) but is
limited to 10 seconds during its initialization phase" (AWS, serverlessland.com, "Effectively running Java on
Serverless: Utilize initialization phase"); "function initialization with burst CPU" for as long (AWS's Lambda Web
Adapter, "Async Initialization"). Measured by others: up to 3 GB init code runs faster than the handler's, and only at
3,008 MB a handler has two unthrottled vCPUs, too (bitesizedserverless.com/bite/lambda-cold-start-bootstrap); every size
up to there sees two vCPUs (github.com/rwnx/lambda-cpuinfo); code outside the handler is "not so throttled"
(github.com/newrelic/newrelic-lambda-layers, pull request 1)."""
_FREEZE_BOUND_S = 5.0
_FREEZE_POLL_S = 0.0002


class Cgroups:
    """The control groups of one environment."""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}
        self._folders: dict[str, Path] = {}
        own = _own_groups()
        name = f"lambda-model-{os.getpid()}-{secrets.token_hex(4)}"
        for controller in _CONTROLLERS:
            parent = _ROOT / controller / own.get(controller, "").lstrip("/")
            if not (parent / "cgroup.procs").exists():  # a container that sees the host's path but not its groups
                parent = _ROOT / controller
            try:
                if not (parent / "cgroup.procs").exists():
                    raise FileNotFoundError(f"no cgroup v1 controller {controller}")
                (parent / name).mkdir()
            except OSError as error:
                self.missing[controller] = error.strerror or str(error)
            else:
                self._folders[controller] = parent / name

    @property
    def folders(self) -> list[Path]:
        """Every group that a process of the environment has to be in."""
        return list(self._folders.values())

    def limit_cpu(self, cores: float) -> None:
        """Give all processes together so much of the CPU."""
        if "cpu" in self._folders:
            self._write("cpu", "cpu.cfs_period_us", CPU_PERIOD_US)
            self._write("cpu", "cpu.cfs_quota_us", int(CPU_PERIOD_US * cores))

    def limit_memory(self, memory_mb: int) -> None:
        """Let the kernel kill a process where all together go above this size."""
        if "memory" in self._folders:
            self._write("memory", "memory.limit_in_bytes", memory_mb * 1024 * 1024)
            if (self._folders["memory"] / "memory.memsw.limit_in_bytes").exists():  # with swap there is no end
                self._write("memory", "memory.memsw.limit_in_bytes", memory_mb * 1024 * 1024)

    def freeze(self) -> bool:
        """Stop every process where it is; return False where there is no freezer.

        Raises:
            ModelStuck: The kernel did not stop them all.
        """
        if "freezer" not in self._folders:
            return False
        deadline_s = time.monotonic() + _FREEZE_BOUND_S
        while self._read("freezer", "freezer.state") != "FROZEN":
            self._write("freezer", "freezer.state", "FROZEN")
            if time.monotonic() > deadline_s:
                raise ModelStuck(f"not frozen within {_FREEZE_BOUND_S} s")
            time.sleep(_FREEZE_POLL_S)
        return True

    def thaw(self) -> bool:
        """Let every process go on; return False where there is no freezer."""
        if "freezer" not in self._folders:
            return False
        self._write("freezer", "freezer.state", "THAWED")
        return True

    def pids(self) -> list[int] | None:
        """Return the pids of all processes, or None where no controller can tell."""
        if not self._folders:
            return None
        return [int(line) for line in self._read(next(iter(self._folders)), "cgroup.procs").split()]

    def cpu_s(self) -> float | None:
        """Return the CPU time of all processes, ended ones included, or None where nothing counts it."""
        return int(self._read("cpuacct", "cpuacct.usage")) / 1e9 if "cpuacct" in self._folders else None

    def max_memory_bytes(self) -> int | None:
        """Return the most memory that was in use at once, or None where nothing counts it."""
        return int(self._read("memory", "memory.max_usage_in_bytes")) if "memory" in self._folders else None

    def out_of_memory_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory."""
        if "memory" not in self._folders:
            return 0
        return int(dict(line.split() for line in self._read("memory", "memory.oom_control").splitlines())["oom_kill"])

    def _read(self, controller: str, name: str) -> str:
        return (self._folders[controller] / name).read_text().strip()

    def _write(self, controller: str, name: str, value: object) -> None:
        (self._folders[controller] / name).write_text(str(value))


def share_cores(memory_mb: int) -> float:
    """Return how many cores Lambda gives a function of this memory size, once it is initialized."""
    return min(memory_mb / MB_PER_CORE, MAX_CORES)


def _own_groups() -> dict[str, str]:
    """Return the path of our own group for each controller."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups
