"""The main path, end to end: a real runtime in a model of Lambda, the built layer, and a real loopback source."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model import Environment
from packages import package
from runtimes import Runtime, runtimes, typical
from scripted_http import ScriptedServer, answer
from sumo_source import HANG, Fault, SumoSource

from sumo_internal.spool.reader import SpoolReader

FUNCTIONS = Path(__file__).parent / "functions"
PROBE = FUNCTIONS / "probe"
WRAPPER = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
EXTENSION = "sumo-internal-extension"

each_runtime = pytest.mark.parametrize("runtime", runtimes(), ids=lambda runtime: runtime.id)
both_entries = pytest.mark.parametrize(("entry", "framed"), [("managed", True), ("image", False)])


def environment(source: SumoSource, layer: Path | None, runtime: Runtime | None = None, **options: Any) -> Environment:
    """An environment of the probe with the wrapper, unless said otherwise."""
    variables = {**WRAPPER, "SUMO_HTTP_ENDPOINT": source.url, "SUMO_LOG_TYPES": "function"}
    variables |= options.pop("variables", {})
    return Environment(
        runtime or typical(),
        options.pop("task_root", PROBE),
        layer=layer,
        variables={name: value for name, value in variables.items() if value is not None},
        **options,
    )


def steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"steps": list(steps)}


def messages(source: SumoSource) -> list[str]:
    return [record["message"] for record in source.records if record["type"] == "function"]


def function_lines(env: Environment) -> list[str]:
    """What CloudWatch got from the function, as one list of stripped texts."""
    return [line.text.strip() for line in env.cloudwatch if line.source == "function" and line.text.strip()]


def said(env: Environment) -> list[str]:
    """What the layer said of itself, in the runtime process or as the extension.

    A print's text and its line end are two writes, and what is said may come between them on the same pipe.
    """
    name = "sumo-internal-extension: "
    return [line.text[line.text.index(name) :].strip() for line in env.cloudwatch if name in line.text]


def assert_each_once(source: SumoSource) -> None:
    assert {identity: count for identity, count in source.ids().items() if count != 1} == {}


@pytest.mark.parametrize(
    "runtime", [each for each in runtimes([4]) if each.version >= (3, 14)], ids=lambda each: each.id
)
def test_lines_travel_as_zstd(source: SumoSource, layer_folder: Path, runtime: Runtime) -> None:
    """The interpreter's own, from Python 3.14 on: of the function's process and of the extension."""
    variables = {"SUMO_COMPRESSION": "zstd", "SUMO_LOG_TYPES": "function,platform"}
    with environment(source, layer_folder, runtime, variables=variables) as env:
        assert env.start().error is None
        for number in range(2):
            assert env.invoke(steps({"log": f"log {number}"})).status == "success"
        env.shutdown()
        assert said(env) == []
    assert {request.headers.get("content-encoding") for request in source.requests} == {"zstd"}
    assert {"log 0", "log 1"} <= {text.rpartition("\t")[2] for text in messages(source)}
    assert_each_once(source)


AT_SHUTDOWN: dict[str, tuple[list[Fault], Fault | None]] = {
    "takes zstd": ([], None),
    "refuses zstd": ([Fault(415)], None),
    "is away": ([], Fault(503)),
    "hangs": ([], HANG),
}
"""What the source does first, and from then on."""

PRINTING = """
def handler(event, context):
    for number in range(1_500):
        print(f"line {number} {number * 7919 % 10007:x}" * 8)
"""


@pytest.mark.parametrize("how", AT_SHUTDOWN)
@pytest.mark.parametrize(
    "runtime", [each for each in runtimes([4]) if each.version >= (3, 14)], ids=lambda each: each.id
)
def test_zstd_at_shutdown(layer_folder: Path, tmp_path: Path, runtime: Runtime, how: str) -> None:
    """The extension's own process, which has two seconds for all: where zstd is refused, or the source does not answer,
    the batch is compressed anew within them, and an object in the bucket is gzip."""
    (tmp_path / "app.py").write_text(PRINTING)
    with SumoSource() as source, ScriptedServer(answer(200)) as s3:
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "AWS_ENDPOINT_URL": s3.url,
            "SUMO_HTTP_ENDPOINT": source.url,
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": "lines",
            "SUMO_S3_BUCKET_REGION": "eu-west-1",
            "SUMO_COMPRESSION": "zstd",
            "SUMO_FLUSH": "next",
            "SUMO_LOG_TYPES": "function",
        }
        with Environment(runtime, tmp_path, layer=layer_folder, variables=variables, timeout_s=10) as env:
            assert env.start().error is None
            assert env.invoke({}).status == "success"
            assert source.requests == [], "the lines are left to SHUTDOWN"
            first, source.default = AT_SHUTDOWN[how][0], AT_SHUTDOWN[how][1] or source.default
            source.script(first)
            assert env.shutdown().duration_s < 2.0
        objects = [json.loads(line) for put in s3.requests for line in gzip.decompress(put.body).splitlines()]
        sent = {request.headers.get("content-encoding", "") for request in source.requests}
        is_taken = AT_SHUTDOWN[how][1] is None
        records = {each["id"]: each for each in (source.records if is_taken else objects)}

    assert sent == {"takes zstd": {"zstd"}, "refuses zstd": {"zstd", "gzip"}}.get(how, {"zstd"})
    assert (objects == []) is is_taken
    lines = sorted(int(each["message"].split()[1]) for each in records.values() if each["type"] == "function")
    assert lines == list(range(1_500))


@each_runtime
@both_entries
def test_every_line_of_three_invocations_arrives_once(
    source: SumoSource, layer_folder: Path, runtime: Runtime, entry: Any, framed: bool
) -> None:
    """logging, print, stderr and an uncaught exception: what CloudWatch got is at Sumo, once, with its metadata."""
    with environment(source, layer_folder, runtime, entry=entry, framed=framed) as env:
        assert env.start().error is None
        invocations = [
            env.invoke(steps({"log": f"log {n}"}, {"print": f"print {n}"}, {"stderr": f"stderr {n}"}, *failing))
            for n, failing in enumerate([[], [{"fail": "no such item"}], []])
        ]
        assert [invocation.status for invocation in invocations] == ["success", "error", "success"]
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert Counter(text.strip() for text in messages(source)) == Counter(function_lines(env))
        assert said(env) == []
    assert_each_once(source)

    ids = {f"{n}": invocation.request_id for n, invocation in enumerate(invocations)}
    for record in source.records:
        assert record["type"] == "function"
        assert record["logGroup"] == "/aws/lambda/orders" and record["logStream"] == env.log_stream
        assert record["LayerVersion"].startswith("sumo-internal-extension:")
        number = re.search(r"(log|print|stderr) (\d)$", record["message"])
        if number:
            assert record["requestID"] == ids[number[2]]
            assert record["IsColdStart"] is (number[2] == "0")
            if number[1] == "log":
                text = rf"\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{record['requestID']}\tlog \d"
                assert re.fullmatch(text, record["message"])
                assert (record["level"], record["logger"]) == ("INFO", "orders")
                assert record["order"] == f"log {number[2]}"
    (error,) = [record for record in source.records if record.get("errorType") == "KeyError"]
    assert error["requestID"] == ids["1"] and error["errorMessage"] == "'no such item'"
    assert "[ERROR] KeyError: 'no such item'" in error["message"] and "Traceback" in error["message"]
    for request in source.requests:
        assert request.headers["x-sumo-host"] == "/aws/lambda/orders"
        assert request.headers["x-sumo-name"] == env.log_stream
        assert request.headers["content-encoding"] == "gzip"


@each_runtime
@both_entries
def test_the_runtime_is_started_as_without_us(
    source: SumoSource, layer_folder: Path, runtime: Runtime, entry: Any, framed: bool
) -> None:
    """argv, sys.path, __main__, environment, flags and handlers are the same with the wrapper as without."""
    seen = []
    for wrapper in (None, "/opt/sumo_wrapper"):
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": wrapper}
        with environment(source, layer_folder, runtime, entry=entry, framed=framed, variables=variables) as env:
            env.start()
            seen.append(env.invoke(steps({"surroundings": None})).payload["surroundings"])
    without, with_us = ({**each, "environ": comparable(each["environ"])} for each in seen)
    assert [name for name in with_us.pop("modules") if not name.startswith("sumo_internal")] == without.pop("modules")
    # The addresses of objects differ from process to process.
    without, with_us = (json.loads(re.sub("0x[0-9a-f]+", "0x", json.dumps(each))) for each in (without, with_us))

    for aspect in without:
        assert (aspect, with_us[aspect]) == (aspect, without[aspect])


def comparable(environ: dict[str, str]) -> dict[str, str]:
    """An environment without what differs from one environment of the model to the next, and what any shell sets.

    On Lambda the runtime is started by a shell script anyway, so those names are there with and without a wrapper.
    """
    changing = {"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_LOG_STREAM_NAME", "SUMO_SPOOL_DIR", "TMPDIR", "_X_AMZN_TRACE_ID"}
    of_shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    left_out = changing | of_shells | {"AWS_LAMBDA_EXEC_WRAPPER"}
    return {name: value for name, value in environ.items() if name not in left_out}


BROKEN = {
    "missing module": ("nowhere.handler", ""),
    "syntax error": ("broken.handler", "def handler(:\n"),
    "import error": ("broken.handler", "import there_is_no_such_module\n"),
    "exception": ("broken.handler", "raise RuntimeError('at import')\n"),
    "no handler": ("broken.other", ""),
    "sys.exit": ("broken.handler", "import sys\nsys.exit(7)\n"),
    "os._exit": ("broken.handler", "import os\nos._exit(9)\n"),
    "no dot": ("broken", ""),
}


@pytest.mark.parametrize("case", BROKEN)
@both_entries
def test_what_breaks_breaks_as_without_us(
    source: SumoSource, layer_folder: Path, tmp_path: Path, case: str, entry: Any, framed: bool
) -> None:
    """Types and messages of init errors, exit codes and CloudWatch's lines are the same; and the lines reach Sumo."""
    handler, code = BROKEN[case]
    (tmp_path / "broken.py").write_text(code)
    seen = []
    for wrapper in (None, "/opt/sumo_wrapper"):
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": wrapper, "SUMO_FUNCTION_LOGS": "process"}
        options: dict[str, Any] = {"entry": entry, "framed": framed, "handler": handler, "task_root": tmp_path}
        with environment(source, layer_folder, variables=variables, **options) as env:
            init = env.start()
            got = env.invoke({})
            starts = [event.detail for event in env.timeline if event.kind == "exit" and event.who == "runtime"]
            # The numbers, ids and times in a line differ from run to run; so may the order of two pipes.
            lines = sorted(re.sub(r"[0-9a-f-]{36}|\d+", "#", line) for line in function_lines(env))
            seen.append((init.error, got.status, got.error and got.error.error_type, starts, lines))
    assert seen[0] == seen[1]
    assert seen[1][0] is not None
    assert Counter(re.sub(r"[0-9a-f-]{36}|\d+", "#", text.strip()) for text in messages(source)) == Counter(seen[1][4])
    assert_each_once(source)


def test_disabled_is_a_plain_exec(source: SumoSource, layer_folder: Path) -> None:
    """SUMO_DISABLED=true: nothing of ours is in the process, nothing is sent, and the extension idles to the end."""
    with environment(source, layer_folder, variables={"SUMO_DISABLED": "true"}) as env:
        env.start()
        got = env.invoke(steps({"log": "a line"}, {"surroundings": None}))
        modules = got.payload["surroundings"]["modules"]
        ended = env.shutdown()

        assert [name for name in modules if name.startswith("sumo_internal")] == []
        assert ended.ended[EXTENSION].how == "exit 0"
        assert said(env) == []
    assert source.requests == []


@each_runtime
def test_a_killed_runtime_loses_no_line(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """SIGKILL in mid-invocation: each line that logging or print had returned from is shipped, by the extension."""
    progress = tmp_path / "progress"
    with environment(source, layer_folder, runtime, variables={"SUMO_FLUSH": "next"}) as env:
        env.start()
        handle = env.begin_invoke(steps({"endless": str(progress)}))
        env.wait_for_line("line 500")
        env.kill_runtime(signal.SIGKILL)
        assert handle.finish().status == "crash"

    returned = int(progress.read_text() or 0)
    got = Counter(int(text.rpartition(" ")[2]) for text in messages(source) if "line " in text)
    assert returned >= 400
    assert [number for number in range(returned + 1) if number not in got] == []
    # What was on its way when the process died may come twice, recognisably; nothing else.
    assert all(count <= 2 for count in source.ids().values())


@each_runtime
def test_a_timeout_loses_no_line_and_the_next_generation_goes_on(
    source: SumoSource, layer_folder: Path, runtime: Runtime
) -> None:
    """After a timeout the extension ships the rest, and says that it was one; a second generation goes on."""
    with environment(source, layer_folder, runtime, timeout_s=1.0) as env:
        env.start()
        first = env.invoke(steps({"log": "before"}, {"sleep": 5}))
        second = env.invoke(steps({"log": "after"}))
        env.shutdown()

        assert (first.status, second.status) == ("timeout", "success")
        assert SpoolReader(str(env.tmp / "sumo-internal")).left() == (0, 0)
    texts = [text.rpartition("\t")[2] for text in messages(source)]
    timeout = texts.pop(2)
    assert texts == ["loaded", "before", "loaded", "after"]
    assert re.fullmatch(rf"\S+Z {first.request_id} Task timed out after the function's timeout", timeout)
    assert_each_once(source)


def test_freezes_at_any_point_of_a_request_lose_nothing(source: SumoSource, layer_folder: Path) -> None:
    """Frozen before, within and after requests, while the source closes kept connections: every line arrives."""
    source.default = Fault(delay_s=0.02)
    source.idle_timeout_s = 0.05  # as Sumo's load balancer after 30 s
    with environment(source, layer_folder, variables={"SUMO_FLUSH": "next"}) as env:
        env.start()
        for number in range(30):
            assert env.invoke(steps({"log": f"{number}"}, {"sleep": 0.002 * (number % 15)})).status == "success"
        env.shutdown()

    got = {text.rpartition("\t")[2] for text in messages(source)}
    assert got == {"loaded", *(str(number) for number in range(30))}


def test_a_frozen_environment_keeps_its_lines_for_shutdown(source: SumoSource, layer_folder: Path) -> None:
    """With SUMO_FLUSH=next the last lines wait, and SHUTDOWN brings them, although nobody runs the function again."""
    with environment(source, layer_folder, variables={"SUMO_FLUSH": "next"}) as env:
        env.start()
        env.invoke(steps({"sleep": 0.5}, {"log": "last words"}))  # when what came before is not on its way any more
        assert not any("last words" in text for text in messages(source))
        env.shutdown()

    assert {text.rpartition("\t")[2] for text in messages(source)} == {"loaded", "last words"}


def test_what_shutdown_thaws_is_not_sent_twice(source: SumoSource, layer_folder: Path) -> None:
    """Lines are old after a long freeze, but the sidecar is about to be killed: it must not begin to send them."""
    source.default = Fault(delay_s=0.3)
    variables = {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": "1"}
    with environment(source, layer_folder, variables=variables) as env:
        env.start()
        env.invoke(steps({"sleep": 0.5}))
        env.invoke(steps({"sleep": 0.3}, {"log": "last words"}))
        time.sleep(2.0)  # frozen, for longer than any timer in there
        env.shutdown()

    assert_each_once(source)
    assert {text.rpartition("\t")[2] for text in messages(source)} == {"loaded", "last words"}


def test_the_end_strategy_ships_before_the_freeze(source: SumoSource, layer_folder: Path) -> None:
    """With SUMO_FLUSH=end nothing is left when the environment freezes, and the caller has not waited for it."""
    source.default = Fault(delay_s=0.2)
    with environment(source, layer_folder, variables={"SUMO_FLUSH": "end"}) as env:
        env.start()
        got = env.invoke(steps({"log": "at once"}))

        assert [text.rpartition("\t")[2] for text in messages(source)] == ["loaded", "at once"]
        assert got.response_s is not None and got.duration_s - got.response_s > 0.2
        env.shutdown()
    assert_each_once(source)


def test_a_long_invocation_is_watched_live(source: SumoSource, layer_folder: Path) -> None:
    """While an invocation runs no line waits longer than SUMO_FLUSH_MAX_AGE_S."""
    with environment(source, layer_folder, timeout_s=20, variables={"SUMO_FLUSH_MAX_AGE_S": "0.3"}) as env:
        env.start()
        handle = env.begin_invoke(steps({"log": "working"}, {"sleep": 4}))
        source.wait_for(lambda source: "working" in "".join(messages(source)), 3)
        assert handle.finish().status == "success"


def test_many_lines_are_shipped_meanwhile(source: SumoSource, layer_folder: Path) -> None:
    """A burst of several spool segments goes out in batches of up to a megabyte, none lost."""
    with environment(source, layer_folder, timeout_s=30, variables={"SUMO_FLUSH": "next"}) as env:
        env.start()
        assert env.invoke(steps({"many": 20_000})).payload == {"many": 20_000}
        env.shutdown()

    numbers = Counter(int(text.rpartition(" ")[2]) for text in messages(source) if "\tline " in text)
    assert sorted(numbers) == list(range(20_000))
    assert max(request.body_size_bytes for request in source.requests) <= 1_000_000
    assert sum(count - 1 for count in source.ids().values()) <= max(len(r.records) for r in source.requests)


def test_a_function_that_empties_tmp_loses_nothing(source: SumoSource, layer_folder: Path) -> None:
    """What the sidecar has mapped is shipped although nobody finds the file any more; later lines have a new one."""
    with environment(source, layer_folder, variables={"SUMO_FLUSH": "next"}) as env:
        env.start()
        spool = str(env.tmp / "sumo-internal")
        env.invoke(steps({"log": "one"}, {"remove_tmp": spool}, {"log": "two"}))
        env.invoke(steps({"log": "three"}))
        env.invoke(steps({"log": "four"}, {"sleep": 0.5}))
        env.shutdown()

    assert {text.rpartition("\t")[2] for text in messages(source)} == {"loaded", "one", "two", "three", "four"}


def test_a_forked_child_is_shipped(source: SumoSource, layer_folder: Path) -> None:
    """A child that the function forks writes a spool of its own, which the sidecar or the extension adopts."""
    with environment(source, layer_folder) as env:
        env.start()
        env.invoke(steps({"log": "parent"}, {"fork": "child"}))
        env.shutdown()

    assert sorted(text.rpartition("\t")[2] for text in messages(source)) == ["child", "loaded", "parent"]
    assert_each_once(source)


def test_children_alone_are_watched_live_too(source: SumoSource, layer_folder: Path) -> None:
    """Where only forked children log, as in a pool of processes, their lines are no older than others'."""
    variables = {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": "0.3"}
    with environment(source, layer_folder, timeout_s=20, variables=variables) as env:
        env.start()
        env.invoke(steps({"sleep": 0.5}))
        handle = env.begin_invoke(steps({"fork": "child"}, {"sleep": 4}))
        source.wait_for(lambda source: "child" in "".join(messages(source)), 3)
        assert handle.finish().status == "success"


def test_a_dead_child_counts_as_dead_that_its_parent_never_asked(source: SumoSource, layer_folder: Path) -> None:
    """What it has begun is no longer waited for. The trap: such a child keeps its number in the table of processes."""
    variables = {"SUMO_FLUSH": "next", "SUMO_FLUSH_MAX_AGE_S": "0.3"}
    with environment(source, layer_folder, timeout_s=20, variables=variables) as env:
        env.start()
        handle = env.begin_invoke(steps({"abandon": "half a line"}, {"sleep": 4}))
        source.wait_for(lambda source: "half a line" in "".join(messages(source)), 3)
        assert handle.finish().status == "success"


def test_without_an_endpoint_the_function_runs_and_one_line_says_so(source: SumoSource, layer_folder: Path) -> None:
    """A forgotten setting costs nothing but the lines, and is named."""
    with environment(source, layer_folder, variables={"SUMO_HTTP_ENDPOINT": None}) as env:
        env.start()
        assert env.invoke(steps({"log": "a line"})).status == "success"
        env.shutdown()

        assert [line for line in said(env) if "SUMO_HTTP_ENDPOINT" in line] == [
            "sumo-internal-extension: error: SUMO_HTTP_ENDPOINT is not set; no lines are shipped"
        ]


def test_a_wrong_setting_is_named_and_the_default_used(source: SumoSource, layer_folder: Path) -> None:
    """One line for each wrong value, from one of the two processes only."""
    with environment(source, layer_folder, variables={"SUMO_NUM_RETRIES": "many", "SUMO_FLUSH": "soon"}) as env:
        env.start()
        env.invoke(steps({"log": "a line"}))
        env.shutdown()

        assert len(said(env)) == 2
        assert "SUMO_FLUSH='soon'" in said(env)[0] and "auto is used instead" in said(env)[0]
        assert "SUMO_NUM_RETRIES='many'" in said(env)[1]
    assert len(source.records) == 2


@pytest.mark.parametrize("missing", [[""], ["capture/recorder.py", "__pycache__"]], ids=["all of it", "a module"])
def test_a_damaged_layer_lets_the_function_run(
    source: SumoSource, layer_folder: Path, tmp_path: Path, missing: list[str]
) -> None:
    """Without the package, or with a part of it, the runtime starts, the extension idles, and somebody says why."""
    damaged = tmp_path / "opt"
    shutil.copytree(layer_folder, damaged)
    for target in (damaged / "python/sumo_internal" / name for name in missing):
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    with environment(source, damaged) as env:
        assert env.start().error is None
        assert env.invoke(steps({"log": "a line"})).status == "success"
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert said(env)


def in_the_index(data: bytes) -> bytes:
    return data[:20]


def in_the_middle(data: bytes) -> bytes:
    return data[: len(data) // 2]


def in_a_piece(data: bytes) -> bytes:
    begin = 8 + int.from_bytes(data[4:8], "little")  # of the first piece: what is damaged inside a function reads well
    return data[:begin] + b"\xff" * 50 + data[begin + 50 :]


@pytest.mark.parametrize("damage", [in_the_index, in_the_middle, in_a_piece])
def test_damaged_bytecode_is_passed_by(
    source: SumoSource, layer_folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """A bundle that cannot be read is as good as none: the modules are compiled, and every line arrives."""
    damaged = tmp_path / "opt"
    shutil.copytree(layer_folder, damaged)
    for bundle in damaged.glob("python/sumo_internal/__pycache__/bundle.*.bin"):
        bundle.write_bytes(damage(bundle.read_bytes()))
    with environment(source, damaged) as env:
        assert env.start().error is None
        assert env.invoke(steps({"log": "a line"})).status == "success"
        env.shutdown()

        assert said(env) == []
    assert [text for text in messages(source) if "a line" in text] != []


@pytest.mark.parametrize(("beside", "promised"), [(True, True), (False, False)])
def test_the_dropin_ships_log_records(
    source: SumoSource, layer_folder: Path, tmp_path: Path, beside: bool, promised: bool
) -> None:
    """SumoHandler without the wrapper: log records arrive once; alone it says what it cannot promise."""
    layer = tmp_path / "opt"
    shutil.copytree(layer_folder, layer)
    if not beside:
        shutil.rmtree(layer / "extensions")
    with environment(source, layer, task_root=FUNCTIONS / "dropin", variables={"AWS_LAMBDA_EXEC_WRAPPER": None}) as env:
        env.start()
        ids = [env.invoke({"number": number}).request_id for number in range(3)]
        env.shutdown()

        assert [line for line in said(env) if "SumoHandler has no extension" in line] != [] or promised
    assert [(record["number"], record["requestID"]) for record in source.records] == list(enumerate(ids))
    assert all(record["message"].startswith("[INFO]\t20") for record in source.records)
    assert_each_once(source)


def test_the_dropin_with_the_extension_survives_a_crash(source: SumoSource, layer_folder: Path) -> None:
    """With the extension beside it, what the handler returned from is shipped although the process is gone."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": None, "SUMO_FLUSH": "next"}
    with environment(source, layer_folder, task_root=FUNCTIONS / "dropin", variables=variables) as env:
        env.start()
        assert env.invoke({"number": 7, "exit": True}).status == "crash"

    assert [record["number"] for record in source.records] == [7]


def test_the_dropin_does_nothing_under_the_wrapper(source: SumoSource, layer_folder: Path) -> None:
    """Each line is sent once, and the print too, although the function adds the handler itself."""
    with environment(source, layer_folder, task_root=FUNCTIONS / "dropin") as env:
        env.start()
        env.invoke({"number": 1})
        env.shutdown()

    assert [text.rpartition("\t")[2] for text in messages(source)] == ["line 1", "only CloudWatch sees a print"]


@pytest.mark.parametrize("wrapper", ["", "sumo_wrapper"], ids=["alone", "wrapped"])
def test_another_runtime_is_not_held(source: SumoSource, layer_folder: Path, tmp_path: Path, wrapper: str) -> None:
    """Who has a runtime of their own gets the lines; nobody waits for the end of invocations that nobody tells of."""
    task = FUNCTIONS / "own_runtime"
    layer = tmp_path / "opt"
    shutil.copytree(layer_folder, layer)
    start = layer / "start"
    command = [str(layer / wrapper), '"$1"'] if wrapper else ['"$1"']
    words = [word if word.startswith('"') else shlex.quote(word) for word in [*command, f"{task}/loop.py"]]
    start.write_text(f"#!/bin/sh\nexec {' '.join(words)}\n")
    start.chmod(0o755)
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/start", "SUMO_FLUSH_MAX_AGE_S": "0.1"}
    with environment(source, layer, task_root=task, variables=variables) as env:
        assert env.start().error is None
        invocations = [env.invoke({}) for _ in range(2)]
        env.shutdown()

    assert [invocation.status for invocation in invocations] == ["success", "success"]
    assert max(invocation.duration_s for invocation in invocations) < 1
    for invocation in invocations:
        assert sum(f"a line of {invocation.request_id}" in text for text in messages(source)) == 1


def test_the_first_line_does_not_wait_for_a_long_init(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """A module that logs and then takes its time: its lines are there before the init phase is over."""
    task = tmp_path / "task"
    shutil.copytree(PROBE, task)
    app = task / "app.py"
    app.write_text(app.read_text().replace('print("loaded")', 'print("loaded")\ntime.sleep(1)'))
    with environment(source, layer_folder, task_root=task, variables={"SUMO_FLUSH_MAX_AGE_S": "0.2"}) as env:
        env.start()
        ready_s = time.time()
        assert messages(source) == ["loaded"] and source.requests[0].received_at_s < ready_s - 0.3


def task_with(tmp_path: Path, *requirements: str) -> Path:
    """A function folder with the probe and packages of its own."""
    task = tmp_path / "task"
    shutil.copytree(PROBE, task)
    for requirement in requirements:
        shutil.copytree(package(requirement), task, dirs_exist_ok=True)
    return task


@pytest.mark.parametrize("requirement", ["urllib3==1.26.20", "urllib3==2.0.7", "structlog==23.1.0"])
def test_the_functions_packages_are_the_functions(
    source: SumoSource, layer_folder: Path, tmp_path: Path, requirement: str
) -> None:
    """What a function ships it imports, whatever the layer has; and shipping works beside it."""
    name, _, version = requirement.partition("==")
    task = task_with(tmp_path, requirement)
    with environment(source, layer_folder, task_root=task, variables={"SUMO_FLUSH": "end"}) as env:
        env.start()
        before = env.invoke(steps({"import": name})).payload["import"]
        after = env.invoke(steps({"import": name}, {"log": "a line"})).payload["import"]
        env.shutdown()

    assert before == after == f"{version} {task}/{name}/__init__.py"
    assert_each_once(source)
    assert len(source.records) == 2


@pytest.mark.parametrize("name", ["urllib3", "structlog"])
def test_a_package_that_is_not_there_stays_away(source: SumoSource, layer_folder: Path, name: str) -> None:
    """``try: import urllib3`` has the outcome it has without us; a copy put on sys.path later is then the one."""
    with environment(source, layer_folder, variables={"SUMO_FLUSH": "end"}) as env:
        env.start()
        env.invoke(steps({"log": "the sidecar has shipped"}))
        before = env.invoke(steps({"import": name})).payload["import"]
        requirement = {"urllib3": "urllib3==1.26.20", "structlog": "structlog==23.1.0"}[name]
        after = env.invoke(steps({"path": str(package(requirement))}, {"import": name})).payload["import"]
        env.shutdown()

    assert before == f"ModuleNotFoundError: No module named '{name}'"
    assert after == f"{requirement.partition('==')[2]} {package(requirement)}/{name}/__init__.py"
    assert_each_once(source)


def test_an_eleventh_extension_is_refused_and_the_lines_still_arrive(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """Ten extensions are Lambda's limit: a sidecar that cannot register says so, and nothing is lost."""
    layer = tmp_path / "opt"
    shutil.copytree(layer_folder, layer)
    other = (layer / "extensions" / EXTENSION).read_text().replace(f"name={EXTENSION}", "name=${0##*/}")
    for number in range(9):
        path = layer / "extensions" / f"other-{number}"
        path.write_text(other.replace("mode= python=", "mode= python=; SUMO_DISABLED=true"))
        path.chmod(0o755)
    with environment(source, layer) as env:
        assert env.start().error is None
        for number in range(3):
            assert env.invoke(steps({"log": f"{number}"})).status == "success"
        env.shutdown()

        assert len([line for line in said(env) if "does not register the background thread" in line]) == 1
    assert [text.rpartition("\t")[2] for text in messages(source)] == ["loaded", "0", "1", "2"]


@pytest.mark.skipif(
    Environment.isolation_available() is not None, reason=f"no isolation here: {Environment.isolation_available()}"
)
@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_lambdas_own_paths_and_a_user_without_rights(source: SumoSource, layer_folder: Path, runtime: Runtime) -> None:
    """A read-only /opt, /tmp, /var/task, /var/lang and a user of no rights: the paths as Lambda has them."""
    with environment(source, layer_folder, runtime, isolated=True) as env:
        assert env.start().error is None
        for number in range(3):
            assert env.invoke(steps({"log": f"{number}"}, {"print": f"p{number}"})).status == "success"
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert said(env) == []
    texts = [text.rpartition("\t")[2] for text in messages(source)]
    assert texts == ["loaded", "0", "p0", "1", "p1", "2", "p2"]
    assert_each_once(source)
