"""A small HTTP/1.1 server: one thread for each connection, a parser for what Lambda's clients send, one write for an
answer.

Separate, and not ``http.server``, because the model measures differences of one millisecond in cold starts: this
answers in a fraction of one.

Rules:

* A handler returns a response, or None to close the connection without one: a long poll that nothing will answer any
  more.
* Bodies come with a length; another transfer encoding is refused with 411. Nagle's algorithm is off, or a client that
  waits for the last piece would wait 40 ms more.

It does not route, and knows nothing of Lambda.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    411: "Length Required",
}
_MAX_HEAD_BYTES = 64 * 1024


class Request(NamedTuple):
    """One request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


Handler = Callable[[Request], "Response | None"]


def json_response(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer whose body is JSON, as all of Lambda's are."""
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


class Server:
    """Listens on a port of its own on 127.0.0.1 until it is closed."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._is_closed = False
        self._acceptor = threading.Thread(target=self._accept, name="model-accept", daemon=True)
        self._acceptor.start()

    @property
    def address(self) -> str:
        """``host:port``, as AWS_LAMBDA_RUNTIME_API has it."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Close every socket and wait for the threads. Handlers that wait for something have to be released before."""
        with self._lock:
            self._is_closed = True
            connections = dict(self._connections)
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                pass
        for thread in (self._acceptor, *connections.values()):
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), name="model-connection", daemon=True)
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until either side closes it."""
        try:
            buffer = bytearray()
            while (request := _read_request(connection, buffer)) is not None:
                response = self._handler(request)
                if response is None:
                    return
                connection.sendall(_render(response))
                if request.headers.get("connection", "").lower() == "close":
                    return
        except OSError:  # a client that was killed
            return
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.close()


def _read_request(connection: socket.socket, buffer: bytearray) -> Request | None:
    """Return the next request, leaving in ``buffer`` what came after it; None at the end of the connection."""
    while (head_size := buffer.find(b"\r\n\r\n")) < 0:
        if len(buffer) > _MAX_HEAD_BYTES or not _receive(connection, buffer):
            return None
    request_line, *header_lines = buffer[:head_size].decode("latin-1").split("\r\n")
    del buffer[: head_size + 4]
    method, path, _ = request_line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
    if "transfer-encoding" in headers:
        connection.sendall(_render(Response(411)))
        return None
    size = int(headers.get("content-length", 0))
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(buffer) < size:
        if not _receive(connection, buffer):
            return None
    body = bytes(buffer[:size])
    del buffer[:size]
    return Request(method, path, headers, body)


def _receive(connection: socket.socket, buffer: bytearray) -> bool:
    """Add what has arrived to ``buffer``; return whether the client is still there."""
    chunk = connection.recv(256 * 1024)
    buffer += chunk
    return bool(chunk)


def _render(response: Response) -> bytes:
    """Return the answer's bytes, head and body together."""
    head = [f"HTTP/1.1 {response.status} {_REASONS[response.status]}", f"Content-Length: {len(response.body)}"]
    head += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + response.body
