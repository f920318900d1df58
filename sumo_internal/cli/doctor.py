"""``sumo-internal doctor``: what is wrong with a function's set-up, why it matters, and the exact fix.

The door to :mod:`sumo_internal.cli.checks`: it reads the environment, the file or the configuration, looks at the
layer's files, asks the source and, on request, the bucket, and shows what was found.

The source gets a request without lines, by the function's own code: it answers as to any other, and stores nothing.

The bucket gets an empty object under the function's own prefix, which is deleted again. That is no dry run, because
none tells as much: IAM's simulation knows neither the bucket's region nor its encryption, nor, across accounts, its
policy. It needs rights of the person who runs the doctor, and the answer says so; the role's rights are listed beside
it.

Exit codes: 0 no errors (with ``--strict``: no warnings either), 1 there are some, 2 nothing could be checked.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, answers, checks
from sumo_internal.cli.checks import Subject
from sumo_internal.cli.findings import LEVELS, Finding, find
from sumo_internal.cli.source import connect
from sumo_internal.destinations import s3
from sumo_internal.diagnostics import legible
from sumo_internal.net.pool import PooledSender
from sumo_internal.spool.envelope import filled, request_headers, values

ANSWER_TIMEOUT_S = 10.0
"""For the source's answer, and for each of a secret's: what the function itself waits for one."""

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


class UnreadableError(Exception):
    """What was to be checked cannot be read; the text says why."""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check a function's set-up",
        description="Checks what can be wrong with a function's set-up: settings, wrapper, layer, source, bucket.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a .env file, or a function's configuration as `aws lambda get-function-configuration` prints it; - for "
        "standard input; without one, this process's environment is checked",
    )
    parser.add_argument(
        "--layer", metavar="FOLDER", type=Path, help="where the layer is unpacked, to look at its files"
    )
    parser.add_argument("--offline", action="store_true", help="do not send the source a request without lines")
    parser.add_argument("--try-bucket", action="store_true", help="put an empty object into the bucket, and delete it")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument("--json", action="store_true", help="say it for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, and show what was found."""
    try:
        subject = _read(arguments.file, arguments.layer)
    except UnreadableError as problem:
        print(f"sumo-internal doctor: {problem}", file=sys.stderr)
        return EXIT_USAGE
    found = checks.check(subject)
    if not arguments.offline and subject.config.endpoint:
        found.append(_ask_source(subject))
    if arguments.try_bucket and subject.config.has_failover:
        found += _try_bucket(subject)
    found.sort(key=lambda finding: LEVELS.index(finding.level))
    (_show_json if arguments.json else _show)(subject, found)
    worst = ("error", "warning") if arguments.strict else ("error",)
    return EXIT_FAILED if any(finding.level in worst for finding in found) else EXIT_DONE


def _read(file: str | None, layer: Path | None) -> Subject:
    """What is to be checked."""
    if file is None:
        is_function = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        return Subject(dict(os.environ), modes=_modes(layer or Path("/opt")) if layer or is_function else {})
    modes = _modes(layer) if layer else {}
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{file}: {getattr(error, 'strerror', None) or 'is no text'}") from None
    if not text.strip():
        raise UnreadableError("there is nothing to check")
    if text.lstrip().startswith("{"):
        return _of_configuration(text, modes)
    return Subject(dict(_of_lines(text)), modes=modes)


def _modes(layer: Path) -> dict[str, int | None]:
    """The layer's files, by where Lambda has them."""
    modes: dict[str, int | None] = {}
    for path in checks.FILES:
        try:
            modes[path] = (layer / path.removeprefix("/opt/")).stat().st_mode
        except OSError:
            modes[path] = None
    return modes


def _of_configuration(text: str, modes: Mapping[str, int | None]) -> Subject:
    """A function's configuration; with the variables that Lambda adds."""
    try:
        function = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"this is not JSON: {error}") from None
    function = function.get("Configuration", function)  # as `aws lambda get-function` has it
    environment = function.get("Environment") or {}
    if "FunctionName" not in function or "Error" in environment:
        problem = (environment.get("Error") or {}).get("ErrorCode", "there is no FunctionName in it")
        raise UnreadableError(f"this is no function's configuration with its variables: {problem}")
    given = {
        "AWS_LAMBDA_FUNCTION_NAME": function["FunctionName"],
        "AWS_LAMBDA_FUNCTION_VERSION": function.get("Version", "$LATEST"),
        "AWS_REGION": [*function.get("FunctionArn", "").split(":"), "", "", "", ""][3],
    }
    return Subject({**given, **environment.get("Variables", {})}, function, modes)


def _of_lines(text: str) -> Iterator[tuple[str, str]]:
    """A .env file's variables: NAME=VALUE, with or without quotes and ``export``; # begins a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip().removeprefix("export ")
        if not entry or entry.startswith("#"):
            continue
        name, equals, value = entry.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UnreadableError(f"line {number} is not NAME=VALUE")
        yield name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and quote in value[1:]:
        return value[1:].partition(quote)[0]
    return re.split(r"\s#", value, maxsplit=1)[0].rstrip()


def _ask_source(subject: Subject) -> Finding:
    """Post no lines, as the function would post some."""
    config, variables = subject.config, subject.variables
    version = variables.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
    stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{version}]doctor"
    envelope, _ = filled(request_headers(config, subject.name, stream, version), values(variables, ""))
    begun_s = time.monotonic()
    with closing(PooledSender()) as sender:
        source = connect(config, sender, subject.name, variables.get("AWS_REGION", ""))
        attempt = source.post(lambda encoding: encoding.pack([]), envelope, ANSWER_TIMEOUT_S)
    return answers.judge_source(attempt, time.monotonic() - begun_s)


def _try_bucket(subject: Subject) -> Iterator[Finding]:
    """Put an empty object into the bucket, where the function would, and delete it."""
    config, variables = subject.config, subject.variables
    version = variables.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
    key = f"{s3.PREFIX}/{variables.get('AWS_REGION', '-')}/{subject.name}/{version}/doctor-{uuid.uuid4()}.gz"
    session = boto3.Session()
    client = session.client("s3", region_name=config.bucket_region)
    credentials = session.get_credentials()
    who = f"the credentials found here ({credentials.method})" if credentials else "nobody (no credentials)"
    code = _code(lambda: client.put_object(Bucket=config.bucket_name, Key=key, Body=gzip.compress(b"")))
    yield answers.judge_bucket(code, config.bucket_name, config.bucket_region, who)
    if not code and (code := _code(lambda: client.delete_object(Bucket=config.bucket_name, Key=key))):
        yield find("bucket-marker", bucket=config.bucket_name, key=key, code=code)


def _code(call: Any) -> str:
    """The error that a call ends with; empty where it does not."""
    try:
        call()
    except ClientError as error:
        return legible(str(error.response["Error"]["Code"]), s3.TEXT_MAX_CHARACTERS)
    except BotoCoreError as error:
        return type(error).__name__
    return ""


def _show_json(subject: Subject, found: list[Finding]) -> None:
    content = {"findings": [asdict(finding) for finding in found], "permissions": checks.permissions(subject)}
    print(json.dumps(content, indent=2))


def _show(subject: Subject, found: list[Finding]) -> None:
    console = Console(highlight=False)
    for finding in found:
        console.print(Text(finding.level, COLOURS[finding.level]), Text(finding.name, "bold"))
        for label, text in (("", finding.what), ("why", finding.why), ("fix", finding.fix)):
            row = Table.grid(padding=(0, 2))
            row.add_row(f"  {label:3}", Text(text))
            console.print(row)
    if needed := checks.permissions(subject):
        console.print("The function's role needs:")
        console.print(Text(json.dumps({"Version": "2012-10-17", "Statement": needed}, indent=2)))
    counts = Counter(finding.level for finding in found)
    console.print(", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in LEVELS))
