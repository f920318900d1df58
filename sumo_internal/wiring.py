"""Where the parts are put together: for the wrapper (:func:`install`) and for the drop-in (:func:`start_dropin`).

Whatever fails here is said in one line, and the function runs without us.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial

from sumo_internal import config as configuration
from sumo_internal import diagnostics, imports
from sumo_internal.capture import children, error_reports, runtime_client, streams
from sumo_internal.capture.recorder import Recorder, note_records
from sumo_internal.lambda_apis.extensions_api import ExtensionsApi
from sumo_internal.shipping.invocations import Invocations
from sumo_internal.shipping.shipper import Shipper
from sumo_internal.spool import handoff
from sumo_internal.spool.envelope import addressed, request_headers
from sumo_internal.spool.writer import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from sumo_internal.config import Config
    from sumo_internal.net.client import Sender
    from sumo_internal.processing.pipeline import Pipeline
    from sumo_internal.shipping.drainer import Drainer
    from sumo_internal.shipping.worker import Worker
    from sumo_internal.spool.counters import Counters
    from sumo_internal.spool.outage import Outage
    from sumo_internal.spool.partials import Partial

EXTENSION = "extensions/sumo-internal-extension"
"""The external extension, below /opt or wherever the layer was unpacked."""

_UNPROCESSED = "and its processors are not used: name them in SUMO_PROCESSORS"

_recorder: Recorder | None = None
"""The process's one recorder, once it is set up."""
_pipeline: Pipeline | None = None
"""What its records pass, where a setting asks for it."""
_api: ExtensionsApi | None = None
"""Where this process is registered as an extension."""
_environ: Mapping[str, str] = {}
"""As it was when the parts were put together: what the function sets later for itself must not change who we are."""
_is_wrapped = False
_outage: Outage | None = None
"""Since when no destination takes lines, where that sends them to CloudWatch."""


def install() -> None:
    """Listen to everything the function writes, and have it shipped."""
    global _is_wrapped
    _is_wrapped = True
    config = _read_config()
    if config is None or not _is_heard(config):
        return
    parts = recorder, _, _ = _assemble(config)
    _listen(recorder)
    if config.has_programs:
        children.follow_programs(recorder, streams.places())

    def patch(bootstrap: Any) -> None:
        runtime_client.capture(bootstrap, recorder, recorder.make_sink)
        _follow(bootstrap, config, *parts)

    runtime_client.when_loaded(patch)
    imports.seal()
    if configuration.mode(os.environ) == configuration.MANAGED:
        from sumo_internal.shipping import shared_pages  # no other function pays for it

        shared_pages.prepare_at_first_fork(config.spool_dir, recorder, recorder.spool)
    else:
        gc.freeze()  # all that was made stays, so no collection is to look at it: the function's init has several


def install_program() -> bool:
    """Listen to a program that the function has started (SUMO_CHILDREN); False where this is none."""
    told = children.parent()
    if told is None:
        return False
    state, places = told
    own = streams.places()
    if any(place in places for place in own):
        install_child(state, places)
    return True


def install_child(state: tuple[Any, ...], places: list[list[int]] | None = None) -> None:
    """Listen to everything that a child writes, and leave it to its parent to ship that.

    Args:
        state: The parent's recorder's.
        places: Where the function's streams lead, of a program that may have others.
    """
    global _is_wrapped
    if _recorder is not None:  # one of multiprocessing's, and a program as well
        _recorder.adopt(state)
        return
    _is_wrapped = True
    config = _read_config(is_child=True)
    if config is None or not _is_heard(config):
        return
    recorder = _make_recorder(config, os.environ, is_child=True)
    recorder.adopt(state)
    _listen(recorder, places)
    if config.has_programs:
        children.follow_programs(recorder, places or streams.places())
    error_reports.follow_errors(recorder)
    import atexit

    atexit.register(recorder.flush)
    if configuration.mode(os.environ) == configuration.MANAGED and has_extension():
        # A worker, if the runtime's process starts its workers this way.
        worker = _make_worker(recorder, None)

        def patch(bootstrap: Any) -> None:
            runtime_client.capture(bootstrap, recorder)
            _follow(bootstrap, config, recorder, worker, None)

        runtime_client.when_loaded(patch)
    imports.seal()


def _listen(recorder: Recorder, places: list[list[int]] | None = None) -> None:
    """Hear the two streams, what log handlers emit, and children of :mod:`multiprocessing`'s."""
    listener = _pipeline.hearing(recorder.written, recorder.begun) if _pipeline else recorder.written
    streams.listen(listener, recorder.make_stream, places)
    note_records()
    children.follow(recorder)


def start_dropin(processors: Iterable[Any] = ()) -> Recorder | None:
    """Set up for a handler without the wrapper, once for all handlers.

    Args:
        processors: structlog processors that all records pass, besides SUMO_PROCESSORS.

    Returns:
        Where log records go; None where there is nothing to do (under the wrapper), or nothing can be done.
    """
    processors = tuple(processors)
    if _is_wrapped:
        if processors:
            diagnostics.say_once("warn", f"SumoHandler does nothing under the wrapper, {_UNPROCESSED}")
        return None
    if _recorder is not None:
        return _with_processors(_recorder, processors)
    config = _read_config()
    if config is None or not _is_heard(config):
        return None
    if config.has_programs:
        diagnostics.say_once("warn", "SUMO_CHILDREN has no effect: it needs the wrapper")
    parts = recorder, followed, shipper = _assemble(config, processors)
    if runtime_client.BOOTSTRAP in sys.modules:
        _follow(sys.modules[runtime_client.BOOTSTRAP], config, *parts)
    else:
        recorder.leave_init()  # no runtime client will tell of the init's end
        followed.begin()
    if "AWS_LAMBDA_RUNTIME_API" not in os.environ:
        if shipper is not None:
            import atexit

            atexit.register(shipper.drain_at_exit)
    elif not has_extension():
        diagnostics.say_once(
            "warn",
            f"SumoHandler has no extension (/opt/{EXTENSION}): lines that are not shipped yet when the "
            "function times out, crashes or is shut down are lost. Add the layer to keep them",
        )
    imports.seal()
    return recorder


def _with_processors(recorder: Recorder, processors: tuple[Any, ...]) -> Recorder | None:
    """The recorder, with these processors too; None where it was made without any."""
    if not processors:
        return recorder
    if _pipeline is None:
        diagnostics.say_once(
            "warn",
            f"a SumoHandler with processors ships nothing, because an earlier one was made without, {_UNPROCESSED}",
        )
        return None
    _pipeline.chain.add(processors)
    return recorder


def find_recorder() -> Recorder | None:
    """The recorder that is there under the wrapper, or is made without it; None where nothing can be recorded."""
    return _recorder if _is_wrapped else start_dropin()


def keep_debug() -> bool:
    """Have everything that is held back of this invocation go out; returns whether there was anything."""
    recorder = _recorder
    if recorder is None or recorder.flight is None or recorder.endings is None:
        return False
    had_any = recorder.flight.has_any or (_pipeline is not None and _pipeline.has_held)
    recorder.endings.free()
    return had_any


def reach_structlog() -> None:
    """Let the function import structlog, with the layer's own where it has none: behind all else that it may have."""
    folder = f"{os.path.dirname(__file__)}/_structlog"
    if os.path.isdir(folder) and folder not in sys.path:
        sys.path.append(folder)


def has_extension() -> bool:
    """Is the external extension there, in the layer that this package came with or in any?"""
    layer = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.path.exists(f"{layer}/{EXTENSION}") or os.path.exists(f"/opt/{EXTENSION}")


def _read_config(*, is_child: bool = False) -> Config | None:
    """The settings, whose problems are said; None where nothing is to be shipped, or there is no address."""
    config, problems = configuration.read(os.environ)
    diagnostics.set_level(config.log_level)
    if configuration.mode(os.environ) == configuration.MANAGED:
        diagnostics.share(os.environ.get("AWS_LAMBDA_RUNTIME_API", ""))
    for problem in problems:
        if not is_child:  # the parent has said it
            diagnostics.say_once("warn", problem)
    if config.is_disabled:
        return None
    if not config.endpoint:
        diagnostics.say_once("error", "SUMO_HTTP_ENDPOINT is not set; no lines are shipped")
        say_all_written(config, "no lines are shipped")
        return None
    return config


def _is_heard(config: Config) -> bool:
    """Are the function's lines wanted, and wanted from its own process? If not, the extension does without us."""
    if "function" in config.log_types and config.function_logs != "telemetry":
        return True
    for setting in configuration.unheeded(config):
        diagnostics.say_once(
            "warn", f"{setting} has no effect: the function's lines are not taken from its own process"
        )
    return False


def _assemble(
    config: Config, processors: tuple[Any, ...] = ()
) -> tuple[Recorder, Invocations | Worker, Shipper | None]:
    """What records, what is told of invocations, and what ships in here, if that is known by now."""
    global _environ
    _environ = environ = dict(os.environ)
    recorder = _make_recorder(config, environ, processors)

    def make_shipper() -> Shipper:
        return Shipper(config, recorder.spool, lambda counts: make_drainer(config, environ, recorder, counts))

    if configuration.mode(environ) == configuration.MANAGED:
        return recorder, _make_worker(recorder, None if has_extension() else make_shipper), None
    shipper = make_shipper()
    return recorder, Invocations(config, recorder, shipper), shipper


def _make_worker(recorder: Recorder, make_shipper: Callable[[], Shipper] | None) -> Worker:
    # What each worker would load and compile is there once, before they are forked.
    from sumo_internal.capture import joint_rendering, multiline, record_format  # noqa: F401
    from sumo_internal.shipping.worker import Worker

    multiline.prepare()
    record_format.level_text("INFO")

    def renew() -> None:
        if _pipeline is not None:
            _pipeline.begin_again()
        if recorder.flight is not None:
            recorder.flight.begin_again()

    return Worker(recorder, renew, make_shipper)


def _make_recorder(
    config: Config, environ: Mapping[str, str], processors: tuple[Any, ...] = (), *, is_child: bool = False
) -> Recorder:
    """Make the process's recorder, with its spool, and what its records pass; tell the extension of it."""
    global _recorder, _pipeline
    log_group, stream, headers = _names(config, environ)
    is_spared = config.cloudwatch != "all" and _is_spared(config)
    spool = _make_spool(config, environ, addressed(headers, config, is_spared=is_spared), is_child=is_child)
    if not is_child:
        handoff.tell_function(config.spool_dir, environ.get("AWS_LAMBDA_RUNTIME_API", ""), log_group, stream, headers)
    keys = {
        "logGroup": log_group or None,
        "logStream": stream or None,
        "IsColdStart": True,
        "LayerVersion": configuration.CLIENT,
        "runtimeVersion": "python{}.{}.{}".format(*sys.version_info[:3]),
    }
    if configuration.is_processed(config) or processors:
        _pipeline = _make_pipeline(config, spool, processors)
    make: Callable[..., Recorder] = _sparing(config, spool) if is_spared else Recorder
    _recorder = make(
        spool,
        keys,
        is_enhanced=config.is_enhanced,
        is_joined=config.multiline == "join",
        is_ansi_stripped=config.is_ansi_stripped,
        more_keys=config.context_keys,
        replays="dropped" if config.drops_replays else "marked" if config.marks_replays else "kept",
        processing=_pipeline,
    )
    if not is_child and (config.sample_rate < 1 or config.has_summaries or config.debug_loggers):
        _follow_endings(config, _recorder)
    return _recorder


def _make_spool(config: Config, environ: Mapping[str, str], envelope: dict[str, str], *, is_child: bool) -> Spool:
    return Spool(
        config.spool_dir,
        envelope,
        config.spool_max_mb * 1_000_000,
        memory_max_bytes=config.memory_max_mb * 1_000_000,
        keeper=configuration.keeper_address(environ),
        has_ids=config.is_enhanced,
        is_child=is_child,
        has_workers=configuration.mode(environ) == configuration.MANAGED,
    )


def _names(config: Config, environ: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
    """Log group, log stream and request headers. With SnapStart no variable has the stream, and one is made up."""
    function = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    version = environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
    log_group = environ.get("AWS_LAMBDA_LOG_GROUP_NAME") or (f"/aws/lambda/{function}" if function else "")
    stream = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    if not stream and configuration.mode(environ) == configuration.SNAP_START:
        stream = handoff.made_up_stream(version)
    return log_group, stream, request_headers(config, function, stream, version)


def _begin_again(config: Config, recorder: Recorder) -> None:
    """This is one of many copies of the process: what would tell it from the others is the same in all of them."""
    if _outage is not None:
        _outage.forget()
    log_group, stream, headers = _names(config, _environ)
    recorder.spool.go_on(addressed(headers, config, is_spared=_outage is not None))
    recorder.begin_again(stream)
    address = _environ.get("AWS_LAMBDA_RUNTIME_API", "")
    handoff.tell_function(config.spool_dir, address, log_group, stream, headers, is_copy=True)


def _is_spared(config: Config) -> bool:
    """Does SUMO_CLOUDWATCH act? Only where every line is heard in here, and another process ships what this leaves."""
    if not _is_wrapped:
        say_all_written(config, "SumoHandler hears only what is logged")
    elif configuration.mode(os.environ) == configuration.MANAGED:
        say_all_written(config, "on Managed Instances the process that writes lines is not told what becomes of them")
    elif not has_extension():
        say_all_written(config, "there is no extension that ships what a killed process leaves")
    else:
        return True
    return False


def say_all_written(config: Config, reason: str) -> None:
    """Say why CloudWatch gets all lines, if a setting has asked for less."""
    if config.cloudwatch != "all":
        diagnostics.say_once("warn", f"SUMO_CLOUDWATCH={config.cloudwatch} has no effect: {reason}")


def _sparing(config: Config, spool: Spool) -> Callable[..., Recorder]:
    """What makes a recorder that spares CloudWatch."""
    from sumo_internal.capture.sparing import CloudWatch, SparingRecorder
    from sumo_internal.spool.outage import Outage

    global _outage
    _outage = Outage(config.spool_dir, config.cloudwatch_fallback_s)
    keep = []
    if config.cloudwatch_keep:
        from sumo_internal.expressions.checked import compiled

        keep = [compiled(source) for source in config.cloudwatch_keep]
    return partial(SparingRecorder, cloudwatch=CloudWatch(spool, config.cloudwatch, keep, _outage))


def _make_pipeline(config: Config, spool: Spool, processors: tuple[Any, ...]) -> Pipeline:
    """What records pass, and all that only a recorder with such needs."""
    from sumo_internal.processing.pipeline import Pipeline

    handler = os.environ.get("_HANDLER", "").rpartition(".")[0].replace("/", ".")
    pipeline = Pipeline(spool, config, handler, is_enhanced=config.is_enhanced)
    pipeline.chain.add(processors)
    if config.processors:
        reach_structlog()
    return pipeline


def _follow_endings(config: Config, recorder: Recorder) -> None:
    """Know how invocations end, and do what settings ask for then."""
    from sumo_internal.capture.endings import Endings

    endings = Endings(slower_s=config.debug_slower_ms / 1000, is_5xx_failure=config.is_5xx_failure)
    recorder.endings = endings
    pipeline, flight = _pipeline, None
    if pipeline is not None:
        endings.on_failure.append(pipeline.fail_invocation)
    if config.debug_loggers and _is_wrapped:
        from sumo_internal.capture.flight import Flight, follow

        is_json = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        max_bytes = config.debug_max_mb * 1_000_000
        recorder.flight = flight = Flight(recorder, config.debug_loggers, max_bytes, is_json=is_json)
        endings.on_failure.append(flight.free)
        follow(flight)
    elif config.debug_loggers:
        diagnostics.say_once("warn", "SUMO_DEBUG_ON_FAILURE has no effect: it needs the wrapper")
    if config.has_summaries:
        from sumo_internal.capture.summary import Summary

        def held() -> int:
            return (pipeline.held_lines if pipeline else 0) + (flight.lines if flight else 0)

        recorder.summary = summary = Summary(recorder.spool, recorder.append, endings, held)
        recorder.append = summary.append
    runtime_client.when_loaded(lambda bootstrap: runtime_client.follow_endings(bootstrap, endings))


def make_drainer(config: Config, environ: Mapping[str, str], recorder: Recorder, counts: Counters) -> Drainer:
    """Make this process's drainer, on the shipping thread: what is imported here is no part of the function's start."""
    from sumo_internal.shipping import factory
    from sumo_internal.spool.reader import SpoolReader

    def complete(partial: Partial) -> str | None:
        from sumo_internal.processing.unfinished import Unfinished

        def is_timeout(request_id: str) -> bool:
            return handoff.timed_out(config.spool_dir) == request_id

        return Unfinished(config, recorder.spool.count, is_timeout).record(partial)

    reader = SpoolReader(config.spool_dir, recorder.spool)
    reader.complete = complete
    return factory.make_drainer(
        config, environ, reader, counts, lambda: _make_sender(environ), recorder.account, _account_id, _outage
    )


def _account_id() -> str:
    return _api.account_id if _api else ""


def _make_sender(environ: Mapping[str, str]) -> Sender:
    """The way to send from inside this process.

    In Lambda, and wherever the wrapper is, our own: the first request over TLS costs a 128 MB function 0.3 s with it
    and 1.2 s with urllib3, whose import is CPU that the function pays for, and 6 MB less. Outside, the drop-in was
    installed with urllib3.
    """
    if _is_wrapped or "AWS_LAMBDA_RUNTIME_API" in environ:
        from sumo_internal.net.client import PlainSender

        return PlainSender(environ)
    from sumo_internal.net.pool import PooledSender

    return PooledSender(environ)


def _follow(
    bootstrap: Any, config: Config, recorder: Recorder, followed: Invocations | Worker, shipper: Shipper | None
) -> None:
    """Have the runtime client tell of invocations and snapshots, and register for INVOKE where something freezes."""
    global _api
    runtime_client.follow_invocations(bootstrap, followed)
    if shipper is None or not isinstance(followed, Invocations):
        return  # where nothing freezes, there is no INVOKE to register for, and no snapshot
    if configuration.mode(os.environ) == configuration.SNAP_START:

        def after_restore(is_copy: bool) -> None:
            try:
                if is_copy:
                    _begin_again(config, recorder)
            finally:
                recorder.spool.go_on()
                followed.after_restore(is_copy=is_copy)

        shipper.await_snapshot()
        runtime_client.follow_snapshot(bootstrap, followed.before_snapshot, after_restore)
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    if address:
        _api = ExtensionsApi(address)
        followed.register(_api, configuration.keeper_address(os.environ))
