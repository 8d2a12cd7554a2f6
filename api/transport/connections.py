"""How many connections are open, whose they are, and how long each may make others wait.

Who shows credentials, and who is listed as a proxy, counts against the bound of all only: a
carrier's calls come from one or two addresses. Everybody else is a stranger, bounded for each
address and together, so that no stranger takes the places, the memory or the descriptors of calls.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from msgspec import Struct

LOOK_EVERY: Final = 1.0  # seconds between two looks at what connections wait for

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SITE: Final = 64  # bits of an IPv6 address that a customer is given as one


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one process.

    Attributes:
        total: connections of all. strangers: of those without credentials, and of one address.
        proxies: networks whose connections are no strangers'.
        anonymous: nobody has credentials, so nobody is a stranger.
    """

    total: int = 8192
    strangers: int = 1024
    strangers_per_address: int = 256
    proxies: tuple[Network, ...] = ()
    anonymous: bool = False


class Connection(Protocol):
    """What Connections asks of an open connection."""

    def look(self, now: float) -> None:
        """See whether its peer lets us wait too long; `now` is the event loop's time."""
        ...

    def give_way(self) -> bool:
        """Close when nothing is under way; False when something is."""
        ...


class Connections:
    """The open connections of one process, on all its listeners."""

    def __init__(self, limits: Limits, refused: Callable[[str], object] = lambda _: None) -> None:
        """`refused` is told which bound kept a connection out: all, strangers or address."""
        self._limits = limits
        self._refused = refused
        self._open: set[Connection] = set()
        self._strangers: dict[Connection, str] = {}
        self._of_address: Counter[str] = Counter()
        self._looking: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def limits(self) -> Limits:
        """The bounds."""
        return self._limits

    def beside(self) -> Connections:
        """A book with the same bounds, for what comes before a connection."""
        return Connections(self._limits, self._refused)

    @property
    def strangers(self) -> int:
        """Open connections that have shown no credentials."""
        return len(self._strangers)

    def enter(self, connection: Connection, address: str, *, known: bool = False) -> bool:
        """Take a new connection; False when it would be one too many.

        At the bound of its address the oldest stranger there that is idle makes place: behind a
        translator of addresses nobody who only holds connections keeps others out, and a pool
        connects again where it has to.

        Args:
            address: the peer's; empty when the transport tells none.
            known: it has shown credentials already.
        """
        limits = self._limits
        if len(self._open) >= limits.total:
            self._refused("all")
            return False
        if not (known or limits.anonymous):
            site, listed = self.site(address)
            if not listed:
                if not self._takes(site):
                    return False
                self._strangers[connection] = site
                self._of_address[site] += 1
        self._open.add(connection)
        if self._looking is None:
            self._arm()
        return True

    def admit(self, connection: Connection) -> None:
        """It has shown credentials: no stranger any more."""
        site = self._strangers.pop(connection, None)
        if site is not None:
            self._of_address[site] -= 1
            if not self._of_address[site]:
                del self._of_address[site]

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self.admit(connection)
        self._open.discard(connection)
        if not self._open and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _made_place(self, site: str) -> bool:
        for connection, of in self._strangers.items():  # the oldest first
            if of == site and connection.give_way():
                self.leave(connection)
                return True
        return False

    def takes(self, address: str) -> bool:
        """Whether the bounds of strangers let one more in, as `enter` asks; place is made."""
        site, listed = self.site(address)
        return self._limits.anonymous or listed or self._takes(site)

    def _takes(self, site: str) -> bool:
        if len(self._strangers) >= self._limits.strangers:
            self._refused("strangers")
            return False
        full = self._of_address[site] >= self._limits.strangers_per_address
        if full and not self._made_place(site):
            self._refused("address")
            return False
        return True

    def site(self, address: str) -> tuple[str, bool]:
        """What an address is counted as, and whether it is a listed proxy's."""
        try:
            parsed: _Address = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return "", False
        if isinstance(parsed, ipaddress.IPv6Address):
            if parsed.ipv4_mapped is not None:
                parsed = parsed.ipv4_mapped
            else:
                listed = any(parsed in network for network in self._limits.proxies)
                return str(ipaddress.ip_network((parsed, _SITE), strict=False)), listed
        return str(parsed), any(parsed in network for network in self._limits.proxies)

    def _arm(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._arm()
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.look(now)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks, e.g. 192.0.2.7 or 2001:db8::/48. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
