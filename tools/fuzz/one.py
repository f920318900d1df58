"""Feeds one parser in this process until a time is over or something is found; ``run`` starts one for each.

    python -m fuzz.one PARSER FLAGS...

Atheris (Google's, on libFuzzer) mutates the inputs by the branches that they take in this package. It ends the process.
"""

from __future__ import annotations

import sys
import warnings

import atheris

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Atheris's own code
    with atheris.instrument_imports(include=["sumo_internal"]):
        from fuzz.parsers import PARSERS, check_cost, expand
        from sumo_internal import diagnostics


def main() -> None:
    """Feed the parser that is named."""
    parser = PARSERS[sys.argv.pop(1)]
    diagnostics.set_level("panic")  # what is refused is said; descriptor 2 is libFuzzer's

    def feed(data: bytes) -> None:
        check_cost(parser.feed, expand(data))

    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
