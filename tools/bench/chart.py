"""The benchmark's picture: bars for the layer and its peers, curves for how the layer's figures grow. Pure.

Plain strings, no library: a few rectangles, lines and words. The colours are legible on white and on black alike,
because README is read on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from bench.curves import AXES, Point, Series
from bench.results import Results

WIDTH = 960
TEXT, FAINT, OURS, OTHERS = "#7d8590", "#7d859055", "#e8702a", "#5b8fd6"
COLOURS = (OTHERS, OURS, "#3fa66b")
"""Of curves, in the order of a series."""
BARS = (("Cold start added, ms", 0), ("CPU added to a log.info, µs", 1), ("Memory added, lines sent, MB", 5))
"""Titles, and which of a peer's costs."""
ROW = 19
CURVE_HEIGHT = 150
PANEL_WIDTH = 315
"""From one curve's title to the next one's."""
LETTER_WIDTH = 7
"""Of the titles, which are bold; a wide one's average."""


class Box(NamedTuple):
    """A part of the picture."""

    x: float
    y: float
    width: float
    height: float


def draw(results: Results) -> str:
    """Return the picture as SVG."""
    bars_height = 60 + ROW * len(results.costs)
    rows = ceil(len(results.all_curves) / 3)
    height = bars_height + rows * (CURVE_HEIGHT + 95) + 30
    parts = [*_bars(results)]
    for number, (name, series) in enumerate(results.all_curves.items()):
        x, y = 60 + number % 3 * PANEL_WIDTH, bars_height + 50 + number // 3 * (CURVE_HEIGHT + 95)
        parts += _panel(name, series, Box(x, y, 230, CURVE_HEIGHT))
    parts.append(_text(24, height - 8, f"make bench, on {results.where}: everybody in turn, in one run.", fill=TEXT))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{TEXT}"'
    return "\n".join([f"{head} {style}>", *parts, "</svg>", ""])


# Bars


def _bars(results: Results) -> Iterator[str]:
    for number, (title, column) in enumerate(BARS):
        left = 160 + number * 268
        yield _text(left, 22, title, weight="600")
        values = {name: max(0.0, cost[column]) for name, cost in results.costs.items()}
        most = max(values.values(), default=1.0) or 1.0
        for row, (name, value) in enumerate(values.items()):
            y = 36 + row * ROW
            width = max(1.0, value / most * 190)
            if number == 0:
                yield _text(left - 8, y + 12, name, anchor="end", weight="600" if row == 0 else "400")
            yield _rectangle(Box(left, y, width, ROW - 5), OURS if row == 0 else OTHERS)
            yield _text(left + width + 5, y + 12, f"{results.costs[name][column]:.1f}")


# Curves


class Scale(NamedTuple):
    """A logarithmic axis."""

    least: float
    most: float
    start: float
    length: float

    def at(self, value: float) -> float:
        """Return where a value lies."""
        span = log10(self.most) - log10(self.least)
        return self.start + (log10(max(value, self.least)) - log10(self.least)) / span * self.length

    def ticks(self) -> list[float]:
        """Return round values that get a label: fewer of them where there is much to cover."""
        decades = range(floor(log10(self.least)), ceil(log10(self.most)) + 1)
        steps = (1, 2, 5) if len(decades) <= 4 else (1,)
        values = (step * 10.0**power for power in decades for step in steps)
        return [value for value in values if self.least <= value <= self.most]


def _scale(values: Sequence[float], start: float, length: float) -> Scale:
    least, most = max(min(values), 0.1), max(*values, 0.2)
    return Scale(least / 1.25, most * 1.25, start, length)


def _panel(name: str, series: Series, box: Box) -> Iterator[str]:
    axes = AXES[name]
    points = [point for line in series.values() for point in line]
    across = _scale([point.x for point in points], box.x, box.width)
    up = _scale([point.y for point in points], box.y + box.height, -box.height)
    for row, text in enumerate(reversed(title_rows(f"{axes.title}, {axes.y}"))):
        yield _text(box.x - 36, box.y - 26 - 15 * row, text, weight="600")
    for value in up.ticks():
        yield _line([Point(box.x, up.at(value)), Point(box.x + box.width, up.at(value))], FAINT, 1)
        yield _text(box.x - 6, up.at(value) + 4, f"{value:g}", anchor="end")
    for value in sorted({point.x for point in points}):
        yield _text(across.at(value), box.y + box.height + 16, _count(value), anchor="middle")
    yield _text(box.x + box.width / 2, box.y + box.height + 33, axes.x, anchor="middle")
    for line, colour in zip(series.values(), COLOURS, strict=False):
        places = [Point(across.at(point.x), up.at(point.y)) for point in line]
        yield _line(places, colour, 2)
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places)
    x = box.x
    for label, colour in zip(series, COLOURS, strict=False):
        yield _text(x, box.y - 8, label, fill=colour, weight="600")
        x += LETTER_WIDTH * len(label) + 16


def title_rows(title: str) -> list[str]:
    """A curve's title in rows, so that it ends before the next one begins: a long one is broken behind a comma."""
    if len(title) * LETTER_WIDTH < PANEL_WIDTH:
        return [title]
    head, _, tail = title.partition(", ")
    return [f"{head},", tail]


def _count(value: float) -> str:
    return f"{value / 1000:.3g}k" if value >= 10_000 else f"{value:g}"


# Shapes


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400", fill: str = TEXT) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-weight="{weight}" fill="{fill}">{escape(text)}</text>'


def _rectangle(box: Box, colour: str) -> str:
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect {place} rx="2" fill="{colour}"/>'


def _line(points: Sequence[Point], colour: str, width: float) -> str:
    path = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
