"""Requests over the network: two ways to send one, which need the same and cost differently.

:class:`PooledSender` (the sidecar) is urllib3 with kept connections. :class:`PlainSender` (the extension, in the
shutdown window) is ``ssl`` and :mod:`sumo_internal.http1`: importing urllib3 takes 1.1 s at the CPU share of a 128 MB
function, and the window is two seconds.

Nothing here follows redirects, retries or logs. No text made here contains an address: the path of Sumo Logic's is a
credential.
"""

from __future__ import annotations

from sumo_internal import http1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Sender(Protocol):
        """Sends one request and returns the answer, whatever its status; raises :class:`Unsent`."""

        def send(
            self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float
        ) -> http1.Answer: ...


class Unsent(Exception):
    """No whole answer came. ``is_stale``: it broke on a kept connection, which says nothing about the source."""

    def __init__(self, reason: str, *, is_stale: bool = False) -> None:
        super().__init__(reason)
        self.is_stale = is_stale


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

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request.

        Raises:
            Unsent: No whole answer came; its text says why, without the address.
        """
        was_kept, self._is_kept = self._is_kept, False
        try:
            answer = self._pool.request(
                method, url, body=body, headers=dict(headers), timeout=timeout_s, redirect=False, retries=False
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

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
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
            self._connection.sendall(http1.request(method, slash + path or "/", authority, headers, body))
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
