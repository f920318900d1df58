"""Values of masked keys that go on in the next line, where each line comes by itself. Pure.

A pretty-printed event has ``"authorization": [`` on one line and the value on the next; ``pprint`` has ``'Bearer '`` on
one and the token on the next. In the function's process these lines are mostly one record, or one write; but for those
that ``json.dump`` and ``pprint`` write piece by piece behind a text, or where SUMO_MULTILINE splits. Lambda's Telemetry
API delivers what was printed line by line.
"""

from __future__ import annotations

import re

from sumo_internal.capture.multiline import depth, goes_on
from sumo_internal.expressions.search import no_limit
from sumo_internal.processing.masking import MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.expressions.search import Spend
    from sumo_internal.processing.masking import Masking

BETWEEN_MAX_LINES = 100
"""Lines that may come in between, of another thread's or the other stream's, and do not look as if they went on."""

_FIRST_OF_PAIR = re.compile(r"""\s+[bBuU]?(["'])([^"'\n]{1,200})\1,\s*""")
_QUOTES = ("'", '"')


class Continued:
    """What is known of the lines before."""

    def __init__(self, masking: Masking) -> None:
        """Know nothing yet.

        Args:
            masking: Knows the keys.
        """
        self._masking = masking
        self._opened = 0
        """Brackets that are open in a value."""
        self._last = ""
        """The last character of a value that may go on; a colon where the value is to come."""
        self._left_lines = 0
        self._is_first = False
        """What comes next is the first in a bracket."""

    @property
    def is_idle(self) -> bool:
        """Would a new one say the same of the next line?"""
        return not (self._left_lines or self._is_first)

    def shown(self, line: str, spend: Spend = no_limit) -> str:
        """A line without what a key on an earlier line hides in it; it is to be masked like any other then.

        Args:
            line: The line.
            spend: Is told of characters before they are looked at; what it raises is raised.
        """
        if self._left_lines and goes_on(line):
            text = line.strip()
            if self._opened > 0 or self._last == ":" or text.lstrip("bBuUrR").startswith(_QUOTES):
                self._go_on(text)
                return MASK
            self._left_lines = 0
        value = self._masking.last_value(line, spend)
        if self._left_lines and value is None:
            self._left_lines -= 1
            return line
        name = _FIRST_OF_PAIR.fullmatch(line)
        if name and self._is_first and self._masking.is_masked(name[2]):
            value = ""
        opens = line.rstrip().endswith(("[", "("))
        self._is_first = opens or (self._is_first and not goes_on(line))
        if value is not None:
            self._opened = 0
            self._go_on(value or ":")
        return line

    def _go_on(self, text: str) -> None:
        """A value has come so far."""
        self._opened += depth(text)
        self._last = text[-1:]
        is_open = self._opened > 0 or self._last in (*_QUOTES, ":")
        self._left_lines = BETWEEN_MAX_LINES if is_open else 0
