"""How many lines of Python a call runs: what it costs, told without a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_run(call: Callable[[], object], folder: str = "/sumo_internal/") -> int:
    """Run something in this thread; return how many lines were run of the modules in a folder of this name."""
    count = 0

    def line(frame: FrameType, *_: object) -> Any:
        nonlocal count
        count += 1
        return line

    sys.settrace(lambda frame, *_: line if folder in frame.f_code.co_filename else None)
    try:
        call()
    finally:
        sys.settrace(None)
    return count
