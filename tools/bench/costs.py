"""What the layer costs by itself: a cold start, a line, shipping, memory, the zip.

Each case compares contenders in one alternating run and returns figures by the names of ``goals.GOALS``, made of
medians where the goal says nothing else.

Separate from ``waits``, which measures what waits for the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from runtimes import runtimes
from sumo_source import SumoSource

from bench.compare import (
    AGAIN,
    MIB_LINES,
    WITHOUT,
    Figures,
    Samples,
    added,
    answer,
    invoke,
    lines_at,
    others_cpu_ns,
    started,
)
from bench.goals import Figure, unmeasured
from bench.stage import CORE_MB, Contender, Source, Stage

LINES = 500
"""In a round of the cost per line: fewer bytes than wake the sidecar in mid-invocation, so that what is measured is the
line itself; shipping has a row of its own."""
ZSTD_SINCE = (3, 14)
BOTO3 = "boto3==1.44.5"
"""What the function brings that uses AWS: Lambda's own version depends on the runtime and on the region."""

REGISTERING = r"""#!/bin/bash
connect() { exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}"; }
connect
printf 'POST /2020-01-01/extension/register HTTP/1.1\r\nHost: x\r\nLambda-Extension-Name: %s\r\n' "${0##*/}" >&3
printf 'Content-Length: 23\r\n\r\n{"events":["SHUTDOWN"]}' >&3
while IFS=: read -r key value <&3 && [ "$key" != $'\r' ]; do
    case $key in [Ll]ambda-[Ee]xtension-[Ii]dentifier) identifier=${value//[[:space:]]/} ;; esac
done
connect
printf 'GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\n' >&3
printf 'Lambda-Extension-Identifier: %s\r\n\r\n' "$identifier" >&3
while read -r _ <&3; do :; done
"""
"""An external extension that does nothing, and as little as can be for that."""
EXECUTING = '#!/bin/sh\nexec "$@"\n'
"""A wrapper, likewise."""


def cold_start(stage: Stage) -> Figures:
    """Start with the layer and without in turn.

    The init phase has two cores, whatever the memory size. The worst case is an init that has only the function's own
    share: before any request with provisioned concurrency, or inside the invocation that follows a crash or a timeout.
    """
    pair = (WITHOUT, stage.with_layer)
    cold = starts(stage, (*pair, stage.scripts(REGISTERING, EXECUTING)), "cold_start", 20, 0)
    scripts = {"without": cold.took_ms["without"], "with": cold.took_ms["scripts"]}
    compiled = starts(stage, [replace(each, is_compiled=True) for each in pair], "cold_start_compiled", 20, 0)
    one_core = starts(stage, pair, "cold_start_one_core", 10, CORE_MB)
    smallest = starts(stage, pair, "cold_start_128", 5, 128)
    return {
        "cold_start": added(cold.took_ms, min),
        "cold_start_scripts": added(scripts, min),
        "cold_start_compiled": added(compiled.took_ms, min),
        "cold_start_median": added(cold.took_ms, median),
        "cold_start_one_core": added(one_core.took_ms, median),
        "cold_start_128": added(smallest.took_ms, median),
        "cold_start_cpu": added(cold.cpu_ms, median),
        "registered": _registered(cold.registered_ms["with"]),
    }


def _registered(samples_ms: Sequence[float]) -> Figure:
    return Figure(median(samples_ms), f"best {min(samples_ms):.2f}, most {max(samples_ms):.2f}")


class Starts(NamedTuple):
    """Milliseconds of each cold start, by contender."""

    took_ms: Samples
    registered_ms: Samples
    """Until the external extension had registered, where there is one."""
    cpu_ms: Samples
    """Of all processes together; what a fraction of a core has to be shared for."""


def starts(
    stage: Stage, contenders: Sequence[Contender], what: str, rounds: int, memory_mb: int, sink: Source | None = None
) -> Starts:
    """Start new environments of the contenders in turn.

    Args:
        stage: Where.
        contenders: Which.
        what: Is shown as being done.
        rounds: The usual number.
        memory_mb: 0 for two whole cores, else the size whose CPU share the init phase is to have.
        sink: What takes the lines; a Sumo source by default.
    """
    measured = Starts(Samples(list), Samples(list), Samples(list))
    with ExitStack() as stack:
        source = sink or stack.enter_context(SumoSource(connections=2))
        for _ in stage.rounds(rounds, what):
            for contender in contenders:
                environment = stage.environment(
                    contender,
                    source,
                    memory_mb=memory_mb or CORE_MB,
                    has_share=memory_mb > 0,
                    init_has_share=memory_mb > 0,
                )
                with environment:
                    init = started(environment)
                    measured.took_ms[contender.name].append(init.duration_s * 1000)
                    measured.cpu_ms[contender.name].append(environment.cpu_s() * 1000)
                    registered_s = [s for name, s in init.extensions.items() if name in contender.extensions]
                    measured.registered_ms[contender.name] += [s * 1000 for s in registered_s]
    return measured


def log_info(stage: Stage) -> Figures:
    """Log with the layer and without, in a loop, and nobody reads; in either log format."""
    return {"log_info": _hot(stage, "log"), "log_info_json": _hot(stage, "log", log_format="JSON")}


def print_(stage: Stage) -> Figures:
    """Print, likewise."""
    return {"print": _hot(stage, "print")}


def _hot(stage: Stage, action: str, *, log_format: str = "Text") -> Figure:
    contenders = [WITHOUT, AGAIN, stage.with_layer]
    with SumoSource(connections=len(contenders)) as source:
        costs_us = line_costs_us(stage, contenders, action, log_format=log_format, sink=source)
        if not lines_at(source):
            raise RuntimeError("the layer has heard nothing of what was measured")
    without, again, with_it = costs_us.values()
    detail = f"{without:.2f} and {again:.2f} µs without, {with_it:.2f} with"
    return Figure(with_it - without, detail, abs(again - without))


def structured(stage: Stage) -> Figures:
    """Log structlog's events, printed, through ``logging`` and with SumoProcessor, in turn."""
    packages = stage.packages("structlog==26.1.0")
    variables = stage.with_layer.variables
    contenders = [
        Contender(name, f"structlog_{name}", stage.layer, variables, packages) for name in ("print", "bridge", "sumo")
    ]
    contenders.append(Contender("without", "structlog_print", packages=packages))
    cost_us = line_costs_us(stage, contenders, "structured")
    detail = f"{cost_us['without']:.2f} µs printed without the layer, {cost_us['print']:.2f} with, "
    sumo = Figure(cost_us["sumo"] / cost_us["print"], f"{detail}{cost_us['sumo']:.2f} with SumoProcessor")
    bridge = Figure(cost_us["bridge"] / cost_us["print"], f"{detail}{cost_us['bridge']:.2f} through logging")
    return {"structured": sumo, "structured_bridge": bridge}


def rules(stage: Stage) -> Figures:
    """Log with masked keys and a masked expression, and without, in turn."""
    layer = stage.with_layer
    masks = {"SUMO_MASK_KEYS": "password,*_token", "SUMO_MASK_PATTERNS": r"\b\d{16}\b"}
    masked = Contender("masked", layer=layer.layer, variables={**layer.variables, **masks})
    cost_us = line_costs_us(stage, [layer, masked], "log")
    detail = f"{cost_us['with']:.2f} µs without masks, {cost_us['masked']:.2f} with"
    return {"masks": Figure(cost_us["masked"] - cost_us["with"], detail)}


def spared(stage: Stage) -> Figures:
    """Log with SUMO_CLOUDWATCH=none, without the layer, and to a handler that does nothing, in turn."""
    layer = stage.with_layer
    none = Contender("none", layer=layer.layer, variables={**layer.variables, "SUMO_CLOUDWATCH": "none"})
    figures = {}
    for suffix, log_format in (("", "Text"), ("_json", "JSON")):
        contenders = [WITHOUT, Contender("null", "null"), none]
        cost_us = line_costs_us(stage, contenders, "log", rounds=60, log_format=log_format)
        bare, null, with_none = cost_us.values()
        detail = f"{bare:.2f} µs without, {with_none:.2f} with, {null:.2f} with a NullHandler"
        figures[f"spared{suffix}"] = Figure(with_none / bare, detail)
        figures[f"spared_above_null{suffix}"] = Figure((with_none - null) / (bare - null), detail)
    return figures


def debug(stage: Stage) -> Figures:
    """Log lines of DEBUG that SUMO_DEBUG_ON_FAILURE forgets, and to a handler that does nothing, in turn; then such
    lines where the function shows INFO, with the layer and without, and no such setting."""
    layer = stage.with_layer
    variables = {**layer.variables, "SUMO_DEBUG_ON_FAILURE": "orders"}
    held = Contender("held", layer=layer.layer, variables=variables)
    null_us, held_us = line_costs_us(stage, [Contender("null", "null_debug"), held], "debug", rounds=60).values()
    unset = line_costs_us(stage, [WITHOUT, AGAIN, layer], "debug", rounds=60)
    without, again, with_it = unset.values()
    return {
        "debug": Figure(held_us - null_us, f"{null_us:.2f} µs with a NullHandler at DEBUG, {held_us:.2f} kept back"),
        "debug_unset": Figure(
            with_it - without, f"{without:.3f} and {again:.3f} µs without, {with_it:.3f} with", abs(again - without)
        ),
    }


def line_costs_us(
    stage: Stage,
    contenders: Sequence[Contender],
    action: str,
    *,
    rounds: int = 120,
    length: int = 0,
    log_format: str = "Text",
    sink: Source | None = None,
) -> dict[str, float]:
    """Return the CPU time that a line costs the thread that writes it, for each contender, median of all rounds.

    CPU time and not the clock's, because the time that another program on the machine takes is no cost of a line.

    Args:
        stage: Where.
        contenders: Which.
        action: ``log``, ``debug`` or ``print``.
        rounds: The usual number.
        length: Characters that a line has beyond :data:`LINE_LENGTH`.
        log_format: ``Text`` or ``JSON``.
        sink: What takes the lines; a Sumo source by default.
    """
    costs_us = Samples(list)
    count = LINES if length < 1_000 else LINES // 10
    with ExitStack() as stack:
        source = sink or stack.enter_context(SumoSource(connections=len(contenders)))
        environments = {}
        for each in contenders:
            variables = {"SUMO_FLUSH": "end"}
            environment = stage.environment(each, source, variables=variables, is_quiet=True, log_format=log_format)
            environments[each.name] = stack.enter_context(environment)
            started(environment)
            invoke(environment, {"log": LINES})
        for _ in stage.rounds(rounds, f"{action} per line"):
            for name, environment in environments.items():
                event = {action: count, "with": {"length": length}}
                costs_us[name].append(answer(environment, event)["cpu_ns"] / 1000)
    return {name: median(values) for name, values in costs_us.items()}


def shipping(stage: Stage) -> Figures:
    """Ship 1 MiB of lines, then compress the same bytes, in the same process, in turn.

    What shipping costs is the CPU time of all threads of the environment but the one that wrote the lines. The usual
    lines differ by a number and cost zlib next to nothing, which is the hardest yardstick; others are beside it.
    """
    return {
        "shipping": _shipping(stage, "log"),
        "shipping_varied": _shipping(stage, "varied"),
        "shipping_zstd": _shipping_zstd(stage),
    }


def _shipping_zstd(stage: Stage) -> Figure:
    """Return what shipping with zstd costs, over zlib's level 1 in the same interpreter."""
    newest = max(runtimes([stage.runtime.ric_major]), key=lambda runtime: runtime.version)
    if newest.version < ZSTD_SINCE:
        return unmeasured(f"needs CPython 3.14; this machine's newest is {newest.interpreter}")
    return _shipping(replace(stage, runtime=newest), "log", "zstd")


def _shipping(stage: Stage, action: str, compression: str = "gzip") -> Figure:
    variables = {"SUMO_FLUSH": "end", "SUMO_COMPRESSION": compression}
    kept = stage.folder / f"kept-{action}-{compression}"
    kept.touch()
    shipped_ms, zlib_ms = [], []
    with SumoSource(tls=True, connections=2, keep=kept) as source:
        with stage.environment(stage.with_layer, source, variables=variables, is_quiet=True) as environment:
            started(environment)
            invoke(environment, {action: MIB_LINES})
            for _ in stage.rounds(15, f"shipping, {action}"):
                arrived, before_ns = kept.stat().st_size, others_cpu_ns(environment)
                invoke(environment, {action: MIB_LINES})
                shipped_ms.append((others_cpu_ns(environment) - before_ns) / 1e6)
                with kept.open("rb") as file:
                    file.seek(arrived)
                    (environment.tmp / "body").write_bytes(file.read())
                path = "/tmp/body" if stage.is_isolated else str(environment.tmp / "body")
                zlib_ms.append(answer(environment, {"compress": path})["cpu_ns"] / 1e6)
    ratios = [shipped / compressed for shipped, compressed in zip(shipped_ms, zlib_ms, strict=True)]
    return Figure(median(ratios), f"{median(shipped_ms):.1f} ms, zlib alone {median(zlib_ms):.1f}")


def memory(stage: Stage) -> Figures:
    """Compare PSS after the cold start, and after shipping over TLS with boto3 in the function and without."""
    boto3 = stage.packages(BOTO3)
    idle, shipped = Samples(list), Samples(list)
    for _ in stage.rounds(5, "memory"):
        for setup, packages in (("as_is", None), ("boto3", boto3)):
            for each in (WITHOUT, stage.with_layer):
                contender = Contender(f"{each.name} {setup}", setup, each.layer, each.variables, packages)
                before_mb, after_mb = memory_mb(stage, contender)
                idle[contender.name].append(before_mb)
                shipped[contender.name].append(after_mb)

    def added_to(samples: Samples, setup: str) -> Figure:
        return added({name: samples[f"{name} {setup}"] for name in ("with", "without")}, median)

    return {
        "memory_idle": added_to(idle, "as_is"),
        "memory_boto3": added_to(shipped, "boto3"),
        "memory_bare": added_to(shipped, "as_is"),
    }


def memory_mb(
    stage: Stage, contender: Contender, *, lines: int = 1_000, sink: Source | None = None
) -> tuple[float, float]:
    """Return the PSS of an environment's processes when it has started, and when it has shipped so many lines."""
    with ExitStack() as stack:
        source = sink or stack.enter_context(SumoSource(tls=True, connections=2))
        environment = stage.environment(contender, source, variables={"SUMO_FLUSH": "end"}, is_quiet=True)
        with environment:
            started(environment)
            before_mb = environment.memory_pss_bytes() / 1e6
            invoke(environment, {"log": lines})
            return before_mb, environment.memory_pss_bytes() / 1e6


def zip_size(stage: Stage) -> Figures:
    """Weigh the zip."""
    return {"zip": Figure(stage.zip_bytes / 1024)}
