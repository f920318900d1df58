"""A function with hooks around its snapshot, and a thread that goes on logging through it where TICKS is set."""

import logging
import os
import random
import shutil
import signal
import threading
import time

from snapshot_restore_py import register_after_restore, register_before_snapshot

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
print("loaded")
print("begun", end="")


def empty_tmp(_):
    # As a function does that means to get through it: the extension may make a file in the folder meanwhile.
    shutil.rmtree(os.environ["SUMO_SPOOL_DIR"], ignore_errors=True)


def mark(logger, name, event):
    """A processor."""
    return {**event, "marked": True}


@register_before_snapshot
def before():
    log.info("before")
    if os.environ.get("EMPTIES") == "before":
        empty_tmp(None)
    if os.environ.get("RAISES") == "before":
        raise KeyError("of the hook before")


@register_after_restore
def after():
    log.info("after")
    if os.environ.get("EMPTIES") == "after":
        empty_tmp(None)
    if os.environ.get("RAISES") == "after":
        raise KeyError("of the hook after")


def tick():
    number = 0
    while True:
        number += 1
        log.info("tick %d by %s", number, os.urandom(8).hex())
        time.sleep(0.0005)


if os.environ.get("RENAMES"):
    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = os.environ["AWS_LAMBDA_RUNTIME_API"] = "nobody"

if os.environ.get("TICKS"):
    threading.Thread(target=tick, daemon=True).start()


STEPS = {
    "log": log.info,
    "error": log.error,
    "fail": lambda text: [][len(text)],
    "sleep": time.sleep,
    "exit": os._exit,
    "begin": lambda text: print(text, end=""),
    "empty_tmp": empty_tmp,
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "random": lambda _: log.info("random %f", random.random()),
}


def handler(event, context):
    for kind, value in event["steps"]:
        STEPS[kind](value)
    return os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
