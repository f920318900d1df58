"""What the tests of the spool share: to make one, to drain it, and lines to tell apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sumo_internal.spool import segment as segment_module
from sumo_internal.spool import writer as spool_module
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import Slice
from sumo_internal.spool.writer import (
    Spool,
)

ENVELOPE = {"X-Sumo-Host": "/aws/lambda/orders"}
_BOUND_S = 15.0


def small_segments(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """Have segments of so many bytes, so that full and the next one happen in each run."""
    for module in (segment_module, spool_module):
        monkeypatch.setattr(module, "SEGMENT_BYTES", size_bytes)


def make(folder: Path, max_bytes: int = 64_000_000, envelope: dict[str, str] = ENVELOPE) -> Spool:
    return Spool(str(folder), envelope, max_bytes)


def lines(slices: list[Slice]) -> list[str]:
    """The ``line`` key of each record in the slices."""
    return [json.loads(line)["line"] for piece in slices for line in bytes(piece.data()).splitlines()]


def drain(reader: SpoolReader, limit_bytes: int = 1_000_000) -> list[str]:
    """Everything that a reader gives, acknowledged batch by batch."""
    got = []
    assert reader.acquire()
    while slices := reader.take(limit_bytes):
        got += lines(slices)
        for piece in slices:
            piece.acknowledge()
    reader.release()
    return got


def taken(reader: SpoolReader, limit_bytes: int = 1_000_000) -> list[bytes]:
    """All lines that a reader gives, acknowledged piece by piece; no lock is asked for."""
    got: list[bytes] = []
    while slices := reader.take(limit_bytes):
        for piece in slices:
            with piece.data() as data:
                got += bytes(data).splitlines()
            piece.acknowledge()
    return got


def start(text: str) -> str:
    return f'{{"line":{json.dumps(text)}'


def empty(folder: str) -> None:
    """What a function does that empties /tmp; it may be disturbed in it."""
    shutil.rmtree(folder, ignore_errors=True)
