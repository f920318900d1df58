"""The package's order: folders that are the way of a line. Imports go downwards, names and docstrings are in place."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer.build import ROOT

FLOORS = """
__main__
cli
start door
launch go_on __init__
api
wiring
extension
processing
shipping
capture
spool
config
destinations lambda_apis
net
expressions diagnostics imports threads own_secrets
"""
"""From top to bottom. A folder or module imports from the floors below its own; neighbours do not import each other."""

FLOOR_OF = {name: number for number, floor in enumerate(FLOORS.split("\n")) for name in floor.split()}

OUTSIDE = {"fcntl", "http", "mmap", "os", "random", "select", "signal", "socket", "ssl", "threading", "time", "urllib3"}
"""What such a module leaves to its callers: files, processes, sockets, threads, clocks and chance."""

INSIDE = {"time.gmtime", "time.strftime"}
"""Values from values, although they live in a module of the outside."""

PACKAGE = ROOT / "sumo_internal"
MODULES = sorted(PACKAGE.glob("**/*.py"))
PURE = [module for module in MODULES if re.search(r"\bPure\b", ast.get_docstring(ast.parse(module.read_text())) or "")]
"""Modules that decide and touch nothing outside: their docstrings say so."""
EVERYWHERE = sorted([*MODULES, *ROOT.glob("layer/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("tools/**/*.py")])

on_each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def place(module: Path) -> str:
    """Return the name of the folder, or of the module on top, that has a floor."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Yield the absolute name of all that a module imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["sumo_internal" if node.level else "", node.module]))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def siblings(module: Path) -> set[str]:
    """Return the places in the package that a module imports from. Every floor may know the version."""
    names = [name.partition(".")[2] for name in imports(module) if name.startswith("sumo_internal.")]
    firsts = {name.partition(".")[0] for name in names}
    return {first if first in FLOOR_OF else "__init__" for first in firsts - {"__version__"}}


@on_each_module
def test_imports_go_downwards(module: Path) -> None:
    """A module imports from its own folder and from the floors below it, and from nowhere else."""
    own = place(module)
    assert own in FLOOR_OF, "a new folder is given its floor on purpose"
    assert {name for name in siblings(module) - {own} if FLOOR_OF[name] <= FLOOR_OF[own]} == set()


def test_no_two_modules_have_one_name() -> None:
    """They would be told apart by their folders alone, in a traceback and in talk."""
    names = Counter(module.stem for module in MODULES if not module.stem.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_imports_have_no_cycle() -> None:
    """Within a folder, too, there is an order in which the modules can be read."""
    paths = {".".join(module.relative_to(PACKAGE).with_suffix("").parts): module for module in MODULES}
    imported = {name: set(imports(path)) for name, path in paths.items()}
    waiting = {
        name: {other for other in paths for said in names if f"{said}.".startswith(f"sumo_internal.{other}.")} - {name}
        for name, names in imported.items()
    }
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert waiting == {}


@pytest.mark.parametrize("module", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_modules_touch_nothing_outside(module: Path) -> None:
    """Decisions are functions of values, so that a table or Hypothesis can try them all."""
    assert {name for name in imports(module) if name.partition(".")[0] in OUTSIDE} - INSIDE == set()


@on_each_module
def test_only_the_command_line_knows_the_command_line(module: Path) -> None:
    """The layer carries neither the commands nor what they need."""
    foreign = ("sumo_internal.cli", "boto3", "botocore", "rich")
    assert place(module) in ("__main__", "cli") or not [name for name in imports(module) if name.startswith(foreign)]


@pytest.mark.parametrize("module", EVERYWHERE, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_introduced_and_shadows_nothing(module: Path) -> None:
    """Each file says what it is, and none has a standard module's name: run as a script, it would hide that module."""
    assert ast.get_docstring(ast.parse(module.read_text()))
    assert module.stem not in sys.stdlib_module_names
