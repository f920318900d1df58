"""A handler that logs, a value that logs when it is asked for its text, and a record for two handlers."""

import logging
import sys

logging.getLogger().setLevel(logging.INFO)
inner = logging.getLogger("inner")
outer = logging.getLogger("outer")


class Reporting(logging.Handler):
    def emit(self, record):
        inner.info("about: %s", record.getMessage())


class Talking:
    def __str__(self):
        inner.info("asked for its text")
        return "text"


outer.addHandler(Reporting())
outer.addHandler(logging.StreamHandler(sys.stdout))


def handler(event, context):
    outer.info("three times in all", extra={"order": 17})
    inner.info("a value: %s", Talking())
