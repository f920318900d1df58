"""structlog straight into the spool: a processor in front of the user's renderer.

::

    structlog.configure(processors=[..., sumo_internal.SumoProcessor(), structlog.processors.JSONRenderer()])

Each event is one record, its context as keys; its text is laid out as the runtime lays out a log record, which Sumo
Logic's dashboards read. What the renderer makes of the event is printed for CloudWatch as before, and is not recorded a
second time: while structlog hands the rendered line to its output (a print logger, or ``logging``), what this thread
writes is recorded already. The call stack shows that, not a flag: a renderer that raises, or drops the event, must not
make a later line disappear.

The first processor that is made installs this check (:data:`~sumo_internal.capture.reentrancy.is_recorded`). A line
that another thread writes (a QueueHandler's listener) is recorded again, as text.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
import weakref
from functools import lru_cache

from sumo_internal import diagnostics, wiring
from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.record_format import text_of
from sumo_internal.capture.reentrancy import SPARED, is_recorded, not_recorded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import FrameType
    from typing import Any

    from sumo_internal.capture.recorder import Recorder

_FRAMES_MAX = 3
"""Frames between a processor and the chain that it is in: another processor may call it."""

_BETWEEN = ("_process_event", "format", "handleError")
"""Functions of structlog and logging that may write something other than the line: a processor prints, a formatter's
processor prints, logging reports an error."""

_LEVELS = {"msg": "info", "log": "info"}
"""Names of structlog's methods that are no levels."""

_IN_TEXT = frozenset(("event", "exc_info", "exception", "stack", "timestamp", "level", "logger"))
"""Keys of an event that are in the record's text, or that it has anyway."""


class _LastRecorded(threading.local):
    """The event that this thread has recorded last."""

    logger: weakref.ref[Any] | None = None
    """The bound logger that the event came from, as long as its line may still be written."""
    is_spared = False
    """The line need not go to CloudWatch."""


_last_recorded = _LastRecorded()


class SumoProcessor:
    """Records structlog's events; to be placed before the renderer.

    Works under the wrapper, and without it (then like :class:`~sumo_internal.SumoHandler`, made while the function's
    module is imported). The event goes on unchanged, and nothing is ever raised.
    """

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        with diagnostics.guard("setting up SumoProcessor"):
            self._recorder = wiring.find_recorder()
            if self._recorder is not None:
                is_recorded[:] = [_is_line_of_event]

    def __call__(self, logger: Any, name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        recorder = self._recorder
        if recorder is not None:
            try:
                bound = _calling_logger()
                if bound is not None:
                    _last_recorded.is_spared = _record(recorder, logger, name, event_dict) > 0
                    _last_recorded.logger = weakref.ref(bound)
            except Exception as error:
                not_recorded(error)  # then the line that is printed is recorded
        return event_dict


def _record(recorder: Recorder, logger: Any, name: str, event: MutableMapping[str, Any]) -> int:
    said_level = event.get("level") or name
    level, number = _level(said_level if type(said_level) is str else text_of(said_level))
    if isinstance(logger, logging.Logger) and not logger.isEnabledFor(number):
        return 1  # the event does not reach CloudWatch either
    logger_name = event.get("logger") or getattr(logger, "name", None) or ""
    exc_info = event.get("exc_info")
    error = None if exc_info is None else log_records.error_of_event(exc_info)
    trace = "".join(traceback.format_exception(*error)).rstrip("\n") if error else ""
    created_s = time.time()
    said, *more = event.get("event", ""), trace or event.get("exception"), event.get("stack")
    if type(said) is not str or more != [None, None]:
        said = "\n".join(text_of(text) for text in (said, *more) if text)
    fields = {key if type(key) is str else text_of(key): value for key, value in event.items() if key not in _IN_TEXT}
    details = record_format.kept_logger_text(level, text_of(logger_name))
    if error:
        details += log_records.error_text(error)
    details += record_format.fields_text(fields)
    text = log_records.text_line(level, created_s, recorder.request_id, said)
    return recorder.event(created_s, text, details, number, (error, trace))


@lru_cache(maxsize=100)
def _level(name: str) -> tuple[str, int]:
    """A level's name in capitals, and its number, by structlog's name for it."""
    level = record_format.level_text(_LEVELS.get(name, name))
    return level, log_records.level_number(level)


def _calling_logger() -> Any:
    """The bound logger in whose chain a processor of ours has been called.

    None in a ProcessorFormatter: there the event comes from a log record, which is recorded with the formatter's text.
    """
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_FRAMES_MAX):
        if frame is None:
            break
        if frame.f_code.co_name == "_process_event":
            return frame.f_locals["self"]
        frame = frame.f_back
    return None


def _is_line_of_event() -> int:
    """Is this thread writing the line of an event that is recorded already? See :data:`is_recorded`."""
    recorded_by = _last_recorded.logger
    if recorded_by is None:
        return 0
    frame = sys._getframe(1).f_back
    while frame is not None:
        name = frame.f_code.co_name
        if name in _BETWEEN:
            return 0
        if name == "_proxy_to_logger" and frame.f_locals.get("self") is recorded_by():
            return SPARED if _last_recorded.is_spared else 1
        frame = frame.f_back
    _last_recorded.logger = None
    return 0


def configure_structlog(level: int | None = None) -> None:
    """Configure structlog as a whole: JSON lines for CloudWatch, events with their context for Sumo Logic.

    The layer's own structlog is used where the function has none; ``import structlog`` then works behind this.

    Args:
        level: As in ``logging``; events below it are dropped. By default the function's log level, or INFO.
    """
    try:
        import structlog
    except ImportError:
        wiring.reach_structlog()
        import structlog
    if level is None:
        configured = logging.getLevelName(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO").upper())
        level = configured if isinstance(configured, int) else logging.INFO
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            SumoProcessor(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )
