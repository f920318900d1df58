"""AWS CDK in Python, with the construct of layer/modules/cdk. The one thing to set:

make layer
cdk deploy -c sumoEndpointSecretArn=arn:aws:secretsmanager:...
"""

import sys
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda as lambda_

LAYER = Path(__file__).resolve().parents[2]
sys.path.append(str(LAYER / "modules/cdk"))  # in a project of your own, the construct's file is beside this one

from sumo_logic import SumoLogic  # noqa: E402  # see above

app = cdk.App()
stack = cdk.Stack(app, "Orders")
orders = lambda_.Function(
    stack,
    "Function",
    runtime=lambda_.Runtime.PYTHON_3_13,
    handler="app.handler",
    code=lambda_.Code.from_asset(str(LAYER / "examples/function")),
)
SumoLogic(
    stack,
    "SumoLogic",
    secret_arn=app.node.get_context("sumoEndpointSecretArn"),
    layer_zip=str(LAYER / "dist/sumo-internal-extension.zip"),
).attach(orders)
app.synth()
