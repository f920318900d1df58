"""The external extension's door: wait for SHUTDOWN, then ship what is left.

The script in /opt/extensions has registered already (that is what every cold start waits for) and hands over the
identifier; what is loaded here loads beside the runtime's own init. There is no shutdown code in the runtime process:
however it ended, its spools are here, and its locks are free.
"""

from __future__ import annotations

import json
import os
import time

from sumo_internal import config as configuration
from sumo_internal import guard
from sumo_internal.lambda_api import Event, ExtensionsApi

EXIT_MARGIN_S = 0.1
"""Left before Lambda's deadline, after which it kills: for the last answer to be read and the process to end."""


def main(address: str, identifier: str) -> None:
    """Live as the extension until SHUTDOWN.

    Args:
        address: AWS_LAMBDA_RUNTIME_API.
        identifier: What the registration answered.

    Raises:
        Exception: Whatever went wrong; the caller falls back to an idle loop, because an extension that exits before
            SHUTDOWN fails the function.
    """
    config, problems = configuration.read(os.environ)
    guard.set_level(config.log_level)
    if "AWS_LAMBDA_EXEC_WRAPPER" not in os.environ:  # the wrapper's process says the same
        for problem in problems:
            guard.say("warn", problem)
    api = ExtensionsApi(address, identifier)
    while (event := api.next()).kind != "SHUTDOWN":
        pass
    if config.endpoint:
        with guard.guard("shipping at SHUTDOWN"):
            drain(config, event)


def drain(config: configuration.Config, event: Event) -> None:
    """Ship every spool that is left, inside the window."""
    from sumo_internal import destinations
    from sumo_internal.delivery import Drained
    from sumo_internal.spool import Shelf
    from sumo_internal.tally import Tally
    from sumo_internal.web import PlainSender

    shelf = Shelf(config.spool_dir)
    counts = Tally(config.spool_dir, f"extension-p{os.getpid()}")

    def account(counts: dict[str, tuple[int, int]]) -> None:
        from sumo_internal.recorder import Recorder
        from sumo_internal.spool import Spool

        function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        found = json.loads(shelf.envelope or "{}")
        headers = drainer.envelope or found or configuration.envelope(config, function, "", "")
        spool = Spool(config.spool_dir, headers, config.spool_max_mb * 1_000_000)
        Recorder(spool, {"logGroup": f"/aws/lambda/{function}", "LayerVersion": configuration.CLIENT}).account(counts)
        shelf.own = spool

    drainer = destinations.make_drainer(config, os.environ, shelf, counts, PlainSender, account)
    until_s = event.deadline_s - EXIT_MARGIN_S
    outcome = drainer.drain(until_s)
    if drainer.account(is_recorded=outcome is Drained.EMPTY):
        drainer.drain(until_s)
    lines, size_bytes = shelf.left()
    if lines and event.reason == "spindown":
        guard.say(
            "error", f"{lines} lines ({size_bytes} bytes) are lost with the environment: {outcome.value} at SHUTDOWN"
        )
    guard.say("debug", f"SHUTDOWN ({event.reason}): {outcome.value}, {event.deadline_s - time.time():.3f} s left")
