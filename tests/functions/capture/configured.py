"""``dictConfig``, which replaces the root logger's handlers by two of its own."""

import logging.config

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(asctime)s|%(levelname)s|%(message)s"}},
        "handlers": {
            "out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "short"},
            "err": {"class": "logging.StreamHandler", "level": "ERROR", "formatter": "short"},
        },
        "root": {"level": "INFO", "handlers": ["out", "err"]},
    }
)
log = logging.getLogger("orders")


def handler(event, context):
    log.info("on stdout", extra={"order": 17})
    log.error("on both")
