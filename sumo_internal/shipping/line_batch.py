"""A batch: slices of the spool that travel in one request, and the request's body, made when it is needed.

Separate from the drainer, which decides what becomes of a batch. The package's own secrets are hidden here, where all
lines pass in each process that sends (:mod:`sumo_internal.own_secrets`).
"""

from __future__ import annotations

import json

from sumo_internal import own_secrets
from sumo_internal.destinations.encoding import GZIP
from sumo_internal.spool.envelope import DESTINATION, SPARED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sumo_internal.destinations.encoding import Encoding
    from sumo_internal.spool.segment import Slice


class UnreadableError(Exception):
    """These lines cannot be read or packed. That says nothing about the source, nor about any other lines."""


class Batch:
    """Slices that travel in one request; compressed when that is needed for the first time."""

    def __init__(self, slices: list[Slice]) -> None:
        self._slices = slices
        self._body = b""
        self._encoding: Encoding | None = None
        """The body's encoding, once there is a body."""
        self._sent_before: list[int] = []
        self.size_bytes = sum(piece.size_bytes for piece in slices)
        self.is_single = len(slices) == 1 and slices[0].is_single
        self.envelope: dict[str, str] = json.loads(slices[0].segment.envelope or "{}")
        self.envelope.pop(DESTINATION, None)  # no header
        self.is_spared = self.envelope.pop(SPARED, "") != ""
        """CloudWatch may not have these lines."""

    def body(self, encoding: Encoding = GZIP) -> bytes:
        """The lines, compressed; an object in the bucket is gzip, whatever the source takes.

        Raises:
            UnreadableError: Try other lines.
        """
        if self._encoding is not encoding:
            try:
                self._body = encoding.pack(self.lines())
            except Exception as error:
                raise UnreadableError(f"{type(error).__name__}: {error}") from error
            self._encoding = encoding
        return self._body

    def shown_lines(self) -> Iterator[memoryview | bytes]:
        """The lines that CloudWatch would have without SUMO_CLOUDWATCH."""
        return self.lines([piece for piece in self._slices if not piece.segment.is_below_level])

    def lines(self, slices: list[Slice] | None = None) -> Iterator[memoryview | bytes]:
        for piece in self._slices if slices is None else slices:
            with piece.data() as lines:
                yield own_secrets.hidden(lines)

    def count(self) -> int:
        """How many lines these are; reads them all."""
        return sum(piece.count() for piece in self._slices)

    def mark_sent(self) -> tuple[int, int]:
        """The lines go out now. Returns how many lines and bytes of them may have arrived already."""
        marks = [piece.mark_sent() for piece in self._slices]
        self._sent_before = [before for before, _, _ in marks]
        return sum(lines for _, lines, _ in marks), sum(size_bytes for _, _, size_bytes in marks)

    def unmark_sent(self) -> None:
        """The lines have certainly not arrived."""
        for piece, before in zip(self._slices, self._sent_before, strict=True):
            piece.unmark_sent(before)

    def acknowledge(self) -> None:
        """The lines are delivered now, or dropped and counted."""
        for piece in self._slices:
            piece.acknowledge()
