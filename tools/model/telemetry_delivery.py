"""What becomes of a Telemetry API subscription: the queue of one subscriber, and the thread that delivers from it.

Separate from the API itself, which decides which extensions may subscribe; this runs beside the environment's
processes, for as long as these do.

Rules, from AWS's documentation and what users of the real one observed:

* A batch goes out when it has ``maxItems``, ``maxBytes``, or its first event has waited ``timeoutMs``; on ``flush``
  at once.
* While the environment is frozen nothing goes out: the REPORT of an invocation, made after the freeze, comes beside
  the next invocation or at shutdown.
* A batch that is refused is sent again, after a growing delay, until the generation ends, as the documentation has it.
  What does not fit into the queue meanwhile is dropped, counted, and told as platform.logsDropped.
* A batch that is due while the one before is unanswered is dropped, and told as platform.logsDropped, as AWS's own code
  has it (its emulator for Managed Instances): a receiver must acknowledge before it ships.

It does not deliver over TCP.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from model.monitor import Monitor

QUEUE_BOUND_BYTES = 16 * 1024 * 1024
"""AWS does not publish where it begins to drop; well above a burst that extensions are seen to survive."""

_OBJECT_RECORDS_SINCE = "2022-12-13"
"""The schema version from which a record may be an object."""
UNANSWERED_S = 0.25
"""Where an answer takes longer, the batches that are due meanwhile are dropped. AWS allows none; here the receiver may
have to wait for a machine that runs other tests."""
_POST_TIMEOUT_S = 60.0
"""Longer than a test freezes the receiver in mid-request."""
_IDLE_WAIT_S = 60.0
"""With nothing to send; whatever changes that wakes the thread."""
_RETRY_DELAY_S = 0.05
_MAX_RETRY_DELAY_S = 1.0


class TelemetryEvent(NamedTuple):
    """One event before it is put into a subscriber's form; ``record`` is text for function and extension events."""

    at_s: float
    type: str
    record: str | Mapping[str, Any]
    request_id: str | None = None


class Subscription(NamedTuple):
    """What an extension asked for."""

    schema_version: str
    categories: frozenset[str]
    port: int
    path: str
    max_items: int
    max_bytes: int
    timeout_s: float


class Subscriber:
    """The queue of one subscriber, and the thread that empties it."""

    def __init__(self, name: str, subscription: Subscription, is_json: bool, monitor: Monitor) -> None:
        self._name = name
        self._subscription = subscription
        self._has_objects = is_json and subscription.schema_version >= _OBJECT_RECORDS_SINCE
        self._monitor = monitor
        self._condition = threading.Condition()
        self._queue: deque[tuple[float, bytes]] = deque()
        """When each came, and what it is."""
        self._queued_bytes = 0
        self._dropped = [0, 0]
        self._is_flushing = False
        self._is_closed = False
        threading.Thread(target=self._run, name=f"model-telemetry-{name}", daemon=True).start()

    def add(self, events: tuple[TelemetryEvent, ...]) -> None:
        """Queue those of the events that the subscriber asked for."""
        wanted = [event for event in events if event.type.partition(".")[0] in self._subscription.categories]
        with self._condition:
            for event in wanted:
                self._put(render(event, self._has_objects))
            self._condition.notify_all()

    def wake(self) -> None:
        """Look again at what is due."""
        with self._condition:
            self._condition.notify_all()

    def flush(self) -> None:
        """Send what is queued without waiting for a full batch."""
        with self._condition:
            self._is_flushing = True
            self._condition.notify_all()

    def close(self) -> None:
        """End the thread; a delivery under way ends with its receiver."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _put(self, rendered: bytes) -> None:
        if self._queued_bytes + len(rendered) > QUEUE_BOUND_BYTES:
            self._dropped[0] += 1
            self._dropped[1] += len(rendered)
            return
        self._queue.append((time.monotonic(), rendered))
        self._queued_bytes += len(rendered)

    def _run(self) -> None:
        while (batch := self._take_batch()) is not None:
            self._deliver(batch)

    def _take_batch(self) -> list[bytes] | None:
        """Wait until a batch is due and return it; None when closed."""
        with self._condition:
            while not self._is_closed:
                wait_s = self._due_in_s()
                if wait_s <= 0:
                    return self._cut_batch()
                self._condition.wait(wait_s)
        return None

    def _due_in_s(self) -> float:
        """Return how long to wait before looking again."""
        if not self._queue or self._monitor.is_frozen:
            return _IDLE_WAIT_S
        wanted = self._subscription
        if self._is_flushing or len(self._queue) >= wanted.max_items or self._queued_bytes >= wanted.max_bytes:
            return 0.0
        return self._queue[0][0] + wanted.timeout_s - time.monotonic()

    def _cut_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size_bytes = 0
        while self._queue and len(batch) < self._subscription.max_items and size_bytes < self._subscription.max_bytes:
            _, rendered = self._queue.popleft()
            batch.append(rendered)
            size_bytes += len(rendered)
        self._queued_bytes -= size_bytes
        if any(self._dropped):
            records, dropped_bytes = self._dropped
            self._dropped = [0, 0]
            told = {"reason": "Consumer is slow", "droppedRecords": records, "droppedBytes": dropped_bytes}
            self._put(render(TelemetryEvent(time.time(), "platform.logsDropped", told), self._has_objects))
        self._is_flushing = self._is_flushing and bool(self._queue)
        return batch

    def _deliver(self, batch: list[bytes]) -> None:
        """Send one batch until it is accepted or no receiver is left to accept it."""
        delay_s = _RETRY_DELAY_S
        while not self._timed_post(b"[" + b",".join(batch) + b"]"):
            with self._condition:
                if self._condition.wait_for(lambda: self._is_closed, delay_s):
                    return
            delay_s = min(2 * delay_s, _MAX_RETRY_DELAY_S)
        self._monitor.note("telemetry", self._name, f"{len(batch)} events")

    def _timed_post(self, body: bytes) -> bool:
        """Send a batch once, and drop what was due while it was unanswered; a freeze is no time."""
        posted_s, posted_clock_s = time.monotonic(), self._monitor.clock_s()
        is_accepted = self._post(body)
        took_s = self._monitor.clock_s() - posted_clock_s
        if took_s > UNANSWERED_S:
            with self._condition:
                self._drop_due(posted_s + took_s)
        return is_accepted

    def _drop_due(self, now_s: float) -> None:
        """Drop the batches that were due before this time, each with what had come by then."""
        timeout_s = self._subscription.timeout_s
        while not self._is_flushing and self._queue and self._queue[0][0] + timeout_s <= now_s:
            due_s = self._queue[0][0] + timeout_s
            dropped_bytes = dropped_records = 0
            while self._queue and self._queue[0][0] <= due_s:
                dropped_bytes += len(self._queue.popleft()[1])
                dropped_records += 1
            self._queued_bytes -= dropped_bytes
            self._dropped[0] += dropped_records
            self._dropped[1] += dropped_bytes
            self._monitor.note("telemetry-dropped", self._name, f"{dropped_records} events")

    def _post(self, body: bytes) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._subscription.port, timeout=_POST_TIMEOUT_S)
        try:
            host = f"sandbox.localdomain:{self._subscription.port}"
            headers = {"Host": host, "Content-Type": "application/json"}
            connection.request("POST", self._subscription.path, body, headers)
            response = connection.getresponse()
            response.read()
            return response.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def render(event: TelemetryEvent, has_objects: bool) -> bytes:
    """Return the event as the subscriber reads it; with ``has_objects`` a line of text becomes an object, as under
    the JSON log format."""
    at = timestamp(event.at_s)
    record = event.record
    if isinstance(record, str) and has_objects:
        text = record if _is_object(record) else json.dumps(_as_object(record, at, event.request_id))
    else:
        text = json.dumps(record)
    return f'{{"time": "{at}", "type": "{event.type}", "record": {text}}}'.encode()


def _is_object(text: str) -> bool:
    """Is the line a JSON object? Lambda hands over its text as it is, whatever Python would say to digits and depth."""
    try:
        return isinstance(json.loads(text), dict)
    except RecursionError:
        return text.lstrip().startswith("{")
    except ValueError as error:
        return "integer string conversion" in str(error)


def _as_object(text: str, at: str, request_id: str | None) -> Mapping[str, Any]:
    request = {} if request_id is None else {"requestId": request_id}
    return {"timestamp": at, "level": "INFO", **request, "message": text.rstrip("\n")}


def timestamp(at_s: float) -> str:
    """Return a POSIX time as Lambda writes it: UTC, with milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at_s))}.{int(at_s * 1000) % 1000:03d}Z"
