"""``make bench``: measures what the layer costs, against the goals, and beside what others cost.

    make bench                              everything; writes docs/bench.json, docs/bench.md, docs/bench.svg
    make bench QUICK=1                      the goals alone, with a quarter of the rounds
    make bench ONLY=log_info,print          some cases; `peers` and `curves` are cases too
    make bench ONLY=log_info KEEP=1         some cases, which take their places in docs/
    make bench ONLY=readme KEEP=1           README's rows, in five minutes; `lines`, `waits`, `peers` and `curves` are
                                            the rest of a whole run, in pieces that are kept one after the other
    make bench PEER_LAYER=FOLDER            another layer, unpacked as at /opt, beside ours (PEER_VARIABLES="A=b …");
                                            ONLY=layers, pay_end, … are its cases
    make bench-check                        the goals again: what is over them, or worse than docs/bench.json has it

It shows its progress on stderr and ends with tables. What is kept is what whole rounds have found: all of it, or with
KEEP the cases that were asked for, since contenders only ever meet within a case. ``bench-check`` measures twice what
does not look good, and exits with 1 when a goal is broken or a figure has become clearly worse.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from model.generation import find_extensions
from rich.console import Console
from rich.table import Table
from rich.text import Text
from runtimes import RIC_VERSIONS, ROOT

from bench import cases, chart, flush_traffic, layers, pay, peers
from bench import results as bench_results
from bench.cases import NAMES, PIECES
from bench.curves import curves
from bench.goals import GOALS, is_met, show, verdict, worse
from bench.results import Results
from bench.stage import Stage, say, stage

QUICK_SHARE = 0.25
"""Of the usual number of rounds."""
PEERS, CURVES = "peers", "curves"
ALL = [*NAMES, PEERS, CURVES]
LAYERS = "layers"
WITH_LAYER = [LAYERS, "pay_end", "pay_next"]
"""With another layer: what is compared unless cases are asked for, of which there are those of ``pay`` besides."""
KEPT, PAGE, PICTURE = (ROOT / "docs" / name for name in ("bench.json", "bench.md", "bench.svg"))


def main() -> int:
    """Run what the arguments ask for, and return the exit code."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 150)
    with stage(QUICK_SHARE if options.quick else 1.0, say) as on:
        if options.layer:
            other = layers.contender(Path(options.layer).resolve(), options.variables)
            if LAYERS in options.only:
                console.print(_layers(layers.compare(on, other)))
            for case in pay.BLOCKS:
                if case in options.only:
                    console.print(_bills(pay.measure(on, case, other)))
            return 0
        results = Results(_where(on))
        origins = measure(on, [name for name in options.only if name in NAMES], results)
        if options.check and (suspects := {origins[name] for name, _ in worse(kept().figures, results.figures)}):
            measure(on, list(suspects), results)
        if PEERS in options.only:
            results.costs, results.absent = peers.compare(on)
        if CURVES in options.only:
            results.curves.update(curves(on))
    say("\n")
    console.print(*([_bills(results.paid)] if results.paid else []), _goals(results))
    console.print(*([_peers(results)] if results.costs else []))
    if options.keep:
        write(kept().updated(results))
    if options.check:
        complaints = [text for _, text in worse(kept().figures, results.figures)]
        console.print(*(complaints or ["No budget is broken, and nothing has become worse."]), sep="\n")
        return 1 if complaints else 0
    return 0


def measure(on: Stage, names: Sequence[str], results: Results) -> dict[str, str]:
    """Add what some cases find to the results, and return which case each figure is from.

    Of a figure that is there already the better one stays: what another program does to one of two runs is no cost.
    """
    origins = {}
    for case, figures, paid in cases.run(on, names):
        results.paid.update(paid)
        for name, figure in figures.items():
            say(f"{name}: {show(name, figure.value)} ({figure.detail})\n")
            results.figures[name] = min(figure, results.figures.get(name, figure))
            origins[name] = case
    return origins


def kept() -> Results:
    """Return what was kept, nothing where there is no kept run."""
    return bench_results.from_json(KEPT.read_text()) if KEPT.exists() else Results("")


def write(results: Results) -> None:
    """Keep a run, and make the page and the picture from what is kept."""
    KEPT.write_text(bench_results.to_json(results))
    PAGE.write_text(bench_results.page(kept()))
    PICTURE.write_text(chart.draw(kept()))
    flush_traffic.main()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the layer costs.")
    ours = [*PIECES, *ALL]
    parser.add_argument("--only", default="", help=f"cases, separated by commas: {', '.join(ours)}")
    parser.add_argument("--quick", action="store_true", help="the goals alone, fewer rounds")
    parser.add_argument("--keep", action="store_true", help="keep the cases of --only in docs/; a whole run is kept")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is broken or a figure is worse")
    parser.add_argument("--layer", default="", help="another layer's folder, to be measured beside ours")
    parser.add_argument("--variables", default="", help="that layer's variables, NAME=value separated by spaces")
    options = parser.parse_args()
    is_whole = not (options.only or options.quick or options.check or options.layer)
    options.keep |= is_whole
    asked = [case for name in options.only.split(",") if name for case in PIECES.get(name, [name])]
    possible, usual = ([LAYERS, *pay.BLOCKS], WITH_LAYER) if options.layer else (ours, ALL if is_whole else NAMES)
    options.only = asked or usual
    if unknown := set(options.only).difference(possible):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(possible)}")
    if options.keep and options.quick:
        parser.error("a quick run is too coarse to be kept")
    if options.layer and not find_extensions(Path(options.layer)):
        parser.error(f"there is no extension in {options.layer}/extensions: give the folder of an unpacked layer")
    return options


def _where(on: Stage) -> str:
    client = f"awslambdaric {RIC_VERSIONS[on.runtime.ric_major]}"
    return f"{os.cpu_count()} cores ({platform.machine()}), CPython {on.runtime.interpreter}, {client}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 or name == "made of" else "right")
    return table


def _goals(results: Results) -> Table:
    table = _table("What the layer costs", ("", "at most", "measured", "made of"))
    for name, figure in results.in_order().items():
        most = GOALS[name].most
        colour = "default" if most is None else "green" if is_met(name, figure) else "red"
        limit = "" if most is None else show(name, most)
        table.add_row(GOALS[name].what, limit, Text(verdict(name, figure), colour), figure.detail)
    return table


def _bills(paid: pay.Paid) -> Table:
    names = [name for name in next(iter(paid.values())) if name != pay.SOURCE]
    columns = [f"{what}\n{name}" for what in ("response", "billed") for name in names]
    table = _table("What an invocation takes, ms, medians; without the layer twice", ("", *columns))
    for terms, bills in paid.items():
        times_ms = [bills[name][column] for column in (0, 2) for name in names]
        what = f"{terms.flush}, {terms.memory_mb} MB, source {terms.source_ms} ms, {terms.lines:,} lines"
        table.add_row(what, *(f"{value:.2f}" for value in times_ms))
    return table


def _peers(results: Results) -> Table:
    columns = ("", "cold start, ms", "a line, µs", "response, ms", "post-response, ms", "idle, MB", "sent, MB")
    table = _table("What the layer and its alternatives add", columns)
    for name, cost in results.costs.items():
        table.add_row(name, *(f"{value:.1f}" for value in cost))
    for name, reason in results.absent.items():
        table.add_row(name, reason)
    return table


def _layers(rows: Iterable[layers.Row]) -> Table:
    table = _table("Two layers", ("", "ours", "the other"))
    for what, unit, ours, others in rows:
        table.add_row(what, f"{ours:.1f} {unit}", f"{others:.1f} {unit}")
    return table


if __name__ == "__main__":
    sys.exit(main())
