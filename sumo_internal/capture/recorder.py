"""The recorder: everything the function writes becomes records in the spool, here and nowhere else.

It knows which invocation is running, so every line carries that invocation's request id, whichever thread wrote it. It
also knows what the current thread is writing about: a log record whose handler runs (the text of any logging handler
gets the record's level, logger, fields and exception), an error that is being reported, or nothing in particular. Each
text comes here after it has gone where it goes without us.

The main path: :meth:`Recorder.written` (a stream was written to) has lines put together, :meth:`Recorder.record` adds
what a log record knows, and ``_put`` makes one line of JSON of it and appends that to the spool. This is the hot path:
what is known earlier is rendered earlier.

A finaliser or a signal handler that writes may interrupt any of this at any instruction. What is kept between two calls
is therefore taken and put back in single steps, which cannot be interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from _thread import get_ident
from functools import update_wrapper
from logging import LogRecord
from time import time

from sumo_internal import diagnostics
from sumo_internal.capture import bounds, log_records, record_format
from sumo_internal.capture.lines import Lines
from sumo_internal.capture.log_records import usual, usual_of_client
from sumo_internal.capture.multiline import ENDINGS
from sumo_internal.capture.record_format import legible, quote, time_text
from sumo_internal.capture.reentrancy import (
    FILTERS_REPLACE,
    as_handle,
    current,
    is_recorded,
    need_room,
    not_recorded,
    strand,
    subjects,
    too_deep,
)
from sumo_internal.spool.counters import CUT, EXCLUDED, LOSSES, UNRECORDED
from sumo_internal.spool.partials import CREATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from typing import Any, Protocol

    from sumo_internal.capture.endings import Endings
    from sumo_internal.capture.flight import Flight
    from sumo_internal.capture.summary import Append, Summary
    from sumo_internal.spool.writer import Spool

    Said = tuple[log_records.Error | None, str]
    """The exception of what is recorded, and how it reads at the end of the text."""

    class Processing(Protocol):
        """What records pass, where a setting asks for it: :class:`sumo_internal.processing.pipeline.Pipeline`."""

        partial_max_chars: int
        """Bound on text without a line end that is held back."""

        def passed(
            self, text: str, details: str, level: int, said: Said, *, is_held: bool = False
        ) -> tuple[str, str, int] | None:
            """Text, fields (as a piece) and level of a record as it may leave; None where a setting keeps it back."""

        def append(self, start: str, level: int) -> int:
            """Like :meth:`Spool.append`, for a line that may have to wait."""

        def cut(self, text: str) -> int:
            """How much of a text that has no line end yet may be recorded now."""

        def together(self, text: str, stream: int, thread: int, work: Callable[..., None], *arguments: object) -> None:
            """Do something with a text that was written at once."""

        def with_arguments(self, named: dict[Any, Any], put: Callable[..., int], *arguments: object) -> int:
            """Put a record of whose text these are named parts."""

        def flush(self, flush: Callable[..., None], *, is_final: bool) -> None:
            """Have text recorded that waits for its line end."""

        def enter_invocation(self, request_id: str | None, execution_arn: str | None = None) -> None: ...

        def leave_invocation(self) -> None: ...

        def leave_init(self) -> None: ...

        def begin_again(self) -> None: ...


_NO_ERROR: Said = (None, "")

_LOGGERS_MAX = 1_000
"""Pairs of level and logger name whose text is kept; a program with more loggers renders it each time."""

_SHORT_CHARS = 5_000
"""A text up to here is a record that fits: six bytes a character at most, and as much again for the other keys."""

_PRINTED_CHARS = 2_000
"""A text up to here fits where text without a line end is kept, and into a record, whatever the text says of itself."""

_ODD_ENDS = frozenset((*ENDINGS, *" \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0", ""))
"""What a line ends with that is blank, perhaps, or the beginning of a value of several lines, perhaps."""

_NAME_MAX_CHARS = 1_000
"""Length of a logger's name whose text is kept."""

_EXECUTION_KEY = b'"DurableExecutionArn"'
"""What an event of a durable function has, in its beginning or its end; all other events pay for that question only."""

_NESTING_MAX = 8
"""Depth of log records that the values of log records log when they are asked for their text; deeper ones go without
values."""


unended: dict[LogRecord, tuple[Recorder, list[str]]] = {}
"""What handlers have written of their log records so far, still without a line end. Some handlers write in pieces, and
the runtime's handler writes no line end behind a traceback when it writes to stdout."""


_EMIT_LINE = 11 if sys.version_info < (3, 13) else 10
"""``self.emit(record)`` in the function below that this Python has, in lines from its ``def`` on."""


def note_records() -> None:
    """Make every thread note the log record that a handler of its emits."""

    # Stands in for logging's own, and differs from it only by the note. A filter may hand on another record, with less
    # in it, and which record is emitted is known only in here. The lock is taken as logging's own takes it, which from
    # Python 3.13 on asks no method: what a signal handler raised in ``acquire`` or ``release`` would leave it taken.
    # Nor is a function of Python's called to take the note back: a signal handler that raises where that begins would
    # leave the note for ever, and all that the thread prints would be taken for the log record's.
    if sys.version_info < (3, 13):

        def handle(self: logging.Handler, record: LogRecord) -> Any:
            passed: Any = self.filter(record)
            if passed is not record and isinstance(passed, LogRecord) and FILTERS_REPLACE:
                record = passed
            if passed:
                thread = strand()
                self.acquire()
                try:  # at once: what a signal handler raises here leaves the lock taken
                    outer = subjects.get(thread)  # a handler that logs: its own record comes in between
                    try:
                        subjects[thread] = record
                        self.emit(record)
                        get_ident()  # a call: the handler of a signal that has come runs here, and not in ``release``
                    finally:
                        if outer is None:
                            subjects.pop(thread, None)
                        else:
                            subjects[thread] = outer
                finally:
                    self.release()
                if unended:
                    _record_unended(record)
            return passed

    else:

        def handle(self: Any, record: LogRecord) -> Any:
            passed: Any = self.filter(record)
            if passed is not record and isinstance(passed, LogRecord):
                record = passed
            if passed:
                thread = strand()
                with self.lock:
                    outer = subjects.get(thread)  # a handler that logs: its own record comes in between
                    try:
                        subjects[thread] = record
                        self.emit(record)
                    finally:
                        if outer is None:
                            subjects.pop(thread, None)
                        else:
                            subjects[thread] = outer
                if unended:
                    _record_unended(record)
            return passed

    as_handle(handle, 1, _EMIT_LINE)
    _note_own_handles()
    # Not Logger.callHandlers: a QueueListener or MemoryHandler hands records to handlers without it.
    logging.Handler.handle = handle  # type: ignore[method-assign]  # nothing else sees all records of all loggers


def _record_unended(record: LogRecord) -> None:
    """Record what a handler has written of this log record without a line end."""
    if record in unended:
        recorder, pieces = unended.pop(record)
        with diagnostics.guard("recording a log record"):
            recorder.record("".join(pieces), record)


def _replay_finder() -> Callable[[], bool]:
    from sumo_internal.capture import durable

    return durable.is_replay


def execution_of(event: object) -> str | None:
    """The durable execution that an invocation's event names; None for an ordinary one's."""
    if type(event) is not bytes:
        return None
    end_bytes = bounds.EVENT_END_BYTES
    if event.find(_EXECUTION_KEY, 0, end_bytes) < 0 and event.find(_EXECUTION_KEY, -end_bytes) < 0:
        return None
    from sumo_internal.capture import durable  # no other function pays for it

    return durable.execution_arn(event)


def _created_s(record: LogRecord) -> float:
    """When a log record was made; now, if it says nothing that is a time."""
    try:
        time_text(record.created)
        return record.created
    except BaseException as error:
        diagnostics.pass_on(error)
        return time()


def _cut(text: str) -> int:
    """Where a text without a line end may be cut: beside our own secrets."""
    from sumo_internal import own_secrets  # few functions write such texts

    return own_secrets.cut(text)


def _note_own_handles() -> None:
    """Do the same for handlers with a ``handle`` of their own, which may not call the one of ``logging``.

    Such a class is seen when its first handler is made; a log call pays nothing for that.
    """
    init = logging.Handler.__init__
    noted: set[object] = set()

    def __init__(self: logging.Handler, level: int | str = logging.NOTSET) -> None:
        init(self, level)
        owner: Any = next(kind for kind in type(self).__mro__ if "handle" in kind.__dict__)
        if owner is not logging.Handler and owner.__module__.partition(".")[0] not in ("logging", "awslambdaric"):
            with diagnostics.guard("noting a handler"):
                if owner not in noted:
                    noted.add(owner)
                    owner.handle = _noting(owner.handle)

    logging.Handler.__init__ = __init__  # type: ignore[method-assign]


def _noting(own: Any) -> Any:
    def handle(self: logging.Handler, record: LogRecord) -> Any:
        thread = strand()
        outer = subjects.get(thread)
        try:
            if isinstance(record, LogRecord):
                subjects[thread] = record
            passed = own(self, record)
        finally:  # as above
            if outer is None:
                subjects.pop(thread, None)
            else:
                subjects[thread] = outer
            if unended:
                _record_unended(record)
        return passed

    handle.__code__ = handle.__code__.replace(co_filename=f"{os.path.dirname(logging.__file__)}/sumo_internal")
    return update_wrapper(handle, own)


class Recorder:
    """Turns what was written into records and appends them to a spool."""

    make_stream: Callable[..., Any] | None = None
    is_flight = False
    """What is recorded here is below the function's own level."""
    make_sink: Callable[..., Any] | None = None
    """What hears the two streams, and the runtime's log sink, for this recorder; None for what does so usually."""

    def __init__(
        self,
        spool: Spool,
        keys: Mapping[str, str | bool | None],
        *,
        is_enhanced: bool = True,
        is_joined: bool = True,
        is_ansi_stripped: bool = False,
        more_keys: Container[str] = (),
        replays: str = "marked",
        processing: Processing | None = None,
    ) -> None:
        """Record into a spool.

        Args:
            spool: Where the lines go.
            keys: Keys that all records of this process share: ``logGroup``, ``logStream``, ``LayerVersion``, ….
            is_enhanced: False records texts as ``{"message":…}`` and objects as themselves, without any other key
                (SUMO_ENHANCE_JSON_LOGS); the spool must not add its ids either then.
            is_joined: Lines that belong together are one record (SUMO_MULTILINE).
            is_ansi_stripped: Escape sequences of terminals are left out (SUMO_STRIP_ANSI).
            more_keys: ``trace_id``, ``invoked_arn`` (SUMO_CONTEXT_KEYS).
            replays: What becomes of lines that a durable execution writes once more: they are ``marked``, ``dropped``
                (SUMO_DROP_REPLAYS), or sent like all others (``kept``, SUMO_MARK_REPLAYS).
            processing: What the records pass; None for nothing, which costs nothing.
        """
        self.spool = spool
        self._processing = processing
        self.append: Append = spool.append if processing is None else processing.append
        self.spared_below = 0
        """Lines below this level, which rules keep back, need not go to CloudWatch either."""
        self.endings: Endings | None = None
        """Knows how invocations end, where a setting asks for that."""
        self.flight: Flight | None = None
        """Holds what the function does not show (SUMO_DEBUG_ON_FAILURE)."""
        self.summary: Summary | None = None
        """Says at each invocation's end what it has logged (SUMO_INVOCATION_SUMMARY)."""
        self._keys = dict(keys)
        self._is_enhanced = is_enhanced
        self.is_joined = is_joined
        self._is_ansi_stripped = is_ansi_stripped
        self._has_trace_keys, self._has_arn = "trace_id" in more_keys, "invoked_arn" in more_keys
        self._replays = replays
        self.loggers: dict[int, dict[str, str]] = {}
        self._is_cold = True
        self._tracing: Any = None
        self._start_of = (0.0, 0.0, "")
        """How records of a millisecond begin: its begin and end, and the text."""
        self._partials = spool.partials
        self.takes_short_way = False
        """Is a record what :meth:`record` makes of it, without anything that :meth:`_put` might add or take away?"""
        spool.partials.is_wiped = processing is not None
        self._lines = self._new_lines()
        self.request_id: str | None = None
        """The id of the invocation that lines belong to; None in the init phase."""
        self._tenant_id: str | None = None
        self._execution_arn: str | None = None
        self._is_replay: Callable[[], bool] | None = None
        """Asked for each line of a durable execution; None where no line is a repetition, or none is to be known."""
        self.context = ""
        self.on_invocation: Callable[[], None] | None = None
        """Called when lines belong to another invocation."""
        self.enter_invocation(None)
        spool.on_fork = self._forget_unwritten

    def _new_lines(self) -> Lines:
        return self._lines_to(self.line)

    def _lines_to(self, record: Callable[[str, float | None], object]) -> Lines:
        partials, is_joined, processing = self.spool.partials, self.is_joined, self._processing
        if processing is None:
            return Lines(record, partials, cut=_cut, is_joined=is_joined)
        return Lines(record, partials, processing.partial_max_chars, processing.cut, is_joined=is_joined)

    # Invocations.

    def enter_invocation(
        self,
        request_id: str | None,
        *,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        invoked_arn: str | None = None,
        execution_arn: str | None = None,
    ) -> None:
        """From now on lines belong to this invocation; ``None`` is the init phase.

        Args:
            request_id: The invocation's.
            trace_id: The X-Ray header, ``Root=…;Parent=…;Sampled=…``.
            tenant_id: The tenant's.
            invoked_arn: The ARN that the caller has invoked, an alias's perhaps.
            execution_arn: The durable execution that it is a part of, see :func:`execution_of`.
        """
        # No log call or report of this thread's is under way: what one has left that a signal handler has ended.
        subjects.pop(strand(), None)
        keys = {"requestID": request_id, **self._keys, "IsColdStart": self._is_cold}
        if self._has_arn:
            keys["invokedFunctionArn"] = invoked_arn
        more = {"traceId": record_format.trace_id(trace_id), "tenantId": tenant_id, "executionArn": execution_arn}
        self._tenant_id = tenant_id
        self._enter(request_id, record_format.context_text({**keys, **more}), execution_arn)

    def _enter(self, request_id: str | None, context: str, execution_arn: str | None) -> None:
        """From now on lines belong to this invocation, and share this context."""
        self.request_id, self.context = request_id, context
        self._execution_arn = execution_arn
        self._is_replay = _replay_finder() if execution_arn and self._replays != "kept" else None
        if self.endings is not None:
            self.endings.begin(is_durable=execution_arn is not None)
        if self.flight is not None:
            self.flight.begin()
        if self.summary is not None:
            self.summary.begin()
        self._note_context(is_running=self.summary is not None and request_id is not None)
        # The function loads OpenTelemetry, or nothing does. Where it is not loaded, no line pays for it.
        self._tracing = sys.modules.get("opentelemetry.trace") if "opentelemetry.sdk.trace" in sys.modules else None
        is_plain = self._processing is None and self._is_enhanced and not self._is_ansi_stripped
        self.takes_short_way = is_plain and self._tracing is None and self._is_replay is None
        if self._processing is not None:
            self._processing.enter_invocation(request_id, execution_arn)
        if self.on_invocation is not None:
            self.on_invocation()

    def _note_context(self, *, is_running: bool) -> None:
        """Leave what all records share, for whoever records what this process has begun and not finished."""
        self.spool.partials.set_context(self.context, is_enhanced=self._is_enhanced, is_running=is_running)

    @property
    def has_keys(self) -> bool:
        """Do records have keys of ours?"""
        return self._is_enhanced

    def state(self) -> tuple[str | None, str, bool, str | None]:
        """What another process has to know, to record for the same invocation."""
        return self.request_id, self.context, self._is_cold, self._execution_arn

    def adopt(self, state: tuple[str | None, str, bool, str | None]) -> None:
        """Record as the process does from which this state comes."""
        request_id, context, self._is_cold, execution_arn = state
        self._enter(request_id, context, execution_arn)

    def leave_init(self) -> None:
        """The init phase is over, and the function's module has been imported."""
        if self._processing is not None:
            self._processing.leave_init()
        if self.flight is not None:
            self.flight.end()

    def pause(self) -> None:
        """Text without a line end will not get one soon: a snapshot is about to be taken."""
        self._flush(is_final=False)

    def begin_again(self, log_stream: str) -> None:
        """This is a copy of the process, and its spool has a name of its own."""
        self._keys["logStream"] = log_stream
        self._is_cold = True
        if self._processing is not None:
            self._processing.begin_again()
        if self.flight is not None:
            self.flight.begin_again()
        self.enter_invocation(None)

    def leave_invocation(self) -> None:
        """The invocation is over: text without a line end will not get one, and the environment is warm from here.

        Until the next invocation begins, lines of background threads still belong to this one. What such a thread is
        just writing is left to that thread.
        """
        self._is_cold = False
        self.pause()
        if self.endings is not None:
            self.endings.end()
        if self.flight is not None:
            self.flight.end()
        if self.summary is not None:
            self.summary.end(self.context)
            self._note_context(is_running=False)
        if self._processing is not None:
            self._processing.leave_invocation()

    def flush(self) -> None:
        """Record all text that waits for its line end."""
        self._flush(is_final=True)

    def _flush(self, *, is_final: bool) -> None:
        self._catch_up_all()
        if self._processing is None:
            self._lines.flush(is_final=is_final)
        else:
            self._processing.flush(self._lines.flush, is_final=is_final)

    def begun(self, stream: int, thread: int) -> tuple[str, bool]:
        """The line of a stream that a thread has begun, and whether lines before it wait for the same value."""
        return self._lines.line(stream, thread), self._lines.is_within_value(stream, thread)

    def _forget_unwritten(self) -> None:
        """In a forked child: what waits here waits in the parent too, and is the parent's to record."""
        too_deep.clear()
        for thread in [*subjects]:
            if thread != strand():  # the parent's, whose number a thread of the child's may get
                subjects.pop(thread, None)
        if self._lines.has_any:
            self._lines = self._new_lines()

    # What was written.

    def written(self, text: str, stream: int) -> None:
        """Record what was written to a stream, by this thread.

        Without a subject each line is a record; a log record's text is one, line ends inside included, and so is the
        report of an error.

        Args:
            text: What was written; bytes in it as surrogates (``surrogateescape``).
            stream: The stream's number, 1 or 2: their texts are kept apart.

        Raises:
            RecursionError: Here is too little room. Let it pass: the text is recorded later.
        """
        try:
            if type(text) is not str or subjects or too_deep or is_recorded or not self.takes_short_way:
                self._written_otherwise(text, stream)
                return
            # What ``print`` writes, a text and its line end, is recorded from here. This is what ``_written_otherwise``
            # does, without the calls and questions that such a text does not need.
            lines, thread = self._lines, get_ident()
            all_begun = lines.begun[stream]
            if text == "\n":
                begun = all_begun.pop(thread, None)
                try:
                    if begun is None or len(begun) != 4 or not begun[2] or lines.incomplete[stream]:
                        lines.end(text, stream, thread, held=begun)
                        return
                    slot, _, created_s, line = begun
                    if line < "{":
                        begin_s, end_s, start = self._start_of
                        if not begin_s <= created_s < end_s:
                            start = self._begin_record(created_s)
                        self.append(f"{start}{quote(line)}{self.context}", 20)
                    else:
                        self.line(line, created_s)
                except RecursionError:
                    if begun is not None:
                        all_begun[thread] = begun
                    raise
                if slot is not None:
                    partials = self._partials
                    try:
                        partials.words[slot[1]] = 0
                        partials.free.append(slot)
                    except ValueError:
                        partials.end(slot)  # the segment is just changing
            elif text < "|" and "\n" not in text and text[-1:] not in _ODD_ENDS and text.isascii():
                partials = self._partials
                size = len(text)
                if thread in all_begun or size > _PRINTED_CHARS or not partials.is_mapped:
                    lines.add(text, stream, thread)
                    return
                slot = None
                created_s = time()
                try:
                    begin, word = slot = partials.free.pop()
                    partials.header[begin : begin + size] = text.encode()
                    partials.times[word + CREATED] = created_s
                    partials.words[word] = size
                except (IndexError, ValueError, RecursionError):
                    pass  # no slot is free; the segment is just changing
                begun = [slot, size, created_s, text]
                if all_begun.setdefault(thread, begun) is not begun:
                    lines.hold_odd(all_begun, thread, begun)
            else:
                line = text[:-1]
                if (
                    text[-1:] == "\n"
                    and line[-1:] not in _ODD_ENDS
                    and "\n" not in line
                    and thread not in all_begun
                    and text < "|"
                    and text.isascii()
                    and not lines.incomplete[stream]
                ):
                    self.line(line, time())
                else:
                    lines.add(text, stream, thread)
        except RecursionError:
            raise
        except Exception as error:
            self.not_recorded(text, error)

    def _begin_record(self, created_s: float) -> str:
        """How records of a millisecond begin: a function that prints writes many in one."""
        begin_s, end_s, text = record_format.millisecond(created_s)
        start = f'{{"time":"{text}","type":"function","message":'
        self._start_of = begin_s, end_s, start
        return start

    def _written_otherwise(self, text: str, stream: int) -> None:
        """Record what was written to a stream, whatever it is and whatever it is about."""
        if is_recorded and is_recorded[0]():
            return
        thread = get_ident()
        if too_deep:
            self.catch_up(thread)
        subject = subjects.get(strand()) if subjects else None
        try:
            if subject is None:
                if type(text) is str or not self._of_loguru(text):
                    self._lines.add(text, stream, thread)
            elif isinstance(subject, list):
                subject += [self._lines.take(stream) + text]
            else:
                if text[-1:] == "\n":
                    if unended and subject in unended:
                        text = "".join(unended[subject][1]) + text
                    self.record(text if text.isascii() else legible(text), subject)
                    unended.pop(subject, None)
                else:
                    unended.setdefault(subject, (self, []))[1].append(text)
        except RecursionError:
            raise
        except Exception as error:
            self.not_recorded(text, error)

    def not_recorded(self, text: str, error: Exception) -> None:
        """Count and say that a text could not be recorded.

        Raises:
            Exception: The error, if it is the function's own. Let it pass.
        """
        not_recorded(error)
        self.spool.count(UNRECORDED, 1, len(record_format.text_of(text)))

    def _of_loguru(self, text: str) -> bool:
        """Record a text that loguru wrote, as the one record that it is; False for any other."""
        details = log_records.loguru_text(getattr(text, "record", None))
        if details:
            text = text.rstrip("\n")
            self._put(time(), text, record_format.message_text(text)[0], details, log_records.level_in(details))
        return details != ""

    def catch_up(self, thread: int) -> None:
        """Record what a thread has written and could not be recorded.

        Raises:
            RecursionError: Here is too little room as well. The thread's next text must wait, too.
        """
        late = too_deep.pop(thread, [])
        for number, (created_s, text, stream, subject) in enumerate(late):
            try:
                if isinstance(subject, LogRecord):
                    self.record(legible(text), subject)
                elif self._processing is None:
                    self._lines.add(text, stream, thread, created_s)
                else:
                    self._processing.together(text, stream, thread, self._lines.add, text, stream, thread, created_s)
            except RecursionError:
                too_deep[thread] = late[number:]
                raise

    def _catch_up_all(self) -> None:
        for thread in list(too_deep):
            self.catch_up(thread)

    # What the following return is of use where CloudWatch is spared: not 0 for what need not go there, too.

    def record(self, text: str, record: LogRecord) -> int:
        """Record the text that a logging handler made of a log record, with or without its line end.

        Raises:
            RecursionError: Here is too little room. Let it pass: the text is recorded later.
        """
        start, is_usual, written = "", False, text
        try:
            text = text.removesuffix("\n")
            details = self.loggers[record.levelno][record.name]
            attributes = record.__dict__
            tenant_id = self._tenant_id
            if "aws_request_id" in attributes:  # the runtime's filter has seen it
                is_usual = usual_of_client.issuperset(attributes)
                is_usual = is_usual and attributes.get("tenant_id", tenant_id) is tenant_id
            else:
                is_usual = usual.issuperset(attributes)
            if is_usual and not record.exc_info and text < "{" and len(text) < _SHORT_CHARS and self.takes_short_way:
                # Nearly always. This is what ``_put`` does, without the steps that such a record does not need.
                start = (
                    f'{{"time":"{time_text(record.created)}","type":"function","message":{quote(text)}{details}'
                    f"{self.context}"
                )
        except KeyError:
            pass  # the first one of its level and logger
        except RecursionError:
            raise
        except BaseException as error:  # the log record is not as the library makes it
            diagnostics.pass_on(error)
        if start:
            return self.append(start, record.levelno)
        return self._record_fully(written, record, is_usual=is_usual)

    def _record_fully(self, text: object, record: LogRecord, *, is_usual: bool) -> int:
        """Record a log record with all that it has; where that cannot be had, its text and time alone."""
        text = (str.__str__(text) if isinstance(text, str) else record_format.text_of(text)).removesuffix("\n")
        try:
            details = self._logger_text(record)
            number = getattr(record, "levelno", None)
            level = number if isinstance(number, int) else log_records.level_in(details)
            exc_info, exc_text = getattr(record, "exc_info", None), getattr(record, "exc_text", None)
            # Without keys of ours they are not sent; but what they hide is to be hidden in the text.
            has_details = self._is_enhanced or self._processing is not None
            if has_details and not (is_usual and not exc_info):
                details += self._details(record, text)
            said: Said = (log_records.error_of(exc_info), exc_text or "")
            created_s = _created_s(record)
        except RecursionError:
            raise
        except BaseException as error:
            diagnostics.pass_on(error)
            created_s, details, level, said = time(), "", logging.INFO, _NO_ERROR
        try:
            message = record_format.message_text(text)[0]
            named = getattr(record, "args", None)
            if type(named) is dict and self._processing is not None:
                return self._processing.with_arguments(named, self._put, created_s, text, message, details, level, said)
            return self._put(created_s, text, message, details, level, said)
        except RecursionError:
            raise
        except Exception as error:
            self.not_recorded(text, error)
            return 0

    def _logger_text(self, record: LogRecord) -> str:
        level, name = getattr(record, "levelno", None), getattr(record, "name", None)
        if type(level) is not int or type(name) is not str or len(name) > _NAME_MAX_CHARS:
            return log_records.logger_of(record)
        details = self.loggers.get(level, {}).get(name)
        if details is None:
            details = log_records.logger_of(record)
            if log_records.is_named(level) and sum(map(len, self.loggers.values())) < _LOGGERS_MAX:
                self.loggers.setdefault(level, {})[name] = details
        return details

    def _details(self, record: LogRecord, text: str) -> str:
        """A log record's exception and fields. Asking values for their text runs the function's code, which may log, or
        print what is no text of this record."""
        if current.nesting == _NESTING_MAX:
            return ""
        thread, subject = strand(), None
        current.nesting += 1
        try:
            subject = subjects.pop(thread, None)
            fields = log_records.extra_text(record, text, self._tenant_id, self._execution_arn)
            return log_records.exception_text(record) + fields
        finally:
            if subject is not None:
                subjects[thread] = subject
            current.nesting -= 1

    def line(self, text: str, created_s: float | None = None) -> int:
        """Record one line of text."""
        is_plain = text[:1] != "{" and "\n" not in text
        message, details = (quote(text), "") if is_plain else record_format.line_text(text)
        level = log_records.level_in(details) if details else logging.INFO
        created_s = created_s or time()
        if self.takes_short_way and len(text) < _PRINTED_CHARS:
            begin_s, end_s, start = self._start_of
            if not begin_s <= created_s < end_s:
                start = self._begin_record(created_s)
            return self.append(f"{start}{message}{details}{self.context}", level)
        return self._put(created_s, text, message, details, level)

    def failed(self, text: str, details: str) -> int:
        """Record the report of an error.

        Args:
            text: The report.
            details: The error's own keys, as a piece of an object's text.
        """
        message = record_format.message_text(text)[0]
        return self._put(time(), text, message, f',"level":"ERROR"{details}', logging.ERROR)

    def event(self, created_s: float, text: str, details: str, level: int, said: Said) -> int:
        """Record an event that was not written.

        Args:
            created_s: POSIX time.
            text: What it says, with the exception's traceback.
            details: Its keys, as a piece of an object's text.
            level: As in ``logging``.
            said: Its exception and the traceback as it stands in the text.
        """
        if (
            text < "{"
            and self.takes_short_way
            and len(text) < _PRINTED_CHARS
            and len(details) < _SHORT_CHARS
            and bounds.MARK not in details
        ):
            begin_s, end_s, start = self._start_of
            if not begin_s <= created_s < end_s:
                start = self._begin_record(created_s)
            return self.append(f"{start}{quote(text)}{details}{self.context}", level)
        return self._put(created_s, text, record_format.message_text(text)[0], details, level, said)

    def account(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Record what was retried, failed over and lost so far, as a record of its own type.

        It is no line of the function's: no sampling, no bound and no summary of an invocation counts it.
        """
        sentence, details = record_format.accounting_text(counts, LOSSES)
        self.spool.append(
            f'{{"time":"{time_text(time())}","type":"sumo.accounting","message":{quote(sentence)}'
            f',"accounting":{details}{self.context}',
            logging.WARNING,
        )

    # Into the spool.

    def _put(self, created_s: float, text: str, message: str, details: str, level: int, said: Said = _NO_ERROR) -> int:
        if bounds.MARK in details and (cut_chars := bounds.cut_chars(details)):
            self.spool.count(CUT, 1, cut_chars)
        if not self.takes_short_way:
            is_replay = self._is_replay is not None and self._is_replay()
            if is_replay and self._replays == "dropped":
                self.spool.count(EXCLUDED, 1, record_format.size_bytes(text))
                return level < self.spared_below
            if self._is_ansi_stripped and "\x1b" in text:
                text = record_format.without_ansi(text)
                message, own = record_format.line_text(text)
                details = details or own
            if self._processing is not None:
                passed = self._processing.passed(text, details, level, said, is_held=self.is_flight)
                if passed is None:
                    return level < self.spared_below
                shown, details, level = passed
                if shown is not text:
                    text, message = shown, record_format.message_text(shown)[0]
            if self._tracing is not None:
                details += self._span_text(details)
                if self._has_trace_keys:
                    details += record_format.trace_keys_text(details)
            if is_replay:
                details += ',"replay":true'
        start = self._start(created_s, message, details)
        if record_format.fits(start):
            return self.append(start, level)
        return self._put_parts(created_s, text, message, details, level)

    def _start(self, created_s: float, message: str, details: str) -> str:
        """A record up to its closing brace, which the spool adds."""
        return record_format.start_text(created_s, message, details, self.context if self._is_enhanced else None)

    def _put_parts(self, created_s: float, text: str, message: str, details: str, level: int) -> int:
        """Record something too long for one record: as numbered parts of its text, unless its fields alone are."""
        if details and self._is_enhanced:
            details, moved = record_format.fitting(message, details)
            start = self._start(created_s, message, details)
            if not moved and record_format.fits(start):
                return self.append(start, level)
            text += moved
        from sumo_internal import own_secrets  # where a batch is made, half of one could not be told any more

        need_room()
        end = 1
        for part, numbers in record_format.parts(own_secrets.hidden_text(text)):
            end = min(end, self.append(self._start(created_s, part, details) + numbers, level))
        return end

    def _span_text(self, details: str) -> str:
        """The ids of the span that this thread or task is in, unless OpenTelemetry has put them into the log record."""
        if '"otelTraceID":' in details:
            return ""
        try:
            span = self._tracing.get_current_span().get_span_context()
            return record_format.span_text(span.trace_id, span.span_id) if span.is_valid else ""
        except BaseException as error:
            diagnostics.pass_on(error)
            return ""  # the function's version of it does not know these names
