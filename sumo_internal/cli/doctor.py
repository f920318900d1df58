"""``sumo-internal doctor``: what is wrong with a function's set-up, why it matters, and the exact fix.

The door to :mod:`sumo_internal.cli.checks`: it reads the environment, the file or the configuration, looks at the
layer's files, asks the source and, on request, the bucket, and shows what was found.

The source gets a request without lines, by the function's own code: it answers as to any other, and stores nothing.

The bucket gets an empty object under the function's own prefix, which is deleted again. That is no dry run, because
none tells as much: IAM's simulation knows neither the bucket's region nor its encryption, nor, across accounts, its
policy. It needs rights of the person who runs the doctor, and the answer says so; the role's rights are listed beside
it.

A function is asked for by its name or ARN, with boto3; a file, the environment and ``--offline`` need neither boto3 nor
rich. EXIT_FAILED says that there are errors, with ``--strict`` warnings too.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sumo_internal.cli import EXIT_DONE, EXIT_FAILED, CommandError, answers, changes, checks, is_of_aws
from sumo_internal.cli.checks import Subject
from sumo_internal.cli.findings import LEVELS, Finding, find
from sumo_internal.destinations import s3
from sumo_internal.diagnostics import legible
from sumo_internal.spool.envelope import filled, request_headers, values

ANSWER_TIMEOUT_S = 10.0
"""For the source's answer, and for each of a secret's: what the function itself waits for one."""

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


_FUNCTION = re.compile(r"(\d{12}:function:)?[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]+)?|arn:[a-z-]+:lambda:.+")
"""A function's name, perhaps with its account and a version or alias, or its ARN; a file's name has a dot or a slash,
or is there."""


def run(arguments: argparse.Namespace) -> int:
    """Check, and show what was found."""
    subject = _read(arguments)
    found = checks.check(subject)
    if not arguments.offline and subject.config.endpoint:
        found.append(_ask_source(subject))
    if arguments.try_bucket and subject.config.has_failover:
        found += _try_bucket(subject)
    found.sort(key=lambda finding: LEVELS.index(finding.level))
    (_show_json if arguments.json else _show)(subject, found)
    worst = ("error", "warning") if arguments.strict else ("error",)
    return EXIT_FAILED if any(finding.level in worst for finding in found) else EXIT_DONE


def _read(arguments: argparse.Namespace) -> Subject:
    """What is to be checked.

    Raises:
        CommandError: It cannot be read.
    """
    target, layer = arguments.target, arguments.layer
    if target is None:
        is_function = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        return Subject(dict(os.environ), modes=_modes(layer or Path("/opt")) if layer or is_function else {})
    modes = _modes(layer) if layer else {}
    if target != "-" and _FUNCTION.fullmatch(target) and not Path(target).exists():
        return _of_function(target, arguments.region or "", modes)
    try:
        text = sys.stdin.read() if target == "-" else Path(target).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{target}: {getattr(error, 'strerror', None) or 'is not text'}") from None
    if not text.strip():
        raise CommandError("there is nothing to check")
    if text.lstrip().startswith("{"):
        return _of_configuration(_parsed(text), modes)
    return Subject(dict(_of_lines(text)), modes=modes)


def _of_function(function: str, region: str, modes: Mapping[str, int | None]) -> Subject:
    """A function in AWS, and what the description of its layer says."""
    from sumo_internal.cli import selection  # with boto3

    place, configuration = selection.one(function, region)
    subject = _of_configuration(configuration, modes)
    layers = [layer for layer in changes.state(configuration).layers if changes.is_ours(layer)]
    if subject.config.cloudwatch != "all":
        filters, problem = place.filters(subject.log_group)
        subject = replace(subject, filters=filters, filters_problem=legible(problem, s3.TEXT_MAX_CHARACTERS))
    return replace(subject, bytecode=place.product(layers[0]).bytecode) if layers else subject


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"this is not JSON: {error}") from None


def _modes(layer: Path) -> dict[str, int | None]:
    """The layer's files, by where Lambda has them."""
    modes: dict[str, int | None] = {}
    for path in checks.FILES:
        try:
            modes[path] = (layer / path.removeprefix("/opt/")).stat().st_mode
        except OSError:
            modes[path] = None
    return modes


def _of_configuration(function: Mapping[str, Any], modes: Mapping[str, int | None]) -> Subject:
    """A function's configuration; with the variables that Lambda adds."""
    function = function.get("Configuration", function)  # as `aws lambda get-function` has it
    environment = function.get("Environment") or {}
    if "FunctionName" not in function or "Error" in environment:
        problem = (environment.get("Error") or {}).get("ErrorCode", "there is no FunctionName in it")
        raise CommandError(f"this is not a function's configuration with its variables: {problem}")
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
            raise CommandError(f"line {number} is not NAME=VALUE")
        yield name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and quote in value[1:]:
        return value[1:].partition(quote)[0]
    return re.split(r"\s#", value, maxsplit=1)[0].rstrip()


def _ask_source(subject: Subject) -> Finding:
    """Post no lines, as the function would post some."""
    from sumo_internal.cli.source import connect  # with boto3, and TLS
    from sumo_internal.net.pool import PooledSender

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
    from sumo_internal.cli.session import session as here

    session = here()
    client = session.client("s3", region_name=config.bucket_region)
    credentials = session.get_credentials()
    who = f"the credentials found here ({credentials.method})" if credentials else "nobody (no credentials)"
    place = {"Bucket": config.bucket_name, "Key": key}
    if config.bucket_owner:
        place["ExpectedBucketOwner"] = config.bucket_owner
    code = _code(lambda: client.put_object(**place, Body=gzip.compress(b"")))
    yield answers.judge_bucket(code, config.bucket_name, config.bucket_region, who)
    if not code and (code := _code(lambda: client.delete_object(**place))):
        yield find("bucket-marker", bucket=config.bucket_name, key=key, code=code)


def _code(call: Any) -> str:
    """The error that a call ends with; empty where it does not."""
    try:
        call()
    except Exception as error:
        if not is_of_aws(error):
            raise
        response = getattr(error, "response", None)  # BotoCoreError has none: nobody has answered
        return legible(str(response["Error"]["Code"]), s3.TEXT_MAX_CHARACTERS) if response else type(error).__name__
    return ""


def _show_json(subject: Subject, found: list[Finding]) -> None:
    content = {"findings": [asdict(finding) for finding in found], "permissions": checks.permissions(subject)}
    print(json.dumps(content, indent=2))


def _show(subject: Subject, found: list[Finding]) -> None:
    """Say it to people: in colours and folded at a terminal, elsewhere as it is."""
    said: Callable[[Finding], None] = _say_plainly
    if sys.stdout.isatty():
        with suppress(ModuleNotFoundError):  # without the extra nothing is missing but colours
            said = _in_colours()
    for finding in found:
        said(finding)
    if needed := checks.permissions(subject):
        print("The function's role needs:")
        print(json.dumps({"Version": "2012-10-17", "Statement": needed}, indent=2))
    counts = Counter(finding.level for finding in found)
    print(", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in LEVELS))


def _texts(finding: Finding) -> tuple[tuple[str, str], ...]:
    return ("", finding.what), ("why", finding.why), ("fix", finding.fix)


def _say_plainly(finding: Finding) -> None:
    print(finding.level, finding.name)
    for label, text in _texts(finding):
        print(f"  {label:5}{text}")


def _in_colours() -> Callable[[Finding], None]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)

    def say(finding: Finding) -> None:
        console.print(Text(finding.level, COLOURS[finding.level]), Text(finding.name, "bold"))
        for label, text in _texts(finding):
            row = Table.grid(padding=(0, 2))
            row.add_row(f"  {label:3}", Text(text))
            console.print(row)

    return say
