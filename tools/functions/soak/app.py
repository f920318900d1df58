"""A function whose lines can be told apart, wherever they get to: the soak's, which also asks here what they were.

Each writer (the main thread, a thread, a forked child) numbers its lines, and notes outside the environment the last
one whose call has returned. What a line looks like follows from its writer's name and its number alone.
"""

import logging
import os
import random
import socket
import sys
import threading
import time
from typing import NamedTuple

log = logging.getLogger("soak")
log.setLevel(logging.DEBUG)

LEVELS = (logging.DEBUG, logging.INFO, logging.INFO, logging.WARNING, logging.ERROR)


NAMES_HANG = os.environ.get("SOAK_NAMES_HANG", "")
RESOLVER_S = 30
"""What a resolver takes that asks name servers which do not answer."""


def slow_getaddrinfo(host, *arguments, look_up=socket.getaddrinfo, **options):
    until_s = time.monotonic() + RESOLVER_S
    while host == "localhost" and os.path.exists(NAMES_HANG):
        time.sleep(0.02)
        if time.monotonic() > until_s:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return look_up(host, *arguments, **options)


if NAMES_HANG:
    socket.getaddrinfo = slow_getaddrinfo


class Line(NamedTuple):
    mark: str
    how: str  # "log", or the stream that is printed to
    level: int
    text: str
    parts: int  # the number of records it becomes


def handler(event, context):
    children = []
    for number in range(event["forks"]):
        child = os.fork()
        if child == 0:
            try:
                write(f"{event['name']}f{number}", event)
            finally:
                os._exit(0)
        children.append(child)
    threads = [
        threading.Thread(target=write, args=(f"{event['name']}t{number}", event)) for number in range(event["threads"])
    ]
    for thread in threads:
        thread.start()
    if event["fills"]:
        fill()
    write(f"{event['name']}m", event)
    for thread in threads:
        thread.join()
    for child in children:
        os.waitpid(child, 0)
    time.sleep(event["sleep_s"])
    if event["fills"]:
        os.unlink("/tmp/filler")


def fill():
    with open("/tmp/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass


def write(writer, event):
    note = os.open(f"{event['notes']}/{writer}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for number in range(event["lines"]):
        line = make_line(writer, number)
        if line.how == "log":
            log.log(line.level, "%s", line.text, extra={"line": line.mark})
        else:
            print(line.text, file=getattr(sys, line.how))
        os.pwrite(note, b"%08d" % number, 0)
    os.close(note)


def make_line(writer, number):
    """The line with this number, of 1 byte to 100 KiB; as many of 10 to 100 bytes as of 10 to 100 KiB."""
    draw = random.Random(f"{writer}.{number}")
    mark = f"<{writer}.{number}>"
    how = draw.choice(("log", "log", "stdout", "stderr"))
    size_bytes = int(102_400 ** draw.random())
    # Clear of the sizes at which one part more is needed: there it depends on the other keys of the record.
    for least, most in ((58_000, 62_000), (97_000, 99_500)):
        if least <= size_bytes < most:
            size_bytes = most
    parts = 1 + (size_bytes >= 58_000) + (size_bytes >= 97_000)
    filler = draw.randbytes(size_bytes // 2 + 1).hex()
    if how == "log":
        return Line(mark, how, draw.choice(LEVELS), filler[:size_bytes], parts)
    # No field says which line it is, so every part of it does.
    text = "".join(mark + filler[begin : begin + 1000] for begin in range(0, len(filler), 1000))
    text = text[: max(len(mark), size_bytes)]
    return Line(mark, how, logging.INFO, text if parts < 3 else text[:95_000], min(parts, 2))
