"""What a snapshot must not have in it, and what each copy draws anew: the spool, the recorder, the shipping thread.

The whole of it, with real snapshots, is in tests/test_snapshots.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from model.snapshot import ports_connected_to, unavailable
from spool_functions import drain, empty, make, start
from sumo_source import ACCEPT, HANG, Fault, Point, SumoSource
from test_handoff import let_go
from test_platform_log import READY, WRAPPER, delivery, drained, listening, made, tell

from sumo_internal import wiring
from sumo_internal.capture import runtime_client
from sumo_internal.capture.recorder import Recorder
from sumo_internal.config import read
from sumo_internal.extension.platform_log import PlatformLog
from sumo_internal.processing.pipeline import Pipeline
from sumo_internal.shipping import drainer as drainer_module
from sumo_internal.shipping import shipper as shipper_module
from sumo_internal.shipping.shipper import Shipper
from sumo_internal.spool import writer as writer_module
from sumo_internal.spool.counters import DROPPED, totals
from sumo_internal.spool.folder import list_segments
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import Segment
from sumo_internal.spool.writer import LEFT_MAX_LINES, Spool

OF_ALL = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/30/[3]of-all"}
COPY = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/30/[3]copy"}


def ids(folder: Path) -> dict[str, list[str]]:
    """The ids of all lines in a folder, by line."""
    found: dict[str, list[str]] = {}
    for path in list_segments(str(folder)):
        segment = Segment.open(path)
        if (piece := segment.take(1_000_000)) is not None:
            for line in bytes(piece.data()).splitlines():
                record = json.loads(line)
                found.setdefault(record.get("line") or record.get("message"), []).append(record["id"])
    return found


def in_copy(body: Callable[[], object]) -> None:
    """Do something in a copy of this process of which its own code is not told, as after a restore."""
    original = os.getpid()
    pid = ctypes.CDLL(None).fork()  # not Python's, which runs the hooks of a fork
    if pid == 0:
        # A restored process has its number, and no page of it was emptied.
        vars(writer_module)["os"].getpid = lambda: original
        for spool in filter(None, [each() for each in writer_module._spools]):
            spool._is_original[0] = 1
        try:
            body()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_copies_share_no_id(tmp_path: Path) -> None:
    """Lines from before the snapshot have the same id in all copies; no line that only one has shares one."""
    folder = tmp_path / "spool"
    recorder = Recorder(make(folder), {"logStream": "of all"})
    recorder.line("loaded")
    recorder.spool.stop()

    def copy(number: int) -> Callable[[], None]:
        def live() -> None:
            recorder.line("while it was restored")
            recorder.spool.go_on(COPY)
            recorder.begin_again(f"stream {number}")
            recorder.line(f"copy {number}")

        return live

    for number in range(3):
        in_copy(copy(number))
    found = ids(folder)
    assert len(found["loaded"]) == 1 and len(set(found["while it was restored"])) == 3
    assert len({each for line in found.values() for each in line}) == sum(map(len, found.values())) == 7


def test_a_line_that_waits_for_its_turn_at_the_stop_is_one_line(tmp_path: Path) -> None:
    """It was written before the snapshot, while another thread that was slow had the turn: it has one id in all copies.

    The trap: the stop comes between the end of that thread's turn and its look at what was left meanwhile.
    """
    folder = tmp_path / "spool"
    spool = make(folder)
    slow = spool._turn.keep()
    assert slow is not None
    spool.append(start("before"))
    spool._turn.give_back(slow)
    spool.stop()
    assert list(ids(folder)) == ["before"]
    for _ in range(3):
        in_copy(lambda: spool.go_on(COPY))
    assert len(ids(folder)["before"]) == 1


def test_a_stopped_spool_gives_no_ids(tmp_path: Path) -> None:
    """Threads go on logging between the last look and the snapshot, and run in a copy as soon as the runtime does."""
    spool = make(tmp_path / "spool")
    spool.append(start("first"))
    spool.stop()
    spool.append(start("same thread"))
    thread = threading.Thread(target=spool.append, args=(start("other thread"),))
    thread.start()
    thread.join()
    spool.count(DROPPED, 1, 10)
    assert list(ids(tmp_path / "spool")) == ["first"]

    before = spool.writer
    spool.go_on(COPY)
    found = ids(tmp_path / "spool")
    assert {line: each[0].startswith(spool.writer) for line, each in found.items()} == {
        "first": False,
        "same thread": True,
        "other thread": True,
    }
    assert before != spool.writer and spool.counters.counts() == {DROPPED: (1, 10)}


@pytest.mark.parametrize("is_stopped", [True, False])
def test_where_no_snapshot_was_taken_the_name_stays(tmp_path: Path, is_stopped: bool) -> None:
    """The runtime's call has failed: its report of that is recorded, too, and nothing waits for ever."""
    spool = make(tmp_path / "spool")
    before = spool.writer
    if is_stopped:
        spool.stop()
    spool.append(start("report"))
    spool.go_on()
    assert ids(tmp_path / "spool") == {"report": [f"{before}-0000000001"]} and spool.writer == before


def test_what_waits_over_a_snapshot_is_bounded(tmp_path: Path) -> None:
    """A thread that logs without end fills no memory, and what is left out is counted."""
    spool = make(tmp_path / "spool")
    spool.stop()
    for number in range(LEFT_MAX_LINES + 10):
        spool.append(start(str(number)))
    spool.go_on(COPY)
    assert len(ids(tmp_path / "spool")) == LEFT_MAX_LINES
    assert spool.counters.counts()["blocked"][0] == 10


@pytest.mark.parametrize("is_emptied", [None, "before", "after"])
def test_what_is_left_of_the_init_is_drained_once(tmp_path: Path, is_emptied: str | None) -> None:
    """Under its old name, where it is mapped, whether or not /tmp was emptied; then its files are gone."""
    folder = tmp_path / "spool"
    spool = make(folder)
    spool.append(start("init"))
    if is_emptied == "before":
        empty(spool.folder)
        spool.mend()
    spool.stop()
    if is_emptied == "after":
        empty(spool.folder)
    spool.go_on(COPY)
    spool.append(start("copy"))
    reader = SpoolReader(str(folder), spool)
    assert sorted(drain(reader)) == ["copy", "init"] and drain(reader) == []
    spool.append(start("again"))
    assert drain(reader) == ["again"] and len(list_segments(str(folder))) == 1


def test_a_line_that_was_begun_goes_along(tmp_path: Path) -> None:
    """Its thread ends it in the copy: there it is the copy's line, and if the copy is killed, what there is of it."""
    spool = make(tmp_path / "spool")
    recorder = Recorder(spool, {"logStream": "of all"})
    recorder.written("whole\nbeg", 1)
    spool.stop()
    spool.go_on(COPY)
    recorder.begin_again("copy")
    recorder.written("un\n", 1)
    found = ids(tmp_path / "spool")
    assert found["begun"][0].startswith(spool.writer) and not found["whole"][0].startswith(spool.writer)


def test_counts_without_a_file_go_along(tmp_path: Path) -> None:
    """No file could be made for them: they are in the process's memory, which is copied."""
    spool = make(tmp_path / "spool")
    spool.counters.add(DROPPED, 3, 30)
    empty(spool.folder)
    spool.go_on(COPY)
    spool.append(start("line"))
    assert totals(spool.folder, spool.counters)[DROPPED] == (3, 30)


def test_a_child_forked_in_a_copy_writes(tmp_path: Path) -> None:
    """... and one that is forked while the spool is stopped: it has nothing of its parent's turn."""
    spool = make(tmp_path / "spool")
    for name, prepare in (("stopped", spool.stop), ("copy", lambda: spool.go_on(COPY))):
        prepare()
        child = os.fork()
        if child == 0:
            spool.append(start(name))
            os._exit(0)
        os.waitpid(child, 0)
    assert set(ids(tmp_path / "spool")) == {"stopped", "copy"}


def test_held_lines_have_the_ids_of_the_copy(tmp_path: Path) -> None:
    """SUMO_SAMPLE: what is held back is numbered under the spool's name, which is another one in each copy."""
    config, _ = read({"SUMO_HTTP_ENDPOINT": "https://collectors.test/receiver/v1/http/token", "SUMO_SAMPLE": "0"})
    spool = make(tmp_path / "spool")
    pipeline = Pipeline(spool, config, "")
    recorder = Recorder(spool, {}, processing=pipeline)
    spool.stop()
    spool.go_on(COPY)
    recorder.begin_again("copy")
    recorder.enter_invocation("r-1")
    recorder.line("held")
    pipeline.fail_invocation()
    assert ids(tmp_path / "spool")["held"][0].startswith(f"{spool.writer}-")


# The extension.


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformLog]:
    """The extension's, of an environment that will be copied; the function's process has told its names in a file."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    tell(folder)
    yield made(folder, monkeypatch, **WRAPPER, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    let_go()
    listening.pop().close()


def records_of_copies(journal: PlatformLog, tmp_path: Path, *lives: Callable[[], object]) -> list[dict[str, Any]]:
    """What copies of the extension have in their spools, each in a folder that is as it was at the snapshot."""
    found = []
    saved = tmp_path / "saved"
    shutil.copytree(journal._config.spool_dir, saved)
    for life in lives:

        def leave(life: Callable[[], object] = life) -> None:
            life()
            journal.let_out()
            (tmp_path / "records").write_text(json.dumps(drained(journal)))

        in_copy(leave)
        found += json.loads((tmp_path / "records").read_text())
        shutil.rmtree(journal._config.spool_dir)
        shutil.copytree(saved, journal._config.spool_dir)
    return found


RESTORED: tuple[str, Any] = ("platform.restoreStart", {})
INIT = [("platform.initStart", {}), READY, ("platform.initReport", {})]


@pytest.mark.parametrize("told", range(len(INIT) + 1))
def test_an_event_of_the_init_is_one_record_however_late_the_note_is_read(
    journal: PlatformLog, tmp_path: Path, told: int
) -> None:
    """The function's process has told its names before the snapshot; the extension reads them only in the copies.

    There it may be told of events first or look for the note first, and events come in one delivery or in several.
    """
    journal.draw_spool()

    def all_at_once() -> None:
        journal.take(delivery(*INIT, RESTORED))

    def one_by_one() -> None:
        for event in [*INIT[told:], RESTORED]:
            journal.take(delivery(event))
            journal.look()

    def note_first() -> None:
        journal.look()
        journal.take(delivery(*INIT[told:], RESTORED))

    if told == 0:
        lives = [all_at_once, one_by_one, note_first]
    else:
        journal.look()
        journal.take(delivery(*INIT[:told]))
        lives = [one_by_one, note_first]
    records = [record for record in records_of_copies(journal, tmp_path, *lives) if "init" in record["type"]]
    assert len(records) >= len(INIT[told:]) * len(lives)
    for kind, _ in INIT[told:]:
        found = {repr(record) for record in records if record["type"] == kind}
        assert len(found) == 1, found
    assert len({record["id"] for record in records}) == len({record["type"] for record in records})


# The shipping thread.


@contextmanager
def shipping(folder: Path, address: str) -> Iterator[tuple[Recorder, Shipper]]:
    environ = {"SUMO_HTTP_ENDPOINT": address, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9", "SUMO_NUM_RETRIES": "0"}
    config, _ = read({**environ, "SUMO_SPOOL_DIR": str(folder)})
    recorder = Recorder(Spool(str(folder), OF_ALL, 64_000_000), {})

    def made(counts: Any) -> Any:
        return wiring.make_drainer(config, environ, recorder, counts)

    shipper = Shipper(config, recorder.spool, made)
    shipper.await_snapshot()
    yield recorder, shipper


@pytest.mark.parametrize("fault", [ACCEPT, HANG, Fault(status=503), Fault(at=Point.BEFORE_READING)], ids=str)
@pytest.mark.parametrize("later_s", [0, 86_400], ids=["at once", "a day later"])
def test_no_connection_lies_in_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, later_s: int
) -> None:
    """Whatever the source does, within the bound; what it has not taken, each copy sends, under the same id.

    A copy asks a source again at once that had not answered before: the breaker was the publishing environment's.
    """
    monkeypatch.setattr(shipper_module, "SNAPSHOT_MAX_S", 1.0)
    monkeypatch.setattr(wiring, "_is_wrapped", True)
    with SumoSource(connections=2) as source, shipping(tmp_path / "spool", source.url) as (recorder, shipper):
        source.default = fault
        recorder.line("init")
        begun_s = time.monotonic()
        shipper.stop()
        assert time.monotonic() - begun_s < 1.0 + 0.5
        assert shipper._drainer is None and shipper._draining.acquire(timeout=1)
        shipper._draining.release()
        assert urlsplit(source.url).port not in ports_connected_to()
        before = len(source.requests)
        shipper.ship()
        recorder.line("while the snapshot is taken")
        recorder.spool.stop()

        source.default = ACCEPT
        now_s = time.time
        monkeypatch.setattr(time, "time", lambda: now_s() + later_s)
        recorder.spool.go_on(COPY)
        shipper.go_on(is_copy=True)
        assert len(source.requests) == before  # nothing is sent between the two
        assert shipper.ship_until(time.time() + 5)
        assert {record["message"] for record in source.records} == {"init", "while the snapshot is taken"}
        assert set(source.ids().values()) == {1}


def test_jitter_is_each_copys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of ``random`` is the same in all copies: their retries would meet at the source."""
    state = random.getstate()
    drawn = {drainer_module._chance() for _ in range(5) if random.setstate(state) is None}
    assert len(drawn) == 5 and random.getstate() == state


def client(restore: Callable[[], object]) -> tuple[Any, list[str]]:
    """A bootstrap module whose client has its ``restore_next`` in a base, as since 4.0; and what is called."""
    called: list[str] = []
    base = type("Base", (), {"restore_next": lambda self: restore()})
    bootstrap = SimpleNamespace(LambdaRuntimeClient=type("Client", (base,), {}))
    runtime_client.follow_snapshot(
        bootstrap, lambda: called.append("before"), lambda is_copy: called.append(str(is_copy))
    )
    return bootstrap, called


def test_the_call_is_followed_and_its_outcome_is_its_own() -> None:
    """A restore that fails raises what it raises without us, and is no copy."""
    bootstrap, called = client(lambda: "answer")
    assert bootstrap.LambdaRuntimeClient().restore_next() == "answer" and called == ["before", "True"]

    def fail() -> None:
        raise KeyError("no restore")

    bootstrap, called = client(fail)
    with pytest.raises(KeyError, match="no restore"):
        bootstrap.LambdaRuntimeClient().restore_next()
    assert called == ["before", "False"]


def test_a_time_limit_that_ends_the_preparations_leaves_nothing_stopped() -> None:
    """A signal handler of the function's may raise while the last lines are shipped, for 5 s in an outage.

    What it raises is the function's, and ends the environment; the runtime's report of that is recorded and shipped.
    """
    bootstrap, called = client(lambda: pytest.fail("no snapshot is asked for"))

    def before() -> None:
        called.append("before")
        raise KeyboardInterrupt

    runtime_client.follow_snapshot(bootstrap, before, lambda is_copy: called.append(f"outer {is_copy}"))
    with pytest.raises(KeyboardInterrupt):
        bootstrap.LambdaRuntimeClient().restore_next()
    assert called == ["before", "outer False"]


def test_what_a_signal_ends_may_be_a_copy() -> None:
    """A time limit of the init's may run out in each copy, before the call has returned: they may share no id then."""
    armed = []

    def late(*_: object) -> None:
        armed.append("raised")
        raise TimeoutError("a time limit")

    usual = signal.signal(signal.SIGALRM, late)
    try:
        bootstrap, called = client(lambda: signal.raise_signal(signal.SIGALRM))
        with pytest.raises(TimeoutError, match="a time limit"):
            bootstrap.LambdaRuntimeClient().restore_next()
    finally:
        signal.signal(signal.SIGALRM, usual)
    assert armed == ["raised"] and called == ["before", "True"]


def test_an_old_client_has_nothing_to_follow() -> None:
    """awslambdaric 2.x knows no snapshots, and is left as it is."""
    client = type("LambdaRuntimeClient", (), {})
    before = dict(vars(client))
    runtime_client.follow_snapshot(SimpleNamespace(LambdaRuntimeClient=client), lambda: None, lambda is_copy: None)
    assert dict(vars(client)) == before


def test_it_is_known_why_there_are_no_real_snapshots() -> None:
    """Where tests/test_snapshots.py is skipped, its reason says what is missing."""
    reason = unavailable()
    assert reason is None or reason.strip()
