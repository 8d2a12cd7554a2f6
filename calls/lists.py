"""Revocation lists while calls are answered: fetched for chains that lack one, and kept in use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from zhenxian.certs.chain import Chain, named, uncovered
from zhenxian.certs.crl import Named
from zhenxian.certs.crlstore import CrlStore
from zhenxian.core.waits import waits
from zhenxian.verifier.trust import Trust

_REMEMBERED: Final = 4_096  # chains that were found to lack nothing that can be asked for
_REMEMBER_SECONDS: Final = 10


class LearntLists:
    """What certificates name, for chains that lead to a trusted root. For one event loop."""

    def __init__(
        self,
        crls: CrlStore,
        trust: Callable[[], Trust],
        clock: Callable[[], float],
        arrived: Callable[[], Awaitable[None]],
    ) -> None:
        """Args: crls fetches; trust is the present one; arrived puts new lists in force."""
        self._crls = crls
        self._trust = trust
        self._clock = clock
        self._arrived = arrived
        self._idle: OrderedDict[str, int] = OrderedDict()

    def lacking(self, chain: Chain, now: int) -> bool:
        """True when an address that the chain's path names is to be asked before it is judged."""
        if waits(self._idle.get(chain.digest, 0), now, _REMEMBER_SECONDS):
            return False
        if self._crls.lacks(self._named(chain, now)):
            return True
        self._rest(chain, now)
        return False

    async def fetch(self, chain: Chain) -> None:
        """Have the lists that the chain names in force, as far as they can be had."""
        now = int(self._clock())
        if await self._crls.fetch_for(self._named(chain, now)):
            await self._arrived()
        self._rest(chain, now)

    def used(self, chains: Iterable[Chain], now: int) -> None:
        """Note that what these chains name is in use."""
        roots = self._trust().roots
        self._crls.used(
            (one for chain in chains for one in named(chain, now=now, trust=roots)), now
        )

    def missing(self) -> list[str]:
        """The configured lists without which what they cover is not known to be good."""
        view, now = self._trust().revocation, int(self._clock())
        return [
            f"verifying: no list of {url} (trust.crl_urls) is held that is valid now"
            for url in view.without_fresh(self._crls.urls, now)
        ]

    def _named(self, chain: Chain, now: int) -> tuple[Named, ...]:
        trust = self._trust()
        return uncovered(chain, now=now, trust=trust.roots, revocation=trust.revocation)

    def _rest(self, chain: Chain, now: int) -> None:
        self._idle[chain.digest] = now + _REMEMBER_SECONDS
        if len(self._idle) > _REMEMBERED:
            self._idle.popitem(last=False)
