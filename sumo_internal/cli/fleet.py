"""``sumo-internal attach | detach | status``: the layer on one function or on five hundred.

What is to be done to a function is decided in ``changes``, how it is done in ``account``; here is the conversation:
find the functions, show the plan, ask, carry it out side by side, tell the outcome.

Rules:

* Nothing is changed that was not shown. Where nobody can be asked (no terminal) and ``--yes`` is not given, the plan is
  all there is, and the exit code says so: :data:`EXIT_PLANNED`.
* The same command again does what is left: functions that have everything are not touched.
* What each function had is in a journal before it is changed; ``--rollback`` gives it back.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.progress import track
from rich.prompt import Confirm

from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, CommandError, changes, journal, tables
from sumo_internal.cli.account import AT_ONCE, NotDoneError, Region, regions
from sumo_internal.cli.changes import Change, Skip, Wanted

EXIT_PLANNED = 3
"""There is something to do, and nobody said yes."""

Found = TypeVar("Found")

SECRET_MANNERS = "the ARN of a Secrets Manager secret or an SSM parameter, so that no function's settings show it"


@dataclass(frozen=True)
class Item:
    """A function, and what is to be done to it."""

    region: Region
    function: str
    decision: Change | Skip


def add_parser(subparsers: Any) -> None:
    """Add attach, detach and status."""
    attach = subparsers.add_parser("attach", help="give functions the layer, the wrapper and settings")
    _add_selection(attach)
    _add_layer(attach)
    attach.add_argument(
        "--endpoint",
        default=os.environ.get(changes.ENDPOINT, ""),
        help=f"the HTTP source: {SECRET_MANNERS}, or its address (default: $SUMO_HTTP_ENDPOINT)",
    )
    attach.add_argument(
        "--token",
        default=os.environ.get(changes.TOKEN, ""),
        help="of a source whose address has no code in its path: likewise (default: $SUMO_HTTP_TOKEN)",
    )
    attach.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], type=_setting, help="a setting")
    attach.add_argument("--migrate", action="store_true", help="replace Sumo's Go extension, and keep its settings")
    _add_consent(attach)
    attach.set_defaults(run=run, command="attach")

    detach = subparsers.add_parser("detach", help="take from functions what attach has added")
    _add_selection(detach)
    _add_layer(detach)
    _add_consent(detach)
    detach.set_defaults(run=run, command="detach")

    status = subparsers.add_parser("status", help="show which functions have the layer, and which version")
    _add_selection(status)
    _add_layer(status)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=run_status)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("functions", nargs="*", metavar="PATTERN", help="names, with * and ? as in a shell")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY[=VALUE]", help="only functions that have it")
    parser.add_argument("--region", action="append", default=[], help="may be repeated; all: every region you use")


def _add_layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layer",
        action="append",
        default=[],
        metavar="NAME|ARN",
        help="the layer: its name (the newest version is taken), or an ARN for each region",
    )


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--rollback", nargs="+", type=Path, metavar="JOURNAL", help="give functions back what they had, instead"
    )


def _setting(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` of a setting that exists."""
    name, _, value = text.partition("=")
    options = {changes.ENDPOINT: "--endpoint", changes.TOKEN: "--token"}
    if name in options:
        raise argparse.ArgumentTypeError(f"{name}: {options[name]} is for that")
    if name in changes.SETTINGS and value:
        return name, value
    near = difflib.get_close_matches(name, changes.SETTINGS, 1)
    hint = f" (is {near[0]} meant?)" if near and near[0] != name else ""
    raise argparse.ArgumentTypeError(f"{name} is no setting{hint}" if value or hint else f"{name}: a value is missing")


def run(arguments: argparse.Namespace) -> int:
    """Attach or detach, or roll back what one of them did."""
    if bool(arguments.rollback) == bool(arguments.functions or arguments.tag):
        raise CommandError("which functions? Name them, by pattern ('*' is all) or --tag, or the journals to roll back")
    screen = Console(markup=False, highlight=False, stderr=True, soft_wrap=True)
    if arguments.rollback:
        items = _rollback_plan(arguments.rollback)
    else:
        items = _in_each_region(arguments.region, lambda region: _plan(arguments, region))
    _show(items)
    ready = [(item, item.decision) for item in items if isinstance(item.decision, Change) and not item.decision.is_none]
    if not ready:
        return EXIT_DONE
    sys.stdout.flush()  # the question is on stderr, and must not come before the plan's last line
    if not arguments.yes and not (sys.stdin.isatty() and Confirm.ask("Change them?", console=screen, default=False)):
        screen.print("Nothing was changed (--yes carries the plan out).")
        return EXIT_PLANNED
    return _carry_out(ready, arguments.command, screen)


def _in_each_region(given: Sequence[str], look: Callable[[Region], list[Found]]) -> list[Found]:
    """Look at all regions that are meant at once; what was found, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(look, [Region(name) for name in regions(given)])
        return [each for region in found for each in region]


def _plan(arguments: argparse.Namespace, region: Region) -> list[Item]:
    """What attaching or detaching does to each function of a region that is meant."""
    found = region.functions(arguments.functions, arguments.tag)
    if arguments.command == "detach":
        return [Item(region, each["FunctionName"], changes.detach(each, *arguments.layer)) for each in found]
    layer = _layer(arguments.layer or [changes.LAYER_NAME], region)
    given = {changes.ENDPOINT: arguments.endpoint, changes.TOKEN: arguments.token}
    settings = {name: value for name, value in given.items() if value}
    wanted = Wanted(layer, {**settings, **dict(arguments.set)}, arguments.migrate)
    missing = Skip(f"is in {region.name}, where no such layer is (make publish, or --layer)")
    return [Item(region, each["FunctionName"], changes.attach(each, wanted) if layer else missing) for each in found]


def _layer(given: Sequence[str], region: Region) -> str:
    """The ARN of the layer's version in a region; empty where there is none."""
    here = [layer for layer in given if not layer.startswith("arn:") or layer.split(":")[3] == region.name]
    if not here or changes.version_of(here[0]):
        return "".join(here[:1])
    return region.newest(here[0])


def _rollback_plan(paths: Sequence[Path]) -> list[Item]:
    """What gives the functions of a journal back what they had."""
    try:
        entries = journal.read(paths)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    by_name = {name: Region(name) for name in {entry.region for entry in entries}}
    items = []
    for entry in entries:
        configuration = by_name[entry.region].configuration(entry.function)
        decision = changes.restore(configuration, entry.before, entry.after) if configuration else Skip("is gone")
        items.append(Item(by_name[entry.region], entry.function, decision))
    return items


def _show(items: Iterable[Item]) -> None:
    """Print the plan: functions to which the same is done stand together."""
    counts = Counter[str]()
    rows: dict[tuple[str, str], list[str]] = {}
    for item in items:
        kind, plan = _describe(item.decision)
        counts[kind] += 1
        if plan:
            rows.setdefault((item.region.name, plan), []).append(item.function)
    if rows:
        cells = [(region, ", ".join(functions), plan) for (region, plan), functions in rows.items()]
        tables.show(("Region", "Functions", "Plan"), cells, is_folded=True)
    print(f"{counts.total()} functions: {', '.join(f'{counts[kind]} {kind}' for kind in KINDS)}")


KINDS = ("to change", "with nothing to do", "left alone")


def _describe(decision: Change | Skip) -> tuple[str, str]:
    """Which of the kinds it is, and what the plan says; empty if nothing."""
    if isinstance(decision, Skip):
        return KINDS[2], f"left alone: it {decision.reason}"
    return (KINDS[1], "") if decision.is_none else (KINDS[0], "\n".join(changes.differences(decision)))


def _carry_out(ready: Sequence[tuple[Item, Change]], command: str, screen: Console) -> int:
    """Make the changes; say which were not made."""
    try:
        book = journal.Journal(command)
    except OSError as error:
        raise CommandError(f"no journal, so nothing was changed: {error}") from None
    screen.print(f"{book.path} notes what each function has now, secrets included: delete it when it is not needed.")
    screen.print(f"To undo: sumo-internal {command} --rollback {book.path}")
    failed = 0
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures = {pool.submit(_apply, book, item, change): item for item, change in ready}
        for future in track(as_completed(futures), "Changing", len(futures), console=screen):
            try:
                future.result()
            except (NotDoneError, BotoCoreError, OSError) as error:
                failed += 1
                screen.print(f"{futures[future].region.name} {futures[future].function}: {error}")
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C: what is under way ends, the rest is left
    screen.print(f"{len(ready) - failed} changed, {failed} not")
    return EXIT_FAILED if failed else EXIT_DONE


def _apply(book: journal.Journal, item: Item, change: Change) -> None:
    book.write(item.region.name, item.function, change)
    item.region.apply(item.function, change)


def run_status(arguments: argparse.Namespace) -> int:
    """Show which functions have what."""
    rows = _in_each_region(arguments.region, lambda region: _status(arguments, region))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return EXIT_DONE
    tables.show(("Region", "Function", "Runtime", "Layer", "Wrapper", "Endpoint"), map(_cells, rows))
    having = sum(bool(row["layer"]) for row in rows)
    print(f"{having} of {len(rows)} functions have the layer")
    return EXIT_DONE


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the status table."""
    layer = f"{row['layerVersion']} {row['version']}".strip() or ("Go's" if row["hasGoExtension"] else "-")
    wrappers = ["ours"] if row["hasWrapper"] else []
    wrappers += [row["otherWrapper"]] if row["otherWrapper"] else []
    return (
        row["region"],
        row["function"],
        row["runtime"] or "image",
        layer,
        ", then ".join(wrappers) or "-",
        row["endpoint"] or "-",
    )


def _status(arguments: argparse.Namespace, region: Region) -> list[dict[str, Any]]:
    """A row for each function of a region that is meant."""
    products: dict[str, str] = {}
    rows = []
    for configuration in region.functions(arguments.functions, arguments.tag):
        row = changes.status(configuration, *arguments.layer)
        if row["layer"] and row["layer"] not in products:
            products[row["layer"]] = region.product_version(row["layer"])
        rows.append({"region": region.name, **row, "version": products.get(row["layer"], "")})
    return rows
