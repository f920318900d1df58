"""structlog with JSONRenderer and BytesLogger."""

import json

import structlog

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.dict_tracebacks,
        structlog.processors.JSONRenderer(serializer=lambda event, **_: json.dumps(event).encode()),
    ],
    logger_factory=structlog.BytesLoggerFactory(),
)
log = structlog.get_logger()


def handler(event, context):
    structlog.contextvars.bind_contextvars(request="r-1")
    log.bind(customer="ä").warning("accepted", order=17)
    try:
        {}["price"]
    except KeyError:
        log.exception("no price")
