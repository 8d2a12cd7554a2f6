"""Dishonest and grey callers, each drawn anew.

A pitch is talk of 12 to 30 seconds on average; 30 to 50 callees in a hundred answer. Two or three
in a hundred call back, mostly to complain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from zhenxian.core.tn import TN
from zhenxian.simulation.businesses import HONEST, business
from zhenxian.simulation.dialling import BACK, Cast, Dialled, Maker, in_order, seconds
from zhenxian.simulation.flow import DAY
from zhenxian.simulation.places import places
from zhenxian.simulation.scenario import START

_BACK: Final = 0.02
_POOL: Final = 10_000  # the customer that is one
_ACCESSES: Final = 20
_NEWCOMERS: Final = (
    "insurers nationwide",
    "estate franchise",
    "hotel chain",
    "enterprise, 12 offices",
    "bank with 60 branches",
)
_LATER: Final = (1_800.0, 14_400.0)  # seconds until somebody calls back


class Pitch:
    """How callees take one racket's calls."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._answered = cast.between(0.3, 0.5)
        self._mean = cast.between(12, 30)

    def call(
        self, at: float, display: TN, callee: TN, seat: int = 0, caller: TN | None = None
    ) -> list[Dialled]:
        """One call, and perhaps somebody calls back."""
        random = self._cast.random
        heard = random.random() < self._answered
        talked = seconds(random, self._cast.talk, self._mean) if heard else 0
        made = [Dialled(at, display, callee, heard, talked, seat, caller=caller)]
        if random.random() < _BACK:
            talked = seconds(random, self._cast.talk, self._mean)
            made.append(Dialled(at + random.uniform(*_LATER), callee, display, True, talked, BACK))
        return made


def _pool(
    cast: Cast,
    *,
    numbers: tuple[int, int],
    calls: tuple[float, float],
    local: tuple[float, float],
    accesses: int = 1,
) -> list[Dialled]:
    """Numbers of the whole country; a share of callees is shown one of the own city."""
    random, country, pitch = cast.random, places("CN"), Pitch(cast)
    share = cast.between(*local)
    held: list[tuple[TN, int]] = []
    of: dict[str, list[tuple[TN, int]]] = {}
    for index in range(cast.size(*numbers)):
        place = country.draw(random)
        one = (place.fixed_number(random), index % accesses)
        held.append(one)
        of.setdefault(place.name, []).append(one)
    made: list[Dialled] = []
    for at in cast.times(cast.between(*calls), 9, 20):
        place = country.draw(random)
        here = of.get(place.name) if random.random() < share else None
        display, seat = random.choice(here or held)
        made += pitch.call(at, display, place.person(random), seat)
    return in_order([call._replace(resold=accesses > 1) for call in made])


def _one_number(cast: Cast, *, count: int, calls: float, mobile: bool) -> list[Dialled]:
    """A robot on few numbers, each busy; callees anywhere, each once."""
    random, country, pitch = cast.random, places("CN"), Pitch(cast)
    home = country.draw(random)
    make = home.mobile_number if mobile else home.fixed_number
    numbers = [make(random) for _ in range(count)]
    made: list[Dialled] = []
    for at in cast.times(calls * count, 9, 20):
        made += pitch.call(at, random.choice(numbers), country.anybody(random))
    return in_order(made)


def _one_city(cast: Cast, *, numbers: int, calls: tuple[float, float]) -> list[Dialled]:
    """Numbers of one city, and callees there, each once."""
    random, country, pitch = cast.random, places("CN"), Pitch(cast)
    home = country.draw(random)
    held = [home.fixed_number(random) for _ in range(numbers)]
    made: list[Dialled] = []
    for at in cast.times(cast.between(*calls), 9, 20):
        made += pitch.call(at, random.choice(held), home.person(random))
    return in_order(made)


def _in_turn(
    cast: Cast, *, numbers: int, each: int, calls: tuple[float, float], own_city: bool
) -> list[Dialled]:
    """A few numbers, one after the other for some calls each: SIM cards in a box."""
    random, country, pitch = cast.random, places("CN"), Pitch(cast)
    home = country.draw(random)
    held = [home.mobile_number(random) for _ in range(numbers)]
    made: list[Dialled] = []
    for turn, at in enumerate(cast.times(cast.between(*calls), 9, 20)):
        callee = home.person(random) if own_city else country.anybody(random)
        made += pitch.call(at, held[turn // each % numbers], callee)
    return in_order(made)


def _mixed(cast: Cast) -> list[Dialled]:
    """A pool that makes half of its calls for a real business on the same access."""
    pool = _pool(cast, numbers=(300, 1_000), calls=(600, 1_200), local=(0.6, 1.0))
    return in_order(pool + business(cast, HONEST["enterprise, 12 offices"]))


def _hosted(cast: Cast) -> list[Dialled]:
    """A pool that is one customer of a host, whose others share the access with it."""
    pool = _pool(cast, numbers=(300, 1_000), calls=(600, 1_200), local=(0.6, 1.0))
    mine = [
        call._replace(customer=_POOL, misused=True) if call.seat != BACK else call for call in pool
    ]
    return in_order(mine + business(cast, HONEST["PBX host in one province"]))


def _straw_men(cast: Cast) -> list[Dialled]:
    """A pool over 20 accesses of a reseller, and a business that comes to it on the second day."""
    pool = _pool(
        cast, numbers=(500, 5_000), calls=(1_500.0, 4_000.0), local=(0.85, 1.0), accesses=_ACCESSES
    )
    pool = [call._replace(misused=call.seat != BACK) for call in pool]
    newcomer = business(cast, HONEST[cast.random.choice(_NEWCOMERS)])
    begins = START + DAY
    return in_order(
        pool
        + [
            call if call.seat == BACK else call._replace(seat=_ACCESSES, resold=True)
            for call in newcomer
            if call.at >= begins
        ]
    )


def _thrice(cast: Cast) -> list[Dialled]:
    """A pool that calls each callee three times, ten minutes apart, from the same number."""
    random = cast.random
    made: list[Dialled] = []
    for call in _pool(cast, numbers=(400, 1_500), calls=(400, 1_000), local=(0.8, 1.0)):
        made.append(call)
        if call.seat != BACK:
            for again in (600, 1_200):
                later = call.at + again + random.uniform(-20, 20)
                made.append(call._replace(at=later, answered=False, seconds=0))
    return in_order(made)


def _rented(cast: Cast) -> list[Dialled]:
    """Bindings rented to 300 agents, who make 12 calls a day each; all strangers, anywhere."""
    random, country, pitch = cast.random, places("CN"), Pitch(cast)
    lent: list[TN] = [country.draw(random).mobile_number(random) for _ in range(500)]
    agents = [country.draw(random).mobile_number(random) for _ in range(300)]
    made: list[Dialled] = []
    for at in cast.times(12.0 * len(agents), 9, 20):
        made += pitch.call(
            at, random.choice(lent), country.anybody(random), caller=random.choice(agents)
        )
    return in_order(made)


def _hijacked(cast: Cast) -> list[Dialled]:
    """An office whose switchboard is used in the night before the last day, with its numbers."""
    random, country, pitch = cast.random, places("CN"), Pitch(cast)
    day = business(cast, HONEST["office with six lines"])
    own = sorted({call.display for call in day if call.seat != BACK})
    last = (max(call.at for call in day) // DAY - 1) * DAY + 17 * 3_600  # 1 in the morning
    night: list[Dialled] = []
    at = last
    while at < last + 4 * 3_600:
        at += random.expovariate(1 / 25)
        made = pitch.call(at, random.choice(own), country.anybody(random))
        night += [call._replace(misused=call.seat != BACK) for call in made]
    return in_order(day + night)


def _minted(cast: Cast) -> list[Dialled]:
    """A matched pool whose tokens have an origid of their own each."""
    calls = _pool(cast, numbers=(500, 5_000), calls=(1_500.0, 4_000.0), local=(0.85, 1.0))
    return [call._replace(origid=turn) for turn, call in enumerate(calls)]


def _pools(local: tuple[float, float], accesses: int = 1, *, slow: bool = False) -> Maker:
    calls = (150.0, 600.0) if slow else (1_500.0, 4_000.0)
    numbers = (200, 600) if slow else (500, 5_000)
    return partial(_pool, numbers=numbers, calls=calls, local=local, accesses=accesses)


DISHONEST: Final[dict[str, Callable[[Cast], list[Dialled]]]] = {
    "pool, matched": _pools((0.85, 1.0)),
    "pool, half matched": _pools((0.4, 0.6)),
    "pool, unmatched": _pools((0.0, 0.0)),
    "slow pool, matched": _pools((0.85, 1.0), slow=True),
    "slow pool, unmatched": _pools((0.0, 0.0), slow=True),
    "matched pool over 20 accesses": _pools((0.85, 1.0), 20),
    "unmatched pool over 20 accesses": _pools((0.0, 0.0), 20),
    "matched pool over 5 carriers": _pools((0.85, 1.0), 5),
    "matched pool, an origid a call": _minted,
    "pool that mixes half real business": _mixed,
    "pool as a customer of a host": _hosted,
    "straw men of a reseller": _straw_men,
    "declared pool": _pools((0.85, 1.0)),
    "pool, each callee three times": _thrice,
    "robot, one mobile number": partial(_one_number, count=1, calls=1_000, mobile=True),
    "robot, one fixed line": partial(_one_number, count=1, calls=1_000, mobile=False),
    "robot firm, 30 numbers": partial(_one_number, count=30, calls=300, mobile=False),
    "300 numbers of one city": partial(_one_city, numbers=300, calls=(800, 1_500)),
    "SIM box, nationwide": partial(_in_turn, numbers=5, each=8, calls=(400, 800), own_city=False),
    "SIM box in its own city": partial(
        _in_turn, numbers=5, each=8, calls=(400, 800), own_city=True
    ),
    "forty numbers in turn, nationwide": partial(
        _in_turn, numbers=40, each=12, calls=(800, 1_500), own_city=False
    ),
    "forty numbers in turn in one city": partial(
        _in_turn, numbers=40, each=12, calls=(800, 1_500), own_city=True
    ),
    "bindings rented to 300 agents": _rented,
    "switchboard hijacked at night": _hijacked,
}
