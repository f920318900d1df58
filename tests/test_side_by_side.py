"""Programs that log and print, with the layer and without: what each statement writes, raises and sees is the same.

A statement may change anything that a line goes through: loggers, handlers, filters, classes, clocks, streams. The
statements behind it then show what has become of that. What was recorded is what is recorded where each line has a log
record of the library's, and goes through the runtime's handler.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logging_statements import CALLS, CHANGES, PRELUDE, PRINTS, SHORT
from runtimes import runtimes, typical
from test_joint_rendering import Servers, servers
from test_joint_rendering import form as form  # a fixture
from test_spared_calls import plain

MODES = ("bare", "layer", "apart", "spared", "falling back", "flight")
WRITING = ("layer", "apart", "falling back", "flight")
"""What writes each line, with us."""
LIKE_THE_LIBRARY = ("layer", "apart", "flight")
"""Without SUMO_CLOUDWATCH, where a line that is spared cannot fail to be written."""

Answers = dict[str, dict[str, Any]]
RUNTIMES = [*runtimes([4]), *runtimes([2])[-1:], *runtimes([3])[-1:]]
"""The newest client on each Python, each client on one."""


each, one = servers(RUNTIMES, MODES), servers([typical()], MODES)
unframed = servers([*runtimes([4])[:1], *runtimes([4])[-1:]], MODES, "stdout")


def differences(answers: Answers, compared: tuple[str, ...]) -> list[str]:
    """What is not as without the layer: by mode and statement; and what was not recorded as it is in the long way.

    Where lines may be spared, a line is written when it is whole, and blank ones are not.
    """
    bare, found = answers["bare"]["steps"], []
    for mode in compared:
        steps = answers[mode]["steps"]
        parts = [part for part, modes in PARTS.items() if mode in modes]
        for expected, got in zip(bare, steps, strict=True):
            for part in parts:
                without, ours = clear(expected[part]), clear(got[part])
                if without != ours:
                    found.append(f"{mode}: {got['statement']!r}: {part}\n    without {without!r}\n    with    {ours!r}")
    for stream in ("stdout", "stderr") if "falling back" in compared else ():
        texts = [written(answers[mode]["steps"], stream) for mode in ("bare", "falling back")]
        if texts[0] != texts[1]:
            found.append(f"falling back: {stream}\n    without {texts[0]!r}\n    with    {texts[1]!r}")
    records = {mode: clear(answers[mode]["records"]) for mode in MODES}
    for mode in compared:
        if records[mode] != records["apart"]:
            lone = [each for each in records[mode] if each not in records["apart"]]
            missing = [each for each in records["apart"] if each not in records[mode]]
            found.append(f"{mode}: records\n    apart   {missing!r}\n    {mode}    {lone!r}")
    return found


def written(steps: list[dict[str, Any]], stream: str) -> str:
    """All lines of a stream, without their ends: a text that has none gets one."""
    return re.sub("\\s*\n", "", clear("".join(step[stream] for step in steps)))


PARTS = {
    "frames": WRITING,
    "stdout": LIKE_THE_LIBRARY,
    "stderr": LIKE_THE_LIBRARY,
    "error": MODES,
    "seen": MODES,
}
"""What a statement does, and in which modes it is compared by statement."""
OUR_FRAME = r'  File \\?"[^"]*/sumo_internal/[^"]*", line \d+, in \w+(?:\n|\\n)(?:    .*?(?:\n|\\n))+'
"""In a traceback: an error of a stream's passes the stream that stands before it."""
UNHASHABLE = r"(?<=cannot use ')\w+"
VARYING = (r"\.\d{3}(?=Z)", "(?<=0x)[0-9a-f]+", OUR_FRAME, '(, "")+', UNHASHABLE)
"""Milliseconds, addresses, our frames in a traceback, and what they leave in a list; and, from Python 3.14 on, what was
to be a key: it is in a tuple where a line is held back (SUMO_DEBUG_ON_FAILURE)."""


def clear(part: Any) -> Any:
    """What a statement did, without times and addresses, and without our frames in tracebacks."""
    if isinstance(part, list):
        return [clear(each) for each in part]
    part = plain([part])[0]
    for pattern in VARYING:
        part = re.sub(pattern, "", part)
    return part


def check(servers: Servers, *program: str, compared: tuple[str, ...] = MODES[1:]) -> None:
    """Run a program in each mode, and compare some with the one without the layer.

    Raises:
        AssertionError: Something is not as without the layer.
    """
    found = differences(servers.ask({"program": [PRELUDE, *program]}), compared)
    assert not found, "\n".join(found)


def test_calls(each: Servers) -> None:
    """One after the other, with nothing changed."""
    check(each, *CALLS)


def test_calls_that_a_handler_sees(each: Servers) -> None:
    """And with one more handler, which has the place of the call and the stack."""
    check(each, "root.addHandler(Probe())", *CALLS)


def test_prints(each: Servers) -> None:
    """Whatever is written to the two streams, or asked of them."""
    check(each, *PRINTS)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change(one: Servers, change: str) -> None:
    """Of anything that a line goes through."""
    check(one, change, *SHORT, compared=LIKE_THE_LIBRARY if change == "os.close(1)" else MODES[1:])


SHOWN = [call for call in CALLS if not call.startswith("held.")]
"""Not those of lines that the function does not show, and that are made all the same (SUMO_DEBUG_ON_FAILURE)."""
NOT_MIXED = {
    "os.close(1)": "of two errors of a write another comes first (SUMO_CLOUDWATCH)",
    "log._log([20], 'unhashable', ())": "the level is asked for before there is a log record (SUMO_DEBUG_ON_FAILURE)",
    "handler.lock = threading.Lock()": "a value that logs when it is asked for its text waits for ever, without us too",
}
MIXED = [change for change in CHANGES if change not in NOT_MIXED]
STATEMENTS = st.lists(st.sampled_from(MIXED) | st.sampled_from(SHOWN) | st.sampled_from(PRINTS), max_size=8).map(
    lambda statements: [each for each in statements if each not in NOT_MIXED]
)


@given(program=STATEMENTS)
@settings(max_examples=10, derandomize=True)  # raise the number, and look for others, when something has changed
def test_programs(each: Servers, program: list[str]) -> None:
    """Several changes, with lines between them and behind."""
    check(each, *program, *SHORT)


@given(program=STATEMENTS)
@settings(max_examples=10, derandomize=True)  # raise the number, and look for others, when something has changed
def test_programs_without_frames(unframed: Servers, program: list[str]) -> None:
    """Where the runtime's handler writes to stdout."""
    check(unframed, *program, *SHORT)
