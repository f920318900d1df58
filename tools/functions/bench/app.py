"""The function that ``make bench`` measures: it does what its event asks for, and returns what that has cost.

``BENCH_SETUP`` names how it logs (see ``setups.py``). ``BENCH_LOG`` names what it writes to instead of Lambda's log, at
the level of descriptors: /dev/null, where the cost of a line by itself is asked for, or a pipe that another process
reads.
"""

import gc
import logging
import os
import posix
import random
import sys
import time
import zlib

import setups

log = logging.getLogger("orders")
log.setLevel(logging.INFO)

if os.environ.get("BENCH_LOG"):
    elsewhere = os.open(os.environ["BENCH_LOG"], os.O_WRONLY)
    for descriptor in (1, int(os.environ.get("BENCH_FRAMES_FD", 1))):
        posix.dup2(elsewhere, descriptor)  # os.dup2 would tell the layer that CloudWatch does not get the lines

PIECE = 2_000
"""Steps of pure Python; a fifth of a millisecond or less."""


def handler(event, context):
    for kind, value in (event or {}).items():
        if kind in ACTIONS:
            return ACTIONS[kind](value, **event.get("with", {}))
    return None


def write_log(count, length=0):
    """Log so many lines; return nanoseconds a line, of this thread's CPU and of the clock."""
    padding = "x" * length
    begun_ns, begun_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
    for number in range(count):
        log.info("order %s accepted for customer %s with %d items%s", number, 99, 3, padding)
    return _per(count, begun_ns, begun_cpu_ns)


def write_debug(count, length=0):
    """Log so many lines of DEBUG."""
    padding = "x" * length
    begun_ns, begun_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
    for number in range(count):
        log.debug("order %s accepted for customer %s with %d items%s", number, 99, 3, padding)
    return _per(count, begun_ns, begun_cpu_ns)


def write_varied(count):
    """Log so many lines that have as little in common as an application's have, and can be compressed no better."""
    chance = random.Random(count)
    words = "accepted declined retried shipped refunded cancelled delayed confirmed".split()
    for _ in range(count):
        customer, amount = f"{chance.getrandbits(64):016x}", chance.randrange(1_000_000) / 100
        log.info("order %s of %s: %.2f in %d ms", chance.choice(words), customer, amount, chance.randrange(9_999))


def write_print(count, length=0):
    padding = "x" * length
    begun_ns, begun_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
    for number in range(count):
        print(f"order {number} accepted for customer 99 with 3 items{padding}")
    return _per(count, begun_ns, begun_cpu_ns)


def write_structured(count, length=0):
    import structlog

    structured = structlog.get_logger("orders")
    padding = "x" * length
    begun_ns, begun_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
    for number in range(count):
        structured.info("order accepted" + padding, order=number, customer=99, items=3)
    return _per(count, begun_ns, begun_cpu_ns)


def _per(count, begun_ns, begun_cpu_ns):
    cpu_ns, wall_ns = time.thread_time_ns() - begun_cpu_ns, time.perf_counter_ns() - begun_ns
    return {"cpu_ns": cpu_ns / count, "wall_ns": wall_ns / count}


def write_timed(count):
    """Log so many lines; return how long the slowest took, and how many took more than a millisecond."""
    clock_ns = time.perf_counter_ns
    slowest_ns = slow = 0
    begun_ns = clock_ns()
    for number in range(count):
        before_ns = clock_ns()
        log.info("order %s accepted for customer %s with %d items", number, 99, 3)
        took_ns = clock_ns() - before_ns
        if took_ns > 1_000_000:
            slow += 1
        if took_ns > slowest_ns:
            slowest_ns = took_ns
    return {"slowest_ms": slowest_ns / 1e6, "slow": slow, "all_ms": (clock_ns() - begun_ns) / 1e6}


def compress(path):
    """Compress a file as a batch is compressed; return this thread's CPU nanoseconds for it."""
    with open(path, "rb") as file:
        data = file.read()
    begun_ns = time.thread_time_ns()
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    size_bytes = len(packer.compress(data)) + len(packer.flush())
    return {"cpu_ns": time.thread_time_ns() - begun_ns, "size_bytes": size_bytes}


def count_calls(count, kind="log"):
    """Log or print so many lines; return calls of a line, of Python's functions and of C's, and its writes."""
    calls = 0

    def note(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    ACTIONS[kind](count)  # what is done once is done
    written = writes()
    sys.setprofile(note)
    try:
        ACTIONS[kind](count)
    finally:
        sys.setprofile(None)
    return {"calls": calls / count, "writes": (writes() - written) / count}


def writes():
    """System calls that write, of this thread so far."""
    with open("/proc/thread-self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("syscw"))


def spin(count, lines=0):
    """Log some lines, then do so many pieces of work in pure Python; return how long the work took."""
    for number in range(lines):
        log.info("order %s accepted for customer %s with %d items", number, 99, 3)
    begun_ns = time.perf_counter_ns()
    total = 0
    for piece in range(count * PIECE):
        total += piece & 7
    return {"wall_ms": (time.perf_counter_ns() - begun_ns) / 1e6}


def blocks(_):
    """How many blocks of memory the interpreter has given out."""
    gc.collect()
    return sys.getallocatedblocks()


def loaded(_):
    """The modules that are there, and where two functions of logging's come from."""
    return sorted(sys.modules), [logging.Logger._log.__module__, logging.Logger.getEffectiveLevel.__module__]


ACTIONS = {
    "loaded": loaded,
    "log": write_log,
    "debug": write_debug,
    "varied": write_varied,
    "print": write_print,
    "structured": write_structured,
    "timed": write_timed,
    "compress": compress,
    "spin": spin,
    "calls": count_calls,
    "blocks": blocks,
    "sleep": time.sleep,
}

handler = setups.set_up(handler)
