"""Durable functions: which execution an invocation belongs to, whether a line is written once more, and what an answer
says of the execution.

An execution is many invocations, each with a request id of its own. What makes an invocation one of them is its event,
which has these keys in every version of AWS's SDK and without it. Separate because no other function needs any of this:
the module is imported with the first event that names an execution (:func:`recorder.execution_of`).

=============================  =====================================================================================
key of the event               what it is
=============================  =====================================================================================
``DurableExecutionArn``        the execution, at most 1,024 characters
``CheckpointToken``            what the SDK gives back with each checkpoint, at most 2,048 characters
``InitialExecutionState``      what was checkpointed so far, up to 6 MB: never looked at
=============================  =====================================================================================

When an execution resumes, the function's code runs again from its beginning, and the SDK answers what was done before
from its checkpoints. The SDK's own logger leaves out the lines of that stretch; ``print`` and every other logger write
them again. Whether code is in that stretch is known to the ``DurableContext`` that the SDK has given to it: to the
handler, a child or a branch. Of several the innermost is right, because other branches are elsewhere.

Sources: AWS's CheckpointDurableExecution for the limits, aws-durable-execution-sdk-python for the rest. Pure, but for
the stack of the calling thread, which is only read.
"""

from __future__ import annotations

import json
import sys

from sumo_internal import diagnostics
from sumo_internal.capture.bounds import EVENT_END_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

ARN_KEY = "DurableExecutionArn"
_TOKEN_KEY, _STATUS_KEY = "CheckpointToken", "Status"

FAILED, PENDING = "FAILED", "PENDING"
"""Statuses of an execution: it is over, without a result; it waits, and another invocation goes on with it."""

ARN_MAX_CHARS = 1_024

FRAMES_MAX = 500
"""Calls between a line and the function that the SDK has called; a line from deeper is not known to be a repetition."""

_SDK = "aws_durable_execution_sdk_python"
_CALLERS = (f"{_SDK}.", "concurrent.futures.thread")
"""Modules that call the function's code with a context: the SDK's, and what runs the handler for the SDK of 1.7."""

_decode = json.JSONDecoder().raw_decode


def execution_arn(event: bytes) -> str | None:
    """The execution that an event belongs to; None where it belongs to none."""
    found = _texts(_ends(event), (ARN_KEY, _TOKEN_KEY))
    arn = found.get(ARN_KEY, "")
    is_arn = 0 < len(arn) <= ARN_MAX_CHARS and arn.isascii() and arn.isprintable()
    return arn if is_arn and _TOKEN_KEY in found else None


def status_of(answer: object) -> str:
    """What the answer of an invocation says of its execution: :data:`FAILED`, :data:`PENDING`, …; empty for nothing."""
    return _texts(_ends(answer), (_STATUS_KEY,)).get(_STATUS_KEY, "") if isinstance(answer, (str, bytes)) else ""


def _ends(data: str | bytes) -> list[str]:
    ends = (data[:EVENT_END_BYTES], data[-EVENT_END_BYTES:])
    return [end.decode("utf-8", "replace") if isinstance(end, bytes) else end for end in ends]


def _texts(ends: list[str], keys: tuple[str, ...]) -> dict[str, str]:
    """What an object in JSON has under its own keys, as far as that is a text and stands near one of its ends.

    A value at the beginning is passed over if it is all there. What stands behind a longer value is found from the end:
    the rest of the object, made an object again, is only JSON if its first key was the whole object's own.
    """
    head, tail = ends
    found = _leading(head)
    if not found.keys() >= set(keys):
        starts = sorted(start for key in keys if key not in found and (start := tail.rfind(f'"{key}"')) >= 0)
        for start in starts:
            try:
                rest = json.loads("{" + tail[start:])
            except (ValueError, RecursionError):
                continue
            found = {**rest, **found}
            break
    return {key: value for key in keys if isinstance(value := found.get(key), str)}


def _leading(text: str) -> dict[str, Any]:
    """The first pairs of an object in JSON, up to the first one that is not whole."""
    found: dict[str, Any] = {}
    place = len(text) - len(text.lstrip())
    opening = "{"
    try:
        while text[place] == opening:
            place = _behind_space(text, place + 1)
            key, place = _decode(text, place)
            place = _behind_space(text, place)
            if text[place] != ":":
                break
            value, place = _decode(text, _behind_space(text, place + 1))
            place = _behind_space(text, place)
            opening = ","
            if text[place] in ",}":
                found[key] = value
    except (ValueError, IndexError, TypeError, RecursionError):
        pass  # cut off here, or no object
    return found


def _behind_space(text: str, place: int) -> int:
    while text[place] in " \t\r\n":
        place += 1
    return place


def is_replay() -> bool:
    """Does the calling thread write what an earlier invocation of the same execution has written already?

    The innermost function that the SDK has called decides, by the contexts that it was given. A function that was given
    none, or the context of a step, is not called again once it is done.
    """
    try:
        kind: Any = getattr(sys.modules.get(f"{_SDK}.context"), "DurableContext", None)
        if not hasattr(kind, "is_replaying"):
            return False  # not loaded; or up to 1.6, which knows of the whole execution only, and branches differ
        frame: FrameType | None = sys._getframe(1)
        called: FrameType | None = None
        for _ in range(FRAMES_MAX):
            if frame is None:
                break
            name = frame.f_globals.get("__name__")
            if type(name) is not str or not name.startswith(_CALLERS):
                called = frame
            elif called is not None:
                return _is_replay_in(called, kind)
            frame = frame.f_back
    except Exception as error:
        diagnostics.pass_on(error)
    return False


def _is_replay_in(frame: FrameType, kind: Any) -> bool:
    """By what a function was given: itself, or in the tuple of a decorator's ``*args``."""
    operation: Any = getattr(sys.modules.get(f"{_SDK}.types"), "OperationContext", ())
    values: list[object] = []
    for value in list(frame.f_locals.values()):
        values += value if type(value) is tuple else (value,)
    contexts = [value for value in values if isinstance(value, (kind, operation) if operation else kind)]
    # A branch that has its parent's context as well is in the stretch as long as both are.
    return bool(contexts) and all(isinstance(context, kind) and _is_replaying(context) for context in contexts)


def _is_replaying(context: Any) -> bool:
    # The method takes a lock, which is for ever taken where a signal handler or a finaliser of this thread writes while
    # the SDK holds it.
    status = vars(context).get("_replay_status")
    return bool(context.is_replaying()) if status is None else status.name == "REPLAY"
