"""An aarch64 CPython for the model, under QEMU's user-mode emulation: instructions of the other architecture, for real.

    make test-arm64

Debian's packages of the interpreter and of QEMU are unpacked into ``.cache/debian`` (:mod:`debian_python`); a script
there stands for the interpreter, and its processes are ordinary ones to the model. What this shows is that the layer,
the bytecode and the runtime client's own aarch64 library work together; the order in which another core sees stores is
the host's, and stays a matter of reasoning (``sumo_internal/spool/__init__.py``).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from debian_python import FOLDER, NotToBeHadError, fetched_program, interpreter, made_whole
from runtimes import RIC_VERSIONS, Runtime, ric

from layer.interpreters import Interpreter

VERSION = (3, 14)
_NAME = "{}.{}".format(*VERSION)
_EMULATED = FOLDER / "emulated/bin" / f"python{_NAME}"


@dataclass(frozen=True)
class Emulated(Runtime):
    """A runtime whose client has a library for aarch64."""

    @property
    def id(self) -> str:
        """As the others' ids."""
        return f"arm64-py{_NAME}-ric{self.ric_major}"

    @property
    def ric(self) -> Path:
        """The folder that holds awslambdaric for aarch64."""
        return ric(self.interpreter, RIC_VERSIONS[self.ric_major], "aarch64")


def found() -> Emulated | None:
    """Return the runtime, where it has been fetched."""
    return Emulated(Interpreter(VERSION, _EMULATED), max(RIC_VERSIONS)) if _EMULATED.exists() else None


def fetch() -> Path:
    """Return the script that stands for the interpreter; fetch what it runs.

    Raises:
        NotToBeHadError: This machine cannot get it.
    """
    real = interpreter(_NAME, "arm64")
    qemu = fetched_program("qemu-user", "usr/bin/qemu-aarch64")
    command = shlex.join([str(qemu), "-L", str(real.parent.parent.parent), str(real)])
    with made_whole(_EMULATED.parent) as folder:
        script = folder / _EMULATED.name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
        # By this name the extension's script finds the function's interpreter.
        (folder / "python3").symlink_to(script.name)
    return _EMULATED


def main() -> int:
    """Fetch it, and have it say what it is."""
    try:
        question = "import platform; print(platform.machine(), platform.python_version())"
        subprocess.run([str(fetch()), "-I", "-c", question], check=True)
    except NotToBeHadError as problem:
        print(f"no aarch64 CPython: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
