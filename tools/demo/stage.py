"""The demo's stage: plays a story in the model of a function's environment, with the layer as built.

Separate from ``story``, which says what happens, from ``facts``, which has the figures, and from ``run``, which shows.
The lines go to a local Sumo source, or to a bucket on this machine that takes whatever comes; what happens is told
while it does, by generators.

Where the runtime is killed, or runs out of time, the function waits for a bank that does not answer. Its call proves
that everything logged or printed before had returned: from there on none of it may be lost.

It prints nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model import Environment
from packages import package
from runtimes import ROOT, Runtime, interpreters, typical
from scripted_http import ScriptedServer, answer
from sumo_source import SumoSource

from demo.counts import batches, function_lines, is_layers, missing_numbers, stored_records, traces
from demo.facts import Account, ColdStart, Ended, Happening, Initialised, Next, Served, Traces
from demo.story import ORDINARY, TIMEOUT_S, Story
from layer.build import build, unpack

FUNCTION = ROOT / "tools/functions/orders"
STRUCTLOG = "structlog==23.1.0"
"""The function's own, older than the layer's; it needs nothing else on any Python."""
MEMORY_MB = 1769
"""One core, where the machine lets us limit it."""

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

    def environment(self, bank: Bank, variables: Mapping[str, str] | None, timeout_s: float = TIMEOUT_S) -> Environment:
        """Return an environment of the function.

        Args:
            bank: Where the function has cards charged.
            variables: The layer's settings; None for an environment without the layer.
            timeout_s: The function's.
        """
        return Environment(
            self.runtime,
            self.task_root,
            layer=None if variables is None else self.layer,
            variables={"PAYMENT_SERVICE": bank.address, **(variables or {})},
            memory_mb=MEMORY_MB,
            timeout_s=timeout_s,
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


# Playing


def play(on: Stage, story: Story = ORDINARY) -> Iterator[Happening]:
    """Run a story; the last thing that happens is the account."""
    with SumoSource() as source, Bank() as bank, ScriptedServer(answer(200)) as bucket:
        variables = {**_settings(source, bucket if story.has_bucket else None), **story.variables}
        with on.environment(bank, variables, story.timeout_s) as environment:
            reel = _Reel(environment, source, bucket)
            yield Next("cold start")
            init = environment.start()
            yield Initialised(init, reel.cut(), on.not_isolated, environment.missing)
            served = []
            numbered = []
            for number, visit in enumerate(story.visits(), 1):
                yield Next(f"invocation {number}: {visit.what}")
                source.script(visit.sumo_first)
                source.default = visit.sumo or source.default
                handle = environment.begin_invoke(visit.event)
                if visit.event["payment"] == "card":
                    numbered.append(bank.await_charge())
                if visit.is_killed:
                    environment.kill_runtime(signal.SIGKILL)
                invocation = handle.finish()
                if invocation.status == "success":
                    numbered.append(f"{invocation.payload['order']}/{invocation.payload['log_lines']}")
                served.append(Served(number, visit.what, invocation, reel.cut()))
                yield served[-1]
                if invocation.shutdown is None:
                    yield Next(f"frozen for {visit.pause_s:g} s")
                    time.sleep(visit.pause_s)
            yield Next("SHUTDOWN")
            shutdown = environment.shutdown()
            yield Ended(shutdown, reel.cut())
            yield _account(served, numbered, environment, source, bucket)


def _settings(source: SumoSource, bucket: ScriptedServer | None) -> dict[str, str]:
    """Return the layer's settings; with a bucket, those that users set for failover."""
    failover = {
        "SUMO_ENABLE_FAILOVER": "true",
        "SUMO_S3_BUCKET_NAME": "failover",
        "SUMO_S3_BUCKET_REGION": "us-east-1",
    }
    return {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.url,
        **({} if bucket is None else {**failover, "AWS_ENDPOINT_URL_S3": bucket.url}),
    }


class _Reel:
    """Cuts what accumulates in the environment, at the source and in the bucket into the steps of the story."""

    def __init__(self, environment: Environment, source: SumoSource, bucket: ScriptedServer) -> None:
        self._environment = environment
        self._source = source
        self._bucket = bucket
        self._lines_before = self._sent_before = self._events_before = 0

    def cut(self) -> Traces:
        """Return what is new since the last cut."""
        lines, events = function_lines(self._environment.cloudwatch), self._environment.timeline
        sent = batches(self._source.requests, self._bucket.requests, events)
        step = traces(lines[self._lines_before :], sent, events, self._sent_before, self._events_before)
        self._lines_before, self._sent_before, self._events_before = len(lines), len(sent), len(events)
        return step


def _account(
    served: Sequence[Served],
    numbered: Sequence[str],
    environment: Environment,
    source: SumoSource,
    bucket: ScriptedServer,
) -> Account:
    lines = function_lines(environment.cloudwatch)
    return Account(
        served=served,
        batches=batches(source.requests, bucket.requests, environment.timeline),
        timeline=environment.timeline,
        records=source.records,
        stored=[record for put in bucket.requests for record in stored_records(put)],
        said_by_layer=[line.text.strip() for line in environment.cloudwatch if is_layers(line)],
        problems=source.problems,
        lines=lines,
        unseen=missing_numbers(lines, numbered),
    )


def cold_starts(on: Stage, rounds: int) -> Iterator[ColdStart]:
    """Start new environments with and without the layer in turn.

    Raises:
        RuntimeError: One did not start; a comparison makes no sense then.
    """
    event = next(ORDINARY.visits()).event
    for with_layer in (True, False) * rounds:
        with SumoSource() as source, Bank() as bank:
            with on.environment(bank, _settings(source, None) if with_layer else None) as environment:
                init = environment.start()
                if init.error is not None:
                    raise RuntimeError(f"the cold start failed: {init.error}")
                idle_bytes = environment.memory_pss_bytes()
                environment.invoke(event)
                yield ColdStart(with_layer, init.duration_s, idle_bytes, environment.memory_pss_bytes())
