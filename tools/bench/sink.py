"""A server on loopback that takes whatever the benchmark's contenders send, over TLS, and says that all is well.

A process of its own: it must not compete with the model of Lambda for an interpreter lock. It prints its address and
the authority to trust, and serves until it is told to stop. ``GET`` tells how many posts there were.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import sumo_rules
from faulty_http import Authority
from runtimes import ROOT

ANSWER = b"{}"
"""Good JSON, and what does not read it will not mind."""
PROBE = b"POST / HTTP/1.1\r\nHost: probe\r\nContent-Length: 300\r\n\r\n" + 300 * b"x"
"""A line of ours is as long when it is compressed."""


class Sink:
    """The server, as its user sees it; a context manager."""

    def __init__(self, delay_s: float = 0.0) -> None:
        """Take so long for each answer to a post."""
        self._delay_s = delay_s
        self._client: ssl.SSLSocket | None = None

    def __enter__(self) -> Sink:
        command = [sys.executable, "-m", "bench.sink", str(self._delay_s)]
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tools"}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
        assert self._process.stdout is not None
        self.url, ca_file = self._process.stdout.readline().split()
        self.ca_file = Path(ca_file)
        return self

    @property
    def endpoint(self) -> str:
        """An address with a code in its path, as each endpoint has one: what is shipped is searched for it."""
        return f"{self.url}{sumo_rules.PATH}"

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        self._process.terminate()
        self._process.communicate()

    def own_ms(self) -> float:
        """Return for how long a client waits that has a small request ready, over a connection that it has kept."""
        if self._client is None:
            host, _, port = self.url.rpartition("/")[2].partition(":")
            context = ssl.create_default_context(cafile=self.ca_file)
            self._client = context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
        begun_ns = time.perf_counter_ns()
        self._client.sendall(PROBE)
        answer = b""
        while not answer.endswith(ANSWER):
            answer += self._client.recv(65_536)
        return (time.perf_counter_ns() - begun_ns) / 1e6

    def posts(self) -> int:
        """Return how many there have been."""
        with urlopen(self.url, context=ssl.create_default_context(cafile=self.ca_file)) as response:
            return int(response.read())


class Handler(BaseHTTPRequestHandler):
    """Reads what there is and answers."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    """An answer is one piece, as a load balancer sends it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.posts += 1
        time.sleep(self.server.delay_s)
        self._answer(ANSWER)

    def do_GET(self) -> None:
        self._answer(str(self.server.posts).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """Begins TLS on the connection's own thread."""

    daemon_threads = True

    def __init__(self, authority: Authority, delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self._authority = authority
        self.delay_s = delay_s
        self.posts = 0

    def finish_request(self, request: object, client_address: object) -> None:
        try:
            super().finish_request(self._authority.wrap(request), client_address)  # type: ignore[arg-type]  # a socket
        except (OSError, ssl.SSLError):
            pass  # it hung up, or was frozen for too long


def main() -> None:
    """Serve until told to stop."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    authority = Authority()
    server = Server(authority, float(sys.argv[1]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"https://127.0.0.1:{server.server_address[1]}", authority.ca_file, flush=True)
    signal.sigwait(stop)
    server.shutdown()
    authority.close()


if __name__ == "__main__":
    main()
