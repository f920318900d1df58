"""The failover bucket: where batches go that Sumo Logic does not take, for an S3 source of Sumo's to read.

An object is a batch as it would have been posted, gzipped lines, under the key that Sumo's Go extension uses (users'
S3 sources scan its prefix)::

    sumologic-extension/<region>/<function>/<version>/<YYYY>/<MM>/<DD>/<HH>/<minute>/<uuid>.gz

in UTC; the minute has no leading zero, and the version is ``$LATEST`` as it stands. The object has no Content-Encoding:
the S3 source decides by the name and the first bytes, and a reader that undoes an encoding would leave the source none
to undo. The headers under which the batch would have been posted are the object's metadata, for a replay.

Each object has a name of its own, because S3 sources ingest an object again when it changes.
"""

from __future__ import annotations

import os
from time import gmtime, strftime

from sumo_internal import diagnostics
from sumo_internal.destinations.attempt import Attempt
from sumo_internal.net import aws, sigv4
from sumo_internal.net.client import NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sumo_internal.net import http1
    from sumo_internal.net.aws import Aws

PREFIX = "sumologic-extension"

METADATA_MAX_BYTES = 2_048
"""S3's bound on the names and values of an object's metadata together; SUMO_FIELDS alone can have 13 KB."""

TEXT_MAX_CHARACTERS = 100
"""Length of what is shown of S3's words: an error's code, a region."""

METADATA = {
    "X-Sumo-Host": "sumo-host",
    "X-Sumo-Name": "sumo-name",
    "X-Sumo-Category": "sumo-category",
    "X-Sumo-Fields": "sumo-fields",
}
"""By header of the envelope: the name of the metadata that keeps it."""
_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class FailoverBucket:
    """The bucket that SUMO_S3_BUCKET_NAME names."""

    def __init__(self, account: Aws, name: str, region: str, function_name: str, version: str, owner: str = "") -> None:
        """Put objects into a bucket.

        Args:
            account: The access to AWS that puts them; AWS_REGION of its environment is the function's.
            name: The bucket's.
            region: The bucket's.
            function_name: AWS_LAMBDA_FUNCTION_NAME.
            version: AWS_LAMBDA_FUNCTION_VERSION.
            owner: The account that S3 is to expect as the bucket's owner; empty where anybody may be.
        """
        self._aws = account
        self._name = name
        self._region = region
        self._owner = {"x-amz-expected-bucket-owner": owner} if owner else {}
        self._url = url(name, region, account.environ)
        self._folder = f"{PREFIX}/{account.region}/{function_name}/{version}"

    def put(self, body: bytes, envelope: Mapping[str, str], now_s: float, timeout_s: float) -> Attempt:
        """Put a gzipped batch.

        Args:
            body: Lines, gzipped.
            envelope: The headers it would have been posted under (``X-Sumo-Host``, …).
            now_s: POSIX time.
            timeout_s: Seconds for all requests that it takes.
        """
        # An hour's minutes are not padded, unlike everything before them.
        key = f"{self._folder}/{strftime('%Y/%m/%d/%H', gmtime(now_s))}/{gmtime(now_s).tm_min}/{_uuid()}.gz"
        try:
            answer = self._aws.send(
                "PUT",
                f"{self._url}/{sigv4.quote(key)}",
                {**_metadata(envelope), **self._owner},
                body,
                service="s3",
                region=self._region,
                now_s=now_s,
                timeout_s=timeout_s,
            )
        except aws.NoCredentialsError as error:
            return Attempt(0, f"S3: {error}")
        except NotSentError as error:
            return Attempt(0, f"S3: {error}", is_out=error.is_out)
        return Attempt(answer.status, self._problem(answer))

    def _problem(self, answer: http1.Answer) -> str:
        """What is wrong, by the error's code alone: S3's own text can repeat the session's token."""
        if answer.status == 200:
            return ""
        code = _element(answer.body, "Code")
        problem = f"S3 responds with {answer.status} {code}".rstrip()
        region = answer.headers.get("x-amz-bucket-region") or _element(answer.body, "Region")
        region = diagnostics.legible(region, TEXT_MAX_CHARACTERS)
        if region and region != self._region:
            return f"{problem}: the bucket {self._name} is in {region}, and SUMO_S3_BUCKET_REGION says {self._region}"
        if code == "AccessDenied":
            return (
                f"{problem}: the function's role needs s3:PutObject on {self._name}/{PREFIX}/*, and kms:GenerateDataKey"
                " if the bucket encrypts with a key of its own"
            )
        return problem


def url(name: str, region: str, environ: Mapping[str, str]) -> str:
    """A bucket's address, without a slash at the end.

    The name is part of the host where certificates and an endpoint of the user's allow it.
    """
    endpoint = aws.endpoint("s3", region, environ)
    if _LABEL.issuperset(name) and not aws.configured_endpoint("s3", environ):
        return endpoint.replace("://", f"://{name}.", 1)
    return f"{endpoint}/{sigv4.quote(name)}"


def _metadata(envelope: Mapping[str, str]) -> dict[str, str]:
    """The envelope as the request headers of metadata, as far as there is room."""
    metadata = {}
    left_bytes = METADATA_MAX_BYTES
    for header, kept_as in METADATA.items():
        name, value = f"x-amz-meta-{kept_as}", envelope.get(header, "")
        size_bytes = len(name) + len(value)
        if value and size_bytes <= left_bytes:
            left_bytes -= size_bytes
            metadata[name] = value
    return metadata


def _element(body: bytes, name: str) -> str:
    """The text of an element in an error's XML."""
    text = body.decode("utf-8", "replace").partition(f"<{name}>")[2].partition(f"</{name}>")[0]
    return diagnostics.legible(text, TEXT_MAX_CHARACTERS)


def _uuid() -> str:
    """A random UUID (version 4); importing ``uuid`` costs up to 6 ms."""
    number = int.from_bytes(os.urandom(16), "big") & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
