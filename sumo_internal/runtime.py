"""What we touch of the runtime client (awslambdaric 2.x, 3.x, 4.x): three names of its ``bootstrap`` module.

===========================================  =====================================================================
``LambdaRuntimeClient.wait_next_invocation``  called between invocations: the one place that sees each begin and end
``create_log_sink``                           where the runtime's handler and its error reports write when Lambda gave
                                              it a descriptor for framed logs (without one they write to stdout)
``log_error``                                 carries the parts of an uncaught exception that its text has lost
===========================================  =====================================================================

They are replaced when the module has been executed and before anything of it has run; the module is not imported
earlier, or from elsewhere, than without us.
"""

from __future__ import annotations

import sys

from sumo_internal import guard
from sumo_internal.recorder import Recorder, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Protocol

    class Invocations(Protocol):
        """Who is told of invocations; both calls are made on the runtime's main thread and must not block long."""

        def ended(self) -> None: ...

        def began(self, request: Any) -> None: ...


BOOTSTRAP = "awslambdaric.bootstrap"


def when_loaded(patch: Callable[[ModuleType], None]) -> None:
    """Call ``patch`` with the runtime's bootstrap module as soon as it has been executed."""
    if BOOTSTRAP in sys.modules:
        patch(sys.modules[BOOTSTRAP])
    else:
        sys.meta_path.insert(0, _Watcher(patch))


class _Watcher:
    """A finder that finds nothing, but one module: that one it lets the others find, and hooks on to its loader.

    It leaves ``sys.meta_path`` with that, so that the function never meets it.
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
                spec.loader = _Loader(spec.loader, self._patch)  # type: ignore[assignment]  # a loader by its methods
                return spec
        return None


class _Loader:
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
        with guard.guard("hooking on to the runtime"):
            self._patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def follow_invocations(bootstrap: Any, invocations: Invocations) -> None:
    """Tell when an invocation has ended and when one begins."""
    client = bootstrap.LambdaRuntimeClient
    wait = client.wait_next_invocation

    def wait_next_invocation(self: Any) -> Any:
        with guard.guard("ending an invocation"):
            invocations.ended()
        request = wait(self)
        with guard.guard("beginning an invocation"):
            invocations.began(request)
        return request

    client.wait_next_invocation = wait_next_invocation


def capture(bootstrap: Any, recorder: Recorder) -> None:
    """Record what the runtime itself writes: its log handler's lines and its reports of uncaught exceptions."""
    create_log_sink, log_error = bootstrap.create_log_sink, bootstrap.log_error

    def heard_sink() -> Any:
        sink = create_log_sink()
        # Without frames it writes to sys.stdout, where we are already.
        return _Sink(sink, recorder) if isinstance(sink, bootstrap.FramedTelemetryLogSink) else sink

    def noted_error(error_result: Any, log_sink: Any) -> None:
        current.failure = error_result
        try:
            log_error(error_result, log_sink)
        finally:
            current.failure = None

    bootstrap.create_log_sink = heard_sink
    bootstrap.log_error = noted_error


class _Sink:
    """The runtime's framed log sink, and then the recorder."""

    def __init__(self, sink: Any, recorder: Recorder) -> None:
        self._sink = sink
        self._log = sink.log
        self._recorder = recorder

    def __enter__(self) -> _Sink:
        self._sink.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._sink.__exit__(*error)

    def log(self, message: str, frame_type: Any = None) -> None:
        self._log(message, frame_type)  # raises what it raises without us
        try:
            text = message[:-1] if message[-1:] == "\n" else message
            record = current.record
            if record is not None:
                self._recorder.record(text, record)
            else:
                self._recorder.line(text)
        except Exception as error:
            guard.failed("recording a log line", error)

    def log_error(self, message_lines: list[str]) -> None:
        self._sink.log_error(message_lines)
        with guard.guard("recording an uncaught exception"):
            self._recorder.failed("\n".join(message_lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)
