"""The demo's page: the picture, what it means, and the numbers beside it, in one file of HTML.

Separate from ``run``, which shows the same in a terminal, and from ``picture``, which draws. The file needs nothing but
a browser: style and script (``page.css``, ``page.js``) are inside, and nothing is loaded from anywhere.

Rules:

* A number of the run is in an element with ``data-fact``: tests compare it with what the terminal shows.
* Without the script everything is there, titles included; it only makes them faster to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from xml.etree.ElementTree import Element, tostring

from demo.facts import SENDERS, Account, Batch, ColdStart, Served, Way, cost_rows
from demo.picture import Picture
from demo.svg import element

_FOLDER = Path(__file__).parent

LISTED_MAX = 10
"""Of what is wrong; everything is counted."""

WAYS: dict[Way, tuple[str, str]] = {
    "sidecar": (
        "to Sumo Logic by the background thread (the layer's, in the function's process)",
        "after the response, or during the next invocation",
    ),
    "extension": ("to Sumo Logic by the extension", "the runtime was gone: killed, timed out or shut down"),
    "s3": ("to S3", "Sumo Logic did not accept them, and there is a failover bucket"),
    "lost": ("lost", "nobody has them"),
}
"""Where a line can go, in the order of the bar."""

LEGEND = {
    "init": ("cold start", "Lambda starts the extension, then the runtime, and loads your code."),
    "run": ("invocation", "Your function runs; the number is the invocation's. Its caller waits."),
    "answer": ("response", "The caller has its response and waits no longer."),
    "hold": (
        "post-response time",
        "The background thread keeps the environment awake until the lines are out: 2 s at most.",
    ),
    "frozen": ("frozen", "Between invocations Lambda stops every process; nothing runs and nothing is billed."),
    "shutdown": ("shutdown", "Lambda ends the environment; the extension has up to two seconds for what is left."),
    "cross": ("killed", "A process is ended from outside, without a word to it."),
    "line": ("a line", "In the colour of the way it went. Point at it: what travelled with it lights up."),
    "taken": ("accepted", "A request that Sumo Logic accepted; the number below it counts its lines."),
    "refused": ("rejected", "A request that was not accepted, and its status. Its lines wait for another try."),
    "s3": ("object", "A batch in the failover bucket."),
}
"""What the shapes mean, for somebody who sees them for the first time."""


@dataclass(frozen=True)
class Run:
    """What a page is about."""

    fault: str
    """Its name; empty for the ordinary story."""
    what: str
    account: Account
    measured: Sequence[ColdStart]
    footnotes: Sequence[str]
    """How far to trust it."""


def page(run: Run) -> str:
    """Return the page."""
    picture = Picture(run.account)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "The life of an environment, and of its lines"),
        element("style", (_FOLDER / "page.css").read_text()),
    )
    scroller = element("div", picture.names(), picture.drawn(), class_="scroller", tabindex="0")
    body = element(
        "body",
        element("header", *_header(run)),
        element(
            "main",
            element("section", *_cards(run.account), class_="cards"),
            element("figure", scroller, _legend(picture)),
            element("section", *_ways(run.account), class_="ways"),
            element("div", element("section", *_steps(run.account)), element("div", *_aside(run)), class_="columns"),
            element("section", *_records(run.account)),
        ),
        element("footer", *(element("p", note) for note in run.footnotes)),
        element("div", id="tip", role="tooltip", hidden=""),
        element("script", (_FOLDER / "page.js").read_text()),
    )
    document = element("html", head, body, lang="en")
    return "<!doctype html>\n" + tostring(document, encoding="unicode", method="html") + "\n"


def _header(run: Run) -> Iterator[Element]:
    yield element("h1", "The life of an environment, and of its lines")
    lead = (
        "A small order service on a model of AWS Lambda, with the real layer: its wrapper, its threads inside the "
        "runtime process, its extension. Everything below was recorded while it ran."
    )
    yield element("p", lead)
    fault = f"FAULT={run.fault}: " if run.fault else ""
    yield element("p", element("strong", fault), f"{run.what[0].upper()}{run.what[1:]}.", class_="fault")


def _cards(account: Account) -> Iterator[Element]:
    """The books: what was written is somewhere."""
    in_bucket = account.arrived.total() - account.at_sumo.total()
    yield element("p", account.verdict(), class_="verdict good" if account.is_well else "verdict bad")
    yield _card("written", account.written.total(), "lines written")
    yield _card("sumo", account.at_sumo.total(), "at Sumo Logic")
    yield _card("s3", in_bucket, "in S3")
    yield _card("twice", len(account.repeated), "twice")
    yield _card("lost", account.lost.total(), "lost")


def _card(fact: str, number: int, what: str) -> Element:
    return element("p", element("b", str(number), data_fact=fact), f" {what}", class_="card")


def _legend(picture: Picture) -> Element:
    """The shapes in words, as far as they appear."""
    appearing = {word for shape in picture.drawn().iter() for word in shape.get("class", "").split()}
    entries = []
    for shape, (name, what) in LEGEND.items():
        if shape not in appearing:
            continue
        term = element("dt", element("i", class_=f"key {shape}"), name)
        entries.append(element("div", term, element("dd", what), class_="entry"))
    note = "Each phase is as wide as the square root of its duration; the thin strip on top is the same to scale."
    return element("figcaption", element("dl", *entries), element("p", note, class_="note"))


def _ways(account: Account) -> Iterator[Element]:
    """A bar of all lines by the way they went."""
    counts = account.ways()
    yield element("h2", "Where the lines went")
    bar = [element("i", class_=way, style=f"flex-grow:{sum(tries)}") for way, tries in counts.items() if sum(tries)]
    yield element("div", *bar, class_="bar")
    rows = []
    for way, (first, later) in counts.items():
        if first + later:
            again = f", {later} of them at a second try or later" if later else ""
            total = element("b", str(first + later), data_fact=f"way-{way}")
            rows.append(
                element("li", element("i", class_=f"key {way}"), total, f" {WAYS[way][0]}{again}: {WAYS[way][1]}")
            )
    yield element("ul", *rows)


def _steps(account: Account) -> Iterator[Element]:
    yield element("h2", "Invocation by invocation")
    heads = ("", "", "the caller gets", "response after", "post-response time", "lines", "delivered by the freeze")
    rows = [_step(served) for served in account.served]
    yield table(heads, rows, "steps")


def _step(served: Served) -> Sequence[Element | str]:
    invocation, traces = served.invocation, served.traces
    answer = f"total {invocation.payload['total']:.2f}" if invocation.error is None else invocation.error.error_type
    facts = element("span", str(traces.written), data_fact=f"written-{served.number}")
    return (
        str(served.number), served.what, answer, ms(invocation.response_s), ms(served.held_s), facts,
        str(traces.delivered),
    )  # fmt: skip


def _aside(run: Run) -> Iterator[Element]:
    yield element("section", element("h2", "Who sent them"), _senders(run.account.batches))
    if run.measured:
        yield element("section", element("h2", "What the layer costs"), _costs(run.measured))
    said = [line.removeprefix("sumo-internal-extension: ") for line in run.account.said_by_layer]
    for what, lines in {"What the layer said on stderr": said, **run.account.complaints()}.items():
        if lines:
            listed = [element("li", line) for line in lines[:LISTED_MAX]]
            more = [element("li", f"{len(lines) - LISTED_MAX} more")] if len(lines) > LISTED_MAX else []
            yield element(
                "section", element("h2", f"{what[0].upper()}{what[1:]}"), element("ul", *listed, *more, class_="said")
            )


def _senders(sent: Sequence[Batch]) -> Element:
    rows = []
    for sender, name in SENDERS.items():
        its = [batch for batch in sent if batch.sender == sender]
        taken = [batch for batch in its if batch.is_taken]
        late_s = [each for batch in taken for each in batch.late_s]
        lines = element("span", str(sum(batch.lines for batch in taken)), data_fact=f"sent-{sender}")
        size = f"{sum(batch.gzipped_bytes for batch in taken) / 1000:.1f} kB"
        lateness = f"{median(late_s):.2f} s" if late_s else "-"
        rows.append((name, str(len(taken)), str(len(its) - len(taken)), lines, size, lateness))
    return table(("", "accepted", "rejected", "lines", "gzipped", "latency, median"), rows, "senders")


def _costs(measured: Sequence[ColdStart]) -> Element:
    heads = (f"medians of {len(measured) // 2}", "without it", "with it", "more")
    return table(heads, list(cost_rows(measured)), "costs")


def _records(account: Account) -> Iterator[Element]:
    yield element("h2", "Some of the records, as Sumo Logic has them")
    for kind, record in account.kinds():
        shown = json.dumps(record, indent=2, ensure_ascii=False)
        yield element("details", element("summary", kind), element("pre", shown))


def table(heads: Sequence[str], rows: Iterable[Sequence[Element | str]], class_: str) -> Element:
    """Return a table that scrolls where there is no room for it."""
    head = element("thead", element("tr", *(element("th", head) for head in heads)))
    body = element("tbody", *(element("tr", *(element("td", cell) for cell in row)) for row in rows))
    return element("div", element("table", head, body, class_=class_), class_="scroller")


def ms(duration_s: float | None) -> str:
    """Return a duration for people; a dash where there is none."""
    return "-" if duration_s is None else f"{duration_s * 1000:.1f} ms"
