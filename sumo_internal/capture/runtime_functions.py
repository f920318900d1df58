"""The functions that a line goes through: the runtime's log handlers', of text and of JSON, and a log call's.

Separate from :mod:`~sumo_internal.capture.joint_rendering`, which writes lines in place of these functions as long as
none of them has been replaced. This module notes them before the function's own code runs; that one is loaded later,
when there have been lines.

Each is asked for by identity. What wraps a function in the place of another says that it is equal to it (wrapt, with
which New Relic, Datadog and others wrap functions of ``logging``'s); that takes a few instructions more than to compare
all of them at once.
"""

from __future__ import annotations

import logging
import sys
from logging import Formatter, Handler, Logger, LogRecord
from time import gmtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    AreUnaltered = Callable[[], bool]
    """Is each of the functions the one that was there when only the runtime client was?"""
    Functions = tuple[AreUnaltered, AreUnaltered]
    """For text, for JSON."""

_LIBRARY: Any = logging
_PERCENT_STYLE: Any = logging.PercentStyle


def functions_of(bootstrap: Any, handler: type) -> Functions:
    """Note what a handler of this class goes through."""
    classes = (handler, bootstrap.LambdaLoggerFilter, bootstrap.FramedTelemetryLogSink)
    return _functions_for_text(*classes), _functions_for_json(*classes, bootstrap.JsonFormatter)


def _functions_for_text(handler: Any, filter_class: Any, sink: Any) -> AreUnaltered:
    """Note what is called for a line of text."""
    handle, emit, render, filter = Handler.handle, handler.emit, handler.format, handler.filter
    acquire, release, filter_record, log = handler.acquire, handler.release, filter_class.filter, sink.log
    get_message, format, format_time = LogRecord.getMessage, Formatter.format, Formatter.formatTime
    format_message, uses_time = Formatter.formatMessage, Formatter.usesTime
    style, style_own, style_uses_time = _PERCENT_STYLE.format, _PERCENT_STYLE._format, _PERCENT_STYLE.usesTime
    strftime, converter = _LIBRARY.time.strftime, gmtime

    def are_unaltered() -> bool:
        return (
            Handler.handle is handle
            and handler.emit is emit
            and handler.format is render
            and handler.filter is filter
            and handler.acquire is acquire
            and handler.release is release
            and filter_class.filter is filter_record
            and sink.log is log
            and LogRecord.getMessage is get_message
            and Formatter.format is format
            and Formatter.formatTime is format_time
            and Formatter.formatMessage is format_message
            and Formatter.usesTime is uses_time
            and _PERCENT_STYLE.format is style
            and _PERCENT_STYLE._format is style_own  # what ``format`` calls
            and _PERCENT_STYLE.usesTime is style_uses_time
            and _LIBRARY.time.strftime is strftime  # as ``logging`` sees it
            and Formatter.converter is converter
        )

    return are_unaltered


def _functions_for_json(handler: Any, filter_class: Any, sink: Any, formatter: Any) -> AreUnaltered:
    """Note what is called for a line of JSON."""
    handle, emit, render, filter = Handler.handle, handler.emit, handler.format, handler.filter
    acquire, release, filter_record, log = handler.acquire, handler.release, filter_class.filter, sink.log
    get_message, format, format_time = LogRecord.getMessage, formatter.format, Formatter.formatTime
    utilities = format.__globals__
    encode, level_of = utilities.get("_encode_json"), utilities.get("_format_log_level")
    level_name, strftime, converter = logging.getLevelName, _LIBRARY.time.strftime, gmtime

    def are_unaltered() -> bool:
        return (
            Handler.handle is handle
            and handler.emit is emit
            and handler.format is render
            and handler.filter is filter
            and handler.acquire is acquire
            and handler.release is release
            and filter_class.filter is filter_record
            and sink.log is log
            and LogRecord.getMessage is get_message
            and formatter.format is format
            and Formatter.formatTime is format_time
            and utilities.get("_encode_json") is encode
            and utilities.get("_format_log_level") is level_of
            and logging.getLevelName is level_name
            and _LIBRARY.time.strftime is strftime  # as ``logging`` sees it
            and Formatter.converter is converter
        )

    return are_unaltered


def _functions_for_calls() -> Callable[[Any], bool]:
    """Note what is called for a log call to a logger of a class, until a handler has its log record."""
    handle, call_handlers, make_record = Logger.handle, Logger.callHandlers, Logger.makeRecord
    find_caller, filter = Logger.findCaller, Logger.filter
    factory, init, level_name = _LIBRARY._logRecordFactory, LogRecord.__init__, logging.getLevelName
    current_frame, get_frame = logging.currentframe, sys._getframe
    time, time_ns = _LIBRARY.time.time, _LIBRARY.time.time_ns

    def are_unaltered(logger_class: Any) -> bool:
        return (
            logger_class.handle is handle
            and logger_class.callHandlers is call_handlers
            and logger_class.makeRecord is make_record
            and logger_class.findCaller is find_caller
            and logger_class.filter is filter
            and _LIBRARY._logRecordFactory is factory  # what ``getLogRecordFactory`` returns
            and LogRecord.__init__ is init
            and logging.getLevelName is level_name
            and logging.currentframe is current_frame
            and sys._getframe is get_frame
            and _LIBRARY.time.time is time  # as ``logging`` sees it
            and _LIBRARY.time.time_ns is time_ns
        )

    return are_unaltered


are_calls_unaltered = _functions_for_calls()
"""Is what is called for log calls to a logger of this class the library's own?"""
METHODS = (Logger.handle, Logger.callHandlers, Logger.makeRecord, Logger.findCaller, Logger.filter)
"""What a logger calls of its own until a handler has its log record: the library's."""
OWN_LOG = Logger._log
"""What makes a log record of a log call: the library's own."""
