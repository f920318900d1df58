"""The server's side of an HTTP/1.1 connection that can end in every way in which a network lets it end.

It owns one accepted socket, in the clear or with TLS, and the bytes that were read from it ahead of need.
Separate from the server that uses it because nothing here knows what the requests are about.

Rules:

* Every wait of a `Connection` ends at `wake`, which another thread may call at any time; everything else
  belongs to one thread.
* Linux turns the close of a socket with unread bytes into a reset: a CLOSE before the end of a request can
  arrive as one.

It speaks no more of HTTP/1.1 than a sender of logs needs: no pipelining, no 100-continue.
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import ssl
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

HEAD_LIMIT_BYTES = 64 * 1024
"""What a sender that never ends its headers may put into our memory."""

_TCP_ESTABLISHED = 1
"""State in the first byte of Linux' struct tcp_info: neither side has closed."""


class End(enum.Enum):
    """A way for a connection to end."""

    CLOSE = "FIN, after TLS's close_notify"
    RESET = "RST"
    HANG = "silence, until one of the two sides closes"


class Connection:
    """One accepted socket, and its number among those of its server."""

    def __init__(self, accepted: socket.socket, number: int) -> None:
        self.number = number
        self._socket = accepted
        self._buffer = bytearray()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def is_established(self) -> bool:
        """Tell whether neither side has closed it; true to the instant, however late its thread reads the end."""
        if self._socket.fileno() < 0:
            return False
        return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED

    def shake_hands(self) -> None:
        """Begin TLS, where it is spoken."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.do_handshake()

    def wait_for_request(self, timeout_s: float) -> bool:
        """Return True when a request begins, unread as yet; False when none did in time or the other side has left."""
        if not self._poll(select.POLLIN, timeout_s):
            self.end(End.CLOSE)
            return False
        # Below TLS, which cannot look ahead.
        return socket.socket.recv(self._socket, 1, socket.MSG_PEEK) != b""

    def read_head(self) -> tuple[str, str, str, dict[str, str]]:
        """Return method, path, version, and the headers by lower-case name.

        Raises:
            ValueError: this is no HTTP; the connection is of no use any more.
        """
        first, *lines = self._read_to(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, path, version = first.split(" ")
        pairs = (line.split(":", 1) for line in lines)
        return method, path, version, {name.lower(): value.strip() for name, value in pairs}

    def read_body(self, headers: Mapping[str, str]) -> bytes | None:
        """Return the body as it is on the wire, chunks joined; None where the headers do not say how long it is.

        Raises:
            ValueError: a length that is no number; the connection is of no use any more.
        """
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(self._read_chunks())
        return self.read(int(headers["content-length"])) if "content-length" in headers else None

    def read(self, size_bytes: int) -> bytes:
        """Return exactly this much."""
        while len(self._buffer) < size_bytes:
            self._receive()
        return self._take(size_bytes)

    def send(self, part: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(part)

    def pause(self, duration_s: float) -> None:
        """Wait, but not for a sender that has left."""
        if duration_s:
            self._poll(select.POLLRDHUP, duration_s)

    def end(self, how: End) -> None:
        """Do what has to happen before `close` so that it ends the connection in this way."""
        if how is End.HANG:
            self._poll(select.POLLRDHUP, None)
        elif how is End.RESET:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(0)  # send close_notify, and do not wait for theirs
            with contextlib.suppress(OSError):
                self._socket.unwrap()

    def wake(self) -> None:
        """Hang up, from another thread than the one that serves."""
        with contextlib.suppress(OSError):  # it is closed already
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # SSLSocket's own is not safe beside a reader

    def close(self) -> None:
        """Give the socket back; unless `end` was called before, this is a FIN without TLS's goodbye."""
        self._socket.close()

    def _poll(self, event: int, timeout_s: float | None) -> bool:
        poll = select.poll()
        poll.register(self._socket, event)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def _read_chunks(self) -> Iterator[bytes]:
        while size_bytes := int(self._read_to(b"\r\n").partition(b";")[0], 16):
            yield self.read(size_bytes)
            self._read_to(b"\r\n")
        while self._read_to(b"\r\n"):
            pass  # trailers, of which we know none

    def _read_to(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise ValueError(f"no {end!r} within {HEAD_LIMIT_BYTES} bytes")
            self._receive()
        return self._take(at + len(end))[: -len(end)]

    def _take(self, size_bytes: int) -> bytes:
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return taken

    def _receive(self) -> None:
        received = self._socket.recv(256 * 1024)
        if not received:
            raise ConnectionError("the sender left in the middle of a request")
        self._buffer += received


class Authority:
    """A certificate authority of our own, and the server's side of TLS (1.2 and later) with a certificate from it."""

    def __init__(self) -> None:
        import trustme  # slow, and only servers with TLS need it

        authority = trustme.CA()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self._context)
        self._folder = tempfile.TemporaryDirectory(prefix="authority-")
        self.ca_file = Path(self._folder.name) / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))

    def wrap(self, accepted: socket.socket) -> ssl.SSLSocket:
        """Return the socket with TLS, its handshake still to come."""
        return self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)

    def close(self) -> None:
        """Remove `ca_file`."""
        self._folder.cleanup()
