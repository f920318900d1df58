"""Starts the environment's processes, and ends every one of them when the test is gone: a program of its own.

Separate from the test's process for three reasons. The process that starts others in a mount namespace has to enter it.
A small process forks in a fraction of a millisecond, where a test runner with a hundred modules and a dozen threads may
not fork at all. And a test runner that is killed cannot clean up: this program sees the end of its socket and does.

Rules:

* Requests come one to a packet over the socket ``control``, descriptors with them, and each is answered there: the
  pid of the started process. How a process ended goes to the socket ``events``.
* A process is forked ahead of time, and waits at its gate, a socket, with everything done but exec: the kernel may take
  20 ms to move the first process into a control group, which must not count as the time that a program takes to start.
* It leads its own process group, is in the environment's control groups, and has the user's rights only.
* It adopts orphans, so that whatever the function leaves behind is found among its descendants.

It cannot see to files: the scratch folder of a test that was killed stays.

It imports nothing of the model: it is started with ``-I -S`` and should stay small. Configuration and packets are
JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_MAX_PACKET_BYTES = 256 * 1024
_MAX_DESCRIPTORS = 8
_DESCRIPTORS = 1_024
"""Lambda's limit for each process."""


def main() -> None:
    """Serve requests until the test closes its end."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    control, events = socket.socket(fileno=config["control"]), socket.socket(fileno=config["events"])
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(wake_reader, select.POLLIN)
    started: dict[int, int] = {}
    is_open = True
    try:
        for command in config["mounts"]:
            _run(command)
        control.send(b"{}")
        while is_open:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if wake_reader in ready:
                os.read(wake_reader, 4096)
                _report_ends(started, events)
            if control.fileno() in ready:
                is_open = _serve(control, started, config)
    finally:
        _end_everything(config["cgroups"])


def descendants(ancestor: int) -> list[int]:
    """Return the pids of all living descendants of a process, from /proc; zombies do not count."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if state not in (b"Z", b"X"):
            children.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    generation = [ancestor]
    while generation:
        generation = [child for parent in generation for child in children.get(parent, [])]
        found += generation
    return found


def _run(command: list[str]) -> None:
    """Run a program to its end."""
    status = os.waitstatus_to_exitcode(os.waitpid(os.posix_spawnp(command[0], command, os.environ), 0)[1])
    if status != 0:
        sys.exit(f"{' '.join(command)}: exit code {status}")


def _serve(control: socket.socket, started: dict[int, int], config: dict[str, Any]) -> bool:
    """Start the process that one packet asks for; return False at the end of the socket."""
    flags = socket.MSG_CMSG_CLOEXEC
    packet, descriptors, _, _ = socket.recv_fds(control, _MAX_PACKET_BYTES, _MAX_DESCRIPTORS, flags)
    if not packet:
        return False
    request = json.loads(packet)
    gate, *sources = descriptors
    redirections = dict(zip(request["descriptors"], sources, strict=True))
    pid = os.fork()
    if pid == 0:
        _become(request, gate, redirections, config)
    os.setpgid(pid, pid)
    started[pid] = request["number"]
    for descriptor in descriptors:
        os.close(descriptor)
    control.send(json.dumps({"pid": pid}).encode())
    return True


def _become(request: dict[str, Any], gate: int, redirections: dict[int, int], config: dict[str, Any]) -> None:
    """Turn this forked child into the program once the gate opens; never returns."""
    exit_code = 127
    try:
        os.setpgid(0, 0)
        for target, descriptor in redirections.items():
            os.dup2(descriptor, target)
        for folder in config["cgroups"]:
            with open(f"{folder}/cgroup.procs", "w") as file:
                file.write("0")
        signal.set_wakeup_fd(-1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and ignored they stay after exec
            signal.signal(ignored, signal.SIG_DFL)
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
        os.chdir(request["folder"])
        if config["user"] is not None:
            user_id, group_id = config["user"]
            for target in redirections:
                os.fchown(target, user_id, group_id)  # or /dev/stderr could not be opened
            os.setgroups([])
            os.setgid(group_id)
            os.setuid(user_id)
        os.write(gate, b"r")
        if not os.read(gate, 1):
            os._exit(0)
        os.execve(request["command"][0], request["command"], request["variables"])
    except BaseException as error:
        exit_code = 127 if isinstance(error, FileNotFoundError) else 126  # as a shell has it
        os.write(2, f"{request['command'][0]}: {error}\n".encode())
    finally:
        os._exit(exit_code)


def _report_ends(started: dict[int, int], events: socket.socket) -> None:
    """Tell of every process that has ended; adopted orphans end silently."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in started:
            end = {"number": started.pop(pid), "code": os.waitstatus_to_exitcode(status), "at_s": time.monotonic()}
            events.send(json.dumps(end).encode())


def _end_everything(cgroups: list[str]) -> None:
    """Kill all descendants, wait for them, and remove their control groups."""
    for folder in cgroups:
        if os.path.exists(f"{folder}/freezer.state"):
            with open(f"{folder}/freezer.state", "w") as file:
                file.write("THAWED")
    try:
        while True:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):  # its own parent was faster
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
    except ChildProcessError:  # none is left
        pass
    for folder in cgroups:
        os.rmdir(folder)


if __name__ == "__main__":
    main()
