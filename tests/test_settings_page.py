"""docs/settings.md is what the package reads: made from its table of settings, and compared with what is committed.

``WRITE_SETTINGS=1 python -m pytest tests/test_settings_page.py`` writes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from layer.build import ROOT
from sumo_internal import config

DOCUMENT = ROOT / "docs" / "settings.md"
IS_WRITING = os.environ.get("WRITE_SETTINGS") == "1"

TEXT = """# Settings

All settings are environment variables of the function. Names, defaults and meaning are those of Sumo's Go extension
where it has them, so that a function keeps its settings when its layer is swapped; true and false are written as in Go
(`true`, `1`, `t`, …). An empty variable counts as not set. `sumo-internal doctor` finds wrong and misspelt ones, and
those that do not go together.

A wrong value never stops the function. One line on stderr names it and says what is done instead: the default is used;
of the limits that AWS sets (`TELEMETRY_…`), the nearest. Where masks, hashes or processors cannot be used, records are
shipped without their messages; where `SUMO_CLOUDWATCH_KEEP` cannot, all lines go to CloudWatch.

"""

MADE = "`tests/test_settings_page.py` writes these tables (`WRITE_SETTINGS=1`) from `sumo_internal/config.py`."

GROUPS = {
    "SUMO_HTTP_ENDPOINT": "Where lines go, and when",
    "SUMO_SPOOL_MAX_MB": "Where they wait",
    "SUMO_ENABLE_FAILOVER": "Failover",
    "KMS_KEY_ID": "Secrets, and what is said",
    "SUMO_PROCESSORS": "What may leave",
    "SUMO_MARK_REPLAYS": "Durable executions",
    "SUMO_INVOCATION_SUMMARY": "How an invocation ends",
    "SUMO_CLOUDWATCH": "CloudWatch",
    "SOURCE_CATEGORY_OVERRIDE": "Names and fields",
    "SUMO_LOG_TYPES": "What is heard, and what a record is",
    "TELEMETRY_TIMEOUT_MS": "The Telemetry API",
}
"""Headings, by the first setting below each."""
OTHERS, WITHOUT_EFFECT = "Others that it reads", "Of the Go extension, without effect here"

NOT_OURS = {
    "AWS_LAMBDA_EXEC_WRAPPER": "`/opt/sumo_wrapper`: Lambda starts the function through our wrapper.",
    "SUMO_ATTACHED": "Names of variables that `sumo-internal attach` has added, for `detach` to take back: leave it.",
    "SUMO_REPLAY_TAG": "Of the replay for S3 Batch Operations: `true` tags what was sent.",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY": "The way out, as everywhere; also in small letters.",
    "SSL_CERT_FILE, SSL_CERT_DIR": "The authorities that are trusted, instead of the system's.",
    "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, …": "Where S3, KMS, Secrets Manager and SSM are, if elsewhere.",
    "AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT": "Which of their addresses is used.",
}
"""What is read elsewhere: by Lambda, by the wrapper's script, by the parts that send."""


def _page() -> str:
    return TEXT + "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    headings = [*GROUPS.values(), OTHERS, WITHOUT_EFFECT]
    yield " ·\n".join(f"[{heading}](#{heading.lower().replace(' ', '-').replace(',', '')})" for heading in headings)
    yield from ("", MADE)
    for setting in config.SETTINGS:
        if heading := GROUPS.get(setting.variable):
            yield from ("", f"## {heading}", "", "| variable | default | values | meaning |")
            yield "| --- | --- | --- | --- |"
        default, values = config.default_text(setting), _values(setting)
        cells = (f"`{setting.variable}`", f"`{default}`" if default else "", values, _cell(setting.meaning))
        yield f"| {' | '.join(cells)} |"
    yield from ("", f"## {OTHERS}", "", "| variable | meaning |", "| --- | --- |")
    for names, meaning in NOT_OURS.items():
        yield f"| {', '.join(f'`{name}`' if name != '…' else name for name in names.split(', '))} | {meaning} |"
    yield from ("", f"## {WITHOUT_EFFECT}", "", "| variable | why |", "| --- | --- |")
    for name, why in config.WITHOUT_MEANING.items():
        yield f"| `{name}` | {_cell(why)} |"


def _values(setting: config.Setting) -> str:
    """What a setting accepts, as its own reader says it of a text that is wrong; empty where any text may do."""
    try:
        setting.parse("-1000000000")
    except config.InvalidSettingError as problem:
        for pattern, form in _SAYING_VALUES.items():
            if found := re.fullmatch(pattern, str(problem)):
                return form(found[1])
    return ""


def _named(choices: str) -> str:
    return ", ".join(f"`{choice}`" for choice in choices.split(", "))


_SAYING_VALUES: dict[str, Callable[[str], str]] = {
    "is neither (true) nor false": lambda _: "`true`, `false`",
    "is none of (.*)": _named,
    "has '-1000000000', which is none of (.*)": lambda choices: f"{_named(choices)}, comma separated",
    "is not between (.*)": lambda limits: re.sub(
        r"\d{4,}", lambda number: f"{int(number[0]):,}", limits.replace(" and ", " to ", 1)
    ),
}
"""How :mod:`sumo_internal.config` says which values there are."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def test_the_page_is_what_the_package_reads() -> None:
    """A setting that is added, renamed or explained anew is so in the documentation, too."""
    if IS_WRITING:
        DOCUMENT.write_text(_page())
    assert DOCUMENT.read_text() == _page(), "write it anew: WRITE_SETTINGS=1"


def test_values_are_those_that_are_accepted() -> None:
    """Each name in the column can be written, both ends of a range too; a setting with a limit shows it."""
    shown = {setting.variable: _values(setting) for setting in config.SETTINGS}
    for setting in config.SETTINGS:
        for value in re.findall(r"`([^`]+)`", shown[setting.variable]):
            setting.parse(value)
        if limits := re.match(r"([\d.,]+) to ([\d.,]+) ", shown[setting.variable]):
            assert all(setting.parse(limit.replace(",", "")) is not None for limit in limits.groups())
    assert shown["SUMO_SPOOL_MAX_MB"] == "3 to 10,240 megabytes"
    assert shown["SUMO_CLOUDWATCH"] == "`all`, `errors`, `none`"
    assert sum(map(bool, shown.values())) > 35


def test_every_variable_in_the_papers_exists() -> None:
    """README and docs name no SUMO_ variable that nobody reads; a renamed setting leaves no ghost behind."""
    known = {setting.variable for setting in config.SETTINGS} | config.WITHOUT_MEANING.keys() | NOT_OURS.keys()
    papers = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    ghosts = {
        (paper.name, name)
        for paper in papers
        for name in re.findall(r"\b(?:SUMO|TELEMETRY|KMS)_[A-Z_]*[A-Z]\b", paper.read_text())
        if name not in known
    }
    assert ghosts == set()
