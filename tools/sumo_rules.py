"""Judges a request as a Sumo Logic HTTP source would, and as its AWS Lambda dashboards silently rely on.

Pure functions of values. Separate from ``sumo_source`` so that the rules stand in one place, with nothing about
sockets between them. They come from Sumo Logic's documentation of the HTTP Logs & Metrics source (upload,
troubleshooting, fields, time reference, multi-line) and from the queries of its AWS Observability app for
Lambda; where those leave a question open, the stricter reading is taken.

A refusal is what the real one refuses too. A problem is whatever a sender should not have done, refused or not:
the real one takes a line without a time, and files it under a wrong one. Metrics are not looked at.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]

# The real code is url-safe base64 as well: a sender that quotes or strips the "-", "_" or "=" in it gets its 401 here.
TOKEN = "ZaVnC4dhaV0-loopback_only-gJ8fQ3sT5bXk2LmN7pRw9YhD1cV6zA4uE0iO=="
BASE_PATH = "/receiver/v1/http"
PATH = f"{BASE_PATH}/{TOKEN}"
"""The presigned URL's, and the one without a code, to which the token comes in a header (Sumo Logic, February 2026)."""

BODY_LIMIT_BYTES = 1024 * 1024
"""Of a request before compression: "up to but not exceeding 1MB of uncompressed data"."""

LINE_LIMIT_BYTES = 64 * 1024
"""A longer message is sliced on arrival, and a slice of JSON is no JSON."""

FIELDS_LIMIT = 30
"""Fields that a request may set, each of a key and a value that are limited in turn (characters)."""
FIELD_KEY_LIMIT = 255
FIELD_VALUE_LIMIT = 200

_TIME_SHAPE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")

# The dashboards take the function out of the host, and date, version and id out of the name, with these patterns only.
_DASHBOARD_SHAPES = {
    "x-sumo-host": re.compile(r"/aws/lambda/[A-Za-z0-9_-]{1,64}"),
    "x-sumo-name": re.compile(r"\d{4}/\d\d/\d\d/\[[^\]]+\]\S+"),
}


@dataclass(frozen=True)
class Verdict:
    """What a request is worth.

    Attributes:
        refusal: the status with which it has to be refused; None where there is no reason to.
        body: decoded; empty where it could not be.
        records: the lines that are JSON objects.
        problems: what the sender should not have done.
    """

    refusal: int | None
    body: bytes = b""
    records: tuple[Record, ...] = ()
    problems: list[str] = field(default_factory=list)


def judge(
    method: str, path: str, version: str, headers: Mapping[str, str], raw: bytes | None, limit_bytes: int | None
) -> Verdict:
    """Judge a request that was read to its end.

    Args:
        headers: by lower-case name.
        raw: the body as it was on the wire, chunks joined; None where the headers did not say how long it is.
        limit_bytes: size of the decoded body above which to refuse it; None for never.
    """
    problems = list(_head_problems(version, headers))
    given = path.partition("?")[0].rstrip("/")  # a query is ignored
    if given != PATH and (given != BASE_PATH or headers.get("x-sumo-token") != TOKEN):
        return Verdict(401, problems=[*problems, "wrong path or token"])
    if given == PATH and "x-sumo-token" in headers:
        problems.append("a token beside a code in the path")
    if method != "POST":
        return Verdict(405, problems=[*problems, f"{method} is not POST"])
    if raw is None:
        return Verdict(411, problems=[*problems, "neither a Content-Length nor chunks"])
    try:
        body = decode(raw, headers.get("content-encoding", ""))
        body.decode()
    except (ValueError, zlib.error) as error:
        return Verdict(400, problems=[*problems, f"unreadable body: {error}"])
    if len(body) > BODY_LIMIT_BYTES:
        problems.append(f"{len(body)} bytes before compression, {BODY_LIMIT_BYTES} are the limit")
    records, line_problems = _parse(body)
    is_too_large = limit_bytes is not None and len(body) > limit_bytes
    return Verdict(413 if is_too_large else None, body, tuple(records), problems + line_problems)


def _head_problems(version: str, headers: Mapping[str, str]) -> Iterator[str]:
    if version != "HTTP/1.1":
        yield f"{version!r} is not HTTP/1.1"
    if "host" not in headers:
        yield "no Host"
    if "content-length" in headers and "transfer-encoding" in headers:
        yield "both Content-Length and Transfer-Encoding"
    for name, value in headers.items():
        if name.startswith("x-sumo-") and not _PRINTABLE.fullmatch(value):
            yield f"{name} is not printable ASCII: {value!r}"
    for name, shape in _DASHBOARD_SHAPES.items():
        if not shape.fullmatch(headers.get(name, "")):
            yield f"{name} is nothing that the dashboards can parse: {headers.get(name)!r}"
    if "x-sumo-fields" in headers:
        yield from _field_problems(headers["x-sumo-fields"].split(","))


def _field_problems(pairs: list[str]) -> Iterator[str]:
    if len(pairs) > FIELDS_LIMIT:
        yield f"{len(pairs)} fields, {FIELDS_LIMIT} are the limit"
    for pair in pairs:
        key, _, value = pair.strip().partition("=")
        is_pair = bool(key and value) and "=" not in value
        if not is_pair or len(key) > FIELD_KEY_LIMIT or len(value) > FIELD_VALUE_LIMIT:
            yield f"a field that is no key=value within the limits: {pair!r}"


def decode(raw: bytes, encoding: str) -> bytes:
    """Undo a Content-Encoding; raise ValueError or zlib.error unless it is known, complete, and followed by nothing."""
    if encoding in ("", "identity"):
        return raw
    if encoding == "zstd":
        return _decode_zstd(raw)
    if encoding not in ("gzip", "deflate"):
        raise ValueError(f"Content-Encoding {encoding!r}")
    decoder = zlib.decompressobj(zlib.MAX_WBITS + 16 if encoding == "gzip" else zlib.MAX_WBITS)
    body = decoder.decompress(raw)
    if not decoder.eof or decoder.unused_data:
        raise ValueError(f"{encoding} data that stops early, or goes on after its end")
    return body


def _decode_zstd(raw: bytes) -> bytes:
    """One frame, by the interpreter's own zstd (Python 3.14) or its backport."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    decoder = zstd.ZstdDecompressor()
    try:
        body = bytes(decoder.decompress(raw))
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from None
    if not decoder.eof or decoder.unused_data:
        raise ValueError("zstd data that stops early, or goes on after its end")
    return body


def _parse(body: bytes) -> tuple[list[Record], list[str]]:
    """Return the lines that are JSON objects, and what is wrong with any line."""
    records: list[Record] = []
    problems: list[str] = []
    for number, line in enumerate(body.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            record = _parse_line(line)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
        else:
            records.append(record)
            problems.extend(f"line {number}: {problem}" for problem in _record_problems(record, len(line)))
    return records, problems


def _parse_line(line: bytes) -> Record:
    if not line.strip():
        raise ValueError("blank")
    record = _STRICT_JSON.decode(line.decode())
    if not isinstance(record, dict):
        raise ValueError("JSON, but no object")
    return record


def _record_problems(record: Record, size_bytes: int) -> Iterator[str]:
    if size_bytes > LINE_LIMIT_BYTES:
        yield f"{size_bytes} bytes, {LINE_LIMIT_BYTES} are the limit"
    # The leftmost time stamp of a line is taken for the time of the event.
    if next(iter(record), None) != "time":
        yield "time is not the first key"
    if not _TIME_SHAPE.fullmatch(str(record.get("time"))):
        yield f"a time that is not like 2026-11-21T08:22:03.123Z: {record.get('time')!r}"


def _unique_keys(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError(f"a key twice among {[key for key, _ in pairs]}")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is Python's, not JSON's")


_STRICT_JSON = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
"""Python's own decoder takes the last of two equal keys, and NaN; other readers do not."""
