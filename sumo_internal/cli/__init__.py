"""The command ``sumo-internal``: what people run on their own machine, or in CI, about functions with the layer.

Separate from the rest because it is no guest: it may be slow to import, depends on boto3 and rich (the extra ``cli``),
and nothing of it goes into the layer. The package's own modules never import it; it may import the pure ones of them.

Each module named in :data:`COMMANDS` adds its sub-commands with ``add_parser(subparsers)``, which for each sets the
default ``run`` to a function ``run(arguments) -> int``: the exit code. A command says on stdout what was asked for, and
on stderr what went wrong; neither ever shows an endpoint, whose path is a credential.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sumo_internal import __version__

COMMANDS = ("fleet", "publish", "doctor", "replay")
"""The modules of this package with commands, in the order in which ``--help`` lists them."""

EXTRA = ("boto3", "botocore", "rich")
"""What the extra ``cli`` brings, as modules."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""As argparse has it, too."""


class CommandError(Exception):
    """A command cannot go on; the text, one line, says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: Those behind the program's name; by default this process's.
    """
    try:
        parsed = _parser().parse_args(arguments)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        return _complain(f"{error.name} is missing: pip install 'sumo-internal-extension[cli]'", EXIT_USAGE)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        code: int = parsed.run(parsed)
    except (CommandError, BotoCoreError, ClientError) as error:
        return _complain(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted; what was begun can be taken up again with the same command", 130)
    except BrokenPipeError:  # `sumo-internal status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest is flushed to at the end
        return EXIT_FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    """Every command's arguments."""
    parser = argparse.ArgumentParser(prog="sumo-internal", description="Sumo Logic's internal extension, from outside.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"{__name__}.{name}").add_parser(subparsers)
    return parser


def _complain(problem: str, code: int) -> int:
    print(f"sumo-internal: {problem}", file=sys.stderr)
    return code
