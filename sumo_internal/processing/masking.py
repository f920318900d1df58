"""Masks and hashes: what of a message and its fields nobody may read.

Pure: values in, values out. A message is a text, or the object that a line of JSON is; fields are what a record has
besides. The order is: keys, then expressions, everything found at once, so that one rule cannot take away what another
needs to see, and then replaced.

* A masked *key* hides its value wherever it is: in objects at any depth, in JSON inside a text or inside a value, in
  Python's notation for a dict. What it hides is hidden in the rest of the record, too: a value that a formatter has put
  into the text, or that an exception repeats.
* An *expression* sees each value as it is, without the escapes that JSON writes; and each text as a whole, with them
  and without.

Whatever goes wrong (a value nested too deep, no memory) is raised: the record must not leave then.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import re
from functools import partial

from sumo_internal.expressions import OVERLAP_CHARS, PIECE_CHARS, compiled, merged, readings, spans, whole_spans
from sumo_internal.processing.text_scan import (
    decoded,
    dump,
    embedded,
    has_quotes,
    literals,
    occurrences,
    quoted_keys,
    value_span,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from sumo_internal.expressions import Span

    Search = Callable[[str], Iterable[Span]]

MASK = "***"
"""What a masked value becomes."""

NAMES_MAX = 1_000
"""Names of which it is remembered whether they are masked keys."""

DIGEST_CHARS = 16
"""Of a hashed value: 64 bits of its HMAC-SHA256, in hexadecimal digits; enough to tell values apart, and billed."""


class Masking:
    """SUMO_MASK_KEYS, SUMO_MASK_PATTERNS and SUMO_HASH_PATTERNS: what of a record nobody may read."""

    def __init__(self, keys: Iterable[str], masks: Iterable[str], hashes: Iterable[str], salt: str) -> None:
        """Prepare the rules.

        Args:
            keys: Names with ``*`` and ``?``; upper and lower case are the same.
            masks: Expressions for what becomes :data:`MASK`.
            hashes: Expressions for what becomes a digest.
            salt: The digests' key.

        Raises:
            ExpressionRefusedError: An expression cannot be used.
        """
        self._masked: dict[str, bool] = {}
        globs = [fnmatch.translate(key) for key in keys]
        self._key = re.compile("|".join(globs), re.IGNORECASE) if globs else None
        mask_patterns = [compiled(source) for source in masks]
        hash_patterns = [compiled(source) for source in hashes]
        self._patterns = mask_patterns + hash_patterns
        self._masks: list[Search] = [partial(spans, pattern) for pattern in mask_patterns]
        self._hashes: list[Search] = [partial(spans, pattern) for pattern in hash_patterns]
        self._salt = salt.encode()
        self.has_keys = bool(globs)

    def applied(self, text: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A record's message and fields as they may leave.

        Args:
            text: The message: a text, or an object's JSON.
            fields: What the record has besides, by name: values that JSON has.
        """
        return _Record(self).applied(text, fields)

    def cut(self, text: str) -> int:
        """Where a text that goes on may be cut: not where something is found, or may be once the rest is there."""
        whole = [(begin, end) for begin, (_, end) in self._keys_in(text)]
        whole += [span for pattern in self._patterns for span in whole_spans(pattern, text)]
        end = len(text) - OVERLAP_CHARS
        for (begin, behind), _ in reversed(merged((span, True) for span in whole)):
            if begin < end < behind:
                end = begin
        return end if end > 0 else len(text)

    def is_masked(self, name: str) -> bool:
        """Is this a key whose value is masked, under its own name or the one that a record gives it?"""
        masked = self._masked.get(name)
        if masked is None:
            key = self._key
            masked = key is not None and bool(key.match(name) or key.match(name.removeprefix("extra_")))
            if len(self._masked) < NAMES_MAX:
                self._masked[name] = masked
        return masked

    def has_found(self, text: str, hidden: set[str]) -> bool:
        """Is there, or may there be, anything to be found? Most texts have nothing: that is told quickly."""
        if hidden or "\\" in text or len(text) > PIECE_CHARS or (self.has_keys and has_quotes(text)):
            return True
        return any(pattern.search(text) for pattern in self._patterns)

    def found(self, text: str, hidden: Iterable[str]) -> Iterator[tuple[Span, bool]]:
        """Places in a text that are to be masked (True) or hashed (False)."""
        searches = [partial(occurrences, value) for value in hidden]
        masks: list[Search] = [*searches, self.values_of_keys, *self._masks]
        plain = readings(text)
        for search, is_mask in [*((search, True) for search in masks), *((search, False) for search in self._hashes)]:
            yield from ((span, is_mask) for span in search(text))
            yield from ((each.original(span), is_mask) for each in plain for span in search(each.text))

    def values_of_keys(self, text: str) -> Iterator[Span]:
        """Where the values of masked keys are in a text that has them in quotes: JSON, or Python's notation."""
        return (span for _, span in self._keys_in(text))

    def _keys_in(self, text: str) -> Iterator[tuple[int, Span]]:
        """Where masked keys begin, and their values; but for those within such a value, which are hidden with it."""
        behind = 0
        for key, (begin, end) in quoted_keys(text) if self.has_keys else ():
            if begin >= behind and self.is_masked(key):
                span = value_span(text, end)
                behind = span[1]
                yield begin, span

    def digest(self, text: str) -> str:
        """What a hashed value becomes."""
        data = text.encode("utf-8", "backslashreplace")
        return hmac.new(self._salt, data, hashlib.sha256).hexdigest()[:DIGEST_CHARS]


class _Record:
    """One record on its way through the rules: what its keys have hidden, and which digests are in it already."""

    def __init__(self, rules: Masking) -> None:
        self._rules = rules
        self._hidden: set[str] = set()
        self._digests: set[str] = set()

    def applied(self, text: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        # First all keys, wherever they are: what they hide is looked for everywhere afterwards.
        kept = {name: self._without_values(value, name) for name, value in fields.items()}
        content, is_exact = decoded(text) if text[:1] == "{" else (None, True)
        if isinstance(content, dict):
            seen = self._clean(self._without_values(content))
            text = text if seen == content and is_exact else dump(seen, text)
        else:
            text = self._without_values(text)
        # An object's text is searched as well: who writes an expression for a message has its JSON in mind.
        return self._clean_text(text), {self._clean_text(name): self._clean(value) for name, value in kept.items()}

    def _without_values(self, value: Any, name: str = "") -> Any:
        """A value without what masked keys hide in it; which is noted."""
        if self._rules.is_masked(name):
            self._hide(value)
            return MASK
        if isinstance(value, dict):
            return {key: self._without_values(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._without_values(item) for item in value]
        return self._without_embedded(value) if isinstance(value, str) else value

    def _without_embedded(self, text: str) -> str:
        """A text without what masked keys hide in the JSON, and the like, that is in it."""
        if not self._rules.has_keys or not has_quotes(text):
            return text
        for form in [text, *(each.text for each in readings(text))]:
            for begin, end in self._rules.values_of_keys(form):
                self._hide(form[begin:end])
        pieces = []
        place = 0
        for begin, end, content, is_exact in embedded(text):
            plain = self._without_values(content)
            if plain != content or not is_exact:
                pieces += [text[place:begin], dump(plain, text[begin:end])]
                place = end
        return "".join([*pieces, text[place:]])

    def _hide(self, value: Any) -> None:
        if isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                self._hide(item)
        elif isinstance(value, str):
            # As it is used, too: without the line end of the file that it was in, without the b'' of bytes.
            self._hidden.update({text.strip() for text in (value, *literals(value))} - {"", MASK})
        elif value is not None and not isinstance(value, bool):
            self._hidden.add(json.dumps(value))

    def _clean(self, value: Any) -> Any:
        """A value with all that is found in it replaced: in its texts, its numbers and its keys."""
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, dict):
            return {self._clean_text(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        text = json.dumps(value)
        cleaned = self._clean_text(text)
        return value if cleaned == text else cleaned

    def _clean_text(self, text: str) -> str:
        if not self._rules.has_found(text, self._hidden):
            return text
        pieces = []
        place = 0
        for (begin, end), is_mask in merged(self._rules.found(text, self._hidden)):
            if is_mask or text[begin:end] not in self._digests:
                pieces += [text[place:begin], MASK if is_mask else self._digest(text[begin:end])]
                place = end
        return "".join([*pieces, text[place:]]) if pieces else text

    def _digest(self, text: str) -> str:
        digest = self._rules.digest(text)
        self._digests.add(digest)
        return digest
