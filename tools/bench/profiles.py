"""``make bench-profile``: where the CPU of shipping goes, by part, by function and by system call.

    make bench-profile

A process of its own writes lines into a spool and drains it on its one thread, as the shipping thread does, over TLS to
a source in another process. What it prints stands behind the figures for shipping in ``docs/bench.md``: whoever doubts
them, or changes the drainer, runs it again.

Separate from the cases, which measure the layer from outside and know none of its parts.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model.configuration import CREDENTIALS
from runtimes import ROOT

from bench.compare import MIB_LINES
from bench.sink import Sink
from sumo_internal import own_secrets
from sumo_internal.config import read
from sumo_internal.destinations.encoding import GZIP
from sumo_internal.net.client import PlainSender
from sumo_internal.shipping.drainer import Drainer
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.shipping.retry_policy import Drained
from sumo_internal.spool.counters import DRAINER, Counters
from sumo_internal.spool.envelope import addressed, request_headers
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.writer import Spool

DRAINS = 50
FUNCTIONS = 12
"""Rows of the table of functions."""
NAME, VERSION = "orders", "$LATEST"
STREAM = f"2026/11/30/[{VERSION}]0123456789abcdef0123456789abcdef"
ENVIRON = {
    **CREDENTIALS,
    "AWS_REGION": "eu-central-1",
    "AWS_LAMBDA_FUNCTION_NAME": NAME,
    "AWS_LAMBDA_FUNCTION_VERSION": VERSION,
    "AWS_LAMBDA_LOG_STREAM_NAME": STREAM,
}


def start_of_record(number: int) -> str:
    """Return a record of the measured function's usual line, without its end."""
    request_id = "0f0e0d0c-1234-4567-89ab-0123456789ab"
    at = f"2026-11-30T08:22:{number // 1000 % 60:02d}.{number % 1000:03d}Z"
    text = f"[INFO]\\t{at}\\t{request_id}\\torder {number} accepted for customer 99 with 3 items"
    names = f'"logGroup":"/aws/lambda/{NAME}","logStream":"{STREAM}"'
    versions = '"IsColdStart":false,"LayerVersion":"sumo-internal-extension-python:1","runtimeVersion":"python3.12"'
    head = f'{{"time":"{at}","type":"function","message":"{text}","requestID":"{request_id}"'
    return f'{head},{names},{versions},"level":"INFO","logger":"{NAME}"'


class Shipping:
    """A spool with one writer, and the drainer that empties it."""

    def __init__(self, folder: Path, url: str, ca_file: Path) -> None:
        """Ship to a source, whose authority is in a file."""
        environ = {**ENVIRON, "SUMO_HTTP_ENDPOINT": url, "SSL_CERT_FILE": str(ca_file)}
        config, _ = read(environ)
        headers = request_headers(config, NAME, STREAM, VERSION)
        self._spool = Spool(str(folder / "spool"), addressed(headers, config), 64 << 20)
        counts = Counters(self._spool.folder, self._spool.writer + DRAINER)
        reader = SpoolReader(self._spool.folder, self._spool)
        self._drainer: Drainer = make_drainer(
            config, environ, reader, counts, lambda: PlainSender(environ), lambda _: None
        )

    def write(self, lines: int) -> None:
        """Have so many lines in the spool."""
        for number in range(lines):
            self._spool.append(start_of_record(number))

    def drain(self) -> None:
        """Ship them.

        Raises:
            RuntimeError: The source has not taken them.
        """
        outcome = self._drainer.drain(time.time() + 10)
        self._drainer.account(self._spool.counters, is_recorded=True)
        if outcome is not Drained.EMPTY:
            raise RuntimeError(f"{outcome}: {self._drainer.problem}")

    def close(self) -> None:
        """Close the connection."""
        self._drainer.disconnect()


@contextmanager
def shipping() -> Iterator[Shipping]:
    """Give a spool whose drainer has shipped a line: its connection is there, and all that it imports."""
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder, Sink() as sink:
        ships = Shipping(Path(folder), sink.endpoint, sink.ca_file)
        try:
            ships.write(1)
            ships.drain()
            yield ships
        finally:
            ships.close()


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the CPU time that a piece of work takes this thread."""
    begun_ns = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begun_ns) / 1e6


def parts() -> Iterator[tuple[str, float]]:
    """Yield what shipping about 1 MiB of lines is made of, in milliseconds of CPU, best of many; first all of it."""
    lines = "".join(
        f'{start_of_record(number)},"id":"0123456789ab-p12-{number:010d}"}}\n' for number in range(MIB_LINES)
    )
    batch = memoryview(lines.encode())
    whole_ms, kernel_ms = [], []
    with shipping() as ships:
        for _ in range(DRAINS):
            ships.write(MIB_LINES)
            before_s = resource.getrusage(resource.RUSAGE_THREAD).ru_stime
            whole_ms.append(cpu_ms(ships.drain))
            kernel_ms.append((resource.getrusage(resource.RUSAGE_THREAD).ru_stime - before_s) * 1000)
    whole = min(whole_ms)
    packed_ms = _best_ms(lambda: GZIP.pack([batch]))
    searched_ms = _best_ms(lambda: own_secrets.hidden(batch))
    in_kernel_ms = whole * sum(kernel_ms) / sum(whole_ms)  # which may count in ticks: few drains would have none
    yield "all of it", whole
    yield "gzip", packed_ms
    yield "… of that the check sum", _best_ms(lambda: zlib.crc32(batch))
    yield "the search for our own secrets", searched_ms
    yield "the kernel: a segment that is removed, sockets", in_kernel_ms
    yield "the interpreter and OpenSSL", whole - packed_ms - searched_ms - in_kernel_ms


def _best_ms(work: Callable[[], object]) -> float:
    return min(cpu_ms(work) for _ in range(DRAINS))


def one_line_ms() -> float:
    """Return the CPU time of a drain with one line."""
    took_ms = []
    with shipping() as ships:
        for _ in range(DRAINS):
            ships.write(1)
            took_ms.append(cpu_ms(ships.drain))
    return min(took_ms)


def functions() -> Iterator[tuple[str, float, float]]:
    """Yield Python's and C's functions of a drain with one line: name, calls of it, share of the time in it."""
    profile = cProfile.Profile(time.thread_time)
    with shipping() as ships:
        for _ in range(DRAINS):
            ships.write(1)
            profile.enable()
            ships.drain()
            profile.disable()
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # to its stubs it has none
    whole_s = sum(own_s for _, _, own_s, _, _ in stats.values())
    rows = sorted(stats.items(), key=lambda row: -row[1][2])
    for (file, _, name), (_, calls, own_s, _, _) in rows[:FUNCTIONS]:
        where = file.removeprefix(f"{ROOT}/sumo_internal/")
        yield (name if where.startswith(("~", "<")) else f"{name} in {where}"), calls / DRAINS, own_s / whole_s


def system_calls() -> Iterator[tuple[str, float]]:
    """Yield the system calls of a drain with one line. Needs strace."""
    counts = [_traced(drains) for drains in (0, DRAINS)]
    for name, count in (counts[1] - counts[0]).most_common():
        yield name, count / DRAINS


def _traced(drains: int) -> Counter[str]:
    """Count the system calls of this program's first thread while it drains so many times."""
    with tempfile.NamedTemporaryFile("r") as file:
        drain = [sys.executable, "-m", "bench.profiles", "--drains", str(drains)]
        subprocess.run(["strace", "-c", "-o", file.name, *drain], check=True, capture_output=True)
        rows = [line.split() for line in file if re.match(r"\s*\d+[.,]\d+ ", line)]
    return Counter({row[-1]: int(row[3]) for row in rows if row[-1] != "total"})


def main() -> None:
    """Print it, or only drain."""
    parser = argparse.ArgumentParser(description="Where the CPU of shipping goes.")
    parser.add_argument("--drains", type=int, default=-1, help="only drain so many times, with one line each")
    drains = parser.parse_args().drains
    os.environ.update(ENVIRON)
    if drains >= 0:
        with shipping() as ships:
            for _ in range(drains):
                ships.write(1)
                ships.drain()
        return
    shares = list(parts())
    print(f"Shipping {MIB_LINES:,} lines, about 1 MiB, in two requests over TLS: best CPU of the thread, ms")
    for what, took_ms in shares:
        print(f"  {took_ms:6.2f}  {took_ms / shares[0][1]:4.0%}  {what}")
    print(f"\nA drain with one line: {one_line_ms():.2f} ms")
    print("\n… by function: calls, share of the time (cProfile, which makes calls dearer)")
    for name, calls, share in functions():
        print(f"  {calls:6.1f}  {share:4.0%}  {name}")
    if shutil.which("strace") is None:
        print("\nIts system calls are not counted: that needs strace, which is not on PATH")
        return
    print(
        "\nA drain with one line, by system call (strace): each gives the interpreter lock away, but for those marked *"
    )
    for name, count in system_calls():
        print(f"  {count:6.1f}  {'*' if name in KEEPS_THE_LOCK else ' '} {name}")


KEEPS_THE_LOCK = (
    "kill",
    "getpid",
    "geteuid",
    "setsockopt",
    "brk",
    "getsockname",
    "gettid",
    "madvise",
    "mmap",
    "munmap",
)
"""Of CPython's calls, those during which no other thread runs Python."""


if __name__ == "__main__":
    main()
