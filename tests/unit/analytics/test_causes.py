"""Why honest businesses were once refused, and boxes and robots were not: each cause by itself."""

from __future__ import annotations

from random import Random

import pytest
from streams import ACCESS, CODES, NOON, SUBJECT, number, numbers, somebody

from zhenxian.analytics import Detector, Measure, Observation, State
from zhenxian.analytics.thresholds import DAY

KEYS = (ACCESS, SUBJECT)


def driven(calls, *, talk=None, detector=None):
    """The detector after (time, display, callee), and the calls at which each state began.

    Args:
        talk: share of calls answered, and seconds on average; None for ends without seconds.
    """
    random, first = Random("talk"), {}
    conduct = Detector() if detector is None else detector
    for count, (at, display, callee) in enumerate(calls, 1):
        found = conduct.finding(ACCESS, at)
        if found is not None:
            first.setdefault(found.state, count)
        conduct.observe(Observation(at=at, keys=KEYS, display=display, callee=callee))
        if talk is not None:
            answered = random.random() < talk[0]
            seconds = None if talk[1] is None else 0
            if answered and talk[1] is not None:
                seconds = round(random.expovariate(1 / talk[1]))
            for key in KEYS:
                conduct.ended(
                    key, at, conduct.met(display, callee, answered=answered, seconds=seconds)
                )
    return conduct, first


def branches(seed, size, calls, *, contacts, begins=NOON, every=20):
    """Calls of branches in many cities to customers of the own city, of whom each has so many."""
    held = numbers(Random(seed), size)
    customers = Random(f"{seed}/customers")
    mine = [[somebody(customers, code) for _ in range(contacts)] for code, _ in held]
    random = Random(f"{seed}/{begins}")
    for turn in range(calls):
        index = random.randrange(size)
        yield begins + every * turn, held[index][1], random.choice(mine[index])


def test_who_could_not_have_called_again_is_not_asked_for_it():
    # Sixty calls over 50,000 known pairs repeat next to nothing of themselves.
    _, first = driven(branches(1, 1_000, 60, contacts=50))
    assert first == {}
    conduct, first = driven(branches(1, 1_000, 400, contacts=50))
    assert first == {}
    contacts = conduct._counting.table.get(ACCESS).contacts
    assert contacts.again < 150  # calls of numbers seen before; the rest say nothing


def test_customers_who_are_called_about_once_a_week_are_known_in_the_long_run():
    # Within a day nobody is called twice, which is as far as was looked back once.
    held, customers = numbers(Random(2), 60), Random("weekly")
    mine = [[somebody(customers, code) for _ in range(35)] for code, _ in held]
    calls = []
    for day in range(14):
        random = Random(f"weekly/{day}")
        today = [
            (held[index][1], callee)
            for index in range(60) for callee in mine[index] if random.random() < 1 / 7
        ]  # fmt: skip
        random.shuffle(today)
        calls += [(NOON + day * DAY + 60 * turn, *pair) for turn, pair in enumerate(today)]
    conduct, first = driven(calls)
    assert first == {}
    contacts = conduct._counting.table.get(ACCESS).contacts
    assert contacts.aged_known > 0.2 * contacts.aged


def test_of_an_access_too_only_numbers_seen_before_are_asked():
    # What spared signers only: each number is new, so that none of them could call again.
    calls = [
        (NOON + 20 * turn, number(CODES[turn % 20], turn), number(CODES[turn % 20], 10**5 + turn))
        for turn in range(400)
    ]
    _, first = driven(calls)
    assert first == {}


@pytest.mark.parametrize("cards", [5, 40])
def test_a_box_that_calls_its_own_city_is_lowered(cards):
    held, random = [number("28", index) for index in range(cards)], Random(3)
    calls = [
        (NOON + 40 * turn, held[turn // 8 % cards], somebody(random, "28")) for turn in range(900)
    ]
    conduct, first = driven(calls)
    told = {one.measure: one for one in conduct.picture(ACCESS, calls[-1][0]).measures}
    assert first[State.SUSPECTED] <= 8 + 2 * 8 * cards
    assert told[Measure.ROTATION].suspicion >= 1
    assert conduct.finding(ACCESS, calls[-1][0]).lowers


def test_lines_that_hunt_for_callers_of_one_city_are_no_box():
    held, random = [number("28", index) for index in range(6)], Random(4)
    mine = [somebody(random, "28") for _ in range(60)]
    calls = [(NOON + 60 * turn, held[turn % 6], random.choice(mine)) for turn in range(500)]
    assert driven(calls)[1] == {}


def test_a_robot_below_four_hundred_calls_an_hour_is_lowered_within_its_first_day():
    random = Random(5)
    calls = [
        (NOON + 40 * turn, number("28", 1), somebody(random)) for turn in range(1_000)
    ]  # 90 an hour
    _, first = driven(calls, talk=(0.4, 18))
    assert first[State.SUSPECTED] < 800


@pytest.mark.parametrize("talk", [None, (0.6, 80), (0.45, 70), (0.45, None)])
def test_honest_callers_fare_no_worse_where_answers_are_told(talk):
    for seed in range(3):
        assert driven(branches(f"insurer/{seed}", 100, 500, contacts=60), talk=talk)[1] == {}


def test_a_clearing_lasts():
    # Six times in a row, each found again by what speaks against it no more.
    detector = Detector()
    for turn in range(6):
        begins = NOON + turn * DAY
        calls = branches("cleared", 80, 300, contacts=40, begins=begins)
        _, first = driven(calls, detector=detector, talk=(0.6, 80))
        assert first == {}
        detector.clear(ACCESS)
        known = detector._counting.table.get(ACCESS).contacts
        assert known.pairs.stored > 200
        assert known.score == known.aged_score == 0
