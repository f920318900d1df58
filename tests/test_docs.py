"""The documentation holds together: links lead somewhere, files that it names exist, every page can be found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from runtimes import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("layer/**/*.md")])

_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_NAMED_FILE = re.compile(r"`((?:wrapper|sumo_internal|layer|tests|docs|\.ci)/[\w./-]+)`")
_MADE = ("layer/dist/",)
"""Folders that are there only when something was built."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and pictures; code is no text."""
    yield from _LINK.findall(_CODE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    texts = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Files and anchors are there; what leads out of the repository is https and may not be asked for by a test."""
    for target in links(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        assert ROOT in file.resolve().parents, f"{page.name} links to {target}, which is not in the repository"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}, and there is no such heading"


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    """A path between backticks is one. Guards against pages that outlive what they speak of."""
    named = [path for path in _NAMED_FILE.findall(page.read_text()) if not path.startswith(_MADE)]
    assert [path for path in named if not (ROOT / path).exists()] == []


@each_page
def test_settings_that_are_named_exist(page: Path) -> None:
    """Each is in the table that is made from what the package reads. Guards against a name that was a plan once."""
    known = (ROOT / "docs/settings.md").read_text()
    named = set(re.findall(r"`(SUMO_[A-Z0-9_]+)\b", page.read_text()))
    assert {name for name in named if f"`{name}" not in known} == set()


def test_every_page_and_picture_can_be_found() -> None:
    """From README or from the index; a page that nobody links to is not read."""
    found = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(page)}
    files = {file for kind in ("md", "png", "svg") for file in ROOT.glob(f"docs/**/*.{kind}")}
    files |= {*ROOT.glob("layer/**/*.md")}
    assert files - found == set()
    index = {(ROOT / "docs" / target).resolve() for target in links(ROOT / "docs/README.md")}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} - index == {ROOT / "docs/README.md"}


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("# The way of a line", "the-way-of-a-line"),
        ("## What `SUMO_FLUSH` costs", "what-sumo_flush-costs"),
        ("## [0.1.0] - unreleased", "010---unreleased"),
        ("## How to add …", "how-to-add-"),
    ],
)
def test_anchors_are_githubs(heading: str, anchor: str, tmp_path: Path) -> None:
    """Letters, digits, dashes and underscores stay, blanks become dashes. Guards against a test that finds anything."""
    page = tmp_path / "page.md"
    page.write_text(f"{heading}\n\n```\n# no heading\n```\n")
    assert anchors(page) == {anchor}


def test_what_the_security_page_claims_is_tested() -> None:
    """Each row names the tests that hold the layer to it, and they exist. Guards against a promise without one."""
    page = (ROOT / "docs/security.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|") and "test_" in line]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", row)
        assert named, row
        for file, test in named:
            source = (ROOT / "tests" / file).read_text()
            assert not test or f"def {test}(" in source, (file, test)


HOUSE_WORDS = re.compile(
    r"beside (?:the next|a later|another) (?:invocation|one)|left alone|the caller has the answer|\bpeers\b"
    r"|\bsidecars?\b"
)
"""The house's words for what users know under others: during the next invocation, skipped, response, alternatives,
background threads. docs/contributing.md maps one to the other."""

FOR_USERS = [page for page in PAGES if page.name not in ("contributing.md", "CHANGELOG.md", "bench.md")]


@pytest.mark.parametrize("page", FOR_USERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_users_read_their_own_words(page: Path) -> None:
    """In README and before each page's first heading; a sidecar is a container to most readers."""
    text = page.read_text()
    opening = text if page.name == "README.md" else text.split("\n## ")[0]
    assert HOUSE_WORDS.findall(re.sub(r"`[^`]*`|\([^()]*\)", "", opening)) == []
