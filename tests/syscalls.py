"""Counts the system calls of a program's first thread, with ``ptrace`` and nothing else.

Separate because it is a page of constants, and because what it counts does not depend on the machine's speed: a cost
per line that continuous integration can hold on to. ``strace`` would do the same where it is installed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

_SYSCALL, _SETOPTIONS = 24, 0x4200
_SYSCALL_STOPS_ARE_MARKED, _DIES_WITH_US = 1, 1 << 20
_MARK = 0x80

_TRACED = """
import ctypes, os, sys
ctypes.CDLL(None).ptrace(0, 0, None, None)  # PTRACE_TRACEME
os.execv(sys.argv[1], sys.argv[1:])
"""
"""What becomes the program: from here on its parent sees what it does."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class NotAllowed(Exception):
    """This machine does not let a process trace its own child."""


def count(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run a program to its end and return how many system calls its first thread has made.

    Raises:
        NotAllowed: As it says; there is nothing to be counted here.
        RuntimeError: The program failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TRACED, *command],
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stops = 0
    status = _wait(process)
    if os.WIFSTOPPED(status):
        _libc.ptrace(_SETOPTIONS, process.pid, None, _SYSCALL_STOPS_ARE_MARKED | _DIES_WITH_US)
    while os.WIFSTOPPED(status):
        reason = os.WSTOPSIG(status)
        stops += reason == signal.SIGTRAP | _MARK
        delivered = 0 if reason in (signal.SIGTRAP, signal.SIGTRAP | _MARK) else reason
        _libc.ptrace(_SYSCALL, process.pid, None, delivered)
        status = _wait(process)
    if not stops:
        raise NotAllowed("ptrace")
    if status != 0:
        raise RuntimeError(f"{command[0]}: {os.waitstatus_to_exitcode(status)}")
    return stops // 2


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the next stop, or the end, of the program's first thread, which is all that is traced."""
    _, status = os.waitpid(process.pid, 0)
    if not os.WIFSTOPPED(status):
        process.returncode = os.waitstatus_to_exitcode(status)
    return status
