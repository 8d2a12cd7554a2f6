"""What a registrar cleared stays cleared: it is learnt of late, and nobody brings it back."""

from __future__ import annotations

from random import Random

import pytest
from streams import ACCESS, ALONE, NOON, SIGNER, SUBJECT, calls, fed, people, pool

from zhenxian.analytics import Detector, State

LAST = NOON + 99 * 20  # when the hundredth call of `calls` begins
LATER = LAST + 1_000


def found(keys=ACCESS, **more):
    conduct = Detector(ALONE, **more)
    fed(conduct, calls(keys, pool(Random(1), 100)))
    return conduct


def test_it_forgets_figures_and_finding_and_tells_nobody():
    conduct = found(fleet=True)
    conduct.take_delta()
    conduct.cleared(ACCESS, LAST)
    assert conduct.finding(ACCESS, LAST) is None
    assert conduct.picture(ACCESS, LAST).calls == 0
    assert conduct.take_delta() is None
    assert [(saved.key, saved.content) for saved in conduct.take_findings()] == [
        (str(ACCESS), None)
    ]


def test_the_same_conduct_after_it_is_found_again_and_stays():
    conduct = found()
    conduct.cleared(ACCESS, LAST)
    again = fed(conduct, calls(ACCESS, pool(Random(2), 100), start=LATER))
    assert 0 < again[ACCESS] <= 100
    conduct.cleared(ACCESS, LAST)  # learnt of once more, as after a restart
    at = LATER + 99 * 20
    assert conduct.finding(ACCESS, at).state is State.POOLED
    assert conduct.picture(ACCESS, at).calls == 100
    assert conduct.finding(ACCESS, at).since > LAST


@pytest.mark.parametrize("behind", [0, 40], ids=["same second", "clock behind"])
def test_calls_that_follow_at_once_are_not_taken_for_older_when_it_is_learnt_of_again(behind):
    conduct = found((ACCESS, SUBJECT))
    for key in (ACCESS, SUBJECT):
        conduct.cleared(key, LAST)
    again = calls((ACCESS, SUBJECT), pool(Random(2), 100), start=LAST - behind, every=1)
    assert set(fed(conduct, again)) == {ACCESS, SUBJECT}
    counts = [one.content for one in conduct.take_touched(10) if one.content is not None]
    findings = [one.content for one in conduct.take_findings() if one.content is not None]
    restarted = Detector(ALONE)
    restarted.restore(counts, findings)
    for key in (ACCESS, SUBJECT):
        restarted.cleared(key, LAST)
        assert restarted.finding(key, LAST + 60).state is State.POOLED
        assert restarted.picture(key, LAST + 60).calls == 100


def test_learnt_of_late_it_takes_what_was_confirmed_since_by_earlier_calls():
    """The node went on counting on top of what was cleared."""
    conduct = found()
    fed(conduct, calls(ACCESS, pool(Random(2), 20), start=LATER))
    assert conduct.confirmed(conduct.finding(ACCESS, LATER)) > LAST
    conduct.cleared(ACCESS, LAST)
    assert conduct.finding(ACCESS, LATER) is None
    assert conduct.picture(ACCESS, LATER).calls == 0


@pytest.mark.parametrize("cleared", [ACCESS, SUBJECT])
def test_of_an_access_and_its_only_subject_the_other_stays(cleared):
    other = SUBJECT if cleared == ACCESS else ACCESS
    conduct = found((ACCESS, SUBJECT))
    conduct.cleared(cleared, LAST)
    assert conduct.finding(cleared, LAST) is None
    assert conduct.finding(other, LAST).state is State.POOLED
    assert conduct.picture(other, LAST).calls == 100
    fed(conduct, calls((ACCESS, SUBJECT), people(Random(2), 8), start=LATER))
    assert conduct.picture(cleared, LATER).calls == 8
    assert conduct.picture(other, LATER).calls == 108


def test_another_key_is_not_touched():
    conduct = found(SIGNER)
    conduct.cleared(ACCESS, LAST)
    assert conduct.finding(SIGNER, LAST) is not None
    assert conduct.finding(ACCESS, LAST) is None


def test_no_finding_from_before_it_is_taken_from_disk_or_from_others():
    away = found(fleet=True)
    saved = [one.content for one in found().take_findings()]
    deltas = [away.take_delta()]
    informed = Detector(ALONE, fleet=True)
    informed.cleared(ACCESS, LAST)
    informed.restore([], saved)
    assert informed.finding(ACCESS, LAST) is None
    for delta in deltas:
        assert informed.merge("away", delta)
    assert informed.finding(ACCESS, LAST) is None
    assert informed.picture(ACCESS, LAST).calls == 0
    uninformed = Detector(ALONE)
    uninformed.restore([], saved)
    assert uninformed.finding(ACCESS, LAST) is not None


def test_calls_from_before_it_that_come_late_do_not_bring_it_back():
    """What a node that was cut off saw before and after comes in one go."""
    away = Detector(ALONE, fleet=True)
    here = Detector(ALONE, fleet=True)
    stream = list(calls((ACCESS, SUBJECT), pool(Random(3), 200)))
    for one in stream:
        away.observe(one)
    away.cleared(ACCESS, stream[-4].at)
    here.cleared(ACCESS, stream[-4].at)
    while (delta := away.take_delta()) is not None:
        here.merge("away", delta)
    now = stream[-1].at
    assert here.picture(ACCESS, now).calls == 3
    assert here.finding(ACCESS, now) is None
    assert here.picture(SUBJECT, now).calls == 200
    assert here.finding(SUBJECT, now).state is State.POOLED


def test_a_delta_that_tells_it_late_takes_nothing_of_what_was_found_since():
    clears, here = found(fleet=True), found()
    clears.take_delta()
    clears.cleared(ACCESS, LAST)
    clears.clear(ACCESS)
    late = clears.take_delta()
    uninformed = found()
    uninformed.merge("clears", late)
    assert uninformed.picture(ACCESS, LATER).calls == 0
    here.cleared(ACCESS, LAST)
    fed(here, calls(ACCESS, pool(Random(2), 100), start=LATER))
    here.merge("clears", late)
    assert here.finding(ACCESS, LATER + 2_000).state is State.POOLED


def test_a_finding_from_after_it_is_taken_from_others():
    away, here = Detector(ALONE, fleet=True), Detector(ALONE)
    for conduct in (away, here):
        conduct.cleared(ACCESS, NOON - 1)
    fed(away, calls(ACCESS, pool(Random(4), 100)))
    here.merge("away", away.take_delta())
    assert here.finding(ACCESS, LAST).state is State.POOLED


def test_the_latest_of_several_counts_in_whatever_order_they_come():
    conduct = found()
    conduct.cleared(ACCESS, LAST)
    conduct.cleared(ACCESS, NOON)
    conduct.restore([], [one.content for one in found().take_findings()])
    assert conduct.finding(ACCESS, LAST) is None


def test_it_is_forgotten_when_what_it_forgot_is_over_anyway():
    conduct = Detector(ALONE)
    conduct.cleared(ACCESS, NOON)
    conduct.expire(NOON + conduct.clearings_for)
    assert conduct._findings.clearings == {ACCESS: NOON}
    conduct.expire(NOON + conduct.clearings_for + 1)
    assert conduct._findings.clearings == {}
