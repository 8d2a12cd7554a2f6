"""Callers who come after another one: found callers who return, and who was given their numbers.

The earlier caller sits at seat 0 on the first day and is a matched pool; whoever comes after it
sits at seat 1 from the next day on, and its calls alone are judged.
"""

from __future__ import annotations

from typing import Final

from zhenxian.core.tn import TN
from zhenxian.simulation.businesses import HONEST, business
from zhenxian.simulation.dialling import BACK, Cast, Dialled, Maker, in_order
from zhenxian.simulation.flow import DAY
from zhenxian.simulation.places import places
from zhenxian.simulation.rackets import Pitch
from zhenxian.simulation.scenario import START

JUDGED_FROM: Final = 1  # seat
_NUMBERS: Final = (150, 600)
_CALLS: Final = (800.0, 1_600.0)  # a day
_RECYCLED: Final = ("clinic", "office with six lines", "recruiter")


def _held(cast: Cast) -> list[TN]:
    """Numbers of the whole country."""
    country = places("CN")
    return [
        country.draw(cast.random).fixed_number(cast.random) for _ in range(cast.size(*_NUMBERS))
    ]


def _day(
    cast: Cast, pitch: Pitch, held: list[TN], first: int, last: int, callees: list[TN] | None = None
) -> list[Dialled]:
    """Calls of some days; of those before the second day at seat 0."""
    random, country = cast.random, places("CN")
    made: list[Dialled] = []
    for at in cast.times(cast.between(*_CALLS), 9, 20):
        day = int((at - START) // DAY)
        if first <= day < last:
            callee = random.choice(callees) if callees else country.anybody(random)
            made += pitch.call(at, random.choice(held), callee, min(day, 1))
    return made


def same_numbers(cast: Cast) -> list[Dialled]:
    """Back under another name, with the numbers of before; other callees."""
    pitch, held = Pitch(cast), _held(cast)
    return in_order(_day(cast, pitch, held, 0, 1) + _day(cast, pitch, held, 1, cast.days))


def same_callees(cast: Cast) -> list[Dialled]:
    """Back under another name, with other numbers; the callees of before."""
    pitch = Pitch(cast)
    before = _day(cast, pitch, _held(cast), 0, 1)
    called = [call.callee for call in before if call.seat != BACK]
    return in_order(before + _day(cast, pitch, _held(cast), 1, cast.days, called))


def recycled(cast: Cast) -> list[Dialled]:
    """An honest small business, of whose numbers a pool had some the day before."""
    kind = cast.random.choice(_RECYCLED)
    own = business(cast, HONEST[kind])
    shown = sorted({call.display for call in own if call.seat != BACK})
    pool = _day(cast, Pitch(cast), [*_held(cast), *shown], 0, 1)
    after = [
        call._replace(seat=call.seat if call.seat == BACK else 1)
        for call in own
        if call.at >= START + DAY
    ]
    return in_order(pool + after)


RETURNS: Final[dict[str, Maker]] = {
    "returns, same numbers": same_numbers,
    "returns, same numbers, registered": same_numbers,
    "returns, same callees": same_callees,
}
GIVEN: Final[dict[str, Maker]] = {"recycled number": recycled}
