"""Interrupts a call at each of its instructions in turn, as a signal handler, a finaliser or a time limit may.

The victim runs in a thread of its own, a new one each time: on Python 3.11 an exception that is raised by a trace
function stays behind in its thread, where a later test would take it for the one that is being handled.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dis import get_instructions, opname
from functools import cache
from itertools import pairwise
from types import CodeType, FrameType, FunctionType
from typing import Any, cast

MOST = 1_000
"""Instructions that a victim may have, those of its loops counted each time."""


class TimeLimit(Exception):
    """What a signal handler of the function's raises, wherever it is called."""


def raise_time_limit(_: int) -> None:
    """End the victim."""
    raise TimeLimit


def noticed_in_threads(make_log: Callable[[], Any]) -> int:
    """Raise a time limit in each of 300 threads that do nothing but log, as stopit and func_timeout do.

    Returns:
        How many of them have noticed.
    """
    noticed: list[object] = []

    def log_until(over: list[object], log: Any, begun: list[object]) -> None:
        begun.append(log)
        while not over:
            log.info("order")

    def work(log: Any, begun: list[object], over: list[object]) -> None:
        try:  # around a call: where the thread gets no CPU for long, it comes at the end of the loop
            log_until(over, log, begun)
        except TimeLimit:
            noticed.append(log)

    for attempt in range(300):
        begun: list[object] = []
        over: list[object] = []
        thread = threading.Thread(target=work, args=(make_log(), begun, over))
        thread.start()
        while not begun:
            time.sleep(0.0001)
        time.sleep(0.0005 + attempt * 0.000_003)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeLimit))
        thread.join(0.05)
        over.append(thread)
        thread.join()
    return len(noticed)


class Interruptions:
    """What is done in the middle of which functions."""

    def __init__(
        self,
        functions: Iterable[Callable[..., object]],
        act: Callable[[int], object],
        may_be: Callable[[FrameType], bool] = lambda _: True,
    ) -> None:
        """Know what to do and where.

        Args:
            functions: Between whose instructions ``act`` is called.
            act: Called with the number of the run, in the victim's thread; may raise :class:`TimeLimit`.
            may_be: Before which instructions.
        """
        self._codes = {cast(FunctionType, function).__code__ for function in functions}
        self._act = act
        self._may_be = may_be
        self._left = 0
        self.number = 0
        """Of the last run."""

    def of(self, victim: Callable[[int], object]) -> Iterator[int]:
        """Run the victim with numbers from 0 on, and yield each after its run.

        Run 0 is not interrupted, run 1 at the first instruction, and so on. The last number is of a run that has ended
        before its instruction came, and so was not interrupted either.
        """
        self._run(victim, 0, self._prepare)
        yield 0
        for number in range(1, MOST):
            self.number = self._left = number
            self._run(victim, number, self._trace)
            yield number
            if self._left > 0:
                return
        raise AssertionError(f"more than {MOST} instructions")

    def _run(
        self, victim: Callable[[int], object], number: int, trace: Callable[[FrameType, str, object], Any]
    ) -> None:
        problems: list[BaseException] = []

        def run() -> None:
            try:
                sys.settrace(trace)
                victim(number)
            except TimeLimit:
                pass
            except BaseException as problem:
                problems.append(problem)
            finally:
                sys.settrace(None)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if problems:
            raise problems[0]

    def _prepare(self, frame: FrameType, event: str, _: object) -> Any:
        """Ask for opcodes, and do nothing: Python 3.12 tells none of the call in which a function is first asked."""
        frame.f_trace_opcodes = frame.f_code in self._codes
        return self._prepare

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code not in self._codes:
            return None
        frame.f_trace_opcodes = True
        is_told = event == "opcode" and _may_be_interrupted(frame) and self._may_be(frame)
        self._left -= is_told
        if is_told and self._left == 0:
            self._act(self.number)
        return self._trace


def is_behind_call(frame: FrameType) -> bool:
    """A signal's handler runs there, and where a function begins.

    At the end of a block, between two constants, it does not (from Python 3.11 on), and nothing guards that.
    """
    return frame.f_lasti in _offsets_behind_calls(frame.f_code)


@cache
def _offsets_behind_calls(code: CodeType) -> set[int]:
    instructions = [*get_instructions(code)]
    return {behind.offset for each, behind in pairwise(instructions) if each.opname.startswith(("CALL", "RESUME"))}


def _may_be_interrupted(frame: FrameType) -> bool:
    """Not where nothing is done: no signal's handler runs there, and before a ``try`` nothing guards that."""
    return opname[frame.f_code.co_code[frame.f_lasti]] not in ("NOP", "NOT_TAKEN")
