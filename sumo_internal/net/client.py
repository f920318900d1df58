"""Requests over the network: two ways to send one, which do the same and cost differently.

:class:`PlainSender` is a socket with ``ssl``. :class:`PooledSender` leaves connections to urllib3, whose import takes
1.1 s at the CPU share of a 128 MB function: more than half of the shutdown window. How long a request may take, what
TLS and proxies do, and how failures are told is the same in both (:mod:`sumo_internal.net.connection`).

Tracing libraries patch the classes of ``urllib3`` and ``http.client`` in place, and our requests, whose address is a
credential, must not become the function's spans. So urllib3 has a private name here, and its connections are made to
use neither.

Nothing here follows redirects, retries or logs.
"""

from __future__ import annotations

import os
from time import monotonic

from sumo_internal.net import connection, http1, tls
from sumo_internal.net.connection import Call, Target
from sumo_internal.net.connection import NotSentError as NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from sumo_internal.net.proxies import Proxy

    class Sender(Protocol):
        """Sends one request and returns the answer, whatever its status; raises :class:`NotSentError`."""

        def send(
            self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float
        ) -> http1.Answer: ...


KEPT_MAX = 4
"""Hosts that urllib3 keeps a connection to: Sumo Logic's two (redirects), S3, and where the secret is."""


class PooledSender:
    """urllib3 with kept connections. Importing it costs 80 ms of CPU: make it off the function's start."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Send through the proxies that ``environ`` names."""
        import logging

        import sumo_internal._vendor.urllib3 as urllib3

        # Where the function logs everything, urllib3's lines would be shipped as the function's, and cause new ones.
        logging.getLogger(urllib3.__name__).setLevel(logging.CRITICAL + 1)
        self._environ = environ
        self._urllib3: Any = urllib3
        self._pool_classes = {
            "http": _pool_class(urllib3.HTTPConnectionPool, urllib3.HTTPResponse),
            "https": _pool_class(urllib3.HTTPSConnectionPool, urllib3.HTTPResponse),
        }
        self._managers: dict[tuple[str, str], Any] = {}

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request.

        Args:
            method: ``POST``, ``PUT`` or ``GET``.
            url: Where to.
            headers: Each one line of Latin-1 text.
            body: The body.
            timeout_s: Seconds for all of it; the look-up of a proxy's name excepted.

        Raises:
            NotSentError: No whole answer came; its text says why, without the address.
        """
        target = Target(url)
        proxy = target.proxy(self._environ)
        call = Call(target.request(method, headers, body, proxy), timeout_s)
        pool = self._manager(target.scheme, proxy).connection_from_host(target.host, target.port, target.scheme)
        try:
            # To urllib3 every path is "/": it cannot tell what it does not know.
            response = pool.urlopen(method, "/", body=call, timeout=timeout_s, redirect=False, retries=False)
        except self._urllib3.exceptions.HTTPError as error:
            place = "the proxy: " if isinstance(error, self._urllib3.exceptions.ProxyError) else ""
            raise NotSentError(place + connection.reason(self._innermost(error))) from None
        answer: http1.Answer = response.answer
        return answer

    def _manager(self, scheme: str, proxy: Proxy | None) -> Any:
        """What has the pools of a scheme; each proxy has its own."""
        key = (scheme, "" if proxy is None else f"http://{connection.authority(proxy.host, proxy.port)}")
        if key not in self._managers:
            options = {"num_pools": KEPT_MAX, "ssl_context": connection.tls_context() if scheme == "https" else None}
            if proxy is None:
                manager = self._urllib3.PoolManager(**options)
            else:
                manager = self._urllib3.ProxyManager(key[1], proxy_headers=proxy.headers, **options)
            manager.pool_classes_by_scheme = self._pool_classes
            self._managers[key] = manager
        return self._managers[key]

    def _innermost(self, error: BaseException) -> BaseException:
        """What happened below urllib3, whose own texts contain the host."""
        inner: BaseException | None = error
        while isinstance(inner, self._urllib3.exceptions.HTTPError):
            error, inner = inner, inner.__cause__ or inner.__context__
        return inner or error


def _pool_class(base: Any, response_class: Any) -> type[Any]:
    """A class of urllib3's pools whose connections are ours."""
    connection_class = type("Connection", (_Wire, base.ConnectionCls), {"response_of_urllib3": response_class})
    return type("Pool", (base,), {"ConnectionCls": connection_class})


class _Wire:
    """What a connection of urllib3's does our way; it stands in front of urllib3's class.

    ``request`` is given a :class:`Call` for a body and only keeps it; ``getresponse`` makes the call.
    """

    response_of_urllib3: Any
    sock: Any = None
    timeout: float
    _tunnel_host: str
    _tunnel_port: int
    _tunnel_headers: Mapping[str, str]
    _is_kept = False
    _call: Call

    def connect(self) -> None:
        self._is_kept = False
        super().connect()  # type: ignore[misc]  # urllib3's

    def _tunnel(self) -> None:
        # From Python 3.12 on set_tunnel adds a Host header of its own.
        headers = {name: value for name, value in self._tunnel_headers.items() if name.lower() != "host"}
        to = connection.authority(self._tunnel_host, self._tunnel_port)
        connection.open_tunnel(self.sock, to, headers, monotonic() + self.timeout)

    def request(self, method: str, url: str, body: Call, **_: object) -> None:
        if self.sock is None:
            self.connect()
        self._call = body

    def getresponse(self) -> Any:
        try:
            answer = self._call.make(self.sock)
        except (OSError, http1.BadAnswerError) as error:
            raise connection.broken(error, self._call, self._is_kept) from None
        self._is_kept = True
        if connection.ends_connection(answer):
            self.close()  # type: ignore[attr-defined]  # urllib3's
        response = self.response_of_urllib3(status=answer.status, preload_content=False)
        response.answer = answer
        return response


class PlainSender:
    """``ssl`` over a socket, one kept connection."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Send through the proxies that ``environ`` names."""
        self._environ = environ
        self._connection: Any = None
        self._origin = ""
        self._context: Any = None

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request, as :meth:`PooledSender.send` does.

        Raises:
            NotSentError: No whole answer came; its text says why, without the address.
        """
        target = Target(url)
        proxy = target.proxy(self._environ)
        call = Call(target.request(method, headers, body, proxy), timeout_s)
        was_kept = self._connection is not None and self._origin == target.origin
        try:
            if not was_kept:
                self.close()
                self._connection = self._connect(target, proxy, call.until_s)
                self._origin = target.origin
            answer = call.make(self._connection)
        except (OSError, http1.BadAnswerError) as error:
            self.close()
            raise connection.broken(error, call, was_kept) from None
        if connection.ends_connection(answer):
            self.close()
        return answer

    def _connect(self, target: Target, proxy: Proxy | None, until_s: float) -> Any:
        if proxy is None:
            dialled = connection.dial(target.host, target.port, until_s)
        else:
            try:
                dialled = connection.dial(proxy.host, proxy.port, until_s)
            except OSError as error:
                raise NotSentError(f"the proxy: {connection.reason(error)}") from None
        if target.scheme != "https":
            return dialled
        try:
            if proxy is not None:
                connection.open_tunnel(dialled, connection.authority(target.host, target.port), proxy.headers, until_s)
            self._context = self._context or tls.Context(self._environ)
            dialled.settimeout(connection.left_s(until_s))
            return self._context.wrap_socket(dialled, server_hostname=target.host)
        except BaseException:
            dialled.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
