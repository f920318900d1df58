"""The demo's story: an order service lives through two generations of processes, in the model of its environment.

Separate from ``demo_facts``, which counts, and from ``demo``, which shows. The layer is the real one, and its lines go
to a local Sumo source; the story is told while it happens, by generators.

The runtime is killed while the function waits for a bank that does not answer. Its call proves that everything logged
or printed before had returned: from there on none of it may be lost.

It prints nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_facts import (
    Account,
    ColdStart,
    Ended,
    Happening,
    Initialised,
    Next,
    Served,
    Traces,
    batches,
    function_lines,
    is_layers,
    missing_numbers,
    traces,
)
from model import Environment
from packages import package
from runtimes import ROOT, Runtime, interpreters, typical
from sumo_source import SumoSource

from layer.build import build, unpack
from sumo_internal.flushing import EVIDENCE_LENGTH

FUNCTION = ROOT / "tests/functions/orders"
STRUCTLOG = "structlog==23.1.0"
"""The function's own, older than the layer's; it needs nothing else on any Python."""
MEMORY_MB = 1769
"""One core, where the machine lets us limit it."""
TIMEOUT_S = 30.0

_CHARGE_BOUND_S = 20.0
"""For the function to come as far as the bank; it takes a tenth of a second."""


@dataclass(frozen=True)
class Stage:
    """What the story needs: a runtime, the unpacked layer, the function's folder."""

    runtime: Runtime
    layer: Path
    task_root: Path
    not_isolated: str | None
    """Why the processes have no file system of their own; None where they have."""

    def environment(self, source: SumoSource, bank: Bank, *, with_layer: bool = True) -> Environment:
        """Return an environment of the function."""
        layer_variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url}
        return Environment(
            self.runtime,
            self.task_root,
            layer=self.layer if with_layer else None,
            variables={"PAYMENT_SERVICE": bank.address, **(layer_variables if with_layer else {})},
            memory_mb=MEMORY_MB,
            timeout_s=TIMEOUT_S,
            cpu_limited=True,
            isolated=self.not_isolated is None,
        )


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Build the layer, install the runtime client and lay out the function with its structlog."""
    with tempfile.TemporaryDirectory(prefix="sumo-demo-") as folder:
        layer, task_root = Path(folder, "opt"), Path(folder, "task")
        unpack(build(interpreters()), layer)
        for part in (FUNCTION, package(STRUCTLOG)):
            shutil.copytree(part, task_root, dirs_exist_ok=True)
        runtime = typical()
        _ = runtime.ric  # installed here, and not on the clock of the first cold start
        yield Stage(runtime, layer, task_root, Environment.isolation_available())


class Bank:
    """A payment service on loopback that takes charges and does not answer them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_CHARGE_BOUND_S)
        self._calls: list[socket.socket] = []

    def __enter__(self) -> Bank:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._listener, *self._calls):
            opened.close()

    @property
    def address(self) -> str:
        """Host and port."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def await_charge(self) -> str:
        """Wait until the function asks for a charge; return the number of the last line that it has written."""
        call, _ = self._listener.accept()
        self._calls.append(call)
        call.settimeout(_CHARGE_BOUND_S)
        with call.makefile("rb") as stream:
            path = stream.readline().decode().split()[1]
        return path.removeprefix("/charges/")


# The story


@dataclass(frozen=True)
class Visit:
    """One order, and how long the environment is frozen after it."""

    what: str
    event: Mapping[str, Any]
    pause_s: float


def visits() -> Iterator[Visit]:
    """Yield the orders: five up to the crash, then so many that ``SUMO_FLUSH=auto`` finds them dense."""
    numbers = itertools.count(1001)

    def visit(what: str, items: int = 2, payment: str = "invoice", pause_s: float = 0.5) -> Visit:
        number = next(numbers)
        articles = itertools.cycle((["espresso", 2], ["filter", 1], ["beans 1 kg", 1], ["grinder", 1]))
        event = {
            "order": number,
            "customer": f"c-{number % 7}",
            "items": list(itertools.islice(articles, items)),
            "payment": payment,
            "seconds": 0.12 + 0.03 * (number % 3),
        }
        return Visit(f"order {number}{what}", event, pause_s)

    yield visit(", the first one", pause_s=2.0)
    yield visit(", after 2 s frozen", items=3)
    yield visit(", card expired", payment="expired card")
    yield visit("", items=4)
    yield visit(", 40 items: SIGKILL", items=40, payment="card")
    yield visit(", in a new process")
    for items in range(EVIDENCE_LENGTH + 2):
        yield visit("", items=1 + items % 3)


def play(on: Stage) -> Iterator[Happening]:
    """Run the story; the last thing that happens is the account."""
    with SumoSource() as source, Bank() as bank, on.environment(source, bank) as environment:
        reel = _Reel(environment, source)
        yield Next("cold start")
        init = environment.start()
        yield Initialised(init, reel.cut(), on.not_isolated, environment.missing)
        served = []
        numbered = []
        for number, visit in enumerate(visits(), 1):
            yield Next(f"invocation {number}: {visit.what}")
            if visit.event["payment"] == "card":
                handle = environment.begin_invoke(visit.event)
                numbered.append(bank.await_charge())
                environment.kill_runtime(signal.SIGKILL)
                invocation = handle.finish()
            else:
                invocation = environment.invoke(visit.event)
            if invocation.status == "success":
                numbered.append(f"{invocation.payload['order']}/{invocation.payload['log_lines']}")
            served.append(Served(number, visit.what, invocation, reel.cut()))
            yield served[-1]
            if invocation.status != "crash":
                yield Next(f"frozen for {visit.pause_s:g} s")
                time.sleep(visit.pause_s)
        yield Next("SHUTDOWN")
        shutdown = environment.shutdown()
        yield Ended(shutdown, reel.cut())
        yield _account(served, numbered, environment, source)


class _Reel:
    """Cuts what accumulates in the environment and at the source into the steps of the story."""

    def __init__(self, environment: Environment, source: SumoSource) -> None:
        self._environment = environment
        self._source = source
        self._lines_before = self._requests_before = self._events_before = 0

    def cut(self) -> Traces:
        """Return what is new since the last cut."""
        lines, events, requests = self._environment.cloudwatch, self._environment.timeline, self._source.requests
        step = traces(lines[self._lines_before :], requests, events, self._requests_before, self._events_before)
        self._lines_before, self._requests_before, self._events_before = len(lines), len(requests), len(events)
        return step


def _account(
    served: Sequence[Served], numbered: Sequence[str], environment: Environment, source: SumoSource
) -> Account:
    lines = function_lines(environment.cloudwatch)
    return Account(
        served=served,
        batches=batches(source.requests, environment.timeline),
        timeline=environment.timeline,
        records=source.records,
        said_by_layer=[line.text for line in environment.cloudwatch if is_layers(line)],
        problems=source.problems,
        written=Counter([*lines, *missing_numbers(lines, numbered)]),
    )


def cold_starts(on: Stage, rounds: int) -> Iterator[ColdStart]:
    """Start new environments with and without the layer in turn.

    Raises:
        RuntimeError: One did not start; a comparison makes no sense then.
    """
    event = next(visits()).event
    for with_layer in (True, False) * rounds:
        with SumoSource() as source, Bank() as bank, on.environment(source, bank, with_layer=with_layer) as environment:
            init = environment.start()
            if init.error is not None:
                raise RuntimeError(f"the cold start failed: {init.error}")
            idle_bytes = environment.memory_pss_bytes()
            environment.invoke(event)
            yield ColdStart(with_layer, init.duration_s, idle_bytes, environment.memory_pss_bytes())
