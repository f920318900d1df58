"""The parsers that meet bytes of others, each with examples, what it may raise, and what has to be true of its result.

A parser is a function of bytes. It raises nothing where the bytes are what they should be, or are refused as
documented; whatever else comes out of it is a finding. So is a cost that grows faster than the input
(:func:`check_cost`).

Not here: the bundle of bytecode, and structlog. They come with the layer, as our own code does.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import select
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sumo_internal import config, diagnostics
from sumo_internal.cli import backlog
from sumo_internal.extension import deliveries
from sumo_internal.lambda_apis import telemetry_api
from sumo_internal.net import http1
from sumo_internal.spool import counters, handoff
from sumo_internal.spool.reader import SpoolReader, last_lines
from sumo_internal.spool.segment import CHILD_SEGMENT_BYTES, HEADER_BYTES
from sumo_internal.spool.writer import Spool

COST_BASE_S = 0.1
COST_PER_BYTE_S = 1e-5
"""Bound on a parser's time of CPU: what it needs for any input, and for each byte. The slowest (a delivery of half a
million commas) needs half of it when it is traced for its coverage on a slow machine; what is quadratic needs some
hundred times as much for the longest input."""
EXPANDED_MAX_BYTES = 512 * 1024
"""Of an input whose middle is repeated: where a cost grows by the square, it is seconds here."""
_SECRET = "0123456789abcdef"


@dataclass(frozen=True)
class Parser:
    """What is fed, and with what it begins."""

    feed: Callable[[bytes], object]
    examples: list[bytes]


def check_cost(feed: Callable[[bytes], object], data: bytes, per_byte_s: float = COST_PER_BYTE_S) -> None:
    """Feed it, and see that the time of CPU is within the bound; thrice at most: garbage may be collected meanwhile.

    Raises:
        AssertionError: It is not.
    """
    bound_s = COST_BASE_S + len(data) * per_byte_s
    for _ in range(3):
        begun_s = time.thread_time()
        feed(data)
        took_s = time.thread_time() - begun_s
        if took_s <= bound_s:
            return
    raise AssertionError(f"{len(data)} bytes cost {took_s:.2f} s of CPU; {bound_s:.2f} s are the bound")


def expand(data: bytes) -> bytes:
    """An input, or the input with a piece of it repeated up to the largest size.

    The first three bytes say so: how often, and which piece. Mutation alone never comes to long inputs, and only those
    show a cost that grows by the square.
    """
    if len(data) < 4 or not data[0] & 1:
        return data[1:]
    rest = data[3:]
    begin = data[1] * len(rest) // 256
    piece = rest[begin : begin + 1 + data[2] * (len(rest) - begin) // 256]
    return rest[:begin] + piece * (EXPANDED_MAX_BYTES // len(piece) if piece else 0) + rest[begin + len(piece) :]


def _answer(data: bytes) -> None:
    """Sumo Logic's, S3's, Lambda's and a proxy's answers."""
    for heed in (None, lambda status: None):
        for piece_bytes in (16_384, 1_000):
            try:
                answer = http1.read_answer(_Peer(data, piece_bytes).receive, heed)
            except http1.BadAnswerError:
                continue
            assert 0 <= answer.status <= 999
            assert len(answer.body) <= http1.BODY_MAX_BYTES + 16_384


class _Peer:
    """Sends bytes in pieces, and then no more."""

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._left = io.BytesIO(data)
        self._piece_bytes = piece_bytes

    def receive(self, size: int) -> bytes:
        return self._left.read(min(size, self._piece_bytes))


def _delivery(data: bytes) -> None:
    """What comes to the listener for Lambda's events: from Lambda, or from any process in the environment."""
    taken: list[bytes] = []
    receiver = telemetry_api.Receiver(0, _SECRET, 262_144, lambda body, number: taken.append(body))
    peer = socket.create_connection(("127.0.0.1", receiver.port))
    try:
        peer.setblocking(False)
        left = memoryview(data)
        is_open = True
        while _serve(receiver) or left:
            try:
                left = left[peer.send(left) :] if left and is_open else left[:0]
            except BlockingIOError:
                pass  # it has to be read first
            except OSError:
                is_open = False  # refused, and the connection closed
    finally:
        peer.close()
        receiver.close()
    assert all(body in data for body in taken)


def _serve(receiver: telemetry_api.Receiver) -> bool:
    """Have a receiver read what there is to read; returns whether there was anything."""
    poller = select.poll()
    for descriptor in receiver.descriptors():
        poller.register(descriptor, select.POLLIN)
    ready = poller.poll(0)
    for descriptor, _ in ready:
        receiver.ready(descriptor)
    return bool(ready)


def _events(data: bytes) -> None:
    """A delivery's body; the function decides what stands in its lines."""
    try:
        events = deliveries.read_events(data)
    except deliveries.NoListError:
        return
    try:
        whole = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    # repr, because NaN is not equal to itself
    assert repr(events) == repr(whole)


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _segment(data: bytes) -> None:
    """A file in the spool's folder: its writer was killed in the middle, the disk was full, somebody meant harm."""
    with _folder() as folder:
        os.chmod(folder, 0o700)
        for name in ("0123456789ab-p4999999.000001.spool", "0123456789ab-p4999998.000002.held"):
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data[:CHILD_SEGMENT_BYTES].ljust(CHILD_SEGMENT_BYTES, b"\0"))
        last_lines(folder)
        reader = SpoolReader(folder)
        reader.complete = lambda partial: json.dumps({"message": partial.text, "time": partial.created_s})[:-1]
        assert reader.acquire()
        reader.mark()
        taken_bytes = 0
        while slices := reader.take(1_000_000):
            for each in slices:
                assert each.size_bytes == len(bytes(each.data())) > 0
                taken_bytes += each.size_bytes
                each.acknowledge()
                assert taken_bytes <= 4 * CHILD_SEGMENT_BYTES, "the same lines are taken again"
            del slices, each
        reader.left()
        reader.release()


def _note(data: bytes) -> None:
    """The small files of the spool's folder, and what comes to the extension's socket."""
    note = handoff.read_note(data)
    assert note is None or all(isinstance(text, str) for text in (*note[:2], *note[2].values()))
    with _folder() as folder:
        os.chmod(folder, 0o700)
        names = ["reported.json", "function.json", "timed-out", "0123456789ab-p4999999.tally"]
        for name in names:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data)
        counts, before = counters.totals(folder), counters.reported(folder)
        counters.has_news(counts, before, is_shutdown=False)
        handoff.timed_out(folder)
        handoff.function_note(folder)


def _object(data: bytes) -> None:
    """An object in the failover bucket, and its key: whoever may write to the bucket writes them."""
    with _folder() as folder, contextlib.suppress(backlog.DamagedObjectError):
        item = backlog.Item(f"{folder}/x.gz", "f", "1", datetime.now(timezone.utc), len(data))
        with open(item.key, "wb") as file:
            file.write(data)
        content = backlog.Folder(Path(folder)).read(item)
        assert len(content.lines) <= backlog.OBJECT_MAX_BYTES
        headers = backlog.envelope(item, content, _CONFIG)
        http1.request("POST", "/x", "x", headers, b"")


def _key(data: bytes) -> None:
    """A key in the failover bucket."""
    found = backlog.item(data.decode("utf-8", "replace"), len(data))
    if found is not None:
        content = backlog.Content(data, {"X-Sumo-Host": data.decode("latin-1")})
        with contextlib.suppress(backlog.DamagedObjectError):
            http1.request("POST", "/x", "x", backlog.envelope(found, content, _CONFIG), b"")


def _shown(data: bytes) -> None:
    """A text of others' that is shown."""
    shown = diagnostics.legible(data.decode("utf-8", "surrogateescape"), 200)
    assert len(shown) <= 200 and shown.isprintable()


def _segment_example() -> bytes:
    with _folder() as folder:
        os.chmod(folder, 0o700)
        spool = Spool(folder, {"X-Sumo-Name": "/aws/lambda/f"}, 64_000_000, is_child=True)
        for number in range(3):
            spool.append(f'{{"line":"{number}"')
        slot = spool.partials.begin("no end")
        assert slot is not None
        with open(spool.segments[-1].path, "rb") as file:
            return file.read(HEADER_BYTES + 200)


_CONFIG, _ = config.read({"SUMO_HTTP_ENDPOINT": "https://collectors.sumologic.com/receiver/v1/http/x"})
_HEAD = f"POST /1/{_SECRET} HTTP/1.1\r\nHost: sandbox.localdomain\r\nContent-Length: "
_EVENT = b'[{"time":"2026-11-21T08:22:03.123Z","type":"function","record":"a \\"line\\", {[\\n"}]'
_LINES = b'{"time":"2026-11-21T08:22:03.123Z","logStream":"2026/11/21/[1]x","id":"x-0000000001"}\n'

PARSERS = {
    "answer": Parser(
        _answer,
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 -\r\nRetry-After: 10\r\n\r\nslow down",
        ],
    ),
    "delivery": Parser(_delivery, [f"{_HEAD}{len(_EVENT)}\r\n\r\n".encode() + _EVENT]),
    "events": Parser(_events, [_EVENT, b'[{"a":[1,{"b":"c\\u0000"}],"d":1e5},null]']),
    "segment": Parser(_segment, [_segment_example()]),
    "note": Parser(_note, [b'["/aws/lambda/f","2026/11/21/[1]x",{"X-Sumo-Name":"n"},1700000000.5]', b'{"x":[1,2]}']),
    "object": Parser(_object, [gzip.compress(_LINES), _LINES, gzip.compress(_LINES) * 2 + b"\0\0"]),
    "key": Parser(_key, [b"logs/eu-west-1/f/1/2026/11/21/08/0/x.gz"]),
    "shown": Parser(_shown, ["caf\u00e9 \u202e\x1b[31m\n".encode()]),
}
