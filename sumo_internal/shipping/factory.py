"""Where batches go: the HTTP source, and the failover bucket behind it, as the settings say. For both drainers.

Separate from the drainer, which knows neither settings nor networks, and from the two places that make one: the
sidecar and the extension differ in how they send, and in nothing else.
"""

from __future__ import annotations

from functools import partial

from sumo_internal import diagnostics, own_secrets
from sumo_internal.destinations import encoding
from sumo_internal.destinations.endpoint import Endpoint
from sumo_internal.destinations.http_source import HttpSource
from sumo_internal.shipping.drainer import Drainer
from sumo_internal.spool import envelope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sumo_internal.config import Config
    from sumo_internal.destinations.s3 import FailoverBucket
    from sumo_internal.net.aws import Aws
    from sumo_internal.net.client import Sender
    from sumo_internal.spool.counters import Counters
    from sumo_internal.spool.outage import Outage
    from sumo_internal.spool.reader import SpoolReader


def make_drainer(
    config: Config,
    environ: Mapping[str, str],
    reader: SpoolReader,
    counts: Counters,
    make_sender: Callable[[], Sender],
    account: Callable[[dict[str, tuple[int, int]]], None],
    account_id: Callable[[], str] = str,
    outage: Outage | None = None,
) -> Drainer:
    """Make a drainer; its connections, and what they import, are made when there is something to send.

    Args:
        config: The settings.
        environ: For credentials, AWS endpoints and the function's name.
        reader: What there is to take.
        counts: Where the drainer counts.
        make_sender: The way to send; one for both destinations.
        account: See :class:`Drainer`.
        account_id: The AWS account's number, once it is known; empty until then.
        outage: What is known of one, where the process asks for that itself.
    """
    own_secrets.learn(environ)
    senders: list[Sender] = []

    def sender() -> Sender:
        if not senders:
            senders.append(make_sender())
        return senders[0]

    def disconnect() -> None:
        while senders:
            senders.pop().close()

    def connect_account() -> Aws:
        from sumo_internal.net.aws import Aws

        return Aws(environ, sender())

    def connect_source() -> HttpSource:
        cache_s = config.secret_cache_s
        if config.kms_key_id and config.kms_cache_s is not None:
            cache_s = config.kms_cache_s
        function = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        endpoint = Endpoint(config.endpoint, config.kms_key_id, function, cache_s, connect_account, config.token)
        return HttpSource(endpoint, sender(), encoding.choose(config.compression))

    def connect_bucket() -> FailoverBucket:
        from sumo_internal.destinations.s3 import FailoverBucket

        return FailoverBucket(
            connect_account(),
            config.bucket_name,
            config.bucket_region,
            environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            config.bucket_owner,
        )

    def fill(headers: dict[str, str]) -> dict[str, str]:
        if "{" in headers.get("X-Sumo-Fields", ""):
            headers, missing = envelope.filled(headers, envelope.values(environ, account_id()))
            for place in missing:
                diagnostics.say_once("warn", f"SUMO_FIELDS: {place} is not known; its field is left out until it is")
        return envelope.tagged(headers, envelope.tags(environ)) if config.has_tags else headers

    bucket = connect_bucket if config.has_failover else None
    drainer = Drainer(config, reader, counts, connect_source, bucket, account, fill, disconnect)
    if config.cloudwatch != "all":
        from sumo_internal.spool import refused
        from sumo_internal.spool.outage import Outage

        drainer.outage = outage or Outage(config.spool_dir, config.cloudwatch_fallback_s)
        drainer.keep_refused = partial(refused.keep, config.spool_dir)
    return drainer
