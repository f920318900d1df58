"""The function of the examples. It knows nothing of Sumo Logic: what it logs, prints and raises is shipped as it is."""

import logging

log = logging.getLogger("orders")
log.setLevel(logging.INFO)


def handler(event, context):
    log.info("order %s accepted", event.get("order"), extra={"order": event.get("order")})
    return {"accepted": event.get("order")}
