"""What a run of the benchmark has found, as it is kept in ``docs/bench.json``, and as a page for people. Pure.

Separate from the measuring: the page and the picture are made from the kept figures alone, so a test can tell whether
they belong together, and nobody writes a figure by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import pay
from bench.curves import AXES, Point, Series, response_curve
from bench.goals import GOALS, Figure, show, verdict
from bench.pay import Bill, Paid, Terms
from bench.peers import Cost
from bench.stage import CORE_MB

DIGITS = 4
"""That are kept of each value; more would be noise."""


@dataclass
class Results:
    """One run."""

    where: str
    figures: dict[str, Figure] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Series] = field(default_factory=dict)
    paid: Paid = field(default_factory=dict)

    def in_order(self) -> dict[str, Figure]:
        """Return the figures in the order of the goals."""
        return {name: self.figures[name] for name in GOALS if name in self.figures}

    @property
    def all_curves(self) -> dict[str, Series]:
        """The curves, those that are made of other figures too."""
        return response_curve(self.paid) | self.curves

    def updated(self, other: Results) -> Results:
        """Return these results with all that another run has found in its place, in the goals' order."""
        return Results(
            other.where,
            Results("", self.figures | other.figures).in_order(),
            other.costs or self.costs,
            other.absent if other.costs else self.absent,
            self.curves | other.curves,
            pay.in_order(self.paid | other.paid),
        )


def to_json(results: Results) -> str:
    """Return the text of ``docs/bench.json``."""
    kept = {
        "where": results.where,
        "figures": {name: [_short(f.value), f.detail, _short(f.control)] for name, f in results.figures.items()},
        "costs": {name: [_short(value) for value in cost] for name, cost in results.costs.items()},
        "absent": results.absent,
        "curves": {
            name: {line: [[_short(value) for value in point] for point in points] for line, points in series.items()}
            for name, series in results.curves.items()
        },
        "paid": {
            ",".join(map(str, terms)): {name: [_short(value) for value in bill] for name, bill in bills.items()}
            for terms, bills in results.paid.items()
        },
    }
    return _lines(kept)


def from_json(text: str) -> Results:
    """Return what was kept."""
    kept = json.loads(text)
    return Results(
        kept["where"],
        {name: Figure(*figure) for name, figure in kept["figures"].items()},
        {name: Cost(*cost) for name, cost in kept["costs"].items()},
        kept["absent"],
        {
            name: {line: [Point(*point) for point in points] for line, points in series.items()}
            for name, series in kept["curves"].items()
        },
        {_terms(text): {name: Bill(*bill) for name, bill in bills.items()} for text, bills in kept["paid"].items()},
    )


def _terms(text: str) -> Terms:
    flush, *numbers = text.split(",")
    return Terms(flush, *map(int, numbers))


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _lines(kept: Mapping[str, Any]) -> str:
    """Return JSON with one line for each entry of a group: a change of one figure is a change of one line."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def group(entries: Any) -> str:
        if not isinstance(entries, dict):
            return text(entries)
        return "{\n" + ",\n".join(f"    {text(name)}: {text(value)}" for name, value in entries.items()) + "\n  }"

    return "{\n" + ",\n".join(f"  {text(name)}: {group(value)}" for name, value in kept.items()) + "\n}\n"


def page(results: Results) -> str:
    """Return the text of ``docs/bench.md``."""
    parts = (_introduction, _pay, _goals, _peers, _curves, _all_paid)
    return "\n".join(line for part in parts for line in part(results)) + "\n"


def _introduction(results: Results) -> Iterator[str]:
    yield f"""\
# What the layer costs

`make bench` has measured this on {results.where}, with the real runtime client, in a model of
Lambda's environment. Contenders take turns in one run, so that whatever else the machine does meets all of them alike;
what counts are ratios and differences. The rows are measured in pieces, and from one piece to another the machine's
speed may differ by half: the times of the function without the layer stand with each. `make bench-check` measures the
budgets again and says what has become worse.
This page and the picture are made from `bench.json`.

![The layer and its alternatives: cold start, CPU of a line, memory; and how they grow](bench.svg)
"""


def _pay(results: Results) -> Iterator[str]:
    yield f"""\
## What a user pays

What the layer adds to an invocation that logs so many lines: to the response, to the billed duration, and to the bill
for a million of them. All is included: the lines themselves, shipping while the handler runs, the post-response time,
TLS, a Sumo Logic that responds after {pay.SLOW_MS} ms, a log that another process reads. The figures are medians. Both
times begin when the runtime is handed the event.
"""
    yield from pay.summary(results.paid)
    yield f"""
Each cell of the first table has two times. One core at {CORE_MB:,} MB, 7 % of it at {pay.SMALLEST_MB} MB. Prices of
us-east-1: Lambda ${pay.LAMBDA_DOLLARS:.10f} a GB-second (x86, first tier, May 2026),
CloudWatch ${pay.CLOUDWATCH_DOLLARS:.2f} a GB of ingestion (first tier, February
2026); the last column is for the text of the same lines, {pay.LINE_BYTES} bytes each. With `end` the environment runs
on, and is billed, until Sumo Logic has responded: that is the post-response time. With `next` there is none, and lines
leave during a later invocation: of short ones during one in a second, which then waits for what the table of budgets
has. What was measured is [below](#all-that-was-measured), the function without the layer twice.
"""


def _goals(results: Results) -> Iterator[str]:
    yield """\
## Budgets

Hot is a loop of lines that nobody reads; CPU of a line is that of the thread that writes it. The function's own module
has no bytecode, as AWS recommends for deployment packages, where a row does not say otherwise. A budget is kept when
the figure is over it by no more than two runs without the layer have differed; one that is missed is in bold, and
`make bench-check` fails when the value that was reached becomes worse.

The init phase has two cores in this model, whatever the memory size, as Lambda's has for up to ten seconds: AWS
[says so](https://serverlessland.com/content/service/lambda/guides/effectively-running-java-on-serverless/init-heavy-lifting),
and others have [measured it](https://bitesizedserverless.com/bite/lambda-cold-start-bootstrap/): up to 3 GB, code
outside the handler runs faster than the handler's, on [two vCPUs](https://github.com/rwnx/lambda-cpuinfo). The worst
case is an init that has only the function's own share: inside the invocation that follows a crash or a timeout, and
with provisioned concurrency, where no request waits for it.

| what | at most | measured | made of |
| --- | --- | --- | --- |"""
    for name, figure in results.figures.items():
        goal = GOALS[name]
        limit = "" if goal.most is None else show(name, goal.most)
        value = verdict(name, figure)
        yield f"| {goal.what} | {limit} | {f'**{value}**' if 'missed' in value else value} | {figure.detail} |"
    yield """
## What stands in the way

What profiles show behind the figures that are over their budgets:

* **Cold start.** Two shell scripts, an extension that registers and idles and a wrapper that is `exec "$@"`, stand in
  the table below it: nothing that Lambda starts in a process of its own costs less, and nothing else begins before the
  extension has registered. Up to there its shell takes 0.9 million instructions more than one that does nothing, the
  wrapper's 0.5. The rest is counted by `make bench-instructions`, with callgrind; a million instructions take a quarter
  of a millisecond of a start, which runs most of its code once. The function's process runs 132.2 million without the
  layer and 20.5 more with it:

  | in the function's process | millions |
  | --- | --: |
  | bytecode is read: 400 KB, half of it of functions that neither a start nor the first line calls | 9.7 |
  | 44 classes are made, 80,000 each | 3.6 |
  | modules in C: `_socket` 1.6, which has 700 constants, `mmap` 0.4, `fcntl` 0.3, `gc` and `atexit` | 2.5 |
  | all else: modules' other code, 0.8 of it the settings', the importer, the spool, the streams, a thread | 9.0 |
  | collections of garbage that need not be made, because what was there before the function's code is left out | -4.3 |

  To read functions only when they are called would save 3 to 4 million, because each needs something in its place that
  reads it: a millisecond at most, for a stack frame more in each of them and a second way to load code. The extension's
  Python takes 48 million instructions: 24 for an interpreter that imports nothing, 7 for `os`, 1.5 to compile the text
  that starts it. An extension that stays a shell costs a start with two cores no less, and one with one core half as
  much: with one core that interpreter alone is more than the budget leaves, and of the CPU of all processes it is half
  of what the budget allows. It might start later, behind the init. But an init has two cores at every memory size, and
  what comes behind it is the first request, at 128 MB with a fourteenth of one; so it starts where it costs a user
  least.
* **A line.** The same command counts 76,000 instructions for a `log.info` with the layer and 91,000 without. Where
  nothing but the runtime's own handler would see the log record, none is made, and the place of the call is not looked
  for; that pays for the questions whether everything is as the runtime has made it, and for our record. In a `print`
  nothing can be left out: it is two writes to the stream with the layer, too, 44,000 instructions in place of 16,000,
  and the budget is for 15,000 more. What the layer adds, by kind of work, is told by the same command:

  | in a `print` | thousands |
  | --- | --: |
  | bytecode and calls: the stream's `write` and the recorder's `written`, twice; the spool's `append` | 15.0 |
  | objects made and freed | 3.8 |
  | texts joined, encoded and copied: a record has 450 characters | 2.5 |
  | stores into the map: the text, its length and time; the line, the committed offset; the text's end | 2.3 |
  | the text quoted | 1.6 |
  | dictionaries and sets; the thread's number, asked for three times; what else there is | 3.5 |

  The first write cannot leave its work to the second: a kill between the two would lose a text that CloudWatch has. To
  commit the bare text, and have the shipping thread make the record, would only move the work to a thread that has the
  same core, and to the extension where that drains. One function in the place of `write` and `written`, and of the
  `write` of the runtime's own stream in front of them, was tried: it saves 6,000.
* **A small share of a core.** At 128 MB an environment has 1.45 ms of CPU in each 20, and waits for the rest of them
  when these are used up. An invocation with one line takes 1.1 to 1.3 ms without the layer, all processes together, and
  fits; with `next` it takes 2.2, and waits in nearly each of 60. Where the machine is a little faster both fit, and the
  difference is half a millisecond. With a whole core it is 0.9 ms and 1.4: 0.26 of the difference in the runtime's
  thread, which is told of the end and the beginning, 0.25 in the life-cycle thread, which asks Lambda for its event and
  reads it, 0.02 in the extension. `make bench-profile` prints it.
* **During a handler.** During an invocation that is over in five milliseconds nothing of ours runs, nor in fifty where
  lines have waited for less than a second: the life-cycle thread leaves its event unread until then. A thousand lines
  are half a megabyte, so that half a batch, 1.6 ms of CPU, is shipped during each invocation that logs so many: that
  is in its row. A drain makes thirteen system calls, five more where others have lines, and nearly each gives the
  interpreter lock away; the handler waits for as long as the background thread then has it. Of short invocations one
  in a second has that.
* **Shipping.** The row's 5.0 ms are 4.6 of the shipping thread's, for 1.3 MiB, and 0.4 of the life-cycle thread's; zlib
  alone takes 2.6. By samples of the shipping thread (`perf record -e cpu-clock -t THREAD`, 60 times so many lines):

  | the shipping thread, in place | of its CPU | ms |
  | --- | --: | --: |
  | gzip, a fifth of that its check sum | 48 % | 2.2 |
  | the interpreter, with code and data that are in no cache when the thread wakes | 29 % | 1.3 |
  | the kernel: a segment that is removed with its pages, sockets, waking the thread | 10 % | 0.5 |
  | bytes copied and searched: for the search for our own secrets, and into zlib's window | 9 % | 0.4 |
  | OpenSSL and the rest | 4 % | 0.2 |

  So the budget leaves 1.4 ms for all that is not gzip, which takes 2.8. Where the thread does nothing else (`make
  bench-profile`), the interpreter takes half as much. A mebibyte is two requests, because one may carry a megabyte, and
  each costs a quarter of a millisecond however small it is. Smaller windows and tables of zlib's were tried: none takes
  less CPU for all kinds of lines. Compressing in pieces of 64 KiB, which the search has just brought into the cache,
  would ask for the interpreter lock 16 times as often, and while a handler runs each may take 5 ms. Using a segment
  again in place of removing it would save 0.2 ms, and a reader that has it mapped would find other lines under its
  name. zstd needs 0.4 ms where gzip needs 2.2: its row is all that is beside gzip here.
* **The wait.** What is billed beyond the source's own time with one line is that quarter of a millisecond, and four
  threads that wake each other: the runtime's, the life-cycle thread, the shipping thread, and back.

  `make bench-profile` prints what these two are made of, by part, by function and by system call.
* **The zip.** Each Python's bytecode is 235 to 300 KiB of it, the package's sources 180, without their comments and
  docstrings, and structlog with what it needs on Python 3.10 is 110. So it has 317 without any bytecode, 614 with one
  Python's; the budget was set for less than the four that this one has, and with all six it will have 2,200. A layer
  for each Python would keep it, and be six addresses to choose from in place of one. Of each Python's bytecode 47 could
  go with the tables of lines, and then no error of ours would say where it was; structlog is another project's, and
  goes as it is.
* **Pauses.** In a burst, handing the interpreter lock over to the shipping thread can take 5 ms each time; therefore it
  is shipped by two megabytes."""


def _peers(results: Results) -> Iterator[str]:
    yield """
## Alternatives

What each adds to the same function without it: to a cold start (best), to the CPU of a `log.info`, to a response with
100 lines, to the time that the environment runs on after it, and to memory (PSS), idle and when 1,000 lines are sent.
All send to one sink on this machine over TLS, set up as their documentation has it, with a flush before the response
where that is what they ask for on Lambda. What happens outside the process is not in it: QueueHandler, Powertools, New
Relic and Datadog leave their lines to another program, and Lumigo, a tracer, ships none. The layer's figures have
everything.

| | cold start, ms | a line, µs | response, ms | post-response, ms | idle, MB | sent, MB |
| --- | --: | --: | --: | --: | --: | --: |"""
    for name, cost in results.costs.items():
        yield f"| {name} | {' | '.join(f'{value:.1f}' for value in cost)} |"
    for name, reason in results.absent.items():
        yield f"| {name} | {reason} | | | | | |"
    yield """
Sumo Logic's own Go extension is a layer, and measured against this one by `make bench PEER_LAYER=FOLDER` (`ONLY=`
`layers`, `pay_end`, …), where the folder has `extensions/` with its program. Built from its public source
(SumoLogic/sumologic-lambda-extensions at e3eeffb of March 2026, layer version 11, Go 1.26), on two cores that had other
work, so that only large differences tell anything; times with `SUMO_FLUSH=end`, the function without a layer twice:

| | without | this layer | Go |
| --- | --: | --: | --: |
| response with 1 line, ms | 1.2, 1.0 | 1.4 | 1.7 |
| … 100 lines, ms | 2.7, 3.3 | 3.8 | 3.9 |
| billed with 1 line, ms; this layer waits for Sumo Logic's 81 | 1.9, 1.6 | 85.0 | 2.8 |
| … 100 lines, ms | 3.1, 3.9 | 86.6 | 4.7 |
| memory added, idle, MB | | 7.9 | 13.3 |
| … 100,000 lines in an invocation, at most, above idle, MB | | 11.6 | 75.2 |
| CPU to ship 1 MiB, all of its threads, ms | | 10.7 | 59.2 |"""


def _curves(results: Results) -> Iterator[str]:
    yield "\n## How it grows"
    for name, series in results.all_curves.items():
        axes = AXES[name]
        xs = [point.x for point in next(iter(series.values()))]
        yield f"\n| {axes.title}, {axes.y}; {axes.x}: | {' | '.join(f'{x:g}' for x in xs)} |"
        yield f"| --- |{' --: |' * len(xs)}"
        for line, points in series.items():
            yield f"| {line} | {' | '.join(f'{point.y:.1f}' for point in points)} |"


def _all_paid(results: Results) -> Iterator[str]:
    yield """
## All that was measured

Of the first table: medians, and the best in brackets. Billed is until the runtime and all extensions are ready again.
"""
    yield from pay.details(results.paid)
