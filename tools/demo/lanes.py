"""The page of a demo that has several lives beside each other: copies of a snapshot, and whatever else begins often.

Separate from ``page`` and ``picture``, which show one environment's life in all detail: here each life is one lane, and
all lanes have the same axis, which begins with each life. Style and script are the same.

Rules:

* As there: every shape stands for something that was recorded, and a number of the run is in an element with
  ``data-fact``.
* The axis is linear.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

from demo.page import LEGEND, table
from demo.svg import Labels, box, element, width_px

WIDTH_PX = 1000
_MARGIN_PX = 14
_LANE_PX = 78
_TOP_PX = 26
_BAND_PX = 22
_BLOCK_PX = 4
_STACK_MAX = 6
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Block:
    """A time in which a life was in one state."""

    kind: str
    """A key of :data:`demo.page.LEGEND`."""
    start_s: float
    end_s: float
    title: str
    label: str = ""


@dataclass(frozen=True)
class Mark:
    """A line, or a request, at a moment of a life."""

    at_s: float
    title: str
    kind: str
    """A class of the page's style."""
    label: str = ""
    batch: str = ""
    """Which request it was in, or is; shapes with the same one light up together."""


@dataclass(frozen=True)
class Lane:
    """One life; its times count from its own beginning."""

    name: str
    hint: str
    blocks: Sequence[Block]
    lines: Sequence[Mark]
    requests: Sequence[Mark]


@dataclass(frozen=True)
class Lives:
    """What a page is about."""

    title: str
    lead: str
    what: str
    verdict: str
    is_well: bool
    facts: Mapping[str, tuple[int, str]]
    """What is counted, by the name of the fact: how many, of what."""
    lanes: Sequence[Lane]
    legend: Mapping[str, tuple[str, str]]
    """Of what :data:`demo.page.LEGEND` does not have."""
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    records: Mapping[str, Mapping[str, Any]]
    wrong: Sequence[str] = field(default_factory=list)
    footnotes: Sequence[str] = field(default_factory=list)


def page(lives: Lives) -> str:
    """Return the page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", lives.title),
        element("style", (_FOLDER / "page.css").read_text()),
    )
    header = element(
        "header", element("h1", lives.title), element("p", lives.lead), element("p", lives.what, class_="fault")
    )
    cards = [element("p", lives.verdict, class_=f"verdict {'good' if lives.is_well else 'bad'}")]
    for name, (number, what) in lives.facts.items():
        cards.append(element("p", element("b", str(number), data_fact=name), f" {what}", class_="card"))
    scroller = element("div", _names(lives.lanes), _drawn(lives.lanes), class_="scroller", tabindex="0")
    details = [
        element("details", element("summary", kind), element("pre", json.dumps(record, indent=2, ensure_ascii=False)))
        for kind, record in lives.records.items()
    ]
    wrong = element("ul", *(element("li", each) for each in lives.wrong), class_="said")
    body = element(
        "body",
        header,
        element(
            "main",
            element("section", *cards, class_="cards"),
            element("figure", scroller, _legend(lives)),
            element("section", table(lives.heads, lives.rows, "lives")),
            *([element("section", element("h2", "What is wrong"), wrong)] if lives.wrong else []),
            element("section", element("h2", "Some of the records, as Sumo Logic has them"), *details),
        ),
        element("footer", *(element("p", note) for note in lives.footnotes)),
        element("div", id="tip", role="tooltip", hidden=""),
        element("script", (_FOLDER / "page.js").read_text()),
    )
    document = element("html", head, body, lang="en")
    return "<!doctype html>\n" + tostring(document, encoding="unicode", method="html") + "\n"


def _names(lanes: Sequence[Lane]) -> Element:
    texts = []
    for number, lane in enumerate(lanes):
        y_px = _TOP_PX + number * _LANE_PX + _LANE_PX / 2
        texts.append(element("text", lane.name, x=0, y=y_px, class_="lane"))
        texts.append(element("text", lane.hint, x=0, y=y_px + 13, class_="hint"))
    longest = max([*(lane.name for lane in lanes), *(lane.hint for lane in lanes)], key=len)
    return element(
        "svg", *texts, width=float(width_px(longest)), height=_height_px(lanes), class_="names", aria_hidden="true"
    )


def _drawn(lanes: Sequence[Lane]) -> Element:
    ends_s = [each.end_s for lane in lanes for each in lane.blocks]
    ends_s += [mark.at_s for lane in lanes for mark in (*lane.lines, *lane.requests)]
    px_per_s = WIDTH_PX / max(ends_s)
    view = f"{-_MARGIN_PX} 0 {WIDTH_PX + 2 * _MARGIN_PX} {_height_px(lanes)}"
    parts = [element("g", *_axis(max(ends_s), px_per_s))]
    for number, lane in enumerate(lanes):
        parts.append(element("g", *_lane(lane, _TOP_PX + number * _LANE_PX, px_per_s)))
    return element(
        "svg",
        *parts,
        viewBox=view,
        width=WIDTH_PX + 2 * _MARGIN_PX,
        height=_height_px(lanes),
        role="group",
        aria_label="Lives on one axis of time",
    )


def _height_px(lanes: Sequence[Lane]) -> int:
    return _TOP_PX + len(lanes) * _LANE_PX


def _axis(until_s: float, px_per_s: float) -> Iterator[Element]:
    labels = _row()
    tick = 0
    while tick * 0.5 <= until_s:
        yield from labels.place(tick * 0.5 * px_per_s, 14, f"{tick * 0.5:.1f} s", "time", 0.85)
        tick += 1


def _lane(lane: Lane, top_px: float, px_per_s: float) -> Iterator[Element]:
    labels = _row()
    for block in lane.blocks:
        x_px, size_px = block.start_s * px_per_s, max(1.0, (block.end_s - block.start_s) * px_per_s)
        yield box(x_px, top_px + 30, size_px, _BAND_PX, block.kind, block.title)
        if block.label and width_px(block.label) < size_px:
            yield from labels.place(x_px + size_px / 2, top_px + 45, block.label, "in-run")
    heights: dict[int, int] = {}
    for mark in lane.lines:
        column = round(mark.at_s * px_per_s / _BLOCK_PX)
        while heights.get(column, 0) >= _STACK_MAX:
            column += 1
        heights[column] = heights.get(column, 0) + 1
        yield element(
            "rect",
            title=mark.title,
            x=float(column * _BLOCK_PX),
            y=float(top_px + 26 - heights[column] * _BLOCK_PX),
            width=_BLOCK_PX - 0.8,
            height=_BLOCK_PX - 0.8,
            class_=f"line {mark.kind}",
            data_batch=mark.batch or None,
        )
    counts = _row()
    for mark in lane.requests:
        x_px = mark.at_s * px_per_s
        yield element(
            "circle",
            title=mark.title,
            cx=x_px,
            cy=float(top_px + 61),
            r=5.0,
            class_=f"request {mark.kind} taken",
            data_batch=mark.batch or None,
            tabindex=0,
        )
        yield from counts.place(x_px, top_px + 77, mark.label, "count", 0.85)


def _legend(lives: Lives) -> Element:
    kinds = dict.fromkeys([*(block.kind for lane in lives.lanes for block in lane.blocks), "taken"])
    words = {**{kind: LEGEND[kind] for kind in kinds if kind in LEGEND}, **lives.legend}
    entries = [
        element("div", element("dt", element("i", class_=f"key {kind}"), name), element("dd", what), class_="entry")
        for kind, (name, what) in words.items()
    ]
    return element("figcaption", element("dl", *entries))


def _row() -> Labels:
    return Labels(-_MARGIN_PX, WIDTH_PX + _MARGIN_PX)
