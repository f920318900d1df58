"""Packs the package's bytecode into one file: a program of its own, run by the interpreter whose bytecode it is.

Separate from the build because only that interpreter can read its bytecode, which has to be read to be put together
anew. ``sumo_internal/imports.py`` describes the file.

It is started with ``-S`` and imports next to nothing, so that its output depends on its input only: which objects
``marshal`` writes once and refers to later depends on what else holds them.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PYC_HEADER_BYTES = 16
"""Of a bytecode file: magic number, flags, the source's hash (PEP 552)."""

UNBUNDLED = ("__init__", "door/sitecustomize", "imports")
"""What is imported before the bundle is there."""

TOGETHER = (
    (
        "config",
        "diagnostics",
        "threads",
        "net/__init__",
        "net/http1",
        "lambda_apis/__init__",
        "lambda_apis/extensions_api",
        "spool/__init__",
        "spool/folder",
        "spool/handoff",
    ),
    (
        "spool/counters",
        "spool/envelope",
        "spool/partials",
        "spool/segment",
        "spool/turn",
        "spool/writer",
        "capture/__init__",
        "capture/bounds",
        "capture/lines",
        "capture/multiline",
        "capture/log_records",
        "capture/recorder",
        "capture/record_format",
        "capture/reentrancy",
        "shipping/__init__",
    ),
    (
        "launch",
        "wiring",
        "capture/children",
        "capture/error_reports",
        "capture/runtime_client",
        "capture/runtime_functions",
        "capture/streams",
        "shipping/flush_strategy",
        "shipping/invocations",
        "shipping/shipper",
    ),
    (
        "extension/__init__",
        "extension/extension_shipper",
        "extension/function_note",
        "extension/hearing",
        "extension/lifecycle",
        "extension/platform_log",
        "extension/repeats",
        "extension/stand_in",
        "extension/subscription",
        "lambda_apis/telemetry_api",
    ),
    (
        "destinations/__init__",
        "destinations/attempt",
        "destinations/encoding",
        "destinations/endpoint",
        "destinations/http_source",
        "net/client",
        "net/connection",
        "net/proxies",
        "net/tls",
        "shipping/accounts",
        "shipping/drainer",
        "shipping/factory",
        "shipping/line_batch",
        "shipping/retry_policy",
        "spool/reader",
    ),
)
"""What is always imported together: by the starts of both processes, by each process that writes records, by the
function's start alone, by the extension's, by the first drain of either. As one object it is read in half the time,
because the names in it are there once."""


def main() -> None:
    """Replace the bytecode files below a package's folder that belong to this interpreter with a bundle."""
    package, tag = sys.argv[1], sys.implementation.cache_tag
    files = dict(bytecode_files(package, f".{tag}.pyc"))
    single = set(files).difference(UNBUNDLED, *TOGETHER)
    index: dict[str, tuple[int, int]] = {}
    codes = magic = b""
    for piece in (*TOGETHER, *((place,) for place in sorted(single))):
        modules = {}
        for place in piece:
            with open(files[place], "rb") as file:
                magic = file.read(PYC_HEADER_BYTES)[:4]
                modules[place] = marshal.loads(file.read())
            os.unlink(files[place])
        code = marshal.dumps(modules)
        index.update(dict.fromkeys(piece, (len(codes), len(code))))
        codes += code
    listing = marshal.dumps(index)
    with open(f"{package}/__pycache__/bundle.{tag}.bin", "wb") as file:
        file.write(magic + len(listing).to_bytes(4, "little") + listing + codes)


def bytecode_files(package: str, ending: str, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield each module's place below the package's folder (``spool/writer``), and its bytecode file."""
    for name in os.listdir(f"{package}/{place}"):
        if name == "__pycache__":
            for file in os.listdir(f"{package}/{place}{name}"):
                if file.endswith(ending):
                    yield f"{place}{file[: -len(ending)]}", f"{package}/{place}{name}/{file}"
        elif os.path.isdir(f"{package}/{place}{name}"):
            yield from bytecode_files(package, ending, f"{place}{name}/")


if __name__ == "__main__":
    main()
