"""The Telemetry API's two ends: deliveries in every form that a socket can give them, and subscriptions refused."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from model.web import Request, Response, Server, json_response

from layer.build import ROOT
from sumo_internal.config import read
from sumo_internal.lambda_apis import telemetry_api
from sumo_internal.lambda_apis.telemetry_api import (
    BODY_SLACK_BYTES,
    CONNECTIONS_MAX,
    HEAD_MAX_BYTES,
    LINE_MAX_BYTES,
    Receiver,
    SubscriptionRefusedError,
    delivery_uri,
    subscribe,
    wanted_port,
)

MAX_BYTES = 1_000
SECRET = "5ec2e7"
TIMEOUT_S = 5.0


class Stand:
    """A receiver that is served on a thread, and what it was given."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.numbers: list[int] = []
        self.refuse: Exception | None = None
        self.receiver = Receiver(0, SECRET, MAX_BYTES, self.take)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def take(self, body: bytes, number: int) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.taken.append(body)
        self.numbers.append(number)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.receiver.port), TIMEOUT_S)

    def close(self) -> None:
        self._stop.close()
        self._thread.join(TIMEOUT_S)
        self._stopped.close()
        self.receiver.close()

    def _serve(self) -> None:
        while True:
            poller = select.poll()
            for descriptor in [self._stopped.fileno(), *self.receiver.descriptors()]:
                poller.register(descriptor, select.POLLIN)
            for descriptor, _ in poller.poll():
                if descriptor == self._stopped.fileno():
                    return
                self.receiver.ready(descriptor)


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.close()


def delivery(body: bytes, *headers: str, path: str = f"/1/{SECRET}") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: sandbox.localdomain:1", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def status(connection: socket.socket) -> int | None:
    """The status of the next answer; None where the connection ends without one."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        try:
            more = connection.recv(1)
        except ConnectionResetError:
            return None
        if not more:
            return None
        data += more
    return int(data.split()[1])


def has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_delivery_is_answered_when_it_was_taken(stand: Stand) -> None:
    """200 means that the events are in the spool; the connection stays for the next one."""
    with stand.connect() as connection:
        for number in range(3):
            connection.sendall(delivery(b"[%d]" % number))
            assert status(connection) == 200
            assert stand.taken[-1] == b"[%d]" % number


def test_a_delivery_byte_by_byte(stand: Stand) -> None:
    """A slow peer holds up nobody: another delivery comes between its bytes."""
    with stand.connect() as slow, stand.connect() as other:
        for number, byte in enumerate(delivery(b"[1]", "X-Long: " + "x" * 50)):
            slow.sendall(bytes([byte]))
            if number == 30:
                other.sendall(delivery(b"[2]"))
                assert status(other) == 200
        assert status(slow) == 200
    assert stand.taken == [b"[2]", b"[1]"]


def test_a_delivery_that_comes_again_is_taken_once(stand: Stand) -> None:
    """Lambda repeats a batch whose acknowledgement it has not seen, perhaps because the environment was frozen."""
    for body in (b"[1]", b"[1]", b"[2]"):
        with stand.connect() as connection:
            connection.sendall(delivery(body))
            assert status(connection) == 200
    assert stand.taken == [b"[1]", b"[2]"]


def test_two_deliveries_at_once(stand: Stand) -> None:
    """Pipelined requests are two deliveries and have two answers."""
    with stand.connect() as connection:
        connection.sendall(delivery(b"[1]") + delivery(b"[2]"))
        assert [status(connection), status(connection)] == [200, 200]
    assert stand.taken == [b"[1]", b"[2]"]


def test_the_largest_delivery_and_one_byte_more(stand: Stand) -> None:
    """Twice TELEMETRY_MAX_BYTES and some: what is longer is refused before it is read."""
    most = 2 * MAX_BYTES + BODY_SLACK_BYTES
    with stand.connect() as connection:
        connection.sendall(delivery(b"x" * most))
        assert status(connection) == 200
    with stand.connect() as connection:
        connection.sendall(f"POST /1/{SECRET} HTTP/1.1\r\nContent-Length: {most + 1}\r\n\r\n".encode())
        assert status(connection) == 400 and has_ended(connection)
    assert [len(body) for body in stand.taken] == [most]


def test_a_line_of_nothing_but_escapes_is_taken(stand: Stand) -> None:
    """The longest that Lambda does not cut, behind a full buffer: six times as long as JSON. Were it rejected, it would
    come again and again, and nothing else ever."""
    before = {"record": "x" * (MAX_BYTES - 100)}
    body = json.dumps([before, {"record": "\0" * LINE_MAX_BYTES}]).encode()
    with stand.connect() as connection:
        connection.sendall(delivery(body))
        assert status(connection) == 200
    assert stand.taken == [body]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -2\r\n\r\n[]",
        b"POST / HTTP/1.1\r\nContent-Length: 2e3\r\n\r\n[]",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5_000 + b"\r\n\r\n[]",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"0" * 5_000 + b"\r\n\r\n[]",
        b"\r\n\r\n",
        b"\x16\x03\x01" + b"\xff" * HEAD_MAX_BYTES,
    ],
)
def test_what_is_no_delivery_is_refused_and_said_once(
    stand: Stand, head: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """400, one line however often, and the next delivery is served as if nothing had been."""
    for _ in range(2):
        with stand.connect() as connection:
            connection.sendall(head)
            assert status(connection) == 400 and has_ended(connection)
    with stand.connect() as connection:
        connection.sendall(delivery(b"[]"))
        assert status(connection) == 200
    assert capfd.readouterr().err.count("a delivery of the Telemetry API is rejected: ") == 1


@pytest.mark.parametrize(
    ("error", "expected"), [(telemetry_api.MalformedDeliveryError("no JSON"), 400), (telemetry_api.NoSpoolError(), 500)]
)
def test_what_is_not_taken_is_not_acknowledged(stand: Stand, error: Exception, expected: int) -> None:
    """No JSON will never be any; a spool that cannot be made now may be there for Lambda's next attempt."""
    stand.refuse = error
    with stand.connect() as connection:
        connection.sendall(delivery(b"[]"))
        assert status(connection) == expected
        stand.refuse = None
        connection.sendall(delivery(b"[1]"))
        assert status(connection) == 200


def test_whatever_is_raised_ends_the_connection() -> None:
    """Kept, its bytes would stay readable, and whoever polls would come back to them for ever."""

    def take(body: bytes, number: int) -> None:
        raise RuntimeError("not foreseen")

    with contextlib.closing(Receiver(0, SECRET, MAX_BYTES, take)) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), TIMEOUT_S) as connection:
            [listener] = receiver.descriptors()
            receiver.ready(listener)
            connection.sendall(delivery(b"[]"))
            [_, accepted] = receiver.descriptors()
            assert select.select([accepted], [], [], TIMEOUT_S)[0] == [accepted]
            with pytest.raises(RuntimeError, match="not foreseen"):
                receiver.ready(accepted)
            assert receiver.descriptors() == [listener]
            assert status(connection) == 500 and has_ended(connection)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", f"/1/{SECRET[:-1]}", f"/1/{SECRET}0", f"/{SECRET}", f"/1/{SECRET}/", "/1", "/1/\xe9"),
        *(f"/{number}/{SECRET}" for number in ("", "x", "-1", "1.", "\xb2", "1000", "1" * 5000)),
    ],
)
def test_a_delivery_without_the_secret_is_refused(stand: Stand, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Any process of the environment can connect, and a forged request can make the function do so. Before its body."""
    for _ in range(2):
        with stand.connect() as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\n".encode("latin-1"))
            assert status(connection) == 403 and has_ended(connection)
    assert stand.taken == []
    said = capfd.readouterr().err
    assert said.count("a delivery that is not the Telemetry API's is rejected") == 1 and SECRET not in said


def test_a_delivery_has_the_number_of_its_subscription(stand: Stand) -> None:
    """The same batch by another subscription is another delivery."""
    with stand.connect() as connection:
        for number in (1, 2, 3):
            connection.sendall(delivery(b"[1]", path=f"/{number}/{SECRET}"))
            assert status(connection) == 200
    assert stand.numbers == [1, 2, 3]


def test_where_the_path_is_lost_any_will_do() -> None:
    """AWS's emulator for Managed Instances delivers to the root, whatever was subscribed."""
    taken: list[int] = []
    with contextlib.closing(Receiver(0, None, MAX_BYTES, lambda body, number: taken.append(number))) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), TIMEOUT_S) as connection:
            [listener] = receiver.descriptors()
            receiver.ready(listener)
            connection.sendall(delivery(b"[]", path="/"))
            [_, accepted] = receiver.descriptors()
            assert select.select([accepted], [], [], TIMEOUT_S)[0] == [accepted]
            receiver.ready(accepted)
            assert status(connection) == 200
    assert taken == [1]


def test_connections_are_bounded(stand: Stand) -> None:
    """One more takes the place of the oldest, so that peers that never finish do not keep Lambda out."""
    connections = [stand.connect() for _ in range(CONNECTIONS_MAX + 1)]
    try:
        connections[-1].sendall(delivery(b"[1]"))
        assert status(connections[-1]) == 200
        assert has_ended(connections[0])
        connections[1].sendall(delivery(b"[2]"))
        assert status(connections[1]) == 200
    finally:
        for connection in connections:
            connection.close()


def test_a_peer_that_goes_away_is_forgotten(stand: Stand) -> None:
    """In mid-delivery, or before it has read its answer."""
    with stand.connect() as connection:
        connection.sendall(delivery(b"[1]")[:-1])
    with stand.connect() as connection:
        connection.sendall(delivery(b"[2]"))
    with stand.connect() as connection:
        connection.sendall(delivery(b"[3]"))
        assert status(connection) == 200
    assert stand.taken[-1] == b"[3]" and b"[1]" not in stand.taken


Answer = Callable[[Request], Response | None]


class Lambda:
    """Answers subscriptions as it is told, and keeps them."""

    def __init__(self, *answers: Response) -> None:
        self.asked: list[Request] = []
        self._answers = list(answers)
        self._server = Server(self._answer)
        self.address = self._server.address

    def __enter__(self) -> Lambda:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _answer(self, request: Request) -> Response:
        self.asked.append(request)
        return self._answers.pop(0)

    def subscribe(self, *types: str) -> None:
        subscribe(self.address, "identifier", "http://sandbox:1/", types, (25, 262_144, 1_000))


OLD = json_response(400, {"errorType": "ValidationError", "errorMessage": "schemaVersion"})
OK = Response(200, b"OK")


def test_the_subscription_says_what_is_wanted() -> None:
    """The newest schema, the types, the buffering as set, and the port that is listened on."""
    with Lambda(OK) as api:
        api.subscribe("platform", "function")
    (request,) = api.asked
    assert (request.method, request.path) == ("PUT", "/2022-07-01/telemetry")
    assert request.headers["lambda-extension-identifier"] == "identifier"
    assert json.loads(request.body) == {
        "schemaVersion": "2025-01-29",
        "types": ["platform", "function"],
        "buffering": {"timeoutMs": 25, "maxBytes": 262_144, "maxItems": 1_000},
        "destination": {"protocol": "HTTP", "URI": "http://sandbox:1/"},
    }


def test_what_the_script_has_asked_is_not_asked_again() -> None:
    """Its connection is inherited, and its answer counts; an older schema is asked for on another."""
    for answers, versions in ([OK], []), ([OLD, OK], ["2022-12-13"]):
        with Lambda(*answers) as api:
            host, _, port = api.address.partition(":")
            with socket.create_connection((host, int(port))) as asked:
                asked.sendall(b"PUT /2022-07-01/telemetry HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
                subscribe(api.address, "identifier", "", ["platform"], (25, 1, 1), os.dup(asked.fileno()))
        assert [json.loads(request.body)["schemaVersion"] for request in api.asked[1:]] == versions


def test_the_script_asks_for_the_defaults() -> None:
    """What it asks for before Python runs is, byte for byte, what Python would ask for with the settings' defaults."""
    config, _ = read({})
    buffering = (config.telemetry_timeout_ms, config.telemetry_max_bytes, config.telemetry_max_items)
    script = (ROOT / "layer/extension/sumo-internal-extension").read_text()
    for types in (["platform"], ["function", "platform"]):
        with Lambda(OK) as api:
            subscribe(api.address, "identifier", delivery_uri(25_385, "SECRET"), types, buffering)
        names = json.dumps(types, separators=(",", ":"))[1:-1]
        body = api.asked[0].body.decode().replace(names, "'$types'", 1)
        body = body.replace("25385", "'$((16384 + (${AWS_LAMBDA_RUNTIME_API##*:} & 16383)))'")
        body = body.replace("SECRET", "'$secret'")
        assert f"asked='{body}'" in script and f"types='{names}'" in script
    assert wanted_port("127.0.0.1:9001") == 25_385


def test_a_port_that_is_taken_is_left_alone(stand: Stand) -> None:
    """The function, another layer or the generation before may listen there: then any other port serves."""
    with contextlib.closing(Receiver(stand.receiver.port, SECRET, MAX_BYTES, stand.take)) as second:
        assert second.port != stand.receiver.port


def test_an_older_schema_is_asked_for_where_the_newest_is_not_known() -> None:
    """Not every region has every version."""
    with Lambda(OLD, OLD, OK) as api:
        api.subscribe("platform")
    versions = [json.loads(request.body)["schemaVersion"] for request in api.asked]
    assert versions == ["2025-01-29", "2022-12-13", "2022-07-01"]


@pytest.mark.parametrize(
    ("answers", "is_supported"),
    [
        ([OLD, OLD, OLD], True),
        ([json_response(403, {"errorType": "Telemetry.SubscriptionClosed"})], True),
        ([json_response(202, {"errorType": "Telemetry.NotSupported"})], False),
        ([Response(404)], False),
    ],
)
def test_a_refusal_is_told_apart(answers: list[Response], is_supported: bool) -> None:
    """Too late, wrong or broken is worth a line; the emulator's "not supported" is nobody's fault."""
    with Lambda(*answers) as api, pytest.raises(SubscriptionRefusedError) as refusal:
        api.subscribe("platform")
    assert refusal.value.is_supported is is_supported
    assert str(refusal.value).startswith(str(answers[-1].status))


def test_nobody_there_is_a_refusal_too() -> None:
    """A connection that fails must not end the extension."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SubscriptionRefusedError):
        subscribe(f"127.0.0.1:{port}", "identifier", "", ["platform"], (25, 1, 1))
