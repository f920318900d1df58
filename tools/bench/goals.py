"""The goals: what each measured figure means, how much of it is allowed, and how far to trust it. Pure.

Separate from the cases, so that the table can be read in one piece, and changed without looking at how things are
measured.

Rules:

* A goal is met when the figure is over it by no more than two runs of the function without the layer differ.
* A goal that the kept run misses is marked as missed, and holds at the value that was reached: a later run fails where
  it is clearly worse than that.
* What this machine cannot measure has a figure that is no number, and its detail says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured figure, in its goal's unit, with what it was made of in words."""

    value: float
    detail: str = ""
    control: float = 0.0
    """By how much two runs without the layer have differed, in the same comparison."""


def unmeasured(reason: str) -> Figure:
    """Return the figure of what this machine cannot measure."""
    return Figure(nan, reason)


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
    "response_end_1": Goal("`end`: response with 1 line, added", "ms", 0.3, 0.15),
    "response_end_100": Goal("… 100 lines", "ms", 0.3, 0.3),
    "response_end_1000": Goal("… 1,000 lines", "ms", 1.0, 2.0),
    "response_10000": Goal("… 10,000 lines, 4 MB, shipped meanwhile: with / without", "x", 1.15, 0.1),
    "billed_1": Goal("`end`: billed with 1 line, added beyond the source's own time", "ms", 1.0, 0.5),
    "billed_100": Goal("… 100 lines", "ms", 1.5, 0.7),
    "billed_1000": Goal("… 1,000 lines", "ms", 4.0, 3.0),
    "response_next_1": Goal("`next`: response with 1 line, added", "ms", 0.5, 0.2),
    "response_next_100": Goal("… 100 lines", "ms", 0.6, 0.5),
    "response_next_1000": Goal("… 1,000 lines", "ms", 2.0, 3.0),
    "response_beside": Goal("… 100 lines, where the last ones are shipped during it, once a second", "ms", None, 0.7),
    "in_place": Goal("a `log.info` in place (100 after a thaw, read, one core): CPU with / without", "x", 1.05, 0.1),
    "log_info": Goal("… hot (nobody reads): CPU added, text format", "µs", 0.0, 0.7),
    "log_info_json": Goal("… JSON format", "µs", 0.0, 0.7),
    "spared": Goal("… hot with SUMO_CLOUDWATCH=none: CPU with / without, text format", "x", 0.65, 0.05),
    "spared_json": Goal("… JSON format", "x", 0.65, 0.05),
    "spared_above_null": Goal("… of what it costs above a NullHandler, text format", "x", 0.5, 0.1),
    "spared_above_null_json": Goal("… JSON format", "x", 0.5, 0.1),
    "debug": Goal("a forgotten DEBUG line (SUMO_DEBUG_ON_FAILURE): CPU above a NullHandler at DEBUG", "µs", 3.0, 0.7),
    "debug_unset": Goal("… without the setting, where the function shows INFO: CPU added", "µs", 0.02, 0.02),
    "print": Goal("a `print`, hot: CPU added", "µs", 1.5, 0.7),
    "structured": Goal("a structlog event with SumoProcessor, over one that is printed", "x", None, 0.3),
    "structured_bridge": Goal("… through `logging`", "x", None, 0.4),
    "masks": Goal("a `log.info` with masked keys and an expression: CPU added", "µs", None, 10.0),
    "cold_start": Goal("cold start added, two cores at every memory size, best", "ms", 8.0, 1.0),
    "cold_start_median": Goal("… median", "ms", None, 2.0),
    "cold_start_scripts": Goal("… best, by two scripts that only register and execute", "ms", None, 1.0),
    "cold_start_compiled": Goal("… best, function's own module with bytecode", "ms", None, 1.0),
    "cold_start_cpu": Goal("… CPU of all processes, median", "ms", 16.0, 2.0),
    "cold_start_one_core": Goal("… worst case: one core, median", "ms", 12.0, 3.0),
    "cold_start_128": Goal("… worst case: the share of 128 MB, median", "ms", None, 40.0),
    "registered": Goal("time until the external extension has registered", "ms", 3.0, 0.5),
    "shipping": Goal("CPU for shipping 1 MiB of lines over TLS, over zlib level 1 alone", "x", 1.4, 0.2),
    "shipping_varied": Goal("… lines with less in common", "x", None, 0.2),
    "shipping_zstd": Goal("… with SUMO_COMPRESSION=zstd, on CPython 3.14", "x", 0.7, 0.1),
    "memory_idle": Goal("memory added (PSS), nothing shipped yet", "MB", 8.0, 0.5),
    "memory_boto3": Goal("… after shipping over TLS, function with boto3", "MB", 14.0, 1.0),
    "memory_bare": Goal("… after shipping over TLS, function without imports", "MB", 20.0, 1.0),
    "goodbye": Goal("128 MB, 1 MiB unsent at SHUTDOWN over TLS: lines that are lost", "", 0.0, 0.0),
    "goodbye_s": Goal("… time that it takes, of 2 s", "s", 2.0, 0.2),
    "next": Goal("`next`: an invocation prolonged, Sumo slow, hanging or nameless", "ms", 1.0, 0.3),
    "end_missing": Goal("`end`, Sumo responds after 80 ms: lines not there before the freeze", "", 0.0, 0.0),
    "end_held": Goal("… post-response time", "ms", None, 10.0),
    "first_held_128": Goal("`end`, 128 MB: post-response time of the first post over TLS", "ms", None, 60.0),
    "restore": Goal("a restore (SnapStart), until the runtime asks for its first event: added", "ms", 1.0, 0.3),
    "restore_hook": Goal("… with an init and hooks that log a line each", "ms", None, 0.5),
    "burst_lost": Goal("100,000 lines in one invocation: lost", "", 0.0, 0.0),
    "burst_memory": Goal("… memory added at most (the spool's own limit is 128)", "MB", 84.0, 5.0),
    "burst_pause": Goal("… longest pause for the function, best of the runs", "ms", 5.0, 2.0),
    "burst_pause_one_core": Goal("… longest pause on one core", "ms", None, 10.0),
    "busy": Goal("pure Python slowed down while 1 MiB/s is shipped", "%", 2.0, 1.0),
    "busy_one_core": Goal("… on one core", "%", None, 1.5),
    "zip": Goal("the zip", "KiB", 1024.0, 20.0),
}
"""By figure, in the order of the table."""


def is_met(name: str, figure: Figure) -> bool:
    """Is a figure within its goal, where it has one and could be measured?"""
    most = GOALS[name].most
    return most is None or isnan(figure.value) or figure.value <= most + figure.control


def worse(kept: Mapping[str, Figure], measured: Mapping[str, Figure]) -> Iterator[tuple[str, str]]:
    """Yield the figures that are over their goals, or clearly worse than those that were kept, and a text on each.

    A goal that the kept figure misses too is no news.
    """
    for name, figure in measured.items():
        before = kept.get(name)
        was_missed = before is not None and not is_met(name, before)
        if not is_met(name, figure) and not was_missed:
            most = show(name, GOALS[name].most or 0)
            yield name, f"{name} is over its budget: {show(name, figure.value)}, at most {most} ({figure.detail})"
        if before is not None and figure.value > before.value + GOALS[name].slack + figure.control:
            marked = " (the budget is missed)" if was_missed else ""
            texts = show(name, before.value), show(name, figure.value)
            yield name, f"{name} has become worse: {texts[0]} was kept{marked}, now {texts[1]} ({figure.detail})"


def verdict(name: str, figure: Figure) -> str:
    """Return a figure as the tables have it, marked where its goal is missed."""
    return show(name, figure.value) + ("" if is_met(name, figure) else ", missed")


def show(name: str, value: float) -> str:
    """Return a value with its unit, as the tables have it."""
    if isnan(value):
        return "not measured"
    digits = 0 if abs(value) >= 100 or GOALS[name].unit == "" else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {GOALS[name].unit}".strip()
