"""The external extension's door: put Lambda's own events into the spool, and at SHUTDOWN ship what is left.

The script in /opt/extensions has registered already (that is what every cold start waits for) and hands over the
identifier; what is loaded here loads beside the runtime's own init. There is no shutdown code in the runtime process:
however it ended, its spools are here, and its locks are free.

One thread polls the request for the next event and the deliveries of the Telemetry API. Who ships what they bring:

* Where the function is heard in its own process, the sidecar there ships the extension's spool with its own; the
  extension sends at SHUTDOWN only, and costs an invocation nothing.
* Where it is not (no wrapper, SUMO_FUNCTION_LOGS=telemetry, no ``function`` in SUMO_LOG_TYPES), the extension ships
  each delivery when it has it. With SUMO_FLUSH=end the script has registered for INVOKE too, and the invocation is
  held until its lines are out.
"""

from __future__ import annotations

import os
import select
import time

from sumo_internal import config as configuration
from sumo_internal import guard, telemetry
from sumo_internal.journal import Journal
from sumo_internal.lambda_api import Event, ExtensionsApi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sumo_internal.delivery import Drained
    from sumo_internal.drainer import Drainer
    from sumo_internal.shelf import Shelf

EXIT_MARGIN_S = 0.1
"""Left before Lambda's deadline, after which it kills: for the last answer to be read and the process to end."""
REPORT_WAIT_S = 0.5
"""At SHUTDOWN the last REPORT is still on its way; it is waited for no longer than this."""
NEWS_WAIT_S = 0.1
"""Without one that is known to be on its way, this long at the environment's end: what an invocation that was over in
less than TELEMETRY_TIMEOUT_MS has told, its start included, Lambda has kept through the freeze."""
SHIP_RESERVE_S = 0.6
"""Neither is waited for at the price of the time that shipping takes."""
BESIDE_MAX_S = 1.5
"""For shipping one delivery beside the function: SHUTDOWN may come meanwhile, and leaves 2 s for all."""
HOLD_TIMEOUT_MS = 25
"""How long Lambda keeps events together where the end of an invocation is waited for: its least."""


def main(address: str, identifier: str, asked: int | None = None) -> None:
    """Live as the extension until SHUTDOWN.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
        identifier: What the registration answered.
        asked: Descriptor of a connection on which the script has asked for a subscription, with telemetry.wanted_port.

    Raises:
        Exception: Whatever went wrong; the caller falls back to an idle loop, because an extension that exits before
            SHUTDOWN fails the function.
    """
    config, problems = configuration.read(os.environ)
    guard.set_level(config.log_level)
    for remark in configuration.remarks(os.environ):
        guard.say("info", remark)
    if "AWS_LAMBDA_EXEC_WRAPPER" not in os.environ:  # the wrapper's process says the same
        for problem in problems:
            guard.say("warn", problem)
        if not config.endpoint:
            guard.say("error", "SUMO_HTTP_ENDPOINT is not set; no lines are shipped")
    extension = Extension(config, ExtensionsApi(address, identifier))
    if config.endpoint:
        extension.listen(address, identifier, asked)
    event = extension.live()
    if config.endpoint:
        with guard.guard("shipping at SHUTDOWN"):
            extension.end(event)


class Extension:
    """The extension's life, and what it has: a receiver, a journal, and what ships."""

    def __init__(self, config: configuration.Config, api: ExtensionsApi) -> None:
        self._config = config
        self._api = api
        self._receiver: telemetry.Receiver | None = None
        self._journal = Journal(config)
        self._shipper: tuple[Shelf, Drainer] | None = None

    def listen(self, address: str, identifier: str, asked: int | None) -> None:
        """Subscribe to what is wanted of the Telemetry API; without it the extension does the rest of its work."""
        config = self._config
        types = set(config.log_types)
        if self._journal.is_in_process:
            types.discard("function")
        elif "function" in types:
            types.add("platform")  # tells whose lines are whose
        if not types:
            return
        timeout_ms = (
            config.telemetry_timeout_ms if self._journal.has_sidecar or config.flush != "end" else HOLD_TIMEOUT_MS
        )
        buffering = (timeout_ms, config.telemetry_max_bytes, config.telemetry_max_items)
        missing = "the function's lines" if "function" in types else "START, REPORT and other platform events"
        try:
            port = telemetry.wanted_port(address)
            self._receiver = telemetry.Receiver(port, config.telemetry_max_bytes, self._journal.take)
            if self._receiver.port != port:
                asked = None  # asked anew, which replaces what was asked
            telemetry.subscribe(address, identifier, self._receiver.port, sorted(types), buffering, asked)
        except (OSError, ValueError, telemetry.Refused) as error:
            is_expected = isinstance(error, telemetry.Refused) and not error.is_supported
            level = "warn" if "function" in types else "info"
            guard.say("debug" if is_expected else level, f"no Telemetry API here ({error}): {missing} are not shipped")
            if self._receiver is not None:
                self._receiver.close()
            self._receiver = None

    def live(self) -> Event:
        """Follow the events until SHUTDOWN, which is returned."""
        while True:
            request = self._api.ask()
            while not self._serve(None, request):
                pass
            event = self._api.receive(request)
            if event.kind == "SHUTDOWN":
                return event
            with guard.guard("holding an invocation"):
                self._hold(event)

    def end(self, event: Event) -> None:
        """Ship every spool that is left, and the events that still come, inside the window."""
        from sumo_internal.delivery import Drained

        self._journal.is_ending = True
        until_s = event.deadline_s - EXIT_MARGIN_S
        last_id = self._journal.last_request_id() if event.reason == "timeout" else None
        self._receive(0.0, until_s - SHIP_RESERVE_S)
        outcome = self._drain(until_s, is_last=True)
        self._receive(REPORT_WAIT_S, until_s - SHIP_RESERVE_S, NEWS_WAIT_S if event.reason == "spindown" else 0.0)
        if event.reason == "timeout":
            self._journal.tell_timeout(last_id)
        self._journal.end(is_success=event.reason == "spindown")
        has_news = self._account(is_recorded=outcome is Drained.EMPTY, is_last=True)
        if has_news or any(self._left()):
            outcome = self._drain(until_s, is_last=True)
        lines, size_bytes = self._left()
        if lines and event.reason == "spindown":
            guard.say(
                "error",
                f"{lines} lines ({size_bytes} bytes) are lost with the environment: {outcome.value} at SHUTDOWN",
            )
        guard.say("debug", f"SHUTDOWN ({event.reason}): {outcome.value}, {event.deadline_s - time.time():.3f} s left")

    # Deliveries.

    def _serve(self, until_s: float | None, request: socket | None = None) -> bool:
        """Wait for deliveries, take what there is, and ship it where that is ours to do.

        Args:
            until_s: POSIX time at which to stop waiting; None waits for ever.
            request: A request for the next event.

        Returns:
            Whether the request has an answer; without a request, whether anything came.
        """
        poller = select.poll()
        if request is not None:
            poller.register(request, select.POLLIN)
        for descriptor in self._receiver.descriptors() if self._receiver else ():
            poller.register(descriptor, select.POLLIN)
        ready = poller.poll(None if until_s is None else max(0, (until_s - time.time()) * 1000))
        for descriptor, _ in ready:
            if self._receiver is not None and (request is None or descriptor != request.fileno()):
                with guard.guard("receiving telemetry"):
                    self._receiver.ready(descriptor)
        if request is None:
            return bool(ready)
        if not self._journal.has_sidecar and self._journal.spool is not None and self._journal.spool.pending_bytes:
            with guard.guard("shipping"):
                self._ship(time.time() + BESIDE_MAX_S)
        return any(descriptor == request.fileno() for descriptor, _ in ready)

    def _receive(self, wait_s: float, until_s: float, news_wait_s: float = 0.0) -> None:
        """Take the deliveries that are here, and wait for others.

        Args:
            wait_s: So long for those that must still come.
            until_s: POSIX time at which to stop, at the latest.
            news_wait_s: So long where nothing is known of any.
        """
        now_s = time.time()
        wait_until_s, news_until_s = min(now_s + wait_s, until_s), min(now_s + news_wait_s, until_s)
        while self._receiver is not None and self._serve(wait_until_s if self._journal.is_expecting else news_until_s):
            if time.time() >= until_s:
                break

    # Shipping.

    def _hold(self, event: Event) -> None:
        """Keep an invocation open until its lines are out: SUMO_FLUSH=end where no sidecar is that does it."""
        from sumo_internal import flushing

        if self._journal.has_sidecar or self._config.flush != "end" or self._receiver is None:
            return
        until_s = event.deadline_s - flushing.DEADLINE_MARGIN_S
        while not self._journal.has_ended(event.request_id) and time.time() < until_s and not self._journal.has_sidecar:
            self._serve(until_s)
        if self._journal.spool is not None and self._journal.spool.pending_bytes and not self._journal.has_sidecar:
            self._ship(min(flushing.hold_until_s(time.time(), event.deadline_s), time.time() + BESIDE_MAX_S))

    def _ship(self, until_s: float) -> None:
        from sumo_internal.delivery import Drained

        outcome = self._drain(until_s)
        self._account(is_recorded=outcome is Drained.EMPTY)

    def _drain(self, until_s: float, *, is_last: bool = False) -> Drained:
        return self._shipping()[1].drain(until_s, is_last=is_last)

    def _left(self) -> tuple[int, int]:
        """Lines and bytes that nobody else has yet."""
        return self._shipping()[0].left()

    def _account(self, *, is_recorded: bool, is_last: bool = False) -> bool:
        spool = self._journal.spool
        tallies = [] if spool is None else [spool.tally]
        return self._shipping()[1].account(*tallies, is_recorded=is_recorded, is_last=is_last)

    def _shipping(self) -> tuple[Shelf, Drainer]:
        """What ships; made when it is needed for the first time. It always knows which spool is our own."""
        if self._shipper is None:
            self._shipper = self._make_shipper()
        shelf, drainer = self._shipper
        shelf.own = self._journal.spool
        return shelf, drainer

    def _make_shipper(self) -> tuple[Shelf, Drainer]:
        from sumo_internal import destinations
        from sumo_internal.shelf import Shelf
        from sumo_internal.tally import Tally
        from sumo_internal.web import PlainSender

        shelf = Shelf(self._config.spool_dir)
        counts = Tally(self._config.spool_dir, f"extension-p{os.getpid()}")
        account = self._journal.account
        return shelf, destinations.make_drainer(self._config, os.environ, shelf, counts, PlainSender, account)
