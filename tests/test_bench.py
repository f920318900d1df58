"""``make bench``: its verdicts, its page and picture, and that it still measures.

The figures themselves are no business of a test: they are the machine's. What they are made into is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from math import nan
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import chart, pay, profiles, run
from bench import results as bench_results
from bench.cases import NAMES, PIECES
from bench.costs import REGISTERING
from bench.curves import AXES, Point
from bench.goals import GOALS, Figure, is_met, show, worse
from bench.layers import compare, contender
from bench.pay import Bill, Terms
from bench.peers import PEERS, Cost
from bench.results import Results
from bench.stage import stage
from runtimes import ROOT


def run_bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark as ``make bench`` does."""
    command = [sys.executable, "-m", "bench.run", *arguments]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": ".:tools"}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("kept", "measured", "expected"),
    [
        ({}, {"print": 1.4}, []),
        ({}, {"print": 1.6}, ["print is over its budget: 1.60 µs, at most 1.50 µs (made of)"]),
        ({"print": 0.5}, {"print": 1.1}, []),
        ({"print": 0.5}, {"print": 1.3}, ["print has become worse: 0.50 µs was kept, now 1.30 µs"]),
        ({"print": 0.9}, {"print": 0.1}, []),
        ({"print": 3.0}, {"print": 3.6}, []),
        (
            {"print": 3.0},
            {"print": 3.8},
            ["print has become worse: 3.00 µs was kept (the budget is missed), now 3.80 µs"],
        ),
        ({"print": 1.0}, {"print": nan}, []),
        ({"goodbye": 0.0}, {"goodbye": 1.0}, ["goodbye is over its budget", "goodbye has become worse"]),
        ({"end_held": 80.0}, {"end_held": 5_000.0}, ["end_held has become worse: 80.0 ms was kept, now 5000 ms"]),
        ({"print": 0.5}, {}, []),
    ],
)
def test_what_is_worse(kept: Mapping[str, float], measured: Mapping[str, float], expected: list[str]) -> None:
    """Over its goal, or worse than was kept by more than its slack; better is never worse, and nor is what is noise.

    A goal that is known to be missed holds at the value that was reached. Guards against a check that fails always, and
    then tells nobody anything.
    """
    figures = {name: Figure(value, "made of") for name, value in measured.items()}
    complaints = [text for _, text in worse({name: Figure(value) for name, value in kept.items()}, figures)]
    assert [any(text in complaint for complaint in complaints) for text in expected] == [True] * len(expected)
    assert len(complaints) == len(expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("shipping", 0.994, "0.99 x"),
        ("shipping_zstd", nan, "not measured"),
        ("cold_start", 12.34, "12.3 ms"),
        ("zip", 701.4, "701 KiB"),
        ("goodbye", 3.0, "3"),
    ],
)
def test_values_are_short(name: str, value: float, expected: str) -> None:
    """Three digits at most before they are noise, and a count is a count."""
    assert show(name, value) == expected


def bills(without_ms: float, again_ms: float, with_ms: float) -> dict[str, Bill]:
    """Bills that are for nothing but the response."""
    times_ms = {"without": without_ms, "again": again_ms, "with": with_ms}
    return {name: Bill(ms, ms, ms, ms, ms * 10) for name, ms in times_ms.items()}


@pytest.fixture
def results() -> Results:
    """A small run with awkward words in it."""
    return Results(
        "2 cores",
        {"log_info": Figure(1.23456, "a < b", 0.1), "goodbye": Figure(0.0)},
        {"this layer": Cost(-0.5, 0.0, 1, 2, 3, 4), "A & B": Cost(100, 20, 3, 4, 5, 6)},
        {"C": "cannot be installed: <no wheel>"},
        {"memory": {"without": [Point(1, 0.5), Point(100, 2)], "with": [Point(1, 0.0), Point(100, 3)]}},
        {
            Terms("end", 1769, 80, 100): {**bills(2.0, 2.5, 3.25), pay.SOURCE: Bill(80.0, 80.0, 80.0, 80.0, 0.0)},
            Terms("end", 128, 80, 100): bills(20.0, 22.0, 50.0),
            Terms("next", 1769, 80, 100): bills(2.0, 2.0, 4.0),
        },
    )


def test_a_run_is_kept(results: Results) -> None:
    """What comes back is what was written, but for digits that nobody would trust; and a line is one figure."""
    text = bench_results.to_json(results)
    kept = bench_results.from_json(text)
    assert kept.figures["log_info"] == Figure(1.235, "a < b", 0.1)
    assert (kept.costs, kept.absent, kept.curves) == (results.costs, results.absent, results.curves)
    assert kept.paid == results.paid
    assert bench_results.to_json(kept) == text
    assert sum('"log_info"' in line for line in text.splitlines()) == 1


def test_some_cases_take_their_places(results: Results) -> None:
    """A later run of some cases replaces these and leaves the others, in whatever order they were measured."""
    later = Results("4 cores", {"print": Figure(0.5), "log_info": Figure(0.25)})
    later.paid = {Terms("end", 1769, 80, 1): bills(1, 1, 1), Terms("end", 128, 80, 100): bills(1, 1, 1)}
    updated = results.updated(later)
    assert (updated.where, list(updated.figures)) == ("4 cores", ["log_info", "print", "goodbye"])
    assert {name: figure.value for name, figure in updated.figures.items()} == {
        "log_info": 0.25,
        "print": 0.5,
        "goodbye": 0.0,
    }
    assert updated.paid == pay.in_order(results.paid | later.paid)
    assert (updated.costs, updated.absent, updated.curves) == (results.costs, results.absent, results.curves)


def test_page_and_picture_show_everything(results: Results) -> None:
    """Each figure, each peer and each curve is there; what could not be measured is there with the reason."""
    page = bench_results.page(results)
    for text in (
        "**1.23 µs, missed**",
        "| A & B | 100.0 |",
        "| C | cannot be installed: <no wheel> |",
        "| with | 0.0 | 3.0 |",
    ):
        assert text in page
    picture = ElementTree.fromstring(chart.draw(results))
    words = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"this layer", "A & B", "with", "without", "lines per invocation"} <= words
    numbers = [float(value) for part in picture.iter() for name, value in part.items() if name in ("x", "y", "width")]
    assert all(-1 <= number <= chart.WIDTH for number in numbers[1:])


def test_titles_of_curves_do_not_touch() -> None:
    """Guards against one that is as long as two panels are wide."""
    rows = [row for axes in AXES.values() for row in chart.title_rows(f"{axes.title}, {axes.y}")]
    assert len(rows) >= len(AXES) and all(len(row) * chart.LETTER_WIDTH < chart.PANEL_WIDTH for row in rows)


def test_a_reader_sees_time_and_money(results: Results) -> None:
    """A row for each strategy and number of lines, with what it adds and what a million of them cost, by memory size.

    By hand: 1.25 ms of 1,769 MB are 0.00216 GB-s, at $0.0000166667, a million times: 0.036. CloudWatch gets 100 lines
    of 116 bytes or so: 10.8 GB at $0.50. Guards against a factor of a thousand somewhere.
    """
    rows = list(pay.summary(results.paid))
    assert rows[2] == "| 100, `end` | +30.0, +30.0 |  |  | +1.2, +1.2 |"
    assert rows[3] == "| 100, `next` |  |  |  | +2.0, +2.0 |"
    assert rows[7].startswith("| 100, `end` | +0.06 |  |  | +0.04 | 5.")
    assert rows[8].startswith("| 100, `next` |  |  |  | +0.06 | 5.")
    assert "\n".join(rows) in bench_results.page(results)
    assert any(row.startswith("| `end`, 128 MB, 80 ms, 100 | 20.00, 22.00") for row in pay.details(results.paid))


def test_a_goal_is_met_within_what_two_bare_runs_differ(results: Results) -> None:
    """Half a millisecond over the goal is nothing where the function alone differs by as much from one run to another;
    what the source takes is not the layer's."""
    figures = pay.figures(results.paid)
    assert (figures["response_end_100"].value, figures["response_end_100"].control) == (1.25, 0.5)
    assert figures["billed_100"].value == 1.25 - 80
    results.paid[Terms("end", 1769, 80, 100)][pay.SOURCE] = Bill(81.0, 80.5, 81.0, 80.5, 0.0)
    assert pay.figures(results.paid)["billed_100"].value == 1.25 - 81.0
    assert figures["in_place"][0::2] == (1.625, 0.25)
    assert is_met("response_end_100", Figure(0.79, "", 0.5))
    assert not is_met("response_end_100", Figure(0.81, "", 0.5))


def test_page_and_picture_are_the_kept_runs() -> None:
    """README's picture comes from ``make bench``. Guards against figures that somebody has written by hand."""
    assert run.PAGE.read_text() == bench_results.page(run.kept())
    assert run.PICTURE.read_text() == chart.draw(run.kept())


def test_the_kept_run_is_whole() -> None:
    """Every goal has a figure, and every peer a row or a reason."""
    kept = json.loads(run.KEPT.read_text())
    assert list(kept["figures"]) == list(GOALS), "measure what is new: make bench KEEP=1 ONLY=…"
    assert len(kept["paid"]) == sum(len(block.lines) for blocks in pay.BLOCKS.values() for block in blocks)
    assert {*kept["costs"], *kept["absent"]} == {"this layer", *(peer.name for peer in PEERS)}


def test_peers_are_pinned() -> None:
    """A new version of a peer is no reason for a figure to change between two runs."""
    assert all("==" in requirement for peer in PEERS for requirement in peer.requirements)


def test_bench_measures() -> None:
    """A case runs from the command line to its row, and ``--check`` ends as the goals say."""
    check = run_bench("--quick", "--check", "--only", "pay_next,zip")
    assert "the zip" in check.stdout, check.stderr
    assert "next, 1769 MB, source 80 ms, 1,000 lines" in check.stdout
    assert check.returncode == ("No budget is broken" not in check.stdout)


def test_the_profile_of_shipping_adds_up() -> None:
    """All parts of it together are all of it, and each function that is shown was called."""
    (_, whole_ms), *parts = profiles.parts()
    assert whole_ms > 0
    assert sum(took_ms for what, took_ms in parts if not what.startswith("…")) == pytest.approx(whole_ms)
    shown = list(profiles.functions())
    assert len(shown) == profiles.FUNCTIONS and all(calls > 0 and 0 < share < 1 for _, calls, share in shown)
    assert 0 < profiles.one_line_ms() < whole_ms


@pytest.mark.parametrize(
    ("tool", "code", "said"),
    [
        ("instructions", 1, "instructions are counted by valgrind, which is not on PATH"),
        ("profiles", 0, "Its system calls are not counted: that needs strace, which is not on PATH"),
    ],
)
def test_a_program_that_is_missing_is_named(tmp_path: Path, tool: str, code: int, said: str) -> None:
    """In one line; the parts that do without it are there."""
    environ = {"PYTHONPATH": ".:tools", "PATH": str(tmp_path)}
    command = [sys.executable, "-m", f"bench.{tool}"]
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (ran.returncode, (ran.stdout + ran.stderr).count(said), ran.stderr.count("Traceback")) == (code, 1, 0)


def test_pieces_are_the_whole() -> None:
    """Who measures the pieces one after the other has measured everything, but for peers and curves, once."""
    assert sorted(name for names in PIECES.values() for name in names) == sorted(set(NAMES) - {"registered"})


def test_bench_knows_its_cases() -> None:
    """A misspelt case is said, with those that there are. Guards against a run that measures nothing."""
    unknown = run_bench("--only", "log_infos")
    assert unknown.returncode == 2
    assert "there is no case log_infos" in unknown.stderr
    assert all(name in unknown.stderr for name in run.ALL)


def test_a_quick_run_is_not_kept() -> None:
    """What a few rounds have found is for whoever is developing. Guards against noise in the documentation."""
    quick = run_bench("--quick", "--keep", "--only", "zip")
    assert quick.returncode == 2
    assert "a quick run is too coarse to be kept" in quick.stderr


def test_another_layer_has_to_be_there() -> None:
    """A folder without extensions is said, before anything is measured."""
    empty = run_bench("--layer", "tests")
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "there is no extension in tests/extensions" in empty.stderr


def test_another_layer_is_measured_beside_ours(layer_folder: Path) -> None:
    """The first rows of two layers, of which the other is ours too: both have started, and both have registered."""
    with stage(0.0, lambda _: None) as on:
        other = contender(layer_folder, "AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper")
        rows = list(islice(compare(on, other), 3))
    what, unit, ours_ms, others_ms = rows[-1]
    assert (what, unit) == ("until its extension has registered", "ms")
    assert ours_ms > 0 and others_ms > 0


def test_another_layer_is_measured_from_the_command_line(tmp_path: Path) -> None:
    """A folder with an extension is all that it takes; a case that is none of another layer's is said."""
    (tmp_path / "extensions").mkdir()
    extension = tmp_path / "extensions" / "stand-in"
    extension.write_text(REGISTERING)
    extension.chmod(0o755)
    measured = run_bench("--quick", "--layer", str(tmp_path), "--only", "pay_next")
    rows = {line.split("│")[1].strip(): line.split("│")[2:10] for line in measured.stdout.splitlines() if "│" in line}
    for lines in ("1", "100", "1,000", "10,000"):
        times_ms = [float(cell) for cell in rows[f"next, 1769 MB, source 80 ms, {lines} lines"]]
        assert len(times_ms) == 8 and all(0 < each < 60_000 for each in times_ms), measured.stderr
    unknown = run_bench("--layer", str(tmp_path), "--only", "print")
    assert unknown.returncode == 2 and "there is no case print; there are layers, pay_end" in unknown.stderr


def test_another_layer_is_described_by_variables() -> None:
    """Names and values are split at the first sign of equality: an endpoint has more of them."""
    other = contender(ROOT, "AWS_LAMBDA_EXEC_WRAPPER=/opt/other_wrapper ENDPOINT=https://127.0.0.1/?a=b")
    assert other.variables == {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/other_wrapper",
        "ENDPOINT": "https://127.0.0.1/?a=b",
    }
