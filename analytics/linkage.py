"""Who was found comes back under another name: by the numbers it had, and by whom it calls.

A caller that is found leaves a mark: its numbers (held by the registry's word, or displayed) and
the latest of its callees, for some weeks. Another caller is the same one again when

- at least `numbers` of the mark's numbers, and `share` of all of them, are registered to it: that
  is known before its first call;
- it displays as many, and they are most of what it displays; or
- its first calls go to the mark's callees far more often than others' do, by a sequential test
  whose honest share is what others' calls to the same area have, times a safety factor.

Single numbers that come into new hands (recycled ones) are below all of these. Whoever was well
known before is labelled at most.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from zhenxian.analytics.areas import CELLS
from zhenxian.analytics.counted import CountedCall
from zhenxian.analytics.evidence import LatestValues
from zhenxian.analytics.model import Assessment, Key, KeyKind, Measure, Time
from zhenxian.analytics.thresholds import DAY, Links

MAX_NUMBERS: Final = 1_024  # of one mark; of more every second one is kept, and so on
MAX_CALLEES: Final = 4_096  # of one mark, the latest
_MOST: Final = 131_072  # numbers, and callees, of all marks; some 15 MB each when full
_MAX_LINKS: Final = 16_384  # callers that are compared with marks at a time
_MAX_CALLED: Final = 64  # marked callees of one caller that are told apart
_MAX_OF_ONE: Final = 4  # marks that one number is of, the latest
_MAX_MARKS: Final = 16_384
_GATEWAY: Final = "unknown/"
_FLOOR: Final = -3.0
_ANEW: Final = 600  # seconds after which a mark is made anew while its caller goes on
_MASK: Final = (1 << 32) - 1
_PRIOR: Final = 50  # calls to an area that are taken to have gone to nobody's callee
_NO_POWER: Final = 0.8  # of `same`: a chance above that tells nothing
_COMPARED: Final = frozenset({KeyKind.ACCESS, KeyKind.SUBJECT, KeyKind.SIGNER, KeyKind.RESELLER})
_REGISTERED: Final = frozenset({KeyKind.ACCESS, KeyKind.SUBJECT})
_NOBODY: Final[tuple[Key, ...]] = ()


class Mark(Struct, frozen=True, kw_only=True):
    """A mark as it is saved and sent to other nodes.

    Attributes:
        at: when its caller was last found, in seconds since the epoch.
        level: only numbers whose low `level` bits are 0 were kept.
        numbers, callees: hashes, four octets each. held: those of the numbers that were registered
            to the caller, who may have displayed any other; None while that was not asked for.
    """

    key: Key
    at: Time
    level: Annotated[int, Meta(ge=0, le=32)]
    numbers: bytes
    callees: bytes
    held: bytes | None = None


@dataclass(slots=True)
class _Marked:
    """A mark at work. `asked` is when its holdings were last asked for.

    `whole` is another one each time that a callee is lost to another mark, or to newer callees.
    """

    at: int
    level: int = 0
    numbers: set[int] = field(default_factory=set)
    held: set[int] | None = None
    callees: OrderedDict[int, None] = field(default_factory=OrderedDict)
    asked: int = 0
    whole: object = field(default_factory=object)

    def samples(self, number: int) -> bool:
        return not number & ((1 << self.level) - 1)

    def had(self, number: int) -> bool:
        """Whether it was the caller's, as far as is known; else it was only displayed."""
        return self.held is None or number in self.held


@dataclass(slots=True)
class _Link:
    """One caller, compared with marks.

    Attributes:
        calls: since the first that met a mark. marked: of those, with a marked number.
        shown: marked numbers that it displayed, by mark. called: marked callees, and when those
            marks were confirmed last.
        score: log-likelihood ratio over callees.
    """

    calls: int = 0
    marked: int = 0
    first: int = 0
    shown: dict[Key, set[int]] = field(default_factory=dict)
    called: dict[int, int] = field(default_factory=dict)
    score: float = 0.0


class Linkage:
    """All marks, and who is compared with them. Bounded; see the constants."""

    def __init__(self, policy: Links) -> None:
        self.marks: OrderedDict[Key, _Marked] = OrderedDict()  # the longest confirmed first
        self.changed: dict[Key, bool] = {}  # marks to be saved, and whether they are to be sent
        self.learned: set[Key] = set()  # of those, new here and told by others
        self.wanted: set[Key] = set()  # marked subjects whose holdings are to be asked for
        self._policy = policy
        self._numbers: dict[int, tuple[Key, ...]] = {}
        self._kept = 0  # numbers of all marks: one may be of several
        self._callees: dict[int, Key] = {}
        self._links: OrderedDict[Key, _Link] = OrderedDict()
        self._holders: dict[int, str] = {}  # subjects, by marked number
        self._held: dict[Key, tuple[Key, int, float]] = {}  # by subject: mark, numbers, share
        self._called: dict[Key, dict[int, None]] | None = None  # since it was told to others
        self._begun: dict[Key, int] = {}  # callers cleared: marks up to then do not count
        self._calls = [0] * CELLS  # others' calls by area of the callee
        self._hits = [0] * CELLS
        self._label, self._refuse = (log(1 / one) for one in (policy.label, policy.refuse))

    def __len__(self) -> int:
        return len(self.marks)

    def concerns(self, key: Key) -> bool:
        """Tell cheaply whether a caller met a mark."""
        return key in self._links or key in self._held

    # -- marking

    def mark(self, key: Key, at: int, numbers: Iterable[int], callees: Iterable[int]) -> None:
        """Mark a found caller, or add to its mark. Numbers and callees are hashes."""
        marked = self.marks.get(key)
        if marked is None:
            marked = self.marks[key] = _Marked(at)
        if key.kind is KeyKind.SUBJECT and at - marked.asked >= DAY:
            marked.asked = at
            self.wanted.add(key)
        marked.at = max(at, marked.at)
        self.marks.move_to_end(key)
        self._add_numbers(key, marked, numbers)
        whose = self._callees
        for callee in callees:
            if whose.get(callee) is not key:  # nearly all were marked call by call
                self._add_callee(key, marked, callee)
        self.changed[key] = True
        self._bound()

    def unmarked(self, key: Key, numbers: set[int]) -> set[int]:
        """Those of a found caller's numbers that its mark has not got yet."""
        marked = self.marks.get(key)
        if marked is None:
            return numbers
        numbers = numbers - marked.numbers
        return {one for one in numbers if marked.samples(one)} if marked.level else numbers

    def untaken(self, key: Key, callees: LatestValues) -> Iterable[int]:
        """Those called lately that a mark may lack; all, in order, where others go for them."""
        marked = self.marks.get(key)
        new = [] if marked is None else list(callees.untaken(marked.whole))
        return callees if not marked or len(marked.callees) + len(new) > MAX_CALLEES else new

    def due(self, key: Key, at: int) -> bool:
        """Tell whether a found caller's mark is to be made, or made anew."""
        marked = self.marks.get(key)
        return marked is None or at - marked.at >= _ANEW or at < marked.at

    def hold(self, key: Key, numbers: Iterable[int]) -> None:
        """Add numbers, hashed, that a marked subject holds."""
        marked = self.marks.get(key)
        if marked is not None:
            numbers = list(numbers)
            self._add_numbers(key, marked, numbers)
            held = {number for number in numbers if number in marked.numbers}
            marked.held = held | (marked.held or set())
            self.changed[key] = True
            self._bound()

    def _add_numbers(self, key: Key, marked: _Marked, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in marked.numbers or not marked.samples(number):
                continue
            marked.numbers.add(number)
            self._kept += 1
            whose = self._numbers[number] = (*self._numbers.get(number, _NOBODY), key)
            if len(whose) > _MAX_OF_ONE:
                self._unnumber(whose[0], self.marks[whose[0]], number)
            if len(marked.numbers) > MAX_NUMBERS:
                marked.level += 1
                for gone in [one for one in marked.numbers if not marked.samples(one)]:
                    self._unnumber(key, marked, gone)

    def _unnumber(self, key: Key, marked: _Marked, number: int) -> None:
        marked.numbers.discard(number)
        if marked.held is not None:
            marked.held.discard(number)
        self._kept -= 1
        rest = tuple(one for one in self._numbers.get(number, _NOBODY) if one != key)
        if rest:
            self._numbers[number] = rest
        else:
            self._numbers.pop(number, None)
            self._holders.pop(number, None)

    def _add_callee(self, key: Key, marked: _Marked, callee: int) -> None:
        before = self._callees.get(callee)
        if before == key:
            return
        if before is not None and before in self.marks:
            loser = self.marks[before]
            loser.callees.pop(callee, None)
            loser.whole = object()
        self._callees[callee] = key
        marked.callees[callee] = None
        if len(marked.callees) > MAX_CALLEES:
            self._callees.pop(marked.callees.popitem(last=False)[0], None)
            marked.whole = object()

    def _bound(self) -> None:
        """Let the oldest marks go while there are too many numbers or callees."""
        while len(self.marks) > 1 and (
            len(self.marks) > _MAX_MARKS or max(self._kept, len(self._callees)) > _MOST
        ):
            self.unmark(next(iter(self.marks)))

    def unmark(self, key: Key) -> tuple[Key, ...]:
        """Take a mark away; subjects that were held against it."""
        marked = self.marks.pop(key, None)
        if marked is None:
            return _NOBODY
        for number in list(marked.numbers):
            self._unnumber(key, marked, number)
        for callee in marked.callees:
            if self._callees.get(callee) == key:
                del self._callees[callee]
        self.changed[key] = True
        for link in self._links.values():
            link.shown.pop(key, None)
        held = tuple(one for one, (mark, _, _) in self._held.items() if mark == key)
        for one in held:
            del self._held[one]
        return held

    def cleared(self, key: Key, at: int) -> tuple[Key, ...]:
        """A caller is cleared: what was found of it marks nobody, and no older mark lies on it."""
        self._begun[key] = max(at, self._begun.get(key, at))
        self._links.pop(key, None)
        self._held.pop(key, None)
        marked = self.marks.get(key)
        return self.unmark(key) if marked is not None and marked.at <= at else _NOBODY

    def expire(self, now: int) -> None:
        """Forget marks that have lain for long enough."""
        for key in [
            one for one, mark in self.marks.items() if now - mark.at > self._policy.remembered
        ]:
            self.unmark(key)
        oldest = now - self._policy.remembered
        self._begun = {key: at for key, at in self._begun.items() if at > oldest}

    # -- what the registry says

    def weight(self, number: int) -> int:
        """How many numbers of a mark it stands for; 0 for one that is of none."""
        whose = self._numbers.get(number)
        return 0 if whose is None else max(1 << self.marks[mark].level for mark in whose)

    def moved(self, holders: Iterable[tuple[int, str]]) -> tuple[Key, ...]:
        """Take over who holds marked numbers now; subjects against whom that speaks.

        Args:
            holders: hash of a number, and its subject; empty when nobody holds it.
        """
        marks: dict[Key, None] = {}
        for number, subject in holders:
            whose = self._numbers.get(number)
            if whose is None or self._holders.get(number, "") == subject:
                continue
            if subject:
                self._holders[number] = subject
            else:
                self._holders.pop(number, None)
            marks.update(dict.fromkeys(whose))
        return tuple(one for mark in marks for one in self._recounted(mark))

    def _recounted(self, key: Key) -> list[Key]:
        marked = self.marks[key]
        counted = Counter(
            holder
            for one in marked.numbers
            if marked.had(one) and (holder := self._holders.get(one)) is not None
        )
        for subject in [one for one, (mark, _, _) in self._held.items() if mark == key]:
            if counted[subject.id] << marked.level < self._policy.numbers:
                del self._held[subject]
        told = []
        for name, count in counted.items():
            subject, numbers = Key(KeyKind.SUBJECT, name), count << marked.level
            if not _shows_own(key) or subject == key or numbers < self._policy.numbers:
                continue
            share = count / len(marked.numbers)
            before = self._held.get(subject)
            if before is None or before[0] == key or before[2] < share:
                self._held[subject] = (key, numbers, share)
                told.append(subject)
        return told

    @property
    def returned(self) -> list[Key]:
        """Subjects that hold enough numbers of a mark."""
        return list(self._held)

    # -- calls

    def seen(self, call: CountedCall) -> tuple[Key, ...]:
        """Compare a call with the marks; callers that are worth judging for it."""
        display, pair = call.display, call.pair
        if display is None or pair is None or call.redialled or call.bound:
            return _NOBODY
        callee = (pair - display * 3) & _MASK
        keys, marks, links, area = call.keys, self.marks, self._links, call.callee_area
        mark, whose = self._callees.get(callee), self._numbers.get(display)
        concerned = mark is not None or whose is not None
        for key in keys:
            if key in marks:  # its own calls say nothing of others, and whom it calls is marked
                if mark is not key:
                    self._add_callee(key, marks[key], callee)
                if self._called is not None:
                    self._called.setdefault(key, {})[callee] = None
                return _NOBODY
            if key in links:
                concerned = True
        if not concerned:
            self._calls[area] += 1
            return _NOBODY
        chance = self._chance(area)
        self._calls[area] += 1
        self._hits[area] += mark is not None
        return tuple(
            key
            for key in keys
            if key.kind in _COMPARED and self._compared(key, call, callee, mark, whose, chance)
        )

    def _chance(self, area: int) -> float:
        """How often others' calls to an area go to a marked callee, with a safety factor."""
        policy = self._policy
        share = self._hits[area] / (self._calls[area] + _PRIOR)
        return max(policy.honest, policy.chance * share)

    def _compared(
        self,
        key: Key,
        call: CountedCall,
        callee: int,
        mark: Key | None,
        whose: tuple[Key, ...] | None,
        chance: float,
    ) -> bool:
        """Compare one caller; whether it comes nearer to a mark by that."""
        link = self._links.get(key)
        if mark is not None and not self._lies(mark, key):
            mark = None
        if link is None:
            if mark is None and whose is None:
                return False
            link = self._links[key] = _Link(first=call.at)
            if len(self._links) > _MAX_LINKS:
                self._links.popitem(last=False)
        link.calls += 1
        same = self._policy.same
        if mark is None:
            if chance < _NO_POWER * same:
                link.score = max(_FLOOR, link.score + log((1 - same) / (1 - chance)))
        elif callee not in link.called and len(link.called) < _MAX_CALLED:
            link.called[callee] = self.marks[mark].at
            if chance < _NO_POWER * same:
                link.score = min(2 * self._refuse, link.score + log(same / chance))
        nearer = mark is not None and link.score > 0
        if whose is not None and call.display is not None:
            link.marked += 1
            for one in whose:
                if self._lies(one, key):
                    shown = link.shown.setdefault(one, set())
                    nearer |= call.display not in shown
                    shown.add(call.display)
        elif not link.shown and not link.called and link.score <= _FLOOR:
            del self._links[key]
        return nearer

    def _lies(self, mark: Key, key: Key) -> bool:
        marked = self.marks.get(mark)
        return marked is not None and mark != key and marked.at > self._begun.get(key, -1)

    # -- what it comes to

    def assessment(self, key: Key, *, since: int, honest: bool) -> Assessment | None:
        """What marks say of a caller; None for nothing.

        Args:
            since: from when on it is well known; one from before the mark is labelled at most.
            honest: how callees take its calls speaks for it.
        """
        link, told = self._links.get(key), []
        held = self._held.get(key)
        if held is not None and self._lies(held[0], key):
            known = since < self.marks[held[0]].at
            told.append(self._of_numbers(*held[1:], 1.0, less=known))
        if link is not None:
            shown = self._most_shown(key, link)
            if shown is not None:
                less = since < self.marks[shown[0]].at or not _against(shown[0], key)
                own = link.marked / max(link.calls, 1)
                told.append(self._of_numbers(*shown[1:], own, less=less))
            called = self._by_callees(link, since)
            if called is not None and not honest:
                told.append(called)
        if not told:
            return None
        best = max(told, key=lambda one: (one.strength, one.suspicion or 0.0))
        return replace(best, strength=0.0, lowers=False) if honest else best

    def _most_shown(self, key: Key, link: _Link) -> tuple[Key, int, float] | None:
        """The mark of whose numbers the caller displayed most, how many, and their share."""
        best = None
        for mark, shown in link.shown.items():
            marked = self.marks.get(mark)
            if marked is None or not marked.numbers or not self._lies(mark, key):
                continue
            # Whoever holds now what the found caller only displayed has it from somebody else.
            holders = self._holders
            count = sum(marked.had(one) or one not in holders for one in shown & marked.numbers)
            share = count / len(marked.numbers)
            if count << marked.level >= self._policy.numbers and (best is None or share > best[2]):
                best = (mark, count << marked.level, share)
        return best

    def _of_numbers(self, numbers: int, share: float, own: float, *, less: bool) -> Assessment:
        """What shared numbers say; `less`: no more than a label."""
        policy = self._policy
        strength = min(numbers / policy.numbers, share / policy.share, own / policy.own, 10.0)
        figures = {"numbers of a found caller": float(numbers), "share of that caller's": share}
        limits = {
            "numbers of a found caller": float(policy.numbers),
            "share of that caller's": policy.share,
        }
        enough = numbers >= policy.numbers and own >= policy.own
        if less:
            strength = 0.0
        return Assessment(
            measure=Measure.LINKAGE,
            strength=strength if enough else 0.0,
            figures=figures,
            thresholds=limits,
            suspicion=1.0 if enough else 0.0,
            lowers=strength >= 1,
        )

    def _by_callees(self, link: _Link, since: int) -> Assessment | None:
        policy, called = self._policy, len(link.called)
        if link.score <= 0 or called < policy.callees // 4:
            return None
        figures = {
            "callees of a found caller": float(called),
            "callees log-likelihood ratio": link.score,
        }
        limits = {
            "callees of a found caller": float(policy.callees),
            "callees log-likelihood ratio": self._refuse,
        }
        # A found caller can call whomever a well-known one calls, so as to have it found.
        before = sum(at <= since for at in link.called.values())
        return Assessment(
            measure=Measure.LINKAGE,
            strength=min(before / policy.callees, link.score / self._refuse),
            figures=figures,
            thresholds=limits,
            suspicion=link.score / self._label,
            lowers=before >= policy.callees // 4,
        )

    # -- other nodes, and restart

    def take_changed(self) -> dict[Key, Mark | None]:
        """Marks that changed since they were last taken; None for those that are gone."""
        changed, self.changed = self.changed, {}
        return {key: self.written(key) for key in changed}

    def tell(self, *, others: bool) -> None:
        """Keep for others whom marked callers call, or do so no more: they see all calls."""
        self._called = (self._called or {}) if others else None

    def take_called(self) -> list[Mark]:
        """What marks came to since they were last taken, as marks that add to them."""
        called = self._called
        if not called:
            return []
        self._called = {}
        return [
            Mark(
                key=key,
                at=marked.at,
                level=marked.level,
                numbers=b"",
                callees=_octets(list(callees)[-MAX_CALLEES:]),
            )
            for key, callees in called.items()
            if (marked := self.marks.get(key)) is not None
        ]

    def written(self, key: Key) -> Mark | None:
        """A mark as it is saved."""
        marked = self.marks.get(key)
        if marked is None:
            return None
        return Mark(
            key=key,
            at=marked.at,
            level=marked.level,
            numbers=_octets(marked.numbers),
            held=None if marked.held is None else _octets(marked.held),
            callees=_octets(marked.callees),
        )

    def adopt(self, mark: Mark) -> bool:
        """Take over a mark of another node, or of before a restart, unless its key was cleared."""
        if mark.at <= self._begun.get(mark.key, -1):
            return False
        marked = self.marks.get(mark.key)
        before = _extent(marked) if marked is not None else None
        if marked is None:
            marked = self.marks[mark.key] = _Marked(mark.at, mark.level)
            self.marks.move_to_end(mark.key)
            self.learned.add(mark.key)
        marked.at = max(marked.at, mark.at)
        if mark.level > marked.level:
            marked.level = mark.level
            for gone in [one for one in marked.numbers if not marked.samples(one)]:
                self._unnumber(mark.key, marked, gone)
        self._add_numbers(mark.key, marked, _hashes(mark.numbers))
        if mark.held is not None:
            held = {one for one in _hashes(mark.held) if one in marked.numbers}
            marked.held = held | (marked.held or set())
        for callee in _hashes(mark.callees):
            self._add_callee(mark.key, marked, callee)
        if _extent(marked) != before:
            self.changed.setdefault(mark.key, False)
        self._bound()
        return True


def _extent(marked: _Marked) -> tuple[int, ...]:
    """What differs when a mark became another one: it only grows until it is made coarser."""
    held = -1 if marked.held is None else len(marked.held)
    return marked.at, marked.level, len(marked.numbers), held, len(marked.callees)


def _shows_own(key: Key) -> bool:
    """Whether a caller shows numbers of its own: it is registered, and no customer of another.

    What else is counted may show numbers that somebody else holds, who is not found by them.
    """
    return key.kind in _REGISTERED and "/" not in key.id


def _against(mark: Key, key: Key) -> bool:
    """Whether what a found caller displayed is held against another who displays it.

    A gateway's caller, and another carrier's, may show whatever they like, also to have somebody
    found; and the host of a customer shows what its customer does.
    """
    if _of_gateway(mark):
        return _of_gateway(key)
    if _shows_own(key):
        return mark.kind is not KeyKind.SIGNER and mark.id.partition("/")[0] != key.id
    return True


def _of_gateway(key: Key) -> bool:
    """Whether a key is of calls of no known access, as signer.analytics.gateway has it."""
    return key.kind is KeyKind.ACCESS and key.id.startswith(_GATEWAY)


def _octets(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def _hashes(octets: bytes) -> list[int]:
    whole = len(octets) // 4 * 4
    return list(memoryview(octets[:whole]).cast("I")) if whole else []
