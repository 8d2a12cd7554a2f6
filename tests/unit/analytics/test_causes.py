"""Why honest businesses were once refused, and boxes and robots were not: each cause by itself."""

from __future__ import annotations

from random import Random

import pytest
from streams import ACCESS, CODES, NOON, SUBJECT, number, numbers, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Measure, Observation, State
from zhenxian.analytics.evidence import CAPACITY, Contacts, SequentialTests
from zhenxian.analytics.model import agent
from zhenxian.analytics.sentences import chinese, english
from zhenxian.analytics.sketch import LEVEL_BITS
from zhenxian.analytics.thresholds import DAY, HonestRepeats, HonestTalk

KEYS = (ACCESS, SUBJECT)


def driven(calls, *, talk=None, detector=None):
    """The detector after (time, display, callee), and the calls at which each state began.

    Args:
        talk: share of calls answered, and seconds on average, None for ends without seconds; or
            what tells both from the number that is shown.
    """
    random, first = Random("talk"), {}
    conduct = Detector() if detector is None else detector
    for count, (at, display, callee) in enumerate(calls, 1):
        found = conduct.finding(ACCESS, at)
        if found is not None:
            first.setdefault(found.state, count)
        conduct.observe(Observation(at=at, keys=KEYS, display=display, callee=callee))
        if talk is not None:
            share, mean = talk(display) if callable(talk) else talk
            answered = random.random() < share
            seconds = None if mean is None else 0
            if answered and mean is not None:
                seconds = round(random.expovariate(1 / mean))
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
        assert known.score == 0 >= known.aged_score


def test_one_number_that_no_sample_leaves_out_fills_nothing_up():
    contacts, tests = Contacts(), SequentialTests(HonestTalk(), HonestRepeats())
    random = Random(9)
    for _ in range(20_000):
        contacts.add(5 << LEVEL_BITS, random.getrandbits(32), 1, tests)
    assert contacts.level == LEVEL_BITS
    assert contacts.pairs.stored <= CAPACITY


def test_a_pool_beside_real_business_is_lowered_by_the_first_calls_of_its_numbers():
    held, random = numbers(Random("pool"), 600), Random("half")
    pool = []
    for turn in range(900):
        code, display = random.choice(held)
        pool.append((NOON + 20 * turn + 7, display, somebody(random, code)))
    real = list(branches("real", 40, 900, contacts=40))
    shown = {display for _, display in held}
    conduct, first = driven(
        sorted(pool + real), talk=lambda display: (0.4, 18) if display in shown else (0.65, 90)
    )
    assert first[State.SUSPECTED] < 1_800
    found = conduct.finding(ACCESS, NOON + 18_000)
    assert found.figures["talk log-likelihood ratio"] < 1  # of all calls together
    assert found.figures["first calls log-likelihood ratio"] > 4
    assert "first calls of each number" in english(found)
    assert "最初打给陌生人" in chinese(found)


def test_one_department_that_calls_briefly_and_much_does_not_decide():
    # First calls count evenly, so that one number's reminders are four calls among many.
    reminders = number("10", 77)
    random, calls = Random("reminders"), list(branches("clinics", 80, 900, contacts=40))
    calls += [(NOON + 25 * turn + 3, reminders, somebody(random)) for turn in range(500)]
    _, first = driven(
        sorted(calls), talk=lambda display: (0.4, 14) if display == reminders else (0.65, 90)
    )
    assert first == {}


def test_ends_without_seconds_are_no_talk():
    conduct, first = driven(branches("untimed", 100, 600, contacts=60), talk=(0.3, None))
    assert first == {}
    talk = conduct._counting.table.get(ACCESS).talk
    assert talk.told == 600
    assert talk.timed < 20  # before the first that was answered


def test_a_pool_that_nobody_answers_needs_no_seconds():
    held, random = numbers(Random("silent"), 400), Random("silence")
    calls = []
    for turn in range(300):
        code, display = random.choice(held)
        calls.append((NOON + 20 * turn, display, somebody(random, code)))
    assert driven(calls, talk=(0.0, None))[1][State.POOLED] <= 250


def test_of_who_calls_those_again_who_answered_nobody_is_refused_by_talk():
    # Brief and seldom answered, as reminders are; but customers are called twice, and answer twice.
    _, first = driven(branches("brief", 60, 1_200, contacts=3), talk=(0.5, 18))
    assert State.POOLED not in first


def test_a_census_that_tries_again_may_call_more_strangers_than_a_robot():
    robot, census = number("10", 1), number("10", 2)
    random = Random("census")
    once = [(NOON + 30 * turn, robot, somebody(random)) for turn in range(1_000)]
    _, first = driven(once)
    assert 650 < first[State.SUSPECTED] < 800
    detector = Detector()
    people = [somebody(random) for _ in range(1_000)]
    tried = [(NOON + 30 * turn, census, callee) for turn, callee in enumerate(people)]
    tried += [
        (NOON + 30 * turn + 900, census, callee)
        for turn, callee in enumerate(people)
        if random.random() < 0.15
    ]
    assert driven(sorted(tried), detector=detector)[1] == {}


def adviser(seed, count, *, share, mean, told=True):
    """A platform one of whose agents calls strangers all over the country behind its numbers."""
    conduct, random, own = Detector(), Random(seed), number("21", 7)
    keys = (*KEYS, agent("p", own))
    first = {}
    for turn in range(count):
        at, callee = NOON + 60 * turn, somebody(random)
        found = conduct.finding(keys[-1], at)
        if found is not None:
            first.setdefault(found.state, turn + 1)
        display = number(random.choice(CODES), turn % 50)
        conduct.observe(
            Observation(
                at=at, keys=keys, display=display, callee=callee, bound=True, hidden_caller=own
            )
        )
        if told:
            heard = random.random() < share
            seconds = round(random.expovariate(1 / mean)) if heard else 0
            conduct.ended(keys[-1], at, conduct.met(own, callee, answered=heard, seconds=seconds))
    return first


@pytest.mark.parametrize("seed", range(5))
def test_an_adviser_whose_patients_talk_is_left_alone_and_one_who_is_hung_up_on_is_not(seed):
    assert adviser(seed, 140, share=0.8, mean=200) == {}
    assert adviser(seed, 300, share=0.8, mean=200) == {}
    assert adviser(seed, 140, share=0.8, mean=200, told=False) == {}
    spammer = adviser(seed, 600, share=0.35, mean=18)
    assert spammer[State.SUSPECTED] < 110
    assert 150 <= spammer[State.POOLED] < 400
    untold = adviser(seed, 300, share=0.35, mean=18, told=False)
    assert set(untold) == {State.SUSPECTED}


@pytest.mark.parametrize("talk", [None, (0.5, 80), (0.35, 90)])
def test_a_call_centre_that_goes_through_one_list_after_another_is_refused_by_nobody(talk):
    random = Random(6)
    brands = [number(code, 7) for code in CODES[:10]]
    calls = [(NOON + 20 * turn, brands[turn // 50 % 10], somebody(random)) for turn in range(1_500)]
    _, first = driven(calls, talk=talk)
    assert State.POOLED not in first
    assert (first == {}) is (talk is not None)


def test_a_box_of_cards_is_refused_where_its_callees_hang_up():
    held, random = [number(CODES[index], index) for index in range(5)], Random(3)
    calls = [(NOON + 40 * turn, held[turn // 8 % 5], somebody(random)) for turn in range(700)]
    _, first = driven(calls, talk=(0.4, 20))
    assert first[State.POOLED] <= 250
    assert set(driven(calls)[1]) == {State.SUSPECTED}


@pytest.mark.parametrize("talk", [None, (0.5, 15)])
def test_a_broadcast_to_the_country_is_lowered_at_most_however_fast_it_is(talk):
    random, display = Random(8), number("10", 1)
    calls = [(NOON + turn, display, somebody(random)) for turn in range(5_000)]
    _, first = driven(calls, talk=talk)
    assert State.POOLED not in first


@pytest.mark.parametrize("seed", range(3))
def test_who_is_seldom_answered_and_brief_is_not_refused_if_it_calls_its_customers_again(seed):
    reminders = branches(f"reminders/{seed}", 80, 2_500, contacts=60)
    assert State.POOLED not in driven(reminders, talk=(0.5, 20))[1]
    held, random = numbers(Random(seed), 80), Random(f"strangers/{seed}")
    pool = [
        (NOON + 20 * turn, display, somebody(random, code))
        for turn in range(1_500) for code, display in [random.choice(held)]
    ]  # fmt: skip
    assert driven(pool, talk=(0.4, 20))[1][State.POOLED] < 300


def test_who_does_not_come_back_but_is_tried_again_refuses_nobody():
    # Ride hailing: no rider has the same driver twice, and who was not reached is tried again.
    held, random = numbers(Random(4), 60), Random("riders")
    calls = []
    for day in range(6):
        for turn in range(1_500):
            at = NOON - 20_000 + day * DAY + 30 * turn
            code, display = random.choice(held)
            callee = somebody(random, code)
            calls.append((at, display, callee))
            if random.random() < 0.05:
                calls.append((at + 400, display, callee))
    calls.sort()
    _, first = driven(calls)
    assert State.POOLED not in first


def test_a_box_whose_cards_have_an_access_each_is_lowered_in_its_own_city():
    random, conduct, lowered = Random(9), Detector(), set()
    riders = [
        (NOON + random.random() * 32_000, who, number("28", who), somebody(random, "28"))
        for who in range(100, 160) for _ in range(80)
    ]  # fmt: skip
    box, at = [], NOON
    for turn in range(560):
        box.append((at, turn // 8 % 5, number("28", turn // 8 % 5), somebody(random, "28")))
        at += random.expovariate(1 / 55)
    for at, who, display, callee in sorted(box + riders):
        key = Key(KeyKind.ACCESS, f"card-{who}")
        conduct.observe(Observation(at=int(at), keys=(key,), display=display, callee=callee))
        found = conduct.finding(key, int(at))
        if found is not None:
            assert (found.measure, found.state) == (Measure.HANDOVER, State.SUSPECTED)
            lowered.add(who)
    assert len(lowered) >= 3
    assert lowered <= set(range(5))


def test_who_is_talked_to_as_others_are_is_no_pool_by_some_of_its_numbers():
    conduct, first = driven(branches(3, 120, 300, contacts=5_000), talk=(0.7, 80))
    assert not first
    counts = conduct._counting.table.get(ACCESS)
    assert counts.talk.score < 0
    # Of more displays than are followed, those that are may be the ones whose callees hang up.
    counts.contacts.together.answer_score = counts.contacts.together.long_score = 50.0
    figures = {one.measure: one for one in conduct.picture(ACCESS, NOON + 6_000).measures}
    assert figures[Measure.SPREAD].structure >= 1
    assert figures[Measure.SPREAD].strength == 0
