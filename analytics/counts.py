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
from zhenxian.analytics.counted import MASK_32, Contact
from zhenxian.analytics.evidence import Contacts, SequentialTests, TalkCounts
from zhenxian.analytics.locality import AreaCounts, Bounds
from zhenxian.analytics.model import Key, KeyKind
from zhenxian.analytics.past import Past
from zhenxian.analytics.sketch import LEVEL_BITS, Distinct, Repeats

MAX_OCTETS: Final = 131_072  # of one key, as CPython counts them; most keys have about 1,200
SLOT: Final = 300  # seconds
SLOTS: Final = 36  # three hours
MAX_LEFT: Final = 8  # displays used up that are remembered
MAX_SAMPLES: Final = 8
_BITS: Final = tuple(1 << (area & 63) for area in range(CELLS))
_MANY: Final = 12  # displays of half a window, from which on whom they call is remembered
_BUSY: Final = 250  # calls of half a window, likewise
_STEPS_BACK: Final = 4  # half windows
_LOW: Final = (1 << LEVEL_BITS) - 1
_HIGH: Final = MASK_32 ^ _LOW  # not ~_LOW: a negative mask takes twice as long
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
_NEVER: Final = 1 << 60
_LONGEST_CALL: Final = 24  # slots; a call that did not end by then was not reported


@dataclass(slots=True)
class HalfWindow:
    """Half a window's counts. Saved by the names of its members.

    Attributes:
        calls: judged ones. privacy_calls: those with a live binding, which are not.
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
        privacy_calls_found: those of them made by agents against whom something stands.
        begun, ended: calls since ends are reported, and those ends. answers: ends that say who had
            called whom, and whether it was answered. contacts: pairs of which one answered.
        thinned: low bits of the displays counted that were 0; see analytics.parcel.
    """

    calls: int = 0
    privacy_calls: int = 0
    arealess: int = 0
    unknown: int = 0
    redialled: int = 0
    matches: int = 0
    turns: int = 0
    reach: int = 0
    moved: int = 0
    privacy_calls_found: int = 0
    begun: int = 0
    ended: int = 0
    answers: int = 0
    displays: Distinct | None = None
    pairs: Repeats | None = None
    origins: Repeats | None = None
    contacts: Repeats | None = None
    thinned: int = 0

    @property
    def known(self) -> int:
        """Calls of which both areas are known."""
        return self.calls - self.redialled - self.arealess - self.unknown


class RetiredDisplay(Struct, array_like=True):
    """A display that was used for a while.

    Attributes:
        last: when the next one began. area: of the display; -1 for none.
    """

    display: int
    calls: int
    last: int
    area: int


_NONE: Final[list[Any]] = []


def _none() -> list[Any]:
    """One empty list for all, never changed, only replaced: most keys need no more."""
    return _NONE


@dataclass(slots=True)
class KeyCounts:
    """All of one key.

    Attributes:
        carrier: the key is an SPC; origids are counted. switch: it is a SIGNER. agent: an AGENT.
        as_one_signer: of an SPC: its calls counted as those of one signer, whatever their origid.
        minting: its origids say nothing.
        generation: number of the half window that `now` counts. turns_at: when it ends.
        first, last: seconds since the epoch.
        shown: the display of the latest call, hashed; -1 before the first.
        display_area: its area. taken: calls of this half window before it.
        left: displays used up before.
        home: the area of the first display that has one; -1 before.
        areas: from the first display of another area on.
        score: log-likelihood ratio of the sequential test. cleared: tests that ended in favour.
        slot: number of the latest slot. slot_ends: when it does. slot_calls: calls of this half
            window before it. ring, peaks: calls begun, the latest slot's aside, and most calls at a
            time, in each of the last slots; empty while there are few calls.
        active: calls in progress; -1 where nobody tells when calls end.
        due: calls at which it is judged next. fresh: among those with few calls.
        samples: latest calls as (at, display, callee), clear or as configured.
        touched: changed since it was last saved.
        also: the subject that it serves, too. stranger: calls people anywhere, and nobody twice.
        talk: how its callees take its calls, where that is reported.
        contacts: whom its displays called, from _MANY of them or _BUSY calls on.
        personal: it shows a mobile number. reseller: the key is a RESELLER.
        person: it is one, by the registry.
        care: how much evidence is asked, by what the registry knows (analytics.profile).
        past: when it calls, and whom, where it makes calls enough.
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
    now: HalfWindow
    old: HalfWindow | None = None
    shown: int = -1
    display_area: int = -1
    taken: int = 0
    left: list[RetiredDisplay] = field(default_factory=_none)
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
    as_one_signer: KeyCounts | None = None
    minting: bool = False
    talk: TalkCounts | None = None
    contacts: Contacts | None = None
    personal: bool = False
    reseller: bool = False
    care: int = 0
    past: Past | None = None
    person: bool = False

    @classmethod
    def begin(cls, kind: KeyKind, at: int, length: int) -> KeyCounts:
        """Before the first call. `length` is that of half a window, in seconds."""
        switch, agent = kind is KeyKind.SIGNER, kind is KeyKind.AGENT
        number = at // length
        ends = (number + 1) * length
        begun = cls(kind is KeyKind.SPC, switch, agent, number, ends, at, at, HalfWindow())
        begun.reseller = kind is KeyKind.RESELLER
        return begun

    @property
    def run(self) -> int:
        """Calls in a row that showed the present display."""
        return self.now.calls - self.taken

    @property
    def calls(self) -> int:
        """Judged calls within the window."""
        return self.now.calls + (self.old.calls if self.old is not None else 0)

    @property
    def displays_known(self) -> set[int]:
        """Displays, as far as they are known one by one."""
        known: set[int] = set()
        if self.contacts is not None:
            known.update(self.contacts.displays.view)
            known.discard(0)  # of places that are free
        if self.shown >= 0:
            known.add(self.shown)
        for half in (self.now, self.old):
            if half is not None and half.displays is not None:
                known.update(half.displays.exact)
        return known

    @property
    def week(self) -> int:
        """Judged calls within a week, where it is known for so long; else within the window."""
        if self.contacts is None:
            return self.calls
        return self.now.calls + sum(self.contacts.volumes)

    @property
    def privacy_calls(self) -> int:
        """Calls through privacy numbers within the window."""
        return self.now.privacy_calls + (self.old.privacy_calls if self.old is not None else 0)

    @property
    def seen(self) -> int:
        """Calls within the window, judged ones and those through privacy numbers."""
        now, old = self.now, self.old
        seen = now.calls + now.privacy_calls
        return seen if old is None else seen + old.calls + old.privacy_calls

    @property
    def thinned(self) -> int:
        """Low bits that are 0 of the displays counted all the window long."""
        return max(self.now.thinned, self.old.thinned if self.old is not None else 0)

    @property
    def privacy_calls_found(self) -> int:
        """Of those, made by agents against whom something stands."""
        return self.now.privacy_calls_found + (
            self.old.privacy_calls_found if self.old is not None else 0
        )

    @property
    def leaning(self) -> bool:
        """Whether any evidence speaks against it; without that, structure leads to nothing."""
        contacts, talk = self.contacts, self.talk
        return (talk is not None and talk.score > 0) or (
            contacts is not None
            and (contacts.score > 0 or contacts.aged_score > 0 or contacts.first.score > 0)
        )

    @property
    def display_changes(self) -> int:
        """Calls within the window that showed another display than the call before."""
        return self.now.turns + (self.old.turns if self.old is not None else 0)

    def roll_over(self, at: int, length: int) -> None:
        """Go on to another half window.

        A clock that went back by up to two windows counts on where it was, so that one node's wrong
        clock does not make the others forget. One that went back further was wrong before: what it
        counted is kept as of now.
        """
        generation = at // length
        step = generation - self.generation
        if -_STEPS_BACK <= step <= 0:
            return
        if self.as_one_signer is not None:
            self.as_one_signer.roll_over(at, length)
        if step == 1:
            self.old = self.now
            if self.areas is not None:
                self.areas.age()
        elif step > 1:
            self.old = self.areas = None
            self.score = 0.0
            self.home = -1
        if step > 0 and self.contacts is not None:
            self.contacts.rolled_over(self.now.calls, step)
        if step > 0:
            self.taken -= self.now.calls
            self.slot_calls -= self.now.calls
            self.now = HalfWindow()
            self.due = 4
        self.generation = generation
        self.turns_at = (generation + 1) * length

    def count(
        self,
        at: int,
        display: int,
        pair: int | None,
        display_area: int,
        callee_area: int,
        bounds: Bounds,
    ) -> None:
        """Count one call of an access, subject or signer.

        Args:
            display, pair: hashes; pair is None when the callee is no number.
            display_area, callee_area: NO_AREA for none.
        """
        half = self.now
        half.calls = calls = half.calls + 1
        same = display == self.shown
        if pair is None:
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
            self.display_area = display_area
        if display_area < 0:
            half.arealess += 1
            if self.agent and callee_area >= 0:  # whom a platform names may have any number
                half.reach |= _BITS[callee_area]
        elif callee_area < 0:
            half.unknown += 1
        else:
            if display_area == callee_area:
                half.matches += 1
            else:
                half.reach |= _BITS[callee_area]
            areas = self.areas
            if areas is None and display_area != self.home:
                areas = self._second_area(display_area)
            if first_contact and areas is not None:
                self._test(areas, display_area, callee_area, bounds)
        if at >= self.slot_ends:
            self._advance(at, calls - 1)
        if self.active >= 0:
            self._begun()

    def count_redialled(self, at: int) -> None:
        """Count a call to whom the same display called lately.

        A call like others by its rate, which says nothing of whether the two know each other.
        """
        half = self.now
        half.calls += 1
        half.redialled += 1
        if at >= self.slot_ends:
            self._advance(at, half.calls - 1)
        if self.active >= 0:
            self._begun()

    def _second_area(self, display_area: int) -> AreaCounts | None:
        """What counts areas, once displays are of several; None for the first one."""
        if self.home < 0:
            self.home = display_area
            return None
        self.areas = AreaCounts.empty()
        return self.areas

    def count_origid(self, display: int, link: int) -> KeyCounts | None:
        """Count one call of an SPC; what counts it as one of one signer, too.

        None for displays left out: an eighth of them tells what a carrier's calls are. All count
        while it mints origids.

        Args:
            link: hash of display and origid.
        """
        self.now.calls += 1
        self._linked(display, link)
        if not self.minting and display & _LEFT_OUT:
            return None
        counts = self.as_one_signer
        if counts is None:
            length = self.turns_at // (self.generation + 1)
            counts = self.as_one_signer = KeyCounts.begin(KeyKind.SIGNER, self.last, length)
        counts.last = self.last
        return counts

    def looks_at(self, display: int) -> bool:
        """Tell whether an SPC's calls with that display are counted as one signer's."""
        return self.minting or not display & _LEFT_OUT

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
        active = self.active
        self.active = active - 1 if active > 0 else 0
        if at >= self.slot_ends:
            self._advance(at, self.now.calls)

    def follow(self) -> None:
        """Note from now on whom its displays call, once it has many of them, or is busy."""
        if self.contacts is not None:
            return
        displays = self.now.displays
        many = displays is not None and (displays.bits or len(displays.exact) >= _MANY)
        if many or self.now.calls >= _BUSY:
            self.contacts = Contacts(since=self.generation)

    def talked(self, contact: Contact, tests: SequentialTests) -> None:
        """One of its calls, that is over, was answered or not, and lasted so long."""
        answered, seconds, talk = contact.answered, contact.seconds, self.talk
        half = self.now
        half.answers += 1
        if half.pairs is not None:
            self._met(half, contact.pair, answered=answered)
        if talk is None:
            talk = self.talk = TalkCounts()
        talk.add(tests, answered=answered, seconds=seconds)
        if self.contacts is not None and contact.display >= 0:
            self.contacts.ended(contact, tests)
        past = self.past
        if past is not None and past.unusual is not None:
            past.talked(tests, answered=answered, seconds=seconds)

    def _met(self, half: HalfWindow, pair: int, *, answered: bool) -> None:
        """Note who answered, once pairs are looked at."""
        old = self.old
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
                used = RetiredDisplay(self.shown, run, at, self.display_area)
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
            most = bounds.most
            self.score = score if score < most else most
        areas.add(shown, called)

    def _new(self, half: HalfWindow, pair: int) -> bool:
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
        self.active = active = self.active + 1
        place = self.slot % SLOTS
        peaks = self.peaks
        if active > peaks[place]:
            peaks[place] = active

    def _advance(self, at: int, calls: int) -> None:
        """Go on to another slot, before which there were so many calls of this half window."""
        slot, before, ring, peaks = at // SLOT, self.slot, self.ring, self.peaks
        ring[before % SLOTS] = calls - self.slot_calls
        if slot - before < SLOTS:
            for passed in range(before + 1, slot + 1):
                ring[passed % SLOTS] = peaks[passed % SLOTS] = 0
        else:
            self.ring, self.peaks = [0] * SLOTS, [0] * SLOTS
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
        if self.as_one_signer is not None:
            self.as_one_signer.back(at)

    def begun(self, slots: int) -> list[int]:
        """Calls begun in each of the latest slots."""
        if not self.ring:
            return []
        self.ring[self.slot % SLOTS] = self.now.calls - self.slot_calls
        return self._latest(self.ring, slots)

    @property
    def busiest(self) -> int:
        """Most calls begun in one of the latest slots, of which there must be any."""
        ring = self.ring
        ring[self.slot % SLOTS] = self.now.calls - self.slot_calls
        return max(ring)

    def most(self, slots: int) -> list[int]:
        """Most calls at a time in each of the latest slots."""
        return self._latest(self.peaks, slots) if self.peaks else []

    def _latest(self, counts: list[int], slots: int) -> list[int]:
        after = self.slot % SLOTS + 1
        return (counts[after:] + counts[:after])[-slots:]


_LEAST_LEFT: Final = 8  # calls of a display below which it was not used up, but only used
