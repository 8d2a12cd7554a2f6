"""The simulator: the same traffic each time, of the kinds it says, and no word of the kind."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from plain import PlainRegistry

from zhenxian.core.errors import ConfigError
from zhenxian.registry.journal import put
from zhenxian.simulation import Key, Kind, Scenario, Traffic
from zhenxian.simulation.scenario import GENERATORS

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


def test_a_carrier_that_numbers_its_calls_has_ordinary_subscribers():
    calls = _of(Kind.NUMBERING)
    assert len({call.origid for call in calls}) == len(calls)
    assert len({call.spc for call in calls}) == 1
    subscribers = {call.subject for call in calls}
    assert None not in subscribers
    assert 200 < len(subscribers) <= 300
    assert len({call.display for call in calls}) == len(subscribers)
    called = Counter((call.subject, call.callee) for call in calls)
    assert len(called) < 0.95 * len(calls)  # people call each other again
    traffic = Traffic(Scenario.of({Kind.NUMBERING: 1, Kind.SHOP: 1}, seed=3))
    used = {call.spc for call in traffic.calls() if call.origid in {c.origid for c in calls}}
    rows = {row.id: row for row in traffic.truth() if row.key is Key.SPC}
    assert {row.kind for row in rows.values()} == {Kind.NUMBERING, Kind.CARRIER}
    assert {rows[spc].kind for spc in used} == {Kind.NUMBERING}


def test_merchants_call_a_few_customers_and_some_call_back():
    calls = _of(Kind.MERCHANTS)
    assert all(call.bound and call.caller for call in calls)
    assert len({call.subject for call in calls}) == 1
    reached = Counter(caller for caller, _ in {(call.caller, call.callee) for call in calls})
    merchants = {caller for caller, callees in reached.items() if callees > 1}
    outward = [call for call in calls if call.caller in merchants]
    back = [call for call in calls if call.callee in merchants]
    assert len(outward) + len(back) == len(calls)
    assert 25 <= len(merchants) <= 30
    called = Counter((call.caller, call.callee) for call in outward)
    customers = Counter(caller for caller, _ in called)
    assert set(customers) == merchants
    assert min(customers.values()) >= 5
    assert max(customers.values()) <= 40
    twice = sum(count == 2 for count in called.values())
    assert 0.18 < twice / len(called) < 0.32
    assert 0.08 < len(back) / len(called) < 0.2
    assert {(call.callee, call.caller) for call in back} <= set(called)
    assert 100 < len({call.display for call in calls}) <= 300


def test_a_binder_has_agents_who_call_strangers_from_local_numbers():
    calls = _of(Kind.BINDER)
    assert 1_800 < len(calls) < 2_200
    assert all(call.bound for call in calls)
    agents = Counter(call.caller for call in calls)
    assert len(agents) == 10
    assert min(agents.values()) > 150
    assert len({call.callee for call in calls}) > 0.99 * len(calls)
    split = _of(Kind.BINDER, split=20)
    behind = {(call.subject, call.caller) for call in split}
    assert len({subject for subject, _ in behind}) == len(behind) == 20
    traffic = Traffic(Scenario.of({Kind.BINDER: 1, Kind.MERCHANTS: 1}, seed=3))
    drawn = list(traffic.calls())
    rows = {row.id: row for row in traffic.truth() if row.key is Key.AGENT}
    counted = Counter(f"{call.subject}/{call.caller}" for call in drawn)
    assert {name: row.calls for name, row in rows.items()} == counted
    assert {row.kind for row in rows.values()} == {Kind.BINDER, Kind.MERCHANTS}


def test_a_pool_dials_every_second_callee_twice():
    calls = _of(Kind.REDIALLING_POOL)
    assert 4_100 < len(calls) < 4_900
    by_callee = defaultdict(list)
    for call in calls:
        by_callee[call.callee].append(call)
    twice = [both for both in by_callee.values() if len(both) > 1]
    assert 0.45 < len(twice) / len(by_callee) < 0.55
    for first, second, *_ in twice:
        assert first.duration == 2
        assert first.display == second.display
        assert first.id != second.id
        apart = second.at - first.at
        assert 22 <= apart <= 62 or 602 <= apart <= 3_602
        assert not first.answered


def test_a_pool_with_an_origid_a_number_keeps_it():
    calls = _of(Kind.ORIGID_POOL)
    origids = defaultdict(set)
    for call in calls:
        origids[call.display].add(call.origid)
    assert {len(some) for some in origids.values()} == {1}
    assert len({call.origid for call in calls}) == len(origids) > 1_000
    assert {(call.subject, call.access) for call in calls} == {(None, None)}
    assert len({call.spc for call in _of(Kind.ORIGID_POOL, split=5)}) == 5


def test_rare_kinds_are_rare_in_a_small_town_too():
    counts = Scenario(seed=1, size=200).counts
    new = {Kind.NUMBERING, Kind.MERCHANTS, Kind.BINDER, Kind.REDIALLING_POOL, Kind.ORIGID_POOL}
    assert {counts[kind] for kind in new} == {0}


def test_what_the_registry_knows_can_be_written():
    kinds = [
        Kind.SHOP, Kind.OFFICE, Kind.COURIER, Kind.SIM_BOX, Kind.REPLAYED, Kind.MERCHANTS,
        Kind.NUMBERING, Kind.BINDER, Kind.REDIALLING_POOL, Kind.ORIGID_POOL,
    ]  # fmt: skip
    traffic = Traffic(Scenario.of(dict.fromkeys(kinds, 1) | {Kind.SUBSCRIBER: 5}, seed=7))
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
