"""The evaluation is fast, and its lines are those of the plainest drive, octet for octet."""

import gc

import msgspec
import plain_drive
import pytest

from bench.evaluation.kinds import COLD, WARM, Case, evaluated

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


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(enabled):
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        evaluated(Case("person", 2_000, COLD, "mixed"))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
