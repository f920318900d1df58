"""``sumo-internal attach | detach``: the layer on one function or on five hundred.

Which functions are meant is :mod:`~sumo_internal.cli.selection`'s, what is to be done to a function is decided in
``changes``, how it is done in ``account``; here is the conversation: show the plan, ask, carry it out side by side,
tell the outcome.

Rules:

* Nothing is changed that was not shown. Where nobody can be asked (no terminal) and ``--yes`` is not given, the plan is
  all there is, and the exit code says so: EXIT_PLANNED.
* Nothing is written that the doctor calls an error: neither a setting that cannot be read, which is an error of the
  arguments, nor a set-up that lacks something, which is a reason to leave the function alone.
* Nothing ends as done that was not: a function that was named and is skipped is an exit code of its own, and so is a
  name that no function has.
* The same command again does what is left: functions that have everything are not touched.
* What each function had is in a journal before it is changed; ``--rollback`` gives it back.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.progress import track
from rich.prompt import Confirm

from sumo_internal import config
from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, EXIT_PLANNED, EXIT_SKIPPED, CommandError, changes, checks, journal
from sumo_internal.cli import selection as selections
from sumo_internal.cli.account import AT_ONCE, NotDoneError, Region
from sumo_internal.cli.changes import Change, Skip, Wanted
from sumo_internal.cli.checks import Subject
from sumo_internal.cli.session import explained
from sumo_internal.destinations import endpoint


@dataclass(frozen=True)
class Item:
    """A function, and what is to be done to it; ``is_named``: it was asked for by itself, not by a pattern."""

    region: Region
    function: str
    decision: Change | Skip
    is_named: bool = False


def run(arguments: argparse.Namespace) -> int:
    """Attach or detach, or roll back what one of them did."""
    if bool(arguments.rollback) == bool(arguments.functions or arguments.tag):
        raise CommandError("which functions? Name them, by pattern ('*' is all) or --tag, or the journals to roll back")
    screen = Console(markup=False, highlight=False, stderr=True, soft_wrap=True)
    items = list(_rollback_plan(arguments.rollback) if arguments.rollback else _plan(arguments))
    _show(items)
    ready = [(item, item.decision) for item in items if isinstance(item.decision, Change) and not item.decision.is_none]
    left_alone = [item for item in items if isinstance(item.decision, Skip)]
    done = EXIT_SKIPPED if len(left_alone) == len(items) or any(item.is_named for item in left_alone) else EXIT_DONE
    if not ready or arguments.dry_run:
        return done
    sys.stdout.flush()  # the question is on stderr, and must not come before the plan's last line
    if not arguments.yes and not _is_agreed(screen):
        screen.print("Nothing was changed (--yes carries the plan out).")
        return EXIT_PLANNED
    return _carry_out(ready, arguments.command, screen) or done


def _is_agreed(screen: Console) -> bool:
    """Ask, where there is somebody to ask; the end of the input (Ctrl-D) is a no."""
    try:
        return sys.stdin.isatty() and Confirm.ask("Change them?", console=screen, default=False)
    except EOFError:
        screen.print()
        return False


def _plan(arguments: argparse.Namespace) -> Iterator[Item]:
    """What attaching or detaching does to each function that is meant."""
    given = {changes.ENDPOINT: arguments.endpoint, changes.TOKEN: arguments.token} if _is_attaching(arguments) else {}
    settings = {name: value for name, value in given.items() if value} | dict(getattr(arguments, "set", ()))
    _refuse_unreadable(settings)
    for region, found in selections.choose(arguments.functions, arguments.tag, arguments.region):
        if not found:
            continue  # of many regions most have none, and need not be asked for the layer
        decide = _attaching(arguments, region, settings) if _is_attaching(arguments) else None
        for each in found:
            decision = decide(each) if decide else changes.detach(each, *arguments.layer)
            named = [name for name in arguments.functions if selections.is_named(name) and selections.fits(name, each)]
            yield Item(region, each["FunctionName"], _of_latest(decision, named), bool(named))


def _of_latest(decision: Change | Skip, named: Sequence[str]) -> Change | Skip:
    """A decision; where the function was named by a version or alias, with a note that these stay as they are."""
    qualifiers = [each for each in (selections.parted(name).qualifier for name in named) if each not in ("", "$LATEST")]
    if isinstance(decision, Skip) or decision.is_none or not qualifiers:
        return decision
    note = f"{', '.join(qualifiers)} stays as it is, because $LATEST is changed: publish a version after this"
    return replace(decision, notes=(*decision.notes, note))


def _is_attaching(arguments: argparse.Namespace) -> bool:
    return bool(arguments.command == "attach")


def _refuse_unreadable(settings: Mapping[str, str]) -> None:
    """Take no setting that its own reader refuses: in the function, the default would count, or nothing leave."""
    for setting in config.SETTINGS:
        if setting.variable not in settings:
            continue
        try:
            setting.parse(settings[setting.variable])
        except config.InvalidSettingError as problem:
            raise CommandError(f"{setting.variable} {problem}; nothing was changed") from None
    address = settings.get(changes.ENDPOINT, "")
    if address and not (address.startswith("arn:") or "://" in address or endpoint.is_ciphertext(address)):
        raise CommandError(
            f"{changes.ENDPOINT} is neither an http(s) address nor an ARN nor a ciphertext; nothing was changed"
        )


def _attaching(
    arguments: argparse.Namespace, region: Region, settings: Mapping[str, str]
) -> Callable[[Mapping[str, Any]], Change | Skip]:
    """What attaching does to a function of a region."""
    layer = _layer(arguments.layer or [changes.LAYER_NAME], region)
    if not layer:
        missing = Skip(f"is in {region.name}, where no such layer is (sumo-internal publish, or --layer)")
        return lambda _: missing
    wanted = Wanted(layer, settings, arguments.migrate, region.product(layer).bytecode)
    return lambda configuration: sound(configuration, changes.attach(configuration, wanted))


def sound(configuration: Mapping[str, Any], decision: Change | Skip) -> Change | Skip:
    """A decision, unless the doctor would call what comes of it an error."""
    if isinstance(decision, Skip) or decision.is_none:
        return decision
    layers = [{"Arn": layer} for layer in decision.after.layers]
    found = checks.check(Subject(decision.after.variables, {**configuration, "Layers": layers}))
    errors = [f"{finding.what} ({finding.name})" for finding in found if finding.level == "error"]
    return Skip(f"would not work: {'; '.join(errors)}") if errors else decision


def _layer(given: Sequence[str], region: Region) -> str:
    """The ARN of the layer's version in a region; empty where there is none."""
    here = [layer for layer in given if not layer.startswith("arn:") or layer.split(":")[3] == region.name]
    if not here or changes.version_of(here[0]):
        return "".join(here[:1])
    return region.newest(here[0])


def _rollback_plan(paths: Sequence[Path]) -> Iterator[Item]:
    """What gives the functions of a journal back what they had."""
    try:
        entries = journal.read(paths)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None
    by_name = {name: Region(name) for name in {entry.region for entry in entries}}
    for entry in entries:
        configuration = by_name[entry.region].configuration(entry.function)
        decision = journal.restored(changes.state(configuration), entry) if configuration else Skip("is gone")
        yield Item(by_name[entry.region], entry.function, decision, is_named=True)


def _show(items: Iterable[Item]) -> None:
    """Print the plan: functions to which the same is done stand together. No line is folded: each can be copied."""
    counts = Counter[str]()
    rows: dict[tuple[str, str], list[str]] = {}
    for item in items:
        kind, plan = _describe(item.decision)
        counts[kind] += 1
        if plan:
            rows.setdefault((item.region.name, plan), []).append(item.function)
    for (region, plan), functions in rows.items():
        print(f"{region}: {', '.join(functions)}", *plan.splitlines(), sep="\n    ")
    total = counts.total()
    print(f"{total} function{'s' * (total != 1)}: {', '.join(f'{counts[kind]} {kind}' for kind in KINDS)}")


KINDS = ("to change", "with nothing to do", "skipped")


def _describe(decision: Change | Skip) -> tuple[str, str]:
    """Which of the kinds it is, and what the plan says; empty if nothing."""
    if isinstance(decision, Skip):
        return KINDS[2], f"skipped: it {decision.reason}"
    return (KINDS[1], "") if decision.is_none else (KINDS[0], "\n".join(changes.differences(decision)))


def _carry_out(ready: Sequence[tuple[Item, Change]], command: str, screen: Console) -> int:
    """Make the changes; say which were not made."""
    try:
        book = journal.Journal(command)
    except OSError as error:
        raise CommandError(f"no journal (XDG_STATE_HOME names its folder), so nothing was changed: {error}") from None
    screen.print(f"To undo: sumo-internal {command} --rollback {shlex.quote(str(book.path))}")
    failed = 0
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures = {pool.submit(_apply, book, item, change): item for item, change in ready}
        for future in track(as_completed(futures), "Changing", len(futures), console=screen):
            try:
                future.result()
            except (NotDoneError, BotoCoreError, OSError) as error:
                failed += 1
                screen.print(f"{futures[future].region.name} {futures[future].function}: {explained(error)}")
    except KeyboardInterrupt:
        screen.print(f"Interrupted: waiting for the changes that are under way, {AT_ONCE} at most.")
        raise
    finally:
        pool.shutdown(cancel_futures=True)  # what is under way ends, the rest is left
    screen.print(f"{len(ready) - failed} changed, {failed} not")
    return EXIT_FAILED if failed else EXIT_DONE


def _apply(book: journal.Journal, item: Item, change: Change) -> None:
    book.write(item.region.name, item.function, change)
    item.region.apply(item.function, change)
