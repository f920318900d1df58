"""Both senders on the network: proxies, authorities, time, early and late answers; and that nobody else sees them.

What they do with a Sumo Logic source is in ``test_http_source``.
"""

from __future__ import annotations

import base64
import ctypes
import gzip
import hashlib
import json
import logging
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from faulty_http import Authority, End
from scripted_http import ScriptedServer, answer
from sumo_source import ACCEPT, Fault, SumoSource

from layer.build import ROOT
from sumo_internal.net import connection, http1, pool, tls
from sumo_internal.net.client import NotSentError, PlainSender
from sumo_internal.net.connection import UNHEARD_MAX_MS
from sumo_internal.net.pool import PooledSender

PATIENT_S = 10.0
SHORT_S = 0.3
"""A sender's patience where the peer is to outlast it."""
OK = answer(200, b"ok")
USER, PASSWORD = "function", "p@ss:w%rd"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SENDERS = [PooledSender, PlainSender]

AnySender = PooledSender | PlainSender
MakeSender = Callable[..., AnySender]


@pytest.fixture(params=SENDERS)
def make_sender(request: pytest.FixtureRequest) -> Iterator[MakeSender]:
    """Return a sender for an environment; closed behind the test, as urllib3's pool is when it goes."""
    senders: list[AnySender] = []

    def make(environ: Mapping[str, str] = os.environ) -> AnySender:
        trusted = {name: os.environ[name] for name in tls.VARIABLES if name in os.environ}
        senders.append(request.param({**trusted, **environ}))
        return senders[-1]

    yield make
    for sender in senders:
        sender.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """In the clear, content with everything."""
    with ScriptedServer(OK) as server:
        yield server


@pytest.fixture
def tls_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """With TLS, and an authority that is trusted."""
    with ScriptedServer(OK, tls=True) as server:
        assert server.authority is not None
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.ca_file))
        yield server


def post(sender: AnySender, url: str, body: bytes = b"line", timeout_s: float = PATIENT_S) -> http1.Answer:
    """Send something."""
    return sender.send("POST", f"{url}/path", {"X-Sumo-Name": "stream"}, body, timeout_s)


def problem_of(sender: AnySender, url: str, timeout_s: float = PATIENT_S) -> str:
    """Send in vain, and return why; there is no password in it, nor a path."""
    with pytest.raises(NotSentError) as error:
        post(sender, url, timeout_s=timeout_s)
    shown = repr(error.value) + repr(vars(error.value))
    assert not any(secret in shown for secret in (PASSWORD, "p%40ss", AUTHORIZATION.split()[1], "/path"))
    return str(error.value)


# Proxies.


class Proxy:
    """A proxy for http and https on loopback, which wants credentials; a context manager.

    It knows every host, at 127.0.0.1. A ``CONNECT`` opens a tunnel; another request is passed on, and with it the
    whole connection, as far as these tests go.

    Attributes:
        refusal: when there is one it is the answer to everything; ``b""`` hangs up instead, None lets pass.
        seen: method and target of each request.
    """

    def __init__(self) -> None:
        self.refusal: bytes | None = None
        self.seen: list[tuple[str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{USER}:p%40ss:w%25rd@127.0.0.1:{self.port}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(); a mere close does not
        self.drop_connections()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def drop_connections(self) -> None:
        """Hang up on everybody."""
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # shut down
                return
            self._sockets.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                more = client.recv(65_536)
                if not more:
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            method, target, _ = first.split(" ")
            self.seen.append((method, target))
            refusal = self.refusal
            if f"Proxy-Authorization: {AUTHORIZATION}" not in lines:
                refusal = answer(407, b"who are you?", Proxy_Authenticate="Basic")
            if refusal is not None:
                client.sendall(refusal)
                return
            authority = target if method == "CONNECT" else target.partition("://")[2].partition("/")[0]
            with socket.create_connection(("127.0.0.1", int(authority.rpartition(":")[2]))) as server:
                self._sockets.append(server)
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
                else:
                    path = target.partition("://")[2].partition("/")[2]
                    kept = [line for line in lines if not line.startswith("Proxy-")]
                    server.sendall("\r\n".join([f"{method} /{path} HTTP/1.1", *kept, "", ""]).encode() + body)
                _relay(client, server)


def readable(*sockets: socket.socket) -> list[socket.socket]:
    """Wait until one of them has something to read; not select(), which knows no descriptor above 1,023."""
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll()}
    return [each for each in sockets if each.fileno() in ready]


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions, until one of them leaves."""
    while True:
        for ready in readable(one, other):
            data = ready.recv(65_536)
            if not data:
                return
            (other if ready is one else one).sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@pytest.fixture
def sender(make_sender: MakeSender, proxy: Proxy) -> AnySender:
    """A sender that is to use the proxy for everything."""
    return make_sender({"HTTPS_PROXY": proxy.url, "http_proxy": proxy.url})


def test_https_goes_through_a_tunnel(tls_server: ScriptedServer, proxy: Proxy, sender: AnySender) -> None:
    """One tunnel, kept; the peer behind it is verified, and sees nothing of what was for the proxy."""
    assert [post(sender, tls_server.url).body for _ in range(3)] == [b"ok"] * 3
    assert proxy.seen == [("CONNECT", f"127.0.0.1:{tls_server.port}")]
    for request in tls_server.requests:
        assert (request.method, request.path, request.body) == ("POST", "/path", b"line")
        assert set(request.headers) == {"host", "x-sumo-name", "content-length"}
        assert request.headers["host"] == f"127.0.0.1:{tls_server.port}"


def test_http_is_passed_on(server: ScriptedServer, proxy: Proxy, sender: AnySender) -> None:
    """The proxy gets the whole address and looks up the name, which need not be known here."""
    url = f"http://collectors.invalid:{server.port}"
    assert post(sender, url).body == b"ok"
    assert proxy.seen == [("POST", f"{url}/path")]
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/path", b"line")
    assert request.headers["host"] == f"collectors.invalid:{server.port}"


def test_a_tunnel_does_not_weaken_tls(
    tls_server: ScriptedServer, proxy: Proxy, sender: AnySender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the proxy, too, somebody else's certificate and one of an unknown authority get nothing."""
    assert "CERTIFICATE_VERIFY_FAILED" in problem_of(sender, f"https://collectors.invalid:{tls_server.port}")
    assert tls_server.requests == []
    assert post(sender, tls_server.url).status == 200


def test_exceptions_go_straight(
    server: ScriptedServer, tls_server: ScriptedServer, proxy: Proxy, make_sender: MakeSender
) -> None:
    """NO_PROXY, and a scheme without a proxy."""
    for environ in (
        {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"},
        {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": "", "NO_PROXY": f"127.0.0.1:{tls_server.port}"},
        {},
    ):
        sender = make_sender(environ)
        assert (post(sender, server.url).status, post(sender, tls_server.url).status) == (200, 200)
    assert proxy.seen == []


def test_the_processs_environment_counts(
    server: ScriptedServer, proxy: Proxy, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless another is given."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    sender = make_sender()
    assert post(sender, server.url).status == 200
    assert len(proxy.seen) == 1


REFUSALS = {
    "credentials": (answer(407, b"no"), "the proxy responds with 407"),
    "the host": (answer(403, b"<html>not allowed</html>"), "the proxy responds with 403"),
    "nobody there": (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "the proxy responds with 502"),
    "hangs up": (b"", "the proxy: no response"),
    "half an answer": (b"HTTP/1.1 200 OK\r\n", "the proxy: no response"),
    "another protocol": (b"\x05\xff\r\n\r\n", "the proxy responds with "),
}


@pytest.mark.parametrize(("refusal", "problem"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_proxy_that_refuses_a_tunnel(
    tls_server: ScriptedServer, proxy: Proxy, sender: AnySender, refusal: bytes, problem: str
) -> None:
    """It is the proxy's problem, and told as that; when it has passed, so has ours."""
    proxy.refusal = refusal
    assert problem_of(sender, tls_server.url) == problem
    proxy.refusal = None
    assert post(sender, tls_server.url).status == 200


def test_a_proxy_that_does_not_know_us(
    server: ScriptedServer, tls_server: ScriptedServer, proxy: Proxy, make_sender: MakeSender
) -> None:
    """A wrong password is refused, and told without it; for http the refusal is the answer."""
    url = proxy.url.replace("w%25rd", "wrong")
    sender = make_sender({"HTTPS_PROXY": url, "HTTP_PROXY": url})
    assert problem_of(sender, tls_server.url) == "the proxy responds with 407"
    assert post(sender, server.url).status == 407


def test_a_proxy_that_is_away(tls_server: ScriptedServer, server: ScriptedServer, make_sender: MakeSender) -> None:
    """Nobody listens there: the same words for both schemes."""
    with Proxy() as proxy:
        sender = make_sender({"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url})
    for url in (tls_server.url, server.url):
        assert problem_of(sender, url) == "the proxy: ConnectionRefusedError: Connection refused"


def test_a_proxy_that_hangs(tls_server: ScriptedServer, make_sender: MakeSender) -> None:
    """It takes the connection and says nothing."""
    with ScriptedServer(End.HANG) as silent:
        sender = make_sender({"HTTPS_PROXY": silent.url})
        assert "TimeoutError" in problem_of(sender, tls_server.url, SHORT_S)


def test_a_variable_that_holds_no_proxy(server: ScriptedServer, make_sender: MakeSender) -> None:
    """Nothing is sent, rather than past the proxy that somebody meant."""
    sender = make_sender({"HTTP_PROXY": f"socks5://{USER}:{PASSWORD}@127.0.0.1:1"})
    assert problem_of(sender, server.url) == "HTTP_PROXY is not the address of an http:// proxy"
    assert server.requests == []


def test_a_tunnel_that_breaks_is_stale(tls_server: ScriptedServer, proxy: Proxy, sender: AnySender) -> None:
    """As any kept connection after a freeze; over a new one all is well."""
    assert post(sender, tls_server.url).status == 200
    tls_server.script(End.CLOSE)
    with pytest.raises(NotSentError) as error:
        post(sender, tls_server.url)
    assert error.value.is_stale
    assert post(sender, tls_server.url).status == 200
    assert len(proxy.seen) == 2


# TLS.


def test_authorities_in_a_folder(tmp_path: Path, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_DIR, where OpenSSL looks for a file by the hash of an authority's name."""
    with ScriptedServer(OK, tls=True) as server:
        assert server.authority is not None
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        sender = make_sender({})
        assert "CERTIFICATE_VERIFY_FAILED" in problem_of(sender, server.url)
        (tmp_path / f"{name_hash(server.authority.ca_file)}.0").write_bytes(server.authority.ca_file.read_bytes())
        assert post(sender, server.url).status == 200


def name_hash(ca_file: Path) -> str:
    """Return what OpenSSL looks an authority up by: SHA-1 of its name in lower case and as UTF-8, the first 4 bytes."""
    name = b""
    for attribute in x509.load_pem_x509_certificate(ca_file.read_bytes()).subject:
        object_id = x509.Name([attribute]).public_bytes().partition(b"\x06")[2]
        text = " ".join(str(attribute.value).lower().split()).encode()
        pair = der(0x06, object_id[1 : 1 + object_id[0]]) + der(0x0C, text)
        name += der(0x31, der(0x30, pair))
    return hashlib.sha1(name).digest()[3::-1].hex()


def der(tag: int, content: bytes) -> bytes:
    """Return a short value as ASN.1."""
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def test_old_tls_is_refused(tmp_path: Path, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with TLS 1.1 at most gets nothing, trusted as it is."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    refusals: list[ssl.SSLError] = []

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as accepted:
                try:
                    context.wrap_socket(accepted, server_side=True)
                except ssl.SSLError as error:
                    refusals.append(error)

        serving = threading.Thread(target=serve)
        serving.start()
        problem = problem_of(make_sender({}), f"https://127.0.0.1:{listener.getsockname()[1]}")
        serving.join()
    assert problem.startswith("SSLError: ") and len(refusals) == 1


def test_what_verifies() -> None:
    """Whatever the defaults of an interpreter are."""
    context = pool.tls_context({})
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


# Time.


def test_an_answer_that_drips_has_no_more_time(make_sender: MakeSender) -> None:
    """A byte now and then keeps no request alive: the drainer has a deadline, and S3 waits behind it."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with listener.accept()[0] as accepted, suppress(OSError):
                accepted.recv(65_536)
                while not stop.wait(0.02):
                    accepted.sendall(b"H")

        dripping = threading.Thread(target=drip)
        dripping.start()
        begun_s = monotonic()
        problem = problem_of(make_sender({}), f"http://127.0.0.1:{listener.getsockname()[1]}", SHORT_S)
        took_s = monotonic() - begun_s
        stop.set()
        dripping.join()
    assert problem == "TimeoutError"
    assert SHORT_S <= took_s < PATIENT_S


def test_an_answer_that_came_during_a_freeze_is_read() -> None:
    """After the thaw the time is over and the answer there: not to read it would send the batch again."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = connection.Call(b"POST / HTTP/1.1\r\n\r\n", timeout_s=-60)
        theirs.sendall(OK)
        assert call.make(ours).body == b"ok"


def test_no_answer_during_a_freeze_is_none() -> None:
    """The time that is granted then is short, and granted once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(OK.partition(b"\r\n\r\n")[0])
        with pytest.raises(TimeoutError):
            connection.Call(b"POST / HTTP/1.1\r\n\r\n", timeout_s=-60).make(ours)


def test_an_early_answer_is_read(make_sender: MakeSender) -> None:
    """A server that has seen enough of a large batch says so and hangs up: a 413, and not a broken connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with listener.accept()[0] as accepted:
                accepted.recv(1)
                accepted.sendall(answer(413))

        refusing = threading.Thread(target=refuse)
        refusing.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert post(make_sender({}), url, bytes(20_000_000)).status == 413
        refusing.join()


def test_all_addresses_of_a_name_are_tried(make_sender: MakeSender) -> None:
    """``localhost`` has two on many machines, and nobody listens at the other one."""
    with ScriptedServer(OK) as server:
        sender = make_sender({})
        assert post(sender, f"http://localhost:{server.port}").status == 200


def test_a_dead_address_of_several_is_soon_given_up(
    make_sender: MakeSender, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose first address drops every packet: the next one is tried after a second, not after a share of all
    the time, which a function would be held for."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        with socket.create_connection(silent.getsockname()):  # its queue is full: Linux drops every further SYN
            addresses = [silent.getsockname(), ("127.0.0.1", server.port)]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
            monkeypatch.setattr("sumo_internal.net.connection._socket.getaddrinfo", lambda *_: found)
            begun_s = monotonic()
            assert post(make_sender({}), "http://collectors.test", timeout_s=60).status == 200
            assert monotonic() - begun_s < PATIENT_S


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_kept_connection_whose_other_end_is_gone_without_a_word(
    make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """After a freeze nothing may have told us: what nobody acknowledges is given up soon, and called stale.

    A filter that drops every packet before the kernel answers it is what a peer that is gone looks like.
    """
    with socket.socket() as unconnected:
        try:
            go_silent(unconnected)
        except PermissionError:
            pytest.skip("this kernel lets only root drop a socket's packets")
    with authority_of(monkeypatch) as authority, socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as accepted:
                if scheme == "https":
                    accepted = authority.wrap(accepted)
                with accepted:
                    accepted.recv(65_536)
                    accepted.sendall(OK)
                    go_silent(accepted)
                    is_silent.set()
                    is_over.wait(60)

        is_silent, is_over = threading.Event(), threading.Event()
        serving = threading.Thread(target=serve)
        serving.start()
        sender = make_sender({})
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        assert post(sender, url).status == 200
        assert is_silent.wait(PATIENT_S)
        begun_s = monotonic()
        with pytest.raises(NotSentError) as error:
            post(sender, url, timeout_s=60)
        assert monotonic() - begun_s < PATIENT_S
        assert error.value.is_stale
        is_over.set()
        serving.join()


def authority_of(monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[Authority]:
    """A certificate authority that is trusted."""
    authority = Authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    return closing(authority)


def go_silent(peer: socket.socket) -> None:
    """Drop every packet that comes for a socket, unacknowledged: a classic BPF program that returns 0.

    Raises:
        PermissionError: This kernel lets only root do so.
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    attach_filter = 26  # SO_ATTACH_FILTER of asm-generic/socket.h
    peer.setsockopt(socket.SOL_SOCKET, attach_filter, struct.pack("HL", 1, ctypes.addressof(program)))


def test_a_source_that_is_slow_over_a_kept_connection_is_not_gone(make_sender: MakeSender) -> None:
    """It acknowledges what it got, so it gets it once, however long it thinks about it."""
    with SumoSource() as source:
        sender = make_sender({})
        source.script([ACCEPT, Fault(delay_s=2 * UNHEARD_MAX_MS / 1000)])
        for _ in range(2):
            body = gzip.compress(b'{"time":"2026-11-21T08:22:03.123Z"}\n')
            headers = {"Content-Encoding": "gzip", "X-Sumo-Host": "/aws/lambda/a", "X-Sumo-Name": "2026/11/21/[1]a"}
            assert sender.send("POST", source.url, headers, body, PATIENT_S).status == 200
        assert [request.connection for request in source.requests] == [1, 1]
        assert source.problems == []


@pytest.mark.parametrize("what", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b""])
def test_a_kept_connection_that_has_spoken_is_not_used_again(make_sender: MakeSender, what: bytes) -> None:
    """What came unasked would be read as the next request's answer: a 408 of a load balancer, or the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for more in (what, b""):
                with listener.accept()[0] as accepted:
                    accepted.recv(65_536)
                    accepted.sendall(OK)
                    if not has_spoken.is_set():
                        accepted.sendall(more)
                        accepted.shutdown(socket.SHUT_WR)
                        has_spoken.set()
                        with suppress(ConnectionResetError):  # what was not read makes a reset of the client's end
                            accepted.recv(65_536)

        has_spoken = threading.Event()
        serving = threading.Thread(target=serve)
        serving.start()
        sender = make_sender({})
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert post(sender, url).status == 200
        assert has_spoken.wait(PATIENT_S)
        assert post(sender, url).status == 200, "over another connection, and without a failed try"
        serving.join()


def test_a_kept_connection_whose_descriptor_is_the_functions_by_now_is_left_alone() -> None:
    """A function that closes what it has not opened gets the number for its own socket: our lines were sent to that."""
    with ScriptedServer(default=OK, tls=True) as server:
        assert server.authority is not None
        sender = PlainSender({"SSL_CERT_FILE": str(server.authority.ca_file)})
        for what in (lambda: post(sender, server.url), sender.break_off, sender.close):
            assert post(sender, server.url).status == 200
            number = sender._connection.fileno()
            theirs, peer = socket.socketpair()
            os.dup2(theirs.fileno(), number)
            theirs.close()
            with peer, socket.socket(fileno=number) as theirs:
                what()
                theirs.sendall(b"theirs alone")
                peer.settimeout(PATIENT_S)
                assert peer.recv(100) == b"theirs alone"


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_any_exception_drops_the_connection(
    server: ScriptedServer, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """An answer that was read in part is no beginning for the next one."""

    def fail(*_: object) -> http1.Answer:
        raise error

    sender = make_sender({})
    assert post(sender, server.url).status == 200
    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(http1, "read_answer", fail)
        post(sender, server.url)
    assert post(sender, server.url).status == 200
    # The server may note the request whose answer nobody read after the one that follows it.
    assert max(request.connection for request in server.requests) == 2


def test_parallel_requests_have_a_bound(server: ScriptedServer) -> None:
    """Several threads share the pooled sender; a source is asked over as many connections as were agreed."""
    sender = PooledSender({}, connections_max=3)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(sender, server.url).status, range(40)))
    sender.close()
    assert answers == [200] * 40
    assert {request.connection for request in server.requests} <= {1, 2, 3}


@pytest.mark.parametrize("make_context", [pool.tls_context, tls.Context])
def test_a_name_in_common_name_only_is_no_name(
    tmp_path: Path, make_context: Callable[[Mapping[str, str]], Any]
) -> None:
    """Certificates have had their names in subjectAltName for twenty years, and OpenSSL would fall back to the old way.

    Over a pair of sockets, because no host of such a name is on loopback.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collectors.test")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "ca.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + pem)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "both.pem")
    here, there = socket.socketpair()

    def serve() -> None:
        with there, suppress(OSError):
            theirs.wrap_socket(there, server_side=True).close()

    serving = threading.Thread(target=serve)
    serving.start()
    with here:
        here.settimeout(PATIENT_S)
        taken = tls.Socket(here.family, here.type, here.proto, os.dup(here.fileno()))
        mine = here if make_context is pool.tls_context else taken
        mine.settimeout(PATIENT_S)
        context = make_context({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            context.wrap_socket(mine, server_hostname="collectors.test")
        taken.close()
    serving.join()


def test_a_record_of_tls_that_comes_in_part_has_the_same_time() -> None:
    """What is read takes a timeout at most, and not one until its first byte and another one from there."""
    pair, there = socket.socketpair()
    here = tls.Socket(pair.family, pair.type, pair.proto, pair.detach())

    def read(_: int) -> bytes:
        here.recv(1)
        raise ssl.SSLWantReadError

    with closing(here), there:
        here.settimeout(0.4)
        mine = tls.Tls(here, SimpleNamespace(pending=lambda: 0, read=read))
        late = threading.Timer(0.3, there.send, [b"x"])
        late.start()
        begun_s = monotonic()
        with pytest.raises(TimeoutError):
            mine.recv(10)
        assert 0.4 <= monotonic() - begun_s < 0.6
        late.join()


def test_a_name_that_does_not_resolve_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs for half a minute would take all of a goodbye's two seconds, the bucket's part too."""
    is_over = threading.Event()
    monkeypatch.setattr("sumo_internal.net.connection._socket.getaddrinfo", lambda *_, **__: is_over.wait(30))
    begun_s = monotonic()

    with pytest.raises(NotSentError, match="name look-up takes too long") as caught:
        PlainSender({}).send("POST", "https://collectors.test/x", {}, b"lines", 0.1)

    is_over.set()
    assert monotonic() - begun_s < PATIENT_S
    assert not caught.value.is_out


def test_what_was_sent_whole_may_have_arrived(make_sender: MakeSender) -> None:
    """Without an answer it is known of a request whether it was out: only then can what it carries come twice."""
    with ScriptedServer(End.CLOSE) as server:
        with pytest.raises(NotSentError) as caught:
            post(make_sender({}), server.url)
        assert caught.value.is_out
    with pytest.raises(NotSentError) as caught:
        post(make_sender({}), server.url)
    assert not caught.value.is_out


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/a?b#c", ("https", "host", 443, "host", "/a?b#c")),
        ("HTTP://Host", ("http", "Host", 80, "Host", "/")),
        ("https://user:pw@host:8443/", ("https", "host", 8443, "host:8443", "/")),
        ("https://[::1]/x", ("https", "::1", 443, "[::1]", "/x")),
        ("https://[::1]:8443/x", ("https", "::1", 8443, "[::1]:8443", "/x")),
    ],
)
def test_addresses(url: str, expected: tuple[str, str, int, str, str]) -> None:
    """Taken apart; credentials in one are not for the Host header."""
    target = connection.Target(url)
    assert (target.scheme, target.host, target.port, target.authority, target.path) == expected


@pytest.mark.parametrize(
    "url",
    [
        *["", "https://", "https:///x", "https://host:x/", "https://host:/", "https://host:65536/", "https://:443/"],
        *["https://a?.host/", "https://a#@host/", "https://a\\@host/", "https://ho st/", "https://h\u00f6st/"],
        *["https://host/a\nb", "https://host/\r\nX: y", "https://host/\u00e9", "https://host:\u00b2/"],
    ],
)
def test_what_is_no_address(url: str) -> None:
    """Among them what one reader would take for another host than the next one does."""
    with pytest.raises(NotSentError, match=r"^the address is not valid$"):
        connection.Target(url)


# Guests: what is the function's own business.

SERVER = """
import json, logging, os, sys
from traced import opentelemetry, xray
seen = {"opentelemetry": opentelemetry, "xray": xray}[sys.argv[1]]()
from sumo_internal import SumoHandler
logging.basicConfig(level=0, format="%(message)s", handlers=[SumoHandler(), logging.FileHandler(sys.argv[2])])
logging.getLogger("orders").info("before")
import time
while "HTTP_SOURCE_HAS_IT" not in os.listdir(os.path.dirname(sys.argv[2])):
    time.sleep(0.02)
logging.getLogger("orders").info("after")
print(json.dumps(seen()))
"""
"""A server's process with the drop-in, which logs everything, and with a tracing library."""


@pytest.mark.parametrize("library", ["opentelemetry", "xray"])
def test_the_dropin_on_a_server_neither_traces_nor_logs_itself(library: str, tmp_path: Path) -> None:
    """urllib3 is the server's own there, patched by its tracing library, and its logger's lines go to our handler.

    A line of urllib3's about our request would be shipped, and cause the next; a span of ours would be the user's.
    X-Ray complains by a log record about a request outside of a segment, which each of the shipping thread's is.
    """
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    with SumoSource() as source:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "SUMO_HTTP_ENDPOINT": source.url,
            "SUMO_SPOOL_DIR": str(tmp_path / "spool"),
            "SUMO_FLUSH_MAX_AGE_S": "0.1",
        }
        command = [sys.executable, str(script), library, str(tmp_path / "log")]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
            source.wait_for(1)
            (tmp_path / "HTTP_SOURCE_HAS_IT").touch()
            said, _ = process.communicate(timeout=PATIENT_S * 3)
        assert json.loads(said) == []
        texts = [str(record["message"]).rpartition("\t")[2].strip() for record in source.records]
    assert [text for text in texts if text] == ["before", "after"]
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_nothing_is_logged(
    server: ScriptedServer, tls_server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that logs everything would get urllib3's lines, have them shipped, and get new ones for that."""
    with caplog.at_level(logging.DEBUG):
        sender = PooledSender()
        for url in (server.url, tls_server.url, server.url):
            post(sender, url)
        server.script(End.CLOSE, End.CLOSE)
        for _ in range(2):
            with pytest.raises(NotSentError):
                post(sender, server.url)
    assert [record for record in caplog.records if "urllib3" in record.name] == []


@pytest.mark.parametrize("library", ["opentelemetry", "xray", "sentry"])
def test_tracing_libraries_see_nothing(server: ScriptedServer, library: str) -> None:
    """Installed before or after our senders were made, for a connection that is new or kept: no span, no header.

    urllib3 is the one that the library has patched: our requests must not pass what is patched in it.
    """
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/traced.py"), library, server.url]
    run = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, timeout=PATIENT_S * 5, check=True)
    theirs, ours = json.loads(run.stdout)

    assert any("/theirs" in text for text in theirs)
    assert ours == []
    requests = [request for request in server.requests if request.path == "/ours"]
    assert len(requests) == 10
    assert {frozenset(request.headers) for request in requests} == {frozenset({"host", "content-length"})}


FORK_BESIDE_TLS = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from sumo_internal.net import tls
tls.FORK_WAIT_MAX_S = 0.2
inside, leave = threading.Event(), threading.Event()
def stuck():
    with tls._inside:
        inside.set()
        leave.wait(float(sys.argv[2]))
threading.Thread(target=stuck, daemon=True).start()
inside.wait()
begun_s = time.monotonic()
child = os.fork()
if child == 0:
    os._exit(0 if tls._inside.acquire(timeout=5) else 1)
waited_s = time.monotonic() - begun_s
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), waited_s < 5, tls._inside.acquire(timeout=5), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("stuck_s", [0.05, 60])
def test_a_fork_waits_for_a_thread_inside_openssl_within_a_bound(stuck_s: float) -> None:
    """Whether that thread comes out in time or never: the child has a lock that is free, the parent the thread's own.

    The child of the second may find OpenSSL's own lock taken; a parent that waited for ever would be worse.
    """
    command = [sys.executable, "-W", "ignore", "-c", FORK_BESIDE_TLS, str(ROOT), str(stuck_s)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "True", str(stuck_s < 1)]
