"""What waits for the layer, and for how long: SHUTDOWN, the caller, the environment, a function that logs or works.

Each case compares contenders in one alternating run and returns figures by the names of ``goals.GOALS``, made of
medians where the goal says nothing else.

Separate from ``costs``, which measures what the layer takes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median

from model import Environment
from sumo_source import HANG, Fault, SumoSource

from bench.compare import (
    AGAIN,
    BURST_LINES,
    MIB_LINES,
    WITHOUT,
    Figures,
    Samples,
    added,
    answer,
    held_ms,
    invoke,
    lines_at,
    open_pair,
    response_ms,
    started,
)
from bench.goals import Figure, unmeasured
from bench.sink import Sink
from bench.stage import Contender, Stage

SLOW_S = 0.08
"""A Sumo that takes this long for an answer is not slow."""
NAME_SERVER = "127.0.53.53"
"""It listens and does not answer: a look-up hangs for half a minute."""
NAMED = "https://collectors.test/receiver/v1/http/token"
"""Whose name it is asked for."""
NAMELESS = f"https://{'n' * 64}.invalid/receiver/v1/http/token"
"""Too long a name for any name server to be asked, where the model has no name server of its own."""
SNAP_START_SINCE = (3, 12)
DUE_S = 0.1
"""The least of SUMO_FLUSH_MAX_AGE_S."""
NEVER = {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": "60"}
"""What leaves as little as can be to the sidecar."""


def goodbye(stage: Stage) -> Figures:
    """Leave 1 MiB to SHUTDOWN, in a 128 MB function, over TLS: count what arrives, and stop the time."""
    lost, took_s = [], []
    for _ in stage.rounds(5, "goodbye"):
        with SumoSource(tls=True, connections=2) as source:
            environment = stage.environment(
                stage.with_layer, source, variables=NEVER, memory_mb=128, has_share=True, is_quiet=True
            )
            with environment:
                started(environment)
                source.pause_listening()
                invoke(environment, {"log": MIB_LINES})
                source.resume_listening()
                took_s.append(environment.shutdown().duration_s)
            lost.append(MIB_LINES - lines_at(source))
    return {
        "goodbye": Figure(max(lost), f"of {MIB_LINES}, worst of {len(lost)}"),
        "goodbye_s": Figure(median(took_s), f"most {max(took_s):.2f}"),
    }


def flush_next(stage: Stage) -> Figures:
    """Invoke with ``next`` and a Sumo that is slow, that hangs, that has no name: how much longer does it take?"""
    longer_ms = {}
    for what, fault in (("slow", Fault(delay_s=SLOW_S)), ("hanging", HANG)):
        with SumoSource(connections=20) as source:
            source.default = fault
            longer_ms[what] = _longer_ms(stage, what, source)
    if stage.is_isolated:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((NAME_SERVER, 53))
            longer_ms["nameless"] = _longer_ms(stage, "nameless", NAMED, NAME_SERVER)
    else:
        longer_ms["nameless"] = _longer_ms(stage, "nameless", NAMELESS)
    detail = ", ".join(f"{what} {value:+.2f}" for what, value in longer_ms.items())
    return {"next": Figure(max(longer_ms.values()), detail)}


def _longer_ms(stage: Stage, what: str, source: SumoSource | str, name_server: str | None = None) -> float:
    """Return by how much the layer prolongs an invocation."""
    times_ms = Samples(list)
    with open_pair(stage, source, {"SUMO_FLUSH": "next"}, name_server=name_server) as pair:
        for _ in stage.rounds(30, f"next, {what}"):
            for name, environment in pair.items():
                times_ms[name].append(invoke(environment, {"log": 3}).duration_s * 1000)
    return added(times_ms, median).value


def beside(stage: Stage) -> Figures:
    """Invoke with ``next`` and lines that are always due: what do those wait that have them shipped beside them?"""
    times_ms = Samples(list)
    variables = {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": str(DUE_S)}
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(SLOW_S))
        environments = {}
        for each in (WITHOUT, AGAIN, stage.with_layer):
            log = stack.enter_context(stage.read_log(each))
            environment = stage.environment(each, sink, variables=variables, has_share=True, log=log)
            environments[each.name] = stack.enter_context(environment)
            started(environment)
        for _ in stage.rounds(60, "beside"):
            time.sleep(1.2 * DUE_S)
            for name, environment in environments.items():
                before = sink.posts()
                took_ms = response_ms(invoke(environment, {"log": 100}))
                if name != "with" or sink.posts() > before:
                    times_ms[name].append(took_ms)
    without, again, with_it = (median(times_ms[name]) for name in environments)
    detail = f"{without:.2f} and {again:.2f} without, {with_it:.2f} with; {len(times_ms['with'])} such"
    return {"response_beside": Figure(with_it - without, detail, abs(again - without))}


def flush_end(stage: Stage) -> Figures:
    """Invoke with ``end`` and a Sumo that takes its time: are the lines there before the freeze?"""
    missing, holds = 0, []
    with SumoSource() as source, open_pair(stage, source, {"SUMO_FLUSH": "end"}) as pair:
        source.default = Fault(delay_s=SLOW_S)
        for _ in stage.rounds(30, "end"):
            for name, environment in pair.items():
                before = lines_at(source)
                invocation = invoke(environment, {"log": 3})
                if name == "with":
                    missing += 3 - (lines_at(source) - before)
                    holds.append(held_ms(invocation))
    return {
        "end_missing": Figure(missing, f"of {3 * len(holds)}"),
        "end_held": Figure(median(holds), f"most {max(holds):.1f}"),
    }


def first_held(stage: Stage) -> Figures:
    """Invoke a new 128 MB environment with ``end`` over TLS: how long is it held, first and second time?"""
    first_ms, second_ms = [], []
    for _ in stage.rounds(5, "first post"):
        first, second = holds_ms(stage, stage.with_layer, 128)
        first_ms.append(first)
        second_ms.append(second)
    return {"first_held_128": Figure(median(first_ms), f"the second {median(second_ms):.0f}")}


def holds_ms(stage: Stage, contender: Contender, size_mb: int, *, is_quiet: bool = True) -> tuple[float, float]:
    """Return how long a new environment is held after its first and its second response, over TLS."""
    with SumoSource(tls=True, connections=2) as source:
        environment = stage.environment(
            contender, source, variables={"SUMO_FLUSH": "end"}, memory_mb=size_mb, has_share=True, is_quiet=is_quiet
        )
        with environment:
            started(environment)
            first, second = (invoke(environment, {"log": 1}) for _ in range(2))
            return held_ms(first), held_ms(second)


def restore(stage: Stage) -> Figures:
    """Restore a snapshot (SnapStart): how long until the runtime asks for its first event?

    From the moment at which Lambda answers the runtime's request to be restored. Each restore is a new environment's,
    which has had an init of its own.
    """
    if stage.runtime.version < SNAP_START_SINCE:
        reason = f"needs CPython 3.12; this machine has {stage.runtime.interpreter}"
        return {name: unmeasured(reason) for name in ("restore", "restore_hook")}
    return {"restore": _restore(stage, "as_is"), "restore_hook": _restore(stage, "snap_start")}


def _restore(stage: Stage, setup: str) -> Figure:
    times_ms = Samples(list)
    contenders = [replace(each, setup=setup) for each in (WITHOUT, AGAIN, stage.with_layer)]
    with SumoSource(connections=2) as source:
        for _ in stage.rounds(30, f"restore, {setup}"):
            for each in contenders:
                with stage.environment(each, source, is_quiet=True, snap_start=True) as environment:
                    restore_s = started(environment).restore_s
                    assert restore_s is not None, "it was restored"
                    times_ms[each.name].append(restore_s * 1000)
    without, again, with_it = (median(times_ms[each.name]) for each in contenders)
    detail = f"{without:.2f} and {again:.2f} without, {with_it:.2f} with; most {max(times_ms['with']):.2f}"
    return Figure(with_it - without, detail, abs(again - without))


def burst(stage: Stage) -> Figures:
    """Log 100,000 lines in one invocation: what arrives, what memory it takes, how long the function had to wait.

    Pauses and memory are measured in runs of their own: reading how much memory a process has holds up its memory
    calls.
    """
    lost, added_mb, pauses_ms, one_core_ms = [], [], Samples(list), Samples(list)
    for _ in stage.rounds(3, "burst", least=1):
        for each in (WITHOUT, stage.with_layer):
            pause_ms, arrived = _burst(stage, each)
            pauses_ms[each.name].append(pause_ms)
            one_core_ms[each.name].append(_burst(stage, each, has_share=True)[0])
            if each is not WITHOUT:
                lost.append(BURST_LINES - arrived)
        added_mb.append(burst_mb(stage, stage.with_layer))
    return {
        "burst_lost": Figure(max(lost), f"worst of {len(lost)}"),
        "burst_memory": Figure(median(added_mb), "above the idle function"),
        "burst_pause": _longest(pauses_ms),
        "burst_pause_one_core": _longest(one_core_ms),
    }


def _burst(stage: Stage, contender: Contender, *, has_share: bool = False) -> tuple[float, int]:
    """Return how long the slowest of 100,000 lines has taken, in milliseconds, and how many have arrived."""
    with SumoSource() as source:
        with stage.environment(contender, source, has_share=has_share, is_quiet=True) as environment:
            started(environment)
            slowest_ms = answer(environment, {"timed": BURST_LINES})["slowest_ms"]
            environment.shutdown()
        return slowest_ms, lines_at(source)


def _longest(pauses_ms: Samples) -> Figure:
    """Return the longest pause of the run in which it was shortest: the other runs have another program's pauses in
    them."""
    with_it, without = pauses_ms["with"], pauses_ms["without"]
    return Figure(min(with_it), f"most {max(with_it):.1f}; without {min(without):.1f}, most {max(without):.1f}")


def burst_mb(stage: Stage, contender: Contender, *, is_quiet: bool = True) -> float:
    """Return how much memory 100,000 lines in one invocation take at most, above that of the idle environment."""
    with SumoSource(connections=2) as source:
        with stage.environment(contender, source, is_quiet=is_quiet) as environment:
            started(environment)
            before_mb = environment.memory_pss_bytes() / 1e6
            with _peak_mb(environment) as peaks:
                invoke(environment, {"log": BURST_LINES})
                invoke(environment, {"log": 1})
            return max(peaks) - before_mb


@contextmanager
def _peak_mb(environment: Environment) -> Iterator[list[float]]:
    """Collect the PSS of the environment's processes, ten times a second, until the block ends."""
    samples: list[float] = []
    is_over = threading.Event()

    def sample() -> None:
        while True:
            samples.append(environment.memory_pss_bytes() / 1e6)
            if is_over.wait(0.1):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def busy(stage: Stage) -> Figures:
    """Work in pure Python while what was logged meanwhile is shipped, 1 MiB each second."""
    return {"busy": _busy(stage), "busy_one_core": _busy(stage, has_share=True)}


def _busy(stage: Stage, *, has_share: bool = False) -> Figure:
    times_ms = Samples(list)
    event = {"spin": 1_000, "with": {"lines": MIB_LINES // 10}}
    with SumoSource(tls=True) as source:
        with open_pair(stage, source, {"SUMO_FLUSH": "next"}, has_share=has_share) as pair:
            for _ in stage.rounds(40, "busy"):
                for name, environment in pair.items():
                    times_ms[name].append(answer(environment, event)["wall_ms"])
    longer = added(times_ms, median)
    return Figure(longer.value / median(times_ms["without"]) * 100, f"{longer.detail} (ms)")
