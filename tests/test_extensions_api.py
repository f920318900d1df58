"""The Extensions API's client, to a real server: one connection, and what may have become of it between two events."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from faulty_http import End
from scripted_http import ScriptedServer, answer

from sumo_internal.lambda_apis.extensions_api import ApiRefusedError, ExtensionsApi

EVENT = answer(200, {"eventType": "INVOKE", "deadlineMs": 4_000, "requestId": "r1"})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(default=EVENT) as server:
        yield server


@pytest.fixture
def api(server: ScriptedServer) -> Iterator[ExtensionsApi]:
    """One that is registered."""
    server.script(answer(200, lambda_extension_identifier="x1"))
    api = ExtensionsApi(server.url.partition("://")[2])
    api.registered(api.ask_to_register("ours", ["INVOKE"]))
    yield api
    api.close()


def next_id(api: ExtensionsApi) -> str:
    return api.receive(api.ask()).request_id


def connections(server: ScriptedServer) -> list[int]:
    return [request.connection for request in server.requests]


def test_one_connection_for_all(server: ScriptedServer, api: ExtensionsApi) -> None:
    """The registration's. Guards against a new descriptor for each event: there may be none left by then."""
    assert [next_id(api) for _ in range(3)] == ["r1"] * 3
    assert connections(server) == [1] * 4
    assert [request.headers.get("lambda-extension-identifier") for request in server.requests] == [None] + ["x1"] * 3


def test_a_connection_that_is_announced_to_end_is_not_used_again(server: ScriptedServer, api: ExtensionsApi) -> None:
    """A request on it would be one that is lost."""
    server.script(answer(200, {"requestId": "r0"}, Connection="close"))
    assert [next_id(api) for _ in range(2)] == ["r0", "r1"]
    assert connections(server) == [1, 1, 2]


def test_a_connection_that_lambda_has_closed_meanwhile_is_replaced(server: ScriptedServer, api: ExtensionsApi) -> None:
    """At once, and not after a request that went nowhere."""
    next_id(api)
    server.hang_up()
    assert next_id(api) == "r1"
    assert connections(server) == [1, 1, 2]


def test_a_refusal_and_a_broken_answer_are_told_apart(server: ScriptedServer, api: ExtensionsApi) -> None:
    """Both are over with that: the next request has a connection of its own."""
    server.script(answer(403, b"unknown"), End.RESET)
    with pytest.raises(ApiRefusedError, match="/event/next: 403 unknown"):
        next_id(api)
    with pytest.raises(OSError):
        next_id(api)
    assert next_id(api) == "r1"
    assert connections(server) == [1, 1, 2, 3]


def test_an_event_can_be_seen_before_it_is_received(server: ScriptedServer, api: ExtensionsApi) -> None:
    """As often as one likes; Lambda is asked once."""
    connection = api.ask()
    assert [b'"requestId": "r1"' in api.peek(connection) for _ in range(2)] == [True, True]
    assert api.receive(connection).request_id == "r1"
    assert len(server.requests) == 2


def test_an_event_that_never_comes_is_an_error(server: ScriptedServer, api: ExtensionsApi) -> None:
    """Who peeks learns nothing, and who receives what is wrong."""
    server.script(End.CLOSE)
    connection = api.ask()
    assert api.peek(connection) == b""
    with pytest.raises(OSError):
        api.receive(connection)


@pytest.mark.parametrize(
    ("is_pending", "is_peeked"),
    [(True, False), (True, True), (False, False)],
    ids=["asked", "peeked at", "between two events"],
)
def test_a_descriptor_that_is_somebody_elses_by_now_is_left_alone(
    api: ExtensionsApi, is_pending: bool, is_peeked: bool
) -> None:
    """A function that closes what it has not opened gets the same number again: neither written to nor closed."""
    connection = api.ask()
    if not is_pending:
        api.receive(connection)
    number = connection.fileno()
    theirs, peer = socket.socketpair()
    os.close(number)
    os.dup2(theirs.fileno(), number)
    theirs.close()
    if is_pending:
        with pytest.raises(OSError, match="has closed the connection"):
            api.peek(connection) if is_peeked else api.receive(connection)
    assert next_id(api) == "r1"

    with peer, socket.socket(fileno=number) as theirs:
        theirs.sendall(b"theirs alone")
        assert peer.recv(100) == b"theirs alone"
