"""Measures that are left out because they come to nothing find nothing when they are not."""

import heapq

import pytest
from msgspec.structs import replace

from zhenxian.analytics import Detector, Key, KeyKind, Observation, Policy
from zhenxian.analytics import findings as judging
from zhenxian.analytics.measures import assess
from zhenxian.simulation import Kind, Scenario, Traffic

DAY = 86_400


def keys_of(call, side):
    if side == "verifying":
        return Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}"), Key(KeyKind.SPC, call.spc)
    keys = Key(KeyKind.ACCESS, call.access), Key(KeyKind.SUBJECT, call.subject)
    if call.bound and call.caller is not None:
        return (*keys, Key(KeyKind.AGENT, f"platform/{call.caller}"))
    return keys


POLICIES = [Policy(), Policy(structure_alone=True), Policy(keep=0.2, suspect=0.3)]


def told(calls, side, policy, *, ends=3, look=lambda conduct, at: None):
    """All that is found, change by change, over two days of calls; of one in `ends` no end."""
    conduct, changes, under_way = Detector(policy), [], []
    for day in range(2):
        for index, call in enumerate(calls):
            if side == "signing" and call.access is None:
                continue
            at, keys = call.at + day * DAY, keys_of(call, side)
            while under_way and under_way[0][0] <= at:
                over, _, whose, contact = heapq.heappop(under_way)
                for key in whose:
                    conduct.ended(key, over, contact)
            conduct.observe(
                Observation(
                    at=at,
                    keys=keys,
                    display=call.display,
                    callee=call.callee,
                    origid=call.origid if side == "verifying" else None,
                    bound=call.bound,
                    hidden_caller=call.caller if call.bound else None,
                    vouched=index % 2 == 0,
                )
            )
            seconds = call.duration if call.answered else None
            contact = conduct.met(
                call.display, call.callee, answered=call.answered, seconds=seconds
            )
            if index % ends:
                heapq.heappush(under_way, (at + call.duration, (day, index), keys, contact))
            if index % 200 == 0:
                conduct.complained(call.display, call.callee, at, "source")
                changes.append(sorted(map(str, conduct.take_asked())))
                changes.append([replace(found, samples=()) for found in conduct.standing(at)])
            if index % 2_000 == 0:
                look(conduct, at)
    return changes


@pytest.mark.parametrize("side", ["signing", "verifying"])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_left_out_finds_nothing(side, policy, monkeypatch):
    calls = list(Traffic(Scenario(seed=7_021, size=300)).calls())
    found = told(calls, side, policy)
    assert any(found[1::2])

    worth = judging.Findings.worth
    monkeypatch.setattr(
        judging, "assess", lambda counts, policy, bounds, _: assess(counts, policy, bounds)
    )
    monkeypatch.setattr(
        judging.Findings, "worth", lambda self, counts: counts.carrier or worth(self, counts)
    )
    assert told(calls, side, policy) == found


@pytest.mark.parametrize("side", ["signing", "verifying"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ends", [1, 3])
def test_what_would_tell_is_what_the_picture_says(side, policy, ends):
    kinds = {Kind.POOL: 1, Kind.SIM_BOX: 1, Kind.ROBOT: 1, Kind.SHOP: 5}
    calls = list(Traffic(Scenario.of(kinds, seed=7_022)).calls())[:12_000]
    said = []

    def look(conduct, at):
        for key in conduct._counting.table.by_key:
            lacking = [text for one in conduct.picture(key, at).measures for text in one.would_tell]
            assert conduct.would_tell(key, at) == list(dict.fromkeys(lacking))
            said.append(bool(lacking))
        assert conduct.would_tell(Key(KeyKind.ACCESS, "nobody"), at) == []
        assert conduct.would_tell(key, at + 3 * DAY) == []

    told(calls, side, policy, ends=ends, look=look)
    assert any(said) or ends > 1 or policy.structure_alone
    assert not all(said)
