"""Sumo Logic's HTTP source: one POST, and what came of it.

Redirects are followed here, with the same method and body, to https on the same host or below ``sumologic.com`` only:
a library would turn the POST into a GET, or take our lines anywhere. However many redirects there are, a post has one
deadline.

The address's path is its credential, or else a token is, in a header. Nothing made here (attempts, errors) contains
either. The token leaves over https only, except to this machine's own addresses, and goes to no host but those that the
lines go to.
"""

from __future__ import annotations

import time

from sumo_internal import diagnostics
from sumo_internal.destinations.attempt import Attempt
from sumo_internal.destinations.encoding import GZIP
from sumo_internal.destinations.endpoint import EndpointUnavailableError
from sumo_internal.net.client import NotSentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sumo_internal.destinations.encoding import Encoding
    from sumo_internal.destinations.endpoint import Endpoint
    from sumo_internal.net import http1
    from sumo_internal.net.client import Sender

REDIRECTS_MAX = 3

PROBLEM_MAX_CHARACTERS = 200
"""Length of an answer's text that is shown."""

_HEADERS = {
    "User-Agent": "sumo-internal-extension",
    # What Sumo's own collector sends for logs: the source takes every type that is not a metric's for log data.
    "Content-Type": "application/x-www-form-urlencoded",
}


class HttpSource:
    """The source that SUMO_HTTP_ENDPOINT names. Several threads may post."""

    def __init__(self, endpoint: Endpoint, sender: Sender, encoding: Encoding = GZIP) -> None:
        """Post to an endpoint, compressed like this as long as it is taken."""
        self._endpoint = endpoint
        self._sender = sender
        self._encoding = encoding

    def post(self, pack: Callable[[Encoding], bytes], envelope: Mapping[str, str], timeout_s: float) -> Attempt:
        """Send a batch.

        A refused batch that is not gzip is sent once more, as gzip; if that is taken, all later ones are gzip.

        Args:
            pack: Gives the lines, compressed.
            envelope: The headers they travel under (``X-Sumo-Host``, …).
            timeout_s: Seconds for all of it: fetching the address, redirects, a second try where a kept connection
                turns out to be dead, another encoding.
        """
        until_s = time.monotonic() + timeout_s
        encoding = self._encoding
        attempt = self._post(pack(encoding), encoding, envelope, until_s)
        if encoding is not GZIP and attempt.status in (400, 415):
            refused, attempt = attempt, self._post(pack(GZIP), GZIP, envelope, until_s)
            if 200 <= attempt.status < 300:
                self._encoding = GZIP
                diagnostics.say_once(
                    "warn",
                    f"Sumo Logic does not accept {encoding.name or 'what is not compressed'} ({refused.problem}); "
                    "lines are sent as gzip",
                )
        return attempt

    def _post(self, body: bytes, encoding: Encoding, envelope: Mapping[str, str], until_s: float) -> Attempt:
        headers = {**envelope, **_HEADERS}
        if encoding.name:
            headers["Content-Encoding"] = encoding.name
        try:
            address, token = self._endpoint.address_and_token(time.time(), until_s - time.monotonic())
        except EndpointUnavailableError as error:
            return Attempt(0, str(error))
        if token:
            if not _is_private(address):
                return Attempt(0, "SUMO_HTTP_TOKEN is not sent to an address without https; nothing is")
            headers["x-sumo-token"] = token
        post = _Post(self._sender, headers, body, token, until_s)
        try:
            attempt = post.follow(address)
        except NotSentError as error:
            attempt = Attempt(400 if error.is_unfit else 0, str(error), is_out=error.is_out)
        attempt.is_sent_again = post.is_sent_again
        return attempt

    def renew(self) -> bool:
        """Fetch address and token anew after they were refused. False: they stand in the settings."""
        self._endpoint.forget()
        return not self._endpoint.is_in_settings


class _Post:
    """One post on its way: to the address, and to where that leads."""

    def __init__(self, sender: Sender, headers: Mapping[str, str], body: bytes, token: str, until_s: float) -> None:
        self._sender = sender
        self._headers = headers
        self._body = body
        self._secrets = {token}
        self._until_s = until_s
        self.is_sent_again = False
        """What had been sent whole, over a kept connection, was sent once more."""

    def follow(self, url: str) -> Attempt:
        for _ in range(REDIRECTS_MAX + 1):
            self._secrets.update(_segments(url))
            answer = self._send(url)
            if answer.status not in (301, 302, 303, 307, 308):
                return self._attempt(answer)
            location = answer.headers.get("location", "")
            self._secrets.update(_segments(location))
            following = _redirect(url, location)
            if following is None:
                return Attempt(answer.status, "redirect to an address that is not Sumo Logic's")
            url = following
        return Attempt(0, "too many redirects")

    def _send(self, url: str) -> http1.Answer:
        try:
            return self._try(url)
        except NotSentError as error:
            if not error.is_stale:
                raise
            first = error
        try:
            answer = self._try(url)
        except NotSentError as error:
            self.is_sent_again |= first.is_out and error.is_out
            raise NotSentError(str(error), is_out=first.is_out or error.is_out) from None
        self.is_sent_again |= first.is_out
        return answer

    def _try(self, url: str) -> http1.Answer:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise NotSentError("TimeoutError")
        return self._sender.send("POST", url, self._headers, self._body, left_s)

    def _attempt(self, answer: http1.Answer) -> Attempt:
        after = answer.headers.get("retry-after", "")
        text = answer.body[: 4 * PROBLEM_MAX_CHARACTERS].decode("utf-8", "replace")
        text = diagnostics.legible(text, PROBLEM_MAX_CHARACTERS)
        if text and _gives_away(text, self._secrets):
            text = "(its text repeats the address and is left out)"
        problem = "" if answer.status in (200, 204) and not text else f"HTTP {answer.status} {text}".strip()
        is_number = after.isascii() and after.isdigit() and len(after) <= _RETRY_AFTER_MAX_DIGITS
        return Attempt(answer.status, problem, float(after) if is_number else None)


_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")
_RETRY_AFTER_MAX_DIGITS = 9
_FRAGMENT_LENGTH = 8


def _segments(url: str) -> set[str]:
    """The parts of an address's path and query, each of which may be a credential."""
    path = url.partition("://")[2].partition("/")[2] or url
    for mark in "?&=#;":
        path = path.replace(mark, "/")
    return set(path.split("/"))


def _gives_away(text: str, secrets: set[str]) -> bool:
    """Is a piece of a credential in a text, in whatever case?"""
    if len(text) < _FRAGMENT_LENGTH:
        return False  # as the texts of most answers
    text = text.lower()
    for secret in secrets:
        pieces = range(len(secret) - _FRAGMENT_LENGTH + 1)
        if any(secret[begin : begin + _FRAGMENT_LENGTH].lower() in text for begin in pieces):
            return True
    return False


def _is_private(url: str) -> bool:
    """May a token go there: over TLS, or without leaving this machine?"""
    scheme, _, rest = url.lower().partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
    parts = name.split(".")
    is_loopback = name in ("localhost", "[::1]") or (
        len(parts) == 4 and parts[0] == "127" and all(part.isdigit() for part in parts)
    )
    return scheme == "https" or is_loopback


def _redirect(url: str, location: str) -> str | None:
    """Where a redirect leads, if that is https on the same host or Sumo Logic's."""
    scheme, _, rest = url.partition("://")
    if location.startswith("/") and not location.startswith("//"):
        location = f"{scheme}://{rest.partition('/')[0]}{location}"
    target_scheme, _, target = location.partition("://")
    host = target.partition("/")[0]
    if not host or not _HOST_CHARACTERS.issuperset(host) or not location.isascii() or not location.isprintable():
        return None  # a user name, a query in place of a path, a backslash: readers disagree on what the host is
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    is_same = host == rest.partition("/")[0] and target_scheme == scheme
    is_sumo = target_scheme == "https" and (name == "sumologic.com" or name.endswith(".sumologic.com"))
    return location if is_same or is_sumo else None
