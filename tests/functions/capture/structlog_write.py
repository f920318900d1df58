"""structlog with JSONRenderer and WriteLogger."""

import structlog

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.dict_tracebacks,
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.WriteLoggerFactory(),
)
log = structlog.get_logger()


def handler(event, context):
    structlog.contextvars.bind_contextvars(request="r-1")
    log.bind(customer="ä").warning("accepted", order=17)
    try:
        {}["price"]
    except KeyError:
        log.exception("no price")
