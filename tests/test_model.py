"""The model of the execution environment keeps Lambda's contract: with the plain runtime, without a layer, with tiny
extensions.

Every later test relies on what is tried here, so that a surprise there is the layer's and not the model's.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import runtimes
from model import Environment, Event, Failure, ModelStuck
from model.monitor import Monitor
from model.telemetry_api import TelemetryApi, read_subscription
from model.telemetry_delivery import Subscription, TelemetryEvent, render
from model.web import Request, Response, Server, json_response
from runtimes import Runtime

ECHO = """
def handler(event, context):
    return {"echo": event, "id": context.aws_request_id}
"""

EXTENSION_PREAMBLE = """\
#!/usr/bin/env python3
import http.client, json, os, signal, sys, threading, time

def call(method, path, body=None, **headers):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    api.request(method, path, None if body is None else json.dumps(body), names)
    answer = api.getresponse()
    text = answer.read()
    api.close()
    return answer.status, text.decode(), answer.getheader("Lambda-Extension-Identifier")

def register(*events, name=os.path.basename(__file__)):
    path = "/2020-01-01/extension/register"
    return call("POST", path, {"events": events}, Lambda_Extension_Name=name)[2]

def next_event(identifier):
    return json.loads(call("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=identifier)[1])

def say(*words):
    print(*words, flush=True)
"""

INTERNAL = EXTENSION_PREAMBLE.partition("\n")[2]
"""The same helpers, for a function that registers an extension from its own process."""

PATIENT = """
identifier = register("INVOKE", "SHUTDOWN")
event = {}
while event.get("eventType") != "SHUTDOWN":
    event = next_event(identifier)
    say("got", json.dumps(event))
"""


@pytest.fixture
def task(tmp_path: Path) -> Callable[[str], Path]:
    """Write a function's code and return its folder."""

    def write(source: str) -> Path:
        folder = tmp_path / "task"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(textwrap.dedent(source))
        return folder

    return write


@pytest.fixture
def layer(tmp_path: Path) -> Callable[..., Path]:
    """Write extensions by name and return the layer's folder."""

    def write(**extensions: str) -> Path:
        folder = tmp_path / "layer"
        (folder / "extensions").mkdir(parents=True, exist_ok=True)
        for name, source in extensions.items():
            script(folder / "extensions" / name, source if source.startswith("#!") else EXTENSION_PREAMBLE + source)
        return folder

    return write


def script(path: Path, source: str) -> None:
    """Write an executable."""
    path.write_text(textwrap.dedent(source))
    path.chmod(0o755)


def kinds(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Return what happened to whom, without the times."""
    return [(event.kind, event.who) for event in events]


def texts(env: Environment, source: str) -> list[str]:
    """Return what one source has written to the log stream."""
    return [line.text for line in env.cloudwatch if line.source == source]


def messages(env: Environment, extension: str) -> list[Any]:
    """Return the events that a patient extension says it got."""
    return [json.loads(text[4:]) for text in texts(env, f"extension:{extension}") if text.startswith("got ")]


def eventually(condition: Callable[[], bool], bound_s: float = 5.0) -> None:
    """Wait for something outside the model, such as a file that a process writes."""
    deadline_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def control_groups(pid: int) -> list[str]:
    """Return the control groups of the environments that one test process has made."""
    return glob.glob(f"/sys/fs/cgroup/*/**/lambda-model-{pid}-*", recursive=True)


class TestRuntime:
    """The runtime process and its API."""

    @pytest.mark.parametrize("runtime", runtimes.runtimes(), ids=lambda runtime: runtime.id)
    @pytest.mark.parametrize("entry", ["managed", "image"])
    def test_every_runtime_answers(self, runtime: Runtime, entry: Any, task: Callable[[str], Path]) -> None:
        """Each interpreter with each runtime client starts from either entry, answers, and is what it is said to be."""
        source = """
            import sys, awslambdaric
            def handler(event, context):
                return [event, list(sys.version_info[:2]), awslambdaric.__version__]
        """
        with Environment(runtime, task(source), entry=entry) as env:
            init = env.start()
            got = env.invoke({"order": 1})

        assert init.error is None
        assert got.status == "success"
        assert got.payload == [{"order": 1}, list(runtime.version), runtimes.RIC_VERSIONS[runtime.ric_major]]

    def test_cold_start_and_invocations(self, task: Callable[[str], Path]) -> None:
        """One process serves all invocations; the phases follow each other as on Lambda, each with the platform's
        lines."""
        with Environment(runtimes.typical(), task(ECHO)) as env:
            init = env.start()
            first, second = env.invoke("a"), env.invoke("b")
            ended = env.shutdown()

        assert (init.phase, init.error, init.extensions) == ("init", None, {})
        assert [first.payload["echo"], second.payload["echo"]] == ["a", "b"]
        assert first.payload["id"] == first.request_id != second.request_id
        assert first.response_s is not None and first.runtime_s is not None
        assert 0 < first.response_s <= first.runtime_s <= first.duration_s
        assert ended.ended["runtime"].how == "SIGKILL"
        invocation = [
            ("thaw", "platform"),
            ("invoke", "platform"),
            ("response", "runtime"),
            ("next", "runtime"),
            ("done", "platform"),
            ("freeze", "platform"),
        ]
        assert kinds(env.timeline) == [
            ("init", "platform"),
            ("start", "runtime"),
            ("next", "runtime"),
            ("init-done", "platform"),
            ("freeze", "platform"),
            *invocation,
            *invocation,
            ("thaw", "platform"),
            ("shutdown", "platform"),
            ("SIGKILL", "runtime"),
            ("exit", "runtime"),
            ("shutdown-done", "platform"),
        ]
        lines = [text.split()[0] for text in texts(env, "platform")]
        assert lines == ["INIT_START", "START", "END", "REPORT", "START", "END", "REPORT"]

    def test_what_the_runtime_is_given(self, task: Callable[[str], Path], tmp_path: Path) -> None:
        """The function sees Lambda's reserved variables and headers, its own variables, and nothing of the tests'."""
        source = """
            import os
            def handler(event, context):
                keys = ("function_name", "function_version", "invoked_function_arn", "memory_limit_in_mb",
                        "log_group_name", "log_stream_name", "tenant_id")
                return {"env": dict(os.environ), "context": {key: getattr(context, key) for key in keys},
                        "left_ms": context.get_remaining_time_in_millis(), "folder": os.getcwd()}
        """
        os.environ["MODEL_TEST_LEAK"] = "1"
        try:
            with Environment(
                runtimes.typical(),
                task(source),
                variables={"MINE": "1", "AWS_REGION": "moon", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"},
                memory_mb=512,
                timeout_s=7,
                log_level="INFO",
                version="5",
            ) as env:
                got = env.invoke(tenant_id="blue").payload
        finally:
            del os.environ["MODEL_TEST_LEAK"]
        given = got["env"]

        assert given["MINE"] == "1" and "MODEL_TEST_LEAK" not in given and "_MODEL_OPT" not in given
        assert given["AWS_REGION"] == "us-east-1"
        assert given["AWS_LAMBDA_LOG_LEVEL"] == "DEBUG"
        assert given["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
        assert given["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
        assert given["AWS_EXECUTION_ENV"] == "AWS_Lambda_python{}.{}".format(*runtimes.typical().version)
        assert given["LAMBDA_TASK_ROOT"] == got["folder"] == str(tmp_path / "task")
        assert given["PYTHONPATH"] == given["LAMBDA_RUNTIME_DIR"]
        assert given["SUMO_SPOOL_DIR"] == str(Path(given["TMPDIR"]) / "sumo-internal")
        assert "_LAMBDA_TELEMETRY_LOG_FD" not in given, "the runtime client removes it once it has it"
        assert got["context"] == {
            "function_name": "orders",
            "function_version": "5",
            "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:orders",
            "memory_limit_in_mb": "512",
            "log_group_name": "/aws/lambda/orders",
            "log_stream_name": env.log_stream,
            "tenant_id": "blue",
        }
        assert "/[5]" in env.log_stream
        assert 0 < got["left_ms"] <= 7000

    def test_managed_paths(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """A managed runtime finds the task before the layer's packages before its own; PYTHONPATH hides the layer."""
        source = """
            import sys
            def handler(event, context):
                return sys.path
        """
        opt, folder = layer(), task(source)
        with Environment(runtimes.typical(), folder, layer=opt) as env:
            plain = env.invoke().payload
        with Environment(runtimes.typical(), folder, layer=opt, variables={"PYTHONPATH": "/elsewhere"}) as env:
            hidden = env.invoke().payload

        major, minor = runtimes.typical().version
        packages = [f"{opt}/python/lib/python{major}.{minor}/site-packages", f"{opt}/python"]
        assert plain[:4] == [str(folder), *packages, str(runtimes.typical().ric)]
        assert plain[-2:] == packages
        assert hidden[:3] == [str(folder), str(runtimes.typical().ric), "/elsewhere"]
        assert not set(packages) & set(hidden)

    @pytest.mark.parametrize("entry", ["managed", "image"])
    def test_wrapper(self, entry: Any, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """The wrapper is called with the interpreter and its arguments, and finds the runtime's variables and
        folder."""
        source = """
            import os
            def handler(event, context):
                return {name: os.environ.get(name) for name in ("WRAPPED", "AWS_LAMBDA_EXEC_WRAPPER")}
        """
        opt = layer()
        script(opt / "wrap", '#!/bin/sh\nexport WRAPPED="$PWD $*"\nexec "$@"\n')
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}
        folder = task(source)
        with Environment(runtimes.typical(), folder, layer=opt, variables=variables, entry=entry) as env:
            got = env.invoke().payload

        command = {"managed": f"{runtimes.typical().ric}/bootstrap.py", "image": "-m awslambdaric app.handler"}[entry]
        assert got["WRAPPED"] == f"{folder} {runtimes.typical().interpreter.executable} {command}"
        assert got["AWS_LAMBDA_EXEC_WRAPPER"] == {"managed": "/opt/wrap", "image": None}[entry]

    def test_handler_error(self, task: Callable[[str], Path]) -> None:
        """An exception is an answer like any other: the process stays and serves the next invocation."""
        source = """
            def handler(event, context):
                return 10 / event
        """
        with Environment(runtimes.typical(), task(source)) as env:
            env.start()
            pid = env.runtime_pid
            failed, fine = env.invoke(0), env.invoke(5)

            assert (failed.status, failed.body, failed.shutdown) == ("error", None, None)
            assert failed.error is not None and failed.error.error_type == "ZeroDivisionError"
            assert failed.error.payload["requestId"] == failed.request_id
            assert (fine.status, fine.payload, env.runtime_pid) == ("success", 2.0, pid)

    def test_import_error(self, task: Callable[[str], Path], layer: Callable[..., Path], tmp_path: Path) -> None:
        """A failed init phase is followed by a reset and by another init inside the first invocation, which may
        succeed."""
        source = """
            import os
            if not os.path.exists(os.environ["TMPDIR"] + "/mended"):
                raise ImportError("not yet")
            def handler(event, context):
                return "mended"
        """
        tmp = tmp_path / "tmp"
        with Environment(runtimes.typical(), task(source), layer=layer(patient=PATIENT), tmp=tmp) as env:
            init = env.start()
            again = env.invoke()
            (tmp / "mended").touch()
            mended = env.invoke()

        assert init.error is not None and init.error.error_type == "Runtime.ImportModuleError"
        assert again.status == "error" and again.error is not None and again.response_s is None
        assert again.error.payload["errorMessage"] == "Unable to import module 'app': not yet"
        assert again.init is not None and again.init.phase == "invoke" and again.shutdown is not None
        assert again.shutdown.ended["runtime"].how == "exit 1"
        assert (mended.status, mended.payload) == ("success", "mended")
        assert mended.init is not None and mended.init.error is None and mended.init.duration_s < mended.duration_s
        assert [event["shutdownReason"] for event in messages(env, "patient")[:2]] == ["FAILURE", "FAILURE"]

    def test_invalid_transitions(self, task: Callable[[str], Path]) -> None:
        """A second response, one for another invocation, and Next before the response are refused as Lambda does."""
        source = INTERNAL + textwrap.dedent("""
            def handler(event, context):
                base = "/2018-06-01/runtime/invocation/"
                return [call("GET", base + "next")[0], call("POST", base + "other/response", 1)[0],
                        call("POST", base + context.aws_request_id + "/response", "first")[0],
                        call("POST", "/2018-06-01/runtime/init/error", {})[0]]
        """)
        with Environment(runtimes.typical(), task(source)) as env:
            got = env.invoke()

        assert got.payload == "first"
        assert got.status == "crash", "the client's own response is refused, and it exits"
        refused = [text for text in texts(env, "function") if "Failed to post" in text or "Traceback" in text]
        assert refused


class TestFreeze:
    """Nothing runs while nothing is to be done."""

    COUNTER = """
        import mmap, os, subprocess, sys, threading, time
        file = open(os.environ["TMPDIR"] + "/count", "w+b")
        file.truncate(16)
        count = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
        def tick(slot):
            while True:
                count[slot] += 1
                time.sleep(0.001)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                tick(1)
            os._exit(0)
        threading.Thread(target=tick, args=(0,), daemon=True).start()
        def handler(event, context):
            time.sleep(event)
            return context.get_remaining_time_in_millis()
    """

    @pytest.fixture(params=["cgroup", "signals"])
    def counting(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        task: Callable[[str], Path],
        tmp_path: Path,
    ) -> Iterator[tuple[Environment, Callable[[], tuple[int, int]]]]:
        """An environment whose function counts all the time, in a thread and in a daemon; and a way to read the
        counts."""
        if request.param == "signals":
            monkeypatch.setattr("model.cgroups._ROOT", tmp_path)
        tmp = tmp_path / "tmp"
        with Environment(runtimes.typical(), task(self.COUNTER), tmp=tmp, timeout_s=1.5) as env:
            if request.param == "cgroup" and "freezer" in env.missing:
                pytest.skip(env.missing["freezer"])

            def read() -> tuple[int, int]:
                data = (tmp / "count").read_bytes()
                return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")

            yield env, read

    def test_frozen_between_invocations(self, counting: tuple[Environment, Callable[[], tuple[int, int]]]) -> None:
        """Neither a thread nor a process that has left the group runs between invocations; both do again afterwards."""
        env, read = counting
        env.start()
        env.invoke(0.02)
        frozen = read()
        time.sleep(0.05)  # fifty ticks of a process that runs

        assert read() == frozen
        env.thaw()
        eventually(lambda: all(now > then for now, then in zip(read(), frozen, strict=True)))

    def test_clock_stands_still(self, counting: tuple[Environment, Callable[[], tuple[int, int]]]) -> None:
        """A test may freeze in mid-invocation: the function's timeout does not run meanwhile."""
        env, read = counting
        env.start()
        handle = env.begin_invoke(1.0)
        eventually(lambda: read()[0] > 0)
        env.freeze()
        frozen = read()
        time.sleep(1.0)  # with the second that the function sleeps, more than the timeout

        assert read() == frozen
        env.thaw()
        assert handle.finish().status == "success"

    def test_no_freeze(self, task: Callable[[str], Path], tmp_path: Path) -> None:
        """``freezes=False`` lets everything run on, for a look at what the freeze changes."""
        tmp = tmp_path / "tmp"
        with Environment(runtimes.typical(), task(self.COUNTER), tmp=tmp, freezes=False) as env:
            env.start()
            env.invoke(0)
            before = (tmp / "count").read_bytes()
            eventually(lambda: (tmp / "count").read_bytes() != before)
            assert "freeze" not in {event.kind for event in env.timeline}


class TestResets:
    """Invocations that end otherwise than by Next."""

    SLEEPER = """
        import os, time
        mark = os.environ["TMPDIR"] + "/mark"
        def handler(event, context):
            before = os.path.exists(mark)
            open(mark, "w").close()
            print("handling", event)
            time.sleep(event)
            return before
    """

    def test_timeout(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """The clock ends an invocation, SIGKILL the runtime; a new generation comes with the next one, /tmp stays."""
        with Environment(runtimes.typical(), task(self.SLEEPER), layer=layer(patient=PATIENT), timeout_s=1.0) as env:
            env.start()
            late, next_one = env.invoke(60), env.invoke(0)

        assert (late.status, late.body, late.response_s) == ("timeout", None, None)
        assert 1.0 <= late.duration_s < 2.0
        assert late.shutdown is not None and late.shutdown.reason == "timeout"
        assert late.shutdown.ended["runtime"].how == "SIGKILL"
        assert late.shutdown.ended["patient"].how == "exit 0"
        assert (next_one.status, next_one.payload) == ("success", True)
        assert next_one.init is not None and set(next_one.init.extensions) == {"patient"}
        assert [event["eventType"] for event in messages(env, "patient")] == ["INVOKE", "SHUTDOWN", "INVOKE"]
        assert messages(env, "patient")[1]["shutdownReason"] == "TIMEOUT"
        platform = texts(env, "platform")
        assert any(text.endswith(f"Z {late.request_id} Task timed out after 1.00 seconds") for text in platform)
        assert any(text.startswith("REPORT") and "\tStatus: timeout\t" in text for text in platform)

    def test_sigkill_in_mid_invocation(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """A runtime that is killed fails its invocation; what it had written before is in the log stream."""
        with Environment(runtimes.typical(), task(self.SLEEPER), layer=layer(patient=PATIENT)) as env:
            env.start()
            handle = env.begin_invoke(60)
            env.wait_for_line("handling 60")
            env.kill_runtime(signal.SIGKILL)
            killed, next_one = handle.finish(), env.invoke(0)

        message = f"RequestId: {killed.request_id} Error: Runtime exited with error: signal: killed"
        assert killed.status == "crash" and killed.error is not None
        assert (killed.error.error_type, killed.error.message) == ("Runtime.ExitError", message)
        assert f"{message}\nRuntime.ExitError" in texts(env, "platform")
        assert killed.shutdown is not None and killed.shutdown.reason == "failure"
        assert killed.shutdown.ended["runtime"].after_s < 0
        assert (next_one.status, next_one.payload) == ("success", True)

    def test_exit_after_response(self, task: Callable[[str], Path]) -> None:
        """The response stays the caller's, even if the runtime goes away before it asks for Next."""
        source = """
            import os, threading
            def handler(event, context):
                threading.Timer(0.05, os._exit, (3,)).start()
                import awslambdaric.lambda_runtime_client as client
                client.LambdaRuntimeClient.wait_next_invocation = lambda self: threading.Event().wait()
                return "posted"
        """
        with Environment(runtimes.typical(), task(source)) as env:
            env.start()
            handle = env.begin_invoke()
            handle.wait_for_response()
            got = handle.finish()

        assert (got.status, got.payload) == ("crash", "posted")
        assert got.error is not None and got.error.message.endswith("Runtime exited with error: exit status 3")

    def test_extension_holds_the_invocation(self, task: Callable[[str], Path]) -> None:
        """An internal extension that is slow to ask for Next prolongs the invocation, not the response, up to the
        timeout."""
        source = INTERNAL + textwrap.dedent("""
            import queue
            holds_s = queue.Queue()
            def live():
                while True:
                    event = next_event(identifier)
                    say("event", event["requestId"])
                    time.sleep(holds_s.get())
            identifier = register("INVOKE", name="sidecar")
            threading.Thread(target=live, daemon=True).start()
            def handler(event, context):
                holds_s.put(event)
                return "done"
        """)
        with Environment(runtimes.typical(), task(source), timeout_s=1.0) as env:
            init = env.start()
            held = env.invoke(0.4)
            held_again = env.invoke(0.4)
            too_long = env.invoke(5.0)

        assert set(init.extensions) == {"sidecar"}
        for got in (held, held_again):
            assert got.status == "success" and got.response_s is not None and got.runtime_s is not None
            assert got.response_s <= got.runtime_s < 0.4 <= got.duration_s
        assert f"event {held.request_id}" in texts(env, "function")
        assert (too_long.status, too_long.payload) == ("timeout", "done")


class TestShutdown:
    """The shutdown sequence: order and times.

    A signal is watched for through its descriptor: a Python handler does not run at all while the runtime client
    waits, before 3.12, and may be missed after: a signal that meets the main thread between giving up the interpreter
    and its wait, where a freeze likes to catch it, is handled only when that wait ends.
    """

    STUBBORN = """
        import signal, socket, threading
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        def watch():
            reader.recv(1)
            print("asked to end", flush=True)
        threading.Thread(target=watch, daemon=True).start()
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(writer.fileno())
        def handler(event, context):
            return 1
    """

    def test_order_and_times(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """SIGTERM at 0, SIGKILL at 600 ms, the event only then, everything killed at 2,000 ms."""
        hanging = 'next_event(register("SHUTDOWN"))\nthreading.Event().wait()'
        deaf = 'next_event(register("INVOKE"))'
        opt = layer(patient=PATIENT, hanging=hanging, deaf=deaf)
        with Environment(runtimes.typical(), task(self.STUBBORN), layer=opt) as env:
            env.start()
            got = env.shutdown()

        assert "asked to end" in texts(env, "function")
        ended = got.ended
        assert ended["runtime"].how == "SIGKILL" and 0.6 <= ended["runtime"].after_s < 1.2
        assert got.event_sent_s is not None and ended["runtime"].after_s <= got.event_sent_s < 1.3
        assert ended["deaf"].how == "SIGKILL" and ended["deaf"].after_s < ended["hanging"].after_s
        assert ended["patient"].how == "exit 0" and got.event_sent_s < ended["patient"].after_s
        assert ended["hanging"].how == "SIGKILL" and 2.0 <= ended["hanging"].after_s < 2.6
        [event] = messages(env, "patient")
        assert event["shutdownReason"] == "SPINDOWN"
        assert event["deadlineMs"] == int((got.started_at_s + 2) * 1000)

    def test_polite_runtime(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """A runtime without a handler ends on SIGTERM, and nobody waits for 600 ms."""
        with Environment(runtimes.typical(), task(ECHO), layer=layer(patient=PATIENT)) as env:
            env.start()
            got = env.shutdown()

        assert got.ended["runtime"].how == "SIGTERM"
        assert got.event_sent_s is not None and got.event_sent_s < 0.6
        assert got.ended["patient"].how == "exit 0"

    def test_internal_extension_only(self, task: Callable[[str], Path]) -> None:
        """With nothing but an internal extension the runtime is asked, and killed at 500 ms."""
        source = (
            INTERNAL
            + 'identifier = register("INVOKE", name="sidecar")\n'
            + "threading.Thread(target=next_event, args=(identifier,), daemon=True).start()\n"
            + textwrap.dedent(self.STUBBORN)
        )
        with Environment(runtimes.typical(), task(source)) as env:
            env.start()
            got = env.shutdown()

        assert got.ended["runtime"].how == "SIGKILL"
        assert 0.5 <= got.ended["runtime"].after_s < 1.1

    def test_no_extension(self, task: Callable[[str], Path]) -> None:
        """Without any extension the runtime is killed at once: its handler never runs."""
        with Environment(runtimes.typical(), task(self.STUBBORN)) as env:
            env.start()
            got = env.shutdown()

        assert got.ended["runtime"].how == "SIGKILL" and got.ended["runtime"].after_s < 0.3
        assert texts(env, "function") == []

    def test_forgotten_children(self, task: Callable[[str], Path]) -> None:
        """What the function left behind, even in a session of its own, is gone after the shutdown."""
        source = """
            import subprocess
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            def handler(event, context):
                return child.pid
        """
        with Environment(runtimes.typical(), task(source)) as env:
            child = env.invoke().payload
            assert child in env.pids()
            env.shutdown()
            assert env.pids() == []
            assert not Path(f"/proc/{child}").exists()


class TestExtensions:
    """Registration, events, and extensions that fail."""

    def test_serial_start(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """The runtime process is started when every external extension has registered, and not before."""
        slow = 'time.sleep(0.2)\nidentifier = register("SHUTDOWN")\nnext_event(identifier)'
        with Environment(runtimes.typical(), task(ECHO), layer=layer(slow=slow, patient=PATIENT)) as env:
            init = env.start()

        assert init.runtime_started_s is not None and init.runtime_ready_s is not None
        assert 0.2 < init.extensions["slow"] <= init.runtime_started_s < init.runtime_ready_s <= init.duration_s
        assert init.extensions["patient"] < init.extensions["slow"]

    def test_bash_extension(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """A shell that speaks HTTP through /dev/tcp can register, wait and end: the smallest client there is."""
        source = r"""#!/bin/bash
            api=${AWS_LAMBDA_RUNTIME_API}
            ask() { exec 3<>"/dev/tcp/${api%:*}/${api#*:}"; printf "$@" >&3; }
            body='{"events":["SHUTDOWN"]}'
            head='Lambda-Extension-Name: shell\r\nContent-Length: %d\r\n\r\n'
            ask "POST /2020-01-01/extension/register HTTP/1.1\r\n$head%s" ${#body} "$body"
            while IFS=$': \r' read -r name value <&3 && [ -n "$name" ]; do
                [ "$name" = Lambda-Extension-Identifier ] && id=$value
            done
            ask 'GET /2020-01-01/extension/event/next HTTP/1.1\r\nLambda-Extension-Identifier: %s\r\n\r\n' "$id"
            while IFS=$'\r' read -r line <&3 && [ -n "$line" ]; do :; done
            read -r -t 0.2 event <&3
            echo "got $event"
        """
        with Environment(runtimes.typical(), task(ECHO), layer=layer(shell=source)) as env:
            env.start()
            env.invoke()
            got = env.shutdown()

        assert got.ended["shell"].how == "exit 0"
        assert [event["eventType"] for event in messages(env, "shell")] == ["SHUTDOWN"]

    def test_invoke_event(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """An INVOKE event carries what the runtime's headers carry."""
        with Environment(runtimes.typical(), task(ECHO), layer=layer(patient=PATIENT)) as env:
            env.start()
            before_ms = time.time() * 1000
            got = env.invoke()
            after_ms = time.time() * 1000
            env.wait_for_line("INVOKE")

        [event] = messages(env, "patient")
        assert event.pop("tracing")["value"].startswith("Root=1-")
        assert before_ms + 2999 <= event.pop("deadlineMs") <= after_ms + 3000
        assert event == {
            "eventType": "INVOKE",
            "requestId": got.request_id,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:orders",
        }

    def test_poorer_environment(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """An extension lacks the runtime's own variables and all that begin with an underscore; it has the
        function's."""
        source = 'say("env", json.dumps(dict(os.environ)))\nnext_event(register("SHUTDOWN"))'
        variables = {"MINE": "1", "_PRIVATE": "1", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}
        opt = layer(teller=source)
        script(opt / "wrap", '#!/bin/sh\nexec "$@"\n')
        with Environment(runtimes.typical(), task(ECHO), layer=opt, variables=variables) as env:
            env.start()
            line = env.wait_for_line("env ")
        given = json.loads(line.text[4:])

        assert given["MINE"] == "1" and given["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/wrap"
        assert {"AWS_LAMBDA_FUNCTION_NAME", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_FORMAT", "PATH"} <= set(given)
        assert not [name for name in given if name.startswith("_") and name != "_"]
        assert not {
            "AWS_EXECUTION_ENV",
            "AWS_LAMBDA_LOG_GROUP_NAME",
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "LAMBDA_TASK_ROOT",
            "LAMBDA_RUNTIME_DIR",
        } & set(given)

    @pytest.mark.parametrize("code", [0, 1])
    def test_exit_in_init(self, code: int, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """An extension that exits before the init is over fails it, whatever its exit code."""
        source = f'register("SHUTDOWN")\nsys.exit({code})'
        with Environment(runtimes.typical(), task(ECHO), layer=layer(brief=source)) as env:
            init = env.start()

        assert init.error is not None and init.error.error_type == "Extension.Crash"
        assert init.error.message == f"Error: exit status {code} (brief)"
        assert any(text.startswith("INIT_REPORT") and "Extension.Crash" in text for text in texts(env, "platform"))

    def test_never_registers(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """Where an extension ends without having registered, the runtime is not even started."""
        with Environment(runtimes.typical(), task(ECHO), layer=layer(mute="sys.exit(3)")) as env:
            init = env.start()

            assert init.error is not None and init.runtime_started_s is None
            assert ("start", "runtime") not in kinds(env.timeline)
            assert env.pids() == []

    def test_not_executable(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """A file that cannot be executed is not passed over: it fails the init, as a badly packed layer does."""
        opt = layer(flat=PATIENT)
        (opt / "extensions" / "flat").chmod(0o644)
        with Environment(runtimes.typical(), task(ECHO), layer=opt) as env:
            init = env.start()

        assert init.error is not None and init.error.message == "Error: exit status 126 (flat)"
        assert any("Permission denied" in text for text in texts(env, "extension:flat"))

    def test_exit_in_invocation(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """An extension that exits in an invocation fails it, even with exit code 0."""
        source = 'identifier = register("INVOKE")\nnext_event(identifier)\nsys.exit(0)'
        with Environment(runtimes.typical(), task(ECHO), layer=layer(brief=source)) as env:
            env.start()
            got, next_one = env.invoke(), env.invoke()

        assert got.status == "crash" and got.error is not None
        assert got.error.error_type == "Extension.Crash"
        assert f"RequestId: {got.request_id} Error: exit status 0 (brief)\nExtension.Crash" in texts(env, "platform")
        assert next_one.init is not None and next_one.init.error is None

    def test_reported_errors(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """An extension that reports an error of its init has failed the environment, alive as it is."""
        source = """
            identifier = register("SHUTDOWN")
            path = "/2020-01-01/extension/init/error"
            say(call("POST", path, {}, Lambda_Extension_Identifier=identifier)[0])
            kind = {"Lambda_Extension_Function_Error_Type": "Extension.NoLuck"}
            say(call("POST", path, {}, Lambda_Extension_Identifier=identifier, **kind)[0])
            threading.Event().wait()
        """
        with Environment(runtimes.typical(), task(ECHO), layer=layer(luckless=textwrap.dedent(source))) as env:
            init = env.start()

        assert init.error is not None
        assert (init.error.error_type, init.error.message) == ("Extension.InitError", "luckless: Extension.NoLuck")
        assert texts(env, "extension:luckless") == ["403", "202"]

    def test_registration_rules(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """Every refusal of the Extensions API, asked for from inside the runtime process as an internal extension
        would."""
        source = INTERNAL + textwrap.dedent("""
            def attempt(name, *events, **headers):
                path = "/2020-01-01/extension/register"
                status, text, identifier = call("POST", path, {"events": events}, Lambda_Extension_Name=name, **headers)
                if identifier:
                    threading.Thread(target=idle, args=(identifier,), daemon=True).start()
                return [status, json.loads(text)]
            def idle(identifier):
                while True:
                    next_event(identifier)
            def poll(**headers):
                status, text, _ = call("GET", "/2020-01-01/extension/event/next", **headers)
                return [status, json.loads(text)]
            got = {
                "nameless": attempt("", "INVOKE"),
                "shutdown": attempt("inner", "SHUTDOWN"),
                "unheard": attempt("inner", "RELAX"),
                "external": attempt("patient", "INVOKE"),
                "inner": attempt("inner", "INVOKE", Lambda_Extension_Accept_Feature="accountId"),
                "twice": attempt("inner", "INVOKE"),
                "no id": poll(),
                "bad id": poll(Lambda_Extension_Identifier="x"),
                "unknown id": poll(Lambda_Extension_Identifier="0" * 32),
                "others": [attempt(f"inner{number}")[0] for number in range(3, 11)],
                "eleventh": attempt("inner11"),
            }
            def handler(event, context):
                return {**got, "late": attempt("late", "INVOKE")}
        """)
        with Environment(runtimes.typical(), task(source), layer=layer(patient=PATIENT)) as env:
            init = env.start()
            got = env.invoke().payload

        assert len(init.extensions) == 10
        registered = {"functionName": "orders", "functionVersion": "$LATEST", "handler": "app.handler"}
        assert got.pop("inner") == [200, {**registered, "accountId": "123456789012"}]
        assert got.pop("others") == [200] * 8
        assert got["shutdown"][1]["errorMessage"] == "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"
        assert {name: (status, answer["errorType"]) for name, (status, answer) in got.items()} == {
            "nameless": (403, "Extension.InvalidExtensionName"),
            "shutdown": (403, "Extension.InvalidEventType"),
            "unheard": (403, "Extension.InvalidEventType"),
            "external": (403, "Extension.InvalidExtensionState"),
            "twice": (403, "Extension.InvalidExtensionState"),
            "no id": (403, "Extension.MissingExtensionIdentifier"),
            "bad id": (403, "Extension.InvalidExtensionIdentifier"),
            "unknown id": (403, "Extension.UnknownExtensionIdentifier"),
            "eleventh": (403, "Extension.TooManyExtensions"),
            "late": (403, "Extension.RegistrationClosed"),
        }

    def test_too_many_files(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """Eleven files in /opt/extensions are one too many: nothing is started."""
        opt = layer(**{f"extension{number}": PATIENT for number in range(11)})
        with Environment(runtimes.typical(), task(ECHO), layer=opt) as env:
            init = env.start()

        assert init.error is not None and init.error.error_type == "Extension.LaunchError"
        assert "start" not in {event.kind for event in env.timeline}


class TestLogs:
    """What is written reaches the log stream once, whole, and before its invocation's REPORT."""

    TALKER = """
        import logging, sys
        logging.getLogger().setLevel("INFO")
        def handler(event, context):
            logging.info("one\\nentry")
            print("two\\nlines")
            sys.stderr.write("an error\\nwithout an end")
    """

    @pytest.mark.parametrize("framed", [True, False])
    def test_text(self, framed: bool, task: Callable[[str], Path]) -> None:
        """With frames a logging record is one entry with its type; without, the lines of a pipe."""
        with Environment(runtimes.typical(), task(self.TALKER), framed=framed) as env:
            env.start()
            env.invoke()
            lines = [line for line in env.cloudwatch if line.source == "function"]
            env.shutdown()

        record = [line for line in lines if "one" in line.text]
        assert len(record) == 1 and record[0].framed is framed
        assert record[0].frame_type == (0xA55A0003 if framed else None)
        assert record[0].text.endswith("\tone\nentry\n" if framed else "\tone")
        assert [line.text for line in lines if not line.framed][-3:] == ["two", "lines", "an error"]
        assert texts(env, "function")[-1] == "without an end"

    def test_json_format(self, task: Callable[[str], Path]) -> None:
        """Under the JSON log format both the runtime and the platform write objects; print is left as it is."""
        with Environment(runtimes.typical(), task(self.TALKER), log_format="JSON", log_level="INFO") as env:
            env.start()
            got = env.invoke()

        [record] = [line for line in env.cloudwatch if line.framed]
        assert json.loads(record.text)["message"] == "one\nentry"
        assert record.frame_type == 0xA55A000E
        assert [json.loads(text)["type"] for text in texts(env, "platform")] == [
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.start",
            "platform.runtimeDone",
            "platform.report",
        ]
        report = json.loads(texts(env, "platform")[-1])["record"]
        assert (report["requestId"], report["status"]) == (got.request_id, "success")
        assert report["metrics"]["initDurationMs"] > 0

    def test_volume(self, task: Callable[[str], Path]) -> None:
        """Thousands of lines and frames, some longer than a pipe, arrive complete and in order before the REPORT."""
        source = """
            import logging
            def handler(event, context):
                for number in range(3000):
                    logging.error("%d %s", number, "x" * (2_000_000 if number == 7 else 100))
                    print(number)
        """
        with Environment(runtimes.typical(), task(source), timeout_s=20) as env:
            env.start()
            env.invoke()

        assert env.cloudwatch[-1].text.startswith("REPORT")
        assert [line.text for line in env.cloudwatch if line.source == "function" and not line.framed] == list(
            map(str, range(3000))
        )
        frames = [line.text.split("\t")[3] for line in env.cloudwatch if line.framed]
        assert [int(text.split()[0]) for text in frames] == list(range(3000))
        assert len(frames[7]) > 2_000_000


class TestTelemetry:
    """Subscriptions and deliveries of the Telemetry API."""

    SUBSCRIBER = """
import http.server
refusals, reports = [500, 403], threading.Semaphore(0)

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = refusals.pop() if refusals else 200
        if status == 200:
            say("batch", self.headers["Host"].partition(":")[0], body.decode())
            for _ in range(body.count(b'"platform.report"')):
                reports.release()
        self.send_response(status)
        self.end_headers()
    def log_message(self, *words):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()

def subscribe(**changes):
    wanted = {"schemaVersion": "2022-12-13", "types": ["platform", "function"], "buffering": {"timeoutMs": 25},
              "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{server.server_port}"}}
    return call("PUT", "/2022-07-01/telemetry", {**wanted, **changes}, Lambda_Extension_Identifier=identifier)[:2]

identifier = register("INVOKE", "SHUTDOWN")
say("answer", *subscribe(types=["platform", "gossip"]))
before = time.monotonic()
say("answer", *subscribe())
say("took 25 ms" if time.monotonic() - before >= 0.025 else "was too quick")
invocations = 0
while next_event(identifier)["eventType"] != "SHUTDOWN":
    say("answer", *subscribe())
    invocations += 1
for _ in range(invocations):
    reports.acquire()
say("ends")
"""

    @staticmethod
    def batches(env: Environment) -> list[list[Any]]:
        """Return what has been delivered so far."""
        said = [text for text in texts(env, "extension:subscriber") if text.startswith("batch ")]
        assert all(text.startswith("batch sandbox.localdomain [") for text in said)
        return [json.loads(text.split(" ", 2)[2]) for text in said]

    def test_subscription_and_delivery(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """Events come in batches, again if refused, from before the subscription on; a REPORT beside the next
        invocation."""
        source = """
            import time
            def handler(event, context):
                print("slept", event)
                time.sleep(event)
        """
        opt = layer(subscriber=self.SUBSCRIBER)
        with Environment(runtimes.typical(), task(source), layer=opt) as env:
            env.start()
            first = env.invoke(0.5)
            early = [event for batch in self.batches(env) for event in batch]
            second = env.invoke(0.5)
            late = [event for batch in self.batches(env) for event in batch][len(early) :]
            env.shutdown()
            last = [event for batch in self.batches(env) for event in batch][len(early) + len(late) :]

        ranges = "schemaVersion, types or buffering out of range"
        assert [text for text in texts(env, "extension:subscriber") if not text.startswith("batch")] == [
            f'answer 400 {{"errorMessage": "{ranges}", "errorType": "ValidationError"}}',
            "answer 200 OK",
            "took 25 ms",
            *2
            * [
                'answer 403 {"errorMessage": "Telemetry API subscription is closed already", '
                '"errorType": "Telemetry.SubscriptionClosed"}'
            ],
            "ends",
        ]
        invocation = ["platform.start", "function", "platform.runtimeDone", "platform.report"]
        assert [event["type"] for event in early + late + last] == [
            "platform.initStart",
            "platform.telemetrySubscription",
            "platform.extension",
            "platform.initRuntimeDone",
            "platform.initReport",
            *invocation,
            *invocation,
        ]
        assert early[1]["record"] == {"name": "subscriber", "state": "Subscribed", "types": ["function", "platform"]}
        assert early[6]["record"] == "slept 0.5"
        reports = [[e["record"] for e in part if e["type"] == "platform.report"] for part in (early, late, last)]
        assert [[r["requestId"] for r in part] for part in reports] == [[], [first.request_id], [second.request_id]]

    def test_not_supported(self, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """As the emulator has it: accepted, with a body that says no."""
        opt = layer(subscriber=self.SUBSCRIBER)
        with Environment(runtimes.typical(), task(ECHO), layer=opt, telemetry_supported=False) as env:
            env.start()

        answer = '{"errorMessage": "Telemetry API is not supported", "errorType": "Telemetry.NotSupported"}'
        assert f"answer 202 {answer}" in texts(env, "extension:subscriber")

    @pytest.mark.parametrize(
        "change",
        [
            {"schemaVersion": "2021-01-01"},
            {"types": []},
            {"types": ["function", "other"]},
            {"buffering": {"maxItems": 999}},
            {"buffering": {"maxBytes": 1_048_577}},
            {"buffering": {"timeoutMs": 24}},
            {"destination": {"protocol": "TCP", "port": 80}},
            {"destination": {"protocol": "HTTP", "URI": "http://example.com:80"}},
            {"destination": {"protocol": "HTTP", "URI": "http://sandbox:9001"}},
            {"destination": {"protocol": "HTTP", "URI": "http://sandbox:none"}},
            {"destination": "sandbox"},
        ],
        ids=str,
    )
    def test_refused_subscriptions(self, change: dict[str, Any]) -> None:
        """What is out of AWS's ranges is refused; the same request without the change is taken."""
        destination = {"protocol": "HTTP", "URI": "http://sandbox:4243/path"}
        fine = {"schemaVersion": "2025-01-29", "types": ["platform"], "destination": destination}

        taken = read_subscription(json.dumps(fine).encode())
        refused = read_subscription(json.dumps({**fine, **change}).encode())

        assert taken == Subscription("2025-01-29", frozenset(("platform",)), 4243, "/path", 10_000, 262_144, 1.0)
        assert isinstance(refused, Failure) and refused.error_type == "ValidationError"

    @pytest.mark.parametrize(
        ("text", "has_objects", "record"),
        [
            ("plain\n", False, "plain\n"),
            ('{"a": 1}', False, '{"a": 1}'),
            ('{"a": 1}', True, {"a": 1}),
            (
                "plain\n",
                True,
                {"timestamp": "2026-11-21T08:22:03.123Z", "level": "INFO", "requestId": "r", "message": "plain"},
            ),
        ],
    )
    def test_form_of_records(self, text: str, has_objects: bool, record: Any) -> None:
        """Text stays text in the old schema; with the JSON log format and a newer one every record is an object."""
        rendered = json.loads(render(TelemetryEvent(1795249323.1234, "function", text, "r"), has_objects))

        assert rendered == {"time": "2026-11-21T08:22:03.123Z", "type": "function", "record": record}

    def test_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a slow receiver leaves no room for is dropped, and it is told how much that was."""
        monkeypatch.setattr("model.telemetry_delivery.QUEUE_BOUND_BYTES", 10_000)
        events: list[Any] = []
        is_ready, is_asked = threading.Event(), threading.Event()

        def receive(request: Request) -> Response:
            is_asked.set()
            is_ready.wait(5)
            events.extend(json.loads(request.body))
            return Response(200)

        server = Server(receive)
        telemetry = TelemetryApi(Monitor(), is_supported=True, is_json=False)
        destination = {"protocol": "HTTP", "URI": f"http://sandbox:{server.address.partition(':')[2]}"}
        wanted = {"schemaVersion": "2022-12-13", "types": ["platform", "function"], "destination": destination}
        assert telemetry.subscribe("slow", Request("PUT", "", {}, json.dumps(wanted).encode())).status == 200
        telemetry.flush()
        is_asked.wait(5)
        telemetry.publish(*(TelemetryEvent(0.0, "function", "x" * 900) for _ in range(30)))
        is_ready.set()
        telemetry.flush()
        eventually(lambda: sum(event["type"] == "function" for event in events) == 10)
        telemetry.flush()
        eventually(lambda: events[-1]["type"] == "platform.logsDropped")
        telemetry.close()
        server.close()

        assert events[-1]["record"]["droppedRecords"] == 20


@pytest.mark.skipif(Environment.isolation_available() is not None, reason=str(Environment.isolation_available()))
class TestIsolated:
    """The processes' own file system and user."""

    LOOKER = """
        import os, sys, multiprocessing
        def attempt(action):
            try:
                return action()
            except OSError as error:
                return type(error).__name__
        def handler(event, context):
            open("/tmp/kept", "a").write("x")
            return {
                "user": [os.getuid(), os.getgid(), os.getgroups()],
                "env": dict(os.environ), "argv": sys.argv, "python": sys.executable, "prefix": sys.prefix,
                "task": sorted(os.listdir("/var/task")), "opt": sorted(os.listdir("/opt")), "tmp": os.listdir("/tmp"),
                "write": [attempt(lambda: open(f"{folder}/new", "w").close()) for folder in ("/opt", "/var/task", "/")],
                "queue": attempt(lambda: str(multiprocessing.Lock())),
                "stderr": attempt(lambda: open("/dev/stderr", "w").write("to the device\\n")),
            }
    """

    @pytest.mark.parametrize("entry", ["managed", "image"])
    def test_what_is_seen(self, entry: Any, task: Callable[[str], Path], layer: Callable[..., Path]) -> None:
        """Lambda's folders, read-only; a user without rights; a /tmp that a reset does not empty; no stand-ins."""
        teller = 'say(os.getuid(), os.listdir("/tmp"), sys.executable)\nnext_event(register("SHUTDOWN"))'
        opt = layer(teller=teller)
        with Environment(runtimes.typical(), task(self.LOOKER), layer=opt, isolated=True, entry=entry) as env:
            env.start()
            got = env.invoke()
            env.shutdown()
            again = env.invoke()
            assert (env.tmp / "kept").read_text() == "xx"
        seen = got.payload
        name = runtimes.typical().interpreter.executable.name

        assert seen["user"] == [993, 990, []]
        assert (seen["python"], seen["prefix"]) == (f"/var/lang/bin/{name}", "/var/lang")
        assert seen["argv"][0].startswith("/var/runtime/")
        assert (seen["task"], seen["opt"], seen["tmp"]) == (["app.py"], ["extensions"], ["kept"])
        assert again.payload["tmp"] == ["kept"]
        assert seen["write"] == ["OSError", "OSError", "PermissionError"]
        assert seen["queue"] in ("FileNotFoundError", "PermissionError", "OSError")
        assert "to the device" in texts(env, "function")
        assert not {"SUMO_SPOOL_DIR", "TMPDIR", "_MODEL_OPT"} & set(seen["env"])
        assert (seen["env"]["LAMBDA_TASK_ROOT"], seen["env"]["LAMBDA_RUNTIME_DIR"]) == ("/var/task", "/var/runtime")
        told = texts(env, "extension:teller")
        assert told[0].startswith("993 [] /var/lang/bin/python")

    def test_small_tmp(self, task: Callable[[str], Path]) -> None:
        """A /tmp in memory can be full; the test can look into it."""
        source = """
            def handler(event, context):
                try:
                    with open("/tmp/big", "wb") as file:
                        file.write(bytes(3 << 20))
                except OSError as error:
                    return error.strerror
        """
        with Environment(runtimes.typical(), task(source), isolated=True, tmp_size_mb=2) as env:
            assert env.invoke().payload == "No space left on device"
            assert (env.tmp / "big").stat().st_size <= 2 << 20

    def test_nothing_is_left(self, task: Callable[[str], Path], tmp_path: Path) -> None:
        """The machine's own mounts are the same before, during and after."""
        before = Path("/proc/self/mounts").read_text()
        with Environment(runtimes.typical(), task(ECHO), isolated=True, tmp=tmp_path / "tmp") as env:
            env.invoke()
            assert Path("/proc/self/mounts").read_text() == before
        assert Path("/proc/self/mounts").read_text() == before
        assert (tmp_path / "tmp").exists()


class TestServer:
    """The HTTP server below the three APIs, against clients that are hard on its parser."""

    REQUEST = b"POST /one HTTP/1.1\r\nX-Name:  value \r\nContent-Length: 4\r\n\r\nbody"

    @staticmethod
    def exchange(*pieces: bytes) -> bytes:
        """Send the pieces one by one to a server that echoes, and return all it answers."""

        def echo(request: Request) -> Response | None:
            if request.path == "/silent":
                return None
            return json_response(200, [request.method, request.path, request.headers["x-name"], request.body.decode()])

        server = Server(echo)
        host, port = server.address.split(":")
        answer = b""
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(65536):
                answer += chunk
        server.close()
        return answer

    def test_pieces(self) -> None:
        """A request is the same whole, byte by byte, and with the next one behind it."""
        whole = self.exchange(self.REQUEST)

        assert whole.endswith(b'\r\n\r\n["POST", "/one", "value", "body"]')
        assert self.exchange(*(bytes((byte,)) for byte in self.REQUEST)) == whole
        assert self.exchange(self.REQUEST + self.REQUEST) == whole * 2

    def test_end_of_connection(self) -> None:
        """The connection ends where the client or the handler wants it to, and in the middle of a request without an
        answer."""
        closing = self.REQUEST.replace(b"X-Name", b"Connection: close\r\nX-Name")

        assert self.exchange(closing + self.REQUEST).count(b"HTTP/1.1 200 OK") == 1
        assert self.exchange(self.REQUEST[:-1]) == self.exchange(self.REQUEST[:9]) == b""
        assert self.exchange(self.REQUEST.replace(b"/one", b"/silent")) == b""

    def test_body_forms(self) -> None:
        """A client that asks whether it may send is told so; a body without a length is refused."""
        asking = self.REQUEST.replace(b"X-Name", b"Expect: 100-continue\r\nX-Name")
        chunked = self.REQUEST.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked")

        assert self.exchange(asking) == b"HTTP/1.1 100 Continue\r\n\r\n" + self.exchange(self.REQUEST)
        assert self.exchange(chunked).startswith(b"HTTP/1.1 411 ")


class TestMachine:
    """What the model asks of the machine, and leaves on it."""

    def test_cpu_share(self, task: Callable[[str], Path]) -> None:
        """At 128 MB all processes together get 7.2 % of a core, whatever they do."""
        source = """
            import os, time
            def handler(event, context):
                child = os.fork()
                end_s = time.monotonic() + event
                while time.monotonic() < end_s:
                    pass
                return child or os._exit(0)
        """
        with Environment(runtimes.typical(), task(source), memory_mb=128, cpu_limited=True) as env:
            if "cpu" in env.missing:
                pytest.skip(env.missing["cpu"])
            env.start()
            before_s = env.cpu_s()
            env.invoke(1.0)
            used_s = env.cpu_s() - before_s

        assert 0 < used_s < 0.072 * 1.0 * 1.3

    def test_out_of_memory(self, task: Callable[[str], Path]) -> None:
        """Above the limit the kernel kills, and Lambda's REPORT says so."""
        source = """
            def handler(event, context):
                return len(bytearray(event))
        """
        with Environment(runtimes.typical(), task(source), memory_mb=128, memory_limited=True) as env:
            if "memory" in env.missing:
                pytest.skip(env.missing["memory"])
            env.start()
            fine, killed = env.invoke(20 << 20), env.invoke(300 << 20)

        assert fine.status == "success"
        assert killed.status == "crash" and killed.error is not None
        assert killed.error.error_type == "Runtime.OutOfMemory"
        assert any("Error Type: Runtime.OutOfMemory" in text for text in texts(env, "platform"))

    def test_figures(self, task: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """CPU time and memory are those of the environment's processes, with control groups and without."""
        source = """
            import time
            def handler(event, context):
                global kept
                kept = bytearray(event << 20)
                end_s = time.process_time() + 0.1
                while time.process_time() < end_s:
                    pass
        """
        for is_grouped in (True, False):
            if not is_grouped:
                monkeypatch.setattr("model.cgroups._ROOT", tmp_path)
            with Environment(runtimes.typical(), task(source)) as env:
                env.start()
                before_s, before_bytes = env.cpu_s(), env.memory_pss_bytes()
                env.invoke(50)
                assert 0.09 <= env.cpu_s() - before_s < 0.3
                assert 45 << 20 <= env.memory_pss_bytes() - before_bytes < 60 << 20
                assert env.pids() == [env.runtime_pid]
                assert is_grouped or set(env.missing) == {"freezer", "cpu", "cpuacct", "memory"}

    def test_stuck(self, task: Callable[[str], Path]) -> None:
        """A wait for something that does not come ends with an error that says what did."""
        with Environment(runtimes.typical(), task(ECHO)) as env:
            env.start()
            env.invoke()
            with pytest.raises(ModelStuck, match="REPORT"):
                env.wait_for_line("no such line", timeout_s=0.05)

    def test_abandoned_in_mid_invocation(self, task: Callable[[str], Path], tmp_path: Path) -> None:
        """A test that fails in the middle of an invocation leaves no process, no control group and no file behind."""
        source = """
            import time
            def handler(event, context):
                print("here")
                time.sleep(600)
        """
        with pytest.raises(ZeroDivisionError):
            with Environment(runtimes.typical(), task(source), timeout_s=900) as env:
                env.start()
                env.begin_invoke()
                env.wait_for_line("here")
                pids, folder = env.pids(), env.tmp
                raise ZeroDivisionError

        assert pids and not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert not folder.exists()
        assert not control_groups(os.getpid())

    @pytest.mark.parametrize("isolated", [False, True])
    def test_killed_test_process(self, isolated: bool, task: Callable[[str], Path], tmp_path: Path) -> None:
        """Not even SIGKILL to the test leaves a process or a control group behind: the launcher ends them."""
        if isolated and Environment.isolation_available():
            pytest.skip(str(Environment.isolation_available()))
        source = f"""
            import sys, threading
            sys.path[:0] = {sys.path!r}
            from pathlib import Path
            import runtimes
            from model import Environment
            with Environment(runtimes.typical(), Path({str(task(ECHO))!r}), isolated={isolated}) as env:
                env.start()
                print(*env.pids(), flush=True)
                threading.Event().wait()
        """
        command = [sys.executable, "-c", textwrap.dedent(source)]
        scratch = {**os.environ, "TMPDIR": str(tmp_path)}  # it stays behind
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=scratch) as process:
            assert process.stdout is not None
            pids = process.stdout.readline().split()
            process.kill()

        assert pids
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        eventually(lambda: not control_groups(process.pid))
