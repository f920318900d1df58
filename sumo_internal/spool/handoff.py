"""What the function's process and the extension tell each other, in small files beside the spool.

Separate from the spool, whose files are lines: these are read once, may be missing (a function empties /tmp, a disk is
full), and then something is less exact, and nothing is lost.

* ``function.json``: that the function is heard in its own process, the name of its log stream, and the headers of its
  requests. An extension cannot know them: no variable of its tells.
* ``timed-out``: the request id of the invocation whose timeout was recorded last. Lambda may tell the next generation
  of it once more.
"""

from __future__ import annotations

import json
import os
import time

_FUNCTION, _TIMED_OUT = "function.json", "timed-out"
_SIZE_MAX_BYTES = 64 * 1024
"""Bound on what is read; the headers may have 30 fields of 455 characters."""


def tell_function(folder: str, log_stream: str, headers: dict[str, str]) -> None:
    """Tell the extension that the function is heard in this process.

    Args:
        folder: Path of the spool's folder, which is there.
        log_stream: AWS_LAMBDA_LOG_STREAM_NAME.
        headers: Request headers under which the function's lines travel.
    """
    _write(f"{folder}/{_FUNCTION}", json.dumps([log_stream, headers]))


def function(folder: str) -> tuple[str, dict[str, str]] | None:
    """The log stream and the headers that :func:`tell_function` told; None where nobody has."""
    try:
        log_stream, headers = json.loads(_read(f"{folder}/{_FUNCTION}"))
        return str(log_stream), {str(name): str(value) for name, value in headers.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def made_up_stream(version: str) -> str:
    """A log stream's name where no variable has the real one: in an extension, and in a snapshot."""
    return f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{version}]{os.urandom(16).hex()}"


def tell_timeout(folder: str, request_id: str) -> None:
    """Tell the next generation that this invocation's timeout has its record."""
    _write(f"{folder}/{_TIMED_OUT}", request_id)


def timed_out(folder: str) -> str | None:
    """The request id that :func:`tell_timeout` told last."""
    return _read(f"{folder}/{_TIMED_OUT}") or None


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _SIZE_MAX_BYTES).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, text.encode("utf-8", "backslashreplace"))
        finally:
            os.close(descriptor)
    except OSError:
        pass  # no room: the reader does without
