"""The arguments of every command, with what ``--help`` says: descriptions, examples, exit codes.

Separate from the commands because those import boto3 and rich, which ``--help`` and ``--version`` do without, and
because :mod:`sumo_internal.cli.completions` makes the shells' completions of the same.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sumo_internal import __version__
from sumo_internal.cli import EXITS, changes

PROGRAM = "sumo-internal"

BUILT_LAYER = Path("layer/dist/sumo-internal-extension.zip")
"""Where ``make layer`` puts the layer in a clone."""
BUNDLED_LAYER = Path(__file__).with_name("sumo-internal-extension.zip")
"""Where a release's wheel has the layer."""

REPLAY_STATE = Path("sumo-internal-replay.state")

CHECK_TIMEOUT_S = 90.0
"""CloudWatch Logs shows what a function wrote within seconds, and sometimes within a minute."""

BYTES_PER_S = 2_000_000
"""A replay's, of uncompressed lines, unless asked otherwise: two full batches a second, 170 GB a day. Accounts are
throttled at four to ten times their daily maximum, and the functions' own lines have to pass as well."""
REQUESTS_PER_S = 10.0
"""Likewise, for objects with a few lines each."""
CONNECTIONS = 4
"""Objects at a time, unless asked otherwise. Each is in memory, so this is also a bound on that."""
CONNECTIONS_MAX = 32

SHELLS = ("bash", "zsh", "fish")

_AGE = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

SECRET_MANNERS = "the ARN of a Secrets Manager secret or an SSM parameter, so that no function's settings show it"


def parser() -> argparse.ArgumentParser:
    """Every command's arguments. ``module`` of the parsed ones is where its ``run`` is."""
    top = _Parser(
        prog=PROGRAM,
        description="Sumo Logic's internal extension for AWS Lambda, from outside: put the layer into an account, give "
        "it to functions, check that lines arrive.",
        epilog=f"{_exits(EXITS)}\n\n`{PROGRAM} COMMAND --help` has what a command does, with examples.",
        formatter_class=_Formatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for add in (_publish, _attach, _check, _doctor, _status, _detach, _replay, _completions):
        add(commands)
    return top


class _Parser(argparse.ArgumentParser):
    """Does not take for printed what could not be: argparse passes over that (a full disk, a pipe without a reader)."""

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)


class _Formatter(argparse.HelpFormatter):
    """Wraps what is said, and leaves examples and exit codes, which are indented, as they stand."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrap = super()._fill_text
        return "\n".join(line if line.startswith("  ") else wrap(line, width, indent) for line in text.split("\n"))


def _exits(codes: Sequence[int] | dict[int, str]) -> str:
    return "\n".join(["exit codes:", *(f"  {code:<4} {EXITS[code]}" for code in codes)])


def _command(
    commands: Any, name: str, module: str, help: str, description: str, examples: Sequence[str], exits: Sequence[int]
) -> argparse.ArgumentParser:
    """A command; ``help`` is its line in the list of all."""
    shown = "\n".join(["examples:", *(f"  {PROGRAM} {example}".rstrip() for example in examples)])
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"{shown}\n\n{_exits(exits)}",
        formatter_class=_Formatter,
    )
    command.set_defaults(module=module)
    return command


def _publish(commands: Any) -> None:
    publish = _command(
        commands,
        "publish",
        "publish",
        "put the layer into regions of your account",
        "Publishes the built layer as a new version in each region, all at the same time, and prints the versions' "
        "ARNs. A region whose newest version has the same bytes is skipped.",
        ("publish --region eu-west-1", "publish --region all --zip sumo-internal-extension.zip --dry-run"),
        (0, 1, 2, 6),
    )
    _add_regions(publish)
    publish.add_argument(
        "--zip",
        type=Path,
        default=BUNDLED_LAYER if BUNDLED_LAYER.exists() else BUILT_LAYER,
        help=f"the built layer (default: the one in a release's wheel; in a clone {BUILT_LAYER})",
    )
    publish.add_argument("--name", default=changes.LAYER_NAME, help=f"the layer's (default: {changes.LAYER_NAME})")
    publish.add_argument("--public", action="store_true", help="let every AWS account use it")
    publish.add_argument("--share", metavar="ACCOUNT", action="append", default=[], help="let this account use it")
    publish.add_argument("--dry-run", action="store_true", help="say where it would be published, and publish nothing")


def _attach(commands: Any) -> None:
    attach = _command(
        commands,
        "attach",
        "fleet",
        "give functions the layer, the wrapper and settings",
        "Shows for each function what would change, asks, and changes eight at a time. Other layers and variables stay,"
        " in their order. A set-up that `doctor` calls an error is not written.",
        (
            'attach orders --region eu-west-1 --endpoint "$SECRET_ARN"',
            "attach 'shop-*' --tag team=shop --set SUMO_FLUSH=next --dry-run",
            "attach arn:aws:lambda:eu-west-1:123456789012:function:orders -y",
            "attach --rollback attach-20261121T082203Z.jsonl",
        ),
        (0, 1, 2, 3, 4, 5, 6),
    )
    _add_selection(attach)
    _add_layer(attach)
    attach.add_argument(
        "--endpoint",
        default=os.environ.get(changes.ENDPOINT, ""),
        help=f"the HTTP source: {SECRET_MANNERS}, or its address (default: $SUMO_HTTP_ENDPOINT)",
    )
    attach.add_argument(
        "--token",
        default=os.environ.get(changes.TOKEN, ""),
        help="of a source whose address has no code in its path: likewise (default: $SUMO_HTTP_TOKEN)",
    )
    attach.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], type=_setting, help="a setting")
    attach.add_argument("--migrate", action="store_true", help="replace Sumo's Go extension, and keep its settings")
    _add_consent(attach)


def _detach(commands: Any) -> None:
    detach = _command(
        commands,
        "detach",
        "fleet",
        "take from functions what attach has added",
        "Takes back what `attach` added, and nothing else: layer, wrapper, settings.",
        ("detach orders --region eu-west-1", "detach 'shop-*' --dry-run"),
        (0, 1, 2, 3, 4, 5, 6),
    )
    _add_selection(detach)
    _add_layer(detach)
    _add_consent(detach)


def _status(commands: Any) -> None:
    status = _command(
        commands,
        "status",
        "status",
        "show which functions have the layer, and which version",
        "Shows for each function the layer's version, what is in the wrapper's slot, and where the endpoint is kept.",
        ("status --region eu-west-1", "status 'shop-*' --region all --json"),
        (0, 2, 4, 6),
    )
    _add_selection(status)
    _add_layer(status)
    status.add_argument("--json", action="store_true", help="as JSON")


def _check(commands: Any) -> None:
    check = _command(
        commands,
        "check",
        "check",
        "invoke a function, and see that its lines reach Sumo Logic",
        "Invokes a function once, waits until the layer says in the function's log that the lines of this very "
        "invocation were accepted, and prints the query that finds them. The function does what it does with the "
        "event: its side effects are real. It needs the wrapper, and cannot check functions on Managed Instances. "
        "Rights: lambda:InvokeFunction, lambda:GetFunctionConfiguration, logs:FilterLogEvents.",
        ("check orders --region eu-west-1", "check orders --event event.json --profile staging"),
        (0, 1, 2, 4, 6),
    )
    check.add_argument("function", metavar="FUNCTION", help="name or ARN; name:ALIAS for a version")
    check.add_argument(
        "--event", metavar="FILE", help="what to invoke it with, JSON; - for standard input (default: {})"
    )
    check.add_argument(
        "--timeout-s",
        type=_positive,
        default=CHECK_TIMEOUT_S,
        metavar="S",
        help="seconds to wait (default: %(default)g)",
    )
    _add_region(check)


def _doctor(commands: Any) -> None:
    doctor = _command(
        commands,
        "doctor",
        "doctor",
        "check a function's set-up, and name the exact fix",
        "Checks what can be wrong with a function's set-up: settings, wrapper, layer, source, bucket.",
        (
            "doctor orders --region eu-west-1",
            "doctor .env --offline --strict",
            "doctor - < file.json  (of aws lambda get-function-configuration)",
            "doctor                (of this process's environment)",
        ),
        (0, 1, 2, 4, 6),
    )
    doctor.add_argument(
        "target",
        nargs="?",
        metavar="FUNCTION|FILE",
        help="a function's name or ARN; or a .env file, or a function's configuration as JSON; - for standard input. "
        "Without one, this process's environment is checked",
    )
    _add_region(doctor)
    doctor.add_argument(
        "--layer", metavar="FOLDER", type=Path, help="where the layer is unpacked, to look at its files"
    )
    doctor.add_argument("--offline", action="store_true", help="do not send the source a request without lines")
    doctor.add_argument("--try-bucket", action="store_true", help="put an empty object into the bucket, and delete it")
    doctor.add_argument("--strict", action="store_true", help="warnings count as errors")
    doctor.add_argument("--json", action="store_true", help="say it for programs")


def _replay(commands: Any) -> None:
    replay = _command(
        commands,
        "replay",
        "replay",
        "send failover objects to a source",
        "Sends failover objects to the HTTP source that SUMO_HTTP_ENDPOINT names (in the environment, like the other "
        "settings: SUMO_HTTP_TOKEN, KMS_KEY_ID, SUMO_NUM_RETRIES, HTTPS_PROXY, …). Nothing goes twice: what was sent "
        "is remembered. If an S3 source of Sumo Logic's reads the same objects, do not replay them.",
        (
            "replay s3://BUCKET/sumologic-extension/ --since 36h --dry-run",
            "replay s3://BUCKET/sumologic-extension/ --since 36h --until 12h",
            "replay ./copied-objects --function 'shop-*'",
        ),
        (0, 1, 2, 6),
    )
    replay.add_argument("place", metavar="PLACE", help="s3://BUCKET/PREFIX, or a folder with copies of objects")
    replay.add_argument(
        "--since", type=_time, metavar="TIME", help="of objects from then on: 2026-11-21T08:00Z, or 36h"
    )
    replay.add_argument("--until", type=_time, metavar="TIME", help="of objects before then")
    replay.add_argument("--function", action="append", metavar="PATTERN", help="of these functions: orders, 'shop-*'")
    replay.add_argument("--dry-run", action="store_true", help="count, and send nothing")
    replay.add_argument(
        "--state", type=Path, default=REPLAY_STATE, metavar="FILE", help="what was sent (default: %(default)s)"
    )
    replay.add_argument(
        "--tag", action="store_true", help="remember what was sent by tags of the objects, not in a file"
    )
    replay.add_argument(
        "--bytes-per-s",
        type=_positive,
        default=BYTES_PER_S,
        metavar="N",
        help="before compression (default: %(default)s)",
    )
    replay.add_argument(
        "--requests-per-s",
        type=_positive,
        default=REQUESTS_PER_S,
        metavar="N",
        help="to the source (default: %(default)g)",
    )
    replay.add_argument(
        "--connections",
        type=_count_of,
        default=CONNECTIONS,
        metavar="N",
        help="objects at a time, each over a connection of its own (default: %(default)s)",
    )
    _add_profile(replay)


def _completions(commands: Any) -> None:
    completions = _command(
        commands,
        "completions",
        "completions",
        "print what completes these commands in your shell",
        "Prints a script for a shell, which then completes commands, options and files.",
        (
            "completions bash >> ~/.bash_completion",
            "completions zsh > ~/.zfunc/_sumo-internal   (fpath has ~/.zfunc)",
            "completions fish > ~/.config/fish/completions/sumo-internal.fish",
        ),
        (0, 2),
    )
    completions.add_argument("shell", choices=SHELLS, help="which shell")


def _add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "functions",
        nargs="*",
        metavar="FUNCTION",
        help="names, with * and ? as in a shell, or ARNs, which name a region",
    )
    command.add_argument(
        "--tag", action="append", default=[], metavar="KEY[=VALUE]", help="only functions that have it"
    )
    _add_regions(command)


def _add_regions(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--region", action="append", default=[], metavar="REGION", help="may be repeated; all: every region you use"
    )
    _add_profile(command)


def _add_region(command: argparse.ArgumentParser) -> None:
    command.add_argument("--region", metavar="REGION", help="the function's (default: your default region)")
    _add_profile(command)


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", metavar="NAME", help="credentials of this profile of ~/.aws")


def _add_layer(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--layer",
        action="append",
        default=[],
        metavar="NAME|ARN",
        help="the layer: its name (the newest version is taken), or an ARN for each region",
    )


def _add_consent(command: argparse.ArgumentParser) -> None:
    consent = command.add_mutually_exclusive_group()
    consent.add_argument("-y", "--yes", action="store_true", help="do not ask")
    consent.add_argument("--dry-run", action="store_true", help="show the plan, and change nothing")
    command.add_argument(
        "--rollback", nargs="+", type=Path, metavar="JOURNAL", help="give functions back what they had, instead"
    )


def _setting(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` of a setting that exists."""
    name, _, value = text.partition("=")
    options = {changes.ENDPOINT: "--endpoint", changes.TOKEN: "--token"}
    if name in options:
        raise argparse.ArgumentTypeError(f"{name}: {options[name]} is for that")
    if name in changes.SETTINGS and value:
        return name, value
    near = difflib.get_close_matches(name, changes.SETTINGS, 1)
    hint = f" (is {near[0]} meant?)" if near and near[0] != name else ""
    raise argparse.ArgumentTypeError(
        f"{name} is not a setting{hint}" if value or hint else f"{name}: a value is missing"
    )


def _time(text: str) -> datetime:
    """A time, or an age: in UTC, unless it says otherwise."""
    if age := _AGE.fullmatch(text):
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time like 2026-11-21T08:00Z nor an age like 36h"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def _positive(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def _count_of(text: str) -> int:
    with suppress(ValueError):
        if 1 <= (value := int(text)) <= CONNECTIONS_MAX:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number between 1 and {CONNECTIONS_MAX}")
