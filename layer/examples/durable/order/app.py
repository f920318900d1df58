"""An order that waits for its payment. It knows nothing of Sumo Logic.

A resume runs it from its beginning: the first line comes once more, with ``"replay": true``, a step's does not.
"""

import logging

from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration

log = logging.getLogger("orders")
log.setLevel(logging.INFO)


@durable_execution
def handler(event, context):
    order = event["order"]
    log.info("order %s accepted", order)
    context.step(lambda _: log.info("order %s billed", order), name="bill")
    context.wait(Duration.from_minutes(10), name="payment")
    log.info("order %s paid", order)
    return {"paid": order}
