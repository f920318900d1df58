"""The package as pip and type checkers see it: what is in the wheel and the sdist, and that annotations resolve."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import typing
import zipfile
from pathlib import Path

import pytest

from layer.build import ROOT
from layer.interpreters import SUPPORTED_VERSIONS
from sumo_internal import SumoHandler

in_git = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="this is an sdist unpacked: git says what one has to have"
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist, built from a clone of what is committed or lies here, by their ending."""
    folder = tmp_path_factory.mktemp("dist")
    clone = folder / "clone"
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--quiet", "--outdir", str(folder), str(clone)], check=True)
    return {path.name.rpartition(".")[2]: path for path in folder.iterdir() if path.is_file()}


@in_git
def test_an_index_would_take_them(distributions: dict[str, Path]) -> None:
    """The long description renders, and no field is one that an index refuses."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions.values())]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@in_git
def test_the_wheel_is_typed_and_has_no_tests(distributions: dict[str, Path]) -> None:
    """Type checkers go by py.typed; nothing lands in site-packages but the package."""
    with zipfile.ZipFile(distributions["whl"]) as wheel:
        names = wheel.namelist()
    assert "sumo_internal/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"sumo_internal", "sumo_internal_extension"}


@in_git
def test_the_sdist_can_build_and_test(distributions: dict[str, Path]) -> None:
    """All that git has is in it: the layer can be built from an sdist, and its tests run."""
    with tarfile.open(distributions["gz"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    assert {name for name in tracked if name and (ROOT / name).is_file()} - names == set()


def test_classifiers_name_each_python() -> None:
    """Those that the layer runs on. Guards against an index that says less, or more."""
    named = re.findall(r"Python :: (3)\.(\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert tuple((int(major), int(minor)) for major, minor in named) == SUPPORTED_VERSIONS


def test_annotations_resolve() -> None:
    """Frameworks and documentation tools ask for them at run time. Guards against names for the type checker alone."""
    assert "processors" in typing.get_type_hints(SumoHandler.__init__)
