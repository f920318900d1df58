"""The command ``sumo-internal``: what people run on their own machine, or in CI, about functions with the layer.

Separate from the rest because it is no guest: it may be slow to import, most of it depends on boto3 and rich (the extra
``cli``), and nothing of it goes into the layer. The package's own modules never import it; it may import the pure ones
of them.

:mod:`sumo_internal.cli.arguments` has the arguments of all commands; for each it names the module that is imported when
the command runs, and that module's function ``run(arguments) -> int`` gives the exit code. So ``--help``, ``--version``
and ``doctor --offline`` work where neither boto3 nor rich is. A command says on stdout what was asked for, and on
stderr what went wrong; neither ever shows an endpoint, whose path is a credential.

An exit code means the same for every command (:data:`EXITS`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from sumo_internal.cli import standard_streams
from sumo_internal.diagnostics import legible

EXTRA = ("boto3", "botocore", "rich")
"""What the extra ``cli`` brings, as modules."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PLANNED = 3
EXIT_NOT_FOUND = 4
EXIT_SKIPPED = 5
EXIT_AWS = 6
EXIT_INTERRUPTED = 130
"""As shells have it: 128 and SIGINT."""

EXITS = {
    EXIT_DONE: "done; nothing wrong was found",
    EXIT_FAILED: "something wrong was found, or part of the work was not done",
    EXIT_USAGE: "an argument, a setting or a file cannot be used; nothing was begun",
    EXIT_PLANNED: "there is something to change, and nobody said yes",
    EXIT_NOT_FOUND: "a name, pattern or tag fits no function; nothing was changed",
    EXIT_SKIPPED: "a function that was named is skipped",
    EXIT_AWS: "AWS rejects the request, cannot be reached, or there are no credentials",
    EXIT_INTERRUPTED: "interrupted",
}
"""What each exit code means, for every command; the worst of what happened counts."""

SAID_MAX_CHARACTERS = 2_000
"""Of one line about what went wrong."""


class CommandError(Exception):
    """A command cannot go on; the text, one line, says why, and the code is how the process ends."""

    def __init__(self, text: str, code: int = EXIT_USAGE) -> None:
        super().__init__(text)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: Those behind the program's name; by default this process's.
    """
    if sys.stdout is None:  # `sumo-internal status >&-`
        return _complain("stdout is closed, so nothing was begun", EXIT_USAGE)
    standard_streams.prepare()
    try:
        return _run(arguments)
    except CommandError as error:
        return _complain(str(error), error.code)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        return _complain(f"{error.name} is missing, which this command needs: pip install boto3 rich", EXIT_USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted; what was begun can be taken up again with the same command", EXIT_INTERRUPTED)
    except Exception as error:
        if is_of_aws(error):
            return _complain(import_module("sumo_internal.cli.session").explained(error), EXIT_AWS)
        if not isinstance(error, OSError):
            raise
        problem = standard_streams.complaint(error)
        return _complain(problem, EXIT_FAILED) if problem else EXIT_FAILED


def entry() -> NoReturn:
    """Run a command as a process of its own, and end it: at once where it was interrupted.

    Threads may still wait for AWS then; no change is under way any more.
    """
    code = main()
    if code == EXIT_INTERRUPTED:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    from sumo_internal.cli.arguments import parser  # later than the codes, which its texts have

    try:
        parsed = parser().parse_args(arguments)
    except SystemExit:  # --help, --version, or a complaint that was made
        sys.stdout.flush()
        raise
    if getattr(parsed, "profile", None):
        import_module("sumo_internal.cli.session").use(parsed.profile)
    code: int = import_module(f"sumo_internal.cli.{parsed.module}").run(parsed)
    sys.stdout.flush()
    return code


def is_of_aws(error: BaseException) -> bool:
    """Is this what boto3 raises where AWS refuses, or cannot be asked?"""
    known = sys.modules.get("botocore.exceptions")  # where nobody has asked AWS, it is not imported for this
    return known is not None and isinstance(error, (known.BotoCoreError, known.ClientError))


def _complain(problem: str, code: int) -> int:
    print(f"sumo-internal: {legible(problem, SAID_MAX_CHARACTERS)}", file=sys.stderr)
    return code
