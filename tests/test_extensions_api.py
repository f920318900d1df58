"""The Extensions API's client, to a real server: one connection, and what may have become of it between two events."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from faulty_http import End
from model_functions import eventually
from scripted_http import ScriptedServer, answer

from sumo_internal.lambda_apis.extensions_api import REGISTER_TIMEOUT_S, ApiRefusedError, ExtensionsApi

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


REGISTERED = answer(200, {"accountId": "123456789012"}, lambda_extension_identifier="x1")


def asking(server: ScriptedServer, *script: bytes | End) -> tuple[ExtensionsApi, Any]:
    """A client that has asked to be registered, and the connection."""
    server.script(*script)
    api = ExtensionsApi(server.url.partition("://")[2])
    return api, api.ask_to_register("ours", ["INVOKE"])


@pytest.mark.parametrize("pieces", [1, 2, 30])
def test_all_of_the_answer_to_the_registration_is_taken_off_its_connection(server: ScriptedServer, pieces: int) -> None:
    """Also what comes late: the function may close the connection at any time, and who is registered has to ask."""
    cuts = [len(REGISTERED) * number // pieces for number in range(pieces + 1)]
    first, *rest = [REGISTERED[begin:end] for begin, end in pairwise(cuts)]
    api, connection = asking(server, first)
    waiting = threading.Thread(target=api.await_registration, args=(connection,))
    waiting.start()
    eventually(lambda: api._early.startswith(first))
    for piece in rest:
        time.sleep(0.002)
        next(iter(server._connections)).send(piece)
    waiting.join(5)
    assert not waiting.is_alive()
    os.close(connection.fileno())
    api.registered(connection)
    assert (api.account_id, next_id(api)) == ("123456789012", "r1")
    assert server.requests[-1].headers["lambda-extension-identifier"] == "x1"
    api.close()


def test_the_answer_to_the_registration_is_waited_for_on_no_connection_of_the_functions(server: ScriptedServer) -> None:
    """The function closes the connection before Lambda has answered, and gets its number: its own data stay its own."""
    api, connection = asking(server, REGISTERED[:-2])
    waiting = threading.Thread(target=api.await_registration, args=(connection,))
    waiting.start()
    while api._early[: len(REGISTERED) - 2] != REGISTERED[:-2]:
        time.sleep(0.001)
    time.sleep(0.05)  # it waits again
    number = connection.fileno()
    theirs, peer = socket.socketpair()
    os.dup2(theirs.fileno(), number)
    theirs.close()
    with peer, socket.socket(fileno=number) as theirs:
        peer.sendall(b"theirs alone")
        time.sleep(0.05)
        theirs.setblocking(False)
        assert theirs.recv(100) == b"theirs alone"
        next(iter(server._connections)).send(REGISTERED[-2:])
        waiting.join(5)
        assert not waiting.is_alive()
        api.registered(connection)
        assert next_id(api) == "r1"
        api.close()


def test_a_registration_that_is_not_answered_takes_its_bound_once(server: ScriptedServer) -> None:
    """From when it was asked for: who looks for it later does not wait as long again."""
    api, connection = asking(server, End.HANG)
    begun_s = time.monotonic()
    with pytest.raises(OSError):
        api.await_registration(connection)
    with pytest.raises(TimeoutError):
        api.registered(connection)
    assert REGISTER_TIMEOUT_S <= time.monotonic() - begun_s < REGISTER_TIMEOUT_S + 0.5


def test_an_event_is_waited_for_without_a_bound(server: ScriptedServer) -> None:
    """The registration's does not stay with the connection."""
    api, connection = asking(server, REGISTERED, End.HANG)
    api.registered(connection)
    connection = api.ask()
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
    connection.close()


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
