"""A construct for AWS CDK in Python: give functions what they need for their lines to be in Sumo Logic.

SumoLogic(stack, "SumoLogic", secret_arn=..., layer_zip="sumo-internal-extension.zip").attach(function)
"""

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

RUNTIMES = ("3_10", "3_11", "3_12", "3_13", "3_14")


class SumoLogic(Construct):
    """The layer, and the bucket for lines while Sumo Logic cannot be reached."""

    def __init__(
        self, scope: Construct, id: str, *, secret_arn: str, layer_zip: str | None = None, layer_arn: str | None = None
    ) -> None:
        """Make what functions share.

        Args:
            scope: As for every construct.
            id: Likewise.
            secret_arn: The ARN of the secret that holds the address of the HTTP source.
            layer_zip: The layer's zip, which is published as a version of its own; or
            layer_arn: the ARN of a version that is published already: pinned, never the newest by itself.
        """
        super().__init__(scope, id)
        self._secret_arn = secret_arn
        if layer_arn:
            self._layer = lambda_.LayerVersion.from_layer_version_arn(self, "Layer", layer_arn)
        else:
            self._layer = lambda_.LayerVersion(
                self,
                "Layer",
                layer_version_name="sumo-internal-extension",
                code=lambda_.Code.from_asset(layer_zip),
                compatible_runtimes=[getattr(lambda_.Runtime, f"PYTHON_{version}") for version in RUNTIMES],
                compatible_architectures=[lambda_.Architecture.X86_64, lambda_.Architecture.ARM_64],
                license="Apache-2.0",
                removal_policy=RemovalPolicy.RETAIN,
            )
        self.failover = s3.Bucket(
            self,
            "Failover",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(30))],
        )

    def attach(self, function: lambda_.Function) -> None:
        """Give a function layer, wrapper, settings and rights."""
        function.add_layers(self._layer)
        for name, value in {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": self._secret_arn,
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": self.failover.bucket_name,
            "SUMO_S3_BUCKET_REGION": Aws.REGION,
            "SUMO_S3_BUCKET_OWNER": Aws.ACCOUNT_ID,
        }.items():
            function.add_environment(name, value)
        # Not grant_read and grant_put, which give five more rights; and no part of the role's own policy, which the
        # function waits for: this one has the function's name in it.
        policy = iam.Policy(self, f"{function.node.id}Policy", roles=[function.role])
        policy.add_statements(
            iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[self._secret_arn]),
            iam.PolicyStatement(
                actions=["s3:PutObject"],
                resources=[self.failover.arn_for_objects(f"sumologic-extension/*/{function.function_name}/*")],
                conditions={"StringEquals": {"aws:ResourceAccount": Aws.ACCOUNT_ID}},
            ),
        )
