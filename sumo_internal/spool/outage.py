"""Since when no destination takes lines: for SUMO_CLOUDWATCH, which sends them to CloudWatch as well then.

Separate from the drainer, which notes it, because the process that writes lines asks it for each of them. The note is a
small file in the spool's folder, so that the next generation of processes knows it from its first line on. Times are
the wall clock's: no other goes on while an environment is frozen.
"""

from __future__ import annotations

from sumo_internal.spool.folder import read_file, write_file

_NOTE = "outage"
_NOTE_MAX_BYTES = 100
_TIME_MAX_S = 1e12
AT_ONCE = (401, 403, 404)
"""Answers that do not pass by themselves: the address or its token is wrong."""


class Outage:
    """What is known of it in this process."""

    def __init__(self, folder: str, patience_s: float) -> None:
        """Go on where the last process has stopped.

        Args:
            folder: Path of the spool's folder.
            patience_s: So long after the first failed attempt lines begin to go to CloudWatch
                (SUMO_CLOUDWATCH_FALLBACK_S).
        """
        self._path = f"{folder}/{_NOTE}"
        self._patience_s = patience_s
        self.from_s = 0.0
        """POSIX time from which on lines go to CloudWatch; 0.0 where there is no outage."""
        try:
            told_s = float(read_file(self._path, _NOTE_MAX_BYTES) or 0.0)
            self.from_s = told_s if 0.0 < told_s < _TIME_MAX_S else 0.0
        except ValueError:
            pass  # damaged: then it is known again after the next attempt

    def took(self) -> None:
        """A destination has taken lines."""
        if self.from_s:
            self._note(0.0)

    def forget(self) -> None:
        """This environment was restored from a snapshot, perhaps long after the outage: the next attempt tells."""
        self.took()

    def failed(self, now_s: float, status: int) -> None:
        """No destination has taken what was offered.

        Args:
            now_s: POSIX time.
            status: The source's answer; 0 for none.
        """
        from_s = now_s if status in AT_ONCE else now_s + self._patience_s
        if not self.from_s or from_s < self.from_s:
            self._note(from_s)

    def _note(self, from_s: float) -> None:
        self.from_s = from_s
        write_file(self._path, repr(from_s).encode())  # where it cannot be written, the next generation starts anew
