# Terraform. The one thing to set:
#
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
  validation {
    condition     = can(regex("^arn:[^:]+:secretsmanager:[^:]+:\\d{12}:secret:.+$", var.sumo_endpoint_secret_arn))
    error_message = "It has to be the ARN of a Secrets Manager secret."
  }
}

# The newest version in this account and region; `make publish` puts it there.
data "aws_lambda_layer_version" "sumo" {
  layer_name = "sumo-internal-extension"
}

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
  layers           = [data.aws_lambda_layer_version.sumo.arn]

  environment {
    variables = {
      AWS_LAMBDA_EXEC_WRAPPER = "/opt/sumo_wrapper"
      SUMO_HTTP_ENDPOINT      = var.sumo_endpoint_secret_arn
      SUMO_ENABLE_FAILOVER    = "true"
      SUMO_S3_BUCKET_NAME     = aws_s3_bucket.failover.bucket
      SUMO_S3_BUCKET_REGION   = aws_s3_bucket.failover.region
    }
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
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_iam_role_policy" "sumo" {
  name = "sumo-logic"
  role = aws_iam_role.orders.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.sumo_endpoint_secret_arn
      },
      {
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${aws_s3_bucket.failover.arn}/sumologic-extension/*"
      },
    ]
  })
}

resource "aws_s3_bucket" "failover" {
  bucket_prefix = "sumo-failover-"
}

resource "aws_s3_bucket_public_access_block" "failover" {
  bucket                  = aws_s3_bucket.failover.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "failover" {
  bucket = aws_s3_bucket.failover.id
  rule {
    id     = "expire"
    status = "Enabled"
    filter {}
    expiration {
      days = 30
    }
  }
}

output "failover_bucket" {
  description = "For an S3 source of Sumo Logic's, or `sumo-internal replay`."
  value       = aws_s3_bucket.failover.bucket
}
