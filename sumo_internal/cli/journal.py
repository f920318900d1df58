"""The file beside a command that changes functions: what each of them had before, so that all can have it back.

A line of JSON per change, written and synced before the change is asked for, so that whatever ends the command, the
file knows no less than Lambda::

    {"region": …, "function": …, "before": {"layers": […], "variables": {…}}, "after": {…}}

It holds the functions' variables in the clear, secrets included, because those are what has to be restored: only its
owner may read it. A last line that a crash has cut is one whose change was never asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock

from sumo_internal.cli.changes import Change, State


@dataclass(frozen=True)
class Entry:
    """A change that was asked for; ``function`` is its name."""

    region: str
    function: str
    before: State
    after: State


class Journal:
    """A new file, to be written by several threads."""

    def __init__(self, command: str) -> None:
        """Create the file in the current folder.

        Raises:
            OSError: It cannot be created: change nothing then.
        """
        now = datetime.now(timezone.utc)
        self.path = Path(f"sumo-internal-{command}-{now:%Y%m%dT%H%M%S.%fZ}.jsonl")  # in order, as a shell lists them
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._lock = Lock()

    def write(self, region: str, function: str, change: Change) -> None:
        """Note a change that is about to be asked for."""
        line = json.dumps(asdict(Entry(region, function, change.before, change.after)), ensure_ascii=False)
        with self._lock:
            os.write(self._descriptor, f"{line}\n".encode())
            os.fsync(self._descriptor)


def read(paths: Iterable[Path]) -> list[Entry]:
    """What functions had before the first of several commands, and after the last, in the order of the files.

    Raises:
        OSError: A file cannot be read.
        ValueError: It is no journal.
    """
    entries: dict[tuple[str, str], Entry] = {}
    for path in paths:
        for entry in _entries(path):
            first = entries.get((entry.region, entry.function), entry)
            entries[entry.region, entry.function] = Entry(entry.region, entry.function, first.before, entry.after)
    return list(entries.values())


def _entries(path: Path) -> Iterator[Entry]:
    *lines, cut = path.read_text().split("\n")
    for line in lines:
        try:
            content = json.loads(line)
            before, after = (_state(content[name]) for name in ("before", "after"))
            yield Entry(content["region"], content["function"], before, after)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ValueError(f"{path} is no journal of this command") from None
    if not lines and cut:
        raise ValueError(f"{path} is no journal of this command")


def _state(content: dict[str, object]) -> State:
    layers, variables = content["layers"], content["variables"]
    if not isinstance(layers, list) or not isinstance(variables, dict):
        raise TypeError
    return State(tuple(layers), variables)
