"""The demo's facts: what happened to a function's invocations and to each of its lines, as values.

Separate from ``demo_story``, which makes it happen, and from ``demo``, which shows it: other pictures can be made of
the same facts.

Rules:

* Every number is counted from what happened: the log stream, the requests at the source, the model's timeline.
* A line is known by its text. The function numbers its lines, so no text comes twice, and a number that is missing on
  both sides is noticed too.

Pure: it reads what it is given, and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from model import CloudWatchLine, Event, InitResult, Invocation, ShutdownResult
from sumo_rules import Record
from sumo_source import SumoRequest

_LINE_NUMBER = re.compile(r"\b\d{4}/\d+\b")


@dataclass(frozen=True)
class Next:
    """What is about to happen."""

    text: str


@dataclass(frozen=True)
class Batch:
    """A request that the source accepted."""

    at_s: float
    sender: Literal["sidecar", "extension"]
    lines: int
    others: int
    """Records that are none of the function's lines."""
    gzipped_bytes: int
    raw_bytes: int
    late_s: Sequence[float]
    """Of each of its lines, between its own time and its arrival."""


@dataclass(frozen=True)
class Traces:
    """What one step of the story has left in CloudWatch and at Sumo."""

    written: int
    """Lines of the function."""
    at_sumo: int
    """How many of them were at Sumo at the moment when the environment froze, or the runtime died."""
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
    said_by_layer: Sequence[str]
    """What the layer had to say on stderr: nothing, if all is well."""
    problems: Sequence[str]
    """What the source did not like about the requests."""
    written: Counter[str]
    """The function's lines by their text: those in CloudWatch, and those it has numbered."""

    @property
    def arrived(self) -> Counter[str]:
        """The function's lines at Sumo; one that was sent again counts once."""
        return _texts({record["id"]: record for record in self.records}.values())

    @property
    def lost(self) -> Counter[str]:
        """Lines that were written and are not at Sumo."""
        return self.written - self.arrived

    @property
    def unknown(self) -> Counter[str]:
        """Lines at Sumo that were not written, or not as often."""
        return self.arrived - self.written

    @property
    def repeated(self) -> list[str]:
        """The ids of records that had arrived before."""
        ids = Counter(record["id"] for record in self.records)
        return list((ids - Counter(set(ids))).elements())

    @property
    def is_flawless(self) -> bool:
        """Every line is there once, and nobody complains."""
        return not (self.lost or self.unknown or self.repeated or self.problems)


@dataclass(frozen=True)
class ColdStart:
    """One cold start with or without the layer, and what the processes' memory was after it."""

    with_layer: bool
    duration_s: float
    idle_bytes: int
    shipped_bytes: int
    """After one invocation, whose lines the layer has sent."""


Happening = Next | Initialised | Served | Ended | Account


# Counting


def traces(
    lines: Iterable[CloudWatchLine],
    requests: Sequence[SumoRequest],
    events: Sequence[Event],
    requests_before: int,
    events_before: int,
) -> Traces:
    """Count what one step has left.

    Args:
        lines: Of the log stream, those of this step.
        requests, events: All so far.
        requests_before, events_before: How many of them are older than this step.
    """
    written = Counter(function_lines(lines))
    halts_at_s = [event.at_s for event in events[events_before:] if _is_halt(event)]
    in_time = [each for each in requests if each.is_kept and halts_at_s and each.received_at_s <= halts_at_s[0]]
    at_sumo = _texts(record for each in in_time for record in each.records)
    return Traces(written.total(), (written & at_sumo).total(), batches(requests[requests_before:], events))


def function_lines(lines: Iterable[CloudWatchLine]) -> list[str]:
    """Return the texts of the function's own lines."""
    return [_text(line.text) for line in lines if line.source == "function" and not is_layers(line)]


def is_layers(line: CloudWatchLine) -> bool:
    """Did the layer write it, to say what is wrong?"""
    return line.text.startswith("sumo-internal-extension:")


def missing_numbers(lines: Iterable[str], numbered: Iterable[str]) -> set[str]:
    """Return the numbers that no line has.

    Args:
        lines: Texts.
        numbered: For each order the number of its last line, ``1005/42``, as the function tells it.
    """
    orders = (last.split("/") for last in numbered)
    given_out = {f"{order}/{number}" for order, last in orders for number in range(1, int(last) + 1)}
    return given_out - set(_LINE_NUMBER.findall("\n".join(lines)))


def batches(requests: Iterable[SumoRequest], events: Sequence[Event]) -> list[Batch]:
    """Return the accepted requests; all events are needed to tell who has sent them."""
    return [_batch(request, events) for request in requests if request.is_kept]


def _batch(request: SumoRequest, events: Sequence[Event]) -> Batch:
    at_s = request.received_at_s
    lines = [record for record in request.records if _is_line(record)]
    return Batch(
        at_s=at_s,
        sender=_sender(at_s, events),
        lines=len(lines),
        others=len(request.records) - len(lines),
        gzipped_bytes=request.raw_size_bytes,
        raw_bytes=request.body_size_bytes,
        late_s=[at_s - _time_s(record) for record in lines],
    )


def _sender(at_s: float, events: Sequence[Event]) -> Literal["sidecar", "extension"]:
    """Tell who has sent a request: once the extension has its SHUTDOWN event the sidecar is dead, and before that the
    extension sends nothing."""
    phases = [event.kind for event in events if event.at_s <= at_s and event.kind in ("init", "shutdown-event")]
    return "extension" if phases[-1] == "shutdown-event" else "sidecar"


def _is_halt(event: Event) -> bool:
    """Is it the moment after which the runtime does nothing more in its step?"""
    return event.kind == "freeze" or (event.kind == "exit" and event.who == "runtime")


def _texts(records: Iterable[Record]) -> Counter[str]:
    """Return the function's lines among the records."""
    return Counter(_text(record["message"]) for record in records if _is_line(record))


def _text(message: object) -> str:
    """Return what a line is known by on both sides; a line that is an object arrives as one, its spaces do not."""
    if isinstance(message, str) and message.startswith("{"):
        message = json.loads(message)
    return message.removesuffix("\n") if isinstance(message, str) else json.dumps(message, sort_keys=True)


def _is_line(record: Record) -> bool:
    """Is it one of the function's lines, and not the platform's word or the layer's?"""
    return bool(record["type"] == "function")


def _time_s(record: Record) -> float:
    """Return the record's own time."""
    return datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp()  # before 3.11 it knows no Z
