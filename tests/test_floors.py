"""What is depended on, at the oldest version that is allowed; the other tests have the newest."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from packages import package

from layer.build import ROOT

FLOORS = dict(re.findall(r"^    (structlog|urllib3)>=([0-9.]+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE))

TESTS = {
    "structlog": ["tests/test_structlog_chain.py", "tests/test_processing.py"],
    "urllib3": ["tests/test_client.py", "-k", "PooledSender or parallel or nothing_is_logged or dropin_on_a_server"],
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TESTS)
def test_the_oldest_version_that_is_allowed(name: str) -> None:
    """An installer takes a version that is there already if the floor allows it: so the floor is tried, too."""
    version = FLOORS[name] if FLOORS[name].count(".") > 1 else f"{FLOORS[name]}.0"
    environ = {**os.environ, "PYTHONPATH": str(package(f"{name}=={version}"))}
    script = f"import importlib.metadata as m, {name}; print({name}.__file__, m.version('{name}'), sep='\\n')"
    found = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [f"{environ['PYTHONPATH']}/{name}/__init__.py", version]
    command = [sys.executable, "-m", "pytest", "-q", *TESTS[name]]
    ran = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
