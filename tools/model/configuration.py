"""What a function is configured with, and what follows from it: its processes' commands and environment variables.

Separate because it is a table, computed from values alone; which variables an extension does not get is a contract
that the layer has to live with.

Rules:

* Nothing comes from the environment of the tests. Reserved variables win over the function's own, as on Lambda.
* A path in here is one that the function's processes see: below /opt and /var where they have a file system of their
  own, the real one where they run in place. Then a wrapper that is named below /opt is looked up in the layer's
  folder.
* In an image the wrapper is the ENTRYPOINT; AWS_LAMBDA_EXEC_WRAPPER only tells the model which, and the processes do
  not see it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from runtimes import Runtime

from model.file_system import Places

REGION = "us-east-1"
WRAPPER_VARIABLE = "AWS_LAMBDA_EXEC_WRAPPER"
FRAMES_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD"
FRAMES_FD = 62
"""The number that Lambda uses."""

_RUNTIME_ONLY = frozenset(
    (
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    )
)
"""Besides every variable whose name begins with an underscore: what an extension does not get."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "ASIAMODELMODELMODEL0",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # AWS's own example
    "AWS_SESSION_TOKEN": (
        "IQoJb3JpZ2luX2VjEhGG3goMJYJUXWLpNh0C0RRnq+7Z/GevJsD4TKbTxBzLFhGWMF6qA7EHboidT4gNEEo4ODE7/IJQtZGE4BsrcPMDHF6q"
        "FG0ZJ61u6gSYGC991EerFgVACaaL7fYpNW9QOjuLX8FUioL94GfQ7Y6tAZHmag4dwwXbGutuh8KZjHBvMRezm6cI1CWmT4iHYH9k2yBAftwq"
        "FXADuEhYY02o94PAY2Q9wkJKIhTJKnsrJgq9kRWUlOGr1suqeA5XAagbhRK7wXMPN7unD+4R3R7y8wVBbSs9ZhXu5IvJUhNhiwPPbLwypA=="
    ),
}
"""Made up, and of the length and the characters that AWS's have: what is shipped is searched for them."""


@dataclass(frozen=True)
class Function:
    """One function as its owner configured it; the log stream is drawn anew for each environment."""

    runtime: Runtime
    name: str
    version: str
    handler: str
    variables: Mapping[str, str]
    memory_mb: int
    timeout_s: float
    entry: Literal["managed", "image"]
    log_format: str
    log_level: str | None
    initialization_type: Literal["on-demand", "snap-start", "lambda-managed-instances"] = "on-demand"
    workers: int = 0
    """Of a managed instance: how many requests it serves at a time."""
    account_id: str = "123456789012"
    own_log_group: str = ""
    """A log group that several functions may share; empty for the one that Lambda makes."""
    log_stream_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def arn(self) -> str:
        """The function's name for AWS."""
        return f"arn:aws:lambda:{REGION}:{self.account_id}:function:{self.name}"

    @property
    def log_group(self) -> str:
        """The log group that a function has unless it was given another."""
        return self.own_log_group or f"/aws/lambda/{self.name}"

    @property
    def log_stream(self) -> str:
        """The log stream of this environment; in a log group of its owner's with the function's name in it."""
        name = self.name if self.own_log_group else ""
        return f"{time.strftime('%Y/%m/%d', time.gmtime())}/{name}[{self.version}]{self.log_stream_id}"


def runtime_command(function: Function, places: Places) -> list[str]:
    """Return the command that starts the runtime, behind the wrapper if there is one."""
    if function.entry == "managed":
        command = [str(places.interpreter), str(places.runtime_dir / "bootstrap.py")]
    else:
        command = [str(places.interpreter), "-m", "awslambdaric", function.handler]
    wrapper = function.variables.get(WRAPPER_VARIABLE)
    if wrapper is None:
        return command
    if wrapper.startswith("/opt/"):
        wrapper = str(places.opt / wrapper.removeprefix("/opt/"))
    return [wrapper, *command]


def runtime_variables(function: Function, places: Places, api_address: str, is_framed: bool) -> dict[str, str]:
    """Return the environment variables of the runtime process."""
    prefix = places.interpreter.parent.parent
    libraries = [prefix / "lib", places.runtime_dir, places.task_root, places.task_root / "lib", places.opt / "lib"]
    defaults = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": f"{prefix}/bin:/usr/local/bin:/usr/bin:/bin:{places.opt}/bin",
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "AWS_LAMBDA_LOG_FORMAT": function.log_format,
        **({} if function.log_level is None else {"AWS_LAMBDA_LOG_LEVEL": function.log_level}),
    }
    reserved = {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_LAMBDA_RUNTIME_API": api_address,
        "AWS_LAMBDA_INITIALIZATION_TYPE": function.initialization_type,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "LAMBDA_TASK_ROOT": str(places.task_root),
        "LAMBDA_RUNTIME_DIR": str(places.runtime_dir),
        "_HANDLER": function.handler,
        **({FRAMES_VARIABLE: str(FRAMES_FD)} if is_framed else {}),
        **({"AWS_LAMBDA_MAX_CONCURRENCY": str(function.workers)} if function.workers else {}),
    }
    # What is in a snapshot is in all copies: no names, and credentials only from the container's endpoint.
    if function.initialization_type != "snap-start":
        reserved.update(CREDENTIALS)
        reserved["AWS_LAMBDA_LOG_GROUP_NAME"] = function.log_group
        reserved["AWS_LAMBDA_LOG_STREAM_NAME"] = function.log_stream
    variables = {**defaults, **places.in_place, **function.variables, **reserved}
    if function.entry == "managed":
        major, minor = function.runtime.version
        stand_in = {"_MODEL_OPT": str(places.opt)} if places.in_place else {}
        return {**variables, "AWS_EXECUTION_ENV": f"AWS_Lambda_python{major}.{minor}", **stand_in}
    variables.pop(WRAPPER_VARIABLE, None)
    given_path = function.variables.get("PYTHONPATH")
    return {**variables, "PYTHONPATH": ":".join(filter(None, (str(places.runtime_dir), given_path)))}


def extension_variables(runtime_variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of an extension: the runtime's without those that only the runtime gets."""
    return {
        name: value
        for name, value in runtime_variables.items()
        if name not in _RUNTIME_ONLY and not name.startswith("_")
    }
