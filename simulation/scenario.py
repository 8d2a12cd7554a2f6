"""A scenario and its traffic: all callers' streams merged by time, the truth kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from random import Random
from typing import Final

from msgspec import Struct, field

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TNRange
from zhenxian.registry.model import Access, Holding, Record, Reseller, Subject, Verification
from zhenxian.simulation import dishonest, honest
from zhenxian.simulation.areas import cities
from zhenxian.simulation.flow import DAY
from zhenxian.simulation.model import Call, Key, Kind, Truth
from zhenxian.simulation.stage import Country, Stage

START: Final = 1_795_449_600  # 2026-11-24T00:00:00+08:00
MAX_SPLIT: Final = 100  # carriers and accesses of one operator
MAX_SIZE: Final = 10_000_000  # callers
MAX_DAYS: Final = 366
_LARGE: Final = ("1001", "2002", "3003")
_SMALL: Final = tuple(f"{4_000 + index}" for index in range(1, 28))

Generator = Callable[[Stage], Iterator[Call]]
GENERATORS: Final[dict[Kind, Generator]] = {
    Kind.VILLAGE: honest.village,
    Kind.RIDER: honest.rider,
    Kind.OFFICE: honest.office,
    Kind.SHOP: honest.shop,
    Kind.HOSPITAL: honest.hospital,
    Kind.SCHOOL: honest.school,
    Kind.BANK: honest.bank,
    Kind.CALL_CENTRE: honest.call_centre,
    Kind.COURIER: honest.courier,
    Kind.MERCHANTS: honest.merchants,
    Kind.BRANCHES: honest.branches,
    Kind.NUMBERING: honest.numbering,
    Kind.POOL: dishonest.pool,
    Kind.HALF_LOCAL_POOL: dishonest.half_local_pool,
    Kind.SLOW_POOL: dishonest.slow_pool,
    Kind.CITY_POOL: dishonest.city_pool,
    Kind.REDIALLING_POOL: dishonest.redialling_pool,
    Kind.SIM_BOX: dishonest.sim_box,
    Kind.ROBOT: dishonest.robot,
    Kind.UNVERIFIED: dishonest.unverified,
    Kind.RETURNED: dishonest.returned,
    Kind.STRAW: dishonest.straw,
    Kind.MINTER: dishonest.minter,
    Kind.ORIGID_POOL: dishonest.origid_pool,
    Kind.BINDER: dishonest.binder,
    Kind.REPLAYED: dishonest.replayed,
    Kind.PASTED: dishonest.pasted,
}
_PEOPLE: Final = {Kind.SUBSCRIBER: honest.subscribers, Kind.ROAMER: honest.roamers}

COUNTRY: Final[Mapping[Kind, float]] = {
    Kind.SUBSCRIBER: 9_000,
    Kind.ROAMER: 600,
    Kind.VILLAGE: 1,
    Kind.RIDER: 150,
    Kind.OFFICE: 100,
    Kind.SHOP: 100,
    Kind.HOSPITAL: 2,
    Kind.SCHOOL: 20,
    Kind.BANK: 1,
    Kind.CALL_CENTRE: 2,
    Kind.COURIER: 1,
    Kind.MERCHANTS: 1,
    Kind.BRANCHES: 1,
    Kind.NUMBERING: 1,
    Kind.POOL: 2,
    Kind.HALF_LOCAL_POOL: 1,
    Kind.SLOW_POOL: 1,
    Kind.CITY_POOL: 1,
    Kind.REDIALLING_POOL: 1,
    Kind.SIM_BOX: 8,
    Kind.ROBOT: 1,
    Kind.UNVERIFIED: 2,
    Kind.RETURNED: 2,
    Kind.STRAW: 1,
    Kind.MINTER: 1,
    Kind.ORIGID_POOL: 1,
    Kind.BINDER: 1,
    Kind.REPLAYED: 2,
    Kind.PASTED: 2,
}


class Scenario(Struct, frozen=True, kw_only=True):
    """What to simulate.

    Attributes:
        seed: the same seed gives the same calls.
        size: callers. A subscriber counts as one, and so does a village operator, a bank, a pool or
            a carrier of its own, whatever its size.
        shares: how many callers of each kind, relative to each other. Counts are rounded so that
            they add up to `size` (largest remainders), which may leave a rare kind out.
        days: length. start: seconds since the epoch of the first midnight.
        split: carriers and accesses over which each dishonest operator spreads.
    """

    seed: int
    size: int = 10_000
    shares: Mapping[Kind, float] = field(default_factory=lambda: COUNTRY)
    days: int = 1
    start: int = START
    split: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError when there is nothing to simulate, or too much."""
        if not 1 <= self.days <= MAX_DAYS:
            raise ConfigError(f"days: 1 to {MAX_DAYS} expected")
        if not 1 <= self.size <= MAX_SIZE:
            raise ConfigError(f"size: 1 to {MAX_SIZE} callers expected")
        if not 1 <= self.split <= MAX_SPLIT:
            raise ConfigError(f"split: 1 to {MAX_SPLIT} expected")
        shares = self.shares.values()
        if not all(0 <= share < float("inf") for share in shares) or not sum(shares):
            raise ConfigError("shares: numbers not below 0 expected, not all of them 0")
        if Kind.CARRIER in self.shares:
            raise ConfigError(f"shares: {Kind.CARRIER.value!r} is no kind of caller")

    @classmethod
    def of(cls, counts: Mapping[Kind, int], **more: int) -> Scenario:
        """Exactly so many callers of each kind."""
        return cls(shares=dict(counts), size=sum(counts.values()), **more)

    @property
    def counts(self) -> dict[Kind, int]:
        """Callers of each kind; they add up to `size`."""
        total = sum(self.shares.values())
        exact = {kind: self.size * share / total for kind, share in self.shares.items()}
        counts = {kind: int(value) for kind, value in exact.items()}
        by_remainder = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
        for kind in by_remainder[: self.size - sum(counts.values())]:
            counts[kind] += 1
        return counts


class _Seen:
    """What was seen of one key so far."""

    __slots__ = ("calls", "first", "kind", "last", "numbers", "operator")

    def __init__(self, kind: Kind, operator: str, at: int) -> None:
        self.kind = kind
        self.operator = operator
        self.calls = 0
        self.first = at
        self.last = at
        self.numbers: set[str] = set()


class _Source(Struct, frozen=True):
    """One caller, or one switch of subscribers."""

    kind: Kind
    operator: str
    calls: Iterator[Call]


class Traffic:
    """The calls of a scenario, drawn once, and what is true of them.

    Memory grows with the callers and with the distinct numbers they show, not with the calls.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Set all callers up; no call is made yet."""
        self.scenario = scenario
        self._drawn = False
        self._seen: dict[tuple[Key, str], _Seen] = {}
        self._country = Country(
            cities=cities(), large=_LARGE, small=_SMALL, own=[], taken=set(), holds=[], seats=[]
        )
        self._sources: list[_Source] = []
        for kind, count in sorted(scenario.counts.items(), key=lambda item: item[0].value):
            if kind in _PEOPLE:
                for index, begin in enumerate(range(0, count, honest.SWITCH)):
                    people = min(honest.SWITCH, count - begin)
                    stage = self._stage(kind, index)
                    self._add(kind, stage, _PEOPLE[kind](stage, people))
            else:
                for index in range(count):
                    stage = self._stage(kind, index)
                    self._add(kind, stage, GENERATORS[kind](stage))
        # The order of sources decides among calls of one second; it shall not tell their kinds.
        Random(f"{scenario.seed}/order").shuffle(self._sources)  # noqa: S311

    def _stage(self, kind: Kind, index: int) -> Stage:
        scenario = self.scenario
        return Stage(
            Random(f"{scenario.seed}/{kind.value}/{index}"),  # noqa: S311
            self._country,
            start=scenario.start,
            end=scenario.start + scenario.days * DAY,
            split=scenario.split,
        )

    def _add(self, kind: Kind, stage: Stage, calls: Iterator[Call]) -> None:
        self._sources.append(_Source(kind, stage.name("o"), calls))

    def calls(self) -> Iterator[Call]:
        """All calls in order of time, made as they are asked for.

        Raises:
            RuntimeError: they were drawn before.
        """
        if self._drawn:
            raise RuntimeError("the calls of a Traffic are drawn once; make another")
        self._drawn = True
        return self._merged()

    def _merged(self) -> Iterator[Call]:
        streams = [_marked(source.calls, index) for index, source in enumerate(self._sources)]
        for _, index, call in merge(*streams):
            self._note(self._sources[index], call)
            yield call

    def _note(self, source: _Source, call: Call) -> None:
        kind, operator = source.kind, source.operator
        if call.token is not None:
            # The token's signer is honest: only this call is not.
            self._one((Key.CALL, call.id), kind, operator, call)
            return
        if kind in (Kind.REPLAYED, Kind.PASTED):
            kind, operator = Kind.SHOP, f"{operator}-mark"
        if call.access is not None:
            self._one((Key.ACCESS, call.access), kind, operator, call)
        if call.subject is not None:
            self._one((Key.SUBJECT, call.subject), kind, operator, call)
        self._one((Key.SIGNER, f"{call.spc}/{call.origid}"), kind, operator, call)
        if call.bound and call.caller is not None:
            self._one((Key.AGENT, f"{call.subject}/{call.caller}"), kind, operator, call)
        if call.spc in self._country.own:
            self._one((Key.SPC, call.spc), kind, operator, call)
        else:
            self._one((Key.SPC, call.spc), Kind.CARRIER, call.spc, call)

    def _one(self, key: tuple[Key, str], kind: Kind, operator: str, call: Call) -> None:
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen(kind, operator, call.at)
        seen.calls += 1
        seen.last = call.at
        seen.numbers.add(call.display)

    def truth(self) -> Iterator[Truth]:
        """One row for each key of the calls drawn so far; all of them when all were drawn."""
        for (key, name), seen in self._seen.items():
            yield Truth(
                key=key,
                id=name,
                kind=seen.kind,
                honest=seen.kind.honest,
                operator=seen.operator,
                calls=seen.calls,
                numbers=len(seen.numbers),
                first=seen.first,
                last=seen.last,
            )

    def shared_accesses(self) -> dict[str, str]:
        """Subject by access, of those whose origid is a switch's; `records` leaves them out."""
        shared = _shared([seat.origid for seat in self._country.seats])
        return {
            seat.access: seat.subject
            for seat in self._country.seats
            if seat.access is not None and seat.subject is not None and seat.origid in shared
        }

    def records(self) -> Iterator[Record]:
        """What the registry knows of these callers, in an order in which it can be written.

        Subjects, resellers, accesses and holdings. Customers of a carrier that is a pool itself are
        in nobody's registry; bindings of privacy numbers come and go too fast to be written here.
        """
        country = self._country
        subjects = {seat.subject: None for seat in country.seats if seat.subject is not None}
        yield from (Subject(id=name) for name in subjects)
        resellers = {hold.reseller: None for hold in country.holds if hold.reseller}
        yield from (Reseller(id=name, role="mvno") for name in resellers)
        shared = _shared([seat.origid for seat in country.seats])
        for seat in country.seats:
            if seat.access is not None and seat.subject is not None and seat.origid not in shared:
                yield Access(id=seat.access, origid=seat.origid, subject=seat.subject)
        for hold in country.holds:
            yield Holding(
                numbers=TNRange(hold.number, hold.number),
                subject=hold.subject,
                verification=hold.verification,
                use=hold.use,
                spcs=(hold.spc,),
                reseller=hold.reseller,
                evidence="simulated" if hold.verification is Verification.VERIFIED else "",
            )


def _marked(calls: Iterator[Call], index: int) -> Iterator[tuple[int, int, Call]]:
    """With what they are merged by; a function, because a generator expression binds late."""
    for call in calls:
        yield call.at, index, call


def _shared(origids: list[str]) -> set[str]:
    """Origids of switches, which many accesses share; a registry knows each at one access only."""
    seen: set[str] = set()
    twice: set[str] = set()
    for origid in origids:
        (twice if origid in seen else seen).add(origid)
    return twice
