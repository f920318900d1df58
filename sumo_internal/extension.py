"""The external extension's door: put Lambda's own events into the spool, and at SHUTDOWN ship what is left.

The script in /opt/extensions has registered already (that is what every cold start waits for) and hands over the
identifier; what is loaded here loads beside the runtime's own init, and what only events need is loaded with the first
of them. There is no shutdown code in the runtime process: however it ended, its spools are here, its locks are free.

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
from sumo_internal.lambda_api import Event, ExtensionsApi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from sumo_internal.delivery import Drained
    from sumo_internal.drainer import Drainer
    from sumo_internal.platform_events import PlatformEvents
    from sumo_internal.shelf import Shelf
    from sumo_internal.spool import Spool
    from sumo_internal.telemetry_rules import TelemetryRules

EXIT_MARGIN_S = 0.1
"""Left before Lambda's deadline, after which it kills: for the last answer to be read and the process to end."""
REPORT_WAIT_S = 0.5
"""At SHUTDOWN the last REPORT is still on its way; it is waited for no longer than this, and not at the price of ..."""
SHIP_RESERVE_S = 0.6
"""... the time that shipping it takes."""
BESIDE_MAX_S = 1.5
"""For shipping one delivery beside the function: SHUTDOWN may come meanwhile, and leaves 2 s for all."""
NOTE_WAIT_S = 0.5
"""For the name of the log stream, which the function's process tells at its start; 128 MB start a Python in 0.3 s.
Nothing else is done meanwhile, and SHUTDOWN has 2 s."""
_NOTE_PAUSE_S = 0.01
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
    """The extension's life, and what it has: the receiver, a spool of its own, a drainer."""

    def __init__(self, config: configuration.Config, api: ExtensionsApi) -> None:
        self._config = config
        self._api = api
        self._receiver: telemetry.Receiver | None = None
        self._events: PlatformEvents | None = None
        self._spool: Spool | None = None
        self._rules: TelemetryRules | None = None
        self._shelf: Shelf | None = None
        self._drainer: Drainer | None = None
        self._is_in_process = configuration.is_in_process(config, os.environ)
        self._is_ending = False
        self._function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")

    @property
    def _has_sidecar(self) -> bool:
        """Does the function's process ship what is in the spool?"""
        return self._is_in_process and "function" in self._config.log_types

    def listen(self, address: str, identifier: str, asked: int | None) -> None:
        """Subscribe to what is wanted of the Telemetry API; without it the extension does the rest of its work."""
        config = self._config
        types = set(config.log_types)
        if self._is_in_process:
            types.discard("function")
        elif "function" in types:
            types.add("platform")  # tells whose lines are whose
        if not types:
            return
        timeout_ms = config.telemetry_timeout_ms if self._has_sidecar or config.flush != "end" else HOLD_TIMEOUT_MS
        buffering = (timeout_ms, config.telemetry_max_bytes, config.telemetry_max_items)
        missing = "the function's lines" if "function" in types else "START, REPORT and other platform events"
        try:
            port = telemetry.wanted_port(address)
            self._receiver = telemetry.Receiver(port, config.telemetry_max_bytes, self._take)
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

        self._is_ending = True
        until_s = event.deadline_s - EXIT_MARGIN_S
        last_id = self._last_request_id() if event.reason == "timeout" else None
        self._receive(0.0, until_s - SHIP_RESERVE_S)
        outcome = self._drain(until_s, is_last=True)
        self._receive(REPORT_WAIT_S, until_s - SHIP_RESERVE_S)
        if event.reason == "timeout":
            self._tell_timeout(last_id)
        if self._rules is not None:
            self._rules.end(is_success=event.reason == "spindown")
        assert self._shelf is not None
        has_news = self._account(is_recorded=outcome is Drained.EMPTY, is_last=True)
        if has_news or any(self._shelf.left()):
            outcome = self._drain(until_s, is_last=True)
        lines, size_bytes = self._shelf.left()
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
        if not self._has_sidecar and self._spool is not None and self._spool.pending_bytes:
            with guard.guard("shipping"):
                self._ship(time.time() + BESIDE_MAX_S)
        return any(descriptor == request.fileno() for descriptor, _ in ready)

    def _receive(self, wait_s: float, until_s: float) -> None:
        """Take the deliveries that are here, and wait so long for those that must still come; at most until then."""
        wait_until_s = min(time.time() + wait_s, until_s)
        while self._receiver is not None and self._serve(wait_until_s if self._is_expecting else 0.0):
            if time.time() >= until_s:
                break

    @property
    def _is_expecting(self) -> bool:
        """Has Lambda not told everything yet: an init at least, and the REPORT of what has started?"""
        return self._events is None or not self._events.is_reported

    def _take(self, body: bytes) -> None:
        """Put a delivery's events into the spool."""
        import json

        try:
            delivered = json.loads(body)
        except (ValueError, RecursionError):
            raise telemetry.Malformed("no JSON") from None
        if not isinstance(delivered, list):
            raise telemetry.Malformed("no list of events")
        try:
            self._record(delivered)
        except Exception as error:
            guard.failed("recording telemetry", error)
            raise telemetry.NotNow from None

    def _record(self, delivered: list[object]) -> None:
        from sumo_internal.rendering import time_text
        from sumo_internal.tally import PLATFORM_DROPPED

        spool, events = self._open()
        now = time_text(time.time())
        dropped = list(events.dropped)
        for event in delivered:
            if isinstance(event, dict) and event.get("type") == "function":
                if self._is_in_process:
                    continue  # it is heard there: the settings had not told
                guard.say_once("info", _COST_OF_TELEMETRY)
            append = spool.append
            if self._rules is not None and isinstance(event, dict):
                self._rules.follow(event)
                append = self._rules.append if event.get("type") == "function" else append
            for start, level in events.lines(event, now):
                append(start, level)
        if events.dropped != dropped:
            spool.tally.add(PLATFORM_DROPPED, events.dropped[0] - dropped[0], events.dropped[1] - dropped[1])
        self._remember_timeout()

    # The spool.

    def _open(self) -> tuple[Spool, PlatformEvents]:
        """The extension's own spool, and what makes its records.

        Raises:
            FolderRefused: There can be no spool.
        """
        from sumo_internal import notes
        from sumo_internal.platform_events import PlatformEvents
        from sumo_internal.spool import Spool

        folder = self._config.spool_dir
        if self._spool is None:
            note = self._await_note()
            # An entry point of an image and a handler of the function's own are in no variable.
            self._is_in_process = self._is_in_process or (note is not None and self._config.function_logs == "auto")
            stream, headers = note or self._make_up_note()
            keys = {
                "logGroup": f"/aws/lambda/{self._function}",
                "logStream": stream,
                "LayerVersion": configuration.CLIENT,
            }
            limit_bytes = self._config.spool_max_mb * 1_000_000
            self._spool = Spool(folder, headers, limit_bytes, has_ids=self._config.is_enhanced)
            if configuration.is_processed(self._config) and not self._is_in_process:
                from sumo_internal.telemetry_rules import TelemetryRules

                self._rules = TelemetryRules(self._config, self._spool)
            self._events = PlatformEvents(
                self._config.log_types,
                keys,
                is_span_dropped=self._config.is_span_dropped,
                is_enhanced=self._config.is_enhanced,
                process=self._rules.passed if self._rules else None,
            )
            self._events.timed_out_id = notes.timed_out(folder)
            if self._shelf is not None:
                self._shelf.own = self._spool
        else:
            self._spool.mend()
        assert self._events is not None
        return self._spool, self._events

    def _await_note(self) -> tuple[str, dict[str, str]] | None:
        """What the function's process tells. It starts when we do, and may be slower than Lambda's first events."""
        from sumo_internal import notes

        until_s = time.monotonic() + (NOTE_WAIT_S if self._has_sidecar and not self._is_ending else 0.0)
        while (note := notes.function(self._config.spool_dir)) is None and time.monotonic() < until_s:
            time.sleep(_NOTE_PAUSE_S)
        return note

    def _make_up_note(self) -> tuple[str, dict[str, str]]:
        """A log stream's name and the headers, where the function's process has not told: no variable has the name."""
        version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{version}]{os.urandom(16).hex()}"
        return stream, configuration.envelope(self._config, self._function, stream, version)

    # Timeouts.

    def _tell_timeout(self, last_id: str | None) -> None:
        """Record a timeout of which only SHUTDOWN's reason tells."""
        from sumo_internal.rendering import time_text

        spool, events = self._open()
        if last_id is not None and events.request_id is None:
            events.request_id = last_id
        for start, level in events.timeout(None, time_text(time.time())):
            spool.append(start, level)
        self._remember_timeout()

    def _remember_timeout(self) -> None:
        """Lambda may tell the next generation of it once more."""
        from sumo_internal import notes

        folder = self._config.spool_dir
        if self._events is not None and self._events.timed_out_id not in (None, notes.timed_out(folder)):
            notes.tell_timeout(folder, str(self._events.timed_out_id))

    def _last_request_id(self) -> str | None:
        """The request id of the function's last line, for a timeout of an invocation that nobody has announced."""
        import json

        from sumo_internal.shelf import last_lines

        found: list[tuple[str, str]] = []
        for line in last_lines(self._config.spool_dir):
            try:
                record = json.loads(line)
                found.append((record["time"], record["requestID"]))
            except (ValueError, KeyError, TypeError):
                pass  # a line of the init phase, or without keys of ours
        return max(found)[1] if found else None

    # Shipping.

    def _hold(self, event: Event) -> None:
        """Keep an invocation open until its lines are out: SUMO_FLUSH=end where no sidecar is that does it."""
        from sumo_internal import flushing

        if self._has_sidecar or self._config.flush != "end" or self._receiver is None:
            return
        until_s = event.deadline_s - flushing.DEADLINE_MARGIN_S
        while not self._has_ended(event.request_id) and time.time() < until_s and not self._has_sidecar:
            self._serve(until_s)
        if self._spool is not None and self._spool.pending_bytes and not self._has_sidecar:
            self._ship(min(flushing.hold_until_s(time.time(), event.deadline_s), time.time() + BESIDE_MAX_S))

    def _has_ended(self, request_id: str) -> bool:
        return self._events is not None and self._events.request_id == request_id and self._events.has_ended

    def _ship(self, until_s: float) -> None:
        from sumo_internal.delivery import Drained

        outcome = self._drain(until_s)
        self._account(is_recorded=outcome is Drained.EMPTY)

    def _drain(self, until_s: float, *, is_last: bool = False) -> Drained:
        if self._drainer is None:
            self._drainer = self._make_drainer()
        return self._drainer.drain(until_s, is_last=is_last)

    def _account(self, *, is_recorded: bool, is_last: bool = False) -> bool:
        assert self._drainer is not None
        tallies = [self._spool.tally] if self._spool is not None else []
        return self._drainer.account(*tallies, is_recorded=is_recorded, is_last=is_last)

    def _make_drainer(self) -> Drainer:
        from sumo_internal import destinations
        from sumo_internal.shelf import Shelf
        from sumo_internal.tally import Tally
        from sumo_internal.web import PlainSender

        self._shelf = Shelf(self._config.spool_dir, self._spool)
        counts = Tally(self._config.spool_dir, f"extension-p{os.getpid()}")
        return destinations.make_drainer(
            self._config, os.environ, self._shelf, counts, PlainSender, self._record_account
        )

    def _record_account(self, counts: dict[str, tuple[int, int]]) -> None:
        from sumo_internal.recorder import Recorder

        spool, _ = self._open()
        keys = {"logGroup": f"/aws/lambda/{self._function}", "LayerVersion": configuration.CLIENT}
        Recorder(spool, keys).account(counts)


_COST_OF_TELEMETRY = (
    "the function's lines are taken from Lambda's Telemetry API: up to TELEMETRY_TIMEOUT_MS late, the last ones beside "
    "the next invocation or at SHUTDOWN, and without levels, fields and stack traces in one piece; "
    "AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper takes them from the function's own process"
)
