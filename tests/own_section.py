"""The section of docs/failures.md on what a function does to itself: written from what tests have seen, or held to it.

Each test that belongs there tells its row with :meth:`Section.row`. With ``WRITE_FAILURES=1`` the section is written
when all of :data:`ROWS` are told; without it, each row is compared with what is committed.

A test file that wants the fixture says ``pytest_plugins = ["own_section"]``. PYTEST_DONT_REWRITE, because the file
imports from here before pytest does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from runtimes import ROOT

PAGE = ROOT / "docs" / "failures.md"
IS_WRITING = os.environ.get("WRITE_FAILURES") == "1"
TITLE = "## What the function does to itself\n"
AS_EVER = "as without the layer"
ALL_THERE = "all at Sumo Logic"

ROWS = """
has files that are named like the library's modules (`random.py`, `zlib.py`)
replaces the library's functions
replaces `open` and `__import__`
clears `sys.path` and `sys.meta_path`
removes modules from `sys.modules`, ours too
replaces `socket.getaddrinfo`
stops its clock (freezegun)
replaces `json`, `time.time` and `open` with what raises, and logs
forbids its process sockets (`sys.addaudithook`)
forbids the layer files, maps and sockets (`sys.addaudithook`), and writes megabytes
sets `SSL_CERT_FILE` at run time
blocks signals and waits for them (`sigwait`)
makes the smallest stacks there are, of 32 KB (`threading.stack_size`)
raises in all threads but its own (`PyThreadState_SetAsyncExc`)
forks at any instant, and the children import
forks with warnings on
forks children that log and end by `os._exit`
starts children by `spawn`, `forkserver`, `fork`
starts programs in Python, with `SUMO_CHILDREN=true`
logs in six threads at once
logs in a signal handler while another thread logs
logs in finalisers
has a time limit that raises in the middle of a log call
logs to the end of its stack
takes every descriptor, and gives them back
starts itself again while it is imported (`os.execv`)
closes all descriptors, and opens files of its own under their numbers
logs texts and values of megabytes, and writes JSON in small pieces
logs what has no text, no comparison and no level
prints in pieces
logs its stack and its exceptions
empties /tmp
opens /tmp to everybody (`chmod -R 777`)
raises
calls `sys.exit`
calls `os._exit`
kills itself (SIGKILL)
reads from address 0 (SIGSEGV)
sleeps until its timeout
cuts our files short (`truncate`)
empties /tmp, and is killed in the same invocation
empties /tmp in its first invocation, and is killed in it
empties /tmp behind its children in the same invocation
empties /tmp behind its children, and is killed in the same invocation
""".strip().split("\n")
"""What a function does, in the order of the page."""

TEXT = f"""{TITLE}
`tests/test_hostile.py` writes this section (`WRITE_FAILURES=1 python -m pytest tests/test_hostile.py`), from real
runtimes with `SUMO_FLUSH=end`. *{AS_EVER.capitalize()}* means the same responses, errors and ends of the
process. Lines that are at Sumo Logic are there before SHUTDOWN, where the row does not say otherwise. A setting is
needed only where a row names it.

| a function that | responds and ends | its lines |
| --- | --- | --- |
"""


class Section:
    """The rows, as they are committed or as they are seen."""

    def __init__(self) -> None:
        """Read what is committed."""
        section = PAGE.read_text().partition(TITLE)[2]
        rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][2:]
        self.committed = {what.strip(): (ends.strip(), lines.strip()) for what, ends, lines in rows}
        self._seen: dict[str, tuple[str, str]] = {}

    def row(self, what: str, ends: str = AS_EVER, lines: str = ALL_THERE) -> None:
        """Tell what was seen of a function that does this."""
        assert what in ROWS
        assert self._seen.setdefault(what, (ends, lines)) == (ends, lines), "not the same on each Python"
        if not IS_WRITING:
            assert (ends, lines) == self.committed[what]

    def write(self) -> None:
        """Put the rows on the page, if all have been told."""
        if self._seen.keys() == set(ROWS):
            rows = [f"| {what} | {' | '.join(self._seen[what])} |" for what in ROWS]
            PAGE.write_text(f"{PAGE.read_text().partition(TITLE)[0].rstrip()}\n\n{TEXT}" + "\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def section() -> Iterator[Section]:
    """The section."""
    section = Section()
    yield section
    if IS_WRITING:
        section.write()
