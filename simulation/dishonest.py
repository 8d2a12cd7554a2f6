"""The broadcast's tricks, and what somebody would do next who has read how they are found.

Each function sets one operator up and returns its calls in order of time; they are drawn lazily.
An operator spreads over `stage.split` accesses, each at another carrier and under another name,
and deals its numbers out among them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, heapreplace
from typing import Final

from msgspec.structs import replace

from zhenxian.core.tn import TN
from zhenxian.simulation.areas import City
from zhenxian.simulation.flow import HOUR, OFFICE_HOURS, TRADING, arrivals, dialler, lasting
from zhenxian.simulation.model import Call, Seat
from zhenxian.simulation.stage import Stage

BAN: Final = (80, 250)  # calls until complaints have a number stopped, from and to
_PITCH: Final = 25.0  # seconds of talk, on average
_ANSWERED: Final = 0.45
_FRESH: Final = 50  # seconds within which a token that was caught can still pass for new


class _Numbers:
    """An operator's numbers by city, each with the seat it calls from."""

    def __init__(
        self,
        stage: Stage,
        seats: list[Seat],
        count: int,
        make: Callable[[Seat, City], TN] | None = None,
    ) -> None:
        """Deal them out among the seats; fixed-line numbers unless something else makes them."""
        self._stage = stage
        make = make or stage.fixed
        self.all: list[tuple[Seat, TN, City]] = []
        self._of: dict[str, list[tuple[Seat, TN]]] = defaultdict(list)
        for index in range(count):
            seat, city = seats[index % len(seats)], stage.cities.draw(stage.random)
            number = make(seat, city)
            self.all.append((seat, number, city))
            self._of[city.name].append((seat, number))

    def any(self) -> tuple[Seat, TN]:
        """Any of them."""
        seat, number, _ = self._stage.random.choice(self.all)
        return seat, number

    def local(self, city: City) -> tuple[Seat, TN]:
        """One of the city; any when there is none."""
        here = self._of.get(city.name)
        return self._stage.random.choice(here) if here else self.any()


def _pooled(stage: Stage, numbers: _Numbers, local: float, per_day: float) -> Iterator[Call]:
    """Calls to people anywhere, of which a share is shown a number of their own city."""
    random = stage.random
    for at in arrivals(random, stage.start, stage.end, per_day, TRADING):
        city = stage.cities.draw(random)
        seat, display = numbers.local(city) if random.random() < local else numbers.any()
        talk = lasting(random, _PITCH, _ANSWERED)
        yield stage.call(seat, at, talk, display, city.person(random))


def pool(stage: Stage) -> Iterator[Call]:
    """5,000 numbers of the whole country; each callee is shown one of the own city.

    3,000 calls a day, so that no number is used more than about once.
    """
    return _pooled(stage, _Numbers(stage, stage.seats(stage.split), 5_000), 1.0, 3_000)


def half_local_pool(stage: Stage) -> Iterator[Call]:
    """The same, but only every second callee is shown a number of the own city."""
    return _pooled(stage, _Numbers(stage, stage.seats(stage.split), 5_000), 0.5, 3_000)


def redialling_pool(stage: Stage) -> Iterator[Call]:
    """The national pool, but every second callee is dialled twice by the same number.

    The first attempt is cancelled after 2 seconds, before anybody answers; the second follows
    within a minute, or within the hour: one third of its calls looks like those of somebody who
    calls again.
    """
    random = stage.random
    once = _pooled(stage, _Numbers(stage, stage.seats(stage.split), 5_000), 1.0, 3_000)

    def calls() -> Iterator[Call]:
        again: list[tuple[int, str, Call]] = []
        for turn, call in enumerate(once):
            while again and again[0][0] <= call.at:
                yield heappop(again)[2]
            if turn % 2:
                yield call
                continue
            yield replace(call, duration=2, answered=False)
            later = call.at + 2 + random.randint(*random.choice([(20, 60), (600, 3_600)]))
            if later < stage.end:
                second = replace(call, id=stage.call_id(), at=later)
                heappush(again, (later, second.id, second))
        while again:
            yield heappop(again)[2]

    return calls()


def slow_pool(stage: Stage) -> Iterator[Call]:
    """400 numbers, each used exactly twice a day, nine times in ten for a callee of its city."""
    random = stage.random
    numbers = _Numbers(stage, stage.seats(stage.split), 400)

    def calls() -> Iterator[Call]:
        left: list[tuple[Seat, TN, City]] = []
        for at in arrivals(random, stage.start, stage.end, 800, TRADING):
            if not left:
                left = numbers.all * 2
                random.shuffle(left)
            seat, display, city = left.pop()
            callee = stage.mostly(city, 0.9)
            yield stage.call(seat, at, lasting(random, _PITCH, _ANSWERED), display, callee)

    return calls()


def city_pool(stage: Stage) -> Iterator[Call]:
    """Has read the page: 30 numbers in each of 10 cities, and works one city at a time.

    Within a day all displays and all callees are of one city, so that display and callee are
    independent and local presence sees nothing, as with an honest local business. 800 calls a day.
    """
    random = stage.random
    seats = stage.seats(stage.split)
    cities = stage.cities.several(random, 10)
    held = [
        [(seats[i % len(seats)], stage.fixed(seats[i % len(seats)], city)) for i in range(30)]
        for city in cities
    ]

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 800, TRADING):
            turn = (int(at) - stage.start) // (24 * HOUR) % len(cities)
            seat, display = random.choice(held[turn])
            callee = stage.mostly(cities[turn], 0.95)
            yield stage.call(seat, at, lasting(random, _PITCH, _ANSWERED), display, callee)

    return calls()


def sim_box(stage: Stage) -> Iterator[Call]:
    """A device with five SIM cards, real mobile numbers of one city, that takes them in turn.

    One call at a time, about 700 a day, a new card after every 8 calls; callees anywhere, each
    once. Split, each card has an access and a name of its own (five at most).
    """
    random = stage.random
    seats = stage.seats(min(stage.split, 5))
    home = stage.cities.draw(random)
    cards = [(seats[i % len(seats)], stage.mobile(seats[i % len(seats)], home)) for i in range(5)]

    def calls() -> Iterator[Call]:
        box = dialler(
            random, stage.start, stage.end, lines=1, talk=_PITCH, pause=30.0, day=TRADING,
            answered=_ANSWERED,
        )  # fmt: skip
        for turn, (at, duration) in enumerate(box):
            seat, display = cards[turn // 8 % 5]
            yield stage.call(seat, at, duration, display, stage.anybody())

    return calls()


def robot(stage: Stage) -> Iterator[Call]:
    """200 lines that dial without a break: 100,000 calls a day from ten verified numbers."""
    random = stage.random
    numbers = _Numbers(stage, stage.seats(stage.split), max(10, stage.split))

    def calls() -> Iterator[Call]:
        lines = dialler(
            random, stage.start, stage.end, lines=200, talk=60.0, pause=31.0, day=TRADING,
            answered=_ANSWERED,
        )  # fmt: skip
        for at, duration in lines:
            seat, display = numbers.any()
            yield stage.call(seat, at, duration, display, stage.anybody())

    return calls()


def unverified(stage: Stage) -> Iterator[Call]:
    """1,000 numbers that a reseller (虚商) passed on without looking who takes them.

    1,500 calls a day, any number for any callee. The registry knows that nobody was verified;
    conduct sees a pool without local presence.
    """
    random = stage.random
    seats = stage.seats(stage.split)
    reseller = stage.name("r")
    numbers = [
        (seat, stage.resold(seat, stage.cities.draw(random), reseller))
        for seat in (seats[index % len(seats)] for index in range(1_000))
    ]

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 1_500, TRADING):
            seat, display = random.choice(numbers)
            yield stage.call(seat, at, lasting(random, _PITCH, _ANSWERED), display, stage.anybody())

    return calls()


def returned(stage: Stage) -> Iterator[Call]:
    """Calls with one number until it is stopped after 80 to 250 calls; an hour later with the next.

    Subject and access stay the same. About 700 calls a day from each access, callees anywhere.
    """
    return _returning(stage, straw=False)


def straw(stage: Stage) -> Iterator[Call]:
    """The same, but comes back each time behind another name, with a new access and origid.

    Only the carrier stays, and the manner: nothing of the call itself leads to the one before.
    """
    return _returning(stage, straw=True)


def _returning(stage: Stage, *, straw: bool) -> Iterator[Call]:
    random = stage.random
    seats = stage.seats(stage.split)
    # Prepared ahead, as many as days allow, so that the registry knows the numbers.
    lives = 1 + 9 * max(1, (stage.end - stage.start) // (24 * HOUR))
    turns: list[list[tuple[Seat, TN, int]]] = []
    for seat in seats:
        mine = []
        for life in range(lives):
            here = stage.seat(seat.spc) if straw and life else seat
            number = stage.mobile(here, stage.cities.draw(random))
            mine.append((here, number, random.randint(*BAN)))
        turns.append(mine[::-1])

    def calls() -> Iterator[Call]:
        left = [turn[-1][2] for turn in turns]
        free = [(stage.start + random.random() * HOUR, index) for index in range(len(turns))]
        free.sort()
        while free[0][0] < stage.end:
            at, index = free[0]
            gap = random.expovariate(1 / 40.0)
            duration = lasting(random, _PITCH, _ANSWERED)
            local_hour = int((at + 8 * HOUR) % (24 * HOUR)) // HOUR
            if not TRADING.weights[local_hour]:
                heapreplace(free, ((int(at) // HOUR + 1) * HOUR + gap, index))
                continue
            if not left[index]:
                turns[index].pop()
                if not turns[index]:
                    heapreplace(free, (float(stage.end), index))
                    continue
                left[index] = turns[index][-1][2]
                heapreplace(free, (at + random.uniform(0.5, 1.5) * HOUR, index))
                continue
            left[index] -= 1
            heapreplace(free, (at + duration.seconds + gap, index))
            seat, display, _ = turns[index][-1]
            yield stage.call(seat, at, duration, display, stage.anybody())

    return calls()


def minter(stage: Stage) -> Iterator[Call]:
    """A carrier of its own that signs each call with a fresh origid: 2,500 calls a day.

    Behind it is a pool of 2,000 numbers, nine in ten calls local. Split, there are several such
    carriers. Nobody on the originating side will tell anything: no access, no subject.
    """
    return _own_carrier(stage, lambda _: stage.origid())


def origid_pool(stage: Stage) -> Iterator[Call]:
    """Has read the page: the same, but each number keeps the origid that it began with.

    From outside it looks like a carrier with 2,000 customers, each with one number.
    """
    origids: defaultdict[TN, str] = defaultdict(stage.origid)
    return _own_carrier(stage, origids.__getitem__)


def _own_carrier(stage: Stage, origid: Callable[[TN], str]) -> Iterator[Call]:
    random = stage.random
    carriers = [Seat(None, None, stage.country.new_carrier(), "") for _ in range(stage.split)]
    numbers = _Numbers(stage, carriers, 2_000)

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 2_500, TRADING):
            city = stage.cities.draw(random)
            seat, display = numbers.local(city) if random.random() < 0.9 else numbers.any()
            named = seat._replace(origid=origid(display))
            duration = lasting(random, _PITCH, _ANSWERED)
            yield stage.call(named, at, duration, display, city.person(random))

    return calls()


def binder(stage: Stage) -> Iterator[Call]:
    """A platform with 2,000 privacy numbers that binds agent and callee right before each call.

    Ten agents make 2,000 calls a day, callees anywhere, each once; each sees a number of the own
    city, and a live binding permits it. Split, there are several platforms, and at least one agent
    behind each.
    """
    random = stage.random
    seats = stage.seats(stage.split)
    numbers = _Numbers(stage, seats, 2_000, stage.privacy)
    own = stage.seat()
    agents = [stage.mobile(own, stage.cities.draw(random)) for _ in range(max(10, stage.split))]
    behind = {seat: agents[place :: len(seats)] for place, seat in enumerate(seats)}

    def calls() -> Iterator[Call]:
        for at in arrivals(random, stage.start, stage.end, 2_000, TRADING):
            city = stage.cities.draw(random)
            seat, display = numbers.local(city)
            yield stage.call(
                seat,
                at,
                lasting(random, _PITCH, _ANSWERED),
                display,
                city.person(random),
                caller=random.choice(behind[seat]),
                bound=True,
            )

    return calls()


def replayed(stage: Stage) -> Iterator[Call]:
    """Catches tokens of a shop's calls and calls the same customer again with them, as the shop."""
    return _stolen(stage, same_callee=True)


def pasted(stage: Stage) -> Iterator[Call]:
    """Has the shop call a phone of its own, cuts the token out and pastes it into calls to others.

    Every second one shows another number, too.
    """
    return _stolen(stage, same_callee=False)


def _stolen(stage: Stage, *, same_callee: bool) -> Iterator[Call]:
    """The shop's 50 calls a day, and after every fifth, five with its token while it is fresh."""
    random = stage.random
    home = stage.cities.draw(random)
    mark = stage.seat()
    number = stage.fixed(mark, home)
    thief = Seat(None, None, mark.spc, mark.origid)

    def calls() -> Iterator[Call]:
        for turn, at in enumerate(arrivals(random, stage.start, stage.end, 50, OFFICE_HOURS)):
            if turn % 5:
                continue
            original = stage.call(mark, at, lasting(random, 60.0), number, home.person(random))
            yield original
            for later in sorted(random.uniform(1, _FRESH) for _ in range(5)):
                callee = original.callee if same_callee else stage.anybody()
                other = not same_callee and random.random() < 0.5
                display = home.fixed_number(random) if other else number
                duration = lasting(random, _PITCH, _ANSWERED)
                yield stage.call(thief, at + later, duration, display, callee, token=original.id)

    return calls()
