"""Where certificates and revocation lists may be fetched from: pure checks on the URL's text.

What a URL means must not depend on who reads it, so the accepted syntax is narrower than RFC 3986:
one spelling for each host and port, ASCII only, no dot segments. That the host's addresses are
public can be told only after name resolution; certs.fetch asks `is_public` about each of them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from zhenxian.core.errors import ConfigError, shown
from zhenxian.core.reasons import Reason

MAX_URL_LENGTH: Final = 1024  # characters; the longest x5u of the field is below 200
_X5U_PORTS: Final = frozenset({None, "443", "8443"})  # ATIS-1000074 section 5.3.1
_CRL_PORTS: Final = frozenset({None, "80", "443", "8080", "8443"})

# RFC 3986 section 2: anything else (backslash, control characters, white space, non-ASCII, which
# some readers strip and others map) is refused before a parser sees it.
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+\Z")
_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?\Z"
)
_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.\-]+))(?::(?P<port>[0-9]*))?\Z"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\Z")
_NUMERIC = re.compile(r"[0-9]+\Z|0x[0-9a-f]*\Z")

# Special-purpose address registries of IANA (RFC 6890 and successors). ipaddress.is_global is not
# relied on: its tables differ between patch releases of Python, and it calls multicast global.
_V4_SPECIAL: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_V6_UNICAST: Final = IPv6Network("2000::/3")
_V6_SPECIAL: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo and ORCHID among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: reaches whatever IPv4 address is embedded
        "3fff::/20",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


class X5uPolicy(Struct, frozen=True):
    """What x5u may be.

    Attributes:
        allow_http_loopback: development only. Also http, and any port, on "localhost" or a
            loopback address written as such; never on a name that resolves to one.
        repositories: hosts ("cert.example.com") or URL prefixes ("https://cert.example.com/sti/");
            empty means any public host.
        max_length: characters.

    Raises:
        ConfigError: an entry of repositories is neither.
    """

    allow_http_loopback: bool = False
    repositories: tuple[str, ...] = ()
    max_length: int = MAX_URL_LENGTH

    def __post_init__(self) -> None:
        for entry in self.repositories:
            if _repository(entry) is None:
                raise ConfigError(
                    f"repository {shown(entry)} is neither a host name or address nor a URL prefix"
                    " such as https://cert.example.com/sti/"
                )


class UrlRefused(Struct, frozen=True):
    """Why a URL is not fetched."""

    reason: Reason
    detail: str


class _Parts(Struct, frozen=True, kw_only=True):
    """A URL that has one reading. The host is in lower case, addresses in their shortest form."""

    scheme: str
    host: str
    address: IPv4Address | IPv6Address | None
    port: str | None
    path: str


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """True for global unicast: nothing private, local, shared, tunnelled, multicast or reserved.

    An address of the well-known NAT64 prefix counts as the IPv4 address in it (RFC 6052).
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        return address in _V6_UNICAST and not any(address in net for net in _V6_SPECIAL)
    return not any(address in network for network in _V4_SPECIAL)


def names_loopback(host: str) -> bool:
    """True when the host is written as this machine: "localhost" or a loopback address."""
    if host == "localhost":
        return True
    try:
        address = IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        return False
    return address.is_loopback


def check_x5u(url: str, policy: X5uPolicy) -> UrlRefused | None:
    """Tell whether a certificate may be fetched from there (ATIS-1000074 section 5.3.1).

    https only, port absent, 443 or 8443, no user information, query or fragment, a host with a
    domain or a public address, and the policy's list. Not checked: what the name resolves to.

    Returns:
        None, or INFO_INVALID for what is no URL, X5U_POLICY for one that may not be fetched.
    """
    if len(url) > policy.max_length:
        return UrlRefused(
            Reason.X5U_POLICY, f"x5u has {len(url)} characters; {policy.max_length} are accepted"
        )
    return _check_x5u(url, policy)


@lru_cache(maxsize=16_384)
def _check_x5u(url: str, policy: X5uPolicy) -> UrlRefused | None:
    return _check(url, policy, crl=False)


def check_crl_url(url: str, policy: X5uPolicy) -> UrlRefused | None:
    """Tell whether a revocation list may be fetched from there (RFC 5280 section 4.2.1.13).

    As check_x5u, but plain http, port 80 or 8080, and a query are accepted, because the list is
    signed and its address stands in a certificate. The policy's list of repositories does not
    apply: revocation lists live elsewhere.
    """
    if len(url) > policy.max_length:
        return UrlRefused(
            Reason.X5U_POLICY, f"URL of {len(url)} characters; {policy.max_length} are accepted"
        )
    return _check(url, policy, crl=True)


def host_of(url: str) -> str | None:
    """The host of a URL in its one spelling; None when the URL has no single reading."""
    parts = _read(url, query=True)
    return None if isinstance(parts, UrlRefused) else parts.host


def _check(url: str, policy: X5uPolicy, *, crl: bool) -> UrlRefused | None:
    parts = _read(url, query=crl)
    if isinstance(parts, UrlRefused):
        return parts
    if policy.allow_http_loopback and names_loopback(parts.host):
        if parts.scheme not in ("http", "https"):
            return _policy(f"{parts.scheme} is neither http nor https")
    else:
        if parts.scheme != "https" and not (crl and parts.scheme == "http"):
            return _policy(f"{parts.scheme} is not {'http or https' if crl else 'https'}")
        if parts.port not in (_CRL_PORTS if crl else _X5U_PORTS):
            return _policy(
                f"port {shown(parts.port)} is not {'80, 8080, ' if crl else ''}443 or 8443"
            )
        if parts.address is not None and not is_public(parts.address):
            return _policy(f"{parts.address} is not a public address")
        if parts.address is None and "." not in parts.host:
            return _policy(f"{shown(parts.host)} is not a host name with a domain")
    if not crl and policy.repositories and not _listed(parts, policy.repositories):
        return _policy(f"{shown(parts.host)} is not among the configured repositories")
    return None


def _policy(detail: str) -> UrlRefused:
    return UrlRefused(Reason.X5U_POLICY, detail)


def _invalid(url: str) -> UrlRefused:
    return UrlRefused(Reason.INFO_INVALID, f"{shown(url)} is not an absolute URL")


def _read(url: str, *, query: bool) -> _Parts | UrlRefused:
    if _CHARACTERS.match(url) is None:
        return _invalid(url)
    shape = _SHAPE.match(url)
    if shape is None:
        return _invalid(url)
    if "@" in shape["authority"]:
        return _policy("a URL with user information")
    if shape["fragment"] is not None:
        return _policy("a URL with a fragment")
    if shape["query"] is not None and not query:
        return _policy("a URL with a query")
    authority = _AUTHORITY.match(shape["authority"])
    if authority is None:
        return _invalid(url)
    host, address = _host(authority["v6"], authority["name"])
    if host is None:
        return _policy(f"{shown(shape['authority'])} is not a host name or address in plain form")
    path = shape["path"] or "/"
    # "/sti/../x" and "/sti/%2e%2e/x" leave a listed prefix on servers that resolve them.
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", unquote(path))):
        return _policy("a URL with dot segments")
    return _Parts(
        scheme=shape["scheme"].lower(),
        host=host,
        address=address,
        port=authority["port"],
        path=path,
    )


def _host(v6: str | None, name: str | None) -> tuple[str | None, IPv4Address | IPv6Address | None]:
    try:
        if v6 is not None:
            address6 = IPv6Address(v6)
            return str(address6), address6
        host = (name or "").lower()
        labels = host.split(".")
        # A last label that is a number makes resolvers read the whole as an IPv4 address, also in
        # octal, hexadecimal and short forms ("0x7f.1"). Only four plain decimal octets are taken.
        if _NUMERIC.match(labels[-1]):
            address4 = IPv4Address(host)
            return str(address4), address4
    except ValueError:
        return None, None
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        return None, None
    return host, None


@lru_cache(maxsize=256)
def _repository(entry: str) -> _Parts | None:
    """A list entry as parts; scheme "" for a bare host."""
    if "://" in entry:
        parts = _read(entry, query=False)
        return None if isinstance(parts, UrlRefused) else parts
    authority = _AUTHORITY.match(entry)
    if authority is None or authority["port"] is not None:
        return None
    host, address = _host(authority["v6"], authority["name"])
    return (
        None if host is None else _Parts(scheme="", host=host, address=address, port=None, path="/")
    )


def _listed(parts: _Parts, repositories: tuple[str, ...]) -> bool:
    for entry in repositories:
        listed = _repository(entry)
        if listed is None or listed.host != parts.host:
            continue
        if not listed.scheme:
            return True
        prefix = listed.path
        if (
            listed.scheme == parts.scheme
            and (listed.port or "443") == (parts.port or "443")
            and (
                parts.path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
                or parts.path == prefix
            )
        ):
            return True
    return False
