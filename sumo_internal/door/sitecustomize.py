"""The wrapper's door: ``site`` imports this, because the wrapper has put its folder in front of PYTHONPATH.

It takes its traces away, sets up, and gives way to the ``sitecustomize`` that would have been imported without it. So
the interpreter itself goes on to run what it was called with: there is no frame of ours in a stack trace, and our
listener is on ``sys.stdout`` before another ``sitecustomize`` (OpenTelemetry's, New Relic's) takes hold of it.

Separate from all else because its folder is on ``sys.path`` for a moment, and holds nothing more than this.
"""

import gc
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _leave_no_trace() -> bool:
    """Put PYTHONPATH and sys.path back to what they are without the wrapper.

    Returns:
        Whether PYTHONPATH has led here. Else this is an interpreter inside a process (a subinterpreter), whose sys.path
        is made as the first one's was.
    """
    # First: as long as our folder is there, the import below leads here again.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _FOLDER]
    sys.path_importer_cache.pop(_FOLDER, None)
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = [entry for entry in entries if os.path.abspath(entry) != _FOLDER]
    if rest == entries:
        return False
    if rest or len(entries) == 2:  # twice ours: what the wrapper makes of a variable that is set and empty
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        del os.environ["PYTHONPATH"]
    return True


def _set_up() -> None:
    layer = os.path.dirname(os.path.dirname(_FOLDER))
    gc.disable()  # launch.set_up says why, and is a third of what is made
    try:
        sys.path.insert(0, layer)
        try:
            from sumo_internal import launch
        finally:
            sys.path.remove(layer)
        launch.set_up()
    finally:
        gc.enable()


try:
    if _leave_no_trace():
        _set_up()
except Exception as error:
    os.write(2, f"sumo-internal-extension: error: {error!r}; the function runs without the layer\n".encode())

del sys.modules[__name__]
# Where there is no other, this import raises the error by which site knows that there is none, and no module stays.
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401
