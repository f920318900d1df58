"""``python -m sumo_internal``: the command ``sumo-internal``, where its script is not on PATH."""

from __future__ import annotations

from sumo_internal.cli import entry

entry()
