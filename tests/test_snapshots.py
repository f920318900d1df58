"""SnapStart with real snapshots: the environment, its extension and Lambda's APIs copied as they are, by CRIU.

What does not need several copies of one snapshot is in tests/test_modes.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from model.snapshot import Copy, Snapshot, unavailable
from runtimes import Runtime, runtimes
from sumo_source import SumoSource

FUNCTIONS = Path(__file__).parent / "functions"
RUNTIMES = [runtime for runtime in runtimes([3, 4]) if runtime.version >= (3, 12)]

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"no real snapshots: {unavailable()}")
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


def texts(records: list[dict[str, Any]], fragment: str) -> list[dict[str, Any]]:
    return [record for record in records if fragment in str(record.get("message"))]


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
        copies = [live(taken, number) for number in range(3)]

    records = source.records
    assert [contents for contents in by_id(records).values() if len(contents) > 1] == []
    for number, copy in enumerate(copies):
        assert [invocation["status"] for invocation in copy.invocations] == ["success"]
        (own,) = texts(records, f"copy {number}")
        assert own["requestID"] in copy.request_ids and own["IsColdStart"] is True
        assert [line for line in copy.cloudwatch if "warn:" in line or "error:" in line] == []
    for fragment in ("loaded", "begun", "before"):
        assert len({record["id"] for record in texts(records, fragment)}) == 1
    assert len(texts(records, "\tafter")) == 3
    assert len({record["id"] for record in records if record["type"] == "platform.initReport"}) == 1
    starts = [record for record in records if record["type"] == "platform.restoreStart"]
    assert len(starts) == 3 == len({record["id"] for record in starts})
    streams = {
        record["requestID"]: {each["logStream"] for each in records if each.get("requestID") == record["requestID"]}
        for record in texts(records, "copy ")
    }
    assert len(streams) == 3 and all(len(names) == 1 for names in streams.values())
    assert len(set.union(*streams.values())) == 3
    assert {record["logStream"] for record in starts} == set.union(*streams.values())
    assert len({record["message"] for record in texts(records, "random ")}) > 0
