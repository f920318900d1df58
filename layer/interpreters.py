"""Finds the CPythons of this machine that Lambda also has: the build compiles with each, the tests run on each.

Separate from the build because the tests need the interpreters and not the build.

Rules:

* A candidate counts once it has answered for itself. A file called ``python3.12`` may be a version manager's shim (a
  shell script, slow, and failing unless that version is selected), so the interpreter is asked which one it is and
  where, and only that answer is used.
* One interpreter per minor version, the one with the highest micro version. Only final releases and plain builds:
  Lambda has no free-threaded and no debug build, and bytecode of a preview may differ from that of the release.

It does not install anything, and does not fail where a version is missing: callers say which they found.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUPPORTED_VERSIONS = ((3, 10), (3, 11), (3, 12), (3, 13), (3, 14), (3, 15))
"""The versions of Lambda's Python runtimes."""

ANSWER_TIMEOUT_S = 10.0
"""An interpreter answers in 10 to 30 ms, under load later; a script of that name that waits for something, never."""

_QUESTION = """
import os, sys
print(sys.implementation.name + sys.abiflags, *sys.version_info[:4], os.path.realpath(sys.executable))
"""
_ANSWER = re.compile(r"cpython (\d+) (\d+) (\d+) final (.+)\n")

_USUAL_FOLDERS = (
    f"{Path(__file__).resolve().parent.parent}/.cache/debian/*-{platform.machine()}/usr/bin",
    "~/.pyenv/versions/*/bin",
    "~/.asdf/installs/python/*/bin",
    "~/.local/share/mise/installs/python/*/bin",
    "~/.local/share/uv/python/*/bin",
    "/usr/local/bin",
    "/opt/*/bin",
    "/var/lang/bin",
    "/usr/bin",
)
"""Where interpreters lie that need not be on PATH: those that ``make test-python`` has fetched into this checkout,
version managers, builds from source, Lambda's images, Debian."""


@dataclass(frozen=True)
class Interpreter:
    """One CPython: its minor version, and the real file that runs it."""

    version: tuple[int, int]
    executable: Path

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


def find() -> list[Interpreter]:
    """Return the newest interpreter of each supported minor version on this machine, oldest version first."""
    newest: dict[tuple[int, int], tuple[int, Path]] = {}
    for candidate in _candidates():
        answer = _ask(candidate)
        if answer is None:
            continue
        version, micro, executable = answer
        if version in SUPPORTED_VERSIONS and (version not in newest or micro > newest[version][0]):
            newest[version] = micro, executable
    return [Interpreter(version, executable) for version, (_, executable) in sorted(newest.items())]


def _candidates() -> Iterator[Path]:
    """Yield each file that may be a supported interpreter, links resolved, once."""
    seen = set()
    for folder in _folders():
        for major, minor in SUPPORTED_VERSIONS:
            try:
                candidate = (folder / f"python{major}.{minor}").resolve(strict=True)
            except OSError:  # no such file, or a folder that is not ours to read
                continue
            if candidate not in seen:
                seen.add(candidate)
                yield candidate


def _folders() -> Iterator[Path]:
    """Yield PATH's folders, then the usual ones.

    A version manager's shims stand for the folder next to them that holds the interpreters: asking those directly is
    faster, finds the versions that are not selected too, and works where HOME is another (continuous integration).
    """
    patterns = []
    for folder in map(glob.escape, filter(None, os.environ.get("PATH", "").split(os.pathsep))):
        parent, name = os.path.split(folder)
        shimmed = [f"{parent}/versions/*/bin", f"{parent}/installs/python/*/bin"]
        patterns += shimmed if name == "shims" else [folder]
    for pattern in [*patterns, *map(os.path.expanduser, _USUAL_FOLDERS)]:
        yield from map(Path, sorted(glob.glob(pattern)))  # unlike Path.glob, passes over what is not ours to read


def _ask(candidate: Path) -> tuple[tuple[int, int], int, Path] | None:
    """Return minor version, micro version and real path as the candidate tells them; None where it is not usable."""
    command = [str(candidate), "-I", "-c", _QUESTION]
    closed = subprocess.DEVNULL
    try:
        reply = subprocess.check_output(command, stdin=closed, stderr=closed, timeout=ANSWER_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    answer = _ANSWER.fullmatch(os.fsdecode(reply))
    return answer and ((int(answer[1]), int(answer[2])), int(answer[3]), Path(answer[4]))
