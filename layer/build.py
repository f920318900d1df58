"""Builds the layer: one zip, rooted at /opt, for every architecture and every Python that Lambda runs.

::

    sumo_wrapper                          called by Lambda in front of the interpreter
    extensions/sumo-internal-extension    the external extension
    python/sumo_internal/                 the package
        __pycache__/bundle.cpython-3*.bin its bytecode, per interpreter of this machine (sumo_internal/imports.py)
        _structlog/structlog/             source, in reach once ``_structlog`` is on sys.path
        _structlog/typing_extensions.py   what structlog needs on Python 3.10
        sbom.cdx.json                     what the layer is made of (layer/sbom.py)

Rules:

* Sources and scripts go without what only people read (layer/bare_sources.py).
* ``python/`` lies on every function's sys.path, so it holds no top-level name but ours: a function's own
  ``import structlog`` ends as it does without the layer.
* Bytecode is part of the layer because /opt is read-only: Python would compile each module again at each cold start.
  It is unchecked (PEP 552), so that importing does not even read the source, and names the files under /opt.
* Bytecode of six interpreters would not fit into the limit in full. It goes in one file for each, without docstrings,
  ``assert``, annotations, what is there for type checkers alone, and the columns in a traceback; line numbers stay. So
  nothing in the package may rest on one of them.
* The same sources and interpreters give the same bytes, wherever and whenever they are built: no time, no path, no
  hash seed, no umask gets in.

It does not test what it built; that is ``tests/test_layer.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from layer.bare_sources import bare, bare_script
from layer.interpreters import SUPPORTED_VERSIONS, Interpreter, find
from layer.sbom import Part, bill_of_materials
from sumo_internal import __version__

ROOT = Path(__file__).resolve().parent.parent
ZIP = ROOT / "layer/dist/sumo-internal-extension.zip"
VENDORED = ROOT / "layer/vendored.txt"
WHEELS = ROOT / ".cache/wheels"

LICENSES = {"structlog": "MIT OR Apache-2.0", "typing_extensions": "PSF-2.0"}
"""SPDX expressions of what vendored.txt names: a new package there needs one here."""

SIZE_LIMIT_BYTES = 9 << 18
"""Of the zip: six interpreters' bytecode has 300 KB each, the source 190 and structlog 115. Lambda fetches and unpacks
it in each new environment; a function's own 250 MB include it unpacked."""

EXECUTABLES = ("sumo_wrapper", "extensions/sumo-internal-extension")

NOT_CARRIED = ("cli/", "net/pool.py", "__main__.py")
"""Of the package: the commands, which run on people's own machines, and what sends there."""

EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def build(interpreters: Sequence[Interpreter], version: str = __version__) -> bytes:
    """Return the layer's zip with bytecode for the given interpreters.

    Args:
        interpreters: Those whose bytecode it is to have.
        version: What the layer says that it is, in each record and request.

    Raises:
        OSError: A source file is missing.
        subprocess.CalledProcessError: pip cannot fetch a wheel, or a source does not compile; their own words are on
            stderr.
    """
    with TemporaryDirectory() as folder:
        opt = Path(folder)
        _lay_out(opt)
        _name_version(opt, version)
        _compile(opt, interpreters)
        return _archive(opt)


def unpack(archive: bytes, folder: Path) -> None:
    """Write the files of a layer's zip into the folder as Lambda does into /opt, modes included."""
    with ZipFile(io.BytesIO(archive)) as layer:
        for info in layer.infolist():
            target = Path(layer.extract(info, folder))
            target.chmod(stat.S_IMODE(info.external_attr >> 16))
    for directory in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)


def _lay_out(opt: Path) -> None:
    """Put every source file in its place below opt."""
    for folder, script in (("wrapper", "sumo_wrapper"), ("layer/extension", "extensions/sumo-internal-extension")):
        _write(bare_script((ROOT / folder / Path(script).name).read_bytes()), opt / script)
    package = opt / "python/sumo_internal"
    _copy(ROOT / "LICENSE", package / "LICENSE")
    for source in (ROOT / "sumo_internal").rglob("*.py"):
        place = source.relative_to(ROOT / "sumo_internal")
        if not place.as_posix().startswith(NOT_CARRIED):
            _write(bare(source.read_bytes()), package / place)
    wheels = _wheels()
    _take(wheels["structlog"], package / "_structlog")
    _take(wheels["typing_extensions"], package / "_structlog")


def _name_version(opt: Path, version: str) -> None:
    """Have the package say its version, a release's with its commit, and put the bill of materials beside it."""
    package = opt / "python/sumo_internal"
    door = package / "__init__.py"
    door.write_text(door.read_text().replace(f'__version__ = "{__version__}"', f'__version__ = "{version}"'))
    (package / "sbom.cdx.json").write_text(bill(version))


def bill(version: str) -> str:
    """Return the layer's bill of materials: what it carries besides its own code."""
    return bill_of_materials(version, [Part(name, *pin, LICENSES[name]) for name, pin in _pins().items()])


def _pins() -> dict[str, tuple[str, str]]:
    """Return version and hash of each package that the layer carries, by name."""
    pins = re.findall(r"^(\w+)==(\S+) --hash=sha256:(\w+)$", VENDORED.read_text(), re.MULTILINE)
    return {name: (version, sha256) for name, version, sha256 in pins}


def _copy(source: Path, target: Path) -> None:
    _write(source.read_bytes(), target)


def _write(content: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _take(wheel: Path, target: Path) -> None:
    """Unpack a wheel's modules and licences, and of its metadata what says which version it is."""
    name = wheel.name.partition("-")[0]
    with ZipFile(wheel) as content:
        for entry in content.namelist():
            if entry.endswith((".py", ".dist-info/METADATA")):
                content.extract(entry, target)
            elif ".dist-info/licenses/" in entry:
                target.mkdir(parents=True, exist_ok=True)
                (target / f"{name}-{Path(entry).name}").write_bytes(content.read(entry))


def _wheels() -> dict[str, Path]:
    """Return the pinned wheels by name; pip fetches them when one is missing or not what the pin says."""
    pins = _pins()
    wheels = {name: WHEELS / f"{name}-{version}-py3-none-any.whl" for name, (version, _) in pins.items()}
    if not all(_has_hash(wheels[name], sha256) for name, (_, sha256) in pins.items()):
        _download()
    return wheels


def _has_hash(file: Path, sha256: str) -> bool:
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256


def _download() -> None:
    """Fetch the wheels; each appears complete or not at all, because other builds may run at the same time."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    with TemporaryDirectory(dir=WHEELS.parent) as fetched:
        requirements = ["--requirement", str(VENDORED), "--require-hashes", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "download", *requirements, "--dest", fetched], check=True)
        for wheel in Path(fetched).iterdir():
            wheel.replace(WHEELS / wheel.name)


def _compile(opt: Path, interpreters: Iterable[Interpreter]) -> None:
    """Let each interpreter, all at once, write its bytecode of what the layer itself imports, and pack it (pack.py).

    structlog stays source: the layer imports it only where a function needs it and brings none.
    """
    # A frozenset constant is written in the order of its hashes; and no PYTHON* variable of the builder gets in.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    program = str(ROOT / "layer/compile_sources.py")
    compiling = ["-S", "-B", "-X", "no_debug_ranges", program, "python/sumo_internal", "/opt/python/sumo_internal"]
    _run_on_each(interpreters, compiling, opt, environment)
    pack = ["-S", "-B", str(ROOT / "layer/pack.py"), "python/sumo_internal"]
    _run_on_each(interpreters, pack, opt, environment)


def _run_on_each(
    interpreters: Iterable[Interpreter], arguments: list[str], folder: Path, environment: dict[str, str]
) -> None:
    commands = [[str(each.executable), *arguments] for each in interpreters]
    running = [subprocess.Popen(command, cwd=folder, env=environment) for command in commands]
    for process in running:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)


def _archive(opt: Path) -> bytes:
    """Return the zip of opt's files; of the file system it takes names and content only."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name, file in sorted((file.relative_to(opt).as_posix(), file) for file in opt.rglob("*") if file.is_file()):
            info = ZipInfo(name, EARLIEST_ZIP_TIME)
            info.compress_type = ZIP_DEFLATED
            info.create_system = 3  # Unix: the upper half of external_attr is the file's mode
            info.external_attr = (stat.S_IFREG | (0o755 if name in EXECUTABLES else 0o644)) << 16
            archive.writestr(info, file.read_bytes())
    return buffer.getvalue()


def _part(name: str) -> str:
    """Return the line of the summary that a file belongs to."""
    if bytecode := re.search(r"\.cpython-3(\d+)\.(pyc|bin)$", name):
        return f"bytecode 3.{bytecode[1]}"
    parts = ("_structlog", "sumo_internal", "extensions", "sumo_wrapper")
    return next(part for part in parts if part in name.split("/"))


def summary(archive: bytes, interpreters: Iterable[Interpreter]) -> str:
    """Return a table of what is in the zip, and which interpreters this machine did not have."""
    with ZipFile(io.BytesIO(archive)) as layer:
        entries = [(_part(info.filename), info.file_size, info.compress_size) for info in layer.infolist()]
    lines = [f"{'part':<16}{'files':>6}{'bytes':>10}{'zipped':>10}"]
    for part in sorted({part for part, _, _ in entries}):
        sizes = [(size, zipped) for other, size, zipped in entries if other == part]
        lines.append(f"{part:<16}{len(sizes):>6}{sum(s for s, _ in sizes):>10,}{sum(z for _, z in sizes):>10,}")
    lines.append(f"{'zip':<16}{len(entries):>6}{'':>10}{len(archive):>10,}")
    if lacking := missing(interpreters):
        lines.append(f"no bytecode for {lacking}: no such interpreter here; functions on it compile at each cold start")
    return "\n".join(lines)


def missing(interpreters: Iterable[Interpreter]) -> str:
    """Return which supported versions of Python are not among the interpreters, for people; empty where all are."""
    found = {each.version for each in interpreters}
    return ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED_VERSIONS if (major, minor) not in found)


def main() -> None:
    """Build the zip, or lay the layer out unpacked, and say what is in it."""
    parser = argparse.ArgumentParser(prog="python -m layer.build", description="Build the layer.")
    parser.add_argument("--unpack", metavar="DIR", type=Path, help="write the layer's files to DIR instead of a zip")
    folder = parser.parse_args().unpack
    interpreters = find()
    archive = build(interpreters)
    print(summary(archive, interpreters))
    if len(archive) > SIZE_LIMIT_BYTES:
        sys.exit(f"the layer's zip has {len(archive):,} bytes; the limit is {SIZE_LIMIT_BYTES:,}")
    if folder:
        unpack(archive, folder)
    else:
        ZIP.parent.mkdir(parents=True, exist_ok=True)
        ZIP.write_bytes(archive)
    print(f"-> {folder or ZIP}")


if __name__ == "__main__":
    main()
