"""Descriptors that lead elsewhere for a while, as in tests that capture output, and what was captured, printed."""

import logging
import os
import sys
import tempfile


def handler(event, context):
    print("before")
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with tempfile.TemporaryFile() as file:
            kept = os.dup(number)
            stream.flush()
            os.dup2(file.fileno(), number)
            try:
                print("captured", number, file=stream)
                stream.buffer.write(b"captured bytes\n")
                stream.flush()
                stream.buffer.flush()
            finally:
                os.dup2(kept, number)
                os.close(kept)
            file.seek(0)
            print(file.read().decode(), end="", file=stream)
    logging.getLogger().warning("logged")
    print("after")
