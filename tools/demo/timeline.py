"""The demo's timeline: what the environment did as phases, and time as a place on a picture.

Separate from ``picture``, which draws, because how much room a moment gets is a decision that can be tried with
numbers alone.

An environment is frozen for seconds and held for two milliseconds, so no linear axis shows both. Time goes from left to
right without a break and never back; but each phase is as wide as the square root of its duration, frozen ones
narrower still. Inside of a phase the axis is linear.

Pure: values from values.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from model import Event

Kind = Literal["init", "run", "hold", "frozen", "shutdown"]

_BEGINS: dict[str, Kind] = {"init": "init", "invoke": "run", "freeze": "frozen", "shutdown": "shutdown"}
_ENDS = ("init-done", "done", "timeout", "thaw", "shutdown-done")

_WEIGHTS: dict[Kind | None, float] = {"frozen": 0.3}
"""Room for the square root of a millisecond, compared with the phases that are not listed."""
_LEAST = 1.0
"""Room that each phase has besides, so that none is invisible."""


@dataclass(frozen=True)
class Phase:
    """A time in which the environment was in one state."""

    kind: Kind
    start_s: float
    end_s: float
    number: int
    """Of the invocation that it belongs to, or that came before it; from 1."""
    detail: str
    """What its first event says: the request's id, the reason of a shutdown."""

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return self.end_s - self.start_s


def phases(events: Sequence[Event]) -> Iterator[Phase]:
    """Yield what the environment did, in order; in between pass fractions of a millisecond.

    An invocation runs until the runtime has posted its response or is gone, and is held from then on.
    """
    kind: Kind | None = None
    start_s, number, detail = 0.0, 0, ""
    for event in events:
        begun = _begun(event, kind)
        if kind is not None and (begun is not None or event.kind in _ENDS or _is_death(event, kind)):
            yield Phase(kind, start_s, event.at_s, number, detail)
            kind = None
        if begun is not None:
            number += begun == "run"
            kind, start_s = begun, event.at_s
            detail = event.detail


def _begun(event: Event, kind: Kind | None) -> Kind | None:
    """Return what begins with an event, in the phase that there is."""
    if kind == "run" and event.kind in ("response", "error") and event.who == "runtime":
        return "hold"
    return _BEGINS.get(event.kind)


def _is_death(event: Event, kind: Kind) -> bool:
    return kind == "run" and event.kind == "exit" and event.who == "runtime"


class Axis:
    """Where a moment is, in pixels from the left."""

    def __init__(self, shown: Sequence[Phase], width_px: float) -> None:
        """Lay out phases, which do not overlap, over the width."""
        pieces: list[tuple[float, float]] = []
        for before, phase in zip([None, *shown], shown, strict=False):
            if before is not None:
                pieces.append((phase.start_s, _room(None, phase.start_s - before.end_s)))
            pieces.append((phase.end_s, _room(phase.kind, phase.duration_s)))
        self._at_s = [shown[0].start_s, *(end_s for end_s, _ in pieces)]
        rooms = list(accumulate(room for _, room in pieces))
        self._x_px = [0.0, *(room / rooms[-1] * width_px for room in rooms)]

    def x_px(self, at_s: float) -> float:
        """Return the place of a moment; of one outside of all phases, the nearest end."""
        piece = min(max(bisect_right(self._at_s, at_s), 1), len(self._at_s) - 1)
        start_s, end_s = self._at_s[piece - 1 : piece + 1]
        start_px, end_px = self._x_px[piece - 1 : piece + 1]
        share = (at_s - start_s) / (end_s - start_s) if end_s > start_s else float(at_s >= end_s)
        return start_px + min(max(share, 0.0), 1.0) * (end_px - start_px)


def _room(kind: Kind | None, duration_s: float) -> float:
    least = _LEAST if kind is not None else 0.0
    return least + _WEIGHTS.get(kind, 1.0) * math.sqrt(max(0.0, duration_s) * 1000)
