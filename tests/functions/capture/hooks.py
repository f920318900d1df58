"""Errors that nobody catches, outside of the handler: in a thread, in a finaliser."""

import threading


class Failing:
    def __del__(self):
        raise ValueError("in a finaliser")


def fail():
    raise LookupError("in a thread\nof two lines")


def handler(event, context):
    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    Failing()
