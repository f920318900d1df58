"""The recorder: everything the function writes becomes records in the spool, here and nowhere else.

It knows which invocation is running (so every line carries its request id, whichever thread wrote it) and which log
record the current thread is emitting (so a line written by a logging handler, whosever, gets its level, logger, fields
and exception). Three things are recorded: text written to a stream, a log record's text, the runtime's report of an
uncaught exception. Each is called after the same text has gone where it goes without us.

This is the hot path: a ``log.info`` passes :meth:`Recorder.record` once. What can be known before is rendered before.
"""

from __future__ import annotations

import logging
import threading
from time import time

from sumo_internal import rendering
from sumo_internal.rendering import RECORD_MAX_BYTES
from sumo_internal.tally import LOSSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sumo_internal.spool import Spool

_LOGGERS_MAX = 1_000
"""Pairs of level and logger name whose text is kept; a program with more loggers renders it each time."""

_PARTIAL_MAX_CHARS = 256 * 1024
"""Text without a line end that is held back per thread and stream; beyond it what is there becomes a record."""


class Current(threading.local):
    """What the running thread is in the middle of; the class attributes are every thread's beginning."""

    record: logging.LogRecord | None = None
    """The log record whose handlers are running."""
    failure: Mapping[str, Any] | None = None
    """The error that the runtime is reporting (its ``error_result``)."""


current = Current()


def note_records() -> None:
    """Make every thread note the log record whose handlers it runs."""
    call_handlers = logging.Logger.callHandlers

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:
        outer = current.record  # a handler that logs: its own record comes in between
        current.record = record
        try:
            call_handlers(self, record)
        finally:
            current.record = outer

    logging.Logger.callHandlers = callHandlers  # type: ignore[method-assign]  # what Sentry does, for the same reason


class Recorder:
    """Turns what was written into records and appends them to a spool."""

    def __init__(self, spool: Spool, keys: Mapping[str, str | bool | None]) -> None:
        """Record into a spool.

        Args:
            spool: Where the lines go.
            keys: Keys that all records of this process share: ``logGroup``, ``logStream``, ``LayerVersion``, ….
        """
        self.spool = spool
        self._append = spool.append
        self._keys = dict(keys)
        self._loggers: dict[tuple[str, str], str] = {}
        self._is_cold = True
        self._partials: dict[tuple[int, int], str] = {}
        self.request_id: str | None = None
        """Of the invocation that lines belong to; None in the init phase."""
        self._context = ""
        self.enter_invocation(None)

    def enter_invocation(
        self, request_id: str | None, *, trace_id: str | None = None, tenant_id: str | None = None
    ) -> None:
        """From now on lines belong to this invocation; ``None`` is the init phase."""
        self.request_id = request_id
        keys = {"requestID": request_id, **self._keys, "IsColdStart": self._is_cold}
        self._context = rendering.context_text({**keys, "traceId": trace_id, "tenantId": tenant_id})

    def leave_invocation(self) -> None:
        """The invocation is over: text without a line end will not get one, and the environment is warm from here.

        Lines of background threads still belong to it until the next one begins.
        """
        self._is_cold = False
        self.flush()

    def flush(self) -> None:
        """Record text that waits for its line end."""
        for key in list(self._partials):
            text = self._partials.pop(key, "")
            if text.strip():
                self.line(text)

    def written(self, text: str, stream: int) -> None:
        """Record what was written to a stream, by this thread.

        Without a log record each line is a record; with one the whole text is, line ends inside included. Text waits
        for its line end: ``print`` writes text and end apart, and threads do so in between each other.

        Args:
            text: What was written.
            stream: The stream's number, 1 or 2: their texts are kept apart.
        """
        record = current.record
        if record is not None and text[-1:] == "\n" and not self._partials:
            self.record(text[:-1], record)
            return
        key = (threading.get_ident(), stream)
        text = self._partials.pop(key, "") + text
        if record is not None or current.failure is not None:
            if text[-1:] != "\n":
                self._wait(key, text)
            elif record is not None:
                self.record(text[:-1], record)
            else:
                self.failed(text[:-1])
            return
        *lines, rest = text.split("\n")
        for line in lines:
            if line and not line.isspace():
                self.line(line)
        if rest:
            self._wait(key, rest)

    def _wait(self, key: tuple[int, int], text: str) -> None:
        if len(text) < _PARTIAL_MAX_CHARS:
            self._partials[key] = text
        else:
            self.line(text)

    def record(self, text: str, record: logging.LogRecord) -> None:
        """Record the text that a logging handler made of a log record."""
        key = (record.levelname, record.name)
        details = self._loggers.get(key)
        if details is None:
            details = rendering.logger_text(*key)
            if len(self._loggers) < _LOGGERS_MAX:
                self._loggers[key] = details
        if record.exc_info:
            details += rendering.exception_text(record)
        if text[:1] == "{":
            # The formatter made an object of the record: its fields are in there already.
            message = rendering.message_text(text)[0]
        else:
            message = rendering.quote(text)
            details += rendering.extra_text(record)
        self._put(record.created, text, message, details, record.levelno)

    def failed(self, text: str) -> None:
        """Record the runtime's report of an uncaught exception (:attr:`Current.failure` holds it, as it made it)."""
        failure = current.failure or {}
        details = ',"level":"ERROR"' + rendering.failure_text(
            failure.get("errorType", ""), failure.get("errorMessage", ""), failure.get("stackTrace", [])
        )
        self._put(time(), text, rendering.message_text(text)[0], details, logging.ERROR)

    def account(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Record what was retried, failed over and lost so far, as a record of its own type."""
        sentence, details = rendering.accounting_text(counts, LOSSES)
        self._append(
            f'{{"time":"{rendering.time_text(time())}","type":"sumo.accounting","message":{rendering.quote(sentence)}'
            f',"accounting":{details}{self._context}',
            logging.WARNING,
        )

    def line(self, text: str) -> None:
        """Record one line of text."""
        message, details = rendering.message_text(text)
        self._put(time(), text, message, details, logging.INFO)

    def _put(self, created_s: float, text: str, message: str, details: str, level: int) -> None:
        start = (
            f'{{"time":"{rendering.time_text(created_s)}","type":"function","message":{message}{details}{self._context}'
        )
        # A character is at most three bytes of UTF-8, or six as an escape that is counted as six characters already.
        if len(start) * 3 < RECORD_MAX_BYTES or len(start.encode("utf-8", "backslashreplace")) < RECORD_MAX_BYTES - 100:
            self._append(start, level)
        else:
            self._put_parts(created_s, text, details, level)

    def _put_parts(self, created_s: float, text: str, details: str, level: int) -> None:
        """Record something too long for one record, as numbered parts of its text.

        Fields that are too long themselves are put behind the text, as the JSON text they are.
        """
        if len(details.encode("utf-8", "backslashreplace")) > RECORD_MAX_BYTES // 8:
            text, details = f"{text}\n{{{details[1:]}}}", ""
        prefix = f'{{"time":"{rendering.time_text(created_s)}","type":"function","message":'
        for message, numbers in rendering.parts(text):
            self._append(f"{prefix}{message}{details}{numbers}{self._context}", level)
