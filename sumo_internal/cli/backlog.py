"""Failover objects, where they lie: in a bucket, or in a folder into which somebody has copied them.

It owns the way from a key to what is known about an object, and from an object to its lines and to the headers that
they would have been posted under. An object is the same one wherever it lies: its name is the end of its key, which
begins with the region (see :mod:`sumo_internal.destinations.s3`; the Go extension's keys are alike)::

    <region>/<function>/<version>/<YYYY>/<MM>/<DD>/<HH>/<minute>/<uuid>.gz

What has no such key is none of ours. Nothing here is changed, or sent.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import ClientError

from sumo_internal.config import Config
from sumo_internal.spool.envelope import request_headers

OBJECT_MAX_BYTES = 256 * 1024 * 1024
"""Of an object's lines. Ours have a megabyte, the Go extension's at SHUTDOWN a few; more is a mistake, or a bomb."""

_NAME = re.compile(
    r"(?:^|/)[a-z0-9-]+/(?P<function>[^/]+)/(?P<version>[^/]+)/(?P<time>\d{4}/\d\d/\d\d/\d\d/\d{1,2})/[^/]+\.gz$"
)
_NAME_PARTS = 9

HEADERS = {
    "sumo-host": "X-Sumo-Host",
    "sumo-name": "X-Sumo-Name",
    "sumo-category": "X-Sumo-Category",
    "sumo-fields": "X-Sumo-Fields",
}
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
        """What is the same wherever it lies: the key from the region on."""
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
    """What a key tells; None for what is no failover object."""
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
    """
    stream = _log_stream(content.lines) or f"{item.at:%Y/%m/%d}/[{item.version}]replay"
    return {**request_headers(config, item.function, stream, item.version), **content.headers}


def _log_stream(lines: bytes) -> str:
    try:
        return str(json.loads(lines.partition(b"\n")[0] or lines.split(b"\n", 2)[1])["logStream"])
    except (ValueError, LookupError, TypeError):
        return ""


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
        try:
            answer = self.client.get_object(Bucket=self.name, Key=item.key)
            body = answer["Body"].read()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _ITS_OWN_ERRORS:
                raise
            raise DamagedObjectError(f"S3 answers {code}") from None
        kept = {HEADERS[name]: value for name, value in answer["Metadata"].items() if name in HEADERS}
        return Content(_unpack(body), kept)


class Folder:
    """Objects in a folder, as ``aws s3 sync`` leaves them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def items(self) -> Iterator[Item]:
        for path in self._path.rglob("*.gz"):
            if path.is_file() and (found := item(str(path), path.stat().st_size)):
                yield found

    def read(self, item: Item) -> Content:
        try:
            return Content(_unpack(Path(item.key).read_bytes()), {})
        except OSError as error:
            raise DamagedObjectError(error.strerror or type(error).__name__) from None


def _unpack(body: bytes) -> bytes:
    """An object's lines. Some tools unpack what they copy, and leave the name."""
    if not body.startswith(_GZIP_MAGIC):
        return body
    try:
        lines = gzip.GzipFile(fileobj=io.BytesIO(body)).read(OBJECT_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise DamagedObjectError("it is no whole gzip file") from None
    if len(lines) > OBJECT_MAX_BYTES:
        raise DamagedObjectError(f"it unpacks to more than {OBJECT_MAX_BYTES} bytes")
    return lines
