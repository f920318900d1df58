"""``make demo FUNCTION=…``: somebody's own function, of which the demo knows nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from demo.own import CODE_MAX_BYTES, WIDTH, lost
from runtimes import ROOT

OWN = """
import json, logging
from helper import NAME
logging.getLogger().setLevel(logging.INFO)
def handler(event, context):
    logging.info("order %s of %s", event["order"], NAME, extra={"customer": "c-7"})
    print(json.dumps({"level": "INFO", "event": "paid", "order": event["order"]}))
    if event["order"] == 13:
        raise LookupError("no such order")
    return {"accepted": event["order"]}
"""


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of README with this interpreter's packages in place of .venv."""
    variables = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "--silent", "--old-file=.venv/.demo", f"VENV_PYTHON={sys.executable}", "demo"]
    given = [each.replace("=", f"={folder}/", 1) if "HANDLER" not in each else each for each in arguments]
    return subprocess.run([*command, *given], cwd=ROOT, env=variables, capture_output=True, text=True)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a function, as somebody may have it."""
    folder = tmp_path / "my function"
    folder.mkdir()
    (folder / "app.py").write_text(OWN)
    (folder / "helper.py").write_text("NAME = 'shop'\n")
    (folder / "event.json").write_text('{"order": 7}')
    (folder / "thirteen.json").write_text('{"order": 13}')
    return folder


def test_its_lines_and_what_they_become(own: Path) -> None:
    """A log record with its field, an object that was printed: shown in 80 columns, and all of them counted."""
    ran = run_demo(own, "FUNCTION=app.py", "HANDLER=handler", "EVENT=event.json")
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert max(map(len, ran.stdout.splitlines())) <= WIDTH
    assert ran.stdout.count('{"accepted": 7}') == 3
    assert '\n{"level": "INFO", "event": "paid", "order": 7}\n' in ran.stdout
    assert 'customer: "c-7"' in ran.stdout and "requestID: " in ran.stdout
    assert "6 lines in CloudWatch, 6 of them at Sumo Logic, in 6 records." in ran.stdout


def test_a_function_that_fails_is_shown_as_one(own: Path) -> None:
    """Its error is what the caller gets, and a record with the exception's keys."""
    ran = run_demo(own, "FUNCTION=app.py", "HANDLER=app.handler", "EVENT=thirteen.json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "LookupError: no such order" in ran.stdout and 'errorType: "LookupError"' in ran.stdout


def test_it_may_lie_in_a_folder_of_all_kinds_of_things(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /tmp, in which the demo's own files are, too. Guards against a copy of a copy of a copy."""
    monkeypatch.setenv("TMPDIR", str(own))
    os.mkfifo(own / "pipe")
    (own / "dangling").symlink_to("nowhere")
    ran = run_demo(own, "FUNCTION=app.py", "HANDLER=handler", "EVENT=event.json")
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr


def test_what_is_no_functions_folder_is_not_copied(own: Path) -> None:
    """More than Lambda takes, as somebody's home folder has: said at once, in a line."""
    with (own / "archive").open("wb") as file:
        file.truncate(CODE_MAX_BYTES)
    ran = run_demo(own, "FUNCTION=app.py", "HANDLER=handler")
    assert ran.returncode == 2
    assert "make demo: the folder of FUNCTION=" in ran.stderr and "it has more than 250 MB" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["FUNCTION=nothing.py"], "nothing.py: there is no such file"),
        (['FUNCTION=it\'s "mine".py'], 'it\'s "mine".py: there is no such file'),
        (["FUNCTION=event.json"], "event.json does not end with .py"),
        (["FUNCTION=app.py", "EVENT=helper.py"], "is not JSON"),
        (["FUNCTION=app.py", "EVENT=none.json"], "No such file"),
        (["FUNCTION=broken.py"], "has to lie in its folder"),
        (["FUNCTION=app.py", "HANDLER=nothing"], "Handler 'nothing' missing on module 'app' (HANDLER names it)"),
        (["FUNCTION=typo.py"], "Syntax error in module 'typo'"),
    ],
)
def test_what_cannot_be_used_is_one_line(own: Path, arguments: list[str], problem: str) -> None:
    """Exit code 2 of the program; a package that is missing is named, because most functions have some."""
    (own / "broken.py").write_text("import not_there\ndef handler(event, context): ...\n")
    (own / "typo.py").write_text("def handler(event, context)\n")
    ran = run_demo(own, *arguments)
    assert ran.returncode == 2
    assert problem in next(line for line in ran.stderr.splitlines() if "make demo: " in line)


def test_a_line_that_is_missing_is_told() -> None:
    """Text in a record of several lines, an object, and what is nowhere. Guards against a count that cannot fail."""
    records: list[dict[str, object]] = [{"message": "one\ntwo"}, {"message": {"a": 1}}]
    assert lost(["two\n", '{"a":1}', '{"a": 2}', "three"], records) == ['{"a": 2}', "three"]
