"""``make demo``: shows how the lines of a small function reach Sumo Logic, on this machine and without an account.

What happens, and every number, comes from ``stage`` and ``facts``; here it gets its form: rows while it
happens, a few records, a summary, and at the end a page with a picture (``page``). An argument switches a fault
on, ``make demo FAULT=outage``; ``make demo MODE=snapstart`` shows another of Lambda's modes (``copies``). The exit code
is 1 if a line was lost, or the source complained, and 2 for a fault or a mode that does not exist.

It is made to be looked at in a terminal, and stays readable without colours, in 80 columns, in a log file: it prints
from top to bottom and never rewrites what stands there.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from durable_service import OLDEST_PYTHON
from model import Invocation
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.json import JSON
from rich.panel import Panel
from rich.progress import track
from rich.rule import Rule
from rich.status import Status
from rich.table import Table
from rich.text import Text
from runtimes import RIC_VERSIONS, ROOT, Runtime, newest_from
from sumo_rules import Record

from demo import copies, lanes, resumes, workers
from demo.endings import in_one_line
from demo.facts import (
    SENDERS,
    Account,
    Batch,
    ColdStart,
    Ended,
    Initialised,
    Next,
    Sender,
    Served,
    cost_rows,
)
from demo.page import LISTED_MAX, Run, ms, page
from demo.stage import Stage, cold_starts, play, stage
from demo.story import FAULTS, ORDINARY

WIDTH = 80
"""Columns where no terminal says how many there are; nothing here needs more."""
_CELL_MAX, _ENDING = 20, 11
"""Characters that a table of lives has room for, and those that are shown of more without a blank."""
_MODE = "--mode="
COLD_STARTS = 7
"""With the layer, and as many without."""

_TEXTS = (" #", 2), ("order", 23), ("the caller gets", 17)
_FIGURES = ("response\nafter", 9), ("post-\nresponse", 9), ("lines\nwritten", 7), ("out by\nfreeze", 6)
_COLOURS: dict[Sender, str] = {"sidecar": "cyan", "extension": "magenta"}
_WITHOUT = {"freezer": "no freezer, SIGSTOP instead", "cpu": "no CPU share, the function has every core"}
"""What the demo does where the machine lacks these; it has no use for the other control groups."""


def main() -> int:
    """Run the demo and return its exit code."""
    modes = [each.removeprefix(_MODE) for each in sys.argv[1:] if each.startswith(_MODE)]
    if modes:
        return _show_mode(" ".join(modes))
    fault = " ".join(sys.argv[1:])
    if fault and fault not in FAULTS:
        print(f"make demo: there is no FAULT={shlex.quote(fault)}; choose one of: {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.status("building the layer, installing the runtime client and the function's structlog") as status:
        run = _show(console, status, fault)
    console.print(*_summary(run), sep="\n")
    written = page_path(fault)
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(page(run))
    console.print(
        Text.assemble("\nThe same as a picture, for your browser: ", (str(_short(written)), "bold")), soft_wrap=True
    )
    return 0 if run.account.is_well else 1


@dataclass(frozen=True)
class Mode:
    """One of Lambda's other modes, and how it is shown."""

    name: str
    oldest_python: tuple[int, int]
    """The oldest version that Lambda offers the mode with."""
    doing: str
    """What is said while it is played."""
    play: Callable[[Runtime, Stage], lanes.Lives]

    def missing(self) -> str | None:
        """Why it cannot be shown on this machine, or None."""
        if newest_from(self.oldest_python):
            return None
        major, minor = self.oldest_python
        return f"{self.name} needs Python {major}.{minor} or later, and this machine has none"


MODES = {
    "snapstart": Mode("SnapStart", (3, 12), "taking a snapshot and restoring copies of it", copies.play),
    "managed": Mode("a managed instance", (3, 13), "serving requests several at a time", workers.play),
    "durable": Mode(
        "a durable function", OLDEST_PYTHON, "installing AWS's SDK and runner, running an execution", resumes.play
    ),
}
"""By the word by which they are asked for."""


def _show_mode(word: str) -> int:
    """Run the demo of another of Lambda's modes, and return its exit code."""
    mode = MODES.get(word)
    if mode is None:
        print(f"make demo: there is no MODE={shlex.quote(word)}; choose one of: {', '.join(MODES)}", file=sys.stderr)
        return 2
    runtime = newest_from(mode.oldest_python)
    if runtime is None:
        print(f"make demo: {mode.missing()}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.status(f"building the layer, {mode.doing}"), stage() as on:
        lives = mode.play(runtime, on)
    _print_lives(console, lives, page_path(word))
    return 0 if lives.is_well else 1


def _print_lives(console: Console, lives: lanes.Lives, written: Path) -> None:
    """Print what a page of lives has, and write the page."""
    console.print(Panel(f"{lives.lead}\n\n{lives.what}", title=lives.title))
    console.print(Text(f"{lives.verdict}\n", "bold green" if lives.is_well else "bold red"))
    table = Table()
    for number, head in enumerate(lives.heads):
        is_narrow = number < 2 or " " not in head  # the others' heads are folded, and no cell is
        table.add_column(head, justify="left" if number < 2 else "right", no_wrap=is_narrow)
    for row in lives.rows:
        table.add_row(*map(_in_brief, row))
    console.print(table)
    width = max(map(len, lives.facts))
    for name, (count, what) in lives.facts.items():
        console.print(Text(f"{name:{width}} {count:5} {what}"))
    for text in (*lives.wrong, *lives.footnotes):
        console.print(Text(text, "dim" if text in lives.footnotes else "red"))
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(lanes.page(lives))
    console.print(
        Text.assemble("\nThe same as a picture, for your browser: ", (str(_short(written)), "bold")), soft_wrap=True
    )


def _in_brief(cell: str) -> str:
    """The end of an ARN, a stream or an id, by which it is told from the others; the page has all of it."""
    return cell if len(cell) <= _CELL_MAX or " " in cell else f"…{cell[-_ENDING:]}"


def _show(console: Console, status: Status, fault: str) -> Run:
    """Play the story, and print it while it happens."""
    story = FAULTS[fault] if fault else ORDINARY
    with stage() as on:
        console.print(_introduction(on, story.what))
        for happening in play(on, story):
            match happening:
                case Next():
                    status.update(happening.text)
                case Initialised():
                    footnote = _not_modelled(happening)
                    console.print(Text(footnote + "\n", "dim"), _header(), _initialised(happening))
                case Served():
                    console.print(_served(happening), *map(_batch, happening.traces.batches), sep="\n")
                case Ended():
                    console.print(_ended(happening), *map(_batch, happening.traces.batches), sep="\n")
                case Account():
                    account = happening
        status.stop()
        console.print(*_records(account), sep="\n")
        measured: list[ColdStart] = []
        if not fault:
            rounds = cold_starts(on, COLD_STARTS)
            measuring = "cold starts with the layer and without, in turn"
            measured = list(track(rounds, measuring, total=2 * COLD_STARTS, console=console, transient=True))
    return Run(fault, story.what, account, measured, [footnote, _machine()])


def page_path(fault: str) -> Path:
    """Return where the page is put."""
    return ROOT / f".cache/demo/demo{'-' if fault else ''}{fault}.html"


def _short(path: Path) -> Path:
    """Return a path as it is typed from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# While it happens


def _introduction(on: Stage, what: str) -> RenderableType:
    client = f"awslambdaric {RIC_VERSIONS[on.runtime.ric_major]} on Python {on.runtime.interpreter}"
    return Panel(
        f"Real: the layer as built, with its wrapper, background thread and extension; the runtime client ({client}); "
        "processes, sockets, signals. A model: Lambda around them. Sumo Logic is a source on this machine, as strict "
        "as the real one. Pauses between invocations are seconds instead of minutes.\n\n"
        f"Now: {what}.",
        title="An order service on AWS Lambda, and its lines on their way to Sumo Logic",
    )


def _not_modelled(started: Initialised) -> str:
    """What to keep in mind when reading the figures."""
    missing = started.missing
    without = [f"{text} ({missing[name]})" for name, text in _WITHOUT.items() if name in missing]
    isolation = [] if started.not_isolated is None else [started.not_isolated]
    return "; ".join(["Not modelled here: the way to Sumo Logic", *isolation, *without]) + "."


def _header() -> Table:
    return _row([name for name, _ in _TEXTS], [name for name, _ in _FIGURES], "bold")


def _row(texts: Sequence[str | Text], figures: Sequence[str | Text], style: str = "") -> Table:
    """Return one row; rows are tables of their own, because the next one is not known yet."""
    row = Table.grid(padding=(0, 1))
    for _, width in _TEXTS:
        row.add_column(width=width, no_wrap=True, vertical="bottom")
    for _, width in _FIGURES:
        row.add_column(width=width, justify="right", vertical="bottom")
    row.add_row(*texts, *figures, style=style)
    return row


def _initialised(started: Initialised) -> Table:
    return _row(
        ["", "cold start", ""],
        [ms(started.init.duration_s), "", str(started.traces.written), str(started.traces.delivered)],
    )


def _served(served: Served) -> Table:
    invocation, traces = served.invocation, served.traces
    delivered = Text(str(traces.delivered), "green" if traces.delivered == traces.written else "yellow")
    return _row(
        [f"{served.number:2}", served.what.removeprefix("order "), _answer(invocation)],
        [ms(invocation.response_s), ms(served.held_s), str(traces.written), delivered],
    )


def _answer(invocation: Invocation) -> Text:
    if invocation.error is not None:
        return Text(invocation.error.error_type, "red")
    return Text(f"total {invocation.payload['total']:.2f}")


def _ended(ended: Ended) -> Table:
    return _row(["", f"SHUTDOWN ({ended.shutdown.reason})", ""], [ms(ended.shutdown.duration_s), "", "", ""])


def _batch(batch: Batch) -> Text:
    at = datetime.fromtimestamp(batch.at_s, timezone.utc)
    others = f", {batch.others} others" if batch.others else ""
    lateness = f", up to {max(batch.late_s):.2f} s late" if batch.late_s else ""
    size = f", {_kb(batch.gzipped_bytes)}{lateness}"
    what = (" to S3" if batch.place == "S3" else size) if batch.is_taken else f", and Sumo Logic says {batch.status}"
    return Text.assemble(
        f"   -> {at:%H:%M:%S}.{at.microsecond // 1000:03d} ",
        (f"{_in_short(batch.sender):9}", _COLOURS[batch.sender]),
        f" {batch.lines:3} lines{others}",
        (what, "" if batch.is_taken else "red"),
    )


# Records


def _records(account: Account) -> Iterator[RenderableType]:
    """One record of each kind: the first in full, of the others what is different."""
    yield Text()
    yield Rule("Some of the records, as Sumo Logic has them")
    first: Record = {}
    for kind, record in account.kinds():
        different = {key: value for key, value in record.items() if first.get(key) != value}
        same = "" if not first else f" (and {len(record) - len(different)} keys as above)"
        yield Text.assemble("\n", (kind, "bold yellow"), (same, "dim"))
        yield JSON.from_data(different)
        first = first or record


# Summary


def _summary(run: Run) -> Iterator[RenderableType]:
    yield Rule("In figures")
    yield _lines(run.account)
    yield _deliveries(run.account)
    yield _held(run.account)
    if run.measured:
        yield _costs(run.measured)
    yield Text(_machine(), "dim")
    yield from _verdict(run)


def _figures(title: str, *columns: str, of: str = "") -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column(of)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _lines(account: Account) -> Table:
    table = _figures("What became of the lines", "written", "at Sumo Logic", "in S3", "twice", "lost")
    written, at_sumo, arrived = account.written.total(), account.at_sumo.total(), account.arrived.total()
    counts = (written, at_sumo, arrived - at_sumo, len(account.repeated), account.lost.total())
    colours = ("", "", "", "yellow" if account.repeated else "green", "red" if account.lost else "green")
    table.add_row("lines", *(Text(str(count), colour) for count, colour in zip(counts, colours, strict=True)))
    return table


def _deliveries(account: Account) -> Table:
    columns = ("accepted", "rejected", "lines", "gzipped", "JSON", "median", "most")
    table = _figures("Who sent them; latency from a line's own time to its arrival, median and most", *columns)
    for sender, colour in _COLOURS.items():
        its = [batch for batch in account.batches if batch.sender == sender]
        table.add_row(Text(_in_short(sender), colour), *_delivery(its))
    table.add_section()
    table.add_row("both", *_delivery(account.batches))
    return table


def _in_short(sender: Sender) -> str:
    """A sender's name where columns are narrow: the thread, the extension."""
    return SENDERS[sender].split()[-1]


def _delivery(batches: Sequence[Batch]) -> Iterator[str]:
    taken = [batch for batch in batches if batch.is_taken]
    yield str(len(taken))
    yield str(len(batches) - len(taken))
    yield str(sum(batch.lines for batch in taken))
    yield _kb(sum(batch.gzipped_bytes for batch in taken))
    yield _kb(sum(batch.raw_bytes for batch in taken))
    late_s = [each for batch in taken for each in batch.late_s]
    yield f"{median(late_s):.2f} s" if late_s else "-"
    yield f"{max(late_s):.2f} s" if late_s else "-"


def _held(account: Account) -> Text:
    """What SUMO_FLUSH=auto did, and what it cost."""
    waits_s = [(served.held_s, served.traces.delivered == served.traces.written) for served in account.served]
    held_s = [wait_s for wait_s, is_out in waits_s if wait_s is not None and is_out]
    free = [wait_s for wait_s, is_out in waits_s if wait_s is not None and not is_out]
    how_long = f" ({ms(median(held_s))} in the median, {ms(max(held_s))} at most)" if held_s else ""
    rest = (
        f"; after {len(free)} it froze before: invocations had become dense, or Sumo Logic did not respond in time. "
        "Such lines leave during a later one, or at SHUTDOWN"
    )
    return Text(
        f"\nAfter {len(held_s)} responses the environment ran on until the lines were out{how_long}"
        f"{rest if free else ''}."
    )


def _costs(measured: Sequence[ColdStart]) -> Table:
    """The same function with the layer and without."""
    table = _figures("What the layer costs", "without it", "with it", "more", of=f"medians of {COLD_STARTS}")
    for name, *figures in cost_rows(measured):
        table.add_row(name, *figures)
    return table


def _machine() -> str:
    """How far to trust the times."""
    here = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"Times are this machine's ({here}); on Lambda a small function has a part of one core."


def _verdict(run: Run) -> Iterator[Text]:
    """What is wrong, or that nothing is; with a fault the layer has reason to say something."""
    account = run.account
    for name, lines in {**account.complaints(), "the layer says": account.said_by_layer}.items():
        colour = "yellow" if run.fault and lines is account.said_by_layer else "red"
        for line in lines[:LISTED_MAX]:
            yield Text(f"{name}: {line}", colour)
        if len(lines) > LISTED_MAX:
            yield Text(f"{name}: {len(lines) - LISTED_MAX} more", colour)
    verdict = account.verdict().replace("see below", "see above")
    yield Text(f"\n{verdict}", "bold green" if account.is_well else "bold red")


def _kb(size_bytes: float) -> str:
    return f"{size_bytes / 1000:.1f} kB"


if __name__ == "__main__":
    sys.exit(in_one_line(main))
