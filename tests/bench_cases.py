"""What the benchmark measures: one function for each row or group of rows of the table of goals.

A case compares contenders in one alternating run and returns figures; where nothing else is said a figure is made of
medians. What the rows mean and how much is allowed stands in ``GOALS``.

Separate from ``bench``, which plans and reports, and from ``bench_stage``, which runs the environments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench_stage import CORE_MB, Contender, Stage, answer, invoke, started
from sumo_source import SumoSource

LINES = 500
"""Lines in a round of the cost per line: fewer bytes than wake the sidecar in mid-invocation, so that what is measured
is the line itself; shipping has a row of its own."""


class Figure(NamedTuple):
    """One measured figure, in its goal's unit, with what it was made of in words."""

    value: float
    detail: str = ""


@dataclass(frozen=True)
class Goal:
    """A row of the table."""

    what: str
    unit: str
    most: float | None
    """None where a figure is only reported."""
    slack: float
    """By how much a figure of the same code may differ from one run to the next: what is worse by more is worse."""


GOALS: Mapping[str, Goal] = {
    "cold_start": Goal("cold start added, two cores, best of 20", "ms", 4.0, 1.0),
    "cold_start_median": Goal("… median", "ms", None, 2.0),
    "cold_start_one_core": Goal("… on one core, median", "ms", None, 3.0),
    "cold_start_128": Goal("… with 128 MB, median", "ms", None, 40.0),
    "registered": Goal("until the external extension has registered", "ms", 3.0, 0.5),
    "log_info": Goal("a `log.info`, over StreamHandler(/dev/null) - NullHandler", "x", 1.0, 0.15),
    "print": Goal("a `print`, likewise", "x", 1.5, 0.2),
}
"""By figure; a case may give several."""

Figures = dict[str, Figure]
Case = Callable[[Stage], Figures]


# Cold start


def cold_start(stage: Stage) -> Figures:
    """Start with the layer and without in turn, on both cores, on one, and with the share of 128 MB."""
    figures: Figures = {}
    for name, rounds, memory_mb in (("", 20, None), ("_one_core", 10, CORE_MB), ("_128", 5, 128)):
        starts_ms: dict[str, list[float]] = defaultdict(list)
        registered_ms: list[float] = []
        with SumoSource() as source:
            for _ in stage.rounds(rounds, f"cold_start{name}"):
                for contender in (Contender("without"), stage.with_layer):
                    environment = stage.environment(
                        contender, source.url, memory_mb=memory_mb or CORE_MB, has_share=memory_mb is not None
                    )
                    with environment:
                        init = environment.start()
                        starts_ms[contender.name].append(init.duration_s * 1000)
                        registered_ms += [s * 1000 for n, s in init.extensions.items() if n.endswith("extension")]
        if memory_mb is None:
            figures["cold_start"] = _difference(starts_ms, min)
            figures["cold_start_median"] = _difference(starts_ms, median)
            best = f"best {min(registered_ms):.2f}"
            figures["registered"] = Figure(median(registered_ms), best)
        else:
            figures[f"cold_start{name}"] = _difference(starts_ms, median)
    return figures


def _difference(samples_ms: Mapping[str, Sequence[float]], measure: Callable[[Sequence[float]], float]) -> Figure:
    with_it, without = measure(samples_ms["with"]), measure(samples_ms["without"])
    return Figure(with_it - without, f"{without:.1f} without, {with_it:.1f} with")


# The cost of a line


def log_info(stage: Stage) -> Figures:
    """Log with the layer and without, and with the two handlers that make up the yardstick, in turn."""
    return {"log_info": _per_line(stage, "log")}


def print_(stage: Stage) -> Figures:
    """Print, against the same yardstick."""
    return {"print": _per_line(stage, "print")}


def _per_line(stage: Stage, action: str) -> Figure:
    contenders = {"without": Contender("without"), "with": stage.with_layer}
    yardstick = {name: Contender(name, setup=name) for name in ("null", "stream")}
    cost_us = line_costs_us(stage, contenders | yardstick, action)
    extra_us = cost_us["with"] - cost_us["without"]
    yard_us = cost_us["stream"] - cost_us["null"]
    detail = f"{cost_us['without']:.2f} µs without, {cost_us['with']:.2f} with; yardstick {yard_us:.2f} µs"
    return Figure(extra_us / yard_us, detail)


def line_costs_us(
    stage: Stage, contenders: Mapping[str, Contender], action: str, rounds: int = 120
) -> dict[str, float]:
    """Return the CPU time that a line costs the thread that writes it, with each contender, median of all rounds.

    CPU time and not the clock's, because another program on the machine costs nobody anything. Null and stream have
    `log` lines whatever the action is: they are the yardstick of both.
    """
    costs_us: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        source = stack.enter_context(SumoSource(connections=len(contenders)))
        environments = {}
        for name, contender in contenders.items():
            variables = {"SUMO_FLUSH": "end"}
            environment = stage.environment(contender, source.url, variables=variables, is_quiet=True)
            environments[name] = stack.enter_context(environment)
            started(environment)
            invoke(environment, {"log": LINES})
        for _ in stage.rounds(rounds, f"{action} per line"):
            for name, environment in environments.items():
                kind = "log" if name in ("null", "stream") else action
                costs_us[name].append(answer(environment, {kind: LINES})["cpu_ns"] / 1000)
    return {name: median(values) for name, values in costs_us.items()}


CASES: Mapping[str, Case] = {"cold_start": cold_start, "registered": cold_start, "log_info": log_info, "print": print_}
"""By name, as ``ONLY=`` has it."""


def figures(stage: Stage, names: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Run the cases and yield their figures as they come."""
    for case in dict.fromkeys(CASES[name] for name in names):
        yield from case(stage).items()
