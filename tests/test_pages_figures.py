"""Figures that pages name are those of the code: each sentence is put together from the constant that it speaks of.

Separate from what tests write (settings, failures, sources of lines, flush, costs): these stand in running text.
"""

from __future__ import annotations

import re

import pytest
from runtimes import ROOT

from sumo_internal import own_secrets
from sumo_internal.capture import bounds, durable, multiline, record_format, runtime_client
from sumo_internal.cli import account
from sumo_internal.config import read
from sumo_internal.expressions import search
from sumo_internal.extension import keeper, lifecycle
from sumo_internal.shipping import flush_strategy, retry_policy, shipper
from sumo_internal.spool import outage, partials, segment, turn, writer

DEFAULTS, _ = read({})

WORDS = {2: "two", 5: "five", 6: "six", 8: "eight", 10: "ten"}

_KEPT_FILES = keeper.KEPT_MAX + keeper.WAITING_MAX
_UNHELD = flush_strategy.UNHELD_FIRST

SAID = {
    "README.md": [
        f"until Sumo Logic has responded, {flush_strategy.HOLD_MAX_S:.0f} s at most",
        f"the next one that lasts {flush_strategy.BESIDE_S * 1000:.0f} ms or comes after a second",
    ],
    "CHANGELOG.md": [
        f"no line waits for another thread for longer than {turn.WAIT_S * 1000:.0f} ms",
        f"`SUMO_RULES_MAX_MS` ({DEFAULTS.rules_max_ms} ms of CPU time)",
    ],
    "layer/examples/README.md": [f"asks, and then changes {WORDS[account.AT_ONCE]} at a time"],
    "docs/cloudwatch.md": [
        f"text of more than {partials.TEXT_MAX_BYTES:,} bytes",
        f"({DEFAULTS.cloudwatch_fallback_s:.0f} s from the first failed attempt)",
        f"responds with {', '.join(map(str, outage.AT_ONCE))}",
    ],
    "docs/how-it-works.md": [
        f"by the end of the init, or in {lifecycle.SETTLE_MAX_S:g} s",
        f"Lines that are {WORDS[round(DEFAULTS.flush_max_age_s)]} seconds old (`SUMO_FLUSH_MAX_AGE_S`), or "
        f"{WORDS[shipper.WAKE_BYTES >> 20]} megabytes of them",
        f"{WORDS[round(flush_strategy.HOLD_MAX_S)]} seconds at most",
        f"({WORDS[round(flush_strategy.DENSE_GAP_S)]} seconds apart and more, on average)",
        f"the next that lasts for {flush_strategy.BESIDE_S * 1000:.0f} ms, or, once a second has passed",
        f"then after its first {WORDS[round(flush_strategy.BESIDE_DUE_S * 1000)]} milliseconds",
        f"again after {_UNHELD} invocations, then after {_UNHELD * 4}, {_UNHELD * 16}, {flush_strategy.UNHELD_MAX},",
        f"what is in more than {_KEPT_FILES} files at a time",
        f"waits for it {turn.WAIT_S * 1000:.0f} ms at most",
        f"{writer.LEFT_MAX_LINES:,} of them or {writer.LEFT_MAX_BYTES // 1_000_000} MB may wait",
    ],
    "docs/migration.md": [f"`SUMO_SECRET_CACHE_SECONDS` ({DEFAULTS.secret_cache_s:,})"],
    "docs/modes.md": [
        f"{shipper.SNAPSHOT_MAX_S:.0f} s at most, when Sumo Logic does not respond",
        f"has no response after {lifecycle.STUCK_S:g} s is given up",
    ],
    "docs/processing.md": [
        f"in pieces of {search.PIECE_CHARS:,} characters",
        f"in pieces of {search.PIECE_MIN_CHARS:,} at least",
        f"need more than `SUMO_RULES_MAX_MS` ({DEFAULTS.rules_max_ms}) of CPU",
        f"each of {own_secrets.SECRET_MIN_CHARS} characters or more",
        f"pieces of {own_secrets.PIECE_CHARS} characters and more",
        f"the first piece has {own_secrets.FIRST_PIECE_CHARS} characters",
        f"The latest `SUMO_DEBUG_MAX_MB` ({DEFAULTS.debug_max_mb}) are kept",
    ],
    "docs/records.md": [
        f"one line of JSON of at most {record_format.RECORD_MAX_BYTES >> 10} KiB",
        f"may have {bounds.VALUES_MAX_CHARS >> 10} Ki characters together",
        f"an item of a list or dict counts as {WORDS[bounds.ITEM_CHARS]} at least",
        f"of more than {partials.TEXT_MAX_BYTES:,} bytes",
        f"more than {durable.FRAMES_MAX} calls deep",
    ],
    "docs/troubleshooting.md": [
        f"or it has {_KEPT_FILES} others",
        f"`TELEMETRY_TIMEOUT_MS` ({DEFAULTS.telemetry_timeout_ms:,})",
    ],
}
"""Pieces of sentences, by page."""


@pytest.mark.parametrize("page", SAID)
def test_figures_in_sentences_are_the_codes(page: str) -> None:
    """Guards against a limit that is changed, and goes on being told as it was."""
    text = re.sub(r"\s+", " ", (ROOT / page).read_text())
    assert [piece for piece in SAID[page] if piece not in text] == []


def test_what_pages_say_in_words() -> None:
    """``a second``, ``a megabyte``, ``a million characters``, ``from its tenth line on``, ``a quarter of an hour``."""
    assert flush_strategy.BESIDE_AGE_S == 1.0
    assert 0.9 < segment.SEGMENT_BYTES / 1_000_000 <= 1.0
    assert multiline.TOGETHER_MAX_CHARS == 1_000_000
    assert runtime_client._JOINT_AFTER_LINES == 10
    assert retry_policy.RETRY_AFTER_MAX_S == 15 * 60
