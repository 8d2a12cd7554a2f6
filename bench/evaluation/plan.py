"""What is evaluated: which callers, on which seeds, with which policies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics import Measure, Policy
from zhenxian.simulation import Call, Kind, Scenario, Traffic, Truth

TUNING = range(1, 21)  # seeds on which thresholds may be chosen
EVALUATION = range(100, 200)  # seeds that no threshold has seen
SPLITS = (1, 2, 5, 20)

# A town's worth of honest callers in which the rare and difficult ones are far more frequent than
# in a country: it has one bank to 2,000 subscribers.
HONEST = {
    Kind.SUBSCRIBER: 1_500,
    Kind.ROAMER: 500,
    Kind.VILLAGE: 1,
    Kind.RIDER: 10,
    Kind.OFFICE: 10,
    Kind.SHOP: 10,
    Kind.HOSPITAL: 1,
    Kind.SCHOOL: 2,
    Kind.BANK: 1,
    Kind.CALL_CENTRE: 1,
    Kind.COURIER: 1,
    Kind.MERCHANTS: 1,
    Kind.BRANCHES: 1,
    Kind.NUMBERING: 1,
}
DISHONEST = {
    Kind.POOL: 2,
    Kind.HALF_LOCAL_POOL: 2,
    Kind.SLOW_POOL: 2,
    Kind.CITY_POOL: 2,
    Kind.REDIALLING_POOL: 1,
    Kind.SIM_BOX: 4,
    Kind.UNVERIFIED: 2,
    Kind.RETURNED: 2,
    Kind.STRAW: 2,
    Kind.MINTER: 1,
    Kind.ORIGID_POOL: 1,
    Kind.BINDER: 1,
}
FEWER = dict.fromkeys(DISHONEST, 1)
BROADCAST = (Kind.POOL, Kind.SIM_BOX, Kind.ROBOT, Kind.UNVERIFIED, Kind.RETURNED)
PLATFORMS = (Kind.COURIER, Kind.MERCHANTS, Kind.BINDER)  # whose calls need bindings
WITHIN_A_DAY = (Kind.SLOW_POOL, Kind.HALF_LOCAL_POOL)
# How displays spread, without the evidence of bench.evaluation.stages.
ALONE = Policy(structure_alone=True)
# Finds nothing sooner, but tells weak strengths too.
SENSITIVE = Policy(structure_alone=True, suspect=0.05, keep=0.05)
ROBOT_CALLS = 20_000  # of a robot's 100,000 a day are looked at; it is found before or not


class Size(Struct, frozen=True):
    """How much is evaluated, in seeds.

    Attributes:
        seeds: a day of dishonest callers on one access each; honest: of these, with honest callers
            around them. split: over more accesses. robots: of robots alone. ablation: of the whole
            mix without one measure each. curve: of it for precision against recall. long: of honest
            callers over three days. parts: of registry and verifier.
        whole: of the service with everything on.
    """

    seeds: int
    honest: int
    split: int
    robots: int
    ablation: int
    curve: int
    long: int
    parts: int
    whole: int


FULL = Size(seeds=32, honest=10, split=6, robots=12, ablation=2, curve=3, long=2, parts=3, whole=1)
QUICK = Size(seeds=2, honest=1, split=1, robots=0, ablation=1, curve=1, long=0, parts=1, whole=0)


def mix(seed: int) -> Scenario:
    """A day of honest and dishonest callers, each of the latter on one access."""
    return Scenario.of({**HONEST, **DISHONEST}, seed=seed)


def dishonest(seed: int) -> Scenario:
    """The latter alone."""
    return Scenario.of(DISHONEST, seed=seed)


def split(seed: int, over: int) -> Scenario:
    """A day of dishonest callers, each over so many accesses and carriers."""
    return Scenario.of(FEWER, seed=seed, split=over)


def robots(seed: int, over: int) -> Scenario:
    """One robot."""
    return Scenario.of({Kind.ROBOT: 1}, seed=seed, split=over)


def honest(seed: int, days: int) -> Scenario:
    """Honest callers alone, for longer."""
    return Scenario.of(HONEST, seed=seed, days=days)


def without(measure: Measure) -> Policy:
    """The default policy with one measure off."""
    policy = ALONE
    return replace(policy, measures=policy.measures - {measure})


def drawn(scenario: Scenario, most: int | None = None) -> tuple[list[Call], list[Truth]]:
    """The calls, and what is true of them: two things that never meet before the scoring."""
    traffic = Traffic(scenario)
    stream: Iterator[Call] = traffic.calls()
    calls = list(stream if most is None else islice(stream, most))
    return calls, list(traffic.truth())
