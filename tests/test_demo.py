"""``make demo`` as its user sees it: it ends well, and the numbers that it shows agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from demo_facts import Account
from runtimes import ROOT

_NOT_A_USERS = ("MAKEFLAGS", "MAKELEVEL", "FORCE_COLOR")
"""Variables that `make test` or continuous integration set, and somebody at a prompt does not."""


def run_demo() -> subprocess.CompletedProcess[str]:
    """Run ``make demo`` with this interpreter's packages in place of .venv."""
    variables = {name: value for name, value in os.environ.items() if name not in _NOT_A_USERS}
    command = ["make", "--silent", "--old-file=.venv/.ready", f"VENV_PYTHON={sys.executable}", "demo"]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


def find(pattern: str, output: str) -> list[tuple[str, ...]]:
    """Return the groups of every line that matches; a space stands for whatever is between two words of a table."""
    return re.findall(pattern.replace(" ", r"[^\w\n]+"), output, re.MULTILINE)


@pytest.mark.timeout(180)  # it takes 20 s on a machine that has nothing else to do
def test_demo_accounts_for_every_line() -> None:
    """The rows, the batches below them and the summary tell the same story: every line is at Sumo, once.

    Guards against a summary that says what it ought to say. The lines of the crash are the ones that the extension has
    to send all by itself.
    """
    demo = run_demo()
    output = demo.stdout
    assert (demo.returncode, demo.stderr) == (0, ""), output
    assert "\x1b" not in output

    cold_start = find(r"^ (cold start) .* (\d+) \d+$", output)
    invocations = find(r"^\W?(\d+) order .* (\d+) \d+$", output)
    batches = [(sender, int(lines)) for sender, lines in find(r"^ -> \S+ (\w+) (\d+) lines ", output)]
    sent = {sender: [lines for name, lines in batches if name == sender] for sender, _ in batches}

    [(written, arrived, twice, lost)] = find(r"^ lines (\d+) (\d+) (\d+) (\d+) $", output)
    assert (arrived, twice, lost) == (written, "0", "0")
    assert [int(number) for number, _ in invocations] == list(range(1, len(invocations) + 1))
    assert sum(int(lines) for _, lines in cold_start + invocations) == int(written) > 100
    assert sum(lines for _, lines in batches) == int(arrived)
    for sender, lines in sent.items():
        assert find(rf"^ {sender} (\d+) (\d+) ", output) == [(str(len(lines)), str(sum(lines)))]
    assert len(find(r"SIGKILL .* (\d+) 0$\n -> \S+ (extension) \1 lines ", output)) == 1
    assert output.endswith("\nEvery line is at Sumo Logic, once.\n")


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
def test_account_tells_what_is_wrong(
    written: list[str], records: list[tuple[str, str]], lost: list[str], repeated: list[str], unknown: list[str]
) -> None:
    """Each way to go wrong is counted as what it is. Guards against one that makes up for another in the totals."""
    at_sumo = [{"id": record_id, "type": "function", "message": message} for record_id, message in records]
    account = Account([], [], [], at_sumo, [], [], Counter(written))
    assert list(account.lost.elements()) == lost
    assert account.repeated == repeated
    assert list(account.unknown.elements()) == unknown
    assert account.is_flawless is (lost + repeated + unknown == [])
