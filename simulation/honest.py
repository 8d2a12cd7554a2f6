"""Callers who do nothing of the kind, several of which look as if they did.

Each function sets its caller up and returns its calls in order of time; they are drawn lazily.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from zhenxian.core.tn import TN
from zhenxian.simulation.areas import City
from zhenxian.simulation.flow import (
    DAY,
    HOUR,
    MEALS,
    OFFICE_HOURS,
    OFFSET,
    PRIVATE,
    ROUND_THE_CLOCK,
    TRADING,
    arrivals,
    dialler,
    lasting,
)
from zhenxian.simulation.model import Call, Seat
from zhenxian.simulation.stage import Stage

SWITCH: Final = 500  # subscribers of one switch, which share its origid
_CONTACTS: Final = 12  # people whom a subscriber calls again and again
_MIX: Final = 2_654_435_761  # Knuth's multiplier: spreads small integers over 32 bits


def _contact(stage: Stage, home: City, salt: int, person: int, slot: int) -> TN:
    """One of a subscriber's regular contacts: always the same, three in four in the home city."""
    mixed = ((person * _CONTACTS + slot + salt) * _MIX) & 0xFFFF_FFFF
    every = stage.cities.all
    city = home if mixed % 4 else every[(mixed >> 3) % min(40, len(every))]
    prefix = city.mobile[(mixed >> 7) % len(city.mobile)]
    digits = 13 - len(prefix)
    return TN(f"{prefix}{(mixed * 7 + slot) % 10**digits:0{digits}d}")


def _people(
    stage: Stage,
    lives: list[City],
    seats: list[Seat],
    numbers: list[TN],
    *,
    per_day: float,
    local: float,
) -> Iterator[Call]:
    """Calls of private people; few call much, most call little (squared uniform draw)."""
    random = stage.random
    salt = random.getrandbits(32)
    count = len(seats)
    for at in arrivals(random, stage.start, stage.end, per_day * count, PRIVATE):
        person = int(random.random() ** 2 * count)
        home = lives[person]
        if random.random() < 0.7:
            callee = _contact(stage, home, salt, person, int(random.random() * _CONTACTS))
        else:
            callee = stage.mostly(home, local)
        talk = lasting(random, 70.0)
        yield stage.call(seats[person], at, talk, numbers[person], callee)


def subscribers(stage: Stage, count: int, spc: str | None = None) -> Iterator[Call]:
    """Private people of one switch, which signs for all of them with one origid.

    4 calls a day each on average, 12 regular contacts, 7 in 10 calls to them; three in four
    contacts and 65 % of the others live in the same city. Four switches in five serve one city,
    the fifth a whole province: its displays come from several cities and are nearly always local
    to their callees, for the best of reasons.

    Args:
        spc: their carrier; None for any of the large ones.
    """
    random = stage.random
    spc, origid = spc or random.choice(stage.country.large), stage.origid()
    home = stage.cities.draw(random)
    province = stage.cities.of_province(home.province)
    wide = random.random() < 0.2
    lives = [province.draw(random) if wide else home for _ in range(count)]
    seats = [stage.seat(spc, origid=origid) for _ in range(count)]
    numbers = [stage.mobile(seat, city) for seat, city in zip(seats, lives, strict=True)]
    return _people(stage, lives, seats, numbers, per_day=4.0, local=0.65)


def numbering(stage: Stage) -> Iterator[Call]:
    """A carrier of its own with 300 private subscribers, which gives each call a fresh origid.

    So some do who let an origid stand for one call instead of one customer. Its SPC looks like one
    that mints origids; its subscribers are those of any other switch.
    """
    calls = subscribers(stage, 300, spc=stage.country.new_carrier())

    def fresh() -> Iterator[Call]:
        for call in calls:
            yield replace(call, origid=stage.origid())

    return fresh()


def roamers(stage: Stage, count: int) -> Iterator[Call]:
    """Private people who live in another city than their number's, or took it to a new carrier.

    Their displays are foreign where they call; the carrier that signs is not the prefix's.
    """
    random = stage.random
    spc, origid = stage.carrier(), stage.origid()
    living = stage.cities.draw(random)
    seats = [stage.seat(spc, origid=origid) for _ in range(count)]
    numbers = [stage.mobile(seat, stage.cities.draw(random)) for seat in seats]
    return _people(stage, [living] * count, seats, numbers, per_day=4.0, local=0.65)


def village(stage: Stage) -> Iterator[Call]:
    """An operator of 400 fixed lines in one small place.

    Every display and nine callees in ten are of one area: locality means nothing here.
    """
    random = stage.random
    home = random.choice(stage.cities.all[len(stage.cities.all) // 2 :])
    spc, origid = random.choice(stage.country.small), stage.origid()
    seats = [stage.seat(spc, origid=origid) for _ in range(400)]
    numbers = [stage.fixed(seat, home) for seat in seats]
    return _people(stage, [home] * 400, seats, numbers, per_day=3.0, local=0.9)


def rider(stage: Stage) -> Iterator[Call]:
    """A delivery rider: 90 short calls a day around meals, own number, each callee once."""
    random = stage.random
    home = stage.cities.draw(random)
    seat = stage.seat(random.choice(stage.country.large))
    number = stage.mobile(seat, home)

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 90, MEALS):
            yield stage.call(seat, at, lasting(random, 20.0), number, home.person(random))

    return calls()


def office(stage: Stage) -> Iterator[Call]:
    """Six lines of one trunk, taken in turn (hunting): 100 calls a day, 60 % within the city.

    Each line does the same number of calls as the next, one after the other, as in a SIM box.
    """
    random = stage.random
    home = stage.cities.draw(random)
    seat = stage.seat()
    lines = [stage.fixed(seat, home) for _ in range(6)]

    def calls() -> Iterator[Call]:
        for turn, at in enumerate(arrivals(random, stage.start, stage.end, 100, OFFICE_HOURS)):
            callee = stage.mostly(home, 0.6)
            yield stage.call(seat, at, lasting(random, 100.0), lines[turn % 6], callee)

    return calls()


def shop(stage: Stage) -> Iterator[Call]:
    """One number, 50 calls a day, 70 % within the city."""
    random = stage.random
    home = stage.cities.draw(random)
    seat = stage.seat()
    number = stage.fixed(seat, home)

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 50, TRADING):
            yield stage.call(seat, at, lasting(random, 60.0), number, stage.mostly(home, 0.7))

    return calls()


def hospital(stage: Stage) -> Iterator[Call]:
    """300 extensions of one exchange, 1,500 calls a day, day and night, 80 % within the city."""
    random = stage.random
    home = stage.cities.draw(random)
    seat = stage.seat()
    extensions = [stage.fixed(seat, home) for _ in range(300)]

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 600, ROUND_THE_CLOCK):
            yield one(at)

    def day() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 900, OFFICE_HOURS):
            yield one(at)

    def one(at: float) -> Call:
        # Wards call much and offices little.
        extension = extensions[int(random.random() ** 2 * 300)]
        return stage.call(seat, at, lasting(random, 80.0), extension, stage.mostly(home, 0.8))

    return _in_turn(calls(), day())


def _in_turn(*streams: Iterator[Call]) -> Iterator[Call]:
    """Merge by time; the streams share one source of randomness, which the order fixes."""
    from heapq import merge  # noqa: PLC0415

    return merge(*streams, key=lambda call: call.at)


def _midnight(stage: Stage) -> int:
    """When the first day began, by the clocks of the country."""
    return (stage.start + OFFSET) // DAY * DAY - OFFSET


def school(stage: Stage) -> Iterator[Call]:
    """12 calls a day, and once in the scenario an emergency broadcast.

    1,500 parents within a quarter of an hour on 60 lines, all from one number, all in the city.
    """
    random = stage.random
    home = stage.cities.draw(random)
    seat = stage.seat()
    number = stage.fixed(seat, home)
    days = max(1, (stage.end - stage.start) // DAY)
    alarm = _midnight(stage) + random.randrange(days) * DAY + (8 + 8 * random.random()) * HOUR
    alarm = min(max(alarm, stage.start), stage.end - HOUR)

    def usual() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 12, OFFICE_HOURS):
            yield stage.call(seat, at, lasting(random, 90.0), number, stage.mostly(home, 0.95))

    def broadcast() -> Iterator[Call]:
        rounds = dialler(
            random, alarm, alarm + HOUR, lines=60, talk=18.0, pause=2.0, day=ROUND_THE_CLOCK,
            answered=0.7,
        )  # fmt: skip
        for (at, duration), _ in zip(rounds, range(1_500), strict=False):
            yield stage.call(
                seat, at, duration, number, home.person(random), purpose="emergency notification"
            )

    return _in_turn(usual(), broadcast())


def bank(stage: Stage) -> Iterator[Call]:
    """A national bank: one number without area (955xx), 6,000 calls a day to customers anywhere."""
    random = stage.random
    seat = stage.seat(random.choice(stage.country.large))
    number = stage.service(seat)

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 6_000, TRADING):
            purpose = "card service" if random.random() < 0.5 else None
            yield stage.call(
                seat, at, lasting(random, 60.0, 0.6), number, stage.anybody(), purpose=purpose
            )

    return calls()


def call_centre(stage: Stage) -> Iterator[Call]:
    """Serves ten brands, each with its own number, which the brand has consented to.

    2,500 calls a day. Three or four brands are at work in any hour. The brands' numbers are of
    their home cities and their customers anywhere; two are regional, 80 % of whose customers are
    of their city.
    """
    random = stage.random
    seat = stage.seat()
    homes = stage.cities.several(random, 10)
    brands = [stage.fixed(seat, home) for home in homes]

    def calls() -> Iterator[Call]:
        hour, at_work = -1, [0]
        for at in arrivals(random, stage.start, stage.end, 2_500, TRADING):
            if int(at) // HOUR != hour:
                hour = int(at) // HOUR
                at_work = random.sample(range(10), random.choice((3, 4)))
            brand = random.choice(at_work)
            callee = stage.mostly(homes[brand], 0.8 if brand < 2 else 0.0)
            purpose = "customer service" if random.random() < 0.8 else "marketing"
            yield stage.call(
                seat, at, lasting(random, 70.0, 0.5), brands[brand], callee, purpose=purpose
            )

    return calls()


def courier(stage: Stage) -> Iterator[Call]:
    """A platform whose riders call through privacy numbers: 3,000 calls a day in 15 cities.

    It has 40 numbers in each and shows the customer one of the customer's own city, so that it is
    as local as a pool; every call has a live binding.
    """
    random = stage.random
    seat = stage.seat()
    cities = stage.cities.several(random, 15)
    lent = {city.name: [stage.privacy(seat, city) for _ in range(40)] for city in cities}
    own = stage.seat(random.choice(stage.country.large))
    riders = {city.name: [stage.mobile(own, city) for _ in range(20)] for city in cities}

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 3_000, MEALS):
            city = random.choice(cities)
            yield stage.call(
                seat,
                at,
                lasting(random, 20.0, 0.9),
                random.choice(lent[city.name]),
                city.person(random),
                caller=random.choice(riders[city.name]),
                bound=True,
                purpose="delivery",
            )

    return calls()


def merchants(stage: Stage) -> Iterator[Call]:
    """A platform through whose privacy numbers 30 merchants call their customers, with bindings.

    Each merchant calls 5 to 40 customers a day anywhere in the country, and a quarter of them
    twice; one customer in seven calls back. The customer sees a number of the own city where the
    platform has one: it has 5 in each of 60.
    """
    random = stage.random
    seat = stage.seat()
    lent = {
        city.name: [stage.privacy(seat, city) for _ in range(5)]
        for city in stage.cities.several(random, 60)
    }
    elsewhere = [number for numbers in lent.values() for number in numbers]
    shops = [
        (stage.mobile(stage.seat(), stage.cities.draw(random)), random.randint(5, 40))
        for _ in range(30)
    ]

    def once(merchant: TN, morning: int) -> Iterator[Call]:
        """All calls between a merchant and one customer."""
        city = stage.cities.draw(random)
        customer, display = city.person(random), random.choice(lent.get(city.name, elsewhere))
        at = morning + random.uniform(9, 19) * HOUR
        pairs = [(merchant, customer)]
        if random.random() < 0.25:
            pairs.append((merchant, customer))
        if random.random() < 1 / 7:
            pairs.append((customer, merchant))
        for caller, callee in pairs:
            talk = lasting(random, 60.0)
            yield stage.call(seat, at, talk, display, callee, caller=caller, bound=True)
            at += talk.seconds + random.uniform(300, 5_400)

    def calls() -> Iterator[Call]:
        for morning in range(_midnight(stage), stage.end, DAY):
            today = [
                call
                for merchant, customers in shops
                for _ in range(customers)
                for call in once(merchant, morning)
                if stage.start <= call.at < stage.end
            ]
            yield from sorted(today, key=lambda call: call.at)

    return calls()


def branches(stage: Stage) -> Iterator[Call]:
    """A chain with 60 branches in 60 cities on one trunk, each with one number, 8 calls a day.

    Nine callees in ten are the branch's neighbours. Nothing in its calls alone tells it from a
    local pool of 60 numbers; a registrar may exempt it.
    """
    random = stage.random
    seat = stage.seat()
    homes = stage.cities.several(random, 60)
    numbers = [stage.fixed(seat, home) for home in homes]

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 8 * len(homes), OFFICE_HOURS):
            branch = int(random.random() * len(homes))
            callee = stage.mostly(homes[branch], 0.9)
            yield stage.call(seat, at, lasting(random, 80.0), numbers[branch], callee)

    return calls()
