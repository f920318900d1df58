"""What several test files share: the layer, built once per test process from this checkout, a source, and the guard,
strict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sumo_source import SumoSource

from layer.build import build, unpack
from layer.interpreters import find
from sumo_internal import diagnostics
from sumo_internal.capture.recorder import note_records

# A machine that is busy with other tests must not fail an example for its time.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


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


@pytest.fixture
def source() -> Iterator[SumoSource]:
    """A source that keeps what it gets; nothing that it has to complain about may remain."""
    with SumoSource() as source:
        yield source
        assert source.problems == []


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """``logging`` notes its records, as under the wrapper, for the time of one test."""
    for name in ("handle", "__init__"):
        monkeypatch.setattr(logging.Handler, name, getattr(logging.Handler, name))
    note_records()


@pytest.fixture(autouse=True)
def _strict_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package swallows in production is raised in the tests' own process, and nothing counts as said."""
    monkeypatch.setattr(diagnostics, "IS_STRICT", True)
    monkeypatch.setattr(diagnostics, "_said", set())
