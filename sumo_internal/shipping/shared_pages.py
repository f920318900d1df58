"""Managed Instances: what the runtime's process does before its first fork, so that its workers share more memory.

A worker shares its parent's pages until it writes to them; then the page is copied. Python writes where one would not
expect it: to the count of references of whatever is called or named, to caches of the interpreter's when they are first
used, to every object that a collection of garbage looks at, and, for each object that is made, to the page where there
happens to be room. So before the first fork

* a worker's first lines and requests are *rehearsed*, with a recorder and a spool that are nobody's: the interpreter's
  caches are filled once, here;
* the holes in the interpreter's memory for small objects are filled, so that what a worker makes lies together, and
  behind it the code of the functions that the rehearsal has called;
* what is there by then is frozen: no collection of a worker's looks at it.

Of the 0.77 MB that a worker takes more than without the layer, this saves 0.2 (16 workers, PSS). Tried as well, and no
gain: function objects and constants anew; the holes between larger blocks (``malloc``'s) filled; 20 rounds; what the
runtime does besides for a request (its context, the trace id's variable) rehearsed, its code or the library's anew. The
runtime's framed log sink is no worker's: its first process takes the sink's descriptor (from client 4.0.4 on). What
fills holes, and code that is used no more, is kept: given back, it is holes again, and costs a worker 0.2 MB or more.

Separate from the worker, which knows requests and nothing of the interpreter's memory. CPython's allocator for small
objects (``Objects/obmalloc.c``) has pools of 16 KB, each for blocks of one size, a multiple of 16 bytes up to 512.
Nothing depends on that but how much memory is shared: with another allocator all is done within its bounds, in vain.
"""

from __future__ import annotations

import gc
import os
import sys
from _io import BytesIO, TextIOWrapper
from logging import Logger

from sumo_internal import diagnostics
from sumo_internal.capture.recorder import Recorder
from sumo_internal.capture.runtime_client import BOOTSTRAP
from sumo_internal.capture.streams import Stream
from sumo_internal.shipping.worker import Worker
from sumo_internal.spool.folder import FolderRefusedError, unlink
from sumo_internal.spool.segment import SEGMENT_BYTES
from sumo_internal.spool.writer import SEGMENTS_MIN, Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType
    from typing import Any

ROUNDS_BEFORE, ROUNDS = 2, 4
"""Rehearsals until it is known what is called, and afterwards: the interpreter adapts code to what it meets from the
second time on that the code runs."""

SMALL_MAX_BYTES, POOL_BYTES, POOL_HEADER_BYTES = 512, 16_384, 48
"""Of the interpreter's allocator: up to here a block comes from a pool."""
FILLING_MAX = 3_000
"""Blocks of one size that are made to fill holes. They are 0.5 MB for all sizes, in the one process that has them."""

_BYTES_HEAD = sys.getsizeof(b"")
_kept: list[object] = []
"""What fills the holes, and code that is used no more: a worker would put what it makes where that was."""


def prepare_at_first_fork(folder: str) -> None:
    """Prepare this process's memory when its first child is about to be forked: by then all modules are there.

    Args:
        folder: Path of the spool's folder; a rehearsal has one beside it, for some milliseconds.
    """
    done: list[bool] = []

    def prepare_once() -> None:
        if not done:
            done.append(True)
            with diagnostics.guard("preparing memory for workers"):
                prepare(f"{folder}-rehearsal")
            gc.collect()  # a rehearsal's spool and recorder refer to each other, and each child would begin with it
            gc.freeze()

    os.register_at_fork(before=prepare_once)


def prepare(folder: str) -> None:
    """Rehearse, fill holes, and put the code that is called together.

    Args:
        folder: Path of the rehearsal's spool; it is gone afterwards.
    """
    called = _called(folder)
    gc.collect()  # makes holes
    fill_holes()
    for function in called:
        _kept.append(function.__code__)
        function.__code__ = function.__code__.replace()
    for _ in range(ROUNDS):
        rehearse(folder)


def _called(folder: str) -> list[FunctionType]:
    """The functions that a rehearsal calls."""
    before = [(function, _state_of(function)) for function in _functions()]
    for _ in range(ROUNDS_BEFORE):
        rehearse(folder)
    return [function for function, state in before if _state_of(function) != state]


def _state_of(function: FunctionType) -> int:
    """What changes when a function is called: the interpreter adapts its code."""
    return hash(function.__code__._co_code_adaptive)  # type: ignore[attr-defined]  # from Python 3.11 on


def _functions() -> Iterator[FunctionType]:
    """The functions of the package's modules and of their classes."""
    kind: Any = type(_functions)
    for name, module in [*sys.modules.items()]:
        if name.startswith("sumo_internal."):
            for value in [*vars(module).values()]:
                is_class = isinstance(value, type)
                if getattr(value, "__module__", None) == name:
                    inner = [*vars(value).values()] if is_class else [value]
                    plain = (getattr(each, "fget", None) or getattr(each, "__func__", each) for each in inner)
                    yield from (each for each in plain if type(each) is kind)


def fill_holes() -> None:
    """Have what is made from now on lie in pools where nothing else is."""
    for size_bytes in range(_BYTES_HEAD // 16 * 16 + 16, SMALL_MAX_BYTES + 1, 16):
        for _ in range(FILLING_MAX):
            block = bytes(size_bytes - _BYTES_HEAD)
            _kept.append(block)
            if id(block) % POOL_BYTES == POOL_HEADER_BYTES:
                break  # the first block of a new pool


class _Request:
    """What the runtime client knows of a request."""

    invoke_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    x_amzn_trace_id = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
    tenant_id = None
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:rehearsal"
    event_body = b'{"key": ["value", 1, 1.5, null, true, {}]}'
    deadline_time_in_ms = 9e15


class _Sink:
    """A log sink of the runtime's that writes to a stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def log(self, text: str, frame_type: Any = None) -> None:
        self._stream.write(text)


def rehearse(folder: str) -> None:
    """Do what a worker does from its fork to the end of its second request; nothing of it is left or shipped.

    Args:
        folder: Path of a spool's folder that no process drains.
    """
    try:
        spool = Spool(folder, {}, SEGMENTS_MIN * SEGMENT_BYTES, has_workers=True)
        try:
            _play(spool)
        finally:
            for name in os.listdir(folder):
                unlink(f"{folder}/{name}")
            os.rmdir(folder)
    except (OSError, FolderRefusedError):
        pass  # there is no room, as the function's own spool will say


def _play(spool: Spool) -> None:
    recorder = Recorder(spool, {"logGroup": "g", "logStream": "s", "IsColdStart": True})
    spool.begin_fork()
    spool.end_fork(is_child=True)
    recorder._forget_unwritten()
    worker = Worker(recorder, lambda: None)
    stream: Any = Stream(TextIOWrapper(BytesIO(), "utf-8", write_through=True), 1, recorder.written)
    print("loaded", 1, file=stream)
    recorder.leave_init()
    worker._is_init_over = True  # its end is told to the extension once, and not by this one
    for _ in range(2):
        worker.began(_Request)
        _play_request(sys.modules[BOOTSTRAP], stream)
        worker.ended()


def _play_request(bootstrap: Any, stream: Any) -> None:
    """What the runtime and a function do with most requests: an event, lines, a response."""
    handler = bootstrap.LambdaLoggerHandlerWithFrameType(_Sink(stream))
    handler.setFormatter(bootstrap.JsonFormatter())
    handler.addFilter(bootstrap.LambdaLoggerFilter())
    logger = Logger("rehearsal", 20)
    logger.addHandler(handler)
    logger.info("%d and %s", 1, "text")
    logger.info("%s", {"key": 1})
    logger.debug("nothing")
    print("printed", 1, file=stream)
    marshaller = sys.modules["awslambdaric.lambda_runtime_marshaller"].LambdaMarshaller()
    marshaller.marshal_response(marshaller.unmarshal_request(_Request.event_body))
