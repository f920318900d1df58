"""``make soak``: minutes of random faults, and then the books: logged = delivered + in S3 + in CloudWatch + counted.

One environment of the model after the other, each with the real layer and a function that numbers its lines: the
source throttles, fails, refuses, redirects, resets, hangs, drips, lies and loses answers, with TLS or without; names
do not resolve; the failover bucket refuses, is slow or is gone; a second drainer takes its turn. The function fills
/tmp, from the start, for a while or for good, empties it, gives it to everybody, forks by the hundred, uses up its
descriptors, writes odd records, lines below its level and text without a line end, or makes a handler of ours late and
without the wrapper. CloudWatch is spared, lines below the level are held, and invocations have summaries, or not.
The environment freezes at random instants; the runtime is killed, runs into its timeout, is shut down, and comes back
in the same /tmp. What happens outside is ``faults``', what became of the lines is ``books``' to say.

A seed decides what is to happen; when exactly it happens, and so what comes of it, is the machine's affair. The exit
code is 1 if a line is missing that no counter has, if one was changed on its way, if more came twice than was counted
as sent again or was under way when an answer did not come, or if the source has something to complain about.

What is promised nowhere is not tried: a kill of a process whose lines Lambda alone has. Nor are counts looked for that
the function itself has removed: where /tmp is emptied, nothing happens that would have to be counted.
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
from soak.books import FUNCTION, HELD_LOGGER, Books, balance, wrongly_held
from soak.faults import DOORS, FAULTS, Door, Names, SecondDrainer

RUN_S = 20.0
"""For one environment, and its last shutdowns on top."""
TIMEOUT_S = 4.0
CONNECTIONS = 16
"""At a time; forked children hold on to those of their parent."""
INTERRUPTING = ("freeze", "exit", "SIGTERM", "SIGKILL")
"""What of the environment's timeline leaves a batch without its answer."""
LISTED_MAX = 30
"""Of what is wrong in an environment; everything is counted."""
SMALL_TMP_MB = 6
"""Where the function fills /tmp: room for a few segments, and full within milliseconds."""
OUTSIDE = Path("/run")
"""Where isolated environments see the machine's files: /tmp is their own."""
WRAPPED = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper"}
DROPINS = ("0", "1.2", "call")
"""When a handler of ours is made where there is no wrapper: seconds after the import began, or in the second call."""
QUIET: dict[str, Any] = {
    "acts": [],
    "lines": 1,
    "threads": 0,
    "forks": 0,
    "crowd": 0,
    "is_queue": False,
    "starves": False,
    "leaves_text": False,
    "frees": True,
    "sleep_s": 0.5,
}
"""An invocation in which nothing happens but a line."""


class Run:
    """One environment, from its first start to its books."""

    def __init__(self, number: int, draw: Random, runtime: Runtime, layer: Path, aws: AwsServer, folder: Path) -> None:
        self._draw = draw
        self._runtime = runtime
        self._layer = layer
        self._aws = aws
        self._folder = folder
        self._tmp = folder / "tmp"
        is_isolated = draw.random() < 0.5 and Environment.isolation_available() is None
        self._is_tls = draw.random() < 0.3 and not is_isolated
        self._is_small = is_isolated and draw.random() < 0.6
        self._is_isolated = is_isolated
        self._has_second_drainer = draw.random() < 0.3 and not is_isolated
        self._bucket = f"soak-{number}" if draw.random() < 0.5 else None
        self._limit_bytes = draw.choice((None, None, None, 30_000, 200_000))
        self._spool_max_mb = draw.choice((None, None, 3, 8))
        self._flush = draw.choice(("auto", "end", "next"))
        self._dropin = draw.choice(DROPINS) if draw.random() < 0.15 else ""
        self._is_emptied = draw.random() < 0.2
        self._fills_at_start = self._is_small and draw.random() < 0.3
        self._is_healed = draw.random() < 0.8
        if self._is_emptied:  # with the drainers' lock
            self._limit_bytes = self._spool_max_mb = None
            self._has_second_drainer = False
        self._settings = {} if self._dropin else recorder_settings(draw)
        self._succeeded: set[str] = set()
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
                *(["isolated"] if self._is_isolated else []),
                *([f"{SMALL_TMP_MB} MB of /tmp"] if self._is_small else []),
                *(["full from the start"] if self._fills_at_start else []),
                *(["emptied"] if self._is_emptied else []),
                *([f"a late handler ({self._dropin})"] if self._dropin else []),
                *(["a second drainer"] if self._has_second_drainer else []),
                *([] if self._is_healed else ["never healed"]),
                *(f"{name.removeprefix('SUMO_')}={value}" for name, value in self._settings.items()),
            ]
        )

    def go(self, until_s: float) -> Books:
        """Run until then, and draw up the books."""
        with contextlib.ExitStack() as stack:
            place = OUTSIDE if self._is_isolated else self._folder
            self._notes = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sumo-soak-", dir=place)))
            self._notes.chmod(0o777)
            self._names = Names() if self._is_isolated else None
            if self._names is not None:
                stack.callback(self._names.close)
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
            are_counts_whole=not (self._is_emptied or self._is_small),
            cloudwatch=env.cloudwatch,
        )
        books.wrong += wrongly_held(self._source.records, self._succeeded, (line.text for line in env.cloudwatch))
        books.wrong += [f"the source complains: {problem}" for problem in self._source.problems]
        return books

    @property
    def _url(self) -> str:
        """The endpoint, with a name that has to be looked up."""
        return self._source.url.replace("127.0.0.1", "localhost" if self._names is None else Names.NAME)

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
            **({"SOAK_DROPIN_DELAY_S": self._dropin} if self._dropin else WRAPPED),
            **({"SOAK_FILLS_AT_START": "1"} if self._fills_at_start else {}),
            "SUMO_HTTP_ENDPOINT": self._url,
            **self._trust,
            "SUMO_LOG_TYPES": "function",
            "SUMO_FLUSH": self._flush,
            "SUMO_FLUSH_MAX_AGE_S": "0.5",
            "SUMO_RETRY_SLEEP_TIME_MS": "100",
            **self._settings,
            **({"SUMO_SPOOL_MAX_MB": str(self._spool_max_mb)} if self._spool_max_mb else {}),
        }
        if self._bucket:
            variables |= {
                "SUMO_ENABLE_FAILOVER": "true",
                "SUMO_S3_BUCKET_NAME": self._bucket,
                "SUMO_S3_BUCKET_REGION": REGION,
                "AWS_ENDPOINT_URL": self._door.url,
            }
        where: dict[str, Any] = {"tmp_size_mb": SMALL_TMP_MB} if self._is_small else {"tmp": self._tmp}
        if self._names is not None:
            where |= {"isolated": True, "name_server": self._names.address}
        return Environment(
            self._runtime, FUNCTION, layer=self._layer, variables=variables, timeout_s=TIMEOUT_S, **where
        )

    def _invoke(self, env: Environment, waiting: ThreadPoolExecutor, number: int) -> None:
        """Run one invocation; while it does, things happen."""
        draw = self._draw
        self._change_weather()
        event = self._event(number)
        is_safe = self._dropin != "call"
        is_killed = draw.random() < 0.15 and is_safe
        if not is_safe:
            event["sleep_s"] = min(1.0, event["sleep_s"])
        handle: Handle = env.begin_invoke(event)
        over = waiting.submit(handle.finish)
        has_killed = False
        while not wait([over], draw.uniform(0.0, 0.3)).done:
            what = draw.random()
            if is_killed and what < 0.3:
                with contextlib.suppress(ModelStuck, ProcessLookupError):  # it has just ended by itself
                    self._interrupted_at_s.append(time.time())
                    env.kill_runtime(signal.SIGKILL)
                    self.happened["kill"] += 1
                    has_killed = True
            elif what < 0.6:
                self._change_weather()
            else:
                env.freeze()
                self.happened["freeze"] += 1
                if not wait([over], 10 ** draw.uniform(-3.0, 0.0)).done:
                    env.thaw()
        self.happened["invocation"] += 1
        self.happened.update(dict.fromkeys(self._settings, 1))
        result = over.result()
        self.happened[result.status] += 1
        if result.status == "success" and not has_killed:  # it may be killed between its answer and its end
            self._succeeded.add(result.request_id)

    def _event(self, number: int) -> dict[str, Any]:
        """What the function does in an invocation."""
        draw = self._draw
        chances = {"fill": 0.5 * self._is_small, "empty": 0.3 * self._is_emptied, "modes": 0.05}
        event = {
            **QUIET,
            "name": f"{'L' if self._dropin else ''}i{number}",
            "notes": str(self._notes),
            "acts": [name for name, chance in chances.items() if draw.random() < chance],
            "lines": int(300 ** draw.random()),
            "threads": draw.choice((0, 0, 1, 3)),
            "forks": draw.choice((0, 0, 0, 1, 2)),
            "crowd": draw.randint(20, 150) if draw.random() < 0.1 else 0,
            "is_queue": draw.random() < 0.5,
            "starves": draw.random() < 0.1 and not self._is_emptied,
            "leaves_text": draw.random() < 0.3 and not self._dropin,
            "frees": draw.random() < 0.5,
            "sleep_s": draw.choice((0, 0, 0.05, 0.3, 0.8)) if draw.random() < 0.95 else 60.0,
        }
        self.happened.update({f"the function: {act}": 1 for act in event["acts"]})
        for name in ("crowd", "starves", "leaves_text"):
            self.happened[f"the function: {name.replace('_', ' ')}"] += bool(event[name])
        return event

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
                name = f"{'L' if self._dropin else ''}q{number}"
                env.invoke({**QUIET, "name": name, "notes": str(self._notes)})
                env.shutdown()
        self.happened["shutdown"] += 3

    def _hang_up(self) -> None:
        self._interrupted_at_s.append(time.time())
        self._source.drop_connections()
        self._interrupted_at_s.append(time.time())

    def _clear_up(self) -> None:
        if self._names is not None:
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
        elif kind < 0.6 and self._names is not None:
            self._names.hang()
            self._hang_up()
            self.happened["the name does not resolve"] += 1
        else:
            self._door.state = draw.choice(DOORS)
            self._source.resume_listening()
            name = draw.choice([name for name in FAULTS if not (self._is_emptied and name == "400")])
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


def recorder_settings(draw: Random) -> dict[str, str]:
    """Which of the settings are on that keep lines from CloudWatch, hold them, or add a record to an invocation."""
    chosen = {
        "SUMO_CLOUDWATCH": draw.choice(("", "errors", "none")),
        "SUMO_CLOUDWATCH_FALLBACK_S": draw.choice(("", "0", "2")),
        "SUMO_DEBUG_ON_FAILURE": draw.choice(("", HELD_LOGGER)),
        "SUMO_INVOCATION_SUMMARY": draw.choice(("", "true")),
    }
    return {name: value for name, value in chosen.items() if value}


def soak(
    console: Console, minutes: float, seed: int, layer: Path, run_s: float = RUN_S, only: int | None = None
) -> tuple[Books, Counter[str]]:
    """Run one environment after the other, and return the books of all.

    Args:
        console: Where progress and a line for each environment go.
        minutes: How long.
        seed: What is to happen.
        layer: The unpacked layer.
        run_s: For one environment.
        only: The number of the one environment that is run.
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
        runs = itertools.count(1) if only is None else iter([only])
        while (now_s := time.monotonic()) < end_s:
            number = next(runs, 0)
            if not number:
                break
            draw = Random(f"{seed}/{number}")
            own = folder / f"run-{number}"
            own.mkdir()
            run = Run(number, draw, draw.choice(runtimes()), layer, aws, own)
            progress.update(bar, description=f"run {number}: {run.setting}", completed=now_s - begun_s)
            books = run.go(min(end_s, now_s + run_s))
            console.print(_row(number, run, books))
            for line in books.wrong[:LISTED_MAX]:
                console.print(f"    {line}", style="red", markup=False)
            total.add(books)
            happened += run.happened
    return total, happened


def _row(number: int, run: Run, books: Books) -> str:
    verdict = "[red]WRONG[/red]" if books.wrong else "[green]balanced[/green]"
    return (
        f"{number:3} {verdict} {books.logged:6} logged = {books.at_sumo} at Sumo + {books.in_bucket} in S3 "
        f"+ {books.in_cloudwatch} in CloudWatch + {books.counted} counted + {books.in_spool} left   "
        f"[dim]{run.setting}; {dict(books.counts)}[/dim]"
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
            "in CloudWatch alone": total.in_cloudwatch,
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
    parser.add_argument("--run", type=int, help="only the environment of this number, to look into it")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {options.seed}, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="sumo-soak-layer-") as layer:
        unpack(build(interpreters()), Path(layer))
        total, happened = soak(console, options.minutes, options.seed, Path(layer), only=options.run)
    for table in _tables(total, happened):
        console.print(table)
    if total.wrong:
        console.print(f"\nThe books do not balance. Seed {options.seed}.", style="bold red")
        return 1
    console.print(
        "\nlogged = delivered + in S3 + in CloudWatch alone + counted (+ left in the spool): nothing is unexplained.",
        style="green",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
