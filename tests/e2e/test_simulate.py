"""`zhenxian simulate` against the real service: what it sends, and what it tells of the answers."""

from __future__ import annotations

import json
import subprocess
import sys

import forks
import pytest
from running import Service, environment

CALLS = 700  # the night, and the first hour of trade
SHARES = {
    "subscriber": 5, "shop": 2, "courier": 1, "pool": 1, "unverified": 1,
    "replayed": 1, "pasted": 1,
}  # fmt: skip


# Made-up traffic is over in minutes and tells no talk: pools are found by their structure here.
THRESHOLDS = "structure_alone = true\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A running service that refuses by structure alone."""
    folder = tmp_path_factory.mktemp("service")
    thresholds = folder / "thresholds.toml"
    thresholds.write_text(THRESHOLDS)
    running = Service(folder / "service", displays__thresholds=str(thresholds)).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


def zhenxian(folder, *arguments, status=0):
    """One command; what it printed."""
    done = forks.run(arguments, environment(), folder)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def simulate(folder, *arguments, shares=SHARES, **more):
    """Run it as fast as it goes; what it told."""
    kinds = [f"--share={name}={count}" for name, count in shares.items()]
    told = zhenxian(folder, "simulate", *kinds, "--rate", 10_000, "--json", *arguments, **more)
    return json.loads(told)


@pytest.fixture(scope="module")
def told(service, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulate")
    found = simulate(
        folder, "--url", service.base, "--calls", CALLS, "--answers", folder / "answers.jsonl"
    )
    return folder, found


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_kind_meets_what_stops_it(told):
    _, found = told
    kinds = found["kinds"]
    assert sum(kind["calls"] for kind in kinds.values()) + found["not_placed"] == CALLS
    for name in ("subscriber", "shop"):
        kind = kinds[name]
        assert kind["passed"] == kind["calls"] > 0, kind
    # A pair that is bound already, this very second, is not bound again.
    courier = kinds["courier, privacy numbers"]
    assert courier["passed"] > courier["calls"] * 0.9, courier
    pool = kinds["national pool"]
    assert 0 < pool["passed"] <= 40, pool
    assert pool["reasons"]["POOLED_DISPLAY"] == pool["refused"] > 40
    reseller = kinds["unverified numbers"]
    assert reseller["reasons"] == {"HOLDING_UNVERIFIED": reseller["calls"]}
    assert kinds["replayed token"]["reasons"] == {"REPLAYED": kinds["replayed token"]["calls"]}
    pasted = kinds["cut-and-pasted token"]
    assert pasted["failed"] == pasted["calls"] > 0
    assert set(pasted["reasons"]) <= {"ORIG_MISMATCH", "DEST_MISMATCH"}


def test_answers_and_truth_lie_side_by_side(told):
    folder, found = told
    answers, truth = lines(folder / "answers.jsonl"), lines(folder / "truth.jsonl")
    assert len(answers) + found["not_placed"] == CALLS
    counted = {}
    for answer in answers:
        assert {"call", "sent"} <= set(answer)
        reason = answer.get("reason") or answer["signing"]
        counted[reason] = counted.get(reason, 0) + 1
    told_ = {}
    for row in found["answers"]:
        told_[row["reason"]] = told_.get(row["reason"], 0) + row["calls"]
    assert counted == told_
    kinds = {row["kind"] for row in truth}
    assert set(found["kinds"]) <= kinds
    # Answers were given without the truth: they name no kind.
    assert not any(kind in json.dumps(answers) for kind in kinds)


def test_calls_behind_privacy_numbers_are_bound_one_by_one(serve, tmp_path):
    thresholds = tmp_path / "thresholds.toml"
    thresholds.write_text(THRESHOLDS)
    service = serve(displays__thresholds=str(thresholds))
    found = simulate(
        tmp_path, "--url", service.base, "--calls", 1_900, "--answers", tmp_path / "answers.jsonl",
        shares={"merchants": 1, "binder": 1, "numbering": 1},
    )  # fmt: skip
    kinds = found["kinds"]
    assert sum(kind["calls"] for kind in kinds.values()) == 1_900
    subscribers = kinds.pop("carrier that numbers its calls")
    assert subscribers["passed"] == subscribers["calls"] > 100, subscribers
    # A pair that is bound already, this very second, is not bound again.
    merchants = kinds["merchants, privacy numbers"]
    assert merchants["passed"] > merchants["calls"] * 0.9 > 100, merchants
    assert set(merchants["reasons"]) <= {"VERIFIED", "NOT_BOUND"}, merchants
    binder = kinds["platform that binds for spammers"]
    assert binder["passed"] > 400, binder
    assert binder["reasons"]["POOLED_DISPLAY"] > 100, binder
    signed = [answer for answer in lines(tmp_path / "answers.jsonl") if answer.get("attest")]
    assert {answer["attest"] for answer in signed} == {"A", "B"}  # B of who is suspected
    agents = [row for row in lines(tmp_path / "truth.jsonl") if row["key"] == "agent"]
    assert {row["kind"] for row in agents} == set(kinds)


def test_records_can_be_imported_instead(serve, tmp_path):
    shares = {"shop": 2, "office": 1}
    written = zhenxian(
        tmp_path, "simulate", "--share=shop=2", "--share=office=1", "--records", "records"
    )
    service = serve(
        alter=lambda world: [
            zhenxian(tmp_path, *command.split()[1:6], "reason", "-c", world.config)
            for command in written.splitlines()
        ]
    )
    found = simulate(
        tmp_path, "--url", service.base, "--known", "--sign-only", "--calls", 60, shares=shares
    )
    assert found["answers"] == [{"outcome": "signed", "reason": "HELD_AND_VERIFIED", "calls": 60}]


def test_a_service_that_is_not_there_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "zhenxian", "simulate", "--url", "http://127.0.0.1:9"],
        check=False,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "is the service running there?" in done.stderr
    assert "Traceback" not in done.stderr
