"""The package's own importer, where two threads of the extension load modules at the same time."""

from __future__ import annotations

import subprocess
import sys

from runtimes import ROOT

HALF_DONE = """
import sys, threading
sys.path.insert(0, {root!r})
from sumo_internal import imports

begun, goes_on = threading.Event(), threading.Event()

class Slow:
    # Stands for a module whose execution takes its time: another thread sees it in sys.modules meanwhile.
    def find_spec(self, name, path=None, target=None):
        if name != "colorsys":
            return None
        sys.meta_path.remove(self)
        spec = __import__("importlib.util").util.find_spec(name)
        spec.loader = Loader(spec.loader)
        return spec

class Loader:
    def __init__(self, loader):
        self.loader = loader
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        begun.set()
        goes_on.wait()
        self.loader.exec_module(module)

sys.meta_path.insert(0, Slow())
found = []
def load():
    found.append(hasattr(imports._import("colorsys"), "rgb_to_hsv"))
first, second = threading.Thread(target=load), threading.Thread(target=load)
first.start()
begun.wait()
second.start()
second.join(0.2)
goes_on.set()
first.join()
second.join()
print(found)
"""


def test_no_thread_sees_half_a_module() -> None:
    """The second thread gets the whole module, or waits for it. What it copied of half a one, it would keep for ever:
    an extension whose first delivery came beside its first request could not ship any more."""
    script = HALF_DONE.format(root=str(ROOT))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("[True, True]\n", "")
