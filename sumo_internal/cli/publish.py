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
from functools import cached_property

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import track

from sumo_internal import __version__
from sumo_internal.cli import EXIT_AWS, EXIT_DONE, EXIT_FAILED, CommandError, changes, tables
from sumo_internal.cli.account import AT_ONCE, Region, describe, regions
from sumo_internal.cli.session import explained

BUNDLE = re.compile(r"python/sumo_internal/__pycache__/bundle\.cpython-3(\d+)\.bin")
"""Where the layer has an interpreter's bytecode (sumo_internal/imports.py)."""


PARTS = ("sumo_wrapper", "extensions/sumo-internal-extension")
"""What every build of the layer has: functions of a layer without them could not start."""


@dataclass(frozen=True)
class Package:
    """What is published."""

    name: str
    content: bytes

    @cached_property
    def names(self) -> frozenset[str]:
        """What is in it; nothing, where it is not a zip."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as layer:
                return frozenset(layer.namelist())
        except zipfile.BadZipFile:
            return frozenset()

    @property
    def version(self) -> str:
        """As the layer itself says it, a release's with its commit."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as layer:
                door = layer.read("python/sumo_internal/__init__.py").decode()
        except KeyError:
            return __version__
        said = re.search(r'^__version__ = "(.*)"$', door, re.MULTILINE)
        return said[1] if said else __version__

    @property
    def bytecode(self) -> list[str]:
        """The versions of Python, as ``3.12``, whose bytecode is in it."""
        found = {int(bundle[1]) for bundle in map(BUNDLE.fullmatch, self.names) if bundle}
        return [f"3.{minor}" for minor in sorted(found)]

    @property
    def code_sha256(self) -> str:
        """As Lambda tells it."""
        return base64.b64encode(hashlib.sha256(self.content).digest()).decode()


def run(arguments: argparse.Namespace) -> int:
    """Publish; print the ARNs."""
    screen = Console(markup=False, highlight=False, stderr=True, soft_wrap=True)
    try:
        package = Package(arguments.name, arguments.zip.read_bytes())
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}; `make layer` builds the layer") from None
    if missing := [part for part in PARTS if part not in package.names]:
        raise CommandError(f"{arguments.zip} is not the layer (there is no {missing[0]} in it); `make layer` builds it")
    if lacking := [each for each in changes.RUNTIMES if each.removeprefix("python") not in package.bytecode]:
        screen.print(
            f"warning: {arguments.zip} has no bytecode for {', '.join(lacking)}: {changes.COMPILING}. `make layer` "
            "compiles with every Python that it finds."
        )
    principals = ["*"] if arguments.public else arguments.share
    places = [Region(name) for name in regions(arguments.region)]
    rows: dict[str, tuple[str, str]] = {}
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {
            pool.submit(_publish, place, package, principals, is_trial=arguments.dry_run): place.name
            for place in places
        }
        for future in track(as_completed(futures), "Publishing", len(futures), console=screen):
            try:
                rows[futures[future]] = future.result()
            except (BotoCoreError, ClientError) as error:
                failed += 1
                rows[futures[future]] = "", f"failed: {explained(error)}"
    tables.show(("Region", "Layer", ""), ((region, *row) for region, row in sorted(rows.items())))
    if failed == len(places):
        return EXIT_AWS
    return EXIT_FAILED if failed else EXIT_DONE


def _publish(region: Region, package: Package, principals: Sequence[str], *, is_trial: bool) -> tuple[str, str]:
    """Publish in a region what is not there; return the version's ARN, and what was done."""
    newest = region.newest(package.name)
    if newest and region.code_sha256(newest) == package.code_sha256:
        layer, outcome = newest, "is there already"
    elif is_trial:
        return "", "would be published"
    else:
        description = describe(package.version, package.bytecode)
        layer, outcome = region.publish(package.name, package.content, description, changes.RUNTIMES), "published"
    if is_trial:
        return layer, outcome
    shared = [principal for principal in principals if region.share(layer, principal)]
    return layer, f"{outcome}, for {', '.join(shared)}" if shared else outcome
