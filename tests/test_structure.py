"""The package's order: imports go downwards, pure modules touch nothing outside, names and docstrings are in place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer.build import ROOT

FLOORS = {
    "doors": {"__init__", "__main__", "start", "launch", "extension", "handler", "structured"},
    "drive": {
        "assembly",
        "destinations",
        "streams",
        "runtime",
        "recorder",
        "processing",
        "processors",
        "telemetry_rules",
        "sidecar",
        "drainer",
        "journal",
    },
    "edges": {
        "spool",
        "shelf",
        "holding",
        "tally",
        "files",
        "notes",
        "sumo",
        "web",
        "wire",
        "aws",
        "s3",
        "vault",
        "lambda_api",
        "telemetry",
        "guard",
        "bundle",
    },
    "pure": {
        "rendering",
        "platform_events",
        "patterns",
        "embedded",
        "rules",
        "disguise",
        "delivery",
        "flushing",
        "config",
        "http1",
        "proxies",
        "sigv4",
    },
}
"""From top to bottom. A module may import its own floor and those below it."""

DEPTHS = {name: depth for depth, floor in enumerate(FLOORS.values()) for name in floor}

OUTSIDE = {"fcntl", "http", "mmap", "os", "random", "select", "signal", "socket", "ssl", "threading", "time", "urllib3"}
"""What pure code leaves to its callers: files, processes, sockets, threads, clocks and chance."""

INSIDE = {"time.gmtime", "time.strftime"}
"""Values from values, although they live in a module of the outside."""

PACKAGE = ROOT / "sumo_internal"
MODULES = sorted(PACKAGE.glob("*.py"))
COMMANDS = sorted(PACKAGE.glob("cli/*.py"))
EVERYWHERE = sorted([*MODULES, *COMMANDS, *ROOT.glob("layer/**/*.py"), *ROOT.glob("tests/**/*.py")])

on_each_module = pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)


def imports(module: Path) -> Iterator[str]:
    """Yield the absolute name of all that a module imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["sumo_internal" if node.level else "", node.module]))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def siblings(module: Path) -> set[str]:
    """Return the modules of the package that a module imports; the package itself counts as ``__init__``."""
    found = set()
    for name in imports(module):
        package, _, rest = name.partition(".")
        # Every floor may know the version; a vendored package is no module of ours.
        if package == "sumo_internal" and rest != "__version__" and not rest.startswith("_vendor"):
            first = rest.partition(".")[0]
            found.add(first if (PACKAGE / f"{first}.py").exists() else "__init__")
    return found


@on_each_module
def test_module_has_a_floor(module: Path) -> None:
    """A new module is given its place on purpose."""
    assert sum(module.stem in floor for floor in FLOORS.values()) == 1


@on_each_module
def test_imports_go_downwards(module: Path) -> None:
    """A module imports nothing from a floor above its own."""
    upwards = {name for name in siblings(module) if DEPTHS[name] < DEPTHS[module.stem]}
    assert upwards == set()


def test_imports_have_no_cycle() -> None:
    """Within a floor, too, there is an order in which the modules can be read."""
    waiting = {module.stem: siblings(module) - {module.stem} for module in MODULES}
    while ready := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert waiting == {}


@on_each_module
def test_pure_modules_touch_nothing_outside(module: Path) -> None:
    """Decisions are functions of values, so that a table or Hypothesis can try them all."""
    if module.stem in FLOORS["pure"]:
        assert {name for name in imports(module) if name.partition(".")[0] in OUTSIDE} - INSIDE == set()


@on_each_module
def test_only_the_command_line_knows_the_command_line(module: Path) -> None:
    """The layer carries neither the commands nor what they need."""
    foreign = ("sumo_internal.cli", "boto3", "botocore", "rich")
    assert module.stem == "__main__" or not [name for name in imports(module) if name.startswith(foreign)]


@pytest.mark.parametrize("module", EVERYWHERE, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_introduced_and_shadows_nothing(module: Path) -> None:
    """Each file says what it is, and none has a standard module's name: run as a script, it would hide that module."""
    assert ast.get_docstring(ast.parse(module.read_text()))
    assert module.stem not in sys.stdlib_module_names
