"""Sumo Logic's HTTP source: one POST, and what came of it.

Redirects are followed here, with the same method and body, to https on the same host or below ``sumologic.com`` only:
a library would turn the POST into a GET, or take our lines anywhere.

The endpoint's path is its credential. Nothing made here (attempts, errors) contains it.
"""

from __future__ import annotations

import time

from sumo_internal.destinations.attempt import Attempt
from sumo_internal.destinations.endpoint import EndpointUnavailableError
from sumo_internal.net.client import NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sumo_internal.destinations.endpoint import Endpoint
    from sumo_internal.net import http1
    from sumo_internal.net.client import Sender

REDIRECTS_MAX = 3

_HEADERS = {
    "User-Agent": "sumo-internal-extension",
    "Content-Encoding": "gzip",
    # What Sumo's own collector sends for logs: the source takes every type that is not a metric's for log data.
    "Content-Type": "application/x-www-form-urlencoded",
}


class HttpSource:
    """The source that SUMO_HTTP_ENDPOINT names."""

    def __init__(self, vault: Endpoint, sender: Sender) -> None:
        self._endpoint = vault
        self._sender = sender
        self._is_sent_again = False
        """In this post: what had been sent whole, over a kept connection, was sent once more."""

    def post(self, body: bytes, envelope: Mapping[str, str], timeout_s: float) -> Attempt:
        """Send a gzipped batch.

        Args:
            body: Lines, gzipped.
            envelope: The headers it travels under (``X-Sumo-Host``, …).
            timeout_s: Seconds for all of it, each redirect anew.
        """
        headers = {**envelope, **_HEADERS}
        self._is_sent_again = False
        try:
            attempt = self._follow(self._endpoint.endpoint(time.time(), timeout_s), headers, body, timeout_s)
        except EndpointUnavailableError as error:
            attempt = Attempt(0, str(error))
        except NotSentError as error:
            attempt = Attempt(0, str(error), is_out=error.is_out)
        attempt.is_sent_again = self._is_sent_again
        return attempt

    def renew(self) -> bool:
        """Fetch the address anew after it was refused. False: it stands in the settings, and would be the same."""
        self._endpoint.forget()
        return not self._endpoint.is_in_settings

    def _follow(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Attempt:
        """Post to an address, and to where it leads."""
        for _ in range(REDIRECTS_MAX + 1):
            answer = self._send(url, headers, body, timeout_s)
            if answer.status not in (301, 302, 303, 307, 308):
                return _attempt(answer, url)
            following = _redirect(url, answer.headers.get("location", ""))
            if following is None:
                return Attempt(answer.status, "redirect to an address that is not Sumo Logic's")
            url = following
        return Attempt(0, "too many redirects")

    def _send(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        try:
            return self._sender.send("POST", url, headers, body, timeout_s)
        except NotSentError as error:
            if not error.is_stale:
                raise
            first = error
        try:
            answer = self._sender.send("POST", url, headers, body, timeout_s)
        except NotSentError as error:
            self._is_sent_again |= first.is_out and error.is_out
            raise NotSentError(str(error), is_out=first.is_out or error.is_out) from None
        self._is_sent_again |= first.is_out
        return answer


_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")
_FRAGMENT_LENGTH = 8


def _attempt(answer: http1.Answer, url: str) -> Attempt:
    after = answer.headers.get("retry-after", "")
    text = answer.body.decode("utf-8", "replace").strip()
    if text and _gives_away(text, url):
        text = "(its text repeats the address and is left out)"
    problem = "" if answer.status in (200, 204) and not text else f"HTTP {answer.status} {text[:200]}".strip()
    return Attempt(answer.status, problem, float(after) if after.isascii() and after.isdigit() else None)


def _gives_away(text: str, url: str) -> bool:
    """Is a piece of the address's last part, which is the credential, in a text?"""
    token = url.rpartition("/")[2]
    pieces = range(max(1, len(token) - _FRAGMENT_LENGTH + 1))
    return bool(token) and any(token[begin : begin + _FRAGMENT_LENGTH] in text for begin in pieces)


def _redirect(url: str, location: str) -> str | None:
    """Where a redirect leads, if that is https on the same host or Sumo Logic's."""
    scheme, _, rest = url.partition("://")
    if location.startswith("/") and not location.startswith("//"):
        location = f"{scheme}://{rest.partition('/')[0]}{location}"
    target_scheme, _, target = location.partition("://")
    host = target.partition("/")[0]
    if not host or not _HOST_CHARACTERS.issuperset(host) or not location.isascii() or not location.isprintable():
        return None  # a user name, a query in place of a path, a backslash: what is the host is a matter of opinion
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    is_same = host == rest.partition("/")[0] and target_scheme == scheme
    is_sumo = target_scheme == "https" and (name == "sumologic.com" or name.endswith(".sumologic.com"))
    return location if is_same or is_sumo else None
