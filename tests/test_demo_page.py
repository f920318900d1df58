"""The demo's picture and page of what was not recorded but made up: crowded, hostile, and with all there can be."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from browser import BROWSER, NEEDS_BROWSER, look
from demo.facts import Account, Batch, Line, Served, Traces
from demo.page import Run, page
from demo.picture import Picture
from demo.timeline import Axis, Kind, Phase, phases
from hypothesis import given
from hypothesis import strategies as st
from markup import Document
from model import Event, Failure, Invocation
from model.values import Status
from test_docs import house_words

HOSTILE = '</script><img src="https://example.com/x"> & <b>'
RUNTIME, EXTENSION = "runtime", "sumo-internal-extension"


class Recording:
    """Makes up what a model would have recorded; time goes on with each event."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.events: list[Event] = []
        self.lines: list[Line] = []
        self.batches: list[Batch] = []
        self.served: list[Served] = []

    def note(self, kind: str, after_s: float, who: str = "platform", detail: str = "") -> None:
        self.now_s += after_s
        self.events.append(Event(self.now_s, kind, who, detail))

    def write(self, count: int, text: str = "line") -> list[str]:
        """Lines within a millisecond."""
        texts = [f"{text} {len(self.lines) + number}" for number in range(count)]
        self.lines += [Line(self.now_s + number / 1e6, each) for number, each in enumerate(texts)]
        return texts

    def send(
        self, texts: Sequence[str], status: int | None = 200, by_extension: bool = False, to_s3: bool = False
    ) -> None:
        batch = Batch(
            place="S3" if to_s3 else "Sumo Logic",
            at_s=self.now_s,
            status=status,
            is_taken=status == 200,
            sender="extension" if by_extension else "sidecar",
            texts=texts,
            others=1,
            gzipped_bytes=900,
            raw_bytes=3000,
            late_s=[0.1] * len(texts),
        )
        self.batches.append(batch)

    def start(self) -> None:
        self.note("init", 0.001, detail="init")
        self.note("start", 0.001, EXTENSION)
        self.note("start", 0.004, RUNTIME)
        self.note("init-done", 0.1)
        self.note("freeze", 0.001)

    def serve(self, lines: int, status: Status = "success", held_s: float = 0.002, refused: int = 0) -> None:
        """One invocation; it is sent after so many refusals, in the time that it is held."""
        number = len(self.served) + 1
        self.note("thaw", 0.5)
        self.note("invoke", 0.0005, detail=f"request-{number}")
        texts = self.write(lines, HOSTILE)
        if status == "crash":
            self.note("exit", 0.1, RUNTIME, "SIGKILL")
            self.end("failure", texts)
        else:
            self.note("response", 0.1, RUNTIME)
            for _ in range(refused):
                self.now_s += held_s / (refused + 1)
                self.send(texts, 503)
            self.send(texts)
            self.note("done", held_s / (refused + 1))
            self.note("freeze", 0.001)
        error = None if status == "success" else Failure("Runtime.ExitError", HOSTILE)
        body = b'{"total": 7.9}' if status == "success" else None
        answered_s = None if status == "crash" else 0.1
        times_s = (answered_s, None, None, 0.1 + held_s)
        invocation = Invocation(f"request-{number}", status, body, error, *times_s, None, None)
        self.served.append(Served(number, f"order {HOSTILE}", invocation, Traces(lines, lines, [])))

    def end(self, reason: str, texts: Sequence[str] = ()) -> None:
        self.note("shutdown", 0.001, detail=reason)
        self.note("shutdown-event", 0.001)
        self.now_s += 0.02
        self.send(texts, by_extension=True)
        self.note("exit", 0.001, EXTENSION, "exit 0")
        self.note("shutdown-done", 0.001, detail=reason)

    def account(self) -> Account:
        records = [
            {"id": f"{number}", "type": "function", "message": text}
            for number, text in enumerate(text for batch in self.batches if batch.is_taken for text in batch.texts)
        ]
        return Account(self.served, self.batches, self.events, records, [], [HOSTILE], [HOSTILE], self.lines, [])


def crowded() -> Account:
    """Many invocations of every kind, retries next to each other, and objects in the bucket."""
    recording = Recording()
    recording.start()
    for number in range(12):
        recording.serve(lines=1 + 97 * (number % 5 == 3), held_s=0.3 * (number % 4) + 0.001, refused=3 * (number % 3))
    recording.serve(lines=200, status="crash")
    recording.start()
    recording.send(recording.write(5), to_s3=True)
    recording.send([], to_s3=True)
    recording.send(recording.write(2), status=None)
    recording.end("spindown")
    return recording.account()


def made(account: Account) -> str:
    return page(Run("outage", f"the story {HOSTILE}", account, [], [HOSTILE]))


@pytest.mark.skipif(BROWSER is None, reason=NEEDS_BROWSER)
@pytest.mark.parametrize("width_px", [390, 800, 1440])
def test_page_can_be_looked_at(width_px: int, tmp_path: Path) -> None:
    """However crowded it is, no label touches another, nothing is cut off, and the script has no error."""
    file = tmp_path / "page.html"
    file.write_text(made(crowded()))
    seen = look(file, width_px)
    assert (seen.width_px, seen.errors, seen.overlaps, seen.cut_off) == (width_px, [], [], [])
    assert HOSTILE in seen.tip


def test_page_is_complete_in_itself() -> None:
    """Whatever a log line has in it, it is text; nothing is loaded; the books are those of the account."""
    account = crowded()
    document = Document(made(account))
    assert document.text.count(HOSTILE) > 10
    assert int(document.facts["written"]) == len(account.lines) == document.counted("line")
    assert int(document.facts["lost"]) == 2 == document.counted("line", "lost")
    assert "Something went wrong" in document.text
    assert house_words(document.text.replace(HOSTILE, "")) == []
    assert all(text in document.text for text in account.lost)
    ways = {way: int(document.facts[f"way-{way}"]) for way in ("sidecar", "extension", "s3", "lost")}
    assert ways == {"sidecar": 12 + 2 * 97, "extension": 200, "s3": 5, "lost": 2}


def test_picture_of_an_environment_that_did_nothing() -> None:
    """A cold start and its end: no line, no request, and no picture that fails for it."""
    recording = Recording()
    recording.start()
    recording.end("spindown")
    document = Document(made(recording.account()))
    assert document.labels.count("cold start") == document.labels.count("SHUTDOWN") == 1
    assert document.facts["written"] == "0"


def test_phases_follow_the_life_cycle() -> None:
    """One of each kind in their order. A crash ends the running phase at the death, not where Lambda notices it."""
    recording = Recording()
    recording.start()
    recording.serve(lines=1)
    recording.serve(lines=1, status="crash")
    shown = list(phases(recording.events))
    assert [phase.kind for phase in shown] == ["init", "frozen", "run", "hold", "frozen", "run", "shutdown"]
    assert [phase.number for phase in shown] == [0, 0, 1, 1, 1, 2, 2]
    [died] = [event for event in recording.events if event.detail == "SIGKILL"]
    assert shown[-2].end_s == died.at_s
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(shown))


durations = st.lists(
    st.tuples(st.sampled_from(["init", "run", "hold", "frozen", "shutdown"]), st.floats(0, 900)),
    min_size=1,
    max_size=30,
)


@given(durations, st.lists(st.floats(-10, 30_000), min_size=2, max_size=20))
def test_time_never_goes_back(durations: list[tuple[Kind, float]], moments: list[float]) -> None:
    """A later moment is never further to the left, none is outside, and each phase has some room."""
    shown, now_s = [], 5.0
    for kind, duration_s in durations:
        shown.append(Phase(kind, now_s, now_s + duration_s, 1, ""))
        now_s += duration_s + 0.0005
    axis = Axis(shown, 1000.0)
    places = [axis.x_px(moment) for moment in sorted(moments)]
    assert places == sorted(places)
    assert all(0 <= place <= 1000 + 1e-6 for place in places)
    assert axis.x_px(4.0) == 0


def test_frozen_time_is_drawn_narrower() -> None:
    """Two milliseconds can be seen beside two seconds, and a freeze takes less room than the same time awake."""
    shown = [Phase("run", 0, 0.15, 1, ""), Phase("hold", 0.15, 0.152, 1, ""), Phase("frozen", 0.152, 2.152, 1, "")]
    shown.append(Phase("run", 2.152, 4.152, 2, ""))
    axis = Axis(shown, 1000.0)
    widths = [axis.x_px(phase.end_s) - axis.x_px(phase.start_s) for phase in shown]
    run, hold, frozen, long_run = widths
    assert hold > 20
    assert run < frozen * 2 < long_run


def test_every_shape_can_be_read_out() -> None:
    """Each line, request and phase says in words what it is: for a pointer, and for somebody who does not see it."""
    account = crowded()
    shapes = [shape for shape in Picture(account).drawn().iter() if shape.tag in ("rect", "circle")]
    silent = [shape.get("class", "") for shape in shapes if shape.find("title") is None]
    assert {word for class_ in silent for word in class_.split()} <= {
        "still",
        "init",
        "run",
        "hold",
        "frozen",
        "shutdown",
    }
    assert sum(shape.get("data-batch") is not None for shape in shapes) == len(account.lines) + len(account.batches)


CSS = (Path(__file__).parent.parent / "tools/demo/page.css").read_text()
TEXTS = ("ink", "dim", "good", "bad")
"""Colours of texts, which stand on the page and on its cards."""
CONTRAST_LEAST = 4.5
"""WCAG 2, level AA, for text of usual size."""


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("text", TEXTS)
def test_texts_stand_out(scheme: int, text: str) -> None:
    """By day and by night, on the page and on a card; and on the phases that have a text in them."""
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", CSS.split("prefers-color-scheme: dark")[scheme]))
    for ground in ("paper", "card"):
        low, high = sorted((luminance(colours[text]), luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= CONTRAST_LEAST, (text, ground)
