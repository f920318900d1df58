"""What the benchmark measures: one function for each row, or group of rows, of the table of goals.

A case compares contenders in one alternating run and returns figures by the names of ``bench_goals.GOALS``; they are
made of medians where the goal says nothing else.

Separate from ``bench``, which plans and reports, and from ``bench_stage``, which runs the environments.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench_goals import Figure
from bench_stage import CORE_MB, Contender, Source, Stage, answer, invoke, started
from model import Environment, Invocation
from sumo_source import HANG, Fault, SumoSource

Figures = dict[str, Figure]
Case = Callable[[Stage], Figures]
Samples = defaultdict[str, list[float]]

WITHOUT = Contender("without")
LINES = 500
"""In a round of the cost per line: fewer bytes than wake the sidecar in mid-invocation, so that what is measured is the
line itself; shipping has a row of its own."""
LINE_LENGTH = 46
"""Characters of the usual line."""
LINE_MARK = "accepted for customer"
"""What each of the measured function's lines has in it, in whatever form it arrives."""
MIB_LINES = 2_400
"""About 1 MiB of records."""
BURST_LINES = 100_000
SLOW_S = 0.08
"""A Sumo that takes this long for an answer is not slow."""
NAMELESS = f"https://{'n' * 64}.invalid/receiver/v1/http/token"
"""An address whose name does not resolve: too long for any name server to be asked."""
NEVER = {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": "60"}


def cold_start(stage: Stage) -> Figures:
    """Start with the layer and without in turn, on both cores, on one, and with the share of 128 MB."""
    figures: Figures = {}
    for name, rounds, memory_mb in (
        ("cold_start", 20, 0),
        ("cold_start_one_core", 10, CORE_MB),
        ("cold_start_128", 5, 128),
    ):
        starts_ms, registered_ms = starts(stage, (WITHOUT, stage.with_layer), name, rounds, memory_mb)
        if memory_mb:
            figures[name] = _added(starts_ms, median)
        else:
            figures["cold_start"] = _added(starts_ms, min)
            figures["cold_start_median"] = _added(starts_ms, median)
            registered = registered_ms["with"]
            figures["registered"] = Figure(
                median(registered), f"best {min(registered):.2f}, most {max(registered):.2f}"
            )
    return figures


def starts(
    stage: Stage, contenders: Sequence[Contender], what: str, rounds: int, memory_mb: int, sink: Source | None = None
) -> tuple[Samples, Samples]:
    """Return milliseconds for each cold start of each contender, and until its external extension had registered.

    Args:
        stage: Where.
        contenders: Who.
        what: Is shown as being done.
        rounds: The usual number.
        memory_mb: 0 for two whole cores, else the size whose CPU share it is to have.
        sink: What takes the lines; a Sumo source by default.
    """
    starts_ms, registered_ms = Samples(list), Samples(list)
    with ExitStack() as stack:
        source = sink or stack.enter_context(SumoSource(connections=2))
        for _ in stage.rounds(rounds, what):
            for contender in contenders:
                environment = stage.environment(
                    contender, source, memory_mb=memory_mb or CORE_MB, has_share=memory_mb > 0
                )
                with environment:
                    init = started(environment)
                    starts_ms[contender.name].append(init.duration_s * 1000)
                    files = contender.extensions
                    registered_ms[contender.name] += [s * 1000 for n, s in init.extensions.items() if n in files]
    return starts_ms, registered_ms


def _added(samples: Mapping[str, Sequence[float]], measure: Callable[[Sequence[float]], float]) -> Figure:
    """Return what the layer adds."""
    with_it, without = measure(samples["with"]), measure(samples["without"])
    return Figure(with_it - without, f"{without:.2f} without, {with_it:.2f} with")


def log_info(stage: Stage) -> Figures:
    """Log with the layer and without, and with the two handlers that make up the yardstick, in turn."""
    return {"log_info": _per_line(stage, "log"), "log_info_one_core": _per_line(stage, "log", has_share=True)}


def print_(stage: Stage) -> Figures:
    """Print, against the same yardstick."""
    return {"print": _per_line(stage, "print"), "print_one_core": _per_line(stage, "print", has_share=True)}


def _per_line(stage: Stage, action: str, *, has_share: bool = False) -> Figure:
    yardstick = [Contender(name, setup=name) for name in ("null", "stream")]
    cost_us = line_costs_us(stage, [WITHOUT, stage.with_layer, *yardstick], action, has_share=has_share)
    extra_us = cost_us["with"] - cost_us["without"]
    yard_us = cost_us["stream"] - cost_us["null"]
    detail = f"{cost_us['without']:.2f} µs without, {cost_us['with']:.2f} with; yardstick {yard_us:.2f} µs"
    return Figure(extra_us / yard_us, detail)


def line_costs_us(
    stage: Stage,
    contenders: Sequence[Contender],
    action: str,
    *,
    rounds: int = 120,
    length: int = 0,
    has_share: bool = False,
    sink: Source | None = None,
) -> dict[str, float]:
    """Return the CPU time that a line costs the thread that writes it, for each contender, median of all rounds.

    CPU time and not the clock's, because another program on the machine costs nobody anything. Null and stream have
    `log` lines whatever the action is: they are the yardstick of both.

    Args:
        stage: Where.
        contenders: Who.
        action: ``log`` or ``print``.
        rounds: The usual number.
        length: Characters that a line has beyond :data:`LINE_LENGTH`.
        has_share: One core, instead of all.
        sink: What takes the lines; a Sumo source by default.
    """
    costs_us = Samples(list)
    count = LINES if length < 1_000 else LINES // 10
    with ExitStack() as stack:
        source = sink or stack.enter_context(SumoSource(connections=len(contenders)))
        environments = {}
        for each in contenders:
            variables = {"SUMO_FLUSH": "end"}
            environment = stage.environment(each, source, variables=variables, has_share=has_share, is_quiet=True)
            environments[each.name] = stack.enter_context(environment)
            started(environment)
            invoke(environment, {"log": LINES})
        for _ in stage.rounds(rounds, f"{action} per line"):
            for name, environment in environments.items():
                kind = "log" if name in ("null", "stream") else action
                event = {kind: count, "with": {"length": length}}
                costs_us[name].append(answer(environment, event)["cpu_ns"] / 1000)
    return {name: median(values) for name, values in costs_us.items()}


def shipping(stage: Stage) -> Figures:
    """Ship 1 MiB of lines, then compress the same bytes, in the same process, in turn.

    What shipping costs is the CPU time of all threads of the environment but the one that wrote the lines. The usual
    lines differ by a number and cost zlib next to nothing, which is the hardest yardstick; others are beside it.
    """
    return {"shipping": _shipping(stage, "log"), "shipping_varied": _shipping(stage, "varied")}


def _shipping(stage: Stage, action: str) -> Figure:
    kept = stage.folder / f"kept-{action}"
    kept.touch()
    shipped_ms, zlib_ms = [], []
    with SumoSource(tls=True, connections=2, keep=kept) as source:
        environment = stage.environment(stage.with_layer, source, variables={"SUMO_FLUSH": "end"}, is_quiet=True)
        with environment:
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


def others_cpu_ns(environment: Environment) -> int:
    """Return the CPU time of all living threads in the environment but the runtime's main thread."""
    tasks = [task for pid in environment.pids() for task in Path(f"/proc/{pid}/task").iterdir()]
    others = [task for task in tasks if task.name != str(environment.runtime_pid)]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in others)


def memory(stage: Stage) -> Figures:
    """Compare PSS after the cold start, and after shipping over TLS with boto3 in the function and without."""
    boto3 = stage.packages("boto3")
    idle, shipped = Samples(list), Samples(list)
    for _ in stage.rounds(5, "memory"):
        for setup, packages in (("as_is", None), ("boto3", boto3)):
            for each in (WITHOUT, stage.with_layer):
                contender = Contender(f"{each.name} {setup}", setup, each.layer, each.variables, packages)
                before_mb, after_mb = memory_mb(stage, contender)
                idle[contender.name].append(before_mb)
                shipped[contender.name].append(after_mb)

    def added(samples: Samples, setup: str) -> Figure:
        return _added({name: samples[f"{name} {setup}"] for name in ("with", "without")}, median)

    return {
        "memory_idle": added(idle, "as_is"),
        "memory_boto3": added(shipped, "boto3"),
        "memory_bare": added(shipped, "as_is"),
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


def lines_at(source: SumoSource) -> int:
    """Return how many of the function's lines are there, each counted once."""
    return len({record["id"] for record in source.records if record["type"] == "function"})


def response(stage: Stage) -> Figures:
    """Answer with 100 lines, with the layer and without: what is added beside the lines' own CPU time."""
    times_ms, lines_ms = Samples(list), Samples(list)
    with SumoSource() as source, open_pair(stage, source, {}) as pair:
        for _ in stage.rounds(100, "response"):
            for name, environment in pair.items():
                invocation = invoke(environment, {"log": 100})
                times_ms[name].append(response_ms(invocation))
                lines_ms[name].append(invocation.payload["cpu_ns"] * 100 / 1e6)
    total, own = _added(times_ms, median), _added(lines_ms, median)
    return {"response": Figure(total.value - own.value, f"{total.detail}; the lines {own.value:.2f} ms")}


@contextmanager
def open_pair(
    stage: Stage, source: SumoSource | str, variables: Mapping[str, str], *, has_share: bool = False
) -> Iterator[dict[str, Environment]]:
    """Give an environment with the layer and one without, started and warm."""
    with ExitStack() as stack:
        pair = {}
        for each in (WITHOUT, stage.with_layer):
            environment = stage.environment(each, source, variables=variables, has_share=has_share, is_quiet=True)
            pair[each.name] = stack.enter_context(environment)
            started(environment)
            for _ in range(3):
                invoke(environment, {"log": 3})
        yield pair


def response_ms(invocation: Invocation) -> float:
    """Return how long the caller waited."""
    assert invocation.response_s is not None, "it was a success"
    return invocation.response_s * 1000


def flush_next(stage: Stage) -> Figures:
    """Invoke with ``next`` and a Sumo that is slow, that hangs, that has no name: how much longer does it take?"""
    added = {}
    for what, fault in (("slow", Fault(delay_s=SLOW_S)), ("hanging", HANG), ("nameless", None)):
        times_ms = Samples(list)
        with SumoSource(connections=20) as source:
            source.default = fault or source.default
            with open_pair(stage, source if fault else NAMELESS, {"SUMO_FLUSH": "next"}) as pair:
                for _ in stage.rounds(30, f"next, {what}"):
                    for name, environment in pair.items():
                        times_ms[name].append(invoke(environment, {"log": 3}).duration_s * 1000)
        added[what] = _added(times_ms, median).value
    return {"next": Figure(max(added.values()), ", ".join(f"{what} {value:+.2f}" for what, value in added.items()))}


def flush_end(stage: Stage) -> Figures:
    """Invoke with ``end`` and a Sumo that takes its time: are the lines there before the freeze, and who waits?"""
    missing, responses_ms, holds = 0, Samples(list), []
    with SumoSource() as source, open_pair(stage, source, {"SUMO_FLUSH": "end"}) as pair:
        source.default = Fault(delay_s=SLOW_S)
        for _ in stage.rounds(30, "end"):
            for name, environment in pair.items():
                before = lines_at(source)
                invocation = invoke(environment, {"log": 3})
                responses_ms[name].append(response_ms(invocation))
                if name == "with":
                    missing += 3 - (lines_at(source) - before)
                    holds.append(held_ms(invocation))
    return {
        "end_missing": Figure(missing, f"of {3 * len(holds)}"),
        "end_response": _added(responses_ms, median),
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


def held_ms(invocation: Invocation) -> float:
    """Return how long the environment ran on after the response."""
    return invocation.duration_s * 1000 - response_ms(invocation)


def burst(stage: Stage) -> Figures:
    """Log 100,000 lines in one invocation: what arrives, what memory it takes, how long the function had to wait.

    Pauses and memory are measured in runs of their own: who looks at a process's memory holds up its memory calls.
    """
    lost, added_mb, pauses_ms, one_core_ms = [], [], Samples(list), Samples(list)
    for _ in stage.rounds(3, "burst"):
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
    """Return the longest pause of the run in which it was shortest: the others have another program's in them."""
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
    added = _added(times_ms, median)
    return Figure(added.value / median(times_ms["without"]) * 100, f"{added.detail} (ms)")


def zip_size(stage: Stage) -> Figures:
    """Weigh the zip."""
    return {"zip": Figure(stage.zip_bytes / 1024)}


CASES: Mapping[str, Case] = {
    "cold_start": cold_start,
    "registered": cold_start,
    "log_info": log_info,
    "print": print_,
    "shipping": shipping,
    "memory": memory,
    "goodbye": goodbye,
    "response": response,
    "next": flush_next,
    "end": flush_end,
    "first_held": first_held,
    "burst": burst,
    "busy": busy,
    "zip": zip_size,
}
"""By name, as ``ONLY=`` has it."""


def figures(stage: Stage, names: Sequence[str]) -> Iterator[tuple[str, str, Figure]]:
    """Run the cases and yield their figures as they come: the case, the figure's name, the figure."""
    chosen = {CASES[name]: name for name in names}
    for case, name in chosen.items():
        yield from ((name, each, figure) for each, figure in case(stage).items())
