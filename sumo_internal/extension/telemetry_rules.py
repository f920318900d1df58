"""The ready-made rules for lines that the function's own process does not hear: those of the Telemetry API.

In ``telemetry`` mode the extension has the function's lines as text, and no code of the function: masks, hashes,
exclude, include and sampling are as in process, which has SUMO_PROCESSORS besides. Where SUMO_PROCESSORS is set, a user
relies on it, and no message leaves. What becomes of an invocation is what the platform's events say of it.
"""

from __future__ import annotations

import json

from sumo_internal import diagnostics
from sumo_internal.capture.record_format import size_bytes
from sumo_internal.extension.request_sampling import RequestSampling
from sumo_internal.processing import rules
from sumo_internal.processing.budget import Budget, OverBudgetError, over_budget
from sumo_internal.processing.continued import Continued
from sumo_internal.processing.sampling import Sampling
from sumo_internal.processing.text_scan import decoded
from sumo_internal.spool import counters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.config import Config
    from sumo_internal.expressions.search import Spend
    from sumo_internal.spool.writer import Spool

NO_PROCESSORS = "SUMO_PROCESSORS needs the function's own process, and its lines come from the Telemetry API"


class TelemetryRules:
    """What the settings say of the function's lines, for the extension."""

    def __init__(self, config: Config, spool: Spool, *, is_concurrent: bool = False) -> None:
        """Process what goes into a spool.

        Args:
            config: The settings.
            spool: The extension's.
            is_concurrent: Requests overlap (Managed Instances), and only their REPORT tells of their end.
        """
        self._spool = spool
        self._max_ms = config.rules_max_ms
        self._rules = rules.Rules(config, NO_PROCESSORS if config.processors else "")
        masking = self._rules.masking
        self._continued = Continued(masking) if masking is not None and masking.has_keys else None
        self._sampling = Sampling(spool, config.sample_rate, config.max_mb_per_hour, is_enhanced=config.is_enhanced)
        self._requests: RequestSampling | None = None
        if is_concurrent:
            send = self._sampling.append  # which is never told of an invocation, and so lets all go out
            self._requests = RequestSampling(spool, config.sample_rate, send, is_enhanced=config.is_enhanced)

    def append(self, start: str, level: int, request_id: str | None) -> None:
        """Like :meth:`Spool.append`, for a line of the function's.

        Args:
            start: See there.
            level: See there.
            request_id: Whose line it is; None where that is not known.
        """
        if self._requests is not None:
            self._requests.append(start, level, request_id)
        else:
            self._sampling.append(start, level)

    def passed(self, text: str, details: str) -> tuple[str, str, int] | None:
        """Text, fields and level of a line as it may leave; None where it is not wanted. See :meth:`Rules.applied`."""
        spend = Budget(self._max_ms).spend
        try:
            if self._continued is not None:
                text = self._without_continued(text, self._continued, spend)
            kept = self._rules.applied(text, details, spend=spend)
        except Exception as problem:
            reason = f"masking failed: {type(problem).__name__}"
            if isinstance(problem, rules.WithheldError):
                reason = str(problem)
            elif isinstance(problem, OverBudgetError):
                reason = over_budget(self._max_ms)
            diagnostics.say_once("warn", f"{reason}; messages are withheld")
            kept = self._rules.without_message(details, reason, Budget(self._max_ms).spend)
            if not isinstance(kept, str):
                self._spool.count(counters.WITHHELD, 1, size_bytes(text))
        if isinstance(kept, str):
            self._spool.count(kept, 1, size_bytes(text))
            return None
        return kept

    def _without_continued(self, text: str, continued: Continued, spend: Spend) -> str:
        """A line without what a key on an earlier line hides; in the JSON format a line is an object's message."""
        content = decoded(text)[0] if text[:1] == "{" and '"message"' in text else None
        if not isinstance(content, dict):
            return text if "\n" in text else continued.shown(text, spend)
        line = content.get("message")
        if not isinstance(line, str) or "\n" in line or "logger" in content:
            return text
        shown = continued.shown(line, spend)
        return text if shown == line else json.dumps({**content, "message": shown}, ensure_ascii=False)

    def follow(self, event: object) -> None:
        """Note which invocation runs, and how it ended."""
        kind = event.get("type") if isinstance(event, dict) else None
        record = event.get("record") if isinstance(event, dict) else None
        if not isinstance(record, dict):
            return
        if self._requests is not None:
            if kind == "platform.report":
                self._requests.end(str(record.get("requestId")), is_success=record.get("status") == "success")
        elif kind == "platform.start":
            self._sampling.begin(str(record.get("requestId")))
        elif kind == "platform.runtimeDone":
            self.end(is_success=record.get("status") == "success")

    def end(self, *, is_success: bool) -> None:
        """The invocation has ended, if one was running; with several at a time, the environment."""
        if self._requests is not None:
            self._requests.end_all()
        if not is_success:
            self._sampling.fail()
        self._sampling.end()
