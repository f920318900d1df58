"""Lambda's Telemetry API (2022-07-01): the subscription, and the server that its events are delivered to.

Separate from what the events mean (:mod:`sumo_internal.extension.platform_events`). The server is our own because the
library's costs more than the whole extension: ``http.server`` adds 20 ms of CPU and 5 MB. It is a listener and its
connections, polled by the extension's single thread together with the request for its next event.

Rules:

* The listener is there before the subscription: Lambda's own delivery code tries each batch once.
* A delivery is acknowledged when its events are in the spool, and not before. A body that is not JSON is answered with
  400 and said once; events that cannot be put away now are answered with 500.
* A delivery is Lambda's if it comes to the path that was subscribed, which has a secret in it: other code in the
  environment that can open a connection, or make the function open one, forges no event. Code that can read the
  extension's memory or environment has the secret.
* Nothing of a peer's is trusted: bodies, heads and the number of connections are bounded.

The server listens on all addresses, because ``sandbox.localdomain``, under which Lambda finds it, is no loopback
address.

Source of the formats: AWS, "Lambda Telemetry API reference".
"""

from __future__ import annotations

from _operator import _compare_digest as is_equal
from _socket import AF_INET, MSG_DONTWAIT, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

from sumo_internal import diagnostics
from sumo_internal.net import http1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PATH = "/2022-07-01/telemetry"
SCHEMA_VERSIONS = ("2025-01-29", "2022-12-13", "2022-07-01")
"""In the order in which they are tried; a region may not know the newest."""
SUBSCRIBE_TIMEOUT_S = 1.0
"""Bound on the wait for one answer, which takes Lambda 25 ms: the init phase waits for it."""
CONNECTIONS_MAX = 4
"""Lambda uses one; a fifth takes the place of the oldest."""
HEAD_MAX_BYTES = 16 * 1024
LINE_MAX_BYTES = 256 * 1024
"""Lambda cuts longer lines."""
BODY_SLACK_BYTES = 64 * 1024 + 6 * LINE_MAX_BYTES
"""A body may have twice TELEMETRY_MAX_BYTES "plus metadata", AWS's documentation says, and not whether that is text or
its JSON, in which a character takes six bytes at most. A delivery that is rejected comes again and again, and no other
behind it."""
_LENGTH_MAX_DIGITS = 12
"""Digits of a Content-Length; Python refuses to read a number of some thousands of digits."""
_NUMBER_DIGITS_MAX = 3
"""Digits of a subscription's number: a function that starts itself again through the wrapper has two more of them."""
_RECEIVE_BYTES = 64 * 1024
_ANSWER_TIMEOUT_S = 0.5
"""An acknowledgement is a hundred bytes, into a buffer of the kernel's."""


class SubscriptionRefusedError(Exception):
    """Lambda does not take the subscription; ``is_supported`` is False where there is no Telemetry API at all."""

    def __init__(self, reason: str, *, is_supported: bool = True) -> None:
        super().__init__(reason)
        self.is_supported = is_supported


class MalformedDeliveryError(Exception):
    """A delivery that is no JSON list; its text says in a few words what is wrong."""


class ForgedDeliveryError(MalformedDeliveryError):
    """A delivery that does not come to the subscribed path."""


class NoSpoolError(Exception):
    """A delivery that cannot be put away: Lambda may keep it, or count it as dropped."""


def wanted_port(address: str) -> int:
    """Where we listen, if it is free: below the ports that the kernel gives to connections that go out.

    The extension's script computes the same. The port follows from that of Lambda's own API (9001, which makes 25385),
    because environments that share a network, as those of tests do, must not get each other's events.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
    """
    return 16_384 + (int(address.rpartition(":")[2]) & 16_383)


def delivery_uri(port: int, secret: str, number: int = 1) -> str:
    """Where Lambda shall deliver to: the URI of a :class:`Receiver`.

    Args:
        port: The receiver's.
        secret: Its secret.
        number: Of the subscription; a later one has a greater one.
    """
    return f"http://sandbox.localdomain:{port}/{number}/{secret}"


def subscribe(
    address: str,
    identifier: str,
    uri: str,
    types: Iterable[str],
    buffering: tuple[int, int, int],
    asked: int | None = None,
) -> None:
    """Subscribe; possible after registering and while the init phase lasts.

    Args:
        address: AWS_LAMBDA_RUNTIME_API, ``host:port``.
        identifier: The extension's.
        uri: Where a :class:`Receiver` listens: see :func:`delivery_uri`.
        types: Which of ``platform``, ``function``, ``extension``.
        buffering: Milliseconds, bytes and events that Lambda keeps together.
        asked: Descriptor of a connection on which the same was asked already.

    Raises:
        SubscriptionRefusedError: Lambda says no. Go on without its events; say what is missing.
    """
    for version in SCHEMA_VERSIONS:
        answer = _put(address, identifier, _subscription(version, uri, types, buffering), asked)
        asked = None
        if answer.status == 200:
            return
        if answer.status != 400:
            break
    raise SubscriptionRefusedError(f"{answer.status} {answer.excerpt()}", is_supported=answer.status not in (202, 404))


def _subscription(version: str, uri: str, types: Iterable[str], buffering: tuple[int, int, int]) -> bytes:
    """The request's body. By hand, because ``json`` would be 7 ms of the init phase and is needed for nothing else."""
    names = ",".join(f'"{name}"' for name in types)
    timeout_ms, max_bytes, max_items = buffering
    return (
        f'{{"schemaVersion":"{version}","types":[{names}],'
        f'"buffering":{{"timeoutMs":{timeout_ms},"maxBytes":{max_bytes},"maxItems":{max_items}}},'
        f'"destination":{{"protocol":"HTTP","URI":"{uri}"}}}}'
    ).encode()


def ask(address: str, identifier: str, uri: str, types: Iterable[str], buffering: tuple[int, int, int]) -> socket:
    """Ask for a subscription of the newest schema, and do not wait: the answer is on the connection.

    Raises:
        OSError: Nothing listens there.
    """
    return _ask(address, identifier, _subscription(SCHEMA_VERSIONS[0], uri, types, buffering))


def _ask(address: str, identifier: str, body: bytes) -> socket:
    host, _, port = address.partition(":")
    headers = {"Lambda-Extension-Identifier": identifier, "Content-Type": "application/json"}
    connection = socket(AF_INET, SOCK_STREAM)
    try:
        connection.settimeout(SUBSCRIBE_TIMEOUT_S)
        connection.connect((host, int(port or 80)))
        connection.sendall(http1.request("PUT", PATH, address, headers, body))
    except BaseException:
        connection.close()
        raise
    return connection


def _put(address: str, identifier: str, body: bytes, asked: int | None) -> http1.Answer:
    try:
        connection = _ask(address, identifier, body) if asked is None else socket(fileno=asked)
        try:
            connection.settimeout(SUBSCRIBE_TIMEOUT_S)
            return http1.read_answer(connection.recv)
        finally:
            connection.close()
    except (OSError, http1.BadAnswerError) as error:
        raise SubscriptionRefusedError(f"{type(error).__name__}: {error}") from None


class Receiver:
    """Where Lambda delivers its events."""

    def __init__(self, port: int, secret: str | None, max_bytes: int, take: Callable[[bytes, int], None]) -> None:
        """Listen on a port, or where that is taken on one that is free.

        Args:
            port: The wanted one.
            secret: What the path of a delivery must have in it; None takes any path.
            max_bytes: TELEMETRY_MAX_BYTES, of which a body's bound is made.
            take: Puts the events of a delivery into the spool, and is told the number of the subscription that it
                comes by; raises MalformedDeliveryError or NoSpoolError.

        Raises:
            OSError: Nothing can be listened on.
        """
        self._body_max_bytes = 2 * max_bytes + BODY_SLACK_BYTES
        self._secret = secret
        self._take = take
        self._last = 0
        """Hash of the delivery taken last."""
        self._connections: dict[int, _Connection] = {}
        try:
            self._listener = _listen(port)
        except OSError:
            self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]

    def descriptors(self) -> list[int]:
        """What is to be watched for bytes to read."""
        return [self._listener.fileno(), *self._connections]

    def ready(self, descriptor: int) -> None:
        """Read what there is on one of the descriptors, and take and answer the deliveries that are whole now."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._connections:
            self._serve(self._connections[descriptor])

    def close(self) -> None:
        """Listen no more."""
        for connection in [*self._connections.values()]:
            self._drop(connection)
        self._listener.close()

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # typeshed has it in socket only
        except OSError:
            return  # gone again
        while len(self._connections) >= CONNECTIONS_MAX:
            self._drop(next(iter(self._connections.values())))
        self._connections[descriptor] = _Connection(socket(fileno=descriptor))

    def _serve(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_RECEIVE_BYTES, MSG_DONTWAIT)
            connection.received += data
            while (delivery := connection.delivery(self._number, self._body_max_bytes)) is not None:
                connection.answer(self._taken(*delivery))
            if not data:
                self._drop(connection)
        except BlockingIOError:
            pass  # its descriptor has the number of a connection that was dropped a moment ago
        except ForgedDeliveryError as problem:
            diagnostics.say_once("warn", f"a delivery that is not the Telemetry API's is rejected: {problem}")
            self._drop(connection, 403)
        except MalformedDeliveryError as problem:
            diagnostics.say_once("warn", f"a delivery of the Telemetry API is rejected: {problem}")
            self._drop(connection, 400)
        except OSError:
            self._drop(connection)  # the peer has gone; if it was Lambda, it delivers again
        except BaseException:
            self._drop(connection, 500)  # a connection that stays readable would be read, and raise, for ever
            raise

    def _number(self, target: str) -> int:
        """The number of the subscription by which a delivery comes to a path.

        Raises:
            ForgedDeliveryError: It comes by none.
        """
        if self._secret is None:
            return 1
        _, number, secret = (*target.split("/", 2), "", "")[:3]
        is_number = number.isascii() and number.isdecimal() and len(number) <= _NUMBER_DIGITS_MAX
        if not is_number or not is_equal(secret.encode(), self._secret.encode()):
            raise ForgedDeliveryError("its path does not have the secret that Lambda was told")
        return int(number)

    def _taken(self, number: int, body: bytes) -> int:
        """Put a delivery away; returns the status to answer with."""
        if hash((number, body)) == self._last:
            return 200  # again, because its acknowledgement was lost: events have times, no two batches are equal
        try:
            self._take(body, number)
        except MalformedDeliveryError as problem:
            diagnostics.say_once("warn", f"a delivery of the Telemetry API is rejected: {problem}")
            return 400
        except NoSpoolError:
            return 500
        self._last = hash((number, body))
        return 200

    def _drop(self, connection: _Connection, status: int | None = None) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        try:
            if status is not None:
                connection.answer(status)
        except OSError:
            pass  # the peer has gone already
        connection.socket.close()


def _listen(port: int) -> socket:
    listener = socket(AF_INET, SOCK_STREAM)
    try:
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(CONNECTIONS_MAX)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class _Connection:
    """One connection, and what has come over it that is no whole delivery yet."""

    __slots__ = ("socket", "received")

    def __init__(self, connection: socket) -> None:
        self.socket = connection
        self.socket.settimeout(_ANSWER_TIMEOUT_S)
        self.received = bytearray()

    def delivery(self, number_of: Callable[[str], int], max_bytes: int) -> tuple[int, bytes] | None:
        """Take the next delivery out of what was received: its number and body; None while it is not whole.

        Args:
            number_of: Tells the number from a path, or raises ForgedDeliveryError.
            max_bytes: The longest body.

        Raises:
            MalformedDeliveryError: It never will be whole.
        """
        head_end = self.received.find(b"\r\n\r\n", 0, HEAD_MAX_BYTES)
        if head_end < 0:
            if len(self.received) >= HEAD_MAX_BYTES:
                raise MalformedDeliveryError("its headers do not end")
            return None
        begin = head_end + 4
        target, length = _read_head(bytes(self.received[:head_end]))
        number = number_of(target)
        if length > max_bytes:
            raise MalformedDeliveryError(f"it has {length} bytes; the limit is {max_bytes}")
        if len(self.received) < begin + length:
            return None
        body = bytes(self.received[begin : begin + length])
        del self.received[: begin + length]
        return number, body

    def answer(self, status: int) -> None:
        self.socket.sendall(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)


def _read_head(head: bytes) -> tuple[str, int]:
    """The path, and how long the body is."""
    request, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = request.partition(" ")
    target, _, version = rest.partition(" ")
    if method != "POST" or not version.startswith("HTTP/1."):
        raise MalformedDeliveryError("it is not a POST request")
    for line in lines:
        name, _, value = line.partition(":")
        digits = value.strip()
        if name.strip().lower() == "content-length" and digits.isdecimal() and len(digits) <= _LENGTH_MAX_DIGITS:
            return target, int(digits)
    raise MalformedDeliveryError("it has no Content-Length")
