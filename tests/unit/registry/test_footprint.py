"""What an enterprise declares takes the effect from what is found, and never adds any."""

from __future__ import annotations

from math import inf
from random import Random
from time import process_time

import pytest
from found import Found, finding
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import PlainRegistry
from streams import CODES, NOON, number, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Measure
from zhenxian.analytics.model import State
from zhenxian.analytics.proof import BOTH
from zhenxian.calls.records import Replay, Row
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.customers import Declaration
from zhenxian.registry.exemptions import against
from zhenxian.registry.model import Access, Exemption, Holding, Subject, Verification

ACCESS, BANK = Key(KeyKind.ACCESS, "trunk"), Key(KeyKind.SUBJECT, "bank")
OWN = TN("8675588880001")
HOLDING = Holding(
    numbers=TNRange(TN("8675588880000"), TN("8675588889999")),
    subject="bank",
    verification=Verification.VERIFIED,
)


def stands(found, *others, display=OWN, holding=HOLDING, now=100):
    """What stands against a call of the bank's trunk."""
    registry = PlainRegistry(others=others)
    call = ("bank", display, holding)
    return against((ACCESS, BANK), Found(found), registry, now, None, None, call=call)


def declaration(**members):
    return Declaration(id="d", subject="bank", **members)


def of(measure, **more):
    return finding(KeyKind.ACCESS, "trunk", measure=measure, **more)


def test_a_declaration_of_many_numbers_is_looked_up_and_not_read_through():
    """It is asked for each call of a caller that is found."""
    numbers = tuple(f"8675588{index:06}-8675588{index + 1:06}" for index in range(0, 60_000, 6))
    wide = declaration(numbers=(*numbers, "8675588000000-8675588000009", "867558800", "95588"))
    inside = [TN("8675588000000"), TN("8675588000009"), TN("8675588059995"), TN("95588")]
    outside = [TN("8675588000010"), TN("8675588059996"), TN("86755880"), TN("9558"), TN("*67")]
    begun = process_time()
    for _ in range(200):
        assert all(map(wide.lists, inside))
        assert not any(map(wide.lists, outside))
    assert process_time() - begun < 2


@pytest.mark.parametrize(
    ("members", "covered"),
    [
        ({"numbers": ("8675588880000-8675588880009",)}, True),
        ({"numbers": ("8675588880001",)}, True),
        ({"numbers": ("8675588880002",)}, False),
        ({"cities": ("Shenzhen",)}, True),
        ({"cities": ("深圳市",)}, True),
        ({"cities": ("广东省深圳",)}, True),
        ({"cities": ("Beijing", "shenzhen")}, True),
        ({"cities": ("Beijing",)}, False),
        ({"cities": ("Beijing",), "numbers": ("8675588880001",)}, False),
        ({"purpose": "branches"}, True),
        ({"numbers": ("8675588880001",), "until": 101}, True),
        ({"numbers": ("8675588880001",), "until": 100}, False),
    ],
)
def test_what_a_declaration_covers(members, covered):
    for measure in (Measure.SPREAD, Measure.LOCAL_PRESENCE):
        found = of(measure)
        assert stands(found) is found
        assert stands(found, declaration(**members)) is (None if covered else found)


@pytest.mark.parametrize(
    "holding",
    [None, HOLDING.__class__(numbers=HOLDING.numbers, subject="other",
                             verification=Verification.VERIFIED),
     HOLDING.__class__(numbers=HOLDING.numbers, subject="bank")],
)  # fmt: skip
def test_numbers_that_the_subject_does_not_hold_gain_nothing_by_declaration_or_exemption(holding):
    found = of(Measure.SPREAD)
    exemption = Exemption(
        id="e", kind=KeyKind.SUBJECT, target="bank", reason="why", since=1, until=1 << 40
    )
    everything = (declaration(purpose="all"), exemption)
    assert stands(found, *everything, holding=holding) is found
    assert stands(found, exemption) is None


def test_the_declaration_of_another_covers_nothing():
    found = of(Measure.SPREAD)
    other = Declaration(id="d", subject="other", numbers=("8675588880001",))
    assert stands(found, other) is found


@pytest.mark.parametrize(
    "measure", [m for m in Measure if m not in (Measure.SPREAD, Measure.LOCAL_PRESENCE)]
)
def test_other_measures_are_not_declared_away(measure):
    found = of(measure, state=State.SUSPECTED)
    assert stands(found, declaration(purpose="", numbers=(str(OWN),))) is found


def test_a_declared_pool_is_found_where_talk_and_repeats_both_speak_against_it():
    found = of(Measure.SPREAD, figures={BOTH: 1.2})
    assert stands(found, declaration(purpose="branches")) is found
    found = of(Measure.SPREAD, figures={BOTH: 0.9})
    assert stands(found, declaration(purpose="branches")) is None


def test_many_strangers_of_a_declared_purpose_are_no_finding_unless_their_talk_is_against_it():
    census = of(Measure.STRANGERS, state=State.SUSPECTED, lowers=False)
    assert stands(census, declaration(numbers=(str(OWN),))) is census
    assert stands(census, declaration(purpose="census")) is None
    robot = of(Measure.STRANGERS, state=State.SUSPECTED, lowers=True)
    assert stands(robot, declaration(purpose="census")) is robot


HELD = [(code, number(code, 1_000 + index)) for index, code in enumerate(CODES)]
SPOOFED = [(code, number(code, 90_000 + index)) for index, code in enumerate(CODES)]


def world(*declarations):
    return PlainRegistry(
        holdings=[
            Holding(numbers=TNRange(one, one), subject="bank", verification=Verification.VERIFIED)
            for _, one in HELD
        ],
        accesses=[Access(id="trunk", origid="o", subject="bank")],
        subjects=[Subject(id="bank")],
        others=declarations,
    )


def lines(registry, rows):
    told = Replay(Detector(), registry)
    for row in rows:
        told.add(row)
    told.finish()
    return list(told.lines())


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    mixed=st.floats(0, 1),
    answered=st.sampled_from([None, 0.0, 0.3, 0.8]),
    known=st.floats(0, 0.5),
    few=st.booleans(),
    purpose=st.sampled_from(["", "census"]),
)
def test_declaring_never_makes_anybody_worse_off(seed, mixed, answered, known, few, purpose):
    random = Random(seed)
    contacts = [somebody(random, code) for code, _ in HELD]
    rows = []
    for turn in range(700):
        index = random.randrange(len(HELD))
        code, display = (SPOOFED if random.random() < mixed else HELD)[index]
        callee = contacts[index] if random.random() < known else somebody(random, code)
        heard = None if answered is None else random.random() < answered
        talk = None if heard is None else round(random.expovariate(1 / 30)) * heard
        at = NOON + turn * 60 if turn < 350 else NOON + 86_400 + turn * 60
        rows.append(Row(at, display, callee, access="trunk", answered=heard, seconds=talk))
    cities = ("Beijing", "Shanghai") if few else ()
    numbers = tuple(str(one) for _, one in HELD[:20])
    told = declaration(numbers=numbers, cities=cities, purpose=purpose)
    for without, declared in zip(lines(world(), rows), lines(world(told), rows), strict=True):
        assert declared["key"] == without["key"]
        for name in ("first_labelled", "first_lowered", "first_refused"):
            assert (declared[name] or inf) >= (without[name] or inf)
        assert declared["refused"] <= without["refused"]
