"""The evaluation by kinds: callers drawn anew, lines that are kept, what the tables tell."""

from random import Random

import msgspec
import pytest

from bench.evaluation import goals, stages
from bench.evaluation.kinds import (
    COLD,
    DISHONEST_KINDS,
    HONEST_KINDS,
    SIGNING,
    VERIFYING,
    WITHOUT,
    Case,
    Outcome,
    calls_of,
    evaluated,
    judged,
    without,
)
from bench.evaluation.pages import honest_others, put
from bench.evaluation.report import Sheet
from bench.evaluation.stages import FULL, USUAL, Size, added, cases, main, page, read, sheet
from zhenxian.simulation.businesses import HONEST, MANY_CITIES
from zhenxian.simulation.dialling import BACK, Talk, seconds

TALK = "exponential"
SMALL = ("clinic", "enterprise, 12 offices", "slow pool, matched", "SIM box in its own city")


@pytest.mark.parametrize("kind", [*HONEST_KINDS, *DISHONEST_KINDS])
def test_each_kind_calls_in_order_and_no_two_callers_are_alike(kind):
    if kind in HONEST and HONEST[kind].calls[0] > 1_200:
        pytest.skip("the same code as the others, and a second each")
    one, other = (calls_of(Case(kind, index, COLD, TALK)) for index in (1, 2))
    assert one == calls_of(Case(kind, 1, COLD, TALK))
    assert one != other
    assert [call.at for call in one] == sorted(call.at for call in one)
    assert all(call.answered or not call.seconds for call in one)
    backs = [call for call in one if call.seat == BACK]
    shown = {call.display for call in one if call.seat != BACK}
    assert all(call.callee in shown for call in backs)


@pytest.mark.parametrize("talk", list(Talk))
def test_talk_of_each_model_has_its_mean(talk):
    random = Random(1)
    told = [seconds(random, talk, 60) for _ in range(20_000)]
    assert 54 < sum(told) / len(told) < 66


def test_kinds_with_many_cities_are_those_with_many_numbers():
    assert {"bank, 1,500 branches", "taxi switchboards", "small MVNO"} <= set(MANY_CITIES)
    assert "hospital" not in MANY_CITIES
    assert len(MANY_CITIES) >= 14


def by_side(kind, index=1, **given):
    return {(one.side, one.told): one for one in evaluated(Case(kind, index, COLD, TALK, **given))}


def test_what_becomes_of_a_pool_and_of_a_business():
    pool = by_side("pool, matched")
    assert set(pool) == {(side, told) for side in (SIGNING, VERIFYING) for told in (True, False)}
    signing = pool[SIGNING, True]
    assert signing.labelled <= signing.lowered < signing.refused <= 400
    assert signing.share > 0.8
    assert pool[VERIFYING, True].calls < signing.calls / 2
    assert pool[SIGNING, False].refused is None
    bank = by_side("bank with 60 branches")
    assert [one.refused for one in bank.values()] == [None] * 4


def test_of_who_comes_after_another_one_its_own_calls_are_judged():
    for kind in ("returns, same numbers", "returns, same callees", "recycled number"):
        calls = calls_of(Case(kind, 1, COLD, TALK))
        counted = [call for call in calls if judged(kind)(call)]
        assert counted
        assert {call.seat for call in counted} == {1}
        assert min(call.at for call in counted) > max(call.at for call in calls if call.seat == 0)
    before, after = (
        {call.display for call in calls_of(Case("recycled number", 1, COLD, TALK))
         if call.seat == seat} for seat in (0, 1)
    )  # fmt: skip
    assert after & before
    assert len(after) <= 8


def test_a_hijacked_switchboard_is_told_by_its_nights_and_its_days():
    kinds = "switchboard hijacked at night", "hijacked switchboard, its own calls"
    calls = calls_of(Case(kinds[0], 1, COLD, TALK))
    night, own = ([call for call in calls if judged(kind)(call)] for kind in kinds)
    assert len(night) > 400
    assert calls_of(Case(kinds[1], 1, COLD, TALK)) == calls
    assert max(call.at for call in own) > max(call.at for call in night)
    assert {call.display for call in night} <= {call.display for call in own}


def test_each_kind_of_evidence_is_switched_off_in_turn():
    whole = evaluated(Case("pool, matched", 1, COLD, TALK))
    each = evaluated(Case("pool, matched", 1, COLD, TALK, without=True))
    assert {one.without for one in each} == set(WITHOUT) == set(without("pool, matched"))
    assert len(each) == 4 * len(WITHOUT)
    assert {"repeats", "first calls", "strangers", "rotation", "local-presence"} <= set(WITHOUT)
    rows = added([*whole, *each]).rows
    assert any(row[1] == "repeats" and row[3] == "no" for row in rows)


def test_a_pool_among_a_hosts_customers_is_found_alone_where_they_are_known():
    pool, host = "pool as a customer of a host", "host of that pool, its other customers"
    found = by_side(pool)[SIGNING, True]
    assert found.refused < 400
    assert found.share > 0.6
    others = by_side(host)[SIGNING, True]
    assert (others.labelled, others.refused) == (None, None)
    calls = calls_of(Case(host, 1, COLD, TALK))
    assert sum(map(judged(pool), calls)) == found.calls
    off = evaluated(Case(host, 1, COLD, TALK, without=True))
    assert {one.without for one in off} == {"customers"}
    assert {one.without for one in evaluated(Case(pool, 1, COLD, TALK, without=True))} == {
        *WITHOUT,
        "customers",
    }


def test_straw_men_are_refused_and_a_new_business_of_their_reseller_is_not():
    pool, business = "straw men of a reseller", "new business of that reseller"
    assert by_side(pool)[SIGNING, True].share > 0.8
    found = by_side(business)[SIGNING, True]
    assert found.refused is None
    calls = calls_of(Case(business, 1, COLD, TALK))
    own = [call for call in calls if judged(business)(call)]
    assert found.calls == len(own) >= 100
    assert {call.seat for call in own} == {20}
    first = min(call.at for call in calls)
    assert min(call.at for call in own) > first + 12 * 3_600


def test_what_is_declared_has_no_effect_but_on_a_pool():
    declared = "reminders by robot, declared"
    cases = [Case(declared, index, COLD, TALK) for index in range(1, 5)]
    found = [one for case in cases for one in evaluated(case) if one.side == SIGNING and one.told]
    assert all(one.labelled is None for one in found)
    assert set(without(declared)) == {"declaration"}
    pool = by_side("declared pool")[SIGNING, True]
    assert pool.share > 0.3


def test_tables_go_into_their_places_of_a_page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- one -->\nold\n<!-- one ends -->\nb\n<!-- two -->\n")
    sheet = Sheet("one", "One", ("x", "y"))
    sheet.add("1", "2")
    for _ in range(2):
        put(path, [sheet, Sheet("two", "Two", ("x",)), Sheet("three", "Three", ("x",))])
        text = path.read_text()
        assert "old" not in text
        assert text.count("| 1 | 2 |") == 1
        assert text.startswith("a\n")
        assert text.endswith("\nb\n<!-- two -->\n")


def test_rows_of_kinds_evaluated_anew_take_their_places_and_others_stay(tmp_path):
    path = tmp_path / "page.md"
    names = ("page-honest", "evidence", "goals")
    path.write_text("".join(f"<!-- {name} -->\n<!-- {name} ends -->\n" for name in names))
    before = [
        *(outcome(kind, turn, side=side, told=told, labelled=9 if turn < few else None)
          for kind, few in (("clinic", 2), ("courier", 1), ("person", 0))
          for turn in range(20) for side in (SIGNING, VERIFYING) for told in (True, False)),
        outcome("pool, matched", 0, refused=200),
    ]  # fmt: skip
    put(path, [page(before, honest=True), goals.sheet(before)])
    whole = path.read_text()
    anew = [one for one in before if one.case.startswith("courier")]
    others = list(honest_others(path, {"courier"}))
    assert {one.case.split("|")[0] for one in others} == {"clinic", "person"}
    put(path, [page(anew, honest=True), goals.sheet([*anew, *others])], {"courier"})
    assert path.read_text() == whole
    gone = [outcome("courier", turn, refused=3, lowered=3, labelled=3) for turn in range(40)]
    put(path, [page(gone, honest=True), goals.sheet([*gone, *others])], {"courier"})
    text = path.read_text()
    assert "| cold | courier | 40: 40, 40, 40 (100.0%) | - | - | - |" in text
    assert text.index("| clinic |") < text.index("| courier |") < text.index("| person |")
    assert "| refused | any honest kind | signing | yes | 80 | at most 0% of each | 100.0%" in text
    assert "| refused within 250 calls | pool, matched | signing | yes | 1 |" in text


def outcome(kind, index, *, side=SIGNING, told=True, talk=TALK, **given):
    name = Case(kind, index, COLD, talk).name
    usual = {"labelled": None, "lowered": None, "refused": None, "share": 0.0, "lowered_share": 0.0}
    return Outcome(name, side, told, "", 100, **{**usual, **given})


def test_each_goal_is_told_with_what_it_came_to():
    found = {"labelled": 40, "lowered": 60}
    outcomes = [
        *(outcome("clinic", index) for index in range(20)),
        *(outcome("courier", index, labelled=9 if index < 3 else None) for index in range(20)),
        *(outcome("pool, matched", index, refused=200, **found) for index in range(9)),
        outcome("pool, matched", 9, refused=251, **found),
        *(outcome("pool, unmatched", index, refused=200, **found) for index in range(8)),
        outcome("pool, unmatched", 8, talk="mixed", **found),
        outcome(
            "matched pool over 20 accesses", 0, share=0.99, day_share=0.95, refused=30, **found
        ),
        outcome("unmatched pool over 20 accesses", 0, share=0.99, day_share=0.8, **found),
        outcome("robot, one mobile number", 0, lowered=90, day_lowered=True),
        outcome("robot, one fixed line", 0, lowered=3_000),
        outcome("pool, matched", 0, told=False, refused=330, numbers=200, **found),
        outcome("pool, half matched", 0, told=False, refused=350, numbers=200, **found),
    ]
    rows = {row[:4]: row[4:] for row in goals.sheet(outcomes).rows}
    honest = "any honest kind", SIGNING, "yes"
    assert rows["refused", *honest][2:] == ("0 of each kind, at most 16.8%", "reached")
    came, reached = rows["labelled or lowered at some time", *honest][2:]
    assert came.startswith("15.0% of 20 (courier), at most 37")
    assert reached == "short: courier"
    came, reached = rows["refused within 250 calls", "pool, matched", SIGNING, "yes"][2:]
    assert came.startswith("90.0% [")
    assert came.endswith("; exponential 90%; median call 200")
    assert reached == "reached"
    assert rows["refused within 250 calls", "pool, unmatched", SIGNING, "yes"][3] == "short"
    let = "let through of a day"
    came, reached = rows[let, "matched pool over 20 accesses", SIGNING, "yes"][2:]
    assert (came, reached) == ("5.0% (of two days 1.0%; 0 never refused)", "reached")
    assert rows[let, "unmatched pool over 20 accesses", SIGNING, "yes"][3] == "short"
    day = "lowered or refused within the first day"
    assert rows[day, "robot, one mobile number", SIGNING, "yes"][3] == "reached"
    assert rows[day, "robot, one fixed line", SIGNING, "yes"][3] == "short"
    bound = "refused within 1.1·√(502·numbers) calls"  # of 200 numbers 348
    assert rows[bound, "pool, matched", SIGNING, "no"][3] == "reached"
    assert rows[bound, "pool, half matched", SIGNING, "no"][3] == "short"


def test_goals_are_of_kinds_that_are_evaluated():
    assert {goal.kind for goal in goals.goals()} <= {*HONEST_KINDS, *DISHONEST_KINDS}


def test_who_returns_with_registered_numbers_is_refused_at_the_first_call():
    found = by_side("returns, same numbers, registered", index=2)
    assert found[SIGNING, True].refused == 1
    assert found[VERIFYING, True].refused != 1  # whose carrier does not ask that registry


def test_what_a_day_came_to_is_told_beside_all_of_it():
    pool = by_side("pool, matched")[SIGNING, True]
    assert pool.day_lowered
    assert 0.5 < pool.day_share < pool.share
    assert 400 < pool.numbers <= 5_000
    clinic = by_side("clinic")[SIGNING, True]
    assert (clinic.day_lowered, clinic.day_share) == (False, 0.0)


def test_sizes_are_those_that_are_asked_for():
    for size, many, honest in ((USUAL, 200, 48), (FULL, 1_000, 1_000)):
        cold = [case for case in cases(size) if case.phase == COLD and not case.without]
        for kind in HONEST_KINDS:
            least = many if kind in MANY_CITIES else honest
            assert len({case.index for case in cold if case.kind == kind}) >= least
        assert {case.kind for case in cold} == {*HONEST_KINDS, *DISHONEST_KINDS}
        assert {case.talk for case in cold} == {talk.value for talk in Talk}
        assert any(case.phase != COLD for case in cases(size))


def test_lines_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "HONEST_KINDS", SMALL[:2])
    monkeypatch.setattr(stages, "DISHONEST_KINDS", SMALL[2:])
    size = Size(many=1, honest=1, others=1, warm=0, without=0)
    assert len(list(cases(size))) == 4
    monkeypatch.setattr(stages, "USUAL", size)
    folder = ["--folder", str(tmp_path), "--workers", "1"]
    assert main(folder) == 0
    path = tmp_path / "eval-stages.jsonl"
    first = path.read_bytes()
    assert len(first.splitlines()) == 16  # two sides each, with talk told and not
    cut = first.splitlines(keepends=True)
    path.write_bytes(b"".join(cut[:-2]) + cut[-2][:20] + b"\n")
    assert main(folder) == 0
    again = list(read(path))
    assert {one.case for one in again} == {case.name for case in cases(size)}
    kept = set(first.splitlines()[:12])
    assert kept <= {msgspec.json.encode(one) for one in again}
    assert len(again) == 16
    page = (tmp_path / "eval-stages.md").read_text()
    assert "| slow pool, matched | signing | cold | yes | 1 |" in page


def test_a_table_tells_bounds_and_never_a_share_alone():
    outcomes = evaluated(Case("clinic", 1, COLD, TALK))
    made = sheet(outcomes, honest=True)
    assert made.rows[0][:5] == ("clinic", "signing", "cold", "yes", "1")
    assert made.rows[0][5] == "0 (at most 97.5%)"
    assert sheet(outcomes, honest=False).rows == []
    assert page(outcomes, honest=True).rows[0][:3] == ("cold", "clinic", "1: 0, 0, 0 (97.5%)")
