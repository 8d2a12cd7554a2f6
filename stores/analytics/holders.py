"""Who holds the numbers of callers that were found: by the registry, away from calls.

A subject that is found is marked by what it holds. What is registered from then on is compared
with the marks, commit by commit, so that who comes back with the same numbers is found before its
first call. Of a range, and of what one subject holds, 65,536 numbers are looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from zhenxian.analytics.detector import Detector
from zhenxian.analytics.model import Key, KeyKind
from zhenxian.analytics.profile import Profile
from zhenxian.analytics.thresholds import DAY
from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.model import Access, Holding, Kind, Record, Subject, SubjectKind
from zhenxian.registry.store import Records

MOST: Final = 65_536  # numbers
_MOST_HOLDINGS: Final = 1_000
_MOST_ASKED: Final = 16_384
_PAGE: Final = 200  # holdings read at a time
_SLICE: Final = 2_000  # numbers compared in one go, a few milliseconds
_READ: Final = 200  # numbers whose holder is read in one go, likewise
_OWN: Final = 0.1  # share of a range that is marked, from which on it is the same numbers again


class Registered(Protocol):
    """What a registry tells of holdings; a stores.sqlite.view.RegistryView."""

    @property
    def records(self) -> Records:
        """The records, for short questions."""
        ...

    def moved(self, since: int) -> list[str] | None:
        """Keys of holdings that commits changed since they were last asked for.

        Args:
            since: at the first time, from then on (seconds since the epoch).

        Returns:
            None when it is too much to list.
        """
        ...


def numbers_of(span: TNRange) -> Iterator[TN]:
    """The numbers of a range, the first 65,536 of them."""
    first, last = span.first, span.last
    if first == last:
        yield first
        return
    wide = len(first)
    start = int(first)
    for value in range(start, min(int(last), start + MOST - 1) + 1):
        yield TN(str(value).zfill(wide))


def held_by(records: Records, subject: str) -> Iterator[tuple[TN, str]]:
    """The numbers that a subject holds, each with the subject; with "" where it gave them on.

    Raises:
        StoreUnavailableError: the registry cannot be read.
    """
    after: str | None = ""
    count = 0
    while after is not None:
        page = records.page(Kind.HOLDING, after=after, limit=_PAGE, subject=subject)
        for _, record in page.rows:
            if isinstance(record, Holding):
                for number in numbers_of(record.numbers):
                    own = record.numbers.size == 1 or _closest(records, number) == record
                    yield number, subject if own else ""
                    count += 1
                    if count >= MOST:
                        return
        after = page.following


def profile_of(records: Records, subject: str) -> Profile:
    """What is registered of a subject; of many holdings the first 1,000.

    Raises:
        StoreUnavailableError: the registry cannot be read.
    """
    found = records.get(Kind.SUBJECT, subject)
    page = records.page(Kind.HOLDING, limit=_MOST_HOLDINGS, subject=subject)
    held = [one for _, one in page.rows if isinstance(one, Holding)]
    return Profile(
        person=found is not None and _is_person(found[1]),
        numbers=sum(one.numbers.size for one in held),
        spans=len(held),
        verified=max((one.verified_on for one in held), default=0),
        resold=any(one.reseller for one in held),
    )


def _is_person(record: Record) -> bool:
    return isinstance(record, Subject) and record.kind is SubjectKind.PERSON


class HeldNumbers:
    """Tells a Detector who holds marked numbers. For one event loop."""

    def __init__(self, conduct: Detector, registry: Registered) -> None:
        self._conduct = conduct
        self._registry = registry
        self._asked: dict[Key, Profile] = {}
        self._asked_since = 0
        self._all: str | None = None  # where a look at all holdings goes on
        # Still to be looked at: what could not be read is read the next time.
        self._wanted: dict[str, None] = {}
        self._moved: dict[str, None] = {}

    async def look(self, now: int) -> None:
        """Mark what found subjects hold, and compare what was registered.

        Raises:
            StoreUnavailableError: the registry cannot be read; it is asked again.
        """
        conduct = self._conduct
        for _ in self._profiles(now):
            await asyncio.sleep(0)  # calls go first
        self._wanted.update(dict.fromkeys(conduct.take_wanted()))
        while self._wanted:
            subject = next(iter(self._wanted))
            held = held_by(self._registry.records, subject)
            conduct.mark_held(subject, ())  # also of who holds nothing it is known what it holds
            while some := list(islice(held, _READ)):
                own = [one for one in some if one[1]]
                conduct.mark_held(subject, [number for number, _ in own])
                await self._compared(own, now)
                await asyncio.sleep(0)  # calls go first
            del self._wanted[subject]
        if not conduct.marked:
            return
        moved = self._registry.moved(conduct.oldest_mark)
        if moved is None:
            self._all = ""
            self._moved.clear()
        self._moved.update(dict.fromkeys(moved or ()))
        while self._moved:
            key = next(iter(self._moved))
            await self._looked_at(key, now)
            del self._moved[key]
        while self._all is not None:
            try:
                page = self._registry.records.page(Kind.HOLDING, after=self._all, limit=_PAGE)
            except ConfigError:  # it is another file now
                self._all = ""
                return
            for _, record in page.rows:
                if isinstance(record, Holding):
                    await self._looked_at(record.key, now)
            self._all = page.following
            await asyncio.sleep(0)  # calls go first

    def profiled(self, now: int) -> None:
        """Tell what is registered of those who are judged by it, once a day each.

        Raises:
            StoreUnavailableError: the registry cannot be read.
        """
        for _ in self._profiles(now):
            pass

    def _profiles(self, now: int) -> Iterator[None]:
        """As `profiled`, with a rest behind each that is read."""
        if now - self._asked_since >= DAY or now < self._asked_since:
            self._asked, self._asked_since = {}, now
        records = self._registry.records
        for key in self._conduct.take_asked():
            profile = self._asked.get(key)
            if profile is None:
                subject = key.id
                if key.kind is KeyKind.ACCESS:
                    found = records.get(Kind.ACCESS, key.id)
                    if found is None or not isinstance(found[1], Access):
                        continue
                    subject = found[1].subject
                profile = profile_of(records, subject)
                if len(self._asked) < _MOST_ASKED:
                    self._asked[key] = profile
                yield
            self._conduct.profiled(key, profile.care(now), person=profile.person)

    async def _looked_at(self, key: str, now: int) -> None:
        """Compare the marked numbers of a holding that was changed, or that there is.

        Numbers of a range that others hold are theirs; and who has a few of them back in a wide
        range, out of which they had been given, has not come back with them.
        """
        first, _, last = key.partition("-")
        records, conduct = self._registry.records, self._conduct
        found = records.get(Kind.HOLDING, key)
        holder = found[1].subject if found is not None and isinstance(found[1], Holding) else ""
        span = TNRange(TN(first), TN(last or first))
        numbers, marked = numbers_of(span), list[tuple[TN, int]]()
        while some := list(islice(numbers, _SLICE)):
            marked += [(one, weight) for one in some if (weight := conduct.weight(one))]
            if len(some) == _SLICE:
                await asyncio.sleep(0)  # calls go first
        if span.size > 1:
            kept = []
            for index, one in enumerate(marked, 1):
                closest = _closest(records, one[0])
                if closest is None or closest.numbers.size >= span.size:
                    kept.append(one)
                if index % _READ == 0:
                    await asyncio.sleep(0)
            marked = kept
            if sum(weight for _, weight in marked) < _OWN * min(span.size, MOST):
                holder = ""
        await self._compared([(one, holder) for one, _ in marked], now)

    async def _compared(self, numbers: list[tuple[TN, str]], now: int) -> None:
        for start in range(0, len(numbers), _SLICE):
            self._conduct.held(numbers[start : start + _SLICE], now)
            if len(numbers) > _SLICE:
                await asyncio.sleep(0)  # calls go first


def _closest(records: Records, number: TN) -> Holding | None:
    """The most specific holding of a number; None where nobody holds it."""
    levels = records.levels(number)
    return levels[0][1] if levels else None
