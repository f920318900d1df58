"""The package's own secrets, and what is sent without them, whatever the settings say: people print ``os.environ``.

They are hidden where a batch is made (:mod:`sumo_internal.shipping.line_batch`), in each process that makes one.
So all kinds of records pass here, the extension's too; a line costs nothing while the function waits for it; and a
secret that was fetched is hidden in lines that were written before. One batch costs a search for a short piece of each
secret, :data:`PROBE_CHARS` letters and digits, which no quoting and no escaping changes, and for the name of a
variable; and even that only where the rarest characters of it are all there, because looking for one byte is ten times
as fast as looking for a text. Only where it is found, the secret is looked for in all its forms. Then pieces of it are,
there and in the lines behind: what lays out a value for a reader (``pprint``, rich) cuts long texts, and each line may
be a record. A secret's first letters and digits are what is looked for, where there are enough of them, so that a first
piece is found as well.

A text that is cut into records is cut beside them (:func:`cut`), or they are hidden before (:func:`hidden_text`).
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MASK = b"***"

RECEIVER = "/receiver/v1/http"
"""The path of every source's address. Behind it is a code, unless a token goes in a header."""

SECRET_MIN_CHARS = 8
"""A shorter one is no secret, and would be found in many words."""

VARIABLES = ("SUMO_HTTP_ENDPOINT", "SUMO_HTTP_TOKEN", "SUMO_HASH_SALT", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

PROBE_CHARS = 32
"""Characters of a secret that are looked for everywhere; fewer where they begin it: what is laid out in pieces,
or cut, is found by its first piece."""

FIRST_PIECE_CHARS = 20
"""A secret of which only the beginning is there is found by so many characters: with fewer of them, none is rare."""

MARKS = 3
"""Characters of such a piece that are looked for first."""

CHUNK_BYTES = 64 * 1024
"""Bytes of a batch that are copied at once to be searched: a map cannot be searched as fast."""

TAIL_CHARS = 4 * 1024
"""Characters at a text's end, among which the cut is made; more than a session token has."""

PIECE_MIN_CHARS = 6
"""A shorter piece of a secret at the edge of a text that was cut tells nothing, and would be found in many words."""

PIECE_CHARS = 12
"""A piece of a secret as long as this is hidden as far as it goes. Shorter ones may be words."""

_GRAM_CHARS = 8
"""What such a piece is found by."""

_PLACES_MAX = 8
"""Places of the same few characters that are looked at: in one secret, or in one that is a part of another."""

_NAME = b"AWS_SECRET_ACCESS"
"""Where this is, an environment may be laid out for a reader."""
_NAME_MARKS = b"WR"

_RUN = re.compile(r"[A-Za-z0-9]+")
_RAREST_FIRST = b"QJXKYUBHPMRWGVFOSNDECALTIZ"
"""Capital letters, by how seldom logs have them. Small letters and digits are in every record."""
_BREAK = re.compile(r"[\s\"'](?=[^\s\"']*\Z)")

_PLAIN_BYTES = frozenset(range(0x20, 0x7F)) - {*b'"\\'}
"""What JSON writes in one way only."""
_LAST_ESCAPE = rb"(?s:.*)\\(?:u[0-9a-fA-F]{4}|.)"

_secrets: dict[str, re.Pattern[bytes] | None] = {}
"""By secret, all its forms; None until a probe was found."""
_probes: dict[str, tuple[bytes, list[int]]] = {}
"""By secret, the piece of it that is looked for, and the marks of that."""
_beginnings: list[tuple[bytes, list[int]]] = [(_NAME, [*_NAME_MARKS])]
"""What pieces of secrets may be behind: the name, and secrets' first characters where they are not what is looked for
anyway; likewise with marks."""
_grams: dict[bytes, list[tuple[bytes, int]]] = {}
"""Places in secrets by what is there; none until a batch may have pieces."""
_with_grams: set[str] = set()
_has_learned = False


def learn(environ: Mapping[str, str]) -> None:
    """Know the secrets of the process's environment."""
    global _has_learned
    _has_learned = True
    for variable in VARIABLES:
        add(environ.get(variable, ""))


def forget() -> None:
    """Know none: in tests."""
    global _has_learned
    _has_learned = False
    _secrets.clear()
    _probes.clear()
    del _beginnings[1:]
    _grams.clear()
    _with_grams.clear()


def add(text: str) -> None:
    """Know a secret: a token, or an address that ends with one; an ARN is none."""
    text = text.strip()
    if text.lower().startswith(("https://", "http://")):
        has_code = text.count("/") > 2 and not text.endswith(RECEIVER)  # else its end is the host's, or the path's
        text = text.partition(RECEIVER)[2].strip("/") or (text.rpartition("/")[2] if has_code else "")
    # What begins or ends with a quote or a backslash is hidden without it: a record stays JSON.
    text = text.strip("\"'\\") if not text.startswith("arn:") else ""
    if len(text) >= SECRET_MIN_CHARS and text not in _secrets:
        _secrets[text] = None
        first = text[:FIRST_PIECE_CHARS].encode("utf-8", "surrogatepass")
        probe = max(_RUN.findall(text), key=len, default="")[:PROBE_CHARS].encode()
        if len(first) == FIRST_PIECE_CHARS and _RUN.fullmatch(text[:FIRST_PIECE_CHARS]):
            probe = first
        elif len(text) > FIRST_PIECE_CHARS and _PLAIN_BYTES.issuperset(first):
            _beginnings.append((first, _marks(first)))
        _probes[text] = probe, _marks(probe)


def _marks(piece: bytes) -> list[int]:
    return [mark for mark in _RAREST_FIRST if mark in piece][:MARKS]


def hidden(lines: memoryview) -> memoryview | bytes:
    """Lines as they may be sent."""
    pieces: list[memoryview | bytes] = []
    kept = begin = 0
    was_found = False
    while begin < len(lines):
        chunk, size_bytes = _whole_lines(lines, begin)
        secrets = _found_in(chunk)
        is_found = bool(secrets) or (bool(_secrets) and _may_have_pieces(chunk))
        if is_found or was_found:
            chunk = shown = chunk[:size_bytes]
            for secret in _longest_first(secrets):
                shown = b"".join(_lines_without(secret, shown))
            shown = b"".join(_between_pieces(shown))
            if shown != chunk:
                pieces += [lines[kept:begin], shown]
                kept = begin + size_bytes
        was_found = is_found
        begin += size_bytes
    return b"".join([*pieces, lines[kept:]]) if pieces else lines


def _whole_lines(lines: memoryview, begin: int) -> tuple[bytes, int]:
    """Lines of about :data:`CHUNK_BYTES`, more if one of them is longer, and their size; behind them is the beginning
    of the next line, which to cut off would be to copy them once more."""
    end = begin + CHUNK_BYTES
    while end < len(lines):
        chunk = bytes(lines[begin:end])
        size_bytes = chunk.rfind(b"\n") + 1
        if size_bytes:
            return chunk, size_bytes
        end += CHUNK_BYTES
    chunk = bytes(lines[begin:])
    return chunk, len(chunk)


def spans(text: str) -> list[tuple[int, int]]:
    """Where secrets are in a text that is about to be cut."""
    _learn_late()
    data = text.encode("utf-8", "surrogatepass")
    found = [match.span() for secret in _found_in(data) for match in _pattern(secret).finditer(data)]
    if len(data) == len(text):
        return found
    return [tuple(len(data[:place].decode("utf-8", "surrogatepass")) for place in span) for span in found]  # type: ignore[misc]  # two


def hidden_text(text: str) -> str:
    """A text as it may be cut into pieces."""
    _learn_late()
    data = text.encode("utf-8", "surrogatepass")
    found = _found_in(data)
    for secret in _longest_first(found):
        data = _pattern(secret).sub(MASK, data)
    return data.decode("utf-8", "surrogatepass") if found else text


def without_pieces(text: str, *, begins: bool, ends: bool) -> str:
    """A text that another process has cut, without the piece of a secret that the cut may have left at its edge.

    Args:
        text: The text.
        begins: There was text before it.
        ends: There is text behind it.
    """
    _learn_late()
    for secret in _longest_first(list(_secrets)):
        sizes = range(min(len(secret) - 1, len(text)), PIECE_MIN_CHARS - 1, -1)
        size = next((size for size in sizes if begins and text.startswith(secret[-size:])), 0)
        text = MASK.decode() + text[size:] if size else text
        size = next((size for size in sizes if ends and text.endswith(secret[:size])), 0)
        text = text[:-size] + MASK.decode() if size else text
    return text


def cut(text: str) -> int:
    """Where a text that goes on may be cut: a secret without spaces and quotes stays in one piece."""
    _learn_late()
    begin = max(0, len(text) - TAIL_CHARS)
    found = _BREAK.search(text, begin) if _secrets else None
    return found.end() if found else len(text)


def _found_in(data: bytes) -> list[str]:
    """The secrets that may be in the data. Rare characters are looked for first, which is ten times as fast."""
    found = []
    for secret, (probe, marks) in list(_probes.items()):  # no call for each: a batch would have a hundred
        for mark in marks:
            if mark not in data:
                break
        else:
            if probe in data:
                found.append(secret)
    return found


def _may_have_pieces(data: bytes) -> bool:
    """Is an environment laid out here, or does a secret begin here that was cut?"""
    for piece, marks in _beginnings:
        for mark in marks:
            if mark not in data:
                break
        else:
            if piece in data:
                return True
    return False


def _learn_late() -> None:
    if not _has_learned:
        learn(os.environ)


def _longest_first(secrets: list[str]) -> list[str]:
    """One may be a part of another."""
    return sorted(set(secrets), key=len, reverse=True)


def _lines_without(secret: str, data: bytes) -> Iterator[bytes]:
    """Pieces of lines; only those with the secret's probe are searched for all its forms."""
    (probe, _), place = _probes[secret], 0
    while place < len(data) and (found := data.find(probe, place)) >= 0:
        begin = data.rfind(b"\n", place, found) + 1 or place
        end = data.find(b"\n", found) + 1 or len(data)
        yield data[place:begin]
        yield _pattern(secret).sub(MASK, data[begin:end])
        place = end
    yield data[place:]


def _between_pieces(data: bytes) -> Iterator[bytes]:
    """Lines without pieces of secrets, put between what is left."""
    grams = _known_grams()
    kept = place = 0
    while place < len(data):
        found = grams.get(data[place : place + _GRAM_CHARS])
        if found is not None:
            all_common = [_common(data, place, *each) for each in found]
            begin, end = max(all_common, key=lambda span: span[1] - span[0])
            begin = max(kept, begin)
            if end - begin >= PIECE_CHARS:
                yield data[kept:begin]
                yield MASK
                kept = place = end
                continue
        place += PIECE_CHARS - _GRAM_CHARS + 1  # a piece has a gram at one of so many places that follow each other
    yield data[kept:]


def _known_grams() -> dict[bytes, list[tuple[bytes, int]]]:
    """Where in which secret a few characters are; but for those that JSON or Python may write in another way."""
    for secret in list(_secrets):
        if secret not in _with_grams:
            data = secret.encode("utf-8", "surrogatepass")
            for place in range(len(data) - _GRAM_CHARS + 1):
                gram = data[place : place + _GRAM_CHARS]
                places = _grams.setdefault(gram, []) if _PLAIN_BYTES.issuperset(gram) else None
                if places is not None and len(places) < _PLACES_MAX:
                    places.append((data, place))
            _with_grams.add(secret)
    return _grams


def _common(data: bytes, place: int, secret: bytes, offset: int) -> tuple[int, int]:
    """How far a text and a secret are the same around a place, but for a letter that belongs to an escape of JSON's."""
    before, behind = place - 1, place + _GRAM_CHARS
    shift = offset - place
    least, most = max(0, -shift), min(len(data), len(secret) - shift)
    while before >= least and data[before] == secret[before + shift] and data[before] in _PLAIN_BYTES:
        before -= 1
    while behind < most and data[behind] == secret[behind + shift] and data[behind] in _PLAIN_BYTES:
        behind += 1
    escape = re.match(_LAST_ESCAPE, data[max(0, before - 5) : place])
    return max(before + 1, max(0, before - 5) + escape.end() if escape else 0), behind


def _pattern(secret: str) -> re.Pattern[bytes]:
    pattern = _secrets[secret]
    if pattern is None:
        # Backslashes in a row are one part: each of them may have been doubled any number of times.
        parts = [_forms(part) for part in re.findall(r"\\+|.", secret, re.DOTALL)]
        pattern = _secrets[secret] = re.compile(b"".join(parts))
    return pattern


_ESCAPES = {"\n": "n", "\t": "t", "\r": "r"}
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


def _forms(character: str) -> bytes:
    """A character as it is, and as JSON, Python, an address and HTML write it, in each other, too."""
    if character[0] == "\\":
        return rf"(?:\\{{{len(character)},}}|(?:(?i:%(?:25)*5c|&#(?:92|x5c);)){{{len(character)}}})".encode()
    code, data = ord(character), character.encode("utf-8", "surrogatepass")
    if character.isascii() and character.isalnum():
        return data
    units = character.encode("utf-16-be", "surrogatepass").hex()
    plain = "".join(rf"\x{each:02x}" for each in data)
    forms = [rf"\\*{plain}" if character in "\"'/" else plain]
    forms.append("".join(rf"\\+u{units[place : place + 4]}" for place in range(0, len(units), 4)))
    forms.append("".join(rf"\\+x{each:02x}" for each in data))
    forms.append("".join(f"%(?:25)*{each:02x}" for each in data))
    forms += [rf"\\+(?:x{code:02x}|U{code:08x})", f"&#(?:0*{code}|x0*{code:x});"]
    forms += [rf"\\+{_ESCAPES[character]}"] if character in _ESCAPES else []
    forms += [f"&{_ENTITIES[character]};"] if character in _ENTITIES else []
    forms += [r"\+"] if character == " " else []
    return f"(?:(?i:{'|'.join(forms)}))".encode()
