"""The sender of every process that is no Lambda environment: urllib3 with kept connections, for several threads.

``replay`` and ``doctor`` on people's machines, the batch function, and the drop-in on a server send with it. There an
import of 80 ms of CPU is nothing, and pools, parallel requests and tunnels are what urllib3 is best at. It is the
installed urllib3, which the function or the server uses too, so nothing of it is changed, and two things are left out:

* Tracing libraries patch ``HTTPConnectionPool.urlopen`` and ``http.client`` in place, and our requests, whose address
  is a credential, must not become the user's spans. So a request passes neither: a connection is taken out of its pool,
  and :class:`sumo_internal.net.connection.Call` speaks over its socket.
* urllib3 logs each new connection. Where the user's handler is ours, such a line would be shipped, and cause the next.

The layer does not carry this module.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from threading import BoundedSemaphore, Lock
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from sumo_internal.net import connection, http1, tls
from sumo_internal.net.connection import Call, NotSentError, Target
from sumo_internal.net.proxies import Proxy

HOSTS_MAX = 4
"""Hosts that connections are kept to: Sumo Logic's two (redirects), S3, and where the secret is."""


class PooledSender:
    """Sends for several threads at a time."""

    def __init__(self, environ: Mapping[str, str] = os.environ, connections_max: int = 1) -> None:
        """Send through the proxies that ``environ`` names, so many requests at a time."""
        self._environ = environ
        self._connections_max = connections_max
        # urllib3's own way is not used: its pool blocks while its queue is empty, and at the interpreter's exit urllib3
        # empties every queue. A script's last lines are sent after that.
        self._free = BoundedSemaphore(connections_max)
        self._managers: dict[tuple[str, ...], urllib3.PoolManager] = {}
        self._lock = Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request, as :meth:`sumo_internal.net.client.PlainSender.send` does.

        Raises:
            NotSentError: No whole answer came; its text says why, without the address.
        """
        target = Target(url)
        proxy = target.proxy(self._environ)
        call = Call(target.request(method, headers, body, proxy), timeout_s)
        if not self._free.acquire(timeout=timeout_s):
            raise NotSentError("all connections are in use")
        try:
            manager = self._manager(target.scheme, proxy)
            pool: Any = manager.connection_from_host(target.host, target.port, target.scheme)
            answer: http1.Answer = pool.exchange(call)
        finally:
            self._free.release()
        return answer

    def _manager(self, scheme: str, proxy: Proxy | None) -> urllib3.PoolManager:
        """What has a scheme's pools; each proxy, with each of the credentials that we give it, has pools of its own."""
        where = () if proxy is None else (connection.authority(proxy.host, proxy.port), *proxy.headers.values())
        with self._lock:
            key = (scheme, *where)
            if key not in self._managers:
                options: dict[str, Any] = {"num_pools": HOSTS_MAX, "maxsize": self._connections_max}
                if scheme == "https":
                    options["ssl_context"] = tls_context(self._environ)
                manager = (
                    urllib3.PoolManager(**options)
                    if proxy is None
                    else urllib3.ProxyManager(f"http://{where[0]}", proxy_headers=proxy.headers, **options)
                )
                manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
                self._managers[key] = manager
            return self._managers[key]

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """What verifies a peer, as :class:`sumo_internal.net.tls.Context` does, of the kind that urllib3 takes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    usual = ssl.get_default_verify_paths()
    file, folder = tls.VARIABLES
    for place in (
        {"cafile": environ.get(file, usual.openssl_cafile)},
        {"capath": environ.get(folder, usual.openssl_capath)},
    ):
        with suppress(OSError):  # what is not there, or has no certificate in it, adds no authority
            context.load_verify_locations(**place)
    return context


class _Exchanging:
    """What a pool of urllib3's does our way; it stands in front of urllib3's class."""

    ConnectionCls: type[Any]
    scheme: Any
    host: str
    port: Any
    proxy: Any
    conn_kw: dict[str, Any]
    _get_conn: Any
    _put_conn: Any
    _prepare_proxy: Any

    def exchange(self, call: Call) -> http1.Answer:
        """Make a call over a connection of this pool, and put it back."""
        taken = self._get_conn()
        try:
            return self._call(taken, call)
        except BaseException:
            taken.close()
            raise
        finally:
            self._put_conn(taken)

    def _call(self, taken: Any, call: Call) -> http1.Answer:
        if taken.sock is not None and not connection.is_usable(taken.sock):
            taken.close()
        was_kept = taken.sock is not None
        try:
            if not was_kept:
                self._connect(taken, call.until_s)
            answer = call.make(taken.sock)
        except (OSError, http1.BadAnswerError) as error:
            raise connection.broken(error, call, was_kept) from None
        if connection.ends_connection(answer):
            taken.close()
        return answer

    def _connect(self, made: Any, until_s: float) -> None:
        made.until_s = until_s
        if self.proxy is not None and self.scheme == "https":
            self._prepare_proxy(made)
        else:
            made.connect()

    def _new_conn(self) -> Any:
        """As urllib3's, which logs it."""
        host, port = (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)
        return self.ConnectionCls(host=host, port=port, **self.conn_kw)


class _Dialling:
    """What a connection of urllib3's does our way: how it comes to a socket, and a tunnel."""

    until_s: float
    sock: Any
    proxy: Any
    port: int
    is_connected = True
    """Whether it is, is looked at before it is used; urllib3 would log that it is not."""
    _dns_host: str
    _tunnel_host: Any
    _tunnel_port: Any
    _tunnel_headers: Mapping[str, str]

    def _new_conn(self) -> socket.socket:
        try:
            dialled = connection.dial(self._dns_host.strip("[]"), self.port, self.until_s)
        except OSError as error:
            if self.proxy is None:
                raise
            raise NotSentError(f"the proxy: {connection.reason(error)}") from None
        own = socket.socket(dialled.family, dialled.type, dialled.proto, dialled.detach())  # the kind that ssl takes
        own.settimeout(connection.left_s(self.until_s))
        return own

    def _tunnel(self) -> None:
        # From Python 3.12 on set_tunnel adds a Host header of its own.
        headers = {name: value for name, value in self._tunnel_headers.items() if name.lower() != "host"}
        to = connection.authority(self._tunnel_host.strip("[]"), self._tunnel_port)
        connection.open_tunnel(self.sock, to, headers, self.until_s)
        self.sock.settimeout(connection.left_s(self.until_s))


class _HttpConnection(_Dialling, HTTPConnection):
    pass


class _HttpsConnection(_Dialling, HTTPSConnection):
    pass


class _HttpPool(_Exchanging, HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(_Exchanging, HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
