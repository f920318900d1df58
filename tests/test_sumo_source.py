"""The Sumo source that other tests trust: each rule that it checks, each fault that it plays, seen by real clients."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sumo_rules
import sumo_source
import urllib3
from faulty_http import End
from sumo_source import ACCEPT, HANG, LOSE_ANSWER, Fault, Point, SumoSource
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError, ReadTimeoutError, SSLError

TIME = "2026-11-21T08:22:03.123Z"
HEADERS = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]0123456789abcdef"}
SHORT_S = 0.2
"""A client's patience where the source is to outlast it."""


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"time": TIME, "type": "function", "message": "größer", "id": f"env-w-{number}", **more}


def lines(*records: Mapping[str, Any]) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in records)


class Client:
    """A urllib3 pool that tries once, keeps its connection, and trusts what the source tells it to."""

    def __init__(self, source: SumoSource) -> None:
        ca_file = str(source.ca_file) if source.url.startswith("https:") else None
        self.pool = urllib3.PoolManager(retries=False, timeout=10.0, ca_certs=ca_file)
        self.source = source

    def post(self, body: bytes | Iterable[bytes], *, method: str = "POST", url: str = "", **more: Any) -> int:
        """Send a request and return the status of its answer."""
        more["headers"] = {**HEADERS, **more.get("headers", {})}
        return self.pool.request(method, url or self.source.url, body=body, redirect=False, **more).status

    def post_gzip(self, *numbers: int, **more: Any) -> int:
        """Send these records as the product does."""
        body = gzip.compress(lines(*map(record, numbers)))
        return self.post(body, headers={"Content-Encoding": "gzip"}, **more)


@pytest.fixture(params=["http", "https"])
def source(request: pytest.FixtureRequest) -> Iterator[SumoSource]:
    with SumoSource(tls=request.param == "https") as source:
        yield source


@pytest.fixture
def plain() -> Iterator[SumoSource]:
    with SumoSource() as source:
        yield source


@pytest.fixture
def client(source: SumoSource) -> Iterator[Client]:
    client = Client(source)
    yield client
    client.pool.clear()


@pytest.fixture
def plain_client(plain: SumoSource) -> Iterator[Client]:
    client = Client(plain)
    yield client
    client.pool.clear()


def connect(source: SumoSource) -> socket.socket:
    """Return a raw connection."""
    return socket.create_connection(("127.0.0.1", urlsplit(source.url).port or 0), timeout=10.0)


def read_all(raw: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    return b"".join(iter(lambda: raw.recv(4096), b""))


def test_keeps_what_a_good_sender_sends(source: SumoSource, client: Client) -> None:
    """Two batches on one kept connection arrive in order, with nothing to complain about and every figure recorded."""
    before_s = time.time()
    assert [client.post_gzip(1, 2), client.post_gzip(3)] == [200, 200]

    assert source.problems == []
    assert source.records == [record(1), record(2), record(3)]
    assert source.ids() == {"env-w-1": 1, "env-w-2": 1, "env-w-3": 1}
    first, second = source.requests
    assert (first.connection, second.connection, source.max_connections_seen) == (1, 1, 1)
    assert (first.method, first.status, first.fault, first.is_kept) == ("POST", 200, ACCEPT, True)
    assert first.headers["x-sumo-host"] == "/aws/lambda/orders"
    assert first.body_size_bytes == len(lines(record(1), record(2)))
    assert first.raw_size_bytes == int(first.headers["content-length"])
    assert first.records == (record(1), record(2))
    assert first.answered_at_s is not None
    assert before_s <= first.received_at_s <= first.answered_at_s <= second.received_at_s <= time.time()


@pytest.mark.parametrize(
    ("encoding", "encode"), [("deflate", zlib.compress), ("gzip", gzip.compress), ("identity", bytes), ("", bytes)]
)
def test_decodes_what_sumo_documents(plain: SumoSource, plain_client: Client, encoding: str, encode: Any) -> None:
    """Every documented Content-Encoding, and none."""
    headers = {"Content-Encoding": encoding} if encoding else {}
    assert plain_client.post(encode(lines(record(1))), headers=headers) == 200
    assert (plain.records, plain.problems) == ([record(1)], [])


def test_takes_chunks_and_ignores_a_query(plain: SumoSource, plain_client: Client) -> None:
    """A body without Content-Length comes in chunks, and the next request on the same connection is found behind it."""
    whole = lines(record(1), record(2))
    assert plain_client.post([whole[:50], whole[50:]], url=f"{plain.url}?any=thing") == 200
    assert plain_client.post_gzip(3) == 200
    assert (len(plain.records), plain.problems, plain.requests[1].connection) == (3, [], 1)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "line 1: blank"),
        (lines(record(1)) + b"\n" + lines(record(2)), "line 2: blank"),
        (b"plain text\n", "line 1: Expecting value"),
        (b"[1]\n", "line 1: JSON, but no object"),
        (lines(record(1))[:-1] + lines(record(2)), "line 1: Extra data"),
        (b'{"time":"' + TIME.encode() + b'","a":1,"a":2}\n', "line 1: a key twice"),
        (b'{"time":"' + TIME.encode() + b'","a":NaN}\n', "line 1: NaN is Python's"),
        (lines({"type": "function", "time": TIME}), "line 1: time is not the first key"),
        (lines({"time": "2026-11-21 08:22:03,123"}), "line 1: a time that is not like"),
        (lines({"time": "2026-11-21T08:22:03.123456Z"}), "line 1: a time that is not like"),
        (lines({"message": "no time"}), "line 1: time is not the first key"),
    ],
)
def test_complains_about_a_line(plain: SumoSource, plain_client: Client, body: bytes, problem: str) -> None:
    """The real one takes such lines and makes something else of them, so that no status tells."""
    assert plain_client.post(body) == 200
    assert problem in plain.problems[0]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"X-Sumo-Category": "größer".encode()}, "x-sumo-category is not printable ASCII"),
        ({"X-Sumo-Client": ""}, "x-sumo-client is not printable ASCII"),
        ({"X-Sumo-Host": "orders"}, "x-sumo-host is nothing that the dashboards can parse"),
        ({"X-Sumo-Name": "$LATEST"}, "x-sumo-name is nothing that the dashboards can parse"),
        ({"X-Sumo-Fields": ",".join(f"k{n}=v" for n in range(31))}, "31 fields, 30 are the limit"),
        ({"X-Sumo-Fields": "team=a=b"}, "a field that is no key=value"),
        ({"X-Sumo-Fields": "team="}, "a field that is no key=value"),
        ({"X-Sumo-Fields": "team=a,,"}, "a field that is no key=value"),
        ({"X-Sumo-Fields": "k=" + "v" * 201}, "a field that is no key=value"),
        ({"X-Sumo-Fields": "k" * 256 + "=v"}, "a field that is no key=value"),
    ],
)
def test_complains_about_a_header(
    plain: SumoSource, plain_client: Client, headers: dict[str, Any], problem: str
) -> None:
    """Fields and names beyond the limits are dropped by the real one, or miss the dashboards, without a word."""
    assert plain_client.post(lines(record(1)), headers=headers) == 200
    assert problem in plain.problems[0]


def test_takes_headers_at_their_limits(plain: SumoSource, plain_client: Client) -> None:
    """Thirty fields, the longest key and value, and blanks behind the commas are fine."""
    fields = ", ".join(["k" * 255 + "=" + "v" * 200, *(f"k{n}=v" for n in range(29))])
    assert plain_client.post(lines(record(1)), headers={"X-Sumo-Fields": fields, "X-Sumo-Category": "a b"}) == 200
    assert plain.problems == []


@pytest.mark.parametrize(
    ("status", "problem", "request_parts"),
    [
        (401, "wrong path or token", {"url": "/receiver/v1/http/ZaVnC4dhaV0"}),
        (401, "wrong path or token", {"url": sumo_rules.PATH.replace("=", "%3D")}),
        (405, "GET is not POST", {"method": "GET"}),
        (400, "Content-Encoding 'br'", {"headers": {"Content-Encoding": "br"}}),
        (400, "stops early", {"headers": {"Content-Encoding": "gzip"}, "body": gzip.compress(b"{}")[:-1]}),
        (400, "goes on after its end", {"headers": {"Content-Encoding": "gzip"}, "body": gzip.compress(b"{}") + b"\0"}),
        (400, "incorrect header check", {"headers": {"Content-Encoding": "gzip"}, "body": b"{}"}),
        (400, "can't decode byte", {"body": b"\xff\n"}),
    ],
)
def test_refuses(
    plain: SumoSource, plain_client: Client, status: int, problem: str, request_parts: dict[str, Any]
) -> None:
    """What the real one refuses is refused here, with its status, whatever the script says, and is not kept."""
    plain.script([Fault(status=204)])
    parts = {"body": lines(record(1)), **request_parts}
    parts["url"] = plain.url.removesuffix(sumo_rules.PATH) + parts.get("url", sumo_rules.PATH)
    assert plain_client.post(parts.pop("body"), **parts) == status
    assert problem in plain.problems[-1]
    assert (plain.records, plain.requests[0].status, plain.requests[0].is_kept) == ([], status, False)


@pytest.mark.parametrize(
    ("head", "status", "problem"),
    [
        ("POST {path} HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n", b"200", "'HTTP/1.0' is not HTTP/1.1"),
        ("POST {path} HTTP/1.1\r\nContent-Length: 0\r\n", b"200", "no Host"),
        ("POST {path} HTTP/1.1\r\nHost: x\r\n", b"411", "neither a Content-Length nor chunks"),
        (
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"200",
            "both Content-Length and Transfer-Encoding",
        ),
        ("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n", b"", "malformed request: invalid literal"),
        ("HELO\r\n", b"", "malformed request: not enough values to unpack"),
        ("X" * 300_000, b"", "malformed request: no b'\\r\\n\\r\\n' within 65536 bytes"),
    ],
)
def test_complains_about_http(plain: SumoSource, head: str, status: bytes, problem: str) -> None:
    """What urllib3 would not send, a sender written by hand might."""
    with connect(plain) as raw:
        raw.sendall(head.format(path=sumo_rules.PATH).encode() + b"Connection: close\r\n\r\n0\r\n\r\n")
        with suppress(ConnectionResetError):  # what Linux makes of the close when it has unread bytes
            assert read_all(raw)[9:12] == status
    plain.close()
    assert any(problem in each for each in plain.problems)


def test_sizes_at_their_edges(plain: SumoSource, plain_client: Client) -> None:
    """A line of 64 KiB and a body of 1 MiB are the last that pass; one byte more is a problem each, and is taken."""
    line = lines(record(1, pad=""))
    widest = lines(record(1, pad="x" * (sumo_rules.LINE_LIMIT_BYTES + 1 - len(line))))
    full = widest * (sumo_rules.BODY_LIMIT_BYTES // len(widest))
    full += lines(record(2, pad="x" * (sumo_rules.BODY_LIMIT_BYTES - len(full) - len(lines(record(2, pad=""))))))
    assert len(full) == sumo_rules.BODY_LIMIT_BYTES
    assert plain_client.post(full) == 200
    assert plain.problems == []

    assert plain_client.post(full[:-3] + b"x" + full[-3:]) == 200
    assert plain_client.post(widest[:-3] + b"x" + widest[-3:]) == 200
    assert ["before compression" in plain.problems[0], "65537 bytes" in plain.problems[1]] == [True, True]


def test_limit_of_the_body() -> None:
    """Above `limit_bytes` the answer is 413, which asks the sender to split; the limit itself still passes."""
    body = lines(record(1))
    with SumoSource(limit_bytes=len(body)) as source:
        client = Client(source)
        assert [client.post(body), client.post(body + lines(record(2)))] == [200, 413]
        assert source.records == [record(1)]
        client.pool.clear()


def test_counts_connections(plain: SumoSource) -> None:
    """Two at a time are one too many; one after the other is fine, even if the end of the first is yet to be read."""
    for _ in range(20):
        connect(plain).close()
    with connect(plain), connect(plain):
        plain.wait_for(lambda source: source.max_connections_seen == 2)
    assert plain.problems == ["connection 22: 2 connections at a time, 1 are agreed"]


BROKEN = (ProtocolError, SSLError)
"""What urllib3 makes of a FIN or an RST in the place of an answer."""

TIMED_OUT = (ReadTimeoutError,)


@pytest.mark.parametrize(
    ("fault", "error", "is_kept"),
    [
        (Fault(at=Point.BEFORE_READING), BROKEN, False),
        (Fault(at=Point.BEFORE_READING, end=End.RESET), BROKEN, False),
        (Fault(at=Point.BEFORE_READING, end=End.HANG), TIMED_OUT, False),
        (Fault(at=Point.AFTER_HEADERS), BROKEN, False),
        (Fault(at=Point.IN_BODY, body_read_bytes=10), BROKEN, False),
        (Fault(at=Point.IN_BODY, body_read_bytes=10, end=End.RESET), BROKEN, False),
        (Fault(at=Point.AFTER_BODY), BROKEN, False),
        (HANG, TIMED_OUT, False),
        (LOSE_ANSWER, BROKEN, True),
        (Fault(at=Point.AFTER_KEEPING, end=End.RESET), BROKEN, True),
        (Fault(at=Point.AFTER_KEEPING, end=End.HANG), TIMED_OUT, True),
        (Fault(status=503, at=Point.AFTER_KEEPING), BROKEN, False),
        (Fault(delay_s=60.0), TIMED_OUT, True),
        (Fault(body=b"{}", claimed_size_bytes=3, at=Point.AFTER_ANSWER), BROKEN, True),
        (Fault(body=b"{}", claimed_size_bytes=3, at=Point.AFTER_ANSWER, end=End.HANG), TIMED_OUT, True),
    ],
    ids=lambda value: "" if not isinstance(value, Fault) else f"{value.at and value.at.value}, {value.end.name}",
)
def test_plays_a_fault(
    source: SumoSource, client: Client, fault: Fault, error: tuple[type[Exception], ...], is_kept: bool
) -> None:
    """A fault ends the request that it is scripted for in its own way, and leaves the source ready for the next one."""
    source.script([fault])
    patience = urllib3.Timeout(connect=10.0, read=SHORT_S if error is TIMED_OUT else 10.0)
    with pytest.raises(error):
        client.post_gzip(1, timeout=patience)
    client.pool.clear()  # a client that gives up closes
    assert client.post_gzip(2) == 200

    source.wait_for(2 if is_kept else 1)
    assert source.ids() == ({"env-w-1": 1, "env-w-2": 1} if is_kept else {"env-w-2": 1})
    assert [request.status for request in source.requests if request.fault is ACCEPT] == [200]
    assert source.problems == []


def test_drips(plain: SumoSource, plain_client: Client) -> None:
    """A read timeout begins anew at each byte: an answer that drips keeps a client for much longer than that."""
    patience_s = 0.5
    plain.script([Fault(body=b"x" * 100, drip_interval_s=patience_s / 100)])
    started_s = time.monotonic()
    assert plain_client.post_gzip(1, timeout=patience_s) == 200
    assert time.monotonic() - started_s > patience_s
    assert plain.problems == []


COMPLAINT = b'{"status": 200, "id": "7JX4K-LOOPB-ACK00", "code": "no", "errors": [{"code": "no", "message": "no!"}]}'


@pytest.mark.parametrize(
    ("fault", "headers", "data"),
    [
        (Fault(status=429, headers={"Retry-After": "7"}, body=b"STATUS 429"), {"Retry-After": "7"}, b"STATUS 429"),
        (sumo_source.redirect(307, "https://127.0.0.1/else"), {"Location": "https://127.0.0.1/else"}, b""),
        (Fault(status=204), {"Set-Cookie": "AWSALB=loopback; Path=/"}, b""),
        (Fault(body=b"{}", claimed_size_bytes=1, at=Point.AFTER_ANSWER), {"Content-Length": "1"}, b"{"),
        (sumo_source.complaint("no", "no!"), {"Content-Type": "application/json"}, COMPLAINT),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else "",
)
def test_answers(source: SumoSource, client: Client, fault: Fault, headers: dict[str, str], data: bytes) -> None:
    """Status, headers and body of an answer are the fault's; only a 2xx keeps the records."""
    source.script([fault])
    answer = client.pool.request("POST", source.url, body=lines(record(1)), headers=HEADERS, redirect=False)
    assert answer.status == fault.status
    assert headers.items() <= dict(answer.headers).items()
    assert answer.data == data
    assert (source.requests[0].status, source.requests[0].is_kept) == (fault.status, fault.status < 300)
    assert len(source.records) == (fault.status < 300)


def test_script_then_default(plain: SumoSource, plain_client: Client) -> None:
    """Faults are used up one a request, in order; then `default` applies, which may be changed at any time."""
    plain.script([Fault(status=503), Fault(status=429)])
    plain.script([ACCEPT])
    plain.default = Fault(status=500)
    assert [plain_client.post_gzip(number) for number in range(4)] == [503, 429, 200, 500]
    plain.default = ACCEPT
    assert plain_client.post_gzip(4) == 200
    assert plain.ids() == {"env-w-2": 1, "env-w-4": 1}


def test_closes_after_a_good_answer(source: SumoSource, client: Client) -> None:
    """A kept connection that the server closes without a word costs the sender a new one, and nothing else."""
    source.script([Fault(at=Point.AFTER_ANSWER)])
    assert client.post_gzip(1) == 200
    source.drop_connections()  # returns when the close has happened
    assert client.post_gzip(2) == 200
    assert [request.connection for request in source.requests] == [1, 2]
    assert source.problems == []


def test_closes_an_idle_connection() -> None:
    """As Sumo Logic's load balancer does after 30 s; the fault that is next in the script stays there."""
    with SumoSource(idle_timeout_s=SHORT_S / 4) as source, connect(source) as raw:
        source.script([HANG])
        assert read_all(raw) == b""
        assert source.requests == []


def test_refuses_connections_for_a_while(source: SumoSource, client: Client) -> None:
    """Nobody listens, and then somebody does again at the same address; a connection that is open outlives both."""
    assert client.post_gzip(1) == 200
    source.pause_listening()
    assert client.post_gzip(2) == 200
    client.pool.clear()
    with pytest.raises(NewConnectionError):
        client.post_gzip(3)
    source.resume_listening()
    assert client.post_gzip(4) == 200
    assert list(source.ids()) == ["env-w-1", "env-w-2", "env-w-4"]
    assert source.problems == []


def test_is_silent_for_a_while(source: SumoSource, client: Client) -> None:
    """Behind a firewall, or in a subnet without a way out, a connect is not refused but hangs."""
    source.pause_listening(silent=True)
    with pytest.raises(ConnectTimeoutError):
        client.post_gzip(1, timeout=SHORT_S)
    source.resume_listening()
    assert client.post_gzip(2) == 200
    assert (source.ids(), source.problems) == ({"env-w-2": 1}, [])


def test_accepts_slowly(source: SumoSource, client: Client) -> None:
    """The kernel takes the connection, and nobody serves it: TLS hangs in its handshake, HTTP in the answer.

    Without TLS the request is in the socket by then, and is taken from it when everybody has stopped waiting.
    """
    source.accept_delay_s = 60.0
    with pytest.raises((ReadTimeoutError, ConnectTimeoutError)):
        client.post_gzip(1, timeout=SHORT_S)
    client.pool.clear()
    source.accept_delay_s = 0.0
    assert client.post_gzip(2) == 200
    expected = {"env-w-2": 1} if source.url.startswith("https:") else {"env-w-1": 1, "env-w-2": 1}
    source.wait_for(len(expected))
    assert (source.ids(), source.problems) == (expected, [])


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n123"])
def test_drops_connections(plain: SumoSource, sent: bytes) -> None:
    """Whatever a sender is doing, it can be hung up on."""
    with connect(plain) as raw:
        raw.sendall(sent)
        plain.wait_for(lambda source: source.max_connections_seen == 1)
        plain.drop_connections()
        assert read_all(raw) == b""


@pytest.mark.parametrize("fault", [HANG, Fault(delay_s=60.0), Fault(at=Point.BEFORE_READING, end=End.HANG)])
def test_closes_whatever_happens(fault: Fault) -> None:
    """Closing the source ends a hang, a delay and a stopped reader, and leaves no thread behind."""
    source = SumoSource()
    source.default = fault
    with closing(connect(source)) as raw:
        raw.sendall(f"POST {sumo_rules.PATH} HTTP/1.1\r\nContent-Length: 3\r\n\r\n{{}}\n".encode())
        source.wait_for(lambda source: source.max_connections_seen == 1)
        source.close()
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("sumo-")]
        source.close()


def test_waits(plain: SumoSource, plain_client: Client) -> None:
    """`wait_for` wakes up at the record or the condition, and says what there is when it does not come."""
    late = threading.Thread(target=plain_client.post_gzip, args=(1, 2))
    late.start()
    plain.wait_for(2)
    plain.wait_for(lambda source: source.ids()["env-w-2"] == 1)
    late.join()
    with pytest.raises(TimeoutError, match=r"2 records kept of 1 requests on 1 connections, answers \{200: 1\}"):
        plain.wait_for(3, timeout_s=0.01)


def test_tls_is_checked() -> None:
    """The certificate holds for both names of loopback, for those who trust the authority only, from TLS 1.2 on."""
    with SumoSource(tls=True) as source:
        client = Client(source)
        assert client.post_gzip(1) == 200
        assert client.post_gzip(2, url=source.url.replace("127.0.0.1", "localhost")) == 200
        client.pool.clear()
        with urllib3.PoolManager(retries=False) as stranger, pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.request("POST", source.url)

        context = ssl.create_default_context(cafile=str(source.ca_file))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            connect(source) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
        ):
            assert wrapped.version() == "TLSv1.2"


def test_runs_as_a_process(tmp_path: Path) -> None:
    """For benchmarks: the endpoint on the first line, the accepted lines in a file, the summary at the end."""
    command = [sys.executable, sumo_source.__file__, "--keep", str(tmp_path / "got.ndjson")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            for number in (1, 2):
                urllib3.request("POST", url, body=lines(record(number)), headers={**HEADERS, "Connection": "close"})
        finally:
            process.send_signal(signal.SIGTERM)
        assert "2 records kept of 2 requests on 2 connections, answers {200: 2}, problems []" in process.stdout.read()
    assert process.returncode == 0
    assert (tmp_path / "got.ndjson").read_bytes() == lines(record(1), record(2))
