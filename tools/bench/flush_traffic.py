"""What ``SUMO_FLUSH`` costs and what it buys: traffic of several shapes, played through the layer's own decision.

    python tools/bench/flush_traffic.py       writes docs/flush.md

The decisions are the product's own pure functions; around them is a model of one environment on a clock of its own, so
that days pass in milliseconds. Lambda's part in it: an environment that has been idle for :data:`IDLE_S` is shut down,
and the next invocation begins a new one, which knows nothing of the gaps before it. Sumo's: a request takes
:data:`SHIP_S`. Where an invocation meets an environment that is still held, Lambda would start another one: these are
counted.

Pure but for ``main``: seeds make the traffic, so the table is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from statistics import fmean, quantiles

from sumo_internal.shipping.flush_strategy import (
    BESIDE_DUE_S,
    DENSE_GAP_S,
    EVIDENCE_LENGTH,
    HISTORY_LENGTH,
    HOLD_MAX_S,
    is_held,
    pause_beside_s,
)

FILE = Path(__file__).resolve().parents[2] / "docs/flush.md"
STRATEGIES = ("auto", "end", "next")
SHIP_S = 0.08
"""A post to a Sumo that is not slow, over a connection that is open."""
IDLE_S = 600.0
"""After which Lambda takes an idle environment away; it promises nothing, and five to fifteen minutes are seen."""
MAX_AGE_S = 5.0
"""SUMO_FLUSH_MAX_AGE_S."""
RUN_S = 0.1
"""One invocation, but for the nightly job's."""
DAY_S = 86_400.0

Visit = tuple[float, float]
"""When an invocation begins, and how long it takes, in seconds."""
Shape = Callable[[Random], Iterator[Visit]]
"""Traffic from chance: its docstring is its name in the table."""


# Traffic


def steady(random: Random) -> Iterator[Visit]:
    """steady: two invocations a second for an hour."""
    at_s = 0.0
    while at_s < 3600:
        yield at_s, RUN_S
        at_s += RUN_S + random.expovariate(2)


def rare(random: Random) -> Iterator[Visit]:
    """rare: one invocation a minute for a day."""
    return ((minute * 60.0, RUN_S) for minute in range(1440))


def bursty(random: Random) -> Iterator[Visit]:
    """bursty: about thirty invocations, about 0.4 s apart, then about five minutes of nothing."""
    at_s = 0.0
    while at_s < DAY_S:
        for _ in range(1 + int(random.expovariate(1 / 30))):
            yield at_s, RUN_S
            at_s += RUN_S + random.expovariate(3)
        at_s += random.expovariate(1 / 300)


def pages(random: Random) -> Iterator[Visit]:
    """pages: three calls for each page that somebody opens, about every two minutes."""
    at_s = 0.0
    while at_s < DAY_S:
        for _ in range(3):
            yield at_s, RUN_S
            at_s += RUN_S + random.expovariate(5)
        at_s += random.expovariate(1 / 120)


def nightly(random: Random) -> Iterator[Visit]:
    """nightly: a thousand invocations of eight seconds, one after the other."""
    at_s = 2 * 3600.0
    for _ in range(1000):
        yield at_s, 8.0
        at_s += 8.0 + random.expovariate(20)


def daily(random: Random) -> Iterator[Visit]:
    """one a day, for a month."""
    return ((day * DAY_S, RUN_S) for day in range(30))


SHAPES: Sequence[Shape] = (steady, rare, bursty, pages, nightly, daily)


# One environment after the other


@dataclass
class Outcome:
    """What a strategy has cost, and how late the lines were."""

    invocations: int = 0
    held: int = 0
    met_held: int = 0
    """Invocations for which Lambda would have started another environment."""
    late_s: list[float] = field(default_factory=list)
    """Of each line."""

    @property
    def billed_ms(self) -> float:
        """Milliseconds that are billed for holding, per invocation."""
        return self.held * SHIP_S * 1000 / self.invocations


def play(traffic: Iterable[Visit], holds: Callable[[Sequence[float]], bool]) -> Outcome:
    """Let one environment after the other meet the traffic.

    Args:
        traffic: Invocations in order.
        holds: Decides from the gaps so far, newest last, as ``flush_strategy.is_held`` does.
    """
    outcome = Outcome()
    gaps_s: list[float] = []
    waiting_s: list[float] = []
    ended_s = free_s = emptied_s = float("-inf")
    has_missed = False
    for at_s, run_s in traffic:
        outcome.met_held += at_s < free_s
        if at_s - ended_s > IDLE_S:
            outcome.late_s += (ended_s + IDLE_S + SHIP_S - line_s for line_s in waiting_s)
            gaps_s, waiting_s, emptied_s, has_missed = [], [], at_s, False
        else:
            gaps_s = [*gaps_s[1 - HISTORY_LENGTH :], at_s - ended_s]
            pause_s = pause_beside_s(at_s - emptied_s, MAX_AGE_S, has_missed=has_missed)
            if pause_s < run_s:
                outcome.late_s += (at_s + pause_s + SHIP_S - line_s for line_s in waiting_s)
                waiting_s, emptied_s, has_missed = [], at_s + pause_s, False
            has_missed |= pause_s == BESIDE_DUE_S and pause_s >= run_s
        ended_s = at_s + run_s
        outcome.invocations += 1
        early_s, last_s = _lines(at_s, ended_s)
        waiting_s += last_s
        outcome.late_s += early_s
        free_s = ended_s
        if holds(gaps_s):
            outcome.held += 1
            free_s = ended_s + SHIP_S
            outcome.late_s += (free_s - line_s for line_s in waiting_s)
            waiting_s, emptied_s = [], ended_s
    outcome.late_s += (ended_s + IDLE_S + SHIP_S - line_s for line_s in waiting_s)
    return outcome


def _lines(at_s: float, ended_s: float) -> tuple[list[float], list[float]]:
    """Return how late those of an invocation's ten lines were that left while it ran; and the times of the others."""
    lines_s = [at_s + (ended_s - at_s) * number / 9 for number in range(10)]
    last_s = at_s + (ended_s - at_s) // MAX_AGE_S * MAX_AGE_S
    early_s = [-(line_s - at_s) % MAX_AGE_S + SHIP_S for line_s in lines_s if line_s < last_s]
    return early_s, [line_s for line_s in lines_s if line_s >= last_s]


# The table


_HEAD = f"""\
# What `SUMO_FLUSH` costs and what it buys

| `SUMO_FLUSH` | lines leave | take it where |
| --- | --- | --- |
| `end` | after each response: the environment runs on, and is billed, until Sumo Logic has responded \
({HOLD_MAX_S:.0f} s at most) | each line is wanted at once |
| `next` | during a later invocation, or at SHUTDOWN | no invocation may be prolonged |
| `auto`, the default | as with `end` where the last {HISTORY_LENGTH} pauses between invocations were longer than \
{DENSE_GAP_S:.0f} s on average, and where fewer than {EVIDENCE_LENGTH} are known yet; else as with `next` \
| you need not decide |

Below is what the layer's own decision (`shipping/flush_strategy.py`) makes of traffic of several shapes. *With
post-response time* is the share of invocations that have one; *billed* is what it adds to an invocation on average,
where a post takes {SHIP_S * 1000:.0f} ms. *Latency* is the delivery latency, from a line to its arrival: on average, of
99 lines in 100, of the slowest (an idle environment is taken away after {IDLE_S / 60:.0f} minutes, and ships what
waits then).
*Meanwhile* are invocations that came in the post-response time of another, for which Lambda would start another
environment. `tools/bench/flush_traffic.py` makes the page; a test checks it.

| traffic | strategy | with post-response time | billed | latency, mean | 99 % | slowest | meanwhile |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def table() -> str:
    """Return the page."""
    return _HEAD + "".join(f"{row}\n" for shape in SHAPES for row in _rows(shape))


@cache
def outcome(shape: Shape, strategy: str) -> Outcome:
    """Return what a strategy makes of traffic; the same each time."""
    return play(shape(Random(1)), lambda gaps_s: is_held(strategy, gaps_s))


def _rows(shape: Shape) -> Iterator[str]:
    what = (shape.__doc__ or "").rstrip(".")
    for strategy in STRATEGIES:
        result = outcome(shape, strategy)
        late_s = quantiles(result.late_s, n=100, method="inclusive")
        cells = [
            what if strategy == STRATEGIES[0] else "",
            f"`{strategy}`",
            f"{result.held / result.invocations:.1%}",
            f"{result.billed_ms:.1f} ms",
            f"{fmean(result.late_s):.2f} s",
            f"{late_s[98]:.1f} s",
            f"{max(result.late_s):.0f} s",
            f"{result.met_held / result.invocations:.1%}",
        ]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the table."""
    FILE.write_text(table())


if __name__ == "__main__":
    main()
