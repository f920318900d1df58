"""The life-cycle thread: follows the invocations, and keeps them open while their lines are shipped.

Separate from :mod:`sumo_internal.shipping.shipper`, which ships; this module only asks it to. The two threads together
are the *sidecar*: an internal extension, registered with Lambda, inside the runtime process.

This thread waits only for its own Next and for a bounded hold. Whatever is raised in it, it asks for the next event.
Lambda freezes the environment when the runtime and every registered extension have asked for their next event: by
asking late, after the response has gone back to the caller, this thread buys the time to ship. Where it does so, it
also reads its own event, which has the deadline, only after the response: nothing of ours runs during such an
invocation. Nor does anything during a short one that is not held: this thread leaves its event where it is until the
invocation is over, or has lasted for so long that lines may be shipped beside it. The sidecar is registered for INVOKE
while the function's module is imported, and only where the runtime tells of invocations: otherwise it would hold each
one until its deadline.
"""

from __future__ import annotations

import os
import time

from sumo_internal import diagnostics, threads
from sumo_internal.capture.children import follow_replacement
from sumo_internal.capture.runtime_client import enter_invocation
from sumo_internal.lambda_apis.extensions_api import REGISTER_TIMEOUT_S, ApiRefusedError, deadline_in
from sumo_internal.net.http1 import BadAnswerError
from sumo_internal.shipping import flush_strategy
from sumo_internal.shipping.shipper import pause_after
from sumo_internal.spool import handoff
from sumo_internal.threads import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from sumo_internal.capture.recorder import Recorder
    from sumo_internal.config import Config
    from sumo_internal.lambda_apis.extensions_api import Event, ExtensionsApi
    from sumo_internal.shipping.shipper import Shipper

CHECK_MARK = "sumo-internal-check"
"""In the client context of an invocation whose lines' fate is to be said (invocation_check.py)."""
NAME = "sumo-internal-sidecar"
"""The internal extension's name; no file in /opt/extensions may have it."""
SAME_DEADLINE_S = 0.5
"""Lambda tries an asynchronous event that has failed again under the same id, a second later at the earliest. Its
deadline then is later than that of the invocation that is over, by more than this."""
_TELL_AGAIN_S, _TELL_AGAIN_MAX_S = 0.02, 1.0
"""The extension, which starts beside this process, may not listen yet: so long until it is told once more, twice as
long each time."""
LIFELINE_MAX_S = 1.0
"""For how long a program that is to take this process's place waits until the extension knows who is registered; once.
The extension starts beside this process, and Lambda answers in a millisecond or two."""


class Invocations:
    """Tells the recorder of each invocation, and has the lines shipped that the invocation leaves."""

    def __init__(self, config: Config, recorder: Recorder, shipper: Shipper) -> None:
        """Follow invocations; with :meth:`register`, hold them too.

        Args:
            config: For the flush strategy.
            recorder: Told of invocations; its spool is shipped.
            shipper: Ships it.
        """
        self._flush = config.flush
        self._recorder = recorder
        self._spool = recorder.spool
        self._shipper = shipper
        self._api: ExtensionsApi | None = None
        self._keeper = self._identifier = ""
        self._registration: socket | None = None
        self._asked, self._answered, self._registered, self._told = Signal(), Signal(), Signal(), Signal()
        self._process = os.getpid()
        self._is_told = False
        """Was it waited for that the extension knows who is registered?"""
        self._forget_replacement: Callable[[], None] | None = None
        self._is_init_over = False
        self._is_answer_taken = self._is_settled = False
        """The registration's answer was waited for; it is known whether there is a registration."""
        self._running_id: str | None = None
        self._ended_id: str | None = None
        self._ended_deadline_s = 0.0
        self._followed_id = ""
        """Of the event before the one that the life-cycle thread asks for."""
        self._ended_at_s = 0.0
        self._deadline_s = self._told_deadline_s = 0.0
        self._ended = Signal()
        self._gaps_s: list[float] = []
        self._is_quiet = False
        """The last invocation that was held had no lines."""
        self._is_checked = False
        """`sumo-internal check` has made this invocation."""

    # The runtime's thread calls these. They block in three cases only: the first call waits for the registration, and
    # an invocation may be held where lines are in this process's memory alone, or where it is a checked one.

    def ended(self) -> None:
        """The runtime asks for its next event: the invocation (or the init phase) is over."""
        if self._running_id is None:
            self._leave_init()
            return
        try:
            self._recorder.leave_invocation()
            self._spool.check_folder()
            if self._is_checked:
                self._shipper.end_check(flush_strategy.hold_until_s(time.time(), self._deadline_s))
        finally:  # whatever is raised there, the life-cycle thread must not wait for ever
            self._ended_deadline_s = self._told_deadline_s
            self._ended_id, self._running_id = self._running_id, None
            self._ended_at_s = time.time()
            self._ended.set()
        if not self._spool.is_unprotected:
            return
        self._spool.say_unprotected()
        if self._shipper.is_worth_waiting() and not self._is_held():
            # Not even the extension has these lines. This invocation is held here: it began without them.
            self._shipper.ship_until(flush_strategy.hold_until_s(time.time(), self._deadline_s))

    def _leave_init(self) -> None:
        if self._is_init_over:
            return  # a snapshot was taken behind it, and this is a copy
        self._is_init_over = True
        # The extension is up by now. Before another thread of ours runs: it would have the turn while a line comes.
        with diagnostics.guard("giving the extension the lines of the init"):
            self._spool.protect()
        if self._registration is not None:
            self._finish_registering(self._registration)
        self._recorder.leave_init()
        handoff.tell_late()
        self._spool.hold_left()

    def before_snapshot(self) -> None:
        """The init is over, and a snapshot of this process is about to be taken (SnapStart): leave nothing open.

        Lambda waits for our first Next before it takes the snapshot.
        """
        try:
            with diagnostics.guard("leaving the init"):
                self._leave_init()
            self._recorder.pause()
            self._spool.check_folder()
            self._shipper.stop()
        finally:
            self._spool.stop()

    def after_restore(self, *, is_copy: bool) -> None:
        """The process goes on, as one of many copies, whose spool and recorder have begun again by now."""
        if is_copy:
            self._gaps_s = []
            self._ended_at_s = 0.0
            self._is_quiet = False
        self._shipper.go_on(is_copy=is_copy)

    def began(self, request: Any) -> None:
        """The runtime has an event: an invocation begins."""
        if self._ended_at_s:
            self._gaps_s = [*self._gaps_s[1 - flush_strategy.HISTORY_LENGTH :], time.time() - self._ended_at_s]
        else:
            handoff.tell_late()  # by now the extension is up, which it need not have been when the runtime was ready
        self._running_id = request.invoke_id
        enter_invocation(self._recorder, request)  # before anything that may raise: no line is another invocation's
        self._spool.protect()  # by now the extension is up, which it need not have been during the init
        self._is_checked = CHECK_MARK in (getattr(request, "client_context", None) or "")
        if self._is_checked:
            self._shipper.begin_check(request.invoke_id)
        deadline_ms = getattr(request, "deadline_time_in_ms", None)
        self._told_deadline_s = float(deadline_ms or "inf") / 1000
        self._deadline_s = self._told_deadline_s if deadline_ms else time.time() + 3

    def begin(self) -> None:
        """Ship without any invocation: no runtime client will tell of one."""
        self._shipper.begin()

    def register(self, api: ExtensionsApi, keeper: str = "") -> None:
        """Register as an internal extension; the answer is looked at when the runtime first asks for an event.

        So hardly anything runs beside the function's imports, which that would slow down. The thread is started now all
        the same, because starting it may fail: an extension that is registered and does not ask for events keeps the
        init phase open. So does one whose answer is on a connection that the function has closed: the thread takes the
        answer off it as soon as it is there. Where the function puts another program in the place of its process, the
        thread is gone; so the thread tells the extension, which then asks for events.

        Args:
            api: Asks for events.
            keeper: As :func:`sumo_internal.config.keeper_address` has it; empty where there is no extension to tell.
        """
        self._keeper = keeper
        threads.start(self._live, api)
        if keeper:
            self._forget_replacement = follow_replacement(self._before_replacement)
        self._api = api
        try:
            self._registration = api.ask_to_register(NAME, ["INVOKE"])
        except OSError as error:
            self._do_without(error)
        self._asked.set()

    def _before_replacement(self) -> None:
        """Wait until the extension knows who is registered: this thread may be gone in a moment, and all others."""
        if self._registration is None or os.getpid() != self._process:
            return
        if not self._is_told:
            self._is_told = True
            self._told.wait(LIFELINE_MAX_S)
        handoff.tell_replacement()

    def _finish_registering(self, connection: socket) -> None:
        self._answered.wait(REGISTER_TIMEOUT_S)
        self._registration = None
        assert self._api is not None, "there is a connection because of it"
        try:
            self._api.registered(connection)
        except (ApiRefusedError, OSError) as error:
            self._do_without(error)
        else:
            self._settle()

    def _settle(self) -> None:
        self._is_settled = True  # first: the thread looks at this if the function has raised something in its wait
        self._registered.set()
        if self._forget_replacement is not None:
            self._forget_replacement()

    def _do_without(self, error: Exception) -> None:
        self._api = None
        self._settle()
        diagnostics.say(
            "warn",
            f"Lambda does not register the background thread ({error}); lines are shipped during invocations and at "
            "SHUTDOWN",
        )

    # The life-cycle thread.

    def _live(self, api: ExtensionsApi) -> None:
        while self._api is not None or not self._is_settled:
            try:
                self._ask_for_events(api)
            except BaseException:
                pass  # the function may raise anything in any thread, as often as it likes: go on where this was

    def _ask_for_events(self, api: ExtensionsApi) -> None:
        self._await_registration(api)
        failures = 0
        while self._api is not None:
            try:
                self._shipper.begin()
                event = self._next(api)
                failures = 0
                self._follow(event)
                self._followed_id = event.request_id
            except BaseException as error:  # an audit hook of the function's may raise anything in here
                failures += 1
                pause_after("following an invocation", error, failures)

    def _await_registration(self, api: ExtensionsApi) -> None:
        if self._registration is None and not self._is_settled:
            self._asked.wait()
        registration = self._registration
        if registration is not None and not self._is_answer_taken:
            try:
                self._identifier = api.await_registration(registration)
            except (OSError, BadAnswerError):
                pass  # who reads the answer says it
            finally:
                self._is_answer_taken = True
                self._answered.set()
        pause_s = _TELL_AGAIN_S
        while not self._is_settled:
            is_told = handoff.hold_lifeline(self._keeper, self._identifier)
            if is_told:
                self._told.set()
            self._registered.wait(None if is_told else pause_s)
            pause_s = min(2 * pause_s, _TELL_AGAIN_MAX_S)
        handoff.release_lifeline()  # the init is over, and with it the time in which a process may become another

    def _next(self, api: ExtensionsApi) -> Event:
        connection = api.ask()
        # The REPORT of a silent invocation leaves beside the next one: a silent function is not held for it.
        is_over = (self._is_quiet or not self._is_held()) and self._stand_aside(api, connection)
        if self._is_held() and not is_over:
            self._ended.wait()  # reading the event any earlier would only disturb the handler
        return api.receive(connection)

    def _stand_aside(self, api: ExtensionsApi, connection: socket) -> bool:
        """Leave an invocation's beginning to the handler; have shipped what waits if the invocation lasts.

        Returns whether the invocation is over. Nothing of ours has run beside it then.
        """
        answer = api.peek(connection)
        pause_s = self._shipper.begin_beside()
        until_s = time.monotonic() + pause_s
        has_heard = False
        while not self._is_over_in(answer):
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                if has_heard:  # if that was this invocation's end, of which not all of the event tells yet
                    self._ended.set()
                self._shipper.ship_beside()
                return False
            if self._ended.wait(left_s):  # perhaps by the end of the invocation before
                has_heard = True
                answer = api.peek(connection)
        self._shipper.miss_beside(pause_s)
        return True

    def _is_over_in(self, answer: bytes) -> bool:
        """Is the invocation over whose event begins like this?"""
        ended_id = self._ended_id
        return bool(ended_id and ended_id.encode() in answer and self._has_ended(ended_id, deadline_in(answer)))

    def _has_ended(self, request_id: str, deadline_s: float) -> bool:
        """Is this invocation over? Where the one before has the same id, the deadline tells which of them is."""
        is_later = deadline_s > self._ended_deadline_s + SAME_DEADLINE_S
        return request_id == self._ended_id and not (is_later and request_id == self._followed_id)

    def _follow(self, event: Event) -> None:
        """Ship what there is, now or when the invocation has ended; return when the environment may freeze."""
        if not self._is_held():
            self._shipper.count_unheld()
            return
        while not self._has_ended(event.request_id, event.deadline_s):
            if not self._ended.wait(event.deadline_s - time.time()):
                return
        self._is_quiet = not self._spool.pending_bytes
        if not self._is_quiet or self._shipper.has_others():
            self._shipper.ship_until(flush_strategy.hold_until_s(time.time(), event.deadline_s))

    def _is_held(self) -> bool:
        return self._shipper.is_worth_waiting() and flush_strategy.is_held(self._flush, self._gaps_s)
