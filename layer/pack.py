"""Packs the package's bytecode into one file: a program of its own, run by the interpreter whose bytecode it is.

Separate from the build because only that interpreter can read its bytecode, which has to be read to be put together
anew. ``sumo_internal/bundle.py`` describes the file.

It is started with ``-S`` and imports next to nothing, so that its output depends on its input only: what is written
once and referred to later depends on who else holds it.
"""

from __future__ import annotations

import marshal
import os
import sys

PYC_HEADER_BYTES = 16
"""Of a bytecode file: magic number, flags, the source's hash (PEP 552)."""

UNBUNDLED = ("__init__", "bundle")
"""What is imported before the bundle is there."""

TOGETHER = (
    ("config", "guard", "http1", "lambda_api"),
    ("files", "notes", "recorder", "rendering", "spool", "streams", "tally"),
    ("assembly", "flushing", "launch", "runtime", "sidecar"),
    ("extension", "journal", "telemetry"),
)
"""What is always imported together: by the starts of both processes, by whoever writes records, by the function's start
alone, by the extension's. As one object it is read in half the time, because the names in it are there once."""


def main() -> None:
    """Replace the bytecode files in a folder that belong to this interpreter with a bundle."""
    folder, tag = sys.argv[1], sys.implementation.cache_tag
    ending = f".{tag}.pyc"
    names = sorted(name.removesuffix(ending) for name in os.listdir(folder) if name.endswith(ending))
    single = set(names).difference(UNBUNDLED, *TOGETHER)
    index: dict[str, tuple[int, int]] = {}
    codes = magic = b""
    for piece in (*TOGETHER, *((name,) for name in sorted(single))):
        modules = {}
        for name in piece:
            with open(f"{folder}/{name}{ending}", "rb") as file:
                magic = file.read(PYC_HEADER_BYTES)[:4]
                modules[name] = marshal.loads(file.read())
            os.unlink(f"{folder}/{name}{ending}")
        code = marshal.dumps(modules)
        index.update(dict.fromkeys(piece, (len(codes), len(code))))
        codes += code
    listing = marshal.dumps(index)
    with open(f"{folder}/bundle.{tag}.bin", "wb") as file:
        file.write(magic + len(listing).to_bytes(4, "little") + listing + codes)


if __name__ == "__main__":
    main()
