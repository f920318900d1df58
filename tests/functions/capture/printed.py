"""``print`` and the streams' own text methods, in all shapes."""

import json
import sys


def handler(event, context):
    print("one line")
    print("several", 3, "arguments", sep=" | ")
    print("a line in ", end="")
    print("two prints")
    print("two\nlines")
    print()
    print("carriage\rreturn")
    print(json.dumps({"level": "WARN", "logger": "app", "order": 17}))
    print(json.dumps({"order": {"id": 17}}, indent=1))
    print("{not json}")
    sys.stdout.write("written\n")
    sys.stdout.writelines(["line 1\n", "line 2\n"])
    print("to stderr", file=sys.stderr)
    sys.stderr.write("half a line")
    sys.stdout.write("half a line")
