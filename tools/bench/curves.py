"""How the figures grow: with the lines of an invocation, with their length, with the function's memory size.

Separate from the cases, which have goals; curves have none, and show where there is a step or a slope that a single
figure hides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench.compare import BURST_LINES, LINE_LENGTH, WITHOUT
from bench.costs import line_costs_us, memory_mb
from bench.pay import Paid, response_series
from bench.stage import CORE_MB, Contender, Stage
from bench.waits import holds_ms

SIZES_MB = (128, 256, 512, 1024, CORE_MB)
LENGTHS = (0, 100, 1_000, 10_000)
COUNTS = (1, 10, 100, 1_000, 10_000)


class Point(NamedTuple):
    """One measurement of a curve."""

    x: float
    y: float


@dataclass(frozen=True)
class Axes:
    """What a panel of curves shows."""

    title: str
    x: str
    y: str


AXES: Mapping[str, Axes] = {
    "response": Axes("Response", "lines per invocation", "ms"),
    "held": Axes("Post-response time with SUMO_FLUSH=end, over TLS", "memory size, MB", "ms"),
    "line": Axes("CPU of one log.info", "characters", "µs"),
    "memory": Axes("Memory (PSS), lines sent over TLS", "lines per invocation", "MB"),
}
"""By curve; both axes are logarithmic. The response's is made of what :mod:`bench.pay` measures."""

Series = dict[str, list[Point]]


def curves(stage: Stage) -> Iterator[tuple[str, Series]]:
    """Measure all curves and yield them as they come."""
    yield "held", _held(stage)
    yield "line", _line(stage)
    yield "memory", _memory(stage)


def response_curve(paid: Paid) -> dict[str, Series]:
    """Return the curve of the response, where that was measured."""
    series = {name: [Point(*each) for each in points] for name, points in response_series(paid).items()}
    return {"response": series} if series else {}


def _pair(stage: Stage) -> Sequence[Contender]:
    return WITHOUT, stage.with_layer


def _held(stage: Stage) -> Series:
    series: Series = {"first post": [], "second": []}
    for size_mb in SIZES_MB:
        rounds = stage.rounds(4, f"curve: held, {size_mb} MB")
        holds = [holds_ms(stage, stage.with_layer, size_mb) for _ in rounds]
        for points, samples in zip(series.values(), zip(*holds, strict=True), strict=True):
            points.append(Point(size_mb, median(samples)))
    return series


def _line(stage: Stage) -> Series:
    contenders = [*_pair(stage), Contender("StreamHandler", setup="stream")]
    series: Series = {each.name: [] for each in contenders}
    for length in LENGTHS:
        cost_us = line_costs_us(stage, contenders, "log", rounds=20, length=length)
        for name, points in series.items():
            points.append(Point(LINE_LENGTH + length, cost_us[name]))
    return series


def _memory(stage: Stage) -> Series:
    series: Series = {each.name: [] for each in _pair(stage)}
    for count in (*COUNTS, BURST_LINES):
        for each in _pair(stage):
            rounds = stage.rounds(3, f"curve: memory, {count} lines, {each.name}")
            after_mb = [memory_mb(stage, each, lines=count)[1] for _ in rounds]
            series[each.name].append(Point(count, median(after_mb)))
    return series
