"""The ready-made rules: what of a message and its fields may leave the function.

Pure: values in, values out. A message is a text, or the object that a line of JSON is; fields are what a record has
besides. The order is: keys, then expressions, everything found at once, so that one rule cannot take away what another
needs to see, and then replaced.

* A masked *key* hides its value wherever it is: in objects at any depth, in JSON inside a text or inside a value, in
  Python's notation for a dict. What it hides is hidden in the rest of the record, too: a value that a formatter has put
  into the text, or that an exception repeats.
* An *expression* sees each value as it is, without the escapes that JSON writes; and each text as a whole, with them
  and without.

Whoever calls this must be ready for any exception (a value nested too deep, no memory) and then withhold the record.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import re
import zlib
from functools import partial

from sumo_internal.patterns import OVERLAP_CHARS, compiled, has_match, merged, readings, spans, whole_spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from sumo_internal.patterns import Span

    Search = Callable[[str], Iterable[Span]]

MASK = "***"
"""What a masked value becomes."""

DIGEST_CHARS = 16
"""Of a hashed value: 64 bits of its HMAC-SHA256, in hexadecimal digits; enough to tell values apart, and billed."""

_SHORT_CHARS = 4
"""A hidden value shorter than this is hidden elsewhere only where it stands alone: else "1" would eat every text."""

_EMBEDDED_MAX = 50
"""Beginnings of JSON that are tried in one text: each that turns out to be none costs a look at what follows it."""

_QUOTED_KEY = re.compile(r"""(["'])([^"'\n]{1,200}?)\1\s{0,8}[:=]\s{0,8}""")
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_BARE = re.compile(r"[^\s,;&)\]}]+")
"""A value behind a quoted key in a text that is no JSON as a whole: in quotes, or a number or name."""

_CLOSING = {"{": "}", "[": "]"}


def is_sampled(request_id: str, rate: float) -> bool:
    """Do an invocation's lines go out? The same answer for the same request, in every function that sees it."""
    return zlib.crc32(request_id.encode("utf-8", "backslashreplace")) < rate * 2**32


class Selection:
    """SUMO_EXCLUDE and SUMO_INCLUDE: which messages are wanted at all."""

    def __init__(self, exclude: Iterable[str], include: Iterable[str]) -> None:
        self._exclude = [compiled(source) for source in exclude]
        self._include = [compiled(source) for source in include]

    def is_wanted(self, text: str) -> bool:
        """Does an expression of SUMO_INCLUDE, if there are any, match the message's text, and none of SUMO_EXCLUDE?"""
        if any(has_match(pattern, text) for pattern in self._exclude):
            return False
        return not self._include or any(has_match(pattern, text) for pattern in self._include)


class Disguise:
    """SUMO_MASK_KEYS, SUMO_MASK_PATTERNS and SUMO_HASH_PATTERNS: what of a record nobody may read."""

    def __init__(self, keys: Iterable[str], masks: Iterable[str], hashes: Iterable[str], salt: str) -> None:
        """Prepare the rules.

        Args:
            keys: Names with ``*`` and ``?``; upper and lower case are the same.
            masks: Expressions for what becomes :data:`MASK`.
            hashes: Expressions for what becomes a digest.
            salt: The digests' key.

        Raises:
            Refused: An expression cannot be used.
        """
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
        whole = [(match.start(), value_span(text, match.end())[1]) for match in self._keys_in(text)]
        whole += [span for pattern in self._patterns for span in whole_spans(pattern, text)]
        end = len(text) - OVERLAP_CHARS
        for (begin, behind), _ in reversed(merged((span, True) for span in whole)):
            if begin < end < behind:
                end = begin
        return end if end > 0 else len(text)

    def is_masked(self, name: str) -> bool:
        """Is this a key whose value is masked, under its own name or the one that a record gives it?"""
        key = self._key
        return key is not None and bool(key.match(name) or key.match(name.removeprefix("extra_")))

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
        return (value_span(text, match.end()) for match in self._keys_in(text))

    def _keys_in(self, text: str) -> Iterator[re.Match[str]]:
        return (match for match in _QUOTED_KEY.finditer(text) if self._key and self.is_masked(match[2]))

    def digest(self, text: str) -> str:
        """What a hashed value becomes."""
        data = text.encode("utf-8", "backslashreplace")
        return hmac.new(self._salt, data, hashlib.sha256).hexdigest()[:DIGEST_CHARS]


class _Record:
    """One record on its way through the rules: what its keys have hidden, and which digests are in it already."""

    def __init__(self, rules: Disguise) -> None:
        self._rules = rules
        self._hidden: set[str] = set()
        self._digests: set[str] = set()

    def applied(self, text: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        # First all keys, wherever they are: what they hide is looked for everywhere afterwards.
        kept = {name: self._without_values(value, name) for name, value in fields.items()}
        content, is_exact = _decoded(text) if text[:1] == "{" else (None, True)
        if isinstance(content, dict):
            seen = self._clean(self._without_values(content))
            text = text if seen == content and is_exact else _dump(seen, text)
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
        for form in [text, *(each.text for each in readings(text))] if self._rules.has_keys else ():
            for begin, end in self._rules.values_of_keys(form):
                self._hide(form[begin:end])
        pieces = []
        place = 0
        for begin, end, content, is_exact in _embedded(text) if self._rules.has_keys else ():
            plain = self._without_values(content)
            if plain != content or not is_exact:
                pieces += [text[place:begin], _dump(plain, text[begin:end])]
                place = end
        return "".join([*pieces, text[place:]])

    def _hide(self, value: Any) -> None:
        if isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                self._hide(item)
        elif value is not None and not isinstance(value, bool) and value not in ("", MASK):
            self._hidden.add(value if isinstance(value, str) else json.dumps(value))

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


def occurrences(value: str, text: str) -> Iterator[Span]:
    """Where a hidden value is in a text."""
    begin = text.find(value)
    while begin >= 0:
        end = begin + len(value)
        if len(value) >= _SHORT_CHARS or not (
            text[max(0, begin - 1) : begin].isalnum() or text[end : end + 1].isalnum()
        ):
            yield begin, end
        begin = text.find(value, begin + 1)


def value_span(text: str, begin: int) -> Span:
    """Where the value is that begins here, behind a key; one that has no end goes to the end of the text."""
    quoted = _QUOTED.match(text, begin)
    if quoted:
        return quoted.span(2)
    if text[begin : begin + 1] in ("{", "["):
        return begin, _closed(text, begin)
    bare = _BARE.match(text, begin)
    return bare.span() if bare and text[begin] not in "\"'" else (begin, len(text))


def _closed(text: str, begin: int) -> int:
    """The end of an object or a list that begins here."""
    open_ones: list[str] = []
    place = begin
    while place < len(text):
        quoted = _QUOTED.match(text, place) if text[place] in "\"'" else None
        if text[place] in _CLOSING:
            open_ones.append(_CLOSING[text[place]])
        elif text[place] == open_ones[-1]:
            open_ones.pop()
            if not open_ones:
                return place + 1
        place = quoted.end() if quoted else place + 1
    return len(text)


def _pairs(is_exact: list[bool], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; one that names a key twice has values that nobody sees after it was read."""
    content = dict(pairs)
    is_exact[0] &= len(content) == len(pairs)
    return content


def _decoded(text: str) -> tuple[Any, bool]:
    """What a text is as JSON, None where it is none; and whether all of the text is in that."""
    is_exact = [True]
    try:
        return json.loads(text, object_pairs_hook=partial(_pairs, is_exact)), is_exact[0]
    except (ValueError, RecursionError):
        return None, False


def _embedded(text: str) -> Iterator[tuple[int, int, Any, bool]]:
    """Objects and lists in a text: where they begin and end, what they are, and whether that is all of it."""
    place = 0
    for _ in range(_EMBEDDED_MAX):
        begin = min((found for found in (text.find("{", place), text.find("[", place)) if found >= 0), default=-1)
        if begin < 0:
            return
        is_exact = [True]
        try:
            content, place = json.JSONDecoder(object_pairs_hook=partial(_pairs, is_exact)).raw_decode(text, begin)
        except (ValueError, RecursionError):
            place = begin + 1
        else:
            yield begin, place, content, is_exact[0]


def _dump(value: Any, like: str) -> str:
    """A value as JSON, spaced as another text is."""
    separators = (", ", ": ") if '": ' in like else (",", ":")
    return json.dumps(value, ensure_ascii=False, separators=separators)
