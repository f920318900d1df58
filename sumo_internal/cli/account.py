"""An AWS account's functions and layers, region by region, over boto3: found, read, and changed one at a time.

Rules:

* A change is asked for with the revision of the configuration that it was made for, after a look whether that is still
  the planned configuration. So nothing that another person has changed meanwhile is overwritten.
* It is done when Lambda says so, not when the request was answered.
* No sentence made here has a variable's value in it. Lambda's own sentences may have values in them (the one about the
  4 KB limit has all of them); a sentence that does is left out.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from sumo_internal.cli.changes import LAYER_NAME, Change, state
from sumo_internal.cli.session import session

UPDATE_TIMEOUT_S = 300
"""An update takes a second, with a VPC or a large layer up to a minute or two."""

AT_ONCE = 8
"""Functions, or regions, under way at the same time: most of an update is waiting."""

POLL_S = 2.0
"""Between two looks at an update. Its four requests and this pause, times AT_ONCE, stay under the 15 requests a second
that Lambda's control plane takes from an account and region."""

INVOCATION_MAX_S = 930
"""A function's longest timeout is 900 s."""

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
        answer = session().client("ec2", session().region_name or "us-east-1").describe_regions()
        return sorted(each["RegionName"] for each in answer["Regions"] if each.get("OptInStatus") != "not-opted-in")
    return list(dict.fromkeys(given)) or [session().client("lambda").meta.region_name]


@dataclass(frozen=True)
class Answer:
    """What an invocation has come to; the error is the function's own, None where there is none."""

    request_id: str
    error: dict[str, Any] | None


@dataclass(frozen=True)
class Product:
    """What a layer version's description says of it."""

    version: str = ""
    """The product's; empty where it is not said, or may not be read."""
    bytecode: frozenset[str] | None = None
    """The runtimes whose bytecode the layer brings; None where it is not said."""


def describe(version: str, bytecode: Sequence[str]) -> str:
    """A layer version's description."""
    return f"{LAYER_NAME} {version}, bytecode for {' '.join(bytecode) or 'no Python'}"


def described(description: str) -> Product:
    """What :func:`describe` has put into a description; of another one, what there is of it."""
    version, _, bytecode = description.removeprefix(f"{LAYER_NAME} ").partition(", bytecode for ")
    runtimes = frozenset(f"python{each}" for each in re.findall(r"3\.\d+", bytecode))
    return Product(version, runtimes if bytecode else None)


class Region:
    """The functions of a region; may be used by several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Made here, in the main thread: boto3's clients may be shared, its sessions may not.
        self._lambda = session().client("lambda", name, config=RETRIES)
        self._tagging = session().client("resourcegroupstaggingapi", name, config=RETRIES)

    @cached_property
    def _logs(self) -> Any:
        """For the commands that ask for one function, in the main thread; most need none."""
        return session().client("logs", self.name, config=RETRIES)

    def functions(self, tags: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Configurations of the functions that have all the tags, ``KEY`` or ``KEY=VALUE``."""
        tagged = self._tagged(tags) if tags else None
        for page in self._lambda.get_paginator("list_functions").paginate():
            for configuration in page["Functions"]:
                if tagged is None or configuration["FunctionArn"] in tagged:
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

    def product(self, layer_version: str) -> Product:
        """What a layer version's description says; nothing, where it may not be read."""
        try:
            return described(str(self._lambda.get_layer_version(**_place(layer_version)).get("Description", "")))
        except ClientError:
            return Product()

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

    def invoke(self, function: str, event: bytes, client_context: str) -> Answer:
        """Invoke a function, once: a request whose answer is lost may have had its effects."""
        patient = Config(retries={"total_max_attempts": 1}, read_timeout=INVOCATION_MAX_S)
        client = session().client("lambda", self.name, config=patient)
        context = base64.b64encode(client_context.encode()).decode()
        answer = client.invoke(FunctionName=function, Payload=event, ClientContext=context)
        payload = answer["Payload"].read()
        return Answer(answer["ResponseMetadata"]["RequestId"], _error(payload) if "FunctionError" in answer else None)

    def logged(self, group: str, phrase: str, since_ms: int) -> list[str]:
        """The messages of a log group that have a phrase in them; none where there is no such group yet."""
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, filterPattern=f'"{phrase}"', startTime=since_ms
        )
        try:
            return [event["message"] for page in pages for event in page["events"]]
        except self._logs.exceptions.ResourceNotFoundException:
            return []

    def filters(self, group: str) -> tuple[tuple[str, ...], str]:
        """Names of the metric and subscription filters on a log group, and AWS's error where some may not be listed."""
        names: list[str] = []
        problem = ""
        for operation, key in (("metric_filters", "metricFilters"), ("subscription_filters", "subscriptionFilters")):
            try:
                pages = self._logs.get_paginator(f"describe_{operation}").paginate(logGroupName=group)
                names += [str(each["filterName"]) for page in pages for each in page[key]]
            except self._logs.exceptions.ResourceNotFoundException:
                pass  # there is no such group yet
            except ClientError as error:
                problem = str(error.response["Error"]["Code"])
        return tuple(names), problem

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
        """A function's configuration, once no update of it is under way and it is not being created."""
        attempts = max(1, int(UPDATE_TIMEOUT_S / POLL_S))
        bound = {"Delay": POLL_S, "MaxAttempts": attempts}
        try:
            self._lambda.get_waiter("function_updated").wait(FunctionName=function, WaiterConfig=bound)
            configuration: dict[str, Any] = self._lambda.get_function_configuration(FunctionName=function)
            if configuration.get("State") == "Pending":
                self._lambda.get_waiter("function_active").wait(FunctionName=function, WaiterConfig=bound)
                configuration = self._lambda.get_function_configuration(FunctionName=function)
        except WaiterError as error:
            last = dict(error.last_response or {})
            if "Error" in last:
                raise ClientError(last, "GetFunctionConfiguration") from None
            if last.get("LastUpdateStatus") != "Failed":
                raise NotDoneError(
                    f"its update has not ended after {UPDATE_TIMEOUT_S} s; `sumo-internal status` will tell"
                ) from None
            return last  # of this update or of an earlier one: the caller knows
        return configuration


def _error(payload: bytes) -> dict[str, Any]:
    """A function's error, as its runtime has put it."""
    try:
        found = json.loads(payload)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"errorMessage": payload.decode("utf-8", "replace")}


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
