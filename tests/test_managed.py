"""Managed Instances: several requests at a time, each in a process of its own, in AWS's own emulator of them.

The workers only write, and the extension ships. Nothing of the environment is ours.
"""

from __future__ import annotations

import gzip
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from emulator import Answer, Emulator
from runtimes import Runtime, runtimes
from scripted_http import ScriptedServer
from scripted_http import answer as scripted_answer
from sumo_source import HANG, Fault, SumoSource

WORKERS = Path(__file__).parent / "functions" / "workers"
RUNTIMES = [runtime for runtime in runtimes([4]) if runtime.version >= (3, 13)]
WAIT_S = 10.0
"""For lines to arrive: by age they leave after 5 s."""

_OBSTACLE = Emulator.available() or (
    None if RUNTIMES else "Managed Instances have Python 3.13 and later, and this machine has none"
)
needs_emulator = pytest.mark.skipif(_OBSTACLE is not None, reason=f"no emulator here: {_OBSTACLE}")
pytestmark = needs_emulator


class Instance:
    """A managed instance, and what its workers have written as the source has it."""

    def __init__(self, emulator: Emulator, source: SumoSource, workers: int) -> None:
        self.emulator = emulator
        self._source = source
        self._workers = workers
        self.log = ""
        """All that was written, once the emulator has ended."""

    def invoke(self, event: Any = None) -> Any:
        """Invoke the function; again, while no worker is free."""
        until_s = time.monotonic() + WAIT_S
        while (answer := self.emulator.invoke(event or {})).status == 400 and "Unavailable" in answer.text:
            assert time.monotonic() < until_s, "no worker becomes free"
            time.sleep(0.02)
        return self._value(answer)

    def invoke_all(self, *events: Any) -> list[Any]:
        """Invoke it with all events at a time, as many as there are workers."""
        answers: dict[int, Any] = {}
        left = list(enumerate(events))

        def caller() -> None:
            while left:
                number, event = left.pop(0)
                answers[number] = self.invoke(event)

        callers = [threading.Thread(target=caller) for _ in range(self._workers)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        return [answers[number] for number in sorted(answers)]

    def all_workers(self) -> list[Any]:
        """Invoke until each worker has served a request; return an answer of each."""
        found: dict[int, Any] = {}
        for _ in range(20):
            for answer in self.invoke_all(*[{"pause_s": 0.3}] * self._workers):
                found[answer["pid"]] = answer
            if len(found) == self._workers:
                return list(found.values())
        raise AssertionError(f"{len(found)} of {self._workers} workers serve requests")

    def said(self) -> list[str]:
        """What the layer has said."""
        return re.findall(r"sumo-internal-extension: (\w+: .*)", self.log or self.emulator.log)

    def wait_for(self, text: str) -> None:
        """Wait until a record has this text."""
        until_s = time.monotonic() + WAIT_S
        while not any(text in line for line in texts(self._source)):
            assert time.monotonic() < until_s, f"{text!r} has not arrived"
            time.sleep(0.02)

    @staticmethod
    def _value(answer: Answer) -> Any:
        try:
            return answer.value
        except ValueError:
            return answer.text  # a timeout's is plain text


@contextmanager
def instance(
    source: SumoSource,
    layer: Path,
    workers: int = 3,
    *,
    runtime: Runtime | None = None,
    task_root: Path = WORKERS,
    wrapper: str | None = "/opt/sumo_wrapper",
    timeout_s: int = 10,
    **variables: Any,
) -> Iterator[Instance]:
    settings = {"SUMO_HTTP_ENDPOINT": source.url, **variables}
    if wrapper is not None:
        settings["AWS_LAMBDA_EXEC_WRAPPER"] = wrapper
    with Emulator(
        runtime or RUNTIMES[0],
        task_root,
        layer=layer,
        wrapper=wrapper,
        variables=settings,
        timeout_s=timeout_s,
        workers=workers,
    ) as emulator:
        started = Instance(emulator, source, workers)
        yield started
        emulator.stop()
        started.log = emulator.log


def message(record: dict[str, Any]) -> str:
    """A record's text: a log record's is an object, because the log format is JSON."""
    text = record.get("message", "")
    return str(text.get("message", text) if isinstance(text, dict) else text)


def texts(source: SumoSource) -> list[str]:
    return [message(record) for record in {record["id"]: record for record in source.records}.values()]


def ids(source: SumoSource) -> list[tuple[str, Any]]:
    """Of each line that says whose it is: the request that has written it, and the one that the record names.

    What was sent when a process died, or was stuck, may have come twice, with the same id.
    """
    found = []
    for record in {record["id"]: record for record in source.records}.values():
        told = re.search(r" of ([0-9a-f-]{36})", message(record))
        if told and record["type"] == "function":
            found.append((told[1], record.get("requestID")))
    return found


def test_fields_are_filled(source: SumoSource, layer_folder: Path) -> None:
    """The extension ships, so what stands for a placeholder is what it knows; the account is its registration's."""
    fields = "account={account},region={region},name={function},memory={memory}"
    with instance(source, layer_folder, 1, SUMO_FIELDS=fields) as managed:
        managed.invoke({})
    sent = {request.headers.get("x-sumo-fields") for request in source.requests if request.headers}
    assert sent == {"account=123456789012,region=us-east-1,name=orders,memory=1769"}


def test_requests_overlap(source: SumoSource, layer_folder: Path) -> None:
    """Each line has the id of its own request, arrives once, over one connection; workers load nothing that ships.

    Nor does a worker map what the others write (the trap: it inherits the count of its parent's forks).

    Each worker imports the function, so a line of the init comes once from each. What a request's child and thread
    write is the request's.
    """
    with instance(source, layer_folder) as env:
        first = env.all_workers()
        assert {answer["segments"] for answer in env.all_workers()} == {1}
        answers = env.invoke_all(*[{"lines": 5, "pause_s": 0.01, "fork": True, "thread": True}] * 24)

    found = ids(source)
    assert [pair for pair in found if pair[0] != pair[1]] == []
    wanted = Counter({answer["id"]: 5 * 2 + 2 for answer in answers})
    assert {id: count for id, count in Counter(id for id, _ in found).items() if id in wanted} == wanted
    assert set(source.ids().values()) == {1}
    loaded = Counter(text for text in texts(source) if text.startswith("loaded by"))
    assert loaded == {f"loaded by {answer['pid']}": 1 for answer in first}
    assert {answer["tasks"] for answer in first} == {1}
    modules = {name for answer in answers for name in answer["modules"]}
    assert not modules & {"sumo_internal.shipping.drainer", "sumo_internal.net.client", "ssl", "urllib3"}
    assert len({record["logStream"] for record in source.records}) == 1
    assert len({request.connection for request in source.requests}) == 1
    assert env.said() == []


LAST_WORDS = {"late": 1, "orphan": 1, "fail": 1, "group": 2, "outlived": 1}
"""Lines that a request writes behind its others, by its end."""


@pytest.mark.parametrize("end", ["kill", "exit", "segfault", "outlived", "fail", "late", "orphan", "group"])
def test_an_end_loses_nothing(source: SumoSource, layer_folder: Path, end: str) -> None:
    """A worker that dies leaves its lines; one whose request has timed out goes on, and its late lines keep their id.

    So does a child of a dead worker's. A dead worker is not replaced: the others serve. Where only the runtime's first
    process is told to end, its workers go on for a while; where its whole group is, what a handler of that signal
    writes is there as well.
    """
    with instance(source, layer_folder, timeout_s=2) as env:
        before = env.invoke_all(*[{}] * 6)
        env.invoke({"lines": 3, "end": end})
        if end in ("late", "outlived"):
            env.wait_for(f"{end} of")
        if end not in ("orphan", "group"):
            before += env.invoke_all(*[{}] * 6)

    found = Counter(ids(source))
    assert [pair for pair in found if pair[0] != pair[1]] == []
    lost = {id: count for id, count in Counter(id for id, _ in ids(source)).items() if count < 2}
    assert lost == {}
    assert {answer["id"] for answer in before} < {id for id, _ in found}
    ended = {id for id, _ in found} - {answer["id"] for answer in before}
    assert len(ended) == 1
    lines = sum(found[id, id] for id in ended)
    assert lines == 6 + LAST_WORDS.get(end, 0)
    assert set(source.ids().values()) <= {1, 2}


MANY = 16
WORKER_MAX_MB = {False: 0.5, True: -1.2}
"""What the layer may add to each of so many workers, by whether they collect garbage. If they do not, 0.4 was measured
here, and 0.92 without what :mod:`sumo_internal.shipping.shared_pages` does. If they do, 1.46 less than without the
layer was measured: what the runtime had loaded when the first worker was forked is not looked at."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("collect", WORKER_MAX_MB)
def test_what_a_worker_takes(source: SumoSource, layer_folder: Path, tmp_path: Path, collect: bool) -> None:
    """Pages that a worker writes to are its own: it writes to few, and has what it needs from its parent."""
    (tmp_path / "empty").mkdir()
    taken_bytes: list[int] = []
    frozen: list[set[int]] = []
    for layer, wrapper in ((tmp_path / "empty", None), (layer_folder, "/opt/sumo_wrapper")):
        with instance(source, layer, MANY, wrapper=wrapper) as env:
            env.all_workers()
            answers = env.invoke_all(*[{"lines": 2, "pause_s": 0.05, "collect": collect}] * 4 * MANY)
            taken_bytes.append(env.emulator.memory_pss_bytes())
            frozen += [{answer["frozen"] for answer in answers}]
    assert (taken_bytes[1] - taken_bytes[0]) / MANY / 1e6 <= WORKER_MAX_MB[collect]
    assert frozen[0] == {0} and 0 not in frozen[1]


@pytest.mark.parametrize("settings", [{}, {"SUMO_SAMPLE": "0"}], ids=["", "held"])
def test_a_killed_workers_lines_leave_by_age(source: SumoSource, layer_folder: Path, settings: dict[str, str]) -> None:
    """What it has begun or held back is nobody's any more, and leaves while the others serve.

    The trap: the runtime never asks how a worker has ended, so its number stays in the table of processes.
    """
    age: Any = {"SUMO_FLUSH_MAX_AGE_S": "0.5", **settings}
    with instance(source, layer_folder, timeout_s=2, **age) as env:
        env.invoke({"lines": 3, "end": "half"})
        env.wait_for("half of")
        env.wait_for("log 2 of")
    assert [pair for pair in ids(source) if pair[0] != pair[1]] == []
    assert len(ids(source)) == 7


def test_the_last_worker_dies(source: SumoSource, layer_folder: Path) -> None:
    """No process is left that writes, nor a runtime: what they have written leaves with the extension all the same."""
    with instance(source, layer_folder, 2, timeout_s=2) as env:
        pids = {answer["pid"] for answer in env.all_workers()}
        answers = env.invoke_all(*[{"lines": 3, "end": "kill"}] * 2)
        assert [answer for answer in answers if "id" in answer] == []
    found = Counter(ids(source))
    assert [pair for pair in found if pair[0] != pair[1]] == []
    assert [count for count in found.values() if count == 6] == [6] * len(pids)
    assert set(source.ids().values()) <= {1, 2}


FORK_SERVER = """
import multiprocessing
multiprocessing.set_start_method("forkserver")
"""
"""Python 3.14's default, which clients before 4.2.2 take."""


@pytest.mark.parametrize(
    ("version", "start"),
    [("4.0.0", "fork"), ("4.0.4", "fork"), ("4.1.0", "fork"), ("4.2.1", "fork"), ("4.2.1", "forkserver")],
)
def test_each_client_is_followed(
    source: SumoSource, layer_folder: Path, tmp_path: Path, version: str, start: str
) -> None:
    """Whatever starts the workers: a fork of the runtime's process, or of a server's that has nothing of ours."""
    task = tmp_path / "task"
    shutil.copytree(WORKERS, task)
    path: Any = {}
    if start == "forkserver":
        (task / "sitecustomize.py").write_text(FORK_SERVER)
        path = {"PYTHONPATH": "/var/task:/var/runtime"}
    runtime = replace(RUNTIMES[0], ric_version=version)
    with instance(source, layer_folder, 2, runtime=runtime, task_root=task, **path) as env:
        first = env.all_workers()
        answers = env.invoke_all(*[{"lines": 3, "pause_s": 0.01}] * 8)
    found = ids(source)
    assert [pair for pair in found if pair[0] != pair[1]] == []
    counts = Counter(id for id, _ in found)
    assert {counts[answer["id"]] for answer in answers} == {6}
    assert {("multiprocessing.forkserver" in answer["modules"]) for answer in first} == {start == "forkserver"}
    assert len([text for text in texts(source) if text.startswith("loaded by")]) == (1 if version == "4.1.0" else 2)
    assert env.said() == []


def test_deliveries_are_acknowledged_while_sumo_hangs(layer_folder: Path) -> None:
    """Lambda keeps its events until they are acknowledged: AWS's emulator stood still after 17 requests."""
    with SumoSource(connections=9) as source:
        source.default = HANG
        with instance(source, layer_folder) as env:
            answers = env.invoke_all(*[{}] * 60)
    assert len({answer["id"] for answer in answers}) == 60


@pytest.mark.parametrize("fault", [503, 429, 401])
def test_what_sumo_refuses_goes_to_the_bucket(source: SumoSource, layer_folder: Path, fault: int) -> None:
    """As anywhere: the extension's drainer is the one that the function's process has elsewhere."""
    source.default = Fault(fault)
    with ScriptedServer(scripted_answer(200)) as bucket:
        failover: Any = {
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": "failover",
            "SUMO_S3_BUCKET_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": bucket.url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret-of-an-example",
            "SUMO_RETRY_SLEEP_TIME_MS": "10",
        }
        with instance(source, layer_folder, SUMO_FLUSH_MAX_AGE_S="0.2", **failover) as env:
            answers = env.invoke_all(*[{}] * 9)
        stored = "".join(gzip.decompress(put.body).decode() for put in bucket.requests)
    assert [answer["id"] for answer in answers if stored.count(f"of {answer['id']}") < 2] == []


def test_shutdown_comes_amid_a_burst(source: SumoSource, layer_folder: Path) -> None:
    """Every line whose call had returned is at Sumo Logic; each worker's are whole up to where it was killed."""
    with instance(source, layer_folder) as env:
        env.all_workers()
        threads = [
            threading.Thread(target=lambda: _until_gone(env, {"lines": 100_000, "is_noted": True})) for _ in range(3)
        ]
        for each in threads:
            each.start()
        env.wait_for("log 500 of")
        until_s = time.monotonic() + 20
        while len(list(env.emulator.tmp.glob("*-*-*-*-*"))) < 3 and time.monotonic() < until_s:
            time.sleep(0.01)
        env.emulator.stop()
        for each in threads:
            each.join()
        written = {file.name: int(file.read_text()) for file in env.emulator.tmp.glob("*-*-*-*-*")}

    assert len(written) == 3
    assert set(source.ids().values()) <= {1, 2}
    for id, count in written.items():
        for kind in ("print", "log"):
            numbers = sorted(int(text.split()[1]) for text in texts(source) if re.fullmatch(f"{kind} .* of {id}", text))
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= count


def _until_gone(env: Instance, event: Any) -> None:
    try:
        env.emulator.invoke(event)
    except OSError:
        pass  # the emulator has ended


@pytest.mark.parametrize("has_tls", [True, False])
def test_shutdown_takes_over_from_a_stuck_request(layer_folder: Path, tmp_path: Path, has_tls: bool) -> None:
    """A request that was begun before and has no answer holds the drain lock: the lines leave with another thread.

    Guards against a wait for it until Lambda kills, against a second thread that the first one's lock turns away, and
    against a second connection beside the first.
    """
    with SumoSource(tls=has_tls) as source:
        source.script([HANG])
        task, trusted = tmp_path / "task", {}
        shutil.copytree(WORKERS, task)
        if has_tls:
            shutil.copy(str(source.ca_file), task / "ca.pem")
            trusted = {"SSL_CERT_FILE": "/var/task/ca.pem"}
        settings: Any = {"SUMO_FLUSH_MAX_AGE_S": "0.2", **trusted}
        with instance(source, layer_folder, task_root=task, **settings) as env:
            env.all_workers()
            until_s = time.monotonic() + WAIT_S
            while not source.requests:
                assert time.monotonic() < until_s
                time.sleep(0.02)
            env.invoke({"lines": 3})
        assert source.requests[0].status is None
        assert {count for id, count in Counter(id for id, _ in ids(source)).items()} == {2, 6}
        assert set(source.ids().values()) == {1}
        assert env.said() == source.problems == []


def test_a_ring_brings_much_at_once(source: SumoSource, layer_folder: Path) -> None:
    """A worker that has written a megabyte wakes the extension, which no delivery and no age would wake here."""
    settings: Any = {"SUMO_LOG_TYPES": "function", "SUMO_FLUSH_MAX_AGE_S": "900"}
    with instance(source, layer_folder, **settings) as env:
        env.invoke({"lines": 600, "length": 2_000})
        env.wait_for("log 300 of")


def test_few_lines_leave_by_age(source: SumoSource, layer_folder: Path) -> None:
    """Nothing rings and nothing is delivered: lines leave when they are as old as the setting says."""
    settings: Any = {"SUMO_LOG_TYPES": "function", "SUMO_FLUSH_MAX_AGE_S": "0.5"}
    with instance(source, layer_folder, **settings) as env:
        env.invoke({})
        env.wait_for("print 0 of")


def test_an_emptied_tmp_loses_nothing(source: SumoSource, layer_folder: Path) -> None:
    """A request removes the files of all workers: each worker notices at its own next end of a request."""
    with instance(source, layer_folder) as env:
        answers = env.all_workers()
        answers += env.invoke_all(*[{"lines": 2, "remove_tmp": "/tmp/sumo-internal"}, {}, {}] * 3)
        answers += env.invoke_all(*[{}] * 6)
    counts = Counter(id for id, _ in ids(source))
    assert {answer["id"] for answer in answers} - set(counts) == set()
    assert [text for text in env.said() if not text.startswith("info: ")] == []


PROGRAM = """
import subprocess, sys
def handler(event, context):
    request_id = context.aws_request_id
    subprocess.run([sys.executable, "-c", f"print('program 0 of {request_id}')"], check=True)
    print(f"print 0 of {request_id}", flush=True)
    return {"id": request_id}
"""


def test_other_programs_are_heard(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """SUMO_CHILDREN: what a request's program writes is the request's, however requests overlap."""
    task = tmp_path / "task"
    task.mkdir()
    (task / "app.py").write_text(PROGRAM)
    children: Any = {"SUMO_CHILDREN": "true"}
    with instance(source, layer_folder, 2, task_root=task, **children) as env:
        answers = env.invoke_all(*[{}] * 8)
    found = ids(source)
    assert [pair for pair in found if pair[0] != pair[1]] == []
    assert Counter(id for id, _ in found) == {answer["id"]: 2 for answer in answers}


@pytest.mark.parametrize("mode", ["process", "telemetry"])
def test_sampling_knows_overlapping_requests(source: SumoSource, layer_folder: Path, mode: str) -> None:
    """All lines of a request that fails or is killed, and none of the others, however they overlap.

    From the Telemetry API, lines of the JSON format alone say whose they are; the others are not sampled. Nothing is
    printed there: ``print`` writes in pieces, all workers write to the emulator's one pipe, and a piece of one worker's
    in front of another's line would leave that without its object.
    """
    with instance(source, layer_folder, SUMO_SAMPLE="0", SUMO_FUNCTION_LOGS=mode) as env:
        env.all_workers()
        events: list[Any] = [{"lines": 3, "pause_s": 0.02, "is_logged_only": mode == "telemetry"}] * 9
        events[2] = events[5] = {**events[2], "end": "fail"}
        events[7] = {**events[7], "end": "kill"}
        answers = env.invoke_all(*events)
    succeeded = {answer["id"] for answer in answers if "id" in answer}
    counts = Counter(id for id, named in ids(source) if named is not None)
    assert set(counts) & succeeded == set()
    wanted = [6, 7, 7] if mode == "process" else [3, 4, 4]
    assert sorted(counts.values()) == wanted, [record for record in source.records if record["type"] == "function"]


def test_what_has_no_meaning_is_said_once(source: SumoSource, layer_folder: Path) -> None:
    """SUMO_FLUSH gets one remark, by the extension; what each worker finds wrong is said by one of them."""
    with instance(source, layer_folder, SUMO_FLUSH="end", SUMO_PROCESSORS="app.missing") as env:
        env.all_workers()
    said = env.said()
    assert len([line for line in said if "SUMO_FLUSH" in line]) == 1
    assert len([line for line in said if "app.missing" in line or "missing" in line]) == 1, said
    assert len(said) == 2


@pytest.mark.parametrize("has_layer", [True, False])
def test_a_handler_without_the_wrapper(source: SumoSource, layer_folder: Path, tmp_path: Path, has_layer: bool) -> None:
    """With the layer the extension ships, over one connection; without it each worker does, and says so once."""
    task = tmp_path / "task"
    shutil.copytree(WORKERS, task)
    text = (task / "app.py").read_text()
    (task / "app.py").write_text(
        "from sumo_internal import SumoHandler\n"
        + text.replace("log.setLevel(logging.INFO)", "log.setLevel(logging.INFO)\nlog.addHandler(SumoHandler())")
    )
    layer = layer_folder
    if not has_layer:
        shutil.copytree(layer_folder / "python" / "sumo_internal", task / "sumo_internal")
        layer = tmp_path / "empty"
        layer.mkdir()
    path: Any = {} if not has_layer else {"PYTHONPATH": "/var/runtime:/opt/python"}
    with instance(source, layer, task_root=task, wrapper=None, SUMO_FLUSH_MAX_AGE_S="0.5", **path) as env:
        env.all_workers()
        answers = env.invoke_all(*[{"lines": 2}] * 9)
        for answer in answers:
            env.wait_for(f"log 1 of {answer['id']}")
    found = ids(source)
    assert [pair for pair in found if pair[0] != pair[1]] == []
    counts = Counter(id for id, _ in found)
    assert [counts[answer["id"]] for answer in answers] == [2] * 9
    assert not has_layer or len({request.connection for request in source.requests}) == 1
    said = env.said()
    assert len([line for line in said if "SumoHandler has no extension" in line]) == (0 if has_layer else 1), said
