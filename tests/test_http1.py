"""HTTP/1.1: answers that come in any pieces are read, and whatever else comes is a broken connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sumo_internal.net.http1 import (
    BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    Answer,
    BadAnswerError,
    UnfitHeaderError,
    read_answer,
    request,
)


def receiver(*pieces: bytes) -> Callable[[int], bytes]:
    """Something like ``socket.recv``, from which these pieces come, and then the end, as often as it is asked for."""
    waiting = list(pieces)

    def receive(size: int) -> bytes:
        while waiting and not waiting[0]:
            del waiting[0]
        if not waiting:
            return b""
        piece, waiting[0] = waiting[0][:size], waiting[0][size:]
        return piece

    return receive


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces, cut at these offsets."""
    ends = sorted({offset % (len(data) + 1) for offset in cuts})
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def chunked(pieces: list[bytes], trailer: bytes) -> bytes:
    body = b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return body + b"0\r\n" + trailer + b"\r\n"


HEADERS = st.dictionaries(
    st.sampled_from(["Date", "Set-Cookie", "Retry-After", "X-Empty", "Connection"]),
    st.text("abc :;=é\x80", max_size=10).map(str.strip),
)
INTERIM = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, dict[str, str], bytes, bool]:
    """An answer as sent; its status, headers and body; and whether its end shows in it."""
    status = draw(st.sampled_from([200, 201, 204, 304, 301, 400, 401, 413, 429, 500, 503, 599]))
    headers = draw(HEADERS)
    body = b"" if status in (204, 304) else draw(st.binary(max_size=50) | st.just(b"\r\n0\r\n\r\n"))
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    sent_body = b"" if status in (204, 304) else body
    if framing == "length":
        headers["Content-Length"] = str(len(body))
    elif framing == "chunked":
        headers["Transfer-Encoding"] = draw(st.sampled_from(["chunked", "Chunked"]))
        if status not in (204, 304):
            pieces = cut(body, draw(st.lists(st.integers(0, 50), max_size=3)))
            sent_body = chunked(pieces, draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"])))
    spaces = draw(st.sampled_from(["", " ", "\t "]))
    head = "\r\n".join(
        [
            f"HTTP/1.{draw(st.integers(0, 1))} {status}{draw(st.sampled_from(['', ' ', ' OK', ' No Such é']))}",
            *(f"{name}:{spaces}{value}" for name, value in headers.items()),
        ]
    )
    sent = draw(INTERIM) + head.encode("latin-1") + b"\r\n\r\n" + sent_body
    is_framed = framing != "end" or status in (204, 304)
    return sent, status, {name.lower(): value for name, value in headers.items()}, body, is_framed


@given(answers(), st.lists(st.integers(0, 1000), max_size=8))
def test_answers_are_read_however_they_are_cut(
    answer: tuple[bytes, int, dict[str, str], bytes, bool], cuts: list[int]
) -> None:
    """TCP hands over a stream: pieces end in the middle of a line end, a chunk's size, a character."""
    sent, status, headers, body, _ = answer
    got = read_answer(receiver(*cut(sent, cuts)))
    assert (got.status, got.headers, got.body) == (status, headers, body)


@given(answers())
def test_answers_are_read_byte_by_byte(answer: tuple[bytes, int, dict[str, str], bytes, bool]) -> None:
    """The slowest peer there is."""
    sent, status, headers, body, _ = answer
    got = read_answer(receiver(*(sent[at : at + 1] for at in range(len(sent)))))
    assert (got.status, got.headers, got.body) == (status, headers, body)


@given(answers(), st.data())
def test_an_answer_that_ends_early_is_none(
    answer: tuple[bytes, int, dict[str, str], bytes, bool], data: st.DataObject
) -> None:
    """Half an answer must not count as delivered; only a body that ends with the connection cannot tell."""
    sent, _, _, body, is_framed = answer
    head_bytes = len(sent) - (0 if is_framed else len(body))
    kept = data.draw(st.integers(0, head_bytes - 1))
    with pytest.raises(BadAnswerError):
        read_answer(receiver(sent[:kept]))


@given(answers(), st.integers(0, 200), st.binary(min_size=1, max_size=3), st.lists(st.integers(0, 200), max_size=3))
@settings(max_examples=500)
@example((b"HTTP/1.1 2\xb20 OK\r\n\r\n", 0, {}, b"", False), 0, b"H", [])
@example((b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", 0, {}, b"", False), 0, b"H", [])
def test_damaged_answers_are_bad_answers(
    answer: tuple[bytes, int, dict[str, str], bytes, bool], at: int, damage: bytes, cuts: list[int]
) -> None:
    """Whatever a peer sends is an answer or a BadAnswerError: anything else would end the drain, not the attempt."""
    sent = answer[0]
    at %= len(sent)
    damaged = sent[:at] + damage + sent[at + len(damage) :]
    try:
        got = read_answer(receiver(*cut(damaged, cuts)))
    except BadAnswerError:
        return
    assert got.status // 100 != 1


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1_0\r\n\r\n0123456789",
        OK + b"Content-Length: \xb2\r\n\r\n01",
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n0123",
        OK + b"Content-Length: " + b"0" * 5_000 + b"4\r\n\r\n0123",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5_000 + b"3\r\n012\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n+3\r\n012\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\n012\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\n0123",
        OK + b"Content-Length: 9999999999\r\n\r\n0123",
        OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-3\r\n0123456789\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n0123",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_what_is_no_answer(sent: bytes) -> None:
    """Another protocol, numbers that are none, sizes that lie: each is treated like a broken connection."""
    with pytest.raises(BadAnswerError):
        read_answer(receiver(sent))


def test_heads_have_a_bound() -> None:
    """Headers of the usual size are read; ones without an end are given up, long before they fill the memory."""
    line = b"X-Line: " + b"x" * 1000 + b"\r\n"
    assert read_answer(receiver(OK + line * 60 + b"\r\n")).status == 200

    received_bytes = 0

    def receive(size: int) -> bytes:
        nonlocal received_bytes
        received_bytes += len(line)
        return line

    with pytest.raises(BadAnswerError):
        read_answer(receive)
    assert HEAD_MAX_BYTES < received_bytes < 2 * HEAD_MAX_BYTES


@pytest.mark.parametrize("is_chunked", [False, True])
def test_bodies_have_a_bound(is_chunked: bool) -> None:
    """A body as large as the bound is read; one byte more is given up."""
    for size, is_read in ((BODY_MAX_BYTES, True), (BODY_MAX_BYTES + 1, False)):
        body = b"x" * size
        half = size // 2
        if is_chunked:
            sent = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked([body[:half], body[half:]], b"")
        else:
            sent = OK + b"Content-Length: %d\r\n\r\n" % size + body
        if is_read:
            assert read_answer(receiver(sent)).body == body
        else:
            with pytest.raises(BadAnswerError):
                read_answer(receiver(sent))


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (OK + b"\r\n", b"x" * 1000),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: " + b"x" * 1000 + b"\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"-2\r\n" * 250),
        (b"", b"HTTP/1.1 100 Continue\r\nX-Line: " + b"x" * 1000 + b"\r\n\r\n"),
    ],
    ids=["until the end", "chunks", "trailers", "chunks of less than nothing", "interim answers"],
)
def test_nothing_goes_on_for_ever(head: bytes, line: bytes) -> None:
    """A peer that never ends its answer is given up, whatever it goes on with; it must not hold the drainer."""
    received_bytes = 0

    def receive(size: int) -> bytes:
        nonlocal received_bytes
        piece = line if received_bytes else head + line
        received_bytes += len(piece)
        assert received_bytes < 3 * BODY_MAX_BYTES, "still reading"
        return piece

    try:
        read_answer(receive)
    except BadAnswerError:
        pass


def test_what_receiving_raises_passes() -> None:
    """A timeout or a reset is the caller's business, and named as what it is."""

    def receive(size: int) -> bytes:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        read_answer(receive)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("GET", "/event/next", "host:80", {}), b"GET /event/next HTTP/1.1\r\nHost: host:80\r\n\r\n"),
        (
            ("POST", "/path?a=b", "host", {"X-Sumo-Host": "caf\u00e9"}, b"\x1f\x8b"),
            b"POST /path?a=b HTTP/1.1\r\nHost: host\r\nX-Sumo-Host: caf\xe9\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        ),
        (("PUT", "/", "host", {}), b"PUT / HTTP/1.1\r\nHost: host\r\nContent-Length: 0\r\n\r\n"),
        (("CONNECT", "host:443", "host:443", {}), b"CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n"),
    ],
)
def test_requests(arguments: tuple[str, str, str, dict[str, str], bytes], expected: bytes) -> None:
    """The bytes of a request: its length is sent wherever it could have a body."""
    assert request(*arguments) == expected


def test_an_answer_is_what_was_sent() -> None:
    """An answer of Sumo Logic's load balancer, as it comes."""
    answer: Answer = read_answer(
        receiver(
            b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 08:22:03 GMT\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
            b"Set-Cookie: AWSALB=a/b=; Expires=Sat, 28 Nov 2026 08:22:03 GMT; Path=/\r\nX-Content: a:b\r\n\r\n"
        )
    )
    assert (answer.status, answer.body, answer.headers["connection"], answer.headers["x-content"]) == (
        *(200, b"", "keep-alive"),
        "a:b",
    )


@pytest.mark.parametrize("sent", [OK, OK + b"Content-Length: 5\r\n", OK + b"Content-Length: 99999999\r\n"])
@pytest.mark.parametrize("body", [b"", b"0", b"x" * 3_000_000])
def test_the_head_of_a_success_is_enough_for_who_says_so(sent: bytes, body: bytes) -> None:
    """The peer has taken what was sent: a body that is cut, endless or longer than we read does not change that."""
    heard: list[int] = []
    got = read_answer(receiver(sent + b"\r\n" + body), heard.append)
    assert (got.status, heard) == (200, [200])
    assert got.is_whole or got.body == b""
    with pytest.raises(BadAnswerError):
        read_answer(receiver(b"HTTP/1.1 500 no\r\nContent-Length: 5\r\n\r\n"), heard.append)


def test_what_came_behind_an_answer_is_noticed() -> None:
    """Nothing had asked for it: whoever goes on over that connection takes it for the answer to the next request."""
    alone = OK + b"Content-Length: 2\r\n\r\nok"
    assert [read_answer(receiver(alone + more)).has_more for more in (b"", alone)] == [False, True]


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "\u2603", "a\r\n\r\nPOST / HTTP/1.1\r\n"])
@pytest.mark.parametrize("place", ["target", "host", "name", "value"])
def test_a_header_that_would_be_two_is_not_sent(value: str, place: str) -> None:
    """Whoever made the value: it ends its header and begins another one, or a whole request."""
    given = {"target": "/", "host": "host", "name": "X-Sumo-Name", "value": "stream"} | {place: value}
    with pytest.raises(UnfitHeaderError):
        request("POST", given["target"], given["host"], {given["name"]: given["value"]}, b"")
