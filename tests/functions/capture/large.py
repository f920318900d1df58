"""Messages, objects and fields of more than 60 KiB."""

import json
import logging

log = logging.getLogger("orders")
log.setLevel(logging.INFO)


def handler(event, context):
    print("p" * 200_000)
    print(json.dumps({"object": ["€" * 10] * 10_000}, ensure_ascii=False))
    log.info("l" * 100_000)
    log.info("a large field", extra={"field": "f" * 100_000, "order": 17})
