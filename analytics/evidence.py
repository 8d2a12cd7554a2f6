"""What tells a pool from a business with many numbers: talk, and whom its numbers call again.

How displays spread is no proof: a bank with branches looks like a pool of as many numbers. Two
things differ, and each is tested for itself, call by call, with a likelihood ratio whose chance to
ever pass 1 / alpha by mistake is alpha at most (Ville's inequality), however often it is looked at:

talk: strangers who are called by a pool answer seldom and hang up soon. An honest business is
    answered more often than `honest_answered`, or talks for a minute more often than `honest_long`;
    only who falls behind in both speaks against itself.
repeats: a number that was seen before has some people whom it calls again. Asked are only calls of
    numbers that could have done so; those of an earlier day are the ones that may refuse, because
    on one day nobody has much reason to call the same people twice.

Both begin anew when they lean far to the honest side, so that a caller who changes is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from math import log
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from zhenxian.analytics.counted import Contact
from zhenxian.analytics.sketch import LEVEL_BITS
from zhenxian.analytics.thresholds import HonestRepeats, HonestTalk

CAPACITY: Final = 2_048  # values of one set, half of its places
_PLACES: Final = 4_096
_MASK: Final = _PLACES - 1
_OCTETS: Final = 4
_Values: TypeAlias = Annotated[
    bytearray, Meta(min_length=_PLACES * _OCTETS, max_length=_PLACES * _OCTETS)
]
_Flags: TypeAlias = Annotated[bytearray, Meta(min_length=_PLACES // 8, max_length=_PLACES // 8)]
_Ages: TypeAlias = Annotated[bytearray, Meta(min_length=_PLACES, max_length=_PLACES)]
_HALVES_KEPT: Final = 42  # half windows, three weeks; an age has 8 bits
_MOST_BACK: Final = 160  # pairs; of CAPACITY more than CallBacks asks for
_TIMED: Final = 10  # answered calls to one without seconds, above which seconds are reported
_A_DAY: Final = 2  # half windows, after which another day has begun
_ALL: Final = (1 << 32) - 1
_LOW: Final = (1 << LEVEL_BITS) - 1
_HIGH: Final = _ALL ^ _LOW  # not ~_LOW: a negative mask takes twice as long


class Likelihood:
    """One sequential test of a share, as constants.

    Attributes:
        hit, miss: what a call adds that shows the honest thing, and one that does not.
        floor: where it begins anew.
    """

    __slots__ = ("floor", "hit", "miss")

    def __init__(self, honest: float, pool: float, floor: float) -> None:
        self.hit = log(pool / honest)
        self.miss = log((1 - pool) / (1 - honest))
        self.floor = floor

    def step(self, score: float, *, honest: bool) -> float:
        """The log-likelihood ratio after one more call."""
        score += self.hit if honest else self.miss
        return max(score, self.floor)


class SequentialTests:
    """The tests' constants, worked out once."""

    __slots__ = ("aged", "answered", "first_calls", "long", "met_again", "repeats", "seconds")

    def __init__(self, talk: HonestTalk, repeats: HonestRepeats) -> None:
        self.seconds = talk.seconds
        self.first_calls = talk.first_calls
        self.long = Likelihood(talk.honest_long, talk.pool_long, talk.floor)
        self.answered = Likelihood(talk.honest_answered, talk.pool_answered, talk.floor)
        self.repeats = Likelihood(repeats.honest, repeats.pool, repeats.floor)
        self.aged = Likelihood(repeats.honest_aged, repeats.pool, repeats.floor)
        self.met_again = Likelihood(repeats.honest_met, repeats.pool_met, talk.floor)


@dataclass(slots=True)
class TalkCounts:
    """How a key's callees take its calls. Saved by the names of its members.

    Attributes:
        told: calls of which it was reported whether they were answered. answered: of those.
        timed: of which it was reported for how long. long: of those, a minute or more.
        answer_score, long_score: log-likelihood ratios.
        untimed: answered calls of which it was not reported for how long.
    """

    told: int = 0
    answered: int = 0
    timed: int = 0
    long: int = 0
    answer_score: float = 0.0
    long_score: float = 0.0
    untimed: int = 0

    def add(self, tests: SequentialTests, *, answered: bool, seconds: int | None) -> None:
        """Count the end of one call; `seconds` of talk, None where that is not reported."""
        self.told += 1
        test = tests.answered
        floor = test.floor
        if answered:
            self.answered += 1
            score = self.answer_score + test.hit
        else:
            score = self.answer_score + test.miss
        self.answer_score = score if score > floor else floor
        if seconds is None:
            # Who reports no seconds of answered calls says nothing of how few talk for long.
            self.untimed += answered
            if answered or (self.untimed and self.answered <= _TIMED * self.untimed):
                return
        self.timed += 1
        test = tests.long
        if answered and seconds is not None and seconds >= tests.seconds:
            self.long += 1
            score = self.long_score + test.hit
        else:
            score = self.long_score + test.miss
        self.long_score = score if score > floor else floor

    def shift(self, step: float, floor: float) -> None:
        """Add what other evidence says of the same call."""
        score = self.answer_score + step
        self.answer_score = score if score > floor else floor
        score = self.long_score + step
        self.long_score = score if score > floor else floor

    def absolved(self) -> TalkCounts | None:
        """What speaks for the caller; None where nothing does."""
        return copy(self) if self.score < 0 else None

    @property
    def score(self) -> float:
        """The weaker of the two: whoever does well in one of them is no pool."""
        return min(self.answer_score, self.long_score)


class _Viewed:
    """Holds the octets as integers, made once; it is not saved and not copied."""

    __slots__ = ("view",)
    view: memoryview


@dataclass(slots=True)
class AgedSet(_Viewed):
    """Values of 32 bits and the half window in which each was first seen; bounded, for weeks.

    Open addressing over 4,096 places. When half are taken, what is older than three weeks goes;
    if that is not enough, only every second value is kept from then on (`level`).

    Attributes:
        values: four octets a place, 0 for none. ages: an octet a place. stored: places taken.
    """

    values: _Values = field(default_factory=lambda: bytearray(_PLACES * _OCTETS))
    ages: _Ages = field(default_factory=lambda: bytearray(_PLACES))
    stored: int = 0

    def __post_init__(self) -> None:
        self.view = memoryview(self.values).cast("I")  # type: ignore[misc]

    def __deepcopy__(self, _: object) -> AgedSet:
        return AgedSet(self.values.copy(), self.ages.copy(), self.stored)

    def seen(self, value: int, age: int) -> int | None:
        """The half window (8 bits) in which a value was first seen; None when it is new.

        A new value is remembered.
        """
        value = value or 1
        view = self.view
        place = (value >> LEVEL_BITS) & _MASK
        while True:
            found = view[place]
            if found == value:
                return self.ages[place]
            if not found:
                view[place] = value
                self.ages[place] = age & 255
                self.stored += 1
                return None
            place = (place + 1) & _MASK

    def __contains__(self, value: int) -> bool:
        return self.place(value) >= 0

    def age(self, value: int) -> int | None:
        """The half window (8 bits) in which a value was first seen; None for one that was not."""
        place = self.place(value)
        return self.ages[place] if place >= 0 else None

    def place(self, value: int) -> int:
        """Where a value is, until the set is trimmed; -1 for one that was not seen."""
        value = value or 1
        view = self.view
        place = (value >> LEVEL_BITS) & _MASK
        while found := view[place]:
            if found == value:
                return place
            place = (place + 1) & _MASK
        return -1

    def __iter__(self) -> Iterator[int]:
        return filter(None, self.view)

    def trim(self, age: int, mask: int) -> None:
        """Leave values of the last weeks of which the bits in `mask` are 0."""
        kept = [
            (value, old)
            for value, old in zip(self.view, self.ages, strict=True)
            if value and not value & mask and (age - old) & 255 <= _HALVES_KEPT
        ]
        self.values, self.ages = bytearray(_PLACES * _OCTETS), bytearray(_PLACES)
        self.view = memoryview(self.values).cast("I")  # type: ignore[misc]
        self.stored = len(kept)
        # As `seen` does, without the calls: calls wait while this is done.
        view, ages = self.view, self.ages
        for value, old in kept:
            place = (value >> LEVEL_BITS) & _MASK
            while view[place]:
                place = (place + 1) & _MASK
            view[place] = value
            ages[place] = old


_RING: Final = 1_024
_RING_MASK: Final = _RING - 1
_Ring: TypeAlias = Annotated[
    bytearray, Meta(min_length=_RING * _OCTETS, max_length=_RING * _OCTETS)
]


class _Taken(_Viewed):
    """Up to where somebody looked at them, and who did; neither saved nor copied."""

    __slots__ = ("taken",)
    taken: tuple[object, int]


@dataclass(slots=True)
class LatestValues(_Taken):
    """The latest 1,024 values of 32 bits; 0 stands for none. `added` counts all that there were."""

    values: _Ring = field(default_factory=lambda: bytearray(_RING * _OCTETS))
    added: int = 0

    def __post_init__(self) -> None:
        self.view = memoryview(self.values).cast("I")  # type: ignore[misc]
        self.taken = (None, 0)  # type: ignore[misc]

    def __deepcopy__(self, _: object) -> LatestValues:
        return LatestValues(self.values.copy(), self.added)

    def add(self, value: int) -> None:
        """Add one; the oldest goes."""
        added = self.added
        self.view[added & _RING_MASK] = value
        self.added = added + 1

    def __iter__(self) -> Iterator[int]:
        return filter(None, self.view)

    def untaken(self, by: object) -> Iterator[int]:
        """Those that came since the last look, in the order of `iter`; all after another's look."""
        last, before = self.taken
        self.taken = (by, self.added)  # type: ignore[misc]
        if last is not by or self.added - before >= _RING:
            return iter(self)
        view = self.view
        places = sorted(at & _RING_MASK for at in range(before, self.added))
        return filter(None, [view[place] for place in places])


_DAYS: Final = 7  # of which calls are known by half window


@dataclass(slots=True)
class Contacts:
    """Whom a key's displays called within the last weeks, and how many they called again.

    Attributes:
        level: only displays whose low `level` bits are 0 are followed, with all of their callees.
        again: calls of displays seen before; known: of those, to a callee of the display.
        score: the log-likelihood ratio of these.
        aged, aged_known, aged_score: likewise, of displays, and callees, of an earlier day.
        since: no half window before this one is remembered.
        asked: how many first calls of a display were counted, at the display's place.
        called_again: a bit at the place of each pair that was called again; reached: of each of
            which a call was answered. first: how strangers took the first calls of each display.
        together: how callees take the calls, and whether they are called who were reached before.
        callees: the latest, hashed, by which a caller that is found marks others.
        volumes: calls of the half windows of a week, the latest last, without the present one.
        back: pairs of which the callee called the display back; at most _MOST_BACK.
    """

    displays: AgedSet = field(default_factory=AgedSet)
    pairs: AgedSet = field(default_factory=AgedSet)
    level: int = 0
    again: int = 0
    known: int = 0
    score: float = 0.0
    aged: int = 0
    aged_known: int = 0
    aged_score: float = 0.0
    since: int = 0
    asked: _Ages = field(default_factory=lambda: bytearray(_PLACES))
    called_again: _Flags = field(default_factory=lambda: bytearray(_PLACES // 8))
    first: TalkCounts = field(default_factory=TalkCounts)
    reached: _Flags = field(default_factory=lambda: bytearray(_PLACES // 8))
    together: TalkCounts = field(default_factory=TalkCounts)
    callees: LatestValues = field(default_factory=LatestValues)
    volumes: list[int] = field(default_factory=list)
    back: list[int] = field(default_factory=list)

    def called_back(self, display: int, pair: int) -> None:
        """Somebody called a display; counts once for each whom the display had called."""
        pair = pair & _HIGH | display & _LOW
        back = self.back
        if pair in self.pairs and len(back) < _MOST_BACK and pair not in back:
            back.append(pair)

    def add(self, display: int, pair: int, age: int, tests: SequentialTests) -> bool:
        """Count one call; True for a new display. `age` is the number of the half window."""
        # As LatestValues.add and AgedSet.seen do, without the calls: nearly every call of a switch
        # passes here.
        callees = self.callees
        added = callees.added
        callees.view[added & _RING_MASK] = (pair - display * 3) & _ALL
        callees.added = added + 1
        if self.level and display & ((1 << self.level) - 1):
            return False
        pair = pair & _HIGH | display & _LOW or 1
        display = display or 1
        displays, pairs = self.displays, self.pairs
        view, place = displays.view, (display >> LEVEL_BITS) & _MASK
        while (found := view[place]) and found != display:
            place = (place + 1) & _MASK
        if not found:
            view[place] = display
            displays.ages[place] = age & 255
            displays.stored += 1
            pairs.seen(pair, age)
            if pairs.stored > CAPACITY or displays.stored > CAPACITY:
                self._trim(age)
            return True
        self.again += 1
        aged = (age - displays.ages[place]) & 255 >= _A_DAY
        view, home = pairs.view, (pair >> LEVEL_BITS) & _MASK
        place = home
        while (found := view[place]) and found != pair:
            place = (place + 1) & _MASK
        test = tests.repeats
        if found:
            self.called_again[home >> 3] |= 1 << (home & 7)
            self.known += 1
            score = self.score + test.hit
            if aged:
                self._of_another_day(pairs.ages[place], age, tests.aged)
        else:
            view[place] = pair
            pairs.ages[place] = age & 255
            pairs.stored += 1
            score = self.score + test.miss
            if aged:
                self._of_another_day(None, age, tests.aged)
            if pairs.stored > CAPACITY:
                self._trim(age)
        floor = test.floor
        self.score = score if score > floor else floor
        return False

    def ended(self, contact: Contact, tests: SequentialTests) -> None:
        """One call is over: what talk says of it, and whether the callee was reached before.

        Of the display's first calls, those to strangers are counted by themselves, too. Whom it
        did not reach anybody tries again, which says nothing.
        """
        display = contact.display
        if self.level and display & ((1 << self.level) - 1):
            return
        answered, seconds = contact.answered, contact.seconds
        place = (display >> LEVEL_BITS) & _MASK
        asked = self.asked[place]
        pair = (contact.pair >> LEVEL_BITS) & _MASK
        tried_again = self.called_again[pair >> 3] >> (pair & 7) & 1
        together, met = self.together, tests.met_again
        together.add(tests, answered=answered, seconds=seconds)
        # Of a pair that is not known (-1) there is nothing in the set.
        found = self.pairs.place(contact.pair & ~_LOW | display & _LOW)
        if found >= 0:
            octet, bit = found >> 3, 1 << (found & 7)
            if self.reached[octet] & bit:
                together.shift(met.hit, met.floor)
            elif asked and not tried_again:
                together.shift(met.miss, met.floor)
            if answered:
                self.reached[octet] |= bit
        elif asked and not tried_again:
            together.shift(met.miss, met.floor)
        if asked < tests.first_calls and not tried_again:
            self.asked[place] = asked + 1
            self.first.add(tests, answered=answered, seconds=seconds)

    def _of_another_day(self, called: int | None, age: int, test: Likelihood) -> None:
        """Count a call of a display that was seen on an earlier day."""
        before = called is not None and (age - called) & 255 >= _A_DAY
        # Whom it called today alone is neither a stranger nor an old acquaintance.
        if before or called is None:
            self.aged += 1
            self.aged_known += before
            self.aged_score = test.step(self.aged_score, honest=before)

    def _trim(self, age: int) -> None:
        """Make room: what is old goes; then every second display, until there is some."""
        sets = (self.displays, self.pairs)
        view = self.pairs.view
        reached = [
            view[octet << 3 | bit]
            for octet, bits in enumerate(self.reached)
            if bits
            for bit in range(8)
            if bits >> bit & 1
        ]
        if age - self.since > _HALVES_KEPT:  # else nothing is so old
            self.since = age - _HALVES_KEPT
            self.asked = bytearray(_PLACES)
            for one in sets:
                one.trim(age, (1 << self.level) - 1)
        # Who is called once more is known again before that call ends.
        self.called_again = bytearray(_PLACES // 8)
        while max(one.stored for one in sets) > CAPACITY * 3 // 4 and self.level < LEVEL_BITS:
            self.level += 1
            for one in sets:
                one.trim(age, (1 << self.level) - 1)
        if max(one.stored for one in sets) > CAPACITY:  # all of one display: begin anew
            for one in sets:
                one.trim(age, _ALL)
        self.back = [pair for pair in self.back if pair in self.pairs]
        self.reached = bytearray(_PLACES // 8)
        for pair in reached:
            place = self.pairs.place(pair)
            if place >= 0:
                self.reached[place >> 3] |= 1 << (place & 7)

    def rolled_over(self, calls: int, halves: int) -> None:
        """Go on to another half window, after one with so many calls."""
        gone = [calls, *[0] * (min(halves, 2 * _DAYS) - 1)]
        self.volumes = [*self.volumes, *gone][-2 * _DAYS :]

    def absolved(self) -> Contacts:
        """Whom the displays called, and what speaks for them; nothing that speaks against them."""
        kept = Contacts(
            self.displays,
            self.pairs,
            self.level,
            since=self.since,
            volumes=self.volumes,
            back=self.back,
            reached=self.reached,
        )
        if self.aged_score < 0:
            kept.aged, kept.aged_known = self.aged, self.aged_known
            kept.aged_score = self.aged_score
        return kept
