"""Which callers are one: a box of SIM cards hands over from one access to the next.

A box dials with one card for a while, then with the next. When each card has an access, a name and
a carrier of its own, no key shows a rotation; but each time one of them falls silent, another one
begins. Two callers who know nothing of each other do that only by chance, and how often chance does
it follows from how often they begin.

For each ordered pair, a sequential test (Wald) over the times at which the second one begins:
  by chance: the first fell silent within `reach` seconds before with probability
             reach * (how often the first one begins a second);
  together:  with probability `expected`.
The test begins anew whenever it leans to chance, and finds at ln(1 / false_alarm).

Only callers are looked at who call strangers all over the country (`KeyCounts.stranger`). Unseen
stay boxes whose cards overlap in time or wait longer than `reach` between one and the next, those
that draw the next card at random, of which each pair follows too seldom, and those among so many
others that more than MAX_FOLLOWED begin before the next card does. Nodes of a fleet see it when
their exchange lags by much less than `reach`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from math import log
from typing import Final

from msgspec import Struct

from zhenxian.analytics.model import Key
from zhenxian.analytics.thresholds import DAY, HOUR, Handover

MAX_CALLERS: Final = 4_096
MAX_FOLLOWED: Final = 32  # beginnings that are looked at when a caller resumes; it has no more ties
MAX_TIES: Final = 32  # pairs of one caller; about 100 octets each
_MAX_STARTS: Final = 8_192
_KEPT: Final = 6 * HOUR  # of starts; who is silent for longer is not handed over to and back
_MAX_LINKED: Final = 64
_LIKELIEST: Final = 0.5  # chance of a coincidence above which it says too little to go on


class Run(Struct, frozen=True):
    """A run begins, as others are told.

    Attributes:
        ended: when the caller's run before ended; as `began` where there was none.
    """

    key: Key
    ended: int
    began: int


@dataclass(slots=True, eq=False)
class Caller:
    """When somebody called, in runs of calls with less than `pause` between them.

    Attributes:
        key: whose calls. gone: it was forgotten; another one may have its key by now.
        first, last: seconds since the epoch. runs: begun.
        ties: log-likelihood ratio that another hands over to this one.
        heirs: those whom this one hands over to, as far as they were found.
        missed: what a beginning that did not follow it adds; None where that is another one now.
    """

    key: Key
    first: int
    last: int
    runs: int = 1
    ties: dict[Key, float] = field(default_factory=dict)
    heirs: set[Key] = field(default_factory=set)
    missed: float | None = None
    gone: bool = False


class Handovers:
    """Of all keys of one kind. Bounded by MAX_CALLERS, those forgotten first who began longest ago.

    A restart forgets them; they are found again by as many handovers as the first time.
    """

    def __init__(self, policy: Handover) -> None:
        self._policy = policy
        self._pause, self._reach = policy.pause, policy.reach
        self.upper = log(1 / policy.false_alarm)
        self._callers: dict[Key, Caller] = {}
        # When runs began, and whose: many of these are gone through at each beginning.
        self._starts: list[int] = []
        self._starters: list[Caller] = []
        self._untold: list[Run] | None = None

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._callers)

    def call(self, key: Key, at: int) -> bool:
        """Count one call of a stranger; tell whether a run begins with it."""
        caller = self._callers.get(key)
        if caller is None:
            if len(self._callers) >= MAX_CALLERS:
                self.forget(next(iter(self._callers)))
            caller = self._callers[key] = Caller(key, at, at)
            self._begun(caller, at)
            self._tell(key, at, at)
            return True
        gap = at - caller.last
        if gap >= self._pause:
            self._tell(key, caller.last, at)
            self._resumed(key, caller)
            self._begun(caller, at)
            caller.last = at
            caller.missed = None
            return True
        if gap > 0:
            caller.last = at
            caller.missed = None
        elif gap < -DAY:  # the clock was ahead
            caller.first = caller.last = at
            caller.missed = None
        return False

    def tell(self, *, others: bool) -> None:
        """Keep for others when runs begin, or do so no more."""
        self._untold = (self._untold or []) if others else None

    def _tell(self, key: Key, ended: int, began: int) -> None:
        if self._untold is not None and len(self._untold) < MAX_CALLERS:
            self._untold.append(Run(key, max(0, ended), max(0, began)))

    def take(self) -> list[Run]:
        """Runs that others are to be told of."""
        if self._untold is None:
            return []
        untold, self._untold = self._untold, []
        return untold

    def heard(self, key: Key, ended: int, began: int) -> None:
        """Take over a run of a caller whose calls others count."""
        caller = self._callers.get(key)
        if caller is not None:
            caller.last = max(caller.last, ended)
            caller.missed = None
        untold, self._untold = self._untold, None
        self.call(key, began)
        self._untold = untold

    def _begun(self, caller: Caller, at: int) -> None:
        starts, starters = self._starts, self._starters
        if not starts or at >= starts[-1]:
            starts.append(at)
            starters.append(caller)
        else:
            place = bisect_right(starts, at)
            starts.insert(place, at)
            starters.insert(place, caller)
        if len(starts) > _MAX_STARTS or starts[0] < at - 2 * _KEPT:
            gone = max(len(starts) // 4, bisect_left(starts, at - _KEPT))
            del starts[:gone], starters[:gone]

    def _resumed(self, key: Key, caller: Caller) -> None:
        """Take in who began when this one had fallen silent, and that it begins itself."""
        chance = self._chance(caller)
        if chance < _LIKELIEST:
            self._followed(key, caller, chance)
        caller.runs += 1
        caller.missed = None
        # Moved to the end, so that those forgotten are those who began longest ago.
        callers = self._callers
        callers[key] = callers.pop(key)
        if caller.ties:
            self._weakened(key, caller)

    def _followed(self, key: Key, caller: Caller, chance: float) -> None:
        """Strengthen the ties of those who began when this one had fallen silent."""
        upper, heirs = self.upper, caller.heirs
        once, missed, most = log(self._policy.expected / chance), self._missed(chance), 2 * upper
        once_kept = min(once, most)
        starts, ended = self._starts, caller.last
        # A thousand callers begin some hundred times within reach; the nearest are likeliest.
        first = bisect_left(starts, ended)
        last = bisect_right(starts, ended + self._reach, first)
        weak = upper / 2
        tells, chances = once > 0, once < weak
        for heir in self._starters[first : min(last, first + MAX_FOLLOWED)]:
            if heir is caller:
                continue
            follower = heir
            if heir.gone:
                again = self._callers.get(heir.key)
                if again is None or again is caller:
                    continue
                follower = again
            ties = follower.ties
            if key not in ties:
                if tells:
                    if len(ties) >= MAX_TIES:
                        del ties[min(ties, key=ties.__getitem__)]
                    ties[key] = once_kept
                if chances and not heirs:  # nearly all are chance, and are not seen again
                    continue
                score = once
            else:
                score = once + ties[key] - missed
                if score > 0:
                    ties[key] = min(score, most)
                else:
                    del ties[key]
            if score < weak:
                if heirs:
                    heirs.discard(follower.key)
            elif score >= upper and len(heirs) < _MAX_LINKED:
                heirs.add(follower.key)

    def _weakened(self, key: Key, caller: Caller) -> None:
        """Take a caller's ties for chance, until the others are seen to have been silent."""
        callers, upper = self._callers, self.upper
        weak = upper / 2
        kept: dict[Key, float] = {}
        for other, tie in caller.ties.items():
            before = callers.get(other)
            if before is None:
                score = tie - upper
            else:
                # Reckoned once for all who have a tie with it, until it calls again.
                missed = before.missed
                if missed is None:
                    missed = before.missed = self._missed(self._chance(before))
                score = tie + missed
                if before.heirs and score < weak:
                    before.heirs.discard(key)
            if score > 0:
                kept[other] = score
        caller.ties = kept

    def _chance(self, caller: Caller) -> float:
        """Chance that the caller fell silent within `reach` seconds before any given moment."""
        span = caller.last - caller.first
        chance = self._reach * caller.runs / (span if span > HOUR else HOUR)
        return chance if chance < _LIKELIEST else _LIKELIEST

    def _missed(self, chance: float) -> float:
        return log((1 - self._policy.expected) / (1 - chance))

    def _linked(self, key: Key, caller: Caller) -> list[tuple[Key, float]]:
        linked = [(other, score) for other, score in caller.ties.items()]
        for heir in caller.heirs:
            follower = self._callers.get(heir)
            if follower is not None:
                linked.append((heir, follower.ties.get(key, 0.0)))
        return linked

    def standing(self, key: Key) -> tuple[float, int]:
        """The strongest log-likelihood ratio of a handover to or from it, and callers tied so."""
        caller = self._callers.get(key)
        if caller is None or not (caller.ties or caller.heirs):
            return 0.0, 1
        strongest = max(caller.ties.values(), default=0.0)
        if caller.heirs:
            strongest = max((score for _, score in self._linked(key, caller)), default=0.0)
        if strongest < self.upper:
            return strongest, 1
        seen, todo = {key}, [key]
        while todo and len(seen) < _MAX_LINKED:
            name = todo.pop()
            one = self._callers.get(name)
            if one is None:
                continue
            for other, score in self._linked(name, one):
                if score >= self.upper and other not in seen:
                    seen.add(other)
                    todo.append(other)
        return strongest, len(seen)

    def forget(self, key: Key) -> None:
        """Know nothing of a key any more."""
        caller = self._callers.pop(key, None)
        if caller is not None:  # its beginnings are remembered for a while, and hold it alone
            caller.gone = True
            caller.ties, caller.heirs = {}, set()
