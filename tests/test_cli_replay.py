"""The replay: failover objects, from S3 and from folders, at a source that throttles, refuses and is away."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sumo_rules
from aws_server import REGION, AwsServer
from hypothesis import given
from hypothesis import strategies as st
from sumo_rules import TOKEN
from sumo_source import Fault, SumoSource

from sumo_internal import config
from sumo_internal.cli import backlog, main, resend
from sumo_internal.cli.arguments import CONNECTIONS
from sumo_internal.cli.ledger import TAG, StateFile, Tags, UnusableStateError
from sumo_internal.cli.resend import BatchRefusedError, Pace, Resender, UnreachableSourceError
from sumo_internal.destinations.attempt import Attempt
from sumo_internal.destinations.s3 import FailoverBucket
from sumo_internal.net.aws import Aws
from sumo_internal.net.client import PlainSender

pytest_plugins = ["aws_server"]

NOW_S = 1_795_249_505.0
"""2026-11-21 08:25:05 UTC."""
UTC = timezone.utc
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_DEFAULT_REGION": REGION}
ENVELOPE = {
    "X-Sumo-Host": "/aws/lambda/orders",
    "X-Sumo-Name": "2026/11/21/[$LATEST]0123abcd",
    "X-Sumo-Category": "prod/orders",
    "X-Sumo-Fields": "team=pay,stage=prod",
}


def line(identity: str, padding: int = 0) -> bytes:
    record = {
        "time": "2026-11-21T08:25:04.123Z",
        "message": "x" * padding,
        "logStream": "2026/11/21/[7]real",
        "id": identity,
    }
    return json.dumps(record).encode() + b"\n"


def lines(first: int, count: int, padding: int = 0) -> bytes:
    return b"".join(line(f"e-w-{number:010}", padding) for number in range(first, first + count))


def ids(first: int, count: int) -> Counter[str]:
    return Counter(f"e-w-{number:010}" for number in range(first, first + count))


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[SumoSource]:
    """The source that SUMO_HTTP_ENDPOINT names; nothing that it has to complain about may remain."""
    with SumoSource(connections=CONNECTIONS) as source:
        monkeypatch.setenv("SUMO_HTTP_ENDPOINT", source.url)
        monkeypatch.setenv("SUMO_RETRY_SLEEP_TIME_MS", "10")
        yield source
        assert source.problems == []


@pytest.fixture
def bucket(
    aws_server: AwsServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """The name of an empty bucket, of an account whose credentials are in the environment; tests run in a folder."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": aws_server.url, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[-50:].strip("-")
    aws_server.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def fail_over(aws_server: AwsServer, bucket: str, body: bytes, function: str = "orders", at_s: float = NOW_S) -> None:
    """Put an object as the function does."""
    environ = {**KEYS, "AWS_ENDPOINT_URL": aws_server.url, "AWS_REGION": REGION}
    sender = PlainSender({})
    envelope = {**ENVELOPE, "X-Sumo-Host": f"/aws/lambda/{function}"}
    store = FailoverBucket(Aws(environ, sender), bucket, REGION, function, "$LATEST")
    assert store.put(gzip.compress(body), envelope, at_s, 10).status == 200
    sender.close()


def copy(folder: Path, body: bytes, name: str = "", function: str = "orders") -> Path:
    """Put a copy of an object into a folder."""
    path = folder / f"sumologic-extension/{REGION}/{function}/7/2026/11/21/08/5" / (name or f"{uuid.uuid4()}.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize("connections", [1, CONNECTIONS])
def test_objects_arrive_as_they_would_have(
    source: SumoSource, aws_server: AwsServer, bucket: str, connections: int
) -> None:
    """Every line once, under the headers of then; a second run sends nothing. Over one connection, in their order."""
    for number in range(3):
        fail_over(aws_server, bucket, lines(number * 10, 10), at_s=NOW_S + number * 60)
    assert main(["replay", f"s3://{bucket}/sumologic-extension/", f"--connections={connections}"]) == 0
    assert source.ids() == ids(0, 30)
    if connections == 1:
        assert [record["id"] for record in source.records] == sorted(ids(0, 30)), "the oldest first"
    for request in source.requests:
        assert {name: request.headers[name.lower()] for name in ENVELOPE} == ENVELOPE
    assert main(["replay", f"s3://{bucket}"]) == 0
    assert source.ids() == ids(0, 30)


def test_filters_and_counts(
    source: SumoSource, aws_server: AwsServer, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """--dry-run counts what a replay with the same filters sends; bounds are from (inclusive) to (exclusive)."""
    for hour, function in enumerate(["orders", "shop-eu", "shop-us", "orders"]):
        fail_over(aws_server, bucket, lines(hour, 1), function, NOW_S + hour * 3600)
    filters = ["--since", "2026-11-21T09:25Z", "--until", "2026-11-21T11:25:00", "--function", "shop-*"]
    assert main(["replay", f"s3://{bucket}", "--dry-run", *filters]) == 0
    shown = capsys.readouterr().out
    assert "shop-eu" in shown and "shop-us" in shown and "orders" not in shown and "2026-11-21T09:25Z" in shown
    assert source.requests == []
    assert main(["replay", f"s3://{bucket}", *filters]) == 0
    assert source.ids() == ids(1, 2)
    said = capsys.readouterr()
    assert "2 objects sent (2 lines), 0 sent before, 0 left" in said.out
    assert f"S3 source of Sumo Logic's reads s3://{bucket}, every line will be there twice" in said.err


def test_a_kill_in_mid_run_costs_nothing(source: SumoSource, aws_server: AwsServer, bucket: str) -> None:
    """SIGKILL with answers outstanding, twice; then to the end: all there, and at most the requests that were under way
    (one a connection) twice per kill."""
    for number in range(12):
        fail_over(aws_server, bucket, lines(number * 100, 100), at_s=NOW_S + number * 60)
    command = [sys.executable, "-m", "sumo_internal", "replay", f"s3://{bucket}", "--requests-per-s", "1000"]
    for wanted in (300, 700):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        source.wait_for(wanted)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    source.drop_connections()
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "0 left" in done.stdout
    got = source.ids()
    assert got.keys() == ids(0, 1200).keys()
    assert sum(got.values()) <= 1200 + 2 * 100 * CONNECTIONS


def test_tags_remember_for_everybody(source: SumoSource, aws_server: AwsServer, bucket: str, tmp_path: Path) -> None:
    """With --tag another machine sends nothing twice, the object's own tags stay, and no file is written."""
    fail_over(aws_server, bucket, lines(0, 5))
    s3 = aws_server.client("s3")
    key = s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "cost", "Value": "shop"}]})
    for _ in range(2):
        assert main(["replay", f"s3://{bucket}", "--tag"]) == 0
    assert source.ids() == ids(0, 5)
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}
    assert tags.keys() == {"cost", TAG} and list(tmp_path.iterdir()) == []


def test_a_folder_of_copies(source: SumoSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Copies have lost their headers: key and lines tell them. What cannot be read is named, and stops nothing."""
    copy(tmp_path, gzip.compress(lines(0, 2)))
    copy(tmp_path, lines(2, 2))  # some tools unpack what they copy
    copy(tmp_path, b"")
    damaged = copy(tmp_path, gzip.compress(lines(4, 2))[:-9])
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"not ours"))
    assert main(["replay", str(tmp_path), "--state", str(tmp_path / "state")]) == 1
    assert source.ids() == ids(0, 4)
    for request in source.requests:
        assert request.headers["x-sumo-host"] == "/aws/lambda/orders"
        assert request.headers["x-sumo-name"] == "2026/11/21/[7]real"
    said = capsys.readouterr()
    assert "3 objects sent (4 lines), 0 sent before, 1 left" in said.out
    assert f"{damaged} is left where it is: it is not a whole gzip file" in said.err

    damaged.write_bytes(gzip.compress(lines(4, 2)))
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert main(["replay", str(moved), "--state", str(moved / "state")]) == 0
    assert source.ids() == ids(0, 6)


def test_an_object_with_more_than_a_request_takes(source: SumoSource, tmp_path: Path) -> None:
    """Larger objects, as the Go extension leaves them at SHUTDOWN, go in parts, and go on at the part that failed."""
    copy(tmp_path, gzip.compress(lines(0, 60, padding=50_000)))
    source.script([Fault(), Fault(401)])
    arguments = ["replay", str(tmp_path), "--state", str(tmp_path / "state"), "--bytes-per-s", "1e9"]
    assert main(arguments) == 1
    assert 0 < len(source.records) < 60
    assert main(arguments) == 0
    assert source.ids() == ids(0, 60)


def test_throttled_and_told_when_to_come_back(source: SumoSource, tmp_path: Path) -> None:
    """429 with Retry-After is waited for, 413 halves, a 500 is tried again: nothing is left, and nothing goes twice."""
    copy(tmp_path, gzip.compress(lines(0, 8)))
    source.script([Fault(429, headers={"Retry-After": "1"}), Fault(413), Fault(500)])
    assert main(["replay", str(tmp_path), "--state", str(tmp_path / "state")]) == 0
    assert source.ids() == ids(0, 8)
    throttled, again = source.requests[:2]
    assert throttled.answered_at_s is not None and again.received_at_s - throttled.answered_at_s >= 1


def test_sources_with_tokens_are_told_apart(
    source: SumoSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They share their address: a state file of one is none of the other's, and no token is shown or kept."""
    copy(tmp_path, gzip.compress(lines(0, 1)))
    monkeypatch.setenv("SUMO_HTTP_ENDPOINT", source.base_url)
    monkeypatch.setenv("SUMO_HTTP_TOKEN", TOKEN)
    arguments = ["replay", str(tmp_path), "--state", str(tmp_path / "state")]
    assert main(arguments) == 0
    assert source.requests[-1].headers["x-sumo-token"] == TOKEN
    monkeypatch.setenv("SUMO_HTTP_TOKEN", "another")
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "went to another source" in said.err
    assert TOKEN[:8] not in said.err + said.out + (tmp_path / "state").read_text()


def test_what_ends_a_replay_ends_its_pauses(source: SumoSource, tmp_path: Path) -> None:
    """One object meets a refusal that all would meet, while another waits as long as a 429 asked for."""
    copy(tmp_path, gzip.compress(lines(0, 1)))
    copy(tmp_path, gzip.compress(lines(1, 1)))
    source.script([Fault(429, headers={"Retry-After": "300"}), Fault(401)])
    assert main(["replay", str(tmp_path), "--state", str(tmp_path / "state"), "--connections=2"]) == 1
    assert len(source.requests) == 2


def test_a_wrong_address_stops_at_once(source: SumoSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused token is not tried on every object, and is shown nowhere: not in the output, not in the state file."""
    for number in range(3):
        copy(tmp_path, gzip.compress(lines(number, 1)))
    source.default = Fault(401, body=sumo_rules.TOKEN.encode())
    state = tmp_path / "state"
    assert main(["replay", str(tmp_path), "--state", str(state)]) == 1
    said = capsys.readouterr()
    assert len(source.requests) == 1 and "0 objects sent (0 lines), 0 sent before, 3 left" in said.out
    assert sumo_rules.TOKEN[:12] not in said.out + said.err + state.read_text()


def test_what_is_refused_for_good_stays(source: SumoSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A 400 concerns one object: it is named and left, the others go."""
    for number in range(3):
        copy(tmp_path, gzip.compress(lines(number, 1)), name=f"{number}.gz")
    source.script([Fault(), Fault(400)])
    assert main(["replay", str(tmp_path), "--state", str(tmp_path / "state"), "--connections=1"]) == 1
    assert source.ids() == ids(0, 1) + ids(2, 1)
    assert "1.gz is left where it is: HTTP 400" in capsys.readouterr().err


def test_what_cannot_be_begun(
    source: SumoSource, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 (6: AWS refuses), one line each, before anything is sent; what is no state file stays as it is."""
    notes = tmp_path / "notes"
    notes.write_text("mine\nall mine")
    other = StateFile(tmp_path / "other", "another source")
    cases = {
        "is neither s3://BUCKET/PREFIX nor a folder": [str(tmp_path / "missing")],
        "--tag is for objects in S3": [str(tmp_path), "--tag"],
        "is not a state file of a replay": [str(tmp_path), "--state", str(notes)],
        "is in use by another replay": [str(tmp_path), "--state", str(tmp_path / "other")],
        "NoSuchBucket": ["s3://no-such-bucket/"],
    }
    for problem, arguments in cases.items():
        assert main(["replay", *arguments]) == (6 if "Bucket" in problem else 2)
        assert problem in capsys.readouterr().err
    other.close()
    assert main(["replay", str(tmp_path), "--state", str(tmp_path / "other")]) == 2
    assert "tells what went to another source" in capsys.readouterr().err
    assert notes.read_text() == "mine\nall mine"
    monkeypatch.setenv("SUMO_HTTP_ENDPOINT", "")
    assert main(["replay", str(tmp_path)]) == 2
    for wrong in (["--since", "yesterday"], ["--bytes-per-s", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main(["replay", str(tmp_path), *wrong])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "sumologic-extension/us-east-1/fn/$LATEST/2026/11/21/08/5/4c6b.gz",
            ("us-east-1/fn/$LATEST/2026/11/21/08/5/4c6b.gz", "fn", "$LATEST", datetime(2026, 11, 21, 8, 5, tzinfo=UTC)),
        ),
        (
            "backup/a/us-east-1/fn/12/2026/01/02/23/59/4c6b.gz",
            ("us-east-1/fn/12/2026/01/02/23/59/4c6b.gz", "fn", "12", datetime(2026, 1, 2, 23, 59, tzinfo=UTC)),
        ),
        ("sumologic-extension/us-east-1/fn/$LATEST/2026/13/21/08/5/4c6b.gz", None),
        ("sumologic-extension/us-east-1/fn/$LATEST/doctor-4c6b.gz", None),
        ("logs/2026/11/21/08/5/4c6b.gz", None),
    ],
)  # fmt: skip
def test_keys(key: str, expected: tuple[Any, ...] | None) -> None:
    """The Go extension's keys and ours, below any prefix; other objects of the bucket are none of ours."""
    found = backlog.item(key, 1)
    assert (found and (found.name, found.function, found.version, found.at)) == expected


@given(
    st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"") + b"\n")), st.integers(1, 60), st.binary()
)
def test_batches_end_behind_lines(records: list[bytes], limit_bytes: int, rest: bytes) -> None:
    """All bytes in order, whole lines only, and none too large that could be smaller."""
    text = b"".join(records) + rest.replace(b"\n", b"")
    begin, batches = 0, []
    while begin < len(text):
        end = resend._end(text, begin, limit_bytes)
        batches.append(text[begin:end])
        begin = end
    assert b"".join(batches) == text
    assert all(batch.endswith(b"\n") for batch in batches[:-1])
    assert all(len(batch) <= limit_bytes or batch.count(b"\n", 0, -1) == 0 for batch in batches)


@given(st.lists(st.tuples(st.integers(0, 5_000_000), st.floats(0, 3)), min_size=2))
def test_the_pace_is_kept(requests: list[tuple[int, float]]) -> None:
    """However requests come, what has begun until a moment is no more than the rate allows, the last one apart."""
    pace, now_s, sent_bytes, sent = Pace(1_000_000, 10), 0.0, 0, 0
    for size_bytes, later_s in requests:
        now_s += later_s
        now_s += pace.wait_s(size_bytes, now_s)
        assert sent_bytes <= 1_000_000 * now_s + 1 and sent <= 10 * now_s + 0.001
        sent_bytes, sent = sent_bytes + size_bytes, sent + 1


class Scripted:
    """A source with prepared answers, the last one for ever; for time spans that no test can wait for."""

    def __init__(self, *attempts: Attempt, renewals: int = 0) -> None:
        self.attempts = list(attempts)
        self.posts = 0
        self.renewals = renewals

    def post(self, pack: object, envelope: object, timeout_s: float) -> Attempt:
        self.posts += 1
        return self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]

    def renew(self) -> bool:
        self.renewals -= 1
        return self.renewals >= 0


def resender(source: Scripted, paused: list[float], patience_s: float = resend.PATIENCE_S) -> Resender:
    return Resender(source, config.read({})[0], Pace(1e9, 1e9), patience_s, paused.append)


def test_patience_with_a_source_that_is_away() -> None:
    """After the function's four attempts come the breaker's pauses; a longer Retry-After counts; patience ends it."""
    away, paused = Scripted(*[Attempt(503, "503")] * 5, Attempt(429, "429", 200.0), Attempt(200)), list[float]()
    assert list(resender(away, paused).send(line("a"), 0, {})) == [len(line("a"))]
    assert away.posts == 7
    assert all(pause <= 1.2 for pause in paused[:4]) and 2 <= paused[4] <= 8 and paused[6] >= 199

    with pytest.raises(UnreachableSourceError, match="429") as raised:
        list(resender(Scripted(Attempt(429, "429", 601.0)), paused).send(line("a"), 0, {}))
    assert raised.value.is_passing


def test_a_secret_that_was_rotated_is_fetched_once() -> None:
    """401 with an endpoint that is a secret: once more with the new one, then it is an error."""
    rotated = Scripted(Attempt(401), Attempt(200), renewals=1)
    assert list(resender(rotated, []).send(line("a"), 0, {})) and rotated.posts == 2
    with pytest.raises(UnreachableSourceError) as raised:
        list(resender(Scripted(Attempt(401), renewals=1), []).send(line("a"), 0, {}))
    assert not raised.value.is_passing


def test_a_line_that_is_too_large_is_refused_alone() -> None:
    """413 halves down to the line that is too large; those before it have gone."""
    source = Scripted(Attempt(413), Attempt(200), Attempt(413))
    taken = []
    with pytest.raises(BatchRefusedError):
        for sent_bytes in resender(source, []).send(lines(0, 2), 0, {}):
            taken.append(sent_bytes)
    assert taken == [len(lines(0, 1))]


def test_a_state_file_with_a_torn_end(tmp_path: Path) -> None:
    """A kill in the middle of a line loses that line, and the file goes on being one."""
    item = backlog.item("us-east-1/fn/1/2026/11/21/08/5/a.gz", 1)
    assert item is not None
    path = tmp_path / "state"
    for size_bytes in range(60):
        state = StateFile(path, "x")
        state.note(item, 7, is_done=False)
        state.close()
        os.truncate(path, min(size_bytes, path.stat().st_size))
        state = StateFile(path, "x")
        assert state.sent_bytes(item) == 0
        state.note(item, 9, is_done=True)
        state.close()
        state = StateFile(path, "x")
        assert state.sent_bytes(item) is None
        state.close()
        path.unlink()
    path.write_text("half a shopping list")
    with pytest.raises(UnusableStateError):
        StateFile(path, "x")
    assert path.read_text() == "half a shopping list"


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object whose lines outgrow the bound is damaged, however small it looks."""
    monkeypatch.setattr(backlog, "OBJECT_MAX_BYTES", 1000)
    small, large = (copy(tmp_path, gzip.compress(b"x" * size_bytes)) for size_bytes in (1000, 1001))
    folder = backlog.Folder(tmp_path)
    by_key = {item.key: item for item in folder.items()}
    assert len(folder.read(by_key[str(small)]).lines) == 1000
    with pytest.raises(backlog.DamagedObjectError, match="1000 bytes"):
        folder.read(by_key[str(large)])


def test_tags_are_for_a_source(aws_server: AwsServer, bucket: str) -> None:
    """What went to one source has not gone to another."""
    fail_over(aws_server, bucket, lines(0, 1))
    client = aws_server.client("s3")
    (item,) = backlog.BacklogBucket(client, bucket).items()
    Tags(client, bucket, "one").note(item, 1, is_done=True)
    assert Tags(client, bucket, "one").sent_bytes(item) is None
    assert Tags(client, bucket, "other").sent_bytes(item) == 0


# What anybody may have put into the bucket.

EVIL = "stream\r\nX-Sumo-Category: prod/evil\r\n\r\nPOST / HTTP/1.1"
STRANGE = {
    "two headers in the first line": json.dumps({"time": "x", "logStream": EVIL}).encode(),
    "a line end alone": json.dumps({"logStream": "a\nb"}).encode(),
    "a snowman": json.dumps({"logStream": "\u2603"}).encode(),
    "an escape": json.dumps({"logStream": "\x1b[31m"}).encode(),
    "an endless name": json.dumps({"logStream": "x" * 1_000}).encode(),
    "brackets": b"[" * 100_000,
    "braces": b'{"logStream":' * 100_000,
}


@pytest.mark.parametrize("first", STRANGE.values(), ids=STRANGE.keys())
def test_an_object_that_is_strange_stops_no_other(
    source: SumoSource, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: bytes
) -> None:
    """It is said and passed over, nothing of it is sent, and the good ones behind it are."""
    copy(tmp_path, gzip.compress(first + b"\n" + line("e-w-evil")), name="0.gz")
    copy(tmp_path, gzip.compress(lines(0, 1)), name="1.gz")
    assert main(["replay", str(tmp_path), "--state", str(tmp_path / "state")]) == 1
    assert source.ids() == ids(0, 1)
    assert {request.path for request in source.requests} == {sumo_rules.PATH}
    said = capsys.readouterr()
    assert "0.gz is left where it is: " in said.err and "1 left" in said.out
    assert all(text.isprintable() for text in said.err.splitlines())


@pytest.mark.parametrize("first", [b"", b"no JSON", b'{"logStream": {"a": 1}}', b"1" * 5_000, b"\xff\xfe", b"[]"])
def test_lines_that_are_no_records_go_under_their_key(first: bytes) -> None:
    """Other programs' lines are lines too; the key then tells what the record does not."""
    found = backlog.item(f"x/{REGION}/orders/7/2026/11/21/08/5/a.gz", 1)
    assert found is not None
    headers = backlog.envelope(found, backlog.Content(first, {}), config.read({})[0])
    assert headers["X-Sumo-Host"] == "/aws/lambda/orders"
    assert headers["X-Sumo-Name"].isprintable()


def test_a_key_may_be_anything() -> None:
    """A function's name with line ends, from the key: it becomes no header."""
    key = f"x/{REGION}/orders\r\nX-Evil: 1\x1b[2J/7/2026/11/21/08/5/a.gz"
    found = backlog.item(key, 1)
    assert found is not None
    with pytest.raises(backlog.DamagedObjectError, match="what it has for X-Sumo-Host is not a header"):
        backlog.envelope(found, backlog.Content(lines(0, 1), {}), config.read({})[0])


def test_metadata_of_another_function_is_not_believed(source: SumoSource, aws_server: AwsServer, bucket: str) -> None:
    """Who may write one function's objects cannot speak for another: the key counts, for which policies are made."""
    s3 = aws_server.client("s3")
    for number, host in enumerate(["/aws/lambda/payments", "/aws/lambda/orders", "host-of-ours"]):
        key = f"sumologic-extension/{REGION}/orders/7/2026/11/21/08/{number}/a.gz"
        metadata = {"sumo-host": host, "sumo-name": "2026/11/21/[7]kept", "sumo-category": "prod/pay"}
        s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(lines(number, 1)), Metadata=metadata)
    assert main(["replay", f"s3://{bucket}", "--connections=1"]) == 0
    got = [(request.headers["x-sumo-host"], request.headers.get("x-sumo-category")) for request in source.requests]
    assert got == [("/aws/lambda/orders", None), ("/aws/lambda/orders", "prod/pay"), ("host-of-ours", "prod/pay")]
    source.problems.clear()  # the last host is none that dashboards can parse


@pytest.mark.parametrize("padding", [0, 1, backlog.PIECE_BYTES - 1, backlog.PIECE_BYTES, 3 * backlog.PIECE_BYTES])
def test_objects_are_unpacked_in_pieces(tmp_path: Path, padding: int) -> None:
    """Of one member or several, of any size, with zeros behind; whatever is cut off is damaged."""
    text = bytes(padding) + os.urandom(padding) + b"end"
    whole = gzip.compress(text) + gzip.compress(b"") + gzip.compress(b"more") + b"\0" * 10
    folder = backlog.Folder(tmp_path)
    path = copy(tmp_path, whole)
    (item,) = folder.items()
    assert folder.read(item).lines == text + b"more"
    for cut in (1, 9, 11, 20):
        path.write_bytes(gzip.compress(text)[:-cut])
        with pytest.raises(backlog.DamagedObjectError):
            folder.read(item)
    path.write_bytes(gzip.compress(text) + b"rubbish")
    with pytest.raises(backlog.DamagedObjectError):
        folder.read(item)


def test_memory_is_bounded(source: SumoSource, tmp_path: Path) -> None:
    """One line of 250 MB, packed into 250 KB; a file that is not packed; one that is too large as it lies: none of them
    takes more than tens of MB, and the object behind them is sent. The function for S3 Batch Operations has 512 MB."""
    with copy(tmp_path, b"", name="0.gz").open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb") as packed:
        for _ in range(250):
            packed.write(b"x" * 1_000_000)
    for name in ("1.gz", "2.gz"):
        os.truncate(copy(tmp_path, b"", name=name), 300_000_000)  # takes no room
    copy(tmp_path, gzip.compress(lines(0, 1)), name="3.gz")
    code = (
        "import resource, sys; from sumo_internal.cli import main; used = resource.getrusage(resource.RUSAGE_SELF);"
        "code = main(sys.argv[1:]); now = resource.getrusage(resource.RUSAGE_SELF);"
        "print(code, now.ru_maxrss - used.ru_maxrss)"
    )
    command = [sys.executable, "-c", code, "replay", str(tmp_path), "--state", str(tmp_path / "state")]
    ran = subprocess.run([*command, "--connections=1"], capture_output=True, text=True, timeout=50)
    code_and_growth = ran.stdout.splitlines()[-1].split()
    assert code_and_growth[0] == "1" and source.ids() == ids(0, 1), ran.stderr
    assert int(code_and_growth[1]) * 1024 < 4 * backlog.OBJECT_MAX_BYTES
