"""The command as such: how it is started, and what it says where it cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layer.build import ROOT
from layer.interpreters import SUPPORTED_VERSIONS
from sumo_internal import __version__
from sumo_internal.cli import COMMANDS, changes


@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("sumo-internal"))], [sys.executable, "-m", "sumo_internal"]],
    ids=str,
)
def test_it_starts_by_either_name(command: list[str]) -> None:
    """The script of the installed package, and the module where the script is not on PATH."""
    said = subprocess.run([*command, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == f"{__version__}\n"


def test_without_its_extra_it_says_what_to_install() -> None:
    """One line, no traceback: most people install the package for its handler, without boto3 and rich."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from sumo_internal.cli import main; sys.exit(main(['x']))"
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.endswith("is missing: pip install 'sumo-internal-extension[cli]'\n")
    assert ended.stderr.count("\n") == 1


def test_every_module_of_commands_is_registered() -> None:
    """What is not in the list is not in --help."""
    modules = {path.stem for path in (ROOT / "sumo_internal/cli").glob("*.py") if "def add_parser" in path.read_text()}
    assert modules == set(COMMANDS)


def test_runtimes_are_those_of_the_layer() -> None:
    """A Python that the layer is built for is one that attach knows."""
    assert changes.RUNTIMES == tuple(f"python{major}.{minor}" for major, minor in SUPPORTED_VERSIONS)
