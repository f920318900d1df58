"""Failover objects, where they lie: in a bucket, or in a folder into which somebody has copied them.

It owns the way from a key to what is known about an object, and from an object to its lines and to the headers that
they would have been posted under. An object is the same one wherever it lies: its name is the end of its key, which
begins with the region (see :mod:`sumo_internal.destinations.s3`; the Go extension's keys are alike)::

    <region>/<function>/<version>/<YYYY>/<MM>/<DD>/<HH>/<minute>/<uuid>.gz

An object without such a key is none of ours. Nothing here is changed, or sent.

Keys, metadata and lines may come from anyone with the right to write into the bucket. So an object takes a bounded part
of the memory, what becomes a header is checked, and anything else that is wrong with an object is raised as
:class:`DamagedObjectError`. Where metadata and key name different functions, the key counts.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError

from sumo_internal.config import Config
from sumo_internal.destinations import s3
from sumo_internal.spool.envelope import filled, request_headers

OBJECT_MAX_BYTES = 32 * 1024 * 1024
"""Of an object, and of its lines. Our objects have a megabyte, the Go extension's at SHUTDOWN a few; more is a mistake,
or a bomb. An object is in memory three times at most: the pieces that were read, the pieces joined, a batch."""
PIECE_BYTES = 256 * 1024
"""Bytes that are read, and unpacked, at a time."""

LOG_STREAM_MAX_CHARACTERS = 512
"""Of a log stream's name (CloudWatch Logs)."""
HEADER_MAX_CHARACTERS = 8 * 1024
"""Of a header that an object keeps; S3 takes 2 KB of metadata in all."""

_HOST_PREFIX = "/aws/lambda/"

_NAME = re.compile(
    r"(?:^|/)[a-z0-9-]+/(?P<function>[^/]+)/(?P<version>[^/]+)/(?P<time>\d{4}/\d\d/\d\d/\d\d/\d{1,2})/[^/]+\.gz$"
)
_NAME_PARTS = 9

HEADERS = {name: header for header, name in s3.METADATA.items()}
"""By the name of the metadata that keeps it."""

_ITS_OWN_ERRORS = ("NoSuchKey", "InvalidObjectState")
"""What is wrong with one object (gone, in an archive); any other error would meet the next one as well."""
_GZIP_MAGIC = b"\x1f\x8b"


class DamagedObjectError(Exception):
    """An object that cannot be read; the text says why. Go on with the next one."""


@dataclass(frozen=True, slots=True)
class Item:
    """An object, by its key. There may be a million of them."""

    key: str
    function: str
    version: str
    at: datetime
    size_bytes: int

    @property
    def name(self) -> str:
        """The part of the key that is the same wherever the object lies: from the region on."""
        return "/".join(self.key.split("/")[-_NAME_PARTS:])


@dataclass(frozen=True)
class Content:
    """An object's lines, and the headers that it keeps."""

    lines: bytes
    headers: Mapping[str, str]


class Backlog(Protocol):
    """Where objects lie."""

    def items(self) -> Iterator[Item]: ...

    def read(self, item: Item) -> Content:
        """Raises :class:`DamagedObjectError`."""


def item(key: str, size_bytes: int) -> Item | None:
    """What a key tells of its object; None where it is no failover object."""
    found = _NAME.search(key)
    if found is None:
        return None
    try:
        at = datetime(*map(int, found["time"].split("/")), tzinfo=timezone.utc)  # type: ignore[misc, arg-type]  # five
    except ValueError:
        return None
    return Item(key, sys.intern(found["function"]), sys.intern(found["version"]), at, size_bytes)


def envelope(item: Item, content: Content, config: Config) -> dict[str, str]:
    """The headers to post an object's lines under: those that it keeps, or else what its key and its lines tell.

    The Go extension's objects keep none, and a copy in a folder has lost them.

    Raises:
        DamagedObjectError: One of them cannot be a header.
    """
    stream = _log_stream(content.lines) or f"{item.at:%Y/%m/%d}/[{item.version}]replay"
    known = {"function": item.function, "version": item.version}
    headers, _ = filled(request_headers(config, item.function, stream, item.version), known)
    host = content.headers.get("X-Sumo-Host", "")
    if not host.startswith(_HOST_PREFIX) or host == f"{_HOST_PREFIX}{item.function}":
        headers.update(content.headers)
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()) or len(value) > HEADER_MAX_CHARACTERS:
            raise DamagedObjectError(f"what it has for {name} is not a header")
    return headers


def _log_stream(lines: bytes) -> str:
    """The log stream that the first record names; empty where it names none."""
    first = lines[: lines.find(b"\n") + 1 or len(lines)]
    if not first.strip():
        first = lines.split(b"\n", 2)[1] if b"\n" in lines else b""
    try:
        stream = str(json.loads(first)["logStream"])
    except (ValueError, LookupError, TypeError):
        return ""
    except RecursionError:
        raise DamagedObjectError("its first line is nested too deeply for a record") from None
    if len(stream) > LOG_STREAM_MAX_CHARACTERS:
        raise DamagedObjectError("what it has for logStream is not a log stream's name")
    return stream


class BacklogBucket:
    """Objects in S3, below a prefix."""

    def __init__(self, client: Any, name: str, prefix: str = "") -> None:
        """Look below a prefix, with boto3's client."""
        self.client = client
        self.name = name
        self._prefix = prefix

    def items(self) -> Iterator[Item]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self._prefix):
            for entry in page.get("Contents", []):
                if found := item(entry["Key"], entry["Size"]):
                    yield found

    def read(self, item: Item) -> Content:
        _check_size(item.size_bytes)
        try:
            answer = self.client.get_object(Bucket=self.name, Key=item.key)
            with closing(answer["Body"]) as body:
                _check_size(answer["ContentLength"])
                lines = _unpack(body)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _ITS_OWN_ERRORS:
                raise
            raise DamagedObjectError(f"S3 responds with {code}") from None
        kept = {HEADERS[name]: value for name, value in answer["Metadata"].items() if name in HEADERS}
        return Content(lines, kept)


class Folder:
    """Objects in a folder, as ``aws s3 sync`` leaves them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def items(self) -> Iterator[Item]:
        for path in self._path.rglob("*.gz"):
            if path.is_file() and (found := item(str(path), path.stat().st_size)):
                yield found

    def read(self, item: Item) -> Content:
        _check_size(item.size_bytes)
        try:
            with open(item.key, "rb") as file:
                return Content(_unpack(file), {})
        except OSError as error:
            raise DamagedObjectError(error.strerror or type(error).__name__) from None


def _check_size(size_bytes: int) -> None:
    if size_bytes > OBJECT_MAX_BYTES:
        raise DamagedObjectError(f"it has more than {OBJECT_MAX_BYTES} bytes")


def _unpack(body: Any) -> bytes:
    """An object's lines, from what can be read. Some tools unpack what they copy, and leave the name."""
    lines = io.BytesIO()
    read_bytes = 0
    unpacker = None
    while piece := body.read(PIECE_BYTES):
        if not read_bytes and piece.startswith(_GZIP_MAGIC):
            unpacker = _Unpacker()
        read_bytes += len(piece)
        _check_size(read_bytes)
        for part in unpacker.feed(piece) if unpacker else (piece,):
            lines.write(part)
            if lines.tell() > OBJECT_MAX_BYTES:
                raise DamagedObjectError(f"it unpacks to more than {OBJECT_MAX_BYTES} bytes")
    if unpacker and not unpacker.is_whole:
        raise DamagedObjectError("it is not a whole gzip file")
    return lines.getvalue()


class _Unpacker:
    """A gzip file of any number of members, unpacked in small parts."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def is_whole(self) -> bool:
        return self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the file's next part unpacks to, piece by piece.

        Raises:
            DamagedObjectError: It is no gzip file.
        """
        while True:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding, as of tapes
                if not data:
                    return
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                part = self._member.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise DamagedObjectError("it is not a whole gzip file") from None
            yield part
            data = self._member.unconsumed_tail or self._member.unused_data
            if not data and len(part) < PIECE_BYTES:  # else there may be more of what was fed
                return
