"""Each measure both ways: what it finds, and the honest twin that it must leave alone."""

from math import log
from random import Random

import pytest
from msgspec.structs import replace
from streams import (
    ACCESS,
    ALONE,
    CODES,
    NOON,
    SIGNER,
    SPC,
    SUBJECT,
    calls,
    fed,
    lent,
    number,
    numbers,
    people,
    pool,
    somebody,
)

from zhenxian.analytics import Detector, Key, Measure, Observation, Policy, State
from zhenxian.analytics.counts import Bounds, KeyCounts
from zhenxian.analytics.model import KeyKind, agent
from zhenxian.analytics.sim_box import MAX_CALLERS, MAX_FOLLOWED, MAX_TIES, Handovers
from zhenxian.analytics.thresholds import ALL_MEASURES, DAY, HOUR, Locality, Switch
from zhenxian.core.tn import TN

TURN = (NOON // (DAY // 2) + 1) * (DAY // 2)  # half a window ends


def only(*measures):
    return Detector(Policy(structure_alone=True, measures=frozenset(measures)))


def untouched(conduct, observations):
    """No key is even suspected, at any call."""
    for observation in observations:
        conduct.observe(observation)
        for key in observation.keys:
            assert conduct.finding(key, observation.at) is None


# -- local presence


@pytest.mark.parametrize("seed", range(5))
def test_national_pool_is_found_within_200_calls_on_both_sides(seed):
    pooled = fed(Detector(ALONE), calls((ACCESS, SUBJECT, SIGNER), pool(Random(seed), 200)))
    assert set(pooled) == {ACCESS, SUBJECT, SIGNER}
    assert pooled[ACCESS] < 60


@pytest.mark.parametrize("seed", range(5))
def test_half_local_pool_is_found(seed):
    stream = calls((ACCESS, SIGNER), pool(Random(seed), 3_000, local=0.5), every=10)
    pooled = fed(only(Measure.LOCAL_PRESENCE), stream)
    assert pooled[ACCESS] < 400
    assert pooled[SIGNER] < 3_000


def test_slow_pool_is_found_within_its_day():
    random = Random(1)
    held = numbers(random, 400) * 2
    random.shuffle(held)
    pairs = [(d, somebody(random, c if random.random() < 0.9 else None)) for c, d in held]
    pooled = fed(Detector(ALONE), calls((ACCESS, SIGNER), pairs, every=45))
    assert set(pooled) == {ACCESS, SIGNER}


@pytest.mark.parametrize("codes", [CODES[:1], CODES[:12], CODES], ids=["city", "province", "land"])
def test_people_of_one_switch_are_local_and_left_alone(codes):
    stream = people(Random(2), 4_000, codes=codes)
    untouched(Detector(ALONE), calls(SIGNER, stream, every=10))


def test_village_is_left_alone():
    stream = people(Random(3), 1_500, persons=400, codes=CODES[5:6], local=0.9)
    untouched(Detector(ALONE), calls((ACCESS, SIGNER), stream, every=20))


def test_call_centre_with_regional_brands_is_left_alone():
    random = Random(4)
    brands = [(code, number(code, 7)) for code in CODES[:10]]
    pairs = []
    for _ in range(11):
        at_work = random.sample(range(10), 3)
        for _ in range(230):
            brand = random.choice(at_work)
            code, display = brands[brand]
            here = brand < 2 and random.random() < 0.8
            pairs.append((display, somebody(random, code if here else None)))
    untouched(Detector(ALONE), calls((ACCESS, SUBJECT, SIGNER), pairs, every=16))


def test_live_bindings_are_no_choice_of_the_caller():
    stream = calls((ACCESS, SUBJECT, SIGNER), pool(Random(5), 1_000), bound=True)
    conduct = Detector(ALONE)
    untouched(conduct, stream)
    picture = conduct.picture(ACCESS, NOON + 20_000)
    assert picture.calls == 1_000
    assert picture.state is State.WATCHING


def test_fewer_calls_than_stated_find_nothing():
    for local in (0.0, 1.0):
        untouched(Detector(ALONE), calls((ACCESS, SIGNER), pool(Random(6), 19, local=local)))


def test_finding_tells_its_figures():
    conduct = Detector(ALONE, show=lambda tn: f"<{tn[-2:]}>")
    fed(conduct, calls(ACCESS, pool(Random(7), 100)))
    found = conduct.finding(ACCESS, NOON + 2_000)
    assert (found.key, found.state) == (ACCESS, State.POOLED)
    assert found.measure is Measure.LOCAL_PRESENCE
    figures = found.figures
    assert figures["log-likelihood ratio"] >= found.thresholds["log-likelihood ratio"]
    assert figures["matches"] > 10 * figures["expected"]
    assert figures["lift"] > 0.9
    assert figures["standard score"] > 10
    assert found.window == 86_400
    assert NOON < found.since < found.until
    assert found.samples
    assert all(sample.display.startswith("<") for sample in found.samples)
    assert all(sample.callee.startswith("<") for sample in found.samples)


def scored(counts, bounds, matches, random, lift, most):
    """Calls until the test ends, and the end: True for a pool. Cells as if of 200 areas."""
    for turn in range(1, most + 1):
        shown = random.randrange(200)
        called = shown if random.random() < lift else random.randrange(200)
        before = counts.cleared
        counts._test(counts.areas, shown, called, bounds)
        if counts.score >= bounds.upper:
            return turn, True
        if counts.cleared > before:
            return turn, False
    return most, None


@pytest.mark.parametrize(("lift", "pool_expected"), [(0.2, False), (0.45, True)])
def test_sequential_test_keeps_its_stated_error_rates(lift, pool_expected):
    """Monte Carlo at both hypotheses, with rates that 400 runs can show."""
    locality = Locality(false_alarm=0.05, miss=0.05)
    bounds = Bounds(locality)
    random = Random(f"wald {lift}")
    wrong = 0
    for _ in range(400):
        counts = KeyCounts.begin(KeyKind.ACCESS, 0, HOUR)
        counts.home = 0
        counts.count(0, 1, 1, 1, 1, bounds)
        for _ in range(300):  # the key's areas are known, as after some days
            counts.areas.add(random.randrange(200), random.randrange(200))
        counts.score, counts.cleared = 0.0, 0
        _, result = scored(counts, bounds, 0, random, lift, 2_000)
        wrong += result is not pool_expected
    # 5 % and three standard errors of 400 runs.
    assert wrong <= 400 * (0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5)


def test_bounds_are_walds():
    bounds = Bounds(Locality(false_alarm=1e-6, miss=0.01))
    assert bounds.upper == pytest.approx(log(0.99 / 1e-6))
    assert bounds.lower == pytest.approx(log(0.01 / (1 - 1e-6)))


@pytest.mark.parametrize(("key", "within"), [(ACCESS, 700), (SIGNER, 700)])
def test_a_pool_that_calls_its_friends_first_gains_nothing_by_being_looked_at_less(key, within):
    """Of those who know whom they call an eighth is looked at."""
    random = Random(5)
    friends = [
        (number(CODES[index], index), [somebody(random), somebody(random)]) for index in range(20)
    ]
    known = [(friends[turn % 20][0], friends[turn % 20][1][turn // 20 % 2]) for turn in range(200)]
    conduct = Detector(ALONE)
    assert not fed(conduct, calls(key, known))
    stream = calls(key, pool(random, 1_000), start=NOON + 4_000, every=2)
    assert 0 < fed(conduct, stream)[key] < within


# -- spread


def test_few_calls_with_many_numbers_are_enough_of_one_access():
    """A reseller's fifty numbers on one of twenty accesses: 75 calls a day."""
    random = Random(27)
    pooled = fed(Detector(ALONE), calls(ACCESS, pool(random, 75, size=60, local=0.0), every=500))
    assert pooled[ACCESS] <= 75


def test_many_numbers_for_anybody_are_found():
    stream = calls((ACCESS, SIGNER), pool(Random(8), 1_500, size=1_000, local=0.0), every=25)
    conduct = Detector(ALONE)
    pooled = fed(conduct, stream)
    assert pooled[ACCESS] < 250
    assert pooled[SIGNER] < 1_500
    assert conduct.finding(ACCESS, NOON + 37_000).measure is Measure.SPREAD


def test_hospital_is_left_alone():
    random = Random(9)
    extensions = [number("28", 1_000 + index) for index in range(300)]
    pairs = [
        (random.choice(extensions), somebody(random, "28" if random.random() < 0.8 else None))
        for _ in range(1_500)
    ]
    untouched(Detector(ALONE), calls((ACCESS, SUBJECT, SIGNER), pairs, every=25))


def test_ambulance_dispatch_is_left_alone():
    """The short code to people, a fixed line to hospitals and wards; day and night, in one city."""
    random = Random(50)
    wards = [number("28", 900_000 + ward) for ward in range(12)]
    pairs = []
    for _ in range(3_000):
        if random.random() < 0.6:
            pairs.append((TN("120"), somebody(random, "28")))
        else:
            pairs.append((number("28", 7), random.choice(wards)))
    untouched(Detector(ALONE), calls((ACCESS, SUBJECT, SIGNER), pairs, every=25))


@pytest.mark.parametrize("home", ["28", None], ids=["own city", "number of another city"])
def test_rider_is_left_alone(home):
    """Ninety customers a day, each once, in the city the rider lives in."""
    random = Random(51)
    own = number(home or "755", 3)
    pairs = [(own, somebody(random, "28")) for _ in range(3 * 90)]
    untouched(Detector(ALONE), calls((ACCESS, SUBJECT, SIGNER), pairs, every=400))


def test_staff_with_ported_numbers_of_all_the_country_are_not_pooled():
    """Twenty on one trunk who call the same customers again; with few calls that is not yet seen,
    so that they are suspected for a while, which refuses nobody."""
    random = Random(52)
    staff = [display for _, display in numbers(random, 20)]
    known = [somebody(random) for _ in range(150)]
    pairs = [(random.choice(staff), random.choice(known)) for _ in range(1_500)]
    conduct = Detector(ALONE)
    assert not fed(conduct, calls((ACCESS, SUBJECT, SIGNER), pairs, every=40))
    assert conduct.finding(ACCESS, NOON + 60_000) is None


def test_roaming_people_are_left_alone():
    """Displays of all the country, callees where they live now."""
    random = Random(10)
    homes = numbers(random, 500)
    pairs = []
    known = [[somebody(random, "27") for _ in range(12)] for _ in homes]
    for _ in range(3_000):
        person = int(random.random() ** 2 * 500)
        friend = random.choice(known[person])
        pairs.append((homes[person][1], friend if random.random() < 0.7 else somebody(random)))
    untouched(Detector(ALONE), calls(SIGNER, pairs, every=14))


# -- rotation


def box(random, count):
    cards = [number("28", index) for index in range(5)]
    for turn in range(count):
        yield cards[turn // 8 % 5], somebody(random)


def test_box_of_five_cards_is_found():
    conduct = Detector(ALONE)
    pooled = fed(conduct, calls((ACCESS, SIGNER), box(Random(11), 300), every=55))
    assert max(pooled[ACCESS], pooled[SIGNER]) < 150
    assert conduct.finding(ACCESS, NOON + 15_000).measure is Measure.ROTATION


@pytest.mark.parametrize("hunting", [True, False], ids=["in turn", "any line"])
def test_office_with_six_lines_is_left_alone(hunting):
    random = Random(12)
    pairs = [
        (
            number("28", turn % 6 if hunting else random.randrange(6)),
            somebody(random, "28" if random.random() < 0.6 else None),
        )
        for turn in range(400)
    ]
    untouched(Detector(ALONE), calls((ACCESS, SUBJECT, SIGNER), pairs, every=100))


def test_number_after_number_used_up_is_found():
    random = Random(13)
    pairs = [(number(CODES[turn // 120], 1), somebody(random)) for turn in range(300)]
    conduct = Detector(ALONE)
    pooled = fed(conduct, calls((ACCESS, SUBJECT), pairs, every=60))
    assert pooled[SUBJECT] < 280
    assert "displays used up" in conduct.finding(SUBJECT, NOON + 18_000).figures


def test_calls_of_a_display_are_counted_over_the_end_of_half_a_window():
    random = Random(13)
    pairs = [(number(CODES[turn // 120], 1), somebody(random)) for turn in range(300)]
    conduct = Detector(ALONE)
    fed(conduct, calls(ACCESS, pairs, start=TURN - 270 * 60, every=60))
    picture = conduct.picture(ACCESS, TURN + 30 * 60)
    (rotation,) = [one for one in picture.measures if one.measure is Measure.ROTATION]
    assert rotation.figures["calls of the present display"] == 60


def test_one_new_number_of_the_same_city_is_no_rotation():
    random = Random(14)
    pairs = [(number("28", turn // 200), somebody(random)) for turn in range(400)]
    conduct = Detector(ALONE)
    assert not fed(conduct, calls((ACCESS, SUBJECT), pairs, every=60))


def test_one_new_number_of_another_city_is_found_when_it_goes_on_with_strangers():
    random = Random(14)
    pairs = [(number(CODES[turn // 200], 1), somebody(random)) for turn in range(400)]
    conduct = Detector(ALONE)
    pooled = fed(conduct, calls((ACCESS, SUBJECT), pairs, every=60))
    assert 200 < pooled[SUBJECT] < 270
    figures = conduct.finding(SUBJECT, NOON + 24_000).figures
    assert figures["of them of another city than the present one"] == 1


def test_somebody_who_moves_with_a_new_number_and_calls_the_same_people_is_left_alone():
    random = Random(14)
    known = [somebody(random) for _ in range(60)]
    pairs = [(number(CODES[turn // 200], 1), random.choice(known)) for turn in range(400)]
    untouched(Detector(ALONE), calls((ACCESS, SUBJECT), pairs, every=60))


def test_a_number_that_comes_back_was_not_used_up():
    random = Random(14)
    turns = [0] * 100 + [1] * 20 + [0] * 100
    pairs = [(number(CODES[turn], 1), somebody(random)) for turn in turns]
    conduct = Detector(Policy(structure_alone=True, measures=frozenset({Measure.ROTATION})))
    assert not fed(conduct, calls((ACCESS, SUBJECT), pairs, every=60))


# -- rate and concurrency


def test_robot_is_found_and_a_bank_is_not():
    random = Random(15)
    lines = [number(code, 1) for code in CODES[:10]]
    robot = calls(
        ACCESS, ((random.choice(lines), somebody(random)) for _ in range(10_000)), every=0.4
    )
    conduct = Detector(ALONE)
    pooled = fed(conduct, robot)
    assert pooled[ACCESS] < 9_000
    assert conduct.finding(ACCESS, NOON + 4_000).measure is Measure.RATE
    bank = calls(SUBJECT, ((TN95, somebody(random)) for _ in range(6_000)), every=6)
    untouched(conduct, bank)


TN95 = number("10", 1)[:0].__class__("95588")


@pytest.mark.parametrize("before", [30, 50, 90])
def test_calls_in_the_last_hour_are_counted_over_the_end_of_half_a_window(before):
    random = Random(14)
    conduct = Detector(ALONE)
    start = TURN - before * 60
    robot = ((number("28", 1), somebody(random)) for _ in range(3_600))
    fed(conduct, calls(ACCESS, robot, start=start, every=2))
    picture = conduct.picture(ACCESS, start + 2 * HOUR)
    (rate,) = [one for one in picture.measures if one.measure is Measure.RATE]
    assert rate.figures["calls in the last hour"] == pytest.approx(1_800, abs=150)


@pytest.mark.parametrize("ahead", [5 * HOUR, DAY, 10 * DAY])
def test_a_robot_is_found_after_the_clock_was_ahead(ahead):
    random = Random(13)
    conduct = Detector(ALONE)
    robot = [(number("28", 1), somebody(random)) for _ in range(4_000)]
    fed(conduct, calls(ACCESS, robot[:40], start=NOON + ahead, every=2))
    fed(conduct, calls(ACCESS, robot[40:], start=NOON + 100, every=2))
    assert conduct.finding(ACCESS, NOON + 8_000).measure is Measure.RATE


def test_emergency_broadcast_of_a_school_is_left_alone():
    random = Random(16)
    school = number("28", 1)
    alarm = calls(ACCESS, ((school, somebody(random, "28")) for _ in range(1_500)), every=0.6)
    untouched(Detector(ALONE), alarm)


@pytest.mark.parametrize(
    ("key", "lines", "displays", "found"),
    [
        (ACCESS, 200, 1, True),
        (ACCESS, 30, 1, False),
        (SIGNER, 200, 10, True),
        (SIGNER, 200, 300, False),  # a switch
    ],
)
def test_calls_at_a_time_where_the_proxy_tells(key, lines, displays, found):
    conduct = only(Measure.CONCURRENCY)
    random = Random(17)
    running = []
    pooled = False
    conduct.observe(next(calls(key, [(number("28", 1), somebody(random))])))
    conduct.ended(key, NOON)
    for step in range(8_000):
        at = NOON + step
        pair = (number("28", random.randrange(displays)), somebody(random))
        observation = next(calls(key, [pair], start=at))
        conduct.observe(observation)
        running.append(at)
        if len(running) > lines:
            running.pop(0)
            conduct.ended(key, at)
        finding = conduct.finding(key, at)
        pooled |= finding is not None and finding.state is State.POOLED
    assert pooled is found


@pytest.mark.parametrize("every", [0, 2, 4])
def test_calls_whose_end_is_not_told_are_no_calls_in_progress(every):
    """One end ever (whoever told it), and a proxy that tells every second or fourth."""
    conduct = only(Measure.CONCURRENCY)
    random = Random(19)
    shop = list(calls(ACCESS, ((number("28", 1), somebody(random)) for _ in range(4_000)), every=5))
    untouched(conduct, shop[:100])
    conduct.ended(ACCESS, shop[99].at)
    for index, observation in enumerate(shop[100:]):
        conduct.observe(observation)
        if every and index % every == 0:
            conduct.ended(ACCESS, observation.at)
        assert conduct.finding(ACCESS, observation.at) is None


def test_nobody_tells_when_calls_end_and_concurrency_is_not_judged():
    conduct = only(Measure.CONCURRENCY)
    random = Random(18)
    untouched(
        conduct, calls(ACCESS, ((number("28", 1), somebody(random)) for _ in range(9_000)), every=1)
    )


def test_a_finding_names_every_measure_that_is_a_pool_by_itself():
    conduct = Detector(ALONE)
    fed(conduct, calls(ACCESS, pool(Random(1), 400)))
    found = conduct.finding(ACCESS, NOON + 8_000)
    assert {found.measure, *found.beside} == {Measure.LOCAL_PRESENCE, Measure.SPREAD}
    assert len(found.measures) == 2
    alone = only(Measure.SPREAD)
    fed(alone, calls(ACCESS, pool(Random(1), 400)))
    assert alone.finding(ACCESS, NOON + 8_000).measures == (Measure.SPREAD,)


# -- handover


def test_a_caller_among_thousands_is_held_against_the_nearest_only():
    handovers = Handovers(ALONE.handover)
    first = Key(KeyKind.ACCESS, "first")
    for at in (NOON - 40_000, NOON):
        handovers.call(first, at)
    for index in range(1_000):
        handovers.call(Key(KeyKind.ACCESS, f"k-{index}"), NOON + 1 + index // 10)
    handovers.call(first, NOON + 1_000)
    tied = [key.id for key, caller in handovers._callers.items() if first in caller.ties]
    assert tied == [f"k-{index}" for index in range(MAX_FOLLOWED - 1)]


def test_who_was_forgotten_is_tied_to_nobody_and_by_its_key_once_it_calls_again():
    handovers = Handovers(ALONE.handover)
    first, heir, other = (Key(KeyKind.ACCESS, name) for name in ("first", "heir", "other"))
    for key, at in ((first, NOON - 40_000), (first, NOON), (heir, NOON + 30), (other, NOON + 40)):
        handovers.call(key, at)
    handovers.forget(heir)
    handovers.forget(other)
    handovers.call(heir, NOON + 600)
    handovers.call(first, NOON + 1_000)
    assert list(handovers._callers) == [heir, first]
    assert handovers.standing(heir)[0] > 0
    assert handovers.standing(other) == (0.0, 1)


def card(index):
    """A SIM card's keys when each has an access and a name of its own."""
    return Key(KeyKind.ACCESS, f"card-{index}"), Key(KeyKind.SUBJECT, f"straw-{index}")


def split_box(random, runs, *, cards=5, pause=30):
    """A box whose cards have nothing in common but that one begins when another falls silent."""
    at = NOON
    for run in range(runs):
        index = run % cards
        for _ in range(8):
            display = number(CODES[index], index)
            yield Observation(
                at=int(at), keys=card(index), display=display, callee=somebody(random)
            )
            at += 20 + random.expovariate(1 / pause)


def test_box_of_five_cards_behind_five_names_is_found():
    conduct = Detector(ALONE)
    pooled = fed(conduct, split_box(Random(22), 5 * 15))
    assert {key for index in range(5) for key in card(index)} == set(pooled)
    assert max(pooled.values()) < 5 * 8 * 15
    found = conduct.standing(NOON + 30_000)
    assert {one.measure for one in found} == {Measure.HANDOVER}
    assert found[0].figures["callers tied"] == 5


def runs_of_calls(random, name, hours):
    """Somebody who calls strangers in runs, whenever it pleases them."""
    at = NOON + random.random() * 3_600
    key = Key(KeyKind.ACCESS, name)
    display = number(random.choice(CODES), len(name))
    while at < NOON + hours * 3_600:
        for _ in range(8):
            yield Observation(at=int(at), keys=(key,), display=display, callee=somebody(random))
            at += 20 + random.expovariate(1 / 30)
        at += random.uniform(400, 3_000)


def test_callers_who_know_nothing_of_each_other_are_left_alone():
    random = Random(23)
    streams = [runs_of_calls(random, f"a-{index}", 11) for index in range(60)]
    every = sorted((one for stream in streams for one in stream), key=lambda one: one.at)
    conduct = only(Measure.HANDOVER)
    untouched(conduct, every)
    assert len(conduct._counting.handovers[KeyKind.ACCESS]) == 60


def test_two_colleagues_in_turn_who_call_people_again_are_left_alone():
    random = Random(24)
    known = [somebody(random) for _ in range(80)]
    stream = [
        Observation(at=one.at, keys=one.keys, display=one.display, callee=random.choice(known))
        for one in split_box(random, 60, cards=2)
    ]
    untouched(Detector(ALONE), stream)


def test_cards_that_are_no_longer_in_turn_are_cleared():
    conduct, random = Detector(ALONE), Random(25)
    fed(conduct, split_box(random, 5 * 15))
    later = NOON + 40_000
    key, _ = card(0)
    assert conduct.finding(key, later).state is State.POOLED
    home = number(CODES[0], 0)
    fed(conduct, calls(card(0), ((home, somebody(random, CODES[0])) for _ in range(500)),
                       start=later, every=300))  # fmt: skip
    assert conduct.finding(key, later + 500 * 300) is None


def test_handovers_are_bounded():
    handovers = Handovers(ALONE.handover)
    for turn in range(30_000):
        handovers.call(Key(KeyKind.ACCESS, f"a-{turn % 7_000}"), NOON + 40 * turn)
    assert len(handovers) <= MAX_CALLERS
    assert all(len(one.ties) <= MAX_TIES for one in handovers._callers.values())


@pytest.mark.parametrize("step", [-40 * 86_400, -3_600, 3_600, 40 * 86_400])
def test_clock_step_ties_nobody(step):
    random = Random(26)
    streams = [runs_of_calls(random, f"a-{index}", 6) for index in range(20)]
    every = sorted((one for stream in streams for one in stream), key=lambda one: one.at)
    middle = len(every) // 2
    stepped = [
        Observation(at=one.at + step, keys=one.keys, display=one.display, callee=one.callee)
        for one in every[middle:]
    ]
    untouched(only(Measure.HANDOVER), every[:middle] + stepped)


# -- origids


def test_minted_origids_are_no_finding_by_themselves():
    """RFC 8588 section 10 recommends them; nobody is even suspected for them."""
    random = Random(19)
    held = numbers(random, 2_000)
    conduct = Detector(Policy(structure_alone=True, measures=frozenset({Measure.ORIGIDS})))
    for turn in range(3_000):
        pair = (random.choice(held)[1], somebody(random))
        conduct.observe(next(calls(SPC, [pair], start=NOON + 10 * turn, origid=f"o-{turn}")))
        assert conduct.finding(SPC, NOON + 10 * turn) is None
    (told,) = (
        one
        for one in conduct.picture(SPC, NOON + 30_000).measures
        if one.measure is Measure.ORIGIDS
    )
    assert told.strength >= 1  # it is seen, and looked at as one signer


def test_what_an_earlier_release_found_by_origids_alone_is_not_taken_over():
    conduct = Detector(ALONE)
    fed(conduct, minted(pool(Random(21), 1_500, size=2_000)))
    found = conduct.finding(SPC, NOON + 30_000)
    alone = replace(found, measure=Measure.ORIGIDS, beside=())
    other = Detector(ALONE)
    for one in (alone, found):
        other._findings.adopt(one)
        assert (other.finding(SPC, NOON + 30_000) is None) is (one is alone)


def minted(pairs, every=20):
    """All of one SPC, each with an origid of its own."""
    return calls(SPC, pairs, every=every, origid="o-{}")


@pytest.mark.parametrize("local", [1.0, 0.9])
def test_a_pool_behind_minted_origids_is_found_as_one_signer(local):
    conduct = Detector(ALONE)
    fed(conduct, minted(pool(Random(21), 1_500, size=2_000, local=local)))
    found = conduct.finding(SPC, NOON + 30_000)
    assert found.state is State.POOLED
    assert {Measure.LOCAL_PRESENCE, Measure.ORIGIDS} <= set(found.measures)
    told = {one.measure for one in conduct.picture(SPC, NOON + 30_000).measures}
    assert told == {Measure.ORIGIDS, Measure.LOCAL_PRESENCE, Measure.SPREAD, Measure.RATE}


def test_customers_of_a_carrier_who_take_turns_and_call_at_a_time_are_no_box():
    """A carrier that numbers its calls, with a few customers who call all over the country."""
    random = Random(22)
    pairs = [(number("28", turn // 8 % 5), somebody(random)) for turn in range(600)]
    conduct = Detector(ALONE)
    for one in minted(pairs, every=20):
        conduct.observe(one)
        if one.at == NOON:
            conduct.ended(SPC, one.at)
    assert conduct.finding(SPC, NOON + 12_000) is None


@pytest.mark.parametrize("codes", [CODES[:1], CODES], ids=["city", "land"])
def test_a_carrier_that_numbers_its_calls_is_not_found(codes):
    conduct = Detector(ALONE)
    for observation in minted(people(Random(23), 4_000, codes=codes), every=10):
        conduct.observe(observation)
        assert conduct.finding(SPC, observation.at) is None


def test_an_spc_of_which_more_is_found_is_to_be_saved_before_it_is_answered():
    conduct = Detector(ALONE)
    known = ()
    for observation in minted(pool(Random(21), 1_500, size=2_000)):
        conduct._findings.flagged = False
        conduct.observe(observation)
        found = conduct.finding(SPC, observation.at)
        if found is not None and found.state is State.POOLED:
            assert conduct.flagged == (not set(found.measures) <= set(known))
            known = found.measures
    assert len(known) > 1


def test_what_was_found_is_confirmed_until_it_would_no_longer_be_suspected():
    """Else an SPC would fail and be labelled in turn."""
    both = frozenset({Measure.ORIGIDS, Measure.SPREAD})
    conduct = Detector(Policy(structure_alone=True, measures=both))
    fed(conduct, minted(pool(Random(21), 3_000, size=2_000)))
    at = NOON + 60_000
    (again,) = (
        one.figures["displays seen again"]
        for one in conduct.picture(SPC, at).measures
        if one.measure is Measure.SPREAD
    )
    told = []
    for turn, strength in enumerate((1.1, 0.9, 0.6, 0.4, 0.6)):
        switch = Switch(repeated_displays=int(again / strength))
        conduct._findings._policy = Policy(structure_alone=True, measures=both, switch=switch)
        conduct._findings.judge(SPC, conduct._counting.table.by_key[SPC], at + turn)
        found = conduct.finding(SPC, at + turn)
        assert (found.measure, set(found.measures)) == (Measure.SPREAD, both)
        told.append(conduct.confirmed(found) == at + turn)
    assert told == [True, True, True, False, True]


def test_an_spc_that_mints_no_more_is_no_longer_taken_as_one_signer():
    conduct = Detector(ALONE)
    fed(conduct, minted(pool(Random(24), 400, size=300)))
    assert Measure.LOCAL_PRESENCE in {one.measure for one in conduct.picture(SPC, NOON).measures}
    random = Random(25)
    held = [number("28", index) for index in range(200)]
    for turn in range(4_000):
        customer = random.randrange(200)
        pair = (held[customer], somebody(random))
        stream = calls(SPC, [pair], start=NOON + DAY + 5 * turn, origid=f"c-{customer}")
        conduct.observe(next(stream))
    told = conduct.picture(SPC, NOON + DAY + 20_000).measures
    (shown,) = (one for one in told if one.measure is Measure.SPREAD)
    assert shown.figures["calls"] < 1_000  # of the eighth of its displays
    assert all(one.strength < 0.5 for one in told)


@pytest.mark.parametrize("local", [1.0, 0.9])
def test_a_carrier_that_is_a_pool_with_an_origid_for_each_number_is_found(local):
    conduct = Detector(ALONE)
    origids = {}
    for observation in calls(SPC, pool(Random(36), 4_000, size=2_000, local=local), every=10):
        origid = origids.setdefault(observation.display, f"o-{len(origids)}")
        conduct.observe(replace(observation, origid=origid))
    found = conduct.finding(SPC, NOON + 40_000)
    assert found.state is State.POOLED
    assert Measure.ORIGIDS not in found.measures


# -- bindings


def agents(count):
    return [number("28", 900_000 + index) for index in range(count)]


def lends(random, callers, calls, codes=CODES, displays=5_000):
    """Each callee once, shown a number of its city."""
    held = {}
    for code, display in numbers(random, displays):
        held.setdefault(code, []).append(display)
    for _ in range(calls):
        code = random.choice(codes)
        yield random.choice(callers), random.choice(held[code]), somebody(random, code)


def test_a_platform_that_binds_for_spammers_and_its_agents_are_found():
    callers, conduct = agents(4), Detector(ALONE)
    stream = lends(Random(26), callers, 800)
    pooled = fed(conduct, lent((ACCESS, SUBJECT), stream))
    assert set(pooled) == {ACCESS, SUBJECT, *(agent("p", caller) for caller in callers)}
    assert pooled[agent("p", callers[0])] < 4 * 90
    found = conduct.finding(SUBJECT, NOON + 16_000)
    assert found.measure is Measure.BINDINGS
    assert found.figures["calls of agents found"] >= 100


def dialled(conduct, pairs, keys, *, answered, told=True, every=20):
    """Each pair with its attempts, of which the proxy tells whether they were answered."""
    pooled = set()
    for index, pair in enumerate(pairs):
        (one,) = calls(keys, [pair], start=NOON + index * every)
        conduct.observe(one)
        for key in keys:
            met = conduct.met(*pair, answered=answered(index)) if told else None
            conduct.ended(key, one.at + 10, met)
            found = conduct.finding(key, one.at)
            if found is not None and found.state is State.POOLED:
                pooled.add(key)
    return pooled


def twice(pairs, apart):
    """Each callee is called, and again so many calls later."""
    pairs = list(pairs)
    for start in range(0, len(pairs), apart):
        yield from pairs[start : start + apart] * 2


@pytest.mark.parametrize("told", [True, False])
def test_attempts_that_nobody_answers_make_no_acquaintance_where_that_is_told(told):
    stream = list(twice(pool(Random(33), 200), 4))  # again after 400 seconds
    keys, often = (ACCESS, SUBJECT), {"every": 100, "told": told}
    found = dialled(
        Detector(ALONE), stream, keys, answered=lambda index: index // 4 % 2 == 0, **often
    )
    assert found == (set(keys) if told else set())


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_who_calls_the_same_people_is_left_alone_where_answers_are_told(share):
    random = Random(34)
    stream = list(people(random, 3_000, persons=40, codes=CODES[:1]))
    answers = [random.random() < share for _ in stream]
    keys = (ACCESS, SUBJECT, SIGNER)
    assert not dialled(Detector(ALONE), stream, keys, answered=answers.__getitem__)


def test_a_proxy_that_ceases_to_tell_of_answers_makes_nobody_a_stranger():
    conduct, stream = Detector(ALONE), list(people(Random(35), 3_000, persons=40, codes=CODES[:1]))
    dialled(conduct, stream[:300], (ACCESS,), answered=lambda _: True)
    for one in calls(ACCESS, stream[300:], start=NOON + 6_000):
        conduct.observe(one)
        assert conduct.finding(ACCESS, one.at) is None


def test_a_service_that_signs_and_verifies_the_same_calls_finds_a_pool_on_both_sides():
    conduct, stream = Detector(ALONE), list(pool(Random(31), 150))
    sides = (calls((ACCESS, SUBJECT), stream, origid=None), calls((SIGNER, SPC), stream))
    for pair in zip(*sides, strict=True):
        for one in pair:
            conduct.observe(one)
    for key in (ACCESS, SUBJECT, SIGNER):
        assert conduct.finding(key, NOON + 3_000).state is State.POOLED


def test_a_pool_that_dials_each_callee_again_at_once_is_found():
    stream = [pair for pair in pool(Random(32), 100) for _ in range(2)]
    conduct = Detector(ALONE)
    pooled = fed(conduct, calls((ACCESS, SIGNER), stream))
    assert pooled[ACCESS] < 60
    assert SIGNER in pooled


def test_a_call_that_is_signed_and_verified_here_counts_once_for_its_agent():
    stream = list(lends(Random(30), agents(1), 100))
    conduct = Detector(ALONE)
    signed, verified = (lent(keys, stream) for keys in ((ACCESS, SUBJECT), (SIGNER, SPC)))
    for one, other in zip(signed, verified, strict=True):
        conduct.observe(one)
        conduct.observe(other)
    key = agent("p", agents(1)[0])
    assert conduct.picture(key, NOON + 2_000).calls == 100
    assert conduct.finding(key, NOON + 2_000).figures["recurring"] == 0


def test_couriers_of_a_platform_are_left_alone():
    random = Random(27)
    stream = []
    for rider in agents(40):
        code = random.choice(CODES)
        people = [somebody(random, code) for _ in range(60)]
        stream += [(rider, number(code, 7), callee) for callee in people]
    random.shuffle(stream)
    untouched(Detector(ALONE), lent((ACCESS, SUBJECT), stream))


def test_merchants_of_a_platform_are_left_alone():
    random = Random(28)
    stream = []
    for merchant in agents(30):
        for _ in range(30):
            code = random.choice(CODES)
            callee = somebody(random, code)
            stream += [(merchant, number(code, 8), callee)] * random.choice([1, 1, 1, 2])
    random.shuffle(stream)
    untouched(Detector(ALONE), lent((ACCESS, SUBJECT), stream))


@pytest.mark.parametrize("behind", ["447700900123", "4006661234", "9501234"])
def test_an_agent_whose_number_has_no_area_is_found(behind):
    pooled = fed(Detector(ALONE), lent((ACCESS, SUBJECT), lends(Random(37), [TN(behind)], 100)))
    assert agent("p", TN(behind)) in pooled


def test_one_agent_among_many_does_not_make_a_platform():
    random = Random(29)
    bad = list(lends(random, agents(1), 150))
    good = []
    for rider in agents(60)[1:]:
        code = random.choice(CODES)
        good += [(rider, number(code, 7), somebody(random, code)) for _ in range(20)]
    stream = bad + good
    random.shuffle(stream)
    pooled = fed(Detector(ALONE), lent((ACCESS, SUBJECT), stream))
    assert set(pooled) == {agent("p", agents(1)[0])}


def test_who_calls_behind_a_binding_need_not_be_known():
    binding = Observation(
        at=NOON, keys=(ACCESS, SUBJECT), display=number("28", 1), callee=number("10", 2), bound=True
    )
    conduct = Detector(ALONE)
    conduct.observe(binding)
    assert conduct.picture(ACCESS, NOON).calls == 1


@pytest.mark.parametrize("customers", [50, 5_000, 1_000_000])
def test_carrier_with_an_origid_for_each_customer_is_left_alone(customers):
    random = Random(20)
    conduct = Detector(ALONE)
    for turn in range(6_000):
        customer = int(random.random() ** 2 * customers)
        pair = (number("28", customer), somebody(random))
        conduct.observe(next(calls(SPC, [pair], start=NOON + turn, origid=f"o-{customer}")))
        assert conduct.finding(SPC, NOON + turn) is None


def test_carrier_of_which_one_customer_makes_most_calls_is_left_alone():
    """Whatever the salt: a table in which the customer's place is taken must not accuse."""
    for salt in range(16):
        random = Random(salt)
        conduct = Detector(Policy(structure_alone=True, salt=salt))
        for turn in range(1_200):
            customer = int(random.random() * 400) if turn < 600 or turn % 4 == 0 else 0
            pair = (number("28", customer), somebody(random))
            conduct.observe(next(calls(SPC, [pair], start=NOON + turn, origid=f"o-{customer}")))
            assert conduct.finding(SPC, NOON + turn) is None


# -- measures one by one


@pytest.mark.parametrize("measure", Measure)
def test_each_measure_can_be_switched_off(measure):
    conduct = only(*(ALL_MEASURES - {measure}))
    fed(conduct, calls((ACCESS, SPC), pool(Random(21), 60)))
    for key in (ACCESS, SPC):
        measures = [one.measure for one in conduct.picture(key, NOON + 1_200).measures]
        assert measure not in measures
