"""The soaks, cut short: with a fixed seed, a few environments of a few seconds, and the same books."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model import CloudWatchLine
from rich.console import Console
from soak import books, guest
from soak.run import soak

MINUTES = 18 / 60
RUN_S = 5.0


@pytest.mark.parametrize("seed", [1])
def test_the_books_balance(layer_folder: Path, seed: int) -> None:
    """Random faults, kills and freezes: logged = delivered + in S3 + in CloudWatch + counted, and what comes twice
    is counted too.

    ``make soak`` does the same for ten minutes; what it has ever found wrong has a test of its own.
    """
    drawn, happened = soak(Console(width=160), MINUTES, seed, layer_folder, RUN_S)

    assert drawn.wrong == []
    assert drawn.unexplained == 0
    assert drawn.logged == drawn.at_sumo + drawn.in_bucket + drawn.in_cloudwatch + drawn.counted + drawn.in_spool > 20
    assert happened["invocation"] > 5


def test_a_part_that_is_nowhere_is_not_explained_by_another_ones_place(tmp_path: Path) -> None:
    """A line of several records is where the worst of them is: one in CloudWatch said that all of them were there."""
    lines = [books._app.make_line("i0m", number) for number in range(400)]
    number, line = next((number, line) for number, line in enumerate(lines) if line.parts > 1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "i0m").write_text(f"{number:08d}")

    def drawn(parts: int) -> books.Books:
        records = [
            {"time": "t", "type": "function", "message": "x", "line": each.mark, "id": f"{n}.{part}", "part": part}
            for n, each in enumerate(lines[: number + 1])
            for part in range(1, each.parts + 1)
            if n != number or part <= parts
        ]
        said = [CloudWatchLine(0.0, books._EXTENSION, json.dumps(record)) for record in records]
        said.append(CloudWatchLine(0.0, books._EXTENSION, f"sumo-internal-extension: warn: no {line.mark}"))
        return books.balance(
            tmp_path / "notes",
            tmp_path / "spool",
            [],
            [],
            interrupted_at_s=[],
            puts_unanswered=0,
            are_counts_whole=True,
            cloudwatch=said,
        )

    assert (drawn(line.parts).in_cloudwatch, drawn(line.parts).unexplained) == (number + 1, 0)
    assert (drawn(1).in_cloudwatch, drawn(1).unexplained) == (number, line.parts - 1)


def test_a_guest_is_not_noticed(layer_folder: Path) -> None:
    """Functions that do everything to themselves: answers and ends are those without the layer, books balance."""
    findings = guest.soak(Console(width=160), 12 / 60, 1, layer_folder)

    assert findings.wrong == []
    assert findings.at_sumo > 100
    assert len(findings.answered) > 2


@pytest.mark.parametrize(
    ("writer", "acts", "is_promised"),
    [
        ("i0", [["calm"], ["empties", "dies"]], True),
        ("i0", [["refuses"], ["empties"], ["calm"]], True),
        ("i0", [["refuses"], ["empties", "raises"]], True),
        ("i0", [["refuses"], ["empties", "dies"]], False),
        ("i1t2", [["refuses"], ["threads"], ["empties", "dies"]], False),
        ("i2", [["refuses"], ["dies"], ["empties", "dies"]], True),
        ("i0-41", [["refuses", "fork", "empties"]], False),
        ("i0", [["refuses", "fork", "empties"]], True),
    ],
)
def test_what_is_promised_of_a_guests_lines(writer: str, acts: list[list[str]], is_promised: bool) -> None:
    """All but what a process writes that lets nobody get its files, removes them and dies."""
    marks = {(writer, 0)}
    played = guest.Played([], marks, set(), set(), {}, 0)
    assert played.promised(acts).noted == (marks if is_promised else set())
