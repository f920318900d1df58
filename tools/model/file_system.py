"""Where the environment's processes find things, and the mounts that make it so.

Separate from the sandbox, which needs to know only the commands; the layout of /opt and /var is Lambda's contract.

Rules:

* Isolated, the layer is at /opt, the task at /var/task, the runtime at /var/runtime and the interpreter's prefix at
  /var/lang, all read-only; /tmp is the environment's; there is no shared memory; /bin/sh is bash, where the machine
  has one, as on Amazon Linux.
* In place, everything is where it lies on the machine: a folder stands in for /opt, and variables tell of the one for
  /tmp.
* Mounts are made in a mount namespace of the environment's own, and are gone with its last process.

It runs nothing but the probe whether it would work.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

USER_AND_GROUP = (993, 990)
"""Lambda's sbx_user1051."""
NO_LAYER = Path("/nonexistent")
"""Stands for an empty /opt, in place: the machine's own /opt is none of the function's."""


@dataclass(frozen=True)
class Places:
    """Where the function's processes find things."""

    interpreter: Path
    runtime_dir: Path
    task_root: Path
    opt: Path
    in_place: Mapping[str, str]
    """Variables that tell of the folder for /tmp; empty where it is at /tmp."""


@dataclass(frozen=True)
class FileSystem:
    """What an environment is made of, as it lies on the machine."""

    interpreter: Path
    runtime_dir: Path
    task_root: Path
    layer: Path | None
    tmp: Path
    tmp_size_mb: int | None
    """Isolated only: a /tmp of this size in memory, instead of the folder."""
    name_server: str | None = None
    """Isolated only: the address of the one that is asked for names."""

    def isolated(self) -> Places:
        """Return the places of an environment with these folders mounted where Lambda has them."""
        interpreter = Path("/var/lang/bin") / self.interpreter.name
        return Places(interpreter, Path("/var/runtime"), Path("/var/task"), Path("/opt"), {})

    def in_place(self) -> Places:
        """Return the places of an environment that uses these folders where they are."""
        stand_ins = {"TMPDIR": str(self.tmp), "SUMO_SPOOL_DIR": str(self.tmp / "sumo-internal")}
        return Places(self.interpreter, self.runtime_dir, self.task_root, self.layer or NO_LAYER, stand_ins)


@functools.cache
def isolation_available() -> str | None:
    """Return None where isolated environments work, else why not."""
    if os.geteuid() != 0:
        return "a file system of their own for the processes needs root"
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return "unshare and mount are not installed"
    absent = [folder for folder in ("/opt", "/var", "/tmp") if not os.path.isdir(folder)]
    if absent:
        return f"this machine has no {absent[0]}"
    probe = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    attempt = subprocess.run(probe, capture_output=True, text=True)
    return None if attempt.returncode == 0 else attempt.stderr.strip() or "unshare --mount failed"


def mount_commands(scratch: Path, files: FileSystem) -> list[list[str]]:
    """Return the commands that lay out the file system, inside a new mount namespace.

    Every source is bound while it can still be reached: it may lie below /tmp or /var, which are covered last.
    """
    var, empty, hosts = scratch / "var", scratch / "empty", scratch / "hosts"
    read_only = {
        var / "task": files.task_root,
        var / "runtime": files.runtime_dir,
        var / "lang": files.interpreter.parent.parent,
    }
    for folder in (*read_only, var / "tmp", empty):
        folder.mkdir(parents=True)
    for folder in (var, empty, files.task_root, *([] if files.layer is None else [files.layer])):
        folder.chmod(folder.stat().st_mode | 0o555)  # no other user may enter what tempfile and pytest make
    os.chown(files.tmp, *USER_AND_GROUP)
    hosts.write_text("127.0.0.1 localhost sandbox.localdomain sandbox\n")
    read_only |= {Path("/opt"): files.layer or empty, Path("/etc/hosts"): hosts}
    if files.name_server is not None:
        resolver = scratch / "resolv.conf"
        resolver.write_text(f"nameserver {files.name_server}\n")
        read_only[Path("/etc/resolv.conf")] = resolver
    shell, bash = (os.path.realpath(f"/bin/{name}") for name in ("sh", "bash"))
    if shell != bash and os.path.exists(bash):
        read_only[Path(shell)] = Path(bash)
    if os.path.isdir("/dev/shm"):  # Lambda has none
        read_only[Path("/dev/shm")] = empty
    commands = [["mount", "--bind", str(files.tmp), str(var / "tmp")]]
    for target, source in read_only.items():
        commands += [["mount", "--bind", str(source), str(target)], ["mount", "-o", "remount,bind,ro", str(target)]]
    commands.append(["mount", "--rbind", str(var), "/var"])
    if files.tmp_size_mb is None:
        return [*commands, ["mount", "--bind", "/var/tmp", "/tmp"]]
    options = "size={}m,uid={},gid={},mode=700".format(files.tmp_size_mb, *USER_AND_GROUP)
    return [*commands, ["mount", "-t", "tmpfs", "-o", options, "tmpfs", "/tmp"]]
