"""The demo's picture: one environment's life as lanes below each other on one axis of time, as SVG.

Separate from ``page``, which puts it on a page: here is only what is drawn, and where. Colours and sizes of fonts
are the page's (``page.css``); a shape has a class that says what it shows, and a title that says it in words.

Rules:

* Every shape stands for something that the model, the source or the bucket has recorded. Nothing is drawn for effect.
* A label is left out where it would touch the one before it; what it says is in the shape's title, too.
* Shapes of a batch carry its number (``data-batch``), a line the numbers of all that it was in, so that the page can
  show which lines went where, and how often they were tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from xml.etree.ElementTree import Element

from model import Event

from demo.facts import SENDERS, Account, Batch, Line
from demo.svg import Labels, box, cross, element, hatching, width_px
from demo.timeline import Axis, Phase, phases

WIDTH_PX = 1150
"""Of the axis; with the lanes' names beside it, that is a laptop's window."""
_MARGIN_PX = 14
_BLOCK_PX = 5
"""Of a line, with the gap to the next; lines written within so much of the axis are stacked."""
_STACK_MAX = 11
"""Of lines on top of each other; a higher stack gets a second column."""

LANES = {
    "scale": (14, "", "the same to scale"),
    "marks": (34, "", ""),
    "environment": (58, "Environment", "what Lambda does"),
    "runtime": (110, "Runtime process", "your function, our threads"),
    "extension": (142, "Extension process", "waits for SHUTDOWN"),
    "lines": (226, "Lines written", "each block is a line"),
    "spool": (292, "Spool", "lines waiting in /tmp"),
    "sumo": (326, "Sumo Logic", "requests, and their lines"),
    "s3": (374, "S3", "failover objects"),
}
"""From top to bottom: the place of each lane (its baseline where it has one), its name, what it shows."""
_HEIGHT_PX = 356
_S3_HEIGHT_PX = 48
_BAND_PX = 28
_SPOOL_PX = 40


class Picture:
    """What is needed to draw an account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.phases = list(phases(account.timeline))
        self.axis = Axis(self.phases, WIDTH_PX)
        self.start_s = self.phases[0].start_s
        self.has_bucket = any(batch.place == "S3" for batch in account.batches)
        self.height_px = _HEIGHT_PX + (_S3_HEIGHT_PX if self.has_bucket else 0)

    def x(self, at_s: float) -> float:
        """Return a moment's place."""
        return self.axis.x_px(at_s)

    def ago(self, at_s: float) -> str:
        """Return a moment in words."""
        return f"{at_s - self.start_s:.3f} s"

    def drawn(self) -> Element:
        """Return the picture."""
        view = f"{-_MARGIN_PX} 0 {WIDTH_PX + 2 * _MARGIN_PX} {self.height_px}"
        parts: list[Callable[[], Iterator[Element]]] = [self._columns, self._scale, self._marks, self._environment]
        parts += [self._processes, self._senders, self._lines, self._spool, self._requests]
        return element(
            "svg",
            hatching(),
            *(element("g", *part(), class_=part.__name__.strip("_")) for part in parts),
            viewBox=view,
            width=WIDTH_PX + 2 * _MARGIN_PX,
            height=self.height_px,
            role="group",
            aria_label="Timeline of the environment",
        )

    def names(self) -> Element:
        """Return the lanes' names, a picture of its own, as high as the other."""
        shown = {name: lane for name, lane in LANES.items() if name != "s3" or self.has_bucket}
        texts = []
        for name, (y_px, title, what) in shown.items():
            y_px += {"environment": 12, "runtime": 4, "extension": 4, "lines": -24, "spool": -14}.get(name, 0)
            texts.append(element("text", title, x=0, y=y_px, class_="lane"))
            texts.append(element("text", what, x=0, y=y_px + (12 if title else 4), class_="hint"))
        return element("svg", *texts, width=150, height=self.height_px, class_="names")

    # Lanes

    def _columns(self) -> Iterator[Element]:
        """While the environment is frozen all lanes stand still."""
        for phase in self.phases:
            if phase.kind == "frozen":
                yield self._span(phase, LANES["environment"][0], self.height_px - LANES["environment"][0], "still")

    def _span(self, phase: Phase, y_px: float, height_px: float, class_: str, title: str = "") -> Element:
        x_px = self.x(phase.start_s)
        return box(x_px, y_px, self.x(phase.end_s) - x_px, height_px, class_, title)

    def _scale(self) -> Iterator[Element]:
        """The same phases on an axis that is linear throughout."""
        total_s = self.phases[-1].end_s - self.start_s
        for phase in self.phases:
            x_px = (phase.start_s - self.start_s) / total_s * WIDTH_PX
            share_px = phase.duration_s / total_s * WIDTH_PX
            yield box(x_px, 8, share_px, 7, phase.kind)

    def _marks(self) -> Iterator[Element]:
        """Times, and words for what is no ordinary invocation."""
        times, words = _row(), _row()
        for phase in self.phases:
            x_px = self.x(phase.start_s)
            if phase.kind in ("run", "init", "shutdown"):
                yield from times.place(x_px, 34, f"{phase.start_s - self.start_s:.1f} s", "time", 0.85)
            if phase.kind in ("init", "shutdown"):
                word = "cold start" if phase.kind == "init" else "SHUTDOWN" if phase.detail == "spindown" else "reset"
                yield from words.place((x_px + self.x(phase.end_s)) / 2, 51, word, f"word {phase.kind}", 1.1)

    def _environment(self) -> Iterator[Element]:
        y_px = LANES["environment"][0]
        labels = _row()
        for phase in self.phases:
            yield self._span(phase, y_px, _BAND_PX, phase.kind, self._in_words(phase))
            middle_px = (self.x(phase.start_s) + self.x(phase.end_s)) / 2
            text = str(phase.number) if phase.kind == "run" else f"{phase.duration_s:.1f}s"
            if phase.kind in ("run", "frozen") and self._fits(text, phase):
                yield from labels.place(middle_px, y_px + 18, text, f"in-{phase.kind}")
            if phase.kind == "hold":
                yield self._answer(phase)
        yield from self._deaths()

    def _fits(self, text: str, phase: Phase) -> bool:
        return width_px(text) < self.x(phase.end_s) - self.x(phase.start_s)

    def _in_words(self, phase: Phase) -> str:
        took = f"{phase.duration_s * 1000:.1f} ms" if phase.duration_s < 1 else f"{phase.duration_s:.2f} s"
        at = self.ago(phase.start_s)
        match phase.kind:
            case "init":
                return f"Cold start at {at}: {took} until the runtime and the extensions are ready"
            case "run":
                what = self.account.served[phase.number - 1].what
                return f"Invocation {phase.number} at {at} ({what}): the function runs for {took}"
            case "hold":
                return f"The caller has its response; post-response time: {took}"
            case "frozen":
                return f"Frozen at {at} for {took}: nothing runs, nothing is billed"
            case _:
                return f"Shutdown ({phase.detail}) at {at}: {took}"

    def _answer(self, hold: Phase) -> Element:
        """A small triangle where the caller has its answer."""
        x_px, y_px = self.x(hold.start_s), LANES["environment"][0] + _BAND_PX
        path = f"M{x_px:.1f} {y_px + 1} l-4 7 h8 z"
        return element(
            "path", d=path, class_="answer", title=f"At {self.ago(hold.start_s)} the caller has its response"
        )

    def _deaths(self) -> Iterator[Element]:
        """A cross where the runtime was killed, or its time was over."""
        labels = _row()
        for phase in self.phases:
            invocation = self.account.served[phase.number - 1].invocation if phase.kind == "run" else None
            if invocation is not None and invocation.status in ("crash", "timeout"):
                x_px, y_px = self.x(phase.end_s), LANES["environment"][0] + _BAND_PX / 2
                word = "SIGKILL" if invocation.status == "crash" else "timeout"
                yield cross(x_px, y_px, f"{word} at {self.ago(phase.end_s)}")
                yield from labels.place(x_px, LANES["environment"][0] + _BAND_PX + 12, word, "word dead", 1.1)

    def _processes(self) -> Iterator[Element]:
        """A bar for the life of each process."""
        for lane, name in (("runtime", "runtime"), ("extension", "sumo-internal-extension")):
            y_px = LANES[lane][0]
            for started, ended in _lives(self.account.timeline, name):
                x_px, end_px = self.x(started.at_s), self.x(ended.at_s)
                title = f"{LANES[lane][1]}: from {self.ago(started.at_s)} to {self.ago(ended.at_s)}, {ended.detail}"
                yield box(x_px, y_px, end_px - x_px, 8, f"process {lane}", title)
                if ended.detail == "SIGKILL":
                    yield cross(end_px, y_px + 4, title)

    def _senders(self) -> Iterator[Element]:
        """From each request up to the process that has sent it."""
        for number, batch in enumerate(self.account.batches):
            x_px = self.x(batch.at_s)
            top_px = LANES["runtime" if batch.sender == "sidecar" else "extension"][0] + 8
            bottom_px = LANES["sumo" if batch.place == "Sumo Logic" else "s3"][0] - 8
            class_ = f"way {batch.sender} {_fate(batch)}"
            yield element("path", d=f"M{x_px:.1f} {top_px} V{bottom_px}", class_=class_, data_batch=number)

    def _lines(self) -> Iterator[Element]:
        """Each line as a block in the colour of where it went; those written together are a stack."""
        stacks: dict[int, list[Line]] = {}
        for line in sorted(self.account.lines, key=lambda line: line.at_s):
            stacks.setdefault(round(self.x(line.at_s) / _BLOCK_PX), []).append(line)
        tries, carriers = self.account.tries(), self.account.carriers()
        free_from = 0
        for place, stack in stacks.items():
            left = max(free_from, place)
            free_from = left + (len(stack) - 1) // _STACK_MAX + 1
            for number, line in enumerate(stack):
                column, height = divmod(number, _STACK_MAX)
                carrier = self.account.batches[carriers[line.text]] if line.text in carriers else None
                yield self._line(line, carrier, tries.get(line.text, []), left + column, height + 1)

    def _line(self, line: Line, carrier: Batch | None, tries: Sequence[int], column: int, height: int) -> Element:
        fate = "nobody has it" if carrier is None else f"{carrier.place} has it {carrier.at_s - line.at_s:.2f} s later"
        return element(
            "rect",
            x=column * _BLOCK_PX - _BLOCK_PX / 2,
            y=LANES["lines"][0] - height * _BLOCK_PX,
            width=_BLOCK_PX - 0.8,
            height=_BLOCK_PX - 0.8,
            class_=f"line {carrier.way if carrier else 'lost'}",
            data_batch=" ".join(map(str, tries)) or None,
            title=f"{self.ago(line.at_s)}: {line.text.strip()} ({fate})",
        )

    def _spool(self) -> Iterator[Element]:
        """How many lines were waiting, as steps."""
        base_px = LANES["spool"][0]
        levels = list(self.account.waiting())
        peak = max((level for _, level in levels), default=0) or 1
        path, peaks = [f"M0 {base_px}"], []
        afterwards = [*(level for _, level in levels[1:]), 0]
        for (at_s, level), after in zip(levels, afterwards, strict=False):
            path.append(f"H{self.x(at_s):.1f} V{base_px - level / peak * _SPOOL_PX:.1f}")
            if after < level:
                peaks.append((self.x(at_s), level))
        yield element("path", d=" ".join([*path, f"H{WIDTH_PX} V{base_px} Z"]), class_="waiting")
        labels = _row()
        for x_px, level in peaks:
            y_px = base_px - level / peak * _SPOOL_PX - 3
            yield from labels.place(x_px, y_px, str(level), "count", 0.85)

    def _requests(self) -> Iterator[Element]:
        labels = {"Sumo Logic": _row(), "S3": _row()}
        for number, batch in enumerate(self.account.batches):
            x_px, y_px = self.x(batch.at_s), LANES["sumo" if batch.place == "Sumo Logic" else "s3"][0]
            yield self._request(batch, number, x_px, y_px)
            text = str(batch.lines or "") if batch.is_taken else str(batch.status or "none")
            if text:
                yield from labels[batch.place].place(x_px, y_px + 21, text, f"count {_fate(batch)}")

    def _request(self, batch: Batch, number: int, x_px: float, y_px: float) -> Element:
        """A circle for Sumo Logic, a square for the bucket; small without lines of the function."""
        given = {"class_": f"request {batch.way} {_fate(batch)}", "data_batch": number, "tabindex": 0}
        half_px = 6.5 if batch.lines else 4.0
        if batch.place == "Sumo Logic":
            return element("circle", title=self._said(batch), cx=x_px, cy=y_px, r=half_px, **given)
        square = {"x": x_px - half_px, "y": y_px - half_px, "width": 2 * half_px, "height": 2 * half_px, "rx": 2}
        return element("rect", title=self._said(batch), **square, **given)

    def _said(self, batch: Batch) -> str:
        """A request in words."""
        answer = "nothing" if batch.status is None else f"{batch.status}"
        what = "an object in S3" if batch.place == "S3" else f"Sumo Logic responds with {answer}"
        others = f" and {batch.others} records of Lambda's and ours" if batch.others else ""
        size = f"{batch.gzipped_bytes / 1000:.1f} kB gzipped"
        return f"{self.ago(batch.at_s)}: {batch.lines} lines{others} by the {SENDERS[batch.sender]}, {size}: {what}"


def _lives(events: Sequence[Event], name: str) -> Iterator[tuple[Event, Event]]:
    """Yield the beginning and the end of each process of a name."""
    started = None
    for event in events:
        if event.who == name and event.kind == "start":
            started = event
        if event.who == name and event.kind == "exit" and started is not None:
            yield started, event
            started = None


def _fate(batch: Batch) -> str:
    return "taken" if batch.is_taken else "refused"


def _row() -> Labels:
    """An empty row of labels."""
    return Labels(-_MARGIN_PX, WIDTH_PX + _MARGIN_PX)
