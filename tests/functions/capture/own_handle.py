"""Handlers with a ``handle`` of their own, which write in pieces and do not call that of ``logging``."""

import logging
import sys


class Piecewise(logging.Handler):
    """Writes level, text and traceback apart."""

    def handle(self, record):
        sys.stdout.write(f"{record.levelname}: ")
        sys.stdout.write(record.getMessage())
        if record.exc_info:
            sys.stdout.write("\n" + logging.Formatter().formatException(record.exc_info))
        sys.stdout.write("\n")
        return True


class Emitting(logging.StreamHandler):
    """Goes past the lock."""

    def handle(self, record):
        self.emit(record)


for name, own in (("pieces", Piecewise()), ("emitting", Emitting(sys.stdout))):
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(own)


def handler(event, context):
    for name in ("pieces", "emitting"):
        log = logging.getLogger(name)
        log.info("to %s\nin two lines", name, extra={"order": 17})
        try:
            raise LookupError("no price")
        except LookupError:
            log.exception("failed")
