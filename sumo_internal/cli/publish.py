"""To be written."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the commands."""
    subparsers.add_parser("publish").set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return 0
