"""A model of one AWS Lambda execution environment: real processes, real sockets, Lambda's life cycle.

Tests, benchmarks and the demo import from here. The modules read from the outside in: ``environment`` (what a test
does and sees), ``life_cycle`` (the succession of generations), ``generation`` (init, invocation, shutdown of one),
the three APIs (``runtime_api``, ``extensions_api``, ``telemetry_api`` with ``telemetry_delivery``), what they speak
through (``web``, ``logs``, ``platform_log``), and what they run in (``processes``, ``sandbox`` with ``launcher``,
``cgroups``, ``file_system``); ``configuration`` is the function's.

Source: AWS's documentation, its Runtime Interface Emulator, and what was measured with both. It models one function
that is invoked on demand, or restored from a snapshot of its own (SnapStart), or serves several requests at a time
(Managed Instances).
"""

from __future__ import annotations

from model.environment import Environment
from model.life_cycle import Handle
from model.monitor import ModelStuck
from model.values import CloudWatchLine, Event, Failure, InitResult, Invocation, ProcessEnd, ShutdownResult

__all__ = [
    "CloudWatchLine",
    "Environment",
    "Event",
    "Failure",
    "Handle",
    "InitResult",
    "Invocation",
    "ModelStuck",
    "ProcessEnd",
    "ShutdownResult",
]
