"""The file that a command leaves which changes functions: what it has replaced, so that all can have it back.

A line of JSON per change, written and synced before the change is asked for, so that whatever ends the command, the
file knows no less than Lambda::

    {"region": …, "function": …, "before": {"layers": […], "variables": {"NAME": value or null}},
                                 "after": {"layers": […], "variables": {"NAME": digest or null}}}

Rules:

* It has only the variables that change, which are ours: the function's own secrets are not in it. What a variable had
  before is in the clear, because that is what has to be restored (null: it was not there); mostly a wrapper's path. An
  address that an earlier attaching has set, and this one replaces, is the one credential that can be in it.
* What a variable has after the change is there as a digest, by which a later change of somebody else's is noticed.
* It lies in the user's state folder, and only its owner may read it.
* A last line that a crash has cut is one whose change was never asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

from sumo_internal.cli.changes import Change, Skip, State

SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Part:
    """Of a function's configuration, what a change is about: all layers, and the variables that change.

    Before it their values, after it digests of their values; None where there is no such variable.
    """

    layers: list[str]
    variables: dict[str, str | None]


@dataclass(frozen=True)
class Entry:
    """A change that was asked for; ``function`` is its name."""

    region: str
    function: str
    before: Part
    after: Part


def folder() -> Path:
    """Where journals are: the user's folder for a program's state (the XDG base directory specification).

    Raises:
        OSError: The user has no home, and XDG_STATE_HOME names no folder.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        return (Path(state) if os.path.isabs(state) else Path.home() / ".local/state") / "sumo-internal"
    except RuntimeError:
        raise OSError("the user has no home folder") from None


class Journal:
    """A new file, to be written by several threads."""

    def __init__(self, command: str) -> None:
        """Create the file.

        Raises:
            OSError: It cannot be created: change nothing then.
        """
        now = datetime.now(timezone.utc)
        self.path = folder() / f"{command}-{now:%Y%m%dT%H%M%S.%fZ}{SUFFIX}"  # in order, as a shell lists them
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._lock = Lock()

    def write(self, region: str, function: str, change: Change) -> None:
        """Note a change that is about to be asked for."""
        line = json.dumps(asdict(entry(region, function, change)), ensure_ascii=False)
        with self._lock:
            os.write(self._descriptor, f"{line}\n".encode())
            os.fsync(self._descriptor)


def entry(region: str, function: str, change: Change) -> Entry:
    """What a journal has of a change."""
    before, after = change.before.variables, change.after.variables
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    return Entry(
        region,
        function,
        Part(list(change.before.layers), {name: before.get(name) for name in names}),
        Part(list(change.after.layers), {name: digest(after.get(name)) for name in names}),
    )


def digest(value: str | None) -> str | None:
    """What stands for a variable's value where it is only compared."""
    return None if value is None else hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def restored(now: State, change: Entry) -> Change | Skip:
    """Give a function back what a change has replaced; what somebody else has changed since is left alone.

    Args:
        now: The function's layers and variables.
        change: What the journals have of it.
    """
    before, after = change.before, change.after
    has = {name: now.variables.get(name) for name in before.variables}
    if list(now.layers) == before.layers and has == before.variables:
        return Change(now, now)
    is_as_left = {name: digest(value) for name, value in has.items()} == after.variables
    if list(now.layers) != after.layers or not is_as_left:
        return Skip("has been changed since, by somebody else")
    variables = {name: value for name, value in {**now.variables, **before.variables}.items() if value is not None}
    return Change(now, State(tuple(before.layers), variables))


def read(paths: Iterable[Path]) -> list[Entry]:
    """What functions had before the first of several commands, and after the last, in the order of the files.

    Raises:
        OSError: A file cannot be read.
        ValueError: It is no journal.
    """
    entries: dict[tuple[str, str], Entry] = {}
    for path in paths:
        for later in _entries(path):
            key = later.region, later.function
            entries[key] = joined(entries[key], later) if key in entries else later
    return list(entries.values())


def joined(first: Entry, second: Entry) -> Entry:
    """Two changes of a function, one after the other, as one."""
    before = Part(first.before.layers, {**second.before.variables, **first.before.variables})
    after = Part(second.after.layers, {**first.after.variables, **second.after.variables})
    return Entry(first.region, first.function, before, after)


def _entries(path: Path) -> Iterator[Entry]:
    *lines, cut = path.read_text("utf-8").split("\n")
    for line in lines:
        try:
            content = json.loads(line)
            before, after = (_part(content[name]) for name in ("before", "after"))
            yield Entry(content["region"], content["function"], before, after)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ValueError(f"{path} is not a journal of this command") from None
    if not lines and cut:
        raise ValueError(f"{path} is not a journal of this command")


def _part(content: Mapping[str, Any]) -> Part:
    layers, variables = content["layers"], content["variables"]
    if not isinstance(layers, list) or not isinstance(variables, dict):
        raise TypeError
    return Part(layers, variables)
