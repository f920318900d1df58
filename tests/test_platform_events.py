"""Platform events as records: the shapes, the REPORT line, one record per timeout, and that nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal import own_secrets
from sumo_internal.capture.record_format import RECORD_MAX_BYTES
from sumo_internal.extension.platform_events import _REQUESTS_MAX, PlatformEvents
from sumo_internal.own_secrets import PIECE_MIN_CHARS

TIME = "2026-11-21T08:22:03.123Z"
NOW = "2026-11-21T09:00:00.000Z"
KEYS = {"logGroup": "/aws/lambda/orders", "logStream": "2026/11/21/[$LATEST]0123", "LayerVersion": "sumo:1"}
ALL = ("platform", "function", "extension")
METRICS = {"durationMs": 12.5, "billedDurationMs": 13, "memorySizeMB": 128, "maxMemoryUsedMB": 40}


def made(
    *types: str, is_span_dropped: bool = False, is_enhanced: bool = True, is_concurrent: bool = False
) -> PlatformEvents:
    return PlatformEvents(
        types or ALL, KEYS, is_span_dropped=is_span_dropped, is_enhanced=is_enhanced, is_concurrent=is_concurrent
    )


def event(kind: str, record: Any, time: str = TIME) -> dict[str, Any]:
    return {"time": time, "type": kind, "record": record}


def start(request_id: str, **more: str) -> dict[str, Any]:
    return event("platform.start", {"requestId": request_id, "version": "$LATEST", **more})


def records(events: PlatformEvents, *delivered: object) -> list[dict[str, Any]]:
    """The records of these events, as the spool would finish them."""
    return [json.loads(f"{text}}}") for each in delivered for text, _ in events.lines(each, NOW)]


def report(request_id: str, metrics: object, status: str = "success") -> dict[str, Any]:
    return event("platform.report", {"requestId": request_id, "status": status, "metrics": metrics})


def test_a_platform_event_is_a_record_with_what_lambda_sent() -> None:
    """``record`` as it came, and the keys of the function's own records beside it; time stands first."""
    content = {"requestId": "r1", "version": "$LATEST", "tenantId": "t1", "tracing": {"type": "X", "value": "Root=1"}}
    (record,) = records(made(), event("platform.start", content))
    assert list(record.items()) == [
        ("time", TIME),
        ("type", "platform.start"),
        ("record", content),
        ("requestID", "r1"),
        ("tenantId", "t1"),
        *KEYS.items(),
        ("IsColdStart", True),
    ]


def test_a_line_has_the_trace_of_its_invocation() -> None:
    """As in process: what Lambda tells with the start; a line of the init, or of an invocation without, has none."""
    events = made()
    tracing: Any = {"type": "X-Amzn-Trace-Id", "value": "Root=1-a;Parent=b;Sampled=1"}
    got = records(events, event("function", "init"), start("r1", tracing=tracing), event("function", "one"))
    got += records(
        events, start("r2"), event("function", "two"), start("r3", tracing="odd"), event("function", "three")
    )
    lines = {record["message"]: record.get("traceId") for record in got if record["type"] == "function"}
    assert lines == {"init": None, "one": "1-a", "two": None, "three": None}


def test_the_tenant_is_that_of_the_invocation() -> None:
    """Only platform.start has it in some schemas; the REPORT, which comes beside the next invocation, keeps it."""
    events = made()
    got = records(events, start("r1", tenantId="t1"), report("r1", METRICS), start("r2"), report("r2", METRICS))
    assert [record.get("tenantId") for record in got] == ["t1", "t1", None, None]


def test_only_the_first_invocation_is_cold() -> None:
    """Init and first invocation, its late REPORT included; the Go extension says false for all of them."""
    init = event("platform.initStart", {"phase": "init"})
    got = records(made(), init, start("r1"), start("r2"), report("r1", METRICS), report("r2", METRICS), init)
    assert [record["IsColdStart"] for record in got] == [True, True, False, True, False, False]


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        (METRICS, "Duration: 12.5 ms\tBilled Duration: 13 ms \tMemory Size: 128 MB\tMax Memory Used: 40 MB"),
        (
            {**METRICS, "durationMs": 12.0, "initDurationMs": 101.349},
            "Duration: 12 ms\tBilled Duration: 13 ms \tMemory Size: 128 MB\tMax Memory Used: 40 MB"
            "\tInit Duration: 101.35 ms",
        ),
        ({"durationMs": 7}, "Duration: 7 ms"),
        ({"durationMs": None, "memorySizeMB": "128", "billedDurationMs": True, "maxMemoryUsedMB": 1e300}, ""),
        ({}, ""),
        (None, ""),
        ([1], ""),
    ],
)
def test_the_report_line(metrics: object, line: str) -> None:
    """As CloudWatch has it, with the Go extension's spacing; Managed Instances have no numbers, and no <nil> either."""
    (record,) = records(made(), report("r1", metrics))
    assert record["message"] == "\t".join(filter(None, ["REPORT RequestId: r1", line]))
    assert record["record"]["metrics"] == metrics


def test_a_report_of_nothing_has_no_line() -> None:
    """Without metrics, or without a request id, there is nothing to say; the Go extension panics."""
    got = records(made(), event("platform.report", {"status": "success"}), event("platform.report", "text"))
    assert ["message" in record for record in got] == [False, False]


def test_spans_are_dropped_where_that_is_asked_for() -> None:
    """SUMO_SPAN_DROP is for platform.runtimeDone alone, as in the Go extension."""
    content = {"requestId": "r1", "status": "success", "spans": [{"name": "responseLatency"}]}
    got = records(made(is_span_dropped=True), event("platform.runtimeDone", content), event("platform.report", content))
    assert ["spans" in record["record"] for record in got] == [False, True]


def test_what_is_not_wanted_has_no_record_but_is_followed() -> None:
    """SUMO_LOG_TYPES=function needs platform.start all the same: it tells whose lines are whose."""
    got = records(made("function"), start("r1"), event("function", "a line\n"), event("extension", "another"))
    assert [(record["message"], record["requestID"]) for record in got] == [("a line", "r1")]


@pytest.mark.parametrize(
    ("content", "message", "more"),
    [
        ("[INFO]\t2026\tr1\ttext\n", "[INFO]\t2026\tr1\ttext", {}),
        ("  indented\r\n", "  indented", {}),
        ('{"level":"WARN","n":1}\n', {"level": "WARN", "n": 1}, {"level": "WARNING"}),
        ("[1,2]", "[1,2]", {}),
        ({"message": "m", "requestId": "r1"}, {"message": "m", "requestId": "r1"}, {}),
        (17, "17", {}),
    ],
)
def test_a_line_of_the_functions(content: object, message: object, more: dict[str, str]) -> None:
    """Text is text, an object an object, whichever log format sent it; both have the request's id."""
    _, record = records(made(), start("r1"), event("function", content))
    assert record["message"] == message
    assert record["requestID"] == "r1"
    assert {key: record[key] for key in ("level", "logger") if key in record} == more


TRACEBACK = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'price'"
REPORT = '[ERROR] ValueError: no price\nTraceback (most recent call last):\n\xa0\xa0File "a.py", line 1, in f'
KEY_ERROR = {"errorType": "KeyError", "errorMessage": "'price'", "stackTrace": ['  File "a.py", line 1, in f\n']}
VALUE_ERROR = {**KEY_ERROR, "errorType": "ValueError", "errorMessage": "no price"}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (f"[WARNING]\t{TIME}\tr1\tlow on stock", {"level": "WARNING"}),
        (f"[WARN]\t{TIME}\tr1\tlow on stock", {"level": "WARNING"}),
        (f"[WARNING]\t{TIME}\tr1\tfailed\n{TRACEBACK}", {"level": "WARNING", **KEY_ERROR}),
        (f"[Level 25]\t{TIME}\tr1\tof its own", {}),
        ("[WARNING]\tnot the runtime's", {}),
        (TRACEBACK, {"level": "ERROR", **KEY_ERROR}),
        (REPORT, {"level": "ERROR", **VALUE_ERROR}),
        (REPORT.replace("\n", "\r") + "\n", {"level": "ERROR", **VALUE_ERROR}),
        ({"level": "WARNING", "message": "failed", **KEY_ERROR}, {"level": "WARNING", **KEY_ERROR}),
        ({"level": "ERROR", "errorType": "E", "stackTrace": "odd"}, {"level": "ERROR", "errorType": "E"}),
    ],
)
def test_level_and_error_of_what_the_runtime_writes(content: object, keys: dict[str, object]) -> None:
    """In its text format they stand in the line, in its JSON format in the object: they are keys of the record, as they
    are where the function is heard in its process."""
    _, record = records(made(), start("r1"), event("function", content))
    names = ("level", "errorType", "errorMessage", "stackTrace")
    assert {name: record[name] for name in names if record.get(name)} == keys


def test_where_requests_overlap_nothing_is_inferred() -> None:
    """Managed Instances: no request id, trace or tenant rather than those of whatever started last."""
    tracing: Any = {"type": "X-Amzn-Trace-Id", "value": "Root=1-a;Parent=b;Sampled=1"}
    events = made(is_concurrent=True)
    got = records(
        events,
        start("r1", tracing=tracing, tenantId="t1"),
        start("r2"),
        event("function", "plain"),
        event("function", {"message": "an object", "requestId": "r1"}),
        event("function", '{"message":"a text","requestId":"r1"}'),
        event("function", '{"message":"of somebody","requestId":7}'),
        report("r1", METRICS),
        event("function", '{"message":"late","requestId":"r1"}'),
    )
    lines = [record for record in got if record["type"] == "function"]
    assert [record.get("requestID") for record in lines] == [None, "r1", "r1", None, "r1"]
    assert [record.get("traceId") for record in lines] == [None, "1-a", "1-a", None, "1-a"]
    assert [record.get("tenantId") for record in lines] == [None, "t1", "t1", None, "t1"]
    assert not events.is_reported
    records(events, report("r2", METRICS))
    assert events.is_reported


def test_a_text_that_is_an_object_has_its_own_request_id() -> None:
    """A thread that goes on into the next invocation logs with the id that it was given."""
    _, _, record = records(made(), start("r1"), start("r2"), event("function", '{"message":"m","requestId":"r1"}'))
    assert record["requestID"] == "r1"


@pytest.mark.parametrize("is_concurrent", [True, False])
@pytest.mark.parametrize("is_text", [True, False])
def test_a_request_id_of_another_service_is_no_invocations(is_concurrent: bool, is_text: bool) -> None:
    """API Gateway has such ids, too, and functions log them under that name: Lambda has announced no such request.

    The trap: the line would be found under a request that there is not, and SUMO_SAMPLE would wait for its end.
    """
    content: Any = {"message": "from the gateway", "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"}
    content = json.dumps(content) if is_text else content
    _, record = records(made(is_concurrent=is_concurrent), start("r1"), event("function", content))
    assert record.get("requestID") == (None if is_concurrent else "r1")
    assert record["message"]["requestId"].startswith("c6af")


def test_a_start_later_in_the_delivery_counts() -> None:
    """Nothing says that Lambda delivers a request's start before its first line."""
    events = made(is_concurrent=True)
    later = [event("function", '{"message":"m","requestId":"r1"}'), start("r1")]
    events.announce(later)
    assert [record.get("requestID") for record in records(events, *later)] == ["r1", "r1"]


def test_what_is_known_of_requests_is_bounded() -> None:
    """The oldest is forgotten: Lambda may never report it."""
    events = made(is_concurrent=True)
    for number in range(_REQUESTS_MAX + 1):
        records(events, start(f"r{number}", tenantId="t"))
    got = records(events, event("function", {"requestId": "r0"}), event("function", {"requestId": "r1"}))
    assert [record.get("tenantId") for record in got] == [None, "t"]
    assert [record.get("requestID") for record in got] == [None, "r1"]


def test_blank_lines_are_left_out() -> None:
    """As they are in process."""
    assert records(made(), event("function", "\n"), event("function", "  \r\n")) == []


def test_without_enhancement_lines_are_as_the_function_wrote_them() -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: no key of ours in the function's records; platform events keep theirs."""
    lines = [event("function", text) for text in ("text\n", '{"a":{"b":1},"level":"INFO"}', "{}")]
    got = [f"{text}}}" for each in lines for text, _ in made(is_enhanced=False).lines(each, NOW)]
    assert got == ['{"message":"text"}', '{"a":{"b":1},"level":"INFO"}', "{}"]
    assert records(made(is_enhanced=False), start("r1"))[0]["logGroup"] == KEYS["logGroup"]


def test_an_extensions_line_is_the_record() -> None:
    """Without a message, as the Go extension has it."""
    (record,) = records(made(), event("extension", "said\n"))
    assert record["record"] == "said" and "message" not in record


def test_a_long_line_is_sent_in_parts() -> None:
    """Lambda delivers lines of up to 256 KiB; Sumo takes 64."""
    text = "ä" * 100_000
    got = records(made(), start("r1"), event("function", text))[1:]
    assert "".join(record["message"] for record in got) == text
    assert [(record["part"], record["parts"]) for record in got] == [(n, len(got)) for n in range(1, len(got) + 1)]
    assert all(len(json.dumps(record, ensure_ascii=False).encode()) < RECORD_MAX_BYTES for record in got)


SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY="


@given(st.integers(1, len(SECRET) - 1), st.sampled_from(["", "ä", "€"]))
def test_a_secret_of_ours_that_lambda_has_cut_is_hidden(place: int, filler: str) -> None:
    """Lambda cuts a line at 256 KB wherever that is: neither piece is the secret, and together they are.

    What is as short as a word by chance stays; the event behind the pieces is not touched.
    """
    own_secrets.forget()
    own_secrets.learn({"AWS_SECRET_ACCESS_KEY": SECRET})
    before = (filler or "x") * (256 * 1024 // len((filler or "x").encode()) - place) + "AWS_SECRET_ACCESS_KEY="
    texts = (before + SECRET[:place], SECRET[place:] + " and more", SECRET[place:])
    got = records(made(), start("r1"), *(event("function", text) for text in texts))[1:]
    first, second, third = "".join(record["message"] for record in got[:-2]), got[-2]["message"], got[-1]["message"]

    assert first.startswith(before) and third == SECRET[place:]
    assert SECRET[: max(place, PIECE_MIN_CHARS)] not in first
    if len(SECRET) - place >= PIECE_MIN_CHARS:
        assert second == "*** and more"


def test_drops_are_counted() -> None:
    """What Lambda says that it has dropped adds up, whatever the numbers look like."""
    events = made("function")
    for content in ({"droppedRecords": 3, "droppedBytes": 700}, {"droppedRecords": -1}, {"droppedBytes": "x"}, None):
        assert records(events, event("platform.logsDropped", content)) == []
    records(events, event("platform.logsDropped", {"droppedRecords": 1, "droppedBytes": 50.0}))
    assert events.dropped == [4, 750]


def done(request_id: str, status: str = "timeout", duration_ms: float = 3003.2) -> dict[str, Any]:
    content = {"requestId": request_id, "status": status, "metrics": {"durationMs": duration_ms}}
    return event("platform.runtimeDone", content)


def timeouts(got: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(record["message"], record["requestID"]) for record in got if record["type"] == "function"]


def test_a_timeout_has_one_record() -> None:
    """Told by runtimeDone, REPORT and SHUTDOWN, it is one line of the function's, in CloudWatch's words."""
    events = made()
    got = records(events, start("r1"), done("r1"), report("r1", METRICS, "timeout"))
    got += [json.loads(f"{text}}}") for text, _ in events.timeout(None, NOW)]
    assert timeouts(got) == [(f"{TIME} r1 Task timed out after 3.00 seconds", "r1")]


def test_a_timeout_told_by_shutdown_alone() -> None:
    """Whose it was is known from its start; how long it took is not, and not made up."""
    events = made()
    got = records(events, start("r1"), done("r1", "success"), start("r2"))
    got += [json.loads(f"{text}}}") for text, _ in events.timeout(None, NOW)]
    assert timeouts(got) == [(f"{NOW} r2 Task timed out after the function's timeout", "r2")]


def test_a_timeout_of_the_generation_before() -> None:
    """Its REPORT may come here: it has its record already, and a timeout of our own has another."""
    events = made()
    events.timed_out_id = "r1"
    got = records(events, report("r1", METRICS, "timeout"), start("r2"), done("r2"))
    got += [json.loads(f"{text}}}") for text, _ in events.timeout(None, NOW)]
    assert [request_id for _, request_id in timeouts(got)] == ["r2"]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-11-21T08:22:03Z", "2026-11-21T08:22:03.000Z"),
        ("2026-11-21T08:22:03.1Z", "2026-11-21T08:22:03.100Z"),
        ("2026-11-21T08:22:03.123456789Z", TIME),
        ("yesterday", NOW),
        ('"},{"', NOW),
        (1732177323123, NOW),
    ],
)
def test_times(time: Any, expected: str) -> None:
    """Sumo reads milliseconds; what is no time does not get into a record's text."""
    assert records(made(), event("platform.start", {}, time))[0]["time"] == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KNOWN = st.sampled_from(
    ["platform.start", "platform.runtimeDone", "platform.report", "platform.logsDropped", "function", "extension"]
)
CONTENT = JSON | st.fixed_dictionaries(
    {},
    optional={
        "requestId": st.sampled_from(["r1", "r2"]) | JSON,
        "status": st.sampled_from(["timeout", "success"]) | JSON,
        "metrics": st.dictionaries(st.sampled_from([*METRICS, "initDurationMs"]), JSON) | JSON,
        "spans": JSON,
        "tenantId": JSON,
        "droppedRecords": JSON,
        "droppedBytes": JSON,
    },
)
EVENT = JSON | st.fixed_dictionaries({"time": st.just(TIME) | JSON, "type": KNOWN | JSON, "record": CONTENT})


@given(st.lists(EVENT, max_size=6), st.booleans(), st.booleans())
def test_any_event_gives_lines_of_json(delivered: list[object], is_span_dropped: bool, is_enhanced: bool) -> None:
    """Whatever Lambda may come to send: no exception, and each record is one line of JSON within the limit."""
    events = made(is_span_dropped=is_span_dropped, is_enhanced=is_enhanced)
    for each in delivered:
        for text, _ in events.lines(each, NOW):
            line = f"{text}}}".encode("utf-8", "backslashreplace")
            assert b"\n" not in line and b"\r" not in line and len(line) < RECORD_MAX_BYTES
            assert isinstance(json.loads(line, parse_constant=pytest.fail), dict)
