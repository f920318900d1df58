"""Notes between processes: what is told is read, and what is damaged, missing or without room is none."""

from __future__ import annotations

import contextlib
import select
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sumo_internal import config
from sumo_internal.extension.function_note import FunctionNote
from sumo_internal.extension.hearing import observe
from sumo_internal.extension.workers import Workers
from sumo_internal.spool import handoff

NOTE = ("/orders/logs", "stream ä", {"X-Sumo-Host": "/aws/lambda/orders"})


@pytest.fixture
def address() -> Iterator[str]:
    """An address that no other environment of this machine has; the socket that this process holds is let go of."""
    yield f"127.0.0.1:{uuid.uuid4().hex[:8]}"
    let_go()


def let_go() -> None:
    """Be a process that is gone."""
    handoff._late = None
    handoff._let_go()


def listening(address: str, folder: str) -> contextlib.closing[FunctionNote]:
    return contextlib.closing(FunctionNote(address, folder))


def test_what_is_told_is_read(tmp_path: Path, address: str) -> None:
    """By an extension that is there: no disk is needed, and none is written to."""
    with listening(address, str(tmp_path)) as note:
        note.look()
        assert (note.is_there, note.content()) == (False, None)
        handoff.tell_function(str(tmp_path), address, *NOTE)
        assert select.select(note.descriptors(), [], [], 5)[0] == note.descriptors() != []
        note.look()
        assert (note.is_there, (note.content() or ())[:3], note.descriptors()) == (True, NOTE, [])
        assert list(tmp_path.iterdir()) == []


def test_an_extension_that_comes_later_reads_it_too(tmp_path: Path, address: str) -> None:
    """Slow to start, it finds the file; where there was no room for one, that a process is there all the same."""
    handoff.tell_function(str(tmp_path), address, *NOTE)
    with listening(address, str(tmp_path)) as note:
        note.look()
        assert (note.is_there, (note.content() or ())[:3]) == (True, NOTE)
    with listening(f"{address}-", "/nowhere") as note:
        handoff.tell_function("/nowhere", f"{address}-", *NOTE)
        assert handoff.function_note("/nowhere") is None
        note.look()
        assert (note.is_there, (note.content() or ())[:3]) == (True, NOTE)


def test_without_a_disk_and_before_the_extension(address: str) -> None:
    """Then only that a process is there is known, and that is what decides."""
    handoff.tell_function("/nowhere", address, *NOTE)
    with listening(address, "/nowhere") as note:
        note.look()
        assert (note.is_there, note.has_content) == (True, False)


def test_what_the_extension_was_not_up_for_is_sent_when_the_init_is_over(address: str) -> None:
    """Without a disk the note has no file: it is sent once more, and once only."""
    handoff.tell_function("/nowhere", address, *NOTE)
    with listening(address, "/nowhere") as note:
        handoff.tell_late()
        note.look()
        assert (note.is_there, (note.content() or ())[:3]) == (True, NOTE)
    assert handoff._late is None
    handoff.tell_late()


def test_a_process_that_dies_before_lambda_delivers_was_there(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image's short life: the extension is up later than the function, and its first delivery comes at SHUTDOWN.

    Guards against each line arriving twice, once from the process and once from Lambda.
    """
    monkeypatch.delenv("AWS_LAMBDA_EXEC_WRAPPER", raising=False)
    settings, _ = config.read({"SUMO_HTTP_ENDPOINT": "https://h/", "SUMO_SPOOL_DIR": str(tmp_path)})
    handoff.tell_function(str(tmp_path), address, *NOTE)
    hearing = observe(settings, address)
    let_go()
    hearing.look()
    assert hearing.is_in_process
    hearing._note.close()


def test_a_note_is_sent_again_until_the_extension_is_up(tmp_path: Path, address: str) -> None:
    """It may start later than the function's init is over. The function has closed the socket that says so."""
    handoff.tell_function(str(tmp_path), address, *NOTE)
    handoff._let_go()
    assert not handoff.tell_late()
    with listening(address, str(tmp_path)) as note:
        note.look()
        assert not note.is_there
        assert handoff.tell_late()
        note.look()
        assert note.has_content
    assert not handoff.tell_late()


def test_a_file_of_an_earlier_process_is_nobody(tmp_path: Path, address: str) -> None:
    """/tmp outlives a crash; the next process may be another that tells nothing."""
    handoff.tell_function(str(tmp_path), address, *NOTE)
    let_go()
    with listening(address, str(tmp_path)) as note:
        note.look()
        assert handoff.function_note(str(tmp_path)) is not None
        assert not note.is_there


def test_outside_lambda_nobody_is_told(tmp_path: Path) -> None:
    """There is no extension; nothing is written, and nothing is held."""
    handoff.tell_function(str(tmp_path), "", *NOTE)
    assert list(tmp_path.iterdir()) == [] and handoff._presence is None


def test_a_second_process_tells_too(tmp_path: Path, address: str) -> None:
    """Workers of Managed Instances: the name is held already, and the note is in the file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(handoff.function_socket_name(address))
        handoff.tell_function(str(tmp_path), address, *NOTE)
        with listening(address, str(tmp_path)) as note:
            note.look()
            assert (note.is_there, (note.content() or ())[:3]) == (True, NOTE)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"[", b"[1]", b'["a", 7]', b'["a", "b", 7, 0]', b'["a", "b", {}, "x"]', b"{}", b"\xff", b"[" * 60_000],
)
def test_a_damaged_note_is_none(tmp_path: Path, address: str, damaged: bytes) -> None:
    """Anybody in the function may write there, and send."""
    (tmp_path / "function.json").write_bytes(damaged)
    assert handoff.read_note(handoff.function_note(str(tmp_path)) or b"") is None
    with listening(address, str(tmp_path)) as note:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(damaged, handoff.extension_socket_name(address))
        note.look()
        assert note.content() is None


def test_notes_of_timeouts(tmp_path: Path) -> None:
    """The last one counts."""
    assert handoff.timed_out(str(tmp_path)) is None
    handoff.tell_timeout(str(tmp_path), "an earlier and longer one")
    handoff.tell_timeout(str(tmp_path), "r1")
    assert handoff.timed_out(str(tmp_path)) == "r1"


def test_without_a_folder_there_are_no_notes(tmp_path: Path) -> None:
    """Neither writing nor reading raises in the function's start; links are not followed."""
    handoff.tell_timeout(f"{tmp_path}/nowhere", "r1")
    (tmp_path / "elsewhere").write_text("r2")
    (tmp_path / "timed-out").symlink_to(tmp_path / "elsewhere")
    handoff.tell_timeout(str(tmp_path), "r1")
    assert handoff.timed_out(str(tmp_path)) is None
    assert (tmp_path / "elsewhere").read_text() == "r2"


def test_a_ring_waits_for_nothing(address: str) -> None:
    """No extension, one that hears, one whose socket is full because it is busy: the worker goes on at once."""
    handoff.ring(address)
    with contextlib.closing(Workers(address, 5.0)) as workers:
        for _ in range(2_000):  # the kernel keeps a few hundred at most
            handoff.ring(address)
        assert select.select([workers.descriptor], [], [], 5)[0]
        workers.hear()
        assert not select.select([workers.descriptor], [], [], 0)[0]
        handoff.ring(address)
        assert select.select([workers.descriptor], [], [], 5)[0]
        assert not workers.is_due()
        workers.due_at_s = 0.0
        assert workers.is_due()
        workers.shipped()
        workers.due_at_s += 3_600  # the clock was set back by an hour meanwhile
        assert workers.is_due()
