"""A guest's manners: what goes wrong in here is said in one line and never reaches the function.

Every entry from the host (a write to a stream, a log record, the runtime asking for its next event, the body of a
thread) goes through :func:`guard` or does the same in line. In production it swallows and says so once per place;
under test (:data:`IS_STRICT`) it raises.

What is said goes to file descriptor 2 itself, past ``sys.stderr`` and ``logging``: no line of ours may come back as a
line of the function's, and no lock of theirs is taken.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

IS_STRICT = False
"""True in this project's own tests: what production would swallow is raised."""

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "panic")
"""SUMO_LOG_LEVEL's values, the names of the Go extension's logger, least severe first."""

_SAID_MAX = 256
"""Distinct lines remembered by :func:`say_once`; a bound, not a target: there are about thirty in the package."""

LINE_MAX_CHARACTERS = 2_000
"""Of one line that is said."""

_TAKES_MORE = 4
"""``inspect.CO_VARARGS``: a function takes any number of arguments."""

_OURS = __name__.partition(".")[0]
_said: set[str] = set()
_shared_by = ""
"""What tells the environment whose processes say each line once together; empty where each process is alone."""
_threshold = LEVELS.index("info")


def set_level(name: str) -> None:
    """Say lines of this level and above (one of :data:`LEVELS`)."""
    global _threshold
    _threshold = LEVELS.index(name)


def legible(text: str, max_characters: int) -> str:
    """What may be shown of a text that is not ours: one line, of so many characters at most.

    What sources, S3 and other services answer, or what keys of objects are, reaches terminals and logs, which obey
    escapes and show what follows a change of direction backwards: such characters are named instead.
    """
    shown = " ".join(text[: 4 * max_characters].split())
    if not shown.isprintable():
        shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)
    return shown if len(shown) <= max_characters else shown[: max_characters - 1] + "…"


def say(level: str, text: str) -> None:
    """Write one line to the process's stderr, unless SUMO_LOG_LEVEL asks for less."""
    if LEVELS.index(level) < _threshold:
        return
    line = f"sumo-internal-extension: {level}: {legible(text, LINE_MAX_CHARACTERS)}\n"
    try:
        os.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # stderr is closed or full: nothing else is left to say it on


def say_once(level: str, text: str) -> None:
    """Say a line that this process has not said yet; see :func:`share`."""
    if text not in _said and len(_said) < _SAID_MAX:
        _said.add(text)
        if LEVELS.index(level) >= _threshold and (not _shared_by or _is_first(text)):
            say(level, text)


def share(address: str) -> None:
    """From here on this process and all that it forks say a line of :func:`say_once` once together.

    The workers of Managed Instances do the same work, and would find the same to say about it.

    Args:
        address: AWS_LAMBDA_RUNTIME_API, by which environments on one machine are told apart.
    """
    global _shared_by
    _shared_by = address


def _is_first(text: str) -> bool:
    """Has no other process of the environment said it? The first one holds a socket of that name while it lives."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket
    from errno import EADDRINUSE
    from zlib import crc32

    try:
        claim = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            claim.bind(f"\0sumo-internal/{_shared_by}/said/{crc32(text.encode('utf-8', 'replace')):08x}")
        except BaseException:
            claim.close()
            raise
        claim.detach()  # an object would be warned of when the process ends
    except OSError as error:
        return error.errno != EADDRINUSE
    return True


def is_of_signal(error: BaseException) -> bool:
    """Has a signal handler of the function's raised this, a time limit mostly? Then the error is the function's.

    A handler is given the frame that it interrupts, which is the one before its own in the traceback; whatever kind of
    object the handler is, and whether it is still in place. Who has only looked for that frame (an audit hook that asks
    who is calling) is none.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        frame, place = place.tb_frame, place.tb_next
        for value in _arguments(place.tb_frame):
            if value is frame:
                return True
    return False


def _arguments(frame: FrameType) -> list[object]:
    """What a function was called with, but for names and values; without built-ins, which the function may replace."""
    code, values = frame.f_code, frame.f_locals
    arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _TAKES_MORE:
        more = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        if type(more) is tuple:
            arguments += more
    return arguments


def is_of_outside(error: BaseException) -> bool:
    """Has another thread of the function's raised this in the middle of our code (PyThreadState_SetAsyncExc)?

    So time limits for threads work (stopit, func_timeout). Nothing tells such an error from one that the code has
    raised itself, but for its class: code of ours raises the library's classes and its own.
    """
    module = str(getattr(type(error), "__module__", "")).partition(".")[0]
    return module != "builtins" and module not in sys.stdlib_module_names and module != _OURS and _is_raised_here(error)


def is_raised_into(error: BaseException) -> bool:
    """Has the function's code interrupted ours to raise this: a signal handler, or another thread?"""
    return is_of_signal(error) or is_of_outside(error)


def _is_raised_here(error: BaseException) -> bool:
    """Did the error begin in a line of the package's, and not in what that has called?"""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is None or str(place.tb_frame.f_globals.get("__name__")).partition(".")[0] == _OURS


def _place(frame: TracebackType) -> str:
    """File and line; ``os.path`` is Python code, and asks built-ins that the function may have replaced."""
    file_name = frame.tb_frame.f_code.co_filename.rpartition("/")[2]
    return f"{file_name}:{frame.tb_lineno}"


def pass_on(error: BaseException) -> None:
    """Raise what a signal handler of the function's has raised: for places that do without what they could not get.

    ``SystemExit``, ``KeyboardInterrupt`` and ``GeneratorExit``, too, unless code of the function's that we have called
    has raised them: the function has not asked for the text of a value in ``extra``.

    Raises:
        BaseException: The error. Let it pass.
    """
    is_a_values = isinstance(error, (SystemExit, KeyboardInterrupt, GeneratorExit)) and not _is_raised_here(error)
    if is_of_signal(error) or not (isinstance(error, Exception) or is_a_values):
        raise error


def failed(place: str, error: BaseException) -> None:
    """Report an error of our own that must not reach the function; raise it under test.

    Args:
        place: What was being done, as a user would say it ("reading a log line").
        error: What happened. Its type and text are shown, so it must not carry the endpoint's token.

    Raises:
        BaseException: The error, where it is a time limit of the function's. Let it pass.
    """
    if IS_STRICT or is_of_outside(error):
        raise error
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else f" ({_place(frame)})"
    try:
        text = f": {error}"
    except Exception:
        text = ""  # the function's own exception, whose text is the function's own code
    say_once("error", f"{place} failed: {type(error).__name__}{text}{where}; the function goes on without it")


class guard:
    """Context manager for an entry from the host: whatever our code raises stops here.

    ``SystemExit``, ``KeyboardInterrupt`` and whatever a signal handler raises pass: they are the function's.
    """

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None or not isinstance(error, Exception) or is_of_signal(error):
            return False
        failed(self._place, error)
        return True
