"""The HTTP source that the settings name, for a process that is not the function's.

The address may be a secret. The function asks for it with its role's credentials, which are in its environment; a
command asks with the credentials that boto3 finds (of a profile, a session of IAM Identity Center, a role).
"""

from __future__ import annotations

import os

from sumo_internal.cli.session import session
from sumo_internal.config import Config
from sumo_internal.destinations import encoding
from sumo_internal.destinations.endpoint import Endpoint
from sumo_internal.destinations.http_source import HttpSource
from sumo_internal.net.aws import Aws

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sumo_internal.net.client import Sender


def connect(config: Config, sender: Sender, function_name: str, region: str = "") -> HttpSource:
    """Make the source; nothing is asked for yet.

    Args:
        config: The settings.
        sender: For the requests to it, and for its address; the caller's to close.
        function_name: Of the function that an address was encrypted for.
        region: The function's, for KMS; by default boto3's.
    """
    endpoint = Endpoint(
        config.endpoint,
        config.kms_key_id,
        function_name,
        config.secret_cache_s,
        lambda: Aws(_environ(region), sender),
        config.token,
    )
    return HttpSource(endpoint, sender, encoding.choose(config.compression))


def _environ(region: str) -> dict[str, str]:
    """This process's environment, with the credentials that boto3 finds in it or elsewhere."""
    here = session()
    environ = {**os.environ, "AWS_REGION": region or here.region_name or ""}
    if found := here.get_credentials():
        keys = found.get_frozen_credentials()
        environ |= {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.token or "",
        }
    return environ
