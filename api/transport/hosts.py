"""Whose names a service without credentials answers by.

Without credentials whoever reaches the listener may do everything, and start-up lets only this
machine reach it. A browser on this machine carries out what any page on the web says, though: a
name that its owner points at 127.0.0.1 after the page was loaded (DNS rebinding) makes that page
and the service one origin to the browser. The name in Host tells, and cannot be chosen by the page.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from zhenxian.core.reasons import Reason

VERSIONS: Final = ("1.1", "1.0")  # of HTTP that are answered; the parser takes 0.9 and 2.0, too

# RFC 9110 section 7.2: uri-host [ ":" port ].
_HOST: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::([0-9]*))?", re.ASCII
)
_PORTS: Final = {b"http": 80, b"https": 443}
_LOCAL: Final = ("localhost", "ip6-localhost", "ip6-loopback")
_SHOWN: Final = 100  # characters of a foreign name that an answer repeats

Foreign = tuple[Reason, str]


def host_name(value: bytes) -> str | None:
    """The name or address of a Host field's value, without brackets and port; None for no value.

    An empty name is one: RFC 9112 section 3.2 permits it.
    """
    found = _HOST.fullmatch(value)
    if found is None:
        return None
    return found[1].decode("ascii").strip("[]").lower().removesuffix(".")


class Hosts:
    """The names of this machine, and what a browser adds to a request when a page asked for it."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """`more`: names or addresses besides those that only this machine has.

        One without a port lets in pages of every port of it, unless it is a name of this machine,
        where anything may listen on another port.
        """
        listed = [_authority(each.encode("ascii", "replace"), 0) for each in more]
        self._origins = frozenset(each for each in listed if each is not None and each[0])
        self._own = frozenset(name for name, _ in self._origins)

    def known(self, name: str) -> bool:
        """True for localhost and names below it (RFC 6761), loopback addresses, and our own."""
        return name in self._own or _local(name)

    def foreign(
        self,
        host: bytes | None,
        fields: Iterable[tuple[bytes, bytes]],
        target: bytes | None = None,
    ) -> Foreign | None:
        """Why a request is not answered; None for one that is.

        Args:
            host: what the client calls us; None where HTTP/1.0 has no Host, which no browser sends.
            fields: the request's fields, names in lower case.
            target: host and port of a request target in absolute form.
        """
        if host is not None and not self._answers(host):
            return Reason.HOST_FOREIGN, _shown(host)
        for field, value in fields:
            if field == b"origin" and not self._ours(value, host):
                return Reason.ORIGIN_FOREIGN, _shown(value)
            if field == b"sec-fetch-site" and value.strip().lower() == b"cross-site":
                return Reason.ORIGIN_FOREIGN, "Sec-Fetch-Site: cross-site"
        if target is not None and not self._answers(target):
            return Reason.HOST_FOREIGN, _shown(target)
        return None

    def _answers(self, called: bytes) -> bool:
        name = host_name(called)
        return name is not None and self.known(name)

    def _ours(self, origin: bytes, host: bytes | None) -> bool:
        """True for the origin that the request itself goes to, and for one that is listed.

        RFC 6454: scheme, host, port. Another port of this machine is another's page; "null" is
        nobody's. The scheme is the browser's side of a proxy that may end TLS.
        """
        scheme, separator, page = origin.strip().lower().partition(b"://")
        default = _PORTS.get(scheme) if separator else None
        if default is None:
            return False
        asking = _authority(page, default)
        if asking is None:
            return False
        if asking in self._origins or ((asking[0], 0) in self._origins and not _local(asking[0])):
            return True
        return host is not None and asking == _authority(host, default)


def _local(name: str) -> bool:
    """True for a name or address that only this machine has."""
    if name in _LOCAL or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _authority(value: bytes, default: int) -> tuple[str, int] | None:
    """Name and port of a Host field's value; None for no value."""
    name, found = host_name(value), _HOST.fullmatch(value)
    if name is None or found is None:
        return None
    return name, int(found[2][:9]) if found[2] else default


def target_host(url: bytes) -> bytes | None:
    """Host and port of a request target in absolute form (RFC 9112 section 3.2.2), else None.

    Raises ValueError for a target that names somebody's user, or is no URL.
    """
    if url.startswith(b"/") or url == b"*":
        return None
    parts = urlsplit(url)
    if parts.scheme.lower() not in (b"http", b"https") or not parts.netloc or b"@" in parts.netloc:
        raise ValueError("request target")
    return parts.netloc


def _shown(value: bytes) -> str:
    return value.decode("latin-1")[:_SHOWN]


def host_problem(values: Sequence[bytes], version: str) -> str | None:
    """What is wrong with a request's Host fields (RFC 9112 section 3.2); None where nothing is."""
    if len(values) > 1 or not (values or version < "1.1"):
        return "exactly one Host is expected"
    if values and host_name(values[0]) is None:
        return "Host is no name or address"
    return None
