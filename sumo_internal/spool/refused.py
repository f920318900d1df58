"""Lines that Sumo Logic has refused for good, kept until SHUTDOWN, when the extension writes them to CloudWatch.

For SUMO_CLOUDWATCH only: else CloudWatch has these lines already. One file in the spool's folder, to which the drainer
that holds the destination's lock appends. What does not fit is lost, as it is without this file: counted, and said.
"""

from __future__ import annotations

import os

from sumo_internal.spool.folder import open_file, read_file, unlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED_MAX_BYTES = 4_000_000
"""More than the extension can write at SHUTDOWN."""


def keep(folder: str, lines: Iterable[bytes | memoryview]) -> None:
    """Keep lines, as far as there is room."""
    try:
        descriptor = open_file(f"{folder}/refused", os.O_WRONLY | os.O_CREAT | os.O_APPEND, max_bytes=REFUSED_MAX_BYTES)
    except OSError:
        return
    try:
        for piece in lines:
            if os.fstat(descriptor).st_size + len(piece) <= REFUSED_MAX_BYTES:
                os.write(descriptor, piece)
    except OSError:
        pass  # the disk is full
    finally:
        os.close(descriptor)


def take(folder: str) -> bytes:
    """Return the lines that are kept, and keep them no more."""
    lines = read_file(f"{folder}/refused", REFUSED_MAX_BYTES)
    if lines:
        unlink(f"{folder}/refused")
    return lines
