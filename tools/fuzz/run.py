"""The command: feeds each parser for a share of the time, and says what was found.

    make fuzz                           # ten minutes for all of them
    make fuzz MINUTES=2 ONLY=answer,events

What has led to new branches stays in ``.cache/fuzz``: each run goes on where the last one ended. An input that breaks
a promise is written to ``tests/fuzz_cases/``; ``tests/test_fuzz.py`` fails with it until the parser is mended.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from fuzz.parsers import PARSERS
from layer.build import ROOT

CASES = ROOT / "tests/fuzz_cases"
CORPUS = ROOT / ".cache/fuzz"
MEMORY_MAX_MB = 1_024
INPUT_MAX_BYTES = 65_536
ONE_INPUT_MAX_S = 30

NO_ATHERIS = "make fuzz: Atheris has wheels for CPython 3.11 to 3.13 on x86_64 Linux only; nothing is fed here"
_STATUS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+).*?corp: (\d+)")


def main() -> int:
    """Feed them; return how many have broken a promise."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="names, with commas between")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(NO_ATHERIS)
        return 0
    wanted = [name for name in PARSERS if name in arguments.only.split(",") or not arguments.only]
    print(f"{'parser':<10}{'seconds':>8}{'inputs':>10}{'branches':>10}{'kept':>7}  found", flush=True)
    return sum(_feed(name, round(60 * arguments.minutes / len(wanted))) for name in wanted)


def _feed(name: str, duration_s: int) -> bool:
    """Feed one; return whether something was found."""
    corpus, cases = CORPUS / name, CASES / name
    corpus.mkdir(parents=True, exist_ok=True)
    cases.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(PARSERS[name].examples):
        (corpus / f"example-{number}").write_bytes(b"\0" + example)  # as it is; see parsers.expand
        for begin in range(0, 256, 16):
            (corpus / f"repeated-{number}-{begin}").write_bytes(bytes([1, begin, 4]) + example)
    flags = [
        f"-max_total_time={duration_s}",
        f"-max_len={INPUT_MAX_BYTES}",
        f"-rss_limit_mb={MEMORY_MAX_MB}",
        f"-timeout={ONE_INPUT_MAX_S}",
        f"-artifact_prefix={cases}/",
    ]
    command = [sys.executable, "-m", "fuzz.one", name, *flags, str(corpus), str(cases)]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tools"}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, errors="replace")
    inputs, branches, kept = (_STATUS.findall(ran.stderr) or [("0", "0", "0")])[-1]
    said = "nothing" if ran.returncode == 0 else _finding(ran.stderr)
    print(f"{name:<10}{duration_s:>8}{inputs:>10}{branches:>10}{kept:>7}  {said}", flush=True)
    if not any(cases.iterdir()):
        cases.rmdir()
    return ran.returncode != 0


def _finding(told: str) -> str:
    """What has ended a run: the error, and the file that has the input."""
    errors = [line for line in told.splitlines() if re.match(r"(\w*(Error|Exception)\b|ERROR: |.*ALARM)", line)]
    files = re.findall(r"Test unit written to (\S+)", told)
    return " ".join([*errors[-1:], *(str(Path(file).relative_to(ROOT)) for file in files)]) or told[-2_000:]


if __name__ == "__main__":
    sys.exit(main())
