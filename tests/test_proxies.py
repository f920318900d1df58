"""Which proxy is used: as the variables say, and as Python's own library reads them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote, unquote
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sumo_internal.net.proxies import BadProxyError, find

HOST = "collectors.sumologic.com"
PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "scheme", "expected"),
    [
        ({}, "https", None),
        ({"HTTPS_PROXY": PROXY}, "https", ("proxy.example", 3128)),
        ({"https_proxy": PROXY}, "https", ("proxy.example", 3128)),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, "https", ("proxy.example", 3128)),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https", None),
        ({"HTTPS_PROXY": PROXY}, "http", None),
        ({"HTTP_PROXY": PROXY}, "http", ("proxy.example", 3128)),
        ({"HTTP_PROXY": PROXY}, "https", None),
        ({"HTTPS_PROXY": f" {PROXY}/ "}, "https", ("proxy.example", 3128)),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https", ("proxy.example", 3128)),
        ({"HTTPS_PROXY": "HTTP://proxy.example"}, "https", ("proxy.example", 80)),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "https", ("::1", 3128)),
        ({"HTTPS_PROXY": "[::1]"}, "https", ("::1", 80)),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "sumologic.com"}, "https", None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "sumologic.com"}, "https", None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "sumologic.com"}, "https", ("proxy.example", 3128)),
    ],
)
def test_the_variables(environ: Mapping[str, str], scheme: str, expected: tuple[str, int] | None) -> None:
    """The scheme's own, the lower-case one first, and a set but empty one is set."""
    proxy = find(scheme, HOST, 443, environ)
    assert (None if proxy is None else (proxy.host, proxy.port)) == expected
    assert proxy is None or proxy.headers == {}


@pytest.mark.parametrize(
    ("no_proxy", "is_excepted"),
    [
        *[("sumologic.com", True), (".sumologic.com", True), ("*.sumologic.com", True), ("SumoLogic.COM", True)],
        *[(HOST, True), (f"{HOST}:443", True), (f"{HOST}:8443", False), ("sumologic.com:443", True)],
        *[("*", True), ("a, * ,b", True), (" a , sumologic.com ", True), ("a,b", False), ("", False), (",,", False)],
        *[("logic.com", False), ("collectors", False), ("com", True), ("10.0.0.0/8", False)],
    ],
)
def test_exceptions(no_proxy: str, is_excepted: bool) -> None:
    """A name stands for itself and what is below it, and not for what merely ends like it."""
    assert (find("https", HOST, 443, {"https_proxy": PROXY, "no_proxy": no_proxy}) is None) == is_excepted


NAMES = st.lists(st.sampled_from(["a", "b", "ab", "10", "1"]), min_size=1, max_size=4).map(".".join)
ENTRIES = st.tuples(st.sampled_from(["", "."]), NAMES, st.sampled_from(["", ":443", ":80"]), st.sampled_from(["", " "]))


@given(NAMES, st.lists(ENTRIES.map("".join) | st.just(""), max_size=4).map(",".join) | st.just("*"))
def test_exceptions_are_the_librarys(host: str, no_proxy: str) -> None:
    """Python's own, which does not know the port that an address has by its scheme, is told it."""
    theirs = bool(proxy_bypass_environment(f"{host}:443", {"no": no_proxy}))
    assert (find("https", host, 443, {"https_proxy": PROXY, "no_proxy": no_proxy}) is None) == theirs


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=20)


@given(TEXT, TEXT)
def test_credentials(user: str, password: str) -> None:
    """Percent-encoded in the variable, because a password may have an ``@``; for the proxy as they are."""
    proxy = find("https", HOST, 443, {"https_proxy": f"http://{quote(user, safe='')}:{quote(password, safe='')}@h:1"})
    assert proxy is not None
    scheme, _, encoded = proxy.headers["Proxy-Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(encoded).decode() == f"{user}:{password}"
    assert (proxy.host, proxy.port) == ("h", 1)


@given(st.text("ab:@%4é ", max_size=12))
def test_credentials_as_they_are_typed(text: str) -> None:
    """Nobody encodes what works without: a lone ``%`` or a second ``@`` is read as the library reads it."""
    proxy = find("https", HOST, 443, {"https_proxy": f"http://{text}@h:1"})
    assert proxy is not None
    encoded = proxy.headers["Proxy-Authorization"].partition(" ")[2]
    assert base64.b64decode(encoded).decode("utf-8", "replace") == unquote(text)


@pytest.mark.parametrize(
    "value",
    [
        *["https://proxy.example", "socks5://proxy.example", "ftp://proxy.example"],
        *["http://", "http://:3128", "http://user:secret@", "http://proxy example", "http://prox\u00ff", "secret:x"],
        *["http://user:secret@proxy:99999", "http://user:secret@proxy:-1", "http://user:secret@proxy:3 128"],
    ],
)
def test_what_is_no_proxy(value: str) -> None:
    """Told with the variable's name alone. Going on without the proxy would take lines where they must not go."""
    with pytest.raises(BadProxyError) as error:
        find("https", HOST, 443, {"HTTPS_PROXY": value})
    assert str(error.value) == "HTTPS_PROXY is not the address of an http:// proxy"
    assert error.value.__suppress_context__
