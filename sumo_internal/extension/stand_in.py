"""The stand-in: asks Lambda for the events of the function's background thread where that thread is gone.

Separate from the keeper, which only receives: Lambda waits in each invocation, the init phase among them, until whoever
is registered has asked for its next event. A function that puts another program in the place of its process while it is
imported (``os.execv``, to start itself again with another ``LD_LIBRARY_PATH``) ends the thread that is registered, and
the program that comes cannot know under which identifier. So the thread holds a lifeline to the extension
(:func:`sumo_internal.spool.handoff.hold_lifeline`) until the init is over.
"""

from __future__ import annotations

import os
import time
from _socket import MSG_DONTWAIT

from sumo_internal import diagnostics, threads
from sumo_internal.extension.keeper import Keeper
from sumo_internal.lambda_apis.extensions_api import ApiRefusedError, ExtensionsApi
from sumo_internal.spool.handoff import LIFELINE, RELEASED

_TIME_MAX_BYTES = 64
"""Of the message that tells when another program takes the process's place."""
PAUSE_S = 0.1
"""After a request that had no answer."""


def descriptors(keeper: Keeper) -> list[int]:
    """The lifelines; each has something to read when it ends, or is about to."""
    return [connection.fileno() for connection, *_ in keeper.lifelines]


def ended(keeper: Keeper) -> list[tuple[str, float]]:
    """Take the lifelines that have ended.

    Args:
        keeper: Has the lifelines.

    Returns:
        For each whose thread is gone, because another program has taken the place of the function's process: the
        identifier under which it is registered (empty where it is not), and the POSIX time at which that was.
    """
    found = []
    lifelines, keeper.lifelines = keeper.lifelines, []
    for connection, message, told_s in lifelines:
        is_released = False
        try:
            while not is_released and (said := connection.recv(_TIME_MAX_BYTES, MSG_DONTWAIT)):
                is_released, told_s = said == RELEASED, _time_in(said)
        except BlockingIOError:
            keeper.lifelines.append((connection, message, told_s))
            continue
        except OSError:
            pass
        connection.close()
        process, _, rest = message[len(LIFELINE) :].decode("ascii", "replace").partition(" ")
        thread, _, identifier = rest.partition(" ")
        if is_released or not thread:
            continue  # the init is over; or it is nothing of ours
        if _has_program(process) and not os.path.exists(f"/proc/{process}/task/{thread}"):
            found.append((identifier, told_s or time.time()))
    return found


def _has_program(process: str) -> bool:
    """Does this process run a program? One that ends has no memory any more, and is in /proc until its end is read."""
    try:
        with open(f"/proc/{int(process)}/statm", "rb") as sizes:
            return sizes.read(1) != b"0"
    except (OSError, ValueError):
        return False


def _time_in(said: bytes) -> float:
    """The time in a message; 0.0 where it is none, or none that has been."""
    try:
        told_s = float(said)
    except ValueError:
        return 0.0
    return told_s if 0 < told_s < time.time() else 0.0


def ask_for_events(address: str, identifier: str) -> None:
    """Ask for the events of a thread that is gone, from here on, in a thread of its own.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
        identifier: The internal extension's; empty where there is none, and nothing is to be asked.
    """
    if identifier:
        threads.start(_ask_for_events, address, identifier)


def _ask_for_events(address: str, identifier: str) -> None:
    api = ExtensionsApi(address, identifier)
    while True:
        try:
            api.receive(api.ask())
        except ApiRefusedError as error:
            diagnostics.say("debug", f"nobody asks for the events of the thread that is gone ({error})")
            return
        except (OSError, ValueError):
            time.sleep(PAUSE_S)  # the environment is going away; if not, Lambda waits for who is registered
