"""What no destination took, written to CloudWatch at SHUTDOWN: only lines that are nowhere else (SUMO_CLOUDWATCH).

The envelope of a segment says whether the function's process has spared CloudWatch its lines. Lines that Sumo Logic has
refused for good come first, then what is left in the spool, oldest first. A segment notes how far it was written:
the next generation of processes, if there is one, may still deliver its lines, but does not write them again. What was
held back in case the invocation fails and lies below the function's own level never goes to CloudWatch.

stdout is Lambda's pipe. It is written to when it has room, so that no call outlasts the environment.
"""

from __future__ import annotations

import os
import select
import time

from sumo_internal import own_secrets
from sumo_internal.spool import refused
from sumo_internal.spool.segment import WRITTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.spool.reader import SpoolReader
    from sumo_internal.spool.segment import Slice

_STDOUT = 1
_ATOMIC_BYTES = 4_096
"""A pipe that can be written to takes so much at once (PIPE_BUF)."""
_LOOK_MS = 50


def write(reader: SpoolReader, until_s: float) -> tuple[int, int]:
    """Write what is left.

    Args:
        reader: Sees all spools.
        until_s: POSIX time at which to stop.

    Returns:
        How many lines were written, and how many of those are still in the spool.
    """
    lines = 0
    for line in refused.take(reader.folder).splitlines(keepends=True):
        if not _write(line, until_s):
            return lines, 0
        lines += 1
    in_spool = 0
    for piece in sorted(reader.spared(), key=_time):
        in_spool += _write_slice(piece, until_s)
    return lines + in_spool, in_spool


def _time(piece: Slice) -> bytes:
    """When a slice begins: what its first line says (``{"time":"2026-11-21T08:22:03.123Z"``)."""
    return piece.segment.map[piece.begin : piece.begin + 33]


def _write_slice(piece: Slice, until_s: float) -> int:
    with piece.data() as data:
        lines = bytes(own_secrets.hidden(data)).splitlines(keepends=True)
    begin = piece.begin
    for number, line in enumerate(lines):
        if not _write(line, until_s):
            return number
        # A secret that was hidden has another length; the end is the last line's then.
        begin = min(piece.end, piece.segment.map.find(b"\n", begin) + 1)
        piece.segment.cursors[WRITTEN] = begin
    return len(lines)


def _write(line: bytes, until_s: float) -> bool:
    """Write a line; False where there is no time left, or nothing reads."""
    poller = select.poll()
    poller.register(_STDOUT, select.POLLOUT)
    while line:
        left_ms = (until_s - time.time()) * 1000
        if left_ms <= 0:
            return False
        ready = poller.poll(min(left_ms, _LOOK_MS))
        try:
            if ready and not ready[0][1] & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                line = line[os.write(_STDOUT, line[:_ATOMIC_BYTES]) :]
            elif ready:
                return False
        except OSError:
            return False
    return True
