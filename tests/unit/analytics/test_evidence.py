"""How displays spread refuses nobody by itself: talk, and whom numbers call again, tell more."""

from random import Random

import pytest
from streams import ACCESS, CODES, NOON, SUBJECT, hear, number, numbers, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.analytics.codec import read_counts
from zhenxian.analytics.evidence import CAPACITY, AgedSet, Contacts, SequentialTests, TalkCounts
from zhenxian.analytics.model import agent
from zhenxian.analytics.thresholds import DAY, HonestRepeats, HonestTalk

KEYS = (ACCESS, SUBJECT)
TESTS = SequentialTests(HonestTalk(), HonestRepeats())
SHORT, LONG = (0.4, 20), (0.6, 80)  # share of calls answered, seconds of talk on average


def driven(pairs, *, talk=None, days=1, keys=KEYS, every=20, detector=None, policy=None):
    """The detector after these calls, and the call at which each state began."""
    random = Random("talk")
    conduct = Detector(policy) if detector is None else detector
    first = {}
    count = 0
    for day in range(days):
        for turn, (display, callee) in enumerate(pairs(day)):
            at = NOON + day * DAY + every * turn
            count += 1
            found = conduct.finding(keys[0], at)
            if found is not None:
                first.setdefault(found.state, count)
            conduct.observe(Observation(at=at, keys=keys, display=display, callee=callee))
            if talk is not None:
                hear(conduct, random, talk, (display, callee), keys, at)
    return conduct, first


def pool(seed, size, count):
    """Numbers of many cities; each callee is shown one of the own city."""
    held = numbers(Random(seed), size)

    def day(which):
        random = Random(f"{seed}/{which}")
        for _ in range(count):
            code, display = random.choice(held)
            yield display, somebody(random, code)

    return day


def business(seed, size, count, *, contacts=30, known=0.6):
    """Branches of many cities, each with customers of the own city."""
    held = numbers(Random(seed), size)
    random = Random(f"{seed}/contacts")
    mine = [[somebody(random, code) for _ in range(contacts)] for code, _ in held]

    def day(which):
        random = Random(f"{seed}/{which}")
        for _ in range(count):
            index = random.randrange(size)
            code, display = held[index]
            strange = random.random() >= known
            yield display, somebody(random, code) if strange else random.choice(mine[index])

    return day


@pytest.mark.parametrize("size", [60, 400, 1_500])
def test_a_business_with_numbers_in_many_cities_is_neither_refused_nor_suspected(size):
    for talk in (LONG, None):
        _, first = driven(business(size, size, 700), talk=talk, days=3)
        assert first == {}


@pytest.mark.parametrize("seed", range(4))
def test_a_pool_as_large_is_refused_within_250_calls_where_talk_is_told(seed):
    conduct, first = driven(pool(seed, 1_500, 400), talk=SHORT)
    assert first[State.SUSPECTED] < first[State.POOLED] <= 250
    found = conduct.finding(ACCESS, NOON + 8_000)
    assert found.figures["answered"] < 0.5
    assert found.figures["long talks"] < 0.06


def test_nothing_told_it_is_suspected_first_and_refused_when_its_numbers_come_back_to_strangers():
    _, first = driven(pool(1, 400, 1_600), days=3)
    assert first[State.SUSPECTED] < 1_200
    assert 1_600 < first[State.POOLED] < 4_800


def test_where_nothing_can_tell_it_says_what_would():
    conduct, first = driven(pool(1, 5_000, 200))
    assert first == {}
    told = {one.measure: one for one in conduct.picture(ACCESS, NOON + 4_000).measures}
    spread = told[Measure.LOCAL_PRESENCE]
    assert spread.structure >= 1
    assert spread.strength < 1
    assert len(spread.would_tell) == 2


def test_who_is_answered_by_those_who_expect_the_call_may_be_brief():
    _, first = driven(business(5, 60, 900, contacts=400, known=0.3), talk=(0.9, 15), days=2)
    assert State.POOLED not in first
    assert first == {}


def test_numbers_of_one_city_are_lowered_first_and_refused_by_talk_and_repeats_together():
    held = [number("28", index) for index in range(300)]

    def day(which):
        random = Random(f"one city/{which}")
        return ((random.choice(held), somebody(random, "28")) for _ in range(1_200))

    _, first = driven(day, talk=SHORT, days=2)
    assert first[State.SUSPECTED] < 400
    assert first[State.SUSPECTED] < first[State.POOLED] < 1_200
    _, untold = driven(day, days=2)
    assert untold[State.SUSPECTED] < 1_200
    assert State.POOLED not in untold


def test_three_calls_to_each_callee_within_the_hour_make_no_acquaintance():
    held = numbers(Random(3), 300)

    def day(which):
        random = Random(f"thrice/{which}")
        late = []
        for turn in range(900):
            code, display = random.choice(held)
            pair = (display, somebody(random, code))
            late += [(turn + 45, pair), (turn + 90, pair)]
            yield pair
            for due, again in [one for one in late if one[0] <= turn]:
                late.remove((due, again))
                yield again

    conduct, first = driven(day, days=4)
    assert State.POOLED in first
    assert conduct.picture(ACCESS, NOON + 3 * DAY + 40_000).finding.figures[
        "of them to a callee called before"
    ]


def test_a_box_that_calls_its_own_city_is_lowered():
    cards = [number("28", index) for index in range(5)]

    def day(which):
        random = Random(f"box/{which}")
        return ((cards[turn // 8 % 5], somebody(random, "28")) for turn in range(300))

    conduct, first = driven(day, every=60)
    assert first[State.SUSPECTED] < 150
    assert conduct.finding(ACCESS, NOON + 18_000).measure is Measure.ROTATION
    assert conduct.finding(ACCESS, NOON + 18_000).lowers


@pytest.mark.parametrize(
    ("display", "talk", "calls", "lowers"),
    [
        ("8613800100000", None, 320, True),
        ("862861234567", None, 1_000, False),
        ("862861234567", SHORT, 450, True),
    ],
)
def test_a_robot_on_one_number_is_found_within_its_first_day(display, talk, calls, lowers):
    def day(which):
        random = Random(f"robot/{which}")
        return ((type(number("28", 1))(display), somebody(random)) for _ in range(calls))

    conduct, first = driven(day, talk=talk, every=45)
    found = conduct.finding(ACCESS, NOON + 45 * calls)
    assert (found.measure, found.state, found.lowers) == (
        Measure.STRANGERS, State.SUSPECTED, lowers,
    )  # fmt: skip
    assert State.POOLED not in first


def test_a_broadcast_that_is_over_within_the_hour_is_left_alone():
    def day(which):
        random = Random(f"school/{which}")
        return ((number("28", 1), somebody(random, "28")) for _ in range(1_200))

    _, first = driven(day, talk=(0.6, 15), every=3)
    assert first == {}


def test_a_census_that_talks_is_left_alone_where_that_is_told():
    def day(which):
        random = Random(f"census/{which}")
        return ((number("28", 1), somebody(random, "28")) for _ in range(1_200))

    _, first = driven(day, talk=LONG, every=30)
    assert first == {}


def test_bindings_rented_to_many_agents_are_judged_together():
    random = Random(7)
    conduct = Detector()
    agents = [number("21", index) for index in range(300)]
    for turn in range(1_200):
        at, display = NOON + 30 * turn, number(random.choice(CODES), random.randrange(500))
        caller, callee = random.choice(agents), somebody(random)
        keys = (*KEYS, agent("s-1", caller))
        conduct.observe(
            Observation(
                at=at, keys=keys, display=display, callee=callee, bound=True, hidden_caller=caller
            )
        )
        answered = random.random() < 0.4
        told = conduct.met(display, callee, answered=answered, seconds=15 if answered else 0)
        conduct.ended(ACCESS, at, told)
    found = conduct.finding(ACCESS, NOON + 36_000)
    assert (found.measure, found.state) == (Measure.BINDINGS, State.SUSPECTED)


# -- what is remembered


def test_talk_that_is_not_told_for_how_long_proves_nothing():
    talk = TalkCounts()
    for _ in range(500):
        talk.add(TESTS, answered=True, seconds=None)
    assert (talk.told, talk.timed, talk.long_score) == (500, 0, 0.0)
    assert talk.score < 0


def test_an_aged_set_is_bounded_and_says_when():
    one = AgedSet()
    random = Random(1)
    values = [random.getrandbits(32) for _ in range(2_000)]
    assert [one.seen(value, 5) for value in values] == [None] * 2_000
    assert [one.seen(value, 6) for value in values] == [5] * 2_000
    assert all(value in one for value in values)
    assert sum(random.getrandbits(32) in one for _ in range(2_000)) == 0
    one.trim(5 + 42, 0)
    assert one.stored == 2_000
    one.trim(5 + 43, 0)
    assert one.stored == 0


def test_contacts_of_many_displays_are_a_fair_sample():
    random = Random(2)
    contacts = Contacts()
    displays = [random.getrandbits(32) for _ in range(10_000)]
    for turn in range(30_000):
        contacts.add(random.choice(displays), random.getrandbits(32), turn // 15_000 * 2, TESTS)
        assert contacts.pairs.stored <= CAPACITY + 1
    assert contacts.level >= 3
    assert contacts.aged > 300
    assert contacts.aged_known == 0
    assert contacts.aged_score > 0


def test_evidence_is_saved_and_read_again():
    conduct, _ = driven(pool(1, 400, 300), talk=SHORT)
    saved = {row.key: row.content for row in conduct.take_touched(10)}
    other = Detector()
    assert other.restore([saved[str(ACCESS)]], []) == 0
    at = NOON + 6_000
    assert other.picture(ACCESS, at).measures == conduct.picture(ACCESS, at).measures


def test_nodes_that_exchange_calls_and_ends_know_the_same():
    one, other = Detector(fleet=True), Detector(fleet=True)
    driven(pool(1, 1_500, 300), talk=SHORT, detector=one)
    while (delta := one.take_delta()) is not None:
        other.merge("one", delta)
    at = NOON + 6_000
    assert one.finding(ACCESS, at).state is State.POOLED
    assert other.finding(ACCESS, at).state is State.POOLED
    figures = [
        {measure.measure: measure.figures for measure in node.picture(ACCESS, at).measures}
        for node in (one, other)
    ]
    assert figures[0][Measure.SPREAD]["long talks"] == figures[1][Measure.SPREAD]["long talks"]


def test_structure_alone_refuses_as_it_did():
    _, first = driven(pool(1, 1_500, 60), policy=Policy(structure_alone=True))
    assert first[State.POOLED] < 30


def test_a_key_with_many_displays_is_remembered_for_weeks():
    conduct, _ = driven(business(1, 60, 200))
    stranger = (Key(KeyKind.ACCESS, "new"),)
    for day in (5, 10):
        conduct.observe(
            Observation(
                at=NOON + day * DAY,
                keys=stranger,
                display=number("28", 1),
                callee=number("21", day),
            )
        )
    assert conduct._counting.table.get(ACCESS) is not None


def test_counts_that_cannot_be_read_are_left():
    assert read_counts(b"\x93\x04\x00\x00", 0, 43_200) is None


def test_a_clearing_keeps_whom_the_caller_knows_and_asks_for_new_evidence():
    conduct, first = driven(pool(1, 1_500, 300), talk=SHORT)
    assert State.POOLED in first
    conduct.clear(ACCESS)
    at = NOON + 6_000
    assert conduct.finding(ACCESS, at) is None
    assert conduct.picture(ACCESS, at).calls == 0
    kept = conduct._counting.table.get(ACCESS).contacts
    assert kept.displays.stored > 100
    assert (kept.score, kept.aged_score, kept.again) == (0.0, 0.0, 0)
    later = DAY  # the same calls, and nothing told of how they end
    for turn, (display, callee) in enumerate(pool(2, 1_500, 200)(0)):
        conduct.observe(
            Observation(at=NOON + later + 20 * turn, keys=KEYS, display=display, callee=callee)
        )
        found = conduct.finding(ACCESS, NOON + later + 20 * turn)
        assert found is None or found.state is not State.POOLED
