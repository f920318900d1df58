"""Real snapshots of one environment, and the copies that are restored from them (SnapStart): CRIU's.

Separate from the environment, which is in one process with the test: here the environment, its model included, is a
process tree of its own (:mod:`model.snapshot_driver`), so that it can be copied as a whole, with all connections
between the runtime, the extension and Lambda's APIs. Only the Sumo Logic source is outside, as it is with Lambda.

Rules:

* The tree has a pid namespace of its own, whose numbers are free at each restore, and hence a /proc; nothing else is
  mounted that it does not need, because CRIU would have to know what it is.
* /tmp is put back before each restore, file by file into the same inodes: the package tells by them whether the
  function has removed a file.
* Copies live one after the other, as the ports of the model are the same in all of them.
* A connection to the outside would be copied, too, and be good in no copy: ``ports`` tells.

It needs root, CRIU 4 and util-linux; :func:`unavailable` says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from runtimes import Runtime

from model.launcher import descendants
from model.monitor import ModelStuck
from model.values import CloudWatchLine, Event

VERSION_MIN = 4
"""CRIU 3.17, Debian 12's, fails on newer kernels."""
_BOUND_S = 60.0
_CRIU_BOUND_S = 30.0
"""A restore takes a second; seldom, on a busy machine, one has not come to an end. It is tried once more."""
_HANGS = f"is not over in {_CRIU_BOUND_S:.0f} s"
_POLL_S = 0.01
_ATTEMPTS_MAX = 15
_PORT_FREE_S = 1.0
"""Another test may have a port meanwhile that was the model's at the snapshot: it is waited for so often."""
_DRIVER = Path(__file__).with_name("snapshot_driver.py")
_MOUNTS = """
for place in $(cut -d' ' -f5 /proc/self/mountinfo | sort -r); do
    case $place in / | /dev) ;; *) umount -l "$place" 2>/dev/null ;; esac
done
mount -t proc proc /proc
exec "$@" </dev/null >>"$0" 2>&1
"""
_TREE = ("--tcp-established", "--file-locks", "--manage-cgroups=ignore", "--external", "mnt[]:m")


@cache
def unavailable() -> str | None:
    """Return None where snapshots can be taken on this machine, else why not."""
    if os.geteuid() != 0:
        return "CRIU needs root"
    criu = shutil.which("criu")
    if criu is None or shutil.which("unshare") is None:
        return "there is no CRIU (criu.org) on PATH"
    told = subprocess.run([criu, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"Version: (\d+)", told)
    if version is None or int(version[1]) < VERSION_MIN:
        return f"CRIU {VERSION_MIN} or later is needed, not {told.split() or 'one that does not tell'}"
    checked = subprocess.run([criu, "check"], capture_output=True, text=True, check=False)
    return None if checked.returncode == 0 else f"criu check: {checked.stderr.strip().splitlines()[-1:]}"


@dataclass(frozen=True)
class Copy:
    """What became of one restored copy."""

    invocations: list[dict[str, Any]]
    """``request_id``, ``status`` and ``payload`` of each."""
    cloudwatch: list[CloudWatchLine]
    """Its own, without what was written before the snapshot."""
    timeline: list[Event]
    """Likewise."""
    restored_at_s: float

    @property
    def request_ids(self) -> set[str]:
        """Of its invocations."""
        return {invocation["request_id"] for invocation in self.invocations}


class Snapshot:
    """A snapshot of one environment behind its init."""

    def __init__(self, folder: Path, runtime: Runtime, task_root: Path, **options: Any) -> None:
        """Configure the environment; nothing runs before it is entered.

        Args:
            folder: An empty one of the test's.
            runtime: As :class:`model.Environment` has it.
            task_root: Likewise.
            options: Its other arguments, as far as JSON has them; ``layer`` as a path.
        """
        self._folder = folder
        self._state = folder / "state"
        self.tmp = self._state / "tmp"
        self._saved = folder / "saved"
        self._images = folder / "images"
        for each in (self.tmp, self._saved, self._images, folder / "root"):
            each.mkdir(parents=True)
        options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        spec = {"runtime": runtime.id, "task_root": str(task_root), "options": {**options, "tmp": str(self.tmp)}}
        (folder / "spec.json").write_text(json.dumps(spec))
        self._driver: subprocess.Popen[bytes] | None = None
        self._tree: int | None = None
        self.ports: set[int] = set()
        """Those that connections of this machine led to when the snapshot was taken."""

    def __enter__(self) -> Snapshot:
        program = [sys.executable, str(_DRIVER), str(self._folder)]
        unshare = ["unshare", "--pid", "--mount", "--fork", "--propagation", "private"]
        with (self._folder / "unshare").open("wb") as said:  # some versions complain of a signal mask each time
            self._driver = subprocess.Popen(
                [*unshare, "sh", "-c", _MOUNTS, str(self._state / "out"), *program],
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self._state)},
                stderr=said,
            )
        try:
            self._await(self._folder / "ready.json")
            self.ports = ports_connected_to()
            children = Path(f"/proc/{self._driver.pid}/task/{self._driver.pid}/children").read_text()
            self._tree = int(children.split()[0])
            self._criu("dump", "--tree", str(self._tree), "--network-lock", "skip")
            self._driver.wait(_BOUND_S)
        except BaseException:
            self.close()
            raise
        self._save()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def timeline(self) -> list[Event]:
        """What had happened when the snapshot was taken."""
        return [Event(*event) for event in self._ready()["timeline"]]

    @property
    def cloudwatch(self) -> list[CloudWatchLine]:
        """What had been written."""
        return [CloudWatchLine(*line) for line in self._ready()["cloudwatch"]]

    def _ready(self) -> dict[str, Any]:
        return dict(json.loads((self._folder / "ready.json").read_text()))

    def restore(self, *orders: tuple[str, Any]) -> Copy:
        """Restore a copy, have it do something, and wait until it is gone.

        Args:
            orders: As :mod:`model.snapshot_driver` has them.

        Raises:
            ModelStuck: It did not come to an end.
        """
        result = self._folder / "result.json"
        result.unlink(missing_ok=True)
        self._put_back()
        (self._folder / "orders.json").write_text(json.dumps(orders))
        pid_file = self._folder / "pid"
        pid_file.unlink(missing_ok=True)
        restored_at_s = time.time()
        root = str(self._folder / "root")
        with_root = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            'mount --bind / "$0"; exec "$@"',
            root,
        ]
        for attempt in range(_ATTEMPTS_MAX):
            try:
                self._criu(
                    "restore", "--restore-detached", "--root", root, "--pidfile", str(pid_file), before=with_root
                )
                break
            except ModelStuck as error:
                if _HANGS in str(error) and attempt == 0:
                    continue
                if "in use" not in str(error) or attempt == _ATTEMPTS_MAX - 1:
                    raise
                time.sleep(_PORT_FREE_S)
        self._tree = int(pid_file.read_text())
        self._await(result)
        told = json.loads(result.read_text())
        lines = [CloudWatchLine(*line) for line in told["cloudwatch"]]
        events = [Event(*event) for event in told["timeline"]]
        return Copy(
            told["invocations"],
            [line for line in lines if line.time >= restored_at_s],
            [event for event in events if event.at_s >= restored_at_s],
            restored_at_s,
        )

    def close(self) -> None:
        """End what runs."""
        self._end_tree()
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()

    def _end_tree(self) -> None:
        """Kill the first process of the namespace, and the kernel kills the others."""
        if self._tree is not None:
            try:
                os.kill(self._tree, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._wait_for(lambda: not _is_running(self._tree or 0), "the tree has ended")
            self._tree = None

    def _criu(self, command: str, *arguments: str, before: Sequence[str] = ()) -> None:
        log = self._images / f"{command}.log"
        where = ["--images-dir", str(self._images), "--log-file", str(log), "-v4"]
        criu = subprocess.Popen([*before, shutil.which("criu") or "criu", command, *where, *_TREE, *arguments])
        try:
            status = criu.wait(_CRIU_BOUND_S)
        except subprocess.TimeoutExpired:
            for pid in (*descendants(criu.pid), criu.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            criu.wait()
            raise ModelStuck(f"criu {command} {_HANGS}") from None
        if status != 0:
            lines = [line for line in log.read_text(errors="replace").splitlines() if "Error" in line]
            raise ModelStuck(f"criu {command}: {lines}; {self._said()}")

    def _save(self) -> None:
        """Keep each file's content, and its inode by another name."""
        self._tree = None
        (self._saved / "inodes").mkdir()
        (self._saved / "content").mkdir()
        files = [file for file in self._state.rglob("*") if file.is_file()]
        names = {str(file.relative_to(self._state)): str(number) for number, file in enumerate(files)}
        for name, number in names.items():
            os.link(self._state / name, self._saved / "inodes" / number)
            shutil.copyfile(self._state / name, self._saved / "content" / number)
        folders = [str(each.relative_to(self._state)) for each in self._state.rglob("*") if each.is_dir()]
        (self._saved / "names.json").write_text(json.dumps([sorted(folders), names]))

    def _put_back(self) -> None:
        self._end_tree()
        folders, names = json.loads((self._saved / "names.json").read_text())
        modes = {folder: (self._state / folder).stat().st_mode for folder in folders if (self._state / folder).exists()}
        shutil.rmtree(self._state)
        self._state.mkdir()
        for folder in folders:
            (self._state / folder).mkdir()
            (self._state / folder).chmod(modes.get(folder, 0o700))
        for name, number in names.items():
            inode = self._saved / "inodes" / number
            content = (self._saved / "content" / number).read_bytes()
            with inode.open("r+b") as file:  # what is mapped sees the same inode
                file.truncate(len(content))
                file.write(content)
            os.link(inode, self._state / name)

    def _await(self, file: Path) -> None:
        self._wait_for(lambda: file.exists() or self._has_failed(), f"{file.name} is there")
        if not file.exists():
            raise ModelStuck(f"the environment ended before {file.name}: {self._said()}")

    def _has_failed(self) -> bool:
        if self._tree is None:
            return self._driver is not None and self._driver.poll() is not None
        return not _is_running(self._tree)

    def _wait_for(self, predicate: Any, what: str) -> None:
        until_s = time.monotonic() + _BOUND_S
        while not predicate():
            if time.monotonic() > until_s:
                raise ModelStuck(f"not within {_BOUND_S:.0f} s: {what}; {self._said()}")
            time.sleep(_POLL_S)

    def _said(self) -> str:
        files = [file for file in (self._folder / "unshare", self._state / "out") if file.exists()]
        return "".join(file.read_text(errors="replace") for file in files)[-2000:]


def ports_connected_to() -> set[int]:
    """Where connections of this machine lead to that neither side has closed."""
    established = "01"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(fields[2].partition(":")[2], 16) for fields in lines if fields[3] == established}


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")
