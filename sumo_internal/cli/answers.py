"""What the answers to the doctor mean: the source's to no lines, the bucket's to an empty object. Pure."""

from __future__ import annotations

from sumo_internal.cli.findings import Finding, find
from sumo_internal.destinations import endpoint, s3
from sumo_internal.destinations.attempt import Attempt


def judge_source(attempt: Attempt, duration_s: float) -> Finding:
    """What the source's answer to a request without lines means.

    Args:
        attempt: The source's answer.
        duration_s: Seconds until the source had answered.
    """
    if 200 <= attempt.status < 300 or attempt.status == 400:  # a wrong token is a 401; this one is about the body
        return find("source", answer=attempt.problem or f"HTTP {attempt.status}", duration_s=duration_s)
    if attempt.problem.startswith((f"{endpoint.VARIABLE}: ", f"{endpoint.TOKEN_VARIABLE}: ")):
        return find("source-secret", problem=attempt.problem)
    if attempt.is_ours:
        return find("source-refuses", problem=attempt.problem)
    return find("source-busy" if attempt.status else "source-silent", problem=attempt.problem)


def judge_bucket(code: str, bucket: str, region: str, who: str) -> Finding:
    """What a bucket's answer to an empty object means.

    Args:
        code: S3's error, empty where it took the object.
        bucket: Its name.
        region: SUMO_S3_BUCKET_REGION.
        who: Whose credentials were used.
    """
    fixes = {
        "NoSuchBucket": f"aws s3 mb s3://{bucket} --region {region}; or correct SUMO_S3_BUCKET_NAME.",
        "PermanentRedirect": "Set SUMO_S3_BUCKET_REGION to the bucket's region: aws s3api get-bucket-location "
        f"--bucket {bucket}.",
        "AccessDenied": f"Allow s3:PutObject on {bucket}/{s3.PREFIX}/*, and kms:GenerateDataKey if the bucket encrypts "
        "with a key of its own.",
    }
    if not code:
        return find("bucket", bucket=bucket, who=who)
    fix = fixes.get(code, "See the S3 user guide on this error.")
    return find("bucket-refuses", bucket=bucket, who=who, code=code, fix=fix)
