"""The extension's platform log: a spool of its own, in which Lambda's events are records.

Separate from the extension's life (:mod:`sumo_internal.extension.lifecycle`), which receives the events and ships what
is in the spool where no sidecar does. What only events need is imported with the first of them: until then the
extension is as small as it can be.

Events wait in memory until it is known which process hears the function (:mod:`sumo_internal.extension.hearing`): what
Lambda tells of the function's lines must not be let out before, and all events travel under the names and headers that
the function's process tells. Events wait until the runtime is ready or they are old, an init at most.

Under SnapStart a process is copied into many environments. An event that was told before the snapshot has the same id
in all of them, so nothing is drawn for its spool in a copy: how its ids begin follows from what was drawn before the
snapshot and from the names that the function's process has told, whenever these are read. From
``platform.restoreStart`` on each copy has a log stream and ids of its own. Where the function is heard in its own
process, these events wait for the names that the copy of that process tells. Counts, which differ from copy to copy,
are told under ids of the copy's own only.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from sumo_internal import config as configuration
from sumo_internal import diagnostics
from sumo_internal.extension.hearing import NEVER_S, Waiting
from sumo_internal.extension.repeats import Repeats
from sumo_internal.lambda_apis import telemetry_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.extension.hearing import Hearing
    from sumo_internal.extension.platform_events import PlatformEvents
    from sumo_internal.extension.telemetry_rules import TelemetryRules
    from sumo_internal.spool.writer import Spool

_IDENTITY_MAX = (1 << 48) - 1
"""As long a one as :class:`Spool` draws."""
COPY_WAIT_S = 0.5
"""How long what a copy is told waits for the note of the function's process, which the copy tells first of all."""

_READY = frozenset(("platform.initRuntimeDone", "platform.runtimeDone", "platform.report", "platform.restoreStart"))
"""Events that come when the runtime has asked for its first event: the function's process has told what it had to."""


def _time_of_ready(events: list[object]) -> str:
    """When the runtime was ready, by the first of these events that tells it."""
    times = (event.get("time") for event in events if isinstance(event, dict) and event.get("type") in _READY)
    return str(next(times, ""))


class PlatformLog:
    """What Lambda has told, and where it goes."""

    def __init__(self, config: configuration.Config, hearing: Hearing) -> None:
        """Know nothing yet.

        Args:
            config: The settings.
            hearing: Which process hears the function.
        """
        self._config = config
        self._hearing = hearing
        self._events: PlatformEvents | None = None
        self._rules: TelemetryRules | None = None
        self._keys: dict[str, str | None] = {}
        """What all records share, once there are any."""
        self._waiting = Waiting()
        self._repeats = Repeats()
        self._is_named = False
        """The names and headers are those of the function's process."""
        self._beginning = allocate_lock()
        """Events come on one thread, and what was lost is recorded on another: there is one spool for both."""
        self._is_cost_told = False
        self.spool: Spool | None = None
        """The extension's own; None before the first event."""
        self.is_runtime_ready = False
        """The runtime has asked for its first event."""
        self._is_managed = configuration.mode(os.environ) == configuration.MANAGED
        """Several requests at a time, and only a REPORT tells of a request's end."""
        self.is_before_snapshot = configuration.mode(os.environ) == configuration.SNAP_START
        """This environment may still be copied."""
        self._is_copy_new = False
        """This environment was restored, and has no names and ids of its own yet."""
        self._drawn: tuple[Spool, dict[str, str | None]] | None = None
        """The spool that is used first, with its keys, unless the function's process tells its names."""
        self._chance = os.urandom(16)
        """What all copies have in common."""
        self.is_ending = False
        """SHUTDOWN has come: the function's process tells nothing any more."""
        self.is_timed_out = False
        """... because of the function's timeout."""

    @property
    def is_in_process(self) -> bool:
        """Is the function heard in its own process, as far as we know by now?"""
        return self._hearing.is_in_process

    @property
    def has_sidecar(self) -> bool:
        """Does the function's process ship what is in the spool?"""
        return self.is_in_process and "function" in self._config.log_types and not self._is_managed

    @property
    def is_init_over(self) -> bool:
        """Has an invocation begun, as far as Lambda has told?"""
        return self._repeats.is_init_over

    @property
    def waits_until_s(self) -> float | None:
        """POSIX time at which :meth:`let_out` is due; None where nothing waits."""
        return self._waiting.until_s(COPY_WAIT_S if self._is_copy_new else self._config.flush_max_age_s)

    def subscribed(self, number: int) -> None:
        """A subscription of this number was asked for: it may tell once more what another has told."""
        self._repeats.asked(number)

    @property
    def is_expecting(self) -> bool:
        """Has Lambda something left to tell: an init at least, and the REPORT of what has started?"""
        return self._events is None or not self._events.is_reported

    def has_ended(self, request_id: str) -> bool:
        """Has Lambda told that the runtime is done with this invocation, and so all lines that it wrote?"""
        return self._events is not None and self._events.request_id == request_id and self._events.has_ended

    def take(self, body: bytes, number: int = 1) -> None:
        """Put a delivery's events into the spool.

        Args:
            body: Lambda's.
            number: Of the subscription that it comes by.

        Raises:
            MalformedDeliveryError: The body is no delivery.
            NoSpoolError: There can be no spool.
        """
        from sumo_internal.extension.deliveries import NoListError, read_events

        try:
            delivered, repeats = self._repeats.after(number, read_events(body))
        except NoListError as problem:
            raise telemetry_api.MalformedDeliveryError(str(problem)) from None
        kinds = {event.get("type") for event in delivered if isinstance(event, dict)}
        if self._is_managed and "platform.initStart" in kinds:
            self._hearing.hear_of_instance(delivered)
        if not self.is_runtime_ready and not _READY.isdisjoint(kinds):
            self.is_runtime_ready = True
            self._hearing.ready_time = _time_of_ready(delivered)
        try:
            self._hearing.look()
            if self.is_before_snapshot and "platform.restoreStart" in kinds:
                delivered = self._leave_snapshot(delivered)
            if self._must_wait(len(body), kinds):
                self._waiting.keep(delivered, len(body))
            else:
                self._record([*self._waiting.events, *delivered])
                self._waiting.forget()
        except Exception as error:
            diagnostics.failed("recording telemetry", error)
            raise telemetry_api.NoSpoolError from None
        self._repeats = repeats

    def _leave_snapshot(self, delivered: list[object]) -> list[object]:
        """Record what was told before the snapshot was taken; return what only this copy is told."""
        kinds = [event.get("type") if isinstance(event, dict) else None for event in delivered]
        number = kinds.index("platform.restoreStart")
        self._record([*self._waiting.events, *delivered[:number]])
        self._waiting.forget()
        self.is_before_snapshot, self._is_copy_new = False, True
        self._hearing.await_copy()
        return delivered[number:]

    def _must_wait(self, size_bytes: int, kinds: set[object]) -> bool:
        hearing = self._hearing
        if self._is_copy_new:
            is_told = hearing.has_content or not hearing.is_in_process or self.is_ending
            return not is_told and self._waiting.has_room(size_bytes)
        # Lines of the function's also wait for the time at which the runtime was ready: a note may be later than that.
        is_told = hearing.has_content and "function" not in kinds and not self._waiting.has_function_events
        is_over = self.is_runtime_ready or self.is_ending or is_told or not hearing.is_awaited
        return self.spool is None and not is_over and self._waiting.has_room(size_bytes)

    def look(self) -> None:
        """See whether the function's process has left its note, and let out what has waited for it, or long enough."""
        self._hearing.look()
        until_s = self.waits_until_s
        is_told = self._hearing.has_content and (self._is_copy_new or not self._waiting.has_function_events)
        if until_s is not None and (is_told or time.time() >= until_s):
            self.let_out()

    def let_out(self) -> None:
        """Put what waits into the spool."""
        events = self._waiting.events
        if events:
            self._record(events)
            self._waiting.forget()

    def _record(self, delivered: list[object]) -> None:
        from sumo_internal.capture.record_format import time_text
        from sumo_internal.spool.counters import PLATFORM_DROPPED

        spool, events = self._open()
        now = time_text(time.time())
        dropped = list(events.dropped)
        events.announce(delivered)
        since_s = self._hearing.since_s
        since = time_text(since_s) if since_s < NEVER_S else "~"
        replaced_at = time_text(self._hearing.replaced_at_s)
        for event in delivered:
            if isinstance(event, dict) and event.get("type") == "function":
                if not replaced_at <= str(event.get("time")) < since:
                    continue  # it is heard in its own process
                self._tell_cost()
            if self._rules is not None and isinstance(event, dict):
                self._rules.follow(event)
            for start, level in events.lines(event, now):
                if self._rules is not None and events.is_functions:
                    self._rules.append(start, level, events.line_request_id)
                else:
                    spool.append(start, level)
        if events.dropped != dropped:
            spool.counters.add(PLATFORM_DROPPED, events.dropped[0] - dropped[0], events.dropped[1] - dropped[1])
        self._remember_timeout()

    def _tell_cost(self) -> None:
        """Say what it costs that the function's lines come from Lambda, at the first of them."""
        if self._is_cost_told:
            return
        self._is_cost_told = True
        diagnostics.say_once("info", self._hearing.cost())
        if self._config.function_logs == "telemetry" and configuration.is_wrapped(os.environ):
            return  # the function's process has said it
        for setting in configuration.unheeded(self._config):
            diagnostics.say_once(
                "warn",
                f"{setting} has no effect: the function's lines come from Lambda, which has written them by then",
            )

    def tell_timeout(self, last_id: str | None) -> None:
        """Record a timeout of which only SHUTDOWN's reason tells."""
        from sumo_internal.capture.record_format import time_text

        spool, events = self._open()
        if last_id is not None and events.request_id is None:
            events.request_id = last_id
        for start, level in events.timeout(None, time_text(time.time())):
            spool.append(start, level)
        self._remember_timeout()

    def is_timeout(self, request_id: str) -> bool:
        """Was the process whose invocation this is ended because of the function's timeout?"""
        from sumo_internal.spool import handoff

        return self.is_timed_out or handoff.timed_out(self._config.spool_dir) == request_id

    def _remember_timeout(self) -> None:
        """Remember the timeout that is recorded: Lambda may tell the next generation of it once more."""
        from sumo_internal.spool import handoff

        folder = self._config.spool_dir
        if self._events is not None and self._events.timed_out_id not in (None, handoff.timed_out(folder)):
            handoff.tell_timeout(folder, str(self._events.timed_out_id))

    def last_request_id(self) -> str | None:
        """The request id of the function's last line, for a timeout of an invocation that was not announced."""
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
        """Let out or forget what is held back of an invocation's lines, by how it ended."""
        if self._rules is not None:
            self._rules.end(is_success=is_success)

    def account(self, counts: dict[str, tuple[int, int]]) -> None:
        """Record what was retried, failed over and lost so far; from now on this is an environment of its own."""
        from sumo_internal.capture.recorder import Recorder

        if self.is_before_snapshot:
            self.is_before_snapshot, self._is_copy_new = False, True
        spool, _ = self._open()
        Recorder(spool, self._keys).account(counts)

    # The spool.

    def _open(self) -> tuple[Spool, PlatformEvents]:
        """The extension's own spool, and what makes its records.

        Raises:
            FolderRefusedError: There can be no spool.
        """
        from sumo_internal.spool.folder import FolderRefusedError

        if self.spool is None or self._events is None or self._is_copy_new:
            with self._beginning:
                if self.spool is None or self._events is None or self._is_copy_new:
                    self.spool, self._events = self._begin()
        elif self._hearing.has_content and not self._is_named:
            self.spool = self._named_spool()  # the note is late: what follows travels with the function's lines
            self._events.keys.update(self._keys)
        else:
            try:
                self.spool.mend()
            except (OSError, FolderRefusedError):
                pass  # the function is emptying /tmp: the next line makes what it needs, or is refused and counted
        return self.spool, self._events

    def _begin(self) -> tuple[Spool, PlatformEvents]:
        from sumo_internal.extension.platform_events import PlatformEvents
        from sumo_internal.spool import handoff

        self._hearing.decide()
        spool = self._named_spool()
        if configuration.is_processed(self._config) and not self.is_in_process:
            from sumo_internal.extension.telemetry_rules import TelemetryRules

            self._rules = TelemetryRules(self._config, spool, is_concurrent=self._is_managed)
        events = PlatformEvents(
            self._config.log_types,
            self._keys,
            is_span_dropped=self._config.is_span_dropped,
            is_enhanced=self._config.is_enhanced,
            is_concurrent=self._is_managed,
            process=self._rules.passed if self._rules else None,
        )
        events.timed_out_id = handoff.timed_out(self._config.spool_dir)
        return spool, events

    def draw_spool(self) -> None:
        """Name a spool before there are events: an event of the init is then the same record in all copies."""
        if self.is_before_snapshot and self.spool is None:
            spool = self._named_spool()
            self._drawn = spool, self._keys

    def _named_spool(self) -> Spool:
        """A new spool, under the names and headers that are known by now."""
        from sumo_internal.spool.envelope import addressed
        from sumo_internal.spool.writer import Spool

        drawn, self._drawn = self._drawn, None
        if drawn is not None and self.is_before_snapshot and self._is_named == self._hearing.has_content:
            spool, self._keys = drawn
            return spool
        self._is_named = self._hearing.has_content
        log_group, stream, headers = self._hearing.names()
        self._keys = {"logGroup": log_group, "logStream": stream, "LayerVersion": configuration.CLIENT}
        envelope = addressed(headers, self._config)
        is_copy_new, self._is_copy_new = self._is_copy_new, False
        if self.spool is not None and is_copy_new:
            self.spool.go_on(envelope)
            return self.spool
        return Spool(
            self._config.spool_dir,
            envelope,
            self._config.spool_max_mb * 1_000_000,
            memory_max_bytes=self._config.memory_max_mb * 1_000_000,
            keeper=configuration.keeper_address(os.environ),  # this process, which saves what is kept when it ends
            is_shared=False,
            has_ids=self._config.is_enhanced,
            has_workers=self._is_managed,
            identity=self._common_identity(envelope) if self.is_before_snapshot else "",
        )

    def _common_identity(self, envelope: dict[str, str]) -> str:
        """How ids begin in all copies that have these names: the interpreter's secret for hashes is theirs, too."""
        return f"{hash((self._chance, repr(self._keys), repr(envelope))) & _IDENTITY_MAX:012x}"
