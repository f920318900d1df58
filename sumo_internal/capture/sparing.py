"""SUMO_CLOUDWATCH: what a function writes is recorded first, and goes where it went only if it has to.

It stands in for three things of :mod:`sumo_internal.capture`, and is loaded only where the setting asks for it: the two
streams (:mod:`.streams`), the runtime's log sink (:mod:`.runtime_client`), and the recorder in so far as that hears
these two. Everything else of them is theirs.

The rule: **a line is written unless it is certain that it need not be.** ``append`` of the recorder tells whether a
record is committed where no kill can reach it; what hears a line (the stream, the sink) writes the line where it is
not. So a line is written that

* the spool refuses, that is unprotected, that waits for another thread, or that could not be recorded;
* has a level from which lines are kept (``errors``), or is one of :meth:`CloudWatch.is_kept`;
* is withheld, because nothing else has its message;
* comes while no destination takes lines (:mod:`sumo_internal.spool.outage`).

What a rule keeps back (excluded, dropped, sampled out, capped) is counted, and is not written.

Text without a line end waits, like any such text, in the map (:mod:`sumo_internal.spool.partials`), and is written when
its line is whole. Where the map has no room for all of it, it is kept as records that only a dead process's drainer
takes; where that is not possible either, it is written at once. A text that belongs to a call which has not returned
yet (a log record's, a report's) is promised no more than that call.
"""

from __future__ import annotations

import logging
from _thread import get_ident
from copy import copy
from functools import partial
from logging import LogRecord
from time import time

from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.error_reports import Texts
from sumo_internal.capture.record_format import legible
from sumo_internal.capture.recorder import Recorder, unended
from sumo_internal.capture.reentrancy import SPARED, is_recorded, need_room, not_recorded, strand, subjects, too_deep
from sumo_internal.capture.runtime_client import Sink
from sumo_internal.capture.streams import Buffer, Stream, unheard
from sumo_internal.spool.held import Unended
from sumo_internal.spool.segment import WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from sumo_internal.capture.lines import Lines
    from sumo_internal.capture.sparing_joint import SparingJoint
    from sumo_internal.expressions.search import Expression
    from sumo_internal.spool.outage import Outage
    from sumo_internal.spool.writer import Spool

    Append = Callable[[str, int], int]

NO_LEVEL = 1 << 62
LEAST_LEVELS = {"errors": WARNING, "none": NO_LEVEL}
"""By the setting's value: the level from which lines go to CloudWatch in any case."""


class CloudWatch:
    """What goes to CloudWatch although it is recorded."""

    def __init__(self, spool: Spool, setting: str, keep: Iterable[Expression], outage: Outage) -> None:
        """Know the rules.

        Args:
            spool: Where lines are committed.
            setting: SUMO_CLOUDWATCH.
            keep: SUMO_CLOUDWATCH_KEEP.
            outage: Since when no destination takes lines.
        """
        self._spool = spool
        self.least_level = LEAST_LEVELS[setting]
        self._keep = list(keep)
        self.has_expressions = bool(self._keep)
        self._outage = outage

    def is_kept(self, text: str) -> bool:
        """Is this a line of metrics, of which CloudWatch makes metrics and alarms, or one that the user wants there?"""
        if '"_aws"' in text and '"CloudWatchMetrics"' in text:
            return True
        if self._keep:
            from sumo_internal.expressions.search import has_match

            return any(has_match(expression, text) for expression in self._keep)
        return False

    def in_front_of(self, append: Append, *, is_processed: bool) -> Append:
        """``append`` with another answer: not 0 where the line need not go to CloudWatch.

        Args:
            append: :meth:`Spool.append`, or what stands in front of it.
            is_processed: Records may be withheld.
        """
        least_level, outage, spool = self.least_level, self._outage, self._spool

        def spared(start: str, level: int) -> int:
            end = append(start, level)
            if not end or level >= least_level or not spool.is_protected:
                return 0
            if outage.from_s and time() >= outage.from_s:
                return 0
            return 0 if is_processed and ',"withheld":' in start else end

        return spared


class _LinesByStream:
    """Lines of each stream on their own: each may have to be written to the stream that it came by."""

    def __init__(self, of_stream: Mapping[int, Lines]) -> None:
        self._of_stream = of_stream

    @property
    def has_any(self) -> bool:
        """Does any text wait?"""
        return any(lines.has_any for lines in self._of_stream.values())

    def add(self, text: str, stream: int, thread: int, created_s: float | None = None) -> None:
        self._of_stream[stream].add(text, stream, thread, created_s)

    def is_within_value(self, stream: int, thread: int) -> bool:
        return self._of_stream[stream].is_within_value(stream, thread)

    def waiting(self, stream: int, thread: int, *, is_all: bool) -> str:
        return self._of_stream[stream].waiting(stream, thread, is_all=is_all)

    def line(self, stream: int, thread: int) -> str:
        return self._of_stream[stream].line(stream, thread)

    def take(self, stream: int) -> str:
        return self._of_stream[stream].take(stream)

    def flush(self, *, is_final: bool) -> None:
        for lines in self._of_stream.values():
            lines.flush(is_final=is_final)


class SparingRecorder(Recorder):
    """A recorder that hears a text before it is written, and has the text written where it has to be."""

    def __init__(self, spool: Spool, keys: Mapping[str, str | bool | None], cloudwatch: CloudWatch, **options: Any):
        """Record into a spool.

        Args:
            spool: See :class:`Recorder`, as for all other arguments.
            keys: See there.
            cloudwatch: What goes to CloudWatch all the same.
            options: See there.
        """
        self.cloudwatch = cloudwatch
        self._written: dict[tuple[int, int], list[str]] = {}
        """By stream and thread: what CloudWatch has already of a line, or a value, that is not whole; in pieces."""
        self._streams: dict[int, tuple[Any, Any]] = {}
        """By number: a text stream, and the binary layer below it, which the function may have detached since."""
        super().__init__(spool, keys, **options)
        is_processed = self._processing is not None
        self.spared_below = cloudwatch.least_level
        self.append = cloudwatch.in_front_of(self.append, is_processed=is_processed)
        # With rules, such a text would have to pass them twice; and a user's processors run once for each line.
        self._unended = None if is_processed else Unended(spool)
        self.make_sink = SparingSink
        self.make_stream = self._make_stream

    def _make_stream(self, stream: Any, number: int, listener: Callable[[str, int], None]) -> SparingStream:
        self._streams[number] = stream, stream.buffer
        return SparingStream(stream, number, listener)

    def begin_again(self, log_stream: str) -> None:
        if self._unended is not None:
            self._unended = Unended(self.spool)
        super().begin_again(log_stream)

    def _new_lines(self) -> Any:
        self._written.clear()  # in a forked child: the parent's
        return _LinesByStream({stream: self._lines_to(partial(self._whole, stream)) for stream in (1, 2)})

    # What was not written yet.

    def written(self, text: str, stream: int) -> None:
        """Record what a thread is about to write to a stream, and write it as far as that has to be.

        Args:
            text: See :meth:`Recorder.written`.
            stream: See there.

        Raises:
            RecursionError: Here is too little room. Write the text; it is recorded later.
        """
        if is_recorded and (answer := is_recorded[0]()):
            if answer != SPARED or self.cloudwatch.is_kept(text):
                self._write(text, stream)
            return
        if too_deep:
            self.catch_up(get_ident())
        subject = subjects.get(strand()) if subjects else None
        try:
            if subject is None:
                if type(text) is str or not self._hear_loguru(text, stream):
                    thread = get_ident()
                    self._lines.add(text, stream, thread)
                    if text[-1:] != "\n" or self._lines.is_within_value(stream, thread):
                        self._protect(text, stream, thread)
                    elif self._written and self._written.pop((stream, thread), []):
                        self._write("\n", stream)  # of a line of blanks, which is no record
            elif isinstance(subject, list):
                subject += [self._lines.take(stream) + text]
                self._forget_begun((stream, get_ident()))
                if isinstance(subject, Texts):
                    subject.echo = partial(self._echo, stream)
            elif text[-1:] == "\n":
                if unended and subject in unended:
                    text = "".join(unended[subject][1]) + text
                self._echo(stream, text, self.record(text if text.isascii() else legible(text), subject))
                unended.pop(subject, None)
            else:
                unended.setdefault(subject, (_Unended(self, stream), []))[1].append(text)  # type: ignore[arg-type]  # it records
        except RecursionError:
            raise
        except Exception as error:
            self.not_recorded(text, error)  # what it raises comes out of the stream, which writes the text
            self._write(text, stream)

    def _hear_loguru(self, text: str, stream: int) -> bool:
        details = log_records.loguru_text(getattr(text, "record", None))
        if details:
            said = text.rstrip("\n")
            message, level = record_format.message_text(said)[0], log_records.level_in(details)
            self._echo(stream, text, self._put(time(), said, message, details, level))
        return details != ""

    def _whole(self, stream: int, text: str, created_s: float | None = None) -> None:
        """Record one line, and write it, or what CloudWatch has not of it."""
        key, end, failure = (stream, get_ident()), 0, None
        try:
            end = self.line(text, created_s)
        except RecursionError:
            raise
        except Exception as error:
            failure = error
        begun = self._forget_begun(key)
        if begun and text.startswith(begun.rstrip("\n")):
            self._write(text[len(begun) :] + "\n", stream)
        elif created_s is None:  # else it was written when there was no room to record it
            self._echo(stream, f"\n{text}" if begun else text, end)
        if failure is not None:
            self.not_recorded(text, failure)

    def _forget_begun(self, key: tuple[int, int]) -> str:
        """A line is whole: return what CloudWatch has of it."""
        if self._unended is not None:
            self._unended.drop(key)
        return "".join(self._written.pop(key, ())) if self._written else ""

    def _protect(self, text: str, stream: int, thread: int) -> None:
        """See that what a thread has begun survives this process, or write it.

        Args:
            text: The last of it.
            stream: Where it was to go.
            thread: Which has written it.
        """
        key = (stream, thread)
        begun = self._written.get(key)
        if begun is not None:  # all that came before; a value of many pieces must not be looked at for each of them
            begun.append(text)
            self._write(text, stream)
            return
        is_protected = self.spool.is_protected
        waits = self._lines.waiting(stream, thread, is_all=not is_protected)
        if not waits:
            return
        if is_protected and self._unended is not None:
            if self._unended.keep(key, self._records_of(legible(waits))):
                return
        self._written[key] = [waits]
        self._write(waits, stream)

    def _records_of(self, text: str) -> list[str]:
        starts: list[str] = []

        def note(start: str, level: int) -> int:
            starts.append(start)
            return 1

        view = copy(self)
        view.append = note
        view.line(text)
        return starts

    def flush(self) -> None:
        super().flush()
        self._end_written()

    def leave_invocation(self) -> None:
        super().leave_invocation()
        self._end_written()

    def _end_written(self) -> None:
        """End the lines in CloudWatch whose text another thread has just recorded without a line end."""
        for stream, thread in list(self._written):
            if not self._lines.waiting(stream, thread, is_all=True):
                self._written.pop((stream, thread), None)
                self._write("\n", stream)

    def _echo(self, stream: int, text: str, end: int) -> None:
        """Write a line unless the recorder has said that it need not be.

        Args:
            stream: Where it was to go.
            text: The line.
            end: What the recorder has returned.
        """
        if not end or self.cloudwatch.is_kept(text):
            self._write(text if text[-1:] == "\n" else f"{text}\n", stream)

    def _write(self, text: str, stream: int) -> None:
        """Write a text to the stream itself, all that it has in one piece."""
        original, buffer = self._streams.get(stream, (None, None))
        if buffer is None or not text:
            return
        try:
            original.flush()
            if original.encoding.lower() != "utf-8":  # the function has reconfigured it
                original.write(text)
                original.flush()
                return
        except ValueError:
            pass  # it is detached, or this is bytes of the layer below, which are no such text
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            data = text.encode("utf-8", "backslashreplace")
        buffer.write(data)
        buffer.flush()


class _Unended:
    """Takes the recorder's place for a log record whose text has no line end until its handler is done."""

    def __init__(self, recorder: SparingRecorder, stream: int) -> None:
        self._recorder = recorder
        self._stream = stream

    def record(self, text: str, record: LogRecord) -> None:
        self._recorder._echo(self._stream, text, self._recorder.record(legible(text), record))


class SparingStream(Stream):
    """A text stream whose listener writes what has to be written."""

    def __init__(self, stream: Any, number: int, listener: Callable[[str, int], None]) -> None:
        super().__init__(stream, number, listener)
        self.buffer = SparingBuffer(stream.buffer, number, listener)

    def write(self, text: str) -> int:
        if not isinstance(text, str) or self._listener is unheard:
            return self._write(text)  # type: ignore[no-any-return]  # raises what it raises without us
        self._write("")  # likewise, where the stream is closed
        sent = text if text.isascii() else self._as_sent(text)  # likewise, what cannot be encoded
        try:
            self._listener(sent, self._number)
        except BaseException as error:
            self._write(text)
            _postpone(error, sent, self._number)
        return len(text)

    def _as_sent(self, text: str) -> str:
        if self._stream.encoding.lower() != "utf-8":
            text.encode(self._stream.encoding, self._stream.errors)  # raises what is raised without us
        return super()._as_sent(text)


class SparingBuffer(Buffer):
    """A binary layer below such a stream."""

    def write(self, data: Any) -> int:
        need_room(2)
        if self._listener is unheard:
            return self._buffer.write(data)  # type: ignore[no-any-return]
        try:
            size_bytes = memoryview(data).nbytes
        except TypeError:
            return self._buffer.write(data)  # type: ignore[no-any-return]  # raises what it raises without us
        self._buffer.write(b"")  # likewise, where it is closed
        text = bytes(data).decode("utf-8", "surrogateescape")
        try:
            self._listener(text, self._number)
        except BaseException as error:
            self._buffer.write(data)
            _postpone(error, text, self._number)
        return size_bytes

    @property
    def raw(self) -> Buffer:
        return SparingBuffer(self._buffer.raw, self._number, self._listener)

    def detach(self) -> Buffer:
        return SparingBuffer(self._buffer.detach(), self._number, self._listener)


def _postpone(error: BaseException, text: str, number: int) -> None:
    """Have a text that was written recorded later, or raise what is the function's own.

    Raises:
        BaseException: The error of a signal handler. Let it pass.
    """
    if isinstance(error, RecursionError):
        too_deep.setdefault(get_ident(), []).append((time(), text, number, subjects.get(get_ident())))
    elif isinstance(error, Exception):
        not_recorded(error)
    else:
        raise error


class SparingSink(Sink):
    """The runtime's framed log sink, behind the recorder."""

    _recorder: SparingRecorder
    joint: SparingJoint | None

    def _make_joint(self, handler: logging.Handler) -> SparingJoint:
        from sumo_internal.capture.sparing_joint import SparingJoint

        return SparingJoint(handler, self._recorder, self._bootstrap, self._functions)

    def log(self, message: str, frame_type: Any = None) -> None:
        if type(message) is not str or not _is_encodable(message):
            self.inner.log(message, frame_type)  # raises what it raises without us
            return
        self.said = message, frame_type
        recorder, is_spared = self._recorder, False
        try:
            if is_recorded and (answer := is_recorded[0]()):
                is_spared = answer == SPARED
            else:
                if too_deep:
                    recorder.catch_up(get_ident())
                is_spared = self._heard(message, frame_type)
            is_spared = is_spared and not recorder.cloudwatch.is_kept(message)
        except RecursionError:
            line = message.removesuffix("\n") + "\n"
            too_deep.setdefault(get_ident(), []).append((time(), line, 1, self.subject(get_ident())))
        except Exception as error:
            recorder.not_recorded(message, error)
        finally:
            if not is_spared:
                self.inner.log(message, frame_type)

    def log_error(self, message_lines: list[str]) -> None:
        text, subject = "\n".join(message_lines), subjects.get(strand())
        if isinstance(subject, Texts):
            subject.append(text)
            subject.echo = partial(self._echo_error, message_lines)
        else:
            super().log_error(message_lines)

    def _heard(self, message: str, frame_type: Any) -> bool:
        """Record a text; returns whether it need not be written, or not yet."""
        subject = self.subject(get_ident()) or subjects.get(strand())
        if isinstance(subject, Texts):
            subject.append(message.removesuffix("\n"))
            subject.echo = partial(self._echo_text, frame_type)
            return True
        if isinstance(subject, LogRecord):
            return self._recorder.record(message, subject) > 0
        return self._recorder.line(message.removesuffix("\n")) > 0

    def _echo_error(self, message_lines: list[str], text: str, end: int) -> None:
        if not end or self._recorder.cloudwatch.is_kept(text):
            self.inner.log_error(message_lines)

    def _echo_text(self, frame_type: Any, text: str, end: int) -> None:
        if not end or self._recorder.cloudwatch.is_kept(text):
            self.inner.log(text, frame_type)


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
