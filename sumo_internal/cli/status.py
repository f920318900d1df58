"""``sumo-internal status``: which functions have the layer, and which version of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sumo_internal.cli import EXIT_DONE, changes, selection, tables
from sumo_internal.cli.account import Product, Region


def run(arguments: argparse.Namespace) -> int:
    """Show which functions have what."""
    chosen = selection.choose(arguments.functions, arguments.tag, arguments.region)
    found = dict(chosen)
    rows = selection.in_each(list(found), lambda region: _rows(region, found[region], arguments.layer))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return EXIT_DONE
    tables.show(("Region", "Function", "Runtime", "Layer", "Wrapper", "Endpoint"), list(map(_cells, rows)))
    having = sum(bool(row["layer"]) for row in rows)
    print(f"{having} of {len(rows)} functions have the layer")
    return EXIT_DONE


def _rows(region: Region, configurations: Sequence[Mapping[str, Any]], layers: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each function of a region that is meant."""
    products: dict[str, Product] = {"": Product()}
    rows = []
    for configuration in configurations:
        row = changes.status(configuration, *layers)
        if row["layer"] not in products:
            products[row["layer"]] = region.product(row["layer"])
        product = products[row["layer"]]
        has_bytecode = None if product.bytecode is None else row["runtime"] in product.bytecode
        rows.append({"region": region.name, **row, "version": product.version, "hasBytecode": has_bytecode})
    return rows


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the status table."""
    layer = f"{row['layerVersion']} {row['version']}".strip() or ("Go's" if row["hasGoExtension"] else "-")
    wrappers = ["ours"] if row["hasWrapper"] else []
    wrappers += [row["otherWrapper"]] if row["otherWrapper"] else []
    return (
        row["region"],
        row["function"],
        row["runtime"] or "image",
        layer + (" (no bytecode)" if row["hasBytecode"] is False else ""),
        ", then ".join(wrappers) or "-",
        row["endpoint"] or "-",
    )
