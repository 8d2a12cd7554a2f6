"""The token against the call: time, numbers, URIs, compact form; and the values themselves."""

from __future__ import annotations

import msgspec
import pytest
from simulator import NOW
from verification import DEST, ORIG, OTHER, Case, Gone, baseline

from zhenxian.certs.chain import Untrusted
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import Destination
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.verifier.opened import Candidate, Opened
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.token import VerifiedPASSporT
from zhenxian.verifier.verdict import Check, Refusal, Result, Verdict

BASELINE = ScreenPolicy(types=frozenset({None}))
ALICE, BOB = URI("sip:alice@example.com"), URI("sip:bob@example.com")


# Time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [60, 5])
@pytest.mark.parametrize("sign", [1, -1])
def test_windows_end_where_they_say(case, window, sign):
    case.policy = ScreenPolicy(date_window=window, iat_window=window)
    side = "after" if sign > 0 else "before"
    assert case.ask(case.request(case.call(iat=NOW + sign * window).signed())).verstat.endswith(
        "Passed"
    )
    verdict = case.ask(case.request(case.call(iat=NOW + sign * (window + 1)).signed()))
    assert verdict.reason is Reason.IAT_STALE
    assert verdict.detail == f"iat is {window + 1} s {side} now; {window} s are accepted"
    case.time = NOW + sign * window
    verdict = case.ask()
    assert (verdict.verstat, verdict.decisive.notes) == (Verstat.PASSED, ())
    case.time = NOW + sign * (window + 1)
    late = f"Date is {window + 1} s {side} now; {window} s are accepted"
    verdict = case.ask()
    assert verdict.verstat is Verstat.PASSED
    assert verdict.decisive.notes == (f"{late}, but iat is fresh",)
    case.iat = case.time
    verdict = case.ask()
    assert (verdict.reason, verdict.detail) == (Reason.DATE_STALE, late)


def test_the_windows_are_a_minute_unless_told():
    policy = ScreenPolicy()
    assert (policy.date_window, policy.iat_window) == (60, 60)
    assert policy.types == {"shaken"}


@pytest.mark.parametrize("time", [0, NOW - 61, NOW + 61, NOW + 86_400, 253_402_300_799])
def test_an_outdated_date_beside_a_fresh_iat_is_a_note_where_replays_are_seen(case, time):
    """RFC 8224 section 12.1: iat may stand for it, where state is kept to detect replays."""
    case.iat, case.time = NOW, time
    request = case.request()
    verdict = case.ask(request)
    assert verdict.verstat is Verstat.PASSED
    assert Check.DATE in verdict.decisive.passed
    (note,) = verdict.decisive.notes
    assert note.endswith("now; 60 s are accepted, but iat is fresh")
    again = case.ask(request)
    assert (again.reason, again.failed) == (Reason.REPLAYED, Check.REPLAY)


def test_an_outdated_date_is_stale_where_replays_are_not_seen(case):
    case.time, case.replay = NOW - 61, Gone()
    verdict = case.ask()
    assert (verdict.reason, verdict.failed) == (Reason.DATE_STALE, Check.DATE)
    assert verdict.detail == "Date is 61 s before now; 60 s are accepted"
    assert Check.IAT not in verdict.decisive.passed


@pytest.mark.parametrize("iat", [NOW - 61, NOW + 61])
def test_an_iat_that_would_be_outdated_as_a_date_does_not_stand_for_it(case, iat):
    case.policy = ScreenPolicy(date_window=60, iat_window=300)
    case.iat = iat
    assert case.ask().verstat is Verstat.PASSED
    case.time = NOW - 100
    assert case.ask().reason is Reason.DATE_STALE


def test_a_full_form_needs_no_date(case):
    request = msgspec.structs.replace(case.request(), time=None)
    verdict = case.ask(request)
    assert (verdict.verstat, verdict.decisive.notes) == (Verstat.PASSED, ())
    assert case.ask(request).reason is Reason.REPLAYED
    case.iat = NOW - 61
    stale = msgspec.structs.replace(case.request(), time=None)
    assert case.ask(stale).reason is Reason.IAT_STALE
    case = Case(case.world)
    case.replay = Gone()
    unknown = case.ask(msgspec.structs.replace(case.request(), time=None))
    assert unknown.reason is Reason.REPLAY_UNKNOWN


def test_a_compact_form_needs_a_date(case):
    case.policy = BASELINE
    request = case.request(baseline(case).compacted().dumps())
    verdict = case.ask(msgspec.structs.replace(request, time=None))
    assert (verdict.reason, verdict.failed) == (Reason.DATE_MISSING, Check.SYNTAX)
    assert case.ask(request).verstat is Verstat.PASSED


@pytest.mark.parametrize("time", [NOW - 61, NOW + 61])
def test_no_iat_stands_for_the_outdated_date_of_a_compact_form(case, time):
    case.policy = msgspec.structs.replace(BASELINE, iat_window=300)
    case.iat = case.time = time
    assert case.ask(case.request(baseline(case).compacted().dumps())).reason is Reason.DATE_STALE


def test_a_fresh_iat_may_differ_from_a_fresh_date(case):
    case.iat, case.time = NOW - 60, NOW + 60
    assert case.ask().verstat is Verstat.PASSED


# Numbers ----------------------------------------------------------------------------------------


def test_one_of_several_called_numbers_is_enough(case):
    text = case.call(ORIG, "12155550197", DEST, "12155550198").signed()
    for called in ("12155550197", "12155550198", DEST):
        request = case.request(case.call(ORIG, "12155550197", called).signed())
        assert case.ask(request).reason is (
            Reason.VERIFIED if called == DEST else Reason.DEST_MISMATCH
        )
    assert case.ask(case.request(text)).verstat is Verstat.PASSED


@pytest.mark.parametrize("called", [(DEST, OTHER), (OTHER, DEST), (OTHER,)])
def test_every_called_number_must_be_signed_for(case, called):
    case.to = tuple(map(TN, called))
    verdict = case.ask()
    assert (verdict.reason, verdict.detail) == (
        Reason.DEST_MISMATCH,
        "dest does not hold the called number of the request",
    )


def test_swapped_numbers_do_not_pass(case):
    text = case.call(DEST, ORIG).signed()
    assert case.ask(case.request(text)).reason is Reason.ORIG_MISMATCH


def test_number_and_uri_are_not_the_same(case):
    case.orig = URI(f"tel:{ORIG}")
    assert case.ask().reason is Reason.ORIG_MISMATCH
    case.orig, case.to = None, (URI(f"tel:{DEST}"),)
    assert case.ask().reason is Reason.DEST_MISMATCH


def test_uris_call_and_are_called(case):
    case.policy = BASELINE
    dest = Destination((TN(DEST),), (BOB,))
    for to, reason in (
        ((BOB,), Reason.VERIFIED),
        ((TN(DEST),), Reason.VERIFIED),
        ((BOB, TN(DEST)), Reason.VERIFIED),
        ((ALICE,), Reason.DEST_MISMATCH),
        ((BOB, ALICE), Reason.DEST_MISMATCH),
    ):
        request = VerificationRequest(ALICE, to, NOW, (baseline(case, ALICE, dest).dumps(),))
        assert case.ask(request).reason is reason
    other = VerificationRequest(BOB, (BOB,), NOW, (baseline(case, ALICE, dest).dumps(),))
    assert case.ask(other).reason is Reason.ORIG_MISMATCH


def test_a_delegate_for_numbers_does_not_speak_for_uris(case):
    case.policy = BASELINE
    case.carrier = case.carrier.delegate(TN(ORIG))
    request = VerificationRequest(ALICE, (TN(DEST),), NOW, (baseline(case, ALICE).dumps(),))
    verdict = case.ask(request)
    assert (verdict.failed, verdict.reason) == (Check.TNAUTHLIST, Reason.TNAUTHLIST_NOT_COVERED)
    assert "CN=SHAKEN" in verdict.detail


def test_a_call_to_nobody_cannot_be_asked_about():
    with pytest.raises(RuntimeError, match=r"^a call has somebody who is called$"):
        VerificationRequest(TN(ORIG), (), NOW)


# Compact form -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("orig", [TN(ORIG), ALICE])
@pytest.mark.parametrize(
    "dest", [Destination((TN(DEST),)), Destination((TN(DEST), TN(OTHER)), (ALICE, BOB))]
)
def test_full_and_compact_form_agree(case, compact, orig, dest):
    case.policy = BASELINE
    header = baseline(case, orig, dest)
    text = (header.compacted() if compact else header).dumps()
    assert text.startswith("..") is compact
    verdict = case.ask(VerificationRequest(orig, (*dest.uri, *dest.tn), NOW, (text,)))
    assert verdict.verstat is Verstat.PASSED
    assert verdict.attest is None
    result = verdict.decisive
    assert (result.ppt, result.identity) == (None, text)
    assert (result.passport.orig, result.passport.dest) == (orig, dest)


@pytest.mark.parametrize(
    "change",
    [{"orig": TN(OTHER)}, {"to": (TN(OTHER),)}, {"to": (TN(DEST), TN(OTHER))}, {"time": NOW + 1}],
)
def test_a_compact_form_for_another_call_does_not_verify(case, change):
    case.policy = BASELINE
    compact = baseline(case).compacted().dumps()
    request = VerificationRequest(TN(ORIG), (TN(DEST),), NOW, (compact,))
    assert case.ask(request).verstat is Verstat.PASSED
    verdict = case.ask(msgspec.structs.replace(request, **change))
    assert (verdict.failed, verdict.reason) == (Check.SIGNATURE, Reason.SIGNATURE_INVALID)


def test_a_compact_form_with_the_date_of_another_day_is_stale(case):
    case.policy = BASELINE
    case.iat = case.time = NOW - 61
    assert case.ask(case.request(baseline(case).compacted().dumps())).reason is Reason.DATE_STALE


def test_a_compact_form_whose_place_was_changed_does_not_verify(case):
    """Its info is what the signed x5u is rebuilt from."""
    case.policy = BASELINE
    other = case.world.carrier("5678")
    case.others = [other]
    compact = baseline(case).compacted().dumps().replace(case.carrier.x5u, other.x5u)
    assert case.ask(case.request(compact)).reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("types", [{"shaken"}, {"shaken", None}])
def test_shaken_is_never_compact(case, types):
    case.policy = ScreenPolicy(types=frozenset(types))
    compact = parse_identity_header(case.call().signed()).compacted().dumps()
    verdict = case.ask(case.request(compact))
    assert (verdict.failed, verdict.reason) == (Check.SYNTAX, Reason.COMPACT_NOT_ALLOWED)
    assert verdict.detail == "this PASSporT type must be sent in full form"


def test_a_type_that_does_not_decide_is_refused_in_either_form(case):
    for header in (baseline(case), baseline(case).compacted()):
        verdict = case.ask(case.request(header.dumps()))
        assert verdict.reason is Reason.PPT_UNSUPPORTED
        assert verdict.detail == "a PASSporT of type baseline does not decide a call here"
    case.policy.types.union()  # the policy is a frozen value
    with pytest.raises(AttributeError):
        case.policy.types = frozenset({None})


def test_what_type_does_not_decide_is_named(case):
    case.policy = BASELINE
    assert case.ask().detail == "a PASSporT of type shaken does not decide a call here"


def test_the_place_is_checked_by_the_policy(case):
    case.policy = ScreenPolicy(x5u=X5uPolicy(repositories=("certs.example.net",)))
    verdict = case.ask()
    assert (verdict.failed, verdict.reason) == (Check.X5U, Reason.X5U_POLICY)
    assert case.cache.asked == []


# Values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attest", list(Attestation))
def test_the_attestation_is_that_of_the_token_that_passed(case, attest):
    assert case.ask(case.request(case.call(attest=attest.value).signed())).attest is attest


def test_a_verdict_has_no_truth_value(case):
    for request in (case.request(), case.request("nonsense")):
        with pytest.raises(
            TypeError, match=r"^a Verdict is neither true nor false: look at its verstat$"
        ):
            bool(case.ask(request))


def test_a_failed_verdict_tells_no_attestation(case):
    case.carrier.certificate.wrong_key()
    verdict = case.ask()
    assert verdict.decisive.passport.extension.attest is Attestation.A
    assert verdict.attest is None


def test_a_verified_passport_is_made_by_its_step_alone(case):
    call = case.call()
    header = parse_identity_header(call.signed())
    for witness in (object(), None, True):
        with pytest.raises(
            RuntimeError, match=r"^a VerifiedPASSporT is made by check_token alone$"
        ):
            VerifiedPASSporT(header, call.passport, TN(ORIG), b"", None, witness)


def test_a_call_is_not_closed_before_it_was_checked(case):
    request = case.request()
    case.ask(request)
    opened = case.verifier.open(case.request(), NOW)
    assert isinstance(opened, Opened)
    assert isinstance(opened.entries[0], Candidate)
    with pytest.raises(RuntimeError, match=r"^closed before it was checked$"):
        case.verifier.close(opened)
    opened.check()
    assert case.verifier.close(opened).verstat is Verstat.PASSED


def test_opening_a_hopeless_call_leaves_nothing_to_check(case):
    opened = case.verifier.open(case.request("nonsense"), NOW)
    assert isinstance(opened, Opened)
    opened.check()
    assert case.verifier.close(opened).reason is Reason.INFO_MISSING


def test_a_reason_that_is_no_verdict_has_no_sip_answer():
    refusal = Refusal(Check.SYNTAX, Reason.NOT_READY, "")
    verdict = Verdict(Verstat.NONE, Reason.NOT_READY, "", (), Result(None, "", (), refusal))
    with pytest.raises(RuntimeError, match=r"^NOT_READY is not a verification reason$"):
        _ = verdict.sip


def test_a_chain_refused_for_no_verdicts_reason_is_a_mistake_not_a_pass(case, monkeypatch):
    untrusted = Untrusted(Reason.NOT_READY, "", "")
    monkeypatch.setattr("zhenxian.verifier.trust.validate", lambda *_, **__: untrusted)
    with pytest.raises(RuntimeError, match=r"^a failed result without a verification reason$"):
        case.ask()
