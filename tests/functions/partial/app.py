"""A function that dies in the middle of a line, on both streams."""

import os
import signal
import sys
import time


def handler(event, context):
    print("whole")
    print("connecting to the database ... ", end="", flush=True)
    sys.stderr.write("step 3 of 7 ... ")
    if event["how"] == "timeout":
        time.sleep(30)
    elif event["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os._exit(1)
