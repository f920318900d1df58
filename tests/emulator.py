"""Runs a function in AWS's own Runtime Interface Emulator, with a layer at /opt and a /tmp of its own.

It owns one emulator process, the namespaces it runs in, and the folders that are mounted there. Separate from the
model of the environment because nothing in here is ours: where the two disagree on a protocol, the emulator is right.

A function sees what it sees in an image made by AWS: /opt (the layer), /var/task, /var/runtime (awslambdaric) and
/var/lang (the interpreter), all read-only, and an empty /tmp. The rest is this machine, its network included, so that
a loopback server of the test is in reach. All processes in there are killed when the emulator ends, and the emulator
ends when the test process does, however it does.

Seen with the emulator of aws-sam-cli 1.170.0:

* Nothing starts before the first invocation, which waits for the init phase; "Init Duration" in its REPORT is wrong.
* Each file in /opt/extensions is started and has to register before the runtime is started at all.
* Extensions get all variables but those that begin with "_". Their environment on Lambda is poorer.
* A process of the runtime may register an internal extension, for INVOKE only, until the runtime has asked for its
  first event; afterwards the answer is 403 Extension.RegistrationClosed. Its INVOKE event can come before the
  handler's first line or after its last.
* The caller gets the response when the runtime and all extensions have asked for their next event, and not before.
  Nothing is ever frozen. An invocation beside another one makes the emulator itself crash.
* An environment ends with a SIGTERM to the runtime, or with SIGKILL where no extension of either kind is registered;
  SIGKILL 600 ms later; only then the SHUTDOWN event for external extensions, and SIGKILL 2,000 ms after the first
  signal. The reason is "SandboxTerminated" where the emulator is stopped, "Timeout", "ReleaseFail" after a crash and
  "spindown" after a failed init; Lambda says spindown, timeout and failure.
* After a timeout, a crash or a failed init, the next invocation starts extensions and runtime anew, in the same /tmp.
* An exception in the handler is a 200 with errorMessage and errorType; a timeout is a 200 with a line of plain text. A
  crash, and a failed init, is a 502 with errorMessage and errorType, but after a crash the extensions' time for
  SHUTDOWN counts as the invocation's, which may thus become a timeout. An extension that exits early is an empty 502.
* Standard output and error of all processes are the emulator's own, here the file behind `log`; nothing is framed.
* The Telemetry API answers 202 and Telemetry.NotSupported.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any

from model.launcher import descendants
from runtimes import ROOT, Runtime

_WHEEL = "aws-sam-cli==1.170.0"
_BINARIES = {
    "x86_64": ("aws-lambda-rie-x86_64", "6b1e686e62ab2baf5759c412c4864276ef2a88b094fca53ec070637ccba9b9a5"),
    "aarch64": ("aws-lambda-rie-arm64", "ec2e5d09633d853834c008b1ef264bf834b258a94d551d2b2074966494b39a21"),
}
"""By machine: its name in the wheel, and its SHA-256. It may run as root, so it has to be the one that we know."""

START_LIMIT_S = 10.0
"""Until the emulator listens; takes 20 ms on an idle machine."""

STOP_LIMIT_S = 10.0
"""Until everything has ended; the emulator itself gives its processes 2 s."""

_UNSHARE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]

# The process with number 1 of its namespace: with it, everything in there ends. It mounts and starts the emulator, and
# hands it a SIGTERM when its standard input ends, be it that the harness closes it or that the harness is no more.
# The folders may lie anywhere, in /opt, /var and /tmp too, so they are gathered before anything is covered.
_SET_UP = """
set -eu
folder=$1; shift
for target in "$folder/var/task" "$folder/var/runtime" "$folder/var/lang" "$folder/var/rie" /opt; do
    mount --rbind "$1" "$target"; shift
    mount -o remount,bind,ro "$target"
done
mount --rbind "$folder/var" /var
mount --rbind "$folder/tmp" /tmp
cd /var/task
unset OLDPWD

exec 3<&0 </dev/null
/var/rie "$@" 3<&- &
emulator=$!
{ read -r _ <&3 || kill -TERM "$emulator"; } &
wait "$emulator"
"""

_environments = itertools.count()


@dataclass(frozen=True)
class Answer:
    """What the caller of an invocation gets."""

    status: int
    text: str

    @property
    def value(self) -> Any:
        """The text as JSON: what the handler returned, or errorMessage, errorType and so on."""
        return json.loads(self.text)


def _unshare() -> list[str]:
    return _UNSHARE if os.geteuid() == 0 else [*_UNSHARE, "--map-root-user"]


@cache
def _why_unavailable() -> str | None:
    if platform.machine() not in _BINARIES:
        return f"no emulator for {platform.machine()}"
    try:
        subprocess.run([*_unshare(), "true"], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        return "no unshare on this machine"
    except subprocess.CalledProcessError as error:
        return f"no namespaces of our own: {error.stderr.strip()}"
    return None


@cache
def emulator_binary() -> Path:
    """Return the emulator; download it when this checkout does not have it yet.

    Raises:
        subprocess.CalledProcessError: pip could not download it; its own words are on stderr.
        ValueError: what was downloaded is something else.
    """
    name, sha256 = _BINARIES[platform.machine()]
    binary = ROOT / ".cache" / "rie" / f"{name}-{sha256[:12]}"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with open(binary.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second test process waits here rather than downloading it as well
        if not binary.exists():
            with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
                _download(name, sha256, Path(folder)).rename(binary)  # appears when it is complete
    return binary


def _download(name: str, sha256: str, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    wanted = ["--no-deps", "--only-binary=:all:", f"--dest={folder}", _WHEEL]
    subprocess.run([*pip, *wanted], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    binary = folder / name
    with zipfile.ZipFile(wheel) as archive:
        binary.write_bytes(archive.read(f"samcli/local/rapid/{name}"))
    if hashlib.sha256(binary.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{name} of {_WHEEL} is not the one that we know")
    binary.chmod(0o755)
    return binary


class Emulator:
    """One environment in the emulator, from its first invocation to its SHUTDOWN; a context manager.

    Args:
        runtime: interpreter and runtime client.
        task_root: the function's folder.
        handler: as in Lambda's configuration.
        layer: what is to be at /opt; None for an empty one.
        wrapper: a command as it is inside, such as "/opt/sumo_wrapper", which is called with the runtime's command.
        variables: the function's own environment variables.
        timeout_s: whole seconds after which an invocation ends as timed out.
        workers: processes that serve a request each, as on Managed Instances; 0 for one process and one request.

    Attributes:
        tmp: what the function has at /tmp, from outside. Gone after the `with`.
    """

    def __init__(
        self,
        runtime: Runtime,
        task_root: Path,
        handler: str = "app.handler",
        *,
        layer: Path | None = None,
        wrapper: str | None = None,
        variables: Mapping[str, str] | None = None,
        timeout_s: int = 10,
        workers: int = 0,
    ) -> None:
        self._timeout_s = timeout_s
        self._address, self._port, runtime_api_port = _free_addresses()
        executable = runtime.interpreter.executable
        self._folders = [task_root, runtime.ric, executable.parent.parent, emulator_binary(), layer]
        self._command = [wrapper] if wrapper else []
        self._command += [f"/var/lang/bin/{executable.name}", "-m", "awslambdaric", handler]
        self._is_managed = workers > 0
        self._arguments = [
            f"--runtime-interface-emulator-address={self._address}:{self._port}",
            f"--runtime-api-address={self._address}:{runtime_api_port}",
            *([] if self._is_managed else self._command),
        ]
        self._variables = {
            "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "LD_LIBRARY_PATH": "/var/lang/lib",
            "PYTHONPATH": "/var/runtime",  # an image has the runtime client where its interpreter finds it
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]0123456789abcdef0123456789abcdef",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
            **(_managed(workers) if self._is_managed else {}),
            **(variables or {}),
        }

    @staticmethod
    def available() -> str | None:
        """Return why the emulator cannot run on this machine, or None where it can."""
        return _why_unavailable()

    def __enter__(self) -> Emulator:
        self._folder = Path(tempfile.mkdtemp(prefix="emulator-"))
        self.tmp = self._folder / "tmp"
        for name in ("tmp", "opt", "var/task", "var/runtime", "var/lang"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "var" / "rie").touch()
        self.tmp.chmod(0o1777)
        if self._is_managed:
            self._folders[0] = self._with_bootstrap(self._folders[0])
        folders = [str(folder or self._folder / "opt") for folder in self._folders]
        command = [*_unshare(), "sh", "-c", _SET_UP, "emulator", str(self._folder), *folders, *self._arguments]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._variables, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    @property
    def log(self) -> str:
        """What the emulator and all processes have written so far; all of it after `stop`."""
        return self._log_file.read_text(errors="replace")

    def invoke(self, payload: object = None) -> Answer:
        """Invoke the function with a JSON payload, and return what its caller gets."""
        # The emulator's own limits come first: the timeout, and what a reset takes.
        connection = HTTPConnection(self._address, self._port, timeout=self._timeout_s + STOP_LIMIT_S)
        with closing(connection):
            connection.request("POST", "/2015-03-31/functions/function/invocations", body=json.dumps(payload))
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())

    def memory_pss_bytes(self) -> int:
        """Return what the runtime's processes take, pages that several have divided among them.

        That is memory, and maps that they write to. Programs and libraries do not count: other processes of this
        machine, those of other tests among them, map the same files, and take a part of them as they come and go.
        """
        found = [
            pid
            for pid in descendants(self._process.pid)
            if b"\0-m\0awslambdaric\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert found, "no process of the runtime is there"
        return sum(map(_written_pss_bytes, found))

    def stop(self) -> None:
        """End the environment as Lambda does, SHUTDOWN included, and return when all of it is gone.

        Raises:
            TimeoutError: that took too long, and the rest was killed; says what was logged.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise TimeoutError(f"the emulator did not stop within {STOP_LIMIT_S} s:\n{self.log}") from None

    def _with_bootstrap(self, task_root: Path | None) -> Path:
        """Return a copy of the function's folder with what the emulator starts where it takes no command."""
        assert task_root is not None
        folder = self._folder / "task"
        shutil.copytree(task_root, folder)
        (folder / "bootstrap").write_text(f"#!/bin/sh\nexec {' '.join(self._command)}\n")
        (folder / "bootstrap").chmod(0o755)
        return folder

    @property
    def _log_file(self) -> Path:
        return self._folder / "log"

    def _wait_until_it_listens(self) -> None:
        give_up_s = time.monotonic() + START_LIMIT_S
        while True:
            try:
                socket.create_connection((self._address, self._port)).close()
                return
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > give_up_s:
                    raise RuntimeError(f"the emulator did not start:\n{self.log}") from None
                time.sleep(0.005)


def _written_pss_bytes(pid: int) -> int:
    """Return a process's PSS of memory, and of maps that it shares with others and writes to."""
    total = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes_kb = [int(size) for size in re.findall(r"^Pss_Anon: +(\d+)", total, re.M)]
    maps = Path(f"/proc/{pid}/smaps").read_text()
    sizes_kb += [int(size) for size in re.findall(r"^[0-9a-f-]+ rw-s .*\n(?:\w+: .*\n)*?Pss: +(\d+)", maps, re.M)]
    return sum(sizes_kb) * 1024


def _managed(workers: int) -> dict[str, str]:
    """Return the variables that Managed Instances have besides."""
    return {
        "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        "AWS_LAMBDA_MAX_CONCURRENCY": str(workers),
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
    }


def _free_addresses() -> tuple[str, int, int]:
    """Return an address of loopback, which is all of 127/8, and two ports there that no other process will use."""
    process, number = os.getpid(), next(_environments)
    address = f"127.{process >> 16 & 255}.{process >> 8 & 255}.{process & 255}"
    return address, 8080 + 2 * number, 8081 + 2 * number
