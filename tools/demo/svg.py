"""What the demo's page is made of: elements of SVG and HTML, labels that keep out of each other's way, small shapes.

Separate from ``picture`` and ``page``, which share it and say what to show. Text goes through ElementTree, so
that nothing in a log line can become markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement

_CHARACTER_PX = 6.6
"""A label's width for each of its characters in the page's font, rather too wide; capitals are wider."""
_CAPITAL = 1.45
_GAP_PX = 3


def element(tag: str, *children: Element | str, title: str = "", **attributes: Any) -> Element:
    """Return an element.

    Args:
        tag: Its name.
        children: Elements and text, in order.
        title: For SVG, what it shows in words: a child of its own.
        attributes: ``class_`` is ``class``, other underscores are dashes; None leaves one out.
    """
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    made = Element(tag, {name: _text(value) for name, value in given.items()})
    if title:
        SubElement(made, "title").text = title
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


@dataclass
class Labels:
    """The labels of one row, from left to right; one that would touch the one before it is left out."""

    start_px: float
    end_px: float
    free_from_px: float = float("-inf")

    def place(self, x_px: float, y_px: float, text: str, class_: str, size: float = 1.0) -> Iterator[Element]:
        """Yield the label around a place, or as near to it as it stays inside of the row; or nothing.

        Args:
            x_px, y_px: The middle of its base line.
            text: What it says.
            class_: Its class.
            size: Of its letters, compared with the page's.
        """
        half_px = width_px(text) * size / 2
        left_px = min(max(x_px - half_px, self.start_px), self.end_px - 2 * half_px)
        if left_px >= self.free_from_px:
            self.free_from_px = left_px + 2 * half_px + _GAP_PX
            yield element("text", text, x=left_px + half_px, y=float(y_px), class_=class_)


def width_px(text: str) -> float:
    """Return how wide a text is at most."""
    return sum(_CHARACTER_PX * (_CAPITAL if letter.isupper() else 1.0) for letter in text)


def box(x_px: float, y_px: float, width_px: float, height_px: float, class_: str, title: str = "") -> Element:
    """Return a rectangle with round corners."""
    size = {"width": float(width_px), "height": float(height_px), "rx": min(3.0, width_px / 2)}
    return element("rect", title=title, x=float(x_px), y=float(y_px), **size, class_=class_)


def cross(x_px: float, y_px: float, title: str) -> Element:
    """Return a cross around a place."""
    return element("path", title=title, d=f"M{x_px - 5:.1f} {y_px - 5:.1f} l10 10 m0 -10 l-10 10", class_="cross")


def hatching() -> Element:
    """Return the pattern of frozen time."""
    stroke = element("path", d="M0 6 L6 0", class_="hatch")
    return element("defs", element("pattern", stroke, id="hatching", width=6, height=6, patternUnits="userSpaceOnUse"))
