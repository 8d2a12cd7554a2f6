"""The simulator: the same traffic each time, of the kinds it says, and no word of the kind."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from plain import PlainRegistry

from gateway.simulation import Key, Kind, Scenario, Traffic
from gateway.simulation.scenario import GENERATORS
from passport.errors import ConfigError
from registry.journal import put

EVERY = dict.fromkeys(GENERATORS, 1) | {Kind.SUBSCRIBER: 60, Kind.ROAMER: 20}


@pytest.fixture(scope="module")
def drawn():
    traffic = Traffic(Scenario.of(EVERY, seed=7))
    return traffic, list(traffic.calls())


def test_one_seed_gives_one_traffic():
    some = {Kind.POOL: 1, Kind.SHOP: 3, Kind.SUBSCRIBER: 30}
    one, again, other = (list(Traffic(Scenario.of(some, seed=seed)).calls()) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_calls_come_in_time_and_never_say_what_they_are(drawn):
    traffic, calls = drawn
    assert [call.at for call in calls] == sorted(call.at for call in calls)
    scenario = traffic.scenario
    assert all(0 <= call.at - scenario.start < scenario.days * 86_400 for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    told = repr(calls[:: len(calls) // 2_000])
    for kind in Kind:
        assert kind.value not in told
        assert repr(kind) not in told


def test_truth_agrees_with_the_calls(drawn):
    traffic, calls = drawn
    truth = {(row.key, row.id): row for row in traffic.truth()}
    own = [call for call in calls if call.token is None]
    counted = Counter(call.subject for call in own if call.subject)
    shown = defaultdict(set)
    for call in own:
        shown[call.subject].add(call.display)
    for name, count in counted.items():
        row = truth[Key.SUBJECT, name]
        assert (row.calls, row.numbers) == (count, len(shown[name]))
        assert row.honest is row.kind.honest
    assert {row.kind for row in truth.values()} == set(Kind)


def _of(kind, seed=3, split=1):
    traffic = Traffic(Scenario.of({kind: 1}, seed=seed, split=split))
    return list(traffic.calls())


def test_kinds_do_what_they_say():
    pool = _of(Kind.POOL)
    assert 2_700 < len(pool) < 3_300
    assert max(Counter(call.display for call in pool).values()) < 12
    slow = _of(Kind.SLOW_POOL)
    assert max(Counter(call.display for call in slow).values()) <= 4
    box = _of(Kind.SIM_BOX)
    assert len({call.display for call in box}) == 5
    ends = [call.at + call.duration for call in box]
    assert all(end <= later.at for end, later in zip(ends, box[1:], strict=False))
    robot = _of(Kind.ROBOT)
    assert 80_000 < len(robot) < 120_000
    school = _of(Kind.SCHOOL)
    assert {call.display for call in school} == {school[0].display}
    assert max(Counter(call.at // 900 for call in school).values()) > 700
    minter = _of(Kind.MINTER)
    assert len({call.origid for call in minter}) == len(minter)
    assert {call.subject for call in minter} == {None}
    courier = _of(Kind.COURIER)
    assert all(call.bound and call.caller for call in courier)
    assert len({call.access for call in _of(Kind.POOL, split=5)}) == 5


def test_what_the_registry_knows_can_be_written():
    some = dict.fromkeys([Kind.SHOP, Kind.OFFICE, Kind.COURIER, Kind.SIM_BOX, Kind.REPLAYED], 1)
    traffic = Traffic(Scenario.of(some | {Kind.SUBSCRIBER: 5}, seed=7))
    changes = [put(record) for record in traffic.records()]
    PlainRegistry().write(changes, author="t", reason="r", now=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 0},
        {"size": 0},
        {"split": 101},
        {"shares": {}},
        {"shares": {Kind.SHOP: -1.0}},
        {"shares": {Kind.CARRIER: 1.0}},
    ],
)
def test_what_cannot_be_simulated_is_refused(wrong):
    with pytest.raises(ConfigError):
        Scenario(seed=1, **wrong)


def test_counts_add_up():
    scenario = Scenario(seed=1, size=7, shares={Kind.SHOP: 1, Kind.BANK: 1, Kind.RIDER: 1})
    assert sum(scenario.counts.values()) == 7
    assert set(scenario.counts.values()) == {2, 3}


def test_calls_are_drawn_once():
    traffic = Traffic(Scenario.of({Kind.SHOP: 1}, seed=1))
    list(traffic.calls())
    with pytest.raises(RuntimeError):
        traffic.calls()
