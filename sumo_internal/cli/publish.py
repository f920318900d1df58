"""``sumo-internal publish``: the built layer into regions; ``make publish`` calls it.

Rules:

* A region whose newest version has the same bytes is left alone: the build is reproducible, so twice is once.
* All regions at the same time, each for itself: one that fails stops no other, and the same command does the rest.
* Only the account itself may use a version, unless ``--public`` or ``--share`` is given. That is put right on a version
  that is there already, too.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import track

from sumo_internal import __version__
from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, CommandError, changes, tables
from sumo_internal.cli.account import AT_ONCE, Region, regions

ZIP = Path("layer/dist/sumo-internal-extension.zip")
"""Where ``make layer`` puts it."""


@dataclass(frozen=True)
class Package:
    """What is published."""

    name: str
    content: bytes

    @property
    def version(self) -> str:
        """As the layer itself says it, a release's with its commit."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as layer:
                door = layer.read("python/sumo_internal/__init__.py").decode()
        except (KeyError, zipfile.BadZipFile):
            return __version__  # AWS says what it does not take
        said = re.search(r'^__version__ = "(.*)"$', door, re.MULTILINE)
        return said[1] if said else __version__

    @property
    def code_sha256(self) -> str:
        """As Lambda tells it."""
        return base64.b64encode(hashlib.sha256(self.content).digest()).decode()


def add_parser(subparsers: Any) -> None:
    """Add publish."""
    parser = subparsers.add_parser("publish", help="put the layer into regions of your account")
    parser.add_argument("--region", action="append", default=[], help="may be repeated; all: every region you use")
    parser.add_argument("--zip", type=Path, default=ZIP, help=f"the built layer (default: {ZIP})")
    parser.add_argument("--name", default=changes.LAYER_NAME, help=f"the layer's (default: {changes.LAYER_NAME})")
    parser.add_argument("--public", action="store_true", help="let every AWS account use it")
    parser.add_argument("--share", metavar="ACCOUNT", action="append", default=[], help="let this account use it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Publish; print the ARNs."""
    try:
        package = Package(arguments.name, arguments.zip.read_bytes())
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}; `make layer` builds the layer") from None
    principals = ["*"] if arguments.public else arguments.share
    places = [Region(name) for name in regions(arguments.region)]
    screen = Console(markup=False, highlight=False, stderr=True, soft_wrap=True)
    rows, failed = {}, 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {pool.submit(_publish, place, package, principals): place.name for place in places}
        for future in track(as_completed(futures), "Publishing", len(futures), console=screen):
            try:
                rows[futures[future]] = future.result()
            except (BotoCoreError, ClientError) as error:
                failed += 1
                rows[futures[future]] = "", f"failed: {error}"
    tables.show(("Region", "Layer", ""), ((region, *row) for region, row in sorted(rows.items())))
    return EXIT_FAILED if failed else EXIT_DONE


def _publish(region: Region, package: Package, principals: Sequence[str]) -> tuple[str, str]:
    """Publish in a region what is not there; return the version's ARN, and what was done."""
    newest = region.newest(package.name)
    if newest and region.code_sha256(newest) == package.code_sha256:
        layer, outcome = newest, "is there already"
    else:
        description = f"{changes.LAYER_NAME} {package.version}"
        layer, outcome = region.publish(package.name, package.content, description, changes.RUNTIMES), "published"
    shared = [principal for principal in principals if region.share(layer, principal)]
    return layer, f"{outcome}, for {', '.join(shared)}" if shared else outcome
