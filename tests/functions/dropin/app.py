"""A function that uses the drop-in handler as its documentation says, with the wrapper or without."""

import logging

from sumo_internal import SumoHandler

logging.getLogger().addHandler(SumoHandler())
logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    logging.info("line %s", event["number"], extra={"number": event["number"]})
    print("only CloudWatch sees a print")
    if event.get("exit"):
        import os

        os._exit(1)
    return event["number"]
