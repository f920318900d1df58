"""structlog as it comes: ConsoleRenderer and PrintLogger."""

import structlog

log = structlog.get_logger()


def handler(event, context):
    structlog.contextvars.bind_contextvars(request="r-1")
    log.info("accepted", order=17)
    try:
        {}["price"]
    except KeyError:
        log.exception("no price")
