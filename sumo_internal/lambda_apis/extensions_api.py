"""Lambda's Extensions API (2020-01-01), spoken over plain sockets on the environment's loopback interface.

``_socket`` and not ``socket``: the latter costs 9 ms of a cold start (measured), for nothing that is used here. Each
call has a connection of its own; on loopback that costs less than deciding whether an old one is still good.

Source of the formats: AWS, "Using the Lambda Extensions API".
"""

from __future__ import annotations

from _socket import AF_INET, SOCK_STREAM, socket

from sumo_internal.net import http1

_PATH = "/2020-01-01/extension"
REGISTER_TIMEOUT_S = 2.0
"""Lambda answers within a millisecond or two; a registration that hangs must not hold the init phase."""


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


class ExtensionsApi:
    """One extension's side of the API."""

    def __init__(self, address: str, identifier: str = "") -> None:
        """Speak to ``address`` (AWS_LAMBDA_RUNTIME_API, ``host:port``), as a registered extension if there is one."""
        host, _, port = address.partition(":")
        self._address = (host, int(port or 80))
        self._host = address
        self._identifier = identifier

    def ask_to_register(self, name: str, events: list[str]) -> socket:
        """Ask to be registered, and do not wait: Lambda answers while the function's init goes on.

        An internal extension may ask for INVOKE only, and only while the init phase lasts.

        Raises:
            OSError: Nobody listens there.
        """
        body = '{"events":["' + '","'.join(events) + '"]}'
        return self._send("POST", "/register", {"Lambda-Extension-Name": name}, body, REGISTER_TIMEOUT_S)

    def registered(self, connection: socket) -> None:
        """Read the answer to the registration, and close the connection.

        Raises:
            ApiRefusedError: Too many extensions, too late, or a name that is taken.
            OSError: Nobody answers.
        """
        answer = self._receive(connection, "/register")
        self._identifier = answer.headers.get("lambda-extension-identifier", "")

    def ask(self) -> socket:
        """Ask for the next event, and do not wait: the answer is there when the connection has something to read.

        Raises:
            OSError: The environment is going away.
        """
        return self._send("GET", "/event/next", {})

    def receive(self, connection: socket) -> Event:
        """Wait for the event that was asked for, however long, and close the connection; it may freeze meanwhile.

        Raises:
            ApiRefusedError: Not registered.
            OSError: The environment is going away.
        """
        import json  # 7 ms of the extension's start, where nothing else needs it before the first event

        body = json.loads(self._receive(connection, "/event/next").body)
        return Event(
            body.get("eventType", ""),
            body.get("deadlineMs", 0) / 1000,
            body.get("requestId", ""),
            body.get("shutdownReason", "").lower(),
        )

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: str = "", timeout_s: float | None = None
    ) -> socket:
        """Send a request on a connection of its own, which is returned; each wait on it ends after so long."""
        if self._identifier:
            headers = {**headers, "Lambda-Extension-Identifier": self._identifier}
        connection = socket(AF_INET, SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(self._address)
            connection.sendall(http1.request(method, _PATH + path, self._host, headers, body.encode()))
        except BaseException:
            connection.close()
            raise
        return connection

    def _receive(self, connection: socket, path: str) -> http1.Answer:
        try:
            answer = http1.read_answer(connection.recv)
        except http1.BadAnswerError as error:
            raise OSError(f"{path}: {error}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise ApiRefusedError(f"{path}: {answer.status} {answer.body[:200].decode('utf-8', 'replace')}")
        return answer
