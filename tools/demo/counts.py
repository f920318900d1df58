"""The demo's counts: from the log stream, the requests and the model's timeline to the values of ``facts``.

Separate from the values because only the stage counts, and everything that shows reads them.

Pure: it reads what it is given, and nothing else.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Literal

from model import CloudWatchLine, Event
from scripted_http import Request
from sumo_rules import Record
from sumo_source import SumoRequest

from demo.facts import Batch, Line, Sender, Traces, is_line, known_as

_LINE_NUMBER = re.compile(r"\b\d{4}/\d+\b")


def traces(
    lines: Iterable[Line], sent: Sequence[Batch], events: Sequence[Event], sent_before: int, events_before: int
) -> Traces:
    """Count what one step has left.

    Args:
        lines: Those of this step.
        sent, events: All so far.
        sent_before, events_before: How many of them are older than this step.
    """
    written = Counter(line.text for line in lines)
    halts_at_s = [event.at_s for event in events[events_before:] if _is_halt(event)]
    in_time = [batch for batch in sent if batch.is_taken and halts_at_s and batch.at_s <= halts_at_s[0]]
    delivered = Counter({text for batch in in_time for text in batch.texts})
    return Traces(written.total(), (written & delivered).total(), sent[sent_before:])


def function_lines(lines: Iterable[CloudWatchLine]) -> list[Line]:
    """Return the function's own lines."""
    own = (line for line in lines if line.source == "function" and not is_layers(line))
    return [Line(line.time, known_as(line.text)) for line in own]


def is_layers(line: CloudWatchLine) -> bool:
    """Did the layer write it, to say what is wrong?"""
    return line.text.startswith("sumo-internal-extension:")


def missing_numbers(lines: Iterable[Line], numbered: Iterable[str]) -> list[str]:
    """Return the numbers that no line has.

    Args:
        lines: All.
        numbered: For each order the number of its last line, ``1005/42``, as the function tells it.
    """
    orders = (last.split("/") for last in numbered)
    given_out = {f"{order}/{number}" for order, last in orders for number in range(1, int(last) + 1)}
    return sorted(given_out - set(_LINE_NUMBER.findall("\n".join(line.text for line in lines))))


def batches(requests: Iterable[SumoRequest], puts: Iterable[Request], events: Sequence[Event]) -> list[Batch]:
    """Return the requests at the source and at the bucket in order; all events are needed to tell which process has
    sent them."""
    return sorted([*_posts(requests, events), *_puts(puts, events)], key=lambda batch: batch.at_s)


def stored_records(put: Request) -> list[Record]:
    """Return what an object of the bucket holds."""
    return [json.loads(line) for line in gzip.decompress(put.body).splitlines()]


def _posts(requests: Iterable[SumoRequest], events: Sequence[Event]) -> Iterator[Batch]:
    for each in requests:
        sizes = each.raw_size_bytes, each.body_size_bytes
        yield _batch("Sumo Logic", each.received_at_s, each.status, each.is_kept, each.records, sizes, events)


def _puts(puts: Iterable[Request], events: Sequence[Event]) -> Iterator[Batch]:
    for each in puts:
        sizes = len(each.body), len(gzip.decompress(each.body))
        yield _batch("S3", each.received_at_s, 200, True, stored_records(each), sizes, events)


def _batch(
    place: Literal["Sumo Logic", "S3"],
    at_s: float,
    status: int | None,
    is_taken: bool,
    records: Sequence[Record],
    sizes: tuple[int, int],
    events: Sequence[Event],
) -> Batch:
    lines = [record for record in records if is_line(record)]
    return Batch(
        place=place,
        at_s=at_s,
        status=status,
        is_taken=is_taken,
        sender=_sender(at_s, events),
        texts=[known_as(record["message"]) for record in lines],
        others=len(records) - len(lines),
        gzipped_bytes=sizes[0],
        raw_bytes=sizes[1],
        late_s=[at_s - _time_s(record) for record in lines],
    )


def _sender(at_s: float, events: Sequence[Event]) -> Sender:
    """Tell which process has sent a request: once the extension has its SHUTDOWN event the sidecar is dead, and before
    that event the extension sends nothing."""
    phases = [event.kind for event in events if event.at_s <= at_s and event.kind in ("init", "shutdown-event")]
    return "extension" if phases[-1] == "shutdown-event" else "sidecar"


def _is_halt(event: Event) -> bool:
    """Is it the moment after which the runtime does nothing more in its step?"""
    return event.kind == "freeze" or (event.kind == "exit" and event.who == "runtime")


def _time_s(record: Record) -> float:
    """Return the record's own time."""
    return datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp()  # before 3.11 it knows no Z
