"""``make soak-guest``: functions that do everything to themselves, with the layer and without, side by side.

A perfect guest is not noticed: the same answers, the same exit codes, response times that differ by little at the 99th
percentile, and every line at Sumo Logic or counted. ``functions/hostile`` has the acts; a seed decides which of them an
environment goes through, and each story is played twice, in turn with the layer and without.

The exit code is 1 if an answer differs, or if a line is missing that no counter has.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from secrets import randbelow
from typing import Any, NamedTuple

from model import Environment, Invocation
from rich.console import Console
from rich.table import Table
from runtimes import Runtime, interpreters, runtimes
from sumo_source import SumoSource

from layer.build import build, unpack
from soak.books import LOST_WITH_ENVIRONMENT
from sumo_internal.spool import counters

FUNCTION = Path(__file__).parent.parent / "functions" / "hostile"
ACTS = (
    "calm fork threads descriptors replaced signals limit finalisers recursion giants hostile partial empties modes"
    " descriptors_closed traces refuses"
).split()
NEED_OWN_TMP = {"empties", "modes", "truncates"}
"""What is not to be done to the machine's /tmp."""
ENDS = "raises exits aborts dies segfault sleeps".split()
"""What ends an invocation otherwise than by an answer, and mostly the environment's generation with it."""

RULES = {
    "SUMO_MASK_KEYS": "password,authorization",
    "SUMO_MASK_PATTERNS": '["[0-9]{13,16}", "token=(\\\\w+)"]',
    "SUMO_EXCLUDE": "GET /health",
}
TIMEOUT_S = 8.0
INVOCATIONS = 6
"""Of one environment."""
SLOWEST_SAID = 10
"""Invocations whose response takes so much more with the layer that the report names them."""
MARK = re.compile(r"<([^.<>]+)\.(\d+)>")
Mark = tuple[str, int]
"""A writer, and the number of one of its lines."""
_REQUEST_ID = re.compile("(RequestId: )?[0-9a-f]{8}-[0-9a-f-]{27} ")


@dataclass
class Findings:
    """What was seen in all stories so far."""

    stories: int = 0
    invocations: int = 0
    noted: int = 0
    at_sumo: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    answered: list[Answered] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def response_s(self, *, with_layer: bool) -> list[float]:
        """Response times of what was answered."""
        return [each.with_it_s if with_layer else each.without_s for each in self.answered]


class Answered(NamedTuple):
    """An invocation that was answered both times, in seconds."""

    story: int
    acts: tuple[str, ...]
    without_s: float
    with_it_s: float

    @property
    def more_s(self) -> float:
        return self.with_it_s - self.without_s


class Played(NamedTuple):
    """A story that was gone through once."""

    invocations: list[Invocation]
    noted: set[Mark]
    """Lines that were written."""
    early: set[Mark]
    """Those of them that were at Sumo Logic before SHUTDOWN."""
    at_sumo: set[Mark]
    """Those of them that are there in the end."""
    counts: dict[str, int]
    """Lines by what the layer says became of them."""
    said: int
    """Lines that it says are lost with the environment."""

    @property
    def lost(self) -> dict[str, int]:
        """Lines that are counted as lost, or as what a kill loses, by reason."""
        reasons = (*counters.LOSSES, counters.UNPROTECTED)
        return {reason: lines for reason, lines in self.counts.items() if reason in reasons}

    def promised(self, acts: Sequence[Sequence[str]]) -> Played:
        """The same without lines of which nothing is promised."""
        noted = {mark for mark in self.noted if _is_promised(mark[0], acts)}
        return self._replace(noted=noted, early=self.early & noted, at_sumo=self.at_sumo & noted)

    def problem(self) -> str:
        """What is wrong with the books, if anything."""
        missing, told = sorted(self.noted - self.at_sumo), sum(self.lost.values()) + self.said
        return f"{len(missing)} lines are nowhere, {told} are told: {missing[:5]}" if len(missing) > told else ""

    def words(self) -> str:
        """Say what became of the lines."""
        missing = self.noted - self.at_sumo
        if not missing:
            return "all at Sumo Logic" if self.early == self.noted else "all at Sumo Logic, some at SHUTDOWN"
        some = "all" if missing == self.noted else "some"
        if len(missing) <= sum(self.lost.values()):
            return f"{some} lost, counted as {', '.join(sorted(self.lost))}"
        return f"{some} lost, {'said on stderr' if len(missing) <= self.said else 'counted nowhere'}"


def story(draw: Random) -> list[list[str]]:
    """Which acts each invocation of an environment consists of."""
    possible = ACTS if Environment.isolation_available() is None else [act for act in ACTS if act not in NEED_OWN_TMP]
    acts = [draw.choices(possible, k=draw.randint(1, 3)) for _ in range(INVOCATIONS)]
    for own in acts:
        if draw.random() < 0.2:
            own.append(draw.choice(ENDS))
    return acts


def play(
    acts: Sequence[Sequence[str]],
    runtime: Runtime,
    layer: Path | None,
    variables: dict[str, str],
    *,
    timeout_s: float = TIMEOUT_S,
    settle_max: int = 0,
) -> Played:
    """Go through a story.

    Args:
        acts: Of each invocation.
        runtime: The function's.
        layer: Its folder; None for without.
        variables: The layer's settings.
        timeout_s: The function's.
        settle_max: Further invocations, in which nothing is done, until all lines have arrived.
    """
    is_isolated = Environment.isolation_available() is None
    where = "/run" if is_isolated else None  # the function has another /tmp, and another user
    with tempfile.TemporaryDirectory(prefix="sumo-guest-", dir=where) as folder, SumoSource() as source:
        notes = Path(folder)
        notes.chmod(0o777)
        given = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function", **variables}
        if layer is not None:
            given["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/sumo_wrapper"
        isolated: dict[str, Any] = {"isolated": True} if is_isolated else {}
        with Environment(runtime, FUNCTION, layer=layer, variables=given, timeout_s=timeout_s, **isolated) as env:
            env.start()
            invocations = []
            for number, own in enumerate(acts):
                invocations.append(env.invoke({"name": f"i{number}", "notes": str(notes), "acts": list(own)}))
            for number in range(settle_max):
                if _noted(notes) <= _marks(source):
                    break
                env.invoke({"name": f"settle{number}", "notes": str(notes), "acts": []})
            early = _marks(source)
            env.shutdown()
            counts = counters.totals(str(env.tmp / "sumo-internal")) if layer is not None else {}
            said = sum(int(match[1]) for line in env.cloudwatch for match in LOST_WITH_ENVIRONMENT.finditer(line.text))
        found = _marks(source)
        noted = _noted(notes)
    lines = {reason: lines for reason, (lines, _) in counts.items()}
    return Played(invocations, noted, noted & early, noted & found, lines, said)


def _noted(notes: Path) -> set[Mark]:
    """What the function has written."""
    return {(note.name, number) for note in notes.iterdir() for number in range(int(note.read_text() or "0"))}


def _marks(source: SumoSource) -> set[Mark]:
    """What has reached Sumo Logic."""
    kept = [record for request in source.requests if request.is_kept for record in request.records]
    return {(mark[1], int(mark[2])) for record in kept for mark in MARK.finditer(str(record.get("message")))}


def _is_promised(writer: str, acts: Sequence[Sequence[str]]) -> bool:
    """Is anything promised of a writer's lines? Not where their files are removed before anything could look at them.

    That is where the process refuses the sockets by which the extension gets a hold on files that are made later, so
    that nothing is sent before SHUTDOWN, and then empties /tmp and dies in the same invocation; or where it removes
    what its children have left in that very invocation.
    """
    number = int(re.split("[-st]", writer)[0].removeprefix("i"))
    deaths = [n for n, each in enumerate(acts) if each[-1] in ENDS and each[-1] != "raises"]
    begin = max((n + 1 for n in deaths if n < number), default=0)
    if not any("refuses" in each for each in acts[begin : number + 1]):
        return True
    end = min((n for n in deaths if n >= number), default=None)
    is_gone = end is not None and "empties" in acts[end]
    return not is_gone and not ("-" in writer and "empties" in acts[number])


def outcome(invocation: Invocation) -> str:
    """What the caller and Lambda see of an invocation, without what differs in each run."""
    error = invocation.error
    failed = "" if error is None else f" {error.error_type} {_REQUEST_ID.sub('', error.message)}"
    payload = invocation.payload if error is None else None
    return f"{invocation.status} {json.dumps(payload)}{failed}"


def soak(console: Console, minutes: float, seed: int, layer: Path, only: int | None = None) -> Findings:
    """Play one story after the other, each with the layer and without; or only the one of this number."""
    findings = Findings()
    end_s = time.monotonic() + minutes * 60
    while time.monotonic() < end_s and findings.stories != only:
        findings.stories += 1
        if only is not None and findings.stories != only:
            continue
        draw = Random(f"{seed}/{findings.stories}")
        acts, runtime = story(draw), draw.choice(runtimes())
        variables = {"SUMO_FLUSH": draw.choice(("auto", "end", "next")), **(RULES if draw.random() < 0.5 else {})}
        name = f"story {findings.stories} ({runtime.id}, {variables})"
        played = {}
        for with_layer in draw.sample((False, True), 2):
            played[with_layer] = play(acts, runtime, layer if with_layer else None, variables)
        wrong = _compare(findings, acts, played[False].invocations, played[True].invocations)
        own = played[True].promised(acts)
        if problem := own.problem():
            wrong.append(problem)
        findings.wrong += [f"{name}: {each}" for each in wrong]
        findings.noted += len(own.noted)
        findings.at_sumo += len(own.at_sumo)
        findings.counted.update(own.counts)
        verdict = "[red]differs[/red]" if wrong else "[green]the same[/green]"
        console.print(f"{findings.stories:3} {verdict} [dim]{runtime.id} {variables['SUMO_FLUSH']} {acts}[/dim]")
    return findings


def _compare(
    findings: Findings, acts: Sequence[Sequence[str]], without: Sequence[Invocation], with_it: Sequence[Invocation]
) -> list[str]:
    """Hold the invocations of a story against each other: keep their response times, return what differs."""
    findings.invocations += len(acts)
    wrong = []
    for number, (one, other) in enumerate(zip(without, with_it, strict=True)):
        if outcome(one) != outcome(other):
            wrong.append(
                f"invocation {number} {acts[number]}: without the layer {outcome(one)[:200]}, "
                f"with it {outcome(other)[:200]}"
            )
        elif one.status == "success" and one.response_s is not None and other.response_s is not None:
            findings.answered.append(Answered(findings.stories, tuple(acts[number]), one.response_s, other.response_s))
    return wrong


def percentile_ms(durations_s: Sequence[float], share: float) -> float:
    """The duration below which this share of them lies, in milliseconds."""
    ordered = sorted(durations_s)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def table(findings: Findings) -> Table:
    """The figures, without the layer and with it."""
    made = _table("Response times of what was answered", "", "without", "with it", "more")
    for name, share in (("median", 0.5), ("90th percentile", 0.9), ("99th percentile", 0.99)):
        without, with_it = (
            percentile_ms(findings.response_s(with_layer=with_layer), share) for with_layer in (False, True)
        )
        made.add_row(name, f"{without:.1f} ms", f"{with_it:.1f} ms", f"{with_it - without:+.1f} ms")
    return made


def table_of_acts(findings: Findings) -> Table:
    """What invocations of which an act is a part take more with the layer, the dearest act first."""
    more_s = {act: [each.more_s for each in findings.answered if act in each.acts] for act in ACTS}
    made = _table("... of which an act is a part: more with the layer", "act", "invocations", "median", "most")
    for act, own_s in sorted(more_s.items(), key=lambda item: -max(item[1], default=0.0)):
        if own_s:
            median, most = (percentile_ms(own_s, share) for share in (0.5, 1.0))
            made.add_row(act, str(len(own_s)), f"{median:+.1f} ms", f"{most:+.1f} ms")
    return made


def _table(title: str, *columns: str) -> Table:
    made = Table(title=f"\n{title}", title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def main() -> int:
    """Run the soak and return its exit code."""
    parser = argparse.ArgumentParser(description="Functions that do everything to themselves, and whether we show.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 by default")
    parser.add_argument("--seed", type=int, default=randbelow(1_000_000), help="what is to happen; drawn by default")
    parser.add_argument("--story", type=int, help="play only the one of this number, to look into it")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {options.seed}, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="sumo-soak-layer-") as layer:
        unpack(build(interpreters()), Path(layer))
        findings = soak(console, options.minutes, options.seed, Path(layer), options.story)
    if findings.answered:
        console.print(table(findings))
        console.print(table_of_acts(findings))
        for each in sorted(findings.answered, key=lambda each: -each.more_s)[:SLOWEST_SAID]:
            acts = ", ".join(each.acts)
            console.print(
                f"{each.without_s * 1000:8.1f} ms -> {each.with_it_s * 1000:8.1f} ms story {each.story}: {acts}"
            )
    console.print(
        f"{findings.stories} stories, {findings.invocations} invocations each way; {findings.noted} lines noted, "
        f"{findings.at_sumo} at Sumo Logic; counted: {dict(findings.counted)}"
    )
    for line in findings.wrong:
        console.print(line, style="red", markup=False)
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
