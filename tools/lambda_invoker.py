"""Runs a function of the stand-in for AWS as Lambda would: its code and its layers in the model of the environment.

Separate from the server, which knows configurations and not how one is run. Each invocation has an environment of its
own, from cold start to SHUTDOWN. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # in the server's process, which is a script in tools/
    sys.path.insert(0, str(ROOT))


@dataclass(frozen=True)
class Ended:
    """What the caller gets, and what is in the log."""

    request_id: str
    payload: bytes
    is_error: bool
    log: list[dict[str, Any]]


def invoke(
    configuration: Mapping[str, Any], code: bytes, layers: Sequence[bytes], event: str, headers: Mapping[str, str]
) -> Ended:
    """Run one invocation.

    Args:
        configuration: As Lambda's API has it.
        code: The function's zip.
        layers: Those of its layers, in order.
        event: JSON.
        headers: Of the request, with the client context.
    """
    from model import Environment
    from runtimes import runtimes

    from layer.build import unpack

    minor = int(configuration["Runtime"].rpartition(".")[2])
    # The function's Python, or the nearest that this machine has.
    runtime = min(runtimes([4]), key=lambda each: abs(each.version[1] - minor))
    context = {name.lower(): value for name, value in headers.items()}.get("x-amz-client-context")
    with tempfile.TemporaryDirectory(prefix="invocation-") as folder:
        task, opt = Path(folder, "task"), Path(folder, "opt")
        for place in (task, opt):
            place.mkdir()
        with ZipFile(io.BytesIO(code)) as content:
            content.extractall(task)
        for archive in layers:
            unpack(archive, opt)
        with Environment(
            runtime,
            task,
            handler=configuration["Handler"],
            layer=opt,
            variables=configuration.get("Environment", {}).get("Variables", {}),
            function_name=configuration["FunctionName"],
            memory_mb=configuration.get("MemorySize", 128),
            timeout_s=configuration.get("Timeout", 3),
        ) as env:
            env.start()
            done = env.invoke(json.loads(event), client_context=context and base64.b64decode(context).decode())
            env.shutdown()
            log = [{"timestamp": int(time.time() * 1000), "message": line.text} for line in env.cloudwatch]
    error = done.error
    if error is None:
        return Ended(done.request_id, done.body or b"null", False, log)
    payload = {"errorType": error.error_type, **(error.payload if isinstance(error.payload, dict) else {})}
    return Ended(done.request_id, json.dumps(payload).encode(), True, log)
