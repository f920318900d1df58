"""SnapStart with real snapshots: the environment, its extension and Lambda's APIs copied as they are, by CRIU.

What does not need several copies of one snapshot is in tests/test_modes.py.
"""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from model.snapshot import Copy, Snapshot, unavailable
from runtimes import Runtime, runtimes
from scripted_http import ScriptedServer, answer
from sumo_source import ACCEPT, HANG, Fault, SumoSource

from sumo_internal.destinations.endpoint import CIPHERTEXT_MIN_BYTES

FUNCTIONS = Path(__file__).parent / "functions"
RUNTIMES = [runtime for runtime in runtimes([3, 4]) if runtime.version >= (3, 12)]

pytestmark = [
    pytest.mark.skipif(unavailable() is not None, reason=f"no real snapshots: {unavailable()}"),
    pytest.mark.timeout(180),  # up to four environments each, and what CRIU copies
]
with_each = pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.id)
with_one = pytest.mark.parametrize("runtime", RUNTIMES[-1:], ids=lambda runtime: runtime.id)

LATE, AT_ONCE = "1000", "25"


def snapshot(folder: Path, runtime: Runtime, source: SumoSource, layer: Path, **options: Any) -> Snapshot:
    variables = {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
        "SUMO_HTTP_ENDPOINT": source.url,
        "TELEMETRY_TIMEOUT_MS": AT_ONCE,
        **options.pop("variables", {}),
    }
    variables = {name: value for name, value in variables.items() if value is not None}
    function = options.pop("function", "snapshot")
    return Snapshot(folder / "snapshot", runtime, FUNCTIONS / function, layer=layer, variables=variables, **options)


def steps(*pairs: tuple[str, Any]) -> tuple[str, Any]:
    return "invoke", {"steps": list(pairs)}


def live(taken: Snapshot, number: int, *more: tuple[str, Any]) -> Copy:
    """A copy's whole life, with lines that only it has."""
    orders = [steps(("log", f"copy {number}"), ("random", 0)), *more, ("shutdown", "spindown")]
    return taken.restore(*orders)


def by_id(records: list[dict[str, Any]]) -> dict[str, set[str]]:
    """The different contents that each id has."""
    contents: dict[str, set[str]] = {}
    for record in records:
        contents.setdefault(record["id"], set()).add(repr(sorted(record.items())))
    return contents


def complaints(environment: Copy | Snapshot) -> list[str]:
    """What the layer says that something went wrong, in a copy or before the snapshot; a line may be begun already."""
    said = "sumo-internal-extension: (warn|error)"
    return [line.text for line in environment.cloudwatch if re.search(said, line.text)]


def own_ids_are_own(source: SumoSource, copies: int, *fragments: str) -> None:
    """Equal ids have equal content; and each of these lines has come from each copy.

    Perhaps once more: a request that is under way when the process ends is sent again.
    """
    assert [contents for contents in by_id(source.records).values() if len(contents) > 1] == []
    for fragment in fragments:
        assert len({record["id"] for record in texts(source.records, fragment)}) == copies, fragment


def texts(records: list[dict[str, Any]], fragment: str) -> list[dict[str, Any]]:
    """The function's lines with this in them.

    An account has a message, too: "Lambda dropped them before they reached the extension", on a busy machine.
    """
    return [record for record in records if record["type"] == "function" and fragment in str(record.get("message"))]


def has_lost_events(records: list[dict[str, Any]]) -> bool:
    """Has the platform dropped events? It does while a delivery is unanswered, a snapshot in the middle of one too."""
    return any("platformDropped" in str(record.get("accounting")) for record in records)


@with_each
@pytest.mark.parametrize("timeout_ms", [AT_ONCE, LATE], ids=["told before", "told after"])
@pytest.mark.parametrize("ticks", ["", "1"], ids=["", "a thread logs"])
def test_an_id_is_one_line_in_all_copies(
    tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path, timeout_ms: str, ticks: str
) -> None:
    """Equal ids have equal content: ``dedup by id`` deletes nothing but repetitions.

    The traps: a writer drawn before the snapshot, a thread that is faster than the runtime behind the restore, events
    of the init that are told to each copy.
    """
    variables = {"TELEMETRY_TIMEOUT_MS": timeout_ms, "TICKS": ticks}
    with snapshot(tmp_path, runtime, source, layer_folder, variables=variables) as taken:
        assert urlsplit(source.url).port not in taken.ports
        assert complaints(taken) == []
        copies = [live(taken, number) for number in range(3)]

    records = source.records
    assert [contents for contents in by_id(records).values() if len(contents) > 1] == []
    for number, copy in enumerate(copies):
        assert [invocation["status"] for invocation in copy.invocations] == ["success"]
        (own,) = texts(records, f"copy {number}")
        assert own["requestID"] in copy.request_ids and own["IsColdStart"] is True
        assert complaints(copy) == []
    for fragment in ("loaded", "begun", "before"):
        found = {record["id"]: record for record in texts(records, fragment)}
        assert len(found) == 1, found
    assert len(texts(records, "\tafter")) == 3
    reports = {record["id"] for record in records if record["type"] == "platform.initReport"}
    assert len(reports) == 1 or (not reports and has_lost_events(records))
    starts = [record for record in records if record["type"] == "platform.restoreStart"]
    assert len(starts) == len({record["id"] for record in starts})
    assert len(starts) == 3 or has_lost_events(records)
    streams = {
        record["requestID"]: {each["logStream"] for each in records if each.get("requestID") == record["requestID"]}
        for record in texts(records, "copy ")
    }
    assert len(streams) == 3 and all(len(names) == 1 for names in streams.values())
    assert len(set.union(*streams.values())) == 3
    named = {record["logStream"] for record in starts}
    assert named == set.union(*streams.values()) or (named < set.union(*streams.values()) and has_lost_events(records))
    assert len({record["message"] for record in texts(records, "random ")}) > 0


OUTAGES = {"hangs": HANG, "is down": Fault(status=503)}


@with_one
@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_at_the_init_is_no_copys(
    tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path, fault: Fault
) -> None:
    """The init waits for 5 s at most. Each copy ships its lines again under the same ids, and asks at once."""
    source.default = fault
    with snapshot(tmp_path, runtime, source, layer_folder) as taken:
        assert urlsplit(source.url).port not in taken.ports
        at = {event.kind: event.at_s for event in taken.timeline if event.who in ("runtime", "platform")}
        assert at["snapshot"] - at["start"] < 5.0 + 2.0
        source.default = ACCEPT
        for number in range(2):
            before = len(source.records)
            copy = live(taken, number)
            (own,) = texts(source.records[before:], f"copy {number}")
            assert len(texts(source.records[before:], "loaded")) == 1
            assert len(texts(source.records[before:], "\tbefore")) == 1
            received_s = [each.received_at_s for each in source.requests if own in each.records]
            assert min(received_s) - copy.restored_at_s < 5.0  # the breaker would keep away for longer
    own_ids_are_own(source, 2, "\tafter")
    assert len({record["id"] for record in texts(source.records, "loaded")}) == 1


ENDS = {"kill": ("kill", 0), "exit": ("exit", 3), "timeout": ("sleep", 5), "raise": ("fail", "text")}


@with_one
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_however_the_first_invocation_ends(
    tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path, end: tuple[str, Any]
) -> None:
    """No line is lost, the begun one neither; and all are the copy's own."""
    with snapshot(tmp_path, runtime, source, layer_folder, timeout_s=2.0) as taken:
        for number in range(2):
            orders = steps(("log", f"copy {number}"), ("log", "last words"), ("begin", "half a line"), end)
            copy = taken.restore(orders, steps(("log", "next")), ("shutdown", "spindown"))
            first, second = copy.invocations
            assert (first["status"] == "success", second["status"]) == (False, "success")
            (own,) = texts(source.records, f"copy {number}")
            assert own["requestID"] == first["request_id"]
    own_ids_are_own(source, 2, "last words", "half a line", "\tnext")
    assert {record["logStream"] for record in texts(source.records, "half a line")} == {
        record["logStream"] for record in texts(source.records, "last words")
    }


@with_one
def test_a_copy_that_serves_nothing(tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """Restored, and shut down before its first invocation: what its hook has said arrives."""
    with snapshot(tmp_path, runtime, source, layer_folder) as taken:
        for _ in range(2):
            assert complaints(taken.restore(("shutdown", "spindown"))) == []
    own_ids_are_own(source, 2, "\tafter")


@with_one
def test_rules_hold_in_copies(tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path) -> None:
    """SUMO_SAMPLE, masks and processors: what waits for the end of its invocation has ids of the copy's own."""
    variables = {"SUMO_SAMPLE": "0", "SUMO_MASK_PATTERNS": "secret-[0-9]+", "SUMO_PROCESSORS": "app.mark"}
    with snapshot(tmp_path, runtime, source, layer_folder, variables=variables) as taken:
        for _ in range(2):
            good = steps(("log", "dropped"))
            bad = steps(("log", "of a failure secret-17"), ("fail", "text"))
            copy = taken.restore(good, bad, ("shutdown", "spindown"))
            assert [invocation["status"] for invocation in copy.invocations] == ["success", "error"]
            assert complaints(copy) == []
    own_ids_are_own(source, 2, "of a failure")
    assert texts(source.records, "dropped") == texts(source.records, "secret-17") == []
    assert all(record["marked"] for record in texts(source.records, "of a failure"))


SECRETS = {
    "Secrets Manager": ("arn:aws:secretsmanager:us-east-1:123456789012:secret:sumo-AbCdEf", ""),
    "KMS": (base64.b64encode(bytes(CIPHERTEXT_MIN_BYTES)).decode(), "arn:aws:kms:us-east-1:123456789012:key/k"),
}


@with_one
@pytest.mark.parametrize(("endpoint", "key"), SECRETS.values(), ids=SECRETS)
def test_secrets_are_fetched_anew(
    tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path, endpoint: str, key: str
) -> None:
    """Each copy asks for credentials and for the secret, however long they would have been good: it may live later."""
    secret = {"SecretString": source.url, "Plaintext": base64.b64encode(source.url.encode()).decode()}
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    with ScriptedServer() as container, ScriptedServer(answer(200, secret)) as service:
        for number in range(3):
            keys = {"AccessKeyId": f"AKID{number}", "SecretAccessKey": "key", "Token": f"token {number}"}
            container.script(answer(200, {**keys, "Expiration": expires}))
        variables = {
            "SUMO_HTTP_ENDPOINT": endpoint,
            "KMS_KEY_ID": key,
            "AWS_ENDPOINT_URL": service.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of all copies",
            "SUMO_LOG_TYPES": "function",
        }
        with snapshot(tmp_path, runtime, source, layer_folder, variables=variables) as taken:
            assert not {urlsplit(url).port for url in (source.url, service.url, container.url)} & taken.ports
            copies = [live(taken, number) for number in range(2)]
        tokens = [request.headers["x-amz-security-token"] for request in service.requests]
        assert tokens == ["token 0", "token 1", "token 2"] and len(container.requests) == 3
    assert [complaints(copy) for copy in copies] == [[], []]
    own_ids_are_own(source, 2, "copy ", "\tafter")


OTHERWISE: dict[str, dict[str, Any]] = {
    "no platform": {"variables": {"SUMO_LOG_TYPES": "function,extension", "SUMO_LOG_LEVEL": "debug"}},
    "end": {"variables": {"SUMO_FLUSH": "end"}},
    "next": {"variables": {"SUMO_FLUSH": "next"}},
    "auto": {"variables": {"SUMO_FLUSH": "auto"}},
    "emptied before": {"variables": {"EMPTIES": "before"}},
    "emptied after": {"variables": {"EMPTIES": "after"}},
    "Telemetry": {"variables": {"AWS_LAMBDA_EXEC_WRAPPER": None, "SUMO_FUNCTION_LOGS": "telemetry"}},
    "held Telemetry": {"variables": {"SUMO_FUNCTION_LOGS": "telemetry", "SUMO_FLUSH": "end"}},
    "in memory": {"variables": {"SUMO_SPOOL_DIR": "/dev/null/spool"}},
    "spared CloudWatch": {"variables": {"SUMO_CLOUDWATCH": "none"}},
    "summaries": {"variables": {"SUMO_INVOCATION_SUMMARY": "true"}},
    "JSON": {"log_format": "JSON"},
    "stdout": {"framed": False},
}


@with_one
@pytest.mark.parametrize("options", OTHERWISE.values(), ids=OTHERWISE)
def test_an_id_is_one_line_however_it_is_set_up(
    tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path, options: dict[str, Any]
) -> None:
    """The other ways that lines take, and a /tmp that is emptied on both sides of the snapshot."""
    source.default = ACCEPT
    with snapshot(tmp_path, runtime, source, layer_folder, **options) as taken:
        copies = [live(taken, number, steps(("log", "second"))) for number in range(2)]
    assert [complaints(copy) for copy in copies] == [[], []]
    own_ids_are_own(source, 2, "copy ", "second", "after")
    for fragment in ("loaded", "before"):
        assert len({record["id"] for record in texts(source.records, fragment)}) == 1
    kinds = {str(record["type"]).partition(".")[0] for record in source.records}
    assert ("platform" in kinds) is (options.get("variables", {}).get("SUMO_LOG_TYPES") is None)


@with_one
def test_the_handler_begins_again_in_copies(
    tmp_path: Path, runtime: Runtime, source: SumoSource, layer_folder: Path
) -> None:
    """Without the wrapper, SumoHandler is made in the init."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": None, "SUMO_LOG_TYPES": "function"}
    with snapshot(tmp_path, runtime, source, layer_folder, function="dropin", variables=variables) as taken:
        for number in range(2):
            taken.restore(("invoke", {"number": number}), ("shutdown", "spindown"))
    own_ids_are_own(source, 2, "line ")
