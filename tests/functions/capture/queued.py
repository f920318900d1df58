"""Records that wait: for a QueueListener's thread, or in a MemoryHandler."""

import logging
import logging.handlers
import queue
import sys

out = logging.StreamHandler(sys.stdout)
out.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
waiting = queue.SimpleQueue()
queued = logging.getLogger("queued")
kept = logging.getLogger("kept")
for logger, its_handler in (
    (queued, logging.handlers.QueueHandler(waiting)),
    (kept, logging.handlers.MemoryHandler(100, target=out)),
):
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(its_handler)


def handler(event, context):
    listener = logging.handlers.QueueListener(waiting, out)
    listener.start()
    queued.warning("by another thread\nin two lines", extra={"order": 17})
    listener.stop()
    kept.info("kept", extra={"order": 17})
    kept.error("what was kept goes first")
