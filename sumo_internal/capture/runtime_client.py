"""What we touch of the runtime client (awslambdaric 2.x, 3.x, 4.x): these names of its ``bootstrap`` module.

=============================================  =====================================================================
``LambdaRuntimeClient.wait_next_invocation``   called between invocations: the one place that sees each begin and end
``LambdaRuntimeClient.restore_next``           called under SnapStart between the function's hooks: Lambda takes the
                                               snapshot during the call, which returns in each copy
``LambdaRuntimeClient.post_invocation_error``  called for an invocation that fails; replaced where a setting asks for it
``LambdaRuntimeClient.post_invocation_result`` called for any other; likewise
``create_log_sink``                            where the runtime's handler and its error reports write when Lambda
                                               gave it a descriptor for framed logs (without, they write to stdout)
``LambdaLoggerHandler.handle``                 the runtime's handlers (``…WithFrameType`` too) tell that sink the
                                               log record whose text is about to come
``log_error``                                  carries the parts of an uncaught exception that its text has lost
``LambdaLoggerFilter``, ``JsonFormatter``      asked what they leave in a log record; not replaced
=============================================  =====================================================================

The names are replaced when the module has been executed and before anything in it is called. The module is imported
when, and from where, it would be without us. :mod:`~sumo_internal.capture.log_records` has what else is known of the
client: the table of what it leaves in a log record, and the layout of the record's text.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
from _thread import get_ident
from logging import LogRecord

from sumo_internal import diagnostics
from sumo_internal.capture import log_records, record_format
from sumo_internal.capture.error_reports import follow_errors, follow_tracebacks, reported
from sumo_internal.capture.recorder import Recorder, execution_of
from sumo_internal.capture.reentrancy import FILTERS_REPLACE, as_handle, is_recorded, strand, subjects, too_deep
from sumo_internal.capture.runtime_functions import OWN_LOG, functions_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Protocol

    from sumo_internal.capture.endings import Endings
    from sumo_internal.capture.joint_rendering import Joint
    from sumo_internal.capture.runtime_functions import Functions

    class Invocations(Protocol):
        """What is told of invocations. The runtime's main thread makes all calls; they must not block long."""

        def ended(self) -> None: ...

        def began(self, request: Any) -> None: ...


BOOTSTRAP = "awslambdaric.bootstrap"

_JOINT_AFTER_LINES = 10
"""Lines of the runtime's log handler after which the module is loaded that makes them cheap: it is not loaded at the
start, nor where there are few lines."""


def when_loaded(patch: Callable[[ModuleType], None]) -> None:
    """Call ``patch`` with the runtime's bootstrap module as soon as it has been executed."""
    if BOOTSTRAP in sys.modules:
        patch(sys.modules[BOOTSTRAP])
    else:
        sys.meta_path.insert(0, _Watcher(patch))


class _Watcher:
    """A finder for one module: it has the other finders find that module, and hooks on to the module's loader.

    It then leaves ``sys.meta_path``, so that the function never meets it.
    """

    def __init__(self, patch: Callable[[ModuleType], None]) -> None:
        self._patch = patch

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != BOOTSTRAP:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = PatchingLoader(spec.loader, self._patch)  # type: ignore[assignment]  # a loader by its methods
                return spec
        return None


class PatchingLoader:
    """The module's own loader, and then the patch."""

    def __init__(self, loader: Any, patch: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._patch = patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        with diagnostics.guard("hooking into the runtime"):
            self._patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def follow_invocations(bootstrap: Any, invocations: Invocations) -> None:
    """Tell when an invocation has ended and when one begins."""
    client = _definer(bootstrap.LambdaRuntimeClient, "wait_next_invocation")
    wait = client.wait_next_invocation

    def wait_next_invocation(self: Any) -> Any:
        with diagnostics.guard("ending an invocation"):
            invocations.ended()
        request = wait(self)
        with diagnostics.guard("beginning an invocation"):
            invocations.began(request)
        return request

    client.wait_next_invocation = wait_next_invocation


def follow_snapshot(bootstrap: Any, before: Callable[[], None], after: Callable[[bool], None]) -> None:
    """Tell when a snapshot is about to be taken, as the last thing, and when this is a copy of it, as the first.

    The function's own hooks run around both: what they write is heard, before and after.

    Args:
        bootstrap: The runtime's.
        before: Called on the main thread.
        after: Called on the main thread with whether this is a restored copy. It is not where the call has failed; it
            may be one where a signal handler of the function's has ended the call.
    """
    if not hasattr(bootstrap.LambdaRuntimeClient, "restore_next"):
        return  # a client that Lambda does not use with SnapStart
    client = _definer(bootstrap.LambdaRuntimeClient, "restore_next")
    restore = client.restore_next

    def restore_next(self: Any) -> Any:
        is_copy = False
        try:  # also around what a signal handler of the function's raises while it is prepared for
            with diagnostics.guard("preparing for a snapshot"):
                before()
            is_copy = True
            answer = restore(self)
        except Exception as error:
            is_copy = is_copy and diagnostics.is_of_signal(error)  # else it is Lambda's refusal, or comes before
            raise
        finally:
            with diagnostics.guard("beginning again in a copy"):
                after(is_copy)
        return answer

    client.restore_next = restore_next


def enter_invocation(recorder: Recorder, request: Any) -> None:
    """Tell the recorder of an invocation what the client knows of it."""
    recorder.enter_invocation(
        request.invoke_id,
        trace_id=request.x_amzn_trace_id,
        tenant_id=getattr(request, "tenant_id", None),
        invoked_arn=getattr(request, "invoked_function_arn", None),
        execution_arn=execution_of(getattr(request, "event_body", None)),
    )


def _definer(client: Any, name: str) -> Any:
    """The class that defines a client's method: workers of Managed Instances use another client with the same base."""
    return next(kind for kind in client.__mro__ if name in vars(kind))


def follow_endings(bootstrap: Any, endings: Endings) -> None:
    """Tell when an invocation fails, and of each answer, before Lambda knows."""
    client = _definer(bootstrap.LambdaRuntimeClient, "post_invocation_error")
    post = client.post_invocation_error

    def post_invocation_error(self: Any, *arguments: Any, **options: Any) -> Any:
        with diagnostics.guard("failing an invocation"):
            endings.fail()
        return post(self, *arguments, **options)

    client.post_invocation_error = post_invocation_error
    answering = _definer(bootstrap.LambdaRuntimeClient, "post_invocation_result")
    post_result = answering.post_invocation_result

    def post_invocation_result(self: Any, invoke_id: Any, result_data: Any, *arguments: Any, **options: Any) -> Any:
        with diagnostics.guard("looking at a response"):
            endings.answer(result_data)
        return post_result(self, invoke_id, result_data, *arguments, **options)

    answering.post_invocation_result = post_invocation_result


def capture(bootstrap: Any, recorder: Recorder, make_sink: Callable[..., Sink] | None = None) -> None:
    """Record what the runtime itself writes: its log handler's lines and its reports of uncaught exceptions.

    And what the interpreter reports: see :func:`error_reports.follow_errors`.

    Args:
        bootstrap: The runtime client's module.
        recorder: Where it is recorded.
        make_sink: Makes what stands in front of the runtime's sink; None for a :class:`Sink`.
    """
    create_log_sink, log_error = bootstrap.create_log_sink, bootstrap.log_error
    kinds = (bootstrap.LambdaLoggerHandler, bootstrap.LambdaLoggerHandlerWithFrameType)
    functions = {kind: functions_of(bootstrap, kind) for kind in kinds}

    def heard_sink() -> Any:
        sink = create_log_sink()
        if not isinstance(sink, bootstrap.FramedTelemetryLogSink):
            return sink  # this one writes to sys.stdout, where we listen already
        for kind in kinds:
            kind.handle = _handle
        return (make_sink or Sink)(sink, recorder, bootstrap, functions)

    def details(error_result: Any, _: Any) -> str:
        parts = (error_result.get(name) for name in ("errorType", "errorMessage", "stackTrace"))
        return record_format.failure_text(*parts)

    bootstrap.create_log_sink = heard_sink
    bootstrap.log_error = reported(recorder, log_error, details)
    follow_errors(recorder)
    if recorder.is_joined:
        follow_tracebacks(recorder)
    log_records.ask_client(_names_left(bootstrap))
    atexit.register(recorder.flush)


def _names_left(bootstrap: Any) -> Callable[[], Iterable[str]]:
    """What the client's own filter and formatter leave in a log record: as both are now, whatever replaces them."""
    filter, format = bootstrap.LambdaLoggerFilter.filter, bootstrap.JsonFormatter.format

    def names() -> Iterable[str]:
        record = log_records.blank()
        filter(bootstrap.LambdaLoggerFilter(), record)
        format(bootstrap.JsonFormatter(), record)
        return record.__dict__

    return names


if sys.version_info < (3, 13):

    def _handle(self: Any, record: LogRecord) -> Any:
        """``handle`` of the runtime's own handlers, on a framed sink: the sink is told the record.

        What :func:`recorder.note_records` does for all handlers notes the record per thread, which takes ten times as
        long; in here the handler's lock keeps other threads away from the handler's sink.
        """
        sink = self.log_sink
        if not isinstance(sink, Sink) or logging.Handler.handle is not sink.library_handle:
            return logging.Handler.handle(self, record)
        if sink.written is not None and (passed := sink.written(self, record)) is not None:
            return passed
        passed = self.filter(record)
        if FILTERS_REPLACE and passed is not record and isinstance(passed, LogRecord):
            record = passed
        if passed:
            self.acquire()
            try:  # at once: what a signal handler raises here leaves the lock taken
                outer = sink.record, sink.thread  # a value that logs when it is asked for its text
                try:
                    sink.record, sink.thread = record, get_ident()
                    self.emit(record)
                    get_ident()  # a call: the handler of a signal that has come runs here, and not in ``release``
                finally:
                    sink.record, sink.thread = outer
            finally:
                self.release()
            sink.note(self, record, passed)
        return passed

else:

    def _handle(self: Any, record: LogRecord) -> Any:
        """The same, with the lock as this library takes it: without a method."""
        sink = self.log_sink
        if not isinstance(sink, Sink) or logging.Handler.handle is not sink.library_handle:
            return logging.Handler.handle(self, record)
        if sink.written is not None and (passed := sink.written(self, record)) is not None:
            return passed
        passed = self.filter(record)
        if passed is not record and isinstance(passed, LogRecord):
            record = passed
        if passed:
            with self.lock:
                outer = sink.record, sink.thread  # a value that logs when it is asked for its text
                try:
                    sink.record, sink.thread = record, get_ident()
                    self.emit(record)
                finally:
                    sink.record, sink.thread = outer
            sink.note(self, record, passed)
        return passed


_FILTER_LINE, _EMIT_LINE = (11, 20) if sys.version_info < (3, 13) else (7, 15)
"""Statements of the function above, in lines from its ``def`` on."""

as_handle(_handle, _FILTER_LINE, _EMIT_LINE)


class Sink:
    """The runtime's framed log sink, and then the recorder."""

    def __init__(
        self, sink: Any, recorder: Recorder, bootstrap: Any = None, functions: dict[Any, Functions] | None = None
    ) -> None:
        self.inner = sink
        self._recorder = recorder
        self._record = recorder.record
        self._bootstrap = bootstrap
        self._functions = functions or {}
        self.record: LogRecord | None = None
        """What is being logged, by the handler's thread; the runtime itself writes past its handler's lock."""
        self.thread = 0
        self.said: tuple[str, Any] = ("", None)
        """The last text, and its frame type."""
        self.lines_left = _JOINT_AFTER_LINES if functions else 0
        self.joint: Joint | None = None
        """Writes line and record together, once there have been some lines."""
        self.written: Callable[[Any, LogRecord], Any] | None = None
        """Does so for a log record; see :meth:`Joint.for_records`."""
        self.library_handle = logging.Handler.handle
        """The library's, or what notes records in its place; any other is the function's, and is called."""
        # As an attribute of its own, one look at which tells whether the function has replaced it.
        self.log = self.log  # type: ignore[method-assign]

    def __enter__(self) -> Sink:
        self.inner.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.inner.__exit__(*error)

    def log(self, message: str, frame_type: Any = None) -> None:
        self.inner.log(message, frame_type)  # raises what it raises without us
        self.said = message, frame_type
        try:
            if is_recorded and is_recorded[0]():
                return
            if too_deep:
                self._recorder.catch_up(get_ident())
            record = self.record
            if record is not None and self.thread == get_ident():
                self._record(message, record)
            else:
                self._hear(message.removesuffix("\n"), subjects.get(strand()))
        except RecursionError:
            line = message.removesuffix("\n") + "\n"
            thread = get_ident()
            too_deep.setdefault(thread, []).append((time.time(), line, 1, self.subject(thread)))
        except Exception as error:
            self._recorder.not_recorded(message, error)

    def subject(self, thread: int) -> Any:
        """What a thread is in the middle of, if anything."""
        return (self.record if self.thread == thread else None) or subjects.get(thread)

    def note(self, handler: logging.Handler, record: LogRecord, passed: object) -> None:
        """Learn from a line of a handler's that was written in the long way."""
        if self.joint is not None:
            with diagnostics.guard("watching the runtime's log handler"):
                self.joint.watch(handler, record, passed, *self.said)
        elif self.lines_left:
            self.count_down(handler)

    def count_down(self, handler: logging.Handler) -> None:
        """Count a line of a handler's: after some lines it is worth while to write them jointly."""
        self.lines_left -= 1
        if self.lines_left == 0:
            with diagnostics.guard("preparing for the runtime's log handler"):
                self.joint = joint = self._make_joint(handler)
                kind: Any = type(handler)
                if kind.handle is _handle:
                    self.written = joint.for_records()
                    self._follow_calls(joint)

    def _follow_calls(self, joint: Joint) -> None:
        """Have log calls write their lines jointly, too."""
        kind: Any = logging.Logger
        flight = self._recorder.flight
        own = OWN_LOG if flight is None else flight.log_call
        if own is not None and kind._log is own:  # else it is the function's, or some library's
            kind._log = joint.log_call(own, None if flight is None else flight.is_shown)

    def _make_joint(self, handler: logging.Handler) -> Joint:
        from sumo_internal.capture.joint_rendering import Joint

        return Joint(handler, self._recorder, self._bootstrap, self._functions)

    def log_error(self, message_lines: list[str]) -> None:
        self.inner.log_error(message_lines)
        try:
            self._hear("\n".join(message_lines), subjects.get(strand()))
        except Exception as error:
            self._recorder.not_recorded("\n".join(message_lines), error)

    def _hear(self, text: str, subject: LogRecord | list[str] | None) -> None:
        if isinstance(subject, list):
            subject.append(text)
        elif subject is not None:
            self._record(text, subject)
        else:
            self._recorder.line(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
