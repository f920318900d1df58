"""``make demo MODE=snapstart``: copies of one snapshot, and that no two of them give an ``id`` to different lines.

Where CRIU is to be had, the copies are restored from one real snapshot of the order service, its extension and the
model of Lambda around them (:mod:`model.snapshot`). Elsewhere each environment takes a snapshot of its own, and what is
shown of shared lines then is that there are none; a footnote says so.

It plays, counts, and says what ``lanes`` draws; ``run`` prints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import CloudWatchLine, Environment, Event
from model.snapshot import Snapshot, unavailable
from runtimes import Runtime
from sumo_rules import Record
from sumo_source import SumoRequest, SumoSource

from demo.counts import function_lines
from demo.facts import is_line, known_as
from demo.lanes import Block, Lane, Lives, Mark
from demo.stage import Stage
from demo.story import ORDINARY
from demo.timeline import phases

COPIES = 3
_VISITS = 2
"""Orders that each copy serves."""
_MEMORY_MB = 1769


@dataclass(frozen=True)
class Life:
    """The publishing of a version, or one copy's time from its restore to its shutdown."""

    name: str
    events: Sequence[Event]
    lines: Sequence[CloudWatchLine]
    requests: Sequence[SumoRequest]

    @property
    def start_s(self) -> float:
        """When it began."""
        return self.events[0].at_s

    def records(self) -> list[Record]:
        """What Sumo Logic has of it, from its own requests."""
        return [record for request in self.requests if request.is_kept for record in request.records]


def play(runtime: Runtime, on: Stage) -> Lives:
    """Run the init once, and then copies of it; return what to show."""
    with SumoSource() as source, tempfile.TemporaryDirectory(prefix="sumo-demo-copies-") as folder:
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": source.url,
            "PAYMENT_SERVICE": "127.0.0.1:9",  # nobody pays by card here
        }
        options: dict[str, Any] = {"layer": on.layer, "variables": variables, "memory_mb": _MEMORY_MB, "version": "3"}
        if unavailable() is None:
            lives = list(_restored(Path(folder), runtime, on.task_root, source, options))
        else:
            lives = list(_each_by_itself(runtime, on.task_root, source, options))
        return _shown(lives, source)


def _events() -> Iterator[Any]:
    visits = ORDINARY.visits()
    for _ in range(COPIES * _VISITS):
        yield {**next(visits).event, "payment": "invoice"}


def _restored(
    folder: Path, runtime: Runtime, task_root: Path, source: SumoSource, options: dict[str, Any]
) -> Iterator[Life]:
    events = _events()
    with Snapshot(folder, runtime, task_root, **options) as taken:
        yield Life("published", taken.timeline, taken.cloudwatch, source.requests)
        for number in range(1, COPIES + 1):
            before = len(source.requests)
            orders = [("invoke", next(events)) for _ in range(_VISITS)]
            copy = taken.restore(*orders, ("shutdown", "spindown"))
            events_of_copy = [Event(copy.restored_at_s, "restore", "platform", ""), *copy.timeline]
            yield Life(f"copy {number}", events_of_copy, copy.cloudwatch, source.requests[before:])


def _each_by_itself(runtime: Runtime, task_root: Path, source: SumoSource, options: dict[str, Any]) -> Iterator[Life]:
    events = _events()
    for number in range(1, COPIES + 1):
        before = len(source.requests)
        with Environment(runtime, task_root, snap_start=True, freezes=False, **options) as environment:
            environment.start()
            for _ in range(_VISITS):
                environment.invoke(next(events))
            environment.shutdown()
            yield Life(f"copy {number}", environment.timeline, environment.cloudwatch, source.requests[before:])


def _shown(lives: Sequence[Life], source: SumoSource) -> Lives:
    contents: dict[str, set[str]] = {}
    places: dict[str, set[str]] = {}
    for life in lives:
        for record in life.records():
            contents.setdefault(record["id"], set()).add(repr(sorted(record.items())))
            places.setdefault(record["id"], set()).add(life.name)
    clashes = sorted(each for each, different in contents.items() if len(different) > 1)
    shared = {each for each, where in places.items() if len(where) > 1}
    written = [line.text for life in lives for line in function_lines(life.lines)]
    arrived = {known_as(record["message"]) for record in source.records if is_line(record)}
    lost = [text for text in written if text not in arrived]
    wrong = [f"lost: {text}" for text in lost] + [f"different lines with the id {each}" for each in clashes]
    wrong += source.problems
    real = unavailable()
    verdict = (
        f"Every line is at Sumo Logic, and no two copies have given an id to different lines: {len(contents)} ids."
        if not wrong
        else f"{len(wrong)} things are wrong; see below."
    )
    return Lives(
        title="One snapshot, and its copies",
        lead="A small order service with SnapStart, on a model of AWS Lambda and with the real layer. Lambda runs the "
        "init once, takes a snapshot, and restores each environment from it.",
        what="Each lane begins with its own life: the publishing of the version, or a copy's restore.",
        verdict=verdict,
        is_well=not wrong,
        facts={
            "written": (len(written), "lines written"),
            "lost": (len(lost), "lost"),
            "ids": (len(contents), "ids"),
            "shared": (len(shared), "of them in several copies, with one content"),
            "clashes": (len(clashes), "with different contents"),
        },
        lanes=[_lane(life, shared) for life in lives],
        legend={
            "init": (
                "init, restore",
                "Lambda runs the init once, and restores copies of the snapshot taken then.",
            ),
            "line": ("a line", "What the function wrote. Point at it: the request that has brought it lights up."),
            "taken": ("taken", "A request that Sumo Logic accepted; the number below it counts its records."),
            "snapshot": ("shared", "A request with nothing but what was told before the snapshot: its ids are of all."),
        },
        heads=(
            "",
            "log stream",
            "invocations",
            "lines",
            "records at Sumo Logic",
            "ids of its own",
            "ids of all",
        ),
        rows=[_row(life, shared) for life in lives],
        records=_records(lives),
        wrong=wrong[:10],
        footnotes=[
            "Copies live one after the other, from one real snapshot (CRIU)."
            if real is None
            else f"No real snapshot ({real}): each environment has taken one of its own, and so nothing is shared."
        ],
    )


def _lane(life: Life, shared: set[str]) -> Lane:
    start_s = life.start_s
    blocks = [
        Block(each.kind, each.start_s - start_s, each.end_s - start_s, f"{each.kind}: {each.duration_s * 1000:.1f} ms",
              str(each.number) if each.kind == "run" else "")
        for each in phases(life.events)
    ]  # fmt: skip
    ready = next((each.at_s for each in life.events if (each.kind, each.who) == ("next", "runtime")), None)
    if life.events[0].kind == "restore" and ready is not None:
        blocks.insert(0, Block("init", 0.0, ready - start_s, f"restored in {(ready - start_s) * 1000:.1f} ms", ""))
    requests = [request for request in life.requests if request.is_kept]
    carriers = {
        known_as(record["message"]): _batch(life, number)
        for number, request in enumerate(requests)
        for record in request.records
        if is_line(record)
    }
    lines = [
        Mark(
            each.at_s - start_s,
            each.text,
            "sidecar" if each.text in carriers else "lost",
            "",
            carriers.get(each.text, ""),
        )
        for each in function_lines(life.lines)
    ]
    return Lane(
        life.name,
        "init, then the snapshot" if life.name == "published" else "from its restore on",
        blocks,
        lines,
        [_request(each, start_s, shared, _batch(life, number)) for number, each in enumerate(requests)],
    )


def _batch(life: Life, number: int) -> str:
    return f"{life.name.replace(' ', '-')}-{number}"


def _request(request: SumoRequest, start_s: float, shared: set[str], batch: str) -> Mark:
    of_all = sum(record["id"] in shared for record in request.records)
    said = f"{len(request.records)} records, {of_all} of them of all copies"
    kind = "snapshot" if of_all == len(request.records) else "sidecar"
    return Mark(request.received_at_s - start_s, said, kind, str(len(request.records)), batch)


def _row(life: Life, shared: set[str]) -> Sequence[str]:
    records = life.records()
    own = {record["id"] for record in records if record["id"] not in shared}
    streams = [str(record.get("logStream", "")) for record in records if record["id"] in own]
    return (
        life.name,
        streams[-1] if streams else "-",
        str(len({record["requestID"] for record in records if record.get("requestID")})),
        str(len(function_lines(life.lines))),
        str(len(records)),
        str(len(own)),
        str(len({record["id"] for record in records} - own)),
    )


def _records(lives: Sequence[Life]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for life in lives:
        for record in life.records():
            kind = {"function": "a line", "platform.restoreStart": "Lambda's word on a restore"}.get(record["type"])
            if kind is not None:
                found.setdefault(f"{kind}, {life.name}", record)
    return found
