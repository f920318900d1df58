"""Lines held back: forgotten, released, or left behind by a killed process; never taken from one that lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spool_functions import taken

from sumo_internal.spool.counters import SAMPLED_OUT
from sumo_internal.spool.held import Held
from sumo_internal.spool.reader import SpoolReader
from sumo_internal.spool.segment import INFO, SEGMENT_BYTES
from sumo_internal.spool.writer import Spool

SEGMENT_TEXT = "x" * (SEGMENT_BYTES // 4)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(f"{tmp_path}/spool", {"X-Sumo-Name": "s"}, 10 * SEGMENT_BYTES)


def line(text: str) -> str:
    return f'{{"message":"{text}"'


def drained(reader: SpoolReader) -> list[str]:
    """The messages that a drainer finds, each acknowledged."""
    return [json.loads(text)["message"] for text in taken(reader)]


def forget(held: Held, spool: Spool) -> tuple[int, int]:
    """Lines and bytes that are counted when held ones are forgotten."""
    before = spool.counters.counts().get(SAMPLED_OUT, (0, 0))
    held.forget()
    after = spool.counters.counts().get(SAMPLED_OUT, (0, 0))
    return after[0] - before[0], after[1] - before[1]


def held_files(spool: Spool) -> list[str]:
    return sorted(name for name in os.listdir(spool.folder) if "held" in name)


def test_held_lines_are_no_drainers(spool: Spool) -> None:
    """Neither this process's nor another's: as long as the writer lives, they are nobody's."""
    held = Held(spool)
    spool.append(line("sent"))
    held.append(line("held"), INFO)
    look = f"from sumo_internal.spool.reader import SpoolReader; print(SpoolReader({spool.folder!r}).left()[0])"
    other = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert other.stdout == "1\n"
    assert drained(SpoolReader(spool.folder, spool)) == ["sent"]
    assert forget(held, spool)[0] == 1


def test_forgotten_lines_are_gone(spool: Spool) -> None:
    """Their segment is used again, further ones are given back; what was forgotten is counted by the caller."""
    held = Held(spool)
    for number in range(6):
        held.append(line(f"{number}{SEGMENT_TEXT}"), INFO)
    assert len(held_files(spool)) == 2

    lines, size_bytes = forget(held, spool)
    assert lines == 6 and size_bytes > 6 * len(SEGMENT_TEXT)
    assert len(held_files(spool)) == 1
    held.append(line("next"), INFO)
    held.release()
    assert drained(SpoolReader(spool.folder, spool)) == ["next"]
    assert forget(held, spool) == (0, 0)


def test_released_lines_go_out_in_order(spool: Spool) -> None:
    """They are part of the spool then, before what was sent meanwhile, and their files are removed like any other."""
    held = Held(spool)
    texts = [f"{number}{SEGMENT_TEXT}" for number in range(5)]
    for text in texts:
        held.append(line(text), INFO)
    spool.append(line("sent"))
    held.release()
    held.append(line("held again"), INFO)
    reader = SpoolReader(spool.folder, spool)

    assert drained(reader) == [*texts, "sent"]
    list(reader._segments())
    assert len(held_files(spool)) == 1
    held.release()
    assert drained(reader) == ["held again"]


def test_ids_are_unique(spool: Spool) -> None:
    """Held lines draw their numbers with the spool's, so that the order of all lines can be told."""
    held = Held(spool)
    for number in range(3):
        spool.append(line(f"sent {number}"))
        held.append(line(f"held {number}"), INFO)
    held.release()
    lines = [bytes(piece.data()).splitlines() for piece in SpoolReader(spool.folder, spool).take(SEGMENT_BYTES)]
    ids = [json.loads(text)["id"] for texts in lines for text in texts]

    assert len(set(ids)) == 6
    assert sorted(ids) == [ids[3], ids[0], ids[4], ids[1], ids[5], ids[2]]


def test_without_ids(tmp_path: Path) -> None:
    """Lines without any key of ours stay so."""
    spool = Spool(f"{tmp_path}/spool", {}, 10 * SEGMENT_BYTES, has_ids=False)
    held = Held(spool)
    held.append(line("held"), INFO)
    held.release()
    (piece,) = SpoolReader(spool.folder, spool).take(SEGMENT_BYTES)
    assert bytes(piece.data()) == b'{"message":"held"}\n'


def test_what_does_not_fit_goes_out(spool: Spool) -> None:
    """The bound loses nothing: nobody can tell yet whether the invocation fails."""
    held = Held(spool)
    bound = spool.held_segments_max
    for number in range(3 * bound + 2):
        held.append(line(f"{number}{SEGMENT_TEXT}"), INFO)

    assert bound == 2 and len(held_files(spool)) == bound
    assert [text[:2] for text in drained(SpoolReader(spool.folder, spool))] == ["6x", "7x"]
    assert forget(held, spool)[0] == 6


def test_a_removed_segment_is_replaced(spool: Spool) -> None:
    """A function that empties /tmp: what is mapped is still released, and after the end there is a new file."""
    held = Held(spool)
    held.append(line("one"), INFO)
    for name in os.listdir(spool.folder):
        os.unlink(f"{spool.folder}/{name}")
    held.append(line("two"), INFO)
    held.release()
    assert drained(SpoolReader(spool.folder, spool)) == ["one", "two"]

    held.append(line("three"), INFO)
    assert len(held_files(spool)) == 1
    os.unlink(f"{spool.folder}/{held_files(spool)[0]}")
    held.forget()
    held.append(line("four"), INFO)
    assert len(held_files(spool)) == 1


def test_a_forked_child_holds_nothing_back(spool: Spool) -> None:
    """Nobody tells it how the invocation ends; and the parent's lines are the parent's."""
    held = Held(spool)
    held.append(line("parent"), INFO)
    child = os.fork()
    if not child:
        held.append(line("child"), INFO)
        os._exit(0)
    os.waitpid(child, 0)

    assert drained(SpoolReader(spool.folder, spool)) == ["child"]
    assert forget(held, spool)[0] == 1


KILLED = """
import os, signal, sys
from sumo_internal.spool.held import Held
from sumo_internal.spool.segment import INFO
from sumo_internal.spool.writer import Spool
spool = Spool(sys.argv[1], {"X-Sumo-Name": "s"}, 64_000_000)
held = Held(spool)
for action in sys.argv[2:]:
    if action == "forget":
        held.forget()
    elif action == "release":
        held.release()
    elif action[0] == "h":
        held.append('{"message":"%s"' % action, INFO)
    else:
        spool.append('{"message":"%s"' % action)
os.kill(os.getpid(), signal.SIGKILL)
"""


@settings(max_examples=25)  # a process each
@given(st.lists(st.sampled_from(["hold", "send", "forget", "release"]), max_size=12))
def test_what_a_killed_process_has_left(tmp_path_factory: pytest.TempPathFactory, actions: list[str]) -> None:
    """A drainer finds what was sent, what was released, and what was still held; nothing that was forgotten."""
    folder = f"{tmp_path_factory.mktemp('killed')}/spool"
    sent: list[str] = []
    held: list[str] = []
    numbered = [f"{action[0]}{n}" if action in ("hold", "send") else action for n, action in enumerate(actions)]
    for action in numbered:
        if action == "release":
            sent, held = [*sent, *held], []
        elif action == "forget":
            held = []
        else:
            (held if action[0] == "h" else sent).append(action)
    ended = subprocess.run([sys.executable, "-c", KILLED, folder, *numbered], check=False)
    reader = SpoolReader(folder)

    assert ended.returncode == -signal.SIGKILL
    assert sorted(drained(reader)) == sorted([*sent, *held])
    assert drained(reader) == []
    reader.release()
    assert [name for name in os.listdir(folder) if not name.endswith(".tally")] == []
