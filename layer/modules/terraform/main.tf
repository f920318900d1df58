# A Terraform module: the layer, the rights and the settings that functions need for their lines to be in Sumo Logic.
#
#   module "sumo" {
#     source         = "…/layer/modules/terraform"
#     secret_arn     = "arn:aws:secretsmanager:..."
#     layer_zip      = "sumo-internal-extension.zip" # of a release, or made by `make layer`
#     function_names = ["orders"]
#   }
#
# A function then takes module.sumo.layer_arn, module.sumo.variables and module.sumo.policy_json.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "secret_arn" {
  type        = string
  description = "ARN of the secret that holds the address of the HTTP source."
  validation {
    condition     = can(regex("^arn:[^:]+:secretsmanager:[^:]+:\\d{12}:secret:.+$", var.secret_arn))
    error_message = "It has to be the ARN of a Secrets Manager secret."
  }
}

variable "layer_zip" {
  type        = string
  default     = null
  description = "Path of the layer's zip, which is published as a version of its own. Or give layer_arn."
}

variable "layer_arn" {
  type        = string
  default     = null
  description = "ARN of a version of the layer that is published already: pinned, and never the newest by itself."
  validation {
    condition     = var.layer_arn == null || can(regex("^arn:[^:]+:lambda:[^:]+:\\d{12}:layer:[^:]+:\\d+$", var.layer_arn))
    error_message = "It has to be the ARN of a layer's version, with its number."
  }
}

variable "function_names" {
  type        = list(string)
  description = "The functions that may put objects into the failover bucket, each below its own path."
}

variable "flush" {
  type        = string
  default     = "auto"
  description = "SUMO_FLUSH: auto, end or next."
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

resource "aws_lambda_layer_version" "sumo" {
  count                    = var.layer_arn == null ? 1 : 0
  layer_name               = "sumo-internal-extension"
  filename                 = var.layer_zip
  source_code_hash         = filebase64sha256(var.layer_zip)
  compatible_runtimes      = ["python3.10", "python3.11", "python3.12", "python3.13", "python3.14"]
  compatible_architectures = ["x86_64", "arm64"]
  license_info             = "Apache-2.0"
  skip_destroy             = true
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

data "aws_iam_policy_document" "sumo" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.secret_arn]
  }
  statement {
    actions = ["s3:PutObject"]
    resources = [
      for name in var.function_names :
      "arn:${data.aws_partition.current.partition}:s3:::${aws_s3_bucket.failover.bucket}/sumologic-extension/*/${name}/*"
    ]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

output "layer_arn" {
  description = "For the function's layers."
  value       = var.layer_arn == null ? aws_lambda_layer_version.sumo[0].arn : var.layer_arn
}

output "variables" {
  description = "For the function's environment; merge your own with them."
  value = {
    AWS_LAMBDA_EXEC_WRAPPER = "/opt/sumo_wrapper"
    SUMO_HTTP_ENDPOINT      = var.secret_arn
    SUMO_FLUSH              = var.flush
    SUMO_ENABLE_FAILOVER    = "true"
    SUMO_S3_BUCKET_NAME     = aws_s3_bucket.failover.bucket
    SUMO_S3_BUCKET_REGION   = aws_s3_bucket.failover.region
    SUMO_S3_BUCKET_OWNER    = data.aws_caller_identity.current.account_id
  }
}

output "policy_json" {
  description = "For the function's role."
  value       = data.aws_iam_policy_document.sumo.json
}

output "failover_bucket" {
  description = "For an S3 source of Sumo Logic's, or `sumo-internal replay`."
  value       = aws_s3_bucket.failover.bucket
}
