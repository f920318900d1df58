"""Logging as Lambda sets it up: the root logger's handler is the runtime's."""

import logging

log = logging.getLogger("orders")
log.setLevel(logging.DEBUG)


def handler(event, context):
    log.info("order %s accepted", 17, extra={"order": {"id": 17, "total": 9.5}, "customer": "ä €"})
    log.debug("two\nlines")
    log.log(25, "a level of its own")
    logging.warning("through the root logger")
    try:
        {}["price"]
    except KeyError:
        log.exception("no price", extra={"id": 17})
