"""Spans of OpenTelemetry's SDK, around prints and log records, in a thread and in tasks."""

import asyncio
import logging
import threading

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("orders")
log = logging.getLogger("orders")
log.setLevel(logging.INFO)


def ids(span):
    context = span.get_span_context()
    return [f"{context.trace_id:032x}", f"{context.span_id:016x}"]


def handler(event, context):
    spans = {}

    def work(name):
        with tracer.start_as_current_span(name) as span:
            spans[name] = ids(span)
            print(name)

    async def task(name):
        with tracer.start_as_current_span(name) as span:
            spans[name] = ids(span)
            await asyncio.sleep(0)
            log.info(name)

    async def tasks():
        await asyncio.gather(*(task(f"task {number}") for number in range(2)))

    print("outside")
    with tracer.start_as_current_span("outer") as span:
        spans["outer"] = ids(span)
        print("printed")
        log.info("logged")
        # What OpenTelemetry's own logging integration puts into each record.
        own = {"otelTraceID": spans["outer"][0], "otelSpanID": spans["outer"][1]}
        log.info("instrumented", extra=own)
    thread = threading.Thread(target=work, args=("thread",))
    thread.start()
    thread.join()
    asyncio.run(tasks())
    return spans
