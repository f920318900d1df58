"""Loggers that do not propagate, with handlers on streams that were opened at import."""

import logging
import sys

for name, stream in (("out", sys.stdout), ("err", sys.stderr), ("original", sys.__stdout__)):
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(stream))


def handler(event, context):
    for name in ("out", "err", "original"):
        logging.getLogger(name).info("to %s\nin two lines", name, extra={"order": 17})
