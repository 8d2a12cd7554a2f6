"""Complaints count where the call was seen, are limited, and refuse beside a suspicion alone."""

from random import Random

from streams import NOON, hear, number, numbers, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Measure, Observation, State
from zhenxian.analytics.thresholds import DAY

KEYS = (Key(KeyKind.ACCESS, "a-1"), Key(KeyKind.SUBJECT, "s-1"))
TALK = (0.7, 80)


def fed(conduct, pairs, keys=KEYS, *, start=NOON, every=20, talk=None, seed=1):
    random, made = Random(seed), []
    for turn, (display, callee) in enumerate(pairs):
        at = int(start + every * turn)
        conduct.observe(Observation(at=at, keys=keys, display=display, callee=callee))
        made.append((display, callee, at))
        if talk is not None:
            hear(conduct, random, talk, (display, callee), keys, at)
    return made


def pool(seed, count, size=300):
    random = Random(seed)
    held = numbers(random, size)
    for _ in range(count):
        code, display = random.choice(held)
        yield display, somebody(random, code)


def complained(conduct, made, every, source="12321"):
    """Every so many of these calls are complained of; how many complaints counted."""
    return sum(
        conduct.complained(display, callee, at, source) > 0 for display, callee, at in made[::every]
    )


def state(conduct, key=KEYS[0], at=NOON + DAY // 2):
    found = conduct.finding(key, at)
    return None if found is None else found.state


# Honest callers first.


def test_a_few_complaints_about_a_large_caller_say_nothing():
    conduct = Detector()
    made = fed(conduct, pool(1, 2_000), talk=TALK, every=5)
    assert complained(conduct, made[100:], 950) >= 1
    assert state(conduct) is None


def test_complaints_of_calls_that_nobody_saw_count_for_nothing():
    conduct = Detector()
    made = fed(conduct, pool(1, 400))
    random = Random(2)
    for display, _, at in made[100:200]:
        assert conduct.complained(display, somebody(random), at, "12321") == 0
        assert conduct.complained(number("28", 990_000), somebody(random), at, "12321") == 0
    assert state(conduct) is None


def test_a_source_cannot_spread_its_complaints_over_days_of_its_own_choice():
    conduct = Detector()
    made = fed(conduct, pool(1, 400))
    told = [
        conduct.complained(display, callee, at + turn % 7 * DAY, "12321") > 0
        for turn, (display, callee, at) in enumerate(made[50:250])
    ]
    assert sum(told) == 20


def test_one_callee_counts_once_against_one_caller_and_one_source_twenty_times_a_day():
    conduct = Detector()
    made = fed(conduct, pool(1, 400))
    display, callee, at = made[200]
    assert [conduct.complained(display, callee, at, "12321") > 0 for _ in range(5)] == [
        True, False, False, False, False,
    ]  # fmt: skip
    assert complained(conduct, made[100:], 1, "somebody's feed") == 20


def test_one_callee_counts_for_five_callers_a_day():
    conduct = Detector()
    callee = number("28", 5)
    counted = 0
    for index in range(8):
        keys = (Key(KeyKind.ACCESS, f"a-{index}"), Key(KeyKind.SUBJECT, f"s-{index}"))
        own = [(number("10", 1_000 * index + turn), callee) for turn in range(40)]
        made = fed(conduct, own, keys)
        counted += conduct.complained(*made[30], "12321") > 0
    assert counted == 5


def test_a_flood_of_false_ones_labels_at_most():
    """Even of calls that were made: nothing else is suspected of whom callees talk with."""
    conduct = Detector()
    made = fed(conduct, pool(1, 1_000), talk=TALK, every=5)
    for source in ("a", "b", "c", "d"):
        complained(conduct, made[100:], 3, source)
    found = conduct.finding(KEYS[0], NOON + 6_000)
    assert found is not None
    assert (found.state, found.measure, found.lowers) == (
        State.SUSPECTED, Measure.COMPLAINTS, False,
    )  # fmt: skip
    assert all(one.state is State.SUSPECTED for one in conduct.standing(NOON + 6_000))


def test_what_everybody_is_complained_of_for_is_no_sign():
    conduct = Detector()
    for index in range(20):
        keys = (Key(KeyKind.ACCESS, f"a-{index}"), Key(KeyKind.SUBJECT, f"s-{index}"))
        made = fed(conduct, pool(index, 400), keys, talk=TALK)
        complained(conduct, made[50:], 50)
        conduct.expire(NOON + 8_000)
    assert state(conduct, Key(KeyKind.ACCESS, "a-19"), NOON + 8_000) is None


# Those who are complained of.


def test_beside_a_suspicion_complaints_refuse():
    def stands(complaints):
        conduct = Detector()
        made = fed(conduct, pool(7, 3_000, size=400), every=10)
        assert state(conduct, at=NOON + 30_000) is State.SUSPECTED
        if complaints:
            complained(conduct, made[100:], 60, "12321")
            complained(conduct, made[130:], 60, "callees")
        return conduct.finding(KEYS[0], NOON + 30_000)

    assert stands(complaints=False).state is State.SUSPECTED
    found = stands(complaints=True)
    assert found.state is State.POOLED
    assert found.figures["complaints"] >= 20


def test_who_is_cleared_is_not_accused_of_older_calls():
    conduct = Detector()
    made = fed(conduct, pool(1, 400))
    conduct.cleared(KEYS[0], NOON + 8_000)
    conduct.cleared(KEYS[1], NOON + 8_000)
    assert complained(conduct, made[100:], 10) == 0


def test_after_a_restart_calls_are_remembered():
    conduct = Detector()
    made = fed(conduct, pool(1, 400))
    saved = [one.content for one in conduct.take_touched(100) if one.content is not None]
    again = Detector()
    assert again.restore(saved, []) == 0
    assert complained(again, made[100:], 10) == 20
