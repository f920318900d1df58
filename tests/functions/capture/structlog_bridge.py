"""structlog through ``logging`` and the runtime's own handler, its context as ``extra``."""

import logging

import structlog

structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
logging.getLogger().setLevel(logging.INFO)
log = structlog.get_logger("orders")


def handler(event, context):
    structlog.contextvars.bind_contextvars(request="r-1")
    log.info("accepted", order=17)
