"""What the runtime's process of a managed instance does before it forks workers: nothing of it is seen afterwards.

What it is good for is measured in tests/test_managed.py (``test_what_a_worker_takes``).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from runtimes import ROOT, Runtime, runtimes

from sumo_internal.shipping import shared_pages

RUNTIMES = [runtime for runtime in runtimes([4]) if runtime.version >= (3, 13)]
if not RUNTIMES:
    pytest.skip("Managed Instances have Python 3.13 and later, and this machine has none", allow_module_level=True)
FILLED_MAX_BYTES = 2_000_000
"""For what fills holes; 0.3 MB were measured."""

SCRIPT = """
import gc, json, logging, os, sys
root, folder, breaks = sys.argv[1:]
sys.path[:0] = [root]
from awslambdaric import bootstrap
from sumo_internal.capture.recorder import Recorder
from sumo_internal.shipping import shared_pages
from sumo_internal.spool import folder as files
from sumo_internal.spool import writer

class Holder:  # of texts that no code has
    def __init__(self, *parts):
        self.text, self.more = " ".join(parts), {"key": "/".join(parts)}

holder = Holder("one", "two")

def replaced():
    return "of a function that another stands in for"

def replacing(function):
    return lambda: function()

replaced = replacing(replaced)

def counts():
    texts = [replaced(), logging.Formatter.default_time_format, writer._ENDINGS[7], holder.text, holder.more["key"]]
    return [[text, sys.getrefcount(text)] for text in texts]

def left():
    return [len(writer._spools), len(files._locks), len(logging._handlerList), sorted(os.listdir("/proc/self/fd"))]

def shown(code):
    return [code, code.co_filename, [*code.co_lines()], [*code.co_positions()]]

codes = {function: function.__code__ for function in shared_pages._functions()}
before = left()
counted = counts()
if breaks:
    del sys.modules["awslambdaric.bootstrap"]
shared_pages.prepare_at_first_fork(folder, holder)
for _ in range(2):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
after = left()
renewed = [function for function, code in codes.items() if function.__code__ is not code]
spool = writer.Spool(f"{folder}-own", {}, 3_000_000)
Recorder(spool, {}).written("a line\\n", 1)
segment = spool.segments[0]
print(json.dumps({
    "before": before,
    "after": after,
    "counted": [counted, counts()],
    "renewed": [function.__qualname__ for function in renewed],
    "is_same": all(shown(function.__code__) == shown(codes[function]) for function in renewed),
    "frozen": gc.get_freeze_count(),
    "filled_bytes": sum(sys.getsizeof(each) for each in shared_pages._kept if type(each) is bytes),
    "line": bytes(segment.map[segment.acknowledged_offset : segment.committed_offset]).decode(),
}))
"""


def prepared(runtime: Runtime, folder: Path, *, breaks: bool = False) -> tuple[dict[str, Any], str]:
    """What is there after a process was prepared and has forked, and what it has said."""
    command = [str(runtime.interpreter.executable), "-B", "-c", SCRIPT, str(ROOT), str(folder), "breaks" * breaks]
    environ = {"PYTHONPATH": str(runtime.ric)}
    done = subprocess.run(command, env=environ, text=True, capture_output=True, check=True)
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.id)
def test_nothing_of_a_rehearsal_is_left(runtime: Runtime, tmp_path: Path) -> None:
    """No file, descriptor, lock, spool or handler; functions are the same, line by line; only their code has moved.

    The trap: a spool that is still there, which each child would make its own.
    """
    found, said = prepared(runtime, tmp_path / "spool")
    assert said == ""
    assert found["after"] == found["before"]
    assert [path.name for path in tmp_path.iterdir()] == ["spool-own"]
    called = {"Recorder.written", "Spool.append", "Spool.make_segment", "Worker.began", "guard.__enter__"}
    assert called <= set(found["renewed"])
    assert found["is_same"]
    assert found["frozen"] > 0
    assert 0 < found["filled_bytes"] < FILLED_MAX_BYTES
    assert '"message":"a line"' in found["line"]


NEVER_ENDS = 1 << 31
"""References from here on are nobody's count: the object is there for ever."""


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.id)
def test_texts_are_counted_no_more(runtime: Runtime, tmp_path: Path) -> None:
    """Those of the library's code, of ours, and of what each worker names: naming one writes to no page."""
    before, after = prepared(runtime, tmp_path / "spool")[0]["counted"]
    assert [text for text, count in before if count >= NEVER_ENDS] == []
    assert [text for text, count in after if count < NEVER_ENDS] == []
    assert [text for text, _ in after[1:]] == ["%Y-%m-%d %H:%M:%S", '07"}\n', "one two", "one/two"]


def test_the_code_that_is_renewed_besides_is_there() -> None:
    """A function that has another name by now would be left where it is, and nothing would say so."""
    source = "\n".join(path.read_text() for path in (ROOT / "sumo_internal").rglob("*.py"))
    for name in shared_pages.BESIDES:
        owner, _, function = name.rpartition(".")
        assert f"def {function}(" in source, name
        assert not owner or f"class {owner}:" in source, name


def test_a_rehearsal_without_room_is_none(tmp_path: Path) -> None:
    """Where no folder can be made for it, nothing is said of it either: the function's own spool says that."""
    (tmp_path / "spool-rehearsal").write_text("a file of the function's")
    found, said = prepared(RUNTIMES[0], tmp_path / "spool")
    assert said == ""
    assert found["after"] == found["before"]
    assert found["frozen"] > 0
    assert (tmp_path / "spool-rehearsal").read_text() == "a file of the function's"


def test_what_breaks_is_said_and_nothing_else(tmp_path: Path) -> None:
    """A runtime client of another form: one line says it, the process forks, and all is as it was."""
    found, said = prepared(RUNTIMES[0], tmp_path / "spool", breaks=True)
    assert said.count("\n") == 1 and "preparing memory for workers" in said
    assert found["renewed"] == []
    assert found["after"] == found["before"]
    assert [path.name for path in tmp_path.iterdir()] == ["spool-own"]
    assert found["frozen"] > 0
    assert '"message":"a line"' in found["line"]
