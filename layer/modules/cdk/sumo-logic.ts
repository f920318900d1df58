// A construct for AWS CDK in TypeScript: give functions what they need for their lines to be in Sumo Logic.
//
//   new SumoLogic(stack, "SumoLogic", { secretArn, layerZip: "sumo-internal-extension.zip" }).attach(orders);

import { Aws, Duration, RemovalPolicy } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as s3 from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";

export interface SumoLogicProps {
  /** The ARN of the secret that holds the address of the HTTP source. */
  readonly secretArn: string;
  /** The layer's zip, which is published as a version of its own; or layerArn. */
  readonly layerZip?: string;
  /** The ARN of a version that is published already: pinned, never the newest by itself. */
  readonly layerArn?: string;
}

/** The layer, and the bucket for lines while Sumo Logic cannot be reached. */
export class SumoLogic extends Construct {
  readonly failover: s3.Bucket;
  private readonly layer: lambda.ILayerVersion;
  private readonly secretArn: string;

  constructor(scope: Construct, id: string, props: SumoLogicProps) {
    super(scope, id);
    if ((props.layerZip === undefined) === (props.layerArn === undefined)) {
      throw new Error("SumoLogic: give either layerZip or layerArn");
    }
    this.secretArn = props.secretArn;
    this.layer =
      props.layerArn !== undefined
        ? lambda.LayerVersion.fromLayerVersionArn(this, "Layer", props.layerArn)
        : new lambda.LayerVersion(this, "Layer", {
            layerVersionName: "sumo-internal-extension",
            code: lambda.Code.fromAsset(props.layerZip!),
            compatibleRuntimes: [
              lambda.Runtime.PYTHON_3_10,
              lambda.Runtime.PYTHON_3_11,
              lambda.Runtime.PYTHON_3_12,
              lambda.Runtime.PYTHON_3_13,
              lambda.Runtime.PYTHON_3_14,
            ],
            compatibleArchitectures: [lambda.Architecture.X86_64, lambda.Architecture.ARM_64],
            license: "Apache-2.0",
            removalPolicy: RemovalPolicy.RETAIN,
          });
    this.failover = new s3.Bucket(this, "Failover", {
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      lifecycleRules: [{ expiration: Duration.days(30) }],
    });
  }

  /** Give a function layer, wrapper, settings and rights. */
  attach(orders: lambda.Function): void {
    orders.addLayers(this.layer);
    const variables: Record<string, string> = {
      AWS_LAMBDA_EXEC_WRAPPER: "/opt/sumo_wrapper",
      SUMO_HTTP_ENDPOINT: this.secretArn,
      SUMO_ENABLE_FAILOVER: "true",
      SUMO_S3_BUCKET_NAME: this.failover.bucketName,
      SUMO_S3_BUCKET_REGION: Aws.REGION,
      SUMO_S3_BUCKET_OWNER: Aws.ACCOUNT_ID,
    };
    for (const [name, value] of Object.entries(variables)) {
      orders.addEnvironment(name, value);
    }
    // No part of the role's own policy, which the function waits for: this one has the function's name in it.
    new iam.Policy(this, `${orders.node.id}Policy`, {
      roles: [orders.role!],
      statements: [
        new iam.PolicyStatement({ actions: ["secretsmanager:GetSecretValue"], resources: [this.secretArn] }),
        new iam.PolicyStatement({
          actions: ["s3:PutObject"],
          resources: [this.failover.arnForObjects(`sumologic-extension/*/${orders.functionName}/*`)],
          conditions: { StringEquals: { "aws:ResourceAccount": Aws.ACCOUNT_ID } },
        }),
      ],
    });
  }
}
