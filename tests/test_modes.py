"""What Lambda has besides functions on demand: snapshots and Managed Instances."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faulty_http import End
from model import Environment, generation, life_cycle
from runtimes import Runtime, runtimes
from scripted_http import ScriptedServer, answer
from sumo_source import ACCEPT, HANG, Fault, SumoSource
from test_main_path import said

from sumo_internal.destinations.endpoint import CIPHERTEXT_MIN_BYTES
from sumo_internal.shipping.shipper import SNAPSHOT_MAX_S

FUNCTIONS = Path(__file__).parent / "functions"
SIDECAR = "sumo-internal-sidecar"

# Where the machine has no such Python, pytest skips what is parametrized with it, and says that there was none.
NEWEST = [runtime for runtime in runtimes([4]) if runtime.version >= (3, 12)]

with_each = pytest.mark.parametrize("runtime", NEWEST, ids=lambda runtime: runtime.id)


def environment(
    runtime: Runtime, source: SumoSource, layer: Path, function: str = "dropin", **options: Any
) -> Environment:
    """An environment of the function with a SumoHandler, without the wrapper."""
    variables = {"SUMO_HTTP_ENDPOINT": source.url, "TELEMETRY_TIMEOUT_MS": "25", **options.pop("variables", {})}
    return Environment(runtime, FUNCTIONS / function, layer=layer, variables=variables, **options)


@with_each
def test_a_snapshot_is_taken_with_a_handler(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """Lambda takes it when every extension has asked for Next: one that asks after the restore is never restored."""
    with environment(runtime, source, layer_folder, snap_start=True) as env:
        assert env.start().error is None
        invocation = env.invoke({"number": 1})
        env.shutdown()

        asked = [(event.kind, event.who) for event in env.timeline]
        assert asked.index(("next", SIDECAR)) < asked.index(("snapshot", "platform")) < asked.index(("next", "runtime"))
        assert said(env) == []
    assert invocation.status == "success"
    assert set(source.ids().values()) == {1}
    assert invocation.request_id in {record.get("requestID") for record in source.records}


@with_each
def test_a_worker_knows_its_request(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """Managed Instances: the runtime is a process per request, with another client of the same base.

    Nothing is registered there: Lambda has no INVOKE for an extension, and would refuse it.
    """
    with environment(runtime, source, layer_folder, variables={"AWS_LAMBDA_MAX_CONCURRENCY": "1"}) as env:
        assert env.start().error is None
        invocations = [env.invoke({"number": number}) for number in range(2)]
        env.shutdown()

        registered = [event.who for event in env.timeline if event.kind == "register"]
        assert SIDECAR not in registered
        assert [line for line in said(env) if "does not register" in line] == []
    found = {record.get("requestID") for record in source.records if "number" in record}
    assert {invocation.request_id for invocation in invocations} == found


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
@pytest.mark.parametrize("timeout_ms", ["25", "1000"])
def test_a_copy_begins_again(runtime: Runtime, source: SumoSource, layer_folder: Path, timeout_ms: str) -> None:
    """Without the wrapper: what the copy tells has ids and a log stream of its own; the init's are those of all copies.

    Different lines with the same id would be deleted by ``dedup by id``.
    """
    variables = {"TELEMETRY_TIMEOUT_MS": timeout_ms}
    with environment(runtime, source, layer_folder, "probe", snap_start=True, variables=variables) as env:
        assert env.start().error is None
        invocations = [env.invoke({"steps": [{"log": "a line"}, {"sleep": 0.1}]}) for _ in range(2)]
        env.shutdown()
    assert set(source.ids().values()) == {1}
    init = [record for record in source.records if record["type"] == "platform.initStart" or "loaded" in str(record)]
    copy = [record for record in source.records if record.get("requestID") or "restore" in record["type"]]
    assert len(init) == 2 and {record["requestID"] for record in copy if "requestID" in record} == {
        invocation.request_id for invocation in invocations
    }
    for records in (init, copy):
        assert len({record["id"].rpartition("-")[0] for record in records}) == 1
        assert len({record["logStream"] for record in records}) == 1
    assert init[0]["id"].rpartition("-")[0] != copy[0]["id"].rpartition("-")[0]
    assert init[0]["logStream"] != copy[0]["logStream"]


@with_each
@pytest.mark.parametrize("raises", ["", "before", "after"])
def test_hooks_are_heard_and_their_outcome_is_their_own(
    runtime: Runtime, source: SumoSource, layer_folder: Path, raises: str
) -> None:
    """What the function's hooks write around the snapshot is shipped, and what they raise ends the environment.

    A hook before that raises comes before ours, which then finds nothing; a hook behind that raises, after it.
    """
    outcomes = []
    for variables in ({}, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}):
        variables["RAISES"] = raises
        with environment(runtime, source, layer_folder, "snapshot", snap_start=True, variables=variables) as env:
            outcomes.append(env.start().error)
            if not raises:
                assert env.invoke({"steps": [("log", "a line")]}).status == "success"
            env.shutdown()
            own = [line.text for line in env.cloudwatch if "hook" in line.text or "error_" in line.text]
        if "AWS_LAMBDA_EXEC_WRAPPER" not in variables:
            expected = own
            source._records.clear()
    assert own == expected and outcomes[0] == outcomes[1]
    assert (outcomes[0] is None) is (raises == "")
    said_by_hooks = [str(record["message"]) for record in source.records if record["type"] == "function"]
    heard = [text for text in ("before", "after", "of the hook") if any(text in each for each in said_by_hooks)]
    wanted = {"": ["before", "after"], "before": ["before", "of the hook"], "after": ["before", "after", "of the hook"]}
    assert heard == wanted[raises]
    assert set(source.ids().values()) == {1}


@with_each
def test_the_wrapper_is_in_the_process_of_a_copy(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """AWS's order: registered, everything asked for Next, the snapshot, and only then the runtime's first Next.

    Lines of the init are delivered before; nothing of the layer's is said, and levels and fields are there.
    """
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
    with environment(runtime, source, layer_folder, "snapshot", snap_start=True, variables=variables) as env:
        assert env.start().error is None
        assert any("loaded" in str(record.get("message")) for record in source.records)
        invocation = env.invoke({"steps": [("log", "a line")]})
        env.shutdown()

        asked = [(event.kind, event.who) for event in env.timeline]
        for who in (SIDECAR, "sumo-internal-extension"):
            assert asked.index(("next", who)) < asked.index(("snapshot", "platform"))
        assert asked.index(("snapshot", "platform")) < asked.index(("next", "runtime"))
        assert said(env) == []
    (line,) = [record for record in source.records if "a line" in str(record.get("message"))]
    assert line["requestID"] == invocation.request_id and line["level"] == "INFO" and line["logger"] == "orders"
    assert set(source.ids().values()) == {1}


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
def test_a_copy_is_whose_it_was_at_the_start(runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """What the function's init makes of the variables changes neither a copy's names nor whom the copy tells them."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "RENAMES": "1"}
    with environment(runtime, source, layer_folder, "snapshot", snap_start=True, variables=variables) as env:
        assert env.start().error is None
        env.invoke({"steps": [("log", "a line")]})
        env.shutdown()
    assert {request.headers["x-sumo-host"] for request in source.requests if request.headers} == {"/aws/lambda/orders"}
    assert {record["logGroup"] for record in source.records} == {"/aws/lambda/orders"}
    of_copy = [record for record in source.records if "a line" in str(record) or record["type"] == "platform.start"]
    assert len(of_copy) == 2 and len({record["logStream"] for record in of_copy}) == 1


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
def test_an_outage_at_the_init_sends_no_line_of_a_copy_to_cloudwatch(
    runtime: Runtime, source: SumoSource, layer_folder: Path
) -> None:
    """SUMO_CLOUDWATCH: what was wrong when the version was published may be long over; each copy finds out for itself.

    The trap: the note of the outage is in /tmp, which is a part of the snapshot.
    """
    source.default = Fault(status=401)

    def at_snapshot() -> None:
        source.default = ACCEPT

    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_CLOUDWATCH": "none"}
    options: dict[str, Any] = {"snap_start": True, "at_snapshot": at_snapshot, "variables": variables}
    with environment(runtime, source, layer_folder, "snapshot", **options) as env:
        assert env.start().error is None
        env.invoke({"steps": [("log", "a line")]})
        env.shutdown()
        assert [line.text for line in env.cloudwatch if "a line" in line.text] == []
    assert any("a line" in str(record.get("message")) for record in source.records)


BUCKET = {
    "SUMO_ENABLE_FAILOVER": "true",
    "SUMO_S3_BUCKET_NAME": "failover",
    "SUMO_S3_BUCKET_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret-of-an-example",
}
SECRET = {
    "SUMO_HTTP_ENDPOINT": "arn:aws:secretsmanager:us-east-1:123456789012:secret:sumo-AbCdEf",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret-of-an-example",
}
OUTAGES: dict[str, tuple[Fault, dict[str, str]]] = {
    "hangs": (HANG, {}),
    "refuses": (Fault(status=503), {"SUMO_NUM_RETRIES": "9"}),
    "wants time": (Fault(status=429, headers={"Retry-After": "60"}), {"SUMO_NUM_RETRIES": "9"}),
    "drips": (Fault(drip_interval_s=1.0), {}),
    "refuses, and the bucket hangs": (Fault(status=503), {**BUCKET, "SUMO_NUM_RETRIES": "0"}),
    "has its address in a secret that nobody hands out": (ACCEPT, SECRET),
}
"""What is wrong with Sumo Logic, or on the way there, when a version is published."""
INIT_SLACK_S = 2.0
"""By how much two inits may differ on a machine with other work, shipping apart."""


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
@pytest.mark.parametrize("wrapper", ["/opt/sumo_wrapper", None], ids=["wrapped", "dropin"])
@pytest.mark.parametrize(("fault", "variables"), OUTAGES.values(), ids=OUTAGES)
def test_an_outage_prolongs_publishing_by_a_bound(
    runtime: Runtime,
    source: SumoSource,
    layer_folder: Path,
    fault: Fault,
    variables: dict[str, str],
    wrapper: str | None,
) -> None:
    """Whatever the source, the bucket or the keeper of a secret does, and however long their own time limits are."""
    took_s = []
    function = "snapshot" if wrapper else "dropin"
    with ScriptedServer(End.HANG) as silent:
        for source.default, more in ((ACCEPT, {}), (fault, {**variables, "AWS_ENDPOINT_URL": silent.url})):
            settings = {"INIT_LINE": "there is something to ship", **more}
            if wrapper:
                settings["AWS_LAMBDA_EXEC_WRAPPER"] = wrapper
            with environment(runtime, source, layer_folder, function, snap_start=True, variables=settings) as env:
                init = env.start()
                assert init.error is None
                took_s.append(init.duration_s)
        if more.get("SUMO_HTTP_ENDPOINT") or "SUMO_S3_BUCKET_NAME" in more:
            assert silent.requests, "what hangs was asked"
    usual_s, in_outage_s = took_s
    assert SNAPSHOT_MAX_S == 5.0, "what the pages say"
    assert in_outage_s - usual_s <= SNAPSHOT_MAX_S + INIT_SLACK_S


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
def test_a_restore_has_a_time_of_its_own(
    runtime: Runtime, source: SumoSource, layer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago the init was: the model's bound on it is no bound on the copies."""
    monkeypatch.setattr(life_cycle, "SNAPSHOT_INIT_BOUND_S", 4.0)
    options: dict[str, Any] = {"snap_start": True, "at_snapshot": lambda: time.sleep(4.1)}
    with environment(runtime, source, layer_folder, **options) as env:
        assert env.start().error is None
        assert env.invoke({"number": 1}).status == "success"
        env.shutdown()


DAY_S = 86_400
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*kernels)(clockid_t, struct timespec *);
    if (!kernels) kernels = dlsym(RTLD_NEXT, "clock_gettime");
    int result = kernels(clock, now), file = clock == CLOCK_REALTIME ? open(getenv("CLOCK_AHEAD"), O_RDONLY) : -1;
    char seconds[16] = "";
    if (file >= 0) {
        if (read(file, seconds, sizeof seconds - 1) > 0) now->tv_sec += atol(seconds);
        close(file);
    }
    return result;
}
"""
"""The time of day as a copy finds it: so many seconds ahead as a file says."""


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, str]]:
    """The file with the seconds by which the environment's clock is ahead, Lambda's with it, and its variables."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler, and no time of day can be put in a process's way without one")
    (tmp_path / "clock.c").write_text(CLOCK)
    build = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "clock.so"), str(tmp_path / "clock.c"), "-ldl"]
    subprocess.run(build, check=True)
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    shifted = SimpleNamespace(**{**vars(time), "time": lambda: time.time() + int(ahead.read_text())})
    for module in (life_cycle, generation):
        monkeypatch.setattr(module, "time", shifted)  # the deadlines of events are by the same clock
    return ahead, {"LD_PRELOAD": str(tmp_path / "clock.so"), "CLOCK_AHEAD": str(ahead)}


@pytest.mark.parametrize("runtime", NEWEST[:1], ids=lambda runtime: runtime.id)
def test_a_copy_is_restored_a_day_later(
    runtime: Runtime, source: SumoSource, layer_folder: Path, clock: tuple[Path, dict[str, str]]
) -> None:
    """An address under KMS is asked for with the day's credentials, and what was down a day ago is not left alone.

    The traps: a secret or a token that is kept by the clock of the snapshot, a breaker or a bound that counts the day.
    """
    ahead, shifted = clock
    now_s = int(time.time())
    with ScriptedServer(answer(200, {"Plaintext": base64.b64encode(source.url.encode()).decode()})) as kms:
        with ScriptedServer() as container:
            for number in range(2):
                until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s + 3600 + number * DAY_S))
                keys = {"AccessKeyId": f"AKID{number}", "SecretAccessKey": "key", "Token": f"token {number}"}
                container.default = answer(200, {**keys, "Expiration": until})
                if number == 0:
                    container.script(container.default)
            variables = {
                "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
                "SUMO_HTTP_ENDPOINT": base64.b64encode(bytes(CIPHERTEXT_MIN_BYTES)).decode(),
                "KMS_KEY_ID": "arn:aws:kms:us-east-1:123456789012:key/k",
                "SUMO_LOG_TYPES": "function",
                "AWS_ENDPOINT_URL_KMS": kms.url,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of all copies",
                **shifted,
            }
            source.default = Fault(status=503)

            def at_snapshot() -> None:
                ahead.write_text(str(DAY_S))
                source.default = ACCEPT

            options: dict[str, Any] = {"snap_start": True, "at_snapshot": at_snapshot, "variables": variables}
            with environment(runtime, source, layer_folder, "snapshot", **options) as env:
                assert env.start().error is None
                invocation = env.invoke({"steps": [("log", "a line")]})
                assert "a line" in str(source.records)  # while the copy lives
                env.shutdown()
                assert [line for line in said(env) if "503" not in line] == []
    assert invocation.status == "success"
    asked = [(each.headers["x-amz-security-token"], each.headers["x-amz-date"][:8]) for each in kms.requests]
    days = [time.strftime("%Y%m%d", time.gmtime(now_s + number * DAY_S)) for number in range(2)]
    assert asked[:2] == [("token 0", days[0]), ("token 1", days[1])] and set(asked) == set(asked[:2])
    written_s = {
        text: datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp() - now_s
        for record in source.records
        for text in ("loaded", "a line")
        if text in str(record["message"])
    }
    assert written_s["loaded"] < DAY_S / 2 < DAY_S <= written_s["a line"] < 1.5 * DAY_S
    assert set(source.ids().values()) <= {1, 2}
