"""What the extension asks of Lambda's Telemetry API, and where the events come in.

Separate from the extension's life (:mod:`sumo_internal.extension.lifecycle`), which decides what is wanted, and from
the API itself (:mod:`sumo_internal.lambda_apis.telemetry_api`).

Lambda takes subscriptions during the init only. Nothing says whether a second one replaces the first, is added to it,
is passed over or refused (AWS's emulator refuses it), so the first one has to be right for nearly every function. Where
a further one does not work, only what it was to bring is lost. Each has a number in its path, by which its deliveries
are told apart.
"""

from __future__ import annotations

import os

from sumo_internal import config as configuration
from sumo_internal import diagnostics
from sumo_internal.lambda_apis import telemetry_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from sumo_internal.config import Config

HOLD_TIMEOUT_MS = 25
"""How long Lambda keeps events together where the end of an invocation is waited for: its least."""


class Subscription:
    """The subscriptions of one extension, one after the other."""

    def __init__(
        self,
        config: Config,
        address: str,
        identifier: str,
        secret: str,
        take: Callable[[bytes, int], None],
    ) -> None:
        """Nothing is asked before :meth:`ask`.

        Args:
            config: How long Lambda keeps events together.
            address: AWS_LAMBDA_RUNTIME_API.
            identifier: The extension's.
            secret: What the path of deliveries has in it.
            take: As :class:`telemetry_api.Receiver` has it.
        """
        self._config = config
        self._address = address
        self._identifier = identifier
        self._secret = secret
        self._take = take
        self._receiver: telemetry_api.Receiver | None = None
        self._unread: socket | None = None
        """A request whose answer is not read. It stays open, because a closed one might be taken for given up."""
        self.number = 0
        """Of the subscription that was asked for last."""
        self.types: frozenset[str] = frozenset()
        """What it asked for."""

    def descriptors(self) -> list[int]:
        """What is to be watched for bytes to read."""
        return [] if self._receiver is None else self._receiver.descriptors()

    def ready(self, descriptor: int) -> None:
        """Read what there is on one of the descriptors."""
        if self._receiver is not None:
            self._receiver.ready(descriptor)

    @property
    def is_open(self) -> bool:
        """Do events come?"""
        return self._receiver is not None

    def ask(self, types: set[str], asked: int | None = None, *, is_held: bool = False) -> None:
        """Ask, and wait for the answer; a refusal is said, and the extension does the rest of its work.

        Args:
            types: Which of ``platform``, ``function``, ``extension``.
            asked: Descriptor of a connection on which the script has asked for the same.
            is_held: Invocations are held until their lines are out: events must come at once.
        """
        missing = "the function's lines" if "function" in types else "START, REPORT and other platform events"
        try:
            uri, is_wanted_port = self._listen()
            buffering = self._buffering(is_held=is_held)
            asked = asked if is_wanted_port else None  # asked anew, for another port
            telemetry_api.subscribe(self._address, self._identifier, uri, sorted(types), buffering, asked)
            self.types = frozenset(types)
        except (OSError, ValueError, telemetry_api.SubscriptionRefusedError) as error:
            is_expected = isinstance(error, telemetry_api.SubscriptionRefusedError) and not error.is_supported
            level = "warn" if "function" in types else "info"
            diagnostics.say(
                "debug" if is_expected else level,
                f"the Telemetry API is not available ({error}): {missing} are not shipped",
            )
            if not self.types and self._receiver is not None:
                self._receiver.close()
                self._receiver = None

    def ask_for_less(self, types: set[str]) -> None:
        """Ask for other types, and wait for nothing: ``take`` has to leave out what still comes of the rest."""
        self.types = frozenset(types)
        uri, _ = self._listen()
        self._unread = telemetry_api.ask(
            self._address, self._identifier, uri, sorted(types), self._buffering(is_held=False)
        )

    def _listen(self) -> tuple[str, bool]:
        """Where the next subscription delivers to, and whether that is on the port that the script knows, too."""
        self.number += 1
        wanted_port = telemetry_api.wanted_port(self._address)
        if self._receiver is None:
            # AWS's emulator, the only one to be tried for Managed Instances, leaves out the path of a destination.
            expected = None if configuration.mode(os.environ) == configuration.MANAGED else self._secret
            max_bytes = self._config.telemetry_max_bytes
            self._receiver = telemetry_api.Receiver(wanted_port, expected, max_bytes, self._take)
        port = self._receiver.port
        return telemetry_api.delivery_uri(port, self._secret, self.number), port == wanted_port

    def _buffering(self, *, is_held: bool) -> tuple[int, int, int]:
        timeout_ms = HOLD_TIMEOUT_MS if is_held else self._config.telemetry_timeout_ms
        return timeout_ms, self._config.telemetry_max_bytes, self._config.telemetry_max_items
