"""Honest callers, each drawn anew: how many numbers, cities and contacts, how known they are.

What all of them share with a pool is said at each kind, and what they do not. Figures are ranges
from which each caller draws its own; they are estimates, not measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from zhenxian.core.tn import TN
from zhenxian.simulation.dialling import BACK, Cast, Dialled, Maker, in_order, seconds
from zhenxian.simulation.places import Place, number, places

Range = tuple[float, float]
_LATER: Final = (1_800.0, 14_400.0)  # seconds until somebody calls back
_AGAIN: Final = (60.0, 900.0)  # seconds until a callee who did not answer is tried once more


class Habits(Struct, frozen=True, kw_only=True):
    """A kind of business, in ranges.

    Attributes:
        numbers, cities: that it shows, and in how many places they are.
        calls: a day, all numbers together.
        contacts: whom one number calls again and again. known: share of calls to them.
        local: share of callees in the number's own place.
        answered: share of calls. talk: seconds on average.
        back: share of answered strangers and contacts who call the number back.
        again: share of unanswered calls that are tried once more.
        mobile: its numbers are mobile ones; else those of a place are in a row.
        country: see `places`. hours: from and to.
        customers: shares its access among so many; each of them has some numbers of its own.
        turns: numbers are taken in turn (hunting).
        uneven: how much some numbers call more than others; 1 for all alike.
        agents: who call behind its numbers, which are privacy numbers that bindings permit.
    """

    numbers: tuple[int, int]
    cities: tuple[int, int]
    calls: Range
    contacts: tuple[int, int]
    known: Range
    local: Range
    answered: Range
    talk: Range
    back: Range = (0.01, 0.06)
    again: Range = (0.1, 0.5)
    mobile: bool = False
    country: str = "CN"
    hours: tuple[float, float] = (9, 18)
    customers: tuple[int, int] | None = None
    turns: bool = False
    uneven: float = 1.5
    agents: tuple[int, int] | None = None


HONEST: Final[dict[str, Habits]] = {
    # Many numbers in many cities: what today's test takes for a pool.
    "bank, 1,500 branches": Habits(
        numbers=(1_200, 1_800), cities=(200, 300), calls=(500, 2_500), contacts=(20, 60),
        known=(0.5, 0.9), local=(0.85, 0.98), answered=(0.55, 0.75), talk=(50, 110),
    ),
    "insurers nationwide": Habits(
        numbers=(40, 300), cities=(30, 120), calls=(300, 1_500), contacts=(40, 150),
        known=(0.3, 0.7), local=(0.5, 0.9), answered=(0.45, 0.65), talk=(60, 130),
    ),
    "estate franchise": Habits(
        numbers=(60, 400), cities=(25, 80), calls=(300, 1_800), contacts=(25, 120),
        known=(0.3, 0.7), local=(0.85, 0.97), answered=(0.45, 0.65), talk=(40, 90),
    ),
    "taxi switchboards": Habits(
        numbers=(25, 90), cities=(25, 80), calls=(500, 2_500), contacts=(150, 900),
        known=(0.4, 0.7), local=(0.95, 0.99), answered=(0.8, 0.95), talk=(12, 30),
        hours=(6, 24), back=(0.02, 0.1),
    ),
    "pharmacy chain (US)": Habits(
        numbers=(80, 700), cities=(30, 60), calls=(400, 2_500), contacts=(60, 300),
        known=(0.6, 0.9), local=(0.9, 0.99), answered=(0.5, 0.75), talk=(30, 70), country="US",
        back=(0.03, 0.12),
    ),
    "hotel chain": Habits(
        numbers=(50, 300), cities=(25, 90), calls=(300, 1_500), contacts=(15, 60),
        known=(0.2, 0.5), local=(0.15, 0.4), answered=(0.7, 0.9), talk=(35, 90),
        hours=(7, 23), back=(0.03, 0.1),
    ),
    "transit carrier": Habits(
        numbers=(2_000, 6_000), cities=(60, 200), calls=(2_000, 6_000), contacts=(8, 20),
        known=(0.55, 0.8), local=(0.5, 0.8), answered=(0.7, 0.85), talk=(50, 110), hours=(7, 23),
        back=(0.1, 0.3), mobile=True,
    ),
    "PBX host, 2,000 customers": Habits(
        numbers=(2_000, 4_000), cities=(60, 200), calls=(2_000, 6_000), contacts=(15, 50),
        known=(0.4, 0.8), local=(0.4, 0.8), answered=(0.6, 0.8), talk=(50, 120),
        customers=(1_500, 2_000), back=(0.05, 0.2),
    ),
    "PBX host (US)": Habits(
        numbers=(1_000, 3_000), cities=(40, 68), calls=(1_500, 4_000), contacts=(15, 50),
        known=(0.4, 0.8), local=(0.4, 0.8), answered=(0.5, 0.75), talk=(50, 120), country="US",
        customers=(500, 2_000), back=(0.05, 0.2),
    ),
    "PBX host (German)": Habits(
        numbers=(1_000, 3_000), cities=(30, 46), calls=(1_500, 4_000), contacts=(15, 50),
        known=(0.4, 0.8), local=(0.4, 0.8), answered=(0.5, 0.75), talk=(50, 120), country="DE",
        customers=(500, 2_000), back=(0.05, 0.2),
    ),
    "small MVNO": Habits(
        numbers=(800, 3_000), cities=(60, 200), calls=(1_500, 4_000), contacts=(8, 20),
        known=(0.55, 0.8), local=(0.5, 0.8), answered=(0.7, 0.85), talk=(50, 110), hours=(7, 23),
        back=(0.1, 0.3), mobile=True,
    ),
    "enterprise, 12 offices": Habits(
        numbers=(30, 120), cities=(10, 14), calls=(200, 900), contacts=(20, 80),
        known=(0.4, 0.8), local=(0.3, 0.7), answered=(0.6, 0.8), talk=(60, 140),
    ),
    "PBX host in one province": Habits(
        numbers=(300, 1_000), cities=(10, 20), calls=(800, 2_500), contacts=(15, 50),
        known=(0.4, 0.8), local=(0.5, 0.85), answered=(0.6, 0.8), talk=(50, 120),
        customers=(150, 600), back=(0.05, 0.2),
    ),
    "bank with 60 branches": Habits(
        numbers=(50, 70), cities=(40, 60), calls=(300, 900), contacts=(30, 120),
        known=(0.4, 0.8), local=(0.85, 0.97), answered=(0.55, 0.75), talk=(50, 110),
    ),
    # One city, or one number.
    "clinic": Habits(
        numbers=(1, 4), cities=(1, 1), calls=(20, 90), contacts=(60, 300), known=(0.4, 0.8),
        local=(0.9, 0.98), answered=(0.6, 0.8), talk=(40, 90),
    ),
    "hospital": Habits(
        numbers=(100, 400), cities=(1, 1), calls=(600, 2_000), contacts=(15, 60),
        known=(0.3, 0.7), local=(0.75, 0.95), answered=(0.65, 0.85), talk=(50, 110), hours=(0, 24),
    ),
    "courier": Habits(
        numbers=(1, 1), cities=(1, 1), calls=(60, 160), contacts=(30, 150), known=(0.1, 0.4),
        local=(0.95, 0.99), answered=(0.7, 0.9), talk=(12, 30), mobile=True, hours=(8, 20),
    ),
    "bank on 955xx": Habits(
        numbers=(1, 1), cities=(1, 1), calls=(2_000, 6_000), contacts=(2_000, 9_000),
        known=(0.1, 0.4), local=(0.0, 0.05), answered=(0.5, 0.7), talk=(45, 90),
    ),
    "call centre, ten brands": Habits(
        numbers=(8, 12), cities=(6, 10), calls=(1_200, 3_000), contacts=(300, 1_500),
        known=(0.1, 0.4), local=(0.0, 0.3), answered=(0.45, 0.65), talk=(50, 100),
    ),
    "recruiter": Habits(
        numbers=(1, 3), cities=(1, 1), calls=(40, 120), contacts=(20, 60), known=(0.1, 0.4),
        local=(0.2, 0.7), answered=(0.5, 0.7), talk=(90, 240), mobile=True,
    ),
    "census": Habits(
        numbers=(1, 2), cities=(1, 1), calls=(300, 1_500), contacts=(1, 2), known=(0.0, 0.0),
        local=(0.5, 0.99), answered=(0.45, 0.7), talk=(60, 240), again=(0.4, 0.8),
    ),
    "poll": Habits(
        numbers=(1, 3), cities=(1, 1), calls=(300, 1_500), contacts=(1, 2), known=(0.0, 0.0),
        local=(0.0, 0.1), answered=(0.35, 0.55), talk=(60, 200), again=(0.3, 0.7),
    ),
    "alarm centre": Habits(
        numbers=(1, 2), cities=(1, 1), calls=(100, 500), contacts=(200, 900), known=(0.8, 0.98),
        local=(0.4, 0.9), answered=(0.8, 0.95), talk=(15, 50), hours=(0, 24),
    ),
    "school broadcast": Habits(
        numbers=(1, 1), cities=(1, 1), calls=(300, 1_200), contacts=(500, 1_500),
        known=(0.95, 1.0), local=(0.95, 0.99), answered=(0.6, 0.8), talk=(12, 25), hours=(8, 9),
    ),
    "person": Habits(
        numbers=(1, 1), cities=(1, 1), calls=(2, 12), contacts=(8, 25), known=(0.5, 0.8),
        local=(0.5, 0.8), answered=(0.7, 0.85), talk=(50, 150), mobile=True, hours=(7, 23),
    ),
    "telehealth, privacy numbers": Habits(
        numbers=(60, 300), cities=(30, 120), calls=(300, 1_500), contacts=(20, 80),
        known=(0.4, 0.8), local=(0.3, 0.6), answered=(0.7, 0.9), talk=(120, 400), mobile=True,
        agents=(30, 200), back=(0.03, 0.1),
    ),
    "ride hailing, privacy numbers": Habits(
        numbers=(100, 400), cities=(10, 40), calls=(1_000, 4_000), contacts=(2, 6),
        known=(0.0, 0.1), local=(0.97, 1.0), answered=(0.75, 0.95), talk=(10, 25), mobile=True,
        agents=(100, 400), hours=(6, 24), back=(0.05, 0.15),
    ),
    "reminders by robot, declared": Habits(
        numbers=(60, 300), cities=(30, 80), calls=(400, 2_000), contacts=(150, 600),
        known=(0.8, 0.98), local=(0.9, 0.99), answered=(0.5, 0.7), talk=(12, 30),
    ),
    "office with six lines": Habits(
        numbers=(4, 8), cities=(1, 1), calls=(60, 250), contacts=(15, 60), known=(0.3, 0.7),
        local=(0.5, 0.8), answered=(0.6, 0.8), talk=(60, 140), turns=True,
    ),
}  # fmt: skip

# Of two or more cities and 25 numbers or more: those of which make eval has the most.
MANY_CITIES: Final = tuple(
    name for name, one in HONEST.items() if one.cities[0] >= 2 and one.numbers[0] >= 25
)


def maker(name: str) -> Maker:
    """Who makes callers of an honest kind."""
    habits = HONEST[name]
    return lambda cast: business(cast, habits)


def business(cast: Cast, habits: Habits) -> list[Dialled]:
    """One caller of a kind, with figures of its own."""
    random = cast.random
    country = places(habits.country)
    homes = country.several(random, cast.size(*habits.cities))
    count = max(cast.size(*habits.numbers), len(homes))
    numbers = list(_numbers(cast, habits, homes, count))
    local, known = cast.between(*habits.local), cast.between(*habits.known)
    answered, mean = cast.between(*habits.answered), cast.between(*habits.talk)
    back, again = cast.between(*habits.back), cast.between(*habits.again)
    size = cast.size(*habits.contacts)
    customers = cast.size(*habits.customers) if habits.customers is not None else 0
    contacts: dict[int, list[int]] = {}
    agents = [
        random.choice(homes).mobile_number(random)
        for _ in range(cast.size(*habits.agents) if habits.agents is not None else 0)
    ]

    def somebody(home: Place) -> int:
        if random.random() < local:
            return home.person_drawn(random)
        return country.anybody_drawn(random)

    calls: list[Dialled] = []
    for turn, at in enumerate(cast.times(cast.between(*habits.calls), *habits.hours)):
        index = turn % count if habits.turns else int(random.random() ** habits.uneven * count)
        display, home = numbers[index]
        if random.random() < known:
            mine = contacts.get(index)
            if mine is None:
                mine = contacts[index] = [somebody(home) for _ in range(size)]
            callee = number(mine[int(random.random() ** 1.5 * size)])
        else:
            callee = number(somebody(home))
        customer = index % customers if customers else -1
        caller = agents[index % len(agents)] if agents else None
        heard = random.random() < answered
        talked = seconds(random, cast.talk, mean) if heard else 0
        made = Dialled(at, display, callee, heard, talked, customer=customer, caller=caller)
        calls.append(made)
        if not heard and random.random() < again:
            later = at + random.uniform(*_AGAIN)
            heard = random.random() < answered
            talked = seconds(random, cast.talk, mean) if heard else 0
            calls.append(made._replace(at=later, answered=heard, seconds=talked))
        if random.random() < back:
            later = at + random.uniform(*_LATER)
            talked = seconds(random, cast.talk, mean)
            calls.append(Dialled(later, callee, display, True, talked, BACK))
    return in_order(calls)


def _numbers(
    cast: Cast, habits: Habits, homes: list[Place], count: int
) -> Iterator[tuple[TN, Place]]:
    """Numbers and where they are: some in a row at each place, as offices have them."""
    random = cast.random
    if habits.country == "CN" and habits.numbers == (1, 1) and habits.local[1] <= 0.05:
        yield TN(f"955{random.randrange(10, 100)}"), homes[0]
        return
    each, more = divmod(count, len(homes))
    for index, home in enumerate(homes):
        wanted = each + (index < more)
        if habits.mobile:
            yield from ((home.mobile_number(random), home) for _ in range(wanted))
        else:
            yield from ((one, home) for one in home.block(random, wanted))
