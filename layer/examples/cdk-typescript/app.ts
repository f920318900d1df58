// AWS CDK in TypeScript, with the construct of layer/modules/cdk. The one thing to set:
//
//   make layer
//   cdk deploy --app "npx ts-node app.ts" -c sumoEndpointSecretArn=arn:aws:secretsmanager:...

import * as path from "node:path";
import { App, Stack } from "aws-cdk-lib";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { SumoLogic } from "../../modules/cdk/sumo-logic";

const layer = process.env.SUMO_LAYER_FOLDER ?? path.resolve(__dirname, "../..");
const app = new App();
const stack = new Stack(app, "Orders");
const orders = new lambda.Function(stack, "Function", {
  runtime: lambda.Runtime.PYTHON_3_13,
  handler: "app.handler",
  code: lambda.Code.fromAsset(path.join(layer, "examples/function")),
});
new SumoLogic(stack, "SumoLogic", {
  secretArn: app.node.getContext("sumoEndpointSecretArn"),
  layerZip: path.join(layer, "dist/sumo-internal-extension.zip"),
}).attach(orders);
app.synth();
