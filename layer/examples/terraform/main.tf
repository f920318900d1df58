# Terraform, with the module of layer/modules/terraform. The one thing to set:
#
#   make layer
#   terraform init && terraform apply -var sumo_endpoint_secret_arn=arn:aws:secretsmanager:...

terraform {
  required_version = ">= 1.5"
  required_providers {
    archive = {
      source  = "hashicorp/archive"
      version = ">= 2.4"
    }
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "sumo_endpoint_secret_arn" {
  type        = string
  description = "ARN of the secret that holds the address of the HTTP source."
}

module "sumo" {
  source         = "../../modules/terraform"
  secret_arn     = var.sumo_endpoint_secret_arn
  layer_zip      = "${path.module}/../../dist/sumo-internal-extension.zip"
  function_names = ["orders"]
}

data "aws_partition" "current" {}

data "archive_file" "function" {
  type        = "zip"
  source_dir  = "${path.module}/../function"
  output_path = "${path.module}/.terraform/function.zip"
}

resource "aws_lambda_function" "orders" {
  function_name    = "orders"
  role             = aws_iam_role.orders.arn
  runtime          = "python3.13"
  handler          = "app.handler"
  filename         = data.archive_file.function.output_path
  source_code_hash = data.archive_file.function.output_base64sha256
  layers           = [module.sumo.layer_arn]

  environment {
    variables = module.sumo.variables
  }
}

resource "aws_iam_role" "orders" {
  name_prefix = "orders-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "basic" {
  role       = aws_iam_role.orders.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_iam_role_policy" "sumo" {
  name   = "sumo-logic"
  role   = aws_iam_role.orders.name
  policy = module.sumo.policy_json
}

output "failover_bucket" {
  description = "For an S3 source of Sumo Logic's, or `sumo-internal replay`."
  value       = module.sumo.failover_bucket
}
