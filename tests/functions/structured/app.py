"""structlog with SumoProcessor in front of the renderer, in each of the ways in which people have it."""

import logging
import os
import sys

from sumo_internal import SumoHandler, SumoProcessor, configure_structlog

if os.environ.get("DROP_IN"):
    logging.getLogger().addHandler(SumoHandler())
if os.environ["CHAIN"] == "configured":
    configure_structlog()

import structlog

logging.getLogger().setLevel(logging.INFO)


class Renderer:
    """JSON, unless something is the matter."""

    render = structlog.processors.JSONRenderer()

    def __call__(self, logger, name, event):
        if event["event"] == "broken":
            raise ValueError("renderer")
        if event["event"] == "dropped":
            raise structlog.DropEvent
        if event["event"] == "chatty":
            print("a processor prints")
        return self.render(logger, name, event)


FRONT = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, SumoProcessor()]
BACK = [structlog.processors.format_exc_info, Renderer()]
chain = os.environ["CHAIN"]
if chain == "print":
    structlog.configure(processors=FRONT + BACK)
elif chain == "write":
    structlog.configure(processors=FRONT + BACK, logger_factory=structlog.WriteLoggerFactory())
elif chain == "bytes":
    structlog.configure(
        processors=[*FRONT, *BACK, lambda logger, name, text: text.encode()],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
    )
elif chain == "bridge":
    structlog.configure(
        processors=FRONT + BACK,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
elif chain == "formatter":
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, SumoProcessor(), *BACK]
    )
    handler_of_root = logging.StreamHandler(sys.stdout)
    handler_of_root.setFormatter(formatter)
    logging.getLogger().handlers[:1] = [handler_of_root]
    structlog.configure(
        processors=[*FRONT, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
log = structlog.get_logger("orders")
others = structlog.wrap_logger(structlog.WriteLogger(), processors=[structlog.processors.JSONRenderer()])


def handler(event, context):
    structlog.contextvars.bind_contextvars(tenant="t1")
    log.bind(customer="ä").info("accepted", order=17, requestID="mine")
    print("between")
    try:
        {}["price"]
    except KeyError:
        log.exception("no price")
    if chain != "configured":
        try:
            log.info("broken")
        except ValueError:
            print("behind a broken renderer")
        log.info("dropped")
        print("behind a dropped event")
        log.info("chatty")
    others.info("of another chain")
    log.debug("beneath the level")
    logging.getLogger("orders").warning("of logging")
