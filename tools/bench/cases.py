"""The benchmark's cases by name, and how they are run.

Separate from the cases themselves, so that they need not know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bench import costs, waits
from bench.compare import Figures
from bench.goals import Figure
from bench.stage import Stage

Case = Callable[[Stage], Figures]

CASES: Mapping[str, Case] = {
    "cold_start": costs.cold_start,
    "registered": costs.cold_start,
    "log_info": costs.log_info,
    "print": costs.print_,
    "structured": costs.structured,
    "masks": costs.rules,
    "shipping": costs.shipping,
    "memory": costs.memory,
    "goodbye": waits.goodbye,
    "response": waits.response,
    "next": waits.flush_next,
    "end": waits.flush_end,
    "first_held": waits.first_held,
    "burst": waits.burst,
    "busy": waits.busy,
    "zip": costs.zip_size,
}
"""By name, as ``ONLY=`` has it."""


def figures(stage: Stage, names: Sequence[str]) -> Iterator[tuple[str, str, Figure]]:
    """Run the cases and yield their figures as they come: the case, the figure's name, the figure."""
    chosen = {CASES[name]: name for name in names}
    for case, name in chosen.items():
        yield from ((name, each, figure) for each, figure in case(stage).items())
