"""What the benchmark measures on: contenders, and the environments in which they meet.

Separate from ``cases``, which says what is measured, so that each case reads as its comparison.

Rules:

* A comparison is one run: contenders take turns, round by round, so that whatever else the machine does meets all of
  them alike. Nothing is ever compared with a figure of another run.
* Each contender's function lies in a folder of its own with its packages beside it. The packages have bytecode, so that
  no contender is charged for compiling them; the function's own modules have none, as AWS recommends for a deployment
  package ("Working with .zip file archives for Python Lambda functions"), unless a contender is to have it.
* A source on loopback, with TLS where it says so, stands for the service that takes the lines.

It judges nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from model import Environment
from model.configuration import FRAMES_FD
from model.generation import find_extensions
from model.logs import PIPE_BYTES
from runtimes import ROOT, Runtime, interpreters, typical

from layer.build import build, unpack

FUNCTION = ROOT / "tools/functions/bench"
CACHE = ROOT / ".cache/bench"
TIMEOUT_S = 60.0
"""Of the measured function."""
CORE_MB = 1769
"""The memory size at which Lambda gives a function one core."""

READER = """
import os, time
while True:
    try:
        while os.read(0, 1 << 20):
            pass
    except BlockingIOError:
        time.sleep(0.001)
"""
"""Reads a log a thousand times a second. A reader that waits for each line is woken by each, which costs the writer a
quarter of the line's time, or half of it, by the core on which the reader happens to be: that would be measured."""
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
"""The variables that name the authority to trust, for one library or another."""


class Source(Protocol):
    """What takes lines."""

    @property
    def url(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def ca_file(self) -> Path: ...


@dataclass(frozen=True)
class Contender:
    """A way to run the measured function."""

    name: str
    setup: str = "as_is"
    """The function in ``setups.py`` that it is set up by."""
    layer: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    packages: Path | None = None
    """A folder with packages that the function brings along."""
    is_compiled: bool = False
    """Whether the function's own modules have bytecode."""

    @property
    def extensions(self) -> set[str]:
        """The names of its external extensions."""
        return set() if self.layer is None else {file.name for file in find_extensions(self.layer)}


@dataclass
class Stage:
    """What all cases share."""

    runtime: Runtime
    layer: Path
    zip_bytes: int
    folder: Path
    share: float
    """Of the usual number of rounds."""
    tell: Callable[[str], None]
    """Shows what is being done."""

    @property
    def with_layer(self) -> Contender:
        """The function with our layer."""
        return Contender("with", layer=self.layer, variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"})

    def scripts(self, extension: str, wrapper: str) -> Contender:
        """Return the function with a layer of two scripts."""
        layer = self.folder / "scripts"
        (layer / "extensions").mkdir(parents=True, exist_ok=True)
        for path, text in ((layer / "extensions/scripts", extension), (layer / "wrapper", wrapper)):
            path.write_text(text)
            path.chmod(0o755)
        return Contender("scripts", layer=layer, variables={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"})

    def packages(self, *requirements: str) -> Path:
        """Return a folder with packages from PyPI, for the measured interpreter; named after the first of them.

        Raises:
            subprocess.CalledProcessError: pip could not install them; its words are in ``stderr``.
        """
        folder = CACHE / "packages" / requirements[0]
        if not folder.exists():
            self.tell(f"installing {' '.join(requirements)}")
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--python", str(self.runtime.interpreter.executable), "install"]
            quiet = [
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "--no-compile",
                "--root-user-action=ignore",
            ]
            command = [*pip, *quiet, f"--target={unfinished}", *requirements]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            unfinished.rename(folder)
        return folder

    def rounds(self, usual: int, what: str, least: int = 3) -> Iterator[int]:
        """Count the rounds of a case, and show how far it is; at least so many, whatever the share."""
        count = max(least, round(usual * self.share))
        begun_s = time.monotonic()
        for number in range(count):
            if number == 0 or number * 10 // count != (number - 1) * 10 // count:
                self.tell(f"{what}: round {number + 1} of {count}, {time.monotonic() - begun_s:.0f} s")
            yield number

    def environment(
        self,
        contender: Contender,
        source: Source | str = "",
        *,
        variables: Mapping[str, str] | None = None,
        memory_mb: int = CORE_MB,
        has_share: bool = False,
        init_has_share: bool = False,
        is_quiet: bool = False,
        log: str = "",
        log_format: str = "Text",
        name_server: str | None = None,
        snap_start: bool = False,
    ) -> Environment:
        """Return an environment of a contender's function.

        Args:
            contender: Whose.
            source: What takes its lines, or an address at which there may be no server.
            variables: For all contenders of a case alike.
            memory_mb: The memory size.
            has_share: Whether it gets the CPU share of that size behind the init phase; without, every core is its.
            init_has_share: Whether it has no more in the init phase.
            is_quiet: Whether what it writes goes to /dev/null instead of the model's log stream.
            log: What it writes to instead of the model's log stream: a :meth:`read_log`.
            log_format: ``Text`` or ``JSON``.
            name_server: The only one that is asked for names; it takes a file system of the processes' own.
            snap_start: Whether a snapshot is taken behind the init, and the environment restored from it.
        """
        root = self._task_root(contender)
        log = "/dev/null" if is_quiet else log
        elsewhere = {"BENCH_LOG": log, "BENCH_FRAMES_FD": str(FRAMES_FD)} if log else {}
        setup = {"BENCH_SETUP": contender.setup}
        return Environment(
            self.runtime,
            root,
            layer=contender.layer,
            variables={**setup, **elsewhere, **self._address(source, root), **contender.variables, **(variables or {})},
            memory_mb=memory_mb,
            cpu_limited=has_share,
            init_limited=init_has_share,
            log_format=log_format,
            timeout_s=TIMEOUT_S,
            isolated=self.is_isolated,
            name_server=name_server,
            snap_start=snap_start,
        )

    @contextlib.contextmanager
    def read_log(self, contender: Contender) -> Iterator[str]:
        """Read a log in a process of its own, as Lambda does: the model's own reader would compete with the model for
        an interpreter lock. Gives the pipe's path as a contender's function has it."""
        root = self._task_root(contender)
        pipe = root / f"log-{secrets.token_hex(4)}"
        os.mkfifo(pipe)
        pipe.chmod(0o666)  # the function has a user of its own
        descriptor = os.open(pipe, os.O_RDWR)  # a writer, too: so there is no end before the function has opened it
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            os.set_blocking(descriptor, False)
            reader = subprocess.Popen([sys.executable, "-I", "-S", "-c", READER], stdin=descriptor)
            try:
                yield self._seen(pipe)
            finally:
                reader.terminate()
                reader.wait()
        finally:
            os.close(descriptor)
            pipe.unlink()

    @property
    def is_isolated(self) -> bool:
        """Do the processes have a file system of their own?"""
        return Environment.isolation_available() is None

    def _address(self, source: Source | str, root: Path) -> dict[str, str]:
        """Return the variables that name the source and, where it speaks TLS, whom to trust."""
        if isinstance(source, str):
            return {"SUMO_HTTP_ENDPOINT": source}
        variables = {"SUMO_HTTP_ENDPOINT": source.endpoint, "BENCH_SINK": source.url}
        if not source.url.startswith("https"):
            return variables
        trusted = root / f"{source.ca_file.parent.name}.pem"
        shutil.copyfile(source.ca_file, trusted)
        return variables | dict.fromkeys(TRUST, self._seen(trusted))

    def _seen(self, file: Path) -> str:
        """Return the path at which a function finds a file of its folder."""
        return f"/var/task/{file.name}" if self.is_isolated else str(file)

    def _task_root(self, contender: Contender) -> Path:
        """Return the folder of a contender's function; made at its first call."""
        name = "bare" if contender.packages is None else contender.packages.name
        root = self.folder / (f"{name}-compiled" if contender.is_compiled else name)
        if not root.exists():
            if contender.packages is not None:
                shutil.copytree(contender.packages, root, copy_function=_link)
                self._compile(root)
            shutil.copytree(FUNCTION, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            if contender.is_compiled:
                self._compile(root)
        return root

    def _compile(self, folder: Path) -> None:
        """Write bytecode; syntax of another Python, in a package's templates, is no error of ours."""
        python = str(self.runtime.interpreter.executable)
        subprocess.run([python, "-I", "-m", "compileall", "-q", "-q", str(folder)], stdin=subprocess.DEVNULL)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


@contextlib.contextmanager
def stage(share: float, tell: Callable[[str], None]) -> Iterator[Stage]:
    """Build the layer and prepare a folder for the functions.

    Args:
        share: Of the usual number of rounds.
        tell: Shows a text about what is being done.
    """
    tell("building the layer")
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    archive = build(interpreters())
    unpack(archive, folder / "opt")
    runtime = typical()
    _ = runtime.ric  # installed here, and not on the clock of the first cold start
    try:
        yield Stage(runtime, folder / "opt", len(archive), folder, share, tell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    """Show progress on stderr, in place where that is a terminal."""
    print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr)
