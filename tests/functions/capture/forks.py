"""Children that are forked, one of them by a thread, in the middle of a line."""

import logging
import os
import threading

log = logging.getLogger("orders")
log.setLevel(logging.INFO)


def fork(name):
    child = os.fork()
    if child == 0:
        print("printed by", name)
        log.info("logged by %s", name, extra={"child": name})
        os._exit(0)
    os.waitpid(child, 0)


def handler(event, context):
    print("one line, ", end="")
    thread = threading.Thread(target=fork, args=("a thread's child",))
    thread.start()
    thread.join()
    print("whole")
    fork("a child")
    log.info("parent")
