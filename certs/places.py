"""Places for first fetches: whoever names an address must not keep others from being asked.

Anybody's token names a URL, and a host that answers slowly holds a place for seconds. So there are
places for hosts under whose certificates a signature has verified, and others for strangers; each
host, and each domain, has few, and when none is free the host that has most gives one up. A fetch
that has lasted a second is slow: it moves to the few places that slow hosts share, its host is
remembered as slow for some minutes, and when those places are full the one that has taken longest
is given up. Calls that wait are bounded likewise.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, TypeAlias

from msgspec import Struct

SLOW_AFTER: Final = 1.0  # seconds; a host that is well answers in a fifth of that
SLOW_FOR: Final = 300.0  # seconds for which a host is known to be slow
MAX_SLOW_HOSTS: Final = 4096
MAX_ACQUAINTANCES: Final = 4096
_STRANGERS: Final = "strangers"
_COUNTRY: Final = 2  # letters of a country's domain, below which registries have second levels
_SECOND_LEVEL: Final = 3  # letters of those at most: co.uk, com.cn, gov.in

Waits: TypeAlias = tuple[str, ...]  # what a call that waits counts for


class PlaceLimits(Struct, frozen=True, kw_only=True):
    """Bounds of first fetches and of the calls that wait for them.

    Attributes:
        fetches: for strangers, and as many again for hosts that are known.
        of_host, of_site: of these. A site is the domain that somebody registered.
        slow: for all slow hosts together, one each.
        waiting_for_url, waiting_for_host: calls; the latter for strangers only.
        waiting_for_strangers: calls, for all of them together.
    """

    fetches: int = 64
    of_host: int = 8
    of_site: int = 24
    slow: int = 8
    waiting_for_url: int = 128
    waiting_for_host: int = 128
    waiting_for_strangers: int = 1024


class Place(Struct, eq=False, kw_only=True):
    """A place that is taken.

    Attributes:
        began: by the timer.
        give_up: ends the fetch before its time; then `given_up`.
    """

    host: str
    site: str
    known: bool
    began: float
    slow: bool
    given_up: bool = False
    give_up: Callable[[], object] = lambda: None


class Places:
    """The places of one cache."""

    def __init__(self, limits: PlaceLimits, timer: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._timer = timer
        self._taken: list[Place] = []
        self._slow: OrderedDict[str, float] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._waiting: Counter[str] = Counter()  # by URL; of strangers by host, too, and in all

    def __len__(self) -> int:
        return len(self._taken)

    def acquainted(self, host: str) -> None:
        """A signature has verified under a certificate of this host."""
        self._known[host] = None
        self._known.move_to_end(host)
        if len(self._known) > MAX_ACQUAINTANCES:
            self._known.popitem(last=False)

    def knows(self, host: str) -> bool:
        """Whether a signature has verified under a certificate of this host."""
        return host in self._known

    def take(self, host: str) -> Place | None:
        """A place for a first fetch; None when there is none for this host.

        Who is given a place leaves it with `leave`.
        """
        limits, now = self._limits, self._timer()
        self._sort_out(now)
        known, site = host in self._known, site_of(host)
        slow = self._is_slow(host, now)
        mine = sum(place.host == host for place in self._taken)
        alike = [place for place in self._taken if place.slow is slow and place.known is known]
        if slow:
            if mine or sum(place.slow for place in self._taken) >= limits.slow:
                return None
        elif (
            mine >= limits.of_host
            or (not known and sum(place.site == site for place in alike) >= limits.of_site)
            or (len(alike) >= limits.fetches and not self._made_room(alike, mine + 1))
        ):
            return None
        place = Place(host=host, site=site, known=known, began=now, slow=slow)
        self._taken.append(place)
        return place

    def leave(self, place: Place) -> None:
        """The fetch is over, however it ended."""
        now = self._timer()
        if place in self._taken:
            self._taken.remove(place)
        if now - place.began >= SLOW_AFTER:
            self._note_slow(place.host, now)
        elif not place.given_up:
            self._slow.pop(place.host, None)

    def wait(self, url: str, host: str) -> Waits | None:
        """Let one more call wait for a URL; None when too many do. `go` ends it."""
        limits, waiting = self._limits, self._waiting
        if waiting[url] >= limits.waiting_for_url:
            return None
        if host in self._known:
            waits: Waits = (url,)
        elif (
            waiting[of_host := f"host {host}"] >= limits.waiting_for_host  # no URL has a space
            or waiting[_STRANGERS] >= limits.waiting_for_strangers
        ):
            return None
        else:
            waits = (url, of_host, _STRANGERS)
        waiting.update(waits)
        return waits

    def go(self, waits: Waits) -> None:
        """A call waits no longer."""
        for key in waits:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def _made_room(self, alike: list[Place], least: int) -> bool:
        """Have the host with most places give up its oldest, if it has more than the least."""
        (greedy, held), *_ = Counter(place.host for place in alike).most_common(1)
        if held <= least:
            return False
        self._give_up(next(place for place in alike if place.host == greedy))
        return True

    def _give_up(self, place: Place) -> None:
        self._taken.remove(place)
        place.given_up = True
        place.give_up()

    def _sort_out(self, now: float) -> None:
        """Move what has become slow to the places of the slow, and give up what has none."""
        for place in self._taken:
            if not place.slow and now - place.began >= SLOW_AFTER:
                place.slow = True
                self._note_slow(place.host, now)
        slow = [place for place in self._taken if place.slow]
        for place in slow[: max(0, len(slow) - self._limits.slow)]:
            self._give_up(place)

    def _note_slow(self, host: str, now: float) -> None:
        self._slow[host] = now + SLOW_FOR
        self._slow.move_to_end(host)
        if len(self._slow) > MAX_SLOW_HOSTS:
            self._slow.popitem(last=False)

    def _is_slow(self, host: str, now: float) -> bool:
        return now < self._slow.get(host, now)


def site_of(host: str) -> str:
    """The part of a host's name that somebody registered, as far as the name itself tells it."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        labels = host.split(".")
    second = len(labels) > 2 and len(labels[-1]) == _COUNTRY and len(labels[-2]) <= _SECOND_LEVEL
    return ".".join(labels[-3:] if second else labels[-2:])
