"""One rendering for both, where the line may be spared: see :mod:`.joint_rendering` and :mod:`.sparing`.

Separate from :mod:`.sparing` because it is loaded when there have been some lines. The parts are the same; the order is
the other one: the record is committed first, and the line's frame is made and written only if it has to be.

For the log call itself there is a way that is shorter still. A line that is not written needs no log record, if nothing
but the runtime's own handler would see it: neither that nor the place in the code that calls for one is looked for
then, which is half of the time that a line takes. At each call this is asked:

=============  ========================================================================================================
the logger     of the library's class, enabled, without filters, without functions of its own
its parents    all pass records on; no handler on the way, and the root has one: the runtime's, which takes the level
functions      of the logger, what makes a log record of it and the clock: the library's, as they were at the start
the call       a text; arguments of types whose text the interpreter alone makes; no exception, stack or fields
all else       what :mod:`.joint_rendering` asks of handler, formatter, filter and process
=============  ========================================================================================================

Any other call is ``logging``'s own, with its log record.
"""

from __future__ import annotations

import logging
import sys
import time
from _thread import get_ident
from logging import Formatter, Logger

from sumo_internal import diagnostics
from sumo_internal.capture.joint_rendering import FRAME_HEAD, MESSAGE_MAX_CHARS, PLAIN, Joint
from sumo_internal.capture.record_format import quote
from sumo_internal.capture.reentrancy import is_recorded, too_deep
from sumo_internal.capture.runtime_functions import CALLED_FOR_CALLS, called_for_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Handler, LogRecord
    from typing import Any

    from sumo_internal.capture.runtime_functions import Functions

_LOGGERS = (Logger, logging.RootLogger)
_COUNTS_OWN_FRAMES = sys.version_info < (3, 11)
"""``stacklevel`` counts frames of ``logging``'s own as well."""


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

        self.settle = settle

    def _is_kept(self, line: str) -> bool:
        cloudwatch: Any = self._recorder.cloudwatch  # type: ignore[attr-defined]  # a sparing recorder's
        return (cloudwatch.has_expressions or '"_aws"' in line) and cloudwatch.is_kept(line)

    def _write(self, line: str, head: bytes) -> None:
        data, handler = line.encode(), self._handler
        with handler.lock:
            handler.log_sink.inner.file.write(FRAME_HEAD.pack(head, len(data), time.time_ns() // 1000) + data)

    def log_call(
        self, otherwise: Callable[..., None], is_shown: Callable[[Any, int], bool] | None = None
    ) -> Callable[..., None]:
        """Make ``Logger._log``: it records a line without a log record, where that is possible.

        Args:
            otherwise: ``logging``'s own, or what stands in for it. Until it is called, nothing has happened.
            is_shown: Would the function show a line of a logger and a level? None where it shows all that come here.
        """
        recorder, handler, names, root = self._recorder, self._handler, self._globals, logging.root
        append, is_kept, write = recorder.append, self._is_kept, self._write
        kind: Any = type(handler)
        own_handle, level_names, modules = kind.handle, logging._levelToName, sys.modules

        # One function, as in Joint.handle.
        def _log(
            self: Any,
            level: int,
            msg: Any,
            args: Any,
            exc_info: Any = None,
            extra: Any = None,
            stack_info: bool = False,
            stacklevel: int = 1,
        ) -> None:
            line, is_spared = "", False
            try:
                is_json, adds_tenant, levels, of_runtime, called, formatter, style, filter, _ = joint._made
                sink, attributes, row = handler.log_sink, self.__dict__, levels.get(level)
                if (
                    row is not None
                    and (is_shown is None or is_shown(self, level))
                    and (
                        handler.__class__, handler.__dict__, formatter.__dict__, style.__dict__, filter.__dict__,
                        called(), sink.log, Formatter.converter, logging.getLogRecordFactory(), type(msg), type(args),
                        exc_info, extra, stack_info or None,
                    ) == of_runtime
                    and called_for_calls() == CALLED_FOR_CALLS
                    and kind.handle is own_handle
                    and self.__class__ in _LOGGERS
                    and not (self.disabled or self.filters)
                    and "handle" not in attributes
                    and "callHandlers" not in attributes
                    and "makeRecord" not in attributes
                    and "findCaller" not in attributes
                    and level >= handler.level
                    and "log" not in sink.inner.__dict__
                    and not (adds_tenant and names["_GLOBAL_TENANT_ID"] is not None)
                    and not (is_json and "asyncio" in modules)  # a task's name would be in the line
                    and recorder.takes_short_way
                    and not too_deep
                    and not is_recorded
                ):  # fmt: skip
                    parent: Any = self
                    while parent is not root and not parent.handlers and parent.propagate:
                        parent = parent.parent
                    handlers = root.handlers
                    is_plain = parent is root and len(handlers) == 1 and handlers[0] is handler
                    for argument in args:
                        if type(argument) not in PLAIN:
                            is_plain = False
                    if is_plain:
                        created_s, request = time.time(), names["_GLOBAL_AWS_REQUEST_ID"]
                        msecs = int((created_s - int(created_s)) * 1000) + 0.0
                        if not (row[4] == msecs and row[2] <= created_s < row[3] and request is row[1]):
                            levels[level] = row = joint.renewed(row, created_s, msecs, request, is_json=is_json)
                        name, _, _, _, _, _, line_start, line_end, record_start, _, head, loggers, _ = row
                        details, message = loggers.get(self.name), msg % args if args else msg
                        if level_names[level] is name and details is not None and len(message) <= MESSAGE_MAX_CHARS:
                            if is_json:
                                line = f'{line_start}{quote(message)}, "logger": {quote(self.name)}{line_end}'
                                start = f"{record_start}{line[:-1]}{details}{recorder.context}"
                            else:
                                line = f"{line_start}{message}{line_end}"
                                start = f"{record_start}{quote(message)[1:]}{details}{recorder.context}"
                            line.isascii() or line.encode()  # what cannot be encoded is an error of the function's
                            is_spared = not is_kept(line)
                            is_spared = append(start, level) > 0 and is_spared
            except Exception as error:
                if diagnostics.is_of_signal(error):
                    raise
                line = ""  # and not committed
            if not line:
                if _COUNTS_OWN_FRAMES and stacklevel > 1:
                    stacklevel += 1
                otherwise(self, level, msg, args, exc_info, extra, stack_info, stacklevel)
            elif not is_spared:
                write(line, head)

        joint = self
        # What looks for the caller passes over frames of logging's own file.
        _log.__code__ = _log.__code__.replace(co_filename=otherwise.__code__.co_filename)
        return _log
