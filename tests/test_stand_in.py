"""The stand-in: whose lifeline ends, whose thread is gone, and who then asks Lambda for events."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
    for connection, *_ in keeper.lifelines:
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
    gone = stand_in.ended(keeper)
    for identifier, _ in gone:
        stand_in.ask_for_events(server.url.partition("://")[2], identifier)
    return gone != []


def hold() -> None:
    assert handoff.hold_lifeline(ADDRESS, "x1")


def test_a_thread_that_is_gone_is_stood_in_for(keeper: Keeper, server: ScriptedServer) -> None:
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    eventually(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))  # a moment later
    handoff._let_go()
    assert look(keeper, server)
    eventually(lambda: len(server.requests) == 3)
    assert {request.headers["lambda-extension-identifier"] for request in server.requests} == {"x1"}
    assert {request.path for request in server.requests} == {"/2020-01-01/extension/event/next"}
    assert stand_in.descriptors(keeper) == []


@pytest.mark.parametrize("is_told", [True, False])
def test_when_a_thread_was_gone_is_told_or_seen(keeper: Keeper, is_told: bool) -> None:
    """The extension may see it late, and lines that were written meanwhile are the next program's."""

    def hold_and_tell() -> None:
        hold()
        if is_told:
            handoff.tell_replacement()

    thread = threading.Thread(target=hold_and_tell)
    thread.start()
    thread.join()
    gone_s = time.time()
    time.sleep(0.05)
    handoff._let_go()
    keeper.look()
    ((identifier, at_s),) = stand_in.ended(keeper)
    assert identifier == "x1"
    assert at_s <= gone_s if is_told else at_s >= gone_s + 0.05


@pytest.mark.parametrize("said", [b"nan", b"inf", b"-1", b"1e400", b"4102444800", b"\xff", b"x" * 1000, b"0"])
def test_a_time_that_is_none_is_passed_over(keeper: Keeper, said: bytes) -> None:
    """Any process of the environment may send what it likes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs:
        theirs.connect(ADDRESS)
        theirs.send(LIFELINE + f"{os.getpid()} 0 x1".encode())
        theirs.send(said)
    keeper.look()
    begun_s = time.time()
    ((_, at_s),) = stand_in.ended(keeper)
    assert begun_s <= at_s <= time.time()


def test_a_sender_that_is_slow_is_heard(keeper: Keeper) -> None:
    """The extension wakes when somebody connects, and may look before anything was sent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as slow:
        slow.connect(ADDRESS)
        assert select.select(keeper.descriptors(), [], [], 5)[0]
        keeper.look()
        assert not select.select(keeper.descriptors(), [], [], 0)[0], "the extension would never sleep"
        slow.send(LIFELINE + f"{os.getpid()} {threading.get_native_id()} x1".encode())
        assert select.select(keeper.descriptors(), [], [], 5)[0]
        keeper.look()
        assert len(stand_in.descriptors(keeper)) == 1


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


def test_a_process_that_is_dead_is_in_proc_until_its_end_is_read(keeper: Keeper, server: ScriptedServer) -> None:
    """Without its threads. Guards against one that is taken for one with another program."""
    child = os.fork()
    if child == 0:
        thread = threading.Thread(target=hold_for_long, daemon=True)
        thread.start()
        while handoff._lifeline is None:
            time.sleep(0.001)
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert not look(keeper, server)
    os.waitpid(child, 0)
    assert server.requests == []


def hold_for_long() -> None:
    hold()
    time.sleep(9)


def test_a_program_that_is_not_registered_tells_of_the_next_all_the_same(
    keeper: Keeper, server: ScriptedServer
) -> None:
    """Lambda refuses it, because the one before is registered, which is stood in for. The third one's lines count."""
    thread = threading.Thread(target=handoff.hold_lifeline, args=(ADDRESS, ""))
    thread.start()
    thread.join()
    eventually(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))
    handoff._let_go()
    assert look(keeper, server)
    assert server.requests == []


def test_a_forked_child_holds_neither_the_lifeline_nor_the_sign_that_the_function_is_heard(
    keeper: Keeper, server: ScriptedServer, tmp_path: Path
) -> None:
    """It may outlive the program that forked it. Guards against an init that ends at its timeout, and lost lines."""
    lambda_address = f"127.0.0.1:{os.getpid()}"
    handoff.tell_function(str(tmp_path), lambda_address, "group", "stream", {})
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    eventually(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    handoff._let_go()
    try:
        assert look(keeper, server)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, pytest.raises(ConnectionRefusedError):
            other.connect(handoff.function_socket_name(lambda_address))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_thread_that_ends_with_the_init_takes_no_program_with_it(keeper: Keeper, server: ScriptedServer) -> None:
    """One that Lambda has refused to register. Guards against lines that are taken from Lambda, too."""
    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    eventually(lambda: not os.path.exists(f"/proc/self/task/{thread.native_id}"))
    handoff.release_lifeline()
    assert not look(keeper, server)
    assert server.requests == [] and stand_in.descriptors(keeper) == []


def test_a_lifeline_that_holds_is_waited_for(keeper: Keeper) -> None:
    hold()
    keeper.look()
    assert stand_in.ended(keeper) == []
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
