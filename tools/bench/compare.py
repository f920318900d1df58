"""How contenders are compared: samples by name, what an invocation took, a pair that takes turns.

Separate from the cases, which all say what they compare in these words, and from the stage, which runs one environment
without asking what for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from model import Environment, InitResult, Invocation
from sumo_source import SumoSource

from bench.goals import Figure
from bench.stage import Contender, Stage

Figures = dict[str, Figure]
Samples = defaultdict[str, list[float]]

WITHOUT = Contender("without")
AGAIN = Contender("again")
"""The function without the layer, a second time: how far two measurements of the same thing differ."""
LINE_LENGTH = 46
"""Characters of the usual line."""
LINE_MARK = "accepted for customer"
"""What each of the measured function's lines has in it, in whatever form it arrives."""
MIB_LINES = 2_400
"""About 1 MiB of records."""
BURST_LINES = 100_000


def started(environment: Environment) -> InitResult:
    """Start an environment and return what happened.

    Raises:
        RuntimeError: It failed; a comparison makes no sense then.
    """
    init = environment.start()
    if init.error is not None:
        raise RuntimeError(f"the cold start failed: {init.error}; {_last_words(environment)}")
    return init


def invoke(environment: Environment, event: Any) -> Invocation:
    """Invoke, and return what happened.

    Raises:
        RuntimeError: It failed; a comparison makes no sense then.
    """
    invocation = environment.invoke(event)
    if invocation.status != "success":
        raise RuntimeError(f"the measured function failed: {invocation.error}; {_last_words(environment)}")
    return invocation


def _last_words(environment: Environment) -> str:
    return f"it said last: {[line.text for line in environment.cloudwatch[-5:]]}"


def answer(environment: Environment, event: Any) -> Any:
    """Invoke, and return what the function answered.

    Raises:
        RuntimeError: It failed; a comparison makes no sense then.
    """
    return invoke(environment, event).payload


def response_ms(invocation: Invocation) -> float:
    """Return how long the runtime took for the event."""
    assert invocation.handled_s is not None, "it was a success"
    return invocation.handled_s * 1000


def held_ms(invocation: Invocation) -> float:
    """Return how long the environment ran on after the response."""
    assert invocation.response_s is not None, "it was a success"
    return (invocation.duration_s - invocation.response_s) * 1000


def lines_at(source: SumoSource) -> int:
    """Return how many of the function's lines are there, each counted once."""
    return len({record["id"] for record in source.records if record["type"] == "function"})


def others_cpu_ns(environment: Environment) -> int:
    """Return the CPU time of all living threads in the environment but the runtime's main thread."""
    tasks = [task for pid in environment.pids() for task in Path(f"/proc/{pid}/task").iterdir()]
    others = [task for task in tasks if task.name != str(environment.runtime_pid)]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in others)


def added(samples: Mapping[str, Sequence[float]], measure: Callable[[Sequence[float]], float]) -> Figure:
    """Return what the layer adds."""
    with_it, without = measure(samples["with"]), measure(samples["without"])
    return Figure(with_it - without, f"{without:.2f} without, {with_it:.2f} with")


@contextmanager
def open_pair(
    stage: Stage,
    source: SumoSource | str,
    variables: Mapping[str, str],
    *,
    has_share: bool = False,
    name_server: str | None = None,
) -> Iterator[dict[str, Environment]]:
    """Give an environment with the layer and one without, started and warm."""
    with ExitStack() as stack:
        pair = {}
        for each in (WITHOUT, stage.with_layer):
            environment = stage.environment(
                each, source, variables=variables, has_share=has_share, is_quiet=True, name_server=name_server
            )
            pair[each.name] = stack.enter_context(environment)
            started(environment)
            for _ in range(3):
                invoke(environment, {"log": 3})
        yield pair
