"""Tables on the screen, in a file, or in the next program: no cell is ever cut.

Separate because rich's own answer to a narrow screen is an ellipsis, and half an ARN is of no use to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDEST = 10_000
"""Characters in a row that is not for a screen."""


def show(headers: Sequence[str], rows: Iterable[Sequence[str]], *, is_folded: bool = False) -> None:
    """Print a table on stdout: as wide as the screen, its cells folded; elsewhere as wide as it is.

    Args:
        headers: The columns'.
        rows: Of as many texts as there are headers.
        is_folded: Fold cells elsewhere too, because they are long and for reading.
    """
    screen = Console(markup=False, highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if not screen.is_terminal and not is_folded:
        screen.width = Measurement.get(screen, screen.options.update(max_width=WIDEST), table).maximum
    screen.print(table)
