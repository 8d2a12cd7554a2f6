"""What is remembered of one key: counts and sketches over two half windows, never the calls.

Mutable, and the hot path of this room: every call passes here once for each of its keys. Size is
bounded by MAX_OCTETS whatever the traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Any, Final

from msgspec import Struct

from zhenxian.analytics.areas import CELLS
from zhenxian.analytics.model import Key, KeyKind
from zhenxian.analytics.sketch import LEVEL_BITS, Distinct, Repeats
from zhenxian.analytics.thresholds import Locality

MAX_OCTETS: Final = 73_728  # of one key, as CPython counts them; most keys have about 1,200
SLOT: Final = 300  # seconds
SLOTS: Final = 36  # three hours
MAX_LEFT: Final = 8  # displays used up that are remembered
MAX_SAMPLES: Final = 8
_BITS: Final = tuple(1 << (area & 63) for area in range(CELLS))
_STEPS_BACK: Final = 4  # half windows
_LOW: Final = (1 << LEVEL_BITS) - 1
_HIGH: Final = ~_LOW
_ENOUGH: Final = 512  # displays of an SPC, of which a share is as good as all
# Calls in known company, and their share, from which on an eighth is looked at: far from what a
# pool has (analytics.thresholds: Locality.recurring, Switch.recurring, Origids.moved).
_SURE: Final = 32
_SURE_LINKED: Final = 128  # of a signer or SPC; fewer would cost a pool little and hide it for long
_SURE_CALLER: Final = 0.5
_SURE_SWITCH: Final = 0.1
_SURE_CARRIER: Final = 0.9
_SURE_LEVEL: Final = 3
_LEFT_OUT: Final = 7  # bits of a display by which an SPC's are left out
_RATED_FROM: Final = 24  # calls in half a window, before which there is no rate to speak of
REDIALLED: Final = -2
_NEVER: Final = 1 << 60
_LONGEST_CALL: Final = 24  # slots; a call that did not end by then was not reported


@dataclass(slots=True)
class Half:
    """Half a window's counts.

    Attributes:
        calls: judged ones. bound: those with a live binding, which are not.
        arealess: calls whose display has no area.
        unknown: calls whose callee alone has no area. redialled: calls that were dialled again.
        matches: calls within one area, of those of which both areas are known.
        turns: calls that showed another display than the call before.
        reach: bit set of callees' areas other than the display's, folded to 64.
        displays: distinct ones; None while there is one.
        pairs: of display and callee, from the second display or the 25th call on; of display and
            origid for an SPC.
        origins: displays of a signer or SPC. moved: of their calls, those that showed a display
            seen before with a callee, or origid, not seen with it.
        lent: bound calls of agents against whom something stands.
        begun, ended: calls since ends are told, and ends told. answers: ends of which was told who
            had called whom, and whether it was answered. contacts: pairs of which one answered.
    """

    calls: int = 0
    bound: int = 0
    arealess: int = 0
    unknown: int = 0
    redialled: int = 0
    matches: int = 0
    turns: int = 0
    reach: int = 0
    moved: int = 0
    lent: int = 0
    begun: int = 0
    ended: int = 0
    answers: int = 0
    displays: Distinct | None = None
    pairs: Repeats | None = None
    origins: Repeats | None = None
    contacts: Repeats | None = None

    @property
    def known(self) -> int:
        """Calls of which both areas are known."""
        return self.calls - self.redialled - self.arealess - self.unknown


class Left(Struct, array_like=True):
    """A display that was used for a while.

    Attributes:
        last: when the next one began. area: of the display; -1 for none.
    """

    display: int
    calls: int
    last: int
    area: int


@dataclass(slots=True)
class AreaCounts:
    """How displays and callees of first contacts spread over areas.

    Each list has a count for each cell; the `old_` ones are the part of the half window before.

    Attributes:
        calls: counted. matched: of those, display and callee of one area.
        crossed: ordered pairs of two different calls (i, j) with display i and callee j of one
            area; over calls * (calls - 1) it estimates without bias what chance would match.
        same_displays, same_callees, same_matches: unordered pairs of calls alike in that.
    """

    displays: list[int]
    callees: list[int]
    matches: list[int]
    old_displays: list[int]
    old_callees: list[int]
    old_matches: list[int]
    calls: int = 0
    matched: int = 0
    crossed: int = 0
    same_displays: int = 0
    same_callees: int = 0
    same_matches: int = 0

    @property
    def chance(self) -> float:
        """The share of matches if callees did not depend on displays."""
        return self.crossed / (self.calls * (self.calls - 1)) if self.calls > 1 else 0.0

    def add(self, display: int, callee: int) -> None:
        """Count one call."""
        shown, called = self.displays, self.callees
        self.crossed += called[display] + shown[callee]
        self.same_displays += shown[display]
        self.same_callees += called[callee]
        shown[display] += 1
        called[callee] += 1
        if display == callee:
            self.same_matches += self.matches[display]
            self.matches[display] += 1
            self.matched += 1
        self.calls += 1

    def turn(self) -> None:
        """Forget the older half."""
        self.displays, self.old_displays = _aged(self.displays, self.old_displays)
        self.callees, self.old_callees = _aged(self.callees, self.old_callees)
        self.matches, self.old_matches = _aged(self.matches, self.old_matches)
        self.calls, self.matched = sum(self.displays), sum(self.matches)
        both = sum(d * c for d, c in zip(self.displays, self.callees, strict=True))
        self.crossed = both - self.matched
        self.same_displays = _pairs(self.displays)
        self.same_callees = _pairs(self.callees)
        self.same_matches = _pairs(self.matches)


def _aged(both: list[int], old: list[int]) -> tuple[list[int], list[int]]:
    new = [b - o for b, o in zip(both, old, strict=True)]
    return new, new.copy()


def _pairs(counts: list[int]) -> int:
    return sum(count * (count - 1) for count in counts) // 2


def _area_counts() -> AreaCounts:
    a, b, c, d, e, f = ([0] * CELLS for _ in range(6))
    return AreaCounts(a, b, c, d, e, f)


_NONE: Final[list[Any]] = []


def _none() -> list[Any]:
    """One empty list for all, never changed, only replaced: most keys need no more."""
    return _NONE


@dataclass(slots=True)
class Track:
    """All of one key.

    Attributes:
        carrier: the key is an SPC; origids are counted. switch: it is a SIGNER. agent: an AGENT.
        whole: of an SPC: its calls counted as those of one signer, whatever their origid. minting:
            its origids say nothing.
        generation: number of the half window that `now` counts. turns_at: when it ends.
        first, last: seconds since the epoch.
        shown: the display of the latest call, hashed; -1 before the first.
        here: its area. taken: calls of this half window before it. left: displays used up before.
        home: the area of the first display that has one; -1 before.
        areas: from the first display of another area on.
        score: log-likelihood ratio of the sequential test. cleared: tests that ended in favour.
        slot: number of the latest slot. slot_ends: when it does. slot_calls: calls of this half
            window before it. ring, peaks: calls begun, the latest slot's aside, and most calls at a
            time, in each of the last slots; empty while there are few calls.
        active: calls in progress; -1 where nobody tells when calls end.
        due: calls at which it is judged next. fresh: among those with few calls.
        samples: latest calls as (at, display, callee), clear.
        touched: changed since it was last saved.
        also: the subject that it serves, too. stranger: calls people anywhere, and nobody twice.
        tie: log-likelihood ratio that it is one with others (analytics.sim_box); tied: with how
            many, itself included.
    """

    carrier: bool
    switch: bool
    agent: bool
    generation: int
    turns_at: int
    first: int
    last: int
    now: Half
    old: Half | None = None
    shown: int = -1
    here: int = -1
    taken: int = 0
    left: list[Left] = field(default_factory=_none)
    home: int = -1
    areas: AreaCounts | None = None
    score: float = 0.0
    cleared: int = 0
    slot: int = 0
    slot_ends: int = _NEVER
    slot_calls: int = 0
    ring: list[int] = field(default_factory=_none)
    peaks: list[int] = field(default_factory=_none)
    active: int = -1
    due: int = 4
    samples: list[tuple[int, str, str | None]] = field(default_factory=_none)
    touched: bool = False
    also: Key | None = None
    stranger: bool = False
    tie: float = 0.0
    tied: int = 1
    fresh: bool = True
    whole: Track | None = None
    minting: bool = False

    @classmethod
    def begin(cls, kind: KeyKind, at: int, length: int) -> Track:
        """Before the first call. `length` is that of half a window, in seconds."""
        switch, agent = kind is KeyKind.SIGNER, kind is KeyKind.AGENT
        number = at // length
        ends = (number + 1) * length
        return cls(kind is KeyKind.SPC, switch, agent, number, ends, at, at, Half())

    @property
    def run(self) -> int:
        """Calls in a row that showed the present display."""
        return self.now.calls - self.taken

    @property
    def calls(self) -> int:
        """Judged calls within the window."""
        return self.now.calls + (self.old.calls if self.old is not None else 0)

    @property
    def bound(self) -> int:
        """Bound calls within the window."""
        return self.now.bound + (self.old.bound if self.old is not None else 0)

    @property
    def seen(self) -> int:
        """Calls within the window, judged or bound."""
        return self.calls + self.bound

    @property
    def lent(self) -> int:
        """Of those, made by agents against whom something stands."""
        return self.now.lent + (self.old.lent if self.old is not None else 0)

    @property
    def turn_count(self) -> int:
        """Calls within the window that showed another display than the call before."""
        return self.now.turns + (self.old.turns if self.old is not None else 0)

    def turn(self, at: int, length: int) -> None:
        """Go on to another half window.

        A clock that went back by up to two windows counts on where it was, so that one node's wrong
        clock does not make the others forget. One that went back further was wrong before: what it
        counted is kept as of now.
        """
        generation = at // length
        step = generation - self.generation
        if -_STEPS_BACK <= step <= 0:
            return
        if self.whole is not None:
            self.whole.turn(at, length)
        if step == 1:
            self.old = self.now
            if self.areas is not None:
                self.areas.turn()
        elif step > 1:
            self.old = self.areas = None
            self.score = 0.0
            self.home = -1
        if step > 0:
            self.taken -= self.now.calls
            self.slot_calls -= self.now.calls
            self.now = Half()
            self.due = 4
        self.generation = generation
        self.turns_at = (generation + 1) * length

    def count(
        self, at: int, display: int, pair: int, shown: int, called: int, bounds: Bounds
    ) -> None:
        """Count one call of an access, subject or signer.

        Args:
            display, pair: hashes; pair is -1 when the callee is no number, REDIALLED when the same
                was dialled lately, which says nothing of whether they know each other.
            shown, called: areas of display and callee; -1 for none.
        """
        half = self.now
        half.calls = calls = half.calls + 1
        same = display == self.shown
        if pair < 0:
            if pair == REDIALLED:  # a call like others by its rate, and of no use beside
                half.redialled += 1
                if at >= self.slot_ends:
                    self._advance(at, calls - 1)
                if self.active >= 0:
                    self._begun()
                return
            first_contact = True
        elif self.switch and (half.origins is not None or not (same or calls == 1)):
            first_contact = self._linked(display, pair) is False
        elif calls <= _RATED_FROM and not half.turns:
            first_contact = True  # one display and few calls, as most have: nothing to tell apart
        else:
            first_contact = self._new(half, pair & _HIGH | display & _LOW if self.switch else pair)
        if same:
            if half.displays is not None:
                half.displays.add(display)
        else:
            self._take(at, display)
            self.here = shown
        if shown < 0:
            half.arealess += 1
            if self.agent and called >= 0:  # whom a platform names may have any number
                half.reach |= _BITS[called]
        elif called < 0:
            half.unknown += 1
        else:
            if shown == called:
                half.matches += 1
            else:
                half.reach |= _BITS[called]
            areas = self.areas
            if areas is None:
                if shown != self.home:
                    if self.home < 0:
                        self.home = shown
                    else:
                        areas = self.areas = _area_counts()
                        if first_contact:
                            self._test(areas, shown, called, bounds)
            elif first_contact:
                self._test(areas, shown, called, bounds)
        if at >= self.slot_ends:
            self._advance(at, calls - 1)
        if self.active >= 0:
            self._begun()

    def count_origid(self, display: int, link: int) -> None:
        """Count one call of an SPC; `link` hashes display and origid."""
        self.now.calls += 1
        self._linked(display, link)

    def of_whole(self, display: int) -> Track | None:
        """What counts an SPC's calls as those of one signer; None for displays left out.

        An eighth of them tells what a carrier's calls are; all count while it mints origids.
        """
        if not self.minting and display & _LEFT_OUT:
            return None
        whole = self.whole
        if whole is None:
            length = self.turns_at // (self.generation + 1)
            whole = self.whole = Track.begin(KeyKind.SIGNER, self.last, length)
        whole.last = self.last
        return whole

    def _linked(self, display: int, partner: int) -> bool | None:
        """Count a display with its callee or origid; tell whether they were together before.

        Both tables sample by display, so that they see the same calls; None is for the others.
        """
        half, old = self.now, self.old
        origins, pairs = half.origins, half.pairs
        if origins is None:
            origins = half.origins = Repeats()
        if pairs is None:
            pairs = half.pairs = Repeats()
        level = origins.level
        if level != pairs.level:
            (origins if level < pairs.level else pairs).thin()
            half.moved = 0
            level = origins.level
        if level and display & ((1 << level) - 1):
            return None
        if self.carrier and origins.stored > _ENOUGH:
            origins.thin()
        again = origins.seen(display, None if old is None else old.origins)
        partner = partner & _HIGH | display & _LOW
        linked = pairs.seen(partner, None if old is None else old.pairs)
        if not again:
            return linked
        if linked:
            known = origins.again - half.moved
            if (
                known > _SURE_LINKED
                and level < _SURE_LEVEL
                and known > origins.again * (_SURE_CARRIER if self.carrier else _SURE_SWITCH)
            ):
                origins.halve()
                pairs.halve()
                half.moved >>= 1
        # An SPC's pair that found its place taken stays unknown; it must not be new each time.
        elif not self.carrier or partner in pairs:
            half.moved += 1
        return linked

    def ended(self, at: int) -> None:
        """One of its calls is over. From the first report on, calls in progress are known."""
        self.now.ended += 1
        self.active = max(0, self.active - 1) if self.active >= 0 else 0
        if at >= self.slot_ends:
            self._advance(at, self.now.calls)

    def met(self, pair: int, answered: bool) -> None:
        """One of its calls, that is over, was answered or not."""
        half, old = self.now, self.old
        half.answers += 1
        if half.pairs is None:
            return
        contacts, older = half.contacts, None if old is None else old.contacts
        if contacts is None:
            contacts = half.contacts = Repeats()
        if answered:
            contacts.seen(pair, older)
        else:
            contacts.missed(pair, older)

    def _take(self, at: int, display: int) -> None:
        """Another display than before; what most keys never show, and so pay nothing for."""
        half = self.now
        if self.shown >= 0:
            half.turns += 1
            displays = half.displays
            if displays is None:
                displays = half.displays = Distinct()
                before = half.calls - 1 - half.redialled
                if before:
                    displays.calls = displays.exact[self.shown] = before
            displays.add(display)
            run = half.calls - 1 - self.taken
            if run >= _LEAST_LEFT:
                used = Left(self.shown, run, at, self.here)
                self.left = [*self.left, used][-MAX_LEFT:]
                self.due = min(self.due, half.calls + _LEAST_LEFT)
        if self.left:
            self.left = [left for left in self.left if left.display != display]
        self.shown, self.taken = display, half.calls - 1

    def _test(self, areas: AreaCounts, shown: int, called: int, bounds: Bounds) -> None:
        """One step of the sequential test (Wald, Sequential Analysis, 1947)."""
        calls, step = areas.calls, bounds.apart
        chance = areas.crossed / (calls * (calls - 1)) if calls > 1 else 0.0
        if shown == called:
            rest = 1.0 - chance
            step = log((chance + bounds.pool * rest) / (chance + bounds.honest * rest))
        if chance < 1.0:
            score = self.score + step
            if score <= bounds.lower:
                score = 0.0
                self.cleared += 1
            self.score = min(bounds.most, score)
        areas.add(shown, called)

    def _new(self, half: Half, pair: int) -> bool:
        """Tell whether display and callee were not together before; not of pairs left out."""
        pairs, old = half.pairs, self.old
        if pairs is None:
            pairs = half.pairs = Repeats()
        elif pairs.level and pair & ((1 << pairs.level) - 1):
            return False
        if not pairs.seen(pair, None if old is None else old.pairs):
            return True
        again = pairs.again
        if again > _SURE and pairs.level < _SURE_LEVEL and again > pairs.calls * _SURE_CALLER:
            pairs.halve()
        return False

    def rated(self) -> None:
        """Count from now on when calls begin, which is too dear for those who make few."""
        if self.slot_ends == _NEVER and self.calls > _RATED_FROM:
            self.ring, self.peaks = [0] * SLOTS, [0] * SLOTS
            self.slot = self.last // SLOT
            self.slot_ends = (self.slot + 1) * SLOT
            self.slot_calls = self.now.calls

    def _begun(self) -> None:
        """One more call in progress."""
        if not self.peaks:
            return
        self.now.begun += 1
        self.active += 1
        place = self.slot % SLOTS
        self.peaks[place] = max(self.peaks[place], self.active)

    def _advance(self, at: int, calls: int) -> None:
        """Go on to another slot, before which there were so many calls of this half window."""
        slot = at // SLOT
        self.ring[self.slot % SLOTS] = calls - self.slot_calls
        for passed in range(min(slot - self.slot, SLOTS)):
            place = (slot - passed) % SLOTS
            self.ring[place] = self.peaks[place] = 0
        self.slot = slot
        self.slot_ends = (slot + 1) * SLOT
        self.slot_calls = calls
        if self.active > 0:
            self.active = min(self.active, sum(self.begun(_LONGEST_CALL)))
            self.peaks[slot % SLOTS] = self.active

    def back(self, at: int) -> None:
        """Count on in an earlier slot: the clock was ahead."""
        if at < self.slot_ends - SLOT and self.ring:
            self._advance(at, self.now.calls)
        if self.whole is not None:
            self.whole.back(at)

    def begun(self, slots: int) -> list[int]:
        """Calls begun in each of the latest slots."""
        if not self.ring:
            return []
        self.ring[self.slot % SLOTS] = self.now.calls - self.slot_calls
        return self._latest(self.ring, slots)

    def most(self, slots: int) -> list[int]:
        """Most calls at a time in each of the latest slots."""
        return self._latest(self.peaks, slots) if self.peaks else []

    def _latest(self, counts: list[int], slots: int) -> list[int]:
        after = self.slot % SLOTS + 1
        return (counts[after:] + counts[:after])[-slots:]


_LEAST_LEFT: Final = 8  # calls of a display below which it was not used up, but only used


class Bounds:
    """The sequential test's constants, worked out once.

    Attributes:
        honest, pool: lifts of the two hypotheses.
        apart: what a call without match adds: ln((1 - pool) / (1 - honest)), whatever chance is.
        upper, lower: where the test ends, Wald's approximations ln((1 - beta) / alpha) and
            ln(beta / (1 - alpha)). most: where the score stops rising.
    """

    __slots__ = ("apart", "honest", "lower", "most", "pool", "upper")

    def __init__(self, locality: Locality) -> None:
        self.honest = locality.honest_lift
        self.pool = locality.pool_lift
        self.apart = log((1 - self.pool) / (1 - self.honest))
        self.upper = log((1 - locality.miss) / locality.false_alarm)
        self.lower = log(locality.miss / (1 - locality.false_alarm))
        self.most = 2 * self.upper
