"""``sumo-internal replay``: failover objects, from a bucket or a folder, to the source that did not take them then.

The door to the parts that do it: :mod:`~sumo_internal.cli.backlog` has the objects, :mod:`~sumo_internal.cli.resend`
sends, :mod:`~sumo_internal.cli.ledger` remembers. Settings are the function's own, from the environment: the endpoint
and its token above all, because every user of the machine could read them as arguments.

Objects go the oldest first, a few at a time (:data:`CONNECTIONS`): most of an object's time is waiting for S3 and for
Sumo Logic. Sumo Logic asks a sender to use few connections, and does not ask for a single one. A replay can be broken
off anywhere and begun again with the same command.

It ends with EXIT_FAILED where something is left.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from threading import Event

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from sumo_internal import config as configuration
from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, CommandError, source, tables
from sumo_internal.cli.backlog import Backlog, BacklogBucket, DamagedObjectError, Folder, Item
from sumo_internal.cli.ledger import Ledger, StateFile, Tags, UnusableStateError, digest
from sumo_internal.cli.resend import (
    BatchRefusedError,
    Pace,
    Resender,
    UnreachableSourceError,
    send_item,
)
from sumo_internal.cli.session import session
from sumo_internal.diagnostics import legible
from sumo_internal.net.pool import PooledSender

SAID_MAX_CHARACTERS = 1_000
"""Of one line; a key, which may be in it, has up to 1,024 bytes."""
FUNCTION_MAX_CHARACTERS = 64
"""Of a function's name (Lambda)."""

STALE_DAYS = 1
"""Sumo Logic gives lines the time of receipt where they are further than this from their source's other lines."""


def run(arguments: argparse.Namespace) -> int:
    """Replay."""
    config, problems = configuration.read(os.environ)
    for problem in problems:
        _say(problem)
    if not config.endpoint:
        raise CommandError("SUMO_HTTP_ENDPOINT is not set; set it to the source's address, or to the ARN of a secret")
    with ExitStack() as owned:
        try:
            backlog = _open(arguments)
            items = sorted(_wanted(backlog, arguments), key=lambda item: (item.at, item.key))
            ledger = _remember(arguments, backlog, digest(config.endpoint, config.token), owned)
        except UnusableStateError as problem:
            raise CommandError(str(problem)) from None
        if arguments.dry_run:
            _count(items, ledger)
            return EXIT_DONE
        _warn(items, backlog)
        sender = owned.enter_context(closing(PooledSender(connections_max=arguments.connections)))
        way = source.connect(config, sender, os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""))
        pause = Pause()
        pace = Pace(arguments.bytes_per_s, arguments.requests_per_s)
        resender = Resender(way, config, pace, pause=pause)

        def send(item: Item) -> int | None:
            return send_item(item, backlog, ledger, resender, config)

        return _replay(items, send, pause, arguments.connections)


def _open(arguments: argparse.Namespace) -> Backlog:
    scheme, _, rest = arguments.place.partition("s3://")
    if not scheme and rest:
        bucket, _, prefix = rest.partition("/")
        return BacklogBucket(session().client("s3"), bucket, prefix)
    if arguments.tag:
        raise UnusableStateError("--tag is for objects in S3; files in a folder have no tags")
    if not Path(arguments.place).is_dir():
        raise UnusableStateError(f"{arguments.place} is neither s3://BUCKET/PREFIX nor a folder")
    return Folder(Path(arguments.place))


def _wanted(backlog: Backlog, arguments: argparse.Namespace) -> Iterator[Item]:
    """The objects that pass the filters."""
    for item in backlog.items():
        is_late_enough = arguments.since is None or item.at >= arguments.since
        is_early_enough = arguments.until is None or item.at < arguments.until
        is_named = any(fnmatchcase(item.function, pattern) for pattern in arguments.function or ["*"])
        if is_late_enough and is_early_enough and is_named:
            yield item


def _remember(arguments: argparse.Namespace, backlog: Backlog, to: str, owned: ExitStack) -> Ledger:
    if arguments.tag and isinstance(backlog, BacklogBucket):
        return Tags(backlog.client, backlog.name, to)
    return owned.enter_context(closing(StateFile(arguments.state, to)))


def _count(items: list[Item], ledger: Ledger) -> None:
    """Show what there is, by function."""
    by_function = defaultdict(list)
    for item in items:
        by_function[item.function].append(item)
    rows = []
    for function, group in sorted(by_function.items()):
        sent = sum(ledger.sent_bytes(item) is None for item in group)
        size_bytes = sum(item.size_bytes for item in group)
        first, last = (f"{item.at:%Y-%m-%dT%H:%MZ}" for item in (group[0], group[-1]))
        name = legible(function, FUNCTION_MAX_CHARACTERS)
        rows.append((name, str(len(group)), f"{size_bytes:,}", first, last, str(sent)))
    tables.show(("function", "objects", "bytes", "first", "last", "sent"), rows)


def _warn(items: list[Item], backlog: Backlog) -> None:
    """Say what a replay can spoil."""
    if isinstance(backlog, BacklogBucket):
        _say(
            f"if an S3 source of Sumo Logic's reads s3://{backlog.name}, every line will be there twice: pause it, or "
            "do not replay. Lines sent twice have the same id (| dedup by id)"
        )
    if items and items[0].at < datetime.now(timezone.utc) - timedelta(days=STALE_DAYS):
        _say(
            f"the oldest objects are of {items[0].at:%Y-%m-%d}. Where a source has newer lines, too, Sumo Logic may "
            "take a line's time for wrong and file it under now: replay to an HTTP source of its own"
        )


class Pause:
    """A pause between requests, in any thread, which ends when the replay does."""

    def __init__(self) -> None:
        self._is_over = Event()

    def __call__(self, duration_s: float) -> None:
        if self._is_over.wait(duration_s):
            raise BrokenOffError

    def end(self) -> None:
        self._is_over.set()


class BrokenOffError(Exception):
    """Another thread has ended the replay."""


def _replay(items: list[Item], send: Callable[[Item], int | None], pause: Pause, connections: int) -> int:
    """Send a few at a time, and say what has become of them."""
    done: Counter[str] = Counter()
    columns = (TextColumn("replay"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(connections) as threads:
        bar = progress.add_task("", total=sum(item.size_bytes for item in items))
        coming = iter(items)
        sending = {threads.submit(send, item): item for item in islice(coming, connections)}
        try:
            while sending:
                for future in wait(sending, return_when=FIRST_COMPLETED).done:
                    item = sending.pop(future)
                    if _has_ended(future, item, done):
                        pause.end()
                        coming = iter(())
                    progress.advance(bar, item.size_bytes)
                    sending |= {threads.submit(send, following): following for following in islice(coming, 1)}
        finally:
            pause.end()
    left = len(items) - done["sent"] - done["sent before"]
    sent = f"{done['sent']} objects sent ({done['lines']} lines)"
    print(f"{sent}, {done['sent before']} sent before, {left} left")
    return EXIT_FAILED if left else EXIT_DONE


def _has_ended(future: Future[int | None], item: Item, done: Counter[str]) -> bool:
    """Note what has become of an object; return whether all other objects would fail as well."""
    try:
        lines = future.result()
    except (DamagedObjectError, BatchRefusedError) as problem:
        _say(f"{item.key} is left where it is: {problem}")
        return False
    except BrokenOffError:
        return True
    except (UnreachableSourceError, ClientError, BotoCoreError) as problem:
        _say(f"broken off: {problem}; the same command goes on from here")
        return True
    done["lines"] += lines or 0
    done["sent before" if lines is None else "sent"] += 1
    return False


def _say(text: str) -> None:
    print(f"sumo-internal replay: {legible(text, SAID_MAX_CHARACTERS)}", file=sys.stderr)
