"""The evaluation: it cannot cheat, it counts right, and all of it runs."""

from __future__ import annotations

import json
from math import inf
from random import Random
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from bench.evaluation import parts, plan, report
from bench.evaluation.__main__ import evaluate
from bench.evaluation.drive import (
    ORIGINATING,
    SIDES,
    TERMINATING,
    First,
    Side,
    drive,
    originating,
    steps,
    terminating,
)
from bench.evaluation.figures import per_ten_thousand, proportion, quantile
from bench.evaluation.report import curve
from bench.evaluation.runs import Found
from bench.evaluation.score import Honest, score
from displays import Key, KeyKind, Measure, Observation, Policy
from gateway.simulation import Call, Kind, Truth
from gateway.simulation import Key as TruthKey
from gateway.simulation.stream import binding
from passport.claims import Destination
from passport.ppt.shaken import Attestation, Shaken
from passport.tn import TN
from registry.model import Access
from signer import conduct
from signer.request import SigningRequest
from verifier import conduct as verifying

SMALL = {
    Kind.SUBSCRIBER: 60,
    Kind.SHOP: 2,
    Kind.COURIER: 1,
    Kind.BRANCHES: 1,
    Kind.POOL: 1,
    Kind.SIM_BOX: 1,
    Kind.MINTER: 1,
    Kind.RETURNED: 1,
}


@pytest.fixture(scope="module")
def drawn():
    return plan.drawn(plan.Scenario.of(SMALL, seed=plan.TUNING[0]))


def _firsts(sides):
    return {name: side.first for name, side in sides.items()}


def test_no_seed_both_chooses_thresholds_and_judges_them():
    assert not set(plan.TUNING) & set(plan.EVALUATION)
    used = {plan.mix(seed).seed for seed in list(plan.EVALUATION)[: plan.FULL.seeds]}
    assert len(used) == plan.FULL.seeds >= plan.FULL.honest
    assert not used & set(plan.TUNING)


def test_what_is_observed_says_nothing_of_kind_operator_or_seed(drawn):
    calls, truth = drawn
    assert set(Observation.__struct_fields__) == {
        "at", "keys", "display", "callee", "origid", "bound", "mark",
    }  # fmt: skip
    names = {call.access for call in calls} | {call.subject for call in calls}
    names |= {call.spc for call in calls} | {f"{call.spc}/{call.origid}" for call in calls}
    operators = {row.operator for row in truth if row.kind is not Kind.CARRIER}
    assert not operators & names
    # Here no call is asked about twice, so that none needs telling apart by its token.
    sides = [(step.originating, step.terminating) for step in steps(calls)]
    assert {seen.mark for both in sides for seen in both if seen is not None} == {-1}
    told = repr(steps(calls))
    assert not [operator for operator in operators if operator in told]
    assert not [kind for kind in Kind if kind.value in told or kind.name in told]
    # An observation is made from the call alone: each is the function of what carriers see.
    for call, step in zip(calls, steps(calls), strict=True):
        seen = step.originating
        assert (seen is None) is (call.access is None)
        if seen is not None:
            assert [key.id for key in seen.keys] == [call.access, call.subject]
        assert [key.kind for key in step.terminating.keys] == [KeyKind.SIGNER, KeyKind.SPC]


def test_other_truth_gives_the_same_findings_and_other_figures(drawn):
    calls, truth = drawn
    before = drive(steps(calls), Policy())
    mixed = list(truth)
    Random(5).shuffle(mixed)
    lies = [
        replace(row, kind=other.kind, honest=other.honest, operator=other.operator)
        for row, other in zip(truth, mixed, strict=True)
    ]
    after = drive(steps(calls), Policy())
    assert _firsts(before) == _firsts(after)
    assert {name: side.under for name, side in before.items()} == {
        name: side.under for name, side in after.items()
    }
    true, false = (score(calls, rows, ORIGINATING, before[ORIGINATING]) for rows in (truth, lies))
    assert sorted(o.until for o in true.outcomes) != sorted(o.until for o in false.outcomes)


def test_a_finding_comes_when_the_service_would_have_it(drawn):
    calls, _ = drawn
    made = steps(calls)
    sides = drive(made, Policy())
    for name in SIDES:
        first, under = sides[name].first, sides[name].under
        assert first
        for key, found in first.items():
            observed = getattr(made[found.index], name)
            assert key in observed.keys
            assert observed.at == found.at
        # The call that completes a finding was let through; nothing before the first was stopped.
        assert under.index(1) > min(found.index for found in first.values())


def test_observations_are_those_of_the_service(drawn):
    calls, _ = drawn
    seen = 0
    for call in calls[:: len(calls) // 200]:
        if call.access is None or call.subject is None:
            continue
        request = SigningRequest(
            call.display, Destination((call.callee,)), call.at, access=call.access
        )
        access = Access(call.access, call.origid, call.subject)
        bound = binding(call, call.at) if call.bound else None
        assert conduct.observation(request, access, bound, call.at) == originating(call)
        seen += 1
    assert seen > 100
    # The terminating side's take a verified token; the members are the same.
    (call,) = (call for call in calls[:1])
    keys = (Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}"), Key(KeyKind.SPC, call.spc))
    token = SimpleNamespace(
        passport=SimpleNamespace(
            orig=call.display,
            dest=Destination((call.callee,)),
            extension=Shaken(Attestation.A, call.origid),
        ),
        signer=SimpleNamespace(spc=call.spc),
    )
    assert verifying.keys(token) == keys
    told = verifying.observation(token, keys, call.callee, bound=call.bound, at=call.at)
    assert told == terminating(call)


def test_ends_of_calls_are_told_after_their_begin_and_before_later_calls(drawn):
    calls, _ = drawn
    ends = 0
    for step in steps(calls):
        for keys, at in step.ended:
            ends += 1
            assert at <= step.terminating.at
            assert {key.kind for key in keys} == {KeyKind.ACCESS, KeyKind.SUBJECT}
    assert ends > len(calls) // 2


def _call(index, subject, display, *, token=None):
    return Call(
        f"c{index}", index * 60, 30, f"a-{subject}", subject, "1001", f"o-{subject}",
        TN(display), TN("8613900000000"), token=token,
    )  # fmt: skip


def _truth(subject, kind, operator):
    rest = (kind, kind.honest, operator, 1, 1, 0, 0)
    return [
        Truth(TruthKey.SUBJECT, subject, *rest),
        Truth(TruthKey.ACCESS, f"a-{subject}", *rest),
        Truth(TruthKey.SIGNER, f"1001/o-{subject}", *rest),
    ]


def test_counting_by_hand():
    # A box of two names with one number each; ten calls, in turn. An honest shop makes five.
    calls = [_call(i, f"s{i % 2}", f"861380000000{i % 2}") for i in range(10)]
    calls += [_call(10 + i, "s9", "8613800000009") for i in range(5)]
    truth = [*_truth("s0", Kind.SIM_BOX, "o"), *_truth("s1", Kind.SIM_BOX, "o")]
    truth += _truth("s9", Kind.SHOP, "o9")
    key = Key(KeyKind.SUBJECT, "s1")
    shop = Key(KeyKind.SUBJECT, "s9")
    first = {key: First(5, 300, Measure.ROTATION), shop: First(11, 660, Measure.RATE)}
    under = bytearray(15)
    under[7] = under[9] = under[12] = under[13] = 1
    scored = score(calls, truth, ORIGINATING, Side(first, under, {}))
    (box,) = scored.outcomes
    assert (box.calls, box.until, box.seconds, box.under) == (10, 6, 300, 2)
    assert (box.keys, box.keys_found, box.measure) == (2, 1, Measure.ROTATION)
    assert box.uses == {5: True, 13: True, 27: True}  # five calls a number are its ten calls
    kept = scored.honest[Kind.SHOP]
    assert (kept.keys, kept.found, kept.calls, kept.under) == (1, 1, 5, 2)
    assert kept.measures == {"rate": 1}
    unfound = score(calls, truth, ORIGINATING, Side({}, bytearray(15), {}))
    assert unfound.outcomes[0].until == inf
    assert unfound.outcomes[0].uses == {5: False, 13: None, 27: None}


def test_a_call_with_a_stolen_token_counts_for_nobody():
    calls = [_call(0, "s9", "8613800000009"), _call(1, "s9", "8613800000009", token="c0")]
    truth = _truth("s9", Kind.SHOP, "o9")
    scored = score(calls, truth, TERMINATING, Side({}, bytearray(2), {}))
    assert scored.honest[Kind.SHOP].calls == 1


def test_intervals():
    half = proportion(5, 10)
    assert half.value == 0.5
    assert (round(half.low, 3), round(half.high, 3)) == (0.187, 0.813)  # Clopper and Pearson
    assert proportion(0, 0).told() == "-"
    all_found = proportion(300, 300)
    assert 0.98 < all_found.low < 0.99
    assert all_found.high == 1
    median = quantile([*range(1, 60), inf], 0.5)
    assert median.low < median.value < median.high < inf
    assert quantile([1.0, inf, inf], 0.95).value == inf
    assert "never" in quantile([1.0, inf, inf], 0.95).told()
    none = per_ten_thousand([0, 0], [5_000, 5_000])
    assert none.value == 0
    assert 3 < none.high < 4  # 3.7 of 10,000: nothing was seen in that many
    some = per_ten_thousand([0, 10, 1], [10_000, 10_000, 10_000])
    assert some.low < some.value < some.high


def test_precision_counts_kinds_as_a_country_has_them():
    found = Found(scores=[(Kind.SHOP, 2.0), (Kind.SHOP, 0.0), (Kind.POOL, 5.0)])
    points = {point.threshold: point for point in curve(found)}
    least = points[min(points)]
    # Half of 100 shops against 2 pools.
    assert least.precision == pytest.approx(2 / 52)
    assert least.recall == 1
    assert points[max(t for t in points if t <= 5)].precision == 1


def test_honest_kinds_weigh_as_in_a_country():
    found = {Kind.SUBSCRIBER: Honest(100), Kind.BRANCHES: Honest(2, found=1)}
    share = report._in_country([found])
    assert share == pytest.approx(0.5 / 9_001)  # one chain to 9,000 subscribers, found every second
    assert report._in_country([{}]) is None


def test_all_of_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "HONEST", {Kind.SUBSCRIBER: 30, Kind.COURIER: 1, Kind.BRANCHES: 1})
    few = {Kind.POOL: 1, Kind.SLOW_POOL: 1, Kind.MINTER: 1}
    monkeypatch.setattr(plan, "DISHONEST", few)
    monkeypatch.setattr(plan, "FEWER", few)
    monkeypatch.setattr(plan, "ROBOT_CALLS", 500)
    monkeypatch.setattr(plan, "SPLITS", (1, 20))
    monkeypatch.setattr(parts, "WHOLE", {Kind.SHOP: 2, Kind.BRANCHES: 1, Kind.POOL: 1})
    evaluate(plan.Size(2, *[1] * (len(plan.Size.__struct_fields__) - 1)), tmp_path)
    tree = json.loads((tmp_path / "eval.json").read_text())
    assert {row["kind"] for row in tree["detection"]} >= {Kind.POOL.value, Kind.ROBOT.value}
    pool = next(row for row in tree["detection"] if row["kind"] == Kind.POOL.value)
    assert pool["recall"]["value"] == 1
    assert pool["calls_median"]["value"] <= 200
    assert {row["over"] for row in tree["splits"]} == {1, 20}
    off = {name for row in tree["ablation"] for name in row if name.startswith("without ")}
    assert off == {f"without {measure.value}" for measure in Measure}
    without = next(r for r in tree["ablation"] if r["kind"] == Kind.MINTER.value)
    assert without["without origids"]["value"] == 0
    assert without["all on"]["value"] == 1
    assert {row["reached"] for row in tree["goals"]} <= {True, False}
    stopped = {row["kind"]: row for row in tree["parts"]}
    for kind in (Kind.REPLAYED, Kind.PASTED, Kind.UNVERIFIED):
        assert stopped[kind.value]["stopped"]["value"] == 1
    assert stopped[Kind.SHOP.value]["stopped"]["value"] == 0
    assert stopped[Kind.RETURNED.value]["stopped_after_order"]["value"] == 1
    assert stopped[Kind.RETURNED.value]["registrations_refused"]["value"] == 1
    # Another name with another document: no order, and no registry, knows that it is the same.
    assert stopped[Kind.STRAW.value]["stopped_after_order"]["value"] == 0
    whole = {(row["kind"], row["exempted"]): row for row in tree["whole"]}
    assert whole[Kind.SHOP.value, False]["passed"]["value"] == 1
    assert whole[Kind.POOL.value, False]["refused"]["value"] > 0.9
    assert whole[Kind.BRANCHES.value, False]["refused"]["value"] > 0.5
    assert whole[Kind.BRANCHES.value, True]["passed"]["value"] == 1
    assert (tmp_path / "eval.png").read_bytes().startswith(b"\x89PNG")
    assert "| national pool |" in (tmp_path / "eval.md").read_text()
    told = capsys.readouterr().out
    assert "Goals" in told
    assert "share of operators" in told
