"""Powertools' Logger: JSON on stdout, and a filter that hides its loggers from the runtime's handler."""

import logging

from aws_lambda_powertools import Logger

log = Logger(service="order", level="INFO")
child = Logger(service="order", child=True)
other = logging.getLogger("reorder_lib")
other.setLevel(logging.INFO)


@log.inject_lambda_context(log_event=True)
def handler(event, context):
    log.append_keys(customer="c-9")
    log.info("accepted", order=17)
    child.warning({"structured": [1, 2]})
    other.info("hidden from the runtime's handler, because its name has the service's in it")
    try:
        {}["price"]
    except KeyError:
        log.exception("no price")
