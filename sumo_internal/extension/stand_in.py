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
from sumo_internal.spool.handoff import LIFELINE

PAUSE_S = 0.1
"""After a request that had no answer."""


def descriptors(keeper: Keeper) -> list[int]:
    """The lifelines; each has something to read when it ends."""
    return [connection.fileno() for connection, _ in keeper.lifelines]


def look(keeper: Keeper, address: str) -> bool:
    """Ask for the events of each thread whose lifeline has ended, and which is gone.

    Args:
        keeper: Has the lifelines.
        address: AWS_LAMBDA_RUNTIME_API.

    Returns:
        Whether there was one: another program has taken the place of the function's process.
    """
    is_replaced = False
    lifelines, keeper.lifelines = keeper.lifelines, []
    for connection, message in lifelines:
        try:
            connection.recv(1, MSG_DONTWAIT)
        except BlockingIOError:
            keeper.lifelines.append((connection, message))
            continue
        except OSError:
            pass
        connection.close()
        process, _, rest = message[len(LIFELINE) :].decode("ascii", "replace").partition(" ")
        thread, _, identifier = rest.partition(" ")
        if not identifier:
            continue  # it is nothing of ours
        if os.path.exists(f"/proc/{process}") and not os.path.exists(f"/proc/{process}/task/{thread}"):
            threads.start(_ask_for_events, address, identifier)
            is_replaced = True
    return is_replaced


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
