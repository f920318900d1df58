"""The streams: what is written goes where it went, raises what it raised, and is heard once."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spool_functions import taken

from layer.build import ROOT
from layer.interpreters import Interpreter, find
from sumo_internal import diagnostics
from sumo_internal.capture import record_format
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.streams import Stream, listen
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

STDOUT = 1


class Heard:
    """A stream on a real file, and what its listener was told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plain = open(path, "w", encoding="utf-8", newline="\n")
        self.texts: list[str] = []
        self.stream: Any = Stream(self.plain, STDOUT, self._listen)

    def _listen(self, text: str, number: int) -> None:
        assert number == STDOUT
        self.texts.append(text)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def written(self) -> bytes:
        """What is in the file."""
        self.plain.flush()
        return self._path.read_bytes()


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    heard = Heard(tmp_path / "stdout")
    yield heard
    heard.plain.close()


def test_text_arrives_and_is_heard(heard: Heard) -> None:
    """Every way of writing text: to the file as before, and to the listener once."""
    print("order", 17, sep=": ", end="!\n", file=heard.stream, flush=True)
    assert heard.stream.write("written €\n") == 10
    heard.stream.writelines(["two\n", "lines\n"])

    assert heard.text == "order: 17!\nwritten €\ntwo\nlines\n"
    assert heard.written == heard.text.encode()


def test_bytes_arrive_and_are_heard(heard: Heard) -> None:
    """Every way of writing bytes below the text, whatever kind of buffer holds them."""
    assert heard.stream.buffer.write(b"bytes\n") == 6
    heard.stream.buffer.write(memoryview("mémoire\n".encode()))
    heard.stream.buffer.write(bytearray(b"array\n"))
    heard.stream.buffer.writelines([b"two\n", b"lines\n"])

    assert heard.text == "bytes\nmémoire\narray\ntwo\nlines\n"
    heard.stream.buffer.flush()
    assert heard.written == heard.text.encode()


def test_bytes_that_are_no_text_are_heard_as_escapes(heard: Heard) -> None:
    """A program's binary output must not raise in its own write."""
    heard.stream.buffer.write(b"\xff\xfe\n")
    assert record_format.legible(heard.text) == "\\xff\\xfe\n"


@given(st.text(st.sampled_from("aé€\U0001f600\n"), max_size=30), st.data())
def test_characters_are_whole_however_their_bytes_are_cut(text: str, data: st.DataObject) -> None:
    """Who copies a child's output to ``sys.stdout.buffer`` does so in blocks, which end in the middle of characters."""
    encoded = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=5)))
    texts: list[str] = []
    stream = Stream(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), STDOUT, lambda text, _: texts.append(text))
    for begin, end in zip([0, *cuts], [*cuts, len(encoded)], strict=True):
        stream.buffer.write(encoded[begin:end])

    assert record_format.legible("".join(texts)) == text


def test_a_copied_file_is_heard(heard: Heard) -> None:
    """The usual way to pass on a child's output."""
    shutil.copyfileobj(io.BytesIO("käse\n".encode()), heard.stream.buffer)
    assert heard.text == "käse\n"


def test_a_wrapper_of_the_functions_own_is_heard_once(heard: Heard) -> None:
    """``sys.stdout = io.TextIOWrapper(sys.stdout.buffer, …)`` is how functions change the encoding or the buffering."""
    wrapper = io.TextIOWrapper(heard.stream.buffer, encoding="utf-8", line_buffering=True)
    wrapper.write("wrapped €\n")

    assert heard.text == "wrapped €\n"
    assert heard.written == heard.text.encode()
    wrapper.detach()


@pytest.mark.parametrize(
    "call",
    [
        lambda stream: stream.write(17),
        lambda stream: stream.write(b"bytes"),
        lambda stream: stream.write("\udc80"),
        lambda stream: stream.writelines(["fine\n", 17]),
        lambda stream: stream.writelines(17),
        lambda stream: stream.buffer.write("text"),
        lambda stream: stream.read(),
        lambda stream: stream.no_such_name,
        lambda stream: (stream.close(), stream.write("late")),
        lambda stream: (stream.close(), stream.buffer.write(b"late")),
        lambda stream: (stream.close(), stream.flush()),
        lambda stream: next(stream),
        lambda stream: copy.copy(stream),
        lambda stream: copy.deepcopy([stream.buffer]),
        lambda stream: (stream.close(), stream.writelines([])),
        lambda stream: (stream.close(), stream.buffer.writelines([])),
    ],
)
def test_errors_are_the_streams_own(heard: Heard, tmp_path: Path, call: Any) -> None:
    """Wrong types, text that cannot be encoded, a closed file: as without us, and nothing is heard of it."""
    with open(tmp_path / "plain", "w", encoding="utf-8") as plain, pytest.raises(Exception) as expected:
        call(plain)

    with pytest.raises(type(expected.value)) as raised:
        call(heard.stream)

    assert str(raised.value) == str(expected.value)
    assert heard.text in ("", "fine\n")


def test_it_has_what_a_stream_has(heard: Heard) -> None:
    """What libraries ask a stream for is the stream's own, changed when it changes."""
    stream, plain = heard.stream, heard.plain
    for name in ("encoding", "errors", "name", "mode", "closed", "line_buffering", "newlines"):
        assert getattr(stream, name) == getattr(plain, name)
    assert (stream.fileno(), stream.isatty(), stream.writable()) == (plain.fileno(), False, True)
    assert stream.buffer.fileno() == plain.fileno()
    assert repr(stream) == repr(plain) and repr(stream.buffer) == repr(plain.buffer)
    stream.reconfigure(line_buffering=True)
    assert stream.line_buffering and plain.line_buffering


def test_it_can_be_used_in_a_with_statement(heard: Heard) -> None:
    """``with open(path) if path else sys.stdout as file``: common, and special methods are not found by getattr."""
    with heard.stream as stream:
        stream.write("within\n")
    assert heard.text == "within\n"
    assert heard.plain.closed


def test_a_listener_that_fails_does_not_reach_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In production the write succeeds and one line is said; under test it is raised, after the text was written."""

    def fail(text: str, number: int) -> None:
        json.loads("nothing there")

    with open(tmp_path / "stdout", "w") as plain:
        stream = Stream(plain, STDOUT, fail)
        with pytest.raises(ValueError):
            stream.write("strict\n")
        monkeypatch.setattr(diagnostics, "IS_STRICT", False)
        assert [stream.write("production\n") for _ in range(3)] == [11, 11, 11]
        assert stream.buffer.write(b"bytes\n") == 6

    assert (tmp_path / "stdout").read_text().count("production\n") == 3
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and "JSONDecodeError: Expecting value" in said[0]


TIME_LIMITS_SCRIPT = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.capture.recorder import Recorder
from sumo_internal.spool.writer import Spool
from sumo_internal.capture.streams import Stream

import functools

class TooLate(Exception):
    pass

def give_up(number, frame):
    global given_up
    given_up += 1
    raise TooLate

def give_up_once(number, frame):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    give_up(number, None)

class Limit:
    def __call__(self, *arguments):
        give_up(*arguments)

HANDLERS = [give_up, give_up_once, functools.partial(give_up), Limit(), Limit().__call__, lambda *call: give_up(*call)]

def work():
    while given_up == attempt:
        print("working", file=stream)

stream = Stream(open("/dev/null", "w"), 1, Recorder(Spool(sys.argv[2], {}, 64_000_000), {}).written)
given_up = noticed = 0
for attempt in range(300):
    signal.signal(signal.SIGALRM, HANDLERS[attempt % len(HANDLERS)])
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + attempt * 0.000_003)
        work()
    except TooLate:
        noticed += 1
print(given_up, noticed)
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_time_limit_of_the_functions_own_is_never_swallowed(tmp_path: Path, interpreter: Interpreter) -> None:
    """A signal handler raises at any instruction, in the middle of recording too: the function has to see it.

    Whatever is a handler: one that is no function, or that is not in place any more when it raises.
    """
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", TIME_LIMITS_SCRIPT, str(ROOT), str(tmp_path / "s")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "300 300\n"


FIELDS_SCRIPT = """
import logging, signal, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.capture.streams import Stream
from sumo_internal.spool.writer import Spool

class TooLate(Exception):
    pass

class Slow:
    def __str__(self):
        return "".join(str(number) for number in range(20))

def give_up(*_):
    global given_up
    given_up += 1
    raise TooLate

signal.signal(signal.SIGALRM, give_up)
note_records()
recorder = Recorder(Spool(sys.argv[2], {}, 64_000_000), {})
handler = logging.StreamHandler(Stream(open("/dev/null", "w"), 1, recorder.written))
handler.handleError = lambda record: (_ for _ in ()).throw(sys.exc_info()[1])
log = logging.Logger("orders")
log.addHandler(handler)

def work():
    while given_up == attempt:
        log.info("order", extra={"nested": {"b": ["c"] * 20, "nan": float("nan"), "slow": Slow()}})

given_up = noticed = 0
for attempt in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + attempt * 0.000_003)
        work()
    except TooLate:
        noticed += 1
print(given_up, noticed)
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_time_limit_is_not_swallowed_while_fields_are_rendered(tmp_path: Path, interpreter: Interpreter) -> None:
    """A field's text, a value that JSON does not take: where the recorder does without one, a limit still counts.

    Guards against a function that goes on for ever, because its one limit came while a dict in ``extra`` was rendered.
    """
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", FIELDS_SCRIPT, str(ROOT), str(tmp_path / "s")]
    given_up, noticed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    # Python swallows one in some hundred itself, without us too: in logging's and traceback's own handlers.
    assert given_up == "300" and int(noticed) >= 295


IN_A_THREAD_SCRIPT = """
import logging, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from interruptions import noticed_in_threads
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.capture.streams import Stream
from sumo_internal.spool.writer import Spool

note_records()
recorder = Recorder(Spool(sys.argv[2], {}, 64_000_000), {})
stream = Stream(open("/dev/null", "w"), 1, recorder.written)

def make_log():
    handler = logging.StreamHandler(stream)  # the one before may have been left locked, as it may be without us
    handler.handleError = lambda record: (_ for _ in ()).throw(sys.exc_info()[1])
    log = logging.Logger("orders")
    log.addHandler(handler)
    log.isEnabledFor(logging.INFO)
    return log

print(noticed_in_threads(make_log))
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_a_time_limit_for_a_thread_is_not_swallowed(tmp_path: Path, interpreter: Interpreter) -> None:
    """Another thread raises it, at any instruction (stopit, func_timeout), and no frame of its tells so."""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", IN_A_THREAD_SCRIPT, str(ROOT), str(tmp_path / "s")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) >= 295, done.stderr  # Python's own code swallows some, without us too


REFUSES_SCRIPT = """
import io, logging, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal import diagnostics
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.capture.streams import Stream
from sumo_internal.spool.counters import UNRECORDED
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

diagnostics.IS_STRICT = False
refused = []

def refuse(event, arguments):
    if refused is not None and event.split(".")[0] in ("open", "os", "mmap", "fcntl"):
        refused.append(event)
        raise PermissionError(f"{event} is refused") if len(refused) % 2 else RuntimeError(f"{event} is refused")

class Odd:
    def raises(self, *_):
        raise LookupError("a value's own")
    __ne__ = __eq__ = __bool__ = __str__ = __repr__ = __len__ = __iter__ = __format__ = __lt__ = raises
    __hash__ = None

file = io.StringIO()
file.buffer = io.BytesIO()
spool = Spool(sys.argv[2], {}, 64_000_000)
recorder = Recorder(spool, {})
stream = Stream(file, 1, recorder.written)
log = logging.getLogger("odd")
log.addHandler(logging.StreamHandler(stream))
note_records()
sys.addaudithook(refuse)
for number in range(20):
    print("printed", number, file=stream)
    stream.write(f"begun {number}")
    stream.write("\\n")
    log.warning("logged %d", number)
assert refused
refused = None
import time
time.sleep(0.2)
for name in ("otelTraceID", "otelSpanID", "value", "tenant_id"):
    log.warning("odd %s", name, extra={name: Odd()})
log.warning("odd, deeper", extra={"value": [Odd(), {"key": Odd()}]})
messages = []
reader = SpoolReader(sys.argv[2], spool)
while slices := reader.take(1_000_000):
    for piece in slices:
        messages += bytes(piece.data()).splitlines()
        piece.acknowledge()
lost = sum(lines for lines, _ in spool.counters.counts().values())
print(len(file.getvalue().splitlines()), len(messages) + lost)
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_errors_of_the_functions_own_code_are_none_of_its_line(tmp_path: Path, interpreter: Interpreter) -> None:
    """An audit hook that refuses our calls, a value that cannot be compared: the write succeeds, the line is counted.

    Guards against a rule that goes by where the code lies: both are the function's own, and neither is its error.
    """
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", REFUSES_SCRIPT, str(ROOT), str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "65 65\n", done.stderr


END_OF_STACK_SCRIPT = """
import io, json, logging, os, sys
sys.path.insert(0, sys.argv[1])
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.capture.runtime_client import Sink
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool
from sumo_internal.capture.streams import Stream

class Frames:
    def log(self, message, frame_type=None):
        file.write(message)

class FramesHandler(logging.Handler):
    def emit(self, record):
        sink.log(self.format(record) + "\\n", 7)

def wake(levels=8):
    spool.wake_offset = 0 if levels else 10**9  # so that the next line does so again
    if levels:
        wake(levels - 1)

def descend(ways, depth):
    way = ways[depth % len(ways)]
    if way == "print":
        print("print", depth, file=stream)
    elif way == "lines":
        stream.write(f"so far {depth}: \\n{{\\"depth\\":{depth}}}\\nthree\\nbegun ")
    elif way == "bytes":
        stream.buffer.write(b"bytes %d\\n" % depth)
    elif way == "long":
        stream.write("x" * 100_000 + f" long {depth}\\n")
    else:
        logging.getLogger(way).warning("logged %d", depth)
    descend(ways, depth + 1)

def at_depth(depth, ways):
    if depth:
        return at_depth(depth - 1, ways)
    descend(ways, 0)

spool = Spool(sys.argv[2], {}, 64_000_000)
reader = SpoolReader(sys.argv[2], spool)
file = io.TextIOWrapper(open(sys.argv[3], "wb", buffering=0), write_through=True)
recorder = Recorder(spool, {})
stream = Stream(file, 1, recorder.written)
sink = Sink(Frames(), recorder)
for name, handler in (("log", logging.StreamHandler(stream)), ("frame", FramesHandler())):
    logging.getLogger(name).propagate = False
    logging.getLogger(name).addHandler(handler)
note_records()
mixed = ["lines", "print", "bytes", "log", "frame"]
sys.setrecursionlimit(220)
for ways in (["print"], ["lines"], ["log"], ["frame"], ["bytes"], ["print", "log"], mixed, ["long"]):
    for depth in range(20 if ways != ["long"] else 6):
        if depth % 3 == 0:
            spool.on_backlog, spool.wake_offset = wake, 0
        try:
            at_depth(depth, ways)
        except RecursionError:
            pass
        print("back again", file=stream)
        file.flush()
        with open(sys.argv[3]) as shown:
            written = shown.read().splitlines()
        file.seek(0)
        file.truncate()
        messages = []
        while slices := reader.take(1_000_000):
            for piece in slices:
                for record in map(json.loads, bytes(piece.data()).splitlines()):
                    message = record["message"]
                    message = message if type(message) is str else json.dumps(message, separators=(",", ":"))
                    if record.get("part", 1) == 1:
                        messages.append("")
                    messages[-1] += message
                piece.acknowledge()
        ends = [[line[-20:] for line in lines[-9:]] for lines in (messages, written)]
        assert len(written) > 20 and messages == written, (ways, depth, ends)
print("all there")
"""


@pytest.mark.parametrize("interpreter", find(), ids=str)
def test_lines_at_the_end_of_the_stack_are_there_once(tmp_path: Path, interpreter: Interpreter) -> None:
    """A recursion without end finds room to write but not to record, at each instruction of recording in turn."""
    command = [str(interpreter.executable), "-I", "-S", "-B", "-c", END_OF_STACK_SCRIPT, str(ROOT)]
    done = subprocess.run([*command, str(tmp_path / "s"), str(tmp_path / "out")], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("all there\n", "")


def test_layers_below_are_heard_too(heard: Heard) -> None:
    """Who goes below the buffer, or takes the stream apart, is still writing to CloudWatch."""
    heard.stream.buffer.raw.write(b"raw\n")
    buffer = heard.stream.detach()
    buffer.write(b"detached\n")
    buffer.flush()
    with buffer.detach() as raw:
        raw.write(b"detached raw\n")
    assert heard.text == "raw\ndetached\ndetached raw\n"
    heard.plain = open(os.devnull, "w")  # for the fixture, which closes it
    with pytest.raises(ValueError, match="detached"):
        heard.stream.write("late")


def test_text_is_heard_as_it_was_sent(tmp_path: Path) -> None:
    """stderr sends what cannot be encoded as an escape, and so CloudWatch has it."""
    texts: list[str] = []
    with open(tmp_path / "stderr", "w", encoding="utf-8", errors="backslashreplace") as plain:
        Stream(plain, 2, lambda text, _: texts.append(text)).write("é \udc80 \ud800\n")
    assert texts == ["é \\udc80 \\ud800\n"] == [(tmp_path / "stderr").read_text()]


def test_the_processes_streams_are_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both, under both of their names: some libraries write to ``sys.__stderr__`` to get around replacements."""
    texts: list[tuple[str, int]] = []
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as err:
        for name, stream in (("stdout", out), ("stderr", err)):
            monkeypatch.setattr(sys, name, stream)
            monkeypatch.setattr(sys, f"__{name}__", stream)

        listen(lambda text, number: texts.append((text, number)))
        sys.stdout.write("out\n")
        sys.stderr.write("err\n")
        assert sys.__stderr__ is not None and sys.__stdout__ is not None
        sys.__stdout__.write("original out\n")
        sys.__stderr__.write("original err\n")

    assert texts == [("out\n", 1), ("err\n", 2), ("original out\n", 1), ("original err\n", 2)]
    assert (tmp_path / "out").read_text() == "out\noriginal out\n"


def test_streams_that_are_not_there_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process started without a stdout has None there; a StringIO, which has no bytes, reaches no CloudWatch."""
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", replaced)

    listen(lambda text, number: None)

    assert sys.stdout is None
    assert sys.stderr is replaced


class Recording:
    """A recorder behind a stream on a real file, and what has been recorded since the last look."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        spool = Spool(str(folder / "spool"), {}, 64_000_000)
        self.recorder = Recorder(spool, {})
        self.file = open(folder / "stdout", "w", encoding="utf-8")
        self.stream: Any = Stream(self.file, STDOUT, self.recorder.written)
        self._reader = SpoolReader(spool.folder, spool)

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in taken(self._reader)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """One for all examples: making a spool costs more than an example."""
    recording = Recording(tmp_path_factory.mktemp("streams") / "recording")
    yield recording
    recording.file.close()


PIECES = st.lists(st.sampled_from(["a", "b c", "\n", "x\ny", "\n\n", "€\n", ""]), max_size=12)


@given(st.lists(PIECES, min_size=2, max_size=4))
@settings(max_examples=60)
def test_lines_of_several_threads_are_heard_once_each(recording: Recording, threads_pieces: list[list[str]]) -> None:
    """Whatever pieces threads write at the same time: each thread's lines come once, whole and in its order."""
    together = threading.Barrier(len(threads_pieces))

    def write(number: int, pieces: list[str]) -> None:
        together.wait()
        for piece in pieces:
            recording.stream.write(piece.replace("\n", f" of {number}\n"))
        recording.stream.write(f"end of {number}\n")

    writers = [threading.Thread(target=write, args=arguments) for arguments in enumerate(threads_pieces)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    messages = recording.messages()

    expected = [
        line
        for number, pieces in enumerate(threads_pieces)
        for line in ("".join(pieces).replace("\n", f" of {number}\n") + f"end of {number}").split("\n")
    ]
    assert Counter(messages) == Counter(expected)
    for number in range(len(threads_pieces)):
        own = f"of {number}"
        assert [line for line in messages if line.endswith(own)] == [line for line in expected if line.endswith(own)]
