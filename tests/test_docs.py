"""The documentation holds together: links lead somewhere, files that it names exist, every page can be found."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from runtimes import ROOT

from sumo_internal.cli.arguments import parser
from sumo_internal.spool import counters

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


def test_tests_that_are_named_exist() -> None:
    """Pages that say which test holds something name one that is there."""
    there = {name for file in ROOT.glob("tests/test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert named and named - there == set()


def commands_named(page: Path, program: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of a program on a page, in blocks and in sentences; its bare name is none."""
    text = page.read_text()
    code = [*_CODE.findall(text), *re.findall(r"`([^`\n]*)`", _CODE.sub("", text))]
    for part in re.split(r"\n|&&|;", "\n".join(code).replace("\\\n", "")):
        if called := re.search(rf"(?:^|[\s/]){program} ([a-z].*)", part):
            yield shlex.split(called[1], comments=True)


@each_page
def test_commands_that_are_named_can_be_called(page: Path) -> None:
    """With the options that they have there. Guards against one that is called otherwise by now."""
    for arguments in commands_named(page, "sumo-internal"):
        if len(arguments) > 1:  # else it is only named
            parser().parse_args(arguments)
    targets = {arguments[0] for arguments in commands_named(page, "make")}
    assert targets - set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) == set()


def test_commands_are_found() -> None:
    """Guards against a search that finds nothing."""
    found = [arguments for page in PAGES for arguments in commands_named(page, "sumo-internal")]
    assert ["attach", "MY_FUNCTION", "--region", "eu-west-1", "--yes"] in found and len(found) > 30
    assert ["demo", "FAULT=outage"] in commands_named(ROOT / "README.md", "make")


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


_WHO = r"(?:Sumo Logic|source|S3|bucket|destination|Lambda|nobody|proxy)"

HOUSE_WORDS = {
    "background thread": r"sidecars?",
    "alternative": r"peers?",
    "during the next invocation": r"beside (?:\w+ )?(?:next|later|other|invocations?|requests?|handlers?|one|it)",
    "skipped": r"(?:leave|leaves|left)(?: \w+)? alone",
    "response": r"answer(?:s|ed|ing)?",
    "rejected": r"refus(?:e|es|ed|ing|al)",
    "accepted": rf"{_WHO} (?:has |have |does |do |did )?(?:not )?(?:take|takes|took|taken)(?! the leftmost)",
    "post-response time": r"(?:held|holds?|holding)(?! back)",
    "delivery latency": r"lateness",
    "limit, budget": r"bounds?",
}
"""The house's words for what users know under others, by those. docs/contributing.md maps one to the other."""

_HOUSE_WORD = re.compile(rf"\b(?:{'|'.join(HOUSE_WORDS.values())})\b", re.IGNORECASE)
_SAID_ONCE = "(The code calls them the sidecar, which elsewhere is a container.)"

FOR_USERS = [page for page in PAGES if page.name != "contributing.md"]


def house_words(text: str) -> list[str]:
    """The house's words in a text for users; a name between backticks is a name."""
    return _HOUSE_WORD.findall(" ".join(re.sub(r"`[^`]*`", "``", text).split()))


@pytest.mark.parametrize("page", FOR_USERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_users_read_their_own_words(page: Path) -> None:
    """On the whole page; a sidecar is a container to most readers, which one page says once."""
    text = _CODE.sub("", page.read_text())
    assert (_SAID_ONCE in text) == (page.name == "how-it-works.md")
    assert house_words(re.sub(r"\]\([^()\s]*\)", "]", text.replace(_SAID_ONCE, ""))) == []


def sentences(file: Path) -> Iterator[str]:
    """Yield the literals of a module that have a blank in them, f-strings without what is filled in: what is said.

    Not its docstrings, and not lists of names.
    """
    tree = ast.parse(file.read_text())
    unsaid = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    unsaid |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "split"}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if id(node) not in unsaid and " " in (text := "\0".join(texts)):
            yield re.sub(r"{[^{}]*}", "{}", text)


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of a page's tables."""
    for line in _CODE.sub("", text).splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in line.strip("| ").split(" | ")]


_OF_OTHERS = ("Connection refused", "HTTP 429", "HTTP 5")
"""Said by the system, or a status."""


def said_by_the_layer() -> list[str]:
    """What stands in its sentences between what is filled in, without the signs at either end."""
    texts = {text for file in ROOT.glob("sumo_internal/**/*.py") for text in sentences(file)}
    return [piece for text in texts for chunk in text.split("\0") if len(piece := re.sub(r"^\W+|\W+$", "", chunk)) > 8]


def test_log_lines_that_the_troubleshooting_page_quotes_are_said() -> None:
    """Whoever searches a log for them finds them. Guards against a sentence that was said otherwise once."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    quoted = [quote for cells in rows(page) for quote in re.findall(r"`([^`]*)`", cells[0]) if " " in quote]
    assert len(quoted) >= 9
    said = said_by_the_layer()
    for part in (re.sub(r"^\W+|\W+$", "", part) for quote in quoted for part in quote.split("…")):
        rest = part if not any(part in piece for piece in said) else ""
        for piece in sorted(said, key=len, reverse=True):
            rest = rest.replace(piece, "")
        is_filled_in = not re.search(r"\b[a-z]", rest)  # a service, a status, an error's name
        assert part in _OF_OTHERS or is_filled_in, f"nothing says {part!r}"


_NAME = re.compile(r"`(\w+)`")


def test_each_count_is_explained() -> None:
    """The page on records has each key of the accounting, and for what is lost the code's own words."""
    explained: dict[str, str] = {}
    for cells in rows((ROOT / "docs/records.md").read_text().partition("\n## Was anything lost?\n")[2]):
        explained |= dict.fromkeys(_NAME.findall(cells[0]), cells[1])
    assert explained.keys() == {*counters.REASONS, "lost"}
    assert {reason: explained[reason] for reason in counters.LOSSES} == counters.LOSSES


def test_the_page_of_failures_begins_with_what_its_table_shows() -> None:
    """Its summary is true of each row. Guards against a fault whose row says otherwise."""
    page = (ROOT / "docs/failures.md").read_text()
    losing = {cells[0]: cells[2:] for cells in rows(page.partition("\n## ")[0]) if "lost" in " ".join(cells[2:])}
    survived = re.compile(r"kill|timeout|freezes|breaks once|out of memory")
    assert [what for what in losing if survived.search(what)] == []
    with_bucket = [what for what, (bucket, _) in losing.items() if "lost" in bucket]
    assert with_bucket == ["the spool is full (SUMO_SPOOL_MAX_MB), S3 is gone"]
    said = [bucketless for _, bucketless in losing.values()]
    assert len(said) > 10 and all("said on stderr" in text or "counted as" in text for text in said)


_JSON = re.compile(r'\| json ((?:"[\w.]+"(?:, )?)+)(?: as (\w+(?:, \w+)*))?')


@pytest.mark.parametrize("page", [ROOT / "docs/records.md", ROOT / "docs/processing.md"], ids=lambda page: page.stem)
def test_queries_ask_for_keys_that_records_have(page: Path) -> None:
    """Each is one that the page on records explains, and each name that a query gives to one is for one.

    Guards against a query that finds nothing, since a key has another name.
    """
    explained = {name for cells in rows((ROOT / "docs/records.md").read_text()) for name in _NAME.findall(cells[0])}
    queries = _JSON.findall("".join(_CODE.findall(page.read_text())))
    assert queries
    for asked, names in queries:
        keys = re.findall(r'"([\w.]+)"', asked)
        assert {key.partition(".")[0] for key in keys} <= explained
        assert not names or len(names.split(", ")) == len(keys), asked


def test_what_a_setting_keeps_back_is_counted_under_these_names() -> None:
    """As the page on processing has them."""
    page = (ROOT / "docs/processing.md").read_text()
    named = page.partition("**What is not wanted is counted**")[2].partition("in the records of type")[0]
    assert set(_NAME.findall(named)) == set(counters.ASKED_FOR)


TOPS = ("sumo_internal", "tools", "tests", "layer")
WRITTEN = [*PAGES, *(module for top in TOPS for module in ROOT.glob(f"{top}/**/*.py"))]


def test_no_conflict_is_left() -> None:
    """Two people's changes of one place are one text, in pages and in what writes them."""
    left = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
    assert [str(path.relative_to(ROOT)) for path in WRITTEN if left.search(path.read_text())] == []


SPEAKING = [*ROOT.glob("sumo_internal/**/*.py"), *ROOT.glob("tools/demo/*.py"), *ROOT.glob("layer/*.py")]
"""What may say something to users: on stderr, as a command, in the demo, while a layer is built."""

_NOT_PLAIN = re.compile(
    r"\bheed|(?<!there )\b(?:is|are) no (?!longer\b|more\b)|\bhas not the\b|\bis none\b(?! of)|\bnor can\b"
)
"""Turns of phrase that have to be read twice: it *is not a* number, a setting *has no effect*."""


def test_what_the_layer_its_commands_and_the_demo_say_is_in_users_words() -> None:
    """Each text that could be said, whichever way it gets there: a list of what says it would be short of one."""
    said = {(file, text) for file in SPEAKING for text in sentences(file)}
    assert len(said) > 500
    assert [(file.name, text) for file, text in sorted(said) if house_words(text) or _NOT_PLAIN.search(text)] == []


@pytest.mark.parametrize("script", ["layer/extension/sumo-internal-extension", "wrapper/sumo_wrapper"])
def test_the_shell_scripts_say_it_in_users_words(script: str) -> None:
    """In the lines that write to stderr."""
    lines = [line for line in (ROOT / script).read_text().splitlines() if not line.lstrip().startswith("#")]
    said = [line for line in lines if re.search(r"\b(?:echo|say|plain)\b", line)]
    assert said and [line for line in said if house_words(line) or _NOT_PLAIN.search(line)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lines are shipped beside\nthe next invocation", ["beside the next"]),
        ("Sumo Logic does not take lines, and `refused` them", ["Sumo Logic does not take"]),
        ("the environment is held", ["held"]),
        ("what is held back waits; Sumo Logic takes the leftmost time; unbounded", []),
    ],
)
def test_house_words_are_found(text: str, expected: list[str]) -> None:
    """Over a line's end, too. Guards against a search that finds nothing."""
    assert house_words(text) == expected


def test_the_glossary_has_them() -> None:
    """The words that a reader of the code has to translate stand in its table."""
    glossary = (ROOT / "docs/contributing.md").read_text().partition("\n## Words\n")[2].partition("\n## ")[0]
    assert [word for word in HOUSE_WORDS if not all(each in glossary for each in word.split(", "))] == []
