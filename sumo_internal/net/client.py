"""The sender of every process in a Lambda environment: a socket with ``ssl``, and one connection that is kept.

Importing a library for it takes 1.1 s at the CPU share of a 128 MB function: more than half of the shutdown window.
Where a process is no Lambda environment, :mod:`sumo_internal.net.pool` sends. How long a request may take, what TLS
and proxies do, and how failures are told is the same in both (:mod:`sumo_internal.net.connection`).

Tracing libraries patch the classes of ``http.client`` in place, and our requests, whose address is a credential, must
not become the function's spans. So nothing of ``http.client`` is used here.

Nothing here follows redirects, retries or logs.
"""

from __future__ import annotations

import os
from _socket import SHUT_RDWR

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

        def close(self) -> None:
            """Close what is kept; a later request makes it anew."""


class PlainSender:
    """``ssl`` over a socket, one kept connection."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Send through the proxies that ``environ`` names."""
        self._environ = environ
        self._connection: Any = None
        self._origin = ""
        self._context: Any = None

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        """Send one request.

        Args:
            method: ``POST``, ``PUT`` or ``GET``.
            url: Where to.
            headers: Each one line of Latin-1 text.
            body: The body.
            timeout_s: Seconds for all of it.

        Raises:
            NotSentError: No whole answer came; its text says why, without the address.
        """
        target = Target(url)
        proxy = target.proxy(self._environ)
        call = Call(target.request(method, headers, body, proxy), timeout_s)
        kept = self._connection
        is_kept = kept is not None and self._origin == target.origin
        was_kept = is_kept and kept.is_ours() and connection.is_usable(kept)
        try:
            if not was_kept:
                self.close()
                self._connection = self._connect(target, proxy, call.until_s)
                self._origin = target.origin
            answer = call.make(self._connection)
        except (OSError, http1.BadAnswerError) as error:
            self.close()
            raise connection.broken(error, call, was_kept) from None
        except BaseException:
            self.close()  # in whatever state it is
            raise
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

    def break_off(self) -> None:
        """End the request that another thread is waiting for, and its connection with it. Any thread may call."""
        waiting = self._connection
        if waiting is not None and waiting.is_ours():
            try:
                waiting.shutdown(SHUT_RDWR)
            except OSError:
                pass  # it has just ended by itself

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
