"""The HTTP source, with both senders, against a real server: answers, faults, redirects; and the token is not told."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn
from urllib.parse import quote

import pytest
from faulty_http import End
from scripted_http import ScriptedServer, answer
from sumo_rules import PATH, TOKEN
from sumo_source import ACCEPT, HANG, LOSE_ANSWER, Fault, Point, SumoSource, complaint, redirect

from sumo_internal.destinations.attempt import Attempt
from sumo_internal.destinations.endpoint import Endpoint
from sumo_internal.destinations.http_source import REDIRECTS_MAX, HttpSource, _redirect
from sumo_internal.net import http1
from sumo_internal.net.client import NotSentError, PlainSender
from sumo_internal.net.pool import PooledSender

ENVELOPE = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]0123abcd"}
PATIENT_S = 10.0
SHORT_S = 0.2
"""A sender's patience where the source is to outlast it."""
SENDERS: dict[str, type[PooledSender] | type[PlainSender]] = {"pooled": PooledSender, "plain": PlainSender}


def no_aws() -> NoReturn:
    """A plain address needs no account."""
    raise AssertionError


def plain_endpoint(url: str) -> Endpoint:
    return Endpoint(url, "", "", 0.0, no_aws)


class Client:
    """An HttpSource with one of the senders; numbers the records, and reads each problem for the token."""

    def __init__(self, url: str, sender: PooledSender | PlainSender) -> None:
        self._http_source = HttpSource(plain_endpoint(url), sender)
        self._numbers = itertools.count(1)

    def post(self, count: int = 1, timeout_s: float = PATIENT_S) -> Attempt:
        """Post new records."""
        lines = [
            json.dumps({"time": "2026-11-21T08:22:03.123Z", "message": "paid", "id": f"e-w-{next(self._numbers):010d}"})
            for _ in range(count)
        ]
        body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
        attempt = self._http_source.post(lambda _: body, ENVELOPE, timeout_s)
        assert TOKEN[:10] not in attempt.problem
        return attempt


@pytest.fixture(params=SENDERS)
def sender(request: pytest.FixtureRequest) -> Iterator[PooledSender | PlainSender]:
    sender = SENDERS[request.param]()
    yield sender
    sender.close()


@pytest.fixture(params=["http", "https"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SumoSource]:
    """A source whose authority both senders trust, as they trust the machine's."""
    with SumoSource(tls=request.param == "https") as source:
        if request.param == "https":
            monkeypatch.setenv("SSL_CERT_FILE", str(source.ca_file))
        yield source


@pytest.fixture
def plain() -> Iterator[SumoSource]:
    """For what TLS has no part in."""
    with SumoSource() as source:
        yield source


def test_batches_arrive_over_one_kept_connection(source: SumoSource, sender: PooledSender | PlainSender) -> None:
    """Once each, with the envelope's headers, on a single connection: a TLS handshake costs more than a batch."""
    client = Client(source.url, sender)
    attempts = [client.post(count) for count in (1, 2, 3)]

    assert [(attempt.status, attempt.problem) for attempt in attempts] == [(200, "")] * 3
    assert source.ids() == {f"e-w-{number:010d}": 1 for number in range(1, 7)}
    assert {request.connection for request in source.requests} == {1}
    headers = source.requests[-1].headers
    assert {name: headers[name.lower()] for name in ENVELOPE} == ENVELOPE
    assert (headers["content-encoding"], headers["user-agent"]) == ("gzip", "sumo-internal-extension")
    assert source.problems == []


@pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 408, 413, 429, 500, 503])
def test_answers(plain: SumoSource, sender: PooledSender | PlainSender, status: int) -> None:
    """The status is the attempt's; a plain success has nothing to say, everything else says what it was."""
    plain.script([Fault(status=status)])
    attempt = Client(plain.url, sender).post()
    assert (attempt.status, attempt.retry_after_s) == (status, None)
    assert attempt.problem == ("" if status < 300 else f"HTTP {status}")


def test_a_complaint_in_a_success_is_told(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """Sumo Logic answers 200 and says in the body what it did not like: a warning that nobody else would see."""
    plain.script([complaint("logs.fields.invalid", "field not in the schema")])
    attempt = Client(plain.url, sender).post()
    assert attempt.status == 200
    assert "field not in the schema" in attempt.problem


@pytest.mark.parametrize(
    ("value", "retry_after_s"),
    [
        *[("7", 7.0), ("0", 0.0), ("3600", 3600.0), ("soon", None), ("-1", None), ("", None), ("\u00b2", None)],
        ("Sat, 21 Nov 2026 08:22:03 GMT", None),
    ],
)
def test_retry_after(
    plain: SumoSource, sender: PooledSender | PlainSender, value: str, retry_after_s: float | None
) -> None:
    """Seconds are taken as asked for; a date, or what is no number, leaves the pause to us."""
    plain.script([Fault(status=429, headers={"Retry-After": value})])
    attempt = Client(plain.url, sender).post()
    assert (attempt.status, attempt.retry_after_s) == (429, retry_after_s)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("path", [PATH, quote(PATH, safe=""), escape(PATH)], ids=["plain", "quoted", "escaped"])
@pytest.mark.parametrize("before", [0, 150], ids=["first", "cut"])
def test_an_answer_that_repeats_the_address_does_not_give_it_away(
    plain: SumoSource, sender: PooledSender | PlainSender, status: int, path: str, before: int
) -> None:
    """A proxy's error page names what was asked for; the problem is written to the function's log."""
    plain.script([Fault(status=status, body=f"{'-' * before}The requested URL {path} was not found.".encode())])
    assert Client(plain.url, sender).post().status == status


@pytest.mark.parametrize("change", [str, str.lower, str.upper], ids=["as it is", "lower", "upper"])
@pytest.mark.parametrize("ending", ["", "/", "/?a=b", "?code=12345678"])
def test_no_part_of_any_address_of_a_post_is_shown(
    sender: PooledSender | PlainSender, ending: str, change: Callable[[str], str]
) -> None:
    """An address with a slash at its end, one of a redirect, in letters of another case: each has the credential."""
    moved = f"/moved/{'x' * 10}SECRETPART/"
    with ScriptedServer() as server:
        http_source = HttpSource(plain_endpoint(f"{server.url}{PATH}{ending}"), sender)
        for part in (TOKEN, "SECRETPART", "12345678" if "12345678" in ending else TOKEN):
            said = change(f"no {part}, sorry").encode()
            server.script(answer(301, Location=f"{moved}{ending}"), answer(404, said))
            problem = http_source.post(lambda _: gzip.compress(b""), ENVELOPE, PATIENT_S).problem
            assert problem == "HTTP 404 (its text repeats the address and is left out)"


def test_a_long_answer_is_cut(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """What is said is a line, not a page."""
    plain.script([Fault(status=500, body=b"\xff" * 100_000)])
    assert len(Client(plain.url, sender).post().problem) < 300


BROKEN = {
    "closed at once": Fault(at=Point.BEFORE_READING),
    "reset at once": Fault(at=Point.BEFORE_READING, end=End.RESET),
    "closed after the headers": Fault(at=Point.AFTER_HEADERS),
    "closed in the body": Fault(at=Point.IN_BODY, body_read_bytes=10),
    "closed after the body": Fault(at=Point.AFTER_BODY),
    "reset after the body": Fault(at=Point.AFTER_BODY, end=End.RESET),
    "answer lost": LOSE_ANSWER,
    "refusal cut short": Fault(status=500, body=b"{}", claimed_size_bytes=100, at=Point.AFTER_ANSWER),
    "refusal reset": Fault(status=500, body=b"{}", claimed_size_bytes=100, at=Point.AFTER_ANSWER, end=End.RESET),
}

TAKEN = {
    "cut short": Fault(body=b"{}", claimed_size_bytes=100, at=Point.AFTER_ANSWER),
    "reset": Fault(body=b"{}", claimed_size_bytes=100, at=Point.AFTER_ANSWER, end=End.RESET),
    "hangs": Fault(body=b"{}", claimed_size_bytes=100, at=Point.AFTER_ANSWER, end=End.HANG),
    "too long": Fault(body=b"x" * 3_000_000),
    "longer than any": Fault(headers={"Content-Length": "9" * 5_000}, at=Point.AFTER_ANSWER),
    "of no length": Fault(headers={"Transfer-Encoding": "chunked"}, body=b"rubbish\r\n", at=Point.AFTER_ANSWER),
}
"""Successes whose bodies are none."""


@pytest.mark.parametrize("fault", TAKEN.values(), ids=TAKEN.keys())
def test_the_head_of_a_success_decides(source: SumoSource, sender: PooledSender | PlainSender, fault: Fault) -> None:
    """The source has the lines, and they are not sent again, whatever its body is; the connection is not kept."""
    client = Client(source.url, sender)
    source.script([fault])

    attempt = client.post()

    assert (attempt.status, attempt.is_sent_again) == (200, False)
    assert client.post().status == 200
    assert [request.connection for request in source.requests] == [1, 2]
    assert source.ids() == {"e-w-0000000001": 1, "e-w-0000000002": 1}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
def test_a_fresh_connection_that_breaks_is_no_answer(
    source: SumoSource, sender: PooledSender | PlainSender, fault: Fault
) -> None:
    """One request, no answer, a reason; nothing is repeated behind the drainer's back; the next post is fine."""
    source.script([fault])
    client = Client(source.url, sender)

    attempt = client.post()

    assert (attempt.status, attempt.retry_after_s) == (0, None)
    assert attempt.problem
    assert len(source.requests) == 1
    assert client.post().status == 200


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
def test_a_kept_connection_that_breaks_is_tried_again_at_once(
    source: SumoSource, sender: PooledSender | PlainSender, fault: Fault
) -> None:
    """A socket does not survive a freeze, and that says nothing about the source: one try on a fresh connection."""
    client = Client(source.url, sender)
    assert client.post().status == 200
    source.script([fault])

    assert client.post().status == 200

    assert [request.connection for request in source.requests] == [1, 1, 2]
    # What arrived although its answer was lost, or was none, arrives twice; the ids tell.
    assert set(source.ids().values()) <= {1, 2} and len(source.ids()) == 2


def test_a_fresh_connection_that_breaks_too_is_no_answer(
    source: SumoSource, sender: PooledSender | PlainSender
) -> None:
    """Once, not for ever: the second break is the source's."""
    client = Client(source.url, sender)
    assert client.post().status == 200
    source.script([Fault(at=Point.BEFORE_READING)] * 3)
    assert client.post().status == 0
    assert len(source.requests) == 3


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
def test_a_connection_closed_while_nobody_looked_is_replaced(
    source: SumoSource, sender: PooledSender | PlainSender, end: End
) -> None:
    """The load balancer closes what is idle, and the freeze hides it."""
    source.script([Fault(at=Point.AFTER_ANSWER, end=end)])
    client = Client(source.url, sender)
    assert client.post().status == 200
    source.drop_connections()
    attempt = client.post()
    assert (attempt.status, attempt.is_sent_again) == (200, False), "nothing had been sent, so nothing may come twice"
    assert sum(source.ids().values()) == len(source.ids()) == 2


def test_a_source_that_asks_to_close_is_not_kept(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """``Connection: close``: the next batch goes over a fresh connection, without a failed try first."""
    plain.script([Fault(headers={"Connection": "close"}, at=Point.AFTER_ANSWER)])
    client = Client(plain.url, sender)
    assert [client.post().status, client.post().status] == [200, 200]
    assert [request.connection for request in plain.requests] == [1, 2]


def test_a_source_that_is_away_and_comes_back(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """Refused is said as such; the sender is as good as new afterwards."""
    client = Client(plain.url, sender)
    plain.pause_listening()
    assert client.post().problem == "ConnectionRefusedError: Connection refused"
    plain.resume_listening()
    assert client.post().status == 200


def is_timeout(attempt: Attempt) -> bool:
    """The two libraries say it in different words."""
    return attempt.status == 0 and ("Timeout" in attempt.problem or "timed out" in attempt.problem)


@pytest.mark.parametrize("is_kept", [False, True], ids=["fresh", "kept"])
def test_a_source_that_hangs_is_given_up(source: SumoSource, sender: PooledSender | PlainSender, is_kept: bool) -> None:
    """After the time that was given, and not tried again at once: slow is not stale."""
    client = Client(source.url, sender)
    if is_kept:
        assert client.post().status == 200
    source.default = HANG

    assert is_timeout(client.post(timeout_s=SHORT_S))

    assert len(source.requests) == 1 + is_kept
    source.default = ACCEPT
    assert client.post().status == 200


def test_a_connect_without_an_answer_is_given_up(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """Behind a firewall that drops packets, as in a VPC without a way out."""
    plain.pause_listening(silent=True)
    assert is_timeout(Client(plain.url, sender).post(timeout_s=SHORT_S))


def test_a_handshake_without_an_answer_is_given_up(
    sender: PooledSender | PlainSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS has waits of its own before the request's."""
    with SumoSource(tls=True) as source:
        monkeypatch.setenv("SSL_CERT_FILE", str(source.ca_file))
        source.accept_delay_s = PATIENT_S
        assert is_timeout(Client(source.url, sender).post(timeout_s=SHORT_S))
        assert source.requests == []


def test_a_reset_is_called_one(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """The reason is the innermost one: "ProtocolError" or "SSLError" tells nobody where to look."""
    plain.script([Fault(at=Point.AFTER_BODY, end=End.RESET)])
    assert Client(plain.url, sender).post().problem == "ConnectionResetError: Connection reset by peer"


def test_a_server_that_nobody_vouches_for_gets_nothing(sender: PooledSender | PlainSender) -> None:
    """A certificate of an unknown authority: no request, and the reason is what to look for."""
    with SumoSource(tls=True) as source:
        attempt = Client(source.url, sender).post()
        assert attempt.status == 0
        assert "CERTIFICATE_VERIFY_FAILED" in attempt.problem
        assert source.requests == []


def test_a_certificate_for_another_name_is_refused(
    sender: PooledSender | PlainSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trusted, but not for the host in the address."""
    with SumoSource(tls=True) as source:
        monkeypatch.setenv("SSL_CERT_FILE", str(source.ca_file))
        attempt = Client(source.url.replace("127.0.0.1", "127.0.0.2"), sender).post()
        assert attempt.status == 0
        assert source.requests == []


def test_a_peer_that_speaks_something_else(sender: PooledSender | PlainSender) -> None:
    """Not HTTP, then the end: no answer, and the reason is one word, not the peer's text."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        server = threading.Thread(target=serve)
        server.start()
        attempt = Client(f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}", sender).post()
        server.join()
    assert attempt.status == 0
    assert attempt.problem and "SSH" not in attempt.problem


@pytest.mark.parametrize(
    "authority", ["127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:\u00b2", "a..b", f"{'a' * 64}.invalid", ".invalid"]
)
def test_an_address_that_is_none_is_no_answer(sender: PooledSender | PlainSender, authority: str) -> None:
    """What the settings let pass and the network does not: an attempt that failed, never an exception."""
    attempt = Client(f"http://{authority}{PATH}", sender).post()
    assert attempt.status == 0 and attempt.problem


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_with_method_and_body(
    source: SumoSource, sender: PooledSender | PlainSender, status: int
) -> None:
    """Sumo Logic moves accounts between deployments with a 301; a library would go on with an empty GET."""
    source.script([redirect(status, f"{source.url}?moved=1"), redirect(status, f"{PATH}?moved=2")])
    attempt = Client(source.url, sender).post()

    assert (attempt.status, attempt.problem) == (200, "")
    assert [(request.method, request.path.partition("?")[2]) for request in source.requests] == [
        *[("POST", ""), ("POST", "moved=1")],
        ("POST", "moved=2"),
    ]
    assert len({request.raw_size_bytes for request in source.requests}) == 1
    assert source.ids() == {"e-w-0000000001": 1}


def test_redirects_have_an_end(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """Two addresses that point to each other."""
    plain.default = redirect(307, plain.url)
    attempt = Client(plain.url, sender).post()
    assert (attempt.status, attempt.problem) == (0, "too many redirects")
    assert len(plain.requests) == REDIRECTS_MAX + 1


def test_a_post_has_one_deadline_however_it_is_redirected(
    plain: SumoSource, sender: PooledSender | PlainSender
) -> None:
    """Each redirect anew would make four times the time of one, which the bucket behind it does not get."""
    plain.default = Fault(status=307, headers={"Location": plain.url}, delay_s=0.6)
    begun_s = monotonic()
    attempt = Client(plain.url, sender).post(timeout_s=1.0)
    assert is_timeout(attempt) and monotonic() - begun_s < 2.0


def test_redirects_elsewhere_are_not_followed(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """Another port on the same machine is another host: nothing goes there, and the problem does not say where."""
    with SumoSource() as elsewhere:
        for location in (elsewhere.url, "ftp://127.0.0.1/", "relative/path", ""):
            plain.script([redirect(307, location)])
            attempt = Client(plain.url, sender).post()
            assert (attempt.status, attempt.problem) == (307, "redirect to an address that is not Sumo Logic's")
        assert elsewhere.requests == []


FROM = f"https://collectors.sumologic.com{PATH}"


@pytest.mark.parametrize(
    "location",
    [
        "https://endpoint1.collection.eu.sumologic.com/receiver/v1/http/x",
        "https://collectors.sumologic.com:443/receiver",
        "https://sumologic.com/",
        "https://collectors.sumologic.com/other?a=https://evil.example/",
    ],
)
def test_where_redirects_may_lead(location: str) -> None:
    """Below sumologic.com, over https."""
    assert _redirect(FROM, location) == location


@pytest.mark.parametrize(
    "location",
    [
        "http://collectors.sumologic.com/receiver",
        "https://evil.example/",
        "https://evilsumologic.com/",
        "https://sumologic.com.evil.example/",
        "https://collectors.sumologic.com@evil.example/",
        "https://collectors.sumologic.com:x@evil.example/",
        "https://evil.example?.sumologic.com",
        "https://evil.example?@collectors.sumologic.com/",
        "https://evil.example#.sumologic.com",
        "https://evil.example#@collectors.sumologic.com/",
        "https://evil.example\\.sumologic.com/",
        "https://evil.example\\@collectors.sumologic.com/",
        "//evil.example\\",
        "https:evil.example",
        "",
    ],
)
def test_where_redirects_may_not_lead(location: str) -> None:
    """By any of the ways in which an address can look like one of Sumo Logic's and be read as another's."""
    target = _redirect(FROM, location)
    assert target is None or target.startswith("https://collectors.sumologic.com/")


# A token in a header.


def with_token(url: str, sender: PooledSender | PlainSender, token: str = TOKEN) -> Attempt:
    """Post a record with a token; it is not in what is wrong."""
    body = gzip.compress(b'{"time": "2026-11-21T08:22:03.123Z", "message": "paid", "id": "e-w-0000000001"}\n')
    attempt = HttpSource(Endpoint(url, "", "", 0.0, no_aws, token), sender).post(lambda _: body, ENVELOPE, PATIENT_S)
    assert token[:10] not in attempt.problem
    return attempt


def test_a_token_goes_in_a_header(source: SumoSource, sender: PooledSender | PlainSender) -> None:
    """To an address without a code, with everything else as ever; a wrong one is the source's 401."""
    assert with_token(source.base_url, sender).status == 200
    assert source.requests[-1].headers["x-sumo-token"] == TOKEN
    assert with_token(f"{source.base_url}/", sender).status == 200
    assert source.problems == []
    assert with_token(source.base_url, sender, "another token").status == 401
    assert with_token(source.url, sender).status == 200
    assert "x-sumo-token" not in source.requests[-1].headers, "the code in the path is used"


@pytest.mark.parametrize("change", [str, str.lower, str.upper], ids=["as it is", "lower", "upper"])
def test_an_answer_that_repeats_the_token_does_not_give_it_away(
    plain: SumoSource, sender: PooledSender | PlainSender, change: Callable[[str], str]
) -> None:
    """A debug page that lists the request's headers; a piece of eight characters is enough to leave the text out."""
    plain.script([Fault(status=500, body=f"x-sumo-token: …{change(TOKEN[20:28])}…".encode())])
    assert with_token(plain.base_url, sender).problem == "HTTP 500 (its text repeats the address and is left out)"


@pytest.mark.parametrize(
    ("address", "is_sent"),
    [
        ("https://collectors.test/receiver/v1/http", True),
        ("HTTPS://collectors.test/receiver/v1/http", True),
        ("http://127.0.0.1:8088/receiver/v1/http", True),
        ("http://127.255.0.1/receiver/v1/http", True),
        ("http://localhost:8088/receiver/v1/http", True),
        ("http://[::1]:8088/receiver/v1/http", True),
        ("http://[::1]/receiver/v1/http", True),
        ("http://collectors.test/receiver/v1/http", False),
        ("http://localhost.evil.example/receiver/v1/http", False),
        ("http://127.0.0.1.evil.example/receiver/v1/http", False),
        ("http://127.0.0.1@evil.example/receiver/v1/http", False),
        ("http://[::2]/receiver/v1/http", False),
        ("http://128.0.0.1/receiver/v1/http", False),
    ],
)
def test_a_token_stays_off_the_open_network(address: str, is_sent: bool) -> None:
    """Without https it would be read on the way: nothing is posted, neither token nor lines, and it is said why."""
    sender = Broken()
    http_source = HttpSource(Endpoint(address, "", "", 0.0, no_aws, TOKEN), sender)
    attempt = http_source.post(lambda _: b"", {}, PATIENT_S)
    assert (sender.tries > 0) == is_sent
    assert is_sent or attempt.problem == "SUMO_HTTP_TOKEN is not sent to an address without https; nothing is"


def test_a_token_is_not_taken_elsewhere(plain: SumoSource, sender: PooledSender | PlainSender) -> None:
    """A redirect leads to the same host or below sumologic.com, or is not followed: another host never sees it."""
    with SumoSource() as elsewhere:
        plain.script([redirect(307, elsewhere.base_url), redirect(307, f"{plain.base_url}?moved=1")])
        assert with_token(plain.base_url, sender).status == 307
        assert elsewhere.requests == []
        assert with_token(plain.base_url, sender).status == 200
        assert plain.requests[-1].headers["x-sumo-token"] == TOKEN


class Broken:
    """A sender that cannot send: what any other implementation has to look like."""

    def __init__(self) -> None:
        self.tries = 0

    def send(self, method: str, url: str, headers: Any, body: bytes, timeout_s: float) -> http1.Answer:
        self.tries += 1
        raise NotSentError("reason", is_stale=True)

    def close(self) -> None:
        """Nothing is kept."""


def test_stale_is_believed_once() -> None:
    """A sender that calls everything stale does not keep the drainer for ever."""
    sender = Broken()
    attempt = HttpSource(plain_endpoint("https://host/"), sender).post(lambda _: b"", {}, PATIENT_S)
    assert (attempt.status, attempt.problem, sender.tries) == (0, "reason", 2)


def test_both_senders_send_the_same(plain: SumoSource) -> None:
    """What arrives does not depend on which process ships it, but for the names that libraries add."""
    Client(plain.url, PooledSender()).post()
    with closing(PlainSender()) as sender:
        plain.drop_connections()
        Client(plain.url, sender).post()
    pooled, single = plain.requests
    assert pooled.records == single.records
    added = {"accept-encoding"}
    assert {name: value for name, value in pooled.headers.items() if name not in added} == single.headers


def test_the_authority_file_is_read_from_the_usual_place(tmp_path: Path, sender: PooledSender | PlainSender) -> None:
    """A function that brings its own authorities (SSL_CERT_FILE) is obeyed: there is no other list built in."""
    with SumoSource(tls=True) as source, pytest.MonkeyPatch.context() as environ:
        copy = tmp_path / "ca.pem"
        copy.write_bytes(source.ca_file.read_bytes())
        environ.setenv("SSL_CERT_FILE", str(copy))
        assert Client(source.url, sender).post().status == 200
