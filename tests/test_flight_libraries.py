"""SUMO_DEBUG_ON_FAILURE with the libraries that functions log with: how far docs/processing.md says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from model import Environment
from packages import package
from runtimes import typical
from sumo_source import SumoSource
from test_cloudwatch import own, plain
from test_flight import each_format, form_of, held
from test_processing_path import environment

HANDLER = """
import logging, os
logging.getLogger("orders").setLevel(logging.INFO)
{preamble}
def handler(event, context):
    {debug}
    {info}
    if event == "fail":
        raise KeyError("price")
"""


@dataclass(frozen=True)
class Library:
    """A library, and what the function does with it; what is held of it."""

    requirements: tuple[str, ...]
    preamble: str
    debug: str
    info: str
    held: tuple[str, ...]


STRUCTLOG = """
import structlog
structlog.configure(
    processors=[
        {filter}structlog.stdlib.add_logger_name,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class={wrapper},
    cache_logger_on_first_use=True,
)
log = structlog.get_logger("orders")
"""
BOUND = "structlog.stdlib.BoundLogger"
STRUCTLOG_CALLS = ("log.debug('details', order=17)", "log.info('shown')")
STRUCTLOG_HELD = ("event='details' order=17 logger='orders'",)
LOGURU = """
from loguru import logger
logger.remove()
"""
LIBRARIES = {
    "structlog": Library(
        ("structlog==26.1.0",),
        STRUCTLOG.format(filter="structlog.stdlib.filter_by_level, ", wrapper=BOUND),
        *STRUCTLOG_CALLS,
        STRUCTLOG_HELD,
    ),
    "structlog without filter_by_level": Library(
        ("structlog==26.1.0",), STRUCTLOG.format(filter="", wrapper=BOUND), *STRUCTLOG_CALLS, STRUCTLOG_HELD
    ),
    "structlog with a filter of its own": Library(
        ("structlog==26.1.0",),
        STRUCTLOG.format(filter="", wrapper="structlog.make_filtering_bound_logger(logging.INFO)"),
        *STRUCTLOG_CALLS,
        (),
    ),
    "Powertools": Library(
        ("aws-lambda-powertools==3.37.0",),
        "from aws_lambda_powertools import Logger\nlog = Logger(service='orders', level='INFO')\n"
        "log.append_keys(appended=1)\n",
        "log.debug('details %d', 17, extra={'order': 17})",
        "log.info('shown')",
        ("details 17",),
    ),
    "loguru, a sink that logs": Library(
        ("loguru==0.7.3",),
        LOGURU + "def sink(message):\n    said = message.record\n"
        "    logging.getLogger('orders').log(said['level'].no, said['message'])\n"
        "logger.add(sink, level='DEBUG')\n",
        "logger.debug('details {}', 17)",
        "logger.info('shown')",
        ("details 17",),
    ),
    "loguru, PropagateHandler": Library(
        ("loguru==0.7.3",),
        LOGURU + "class PropagateHandler(logging.Handler):\n"
        "    def emit(self, record):\n        logging.getLogger('orders').handle(record)\n"
        "logger.add(PropagateHandler(), format='{message}')\n",
        "logger.debug('details {}', 17)",
        "logger.info('shown')",
        (),
    ),
    "loguru, its own level": Library(
        ("loguru==0.7.3",),
        LOGURU + "import sys\nlogger.add(sys.stdout, level='INFO', format='{message}')\n",
        "logger.debug('details {}', 17)",
        "logger.info('shown')",
        (),
    ),
}


def prepared(folder: Path, library: Library) -> Path:
    """The function, with the packages beside it."""
    text = HANDLER
    for name in ("preamble", "debug", "info"):
        text = text.replace(f"{{{name}}}", getattr(library, name))
    (folder / "app.py").write_text(text)
    for requirement in library.requirements:
        for path in package(requirement, is_complete=True).iterdir():
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return folder


@each_format
@pytest.mark.parametrize("name", LIBRARIES)
def test_each_library_as_far_as_it_allows(
    source: SumoSource, layer_folder: Path, tmp_path: Path, name: str, form: str
) -> None:
    """Held lines are there when the invocation fails, as the library gives them to ``logging``; CloudWatch has what it
    has without us."""
    library = LIBRARIES[name]
    task = prepared(tmp_path, library)
    with Environment(typical(), task, timeout_s=20, **form_of(form)) as bare:
        assert bare.start().error is None
        for event in ("succeed", "fail"):
            bare.invoke(event)
        expected = own(bare.cloudwatch)
    variables = {"SUMO_DEBUG_ON_FAILURE": "*"}
    with environment(source, layer_folder, task, variables=variables, timeout_s=20, **form_of(form)) as env:
        assert env.start().error is None
        env.invoke("succeed")
        failed = env.invoke("fail")
        env.shutdown()
        written = own(env.cloudwatch)
    assert sorted(map(plain, written)) == sorted(map(plain, expected))
    records = held(source)
    assert {record["requestID"] for record in records} <= {failed.request_id}
    said = [str(record["message"]) for record in records]
    for text in library.held:
        assert [text in each for each in said] == [True], said
    assert len(said) == len(library.held)
    if name == "Powertools":
        assert records[0]["order"] == 17 and "appended" not in records[0]
