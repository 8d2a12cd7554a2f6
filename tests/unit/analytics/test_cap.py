"""A cap on calls a minute: over any minute, for each caller, and bounded."""

from streams import ACCESS, NOON, SUBJECT

from zhenxian.analytics import Detector, Key, KeyKind, Observation, Policy
from zhenxian.analytics.cap import MAX_CALLERS, Cap
from zhenxian.core.tn import TN


def test_without_a_limit_everybody_may_call():
    cap = Cap(0)
    assert all(cap.admits(ACCESS, NOON) for _ in range(1_000))


def test_so_many_within_any_minute_and_again_a_minute_later():
    cap = Cap(3)
    times = [0, 30, 59, 59, 60, 61, 89, 90, 119]
    admitted = [cap.admits(ACCESS, NOON + at) for at in times]
    assert admitted == [True, True, True, False, True, False, False, True, True]
    assert cap.admits(SUBJECT, NOON)


def test_a_clock_that_goes_back_locks_nobody_out():
    cap = Cap(1)
    assert cap.admits(ACCESS, NOON + 10_000)
    assert cap.admits(ACCESS, NOON)


def test_a_flood_of_callers_is_bounded():
    cap = Cap(2)
    for index in range(MAX_CALLERS + 10):
        cap.admits(Key(KeyKind.ACCESS, str(index)), NOON)
    assert len(cap._calls) == MAX_CALLERS


def test_calls_that_another_node_let_through_count():
    one, other = (Detector(Policy(cap=5), fleet=True, boot=boot) for boot in (1, 2))
    assert one.admits(ACCESS, NOON)
    for index in range(4):
        callee = TN(f"8613800138{index:03}")
        other.observe(
            Observation(at=NOON, keys=(ACCESS,), display=TN("8675588880001"), callee=callee)
        )
    one.merge("other", other.take_delta())
    assert not one.admits(ACCESS, NOON + 1)
    assert one.admits(ACCESS, NOON + 60)
