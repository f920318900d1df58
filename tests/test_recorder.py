"""The recorder: what is written in pieces, by threads, by handlers and by the runtime becomes whole records."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sumo_rules
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import Interruptions, is_behind_call, raise_time_limit
from lines_run import lines_run
from spool_functions import taken

from layer.build import ROOT
from sumo_internal.capture import record_format, reentrancy
from sumo_internal.capture import recorder as recorder_module
from sumo_internal.capture.error_reports import reported
from sumo_internal.capture.record_format import RECORD_MAX_BYTES
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.capture.reentrancy import subjects
from sumo_internal.capture.runtime_client import Sink, _handle
from sumo_internal.capture.streams import Stream
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

STDOUT, STDERR = 1, 2
KEYS: dict[str, str | bool | None] = {
    "logGroup": "/aws/lambda/orders",
    "logStream": "2026/11/21/[$LATEST]ab",
    "IsColdStart": True,
}


class Recording:
    """A recorder with a spool of its own, and what it has recorded since the last look."""

    def __init__(self, folder: Path, *, is_enhanced: bool = True) -> None:
        spool = Spool(str(folder), {}, 64_000_000)
        self.recorder = Recorder(spool, KEYS, is_enhanced=is_enhanced)
        self._reader = SpoolReader(str(folder), spool)

    def raw_lines(self) -> list[bytes]:
        return taken(self._reader)

    def lines(self) -> list[bytes]:
        """The recorded lines; each is a record by the rules of the source."""
        got = self.raw_lines()
        for line in got:
            assert sumo_rules.judge("POST", sumo_rules.PATH, "HTTP/1.1", HEADERS, line, None).problems == []
        return got

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def messages(self) -> list[Any]:
        return [record["message"] for record in self.records()]


HEADERS = {"host": "loopback", "x-sumo-host": "/aws/lambda/orders", "x-sumo-name": "2026/11/21/[$LATEST]ab"}


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "spool")


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """One for all examples of a property: making a spool costs more than an example."""
    return Recording(tmp_path_factory.mktemp("property") / "spool")


class Console:
    """What a logging handler writes to when its stream is one of ours."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def write(self, text: str) -> None:
        self._recorder.written(text, STDERR)

    def flush(self) -> None:
        pass


@pytest.fixture
def logger(recording: Recording, noted: None) -> Iterator[logging.Logger]:
    """A logger whose one handler writes the runtime's line to a stream that is recorded."""
    logger = logging.getLogger("orders.payment")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(Console(recording.recorder))
    handler.setFormatter(logging.Formatter("[%(levelname)s]\t%(message)s"))
    logger.addHandler(handler)
    yield logger
    logger.handlers.clear()


def test_print_is_one_record(recording: Recording) -> None:
    """``print`` writes its arguments, the separators and the end one by one; a record is the line."""
    for piece in ("order", " ", "17", "\n"):
        recording.recorder.written(piece, STDOUT)
    assert recording.messages() == ["order 17"]


def test_each_line_is_a_record_and_blank_ones_are_none(recording: Recording) -> None:
    """As CloudWatch has it: an event per line; a lone line end is no event anybody looks for."""
    recording.recorder.written("first\n\n  \n\tsecond\r\nthird", STDOUT)
    recording.recorder.written("\n", STDOUT)
    assert recording.messages() == ["first", "\tsecond\r", "third"]


@given(st.lists(st.text(st.sampled_from('ab}"\n\r\t é€\U0001f600\udc80\x00'), max_size=20), max_size=20))
def test_lines_are_whole_however_they_are_written(long_recording: Recording, pieces: list[str]) -> None:
    """Buffering cuts text anywhere; every line that is not blank is recorded once, in order.

    No line begins a JSON value here, which may go on in the next: that is ``test_multiline.py``'s.
    """
    for piece in pieces:
        long_recording.recorder.written(piece, STDOUT)
    long_recording.recorder.flush()

    lines = [record_format.legible(line) for line in "".join(pieces).split("\n") if line.strip()]
    assert [text_of(message) for message in long_recording.messages()] == [text_of(line) for line in lines]


def text_of(message: object) -> object:
    """An object that a line happened to be, as its text again."""
    return message if isinstance(message, dict) else json.loads(str(message)) if is_object(message) else message


def is_object(message: object) -> bool:
    try:
        return isinstance(json.loads(str(message)), dict) and str(message)[:1] == "{"
    except ValueError:
        return False


def test_text_without_a_line_end_waits_until_the_invocation_ends(recording: Recording) -> None:
    """It will not get one any more: the next invocation's first line must not be glued to it."""
    recording.recorder.enter_invocation("r-1")
    recording.recorder.written("no end", STDOUT)
    assert recording.messages() == []

    recording.recorder.leave_invocation()
    recording.recorder.enter_invocation("r-2")
    recording.recorder.written("next\n", STDOUT)

    assert [(r["requestID"], r["message"]) for r in recording.records()] == [("r-1", "no end"), ("r-2", "next")]


def test_the_two_streams_are_kept_apart(recording: Recording) -> None:
    """An error message in the middle of a half-printed line is not part of it."""
    recording.recorder.written("out", STDOUT)
    recording.recorder.written("err", STDERR)
    recording.recorder.written(" put\n", STDOUT)
    recording.recorder.written("or\n", STDERR)
    assert recording.messages() == ["out put", "error"]


def test_half_a_line_of_one_thread_is_not_continued_by_another(recording: Recording) -> None:
    """``print`` writes text and end apart, and another thread's come in between."""
    recorder = recording.recorder

    def write() -> None:
        recorder.written("other ", STDOUT)
        recorder.written("thread\n", STDOUT)

    recorder.written("main ", STDOUT)
    other = threading.Thread(target=write)
    other.start()
    other.join()
    recorder.written("thread\n", STDOUT)
    assert recording.messages() == ["other thread", "main thread"]


def test_a_line_that_waits_for_its_thread_ends_with_the_invocation(recording: Recording) -> None:
    """A background thread has begun a line and does something else: nobody knows whether it will ever end it."""
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        recording.recorder.written("begun, ", STDOUT)
        begun.set()
        over.wait()
        recording.recorder.written("ended\n", STDOUT)

    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    recording.recorder.leave_invocation()
    assert recording.messages() == ["begun, "]
    over.set()
    worker.join()
    assert recording.messages() == ["ended"]


def test_a_line_that_is_just_being_printed_is_left_to_its_thread(recording: Recording, tmp_path: Path) -> None:
    """The end of an invocation may meet a background thread in the middle of a ``print``: the line is not cut."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDWR)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    os.write(reader, b"-" * (4096 - len("first ")))  # so that print is stopped behind that
    raw: Any = open(tmp_path / "pipe", "wb", buffering=0)
    with io.TextIOWrapper(raw, encoding="utf-8", write_through=True) as file:
        stream: Any = Stream(file, STDOUT, recording.recorder.written)
        worker = threading.Thread(target=print, args=("first", "second"), kwargs={"file": stream})
        worker.start()
        while recording.recorder._lines.begun[STDOUT].get(worker.ident or 0, [])[3:] != ["first", " "]:
            time.sleep(0.001)
        recording.recorder.leave_invocation()
        assert recording.messages() == []
        os.read(reader, 4096)
        worker.join()
        assert recording.messages() == ["first second"]
    os.close(reader)


def test_half_a_line_has_a_bound(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress bar never ends its line: at the bound what is there becomes a record."""
    monkeypatch.setattr(recording.recorder._lines, "_partial_max_chars", 10)
    recording.recorder.written("123456789", STDOUT)
    assert recording.messages() == []
    recording.recorder.written("0", STDOUT)
    recording.recorder.written("1234\n", STDOUT)
    assert recording.messages() == ["1234567890", "1234"]


def test_lines_belong_to_their_invocation(recording: Recording) -> None:
    """Cold until the first invocation has ended, then warm; what is not known has no key; ours come in their order."""
    recorder = recording.recorder
    recorder.line("init")
    recorder.enter_invocation("r-1", trace_id="Root=1-a;Parent=b;Sampled=1", tenant_id="t-1")
    recorder.line("first")
    recorder.leave_invocation()
    recorder.line("background")
    recorder.enter_invocation("r-2")
    recorder.line("second")

    records = recording.records()

    shown = [
        {key: record.get(key) for key in ("requestID", "IsColdStart", "traceId", "tenantId")} for record in records
    ]
    assert [tuple(each.values()) for each in shown] == [
        (None, True, None, None),
        ("r-1", True, "1-a", "t-1"),
        ("r-1", True, "1-a", "t-1"),
        ("r-2", False, None, None),
    ]
    assert list(records[3]) == [
        *("time", "type", "message", "requestID", "logGroup", "logStream", "IsColdStart"),
        "id",
    ]
    assert len({record["id"] for record in records}) == 4


def test_a_log_record_is_one_record_with_its_details(recording: Recording, logger: logging.Logger) -> None:
    """Text as the handler formats it, line ends inside included, and level, logger and fields as keys."""
    logger.warning("two\nlines %d", 17, extra={"order": {"id": 17}, "message_id": None})

    (record,) = recording.records()

    expected = {"message": "[WARNING]\ttwo\nlines 17", "level": "WARNING", "logger": "orders.payment"}
    assert {key: record[key] for key in expected} == expected
    assert (record["order"], record["message_id"]) == ({"id": 17}, None)


def test_an_exception_is_one_record_with_its_traceback(recording: Recording, logger: logging.Logger) -> None:
    """Not a record per line of the traceback, as CloudWatch readers know it."""
    try:
        raise KeyError("order")
    except KeyError:
        logger.exception("failed")

    (record,) = recording.records()

    assert record["message"].startswith("[ERROR]\tfailed\nTraceback (most recent call last):\n")
    assert record["message"].endswith("KeyError: 'order'")
    assert (record["errorType"], record["errorMessage"], record["level"]) == ("KeyError", "'order'", "ERROR")
    assert "test_recorder.py" in record["stackTrace"][-1]


def test_a_record_formatted_as_an_object_is_sent_as_that(recording: Recording, logger: logging.Logger) -> None:
    """The object is the message; the fields are keys besides, as with any other formatter: queries need not care."""
    logger.handlers[0].setFormatter(logging.Formatter('{"event":"%(message)s","order":%(order)d}'))
    logger.info("paid", extra={"order": 17})

    (record,) = recording.records()

    assert record["message"] == {"event": "paid", "order": 17}
    assert (record["level"], record["logger"], record["order"]) == ("INFO", "orders.payment", 17)


def test_a_text_that_only_looks_like_an_object_keeps_its_fields(recording: Recording, logger: logging.Logger) -> None:
    """A plain formatter and a message in braces: nothing but the extra keys carries the fields."""
    logger.handlers[0].setFormatter(logging.Formatter("%(message)s"))
    logger.info("{order} paid", extra={"order": 17})

    (record,) = recording.records()

    assert (record["message"], record.get("order")) == ("{order} paid", 17)


def test_a_handler_that_logs_does_not_mix_up_records(recording: Recording, logger: logging.Logger) -> None:
    """A record emitted in the middle of another's handlers comes in between; the outer one is the outer one again."""
    inner = logging.getLogger("orders.inner")
    inner.propagate = False
    inner.addHandler(logger.handlers[0])

    class Reporting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            inner.error("inner")

    logger.handlers.insert(0, Reporting())
    try:
        logger.info("outer")
    finally:
        inner.handlers.clear()

    shown = [(record["message"], record["logger"]) for record in recording.records()]
    assert shown == [("[ERROR]\tinner", "orders.inner"), ("[INFO]\touter", "orders.payment")]
    assert subjects == {}


def test_a_text_without_a_line_end_is_recorded_when_its_handler_is_done(
    recording: Recording, logger: logging.Logger
) -> None:
    """The runtime's handler ends no traceback: were it to wait for the next line, a crash would take it along."""
    handler = logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.terminator = ""
    logger.warning("no end")
    shown = [(record["message"], record["level"]) for record in recording.records()]
    assert shown == [("[WARNING]\tno end", "WARNING")]
    assert recorder_module.unended == {}


def test_a_filter_may_hand_on_another_record(recording: Recording, logger: logging.Logger) -> None:
    """Since Python 3.12, and to take something out, mostly: the fields are those of the record that was emitted."""
    secretive = logging.Filter()

    def without_secret(record: logging.LogRecord) -> Any:
        return logging.makeLogRecord({**record.__dict__, "token": "***"})

    secretive.filter = without_secret  # type: ignore[method-assign]  # as a subclass would
    logger.handlers[0].addFilter(secretive)
    logger.info("paid", extra={"token": "secret"})
    (record,) = recording.records()
    assert record["token"] == ("***" if sys.version_info >= (3, 12) else "secret")


def test_a_queue_listeners_records_have_their_details(recording: Recording, logger: logging.Logger) -> None:
    """They come to their handler without a logger, on another thread."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, logger.handlers[0])
    logger.handlers[:] = [logging.handlers.QueueHandler(waiting)]
    listener.start()
    logger.info("queued\nin two lines", extra={"order": 17})
    listener.stop()

    (record,) = recording.records()

    assert (record["message"], record["level"], record["order"]) == ("[INFO]\tqueued\nin two lines", "INFO", 17)


def test_a_value_that_prints_is_no_part_of_the_record(recording: Recording, logger: logging.Logger) -> None:
    """Asked for its text, a field's value may print: that line is a record of its own, without what the other one has.

    Guards against one that is taken for the log record's text, and asks the value for its text again.
    """

    class Chatty:
        def __str__(self) -> str:
            recording.recorder.written("printed\n", STDOUT)
            return "chatty"

    logger.warning("logged", extra={"value": Chatty()})
    printed, logged = recording.records()
    assert printed["message"] == "printed" and "value" not in printed and "level" not in printed
    assert logged["message"] == "[WARNING]\tlogged" and logged["value"] == "chatty"


def test_a_value_that_logs_itself_comes_to_an_end(recording: Recording, logger: logging.Logger) -> None:
    """Asked for its text, it logs, with itself as a field: each time deeper, until a record goes without."""

    class Endless:
        def __str__(self) -> str:
            logger.info("asked", extra={"value": [self, float("nan")]})
            return "text"

    logger.info("first", extra={"value": Endless()})

    records = recording.records()

    assert (records[-1]["message"], records[-1]["value"]) == ("[INFO]\tfirst", "text")
    assert 1 < len(records) < 1000


def test_a_handler_that_raises_leaves_no_record_behind(recording: Recording, logger: logging.Logger) -> None:
    """What the thread prints next is a line of its own, without the failed record's level."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ConnectionError

    logger.handlers.insert(0, Failing())
    with pytest.raises(ConnectionError):
        logger.info("lost")
    recording.recorder.written("printed\n", STDOUT)

    (record,) = recording.records()
    assert (record["message"], "level" in record) == ("printed", False)


def test_a_log_line_in_the_middle_of_a_printed_one_is_whole(recording: Recording, logger: logging.Logger) -> None:
    """CloudWatch may have it glued to the text in front; dashboards look for ``[INFO]`` where a message begins."""
    recording.recorder.written("so far: ", STDERR)
    logger.info("paid")
    recording.recorder.written("17\n", STDERR)
    shown = [(record["message"], record.get("level")) for record in recording.records()]
    assert shown == [("[INFO]\tpaid", "INFO"), ("so far: 17", None)]


def test_a_handler_may_write_in_pieces(recording: Recording, logger: logging.Logger) -> None:
    """Text and line end apart, as many handlers do: one record, with its details, apart from what is being printed."""

    class InPieces(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for piece in (record.getMessage(), " and", " more", "\n"):
                recording.recorder.written(piece, STDERR)

    logger.handlers[:] = [InPieces()]
    recording.recorder.written("printed ", STDERR)
    logger.info("logged")
    recording.recorder.written("whole\n", STDERR)
    shown = [(record["message"], record.get("level")) for record in recording.records()]
    assert shown == [("logged and more", "INFO"), ("printed whole", None)]


def as_logging_does(self: logging.Handler, record: logging.LogRecord) -> Any:
    """What the library's ``handle`` does with the handler's lock."""
    passed = self.filter(record)
    if passed:
        self.acquire()
        try:
            self.emit(record)
        finally:
            self.release()
    return passed


def test_a_time_limit_leaves_a_handlers_lock_no_oftener_than_without_us(recording: Recording, noted: None) -> None:
    """A signal handler that raises between taking the lock and the ``try``: logging's own handlers leave it taken then.

    Guards against instructions of ours there, and before the lock is given back: the function's next line would wait
    for ever, in any thread.
    """

    class FramesHandler(logging.Handler):
        log_sink = Sink(io.StringIO(), recording.recorder)

        def emit(self, record: logging.LogRecord) -> None:
            pass

    def times_left(handle: Any, outer: logging.LogRecord | None) -> int:
        handler, left = FramesHandler(), 0
        record = logging.makeLogRecord({"msg": "line"})

        def emit(_: int) -> None:
            if outer is not None:
                subjects[threading.get_ident()] = outer
            handle(handler, record)

        for _ in Interruptions([handle], raise_time_limit).of(emit):
            subjects.clear()  # what is left there is of a thread that is gone, and the next one may have its number
            if handler.lock.acquire(blocking=False):  # type: ignore[union-attr]  # it has one
                handler.lock.release()  # type: ignore[union-attr]
            else:
                left += 1
                handler.createLock()
        return left

    usual = times_left(as_logging_does, None)
    for outer in (None, logging.makeLogRecord({"msg": "whose handler logs"})):
        assert times_left(_handle, outer) <= usual
        assert times_left(logging.Handler.handle, outer) <= usual
    assert logging.Handler.handle is not reentrancy.OWN_HANDLE, "it is ours that is tried"


def test_small_pieces_cost_what_they_are(recording: Recording) -> None:
    """``json.dump(…, sys.stdout)`` writes a value in ten thousands of pieces: each costs the same, however many were
    before it.

    Guards against text that is put together anew with each piece.
    """

    def write(pieces: int) -> None:
        for number in range(pieces):
            recording.recorder.written(f"piece {number}, ", STDOUT)

    few = lines_run(lambda: write(200))
    recording.recorder.written("\n", STDOUT)
    many = lines_run(lambda: write(1_600))
    assert many <= 8 * few * 1.1


def test_many_loggers_are_all_right(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept per logger is bounded; loggers beyond the bound are rendered each time."""
    monkeypatch.setattr(recorder_module, "_LOGGERS_MAX", 3)
    for name in [f"logger.{number}" for number in range(6)] * 2:
        recording.recorder.record("x", logging.LogRecord(name, logging.INFO, "", 0, "x", (), None))
    assert [record["logger"] for record in recording.records()] == [f"logger.{number}" for number in range(6)] * 2
    assert len(recording.recorder.loggers[logging.INFO]) == 3


def test_a_report_of_an_error_is_one_record(recording: Recording) -> None:
    """It is written in many pieces, some of them lines; what stands in front of it in CloudWatch does so here."""
    failure = record_format.failure_text("KeyError", "'order'", ["  File …\n"])
    recording.recorder.written("so far: ", STDOUT)

    def report() -> None:
        for piece in ("[ERROR] KeyError: 'order'\nTraceback", " (most recent call last):\n", "  File …", "\n"):
            recording.recorder.written(piece, STDOUT)

    reported(recording.recorder, report, lambda: failure)()
    recording.recorder.written("next\n", STDOUT)

    record, after = recording.records()

    assert record["message"] == "so far: [ERROR] KeyError: 'order'\nTraceback (most recent call last):\n  File …"
    assert [record[key] for key in ("level", "errorType", "errorMessage")] == ["ERROR", "KeyError", "'order'"]
    assert record["stackTrace"] == ["  File …\n"]
    assert (after["message"], "level" in after) == ("next", False)


def test_a_report_that_says_nothing_is_no_record(recording: Recording) -> None:
    """``threading.excepthook`` is silent about SystemExit, and a hook of the function's own may write elsewhere."""
    reported(recording.recorder, int, lambda: "")()
    assert recording.records() == []


def joined(records: Iterable[dict[str, Any]]) -> str:
    """The text that was split; its parts are numbered in order."""
    records = list(records)
    if len(records) > 1:
        numbers = [(record["part"], record["parts"]) for record in records]
        assert numbers == [(number, len(records)) for number in range(1, len(records) + 1)]
    return "".join(record["message"] for record in records)


@pytest.mark.parametrize("character", ["x", "\x01", "é", "€", "\U0001f600", "\udc80"], ids=ascii)
@pytest.mark.parametrize("length", [9_900, 10_150, 15_200, 20_200, 20_300, 30_500, 61_000, 61_500, 200_000])
def test_no_record_is_larger_than_its_bound(recording: Recording, character: str, length: int) -> None:
    """60 KiB of bytes as sent, whatever the characters: above 64 KB Sumo cuts a line, and the rest is no JSON."""
    recording.recorder.line(character * length)

    lines = recording.lines()

    assert max(len(line) for line in lines) <= RECORD_MAX_BYTES
    assert joined(json.loads(line) for line in lines) == character * length


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=5), st.integers(1, 20_000)), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(["order", "customer", "id"]), st.integers(0, 20_000), max_size=3),
)
@settings(max_examples=60)
def test_a_long_message_is_split_and_nothing_is_lost(
    long_recording: Recording, pieces: list[tuple[str, int]], sizes: dict[str, int]
) -> None:
    """Message and fields of any size: parts within the bound, which put together hold all of it."""
    text = "[INFO]\t" + "".join(piece * count for piece, count in pieces)
    record = logging.LogRecord("orders", logging.INFO, "", 0, text, (), None)
    record.__dict__.update({name: "f" * size for name, size in sizes.items()})
    long_recording.recorder.record(f"{text}\n", record)

    lines = long_recording.lines()

    assert max(len(line) for line in lines) <= RECORD_MAX_BYTES
    records = [json.loads(line) for line in lines]
    message = joined(records)
    assert message.startswith(json.loads(json.dumps(text)))
    rest = json.loads(message[len(text) :] or "{}")
    for name, size in sizes.items():
        key = "extra_id" if name == "id" else name
        assert rest.get(key, records[0].get(key)) == "f" * size


def test_parts_carry_what_the_record_had(recording: Recording) -> None:
    """Each part is a record of its own: with an id, the request, level and logger to search for."""
    recording.recorder.enter_invocation("r-1")
    record = logging.LogRecord("orders", logging.INFO, "", 0, "", (), None)
    recording.recorder.record("x" * 150_000, record)

    records = recording.records()

    assert len(records) == len({each["id"] for each in records}) == 4
    shown = {(each["requestID"], each["level"], each["logger"], each["time"]) for each in records}
    assert len(shown) == 1 and ("r-1", "INFO", "orders") == shown.pop()[:3]


def test_a_stack_too_long_for_a_record_does_not_cost_level_and_logger(recording: Recording) -> None:
    """An endless recursion's traceback is longer than a record; errors are searched for by their level."""

    def there() -> None:
        back()

    def back() -> None:
        there()

    record = logging.LogRecord("orders", logging.ERROR, "", 0, "", (), None)
    try:
        there()
    except RecursionError:
        record.exc_info = sys.exc_info()
    recording.recorder.record("[ERROR]\tfailed", record)

    records = recording.records()

    shown = {(each.get("level"), each.get("logger"), each.get("errorType")) for each in records}
    assert shown == {("ERROR", "orders", "RecursionError")}
    text, _, fields = joined(records).partition("\n")
    assert (text, list(json.loads(fields))) == ("[ERROR]\tfailed", ["stackTrace"])


def test_threads_keep_their_records_apart(recording: Recording, noted: None, tmp_path: Path) -> None:
    """Several threads log and print through one real stream: each line once, each with its own details or none."""
    with open(tmp_path / "stderr", "w") as file:
        stream = Stream(file, STDERR, recording.recorder.written)
        handler = logging.StreamHandler(stream)

        def work(number: int) -> None:
            logger = logging.getLogger(f"orders.{number}")
            logger.propagate = False
            logger.addHandler(handler)
            for count in range(200):
                logger.error("logged %d %d", number, count, extra={"number": number})
                print("printed", number, count, file=stream)
            logger.handlers.clear()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    records = recording.records()

    expected = [
        f"{verb} {number} {count}" for verb in ("logged", "printed") for number in range(4) for count in range(200)
    ]
    assert sorted(record["message"] for record in records) == sorted(expected)
    for record in records:
        verb, number, _ = record["message"].split()
        assert record.get("logger") == (f"orders.{number}" if verb == "logged" else None)
        assert record.get("number") == (int(number) if verb == "logged" else None)


def test_a_record_that_is_not_enhanced_has_no_key_of_ours(tmp_path: Path) -> None:
    """SUMO_ENHANCE_JSON_LOGS=false: text as ``{"message": …}``, an object as itself; the id is the spool's business."""
    recording = Recording(tmp_path / "spool", is_enhanced=False)
    record = logging.LogRecord("orders", logging.INFO, "", 0, "", (), None)
    record.__dict__["field"] = "f"
    recording.recorder.enter_invocation("r-1", trace_id="Root=1-a", tenant_id="t-1")
    recording.recorder.written('printed "text"\n{"a": {"b": 1}} \n', STDOUT)
    recording.recorder.record("logged", record)
    recording.recorder.record('{"logged": true}', record)
    recording.recorder.failed("failed", ',"errorType":"E"')
    recording.recorder.line("x" * 100_000)

    *records, first, second, third = [{**r, "id": None} for r in map(json.loads, recording.raw_lines())]

    assert records == [
        {"message": 'printed "text"', "id": None},
        {"a": {"b": 1}, "id": None},
        {"message": "logged", "id": None},
        {"logged": True, "id": None},
        {"message": "failed", "id": None},
    ]
    assert [set(part) for part in (first, second, third)] == [{"message", "part", "parts", "id"}] * 3
    assert joined([first, second, third]) == "x" * 100_000


class Unhashable(str):
    """A name that can be asked for nothing."""

    def __hash__(self) -> int:
        raise KeyError("no")

    def __str__(self) -> str:
        raise KeyError("no")


ODD: list[Any] = [None, [20], {"a": 1}, "20", float("nan"), float("inf"), -1, 10**400, True, b"x", Unhashable("x"), ""]


@pytest.mark.parametrize("name", ["created", "levelno", "levelname", "name", "exc_info", "exc_text", "msg", "args"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{type(value).__name__}-{len(repr(value))}")
def test_an_odd_record_is_recorded(recording: Recording, name: str, value: Any) -> None:
    """Once, whatever an attribute is, with what else it has: CloudWatch has its text, and ``logging`` checks nothing.

    The second time, too, when something may have been kept of the first.
    """
    record = logging.LogRecord("orders", logging.ERROR, "", 0, "", (), None)
    record.__dict__.update({404: 3, name: value})  # type: ignore[dict-item]  # as ``extra`` does
    for _ in range(2):
        recording.recorder.record("odd\n", record)
    shown = [(each["message"], each["404"]) for each in recording.records()]
    assert shown == [("odd", 3)] * 2
    assert "unrecorded" not in recording.recorder.spool.counters.counts()


@pytest.mark.parametrize("name", list(logging.LogRecord("", 0, "", 0, "", (), None).__dict__))
def test_a_record_that_lacks_something_is_recorded(recording: Recording, name: str) -> None:
    """A filter may take anything from a record, to save memory or a secret: the rest is there."""
    record = logging.LogRecord("orders", logging.ERROR, "", 0, "", (), None)
    record.__dict__[404] = 3  # type: ignore[index]  # as ``extra`` does
    del record.__dict__[name]
    recording.recorder.record("odd\n", record)
    (got,) = recording.records()
    assert (got["message"], got["404"]) == ("odd", 3)
    assert name in ("levelno", "levelname") or got["level"] == "ERROR"


def test_a_record_whose_details_cannot_be_had_is_its_text(recording: Recording) -> None:
    """With the time alone: a text that is there is worth more than a level that is not."""

    class Hidden(logging.LogRecord):
        @property
        def levelno(self) -> int:
            raise LookupError("none")

        @levelno.setter
        def levelno(self, value: int) -> None:
            pass

    recording.recorder.record("odd\n", Hidden("orders", logging.ERROR, "", 0, "", (), None))
    (record,) = recording.records()
    assert (record["message"], "level" in record) == ("odd", False)


def test_a_text_of_another_kind_is_recorded(recording: Recording) -> None:
    """A formatter may return what only looks like a text, to a handler that takes it."""

    class Odd(str):
        def removesuffix(self, suffix: str, /) -> str:
            raise KeyError("no")

    record = logging.LogRecord("orders", logging.ERROR, "", 0, "", (), None)
    recording.recorder.record(Odd("odd\n"), record)
    recording.recorder.record(None, record)  # type: ignore[arg-type]  # what a formatter may forget to return
    assert recording.messages() == ["odd", "None"]


FAULT_SCRIPT = """
import json, logging, sys
sys.path[:0] = sys.argv[1:2]
from sumo_internal.capture.recorder import Recorder
from sumo_internal.spool.writer import Spool
class Failing:
    partial_max_chars = 100
    append = cut = enter_invocation = leave_invocation = leave_init = lambda *_: None
    def passed(self, *line, **what):
        return json.loads("")
spool = Spool(sys.argv[2], {}, 1_000_000)
recorder = Recorder(spool, {}, processing=Failing())
recorder.record("logged\\n", logging.LogRecord("orders", logging.ERROR, "", 0, "", (), None))
recorder.written("printed\\n", 1)
print(spool.counters.counts())
"""


def test_what_cannot_be_recorded_is_counted(tmp_path: Path) -> None:
    """Nothing raises into the function, and the loss has its reason in the accounting. In a process of its own, which
    does not raise what these tests do."""
    command = [sys.executable, "-c", FAULT_SCRIPT, str(ROOT), str(tmp_path / "spool")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "{'unrecorded': (2, 14)}\n"
    assert done.stderr.count("\n") == 1 and "recording a line failed: JSONDecodeError" in done.stderr


def test_a_loggers_name_keeps_to_the_limit(recording: Recording) -> None:
    """Whoever names a logger after a request's body: every record is within its bound, and none is kept for good."""
    record = logging.LogRecord("n" * 100_000, logging.ERROR, "", 0, "", (), None)
    for _ in range(2):
        recording.recorder.record("paid\n", record)
        lines = recording.lines()
        assert max(len(line) for line in lines) <= RECORD_MAX_BYTES
        text = joined(json.loads(line) for line in lines)
        assert (text[:5], json.loads(text[5:])) == ("paid\n", {"logger": "n" * 100_000})
    assert recording.recorder.loggers == {}


def test_a_level_is_what_the_record_had(recording: Recording, logger: logging.Logger) -> None:
    """Not what a formatter that colours and pads it has left in ``levelname``."""

    class Colour(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            record.levelname = f"\x1b[33m{record.levelname:8}\x1b[0m"
            return super().format(record)

    logger.handlers[0].setFormatter(Colour("%(levelname)s %(message)s"))
    logger.warning("paid")
    logger.error("not paid")
    assert [record["level"] for record in recording.records()] == ["WARNING", "ERROR"]


def test_what_the_runtime_writes_past_its_handler_is_of_no_log_record(recording: Recording) -> None:
    """The runtime's own words on a failure come while another thread logs: that thread's fields are not theirs."""
    is_logging, may_go_on = threading.Event(), threading.Event()

    class Frames:
        def log(self, message: str, frame_type: object = None) -> None:
            if message == "a line of the function's\n":
                is_logging.set()
                assert may_go_on.wait(10)

    class FramesHandler(logging.Handler):
        log_sink = Sink(Frames(), recording.recorder)
        handle = _handle

        def emit(self, record: logging.LogRecord) -> None:
            self.log_sink.log(f"{record.getMessage()}\n")

    own = logging.Logger("orders")
    own.addHandler(FramesHandler())
    thread = threading.Thread(target=own.info, args=("a line of the function's",), kwargs={"extra": {"order": 7}})
    thread.start()
    assert is_logging.wait(10)
    FramesHandler.log_sink.log("LAMBDA_WARNING: Unhandled exception.\n")
    may_go_on.set()
    thread.join()

    warning, line = recording.records()
    assert warning["message"] == "LAMBDA_WARNING: Unhandled exception." and "order" not in warning
    assert (line["message"], line["order"]) == ("a line of the function's", 7)


def test_a_handlers_lock_is_taken_as_the_library_takes_it(
    monkeypatch: pytest.MonkeyPatch, recording: Recording
) -> None:
    """From Python 3.13 on no method is called for it, in the middle of which a time limit would leave it taken."""

    class Noting(logging.Handler):
        log_sink = Sink(io.StringIO(), recording.recorder)

        def acquire(self) -> None:
            called.append("acquire")
            super().acquire()

        def emit(self, record: logging.LogRecord) -> None:
            called.append("emit")

    called: list[str] = []
    own = reentrancy.OWN_HANDLE
    monkeypatch.setattr(logging.Handler, "handle", own)
    monkeypatch.setattr("sumo_internal.capture.recorder._note_own_handles", lambda: None)
    note_records()
    assert logging.Handler.handle is not own
    for handle in (own, logging.Handler.handle, _handle):
        handle(Noting(), logging.LogRecord("shop", 20, "", 1, "a line", (), None))
    third = len(called) // 3
    assert called == 3 * called[:third] != []


def test_a_handler_without_a_lock_does_what_it_does_without_us(
    monkeypatch: pytest.MonkeyPatch, recording: Recording
) -> None:
    """Up to Python 3.12 it writes, later it raises."""

    class Unlocked(logging.Handler):
        log_sink = Sink(io.StringIO(), recording.recorder)

        def createLock(self) -> None:
            self.lock = None

        def emit(self, record: logging.LogRecord) -> None:
            pass

    def outcome(handle: Any) -> str:
        try:
            return str(handle(Unlocked(), record) is not None)
        except Exception as error:
            return repr(error)

    own, record = reentrancy.OWN_HANDLE, logging.LogRecord("shop", 20, "", 1, "a line", (), None)
    monkeypatch.setattr(logging.Handler, "handle", own)
    monkeypatch.setattr("sumo_internal.capture.recorder._note_own_handles", lambda: None)
    note_records()
    assert outcome(logging.Handler.handle) == outcome(_handle) == outcome(own)


def test_a_filter_hands_on_another_record_where_the_library_takes_it(
    monkeypatch: pytest.MonkeyPatch, recording: Recording
) -> None:
    """From Python 3.12 on. Before, ``logging`` emits what it had."""

    class Replacing(logging.Handler):
        log_sink = Sink(io.StringIO(), recording.recorder)

        def filter(self, record: logging.LogRecord) -> Any:
            return logging.LogRecord("shop", 20, "", 1, "another", (), None)

        def emit(self, record: logging.LogRecord) -> None:
            emitted.append(record.getMessage())

    emitted: list[str] = []
    own = reentrancy.OWN_HANDLE
    monkeypatch.setattr(logging.Handler, "handle", own)
    monkeypatch.setattr("sumo_internal.capture.recorder._note_own_handles", lambda: None)
    note_records()
    for handle in (own, logging.Handler.handle, _handle):
        handle(Replacing(), logging.LogRecord("shop", 20, "", 1, "one", (), None))
    assert emitted == 3 * emitted[:1]


def test_what_is_printed_behind_a_time_limit_is_of_no_log_record(recording: Recording, noted: None) -> None:
    """A signal handler that raises behind any call in the middle of a log call: the record is noted no longer.

    All that its thread printed afterwards was taken for that record's: its level, its time, its fields.
    """

    class InPieces(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recording.recorder.written("logged\n", STDERR)

    class OwnHandle(InPieces):
        def handle(self, record: logging.LogRecord) -> Any:
            return logging.Handler.handle(self, record)

    for handler in (InPieces(), OwnHandle()):
        record = logging.LogRecord("shop", 20, "", 1, "logged", (), None)
        codes: list[Any] = [type(handler).handle, logging.Handler.handle]
        interruptions = Interruptions(codes, raise_time_limit, is_behind_call)
        for _ in interruptions.of(lambda _, handler=handler, record=record: handler.handle(record)):  # type: ignore[misc]
            assert subjects == {}
            handler.createLock()  # up to Python 3.12 it may be left taken, as without us
        assert interruptions.number > 5


def test_what_is_printed_behind_a_time_limit_is_of_no_report(recording: Recording) -> None:
    """In a report of an error likewise: all that its thread printed afterwards was lost, and counted nowhere."""

    def report() -> None:
        recording.recorder.written("reported\n", STDERR)

    for details in (None, str):
        reporting = reported(recording.recorder, report, details)
        interruptions = Interruptions([reporting], raise_time_limit, is_behind_call)
        for _ in interruptions.of(lambda _, reporting=reporting: reporting()):  # type: ignore[misc]
            assert subjects == {}
        assert interruptions.number > 5


def test_what_a_time_limit_has_left_ends_with_the_invocation(recording: Recording) -> None:
    """It may come where nothing can be done: then the next invocation's lines are their own again."""
    subjects[threading.get_ident()] = logging.LogRecord("shop", 40, "", 1, "interrupted", (), None)
    recording.recorder.enter_invocation("r-2")
    recording.recorder.written("printed\n", STDOUT)
    (record,) = recording.records()
    assert "level" not in record and subjects == {}
