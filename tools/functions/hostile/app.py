"""A function that does to itself what functions do to themselves: the guest soak's, with the layer and without.

Each event names its acts. What an act returns must not depend on chance, so that the answers of both runs can be held
against each other. Each writer (a thread, a child) numbers its lines, ``<writer.number>``, and notes outside the
environment how many calls have returned.
"""

import builtins
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback

log = logging.getLogger("hostile")
log.setLevel(logging.INFO)


class Writer:
    """Numbers lines and notes the last one whose call has returned."""

    def __init__(self, folder, name):
        self.name = name
        self.number = 0
        self.note = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def mark(self):
        return f"<{self.name}.{self.number}>"

    def done(self):
        self.number += 1
        os.pwrite(self.note, b"%08d" % self.number, 0)

    def log(self, text="", **options):
        log.info("%s %s", self.mark(), text, **options)
        self.done()

    def print(self, text=""):
        print(self.mark(), text)
        self.done()

    def close(self):
        os.close(self.note)


def handler(event, context):
    writer = Writer(event["notes"], event["name"])
    answers = []
    for act in event["acts"]:
        answers.append(ACTS[act](writer, event))
    writer.close()
    return answers


def calm(writer, event):
    for _ in range(20):
        writer.log("order accepted", extra={"order": 7})
        writer.print("printed")
    return writer.number > 0


def fork(writer, event):
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                import hashlib
                import ssl

                own = Writer(event["notes"], f"{event['name']}-{os.getpid()}")
                own.log(f"child {hashlib.md5(b'').hexdigest()} {ssl.PROTOCOL_TLS_CLIENT}")
                own.print("child")
                code = 7
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def threads(writer, event):
    def run(number):
        own = Writer(event["notes"], f"{event['name']}t{number}")
        for _ in range(30):
            own.log("in a thread")
        own.close()

    started = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return len(started)


def descriptors(writer, event):
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        code = error.errno
    writer.log("no descriptor left")
    for descriptor in taken:
        os.close(descriptor)
    writer.log("again")
    return code


def replaced(writer, event):
    real = socket.getaddrinfo, json.loads, json.dumps, time.time, builtins.open

    def refuse(*_, **__):
        raise RuntimeError("replaced")

    socket.getaddrinfo = lambda host, port, family=0, kind=0, proto=0, flags=0, /: refuse()
    json.loads = json.dumps = builtins.open = refuse
    time.time = lambda: 1e9
    try:
        log.info("while the library is replaced")
        print("while the library is replaced")
    finally:
        socket.getaddrinfo, json.loads, json.dumps, time.time, builtins.open = real
    writer.log("and back")
    return True


def refuses(writer, event):
    """An audit hook, which stays for good."""

    def refuse(name, _):
        if name.startswith("socket."):
            raise PermissionError(name)

    sys.addaudithook(refuse)
    writer.log("no sockets any more")
    return True


def refuses_files(writer, event):
    """An audit hook against all that is done to the layer's files, and to memory in their place; it stays for good."""

    def refuse(name, arguments):
        is_file = any("sumo-internal" in str(argument) for argument in arguments)
        if is_file or name.startswith(("mmap.", "socket.", "fcntl.")):
            raise PermissionError(name)

    sys.addaudithook(refuse)
    for _ in range(5):
        log.info("x" * 400_000)
    return True


def signals(writer, event):
    ended = threading.Event()
    heard = []

    def other():
        own = Writer(event["notes"], f"{event['name']}s")
        while not ended.is_set():
            own.log("beside a signal")
        own.close()

    def on_alarm(*_):
        heard.append(1)
        log.info("in a signal handler")
        if not ended.is_set():  # again once it is over: on a busy machine an interval's would come in the middle of it
            signal.setitimer(signal.ITIMER_REAL, 0.0007)

    before = signal.signal(signal.SIGALRM, on_alarm)
    thread = threading.Thread(target=other)
    thread.start()
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        writer.print("in a loop")
    ended.set()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    thread.join(5)
    return [thread.is_alive(), bool(heard)]


def limit(writer, event):
    """A time limit of the function's own, which raises wherever it is."""

    class TooLate(Exception):
        pass

    def on_alarm(*_):
        raise TooLate

    before = signal.signal(signal.SIGALRM, on_alarm)
    outcome = "no limit"
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        while True:
            log.info("on and on %s", {"a": [1, 2, 3]}, extra={"nested": {"b": ["c"] * 20}})
    except TooLate:
        outcome = "too late"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    writer.log("after the limit")
    return outcome


class Finalised:
    def __init__(self):
        self.myself = self

    def __del__(self):
        log.warning("in a finaliser")


def finalisers(writer, event):
    for _ in range(50):
        Finalised()
        writer.log("beside finalisers")
    return gc.collect() >= 0


def recursion(writer, event):
    def deeper(depth):
        log.info("depth %d", depth)
        deeper(depth + 1)

    try:
        deeper(0)
    except RecursionError:
        writer.log("the end of the stack")
        return "RecursionError"


def giants(writer, event):
    writer.print("x" * 300_000)
    log.info("bytes", extra={"blob": os.urandom(2 << 20), "list": list(range(20_000))})
    json.dump({"key": ["value"] * 20_000}, sys.stdout)
    print()
    writer.log("after giants")
    return True


class Awkward:
    def __repr__(self):
        raise ValueError("no text")

    def __ne__(self, other):
        raise ValueError("no comparison")


def hostile(writer, event):
    log.info("keys", extra={404: 3})
    log.info("a value without a text", extra={"value": Awkward()})
    log.error("a text for an exception", exc_info=(None, None, None))
    log.info("password=%s", '{"password": "hunter2, hunter3"}', extra={"password": [f"p{n:06d}" for n in range(300)]})
    print('secret="' + "\\a" * 30)
    print('{"a":' * 500)
    print("\x00\x1b[31m\udc80\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    sys.stdout.buffer.write(b"\xff\xfe no text \n")
    log.handle(
        logging.makeLogRecord({"msg": "odd", "created": None, "levelno": None, "levelname": ["x"], "name": None})
    )
    writer.log("after odd lines")
    return True


def partial(writer, event):
    print("connecting", end="", flush=True)
    for _ in range(50):
        print(".", end="")
    print(" done")
    writer.print("a line")
    return True


def empties(writer, event):
    for name in os.listdir("/tmp"):
        os.system(f"rm -rf '/tmp/{name}'")
    writer.log("/tmp is empty")
    return True


def truncates(writer, event):
    for folder, _, names in os.walk("/tmp"):
        for name in names:
            os.truncate(os.path.join(folder, name), 0)
    return True


def modes(writer, event):
    os.system("chmod -R 777 /tmp 2>/dev/null")
    writer.log("/tmp is everybody's")
    return True


def descriptors_closed(writer, event):
    """What a daemon does at its start, less the three that are everybody's and what the runtime needs."""
    for name in os.listdir("/tmp"):
        try:
            with open(f"/tmp/{name}", "rb") as file:
                file.read(10)
        except OSError:
            pass
    writer.log("files were read")
    return True


def traces(writer, event):
    log.info("a stack", stack_info=True)
    try:
        raise KeyError("order")
    except KeyError:
        log.exception("an exception")
        traceback.print_exc()
    writer.log("after traces")
    return [frame.name for frame in traceback.extract_stack()]


def raises(writer, event):
    writer.log("before an exception")
    raise LookupError("no such order")


def exits(writer, event):
    writer.log("before sys.exit")
    sys.exit(3)


def aborts(writer, event):
    writer.log("before os._exit")
    os._exit(4)


def dies(writer, event):
    writer.log("before SIGKILL")
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(writer, event):
    writer.log("before SIGSEGV")
    ctypes.string_at(0)


def sleeps(writer, event):
    writer.log("before the timeout")
    time.sleep(60)


ACTS = {name: act for name, act in globals().items() if callable(act) and getattr(act, "__module__", "") == __name__}
