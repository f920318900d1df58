"""What a user pays for the lines of an invocation: the response, the billed duration, and dollars.

Separate from the other cases, because here nothing is taken out: the lines themselves, what runs beside the handler,
the hold after the response, the CPU share of the memory size, the log that another process reads, TLS. The function
without the layer runs twice, and the difference between the two says how far to trust the others.

Rules:

* What a source takes is no cost of the layer's: under ``end`` a client that has its request ready waits for an answer
  in each round, too, and the median of that is taken out where a goal is about what is billed beyond it.
* Both times begin when the runtime is handed the event: what the model does before that (it thaws the environment) is
  no cost of a function's. Billed is until the runtime and all extensions have asked for the next event.
* Every invocation finds the lines of those before: under ``next`` they are shipped beside one of them.
* The source is a process of its own, and takes its time for each answer.
* Prices are list prices; only a difference is priced, so that neither requests nor the free tier matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from model import Invocation

from bench.compare import AGAIN, WITHOUT, Figures, held_ms, invoke, response_ms, started
from bench.goals import Figure
from bench.sink import Sink
from bench.stage import CORE_MB, Contender, Stage

ROUNDS: Mapping[int, int] = {1: 60, 100: 60, 1_000: 30, 10_000: 8}
"""By lines in an invocation."""
SMALLEST_MB = 128
SIZES_MB = (SMALLEST_MB, 512, 1024, CORE_MB)
"""The memory sizes that README has, each with its share of a core."""
SLOW_MS = 80
"""A Sumo Logic that takes this long for an answer is not slow."""

LAMBDA_DOLLARS = 0.0000166667
"""A GB-second: us-east-1, x86, the first tier, as AWS's price list had it in May 2026."""
CLOUDWATCH_DOLLARS = 0.50
"""A GB ingested: us-east-1, Standard, the first tier, as AWS's price list had it in February 2026."""
GB = 1 << 30
LINE_BYTES = len(f"[INFO]\t2026-11-30T08:22:03.123Z\t{'0' * 36}\torder 500 accepted for customer 99 with 3 items\n")
"""As CloudWatch gets it; it charges for some bytes of its own beside them, which are not counted here."""
MILLION = 1_000_000


class Terms(NamedTuple):
    """Under which conditions an invocation is measured."""

    flush: str
    memory_mb: int
    source_ms: int
    """That the source takes for an answer."""
    lines: int


class Bill(NamedTuple):
    """What one contender's invocations took, in milliseconds, and CPU microseconds of one line."""

    response_ms: float
    best_response_ms: float
    billed_ms: float
    best_billed_ms: float
    line_us: float


SOURCE = "source"
Paid = dict[Terms, dict[str, Bill]]
"""By contender: ``without``, ``again``, ``with``; under :data:`SOURCE` what the source took by itself, under
``end``."""


class Block(NamedTuple):
    """Invocations of the same environments."""

    flush: str
    memory_mb: int
    source_ms: int
    lines: Sequence[int]
    share: float = 1.0
    """Of the rounds."""


LINES = (1, 100, 1_000, 10_000)
BLOCKS: Mapping[str, Sequence[Block]] = {
    "pay_end": [Block("end", CORE_MB, SLOW_MS, LINES)],
    "pay_next": [Block("next", CORE_MB, SLOW_MS, LINES)],
    "pay_sizes": [
        Block(flush, memory_mb, SLOW_MS, (1, 100, 1_000), 0.5)
        for memory_mb in SIZES_MB[:-1]
        for flush in ("end", "next")
    ],
    "pay_sources": [Block("end", CORE_MB, source_ms, (1, 100, 1_000)) for source_ms in (0, 30)],
}
"""By case."""


def measure(stage: Stage, case: str, other: Contender | None = None) -> Paid:
    """Measure a case's invocations.

    Args:
        stage: Where.
        case: Which of :data:`BLOCKS`.
        other: Another layer, which gets the lines from Lambda: then the model reads the log, for all alike.
    """
    paid: Paid = {}
    for block in BLOCKS[case]:
        paid.update(_measure(stage, block, other))
    return paid


def _measure(stage: Stage, block: Block, other: Contender | None) -> Paid:
    contenders = [WITHOUT, AGAIN, stage.with_layer, *([] if other is None else [other])]
    paid: Paid = {}
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(block.source_ms / 1000))
        environments = {}
        for each in contenders:
            environment = stage.environment(
                each,
                sink,
                variables={"SUMO_FLUSH": block.flush},
                memory_mb=block.memory_mb,
                has_share=True,
                log="" if other is not None else stack.enter_context(stage.read_log(each)),
            )
            environments[each.name] = stack.enter_context(environment)
            started(environment)
        for lines in block.lines:
            terms = Terms(block.flush, block.memory_mb, block.source_ms, lines)
            taken: dict[str, list[Invocation]] = {name: [] for name in environments}
            for environment in environments.values():
                invoke(environment, {"log": lines})
            own_ms = []
            what = f"{block.flush}, {block.memory_mb} MB, source {block.source_ms} ms, {lines} lines"
            for _ in stage.rounds(round(ROUNDS[lines] * block.share), what):
                for name, environment in environments.items():
                    taken[name].append(invoke(environment, {"log": lines}))
                if block.flush == "end":
                    own_ms.append(sink.own_ms())
            paid[terms] = {name: _bill(invocations) for name, invocations in taken.items()}
            if own_ms:
                paid[terms][SOURCE] = Bill(median(own_ms), min(own_ms), median(own_ms), min(own_ms), 0.0)
    return paid


def _bill(invocations: Sequence[Invocation]) -> Bill:
    responses_ms = [response_ms(each) for each in invocations]
    billed_ms = [response_ms(each) + held_ms(each) for each in invocations]
    line_us = median(each.payload["cpu_ns"] for each in invocations) / 1000
    return Bill(median(responses_ms), min(responses_ms), median(billed_ms), min(billed_ms), line_us)


# What becomes of it; pure


def figures(paid: Paid) -> Figures:
    """Return the figures that have goals, by name, of those terms that were measured."""
    found = {}
    for flush in ("end", "next"):
        for lines in (1, 100, 1_000):
            if bills := paid.get(Terms(flush, CORE_MB, SLOW_MS, lines)):
                found[f"response_{flush}_{lines}"] = added(bills, 0)
                if flush == "end":
                    found[f"billed_{lines}"] = added(bills, 2, bills[SOURCE].billed_ms)
    if bills := paid.get(Terms("end", CORE_MB, SLOW_MS, 10_000)):
        found["response_10000"] = _ratio(bills, 0, "ms")
    if bills := paid.get(Terms("end", CORE_MB, SLOW_MS, 100)):
        found["in_place"] = _ratio(bills, 4, "µs")
    return found


def added(bills: Mapping[str, Bill], column: int, beyond_ms: float = 0.0) -> Figure:
    """Return what the layer adds to the first of both bare runs, beyond the source's own time; the second is the
    control."""
    without, again, with_it = (bills[name][column] for name in ("without", "again", "with"))
    best, bests = (bills[name][column + 1] for name in ("without", "with"))
    source = f", the source {beyond_ms:.2f}" if beyond_ms else ""
    detail = f"{without:.2f} and {again:.2f} without, {with_it:.2f} with{source}; best {best:.2f} and {bests:.2f}"
    return Figure(with_it - without - beyond_ms, detail, abs(again - without))


def _ratio(bills: Mapping[str, Bill], column: int, unit: str) -> Figure:
    without, again, with_it = (bills[name][column] for name in ("without", "again", "with"))
    detail = f"{without:.2f} and {again:.2f} {unit} without, {with_it:.2f} with"
    return Figure(with_it / without, detail, abs(again / without - 1))


def lambda_dollars(billed_ms: float, memory_mb: int) -> float:
    """Return what Lambda takes for a million times so much longer a duration; it rounds up to a millisecond, which on
    average is the same for both."""
    return billed_ms / 1000 * memory_mb / 1024 * LAMBDA_DOLLARS * MILLION


def cloudwatch_dollars(lines: int) -> float:
    """Return what CloudWatch takes for a million times these lines."""
    return lines * LINE_BYTES / GB * CLOUDWATCH_DOLLARS * MILLION


def summary(paid: Paid) -> Iterator[str]:
    """Yield two tables in Markdown, by memory size: the time that the layer adds to an invocation, and the money."""
    sizes = [f"{memory_mb:,} MB" for memory_mb in SIZES_MB]
    yield f"| lines, `SUMO_FLUSH` | {sizes[0]}: response, billed, ms | {' | '.join(sizes[1:])} |"
    yield "| --- |" + " --: |" * len(sizes)
    for flush, lines, bills in _by_size(paid):
        yield f"| {lines:,}, `{flush}` | {' | '.join(map(_times, bills))} |"
    yield ""
    yield f"| lines, `SUMO_FLUSH` | {sizes[0]}: $ a million | {' | '.join(sizes[1:])} | CloudWatch, $ |"
    yield "| --- |" + " --: |" * (len(sizes) + 1)
    for flush, lines, bills in _by_size(paid):
        dollars = [_dollars(bill, memory_mb) for bill, memory_mb in zip(bills, SIZES_MB, strict=True)]
        yield f"| {lines:,}, `{flush}` | {' | '.join(dollars)} | {cloudwatch_dollars(lines):.2f} |"


def _by_size(paid: Paid) -> Iterator[tuple[str, int, Sequence[Mapping[str, Bill] | None]]]:
    """Yield strategy, lines, and what was measured with each memory size, where anything was."""
    for flush in ("end", "next"):
        for lines in LINES:
            bills = [paid.get(Terms(flush, memory_mb, SLOW_MS, lines)) for memory_mb in SIZES_MB]
            if any(bills):
                yield flush, lines, bills


def _times(bills: Mapping[str, Bill] | None) -> str:
    return "" if bills is None else ", ".join(f"{added(bills, column).value:+.1f}" for column in (0, 2))


def _dollars(bills: Mapping[str, Bill] | None, memory_mb: int) -> str:
    return "" if bills is None else f"{lambda_dollars(added(bills, 2).value, memory_mb):+.2f}"


def details(paid: Paid) -> Iterator[str]:
    """Yield a table in Markdown with all that was measured: medians, and the best beside them."""
    columns = "response, ms: without, twice | with | billed, ms: without, twice | with"
    yield f"| `SUMO_FLUSH`, memory size, source, lines | {columns} |"
    yield "| --- | --: | --: | --: | --: |"
    for terms, bills in paid.items():
        where = f"`{terms.flush}`, {terms.memory_mb:,} MB, {terms.source_ms} ms, {terms.lines:,}"
        cells = []
        for column in (0, 2):
            without, again, with_it = (bills[name] for name in ("without", "again", "with"))
            bare = f"{without[column]:.2f}, {again[column]:.2f} ({without[column + 1]:.2f}, {again[column + 1]:.2f})"
            cells += [bare, f"{with_it[column]:.2f} ({with_it[column + 1]:.2f})"]
        yield f"| {where} | {' | '.join(cells)} |"


def in_order(paid: Paid) -> Paid:
    """Return the same in the order in which people look for it."""
    return dict(sorted(paid.items()))


def response_series(paid: Paid) -> dict[str, list[tuple[float, float]]]:
    """Return how the response grows with the lines: without the layer, and with it under either strategy."""
    series: dict[str, list[tuple[float, float]]] = {}
    for terms, bills in in_order(paid).items():
        if (terms.memory_mb, terms.source_ms) == (CORE_MB, SLOW_MS):
            series.setdefault(terms.flush, []).append((terms.lines, bills["with"].response_ms))
            if terms.flush == "end":
                series.setdefault("without", []).append((terms.lines, bills["without"].response_ms))
    return series
