"""Managed Instances: what the runtime's process does before its first fork, so that its workers share more memory.

A worker shares its parent's pages until it writes to them; then the page is copied. Python writes where one would not
expect it: to the count of references of whatever is called or named, to caches of the interpreter's when they are first
used, to every object that a collection of garbage looks at, and, for each object that is made, to the page where there
happens to be room. So before the first fork

* a worker's first lines and requests are *rehearsed*, with a recorder and a spool that are nobody's: the interpreter's
  caches are filled once, here;
* references to the texts of modules and code, the runtime's and the library's as well, are *counted no more*: each text
  becomes a name in some code, and what such a name refers to is there for ever;
* the holes in the interpreter's memory for small objects are filled, so that what a worker makes lies together, and
  behind it the code of the functions that a worker calls, with its constants;
* what is there by then is frozen: no collection of a worker's looks at it.

Of the 0.92 MB that a worker takes more than without the layer, this saves 0.52 (16 workers, PSS, Python 3.13). Tried as
well, and no gain: function objects anew (0.05 MB more), or constants of other kinds; the holes between larger blocks
filled (0.05 to 0.1 more: a worker makes larger ones as well); 20 rounds; what the runtime does besides for a request
(its context, the trace id's variable) rehearsed, its code or the library's anew; each function that was ever called
taken for one that a worker calls. The runtime's framed log sink is no worker's: its first process takes the sink's
descriptor (from client 4.0.4 on). What fills holes, and code that is used no more, is kept: given back, it is holes
again, and costs a worker 0.2 MB or more.

Separate from the worker, which knows requests and nothing of the interpreter's memory. CPython's allocator for small
objects (``Objects/obmalloc.c``) has pools of 16 KB, each for blocks of one size, a multiple of 16 bytes up to 512.
Nothing depends on that but how much memory is shared: with another allocator, or where names are counted like all else
(before Python 3.12), all is done within its bounds, in vain.
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
    from collections.abc import Iterable, Mapping
    from types import CodeType, FunctionType
    from typing import Any

ROUNDS_BEFORE, ROUNDS = 2, 4
"""Rehearsals until it is known what is called, and afterwards: the interpreter adapts code to what it meets from the
second time on that the code runs."""

BESIDES = frozenset(
    (
        *("prepare_once", "_before_fork", "Spool.is_short_of_room", "_after_fork_in_parent"),
        *("_after_fork", "close_locks", "heard_sink", "renew", "tell_late", "Worker.begin", "wait_next_invocation"),
        *("guard.__init__", "guard.__enter__", "guard.__exit__", "execution_of", "Spool._entrust"),
        *("error_of", "error_of_event"),
    )
)
"""Functions that a worker calls, or its parent between two forks, and that a rehearsal does not call, or not as the
first: their code does not change then."""

TEXT_MAX_CHARS = 200
"""Of a text to which references are counted no more: those that are longer are documentation, mostly."""

SMALL_BYTES = range(48, 513, 16)
"""Sizes of what the interpreter's allocator takes from pools, from that of the shortest bytes on."""
FREE_BYTES = 4_096
"""So many bytes of blocks side by side are no hole, but the beginning of an empty pool."""
FILLING_MAX = 3_000
"""Blocks of one size that are made to fill holes. They are 0.3 MB for all sizes, in the one process that has them."""

_BYTES_HEAD = sys.getsizeof(b"")
_FUNCTION: Any = type(lambda: None)
_CODE: Any = type((lambda: None).__code__)
_WRAPPERS = (property, classmethod, staticmethod)
_kept: list[object] = []
"""What fills the holes, and code that is used no more: a worker would put what it makes where that was."""


def prepare_at_first_fork(folder: str, *holders: object) -> None:
    """Prepare this process's memory when its first child is about to be forked: by then all modules are there.

    Args:
        folder: Path of the spool's folder; a rehearsal has one beside it, for some milliseconds.
        holders: Objects of ours whose texts each worker names.
    """
    done: list[bool] = []

    def prepare_once() -> None:
        if not done:
            done.append(True)
            with diagnostics.guard("preparing memory for workers"):
                prepare(f"{folder}-rehearsal", *holders)
            gc.collect()  # a rehearsal's spool and recorder refer to each other, and each child would begin with it
            gc.freeze()

    os.register_at_fork(before=prepare_once)


def prepare(folder: str, *holders: object) -> None:
    """Rehearse, count no more, fill holes, and put the code that is called together.

    Args:
        folder: Path of the rehearsal's spool; it is gone afterwards.
        holders: As above.
    """
    called = _called(folder)
    count_no_more(holders)
    gc.collect()  # makes holes
    fill_holes()
    for function in called:
        _kept.append(function.__code__)
        function.__code__ = _renewed(function.__code__)
    for _ in range(ROUNDS):
        rehearse(folder)


def _called(folder: str) -> list[FunctionType]:
    """The functions that a rehearsal calls, and :data:`BESIDES`."""
    before = [(function, _state_of(function)) for function in _functions()]
    for _ in range(ROUNDS_BEFORE):
        rehearse(folder)
    return [each for each, state in before if _state_of(each) != state or _name_of(each) in BESIDES]


def _state_of(function: FunctionType) -> int:
    """What changes when a function is called: the interpreter adapts its code."""
    return hash(function.__code__._co_code_adaptive)  # type: ignore[attr-defined]  # from Python 3.11 on


def _name_of(function: FunctionType) -> str:
    """A function's name, with its class's, and without that of a function that it is in."""
    return function.__qualname__.rpartition("<locals>.")[2]


def _functions() -> list[FunctionType]:
    """The package's functions."""
    found = [each for each in gc.get_objects() if type(each) is _FUNCTION]
    return [each for each in found if str(each.__globals__.get("__name__")).startswith("sumo_internal.")]


def count_no_more(holders: Iterable[object] = ()) -> None:
    """Have the interpreter write no counts of references into the texts of modules, of all code in them, and of ours.

    Args:
        holders: Objects whose attributes are such texts, or have them in a dictionary.
    """
    code, known = count_no_more.__code__, set[int]()
    for name, module in [*sys.modules.items()]:
        if type(module) is type(sys):  # nothing is asked of what stands in a module's place
            code.replace(co_names=(name, *_texts(vars(module), known)))  # the names stay, the code goes
    for holder in holders:
        values = vars(holder)
        for each in (values, *[value for value in values.values() if type(value) is dict]):
            code.replace(co_names=tuple(_texts(each, known)))


def _texts(names: Mapping[str, object], known: set[int]) -> set[str]:
    """The texts of a module or another object, of its classes and code.

    Args:
        names: What it has.
        known: Classes that were looked at for another one, by their numbers: many import the same.
    """
    values: list[Any] = [*names, *names.values()]
    classes = [each for each in values if issubclass(type(each), type) and id(each) not in known]
    known.update(map(id, classes))
    has = gc.get_referents(*classes)
    members = [member for each in has if type(each) is dict for member in (*each, *each.values())]
    members += gc.get_referents(*[each for each in members if type(each) in _WRAPPERS])
    values += members
    functions = [each for each in values if type(each) is _FUNCTION]
    functions += gc.get_referents(*[cell for each in functions for cell in each.__closure__ or ()])  # replaced by ours
    codes = [each.__code__ for each in functions if type(each) is _FUNCTION]
    for code in codes:
        codes += [each for each in code.co_consts if type(each) is _CODE]
        values += code.co_consts
    values += gc.get_referents(*[each for each in values if type(each) is tuple])
    return {each for each in values if type(each) is str and len(each) <= TEXT_MAX_CHARS}


def fill_holes() -> None:
    """Have what is made from now on lie in pools where nothing else is."""
    for size_bytes in SMALL_BYTES:
        before, in_row = 0, 0
        for _ in range(FILLING_MAX):
            block = bytes(size_bytes - _BYTES_HEAD)
            _kept.append(block)
            in_row = in_row + 1 if id(block) - before == size_bytes else 1
            before = id(block)
            if in_row * size_bytes > FREE_BYTES:
                break
        del block, _kept[-in_row:]  # the pool is empty again


def _renewed(code: CodeType) -> CodeType:
    """The same code, with its constants and the code in it, where there is room now."""
    return code.replace(co_consts=tuple(map(_renewed_constant, code.co_consts)))


def _renewed_constant(constant: object) -> object:
    if type(constant) is _CODE:
        return _renewed(constant)  # type: ignore[arg-type]
    if type(constant) is tuple:
        return tuple([_renewed_constant(each) for each in constant])
    if type(constant) is slice:  # from Python 3.14 on
        return slice(constant.start, constant.stop, constant.step)
    if type(constant) is str and len(constant) <= TEXT_MAX_CHARS:
        return sys.intern(constant)  # the one that is counted no more
    return constant


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
        with diagnostics.guard("rehearsing"):
            worker.began(_Request)
        _play_request(sys.modules[BOOTSTRAP], stream)
        with diagnostics.guard("rehearsing"):
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
