"""What a dead Sumo Logic costs the function's caller: response times beside those without the layer.

``make bench`` takes :func:`measure`; run by itself it prints the rows:

    PYTHONPATH=.:tools python -m bench.dead_sumo --rounds 100

One environment for each contender, all of them warm and kept; their invocations take turns, round by round, so that
whatever else the machine does meets all alike. How long an environment is held after the response is told beside it:
that is on the bill, and the caller does not wait for it.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from model import Environment, Invocation
from runtimes import interpreters, typical
from sumo_source import HANG, SumoSource

from layer.build import build, unpack

ROUNDS = 100
UNCOUNTED_ROUNDS = 10
"""Rounds in which the breaker opens, and everything is loaded that will be."""
LINES = 10

FUNCTION = f"""
import logging
log = logging.getLogger("orders")
log.setLevel(logging.INFO)


def handler(event, context):
    for number in range({LINES}):
        log.info("order %d accepted", number)
"""


class Row(NamedTuple):
    """One way for Sumo Logic to be dead; medians, in milliseconds."""

    how: str
    response_ms: float
    added_ms: float
    """To the response without the layer, of the same rounds."""
    held_ms: float
    """After the response."""


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Compare the response times under each kind of death with those without the layer, whose row is the first."""
    times: dict[str, list[Invocation]] = {}
    with _environments() as environments:
        for number in range(UNCOUNTED_ROUNDS + rounds):
            for how, env in environments.items():
                invocation = env.invoke()
                assert invocation.status == "success", invocation
                if number >= UNCOUNTED_ROUNDS:
                    times.setdefault(how, []).append(invocation)
    responses_ms = {how: _median_ms([_response_s(each) for each in those]) for how, those in times.items()}
    held_ms = {how: _median_ms([each.duration_s - _response_s(each) for each in those]) for how, those in times.items()}
    without_ms = next(iter(responses_ms.values()))
    return [Row(how, ms, ms - without_ms, held_ms[how]) for how, ms in responses_ms.items()]


@contextlib.contextmanager
def _environments() -> Iterator[dict[str, Environment]]:
    """Start one for each contender."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dead-sumo-")))
        unpack(build(interpreters()), folder / "opt")
        (folder / "task").mkdir()
        (folder / "task" / "app.py").write_text(FUNCTION)
        hanging = stack.enter_context(SumoSource(connections=1000))
        hanging.default = HANG
        silent = stack.enter_context(SumoSource(connections=1000))
        silent.pause_listening(silent=True)
        endpoints = {
            "without the layer": None,
            "refusing connections": f"http://127.0.0.1:{_free_port()}/receiver",
            "hanging with the batch": hanging.url,
            "not answering a connect": silent.url,
            "a name that does not resolve": f"https://{'.'.join(['a' * 60] * 5)}/receiver",
        }
        environments = {}
        for how, endpoint in endpoints.items():
            layer = None if endpoint is None else folder / "opt"
            variables = {} if endpoint is None else {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
            variables |= {"SUMO_HTTP_ENDPOINT": endpoint} if endpoint else {}
            env = Environment(typical(), folder / "task", layer=layer, variables=variables, timeout_s=30.0)
            environments[how] = stack.enter_context(env)
            env.start()
        yield environments


def _free_port() -> int:
    """A port at which no process listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _response_s(invocation: Invocation) -> float:
    assert invocation.response_s is not None, "it was a success"
    return invocation.response_s


def _median_ms(times_s: list[float]) -> float:
    return statistics.median(times_s) * 1000


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description="What a dead Sumo Logic adds to the function's response time.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} by default")
    options = parser.parse_args()
    for row in measure(options.rounds):
        print(f"{row.how:30} {row.response_ms:7.2f} ms   {row.added_ms:+6.2f} ms   held {row.held_ms:7.2f} ms")


if __name__ == "__main__":
    main()
