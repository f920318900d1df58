"""The sidecar: the internal extension, two threads inside the runtime process.

The *life-cycle thread* waits for nothing but its own Next and a bounded hold. Lambda freezes the environment when the
runtime and every registered extension have asked for their next event: by asking late, after the response has gone back
to the caller, this thread buys the time to ship. Where it does so it takes its event, which says until when it may, no
earlier than that: nothing of ours runs in such an invocation. It is registered for INVOKE while the function's module
is imported, and only where the runtime tells of invocations: it would hold each one until its deadline else.

The *shipping thread* runs the drainer and may be stuck in a name look-up or a dead connection for as long as it likes:
nobody waits for it beyond a bound. It begins with the first line, or when the init phase is over. What shipping needs
is imported when there is something to ship for the first time, so that it is no part of the function's start.

The function's threads only ever set a :class:`Signal`, which takes no lock. The environment may freeze at any
instruction of any of this, for any time: every wait is for an event or a wall-clock time, and a socket that did not
survive is the source's business.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import allocate_lock, start_new_thread

from sumo_internal import diagnostics
from sumo_internal.lambda_apis.extensions_api import ApiRefusedError, Event
from sumo_internal.shipping import flush_strategy
from sumo_internal.spool.counters import DRAINER, Counters
from sumo_internal.spool.folder import FolderRefusedError
from sumo_internal.spool.writer import has_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.recorder import Recorder
    from sumo_internal.config import Config
    from sumo_internal.lambda_apis.extensions_api import ExtensionsApi
    from sumo_internal.shipping.drainer import Drainer
    from sumo_internal.spool.writer import Spool

NAME = "sumo-internal-sidecar"
"""The internal extension's name; no file in /opt/extensions may have it."""
WAKE_BYTES = 2 << 20
"""Unsent bytes that start shipping in the middle of an invocation. Two batches: beside a handler that logs a request
costs several times the CPU that it costs afterwards, and this much a 128 MB function can still ship at SHUTDOWN."""
LOOK_AGAIN_S = 0.1
"""After shipping beside an invocation, until the extension has what Lambda tells it of the one before: its REPORT."""
FROZEN_S = 0.5
"""Who wakes so late was frozen. If an invocation has thawed the environment it asks for the lines; if it was SHUTDOWN,
this process is about to be killed, and a request begun now would be sent twice: so it waits a little to see which."""
EXIT_MAX_S = 5.0
"""Outside Lambda: for how long a process that ends may be kept for the last lines."""
_NEVER_S = float("inf")
_NEXT_RETRY_S = 0.05
_NEXT_ATTEMPTS_MAX = 20
"""A Next that fails is asked again: an extension that is registered and does not ask keeps the invocation open."""


class Signal:
    """A wake-up that anybody can give at any instant without waiting; one waiter uses it up.

    ``threading.Event`` takes a lock to be set, and a finaliser that logs in the middle of that would wait for itself.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is set already

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, at most so long; False when it was not."""
        return self._lock.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s))


def _start_thread(body: Callable[..., None], *arguments: object) -> None:
    """Start a thread that does not keep the process alive.

    Not a ``threading.Thread``, which would be one of the function's threads, and whose start waits for a hand-over of
    the interpreter lock. Python 3.10 needs that wait: a thread that has not begun when the interpreter ends looks at
    freed memory there.
    """
    if sys.version_info >= (3, 11):
        start_new_thread(body, arguments)
        return
    begun = Signal()

    def begin() -> None:
        begun.set()
        body(*arguments)

    start_new_thread(begin, ())
    begun.wait(1.0)


class Sidecar:
    """Follows the invocations and ships what they leave in the spool."""

    def __init__(self, config: Config, recorder: Recorder, make_drainer: Callable[[Counters], Drainer]) -> None:
        """Make a sidecar, which ships from the first line on; :meth:`register` has it follow the invocations too.

        Args:
            config: For the flush strategy and the age at which lines are shipped.
            recorder: Told of invocations; its spool is drained.
            make_drainer: Called on the shipping thread when there is something to ship for the first time, with
                the counters for what becomes of it.
        """
        self._config = config
        self._recorder = recorder
        self._spool = recorder.spool
        self._spool.on_backlog = self._backlog
        self._spool.wake_offset = 0  # the first line
        self._counts = _drainer_counters(self._spool)
        self._make_drainer = make_drainer
        self._drainer: Drainer | None = None
        self._draining = allocate_lock()
        """The drainer is the process's only one, and a thread's at a time."""
        self._pid = os.getpid()
        self._has_begun = allocate_lock()
        """Taken by the thread that starts the shipping thread, for good."""
        self._api: ExtensionsApi | None = None
        self._registration: socket | None = None
        self._registered = Signal()
        self._running_id: str | None = None
        self._ended_id: str | None = None
        self._ended_at_s = 0.0
        self._ended = Signal()
        self._gaps_s: list[float] = []
        self._wake = Signal()
        self._wanted = 0
        self._asked = 0
        self._served = 0
        self._done = Signal()
        self._is_hold_worthwhile = True
        self._is_quiet = False
        """The last invocation that was held had no lines."""

    # Called by the function's side. Neither blocks, but for the first call that waits for the registration.

    def ended(self) -> None:
        """The runtime asks for its next event: the invocation (or the init phase) is over."""
        if self._registration is not None:
            self._finish_registering(self._registration)
        if self._running_id is None:
            self._recorder.leave_init()
            return
        try:
            self._recorder.leave_invocation()
        finally:  # whatever happens there, the life-cycle thread must not wait for ever
            self._ended_id, self._running_id = self._running_id, None
            self._ended_at_s = time.time()
            self._ended.set()

    def began(self, request: Any) -> None:
        """The runtime has an event: an invocation begins."""
        if self._is_quiet:
            self.look()  # the REPORT of the last one leaves beside this one: a silent function is not held for it
        if self._ended_at_s:
            self._gaps_s = [*self._gaps_s[1 - flush_strategy.HISTORY_LENGTH :], time.time() - self._ended_at_s]
        self._running_id = request.invoke_id
        self._recorder.enter_invocation(
            request.invoke_id, trace_id=request.x_amzn_trace_id, tenant_id=getattr(request, "tenant_id", None)
        )

    def _backlog(self) -> None:
        """There is the first line, or another :data:`WAKE_BYTES` of them."""
        if not self._has_begun.locked():
            self.keep_shipping()
            self._spool.wake_offset = WAKE_BYTES  # in a forked child, too, where nothing begins
        else:
            self._spool.wake_offset = WAKE_BYTES  # once; the shipping thread sets it anew
            self.ship()

    def register(self, api: ExtensionsApi) -> None:
        """Register as an internal extension; the answer is read when the runtime first asks for an event.

        So nothing runs beside the function's imports, which it would slow down. The thread is started all the same,
        because it may fail to: who is registered and does not ask for events keeps the init phase open.
        """
        _start_thread(self._live, api)
        self._api = api
        try:
            self._registration = api.ask_to_register(NAME, ["INVOKE"])
        except OSError as error:
            self._do_without(error)

    def _finish_registering(self, connection: socket) -> None:
        self._registration = None
        assert self._api is not None, "there is a connection because of it"
        try:
            self._api.registered(connection)
        except (ApiRefusedError, OSError) as error:
            self._do_without(error)
        else:
            self._registered.set()

    def _do_without(self, error: Exception) -> None:
        self._api = None
        self._registered.set()
        text = f"Lambda does not register the sidecar ({error}); lines are shipped during invocations and at SHUTDOWN"
        diagnostics.say("warn", text)

    # The life-cycle thread.

    def _live(self, api: ExtensionsApi) -> None:
        self._registered.wait()
        self.keep_shipping()
        while self._api is not None and (event := self._next(api)) is not None:
            with diagnostics.guard("following an invocation"):
                self._follow(event)

    def _next(self, api: ExtensionsApi) -> Event | None:
        for _ in range(_NEXT_ATTEMPTS_MAX):
            try:
                connection = api.ask()
                if self._is_held():
                    self._ended.wait()  # read any earlier, the event would only be in the handler's way
                return api.receive(connection)
            except (ApiRefusedError, OSError, ValueError) as error:
                problem = error
                time.sleep(_NEXT_RETRY_S)
        diagnostics.say("warn", f"Lambda gives the sidecar no more events ({problem}); lines are shipped at SHUTDOWN")
        return None

    def _follow(self, event: Event) -> None:
        """Ship what there is, now or when the invocation has ended; return when the environment may freeze."""
        self._check_folder()
        if not self._is_held():
            # Only what is there now, or has been lost: a thread that finds nothing would take what this invocation logs
            # meanwhile, and meet the freeze with it.
            if self._spool.pending_bytes or self._has_others() or self._spool.counters.counts():
                self.ship()
            else:
                self.look()  # the REPORT of the last one comes in a moment
            return
        while self._ended_id != event.request_id:
            if not self._ended.wait(event.deadline_s - time.time()):
                return
        self._is_quiet = not self._spool.pending_bytes
        if not self._is_quiet or self._has_others():
            self._is_hold_worthwhile = self._hold(flush_strategy.hold_until_s(time.time(), event.deadline_s))

    def _has_others(self) -> bool:
        return has_others(self._spool) if self._drainer is None else self._drainer.has_others()

    def _is_held(self) -> bool:
        return self._is_hold_worthwhile and flush_strategy.is_held(self._config.flush, self._gaps_s)

    def _hold(self, until_s: float) -> bool:
        """Wait until everything is shipped, at most until then; False when it is not."""
        self._asked += 1
        self.ship()
        while self._served < self._asked:
            # Never longer, should the clock be set back meanwhile.
            if not self._done.wait(min(flush_strategy.HOLD_MAX_S, until_s - time.time())):
                diagnostics.say_once(
                    "warn", "Sumo Logic is slow: invocations are not held any more until it answers in time"
                )
                return False
        return self._is_hold_worthwhile

    def _check_folder(self) -> None:
        """Notice that the function has emptied /tmp: what is mapped is still there, but nobody else would find it."""
        try:
            self._spool.mend()
        except OSError:
            pass  # it is being emptied at this moment, or full: the next line makes what it needs
        except FolderRefusedError as error:
            diagnostics.say_once("warn", f"the spool's folder was replaced: {error}; new lines are refused")

    # The shipping thread.

    def ship(self) -> None:
        """Have the spool drained soon; returns at once."""
        self._wanted += 1
        self._wake.set()

    def look(self) -> None:
        """Have it drained soon if others have lines in it; what this process has waits for its time."""
        self._wake.set()

    def keep_shipping(self) -> None:
        """Ship when asked to, and whatever has become old, on a thread of its own; a forked child leaves it to us."""
        if os.getpid() != self._pid or not self._has_begun.acquire(blocking=False):
            return
        try:
            self._counts.keep()  # before the init is over: later the function may have filled the disk
            self._spool.wake_offset = WAKE_BYTES
            _start_thread(self._keep_shipping)
        except RecursionError:
            self._has_begun.release()  # at the end of the function's stack: the line comes back
            self._spool.wake_offset = 0
            raise
        except Exception as error:
            diagnostics.failed("beginning to ship", error)

    def _keep_shipping(self) -> None:
        waits_s: list[float] = []
        seen = 0
        with diagnostics.guard("looking after the spool"):
            self._check_folder()
        while True:
            wait_s = waits_s.pop() if waits_s else self._config.flush_max_age_s
            due_s = time.monotonic() + wait_s
            is_woken = self._wake.wait(wait_s)
            if not is_woken and time.monotonic() > due_s + FROZEN_S:
                waits_s = [LOOK_AGAIN_S]
                continue
            asked, before, seen = self._asked, seen, self._wanted
            is_asked = asked != self._served or seen != before
            is_due = not is_woken and not waits_s and self._spool.pending_bytes > 0
            if is_asked or is_due or self._has_others():
                with diagnostics.guard("shipping"):
                    from sumo_internal.shipping.retry_policy import (
                        Drained,  # as late as all else that only shipping needs
                    )

                    with self._draining:
                        drainer = self._own_drainer()
                        outcome = drainer.drain(_NEVER_S)
                        drainer.account(self._spool.counters, is_recorded=outcome is Drained.EMPTY)
                    self._is_hold_worthwhile = outcome is not Drained.KEPT
                    self._watch_backlog()
            if is_woken:
                is_beside = asked == self._served  # and not at the end of an invocation, which is held for it
                waits_s = [self._config.flush_max_age_s - LOOK_AGAIN_S, LOOK_AGAIN_S] if is_beside else []
            self._served = asked
            self._done.set()

    def drain_at_exit(self) -> None:
        """Ship what is left, within :data:`EXIT_MAX_S`: outside Lambda there is nobody to come after this process."""
        until_s = time.time() + EXIT_MAX_S
        with diagnostics.guard("shipping at exit"):
            if os.getpid() != self._pid:  # a forked child has the parent's drainer, and perhaps its lock, held for ever
                self._make_drainer(_drainer_counters(self._spool)).drain(until_s)
            elif self._draining.acquire(timeout=EXIT_MAX_S):  # for good: this is the last time
                self._own_drainer().drain(until_s)

    def _own_drainer(self) -> Drainer:
        self._drainer = self._drainer or self._make_drainer(self._counts)
        return self._drainer

    def _watch_backlog(self) -> None:
        """Be woken when another :data:`WAKE_BYTES` have come together, in this segment or from it into the next."""
        segments = list(self._spool.segments)
        if segments:
            self._spool.wake_offset = segments[-1].committed_offset + WAKE_BYTES


def _drainer_counters(spool: Spool) -> Counters:
    """The counts of this process's drainer, beside those of its writer; no file has them before they are kept."""
    return Counters(spool.folder, spool.writer + DRAINER)
