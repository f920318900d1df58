"""Threads that print and log at once, in lines of several pieces."""

import logging
import sys
import threading

log = logging.getLogger("threads")
log.propagate = False
log.setLevel(logging.INFO)
log.addHandler(logging.StreamHandler(sys.stdout))
COUNT, LINES = 4, 50


def handler(event, context):
    together = threading.Barrier(COUNT)

    def work(number):
        together.wait()
        for line in range(LINES):
            print("printed by", number, "line", line)
            log.info("logged by %s line %s", number, line, extra={"worker": number})

    workers = [threading.Thread(target=work, args=(number,)) for number in range(COUNT)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
