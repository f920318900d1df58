"""``make soak``: minutes of random faults, and then the books: logged = delivered + in S3 + counted.

One environment of the model after the other, each with the real layer and a function that numbers its lines: the
source throttles, fails, refuses, redirects, resets, hangs, drips, lies and loses answers, with TLS or without; names
do not resolve; the failover bucket refuses, is slow or is gone; a second drainer takes its turn; the function fills
/tmp; the environment freezes at random instants; the runtime is killed, runs into its timeout, is shut down, and comes
back in the same /tmp. What happens is ``faults``', what became of the lines is ``books``' to say.

A seed decides what is to happen; when exactly it happens, and so what comes of it, is the machine's affair. The exit
code is 1 if a line is missing that no counter has, if one was changed on its way, if more came twice than was counted
as sent again or was under way when an answer did not come, or if the source has something to complain about.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from random import Random
from secrets import randbelow
from typing import Any

from aws_server import REGION, AwsServer
from model import Environment, Handle, ModelStuck
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from runtimes import Runtime, interpreters, runtimes
from sumo_rules import Record
from sumo_source import ACCEPT, SumoSource, redirect

from layer.build import build, unpack
from soak.books import FUNCTION, Books, balance
from soak.faults import DOORS, FAULTS, Door, Names, SecondDrainer

RUN_S = 20.0
"""For one environment, and its last shutdowns on top."""
TIMEOUT_S = 4.0
CONNECTIONS = 16
"""At a time; forked children hold on to those of their parent."""
INTERRUPTING = ("freeze", "exit", "SIGTERM", "SIGKILL")
"""What of the environment's timeline leaves a batch without its answer."""
LISTED_MAX = 30
"""Of what is wrong; everything is counted."""
SMALL_TMP_MB = 6
"""Where the function fills /tmp: room for a few segments, and full within milliseconds."""
OUTSIDE = Path("/run")
"""Where isolated environments see the machine's files: /tmp is their own."""


class Run:
    """One environment, from its first start to its books."""

    def __init__(self, number: int, draw: Random, runtime: Runtime, layer: Path, aws: AwsServer, folder: Path) -> None:
        self._draw = draw
        self._runtime = runtime
        self._layer = layer
        self._aws = aws
        self._folder = folder
        self._tmp = folder / "tmp"
        self._is_tls = draw.random() < 0.3
        self._is_small = draw.random() < 0.2 and Environment.isolation_available() is None
        self._has_second_drainer = draw.random() < 0.3 and not self._is_small
        self._bucket = f"soak-{number}" if draw.random() < 0.5 else None
        self._limit_bytes = draw.choice((None, None, None, 30_000, 200_000))
        self._spool_max_mb = draw.choice((None, None, 3, 8))
        self._flush = draw.choice(("auto", "end", "next"))
        self._is_healed = draw.random() < 0.8
        self._interrupted_at_s: list[float] = []
        self.happened: Counter[str] = Counter()

    @property
    def setting(self) -> str:
        """What this run was given, in a few words."""
        return ", ".join(
            [
                str(self._runtime.id),
                self._flush,
                "bucket" if self._bucket else "no bucket",
                *([f"{self._spool_max_mb} MB of spool"] if self._spool_max_mb else []),
                *([f"at most {self._limit_bytes} B a batch"] if self._limit_bytes else []),
                *(["TLS"] if self._is_tls else []),
                *([f"{SMALL_TMP_MB} MB of /tmp"] if self._is_small else []),
                *(["a second drainer"] if self._has_second_drainer else []),
                *([] if self._is_healed else ["never healed"]),
            ]
        )

    def go(self, until_s: float) -> Books:
        """Run until then, and draw up the books."""
        with contextlib.ExitStack() as stack:
            place = OUTSIDE if self._is_small else self._folder
            self._notes = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sumo-soak-", dir=place)))
            self._notes.chmod(0o777)
            self._names = Names(self._notes.with_suffix(".hang"))
            stack.callback(self._names.resolve)
            if self._bucket:
                region = {"LocationConstraint": REGION}
                self._aws.client("s3").create_bucket(Bucket=self._bucket, CreateBucketConfiguration=region)
            self._source = stack.enter_context(
                SumoSource(connections=CONNECTIONS, limit_bytes=self._limit_bytes, tls=self._is_tls)
            )
            self._door = stack.enter_context(Door(self._aws.port))
            with self._environment() as env, ThreadPoolExecutor(1) as waiting:
                self._live(env, waiting, until_s)
                return self._books(env)

    def _live(self, env: Environment, waiting: ThreadPoolExecutor, until_s: float) -> None:
        """Have one invocation after the other, and everything that happens meanwhile."""
        env.start()
        second = None
        if self._has_second_drainer:
            second = SecondDrainer(env.tmp / "sumo-internal", self._source.url, self._trust)
            self.happened["second drainer"] += 1
        for number in itertools.count():
            self._invoke(env, waiting, number)
            if time.monotonic() > until_s:
                break
            self._between(env)
        if second is not None:
            second.close()
        self._end(env)
        self._interrupted_at_s += [event.at_s for event in env.timeline if event.kind in INTERRUPTING]

    def _books(self, env: Environment) -> Books:
        books = balance(
            self._notes,
            env.tmp / "sumo-internal",
            self._source.requests,
            list(self._stored()),
            interrupted_at_s=self._interrupted_at_s,
            puts_unanswered=self._door.answers_lost,
        )
        books.wrong += [f"the source complains: {problem}" for problem in self._source.problems]
        return books

    @property
    def _url(self) -> str:
        """The endpoint, with a name that has to be looked up."""
        return self._source.url.replace("127.0.0.1", "localhost")

    @property
    def _trust(self) -> dict[str, str]:
        """The variable that makes a client trust the source."""
        if not self._is_tls:
            return {}
        authority = self._notes.with_suffix(".pem")
        authority.write_bytes(self._source.ca_file.read_bytes())
        return {"SSL_CERT_FILE": str(authority)}

    def _environment(self) -> Environment:
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": self._url,
            **self._names.variables,
            **self._trust,
            "SUMO_LOG_TYPES": "function",
            "SUMO_FLUSH": self._flush,
            "SUMO_FLUSH_MAX_AGE_S": "0.5",
            "SUMO_RETRY_SLEEP_TIME_MS": "100",
            **({"SUMO_SPOOL_MAX_MB": str(self._spool_max_mb)} if self._spool_max_mb else {}),
        }
        if self._bucket:
            variables |= {
                "SUMO_ENABLE_FAILOVER": "true",
                "SUMO_S3_BUCKET_NAME": self._bucket,
                "SUMO_S3_BUCKET_REGION": REGION,
                "AWS_ENDPOINT_URL": self._door.url,
            }
        where: dict[str, Any] = (
            {"isolated": True, "tmp_size_mb": SMALL_TMP_MB} if self._is_small else {"tmp": self._tmp}
        )
        return Environment(
            self._runtime, FUNCTION, layer=self._layer, variables=variables, timeout_s=TIMEOUT_S, **where
        )

    def _invoke(self, env: Environment, waiting: ThreadPoolExecutor, number: int) -> None:
        """Run one invocation; while it does, things happen."""
        draw = self._draw
        self._change_weather()
        event: dict[str, Any] = {
            "name": f"i{number}",
            "notes": str(self._notes),
            "lines": int(300 ** draw.random()),
            "threads": draw.choice((0, 0, 1, 3)),
            "forks": draw.choice((0, 0, 0, 1, 2)),
            "sleep_s": draw.choice((0, 0, 0.05, 0.3, 0.8)) if draw.random() < 0.95 else 60.0,
            "fills": False,
        }
        is_killed = draw.random() < 0.15
        if self._is_small:
            # Where there is no room for a count either, it does not outlive its process: no process is killed, and
            # there are no children, which would begin theirs on a full disk.
            event |= {"fills": draw.random() < 0.5, "forks": 0, "sleep_s": min(1.0, event["sleep_s"])}
            is_killed = False
            self.happened["/tmp filled"] += event["fills"]
        handle: Handle = env.begin_invoke(event)
        over = waiting.submit(handle.finish)
        while not wait([over], draw.uniform(0.0, 0.3)).done:
            what = draw.random()
            if is_killed and what < 0.3:
                with contextlib.suppress(ModelStuck, ProcessLookupError):  # it has just ended by itself
                    self._interrupted_at_s.append(time.time())
                    env.kill_runtime(signal.SIGKILL)
                    self.happened["kill"] += 1
            elif what < 0.6:
                self._change_weather()
            else:
                env.freeze()
                self.happened["freeze"] += 1
                if not wait([over], 10 ** draw.uniform(-3.0, 0.0)).done:
                    env.thaw()
        self.happened["invocation"] += 1
        self.happened[over.result().status] += 1

    def _between(self, env: Environment) -> None:
        """What happens while the environment is frozen: nothing, for some time; or its shutdown."""
        draw = self._draw
        if draw.random() < 0.15:
            self._change_weather()
            env.shutdown()
            self.happened["shutdown"] += 1
        if draw.random() < 0.2:
            self._hang_up()
        time.sleep(draw.choice((0.0, 0.0, 0.05, 0.3)))

    def _end(self, env: Environment) -> None:
        """Shut down; where the weather clears up at last, with two more generations to take what was left."""
        env.shutdown()
        if self._is_healed:
            self._clear_up()
            for number in range(2):
                quiet = {"name": f"q{number}", "notes": str(self._notes), "lines": 1, "threads": 0, "forks": 0}
                env.invoke({**quiet, "sleep_s": 0.5, "fills": False})
                env.shutdown()
        self.happened["shutdown"] += 3

    def _hang_up(self) -> None:
        self._interrupted_at_s.append(time.time())
        self._source.drop_connections()
        self._interrupted_at_s.append(time.time())

    def _clear_up(self) -> None:
        self._names.resolve()
        self._source.resume_listening()
        self._source.default = ACCEPT
        self._hang_up()
        self._door.state = "open"

    def _change_weather(self) -> None:
        draw = self._draw
        kind = draw.random()
        if kind < 0.4:
            self._clear_up()
            self._door.state = draw.choice(DOORS)
            if draw.random() < 0.2:
                self._source.script([redirect(draw.choice((301, 302, 307, 308)), self._url)] * 3)
                self.happened["redirect"] += 1
        elif kind < 0.5:
            self._source.pause_listening(silent=draw.random() < 0.5)
            self._hang_up()
            self.happened["nobody listens"] += 1
        elif kind < 0.6:
            self._names.hang()
            self._hang_up()
            self.happened["the name does not resolve"] += 1
        else:
            self._door.state = draw.choice(DOORS)
            self._source.resume_listening()
            name = draw.choice(list(FAULTS))
            self._source.default = FAULTS[name]
            self.happened[name] += 1
            if draw.random() < 0.3:
                self._hang_up()

    def _stored(self) -> Iterator[list[Record]]:
        """Yield the records of each object in the bucket."""
        if not self._bucket:
            return
        s3 = self._aws.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket):
            for entry in page.get("Contents", []):
                body = s3.get_object(Bucket=self._bucket, Key=entry["Key"])["Body"].read()
                yield [json.loads(line) for line in gzip.decompress(body).splitlines()]


def soak(console: Console, minutes: float, seed: int, layer: Path, run_s: float = RUN_S) -> tuple[Books, Counter[str]]:
    """Run one environment after the other, and return the books of all.

    Args:
        console: Where progress and a line for each environment go.
        minutes: How long.
        seed: What is to happen.
        layer: The unpacked layer.
        run_s: For one environment.
    """
    total, happened = Books(), Counter[str]()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=console, transient=True))
        bar = progress.add_task("starting", total=minutes * 60)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sumo-soak-")))
        aws = stack.enter_context(AwsServer())
        begun_s = time.monotonic()
        end_s = begun_s + minutes * 60
        runs = itertools.count(1)
        while (now_s := time.monotonic()) < end_s:
            number = next(runs)
            draw = Random(f"{seed}/{number}")
            own = folder / f"run-{number}"
            own.mkdir()
            run = Run(number, draw, draw.choice(runtimes()), layer, aws, own)
            progress.update(bar, description=f"run {number}: {run.setting}", completed=now_s - begun_s)
            books = run.go(min(end_s, now_s + run_s))
            console.print(_row(number, run, books))
            total.add(books)
            happened += run.happened
    return total, happened


def _row(number: int, run: Run, books: Books) -> str:
    verdict = "[red]WRONG[/red]" if books.wrong else "[green]balanced[/green]"
    return (
        f"{number:3} {verdict} {books.logged:6} logged = {books.at_sumo} at Sumo + {books.in_bucket} in S3 "
        f"+ {books.counted} counted + {books.in_spool} left   [dim]{run.setting}[/dim]"
    )


def _tables(total: Books, happened: Counter[str]) -> Iterator[Table]:
    def table(title: str, rows: dict[str, Any]) -> Table:
        made = Table(title=f"\n{title}", title_justify="left", title_style="bold", show_header=False)
        made.add_column()
        made.add_column(justify="right")
        for name, value in rows.items():
            made.add_row(name, str(value))
        return made

    yield table("What happened", dict(sorted(happened.items())))
    yield table("What the environments counted, in records", dict(sorted(total.counts.items())))
    yield table(
        "What became of the lines",
        {
            "logged": total.logged,
            "at Sumo Logic": total.at_sumo,
            "in S3": total.in_bucket,
            "lost, and counted": total.counted,
            "left in the spool": total.in_spool,
            "unexplained (records)": total.unexplained,
            "came again (records)": total.doubled,
        },
    )


def main() -> int:
    """Run the soak and return its exit code."""
    parser = argparse.ArgumentParser(description="Random faults, and whether every line is accounted for.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long; 10 by default")
    parser.add_argument("--seed", type=int, default=randbelow(1_000_000), help="what is to happen; drawn by default")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {options.seed}, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="sumo-soak-layer-") as layer:
        unpack(build(interpreters()), Path(layer))
        total, happened = soak(console, options.minutes, options.seed, Path(layer))
    for table in _tables(total, happened):
        console.print(table)
    for line in total.wrong[:LISTED_MAX]:
        console.print(line, style="red", markup=False)
    if len(total.wrong) > LISTED_MAX:
        console.print(f"and {len(total.wrong) - LISTED_MAX} more", style="red")
    if total.wrong:
        console.print(f"\nThe books do not balance. Seed {options.seed}.", style="bold red")
        return 1
    console.print(
        "\nlogged = delivered + in S3 + counted (+ left in the spool): nothing is unexplained.", style="green"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
