"""Nodes that exchange what they observe find what one node finds that sees all."""

import contextlib
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import ALONE, CODES, NOON, calls, number, people, pool, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.analytics.codec import (
    FORMAT,
    ConductFormatError,
    Delta,
    write_delta,
    write_finding,
)
from zhenxian.analytics.hashing import Hashing
from zhenxian.analytics.linkage import Mark
from zhenxian.analytics.model import Finding, Sample
from zhenxian.analytics.thresholds import DAY

KINDS = (KeyKind.ACCESS, KeyKind.SUBJECT)


def keys(name):
    return tuple(Key(kind, f"{kind.value}-{name}") for kind in KINDS)


def signer(name):
    return Key(KeyKind.SIGNER, f"{name}/o-1"), Key(KeyKind.SPC, name)


def box(random, runs):
    """Five SIM cards behind five names, in turn."""
    at = NOON
    for run in range(runs):
        for _ in range(8):
            at += 20 + random.expovariate(1 / 30)
            index = run % 5
            display = number(CODES[index], index)
            yield Observation(
                at=int(at), keys=keys(f"card-{index}"), display=display, callee=somebody(random)
            )


def traffic(random):
    """Pools, a box, a signer that mints origids, and honest callers beside them."""
    minted = [
        Observation(
            at=one.at,
            keys=signer("9001"),
            display=one.display,
            callee=one.callee,
            origid=f"o-{turn}",
        )
        for turn, one in enumerate(calls(signer("9001"), pool(random, 400, size=300), every=75))
    ]
    streams = [
        calls(keys("pool"), pool(random, 120), every=200),
        calls(keys("half"), pool(random, 350, local=0.5), every=90),
        calls(keys("spread"), pool(random, 120, local=0.0), every=250),
        box(random, 5 * 17),
        minted,
        calls(signer("1001"), people(random, 1_500), every=20),
        calls(keys("shop"), ((number("28", 1), somebody(random, "28")) for _ in range(150)),
              every=200),
        calls(keys("bank"), ((number("10", 1), somebody(random)) for _ in range(300)), every=100),
    ]  # fmt: skip
    return sorted((one for stream in streams for one in stream), key=lambda one: one.at)


class Wire:
    """What nodes send each other, in order; who is cut off reads on later."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.sent = []
        self.read = [0] * len(nodes)

    def exchange(self, among=None):
        """Each of these sends what it observed, and takes what it has not read yet."""
        among = range(len(self.nodes)) if among is None else among
        for sender in among:
            delta = self.nodes[sender].take_delta()
            if delta is not None:
                self.sent.append((sender, delta))
        for receiver in among:
            for sender, delta in self.sent[self.read[receiver] :]:
                if sender != receiver:
                    assert self.nodes[receiver].merge(f"n-{sender}", delta)
            self.read[receiver] = len(self.sent)


def pooled(conduct, at):
    return {one.key: one.measure for one in conduct.standing(at) if one.state is State.POOLED}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("every", [1, 8])
def test_nodes_find_what_one_node_finds_that_sees_all(count, every):
    """Eight calls are half a minute here; the measure of handovers needs a lag below its reach."""
    random = Random(f"fleet {count} {every}")
    stream = traffic(random)
    single, nodes = Detector(ALONE), [Detector(ALONE, fleet=True) for _ in range(count)]
    wire = Wire(nodes)
    for turn, observation in enumerate(stream, 1):
        single.observe(observation)
        nodes[random.randrange(count)].observe(observation)
        if turn % every == 0:
            wire.exchange()
    wire.exchange()
    at = stream[-1].at
    expected = pooled(single, at)
    names = {key.id.partition("-")[2].partition("-")[0] for key in expected}
    assert {"pool", "half", "spread", "card"} <= names
    assert Key(KeyKind.SPC, "9001") in expected
    assert not {key for key in expected if "shop" in key.id or "bank" in key.id}
    assert Key(KeyKind.SIGNER, "1001/o-1") not in expected
    for node in nodes:
        assert pooled(node, at).keys() == expected.keys()


def test_node_cut_off_goes_on_with_local_figures_and_merges_after():
    random = Random(31)
    single, nodes = Detector(ALONE), [Detector(ALONE, fleet=True) for _ in range(3)]
    wire = Wire(nodes)
    stream = list(calls(keys("half"), pool(random, 400, local=0.5), every=60))
    for turn, observation in enumerate(stream, 1):
        single.observe(observation)
        nodes[turn % 3].observe(observation)
        if turn % 10 == 0:
            wire.exchange(range(3) if turn <= 60 or turn > 240 else range(2))
        if turn == 240:
            # The one that is cut off has its own third since, and all of the time before.
            assert nodes[2].picture(keys("half")[0], observation.at).calls == 60 + 180 // 3
            assert nodes[0].picture(keys("half")[0], observation.at).calls == 60 + 180 * 2 // 3
    wire.exchange()
    at = stream[-1].at
    whole = single.picture(keys("half")[0], at)
    for node in nodes:
        picture = node.picture(keys("half")[0], at)
        assert picture.calls == whole.calls == 400
        assert node.finding(keys("half")[0], at).state is State.POOLED


def spread(picture):
    (found,) = [one for one in picture.measures if one.measure is Measure.SPREAD]
    return found.figures


splits = st.lists(st.integers(0, 3), min_size=60, max_size=160)


@given(splits, st.integers(0, 1_000), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_counts_are_those_of_one_node_whoever_saw_what(where, seed, every):
    """Sketches within their error, everything else exactly; the sequential test nearly."""
    random = Random(seed)
    single, nodes = Detector(ALONE), [Detector(ALONE, fleet=True) for _ in range(4)]
    wire = Wire(nodes)
    stream = list(calls(keys("x"), pool(random, len(where), size=400, local=0.3)))
    for turn, (observation, node) in enumerate(zip(stream, where, strict=True), 1):
        single.observe(observation)
        nodes[node].observe(observation)
        if turn % every == 0:
            wire.exchange()
    wire.exchange()
    at = stream[-1].at
    for key in keys("x"):
        whole = spread(single.picture(key, at))
        for node in nodes:
            picture = node.picture(key, at)
            assert picture.calls == len(where)
            figures = spread(picture)
            assert figures["calls"] == whole["calls"] == len(where)
            assert figures["displays"] == pytest.approx(whole["displays"], rel=0.05)
            # Areas are counted from the second one on, which is a matter of order.
            name = "areas of displays"
            assert figures[name] == pytest.approx(whole[name], rel=0.2)


def test_counts_of_the_release_before_are_read_with_the_names_of_today():
    access, subject = keys("a")
    one = Detector(ALONE)
    told = list(calls((access, subject), pool(Random(8), 40)))
    for observation in told:
        one.observe(observation)
    (saved,) = [row.content for row in one.take_touched(10) if row.key == str(access)]
    kept = msgspec.msgpack.decode(saved)
    kept[0] = 3
    counts = kept[4]
    counts["here"], counts["whole"] = counts.pop("display_area"), counts.pop("as_one_signer")
    for half in (counts["now"], counts["old"]):
        if half is not None:
            half["bound"] = half.pop("privacy_calls")
            half["lent"] = half.pop("privacy_calls_found")
    other = Detector(ALONE)
    assert other.restore([msgspec.msgpack.encode(kept)], []) == 0
    at = told[-1].at
    assert other.picture(access, at).calls == 40
    assert other._counting.table.get(subject) == one._counting.table.get(subject)


# -- what others made is read with every bound checked


FAR, KEY = 1 << 50, signer("1001")[0]


def finding(**members):
    return Finding(
        **{
            "key": KEY,
            "state": State.POOLED,
            "measure": Measure.SPREAD,
            "strength": 1.0,
            "figures": {},
            "thresholds": {},
            "window": DAY,
            "samples": (),
            "since": NOON,
            "until": NOON + DAY,
            **members,
        }
    )


def mark(**members):
    given = {"key": KEY, "at": NOON, "level": 0, "numbers": b"1234", "callees": b""}
    return Mark(**{**given, **members})


def delta(**members):
    """A delta as a node of Detector() sends it."""
    empty = {"keys": [], "events": [], "ended": [], "findings": [], "cleared": [], "marks": []}
    salt = Hashing(Policy().salt).fingerprint
    return write_delta(Delta(version=FORMAT, salt=salt, sequence=(1, 1), **{**empty, **members}))


@pytest.mark.parametrize(
    "members",
    [
        {"findings": [finding(since=FAR)]},
        {"findings": [finding(until=FAR)]},
        {"findings": [finding(since=-1)]},
        {"findings": [finding(samples=(Sample(FAR, "1", None),))]},
        {"linkage": [mark(level=70)]},
        {"linkage": [mark(level=-1)]},
        {"linkage": [mark(level=FAR)]},
        {"linkage": [mark(at=FAR)]},
        {"keys": [KEY], "marks": [-1], "events": [(FAR >> 11, [0], False, 5, 7, 3, 3, -1)]},
        {"keys": [KEY], "runs": [(0, NOON, FAR)]},
    ],
)  # fmt: skip
def test_a_delta_out_of_bounds_is_not_taken(members):
    conduct = Detector(fleet=True)
    with pytest.raises(ConductFormatError):
        conduct.merge("other", delta(**members))
    assert conduct.standing(NOON) == []
    assert conduct.take_marks() == []


def test_text_that_is_none_is_not_taken():
    sent = delta(findings=[finding()])
    with pytest.raises(ConductFormatError):
        Detector(fleet=True).merge("other", sent.replace(b"1001", b"\xff\xfe01"))
    conduct = Detector(fleet=True)
    assert conduct.restore([], [write_finding(finding()).replace(b"1001", b"\xff\xfe01")]) == 1
    assert conduct.standing(NOON) == []


@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_damaged_deltas_end_nothing(octets, at, length):
    """Whatever is read of them can be asked for, counted on, and told again."""
    sent = bytearray(WHOLE)
    place = at % len(sent)
    sent[place : place + length] = octets[:length]
    conduct = Detector(fleet=True)
    with contextlib.suppress(ConductFormatError):
        conduct.merge("other", bytes(sent))
    for found in conduct.standing(NOON):
        assert found.sentence
    conduct.expire(NOON + DAY)
    conduct.take_marks()
    conduct.take_findings()
    conduct.take_delta()
    for saved in conduct.take_touched(100):
        assert saved.content is None or Detector().restore([saved.content], []) in (0, 1)


def _whole():
    node = Detector(ALONE, fleet=True)
    for observation in calls((*keys("a"), *signer("1001")), pool(Random(5), 60)):
        node.observe(observation)
    node.take_marks()
    return node.take_delta()


WHOLE = _whole()


def test_counts_by_area_are_saved_as_the_release_before_saved_them():
    node = Detector()
    for observation in calls(signer("1001"), people(Random(5), 400)):
        node.observe(observation)
    (content,) = [one.content for one in node.take_touched(10) if one.key.startswith("signer")]
    saved = msgspec.msgpack.decode(content)[4]["areas"]
    areas = node._counting.table.get(signer("1001")[0]).areas
    assert saved["displays"] == list(areas.displays)
    assert sum(saved["displays"]) > 0
    again = Detector()
    assert again.restore([content], []) == 0
    assert again._counting.table.get(signer("1001")[0]).areas == areas
    assert again.restore([content.replace(b"areas", b"arena")], []) == 0
    cut = msgspec.msgpack.decode(content)
    for wrong in ([1 << 40] * 256, [0] * 255, [-1] * 256, ["1"] * 256):
        cut[4]["areas"]["displays"] = wrong
        assert again.restore([msgspec.msgpack.encode(cut)], []) == 1
