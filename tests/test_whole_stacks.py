"""What shows a whole stack, and whose name is taken from how the process was started, is what it is without the layer.

With the real packages: loguru shows each frame with the values of its variables, Sentry sends them, asyncio's debug
mode has the stack in which a handle was made, ddtrace names a service after what was started.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from model import Environment
from packages import package
from runtimes import Runtime, runtimes
from sumo_source import SumoSource

each_python = pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)

FUNCTION = """
import asyncio, faulthandler, inspect, io, logging, os, sys, threading, traceback, warnings
log = logging.getLogger("orders")
log.setLevel(logging.INFO)
SOURCES = []
def loguru(_):
    from loguru import logger
    try:
        {}["price"]
    except KeyError:
        logger.exception("no price")
    logger.opt(depth=1, exception=True).info("in {function}")
def stack_info(_):
    for n in range(20):  # from the tenth line on the runtime's lines are written otherwise
        log.info("number %d", n, stack_info=n % 9 == 1)
        if n % 9 == 2:
            try:
                {}["price"]
            except KeyError:
                log.exception("no price", stack_info=True)
def asyncio_debug(_):
    async def fail():
        raise LookupError("in a task")
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 0
        failing = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(lambda: {}["price"])
        await asyncio.sleep(0)
        del failing
    asyncio.run(main(), debug=True)
def own_stack(_):
    traceback.print_stack()
    print([(frame.filename, frame.function, sorted(frame.frame.f_locals)) for frame in inspect.stack()])
    with open(os.environ["SUMO_SPOOL_DIR"] + ".stack", "w+") as file:
        faulthandler.dump_traceback(file, all_threads=False)
        file.seek(0)
        print(file.read())
def fails_in_a_thread(_):
    thread = threading.Thread(target=lambda: {}["price"])
    thread.start()
    thread.join()
    print([each.name for each in threading.enumerate()])
def warns(_):
    warnings.simplefilter("always")
    for level in range(1, 9):
        warnings.warn("deep", stacklevel=level)
def sentry(_):
    import sentry_sdk
    from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration
    class Transport(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope):
            SOURCES.append(envelope.get_event())
    dsn = "http://key@127.0.0.1:9/1"
    sentry_sdk.init(dsn=dsn, integrations=[AwsLambdaIntegration()], transport=Transport, attach_stacktrace=True)
    sentry_sdk.capture_message("a message")
    log.error("an error %s", "logged")
    frames = [  # of the stand-in for logging's ``handle`` the variables are our own
        (frame["abs_path"], frame["function"], frame["lineno"], "self" in frame["vars"] or sorted(frame["vars"]))
        for event in SOURCES for thread in event.get("threads", event.get("exception"))["values"]
        for frame in thread["stacktrace"]["frames"]
    ]
    print(len(SOURCES), frames)
def structlog(_):
    import structlog
    structlog.configure(processors=[
        structlog.processors.StackInfoRenderer(),
        structlog.processors.CallsiteParameterAdder(),
        structlog.processors.KeyValueRenderer(sort_keys=True),
    ])
    structlog.get_logger().info("bound", stack_info=True)
def ddtrace(_):
    import ddtrace
    from ddtrace.internal.settings._inferred_base_service import detect_service
    print(ddtrace.config.service, detect_service(sys.argv), detect_service(sys.orig_argv))
def in_a_formatter(_):
    class Own(logging.Formatter):
        def format(self, record):
            stack = [(each.filename, each.name, each.lineno, each.line) for each in traceback.extract_stack()]
            return f"{super().format(record)} {stack}"
    for handler in logging.getLogger().handlers + [logging.StreamHandler(sys.stdout)]:
        handler.setFormatter(Own())
        log.addHandler(handler)
    for n in range(2):  # each twice by the runtime's handler, and fewer than ten: then a frame of ours comes in between
        log.info("number %d", n)
def started_as(_):
    main = sys.modules["__main__"]
    print(sys.argv, sys.orig_argv, sys.path, sys.flags, main.__file__, main.__spec__, sorted(vars(main)))
def handler(event, context):
    globals()[event](event)
"""

KINDS: dict[str, tuple[str, ...]] = {
    "loguru": ("loguru==0.7.3",),
    "stack_info": (),
    "asyncio_debug": (),
    "own_stack": (),
    "fails_in_a_thread": (),
    "warns": (),
    "sentry": ("sentry-sdk==2.75.0",),
    "structlog": ("structlog==23.1.0",),
    "in_a_formatter": (),
    "started_as": (),
}
"""What the function does, and the packages that it needs."""

DIFFERS = re.compile(
    r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\d{4}-\d\d-\d\d[T ][\d:.]+Z?|\d+\.\d+ seconds|\d{13,}"
    r"|process=\d+|thread=\d+|environ\(\{.*|port=\d+|127\.0\.0\.1:\d+|/tmp/[^/'\"]+|[0-9a-f]{32}|Root=1-[^'\"]+|\d{4}/\d\d/\d\d"
)
"""Addresses, request ids, times, processes: other ones in each run; and the environment, which has our settings."""


def written(
    runtime: Runtime, kind: str, layer: Path, folder: Path, source: SumoSource, *, is_wrapped: bool, **options: Any
) -> list[str]:
    """What the function writes to CloudWatch, as far as it is the same in each run.

    The layer's folder is there in any case, because Lambda has it on ``sys.path``.
    """
    (folder / "app.py").write_text(FUNCTION)
    paths = ":".join(str(package(each, is_complete=True)) for each in options.pop("packages"))
    variables = {"PYTHONPATH": paths} if paths else {}
    if is_wrapped:
        variables |= {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url}
    with Environment(runtime, folder, layer=layer, variables=variables, timeout_s=30.0, **options) as env:
        assert env.start().error is None, env.cloudwatch
        done = [env.invoke(kind) for _ in range(2)]
        env.shutdown()
        lines = [line.text for line in env.cloudwatch if line.source == "function"]
    assert [each.status for each in done] == ["success"] * 2, lines
    return sorted(DIFFERS.sub("-", line) for line in lines)  # by two ways, whose order is none


@each_python
@pytest.mark.timeout(300)  # the packages are fetched, once
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_stack_is_what_it_is_without_the_layer(
    source: SumoSource, layer_folder: Path, tmp_path: Path, runtime: Runtime, kind: str
) -> None:
    """No frame and no variable of ours is in it, in text and in JSON, from the first line to the twentieth."""
    for log_format in ("Text", "JSON"):
        alone, beside = (
            written(
                runtime,
                kind,
                layer_folder,
                tmp_path,
                source,
                is_wrapped=is_wrapped,
                log_format=log_format,
                packages=KINDS[kind],
            )
            for is_wrapped in (False, True)
        )
        assert len(alone) >= 2
        assert beside == alone
        assert not [line for line in beside if "sumo_internal" in line]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("entry", ["managed", "image"])
def test_ddtrace_names_the_service_as_without_the_layer(
    source: SumoSource, layer_folder: Path, tmp_path: Path, entry: str
) -> None:
    """After the function, or what was started: it looks for a script's name in ``sys.argv``."""
    (runtime,) = [each for each in runtimes([4]) if each.version == sys.version_info[:2]]
    alone, beside = (
        written(
            runtime,
            "ddtrace",
            layer_folder,
            tmp_path,
            source,
            is_wrapped=is_wrapped,
            entry=entry,
            packages=("datadog-lambda==8.130.0",),
        )
        for is_wrapped in (False, True)
    )
    assert beside == alone and len(alone) == 2
