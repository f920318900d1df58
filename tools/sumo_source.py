"""A Sumo Logic HTTP source on loopback: as strict as the real one, and as unreliable as a test wants it.

It owns a listening socket, a thread for each connection, and everything that arrived. What is right and what is
wrong is in ``sumo_rules``, bytes and sockets are in ``faulty_http``. A benchmark runs it as a process of its
own, which prints its endpoint first and a summary last:

    python tools/sumo_source.py --port 8088 --keep got.ndjson

A request meets one `Fault`: the next of the script, or else `default`. The life of a request, and where it can
break off:

    begins          headers read   body read   records kept   answer sent   idle, for idle_timeout_s at most
    BEFORE_READING  AFTER_HEADERS  AFTER_BODY  AFTER_KEEPING  AFTER_ANSWER
                            IN_BODY

Rules:

* Records are kept (`records`, `ids()`) if and only if their request was read to its end and its answer is to be
  a 2xx. AFTER_KEEPING is the lost answer, upon which a sender repeats what has arrived already; AFTER_BODY is
  the server that dies with the batch in its hands.
* A request is in `requests` before its answer leaves: a test that has the answer will find the request.
* A refusal by ``sumo_rules`` (401, 400, ...) goes before the status that a fault asks for.

It limits neither rate nor quota by itself; a script does.
"""

from __future__ import annotations

import argparse
import enum
import json
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import sumo_rules
from faulty_http import Authority, Connection, End
from sumo_rules import Record


class Point(enum.Enum):
    """A moment in the life of a request."""

    BEFORE_READING = "before reading"
    AFTER_HEADERS = "after the headers"
    IN_BODY = "in the body"
    AFTER_BODY = "after the body, nothing kept"
    AFTER_KEEPING = "after its records were kept"
    AFTER_ANSWER = "after the answer"


@dataclass(frozen=True)
class Fault:
    """What a request meets; the parts combine, and none of them is a plain 200.

    Attributes:
        status, headers, body: the answer.
        delay_s: seconds between the end of the request and the answer.
        drip_interval_s: seconds between any two bytes of the answer.
        claimed_size_bytes: the answer's Content-Length where it is to be a lie.
        at, end: where the exchange breaks off, and how.
        body_read_bytes: how much of the body, as it is on the wire, is read before it breaks off IN_BODY.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    drip_interval_s: float = 0.0
    claimed_size_bytes: int | None = None
    at: Point | None = None
    end: End = End.CLOSE
    body_read_bytes: int = 0


ACCEPT = Fault()
HANG = Fault(at=Point.AFTER_BODY, end=End.HANG)
LOSE_ANSWER = Fault(at=Point.AFTER_KEEPING)


def redirect(status: int, location: str) -> Fault:
    """Return the answer that sends the client elsewhere."""
    return Fault(status=status, headers={"Location": location})


def complaint(code: str, message: str) -> Fault:
    """Return the answer of a source that took the request and tells in a 200 what it does not like about it."""
    answer = {"status": 200, "id": "7JX4K-LOOPB-ACK00", "code": code, "errors": [{"code": code, "message": message}]}
    return Fault(headers={"Content-Type": "application/json"}, body=json.dumps(answer).encode())


@dataclass(frozen=True)
class SumoRequest:
    """A request as it was seen, whatever became of it.

    Attributes:
        connection: number of its connection, from 1.
        fault: what it met.
        received_at_s: `time.time()` when it had been read, as far as it was.
        answered_at_s, status: `time.time()` when its answer began to leave, and which; None where there was no answer.
        headers: by lower-case name.
        raw_size_bytes, body_size_bytes: of the body on the wire, and decoded.
        records: the JSON objects in the body.
        is_kept: whether they count as accepted.
    """

    connection: int
    fault: Fault
    received_at_s: float
    answered_at_s: float | None = None
    status: int | None = None
    method: str = ""
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw_size_bytes: int = 0
    body_size_bytes: int = 0
    records: tuple[Record, ...] = ()
    is_kept: bool = False


class SumoSource:
    """Listen on 127.0.0.1 until closed; a context manager.

    Args:
        tls: speak https (TLS 1.2 and later), with a certificate of the authority in `ca_file`.
        port: 0 for any that is free.
        connections: how many may be open at a time. Sumo Logic asks for batches on a single one per sender.
        limit_bytes: size of a decoded body above which the answer is 413; None for never, as with the real one.
        idle_timeout_s: seconds after which an idle connection is closed; Sumo Logic's load balancer takes 30.
        keep: a file to which the bodies of kept requests are appended.

    Attributes:
        default, idle_timeout_s: what a request meets once the script has run out, and as above; to be changed at will.
        accept_delay_s: seconds that a new connection waits before anything, TLS included, happens to it.
        problems: everything that a sender should not have done; tests assert that it is empty.
        max_connections_seen: the most connections that were open at a time.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        port: int = 0,
        connections: int = 1,
        limit_bytes: int | None = None,
        idle_timeout_s: float = 30.0,
        keep: Path | None = None,
    ) -> None:
        self.default = ACCEPT
        self.accept_delay_s = 0.0
        self.idle_timeout_s = idle_timeout_s
        self.problems: list[str] = []
        self.max_connections_seen = 0
        self._connections_limit = connections
        self._limit_bytes = limit_bytes
        self._keep = keep.open("ab", buffering=0) if keep else None
        self._authority = Authority() if tls else None
        self._changed = threading.Condition()
        self._script: deque[Fault] = deque()
        self._requests: list[SumoRequest] = []
        self._records: list[Record] = []
        self._connections: dict[Connection, threading.Thread] = {}
        self._connections_made = 0
        self._port = port
        self._listening: list[socket.socket] = []
        self._acceptor: threading.Thread | None = None
        self.resume_listening()

    def __enter__(self) -> SumoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The endpoint, token included."""
        return f"{'https' if self._authority else 'http'}://127.0.0.1:{self._port}{sumo_rules.PATH}"

    @property
    def endpoint(self) -> str:
        """The same, by the name under which each kind of source in the benchmark has it."""
        return self.url

    @property
    def base_url(self) -> str:
        """The endpoint without a code; the token goes in a header, ``x-sumo-token``."""
        return self.url.removesuffix(f"/{sumo_rules.TOKEN}")

    @property
    def ca_file(self) -> Path:
        """The certificate authority that a client has to trust, as PEM; with TLS only."""
        assert self._authority is not None, "this source speaks plain http"
        return self._authority.ca_file

    @property
    def requests(self) -> list[SumoRequest]:
        """Every request so far, in the order in which their fate was known."""
        with self._changed:
            return list(self._requests)

    @property
    def records(self) -> list[Record]:
        """Every record that was kept, in order of arrival."""
        with self._changed:
            return list(self._records)

    def ids(self) -> Counter[str]:
        """Return how often each record `id` was kept: 1 everywhere if each line arrived once."""
        return Counter(record["id"] for record in self.records if "id" in record)

    def script(self, faults: Iterable[Fault]) -> None:
        """Queue what the next requests meet, one each, in the order in which they begin."""
        with self._changed:
            self._script.extend(faults)

    def wait_for(self, wanted: int | Callable[[SumoSource], bool], timeout_s: float = 10.0) -> None:
        """Return as soon as this many records are kept, or the condition on this source is true.

        Raises:
            TimeoutError: that did not happen; says what did.
        """
        is_there = (lambda: len(self._records) >= wanted) if isinstance(wanted, int) else (lambda: wanted(self))
        with self._changed:
            if not self._changed.wait_for(is_there, timeout_s):
                raise TimeoutError(f"waited {timeout_s} s for {wanted}; there is {self.summary()}")

    def summary(self) -> str:
        """Return one line on what arrived and how it was answered."""
        with self._changed:
            answers = Counter(request.status for request in self._requests)
            kept = f"{len(self._records)} records kept of {len(self._requests)} requests"
            return f"{kept} on {self._connections_made} connections, answers {dict(answers)}, problems {self.problems}"

    def pause_listening(self, *, silent: bool = False) -> None:
        """Take no new connection; those that are open stay.

        Args:
            silent: let a connect wait for an answer that never comes, as behind a firewall, instead of refusing it.
        """
        self._stop_listening()
        if silent:
            # Once its queue, which holds one connection, is full, Linux drops every further SYN.
            listener = self._bind(backlog=0)
            self._listening = [listener, socket.create_connection(listener.getsockname())]

    def resume_listening(self) -> None:
        """Take connections (again), on the same port."""
        self._stop_listening()
        listener = self._bind(backlog=128)
        self._port = listener.getsockname()[1]
        self._listening = [listener]
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), name="sumo-accept", daemon=True)
        self._acceptor.start()

    def drop_connections(self) -> None:
        """Close all connections, and return when that is done."""
        with self._changed:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            connection.wake()
            thread.join()

    def close(self) -> None:
        """End everything, in whatever state it is; no thread and no socket is left."""
        self._stop_listening()
        self.drop_connections()
        for owned in (self._keep, self._authority):
            if owned is not None:
                owned.close()

    def _bind(self, backlog: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(backlog)
        return listener

    def _stop_listening(self) -> None:
        if self._acceptor is not None:
            self._listening[0].shutdown(socket.SHUT_RDWR)  # wakes accept(); a mere close does not
            self._acceptor.join()
            self._acceptor = None
        for listening in self._listening:
            listening.close()
        self._listening = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:  # shut down by _stop_listening
                return
            self._admit(accepted)

    def _admit(self, accepted: socket.socket) -> None:
        if self._authority is not None:
            accepted = self._authority.wrap(accepted)
        with self._changed:
            self._connections = {old: thread for old, thread in self._connections.items() if thread.is_alive()}
            self._connections_made += 1
            connection = Connection(accepted, self._connections_made)
            thread = threading.Thread(target=self._serve, args=(connection,), name="sumo-connection", daemon=True)
            self._connections[connection] = thread
            open_count = sum(each.is_established() for each in self._connections)
            self.max_connections_seen = max(self.max_connections_seen, open_count)
            if open_count > self._connections_limit:
                self._complain(connection, f"{open_count} connections at a time, {self._connections_limit} are agreed")
            thread.start()
            self._changed.notify_all()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.pause(self.accept_delay_s)
            connection.shake_hands()
            while connection.wait_for_request(self.idle_timeout_s) and self._exchange(connection):
                pass
        except ValueError as error:
            self._complain(connection, f"malformed request: {error}")
        except OSError:
            pass  # the sender hung up or does not trust our certificate; it knows, and its test asks it
        finally:
            with self._changed:  # _admit asks each connection for its state
                connection.close()

    def _exchange(self, connection: Connection) -> bool:
        """Take one request as its fault says, and return whether the connection goes on."""
        with self._changed:
            fault = self._script.popleft() if self._script else self.default
        request = SumoRequest(connection.number, fault, received_at_s=time.time())
        if fault.at is Point.BEFORE_READING:
            return self._break_off(connection, request)
        method, path, version, headers = connection.read_head()
        request = replace(request, method=method, path=path, headers=headers)
        if fault.at is Point.AFTER_HEADERS:
            return self._break_off(connection, request)
        if fault.at is Point.IN_BODY:
            connection.read(fault.body_read_bytes)
            return self._break_off(connection, replace(request, raw_size_bytes=fault.body_read_bytes))
        raw = connection.read_body(headers)

        received_at_s = time.time()
        verdict = sumo_rules.judge(method, path, version, headers, raw, self._limit_bytes)
        for problem in verdict.problems:
            self._complain(connection, problem)
        request = replace(
            request,
            received_at_s=received_at_s,
            raw_size_bytes=len(raw or b""),
            body_size_bytes=len(verdict.body),
            records=verdict.records,
        )
        if fault.at is Point.AFTER_BODY:
            return self._break_off(connection, request)
        status = verdict.refusal or fault.status
        if 200 <= status < 300:
            request = replace(request, is_kept=True)
            self._keep_records(verdict.records, verdict.body)
        if fault.at is Point.AFTER_KEEPING:
            return self._break_off(connection, request)

        connection.pause(fault.delay_s)
        self._note(replace(request, answered_at_s=time.time(), status=status))
        # Where the length of a body is not known, neither is where the next request begins.
        is_last = raw is None or headers.get("connection", "").lower() == "close"
        for part in _answer(status, fault, is_last):
            connection.send(part)
            connection.pause(fault.drip_interval_s)
        if fault.at is Point.AFTER_ANSWER:
            connection.end(fault.end)
            return False
        return not is_last

    def _break_off(self, connection: Connection, request: SumoRequest) -> bool:
        self._note(request)
        connection.end(request.fault.end)
        return False

    def _keep_records(self, records: Iterable[Record], body: bytes) -> None:
        with self._changed:
            self._records.extend(records)
            if self._keep is not None:
                self._keep.write(body)
            self._changed.notify_all()

    def _note(self, request: SumoRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def _complain(self, connection: Connection, problem: str) -> None:
        self.problems.append(f"connection {connection.number}: {problem}")


def _answer(status: int, fault: Fault, is_last: bool) -> Iterator[bytes]:
    """Yield the answer in the pieces in which it is sent."""
    goodbye = {"Connection": "close"} if is_last else {}
    size_bytes = len(fault.body) if fault.claimed_size_bytes is None else fault.claimed_size_bytes
    # The real one's load balancer sets its cookie on every answer; no sender has to send it back.
    headers = {"Content-Length": str(size_bytes), "Set-Cookie": "AWSALB=loopback; Path=/", **goodbye, **fault.headers}
    lines = [f"HTTP/1.1 {status} Loopback", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    answer = "\r\n".join(lines).encode("latin-1") + fault.body
    step = 1 if fault.drip_interval_s else len(answer)
    for at in range(0, len(answer), step):
        yield answer[at : at + step]


def main() -> None:
    """Serve until told to stop; print the endpoint first, and a summary last."""
    parser = argparse.ArgumentParser(description="A Sumo Logic HTTP source on loopback. SIGTERM and SIGINT end it.")
    parser.add_argument("--port", type=int, default=0, help="where to listen; any free one by default")
    parser.add_argument("--keep", type=Path, help="file to which the accepted lines are appended")
    parser.add_argument("--tls", action="store_true", help="speak https; prints the authority to trust")
    parser.add_argument("--connections", type=int, default=1, help="how many may be open at a time; 1 by default")
    options = parser.parse_args()

    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    with SumoSource(tls=options.tls, port=options.port, keep=options.keep, connections=options.connections) as source:
        print(source.url, source.ca_file if options.tls else "", flush=True)
        signal.sigwait(stop)
        print(source.summary(), flush=True)


if __name__ == "__main__":
    main()
