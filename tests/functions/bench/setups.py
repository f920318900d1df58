"""How the measured function logs: as the runtime has it, or with a library that its owner could have chosen instead.

Each set-up does what the library's documentation asks for, no more, and sends to the address in ``BENCH_SINK``. It
returns the handler, wrapped where the library wants that. Nothing is imported that is not asked for.
"""

import logging
import os


def set_up(handler):
    return globals()[os.environ.get("BENCH_SETUP", "as_is")](handler)


def as_is(handler):
    return handler


def _replace(*handlers):
    logging.getLogger().handlers[:] = handlers


def null(handler):
    """The least that logging can do."""
    _replace(logging.NullHandler())
    return handler


def stream(handler):
    """The least that writes something."""
    _replace(logging.StreamHandler(open("/dev/null", "w")))
    return handler


def boto3(handler):
    """A function that uses AWS."""
    import boto3

    boto3.client("s3")
    return handler
