"""The documentation's table of sources of lines, ``docs/sources.md``: made from what the capture tests have measured.

Separate because the tests of one run are spread over processes, each of which knows some rows: a row that differs from
what was measured is put right in the file, and its test fails, so that the change is looked at and committed.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Sequence

from layer.build import ROOT

FILE = ROOT / "docs" / "sources.md"

_HEAD = """\
# What reaches CloudWatch reaches Sumo Logic, once

This page has every source of lines that the tests know. Each is tried in a real function under the real runtime client,
with both log formats, with and without the descriptor for framed logs. *Lines* are CloudWatch's events; a record of
Sumo's may have several of them. *Keys* are those that a record has besides the ones that all have. The figures are
those of the text format with framed logs. The tests write them (`tests/test_capture.py`, and for what Lambda itself
says `tests/test_platform_path.py`); a test fails when they are out of date.

| source | CloudWatch | Sumo Logic | keys | difference, and why |
| --- | --- | --- | --- | --- |
"""


INIT = "the init: INIT_START, and each extension's state"
INVOCATION = "an invocation: START, END, REPORT"
EXIT = "a runtime that ends in mid-invocation (`Runtime exited …`)"
TIMEOUT = "a timeout (`Task timed out …`)"
TELEMETRY = "`os.write`, child processes, … with `SUMO_FUNCTION_LOGS=telemetry`"
LAMBDAS = (INIT, INVOCATION, EXIT, TIMEOUT, TELEMETRY)
"""Sources that no code of the function's has a part in, or no code in its process: the table's last rows."""


def row(source: str, line_count: int | None, record_count: int | None, keys: Iterable[str], difference: str) -> str:
    """Return a row of the table; counts are None where they depend on timing."""
    lines = "line by line" if line_count is None else _count(line_count, "line")
    records = "all of them" if record_count is None else _count(record_count, "record")
    return f"| {source} | {lines} | {records} | {', '.join(f'`{key}`' for key in sorted(keys))} | {difference} |"


def check(measured: str, sources: Sequence[str]) -> None:
    """Fail unless the table has this row, and write it into the table.

    Args:
        measured: The row.
        sources: The first column of all rows, in order.
    """
    FILE.parent.mkdir(exist_ok=True)
    with open(FILE, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        rows = _rows(file.read())
        source = _source(measured)
        committed = rows.get(source)
        rows[source] = measured
        file.truncate(0)
        file.write(_HEAD + "".join(f"{rows[source]}\n" for source in sources if source in rows))
    assert measured == committed, f"{FILE} was out of date; this row was put right: look at it, and commit it"


def listed() -> tuple[bool, list[str]]:
    """Return whether the table stands below the right words, and the sources that it has."""
    text = FILE.read_text()
    return text.startswith(_HEAD), list(_rows(text))


def _rows(text: str) -> dict[str, str]:
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return {_source(row): row for row in rows}


def _source(row: str) -> str:
    return row.split(" | ")[0].removeprefix("| ")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
