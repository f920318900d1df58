"""The first `make` of a clone where it cannot go on: without a network, or by Ctrl-C, it ends in a line.

The next one begins anew.

A folder of its own with what the Makefile reads, and its real commands: the environment is made, pip is asked.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from runtimes import ROOT

NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
pytestmark = pytest.mark.timeout(180)  # an environment with pip is made, beside whatever else the machine does


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is in a clone before its first command, as far as that reads it; in a path with a space."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "LICENSE", "README.md", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "sumo_internal").mkdir()
    shutil.copy(ROOT / "sumo_internal/__init__.py", folder / "sumo_internal")
    return folder


def begin(clone: Path, target: str, **variables: str) -> subprocess.Popen[str]:
    """Begin a command as at a prompt: in a group of its own, which Ctrl-C reaches."""
    environ = {"HOME": str(clone), "PATH": os.environ["PATH"], **variables}
    hears_interrupts = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell in the background ignores it
    return subprocess.Popen(
        ["make", target],
        cwd=clone,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_interrupts,
    )


@pytest.mark.parametrize("target", ["demo", "layer", "lint"])
def test_without_a_network_it_is_one_line(clone: Path, target: str) -> None:
    """And make's own behind it; pip's page of retries is in a file that the line names."""
    making = begin(clone, target, **NO_INDEX)
    said, complaint = making.communicate()
    assert making.returncode != 0
    assert "into .venv (" in said.splitlines()[-1], "what is installed, how long it takes, how large it is"
    [ours, makes] = complaint.splitlines()
    assert "is there a way to a package index? .venv/install.log has pip's own words" in ours
    assert makes.startswith("make: ***")
    assert "127.0.0.1" in (clone / ".venv/install.log").read_text()


def test_ctrl_c_is_one_line_and_the_next_time_begins_anew(clone: Path) -> None:
    """While the environment is made, which has an interpreter then and no pip yet."""
    making = begin(clone, "demo", **NO_INDEX)
    while not (clone / ".venv/bin/python").exists():
        assert making.poll() is None
        time.sleep(0.01)
    os.killpg(making.pid, signal.SIGINT)
    _, complaint = making.communicate()
    assert making.returncode != 0
    assert [line for line in complaint.splitlines() if not line.startswith("make: ***")] == []
    assert not (clone / ".venv/bin/python").exists()


@pytest.mark.parametrize("name", ["python3.10", "python3.15", "python3"])
def test_any_python_on_path_is_found(clone: Path, tmp_path: Path, name: str) -> None:
    """By its version's name as well: a distribution's python3 may be older, or not there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).symlink_to(sys.executable)
    assert f'"{name}" -m venv .venv' in dry_run(clone, tmp_path / "bin").stdout


def test_without_a_python_it_is_said_how_to_name_one(clone: Path, tmp_path: Path) -> None:
    """One line, from make; one that is named is taken."""
    ended = dry_run(clone, tmp_path)
    [line] = ended.stderr.splitlines()
    assert ended.returncode != 0 and "make PYTHON=/path/to/python3" in line
    assert '"/a python" -m venv .venv' in dry_run(clone, tmp_path, "PYTHON=/a python").stdout


def dry_run(clone: Path, path: Path, *given: str) -> subprocess.CompletedProcess[str]:
    """What `make demo` would run where PATH is one folder."""
    command = [str(shutil.which("make")), "--dry-run", "demo", *given]
    return subprocess.run(command, cwd=clone, env={"PATH": str(path)}, capture_output=True, text=True)


def test_the_list_of_commands_fits_into_80_columns(clone: Path) -> None:
    """Each command that says what it is for is in it, however long its name."""
    said, _ = begin(clone, "help").communicate()
    assert max(map(len, said.splitlines())) <= 80
    named = re.findall(r"^([a-z0-9-]+):.*## (\S+ \S+)", (clone / "Makefile").read_text(), re.MULTILINE)
    assert len(named) > 15
    assert [name for name, words in named if not re.search(rf"^  make {name} +{words}", said, re.MULTILINE)] == []
