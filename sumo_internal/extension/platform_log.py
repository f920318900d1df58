"""The extension's platform log: a spool of its own, in which Lambda's events are records.

Separate from the extension's life (:mod:`sumo_internal.extension.lifecycle`), which receives the events and ships what
is in the spool where nobody else does. What only events need is imported with the first of them: until then the
extension is as small as it can be.

It also knows where the function is heard. The settings tell, mostly; an image's entry point and a handler of the
function's own leave a note (:mod:`sumo_internal.spool.handoff`): then what Lambda tells of the function's lines is left
out.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from sumo_internal import config as configuration
from sumo_internal import diagnostics
from sumo_internal.lambda_apis import telemetry_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.extension.platform_events import PlatformEvents
    from sumo_internal.extension.telemetry_rules import TelemetryRules
    from sumo_internal.spool.writer import Spool

NOTE_WAIT_S = 0.5
"""For the name of the log stream, which the function's process tells at its start; 128 MB start a Python in 0.3 s.
Nothing else is done meanwhile, and SHUTDOWN has 2 s."""
_NOTE_PAUSE_S = 0.01

_COST_OF_TELEMETRY = (
    "the function's lines are taken from Lambda's Telemetry API: up to TELEMETRY_TIMEOUT_MS late, the last ones beside "
    "the next invocation or at SHUTDOWN, and without levels, fields and stack traces in one piece; "
    "AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper takes them from the function's own process"
)


class PlatformLog:
    """What Lambda has told, and where it goes."""

    def __init__(self, config: configuration.Config) -> None:
        self._config = config
        self._events: PlatformEvents | None = None
        self._rules: TelemetryRules | None = None
        self._function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self._keys: dict[str, str | None] = {}
        """What all records share, once there are any."""
        self._beginning = allocate_lock()
        """Events come on one thread, and what was lost is recorded on another: there is one spool for both."""
        self.spool: Spool | None = None
        """The extension's own; None before the first event."""
        self.is_in_process = configuration.is_in_process(config, os.environ)
        """The function is heard in its own process, as far as we know by now."""
        self.is_ending = False
        """SHUTDOWN has come: the function's process tells nothing any more."""

    @property
    def has_sidecar(self) -> bool:
        """Does the function's process ship what is in the spool?"""
        return self.is_in_process and "function" in self._config.log_types

    @property
    def is_expecting(self) -> bool:
        """Has Lambda not told everything yet: an init at least, and the REPORT of what has started?"""
        return self._events is None or not self._events.is_reported

    def has_ended(self, request_id: str) -> bool:
        """Has Lambda told that this invocation's runtime is done, and with that all that it wrote?"""
        return self._events is not None and self._events.request_id == request_id and self._events.has_ended

    def take(self, body: bytes, number: int = 1) -> None:
        """Put a delivery's events into the spool.

        Args:
            body: Lambda's.
            number: Of the subscription that it comes by.

        Raises:
            MalformedDeliveryError: It is none.
            NoSpoolError: There can be no spool.
        """
        from sumo_internal.extension.deliveries import NoListError, read_events

        try:
            delivered = read_events(body)
        except NoListError as problem:
            raise telemetry_api.MalformedDeliveryError(str(problem)) from None
        try:
            self._record(delivered)
        except Exception as error:
            diagnostics.failed("recording telemetry", error)
            raise telemetry_api.NoSpoolError from None

    def _record(self, delivered: list[object]) -> None:
        from sumo_internal.capture.record_format import time_text
        from sumo_internal.spool.counters import PLATFORM_DROPPED

        spool, events = self._open()
        now = time_text(time.time())
        dropped = list(events.dropped)
        for event in delivered:
            if isinstance(event, dict) and event.get("type") == "function":
                if self.is_in_process:
                    continue  # it is heard there: the settings had not told
                diagnostics.say_once("info", _COST_OF_TELEMETRY)
            append = spool.append
            if self._rules is not None and isinstance(event, dict):
                self._rules.follow(event)
                append = self._rules.append if event.get("type") == "function" else append
            for start, level in events.lines(event, now):
                append(start, level)
        if events.dropped != dropped:
            spool.counters.add(PLATFORM_DROPPED, events.dropped[0] - dropped[0], events.dropped[1] - dropped[1])
        self._remember_timeout()

    def tell_timeout(self, last_id: str | None) -> None:
        """Record a timeout of which only SHUTDOWN's reason tells."""
        from sumo_internal.capture.record_format import time_text

        spool, events = self._open()
        if last_id is not None and events.request_id is None:
            events.request_id = last_id
        for start, level in events.timeout(None, time_text(time.time())):
            spool.append(start, level)
        self._remember_timeout()

    def _remember_timeout(self) -> None:
        """Lambda may tell the next generation of it once more."""
        from sumo_internal.spool import handoff

        folder = self._config.spool_dir
        if self._events is not None and self._events.timed_out_id not in (None, handoff.timed_out(folder)):
            handoff.tell_timeout(folder, str(self._events.timed_out_id))

    def last_request_id(self) -> str | None:
        """The request id of the function's last line, for a timeout of an invocation that nobody has announced."""
        import json

        from sumo_internal.spool.reader import last_lines

        found: list[tuple[str, str]] = []
        for line in last_lines(self._config.spool_dir):
            try:
                record = json.loads(line)
                if isinstance(record["time"], str) and isinstance(record["requestID"], str):
                    found.append((record["time"], record["requestID"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                pass  # a line of the init phase, without keys of ours, or an object of the function's as it came
        return max(found)[1] if found else None

    def end(self, *, is_success: bool) -> None:
        """Let out what is held back of an invocation's lines, as it ended."""
        if self._rules is not None:
            self._rules.end(is_success=is_success)

    def account(self, counts: dict[str, tuple[int, int]]) -> None:
        """Record what was retried, failed over and lost so far."""
        from sumo_internal.capture.recorder import Recorder

        spool, _ = self._open()
        Recorder(spool, self._keys).account(counts)

    # The spool.

    def _open(self) -> tuple[Spool, PlatformEvents]:
        """The extension's own spool, and what makes its records.

        Raises:
            FolderRefusedError: There can be no spool.
        """
        from sumo_internal.spool.folder import FolderRefusedError

        if self.spool is None:
            with self._beginning:
                if self.spool is None:
                    self._begin()
        else:
            try:
                self.spool.mend()
            except (OSError, FolderRefusedError):
                pass  # the function is emptying /tmp: the next line makes what it needs, or is refused and counted
        assert self.spool is not None and self._events is not None
        return self.spool, self._events

    def _begin(self) -> None:
        from sumo_internal.extension.platform_events import PlatformEvents
        from sumo_internal.spool import handoff
        from sumo_internal.spool.writer import Spool

        note = self._await_note()
        # An entry point of an image and a handler of the function's own are in no variable.
        self.is_in_process = self.is_in_process or (note is not None and self._config.function_logs == "auto")
        stream, headers = note or self._make_up_note()
        self._keys = {
            "logGroup": f"/aws/lambda/{self._function}",
            "logStream": stream,
            "LayerVersion": configuration.CLIENT,
        }
        limit_bytes = self._config.spool_max_mb * 1_000_000
        spool = Spool(self._config.spool_dir, headers, limit_bytes, has_ids=self._config.is_enhanced)
        if configuration.is_processed(self._config) and not self.is_in_process:
            from sumo_internal.extension.telemetry_rules import TelemetryRules

            self._rules = TelemetryRules(self._config, spool)
        self._events = PlatformEvents(
            self._config.log_types,
            self._keys,
            is_span_dropped=self._config.is_span_dropped,
            is_enhanced=self._config.is_enhanced,
            process=self._rules.passed if self._rules else None,
        )
        self._events.timed_out_id = handoff.timed_out(self._config.spool_dir)
        self.spool = spool  # last: whoever finds one finds the rest

    def _await_note(self) -> tuple[str, dict[str, str]] | None:
        """What the function's process tells. It starts when we do, and may be slower than Lambda's first events."""
        from sumo_internal.spool import handoff

        until_s = time.monotonic() + (NOTE_WAIT_S if self.has_sidecar and not self.is_ending else 0.0)
        while (note := handoff.function(self._config.spool_dir)) is None and time.monotonic() < until_s:
            time.sleep(_NOTE_PAUSE_S)
        return note

    def _make_up_note(self) -> tuple[str, dict[str, str]]:
        """A log stream's name and the headers, where the function's process has not told: no variable has the name."""
        from sumo_internal.spool import handoff
        from sumo_internal.spool.envelope import request_headers

        version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        stream = handoff.made_up_stream(version)
        return stream, request_headers(self._config, self._function, stream, version)
