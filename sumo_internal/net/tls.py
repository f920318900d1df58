"""TLS over a connected socket: a context that verifies, the handshake, and bytes both ways.

It uses ``_ssl``, the C part of ``ssl``. ``ssl`` around it, with ``socket`` and ``selectors`` below, costs the
function's CPU an import of 20 ms for names and conversions that are not needed here; and these are Python modules,
which a function may replace, or have files of the same name as.

Rules:

* What verifies is what ``ssl.create_default_context`` makes: TLS 1.2 or newer, a certificate for the host's name in
  ``subjectAltName``, from the authorities of SSL_CERT_FILE and SSL_CERT_DIR, or else the machine's. The two variables
  are those of the environment at our start: what the function sets later for itself does not change which authorities
  we trust.
* OpenSSL has locks of the whole process, which a forked child would inherit from a thread that is inside. So a thread
  of ours is inside only while it holds :data:`_inside`, never while it waits for the network, and a fork waits for it,
  at most :data:`FORK_WAIT_MAX_S`.
"""

from __future__ import annotations

import _ssl
import os
import select
import sys
from _socket import socket
from _thread import allocate_lock
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

FORK_WAIT_MAX_S = 1.0
"""For how long a fork waits for a thread that is inside OpenSSL. The longest work there, loading 144 authorities, takes
23 ms of CPU, which is 0.3 s at the share of a 128 MB function."""

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where OpenSSL looks for the names of authorities."""

_inside = allocate_lock()


class Socket(socket):
    """A socket that ``_ssl`` can refer to, and that closes no descriptor but its own.

    The function may close what it has not opened; the number is then given to the next that it opens.
    """

    __slots__ = ("__weakref__", "_inode")

    def __init__(self, family: int = -1, kind: int = -1, protocol: int = -1, fileno: int | None = None) -> None:
        super().__init__(family, kind, protocol, fileno)
        self._inode = os.fstat(self.fileno()).st_ino

    def is_ours(self) -> bool:
        """Does the descriptor still lead to this socket? Else send nothing, and receive nothing."""
        try:
            return os.fstat(self.fileno()).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        if self.is_ours():
            super().close()
        else:
            self.detach()


class Context:
    """What verifies a peer. Make it once: loading 144 authorities takes 23 ms of CPU."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Trust the authorities that ``environ`` names, or else the machine's."""
        _, file, _, folder = _ssl.get_default_verify_paths()
        file, folder = (environ.get(name, place) for name, place in zip(VARIABLES, (file, folder), strict=True))
        with _inside:
            context: Any = _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = _ssl.PROTO_TLSv1_2
            context._host_flags |= getattr(_ssl, "HOSTFLAG_NEVER_CHECK_SUBJECT", 0)
            if sys.version_info >= (3, 13):
                context.verify_flags |= _ssl.VERIFY_X509_PARTIAL_CHAIN | _ssl.VERIFY_X509_STRICT
            for place in ((file, None), (None, folder)):
                try:
                    context.load_verify_locations(*place)
                except OSError:
                    pass  # what is not there, or has no certificate in it, adds no authority
        self._context = context

    def wrap_socket(self, connection: Socket, server_hostname: str) -> Tls:
        """Shake hands over a connected socket, within its timeout.

        Raises:
            OSError: The peer's certificate does not verify, or the peer is no TLS server, or it does not answer.
        """
        with _inside:
            tls = Tls(connection, self._context._wrap_socket(connection, False, server_hostname))
        tls.shake_hands()
        return tls


class Tls:
    """A connection with TLS: what a socket has, as far as it is needed here."""

    def __init__(self, connection: Socket, tls: Any) -> None:
        self._socket = connection
        self._tls = tls
        self._timeout_s = connection.gettimeout()
        self._poll = select.poll()
        connection.setblocking(False)
        self.fileno = connection.fileno
        self.is_ours = connection.is_ours
        self.setsockopt = connection.setsockopt
        self.pending: Callable[[], int] = tls.pending

    def settimeout(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def shake_hands(self) -> None:
        self._do(self._tls.do_handshake)

    def send(self, data: Any) -> int:
        count: int = self._do(self._tls.write, data)
        return count

    def recv(self, size_bytes: int) -> bytes:
        """Receive up to so many bytes; none at the end, with the peer's goodbye or without."""
        # Waited for before OpenSSL is asked, which would only say so: a system call and an exception less.
        event = 0 if self._tls.pending() else select.POLLIN
        try:
            data: bytes = self._do(self._tls.read, size_bytes, event=event)
        except _ssl.SSLEOFError:
            return b""
        return data

    def shutdown(self, how: int) -> None:
        """As of a socket's: whoever waits for it wakes."""
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()

    def _do(self, step: Callable[..., Any], *arguments: object, event: int = 0) -> Any:
        """Take a step of OpenSSL's; wait for the network, as often as the step needs it, outside of OpenSSL.

        Args:
            step: The step.
            arguments: Its arguments.
            event: What to wait for before the step is first taken; nothing where it is 0.
        """
        until_s = None if self._timeout_s is None else monotonic() + self._timeout_s
        while True:
            if event:
                self._wait(event, until_s)
            with _inside:
                try:
                    return step(*arguments)
                except _ssl.SSLWantReadError:
                    event = select.POLLIN
                except _ssl.SSLWantWriteError:
                    event = select.POLLOUT

    def _wait(self, event: int, until_s: float | None) -> None:
        left_s = None if until_s is None else max(0.0, until_s - monotonic())
        self._poll.register(self._socket, event)
        if not self._poll.poll(None if left_s is None else left_s * 1000):
            raise TimeoutError


def _before_fork() -> None:
    global _is_held
    _is_held = _inside.acquire(timeout=FORK_WAIT_MAX_S)


def _after_fork() -> None:
    if _is_held:
        _inside.release()


def _after_fork_in_child() -> None:
    global _inside
    _inside = allocate_lock()


_is_held = False
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
