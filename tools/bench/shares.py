"""``make bench-profile``, second part: whose CPU an invocation with one line takes, and whether it fits a small share.

Separate from ``pay``, which measures how long a user waits, because this tells why: with 128 MB an environment has its
share of a core in each period, and one that has used it up waits for the next. What is printed stands in
``docs/bench.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from model import Environment
from model.cgroups import CPU_PERIOD_US, share_cores

from bench.compare import WITHOUT, invoke, response_ms, started
from bench.pay import SLOW_MS, SMALLEST_MB
from bench.sink import Sink
from bench.stage import CORE_MB, Stage, say, stage

INVOCATIONS = 60
EVENT = {"log": 1}


def main() -> None:
    """Print it."""
    with stage(1.0, say) as on, Sink(SLOW_MS / 1000) as sink:
        share_ms = CPU_PERIOD_US / 1000 * share_cores(SMALLEST_MB)
        print(f"At {SMALLEST_MB} MB, {share_ms:.2f} ms of CPU in each {CPU_PERIOD_US / 1000:.0f}, `next`, one line:")
        for name, environment in _environments(on, sink, SMALLEST_MB):
            print(f"  {name}: {_in_share(environment, share_ms)}")
        print(f"\nAt {CORE_MB:,} MB, CPU of an invocation by thread, ms:")
        for name, environment in _environments(on, sink, CORE_MB):
            for thread, cpu_ms in by_thread(environment):
                print(f"  {cpu_ms:6.2f}  {name}, {thread}")


def _environments(on: Stage, sink: Sink, memory_mb: int) -> Iterator[tuple[str, Environment]]:
    """Yield an environment without the layer and one with it, warm, one after the other."""
    for each in (WITHOUT, on.with_layer):
        with ExitStack() as stack:
            log = stack.enter_context(on.read_log(each))
            variables = {"SUMO_FLUSH": "next"}
            environment = stack.enter_context(
                on.environment(each, sink, variables=variables, memory_mb=memory_mb, has_share=True, log=log)
            )
            started(environment)
            for _ in range(5):
                invoke(environment, EVENT)
            yield each.name, environment


def _in_share(environment: Environment, share_ms: float) -> str:
    """Say what invocations take, and how many of them more than a period's share."""
    responses_ms, cpu_ms = [], []
    for _ in range(INVOCATIONS):
        before_s = environment.cpu_s()
        responses_ms.append(response_ms(invoke(environment, EVENT)))
        cpu_ms.append((environment.cpu_s() - before_s) * 1000)
    over = sum(each > share_ms for each in cpu_ms)
    return (
        f"response {median(responses_ms):.2f} ms, CPU of all processes {median(cpu_ms):.2f} ms, "
        f"more than the share in {over} of {INVOCATIONS} invocations"
    )


def by_thread(environment: Environment) -> Iterator[tuple[str, float]]:
    """Yield the CPU milliseconds of an invocation, of all processes and of each thread that outlives it."""
    before, before_s = _threads(environment), environment.cpu_s()
    for _ in range(INVOCATIONS):
        invoke(environment, EVENT)
    yield "all, the kernel's own among it", (environment.cpu_s() - before_s) * 1000 / INVOCATIONS
    for (pid, number), cpu_ns in _threads(environment).items():
        if (pid, number) in before:
            owner = "the function's process" if pid == environment.runtime_pid else "the extension"
            which = "main thread" if number == pid else f"thread {number}"
            yield f"{owner}, {which}", (cpu_ns - before[pid, number]) / 1e6 / INVOCATIONS


def _threads(environment: Environment) -> dict[tuple[int, int], int]:
    """Return the CPU nanoseconds of each thread so far, by process and number."""
    tasks = [(pid, task) for pid in environment.pids() for task in Path(f"/proc/{pid}/task").iterdir()]
    return {(pid, int(task.name)): int((task / "schedstat").read_text().split()[0]) for pid, task in tasks}


if __name__ == "__main__":
    main()
