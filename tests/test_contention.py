"""Contention: beside the function's own work ours has to wait, and the response above all does not wait for us.

The runtime's client holds the interpreter lock while it posts a response. What could delay it is a thread of ours that
has the lock when the handler returns. So the function here looks where the process's other threads are in their code,
without letting go of the lock, when its handler returns and when the response is out: a thread that has had the lock
meanwhile is somewhere else.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from model import Environment
from runtimes import Runtime, runtimes, typical
from sumo_source import SumoSource

APP = '''
import _thread, logging, os, sys, time
from awslambdaric import bootstrap

post = bootstrap.LambdaRuntimeClient.post_invocation_result
moved, returned = [], {}

def places():
    """Where each thread but this one is: the function, and the instruction in it."""
    frames = sys._current_frames()
    return {t: (f.f_code.co_qualname if sys.version_info >= (3, 11) else f.f_code.co_name, f.f_lasti, id(f))
            for t, f in frames.items() if t != _thread.get_ident()}

def post_and_look(*arguments, **options):
    post(*arguments, **options)
    posted = places()
    moved[:] = [[was[:2], posted.get(t, [])[:2]] for t, was in returned.items() if posted.get(t) != was]

bootstrap.LambdaRuntimeClient.post_invocation_result = post_and_look

def settle():
    """Wait until what the other threads do in an invocation's first tenth of a second is done."""
    looks = []
    while len(looks) < 10 or any(look != looks[-1] for look in looks[-10:]):
        looks.append(places())
        time.sleep(0.02)

def handler(event, context):
    """Log so many lines; return which threads had the lock while the last response was posted, and how many there
    are."""
    global returned
    last = list(moved)
    settle()
    for number in range(event["lines"]):
        logging.error("line %d %s", number, "x" * event.get("length", 0))
    while event.get("until") and not os.path.exists(event["until"]):
        time.sleep(0.01)
    returned = places()
    if event.get("callers"):
        return [name for f in sys._current_frames().values() for name in (f.f_code.co_name, f.f_back.f_code.co_name)]
    return last, len(returned)
'''


@pytest.fixture
def task_root(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def environment(source: SumoSource, layer: Path, task_root: Path, runtime: Runtime, **variables: str) -> Environment:
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper", "SUMO_HTTP_ENDPOINT": source.url}
    return Environment(runtime, task_root, layer=layer, variables={**wrapper, **variables})


def invoke(env: Environment, lines: int) -> list[Any]:
    """Invoke; return which threads had the interpreter lock while the response before was posted."""
    invocation = env.invoke({"lines": lines})
    assert invocation.status == "success", env.cloudwatch
    moved, others = invocation.payload
    assert others >= 2, "the life-cycle thread and the shipping thread"
    return list(moved)


@pytest.mark.parametrize("strategy", ["end", "next"])
@pytest.mark.parametrize("runtime", runtimes([4]), ids=lambda runtime: runtime.id)
def test_nothing_of_ours_runs_while_the_response_is_posted(
    source: SumoSource, layer_folder: Path, task_root: Path, runtime: Runtime, strategy: str
) -> None:
    """From the handler's return to the response's end no thread of ours has the interpreter lock, lines or no lines.

    Guards against shipping that is woken by a line, or by the handler's end, instead of by the response's.
    """
    with environment(source, layer_folder, task_root, runtime, SUMO_FLUSH=strategy) as env:
        env.start()
        moved = [invoke(env, lines=100) for _ in range(6)]
        env.shutdown()
    assert moved == [[]] * 6
    assert len([record for record in source.records if record["type"] == "function"]) == 600


def test_who_is_held_is_not_disturbed_before_the_end(source: SumoSource, layer_folder: Path, task_root: Path) -> None:
    """The life-cycle thread takes its event when the invocation has ended, not while the runtime takes its own."""
    with environment(source, layer_folder, task_root, typical(), SUMO_FLUSH="end") as env:
        env.start()
        for _ in range(2):
            names = env.invoke({"lines": 1, "callers": True}).payload
            assert ("wait", "_next") in zip(names[::2], names[1::2], strict=True)
        env.shutdown()


def test_a_backlog_is_shipped_meanwhile_all_the_same(
    source: SumoSource, layer_folder: Path, task_root: Path, tmp_path: Path
) -> None:
    """The exception: a burst of lines wakes the shipping thread at once, or the spool would be full before it ends."""
    until = tmp_path / "arrived"
    with environment(source, layer_folder, task_root, typical(), SUMO_FLUSH="next", SUMO_FLUSH_MAX_AGE_S="60") as env:
        env.start()
        handle = env.begin_invoke({"lines": 6_000, "length": 1_000, "until": str(until)})
        source.wait_for(3_000)
        until.touch()
        assert handle.finish().status == "success"


STOPPED = """
import logging, signal, threading, time

log = logging.getLogger()
log.setLevel("INFO")
signals = lines = 0


def on_alarm(*_):
    global signals
    signals += 1
    log.info("<signal>")
    signal.setitimer(signal.ITIMER_REAL, 0.001)


def work(is_over):
    global lines
    while not is_over:
        log.info("<thread>")
        lines += 1


def handler(event, context):
    is_over = []
    thread = threading.Thread(target=work, args=(is_over,), daemon=True)
    thread.start()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    printed, until_s = 0, time.monotonic() + 1
    while time.monotonic() < until_s:
        print("<main>")
        printed += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    is_over.append(True)
    thread.join()
    return {"main": printed, "signal": signals, "thread": lines}
"""


def test_a_signal_handler_that_logs_while_another_thread_logs(
    source: SumoSource, layer_folder: Path, tmp_path: Path
) -> None:
    """No line waits for another thread without bound, and none is lost or comes twice.

    The main thread was stopped in the middle of its line by the handler, which waited for logging's lock; the thread
    that had that lock waited for the main thread's line.
    """
    (tmp_path / "app.py").write_text(STOPPED)
    with environment(source, layer_folder, tmp_path, typical(), SUMO_FLUSH="end") as env:
        env.start()
        invocation = env.invoke({})
        env.shutdown()
    assert invocation.status == "success"
    arrived = Counter(str(record["message"]).strip() for record in source.records if record["type"] == "function")
    for name, count in invocation.payload.items():
        assert sum(number for text, number in arrived.items() if f"<{name}>" in text) == count
    assert max(source.ids().values()) == 1
