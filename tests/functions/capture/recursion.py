"""A recursion without end that prints and logs on its way down."""

import logging
import sys

log = logging.getLogger("deep")
log.propagate = False
log.setLevel(logging.INFO)
log.addHandler(logging.StreamHandler(sys.stdout))


def descend(depth):
    print("print", depth)
    log.info("log %d", depth)
    descend(depth + 1)


def handler(event, context):
    try:
        descend(0)
    except RecursionError:
        print("back again")
