"""The failure matrix: what becomes of the lines, for each fault in each phase of a request, with a bucket and without.

``docs/failures.md`` is written from this run (``WRITE_FAILURES=1``, in one process); without that, each test compares
its own cell with what is written there.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aws_server import REGION, AwsServer
from faulty_http import End
from model import Environment
from own_section import IS_WRITING, PAGE, TITLE
from runtimes import typical
from soak.faults import SecondDrainer
from sumo_rules import Record
from sumo_source import HANG, Fault, Point, SumoSource, redirect
from test_failover_path import failover
from test_outage_path import fill

from sumo_internal.spool import counters
from sumo_internal.spool.folder import list_segments
from sumo_internal.spool.segment import Segment

pytest_plugins = ["aws_server"]

NAME_SERVER = "127.0.0.153"
_BOUND_S = 15.0
_SHIP = ["sleep", 0.4]
"""Long enough for the lines before it to leave, which are old after a tenth of a second."""

FUNCTION = '''
import logging, os, resource, shutil, sys, time

log = logging.getLogger()
log.setLevel(logging.INFO)


def handler(event, context):
    for name, value in event:
        STEPS[name](value)


def many(first, note):
    """1,000 lines of a kilobyte; what has returned is noted outside the environment."""
    for number in range(first, first + 1000):
        log.info("<%d> %s", number, "x" * 1000)
        if note:
            with open(note, "w") as file:
                file.write(str(number))


def fill(_):
    with open("/tmp/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass


taken = []


def starve(_):
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass


def refuse(prefix):
    def hook(event, _):
        if event.startswith(prefix):
            raise PermissionError(event)

    sys.addaudithook(hook)


STEPS = {
    "starve": starve,
    "refuse": refuse,
    "log": lambda number: log.info("<%d>", number),
    "many": lambda first: many(first, None),
    "endless": lambda note: [many(first, note) for first in range(0, 100_000, 1000)],
    "large": lambda size_bytes: print("<0>" + "x" * size_bytes + "<1>"),
    "empty": lambda _: shutil.rmtree(os.environ.get("SUMO_SPOOL_DIR", "/tmp/sumo-internal"), ignore_errors=True),
    "sleep": time.sleep,
    "allocate": lambda size_bytes: log.info("<2> %d", len(bytearray(os.urandom(1)) * size_bytes)),
    "fill": fill,
    "free": lambda _: os.unlink("/tmp/filler"),
}
'''
_NUMBER = re.compile(r"<(\d+)>")

# The phases of a request, in the order in which it goes through them.
PHASES = {
    "before the headers": Fault(at=Point.BEFORE_READING),
    "headers out": Fault(at=Point.AFTER_HEADERS),
    "body half out": Fault(at=Point.IN_BODY, body_read_bytes=10),
    "body out, not kept": Fault(at=Point.AFTER_BODY),
    "kept, response unread": Fault(at=Point.AFTER_KEEPING),
    "response sent": Fault(at=Point.AFTER_ANSWER),
}
LASTING = ("before the headers", "body half out", "kept, response unread")
"""The phases in which a fault that does not end makes a difference."""
ANSWERS = {str(status): Fault(status) for status in (429, 503, 401, 404, 400)}
"""Of each kind; ``test_retry_policy`` has them all."""


@dataclass
class Stage:
    """What a row has to play with, and what it leaves behind to be judged."""

    folder: Path
    layer: Path
    source: SumoSource
    aws: AwsServer
    bucket: str | None
    logged: int = 0
    """The first this many lines of the function had returned."""
    said: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    """Lost lines by reason, as the counters have it or, where it is more, the accounting."""

    def environment(self, variables: dict[str, str] | None = None, **options: Any) -> Environment:
        """Return an environment of the function."""
        task = self.folder / "task"
        task.mkdir()
        (task / "app.py").write_text(FUNCTION)
        given = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": self.source.url,
            "SUMO_LOG_TYPES": "function",
            "SUMO_FLUSH": "next",
            "SUMO_FLUSH_MAX_AGE_S": "0.1",
            "SUMO_NUM_RETRIES": "1",
            "SUMO_RETRY_SLEEP_TIME_MS": "10",
        }
        if self.bucket:
            given |= failover(self.aws, self.bucket)
        if self.source.url.startswith("https"):
            given["SSL_CERT_FILE"] = str(self.source.ca_file)
        given |= variables or {}
        return Environment(typical(), task, layer=self.layer, variables=given, **{"timeout_s": 10.0, **options})

    def end(self, env: Environment) -> None:
        """Shut the environment down, and keep what the layer has said of itself."""
        env.shutdown()
        self.said += [line.text for line in env.cloudwatch if "sumo-internal-extension:" in line.text]
        counts = counters.totals(str(env.tmp / "sumo-internal"))
        self.counted |= Counter({reason: lines for reason, (lines, _) in counts.items() if reason in counters.LOSSES})

    def stored(self) -> list[Record]:
        """Return the records in the bucket."""
        if not self.bucket:
            return []
        s3 = self.aws.client("s3")
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        bodies = [s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys]
        return [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]

    def outcome(self) -> str:
        """Say in words what became of the lines; the same for each run, whatever the batches were."""
        at_sumo, in_bucket = self.source.records, self.stored()
        arrived = {*_numbers(at_sumo), *_numbers(in_bucket)}
        missing = sorted({*range(self.logged)} - arrived)
        places = [name for name, there in (("Sumo Logic", at_sumo), ("S3", in_bucket)) if _numbers(there)]
        words = []
        if places:
            words.append(
                f"{'all' if not missing else 'the others'} at {' or in '.join(places)}".replace("at S3", "in S3")
            )
        if missing:
            words.insert(0, f"{'all' if not places else 'some'} lost, {self._explained(missing)}")
        again = Counter(record["id"] for record in [*at_sumo, *in_bucket])
        if any(count > 1 for count in again.values()):
            words.append("one batch twice" if max(again.values()) == 2 else "one batch several times")
        return "; ".join(words)

    def _explained(self, missing: list[int]) -> str:
        """Say how many losses were told: at Sumo Logic, or on stderr."""
        for record in [*self.source.records, *self.stored()]:
            if record["type"] == "sumo.accounting":
                self.counted |= Counter({name: lost["lines"] for name, lost in record["accounting"]["lost"].items()})
        if self.counted.total() >= len(missing):
            return f"counted as {', '.join(f'`{reason}`' for reason in sorted(self.counted))}"
        said = sum(int(number) for text in self.said for number in re.findall(r"(\d+) lines", text))
        return "said on stderr" if said >= len(missing) else "UNEXPLAINED"


def _numbers(records: list[Record]) -> list[int]:
    found = (_NUMBER.search(str(record["message"])) for record in records if record["type"] == "function")
    return [int(match[1]) for match in found if match]


def _wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for something that gives no sign."""
    deadline_s = time.monotonic() + _BOUND_S
    while not is_true():
        assert time.monotonic() < deadline_s, "it does not come about"
        threading.Event().wait(0.005)


def _is_acknowledged(env: Environment) -> bool:
    """Has the drainer read its answer?"""
    pending_bytes = 0
    for path in list_segments(str(env.tmp / "sumo-internal")):
        segment = Segment.open(path)
        pending_bytes += segment.pending_bytes
        segment.close()
    return pending_bytes == 0


def _settle(env: Environment) -> None:
    """Give a machine that is slow today more time: what is under way at SHUTDOWN may come twice."""
    for _ in range(5):
        if _is_acknowledged(env):
            return
        env.invoke([["sleep", 0.2]])


# What happens. Each logs lines 0, 1, …, has its fault in a phase of the request that carries the first, and ends with
# SHUTDOWN.


def source_breaks_once(stage: Stage, phase: Fault) -> None:
    """The connection breaks; the next request meets nothing."""
    stage.source.script([phase])
    _two_invocations(stage)


def source_breaks_always(stage: Stage, phase: Fault) -> None:
    """Every connection breaks, to the end."""
    stage.source.default = phase
    _two_invocations(stage)


def source_is_silent_always(stage: Stage, phase: Fault) -> None:
    """No connection breaks, and nothing comes any more, to the end."""
    stage.source.default = replace(phase, end=End.HANG)
    _two_invocations(stage)


def runtime_is_killed(stage: Stage, phase: Fault) -> None:
    """SIGKILL while the request is there, and the source silent."""
    stage.source.script([replace(phase, end=End.HANG)])
    with stage.environment() as env:
        env.start()
        handle = env.begin_invoke([["log", 0], ["sleep", 60]])
        stage.source.wait_for(lambda source: len(source.requests) == 1)
        if phase.at is Point.AFTER_ANSWER:
            _wait_until(lambda: _is_acknowledged(env))
        env.kill_runtime(signal.SIGKILL)
        handle.finish()
        stage.end(env)
    stage.logged = 1


def environment_freezes(stage: Stage, phase: Fault) -> None:
    """Frozen while the request is there; the source closes meanwhile."""
    stage.source.script([replace(phase, end=End.HANG)])
    with stage.environment() as env:
        env.start()
        handle = env.begin_invoke([["log", 0], ["sleep", 0.5]])
        stage.source.wait_for(lambda source: len(source.requests) == 1)
        env.freeze()
        stage.source.drop_connections()
        env.thaw()
        handle.finish()
        env.invoke([["log", 1], _SHIP])
        _settle(env)
        stage.end(env)
    stage.logged = 2


def _two_invocations(stage: Stage) -> None:
    with stage.environment() as env:
        env.start()
        handle = env.begin_invoke([["log", 0], _SHIP])
        stage.source.wait_for(lambda source: len(source.requests) >= 1)
        assert handle.finish().status == "success"
        assert env.invoke([["log", 1], _SHIP]).status == "success"
        _settle(env)
        stage.end(env)
    stage.logged = 2


def killed(stage: Stage) -> None:
    """SIGKILL in the middle of logging; until then the source is silent."""
    note = stage.folder / "note"
    stage.source.default = HANG
    with stage.environment() as env:
        env.start()
        handle = env.begin_invoke([["endless", str(note)]])
        _wait_until(lambda: note.exists() and int(note.read_text() or 0) >= 300)
        stage.source.default = Fault()
        env.kill_runtime(signal.SIGKILL)
        handle.finish()
        stage.end(env)
    stage.logged = int(note.read_text() or 0) + 1


def timed_out(stage: Stage) -> None:
    """The function's timeout, and a second generation."""
    with stage.environment(timeout_s=1.0) as env:
        env.start()
        assert env.invoke([["log", 0], ["sleep", 5]]).status == "timeout"
        env.invoke([["log", 1], _SHIP])
        _settle(env)
        stage.end(env)
    stage.logged = 2


def out_of_memory(stage: Stage) -> None:
    """The kernel kills for want of memory."""
    with stage.environment({"SUMO_FLUSH_MAX_AGE_S": "60"}, memory_mb=128, memory_limited=True) as env:
        if "memory" in env.missing:
            pytest.skip(env.missing["memory"])
        env.start()
        crash = env.invoke([["log", 0], _SHIP, ["log", 1], ["allocate", 300 << 20]])
        assert crash.error is not None and crash.error.error_type == "Runtime.OutOfMemory"
        stage.end(env)
    stage.logged = 2


def disk_full(stage: Stage) -> None:
    """The function fills /tmp, logs three megabytes, frees it again, logs more."""
    with stage.environment(isolated=True, tmp_size_mb=4) as env:
        env.start()
        stage.source.default = HANG  # else room would be made meanwhile
        env.invoke([["log", 0], ["fill", 0], ["many", 1], ["many", 1001]])
        stage.source.default = Fault()
        stage.source.drop_connections()
        # Refused once by the disk, the spool does not ask it again for a tenth of a second.
        env.invoke([["free", 0], ["sleep", 0.3], ["many", 2001], ["sleep", 0.3]])
        stage.end(env)
    stage.logged = 3001


def disk_full_from_the_start(stage: Stage) -> None:
    """Not a byte is left in /tmp, and never will be."""
    with stage.environment(isolated=True, tmp_size_mb=2) as env:
        fill(env.tmp)
        env.start()
        assert env.invoke([["log", 0], ["log", 1]]).status == "success"
        assert env.invoke([["sleep", 0.3]]).status == "success"
        stage.end(env)
    stage.logged = 2


def disk_full_for_good(stage: Stage) -> None:
    """The function fills /tmp and leaves it so: it logs on, for several megabytes, and is killed at last."""
    with stage.environment(isolated=True, tmp_size_mb=4) as env:
        env.start()
        env.invoke([["log", 0], ["fill", 0], ["many", 1], ["many", 1001]])
        for first in (2001, 3001, 4001, 5001):
            assert env.invoke([["many", first], ["fill", 0], ["sleep", 0.2]]).status == "success"
        stage.source.default = HANG
        killed = env.begin_invoke([["many", 6001], ["many", 7001], ["sleep", 60]])
        _wait_until(lambda: any("<8000>" in line.text for line in env.cloudwatch))
        env.kill_runtime(signal.SIGKILL)
        stage.source.default = Fault()
        stage.source.drop_connections()
        killed.finish()
        stage.end(env)
    stage.logged = 8001


def spool_full(stage: Stage) -> None:
    """Nobody takes anything, and the function logs more than SUMO_SPOOL_MAX_MB; then Sumo Logic is back."""
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    stage.source.default = Fault(503)
    with stage.environment({"SUMO_SPOOL_MAX_MB": "3", **nobody}) as env:
        env.start()
        assert env.invoke([["many", first] for first in range(0, 8000, 1000)]).status == "success"
        stage.source.default = Fault()
        stage.end(env)
    stage.logged = 8000


def source_unreachable_at_shutdown(stage: Stage) -> None:
    """Nothing was sent before SHUTDOWN, and a connect is never answered."""
    stage.source.pause_listening(silent=True)
    with stage.environment({"SUMO_FLUSH_MAX_AGE_S": "60"}) as env:
        env.start()
        env.invoke([["log", 0]])
        stage.end(env)
    stage.logged = 1


def no_name(stage: Stage) -> None:
    """The endpoint's name does not resolve: too long for any name server to be asked."""
    with stage.environment({"SUMO_HTTP_ENDPOINT": f"https://{'.'.join(['a' * 60] * 5)}/receiver"}) as env:
        env.start()
        env.invoke([["log", 0], _SHIP])
        _settle(env)
        stage.end(env)
    stage.logged = 1


def no_name_server(stage: Stage) -> None:
    """The name server that is asked does not answer, for half a minute and more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server:
        name_server.bind((NAME_SERVER, 53))
        where = {"isolated": True, "name_server": NAME_SERVER}
        with stage.environment({"SUMO_HTTP_ENDPOINT": "https://collectors.test/receiver"}, **where) as env:
            env.start()
            assert env.invoke([["log", 0], _SHIP]).status == "success"
            assert env.invoke([["log", 1]]).status == "success"
            stage.end(env)
    stage.logged = 2


def redirected(stage: Stage) -> None:
    """To another path of the same host, for each request; then it is taken."""
    stage.source.script([redirect(status, stage.source.url) for status in (301, 302, 307, 308)])
    _two_invocations(stage)


def redirected_elsewhere(stage: Stage) -> None:
    """To an address that is not Sumo Logic's."""
    stage.source.default = redirect(302, "https://127.0.0.1:9/receiver")
    _two_invocations(stage)


def tls(stage: Stage) -> None:
    """Each request has its connection broken once, under TLS."""
    stage.source.script([PHASES["body half out"], Fault(), PHASES["headers out"]])
    _two_invocations(stage)


def tls_unknown(stage: Stage) -> None:
    """Nobody vouches for the source's certificate."""
    with stage.environment({"SSL_CERT_FILE": "/etc/hostname"}) as env:
        env.start()
        assert env.invoke([["log", 0], _SHIP]).status == "success"
        stage.end(env)
    stage.logged = 1


def tmp_emptied(stage: Stage) -> None:
    """The function empties /tmp between its lines, twice, before anybody has taken them."""
    with stage.environment({"SUMO_FLUSH_MAX_AGE_S": "0.3"}) as env:
        env.start()
        env.invoke([["log", 0], ["empty", 0], ["log", 1], ["sleep", 0.6]])
        env.invoke([["log", 2], ["empty", 0], ["log", 3]])
        env.invoke([["log", 4], ["sleep", 0.6]])
        for _ in range(5):  # what is in a removed segment goes down with its process, and _settle does not see it
            if {*range(5)} - {*_numbers(stage.source.records)}:
                env.invoke([["sleep", 0.5]])
        stage.end(env)
    stage.logged = 5


def source_is_slow(stage: Stage) -> None:
    """Each answer takes longer than an invocation may be held for."""
    stage.source.default = Fault(delay_s=2.3)
    with stage.environment({"SUMO_FLUSH": "end"}) as env:
        env.start()
        for number in range(4):
            assert env.invoke([["log", number], ["sleep", 0.5]]).status == "success"
        _settle(env)
        stage.source.default = Fault()
        _settle(env)
        stage.end(env)
    stage.logged = 4


def small_batches_only(stage: Stage) -> None:
    """Something on the way takes 20,000 bytes of lines, and answers 413 to more."""
    with stage.environment() as env:
        env.start()
        assert env.invoke([["many", 0], _SHIP]).status == "success"
        _settle(env)
        stage.end(env)
    stage.logged = 1000


def retry_after_a_day(stage: Stage) -> None:
    """The first request is answered with 429 and a Retry-After of a day; the source would take all the others."""
    stage.source.script([Fault(429, {"Retry-After": "86400"})])
    _two_invocations(stage)


def no_descriptors(stage: Stage) -> None:
    """The function has taken every descriptor of its process, for good."""
    with stage.environment({"SUMO_FLUSH": "end"}) as env:
        env.start()
        assert env.invoke([["log", 0], ["starve", None]]).status == "success"
        for number in range(1, 4):
            assert env.invoke([["log", number]]).status == "success"
        stage.end(env)
    stage.logged = 4


def sockets_refused(stage: Stage) -> None:
    """An audit hook of the function's own refuses everything that begins with a socket."""
    with stage.environment({"SUMO_FLUSH": "end"}) as env:
        env.start()
        assert env.invoke([["refuse", "socket."], ["log", 0]]).status == "success"
        for number in range(1, 4):
            assert env.invoke([["log", number]]).status == "success"
        stage.end(env)
    stage.logged = 4


def tmp_emptied_and_killed(stage: Stage) -> None:
    """Each invocation leaves an empty /tmp and unsent lines; then nobody takes any, and the process is killed."""
    with stage.environment({"SUMO_FLUSH_MAX_AGE_S": "60"}) as env:
        env.start()
        stage.source.default = HANG
        for number in range(3):
            assert env.invoke([["log", number], ["empty", 0]]).status == "success"
        killed = env.begin_invoke([["log", 3], ["sleep", 0.1], ["log", 4], ["sleep", 60]])
        _wait_until(
            lambda: any("<4>" in line.text for line in env.cloudwatch)
        )  # so 3 is in the spool, and 4 about to be
        env.kill_runtime(signal.SIGKILL)
        stage.source.default = Fault()
        stage.source.drop_connections()
        killed.finish()
        stage.end(env)
    stage.logged = 4


def two_drainers(stage: Stage) -> None:
    """Another process drains the same spool, all the time."""
    with stage.environment() as env:
        env.start()
        other = SecondDrainer(env.tmp / "sumo-internal", stage.source.url, {})
        for number in range(6):
            env.invoke([["log", number], ["sleep", 0.15]])
        _settle(env)
        other.close()
        stage.end(env)
    stage.logged = 6


def large_line(stage: Stage) -> None:
    """One line of 5 MiB: more than five requests."""
    with stage.environment({"SUMO_FLUSH": "end"}) as env:
        env.start()
        assert env.invoke([["large", 5 << 20]]).status == "success"
        _settle(env)
        stage.end(env)
    stage.logged = 2


FAULTS: dict[str, Callable[[Stage, Fault], None]] = {
    "the connection breaks once": source_breaks_once,
    "every connection breaks, to the end": source_breaks_always,
    "silence, to the end": source_is_silent_always,
    "the runtime is killed (SIGKILL)": runtime_is_killed,
    "the environment freezes, the source closes": environment_freezes,
}
SMALL_BATCHES = "413 to more than 20,000 bytes"
OTHERS: dict[str, Callable[[Stage], None]] = {
    "SIGKILL in the middle of logging": killed,
    "the function's timeout, a new generation": timed_out,
    "out of memory": out_of_memory,
    "/tmp is full for a while": disk_full,
    "/tmp is full for good, then SIGKILL": disk_full_for_good,
    "/tmp is full from the start": disk_full_from_the_start,
    "the spool is full (SUMO_SPOOL_MAX_MB), S3 is gone": spool_full,
    "SHUTDOWN, and Sumo Logic cannot be reached": source_unreachable_at_shutdown,
    "the endpoint's name does not resolve": no_name,
    "the name server does not respond": no_name_server,
    "redirected on the same host, each time": redirected,
    "redirected elsewhere, to the end": redirected_elsewhere,
    "TLS, each connection breaks once": tls,
    "TLS, nobody vouches for the source": tls_unknown,
    "the function empties /tmp, twice": tmp_emptied,
    SMALL_BATCHES: small_batches_only,
    "a Retry-After of a day, once": retry_after_a_day,
    "each response takes 2.3 s": source_is_slow,
    "no descriptor is left in the function's process": no_descriptors,
    "an audit hook of the function's rejects sockets": sockets_refused,
    "the function empties /tmp each time, then SIGKILL": tmp_emptied_and_killed,
    "two drainers": two_drainers,
    "a line of 5 MiB": large_line,
}
ROWS: dict[tuple[str, str], Callable[[Stage], None]] = {
    **{
        (name, phase): lambda stage, play=play, fault=fault: play(stage, fault)  # type: ignore[misc]  # defaults bind
        for name, play in FAULTS.items()
        for phase, fault in PHASES.items()
        if phase in LASTING or not name.endswith("to the end")
    },
    **{
        (f"{name}, to the end", "response"): lambda stage, fault=fault: source_breaks_always(stage, fault)  # type: ignore[misc]
        for name, fault in ANSWERS.items()
    },
    ("413, to the end", "response"): _two_invocations,
    **{(name, ""): play for name, play in OTHERS.items()},
}
COLUMNS = {"with a bucket": True, "without": False}
NEED_ROOT = (
    "/tmp is full for a while",
    "/tmp is full for good, then SIGKILL",
    "/tmp is full from the start",
    "out of memory",
    "the name server does not respond",
)

TEXT = """# What becomes of the lines when something fails

In short: a kill, a timeout, a freeze and a connection that breaks lose no line. With a failover bucket neither does a
Sumo Logic that rejects lines, is silent or cannot be reached. Without one, lines are lost that no destination accepts
until SHUTDOWN, and it is said how many. Lines for which there is no room are lost and counted.

`tests/test_failures.py` writes this table (`WRITE_FAILURES=1 python -m pytest tests/test_failures.py`) from what
happened in its run: a real runtime with the layer in a model of Lambda's environment, against a loopback source. Each
row logs its lines, has its fault, and ends with SHUTDOWN. *With a bucket* means `SUMO_ENABLE_FAILOVER=true` and a
bucket that works.

A batch that comes twice has the same `id`s ([each line once](records.md#each-line-once)). *Said on stderr* are lines
that stay in the spool until the environment is gone, because no destination accepts them, or whose count had no room
in /tmp: there is a line that says how many. *Counted* are lines for which there was no room, or which Sumo Logic
rejects permanently; the reason is the one in `sumo.accounting`.

"""


@pytest.fixture(scope="session")
def document() -> Iterator[dict[tuple[str, str, str], str]]:
    """The cells, as they are committed; or written, when all are there."""
    cells: dict[tuple[str, str, str], str] = {}
    if IS_WRITING:
        yield cells
        _, title, section = PAGE.read_text().partition(TITLE)
        PAGE.write_text(TEXT + "\n".join(_table(cells)) + f"\n\n{title}{section}")
        return
    for line in PAGE.read_text().partition(TITLE)[0].splitlines():
        if line.startswith("| "):
            what, when, *texts = (text.strip() for text in line.strip("|").split("|"))
            cells |= {(what, when, column): text for column, text in zip(COLUMNS, texts, strict=True)}
    yield cells


def _table(cells: dict[tuple[str, str, str], str]) -> Iterator[str]:
    yield f"| what happens | phase of the request | {' | '.join(COLUMNS)} |"
    yield "| --- | --- | --- | --- |"
    for what, when in ROWS:
        yield f"| {what} | {when} | {' | '.join(cells[what, when, column] for column in COLUMNS)} |"


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(filter(None, row)))
def test_what_becomes_of_the_lines(
    row: tuple[str, str],
    column: str,
    document: dict[tuple[str, str, str], str],
    layer_folder: Path,
    aws_server: AwsServer,
    tmp_path: Path,
) -> None:
    """Whatever reached the spool is at Sumo Logic, in S3, or told to be lost: as the documentation says."""
    if row[0] in NEED_ROOT and (reason := Environment.isolation_available()):
        pytest.skip(reason)
    bucket = None
    with contextlib.ExitStack() as stack:
        if COLUMNS[column]:
            bucket = f"failures-{list(ROWS).index(row)}"
            place = {"LocationConstraint": REGION}
            aws_server.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        limit_bytes = {"413, to the end": 100, SMALL_BATCHES: 20_000}.get(row[0])
        source = stack.enter_context(SumoSource(connections=4, limit_bytes=limit_bytes, tls=row[0][:3] == "TLS"))
        stage = Stage(tmp_path, layer_folder, source, aws_server, bucket)
        ROWS[row](stage)
        outcome = stage.outcome()
        problems = source.problems
    if IS_WRITING:
        document[row[0], row[1], column] = outcome
    assert "UNEXPLAINED" not in outcome, stage.said
    assert problems == []
    documented = document[row[0], row[1], column]
    # A kill at any instant may meet a request that is under way, which then comes twice: that is promised of no row.
    may_come_twice = f"{documented}; one batch twice" if row[0].startswith("SIGKILL in") else documented
    assert outcome in (documented, may_come_twice)
