"""Which functions are meant: names, patterns as in a shell, ARNs, tags, in regions.

Separate because attaching, detaching, the status and the single-function commands mean the same by the same words.

Rules:

* A name is a whole name, a pattern has ``*`` or ``?``; an ARN names its region. A version or alias behind either is
  not looked at: what is changed is the function.
* Each of them fits a function, or nothing is done: a command that changes nothing because of a misspelt name must not
  look like one that had nothing to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from sumo_internal.cli import EXIT_NOT_FOUND, CommandError
from sumo_internal.cli.account import AT_ONCE, Region, regions

NEAR_MAX = 3
"""Names that are suggested for one that nothing has."""
NEAR_CUTOFF = 0.5
"""difflib's ratio above which a name is a suggestion."""

Found = TypeVar("Found")


def region_of(function: str) -> str:
    """The region in an ARN; empty in a name."""
    return function.split(":")[3] if is_arn(function) else ""


def is_arn(function: str) -> bool:
    """``arn:aws:lambda:REGION:ACCOUNT:function:NAME``, perhaps with a version or alias behind it?"""
    return function.startswith("arn:") and function.count(":") >= 6


def is_named(function: str) -> bool:
    """Is this one function and not a pattern for several?"""
    return not set("*?[") & set(function)


def fits(function: str, configuration: Mapping[str, Any]) -> bool:
    """Is a configuration of a function that a name, a pattern or an ARN means?"""
    if is_arn(function):
        return fnmatchcase(str(configuration["FunctionArn"]), ":".join(function.split(":")[:7]))
    named = parted(function)
    account = str(configuration["FunctionArn"]).split(":")[4]
    return fnmatchcase(str(configuration["FunctionName"]), named.name) and named.account in ("", account)


class Named(NamedTuple):
    """What a name of a function says: its account and its version or alias, each empty where it does not."""

    account: str
    name: str
    qualifier: str


def parted(function: str) -> Named:
    """Take apart ``NAME``, ``ACCOUNT:function:NAME`` or an ARN, perhaps with a version or alias behind it."""
    parts = function.split(":")
    at = 6 if is_arn(function) else 2 if parts[1:2] == ["function"] and len(parts) > 2 else 0
    return Named(parts[at - 2] if at else "", parts[at], ":".join(parts[at + 1 :]))


def regions_meant(given: Sequence[str], functions: Sequence[str]) -> list[str]:
    """The regions of ``--region``; where it is not given, those of the ARNs, and the default one for names."""
    of_arns = [region for region in map(region_of, functions) if region]
    if given or not of_arns:
        return regions(given)
    return list(dict.fromkeys([*of_arns, *([] if len(of_arns) == len(functions) else regions([]))]))


def in_each(places: Sequence[Region], look: Callable[[Region], list[Found]]) -> list[Found]:
    """Look at all regions at once; what was found, in their order."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return [each for found in pool.map(look, places) for each in found]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # on Ctrl-C nobody waits for what is only read


def choose(
    functions: Sequence[str], tags: Sequence[str], given_regions: Sequence[str]
) -> list[tuple[Region, list[dict[str, Any]]]]:
    """The configurations of the functions that are meant, region by region.

    Raises:
        CommandError: A name, a pattern or the tags fit no function.
    """
    places = [Region(name) for name in regions_meant(given_regions, functions)]
    there = in_each(places, lambda region: [(region, list(region.functions(tags)))])
    every = [configuration for _, found in there for configuration in found]
    where = ", ".join(region.name for region in places)
    having = f" with {', '.join(tags)}" if tags else ""
    for function in functions:
        if not any(fits(function, configuration) for configuration in every):
            names = [str(configuration["FunctionName"]) for configuration in every]
            raise CommandError(
                f"no function{having} in {where} fits {function}{_hint(function, names)}", EXIT_NOT_FOUND
            )
    if tags and not every:
        raise CommandError(f"there is no function{having} in {where}", EXIT_NOT_FOUND)
    if not functions:
        return there
    return [
        (region, [each for each in found if any(fits(name, each) for name in functions)]) for region, found in there
    ]


def one(function: str, region: str) -> tuple[Region, dict[str, Any]]:
    """The configuration of a function that is named; a version's or alias's with ``NAME:QUALIFIER``.

    Raises:
        CommandError: There is none of that name.
    """
    place = Region(region or region_of(function) or regions([])[0])
    configuration = place.configuration(function)
    if configuration is None:
        names = [str(each["FunctionName"]) for each in place.functions()]
        raise CommandError(f"no function in {place.name} is named {function}{_hint(function, names)}", EXIT_NOT_FOUND)
    return place, configuration


def _hint(function: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(parted(function).name, names, NEAR_MAX, NEAR_CUTOFF)
    return f"; near it: {', '.join(near)}" if near else ""
