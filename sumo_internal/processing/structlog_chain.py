"""SUMO_PROCESSORS: the users' structlog processors, and a record as they know it.

A processor is called as structlog calls it, ``(logger, method_name, event_dict) -> event_dict``, and structlog's own
work unchanged: ``event`` is the text that was logged, without the runtime's prefix and the traceback; ``level`` is in
lower case; ``logger`` is the logger's name; ``exc_info`` is the exception of a log record; a record's fields, and the
keys of a line that is a JSON object, are further keys. Values are what JSON has: a processor may change them in place.
What comes out is put together again, and what none of them has touched is as it was.

The rule here is when processors are looked up. A processor may live in the handler's own module, which Lambda imports
during the init phase, and importing it earlier, or twice, would run the function's code when it does not expect it. So
during init processors are taken from modules that have been imported already; other modules are imported only when init
is over. The handler's module is never imported from here.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback

from sumo_internal import diagnostics
from sumo_internal.capture import log_records, record_format
from sumo_internal.processing.rules import WithheldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from sumo_internal.capture.log_records import Error

    Processor = Callable[[Any, str, Any], Any]

_PREFIX = re.compile(r"\[[^\]\t\n]*\]\t[^\t\n]*Z\t[^\t\n]*\t")
"""What the runtime's formatter puts in front of a log record's text."""

_EVENT_KEYS = ("event", "message", "msg")
"""Under which of its keys a JSON object says what happened: structlog's, the runtime's and Powertools', pino's."""

_OF_ERROR = ("errorType", "errorMessage", "stackTrace")
_RENAMED = {"event": "extra_event", "exc_info": "extra_exc_info"}
"""Fields that have the name of something else in an event."""
_ORIGINAL = {renamed: name for name, renamed in _RENAMED.items()}

_METHODS = ("debug", "info", "warning", "error", "critical")


class Chain:
    """The processors, once they could be looked up."""

    def __init__(self, names: Iterable[str], handler: str) -> None:
        """Make a chain; :meth:`load` looks the processors up.

        Args:
            names: ``module.attribute`` each.
            handler: The module of the function's handler (``_HANDLER``), which only Lambda may import.
        """
        self._names = list(names)
        self._handler = handler
        self._processors: list[tuple[str, Processor]] = []
        self._given: list[tuple[str, Processor]] = []
        self.problem = ""
        """Why the processors cannot be had at all."""

    def __bool__(self) -> bool:
        return bool(self._names or self._given)

    @property
    def is_loaded(self) -> bool:
        return len(self._processors) == len(self._names)

    def add(self, processors: Iterable[Any]) -> None:
        """Go on with processors that the caller has at hand; see :attr:`problem`."""
        try:
            for processor in processors:
                name = getattr(processor, "__qualname__", type(processor).__name__)
                self._given.append((name, _checked(name, processor)))
        except WithheldError as problem:
            self.problem = str(problem)

    def load(self, *, is_init_over: bool) -> None:
        """Look up those that are not known yet, as far as that is possible now; see :attr:`problem`."""
        processors = list(self._processors)  # a thread that logs while a module is imported runs this, too
        try:
            for name in self._names[len(processors) :]:
                module_name, _, attribute = name.rpartition(".")
                if is_init_over and module_name not in sys.modules and module_name != self._handler:
                    __import__(module_name)
                module = sys.modules.get(module_name)
                if not is_init_over and (module is None or _is_being_imported(module)):
                    return
                processors.append((name, _checked(name, getattr(module, attribute, None))))
                self._processors = list(processors)
        except WithheldError as problem:
            self.problem = str(problem)
        except (Exception, SystemExit) as error:
            # Only Python's own text: what a module of the function's raises may say what must not leave.
            reason = f": {error}" if isinstance(error, ImportError) and error.name else ""
            self.problem = f"SUMO_PROCESSORS: {name} cannot be imported ({type(error).__name__}{reason})"

    def run(self, text: str, fields: dict[str, Any], error: Error | None, trace: str) -> tuple[str, str] | None:
        """Let a record pass the processors.

        Args:
            text: What was written: a text, or an object's JSON.
            fields: What the record has besides, by name.
            error: The exception that was logged, if one was.
            trace: The same as it stands at the end of the text.

        Returns:
            The text and the fields (as a piece) that came out; None where the event was dropped.

        Raises:
            WithheldError: A processor has failed.
        """
        event = _event(text, fields, error, trace)
        logger = _logger(fields.get("logger"))
        method = str(event.values.get("level", "info"))
        values: Any = event.values
        for name, processor in (*self._processors, *self._given):
            try:
                values = processor(logger, method if method in _METHODS else "info", values)
            except BaseException as problem:
                if _is_drop(problem):
                    return None
                if not isinstance(problem, Exception) or diagnostics.is_of_signal(problem):
                    raise
                raise WithheldError(f"SUMO_PROCESSORS: {name} raised {type(problem).__name__}") from None
        if isinstance(values, (str, bytes, bytearray)):
            return event.rendered(values if isinstance(values, str) else bytes(values).decode("utf-8", "replace"))
        if not isinstance(values, dict):
            raise WithheldError(f"SUMO_PROCESSORS: the last one returns {type(values).__name__}, not an event")
        return event.restored(dict(values))


def _logger(name: object) -> logging.Logger:
    """The logger that has logged. Not by getLogger, which takes a lock that the caller's caller may be waiting for."""
    if not isinstance(name, str):
        return logging.root
    found = logging.root.manager.loggerDict.get(name)
    if not isinstance(found, logging.Logger):
        found = logging.Logger(name)  # a line of JSON may name what logging does not know
        found.parent = logging.root
    return found


def _checked(name: str, processor: Any) -> Processor:
    if processor is None:
        raise WithheldError(f"SUMO_PROCESSORS: there is no {name}")
    if not callable(processor) or isinstance(processor, type):
        raise WithheldError(f"SUMO_PROCESSORS: {name} cannot be called with an event; name a function, or an instance")
    return processor  # type: ignore[no-any-return]  # whatever the user has named


def _is_being_imported(module: object) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _is_drop(problem: BaseException) -> bool:
    structlog = sys.modules.get("structlog")
    return structlog is not None and isinstance(problem, structlog.DropEvent)


class _Text:
    """A line, or a log record, as an event: the runtime's prefix and the traceback are no part of what was said."""

    def __init__(self, text: str, fields: dict[str, Any], error: Error | None, trace: str) -> None:
        prefix = _PREFIX.match(text)
        self._head = prefix[0] if prefix else ""
        end = text.rfind(f"\n{trace}") if error and trace else -1
        self._tail = text[end:] if end >= len(self._head) else ""
        self._fields = fields
        self.error = error
        self.of_error = {name: fields[name] for name in _OF_ERROR if error and name in fields}
        self.values = _values(text[len(self._head) : len(text) - len(self._tail)], fields, self.of_error, error)

    def rendered(self, text: str) -> tuple[str, str]:
        """What has become of the event, when a processor has made a text of it."""
        return self._head + text, _fields_text({}, self._fields)

    def restored(self, values: dict[str, Any]) -> tuple[str, str]:
        """What has become of the event."""
        event, now, tail = values.pop("event", ""), values.pop("exc_info", None), self._tail
        if self.error and now is not self.error:
            error = log_records.error_of_event(now)
            tail = "".join(traceback.format_exception(*error)).rstrip("\n") if error else ""
            if not tail and isinstance(values.get("exception"), str):
                tail = values.pop("exception")  # as format_exc_info leaves it
            tail = f"\n{tail}" if tail else ""
        return f"{self._head}{event}{tail}", _fields_text(values, self._fields) + _error_text(now, self)


class _Object:
    """A line that is a JSON object as an event: its keys go back into it, what is added are fields."""

    def __init__(self, text: str, content: dict[str, Any], fields: dict[str, Any], error: Error | None) -> None:
        self._content = content
        self._text = text
        self._fields = fields
        self.error = error
        self._key = next((key for key in _EVENT_KEYS if isinstance(content.get(key), str)), "event")
        self.of_error = {name: fields[name] for name in _OF_ERROR if error and name in fields and name not in content}
        others = {name: value for name, value in content.items() if name != self._key}
        self.values = _values(content.get(self._key, ""), {**fields, **others}, self.of_error, error)

    def rendered(self, text: str) -> tuple[str, str]:
        return text, _fields_text({}, self._fields)

    def restored(self, values: dict[str, Any]) -> tuple[str, str]:
        event, now = values.pop("event", ""), values.pop("exc_info", None)
        values = {_ORIGINAL.get(name, name): value for name, value in values.items()}
        if event or self._key in self._content:
            values[self._key] = event
        level = self._content.get("level")
        if isinstance(level, str) and values.get("level") == level.lower():
            values["level"] = level
        places = dict.fromkeys([*self._content, self._key])
        content = {name: values[name] for name in places if name in values}
        added = {name: value for name, value in values.items() if name not in content or name in self._fields}
        text = self._text if content == self._content else record_format.value_text(content)
        return text, _fields_text(added, self._fields) + _error_text(now, self)


def _event(text: str, fields: dict[str, Any], error: Error | None, trace: str) -> _Text | _Object:
    if text[:1] == "{":
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            return _Object(text, content, fields, error)
    return _Text(text, fields, error, trace)


def _values(event: str, keys: dict[str, Any], of_error: dict[str, Any], error: Error | None) -> dict[str, Any]:
    """An event's keys; those that say what ``exc_info`` says are left out."""
    shown = {_RENAMED.get(name, name): value for name, value in keys.items() if name not in of_error}
    if isinstance(shown.get("level"), str):
        shown["level"] = shown["level"].lower()
    return {"event": event, **shown, **({"exc_info": error} if error else {})}


def _error_text(now: Any, event: _Text | _Object) -> str:
    """The exception's own keys, as a piece."""
    if now is event.error:
        return record_format.fields_text(event.of_error, event.of_error)
    return log_records.error_text(log_records.error_of_event(now))


def _fields_text(values: dict[str, Any], fields: dict[str, Any]) -> str:
    """The fields that came out, as a piece, under the names that a record has; its level and logger stay.

    Args:
        values: What came out.
        fields: What went in.
    """
    kept: dict[str, Any] = {name: fields[name] for name in ("level", "logger") if name in fields}
    values = {_ORIGINAL.get(name, name): value for name, value in values.items() if name != "_record"}
    level = values.get("level")
    if isinstance(level, str) and record_format.level_text(level) != kept.get("level"):
        kept["level"] = record_format.level_text(level)
    if isinstance(values.get("logger"), str):
        kept["logger"] = values["logger"]
    return record_format.fields_text({**values, **kept}, {*fields, *kept})
