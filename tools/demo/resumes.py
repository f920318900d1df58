"""``make demo MODE=durable``: the invocations of one durable execution, and which of their lines a resume repeats.

AWS's own local runner wakes the execution (:mod:`durable_service`), AWS's SDK runs it, and the layer marks what it
writes again. Each lane is one invocation; grey lines are repetitions, and without them each line is there once.

It plays, counts, and says what ``lanes`` draws; ``run`` prints.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durable_service import SDKS, DurableService, put_sdk
from model import Environment, Invocation
from runtimes import ROOT, Runtime
from sumo_rules import Record
from sumo_source import SumoRequest, SumoSource

from demo.counts import function_lines
from demo.facts import Line, is_line, known_as
from demo.lanes import Block, Lane, Lives, Mark
from demo.stage import Stage
from demo.timeline import Phase, phases

FUNCTION = ROOT / "tools/functions/durable"
PARTS: Sequence[Any] = ("wait", "child", ["retry", 1], ["step", "ship"], "wait")
"""What the execution consists of; each but a step suspends it at least once."""
_MEMORY_MB = 1769
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Part:
    """One invocation of the execution."""

    number: int
    invocation: Invocation
    phases: Sequence[Phase]
    lines: Sequence[Line]
    records: Sequence[Record]
    """Those of the function's, wherever they were in a request."""

    @property
    def start_s(self) -> float:
        """When Lambda had the event for it."""
        return self.phases[0].start_s

    def repeated(self) -> Counter[str]:
        """The texts that are marked as written once more."""
        return Counter(known_as(record["message"]) for record in self.records if record.get("replay"))


def play(runtime: Runtime, on: Stage) -> Lives:
    """Run one execution to its end; return what to show."""
    with (
        SumoSource() as source,
        DurableService(runtime.interpreter) as service,
        tempfile.TemporaryDirectory() as folder,
    ):
        task_root = Path(folder)
        shutil.copy(FUNCTION / "app.py", task_root)
        put_sdk(task_root, SDKS[-1])
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": source.url,
            "SUMO_FLUSH": "end",
            **service.variables,
        }
        options: dict[str, Any] = {"layer": on.layer, "variables": variables, "memory_mb": _MEMORY_MB}
        with Environment(runtime, task_root, timeout_s=_TIMEOUT_S, **options) as environment:
            environment.start()
            service.serve(environment)
            arn, status = service.run({"parts": list(PARTS)})
            environment.shutdown()
            parts = list(_parts(environment, service.invocations, source.records))
        return _shown(parts, arn, status, source)


def _parts(environment: Environment, invocations: Sequence[Invocation], records: Sequence[Record]) -> list[Part]:
    lines = function_lines(environment.cloudwatch)
    happened = [phase for phase in phases(environment.timeline) if phase.kind in ("run", "hold")]
    found = []
    for number, invocation in enumerate(invocations, 1):
        own = [phase for phase in happened if phase.number == number]
        begin_s, end_s = own[0].start_s, own[-1].end_s
        written = [line for line in lines if begin_s <= line.at_s <= end_s]
        of_it = [record for record in records if is_line(record) and record.get("requestID") == invocation.request_id]
        found.append(Part(number, invocation, own, written, of_it))
    return found


def _shown(parts: Sequence[Part], arn: str, status: str, source: SumoSource) -> Lives:
    written = Counter((part.number, line.text) for part in parts for line in part.lines)
    arrived = Counter((part.number, known_as(record["message"])) for part in parts for record in part.records)
    lost = [text for _, text in (written - arrived).elements()]
    repeated = sum(part.repeated().total() for part in parts)
    once = Counter(known_as(record["message"]) for part in parts for record in part.records if not record.get("replay"))
    twice = [text for text, count in once.items() if count > 1]
    strange = [part for part in parts if {record.get("executionArn") for record in part.records} - {arn}]
    wrong = [f"lost: {text}" for text in lost] + [f"twice, without a mark: {text}" for text in twice]
    wrong += [f"invocation {part.number} has records of another execution" for part in strange]
    wrong += [*source.problems, *([] if status == "SUCCEEDED" else [f"the execution ended with {status}"])]
    verdict = (
        f"Every line is at Sumo Logic with the execution's ARN, and each once but for {repeated} that are marked as "
        "repetitions."
        if not wrong
        else f"{len(wrong)} things are wrong; see below."
    )
    return Lives(
        title="One durable execution, and its invocations",
        lead="A small order on AWS's SDK for durable functions and AWS's own local runner, in a model of AWS Lambda "
        "and with the real layer. The execution suspends itself between its parts; each resume is a new invocation, "
        "whose code runs again from its beginning.",
        what="Each lane is one invocation and begins with it. Grey lines were written before, by an earlier one.",
        verdict=verdict,
        is_well=not wrong,
        facts={
            "written": (written.total(), "lines written"),
            "lost": (len(lost), "lost"),
            "repeated": (repeated, "of them again, and marked"),
            "once": (once.total(), "without these"),
            "twice": (len(twice), "of which came twice"),
        },
        lanes=[_lane(part, source.requests) for part in parts],
        legend={
            "line": ("a line", "What the function wrote. Point at it: the request that has brought it lights up."),
            "again": ("again", 'What it had written in an earlier invocation; the record has "replay":true.'),
            "taken": ("taken", "A request that Sumo Logic accepted; the number below it counts its records."),
        },
        heads=("", "request id", "its response", "lines", "repeated", "executionArn"),
        rows=[_row(part) for part in parts],
        records=_records(parts),
        wrong=wrong[:10],
        footnotes=["AWS's runner does not wait for the execution's timers; on AWS hours may lie between two lanes."],
    )


def _lane(part: Part, requests: Sequence[SumoRequest]) -> Lane:
    start_s, end_s = part.start_s, part.phases[-1].end_s
    blocks = [
        Block(
            phase.kind,
            phase.start_s - start_s,
            phase.end_s - start_s,
            f"{phase.kind}: {phase.duration_s * 1000:.1f} ms",
            str(part.number) if phase.kind == "run" else "",
        )
        for phase in part.phases
    ]
    carriers: dict[str, str] = {}
    circles = []
    for number, request in enumerate(each for each in requests if each.is_kept):
        own = [record for record in request.records if record.get("requestID") == part.invocation.request_id]
        for record in filter(is_line, own):
            carriers[known_as(record["message"])] = f"request-{number}"
        if start_s <= request.received_at_s <= end_s:
            said = f"{len(request.records)} records, {sum(bool(each.get('replay')) for each in own)} of them again"
            mark = Mark(
                request.received_at_s - start_s, said, "sidecar", str(len(request.records)), f"request-{number}"
            )
            circles.append(mark)
    again = part.repeated()
    lines = []
    for line in part.lines:
        kind = "lost" if line.text not in carriers else "again" if again[line.text] else "sidecar"
        lines.append(Mark(line.at_s - start_s, line.text, kind, "", carriers.get(line.text, "")))
    hint = "begins the execution" if part.number == 1 else "a resume of the execution"
    return Lane(f"invocation {part.number}", hint, blocks, lines, circles)


def _row(part: Part) -> Sequence[str]:
    arns = {str(record.get("executionArn")) for record in part.records}
    return (
        f"invocation {part.number}",
        part.invocation.request_id,
        str((part.invocation.payload or {}).get("Status", part.invocation.status)),
        str(len(part.lines)),
        str(part.repeated().total()),
        " ".join(sorted(arns)),
    )


def _records(parts: Sequence[Part]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for part in parts:
        for record in part.records:
            found.setdefault("a line that comes again" if record.get("replay") else "a line", record)
    return found
