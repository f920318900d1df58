"""What stands in the place of moto's Lambda functions, layers and permissions: see :mod:`lambda_server`.

Separate because it imports moto, which takes a second: only the server's own process does.
"""

from __future__ import annotations

import json
from typing import Any

from moto.awslambda import models
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.policy import Policy
from moto.core import responses

LAYERS_MAX = 5
VARIABLES_MAX_BYTES = 4_096
"""Lambda's limits; the second is of all variables as one compact JSON object."""


class Function(models.LambdaFunction):
    """A function whose configuration has revisions, limits, and updates that take their time."""

    __module__ = models.__name__  # moto sorts its classes by it

    def __init__(self, account_id: str, spec: dict[str, Any], *others: Any, **named: Any) -> None:
        super().__init__(account_id, spec, *others, **named)
        self._revision = 1
        self._reads_until_done = 0
        self._given = {name: spec[name] for name in ("SnapStart", "CapacityProviderConfig") if name in spec}

    def get_configuration(self, on_create: bool = False) -> dict[str, Any]:
        behaves = (self.tags or {}).get("behaves")
        found = super().get_configuration(on_create) | self._given | {"RevisionId": f"r{self._revision}"}
        if self._reads_until_done:
            self._reads_until_done -= 1
            found["LastUpdateStatus"] = "InProgress"
            self._revision += not self._reads_until_done
        elif behaves == "fails" and self._revision > 1:
            found |= {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "the role is gone"}
        self._revision += behaves == "restless"
        if behaves == "unreadable":
            found["Environment"] = {"Error": {"ErrorCode": "AccessDeniedException", "Message": "kms:Decrypt"}}
        return found

    def update_configuration(self, config_updates: dict[str, Any]) -> dict[str, Any]:
        current = f"r{self._revision}"
        if self._reads_until_done:
            raise LambdaClientError("ResourceConflictException", "An update is in progress for resource")
        if config_updates.get("RevisionId", current) != current:
            raise LambdaClientError("PreconditionFailedException", "The Revision Id provided does not match")
        measured = json.dumps(config_updates.get("Environment", {}).get("Variables", {}), separators=(",", ":"))
        if len(measured) > VARIABLES_MAX_BYTES or len(config_updates.get("Layers", [])) > LAYERS_MAX:
            raise LambdaClientError("InvalidParameterValueException", f"too much. String measured: {measured}")
        self._revision += 1
        self._reads_until_done = 2  # the answer, and the first look at it
        return super().update_configuration(config_updates)

    def invoke(self, body: str, request_headers: Any, response_headers: Any) -> bytes:
        from lambda_invoker import invoke  # slow, and of no use to those who only change configurations

        backend: Any = models.lambda_backends[self.account_id][self.region]
        archives = [backend.layers_versions_by_arn(layer["Arn"]).code_bytes for layer in self.layers]
        ended = invoke(self.get_configuration(), self.code_bytes, archives, body, request_headers)
        response_headers["x-amzn-requestid"] = ended.request_id
        if ended.is_error:
            response_headers["x-amz-function-error"] = "Unhandled"
        stream = f"{self.function_name}/{ended.request_id}"
        self.logs_backend.ensure_log_group(self.logs_group_name)
        self.logs_backend.create_log_stream(self.logs_group_name, stream)
        self.logs_backend.put_log_events(self.logs_group_name, stream, ended.log)
        return ended.payload


def kept_request_id(headers: dict[str, Any]) -> str:
    """Leave an invocation's request id, which is that of the request."""
    return str(headers.setdefault("x-amzn-requestid", "none"))


class GuardedPolicy(Policy):
    """Gives a permission once."""

    def add_statement(self, raw: str, *others: Any) -> Any:
        if json.loads(raw)["StatementId"] in [statement["Sid"] for statement in self.statements]:
            raise LambdaClientError("ResourceConflictException", "The statement id provided already exists")
        return super().add_statement(raw, *others)


class LayerVersion(models.LayerVersion):
    """Is not published in one region."""

    __module__ = models.__name__
    denied_region = ""

    def __init__(self, spec: dict[str, Any], account_id: str, region: str) -> None:
        if region == self.denied_region:
            raise LambdaClientError("AccessDeniedException", "with an explicit deny in a service control policy")
        super().__init__(spec, account_id, region)


def put_in_place(denied_region: str) -> None:
    """Have moto use them; in the denied region no layer is published."""
    LayerVersion.denied_region = denied_region
    vars(responses)["gen_amzn_requestid_long"] = kept_request_id
    models.LambdaFunction = Function  # type: ignore[misc]  # what this process is for
    models.LayerVersion = LayerVersion  # type: ignore[misc]
    vars(models)["Policy"] = GuardedPolicy  # imported there, not exported
