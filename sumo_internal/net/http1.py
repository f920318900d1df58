"""Just enough HTTP/1.1 for two places where a library costs too much: bytes of a request, and reading an answer.

The two are the Extensions API (before the runtime's first Next, where ``http.client`` would add 20 ms to each cold
start) and requests from Lambda (where ``urllib3`` and its TLS context need 1,600 of the shutdown window's 2,000 ms at
the CPU share of a 128 MB function).

Pure: no socket here; :func:`read_answer` is given something that returns bytes. It reads what servers and load
balancers send to a POST or GET: a status line, headers, a body by Content-Length, chunked or until the end.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEAD_MAX_BYTES = 64 * 1024
"""Bound on an answer's status line and headers; servers and clients commonly stop at 16 to 64 KiB."""
BODY_MAX_BYTES = 1024 * 1024
"""Bound on an answer's body; Sumo's are empty or a few hundred bytes, the Extensions API's below 10 KiB."""
EXCERPT_BYTES = 200
DIGITS_MAX = 16
"""Digits of a length, in an answer's head or before a chunk: Python refuses to read a number of 5,000 digits."""

_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


class BadAnswerError(Exception):
    """The peer's bytes are no answer, or end too early. Treat it like a broken connection."""


class UnfitHeaderError(ValueError):
    """A header's value would be more than one header; the error's text has no value in it. Do not send it."""


class Answer:
    """A response: status, headers by their lower-case names, body.

    ``is_whole``: the body came to its end. ``has_more``: the peer went on behind it, which nothing had asked for.
    """

    __slots__ = ("status", "headers", "body", "is_whole", "has_more")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.is_whole = True
        self.has_more = False

    def excerpt(self) -> str:
        """The beginning of its body, for a message about it."""
        return self.body[:EXCERPT_BYTES].decode("utf-8", "replace")


def is_fit(value: str) -> bool:
    """Can a header have this value: one line of Latin-1 text?"""
    if value.isascii() and value.isprintable():
        return True  # as nearly all have; looking at each character was a fifth of a small request
    return not any(character > "\xff" or (character < " " and character != "\t") for character in value)


def request(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A whole request.

    Args:
        method: ``GET``, ``POST`` or ``PUT``.
        target: Path and query, or ``host:port`` for ``CONNECT``.
        host: The Host header's value.
        headers: Further headers.
        body: The body; its length is sent for every method but GET and CONNECT.

    Raises:
        UnfitHeaderError: A header would end early and begin another one, or another request.
    """
    if not is_fit("".join([target, host, *headers, *headers.values()])):
        raise UnfitHeaderError("a header has characters that no header can have")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if method not in ("GET", "CONNECT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read_answer(receive: Callable[[int], bytes], heed: Callable[[int], object] | None = None) -> Answer:
    """Read one final answer (a 1xx is skipped).

    Args:
        receive: Like ``socket.recv``: up to so many bytes, none at the end. What it raises passes through.
        heed: Called with the status as soon as the head is there. For a caller that gives it, the head of a success is
            enough: the peer has taken the request, and whatever is wrong with the body does not change that.

    Raises:
        BadAnswerError: The peer did not send a whole answer.
    """
    buffer = _Buffer(receive)
    status = 100
    while status // 100 == 1:
        status_line, *lines = buffer.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or len(rest) < 3 or not rest[:3].isdecimal():
            raise BadAnswerError("the response has no HTTP/1.1 status line")
        status = int(rest[:3])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    answer = Answer(status, headers, b"")
    if heed is not None:
        heed(status)
    try:
        answer.body = _read_body(buffer, status, headers)
    except (OSError, BadAnswerError):
        if heed is None or status // 100 != 2:
            raise
        answer.is_whole = False
    answer.has_more = buffer.has_more()
    return answer


def _read_body(buffer: _Buffer, status: int, headers: dict[str, str]) -> bytes:
    if status in (204, 304):
        return b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _read_chunks(buffer)
    length = headers.get("content-length")
    if length is None:
        return buffer.rest()
    if not length.isdecimal() or len(length) > DIGITS_MAX:
        raise BadAnswerError("Content-Length is not a number")
    return buffer.exactly(int(length))


def _read_chunks(buffer: _Buffer) -> bytes:
    chunks = b""
    while True:
        digits = buffer.until(b"\r\n").partition(b";")[0].decode("latin-1").strip()
        if not digits or len(digits) > DIGITS_MAX or not _HEXADECIMAL.issuperset(digits):
            raise BadAnswerError("a chunk's size is not a number")
        size = int(digits, 16)
        if size == 0:
            while buffer.until(b"\r\n"):
                pass  # trailers
            return chunks
        chunks += buffer.exactly(size + 2)[:-2]
        if len(chunks) > BODY_MAX_BYTES:
            raise BadAnswerError("the body does not end")


class _Buffer:
    """Bytes received and not used yet."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._bytes = b""
        self._received_bytes = 0

    def _more(self) -> bool:
        data = self._receive(16_384)
        self._bytes += data
        self._received_bytes += len(data)
        if self._received_bytes > HEAD_MAX_BYTES + 2 * BODY_MAX_BYTES:
            raise BadAnswerError("the response does not end")
        return bool(data)

    def until(self, end: bytes) -> bytes:
        """Everything before ``end``, which is used up too."""
        while end not in self._bytes:
            if len(self._bytes) > HEAD_MAX_BYTES or not self._more():
                raise BadAnswerError("the response's headers do not end")
        found, _, self._bytes = self._bytes.partition(end)
        return found

    def exactly(self, size: int) -> bytes:
        if size > BODY_MAX_BYTES:
            raise BadAnswerError("the body is too long")
        while len(self._bytes) < size:
            if not self._more():
                raise BadAnswerError("the body ends too early")
        found, self._bytes = self._bytes[:size], self._bytes[size:]
        return found

    def rest(self) -> bytes:
        while len(self._bytes) <= BODY_MAX_BYTES and self._more():
            pass
        found, self._bytes = self._bytes, b""
        return found

    def has_more(self) -> bool:
        return bool(self._bytes)
