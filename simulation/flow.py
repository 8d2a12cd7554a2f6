"""When calls begin and how long they last. Times are seconds since the epoch, with fractions."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heapreplace
from random import Random
from typing import Final, NamedTuple

HOUR: Final = 3_600  # seconds
DAY: Final = 86_400  # seconds
OFFSET: Final = 8 * HOUR  # China's clocks ahead of UTC
RINGING: Final = 12.0  # seconds until an answer, on average
_LONGEST_RINGING: Final = 45.0  # seconds, then the network gives up


class Day(NamedTuple):
    """How a day's calls spread over its hours, local time; 24 weights."""

    weights: tuple[float, ...]

    @classmethod
    def between(cls, *spans: tuple[int, int]) -> Day:
        """Even between whole hours, such as (9, 12), (14, 18); nothing outside."""
        return cls(tuple(float(any(a <= hour < b for a, b in spans)) for hour in range(24)))

    def share(self, hour: int) -> float:
        """The share of a day's calls that fall into an hour."""
        return self.weights[hour] / sum(self.weights)


PRIVATE: Final = Day(
    (1, 1, 0, 0, 0, 1, 2, 5, 8, 10, 11, 10, 9, 7, 8, 9, 10, 11, 12, 11, 9, 7, 4, 2)
)  # people call each other
OFFICE_HOURS: Final = Day.between((8, 12), (14, 18))
TRADING: Final = Day.between((9, 20))
MEALS: Final = Day((*[0.0] * 10, 3, 5, 4, 2, 1, 1, 2, 5, 5, 3, 1, *[0.0] * 3))
ROUND_THE_CLOCK: Final = Day.between((0, 24))


def hour_of(at: float) -> int:
    """The local hour, 0 to 23."""
    return int((at + OFFSET) % DAY) // HOUR


def arrivals(random: Random, start: float, end: float, per_day: float, day: Day) -> Iterator[float]:
    """A Poisson stream whose rate follows the hours of the day."""
    shares = [day.share(hour) for hour in range(24)]
    at = start
    while at < end:
        share = shares[hour_of(at)]
        next_hour = (int(at) // HOUR + 1) * HOUR
        if share:
            at += random.expovariate(per_day * share / HOUR)
            if at < min(next_hour, end):
                yield at
                continue
        at = float(next_hour)  # the process has no memory: start afresh with the hour


class Lasting(NamedTuple):
    """How long a call lasts in whole seconds, and whether anybody answers."""

    seconds: int
    answered: bool


def lasting(random: Random, talk: float, answered: float = 0.8) -> Lasting:
    """A call rings, and when it is answered, there is talk for `talk` seconds on average."""
    ringing = random.expovariate(1 / RINGING)
    if random.random() < answered:
        heard = min(ringing, _LONGEST_RINGING) + random.expovariate(1 / talk)
        return Lasting(1 + int(heard), answered=True)
    return Lasting(1 + int(min(2 * ringing, _LONGEST_RINGING)), answered=False)


def dialler(
    random: Random,
    start: float,
    end: float,
    *,
    lines: int,
    talk: float,
    pause: float,
    day: Day,
    answered: float = 0.5,
) -> Iterator[tuple[float, Lasting]]:
    """Lines that dial one call after another while the day allows: (begin, lasting) pairs.

    Args:
        pause: seconds between a call and the next on one line, on average.
    """
    free = [start + random.random() * 2 * (RINGING + talk * answered + pause) for _ in range(lines)]
    heapify(free)
    while free[0] < end:
        at = free[0]
        if not day.weights[hour_of(at)]:
            heapreplace(free, (int(at) // HOUR + 1) * HOUR + random.random() * 2 * talk)
            continue
        duration = lasting(random, talk, answered)
        heapreplace(free, at + duration.seconds + random.expovariate(1 / pause))
        yield at, duration
