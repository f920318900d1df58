"""The soaks, cut short: with a fixed seed, a few environments of a few seconds, and the same books."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from soak import guest
from soak.run import soak

MINUTES = 18 / 60
RUN_S = 5.0


@pytest.mark.parametrize("seed", [1])
def test_the_books_balance(layer_folder: Path, seed: int) -> None:
    """Random faults, kills and freezes: logged = delivered + in S3 + in CloudWatch + counted, and what comes twice
    is counted too.

    ``make soak`` does the same for ten minutes; what it has ever found wrong has a test of its own.
    """
    books, happened = soak(Console(width=160), MINUTES, seed, layer_folder, RUN_S)

    assert books.wrong == []
    assert books.unexplained == 0
    assert books.logged == books.at_sumo + books.in_bucket + books.in_cloudwatch + books.counted + books.in_spool > 20
    assert happened["invocation"] > 5


def test_a_guest_is_not_noticed(layer_folder: Path) -> None:
    """Functions that do everything to themselves: answers and ends are those without the layer, books balance."""
    findings = guest.soak(Console(width=160), 12 / 60, 1, layer_folder)

    assert findings.wrong == []
    assert findings.at_sumo > 100
    assert len(findings.answered) > 2
