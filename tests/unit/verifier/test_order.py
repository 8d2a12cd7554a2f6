"""Which reason wins: of several faults the first check's, of several headers the best one's."""

from __future__ import annotations

import itertools

import pytest
from simulator import NOW
from verification import FAULTS, IN_ORDER, ORDER, Case, baseline, forged, signed

from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.passport.identity import MAX_HEADERS
from zhenxian.verifier.opened import NeedCertificates
from zhenxian.verifier.verdict import Check, Verdict

BROKEN = "nonsense;info=<https://x.example/>"


def spoiled(faults):
    case = Case()
    for fault in FAULTS:
        if fault in faults:
            fault.apply(case)
    return case


def test_the_checks_are_in_the_order_of_the_procedure():
    assert [fault.check for fault in IN_ORDER] == list(Check)


@pytest.mark.parametrize(
    "pair",
    list(itertools.combinations(IN_ORDER, 2)),
    ids=lambda pair: "-".join(fault.check.name for fault in pair),
)
def test_of_two_faults_the_earlier_check_gives_the_reason(pair):
    verdict = spoiled(pair).ask()
    assert (verdict.failed, verdict.reason) == (pair[0].check, pair[0].reason)


def test_of_all_faults_one_after_the_other_comes_to_light():
    for number, fault in enumerate(IN_ORDER):
        verdict = spoiled(IN_ORDER[number:]).ask()
        assert (verdict.failed, verdict.reason) == (fault.check, fault.reason)
    assert spoiled(()).ask().verstat is Verstat.PASSED


# Several headers --------------------------------------------------------------------------------


def beside(case):
    """Headers that fail, gravest last."""
    call = case.call()
    return {
        "of a type that does not decide": (baseline(case).dumps(), Reason.PPT_UNSUPPORTED),
        "broken": (BROKEN, Reason.TOKEN_SYNTAX),
        "stale": (case.call(iat=NOW - 61).signed(), Reason.IAT_STALE),
        "forged": (forged(call, iat=NOW - 1), Reason.SIGNATURE_INVALID),
        "another caller's": (case.call("12155559999").signed(), Reason.ORIG_MISMATCH),
    }


BAD = tuple(beside(Case()))


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_header_beside_a_good_one_does_no_harm(case, bad):
    text, reason = beside(case)[bad]
    for identities, good in (
        ((text, case.call().signed()), 1),
        ((case.call().signed(), text), 0),
        ((f"{text}, {case.call().signed()}",), 1),
    ):
        verdict = case.ask(case.request(*identities))
        assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.VERIFIED)
        assert len(verdict.results) == 2
        assert verdict.decisive is verdict.results[good]
        assert verdict.results[1 - good].refusal.reason is reason


@pytest.mark.parametrize(("first", "second"), list(itertools.product(BAD, BAD)))
def test_of_two_bad_headers_the_graver_decides_then_the_first(case, first, second):
    made = beside(case)
    verdict = case.ask(case.request(made[first][0], made[second][0]))
    # failed outranks none; a type that is merely not for us weighs nothing
    grades = {BAD[0]: 0, BAD[1]: 1, BAD[2]: 1, BAD[3]: 2, BAD[4]: 2}
    decisive = 1 if grades[second] > grades[first] else 0
    assert verdict.decisive is verdict.results[decisive]
    assert verdict.reason is made[(first, second)[decisive]][1]
    assert verdict.detail == verdict.decisive.refusal.detail


def test_the_reason_header_carries_the_token_that_decided(case):
    stale, bad = case.call(iat=NOW - 61).signed(), forged(case.call(), iat=NOW - 1)
    verdict = case.ask(case.request(stale, bad))
    token = bad.partition(";")[0]
    assert verdict.reason_header == f'STIR;cause=438;text="Invalid Identity Header";ppi="{token}"'
    spaced = case.ask(case.request(bad.replace(";", " ;", 1)))
    assert spaced.reason_header == verdict.reason_header


def test_a_display_from_a_pool_is_no_fault_of_the_identity_header():
    verdict = Verdict(Verstat.FAILED, Reason.DISPLAY_POOLED, "a sentence")
    assert (verdict.sip, verdict.reason_header) == (SipStatus.REJECTED, None)


def test_a_header_of_quotes_and_lines_does_not_reach_the_reason_header(case):
    verdict = case.ask(case.request('x"\r\nEvil: yes;info=<https://x.example/>'))
    assert verdict.reason_header == 'STIR;cause=438;text="Invalid Identity Header"'


def test_one_token_twice_in_one_call_is_no_replay_of_itself(case):
    text = case.call().signed()
    verdict = case.ask(case.request(text, text))
    assert verdict.verstat is Verstat.PASSED
    assert [r.refusal and r.refusal.reason for r in verdict.results] == [None, Reason.REPLAYED]
    for identities in ((text,), (text, text)):
        assert case.ask(case.request(*identities)).reason is Reason.REPLAYED


def test_the_last_header_that_is_accepted_still_counts(case):
    good = case.call().signed()
    assert case.ask(case.request(*[BROKEN] * (MAX_HEADERS - 1), good)).verstat is Verstat.PASSED
    verdict = case.ask(case.request(*[BROKEN] * MAX_HEADERS, good))
    assert (verdict.failed, verdict.reason) == (Check.SYNTAX, Reason.TOO_MANY_IDENTITIES)
    assert verdict.decisive.passed == (Check.IDENTITY,)
    assert verdict.detail == f"identity: {MAX_HEADERS + 1} Identity headers"


def test_of_too_many_headers_the_first_is_shown(case):
    good = case.call().signed()
    verdict = case.ask(case.request(good, *[BROKEN] * MAX_HEADERS))
    assert verdict.decisive.identity == good


def test_a_broken_header_is_explained(case):
    verdict = case.ask(case.request("a.b.c"))
    assert verdict.detail == "info: the Identity header has no info parameter"


def test_a_type_nobody_knows_is_the_reason_only_alone(case):
    unknown = signed(case, header={"ppt": "xyz"}, parameters=f";info=<{case.carrier.x5u}>;ppt=xyz")
    verdict = case.ask(case.request(unknown))
    assert (verdict.reason, verdict.verstat) == (Reason.PPT_UNSUPPORTED, Verstat.NONE)
    assert case.ask(case.request(unknown, BROKEN)).reason is Reason.TOKEN_SYNTAX


def test_headers_that_come_furthest_are_judged_each_by_its_own_carrier(case):
    other = case.world.carrier("5678")
    case.others = [other]
    theirs = other.call("12155550100", "12155550199").signed()
    verdict = case.ask(case.request(theirs, case.call().signed()))
    assert [result.spc for result in verdict.results] == ["5678", "1234"]
    assert all(result.passed == ORDER for result in verdict.results)
    assert verdict.decisive is verdict.results[0]


# Missing certificates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [f for f in IN_ORDER if ORDER.index(f.check) < ORDER.index(Check.CERTIFICATE)]
)
def test_a_cheap_check_that_fails_asks_for_no_certificate(fault):
    case = spoiled((fault,))
    case.cache.empty = True
    assert case.ask().reason is fault.reason
    assert case.cache.asked == []


def test_what_is_missing_is_asked_for_together_and_once(case):
    case.cache.empty = True
    other = case.world.carrier("5678")
    theirs = other.call("12155550100", "12155550199").signed()
    headers = (BROKEN, case.call().signed(), theirs, case.call().signed())
    assert case.ask(case.request(*headers)) == NeedCertificates((case.carrier.x5u, other.x5u))


def test_nothing_is_judged_before_all_certificates_are_there(case):
    """A token that passes now must not be a replay when the same call is asked about again."""
    other = case.world.carrier("5678")
    case.others = [other]
    theirs = other.call("12155550100", "12155550199").signed()
    request = case.request(case.call().signed(), theirs)
    cached = case.cache.cached
    case.cache.cached = lambda x5u, now: None if x5u == other.x5u else cached(x5u, now)
    assert case.ask(request) == NeedCertificates((other.x5u,))
    assert len(case.replay) == 0
    assert case.cache.kept == []
    verdict = case.ask(request, fetched={other.x5u: other.chain})
    assert [result.refusal for result in verdict.results] == [None, None]
