"""Who holds a found caller's numbers is read from the registry, commit by commit and anew."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from streams import NOON, calls, numbers, somebody

from zhenxian.analytics import Detector, Key, KeyKind, State
from zhenxian.analytics.profile import Care, Profile
from zhenxian.analytics.sentences import chinese, english
from zhenxian.analytics.thresholds import DAY
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.journal import end, put
from zhenxian.registry.model import Access, Holding, Kind, Subject, SubjectKind
from zhenxian.stores.analytics.holders import HeldNumbers, numbers_of, profile_of
from zhenxian.stores.sqlite.registry import EmbeddedRegistry

FOUND = (Key(KeyKind.ACCESS, "a-1"), Key(KeyKind.SUBJECT, "s-1"))
NEXT = Key(KeyKind.SUBJECT, "s-2")
RANGE = TNRange(TN("8675588880000"), TN("8675588880099"))


def write(registry, *records):
    changes = [put(one) for one in records]
    asyncio.run(registry.write(changes, author="test", reason="test", now=NOON))


def holding(tn, subject, **more):
    return Holding(numbers=TNRange(tn, tn), subject=subject, **more)


def found_with(tns, subject="s-1"):
    """A detector that found the subject by 200 calls that nobody answers."""
    conduct, random = Detector(), Random(1)
    pairs = [(random.choice(tns), somebody(random)) for _ in range(200)]
    for one in calls(FOUND, pairs, every=5):
        over = conduct.met(one.display, one.callee, answered=False, seconds=0)
        for key in FOUND:
            conduct.ended(key, one.at, over)
        conduct.observe(one)
    assert conduct.finding(Key(KeyKind.SUBJECT, subject), NOON + 1_000).state is State.POOLED
    return conduct


def test_a_subject_that_gets_the_numbers_is_found_and_one_that_gets_a_few_is_not(tmp_path):
    registry = EmbeddedRegistry(tmp_path / "registry.db")
    tns = [tn for _, tn in numbers(Random(2), 80)]
    write(registry, *(Subject(id=f"s-{index}") for index in (1, 2, 3)))
    write(registry, *(holding(tn, "s-1") for tn in tns))
    conduct = found_with(tns)
    held = HeldNumbers(conduct, registry)
    asyncio.run(held.look(NOON + 1_000))
    assert conduct.finding(NEXT, NOON + 1_000) is None

    def to(subject, some):
        changes = [
            put(holding(tn, subject), registry.records.get(Kind.HOLDING, tn)[0]) for tn in some
        ]
        work = registry.write(changes, author="test", reason="test", now=NOON + 2_000)
        asyncio.run(work)

    to("s-3", tns[:10])
    asyncio.run(held.look(NOON + 2_000))
    assert conduct.finding(Key(KeyKind.SUBJECT, "s-3"), NOON + 2_000) is None
    to("s-2", tns[10:])
    asyncio.run(held.look(NOON + 2_000))
    assert conduct.finding(NEXT, NOON + 2_000).state is State.POOLED

    # After a restart: what was registered since the mark is read once more.
    again = Detector()
    again.restore([], [one.content for one in conduct.take_marks()])
    asyncio.run(HeldNumbers(again, EmbeddedRegistry(tmp_path / "registry.db")).look(NOON + DAY))
    assert again.finding(NEXT, NOON + DAY).state is State.POOLED
    registry.close()


def test_who_holds_the_range_around_a_pools_numbers_is_not_found_by_them(tmp_path):
    """Numbers are given on out of a carrier's range, and fall back into it."""
    registry = EmbeddedRegistry(tmp_path / "registry.db")
    around = TNRange(TN("8675588880000"), TN("8675588889999"))
    tns = [TN(f"8675588880{index:03}") for index in range(200)]
    write(registry, Subject(id="s-1"), Subject(id="s-2"), Holding(numbers=around, subject="s-2"))
    write(registry, *(holding(tn, "s-1") for tn in tns))
    conduct = found_with([tn for _, tn in numbers(Random(2), 80)])
    held = HeldNumbers(conduct, registry)
    asyncio.run(held.look(NOON + 1_000))
    write(registry, Holding(numbers=around, subject="s-2", spcs=("1001",)))  # an edit
    asyncio.run(held.look(NOON + 1_100))
    assert conduct.finding(NEXT, NOON + 1_100) is None

    changes = [end(holding(tn, "s-1")) for tn in tns]
    asyncio.run(registry.write(changes, author="test", reason="found", now=NOON + 1_200))
    write(registry, Holding(numbers=around, subject="s-2"))
    for again in (held, HeldNumbers(conduct, registry)):  # or after a restart
        asyncio.run(again.look(NOON + 1_300))
        assert conduct.finding(NEXT, NOON + 1_300) is None
    registry.close()


def test_what_a_found_subject_gave_on_is_not_marked(tmp_path):
    registry = EmbeddedRegistry(tmp_path / "registry.db")
    wide = TNRange(TN("8675588880000"), TN("8675588880399"))
    tns = [TN(f"8675588880{index:03}") for index in range(80, 400)]
    write(registry, Subject(id="s-1"), Subject(id="s-2"), Holding(numbers=wide, subject="s-1"))
    write(registry, *(holding(tn, "s-2") for tn in tns))
    conduct = found_with([tn for _, tn in numbers(Random(2), 80)])
    held = HeldNumbers(conduct, registry)
    asyncio.run(held.look(NOON + 1_000))
    write(registry, *(holding(tn, "s-2", spcs=("1001",)) for tn in tns))
    asyncio.run(held.look(NOON + 1_100))
    assert conduct.finding(NEXT, NOON + 1_100) is None
    registry.close()


class Faulty:
    """The records of a registry that cannot be read now and then."""

    def __init__(self, records):
        self._records = records
        self.away = False

    def __getattr__(self, name):
        if self.away:
            raise StoreUnavailableError("busy")
        return getattr(self._records, name)


def test_what_could_not_be_read_is_read_the_next_time(tmp_path, monkeypatch):
    registry = EmbeddedRegistry(tmp_path / "registry.db")
    tns = [tn for _, tn in numbers(Random(2), 80)]
    spare = [TN(f"8675588880{index:03}") for index in range(200)]
    write(registry, Subject(id="s-1"), Subject(id="s-2"))
    write(registry, *(holding(tn, "s-1") for tn in [*tns, *spare]))
    conduct = found_with(tns)
    records = Faulty(registry.records)
    monkeypatch.setattr(EmbeddedRegistry, "records", records)
    held = HeldNumbers(conduct, registry)

    def failing(now):
        records.away = True
        with pytest.raises(StoreUnavailableError):
            asyncio.run(held.look(now))
        records.away = False

    failing(NOON + 1_000)
    asyncio.run(held.look(NOON + 1_000))
    assert conduct.weight(spare[0])
    changes = [put(holding(tn, "s-2"), records.get(Kind.HOLDING, tn)[0]) for tn in spare]
    asyncio.run(registry.write(changes, author="test", reason="test", now=NOON + 2_000))
    failing(NOON + 2_000)
    asyncio.run(held.look(NOON + 2_000))
    assert conduct.finding(NEXT, NOON + 2_000).state is State.POOLED
    registry.close()


def test_a_long_range_is_looked_at_up_to_its_bound():
    assert list(numbers_of(RANGE))[-1] == RANGE.last
    wide = TNRange(TN("8613000000000"), TN("8613999999999"))
    assert sum(1 for _ in numbers_of(wide)) == 65_536


def test_mobile_numbers_of_a_person_are_one_callers_and_those_of_a_firm_are_not(tmp_path):
    registry = EmbeddedRegistry(tmp_path / "registry.db")
    kinds = {"person": SubjectKind.PERSON, "firm": SubjectKind.ENTERPRISE}
    write(registry, *(Subject(id=name, kind=kind) for name, kind in kinds.items()))
    write(registry, *(Access(id=f"a-{name}", subject=name, origid=f"o-{name}") for name in kinds))
    for name in kinds:
        conduct, random = Detector(), Random(3)
        held = HeldNumbers(conduct, registry)
        keys = Key(KeyKind.ACCESS, f"a-{name}"), Key(KeyKind.SUBJECT, name)
        cards = [TN(f"861370571{index:04d}") for index in range(5)]
        made = calls(keys, [(random.choice(cards), somebody(random, "571")) for _ in range(500)])
        for turn, one in enumerate(made):
            conduct.observe(one)
            if turn == 300:
                asyncio.run(held.look(one.at))
                assert [conduct.finding(key, one.at) for key in keys] == [None, None]
        found = [conduct.finding(key, one.at) for key in keys]
        if name == "firm":
            assert found == [None, None]
        else:
            assert all(one.state is State.SUSPECTED and one.lowers for one in found)
            assert "strangers" in found[0].measures
            assert "a person" in english(found[0])
            assert "本人" in chinese(found[0])
    registry.close()


def test_what_is_registered_chooses_how_much_evidence_is_asked(tmp_path):
    registry = EmbeddedRegistry(tmp_path / "registry.db")
    write(
        registry,
        Subject(id="bank"),
        Subject(id="person", kind=SubjectKind.PERSON),
        Holding(numbers=RANGE, subject="bank", verified_on=NOON - 400 * DAY),
        *(holding(TN(f"861370000000{index}"), "person") for index in range(5)),
    )
    bank = profile_of(registry.records, "bank")
    assert bank == Profile(
        person=False, numbers=100, spans=1, verified=NOON - 400 * DAY, resold=False
    )
    assert bank.care(NOON) is Care.SOLID
    assert profile_of(registry.records, "person").care(NOON) is Care.USUAL
    assert profile_of(registry.records, "nobody").care(NOON) is Care.USUAL
    many = Profile(person=True, numbers=6, spans=6, verified=0, resold=False)
    assert many.care(NOON) is Care.DOUBTFUL
    fresh = Profile(person=False, numbers=60, spans=60, verified=NOON - DAY, resold=True)
    assert fresh.care(NOON) is Care.DOUBTFUL
    branches = Profile(
        person=False, numbers=1_500, spans=1_500, verified=NOON - 900 * DAY, resold=False
    )
    assert branches.care(NOON) is Care.USUAL
    registry.close()
