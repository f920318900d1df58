"""A recorder whose records are processed before they are in the spool; made only where a setting asks for it.

Each record comes by :meth:`ProcessingRecorder._put`, from whatever source and before it is cut into parts, and passes

1. SUMO_EXCLUDE and SUMO_INCLUDE, which look at what was written;
2. the users' structlog processors (:mod:`sumo_internal.processing.structlog_chain`);
3. masks and hashes (:mod:`sumo_internal.processing.rules`);
4. sampling (:class:`~sumo_internal.processing.sampling.Sampling`), which decides by its level and its invocation when
   it goes out.

Whatever goes wrong in 2 and 3 *withholds* the record: it goes out without anything that the function has written, with
the reason in ``withheld``. The function never notices, and nothing leaves unmasked.
"""

from __future__ import annotations

import threading

from sumo_internal import diagnostics
from sumo_internal.capture import record_format
from sumo_internal.capture.lines import Lines
from sumo_internal.capture.recorder import Recorder
from sumo_internal.processing import rules
from sumo_internal.processing.rules import WithheldError
from sumo_internal.processing.sampling import Sampling
from sumo_internal.processing.structlog_chain import Chain, is_of_signal
from sumo_internal.spool import counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from logging import LogRecord

    from sumo_internal.config import Config
    from sumo_internal.spool.writer import Spool

NOT_LOADED = "SUMO_PROCESSORS: not loaded yet"
OF_PROCESSOR = "SUMO_PROCESSORS: written by a processor"

_PARTIAL_MAX_CHARS = 256 * 1024
"""Text without a line end that is held back: more than without rules, because half an object is none. It is what
CloudWatch takes as one line."""


class _Current(threading.local):
    """What this thread is in the middle of."""

    error: tuple[record_format.Error | None, str] = (None, "")
    """The exception of what is being recorded, and how it reads at the end of the text."""
    is_processing = False


class ProcessingRecorder(Recorder):
    """Processes what it records."""

    _has_short_cut = False

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
        self._rules = rules.Rules(config)
        self.chain = Chain(config.processors, handler)
        self._current = _Current()
        self._sampling = Sampling(spool, config.sample_rate, is_enhanced=is_enhanced)
        super().__init__(spool, keys, is_enhanced=is_enhanced)
        self._append = self._sampling.append

    def _new_lines(self) -> Lines:
        return Lines(self.line, _PARTIAL_MAX_CHARS, self._rules.masking.cut if self._rules.masking else len)

    def enter_invocation(
        self, request_id: str | None, *, trace_id: str | None = None, tenant_id: str | None = None
    ) -> None:
        super().enter_invocation(request_id, trace_id=trace_id, tenant_id=tenant_id)
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
        outer = self._current.error
        self._current.error = (record.exc_info or None, record.exc_text or "")
        try:
            super().record(text, record)
        finally:
            self._current.error = outer

    def event(
        self, created_s: float, text: str, details: str, level: int, error: tuple[record_format.Error | None, str]
    ) -> None:
        outer = self._current.error
        self._current.error = error
        try:
            super().event(created_s, text, details, level, error)
        finally:
            self._current.error = outer

    def line(self, text: str, created_s: float | None = None) -> None:
        outer = self._current.error
        self._current.error = (
            None,
            "",
        )  # of no log record, although one's value may print when it is asked for its text
        try:
            super().line(text, created_s)
        finally:
            self._current.error = outer

    def _put(self, created_s: float, text: str, message: str, details: str, level: int) -> None:
        try:
            kept = self._rules.applied(text, details, self._through_chain if self.chain else None)
        except WithheldError as problem:
            kept = self._without_message(str(problem), details)
        except Exception as error:
            if is_of_signal(error):
                raise
            kept = self._without_message(f"masking failed: {type(error).__name__}", details)
        if isinstance(kept, str):
            self.spool.count(kept, 1, record_format.size_bytes(text))
        else:
            text, details, own_level = kept
            super()._put(created_s, text, record_format.message_text(text)[0], details, max(level, own_level))

    def _through_chain(self, text: str, details: str) -> tuple[str, str] | None:
        if self._current.is_processing:
            raise WithheldError(OF_PROCESSOR)
        if not self.chain.is_loaded:
            self.chain.load(is_init_over=False)
            self._say_problem()
        if self.chain.problem or not self.chain.is_loaded:
            raise WithheldError(self.chain.problem or NOT_LOADED)
        self._current.is_processing = True
        try:
            return self.chain.run(text, rules.fields_of(details), *self._current.error)
        finally:
            self._current.is_processing = False

    def _without_message(self, reason: str, details: str) -> tuple[str, str, int]:
        if reason not in (NOT_LOADED, OF_PROCESSOR) and reason != self._rules.withheld:
            diagnostics.say_once("error", f"{reason}; messages are withheld")
        self.spool.count(counters.WITHHELD, 1, record_format.size_bytes(details))
        return self._rules.without_message(details, reason)

    def _say_problem(self) -> None:
        if self.chain.problem:
            diagnostics.say_once("error", f"{self.chain.problem}; messages are withheld")
