"""The benchmark's cases by name, and how they are run.

Separate from the cases themselves, so that they need not know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from bench import costs, pay, waits
from bench.compare import Figures
from bench.pay import Paid
from bench.stage import Stage

Case = Callable[[Stage], Figures]

CASES: Mapping[str, Case] = {
    "cold_start": costs.cold_start,
    "registered": costs.cold_start,
    "log_info": costs.log_info,
    "spared": costs.spared,
    "debug": costs.debug,
    "print": costs.print_,
    "structured": costs.structured,
    "masks": costs.rules,
    "shipping": costs.shipping,
    "memory": costs.memory,
    "goodbye": waits.goodbye,
    "next": waits.flush_next,
    "beside": waits.beside,
    "end": waits.flush_end,
    "first_held": waits.first_held,
    "restore": waits.restore,
    "burst": waits.burst,
    "busy": waits.busy,
    "zip": costs.zip_size,
}
"""By name, as ``ONLY=`` has it; those of ``pay.BLOCKS`` beside them."""
NAMES = [*pay.BLOCKS, *CASES]
PIECES: Mapping[str, Sequence[str]] = {
    "readme": [*pay.BLOCKS, "cold_start", "memory", "goodbye"],
    "lines": ["log_info", "spared", "debug", "print", "structured", "masks", "shipping", "zip"],
    "waits": ["next", "beside", "end", "first_held", "restore", "burst", "busy"],
}
"""All cases in pieces of a few minutes each, to be kept one after the other; ``readme`` has README's rows."""


def run(stage: Stage, names: Sequence[str]) -> Iterator[tuple[str, Figures, Paid]]:
    """Run the cases and yield what they find as they come: the case, its figures, and what was paid."""
    for name in names:
        if name in pay.BLOCKS:
            paid = pay.measure(stage, name)
            yield name, pay.figures(paid), paid
    chosen = {CASES[name]: name for name in names if name in CASES}
    for case, name in chosen.items():
        yield name, case(stage), {}
