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

from sumo_internal.expressions.checked import compiled
from sumo_internal.expressions.search import (
    OVERLAP_CHARS,
    has_match,
    merged,
    no_limit,
    readings,
    spans,
    whole_spans,
)
from sumo_internal.processing import text_scan
from sumo_internal.processing.text_scan import decoded, dump, embedded, has_quotes, literals, value_span
from sumo_internal.processing.values import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import Any

    from sumo_internal.expressions.search import Span, Spend

MASK = "***"
"""What a masked value becomes."""

NAMES_MAX = 1_000
"""Names that are remembered with the answer whether they are masked keys."""

NAME_MAX_CHARS = 200
"""A longer text is no name of the value beside it."""

SHORT_TEXT_CHARS, SHORT_TEXTS_MAX = 100, 1_000
"""A record's texts up to this length are cleaned once, and so many of them are remembered: in a list of objects, all
objects have the same keys."""

PAIRS_SHARE = 4
"""So many times a text's length may be looked at to tell whether what begins like a pair is a pair; what is left after
that counts as a pair."""

LINE_MIN_CHARS = 8
"""A line of a value of several lines is hidden where it stands alone, too, if it is as long as this."""

_CREDENTIALS = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,30}}[ \t]+(\S{{{LINE_MIN_CHARS},}})")
"""A header's value that names a scheme: programs go on with what is behind it (``Bearer eyJ…``)."""

_PLAIN = frozenset((str, bytes, int, float))

_AROUND_LINE = " \t\r│'\""
"""What stands around a line where a value is laid out for a reader."""

_GOES_ON = frozenset("[({,:='\"")
"""What a line ends with if a value may go on in the next one."""

_LITERAL = re.compile(r"""["']([^"']+)["']""")
_MEMBER = re.compile(r"\.(\w+)(?=[:>]|\Z)")
"""The name of an enum's member, as its ``str`` or ``repr`` ends or goes on."""

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
        self._patterns = [(compiled(source), True) for source in masks]
        self._patterns += [(compiled(source), False) for source in hashes]
        self._salt = salt.encode()
        self.has_keys = bool(globs)

    def applied(
        self, text: str, fields: Mapping[str, Any], spend: Spend = no_limit, hidden: Collection[str] = ()
    ) -> tuple[str, dict[str, Any]]:
        """A record's message and fields as they may leave.

        Args:
            text: The message: a text, or an object's JSON.
            fields: What the record has besides, by name: values that JSON has.
            spend: Is told of characters before they are looked at; what it raises is raised.
            hidden: What keys have hidden in the text that was written together with the message.
        """
        return _Record(self, spend, hidden).applied(text, fields)

    def hidden(self, text: str, spend: Spend = no_limit) -> set[str]:
        """What keys hide in a text."""
        record = _Record(self, spend, ())
        record.without_values(text)
        return record.hidden

    def values_of(self, named: Mapping[Any, Any]) -> set[str]:
        """What masked keys hold of a message's named arguments, as far as the interpreter alone makes text of it."""
        record = _Record(self, no_limit, ())
        for name, value in named.items():
            if type(name) is str and type(value) in _PLAIN and self.is_masked(name):
                record.hide(str(value))
        return record.hidden

    def cut(self, text: str, others: Iterable[Span] = ()) -> int:
        """Where a text that goes on may be cut: not where something is found, or may be found once the rest is there.

        Args:
            text: It has no line end yet.
            others: Places besides, in which it may not be cut either.
        """
        whole = [*others]
        whole += [(begin, end) for begin, (_, end) in self._keys_in(text, no_limit)]
        whole += [span for pattern, _ in self._patterns for span in whole_spans(pattern, text)]
        end = len(text) - OVERLAP_CHARS
        for (begin, behind), _ in reversed(merged((span, True) for span in whole)):
            if begin < end < behind:
                end = begin
        return end if end > 0 else len(text)

    def last_value(self, text: str, spend: Spend = no_limit) -> str | None:
        """The value of a masked key at the end of a text, as far as it is there; None where something else is there."""
        if not self.has_keys or text.rstrip()[-1:] not in _GOES_ON:
            return None  # nearly always
        begin, end = max((span for _, span in self._keys_in(text, spend)), default=(0, 0))
        return text[begin:].strip() if end and text[end:].strip() in ("", "'", '"') else None

    def is_masked(self, name: str) -> bool:
        """Is this a key whose value is masked, under its own name or the one that a record gives it?

        Bytes, enums' members and tuples are keys, too; what is known of them is their text.
        """
        masked = self._masked.get(name)
        if masked is None:
            key = self._key
            masked = key is not None and any(map(key.match, _forms(name)))
            if len(self._masked) < NAMES_MAX:
                self._masked[name] = masked
        return masked

    def is_name(self, value: Any) -> bool:
        """Is this the text of a masked key, which names a value that stands beside it?"""
        return isinstance(value, str) and len(value) <= NAME_MAX_CHARS and self.is_masked(value)

    def has_found(self, text: str, spend: Spend) -> bool:
        """Is there, or may there be, anything to be found? Most texts have nothing: that is told quickly."""
        if "\\" in text or (self.has_keys and has_quotes(text)):
            return True
        return any(has_match(pattern, text, spend) for pattern, _ in self._patterns)

    def is_plain(self, text: str, spend: Spend) -> bool:
        """Is this a message, and no object, in which nothing is found and no key can be?"""
        return text[:1] != "{" and not self.has_found(text, spend)

    def found(self, text: str, spend: Spend) -> Iterator[tuple[Span, bool]]:
        """Places in a text that are to be masked (True) or hashed (False)."""
        yield from ((span, True) for span in self.values_of_keys(text, spend))
        for pattern, is_mask in self._patterns:
            yield from ((span, is_mask) for span in spans(pattern, text, spend))

    def values_of_keys(self, text: str, spend: Spend) -> Iterator[Span]:
        """Where the values of masked keys are in a text that has them in quotes: JSON, or Python's notation."""
        return (span for _, span in self._keys_in(text, spend))

    def _keys_in(self, text: str, spend: Spend) -> Iterator[tuple[int, Span]]:
        """Where masked keys begin, and their values; but for those within such a value, which are hidden with it."""
        if not self.has_keys:
            return
        spend(len(text))
        behind = looked_at = 0
        for (begin, end), may_be_pair in text_scan.keys(text, self.is_masked, spend):
            if begin < behind or (may_be_pair and not text_scan.may_begin_pair(text, begin)):
                continue
            span = value_span(text, end)
            if may_be_pair and looked_at < PAIRS_SHARE * len(text):
                looked_at += span[1] - begin
                if not text_scan.ends_pair(text, span[1]):
                    continue
            behind = span[1]
            yield begin, span

    def digest(self, text: str) -> str:
        """What a hashed value becomes."""
        data = text.encode("utf-8", "backslashreplace")
        return hmac.new(self._salt, data, hashlib.sha256).hexdigest()[:DIGEST_CHARS]


def _forms(name: str) -> Iterator[str]:
    """What a key may be called: as it is, or as what its text says it is."""
    yield name
    yield name.removeprefix("extra_")
    if len(name) <= NAME_MAX_CHARS:
        yield from _LITERAL.findall(name)
        yield from _MEMBER.findall(name)


class _Record:
    """One record on its way through the rules: what its keys have hidden, and which digests are in it already."""

    def __init__(self, rules: Masking, spend: Spend, hidden: Iterable[str]) -> None:
        self._rules = rules
        self._spend = spend
        self.hidden = set(hidden)
        self._values = Values((), spend)
        self._digests: set[str] = set()
        self._cleaned: dict[str, str] = {}

    def applied(self, text: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        # First all keys, wherever they are: what they hide is looked for everywhere afterwards.
        kept = {name: self._without(value, name) for name, value in fields.items()}
        content, is_exact = decoded(text) if text[:1] == "{" else (None, True)
        plain = self.without_values(content if isinstance(content, dict) else text)
        self._values = Values(self.hidden, self._spend)
        if isinstance(content, dict):
            seen = self._clean(plain)
            text = text if seen == content and is_exact else dump(seen, text)
        else:
            text = plain
        # An object's text is searched as well: who writes an expression for a message has its JSON in mind.
        return self._clean_text(text), {self._clean_text(name): self._clean(value) for name, value in kept.items()}

    def _without(self, value: Any, name: str) -> Any:
        """What a key holds, without what may not be seen."""
        if self._rules.is_masked(name):
            self.hide(value)
            return MASK
        return self.without_values(value)

    def without_values(self, value: Any) -> Any:
        """A value without what masked keys hide in it; what they hide is noted."""
        if isinstance(value, dict):
            named = next((key for key in value if key.lower() == "value"), None)
            if named is not None and any(map(self._rules.is_name, value.values())):
                self.hide(value[named])
                value = {**value, named: MASK}
            return {key: self._without(item, key) for key, item in value.items()}
        if isinstance(value, list):
            if len(value) == 2 and self._rules.is_name(value[0]):
                self.hide(value[1])
                return [value[0], MASK]
            return [self.without_values(item) for item in value]
        return self._without_embedded(value) if isinstance(value, str) else value

    def _without_embedded(self, text: str) -> str:
        """A text without what masked keys hide in the JSON, and the like, that is in it."""
        if not self._rules.has_keys or not has_quotes(text):
            return text
        for form in [text, *(each.text for each in readings(text, self._spend))]:
            for begin, end in self._rules.values_of_keys(form, self._spend):
                self.hide(form[begin:end])
        pieces = []
        place = 0
        self._spend(len(text))
        for begin, end, content, is_exact in embedded(text):
            plain = self.without_values(content)
            if plain != content or not is_exact:
                pieces += [text[place:begin], dump(plain, text[begin:end])]
                place = end
        return "".join([*pieces, text[place:]])

    def hide(self, value: Any) -> None:
        """Note a value that is to be hidden."""
        if isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                self.hide(item)
        elif isinstance(value, str):
            self._spend(len(value))
            # As it is used, too: without the line end of the file that it was in, without the b'' of bytes.
            texts = {text.strip() for text in (value, *literals(value))} - {"", MASK}
            self.hidden.update(texts)
            self.hidden.update(match[1] for match in map(_CREDENTIALS.fullmatch, texts) if match)
            if "\n" in value:  # each line may be a record of its own
                lines = (line.strip(_AROUND_LINE) for line in value.split("\n"))
                self.hidden.update(line for line in lines if len(line) >= LINE_MIN_CHARS)
        elif value is not None and not isinstance(value, bool):
            self.hidden.add(json.dumps(value))

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
        if len(text) > SHORT_TEXT_CHARS:
            return self._cleaned_text(text)
        cleaned = self._cleaned.get(text)
        if cleaned is None:
            cleaned = self._cleaned_text(text)
            if len(self._cleaned) < SHORT_TEXTS_MAX:
                self._cleaned[text] = cleaned
        return cleaned

    def _cleaned_text(self, text: str) -> str:
        if not ((self._values and self._values.spans(text)) or self._rules.has_found(text, self._spend)):
            return text
        pieces = []
        place = 0
        for (begin, end), is_mask in merged(self._found(text)):
            if is_mask or text[begin:end] not in self._digests:
                pieces += [text[place:begin], MASK if is_mask else self._digest(text[begin:end])]
                place = end
        return "".join([*pieces, text[place:]]) if pieces else text

    def _found(self, text: str) -> Iterator[tuple[Span, bool]]:
        """Places in a text, as it is and as it reads without its escapes."""
        yield from ((span, True) for span in self._values.spans(text))
        yield from self._rules.found(text, self._spend)
        for each in readings(text, self._spend):
            yield from ((each.original(span), True) for span in self._values.spans(each.text))
            yield from ((each.original(span), is_mask) for span, is_mask in self._rules.found(each.text, self._spend))

    def _digest(self, text: str) -> str:
        digest = self._rules.digest(text)
        self._digests.add(digest)
        return digest
