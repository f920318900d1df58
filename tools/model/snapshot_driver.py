"""One environment as a process tree of its own, which is copied behind its init: a program that :mod:`model.snapshot`
starts.

Before the snapshot it runs the init. Then it waits for ``orders.json``, which each copy has its own of, does what it
says, and leaves what came of it. Orders are pairs:

==============  ================================================================
``invoke``      run an invocation with this payload
``shutdown``    shut the environment down, with this reason
``empty_tmp``   remove what is in the spool's folder, as functions do
``sleep``       so many seconds
==============  ================================================================
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from model import Environment

_TOOLS = Path(__file__).resolve().parent.parent
_POLL_S = 0.02


def main(folder: Path) -> None:
    """Be the environment that the folder's ``spec.json`` describes."""
    os.setsid()  # a session leader outside of the tree would be missing in a copy
    sys.path[:0] = [str(_TOOLS), str(_TOOLS.parent)]
    from runtimes import runtimes

    from model import Environment

    spec = json.loads((folder / "spec.json").read_text())
    options = spec["options"]
    for name in ("layer", "tmp"):
        options[name] = Path(options[name])
    runtime = next(each for each in runtimes() if each.id == spec["runtime"])

    def at_snapshot() -> None:
        _leave(folder / "ready.json", _seen(env))
        while not (folder / "orders.json").exists():
            time.sleep(_POLL_S)

    env = Environment(
        runtime, Path(spec["task_root"]), freezes=False, snap_start=True, at_snapshot=at_snapshot, **options
    )
    invocations: list[dict[str, Any]] = []
    with env:
        init = env.start()
        if init.error is not None:
            sys.exit(f"the init has failed: {init.error}; {env.cloudwatch}")
        for verb, argument in json.loads((folder / "orders.json").read_text()):
            if verb == "invoke":
                invocation = env.invoke(argument)
                invocations.append(
                    {
                        "request_id": invocation.request_id,
                        "status": invocation.status,
                        "payload": invocation.payload,
                    }
                )
            elif verb == "shutdown":
                env.shutdown(argument)
            elif verb == "empty_tmp":
                shutil.rmtree(options["tmp"] / "sumo-internal")
            elif verb == "sleep":
                time.sleep(argument)
        _leave(folder / "result.json", {"invocations": invocations, **_seen(env)})
        time.sleep(_BOUND_S)  # until we are killed: what the model would tidy up is there for the next copy


_BOUND_S = 60.0


def _seen(env: Environment) -> dict[str, Any]:
    return {"cloudwatch": [list(line) for line in env.cloudwatch], "timeline": [list(event) for event in env.timeline]}


def _leave(file: Path, content: Any) -> None:
    """Write a file that is there only when it is whole."""
    begun = file.with_suffix(".new")
    begun.write_text(json.dumps(content))
    begun.rename(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
