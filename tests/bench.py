"""``make bench``: measures what the layer costs, against the goals.

    make bench                          everything
    make bench QUICK=1                  fewer rounds
    make bench ONLY=log_info,print      some cases

It shows its progress on stderr and ends with a table.
"""

from __future__ import annotations

import argparse
import sys

from bench_cases import CASES, figures
from bench_goals import GOALS, Figure, is_met, show
from bench_stage import say, stage
from rich.console import Console
from rich.table import Table
from rich.text import Text

QUICK_SHARE = 0.25
"""Of the usual number of rounds."""


def main() -> int:
    """Run the benchmark and return its exit code."""
    parser = argparse.ArgumentParser(description="What the layer costs.")
    parser.add_argument("--only", default="", help=f"cases, separated by commas: {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(CASES)
    if unknown := set(names) - CASES.keys():
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    measured: dict[str, Figure] = {}
    with stage(QUICK_SHARE if options.quick else 1.0, say) as on:
        for name, figure in figures(on, names):
            measured[name] = figure
            say(f"{name}: {show(name, figure.value)} ({figure.detail})\n")
    Console(width=None if sys.stdout.isatty() else 140).print(_table(measured))
    return 0


def _table(measured: dict[str, Figure]) -> Table:
    table = Table(title="What the layer costs", title_justify="left")
    for name in ("", "at most", "measured", "made of"):
        table.add_column(name, justify="left" if name in ("", "made of") else "right")
    for name, figure in measured.items():
        most = GOALS[name].most
        colour = "default" if most is None else "green" if is_met(name, figure) else "red"
        limit = "" if most is None else show(name, most)
        table.add_row(GOALS[name].what, limit, Text(show(name, figure.value), colour), figure.detail)
    return table


if __name__ == "__main__":
    sys.exit(main())
