"""The soak's faults: what the source answers, what stands before S3, names that do not resolve, a second drainer.

Separate from the soak, which draws them: each is made here, and can be taken back.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from faulty_http import End
from sumo_source import HANG, LOSE_ANSWER, Fault, Point, redirect

from layer.build import ROOT

FAULTS = {
    "429, Retry-After": Fault(429, {"Retry-After": "1"}),
    "500": Fault(500),
    "503": Fault(503),
    "401": Fault(401),
    "400": Fault(400),
    "reset before the headers": Fault(at=Point.BEFORE_READING, end=End.RESET),
    "reset after the headers": Fault(at=Point.AFTER_HEADERS, end=End.RESET),
    "reset in the body": Fault(at=Point.IN_BODY, end=End.RESET, body_read_bytes=100),
    "batch dropped": Fault(at=Point.AFTER_BODY),
    "hang": HANG,
    "drip": Fault(drip_interval_s=0.05),
    "slow": Fault(delay_s=0.3),
    "answer lost": LOSE_ANSWER,
    "answer lost, hang": Fault(at=Point.AFTER_KEEPING, end=End.HANG),
    "a lie about the answer's length": Fault(claimed_size_bytes=100, at=Point.AFTER_ANSWER),
    "redirect to nowhere of Sumo's": redirect(302, "https://127.0.0.1:9/"),
}
DOORS = ("open", "open", "refusing", "slow", "gone")
SLOW_S = 0.7
"""What a slow S3 takes: more than the second drainer, and less than a request, has patience for."""


class Door(socketserver.ThreadingTCPServer):
    """Stands before S3 and is one of :data:`DOORS`: refuses (503), keeps its answers back, or hangs up."""

    daemon_threads = True

    def __init__(self, behind_port: int) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.behind_port = behind_port
        self.answers_lost = 0
        self.state = "open"
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class Passage(socketserver.BaseRequestHandler):
    """One connection through the door, as long as it is open."""

    server: Door
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind_port)) as behind:
            ways = {self.request.fileno(): (self.request, behind), behind.fileno(): (behind, self.request)}
            poll = select.poll()  # not select(), which knows no descriptor above 1,023
            for descriptor in ways:
                poll.register(descriptor, select.POLLIN)
            while True:
                for descriptor, _ in poll.poll():
                    readable, other = ways[descriptor]
                    if not self._pass_on(readable, other, is_answer=readable is behind):
                        return

    def _pass_on(self, readable: socket.socket, other: socket.socket, *, is_answer: bool) -> bool:
        data = readable.recv(1 << 20)
        state = self.server.state
        self.server.answers_lost += is_answer and state != "open"
        if not data or state == "gone":
            return False
        if state == "refusing":
            self.request.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if state == "slow" and is_answer:
            time.sleep(SLOW_S)
        other.sendall(data)
        return True


class Names:
    """The one name server that an isolated environment asks: it knows one address for all names, or is silent."""

    NAME = "source.test"

    def __init__(self) -> None:
        """Listen on an address of its own; needs root."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(2, 255):
            self.address = f"127.0.53.{number}"
            with contextlib.suppress(OSError):  # another soak has it
                self._socket.bind((self.address, 53))
                break
        self._is_silent = False
        threading.Thread(target=self._serve, daemon=True).start()

    def hang(self) -> None:
        """Answer no question."""
        self._is_silent = True

    def resolve(self) -> None:
        """Answer again."""
        self._is_silent = False

    def close(self) -> None:
        """End."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, asker = self._socket.recvfrom(512)
                if question and not self._is_silent:
                    self._socket.sendto(_answer(question), asker)


def _answer(question: bytes) -> bytes:
    """127.0.0.1, to the question for an IPv4 address; to any other that there is none (RFC 1035, 4.1)."""
    end = question.index(b"\0", 12) + 5
    has_address = question[end - 4 : end - 2] == b"\0\1"
    head = question[:2] + b"\x81\x80\0\1" + bytes([0, has_address]) + bytes(4)
    address = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if has_address else b""
    return head + question[12:end] + address


SECOND_DRAINER = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[2])
from sumo_internal import config
from sumo_internal.spool import counters
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.net.client import PlainSender
settings, _ = config.read({"SUMO_HTTP_ENDPOINT": sys.argv[3], "SUMO_NUM_RETRIES": "0"})
counts = counters.Counters(sys.argv[1], "second-p%d" % os.getpid())
drainer = make_drainer(settings, {}, SpoolReader(sys.argv[1]), counts, PlainSender, print)
is_over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
while not is_over.wait(0.05):
    drainer.drain(time.time() + 1)
"""


class SecondDrainer:
    """A drainer in a process of its own, beside those of the environment, which takes its turn at their spool."""

    def __init__(self, spool: Path, url: str, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SECOND_DRAINER, str(spool), str(ROOT), url],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **variables},
        )

    def close(self) -> None:
        """Let it finish what it has begun."""
        self._process.communicate()
