"""``make release``: only what is committed, the same bytes each time, and a bill of what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it brings no types

from layer.build import LICENSES, ROOT, bill
from layer.interpreters import SUPPORTED_VERSIONS
from layer.release import get
from sumo_internal import __version__
from sumo_internal.cli.arguments import parser

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a release is made from a git checkout")

RELEASE = "layer/dist/release"


def clone(folder: Path) -> Path:
    """A clean clone with one commit of what lies here, and the downloads of this checkout."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / ".cache/wheels", folder / ".cache/wheels")
    identity = ["-c", "user.name=release", "-c", "user.email=release@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "all"]):
        date = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
        subprocess.run(["git", *command], cwd=folder, env={"PATH": "/usr/bin:/bin", **date}, check=True)
    return folder


def release(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "layer.release", *options]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


@pytest.mark.timeout(180)
def test_a_release_is_complete_and_the_same_twice(tmp_path: Path) -> None:
    """Two clones of one commit, in other places, give the same zip; the sums are right; the layer names the commit."""
    folders = [clone(tmp_path / name) for name in ("one", "another place")]
    for folder in folders:
        made = release(folder, "--missing-is-fine")
        assert made.returncode == 0, made.stdout + made.stderr
    zips = [(folder / RELEASE / "sumo-internal-extension.zip").read_bytes() for folder in folders]
    assert zips[0] == zips[1]
    place = folders[0] / RELEASE
    for line in (place / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    assert len(list(place.iterdir())) == 5
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        assert package.read("sumo_internal/cli/sumo-internal-extension.zip") == zips[0]
    [sdist] = place.glob("*.tar.gz")
    with tarfile.open(sdist) as package:
        assert [name for name in package.getnames() if name.endswith(".zip")] == []
    assert subprocess.check_output(["git", "status", "--porcelain"], cwd=folders[0], text=True) == ""
    commit = subprocess.check_output(["git", "rev-parse", "--short=10", "HEAD"], cwd=folders[0], text=True).strip()
    with zipfile.ZipFile(place / "sumo-internal-extension.zip") as layer:
        assert f'__version__ = "{__version__}+{commit}"' in layer.read("python/sumo_internal/__init__.py").decode()
        assert (
            layer.read("python/sumo_internal/sbom.cdx.json")
            == (place / "sumo-internal-extension.cdx.json").read_bytes()
        )


def test_what_is_not_committed_is_no_release(tmp_path: Path) -> None:
    """One line says why. Guards against a release that nobody can check out again."""
    folder = clone(tmp_path)
    (folder / "sumo_internal/launch.py").write_text("# changed\n")
    refused = release(folder, "--missing-is-fine")
    assert refused.returncode == 1
    assert "commit first; 1 files are not as in HEAD" in refused.stderr


def test_a_release_without_bytecode_for_all_is_none(tmp_path: Path) -> None:
    """Where a Python is missing and no version manager is on PATH, it is named in one line, and nothing is built."""
    folder = clone(tmp_path)
    command = [sys.executable, "-m", "layer.release"]
    refused = subprocess.run(command, cwd=folder, env={"HOME": "/", "PATH": "/"}, capture_output=True, text=True)
    if refused.returncode == 0:
        pytest.skip("this machine has each Python in the usual folders")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert re.match(r"make release: this machine has no Python 3\.\d\d", refused.stderr)
    assert not (folder / RELEASE).exists()


def test_the_bill_names_what_is_carried() -> None:
    """Each package of vendored.txt with version, hash and licence; the layer depends on all of them."""
    said = json.loads(bill("1.2.3"))
    assert said["metadata"]["component"]["version"] == "1.2.3"
    assert {each["name"] for each in said["components"]} == LICENSES.keys()
    assert all(len(each["hashes"][0]["content"]) == 64 and each["licenses"] for each in said["components"])
    assert said["dependencies"][0]["dependsOn"] == [each["bom-ref"] for each in said["components"]]


@pytest.mark.parametrize(
    ("manager", "asked"),
    [("uv", "python install 3.13\npython install 3.14\n"), ("pyenv", "install --skip-existing 3.13\n")],
)
def test_a_missing_python_is_asked_of_a_version_manager(
    manager: str, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the one that is on PATH; without one nothing happens, and the release says what is missing."""
    versions = ["3.13", "3.14"] if manager == "uv" else ["3.13"]
    monkeypatch.setenv("PATH", str(tmp_path))
    get(versions)
    (tmp_path / manager).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tmp_path / manager).chmod(0o755)
    get(versions)
    assert (tmp_path / "asked").read_text() == asked


WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_do_what_people_do_and_may_no_more(name: str) -> None:
    """They call what is in the repository, set up every Python of the layer, and can by default only read."""
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in (step["run"] for step in steps if "run" in step):
        program, _, rest = command.partition(" ")
        assert program != "make" or rest in targets
        assert not program.startswith((".", "tools/")) or os.access(ROOT / program, os.X_OK)
    pythons = " ".join(str(step["with"]["python-version"]) for step in steps if "setup-python" in step.get("uses", ""))
    assert {f"{major}.{minor}" for major, minor in SUPPORTED_VERSIONS} <= set(pythons.split())


def test_the_release_workflow_is_the_pages() -> None:
    """What it signs is what the page checks, what it publishes is what `publish` takes, and it may do little."""
    build, publish = WORKFLOWS["release"]["jobs"]["build"], WORKFLOWS["release"]["jobs"]["publish"]
    page = (ROOT / "docs/releasing.md").read_text()
    signed = next(step["run"] for step in build["steps"] if "cosign sign-blob" in step.get("run", ""))
    assert "SHA256SUMS.sigstore.json SHA256SUMS" in signed and "--bundle SHA256SUMS.sigstore.json" in page
    command = next(step["run"] for step in publish["steps"] if step.get("run", "").startswith("sumo-internal"))
    assert parser().parse_args(command.split()[1:]).public
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"] == "publish"
