"""publish, as somebody runs it, against a Lambda on loopback."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from fleet_account import Fleet, archive
from lambda_server import DENIED_REGION

from sumo_internal.cli.publish import PARTS

pytest_plugins = ["fleet_account"]


def zip_of(name: str) -> bytes:
    """A zip with an empty file."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as content:
        content.writestr(name, b"")
    return buffer.getvalue()


REGIONS = "eu-west-1", "us-east-1"
OPTIONS = [option for region in REGIONS for option in ("--region", region)]


@pytest.fixture
def layer() -> Path:
    """A built layer."""
    path = Path("layer.zip")
    path.write_bytes(archive())
    return path


def versions(fleet: Fleet) -> list[list[int]]:
    """The versions of the layer in each region."""
    pages = [fleet.client(region).list_layer_versions(LayerName="sumo-internal-extension") for region in REGIONS]
    return [[version["Version"] for version in page["LayerVersions"]] for page in pages]


def test_twice_is_once_and_a_new_build_is_a_new_version(fleet: Fleet, layer: Path) -> None:
    """The same bytes are uploaded to no region again, however often; the ARNs are printed each time."""
    said = fleet.done("publish", "--zip", str(layer), *OPTIONS)
    for region in REGIONS:
        assert f"arn:aws:lambda:{region}:123456789012:layer:sumo-internal-extension:1" in said
    assert "is there already" not in said
    assert fleet.done("publish", "--zip", str(layer), *OPTIONS).count("is there already") == 2
    assert versions(fleet) == [[1], [1]]
    layer.write_bytes(layer.read_bytes().replace(b"event", b"Event"))
    fleet.done("publish", "--zip", str(layer), *OPTIONS)
    assert [max(found) for found in versions(fleet)] == [2, 2]


def test_no_arn_is_cut(fleet: Fleet, layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there to be copied, or read by the next program; a table on a narrow screen would end them with an …."""
    monkeypatch.setenv("COLUMNS", "60")
    said = fleet.done("publish", "--zip", str(layer), *OPTIONS)
    assert said.count(":123456789012:layer:sumo-internal-extension:1 ") == 2 and "…" not in said


def test_what_was_published_is_for_every_supported_function(fleet: Fleet, layer: Path) -> None:
    """Both architectures, each runtime, and the product's version, which status shows."""
    fleet.done("publish", "--zip", str(layer))
    got = fleet.client().get_layer_version(LayerName="sumo-internal-extension", VersionNumber=1)
    assert got["Description"].startswith("sumo-internal-extension 0.")
    assert "python3.10" in got["CompatibleRuntimes"] and "python3.14" in got["CompatibleRuntimes"]
    assert got["CompatibleArchitectures"] == ["x86_64", "arm64"]


def test_what_the_layer_has_no_bytecode_for_is_named(fleet: Fleet) -> None:
    """Before it is published, as each start of those functions would compile it; one that has all is no news."""
    for minors, lacking in (((10, 11, 12), "python3.13, python3.14, python3.15"), (range(10, 16), "")):
        with ZipFile("layer.zip", "w") as content:
            for part in PARTS:
                content.writestr(part, b"")
            for minor in minors:
                content.writestr(f"python/sumo_internal/__pycache__/bundle.cpython-3{minor}.bin", b"")
        said = fleet.run("publish", "--zip", "layer.zip", "--dry-run").stderr
        assert re.findall(r"layer\.zip has no bytecode for ([^:]*): each cold start", said) == [lacking] * bool(lacking)


def test_it_is_for_the_account_alone_unless_said_otherwise(fleet: Fleet, layer: Path) -> None:
    """A permission is added to a version that is there already, and not twice."""
    client = fleet.client()
    fleet.done("publish", "--zip", str(layer))
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_layer_version_policy(LayerName="sumo-internal-extension", VersionNumber=1)
    for _ in range(2):
        fleet.done("publish", "--zip", str(layer), "--public")
    policy = client.get_layer_version_policy(LayerName="sumo-internal-extension", VersionNumber=1)["Policy"]
    assert [statement["Principal"] for statement in json.loads(policy)["Statement"]] == ["*"]


def test_without_a_layer_it_says_how_to_build_one(fleet: Fleet) -> None:
    """The command in a fresh checkout, before anything was built."""
    ended = fleet.run("publish")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "layer/dist/sumo-internal-extension.zip: No such file or directory; `make layer`" in ended.stderr


@pytest.mark.parametrize("content", [b"no zip", zip_of("app.py")], ids=["no zip", "a function's"])
def test_what_is_not_the_layer_is_not_published(fleet: Fleet, content: bytes) -> None:
    """A function that gets a layer without our wrapper does not start."""
    Path("other.zip").write_bytes(content)
    ended = fleet.run("publish", "--zip", "other.zip")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "other.zip is not the layer (there is no sumo_wrapper in it)" in ended.stderr
    assert versions(fleet) == [[], []]


def test_a_region_that_fails_stops_no_other(fleet: Fleet, layer: Path) -> None:
    """Its error stands in its row, and the exit code says that not all is done."""
    ended = fleet.run("publish", "--zip", str(layer), "--region", DENIED_REGION, *OPTIONS)
    assert ended.returncode == 1
    assert re.search(rf"{DENIED_REGION} +failed: .*AccessDeniedException", ended.stdout)
    assert versions(fleet) == [[1], [1]]
