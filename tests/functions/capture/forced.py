"""``basicConfig(force=True)``, which takes the runtime's handler away and puts one on stderr."""

import logging

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
log = logging.getLogger("orders")


def handler(event, context):
    log.info("accepted", extra={"order": 17})
    try:
        [].pop()
    except IndexError:
        log.exception("failed")
