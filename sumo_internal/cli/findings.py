"""What the doctor can say: each finding's words, in one table. Pure text; when it is said is in ``checks``.

Rules:

* A finding says what is so, why it matters, and the exact fix: a value to set, a command to run.
* An error loses lines, or stops the function; a warning costs something the user asked for; a note is for a decision.
* The names of findings stay, for scripts, and for docs/troubleshooting.md, which has each of them.
* No finding contains the endpoint, or a variable's value that could be one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

LEVELS = ("error", "warning", "note")
"""From worst to least."""

SHOW_URL = "in Sumo Logic: Manage Data > Collection > Show URL"


@dataclass(frozen=True)
class Finding:
    """One thing to know."""

    level: str
    name: str
    what: str
    why: str
    fix: str


class Words(NamedTuple):
    """A finding before its particulars, which stand in braces, are filled in."""

    level: str
    what: str
    why: str
    fix: str


WORDS = {
    "variable-misspelt": Words(
        "warning",
        "{name} is not a setting; {near} is",
        "A misspelt setting is not read, and its default counts.",
        "Rename {name} to {near}.",
    ),
    "variable-unknown": Words(
        "note",
        "{name} is not a setting of this extension",
        "Nothing here reads it.",
        "Remove {name}, unless your function reads it; docs/settings.md lists the settings.",
    ),
    "variable-of-go": Words(
        "note", "{name}, a setting of the Go extension, has no effect here", "{why}", "Remove {name}."
    ),
    "variable-value": Words(
        "warning",
        "{problem}",
        "The function runs, but not as the setting asks.",
        "Correct {name}, or remove it (default: {default}).",
    ),
    "variable-unsafe": Words(
        "error",
        "{problem}",
        "The setting says what must not leave; as long as it cannot be read, no message leaves.",
        "Correct {name}, or remove it.",
    ),
    "disabled": Words(
        "warning", "SUMO_DISABLED is on", "No lines are shipped.", "Remove SUMO_DISABLED, or set it to false."
    ),
    "endpoint-missing": Words(
        "error",
        "SUMO_HTTP_ENDPOINT is not set",
        "The layer does not know where to send lines; it ships none.",
        "Set SUMO_HTTP_ENDPOINT to the ARN of a secret with the HTTP source's address, or to the address ("
        + SHOW_URL
        + ").",
    ),
    "endpoint-value": Words(
        "error",
        "{problem}",
        "The layer does not know where to send lines; it ships none.",
        "Set SUMO_HTTP_ENDPOINT to the ARN of a secret with the HTTP source's address, or to the address ("
        + SHOW_URL
        + ").",
    ),
    "endpoint-arn": Words(
        "error",
        "SUMO_HTTP_ENDPOINT is the ARN of something that is neither a secret nor a parameter",
        "Only Secrets Manager and Systems Manager are asked for an address.",
        "Set it to an ARN like arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, or to that of a parameter.",
    ),
    "endpoint-http": Words(
        "warning",
        "SUMO_HTTP_ENDPOINT begins with http://",
        "Lines, and the token in the address, can be read on the way; Sumo Logic accepts https only.",
        "Write https:// instead.",
    ),
    "endpoint-path": Words(
        "warning",
        "SUMO_HTTP_ENDPOINT has no /receiver/v1/http in it",
        "Addresses of HTTP sources do; the address of an API, or of the web application, accepts no lines.",
        "Copy the HTTP source's address (" + SHOW_URL + ").",
    ),
    "endpoint-plain": Words(
        "note",
        "SUMO_HTTP_ENDPOINT has the address in the clear",
        "Its last part is a credential, and everybody who may read the function's configuration reads it.",
        "Put the address into a Secrets Manager secret, and set SUMO_HTTP_ENDPOINT to the secret's ARN.",
    ),
    "token-missing": Words(
        "error",
        "SUMO_HTTP_ENDPOINT has no code in its path, and SUMO_HTTP_TOKEN is not set",
        "Sumo Logic responds with 401: the address alone says nothing about who sends.",
        "Set SUMO_HTTP_TOKEN to the ARN of a secret with the source's token, or to the token; or copy the address with "
        "its code (" + SHOW_URL + ").",
    ),
    "token-unused": Words(
        "warning",
        "SUMO_HTTP_TOKEN is set, and SUMO_HTTP_ENDPOINT has a code in its path",
        "The code is used, and the token is not sent.",
        "Remove SUMO_HTTP_TOKEN, or the code from the address.",
    ),
    "token-plain": Words(
        "note",
        "SUMO_HTTP_TOKEN has the token in the clear",
        "It is a credential, and everybody who may read the function's configuration reads it.",
        "Put the token into a Secrets Manager secret, and set SUMO_HTTP_TOKEN to the secret's ARN.",
    ),
    "kms-unused": Words(
        "warning",
        "KMS_KEY_ID is set, and neither SUMO_HTTP_ENDPOINT nor SUMO_HTTP_TOKEN is a ciphertext",
        "The key is not used, and the address is less secret than was meant.",
        "Encrypt the address with the key, or remove KMS_KEY_ID.",
    ),
    "kms-cache-unused": Words(
        "note",
        "KMS_CACHE_SECONDS is set without KMS_KEY_ID",
        "It counts for KMS only.",
        "Rename it to SUMO_SECRET_CACHE_SECONDS, or remove it.",
    ),
    "failover-incomplete": Words(
        "error",
        "{problem}",
        "Lines that Sumo Logic does not accept are lost with the environment, although a bucket was asked for.",
        "Set {missing}.",
    ),
    "failover-off": Words(
        "warning",
        "a failover bucket is named, and SUMO_ENABLE_FAILOVER is not true",
        "Lines that Sumo Logic does not accept wait in /tmp, and are lost with the environment.",
        "Set SUMO_ENABLE_FAILOVER=true, or remove the SUMO_S3_… variables.",
    ),
    "failover-none": Words(
        "note",
        "there is no failover bucket",
        "In an outage that outlives the environment, the lines in /tmp are lost with it.",
        "Set SUMO_ENABLE_FAILOVER=true, SUMO_S3_BUCKET_NAME and SUMO_S3_BUCKET_REGION.",
    ),
    "spool-folder": Words(
        "warning",
        "SUMO_SPOOL_DIR is {folder}",
        "In Lambda only /tmp can be written; without a spool no lines are shipped.",
        "Remove SUMO_SPOOL_DIR, or set it to a folder below /tmp.",
    ),
    "spool-size": Words(
        "warning",
        "SUMO_SPOOL_MAX_MB is {spool_mb}, and /tmp has {disk_mb} MB",
        "In a long outage the spool would leave the function no room.",
        "Set SUMO_SPOOL_MAX_MB to {half_mb} or less, or the ephemeral storage to more.",
    ),
    "wrapper-missing": Words(
        "warning",
        "AWS_LAMBDA_EXEC_WRAPPER is not set",
        "Nothing listens inside the function's process: lines come from the Telemetry API, later and without the keys "
        "that only the process knows, or from a SumoHandler in the code.",
        "Set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper; or, if that is meant, SUMO_FUNCTION_LOGS=telemetry, or "
        "=process with a SumoHandler.",
    ),
    "wrapper-path": Words(
        "error",
        "AWS_LAMBDA_EXEC_WRAPPER is {slot}",
        "Lambda cannot start a wrapper that is not there: every invocation fails.",
        "Set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper.",
    ),
    "wrapper-taken": Words(
        "error",
        "AWS_LAMBDA_EXEC_WRAPPER is {slot}: {whose} wrapper",
        "A function has a single slot for a wrapper. Ours is not started, and nothing listens inside the process.",
        "Set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper and SUMO_NEXT_WRAPPER={slot}: ours starts theirs.",
    ),
    "wrapper-program": Words(
        "warning",
        "{slot} starts a program of the function's own ({whose} wrapper)",
        "It does not run what it is given, so ours in front of it is not called: lines come from the Telemetry API, "
        "later and without the keys that only the process knows.",
        "Leave AWS_LAMBDA_EXEC_WRAPPER={slot}, and start Python by /opt/sumo_wrapper in the program's run.sh (exec "
        "/opt/sumo_wrapper python ...); or set SUMO_FUNCTION_LOGS=telemetry, if that is meant.",
    ),
    "wrapper-next": Words(
        "warning",
        "SUMO_NEXT_WRAPPER is set, and AWS_LAMBDA_EXEC_WRAPPER is not our wrapper",
        "Only our wrapper reads it, so the other wrapper is not started.",
        "Set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper.",
    ),
    "wrapper-loop": Words(
        "warning",
        "SUMO_NEXT_WRAPPER is our own wrapper",
        "It names the one that is to be started after ours, and is left out.",
        "Remove SUMO_NEXT_WRAPPER, or set it to the other wrapper.",
    ),
    "file-missing": Words(
        "error",
        "{path} is missing",
        "Without the wrapper Lambda cannot start the function; without another part, lines are lost.",
        "Add the layer to the function; in an image, copy all of the layer to /opt.",
    ),
    "file-mode": Words(
        "error",
        "{path} cannot be executed (mode {mode})",
        "Lambda starts it as a program; a zip made where files have no run bit loses it.",
        "In an image, RUN chmod 755 {path}; for a layer, build it with make layer.",
    ),
    "log-types": Words(
        "warning",
        "SUMO_LOG_TYPES is {types}",
        "What the function itself writes is not shipped.",
        "Add function to SUMO_LOG_TYPES, or remove it.",
    ),
    "runtime": Words(
        "error",
        "the function's runtime is {runtime}",
        "The wrapper listens inside {least} to {most}; anything else it only starts.",
        "Use Sumo's Go extension for this function, or a newer Python.",
    ),
    "image": Words(
        "note",
        "the function is a container image, and its configuration does not say that the wrapper is started",
        "In an image with a runtime client of its own nobody looks at AWS_LAMBDA_EXEC_WRAPPER: the ENTRYPOINT has to.",
        'In the Dockerfile: ENTRYPOINT ["/opt/sumo_wrapper", "python", "-m", "awslambdaric"].',
    ),
    "variable-of-other-modes": Words(
        "note",
        "{name} has no meaning on {kind}",
        "{why}",
        "Remove {name}.",
    ),
    "durable-telemetry": Words(
        "warning",
        "the function is durable, and its lines come from the Telemetry API",
        "Lambda's events do not say which execution an invocation belongs to, nor which lines a resume repeats: there "
        "is no executionArn and no replay, and sampling goes by invocation.",
        "Set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper, and leave SUMO_FUNCTION_LOGS at auto.",
    ),
    "replays-unused": Words(
        "note",
        "{name} is set, and the function is not durable",
        "Only a durable execution writes lines again.",
        "Remove {name}.",
    ),
    "published-versions": Words(
        "note",
        "the function {reason}",
        "A version keeps the layer and the variables that it was published with.",
        "Publish a new version after each change, and let the alias point to it. Managed Instances that are invoked "
        "without a version take `aws lambda publish-version --function-name {function} --publish-to LATEST_PUBLISHED`.",
    ),
    "handler": Words(
        "error",
        "the handler is {handler!r}",
        "Lambda calls a function of a module; the wrapper does not take its place.",
        "Set the handler to your own function, MODULE.FUNCTION: for example app.handler.",
    ),
    "timeout": Words(
        "warning",
        "the timeout is {timeout_s} s, and SUMO_FLUSH={flush} ships after the response",
        "That stops {margin_s} s before the deadline: a slow response leaves lines to the next invocation.",
        "Set the timeout to {enough_s} s or more, or SUMO_FLUSH=next.",
    ),
    "memory": Words(
        "note",
        "the function has {memory_mb} MB, and SUMO_FLUSH={flush} ships after the response",
        "With 7 % of a core the first request over TLS takes about 0.3 s, billed after the response.",
        "Give it 256 MB, or set SUMO_FLUSH=next.",
    ),
    "cloudwatch-idle": Words(
        "warning",
        "SUMO_CLOUDWATCH={value} has no effect",
        "It acts where the function's own process hears its lines, under the wrapper; CloudWatch gets all of them.",
        "Remove it, or set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper and leave SUMO_FUNCTION_LOGS at auto.",
    ),
    "cloudwatch-unmasked": Words(
        "note",
        "SUMO_CLOUDWATCH={value} spares CloudWatch most lines; those that go there are not masked",
        "Masks and processors are for what is sent to Sumo Logic. What falls back to CloudWatch is as it was written.",
        "Nothing, if CloudWatch may have it; else hide it where it is written.",
    ),
    "cloudwatch-filters": Words(
        "warning",
        "SUMO_CLOUDWATCH={value}, and filters are on the function's log group: {filters}",
        "A metric or subscription filter, and the alarm behind it, gets only the lines that still go to CloudWatch.",
        "Name what they look for in SUMO_CLOUDWATCH_KEEP, or remove the filters.",
    ),
    "cloudwatch-filters-unseen": Words(
        "note",
        "SUMO_CLOUDWATCH={value}, and the filters on the function's log group cannot be listed ({code})",
        "A metric or subscription filter, and the alarm behind it, gets only the lines that still go to CloudWatch.",
        "Run doctor with logs:DescribeMetricFilters and logs:DescribeSubscriptionFilters, or look at the log group.",
    ),
    "cloudwatch-platform": Words(
        "note",
        "SUMO_CLOUDWATCH={value}, and Lambda still writes START, END and REPORT of each invocation to CloudWatch",
        "These lines are Lambda's own, and paid for as any others.",
        "aws lambda update-function-configuration --function-name {function} "
        "--logging-config LogFormat=JSON,SystemLogLevel=WARN",
    ),
    "setting-idle": Words(
        "warning",
        "{name} has no effect",
        "It acts where the function's own process hears its lines, under the wrapper. {why}",
        "Remove it, or set AWS_LAMBDA_EXEC_WRAPPER=/opt/sumo_wrapper and leave SUMO_FUNCTION_LOGS at auto.",
    ),
    "vpc": Words(
        "note",
        "the function is in a VPC",
        "Sumo Logic is outside: lines need a NAT gateway or a proxy; S3 one of the two, or a gateway endpoint.",
        "See that the subnets' route tables have one, or set HTTPS_PROXY.",
    ),
    "layer-missing": Words(
        "error",
        "no layer of the function is named sumo-internal-extension",
        "Without it there is no wrapper, and Lambda cannot start a function that asks for it.",
        "sumo-internal attach {function}.",
    ),
    "layer-unknown": Words(
        "warning",
        "no layer of the function is named sumo-internal-extension",
        "Without it there is no wrapper, and Lambda cannot start a function that asks for it.",
        "sumo-internal attach {function}; nothing, if one of its layers is this one under another name.",
    ),
    "layer-twice": Words(
        "error",
        "the layer is there {count} times: {layers}",
        "Files of the later one replace those of the earlier, and parts of two versions run together.",
        "Remove {surplus}.",
    ),
    "layer-bytecode": Words(
        "note",
        "{without}",
        "Python compiles the layer's modules anew in each new environment, because /opt cannot be written.",
        "Build the layer where {runtime} is installed (make layer finds it), publish it, and attach it.",
    ),
    "layer-go": Words(
        "error",
        "Sumo's Go extension is there, too: {layers}",
        "Every line arrives, and is billed, twice.",
        "sumo-internal attach --migrate {function}; or remove that layer.",
    ),
    "source": Words(
        "note",
        "the source accepts requests: {answer} after {duration_s:.2f} s",
        "The address is right, and can be reached from here. A source whose ingest budget is used up responds with the "
        "same, and drops lines.",
        "Nothing to do.",
    ),
    "source-refuses": Words(
        "error",
        "the source rejects requests: {problem}",
        "The token in the address is wrong, or the source was deleted. Lines go to the failover bucket, or are lost.",
        "Copy the address anew (" + SHOW_URL + ").",
    ),
    "source-busy": Words(
        "warning",
        "the source does not accept requests now: {problem}",
        "The account is throttled, or Sumo Logic has a problem; the address may be right.",
        "Try again later; https://status.sumologic.com says more.",
    ),
    "source-secret": Words(
        "error",
        "the source's address cannot be had: {problem}",
        "It was asked for with the credentials that are here. Where the function's role fails, too, lines go to the "
        "failover bucket, or are lost.",
        "See that the secret, its region and its key are the right ones, and that the role has the permissions below.",
    ),
    "source-silent": Words(
        "error",
        "no response from the source: {problem}",
        "From here there is no way to it; from the function's network there may be.",
        "Check the address's host, HTTPS_PROXY and NO_PROXY, and the way out of the network.",
    ),
    "bucket": Words(
        "note",
        "the bucket {bucket} accepts objects, from {who}",
        "Name, region, bucket policy and encryption are right. The function's role is somebody else.",
        "See that the role has the permissions below.",
    ),
    "bucket-marker": Words(
        "note",
        "the empty object s3://{bucket}/{key} could not be deleted: {code}",
        "It has no lines; an S3 source that reads it finds nothing.",
        "Delete it when convenient. The function's role needs no s3:DeleteObject.",
    ),
    "bucket-refuses": Words(
        "error",
        "the bucket {bucket} does not accept objects, from {who}: {code}",
        "Lines that Sumo Logic does not accept would be lost with the environment.",
        "{fix}",
    ),
}
"""By name. The particulars are :mod:`sumo_internal.cli.checks`'s to fill in."""


def find(name: str, /, **particulars: object) -> Finding:
    """Make a finding of its words and its particulars."""
    words = WORDS[name]
    what, why, fix = (text.format(**particulars) for text in words[1:])
    return Finding(words.level, name, what, why, fix)
