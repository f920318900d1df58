"""The harness of AWS's own emulator, tried with plain functions and an extension in bash, and with no layer of ours."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from emulator import Emulator
from runtimes import Runtime, runtimes, typical

pytestmark = pytest.mark.skipif(Emulator.available() is not None, reason=f"no emulator: {Emulator.available()}")

FUNCTION = """
import os, sys, time
from pathlib import Path

def handler(event, context):
    if event == "raise":
        raise KeyError("x")
    if event == "crash":
        os._exit(3)
    if event == "hang":
        time.sleep(60)
    Path("/tmp/count").open("a").write(".")
    return {
        "event": event,
        "python": sys.version_info[:2],
        "generation": os.getpid(),
        "invocations": Path("/tmp/count").stat().st_size,
        "variable": os.environ.get("SOME_VARIABLE"),
        "opt": sorted(os.listdir("/opt")),
        "is_writable": [name for name in ("/opt", "/var/task", "/var/lang", "/tmp") if is_writable(name)],
    }

def is_writable(folder):
    try:
        Path(folder, "probe").touch()
    except OSError:
        return False
    return True
"""

# Each request by hand, as the product's own extension does it, so that nothing but bash is needed.
EXTENSION = r"""#!/bin/bash
exec 3<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API%:*}/${AWS_LAMBDA_RUNTIME_API#*:}"
read_answer() {
    while IFS= read -r line <&3; do
        line=${line%$'\r'}
        case ${line,,} in
            lambda-extension-identifier:*) identifier=${line#*: } ;;
            content-length:*) size=${line#*: } ;;
            '') break ;;
        esac
    done
    IFS= read -rN "$size" answer <&3
    echo "tiny: $answer"
}
events='{"events":["SHUTDOWN"]}'
head="Host: lambda\r\nLambda-Extension-Name: tiny\r\nContent-Length: ${#events}"
printf "POST /2020-01-01/extension/register HTTP/1.1\r\n$head\r\n\r\n%s" "$events" >&3
read_answer
head="Host: lambda\r\nLambda-Extension-Identifier: $identifier"
printf "GET /2020-01-01/extension/event/next HTTP/1.1\r\n$head\r\n\r\n" >&3
read_answer
"""

# As the product's sidecar: registered before the runtime's first Next, it holds each invocation until its own Next.
INTERNAL = """
import json, os, socket, threading

host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
api = socket.create_connection((host, int(port)))
answers = api.makefile("rb")
finished, events = threading.Event(), []

def call(head, body=""):
    api.sendall(f"{head}\\r\\nHost: lambda\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
    status = int(answers.readline().split()[1])
    headers = dict(line.decode().strip().lower().split(": ") for line in iter(answers.readline, b"\\r\\n"))
    return status, headers, json.loads(answers.read(int(headers["content-length"])))

def register(name, event):
    head = f"POST /2020-01-01/extension/register HTTP/1.1\\r\\nLambda-Extension-Name: {name}"
    return call(head, json.dumps({"events": [event]}))

def run():
    while True:
        events.append(call(f"GET /2020-01-01/extension/event/next HTTP/1.1\\r\\nLambda-Extension-Identifier: {me}")[2])
        finished.wait()
        finished.clear()
        print("inner: about to ask for the next", flush=True)

refused = register("inner", "SHUTDOWN")
status, headers, answer = register("inner", "INVOKE")
me = headers["lambda-extension-identifier"]
threading.Thread(target=run, daemon=True).start()

def handler(event, context):
    threading.Timer(0.05, finished.set).start()
    request = context.aws_request_id
    return {"refused": refused[2], "status": status, "answer": answer, "request": request, "events": events}
"""


@pytest.fixture
def task_root(tmp_path: Path) -> Path:
    """A function's folder, below the /tmp that the environment covers."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "app.py").write_text(FUNCTION)
    (folder / "inner.py").write_text(INTERNAL)
    return folder


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A layer with a small external extension and a wrapper that passes its command on."""
    extension = tmp_path / "opt" / "extensions" / "tiny"
    wrapper = tmp_path / "opt" / "wrapper"
    extension.parent.mkdir(parents=True)
    extension.write_text(EXTENSION)
    wrapper.write_text('#!/bin/sh\nexport SOME_VARIABLE="$*"\nexec "$@"\n')
    for script in (extension, wrapper):
        script.chmod(0o755)
    return tmp_path / "opt"


@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_a_function_answers(runtime: Runtime, task_root: Path) -> None:
    """Without a layer: /opt is empty, /tmp is fresh and kept, all else is read-only, on every interpreter."""
    with Emulator(runtime, task_root, variables={"SOME_VARIABLE": "some value"}) as emulator:
        first, second = emulator.invoke({"number": 1}).value, emulator.invoke({"number": 2}).value
        assert (emulator.tmp / "count").read_text() == ".."
        emulator.stop()
        assert emulator.log.count("START RequestId") == emulator.log.count("REPORT RequestId") == 2
    assert (first["event"], first["python"]) == ({"number": 1}, list(runtime.version))
    assert (first["variable"], first["opt"], first["is_writable"]) == ("some value", [], ["/tmp"])
    assert (first["invocations"], second["invocations"]) == (1, 2)
    assert first["generation"] == second["generation"]
    assert not emulator.tmp.exists()


def test_an_extension_gets_shutdown(task_root: Path, layer: Path) -> None:
    """The layer's extension registers before the runtime starts, and is told of the end, which waits for it."""
    with Emulator(typical(), task_root, layer=layer) as emulator:
        assert emulator.invoke().value["opt"] == ["extensions", "wrapper"]
        emulator.stop()
        registered, shutdown = (json.loads(line[6:]) for line in emulator.log.splitlines() if line[:6] == "tiny: ")
    assert registered["functionName"] == "orders"
    assert (shutdown["eventType"], shutdown["shutdownReason"]) == ("SHUTDOWN", "SandboxTerminated")


def test_a_wrapper_is_called_with_the_runtime(task_root: Path, layer: Path) -> None:
    """It gets interpreter and arguments as an image's entry point would pass them, and stays the same process."""
    with Emulator(typical(), task_root, layer=layer, wrapper="/opt/wrapper") as emulator:
        expected = f"/var/lang/bin/{typical().interpreter.executable.name} -m awslambdaric app.handler"
        assert emulator.invoke().value["variable"] == expected


def test_what_becomes_of_a_bad_invocation(task_root: Path, layer: Path) -> None:
    """An exception keeps the environment; after a crash or a timeout a new runtime finds the old /tmp."""
    with Emulator(typical(), task_root, layer=layer, timeout_s=1) as emulator:
        first = emulator.invoke().value
        raised = emulator.invoke("raise")
        second = emulator.invoke().value
        crashed = emulator.invoke("crash")
        third = emulator.invoke().value
        timed_out = emulator.invoke("hang")
        fourth = emulator.invoke().value
        emulator.stop()
        reasons = [line.split('"')[-2] for line in emulator.log.splitlines() if "shutdownReason" in line]
    assert (raised.status, raised.value["errorType"]) == (200, "KeyError")
    assert (crashed.status, crashed.value["errorType"]) == (502, "Runtime.ExitError")
    assert (timed_out.status, timed_out.text) == (200, "Task timed out after 1.00 seconds")
    assert len({one["generation"] for one in (first, second, third, fourth)}) == 3
    assert [one["invocations"] for one in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert reasons == ["ReleaseFail", "Timeout", "SandboxTerminated"]


def test_an_internal_extension_holds_the_invocation(task_root: Path) -> None:
    """A thread of the runtime may register for INVOKE, not for SHUTDOWN; an invocation ends with its Next."""
    with Emulator(typical(), task_root, "inner.handler") as emulator:
        first = emulator.invoke().value
        # The caller has its answer, so the extension must have asked for its next event.
        assert emulator.log.count("inner: about to ask for the next") == 1
        second = emulator.invoke().value
        assert emulator.log.count("inner: about to ask for the next") == 2
    assert first["refused"]["errorMessage"] == "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"
    assert (first["status"], first["answer"]["functionName"]) == (200, "orders")
    event = second["events"][0]
    assert (event["eventType"], event["requestId"]) == ("INVOKE", first["request"])
    assert {"deadlineMs", "invokedFunctionArn"} <= event.keys()


def test_a_wrong_start_is_told(task_root: Path, tmp_path: Path) -> None:
    """What cannot be mounted is an error with its reason and leaves nothing behind, not a test that hangs."""
    with pytest.raises(RuntimeError, match="nowhere"), Emulator(typical(), task_root, layer=tmp_path / "nowhere"):
        pass


def test_nothing_outlives_the_tests(task_root: Path, layer: Path, tmp_path: Path) -> None:
    """When the test process is killed, the emulator is told to end its environment, and no process of it stays.

    How far it comes with that is the emulator's: on a busy machine it has been seen to end before its extensions.
    """
    script = (
        "import sys, time; from pathlib import Path; from emulator import Emulator; from runtimes import typical\n"
        "with Emulator(typical(), Path(sys.argv[1]), layer=Path(sys.argv[2])) as emulator:\n"
        "    emulator.invoke()\n"
        "    print('invoked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(task_root), str(layer)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "invoked\n"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        child_end = os.pidfd_open(int(child))
        process.kill()
    try:
        poll = select.poll()  # not select(), which knows no descriptor above 1,023
        poll.register(child_end, select.POLLIN)
        assert poll.poll(10_000), "the emulator goes on"
    finally:
        os.close(child_end)
    (log,) = tmp_path.glob("emulator-*/log")
    assert "SandboxTerminated" in log.read_text()
