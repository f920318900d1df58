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
from sumo_internal.spool import envelope as envelopes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sumo_internal.config import Config
    from sumo_internal.destinations.s3 import FailoverBucket
    from sumo_internal.net.aws import Aws
    from sumo_internal.net.client import Sender
    from sumo_internal.shipping.accounts import Counts
    from sumo_internal.spool.counters import Counters
    from sumo_internal.spool.outage import Outage
    from sumo_internal.spool.reader import SpoolReader


def make_drainer(
    config: Config,
    environ: Mapping[str, str],
    reader: SpoolReader,
    counts: Counters,
    make_sender: Callable[[], Sender],
    record_account: Callable[[Counts], None],
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
        record_account: See :class:`Drainer`.
        account_id: The AWS account's number, once it is known; empty until then.
        outage: What is known of one, where the process asks for that itself.
    """
    own_secrets.learn(environ)
    destinations = Destinations(config, environ, make_sender, account_id)
    drainer = Drainer(config, reader, counts, destinations, record_account)
    if config.cloudwatch != "all":
        from sumo_internal.spool import refused
        from sumo_internal.spool.outage import Outage

        drainer.outage = outage or Outage(config.spool_dir, config.cloudwatch_fallback_s)
        drainer.keep_refused = partial(refused.keep, config.spool_dir)
    return drainer


class Destinations:
    """The ways to the destinations that the settings name, over one sender."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        make_sender: Callable[[], Sender],
        account_id: Callable[[], str],
    ) -> None:
        """Make nothing yet; the arguments are those of :func:`make_drainer`."""
        self._config = config
        self._environ = environ
        self._make_sender = make_sender
        self._account_id = account_id
        self._sender: Sender | None = None
        self.has_failover = config.has_failover
        """There is a failover bucket."""

    def connect(self) -> HttpSource:
        """Make the source that SUMO_HTTP_ENDPOINT names."""
        config = self._config
        cache_s = config.secret_cache_s
        if config.kms_key_id and config.kms_cache_s is not None:
            cache_s = config.kms_cache_s
        function = self._environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        endpoint = Endpoint(config.endpoint, config.kms_key_id, function, cache_s, self._connect_aws, config.token)
        return HttpSource(endpoint, self._one_sender(), encoding.choose(config.compression))

    def connect_failover(self) -> FailoverBucket:
        """Make the failover bucket."""
        from sumo_internal.destinations.s3 import FailoverBucket

        return FailoverBucket(
            self._connect_aws(),
            self._config.bucket_name,
            self._config.bucket_region,
            self._environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            self._environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            self._config.bucket_owner,
        )

    def headers(self, envelope: dict[str, str]) -> dict[str, str]:
        """A batch's request headers: its envelope with the placeholders of SUMO_FIELDS filled, and SUMO_UNIFIED_TAGS.

        A field whose value is not known yet is left out.
        """
        if "{" in envelope.get("X-Sumo-Fields", ""):
            envelope, missing = envelopes.filled(envelope, envelopes.values(self._environ, self._account_id()))
            for place in missing:
                diagnostics.say_once("warn", f"SUMO_FIELDS: {place} is not known; its field is left out until it is")
        return envelopes.tagged(envelope, envelopes.tags(self._environ)) if self._config.has_tags else envelope

    def disconnect(self) -> None:
        """Close what connections there are; a later request makes them anew."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _connect_aws(self) -> Aws:
        from sumo_internal.net.aws import Aws

        return Aws(self._environ, self._one_sender())

    def _one_sender(self) -> Sender:
        self._sender = self._sender or self._make_sender()
        return self._sender
