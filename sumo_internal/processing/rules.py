"""The ready-made rules of the settings: which records are wanted, and as what they may leave the function. Pure.

What a record passes, in this order: SUMO_EXCLUDE and SUMO_INCLUDE; what the caller adds (the users' processors); masks
and hashes (:mod:`sumo_internal.processing.masking`). Whatever goes wrong in there is raised, and the caller then sends
the record :meth:`~Rules.without_message`.
"""

from __future__ import annotations

import json
import re
import zlib

from sumo_internal.capture import log_records, record_format
from sumo_internal.expressions.checked import compiled
from sumo_internal.expressions.search import has_match, no_limit
from sumo_internal.processing.masking import MASK, Masking
from sumo_internal.spool.counters import BELOW_LEVEL, DROPPED, EXCLUDED
from sumo_internal.spool.segment import INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

    from sumo_internal.config import Config
    from sumo_internal.expressions.search import Spend

    Process = Callable[[str, str], "tuple[str, str] | None"]
    """What else a record passes, as a text and fields (a piece of a record); None drops it."""


_METADATA = ("level", "logger", "errorType")
"""Fields that are shown of a record without its message."""

_LEVEL_PREFIX = re.compile(r"\[([A-Za-z]{1,20})\]\t")
"""How the runtime begins a log record."""


PLAIN_MAX, PLAIN_MAX_CHARS = 100, 500
"""Fields that are remembered because no mask finds anything in them, and their length: those of a level and logger."""


class WithheldError(Exception):
    """A record's message must not leave; the text says why, without anything of the record."""


class Rules:
    """All ready-made rules of the settings."""

    def __init__(self, config: Config, withheld: str = "") -> None:
        """Prepare the rules.

        Args:
            config: The settings.
            withheld: Why no message may leave; empty where some may.
        """
        self.withheld = config.withheld or withheld
        self._least_level = config.least_level
        self._selection = Selection(config.exclude, config.include)
        sources = (config.mask_keys, config.mask_patterns, config.hash_patterns)
        self.masking = Masking(*sources, config.hash_salt) if any(sources) and not self.withheld else None
        self._plain: dict[str, dict[str, Any]] = {}
        """What pieces say in which no mask finds anything; nobody changes it."""

    def applied(
        self,
        text: str,
        details: str,
        process: Process | None = None,
        spend: Spend = no_limit,
        hidden: Collection[str] = (),
        level: int = INFO,
        *,
        is_held: bool = False,
    ) -> tuple[str, str, int] | str:
        """A record as it may leave.

        Args:
            text: What was written: a text, or an object's JSON.
            details: What the record has besides, as a piece.
            process: What it passes after it was selected and before it is masked.
            spend: Is told of characters before they are searched; what it raises is raised.
            hidden: What masked keys hide in the text that was written together with the message.
            level: As in ``logging``, of a record that names none.
            is_held: It is below the function's own level, and waits for its invocation to fail: SUMO_LEVEL is for what
                the function shows.

        Returns:
            Text, fields and level; or why it is not wanted, as the counters have it.

        Raises:
            WithheldError: The record may leave :meth:`without_message` only. The same holds after any other exception.
        """
        if self.withheld:
            raise WithheldError(self.withheld)
        if not self._selection.is_wanted(text, spend):
            return EXCLUDED
        if process is not None:
            passed = process(text, details)
            if passed is None:
                return DROPPED
            text, details = passed
        plain = self._plain.get(details)
        fields = fields_of(details) if plain is None else plain
        own_level = severity(text, fields)
        if not is_held and (own_level or level) < self._least_level:
            return BELOW_LEVEL
        if self.masking is not None and (plain is None or hidden or not self.masking.is_plain(text, spend)):
            shown, masked = self.masking.applied(text, fields, spend, hidden)
            if masked != fields:
                details = record_format.fields_text(masked, masked)
            elif shown == text and len(details) <= PLAIN_MAX_CHARS and len(self._plain) < PLAIN_MAX:
                self._plain[details] = fields
            text = shown
        return text, details, max(level, own_level)

    def without_message(
        self,
        details: str,
        reason: str,
        spend: Spend = no_limit,
        hidden: Collection[str] = (),
        level: int = INFO,
        *,
        is_held: bool = False,
    ) -> tuple[str, str, int] | str:
        """What may leave of a record of which not all may: its metadata, and why there is no more. See :meth:`applied`.

        A line of JSON may name any level and logger: they are masked, too. Where that fails, a known level stays.
        """
        fields = {name: value for name, value in fields_of(details).items() if name in _METADATA}
        own_level = severity("", fields)
        if not is_held and (own_level or level) < self._least_level:
            return BELOW_LEVEL
        if self.masking is not None:
            try:
                fields = self.masking.applied("", fields, spend, hidden)[1]
            except Exception:
                fields = {"level": fields["level"]} if own_level else {}
        return MASK, record_format.fields_text({**fields, "withheld": reason}, (*fields, "withheld")), own_level


def fields_of(details: str) -> dict[str, Any]:
    """A piece of a record as what it says."""
    fields: dict[str, Any] = json.loads(f"{{{details[1:]}}}")
    return fields


def severity(text: str, fields: Mapping[str, Any]) -> int:
    """A record's level, of its fields or of the runtime's prefix, as in ``logging``; 0 where there is none."""
    if "level" in fields:
        name = fields["level"]
    else:
        prefix = _LEVEL_PREFIX.match(text)
        name = prefix and prefix[1]
    return log_records.level_number(record_format.level_text(name), 0) if isinstance(name, str) else 0


def is_sampled(request_id: str, rate: float) -> bool:
    """Do an invocation's lines go out? The same answer for the same request, in every function that sees it."""
    return zlib.crc32(request_id.encode("utf-8", "backslashreplace")) < rate * 2**32


class Selection:
    """SUMO_EXCLUDE and SUMO_INCLUDE: which messages are wanted at all."""

    def __init__(self, exclude: Iterable[str], include: Iterable[str]) -> None:
        self._exclude = [compiled(source) for source in exclude]
        self._include = [compiled(source) for source in include]

    def is_wanted(self, text: str, spend: Spend = no_limit) -> bool:
        """Does an expression of SUMO_INCLUDE, if there are any, match the message's text, and none of SUMO_EXCLUDE?"""
        if any(has_match(pattern, text, spend) for pattern in self._exclude):
            return False
        return not self._include or any(has_match(pattern, text, spend) for pattern in self._include)
