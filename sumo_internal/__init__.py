"""Sumo Logic's internal extension for AWS Lambda, in the function's own process.

From a line to the request
==========================

::

    print, log.info ── capture ── (processing) ── spool ══ reader ── drainer ── destination ── net
                       streams     a setting      file in   shipping  shipping    HTTP source    HTTPS
                       recorder    asks for it    /tmp                            or S3

The function's thread goes as far as the spool; the shipping thread, or the extension's process once the function's is
gone, goes the rest. ``docs/contributing.md`` names the files in the order in which a line passes them.

Words
=====

environment      what Lambda runs one function in: its processes and /tmp, from cold start to SHUTDOWN
invocation       one event, from the runtime's Next to the next Next
init phase       what happens before the first invocation; at its end the runtime and all extensions ask for an event
freeze           Lambda stops all processes of an environment between invocations, at any instruction
wrapper          the script that Lambda runs in place of the interpreter (AWS_LAMBDA_EXEC_WRAPPER)
extension        a process that Lambda starts beside the function's; ours ships what is left
sidecar          our two threads in the function's process: one registered with Lambda, one that ships
life-cycle       the sidecar's thread that asks for events, and so can keep the environment from freezing
hold             the time after the response in which the life-cycle thread does that, until lines are delivered
runtime client   awslambdaric, AWS's Python program that calls the handler
log record       logging's LogRecord
record           one line of JSON, which becomes one message at Sumo Logic
piece            JSON text of some keys of a record, ``,"level":"INFO"``, put together by the recorder
spool            the folder of finished records that are not delivered yet
writer           a process that appends to the spool, and its name in file names and ids
segment          one file of the spool, a megabyte; *committed* up to one offset, *acknowledged* up to another
held             segments whose lines go out only if their invocation fails
counters         what became of lines that had trouble, by reason, in a file beside the segments
reader           a drainer's view of all writers' segments
batch, slice     what one request carries, and the part of a segment that is in it
drainer          the loop that takes batches, sends them and acknowledges them
envelope         the request headers under which a writer's lines travel
destination      where a batch goes: the HTTP source, or the failover bucket
attempt          one try to deliver a batch, and its answer
breaker          what leaves a dead source alone for a while
handoff          small files in which the function's process and the extension tell each other something

This module is a door: the version, the drop-in handler, and what structlog is given. Importing it imports nothing but
the package's own importer, because a function that only wants ``from sumo_internal import SumoHandler`` pays for
the rest when it makes a handler, and one that only wants the version pays for nothing.
"""

from __future__ import annotations

from sumo_internal import imports

imports.begin(__path__[0])

__version__ = "0.1.0"

TYPE_CHECKING = False  # as in typing, without its import (2 ms); type checkers know the name
if TYPE_CHECKING:
    from sumo_internal.api.debug import keep_debug as keep_debug
    from sumo_internal.api.handler import SumoHandler as SumoHandler
    from sumo_internal.api.structured import SumoProcessor as SumoProcessor
    from sumo_internal.api.structured import configure_structlog as configure_structlog

__all__ = ["SumoHandler", "SumoProcessor", "__version__", "configure_structlog", "keep_debug"]


def __getattr__(name: str) -> object:
    if name == "SumoHandler":
        from sumo_internal.api.handler import SumoHandler

        return SumoHandler
    if name == "keep_debug":
        from sumo_internal.api.debug import keep_debug

        return keep_debug
    if name in ("SumoProcessor", "configure_structlog"):
        from sumo_internal.api import structured

        return getattr(structured, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
