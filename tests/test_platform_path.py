"""Platform events, end to end: a model of Lambda and its Telemetry API, the built layer, a real loopback source."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sources_table
from model import Environment, Invocation
from runtimes import ROOT, typical
from sumo_source import HANG, Fault, SumoSource
from test_main_path import said

from sumo_internal.extension.lifecycle import NEWS_WAIT_S
from sumo_internal.lambda_apis.telemetry_api import wanted_port

FUNCTIONS = Path(__file__).parent / "functions"
PROBE = FUNCTIONS / "probe"
EXTENSION = "sumo-internal-extension"
AT_ONCE = {"TELEMETRY_TIMEOUT_MS": "25"}
"""The least that Lambda keeps events together; with its default of a second short tests would see one delivery."""


def environment(source: SumoSource, layer: Path, *, wrapper: bool = True, **options: Any) -> Environment:
    """An environment of the probe, with the wrapper unless said otherwise."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"} if wrapper else {}
    variables |= {"SUMO_HTTP_ENDPOINT": source.url, **options.pop("variables", {})}
    return Environment(typical(), options.pop("task_root", PROBE), layer=layer, variables=variables, **options)


def steps(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"steps": list(steps)}


def of_type(source: SumoSource, kind: str) -> list[dict[str, Any]]:
    return [record for record in source.records if record["type"] == kind]


def texts(source: SumoSource) -> list[str]:
    return [str(record["message"]) for record in of_type(source, "function")]


def numbers(line: str) -> list[tuple[str, float | str]]:
    """The parts of a REPORT line, by name: CloudWatch writes 12.00 where the Go extension writes 12."""
    found = [part.partition(": ") for part in line.split("\t") if part]
    return [
        (name, float(value.split()[0]) if value.strip().endswith(("ms", "MB")) else value) for name, _, value in found
    ]


def assert_each_once(source: SumoSource) -> None:
    assert {identity: count for identity, count in source.ids().items() if count != 1} == {}


def test_the_events_of_three_invocations_arrive_once(source: SumoSource, layer_folder: Path) -> None:
    """Each START, runtimeDone and REPORT is at Sumo once, with the metadata of the function's own lines."""
    with environment(source, layer_folder) as env:
        assert env.start().error is None
        ids = [env.invoke(steps({"log": f"{number}"}), tenant_id="t1").request_id for number in range(3)]
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert said(env) == []
        reports = [numbers(line.text) for line in env.cloudwatch if line.text.startswith("REPORT")]
    assert_each_once(source)
    for kind in ("platform.start", "platform.runtimeDone", "platform.report"):
        assert [record["requestID"] for record in of_type(source, kind)] == ids
    for kind in ("platform.initStart", "platform.initRuntimeDone", "platform.initReport"):
        assert len(of_type(source, kind)) == 1
    for record in source.records:
        assert record["logGroup"] == "/aws/lambda/orders" and record["logStream"] == env.log_stream
        assert record["IsColdStart"] is (record.get("requestID") in (None, ids[0]))
        if record["type"].startswith("platform."):
            assert "record" in record and record["id"].count("-") == 2
    assert [record["tenantId"] for record in of_type(source, "platform.report")] == ["t1"] * 3
    assert [numbers(record["message"]) for record in of_type(source, "platform.report")] == reports
    assert [text.rpartition("\t")[2] for text in texts(source)] == ["loaded", "0", "1", "2"]
    assert {request.headers["x-sumo-name"] for request in source.requests} == {env.log_stream}


GAP_S = 0.05
"""Longer than what Lambda keeps events together, which counts while the environment is frozen, too."""


def run(env: Environment, *events: dict[str, Any]) -> list[Invocation]:
    """Start the environment and invoke it with each event, a gap after each."""
    assert env.start().error is None
    invocations = []
    for event in events:
        invocations.append(env.invoke(event))
        time.sleep(GAP_S)
    return invocations


def reported(source: SumoSource) -> list[str]:
    return [record["requestID"] for record in of_type(source, "platform.report")]


@pytest.mark.parametrize("strategy", ["end", "next", "auto"])
def test_a_report_is_there_when_the_next_invocation_ends(source: SumoSource, layer_folder: Path, strategy: str) -> None:
    """REPORT of N comes into being after the freeze: it is at Sumo by the end of N+1, the last one by SHUTDOWN's."""
    with environment(source, layer_folder, variables={**AT_ONCE, "SUMO_FLUSH": strategy}) as env:
        (first,) = run(env, steps({"log": "first"}))
        assert reported(source) == []
        second = env.invoke(steps({"sleep": 0.5}))
        assert reported(source) == [first.request_id]
        env.shutdown()
    assert reported(source) == [first.request_id, second.request_id]
    assert_each_once(source)


def test_a_function_that_logs_nothing_is_not_held_for_nothing(source: SumoSource, layer_folder: Path) -> None:
    """With SUMO_FLUSH=next no invocation is prolonged, whatever Lambda tells the extension meanwhile."""
    source.default = Fault(delay_s=0.5)
    with environment(source, layer_folder, variables={**AT_ONCE, "SUMO_FLUSH": "next"}) as env:
        invocations = run(env, *[steps({"sleep": 0.15})] * 4)
        env.shutdown()
    assert max(invocation.duration_s for invocation in invocations) < 0.5
    # A request that is under way when the environment freezes is sent again.
    assert list(dict.fromkeys(reported(source))) == [invocation.request_id for invocation in invocations]


def test_events_that_come_before_the_function_has_begun_wait_for_its_stream(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """A slow start of the interpreter must not cost the events the log stream that they are looked for by."""
    slow = tmp_path / "opt"
    shutil.copytree(layer_folder, slow)
    wrapper = slow / "sumo_wrapper"
    wrapper.write_text(wrapper.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nsleep 0.2\n", 1))
    with environment(source, slow, variables=AT_ONCE) as env:
        run(env, steps({"log": "a line"}))
        env.shutdown()
    assert {record["logStream"] for record in source.records} == {env.log_stream}


def test_a_silent_function_is_not_held_for_reports(source: SumoSource, layer_folder: Path) -> None:
    """With SUMO_FLUSH=end, too: without lines of its own, what Lambda tells leaves while the function runs."""
    source.default = Fault(delay_s=0.3)
    with environment(source, layer_folder, variables={**AT_ONCE, "SUMO_FLUSH": "end"}) as env:
        invocations = run(env, *[steps({"sleep": 0.8})] * 4)
        env.shutdown()
    held_s = [invocation.duration_s - (invocation.response_s or 0) for invocation in invocations]
    assert held_s[0] > 0.3 > max(held_s[2:])  # "loaded"; and the second one could not know yet
    assert reported(source) == [invocation.request_id for invocation in invocations]
    assert_each_once(source)


def test_one_request_carries_lines_and_events(source: SumoSource, layer_folder: Path) -> None:
    """The extension's lines travel under the function's headers, so that they share its requests."""
    with environment(source, layer_folder, variables={**AT_ONCE, "SUMO_FLUSH": "end"}) as env:
        run(env, steps({"log": "one"}), steps({"sleep": 0.3}, {"log": "two"}))
        env.shutdown()
    kinds = [{record["type"].partition(".")[0] for record in request.records} for request in source.requests]
    assert {"function", "platform"} in kinds


@pytest.mark.parametrize("wrapper", [True, False])
def test_without_a_telemetry_api_the_rest_works(source: SumoSource, layer_folder: Path, wrapper: bool) -> None:
    """The emulator's refusal is no reason to say anything; that no line of the function's can be had is."""
    with environment(source, layer_folder, wrapper=wrapper, telemetry_supported=False) as env:
        run(env, steps({"log": "a line"}))
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert said(env) == []
    assert [text.rpartition("\t")[2] for text in texts(source)] == (["loaded", "a line"] if wrapper else [])


@pytest.mark.parametrize("types", ["platform,function", "function"])
@pytest.mark.parametrize("wrapper", [True, False])
def test_a_timeout_is_one_record(source: SumoSource, layer_folder: Path, types: str, wrapper: bool) -> None:
    """Told by status, REPORT and SHUTDOWN, in two generations: CloudWatch's line, once for each timeout."""
    variables = {**AT_ONCE, "SUMO_LOG_TYPES": types}
    with environment(source, layer_folder, wrapper=wrapper, timeout_s=2.0, variables=variables) as env:
        invocations = run(env, *[steps({"log": "before"}, {"sleep": 9}), steps({"log": "after"})] * 2)
        env.shutdown()

        assert [invocation.status for invocation in invocations] == ["timeout", "success"] * 2
        expected = [line.text for line in env.cloudwatch if "Task timed out" in line.text]
    got = [text for text in texts(source) if "Task timed out" in text]
    is_told = not wrapper or "platform" in types
    length = r"2\.00 seconds" if is_told else "the function's timeout"
    for line, invocation in zip(got, invocations[::2], strict=True):
        assert re.fullmatch(rf"\S+Z {invocation.request_id} Task timed out after {length}", line)
    if is_told:
        assert [line.split()[1:] for line in got] == [line.split()[1:] for line in expected]
    assert_each_once(source)


def test_platform_alone(source: SumoSource, layer_folder: Path) -> None:
    """SUMO_LOG_TYPES=platform: nothing of ours is in the function's process, and the extension ships what it gets."""
    variables = {**AT_ONCE, "SUMO_LOG_TYPES": "platform"}
    with environment(source, layer_folder, variables=variables) as env:
        first, _ = run(env, steps({"log": "not wanted"}), steps({"surroundings": None}, {"sleep": 0.3}))
        source.wait_for(lambda source: reported(source) == [first.request_id], 3)
        assert [event.who for event in env.timeline if event.kind == "register"] == [EXTENSION]
        env.shutdown()
    assert texts(source) == [] and len(reported(source)) == 2
    assert_each_once(source)


def test_function_alone(source: SumoSource, layer_folder: Path) -> None:
    """SUMO_LOG_TYPES=function with the wrapper needs no Telemetry API, and asks for none."""
    with environment(source, layer_folder, variables={"SUMO_LOG_TYPES": "function"}) as env:
        run(env, steps({"log": "a line"}))
        env.shutdown()

        assert [event for event in env.timeline if event.kind == "subscribe"] == []
    assert {record["type"] for record in source.records} == {"function"}


def test_lines_of_extensions(source: SumoSource, layer_folder: Path) -> None:
    """SUMO_LOG_TYPES=extension: what extensions say, ours above all, has a type of its own."""
    variables = {**AT_ONCE, "SUMO_LOG_TYPES": "extension", "SUMO_MAX_DATAQUEUE_LENGTH": "5"}
    with environment(source, layer_folder, variables=variables) as env:
        run(env, steps({"log": "a line"}))
        env.shutdown()
        lines = [line.text for line in env.cloudwatch if line.source == f"extension:{EXTENSION}"]
    assert [record["record"] for record in of_type(source, "extension")] == lines
    assert len(lines) == 1 and "SUMO_MAX_DATAQUEUE_LENGTH has no meaning here" in lines[0]


@pytest.mark.parametrize("strategy", ["auto", "end"])
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_without_the_wrapper_lines_come_from_the_telemetry_api(
    source: SumoSource, layer_folder: Path, log_format: str, strategy: str
) -> None:
    """A user of the Go layer who swaps layers loses nothing: what CloudWatch got is at Sumo once, with request ids."""
    variables = {**AT_ONCE, "SUMO_FLUSH": strategy}
    with environment(source, layer_folder, wrapper=False, log_format=log_format, variables=variables) as env:
        lines = ({"log": "log"}, {"print": "print"}, {"stderr": "stderr"}, {"raw": "raw\n"}, {"json": {"order": 7}})
        invocations = run(env, steps(*lines), steps(*lines, {"fail": "no such item"}), steps(*lines))
        if strategy == "end":
            assert sum("stderr" in text for text in texts(source)) == 3  # before the freeze
        env.shutdown()

        expected = [line.text for line in env.cloudwatch if line.source == "function" and line.text.strip()]
        costs = [line for line in said(env) if "are taken from Lambda's Telemetry API" in line]
    assert_each_once(source)
    assert len(costs) == 1 and costs[0].startswith("sumo-internal-extension: info: ")
    messages = [record["message"] for record in of_type(source, "function")]
    if log_format == "Text":
        as_text = Counter(json.dumps(text) if isinstance(text, dict) else text.strip() for text in messages)
        assert as_text == Counter(text.strip() for text in expected)
    else:
        assert len(messages) == len(expected) and all(isinstance(message, dict) for message in messages)
    ids = [invocation.request_id for invocation in invocations]
    assert set(ids) <= {record.get("requestID") for record in of_type(source, "function")} <= {None, *ids}
    assert reported(source) == ids


def test_without_the_wrapper_a_burst_arrives(source: SumoSource, layer_folder: Path) -> None:
    """Lines of many deliveries, each once, in batches."""
    with environment(source, layer_folder, wrapper=False, timeout_s=30) as env:
        assert env.start().error is None
        assert env.invoke(steps({"many": 5_000})).status == "success"
        env.shutdown()
    numbers = [int(text.rpartition(" ")[2]) for text in texts(source) if "\tline " in text]
    assert numbers == list(range(5_000))
    assert_each_once(source)


def test_without_the_wrapper_a_hanging_source_holds_nobody(layer_folder: Path) -> None:
    """The extension's own sending is bounded, beside the function and at SHUTDOWN, and it ends in time.

    At SHUTDOWN another thread sends over another connection: the one that ships beside the function may be stuck.
    """
    with SumoSource(connections=2) as source:
        source.default = HANG
        with environment(source, layer_folder, wrapper=False, variables=AT_ONCE) as env:
            invocations = run(env, steps({"log": "one"}), steps({"log": "two"}, {"sleep": 0.2}))
            assert all(invocation.duration_s < 1 for invocation in invocations)
            ended = env.shutdown()
            assert ended.ended[EXTENSION].how == "exit 0"
        assert source.problems == []


def test_an_acknowledgement_waits_for_no_source(source: SumoSource, layer_folder: Path) -> None:
    """With a source of a second, deliveries are taken as they come: Lambda drops what it cannot deliver."""
    source.default = Fault(delay_s=1.0)
    with environment(source, layer_folder, wrapper=False, timeout_s=30, variables=AT_ONCE) as env:
        run(env, *[steps({"many": 20}, {"sleep": 0.4}, {"many": 20}, {"sleep": 0.4})] * 3)
        source.default = Fault()
        env.shutdown()

        assert [event for event in env.timeline if event.kind == "telemetry-dropped"] == []
        printed = [line.text.rpartition("\t")[2].strip() for line in env.cloudwatch if "\tline " in line.text]
    arrived = {record["id"]: record["message"] for record in of_type(source, "function")}
    assert Counter(text.rpartition("\t")[2] for text in arrived.values() if "\tline " in text) == Counter(printed)


def test_a_line_that_cannot_be_decoded_costs_no_other(source: SumoSource, layer_folder: Path) -> None:
    """The JSON log format hands over what the function prints: digits and depths that Python's JSON refuses."""
    odd = ['{"n":' + "7" * 4_301 + "}", '{"n":' + "[" * 3_000 + "]" * 3_000 + "}"]
    with environment(source, layer_folder, wrapper=False, log_format="JSON", variables=AT_ONCE) as env:
        run(env, steps({"print": "before"}, *({"print": text} for text in odd), {"print": "after"}))
        env.shutdown()
    messages = [json.dumps(record["message"]) for record in of_type(source, "function")]
    assert [sum(text in message for message in messages) for text in ("before", "777777", "[[[[[[[[", "after")] == [
        1
    ] * 4


def test_nobody_else_forges_an_event(source: SumoSource, layer_folder: Path) -> None:
    """Whoever knows the port, which is no secret, is refused: a REPORT that is not Lambda's is in no query."""
    with environment(source, layer_folder, variables=AT_ONCE) as env:
        (first,) = run(env, steps({"log": "one"}))
        env.thaw()
        forged = json.dumps([{"time": "", "type": "platform.report", "record": {"requestId": "forged"}}]).encode()
        statuses = []
        for path in ("/", "/1/", f"/1/{'0' * 32}"):
            listener = http.client.HTTPConnection("127.0.0.1", wanted_port(env.api_address), timeout=5)
            listener.request("POST", path, forged)
            statuses.append(listener.getresponse().status)
            listener.close()
        env.shutdown()
        assert len([line for line in said(env) if "not the Telemetry API's" in line]) == 1
    assert statuses == [403] * 3
    assert reported(source) == [first.request_id]


@pytest.mark.parametrize("newest", [501, 9_999], ids=["as it is", "a bash without SRANDOM"])
def test_the_secret_is_the_kernels_and_costs_no_process(newest: int) -> None:
    """Drawn by bash alone, of any version: another in each environment, 128 bits, letters and digits."""
    script = (ROOT / "layer/extension/sumo-internal-extension").read_text()
    assert ">= 501" in script
    begin = script.index("draw_secret() {")
    draw = script[begin : script.index("\n}\n", begin) + 2].replace(">= 501", f">= {newest}")
    assert not re.search(r"\$\(|`|[^|]\|[^|]|&$", draw)
    command = f"types=wanted; {draw}\ndraw_secret; echo $types $secret"
    secrets = set()
    for _ in range(20):
        ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={"LANG": "en_US.UTF-8"})
        assert ran.stderr == ""
        found = re.fullmatch("wanted ([0-9A-Za-z]{32})\n", ran.stdout)
        assert found, ran.stdout
        secrets.add(found[1])
    assert len(secrets) == 20


def test_two_generations(source: SumoSource, layer_folder: Path) -> None:
    """After a crash the next extension subscribes anew, with a spool of its own: each event once, cold again."""
    with environment(source, layer_folder, variables=AT_ONCE) as env:
        invocations = run(env, steps({"log": "one"}), steps({"log": "two"}, {"kill": None}), steps({"log": "three"}))
        env.shutdown()

        assert [invocation.status for invocation in invocations] == ["success", "crash", "success"]
    assert_each_once(source)
    assert reported(source) == [invocation.request_id for invocation in invocations]
    assert [record["IsColdStart"] for record in of_type(source, "platform.report")] == [True, False, True]
    assert len(of_type(source, "platform.initStart")) == 2


GO_USER = {
    "SUMO_LOG_TYPES": "platform,function",
    "SUMO_LOG_LEVEL": "info",
    "SUMO_NUM_RETRIES": "3",
    "SUMO_MAX_DATAQUEUE_LENGTH": "20",
    "SUMO_MAX_CONCURRENT_REQUESTS": "3",
    "SOURCE_CATEGORY_OVERRIDE": "prod/orders",
    "SUMO_SPAN_DROP": "true",
    "TELEMETRY_TIMEOUT_MS": "10",
    "TELEMETRY_MAX_ITEMS": "20000",
}


@pytest.mark.parametrize("wrapper", [True, False])
def test_the_settings_of_a_go_extension_user(source: SumoSource, layer_folder: Path, wrapper: bool) -> None:
    """They work unchanged, with our wrapper and without it, and what has no meaning or is clamped is said once."""
    with environment(source, layer_folder, wrapper=wrapper, variables=GO_USER) as env:
        invocations = run(env, steps({"log": "one"}), steps({"log": "two"}))
        env.shutdown()
        lines = said(env)
    assert reported(source) == [invocation.request_id for invocation in invocations]
    assert [text.rpartition("\t")[2].strip() for text in texts(source)] == ["loaded", "one", "two"]
    assert {request.headers["x-sumo-category"] for request in source.requests} == {"prod/orders"}
    for start in (
        "info: SUMO_MAX_DATAQUEUE_LENGTH has no meaning here",
        "info: SUMO_MAX_CONCURRENT_REQUESTS has no meaning here",
        "warn: TELEMETRY_TIMEOUT_MS='10' is not between 25 and 30000 milliseconds; 25 is used instead",
        "warn: TELEMETRY_MAX_ITEMS='20000' is not between 1000 and 10000 events; 10000 is used instead",
    ):
        assert [line for line in lines if line.startswith(f"sumo-internal-extension: {start}")] != []
    assert len(lines) == 4 + (not wrapper)


@pytest.mark.parametrize("wrapper", [True, False])
def test_without_enhancement(layer_folder: Path, wrapper: bool) -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: a text as {"message": …}, an object as itself, and no key of ours, no id either."""
    variables = {**AT_ONCE, "SUMO_ENHANCE_JSON_LOGS": "false", "SUMO_LOG_TYPES": "function"}
    with SumoSource() as source, environment(source, layer_folder, wrapper=wrapper, variables=variables) as env:
        run(env, steps({"print": "text"}, {"json": {"time": "now", "order": 7}}))
        env.shutdown()
        assert list(source.records) == [{"message": "loaded"}, {"message": "text"}, {"time": "now", "order": 7}]


def test_what_lambda_drops_is_counted(source: SumoSource, layer_folder: Path) -> None:
    """platform.logsDropped is a record, and stands in the accounts."""
    with environment(source, layer_folder, variables=AT_ONCE) as env:
        run(env, steps({"log": "one"}))
        env.publish("platform.logsDropped", {"reason": "slow", "droppedRecords": 3, "droppedBytes": 700})
        env.shutdown()
    assert len(of_type(source, "platform.logsDropped")) == 1
    (account,) = of_type(source, "sumo.accounting")
    assert account["accounting"]["lost"] == {"platformDropped": {"lines": 3, "bytes": 700}}
    assert account["logStream"] == env.log_stream  # by which the documentation's query tells environments apart


def test_a_function_that_empties_tmp_loses_no_event(source: SumoSource, layer_folder: Path) -> None:
    """What is in the extension's map comes with SHUTDOWN, what follows in a new file beside the invocations."""
    with environment(source, layer_folder, variables=AT_ONCE) as env:
        spool = str(env.tmp / "sumo-internal")
        invocations = run(env, steps({"sleep": 0.1}), steps({"sleep": 0.1}, {"remove_tmp": spool}), steps({"log": "x"}))
        env.shutdown()
    assert sorted(reported(source)) == sorted(invocation.request_id for invocation in invocations)
    assert_each_once(source)


def measured(env: Environment, source: SumoSource, kinds: tuple[str, ...], *starts: str) -> tuple[int, int]:
    """How many lines with one of these beginnings the platform wrote, and how many records of these types there are."""
    lines = [line.text for line in env.cloudwatch if line.source == "platform" and line.text.startswith(starts)]
    return len(lines), sum(record["type"] in kinds for record in source.records)


def test_lambdas_own_lines_in_the_table_of_sources(source: SumoSource, layer_folder: Path) -> None:
    """What the platform writes to CloudWatch has its records, whatever becomes of the function."""
    rows = []

    def add(name: str, counts: tuple[int, int], keys: set[str], difference: str) -> None:
        rows.append(sources_table.row(name, *counts, keys, difference))

    with environment(source, layer_folder, variables=AT_ONCE) as env:
        run(env, steps({"log": "a line"}))
        env.shutdown()
        kinds: tuple[str, ...] = (
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.extension",
        )
        counts = measured(env, source, kinds, "INIT_START", "EXTENSION")
        add(sources_table.INIT, counts, {"record"}, "the end of the init has two records besides, CloudWatch no line")
        kinds = ("platform.start", "platform.runtimeDone", "platform.report")
        counts = measured(env, source, kinds, "START", "END", "REPORT")
        add(sources_table.INVOCATION, counts, {"record"}, "END is `platform.runtimeDone`, which tells more")
    with SumoSource() as source, environment(source, layer_folder, variables=AT_ONCE) as env:
        run(env, steps({"kill": None}))
        exits = [record for record in of_type(source, "platform.report") if "ExitError" in json.dumps(record)]
        counts = (measured(env, source, (), "RequestId: ")[0], len(exits))
        add(
            sources_table.EXIT, counts, {"record"}, "no line of its own: `status` and `errorType` of the REPORT tell it"
        )
    with SumoSource() as source, environment(source, layer_folder, timeout_s=1.0, variables=AT_ONCE) as env:
        (timed_out,) = run(env, steps({"sleep": 9}))
        found = [text for text in texts(source) if "Task timed out" in text]
        lines = [line for line in env.cloudwatch if "Task timed out" in line.text]
        assert all(timed_out.request_id in text for text in found)
        add(sources_table.TIMEOUT, (len(lines), len(found)), set(), "none")
    variables = {**AT_ONCE, "SUMO_FUNCTION_LOGS": "telemetry"}
    with SumoSource() as source, environment(source, layer_folder, variables=variables) as env:
        run(env, steps({"raw": "one\ntwo\n"}, {"print": "three"}))
        env.shutdown()
        lines = [line for line in env.cloudwatch if line.source == "function"]
        add(
            sources_table.TELEMETRY, (len(lines), len(texts(source))), set(), "levels, fields and stack traces are text"
        )
    others = [name for name in sources_table.listed()[1] if name not in sources_table.LAMBDAS]
    for row in rows:
        sources_table.check(row, [*others, *sources_table.LAMBDAS])


INVOKE = "INVOKE,SHUTDOWN"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "SHUTDOWN"),
        ({"SUMO_FLUSH": "next"}, "SHUTDOWN"),
        ({"SUMO_FLUSH": "End"}, INVOKE),
        ({"SUMO_FLUSH": "end", "SUMO_FUNCTION_LOGS": "Process"}, "SHUTDOWN"),
        ({"SUMO_FLUSH": "end", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}, "SHUTDOWN"),
        ({"SUMO_FLUSH": "end", "SUMO_DISABLED": "true"}, "SHUTDOWN"),
        (
            {
                "SUMO_FLUSH": "end",
                "SUMO_FUNCTION_LOGS": "telemetry",
                "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            },
            INVOKE,
        ),
    ],
)
def test_invocations_are_registered_for_only_where_they_are_held(
    source: SumoSource, layer_folder: Path, variables: dict[str, str], expected: str
) -> None:
    """An extension that has registered for INVOKE has a part in each invocation, so the script asks for it last."""
    with environment(source, layer_folder, wrapper=False, variables=variables) as env:
        run(env, steps({"log": "a line"}), steps({"log": "another"}))
        ended = env.shutdown()

        registered = [event.detail for event in env.timeline if (event.kind, event.who) == ("register", EXTENSION)]
        assert registered == [expected]
        assert ended.ended[EXTENSION].how == "exit 0"


def test_a_damaged_package_follows_invocations_too(source: SumoSource, layer_folder: Path, tmp_path: Path) -> None:
    """Registered for INVOKE and unable to do anything else, the extension still asks for each next event."""
    damaged = tmp_path / "opt"
    shutil.copytree(layer_folder, damaged)
    (damaged / "python" / "sumo_internal" / "lambda_apis" / "telemetry_api.py").unlink()
    shutil.rmtree(damaged / "python" / "sumo_internal" / "__pycache__")
    with environment(source, damaged, wrapper=False, variables={"SUMO_FLUSH": "end"}) as env:
        assert [invocation.status for invocation in run(env, *[steps({"log": "a line"})] * 3)] == ["success"] * 3
        ended = env.shutdown()

        assert ended.ended[EXTENSION].how == "exit 0"
        assert any("the extension idles" in line for line in said(env))


@pytest.mark.parametrize("wrapper", [True, False])
def test_the_end_waits_for_an_invocation_that_nobody_has_heard_of(
    source: SumoSource, layer_folder: Path, wrapper: bool
) -> None:
    """Over in less than Lambda keeps events together, and frozen: even its start may be told behind SHUTDOWN."""
    with environment(source, layer_folder, wrapper=wrapper, variables=AT_ONCE) as env:
        (first,) = run(env, steps({"log": "one"}))
        run_s = env.shutdown().duration_s
    assert reported(source) == [first.request_id]  # nothing more is known to be on its way
    assert run_s >= NEWS_WAIT_S
