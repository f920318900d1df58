"""The drop-in: a logging handler for functions that do not use the wrapper.

It sees log records only, and no ``print``. Under the wrapper no handler of ours is installed at all, because handlers
can be replaced (``basicConfig(force=True)``, ``dictConfig``), filtered (Powertools hides its loggers from root
handlers) and by-passed (``propagate=False``); what lies below them cannot.
"""

from __future__ import annotations

import logging
import time
from _collections_abc import Callable, Iterable  # here and not for the type checker alone: annotations can be resolved

from sumo_internal import diagnostics, wiring
from sumo_internal.capture import log_records
from sumo_internal.capture.reentrancy import is_recorded


class SumoHandler(logging.Handler):
    """Ships log records to Sumo Logic: ``logging.getLogger().addHandler(SumoHandler())``.

    For functions that do not use the wrapper (``AWS_LAMBDA_EXEC_WRAPPER``); under the wrapper it does nothing, so that
    each line is sent once. Make it while the function's module is imported: registering for the end of invocations is
    only possible during the init phase. Where a process is not run by AWS's runtime client (a runtime of your own, a
    web adapter), the handler does not learn of invocations: lines leave by age and at SHUTDOWN, without a request id.
    Outside Lambda lines leave by age and when the process ends.

    It reads the same environment variables as the layer and never raises; what it cannot do or promise it says in one
    line on stderr.
    """

    def __init__(self, level: int | str = logging.NOTSET, *, processors: Iterable[Callable[..., object]] = ()) -> None:
        """Make a handler.

        Args:
            level: As in ``logging``.
            processors: structlog processors that records pass before they leave, besides those of SUMO_PROCESSORS.
                Every record passes the processors of the first handler and of all later ones.
        """
        super().__init__(level)
        self._recorder = None
        with diagnostics.guard("setting up SumoHandler"):
            self._recorder = wiring.start_dropin(processors)
        formatter = logging.Formatter(log_records.TEXT_FORMAT, log_records.TIME_FORMAT)
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        recorder = self._recorder
        if recorder is None or (is_recorded and is_recorded[0]()):
            return
        if not hasattr(record, "aws_request_id"):
            record.aws_request_id = recorder.request_id or ""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)  # a message and arguments that do not fit are the function's
            return
        try:
            recorder.record(text, record)
        except Exception as error:
            recorder.not_recorded(text, error)
