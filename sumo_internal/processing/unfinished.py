"""Records of text that has no line end and will get none, because its process is dead; and of the invocation's end.

Separate from the pipeline, whose records come from the process that wrote them: here another process makes them (the
extension, mostly), which has the settings but not the function's own processors. What is masked is masked here as well;
where SUMO_PROCESSORS names some, the message is withheld.
"""

from __future__ import annotations

import re

from sumo_internal.capture import record_format
from sumo_internal.processing.budget import Budget, OverBudgetError, over_budget
from sumo_internal.processing.rules import Rules, WithheldError
from sumo_internal.spool.counters import WITHHELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sumo_internal.config import Config
    from sumo_internal.spool.partials import Partial

NO_PROCESSORS = "SUMO_PROCESSORS: the process ended before they could run"
NO_BEGINNING = "masking: the process ended in the middle, and the beginning is not there"

_EDGE = re.compile(r"[\s\"']")


class Unfinished:
    """Makes the records that dead processes had begun."""

    def __init__(
        self, config: Config, count: Callable[[str, int, int], None], is_timeout: Callable[[str], bool]
    ) -> None:
        """Make records under these settings.

        Args:
            config: The settings.
            count: Counts lines and bytes under a reason.
            is_timeout: Has Lambda ended the process, in the invocation with this request id, because of the timeout?
        """
        self._is_timeout = is_timeout
        self._rules = Rules(config, NO_PROCESSORS if config.processors else "")
        self._count = count
        self._max_ms = config.rules_max_ms

    def record(self, partial: Partial) -> str | None:
        """A record up to its closing brace; None where a rule says that it is not wanted."""
        if not partial.number:
            from sumo_internal.capture import summary

            context = partial.context or ""
            request_id = context.partition('"requestID":"')[2].partition('"')[0]
            return summary.of_dead(context, is_timeout=self._is_timeout(request_id))
        text = record_format.legible(partial.text)
        if partial.cut_bytes:  # half a secret of our own could not be recognised
            edge = _EDGE.search(text)
            text = text[edge.start() :] if edge else ""
        details = record_format.line_text(text)[1] + (f',"cut":{partial.cut_bytes}' if partial.cut_bytes else "")
        try:
            if self._is_without_key(partial, text):
                raise WithheldError(NO_BEGINNING)
            kept = self._rules.applied(text, details, spend=Budget(self._max_ms).spend)
        except WithheldError as problem:
            kept = self._without_message(str(problem), partial, details)
        except OverBudgetError:
            kept = self._without_message(over_budget(self._max_ms), partial, details)
        except Exception as error:
            kept = self._without_message(f"masking failed: {type(error).__name__}", partial, details)
        if isinstance(kept, str):
            self._count(kept, 1, record_format.size_bytes(partial.text))
            return None
        text, details, _ = kept
        message = record_format.message_text(text)[0]
        return record_format.start_text(partial.created_s, message, details, partial.context)

    def _is_without_key(self, partial: Partial, text: str) -> bool:
        """May the key of a masked value stand in what is missing, or was recorded before?"""
        masking = self._rules.masking
        if masking is None:
            return False
        return bool(partial.cut_bytes or text[:1].isspace() or (partial.is_rest and masking.has_keys))

    def _without_message(self, reason: str, partial: Partial, details: str) -> tuple[str, str, int] | str:
        kept = self._rules.without_message(details, reason, Budget(self._max_ms).spend)
        if not isinstance(kept, str):
            self._count(WITHHELD, 1, record_format.size_bytes(partial.text))
        return kept
