"""What a log record is asked for, beside the text that a handler made of it: its fields, its exception, an event of
structlog's or loguru's.

Separate from :mod:`~sumo_internal.capture.record_format`, which knows JSON and nothing of ``logging``. Here is the one
table of what a log record has beside its fields:

======================  ==============================================================================================
:data:`MADE`            what this interpreter's ``LogRecord`` gives itself (Python 3.12 has one more than 3.11)
:data:`OF_FORMATTERS`   what the library's formatters leave in a record
:data:`OF_CLIENT`       what the runtime client's filter and formatter leave in it (awslambdaric 2.x to 4.x)
======================  ==============================================================================================

A record is *usual* if it has no name beyond these. Names are compared and not counted: one piece of code may have taken
a name from a record where another has added a field. A client that leaves a name beyond the table is asked once what it
leaves (:func:`ask_client`), so that its records are usual ones again.

Nothing here raises either, whatever the function's own objects do when they are asked for their text.
"""

from __future__ import annotations

import logging
import sys
from logging import LogRecord

from sumo_internal import diagnostics
from sumo_internal.capture import record_format
from sumo_internal.capture.bounds import bounded, bounded_text
from sumo_internal.capture.record_format import LEVELS, free_key, level_text, piece, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any

    Error = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
    """What ``sys.exc_info()`` gives."""

_BLANK = LogRecord("", 20, "", 0, "", (), None)
MADE = frozenset(_BLANK.__dict__)
OF_FORMATTERS = frozenset(("message", "asctime"))
OF_CLIENT = frozenset(("aws_request_id", "tenant_id", "_frame_type"))

usual: set[object] = {*MADE, *OF_FORMATTERS}
"""Names that are no fields, in a record that the runtime's filter has not seen (it has no ``aws_request_id``)."""

usual_of_client: set[object] = {*usual, *OF_CLIENT}
"""Names that are no fields, in a record that the runtime's filter has seen."""

TEXT_FORMAT = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
"""The runtime's own line, which the expressions of Sumo's dashboards parse (awslambdaric's ``_setup_logging``)."""

_USUAL_MAX = len(usual) + 100
"""Bound on the names in :data:`usual`. Private names that records have are added to it, so that those of a library do
not make each record slow."""

_EVENT_NAMES = ("_logger", "_name")
"""What structlog gives a record whose message is an event."""

_IN_EVENT = frozenset("level logger timestamp exception stack".split()) | MADE | OF_FORMATTERS | OF_CLIENT
"""What structlog's own processors put into an event: a record has it already, or the text has."""

_LEVEL_START = ',"level":"'

_LEVEL_NAMES = {0: "NOTSET", **{number: name for name, number in LEVELS.items()}}

_unasked: list[Callable[[], Iterable[str]]] = []


def ask_client(leaves: Callable[[], Iterable[str]]) -> None:
    """Have the runtime client asked what it leaves in a log record, once a record has a name beyond the table.

    Args:
        leaves: All names in a record that only the client has seen.
    """
    _unasked[:] = [leaves]


def blank() -> LogRecord:
    """A log record as the library makes it, whatever the function has put into the place of its ``__init__``."""
    record = LogRecord.__new__(LogRecord)
    record.__dict__.update(_BLANK.__dict__)
    return record


def level_of(number: object, name: object = "") -> str:
    """A log record's level as records have it: by its number, because formatters colour or pad its name.

    Args:
        number: ``levelno``. A number of the function's own becomes the name that ``logging`` was told for it, or is
            rounded as the runtime rounds it.
        name: ``levelname``, for a number that says nothing.
    """
    said = name if isinstance(name, str) else ""
    if isinstance(number, int):
        if number in _LEVEL_NAMES:
            return _LEVEL_NAMES[number]
        if is_named(number):
            said = logging.getLevelName(number)
        elif said in ("", f"Level {number}"):
            said = _LEVEL_NAMES[min(50, max(0, number)) // 10 * 10]
    return level_text(said)


def is_named(number: int) -> bool:
    """Does a level's number say its name?"""
    return number in _LEVEL_NAMES or logging.getLevelName(number) != f"Level {number}"


def level_number(level: str, otherwise: int = logging.INFO) -> int:
    """The number of a level's name, as in ``logging``."""
    number = LEVELS.get(level) or logging.getLevelName(level)
    return number if isinstance(number, int) else otherwise


def level_in(details: str) -> int:
    """The number of the level with which a piece begins; INFO where it begins with none."""
    return level_number(details[len(_LEVEL_START) :].partition('"')[0]) if details.startswith(_LEVEL_START) else 20


def logger_of(record: LogRecord) -> str:
    """``level`` and ``logger`` of a log record, as a piece."""
    name = getattr(record, "name", None)
    logger = name if type(name) is str else "" if name is None else text_of(name)
    return record_format.logger_text(
        level_of(getattr(record, "levelno", None), getattr(record, "levelname", "")), logger
    )


def text_line(level: str, created_s: float, request_id: str | None, message: str) -> str:
    """A text as the runtime lays out a log record, see :data:`TEXT_FORMAT`."""
    return f"[{level}]\t{record_format.time_text(created_s)}\t{request_id or ''}\t{message}"


def extra_text(
    record: LogRecord, text: str = "", tenant_id: str | None = None, execution_arn: str | None = None
) -> str:
    """A log record's own fields (``extra=``), each a key of its own, as a piece.

    Private names are no fields, and neither are values that can be called: in both, other libraries keep something for
    themselves.

    For its ProcessorFormatter, structlog hands ``logging`` the event itself in place of a message. The event's keys,
    bound context among them, are fields as well, as far as the text has them: the formatter's own processors may have
    left out or masked others, and those must not go out by another way.

    Args:
        record: The log record, after it was formatted.
        text: What the formatter has made of it.
        tenant_id: The invocation's, as the runtime's filter leaves it in the record.
        execution_arn: The invocation's, as the logger of a durable function's context puts it into its records.
    """
    attributes = record.__dict__
    if execution_arn is not None and attributes.get("executionArn") == execution_arn:
        attributes = {name: value for name, value in attributes.items() if name != "executionArn"}
    fields = {free_key(text_of(name)): attributes[name] for name in _names(attributes, tenant_id)}
    event = _event(record)
    if event:
        fields.update((free_key(name), value) for name, value in _shown(event, text))
    return piece(bounded(_with_span(fields)).items())


def _names(attributes: dict[str, object], tenant_id: str | None) -> list[str]:
    """Which attributes are fields, in their order."""
    is_of_client = "aws_request_id" in attributes
    known = usual_of_client if is_of_client else usual
    names = [name for name in attributes if name not in known]
    if is_of_client:
        if names and _unasked:
            try:
                usual_of_client.update(_unasked.pop()())
            except Exception as error:  # of what the function has put into the place of ``logging``'s
                diagnostics.pass_on(error)
            names = [name for name in names if name not in known]
        if attributes.get("tenant_id", tenant_id) is not tenant_id:
            names.append("tenant_id")
    private = [name for name in names if text_of(name)[:1] == "_"]
    for name in private:
        if name not in _EVENT_NAMES and len(usual) < _USUAL_MAX:
            usual.add(name)
            usual_of_client.add(name)
    return [name for name in names if name not in private and not callable(attributes[name])]


def _event(record: LogRecord) -> Mapping[str, Any]:
    """The event of a record that structlog's ``ProcessorFormatter.wrap_for_formatter`` made; empty for any other."""
    attributes = record.__dict__
    event = attributes.get("msg")
    return event if type(event) is dict and all(name in attributes for name in _EVENT_NAMES) else {}


def _shown(event: Mapping[str, Any], text: str) -> Iterator[tuple[str, object]]:
    """The fields of a structlog event that are in what was made of it: an object's, or those that a text has."""
    message = record_format.message_text(text)[0]
    content = record_format.decode(message) if message[:1] == "{" else None
    for name, value in event.items():
        if type(name) is str and name not in _IN_EVENT:
            if content is None and text_of(value) in text:
                yield name, value
            elif content is not None and name in content:
                yield name, content[name]


def _with_span(fields: dict[str, object]) -> dict[str, object]:
    """The ids that OpenTelemetry's logging integration has put into a record are the record's own keys."""
    for key in ("otelTraceID", "otelSpanID"):
        value = fields.pop(f"extra_{key}", "0")
        if value != "0":  # OpenTelemetry's word for "no span"
            fields[key] = value
    return fields


def exception_text(record: LogRecord) -> str:
    """``errorType``, ``errorMessage`` and ``stackTrace`` of a log record with an exception, as a piece."""
    return error_text(error_of(getattr(record, "exc_info", None)) or error_of_event(_event(record).get("exc_info")))


def error_of(said: object) -> Error | None:
    """The error in ``exc_info``: an exception, or a tuple as ``sys.exc_info()`` gives it; None for anything else."""
    if isinstance(said, BaseException):
        return type(said), said, said.__traceback__
    is_error = isinstance(said, tuple) and len(said) == 3 and isinstance(said[0], type)
    return said if is_error and issubclass(said[0], BaseException) else None  # type: ignore[index,return-value]


def error_of_event(said: object) -> Error | None:
    """The error that structlog's ``exc_info`` names: True is the one being handled; else as :func:`error_of`."""
    return error_of(sys.exc_info() if said is True else said)


def error_text(error: Error | None) -> str:
    """``errorType``, ``errorMessage`` and ``stackTrace`` of an exception, as a piece; empty where there is none."""
    if not error or error[0] is None:
        return ""
    try:
        import traceback  # costs the extension, which logs no exceptions, 4 ms and 0.6 MB; the runtime has it already

        stack = traceback.format_tb(error[2])
    except BaseException as problem:
        diagnostics.pass_on(problem)
        stack = []  # the module's loader is asked for the source, and may be anything
    return record_format.failure_text(error[0].__name__, bounded_text(text_of(error[1])), stack)


def loguru_text(record: object) -> str:
    """Level, logger, bound values and exception of a line that loguru wrote, as a piece.

    Args:
        record: The ``record`` of the text, which is a ``str`` of loguru's own; anything else has no keys.
    """
    try:
        level, logger, extra, error = (record[key] for key in ("level", "name", "extra", "exception"))  # type: ignore[index]  # tried
        fields = {text_of(name): value for name, value in extra.items()}
        return (
            record_format.logger_text(level_text(level.name), logger)
            + record_format.fields_text(fields)
            + error_text(error and tuple(error))
        )
    except BaseException as problem:
        diagnostics.pass_on(problem)
        return ""
