"""Fixtures that several test files share: the layer, built from this checkout once per test process."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer.build import build, unpack
from layer.interpreters import find


@pytest.fixture(scope="session")
def layer_zip() -> bytes:
    """The layer's zip, with bytecode for every interpreter of this machine."""
    return build(find())


@pytest.fixture(scope="session")
def layer_folder(layer_zip: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer unpacked: what Lambda has at /opt. Tests share it, so none may write there."""
    folder = tmp_path_factory.mktemp("opt")
    unpack(layer_zip, folder)
    return folder
