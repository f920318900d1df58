"""Log records out of the ordinary: any names and values, attributes that are taken away, changed levels, odd errors."""

import json
import logging
import sys


class Json(logging.Formatter):
    def format(self, record):
        return json.dumps({"text": record.getMessage(), "failed": bool(record.exc_info)})


class Colour(logging.Formatter):
    def format(self, record):
        record.levelname = f"\x1b[33m{record.levelname:8}\x1b[0m"
        return super().format(record)


class NoTask(logging.Filter):
    def filter(self, record):
        record.__dict__.pop("taskName", None)
        return True


def own(name, formatter):
    log = logging.getLogger(name)
    log.propagate = False
    log.setLevel("INFO")
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.handlers[0].setFormatter(formatter)
    log.handlers[0].addFilter(NoTask())
    return log


logging.getLogger().handlers[0].addFilter(NoTask())
log = logging.getLogger("orders")
log.setLevel("INFO")
objects = own("objects", Json())
colours = own("colours", Colour("%(levelname)s %(message)s"))


def handler(event, context):
    log.info("names", extra={404: 3, "order": 17})
    log.info("nothing", extra={None: 3})
    colours.warning("a tuple", extra={(1, 2): 3, b"key": 4, "tenant_id": "acme"})
    colours.info("one field", extra={"order": 17, "_private": 1, "called": print})
    try:
        {}["price"]
    except KeyError as error:
        for text, said in (
            ("itself", error),
            ("whole", sys.exc_info()),
            ("true", True),
            ("a text", "Traceback: something"),
            ("names", ("KeyError", "price", "no traceback")),
            ("one", (error,)),
        ):
            record = objects.makeRecord("objects", logging.ERROR, "", 0, text, (), None)
            record.exc_info = said
            objects.handle(record)
    record = objects.makeRecord(["a", "list"], logging.INFO, "", 0, "no time", (), None)
    record.created, record.levelname = None, ["INFO"]
    objects.handle(record)
    print(json.dumps({"severity": "error", "text": "printed"}))
