"""structlog through ``logging``, rendered by its ProcessorFormatter: text on stdout, JSON on stderr."""

import logging
import sys

import structlog

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
)
for stream, renderer in (
    (sys.stdout, structlog.dev.ConsoleRenderer(colors=False)),
    (sys.stderr, structlog.processors.JSONRenderer()),
):
    root_handler = logging.StreamHandler(stream)
    root_handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ]
        )
    )
    logging.getLogger().addHandler(root_handler)
logging.getLogger().removeHandler(logging.getLogger().handlers[0])
logging.getLogger().setLevel(logging.INFO)
log = structlog.get_logger("orders")


def handler(event, context):
    structlog.contextvars.bind_contextvars(request="r-1")
    log.info("accepted", order=17)
    logging.getLogger("library").info("not structlog's", extra={"order": 18})
    try:
        {}["price"]
    except KeyError:
        log.exception("no price", id=17)
