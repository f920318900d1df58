"""A function that uses the drop-in handler as its documentation says, with the wrapper or without."""

import logging
import os

from sumo_internal import SumoHandler

logging.getLogger().addHandler(SumoHandler())
logging.getLogger().setLevel(logging.INFO)
if "INIT_LINE" in os.environ:
    logging.info(os.environ["INIT_LINE"])


def handler(event, context):
    logging.info("line %s", event["number"], extra={"number": event["number"]})
    print("only CloudWatch sees a print")
    if event.get("exit"):
        os._exit(1)
    return event["number"]
