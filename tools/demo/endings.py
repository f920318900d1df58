"""How a demo ends that cannot go on: in one line, whatever was under way.

Separate because both ways to run one (the story, a function of somebody's own) are interrupted alike, and both fetch
packages at first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from sumo_internal.cli import standard_streams

INTERRUPTED = 130
"""The exit code that shells give to Ctrl-C."""


def in_one_line(main: Callable[[], int]) -> int:
    """Run a demo; return its exit code, that of Ctrl-C, or 1 where a package cannot be had or nothing be printed."""
    standard_streams.prepare()
    try:
        code = main()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("make demo: interrupted", file=sys.stderr)
        return INTERRUPTED
    except subprocess.CalledProcessError as error:
        if "pip" not in error.cmd:
            raise
        print(f"make demo: {error.cmd[-1]} could not be installed; is there a way to a package index?", file=sys.stderr)
        return 1
    except OSError as error:
        if problem := standard_streams.complaint(error):
            print(f"make demo: {problem}", file=sys.stderr)
        return 1
