"""By which access a call came in, and whose: a From parameter, a header field, address or host."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from zhenxian.core.header_fields import plain
from zhenxian.sip.message import SipRequest

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ACCESS: Final = 128  # characters of an access's name


class Trunk(Struct, frozen=True, kw_only=True):
    """By which access calls come in that are from an address, or for a host, or both.

    Attributes:
        host: of the Request-URI, in lower case.
        customer: whose they are of those who share the access; None where that is not told by it.
    """

    access: str
    source: Network | None = None
    host: str | None = None
    customer: str | None = None


class AccessRules(Struct, frozen=True, kw_only=True):
    """What tells the access and the customer, the first that does: From parameter, header, trunk.

    Attributes:
        parameter: of From, whose value names the access, such as otg; None for none.
        header: a header field whose value names it, such as X-Trunk; None for none.
        customer_parameter, customer_header: the same for the customer of a shared access.
    """

    parameter: str | None = None
    header: str | None = None
    trunks: tuple[Trunk, ...] = ()
    customer_parameter: str | None = None
    customer_header: str | None = None

    def customer(
        self, request: SipRequest, host: str = "", access: str | None = None
    ) -> str | None:
        """The customer whose an INVITE from `host` by `access` is; None where nothing tells.

        Several values together name nobody, for the caller set one of them, and no more does one
        that is longer than any name. A trunk tells the customer of its own access alone.
        """
        told: set[str] = set()
        if self.customer_parameter is not None:
            told = _from_parameter(request, self.customer_parameter)
        if not told and self.customer_header is not None:
            told = set(request.all(self.customer_header.lower()))
        if told - {""}:
            # No name has an end of line, or one character more than MAX_ACCESS.
            return "\n".join(map(plain, sorted(told)))[: MAX_ACCESS + 1]
        if access is None or all(trunk.customer is None for trunk in self.trunks):
            return None
        trunk = self._trunk(request, host)
        return trunk.customer if trunk is not None and trunk.access == access else None

    def access(self, request: SipRequest, host: str) -> str | None:
        """The access that an INVITE from `host` came in by."""
        told: set[str] = set()
        if self.parameter is not None:
            told = _from_parameter(request, self.parameter)
        if not told and self.header is not None:
            told = set(request.all(self.header.lower())) - {""}
        if len(told) > 1:
            return None  # the caller set one of them, and nothing tells which
        for value in told:
            return plain(value)[:MAX_ACCESS]
        trunk = self._trunk(request, host)
        return trunk.access if trunk is not None else None

    def _trunk(self, request: SipRequest, host: str) -> Trunk | None:
        """The first trunk that an INVITE from `host` came by."""
        if not self.trunks:
            return None
        target = _host(request.uri)
        for trunk in self.trunks:
            if trunk.host is not None and trunk.host != target:
                continue
            if trunk.source is None or within(host, (trunk.source,)):
                return trunk
        return None


@lru_cache(maxsize=4096)
def within(host: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address lies in one of the networks; one mapped into IPv6 as the IPv4 it is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks as they are set."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _host(uri: str) -> str:
    """The host of a SIP URI, in lower case."""
    rest = uri.partition(":")[2].partition("?")[0]
    rest = rest.rpartition("@")[2].partition(";")[0]
    if rest.startswith("["):
        return rest.partition("]")[0].removeprefix("[").lower()
    return rest.partition(":")[0].lower()


def _from_parameter(request: SipRequest, name: str) -> set[str]:
    """The values of a parameter of From, of the field or its URI, but for empty ones."""
    sender = request.from_
    parts = sender.uri.rpartition("@")[2].partition("?")[0].split(";")[1:]
    pairs = (part.partition("=") for part in parts)
    told = {unquote(value) for known, _, value in pairs if known.lower() == name}
    return (told | {sender.parameter(name) or ""}) - {""}
