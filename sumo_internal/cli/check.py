"""``sumo-internal check``: does a function's line reach Sumo Logic? Invokes it, and reads what the layer says of that.

Nothing outside the environment can see a request of the layer's, and Sumo Logic's search needs an account's keys. So
the invocation carries a mark in its client context, the layer then says in the function's log what became of this
invocation's lines (:mod:`sumo_internal.shipping.invocation_check`), and the log is read until it says so.

It ends with EXIT_FAILED where the lines were not accepted, where there were none, and where that cannot be learnt. A
function that ships nothing as it is set up is not invoked.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sumo_internal import config as settings
from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, CommandError, changes, checks, selection
from sumo_internal.cli.account import Region
from sumo_internal.cli.checks import Subject
from sumo_internal.diagnostics import LEVELS, legible
from sumo_internal.shipping.invocation_check import ACCEPTED, NOT_ACCEPTED, SILENT
from sumo_internal.shipping.invocations import CHECK_MARK
from sumo_internal.spool.envelope import filled, request_headers, values

POLL_S = 1.0
"""Between two looks at the log."""

CLOCKS_APART_MS = 60_000
"""How far this machine's clock may be ahead of CloudWatch's."""

SHIPS_NOTHING = frozenset(("disabled", "endpoint-arn", "endpoint-missing", "endpoint-value", "log-types", "runtime"))
"""Findings of the doctor's with which no line of the function's can be accepted: an invocation's effects would be for
nothing."""

SHOWN_MAX_CHARACTERS = 300
"""Of a function's error, and of what the layer says."""

CLIENT_CONTEXT = json.dumps({"custom": {CHECK_MARK: "1"}})


def run(arguments: argparse.Namespace) -> int:
    """Check; print what became of the lines, and the query that finds them."""
    event = _event(arguments.event)
    place, configuration = selection.one(arguments.function, arguments.region or "")
    subject = Subject(changes.state(configuration).variables, configuration)
    name = subject.name
    if subject.mode == settings.MANAGED:
        raise CommandError(
            f"{name} runs on Managed Instances, where the lines of all requests leave together: one cannot be checked"
        )
    found = [each for each in checks.check(subject) if each.level == "error" or each.name in SHIPS_NOTHING]
    for finding in found:
        print(f"{finding.name}: {finding.what}. {finding.fix}", file=sys.stderr)
    if any(finding.name in SHIPS_NOTHING for finding in found):
        print(f"{name} in {place.name} was not invoked: as it is set up, it ships nothing.")
        return EXIT_FAILED
    since_ms = int(time.time() * 1000) - CLOCKS_APART_MS
    answer = place.invoke(arguments.function, event, CLIENT_CONTEXT)
    print(f"{name} in {place.name} was invoked: request {answer.request_id}, {_outcome(answer.error)}", flush=True)
    said = _await(place, subject.log_group, answer.request_id, since_ms, arguments.timeout_s)
    what, more = (said[1], legible(said[2], SHOWN_MAX_CHARACTERS)) if said else ("", "")
    if what == ACCEPTED:
        print(f"Sumo Logic has accepted its lines ({more}). A search finds them in a minute:")
        print(f"\n{_query(subject, answer.request_id)}\n")
        return EXIT_DONE
    if what == NOT_ACCEPTED:
        print(f"Sumo Logic has not accepted its lines ({more}). `sumo-internal doctor {name}` tells more.")
    elif what == SILENT:
        print(
            "It has written no line, so there was nothing to send: check it with an event for which it logs (--event)."
        )
    else:
        print(f"What became of its lines is not known: {_why_unknown(subject, arguments.timeout_s)}.")
    return EXIT_FAILED


def _event(file: str | None) -> bytes:
    """What the function is invoked with."""
    if file is None:
        return b"{}"
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        json.loads(text)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"{file} is not JSON: {error}") from None
    return text.encode()


def _outcome(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return "it has responded"
    texts = (str(error.get(key, "")) for key in ("errorType", "errorMessage"))
    return f"it has failed ({legible(': '.join(filter(None, texts)), SHOWN_MAX_CHARACTERS)})"


def _await(place: Region, group: str, request_id: str, since_ms: int, timeout_s: float) -> re.Match[str] | None:
    """What the layer says of the invocation; None where it says nothing in time."""
    phrase = f"check of {request_id}: "
    sentence = re.compile(rf"{re.escape(phrase)}({NOT_ACCEPTED}|{ACCEPTED}|{SILENT}) \((.*)\)")
    until_s = time.monotonic() + timeout_s
    while True:
        for message in place.logged(group, phrase, since_ms):
            if found := sentence.search(message):
                return found
        if time.monotonic() + POLL_S > until_s:
            return None
        time.sleep(POLL_S)


def _why_unknown(subject: Subject, timeout_s: float) -> str:
    """What keeps the layer from saying it, or its word from the log."""
    level = subject.config.log_level
    if subject.variables.get(changes.WRAPPER) != changes.WRAPPER_PATH:
        return "the wrapper is not in AWS_LAMBDA_EXEC_WRAPPER, and only behind it an invocation can be followed"
    if LEVELS.index(level) > LEVELS.index("info"):
        return f"SUMO_LOG_LEVEL={level} keeps the layer from saying it"
    return (
        f"its log has said nothing of it for {timeout_s:g} s. Either Sumo Logic is slow, or the function may not write "
        "to CloudWatch Logs, or its layer is older than this command"
    )


def _query(subject: Subject, request_id: str) -> str:
    """What finds the lines of an invocation."""
    headers = request_headers(subject.config, subject.name, "", "$LATEST")
    headers, _ = filled(headers, values(subject.variables, ""))
    host = next((value for header, value in headers.items() if header.lower() == "x-sumo-host"), "*")
    return f'_sourceHost="{host}" "{request_id}"'
