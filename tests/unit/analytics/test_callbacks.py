"""Displays that are called back speak for who shows them; a pool cannot call itself."""

from itertools import pairwise
from random import Random

import pytest
from streams import ACCESS, NOON, number, numbers, somebody

from zhenxian.analytics import Detector, Key, KeyKind, Observation, State
from zhenxian.analytics.callbacks import MAX_DISPLAYS, ShownBy
from zhenxian.analytics.thresholds import DAY

HELD = numbers(Random("held"), 400)
KEYS = (ACCESS, Key(KeyKind.SUBJECT, "s-1"))


def back(conduct, caller, display, at, *, vouched=True, spc="2002"):
    keys = (Key(KeyKind.SIGNER, f"{spc}/x-{caller}"), Key(KeyKind.SPC, spc))
    conduct.observe(
        Observation(
            at=at, keys=keys, display=caller, callee=display, origid=f"x-{caller}", vouched=vouched
        )
    )


def driven(share, *, days=3, calls=1_600, conduct=None, by=None, **how):
    """A caller whose numbers call strangers, of whom a share calls back; the states it had."""
    conduct, random = Detector() if conduct is None else conduct, Random("calls")
    states = set()
    for day in range(days):
        for turn in range(calls):
            at = NOON + day * DAY + 20 * turn
            code, display = random.choice(HELD)
            callee = somebody(random, code)
            found = conduct.finding(ACCESS, at)
            states.add(found.state if found else State.WATCHING)
            conduct.observe(Observation(at=at, keys=KEYS, display=display, callee=callee))
            if random.random() < share:
                back(conduct, by or callee, display, at + 10, **how)
    return conduct, states


def counted(conduct):
    told = {}
    for one in conduct.picture(ACCESS, NOON + 3 * DAY).measures:
        told |= one.figures
    return told.get("callees who called back", 0)


def test_whom_one_in_eight_callees_calls_back_is_not_refused():
    _, states = driven(0.125)
    assert State.POOLED not in states


@pytest.mark.parametrize("share", [0.0, 0.03])
def test_a_pool_whose_callees_call_back_to_complain_is_refused_as_ever(share):
    _, states = driven(share)
    assert State.POOLED in states


def test_calls_that_nobody_vouches_for_do_not_speak_for_anybody():
    conduct, states = driven(0.125, vouched=False)
    assert State.POOLED in states
    assert counted(conduct) == 0


def test_nor_does_one_who_was_never_called():
    conduct, states = driven(0.125, by=number("28", 123_456))
    assert State.POOLED in states
    assert counted(conduct) == 0


def test_a_pair_counts_once():
    conduct, _ = driven(0.0, calls=60, days=1)
    callee = number("28", 77_777)
    display = HELD[0][1]
    conduct.observe(Observation(at=NOON + 3_000, keys=KEYS, display=display, callee=callee))
    for turn in range(50):
        back(conduct, callee, display, NOON + 4_000 + 400 * turn)
    contacts = conduct._counting.table.get(ACCESS).contacts
    assert len(contacts.back) == 1


def test_a_pool_that_calls_itself_gains_nothing():
    conduct, _ = driven(0.0, calls=200, days=1)
    for (_, one), (_, other) in pairwise(HELD):
        conduct.observe(Observation(at=NOON + 5_000, keys=KEYS, display=one, callee=other))
    for (_, one), (_, other) in pairwise(HELD):
        back(conduct, other, one, NOON + 6_000)
    assert conduct._counting.table.get(ACCESS).contacts.back == []


def test_nodes_of_a_fleet_tell_each_other():
    one, other = (Detector(fleet=True, boot=boot) for boot in (1, 2))
    callee, display = number("28", 77_777), HELD[0][1]
    driven(0.0, calls=60, days=1, conduct=one)
    one.observe(Observation(at=NOON + 3_000, keys=KEYS, display=display, callee=callee))
    back(other, callee, display, NOON + 4_000)
    one.merge("other", other.take_delta())
    other.merge("one", one.take_delta())
    assert len(one._counting.table.get(ACCESS).contacts.back) == 1


def test_a_flood_of_displays_is_bounded():
    shown = ShownBy()
    for display in range(3 * MAX_DISPLAYS):
        shown.note(display, ACCESS)
    assert len(shown._now) + len(shown._before) <= MAX_DISPLAYS


def test_where_nobody_vouches_for_calls_nobody_is_told_to_call_back_and_nothing_is_kept():
    conduct, _ = driven(0.125, calls=400, conduct=Detector(calls_back=False))
    assert counted(conduct) == 0
    assert all(conduct._counting.shown_by.get(one) is None for one in shown(conduct))
    conduct, _ = driven(0.125, calls=400)
    assert counted(conduct) > 0
    assert any(conduct._counting.shown_by.get(one) for one in shown(conduct))


def shown(conduct):
    return conduct._counting.table.get(ACCESS).displays_known
