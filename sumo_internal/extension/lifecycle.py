"""The external extension's door: put Lambda's own events into the spool, and at SHUTDOWN ship what is left.

The script in /opt/extensions has registered already (that is what every cold start waits for) and hands over the
identifier; what is loaded here loads beside the runtime's own init. There is no shutdown code in the runtime process:
however it ended, its spools are here, and its locks are free.

One thread polls the request for the next event and the deliveries of the Telemetry API, and waits for nothing else;
another thread ships (:mod:`sumo_internal.extension.extension_shipper`). Which process ships the events of deliveries:

* Where the function is heard in its own process, the sidecar there ships the extension's spool with its own; the
  extension sends at SHUTDOWN only, and costs an invocation nothing.
* Where it is not (no wrapper, SUMO_FUNCTION_LOGS=telemetry, no ``function`` in SUMO_LOG_TYPES), the extension ships
  each delivery when it has come. With SUMO_FLUSH=end the script has registered for INVOKE too, and the invocation is
  held until its lines are out.
* On Managed Instances the extension ships all that the workers write (:mod:`sumo_internal.extension.workers`).
"""

from __future__ import annotations

import gc
import os
import select
import time

from sumo_internal import config as configuration
from sumo_internal import diagnostics
from sumo_internal.extension import stand_in
from sumo_internal.extension.extension_shipper import AT_SHUTDOWN, BESIDE, LAST, ExtensionShipper
from sumo_internal.extension.hearing import NEVER_S, observe
from sumo_internal.extension.keeper import Keeper
from sumo_internal.extension.platform_log import PlatformLog
from sumo_internal.extension.subscription import Subscription
from sumo_internal.lambda_apis.extensions_api import Event, ExtensionsApi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sumo_internal.extension.workers import Workers

EXIT_MARGIN_S = 0.1
"""Left before the deadline at which Lambda kills: for the last answer to be read and the process to end."""
REPORT_WAIT_S = 0.5
"""At SHUTDOWN the last REPORT is still on its way; it is waited for no longer than this."""
NEWS_WAIT_S = 0.1
"""Where no REPORT is known to be on its way, the wait at the environment's end is this long: Lambda has kept the events
of an invocation that was over in less than TELEMETRY_TIMEOUT_MS, its start included, through the freeze."""
SHIP_RESERVE_S = 0.6
"""Neither is waited for at the price of the time that shipping takes."""
SAY_RESERVE_S = 0.4
"""So long before the end the extension counts and says what is still to be delivered, even while a request is waiting:
at the CPU share of 128 MB there is time for no more afterwards."""
WRITE_RESERVE_S = 0.4
"""So long before the end the extension writes to CloudWatch what is still to be delivered and is not there
(SUMO_CLOUDWATCH), even while a request is waiting."""
BESIDE_MAX_S = 1.5
"""For shipping one delivery beside the function: SHUTDOWN may come meanwhile, and leaves 2 s for all."""
STUCK_S = 0.7
"""At SHUTDOWN a request that was begun before is given up when it has had no answer for this long."""
LEAVE_MAX_S = 0.1
"""Then the thread has as long to end it; one that looks a name up stays in that."""
SETTLE_MAX_S = 0.3
"""How long the note of the function's process is waited for, where the wrapper should bring one. Without a note Lambda
is then asked for the function's lines, and it takes such a request during the init only. A 128 MB function starts a
Python in 0.3 s."""


def main(address: str, identifier: str, asked: int | None = None) -> None:
    """Live as the extension until SHUTDOWN.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
        identifier: What the registration answered.
        asked: Descriptor of a connection on which the script has asked for a subscription, with the port of
            :func:`~sumo_internal.lambda_apis.telemetry_api.wanted_port`.

    Raises:
        Exception: Whatever went wrong; the caller falls back to an idle loop, because an extension that exits before
            SHUTDOWN fails the function.
    """
    config, problems = configuration.read(os.environ)
    diagnostics.set_level(config.log_level)
    for remark in configuration.remarks(os.environ):
        diagnostics.say("info", remark)
    if "AWS_LAMBDA_EXEC_WRAPPER" not in os.environ:  # the wrapper's process says the same
        for problem in problems:
            diagnostics.say("warn", problem)
        if not config.endpoint:
            diagnostics.say("error", "SUMO_HTTP_ENDPOINT is not set; no lines are shipped")
    secret = os.environ.pop("SUMO_EXTENSION_SECRET", "") or os.urandom(16).hex()
    extension = Extension(config, ExtensionsApi(address, identifier), address, identifier, secret)
    if config.endpoint:
        extension.listen(asked)
    gc.freeze()  # none of what the start has made is garbage; the script has switched collections off
    gc.enable()
    event = extension.live()
    if config.endpoint:
        with diagnostics.guard("shipping at SHUTDOWN"):
            extension.end(event)


class Extension:
    """The extension's life, and what it has: a subscription, a platform log and a shipper."""

    def __init__(
        self, config: configuration.Config, api: ExtensionsApi, address: str, identifier: str, secret: str
    ) -> None:
        self._config = config
        self._api = api
        self._address = address
        self._hearing = observe(config, address)
        self._platform_log = PlatformLog(config, self._hearing)
        self._subscription = Subscription(config, address, identifier, secret, self._platform_log.take)
        self._keeper = _keeper()
        self._shipper = ExtensionShipper(config, self._platform_log, self._keeper)
        self._workers: Workers | None = None
        if config.endpoint and configuration.mode(os.environ) == configuration.MANAGED:
            from sumo_internal.extension.workers import Workers

            self._workers = Workers(address, config.flush_max_age_s)

    def listen(self, asked: int | None) -> None:
        """Subscribe to what is wanted of the Telemetry API, and settle which process hears the function.

        Where the wrapper's process should hear it, that process's note decides, within the init: the function's lines
        are asked for only if there is no note. Otherwise the lines are asked for at once, and wait for the end of the
        init in case a handler of the function's own leaves a note.
        """
        types = set(self._config.log_types)
        if self._hearing.is_in_process:
            types.discard("function")
        elif "function" in types:
            types.add("platform")  # tells which invocation has which lines
        if types and self._platform_log.is_before_snapshot:
            types.add("platform")  # tells when a copy begins
        if types:
            self._subscription.ask(types, asked, is_held=self._is_held and not self._platform_log.has_sidecar)
        if self._hearing.is_open and self._hearing.is_in_process:
            with diagnostics.guard("waiting for the function's process"):
                self._settle(types)
        if self._subscription.is_open:
            with diagnostics.guard("preparing for a snapshot"):
                self._platform_log.draw_spool()

    def _settle(self, types: set[str]) -> None:
        """Wait for the note of the function's process; without one, have the function's lines from Lambda."""
        self._hearing.look()
        until_s = time.time() + SETTLE_MAX_S
        while not self._hearing.is_known and not self._platform_log.is_runtime_ready and time.time() < until_s:
            self._serve(until_s)
        self._hearing.decide()
        if not self._hearing.is_in_process and "function" not in self._subscription.types:  # as for another program
            self._ask_for_function(types)

    def _ask_for_function(self, types: set[str]) -> None:
        self._subscription.ask({*types, "function", "platform"}, is_held=self._is_held)
        self._platform_log.subscribed(self._subscription.number)

    def _begin_again(self, gone: list[tuple[str, float]]) -> None:
        """Another program has taken the place of the function's process: have its lines from Lambda, which takes such a
        request until the init is over, and let the init end only then. That program's note may still change it.

        Args:
            gone: See :func:`stand_in.ended`.
        """
        try:
            self._hearing.begin_again(max(at_s for _, at_s in gone))
            if not self._hearing.is_in_process:
                self._ask_for_function(set(self._config.log_types))
        finally:
            for identifier, _ in gone:
                stand_in.ask_for_events(self._address, identifier)

    @property
    def _is_held(self) -> bool:
        """Are invocations held until their lines are out, where no sidecar holds them?"""
        return self._config.flush == "end" and self._workers is None

    def _look(self) -> None:
        """See whether the function's process has left its note, and ask for its lines no more if it has."""
        self._platform_log.look()
        is_told_twice = self._hearing.is_in_process and "function" in self._subscription.types
        if is_told_twice and not self._platform_log.is_init_over:
            types = set(self._config.log_types) - {"function"}
            self._subscription.ask_for_less(types or {"platform"})
            self._platform_log.subscribed(self._subscription.number)

    def live(self) -> Event:
        """Follow the events until SHUTDOWN, which is returned."""
        while True:
            request = self._api.ask()
            while not self._serve(self._wakes_at_s(), request):
                pass
            event = self._api.receive(request)
            if event.kind == "SHUTDOWN":
                return event
            with diagnostics.guard("keeping the environment awake"):
                self._hold(event)

    def _wakes_at_s(self) -> float | None:
        """POSIX time at which something is due, whether anything comes or not; None for never."""
        times_s = (self._platform_log.waits_until_s, self._workers.due_at_s if self._workers else None)
        return min((each_s for each_s in times_s if each_s is not None), default=None)

    def end(self, event: Event) -> None:
        """Ship every spool that is left, and the events that still come, inside the window."""
        self._platform_log.is_ending = True
        self._platform_log.is_timed_out = event.reason == "timeout"
        self._platform_log.let_out()
        if self._keeper is not None:
            self._keeper.take_all()
        end_s = event.deadline_s - EXIT_MARGIN_S
        is_spared = self._config.cloudwatch != "all"
        until_s = end_s - WRITE_RESERVE_S if is_spared else end_s
        is_said = self._ship_all(event, until_s, is_last=event.reason == "spindown" and not is_spared)
        lines, size_bytes = self._shipper.left()
        if is_spared:
            with diagnostics.guard("writing lines to CloudWatch"):
                lines -= self._write_left(end_s)
        if is_said and not lines:
            diagnostics.say("warn", "the lines that were said to be lost are delivered after all")
        elif lines and event.reason == "spindown" and not is_said:
            _say_lost(lines, size_bytes, f"{self._shipper.outcome} at SHUTDOWN")
        if event.reason != "spindown" and self._keeper is not None:
            with diagnostics.guard("saving lines that are in memory"):
                lines, size_bytes = self._keeper.save(self._config.spool_dir)
                if lines:
                    _say_lost(lines, size_bytes, "they were in memory, and there is no room for files")
        diagnostics.say(
            "debug", f"SHUTDOWN ({event.reason}): {self._shipper.outcome}, {event.deadline_s - time.time():.3f} s left"
        )

    def _ship_all(self, event: Event, until_s: float, *, is_last: bool) -> bool:
        """Ship what there is, and then what Lambda still tells and what was held back.

        Args:
            event: SHUTDOWN.
            until_s: POSIX time.
            is_last: No process comes after this one, and nothing is written to CloudWatch instead.

        Returns:
            Whether it was said that lines are lost.
        """
        is_timeout, last_id = event.reason == "timeout", None
        if is_timeout:
            with diagnostics.guard("reading the function's last line"):
                last_id = self._platform_log.last_request_id()
        self._receive(0.0, until_s - SHIP_RESERVE_S)
        is_said = self._ship(AT_SHUTDOWN, until_s, is_last=is_last)
        self._receive(REPORT_WAIT_S, until_s - SHIP_RESERVE_S, NEWS_WAIT_S if event.reason == "spindown" else 0.0)
        with diagnostics.guard("releasing lines that are held back"):
            if is_timeout:
                self._platform_log.tell_timeout(last_id)
            self._platform_log.end(is_success=event.reason == "spindown")
        return self._ship(LAST, until_s, is_last=is_last and not is_said) or is_said

    def _write_left(self, until_s: float) -> int:
        """Write lines to CloudWatch that no destination has taken; returns how many of the spool's were written."""
        from sumo_internal.extension import last_words

        written, of_spool = last_words.write(self._shipper.reader(), until_s)
        if written:
            diagnostics.say("warn", f"{written} lines that no destination accepts are written here")
        return of_spool

    # Deliveries.

    def _serve(self, until_s: float | None, request: socket | None = None) -> bool:
        """Wait for deliveries, take what there is, and ship it where that is ours to do.

        Args:
            until_s: POSIX time at which to stop waiting; None waits for ever.
            request: A request for the next event.

        Returns:
            Whether the request has an answer; without a request, whether anything came.
        """
        incoming, notes, kept = self._subscription.descriptors(), self._hearing.descriptors(), self._kept_descriptors()
        lifelines = [] if self._keeper is None else stand_in.descriptors(self._keeper)
        bell = [] if self._workers is None else [self._workers.descriptor]
        answer = [] if request is None else [request.fileno()]
        ready = _await([self._shipper.descriptor, *incoming, *notes, *kept, *lifelines, *bell, *answer], until_s)
        deliveries = sorted(ready.intersection(incoming))
        if self._shipper.descriptor in ready:
            self._shipper.hear()
        if self._keeper is not None and not ready.isdisjoint(kept):
            with diagnostics.guard("keeping lines that are in memory"):
                self._keeper.look()
        for descriptor in deliveries:
            with diagnostics.guard("receiving telemetry"):
                self._subscription.ready(descriptor)
        if deliveries or not ready or not ready.isdisjoint(notes):
            with diagnostics.guard("looking for the function's note"):
                self._look()
        if self._keeper is not None and not ready.isdisjoint(lifelines):
            with diagnostics.guard("looking for the function's background thread"):
                if gone := stand_in.ended(self._keeper):
                    self._begin_again(gone)
        if request is None:
            return bool(ready)
        if self._workers is not None:
            self._ship_for(self._workers, is_due=bool(deliveries) or not ready.isdisjoint(bell))
        elif deliveries and self._has_lines_to_ship:
            self._shipper.ask(BESIDE, time.time() + BESIDE_MAX_S)
        return not ready.isdisjoint(answer)

    def _kept_descriptors(self) -> list[int]:
        """What has something to read when a segment was sent to be kept; nothing while no more of them are taken."""
        if self._keeper is not None and self._keeper.is_full:
            self._keeper.look()
        return [] if self._keeper is None else self._keeper.descriptors()

    @property
    def _has_lines_to_ship(self) -> bool:
        """Are there lines of our own that no sidecar ships?"""
        spool = self._platform_log.spool
        return spool is not None and spool.pending_bytes > 0 and not self._platform_log.has_sidecar

    def _ship_for(self, workers: Workers, *, is_due: bool) -> None:
        """Have everything shipped that the workers have written: for as long as it takes, since nothing freezes."""
        workers.hear()
        if is_due or workers.is_due():
            self._shipper.ask(BESIDE, NEVER_S)
            workers.shipped()

    def _receive(self, wait_s: float, until_s: float, news_wait_s: float = 0.0) -> None:
        """Take the deliveries that are here, and wait for others.

        Args:
            wait_s: So long for those that must still come.
            until_s: POSIX time at which to stop, at the latest.
            news_wait_s: So long where nothing is known of any.
        """
        now_s = time.time()
        wait_until_s, news_until_s = min(now_s + wait_s, until_s), min(now_s + news_wait_s, until_s)
        while self._subscription.is_open and self._serve(
            wait_until_s if self._platform_log.is_expecting else news_until_s
        ):
            if time.time() >= until_s:
                break

    # Shipping.

    def _hold(self, event: Event) -> None:
        """Keep an invocation open until its lines are out: SUMO_FLUSH=end where there is no sidecar to do it."""
        from sumo_internal.shipping import flush_strategy

        if self._platform_log.has_sidecar or not self._is_held or not self._subscription.is_open:
            return
        until_s = event.deadline_s - flush_strategy.DEADLINE_MARGIN_S
        while (
            not self._platform_log.has_ended(event.request_id)
            and time.time() < until_s
            and not self._platform_log.has_sidecar
        ):
            self._serve(until_s)
        if self._has_lines_to_ship:
            hold_until_s = flush_strategy.hold_until_s(time.time(), event.deadline_s)
            self._ship(BESIDE, min(hold_until_s, time.time() + BESIDE_MAX_S))

    def _ship(self, kind: str, until_s: float, *, is_last: bool = False) -> bool:
        """Have the spool drained, and take deliveries until that is done, or there is no time left.

        Args:
            kind: As :meth:`ExtensionShipper.ask` has it.
            until_s: POSIX time.
            is_last: Nothing comes after this drain: what is not delivered is said while there is still time for it.

        Returns:
            Whether it was said.
        """
        if kind == BESIDE:
            self._serve_while_busy(until_s - SHIP_RESERVE_S)
        else:
            self._take_over(until_s)
        self._shipper.ask(kind, until_s)
        self._serve_while_busy(until_s - SAY_RESERVE_S if is_last else until_s)
        is_said = False
        if is_last and self._shipper.is_busy:
            lines, size_bytes = self._shipper.left()
            is_said = lines > 0
            if is_said:
                _say_lost(lines, size_bytes, "no response yet at SHUTDOWN")
        self._serve_while_busy(until_s)
        return is_said

    def _serve_while_busy(self, until_s: float) -> None:
        """Take deliveries until the drain is done that is under way, or until then (POSIX time)."""
        while self._shipper.is_busy and time.time() < until_s:
            self._serve(until_s)

    def _take_over(self, until_s: float) -> None:
        """Wait for a drain that was begun before the environment's end; leave a thread alone that is stuck in one."""
        self._shipper.hurry(until_s)
        attempts, stuck_at_s = self._shipper.attempts, time.time() + STUCK_S
        while self._shipper.is_busy and time.time() < min(stuck_at_s, until_s):
            self._serve(min(stuck_at_s, until_s))
            if self._shipper.attempts != attempts:
                attempts, stuck_at_s = self._shipper.attempts, time.time() + STUCK_S
        if self._shipper.is_busy:
            self._shipper.leave()
            self._serve_while_busy(min(time.time() + LEAVE_MAX_S, until_s))
            self._shipper.renew()


def _await(descriptors: list[int], until_s: float | None) -> set[int]:
    """Wait until some of these have something to read, or until then (POSIX time; None is never); return which have."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    polled = poller.poll(None if until_s is None else max(0, (until_s - time.time()) * 1000))
    return {descriptor for descriptor, _ in polled}


def _say_lost(lines: int, size_bytes: int, reason: str) -> None:
    diagnostics.say("error", f"{lines} lines ({size_bytes} bytes) are lost with the environment: {reason}")


def _keeper() -> Keeper | None:
    address = configuration.keeper_address(os.environ)
    try:
        return Keeper(address) if address else None
    except OSError as error:
        diagnostics.say("debug", f"lines in memory cannot be kept for SHUTDOWN ({error})")
        return None
