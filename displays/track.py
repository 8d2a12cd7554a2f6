"""What is remembered of one key: counts and sketches over two half windows, never the calls.

Mutable, and the hot path of this room: every call passes here once for each of its keys. Size is
bounded by MAX_OCTETS whatever the traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Final

from msgspec import Struct

from displays.areas import CELLS
from displays.model import Key, KeyKind
from displays.policy import Locality
from displays.sketch import LEVEL_BITS, Distinct, Repeats

MAX_OCTETS: Final = 49_152  # of one key, as CPython counts them; most keys have about 1,500
SLOT: Final = 300  # seconds
SLOTS: Final = 36  # three hours
MAX_LEFT: Final = 8  # displays used up that are remembered
MAX_SAMPLES: Final = 8
_BITS: Final = tuple(1 << (area & 63) for area in range(CELLS))
_STEPS_BACK: Final = 4  # half windows
_LOW: Final = (1 << LEVEL_BITS) - 1
_HIGH: Final = ~_LOW
_ENOUGH: Final = 512  # displays of an SPC, of which a share is as good as all
_RATED_FROM: Final = 24  # calls in half a window, before which there is no rate to speak of
_LONGEST_CALL: Final = 24  # slots; a call that did not end by then was not reported


@dataclass(slots=True)
class Half:
    """Half a window's counts.

    Attributes:
        calls: judged ones. bound: those with a live binding, which are not.
        arealess: calls whose display has no area.
        known: calls of which both areas are known. matches: of those, within one area.
        turns: calls that showed another display than the call before.
        reach: bit set of callees' areas other than the display's, folded to 64.
        displays: distinct ones; None while there is one.
        pairs: of display and callee, from the second display or the 25th call on; of display and
            origid for an SPC.
        origins: displays of a signer or SPC. moved: of their calls, those that showed a display
            seen before with a callee, or origid, not seen with it.
        begun, ended: calls since ends are told, and ends told.
    """

    calls: int = 0
    bound: int = 0
    arealess: int = 0
    known: int = 0
    matches: int = 0
    turns: int = 0
    reach: int = 0
    moved: int = 0
    begun: int = 0
    ended: int = 0
    displays: Distinct | None = None
    pairs: Repeats | None = None
    origins: Repeats | None = None


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


@dataclass(slots=True)
class Track:
    """All of one key.

    Attributes:
        carrier: the key is an SPC; only origids are counted. switch: it is a SIGNER.
        generation: number of the half window that `now` counts.
        first, last: seconds since the epoch.
        shown: the display of the latest call, hashed; -1 before the first.
        here: its area. run: calls in a row that showed it. left: displays used up before.
        home: the area of the first display that has one; -1 before.
        areas: from the first display of another area on.
        score: log-likelihood ratio of the sequential test. cleared: tests that ended in favour.
        slot: number of the slot that ends `ring`. ring, peaks: calls begun, and most calls at a
            time, in each of the last slots; empty while there are few calls.
        active: calls in progress; -1 where nobody tells when calls end.
        due: calls at which it is judged next.
        samples: latest calls as (at, display, callee), clear.
        touched: changed since it was last saved.
        also: the subject that it serves, too. stranger: calls people anywhere, and nobody twice.
        tie: log-likelihood ratio that it is one with others (displays.handover); tied: with how
            many, itself included.
    """

    carrier: bool
    switch: bool
    generation: int
    first: int
    last: int
    now: Half
    old: Half | None = None
    shown: int = -1
    here: int = -1
    run: int = 0
    left: list[Left] = field(default_factory=list)
    home: int = -1
    areas: AreaCounts | None = None
    score: float = 0.0
    cleared: int = 0
    slot: int = 0
    ring: list[int] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    active: int = -1
    due: int = 4
    samples: list[tuple[int, str, str | None]] = field(default_factory=list)
    touched: bool = False
    also: Key | None = None
    stranger: bool = False
    tie: float = 0.0
    tied: int = 1

    @classmethod
    def begin(cls, kind: KeyKind, at: int, generation: int) -> Track:
        """Before the first call."""
        carrier = kind is KeyKind.SPC
        return cls(carrier, kind is KeyKind.SIGNER, generation, at, at, Half())

    @property
    def calls(self) -> int:
        """Judged calls within the window."""
        return self.now.calls + (self.old.calls if self.old is not None else 0)

    @property
    def turn_count(self) -> int:
        """Calls within the window that showed another display than the call before."""
        return self.now.turns + (self.old.turns if self.old is not None else 0)

    def turn(self, generation: int) -> None:
        """Go on to another half window.

        A clock that went back by up to two windows counts on where it was, so that one node's wrong
        clock does not make the others forget. One that went back further was wrong before: what it
        counted is kept as of now.
        """
        step = generation - self.generation
        if -_STEPS_BACK <= step <= 0:
            return
        if step == 1:
            self.old = self.now
            if self.areas is not None:
                self.areas.turn()
        elif step > 1:
            self.old = self.areas = None
            self.score = 0.0
            self.home = -1
        if step > 0:
            self.now = Half()
            self.due = 4
        self.generation = generation

    def count(
        self, at: int, display: int, pair: int, shown: int, called: int, bounds: Bounds
    ) -> None:
        """Count one call of an access, subject or signer.

        Args:
            display, pair: hashes; pair is -1 when the callee is no number.
            shown, called: areas of display and callee; -1 for none.
        """
        half = self.now
        calls = half.calls = half.calls + 1
        if pair < 0:
            first_contact = True
        elif self.switch and (half.origins is not None or (display != self.shown and calls > 1)):
            first_contact = not self._linked(display, pair)
        elif not half.turns and calls <= _RATED_FROM:
            first_contact = True  # one display and few calls, as most have: nothing to tell apart
        else:
            old, pairs = self.old, half.pairs
            if pairs is None:
                pairs = half.pairs = Repeats()
            if self.switch:
                pair = pair & _HIGH | display & _LOW
            first_contact = not pairs.seen(pair, None if old is None else old.pairs)
        if display != self.shown:
            self._take(at, display)
            self.here = shown
        else:
            self.run += 1
            if half.displays is not None:
                half.displays.add(display)
        if shown < 0:
            half.arealess += 1
        elif called >= 0:
            half.known += 1
            if shown == called:
                half.matches += 1
            else:
                half.reach |= _BITS[called]
            if shown != self.home:
                if self.home < 0:
                    self.home = shown
                elif self.areas is None:
                    self.areas = _area_counts()
            if first_contact and self.areas is not None:
                self._test(self.areas, shown, called, bounds)
        if self.ring:
            if at // SLOT != self.slot:
                self._advance(at)
            self.ring[self.slot % SLOTS] += 1
            if self.active >= 0:
                self._begun()
        elif calls > _RATED_FROM:
            self.ring, self.peaks = [0] * SLOTS, [0] * SLOTS
            self.slot = at // SLOT

    def count_origid(self, display: int, link: int) -> None:
        """Count one call of an SPC; `link` hashes display and origid."""
        self.now.calls += 1
        self._linked(display, link)

    def _linked(self, display: int, partner: int) -> bool:
        """Count a display with its callee or origid; tell whether they were together before.

        Both tables sample by display, so that they see the same calls.
        """
        half, old = self.now, self.old
        origins, pairs = half.origins, half.pairs
        if origins is None:
            origins = half.origins = Repeats()
        if pairs is None:
            pairs = half.pairs = Repeats()
        if origins.level != pairs.level:
            (origins if origins.level < pairs.level else pairs).thin()
            half.moved = 0
        level = origins.level
        if level and display & ((1 << level) - 1):
            return False
        if self.carrier and origins.stored > _ENOUGH:
            origins.thin()
        again = origins.seen(display, None if old is None else old.origins)
        partner = partner & _HIGH | display & _LOW
        linked = pairs.seen(partner, None if old is None else old.pairs)
        # An SPC's pair that found its place taken stays unknown; it must not be new each time.
        if again and not linked and (not self.carrier or partner in pairs):
            half.moved += 1
        return linked

    def ended(self, at: int) -> None:
        """One of its calls is over. From the first report on, calls in progress are known."""
        self.now.ended += 1
        self.active = max(0, self.active - 1) if self.active >= 0 else 0
        if self.ring:
            self._advance(at)

    def _take(self, at: int, display: int) -> None:
        """Another display than before; what most keys never show, and so pay nothing for."""
        half = self.now
        if self.shown >= 0:
            half.turns += 1
            displays = half.displays
            if displays is None:
                displays = half.displays = Distinct()
                if half.calls > 1:
                    displays.calls = displays.exact[self.shown] = half.calls - 1
            displays.add(display)
            if self.run >= _LEAST_LEFT:
                self.left.append(Left(self.shown, self.run, at, self.here))
                del self.left[:-MAX_LEFT]
                self.due = min(self.due, half.calls + _LEAST_LEFT)
        if self.left:
            self.left = [left for left in self.left if left.display != display]
        self.shown, self.run = display, 1

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

    def _begun(self) -> None:
        """One more call in progress."""
        self.now.begun += 1
        self.active += 1
        place = self.slot % SLOTS
        self.peaks[place] = max(self.peaks[place], self.active)

    def _advance(self, at: int) -> None:
        slot = at // SLOT
        step = slot - self.slot
        if -SLOTS < step <= 0:
            return  # a small step back counts in the latest slot
        for passed in range(min(abs(step), SLOTS)):
            place = (slot - passed) % SLOTS
            self.ring[place] = self.peaks[place] = 0
        self.slot = slot
        if self.active > 0:
            recent = sum(self.recent(self.ring, _LONGEST_CALL))
            self.active = min(self.active, recent)
            self.peaks[slot % SLOTS] = self.active

    def recent(self, counts: list[int], slots: int) -> list[int]:
        """The latest slots of `ring` or `peaks`, latest first."""
        return [counts[(self.slot - back) % SLOTS] for back in range(slots)] if counts else []


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
