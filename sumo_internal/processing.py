"""A recorder whose records are processed before they are in the spool; made only where a setting asks for it.

Each record comes by :meth:`ProcessingRecorder._put`, from whatever source and before it is cut into parts, and passes

1. SUMO_EXCLUDE and SUMO_INCLUDE, which look at what was written;
2. the users' structlog processors (:mod:`sumo_internal.processors`);
3. masks and hashes (:mod:`sumo_internal.rules`);
4. sampling (:class:`Sampling`), which decides by its level and its invocation when it goes out.

Whatever goes wrong in 2 and 3 *withholds* the record: it goes out without anything that the function has written, with
the reason in ``withheld``. The function never notices, and nothing leaves unmasked.
"""

from __future__ import annotations

import enum
import json
import logging
import threading
from contextlib import contextmanager

from sumo_internal import guard, rendering, rules, tally
from sumo_internal.holding import Held
from sumo_internal.processors import Chain, Failed, is_of_signal
from sumo_internal.recorder import Recorder
from sumo_internal.streams import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from logging import LogRecord
    from typing import Any

    from sumo_internal.config import Config
    from sumo_internal.spool import Spool

NOT_LOADED = "SUMO_PROCESSORS: not loaded yet"
OF_PROCESSOR = "SUMO_PROCESSORS: written by a processor"

_PARTIAL_MAX_CHARS = 256 * 1024
"""Text without a line end that is held back: more than without rules, because half an object is none. It is what
CloudWatch takes as one line."""

_METADATA = ("level", "logger", "errorType")
"""What is shown of a record that is withheld."""

_LEVELS = {"warn": logging.WARNING, "fatal": logging.CRITICAL, "exception": logging.ERROR}
"""Names of levels that are not logging's own."""


class _Current(threading.local):
    """What this thread is in the middle of."""

    error: tuple[rendering.Error | None, str] = (None, "")
    """The exception of what is being recorded, and how it reads at the end of the text."""
    is_processing = False


class ProcessingRecorder(Recorder):
    """Processes what it records."""

    def __init__(
        self,
        spool: Spool,
        keys: Mapping[str, str | bool | None],
        config: Config,
        handler: str,
        *,
        is_enhanced: bool = True,
    ) -> None:
        """Record into a spool.

        Args:
            spool: See :class:`Recorder`.
            keys: See :class:`Recorder`.
            config: The settings.
            handler: The module of the function's handler; empty where there is none.
            is_enhanced: See :class:`Recorder`.
        """
        self._selection = rules.Selection(config.exclude, config.include)
        has_rules = config.mask_keys or config.mask_patterns or config.hash_patterns
        self._disguise: rules.Disguise | None = None
        if has_rules and not config.withheld:
            self._disguise = rules.Disguise(
                config.mask_keys, config.mask_patterns, config.hash_patterns, config.hash_salt
            )
        self.chain = Chain(config.processors, handler)
        self._withheld = config.withheld
        self._current = _Current()
        self._sampling = Sampling(spool, config.sample_rate, is_enhanced=is_enhanced)
        super().__init__(spool, keys, is_enhanced=is_enhanced)
        self._append = self._sampling.append

    def _new_lines(self) -> Lines:
        return Lines(self.line, _PARTIAL_MAX_CHARS, len if self._disguise is None else self._disguise.cut)

    def enter_invocation(
        self, request_id: str | None, *, trace_id: str | None = None, tenant_id: str | None = None
    ) -> None:
        super().enter_invocation(request_id, trace_id=trace_id, tenant_id=tenant_id)
        self._is_plain = False  # no record goes past _put
        self._sampling.begin(request_id)

    def leave_invocation(self) -> None:
        super().leave_invocation()
        self._sampling.end()

    def leave_init(self) -> None:
        self.chain.load(is_init_over=True)
        self._say_problem()

    def fail_invocation(self) -> None:
        """The invocation fails: what was held back of it goes out, and all that follows."""
        self._sampling.fail()

    def record(self, text: str, record: LogRecord) -> None:
        with self._about((record.exc_info or None, record.exc_text or "")):
            super().record(text, record)

    def event(
        self, created_s: float, text: str, details: str, level: int, error: tuple[rendering.Error | None, str]
    ) -> None:
        with self._about(error):
            super().event(created_s, text, details, level, error)

    def line(self, text: str, created_s: float | None = None) -> None:
        with self._about((None, "")):  # of no log record, although one's value may print when it is asked for its text
            super().line(text, created_s)

    @contextmanager
    def _about(self, error: tuple[rendering.Error | None, str]) -> Iterator[None]:
        outer = self._current.error
        self._current.error = error
        try:
            yield
        finally:
            self._current.error = outer

    def _put(self, created_s: float, text: str, message: str, details: str, level: int) -> None:
        try:
            kept = self._processed(text, details)
        except Failed as problem:
            kept = self._without_message(str(problem), details)
        except Exception as error:
            if is_of_signal(error):
                raise
            kept = self._without_message(f"masking failed: {type(error).__name__}", details)
        if kept is not None:
            text, details, level_name = kept
            level = max(level, _level(level_name))
            super()._put(created_s, text, rendering.message_text(text)[0], details, level)

    def _processed(self, text: str, details: str) -> tuple[str, str, object] | None:
        """The text, the fields as a piece, and the level's name; None for a record that is not wanted."""
        if self._withheld:
            raise Failed(self._withheld)
        if not self._selection.is_wanted(text):
            self.spool.count(tally.EXCLUDED, 1, rendering.size_bytes(text))
            return None
        passed = self._through_chain(text, details) if self.chain.has_names else (text, details)
        if passed is None:
            self.spool.count(tally.DROPPED, 1, rendering.size_bytes(text))
            return None
        text, details = passed
        fields = _fields(details)
        level = fields.get("level")
        if self._disguise is not None:
            text, fields = self._disguise.applied(text, fields)
            details = rendering.fields_text(fields, fields)
        return text, details, level

    def _through_chain(self, text: str, details: str) -> tuple[str, str] | None:
        if self._current.is_processing:
            raise Failed(OF_PROCESSOR)
        if not self.chain.is_loaded:
            self.chain.load(is_init_over=False)
            self._say_problem()
        if self.chain.problem or not self.chain.is_loaded:
            raise Failed(self.chain.problem or NOT_LOADED)
        self._current.is_processing = True
        try:
            return self.chain.run(text, _fields(details), *self._current.error)
        finally:
            self._current.is_processing = False

    def _without_message(self, reason: str, details: str) -> tuple[str, str, object]:
        """What goes out of a record that could not be processed."""
        if reason not in (NOT_LOADED, OF_PROCESSOR) and reason != self._withheld:
            guard.say_once("error", f"{reason}; messages are withheld")
        fields = {name: value for name, value in _fields(details).items() if name in _METADATA}
        self.spool.count(tally.WITHHELD, 1, rendering.size_bytes(details))
        details = rendering.fields_text({**fields, "withheld": reason}, fields)
        return rules.MASK, details, fields.get("level")

    def _say_problem(self) -> None:
        if self.chain.problem:
            guard.say_once("error", f"{self.chain.problem}; messages are withheld")


def _fields(details: str) -> dict[str, Any]:
    """A piece as what it says."""
    fields: dict[str, Any] = json.loads(f"{{{details[1:]}}}")
    return fields


def _level(name: object) -> int:
    """A level's number, as in ``logging``; 0 for one that is not known."""
    number = logging.getLevelName(name.upper()) if isinstance(name, str) else 0
    return number if isinstance(number, int) else _LEVELS.get(str(name).lower(), 0)


class _Fate(enum.Enum):
    """What becomes of lines below WARNING."""

    SENT = "they go out"
    STANDING = "they go out and stand for those of other invocations"
    HELD = "they wait for the end of the invocation"
    DROPPED = "the invocation has succeeded, nobody wants them"


class Sampling:
    """SUMO_SAMPLE: all lines of an invocation or none, but for those of one that fails, and for WARNING and above."""

    def __init__(self, spool: Spool, rate: float, *, is_enhanced: bool) -> None:
        """Sample what goes into a spool.

        Args:
            spool: Where lines go.
            rate: The share of the invocations whose lines go out, 0 to 1.
            is_enhanced: Lines may have keys of ours.
        """
        self._spool = spool
        self._rate = rate
        self._rate_text = f',"sampleRate":{rate:g}' if is_enhanced else ""
        self._held = Held(spool, has_ids=is_enhanced)
        self._fate = _Fate.SENT

    def begin(self, request_id: str | None) -> None:
        """An invocation begins; None: the init phase, whose lines all go out."""
        if request_id is None or self._rate >= 1:
            self._fate = _Fate.SENT
        else:
            self._fate = _Fate.STANDING if rules.is_sampled(request_id, self._rate) else _Fate.HELD

    def fail(self) -> None:
        """The invocation fails."""
        if self._fate is _Fate.HELD:
            self._held.release()
        self._fate = _Fate.SENT

    def end(self) -> None:
        """The invocation has ended."""
        if self._fate is _Fate.HELD:
            self._fate = _Fate.DROPPED
            lines, size_bytes = self._held.forget()
            if lines:
                self._spool.count(tally.SAMPLED_OUT, lines, size_bytes)

    def append(self, start: str, level: int = logging.INFO) -> None:
        """Like :meth:`Spool.append`; for lines that go out later, or never."""
        fate = self._fate
        if level >= logging.WARNING or fate is _Fate.SENT:
            self._spool.append(start, level)
        elif fate is _Fate.STANDING:
            self._spool.append(start + self._rate_text, level)
        elif fate is _Fate.HELD:
            self._held.append(start, level)
        else:
            self._spool.count(tally.SAMPLED_OUT, 1, rendering.size_bytes(start))
