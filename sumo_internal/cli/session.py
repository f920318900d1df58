"""The AWS session of a command: boto3's default one, or that of ``--profile``; and why AWS could not be asked.

Separate because each command may be asked for a profile, and every client has to be of it, and because boto3's own
words for what is missing name no variable and no option.

Rules:

* The region is that of AWS_REGION, as for AWS's own command line and its other SDKs, or what boto3 finds.
* A host that cannot be reached is tried a few times, each for a few seconds (:data:`CONNECT_ATTEMPTS_MAX`,
  :data:`CONNECT_TIMEOUT_S`): boto3's own ten times a minute is a command that says nothing. A request that AWS has
  answered, throttled ones above all, is tried again as the client's settings say; and that it throttles is said.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import exceptions
from botocore.config import Config

CONNECT_TIMEOUT_S = 5
"""A host that is there takes a connection within a round trip, three seconds later if a packet was lost."""
CONNECT_ATTEMPTS_MAX = 3

THROTTLED = 429
THROTTLED_ATTEMPTS_SAID = 3
"""Two retries are over within three seconds, and are nothing to speak of."""

_NOT_REACHED = (
    exceptions.EndpointConnectionError,
    exceptions.ConnectTimeoutError,
    exceptions.ProxyConnectionError,
    exceptions.SSLError,
)


def use(profile: str) -> None:
    """Ask AWS as a profile of ~/.aws from now on, whatever credentials the environment has.

    Raises:
        BotoCoreError: There is no such profile.
    """
    _make(profile_name=profile)


def session() -> Any:
    """The session that ``boto3.client`` uses: one for the whole command.

    A new one would read the profiles and the descriptions of AWS's services again for each client.
    """
    if boto3.DEFAULT_SESSION is None:
        _make()
    return boto3.DEFAULT_SESSION


def _make(**given: str) -> None:
    core = botocore.session.get_session()
    core.set_default_client_config(Config(connect_timeout=CONNECT_TIMEOUT_S))
    core.register("needs-retry", _give_up)
    core.register("needs-retry", _Patience())
    boto3.setup_default_session(botocore_session=core, region_name=os.environ.get("AWS_REGION") or None, **given)


def _give_up(*, attempts: int, caught_exception: Exception | None, **_: Any) -> None:
    """Raise, in place of a further attempt, where the host cannot be reached."""
    if isinstance(caught_exception, _NOT_REACHED) and attempts >= CONNECT_ATTEMPTS_MAX:
        raise caught_exception


class _Patience:
    """Says once that AWS throttles: requests are tried for a minute then, in which nothing else would be said."""

    def __init__(self) -> None:
        self._is_said = False

    def __call__(self, *, attempts: int, response: Any, **_: Any) -> None:
        is_throttled = response is not None and response[0].status_code == THROTTLED
        if is_throttled and attempts >= THROTTLED_ATTEMPTS_SAID and not self._is_said:
            self._is_said = True
            print("sumo-internal: AWS throttles this account's requests (HTTP 429); trying again", file=sys.stderr)


def explained(error: Exception) -> str:
    """What boto3 raises, in a sentence that names what to set; AWS's own answers as they are."""
    for kinds, words in _WORDS:
        if isinstance(error, kinds):
            return words(error)
    return str(error)


def _no_profile(error: Any) -> str:
    there = ", ".join(sorted(boto3.session.Session().available_profiles)) or "none"
    return f"there is no profile {error.kwargs['profile']} in ~/.aws (there: {there})"


def _no_proxy(error: Any) -> str:
    return f"the proxy {urlsplit(str(error.kwargs['proxy_url'])).hostname} cannot be reached (HTTPS_PROXY)"


def _unreachable(error: Any) -> str:
    host = urlsplit(str(error.kwargs.get("endpoint_url", ""))).hostname or "AWS"
    return f"{host} cannot be reached: is there a way out of this network (HTTPS_PROXY)?{_meant(host)}"


def _meant(host: str) -> str:
    """A region that the name of a host might have meant, as a question; empty where it has one that AWS has."""
    labels = host.split(".")
    region = labels[1] if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and len(labels) > 3 else ""
    here = session()
    known = {name for each in here.get_available_partitions() for name in here.get_available_regions("lambda", each)}
    near = [] if region in known else difflib.get_close_matches(region, known, 1)
    return f" Or is {near[0]} meant, in place of {region}?" if near else ""


_WORDS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (exceptions.NoRegionError, lambda _: "no region is set: name one with --region or AWS_REGION, or in ~/.aws/config"),
    (
        exceptions.NoCredentialsError,
        lambda _: (
            "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of "
            "~/.aws with --profile or AWS_PROFILE"
        ),
    ),
    (exceptions.ProfileNotFound, _no_profile),
    (exceptions.ProxyConnectionError, _no_proxy),
    (exceptions.SSLError, lambda error: f"{error} (AWS_CA_BUNDLE names the authorities of a proxy that ends TLS)"),
    (_NOT_REACHED, _unreachable),
)
