"""Notes between processes: what is told is read, and what is damaged, missing or without room is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sumo_internal.spool import handoff

HEADERS = {"X-Sumo-Host": "/aws/lambda/orders"}


def test_what_is_told_is_read(tmp_path: Path) -> None:
    """By another process, and the last one counts."""
    folder = str(tmp_path)
    assert (handoff.function(folder), handoff.timed_out(folder)) == (None, None)
    handoff.tell_function(folder, "an earlier and longer stream", {})
    handoff.tell_function(folder, "stream ä", HEADERS)
    handoff.tell_timeout(folder, "r1")
    assert (handoff.function(folder), handoff.timed_out(folder)) == (("stream ä", HEADERS), "r1")


@pytest.mark.parametrize("damaged", [b"", b"[", b"[1]", b'["a", 7]', b"{}", b"\xff", b"[" * 60_000])
def test_a_damaged_note_is_none(tmp_path: Path, damaged: bytes) -> None:
    """Anybody in the function may write there."""
    (tmp_path / "function.json").write_bytes(damaged)
    assert handoff.function(str(tmp_path)) is None


def test_without_a_folder_there_are_no_notes(tmp_path: Path) -> None:
    """Neither writing nor reading raises in the function's start; links are not followed."""
    handoff.tell_timeout(f"{tmp_path}/nowhere", "r1")
    (tmp_path / "elsewhere").write_text("r2")
    (tmp_path / "timed-out").symlink_to(tmp_path / "elsewhere")
    handoff.tell_timeout(str(tmp_path), "r1")
    assert handoff.timed_out(str(tmp_path)) is None
    assert (tmp_path / "elsewhere").read_text() == "r2"
