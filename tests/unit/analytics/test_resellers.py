"""Many straw men of one reseller are one caller; its honest customers go on, and newcomers do."""

from random import Random

import pytest
from streams import NOON, hear, number, numbers, somebody
from test_linkage import PITCH, TALK, listed

from zhenxian.analytics import Detector, Key, KeyKind, Observation, State
from zhenxian.registry.exemptions import against

RESELLER = Key(KeyKind.RESELLER, "r-1")


def straw_men(seed, count, *, matched=True, size=2_000, accesses=20):
    random = Random(seed)
    pool = numbers(random, size)
    by_code = {}
    for index, (code, display) in enumerate(pool):
        by_code.setdefault(code, []).append((display, index % accesses))
    everyone = [one for many in by_code.values() for one in many]
    for _ in range(count):
        code = random.choice(list(by_code))
        display, seat = random.choice(by_code[code] if matched else everyone)
        keys = (Key(KeyKind.ACCESS, f"a-{seat}"), Key(KeyKind.SUBJECT, f"s-{seat}"), RESELLER)
        yield keys, display, somebody(random, code)


def let_through(conduct, calls, talk, seed="talk", first=0):
    """The share of calls that are let through, by what signing asks."""
    random, passed, total = Random(seed), 0, 0
    for turn, (keys, display, callee) in enumerate(calls, first):
        at = NOON + 10 * turn
        found = against(keys, conduct, None, at, None, None)
        total += 1
        conduct.observe(Observation(at=at, keys=keys, display=display, callee=callee))
        if found is None or found.state is not State.POOLED:
            passed += 1
            if talk is not None:
                hear(conduct, random, talk, (display, callee), keys, at)
    return passed / total


@pytest.mark.parametrize(("matched", "most"), [(True, 0.10), (False, 0.15)])
@pytest.mark.parametrize("seed", range(3))
def test_straw_men_of_one_reseller_are_one_caller(seed, matched, most):
    share = let_through(Detector(), straw_men(seed, 3_000, matched=matched), PITCH)
    assert share <= most


def test_people_and_offices_of_a_found_reseller_go_on():
    conduct = Detector()
    let_through(conduct, straw_men(1, 600), PITCH)
    assert conduct.finding(RESELLER, NOON + 6_000).state is State.POOLED
    random = Random(4)
    for who, lines in (("person", 1), ("office", 6)):
        keys = (Key(KeyKind.ACCESS, who), Key(KeyKind.SUBJECT, who), RESELLER)
        own = [number("28", 600_000 + line) for line in range(lines)]
        known = [somebody(random, "28") for _ in range(40)]
        calls = [(keys, random.choice(own), random.choice(known)) for _ in range(60)]
        assert let_through(conduct, calls, TALK) > 0.95


@pytest.mark.parametrize("seed", [0, 9, 17])
def test_a_business_with_many_numbers_of_a_found_reseller_goes_on(seed):
    conduct = Detector()
    let_through(conduct, straw_men(1, 600), PITCH)
    random = Random(f"business/{seed}")
    keys = (Key(KeyKind.ACCESS, "b"), Key(KeyKind.SUBJECT, "b"), RESELLER)
    own = [
        (code, number(code, 700_000 + index)) for index, (code, _) in enumerate(numbers(random, 60))
    ]
    known = {display: [somebody(random, code) for _ in range(20)] for code, display in own}
    shown = [random.choice(own)[1] for _ in range(400)]
    calls = [(keys, display, random.choice(known[display])) for display in shown]
    # Of refused calls nobody reports an end, so that a wrong refusal would stay.
    assert let_through(conduct, calls, TALK, f"talk/{seed}") > 0.97


def test_some_long_talks_early_on_make_no_business_of_a_straw_man():
    conduct = Detector()
    keys = (Key(KeyKind.ACCESS, "first"), Key(KeyKind.SUBJECT, "first"), RESELLER)
    made = list(straw_men(1, 644))
    # Nine in a hundred talk for long, less than with a business: the log-likelihood is -1.25.
    told(conduct, keys, made[600:], lambda turn: 90 if turn % 11 == 2 else 0)
    let_through(conduct, made[:600], PITCH)
    assert conduct.resembles(keys[0], since(conduct))


def told(conduct, keys, calls, talked, start=NOON):
    """Calls of one caller and how long each talks, 0 for unanswered; which of them are refused."""
    refused = []
    for turn, (_, display, callee) in enumerate(calls):
        at, seconds = start + turn, talked(turn)
        found = against(keys, conduct, None, at, None, None)
        refused.append(found is not None and found.state is State.POOLED)
        conduct.observe(Observation(at=at, keys=keys, display=display, callee=callee))
        if not refused[-1]:
            over = conduct.met(display, callee, answered=seconds > 0, seconds=seconds)
            for key in keys:
                conduct.ended(key, at, over)
    return refused


def since(conduct):
    return conduct.finding(RESELLER, NOON + 6_900).since


LATE = (Key(KeyKind.ACCESS, "late"), Key(KeyKind.SUBJECT, "late"), RESELLER)


def test_a_business_that_came_later_is_not_refused_for_a_bad_beginning():
    conduct = Detector()
    made = list(straw_men(1, 700))
    let_through(conduct, made[:600], PITCH)

    def talked(turn):
        # Half of the first score are not answered, and nobody talks for long.
        return 90 * (turn % 3 == 0) if turn > 20 else 5 * (turn % 2 == 0)

    assert not any(told(conduct, LATE, made[600:], talked, NOON + 6_900))


def test_a_straw_man_who_came_later_is_refused_by_his_own_calls():
    conduct = Detector()
    made = list(straw_men(1, 900))
    let_through(conduct, made[:600], PITCH)
    refused = told(conduct, LATE, made[600:], lambda turn: 20 * (turn % 5 < 2), NOON + 6_900)
    first = refused.index(True)
    assert 20 <= first <= 60
    assert all(refused[first:])


def test_of_who_came_later_and_whose_talk_is_not_told_nothing_is_held_against_it():
    conduct = Detector()
    let_through(conduct, straw_men(1, 3_000), None)
    found = conduct.finding(RESELLER, NOON + 29_900)
    assert found is not None
    for display, callee in listed("late", numbers(Random(8), 60), 60):
        assert against(LATE, conduct, None, NOON + 30_000, None, None) is None
        conduct.observe(Observation(at=NOON + 30_000, keys=LATE, display=display, callee=callee))


NIGHT = 11_500  # turns; the day's calls count no more


def as_it_is(conduct):
    return conduct


def expired(conduct):
    for hour in range(1, 7):
        conduct.expire(NOON + 30_000 + 9_000 * hour)
    return conduct


def over(conduct):
    let_through(conduct, straw_men(2, 1), None, first=NIGHT)
    assert conduct.finding(RESELLER, NOON + 10 * NIGHT) is None
    return conduct


def started_anew(conduct):
    saved = [one.content for one in conduct.take_findings()]
    conduct = Detector()
    assert conduct.restore((), saved) == 0
    return conduct


def over_and_started_anew(conduct):
    saved = {one.key: one.content for one in conduct.take_findings()}
    saved |= {one.key: one.content for one in over(conduct).take_findings()}
    conduct = Detector()
    assert conduct.restore((), saved.values()) == 0
    return conduct


@pytest.mark.parametrize(
    ("meanwhile", "morning", "same"),
    [
        (as_it_is, 8_640, True),
        (expired, 8_640, True),
        (expired, 51_840, True),
        (over, 17_280, True),
        (started_anew, 8_640, True),
        (over_and_started_anew, 17_280, True),
        (as_it_is, 77_760, False),  # nine days later
        (over, 86_400, False),
    ],
)
def test_a_reseller_that_is_suspected_again_in_the_morning_is_so_since_the_day_before(
    meanwhile, morning, same
):
    conduct = Detector()
    let_through(conduct, straw_men(1, 3_000), None)
    before = conduct.finding(RESELLER, NOON + 29_900)
    conduct = meanwhile(conduct)
    calls = list(straw_men(3, 3_000))
    for turn in range(0, 3_000, 100):
        let_through(conduct, calls[turn : turn + 100], None, first=morning + turn)
        again = conduct.finding(RESELLER, NOON + 10 * (morning + turn + 99))
        if again is not None:
            break
    assert again.state is before.state is State.SUSPECTED
    assert again.since == before.since if same else again.since > NOON + 10 * morning
    assert (again.case == before.case) is same


def lapsed():
    """A detector of which a reseller was suspected, and is so no more, well before it would end."""
    conduct = Detector()
    let_through(conduct, straw_men(1, 3_000), None)
    conduct._findings.judge(RESELLER, None, NOON + 30_000)
    assert conduct.finding(RESELLER, NOON + 30_000) is None
    return conduct


def test_a_suspicion_that_was_over_before_its_time_stands_nowhere_anew():
    conduct = lapsed()
    saved = [one.content for one in conduct.take_findings()]
    for node in (conduct, Detector()):
        assert node.restore((), saved) == 0
        assert node.standing(NOON + 30_000) == []


def test_a_suspicion_that_was_over_is_cleared_where_the_caller_is_not_counted():
    conduct = lapsed()
    conduct._counting.table.forget(RESELLER)
    conduct.cleared(RESELLER, NOON + 30_000)
    assert [one.content for one in conduct.take_findings()] == [None]


def test_what_another_node_suspects_is_taken_over_as_it_is():
    conduct = lapsed()
    other = Detector(fleet=True)
    let_through(other, straw_men(3, 3_000), None, first=NIGHT)
    (found,) = other.standing(NOON + 10 * NIGHT + 29_900)
    conduct._findings.adopt(found)
    assert conduct.finding(RESELLER, NOON + 10 * NIGHT + 29_900) == found


@pytest.mark.parametrize("ends", ["cleared", "forgotten"])
def test_a_suspicion_that_was_over_is_saved_no_more(ends):
    conduct = Detector()
    let_through(conduct, straw_men(1, 3_000), None)
    over(conduct)
    assert [one.content is not None for one in conduct.take_findings()] == [True]
    if ends == "cleared":
        conduct.cleared(RESELLER, NOON + 10 * NIGHT)
    else:
        conduct.expire(NOON + 700_000)
    assert [one.content for one in conduct.take_findings()] == [None]
