"""A command's standard streams, where they are not what a terminal gives: closed, full, a pipe that nobody reads any
more, in a locale without our characters.

Separate because ``make demo`` prints as well.
"""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper

_NOT_WRITTEN = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF))
"""Errors of writing to stdout, which name no file."""


def prepare() -> None:
    """Read UTF-8, as files of JSON and settings are, whatever the locale, and print what that has no characters for
    as escapes; have a stream in place of one that is closed."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdin = sys.stdin or open(os.devnull)
    sys.stderr = sys.stderr or open(os.devnull, "w")


def complaint(error: OSError) -> str:
    """What is to be said of an error of the operating system's that ends a command; empty where that is nothing.

    ``sumo-internal status | head`` has all that it wants. What is left is flushed to nowhere when the process ends.
    """
    is_of_output = not error.filename and (isinstance(error, BrokenPipeError) or error.errno in _NOT_WRITTEN)
    if is_of_output:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return ""
    place = error.filename or ("stdout" if is_of_output else type(error).__name__)
    return f"{place}: {error.strerror or error}"
