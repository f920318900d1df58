"""A thread that outlives the invocation which started it, and writes in later ones."""

import logging
import queue
import threading

log = logging.getLogger("background")
log.setLevel(logging.INFO)
asked, answered = queue.SimpleQueue(), queue.SimpleQueue()


def work():
    while True:
        number = asked.get()
        print("printed late", number)
        log.info("logged late %d", number)
        print("begun in", number, end=", ")
        answered.put(number)
        asked.get()
        print("ended")
        answered.put(number)


threading.Thread(target=work, daemon=True).start()


def handler(event, context):
    log.info("handler %d", event["number"])
    for _ in range(event["steps"]):
        asked.put(event["number"])
        answered.get()
