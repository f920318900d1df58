"""The shipping thread: drains the spool when it is asked to, and when lines have become old.

Separate from :mod:`sumo_internal.shipping.invocations`, which knows when an invocation has ended: outside Lambda there
is only this. The thread may be stuck in a name look-up or a dead connection for any time; no other thread waits for it
beyond a bound. The thread begins with the first line, or when the init phase is over. What shipping needs is imported
when there is something to ship for the first time, so that it is no part of the function's start.

The function's threads only ever set a :class:`Signal`, which takes no lock. The environment may freeze at any
instruction of the shipping thread, for any time: every wait of the thread is for an event or a time, and a socket that
did not survive is the source's business.

Between two drains the thread is in one of three states, each a wait with an end of its own (:func:`next_state`):

===============  =========================================  =======================================================
state            ends                                       and then it ships
===============  =========================================  =======================================================
AGEING           when what was written since is old         what there is
REPORT_COMING    LOOK_AGAIN_S after a drain beside an       what others have left: the extension has the REPORT of
                 invocation                                 the invocation before
THAWED           LOOK_AGAIN_S after a wait that was frozen  what there is, unless this was SHUTDOWN and the process
                                                            has been killed meanwhile
===============  =========================================  =======================================================

A wake-up of the thread ends any of them.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from sumo_internal import diagnostics, threads
from sumo_internal.shipping import flush_strategy
from sumo_internal.spool.counters import DRAINER, Counters
from sumo_internal.spool.writer import has_others
from sumo_internal.threads import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.config import Config
    from sumo_internal.shipping.drainer import Drainer
    from sumo_internal.shipping.invocation_check import Check
    from sumo_internal.shipping.retry_policy import Drained
    from sumo_internal.spool.writer import Spool

WAKE_BYTES = 2 << 20
"""Unsent bytes that start shipping in the middle of an invocation. Two batches: beside a handler that logs, a request
costs several times the CPU that it costs afterwards, and a 128 MB function can still ship this much at SHUTDOWN."""
LOOK_AGAIN_S = 0.1
"""Pause after shipping beside an invocation, until the extension has the REPORT of the invocation before."""
BEGIN_AGAIN_S = 0.1
"""After an attempt to start the shipping thread, no other attempt is made for this long."""
FROZEN_S = 0.5
"""A thread that wakes so late was frozen. If an invocation has thawed the environment, the invocation asks for the
lines. If SHUTDOWN has, this process is about to be killed, and a request begun now would be sent twice. So the thread
waits a little to see which it was."""
SNAPSHOT_MAX_S = 5.0
"""Before a snapshot (SnapStart): for how long the init is kept for its lines; they are those of all copies."""
_DISCONNECT_S = 0.25
"""Of that, for the last answer to be read and the connection to be closed."""
EXIT_MAX_S = 5.0
"""Outside Lambda: for how long a process that ends may be kept for the last lines."""
PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 1.0
"""Pause before a thread of ours goes on after a failure, doubled each time. It goes on for ever: an extension that is
registered and does not ask for events holds each invocation until its timeout, and without the shipping thread lines
wait for SHUTDOWN, whatever the function has done to us."""
_NEVER_S = float("inf")

AGEING, REPORT_COMING, THAWED = "ageing", "report coming", "thawed"


def next_state(*, is_woken: bool, is_late: bool, is_held: bool) -> str:
    """What the shipping thread waits for after a wait, and after the drain that it may have led to.

    Args:
        is_woken: A wake-up has ended the wait.
        is_late: The wait was over long before the thread could go on.
        is_held: An invocation is kept open until the drain is over.
    """
    if is_woken:
        return AGEING if is_held else REPORT_COMING
    return THAWED if is_late else AGEING


class Shipper:
    """Ships what this process, and others, leave in the spool."""

    def __init__(self, config: Config, spool: Spool, make_drainer: Callable[[Counters], Drainer]) -> None:
        """Make a shipper, which ships from the first line on.

        Args:
            config: For the age at which lines are shipped.
            spool: This process's own.
            make_drainer: Called on the shipping thread when there is something to ship for the first time, with
                the counters for what becomes of it.
        """
        self._config = config
        self._spool = spool
        self._spool.on_backlog = self._backlog
        self._spool.wake_offset = 0  # the first line
        self._counts = _drainer_counters(self._spool)
        self._make_drainer = make_drainer
        self._drainer: Drainer | None = None
        self._draining = allocate_lock()
        """The process has only this drainer, and one thread at a time has it."""
        self._pid = os.getpid()
        self._has_begun = allocate_lock()
        """The shipping thread takes it, for good."""
        self._begin_again_at_s = 0.0
        self._wake = Signal()
        self._is_asked = False
        """A drain is wanted that has not begun. Only the shipping thread takes it back, before it drains."""
        self._waiting: Signal | None = None
        """The signal for which :meth:`ship_until` waits, while it holds an invocation."""
        self._is_refused = False
        """The last drain has left lines in the spool, because the source did not take them."""
        self._patience = flush_strategy.Patience()
        self._is_news_beside = False
        """There was something to ship when the invocation began."""
        self._has_missed = False
        """An invocation was over before what was due could be shipped beside it."""
        self._emptied_at_s = time.time()
        """The wall clock, which goes on in a freeze, when the drain began that last has left nothing in the spool."""
        self._begun_check: Check | None = None
        self._check: Check | None = None
        """A checked invocation that is over: the next drain that begins tells of it."""
        self._drain_max_s = _NEVER_S
        """Bound on one drain."""
        self._stop_at_s = _NEVER_S
        """POSIX time from which on nothing is sent."""

    # Called by the runtime's thread before a snapshot is taken, and in each copy of it.

    def await_snapshot(self) -> None:
        """Processes will be copied when the init is over: no request made until then may take longer than that."""
        self._drain_max_s = SNAPSHOT_MAX_S

    def stop(self) -> None:
        """Ship everything within :data:`SNAPSHOT_MAX_S`, and keep nothing that a copy could not use.

        That is a connection, whose other end no copy has, and all that was learned: the address behind a secret,
        credentials, whether the source answers.
        """
        begun_s = time.time()
        self._stop_at_s = begun_s + SNAPSHOT_MAX_S - _DISCONNECT_S
        if self.has_news():
            self.begin()
            self._waiting = waiting = Signal()
            self.ship()
            waiting.wait(SNAPSHOT_MAX_S)
            self._waiting = None
        self._stop_at_s = 0.0
        if self._draining.acquire(timeout=max(0.0, min(SNAPSHOT_MAX_S, begun_s + SNAPSHOT_MAX_S - time.time()))):
            drainer, self._drainer = self._drainer, None
            self._draining.release()
            if drainer is not None:
                drainer.disconnect()

    def go_on(self, *, is_copy: bool) -> None:
        """Ship again; in a copy, as if nothing had been shipped yet. Its spool has its own name by now."""
        if is_copy:
            counts, self._counts = self._counts, _drainer_counters(self._spool)
            if not counts.is_kept:
                for reason, (lines, size_bytes) in counts.counts().items():
                    self._counts.add(reason, lines, size_bytes)
            self._drainer = None  # one that is still busy goes on to the end of its request
            self._is_refused = False
            self._patience = flush_strategy.Patience()
        self._spool.wake_offset = WAKE_BYTES if self._has_begun.locked() else 0
        self._stop_at_s = self._drain_max_s = _NEVER_S

    # Called by the function's threads. None of these waits.

    def ship(self) -> None:
        """Have the spool drained soon; returns at once."""
        self._is_asked = True
        self._wake.set()

    def _backlog(self) -> None:
        """There is the first line, or another :data:`WAKE_BYTES` of them."""
        if self._has_begun.locked():
            self._spool.wake_offset = WAKE_BYTES  # once: the shipping thread, which a forked child lacks, sets it anew
            self.ship()
        else:
            self.begin()

    def begin(self) -> None:
        """Start the thread, which ships when asked to and when lines have become old; a forked child leaves that to us.

        Where the thread cannot be started (no more processes, no memory) a later line tries again.
        """
        now_s = time.monotonic()
        if self._has_begun.locked() or now_s < self._begin_again_at_s:
            return  # first, because all lines come by until the thread runs, and this asks the system for nothing
        if os.getpid() != self._pid:
            self._spool.wake_offset = WAKE_BYTES
            return
        self._begin_again_at_s = now_s + BEGIN_AGAIN_S
        self._spool.wake_offset = 0  # until the thread is there: whatever is raised here, the next line comes by
        try:
            self._counts.keep()  # before the init is over: later the function may have filled the disk
            threads.start(self._keep_shipping)
        except RecursionError:
            self._begin_again_at_s = 0.0
            raise  # at the end of the function's stack: the line comes back
        except Exception as error:
            diagnostics.failed("beginning to ship", error)

    # Called by the thread that follows the invocations.

    def ship_until(self, until_s: float) -> bool:
        """Wait until everything is shipped, at most until then (POSIX time); False when it is not."""
        self._waiting = waiting = Signal()
        self.ship()
        # Never longer, should the clock be set back meanwhile.
        is_over = waiting.wait(min(flush_strategy.HOLD_MAX_S, until_s - time.time()))
        self._waiting = None
        if not is_over:
            self._patience = self._patience.after_slow_hold()
            diagnostics.say_once(
                "warn",
                "Sumo Logic is slow: few invocations have a post-response time any more until it responds in time",
            )
        return is_over

    def begin_check(self, request_id: str) -> None:
        """A checked invocation begins: see :mod:`sumo_internal.shipping.invocation_check`."""
        from sumo_internal.shipping.invocation_check import Check

        self._begun_check = Check(request_id, self._spool.appended, self._counts.counts())

    def end_check(self, until_s: float) -> None:
        """The checked invocation is over: ship its lines, at most until then (POSIX time), and say what became of
        them."""
        self._check, self._begun_check = self._begun_check, None
        self.ship_until(until_s)

    def is_worth_waiting(self) -> bool:
        """Would a hold bring anything, as far as is known?"""
        return not self._is_refused and not self._patience.unheld_left

    def begin_beside(self) -> float:
        """An invocation begins that is not held: seconds after which to ship beside it, if it lasts."""
        self._is_news_beside = self._has_own_news()
        waiting_s = time.time() - self._emptied_at_s
        return flush_strategy.pause_beside_s(waiting_s, self._config.flush_max_age_s, has_missed=self._has_missed)

    def ship_beside(self) -> None:
        """The invocation lasts: have shipped what waited when it began.

        What only this invocation logs is not asked for: the freeze would catch it on its way. Where nothing waited, the
        REPORT of the invocation before may be there by now.
        """
        if self._is_news_beside:
            self.ship()
        else:
            self._wake.set()

    def miss_beside(self, pause_s: float) -> None:
        """The invocation was over before so many seconds: what waits is shipped beside another one."""
        self._has_missed |= pause_s == flush_strategy.BESIDE_DUE_S

    def count_unheld(self) -> None:
        """An invocation is not held."""
        self._patience = self._patience.after_unheld_invocation()

    def has_others(self) -> bool:
        """Has another writer lines in the spool's folder?"""
        return has_others(self._spool) if self._drainer is None else self._drainer.has_others()

    def has_news(self) -> bool:
        """Is there anything to ship, or to tell: lines of ours or of others, or lines that have been lost?"""
        return self._has_own_news() or self.has_others()

    def _has_own_news(self) -> bool:
        return bool(self._spool.pending_bytes or self._spool.counters.counts())

    # The shipping thread.

    def _keep_shipping(self) -> None:
        if not self._has_begun.acquire(blocking=False):
            return  # there is another one
        failures = 0
        while True:
            try:
                self._look_after_spool()
            except BaseException as error:  # the function may raise anything in any thread (PyThreadState_SetAsyncExc)
                if diagnostics.IS_STRICT and isinstance(error, Exception):
                    raise
                failures += 1
                pause_after("shipping", error, failures)
                self._wake.set()  # what was to be shipped is looked at once more

    def _look_after_spool(self) -> None:
        """Ship for ever."""
        self._spool.wake_offset = WAKE_BYTES
        with diagnostics.guard("looking after the spool"):
            self._spool.check_folder()
        state = AGEING
        old_at_s = time.monotonic() + self._config.flush_max_age_s
        while True:
            over_at_s = old_at_s if state is AGEING else time.monotonic() + LOOK_AGAIN_S
            is_woken = self._wake.wait(over_at_s - time.monotonic())
            is_late = not is_woken and time.monotonic() > over_at_s + FROZEN_S
            waiting = self._waiting
            if not is_late:
                with diagnostics.guard("shipping"):
                    self._ship(is_everything_due=not is_woken and state is not REPORT_COMING)
                if is_woken or state is not REPORT_COMING:
                    old_at_s = time.monotonic() + self._config.flush_max_age_s
            state = next_state(is_woken=is_woken, is_late=is_late, is_held=waiting is not None)
            if waiting is not None:
                waiting.set()

    def _ship(self, *, is_everything_due: bool) -> None:
        """Drain if a thread has asked for it, if lines have become old, or if others have left something."""
        self._spool.protect()  # before a request that may take long
        is_due = is_everything_due and self._spool.pending_bytes > 0
        begun_s = time.time()  # the wall clock, which goes on in a freeze: so long the lines were on their way
        is_stopped = self._stop_at_s <= begun_s
        if is_stopped or not (self._is_asked or is_due or self.has_others()):
            self._emptied_at_s = begun_s if not self._spool.pending_bytes else self._emptied_at_s
            return
        self._is_asked = self._has_missed = False
        check, self._check = self._check, None  # one that is over by now: this drain has its lines
        with self._draining:
            if self._stop_at_s <= time.time():
                return
            drainer = self._own_drainer()
            outcome = self._drain(drainer, begun_s)
            if check is not None:
                self._tell_check(check, drainer, outcome)
        self._watch_backlog()

    def _drain(self, drainer: Drainer, begun_s: float) -> Drained:
        """Drain, and note what that tells of the source; the caller has the drainer."""
        from sumo_internal.shipping.retry_policy import Drained  # as late as all else that only shipping needs

        outcome = drainer.drain(min(self._stop_at_s, begun_s + self._drain_max_s))
        is_empty = outcome is Drained.EMPTY
        self._is_refused = outcome is Drained.KEPT
        if is_empty:
            self._emptied_at_s = begun_s
            if drainer.has_delivered:
                self._patience = self._patience.after_delivery(time.time() - begun_s)
        drainer.account(self._spool.counters, is_recorded=is_empty)
        return outcome

    def _tell_check(self, check: Check, drainer: Drainer, outcome: Drained) -> None:
        """Say what became of a checked invocation's lines; where another drainer is at work, a later drain tells."""
        from sumo_internal.shipping.retry_policy import Drained

        if outcome is Drained.ELSEWHERE:
            self._check = check
            return
        is_empty = outcome is Drained.EMPTY
        verdict = check.verdict(self._spool.appended, self._counts.counts(), drainer.problem, is_empty=is_empty)
        diagnostics.say("info", verdict)

    def drain_at_exit(self) -> None:
        """Ship what is left, within :data:`EXIT_MAX_S`: outside Lambda no process comes after this one."""
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


def pause_after(place: str, error: BaseException, failures: int) -> None:
    """Say what was raised in a thread of ours, and wait before the thread goes on.

    Args:
        place: As for :func:`~sumo_internal.diagnostics.failed`.
        error: What was raised.
        failures: So many in a row, this one included.
    """
    try:
        diagnostics.failed(place, error)
    except BaseException:
        pass  # the failure may lie in saying so
    try:  # not time.sleep, which the function may have replaced
        Signal().wait(min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(failures - 1, 10)))
    except BaseException:
        pass  # the function has raised the next one already


def _drainer_counters(spool: Spool) -> Counters:
    """The counts of this process's drainer, beside those of its writer; no file has them before they are kept."""
    return spool.make_counters(spool.writer + DRAINER)
