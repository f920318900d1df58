"""A component for Pulumi in Python: what functions need for their lines to be in Sumo Logic.

sumo = SumoLogic("sumo", secret_arn=..., layer_zip="sumo-internal-extension.zip", function_names=["orders"])
aws.lambda_.Function("orders", layers=[sumo.layer_arn], environment={"variables": sumo.variables}, ...)
aws.iam.RolePolicy("sumo", role=role.name, policy=sumo.policy)
"""

import json

import pulumi
import pulumi_aws as aws

RUNTIMES = [f"python3.{minor}" for minor in range(10, 15)]


class SumoLogic(pulumi.ComponentResource):
    """The layer, the bucket for lines while Sumo Logic cannot be reached, settings and rights."""

    def __init__(
        self,
        name: str,
        *,
        secret_arn: pulumi.Input[str],
        function_names: list[str],
        layer_zip: str | None = None,
        layer_arn: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make what functions share.

        Args:
            name: The component's.
            secret_arn: The ARN of the secret that holds the address of the HTTP source.
            function_names: Those that may put objects into the bucket, each below its own path.
            layer_zip: The layer's zip, which is published as a version of its own; or
            layer_arn: the ARN of a version that is published already: pinned, never the newest by itself.
            opts: As for every resource.
        """
        super().__init__("sumologic:lambda:SumoLogic", name, None, opts)
        within = pulumi.ResourceOptions(parent=self)
        account = aws.get_caller_identity_output().account_id
        self.layer_arn = layer_arn or self._publish(name, layer_zip, within)
        bucket = aws.s3.Bucket(f"{name}-failover", opts=within)
        aws.s3.BucketPublicAccessBlock(
            f"{name}-failover",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=within,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-failover",
            bucket=bucket.id,
            rules=[{"id": "expire", "status": "Enabled", "filter": {}, "expiration": {"days": 30}}],
            opts=within,
        )
        self.failover_bucket = bucket.bucket
        self.variables = {
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/sumo_wrapper",
            "SUMO_HTTP_ENDPOINT": secret_arn,
            "SUMO_ENABLE_FAILOVER": "true",
            "SUMO_S3_BUCKET_NAME": bucket.bucket,
            "SUMO_S3_BUCKET_REGION": aws.get_region_output().region,
            "SUMO_S3_BUCKET_OWNER": account,
        }
        self.policy = pulumi.Output.all(secret_arn, bucket.arn, account).apply(
            lambda known: _policy(*known, function_names)
        )
        self.register_outputs({"layer_arn": self.layer_arn, "failover_bucket": self.failover_bucket})

    def _publish(self, name: str, layer_zip: str | None, within: pulumi.ResourceOptions) -> pulumi.Output[str]:
        if layer_zip is None:
            raise ValueError("SumoLogic: give either layer_zip or layer_arn")
        layer = aws.lambda_.LayerVersion(
            f"{name}-layer",
            layer_name="sumo-internal-extension",
            code=pulumi.FileArchive(layer_zip),
            compatible_runtimes=RUNTIMES,
            compatible_architectures=["x86_64", "arm64"],
            license_info="Apache-2.0",
            skip_destroy=True,
            opts=within,
        )
        return layer.arn


def _policy(secret_arn: str, bucket_arn: str, account: str, function_names: list[str]) -> str:
    """What a function's role needs, and nothing else."""
    secret = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret_arn}
    objects = {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": [f"{bucket_arn}/sumologic-extension/*/{name}/*" for name in function_names],
        "Condition": {"StringEquals": {"aws:ResourceAccount": account}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [secret, objects]})
