"""What ``logging`` reports of its own: a message and arguments that do not fit, an object that has no text."""

import logging
import sys


class Unprintable:
    def __str__(self):
        raise KeyError("no text")

    __repr__ = __str__


log = logging.getLogger("orders")
log.propagate = False
log.addHandler(logging.StreamHandler(sys.stdout))


def handler(event, context):
    log.warning("%d", "no number")
    log.warning("%s", Unprintable())
    log.warning("odd values", extra={"unprintable": Unprintable(), "nan": float("nan"), "huge": 10**5000})
