"""A function whose lines can be told apart, wherever they get to: the soak's, which also asks here what they were.

Each writer (the main thread, a thread, a forked child) numbers its lines, and notes outside the environment the last
one whose call has returned. What a line looks like follows from its writer's name and its number alone. Beside that the
function does to /tmp and to its descriptors what functions do (``ACTS``).
"""

import collections
import contextlib
import logging
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from typing import NamedTuple

log = logging.getLogger("soak")
log.setLevel(logging.DEBUG)
held = logging.getLogger("held")
held.setLevel(logging.INFO)
logging.raiseExceptions = False  # what the runtime's own formatter makes of odd records is not what is tried here

LEVELS = (logging.DEBUG, logging.INFO, logging.INFO, logging.WARNING, logging.ERROR)
FILLER = "/tmp/filler"
DROPIN_DELAY_S = os.environ.get("SOAK_DROPIN_DELAY_S", "")
"""Without the wrapper: how long after the beginning of the import a handler of ours is made; ``call`` makes it in the
second invocation of a process."""


class Line(NamedTuple):
    mark: str
    how: str  # "log", "odd", "partial", or the stream that is printed to
    level: int
    text: str
    parts: int  # the number of records it becomes


def begin_dropin():
    from sumo_internal import SumoHandler

    logging.getLogger().addHandler(SumoHandler())


calls = 0
if os.environ.get("SOAK_FILLS_AT_START"):
    with contextlib.suppress(OSError), open(FILLER, "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
if DROPIN_DELAY_S not in ("", "call"):
    time.sleep(float(DROPIN_DELAY_S))
    begin_dropin()


def handler(event, context):
    global calls
    calls += 1
    if DROPIN_DELAY_S == "call" and calls == 2:
        begin_dropin()
    for act in event["acts"]:
        ACTS[act]()
    name = event["name"]
    children = [fork(f"{name}f{number}", event, event["lines"]) for number in range(event["forks"])]
    for number in range(event["crowd"]):
        child = fork(f"{name}c{number}", event, 2)
        children.append(child)
        if event["is_queue"]:
            os.waitpid(children.pop(), 0)
    threads = [
        threading.Thread(target=write, args=(f"{name}t{number}", event, event["lines"]))
        for number in range(event["threads"])
    ]
    for thread in threads:
        thread.start()
    write(f"{name}m", event, event["lines"], is_starved=event["starves"])
    for thread in threads:
        thread.join()
    for child in children:
        os.waitpid(child, 0)
    with open_text(f"{name}p", event) if event["leaves_text"] else contextlib.nullcontext():
        time.sleep(event["sleep_s"])
    if event["frees"]:
        with contextlib.suppress(OSError):
            os.unlink(FILLER)


def fork(writer, event, lines):
    """A child that writes, and mostly ends in the middle of a line."""
    child = os.fork()
    if child:
        return child
    try:
        write(writer, event, lines)
        if event["leaves_text"]:
            with open_text(f"{writer}p", event):
                os._exit(0)
    finally:
        os._exit(0)


def fill():
    with contextlib.suppress(OSError), open(FILLER, "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))


def empty():
    for name in os.listdir(tempfile.gettempdir()):
        path = f"{tempfile.gettempdir()}/{name}"
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(path)


def change_modes():
    os.system(f"chmod -R 777 {tempfile.gettempdir()} 2>/dev/null")


ACTS = {"fill": fill, "empty": empty, "modes": change_modes}


@contextlib.contextmanager
def starved():
    """No descriptor is left; enough are there for what has begun, so that not everything else fails as well."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[0]), before[1]))
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    try:
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def write(writer, event, lines, is_starved=False):
    note = os.open(f"{event['notes']}/{writer}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with starved() if is_starved else contextlib.nullcontext():
        for number in range(lines):
            line = make_line(writer, number)
            if line.how == "log":
                log.log(line.level, "%s", line.text, extra={"line": line.mark})
            elif line.how == "odd":
                draw = random.Random(line.text)
                draw.choice(ODD)(line.text)
            elif line.how == "partial":
                for piece in (line.text[:10], line.text[10:]):
                    print(piece, end="", flush=True)
                print()
            else:
                print(line.text, file=getattr(sys, line.how))
            os.pwrite(note, b"%08d" % number, 0)
            held.debug("below the level, %d", number)
    os.close(note)


@contextlib.contextmanager
def open_text(writer, event):
    """A line that has no end yet, and perhaps never gets one."""
    note = os.open(f"{event['notes']}/{writer}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    text = make_line(writer, 0).text
    for piece in (text[:10], text[10:]):
        print(piece, end="", flush=True)
    os.pwrite(note, b"%08d" % 0, 0)
    os.close(note)
    yield
    print()


class NoText:
    def __repr__(self):
        raise ValueError("no text")

    def __ne__(self, other):
        raise ValueError("no comparison")


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def made(text, **fields):
    log.handle(logging.makeLogRecord({"name": "soak", "levelno": 20, "levelname": "INFO", "msg": text, **fields}))


ODD = (
    lambda text: log.info(text, extra={404: 3, None: 1, ("a", "b"): 2}),
    lambda text: log.info(text, extra=collections.Counter([200, 200])),
    lambda text: log.info(text, extra={"value": NoText()}),
    lambda text: log.info(text, extra={"value": nested(400)}),
    lambda text: log.info(text, extra={"value": 10**5000, "nan": float("nan"), "text": "\ud800\x00"}),
    lambda text: log.info(text, extra={"value": os.urandom(1 << 20)}),
    lambda text: log.error(text, exc_info=True),
    lambda text: log.error(text, exc_info=ValueError("an instance")),
    lambda text: log.error(text, exc_info=(None, None, None)),
    lambda text: log.info(text, stack_info=True),
    lambda text: made(text, created=None, levelno=None, levelname=["x"], name=None),
    lambda text: made(text, levelname="\x1b[33mWARNING \x1b[0m", levelno="30"),
    lambda text: logging.getLogger("n" * 100_000).error(text),
)
"""Log records that are no ordinary ones. CloudWatch has the text of each."""


def make_line(writer, number):
    """The line with this number, of 1 byte to 100 KiB; as many of 10 to 100 bytes as of 10 to 100 KiB."""
    draw = random.Random(f"{writer}.{number}")
    mark = f"<{writer}.{number}>"
    how = draw.choice(("log", "log", "log", "stdout", "stdout", "stderr", "stderr", "odd", "partial"))
    if writer.startswith("L"):  # a handler of ours hears no streams
        how = "odd"
    if writer.endswith("p"):
        how = "partial"
    size_bytes = int((102_400 if how not in ("odd", "partial") else 1_500) ** draw.random())
    # Clear of the sizes at which one part more is needed: there it depends on the other keys of the record.
    for least, most in ((58_000, 62_000), (97_000, 99_500)):
        if least <= size_bytes < most:
            size_bytes = most
    parts = 1 + (size_bytes >= 58_000) + (size_bytes >= 97_000)
    filler = draw.randbytes(size_bytes // 2 + 1).hex()
    if how == "log":
        return Line(mark, how, draw.choice(LEVELS), filler[:size_bytes], parts)
    if how in ("odd", "partial"):
        return Line(mark, how, logging.INFO, mark + filler[:size_bytes], 1)
    # No field says which line it is, so every part of it does.
    text = "".join(mark + filler[begin : begin + 1000] for begin in range(0, len(filler), 1000))
    text = text[: max(len(mark), size_bytes)]
    return Line(mark, how, logging.INFO, text if parts < 3 else text[:95_000], min(parts, 2))
