"""``keep_debug``: the function says that what is held back of this invocation is wanted (SUMO_DEBUG_ON_FAILURE)."""

from __future__ import annotations

import sys

from sumo_internal import diagnostics


def keep_debug() -> bool:
    """Have the DEBUG lines of this invocation shipped, those before this call and those after it.

    With ``SUMO_DEBUG_ON_FAILURE`` only, under the wrapper; what ``SUMO_SAMPLE`` holds back goes out as well. No mask is
    changed. Nothing is raised, and without the wrapper nothing happens.

    Returns:
        Whether there was anything to keep.
    """
    wiring = sys.modules.get("sumo_internal.wiring")  # nothing of ours runs in here, if it is not there
    if wiring is None:
        return False
    with diagnostics.guard("keeping lines that are held back"):
        return bool(wiring.keep_debug())
    return False
