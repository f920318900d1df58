"""Threads of ours: how each is started and woken, and what their being there must not change of the function's process.

A thread begins with its starter's signal mask and with the stack size that is set; both may be the function's:

* A signal that the function's main thread has blocked, to wait for it (``sigwait``), would be delivered to a thread
  that has not blocked it, and end the process. So our threads take no signals but those that a fault raises in the
  thread itself.
* A stack that the function has made small for its own threads is too small for TLS on Python 3.10.

From Python 3.12 on ``os.fork`` warns of a process with several threads. Where all but one are ours, the warning is held
back: the function has done nothing that it could do differently. The one thing that such a child could inherit from our
threads is a lock, which only :mod:`sumo_internal.net.tls` holds and gives up for a fork.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's functions, without the enums around them
import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STACK_MIN_BYTES = 1 << 20
"""Of a thread of ours, where the function has set another size. Address space, not memory: a page counts once used."""

NEEDS_NO_WAIT = (3, 11, 7)
"""In an older Python a thread that has not begun when the interpreter ends looks at freed memory: a script that logs
and ends at once was killed by SIGSEGV in every other run of 3.11.2, in none of 3.11.7."""

BEGIN_MAX_S = 1.0
"""Before that version: for how long a start waits until the thread has begun."""

_OWN_FAULTS = (
    _signal.SIGABRT,
    _signal.SIGBUS,
    _signal.SIGFPE,
    _signal.SIGILL,
    _signal.SIGSEGV,
    _signal.SIGSYS,
    _signal.SIGTRAP,
)

_alive: set[object] = set()
"""One entry for each thread of ours."""
_has_hooks = False


class Signal:
    """A wake-up that any thread can give at any instant without waiting; one waiter uses it up.

    Setting a ``threading.Event`` takes a lock, and a finaliser that logs in the middle of that would wait for itself.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # the signal is set already

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, at most so long; False when it was not."""
        return self._lock.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s))


def start(body: Callable[..., None], *arguments: object) -> None:
    """Start a thread that does not keep the process alive.

    Not a ``threading.Thread``, which would be one of the function's threads, and whose start waits for a hand-over of
    the interpreter lock; before :data:`NEEDS_NO_WAIT` Python needs that wait.

    Raises:
        RuntimeError: There is no room for another thread, or the interpreter is ending (from Python 3.12 on).
    """
    _hook()
    begun = _thread.allocate_lock()
    begun.acquire()
    entry = object()

    def run() -> None:
        begun.release()
        try:
            body(*arguments)
        finally:
            _alive.discard(entry)

    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals().difference(_OWN_FAULTS))
        _start_with_room(run, entry)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)  # runs the handlers that have waited meanwhile
    if sys.version_info < NEEDS_NO_WAIT:
        begun.acquire(timeout=BEGIN_MAX_S)


def _start_with_room(run: Callable[[], None], entry: object) -> None:
    """Start a thread that has the stack it needs; the function's threads keep what the function has chosen."""
    size_bytes = _thread.stack_size(0)
    _alive.add(entry)
    try:
        _thread.stack_size(size_bytes and max(size_bytes, STACK_MIN_BYTES))
        _thread.start_new_thread(run, ())
    except BaseException:
        _alive.discard(entry)
        raise
    finally:
        _thread.stack_size(size_bytes)


def _hook() -> None:
    global _has_hooks
    if not _has_hooks and sys.version_info >= (3, 12):
        _has_hooks = True
        os.register_at_fork(before=_mute, after_in_child=_forget)


def _mute() -> None:
    """Hold back the warning of the fork that comes now, if all other threads are ours."""
    import warnings

    _unmute()
    if sys._getframe(1).f_code.co_name == "_execute_child":
        return  # subprocess, which forks without a warning
    try:
        is_alone = _alive and len(os.listdir("/proc/self/task")) - len(_alive) == 1
    except OSError:
        return  # no descriptor left: then it warns
    if is_alone:
        warnings.filters.insert(0, _filter)  # type: ignore[attr-defined]  # to its stubs it is no list


def _unmute() -> None:
    import warnings

    while _filter in warnings.filters:
        warnings.filters.remove(_filter)  # type: ignore[attr-defined]


class _ForkWarning:
    """Stands for an expression in a filter of ``warnings``. Once it has matched the filter goes.

    Python 3.12 warns before what is registered for the parent is called, 3.13 after it: neither end is certain.
    """

    def match(self, text: str) -> bool:
        is_it = text.startswith("This process (pid=") and "is multi-threaded, use of fork" in text
        if is_it:
            _unmute()
        return is_it


_filter: Any = ("ignore", _ForkWarning(), DeprecationWarning, None, 0)


def _forget() -> None:
    """In a forked child, which has none of our threads."""
    _alive.clear()
    _unmute()
