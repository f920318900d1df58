"""``make demo`` as its user sees it: it ends well, and the numbers in the terminal and on the page agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from browser import BROWSER, NEEDS_BROWSER, look, photograph
from demo.endings import in_one_line
from demo.facts import Account, ColdStart, Line, cost_rows
from demo.run import MODES, page_path
from demo.story import FAULTS
from markup import Document
from model.snapshot import unavailable
from runtimes import ROOT

_NOT_A_USERS = ("MAKEFLAGS", "MAKELEVEL", "FORCE_COLOR")
"""Variables that `make test` or continuous integration set, and somebody at a prompt does not."""
_PICTURED = {"": 946, "outage": 690}
"""Faults whose page is shown in the documentation, and how many pixels of its height (``WRITE_PICTURES=1``): of
README's the legend, too."""
_PICTURE_PX = 860
"""As wide as a README is shown, so that what stands on the picture can be read in it; with two dots to a pixel."""
_PICTURE_MAX_BYTES = 350_000
_WIDTH_PX = 1280
"""Of a laptop's window; test_demo_page tries others."""


def run_demo(*faults: str) -> subprocess.CompletedProcess[str]:
    """Run ``make demo`` with this interpreter's packages in place of .venv; what it prints fits into 80 columns."""
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_A_USERS}
    command = ["make", "--silent", "--old-file=.venv/.demo", f"VENV_PYTHON={sys.executable}", "demo", *faults]
    demo = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert [line for line in demo.stdout.splitlines() if len(line) > 80] == []
    return demo


def find(pattern: str, output: str) -> list[tuple[str, ...]]:
    """Return the groups of every line that matches; a space stands for whatever is between two words of a table."""
    return re.findall(pattern.replace(" ", r"[^\w\n]+"), output, re.MULTILINE)


def books(output: str) -> list[int]:
    """Return how many lines were written, are at Sumo Logic, are in S3, came twice, are lost."""
    [counts] = find(r"^ lines (\d+) (\d+) (\d+) (\d+) (\d+) $", output)
    return [int(count) for count in counts]


def check_page(output: str, fault: str = "") -> Document:
    """Check that the page says what the terminal has said, and, where there is a browser, that it can be looked at."""
    page = page_path(fault)
    document = Document(page.read_text())
    shown = {name: int(number) for name, number in document.facts.items()}
    assert [shown[name] for name in ("written", "sumo", "s3", "twice", "lost")] == books(output)
    steps = find(r"^\W?(\d+) 1\d{3}\b.* (\d+) \d+$", output)
    assert {f"written-{number}": int(count) for number, count in steps}.items() <= shown.items()
    assert sum(count for name, count in shown.items() if name.startswith("way-")) == shown["written"]
    assert document.counted("line") == shown["written"]
    for sender, name in (("sidecar", "thread"), ("extension", "extension")):
        [(taken, refused, lines)] = find(rf"^ {name} (\d+) (\d+) (\d+) ", output)
        assert shown[f"sent-{sender}"] == int(lines)
        assert document.counted("way", sender, "taken") == int(taken)
        assert document.counted("way", sender, "refused") == int(refused)
    if BROWSER is not None:
        seen = look(page, _WIDTH_PX)
        assert (seen.errors, seen.overlaps, seen.cut_off) == ([], [], [])
        assert seen.facts == document.facts
        assert seen.tip and seen.lit_up > 1
    return document


def photograph_if_asked(fault: str = "") -> None:
    """Renew the documentation's picture of this page, where it has one."""
    picture = ROOT / "docs" / page_path(fault).with_suffix(".png").name
    if os.environ.get("WRITE_PICTURES") == "1" and fault in _PICTURED:
        photograph(page_path(fault), _PICTURE_PX, _PICTURED[fault], picture)
    if fault in _PICTURED:
        assert 0 < picture.stat().st_size < _PICTURE_MAX_BYTES


@pytest.mark.timeout(180)  # it takes 20 s on a machine that has nothing else to do
def test_demo_accounts_for_every_line() -> None:
    """The rows, the batches below them, the summary and the page tell the same story: every line is at Sumo.

    Guards against a summary that says what it ought to say. The lines of the crash are the ones that the extension has
    to send all by itself.
    """
    demo = run_demo()
    output = demo.stdout
    assert (demo.returncode, demo.stderr) == (0, ""), output
    assert "\x1b" not in output

    cold_start = find(r"^ (cold start) .* (\d+) \d+$", output)
    invocations = find(r"^\W?(\d+) 1\d{3}\b.* (\d+) \d+$", output)
    batches = [(sender, int(lines)) for sender, lines in find(r"^ -> \S+ (\w+) (\d+) lines ", output)]
    sent = {sender: [lines for name, lines in batches if name == sender] for sender, _ in batches}

    written, at_sumo, in_s3, twice, lost = books(output)
    assert (at_sumo, in_s3, lost) == (written, 0, 0)
    assert [int(number) for number, _ in invocations] == list(range(1, len(invocations) + 1))
    assert sum(int(lines) for _, lines in cold_start + invocations) == written > 100
    assert at_sumo <= sum(lines for _, lines in batches) <= at_sumo + twice
    for sender, lines in sent.items():
        assert find(rf"^ {sender} (\d+) 0 (\d+) ", output) == [(str(len(lines)), str(sum(lines)))]
    assert len(find(r"SIGKILL .* (\d+) 0$\n -> \S+ (extension) \1 lines ", output)) == 1
    [(held, not_held)] = re.findall(r"After (\d+) responses .*; after (\d+)\s", output.replace("\n", " "))
    assert int(held) > 5 and int(not_held) > 0
    assert len(find(r"^Every line is at Sumo Logic(, once\.|; \d+ records came twice, each with the id)", output)) == 1
    assert output.endswith("your browser: .cache/demo/demo.html\n")
    assert len(find(r"^ (cold start|memory, idle|memory, lines sent) .* (?:MB|ms\)?) $", output)) == 3, "unfolded"
    check_page(output)
    photograph_if_asked()


@pytest.mark.timeout(120)  # 10 s likewise
@pytest.mark.parametrize("fault", FAULTS)
def test_demo_with_a_fault_shows_where_the_lines_went(fault: str) -> None:
    """No line is lost, and the way that the fault was to show is shown: S3, another try, the extension.

    That nothing comes twice is no promise: a request may be under way when the environment freezes.
    """
    demo = run_demo(f"FAULT={fault}")
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    written, at_sumo, in_s3, twice, lost = books(demo.stdout)
    assert lost == 0
    assert at_sumo + in_s3 == written
    assert (f"{twice} records came twice" in " ".join(demo.stdout.split())) is (twice > 0)

    document = check_page(demo.stdout, fault)
    photograph_if_asked(fault)
    assert f"FAULT={fault}: " in document.text
    assert (in_s3 > 0) is (fault == "outage")
    assert ("at a second try or later" in document.text) is (fault in ("outage", "throttle"))
    killed = {"kill": ["SIGKILL"] * 3, "timeout": ["timeout"]}.get(fault, [])
    assert [word for word in document.labels if word in ("SIGKILL", "timeout")] == killed


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "make demo: interrupted\n"),
        (
            subprocess.CalledProcessError(1, [sys.executable, "-m", "pip", "install", "structlog==25.5"]),
            1,
            "make demo: structlog==25.5 could not be installed; is there a way to a package index?\n",
        ),
    ],
)
def test_what_ends_a_demo_early_is_one_line(
    ending: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, and a package that cannot be had: no traceback. What is a fault of ours keeps its own."""

    def demo() -> int:
        raise ending

    assert in_one_line(demo) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("stdout", "said"),
    [("/dev/full", b"make demo: stdout: No space left on device\n"), ("a pipe", b"")],
)
def test_what_cannot_be_printed_is_no_traceback(stdout: str, said: bytes) -> None:
    """A full disk; ``make demo | head -3``, whose reader has what it wants. Nor a sign that a locale lacks."""
    script = "from demo.endings import in_one_line; raise SystemExit(in_one_line(lambda: print('…') or 0))"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT}/tools", "PYTHONIOENCODING": "ascii"}
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe, open("/dev/full", "wb") as full:
        command = [sys.executable, "-c", script]
        ended = subprocess.run(
            command, env=environ, stdout=full if stdout == "/dev/full" else pipe, stderr=subprocess.PIPE
        )
    assert (ended.returncode, ended.stderr) == (1, said)


def test_unknown_fault_is_refused_in_one_line() -> None:
    """A typing error costs no build; the line names what there is."""
    demo = run_demo("FAULT=outrage")
    assert demo.returncode == 2
    assert demo.stdout == ""
    assert demo.stderr.splitlines()[0] == (
        "make demo: there is no FAULT=outrage; choose one of: outage, throttle, kill, timeout, debug"
    )


def shown(word: str) -> tuple[Document, dict[str, int]]:
    """Run the demo of a mode; return its page, and the page's facts, after a look at both."""
    missing = MODES[word].missing()
    if missing is not None:
        pytest.skip(missing)
    demo = run_demo(f"MODE={word}")
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    assert re.findall(r"^│ +│.", demo.stdout, re.MULTILINE) == [], "no cell is folded"
    page = page_path(word)
    document = Document(page.read_text())
    for name, count in document.facts.items():
        assert re.search(rf"^{name} +{count} ", demo.stdout, re.MULTILINE)
    if BROWSER is not None:
        seen = look(page, _WIDTH_PX)
        assert (seen.errors, seen.overlaps, seen.cut_off) == ([], [], [])
        assert seen.tip and seen.lit_up > 1
    return document, {name: int(number) for name, number in document.facts.items()}


@pytest.mark.timeout(120)
def test_demo_of_snapstart_shows_copies() -> None:
    """One lane for each copy; no id has two contents. With real snapshots there are ids that all copies have."""
    document, facts = shown("snapstart")
    assert (facts["lost"], facts["clashes"]) == (0, 0) and facts["written"] > 30
    assert (facts["shared"] > 0) is (unavailable() is None)
    assert [name in document.text for name in ("copy 1", "copy 3", "copy 4")] == [True, True, False]


@pytest.mark.timeout(120)
def test_demo_of_managed_instances_shows_workers() -> None:
    """One lane for each worker, and one for the extension; requests overlap, and each line names its own."""
    document, facts = shown("managed")
    assert (facts["lost"], facts["wrong"], facts["connections"]) == (0, 0, 1)
    assert facts["written"] > 30 and facts["overlap"] > 1
    assert [name in document.text for name in ("worker 1", "worker 3", "worker 4")] == [True, True, False]


@pytest.mark.timeout(180)
def test_demo_of_durable_functions_shows_resumes() -> None:
    """One lane for each invocation; what a resume writes again is marked, and nothing else comes twice."""
    document, facts = shown("durable")
    assert (facts["lost"], facts["twice"]) == (0, 0) and facts["repeated"] > 10
    assert facts["written"] == facts["once"] + facts["repeated"]
    assert [name in document.text for name in ("invocation 1", "invocation 5", "a resume")] == [True] * 3


def test_unknown_mode_is_refused_in_one_line() -> None:
    """Likewise."""
    demo = run_demo("MODE=frozen")
    assert (demo.returncode, demo.stdout) == (2, "")
    assert demo.stderr.splitlines()[0].startswith("make demo: there is no MODE=frozen; choose one of: snapstart")


def test_a_cost_below_the_noise_is_not_told() -> None:
    """Two runs on a busy machine differ by more than the layer costs: then no figure stands there."""
    quiet = [ColdStart(with_layer, 0.1 + 0.01 * with_layer, 10, 20) for with_layer in (False, True) * 5]
    assert next(cost_rows(quiet))[-1] == "+10.0 ms"
    busy = [
        ColdStart(with_layer, 0.1 + 0.01 * with_layer + 0.05 * (number // 2 % 3), 10, 20)
        for number, with_layer in enumerate((False, True) * 9)
    ]
    assert next(cost_rows(busy))[-1].startswith("less than the noise (")


@pytest.mark.skipif(BROWSER is None, reason=NEEDS_BROWSER)
def test_browser_notices_what_is_wrong(tmp_path: Path) -> None:
    """A script's error, labels that touch, text that is cut off. Guards against a look that sees nothing."""
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><html><head></head><body><figure><svg width='90' height='40'>"
        "<text x='5' y='20'>one</text><text x='9' y='20'>two</text><text x='80' y='20'>outside</text>"
        "<rect class='line' data-batch='0'/></svg></figure><h1 style='width:9px;white-space:nowrap'>long</h1>"
        "<p id='tip'></p><script>nothing.there();</script></body></html>"
    )
    seen = look(page, 500)
    assert ["nothing is not defined" in error for error in seen.errors] == [True]
    assert seen.overlaps == ["one / two"]
    assert seen.cut_off == ["outside", "long"]


@pytest.mark.parametrize(
    ("written", "records", "lost", "repeated", "unknown"),
    [
        (["a", "b"], [("1", "b"), ("2", "a")], [], [], []),
        (["a", "b"], [("1", "a")], ["b"], [], []),
        (["a", "a"], [("1", "a")], ["a"], [], []),
        (["a"], [("1", "a"), ("1", "a"), ("1", "a")], [], ["1", "1"], []),
        (["a"], [("1", "a"), ("2", "a")], [], [], ["a"]),
        (["a"], [("1", "b")], ["a"], [], ["b"]),
    ],
    ids=["fine", "lost", "lost one of two equal lines", "sent again", "captured twice", "changed on the way"],
)
@pytest.mark.parametrize("in_bucket", [0, 1], ids=["Sumo Logic", "S3 for the last"])
def test_account_tells_what_is_wrong(
    written: list[str],
    records: list[tuple[str, str]],
    lost: list[str],
    repeated: list[str],
    unknown: list[str],
    in_bucket: int,
) -> None:
    """Each way to go wrong is counted as what it is. Guards against one that makes up for another in the totals."""
    arrived = [{"id": record_id, "type": "function", "message": message} for record_id, message in records]
    split = len(arrived) - in_bucket
    account = account_of([Line(0.0, text) for text in written], arrived[:split], arrived[split:])
    assert list(account.lost.elements()) == lost
    assert account.repeated == repeated
    assert list(account.unknown.elements()) == unknown
    assert account.is_well is (lost + unknown == [])


def account_of(lines: Sequence[Line], at_sumo: Sequence[dict[str, str]], stored: Sequence[dict[str, str]]) -> Account:
    return Account(
        served=[],
        batches=[],
        timeline=[],
        records=at_sumo,
        stored=stored,
        said_by_layer=[],
        problems=[],
        lines=lines,
        unseen=[],
    )


@pytest.mark.timeout(180)
def test_demo_shows_the_debug_lines_of_the_order_that_fails() -> None:
    """And of no other: they are on the page, and count as no line that the function shows."""
    demo = run_demo("FAULT=debug")
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    written, at_sumo, in_s3, _, lost = books(demo.stdout)
    assert (at_sumo, in_s3, lost) == (written, 0, 0)
    page = page_path("debug").read_text()
    assert (
        set(re.findall(r"order (\d+) pays", page)) == {"1003"} == set(re.findall(r"order (\d+) has the basket", page))
    )
