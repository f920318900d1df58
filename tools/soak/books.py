"""The soak's books: where each line got to that the soak's function has logged, and whether every one is explained.

Separate from the soak, which makes the faults: this reads what is left of a run when it is over, and judges.

Rules:

* A line is logged when its call has returned; the function has noted that outside its environment. The line after it,
  in the middle of which the writer may have been killed, may turn up or not.
* A line that became several records is in the best place that all of them have reached.
* A record that is nowhere is explained by the counters of its reason, and each count explains one record: there can be
  more counts than missing records (a batch that is refused after its lines had arrived, a line whose call had not
  returned), but never fewer.
"""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import json
import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model import CloudWatchLine
from sumo_rules import Record
from sumo_source import ACCEPT, SumoRequest

from sumo_internal.spool import counters
from sumo_internal.spool.folder import list_segments
from sumo_internal.spool.segment import Segment

FUNCTION = Path(__file__).parent.parent / "functions" / "soak"
_MARK = re.compile(r"<([A-Za-z0-9]+)\.(\d+)>")
READ_LATE_S = 1.0
"""After an interruption: a source on a busy machine may not have read yet what the sender had sent by then."""
_REFUSED = (counters.REFUSED, counters.TOO_LARGE)
_FULL = (*(reason for reason in counters.LOSSES if reason not in _REFUSED), counters.UNPROTECTED)
"""Lines that were unprotected at the end of an invocation may have gone with their process."""
LOST_WITH_ENVIRONMENT = re.compile(
    r"sumo-internal-extension: error: (\d+) lines \(\d+ bytes\) are lost with the environment"
)
_SAID = (
    LOST_WITH_ENVIRONMENT,
    re.compile(r"sumo-internal-extension: warn: (\d+) lines \(\d+ bytes\) are in this process's memory alone"),
    re.compile(r"sumo-internal-extension: error: Sumo Logic rejects (\d+) lines permanently"),
)
_PARTS_MAX = 3
"""Records that a line becomes at most; a line that could not be recorded is one count."""

HELD_LOGGER = "held"
"""The logger of lines below the function's level, which are not numbered: they come if their invocation fails."""

_EXTENSION = "extension:sumo-internal-extension"
"""Writes to CloudWatch what no destination has taken until SHUTDOWN (SUMO_CLOUDWATCH). What the function itself writes
there explains no loss: it is counted as well."""

_UNFINISHED = re.compile(r"u-\d{10}$")

Mark = tuple[str, int]
"""A writer's name and the number of its line."""


class Place(enum.IntEnum):
    """Where a record has got to, from the best place to the worst."""

    SUMO = 0
    BUCKET = 1
    SPOOL = 2
    CLOUDWATCH = 3
    REFUSED = 4
    NOWHERE = 5


@dataclass
class Books:
    """What became of the lines of one run, or of several.

    ``counted`` are lines that are lost and whose loss was counted; ``counts`` is what the environment's counters say,
    by reason, in records. ``in_cloudwatch`` are lines that nobody has taken and that the extension has
    written there. ``wrong`` lists what must not be.
    """

    logged: int = 0
    at_sumo: int = 0
    in_bucket: int = 0
    in_spool: int = 0
    in_cloudwatch: int = 0
    counted: int = 0
    unexplained: int = 0
    doubled: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Books) -> None:
        """Add another run's."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def balance(
    notes: Path,
    spool: Path,
    requests: Sequence[SumoRequest],
    stored: Sequence[Sequence[Record]],
    *,
    interrupted_at_s: Sequence[float],
    puts_unanswered: int,
    are_counts_whole: bool,
    cloudwatch: Sequence[CloudWatchLine],
) -> Books:
    """Draw up the books of one run.

    Args:
        notes: Folder in which the function has noted which lines had returned.
        spool: The spool's folder, in which no process is at work any more.
        requests: What the source has seen.
        stored: The objects in the failover bucket, each with its records.
        interrupted_at_s: When a drainer was stopped by something else than the source's answer (POSIX time).
        puts_unanswered: How many answers of the bucket were lost at most.
        are_counts_whole: Each process had room for a file of counts, and the function has removed none. Where they are
            not whole, what was lost may only be said in the log stream.
        cloudwatch: The log stream.
    """
    kept = [record for request in requests if request.is_kept for record in request.records]
    saved = [record for records in stored for record in records]
    refused = [record for request in requests if _is_refused_for_good(request) for record in request.records]
    written = _written(cloudwatch)
    records = {Place.SUMO: kept, Place.BUCKET: saved, Place.SPOOL: left(spool), Place.CLOUDWATCH: written}
    found = _places({**records, Place.REFUSED: refused})
    books = Books(counts=Counter({reason: lines for reason, (lines, _) in counters.totals(str(spool)).items()}))
    ended, missing = _ends(notes, found)
    books.logged = ended.total()
    books.at_sumo, books.in_bucket = ended[Place.SUMO], ended[Place.BUCKET]
    books.in_spool, books.in_cloudwatch = ended[Place.SPOOL], ended[Place.CLOUDWATCH]
    _explain(books, missing, [] if are_counts_whole else [line.text for line in cloudwatch])
    books.counted = ended[Place.REFUSED] + ended[Place.NOWHERE] - books.unexplained
    books.wrong += _mangled([*kept, *saved])
    books.doubled = sum(count - 1 for count in Counter(record["id"] for record in [*kept, *saved]).values())
    books.wrong += _told_twice([*kept, *saved])
    if are_counts_whole and books.doubled > books.counts[counters.SENT_AGAIN]:
        books.wrong.append(f"{books.doubled} records came again; {books.counts[counters.SENT_AGAIN]} are counted")
    books.wrong += _wrongly_doubled(requests, stored, interrupted_at_s, puts_unanswered)
    return books


def _ends(notes: Path, found: Mapping[tuple[str, int, int], Place]) -> tuple[Counter[Place], dict[Place, list[str]]]:
    """Return how many lines have got to each place, and what is to be said of the records that no destination has."""
    ended: Counter[Place] = Counter()
    missing: dict[Place, list[str]] = {Place.REFUSED: [], Place.NOWHERE: []}
    for writer, last in _returned(notes):
        for number in range(last + 1):
            line = _app.make_line(writer, number)
            places = [found.get((writer, number, part), Place.NOWHERE) for part in range(1, line.parts + 1)]
            ended[max(places)] += 1
            for place in places:
                if place in missing:
                    missing[place].append(f"{line.mark} ({line.how}, {len(line.text)} characters, {place.name})")
    return ended, missing


def _explain(books: Books, missing: Mapping[Place, list[str]], said: Iterable[str]) -> None:
    """Hold the missing records against the counts of their reasons, and note those that no count explains.

    Args:
        books: For its counts.
        missing: By place, what is to be said of each record.
        said: Lines of the log stream, where they may tell of a loss that no count has.
    """
    told = sum(int(match[1]) for text in said for words in _SAID for match in words.finditer(text))
    if told:  # a batch that was refused, and that no bucket took either, may have been lost in memory later
        missing = {Place.NOWHERE: [*missing[Place.NOWHERE], *missing[Place.REFUSED]]}
    for place, reasons in ((Place.REFUSED, _REFUSED), (Place.NOWHERE, (*_FULL, *(_REFUSED if told else ())))):
        if place not in missing:
            continue
        unrecorded = (_PARTS_MAX - 1) * books.counts[counters.UNRECORDED] if place is Place.NOWHERE else 0
        uncounted = len(missing[place]) - sum(books.counts[reason] for reason in reasons) - told - unrecorded
        books.unexplained += max(0, uncounted)
        if uncounted > 0:
            books.wrong += [f"{uncounted} records are {place.name} and not counted, among:", *missing[place]]


def wrongly_held(records: Iterable[Record], succeeded: Container[str], cloudwatch: Iterable[str]) -> Iterator[str]:
    """Say what must not be of lines below the function's level, and of the records at an invocation's end.

    Args:
        records: What the source has.
        succeeded: Ids of the invocations that have.
        cloudwatch: The texts in the log stream.
    """
    ends: dict[str, set[str]] = {}
    for record in records:
        if record.get("held") is True and record.get("requestID") in succeeded:  # a summary has a number there
            yield f"a line below the function's level has come, of an invocation that has succeeded: {record}"
        if record["type"] == "sumo.invocation":
            ends.setdefault(record["requestID"], set()).add(record["id"])
    yield from (f"{request_id} has {len(ids)} summaries" for request_id, ids in ends.items() if len(ids) > 1)
    if texts := [text for text in cloudwatch if "below the level" in text]:
        yield f"{len(texts)} lines below the function's level are in CloudWatch, one of them: {texts[0]}"


def left(spool: Path) -> Iterator[Record]:
    """Yield the records in the spool that no drainer has acknowledged."""
    for path in list_segments(str(spool)):
        descriptor = os.open(path, os.O_RDWR)
        segment = Segment(
            path, descriptor, os.fstat(descriptor).st_size
        )  # not open(), which refuses those of an isolated environment's user
        os.close(descriptor)
        piece = segment.take(segment.size_bytes)
        if piece is not None:
            with piece.data() as lines:
                yield from map(json.loads, bytes(lines).splitlines())
        segment.close()


def _written(cloudwatch: Iterable[CloudWatchLine]) -> Iterator[Record]:
    """Yield the records that the extension has written to the log stream, whole ones only."""
    for line in cloudwatch:
        if line.source.startswith(_EXTENSION) and line.text.startswith("{"):
            with contextlib.suppress(ValueError):
                yield json.loads(line.text)


def _is_refused_for_good(request: SumoRequest) -> bool:
    return request.status == 400 or (request.status == 413 and len(request.records) == 1)


def _returned(notes: Path) -> Iterator[tuple[str, int]]:
    """Yield each writer with the number of the last line whose call had returned."""
    for note in sorted(notes.iterdir()):
        text = note.read_text()
        if text:
            yield note.name, int(text)


def _mark(record: Record) -> Mark | None:
    """Which line a record is of, or is a part of; None for what the function has not numbered."""
    if record["type"] != "function":
        return None
    match = _MARK.search(record.get("line") or str(record["message"]))
    return None if match is None else (match[1], int(match[2]))


def _places(records: Mapping[Place, Iterable[Record]]) -> dict[tuple[str, int, int], Place]:
    """The best place that each part of each line has reached."""
    found: dict[tuple[str, int, int], Place] = {}
    for place in sorted(records, reverse=True):
        for record in records[place]:
            mark = _mark(record)
            if mark is not None:
                found[mark[0], mark[1], record.get("part", 1)] = place
    return found


def _mangled(records: Iterable[Record]) -> list[str]:
    """Lines that have arrived whole and are not what the function has logged."""
    texts: dict[Mark, dict[int, str]] = {}
    begun: set[Mark] = set()
    for record in records:
        mark = _mark(record)
        if mark is not None:
            texts.setdefault(mark, {})[record.get("part", 1)] = str(record["message"])
            if _UNFINISHED.search(record["id"]):
                begun.add(mark)
    wrong = []
    for (writer, number), parts in texts.items():
        line = _app.make_line(writer, number)
        text = "".join(parts[part] for part in sorted(parts))
        ending = f"\t{line.text}" if line.how == "log" else line.text
        is_same = ending in text if line.how == "odd" else text.endswith(ending)  # a traceback may stand behind it
        is_begun = (writer, number) in begun and line.text.startswith(text)  # its process died in the middle
        if len(parts) == line.parts and not is_same and not is_begun:
            wrong.append(f"{line.mark} is not what was logged: {text[:80]!r}")
        if len(parts) > line.parts:
            wrong.append(f"{line.mark} has {len(parts)} parts instead of {line.parts}")
    return wrong


def _told_twice(records: Iterable[Record]) -> Iterator[str]:
    """Say which lines came again as another record: no query can tell that these are one.

    A text without a line end may have become a line just when its process was killed; its record then has an id of its
    own kind.
    """
    ids: dict[tuple[str, int, int], set[str]] = {}
    for record in records:
        mark = _mark(record)
        if mark is not None and not _UNFINISHED.search(record["id"]):
            ids.setdefault((*mark, record.get("part", 1)), set()).add(record["id"])
    for (writer, number, part), found in ids.items():
        if len(found) > 1:
            yield f"<{writer}.{number}> (part {part}) is {len(found)} records: {sorted(found)}"


def _wrongly_doubled(
    requests: Sequence[SumoRequest],
    stored: Sequence[Sequence[Record]],
    interrupted_at_s: Sequence[float],
    puts_unanswered: int,
) -> Iterator[str]:
    """Say which batches came again although their sender had its answer: at most the one under way may."""
    kept = sorted((request for request in requests if request.is_kept), key=lambda request: request.received_at_s)
    under_way = {id(request) for request in kept if request.fault != ACCEPT}
    for at_s in interrupted_at_s:
        before = [request for request in kept if request.received_at_s <= at_s]
        behind = [request for request in kept if at_s < request.received_at_s <= at_s + READ_LATE_S]
        under_way |= {id(request) for request in (*before[-1:], *behind[:1])}
    last: dict[str, SumoRequest] = {}
    for request in kept:
        again = [last[record["id"]] for record in request.records if record["id"] in last]
        for first in {id(first): first for first in again if id(first) not in under_way}.values():
            nearest_s = min((at_s - first.received_at_s for at_s in interrupted_at_s), key=abs, default=None)
            yield (
                f"{len(again)} records came again after {request.received_at_s - first.received_at_s:.3f} s, although "
                f"their answer had left; the nearest interruption came {nearest_s} s after them"
            )
        last |= {record["id"]: request for record in request.records}
    seen = Counter(record["id"] for records in stored for record in records)
    seen.update(last.keys())
    repeated = sum(any(seen[record["id"]] > 1 for record in records) for records in stored)
    # Each of them has one other at most that came before it, or after.
    allowed = 2 * (puts_unanswered + len(under_way))
    if repeated > allowed:
        yield f"{repeated} objects of the bucket hold what has arrived elsewhere too; {allowed} may"


def _load_app() -> Any:
    """The soak's function, as a module: it alone knows what its lines look like."""
    spec = importlib.util.spec_from_file_location("soak_app", FUNCTION / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_app = _load_app()
