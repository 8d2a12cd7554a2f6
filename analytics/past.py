"""A caller's own past: at which hours of the week it calls, how much, and how many strangers.

A switchboard that somebody else uses at night shows its own numbers, and so looks like itself but
for three things: it calls at hours at which it never did, in numbers, and people whom it does not
know. None of that is wrong for a business that opens a night shift, so that by itself it is
labelled; how callees take the calls of those hours says more, and is tested for these hours alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from zhenxian.analytics.evidence import SequentialTests, TalkCounts

HOUR: Final = 3_600  # seconds
_DAY_HOURS: Final = 24
_WEEK_HOURS: Final = 168
_BITS: Final = 16_384  # of each half of what remembers pairs
_LAST_OCTET: Final = (_BITS >> 3) - 1
_FULL: Final = 2_048  # pairs of a half, from which on the older half is forgotten
_ACTIVE: Final = 2  # calls of an hour, from which on it is one at which calls are made
_MOST: Final = 255
_GAP: Final = 6 * HOUR  # without a call, after which unusual hours are other ones
_SHARE: Final = 0.3  # of the days, on which an hour is usual; three are enough
_ENOUGH: Final = 3
_SETTLED: Final = 12 * HOUR  # from the first call on, before which nothing is usual
_WEEKS: Final = 3  # from which on hours of the week are told apart
_WEEK: Final = _WEEK_HOURS * HOUR
_DAY: Final = _DAY_HOURS * HOUR
_NEW: Final = -1
_BIT: Final = tuple(1 << place for place in range(8))

_Hours: TypeAlias = Annotated[bytearray, Meta(min_length=_WEEK_HOURS, max_length=_WEEK_HOURS)]
_Pairs: TypeAlias = Annotated[bytearray, Meta(min_length=_BITS >> 3, max_length=_BITS >> 3)]


@dataclass(slots=True)
class Unusual:
    """Calls at hours at which the caller made none, one after another.

    Attributes:
        since, last: seconds since the epoch.
        strangers: of these calls. talk: how callees took them, where that is told.
        hours: of the week, which are usual only after these calls.
    """

    since: int
    last: int
    calls: int = 0
    strangers: int = 0
    talk: TalkCounts | None = None
    hours: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Past:
    """What is remembered; some 5 KB.

    Attributes:
        since: seconds since the epoch, when it began.
        hours: on how many days calls were made, by the hour of the week.
        days: on which calls were made, before the present one; day: the number of that.
        hour: number of the present hour. ends: when it does. made: calls of it.
        calls, strangers: at usual hours.
        pairs, before: of display and callee, lately and before; stored: bits of the former.
        unusual: calls of the hours that are now, where these are unusual.
    """

    since: int
    hours: _Hours = field(default_factory=lambda: bytearray(_WEEK_HOURS))
    days: int = 0
    day: int = _NEW
    hour: int = _NEW
    ends: int = 0
    made: int = 0
    calls: int = 0
    strangers: int = 0
    pairs: _Pairs = field(default_factory=lambda: bytearray(_BITS >> 3))
    before: _Pairs = field(default_factory=lambda: bytearray(_BITS >> 3))
    stored: int = 0
    unusual: Unusual | None = None

    @classmethod
    def begin(cls, first: int, last: int) -> Past:
        """What is known of a caller once it calls enough: it called from the first call on."""
        begun = cls(max(first, last - _SETTLED))
        for hour in range(begun.since // HOUR, last // HOUR):
            begun._made(hour % _WEEK_HOURS)
        return begun

    def add(self, at: int, pair: int | None) -> bool:
        """Count one call; True where the hours turned from usual to unusual, or back.

        Args:
            pair: hash of display and callee; None where the callee is no number.
        """
        # Else it is another hour, or a clock was far ahead.
        ends = self.ends
        turned = (at >= ends or at < ends - _DAY) and self._turn(at)
        self.made += 1
        stranger = True
        if pair is not None:
            octet, bit = pair >> 3 & _LAST_OCTET, _BIT[pair & 7]
            pairs = self.pairs
            if pairs[octet] & bit:
                stranger = False
            else:
                stranger = not self.before[octet] & bit
                if self.stored >= _FULL:
                    self.before, self.stored = pairs, 0
                    pairs = self.pairs = bytearray(_BITS >> 3)
                pairs[octet] |= bit
                self.stored += 1
        unusual = self.unusual
        if unusual is None:
            self.calls += 1
            if stranger:
                self.strangers += 1
        else:
            unusual.last = max(unusual.last, at)
            unusual.calls += 1
            unusual.strangers += stranger
        return turned

    def talked(self, tests: SequentialTests, *, answered: bool, seconds: int | None) -> None:
        """One of its calls is over."""
        unusual = self.unusual
        if unusual is None:
            return
        if unusual.talk is None:
            unusual.talk = TalkCounts()
        unusual.talk.add(tests, answered=answered, seconds=seconds)

    @property
    def made_hours(self) -> int:
        """Hours in which calls were made."""
        return sum(self.hours)

    def expected(self, at: int) -> bool:
        """Tell whether calls were made at this hour, or the one before or after it, ere now."""
        hour, hours = at // HOUR, self.hours
        enough = min(_ENOUGH, max(1, round(self.days * _SHARE)))
        near = (hour - 1, hour, hour + 1)
        daily = max(sum(hours[one % _DAY_HOURS :: _DAY_HOURS]) for one in near)
        if daily < enough:
            return False
        return at - self.since < _WEEKS * _WEEK or any(hours[one % _WEEK_HOURS] for one in near)

    def _turn(self, at: int) -> bool:
        """Another hour has begun."""
        before = self.unusual
        if self.hour != _NEW and self.made >= _ACTIVE:
            place = self.hour % _WEEK_HOURS
            if before is None:
                self._made(place)
            elif len(before.hours) < _DAY_HOURS:
                before.hours.append(place)
        self.hour = at // HOUR
        self.ends = (self.hour + 1) * HOUR
        self.made = 0
        day = self.hour // _DAY_HOURS
        if day != self.day:
            self.days += self.day != _NEW
            self.day = day
        if at - self.since < _SETTLED or self.expected(at):
            self.unusual = None
        elif before is None or at - before.last > _GAP:
            self.unusual = Unusual(at, at)
        if before is not None and self.unusual is not before:
            for place in before.hours:
                self._made(place)
        return (before is None) is not (self.unusual is None)

    def _made(self, place: int) -> None:
        """Calls were made in an hour of the week."""
        self.hours[place] = min(_MOST, self.hours[place] + 1)
