"""Sumo Logic's HTTP source: one POST, and what came of it. Two ways to send, one for each drainer.

:class:`PooledSender` (the sidecar) is urllib3 with one kept connection; :class:`PlainSender` (the extension, in the
shutdown window) is ``ssl`` and :mod:`sumo_internal.http1`, because importing urllib3 there would use up the window.

Redirects are followed here, with the same method and body, to https on the same host or below ``sumologic.com`` only:
a library would turn the POST into a GET, or take our lines anywhere.

The endpoint's path is its credential. Nothing made here (attempts, errors) contains it.
"""

from __future__ import annotations

from sumo_internal import http1
from sumo_internal.delivery import Attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Sender(Protocol):
        """Sends one request and returns the answer; raises :class:`Unsent`."""

        def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer: ...


REDIRECTS_MAX = 3

_HEADERS = {
    "User-Agent": "sumo-internal-extension",
    "Content-Encoding": "gzip",
    # What Sumo's own collector sends for logs: the source takes every type that is not a metric's for log data.
    "Content-Type": "application/x-www-form-urlencoded",
}


class Unsent(Exception):
    """No whole answer came. ``is_stale``: it broke on a kept connection, which says nothing about the source."""

    def __init__(self, reason: str, *, is_stale: bool = False) -> None:
        super().__init__(reason)
        self.is_stale = is_stale


class HttpSource:
    """The source that SUMO_HTTP_ENDPOINT names."""

    def __init__(self, endpoint: str, sender: Sender) -> None:
        self._endpoint = endpoint
        self._sender = sender

    def post(self, body: bytes, envelope: Mapping[str, str], timeout_s: float) -> Attempt:
        """Send a gzipped batch.

        Args:
            body: Lines, gzipped.
            envelope: The headers it travels under (``X-Sumo-Host``, …).
            timeout_s: Seconds for connecting and for each wait for the peer.
        """
        headers = {**envelope, **_HEADERS}
        url = self._endpoint
        try:
            for _ in range(REDIRECTS_MAX + 1):
                answer = self._send(url, headers, body, timeout_s)
                if answer.status not in (301, 302, 303, 307, 308):
                    return _attempt(answer)
                following = _redirect(url, answer.headers.get("location", ""))
                if following is None:
                    return Attempt(answer.status, "redirect to an address that is not Sumo Logic's")
                url = following
        except Unsent as error:
            return Attempt(0, str(error))
        return Attempt(0, "too many redirects")

    def _send(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        try:
            return self._sender.post(url, headers, body, timeout_s)
        except Unsent as error:
            if not error.is_stale:
                raise
            return self._sender.post(url, headers, body, timeout_s)


def _attempt(answer: http1.Answer) -> Attempt:
    after = answer.headers.get("retry-after", "")
    text = answer.body[:200].decode("utf-8", "replace").strip()
    problem = "" if answer.status in (200, 204) and not text else f"HTTP {answer.status} {text}".strip()
    return Attempt(answer.status, problem, float(after) if after.isdigit() else None)


def _redirect(url: str, location: str) -> str | None:
    """Where a redirect leads, if that is https on the same host or Sumo Logic's."""
    scheme, _, rest = url.partition("://")
    if location.startswith("/"):
        location = f"{scheme}://{rest.partition('/')[0]}{location}"
    target_scheme, _, target = location.partition("://")
    host = target.partition("/")[0].rpartition("@")[2]
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    is_same = host == rest.partition("/")[0] and target_scheme == scheme
    is_sumo = target_scheme == "https" and (name == "sumologic.com" or name.endswith(".sumologic.com"))
    return location if is_same or is_sumo else None


class PooledSender:
    """urllib3 with one kept connection. Importing it costs 80 ms of CPU: make it off the function's start."""

    def __init__(self) -> None:
        try:
            from sumo_internal._vendor import urllib3  # the layer's own, under its private name
        except ImportError:
            import urllib3  # installed with pip: the public one that we depend on
        self._urllib3: Any = urllib3
        self._pool: Any = urllib3.PoolManager(num_pools=2, maxsize=1, retries=False, ssl_minimum_version=_tls_1_2())
        self._is_kept = False

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request.

        Raises:
            Unsent: No whole answer came; its text says why, without the address.
        """
        was_kept, self._is_kept = self._is_kept, False
        try:
            answer = self._pool.request(
                "POST", url, body=body, headers=dict(headers), timeout=timeout_s, redirect=False, retries=False
            )
        except self._urllib3.exceptions.HTTPError as error:
            is_slow = isinstance(error, self._urllib3.exceptions.TimeoutError)
            raise Unsent(_reason(error), is_stale=was_kept and not is_slow) from None
        self._is_kept = True
        return http1.Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


class PlainSender:
    """``ssl`` over a socket, one kept connection: for the shutdown window."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._origin = ""
        self._context: Any = None

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request.

        Raises:
            Unsent: No whole answer came; its text says why, without the address.
        """
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        was_kept = self._connection is not None and self._origin == f"{scheme}://{authority}"
        try:
            if not was_kept:
                self.close()
                self._connection = self._connect(scheme.lower(), authority, timeout_s)
                self._origin = f"{scheme}://{authority}"
            self._connection.settimeout(timeout_s)
            self._connection.sendall(http1.request("POST", slash + path or "/", authority, headers, body))
            answer = http1.read_answer(self._connection.recv)
        except (OSError, http1.BadAnswer) as error:
            self.close()
            raise Unsent(_reason(error), is_stale=was_kept and not isinstance(error, TimeoutError)) from None
        if answer.headers.get("connection", "").lower() == "close" or "content-length" not in answer.headers:
            self.close()
        return answer

    def _connect(self, scheme: str, authority: str, timeout_s: float) -> Any:
        import socket

        host, port = _host_and_port(authority, 443 if scheme == "https" else 80)
        connection = socket.create_connection((host, port), timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme != "https":
            return connection
        import ssl

        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            return self._context.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    authority = authority.rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, str(default_port)
    return host.strip("[]"), int(port)


def _tls_1_2() -> Any:
    import ssl

    return ssl.TLSVersion.TLSv1_2


def _reason(error: Exception) -> str:
    """Why nothing came back, as the innermost error says it: urllib3's own texts contain the address."""
    inner: BaseException = error
    while isinstance(getattr(inner, "reason", None), BaseException) or inner.__cause__ is not None:
        reason = getattr(inner, "reason", None)
        following = reason if isinstance(reason, BaseException) else inner.__cause__
        if following is None or following is inner:
            break
        inner = following
    if isinstance(inner, OSError) and inner.strerror:
        return f"{type(inner).__name__}: {inner.strerror}"
    return type(inner).__name__
