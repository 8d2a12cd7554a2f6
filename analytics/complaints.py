"""What callees complain of, as evidence against whom their calls came from.

A complaint counts where the call it is about was seen: a caller is remembered for the display, and
the display's callees are remembered with it (`analytics.evidence.Contacts`). One that nobody saw
counts for nothing. So that a flood of false ones costs its makers more than it does a caller, one
callee counts once against one caller, and for few callers a day; and one source for few complaints
a day against one caller. A day is that on which the callee was first called, as it was seen here.

Held against the rate of its peers, which is everybody else's: a likelihood ratio of the complaints
that so many calls bring an honest caller, and a pool. By themselves complaints only label.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import log
from typing import Final

from msgspec import Struct

from zhenxian.analytics.model import Assessment, Key, Measure
from zhenxian.analytics.thresholds import DAY, Complained

_MAX_DISPLAYS: Final = 131_072  # whose callers are remembered; some 20 MB when full
_MAX_CALLERS: Final = 4  # of one display
_MAX_COMPLAINTS: Final = 512  # kept against one caller, the latest
_MAX_ACCUSED: Final = 16_384
_MAX_COMPLAINANTS: Final = 131_072
_FIRST_SEEN: Final = 21  # days for which it is known when somebody was first called
_NOBODY: Final[tuple[Key, ...]] = ()


class Complaint(Struct, frozen=True, gc=False):
    """One complaint, by hashes.

    Attributes:
        at: when the call was, in seconds since the epoch.
        display, callee: hashes. source: who passed it on.
    """

    at: int
    display: int
    callee: int
    source: str


class _Against(Struct):
    """What is complained of one caller: time and day of the call, and source, by callee."""

    by_callee: dict[int, tuple[int, int, str]]


class Complaints:
    """Who shows which display, and what was complained of."""

    def __init__(self, policy: Complained) -> None:
        self._policy = policy
        self._callers: OrderedDict[int, tuple[Key, ...]] = OrderedDict()
        self._against: OrderedDict[Key, _Against] = OrderedDict()
        self._complained: OrderedDict[tuple[int, int], int] = OrderedDict()  # callee and day
        self._begun: dict[Key, int] = {}
        self._peers = (0, 0.0)  # complaints and calls of everybody
        self._label, self._refuse = (log(1 / one) for one in (policy.label, policy.refuse))

    @property
    def full(self) -> bool:
        """Tell whether older displays go for each new one."""
        return len(self._callers) >= _MAX_DISPLAYS

    def callers(self, display: int) -> tuple[Key, ...]:
        """Who showed a display."""
        return self._callers.get(display, _NOBODY)

    def shows(self, display: int, key: Key) -> None:
        """A caller is seen to show a display."""
        callers = self._callers.get(display)
        if callers is None:
            if len(self._callers) >= _MAX_DISPLAYS:
                self._callers.popitem(last=False)
            self._callers[display] = (key,)
        elif key not in callers:
            self._callers[display] = (*callers, key)[-_MAX_CALLERS:]

    def made_by(
        self, told: Complaint, called: Callable[[Key, Complaint], int | None]
    ) -> tuple[Key, ...]:
        """Count a complaint; against whom. None: nobody made that call, or it counts no more.

        Args:
            called: the day on which a caller first called that callee with that display; None
                if it is not known to have.
        """
        callers = self._callers.get(told.display, _NOBODY)
        made = {key: seen for key in callers if (seen := called(key, told)) is not None}
        if not made:
            return _NOBODY
        day = (told.callee, min(made.values()))
        counted = self._complained.get(day, 0)
        if counted >= self._policy.a_callee:
            return _NOBODY
        accused = tuple(key for key, seen in made.items() if self._count(key, told, seen))
        if accused:
            self._complained[day] = counted + 1
            if len(self._complained) > _MAX_COMPLAINANTS:
                self._complained.popitem(last=False)
        return accused

    def _count(self, key: Key, told: Complaint, day: int) -> bool:
        if told.at <= self._begun.get(key, -1):
            return False
        against = self._against.get(key)
        if against is None:
            against = self._against[key] = _Against({})
            if len(self._against) > _MAX_ACCUSED:
                self._against.popitem(last=False)
        by_callee = against.by_callee
        if told.callee in by_callee:
            return False
        same = sum(on == day and source == told.source for _, on, source in by_callee.values())
        if same >= self._policy.a_source:
            return False
        by_callee[told.callee] = (told.at, day, told.source)
        if len(by_callee) > _MAX_COMPLAINTS:
            del by_callee[next(iter(by_callee))]
        return True

    def concerns(self, key: Key) -> bool:
        """Tell cheaply whether anybody complained of a caller."""
        return key in self._against

    def number(self, key: Key, now: int) -> int:
        """Complaints of the last days that count against a caller."""
        against = self._against.get(key)
        if against is None:
            return 0
        since = now - self._policy.days * DAY
        return sum(at > since for at, _, _ in against.by_callee.values())

    def everybodys(self, number: int, calls: float) -> None:
        """Take over how many complaints count in all, and calls that could have led to one."""
        self._peers = (number, calls)

    @property
    def accused(self) -> list[Key]:
        """Callers of whom somebody complained."""
        return list(self._against)

    def score(self, key: Key, calls: float, now: int) -> tuple[int, float]:
        """Complaints against a caller, and their log-likelihood ratio.

        Args:
            calls: of the caller within the same days, of displays that are followed.
        """
        number = self.number(key, now)
        if not number:
            return 0, 0.0
        policy = self._policy
        all_of, all_calls = self._peers
        others = max(0, all_of - number) / max(1.0, all_calls - calls)
        honest = max(policy.honest, policy.peers * others)
        return number, number * log(policy.pool) - calls * honest * (policy.pool - 1)

    def assessment(self, key: Key, calls: float, now: int) -> Assessment | None:
        """What complaints say of a caller; None for nothing."""
        number, score = self.score(key, calls, now)
        if number < self._policy.least or score <= 0:
            return None
        figures = {
            "complaints": float(number),
            "calls of the same days": calls,
            "complaints log-likelihood ratio": score,
        }
        limits = {
            "complaints": float(self._policy.least),
            "complaints log-likelihood ratio": self._label,
        }
        return Assessment(
            measure=Measure.COMPLAINTS,
            strength=0.0,
            figures=figures,
            thresholds=limits,
            suspicion=score / self._label,
            lowers=False,
        )

    def proves(self, told: Assessment) -> bool:
        """Tell whether complaints make a finding of another suspicion."""
        return told.figures["complaints log-likelihood ratio"] >= self._refuse

    def cleared(self, key: Key, at: int) -> None:
        """Calls up to a clearing are complained of in vain."""
        self._begun[key] = max(at, self._begun.get(key, at))
        self._against.pop(key, None)

    def expire(self, now: int) -> None:
        """Forget what is too old to count."""
        since = now - self._policy.days * DAY
        for key, against in list(self._against.items()):
            for callee in [one for one, (at, _, _) in against.by_callee.items() if at <= since]:
                del against.by_callee[callee]
            if not against.by_callee:
                del self._against[key]
        self._begun = {key: at for key, at in self._begun.items() if at > since}
        self._complained = OrderedDict(
            (day, count)
            for day, count in self._complained.items()
            if day[1] >= since // DAY - _FIRST_SEEN
        )
