"""``contextlib.redirect_stdout``: what goes elsewhere goes elsewhere."""

import contextlib
import io


def handler(event, context):
    with contextlib.redirect_stdout(io.StringIO()):
        print("into a string")
    print("back again")
