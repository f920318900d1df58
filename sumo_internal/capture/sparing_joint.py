"""One rendering for both, where the line may be spared: see :mod:`.joint_rendering` and :mod:`.sparing`.

Separate from :mod:`.sparing` because it is loaded when there have been some lines. The joint rendering is the same, and
does the same two things in the same order: it writes the frame, and gives the record to the recorder. Here the frame is
written into a place of the thread's own; what takes the record then writes the frame to the runtime's sink, or not.
"""

from __future__ import annotations

from _thread import get_ident

from sumo_internal.capture.joint_rendering import Joint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Handler
    from typing import Any

    from sumo_internal.capture.runtime_functions import Functions

_HEAD_BYTES = 16
"""Of a frame, in front of its text."""


class _Deferred:
    """Stands in for the file of the runtime's sink: keeps each thread's frame until its record is committed."""

    def __init__(self, file: Any) -> None:
        self.close = file.close
        self.frames: dict[int, list[bytes]] = {}
        """By thread, of which one may be interrupted between its frame and its record."""

    def write(self, data: bytes) -> None:
        self.frames.setdefault(get_ident(), []).append(data)


def deferring(sink: Any) -> Any:
    """A sink like the runtime's framed one, of the same functions, that writes nothing."""
    kind = type(sink)
    made: Any = object.__new__(type(kind.__name__, (kind,), {}))
    made.__dict__.update(sink.__dict__, file=_Deferred(sink.file))
    return made


class SparingJoint(Joint):
    """Writes the line only if it has to be written."""

    def __init__(
        self, handler: Handler, recorder: Any, bootstrap: Any, functions: dict[Any, Functions], sink: Any
    ) -> None:
        """Prepare for a handler.

        Args:
            handler: See :class:`Joint`, as for the next three.
            recorder: A :class:`sumo_internal.capture.sparing.SparingRecorder`.
            bootstrap: See there.
            functions: See there.
            sink: The runtime's own.
        """
        super().__init__(handler, recorder, bootstrap, functions)
        frames, append, cloudwatch = handler.log_sink.inner.file.frames, recorder.append, recorder.cloudwatch  # type: ignore[attr-defined]  # the runtime's
        write, lock, has_expressions = sink.file.write, handler.lock, cloudwatch.has_expressions

        def settle(start: str, level: int) -> int:
            end: int = 0
            try:
                end = append(start, level)
            finally:
                own = frames[get_ident()]
                data = own.pop()
                is_kept = has_expressions or b'"_aws"' in data
                if not end or own or (is_kept and cloudwatch.is_kept(data[_HEAD_BYTES:].decode("utf-8", "replace"))):
                    # What is left of others was cut off before its record by what a signal handler has raised.
                    own.append(data)
                    with lock:  # type: ignore[union-attr]  # a handler has one
                        while own:
                            write(own.pop(0))
            return end

        self._append = settle
