"""The replay as a Lambda function, for S3 Batch Operations: a backlog that outgrows one machine.

S3 calls :func:`handler` once per object of a job's manifest, many at a time, keeps a report, and tries what failed for
now again. layer/examples/replay-batch.yaml deploys it; this package and urllib3 are its code, and boto3 is Lambda's.

Event and answer, of schema 1.0 (``s3BucketArn``) and 2.0 (``s3Bucket``), are those of
https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html; keys come percent-encoded.

SUMO_REPLAY_TAG=true tags what was sent, so that a second job sends nothing twice. There is no state file: a task that
S3 tries again begins its object from the start, and lines that were sent before have the same ``id``.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from sumo_internal import config as configuration
from sumo_internal.cli import backlog, source
from sumo_internal.cli.arguments import BYTES_PER_S, REQUESTS_PER_S
from sumo_internal.cli.backlog import BacklogBucket, DamagedObjectError, Item
from sumo_internal.cli.ledger import Ledger, Tags, digest
from sumo_internal.cli.resend import (
    BatchRefusedError,
    Pace,
    Resender,
    UnreachableSourceError,
    send_item,
)
from sumo_internal.config import Config
from sumo_internal.diagnostics import legible
from sumo_internal.net.pool import PooledSender

MARGIN_S = 12.0
"""Kept back of the function's time for a request that is under way, and for the answer to S3."""
RESULT_MAX_CHARACTERS = 200
"""Of a task's text in the job's report."""

sender = PooledSender()
"""Of every request to the source."""


class Untagged:
    """Remembers nothing: S3 Batch Operations does, for the length of a job."""

    def sent_bytes(self, item: Item) -> int | None:
        return 0

    def note(self, item: Item, sent_bytes: int, *, is_done: bool) -> None:
        return None


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Send the objects that the event names.

    Args:
        event: S3 Batch Operations'.
        context: Lambda's.
    """
    results = []
    for task in event["tasks"]:
        code, text = _send(task, time.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_S)
        result = {"taskId": task["taskId"], "resultCode": code, "resultString": legible(text, RESULT_MAX_CHARACTERS)}
        results.append(result)
    return {
        "invocationSchemaVersion": event["invocationSchemaVersion"],
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": event["invocationId"],
        "results": results,
    }


def _send(task: dict[str, Any], until_s: float) -> tuple[str, str]:
    """Send one object; the result's code and text."""
    config, s3, resender = _parts()
    if not config.endpoint:
        return "PermanentFailure", "SUMO_HTTP_ENDPOINT is not set"
    item = backlog.item(unquote_plus(task["s3Key"]), 0)
    if item is None:
        return "PermanentFailure", "its key is not one of a failover object"
    bucket = BacklogBucket(s3, task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2])
    try:
        lines = send_item(item, bucket, _ledger(bucket, config), resender, config, until_s)
        return "Succeeded", "sent before" if lines is None else f"{lines} lines"
    except (DamagedObjectError, BatchRefusedError) as problem:
        return "PermanentFailure", str(problem)
    except UnreachableSourceError as problem:
        return "TemporaryFailure" if problem.is_passing else "PermanentFailure", str(problem)
    except (ClientError, BotoCoreError) as problem:
        return "TemporaryFailure", str(problem)


@cache
def _parts() -> tuple[Config, Any, Resender]:
    """The settings, the ways to S3 and to the source: made once per environment; a secret is read once, too."""
    config = configuration.read(os.environ)[0]
    way = source.connect(config, sender, os.environ["AWS_LAMBDA_FUNCTION_NAME"])
    return config, boto3.client("s3"), Resender(way, config, Pace(BYTES_PER_S, REQUESTS_PER_S))


def _ledger(bucket: BacklogBucket, config: Config) -> Ledger:
    if os.environ.get("SUMO_REPLAY_TAG", "").lower() == "true":
        return Tags(bucket.client, bucket.name, digest(config.endpoint, config.token))
    return Untagged()
