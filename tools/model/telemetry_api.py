"""The Telemetry API (2022-07-01) of one generation: which extensions have subscribed, and what is published to all of
them.

Separate because the emulator has none: this is the only place where a subscription can be tried.

Rules, from AWS's documentation and what users of the real one observed:

* A subscription is taken until init is over, and not after. The answer takes 25 ms.
* What was published since the init began is delivered to a late subscriber too: platform.initStart comes before any
  extension can have subscribed.
* A second subscription of the same extension replaces the first.

It does not make the events, nor deliver them.
"""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import urlsplit

from model.monitor import Monitor
from model.runtime_api import refusal
from model.telemetry_delivery import Subscriber, Subscription, TelemetryEvent
from model.values import Failure
from model.web import Request, Response, json_response

PATH = "/2022-07-01/telemetry"
ANSWER_DELAY_S = 0.025
"""What Datadog measured for a subscription; it is what makes subscribing before registering cost a cold start."""

_SCHEMA_VERSIONS = ("2022-07-01", "2022-12-13", "2025-01-29")
_CATEGORIES = frozenset(("platform", "function", "extension"))
_HOSTS = frozenset(("sandbox", "sandbox.localdomain"))
_BUFFERING = {
    "maxItems": (10_000, 1_000, 10_000),
    "maxBytes": (262_144, 262_144, 1_048_576),
    "timeoutMs": (1_000, 25, 30_000),
}
"""Default, least and greatest."""


class TelemetryApi:
    """The subscribers of one generation."""

    def __init__(self, monitor: Monitor, is_supported: bool, is_json: bool) -> None:
        self._monitor = monitor
        self._is_supported = is_supported
        self._is_json = is_json
        self._is_open = True
        self._lock = threading.Lock()
        self._history: list[TelemetryEvent] = []
        self._subscribers: dict[str, Subscriber] = {}

    def publish(self, *events: TelemetryEvent) -> None:
        """Queue the events for every subscriber of their category."""
        with self._lock:
            if self._is_open:
                self._history.extend(events)
            for subscriber in self._subscribers.values():
                subscriber.add(events)

    def subscribe(self, name: str, request: Request) -> Response:
        """Answer one request to subscribe, from the registered extension of this name."""
        if not self._is_supported:
            message = "Telemetry API is not supported"
            return json_response(202, {"errorMessage": message, "errorType": "Telemetry.NotSupported"})
        time.sleep(ANSWER_DELAY_S)
        subscription = read_subscription(request.body)
        if isinstance(subscription, Failure):
            return refusal(400, subscription.error_type, subscription.message)
        with self._lock:
            if not self._is_open:
                return refusal(403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed already")
            if name in self._subscribers:
                self._subscribers.pop(name).close()
            self._subscribers[name] = subscriber = Subscriber(name, subscription, self._is_json, self._monitor)
            subscriber.add(tuple(self._history))
        types = sorted(subscription.categories)
        self._monitor.note("subscribe", name, ",".join(types))
        record = {"name": name, "state": "Subscribed", "types": types}
        self.publish(TelemetryEvent(time.time(), "platform.telemetrySubscription", record))
        return Response(200, b"OK", {"Content-Type": "text/plain"})

    def stop_subscription(self) -> None:
        """Refuse further subscriptions: init is over."""
        with self._lock:
            self._is_open = False
            self._history.clear()

    def flush(self) -> None:
        """Let every subscriber have at once what is queued for it; does not wait for that."""
        with self._lock:
            for subscriber in self._subscribers.values():
                subscriber.flush()

    def wake(self) -> None:
        """Go on delivering: the environment runs again."""
        with self._lock:
            for subscriber in self._subscribers.values():
                subscriber.wake()

    def close(self) -> None:
        """Drop what is queued, and end the deliveries. The receivers have ended before."""
        with self._lock:
            for subscriber in self._subscribers.values():
                subscriber.close()


def read_subscription(body: bytes) -> Subscription | Failure:
    """Return what the body of a request asks for, or what is wrong with it."""
    try:
        asked = json.loads(body)
        version, destination = asked["schemaVersion"], asked["destination"]
        target, categories = urlsplit(destination["URI"]), frozenset(asked["types"])
        port, is_http = target.port, destination["protocol"] == "HTTP" and target.scheme == "http"
        buffering = {key: asked.get("buffering", {}).get(key, limits[0]) for key, limits in _BUFFERING.items()}
        is_within = all(least <= buffering[key] <= greatest for key, (_, least, greatest) in _BUFFERING.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Failure("ValidationError", f"malformed subscription: {error!r}")
    if version not in _SCHEMA_VERSIONS or not categories or not categories <= _CATEGORIES or not is_within:
        return Failure("ValidationError", "schemaVersion, types or buffering out of range")
    if not is_http or target.hostname not in _HOSTS or port is None or port == 9001:
        return Failure("ValidationError", f"destination not supported: {destination['URI']}")
    sizes = (buffering["maxItems"], buffering["maxBytes"], buffering["timeoutMs"] / 1000)
    return Subscription(version, categories, port, target.path or "/", *sizes)
