"""The benchmark's cases by name, and how they are run.

Separate from the cases themselves, so that they need not know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import bench_costs
import bench_waits
from bench_compare import Figures
from bench_goals import Figure
from bench_stage import Stage

Case = Callable[[Stage], Figures]

CASES: Mapping[str, Case] = {
    "cold_start": bench_costs.cold_start,
    "registered": bench_costs.cold_start,
    "log_info": bench_costs.log_info,
    "print": bench_costs.print_,
    "structured": bench_costs.structured,
    "masks": bench_costs.rules,
    "shipping": bench_costs.shipping,
    "memory": bench_costs.memory,
    "goodbye": bench_waits.goodbye,
    "response": bench_waits.response,
    "next": bench_waits.flush_next,
    "end": bench_waits.flush_end,
    "first_held": bench_waits.first_held,
    "burst": bench_waits.burst,
    "busy": bench_waits.busy,
    "zip": bench_costs.zip_size,
}
"""By name, as ``ONLY=`` has it."""


def figures(stage: Stage, names: Sequence[str]) -> Iterator[tuple[str, str, Figure]]:
    """Run the cases and yield their figures as they come: the case, the figure's name, the figure."""
    chosen = {CASES[name]: name for name in names}
    for case, name in chosen.items():
        yield from ((name, each, figure) for each, figure in case(stage).items())
