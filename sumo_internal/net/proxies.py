"""Which proxy a request goes through: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. Pure.

The variables are read the way curl, Go and Python's own libraries agree on:

* ``https_proxy`` is for https, ``http_proxy`` for http; the lower-case name goes before the upper-case one.
* A proxy is ``http://user:password@host:port``; scheme, credentials and port may be missing. Proxies that are spoken
  to over TLS or SOCKS are refused: a request that quietly went past its proxy would be worse than none.
* ``NO_PROXY`` lists names, separated by commas. Each stands for itself and what is below it, with or without a dot (or
  ``*.``) in front; ``name:port`` for that port only; ``*`` for everything. Networks (``10.0.0.0/8``) are not looked
  at: what is spoken to here has names.

No text made here contains a variable's value, which may hold a password.
"""

from __future__ import annotations

import re
from binascii import b2a_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 80
"""Port of a proxy that is given without one, because its scheme is http; curl's 1080 is for SOCKS."""


class BadProxyError(ValueError):
    """A variable does not hold a proxy that can be used; the text says which. Nothing can be sent."""


class Proxy:
    """A proxy: where it is, and the headers that only the proxy gets."""

    __slots__ = ("host", "port", "headers")

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self.host = host
        self.port = port
        self.headers = headers


def find(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for a host; None where there is none.

    Args:
        scheme: ``https`` or ``http``: of the address, not of the proxy.
        host: Name or IP address, without brackets.
        port: Of the address, the scheme's own where it has none.
        environ: The process's environment.

    Raises:
        BadProxyError: The variable holds something else.
    """
    variable = f"{scheme}_proxy"
    value = _get(environ, variable)
    if not value or _is_excepted(host.lower(), port, _get(environ, "no_proxy")):
        return None
    try:
        return _parse(value)
    except ValueError:
        raise BadProxyError(f"{variable.upper()} is not the address of an http:// proxy") from None


def _get(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, environ.get(name.upper(), "")).strip()


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        name = entry.lstrip("*.")
        if not name or any(place == name or place.endswith(f".{name}") for place in (host, f"{host}:{port}")):
            return True
    return False


def _parse(value: str) -> Proxy:
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
    credentials, at, authority = rest.partition("/")[0].rpartition("@")
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):  # [::1]
        host, port = authority, str(DEFAULT_PORT)
    host = host.strip("[]")
    is_host = host.isascii() and host.isprintable() and " " not in host
    if scheme.lower() != "http" or not host or not is_host or not 0 <= int(port) <= 65_535:
        raise ValueError
    headers = {}
    if at:
        headers["Proxy-Authorization"] = "Basic " + b2a_base64(_unquote(credentials), newline=False).decode()
    return Proxy(host, int(port), headers)


def _unquote(text: str) -> bytes:
    """Undo the percent-encoding that a password with an ``@`` needs; ``urllib.parse`` costs up to 3 ms of import."""
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
