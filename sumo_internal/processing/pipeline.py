"""What the recorder's records pass before they are in the spool; made only where a setting asks for it.

The recorder hands each record over, from whatever source and before it is cut into parts. It passes

1. SUMO_EXCLUDE and SUMO_INCLUDE, which look at what was written;
2. the users' structlog processors (:mod:`sumo_internal.processing.structlog_chain`);
3. masks and hashes (:mod:`sumo_internal.processing.rules`);
4. sampling (:class:`~sumo_internal.processing.sampling.Sampling`), which decides by the record's level and invocation
   when it goes out.

Whatever goes wrong in 2 and 3 *withholds* the record: it goes out without anything that the function has written, with
the reason in ``withheld``. The function never notices, and nothing leaves unmasked.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from functools import partial
from time import thread_time

from sumo_internal import diagnostics, own_secrets
from sumo_internal.capture import record_format
from sumo_internal.capture.reentrancy import need_room, strand, subjects
from sumo_internal.processing import rules
from sumo_internal.processing.budget import Budget, OverBudgetError, over_budget
from sumo_internal.processing.continued import Continued
from sumo_internal.processing.rules import WithheldError
from sumo_internal.processing.sampling import Sampling
from sumo_internal.processing.structlog_chain import Chain
from sumo_internal.spool import counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from sumo_internal.capture.recorder import Said
    from sumo_internal.config import Config
    from sumo_internal.processing.masking import Masking
    from sumo_internal.spool.writer import Spool

NOT_LOADED = "SUMO_PROCESSORS: not loaded yet"
OF_PROCESSOR = "SUMO_PROCESSORS: written by a processor"

_NONE: set[str] = set()
"""What keys hide in a line that was not written together with others."""

PARTIAL_MAX_CHARS = 256 * 1024
"""Text without a line end that is held back: more than without rules, because half an object is none. It is what
CloudWatch takes as one line."""


OPEN_VALUES_MAX = 1_000
"""Threads that have begun a masked value and not ended it; the one that has begun first is forgotten beyond."""


def _nothing(stream: int, thread: int) -> tuple[str, bool]:
    return "", False


class _Current(threading.local):
    """What this thread is in the middle of."""

    is_processing = False
    hidden: Collection[str] | None = ()
    """What keys hide in the lines that this thread is writing together; None where the rules have no time for them."""


class Pipeline:
    """What the records of a :class:`~sumo_internal.capture.recorder.Recorder` pass."""

    partial_max_chars = PARTIAL_MAX_CHARS

    def __init__(self, spool: Spool, config: Config, handler: str, *, is_enhanced: bool = True) -> None:
        """Process what goes into a spool.

        Args:
            spool: The recorder's.
            config: The settings.
            handler: The module of the function's handler; empty where there is none.
            is_enhanced: See the recorder.
        """
        self.chain = Chain(config.processors, handler)
        self._spool = spool
        self._rules = rules.Rules(config)
        self._max_ms = config.rules_max_ms
        self._current = _Current()
        self._unended: dict[tuple[int, int], set[str] | None] = {}
        """What keys hide in texts that are not over with their last line end: by thread and stream, like
        :attr:`_Current.hidden`."""
        self._begun: Callable[[int, int], tuple[str, bool]] = _nothing
        self._open_values: dict[int, Continued] = {}
        """By thread: a masked value that goes on in the thread's next line."""
        self._sampling = Sampling(spool, config.sample_rate, config.max_mb_per_hour, is_enhanced=is_enhanced)
        self.append = self._sampling.append
        self.begin_again = self._sampling.begin_again
        self.enter_invocation = self._sampling.begin
        self.leave_invocation = self._sampling.end
        self.fail_invocation = self._sampling.fail
        """The invocation fails: what was held back of it goes out, and all that follows."""

    @property
    def held_lines(self) -> int:
        """Lines that have had to wait for the end of their invocation, since the process began."""
        return self._sampling.held_lines

    @property
    def has_held(self) -> bool:
        """Is anything held back now?"""
        return self._sampling.has_held

    def cut(self, text: str) -> int:
        """See the recorder's; no place of a rule is cut, nor a secret of ours."""
        masking = self._rules.masking
        return masking.cut(text, own_secrets.spans(text)) if masking else own_secrets.cut(text)

    def leave_init(self) -> None:
        self.chain.load(is_init_over=True)
        self._say_problem()

    def hearing(
        self, written: Callable[[str, int], None], begun: Callable[[int, int], tuple[str, bool]] | None = None
    ) -> Callable[[str, int], None]:
        """A listener of a stream that knows, for each line, what keys hide in the lines written together with it.

        Args:
            written: The recorder's.
            begun: The line of a stream that a thread has begun, and whether lines before it wait for the same value.
        """
        masking = self._rules.masking
        self._begun = begun or _nothing
        if masking is None or not masking.has_keys:
            return written
        unended = self._unended

        def hear(text: str, stream: int) -> None:
            if (not unended and "\n" not in text[:-1]) or (subjects and strand() in subjects):
                written(text, stream)
            else:
                self.together(text, stream, get_ident(), written, text, stream)

        return hear

    def together(self, text: str, stream: int, thread: int, work: Callable[..., None], *arguments: object) -> None:
        """Do something with a text that was written at once: what keys hide in it is hidden in all its lines.

        The last of them gets its line end by another write: ``print`` writes its own.

        Raises:
            RecursionError: Here is too little room. Let it pass: the text is recorded later.
        """
        masking, outer = self._rules.masking, self._current.hidden
        place = stream, thread
        before: set[str] | None = self._unended.pop(place, _NONE)
        if masking is None or not masking.has_keys or ("\n" not in text[:-1] and before is _NONE):
            work(*arguments)
            return
        try:
            # A text that ends no line, or one only, has its own keys when it is recorded.
            has_lines = "\n" in text[:-1]
            own = self._hidden_in(self._begun(*place)[0] + text, masking) if has_lines else _NONE
            hidden = None if before is None or own is None else before | own
            self._current.hidden = hidden
            work(*arguments)
            # What goes on was begun with this text, or before it.
            after = own if has_lines and not self._begun(*place)[1] else hidden
            if text[-1:] != "\n" and after != _NONE:
                self._unended[place] = after
        except RecursionError:
            if before != _NONE:
                self._unended[place] = before
            raise
        finally:
            self._current.hidden = outer

    def with_arguments(self, named: dict[Any, Any], put: Callable[..., int], *arguments: object) -> int:
        """Put a record of whose text these are named parts (``"%(password)s"``): those of masked keys are hidden."""
        masking, outer = self._rules.masking, self._current.hidden
        values = masking.values_of(named) if masking is not None and outer is not None else _NONE
        if not values:
            return put(*arguments)
        try:
            self._current.hidden = values.union(outer or ())
            end = put(*arguments)
        finally:
            self._current.hidden = outer
        return end

    def _hidden_in(self, text: str, masking: Masking) -> set[str] | None:
        try:
            return masking.hidden(record_format.legible(text), Budget(self._max_ms).spend)
        except Exception as error:
            diagnostics.pass_on(error)
            need_room()  # where there is little, the text waits; else it is the text itself that is nested so deep
            return None

    def flush(self, flush: Callable[..., None], *, is_final: bool) -> None:
        """Have text recorded that waits for its line end: what keys hide in what was written with it is hidden.

        Args:
            flush: The recorder's.
            is_final: For it.
        """
        all_hidden, outer = list(self._unended.values()), self._current.hidden
        self._current.hidden = None if None in all_hidden else {text for hidden in all_hidden for text in hidden or ()}
        try:
            flush(is_final=is_final)
        finally:
            self._current.hidden = outer
        for place in list(self._unended):
            if not any(self._begun(*place)):
                self._unended.pop(place, None)

    def passed(
        self, text: str, details: str, level: int, said: Said, *, is_held: bool = False
    ) -> tuple[str, str, int] | None:
        """Text, fields (as a piece) and level of a record as it may leave; None where it is not wanted.

        Args:
            text: What was written: a text, or an object's JSON.
            details: What the record has besides, as a piece.
            level: As in ``logging``.
            said: The exception of the record, and how it reads at the end of the text.
            is_held: It is below the function's own level, see :meth:`Rules.applied`.
        """
        budget = Budget(self._max_ms)
        process = partial(self._through_chain, said=said, budget=budget) if self.chain else None
        try:
            hidden = self._current.hidden
            if hidden is None:
                raise OverBudgetError
            if not details and "\n" not in text:
                text = self._without_continued(text, budget)
            kept = self._rules.applied(text, details, process, budget.spend, hidden, level, is_held=is_held)
        except WithheldError as problem:
            kept = self._without_message(str(problem), text, details, level, is_held=is_held)
        except OverBudgetError:
            kept = self._without_message(over_budget(self._max_ms), text, details, level, is_held=is_held)
        except Exception as error:
            diagnostics.pass_on(error)
            reason = f"masking failed: {type(error).__name__}"
            kept = self._without_message(reason, text, details, level, is_held=is_held)
        if isinstance(kept, str):
            self._spool.count(kept, 1, record_format.size_bytes(text))
            return None
        text, details, own_level = kept
        return text, details, max(level, own_level)

    def _without_continued(self, line: str, budget: Budget) -> str:
        """A printed line without what a key on an earlier line of this thread hides in it."""
        masking = self._rules.masking
        if masking is None or not masking.has_keys:
            return line
        thread = get_ident()
        continued = self._open_values.pop(thread, None) or Continued(masking)
        line = continued.shown(line, budget.spend)
        if not continued.is_idle:
            self._open_values[thread] = continued
            for first in list(self._open_values)[:-OPEN_VALUES_MAX]:
                self._open_values.pop(first, None)
        return line

    def _through_chain(self, text: str, details: str, *, said: Said, budget: Budget) -> tuple[str, str] | None:
        if self._current.is_processing:
            raise WithheldError(OF_PROCESSOR)
        if not self.chain.is_loaded:
            self.chain.load(is_init_over=False)
            self._say_problem()
        if self.chain.problem or not self.chain.is_loaded:
            raise WithheldError(self.chain.problem or NOT_LOADED)
        begun_s = thread_time()
        try:  # at once: what a signal handler raises before it would leave the thread in a processor for ever
            self._current.is_processing = True
            passed = self.chain.run(text, rules.fields_of(details), *said)
        finally:
            self._current.is_processing = False
            budget.leave_out(thread_time() - begun_s)
        return passed

    def _without_message(
        self, reason: str, text: str, details: str, level: int, *, is_held: bool
    ) -> tuple[str, str, int] | str:
        """What leaves of a record whose message must not: see :meth:`Rules.without_message`. Counted, and said once."""
        if reason not in (NOT_LOADED, OF_PROCESSOR) and reason != self._rules.withheld:
            diagnostics.say_once("error", f"{reason}; messages are withheld")
        spend, hidden = Budget(self._max_ms).spend, self._current.hidden or ()
        kept = self._rules.without_message(details, reason, spend, hidden, level, is_held=is_held)
        if not isinstance(kept, str):
            self._spool.count(counters.WITHHELD, 1, record_format.size_bytes(text))
        return kept

    def _say_problem(self) -> None:
        if self.chain.problem:
            diagnostics.say_once("error", f"{self.chain.problem}; messages are withheld")
