"""The sidecar's own promises, its two threads', without an environment; what it does in one is in the path tests."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faulty_http import End
from model import Environment
from runtimes import typical
from scripted_http import ScriptedServer, answer
from sumo_source import HANG, Fault, SumoSource

from sumo_internal.capture.recorder import Recorder
from sumo_internal.config import read
from sumo_internal.extension.keeper import Keeper
from sumo_internal.lambda_apis.extensions_api import REGISTER_TIMEOUT_S, ExtensionsApi, deadline_in
from sumo_internal.shipping import flush_strategy
from sumo_internal.shipping.flush_strategy import BESIDE_S
from sumo_internal.shipping.invocations import LIFELINE_MAX_S, Invocations
from sumo_internal.shipping.shipper import AGEING, BEGIN_AGAIN_S, EXIT_MAX_S, REPORT_COMING, THAWED, Shipper, next_state
from sumo_internal.shipping.worker import Worker
from sumo_internal.spool.handoff import LIFELINE
from sumo_internal.spool.segment import ACKNOWLEDGED
from sumo_internal.spool.writer import Spool

PROBE = Path(__file__).parent / "functions" / "probe"
CONFIG, _ = read({"SUMO_HTTP_ENDPOINT": "https://collectors.test/receiver/v1/http/token"})


class Api:
    """An Extensions API that notes whether it was asked for anything."""

    is_asked = False

    def ask_to_register(self, name: str, events: list[str]) -> None:
        self.is_asked = True


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was to run on a thread of its own; nothing does."""
    names: list[str] = []
    monkeypatch.setattr("sumo_internal.threads.start", lambda body, *_: names.append(body.__name__))
    return names


def make(tmp_path: Path) -> tuple[Shipper, Spool]:
    spool = Spool(f"{tmp_path}/spool", {"X-Sumo-Name": "s"}, 64_000_000)

    def no_drainer(_: Any) -> Any:
        raise AssertionError("nothing is drained here")

    return Shipper(CONFIG, spool, no_drainer), spool


def test_shipping_begins_with_the_first_line_and_once(tmp_path: Path, begun: list[str]) -> None:
    """Not before there is something to ship, and not again when the init phase is over."""
    shipper, spool = make(tmp_path)
    assert begun == []
    for _ in range(3):
        spool.append('{"message":"a line"')
    shipper.begin()
    assert begun == ["_keep_shipping"]


def test_a_forked_child_does_not_ship(tmp_path: Path, begun: list[str]) -> None:
    """Forked before the first line, it leaves its lines to its parent, which counts what becomes of them."""
    _, spool = make(tmp_path)
    child = os.fork()
    if child == 0:
        spool.append('{"message":"a child\'s line"')
        os._exit(len(begun))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    spool.append('{"message":"a line"')
    assert begun == ["_keep_shipping"]


def test_without_a_thread_nothing_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is registered and never asks for an event keeps the init phase open for ever."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("sumo_internal.threads._thread.start_new_thread", fail)
    shipper, spool = make(tmp_path)
    api: Any = Api()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Invocations(CONFIG, Recorder(spool, {}), shipper).register(api)
    assert not api.is_asked


def test_shipping_that_cannot_begin_keeps_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said, once, and the function's write goes through: the extension ships at SHUTDOWN."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("sumo_internal.threads._thread.start_new_thread", fail)
    monkeypatch.setattr("sumo_internal.diagnostics.IS_STRICT", False)
    _, spool = make(tmp_path)
    for _ in range(3):
        spool.append('{"message":"a line"')
    assert spool.pending_bytes > 0
    assert capfd.readouterr().err.count("beginning to ship failed: RuntimeError: can't start new thread") == 1


def test_shipping_that_could_not_begin_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a later line, and once: a function that had no process left for a moment is not silent for good."""
    attempts: list[float] = []

    def fail_twice(body: Any, *_: object) -> None:
        attempts.append(time.monotonic())
        if len(attempts) <= 2:
            raise RuntimeError("can't start new thread")
        shipper._has_begun.acquire()  # as the thread does first of all

    monkeypatch.setattr(
        "sumo_internal.threads._thread.start_new_thread", lambda body, arguments: fail_twice(body, *arguments)
    )
    monkeypatch.setattr("sumo_internal.diagnostics.IS_STRICT", False)
    shipper, spool = make(tmp_path)
    until_s = time.monotonic() + 5 * BEGIN_AGAIN_S
    while time.monotonic() < until_s:
        spool.append('{"message":"a line"')
    assert len(attempts) == 3
    assert all(later - earlier > BEGIN_AGAIN_S / 2 for earlier, later in itertools.pairwise(attempts))


def test_the_end_of_the_stack_only_delays_the_beginning(tmp_path: Path, begun: list[str]) -> None:
    """A first line written there comes back, as every line does, and then begins to ship."""
    _, spool = make(tmp_path)
    begin, spool.on_backlog = spool.on_backlog, None
    spool.append('{"message":"there is a segment"')  # to make one takes more of the stack than to begin
    spool.on_backlog = begin
    errors: list[RecursionError] = []

    def deeper(left: int) -> None:
        if left:
            deeper(left - 1)
            return
        spool.append('{"message":"a line"')

    def at_each_depth() -> None:
        for depth in range(sys.getrecursionlimit(), sys.getrecursionlimit() - 60, -1):
            if begun:
                return
            try:
                deeper(depth)
            except RecursionError as error:
                errors.append(error)

    thread = threading.Thread(target=at_each_depth)
    thread.start()
    thread.join()
    assert errors and begun == ["_keep_shipping"]


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        ({"is_woken": False, "is_late": False, "is_held": False}, AGEING),
        ({"is_woken": False, "is_late": False, "is_held": True}, AGEING),
        ({"is_woken": True, "is_late": False, "is_held": True}, AGEING),
        ({"is_woken": True, "is_late": False, "is_held": False}, REPORT_COMING),
        ({"is_woken": False, "is_late": True, "is_held": False}, THAWED),
        ({"is_woken": False, "is_late": True, "is_held": True}, THAWED),
    ],
)
def test_what_the_shipping_thread_waits_for(wait: dict[str, bool], expected: str) -> None:
    """Guards against a REPORT that is waited for while an invocation is held, and against shipping before SHUTDOWN."""
    assert next_state(**wait) == expected


class WithoutThread(Shipper):
    """The shipping thread has tests of its own."""

    def begin(self) -> None:
        pass


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[tuple[Invocations, ScriptedServer]]:
    """A life-cycle thread that is registered under ``next``, and the Lambda that it asks; there is a line to ship."""
    with ScriptedServer(default=End.HANG) as server:
        server.script(answer(200, lambda_extension_identifier="x1"))
        _, spool = make(tmp_path)
        config = read({"SUMO_HTTP_ENDPOINT": "https://collectors.test/receiver/v1/http/token", "SUMO_FLUSH": "next"})[0]
        shipper = WithoutThread(config, spool, lambda _: pytest.fail("nothing is drained here"))
        invocations = Invocations(config, Recorder(spool, {}), shipper)
        invocations.register(ExtensionsApi(server.url.partition("://")[2]))
        spool.append('{"message":"a line"')
        yield invocations, server
        invocations._api = None  # the thread ends with its next event


def threads_in(function: Any, own: object) -> Iterator[int]:
    """The threads that are in the middle of an object's function."""
    for thread, frame in sys._current_frames().items():
        while frame:
            if frame.f_code is function.__code__ and frame.f_locals["self"] is own:
                yield thread
            frame = frame.f_back  # type: ignore[assignment]


@pytest.mark.parametrize("times", [1, 2, 30])
def test_what_is_raised_in_the_life_cycle_thread_before_the_first_event_does_not_end_it(
    tmp_path: Path, times: int
) -> None:
    """While the function is imported, in all threads: who is registered and does not ask keeps the init phase open."""
    with ScriptedServer(default=End.HANG) as server:
        server.script(answer(200, lambda_extension_identifier="x1"))
        shipper, spool = make(tmp_path)
        invocations = Invocations(CONFIG, Recorder(spool, {}), shipper)
        invocations.register(ExtensionsApi(server.url.partition("://")[2]))
        while not (threads := [*threads_in(Invocations._live, invocations)]):
            time.sleep(0.001)
        (thread,) = threads
        for _ in range(times):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
            time.sleep(0.002)
        invocations.ended()  # the init
        wait_until_asked(server, 1)
        invocations._api = None


def test_a_registration_that_is_not_answered_holds_the_init_for_its_bound(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once: it was waited for twice, by each thread for as long."""
    with ScriptedServer(default=End.HANG) as server:
        shipper, spool = make(tmp_path)
        invocations = Invocations(CONFIG, Recorder(spool, {}), shipper)
        begun_s = time.monotonic()
        invocations.register(ExtensionsApi(server.url.partition("://")[2]))
        invocations.ended()
        assert REGISTER_TIMEOUT_S <= time.monotonic() - begun_s < REGISTER_TIMEOUT_S + 0.5
    assert "Lambda does not register the background thread (/register: no response)" in capfd.readouterr().err


@contextlib.contextmanager
def registering(tmp_path: Path, keeper: str) -> Iterator[Invocations]:
    """What follows invocations, and is registered; until the init is over."""
    with ScriptedServer(default=End.HANG) as server:
        server.script(answer(200, lambda_extension_identifier="x1"))
        shipper, spool = make(tmp_path)
        invocations = Invocations(CONFIG, Recorder(spool, {}), shipper)
        invocations.register(ExtensionsApi(server.url.partition("://")[2]), keeper)
        yield invocations
        invocations.ended()  # the init
        wait_until_asked(server, 1)
        invocations._api = None


KEEPER = f"\0sumo-internal/sidecar-{os.getpid()}"
NO_PROGRAM = ("/no such program", ["program"])


@pytest.mark.parametrize("by", ["execv", "execve", "execl", "execvp"])
def test_another_program_waits_until_the_extension_knows_who_is_registered(tmp_path: Path, by: str) -> None:
    """The extension starts beside this process, and listens a moment later."""
    keepers: list[Keeper] = []
    with registering(tmp_path, KEEPER):
        starting = threading.Timer(0.1, lambda: keepers.append(Keeper(KEEPER)))
        starting.start()
        path, arguments = NO_PROGRAM
        given: Any = {"execve": (arguments, {}), "execl": arguments}.get(by, (arguments,))
        with pytest.raises(FileNotFoundError, match="No such file"):
            getattr(os, by)(path, *given)
        (keeper,) = keepers
        keeper.look()
        ((connection, message, _),) = keeper.lifelines
        assert message == LIFELINE + f"{os.getpid()} {message.split()[2].decode()} x1".encode()
        assert time.time() - float(connection.recv(64)) < 1
    connection.close()
    keeper.close()


def test_another_program_waits_once_and_not_for_ever(tmp_path: Path) -> None:
    """Without an extension, in a forked child, and once the init is over."""
    own = os.execv
    took_s: list[float] = []

    def execute() -> None:
        begun_s = time.monotonic()
        with pytest.raises(FileNotFoundError):
            os.execv(*NO_PROGRAM)
        took_s.append(time.monotonic() - begun_s)

    with registering(tmp_path, KEEPER):
        child = os.fork()
        if child == 0:
            execute()
            os._exit(took_s[0] > LIFELINE_MAX_S / 2)
        assert os.waitpid(child, 0)[1] == 0
        execute()
        execute()
        assert os.execv is not own
    assert os.execv is own
    execute()
    first_s, *later_s = took_s
    assert LIFELINE_MAX_S <= first_s < LIFELINE_MAX_S + 0.5 and max(later_s) < LIFELINE_MAX_S / 2


def test_what_the_function_has_put_into_the_place_of_an_exec_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs(*_: object) -> None:
        pass

    with registering(tmp_path, KEEPER):
        monkeypatch.setattr(os, "execve", theirs)
    assert os.execve is theirs


def event(request_id: str, deadline_s: float = 0.0) -> bytes:
    deadline_ms = int((deadline_s or time.time() + 9) * 1000)
    return answer(200, {"eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": request_id})


def asked(server: ScriptedServer) -> int:
    """How often Lambda was asked for an event."""
    return sum(request.path.endswith("/event/next") for request in server.requests)


def wait_until_asked(server: ScriptedServer, times: int) -> float:
    """Return after how many seconds Lambda was asked so often."""
    begun_s = time.monotonic()
    while asked(server) != times:
        assert time.monotonic() < begun_s + 5
        time.sleep(0.001)
    return time.monotonic() - begun_s


def began(invocations: Invocations, request_id: str, deadline_s: float = 0.0) -> None:
    """Be the runtime, which has an event."""
    deadline_ms = str(int(deadline_s * 1000)) if deadline_s else None  # a header, as text
    invocations.began(SimpleNamespace(invoke_id=request_id, x_amzn_trace_id=None, deadline_time_in_ms=deadline_ms))


@pytest.mark.parametrize("is_worker", [False, True], ids=["on demand", "managed"])
def test_no_line_is_the_invocation_befores_because_something_is_odd(
    followed: tuple[Invocations, ScriptedServer], is_worker: bool
) -> None:
    """Whatever is raised when an invocation begins, its lines have its own id, and its end is an invocation's end."""
    invocations, _ = followed
    recorder = invocations._recorder
    follower = Worker(recorder, lambda: None) if is_worker else invocations
    follower.ended()  # the init
    for request_id, deadline in (("r1", "1"), ("r2", "soon")):
        request = SimpleNamespace(invoke_id=request_id, x_amzn_trace_id=None, deadline_time_in_ms=deadline)
        with contextlib.suppress(ValueError):  # the guard's, in production
            follower.began(request)
        assert recorder.request_id == request_id
    follower.ended()
    assert is_worker or invocations._ended_id == "r2"


def test_beside_a_short_invocation_the_life_cycle_thread_does_nothing(
    followed: tuple[Invocations, ScriptedServer],
) -> None:
    """It reads its event when the invocation is over, and asks for the next at once: nothing is prolonged by it.

    The end of an invocation before, which nobody has waited for, is not taken for the end of this one.
    """
    invocations, server = followed
    server.script(event("r1"), event("r2"))
    invocations.ended()  # the init
    for request_id, before in (("r1", 1), ("r2", 2)):
        wait_until_asked(server, before)
        began(invocations, request_id)
        time.sleep(BESIDE_S / 2)
        assert asked(server) == before
        invocations.ended()
        assert wait_until_asked(server, before + 1) < BESIDE_S / 2


def test_beside_a_long_invocation_lambda_is_asked_before_its_end(followed: tuple[Invocations, ScriptedServer]) -> None:
    """Whatever lasts is shipped beside, and its end finds the life-cycle thread where it has to be for the freeze."""
    invocations, server = followed
    server.script(event("r1"), event("r2"))
    invocations.ended()
    wait_until_asked(server, 1)
    began(invocations, "r1")
    assert wait_until_asked(server, 2) < 1.0
    assert invocations._shipper._is_asked
    invocations.ended()  # this end is waited for by nobody ...
    began(invocations, "r2")
    time.sleep(BESIDE_S / 2)
    assert asked(server) == 2  # ... and is not that of the second invocation
    invocations.ended()
    wait_until_asked(server, 3)


def deliver_all(invocations: Invocations) -> None:
    """Be the shipping thread."""
    for segment in invocations._spool.segments:
        segment.cursors[ACKNOWLEDGED] = segment.committed_offset


@pytest.mark.parametrize("flush", ["next", "end"])
def test_an_event_that_lambda_tries_again_is_not_over_before_it_begins(
    followed: tuple[Invocations, ScriptedServer], monkeypatch: pytest.MonkeyPatch, flush: str
) -> None:
    """It has the id of the invocation that has failed: the life-cycle thread knows of it before the runtime does.

    Taken for the invocation before, nothing was shipped beside it, however long it was, and it was not held.
    """
    monkeypatch.setattr(flush_strategy, "BESIDE_S", 5.0)  # none of them lasts
    invocations, server = followed
    deadlines_s = [time.time() + 9 + 60 * number for number in range(3)]
    server.script(*(event("r1", deadline_s) for deadline_s in deadlines_s))
    invocations.ended()
    for number, deadline_s in enumerate(deadlines_s, start=1):
        wait_until_asked(server, number)
        # With nothing to ship; a quiet function's event is looked at, and not waited for.
        invocations._flush, invocations._is_quiet = flush, True
        time.sleep(0.05)
        assert asked(server) == number
        began(invocations, "r1", deadline_s)
        assert asked(server) == number
        deliver_all(invocations)
        invocations.ended()
    wait_until_asked(server, len(deadlines_s) + 1)


def test_an_event_that_comes_in_pieces_holds_no_invocation(followed: tuple[Invocations, ScriptedServer]) -> None:
    """The invocation's end was heard while its id was not there yet: that end is not waited for once more.

    For ever: Lambda gives no other event to a process that does not ask for one.
    """
    invocations, server = followed
    first = event("r1")
    server.script(first[:-10])
    invocations._flush, invocations._is_quiet = "end", True
    invocations.ended()
    wait_until_asked(server, 1)
    began(invocations, "r1")
    deliver_all(invocations)
    invocations.ended()
    assert invocations._shipper._wake.wait(5)  # it is taken for an invocation that lasts
    [*server._connections][-1].send(first[-10:])
    wait_until_asked(server, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"eventType":"INVOKE","deadlineMs":1764490000123,"requestId":"r"}', 1_764_490_000.123),
        (b'{"deadlineMs" : 1764490000123}', 1_764_490_000.123),
        (b'{"deadlineMs":"soon"}', 0.0),
        (b'{"deadlineMs":' + b"9" * 5000, 9_999_999_999_999.999),
        (b'{"deadlineMs', 0.0),
        (b"", 0.0),
    ],
)
def test_the_deadline_of_an_event_that_is_only_looked_at(text: bytes, expected: float) -> None:
    """Whatever comes there, and however much of it."""
    assert deadline_in(text) == expected


def requests_beside(
    source: SumoSource, layer_folder: Path, steps: list[list[Any]], **variables: str
) -> list[tuple[float, set[str]]]:
    """Invoke under ``next``; return what each request carried of the function's lines, and how long after the start of
    the invocation in which it came."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url, **variables}
    begun_s = []
    with Environment(typical(), PROBE, layer=layer_folder, variables={"SUMO_FLUSH": "next", **variables}) as env:
        env.start()
        for each in steps:
            begun_s.append(time.time())
            assert env.invoke({"steps": each}).status == "success"
        requests = [*source.requests]
    return [
        (
            request.received_at_s - max(at_s for at_s in begun_s if at_s <= request.received_at_s),
            {record["message"].rpartition("\t")[2] for record in request.records if record["type"] == "function"},
        )
        for request in requests
    ]


def test_nothing_is_shipped_beside_short_invocations(source: SumoSource, layer_folder: Path) -> None:
    """The lines of all of them leave in one request, beside the first that lasts, and not in its first milliseconds.

    Guards against a request for each invocation, which takes the interpreter lock from the handler, and which a freeze
    cuts off.
    """
    short = [[{"log": f"short {number}"}] for number in range(10)]
    requests = requests_beside(source, layer_folder, [*short, [{"sleep": 1.0}]])
    assert set.union(*(lines for _, lines in requests)) >= {f"short {number}" for number in range(10)}
    [since_s] = [since_s for since_s, lines in requests if "short 9" in lines]
    assert len(requests) <= 3, "ten on a slow machine, and the REPORT of the last"
    assert since_s > BESIDE_S


def test_old_lines_leave_beside_short_invocations(source: SumoSource, layer_folder: Path) -> None:
    """However short each is: no line waits for a long one, or for ever."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url}
    variables |= {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": "0.1"}
    until_s = time.monotonic() + 10
    with Environment(typical(), PROBE, layer=layer_folder, variables=variables) as env:
        env.start()
        while len(source.requests) < 3 and time.monotonic() < until_s:
            env.invoke({"steps": [{"log": "short"}]})
        count = len(source.requests)
    assert count >= 3


DOINGS = {
    "no descriptor for two seconds": {"take_descriptors": 2.0},
    "no descriptor any more": {"take_descriptors": 3600.0},
    "an audit hook that refuses sockets": {"refuse": "socket."},
    "json.loads raises": {"break_elsewhere": "json.loads"},
    "time.time raises": {"break_elsewhere": "time.time"},
    "os.listdir raises": {"break_elsewhere": "os.listdir"},
}


@pytest.mark.parametrize("doing", DOINGS)
def test_whatever_the_function_does_lambda_is_asked_for_the_next_event(
    source: SumoSource, layer_folder: Path, doing: str
) -> None:
    """An extension that is registered and does not ask holds each invocation until its timeout, which ends it all."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url, "SUMO_FLUSH": "end"}
    with Environment(typical(), PROBE, layer=layer_folder, variables=variables, timeout_s=10) as env:
        env.start()
        env.invoke({"steps": [{"log": "before"}]})
        results = [env.invoke({"steps": [DOINGS[doing]]})]
        results += [env.invoke({"steps": [{"log": f"{number}"}]}) for number in range(4)]
        env.shutdown()

    assert [result.status for result in results] == ["success"] * 5
    assert max(result.duration_s for result in results) < 5.0
    messages = [record["message"].rpartition("\t")[2] for record in source.records if record["type"] == "function"]
    assert sorted(set(messages)) == ["0", "1", "2", "3", "before", "loaded"]


SCRIPT = """
import logging, os, sys, time
from sumo_internal import SumoHandler
logging.getLogger().addHandler(SumoHandler())
logging.warning("one")
time.sleep(0.3)
"""


def run(script: str, source: SumoSource, tmp_path: Path) -> tuple[int, str]:
    """Run a script with the drop-in outside Lambda; return its exit code and what is on stderr."""
    variables = {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_SPOOL_DIR": f"{tmp_path}/spool",
        "SUMO_FLUSH_MAX_AGE_S": "0.1",
    }
    ran = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ('logging.warning("two")', ["one", "two"]),
        ('pid = os.fork()\nlogging.warning("two")\nif pid: os.waitpid(pid, 0)', ["one", "two", "two"]),
    ],
    ids=["ends", "forks"],
)
def test_a_script_that_ends_while_lines_are_on_their_way_sends_each_once(
    tmp_path: Path, rest: str, expected: list[str]
) -> None:
    """Outside Lambda nobody comes after the process: it waits for the request that is under way, and sends the rest."""
    with SumoSource() as source:
        source.default = Fault(delay_s=0.4)
        assert run(SCRIPT + rest, source, tmp_path) == (0, "")
        assert sorted(record["message"].split()[-1] for record in source.records) == expected


def test_a_hanging_source_keeps_no_script_for_longer_than_the_bound(tmp_path: Path) -> None:
    """The line stays in the spool, for the next process that finds it there."""
    with SumoSource() as source:
        source.default = HANG
        begun_s = time.monotonic()
        assert run(SCRIPT, source, tmp_path)[0] == 0
        assert EXIT_MAX_S < time.monotonic() - begun_s < EXIT_MAX_S + 3


def test_two_programs_with_one_spool_folder_and_two_sources_keep_their_lines_apart(tmp_path: Path) -> None:
    """Each ships what is addressed to its own source only, also what another one has left there before it ended."""
    first = SCRIPT.replace('"one"', '"first"')
    with SumoSource() as one, SumoSource() as other:
        one.default = HANG
        run(first, one, tmp_path)  # ends without being rid of its line
        run(SCRIPT.replace('"one"', '"other"'), other, tmp_path)
        one.default = Fault()
        run(first.replace('"first"', '"later"'), one, tmp_path)

        seen = [
            sorted({record["message"].split()[-1] for record in source.records if record["type"] == "function"})
            for source in (one, other)
        ]
    assert seen == [["first", "later"], ["other"]]


def test_what_was_lost_on_the_way_to_one_source_is_told_to_that_one_only(tmp_path: Path) -> None:
    """Two programs of one user, one folder: neither tells of the other's losses, nor takes them for told."""
    script = SCRIPT + "time.sleep(1)\n"
    with SumoSource() as one, SumoSource() as other:
        one.script([Fault(400)])
        assert "rejects 1 lines" in run(script, one, tmp_path)[1]
        other.script([Fault(503)])
        run(script, other, tmp_path)
        for source in (one, other):
            run(script, source, tmp_path)
        told = [
            [record["accounting"] for record in source.records if record["type"] == "sumo.accounting"]
            for source in (one, other)
        ]
    assert [(list(account), list(account["lost"])) for account in told[0]] == [(["lost"], ["refused"])]
    assert [(list(account), account["lost"]) for account in told[1]] == [(["retried", "lost"], {})]


def test_a_hanging_source_does_not_keep_another_ones_lines(tmp_path: Path) -> None:
    """Whoever drains to one source keeps nobody from draining to another."""
    with SumoSource() as one, SumoSource() as other:
        one.default = HANG
        thread = threading.Thread(target=run, args=(SCRIPT + "time.sleep(2)", one, tmp_path))
        thread.start()
        one.wait_for(lambda source: bool(source.requests))
        begun_s = time.monotonic()
        run(SCRIPT.replace('"one"', '"other"'), other, tmp_path)
        took_s = time.monotonic() - begun_s
        assert [record["message"].split()[-1] for record in other.records] == ["other"]
        thread.join()
    assert took_s < EXIT_MAX_S
