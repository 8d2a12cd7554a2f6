"""Who was found comes back under another name; an honest newcomer with some numbers does not."""

from random import Random

import pytest
from streams import CODES, NOON, hear, number, numbers, somebody

import zhenxian.analytics.linkage
from zhenxian.analytics import Detector, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.analytics.codec import read_delta
from zhenxian.analytics.evidence import LatestValues
from zhenxian.analytics.linkage import Linkage
from zhenxian.analytics.thresholds import DAY

FOUND = (Key(KeyKind.ACCESS, "a-1"), Key(KeyKind.SUBJECT, "s-1"))
NEXT = (Key(KeyKind.ACCESS, "a-2"), Key(KeyKind.SUBJECT, "s-2"))
SIGNER = (Key(KeyKind.SIGNER, "1001/o-1"), Key(KeyKind.SPC, "1001"))
OTHER_SIGNER = (Key(KeyKind.SIGNER, "2002/o-9"), Key(KeyKind.SPC, "2002"))
PITCH, TALK = (0.4, 20), (0.7, 80)  # share of calls answered, seconds of talk on average


def feed(conduct, pairs, keys, *, start=NOON, every=10, talk=PITCH, seed=1):
    """Feed calls; the number of the first call at which anything refuses them."""
    random, refused = Random(seed), None
    for turn, (display, callee) in enumerate(pairs, 1):
        at = int(start + every * turn)
        standing = [conduct.finding(key, at) for key in keys]
        if refused is None and any(one and one.state is State.POOLED for one in standing):
            refused = turn
        conduct.observe(Observation(at=at, keys=keys, display=display, callee=callee))
        if talk is not None and refused is None:
            hear(conduct, random, talk, (display, callee), keys, at)
    return refused


def listed(seed, held, count):
    """Calls of a pool: each callee once, shown a number of the own city where there is one."""
    random = Random(seed)
    by_code = {}
    for code, display in held:
        by_code.setdefault(code, []).append(display)
    made = []
    for _ in range(count):
        code = random.choice(list(by_code))
        made.append((random.choice(by_code[code]), somebody(random, code)))
    return made


def after_a_pool(keys=FOUND, *, size=300, count=600, seed=1):
    """A detector that found a pool, with the pool's numbers and calls."""
    conduct = Detector()
    held = numbers(Random(f"held/{seed}"), size)
    made = listed(f"calls/{seed}", held, count)
    assert feed(conduct, made, keys) is not None
    return conduct, [display for _, display in held], made


def held(conduct, tns, subject, at=NOON + DAY):
    conduct.held([(tn, subject) for tn in tns], at)


# Honest kinds first.


def test_a_newcomer_with_a_few_recycled_numbers_is_left_alone():
    conduct, tns, _ = after_a_pool()
    held(conduct, tns[:19], "s-2")
    assert conduct.finding(NEXT[1], NOON + DAY) is None


def test_many_recycled_numbers_that_are_less_than_half_label_at_most():
    conduct, tns, _ = after_a_pool()
    held(conduct, tns[:60], "s-2")
    found = conduct.finding(NEXT[1], NOON + DAY)
    assert (found.state, found.lowers, found.measure) == (State.SUSPECTED, False, Measure.LINKAGE)


def test_each_of_many_holders_of_single_recycled_numbers_is_left_alone():
    conduct, tns, _ = after_a_pool()
    conduct.held([(tn, f"person-{index}") for index, tn in enumerate(tns)], NOON + DAY)
    assert not [one for one in conduct.standing(NOON + DAY) if one.key not in FOUND]


def business(seed, size=60, contacts=400):
    """An honest business of many cities, and its calls: most go to customers of its own."""
    random = Random(seed)
    own = numbers(random, size)
    known = [somebody(random, code) for code, _ in own for _ in range(contacts // size)]
    while True:
        yield random.choice(own)[1], random.choice(known)


def some(calls, count):
    return [next(calls) for _ in range(count)]


def test_a_well_known_business_that_takes_over_the_numbers_is_labelled_at_most():
    conduct, tns, _ = after_a_pool()
    fresh = Detector()
    mine = business(5)
    feed(fresh, some(mine, 600), NEXT, talk=TALK)
    for saved in conduct.take_marks():
        fresh.restore([], [saved.content])
    held(fresh, tns, "s-2", NOON + 7_000)
    found = fresh.finding(NEXT[1], NOON + 7_000)
    assert (found.state, found.lowers) == (State.SUSPECTED, False)


@pytest.mark.parametrize("talk", [TALK, None])
@pytest.mark.parametrize("seed", range(3))
def test_a_business_of_the_same_cities_shares_some_callees_and_is_left_alone(seed, talk):
    conduct, _, made = after_a_pool()
    random = Random(seed)
    callees = [callee for _, callee in made]
    own = numbers(random, 60)
    pairs = [
        (
            random.choice(own)[1],
            random.choice(callees) if random.random() < 0.08 else somebody(random),
        )
        for _ in range(800)
    ]
    assert feed(conduct, pairs, NEXT, start=NOON + DAY, talk=talk or TALK) is None
    assert all(
        one.measure is not Measure.LINKAGE
        for one in conduct.standing(NOON + DAY + 8_000)
        if one.key in NEXT
    )


def test_where_everybody_calls_the_same_people_the_mark_tells_nothing():
    """A small town: most of it was called by the pool, and all businesses of the town call it."""
    conduct, _, made = after_a_pool()
    town = [callee for _, callee in made][:300]
    random = Random("town")
    for turn in range(40):
        keys = (Key(KeyKind.ACCESS, f"shop-{turn}"), Key(KeyKind.SUBJECT, f"shop-{turn}"))
        mine = number("28", 900_000 + turn)
        pairs = [
            (mine, random.choice(town) if random.random() < 0.4 else somebody(random))
            for _ in range(40)
        ]
        assert feed(conduct, pairs, keys, start=NOON + DAY + turn * 900, talk=TALK) is None


def test_who_calls_a_few_marked_people_again_and_again_is_left_alone():
    conduct, _, made = after_a_pool()
    friends = [callee for _, callee in made[:12]]
    random = Random(8)
    pairs = [(number("28", 77), random.choice(friends)) for _ in range(400)]
    assert feed(conduct, pairs, NEXT, start=NOON + DAY, every=400, talk=TALK) is None


def test_a_well_known_business_whose_customers_a_pool_calls_is_labelled_at_most():
    """Whoever knows its customers could have it found otherwise."""
    random = Random(21)
    own = number("28", 500_000)
    customers = [somebody(random, "28") for _ in range(900)]
    conduct = Detector()
    feed(conduct, [(own, one) for one in customers[:300]], NEXT, start=NOON - DAY // 2, talk=None)
    pool = listed(22, numbers(Random("spite"), 300), 600)
    pool += [(display, one) for (display, _), one in zip(pool, customers, strict=False)]
    assert feed(conduct, pool, FOUND) is not None
    after = [(own, one) for one in customers[300:600]]
    assert feed(conduct, after, NEXT, start=NOON + 12_000, talk=None) is None


GATEWAY = (Key(KeyKind.ACCESS, "unknown/o-77"),)
CUSTOMER = (Key(KeyKind.ACCESS, "a-2/evil"),)


@pytest.mark.parametrize("keys", [GATEWAY, CUSTOMER])
def test_numbers_that_a_gateways_caller_or_a_customer_shows_are_held_against_no_holder(keys):
    conduct, tns, _ = after_a_pool(keys)
    held(conduct, tns, "s-2")
    assert conduct.finding(NEXT[1], NOON + DAY) is None


@pytest.mark.parametrize("keys", [GATEWAY, CUSTOMER, SIGNER])
def test_who_shows_numbers_that_others_showed_in_its_name_is_labelled_at_most(keys):
    conduct, _, made = after_a_pool(keys, size=100, count=800)
    random = Random(23)
    pairs = [(display, somebody(random)) for display, _ in made[:200]]
    assert feed(conduct, pairs, NEXT, start=NOON + DAY, talk=TALK) is None


def test_who_comes_back_by_another_gateway_with_the_same_numbers_is_refused():
    conduct, _, made = after_a_pool(GATEWAY, size=100, count=800)
    random = Random(24)
    pairs = [(display, somebody(random)) for display, _ in made]
    again = (Key(KeyKind.ACCESS, "unknown/o-78"),)
    assert feed(conduct, pairs, again, start=NOON + DAY, talk=None) <= 200


def test_what_a_found_caller_only_displayed_is_held_against_nobody_who_holds_it_later():
    conduct, tns, _ = after_a_pool()
    conduct.mark_held("s-1", ())  # asked: nothing is registered to it
    held(conduct, tns, "s-2")
    assert conduct.finding(NEXT[1], NOON + DAY) is None
    own = [(tn, somebody(Random(turn), "28")) for turn, tn in enumerate(tns)]
    refused = feed(conduct, own, NEXT, start=NOON + DAY, talk=TALK)
    assert refused is None
    again = Detector()
    assert again.restore([], [saved.content for saved in conduct.take_marks()]) == 0
    held(again, tns, "s-2")
    assert again.finding(NEXT[1], NOON + DAY) is None


# Who was found.


def test_half_of_the_numbers_registered_to_another_are_refused_at_the_first_call():
    conduct, tns, _ = after_a_pool()
    held(conduct, tns, "s-2")
    found = conduct.finding(NEXT[1], NOON + DAY)
    assert (found.state, found.measure) == (State.POOLED, Measure.LINKAGE)
    assert found.figures["numbers of a found caller"] > 200
    assert found.case
    assert feed(conduct, listed(3, [(CODES[0], tns[0])], 3), NEXT, start=NOON + DAY) == 1


def test_numbers_that_were_held_and_never_shown_are_marked_too():
    conduct, tns, _ = after_a_pool(size=200, count=300)
    spare = [number("28", 700_000 + index) for index in range(400)]
    conduct.mark_held("s-1", [*tns, *spare])
    held(conduct, spare[:320], "s-2")
    assert conduct.finding(NEXT[1], NOON + DAY).state is State.POOLED


def test_they_count_on_as_they_are_registered_one_by_one():
    conduct, tns, _ = after_a_pool()
    first = None
    for index, tn in enumerate(tns, 1):
        held(conduct, [tn], "s-2")
        found = conduct.finding(NEXT[1], NOON + DAY)
        if found is not None and found.state is State.POOLED:
            first = index
            break
    assert 20 <= first <= 160


def test_what_is_given_back_links_nobody_any_more():
    conduct, tns, _ = after_a_pool()
    held(conduct, tns, "s-2")
    held(conduct, tns, "")
    conduct.expire(NOON + 3 * DAY)
    assert conduct.finding(NEXT[1], NOON + 3 * DAY) is None


def test_after_thirty_days_nothing_is_marked():
    conduct, tns, _ = after_a_pool()
    conduct.expire(NOON + 31 * DAY)
    assert not conduct.marked
    held(conduct, tns, "s-2", NOON + 31 * DAY)
    assert conduct.finding(NEXT[1], NOON + 31 * DAY) is None


def test_numbers_displayed_by_another_signer_are_known_again():
    conduct, _, made = after_a_pool(SIGNER, size=100, count=800)
    random = Random(11)
    pairs = [(display, somebody(random)) for display, _ in made]
    refused = feed(conduct, pairs, OTHER_SIGNER, start=NOON + DAY, talk=None)
    assert refused is not None
    assert refused <= 200


@pytest.mark.parametrize(("talk", "within"), [(PITCH, 60), (None, 100)])
@pytest.mark.parametrize("share", [1.0, 0.75])
def test_the_same_callees_are_refused_again(talk, within, share):
    conduct, _, made = after_a_pool()
    random = Random(12)
    fresh = numbers(Random("fresh"), 300)
    callees = [callee for _, callee in made]
    random.shuffle(callees)
    pairs = [
        (random.choice(fresh)[1], callee if random.random() < share else somebody(random))
        for callee in callees
    ]
    refused = feed(conduct, pairs, NEXT, start=NOON + DAY, talk=talk)
    assert refused is not None
    assert refused <= within


def test_marks_outlast_a_restart_and_reach_other_nodes():
    conduct, tns, _ = after_a_pool()
    saved = [one.content for one in conduct.take_marks()]
    again = Detector()
    assert again.restore([], saved) == 0
    held(again, tns, "s-2")
    assert again.finding(NEXT[1], NOON + DAY).state is State.POOLED

    here, there = Detector(fleet=True, boot=1), Detector(fleet=True, boot=2)
    pool = numbers(Random("held/1"), 300)
    feed(here, listed("calls/1", pool, 600), FOUND)
    here.take_marks()
    while (delta := here.take_delta()) is not None:
        there.merge("here", delta)
    held(there, tns, "s-2")
    assert there.finding(NEXT[1], NOON + DAY).state is State.POOLED


def test_a_mark_learned_from_another_node_is_saved_here_and_sent_on_by_nobody():
    here, there = Detector(fleet=True, boot=1), Detector(fleet=True, boot=2)
    feed(here, listed("calls/1", numbers(Random("held/1"), 300), 600), FOUND)
    names = {one.key for one in here.take_marks()}
    delta = here.take_delta()
    assert there.merge("here", delta)
    assert {one.key for one in there.take_marks() if one.content is not None} == names
    assert there.take_marks() == []
    linked = there.take_delta()
    assert linked is None or read_delta(linked, there._counting.hashing.fingerprint).linkage == []
    # one that was cleared long ago, and found anew elsewhere meanwhile: it is not taken from others
    [found] = [one for one in FOUND if f"mark {one}" in names][:1]
    there.cleared(found, NOON - 1)
    there._findings.outside.linkage.unmark(found)
    [gone] = there.take_marks()
    assert (gone.key, gone.content) == (f"mark {found}", None)
    there.restore([], [one.content for one in all_marks(here)])
    assert [one.key for one in there.take_marks() if one.content is not None] == [f"mark {found}"]


def all_marks(conduct):
    """All marks of a Detector, saved once more."""
    linkage = conduct._findings.outside.linkage
    linkage.changed.update(dict.fromkeys(linkage.marks, True))
    return conduct.take_marks()


def test_who_is_cleared_marks_nobody_and_is_marked_by_nothing_older():
    conduct, tns, _ = after_a_pool()
    held(conduct, tns, "s-2")
    assert conduct.finding(NEXT[1], NOON + DAY) is not None
    conduct.cleared(NEXT[1], NOON + DAY)
    conduct.expire(NOON + DAY + 60)
    assert conduct.finding(NEXT[1], NOON + DAY + 60) is None

    conduct, tns, _ = after_a_pool()
    held(conduct, tns, "s-2")
    for key in FOUND:
        conduct.cleared(key, NOON + DAY)
    assert not conduct.marked
    assert conduct.finding(NEXT[1], NOON + DAY) is None


def test_marks_are_bounded():
    conduct = Detector()
    linkage = conduct._findings.outside.linkage
    random = Random(3)
    for index in range(400):
        fresh = [random.getrandbits(32) for _ in range(3_000)]
        linkage.mark(Key(KeyKind.SUBJECT, f"s-{index}"), NOON + index, fresh, fresh)
    assert all(len(mark.numbers) <= 1_024 for mark in linkage.marks.values())
    assert sum(len(mark.numbers) for mark in linkage.marks.values()) <= 132_000
    assert sum(len(mark.callees) for mark in linkage.marks.values()) <= 132_000
    assert len(linkage.written(Key(KeyKind.SUBJECT, "s-399")).numbers) <= 4 * 1_024


def test_marks_of_the_same_numbers_and_callees_are_bounded_too():
    linkage = Detector()._findings.outside.linkage
    same = list(range(40))
    for index in range(17_000):
        linkage.mark(Key(KeyKind.SUBJECT, f"s-{index}"), NOON + index, same[index % 2 :: 2], same)
    assert len(linkage.marks) <= 16_384
    assert sum(len(mark.numbers) for mark in linkage.marks.values()) <= 160
    assert linkage.weight(0) == 1
    for key in list(linkage.marks):
        linkage.unmark(key)
    assert linkage.weight(0) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_mark_made_anew_lacks_no_callee_that_it_would_get_from_all_of_them(seed, monkeypatch):
    monkeypatch.setattr(zhenxian.analytics.linkage, "MAX_CALLEES", 60)
    random = Random(seed)
    keys = [Key(KeyKind.SUBJECT, f"s-{index}") for index in range(3)]
    latest = [LatestValues() for _ in keys]
    whole, new = Linkage(Policy().links), Linkage(Policy().links)
    for turn in range(400):
        index = random.randrange(len(keys))
        for _ in range(random.choice((0, 3, 40, 1_500))):
            latest[index].add(random.randrange(300))
        if random.random() < 0.05:
            whole.unmark(keys[index])
            new.unmark(keys[index])
        whole.mark(keys[index], NOON + turn, (), latest[index])
        new.mark(keys[index], NOON + turn, (), new.untaken(keys[index], latest[index]))
        assert [list(one.callees) for one in new.marks.values()] == [
            list(one.callees) for one in whole.marks.values()
        ]


def test_where_some_go_for_others_all_of_them_decide(monkeypatch):
    monkeypatch.setattr(zhenxian.analytics.linkage, "MAX_CALLEES", 60)
    latest, key = LatestValues(), Key(KeyKind.SUBJECT, "s")
    ring = len(latest.view)
    whole, new = Linkage(Policy().links), Linkage(Policy().links)
    for value in [0] * (ring - 60) + list(range(1, 61)):
        latest.add(value)
    for turn, value in enumerate((None, None, 100)):  # the last at the ring's beginning again
        if value is not None:
            latest.add(value)
        whole.mark(key, NOON + turn, (), latest)
        new.mark(key, NOON + turn, (), new.untaken(key, latest))
        assert list(new.marks[key].callees) == list(whole.marks[key].callees)
