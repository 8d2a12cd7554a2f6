"""`zhenxian simulate` without a service: files, pace, counting, wrong usage."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from zhenxian.cli.commands import app
from zhenxian.cli.simulate import KINDS
from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN
from zhenxian.registry.model import Access, Holding
from zhenxian.simulation import Call, Key, Kind, Scenario, Traffic, Truth
from zhenxian.simulation.stream import Answer, Proxy, Tally, binding, paced, registrable


def run(*arguments, status=0):
    result = CliRunner().invoke(app, ["simulate", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_calls_go_to_a_file_and_the_truth_beside_it(tmp_path):
    out = tmp_path / "calls.jsonl"
    told = run("--share", "pool=1", "--share", "shop=2", "--seed", 3, "--out", out, "--json")
    calls, truth = lines(out), lines(tmp_path / "truth.jsonl")
    assert json.loads(told) == {"calls": len(calls), "truth": len(truth)}
    expected = list(Traffic(Scenario.of({Kind.POOL: 1, Kind.SHOP: 2}, seed=3)).calls())
    assert [call["id"] for call in calls] == [call.id for call in expected]
    assert set().union(*calls) <= set(Call.__struct_fields__)
    assert {row["kind"] for row in truth} == {"national pool", "shop", "carrier as a whole"}


def test_kinds_are_named_once():
    assert set(KINDS.values()) == set(Kind) - {Kind.CARRIER}
    assert KINDS["sim-box"] is Kind.SIM_BOX


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--share", "poool=1"), "poool=1"),
        (("--share", "pool=many"), "pool=many"),
        (("--rate", "5", "--speed", "5"), "exclude"),
        (("--out", "x", "--sign-only"), "asks no service"),
    ],
)
def test_wrong_usage_is_told(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 2
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_simulated_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["simulate", "--days", "0", "--out", str(tmp_path / "x")])
    assert isinstance(result.exception, ConfigError)


class Clock:
    """Time passes only when somebody sleeps."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


def _call(index, at, **more):
    members = {
        "access": "a", "subject": "s", "spc": "1001", "origid": "o",
        "display": TN("8613800000001"), "callee": TN("8613900000000"),
    }  # fmt: skip
    return Call(id=f"c{index}", at=at, duration=9, **members | more)


def test_pace_is_even_or_that_of_the_calls():
    calls = [_call(index, at) for index, at in enumerate((0, 0, 100, 400))]
    clock = Clock()
    even = [clock.now for _ in paced(calls, clock, clock.sleep, rate=2)]
    assert even == [100, 100.5, 101, 101.5]
    clock = Clock()
    own = [clock.now for _ in paced(calls, clock, clock.sleep, speed=10)]
    assert own == [100, 100, 110, 140]
    clock = Clock()
    at_once = [clock.now for _ in paced(calls, clock, clock.sleep)]
    assert at_once == [100] * 4
    clock = Clock()
    late = []
    for _ in paced(calls, clock, clock.sleep, rate=1):
        late.append(clock.now)
        clock.now += 1.5 if len(late) == 1 else 0.0
    assert late == [100, 101.5, 102, 103]  # what was missed is caught up, and no more


def test_origids_of_switches_become_their_subscribers_own():
    traffic = Traffic(Scenario.of({Kind.SUBSCRIBER: 5, Kind.SHOP: 1}, seed=3))
    shared = traffic.shared_accesses()
    assert len(shared) == 5
    found = list(registrable(traffic.records(), shared))
    accesses = [record for record in found if isinstance(record, Access)]
    assert len(accesses) == 6
    assert len({access.origid for access in accesses}) == 6
    assert all(record.spcs == () for record in found if isinstance(record, Holding))


def test_a_binding_is_short_and_of_this_call():
    call = _call(1, 0, caller=TN("8613700000000"), bound=True)
    made = binding(call, 1_000)
    assert (made.platform, made.x, made.a, made.b) == (
        "s", call.display, call.caller, call.callee,
    )  # fmt: skip
    assert made.active(1_000)
    assert not made.active(1_010)
    with pytest.raises(ValueError, match="bound call"):
        binding(_call(1, 0, bound=True), 1_000)


def test_a_token_that_was_never_signed_cannot_be_stolen():
    asked = []

    def refuse(body):
        asked.append(body)
        error = {"policyException": {"variables": ["NOT_BOUND", "why"]}}
        return 403, {"requestError": error}

    proxy = Proxy(refuse, None, lambda _: True, lambda: 5.0)
    assert proxy.place(_call(1, 0)) == Answer(call="c1", sent=5, signing="NOT_BOUND")
    assert proxy.place(_call(2, 9, token="c1")) is None
    assert len(asked) == 1
    with pytest.raises(ConfigError, match="answered 500"):
        Proxy(lambda _: (500, {}), None, lambda _: True, lambda: 5.0).place(_call(3, 0))


def test_counting_joins_the_truth_last():
    tally = Tally()
    tally.add(
        _call(1, 0),
        Answer(
            call="c1",
            sent=5,
            signing="HELD_AND_VERIFIED",
            attest="A",
            verstat="TN-Validation-Passed",
        ),
    )
    tally.add(
        _call(2, 0),
        Answer(
            call="c2",
            sent=5,
            signing="OK",
            attest="A",
            verstat="TN-Validation-Passed",
            reason="VERIFIED",
            labels=("label",),
        ),
    )
    stolen = _call(3, 0, subject=None, access=None, token="c1")
    tally.add(
        stolen,
        Answer(
            call="c3",
            sent=5,
            signing="",
            attest="",
            verstat="TN-Validation-Failed",
            reason="REPLAYED",
        ),
    )
    gateway = _call(4, 0, subject=None, access=None)
    tally.add(gateway, Answer(call="c4", sent=5, signing="ACCESS_UNKNOWN", attest="C"))
    tally.add(stolen, None)
    rest = {"operator": "o", "calls": 1, "numbers": 1, "first": 0, "last": 0}
    truth = [
        Truth(key=Key.SUBJECT, id="s", kind=Kind.SHOP, honest=True, **rest),
        Truth(key=Key.CALL, id="c3", kind=Kind.REPLAYED, honest=False, **rest),
        Truth(key=Key.SIGNER, id="1001/o", kind=Kind.MINTER, honest=False, **rest),
    ]
    assert tally.lost == 1
    assert tally.by_kind(truth) == {
        Kind.SHOP: {("passed", "HELD_AND_VERIFIED"): 1, ("labelled", "VERIFIED"): 1},
        Kind.REPLAYED: {("failed", "REPLAYED"): 1},
        Kind.MINTER: {("signed", "ACCESS_UNKNOWN"): 1},
    }
