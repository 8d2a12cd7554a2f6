"""Nodes among which keys are parted find what one node finds that sees all."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from msgspec.structs import replace
from parted import Parted, members
from streams import (
    ACCESS,
    ALONE,
    NOON,
    SIGNER,
    SPC,
    SUBJECT,
    calls,
    fed,
    number,
    numbers,
    pool,
    somebody,
)
from test_callbacks import HELD, driven
from test_exchange import traffic
from test_linkage import FOUND as FOUND_FIRST
from test_linkage import NEXT, PITCH, business, feed, listed, some
from test_resellers import let_through, straw_men

from zhenxian.analytics import Detector, Key, KeyKind, Observation, Policy, State
from zhenxian.analytics.evidence import TalkCounts
from zhenxian.analytics.heard import Heard
from zhenxian.analytics.shares import COPIES, Member, Shares
from zhenxian.analytics.thresholds import DAY

KEYS = (ACCESS, SUBJECT)
LATER = NOON + DAY  # a reseller was found after all calls


def shares(me, who, subjects=None):
    return Shares(me, who, Detector()._counting.hashing.text, {} if subjects is None else subjects)


# -- who counts what


@pytest.mark.parametrize("count", [3, 4, 10, 100])
def test_each_key_is_counted_by_two_and_each_node_counts_about_as_much(count):
    who = members(count)
    one = shares(who[0].name, who)
    keys = [Key(KeyKind.SIGNER, f"1001/{number}") for number in range(4_000)]
    loads = Counter(name for key in keys for name in one.owners(key))
    assert sum(loads.values()) == COPIES * len(keys)
    assert len(loads) == count
    assert max(loads.values()) < 2.5 * COPIES * len(keys) / count
    for other in (shares(name.name, list(reversed(who))) for name in who[:3]):
        assert all(other.owners(key) == one.owners(key) for key in keys[:200])


def test_when_a_node_leaves_the_second_of_each_key_stays():
    who = members(5)
    before, after = shares(who[0].name, who), shares(who[0].name, who[:-1])
    gone = who[-1].name
    for index in range(1_000):
        key = Key(KeyKind.SUBJECT, f"s-{index}")
        left = [name for name in before.owners(key) if name != gone]
        assert left == [name for name in after.owners(key) if name in before.owners(key)]
        assert set(left) <= set(after.owners(key))


def test_who_starts_anew_counts_the_same_keys_as_before():
    who = members(4)
    again = [*who[:-1], Member("n-3/2", who[-1].place)]
    for index in range(500):
        key = Key(KeyKind.SUBJECT, f"s-{index}")
        names = [name.replace("n-3/1", "n-3/2") for name in shares("n-0/1", who).owners(key)]
        assert names == list(shares("n-0/1", again).owners(key))


def test_both_who_count_a_key_are_of_different_machines():
    who = [Member(f"{m}/{slot}", f"{m}#{slot}") for m in ("a", "b", "c") for slot in range(3)]
    one = shares("a/0", who)
    for index in range(500):
        first, second = one.owners(Key(KeyKind.SUBJECT, f"s-{index}"))
        assert first[0] != second[0]
    alone = shares("a/0", who[:3])
    assert len(set(alone.owners(ACCESS))) == 2


def test_an_access_is_counted_with_its_subject():
    who = members(20)
    for index in range(100):
        keys = (Key(KeyKind.ACCESS, f"a-{index}"), Key(KeyKind.SUBJECT, f"s-{index % 7}"))
        one = shares(who[0].name, who)
        assert not one.places(keys[0])
        route = one.route(keys)
        assert one.places(keys[0])
        assert one.owners(keys[0]) == one.owners(keys[1])
        assert route.of(keys) in (keys, ())
        assert {mask for _, mask in route.others} == {3}


# -- the same is found


@pytest.mark.parametrize("count", [3, 5, 12])
@pytest.mark.parametrize("every", [1, 8])
def test_nodes_find_what_one_node_finds_that_sees_all(count, every):
    random = Random(f"fleet {count} {every}")
    stream = traffic(random)
    single, fleet = Detector(ALONE), Parted(count, ALONE, every=every)
    for observation in stream:
        single.observe(observation)
        fleet.observe(observation)
    fleet.rounds()
    at = stream[-1].at
    expected = {one.key for one in single.standing(at) if one.state is State.POOLED}
    names = {key.id.partition("-")[2].partition("-")[0] for key in expected}
    assert {"pool", "half", "spread", "card"} <= names
    for found in fleet.pooled(at):
        assert found.keys() == expected


@pytest.mark.parametrize("count", [4, 30])
def test_a_pool_is_found_within_the_calls_that_one_node_needs_and_refused_by_all(count):
    for seed in range(5):
        stream = list(calls((ACCESS, SUBJECT, SIGNER, SPC), pool(Random(seed), 150)))
        needed = fed(Detector(ALONE), stream)
        fleet = Parted(count, ALONE, every=4)
        found = {}
        for index, observation in enumerate(stream, 1):
            fleet.observe(observation)
            for key in observation.keys:
                if all(n.finding(key, observation.at) is not None for n in fleet.nodes.values()):
                    found.setdefault(key, index)
        for key in (ACCESS, SUBJECT, SIGNER):
            # one delivery until it is counted, another one until all know
            assert found[key] <= needed[key] + 3 * fleet.every, (key, found, needed)


@pytest.mark.parametrize("count", [4, 10])
def test_counts_are_those_of_one_node_and_two_have_them(count):
    stream = list(calls((*KEYS, SIGNER, SPC), pool(Random(3), 120)))
    single, fleet = Detector(ALONE), Parted(count, ALONE)
    for observation in stream:
        single.observe(observation)
        fleet.observe(observation)
    fleet.rounds()
    at = stream[-1].at
    for key in (*KEYS, SIGNER, SPC):
        whole = single.picture(key, at)
        assert len(fleet.owners(key)) == COPIES
        for node in fleet.nodes.values():
            assert node.picture(key, at).calls == (whole.calls if node.counts(key) else 0)
        assert sum(len(node) for node in fleet.nodes.values()) < 3 * COPIES + 1


def test_a_call_that_several_nodes_were_asked_about_counts_once():
    fleet = Parted(6, ALONE, every=1)
    stream = [
        replace(one, mark=mark)
        for mark, one in enumerate(calls((SIGNER, SPC), pool(Random(3), 90)))
    ]
    for turn, observation in enumerate(stream):
        for _ in range(1 + turn % 3):
            fleet.observe(observation)
    fleet.rounds()
    for key in (SIGNER, SPC):
        for node in fleet.owners(key):
            assert node.picture(key, NOON + 2_000).calls == 90


def test_evidence_of_talk_and_repeats_is_that_of_one_node():
    held = numbers(Random("held"), 300)
    made = listed("calls", held, 700)
    single, fleet = Detector(), Parted(5)
    needed, found = feed(single, made, FOUND_FIRST), feed(fleet, made, FOUND_FIRST)
    assert needed is not None
    assert found <= needed + 4 * fleet.every
    honest = Parted(5)
    assert feed(honest, some(business(5), 2_000), FOUND_FIRST, talk=(0.7, 80)) is None
    honest.rounds()
    assert honest.pooled(NOON + DAY) == [{}] * 5


def test_an_honest_business_is_left_alone_though_each_node_sees_a_part_of_its_calls():
    """Each call seen alone would be to somebody who was never called before."""
    fleet, alone = Parted(10), Detector()
    made = business(5)
    for day in range(4):
        for keeper in (fleet, alone):
            feed(keeper, some(made, 600), KEYS, start=NOON + day * DAY, talk=None)
    fleet.rounds()
    at = NOON + 3 * DAY + 6_000
    assert alone.standing(at) == []
    assert [node.standing(at) for node in fleet.nodes.values()] == [[]] * 10


def test_who_is_called_back_is_spoken_for_wherever_the_call_back_comes():
    fleet = Parted(6, every=4)
    conduct, states = driven(0.125, conduct=fleet)
    assert State.POOLED not in states
    fleet.rounds()
    for node in conduct.owners(ACCESS):
        figures = {}
        for one in node.picture(ACCESS, NOON + 3 * DAY).measures:
            figures |= one.figures
        assert figures["callees who called back"] > 0
    _, states = driven(0.03, conduct=Parted(6, every=4))
    assert State.POOLED in states


def test_who_comes_back_is_found_wherever_its_keys_are_counted():
    fleet = Parted(6)
    held = numbers(Random("held/1"), 300)
    first = listed("calls/1", held, 600)
    assert feed(fleet, first, FOUND_FIRST) is not None
    fleet.rounds()
    assert all(node.marked for node in fleet.nodes.values())
    # those whom it called last, too, are everywhere known as its callees
    last = first[-1][1]
    own = next(iter(fleet.nodes.values()))._counting.hashing.number_once(last)[0]
    for node in fleet.nodes.values():
        assert own in node._findings.outside.linkage._callees
    fleet.held([(tn, "s-2") for _, tn in held], NOON + DAY)
    fleet.rounds()
    for node in fleet.nodes.values():
        assert node.finding(NEXT[1], NOON + DAY).state is State.POOLED


def test_a_well_known_business_is_labelled_at_most_also_by_nodes_that_never_saw_it():
    fleet = Parted(8)
    feed(fleet, some(business(5), 600), NEXT, talk=(0.7, 80))
    held = numbers(Random("held/1"), 300)
    assert feed(fleet, listed("calls/1", held, 600), FOUND_FIRST, start=NOON + 7_000) is not None
    fleet.rounds()
    at = NOON + 7_000 + 6_000
    fleet.held([(tn, "s-2") for _, tn in held], at)
    fleet.expire(at)
    fleet.rounds()
    for node in fleet.nodes.values():
        found = node.finding(NEXT[1], at)
        assert found is None or not found.lowers


def test_what_is_cleared_is_cleared_everywhere():
    fleet = Parted(5, ALONE)
    fed(fleet, calls(KEYS, pool(Random(7), 100)))
    fleet.rounds()
    assert all(found for found in fleet.pooled(NOON + 2_000))
    for key in KEYS:
        fleet.any().clear(key)
    fleet.rounds()
    assert fleet.pooled(NOON + 2_000) == [{}] * 5
    fed(fleet, calls(KEYS, pool(Random(8), 100), start=NOON + 3_000))
    fleet.rounds()
    assert all(found for found in fleet.pooled(NOON + 5_000))


def test_calls_that_another_node_let_through_count_under_the_cap():
    fleet = Parted(5, Policy(cap=5), every=1)
    nodes = list(fleet.nodes.values())
    assert all(node.admits(ACCESS, NOON) for node in nodes)
    for index in range(3):
        nodes[0].observe(
            Observation(at=NOON, keys=KEYS, display=number("755", 1), callee=number("28", index))
        )
    fleet.rounds()
    for node in nodes[1:]:
        assert node.admits(ACCESS, NOON + 1)
        assert not node.admits(ACCESS, NOON + 1)
        assert node.admits(ACCESS, NOON + 60)


def test_a_signer_that_is_known_is_known_to_all_and_a_straw_man_too():
    fleet = Parted(6)
    feed(fleet, some(business(5), 600), (SIGNER, SPC), talk=(0.7, 80))
    fleet.rounds()
    at = NOON + 6_000
    assert all(node.known(SIGNER, at) for node in fleet.nodes.values())
    assert not any(node.known(SIGNER, at + DAY * 3) for node in fleet.nodes.values())
    reseller = Key(KeyKind.RESELLER, "r-1")
    # short of what refuses it by itself
    held = numbers(Random("held/1"), 300)
    feed(fleet, listed("calls/1", held, 60), (*FOUND_FIRST, reseller))
    fleet.rounds()
    owner = fleet.owners(FOUND_FIRST[0])[0]
    assert (
        {node.resembles(FOUND_FIRST[0], LATER) for node in fleet.nodes.values()}
        == {owner.resembles(FOUND_FIRST[0], LATER)}
        == {True}
    )


def test_complaints_count_where_the_caller_is_counted():
    fleet = Parted(5)
    driven(0.0, calls=200, days=1, conduct=fleet)
    fleet.rounds()
    seen = Random("calls")
    for _ in range(200):
        code, display = seen.choice(HELD)
        callee = somebody(seen, code)
        seen.random()
    told = [node.complained(display, callee, NOON + 10, "s") for node in fleet.nodes.values()]
    assert sorted(told)[-COPIES:] == [1, 1]
    assert sum(told) == COPIES


# -- members that come and go


def test_a_node_dies_and_counting_goes_on_where_it_was():
    fleet = Parted(5, ALONE, every=1)
    stream = list(calls(KEYS, pool(Random(9), 120)))
    for observation in stream[:20]:
        fleet.observe(observation)
    fleet.rounds()
    dead = fleet.owners(ACCESS)[0]
    name = next(name for name, node in fleet.nodes.items() if node is dead)
    del fleet.nodes[name]
    for observation in stream[20:30]:  # sent to it in vain
        fleet.observe(observation)
    fleet.members = [one for one in fleet.members if one.name != name]
    fleet.part()
    for observation in stream[30:]:
        fleet.observe(observation)
    fleet.rounds()
    at = stream[-1].at
    counts = sorted(node.picture(ACCESS, at).calls for node in fleet.owners(ACCESS))
    assert len(counts) == COPIES
    assert counts[1] >= 120 - 2  # but for calls that the dead one had seen and not told yet
    assert all(ACCESS in found for found in fleet.pooled(at))


def test_a_node_that_joins_counts_its_share_from_then_on():
    fleet = Parted(3, ALONE, every=1)
    stream = list(calls(KEYS, pool(Random(9), 160)))
    for observation in stream[:30]:
        fleet.observe(observation)
    fleet.rounds()
    for index in range(3, 9):
        fleet.members = members(index + 1)
        fleet.nodes[f"n-{index}/1"] = Detector(ALONE, fleet=True, boot=index)
        fleet.part()
    for observation in stream[30:]:
        fleet.observe(observation)
    fleet.rounds()
    at = stream[-1].at
    assert len(fleet.owners(ACCESS)) >= COPIES
    assert all(ACCESS in found for found in fleet.pooled(at))


def test_a_node_that_reaches_nobody_counts_its_own_calls_and_tells_them_after():
    fleet = Parted(6, ALONE, every=1 << 30)
    stream = list(calls(KEYS, pool(Random(9), 300)))
    for observation in stream[:12]:
        fleet.observe(observation)
    for node in fleet.nodes.values():  # Redis is away
        node.cut_off()
        while node.count_late(2):
            pass
    for observation in stream[12:]:
        fleet.observe(observation)
    at = stream[-1].at
    assert sum(node.picture(ACCESS, at).calls for node in fleet.nodes.values()) == 300
    assert all(node.picture(ACCESS, at).calls > 20 for node in fleet.nodes.values())
    fleet.part()
    fleet.rounds()
    for node in fleet.nodes.values():
        assert node.picture(ACCESS, at).calls == (300 if node.counts(ACCESS) else 0)
        assert node.lost == 0
    assert len(fleet.owners(ACCESS)) == COPIES


def test_calls_for_keys_that_came_here_before_they_were_sent_are_counted():
    """Seen while others counted them, sent when this node does."""
    fleet = Parted(6, ALONE, every=1 << 30)
    stream = list(calls(KEYS, pool(Random(9), 60)))
    for observation in stream:
        fleet.observe(observation)
    fleet.members = members(4)
    for index in (4, 5):
        node = fleet.nodes[f"n-{index}/1"]
        node.among(f"n-{index}/1", fleet.members, mixed=False)
    fleet.part()
    fleet.rounds()
    at = stream[-1].at
    counting = [node for node in fleet.nodes.values() if node.picture(ACCESS, at).calls == 60]
    assert len(counting) >= COPIES


def test_nodes_of_the_release_before_learn_of_all_calls_and_theirs_are_counted_once():
    fleet = Parted(4, ALONE, every=1 << 30)
    fleet.part(mixed=True)
    before = Detector(ALONE, fleet=True, boot=77)
    stream = list(calls(KEYS, pool(Random(9), 60)))
    for turn, observation in enumerate(stream):
        (before if turn % 5 == 0 else fleet).observe(observation)
    for name, node in fleet.nodes.items():
        assert not node.sort()
        for delta in iter(node.take_delta, None):
            assert before.merge(name, delta)
            for other in fleet.nodes.values():
                if other is not node:
                    assert other.merge(name, delta)
    for delta in iter(before.take_delta, None):
        for node in fleet.nodes.values():
            assert node.merge("old", delta)
    at = stream[-1].at
    assert before.picture(ACCESS, at).calls == 60
    assert sorted(node.picture(ACCESS, at).calls for node in fleet.nodes.values()) == [0, 0, 60, 60]


# -- keys with more calls than tell anything


def test_a_key_with_very_many_calls_is_counted_by_some_of_its_displays():
    fleet = Parted(4, every=1 << 30)
    random = Random(4)
    displays = [number("755", index) for index in range(400)]
    made = 0
    for _ in range(6):
        for display in displays:
            for _ in range(3):
                fleet.observe(
                    Observation(
                        at=NOON + made // 1_000,
                        keys=(SIGNER, SPC),
                        display=display,
                        callee=number("28", random.randrange(100_000)),
                        origid="o-1",
                    )
                )
                made += 1
        fleet.exchange(0.1)  # 12,000 calls a second
    owner = fleet.owners(SIGNER)[0]
    level = owner._exchange._thinning.here[SIGNER]
    assert level >= 1
    picture = owner.picture(SIGNER, NOON)
    before = picture.calls
    assert 0 < picture.counted <= 1 / (1 << level)
    counts = owner._counting.table.get(SIGNER)
    ever = set(counts.displays_known)
    assert ever
    made = [Observation(at=NOON + 20, keys=(SIGNER, SPC), display=one, callee=displays[0],
                        origid="o-1") for one in displays]  # fmt: skip
    for one in made:
        fleet.observe(one)
    fleet.exchange(0.1)
    kept = [
        one for one in displays
        if not owner._counting.hashing.number(one)[0] & ((1 << level) - 1)
    ]  # fmt: skip
    assert 0 < len(kept) < 300
    assert owner.picture(SIGNER, NOON + 20).calls - before == pytest.approx(len(kept), abs=40)
    for _ in range(60):  # quiet again
        fleet.exchange(0.5)
    assert all(node._exchange._thinning.here == {} for node in fleet.nodes.values())
    assert all(node._exchange._thinning.there == {} for node in fleet.nodes.values())
    # of what was counted until then it is still said
    assert owner.picture(SIGNER, NOON + 20).counted == picture.counted
    (kept,) = [one.content for one in owner.take_touched(10) if one.key == str(SIGNER)]
    again = Detector()
    again.restore([kept], [])
    assert again.picture(SIGNER, NOON + 20).counted == picture.counted
    assert again.picture(SPC, NOON + 20).counted == 1


def test_ends_of_calls_come_to_who_counts_the_key():
    fleet = Parted(8, every=1 << 30)
    for observation in calls(KEYS, pool(Random(17), 3)):
        fleet.observe(observation)
    fleet.rounds()
    for _ in range(5):
        for key in KEYS:
            fleet.ended(key, NOON + 100, None, KEYS)
        fleet.ended(ACCESS, NOON + 100)  # whose it is nobody told that node
    fleet.rounds()
    for node in fleet.owners(ACCESS):
        assert node._counting.table.get(ACCESS).now.ended == 10


def test_an_access_and_its_subject_stay_one_where_their_keys_are_read_anew_each_time():
    fleet = Parted(3, ALONE, every=1 << 30)
    fleet.part(mixed=True)
    before = Detector(ALONE, fleet=True)
    for observation in calls((*KEYS, SIGNER, SPC), pool(Random(9), 20)):
        before.observe(observation)
    for observation in calls((*KEYS, SIGNER, SPC), pool(Random(9), 20), start=NOON + 500):
        before.observe(observation)
        (delta,) = iter(before.take_delta, None)
        for node in fleet.nodes.values():
            assert node.merge("old", delta)
    for node in fleet.owners(ACCESS):
        assert node._counting.table.get(SUBJECT) is node._counting.table.get(ACCESS)
        assert node.picture(SUBJECT, NOON + 2_000).calls == 40


def test_what_is_counted_while_cut_off_of_others_keys_is_not_saved_over_theirs():
    fleet = Parted(4, ALONE, every=1 << 30)
    for observation in calls((*KEYS, SIGNER, SPC), pool(Random(9), 40)):
        fleet.observe(observation)
    fleet.rounds()
    owned = {
        name: {str(key) for key in (*KEYS, SIGNER, SPC) if node.counts(key)}
        for name, node in fleet.nodes.items()
    }

    def saved():
        for name, node in fleet.nodes.items():
            names = {one.key for one in node.take_touched(100)}
            assert names <= owned[name]
            yield names

    assert any(saved())
    for node in fleet.nodes.values():
        node.cut_off()
        node.count_late()
    for observation in calls((*KEYS, SIGNER, SPC), pool(Random(9), 40), start=NOON + 900):
        fleet.observe(observation)
    assert any(saved())
    fleet.part()
    fleet.rounds()
    assert any(saved())


# -- what a node still believes of keys that it does not count


def resold(fleet):
    """An access that resembles what its reseller was found for; known to all nodes."""
    reseller = Key(KeyKind.RESELLER, "r-1")
    held = numbers(Random("held/1"), 300)
    feed(fleet, listed("calls/1", held, 60), (*FOUND_FIRST, reseller))
    fleet.rounds()
    key = FOUND_FIRST[0]
    assert all(node.resembles(key, LATER) for node in fleet.nodes.values())
    return key


def moved(name, node, key):
    """Others live, who count the key."""
    for place in range(100):
        others = [Member(f"m-{index}/1", f"m-{index}#0") for index in range(4)]
        node.among(name, [Member(name, f"place-{place}"), *others], mixed=False)
        if not node.counts(key):
            return
    raise AssertionError("it counts the key wherever it is")


def test_who_resembles_nobody_any_more_does_so_nowhere_though_nodes_came_meanwhile():
    fleet = Parted(4)
    key = resold(fleet)
    fleet.members = members(5)
    fleet.nodes["n-4/1"] = Detector(fleet=True, boot=4)
    fleet.part()
    owners = fleet.owners(key)
    for node in owners:
        counts = node._counting.table.get(key)
        if counts is not None:
            counts.talk = TalkCounts(told=40, timed=40, answer_score=-5.0, long_score=-5.0)
            node._counting._tell(key, counts)
    fleet.rounds()
    assert not any(node.resembles(key, LATER) for node in fleet.nodes.values())


@pytest.mark.parametrize(("score", "against"), [(1.0, False), (5.0, True)])
def test_who_came_after_its_reseller_was_found_is_held_to_its_own_calls(score, against):
    fleet = Parted(4)
    key = resold(fleet)
    for node in fleet.owners(key):
        counts = node._counting.table.get(key)
        counts.contacts = None
        counts.talk = TalkCounts(told=60, timed=60, answer_score=score, long_score=score)
        node._counting._tell(key, counts)
    fleet.rounds()
    assert {node.resembles(key, NOON) for node in fleet.nodes.values()} == {against}
    assert all(node.resembles(key, LATER) for node in fleet.nodes.values())


def another_dies(fleet):
    del fleet.nodes["n-1/1"]
    fleet.members = [one for one in fleet.members if one.name != "n-1/1"]


def others_come(fleet):
    fleet.members = members(6)
    standing = fleet.nodes["n-0/1"].standing(NOON + 8_000)
    for boot in (4, 5):
        node = fleet.nodes[f"n-{boot}/1"] = Detector(fleet=True, boot=boot)
        for found in standing:
            node._findings.adopt(found)


@pytest.mark.parametrize("change", [another_dies, others_come])
def test_straw_men_who_called_before_are_held_by_nodes_that_count_them_since(change):
    fleet = Parted(4)
    calls = list(straw_men(1, 1_700))
    let_through(fleet, calls[:800], PITCH)
    fleet.rounds()
    change(fleet)
    fleet.part()
    fleet.rounds()
    let_through(fleet, calls[800:1_400], PITCH, "meanwhile", first=800)
    assert let_through(fleet, calls[1_400:], PITCH, "later", first=1_400) < 0.1


def test_who_was_cleared_is_held_to_its_calls_after_that():
    node = Detector()
    let_through(node, straw_men(1, 800), PITCH)
    key, since = Key(KeyKind.SUBJECT, "s-1"), NOON + 1_400
    assert node.resembles(key, since)
    node.cleared(key, NOON + 8_000)
    assert not node.resembles(key, since)


def test_what_was_told_of_a_key_long_ago_is_forgotten():
    fleet = Parted(4)
    key = resold(fleet)
    fleet.expire(NOON + 2 * DAY)
    others = [node for node in fleet.nodes.values() if not node.counts(key)]
    assert others
    assert not any(node.resembles(key, LATER) for node in others)


def test_what_a_node_counted_before_others_did_says_nothing_after_an_hour():
    fleet = Parted(4)
    key = resold(fleet)
    name, node = next(one for one in fleet.nodes.items() if one[1].counts(key))
    last = node.picture(key, NOON + 3_000).last
    moved(name, node, key)
    node._counting.heard = Heard()  # nobody told anything yet
    node.expire(last + 60)
    assert node.resembles(key, LATER)
    node.expire(last + 3_600)
    assert not node.resembles(key, LATER)


def test_a_complaint_judges_no_caller_that_others_count_now():
    fleet = Parted(4)
    driven(0.0, calls=200, days=1, conduct=fleet)
    fleet.rounds()
    name, node = next(one for one in fleet.nodes.items() if one[1].counts(ACCESS))
    judged = []
    node._counting._judge = lambda key, counts: judged.append(key)
    seen = Random("calls")
    for _ in range(200):
        code, display = seen.choice(HELD)
        callee = somebody(seen, code)
        seen.random()
    moved(name, node, ACCESS)
    assert node.complained(display, callee, NOON + 10, "s") == 1
    assert judged == []


def test_a_part_of_the_calls_is_forgotten_though_few_nodes_are_back_at_first():
    fleet = Parted(6, ALONE, every=1 << 30)
    for node in fleet.nodes.values():
        node.cut_off()
    for observation in calls(KEYS, pool(Random(9), 120)):
        fleet.observe(observation)
    whole = fleet.members
    for name, node in fleet.nodes.items():  # Redis forgot who there is
        node.among(name, [one for one in whole if one.name == name], mixed=False)
    fleet.part()
    fleet.rounds()
    for node in fleet.nodes.values():
        assert node.picture(ACCESS, NOON + 2_400).calls == (120 if node.counts(ACCESS) else 0)


# -- nodes and accesses without number


def test_machines_of_one_name_share_the_keys_all_the_same():
    who = [Member(f"app/{number}", "app#0") for number in range(5)]
    one = shares(who[0].name, who)
    loads = Counter(
        name for index in range(2_000) for name in one.owners(Key(KeyKind.SUBJECT, f"s-{index}"))
    )
    assert len(loads) == 5
    assert max(loads.values()) < 2 * min(loads.values())


def test_counts_of_more_accesses_than_are_placed_are_saved_all_the_same(monkeypatch):
    monkeypatch.setattr("zhenxian.analytics.shares._CACHED", 16)
    fleet = Parted(3, ALONE, every=1 << 30)
    made = {}
    for index in range(60):
        subject = Key(KeyKind.SUBJECT, f"s-{index % 20}")
        access = Key(KeyKind.ACCESS, f"a-{index}")
        made[access] = subject
        for observation in calls((access, subject), pool(Random(index), 3)):
            fleet.observe(observation)
    fleet.rounds()
    for node in fleet.nodes.values():
        counted = {str(key) for key in node._counting.table.by_key}
        assert counted <= {one.key for one in node.take_touched(1_000)}
        assert len(node._exchange._subjects) <= 16


def test_an_access_with_another_subject_is_counted_with_that():
    fleet = Parted(3, ALONE, every=1 << 30)
    first, *others = fleet.nodes.values()
    for subject in (Key(KeyKind.SUBJECT, f"s-{index}") for index in range(6)):
        for observation in calls((ACCESS, subject), pool(Random(3), 20)):
            first.observe(observation)
        fleet.rounds()
        for node in others:
            if node.counts(subject):
                assert node._exchange._shares.owners(ACCESS) == node._exchange._shares.owners(
                    subject
                )


def test_an_access_is_placed_after_a_restart_before_it_calls():
    fleet = Parted(3, ALONE)
    for observation in calls(KEYS, pool(Random(3), 20)):
        fleet.observe(observation)
    fleet.rounds()
    name, node = next(one for one in fleet.nodes.items() if one[1].counts(ACCESS))
    again = Detector(ALONE, fleet=True)
    again.restore([one.content for one in node.take_touched(10)], [])
    again.among(name, fleet.members, mixed=False)
    assert again.answers(ACCESS)
    assert again.answers(SUBJECT)
