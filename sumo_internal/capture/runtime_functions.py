"""The functions that a line goes through: the runtime's log handlers', of text and of JSON, and a log call's.

Separate from :mod:`~sumo_internal.capture.joint_rendering`, which writes lines in place of these functions as long as
none of them has been replaced. This module notes them before the function's own code runs; that one is loaded later,
when there have been lines.
"""

from __future__ import annotations

import logging
import sys
from logging import Formatter, Handler, Logger, LogRecord, PercentStyle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Called = tuple[Callable[[], tuple[object, ...]], tuple[object, ...]]
    """Tells what is called now, and what was called when only the runtime client was there."""
    Functions = tuple[Called, Called]
    """For text, for JSON."""


def functions_of(bootstrap: Any, handler: type) -> Functions:
    """What a handler of this class goes through."""
    classes = (handler, bootstrap.LambdaLoggerFilter, bootstrap.FramedTelemetryLogSink)
    text, json = called_for_text(*classes), called_for_json(*classes, bootstrap.JsonFormatter)
    return (text, text()), (json, json())


def called_for_text(handler: Any, filter_class: Any, sink: Any) -> Callable[[], tuple[object, ...]]:
    """Make what tells what is called for a line of text, now."""

    def called() -> tuple[object, ...]:
        return (
            Handler.handle,
            handler.emit,
            handler.format,
            handler.filter,
            handler.acquire,
            handler.release,
            filter_class.filter,
            sink.log,
            LogRecord.getMessage,
            Formatter.format,
            Formatter.formatTime,
            Formatter.formatMessage,
            Formatter.usesTime,
            PercentStyle.format,
            PercentStyle._format,  # type: ignore[attr-defined]  # what ``format`` calls
            PercentStyle.usesTime,
            logging.time.strftime,  # type: ignore[attr-defined]  # as ``logging`` sees it
        )

    return called


def called_for_json(handler: Any, filter_class: Any, sink: Any, formatter: Any) -> Callable[[], tuple[object, ...]]:
    """Make what tells what is called for a line of JSON, now."""

    def called() -> tuple[object, ...]:
        utilities = formatter.format.__globals__
        return (
            Handler.handle,
            handler.emit,
            handler.format,
            handler.filter,
            handler.acquire,
            handler.release,
            filter_class.filter,
            sink.log,
            LogRecord.getMessage,
            formatter.format,
            Formatter.formatTime,
            utilities.get("_encode_json"),
            utilities.get("_format_log_level"),
            logging.getLevelName,
            logging.time.strftime,  # type: ignore[attr-defined]  # as ``logging`` sees it
        )

    return called


def called_for_calls() -> tuple[object, ...]:
    """What is called for a log call beside the logger's own methods, until a handler has its log record, now."""
    return (
        logging._logRecordFactory,  # type: ignore[attr-defined]  # what ``getLogRecordFactory`` returns
        LogRecord.__init__,
        logging.getLevelName,
        logging.currentframe,
        sys._getframe,
        logging.time.time,  # type: ignore[attr-defined]  # as ``logging`` sees it
        logging.time.time_ns,  # type: ignore[attr-defined]
    )


CALLED_FOR_CALLS = called_for_calls()
"""The library's own."""
METHODS = (Logger.handle, Logger.callHandlers, Logger.makeRecord, Logger.findCaller, Logger.filter)
"""What a logger calls of its own until a handler has its log record: the library's."""
OWN_LOG = Logger._log
"""What makes a log record of a log call: the library's own."""
