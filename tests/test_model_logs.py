"""The model of the execution environment: the log stream, the Telemetry API, isolation, its servers and its machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runtimes
from model import Environment, Failure, ModelStuck
from model.monitor import Monitor
from model.telemetry_api import TelemetryApi, read_subscription
from model.telemetry_delivery import UNANSWERED_S, Subscription, TelemetryEvent, render
from model.web import Request, Response, Server, json_response
from model_functions import ECHO, control_groups, eventually, texts

pytest_plugins = ["model_functions"]


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
        # The runtime may be ready before or after the extension has subscribed.
        early[1:3] = sorted(early[1:3], key=lambda event: str(event["type"]))
        assert [event["type"] for event in early + late + last] == [
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.telemetrySubscription",
            "platform.extension",
            "platform.initReport",
            *invocation,
            *invocation,
        ]
        assert early[2]["record"] == {"name": "subscriber", "state": "Subscribed", "types": ["function", "platform"]}
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

    def test_dropped_while_unanswered(self) -> None:
        """What is due while a batch is unanswered is dropped and told: AWS's code loses events by a slow answer."""
        events: list[Any] = []
        is_asked = threading.Event()

        def receive(request: Request) -> Response:
            if not is_asked.is_set():
                is_asked.set()
                telemetry.publish(TelemetryEvent(0.0, "function", "lost"))
                time.sleep(2 * UNANSWERED_S)
                telemetry.publish(TelemetryEvent(0.0, "function", "not due yet"))
            events.extend(json.loads(request.body))
            return Response(200)

        server = Server(receive)
        telemetry = TelemetryApi(Monitor(), is_supported=True, is_json=False)
        destination = {"protocol": "HTTP", "URI": f"http://sandbox:{server.address.partition(':')[2]}"}
        wanted = {"schemaVersion": "2022-12-13", "types": ["platform", "function"], "destination": destination}
        wanted["buffering"] = {"timeoutMs": 200}
        assert telemetry.subscribe("slow", Request("PUT", "", {}, json.dumps(wanted).encode())).status == 200
        eventually(lambda: any(event["record"] == "not due yet" for event in events))
        telemetry.flush()
        eventually(lambda: events[-1]["type"] == "platform.logsDropped")
        telemetry.close()
        server.close()

        assert "lost" not in [event["record"] for event in events]
        assert events[-1]["record"]["droppedRecords"] == 1


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

    def test_cpu_in_the_init_phase(self, task: Callable[[str], Path]) -> None:
        """At 128 MB the init phase has two cores, by Lambda's published behaviour; an init that belongs to an
        invocation has the function's share, and so has each one with provisioned concurrency."""
        source = """
            import os, time
            while time.process_time() < 0.3:
                pass
            def handler(event, context):
                if event == "crash":
                    os._exit(1)
        """
        options: dict[str, Any] = {"memory_mb": 128, "cpu_limited": True, "timeout_s": 60}
        took_s = {}
        with Environment(runtimes.typical(), task(source), **options) as env:
            if "cpu" in env.missing:
                pytest.skip(env.missing["cpu"])
            took_s["on demand"] = env.start().duration_s
            env.invoke("crash")
            again = env.invoke().init
            assert again is not None
            took_s["in an invocation"] = again.duration_s
        with Environment(runtimes.typical(), task(source), init_limited=True, **options) as env:
            took_s["provisioned"] = env.start().duration_s

        throttled_s = 0.3 / 0.072
        assert took_s["on demand"] < throttled_s / 2
        assert min(took_s["in an invocation"], took_s["provisioned"]) > throttled_s * 0.9

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

    def test_abandoned_in_mid_invocation(self, task: Callable[[str], Path]) -> None:
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
