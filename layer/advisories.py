"""``make audit``: is a vulnerability known of what the layer carries? pip-audit asks the OSV database.

Said with an exit code: 0 where none is known, 1 where one is, 3 where nobody could be asked. ``make release`` stops
at 1.
"""

from __future__ import annotations

import json
import subprocess
import sys

from layer.build import ROOT

KNOWN, NOT_ASKED = 1, 3
_TIMEOUT_S = "15"


def check(*options: str) -> tuple[int, str]:
    """Ask.

    Args:
        options: Of pip-audit, besides: ``--osv-url`` with another database.

    Returns:
        The exit code, and the sentence that says why.
    """
    command = ["-m", "pip_audit", "--disable-pip", "--no-deps", "-r", "layer/vendored.txt", "-s", "osv", "-f", "json"]
    timeout = ["--progress-spinner", "off", "--timeout", _TIMEOUT_S]
    asked = subprocess.run([sys.executable, *command, *timeout, *options], cwd=ROOT, capture_output=True, text=True)
    try:
        found = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (asked.stderr.splitlines() or ["no response"])[-1]
        return NOT_ASKED, f"the advisories could not be asked for: {reason[:200]}"
    known = [f"{each['name']} {each['version']}: {bad['id']}" for each in found for bad in each.get("vulns", ())]
    skipped = [each["name"] for each in found if "skip_reason" in each]
    if known:
        return KNOWN, f"known vulnerabilities: {', '.join(known)}"
    if skipped:
        return NOT_ASKED, f"the database does not know {', '.join(skipped)}"
    return 0, f"no vulnerability is known of {', '.join(each['name'] + ' ' + each['version'] for each in found)}"


def main() -> int:
    """Say what is known."""
    code, text = check(*sys.argv[1:])
    print(f"make audit: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main())
