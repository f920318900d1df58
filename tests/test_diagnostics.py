"""The guard: in production it swallows and says one line, under test it raises, and it never makes things worse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from functools import partial
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from layer.build import ROOT
from sumo_internal import diagnostics


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the function's process: not strict, at the default level."""
    monkeypatch.setattr(diagnostics, "IS_STRICT", False)
    monkeypatch.setattr(diagnostics, "_threshold", diagnostics.LEVELS.index("info"))


def fail(text: str = "detail") -> None:
    raise LookupError(text)


def test_it_swallows_in_production_and_says_where(production: None, capfd: pytest.CaptureFixture[str]) -> None:
    """One line: what was being done, what happened, and where."""
    with diagnostics.guard("reading a log line"):
        fail()

    said = capfd.readouterr().err
    begin = "sumo-internal-extension: error: reading a log line failed: LookupError: detail (test_diagnostics"
    assert said.startswith(begin)
    assert said.count("\n") == 1


def test_it_says_the_same_thing_once(production: None, capfd: pytest.CaptureFixture[str]) -> None:
    """An error in the hot path must not double the function's log."""
    for _ in range(100):
        with diagnostics.guard("reading a log line"):
            fail()
    assert capfd.readouterr().err.count("\n") == 1


def test_what_it_remembers_is_bounded(production: None, capfd: pytest.CaptureFixture[str]) -> None:
    """Errors with ever new texts fill neither the memory nor the log."""
    for number in range(2_000):
        diagnostics.say_once("error", f"text {number}")
    assert capfd.readouterr().err.count("\n") == 256


def test_it_raises_under_test() -> None:
    """What production would swallow fails the test that brings it about."""
    with pytest.raises(LookupError, match="detail"), diagnostics.guard("reading a log line"):
        fail()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_the_functions_passes(production: None, kind: type[BaseException]) -> None:
    """A signal handler of the function's may raise these in the middle of our code: they are not ours to stop."""
    with pytest.raises(kind), diagnostics.guard("reading a log line"):
        raise kind


class Handler:
    """A signal's handler, in the forms that one has."""

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    def method(self, signal_number: int, frame: FrameType | None) -> None:
        self(signal_number, frame)

    def of_any(self, *arguments: object) -> None:
        raise TimeoutError

    def of_rest(self, signal_number: int, *arguments: object, is_hard: bool = True) -> None:
        raise TimeoutError


@pytest.mark.parametrize(
    "handler",
    [Handler(), Handler().method, Handler().of_any, Handler().of_rest, partial(Handler.of_any, Handler())],
    ids=["object", "method", "any", "rest", "partial"],
)
def test_what_a_signals_handler_raises_in_our_code_passes(production: None, handler: Any) -> None:
    """A time limit's, whatever kind of object the handler is."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeoutError), diagnostics.guard("reading a log line"):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_who_looks_at_our_frame_is_no_signals_handler(production: None, capfd: pytest.CaptureFixture[str]) -> None:
    """An audit hook of the function's that looks for its caller: what it raises in our code is not the function's."""

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        frame, both = sys._getframe(1), (name, sys._getframe(1))
        raise PermissionError(frame.f_lineno, both)

    with diagnostics.guard("listing the folder"):
        hook("os.listdir", (sys._getframe(),))
    assert "listing the folder failed: PermissionError" in capfd.readouterr().err


def test_nothing_happens_where_nothing_is_wrong(production: None, capfd: pytest.CaptureFixture[str]) -> None:
    """The normal case says nothing."""
    with diagnostics.guard("reading a log line"):
        pass
    assert capfd.readouterr().err == ""


def test_an_error_whose_text_cannot_be_had_is_still_swallowed(
    production: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """The function's objects may raise its own exceptions in our code, and their ``__str__`` is its own, too."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise self

    with diagnostics.guard("recording a log record"):
        raise Mute

    assert "recording a log record failed: Mute" in capfd.readouterr().err


def test_what_is_said_is_one_line(production: None, capfd: pytest.CaptureFixture[str]) -> None:
    """A text of several lines, with characters that are no text: one line that a reader of logs can take."""
    diagnostics.say("warn", "two\nlines\r\n\tand \udc80")
    assert capfd.readouterr().err == "sumo-internal-extension: warn: two lines and \\udc80\n"


@given(st.text(), st.integers(1, 300))
@example("\x1b[31mred\x1b[0m \x9b0m \u202etxt.exe \u2066\u200b\r\n\0\x7f caf\xe9 \U0001f600", 200)
@example("\x1b" * 1_000_000, 200)
def test_a_text_that_is_not_ours_is_made_legible(text: str, max_characters: int) -> None:
    """Whatever a source or a key of an object has: one line, within its bound, that neither rules a terminal nor turns
    what is read around."""
    shown = diagnostics.legible(text, max_characters)
    assert len(shown) <= max_characters and shown.isprintable()
    if text.isprintable() and text == " ".join(text.split()) and len(text) <= max_characters:
        assert shown == text


@pytest.mark.parametrize("level", diagnostics.LEVELS)
def test_levels(production: None, capfd: pytest.CaptureFixture[str], level: str) -> None:
    """SUMO_LOG_LEVEL names the least severe level that is said."""
    diagnostics.set_level(level)
    for each in diagnostics.LEVELS:
        diagnostics.say(each, "text")
    said = [line.split(": ")[1] for line in capfd.readouterr().err.splitlines()]
    assert said == list(diagnostics.LEVELS[diagnostics.LEVELS.index(level) :])


def test_what_is_said_passes_by_the_functions_stderr(
    production: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of ours must not come back as a line of the function's, nor take a lock of its stream."""
    monkeypatch.setattr(sys, "stderr", None)
    diagnostics.say("error", "text")
    assert capfd.readouterr().err == "sumo-internal-extension: error: text\n"


def test_a_closed_stderr_is_no_error() -> None:
    """There is nobody left to tell, and that is all."""
    code = "import os; from sumo_internal.diagnostics import say; os.close(2); say('error', 'text'); print('alive')"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environ, text=True) == "alive\n"


def test_forked_processes_say_a_line_once_together(production: None) -> None:
    """Workers of Managed Instances do the same work and find the same wrong with it, all at the same moment."""
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from sumo_internal import diagnostics\n"
        f"diagnostics.share('127.0.0.1:{uuid.uuid4().hex[:8]}')\n"
        "done, tell = os.pipe()\n"
        "wait, go = os.pipe()\n"
        "children = []\n"
        "for _ in range(8):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.close(go)\n"
        "        diagnostics.say_once('warn', 'the same')\n"
        "        diagnostics.say_once('warn', 'the same')\n"
        "        diagnostics.say_once('warn', f'of {os.getpid()}')\n"
        "        os.write(tell, b'.')\n"
        "        os.read(wait, 1)\n"  # until all have said it: a process that is gone claims nothing
        "        os._exit(0)\n"
        "    children.append(child)\n"
        "for _ in children:\n"
        "    os.read(done, 1)\n"
        "os.close(go)\n"
        "for child in children:\n"
        "    os.waitpid(child, 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    said = [line.rpartition(": ")[2] for line in ended.stderr.splitlines()]
    assert said.count("the same") == 1 and len(said) == 9
