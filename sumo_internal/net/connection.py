"""One request over one connection: what both senders (:mod:`~sumo_internal.net.client`, :mod:`~sumo_internal.net.pool`)
do alike.

It owns the address taken apart, the time that a request has, the ways in which a socket comes to be connected (one of
a host's addresses, a proxy's tunnel), and the words for what went wrong. What passes over the socket is
:mod:`sumo_internal.net.http1`'s.

Rules:

* A timeout is for all of a request: a peer that sends a byte now and then gets no more time. A name look-up, which
  nothing can interrupt, is left behind on a thread of its own.
* A kept connection is looked at before it is used; what is sent over it the peer has to acknowledge soon.
* TLS is 1.2 or newer, and the peer is verified, against the authorities that OpenSSL finds: those of SSL_CERT_FILE and
  SSL_CERT_DIR, or else the machine's.
* No text made here contains an address, or a proxy's password.

It keeps nothing: whether a connection is used again is the senders' business.
"""

from __future__ import annotations

import _socket
import errno
import select
from _thread import allocate_lock
from time import monotonic

from sumo_internal import diagnostics, threads
from sumo_internal.net import http1, proxies, tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sumo_internal.net.proxies import Proxy

LATE_S = 0.05
"""An environment that was frozen in the middle of a request finds the request's time over, and perhaps the answer
there. This much time is granted once to read the answer; otherwise a batch that has arrived would be sent again."""

UNHEARD_MAX_MS = 1_000
"""Over a kept connection: how long what was sent may stay without TCP's acknowledgement. A freeze of minutes leaves
connections whose other end is gone without a word, and a request over such a connection would wait for all of its time.
A source that is slow acknowledges at once, so nothing is sent to it a second time."""

BODY_MAX_S = 1.0
"""Time for the body of an answer whose head says that the request was taken: nothing in the body changes that."""

ADDRESS_MAX_S = 1.0
"""Time that each address of a name, but the last one, has to take a connection."""


class NotSentError(Exception):
    """No whole answer came. ``is_stale``: it broke on a kept connection, which says nothing about the source.
    ``is_out``: the request had been sent whole, and may have been taken. ``is_unfit``: it can never be sent."""

    def __init__(self, reason: str, *, is_stale: bool = False, is_out: bool = False, is_unfit: bool = False) -> None:
        super().__init__(reason)
        self.is_stale = is_stale
        self.is_out = is_out
        self.is_unfit = is_unfit


class Target:
    """An address, taken apart.

    Raises:
        NotSentError: It is no address.
    """

    __slots__ = ("scheme", "authority", "host", "port", "path")

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        self.scheme = scheme.lower()
        self.authority = authority.rpartition("@")[2]
        self.path = slash + path or "/"
        host, colon, port = self.authority.rpartition(":")
        if not colon or port.endswith("]"):  # [::1]
            host, port = self.authority, "443" if self.scheme == "https" else "80"
        self.host = host.strip("[]")
        # Programs disagree on how to read an address with one of these in its authority.
        is_text = url.isascii() and url.isprintable() and not any(character in authority for character in " ?#\\")
        if not is_text or not self.host or not port.isdigit() or int(port) > 65_535:
            raise NotSentError("the address is not valid")
        self.port = int(port)

    @property
    def origin(self) -> str:
        """Where a connection leads, whatever is asked for over it."""
        return f"{self.scheme}://{self.authority}"

    def proxy(self, environ: Mapping[str, str]) -> Proxy | None:
        """The proxy on the way there.

        Raises:
            NotSentError: The variable holds none that can be used.
        """
        try:
            return proxies.find(self.scheme, self.host, self.port, environ)
        except proxies.BadProxyError as error:
            raise NotSentError(str(error)) from None

    def request(self, method: str, headers: Mapping[str, str], body: bytes, proxy: Proxy | None) -> bytes:
        """A request's bytes. A proxy that does more than connect us gets the whole address, and its own headers.

        Raises:
            NotSentError: A header is unfit.
        """
        path = self.path
        if proxy is not None and self.scheme == "http":
            path = f"http://{self.authority}{self.path}"
            headers = {**headers, **proxy.headers}
        try:
            return http1.request(method, path, self.authority, headers, body)
        except http1.UnfitHeaderError as error:
            raise NotSentError(str(error), is_unfit=True) from None


class Call:
    """A request on its way, and the time it has. ``is_out``: it has been sent whole."""

    __slots__ = ("until_s", "is_out", "_request", "_is_late")

    def __init__(self, request: bytes, timeout_s: float) -> None:
        self.until_s = monotonic() + timeout_s
        self.is_out = False
        self._request = request
        self._is_late = False

    def make(self, connection: Any) -> http1.Answer:
        """Send the request over a socket, and read the answer.

        Raises:
            OSError, http1.BadAnswerError: No whole answer came.
        """
        unsent = memoryview(self._request)
        try:
            while unsent:
                connection.settimeout(self._left_s())
                unsent = unsent[connection.send(unsent) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            try:
                return self._read(connection)  # perhaps a 413, given before all was read
            except (OSError, http1.BadAnswerError):
                raise error from None
        self.is_out = True
        return self._read(connection)

    def _read(self, connection: Any) -> http1.Answer:
        def receive(size: int) -> bytes:
            connection.settimeout(self._left_s())
            data: bytes = connection.recv(size)
            return data

        return http1.read_answer(receive, self._heed)

    def _heed(self, status: int) -> None:
        if status // 100 == 2:
            self.until_s = min(self.until_s, monotonic() + BODY_MAX_S)

    def _left_s(self) -> float:
        if self.until_s <= monotonic() and not self._is_late:
            self._is_late = True
            self.until_s = monotonic() + LATE_S
        return left_s(self.until_s)


def left_s(until_s: float) -> float:
    """Seconds until a time of the monotonic clock; TimeoutError when it is over."""
    left = until_s - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def dial(host: str, port: int, until_s: float) -> Any:
    """Connect with one of a host's addresses. A dead one takes neither the others' time nor much of ours.

    Raises:
        OSError: None of them answers.
    """
    found = _look_up(host, port, until_s)
    problem = OSError(0, "the host has no address")
    for number, (family, kind, protocol, _, address) in enumerate(found):
        connection = tls.Socket(family, kind, protocol)
        others = len(found) - number - 1
        share_s = left_s(until_s) / (others + 1)
        try:
            connection.settimeout(min(share_s, ADDRESS_MAX_S) if others else share_s)
            connection.connect(address)
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            problem = error
    raise problem


def _look_up(host: str, port: int, until_s: float) -> list[Any]:
    """The addresses of a host. A resolver that hangs keeps only its own thread."""
    outcomes: list[Any] = []
    is_over = allocate_lock()
    is_over.acquire()

    def ask() -> None:
        try:
            # Bytes, because for a text the library of codecs is imported, with all import locks that this takes.
            outcomes.append(_socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM))
        except Exception as error:
            outcomes.append(error)
        finally:
            is_over.release()

    try:
        threads.start(ask)
    except RuntimeError:  # the interpreter is ending, from 3.12 on without new threads: last lines wait for the name
        ask()
    if not is_over.acquire(timeout=left_s(until_s)):
        raise TimeoutError(0, "the name look-up takes too long")
    if isinstance(outcomes[0], Exception):
        raise outcomes[0]
    found: list[Any] = outcomes[0]
    return found


def open_tunnel(connection: Any, to: str, headers: Mapping[str, str], until_s: float) -> None:
    """Have the proxy at the other end of a socket connect us with a host.

    Args:
        connection: The socket.
        to: ``host:port``.
        headers: For the proxy.
        until_s: Of the monotonic clock.

    Raises:
        OSError, NotSentError: It does not.
    """
    connection.settimeout(left_s(until_s))
    connection.sendall(http1.request("CONNECT", to, to, headers))
    head = b""
    while b"\r\n\r\n" not in head:
        connection.settimeout(left_s(until_s))
        data = connection.recv(4096)
        if not data or len(head) > http1.HEAD_MAX_BYTES:
            raise NotSentError("the proxy: no response")
        head += data
    status = head.partition(b" ")[2][:3].decode("latin-1")
    if not status.startswith("2"):
        raise NotSentError(f"the proxy responds with {diagnostics.legible(status, 3)}")


def authority(host: str, port: int) -> str:
    """``host:port`` as it stands in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ends_connection(answer: http1.Answer) -> bool:
    """Can no further request go over the connection that brought this answer?"""
    if not answer.is_whole or answer.has_more:
        return True
    return answer.headers.get("connection", "").lower() == "close" or "content-length" not in answer.headers


def is_usable(kept: Any) -> bool:
    """May another request go over a connection that was kept?

    Not if there is something to read: nothing was asked for, so that is its end, or what belongs to no request of ours.
    """
    try:
        poll = select.poll()
        poll.register(kept, select.POLLIN)
        if poll.poll(0) or getattr(kept, "pending", int)():  # what TLS has decrypted already is no poll's business
            return False
        kept.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_USER_TIMEOUT, UNHEARD_MAX_MS)
    except (OSError, ValueError):  # the connection is closed
        return False
    return True


def broken(error: Exception, call: Call, was_kept: bool) -> NotSentError:
    """What to raise for a connection that broke. A slow one is not stale, and not to be tried again at once."""
    is_slow = isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT  # that one is TCP's: no peer is there
    return NotSentError(reason(error), is_stale=was_kept and not is_slow, is_out=call.is_out)


def reason(error: BaseException) -> str:
    """Why nothing came back; of texts, only what the operating system and OpenSSL say."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__
