"""Runs the in-process part of the tests on every CPython of this machine, besides the one that runs all of them.

    make test-pythons
    make test-python VERSION=3.14

In process are the test files that neither start a runtime themselves nor look for interpreters: they try the package's
own code, and a fault that only one version of Python has (an attribute more, a warning, a parser's new node) shows only
there. Their imports tell which files these are, so that a new file is found by itself.

Each interpreter has an environment of its own in ``.cache/pythons``, made once and again when setup.cfg changes.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from layer.build import ROOT
from layer.interpreters import Interpreter, find

ELSEWHERE = {
    "fuzz.parsers",
    "model",
    "runtimes",
    "emulator",
    "sumo_internal.cli",
    "demo",
    "bench",
    "soak",
    "moto",
    "botocore",
    "yaml",
}
"""A test that imports one of these modules, directly or not, is about more than this process."""

WHOLE = ("layer_", "layer.advisories", '"-m", "build"', "layer.release", "test_the_oldest_version")
"""What tests have in them that take the built layer, or build or install something: no matter of one interpreter's."""

EXTRA = "inprocess"
"""Of setup.cfg: what these tests import."""


def main() -> int:
    """Run them one interpreter after the other; return how many of them have failed."""
    files = in_process_tests()
    own = (sys.version_info.major, sys.version_info.minor)
    wanted, options = (sys.argv[2], sys.argv[3:]) if sys.argv[1:2] == ["--only"] else ("", sys.argv[1:])
    others = [each for each in find() if (str(each) == wanted if wanted else each.version != own)]
    if not others and wanted:
        print(f"this machine has no Python {wanted} that Lambda has")
        return 1
    if not others:
        print(f"in-process tests: this machine has no Python but {own[0]}.{own[1]}, on which they have been run")
    return sum(_run(interpreter, files, options) for interpreter in others)


def in_process_tests() -> list[Path]:
    """Return the files of tests that can be run by any interpreter with a handful of packages."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    return [
        file for file in files if not _reached(file) & ELSEWHERE and not any(word in file.read_text() for word in WHOLE)
    ]


def _reached(file: Path) -> set[str]:
    """Return the names of all modules that a test imports, through modules of tests/ and tools/ too."""
    reached: set[str] = set()
    waiting = [file]
    while waiting:
        for name in _imports(waiting.pop()):
            if name not in reached:
                reached.add(name)
                waiting += [path for folder in ("tests", "tools") if (path := ROOT / folder / f"{name}.py").exists()]
    return reached


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, node.module.partition(".")[0])
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytest_plugins":
            yield from ast.literal_eval(node.value)


def _run(interpreter: Interpreter, files: list[Path], options: list[str]) -> bool:
    """Run the files on an interpreter; return whether something has failed."""
    print(f"in-process tests on Python {interpreter}", flush=True)
    python = _environment(interpreter)
    cache = ["-o", f"cache_dir=.cache/pytest-{interpreter}"]
    parallel = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "worksteal"]
    pytest = [str(python), "-m", "pytest", "-q", *cache, *options, *map(str, files)]
    # As in the Makefile: what has failed beside others is run once more, alone, and has to pass.
    alone = ["--last-failed", "--last-failed-no-failures", "none"]
    return bool(subprocess.run([*pytest, *parallel], cwd=ROOT).returncode) and bool(
        subprocess.run([*pytest, *alone], cwd=ROOT).returncode
    )


def _environment(interpreter: Interpreter) -> Path:
    """Return the Python of an environment that has what the tests import; make it where it is not there, or old."""
    folder = ROOT / f".cache/pythons/{interpreter}"
    python, ready = folder / "bin/python", folder / ".ready"
    if not ready.exists() or ready.stat().st_mtime < (ROOT / "setup.cfg").stat().st_mtime:
        # Debian's interpreters come without pip's wheel, and an old pip does not run on the newest of them.
        subprocess.run([str(interpreter.executable), "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        packages = f"{folder}/lib/python{interpreter}/site-packages"
        subprocess.run([sys.executable, *install, "--target", packages, "pip"], check=True)
        subprocess.run([str(python), *install, "--editable", f"{ROOT}[{EXTRA}]"], check=True)
        ready.touch()
    return python


if __name__ == "__main__":
    sys.exit(main())
