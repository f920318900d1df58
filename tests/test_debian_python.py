"""What is fetched from Debian is whole, or is not there: a fetch is broken off by a slow mirror and a time limit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import arm64
import debian_python
import pytest
from debian_python import NotToBeHadError, fetched_program

APT = """#!/bin/sh
for word; do
    case "$word" in
        -oDir=*) folder=${{word#-oDir=}} ;;
        install) cp '{file}' "$folder/var/cache/apt/archives/" ;;
    esac
done
"""
"""Stands for apt-get, and fetches one file."""

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is needed")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the mirror's package, a real one of two programs, is whole; it goes into a folder of the test's."""
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN/control").write_text(
        "Package: qemu\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: two programs\n"
    )
    (content / "bin").mkdir()
    for name in ("first", "second"):
        (content / "bin" / name).write_bytes(name.encode() * 100_000)
    file = tmp_path / "qemu_1_all.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", content, file], check=True, capture_output=True)
    whole = file.read_bytes()
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(APT.format(file=file))
    apt.chmod(0o755)
    sources = tmp_path / "sources.list"
    sources.write_text("deb http://127.0.0.1:9/debian stable main\n")
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(debian_python, "FOLDER", tmp_path / "debian")
    monkeypatch.setattr(debian_python, "_KEYRING", sources)
    monkeypatch.setattr(debian_python, "_SOURCES", [str(sources)])

    def put(is_whole: bool) -> None:
        file.write_bytes(whole if is_whole else whole[: len(whole) * 3 // 4])

    return put


@needs_dpkg
def test_a_part_of_a_program_is_none(package: Callable[[bool], None]) -> None:
    """The file that is asked for may be there, and what it needs not: it was used for ever."""
    package(False)
    with pytest.raises(NotToBeHadError):
        fetched_program("qemu", "bin/first")
    package(True)
    program = fetched_program("qemu", "bin/first")
    assert sorted(path.name for path in program.parent.iterdir()) == ["first", "second"]
    package(False)
    assert fetched_program("qemu", "bin/first") == program


def test_a_part_of_the_emulated_interpreter_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a run bit, or without its other name, would fail every test that finds it."""
    monkeypatch.setattr(arm64, "_EMULATED", tmp_path / "emulated/bin/python3.14")
    monkeypatch.setattr(arm64, "interpreter", lambda *_: tmp_path / "usr/bin/python3.14")
    monkeypatch.setattr(arm64, "fetched_program", lambda *_: Path("/bin/echo"))

    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("chmod", "symlink_to"):
        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(Path, step, broken_off)
            arm64.fetch()
        assert arm64.found() is None
    assert subprocess.check_output([arm64.fetch().with_name("python3"), "-V"], text=True).endswith("python3.14 -V\n")
    assert arm64.found() is not None
