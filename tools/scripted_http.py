"""An HTTP server on loopback that gives each request the answer it was told to give: for what no real server does.

Separate from ``sumo_source`` because it judges nothing: it plays S3, KMS and the endpoint of credentials when they
refuse, hang and vanish. Bytes and sockets are ``faulty_http``'s.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from faulty_http import Authority, Connection, End


@dataclass(frozen=True)
class Request:
    """A request as it arrived, and when; headers by lower-case name, ``connection`` counted from 1."""

    connection: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    received_at_s: float


def answer(status: int, body: bytes | Mapping[str, object] = b"", **headers: str) -> bytes:
    """Return an answer's bytes; a mapping is sent as JSON, and ``x_amz_region`` is the header ``x-amz-region``."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class ScriptedServer:
    """Listen on 127.0.0.1 until closed; a context manager.

    Args:
        default: what a request gets once the script has run out: bytes to answer with, or a way to end.
        tls: speak https, with a certificate of the authority in ``authority.ca_file``.

    Attributes:
        requests: all so far; a request is in it before its answer leaves.
    """

    def __init__(self, default: bytes | End = End.CLOSE, *, tls: bool = False) -> None:
        self.default = default
        self.requests: list[Request] = []
        self.authority = Authority() if tls else None
        self._script: deque[bytes | End] = deque()
        self._connections: dict[Connection, threading.Thread] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="scripted-accept", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(); a mere close does not
        self._acceptor.join()
        self._listener.close()
        for connection, thread in self._connections.items():
            connection.wake()
            thread.join()
        if self.authority is not None:
            self.authority.close()

    def script(self, *answers: bytes | End) -> None:
        """Queue what the next requests get, one each."""
        self._script.extend(answers)

    def hang_up(self) -> None:
        """Close the connections that there are, as a server does that has waited for long enough."""
        for connection in [*self._connections]:
            connection.wake()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:  # shut down
                return
            if self.authority is not None:
                accepted = self.authority.wrap(accepted)
            connection = Connection(accepted, len(self._connections) + 1)
            thread = threading.Thread(target=self._serve, args=(connection,), name="scripted-connection", daemon=True)
            self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.shake_hands()
            while connection.wait_for_request(60):
                method, path, _, headers = connection.read_head()
                body = connection.read_body(headers) or b""
                self.requests.append(Request(connection.number, method, path, headers, body, time.time()))
                what = self._script.popleft() if self._script else self.default
                if isinstance(what, End):
                    connection.end(what)
                    return
                connection.send(what)
        except (OSError, ValueError):
            pass  # the client has left; its test asks it
        finally:
            connection.close()
