"""Chains by x5u: the local cache in front of the hosts that publish them (STI-CR).

A chain is kept as long as its host says (RFC 9111), within bounds of ours, and never past its own
end. While it is fresh, verifying costs one dictionary look-up. Shortly before it ceases to be
fresh, a chain in use becomes due: `refresh_due` fetches it anew beside the calls. While its host
is down, an old chain stays usable up to a stated limit; a host that answers that the chain is
gone, or that forbade stale use, ends that at once.

Any stranger's token names a URL, so nothing here lets an unsigned token push out what is in use:
failures are kept apart from chains, each host may have so many chains, and chains under which a
signature has verified (`keep`) go last. First fetches under way, and calls that wait for them, are
bounded by certs.places.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from zhenxian.certs.chain import Chain, parse_chain
from zhenxian.certs.fetch import Caching, Fetched, Fetcher, FetchError, NotModified, Purpose
from zhenxian.certs.kept import KeptChain
from zhenxian.certs.places import Place, PlaceLimits, Places
from zhenxian.certs.x5u import X5uPolicy, check_x5u, host_of
from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.core.waits import waits

STALE_SECONDS: Final = 86_400  # an outage of a day does not take a carrier's calls with it
FAILURE_SECONDS: Final = 30  # a failing host is asked twice a minute, not once a call
SUSPECT_SECONDS: Final = 60  # anybody can send a signature that fails: once a minute and address


class Failure(Struct, frozen=True):
    """Why there is no chain. Not tried again before `until`, an epoch second."""

    reason: Reason
    detail: str
    until: int


MAX_CHAINS: Final = 16_384  # a continent has some ten thousand signers


class RepositoryLimits(Struct, frozen=True, kw_only=True):
    """Bounds of the cache.

    Attributes:
        entries: chains kept.
        entries_per_host: chains kept of one host while no signature has verified under them.
        failures: failed URLs remembered.
        places: of first fetches.
        refreshes: fetches under way, above which a failed signature has no chain fetched anew.
        least_fresh: seconds a chain is kept even if its host says less, or no-store; without it
            a host could have itself asked, and calls made to wait, for every single token.
        most_fresh: seconds; also what is assumed when the host does not say (ATIS-1000074
            section 5.3.1 names 24 hours).
    """

    entries: int = MAX_CHAINS
    entries_per_host: int = 256
    failures: int = 4096
    places: PlaceLimits = PlaceLimits()
    refreshes: int = 64
    least_fresh: int = 60
    most_fresh: int = 86_400


class _Entry(Struct, eq=False, kw_only=True):
    """One chain. Times are epoch seconds; retry_at is 0 unless the last fetch failed.

    From suspect_at on a failing signature has the chain fetched anew. The clock said `since` when
    the others were last computed.
    """

    chain: Chain
    caching: Caching
    host: str
    fresh_until: int
    stale_until: int
    refresh_at: int
    retry_at: int
    order: OrderedDict[str, None]
    suspect_at: int = 0
    since: int = 0

    def set_back(self, now: int) -> None:
        """The clock was ahead when the chain came, or is behind now: it came now at the latest."""
        by = self.since - now
        self.fresh_until -= by
        self.stale_until -= by
        self.refresh_at -= by
        self.retry_at = self.suspect_at = 0
        self.since = now


class CertificateRepository:
    """The cache. Belongs to one event loop."""

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        policy: X5uPolicy,
        clock: Callable[[], int],
        limits: RepositoryLimits | None = None,
        stale_seconds: int = STALE_SECONDS,
        failure_seconds: int = FAILURE_SECONDS,
        timer: Callable[[], float] = time.monotonic,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start empty.

        Args:
            fetcher: gets one URL; applies the policy to redirects and addresses.
            policy: which URLs are fetched at all.
            clock: now, in epoch seconds.
            limits: the defaults of RepositoryLimits when absent.
            stale_seconds: how long a chain stays usable, after it ceased to be fresh, while its
                host cannot be reached.
            failure_seconds: how long a failed fetch is not tried again.
            timer: seconds, for how long a fetch takes.
            count: told the outcome of each fetch: fetched, unchanged, failed; refused for one that
                is not made; evicted for a chain that gives way to another.
        """
        self._fetcher = fetcher
        self._policy = policy
        self._clock = clock
        self._limits = limits or RepositoryLimits()
        self._stale_seconds = stale_seconds
        self._failure_seconds = failure_seconds
        self._entries: dict[str, _Entry] = {}
        self._proven: OrderedDict[str, None] = OrderedDict()
        self._unproven: OrderedDict[str, None] = OrderedDict()
        self._of_host: dict[str, OrderedDict[str, None]] = {}
        self._failures: OrderedDict[str, Failure] = OrderedDict()
        self._due: set[str] = set()
        self._flights: dict[str, asyncio.Task[Chain | Failure]] = {}
        self._places = Places(self._limits.places, timer)
        self._count = count

    def __len__(self) -> int:
        return len(self._entries)

    def cached(self, x5u: str, now: int) -> Chain | Failure | None:
        """Look a chain up without waiting.

        Returns:
            The chain (not validated: the caller does that), why there is none, or None when it
            must be fetched first. During an outage of its host that is an old chain, and its URL
            becomes due.
        """
        entry = self._entries.get(x5u)
        if entry is not None:
            if entry.since <= now < entry.refresh_at:
                entry.order.move_to_end(x5u)
                return entry.chain
            return self._aging(x5u, entry, now)
        failure = self._failures.get(x5u)
        if failure is None or not waits(failure.until, now, self._failure_seconds):
            return None
        return failure

    def _aging(self, x5u: str, entry: _Entry, now: int) -> Chain | None:
        """A chain that is due. Stale, it is given out only while a fetch has failed lately."""
        if now < entry.since:
            entry.set_back(now)
            if now < entry.refresh_at:
                entry.order.move_to_end(x5u)
                return entry.chain
        stale = now >= entry.fresh_until
        if stale and now >= min(entry.stale_until, entry.retry_at + self._failure_seconds):
            return None
        if not waits(entry.retry_at, now, self._failure_seconds):
            self._due.add(x5u)
        entry.order.move_to_end(x5u)
        return entry.chain

    async def get(self, x5u: str) -> Chain | Failure:
        """Give the chain, fetching it if need be. Concurrent callers share one fetch.

        Cancelling a caller leaves the fetch to the others, and its result to the cache.
        """
        now = self._clock()
        found = self.cached(x5u, now)
        if found is not None:
            return found
        host = host_of(x5u) or ""
        flight = self._flights.get(x5u)
        if flight is None or flight.done():
            refused = check_x5u(x5u, self._policy)
            if refused is not None:
                self._count("refused")
                return Failure(refused.reason, refused.detail, now)
            place = None
            if x5u not in self._entries:
                place = self._places.take(host)
                if place is None:
                    return self._busy(
                        f"too many certificates are being fetched; {shown(x5u)} is not"
                    )
            flight = self._start(x5u, host, place)
        waits = self._places.wait(x5u, host)
        if waits is None:
            return self._busy(
                f"too many calls wait for certificates; {shown(x5u)} is not waited for"
            )
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if not flight.cancelled() or (asking is not None and asking.cancelling()):
                raise
            return self._busy(f"{shown(host)} took long, and others wait to be fetched")
        finally:
            self._places.go(waits)

    def _busy(self, detail: str) -> Failure:
        self._count("refused")
        return Failure(Reason.CERT_UNREACHABLE, detail, self._clock())

    def keep(self, x5u: str) -> None:
        """Note that a signature verified under this chain, so that it is evicted last."""
        entry = self._entries.get(x5u)
        if entry is not None and entry.order is self._unproven:
            self._places.acquainted(entry.host)
            del self._unproven[x5u]
            self._leave_host(entry.host, x5u)
            entry.order = self._proven
            self._proven[x5u] = None
            if len(self._proven) > self._limits.entries * 7 // 8:
                # Newcomers need room to prove themselves in.
                oldest, _ = self._proven.popitem(last=False)
                self._entries[oldest].order = self._unproven
                self._unproven[oldest] = None
                self._of_host.setdefault(self._entries[oldest].host, OrderedDict())[oldest] = None

    def proven(self) -> list[Chain]:
        """The chains under which a signature has verified."""
        return [self._entries[x5u].chain for x5u in self._proven]

    def kept(self) -> list[KeptChain]:
        """What may outlive the process, the chain used last at the end."""
        entries = ((x5u, self._entries[x5u]) for x5u in self._proven)
        return [
            KeptChain(
                x5u=x5u,
                chain=entry.chain,
                etag=entry.caching.etag,
                stale=entry.caching.stale,
                fresh_until=entry.fresh_until,
                stale_until=entry.stale_until,
            )
            for x5u, entry in entries
            if entry.caching.store
        ]

    def restore(self, kept: Iterable[KeptChain]) -> int:
        """Take back what an earlier process kept, as far as it may still be used; how many."""
        now, restored = self._clock(), 0
        for one in kept:
            if (
                now >= min(one.stale_until, one.chain.not_after)
                or one.x5u in self._entries
                or check_x5u(one.x5u, self._policy) is not None
            ):
                continue
            caching = Caching(one.etag, stale=one.stale)
            self._insert(one.x5u, host_of(one.x5u) or "", one.chain, caching)
            entry = self._entries[one.x5u]  # a start makes no chain fresher than it was
            entry.fresh_until = min(one.fresh_until, entry.fresh_until)
            entry.stale_until = min(one.stale_until, entry.stale_until)
            entry.refresh_at = entry.fresh_until - max(0, entry.fresh_until - now) // 10
            self.keep(one.x5u)
            restored += 1
        return restored

    def suspect(self, x5u: str) -> None:
        """Note that a signature failed under a chain from the cache: its host may have a new one.

        The chain is fetched behind the answer, at most once a minute and address; until then it
        stays as it is.
        """
        entry = self._entries.get(x5u)
        now = self._clock()
        if (
            entry is None
            or waits(entry.suspect_at, now, SUSPECT_SECONDS)
            or x5u in self._flights
            or len(self._flights) >= self._limits.refreshes
        ):
            return
        entry.suspect_at = now + SUSPECT_SECONDS
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # refresh_due, from within the loop, starts it
            self._due.add(x5u)
        else:
            self._start(x5u, entry.host)

    def refresh_due(self) -> int:
        """Start fetching the chains that are due, without waiting; returns how many.

        Called about once a second from within the event loop. Without it, the first call after a
        chain ceased to be fresh waits for the fetch.
        """
        started = 0
        for x5u in self._due:
            entry = self._entries.get(x5u)
            if entry is not None and x5u not in self._flights:
                self._start(x5u, entry.host)
                started += 1
        self._due.clear()
        return started

    def knows(self, host: str) -> bool:
        """Whether a signature has verified under a certificate of this host."""
        return self._places.knows(host)

    async def close(self) -> None:
        """Give up the fetches under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _start(
        self, x5u: str, host: str, place: Place | None = None
    ) -> asyncio.Task[Chain | Failure]:
        flight = asyncio.get_running_loop().create_task(self._fetch(x5u, host))
        self._flights[x5u] = flight
        if place is not None:
            place.give_up = flight.cancel

        def landed(_: object) -> None:
            if self._flights.get(x5u) is flight:
                del self._flights[x5u]
            if place is not None:
                self._places.leave(place)

        flight.add_done_callback(landed)
        return flight

    async def _fetch(self, x5u: str, host: str) -> Chain | Failure:
        held = self._entries.get(x5u)
        etag = held.caching.etag if held is not None else None
        try:
            answer = await self._fetcher.fetch(x5u, purpose=Purpose.CHAIN, etag=etag)
            chain, caching = _understood(answer, held)
        except FetchError as error:
            return self._failed(x5u, error.reason, error.detail, passing=error.passing)
        except ParseError as error:
            return self._failed(x5u, Reason.CERT_MALFORMED, str(error), passing=True)
        self._count("unchanged" if isinstance(answer, NotModified) else "fetched")
        self._insert(x5u, host, chain, caching)
        return chain

    def _failed(self, x5u: str, reason: Reason, detail: str, *, passing: bool) -> Chain | Failure:
        now = self._clock()
        until = now + self._failure_seconds
        self._count("failed")
        entry = self._entries.get(x5u)
        if entry is not None:
            if passing and now < max(entry.fresh_until, entry.stale_until):
                entry.retry_at = until
                return entry.chain
            self._remove(x5u)
        failure = Failure(reason, detail, until)
        self._failures.pop(x5u, None)
        self._failures[x5u] = failure
        if len(self._failures) > self._limits.failures:
            self._failures.popitem(last=False)
        return failure

    def _insert(self, x5u: str, host: str, chain: Chain, caching: Caching) -> None:
        limits = self._limits
        now = self._clock()
        lifetime = limits.most_fresh if caching.max_age is None else caching.max_age
        lifetime = max(limits.least_fresh, min(lifetime, limits.most_fresh))
        fresh_until = now + lifetime
        if now < chain.not_after:
            fresh_until = min(fresh_until, chain.not_after)
        else:  # the verdict will say that it has expired; its host may soon have a new one
            fresh_until = now + limits.least_fresh
        stale_until = fresh_until
        if caching.stale:
            stale_until = min(fresh_until + self._stale_seconds, chain.not_after)
        refresh_at = fresh_until - (fresh_until - now) // 10
        self._failures.pop(x5u, None)
        held = self._entries.get(x5u)
        order = held.order if held is not None else self._unproven
        suspect_at = held.suspect_at if held is not None else 0
        self._entries[x5u] = _Entry(
            chain=chain,
            caching=caching,
            host=host,
            fresh_until=fresh_until,
            stale_until=stale_until,
            refresh_at=refresh_at,
            retry_at=0,
            order=order,
            suspect_at=suspect_at,
            since=now,
        )
        order[x5u] = None
        order.move_to_end(x5u)
        if held is not None:
            return
        siblings = self._of_host.setdefault(host, OrderedDict())
        siblings[x5u] = None
        if len(siblings) > limits.entries_per_host:
            self._evict(next(iter(siblings)))
        if len(self._entries) > limits.entries:
            self._evict(next(iter(self._unproven or self._proven)))

    def _evict(self, x5u: str) -> None:
        self._count("evicted")
        self._remove(x5u)

    def _remove(self, x5u: str) -> None:
        entry = self._entries.pop(x5u)
        del entry.order[x5u]
        self._due.discard(x5u)
        if entry.order is self._unproven:
            self._leave_host(entry.host, x5u)

    def _leave_host(self, host: str, x5u: str) -> None:
        siblings = self._of_host[host]
        del siblings[x5u]
        if not siblings:
            del self._of_host[host]


def _understood(answer: Fetched | NotModified, held: _Entry | None) -> tuple[Chain, Caching]:
    """The chain of an answer and how long it may be kept. Raises ParseError, FetchError."""
    if isinstance(answer, Fetched):
        return parse_chain(answer.body), answer.caching
    if held is None:
        raise FetchError(Reason.CERT_UNREACHABLE, "not modified, but nothing is held")
    # RFC 9111 section 4.3.4: what a 304 does not say is as it was.
    new, old = answer.caching, held.caching
    if new.max_age is None:
        return held.chain, old
    return held.chain, Caching(new.etag or old.etag, new.max_age, new.store, new.stale)
