"""What a Python user would pick instead, measured beside the layer in the same run.

In process: libraries from PyPI, each set up as its documentation has it (``functions/bench/setups.py``), each sending
to the same local sink. As a layer: whatever is unpacked in a folder, extensions and wrapper, against a Sumo source.

Separate from the cases, whose rows are the project's own goals: here all contenders' figures are in one unit, what they
add to the same function without anything. A peer that cannot be installed or does not run is named, with the reason.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from model import ModelStuck

from bench import costs
from bench.compare import WITHOUT, Samples, held_ms, invoke, response_ms, started
from bench.sink import Sink
from bench.stage import Contender, Stage


@dataclass(frozen=True)
class Peer:
    """A library in the function's own process."""

    name: str
    setup: str
    requirements: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    sends: bool = True
    """Whether lines leave from the function's process; false where they are left to something beside it."""
    replaces: bool = False
    """Whether it stands in for the runtime's own handler, whose cost it then saves."""


PEERS = (
    Peer("stdlib QueueHandler", "queue", sends=False),
    Peer("Powertools Logger", "powertools", ["aws-lambda-powertools==3.37.0"], sends=False, replaces=True),
    Peer("watchtower", "watchtower", ["watchtower==3.4.0"]),
    Peer("logzio-python-handler", "logzio", ["logzio-python-handler==4.1.9"]),
    Peer(
        "OpenTelemetry logs",
        "opentelemetry",
        ["opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2"],
    ),
    Peer("Sentry logs", "sentry", ["sentry-sdk==2.75.0"]),
    Peer(
        "New Relic",
        "newrelic",
        ["newrelic-lambda==1.0.0", "newrelic==14.1.0"],
        {
            "NEW_RELIC_SERVERLESS_MODE_ENABLED": "true",
            "NEW_RELIC_ACCOUNT_ID": "1",
            "NEW_RELIC_TRUSTED_ACCOUNT_KEY": "1",
        },
        sends=False,
    ),
    Peer("Lumigo", "lumigo", ["lumigo_tracer==1.1.257"]),
    Peer(
        "Datadog", "datadog", ["datadog_lambda==8.130.0"], {"DD_API_KEY": "0" * 32, "DD_SERVICE": "orders"}, sends=False
    ),
)


class Cost(NamedTuple):
    """What one contender adds to the bare function."""

    cold_start_ms: float
    """The best of its rounds, against the best without: under load a median says more about the load."""
    line_us: float
    """CPU of the thread that logs."""
    response_ms: float
    """Of an invocation with 100 lines."""
    held_ms: float
    """After that response."""
    idle_mb: float
    shipped_mb: float


class Comparison(NamedTuple):
    """All contenders' costs, and which peers could not be measured and why."""

    costs: dict[str, Cost]
    absent: dict[str, str]


def compare(stage: Stage) -> Comparison:
    """Measure the layer and all its peers."""
    ours = Contender("this layer", layer=stage.layer, variables=stage.with_layer.variables)
    with Sink() as sink:
        present, absent = [ours], {}
        for peer in PEERS:
            contender, problem = _contender(stage, peer, sink)
            if contender is None:
                absent[peer.name] = problem
            else:
                present.append(contender)
        return Comparison(_costs(stage, present, sink), absent)


def _contender(stage: Stage, peer: Peer, sink: Sink) -> tuple[Contender | None, str]:
    """Install a peer and try whether it runs; return it, or why not."""
    try:
        packages = stage.packages(*peer.requirements) if peer.requirements else None
        contender = Contender(peer.name, peer.setup, variables=peer.variables, packages=packages)
        stage.tell(f"trying {peer.name}")
        before = sink.posts()
        with stage.environment(contender, sink) as environment:
            started(environment)
            invoke(environment, {"log": 1})
        is_silent = peer.sends and sink.posts() == before
        return (None, "sent nothing") if is_silent else (contender, "")
    except subprocess.CalledProcessError as error:
        return None, f"cannot be installed: {error.stderr.strip().splitlines()[-1]}"
    except (RuntimeError, ModelStuck) as error:
        return None, f"does not run: {error}"


def _costs(stage: Stage, contenders: Sequence[Contender], sink: Sink) -> dict[str, Cost]:
    everybody = [WITHOUT, *contenders]
    replaced = {peer.name for peer in PEERS if peer.replaces}
    null = Contender("null", setup="null")
    cold = costs.starts(stage, everybody, "cold start of peers", 8, 0, sink)
    lines_us = costs.line_costs_us(stage, [*everybody, null], "log", rounds=40, sink=sink)
    responses_ms, holds_ms = _responses_ms(stage, everybody, sink)
    idle_mb, shipped_mb = Samples(list), Samples(list)
    for _ in stage.rounds(3, "memory of peers"):
        for each in everybody:
            before_mb, after_mb = costs.memory_mb(stage, each, sink=sink)
            idle_mb[each.name].append(before_mb)
            shipped_mb[each.name].append(after_mb)

    def added(samples: Samples, name: str, measure: Callable[[Iterable[float]], float] = median) -> float:
        return measure(samples[name]) - measure(samples[WITHOUT.name])

    return {
        each.name: Cost(
            added(cold.took_ms, each.name, min),
            lines_us[each.name] - lines_us[null.name if each.name in replaced else WITHOUT.name],
            added(responses_ms, each.name),
            added(holds_ms, each.name),
            added(idle_mb, each.name),
            added(shipped_mb, each.name),
        )
        for each in contenders
    }


def _responses_ms(stage: Stage, contenders: Sequence[Contender], sink: Sink) -> tuple[Samples, Samples]:
    """Return how long responses with 100 lines take, and how long the environment runs on after them."""
    responses_ms, holds_ms = Samples(list), Samples(list)
    with ExitStack() as stack:
        environments = {}
        for each in contenders:
            environments[each.name] = stack.enter_context(stage.environment(each, sink, is_quiet=True))
            started(environments[each.name])
            invoke(environments[each.name], {"log": 100})
        for _ in stage.rounds(30, "responses of peers"):
            for name, environment in environments.items():
                invocation = invoke(environment, {"log": 100})
                responses_ms[name].append(response_ms(invocation))
                holds_ms[name].append(held_ms(invocation))
    return responses_ms, holds_ms
