"""Children that ``multiprocessing`` starts as programs (``spawn``, ``forkserver``) are heard as forked ones are.

Such a child begins with nothing of its parent's. ``multiprocessing`` sends the child, as a pickle, what it has to know
before its work. We put an item into that pickle; unpickling the item sets up the child. The child then writes lines as
a writer of its own in the same spool, and they belong to the invocation in which the child was started. The parent
ships them.

Nothing is imported for this. A finder stands in for the one of the library's folder, patches the module that makes the
pickle when the function imports that module, and then leaves.

Other programs in Python are heard only where a setting asks for it (SUMO_CHILDREN), because the function then sees it
in its environment: PYTHONPATH begins with the wrapper's door, and :data:`PARENT` says which invocation runs. Such a
program may write to a pipe of the function's, which then writes the text itself: so a stream is heard only where it is
the function's own.

A program may also take the place of this process (:func:`follow_replacement`).
"""

from __future__ import annotations

import os
import sys
from functools import update_wrapper

from sumo_internal import diagnostics
from sumo_internal.capture.runtime_client import PatchingLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from typing import Any

    from sumo_internal.capture.recorder import Recorder

SPAWN = "multiprocessing.spawn"
PARENT = "SUMO_INTERNAL_PARENT"
"""The variable in which programs find what they have to know of the function's process; as JSON."""
_LAYER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_BEGIN = """
import os, sys
sys.path.insert(0, {layer!r})
try:
    from sumo_internal import launch
    sys.path.remove({layer!r})
    launch.set_up_child({state!r})
except Exception as error:
    os.write(2, f"sumo-internal-extension: error: {{error!r}}; this child is not heard\\n".encode())
"""
"""What a child executes before anything of the function's."""


def follow(recorder: Recorder) -> None:
    """Record what the children write that this process will start."""

    def patch(spawn: Any) -> None:
        prepared = spawn.get_preparation_data

        def get_preparation_data(name: str) -> Any:
            data = prepared(name)
            with diagnostics.guard("preparing a child"):
                recorder.spool.forks += 1
                data["sumo_internal"] = _Beginning(recorder.state())
            return data

        spawn.get_preparation_data = get_preparation_data

    if SPAWN in sys.modules:
        patch(sys.modules[SPAWN])
    else:
        folder = f"{os.path.dirname(os.__file__)}/multiprocessing"
        sys.path_importer_cache[folder] = _Finder(folder, patch)


def follow_programs(recorder: Recorder, places: list[list[int]]) -> None:
    """Record what programs in Python write that this process will start (SUMO_CHILDREN).

    Args:
        recorder: For the invocation that runs.
        places: Device and inode of the function's stdout and stderr.
    """
    import json

    before = os.environ.get("PYTHONPATH")
    door = f"{_LAYER}/sumo_internal/door"
    os.environ["PYTHONPATH"] = door if before is None else f"{door}{os.pathsep}{before or door}"
    recorder.spool.forks += 1  # whose lines they are this process is not told

    def tell() -> None:
        os.environ[PARENT] = json.dumps([recorder.state(), places])

    recorder.on_invocation = tell
    tell()


def follow_replacement(before: Callable[[], None]) -> Callable[[], None]:
    """Have something done before another program takes the place of this process.

    All of ``os.exec…`` call these two. (An exec by code in C is not noticed.)

    Args:
        before: Called on the thread that makes the call, also in a forked child.

    Returns:
        What puts the function's own back. Who has imported ours has a call more until its process ends.
    """
    module: Any = sys.modules["os"]
    replaced = []

    def replace(name: str) -> None:
        own = getattr(module, name)

        def execute(*arguments: Any, **named: Any) -> Any:
            with diagnostics.guard("preparing for another program"):
                before()
            return own(*arguments, **named)

        setattr(module, name, update_wrapper(execute, own))
        replaced.append((name, own, execute))

    def put_back() -> None:
        for name, own, execute in replaced:
            if getattr(module, name, None) is execute:
                setattr(module, name, own)

    for name in ("execv", "execve"):
        replace(name)
    return put_back


def parent() -> tuple[tuple[Any, ...], list[list[int]]] | None:
    """What :func:`follow_programs` has told this program; None where it is none that a function has started.

    Raises:
        ValueError: That cannot be read.
    """
    if PARENT not in os.environ:
        return None
    import json

    state, places = json.loads(os.environ[PARENT])
    return tuple(state), places


class _Beginning:
    """Becomes the set-up of a child, where it is unpickled."""

    def __init__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_BEGIN.format(layer=_LAYER, state=self._state), {})


class _Finder:
    """Finds the modules in a folder as the folder's own finder does, and patches the one that we wait for."""

    def __init__(self, folder: str, patch: Callable[[Any], None]) -> None:
        self._folder = folder
        self._patch = patch
        self._files: Any = sys.path_importer_cache.get(folder)

    def find_spec(self, name: str, target: Any = None) -> ModuleSpec | None:
        for hook in sys.path_hooks:
            if self._files is None:
                try:
                    self._files = hook(self._folder)
                except ImportError:
                    continue
        found: ModuleSpec | None = None if self._files is None else self._files.find_spec(name, target)
        if name == SPAWN and found is not None:
            sys.path_importer_cache[self._folder] = self._files
            found.loader = PatchingLoader(found.loader, self._patch)  # type: ignore[assignment]  # by its methods
        return found
