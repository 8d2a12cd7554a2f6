"""Nodes that exchange what they observe find what one node finds that sees all."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import ALONE, CODES, NOON, calls, number, people, pool, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Measure, Observation, State

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
