"""Sumo Logic's HTTP source: one POST, and what came of it.

Redirects are followed here, with the same method and body, to https on the same host or below ``sumologic.com`` only:
a library would turn the POST into a GET, or take our lines anywhere.

The endpoint's path is its credential. Nothing made here (attempts, errors) contains it.
"""

from __future__ import annotations

from sumo_internal.delivery import Attempt
from sumo_internal.web import Unsent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sumo_internal import http1
    from sumo_internal.web import Sender

REDIRECTS_MAX = 3

_HEADERS = {
    "User-Agent": "sumo-internal-extension",
    "Content-Encoding": "gzip",
    # What Sumo's own collector sends for logs: the source takes every type that is not a metric's for log data.
    "Content-Type": "application/x-www-form-urlencoded",
}


class HttpSource:
    """The source that SUMO_HTTP_ENDPOINT names."""

    def __init__(self, endpoint: str, sender: Sender) -> None:
        self._endpoint = endpoint
        self._sender = sender

    def post(self, body: bytes, envelope: Mapping[str, str], timeout_s: float) -> Attempt:
        """Send a gzipped batch.

        Args:
            body: Lines, gzipped.
            envelope: The headers it travels under (``X-Sumo-Host``, …).
            timeout_s: Seconds for connecting and for each wait for the peer.
        """
        headers = {**envelope, **_HEADERS}
        url = self._endpoint
        try:
            for _ in range(REDIRECTS_MAX + 1):
                answer = self._send(url, headers, body, timeout_s)
                if answer.status not in (301, 302, 303, 307, 308):
                    return _attempt(answer)
                following = _redirect(url, answer.headers.get("location", ""))
                if following is None:
                    return Attempt(answer.status, "redirect to an address that is not Sumo Logic's")
                url = following
        except Unsent as error:
            return Attempt(0, str(error))
        return Attempt(0, "too many redirects")

    def renew(self) -> bool:
        """Fetch the address anew after it was refused. False: it stands in the settings, and would be the same."""
        return False

    def _send(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> http1.Answer:
        try:
            return self._sender.send("POST", url, headers, body, timeout_s)
        except Unsent as error:
            if not error.is_stale:
                raise
            return self._sender.send("POST", url, headers, body, timeout_s)


def _attempt(answer: http1.Answer) -> Attempt:
    after = answer.headers.get("retry-after", "")
    text = answer.body[:200].decode("utf-8", "replace").strip()
    problem = "" if answer.status in (200, 204) and not text else f"HTTP {answer.status} {text}".strip()
    return Attempt(answer.status, problem, float(after) if after.isdigit() else None)


def _redirect(url: str, location: str) -> str | None:
    """Where a redirect leads, if that is https on the same host or Sumo Logic's."""
    scheme, _, rest = url.partition("://")
    if location.startswith("/"):
        location = f"{scheme}://{rest.partition('/')[0]}{location}"
    target_scheme, _, target = location.partition("://")
    host = target.partition("/")[0].rpartition("@")[2]
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    is_same = host == rest.partition("/")[0] and target_scheme == scheme
    is_sumo = target_scheme == "https" and (name == "sumologic.com" or name.endswith(".sumologic.com"))
    return location if is_same or is_sumo else None
