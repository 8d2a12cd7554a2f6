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
    fails,
    originating,
    steps,
    terminating,
)
from bench.evaluation.figures import per_ten_thousand, proportion, quantile
from bench.evaluation.report import curve
from bench.evaluation.runs import Found
from bench.evaluation.score import Honest, Unit, score
from zhenxian.analytics import Finding, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.registry import parties
from zhenxian.registry.model import Access
from zhenxian.signer import analytics as conduct
from zhenxian.signer.request import SigningRequest
from zhenxian.simulation import Call, Kind, Truth
from zhenxian.simulation import Key as TruthKey
from zhenxian.simulation.stream import binding
from zhenxian.verifier import analytics as verifying

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
        "at", "keys", "display", "callee", "origid", "bound", "mark", "hidden_caller", "vouched",
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
            assert [key.id for key in seen.keys[:2]] == [call.access, call.subject]
        assert [key.kind for key in step.terminating.keys[:2]] == [KeyKind.SIGNER, KeyKind.SPC]
        # Who is behind a privacy number comes last, and only where a binding tells.
        agent = (Key(KeyKind.AGENT, f"{call.subject}/{call.caller}"),) if call.bound else ()
        for side in (seen, step.terminating):
            if side is not None:
                assert side.keys[2:] == agent
                assert side.hidden_caller == (call.caller if call.bound else None)
    for step in steps(calls, bindings=False):
        assert len(step.terminating.keys) == 2
        assert step.terminating.hidden_caller is None


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
    sides = drive(made, plan.ALONE)  # where no ends are told, nothing else finds at once
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
            call.display,
            Destination((call.callee,)),
            call.at,
            access=call.access,
            caller=call.caller,
        )
        access = Access(id=call.access, origid=call.origid, subject=call.subject)
        bound = binding(call, call.at) if call.bound else None
        assert conduct.observation(request, access, bound, call.at) == originating(call)
        seen += 1
    assert seen > 100
    # The terminating side's take a verified token; the members are the same.
    for bound in (False, True):
        call = next(call for call in calls if call.bound is bound)
        _verified_as_simulated(call)


def _verified_as_simulated(call):
    keys = (Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}"), Key(KeyKind.SPC, call.spc))
    token = SimpleNamespace(
        orig=call.display,
        passport=SimpleNamespace(
            orig=call.display,
            dest=Destination((call.callee,)),
            extension=Shaken(Attestation.A, call.origid),
        ),
        signer=SimpleNamespace(spc=call.spc),
    )
    assert verifying.keys(token) == keys
    bound = binding(call, call.at) if call.bound else None
    behind = bound.caller(call.display, call.callee) if bound is not None else None
    what = (keys, token.orig, call.callee, call.at)
    told = parties.observation(*what, bound, behind, call.origid)
    assert told == terminating(call)
    unknown = parties.observation(*what, None, None, call.origid)
    assert unknown == terminating(call, bindings=False)


def test_ends_of_calls_are_told_after_their_begin_and_before_later_calls(drawn):
    calls, _ = drawn
    ends = 0
    for step in steps(calls):
        for keys, at, _ in step.ended:
            ends += 1
            assert at <= step.terminating.at
            assert {key.kind for key in keys} == {KeyKind.ACCESS, KeyKind.SUBJECT}
    assert ends > len(calls) // 2


def _call(index, subject, display, *, token=None):
    return Call(
        id=f"c{index}",
        at=index * 60,
        duration=30,
        access=f"a-{subject}",
        subject=subject,
        spc="1001",
        origid=f"o-{subject}",
        display=TN(display),
        callee=TN("8613900000000"),
        token=token,
    )


def _truth(subject, kind, operator):
    whose = {"kind": kind, "honest": kind.honest, "operator": operator}
    rest = whose | {"calls": 1, "numbers": 1, "first": 0, "last": 0}
    return [
        Truth(key=TruthKey.SUBJECT, id=subject, **rest),
        Truth(key=TruthKey.ACCESS, id=f"a-{subject}", **rest),
        Truth(key=TruthKey.SIGNER, id=f"1001/o-{subject}", **rest),
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
    failed = dict.fromkeys((7, 9, 12, 13), Measure.RATE)
    scored = score(calls, truth, ORIGINATING, Side(first, under, {}, first, failed))
    (box,) = scored.outcomes
    assert (box.calls, box.until, box.seconds, box.under) == (10, 6, 300, 2)
    assert (box.keys, box.keys_found, box.measure) == (2, 1, Measure.ROTATION)
    assert box.uses == {5: True, 13: True, 27: True}  # five calls a number are its ten calls
    kept = scored.honest[Unit.SUBJECT][Kind.SHOP]
    assert (kept.keys, kept.found, kept.calls, kept.under) == (1, 1, 5, 2)
    assert box.failed == 2
    assert kept.measures == {"rate": 1}
    unfound = score(calls, truth, ORIGINATING, Side({}, bytearray(15), {}))
    assert unfound.outcomes[0].until == inf
    assert unfound.outcomes[0].uses == {5: False, 13: None, 27: None}


def test_a_call_with_a_stolen_token_counts_for_nobody():
    calls = [_call(0, "s9", "8613800000009"), _call(1, "s9", "8613800000009", token="c0")]
    truth = _truth("s9", Kind.SHOP, "o9")
    scored = score(calls, truth, TERMINATING, Side({}, bytearray(2), {}))
    assert scored.honest[Unit.SUBJECT][Kind.SHOP].calls == 1
    assert scored.honest[Unit.SIGNER][Kind.SHOP].calls == 1


def _at(side, scored):
    """(keys, found, calls, under) by unit, of shops."""
    return {
        unit: (kept.keys, kept.found, kept.calls, kept.under)
        for unit, kinds in scored[side].honest.items()
        if (kept := kinds.get(Kind.SHOP)) is not None
    }


def test_subjects_behind_a_signer_are_hit_when_they_call_while_it_is_pooled():
    # Three shops of one switch; the signer is found by the fourth call, its SPC by the second.
    calls = [replace(_call(i, f"s{i % 3}", "8613800000009"), origid="o") for i in range(6)]
    truth = [row for i in range(3) for row in _truth(f"s{i}", Kind.SHOP, f"o{i}")]
    shop = {"kind": Kind.SHOP, "honest": True, "operator": "1001"}
    rest = shop | {"calls": 6, "numbers": 1, "first": 0, "last": 300}
    truth = [row for row in truth if row.key is not TruthKey.SIGNER]
    truth.append(Truth(key=TruthKey.SIGNER, id="1001/o", **rest))
    truth.append(Truth(key=TruthKey.SPC, id="1001", **rest))
    signer, spc = Key(KeyKind.SIGNER, "1001/o"), Key(KeyKind.SPC, "1001")
    first = {signer: First(3, 180, Measure.SPREAD), spc: First(1, 60, Measure.ORIGIDS)}
    under = bytearray((0, 0, 1, 1, 1, 1))
    side = Side(first, under, {}, {signer: first[signer]}, dict.fromkeys((4, 5), Measure.SPREAD))
    nothing = Side({}, bytearray(6), {})
    scored = {
        ORIGINATING: score(calls, truth, ORIGINATING, nothing),
        TERMINATING: score(calls, truth, TERMINATING, side),
    }
    # s1 and s2 called the fifth and sixth time; s0 was not there again. The SPC's label hits none.
    assert _at(TERMINATING, scored) == {
        Unit.SUBJECT: (3, 2, 6, 2),
        Unit.SIGNER: (2, 1, 6, 2),
        Unit.LABELLED: (1, 1, 6, 2),
    }
    assert scored[TERMINATING].honest[Unit.SUBJECT][Kind.SHOP].measures == {"spread": 2}
    assert scored[TERMINATING].honest[Unit.LABELLED][Kind.SHOP].measures == {"origids": 1}
    # The same subjects are counted on both sides.
    assert _at(ORIGINATING, scored) == {Unit.SUBJECT: (3, 0, 6, 0)}


def _finding(key, measure, *beside):
    return Finding(
        key=key,
        state=State.POOLED,
        measure=measure,
        strength=2.0,
        figures={},
        thresholds={},
        window=86_400,
        samples=(),
        since=0,
        until=99,
        beside=beside,
    )


def test_an_spc_with_minted_origids_is_labelled_and_fails_for_anything_beside():
    signer, spc = Key(KeyKind.SIGNER, "1001/o"), Key(KeyKind.SPC, "1001")
    origids, spread = Measure.ORIGIDS, Measure.SPREAD
    assert fails(_finding(signer, spread)) is spread
    assert fails(_finding(spc, origids)) is None
    assert fails(_finding(spc, origids, spread)) is spread
    assert fails(_finding(spc, spread, origids)) is spread
    # That is what the service does with its defaults.
    said = verifying.AS_USUAL.on
    assert said(_finding(signer, spread)) is verifying.PooledVerifying.FAIL
    assert said(_finding(spc, origids)) is verifying.PooledVerifying.LABEL
    assert said(_finding(spc, origids, spread)) is verifying.PooledVerifying.FAIL
    assert said(_finding(spc, spread, origids)) is verifying.PooledVerifying.FAIL


def test_an_operator_is_found_by_its_agents_and_an_honest_agent_shows():
    bound = {"bound": True, "caller": TN("8613700000000")}
    calls = [replace(_call(i, "s1", "8613800000001"), **bound) for i in range(6)]
    calls += [replace(_call(6 + i, "s2", "8613800000002"), **bound) for i in range(6)]
    calls.append(replace(calls[-1], id="c12", caller=TN("8613700000099")))  # a customer, once
    truth = [*_truth("s1", Kind.BINDER, "o1"), *_truth("s2", Kind.MERCHANTS, "o2")]
    for name, kind, operator, count in (
        ("s1/8613700000000", Kind.BINDER, "o1", 6),
        ("s2/8613700000000", Kind.MERCHANTS, "o2", 6),
        ("s2/8613700000099", Kind.MERCHANTS, "o2", 1),
    ):
        whose = {"kind": kind, "honest": kind.honest, "operator": operator}
        rest = whose | {"calls": count, "numbers": 1, "first": 0, "last": 0}
        truth.append(Truth(key=TruthKey.AGENT, id=name, **rest))
    mine, theirs = (Key(KeyKind.AGENT, f"{name}/8613700000000") for name in ("s1", "s2"))
    first = {mine: First(3, 180, Measure.BINDINGS), theirs: First(9, 540, Measure.BINDINGS)}
    under = bytearray(13)
    under[4] = under[5] = under[10] = under[11] = 1
    failed = dict.fromkeys((4, 5, 10, 11), Measure.BINDINGS)
    strongest = {mine: 1.5, theirs: 1.25}
    scored = score(calls, truth, ORIGINATING, Side(first, under, strongest, first, failed))
    (binder,) = scored.outcomes
    assert (binder.until, binder.measure, binder.calls, binder.failed) == (
        4, Measure.BINDINGS, 6, 2,
    )  # fmt: skip
    assert (binder.keys, binder.keys_found) == (1, 0)  # a platform; the agents count beside
    assert sorted(scored.scores) == [(Kind.MERCHANTS, 1.25), (Kind.BINDER, 1.5)]
    agents = scored.honest[Unit.AGENT][Kind.MERCHANTS]
    assert (agents.keys, agents.found, agents.calls, agents.under) == (1, 1, 6, 2)
    assert agents.measures == {"bindings": 1}
    platform = scored.honest[Unit.SUBJECT][Kind.MERCHANTS]
    assert (platform.keys, platform.found, platform.calls, platform.under) == (1, 0, 7, 2)


def test_platforms_count_as_where_their_bindings_are_not_known():
    seed = {Kind.SHOP: Honest(9), Kind.COURIER: Honest(1)}
    sides = {name: Found(honest=[{Unit.SUBJECT: seed}]) for name in SIDES}
    hit = Found(honest=[{Unit.SUBJECT: {Kind.COURIER: Honest(1, found=1)}}])
    unbound = {ORIGINATING: hit, TERMINATING: hit}
    assert report._subjects(sides, unbound, ORIGINATING) == [seed]
    (there,) = report._subjects(sides, unbound, TERMINATING)
    assert (there[Kind.SHOP].found, there[Kind.COURIER].found) == (0, 1)
    assert report._subjects(sides, None, TERMINATING) == [seed]


def test_intervals():
    half = proportion(5, 10)
    assert half.value == 0.5
    assert (round(half.low, 3), round(half.high, 3)) == (0.187, 0.813)  # Clopper and Pearson
    assert proportion(0, 0).text() == "-"
    all_found = proportion(300, 300)
    assert 0.98 < all_found.low < 0.99
    assert all_found.high == 1
    median = quantile([*range(1, 60), inf], 0.5)
    assert median.low < median.value < median.high < inf
    assert quantile([1.0, inf, inf], 0.95).value == inf
    assert "never" in quantile([1.0, inf, inf], 0.95).text()
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
    honest = {Kind.SUBSCRIBER: 30, Kind.COURIER: 1, Kind.BRANCHES: 1, Kind.NUMBERING: 1}
    monkeypatch.setattr(plan, "HONEST", honest | {Kind.MERCHANTS: 1})
    few = {Kind.POOL: 1, Kind.SLOW_POOL: 1, Kind.MINTER: 1, Kind.BINDER: 1}
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
    without = {row["kind"]: row for row in tree["ablation"]}
    # Who mints origids shows by local presence, too, once it is taken for one signer.
    for kind, left in ((Kind.MINTER, 1), (Kind.BINDER, 0)):
        off = "origids" if kind is Kind.MINTER else "bindings"
        assert without[kind.value][f"without {off}"]["value"] == left
        assert without[kind.value]["all on"]["value"] == 1
    assert {row["reached"] for row in tree["goals"]} <= {True, False}
    kept = {(row["kind"], row["side"], row["unit"]): row for row in tree["honest"]}
    everybody = [kept["all, without exemption", side, Unit.SUBJECT.value]["keys"] for side in SIDES]
    assert everybody[0] == everybody[1] > 300
    unknown = f"{Kind.COURIER.value}, bindings not known there"
    assert kept[unknown, TERMINATING, Unit.SUBJECT.value]["found"] == 1
    assert kept["all, without exemption", TERMINATING, Unit.SUBJECT.value]["found"] == 2
    assert kept["all, branches exempted", TERMINATING, Unit.SUBJECT.value]["found"] == 1
    numbering = kept[Kind.NUMBERING.value, TERMINATING, Unit.SUBJECT.value]
    assert (numbering["found"], numbering["keys"] > 200) == (0, True)
    labelled = kept[
        "SPCs found, of which calls are labelled only", TERMINATING, Unit.LABELLED.value
    ]
    assert "origids" not in labelled["measures"]  # nor is who numbers its calls found for that
    assert labelled["found"] <= 1  # one carrier has a pool for nearly its only customer
    for side in SIDES:
        assert kept[Kind.MERCHANTS.value, side, Unit.AGENT.value]["found"] == 0
    lent = next(
        row for row in tree["detection"]
        if row["kind"] == f"{Kind.BINDER.value}, bindings not known there"
    )  # fmt: skip
    assert lent["recall"]["value"] == 1
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
