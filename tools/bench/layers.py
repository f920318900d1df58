"""Any other extension layer beside ours, in the same model: ``make bench PEER_LAYER=<unpacked /opt>``.

Separate from the peers in process: a layer is a folder with ``extensions/`` and perhaps a wrapper, takes the function's
lines from Lambda's Telemetry API, and is measured from outside. It gets the same variables as ours, those that Sumo
Logic's extension reads among them; others are given as ``PEER_VARIABLES="NAME=value …"``.

It says what was seen, and knows no goals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from sumo_source import HANG, Fault, SumoSource

from bench.compare import LINE_MARK, MIB_LINES, WITHOUT, invoke, others_cpu_ns, started
from bench.costs import starts
from bench.stage import Contender, Stage
from bench.waits import burst_mb, holds_ms

Row = tuple[str, str, float, float]
"""What, in which unit, ours, the other's."""
ARRIVAL_S = 2.0
"""That an environment is kept running, for a layer that ships when it sees fit."""
INVOCATIONS = 3


def contender(folder: Path, variables: str) -> Contender:
    """Return the layer in a folder.

    Args:
        folder: As it is unpacked at /opt.
        variables: ``NAME=value``, separated by spaces; ``AWS_LAMBDA_EXEC_WRAPPER`` names its wrapper where it has one.
    """
    return Contender("other", layer=folder, variables=dict(pair.split("=", 1) for pair in variables.split()))


def compare(stage: Stage, other: Contender) -> Iterator[Row]:
    """Measure both layers and yield a row for each figure."""
    both = [stage.with_layer, other]
    cold = starts(stage, [WITHOUT, *both], "cold start of layers", 20, 0)
    yield _row("cold start added, best", "ms", _less_bare({name: min(each) for name, each in cold.took_ms.items()}))
    yield _row(
        "cold start added, median", "ms", _less_bare({name: median(each) for name, each in cold.took_ms.items()})
    )
    yield _row(
        "until its extension has registered", "ms", {each.name: median(cold.registered_ms[each.name]) for each in both}
    )
    memory_mb = {each.name: _memory_mb(stage, each) for each in (WITHOUT, *both)}
    for number, what in enumerate(("idle", "after 20 invocations with 50 lines")):
        yield _row(f"memory added, {what}", "MB", _less_bare({name: mb[number] for name, mb in memory_mb.items()}))
    peaks_mb = {each.name: burst_mb(stage, each, is_quiet=False) for each in both}
    yield _row("memory at most with 100,000 lines, above idle", "MB", peaks_mb)
    yield _row("CPU for shipping 1 MiB of lines", "ms", {each.name: _shipping_ms(stage, each) for each in both})
    held_ms = {each.name: holds_ms(stage, each, 128, is_quiet=False) for each in both}
    yield _row(
        "128 MB: post-response time of the first response", "ms", {name: first for name, (first, _) in held_ms.items()}
    )
    yield _row("Sumo hangs: longest invocation", "s", {each.name: _hang_s(stage, each) for each in both})
    for status in (429, 503):
        lost = {each.name: _lost(stage, each, status) for each in both}
        yield _row(f"Sumo responds with {status} for three invocations: lines lost, of 30", "", lost)


def _row(what: str, unit: str, values: Mapping[str, float]) -> Row:
    return what, unit, values["with"], values["other"]


def _less_bare(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value - values[WITHOUT.name] for name, value in values.items()}


def _memory_mb(stage: Stage, layer: Contender) -> tuple[float, float]:
    with SumoSource(connections=20) as source, stage.environment(layer, source) as environment:
        started(environment)
        before_mb = environment.memory_pss_bytes() / 1e6
        for _ in range(20):
            invoke(environment, {"log": 50})
        invoke(environment, {"sleep": ARRIVAL_S})
        return before_mb, environment.memory_pss_bytes() / 1e6


def _shipping_ms(stage: Stage, layer: Contender) -> float:
    """Return the CPU of all threads but the function's own, for 1 MiB of lines, until they are at Sumo."""
    samples = []
    with SumoSource(connections=20) as source, stage.environment(layer, source) as environment:
        started(environment)
        invoke(environment, {"log": MIB_LINES})
        for _ in stage.rounds(5, "shipping"):
            before_ns = others_cpu_ns(environment)
            invoke(environment, {"log": MIB_LINES})
            invoke(environment, {"sleep": ARRIVAL_S})
            samples.append((others_cpu_ns(environment) - before_ns) / 1e6)
    return median(samples)


def _hang_s(stage: Stage, layer: Contender) -> float:
    with SumoSource(connections=20) as source, stage.environment(layer, source) as environment:
        source.default = HANG
        started(environment)
        return max(environment.invoke({"log": 3}).duration_s for _ in range(INVOCATIONS))


def _lost(stage: Stage, layer: Contender, status: int) -> int:
    """Return how many of 30 lines never arrive that were written while Sumo refused everything."""
    with SumoSource(connections=20) as source:
        with stage.environment(layer, source) as environment:
            source.default = Fault(status=status)
            started(environment)
            for _ in range(INVOCATIONS):
                environment.invoke({"log": 10})
                environment.invoke({"sleep": ARRIVAL_S})
            source.default = Fault()
            environment.invoke({"sleep": ARRIVAL_S})
            environment.shutdown()
        return 30 - sum(LINE_MARK in str(record) for record in source.records)
