"""Sets up what the wrapper has started.

Separate from :mod:`sumo_internal.wiring`, which says what is made: here is what holds however that ends.
"""

from __future__ import annotations

import gc

from sumo_internal import diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_up() -> None:
    """Have everything heard and shipped that the function will write.

    Nothing of what is made here is garbage, and to look for some takes a tenth of the time.
    """
    gc.disable()
    with diagnostics.guard("setting up"):
        from sumo_internal import wiring

        if not wiring.install_program():
            wiring.install()
    gc.enable()


def set_up_child(state: tuple[Any, ...]) -> None:
    """The same for a child of :mod:`multiprocessing`'s; see :mod:`sumo_internal.capture.children`."""
    with diagnostics.guard("setting up a child"):
        from sumo_internal import wiring

        wiring.install_child(state)
