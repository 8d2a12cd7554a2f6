"""One caller's calls, made whole: who was shown to whom, whether anybody answered, how long.

Apart from `simulation.scenario`, which mixes a country: here each caller is drawn anew, with its
own size, cities, contacts and habits, so that many callers of one kind are not many copies of one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import NamedTuple

from zhenxian.core.tn import TN
from zhenxian.simulation.flow import DAY
from zhenxian.simulation.scenario import START


class Talk(str, Enum):
    """How long answered calls last, around the same mean.

    EXPONENTIAL. LOGNORMAL: most are short and few are long (sigma 1). MIXED: a third hangs up
    within seconds (mean 5), the others talk the longer.
    """

    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"
    MIXED = "mixed"


_HUNG_UP = 0.35
_HANG_UP = 5.0  # seconds


def seconds(random: Random, talk: Talk, mean: float) -> int:
    """Seconds of talk of one answered call."""
    if talk is Talk.EXPONENTIAL:
        return 1 + int(random.expovariate(1 / mean))
    if talk is Talk.LOGNORMAL:
        return 1 + int(mean * random.lognormvariate(-0.5, 1.0))
    if random.random() < _HUNG_UP:
        return 1 + int(random.expovariate(1 / _HANG_UP))
    rest = (mean - _HUNG_UP * _HANG_UP) / (1 - _HUNG_UP)
    return 1 + int(random.expovariate(1 / max(rest, 2.0)))


class Dialled(NamedTuple):
    """One call.

    Attributes:
        at: seconds since the epoch.
        answered: somebody did. seconds: of talk.
        seat: which of the caller's accesses it came in by; BACK for a call of somebody else, to
            one of the caller's numbers.
        customer: of whom, where many share the access; -1 for none.
        caller: the own number behind a privacy number that a live binding permits.
        misused: by somebody who had hijacked the caller's switchboard, or by a pool among its
            customers.
        resold: the numbers are a reseller's, who has others of the caller's accesses, too.
        origid: tells tokens apart where each has one of its own; -1 elsewhere.
    """

    at: float
    display: TN
    callee: TN
    answered: bool
    seconds: int
    seat: int = 0
    customer: int = -1
    caller: TN | None = None
    misused: bool = False
    origid: int = -1
    resold: bool = False


BACK = -1


class Cast(NamedTuple):
    """What a caller is made with.

    Attributes:
        random: its own. days: how long. talk: the model of how long calls last.
    """

    random: Random
    days: int
    talk: Talk

    def between(self, low: float, high: float) -> float:
        """Any figure between two."""
        return self.random.uniform(low, high)

    def size(self, low: int, high: int) -> int:
        """Any whole number between two, small ones as likely as large ones by their digits."""
        return round(float(low * (high / low) ** self.random.random()))

    def times(self, per_day: float, first: float, last: float) -> list[float]:
        """When calls begin: evenly between two hours of each day, as many as come by chance."""
        found = []
        for day in range(self.days):
            begins = START + day * DAY + first * 3_600
            at = begins
            span = (last - first) * 3_600
            while True:
                at += self.random.expovariate(per_day / span)
                if at >= begins + span:
                    break
                found.append(at)
        return found


Maker = Callable[[Cast], list[Dialled]]


def in_order(calls: list[Dialled]) -> list[Dialled]:
    """By time."""
    return sorted(calls, key=lambda call: call.at)
