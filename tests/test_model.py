"""The model of the execution environment keeps Lambda's contract: with the plain runtime, without a layer, with tiny
extensions.

Every later test relies on what is tried here, so that a surprise there is the layer's and not the model's.
"""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import runtimes
from model import Environment
from model_functions import (
    ECHO,
    INTERNAL,
    PATIENT,
    eventually,
    kinds,
    messages,
    script,
    texts,
)
from runtimes import Runtime

pytest_plugins = ["model_functions"]


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

    def test_a_process_has_lambdas_descriptors(self, task: Callable[[str], Path]) -> None:
        """1,024 and no more: what takes a descriptor for each of something comes to its end as it does there."""
        source = """
            import resource
            def handler(event, context):
                return resource.getrlimit(resource.RLIMIT_NOFILE)
        """
        with Environment(runtimes.typical(), task(source)) as env:
            env.start()
            assert env.invoke({}).payload == [1024, 1024]

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
