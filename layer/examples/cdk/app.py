"""AWS CDK. The one thing to set:

cdk deploy -c sumoEndpointSecretArn=arn:aws:secretsmanager:...
"""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

FUNCTION = Path(__file__).resolve().parent.parent / "function"


class SumoLogic(Construct):
    """What functions need for their lines to be in Sumo Logic, and in a bucket while it cannot be reached."""

    def __init__(self, scope: Construct, id: str, *, secret_arn: str, layer_version: int = 1) -> None:
        super().__init__(scope, id)
        self._secret_arn = secret_arn
        self._failover = s3.Bucket(
            self,
            "Failover",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            lifecycle_rules=[s3.LifecycleRule(expiration=cdk.Duration.days(30))],
        )
        layer = cdk.Stack.of(self).format_arn(
            service="lambda",
            resource="layer",
            resource_name=f"sumo-internal-extension:{layer_version}",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        self._layer = lambda_.LayerVersion.from_layer_version_arn(self, "Layer", layer)

    def attach(self, function: lambda_.Function) -> None:
        """Give a function layer, wrapper, settings and rights."""
        function.add_layers(self._layer)
        objects = self._failover.arn_for_objects("sumologic-extension/*")
        # Not grant_read and grant_put, which give five more rights.
        for action, resource in (("secretsmanager:GetSecretValue", self._secret_arn), ("s3:PutObject", objects)):
            function.add_to_role_policy(iam.PolicyStatement(actions=[action], resources=[resource]))
        variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": self._secret_arn,
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": self._failover.bucket_name,
            "SUMO_S3_BUCKET_REGION": cdk.Stack.of(self).region,
        }
        for name, value in variables.items():
            function.add_environment(name, value)


app = cdk.App()
stack = cdk.Stack(app, "Orders")
orders = lambda_.Function(
    stack,
    "Function",
    runtime=lambda_.Runtime.PYTHON_3_13,
    handler="app.handler",
    code=lambda_.Code.from_asset(str(FUNCTION)),
)
SumoLogic(stack, "SumoLogic", secret_arn=app.node.get_context("sumoEndpointSecretArn")).attach(orders)
app.synth()
