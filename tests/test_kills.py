"""SIGKILL at random instants: of append, of rolling over, of a drain, of an acknowledgement; hundreds of times.

One process does what the runtime process does (its main thread appends, another drains), is killed, and leaves its
spool to a drainer that comes after it, as the extension does. Segments hold a few lines only, so that in every run some
are made, sealed, acknowledged and removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sumo_source import ACCEPT, LOSE_ANSWER, SumoSource

from layer.build import ROOT
from sumo_internal.spool import counters

RUNS = 150

FORGE = """
import json, mmap, os, random, signal, sys, threading, time
folder, root, url, seed, runs = sys.argv[1:]
sys.path.insert(0, root)
from sumo_internal import config
from sumo_internal.spool import reader, writer, counters
from sumo_internal.shipping.factory import make_drainer
from sumo_internal.net.client import PlainSender

writer.SEGMENT_BYTES = writer.HEADER_BYTES + 8192
settings, _ = config.read({"SUMO_HTTP_ENDPOINT": url, "SUMO_RETRY_SLEEP_TIME_MS": "1"})
draw = random.Random(seed)
# What has returned, where a kill does not reach it: the number of the last line.
note = memoryview(mmap.mmap(-1, 4096)).cast("Q")


def drain(view, name):
    counts = counters.Counters(folder, name)
    return make_drainer(settings, {}, view, counts, PlainSender, print).drain(time.time() + 20)


def live(run, is_draining):
    envelope = {"X-Sumo-Host": "/aws/lambda/orders", "X-Sumo-Name": "2026/11/21/[$LATEST]ab"}
    own = writer.Spool(folder, envelope, 64_000_000)
    if is_draining:
        def keep_shipping():
            view = reader.SpoolReader(folder, own)
            while True:
                drain(view, f"run-{run}")
        threading.Thread(target=keep_shipping, daemon=True).start()
    number = 0
    while True:
        number += 1
        own.append('{"time":"2026-11-21T08:22:03.123Z","run":%d,"number":%d,"message":"%s"'
                   % (run, number, "x" * (number % 700)))
        note[0] = number
        if number % 20 == 0:
            time.sleep(0.0002)  # let the other thread have its turn, and the spool not grow without end


for run in range(int(runs)):
    note[0] = 0
    child = os.fork()
    if child == 0:
        live(run, run % 3 > 0)
    time.sleep(draw.uniform(0.001, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    returned = note[0]
    outcome = drain(reader.SpoolReader(folder), f"after-{run}")
    print(json.dumps([run, returned, outcome.value, counters.totals(folder)]), flush=True)
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_any_instant_loses_nothing_and_what_comes_twice_is_counted(tmp_path: Path, seed: int) -> None:
    """Every line whose append had returned arrives, whole and in order; what comes twice was under way, and is counted.

    Hundreds of kills, each with exact counts: at most the one line in whose append the process died is there besides.
    """
    folder = tmp_path / "spool"
    with SumoSource(connections=2) as source:
        # Now and then an answer is lost: a kill beside it must not make more of it than one batch.
        source.script([LOSE_ANSWER if number % 50 == 0 else ACCEPT for number in range(5000)])
        command = [sys.executable, "-c", FORGE, str(folder), str(ROOT), source.url, str(seed), str(RUNS)]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        runs = [json.loads(line) for line in told.splitlines()]
        arrived: dict[int, list[int]] = {}
        for record in source.records:
            arrived.setdefault(record["run"], []).append(record["number"])
        ids = source.ids()
        assert source.problems == []

    assert len(runs) == RUNS
    for run, returned, outcome, _ in runs:
        assert outcome == "empty"
        numbers = sorted(set(arrived.get(run, [])))
        assert numbers == list(range(1, len(numbers) + 1))
        assert returned <= len(numbers) <= returned + 1
    doubled = sum(count - 1 for count in ids.values())
    counted = runs[-1][3][counters.SENT_AGAIN][0]
    assert 0 < doubled <= counted
    assert Counter(ids.values()).keys() <= {1, 2, 3}
    assert not runs[-1][3].keys() & counters.LOSSES.keys()
    # Locks and segments go with their lines; counts stay, and what a writer was still making, until it is old.
    left = {name.partition(".")[2] for name in os.listdir(folder) if not name.endswith(".new")}
    assert left <= {"lock", "tally"}
