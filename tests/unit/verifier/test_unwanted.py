"""A callee's refusal on the terminating side: what it leads to; the unknown does nothing."""

from __future__ import annotations

import pytest
from found import Found, finding
from simulator import NOW
from verification import DEST, ORIG, Case, Gone, Knows, forged, unwanted

from zhenxian.analytics.model import KeyKind
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.model import CalleeRefusal
from zhenxian.verifier.verdict import Check, Label

MARKETING = "新品营销"


def refusal(number=DEST, since=NOW - 1, until=None):
    return CalleeRefusal(numbers=TNRange(TN(number), TN(number)), since=since, until=until)


REFUSAL = refusal()


def asked(case, policy=Consent.REFUSE, on_record=(REFUSAL,), crn=MARKETING, purpose=None):
    case.consent = ConsentPolicy(policy)
    for record in on_record:
        case.registry.add(record)
    return case.ask(case.request(case.call(crn=crn).signed(), purpose=purpose))


def test_the_number_passes_and_the_call_is_unwanted(case):
    verdict = asked(case)
    assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.CALLEE_REFUSES)
    assert (verdict.sip, verdict.failed) == (SipStatus.UNWANTED, Check.CONSENT)
    assert verdict.attest == "A"
    assert verdict.labels == ()
    assert verdict.reason_header is None


def test_by_default_it_is_only_told(case):
    assert ConsentPolicy().marketing is Consent.LABEL
    verdict = asked(case, Consent.LABEL)
    assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.VERIFIED)
    assert verdict.labels == (Label.CALLEE_REFUSES_MARKETING,)
    assert verdict.failed is None


@pytest.mark.parametrize(
    "known",
    [
        {"crn": None},
        {"crn": "your parcel"},
        {"crn": "非营销回访"},
        {"on_record": ()},
        {"on_record": (refusal(ORIG),)},
        {"on_record": (refusal(since=NOW + 1),)},
        {"on_record": (refusal(since=NOW - 9, until=NOW),)},
        {"policy": Consent.OFF},
    ],
)
@pytest.mark.parametrize("policy", [Consent.REFUSE, Consent.LABEL])
def test_what_is_unknown_changes_nothing(case, policy, known):
    verdict = asked(case, **{"policy": policy, **known})
    assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.VERIFIED)
    assert verdict.labels == ()


def test_a_purpose_beside_the_token_counts_like_one_inside(case):
    assert asked(case, crn=None, purpose="Special offer").reason is Reason.CALLEE_REFUSES


def test_without_a_stated_purpose_nothing_is_looked_up(case):
    case.registry.refusal = None  # whoever asks fails
    assert asked(case, crn=None).reason is Reason.VERIFIED
    assert asked(Case(), crn="delivery").reason is Reason.VERIFIED


def test_a_graver_reason_wins_and_a_forged_purpose_is_nothing(case):
    unwanted(case)
    case.conduct = Found(finding(KeyKind.SIGNER, f"1234/{case.call().passport.extension.origid}"))
    assert case.ask().reason is Reason.DISPLAY_POOLED
    other = Case()
    other.registry.add(refusal())
    other.consent = ConsentPolicy(Consent.REFUSE)
    plain = other.call()
    lying = forged(plain, extension=other.call(crn=MARKETING).passport.extension)
    assert other.ask(other.request(lying)).reason is Reason.SIGNATURE_INVALID


def test_of_several_tokens_one_that_states_it_decides(case):
    case.registry.add(refusal())
    case.consent = ConsentPolicy(Consent.REFUSE)
    stating, silent = case.call(crn=MARKETING).signed(), case.call().signed()
    bad = case.call("12155559999").signed()
    for order in ((stating, silent), (silent, stating), (bad, stating), (stating, bad)):
        case.replay = Knows(first_seen=True)
        case._verifier = None
        verdict = case.ask(case.request(*order))
        assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.CALLEE_REFUSES)


def test_an_unwanted_call_counts_for_its_signers_conduct(case):
    asked(case)
    assert len(case.conduct.observed) == 1


def test_a_registry_that_cannot_be_asked_changes_nothing(case):
    case.registry = Gone()
    verdict = asked(case, on_record=())
    assert (verdict.verstat, verdict.reason) == (Verstat.PASSED, Reason.VERIFIED)
