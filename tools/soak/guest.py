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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from secrets import randbelow
from typing import Any

from model import Environment, Invocation
from rich.console import Console
from rich.table import Table
from runtimes import Runtime, interpreters, runtimes
from sumo_source import SumoSource

from layer.build import build, unpack
from sumo_internal.spool import counters

FUNCTION = Path(__file__).parent.parent / "functions" / "hostile"
ACTS = (
    "calm fork threads descriptors replaced signals limit finalisers recursion giants hostile partial empties modes"
    " descriptors_closed traces"
).split()
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
MARK = re.compile(r"<([^.<>]+)\.(\d+)>")
_REQUEST_ID = re.compile("(RequestId: )?[0-9a-f]{8}-[0-9a-f-]{27} ")


@dataclass
class Findings:
    """What was seen in all stories so far."""

    stories: int = 0
    invocations: int = 0
    noted: int = 0
    at_sumo: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    response_s: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    """Of invocations that were answered, without the layer and with it."""
    wrong: list[str] = field(default_factory=list)


def story(draw: Random) -> list[list[str]]:
    """Which acts each invocation of an environment consists of."""
    acts = [draw.choices(ACTS, k=draw.randint(1, 3)) for _ in range(INVOCATIONS)]
    for own in acts:
        if draw.random() < 0.2:
            own.append(draw.choice(ENDS))
    return acts


def play(
    acts: Sequence[Sequence[str]], runtime: Runtime, layer: Path | None, folder: Path, variables: dict[str, str]
) -> tuple[list[Invocation], str]:
    """Go through a story; return its invocations and what was wrong with the books."""
    notes = folder / "notes"
    notes.mkdir(parents=True)
    notes.chmod(0o777)  # the function has another user
    with SumoSource() as source:
        given = {"SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function", **variables}
        if layer is not None:
            given["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/sumo_wrapper"
        isolated: dict[str, Any] = {"isolated": True} if Environment.isolation_available() is None else {}
        with Environment(runtime, FUNCTION, layer=layer, variables=given, timeout_s=TIMEOUT_S, **isolated) as env:
            env.start()
            invocations = []
            for number, own in enumerate(acts):
                invocations.append(env.invoke({"name": f"i{number}", "notes": str(notes), "acts": list(own)}))
            env.shutdown()
            counts = counters.totals(str(env.tmp / "sumo-internal")) if layer is not None else {}
        kept = [record for request in source.requests if request.is_kept for record in request.records]
    found = {(mark[1], int(mark[2])) for record in kept for mark in MARK.finditer(str(record.get("message")))}
    named = {f"i{number}": own for number, own in enumerate(acts)}
    kept_notes = [note for note in notes.iterdir() if _is_promised(note.name, named)]
    noted = {(note.name, number) for note in kept_notes for number in range(int(note.read_text() or "0"))}
    _books.append((len(noted), len(noted & found), {name: lines for name, (lines, _) in counts.items()}))
    lost = sum(lines for reason, (lines, _) in counts.items() if reason in counters.LOSSES)
    missing = sorted(noted - found)
    if layer is not None and len(missing) > lost:
        return invocations, f"{len(missing)} lines are nowhere, {lost} are counted: {missing[:5]}"
    return invocations, ""


_books: list[tuple[int, int, dict[str, int]]] = []


def _is_promised(writer: str, acts: Mapping[str, Sequence[str]]) -> bool:
    """Is anything promised of a writer's lines? Not where their files are removed before anything could look at them.

    That is where the function empties /tmp and its process dies in the same invocation, or where it removes what its
    children have left in that very invocation.
    """
    own = acts[re.split("[-st]", writer)[0]]
    is_child = "-" in writer
    return "empties" not in own or (own[-1] not in ENDS and not is_child)


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
        told: dict[bool, list[str]] = {}
        before = len(findings.wrong)
        for with_layer in draw.sample((False, True), 2):
            with tempfile.TemporaryDirectory(prefix="sumo-guest-", dir="/run") as folder:
                Path(folder).chmod(0o777)
                invocations, problem = play(acts, runtime, layer if with_layer else None, Path(folder) / "x", variables)
            told[with_layer] = [outcome(invocation) for invocation in invocations]
            answered = [each.response_s for each in invocations if each.status == "success"]
            findings.response_s[with_layer] += [duration_s for duration_s in answered if duration_s is not None]
            if problem:
                findings.wrong.append(f"story {findings.stories} ({runtime.id}, {variables['SUMO_FLUSH']}): {problem}")
            noted, at_sumo, counts = _books.pop()
            if with_layer:
                findings.noted += noted
                findings.at_sumo += at_sumo
                findings.counted.update(counts)
        findings.invocations += len(acts)
        for number, (without, with_it) in enumerate(zip(told[False], told[True], strict=True)):
            if without != with_it:
                findings.wrong.append(
                    f"story {findings.stories} ({runtime.id}, {variables}), invocation {number} {acts[number]}: "
                    f"without the layer {without[:200]}, with it {with_it[:200]}"
                )
        is_same = len(findings.wrong) == before
        verdict = "[green]the same[/green]" if is_same else "[red]differs[/red]"
        console.print(f"{findings.stories:3} {verdict} [dim]{runtime.id} {variables['SUMO_FLUSH']} {acts}[/dim]")
    return findings


def percentile_ms(durations_s: Sequence[float], share: float) -> float:
    """The duration below which this share of them lies, in milliseconds."""
    ordered = sorted(durations_s)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def table(findings: Findings) -> Table:
    """The figures, without the layer and with it."""
    made = Table(title="\nResponse times of what was answered", title_justify="left", title_style="bold")
    for column in ("", "without", "with it", "more"):
        made.add_column(column, justify="right" if column else "left")
    for name, share in (("median", 0.5), ("90th percentile", 0.9), ("99th percentile", 0.99)):
        without, with_it = (percentile_ms(findings.response_s[each], share) for each in (False, True))
        made.add_row(name, f"{without:.1f} ms", f"{with_it:.1f} ms", f"{with_it - without:+.1f} ms")
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
    if all(findings.response_s.values()):
        console.print(table(findings))
    console.print(
        f"{findings.stories} stories, {findings.invocations} invocations each way; {findings.noted} lines noted, "
        f"{findings.at_sumo} at Sumo Logic; counted: {dict(findings.counted)}"
    )
    for line in findings.wrong:
        console.print(line, style="red", markup=False)
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
