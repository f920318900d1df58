"""What has been sent already: remembered in a file, or as tags of the objects, so that nothing goes twice.

The file has a line of JSON per request that was taken, appended and synchronised after the source's answer::

    {"to": "5f2b…"}                                               which source, as a digest of its address
    {"name": "eu-west-1/orders/$LATEST/…/4c6b….gz", "bytes": 73218, "done": true}

A line without its end (a kill in the middle of it) counts as not written. So a replay that was killed sends again at
most the requests that were under way, one per connection. Their records have the same ``id`` as before.

An object has ten tags at most, in one set that is replaced as a whole; tagging needs s3:GetObjectTagging and
s3:PutObjectTagging, and one request more per object.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

from sumo_internal.cli.backlog import Item

TAG = "sumo-replayed"
"""Of an object that was sent; its value is the source's digest."""


class UnusableStateError(Exception):
    """The file cannot be used; the text says why, and what to do instead."""


class Ledger(Protocol):
    """Remembers."""

    def sent_bytes(self, item: Item) -> int | None:
        """How much of an object's lines was sent; None for all of it."""

    def note(self, item: Item, sent_bytes: int, *, is_done: bool) -> None:
        """So much of an object's lines has been taken."""


def digest(endpoint: str, token: str = "") -> str:
    """A source's digest, for where its address and token must not stand: 64 bits of a hash of them.

    Sources with a token share their address.
    """
    return hashlib.sha256("\n".join(filter(None, (endpoint, token))).encode()).hexdigest()[:16]


class StateFile:
    """A file; one process at a time has it."""

    def __init__(self, path: Path, to: str) -> None:
        """Open the file, or make it.

        Args:
            path: Where it is.
            to: The source's digest.

        Raises:
            UnusableStateError: Choose another, or wait.
        """
        self._sent: dict[str, int | None] = {}
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise UnusableStateError(f"{path}: {error.strerror}") from None
        try:
            self._read(path, to)
        except BaseException:
            self.close()
            raise

    def _read(self, path: Path, to: str) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnusableStateError(f"{path} is in use by another replay") from None
        self._file.seek(0)
        whole, _, torn = self._file.read().rpartition(b"\n")
        if not whole and _line({"to": to}).startswith(torn):
            os.truncate(path, 0)
            self._append({"to": to})
            return
        try:
            head, *entries = map(json.loads, whole.split(b"\n"))
            self._sent = {entry["name"]: None if entry["done"] else entry["bytes"] for entry in entries}
            is_for_this = head["to"] == to
        except (ValueError, LookupError, TypeError):
            raise UnusableStateError(f"{path} is not a state file of a replay: name another with --state") from None
        if not is_for_this:
            raise UnusableStateError(
                f"{path} tells what went to another source: name another file with --state"
            ) from None
        os.truncate(path, len(whole) + 1)

    def sent_bytes(self, item: Item) -> int | None:
        return self._sent.get(item.name, 0)

    def note(self, item: Item, sent_bytes: int, *, is_done: bool) -> None:
        # Several threads append at a time: a line is one write to a file that is open for appending.
        self._append({"name": item.name, "bytes": sent_bytes, "done": is_done})
        self._sent[item.name] = None if is_done else sent_bytes

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(_line(entry))
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


class Tags:
    """The objects' own tags."""

    def __init__(self, client: Any, bucket: str, to: str) -> None:
        """Tag objects of a bucket, with boto3's client, as sent to the source with this digest."""
        self._client = client
        self._bucket = bucket
        self._to = to

    def sent_bytes(self, item: Item) -> int | None:
        return None if self._tags(item).get(TAG) == self._to else 0

    def note(self, item: Item, sent_bytes: int, *, is_done: bool) -> None:
        if is_done:
            tags = {**self._tags(item), TAG: self._to}
            tagging = {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}
            self._client.put_object_tagging(Bucket=self._bucket, Key=item.key, Tagging=tagging)

    def _tags(self, item: Item) -> dict[str, str]:
        answer = self._client.get_object_tagging(Bucket=self._bucket, Key=item.key)
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}
