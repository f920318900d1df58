"""A function whose lines say which request has written them: for several requests at a time."""

import gc
import logging
import os
import signal
import sys
import threading
import time

log = logging.getLogger("orders")
log.setLevel(logging.INFO)
print("loaded by", os.getpid())


def handler(event, context):
    request_id = context.aws_request_id
    if "remove_tmp" in event:
        for name in os.listdir(event["remove_tmp"]):
            os.unlink(os.path.join(event["remove_tmp"], name))
    note = os.open(f"/tmp/{request_id}", os.O_WRONLY | os.O_CREAT) if event.get("is_noted") else None
    for number in range(event.get("lines", 1)):
        log.info("log %d of %s%s", number, request_id, "." * event.get("length", 0))
        if not event.get("is_logged_only"):
            print("print", number, "of", request_id)
        if note is not None:
            os.pwrite(note, b"%08d" % (number + 1), 0)
        time.sleep(event.get("pause_s", 0))
    if event.get("collect"):
        gc.collect()
    if event.get("fork"):
        child = os.fork()
        if child == 0:
            print("child of", request_id)
            os._exit(0)
        os.waitpid(child, 0)
    if event.get("thread"):
        thread = threading.Thread(target=log.info, args=("thread of %s", request_id))
        thread.start()
        thread.join()
    if "end" in event:
        ENDS[event["end"]](request_id)
    return {
        "id": request_id,
        "pid": os.getpid(),
        "tasks": len(os.listdir("/proc/self/task")),
        "segments": len({line.split()[-1] for line in open("/proc/self/maps") if line.endswith(".spool\n")}),
        "modules": sorted(sys.modules),
        "frozen": gc.get_freeze_count(),
    }


def late(request_id):
    time.sleep(2.5)
    log.info("late of %s", request_id)


def orphan(request_id):
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(0.2)
    log.info("orphan of %s", request_id)
    time.sleep(10)


def group(request_id):
    """As Lambda ends an environment: SIGTERM to the runtime's whole group, and some time until SIGKILL."""
    signal.signal(signal.SIGTERM, lambda *_: log.info("signal of %s", request_id))
    os.killpg(0, signal.SIGTERM)
    log.info("group of %s", request_id)
    time.sleep(10)


def half(request_id):
    print("half of", request_id, end="")
    os.kill(os.getpid(), signal.SIGKILL)


def outlived(request_id):
    """A child of the worker's goes on with the request when the worker is dead."""
    if os.fork() == 0:
        time.sleep(0.5)
        log.info("outlived of %s", request_id)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def fail(request_id):
    raise KeyError(f"failure of {request_id}")


ENDS = {
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda _: os._exit(1),
    "segfault": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "late": late,
    "orphan": orphan,
    "group": group,
    "half": half,
    "outlived": outlived,
    "fail": fail,
}
