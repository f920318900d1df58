"""One rendering for both, where the line may be spared: see :mod:`.joint_rendering` and :mod:`.sparing`.

Separate from :mod:`.sparing` because it is loaded when there have been some lines. The parts are the same; the order is
the other one: the record is committed first, and the line's frame is made and written only if it has to be.
"""

from __future__ import annotations

import time
from _thread import get_ident

from sumo_internal.capture.joint_rendering import FRAME_HEAD, Joint
from sumo_internal.capture.reentrancy import too_deep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Handler, LogRecord
    from typing import Any

    from sumo_internal.capture.runtime_functions import Functions


class SparingJoint(Joint):
    """Writes the line only if it has to be written."""

    def __init__(self, handler: Handler, recorder: Any, bootstrap: Any, functions: dict[Any, Functions]) -> None:
        """Prepare for a handler.

        Args:
            handler: See :class:`Joint`, as for the other two.
            recorder: A :class:`sumo_internal.capture.sparing.SparingRecorder`.
            bootstrap: See there.
            functions: See there.
        """
        super().__init__(handler, recorder, bootstrap, functions)
        append, is_kept, write = recorder.append, self._is_kept, self._write

        def settle(record: LogRecord, start: str, line: str, head: bytes) -> None:
            is_spared = False
            try:
                is_spared = append(start, record.levelno) > 0 and not is_kept(line)
            except RecursionError:
                too_deep.setdefault(get_ident(), []).append((record.created, line, 1, record))
            except Exception as error:
                recorder.not_recorded(line, error)
            finally:
                if not is_spared:
                    write(line, head)

        def spare(start: str, level: int, line: str) -> bool:
            line.isascii() or line.encode()  # what cannot be encoded is an error of the function's
            is_spared = not is_kept(line)
            return append(start, level) > 0 and is_spared

        self.settle, self.spare = settle, spare

    def _is_kept(self, line: str) -> bool:
        cloudwatch: Any = self._recorder.cloudwatch  # type: ignore[attr-defined]  # a sparing recorder's
        return (cloudwatch.has_expressions or '"_aws"' in line) and cloudwatch.is_kept(line)

    def _write(self, line: str, head: bytes) -> None:
        data, handler = line.encode(), self._handler
        with handler.lock:
            handler.log_sink.inner.file.write(FRAME_HEAD.pack(head, len(data), time.time_ns() // 1000) + data)
