"""Reads a page of HTML strictly: every element is closed, nothing is loaded from elsewhere, and what it says.

Separate from the tests of the demo because a page has to be right without a browser, too.
"""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = frozenset(("meta", "br", "hr", "img", "link", "input"))
_LOADING = frozenset(("src", "href", "srcset", "data", "action", "poster"))


class Document(HTMLParser):
    """A page that was read.

    Attributes:
        text: all that is to be read, style and script left out.
        facts: what the elements with ``data-fact`` say, by that name.
        labels: the texts of the picture.
        shapes: of every element of a picture its classes.
    """

    def __init__(self, page: str) -> None:
        """Read a page.

        Raises:
            AssertionError: It is no tree of elements, names something twice, or wants something from elsewhere.
        """
        super().__init__()
        self.text = ""
        self.facts: dict[str, str] = {}
        self.labels: list[str] = []
        self.shapes: list[set[str]] = []
        self._open: list[tuple[str, str | None]] = []
        self._ids: set[str] = set()
        self.feed(page)
        self.close()
        assert self._open == []

    def counted(self, *words: str) -> int:
        """Return how many elements of a picture have all these classes."""
        return sum(shape.issuperset(words) for shape in self.shapes)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert not _LOADING & given.keys(), f"<{tag}> loads something"
        identity = given.get("id")
        if identity is not None:
            assert identity not in self._ids, f"two elements are called {identity}"
            self._ids.add(identity)
        if any(name == "svg" for name, _ in self._open):
            self.shapes.append(set((given.get("class") or "").split()))
        if tag not in _VOID:
            self._open.append((tag, given.get("data-fact")))

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        tag, fact = self._open[-1] if self._open else ("", None)
        if tag in ("style", "script"):
            assert "url(h" not in data and "@import" not in data and "fetch(" not in data
            return
        self.text += data
        if fact is not None:
            self.facts[fact] = data
        if tag == "text":
            self.labels.append(data)
