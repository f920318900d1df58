"""Published packages that functions bring along, unpacked once per checkout: ``package("urllib3==1.26.20")``.

Separate because a function's own libraries must win over the layer's, and that can only be tried with real ones.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "packages"


@cache
def package(requirement: str, *, is_complete: bool = False) -> Path:
    """Return a folder with the package alone, pure Python, as a function would have it beside its code.

    Args:
        requirement: The package and its version, as for pip.
        is_complete: With what it depends on.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its own words are on stderr.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / (f"{requirement}+dependencies" if is_complete else requirement)
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second test process waits here
        if not target.exists():
            unfinished = tempfile.mkdtemp(dir=FOLDER)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
            alone = [] if is_complete else ["--no-deps"]
            subprocess.run([*pip, *alone, "--target", unfinished, requirement], check=True)
            os.chmod(unfinished, 0o755)
            os.rename(unfinished, target)
    return target
