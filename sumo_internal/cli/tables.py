"""Tables and texts on the screen, in a file, or in the next program: no value is ever cut or folded outside a screen.

Separate because rich's own answer to a narrow screen is an ellipsis, and half an ARN is of no use to anybody.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


def show(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout: as wide as the screen, its cells folded; elsewhere as wide as it is.

    Args:
        headers: The columns'.
        rows: Of as many texts as there are headers.
    """
    if not sys.stdout.isatty():
        print("\n".join(_aligned([headers, *rows])))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]
