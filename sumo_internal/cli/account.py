"""An AWS account's functions and layers, region by region, over boto3: found, read, and changed one at a time.

Rules:

* A change is asked for with the revision of the configuration that it was made for, after a look whether that is still
  the planned configuration. So nothing that another person has changed meanwhile is overwritten.
* It is done when Lambda says so, not when the request was answered.
* No sentence made here has a variable's value in it. Lambda's own sentences may have values in them (the one about the
  4 KB limit has all of them); a sentence that does is left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from sumo_internal.cli.changes import LAYER_NAME, Change, state

UPDATE_TIMEOUT_S = 300
"""An update takes a second, with a VPC or a large layer up to a minute or two."""

AT_ONCE = 8
"""Functions, or regions, under way at the same time: most of an update is waiting."""

POLL_S = 2.0
"""Between two looks at an update. Its four requests and this pause, times AT_ONCE, stay under the 15 requests a second
that Lambda's control plane takes from an account and region."""

RETRIES = Config(retries={"mode": "standard", "max_attempts": 10})
"""For when other clients are busy in the account too."""


class NotDoneError(Exception):
    """A change that was not carried out, or whose outcome is not known; the text says why."""


def regions(given: Sequence[str]) -> list[str]:
    """The regions that ``--region`` names: those, the account's (``all``), or the default one (none given).

    Raises:
        ClientError: They cannot be listed.
    """
    if "all" in given:
        answer = boto3.client("ec2", boto3.session.Session().region_name or "us-east-1").describe_regions()
        return sorted(each["RegionName"] for each in answer["Regions"] if each.get("OptInStatus") != "not-opted-in")
    return list(dict.fromkeys(given)) or [boto3.client("lambda").meta.region_name]


class Region:
    """The functions of a region; may be used by several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Made here, in the main thread: boto3's clients may be shared, its sessions may not.
        self._lambda = boto3.client("lambda", name, config=RETRIES)
        self._tagging = boto3.client("resourcegroupstaggingapi", name, config=RETRIES)

    def functions(self, patterns: Sequence[str], tags: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Configurations of the functions whose name fits a pattern, and which have all the tags.

        Args:
            patterns: As in a shell (``orders-*``); none fits all.
            tags: ``KEY`` or ``KEY=VALUE``.
        """
        tagged = self._tagged(tags) if tags else None
        for page in self._lambda.get_paginator("list_functions").paginate():
            for configuration in page["Functions"]:
                name = configuration["FunctionName"]
                fits = not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
                if fits and (tagged is None or configuration["FunctionArn"] in tagged):
                    yield configuration

    def _tagged(self, tags: Sequence[str]) -> set[str]:
        """ARNs of the functions that have all the tags."""
        pairs = [tag.partition("=") for tag in tags]
        filters = [{"Key": key, **({"Values": [value]} if equals else {})} for key, equals, value in pairs]
        pages = self._tagging.get_paginator("get_resources").paginate(
            TagFilters=filters, ResourceTypeFilters=["lambda:function"]
        )
        return {each["ResourceARN"] for page in pages for each in page["ResourceTagMappingList"]}

    def newest(self, layer: str) -> str:
        """The ARN of the newest version of a layer, named by its name or its ARN; empty where there is none."""
        pages = self._lambda.get_paginator("list_layer_versions").paginate(LayerName=layer)
        versions = [version for page in pages for version in page["LayerVersions"]]
        newest = max(versions, key=lambda version: version["Version"], default={"LayerVersionArn": ""})
        return str(newest["LayerVersionArn"])

    def product_version(self, layer_version: str) -> str:
        """The product's version by a layer version's description; empty where it has none, or may not be read."""
        try:
            description = str(self._lambda.get_layer_version(**_place(layer_version)).get("Description", ""))
            return description.removeprefix(f"{LAYER_NAME} ")
        except ClientError:
            return ""

    def code_sha256(self, layer_version: str) -> str:
        """The hash of a layer version's zip, in base64."""
        return str(self._lambda.get_layer_version(**_place(layer_version))["Content"]["CodeSha256"])

    def publish(self, name: str, content: bytes, description: str, runtimes: Sequence[str]) -> str:
        """Publish a version of a layer, for both architectures; return its ARN."""
        answer = self._lambda.publish_layer_version(
            LayerName=name,
            Description=description,
            Content={"ZipFile": content},
            CompatibleRuntimes=list(runtimes),
            CompatibleArchitectures=["x86_64", "arm64"],
            LicenseInfo="Apache-2.0",
        )
        return str(answer["LayerVersionArn"])

    def share(self, layer_version: str, principal: str) -> bool:
        """Let an account, or all (``*``), use a layer's version; return whether that is new."""
        try:
            self._lambda.add_layer_version_permission(
                **_place(layer_version),
                StatementId="public" if principal == "*" else f"account-{principal}",
                Action="lambda:GetLayerVersion",
                Principal=principal,
            )
        except self._lambda.exceptions.ResourceConflictException:
            return False
        return True

    def configuration(self, function: str) -> dict[str, Any] | None:
        """A function's configuration; None where it is gone."""
        try:
            configuration: dict[str, Any] = self._lambda.get_function_configuration(FunctionName=function)
        except self._lambda.exceptions.ResourceNotFoundException:
            return None
        return configuration

    def apply(self, function: str, change: Change) -> None:
        """Carry out a change, and wait until Lambda says that it is done.

        Raises:
            NotDoneError: It was not carried out, or Lambda does not say.
        """
        try:
            configuration = self._settled(function)
            if state(configuration) != change.before:
                raise NotDoneError("was changed since the plan was made; run the command again")
            self._lambda.update_function_configuration(
                FunctionName=function,
                RevisionId=configuration["RevisionId"],
                Layers=list(change.after.layers),
                Environment={"Variables": dict(change.after.variables)},
            )
            configuration = self._settled(function)
        except ClientError as error:
            raise NotDoneError(_reason(error, change)) from None
        if configuration.get("LastUpdateStatus") == "Failed":
            raise NotDoneError(f"Lambda could not: {configuration.get('LastUpdateStatusReason', 'no reason is given')}")

    def _settled(self, function: str) -> dict[str, Any]:
        """A function's configuration, once no update of it is under way."""
        deadline_s = time.monotonic() + UPDATE_TIMEOUT_S
        while time.monotonic() < deadline_s:
            configuration: dict[str, Any] = self._lambda.get_function_configuration(FunctionName=function)
            if configuration.get("LastUpdateStatus") != "InProgress" and configuration.get("State") != "Pending":
                return configuration
            time.sleep(POLL_S)
        raise NotDoneError(f"its update has not ended after {UPDATE_TIMEOUT_S} s; `sumo-internal status` will tell")


def _place(layer_version: str) -> dict[str, Any]:
    """The two parameters by which Lambda finds a layer's version."""
    layer, _, version = layer_version.rpartition(":")
    return {"LayerName": layer, "VersionNumber": int(version)}


def _reason(error: ClientError, change: Change) -> str:
    """What Lambda says, unless it repeats a variable's value."""
    code, message = (str(error.response.get("Error", {}).get(key, "")) for key in ("Code", "Message"))
    if code == "PreconditionFailedException":
        return "was changed at this moment by somebody else; run the command again"
    values = {*change.before.variables.values(), *change.after.variables.values()}
    forms = {form for value in values if len(value) > 3 for form in (value, json.dumps(value)[1:-1])}
    repeats = any(form in message for form in forms)
    return code if repeats else f"{code}: {message}"
