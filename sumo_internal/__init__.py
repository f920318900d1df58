"""Sumo Logic's internal extension for AWS Lambda, in the function's own process.

From a line to the request
==========================

::

    print, log.info ── capture ── (processing) ── spool ══ reader ── drainer ── destination ── net
                       streams     a setting      file in   shipping  shipping    HTTP source    HTTPS
                       recorder    asks for it    /tmp                            or S3

The function's thread goes as far as the spool; the shipping thread, or the extension's process once the function's is
gone, goes the rest. ``docs/contributing.md`` names the files in the order in which a line passes them, and says what
the code's words mean.

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
