"""Tables on the screen, in a file, or in the next program: no value is ever cut or folded.

Separate because rich's own answer to a narrow screen is an ellipsis, or an ARN in pieces, and neither is of use to
anybody who has to copy it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence


def show(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; where it is wider than the screen, each row as lines.

    Args:
        headers: The columns'.
        rows: Of as many texts as there are headers.
    """
    rows = [*rows]
    lines = _aligned([headers, *rows])
    if sys.stdout.isatty() and max(map(len, lines)) > shutil.get_terminal_size().columns:
        lines = [line for row in rows for line in _apart(headers, row)]
    print("\n".join(lines))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]


def _apart(headers: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    """A row's first cell, and the others below it, with their headers."""
    yield row[0]
    for header, cell in zip(headers[1:], row[1:], strict=True):
        if cell:
            yield f"    {header}: {cell}" if header else f"    {cell}"
