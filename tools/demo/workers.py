"""``make demo MODE=managed``: requests that overlap on a managed instance, and that each line names its own.

It plays, counts, and says what ``lanes`` draws; ``run`` prints. Which worker has served a request is read from the
records: the runtime tells nobody.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model import Environment, InitResult
from runtimes import Runtime
from sumo_rules import Record
from sumo_source import SumoRequest, SumoSource

from demo.counts import is_layers
from demo.lanes import Block, Lane, Lives, Mark
from demo.stage import Stage
from demo.story import ORDINARY

WORKERS = 3
_ORDERS = 12
_MEMORY_MB = 2048
"""The least that a managed instance has."""
_SHUTDOWN_S = 0.2
"""Room for it on the axis, where it took less."""

_LINE = re.compile(r"\b(\d{4})/(\d+)\b")


@dataclass(frozen=True)
class Order:
    """One request, as its caller saw it."""

    number: int
    request_id: str
    start_s: float
    end_s: float
    lines: int
    """That the function says it has written."""


def play(runtime: Runtime, on: Stage) -> Lives:
    """Have orders served, as many at a time as there are workers; return what to show."""
    with SumoSource() as source:
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": source.url,
            "PAYMENT_SERVICE": "127.0.0.1:9",  # nobody pays by card here
        }
        with Environment(
            runtime,
            on.task_root,
            layer=on.layer,
            variables=variables,
            memory_mb=_MEMORY_MB,
            workers=WORKERS,
            timeout_s=30.0,
        ) as environment:
            begun_s = time.time()
            init = environment.start()
            orders = list(_served(environment))
            shutdown_s = time.time()
            environment.shutdown()
            said = [line.text for line in environment.cloudwatch if is_layers(line)]
        return _shown(_Seen(begun_s, init, orders, shutdown_s, source.requests, [*said, *source.problems]))


def _served(environment: Environment) -> Iterator[Order]:
    """Serve all orders; each of the callers sends its next one when it has its answer."""
    visits = ORDINARY.visits()
    left = [{**next(visits).event, "payment": "invoice"} for _ in range(_ORDERS)]
    done: list[Order] = []

    def call() -> None:
        while left:
            event = left.pop(0)
            start_s = time.time()
            handle = environment.begin_invoke(event)
            invocation = handle.finish()
            answer = invocation.payload
            done.append(
                Order(answer["order"], handle.request_id, start_s, start_s + (invocation.response_s or 0.0),
                      answer["log_lines"])
            )  # fmt: skip

    callers = [threading.Thread(target=call) for _ in range(WORKERS)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    yield from sorted(done, key=lambda order: order.number)


@dataclass(frozen=True)
class _Seen:
    """What happened, and what Sumo Logic has of it."""

    begun_s: float
    init: InitResult
    orders: Sequence[Order]
    shutdown_s: float
    requests: Sequence[SumoRequest]
    complaints: Sequence[str]

    def lines(self) -> Iterator[tuple[int, Record]]:
        """The function's lines, each with the number of the request that has brought it."""
        for number, request in enumerate(self.requests):
            yield from ((number, record) for record in request.records if record["type"] == "function")


def _shown(seen: _Seen) -> Lives:
    by_pid: dict[str, list[tuple[int, Record]]] = defaultdict(list)
    for number, record in seen.lines():
        by_pid[_pid(record)].append((number, record))
    pids = sorted(by_pid, key=int)
    owners = {order.number: order.request_id for order in seen.orders}
    written = {f"{order.number}/{number}" for order in seen.orders for number in range(1, order.lines + 1)}
    arrived = {each for _, record in seen.lines() if (each := _number(record))}
    wrong_ids = [
        f"the id of another request: {each}"
        for _, record in seen.lines()
        if (each := _number(record)) and record.get("requestID") != owners[int(each.partition("/")[0])]
    ]
    lost = sorted(written - arrived)
    wrong = [*(f"lost: {each}" for each in lost), *wrong_ids, *seen.complaints]
    connections = len({request.connection for request in seen.requests})
    most = max(sum(other.start_s <= order.start_s < other.end_s for other in seen.orders) for order in seen.orders)
    return Lives(
        title="One environment, and its workers",
        lead="A small order service on a managed instance, on a model of AWS Lambda and with the real layer. Lambda "
        "serves several requests at a time, each in a process of its own, and nothing freezes.",
        what="The workers only write. The extension ships for all of them.",
        verdict=f"Every line is at Sumo Logic, under the id of the request that wrote it: {len(written)} lines."
        if not wrong
        else f"{len(wrong)} things are wrong; see below.",
        is_well=not wrong,
        facts={
            "written": (len(written), "lines of orders written"),
            "lost": (len(lost), "lost"),
            "wrong": (len(wrong_ids), "with the id of another request"),
            "overlap": (most, "requests at a time"),
            "connections": (connections, "connection to Sumo Logic" if connections == 1 else "connections"),
        },
        lanes=[*(_worker(seen, each + 1, pid, by_pid[pid]) for each, pid in enumerate(pids)), _extension(seen)],
        legend={
            "run": ("a request", "One order, from its caller's request to the response; its number stands in it."),
            "line": ("a line", "What the function wrote. Point at it: the request that has brought it lights up."),
            "taken": ("taken", "A request of the extension's that Sumo Logic accepted. The number below it counts the "
                      "lines of this worker, or all records."),
        },
        heads=("", "writer", "requests", "lines", "batches"),
        rows=[_row(seen, each + 1, by_pid[pid]) for each, pid in enumerate(pids)],
        records=_records(seen, {pid: each + 1 for each, pid in enumerate(pids)}),
        wrong=wrong[:10],
        footnotes=["Each worker imports the function, so that a line of its init comes once from each."],
    )  # fmt: skip


def _pid(record: Record) -> str:
    """The process that has written a record: it is in the writer's name."""
    return str(record["id"]).partition("-p")[2].partition("-")[0]


def _number(record: Record) -> str:
    """Which line of which order it is; empty for one of none."""
    found = _LINE.search(json.dumps(record["message"]))
    return "/".join(found.groups()) if found else ""


def _time_s(record: Record) -> float:
    return datetime.fromisoformat(str(record["time"]).replace("Z", "+00:00")).timestamp()


def _worker(seen: _Seen, number: int, pid: str, records: Sequence[tuple[int, Record]]) -> Lane:
    served = {record.get("requestID") for _, record in records}
    blocks = [Block("init", 0.0, seen.init.duration_s, "the function is imported, in each worker")]
    for order in seen.orders:
        if order.request_id in served:
            title = f"order {order.number}, request {order.request_id}: {(order.end_s - order.start_s) * 1000:.1f} ms"
            start_s, end_s = order.start_s - seen.begun_s, order.end_s - seen.begun_s
            blocks.append(Block("run", start_s, end_s, title, str(order.number)))
    lines = [
        Mark(_time_s(record) - seen.begun_s, _said(record), "extension", "", _batch(batch)) for batch, record in records
    ]
    counts: dict[int, int] = defaultdict(int)
    for batch, _ in records:
        counts[batch] += 1
    requests = [
        Mark(seen.requests[batch].received_at_s - seen.begun_s, f"{count} lines of this worker", "extension",
             str(count), _batch(batch))
        for batch, count in counts.items()
    ]  # fmt: skip
    return Lane(f"worker {number}", f"process {pid}", blocks, lines, requests)


def _extension(seen: _Seen) -> Lane:
    end_s = seen.shutdown_s - seen.begun_s
    requests = [
        Mark(each.received_at_s - seen.begun_s, f"{len(each.records)} records", "extension", str(len(each.records)),
             _batch(number))
        for number, each in enumerate(seen.requests)
    ]  # fmt: skip
    shutdown = Block("shutdown", end_s, end_s + _SHUTDOWN_S, "SHUTDOWN: what is left is shipped")
    return Lane("extension", "ships for all", [shutdown], [], requests)


def _said(record: Record) -> str:
    message = record["message"]
    text = message if isinstance(message, str) else str(message.get("message") or message.get("event") or message)
    return f"{text} (request {record.get('requestID') or 'none: the init'})"


def _batch(number: int) -> str:
    return f"batch-{number}"


def _row(seen: _Seen, number: int, records: Sequence[tuple[int, Record]]) -> Sequence[str]:
    orders = {record["requestID"] for _, record in records if record.get("requestID")}
    writer = str(records[0][1]["id"]).rpartition("-")[0]
    batches = {batch for batch, _ in records}
    return f"worker {number}", writer, str(len(orders)), str(len(records)), str(len(batches))


def _records(seen: _Seen, workers: Mapping[str, int]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for _, record in seen.lines():
        if _number(record):
            found.setdefault(f"a line, worker {workers[_pid(record)]}", record)
    for request in seen.requests:
        for record in request.records:
            if record["type"] == "platform.report":
                found.setdefault("Lambda's word on a request", record)
    return found
