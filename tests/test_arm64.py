"""The main path, a SIGKILL and SHUTDOWN on an aarch64 CPython under emulation: ``make test-arm64``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import arm64
import pytest
from model import Environment, life_cycle
from sumo_source import SumoSource
from test_main_path import assert_each_once, environment, messages, said, steps

RUNTIME = arm64.found()
pytestmark = [
    pytest.mark.skipif(RUNTIME is None, reason="make test-arm64 fetches the interpreter and the emulator"),
    pytest.mark.timeout(180),
]


@pytest.fixture(autouse=True)
def _slow_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's bound on the init is ten seconds, and an emulator is ten times slower."""
    monkeypatch.setattr(life_cycle, "INIT_BOUND_S", 100.0)


def emulated(source: SumoSource, layer: Path, **variables: str) -> Environment:
    """An environment of the probe, with time for an emulator."""
    options: dict[str, Any] = {"timeout_s": 60.0, "variables": variables}
    return environment(source, layer, RUNTIME, **options)


def texts(source: SumoSource) -> set[str]:
    return {text.rpartition("\t")[2] for text in messages(source)}


def test_the_main_path(source: SumoSource, layer_folder: Path) -> None:
    """logging, print and an exception of two invocations arrive once, from an interpreter of the other architecture."""
    with emulated(source, layer_folder) as env:
        assert env.start().error is None
        assert env.invoke(steps({"log": "log 1"}, {"print": "print 1"})).status == "success"
        assert env.invoke(steps({"log": "log 2"}, {"fail": "failed"})).status == "error"
        env.shutdown()
        assert said(env) == []
    assert {"log 1", "print 1", "log 2"} <= texts(source)
    assert [record["errorType"] for record in source.records if "errorType" in record] == ["KeyError"]
    assert_each_once(source)


def test_a_killed_process_leaves_its_lines(source: SumoSource, layer_folder: Path) -> None:
    """Committed lines are the kernel's, whatever instructions have stored them; the extension ships them."""
    with emulated(source, layer_folder, SUMO_FLUSH="next") as env:
        assert env.start().error is None
        handle = env.begin_invoke(steps({"many": 50}, {"print": "all written"}, {"sleep": 30}))
        env.wait_for_line("all written")
        env.kill_runtime(signal.SIGKILL)
        invocation = handle.finish()
        env.shutdown()
    assert invocation.status == "crash"
    assert {f"line {number}" for number in range(50)} | {"all written"} <= texts(source)
    assert_each_once(source)


def test_shutdown(source: SumoSource, layer_folder: Path) -> None:
    """What waits for the next invocation leaves with the environment."""
    with emulated(source, layer_folder, SUMO_FLUSH="next") as env:
        assert env.start().error is None
        assert env.invoke(steps({"log": "the last one"})).status == "success"
        env.shutdown()
        assert said(env) == []
    assert "the last one" in texts(source)
    assert_each_once(source)
