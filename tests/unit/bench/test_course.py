"""The evaluation is fast, and its lines are those of the plainest drive, octet for octet."""

import gc
import hashlib

import msgspec
import plain_drive
import pytest
from msgspec.structs import replace

from bench.evaluation import kinds
from bench.evaluation.course import Asked
from bench.evaluation.kinds import (
    COLD,
    DISHONEST_KINDS,
    HONEST_KINDS,
    WARM,
    Case,
    calls_of,
    evaluated,
    without,
)
from zhenxian.analytics import Measure, Policy

# Of a caller's calls as they were drawn when lines were first kept; lines on file hold these.
DRAWN = {
    "bank, 1,500 branches": "0beae1151fc8f591",
    "insurers nationwide": "a0f13acecd401b28",
    "estate franchise": "c8cd494c90df4ef6",
    "taxi switchboards": "d0642907945b5def",
    "pharmacy chain (US)": "446e454aeedf0c08",
    "hotel chain": "105fa84eac53ffc3",
    "transit carrier": "232156d0f1a1eb7c",
    "PBX host, 2,000 customers": "36d46809b519d5f1",
    "PBX host (US)": "cabbbc6ae88494ee",
    "PBX host (German)": "f019bfeea1cdc792",
    "small MVNO": "926728e796c1f620",
    "enterprise, 12 offices": "14b75fc585dfb2c3",
    "PBX host in one province": "fc1758af9b3403bd",
    "bank with 60 branches": "c552197e8e103377",
    "clinic": "748e55dc0120ee73",
    "hospital": "68f1fe3eb1bf2b39",
    "courier": "e930a6e75357dc1d",
    "bank on 955xx": "d347648ab4c112d3",
    "call centre, ten brands": "485667b8898b5965",
    "recruiter": "bb9f19ab7276449b",
    "census": "8eadf85fdca2990b",
    "poll": "b239c157e8f511ed",
    "alarm centre": "0a7d236f046800b5",
    "school broadcast": "1c81d15124ce08f3",
    "person": "7a747a226bb9bc03",
    "telehealth, privacy numbers": "da92f7ec78faa859",
    "ride hailing, privacy numbers": "eba9017bc927e040",
    "reminders by robot, declared": "4ea2ae4c24fb8568",
    "office with six lines": "f1b9ec4aa3448d96",
    "recycled number": "87d8041c9e11eaa7",
    "hijacked switchboard, its own calls": "b36860eaa57078bf",
    "host of that pool, its other customers": "4e6abb17f04f753a",
    "new business of that reseller": "28a2c9a893475296",
    "pool, matched": "132997d53ac32937",
    "pool, half matched": "735da70752cbea6e",
    "pool, unmatched": "f777d12bbac161be",
    "slow pool, matched": "d2b5bb023c66597c",
    "slow pool, unmatched": "cfb96d9c4a0bdc45",
    "matched pool over 20 accesses": "373669a592819853",
    "unmatched pool over 20 accesses": "9bea9cf5e3d1467c",
    "matched pool over 5 carriers": "79ccde965a716b96",
    "matched pool, an origid a call": "1a41921f8382c51e",
    "pool that mixes half real business": "b8651f9a93215193",
    "pool as a customer of a host": "4e6abb17f04f753a",
    "straw men of a reseller": "28a2c9a893475296",
    "declared pool": "ac1943939b76acfc",
    "pool, each callee three times": "9089d60b1c18ade9",
    "robot, one mobile number": "99b05ab4e762a045",
    "robot, one fixed line": "d9c688aff412fbf4",
    "robot firm, 30 numbers": "b9460b377cbf345b",
    "300 numbers of one city": "6bd7caf4e993e6d0",
    "SIM box, nationwide": "521ff886aed30d3e",
    "SIM box in its own city": "b194547960750e40",
    "forty numbers in turn, nationwide": "475a2d21125a9392",
    "forty numbers in turn in one city": "f484cac0d0f5f738",
    "bindings rented to 300 agents": "c940e5c5db7a0520",
    "switchboard hijacked at night": "b36860eaa57078bf",
    "returns, same numbers": "8bbd5e38a6a05801",
    "returns, same numbers, registered": "628a8688008d79d6",
    "returns, same callees": "daf72ea89963dd4f",
}
CASES = (
    Case("clinic", 2_003, WARM, "mixed"),
    Case("bank with 60 branches", 2_003, COLD, "exponential"),
    Case("telehealth, privacy numbers", 2_003, COLD, "exponential"),
    Case("recycled number", 2_003, COLD, "lognormal"),
    Case("hijacked switchboard, its own calls", 2_003, COLD, "mixed"),
    Case("switchboard hijacked at night", 2_003, COLD, "exponential", without=True),
    Case("slow pool, matched", 2_003, COLD, "exponential", without=True),
    Case("reminders by robot, declared", 2_003, COLD, "exponential", without=True),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lines_are_those_of_the_plainest_drive(case):
    plain = plain_drive.outcomes(case)
    assert [msgspec.json.encode(one) for one in evaluated(case)] == [
        msgspec.json.encode(one) for one in plain
    ]


@pytest.mark.parametrize("kind", [*HONEST_KINDS, *DISHONEST_KINDS])
def test_calls_are_drawn_as_those_on_file(kind):
    drawn = calls_of(Case(kind, 2_011, COLD, "mixed"))
    told = repr([tuple(call) for call in drawn]).encode()
    assert hashlib.blake2b(told, digest_size=8).hexdigest() == DRAWN[kind]


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(enabled):
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        evaluated(Case("person", 2_000, COLD, "mixed"))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_what_nobody_asked_for_makes_no_difference():
    usual = Policy()
    asked = Asked(usual)
    off = {name: without("pool, matched")[name] for name in ("spread", "repeats", "first calls")}
    assert not any(asked.differs(policy, usual) for policy in off.values())
    assert Measure.SPREAD in asked.policy.measures
    assert asked.policy.talk.first_label == usual.talk.first_label
    assert [asked.differs(policy, usual) for policy in off.values()] == [True, False, True]
    assert asked.policy.repeats.label == usual.repeats.label
    assert all(asked.differs(policy, usual) for policy in off.values())
    assert asked.differs(replace(usual, suspect=0.6), usual)
    with pytest.raises(TypeError):
        list(asked.policy.measures)


def test_what_makes_no_difference_is_not_driven(monkeypatch):
    drives = []
    plain = kinds.driven

    def counted(*given, **more):
        drives.append(1)
        return plain(*given, **more)

    monkeypatch.setattr(kinds, "driven", counted)
    lines = evaluated(Case("SIM box in its own city", 2_003, COLD, "mixed", without=True))
    assert len(lines) == 44
    assert 4 < len(drives) <= 28
