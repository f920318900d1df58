"""Lambda's Extensions API (2020-01-01), spoken over plain sockets on the environment's loopback interface.

``_socket`` and not ``socket``: the latter costs 9 ms of a cold start (measured), for nothing that is used here.

One connection is kept from each answer to the next request: an extension that cannot ask for its next event holds every
invocation until its timeout, and by then the function may have taken all descriptors, or refuse new sockets in an audit
hook. The function may also have closed what it did not open: so a connection is looked at before it is used again, and
one whose descriptor has another owner by now is left alone.

Source of the formats: AWS, "Using the Lambda Extensions API".
"""

from __future__ import annotations

import sys
from _socket import AF_INET, MSG_DONTWAIT, MSG_PEEK, SO_RCVTIMEO, SOCK_STREAM, SOL_SOCKET, socket
from time import monotonic

from sumo_internal.net import http1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PATH = "/2020-01-01/extension"
_IDENTIFIER = "lambda-extension-identifier"
REGISTER_TIMEOUT_S = 2.0
"""Lambda answers within a millisecond or two; a registration that hangs must not hold the init phase for longer than
this, from when it was asked for."""
_PEEK_BYTES = 4096
"""Of an answer with an INVOKE, which has some five hundred."""
_DIGITS_MAX = 16
"""Of a time in milliseconds: 13 until the year 2286."""


class ApiRefusedError(Exception):
    """Lambda answered, and not with 200. Go on without what was asked for; the text says what it said."""


class Event:
    """What Next returned.

    ``kind`` is ``INVOKE`` or ``SHUTDOWN``; ``deadline_s`` a POSIX time; ``request_id`` is an INVOKE's, ``reason``
    (``spindown``, ``timeout``, ``failure``, in lower case) a SHUTDOWN's.
    """

    __slots__ = ("kind", "deadline_s", "request_id", "reason")

    def __init__(self, kind: str, deadline_s: float, request_id: str, reason: str) -> None:
        self.kind = kind
        self.deadline_s = deadline_s
        self.request_id = request_id
        self.reason = reason


def deadline_in(answer: bytes) -> float:
    """The deadline (POSIX time) in an event that was peeked at; 0.0 where it is not there yet."""
    text = answer.partition(b'"deadlineMs"')[2].lstrip(b": ")
    digits = text[: len(text) - len(text.lstrip(b"0123456789"))]
    return int(digits[:_DIGITS_MAX] or b"0") / 1000


class ExtensionsApi:
    """One extension's side of the API."""

    def __init__(self, address: str, identifier: str = "") -> None:
        """Speak to ``address`` (AWS_LAMBDA_RUNTIME_API, ``host:port``), as a registered extension if there is one."""
        host, _, port = address.partition(":")
        self._address = (host, int(port or 80))
        self._host = address
        self._identifier = identifier
        self.account_id = ""
        """The AWS account's number, once the registration was answered."""
        self._kept: socket | None = None
        self._name: Any = None
        """The address of our own end of the connection that was used last: a connection that still has it is the same
        one."""
        self._early = bytearray()
        """What was read of the answer to the registration as soon as it came, and zeros behind it."""
        self._late_at_s = 0.0
        """From when on the answer to the registration is not waited for any more."""
        self._scan: Callable[[str, int], tuple[Any, int]] | None = None
        """Reads JSON; in C, because Python code asks built-ins that the function may replace."""

    def ask_to_register(self, name: str, events: list[str]) -> socket:
        """Ask to be registered, and do not wait: Lambda answers while the function's init goes on.

        An internal extension may ask for INVOKE only, and only while the init phase lasts.

        Raises:
            OSError: Nothing listens there.
        """
        from json.decoder import JSONDecoder  # which the runtime has imported; the function may replace it later

        self._scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # it is there on each Python
        body = '{"events":["' + '","'.join(events) + '"]}'
        headers = {"Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": "accountId"}
        connection = self._send("POST", "/register", headers, body, REGISTER_TIMEOUT_S)
        self._early, self._late_at_s = bytearray(_PEEK_BYTES), monotonic() + REGISTER_TIMEOUT_S
        # The kernel's bound and not Python's, which waits first and then receives: in between, the number may have
        # become that of another connection, the function's.
        connection.settimeout(None)
        connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _timeval(int(REGISTER_TIMEOUT_S)))
        return connection

    def await_registration(self, connection: socket) -> str:
        """Wait for the answer to the registration, and take it off the connection, which the function may close.

        Returns:
            The identifier under which the extension is registered; empty where it is not.

        Raises:
            OSError, http1.BadAnswerError: No whole answer comes.
        """
        room, end = memoryview(self._early), 0

        def receive(_: int) -> bytes:
            nonlocal end
            begin = end
            # Into what is there: the function may raise anything in any thread, before a result had a name.
            end += connection.recv_into(room[begin:])
            return bytes(room[begin:end])

        answer = http1.read_answer(receive)
        return answer.headers.get(_IDENTIFIER, "") if answer.status == 200 else ""

    def registered(self, connection: socket) -> None:
        """Read the answer to the registration.

        Raises:
            ApiRefusedError: Too many extensions, too late, or a name that is taken.
            OSError: No answer comes.
        """
        early, self._early = bytes(self._early).rstrip(b"\0"), bytearray()

        def receive(size_bytes: int) -> bytes:
            nonlocal early
            if early:
                data, early = early[:size_bytes], early[size_bytes:]
                return data
            self._insist(connection, "/register")
            try:
                return connection.recv(size_bytes, MSG_DONTWAIT if monotonic() >= self._late_at_s else 0)
            except BlockingIOError:
                raise TimeoutError("/register: no response") from None

        answer = self._receive(connection, "/register", receive)
        if self._kept is not None and self._is_ours(self._kept):
            self._kept.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _timeval(0))
        self._identifier = answer.headers.get(_IDENTIFIER, "")
        try:
            content = self._read(answer.body)
        except Exception:
            content = None  # whatever that is: who is registered by now has to ask for events
        self.account_id = str(content.get("accountId", "")) if isinstance(content, dict) else ""

    def ask(self) -> socket:
        """Ask for the next event, and do not wait: the answer is there when the connection has something to read.

        Raises:
            OSError: The environment is going away.
        """
        return self._send("GET", "/event/next", {})

    def peek(self, connection: socket) -> bytes:
        """Wait for the event that was asked for, however long, and leave it to be received.

        Returns:
            As much of Lambda's answer as is there. The event's request id is in it, if all of it is.

        Raises:
            OSError: The environment is going away.
        """
        self._insist(connection, "/event/next")
        try:
            return connection.recv(_PEEK_BYTES, MSG_PEEK)
        except BaseException:
            connection.close()
            raise

    def receive(self, connection: socket) -> Event:
        """Wait for the event that was asked for, however long; the environment may freeze meanwhile.

        Raises:
            ApiRefusedError: Not registered.
            OSError: The environment is going away.
            ValueError: What came is no event.
        """
        self._insist(connection, "/event/next")
        answer = self._receive(connection, "/event/next", connection.recv)
        body = self._read(answer.body)
        return Event(
            body.get("eventType", ""),
            body.get("deadlineMs", 0) / 1000,
            body.get("requestId", ""),
            body.get("shutdownReason", "").lower(),
        )

    def _read(self, body: bytes) -> Any:
        """Read what Lambda has sent.

        Raises:
            ValueError: It is no JSON.
        """
        if self._scan is None:
            from json.decoder import JSONDecoder  # 7 ms of the extension's start, which needs it for the first event

            self._scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # it is there on each Python
        try:
            return self._scan(body.decode().strip(), 0)[0]
        except StopIteration:
            raise ValueError("no JSON") from None

    def close(self) -> None:
        """Keep no connection any more."""
        connection = self._take_kept()
        if connection is not None:
            connection.close()

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: str = "", timeout_s: float | None = None
    ) -> socket:
        """Send a request, and return the connection that it went over; each wait on it ends after so long."""
        if self._identifier:
            headers = {**headers, "Lambda-Extension-Identifier": self._identifier}
        request = http1.request(method, _PATH + path, self._host, headers, body.encode())
        kept = self._take_kept()
        connection = kept or socket(AF_INET, SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            if kept is None:
                connection.connect(self._address)
                self._name = connection.getsockname()
            connection.sendall(request)
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_kept(self) -> socket | None:
        """The connection that was kept, if it is still there and still ours."""
        connection, self._kept = self._kept, None
        if connection is None:
            return None
        if not self._is_ours(connection):
            connection.detach()
            return None
        try:
            connection.settimeout(None)
            connection.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return connection
        except OSError:
            pass
        connection.close()  # Lambda has closed its end, or sends what was not asked for
        return None

    def _is_ours(self, connection: socket) -> bool:
        try:
            return bool(connection.getsockname() == self._name)
        except OSError:
            return False

    def _insist(self, connection: socket, path: str) -> None:
        """Read from no connection that the function has put in the place of ours."""
        if not self._is_ours(connection):
            connection.detach()
            raise OSError(f"{path}: the function has closed the connection")

    def _receive(self, connection: socket, path: str, receive: Callable[[int], bytes]) -> http1.Answer:
        is_kept = False
        try:
            answer = http1.read_answer(receive)
            is_kept = answer.status == 200 and _is_delimited(answer)
        except http1.BadAnswerError as error:
            raise OSError(f"{path}: {error}") from None
        finally:
            if is_kept:
                self._kept = connection
            elif self._is_ours(connection):
                connection.close()
            else:
                connection.detach()
        if answer.status != 200:
            raise ApiRefusedError(f"{path}: {answer.status} {answer.excerpt()}")
        return answer


def _timeval(seconds: int) -> bytes:
    """``struct timeval``, for the kernel; 0 is no bound."""
    return seconds.to_bytes(8, sys.byteorder) + bytes(8)


def _is_delimited(answer: http1.Answer) -> bool:
    """Does the connection go on after this answer?"""
    headers = answer.headers
    has_end = "content-length" in headers or headers.get("transfer-encoding", "").lower() == "chunked"
    return has_end and headers.get("connection", "").lower() != "close"
