"""Outages, end to end: what a source that fails, hangs or throttles does to the function, and to the lines."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_http import End
from model import Environment
from runtimes import typical
from sumo_source import ACCEPT, HANG, Fault, Point, SumoSource

from sumo_internal.net.connection import BODY_MAX_S
from sumo_internal.spool import counters

PROBE = Path(__file__).parent / "functions" / "probe"

needs_small_tmp = pytest.mark.skipif(
    Environment.isolation_available() is not None, reason="a small /tmp of its own needs root"
)


@pytest.fixture
def source() -> Iterator[SumoSource]:
    """A source that the test breaks; nothing that it has to complain about may remain."""
    with SumoSource(connections=3) as source:
        yield source
        assert source.problems == []


def environment(
    source: SumoSource, layer: Path, options: dict[str, Any] | None = None, **variables: str
) -> Environment:
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.url,
        "SUMO_LOG_TYPES": "function",
        "SUMO_FLUSH": "end",
        "SUMO_NUM_RETRIES": "1",
        "SUMO_RETRY_SLEEP_TIME_MS": "10",
        **variables,
    }
    return Environment(typical(), PROBE, layer=layer, variables=variables, **{"timeout_s": 10, **(options or {})})


def log(text: str) -> dict[str, Any]:
    return {"steps": [{"log": text}]}


def texts(source: SumoSource) -> list[str]:
    """The messages of the function's records without the runtime's prefix."""
    return [record["message"].rpartition("\t")[2] for record in source.records if record["type"] == "function"]


def accounts(source: SumoSource) -> list[dict[str, Any]]:
    return [record for record in source.records if record["type"] == "sumo.accounting"]


FAULTS = {
    "429": Fault(429),
    "429 with Retry-After": Fault(429, {"Retry-After": "1"}),
    "500": Fault(500),
    "503": Fault(503),
    "401": Fault(401),
    "403": Fault(403),
    "404": Fault(404),
    "418": Fault(418),
    "reset": Fault(at=Point.AFTER_HEADERS, end=End.RESET),
    "closed in the body": Fault(at=Point.IN_BODY),
    "batch dropped, closed": Fault(at=Point.AFTER_BODY),
    "no answer": HANG,
    "drips": Fault(drip_interval_s=1.0),
    "lies about its length": Fault(claimed_size_bytes=1000, body=b"short"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_outage_costs_the_function_nothing_and_loses_nothing(
    source: SumoSource, layer_folder: Path, name: str
) -> None:
    """While the source fails lines wait in the spool; the caller never waits, and the environment is held once."""
    source.default = FAULTS[name]
    with environment(source, layer_folder) as env:
        env.start()
        invocations = [env.invoke(log(f"{number}")) for number in range(4)]
        source.default = Fault()
        source.script([])
        ended = env.shutdown()

        assert all(invocation.status == "success" for invocation in invocations)
        # The first may be held, up to its bound; the others find that holding is not worth it. But where all is taken,
        # the rest of each answer is waited for, up to its own bound.
        held = [invocation.duration_s - (invocation.response_s or 0) for invocation in invocations]
        assert held[0] < 2.5 and max(held[1:]) < (BODY_MAX_S + 0.5 if name == "lies about its length" else 0.5)
        assert ended.duration_s < 2.0
    assert sorted(set(texts(source))) == ["0", "1", "2", "3", "loaded"]


def test_a_slow_source_is_not_paid_for_by_each_invocation(source: SumoSource, layer_folder: Path) -> None:
    """It answers, and every time a little later than a hold may last: beside invocations each drain comes to its end.

    Guards against such an end's switching holding on again.
    """
    source.default = Fault(delay_s=2.3)
    with environment(source, layer_folder) as env:
        env.start()
        step = {"steps": [{"log": "a line"}, {"sleep": 0.7}]}
        invocations = [env.invoke(step) for _ in range(10)]
        source.default = Fault()
        env.shutdown()

    held_s = [invocation.duration_s - (invocation.response_s or 0) for invocation in invocations]
    assert sum(held > 1.0 for held in held_s) == 2, held_s  # the first, and the sixth
    assert sorted(set(texts(source))) == ["a line", "loaded"]
    assert len({record["id"] for record in source.records if record["type"] == "function"}) == 11


def test_a_source_that_is_fast_again_is_waited_for_again(source: SumoSource, layer_folder: Path) -> None:
    """A drain that is over in time, beside an invocation, is all that it takes."""
    source.default = Fault(delay_s=2.3)
    with environment(source, layer_folder) as env:
        env.start()
        env.invoke(log("slow"))
        source.default = Fault()
        env.invoke({"steps": [{"log": "beside"}, {"sleep": 3.0}]})
        env.invoke({"steps": [{"log": "beside"}, {"sleep": 0.5}]})
        env.invoke(log("held for"))
        arrived = texts(source)
        env.shutdown()

    assert arrived[-1] == "held for"


def test_a_lost_answer_doubles_one_batch_and_the_ids_say_so(source: SumoSource, layer_folder: Path) -> None:
    """The source has kept a batch and its answer is lost: the batch comes again, with the ids it had."""
    source.script([Fault(at=Point.AFTER_KEEPING)])
    with environment(source, layer_folder) as env:
        env.start()
        for number in range(3):
            env.invoke(log(f"{number}"))
        env.shutdown()

    doubled = {identity for identity, count in source.ids().items() if count > 1}
    assert doubled == {record["id"] for record in source.requests[0].records}
    assert max(source.ids().values()) == 2
    (account,) = accounts(source)
    assert account["accounting"]["sentAgain"]["lines"] == len(doubled)


def test_an_outage_is_accounted_for(source: SumoSource, layer_folder: Path) -> None:
    """What was retried rides with a later batch as a record of its own, with the function's keys."""
    source.script([Fault(503)])
    with environment(source, layer_folder) as env:
        env.start()
        env.invoke(log("one"))
        env.invoke(log("two"))
        env.shutdown()

    (account,) = accounts(source)
    retried = account["accounting"]["retried"]
    assert account["accounting"] == {"retried": retried, "lost": {}}
    assert retried == {"lines": 2, "bytes": source.requests[0].body_size_bytes}
    assert account["message"] == "no line lost" and account["logGroup"] == "/aws/lambda/orders"


def test_what_the_source_refuses_for_good_is_said_and_counted(source: SumoSource, layer_folder: Path) -> None:
    """A 400 loses its batch, with one line on stderr and a count at Sumo; nothing behind it waits."""
    source.script([Fault(400)])
    with environment(source, layer_folder) as env:
        env.start()
        env.invoke(log("refused"))
        env.invoke(log("taken"))
        env.shutdown()

        said = [line.text for line in env.cloudwatch if "sumo-internal-extension:" in line.text]
        assert len(said) == 1 and "rejects 2 lines permanently (HTTP 400)" in said[0]
    assert texts(source) == ["taken"]
    (account,) = accounts(source)
    assert account["accounting"]["lost"]["refused"]["lines"] == 2


def test_too_large_a_batch_is_halved_until_it_fits(layer_folder: Path) -> None:
    """A source that takes less than we send gets less: all lines arrive, none twice."""
    with SumoSource(limit_bytes=20_000) as source:
        with environment(source, layer_folder) as env:
            env.start()
            env.invoke({"steps": [{"many": 300}]})
            env.shutdown()

        assert 413 in [request.status for request in source.requests]
        assert sorted(set(texts(source))) == sorted(["loaded", *(f"line {number}" for number in range(300))])
        assert set(source.ids().values()) == {1}
        assert source.problems == []


def test_a_full_spool_refuses_counts_and_goes_on(source: SumoSource, layer_folder: Path) -> None:
    """With nowhere to go lines fill the spool up to its bound; what is refused is counted, said, and reported."""
    source.default = Fault(503)
    with environment(source, layer_folder, SUMO_SPOOL_MAX_MB="3", SUMO_FLUSH="next") as env:
        env.start()
        assert env.invoke({"steps": [{"many": 10_000}]}).status == "success"
        source.default = Fault()
        env.shutdown()

        said = [line.text for line in env.cloudwatch if "lines are lost: the spool is full" in line.text]
        assert said
    (account,) = accounts(source)
    lost = account["accounting"]["lost"]["spoolFull"]["lines"]
    assert lost + len(set(texts(source))) == 10_001


def test_lines_that_go_down_with_the_environment_are_said(source: SumoSource, layer_folder: Path) -> None:
    """Sumo Logic is dead to the end and there is no bucket: one line says how many lines nobody will ever have."""
    source.default = Fault(503)
    with environment(source, layer_folder, SUMO_FLUSH="next") as env:
        env.start()
        env.invoke(log("in vain"))
        env.shutdown()

        said = [line.text for line in env.cloudwatch if "lost with the environment" in line.text]
        assert len(said) == 1 and "2 lines" in said[0]


@pytest.mark.parametrize("fault", [HANG, Fault(drip_interval_s=1.0), Fault(503)], ids=["hangs", "drips", "refuses"])
def test_a_small_function_says_what_is_lost_while_there_is_time(
    source: SumoSource, layer_folder: Path, fault: Fault
) -> None:
    """128 MB, nine thousand lines, and a source that does not answer to the end: counted and said before it is over.

    Guards against a last request that is waited for until there is no CPU time for anything else.
    """
    options: dict[str, Any] = {"memory_mb": 128, "cpu_limited": True, "timeout_s": 60}
    with environment(source, layer_folder, options, SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="60") as env:
        if "cpu" in env.missing:
            pytest.skip(f"no CPU share on this machine: {env.missing['cpu']}")
        env.start()
        source.default = fault
        env.invoke({"steps": [{"many": 9_000}]})
        env.shutdown()

        said = [line.text for line in env.cloudwatch if "lost with the environment" in line.text]
    assert len(said) == 1, said
    assert 9_000 <= int(said[0].split("error: ")[1].split()[0]) <= 9_002


def test_a_small_functions_goodbye_over_tls(layer_folder: Path) -> None:
    """128 MB is 7 % of a core: more than a megabyte unsent at SHUTDOWN is delivered inside the window, over TLS."""
    with SumoSource(tls=True, connections=3) as source:
        options: dict[str, Any] = {"memory_mb": 128, "cpu_limited": True, "timeout_s": 60}
        variables = {"SUMO_FLUSH": "next", "SSL_CERT_FILE": str(source.ca_file)}
        with environment(source, layer_folder, options, **variables) as env:
            if "cpu" in env.missing:
                pytest.skip(f"no CPU share on this machine: {env.missing['cpu']}")
            env.start()
            source.pause_listening()
            env.invoke({"steps": [{"many": 2_400}]})
            source.resume_listening()
            ended = env.shutdown()

            assert ended.ended["sumo-internal-extension"].how == "exit 0"
        assert sum(request.body_size_bytes for request in source.requests) > 1 << 20
        assert len(set(texts(source))) == 2_401 and source.problems == []


def test_a_hundred_thousand_lines_in_one_invocation(source: SumoSource, layer_folder: Path) -> None:
    """Forty megabytes in a few seconds: shipped meanwhile and beside what follows, within the spool's bound, none lost.

    On a busy machine the shipping thread may be far behind, and more than SHUTDOWN's two seconds would be left to ship.
    """
    with environment(source, layer_folder, {"timeout_s": 50}, SUMO_FLUSH="next") as env:
        env.start()
        assert env.invoke({"steps": [{"many": 100_000}]}).status == "success"
        while len(source.records) < 90_000:
            env.invoke({"steps": [{"sleep": 0.5}]})
        env.shutdown()

    assert len(set(texts(source))) == 100_001
    assert all(account["accounting"]["lost"] == {} for account in accounts(source))


def test_an_answer_that_came_during_a_freeze_doubles_nothing(source: SumoSource, layer_folder: Path) -> None:
    """Frozen for seconds with the answer unread, and the source content: thawed, it is read, and nothing sent again."""
    source.default = Fault(delay_s=0.3)
    with environment(source, layer_folder, SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="0.1") as env:
        env.start()
        handle = env.begin_invoke({"steps": [{"log": "before the freeze"}, {"sleep": 1.0}]})
        source.wait_for(lambda source: "before the freeze" in texts(source))  # kept, and not answered yet
        env.freeze()
        source.wait_for(lambda source: "before the freeze" in str(source.requests))  # and now it is
        threading.Event().wait(2.5)
        env.thaw()
        assert handle.finish().status == "success"
        env.shutdown()

    assert sorted(texts(source)) == ["before the freeze", "loaded"]
    assert set(source.ids().values()) == {1}
    assert accounts(source) == []


def test_without_trouble_there_is_no_account_and_shutdown_is_short(source: SumoSource, layer_folder: Path) -> None:
    """Nothing retried, doubled or lost: no record says so; and the extension leaves when nothing is left to ship."""
    with environment(source, layer_folder) as env:
        env.start()
        env.invoke(log("one"))
        shutdown = env.shutdown()

    assert texts(source) == ["loaded", "one"]
    assert accounts(source) == []
    assert all(end.signal is None for name, end in shutdown.ended.items() if name != "runtime")
    assert shutdown.duration_s < 2.0


def test_what_breaks_in_the_shipping_thread_does_not_end_it(source: SumoSource, layer_folder: Path) -> None:
    """Whatever of ours breaks once: it is said, and the next drain brings the lines."""
    with environment(source, layer_folder, SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="0.2") as env:
        env.start()
        env.invoke({"steps": [{"sleep": 0.5}]})
        env.invoke(
            {"steps": [{"spoil": "sumo_internal.spool.reader.SpoolReader.mark"}, {"log": "one"}, {"sleep": 0.5}]}
        )
        env.invoke({"steps": [{"log": "two"}, {"sleep": 0.5}]})
        arrived = texts(source)
        said = [line.text for line in env.cloudwatch if "sumo-internal-extension:" in line.text]
        env.shutdown()

    assert arrived == ["loaded", "one", "two"]
    assert len(said) == 1 and "shipping failed: RuntimeError: spoiled" in said[0]


def fill(folder: Path) -> None:
    """Leave not a byte in the folder's file system."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@needs_small_tmp
def test_what_was_refused_before_a_kill_is_counted_on_a_full_disk(source: SumoSource, layer_folder: Path) -> None:
    """The drainer's counts have their file when the init is over. Without one they die with the process."""
    source.default = Fault(400)
    options = {"isolated": True, "tmp_size_mb": 4}
    with environment(source, layer_folder, options, SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="0.1") as env:
        env.start()
        fill(env.tmp)
        handle = env.begin_invoke({"steps": [{"sleep": 60}]})
        env.wait_for_line("Sumo Logic rejects 1 lines permanently")
        env.kill_runtime(signal.SIGKILL)
        handle.finish()
        env.shutdown()
        counts = counters.totals(str(env.tmp / "sumo-internal"))

    # An account of it is refused as well, by whichever process gets to that, and counted where it has a file; and a
    # line comes twice where the kill came between counting and acknowledging.
    records = [record for request in source.requests for record in request.records]
    refused = {record["id"] for record in records if record["type"] == "function"}
    assert refused and len(refused) <= counts[counters.REFUSED][0] <= len(records)


@needs_small_tmp
def test_what_is_refused_at_shutdown_is_counted_on_a_full_disk(source: SumoSource, layer_folder: Path) -> None:
    """The extension's counts have their place before there are any: at SHUTDOWN the function may have filled /tmp."""
    with environment(source, layer_folder, {"isolated": True, "tmp_size_mb": 4}, SUMO_FLUSH="next") as env:
        env.start()
        env.invoke(log("the last"))
        fill(env.tmp)
        source.default = Fault(400)
        env.shutdown()
        counts = counters.totals(str(env.tmp / "sumo-internal"))

    # What the sidecar was sending when it was ended comes a second time from the extension, which counts it.
    refused = {record["id"] for request in source.requests if request.status == 400 for record in request.records}
    assert refused and counts[counters.REFUSED][0] == len(refused)


def test_lines_that_nobody_keeps_hold_their_invocation(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """No file can be made, and there is no extension: a kill would lose them, so SUMO_FLUSH=next does not wait."""
    layer = tmp_path / "layer"
    shutil.copytree(layer_folder, layer, symlinks=True)
    shutil.rmtree(layer / "extensions")
    nowhere = "/dev/null/spool"
    with environment(source, layer, SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="60", SUMO_SPOOL_DIR=nowhere) as env:
        env.start()
        for number in range(3):
            assert env.invoke(log(f"<{number}>")).status == "success"
            source.wait_for(lambda source: f"<{number}>" in texts(source))  # noqa: B023  # it is called at once
        said = [line.text for line in env.cloudwatch if "sumo-internal" in line.text]
    assert sum("no extension keeps that open" in text for text in said) == 1
    assert [text for text in texts(source) if text[:1] == "<"] == ["<0>", "<1>", "<2>"]


@needs_small_tmp
def test_children_of_a_full_disk_are_kept_by_an_extension_that_does_not_run(
    source: SumoSource, layer_folder: Path
) -> None:
    """A busy machine lets the extension run seldom, here not at all: a timeout's SIGKILL still loses no child's line.

    The extension had the memory of ten children, and of as many more as it looked for in time.
    """
    source.default = Fault(503)
    options = {"isolated": True, "tmp_size_mb": 4}
    with environment(source, layer_folder, options, SUMO_FLUSH="next") as env:
        env.start()
        fill(env.tmp)
        extension = _extension(env)
        os.kill(extension, signal.SIGSTOP)
        children = [{"fork": f"<{number}>"} for number in range(60)]
        handle = env.begin_invoke({"steps": [*children, {"log": "forked"}, {"sleep": 60}]})
        env.wait_for_line("forked")
        env.kill_runtime(signal.SIGKILL)
        source.default = ACCEPT
        os.kill(extension, signal.SIGCONT)
        handle.finish()
        env.shutdown()

    assert {f"<{number}>" for number in range(60)} <= set(texts(source))


def test_what_a_killed_generation_left_outlives_a_function_that_empties_tmp(
    source: SumoSource, layer_folder: Path
) -> None:
    """An outage, a kill, and a new generation whose first invocation empties /tmp: its lines are nobody's but ours."""
    source.default = Fault(503)
    with environment(source, layer_folder, SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="60") as env:
        env.start()
        env.invoke(log("before"))
        handle = env.begin_invoke({"steps": [{"log": "killed"}, {"log": "(committed)"}, {"sleep": 60}]})
        env.wait_for_line("(committed)")
        env.kill_runtime(signal.SIGKILL)
        handle.finish()
        spool = str(env.tmp / "sumo-internal")
        assert env.invoke({"steps": [{"remove_tmp": spool}, {"log": "after"}]}).status == "success"
        handle = env.begin_invoke({"steps": [{"log": "killed again"}, {"log": "(too)"}, {"sleep": 60}]})
        env.wait_for_line("(too)")
        env.kill_runtime(signal.SIGKILL)
        source.default = ACCEPT
        handle.finish()
        env.shutdown()

    assert {"before", "killed", "after", "killed again"} <= set(texts(source))


def _extension(env: Environment) -> int:
    """The number of the extension's process."""
    others = [pid for pid in env.pids() if pid != env.runtime_pid]
    (found,) = [pid for pid in others if b"sumo-internal-extension" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found
