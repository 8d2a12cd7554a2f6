"""The evaluation by kinds: callers drawn anew, lines that are kept, what the tables tell."""

from random import Random

import msgspec
import pytest

from bench.evaluation import stages
from bench.evaluation.kinds import COLD, SIGNING, UNTOLD, VERIFYING, Case, calls_of, evaluated
from bench.evaluation.stages import Size, cases, main, read, sheet
from zhenxian.simulation.businesses import HONEST, MANY_CITIES
from zhenxian.simulation.dialling import BACK, Talk, seconds
from zhenxian.simulation.rackets import DISHONEST

SMALL = ("clinic", "enterprise, 12 offices", "slow pool, matched", "SIM box in its own city")


@pytest.mark.parametrize("kind", [*HONEST, *DISHONEST])
def test_each_kind_calls_in_order_and_no_two_callers_are_alike(kind):
    if kind in HONEST and HONEST[kind].calls[0] > 1_200:
        pytest.skip("the same code as the others, and a second each")
    one, other = (calls_of(Case(kind, index, COLD, UNTOLD)) for index in (1, 2))
    assert one == calls_of(Case(kind, 1, COLD, UNTOLD))
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


def test_what_becomes_of_a_pool_and_of_a_business():
    pool = {one.side: one for one in evaluated(Case("pool, matched", 1, COLD, "exponential"))}
    assert set(pool) == {SIGNING, VERIFYING}
    assert pool[SIGNING].labelled <= pool[SIGNING].lowered < pool[SIGNING].refused <= 400
    assert pool[SIGNING].share > 0.8
    assert pool[VERIFYING].calls < pool[SIGNING].calls / 2
    bank = evaluated(Case("bank with 60 branches", 1, COLD, "exponential"))
    assert [one.refused for one in bank] == [None, None]


def test_lines_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "HONEST", {name: HONEST[name] for name in SMALL[:2]})
    monkeypatch.setattr(stages, "DISHONEST", {name: DISHONEST[name] for name in SMALL[2:]})
    size = Size(many=1, others=1, warm=0, every_talk=False)
    assert len(list(cases(size))) == 8
    monkeypatch.setattr(stages, "USUAL", size)
    folder = ["--folder", str(tmp_path), "--workers", "1"]
    assert main(folder) == 0
    path = tmp_path / "eval-stages.jsonl"
    first = path.read_bytes()
    assert len(first.splitlines()) == 16  # two sides each
    cut = first.splitlines(keepends=True)
    path.write_bytes(b"".join(cut[:-2]) + cut[-2][:20] + b"\n")
    assert main(folder) == 0
    again = list(read(path))
    assert {one.case for one in again} == {case.name for case in cases(size)}
    assert [msgspec.json.encode(one) for one in again[:14]] == first.splitlines()[:14]
    page = (tmp_path / "eval-stages.md").read_text()
    assert "| slow pool, matched | signing | cold | yes | 1 |" in page


def test_a_table_tells_bounds_and_never_a_share_alone():
    outcomes = evaluated(Case("clinic", 1, COLD, UNTOLD))
    made = sheet(outcomes, honest=True)
    assert made.rows[0][:5] == ("clinic", "signing", "cold", "no", "1")
    assert made.rows[0][5] == "0 (at most 97.5%)"
    assert sheet(outcomes, honest=False).rows == []
