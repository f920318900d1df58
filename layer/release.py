"""``make release``: everything that a release consists of, from a committed state, into ``layer/dist/release``.

::

    sumo-internal-extension.zip          the layer, with bytecode for every Python that Lambda runs
    sumo-internal-extension.cdx.json     its bill of materials, which is in the zip as well
    sumo_internal_extension-*.whl        the package, with the command line, and with the layer for `publish`
    sumo_internal_extension-*.tar.gz     its source, from which all of this can be built again
    SHA256SUMS                           of all of them

Rules:

* Only what is committed: the version in the layer's records and in its description has the commit,
  ``0.1.0+1a2b3c4d5e``, and what a release is made of can be checked out again.
* With bytecode for every supported Python, or not at all: a layer without a function's bytecode costs that function
  three times as much at a cold start. A Python that is missing is asked of uv or pyenv, if one of them is on PATH.
  ``--missing-is-fine`` is for trying this on a machine that lacks some.
* Without a vulnerability that is known of what the layer carries; where the database cannot be asked, that is said.
* The same commit and interpreters give the same zip.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable

from layer import advisories
from layer.build import ROOT, SIZE_LIMIT_BYTES, bill, build, missing, summary
from layer.interpreters import find
from sumo_internal import __version__

FOLDER = ROOT / "layer/dist/release"
ZIP, BILL, SUMS = "sumo-internal-extension.zip", "sumo-internal-extension.cdx.json", "SHA256SUMS"
COMMIT_CHARS = 10

INSTALLERS = {"uv": ("python", "install"), "pyenv": ("install", "--skip-existing")}
"""Version managers, and how each is told to install a Python; layer/interpreters.py finds it where they put it."""

BUNDLED = ROOT / "sumo_internal/cli" / ZIP
"""The layer beside the commands, while the wheel is built; `publish` finds it there once the wheel is installed."""


def main() -> None:
    """Build the release, or say in one line why there is none."""
    parser = argparse.ArgumentParser(prog="python -m layer.release", description="Build a release.")
    parser.add_argument("--missing-is-fine", action="store_true", help="also without bytecode for some Pythons")
    arguments = parser.parse_args()
    interpreters = find()
    if missing(interpreters) and not arguments.missing_is_fine:
        get(missing(interpreters).split(", "))
        interpreters = find()
    if lacking := missing(interpreters):
        text = f"this machine has no Python {lacking}, and a release has bytecode for each"
        if not arguments.missing_is_fine:
            sys.exit(f"make release: {text}; install it, so that python3.X is on PATH, and try again")
        print(f"make release: {text}: this one is for a trial")
    version = f"{__version__}+{_commit()}"
    known, text = advisories.check()
    if known == advisories.KNOWN:
        sys.exit(f"make release: {text}")
    print(f"make release: {text}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    archive = build(interpreters, version)
    if len(archive) > SIZE_LIMIT_BYTES:
        sys.exit(f"make release: the layer's zip has {len(archive):,} bytes; the limit is {SIZE_LIMIT_BYTES:,}")
    (FOLDER / ZIP).write_bytes(archive)
    (FOLDER / BILL).write_text(bill(version))
    _build_package(archive)
    _run("-m", "twine", "check", "--strict", *map(str, [*FOLDER.glob("*.whl"), *FOLDER.glob("*.tar.gz")]))
    files = sorted(path for path in FOLDER.iterdir())
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (FOLDER / SUMS).write_text(sums)
    print(summary(archive, interpreters), sums, f"-> {FOLDER.relative_to(ROOT)} ({version})", sep="\n")


def get(versions: Iterable[str]) -> None:
    """Have a version manager of this machine install Pythons; what it says is on the screen, and what it could not
    get is missing afterwards as before."""
    for name, command in INSTALLERS.items():
        if program := shutil.which(name):
            for version in versions:
                print(f"make release: Python {version} is missing; asking {name} for it", flush=True)
                subprocess.run([program, *command, version], check=False)
            return


def _build_package(archive: bytes) -> None:
    """Build wheel and sdist; the wheel has the layer in it, so that who installs it has all that `publish` needs."""
    BUNDLED.write_bytes(archive)
    try:
        _run("-m", "build", "--quiet", "--sdist", "--wheel", "--outdir", str(FOLDER), str(ROOT))
    finally:
        BUNDLED.unlink()


def _commit() -> str:
    """The commit that is checked out; a release of anything else could not be made again."""
    try:
        changed = subprocess.check_output(["git", "status", "--porcelain"], cwd=ROOT, text=True)
        commit = subprocess.check_output(["git", "rev-parse", f"--short={COMMIT_CHARS}", "HEAD"], cwd=ROOT, text=True)
    except (OSError, subprocess.CalledProcessError):
        sys.exit("make release: this is not a git checkout, so nobody could tell what the release is made of")
    if changed:
        sys.exit(f"make release: commit first; {len(changed.splitlines())} files are not as in HEAD")
    return commit.strip()


def _run(*arguments: str) -> None:
    if subprocess.run([sys.executable, *arguments], cwd=ROOT).returncode:
        sys.exit(f"make release: {' '.join(arguments[:3])} failed")


if __name__ == "__main__":
    main()
