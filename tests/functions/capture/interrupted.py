"""Signal handlers, or finalisers, that write and log in the middle of printing and logging.

They do so to stderr: in the middle of a system call for the same stream, Python itself loses text or refuses to write.
"""

import gc
import itertools
import logging
import signal
import sys

numbers = itertools.count()
log = logging.getLogger("orders")
log.setLevel(logging.INFO)
inner = logging.getLogger("inner")
inner.propagate = False
inner.addHandler(logging.StreamHandler(sys.stderr))


def interrupt():
    sys.stderr.write(f"written {next(numbers)}\n")
    inner.warning("inner %d", next(numbers))


class Interrupting:
    def __init__(self):
        self.own = self  # only the garbage collector finds it, at an instant of its own

    def __del__(self):
        interrupt()


def handler(event, context):
    def on_signal(*_):
        interrupt()
        signal.setitimer(signal.ITIMER_REAL, 0.002)

    signal.signal(signal.SIGALRM, on_signal)
    if event["by"] == "signals":
        on_signal()
    gc.set_threshold(100)  # often, and no more objects at a time than may write in the middle of a line
    for number in range(2000):
        if event["by"] == "finalisers":
            Interrupting()
        print(f"printed {number}")
        log.info("logged %d", number)
    signal.setitimer(signal.ITIMER_REAL, 0)
