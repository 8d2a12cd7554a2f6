"""States, decay, clocks, memory, restart and the sum over a fleet."""

import subprocess
import sys
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    people,
    pool,
    somebody,
)

from zhenxian.analytics import (
    ConductFormatError,
    Detector,
    Key,
    KeyKind,
    Measure,
    Observation,
    Policy,
    State,
)
from zhenxian.analytics import findings as judging
from zhenxian.analytics.counts import MAX_OCTETS, MAX_SAMPLES
from zhenxian.analytics.recent import RecentSet
from zhenxian.analytics.thresholds import DAY, HOUR, Locality
from zhenxian.core.errors import ConfigError

HALF = DAY // 2
ON_CALLS = set(Measure) - {Measure.ORIGIDS, Measure.LINKAGE, Measure.COMPLAINTS}


def pooled(seed=1, **more):
    conduct = Detector(**{"policy": ALONE, **more})
    fed(conduct, calls((ACCESS, SUBJECT), pool(Random(seed), 100)))
    assert conduct.finding(ACCESS, NOON + 2_000).state is State.POOLED
    return conduct


# -- states


def test_suspected_before_pooled_and_never_back_and_forth():
    conduct, states = Detector(ALONE), []
    for observation in calls(ACCESS, pool(Random(2), 200, local=0.5)):
        conduct.observe(observation)
        found = conduct.finding(ACCESS, observation.at)
        states.append(State.WATCHING if found is None else found.state)
    changes = [after for before, after in pairwise(states) if before != after]
    assert changes == [State.SUSPECTED, State.POOLED]


def test_caller_that_stops_is_cleared_in_the_stated_time():
    conduct = pooled()
    until = conduct.finding(ACCESS, NOON + 2_000).until
    assert NOON + DAY < until <= NOON + 2_000 + DAY
    assert conduct.finding(ACCESS, until - 1) is not None
    assert conduct.finding(ACCESS, until) is None


def test_caller_that_mends_its_ways_is_cleared_and_one_that_does_not_is_not():
    random = Random(3)
    mended, unmended = pooled(), pooled()
    later = NOON + 2_000
    honest = ((number("28", 1), somebody(random, "28")) for _ in range(300))
    fed(mended, calls(ACCESS, honest, start=later, every=600))
    fed(unmended, calls(ACCESS, pool(Random(31), 300), start=later, every=600))
    at = later + 300 * 600
    assert mended.finding(ACCESS, at) is None
    assert unmended.finding(ACCESS, at).state is State.POOLED
    assert unmended.finding(ACCESS, at).since < later


def test_found_again_after_it_was_cleared():
    conduct = pooled()
    later = NOON + 3 * DAY
    assert conduct.finding(ACCESS, later) is None
    fed(conduct, calls(ACCESS, pool(Random(4), 100), start=later))
    assert conduct.finding(ACCESS, later + 2_000).since >= later


def test_an_access_and_its_subject_are_judged_by_measures_taken_once(monkeypatch):
    taken = []
    assess = judging.assess

    def counted(counts, *others):
        taken.append(counts)
        return assess(counts, *others)

    monkeypatch.setattr(judging, "assess", counted)
    alone, both = Detector(ALONE), Detector(ALONE)
    fed(alone, calls((ACCESS,), pool(Random(1), 100)))
    of_one = len(taken)
    fed(both, calls((ACCESS, SUBJECT), pool(Random(1), 100)))
    assert 0 < of_one == len(taken) - of_one
    at = NOON + 2_000
    found = msgspec.structs.replace(both.finding(SUBJECT, at), key=ACCESS, case="")
    assert found == msgspec.structs.replace(both.finding(ACCESS, at), case="")
    assert found == msgspec.structs.replace(alone.finding(ACCESS, at), case="")


def test_measures_are_taken_anew_for_whose_finding_is_over():
    conduct = pooled()
    counts = conduct._counting.table.get(ACCESS)
    findings = conduct._findings
    own = findings.judge(ACCESS, counts, NOON + 2_000)
    assert findings.judge(SUBJECT, counts, NOON + 2_000, own) is own
    over = conduct.finding(SUBJECT, NOON + 2_000).until
    assert findings.judge(SUBJECT, counts, over, own) is not own
    assert counts.score == 0.0


def test_clear_forgets():
    conduct = pooled()
    conduct.clear(ACCESS)
    assert conduct.finding(ACCESS, NOON + 2_000) is None
    assert conduct.picture(ACCESS, NOON + 2_000).calls == 0
    assert conduct.finding(SUBJECT, NOON + 2_000) is not None


def test_picture_of_the_unknown_and_of_the_innocent():
    conduct = Detector(ALONE)
    assert conduct.picture(ACCESS, NOON).measures == ()
    random = Random(5)
    fed(conduct, calls((ACCESS, SPC), ((number("28", 1), somebody(random)) for _ in range(40))))
    picture = conduct.picture(ACCESS, NOON + 800)
    assert (picture.calls, picture.state, picture.finding) == (40, State.WATCHING, None)
    assert (picture.first, picture.last) == (NOON, NOON + 39 * 20)
    assert {one.measure for one in picture.measures} == ON_CALLS
    assert Measure.BINDINGS in {one.measure for one in picture.measures}
    assert all(one.strength < 0.7 for one in picture.measures)
    figures = {one.measure: one.figures for one in picture.measures}
    assert figures[Measure.SPREAD]["displays"] == 1
    carrier = conduct.picture(SPC, NOON + 800)
    assert [one.measure for one in carrier.measures] == [Measure.ORIGIDS]
    assert conduct.picture(ACCESS, NOON + 3 * DAY).calls == 0
    msgspec.json.encode(picture)


def test_callee_that_is_no_number():
    conduct = Detector(ALONE)
    for index in range(50):
        conduct.observe(
            Observation(
                at=NOON + index, keys=(ACCESS, SPC), display=number("28", index), callee=None
            )
        )
    assert conduct.picture(ACCESS, NOON + 50).calls == 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"locality": Locality(false_alarm=0.0)},
        {"locality": Locality(honest_lift=0.5, pool_lift=0.4)},
        {"keep": 0.9},
        {"window": 60},
        {"max_keys": 1},
    ],
)
def test_policy_without_sense_is_refused(wrong):
    with pytest.raises(ConfigError):
        Policy(structure_alone=True, **wrong)


# -- clocks


@pytest.mark.parametrize("step", [-60, -HOUR, -HALF, -10 * DAY, 60, HOUR])
def test_clock_step_clears_nobody_and_accuses_nobody(step):
    conduct = pooled()
    at = NOON + 2_000 + step
    random = Random(6)
    shop = Key(KeyKind.ACCESS, "shop")
    fed(conduct, calls(shop, ((number("28", 1), somebody(random)) for _ in range(200)), every=60))
    fed(conduct, calls((ACCESS, shop), pool(Random(6), 4), start=at))
    assert conduct.finding(ACCESS, at + 100).state is State.POOLED
    assert conduct.finding(shop, at + 100) is None


def test_clock_that_leaps_ahead_and_back_has_cleared_nobody_for_good():
    conduct = pooled()
    assert conduct.finding(ACCESS, NOON + 40 * DAY) is None
    strangers = [Key(KeyKind.ACCESS, f"x-{index}") for index in range(50)]
    for key in strangers:
        fed(conduct, calls(key, [(number("28", 1), number("28", 2))], start=NOON + DAY + HOUR))
    assert conduct.finding(ACCESS, NOON + 3_000).state is State.POOLED


@pytest.mark.parametrize("wrong", [-DAY, -2 * DAY])
def test_one_node_with_a_wrong_clock_does_not_make_the_others_forget(wrong):
    conduct, random = Detector(ALONE), Random(19)
    for turn, observation in enumerate(calls(ACCESS, pool(random, 80, local=0.7))):
        conduct.observe(observation)
        if turn % 4 == 0:
            fed(conduct, calls(ACCESS, pool(random, 1, local=0.7), start=observation.at + wrong))
    assert conduct.finding(ACCESS, NOON + 1_600).state is State.POOLED


def test_clock_far_ahead_does_not_keep_a_key_accused_for_ever():
    conduct = Detector(ALONE)
    fed(conduct, calls(ACCESS, pool(Random(7), 100), start=NOON + 1_000 * DAY))
    random = Random(7)
    honest = ((number("28", 1), somebody(random, "28")) for _ in range(300))
    fed(conduct, calls(ACCESS, honest, every=HOUR))
    assert conduct.finding(ACCESS, NOON + 300 * HOUR) is None


def test_pool_is_found_over_the_turn_of_a_window():
    start = NOON // HALF * HALF + HALF - 300
    assert fed(Detector(ALONE), calls(ACCESS, pool(Random(8), 100), start=start, every=20))


# -- memory


def size(value, seen):
    """Octets of a value and all that it alone holds."""
    if id(value) in seen or isinstance(value, type):
        return 0
    seen.add(id(value))
    total = sys.getsizeof(value)
    if isinstance(value, dict):
        total += sum(size(k, seen) + size(v, seen) for k, v in value.items())
    elif isinstance(value, (list, tuple, set)):
        total += sum(size(one, seen) for one in value)
    elif hasattr(value, "__slots__") and not isinstance(value, (str, int, bytearray)):
        total += sum(size(getattr(value, name), seen) for name in value.__slots__)
    elif hasattr(value, "__struct_fields__"):
        total += sum(size(getattr(value, name), seen) for name in value.__struct_fields__)
    return total


def test_an_spc_that_is_counted_as_one_signer_stays_below_the_limit():
    conduct = Detector(ALONE)
    random = Random(9)
    for turn in range(60_000):
        pair = (number(random.choice(CODES), turn % 2_000), somebody(random))
        conduct.observe(next(calls(SPC, [pair], start=NOON + 2 * turn, origid=f"o-{turn}")))
        conduct.ended(SPC, NOON + 2 * turn, conduct.met(*pair, answered=True))
    counts = conduct._counting.table.by_key[SPC]
    assert counts.as_one_signer.old is not None
    assert counts.as_one_signer.areas is not None
    assert size(counts, set()) <= MAX_OCTETS


@pytest.mark.parametrize("key", [ACCESS, SIGNER, SPC])
def test_a_key_stays_below_its_limit_whatever_it_does(key):
    conduct = Detector(ALONE)
    random = Random(9)
    for turn in range(60_000):
        pair = (number(random.choice(CODES), turn), somebody(random))
        (one,) = calls(key, [pair], start=NOON + 2 * turn, origid=f"o-{turn}")
        conduct.observe(one)
        conduct.ended(key, one.at, conduct.met(*pair, answered=True))
    counts = conduct._counting.table.by_key[key]
    assert counts.old is not None
    assert size(counts, set()) <= MAX_OCTETS
    assert len(counts.samples) <= MAX_SAMPLES


def test_most_keys_are_small():
    conduct = Detector(ALONE)
    random = Random(10)
    fed(conduct, calls(ACCESS, ((number("28", 1), somebody(random)) for _ in range(7))))
    assert size(conduct._counting.table.by_key[ACCESS], set()) < 2_500


def test_flood_of_new_keys_evicts_neither_the_established_nor_the_pooled():
    conduct = pooled(policy=Policy(structure_alone=True, max_keys=64))
    random = Random(11)
    shop = Key(KeyKind.ACCESS, "shop")
    fed(conduct, calls(shop, ((number("28", 1), somebody(random)) for _ in range(30))))
    for index in range(5_000):
        # As many calls as it takes to count as established.
        flood = Key(KeyKind.ACCESS, f"flood-{index}")
        pairs = [(number("28", index), somebody(random)) for _ in range(1 + index % 10)]
        fed(conduct, calls(flood, pairs, start=NOON + 2_000, every=1))
        assert len(conduct) <= 64
    at = NOON + 3_000
    assert conduct.picture(shop, at).calls == 30
    assert conduct.finding(ACCESS, at).state is State.POOLED
    assert conduct.picture(ACCESS, at).calls == 100


def test_a_platform_is_not_evicted_by_those_who_call_behind_its_numbers():
    conduct = Detector(Policy(structure_alone=True, max_keys=64))
    random = Random(12)
    fed(conduct, lent((ACCESS, SUBJECT), (
        (number("28", index), number("10", 1), somebody(random)) for index in range(2_000)
    )))  # fmt: skip
    assert len(conduct) <= 64
    at = NOON + 2_000 * 20
    assert conduct.picture(ACCESS, at).calls == conduct.picture(SUBJECT, at).calls == 2_000


def test_findings_are_bounded_and_suspected_ones_go_first():
    conduct = Detector(Policy(structure_alone=True, max_keys=16))
    finding = pooled().finding(ACCESS, NOON + 2_000)
    for index in range(40):
        state = State.POOLED if index < 10 else State.SUSPECTED
        key = Key(KeyKind.ACCESS, f"k-{index}")
        conduct._findings._set(msgspec.structs.replace(finding, key=key, state=state))
    assert len(conduct._findings) == 16
    for index in range(10):
        assert conduct.finding(Key(KeyKind.ACCESS, f"k-{index}"), NOON + 2_000) is not None


def test_silent_keys_are_forgotten():
    conduct = Detector(ALONE)
    for index in range(100):
        pair = (number("28", index), number("28", 0))
        fed(conduct, calls(Key(KeyKind.ACCESS, f"old-{index}"), [pair] * (1 + index % 20)))
    for index in range(300):
        pair = (number("28", index), number("28", 0))
        fed(conduct, calls(Key(KeyKind.ACCESS, f"new-{index}"), [pair], start=NOON + 2 * DAY))
    assert len(conduct) == 300


# -- restart


BOTH = ["access:a-1", "subject:s-1"]


def kept(conduct):
    """What a file would hold of it: the latest content of each key."""
    counts = {one.key: one.content for one in conduct.take_touched(1 << 30)}
    findings = {one.key: one.content for one in conduct.take_findings()}
    return [c for c in counts.values() if c], [c for c in findings.values() if c]


def test_restart_goes_on_as_if_nothing_had_been():
    whole, before = Detector(ALONE), Detector(ALONE)
    stream = list(calls((ACCESS, SIGNER, SPC), pool(Random(12), 1_000, local=0.5), every=20))
    fed(whole, stream)
    fed(before, stream[:500])
    after = Detector(ALONE)
    assert after.restore(*kept(before)) == 0
    fed(after, stream[500:])
    at = stream[-1].at
    for key in (ACCESS, SIGNER, SPC):
        assert after.picture(key, at) == whole.picture(key, at)


@pytest.mark.parametrize("salt", [0, 5])
def test_restart_never_unflags(salt):
    before = pooled()
    _, findings = kept(before)
    after = Detector(Policy(structure_alone=True, salt=salt))
    after.restore([], findings)
    assert after.finding(ACCESS, NOON + 2_000) == before.finding(ACCESS, NOON + 2_000)


def test_counts_of_another_salt_are_left():
    counts, _ = kept(pooled())
    assert Detector(Policy(structure_alone=True, salt=5)).restore(counts, []) == len(counts) > 0


def test_restore_keeps_what_is_worse():
    after = pooled()
    after.restore(*kept(Detector(ALONE)))
    assert after.finding(ACCESS, NOON + 2_000) is not None


def test_somebody_found_pooled_is_told_until_it_was_taken():
    conduct = pooled()
    assert conduct.flagged
    assert [one.key for one in conduct.take_findings()] == BOTH
    assert not conduct.flagged
    assert conduct.take_findings() == []


def test_a_key_is_saved_again_only_when_it_changed():
    conduct = pooled()
    assert [one.key for one in conduct.take_touched(10)] == [
        "access:a-1"
    ]  # serves the subject, too
    assert conduct.take_touched(10) == []
    conduct.observe(next(calls(ACCESS, [(number("28", 1), number("28", 2))], start=NOON + 999)))
    assert conduct.untaken == 2
    assert {one.key for one in conduct.take_touched(10)} == set(BOTH)  # no longer the same calls
    conduct.observe(next(calls(ACCESS, [(number("28", 1), number("28", 2))], start=NOON + 999)))
    assert [one.key for one in conduct.take_touched(10)] == ["access:a-1"]


def test_what_was_cleared_is_saved_as_gone():
    conduct = pooled()
    conduct.take_touched(10)
    conduct.take_findings()
    conduct.clear(ACCESS)
    gone, stays = conduct.take_touched(10)
    assert (gone.key, gone.content) == ("access:a-1", None)
    assert stays.key == "subject:s-1"
    assert stays.content is not None
    assert [one.content for one in conduct.take_findings()] == [None]


def test_who_was_found_by_the_release_before_stays_found():
    told = [msgspec.msgpack.decode(one.content) for one in pooled().take_findings()]
    before = [msgspec.msgpack.encode((2, finding)) for _, finding in told]
    conduct = Detector(ALONE)
    assert conduct.restore([], before) == 0
    assert conduct.finding(ACCESS, NOON + 2_000).state is State.POOLED
    assert Detector(ALONE).restore([], [msgspec.msgpack.encode((1, told[0][1]))]) == 1


@pytest.mark.parametrize("broken", [b"", b"\x90", b"\xc1", b"\x98" + bytes(8), b"x" * 40])
def test_what_cannot_be_read_is_left_or_refused(broken):
    conduct = Detector(ALONE, fleet=True)
    assert conduct.restore([broken], [broken]) == 2
    with pytest.raises(ConductFormatError):
        conduct.merge("n", broken)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 1 << 41), (0, -1), (2, 5), (3, 1 << 32), (4, -3), (5, 256), (6, 999), (7, 1 << 40)],
)
def test_a_delta_with_a_call_out_of_bounds_is_refused(place, value):
    one, other = Detector(ALONE, fleet=True), Detector(ALONE, fleet=True)
    fed(one, calls((ACCESS, SUBJECT), pool(Random(1), 30)))
    told = msgspec.msgpack.decode(one.take_delta())
    told[4][7][place] = value
    with pytest.raises(ConductFormatError):
        other.merge("n", msgspec.msgpack.encode(told))
    told[4][7][1] = [-1]
    with pytest.raises(ConductFormatError):
        other.merge("n", msgspec.msgpack.encode(told))
    assert len(other) == 0


def test_what_nobody_saves_is_bounded():
    conduct = Detector(Policy(structure_alone=True, max_keys=64))
    for index in range(5_000):
        flood = Key(KeyKind.ACCESS, f"flood-{index}")
        fed(conduct, calls(flood, [(number("28", index), number("10", index))]))
    assert conduct.untaken <= 2 * 64 + 1
    kept = {one.key for one in conduct.take_touched(1_000) if one.content is not None}
    assert len(kept) == len(conduct)


# -- fleet


def test_a_call_that_several_nodes_were_asked_about_counts_once():
    nodes = [Detector(ALONE, fleet=True) for _ in range(3)]
    stream = [
        msgspec.structs.replace(observation, mark=index)
        for index, observation in enumerate(calls((ACCESS, SUBJECT), pool(Random(3), 90)))
    ]
    for observation in stream:
        for node in nodes[: 1 + observation.mark % 3]:
            node.observe(observation)
            node.observe(observation)
    for name, node in enumerate(nodes):
        delta = node.take_delta()
        for other in nodes:
            if other is not node:
                other.merge(str(name), delta)
    whole = Detector(ALONE)
    fed(whole, stream)
    for node in nodes:
        assert node.picture(ACCESS, NOON + 2_000).calls == 90
        found = node.finding(ACCESS, NOON + 2_000)
        assert found is not None
        assert found.state is whole.finding(ACCESS, NOON + 2_000).state


def test_marks_are_bounded_and_the_oldest_go_first(monkeypatch):
    monkeypatch.setattr("zhenxian.analytics.counting._MAX_MARKS", 2)
    conduct = Detector(ALONE)
    (observation,) = calls(ACCESS, [(number("28", 1), number("10", 1))])
    for mark in (1, 2, 3, 2, 4, 5, 1, -1, -1):
        conduct.observe(msgspec.structs.replace(observation, mark=mark))
    assert conduct.picture(ACCESS, NOON).calls == 8


def test_lately_is_as_long_as_stated():
    lately = RecentSet(3, 100)
    assert [lately.again(value, 1_000) for value in (1, 1, 2)] == [False, True, False]
    assert lately.again(1, 1_099)
    assert not lately.again(1, 1_100)
    assert lately.again(1, 1_001)  # a clock that went back
    assert not lately.again(1, 900)
    assert [lately.again(value, 900) for value in (3, 4, 5, 6, 7)] == [False] * 5
    assert not lately.again(1, 900)  # there was no room


@pytest.mark.parametrize("ahead", [HOUR, DAY, 30 * DAY])
def test_after_a_clock_was_ahead_lately_is_no_longer_than_before(ahead):
    lately = RecentSet(1_000, 100)
    lately.again(1, NOON + ahead)
    assert [lately.again(2, NOON + 200 * turn) for turn in range(5)] == [False] * 5


def test_a_delta_without_a_mark_for_each_call_is_refused():
    one = Detector(ALONE, fleet=True)
    fed(one, calls(ACCESS, pool(Random(1), 5)))
    told = msgspec.msgpack.decode(one.take_delta())
    told[8].pop()
    with pytest.raises(ConductFormatError):
        Detector(ALONE, fleet=True).merge("n", msgspec.msgpack.encode(told))


def test_fleet_sums_what_its_nodes_saw():
    """A pool dealt out over three nodes is seen by each as by one; no node alone could tell."""
    stream = list(calls((ACCESS, SIGNER, SPC), pool(Random(13), 90, local=0.6)))
    single = Detector(ALONE)
    fed(single, stream)
    nodes = [Detector(ALONE, fleet=True) for _ in range(3)]
    for start in range(0, len(stream), 6):
        for index, observation in enumerate(stream[start : start + 6]):
            nodes[index % 3].observe(observation)
        deltas = [node.take_delta() for node in nodes]
        for receiver, node in enumerate(nodes):
            for sender, delta in enumerate(deltas):
                if sender != receiver:
                    assert node.merge(f"n-{sender}", delta)
    at = stream[-1].at
    whole = single.picture(ACCESS, at)
    for node in nodes:
        picture = node.picture(ACCESS, at)
        assert picture.calls == whole.calls == 90
        assert node.finding(ACCESS, at).state is State.POOLED
        for mine, its in zip(picture.measures, whole.measures, strict=True):
            for name in ("calls", "matches", "displays", "expected"):
                assert mine.figures.get(name, 0) == pytest.approx(
                    its.figures.get(name, 0), rel=0.05
                )


def test_pooled_on_one_node_is_pooled_everywhere():
    one, other = pooled(fleet=True), Detector(ALONE, fleet=True)
    one.take_delta()
    fed(one, calls(ACCESS, pool(Random(14), 60), start=NOON + 2_100))
    other.merge("one", one.take_delta())
    assert other.finding(ACCESS, NOON + 4_000).state is State.POOLED
    one.clear(ACCESS)
    other.merge("one", one.take_delta())
    assert other.finding(ACCESS, NOON + 4_000) is None


def test_delta_that_comes_twice_or_late_counts_once():
    one, other = Detector(ALONE, fleet=True), Detector(ALONE)
    fed(one, calls(ACCESS, pool(Random(15), 5)))
    first = one.take_delta()
    fed(one, calls(ACCESS, pool(Random(15), 5)))
    second = one.take_delta()
    assert other.merge("one", second)
    assert not other.merge("one", second)
    assert not other.merge("one", first)
    assert other.picture(ACCESS, NOON + 100).calls == 5
    restarted = Detector(ALONE, fleet=True, boot=1)
    fed(restarted, calls(ACCESS, pool(Random(15), 5)))
    assert other.merge("one", restarted.take_delta())


def test_what_nobody_takes_is_bounded_and_counted():
    conduct = Detector(Policy(structure_alone=True, max_backlog=10), fleet=True)
    fed(conduct, calls(ACCESS, pool(Random(16), 15)))
    assert conduct.lost == 5
    other = Detector(ALONE)
    other.merge("n", conduct.take_delta())
    assert other.picture(ACCESS, NOON + 1_000).calls == 10


def test_without_fleet_nothing_is_kept():
    with pytest.raises(RuntimeError, match="fleet"):
        Detector(ALONE).take_delta()


def test_delta_of_another_salt_is_refused():
    with pytest.raises(ConductFormatError, match="salt"):
        Detector(Policy(structure_alone=True, salt=1)).merge("n", delta_of(1))


def delta_of(*seeds):
    conduct = Detector(ALONE, fleet=True)
    for seed in seeds:
        fed(conduct, calls(ACCESS, pool(Random(seed), 5)))
    return conduct.take_delta()


def test_a_delta_holds_so_many_calls_and_nothing_is_left_out():
    conduct = Detector(ALONE, fleet=True)
    assert conduct.take_delta() is None
    fed(conduct, calls(ACCESS, pool(Random(1), 25)))
    other = Detector(ALONE)
    while (delta := conduct.take_delta(most=10)) is not None:
        assert other.merge("n", delta)
    assert other.picture(ACCESS, NOON).calls == 25


def test_reports_of_ended_calls_travel():
    one, other = Detector(ALONE, fleet=True), Detector(ALONE)
    fed(one, calls(ACCESS, pool(Random(17), 3)))
    one.ended(ACCESS, NOON + 100)
    one.ended(ACCESS, NOON + 100, one.met(number("28", 1), number("10", 1), answered=True))
    other.merge("one", one.take_delta())
    counts = other._counting.table.by_key[ACCESS]
    assert (counts.active, counts.now.ended, counts.now.answers) == (0, 2, 1)


pairs = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 20_000)), max_size=60
)


@given(pairs, pairs)
@settings(max_examples=40, deadline=None)
def test_counts_do_not_depend_on_the_order_of_deltas(some, others):
    deltas = []
    for part in (some, others):
        conduct = Detector(ALONE, fleet=True)
        for shown, called, after in part:
            display = number(CODES[shown % 5], shown)
            callee = number(CODES[called % 7], called)
            keys = (ACCESS, SIGNER, SPC)
            conduct.observe(
                Observation(
                    at=NOON + after,
                    keys=keys,
                    display=display,
                    callee=callee,
                    origid=f"o-{shown % 3}",
                )
            )
        deltas.append(conduct.take_delta())
    results = []
    for order in ((0, 1), (1, 0)):
        conduct = Detector(ALONE)
        for index in order:
            if deltas[index] is not None:
                conduct.merge(f"n-{index}", deltas[index])
        results.append(conduct)
    one, other = results
    at = NOON + 20_000
    for key in (ACCESS, SIGNER, SPC):
        assert one.picture(key, at).calls == other.picture(key, at).calls
        mine, its = one._counting.table.get(key), other._counting.table.get(key)
        if mine is None:
            assert its is None
            continue
        for name in ("calls", "known", "matches", "arealess", "reach", "displays"):
            assert getattr(mine.now, name) == getattr(its.now, name)


def test_hashes_are_the_same_in_every_process():
    script = (
        "from zhenxian.analytics import Detector; from zhenxian.core.tn import TN;"
        "hashing = Detector()._counting.hashing;"
        "print(hashing.number(TN('8613800100000')), hashing.text('o-1'))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_people_on_one_switch_stay_unfound_over_days():
    conduct = Detector(ALONE)
    for day in range(3):
        stream = people(Random(18), 2_000, codes=CODES[:12])
        fed(conduct, calls(SIGNER, stream, start=NOON + day * DAY, every=20))
        assert conduct.finding(SIGNER, NOON + day * DAY + 40_000) is None


# -- an access and its only subject


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["a-1", "a-2", None]),
        st.sampled_from(["s-1", "s-2", None]),
        st.integers(0, 25),
        st.integers(0, 30),
    ),
    max_size=80,
)


@given(HISTORIES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_one_track_for_two_keys_says_what_two_tracks_would(history, bound):
    """Each key alone in a Detector of its own, against all of them in one.

    Dialling again is left out: that two subjects show one display to one callee is known to both.
    """
    policy = Policy(structure_alone=True, redial=1)
    together, alone = Detector(policy), {}
    at = NOON
    for access, subject, shown, called in history:
        at += 20
        keys = tuple(
            Key(kind, name)
            for kind, name in ((KeyKind.ACCESS, access), (KeyKind.SUBJECT, subject))
            if name is not None
        )
        display, callee = number(CODES[shown], 1), number(CODES[called], called)
        bound_here = bound and shown % 5 == 0
        together.observe(
            Observation(
                at=at, keys=keys, display=display, callee=callee, origid=None, bound=bound_here
            )
        )
        for key in keys:
            one = alone.setdefault(key, Detector(policy))
            one.observe(
                Observation(
                    at=at,
                    keys=(key,),
                    display=display,
                    callee=callee,
                    origid=None,
                    bound=bound_here,
                )
            )
    for key, one in alone.items():
        assert together.picture(key, at) == one.picture(key, at)
        assert together.finding(key, at) == one.finding(key, at)
    assert together.restore(*kept(together)) == 0


def test_findings_of_two_keys_on_the_same_counts_come_and_go_alike():
    conduct, random = Detector(ALONE), Random(40)
    pairs = [*pool(random, 300), *((number("28", 1), somebody(random, "28")) for _ in range(600))]
    for observation in calls((ACCESS, SUBJECT), pairs, every=400):
        conduct.observe(observation)
        mine, its = (conduct.finding(key, observation.at) for key in (ACCESS, SUBJECT))
        assert (mine is None) == (its is None)
        if mine is not None:
            assert (mine.state, mine.figures, mine.until) == (its.state, its.figures, its.until)
    assert mine is None


def test_end_of_a_call_is_told_for_both_and_counts_once():
    conduct, random = Detector(ALONE), Random(43)
    own = number("28", 1)
    fed(conduct, calls((ACCESS, SUBJECT), ((own, somebody(random)) for _ in range(40))))
    for key in (ACCESS, SUBJECT):
        conduct.ended(key, NOON + 800)
    fed(conduct, calls((ACCESS, SUBJECT), ((own, somebody(random)) for _ in range(5)),
                       start=NOON + 801, every=1))  # fmt: skip
    for key in (ACCESS, SUBJECT):
        conduct.ended(key, NOON + 810)
    counts = conduct._counting.table.get(SUBJECT)
    assert counts is conduct._counting.table.get(ACCESS)
    assert counts.active == 4


def test_subject_keeps_what_was_counted_when_a_second_access_comes():
    conduct, random = Detector(ALONE), Random(41)
    other = Key(KeyKind.ACCESS, "a-2")
    stream = list(pool(random, 60))
    fed(conduct, calls((ACCESS, SUBJECT), stream[:10]))
    fed(conduct, calls((other, SUBJECT), stream[10:12], start=NOON + 300))
    assert [conduct.picture(key, NOON + 400).calls for key in (ACCESS, other, SUBJECT)] == [
        10,
        2,
        12,
    ]
    fed(conduct, calls((ACCESS, SUBJECT), stream[12:], start=NOON + 500))
    assert [conduct.picture(key, NOON + 2_000).calls for key in (ACCESS, SUBJECT)] == [58, 60]


def test_an_access_that_is_evicted_takes_its_subject_along_and_nothing_stays_behind():
    conduct = Detector(Policy(structure_alone=True, max_keys=16))
    for index in range(200):
        keys = Key(KeyKind.ACCESS, f"a-{index}"), Key(KeyKind.SUBJECT, f"s-{index}")
        fed(conduct, calls(keys, [(number("28", 1), number("28", 2))]))
    assert len(conduct) <= 16
    assert len(conduct._counting.table._with) <= 16
    assert conduct.picture(Key(KeyKind.SUBJECT, "s-0"), NOON + 1).calls == 0
    assert conduct.picture(Key(KeyKind.SUBJECT, "s-199"), NOON + 1).calls == 1


def test_after_a_restart_an_access_and_its_subject_go_on_together():
    before, after = Detector(ALONE), Detector(ALONE)
    stream = list(calls((ACCESS, SUBJECT), pool(Random(42), 40)))
    fed(before, stream[:20])
    assert after.restore(*kept(before)) == 0
    fed(after, stream[20:])
    for key in (ACCESS, SUBJECT):
        assert after.picture(key, NOON + 800).calls == 40
    assert len(after) == 1
