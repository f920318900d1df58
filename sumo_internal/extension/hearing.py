"""What hears the function: its own process, or the extension through the Telemetry API. Decided once, in the init.

Separate from the platform log, which acts on it. ``SUMO_FUNCTION_LOGS`` may decide it. With ``auto`` the note of the
function's process decides (:mod:`sumo_internal.extension.function_note`); until then the variable that names our
wrapper tells only what to expect. A late note counts from the moment at which it was written: lines that the function
writes from then on are recorded by its process, and left out of what Lambda tells.
"""

from __future__ import annotations

import os
import time

from sumo_internal import config as configuration
from sumo_internal.extension.function_note import FunctionNote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sumo_internal.config import Config

NEVER_S = float("inf")
"""As ``math.inf``, without the import: the extension's start has no other use for that."""
WAITING_MAX_BYTES = 1_000_000
"""Of deliveries; where an init has more, its events are let out before it is over."""

BEGIN_MIN_S = 0.04
"""So long after its start no program with the runtime's client writes its first line (both take more);
and Lambda, which receives what is printed a moment after it was written, has received the last line of the program
before, except where the machine has much other work. Then Lambda's copy of that line is recorded as well."""
_INSTANCE_MAX_CHARS = 512
"""Of a log stream's name, CloudWatch's limit."""

_COST = (
    "the function's lines are taken from Lambda's Telemetry API: up to TELEMETRY_TIMEOUT_MS late, the last ones during "
    "the next invocation or at SHUTDOWN, and without fields; what was printed comes line by line"
)
WRAPPER_MISSING = f"{_COST}; AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper takes them from the function's own process"
WRAPPER_IDLE = (
    f"{_COST}. AWS_LAMBDA_EXEC_WRAPPER names sumo_wrapper, but the function's process has no part of it: another "
    "wrapper that does not run what it is given, as the AWS Lambda Web Adapter's, needs it in front of its own program"
)
PROGRAM_REPLACED = (
    f"{_COST}. The function has put another program in the place of its process (os.execv); /opt/sumo_wrapper in front "
    "of that program takes them from its process"
)
NOTHING_DROPPED = "; SUMO_DROP_REPLAYS drops nothing, because Lambda does not tell which lines are written once more"


class Hearing:
    """What is known of which process hears the function."""

    def __init__(self, config: Config, environ: Mapping[str, str], note: FunctionNote) -> None:
        """Know what the settings tell.

        Args:
            config: The settings.
            environ: The extension's environment.
            note: The note of the function's process.
        """
        self._config = config
        self._environ = dict(environ)
        self._note = note
        self.is_in_process = configuration.is_in_process(config, environ)
        """The function's own process hears it, as far as is known by now."""
        self.is_awaited = "function" in config.log_types and config.function_logs != "telemetry"
        """A process may leave a note."""
        self.is_open = self.is_awaited and config.function_logs == "auto"
        """The note decides, not a setting."""

        self.ready_time = ""
        """When the runtime asked for its first event, as Lambda writes a time."""
        self.replaced_at_s = 0.0
        """POSIX time at which another program took the place of the function's process; 0.0 where none has. Lines that
        were written before were heard in the process."""
        self._names: tuple[str, str, dict[str, str]] | None = None
        """What the program before has told."""
        self._instance = ""
        self._is_late = False
        """The function's lines that Lambda tells were let out already, so that a note that comes now is late."""

    def descriptors(self) -> list[int]:
        """The descriptors that have something to read when the note has come."""
        return self._note.descriptors() if self.is_awaited else []

    def look(self) -> None:
        """See whether there is a note now."""
        if self.is_awaited:
            self._note.look()
            self.is_in_process = self.is_in_process or (self.is_open and self._note.is_there)

    @property
    def is_known(self) -> bool:
        """Has the function's process told that it is there?"""
        return self._note.is_there

    @property
    def has_content(self) -> bool:
        """Has it also told the names and headers under which the function's lines travel?"""
        return self._note.has_content

    def decide(self) -> None:
        """The runtime is ready, or has had its time: a process that was to leave a note has left it by now."""
        self.look()
        if self.is_open and not self._note.is_there:
            self.is_in_process = False
            self._is_late = True

    def begin_again(self, at_s: float) -> None:
        """Another program has taken the place of the function's process: until it leaves a note, nothing hears it.

        Args:
            at_s: POSIX time at which that was.
        """
        told = self._note.content()
        self._names = self._names if told is None else told[:3]
        self._note.begin_again()
        self.replaced_at_s = min(at_s + BEGIN_MIN_S, time.time())
        if self.is_open:
            self.is_in_process, self._is_late = False, True

    @property
    def since_s(self) -> float:
        """POSIX time from which on the function's process hears it: 0.0 for ever, infinite where it does not."""
        if not self.is_in_process:
            return NEVER_S
        told = self._note.first_content()
        if told is None:
            return 0.0
        from sumo_internal.capture.record_format import time_text

        # Lambda may tell that the runtime was ready only beside the first invocation; the note may be read before that.
        is_late = self._is_late or "" < self.ready_time < time_text(told[3])
        return told[3] if is_late else 0.0

    def names(self) -> tuple[str, str, dict[str, str]]:
        """Log group, log stream and headers: what the process has told, else as far as a variable has them."""
        if (told := self._note.content()) is not None:
            return told[:3]
        if self._names is not None:
            return self._names
        from sumo_internal.spool import handoff
        from sumo_internal.spool.envelope import request_headers

        function = self._environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        version = self._environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        stream = self._instance or handoff.made_up_stream(version)
        return f"/aws/lambda/{function}", stream, request_headers(self._config, function, stream, version)

    def await_copy(self) -> None:
        """The environment was restored from a snapshot: its names and headers are those that the copy tells."""
        self._note.await_copy()
        self.look()

    def hear_of_instance(self, events: list[object]) -> None:
        """Note the log stream's name, which ``platform.initStart`` has on Managed Instances."""
        for event in events:
            record = event.get("record") if isinstance(event, dict) else None
            name = record.get("instanceId") if isinstance(record, dict) else None
            if isinstance(name, str) and 0 < len(name) <= _INSTANCE_MAX_CHARS and name.isprintable():
                self._instance = name

    def cost(self) -> str:
        """What it costs that the lines come from the Telemetry API, and what would change that."""
        return self._reason() + (NOTHING_DROPPED if self._config.drops_replays else "")

    def _reason(self) -> str:
        if self.replaced_at_s:
            return PROGRAM_REPLACED
        if self._environ.get("AWS_LAMBDA_EXEC_WRAPPER", "").rpartition("/")[2] != configuration.WRAPPER:
            return WRAPPER_MISSING
        return WRAPPER_IDLE


def observe(config: Config, address: str) -> Hearing:
    """Begin to look for the note of the function's process.

    Args:
        config: The settings.
        address: AWS_LAMBDA_RUNTIME_API.
    """
    hearing = Hearing(config, os.environ, FunctionNote(address, config.spool_dir))
    # A process that was there before our socket has sent nothing to it, and may be dead when Lambda delivers events.
    hearing.look()
    return hearing


class Waiting:
    """Events that wait until it is known which process hears the function, and which names and headers they have."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self._since_s: float | None = None
        self._size_bytes = 0

    def until_s(self, max_age_s: float) -> float | None:
        """POSIX time at which they have waited long enough; None where there are none."""
        return None if self._since_s is None else self._since_s + max_age_s

    def keep(self, events: list[object], size_bytes: int) -> None:
        """Keep events of a delivery of this size."""
        self.events.extend(events)
        self._size_bytes += size_bytes
        self._since_s = self._since_s or time.time()

    @property
    def has_function_events(self) -> bool:
        """Are lines of the function's among them?"""
        return any(isinstance(event, dict) and event.get("type") == "function" for event in self.events)

    def forget(self) -> None:
        """Forget the events: they are in the spool."""
        self.events, self._since_s, self._size_bytes = [], None, 0

    def has_room(self, size_bytes: int) -> bool:
        """May a delivery of this size wait, too?"""
        return self._size_bytes + size_bytes <= WAITING_MAX_BYTES
