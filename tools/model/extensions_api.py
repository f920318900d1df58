"""The Extensions API (2020-01-01) of one generation: which extensions are registered for what, and which have asked for
the next event.

Separate from the life cycle because the rules of registration are a table of refusals that tests go through one by
one.

Rules, from AWS's own server in the Runtime Interface Emulator:

* An extension that bears the name of a file in /opt/extensions is external; with any other name it is internal. An
  internal extension may register for INVOKE only, only until the runtime's first Next, and only while there are fewer
  than ten extensions of both kinds.
* An extension is ready when it asks for Next. It is handed the event it is registered for, once; asking again while
  one waits takes the place of the earlier request.
* An extension that reports an error, at its init or later, has failed and the environment with it.

It does not watch the processes of external extensions, nor decide when an event is due.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from model.configuration import Function
from model.monitor import Monitor
from model.runtime_api import refusal
from model.values import Failure
from model.web import Request, Response, json_response

PREFIX = "/2020-01-01/extension/"
MAX_EXTENSIONS = 10
_ID_HEADER = "lambda-extension-identifier"


@dataclass
class Extension:
    """One extension that has registered."""

    name: str
    identifier: str
    is_external: bool
    events: tuple[str, ...]
    registered_s: float
    """On ``time.monotonic()``."""
    is_ready: bool = False
    event: Mapping[str, Any] | None = None
    polls: int = 0


class ExtensionsApi:
    """The register of extensions, and the answers to their requests. Read and changed under the monitor's condition."""

    def __init__(self, monitor: Monitor, function: Function, external_names: Iterable[str]) -> None:
        self._monitor = monitor
        self._function = function
        self._external_names = frozenset(external_names)
        self._is_open = True
        self._is_closed = False
        self.registered: dict[str, Extension] = {}
        self.failure: Failure | None = None

    def are_externals_registered(self) -> bool:
        """Whether every file in /opt/extensions has registered."""
        return self._external_names <= {extension.name for extension in self.registered.values()}

    def are_ready(self, event_type: str | None = None) -> bool:
        """Whether all extensions, or all that registered for one type of event, are waiting in Next."""
        return all(extension.is_ready for extension in self.subscribers(event_type))

    def subscribers(self, event_type: str | None = None) -> list[Extension]:
        """Return the extensions that registered for this type of event, or all of them."""
        return [e for e in self.registered.values() if event_type is None or event_type in e.events]

    def name_of(self, request: Request) -> str | None:
        """Return the name of the extension that sends this request, if it is registered."""
        extension = self.registered.get(request.headers.get(_ID_HEADER, ""))
        return None if extension is None else extension.name

    def stop_registration(self) -> None:
        """Refuse further internal extensions: the runtime has asked for its first Next."""
        self._is_open = False

    def send(self, event: Mapping[str, Any]) -> None:
        """Hand this event to every extension that registered for its type."""
        with self._monitor.condition:
            for extension in self.subscribers(event["eventType"]):
                extension.event, extension.is_ready = event, False
            self._monitor.condition.notify_all()

    def close(self) -> None:
        """Answer nothing any more: the generation is gone."""
        with self._monitor.condition:
            self._is_closed = True
            self._monitor.condition.notify_all()

    def handle(self, request: Request) -> Response | None:
        """Answer one request; blocks for as long as Next does."""
        route = (request.method, request.path.removeprefix(PREFIX))
        if route == ("POST", "register"):
            return self._register(request)
        extension = self.registered.get(request.headers.get(_ID_HEADER, ""))
        if extension is None:
            return self.refuse_unknown(request)
        if route == ("GET", "event/next"):
            return self._next(extension)
        if route in (("POST", "init/error"), ("POST", "exit/error")):
            return self._take_error(extension, request)
        return Response(404)

    def refuse_unknown(self, request: Request) -> Response:
        """Refuse a request that no registered extension sends."""
        identifier = request.headers.get(_ID_HEADER)
        if identifier is None:
            return refusal(403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        try:
            uuid.UUID(identifier)
        except ValueError:
            return refusal(403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
        return refusal(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")

    def _register(self, request: Request) -> Response:
        name = request.headers.get("lambda-extension-name", "")
        if not name:
            return refusal(403, "Extension.InvalidExtensionName", "Empty extension name")
        try:
            events = tuple(json.loads(request.body)["events"])
        except (ValueError, KeyError, TypeError) as error:
            return refusal(403, "InvalidRequestFormat", str(error))
        with self._monitor.condition:
            is_external = name in self._external_names
            refused = self._refuse(name, events, is_external)
            if refused is not None:
                return refused
            extension = Extension(name, str(uuid.uuid4()), is_external, events, time.monotonic())
            self.registered[extension.identifier] = extension
            self._monitor.note("register", name, ",".join(events))
        answer = {
            "functionName": self._function.name,
            "functionVersion": self._function.version,
            "handler": self._function.handler,
        }
        if "accountId" in request.headers.get("lambda-extension-accept-feature", ""):
            answer["accountId"] = self._function.account_id
        return json_response(200, answer, {"Lambda-Extension-Identifier": extension.identifier})

    def _refuse(self, name: str, events: tuple[str, ...], is_external: bool) -> Response | None:
        """Return the refusal of a registration that breaks a rule."""
        for event in events:
            if event == "SHUTDOWN" and not is_external:
                message = "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"
                return refusal(403, "Extension.InvalidEventType", message)
            if event not in ("INVOKE", "SHUTDOWN"):
                return refusal(403, "Extension.InvalidEventType", f"{event}: InvalidEventType")
        if is_external:
            if self._is_taken(name):
                return refusal(403, "Extension.InvalidExtensionState", f"Extension {name} is registered already")
            return None
        if not self._is_open:
            return refusal(403, "Extension.RegistrationClosed", "Extension registration closed already")
        internal_count = sum(not extension.is_external for extension in self.registered.values())
        if len(self._external_names) + internal_count >= MAX_EXTENSIONS:
            return refusal(403, "Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
        if self._is_taken(name):
            return refusal(403, "Extension.InvalidExtensionState", "Extension with this name already registered")
        return None

    def _is_taken(self, name: str) -> bool:
        return any(extension.name == name for extension in self.registered.values())

    def _next(self, extension: Extension) -> Response | None:
        with self._monitor.condition:
            extension.polls += 1
            poll = extension.polls
            extension.is_ready = extension.event is None
            self._monitor.note("next", extension.name)
            self._monitor.condition.wait_for(lambda: extension.event or self._is_closed or poll != extension.polls)
            if self._is_closed or poll != extension.polls:
                return None
            event, extension.event = extension.event, None
        return json_response(200, event, {"Lambda-Extension-Event-Identifier": str(uuid.uuid4())})

    def _take_error(self, extension: Extension, request: Request) -> Response:
        reported_type = request.headers.get("lambda-extension-function-error-type")
        if not reported_type:
            return refusal(403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
        error_type = "Extension.InitError" if request.path.endswith("init/error") else "Extension.ExitError"
        with self._monitor.condition:
            self.failure = self.failure or Failure(error_type, f"{extension.name}: {reported_type}")
            self._monitor.note("error", extension.name, reported_type)
        return json_response(202, {"status": "OK"})
