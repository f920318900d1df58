"""Lists the Python runtimes that can be tried here: an interpreter together with a version of Lambda's runtime
client.

Separate from the model of the environment because the harness around the real emulator needs the same runtimes.

Rules:

* awslambdaric comes as a wheel for the interpreter that will run it, whichever interpreter runs the tests, and is
  installed once per checkout, into ``.cache/ric/<python>-<version>``. A folder that is there is complete: it is
  renamed into place when it is.
* Bytecode is compiled by that interpreter and ``bootstrap.py`` lies beside the package, as both do in Lambda's
  /var/runtime.
* Nothing is installed before a test asks for the folder, so that collecting the tests costs nothing.

It does not start anything.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from layer.interpreters import Interpreter, find

ROOT = Path(__file__).resolve().parent.parent

RIC_VERSIONS = {2: "2.2.1", 3: "3.1.1", 4: "4.2.2"}
"""The newest release of each major version of awslambdaric; managed runtimes and images carry any of them."""

LAST_PYTHON_OF_RIC_2 = (3, 12)
"""There is no wheel of 2.x for a newer Python, and no runtime that has it."""

_MANAGED_BOOTSTRAP = Path(__file__).with_name("model") / "managed_bootstrap.py"


@dataclass(frozen=True)
class Runtime:
    """An interpreter with a major version of the runtime client."""

    interpreter: Interpreter
    ric_major: int
    ric_version: str = ""
    """The exact version of the client, where it is not the newest of its major version."""

    @property
    def id(self) -> str:
        """A short name for test ids and tables, such as ``py3.12-ric4``."""
        return f"py{self.interpreter}-ric{self.ric_version or self.ric_major}"

    @property
    def version(self) -> tuple[int, int]:
        """The version of Python."""
        return self.interpreter.version

    @property
    def ric(self) -> Path:
        """The folder that holds awslambdaric; installed when it is asked for the first time."""
        return ric(self.interpreter, self.ric_version or RIC_VERSIONS[self.ric_major])


@cache
def interpreters() -> tuple[Interpreter, ...]:
    """Return every interpreter that Lambda also has and this machine has, oldest first."""
    return tuple(find())


def runtimes(ric_majors: Iterable[int] = tuple(RIC_VERSIONS)) -> list[Runtime]:
    """Return every valid pair of an interpreter and one of these major versions of the runtime client."""
    return [
        Runtime(interpreter, major)
        for interpreter in interpreters()
        for major in ric_majors
        if major > 2 or interpreter.version <= LAST_PYTHON_OF_RIC_2
    ]


def oldest_and_newest() -> list[Runtime]:
    """Return the newest client on the oldest and on the newest interpreter; one runtime where there is one of them."""
    found = runtimes([max(RIC_VERSIONS)])
    return [found[0], *found[-1:]] if len(found) > 1 else found


def newest_from(oldest: tuple[int, int]) -> Runtime | None:
    """Return the newest client on the newest interpreter; None where none is as new as what a mode of Lambda needs."""
    found = [runtime for runtime in runtimes([max(RIC_VERSIONS)]) if runtime.version >= oldest]
    return found[-1] if found else None


def typical() -> Runtime:
    """Return the runtime for what need not be tried on each: the newest client on Python 3.12, or the nearest there
    is."""
    newest_client = max(RIC_VERSIONS)
    return min(runtimes([newest_client]), key=lambda runtime: abs(runtime.version[1] - 12))


@cache
def ric(interpreter: Interpreter, version: str, machine: str = platform.machine()) -> Path:
    """Return the folder with awslambdaric of this version for this interpreter; install it when it is not there.

    Args:
        interpreter: Which is to run it.
        version: The client's.
        machine: Whose library it is to have, if not this one's.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its own words are on stderr.
    """
    cache_folder = ROOT / ".cache" / "ric"
    folder = cache_folder / (f"{interpreter}-{version}" + ("" if machine == platform.machine() else f"-{machine}"))
    cache_folder.mkdir(parents=True, exist_ok=True)
    with open(cache_folder / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second test process waits here rather than downloading the same wheels
        if not folder.exists():
            _install_ric(interpreter, version, folder, machine)
        _put_bootstrap(folder)
    return folder


def _install_ric(interpreter: Interpreter, version: str, folder: Path, machine: str) -> None:
    """Install awslambdaric and what it depends on into ``folder``, which appears only when it is complete."""
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    # Named twice, because 2.x is published for manylinux2014 alone, and pip does not take one name for the other.
    platforms = [f"--platform=manylinux2014_{machine}", f"--platform=manylinux_2_17_{machine}"]
    target = [f"--target={unfinished}", f"--python-version={interpreter}", "--implementation=cp", "--only-binary=:all:"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    try:
        pip = [sys.executable, "-m", "pip", "install", *quiet, *target, *platforms, f"awslambdaric=={version}"]
        subprocess.run(pip, check=True, stdin=subprocess.DEVNULL)
        compile_all = [str(interpreter.executable), "-I", "-m", "compileall", "-q", str(unfinished)]
        subprocess.run(compile_all, check=True, stdin=subprocess.DEVNULL)
        _put_bootstrap(unfinished)
        unfinished.chmod(0o755)  # mkdtemp's 0700 would keep out the user without rights
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put_bootstrap(folder: Path) -> None:
    """Put the managed runtime's bootstrap.py into ``folder``, unless the same one is there already."""
    wanted, present = _MANAGED_BOOTSTRAP.read_bytes(), folder / "bootstrap.py"
    if present.exists() and present.read_bytes() == wanted:
        return
    handle, unfinished = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(wanted)
    os.chmod(unfinished, 0o644)
    os.replace(unfinished, present)
