"""The demo's facts: what happened to a function's invocations and to each of its lines, as values.

Separate from ``stage``, which makes it happen, and from ``run`` and ``page``, which show it in a terminal and as a
picture.

Rules:

* Every number is counted from what happened: the log stream, the requests at the source and at the bucket, the
  model's timeline.
* A line is known by its text. The function numbers its lines, so no text comes twice, and a number that is missing on
  both sides is noticed too.

Pure: it reads what it is given, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal, get_args

from model import Event, InitResult, Invocation, ShutdownResult
from sumo_rules import Record

_TIMED_OUT = re.compile(r"\S+ \S+ Task timed out after \S+ seconds\s*")

Sender = Literal["sidecar", "extension"]
Way = Literal[Sender, "s3", "lost"]
"""Where a line went: to Sumo Logic by one or by the other, to the bucket, or nowhere."""

SENDERS: dict[Sender, str] = {"sidecar": "background thread", "extension": "extension"}
"""What a reader calls them, in the order of the tables."""


@dataclass(frozen=True)
class Next:
    """What is about to happen."""

    text: str


@dataclass(frozen=True)
class Batch:
    """A request that carried lines to Sumo Logic or to the bucket, whatever became of it."""

    place: Literal["Sumo Logic", "S3"]
    at_s: float
    status: int | None
    """None where there was no response."""
    is_taken: bool
    """Its lines are there now."""
    sender: Sender
    texts: Sequence[str]
    """Its lines, as they are known."""
    others: int
    """Records that are none of the function's lines."""
    gzipped_bytes: int
    raw_bytes: int
    late_s: Sequence[float]
    """Of each of its lines, between its own time and its arrival."""

    @property
    def lines(self) -> int:
        """How many of the function's lines it carried."""
        return len(self.texts)

    @property
    def way(self) -> Way:
        """Which way its lines went, if they were taken."""
        return "s3" if self.place == "S3" else self.sender


@dataclass(frozen=True)
class Line:
    """A line of the function in CloudWatch."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Traces:
    """What one step of the story has left in CloudWatch and at Sumo."""

    written: int
    """Lines of the function."""
    delivered: int
    """How many of them were at Sumo Logic, or in S3, at the moment when the environment froze, or the runtime died."""
    batches: Sequence[Batch]


@dataclass(frozen=True)
class Initialised:
    """The first cold start is over."""

    init: InitResult
    traces: Traces
    not_isolated: str | None
    """Why the processes have no file system of their own; None where they have."""
    missing: Mapping[str, str]
    """The kernel's means that this machine does not offer, and why; as the environment has it."""


@dataclass(frozen=True)
class Served:
    """An invocation is over, and the environment frozen, or its runtime dead."""

    number: int
    what: str
    invocation: Invocation
    traces: Traces

    @property
    def held_s(self) -> float | None:
        """How long the environment was kept from freezing after the response; None where there was none."""
        invocation = self.invocation
        return None if invocation.response_s is None else invocation.duration_s - invocation.response_s


@dataclass(frozen=True)
class Ended:
    """The environment was shut down."""

    shutdown: ShutdownResult
    traces: Traces


@dataclass(frozen=True)
class Account:
    """The whole story in figures, and what they were counted from."""

    served: Sequence[Served]
    batches: Sequence[Batch]
    timeline: Sequence[Event]
    records: Sequence[Record]
    """Everything at Sumo, in order of arrival."""
    stored: Sequence[Record]
    """Everything in the bucket, likewise."""
    said_by_layer: Sequence[str]
    """What the layer had to say on stderr: nothing, if all is well."""
    problems: Sequence[str]
    """What the source did not like about the requests."""
    lines: Sequence[Line]
    """The function's lines in CloudWatch."""
    unseen: Sequence[str]
    """Lines that the function has numbered, and that are not in CloudWatch."""

    @property
    def written(self) -> Counter[str]:
        """The function's lines by their text: those in CloudWatch, and those it has numbered."""
        return Counter([*(line.text for line in self.lines), *self.unseen])

    @property
    def at_sumo(self) -> Counter[str]:
        """The function's lines at Sumo Logic; one that was sent again counts once."""
        return texts({record["id"]: record for record in self.records}.values())

    @property
    def arrived(self) -> Counter[str]:
        """The function's lines at Sumo Logic or in the bucket; one that is in both counts once."""
        return texts({record["id"]: record for record in [*self.records, *self.stored]}.values())

    @property
    def lost(self) -> Counter[str]:
        """Lines that were written and are nowhere now."""
        return self.written - self.arrived

    @property
    def unknown(self) -> Counter[str]:
        """Lines that arrived and were not written, or not as often."""
        return self.arrived - self.written

    @property
    def repeated(self) -> list[str]:
        """The ids of records that had arrived before."""
        ids = Counter(record["id"] for record in [*self.records, *self.stored])
        return list((ids - Counter(set(ids))).elements())

    @property
    def is_well(self) -> bool:
        """Every line is at Sumo Logic or in the bucket, at least once, and the source has no complaint.

        A request that was under way when the environment froze or died may be sent again: that is the product's
        promise, and its records have the ids of the first time.
        """
        return not self.complaints()

    def verdict(self) -> str:
        """Where the lines are, in one sentence: what a reader may conclude, and no more."""
        if not self.is_well:
            return "Something went wrong; see below."
        in_bucket = self.arrived.total() - self.at_sumo.total()
        where = "Every line is at Sumo Logic"
        if in_bucket:
            where = f"No line is lost: {self.at_sumo.total()} are at Sumo Logic, {in_bucket} wait in S3 for a replay"
        again = f"; {len(self.repeated)} records came twice, each with the id of the first" if self.repeated else ""
        return f"{where}{again or ('' if in_bucket else ', once')}."

    def complaints(self) -> dict[str, list[str]]:
        """Return what is wrong, by what it is; nothing where all is well."""
        found = {
            "lost": list(self.lost.elements()),
            "arrived, but not written": list(self.unknown.elements()),
            "the source complains": list(self.problems),
        }
        return {name: lines for name, lines in found.items() if lines}

    def tries(self) -> dict[str, list[int]]:
        """Return the numbers of the batches that each line was in, by the line's text."""
        found: dict[str, list[int]] = {}
        for number, batch in enumerate(self.batches):
            for text in batch.texts:
                found.setdefault(text, []).append(number)
        return found

    def carriers(self) -> dict[str, int]:
        """Return the number of the batch that has brought each line to where it is, by the line's text."""
        taken = (
            (text, [number for number in tries if self.batches[number].is_taken])
            for text, tries in self.tries().items()
        )
        return {text: numbers[0] for text, numbers in taken if numbers}

    def ways(self) -> dict[Way, tuple[int, int]]:
        """Return for each way how many lines went it at the first try, and how many at a later one."""
        tries, carriers = self.tries(), self.carriers()
        counts: Counter[tuple[Way, bool]] = Counter()
        for text in self.written.elements():
            way = self.batches[carriers[text]].way if text in carriers else "lost"
            counts[way, len(tries.get(text, [])) > 1] += 1
        return {way: (counts[way, False], counts[way, True]) for way in get_args(Way)}

    def waiting(self) -> Iterator[tuple[float, int]]:
        """Yield when the number of lines has changed that are written and not delivered, and what it is from then."""
        taken_at_s = {text: self.batches[number].at_s for text, number in self.carriers().items()}
        # A line is in the spool before CloudWatch has it, and may be delivered before that, too.
        changes = [(min(line.at_s, taken_at_s.get(line.text, line.at_s)), 1) for line in self.lines]
        delivered = Counter(taken_at_s[line.text] for line in self.lines if line.text in taken_at_s)
        changes += [(at_s, -count) for at_s, count in delivered.items()]
        level = 0
        for at_s, change in sorted(changes, key=lambda each: (each[0], -each[1])):
            level += change
            yield at_s, level

    def kinds(self) -> Iterator[tuple[str, Record]]:
        """Yield one record of each kind that has arrived."""
        crashed = {served.invocation.request_id for served in self.served if served.invocation.status == "crash"}
        lines = [record for record in self.records if is_line(record)]
        kinds = {
            "logging, with fields of its own": [each for each in lines if "customer" in each],
            "structlog, as JSON on stdout": [each for each in lines if isinstance(each["message"], dict)],
            "the report of an exception": [each for each in lines if "errorType" in each],
            "print, the last line before the SIGKILL": [
                each for each in lines[::-1] if each.get("requestID") in crashed
            ],
            "Lambda's word on the timeout": [
                each for each in self.records if _TIMED_OUT.match(str(each.get("message")))
            ],
            "Lambda's word on an invocation": [each for each in self.records if each["type"] == "platform.report"],
        }
        for kind, found in kinds.items():
            if found:
                yield kind, found[0]
        for record in self.records:
            if record.get("held"):
                yield "DEBUG, there because its order has failed", record


@dataclass(frozen=True)
class ColdStart:
    """One cold start with or without the layer, and what the processes' memory was after it."""

    with_layer: bool
    duration_s: float
    idle_bytes: int
    shipped_bytes: int
    """After one invocation, whose lines the layer has sent."""


Happening = Next | Initialised | Served | Ended | Account


def cost_rows(measured: Sequence[ColdStart]) -> Iterator[tuple[str, str, str, str]]:
    """Yield what the layer costs: of what, without it, with it (medians), and how much more, in words.

    A difference is told where it is larger than the noise: half of the measurements lie no further apart than that, of
    the noisier of the two. Otherwise a busy machine's figure would be taken for the layer's.
    """
    without, with_it = ([each for each in measured if each.with_layer is with_layer] for with_layer in (False, True))
    quantities: tuple[tuple[str, str, Callable[[ColdStart], float]], ...] = (
        ("cold start", "ms", lambda each: each.duration_s * 1000),
        ("memory, idle", "MB", lambda each: each.idle_bytes / 1e6),
        ("memory, lines sent", "MB", lambda each: each.shipped_bytes / 1e6),
    )
    for name, unit, of in quantities:
        before, after = ([of(each) for each in group] for group in (without, with_it))
        more, noise = median(after) - median(before), max(spread(before), spread(after))
        told = f"{more:+.1f} {unit}" if abs(more) > noise else f"less than the noise ({noise:.1f} {unit})"
        yield name, f"{median(before):.1f} {unit}", f"{median(after):.1f} {unit}", told


def spread(values: Sequence[float]) -> float:
    """How far apart the middle half of some values lies."""
    if len(values) < 2:
        return 0.0
    first, _, third = quantiles(values, n=4, method="inclusive")
    return third - first


def texts(records: Iterable[Record]) -> Counter[str]:
    """Return the function's lines among the records."""
    return Counter(known_as(record["message"]) for record in records if is_line(record))


def known_as(message: object) -> str:
    """Return what a line is known by on both sides; a line that is an object arrives as one, its spaces do not."""
    if isinstance(message, str) and message.startswith("{"):
        message = json.loads(message)
    return message.removesuffix("\n") if isinstance(message, str) else json.dumps(message, sort_keys=True)


def is_line(record: Record) -> bool:
    """Is it a line that the function shows, and not Lambda's word (a timeout's comes as one) or the layer's?"""
    return (
        record["type"] == "function" and not record.get("held") and _TIMED_OUT.fullmatch(str(record["message"])) is None
    )
