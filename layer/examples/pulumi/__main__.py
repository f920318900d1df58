"""Pulumi in Python, with the component of layer/modules/pulumi. The one thing to set:

make layer
pulumi config set sumoEndpointSecretArn arn:aws:secretsmanager:...
pulumi up
"""

import json
import sys
from pathlib import Path

import pulumi
import pulumi_aws as aws

LAYER = Path(__file__).resolve().parents[2]
sys.path.append(str(LAYER / "modules/pulumi"))  # in a project of your own, the component's file is beside this one

from sumo_logic import SumoLogic  # noqa: E402  # see above

sumo = SumoLogic(
    "sumo",
    secret_arn=pulumi.Config().require("sumoEndpointSecretArn"),
    layer_zip=str(LAYER / "dist/sumo-internal-extension.zip"),
    function_names=["orders"],
)
role = aws.iam.Role(
    "orders",
    assume_role_policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    ),
    managed_policy_arns=[aws.iam.ManagedPolicy.AWS_LAMBDA_BASIC_EXECUTION_ROLE],
)
aws.iam.RolePolicy("sumo", role=role.name, policy=sumo.policy)
aws.lambda_.Function(
    "orders",
    name="orders",
    role=role.arn,
    runtime="python3.13",
    handler="app.handler",
    code=pulumi.FileArchive(str(LAYER / "examples/function")),
    layers=[sumo.layer_arn],
    environment={"variables": sumo.variables},
)
pulumi.export("failover_bucket", sumo.failover_bucket)
