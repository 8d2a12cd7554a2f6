"""A caller's own past: a hijacked switchboard is seen at night; new hours refuse nobody."""

from random import Random

import pytest
from streams import ACCESS, NOON, SUBJECT, number, somebody

from zhenxian.analytics import Detector, Measure, Observation, State
from zhenxian.analytics.codec import read_counts
from zhenxian.analytics.past import Past
from zhenxian.analytics.thresholds import DAY

KEYS = (ACCESS, SUBJECT)
HOUR = 3_600
MORNING = NOON // DAY * DAY + HOUR  # nine o'clock in China
LINES = [number("755", 1_000 + line) for line in range(6)]


def day_of(random, day, *, calls=120, known=0.5, hours=9, begins=0):
    """Calls of an office, as (at, display, callee, answered, seconds)."""
    for at in sorted(random.uniform(0, hours * HOUR) for _ in range(calls)):
        line = random.choice(LINES)
        contact = number("755", 40_000 + random.randrange(40) + LINES.index(line) * 100)
        callee = contact if random.random() < known else somebody(random, "755")
        answered = random.random() < 0.7
        talk = round(random.expovariate(1 / 90)) if answered else 0
        yield int(MORNING + day * DAY + begins + at), line, callee, answered, talk


def night_of(random, day, *, calls=400, answered=0.4, talk=20, known=0.0):
    """Four hours from one o'clock at night."""
    for turn in range(calls):
        at = MORNING + day * DAY + 16 * HOUR + turn * (4 * HOUR // calls)
        line = random.choice(LINES)
        contact = number("755", 40_000 + random.randrange(40) + LINES.index(line) * 100)
        callee = contact if random.random() < known else somebody(random)
        heard = random.random() < answered
        yield at, line, callee, heard, round(random.expovariate(1 / talk)) if heard else 0


def driven(conduct, calls, *, told):
    """The worst that stood against each call."""
    stood = []
    for at, display, callee, answered, seconds in calls:
        found = conduct.finding(ACCESS, at)
        stood.append(found)
        conduct.observe(Observation(at=at, keys=KEYS, display=display, callee=callee))
        if told:
            contact = conduct.met(display, callee, answered=answered, seconds=seconds)
            for key in KEYS:
                conduct.ended(key, at, contact)
    return stood


def office(days, seed=1, *, told=True, **how):
    """A detector that has seen an office for so many days."""
    conduct, random = Detector(), Random(seed)
    for day in range(days):
        assert not any(driven(conduct, day_of(random, day, **how), told=told))
    return conduct, random


@pytest.mark.parametrize("days", [2, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_an_office_that_keeps_its_hours_is_never_found(days, seed):
    for told in (True, False):
        office(days, seed, told=told)


@pytest.mark.parametrize("known", [0.1, 0.9])
def test_a_business_that_opens_a_night_shift_is_labelled_at_most(known):
    for told in (True, False):
        conduct, random = office(6, told=told)
        for day in range(6, 12):
            list(driven(conduct, day_of(random, day), told=told))
            shift = night_of(random, day, answered=0.7, talk=90, known=known)
            stood = [found for found in driven(conduct, shift, told=told) if found]
            assert all(found.state is State.SUSPECTED for found in stood)
            assert not any(found.lowers for found in stood)
            if told:
                assert not stood[60:]  # its callees talk to it
            if day >= 10:
                assert not stood  # after three nights its hours are usual


def test_a_season_with_far_more_calls_at_its_hours_is_none_of_it():
    conduct, random = office(6, told=False)
    for day in range(6, 9):
        busy = day_of(random, day, calls=600, known=0.5)
        assert not any(
            found and found.measure is Measure.OWN_PAST
            for found in driven(conduct, busy, told=False)
        )


def test_a_first_weekend_and_a_longer_evening_are_none_of_it():
    conduct, random = office(5)
    assert not any(driven(conduct, day_of(random, 5, begins=2 * HOUR), told=True))


@pytest.mark.parametrize("days", [2, 10])
@pytest.mark.parametrize("seed", range(5))
def test_a_hijacked_switchboard_is_lowered_the_same_night_and_its_day_goes_on(days, seed):
    conduct, random = office(days, seed)
    stood = driven(conduct, night_of(random, days - 1), told=True)
    first = next(index for index, found in enumerate(stood) if found and found.lowers)
    assert first < 150
    assert all(found.measure is Measure.OWN_PAST for found in stood[first:])
    assert all(found.state is State.SUSPECTED for found in stood[first:])
    again = driven(conduct, day_of(random, days), told=True)
    assert sum(found is not None for found in again) <= 2
    assert not any(found and found.state is State.POOLED for found in again)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_labelled_where_nothing_is_told(seed):
    conduct, random = office(4, seed, told=False)
    stood = driven(conduct, night_of(random, 3), told=False)
    assert stood[200] is not None
    assert stood[200].measure is Measure.OWN_PAST
    assert not any(found.lowers for found in stood if found)


def test_what_it_knows_survives_a_restart_and_is_bounded():
    conduct, random = office(4)
    later = Detector()
    saved = conduct.take_touched(1_000)
    assert later.restore([one.content for one in saved], []) == 0
    stood = driven(later, night_of(random, 3), told=True)
    assert any(found and found.lowers for found in stood)
    (kept,) = [read_counts(one.content, *_salt(conduct)) for one in saved][:1]
    assert len(kept.counts.past.pairs) + len(kept.counts.past.hours) < 3_000


def _salt(conduct):
    return conduct._counting.hashing.fingerprint, conduct.policy.window // 2


def test_nothing_is_usual_on_the_first_day():
    past = Past(MORNING)
    for turn in range(500):
        past.add(MORNING + turn * 60, turn)
        assert past.unusual is None
