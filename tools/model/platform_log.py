"""What the platform itself says about a function: each event as a line of the log stream and as an event of the
Telemetry API.

Separate because the same event has two or three forms (text, the JSON log format, telemetry), and because the layer's
users read these lines: START, REPORT, "Task timed out".

Source of the forms: AWS's Telemetry API schema, and log streams of real functions. It measures nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from model.configuration import Function
from model.monitor import Monitor
from model.runtime_api import Work
from model.telemetry_api import TelemetryApi
from model.telemetry_delivery import TelemetryEvent, timestamp
from model.values import CloudWatchLine, Failure, Phase, Status


class PlatformLog:
    """Writes the platform's lines of one generation."""

    def __init__(self, monitor: Monitor, telemetry: TelemetryApi, function: Function) -> None:
        self._monitor = monitor
        self._telemetry = telemetry
        self._function = function
        self._is_json = function.log_format.upper() == "JSON"

    def init_start(self, phase: Phase) -> None:
        """An init begins."""
        major, minor = self._function.runtime.version
        record = {
            "initializationType": self._function.initialization_type,
            "phase": phase,
            "runtimeVersion": f"python:{major}.{minor}.v1",
            "runtimeVersionArn": "arn:aws:lambda:us-east-1::runtime:0123456789abcdef",
            "functionName": self._function.name,
            "functionVersion": self._function.version,
        }
        text = "INIT_START Runtime Version: {runtimeVersion}\tRuntime Version ARN: {runtimeVersionArn}"
        self._say("platform.initStart", record, text.format(**record) if phase == "init" else None)

    def init_runtime_done(self, phase: Phase, error: Failure | None) -> None:
        """The runtime has asked for its first event, or never will; the extensions need not be ready yet."""
        self._say("platform.initRuntimeDone", self._init_record(phase, error))

    def init_done(self, phase: Phase, duration_s: float, error: Failure | None) -> None:
        """An init is over; only a failed one has a line in the log stream."""
        text = f"INIT_REPORT Init Duration: {duration_s * 1000:.2f} ms\tPhase: {phase}\tStatus: error"
        if error is not None:
            text += f"\tError Type: {error.error_type}"
        report = {**self._init_record(phase, error), "metrics": {"durationMs": _milliseconds(duration_s)}}
        self._say("platform.initReport", report, None if error is None else text)

    def restore_start(self) -> None:
        """A copy of the environment is restored from its snapshot."""
        record = {"functionName": self._function.name, "functionVersion": self._function.version}
        self._say("platform.restoreStart", record, "RESTORE_START")

    def restore_done(self, duration_s: float, error: Failure | None) -> None:
        """The copy's runtime has asked for its first event."""
        outcome = _outcome("success" if error is None else "error", error)
        self._say("platform.restoreRuntimeDone", outcome)
        metrics = {"metrics": {"durationMs": _milliseconds(duration_s)}}
        text = f"RESTORE_REPORT Restore Duration: {duration_s * 1000:.2f} ms"
        self._say("platform.restoreReport", {**outcome, **metrics}, text)

    def _init_record(self, phase: Phase, error: Failure | None) -> dict[str, str]:
        outcome = _outcome("success" if error is None else "error", error)
        return {"initializationType": self._function.initialization_type, "phase": phase, **outcome}

    def extension(self, name: str, state: str, events: Sequence[str]) -> None:
        """The state of one extension at the end of an init."""
        text = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{', '.join(events)}]"
        self._say("platform.extension", {"name": name, "state": state, "events": list(events)}, text)

    def start(self, request_id: str, tenant_id: str | None) -> None:
        """An invocation begins."""
        tenant = {} if tenant_id is None else {"tenantId": tenant_id}
        record = {"requestId": request_id, "version": self._function.version, **tenant}
        self._say("platform.start", record, f"START RequestId: {request_id} Version: {self._function.version}")

    def runtime_done(self, work: Work, status: Status, error: Failure | None, duration_s: float) -> None:
        """The runtime has asked for its next invocation, or never will."""
        metrics = {"durationMs": _milliseconds(duration_s), "producedBytes": len(work.body or b"")}
        record = {"requestId": work.request_id, **_outcome(status, error), "metrics": metrics}
        self._say("platform.runtimeDone", record)

    def invocation_over(
        self,
        work: Work,
        status: Status,
        error: Failure | None,
        duration_s: float,
        max_memory_bytes: int,
        init_duration_s: float | None,
    ) -> None:
        """An invocation is over, the extensions' share of it included; the first one also tells of the init."""
        if status == "timeout":
            text = f"Task timed out after {self._function.timeout_s:.2f} seconds"
            self._print(f"{timestamp(time.time())} {work.request_id} {text}")
        elif status == "crash" and error is not None:
            self._print(f"{error.message}\n{error.error_type}")
        metrics: dict[str, float] = {
            "durationMs": _milliseconds(duration_s),
            "billedDurationMs": math.ceil(duration_s * 1000),
            "memorySizeMB": self._function.memory_mb,
            "maxMemoryUsedMB": math.ceil(max_memory_bytes / 1024 / 1024),
        }
        if init_duration_s is not None:
            metrics["initDurationMs"] = _milliseconds(init_duration_s)
        outcome = _outcome(status, error)
        if not self._is_json:
            self._print(f"END RequestId: {work.request_id}")
        record = {"requestId": work.request_id, **outcome, "metrics": metrics}
        self._say("platform.report", record, _report_text(work.request_id, metrics, outcome))

    def _say(self, event_type: str, record: Mapping[str, Any], text: str | None = None) -> None:
        """Publish an event, and in the log stream its text, or the event itself under the JSON log format."""
        now_s = time.time()
        self._telemetry.publish(TelemetryEvent(now_s, event_type, record))
        if self._is_json:
            text = json.dumps({"time": timestamp(now_s), "type": event_type, "record": record})
        if text is not None:
            self._print(text)

    def _print(self, text: str) -> None:
        self._monitor.publish([CloudWatchLine(time.time(), "platform", text)])


def _outcome(status: Status, error: Failure | None) -> dict[str, str]:
    """Return status and error type as the schema has them: it calls a crash an error, and a timeout has no type."""
    if error is None or status == "timeout":
        return {"status": status}
    return {"status": "error", "errorType": error.error_type}


def _report_text(request_id: str, metrics: Mapping[str, float], outcome: Mapping[str, str]) -> str:
    """Return the REPORT line; a good outcome is not mentioned."""
    parts = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {metrics['durationMs']:.2f} ms",
        f"Billed Duration: {metrics['billedDurationMs']} ms",
        f"Memory Size: {metrics['memorySizeMB']} MB",
        f"Max Memory Used: {metrics['maxMemoryUsedMB']} MB",
    ]
    if "initDurationMs" in metrics:
        parts.append(f"Init Duration: {metrics['initDurationMs']:.2f} ms")
    if outcome["status"] != "success":
        parts.append(f"Status: {outcome['status']}")
    if "errorType" in outcome:
        parts.append(f"Error Type: {outcome['errorType']}")
    return "\t".join([*parts, ""])


def _milliseconds(duration_s: float) -> float:
    return round(duration_s * 1000, 3)
