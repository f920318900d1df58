"""The stand-in: whose lifeline ends, whose thread is gone, and who then asks Lambda for events."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator

import pytest
from model_functions import eventually
from scripted_http import ScriptedServer, answer

from sumo_internal.extension import stand_in
from sumo_internal.extension.keeper import LIFELINES_MAX, Keeper
from sumo_internal.spool import handoff
from sumo_internal.spool.handoff import LIFELINE

ADDRESS = f"\0sumo-internal/stand-in-{os.getpid()}"
EVENT = answer(200, {"eventType": "INVOKE", "deadlineMs": 4_000, "requestId": "r1"})


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper(ADDRESS)
    yield keeper
    handoff.release_lifeline()
    for connection, _ in keeper.lifelines:
        connection.close()
    keeper.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Lambda: answers with what is no event, with one, and then refuses."""
    with ScriptedServer(default=answer(403)) as server:
        server.script(answer(200), EVENT)
        yield server


def look(keeper: Keeper, server: ScriptedServer) -> bool:
    """Wait until a lifeline has ended, and look."""
    keeper.look()
    assert select.select(stand_in.descriptors(keeper), [], [], 5)[0]
    return stand_in.look(keeper, server.url.partition("://")[2])


def hold() -> None:
    assert handoff.hold_lifeline(ADDRESS, "x1")


def test_a_thread_that_is_gone_is_stood_in_for(keeper: Keeper, server: ScriptedServer) -> None:
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    eventually(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))  # a moment later
    handoff.release_lifeline()
    assert look(keeper, server)
    eventually(lambda: len(server.requests) == 3)
    assert {request.headers["lambda-extension-identifier"] for request in server.requests} == {"x1"}
    assert {request.path for request in server.requests} == {"/2020-01-01/extension/event/next"}
    assert stand_in.descriptors(keeper) == []


def test_a_thread_that_lives_asks_itself(keeper: Keeper, server: ScriptedServer) -> None:
    """It lets go of its lifeline at the end of each init; and the function may close the descriptor."""
    hold()
    handoff.release_lifeline()
    assert not look(keeper, server)
    assert server.requests == [] and stand_in.descriptors(keeper) == []


def test_a_process_that_is_dead_is_not_stood_in_for(keeper: Keeper, server: ScriptedServer) -> None:
    """Lambda knows that; and where /proc shows no other processes, nothing tells a thread that lives."""
    child = os.fork()
    if child == 0:
        handoff.hold_lifeline(ADDRESS, "x1")
        os._exit(0)
    os.waitpid(child, 0)
    assert not look(keeper, server)
    assert server.requests == []


def test_a_lifeline_that_holds_is_waited_for(keeper: Keeper, server: ScriptedServer) -> None:
    hold()
    keeper.look()
    assert not stand_in.look(keeper, server.url.partition("://")[2])
    assert len(stand_in.descriptors(keeper)) == 1


def test_what_is_not_ours_takes_no_lifeline_away(keeper: Keeper, server: ScriptedServer) -> None:
    """Any process of the environment may send what it likes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs:
        theirs.connect(ADDRESS)
        theirs.send(LIFELINE + b"nonsense")
        keeper.look()
    hold()
    assert not look(keeper, server)
    assert len(stand_in.descriptors(keeper)) == 1


def test_there_is_a_bound(keeper: Keeper) -> None:
    """Any process of the environment may connect."""
    for _ in range(2 * LIFELINES_MAX):
        hold()
        keeper.look()
        handoff.release_lifeline()
    assert len(stand_in.descriptors(keeper)) == LIFELINES_MAX


def test_without_an_extension_it_is_tried_again() -> None:
    assert not handoff.hold_lifeline(ADDRESS, "x1")
    assert handoff.hold_lifeline("", "x1"), "there is nobody to tell"
    assert handoff.hold_lifeline(ADDRESS, ""), "nobody is registered"


def test_a_descriptor_that_is_the_functions_by_now_stays_open(keeper: Keeper) -> None:
    ours = os.dup(0)
    os.close(ours)
    hold()  # under the least number that is free
    os.close(ours)
    theirs = os.open("/dev/null", os.O_RDONLY)
    assert theirs == ours
    handoff.release_lifeline()
    os.fstat(theirs)
    os.close(theirs)
