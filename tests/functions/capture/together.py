"""Values and tracebacks of several lines, printed."""

import json
import pprint
import sys
import traceback

HEADERS = {"accept": "*/*", "user-agent": "it's (curl) " * 5}
EVENT = {"headers": HEADERS, "items": [{"id": number} for number in range(20)]}


def handler(event, context):
    print("first")
    print(json.dumps(EVENT, indent=2))
    json.dump(EVENT, sys.stderr, indent=2)
    print(file=sys.stderr)
    pprint.pprint(EVENT)
    print(pprint.pformat(EVENT))
    print("a list:\n- one\n- two")
    try:
        raise LookupError("no price\nfor order 17")
    except LookupError:
        traceback.print_exc()
        print("failed:", traceback.format_exc())
    print("last")
