"""What a layer is made of, as a CycloneDX bill of materials (1.5, JSON): for the zip itself, and beside a release.

Separate from the build because it knows a format and no files. The same parts give the same bytes: no time, no random
serial number.

Source of the format: OWASP CycloneDX, "JSON Reference", 1.5.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

NAME = "sumo-internal-extension"
LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class Part:
    """A package that the layer carries, as the index published it."""

    name: str
    version: str
    sha256: str
    """Of the wheel."""
    license: str


def bill_of_materials(version: str, parts: Iterable[Part]) -> str:
    """Return the bill's text.

    Args:
        version: The layer's.
        parts: What it carries besides its own code.
    """
    own = _component(NAME, version, LICENSE)
    components = [
        {**_component(part.name, part.version, part.license), "hashes": [{"alg": "SHA-256", "content": part.sha256}]}
        for part in parts
    ]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**own, "type": "application"}},
        "components": components,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [each["bom-ref"] for each in components]}],
    }
    return json.dumps(bill, indent=2) + "\n"


def _component(name: str, version: str, license_: str) -> dict[str, object]:
    purl = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"expression": license_}],
    }
