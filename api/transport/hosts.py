"""Whose names a service without credentials answers by.

Without credentials whoever reaches the listener may do everything, and start-up lets only this
machine reach it. A browser on this machine carries out what any page on the web says, though: a
name that its owner points at 127.0.0.1 after the page was loaded (DNS rebinding) makes that page
and the service one origin to the browser. The name in Host tells, and cannot be chosen by the page.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from zhenxian.core.reasons import Reason

# RFC 9110 section 7.2: uri-host [ ":" port ].
_HOST: Final = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII
)
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
        """`more`: names or addresses besides those that only this machine has."""
        self._own = frozenset(
            name for each in more if (name := host_name(each.encode("ascii", "replace")))
        )

    def known(self, name: str) -> bool:
        """True for localhost and names below it (RFC 6761), loopback addresses, and our own."""
        if name in _LOCAL or name.endswith(".localhost") or name in self._own:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)

    def foreign(self, host: bytes | None, fields: Iterable[tuple[bytes, bytes]]) -> Foreign | None:
        """Why a request is not answered; None for one that is.

        Args:
            host: what the client calls us; None where HTTP/1.0 has no Host, which no browser sends.
            fields: the request's fields, names in lower case.
        """
        if host is not None:
            name = host_name(host)
            if name is None or not self.known(name):
                return Reason.HOST_FOREIGN, _shown(host)
        for field, value in fields:
            if field == b"origin" and not self._ours(value):
                return Reason.ORIGIN_FOREIGN, _shown(value)
            if field == b"sec-fetch-site" and value.strip().lower() == b"cross-site":
                return Reason.ORIGIN_FOREIGN, "Sec-Fetch-Site: cross-site"
        return None

    def _ours(self, origin: bytes) -> bool:
        """RFC 6454: scheme, host, port; "null" is nobody's."""
        scheme, separator, host = origin.strip().partition(b"://")
        name = host_name(host) if separator and scheme.lower() in (b"http", b"https") else None
        return name is not None and self.known(name)


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
