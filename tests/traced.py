"""Sends requests under a tracing library, and prints what that has seen: a process of its own for each library.

    python tests/traced.py opentelemetry|xray|sentry URL

Of the two lists of texts that it prints, as JSON, the first is about a request of the function's (without which the
second would prove nothing), the other about ours: by both senders, made before the library was installed and after it.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable
from typing import Any

from sumo_internal.net.client import PlainSender
from sumo_internal.net.pool import PooledSender

PATIENT_S = 10.0


def opentelemetry() -> Callable[[], list[str]]:
    """OpenTelemetry's instrumentation of urllib3; return what gives the spans since the last call."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    URLLib3Instrumentor().instrument()

    def seen() -> list[str]:
        spans = [f"{span.name} {dict(span.attributes or {})}" for span in exporter.get_finished_spans()]
        exporter.clear()
        return spans

    return seen


def xray() -> Callable[[], list[str]]:
    """X-Ray's patch of ``http.client``."""
    from aws_xray_sdk.core import patch, xray_recorder

    xray_recorder.configure(sampling=False)
    patch(["httplib"])
    segment = xray_recorder.begin_segment("function")

    def seen() -> list[str]:
        subsegments = [str(subsegment.http) for subsegment in segment.subsegments]
        segment.subsegments.clear()
        return subsegments

    return seen


def sentry() -> Callable[[], list[str]]:
    """Sentry's, of ``http.client`` too, which turns each request into a breadcrumb of later errors."""
    import sentry_sdk

    breadcrumbs: list[str] = []

    def note(crumb: Any, _: Any) -> Any:
        breadcrumbs.append(str(crumb))
        return crumb

    sentry_sdk.init("http://key@127.0.0.1:1/1", before_breadcrumb=note, traces_sample_rate=1.0, transport=print_nothing)
    sentry_sdk.start_transaction(name="function").__enter__()

    def seen() -> list[str]:
        found = list(breadcrumbs)
        breadcrumbs.clear()
        return found

    return seen


def print_nothing(envelope: Any) -> None:
    """Where Sentry's envelopes go."""


def main() -> None:
    """Send with the library that the arguments name."""
    library, url = sys.argv[1:]
    early: list[PooledSender | PlainSender] = [PooledSender({}), PlainSender({})]
    for sender in early:
        sender.send("POST", f"{url}/ours", {}, b"line", PATIENT_S)

    seen = {"opentelemetry": opentelemetry, "xray": xray, "sentry": sentry}[library]()
    if library == "opentelemetry":
        import urllib3

        urllib3.request("GET", f"{url}/theirs")
    else:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        connection.request("GET", "/theirs")
        connection.getresponse().read()
    theirs = seen()

    for sender in (*early, PooledSender({}), PlainSender({})):
        sender.send("POST", f"{url}/ours", {}, b"line", PATIENT_S)
        sender.send("POST", f"{url}/ours", {}, b"line", PATIENT_S)
    print(json.dumps([theirs, seen()]))


if __name__ == "__main__":
    main()
