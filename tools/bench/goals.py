"""The goals: what each measured figure means, how much of it is allowed, and how far to trust it. Pure.

Separate from the cases, so that the table can be read in one piece, and changed without looking at how things are
measured. The texts and limits are those of the project's issue on costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


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
    """What is allowed; None where a figure is only reported."""
    slack: float
    """By how much the same code's figure may differ from one run to the next: only a figure that is worse by more is
    worse."""


GOALS: Mapping[str, Goal] = {
    "cold_start": Goal("cold start added, two cores, best", "ms", 4.0, 1.0),
    "cold_start_median": Goal("… median", "ms", None, 2.0),
    "cold_start_scripts": Goal("… best, by two scripts that only register and execute", "ms", None, 1.0),
    "cold_start_compiled": Goal("… best, function's own module with bytecode", "ms", None, 1.0),
    "cold_start_one_core": Goal("… one core, median", "ms", None, 3.0),
    "cold_start_128": Goal("… 128 MB, median", "ms", None, 40.0),
    "cold_start_cpu": Goal("… CPU of all processes, median", "ms", None, 2.0),
    "registered": Goal("time until the external extension has registered", "ms", 3.0, 0.5),
    "log_info": Goal("a `log.info`: CPU added, over StreamHandler(/dev/null) - NullHandler", "x", 1.0, 0.2),
    "log_info_one_core": Goal("… one core", "x", None, 0.3),
    "print": Goal("a `print`, likewise", "x", 1.5, 0.3),
    "print_one_core": Goal("… one core", "x", None, 0.4),
    "structured": Goal("a structlog event with SumoProcessor, over one that is printed", "x", None, 0.3),
    "structured_bridge": Goal("… through `logging`", "x", None, 0.4),
    "masks": Goal("a `log.info` with masked keys and an expression: CPU added", "µs", None, 10.0),
    "shipping": Goal("CPU for shipping 1 MiB of lines over TLS, over zlib level 1 alone", "x", 1.3, 0.2),
    "shipping_varied": Goal("… lines with less in common", "x", None, 0.2),
    "memory_idle": Goal("memory added (PSS), nothing shipped yet", "MB", 8.0, 0.5),
    "memory_boto3": Goal("… after shipping over TLS, function with boto3", "MB", 14.0, 1.0),
    "memory_bare": Goal("… after shipping over TLS, function without imports", "MB", 20.0, 1.0),
    "goodbye": Goal("128 MB, 1 MiB unsent at SHUTDOWN over TLS: lines that are lost", "", 0.0, 0.0),
    "goodbye_s": Goal("… time that it takes, of 2 s", "s", 2.0, 0.2),
    "response": Goal("response with 100 lines: time added beside the lines' own", "ms", 0.5, 0.2),
    "next": Goal("`next`: an invocation prolonged, Sumo slow, hanging or nameless", "ms", 1.0, 0.3),
    "end_missing": Goal("`end`, Sumo takes 80 ms: lines not there before the freeze", "", 0.0, 0.0),
    "end_response": Goal("… time added to the response", "ms", 1.0, 0.3),
    "end_held": Goal("… time that the environment is held", "ms", None, 10.0),
    "first_held_128": Goal("`end`, 128 MB: held for the first post over TLS", "ms", None, 60.0),
    "burst_lost": Goal("100,000 lines in one invocation: lost", "", 0.0, 0.0),
    "burst_memory": Goal("… memory added at most (the spool's own bound is 128)", "MB", 84.0, 5.0),
    "burst_pause": Goal("… longest pause for the function, best of the runs", "ms", 5.0, 2.0),
    "burst_pause_one_core": Goal("… longest pause on one core", "ms", None, 10.0),
    "busy": Goal("pure Python slowed down while 1 MiB/s is shipped", "%", 2.0, 1.0),
    "busy_one_core": Goal("… on one core", "%", None, 1.5),
    "zip": Goal("the zip", "KiB", 1024.0, 20.0),
}
"""By figure, in the order of the table."""


def is_met(name: str, figure: Figure) -> bool:
    """Is a figure within its goal, where it has one?"""
    most = GOALS[name].most
    return most is None or figure.value <= most


def worse(kept: Mapping[str, float], measured: Mapping[str, Figure]) -> Iterator[tuple[str, str]]:
    """Yield the figures that are over their goals, or clearly worse than those that were kept, and a text on each."""
    for name, figure in measured.items():
        goal, before = GOALS[name], kept.get(name)
        if not is_met(name, figure):
            most = show(name, goal.most or 0)
            yield name, f"{name} is over its goal: {show(name, figure.value)}, at most {most} ({figure.detail})"
        if before is not None and figure.value > before + goal.slack:
            yield name, f"{name} has become worse: {show(name, before)} was kept, now {show(name, figure.value)}"


def show(name: str, value: float) -> str:
    """Return a value with its unit, as the tables have it."""
    digits = 0 if abs(value) >= 100 or GOALS[name].unit == "" else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {GOALS[name].unit}".strip()
