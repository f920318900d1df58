"""Looks at a page in a real browser, headless: what its script complains about, which labels touch, what can be read.

Separate from the tests because the browser is an outside thing that not every machine has: ``BROWSER`` is None there,
and a test that needs one says so.

The page is looked at in a copy with one more script (``browser.js``), which measures, points at a shape, and writes
what it has found into the document; the browser prints the document. So no driver is needed, and nothing listens
anywhere.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
"""A browser that can be driven from its command line."""
NEEDS_BROWSER = "no Chromium or Chrome on PATH (Debian: apt-get install chromium)"
_BOUND_S = 50.0
_HEIGHT_PX = 900

_CATCHER = """<script>window.caught = []; addEventListener("error", (event) => caught.push(event.message));</script>"""
_FRAME = """<!doctype html><html><body><script>
addEventListener("message", (event) => {{
  const seen = document.createElement("pre");
  seen.id = "seen";
  seen.textContent = event.data;
  document.body.append(seen);
}});
</script><iframe src="page.html" width="{width}" height="{height}" style="border:0"></iframe></body></html>"""
"""The page in a frame: a headless Chromium's own window never gets narrower than _NARROWEST_PX, whatever it is told."""
_NARROWEST_PX = 500

_OBSERVER = f"<script type='module'>{Path(__file__).with_suffix('.js').read_text()}</script>"


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page."""

    width_px: int
    """As the page itself has it."""

    errors: Sequence[str]
    """Of its script."""
    overlaps: Sequence[str]
    """Pairs of labels of the picture that touch."""
    cut_off: Sequence[str]
    """Texts that do not fit where they are."""
    facts: Mapping[str, str]
    tip: str
    """What is shown beside the pointer when it is over the first line."""
    lit_up: int
    """How many shapes belong to the same batch as that line."""


def look(page: Path, width_px: int) -> Seen:
    """Open a page in a window of this width.

    Raises:
        subprocess.CalledProcessError: The browser could not.
    """
    html = page.read_text().replace("<head>", f"<head>{_CATCHER}", 1).replace("</body>", f"{_OBSERVER}</body>", 1)
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        Path(folder, "page.html").write_text(html)
        frame = Path(folder, "frame.html")
        frame.write_text(_FRAME.format(width=width_px, height=_HEIGHT_PX))
        window_px = max(width_px, _NARROWEST_PX) + 100
        document = _run(folder, window_px, "--dump-dom", "--virtual-time-budget=10000", frame.as_uri())
    [found] = re.findall(r'<pre id="seen">(.*?)</pre>', document, re.DOTALL)
    return Seen(**json.loads(unescape(found)))


def photograph(page: Path, width_px: int, height_px: int, picture: Path) -> None:
    """Write a PNG of a page's upper part, with two dots to a pixel."""
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        arguments = [f"--screenshot={picture}", "--force-device-scale-factor=2", page.as_uri()]
        _run(folder, width_px, *arguments, height_px=height_px)


def _run(folder: str, width_px: int, *arguments: str, height_px: int = _HEIGHT_PX) -> str:
    """Run the browser and return what it prints; root may not use its sandbox, and it opens only our own file."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
    ]
    options += [
        f"--user-data-dir={folder}/profile",
        f"--window-size={width_px},{height_px}",
        "--host-rules=MAP * ~NOTFOUND",
    ]
    assert BROWSER is not None
    command = [BROWSER, *options, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True, timeout=_BOUND_S
    ).stdout
